/* SPDX-License-Identifier: Apache-2.0
 * Many nodes of the shipped core (src/dht) in one process under a virtual clock, made light: storage takes what it is
 * given and keeps nothing, slots stay with the node that founded the cluster (stable_ms never passes), nobody reads or
 * writes items. What is left is what has to scale: membership, routing, lookups, coordinates, registry.
 *
 * tests/sim drives a few nodes with whole disks to find errors of the protocol; this one drives thousands to measure.
 * All that is random comes from the seed: the same options give the same run, event by event (trace). */
#ifndef AGI_SIM_WORLD_H
#define AGI_SIM_WORLD_H

#include "dht/dht.h"
#include "sim/events.h"
#include "sim/latency.h"
#include "sim/options.h"
#include "sim/packet.h"

struct agi_sim_traffic {
	uint64_t messages, bytes; /* sent by this node to others, frames included */
};
struct agi_sim_node {
	struct agi_sim_world *w;
	struct agi_dht *dht;      /* NULL: is not running */
	struct agi_id id;
	uint32_t index;
	uint32_t life;            /* grows with each start and stop */
	uint64_t timer_at;        /* when its next timer event comes; AGI_NEVER = none queued */
	uint64_t started_us;
	bool is_joined;           /* in the cluster, and its own lookup has ended */
	struct agi_sim_traffic sent;
	struct agi_coord coord;   /* as last told to somebody */
	bool has_coord;
	struct agi_id asked_for;  /* of an adversary: the last FIND_NODE */
};
struct agi_sim_world {
	struct agi_sim_opts opts;
	struct agi_prng prng;     /* jitter, loss, seeds of nodes */
	uint64_t now_us;
	struct agi_sim_events events;
	struct agi_sim_latency latency;
	struct agi_sim_churn churn;
	bool is_churning;         /* who starts from now on will stop */
	struct agi_sim_attack attack;
	struct agi_sim_node *node;
	uint32_t n_running, n_joined;
	uint64_t *points;         /* first 64 bits of the ids of each node's virtual nodes */
	uint32_t *by_id, n_by_id, n_indexed; /* hash table of 1 + index by id */
	uint64_t n_events, n_messages, n_lost, n_stops, trace;
	/* The measurement's part. */
	void *user;
	void (*on_event)(void *user, const struct agi_sim_event *e); /* LOOKUP */
	void (*on_reply)(void *user, struct agi_sim_node *n, uint64_t call_id, const struct agi_result *res);
	void (*on_joined)(void *user, struct agi_sim_node *n);
};

AGI_MUST_USE enum agi_err agi_sim_world_init(struct agi_sim_world *w, const struct agi_sim_opts *opts,
                                             struct agi_why *why);
void agi_sim_world_free(struct agi_sim_world *w);
void agi_sim_world_push(struct agi_sim_world *w, uint64_t at_us, enum agi_sim_event_kind kind, uint32_t node);
void agi_sim_world_run(struct agi_sim_world *w, uint64_t until_us);
/* A call of node n, which runs; its reply goes to on_reply. */
void agi_sim_world_call(struct agi_sim_node *n, uint64_t call_id, const struct agi_call *call);
/* The node of this id, or NULL. */
struct agi_sim_node *agi_sim_world_find(struct agi_sim_world *w, const struct agi_id *id);
/* Hosts leave from now on, and others come in their place. */
void agi_sim_world_churn(struct agi_sim_world *w);
bool agi_sim_world_is_adversary(const struct agi_sim_node *n);
/* The honest joined node that truly is nearest to target, found by looking at every virtual node of every one; NULL
 * when there is none. */
struct agi_sim_node *agi_sim_world_nearest(struct agi_sim_world *w, const struct agi_id *target);
/* Distance from target to the nearest virtual node of n. */
uint64_t agi_sim_world_distance(const struct agi_sim_node *n, const struct agi_id *target);

#endif
