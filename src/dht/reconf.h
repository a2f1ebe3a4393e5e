/* SPDX-License-Identifier: Apache-2.0
 * One slot's change in the works. Private to the files that do the work a slot's phase calls for:
 * propose.c, join.c, leave.c, and reconf.c, which decides whose turn it is. */
#ifndef AGI_DHT_RECONF_H
#define AGI_DHT_RECONF_H

#include "dht/state.h"

struct agi_reconf {
	struct agi_dht *d;
	struct agi_slot *s;
	struct agi_gather g;
	/* propose */
	bool is_accepting;
	struct agi_ballot ballot, best;
	struct agi_view next;
	uint64_t generation; /* verify: of the hosts known when it began */
	/* join: old members and new members, who is asked what */
	struct agi_id peer[2 * AGI_REPLICAS_MAX];
	uint64_t rpc[2 * AGI_REPLICAS_MAX];
	uint8_t n_peers, n_old;         /* the first n_old are old members */
	bool is_ready[2 * AGI_REPLICAS_MAX];  /* may be pulled from */
	bool is_active[2 * AGI_REPLICAS_MAX]; /* an active member of the new view */
	uint8_t to_pull[AGI_REPLICAS_MAX], n_pull, pulling;
	bool is_pulling, is_strong_pulled; /* of the source being pulled: items come first, then registers */
	uint32_t waiting;
	uint64_t job, pull_rpc;
	struct agi_buf cursor;
	bool has_more;
};

/* Starts a piece of work on s; NULL when out of memory. */
struct agi_reconf *agi_reconf_begin(struct agi_dht *d, struct agi_slot *s);
/* Ends and frees it; a failed slot pauses for a while before the next attempt. */
void agi_reconf_finish(struct agi_reconf *r, bool is_failed);
/* VIEW_DECIDED to one node: "this is the view, and these were the members before it". The answer is what
 * the node knows itself. *rpc (may be NULL) is set to the request's id, 0 when out of memory. */
void agi_reconf_tell(struct agi_dht *d, const struct agi_id *to, const struct agi_view *view,
                     const struct agi_id *prev, uint8_t n_prev, agi_rpc_fn *fn, void *arg, uint32_t which,
                     uint64_t *rpc);

/* Paxos among the slot's members on `wanted` as their next view. */
void agi_reconf_propose(struct agi_dht *d, struct agi_slot *s, const struct agi_view *wanted);
/* Merges what the epoch before could have acknowledged, then becomes active. */
void agi_reconf_join(struct agi_dht *d, struct agi_slot *s);
/* Hands what is held over to the new members, then releases it. */
void agi_reconf_leave(struct agi_dht *d, struct agi_slot *s);

#endif
