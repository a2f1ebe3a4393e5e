/* SPDX-License-Identifier: Apache-2.0
 * Slots move: what the core promises when hosts join, drain, leave, die or change their weight or zone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dht/slot.h"
#include "world.h"

enum { SECOND = 1000000, KEYS = 60 };

/* --- helpers --------------------------------------------------------------------------------------- */

static struct {
	bool is_there;
	enum agi_err err;
	char why[200], value[64];
	uint32_t acks;
	bool found;
} got;

static void on_reply(struct sim_node *n, uint64_t call_id, const struct agi_result *res)
{
	size_t len = res->value.n < 63 ? res->value.n : 63;

	(void)n, (void)call_id;
	got.is_there = true;
	got.err = res->err;
	got.acks = res->acks;
	got.found = res->found;
	memcpy(got.why, res->why.text, sizeof got.why);
	got.why[sizeof got.why - 1] = '\0';
	if (len)
		memcpy(got.value, res->value.p, len);
	got.value[len] = '\0';
}

static void run_ms(struct sim_world *w, uint64_t ms) { sim_run_until(w, w->now_us + ms * 1000); }

static void ask(struct sim_world *w, uint32_t node, const struct agi_call *call)
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

static enum agi_err put(struct sim_world *w, uint32_t node, const char *key, const char *value,
                        enum agi_level level)
{
	struct agi_call c = {.kind = AGI_CALL_PUT, .key = agi_str_of(key), .value = agi_str_of(value),
	                     .level = level, .timeout_ms = 4000};

	ask(w, node, &c);
	return got.err;
}

static const char *get(struct sim_world *w, uint32_t node, const char *key, enum agi_level level)
{
	struct agi_call c = {.kind = AGI_CALL_GET, .key = agi_str_of(key), .level = level, .timeout_ms = 4000};

	ask(w, node, &c);
	return got.err == AGI_OK ? got.value : agi_err_name(got.err);
}

static enum agi_err order(struct sim_world *w, uint32_t node, enum agi_call_kind kind, bool is_forced)
{
	struct agi_call c = {.kind = kind, .is_forced = is_forced};

	ask(w, node, &c);
	return got.err;
}

static struct agi_dht_status status(struct sim_world *w, uint32_t node)
{
	struct agi_dht_status st;

	agi_dht_status(w->node[node].dht, &st);
	return st;
}

static bool is_running(struct sim_world *w, uint32_t i) { return w->node[i].dht && !status(w, i).is_left; }

static bool is_quiet(struct sim_world *w, uint32_t i)
{
	struct agi_dht_status st = status(w, i);

	return st.is_ready && !st.reconfigs && !st.slots_joining && !st.slots_sealed && !st.slots_leaving;
}

/* Active members of a slot among the running nodes, when they agree on its view; else 0. */
static uint32_t holders(struct sim_world *w, uint32_t slot, struct agi_view *view)
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
static bool is_spread(struct sim_world *w, uint32_t replicas)
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

static void settle(struct sim_world *w, uint32_t replicas)
{
	for (int s = 0; s < 300 && !is_spread(w, replicas); s++)
		run_ms(w, 500);
	assert_string_equal(w->failure, "");
	assert_true(is_spread(w, replicas));
}

static bool do_all_know(struct sim_world *w, uint32_t running)
{
	for (uint32_t i = 0; i < running; i++)
		if (status(w, i).members_up != running - 1)
			return false;
	return true;
}

static struct sim_world *cluster_of(uint32_t nodes, uint32_t running, uint32_t slot_bits, uint64_t seed)
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

static void end(struct sim_world *w)
{
	assert_string_equal(w->failure, "");
	sim_tear_down(w);
	free(w);
}

static void name_of(char key[16], uint32_t i) { snprintf(key, 16, "key-%u", i); }

/* Eventual items at quorum, and as many registers. */
static void fill(struct sim_world *w, uint32_t node, const char *value)
{
	char key[16];

	for (uint32_t i = 0; i < KEYS; i++) {
		name_of(key, i);
		assert_int_equal(put(w, node, key, value, AGI_LEVEL_QUORUM), AGI_OK);
		assert_int_equal(put(w, node, key, value, AGI_LEVEL_STRONG), AGI_OK);
	}
}

