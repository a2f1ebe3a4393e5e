/* SPDX-License-Identifier: Apache-2.0
 * Slots move: what the core promises when hosts join, drain, leave, die or change their weight or zone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dht/reconf.h"
#include "scene_leave.h"

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

static void a_host_that_a_proposal_names_leaves_when_it_is_decided(void **state)
{
	(void)state;
	scene_of_a_leave();
}

static void a_host_that_leaves_waits_for_one_that_is_down_only_until_that_one_is_replaced(void **state)
{
	struct sim_world *w = cluster_of(5, 5, 4, 13);

	(void)state;
	fill(w, 0, "kept");
	sim_crash_node(w, 0);
	assert_int_equal(order(w, 4, AGI_CALL_LEAVE, false), AGI_OK);
	run_ms(w, 15000); /* down_after is 20 s */
	assert_false(status(w, 4).is_left);
	for (int s = 0; s < 240 && !status(w, 4).is_left; s++)
		run_ms(w, 500);
	assert_true(status(w, 4).is_left);
	settle(w, 3);
	check_filled(w, 1, "kept");
	end(w);
}

static void who_is_drained_or_unknown_is_not_taken_in_by_a_new_proposal(void **state)
{
	static const uint32_t members[] = {0, 1, 3};
	struct sim_world *w = cluster_of(4, 4, 4, 14);
	struct agi_view before, v;

	(void)state;
	assert_int_equal(order(w, 3, AGI_CALL_DRAIN, false), AGI_OK);
	settle(w, 3);
	assert_int_equal(holders(w, 0, &before), 3);
	propose(w, 0, 0, members, 3);
	run_ms(w, 2000);
	settle(w, 3);
	assert_int_equal(holders(w, 0, &v), 3);
	assert_true(v.epoch == before.epoch);
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

/* --- pre-copy -------------------------------------------------------------------------------------------- */

/* Larger items, straight into the disks of a slot's members: how much there is, not how it came, matters here. */
static void fill_disks(struct sim_world *w, uint32_t items, uint32_t value_bytes)
{
	char *value = calloc(1, value_bytes);

	assert_non_null(value);
	for (uint32_t i = 0; i < items; i++) {
		char key[16];
		struct agi_call c = {.kind = AGI_CALL_PUT, .value = {value, value_bytes}, .level = AGI_LEVEL_ALL,
		                     .timeout_ms = 4000};

		snprintf(key, sizeof key, "big-%u", i);
		memcpy(value, key, strlen(key));
		c.key = agi_str_of(key);
		ask(w, 0, &c);
		assert_int_equal(got.err, AGI_OK);
	}
	free(value);
}

static size_t records_on(const struct sim_world *w, uint32_t node)
{
	return w->node[node].disk.cf[AGI_CF_ITEMS].n + w->node[node].disk.cf[AGI_CF_STRONG].n;
}

static void a_newcomer_has_nearly_everything_before_the_slot_is_sealed(void **state)
{
	struct sim_world *w = cluster_of(4, 3, 3, 20);
	struct agi_dht_moves m;
	uint64_t pauses = 0, us = 0, max_us = 0;

	(void)state;
	fill_disks(w, 800, 2000);
	sim_start_node(w, 3);
	run_ms(w, 4000);
	settle(w, 3);
	m = moves(w, 3);
	assert_true(m.stats.slots_in > 0);
	assert_true(m.stats.bytes_in > 100000);
	assert_int_equal(m.stats.bytes_sealed, 0); /* nobody wrote meanwhile */
	for (uint32_t i = 0; i < 3; i++) {
		m = moves(w, i);
		pauses += m.stats.sealed;
		us += m.stats.sealed_us;
		if (m.stats.sealed_max_us > max_us)
			max_us = m.stats.sealed_max_us;
	}
	printf("# a slot of 200 KB paused for %.1f ms on average, %.1f ms at most\n",
	       (double)us / (double)pauses / 1000, (double)max_us / 1000);
	assert_true(max_us < 50000);
	end(w);
}

static void the_limit_of_bytes_per_second_holds_and_what_is_written_meanwhile_is_there(void **state)
{
	struct sim_world *w = cluster_of(4, 3, 3, 21);
	uint64_t began, took;
	struct agi_dht_moves m;

	(void)state;
	fill_disks(w, 400, 2000); /* 800 KB, of which the newcomer takes three quarters */
	sim_start_node(w, 3);
	agi_dht_set_rebalance(w->node[3].dht, sim_now(&w->node[3]), 50000, 4);
	began = w->now_us;
	run_ms(w, 4000);
	fill(w, 1, "while it moves");
	assert_true(moves(w, 3).copying > 0); /* still at it */
	settle(w, 3);
	took = w->now_us - began;
	m = moves(w, 3);
	assert_true(m.stats.throttled > 0);
	assert_true(took / 1000000 >= m.stats.bytes_in / 50000 * 8 / 10);
	assert_true(took / 1000000 <= m.stats.bytes_in / 50000 * 2 + 10);
	assert_true(m.stats.bytes_sealed < m.stats.bytes_in / 4);
	check_filled(w, 3, "while it moves");
	end(w);
}

static void a_copy_for_a_view_that_never_comes_is_dropped(void **state)
{
	struct sim_world *w = cluster_of(4, 3, 3, 22);

	(void)state;
	fill_disks(w, 400, 2000);
	sim_start_node(w, 3);
	agi_dht_set_rebalance(w->node[3].dht, sim_now(&w->node[3]), 20000, 4);
	for (int i = 0; i < 100 && (moves(w, 3).copies == 0 || records_on(w, 3) == 0); i++)
		run_ms(w, 200);
	assert_true(records_on(w, 3) > 0);
	assert_int_equal(status(w, 3).slots_active, 0);
	restart(w, 3); /* the mark is durable */
	assert_true(moves(w, 3).copies > 0);
	run_ms(w, 100);
	assert_int_equal(order(w, 3, AGI_CALL_DRAIN, false), AGI_OK);
	run_ms(w, 10000);
	assert_true(moves(w, 3).copies > 0); /* kept, should they be wanted again; nobody waits for it */
	assert_true(moves(w, 3).is_settled);
	run_ms(w, 90000);
	assert_int_equal(moves(w, 3).copies, 0);
	assert_int_equal(records_on(w, 3), 0);
	settle(w, 3);
	end(w);
}

/* Behind the core's back, as if its tombstone had been collected long ago. */
static void erase_everywhere(struct sim_world *w, const char *key, uint32_t but)
{
	struct agi_buf b;
	struct agi_storage_op op = {.verb = AGI_DELETE, .cf = AGI_CF_ITEMS};
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = &op, .n_ops = 1};

	w->is_edited = true;
	agi_buf_init(&b, 0);
	agi_buf_u32(&b, agi_dht_slot_of(w->node[0].dht, (struct agi_str){"", 0}, agi_str_of(key)));
	agi_buf_u8(&b, 0);
	agi_buf_put_str(&b, agi_str_of(key));
	op.key = agi_buf_str(&b);
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (i != but)
			sim_disk_submit(&w->node[i].disk, UINT64_C(1) << 60, &req);
	op.cf = AGI_CF_STRONG;
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (i != but)
			sim_disk_submit(&w->node[i].disk, UINT64_C(1) << 60, &req);
	agi_buf_free(&b);
}

