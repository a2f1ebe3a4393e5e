/* SPDX-License-Identifier: Apache-2.0
 * Scenes with slots that move: a simulated cluster, what is asked of it, and how it is looked at. Shared by
 * test_reconf.c and test_recover.c, which include it after cmocka. */
#ifndef SIM_SCENE_H
#define SIM_SCENE_H

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "dht/slot.h"
#include "world.h"

enum { SECOND = 1000000, KEYS = 60, NEVER = 1 << 30 };

static struct {
	bool is_there;
	enum agi_err err;
	char why[200], value[64];
	uint32_t acks;
	bool found;
} got;
static struct agi_recovered recovered;

static inline void on_reply(struct sim_node *n, uint64_t call_id, const struct agi_result *res)
{
	size_t len = res->value.n < 63 ? res->value.n : 63;

	(void)n, (void)call_id;
	got.is_there = true;
	got.err = res->err;
	got.acks = res->acks;
	got.found = res->found;
	recovered = res->recovered;
	memcpy(got.why, res->why.text, sizeof got.why);
	got.why[sizeof got.why - 1] = '\0';
	if (len)
		memcpy(got.value, res->value.p, len);
	got.value[len] = '\0';
}

static inline void run_ms(struct sim_world *w, uint64_t ms) { sim_run_until(w, w->now_us + ms * 1000); }

static inline void ask(struct sim_world *w, uint32_t node, const struct agi_call *call)
{
	static uint64_t next = SIM_OWN_CALL;
	struct sim_node *n = &w->node[node];

	got.is_there = false;
	agi_dht_call(n->dht, sim_now(n), next++, call);
	sim_rearm(n);
	for (int i = 0; i < 2000 && !got.is_there; i++)
		run_ms(w, 5);
	assert_true(got.is_there);
}

static inline enum agi_err put(struct sim_world *w, uint32_t node, const char *key, const char *value,
                        enum agi_level level)
{
	struct agi_call c = {.kind = AGI_CALL_PUT, .key = agi_str_of(key), .value = agi_str_of(value),
	                     .level = level, .timeout_ms = 4000};

	ask(w, node, &c);
	return got.err;
}

static inline const char *get(struct sim_world *w, uint32_t node, const char *key, enum agi_level level)
{
	struct agi_call c = {.kind = AGI_CALL_GET, .key = agi_str_of(key), .level = level, .timeout_ms = 4000};

	ask(w, node, &c);
	return got.err == AGI_OK ? got.value : agi_err_name(got.err);
}

static inline enum agi_err order(struct sim_world *w, uint32_t node, enum agi_call_kind kind, bool is_forced)
{
	struct agi_call c = {.kind = kind, .is_forced = is_forced};

	ask(w, node, &c);
	return got.err;
}

static inline struct agi_dht_status status(struct sim_world *w, uint32_t node)
{
	struct agi_dht_status st;

	agi_dht_status(w->node[node].dht, &st);
	return st;
}

static inline bool is_running(struct sim_world *w, uint32_t i) { return w->node[i].dht && !status(w, i).is_left; }

static inline bool is_quiet(struct sim_world *w, uint32_t i)
{
	struct agi_dht_status st = status(w, i);
	struct agi_dht_moves m;

	agi_dht_moves(w->node[i].dht, &m);
	return m.is_settled && st.is_ready && !st.reconfigs && !st.slots_joining && !st.slots_sealed && !st.slots_leaving;
}

/* Active members of a slot among the running nodes, when they agree on its view; else 0. */
static inline uint32_t holders(struct sim_world *w, uint32_t slot, struct agi_view *view)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		enum agi_view_phase phase;
		struct agi_view v;

		if (!is_running(w, i) || !agi_dht_slot(w->node[i].dht, slot, &v, &phase) ||
		    phase != AGI_VIEW_ACTIVE)
			continue;
		if (n++ > 0 && v.epoch != view->epoch)
			return 0;
		*view = v;
	}
	return n && n == view->n_members ? n : 0;
}

/* Nothing moves, and every slot has so many active members, the ones without weight left out. */
static inline bool is_spread(struct sim_world *w, uint32_t replicas)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (is_running(w, i) && !is_quiet(w, i))
			return false;
	for (uint32_t s = 0; s < 1u << w->cfg.slot_bits; s++) {
		struct agi_view v;

		if (holders(w, s, &v) != replicas)
			return false;
		for (uint32_t i = 0; i < w->cfg.nodes; i++)
			if (is_running(w, i) && status(w, i).is_drained && agi_view_has(&v, &w->node[i].id) &&
			    replicas > 1)
				return false;
	}
	return true;
}

