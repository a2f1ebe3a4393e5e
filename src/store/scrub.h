/* SPDX-License-Identifier: Apache-2.0
 * Reads everything that is stored, slowly and again and again, so that damage is found while the other replicas
 * are sound, and not when they are needed. RocksDB checks each block's checksum as it is read.
 *
 * A thread of its own; RocksDB may be read from any thread. Private to src/store. */
#ifndef AGI_STORE_SCRUB_H
#define AGI_STORE_SCRUB_H

#include "store/db.h"

struct agi_scrub;

struct agi_scrub_cfg {
	struct agi_db *db;
	uint32_t every_s;  /* from the end of one pass to the next; 0 = only when asked to */
	uint64_t bytes_s;  /* read per second at most */
	/* Damage or an unreadable block, once per pass; on the scrub's thread. */
	void (*found)(void *ctx, enum agi_err err, const struct agi_why *why);
	void *ctx;
};
struct agi_scrub_stats {
	uint64_t bytes;    /* read since the start */
	uint64_t passes;   /* finished, without a finding or with one */
	uint64_t last_end; /* Unix time at which the last pass without a finding ended, this start or before; 0 = never */
	bool is_running;
};

/* NOMEM + why when the thread cannot be started. */
AGI_MUST_USE enum agi_err agi_scrub_start(const struct agi_scrub_cfg *cfg, struct agi_scrub **out,
                                          struct agi_why *why);
/* Ends the pass that runs, within a few blocks. NULL is allowed. */
void agi_scrub_stop(struct agi_scrub *s);
/* Begins a pass now, unless one runs; at full speed when fast. */
void agi_scrub_now(struct agi_scrub *s, bool is_fast);
void agi_scrub_stats(struct agi_scrub *s, struct agi_scrub_stats *out);

#endif