static void what_was_collected_after_it_was_copied_does_not_come_back(void **state)
{
	struct sim_world *w = cluster_of(4, 3, 2, 23);

	(void)state;
	fill(w, 0, "dead soon");
	fill_disks(w, 300, 4000);
	sim_start_node(w, 3);
	agi_dht_set_rebalance(w->node[3].dht, sim_now(&w->node[3]), 100000, 4);
	for (int i = 0; i < 200 && records_on(w, 3) < 100; i++)
		run_ms(w, 50);
	assert_true(records_on(w, 3) >= 100);
	assert_int_equal(status(w, 3).slots_active, 0);
	for (uint32_t i = 0; i < KEYS; i++) {
		char key[16];

		name_of(key, i);
		erase_everywhere(w, key, 3);
	}
	run_ms(w, 2000);
	settle(w, 3);
	assert_true(status(w, 3).slots_active > 0);
	for (uint32_t i = 0; i < KEYS; i++) {
		char key[16];

		name_of(key, i);
		assert_string_equal(get(w, 3, key, AGI_LEVEL_ALL), "NOT_FOUND");
		assert_string_equal(get(w, 3, key, AGI_LEVEL_STRONG), "NOT_FOUND");
	}
	end(w);
}

static bool is_sealed_anywhere(struct sim_world *w)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (is_running(w, i) && status(w, i).slots_sealed)
			return true;
	return false;
}

