/* SPDX-License-Identifier: Apache-2.0
 * One slot's change in the works. Private to the files that do the work a slot's phase calls for: prepare.c,
 * propose.c, join.c, leave.c, copy.c, and reconf.c, which decides whose turn it is. */
#ifndef AGI_DHT_RECONF_H
#define AGI_DHT_RECONF_H

#include "dht/transfer.h"

struct agi_reconf {
	enum agi_work kind;
	struct agi_dht *d;
	struct agi_slot *s;
	struct agi_gather g;
	/* prepare, propose */
	bool is_accepting;
	struct agi_ballot ballot, best;
	struct agi_view next;
	uint64_t generation; /* of the hosts known when it began */
	struct {
		struct agi_id id;
		bool is_done, is_given_up;
		uint64_t rpc, progress, progress_us; /* progress: a number that changes as long as it copies */
		struct agi_timer again;
	} newcomer[AGI_REPLICAS_MAX];
	uint8_t n_newcomers;
	enum agi_cf looks_in; /* prepare: for records, before it asks anybody to copy some */
	/* join: old members and new members, who is asked what */
	struct agi_id peer[2 * AGI_REPLICAS_MAX];
	uint64_t rpc[2 * AGI_REPLICAS_MAX];
	uint8_t n_peers, n_old;         /* the first n_old are old members */
	bool is_ready[2 * AGI_REPLICAS_MAX];  /* may be pulled from */
	bool is_active[2 * AGI_REPLICAS_MAX]; /* an active member of the new view */
	bool is_copy[2 * AGI_REPLICAS_MAX];   /* counts, but holds nothing of its own */
	uint8_t to_pull[AGI_REPLICAS_MAX], n_pull, pulling;
	bool is_pulling;
	uint32_t waiting;
	enum agi_view_phase phase[2 * AGI_REPLICAS_MAX]; /* recover: as it said */
	uint8_t place;
	bool is_told;
	struct agi_pull pull;           /* join, copy */
	/* copy: who waits for its end */
	struct agi_peer waiter;
	uint64_t waiter_rpc;            /* 0 = nobody */
	struct agi_timer answer;
	/* leave */
	struct agi_buf cursor, end, own, lack;
	bool has_more;
	uint64_t job;
};

/* Starts a piece of work on s; NULL when out of memory. */
struct agi_reconf *agi_reconf_begin(struct agi_dht *d, struct agi_slot *s, enum agi_work kind);
/* Ends and frees it; a failed slot pauses for a while before the next attempt. */
void agi_reconf_finish(struct agi_reconf *r, bool is_failed);
/* VIEW_DECIDED to one node: "this is the view, and these were the members before it". The answer is what
 * the node knows itself. *rpc (may be NULL) is set to the request's id, 0 when out of memory. */
void agi_reconf_tell(struct agi_dht *d, const struct agi_id *to, const struct agi_view *view,
                     const struct agi_id *prev, uint8_t n_prev, agi_rpc_fn *fn, void *arg, uint32_t which,
                     uint64_t *rpc);

/* Asks the newcomers of `wanted` to copy the slot, then proposes. */
void agi_reconf_prepare(struct agi_dht *d, struct agi_slot *s, const struct agi_view *wanted);
/* Paxos among the slot's members on `wanted` as their next view. */
void agi_reconf_propose(struct agi_dht *d, struct agi_slot *s, const struct agi_view *wanted);
/* Merges what the epoch before could have acknowledged, then becomes active. */
void agi_reconf_join(struct agi_dht *d, struct agi_slot *s);
/* Hands what is held over to the new members, then releases it. */
void agi_reconf_leave(struct agi_dht *d, struct agi_slot *s);
/* What was copied for a view that never came is dropped. */
void agi_copy_look_at(struct agi_dht *d, struct agi_slot *s);
/* The copying is cut short: whoever waits for it is told. */
void agi_copy_ended(struct agi_reconf *r);
/* A recovery's slot got a newer view meanwhile. */
void agi_recover_ended(struct agi_reconf *r);
bool agi_reconf_has_room(const struct agi_dht *d, enum agi_work kind);

#endif
