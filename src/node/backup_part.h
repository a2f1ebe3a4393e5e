/* SPDX-License-Identifier: Apache-2.0
 * This node's part of a backup: a copy of its store, then checksums and a manifest (base/backup.h), under
 * BACKUP_DIR/NAME/NODE. Copying is quick (hard links, where the file systems allow); reading everything for the
 * checksums is not, and happens when the copies of all nodes together are known to be whole.
 *
 *   NONE ──begin──▶ COPYING ──▶ COPIED ──finish──▶ SUMMING ──▶ DONE
 *    ▲                 │          ├──begin (another attempt)──▶ COPYING
 *    └──────drop───────┼──────────┘                     │
 *                      └──────────────▶ FAILED ◀────────┘
 *
 * One at a time; each step works on a thread of its own. Functions are called from one thread and do not wait. */
#ifndef AGI_NODE_BACKUP_PART_H
#define AGI_NODE_BACKUP_PART_H

#include "base/backup.h"
#include "store/archive.h"

enum agi_part_state { AGI_PART_NONE, AGI_PART_COPYING, AGI_PART_COPIED, AGI_PART_SUMMING, AGI_PART_DONE, AGI_PART_FAILED,
                      AGI_PART_DROPPING };
enum { AGI_PART_STATES = AGI_PART_DROPPING + 1 };
const char *agi_part_state_name(enum agi_part_state s); /* "copying" */

struct agi_backup_maker;
struct agi_backup_maker_cfg {
	struct agi_store *store;
	const char *dir; /* "" = there are no backups on this node */
	struct agi_id node;
	uint32_t slot_bits;
	char address[AGI_ADDRESS_MAX + 1];
};
struct agi_part_status {
	enum agi_part_state state;
	char name[AGI_BACKUP_NAME_MAX + 1];
	uint32_t attempt;
	uint64_t bytes, bytes_total; /* summed so far; of the copy */
	uint32_t files;
	struct agi_why why;          /* FAILED */
};

AGI_MUST_USE enum agi_err agi_backup_maker_new(const struct agi_backup_maker_cfg *cfg,
                                               struct agi_backup_maker **out);
/* Waits for the step that runs. NULL is allowed. */
void agi_backup_maker_free(struct agi_backup_maker *m);

/* Each step may be asked for again: what has been begun or done is left alone. */
/* Begins to copy; what an earlier attempt of the same name left is removed. UNSUPPORTED: no directory is configured.
 * EXISTS: this backup was finished before. FULL: a step runs. */
AGI_MUST_USE enum agi_err agi_part_begin(struct agi_backup_maker *m, struct agi_str name, uint32_t attempt,
                                         uint64_t began_ms, struct agi_why *why);
/* COPIED → SUMMING; hosts: everybody whose part belongs to the backup. CONDITION when it is not that. */
AGI_MUST_USE enum agi_err agi_part_finish(struct agi_backup_maker *m, struct agi_str name, uint32_t attempt,
                                          const struct agi_id *hosts, size_t n);
/* A copy that will not be finished is removed. Of no effect on a finished part, another name or attempt. */
void agi_part_drop(struct agi_backup_maker *m, struct agi_str name, uint32_t attempt);
void agi_part_look(struct agi_backup_maker *m, struct agi_part_status *out);
struct agi_part_counts {
	int64_t last_done;     /* Unix time of this node's newest finished part, of earlier starts too; 0: none */
	uint64_t done, failed; /* since the start */
};
void agi_part_counts(struct agi_backup_maker *m, struct agi_part_counts *out);
/* From COPIED on: what the copy holds. Borrowed until the next begin or finish; NULL before. */
const struct agi_backup_part *agi_part_held(struct agi_backup_maker *m);

#endif
