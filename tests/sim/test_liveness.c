/* SPDX-License-Identifier: Apache-2.0
 * Who is taken for dead, and by whom: others are asked, and a node in trouble doubts itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dht/state.h"
#include "scene.h"

enum { NODES = 5, SLOT_BITS = 4 };

static enum agi_link_state state_of(struct sim_world *w, uint32_t at, uint32_t of)
{
	struct agi_member m;

	for (size_t i = 1; agi_dht_member(w->node[at].dht, i, &m); i++)
		if (agi_id_eq(&m.contact.id, &w->node[of].id))
			return m.state;
	fail_msg("node %u does not know node %u", at, of);
	return AGI_MEMBER_SELF;
}

static void cut(struct sim_world *w, uint32_t a, uint32_t b, bool is_cut)
{
	w->is_cut[a][b] = w->is_cut[b][a] = is_cut;
}

static void cut_from_all(struct sim_world *w, uint32_t node, bool is_cut)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (i != node)
			cut(w, node, i, is_cut);
}

/* Milliseconds until all nodes but this one say so of it. */
static uint64_t ms_until_all_see(struct sim_world *w, uint32_t node, enum agi_link_state s, uint64_t at_most_ms)
{
	uint64_t begin = w->now_us;

	for (;;) {
		uint32_t n = 0;

		for (uint32_t i = 0; i < w->cfg.nodes; i++)
			n += i != node && w->node[i].dht && state_of(w, i, node) == s;
		if (n == sim_n_running(w) - (w->node[node].dht != NULL))
			return (w->now_us - begin) / 1000;
		if (w->now_us - begin > at_most_ms * 1000)
			return UINT64_MAX;
		run_ms(w, 10);
	}
}

static void a_host_that_crashed_is_down_within_three_quick_probes(void **state)
{
	struct sim_world *w = cluster_of(NODES, NODES, SLOT_BITS, 1);

	(void)state;
	sim_crash_node(w, 4);
	assert_true(ms_until_all_see(w, 4, AGI_MEMBER_DOWN, 10000) <= 1000 + 2 * 250 + 100);
	end(w);
}

static void a_host_that_falls_silent_is_down_within_three_probes(void **state)
{
	struct sim_world *w = cluster_of(NODES, NODES, SLOT_BITS, 2);
	uint64_t ms;

	(void)state;
	cut_from_all(w, 4, true);
	ms = ms_until_all_see(w, 4, AGI_MEMBER_DOWN, 30000);
	assert_true(ms <= 1000 + 3 * 1000 + 2 * 250 + 100);
	end(w);
}

static void a_pair_that_cannot_talk_works_on_and_takes_nobodys_place(void **state)
{
	struct sim_world *w = cluster_of(NODES, NODES, SLOT_BITS, 3);
	struct agi_view before[1 << SLOT_BITS], now;

	(void)state;
	fill(w, 0, "old");
	for (uint32_t s = 0; s < 1u << SLOT_BITS; s++)
		assert_int_equal(holders(w, s, &before[s]), 3);
	cut(w, 0, 1, true);
	run_ms(w, 5000);
	for (int s = 0; s < 60; s++) { /* three times down_after */
		run_ms(w, 1000);
		assert_int_equal(state_of(w, 0, 1), AGI_MEMBER_SUSPECT);
		assert_int_equal(state_of(w, 1, 0), AGI_MEMBER_SUSPECT);
	}
	fill(w, 0, "new"); /* the members that it reaches are asked, and lead */
	for (uint32_t s = 0; s < 1u << SLOT_BITS; s++) {
		assert_int_equal(holders(w, s, &now), 3);
		assert_int_equal(now.epoch, before[s].epoch);
	}
	cut(w, 0, 1, false);
	assert_true(ms_until_all_see(w, 0, AGI_MEMBER_UP, 10000) <= 2500);
	run_ms(w, 2000);
	check_filled(w, 1, "new");
	end(w);
}

static void a_cut_host_that_dies_is_replaced(void **state)
{
	struct sim_world *w = cluster_of(NODES, NODES, SLOT_BITS, 4);

	(void)state;
	cut(w, 0, 1, true);
	run_ms(w, 10000);
	assert_int_equal(state_of(w, 0, 1), AGI_MEMBER_SUSPECT);
	sim_crash_node(w, 1);
	assert_true(ms_until_all_see(w, 1, AGI_MEMBER_DOWN, 30000) <= 1000 + 3 * 1000 + 2 * 250 + 100);
	run_ms(w, 25000);
	settle(w, 3);
	end(w);
}