static inline void tell(struct sim_world *w)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		struct agi_dht_status st;
		struct agi_dht_moves m;

		if (!is_running(w, i))
			continue;
		st = status(w, i);
		agi_dht_moves(w->node[i].dht, &m);
		printf("# node %u: active %u joining %u sealed %u leaving %u copies %u; wanted %u preparing %u proposing %u "
		       "joining %u leaving %u copying %u, reconfigs %u\n",
		       i, st.slots_active, st.slots_joining, st.slots_sealed, st.slots_leaving, m.copies, m.wanted,
		       m.preparing, m.proposing, m.joining, m.leaving, m.copying, st.reconfigs);
	}
}

static inline void settle(struct sim_world *w, uint32_t replicas)
{
	for (int s = 0; s < 300 && !is_spread(w, replicas); s++)
		run_ms(w, 500);
	assert_string_equal(w->failure, "");
	if (!is_spread(w, replicas))
		tell(w);
	assert_true(is_spread(w, replicas));
}

static inline bool do_all_know(struct sim_world *w, uint32_t running)
{
	for (uint32_t i = 0; i < running; i++)
		if (status(w, i).members_up != running - 1)
			return false;
	return true;
}

static inline struct sim_world *cluster_of(uint32_t nodes, uint32_t running, uint32_t slot_bits, uint64_t seed)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg cfg = {.seed = seed, .nodes = nodes, .slot_bits = slot_bits,
	                      .is_verbose = getenv("VERBOSE") != NULL};

	assert_non_null(w);
	sim_set_up(w, &cfg);
	w->on_reply = on_reply;
	for (uint32_t i = 0; i < running; i++)
		sim_start_node(w, i);
	for (int s = 0; s < 60 && !do_all_know(w, running); s++)
		run_ms(w, 500);
	run_ms(w, 2000); /* what is stable now begins to move */
	settle(w, running < 3 ? running : 3);
	return w;
}

static inline void end(struct sim_world *w)
{
	assert_string_equal(w->failure, "");
	sim_tear_down(w);
	free(w);
}

static inline void name_of(char key[16], uint32_t i) { snprintf(key, 16, "key-%u", i); }

/* Eventual items at quorum, and as many registers. */
static inline void fill(struct sim_world *w, uint32_t node, const char *value)
{
	char key[16];

	for (uint32_t i = 0; i < KEYS; i++) {
		name_of(key, i);
		assert_int_equal(put(w, node, key, value, AGI_LEVEL_QUORUM), AGI_OK);
		assert_int_equal(put(w, node, key, value, AGI_LEVEL_STRONG), AGI_OK);
	}
}

static inline void check_filled(struct sim_world *w, uint32_t node, const char *value)
{
	char key[16];

	for (uint32_t i = 0; i < KEYS; i++) {
		name_of(key, i);
		assert_string_equal(get(w, node, key, AGI_LEVEL_ALL), value);
		assert_string_equal(get(w, node, key, AGI_LEVEL_STRONG), value);
	}
}

static inline uint32_t slots_of(struct sim_world *w, uint32_t node)
{
	uint32_t n = 0;

	for (uint32_t s = 0; s < 1u << w->cfg.slot_bits; s++) {
		struct agi_view v;
		enum agi_view_phase phase;

		n += agi_dht_slot(w->node[node].dht, s, &v, &phase) && phase == AGI_VIEW_ACTIVE;
	}
	return n;
}

static inline void restart(struct sim_world *w, uint32_t node)
{
	sim_crash_node(w, node);
	sim_start_node(w, node);
}

static inline struct agi_dht_moves moves(struct sim_world *w, uint32_t node)
{
	struct agi_dht_moves m;

	agi_dht_moves(w->node[node].dht, &m);
	return m;
}

/* Storage was asked for something, or finished something. */
static inline bool has_disk_moved(const struct sim_node *n, size_t *pending, const struct sim_pending **first)
{
	bool has = n->disk.n_pending != *pending || n->disk.first != *first;

	*pending = n->disk.n_pending;
	*first = n->disk.first;
	return has;
}

#endif
