/* SPDX-License-Identifier: Apache-2.0
 * The node's data directory: who this node is and what it remembers belong together.
 *
 * A node has promised things to others under its identity (votes on slot views, promises and accepted writes of
 * registers). With a store that has lost some of them it must not go on as the same node: it would promise the
 * opposite. So a damaged store, a store that is gone while the key is still there, and a store of another node
 * are refused. With --rejoin they are set aside, whole, and the node begins as a new one: the others
 * give it its share of the data like to any newcomer.
 *
 * The store's META record "node" says whose it is.
 *
 * Watching, once a second: below the reserve of free space the core takes no new data (agi_dht_set_low); a store
 * that failed for lack of space asks for a new start when there is space again. */
#ifndef AGI_NODE_DISK_H
#define AGI_NODE_DISK_H

#include "config/config.h"
#include "node/dht_host.h"
#include "node/identity.h"
#include "store/store.h"

struct agi_disk_cfg {
	const struct agi_config *config;
	bool is_rejoin;
	struct agi_log *log; /* may be NULL */
};

/* Opens the store, loads the identity, and sees that they belong together. *has_rejoined: another store was set
 * aside first. CORRUPT + why (what is wrong, and to
 * use --rejoin), DENIED when another process has it open; else as agi_store_open and agi_identity_load. */
AGI_MUST_USE enum agi_err agi_disk_open(const struct agi_disk_cfg *cfg, struct agi_store **store,
                                        struct agi_identity *identity, bool *has_rejoined,
                                        struct agi_why *why);

struct agi_disk_watch {
	const struct agi_config *config;
	struct agi_store *store;
	struct agi_dht_host *host;
	struct agi_log *log;
	/* of the last look */
	uint64_t free_bytes, total_bytes, reserve_bytes;
	bool is_low;
	enum agi_store_trouble trouble;
	uint32_t roomy_s; /* seconds in a row with room again, after NO_SPACE */
	bool has_told_notice;
};
/* Looks for the first time. */
void agi_disk_watch_init(struct agi_disk_watch *w, const struct agi_config *config, struct agi_store *store,
                         struct agi_dht_host *host, struct agi_log *log);
/* Once a second. True when the node should begin anew: its store failed for lack of space, and there is space
 * again. */
bool agi_disk_watch_tick(struct agi_disk_watch *w);
/* The last step of a tick: the same of what was seen last. */
bool agi_disk_watch_begins_anew(struct agi_disk_watch *w);

#endif