static void check_filled(struct sim_world *w, uint32_t node, const char *value)
{
	char key[16];

	for (uint32_t i = 0; i < KEYS; i++) {
		name_of(key, i);
		assert_string_equal(get(w, node, key, AGI_LEVEL_ALL), value);
		assert_string_equal(get(w, node, key, AGI_LEVEL_STRONG), value);
	}
}

static uint32_t slots_of(struct sim_world *w, uint32_t node)
{
	uint32_t n = 0;

	for (uint32_t s = 0; s < 1u << w->cfg.slot_bits; s++) {
		struct agi_view v;
		enum agi_view_phase phase;

		n += agi_dht_slot(w->node[node].dht, s, &v, &phase) && phase == AGI_VIEW_ACTIVE;
	}
	return n;
}

static void restart(struct sim_world *w, uint32_t node)
{
	sim_crash_node(w, node);
	sim_start_node(w, node);
}

/* --- drain ------------------------------------------------------------------------------------------- */

static void a_drained_host_gives_every_slot_away_and_loses_nothing(void **state)
{
	struct sim_world *w = cluster_of(5, 5, 5, 1);

	(void)state;
	fill(w, 0, "before");
	assert_true(slots_of(w, 2) > 0);
	assert_int_equal(order(w, 2, AGI_CALL_DRAIN, false), AGI_OK);
	settle(w, 3);
	assert_int_equal(slots_of(w, 2), 0);
	assert_true(status(w, 2).is_ready); /* still a member, and a way in */
	check_filled(w, 2, "before");
	end(w);
}

static void a_drain_survives_a_restart_and_is_taken_back(void **state)
{
	struct sim_world *w = cluster_of(4, 4, 4, 2);

	(void)state;
	assert_int_equal(order(w, 1, AGI_CALL_DRAIN, false), AGI_OK);
	restart(w, 1);
	run_ms(w, 3000);
	assert_true(status(w, 1).is_drained);
	settle(w, 3);
	assert_int_equal(slots_of(w, 1), 0);
	restart(w, 3);
	settle(w, 3);
	assert_int_equal(slots_of(w, 1), 0);
	assert_int_equal(order(w, 1, AGI_CALL_UNDRAIN, false), AGI_OK);
	run_ms(w, 3000);
	settle(w, 3);
	assert_true(slots_of(w, 1) > 0);
	restart(w, 1);
	run_ms(w, 3000);
	assert_false(status(w, 1).is_drained);
	end(w);
}

static void too_few_hosts_refuse_a_drain_and_force_makes_fewer_replicas(void **state)
{
	struct sim_world *w = cluster_of(3, 3, 4, 3);

	(void)state;
	fill(w, 0, "v");
	assert_int_equal(order(w, 2, AGI_CALL_DRAIN, false), AGI_E_TOO_FEW_HOSTS);
	assert_non_null(strstr(got.why, "2 hosts would remain for 3 replicas"));
	run_ms(w, 5000);
	assert_int_equal(slots_of(w, 2), 16);
	assert_int_equal(order(w, 2, AGI_CALL_DRAIN, true), AGI_OK);
	settle(w, 2);
	assert_int_equal(slots_of(w, 2), 0);
	assert_int_equal(order(w, 1, AGI_CALL_LEAVE, true), AGI_OK);
	settle(w, 1);
	/* the last copy goes nowhere */
	assert_int_equal(order(w, 0, AGI_CALL_LEAVE, true), AGI_E_TOO_FEW_HOSTS);
	assert_int_equal(order(w, 2, AGI_CALL_UNDRAIN, false), AGI_OK);
	run_ms(w, 3000);
	settle(w, 2);
	check_filled(w, 0, "v");
	end(w);
}