static void a_host_that_is_missed_shows_itself_at_once(void **state)
{
	struct sim_world *w = cluster_of(NODES, NODES, SLOT_BITS, 5);
	int n_missed = 0;

	(void)state;
	w->is_cut[0][1] = true; /* what 0 says does not arrive, what 1 says does */
	for (int i = 0; i < 10000; i++) {
		run_ms(w, 1);
		if (state_of(w, 0, 1) != AGI_MEMBER_SUSPECT)
			continue;
		n_missed++;
		run_ms(w, 20); /* some hops of at most 0.6 ms */
		assert_int_equal(state_of(w, 0, 1), AGI_MEMBER_UP);
	}
	assert_true(n_missed > 2);
	end(w);
}

static void a_node_that_stands_still_again_and_again_calls_nobody_dead(void **state)
{
	struct sim_world *w = cluster_of(NODES, NODES, SLOT_BITS, 6);

	(void)state;
	w->held_kind = AGI_MSG_PONG; /* it is asleep again when they come */
	w->held_us = 80000;
	for (int i = 0; i < 60; i++) {
		sim_pause_node(w, 0, w->now_us + 1300 * 1000);
		run_ms(w, 1299);
		agi_dht_tick(w->node[0].dht, sim_now(&w->node[0])); /* its timers first, then what has arrived */
		assert_int_equal(status(w, 0).members_suspect, 0);
		run_ms(w, 61);
		assert_int_equal(status(w, 0).members_suspect, 0);
		assert_int_equal(status(w, 0).members_down, 0);
	}
	end(w);
}

static void a_node_that_is_cut_off_doubts_itself_for_longer_than_others_doubt_it(void **state)
{
	struct sim_world *w = cluster_of(NODES, NODES, SLOT_BITS, 7);

	(void)state;
	cut_from_all(w, 0, true);
	assert_true(ms_until_all_see(w, 0, AGI_MEMBER_DOWN, 30000) < 30000);
	assert_int_equal(status(w, 0).members_down, 0);
	run_ms(w, 60000); /* but not for ever */
	assert_int_equal(status(w, 0).members_down, NODES - 1);
	cut_from_all(w, 0, false);
	assert_true(ms_until_all_see(w, 0, AGI_MEMBER_UP, 30000) < 30000);
	settle(w, 3);
	end(w);
}

static void who_is_slow_to_come_back_after_a_power_loss_keeps_its_place(void **state)
{
	struct sim_world *w = cluster_of(NODES, NODES, SLOT_BITS, 8);
	struct agi_view before[1 << SLOT_BITS], now;

	(void)state;
	for (uint32_t s = 0; s < 1u << SLOT_BITS; s++)
		assert_int_equal(holders(w, s, &before[s]), 3);
	for (uint32_t i = 0; i < NODES; i++)
		sim_crash_node(w, i);
	run_ms(w, 60000);
	for (uint32_t i = 0; i < NODES - 1; i++)
		sim_start_node(w, i);
	run_ms(w, 15000); /* down_after is 20 s */
	sim_start_node(w, NODES - 1);
	settle(w, 3);
	for (uint32_t s = 0; s < 1u << SLOT_BITS; s++) {
		assert_int_equal(holders(w, s, &now), 3);
		assert_int_equal(now.epoch, before[s].epoch);
	}
	end(w);
}

/* Messages of all nodes in so many milliseconds. */
static uint64_t sent_in(struct sim_world *w, uint64_t ms)
{
	uint64_t before = w->stats.messages;

	run_ms(w, ms);
	return w->stats.messages - before;
}

/* Twenty nodes that probe at most six others at the full interval. */
static struct sim_world *large_cluster(uint64_t seed)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg cfg = {.seed = seed, .nodes = 20, .slot_bits = 1, .near_hosts = 6,
	                      .is_verbose = getenv("VERBOSE") != NULL};

	assert_non_null(w);
	sim_set_up(w, &cfg);
	w->on_reply = on_reply;
	for (uint32_t i = 0; i < cfg.nodes; i++)
		sim_start_node(w, i);
	for (int s = 0; s < 240 && !do_all_know(w, cfg.nodes); s++)
		run_ms(w, 500);
	run_ms(w, 2000);
	settle(w, 3);
	return w;
}