static void what_was_collected_just_before_the_seal_does_not_come_back_either(void **state)
{
	struct sim_world *w = cluster_of(4, 3, 1, 26);

	(void)state;
	fill(w, 0, "dead soon");
	sim_start_node(w, 3);
	for (int i = 0; i < 400000 && !is_sealed_anywhere(w); i++)
		sim_run_until(w, w->now_us + 20);
	assert_true(is_sealed_anywhere(w));
	assert_true(records_on(w, 3) > 0); /* copied already */
	for (uint32_t i = 0; i < KEYS; i++) {
		char key[16];

		name_of(key, i);
		erase_everywhere(w, key, 3);
	}
	run_ms(w, 3000);
	settle(w, 3);
	assert_true(status(w, 3).slots_active > 0);
	assert_int_equal(records_on(w, 3), 0);
	end(w);
}

/* One write, acknowledged by one member alone; who took it from the client is gone for ever. */
static void a_member_that_leaves_hands_over_what_it_alone_held(void **state)
{
	struct sim_world *w = cluster_of(6, 6, 3, 27);
	uint32_t slot = agi_dht_slot_of(w->node[0].dht, (struct agi_str){"", 0}, AGI_STR("only"));
	uint32_t keeper = 9, client = 9;
	struct agi_view v;

	(void)state;
	assert_int_equal(holders(w, slot, &v), 3);
	for (uint32_t i = 0; i < 6; i++) {
		if (agi_view_has(&v, &w->node[i].id))
			keeper = i;
		else
			client = i;
	}
	for (uint32_t i = 0; i < 6; i++)
		w->is_cut[client][i] = w->is_cut[i][client] = i != keeper;
	assert_int_equal(put(w, client, "only", "here", AGI_LEVEL_ONE), AGI_OK);
	sim_crash_node(w, client);
	assert_int_equal(order(w, keeper, AGI_CALL_LEAVE, false), AGI_OK);
	for (int s = 0; s < 120 && is_running(w, keeper); s++)
		run_ms(w, 500);
	assert_false(is_running(w, keeper));
	sim_crash_node(w, keeper);
	assert_string_equal(get(w, keeper == 0 || client == 0 ? keeper == 1 || client == 1 ? 2 : 1 : 0, "only",
	                        AGI_LEVEL_ALL),
	                    "here");
	end(w);
}

static void a_source_or_a_leader_that_dies_does_not_stop_a_copy(void **state)
{
	struct sim_world *w = cluster_of(5, 4, 3, 24);

	(void)state;
	fill_disks(w, 400, 2000);
	fill(w, 0, "v");
	sim_start_node(w, 4);
	agi_dht_set_rebalance(w->node[4].dht, sim_now(&w->node[4]), 100000, 4);
	run_ms(w, 3000);
	for (uint32_t i = 0; i < 4; i++) {
		sim_crash_node(w, i);
		run_ms(w, 1500);
		sim_start_node(w, i);
		run_ms(w, 1500);
	}
	settle(w, 3);
	assert_true(status(w, 4).slots_active > 0);
	check_filled(w, 4, "v");
	end(w);
}

static void one_of_two_newcomers_dead_leaves_the_slot_available(void **state)
{
	struct sim_world *w = cluster_of(5, 3, 4, 27);

	(void)state;
	fill(w, 0, "v");
	sim_start_node(w, 3);
	sim_start_node(w, 4);
	for (int i = 0; i < 400 && status(w, 4).slots_joining + status(w, 4).slots_active == 0; i++)
		run_ms(w, 10);
	sim_crash_node(w, 3); /* both, in the middle of everything, for ever */
	sim_crash_node(w, 4);
	run_ms(w, 4000);
	for (uint32_t i = 0; i < KEYS; i++) {
		char key[16];

		name_of(key, i);
		assert_string_equal(get(w, 0, key, AGI_LEVEL_QUORUM), "v");
		assert_string_equal(get(w, 0, key, AGI_LEVEL_STRONG), "v");
	}
	end(w);
}