static void a_host_drained_without_force_keeps_what_nobody_else_can_take(void **state)
{
	struct sim_world *w = cluster_of(4, 4, 4, 4);

	(void)state;
	assert_int_equal(order(w, 2, AGI_CALL_DRAIN, false), AGI_OK);
	settle(w, 3);
	assert_int_equal(order(w, 3, AGI_CALL_DRAIN, false), AGI_E_TOO_FEW_HOSTS);
	sim_crash_node(w, 3);
	run_ms(w, 40000); /* longer than down_after: two hosts of weight are left */
	for (uint32_t s = 0; s < 16; s++) {
		struct agi_view v;
		enum agi_view_phase phase;

		assert_true(agi_dht_slot(w->node[0].dht, s, &v, &phase));
		assert_int_equal(v.n_members, 3);
	}
	end(w);
}

/* --- leave -------------------------------------------------------------------------------------------- */

static void a_host_that_left_is_forgotten_and_its_disk_never_speaks_again(void **state)
{
	struct sim_world *w = cluster_of(5, 5, 5, 5);

	(void)state;
	fill(w, 0, "kept");
	assert_int_equal(order(w, 4, AGI_CALL_LEAVE, false), AGI_OK);
	for (int s = 0; s < 120 && !status(w, 4).is_left; s++)
		run_ms(w, 500);
	assert_true(status(w, 4).is_left);
	run_ms(w, 2000);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(status(w, i).members_up, 3);
		assert_int_equal(status(w, i).members_down, 0);
	}
	restart(w, 4);
	assert_true(status(w, 4).is_left); /* the shell does not start such a node */
	sim_crash_node(w, 4);
	restart(w, 0); /* nobody remembers it either */
	run_ms(w, 3000);
	assert_int_equal(status(w, 0).members_down, 0);
	settle(w, 3);
	check_filled(w, 1, "kept");
	end(w);
}

static void leaving_goes_on_after_a_crash(void **state)
{
	struct sim_world *w = cluster_of(5, 5, 5, 6);

	(void)state;
	fill(w, 0, "kept");
	assert_int_equal(order(w, 3, AGI_CALL_LEAVE, false), AGI_OK);
	for (int i = 0; i < 6; i++) {
		run_ms(w, 700);
		restart(w, 3);
	}
	for (int s = 0; s < 240 && !status(w, 3).is_left; s++)
		run_ms(w, 500);
	assert_true(status(w, 3).is_left);
	sim_crash_node(w, 3);
	settle(w, 3);
	check_filled(w, 0, "kept");
	end(w);
}

static void a_leave_can_be_taken_back_before_it_is_done(void **state)
{
	struct sim_world *w = cluster_of(4, 4, 4, 7);

	(void)state;
	assert_int_equal(order(w, 0, AGI_CALL_LEAVE, false), AGI_OK);
	run_ms(w, 300);
	assert_int_equal(order(w, 0, AGI_CALL_UNDRAIN, false), AGI_OK);
	run_ms(w, 10000);
	assert_false(status(w, 0).is_left);
	settle(w, 3);
	assert_true(slots_of(w, 0) > 0);
	end(w);
}

/* --- join, death, place --------------------------------------------------------------------------------- */

static void a_host_that_joins_takes_its_share(void **state)
{
	struct sim_world *w = cluster_of(6, 3, 6, 8);

	(void)state;
	fill(w, 0, "v");
	for (uint32_t i = 3; i < 6; i++) {
		sim_start_node(w, i);
		run_ms(w, 4000);
	}
	settle(w, 3);
	for (uint32_t i = 0; i < 6; i++)
		assert_true(slots_of(w, i) > 8); /* of 32 on average */
	check_filled(w, 5, "v");
	end(w);
}

static void a_host_down_for_long_is_replaced_and_not_before(void **state)
{
	struct sim_world *w = cluster_of(4, 4, 4, 9);
	struct agi_view before, v;
	uint32_t slot = 0;

	(void)state;
	fill(w, 0, "v");
	for (slot = 0; slot < 16; slot++) {
		assert_int_equal(holders(w, slot, &before), 3);
		if (agi_view_has(&before, &w->node[3].id))
			break;
	}
	sim_crash_node(w, 3);
	run_ms(w, 15000); /* down_after is 20 s */
	assert_int_equal(holders(w, slot, &v), 0); /* still the view that has it */
	run_ms(w, 20000);
	settle(w, 3);
	assert_int_equal(holders(w, slot, &v), 3);
	assert_false(agi_view_has(&v, &w->node[3].id));
	check_filled(w, 1, "v");
	end(w);
}

