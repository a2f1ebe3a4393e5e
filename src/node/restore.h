/* SPDX-License-Identifier: Apache-2.0
 * Restores a backup into the cluster this node belongs to: what restore_read gives out is written through the core,
 * some records at a time. Items keep their versions, and newer ones that are there stay; a register is written
 * where there is none. So a restore can be done again, and goes on where one of the same backup stopped: the slots
 * that are finished are noted in DATA/restore-NAME.
 *
 *   NONE ──start──▶ CHECKING ──▶ WRITING ──all written──▶ DONE
 *                      └────────────┴──▶ FAILED (start again: it goes on)
 *
 * One event loop. */
#ifndef AGI_NODE_RESTORE_H
#define AGI_NODE_RESTORE_H

#include "node/dht_host.h"
#include "node/restore_read.h"

struct event_base;
struct agi_restore;

struct agi_restore_cfg {
	struct event_base *base;
	struct agi_dht_host *host;
	const char *backup_dir, *data_dir;
	struct agi_log *log; /* may be NULL */
};
enum agi_restore_state { AGI_RESTORE_NONE, AGI_RESTORE_CHECKS, AGI_RESTORE_WRITES, AGI_RESTORE_DONE, AGI_RESTORE_FAILED };
struct agi_restore_status {
	enum agi_restore_state state;
	char name[AGI_BACKUP_NAME_MAX + 1];
	struct agi_restore_read_stats read;
	uint64_t items, registers;   /* written */
	uint64_t kept;               /* registers that were there already */
	uint32_t slots_done, resumed_at;
	struct agi_why why;
};

AGI_MUST_USE enum agi_err agi_restore_new(const struct agi_restore_cfg *cfg, struct agi_restore **out);
void agi_restore_free(struct agi_restore *r);
/* INVALID, UNSUPPORTED (no directory is configured), FULL (one runs), NOT_READY + why. */
AGI_MUST_USE enum agi_err agi_restore_start(struct agi_restore *r, struct agi_str name, bool is_partial,
                                            struct agi_why *why);
void agi_restore_look(struct agi_restore *r, struct agi_restore_status *out);
/* Written by all restores that this node led since its start. */
void agi_restore_counts(const struct agi_restore *r, bool *is_running, uint64_t *items, uint64_t *registers);

#endif