/* --- a crash at every storage operation of a change ---------------------------------------------------------- */

enum { CRASH_KEYS = 24 };

struct change {
	uint32_t nodes, running; /* at first */
	void (*begin)(struct sim_world *w);
	uint32_t replicas;
};

static void join_fourth(struct sim_world *w) { sim_start_node(w, 3); }
static void drain_first(struct sim_world *w)
{
	assert_true(slots_of(w, 0) > 0);
	assert_int_equal(order(w, 0, AGI_CALL_DRAIN, false), AGI_OK);
}
static void leave_first(struct sim_world *w)
{
	assert_true(slots_of(w, 0) > 0);
	assert_int_equal(order(w, 0, AGI_CALL_LEAVE, false), AGI_OK);
}

static void write_all(struct sim_world *w, uint32_t node, const char *value, bool acked[CRASH_KEYS])
{
	char key[16];

	for (uint32_t i = 0; i < CRASH_KEYS; i++) {
		struct agi_call c = {.kind = AGI_CALL_PUT, .value = agi_str_of(value), .timeout_ms = 300,
		                     .level = i % 3 == 0 ? AGI_LEVEL_ONE : i % 3 == 1 ? AGI_LEVEL_QUORUM
		                                                                      : AGI_LEVEL_STRONG};

		name_of(key, i);
		c.key = agi_str_of(key);
		ask(w, node, &c);
		acked[i] |= got.err == AGI_OK;
	}
}

/* Does the change, crashes `party` when its disk moves for the at-th time, brings it back after pause_ms. Returns how
 * often the disk moved. */
static uint32_t crash_once(const struct change *ch, uint32_t party, uint32_t at, uint64_t pause_ms)
{
	struct sim_world *w = cluster_of(ch->nodes, ch->running, 1, 30);
	bool acked[CRASH_KEYS] = {false};
	const struct sim_pending *first = NULL;
	size_t pending = 0;
	uint32_t moved = 0, client;
	char key[16];

	write_all(w, 0, "v", acked);
	ch->begin(w);
	for (int i = 0; i < 80000 && moved < at; i++) {
		sim_run_until(w, w->now_us + 50);
		moved += is_running(w, party) && has_disk_moved(&w->node[party], &pending, &first);
		if (at == NEVER && i % 20 == 0 && i > 60000 && is_spread(w, ch->replicas))
			break;
	}
	client = party == 2 ? 3 : 2; /* neither the one that crashes nor one that goes */
	if (at != NEVER) {
		sim_crash_node(w, party);
		for (uint32_t i = 0; i < CRASH_KEYS; i++)
			acked[i] = false;
		write_all(w, is_running(w, client) ? client : 0, "w", acked);
		run_ms(w, pause_ms);
		sim_start_node(w, party);
		run_ms(w, 3000);
	}
	settle(w, ch->replicas);
	for (uint32_t i = 0; i < CRASH_KEYS; i++) {
		name_of(key, i);
		get(w, 2, key, i % 3 == 2 ? AGI_LEVEL_STRONG : AGI_LEVEL_ALL);
		if (got.err != AGI_OK || (acked[i] && strcmp(got.value, at == NEVER ? "v" : "w") != 0)) {
			tell(w);
			fail_msg("party %u crashed at its storage step %u, back after %u ms: %s reads %s", party, at,
			         (unsigned)pause_ms, key, got.err ? agi_err_name(got.err) : got.value);
		}
	}
	assert_string_equal(w->failure, "");
	sim_tear_down(w);
	free(w);
	return moved;
}

static void crash_everywhere(const struct change *ch)
{
	const char *stride_text = getenv("CRASH_STRIDE");
	uint32_t stride = stride_text ? (uint32_t)strtoul(stride_text, NULL, 10) : 1, runs = 0;

	for (uint32_t party = 0; party < ch->nodes; party++) {
		uint32_t steps = crash_once(ch, party, NEVER, 0);

		for (uint32_t at = 1 + party % stride; at < steps; at += stride) {
			(void)crash_once(ch, party, at, at % 2 ? 50 : 6000);
			runs++;
		}
	}
	printf("# %u crashes\n", runs);
	assert_true(runs > 10);
}

