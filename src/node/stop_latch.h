/* SPDX-License-Identifier: Apache-2.0
 * The emergency stop's register: read again and again for the hosts' latches (roles/safety_gateway/latch.h), and
 * written by compare-and-set. On the core's loop.
 *
 *   every AGI_STOP_REFRESH_MS: strong get ──► own latch ──► on_read (the safety loop's latch)
 *   ask: strong get → wanted already? done │ compare-and-set with epoch + 1 → chosen │ condition failed,
 *        outcome unknown: again → … at most SET_MS */
#ifndef AGI_NODE_STOP_LATCH_H
#define AGI_NODE_STOP_LATCH_H

#include "node/dht_host.h"
#include "roles/safety_gateway/latch.h"

struct agi_stop_latch;

struct agi_stop_latch_cfg {
	struct event_base *base;
	struct agi_dht_host *host;
	char node[AGI_STOP_WHO_MAX + 1]; /* this node's id: who wrote it */
	/* r NULL: no record. The read began at began_us (monotonic). */
	void (*on_read)(void *ctx, const struct agi_stop_record *r, uint64_t began_us);
	void *ctx;
};
AGI_MUST_USE enum agi_err agi_stop_latch_new(const struct agi_stop_latch_cfg *cfg, struct agi_stop_latch **out);
/* Calls to _ask that are open are answered CLOSED. NULL is allowed. */
void agi_stop_latch_free(struct agi_stop_latch *l);
/* Begins to read. */
void agi_stop_latch_start(struct agi_stop_latch *l);

/* The main loop's latch, for checks made there. */
const struct agi_latch *agi_stop_latch_state(const struct agi_stop_latch *l);
/* A notice arrived. */
void agi_stop_latch_told(struct agi_stop_latch *l, const struct agi_stop_record *r);

/* OK: r is what the register holds now, and says what was wanted (perhaps because it already did). Else the error of
 * the overlay: UNKNOWN_OUTCOME when it may have been written. */
typedef void agi_stop_set_fn(void *arg, enum agi_err err, const struct agi_stop_record *r,
                             const struct agi_why *why);
enum agi_stop_wish { AGI_STOP_READ, AGI_STOP_STOP, AGI_STOP_RESUME };
/* fn is called once, never before this returns. FULL, NOMEM: it will not be. reason and
 * source (who asked) count for STOP and RESUME. */
AGI_MUST_USE enum agi_err agi_stop_latch_ask(struct agi_stop_latch *l, enum agi_stop_wish wish, struct agi_str reason,
                                             struct agi_str source, agi_stop_set_fn *fn, void *arg);

#endif
