/* SPDX-License-Identifier: Apache-2.0
 * Strong registers of the cluster's own (namespace AGI_STOP_NAMESPACE, which no client writes): one of them is read again
 * and again, any of them is changed by compare-and-set. On the core's loop. The emergency stop (stop_latch.h) and the
 * policy (policy_item.h) are two such.
 *
 *   every refresh_ms: strong get ──► on_read
 *   ask: strong get → look: done │ refused │ write it: compare-and-set → chosen │ condition failed, outcome unknown:
 *        again → … at most AGI_STRONG_ASK_MS */
#ifndef AGI_NODE_STRONG_ITEM_H
#define AGI_NODE_STRONG_ITEM_H

#include "base/buf.h"
#include "node/dht_host.h"

enum { AGI_STRONG_ASK_MS = 5000, AGI_STRONG_KEY_MAX = 31 };

struct agi_strong_item;

struct agi_strong_item_cfg {
	struct event_base *base;
	struct agi_dht_host *host;
	const char *key;     /* static; what is read again and again */
	uint32_t refresh_ms;
	uint32_t read_ms;    /* a read that takes longer is given up: it would say nothing */
	/* What a linearizable read found (p NULL: the register is absent); it began at began_us (monotonic). A read that
	 * fails says nothing. */
	void (*on_read)(void *ctx, struct agi_str value, uint64_t began_us);
	void *ctx;
};
AGI_MUST_USE enum agi_err agi_strong_item_new(const struct agi_strong_item_cfg *cfg, struct agi_strong_item **out);
/* Asks that are open are answered CLOSED. NULL is allowed. */
void agi_strong_item_free(struct agi_strong_item *s);
/* Begins to read. */
void agi_strong_item_start(struct agi_strong_item *s);
/* Reads now as well. */
void agi_strong_item_read_now(struct agi_strong_item *s);

enum agi_strong_next { AGI_STRONG_DONE, AGI_STRONG_WRITE };
struct agi_strong_ask {
	/* What the register holds now (p NULL: absent). WRITE: value is what it shall hold; look is called again when
	 * that was not chosen, or may not have been. An error + why ends the ask. */
	enum agi_err (*look)(void *arg, struct agi_str found, struct agi_buf *value, enum agi_strong_next *next,
	                     struct agi_why *why);
	/* OK: the register holds what look agreed to, or what it wrote last. Else look's error, or the overlay's:
	 * UNKNOWN_OUTCOME when something may have been written. */
	void (*done)(void *arg, enum agi_err err, const struct agi_why *why);
	void *arg;
};
/* key: NULL = cfg.key. done is called once, never before this returns. FULL, NOMEM: it will not be. */
AGI_MUST_USE enum agi_err agi_strong_item_ask(struct agi_strong_item *s, const char *key,
                                              const struct agi_strong_ask *ask);

#endif