static void a_join_survives_a_crash_at_any_storage_step_of_any_party(void **state)
{
	static const struct change join = {4, 3, join_fourth, 3};

	(void)state;
	crash_everywhere(&join);
}

static void a_drain_survives_a_crash_at_any_storage_step_of_any_party(void **state)
{
	static const struct change drain = {4, 4, drain_first, 3};

	(void)state;
	crash_everywhere(&drain);
}

static void a_leave_survives_a_crash_at_any_storage_step_of_any_party(void **state)
{
	static const struct change leave = {4, 4, leave_first, 3};

	(void)state;
	crash_everywhere(&leave);
}

static void joins_drains_and_leaves_at_once_with_crashes_lose_nothing(void **state)
{
	(void)state;
	for (uint64_t seed = 100; seed < 106; seed++) {
		struct sim_world *w = cluster_of(8, 5, 4, seed);
		struct agi_prng r;

		agi_prng_seed(&r, seed);
		fill(w, 0, "v");
		for (uint32_t i = 5; i < 8; i++)
			sim_start_node(w, i);
		run_ms(w, 500 + agi_prng_below(&r, 3000));
		assert_int_equal(order(w, 1, AGI_CALL_DRAIN, false), AGI_OK);
		run_ms(w, agi_prng_below(&r, 1000));
		assert_int_equal(order(w, 2, AGI_CALL_LEAVE, false), AGI_OK);
		for (int i = 0; i < 12; i++) {
			uint32_t victim = (uint32_t)agi_prng_below(&r, 8);

			run_ms(w, agi_prng_below(&r, 1200));
			sim_crash_node(w, victim);
			run_ms(w, agi_prng_below(&r, 600));
			sim_start_node(w, victim);
		}
		run_ms(w, 3000);
		settle(w, 3);
		assert_int_equal(slots_of(w, 1), 0);
		for (int s = 0; s < 60 && is_running(w, 2); s++)
			run_ms(w, 500);
		assert_false(is_running(w, 2));
		check_filled(w, 7, "v");
		end(w);
	}
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
	    cmocka_unit_test(a_host_that_a_proposal_names_leaves_when_it_is_decided),
	    cmocka_unit_test(a_host_that_leaves_waits_for_one_that_is_down_only_until_that_one_is_replaced),
	    cmocka_unit_test(who_is_drained_or_unknown_is_not_taken_in_by_a_new_proposal),
	    cmocka_unit_test(a_host_that_joins_takes_its_share),
	    cmocka_unit_test(a_host_down_for_long_is_replaced_and_not_before),
	    cmocka_unit_test(a_wiped_disk_comes_back_as_a_new_host_and_the_old_one_is_replaced),
	    cmocka_unit_test(a_change_of_weight_moves_slots),
	    cmocka_unit_test(a_change_of_zones_spreads_the_replicas_over_them),
	    cmocka_unit_test(a_newcomer_has_nearly_everything_before_the_slot_is_sealed),
	    cmocka_unit_test(the_limit_of_bytes_per_second_holds_and_what_is_written_meanwhile_is_there),
	    cmocka_unit_test(a_copy_for_a_view_that_never_comes_is_dropped),
	    cmocka_unit_test(what_was_collected_after_it_was_copied_does_not_come_back),
	    cmocka_unit_test(what_was_collected_just_before_the_seal_does_not_come_back_either),
	    cmocka_unit_test(a_member_that_leaves_hands_over_what_it_alone_held),
	    cmocka_unit_test(a_source_or_a_leader_that_dies_does_not_stop_a_copy),
	    cmocka_unit_test(one_of_two_newcomers_dead_leaves_the_slot_available),
	    cmocka_unit_test(a_join_survives_a_crash_at_any_storage_step_of_any_party),
	    cmocka_unit_test(a_drain_survives_a_crash_at_any_storage_step_of_any_party),
	    cmocka_unit_test(a_leave_survives_a_crash_at_any_storage_step_of_any_party),
	    cmocka_unit_test(joins_drains_and_leaves_at_once_with_crashes_lose_nothing),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
