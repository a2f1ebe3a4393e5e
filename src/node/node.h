/* SPDX-License-Identifier: Apache-2.0
 * One node: the core with its links, store, servers, roles and advertisements, on one event loop.
 *
 * Life: agi_node_new (everything that can fail: ports, disk, keys) → agi_node_start → the loop →
 *       agi_node_stop (orderly; leaves the loop when done) → agi_node_free. */
#ifndef AGI_NODE_NODE_H
#define AGI_NODE_NODE_H

#include "config/config.h"

struct event_base;
struct agi_log;
struct agi_node;

struct agi_node_cfg {
	const struct agi_config *config; /* checked; outlives the node */
	bool force_init;                 /* --init */
	bool is_rejoin;                  /* --rejoin */
	struct event_base *base;
	struct agi_log *log;
};

enum {
	AGI_STOP_GRACE_MS = 400 /* goodbye messages leave, open calls end: a safety check takes 100 */
};

/* EXISTS + why: an address is in use (and nothing else). INVALID, DENIED, CORRUPT, IO, … + why: one line
 * that says what to do. */
AGI_MUST_USE enum agi_err agi_node_new(const struct agi_node_cfg *cfg, struct agi_node **out,
                                       struct agi_why *why);
void agi_node_start(struct agi_node *n);
/* Reads certificates and tokens again, takes over from fresh what may change while it runs: node.weight,
 * node.zone, dht.rebalance_…. */
void agi_node_reload(struct agi_node *n, const struct agi_config *fresh);
/* Says goodbye, takes no new connections, and ends the loop after AGI_STOP_GRACE_MS. Idempotent. */
void agi_node_stop(struct agi_node *n);
/* The loop has ended because the node wants to begin anew in this process (its store had no space, and there is
 * some again): free it and make another. */
bool agi_node_wants_restart(const struct agi_node *n);
/* NULL is allowed. What is queued for the disk is written. */
void agi_node_free(struct agi_node *n);

#endif
