/* SPDX-License-Identifier: Apache-2.0
 * What this node can do for its operators: backups, restores, comparing replicas; and the gRPC service that starts
 * them and tells how they go (agihpc.v1.BackupService).
 *
 * Life: agi_care_open (before the core: others may ask for this node's part) → agi_care_join (the core is there) →
 *       agi_care_close (before the core goes) → agi_care_free (before the store goes). */
#ifndef AGI_NODE_CARE_H
#define AGI_NODE_CARE_H

#include "config/config.h"
#include "net/grpc.h"
#include "node/backup.h"
#include "node/compare.h"
#include "node/restore.h"

struct agi_care {
	const struct agi_config *config;
	struct agi_backup_maker *maker;
	struct agi_backup *backup;
	struct agi_restore *restore;
	struct agi_compare *compare;
};
AGI_MUST_USE enum agi_err agi_care_open(struct agi_care *c, const struct agi_config *config,
                                        struct agi_store *store, const struct agi_id *node,
                                        const struct agi_addr *advertise);
AGI_MUST_USE enum agi_err agi_care_join(struct agi_care *c, struct event_base *base, struct agi_dht_host *host,
                                        struct agi_log *log);
void agi_care_close(struct agi_care *c);
void agi_care_free(struct agi_care *c);
struct agi_care_stats {
	struct agi_part_counts parts;       /* of backups, made here */
	bool is_restoring;                  /* led by this node, as the following: */
	uint64_t restored_items, restored_registers;
	struct agi_compare_status compared; /* of the newest that ended; told is NULL */
	int64_t compared_at;                /* Unix time; 0: none since the start */
};
void agi_care_stats(const struct agi_care *c, struct agi_care_stats *out);
/* agi_dht_host_cfg.operate; ctx is a struct agi_care. */
enum agi_err agi_care_operate(void *ctx, struct agi_str task, struct agi_buf *answer);
/* The service; c outlives the server. */
AGI_MUST_USE enum agi_err agi_svc_backup_add(struct agi_grpc_server *server, struct agi_care *c);

#endif
