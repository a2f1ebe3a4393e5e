/* SPDX-License-Identifier: Apache-2.0
 * A backup of the whole cluster, led by the node that was asked: every node that is up makes its part
 * (backup_part.h). When all have copied their stores, the slots are counted (base/backup.h): one that was changing
 * its members meanwhile may not be whole, and then all copy anew, up to three times. Then checksums are made, and each
 * part's manifest names everybody who took part.
 *
 *   BEGIN ──all asked──▶ COPYING ──all copied──▶ LISTING ──whole, or tried enough──▶ SUMMING ──▶ DONE
 *     ▲                                             │not whole                          │
 *     └─────────────────────────────────────────────┘                                  ▼
 *                                                                             FAILED (not whole)
 *
 * What it promises: of every slot that is whole, each write acknowledged at level quorum, all or strong before
 * the backup was asked for is in it; later ones may be.
 *
 * Nodes are told by agi_dht's OPERATE; agi_backup_on_task answers for this one. One event loop. */
#ifndef AGI_NODE_BACKUP_H
#define AGI_NODE_BACKUP_H

#include "node/backup_part.h"
#include "node/dht_host.h"

struct event_base;
struct agi_backup;

struct agi_backup_cfg {
	struct event_base *base;
	struct agi_dht_host *host;
	struct agi_log *log; /* may be NULL */
};
enum agi_backup_state { AGI_BACKUP_NONE, AGI_BACKUP_RUNNING, AGI_BACKUP_DONE, AGI_BACKUP_FAILED };

/* One node's part, as the leader knows it. */
struct agi_backup_node {
	struct agi_contact contact;
	bool is_asked;               /* takes part; else why not */
	struct agi_part_status part; /* state FAILED: why */
};
struct agi_backup_status {
	enum agi_backup_state state;
	const char *step;            /* "copying" */
	char name[AGI_BACKUP_NAME_MAX + 1];
	uint32_t attempt;
	uint32_t slots, whole;       /* of the cluster; whole in this backup (once it is known) */
	struct agi_why why;          /* FAILED; DONE: what an operator should know, or empty */
	const struct agi_backup_node *nodes; /* until the next event */
	size_t n_nodes;
};

AGI_MUST_USE enum agi_err agi_backup_new(const struct agi_backup_cfg *cfg, struct agi_backup **out);
void agi_backup_free(struct agi_backup *b);
/* INVALID (name), FULL (another one runs), NOT_READY + why. */
AGI_MUST_USE enum agi_err agi_backup_start(struct agi_backup *b, struct agi_str name, struct agi_why *why);
void agi_backup_look(const struct agi_backup *b, struct agi_backup_status *out);

/* A task of another node's operator for this one (agi_dht_cfg.operate). MALFORMED. */
AGI_MUST_USE enum agi_err agi_backup_on_task(struct agi_backup_maker *maker, struct agi_str task,
                                             struct agi_buf *answer);

#endif