static bool is_member(struct sim_world *w, uint32_t node)
{
	struct agi_view v;

	for (uint32_t s = 0; s < 1u << w->cfg.slot_bits; s++)
		if (holders(w, s, &v) == 0 || agi_view_has(&v, &w->node[node].id))
			return true;
	return false;
}

static void a_member_that_dies_is_found_by_the_other_members_as_soon_among_many(void **state)
{
	struct sim_world *w = large_cluster(9);
	uint32_t dead = 0;
	struct agi_view v;

	(void)state;
	while (dead < 19 && !is_member(w, dead))
		dead++;
	for (uint32_t s = 0; s < 2; s++) {
		holders(w, s, &v);
		if (agi_view_has(&v, &w->node[dead].id))
			break;
	}
	sim_crash_node(w, dead);
	run_ms(w, 1000 + 2 * 250 + 100);
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (i != dead && agi_view_has(&v, &w->node[i].id))
			assert_int_equal(state_of(w, i, dead), AGI_MEMBER_DOWN);
	run_ms(w, 25000); /* down_after is 20 s */
	settle(w, 3);
	end(w);
}

static void who_takes_a_dead_members_place_was_known_to_be_up(void **state)
{
	struct sim_world *w = large_cluster(10);
	const struct agi_contact *next[AGI_REPLICAS_MAX];
	const struct agi_dht *d;
	struct agi_view v;
	uint32_t member = 0, spare = 0;

	(void)state;
	assert_int_equal(holders(w, 0, &v), 3);
	while (!agi_id_eq(&w->node[member].id, &v.members[0]))
		member++;
	d = w->node[member].dht;
	assert_int_equal(agi_slot_ideal(&d->hosts.ring, 0, 1, 4, next), 4);
	while (!agi_id_eq(&w->node[spare].id, &next[3]->id))
		spare++;
	sim_crash_node(w, spare); /* nothing is held there */
	run_ms(w, 1000 + 2 * 250 + 100);
	assert_int_equal(state_of(w, member, spare), AGI_MEMBER_DOWN);
	end(w);
}

static void a_host_that_is_probed_rarely_is_found_dead_when_it_is_asked(void **state)
{
	struct sim_world *w = large_cluster(11);
	uint32_t asker = 0, dead = 19;

	(void)state;
	while (dead > 0 && (is_member(w, dead) || agi_hosts_find(w->node[asker].dht, &w->node[dead].id)->is_near))
		dead--;
	assert_true(dead > asker);
	sim_crash_node(w, dead);
	assert_int_equal(state_of(w, asker, dead), AGI_MEMBER_UP);
	agi_hosts_failed(w->node[asker].dht, &w->node[dead].id);
	sim_rearm(&w->node[asker]);
	run_ms(w, 2 * 250 + 100);
	assert_int_equal(state_of(w, asker, dead), AGI_MEMBER_DOWN);
	end(w);
}

static void idle_traffic_does_not_grow_with_the_cluster(void **state)
{
	struct sim_world *small = cluster_of(7, 7, 1, 12), *large = large_cluster(13);
	uint64_t few = sent_in(small, 30000) / 7, many = sent_in(large, 30000) / 20;

	(void)state;
	printf("# %llu messages a node in 30 s with 6 others, %llu with 19, of which 6 are near\n", (unsigned long long)few,
	       (unsigned long long)many);
	assert_true(many < few + few / 5 + 30 * 2 * 8); /* and what is spent on those that are far */
	end(small);
	end(large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_host_that_crashed_is_down_within_three_quick_probes),
	    cmocka_unit_test(a_host_that_falls_silent_is_down_within_three_probes),
	    cmocka_unit_test(a_pair_that_cannot_talk_works_on_and_takes_nobodys_place),
	    cmocka_unit_test(a_cut_host_that_dies_is_replaced),
	    cmocka_unit_test(a_host_that_is_missed_shows_itself_at_once),
	    cmocka_unit_test(a_node_that_stands_still_again_and_again_calls_nobody_dead),
	    cmocka_unit_test(a_node_that_is_cut_off_doubts_itself_for_longer_than_others_doubt_it),
	    cmocka_unit_test(a_member_that_dies_is_found_by_the_other_members_as_soon_among_many),
	    cmocka_unit_test(who_takes_a_dead_members_place_was_known_to_be_up),
	    cmocka_unit_test(a_host_that_is_probed_rarely_is_found_dead_when_it_is_asked),
	    cmocka_unit_test(idle_traffic_does_not_grow_with_the_cluster),
	    cmocka_unit_test(who_is_slow_to_come_back_after_a_power_loss_keeps_its_place),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