static void a_wiped_disk_comes_back_as_a_new_host_and_the_old_one_is_replaced(void **state)
{
	struct sim_world *w = cluster_of(4, 4, 4, 10);
	struct agi_id old = w->node[2].id;

	(void)state;
	fill(w, 0, "v");
	sim_wipe_node(w, 2);
	sim_start_node(w, 2);
	run_ms(w, 45000); /* longer than down_after */
	settle(w, 3);
	for (uint32_t s = 0; s < 16; s++) {
		struct agi_view v;

		assert_int_equal(holders(w, s, &v), 3);
		assert_false(agi_view_has(&v, &old));
	}
	for (uint32_t i = 0; i < 4; i++) /* the old identity at this address is forgotten */
		assert_int_equal(status(w, i).members_down, 0);
	check_filled(w, 2, "v");
	end(w);
}

static void set_place(struct sim_world *w, uint32_t i, uint32_t weight_milli, const char *zone)
{
	agi_dht_set_place(w->node[i].dht, sim_now(&w->node[i]), weight_milli, zone);
	sim_rearm(&w->node[i]);
}

static void a_change_of_weight_moves_slots(void **state)
{
	struct sim_world *w = cluster_of(6, 6, 6, 11);
	uint32_t before = slots_of(w, 1);

	(void)state;
	fill(w, 0, "v");
	set_place(w, 1, 4000, "");
	run_ms(w, 4000);
	settle(w, 3);
	assert_true(slots_of(w, 1) > before + before / 2);
	set_place(w, 1, 125, "");
	run_ms(w, 4000);
	settle(w, 3);
	assert_true(slots_of(w, 1) < before / 2);
	check_filled(w, 0, "v");
	end(w);
}

static void a_change_of_zones_spreads_the_replicas_over_them(void **state)
{
	struct sim_world *w = cluster_of(6, 6, 5, 12);
	static const char *const zones[] = {"r1", "r1", "r2", "r2", "r3", "r3"};

	(void)state;
	fill(w, 0, "v");
	for (uint32_t i = 0; i < 6; i++)
		set_place(w, i, 1000, zones[i]);
	run_ms(w, 5000);
	settle(w, 3);
	for (uint32_t s = 0; s < 32; s++) {
		struct agi_view v;
		uint32_t in_zone[3] = {0};

		assert_int_equal(holders(w, s, &v), 3);
		for (uint32_t i = 0; i < 6; i++)
			in_zone[i / 2] += agi_view_has(&v, &w->node[i].id);
		for (int z = 0; z < 3; z++)
			assert_int_equal(in_zone[z], 1);
	}
	check_filled(w, 0, "v");
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_drained_host_gives_every_slot_away_and_loses_nothing),
	    cmocka_unit_test(a_drain_survives_a_restart_and_is_taken_back),
	    cmocka_unit_test(too_few_hosts_refuse_a_drain_and_force_makes_fewer_replicas),
	    cmocka_unit_test(a_host_drained_without_force_keeps_what_nobody_else_can_take),
	    cmocka_unit_test(a_host_that_left_is_forgotten_and_its_disk_never_speaks_again),
	    cmocka_unit_test(leaving_goes_on_after_a_crash),
	    cmocka_unit_test(a_leave_can_be_taken_back_before_it_is_done),
	    cmocka_unit_test(a_host_that_joins_takes_its_share),
	    cmocka_unit_test(a_host_down_for_long_is_replaced_and_not_before),
	    cmocka_unit_test(a_wiped_disk_comes_back_as_a_new_host_and_the_old_one_is_replaced),
	    cmocka_unit_test(a_change_of_weight_moves_slots),
	    cmocka_unit_test(a_change_of_zones_spreads_the_replicas_over_them),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
