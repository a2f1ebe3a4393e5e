/* SPDX-License-Identifier: Apache-2.0
 * Lost majorities: what the core promises when an operator says that the members of a slot are gone for good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "scene.h"

static enum agi_err recover(struct sim_world *w, uint32_t node, uint32_t slot)
{
	struct agi_call c = {.kind = AGI_CALL_RECOVER, .slot = slot};

	ask(w, node, &c);
	return got.err;
}

static void recover_all(struct sim_world *w, uint32_t node)
{
	struct agi_call c = {.kind = AGI_CALL_RECOVER, .is_all = true};

	ask(w, node, &c);
	assert_int_equal(got.err, AGI_OK);
}

/* Indices of a slot's members, in the view's order. */
static void members_of(struct sim_world *w, uint32_t slot, uint32_t out[3])
{
	struct agi_view v;

	assert_int_equal(holders(w, slot, &v), 3);
	for (uint32_t k = 0; k < 3; k++)
		for (uint32_t i = 0; i < w->cfg.nodes; i++)
			if (agi_id_eq(&v.members[k], &w->node[i].id))
				out[k] = i;
}

static uint32_t slot_of(struct sim_world *w, const char *key)
{
	return agi_dht_slot_of(w->node[0].dht, (struct agi_str){"", 0}, agi_str_of(key));
}

static void a_slot_whose_majority_is_gone_goes_on_with_the_survivor(void **state)
{
	struct sim_world *w = cluster_of(6, 6, 3, 40);
	uint32_t m[3], slot = slot_of(w, "k");

	(void)state;
	members_of(w, slot, m);
	assert_int_equal(put(w, m[0], "k", "old", AGI_LEVEL_ALL), AGI_OK);
	assert_int_equal(put(w, m[0], "k", "old", AGI_LEVEL_STRONG), AGI_OK);
	assert_int_equal(recover(w, m[2], slot), AGI_E_NOT_LOST);
	assert_non_null(strstr(got.why, "3 of its 3 members answer"));
	sim_crash_node(w, m[0]);
	run_ms(w, 4000);
	assert_int_equal(recover(w, m[2], slot), AGI_E_NOT_LOST);
	sim_crash_node(w, m[1]);
	run_ms(w, 4000);
	assert_string_equal(get(w, m[2], "k", AGI_LEVEL_STRONG), "NO_QUORUM");
	for (uint32_t i = 0; i < 6; i++)
		if (is_running(w, i) && i != m[2])
			assert_int_equal(recover(w, i, slot), AGI_E_NOT_MEMBER);
	assert_int_equal(recover(w, m[2], slot), AGI_OK);
	assert_string_equal(get(w, m[2], "k", AGI_LEVEL_STRONG), "old");
	assert_string_equal(get(w, m[2], "k", AGI_LEVEL_QUORUM), "old");
	assert_int_equal(put(w, m[2], "k", "new", AGI_LEVEL_STRONG), AGI_OK);
	assert_int_equal(put(w, m[2], "k", "new", AGI_LEVEL_QUORUM), AGI_OK);
	for (uint32_t i = 0; i < 6; i++) /* the other slots these two shared */
		if (is_running(w, i))
			recover_all(w, i);
	run_ms(w, 30000); /* the lost hosts are replaced after down_after */
	settle(w, 3);
	/* they come back after all: what they know is old */
	sim_start_node(w, m[0]);
	sim_start_node(w, m[1]);
	run_ms(w, 5000);
	settle(w, 3);
	for (uint32_t i = 0; i < 6; i++) {
		assert_string_equal(get(w, i, "k", AGI_LEVEL_STRONG), "new");
		assert_string_equal(get(w, i, "k", AGI_LEVEL_ALL), "new");
	}
	end(w);
}

static void what_only_the_lost_members_had_is_lost_and_items_return_with_them(void **state)
{
	struct sim_world *w = cluster_of(6, 6, 3, 41);
	uint32_t m[3], slot = slot_of(w, "k"), other = 0;

	(void)state;
	members_of(w, slot, m);
	while (other == m[0] || other == m[1] || other == m[2])
		other++;
	sim_crash_node(w, m[2]);
	run_ms(w, 100);
	assert_int_equal(put(w, m[0], "k", "unseen", AGI_LEVEL_STRONG), AGI_OK);
	assert_int_equal(put(w, m[0], "k", "unseen", AGI_LEVEL_QUORUM), AGI_OK);
	sim_crash_node(w, m[0]);
	sim_crash_node(w, m[1]);
	sim_start_node(w, m[2]);
	run_ms(w, 4000);
	assert_int_equal(recover(w, m[2], slot), AGI_OK);
	assert_string_equal(get(w, other, "k", AGI_LEVEL_STRONG), "NOT_FOUND"); /* as the operator was told */
	assert_int_equal(put(w, other, "k", "after", AGI_LEVEL_STRONG), AGI_OK);
	sim_start_node(w, m[0]);
	sim_start_node(w, m[1]);
	run_ms(w, 5000);
	settle(w, 3);
	assert_string_equal(get(w, other, "k", AGI_LEVEL_STRONG), "after"); /* registers: never mixed */
	assert_string_equal(get(w, other, "k", AGI_LEVEL_ALL), "unseen");   /* items: merged */
	end(w);
}

static void all_lost_slots_recover_each_at_its_first_survivor(void **state)
{
	struct sim_world *w = cluster_of(6, 6, 5, 42);
	uint32_t n = 0, lost = 0;

	(void)state;
	fill(w, 0, "v");
	for (uint32_t s = 0; s < 32; s++) {
		uint32_t m[3], gone;

		members_of(w, s, m);
		gone = 0;
		for (int k = 0; k < 3; k++)
			gone += m[k] >= 4;
		lost += gone == 2;
	}
	assert_true(lost > 0);
	sim_crash_node(w, 4);
	sim_crash_node(w, 5);
	run_ms(w, 4000);
	for (uint32_t i = 0; i < 4; i++) {
		recover_all(w, i);
		assert_int_equal(recovered.failed, 0);
		n += recovered.recovered;
	}
	assert_int_equal(n, lost);
	for (uint32_t i = 0; i < 4; i++) { /* nothing left to do */
		recover_all(w, i);
		assert_int_equal(recovered.recovered, 0);
	}
	run_ms(w, 30000);
	settle(w, 3);
	for (uint32_t i = 0; i < KEYS; i++) {
		char key[16];

		name_of(key, i);
		assert_string_equal(get(w, 0, key, AGI_LEVEL_QUORUM), "v");
		assert_int_equal(put(w, 1, key, "w", AGI_LEVEL_STRONG), AGI_OK);
	}
	sim_start_node(w, 4);
	sim_start_node(w, 5);
	run_ms(w, 5000);
	settle(w, 3);
	for (uint32_t i = 0; i < KEYS; i++) {
		char key[16];

		name_of(key, i);
		assert_string_equal(get(w, 5, key, AGI_LEVEL_ALL), "v");
		assert_string_equal(get(w, 5, key, AGI_LEVEL_STRONG), "w");
	}
	end(w);
}

static void two_recoveries_on_two_sides_never_make_two_views_of_one_epoch(void **state)
{
	struct sim_world *w = cluster_of(5, 5, 2, 43);
	uint32_t m[3], slot = slot_of(w, "k");
	struct agi_view a, b;
	enum agi_view_phase phase;

	(void)state;
	members_of(w, slot, m);
	assert_int_equal(put(w, m[0], "k", "v", AGI_LEVEL_ALL), AGI_OK);
	for (uint32_t i = 0; i < 5; i++) /* each member alone: the operator is wrong about all of them */
		for (uint32_t j = 0; j < 5; j++)
			w->is_cut[i][j] = i != j;
	run_ms(w, 6000);
	assert_int_equal(recover(w, m[0], slot), AGI_OK);
	assert_int_equal(recover(w, m[1], slot), AGI_OK);
	assert_true(agi_dht_slot(w->node[m[0]].dht, slot, &a, &phase));
	assert_true(agi_dht_slot(w->node[m[1]].dht, slot, &b, &phase));
	assert_true(a.epoch != b.epoch);
	assert_int_equal(put(w, m[0], "k", "left", AGI_LEVEL_QUORUM), AGI_OK);
	memset(w->is_cut, 0, sizeof w->is_cut);
	run_ms(w, 6000);
	settle(w, 3);
	assert_string_equal(get(w, m[2], "k", AGI_LEVEL_ALL), "left"); /* items survive even that */
	end(w);
}

static void a_recovery_survives_a_crash_at_any_storage_step(void **state)
{
	uint32_t steps = NEVER, runs = 0;

	(void)state;
	for (uint32_t at = NEVER; at > 0; at = at == NEVER ? steps : at - 1) {
		struct sim_world *w = cluster_of(5, 5, 1, 44);
		struct agi_call c = {.kind = AGI_CALL_RECOVER, .is_all = true};
		const struct sim_pending *first = NULL;
		size_t pending = 0;
		uint32_t m[3], moved = 0;

		members_of(w, 0, m);
		fill(w, 0, "v");
		sim_crash_node(w, m[0]);
		sim_crash_node(w, m[1]);
		run_ms(w, 4000);
		agi_dht_call(w->node[m[2]].dht, sim_now(&w->node[m[2]]), SIM_OWN_CALL + 1000000 + runs, &c);
		sim_rearm(&w->node[m[2]]);
		for (int i = 0; i < 40000 && moved < at; i++) {
			sim_run_until(w, w->now_us + 50);
			moved += has_disk_moved(&w->node[m[2]], &pending, &first);
		}
		if (at == NEVER)
			steps = moved;
		else
			restart(w, m[2]);
		run_ms(w, 4000);
		recover_all(w, m[2]);
		assert_int_equal(recovered.failed, 0);
		run_ms(w, 25000);
		settle(w, 3);
		assert_int_equal(put(w, m[2], "key-1", "x", AGI_LEVEL_STRONG), AGI_OK);
		assert_string_equal(get(w, m[2], "key-2", AGI_LEVEL_QUORUM), "v");
		end(w);
		runs++;
	}
	assert_true(runs > 1);
}

/* --- what comes while the new view's record is on its way ------------------------------------------- */

static bool is_on_its_way(const struct sim_node *n)
{
	for (const struct sim_pending *p = n->disk.first; p; p = p->next)
		for (size_t i = 0; p->req.kind == AGI_STORAGE_WRITE && i < p->req.n_ops; i++)
			if (p->req.ops[i].cf == AGI_CF_VIEWS)
				return true;
	return false;
}

static void say_to(struct sim_world *w, uint32_t from, uint32_t to, const struct agi_msg *m)
{
	struct agi_peer peer = {.id = w->node[from].id, .addr = w->node[from].addr};

	agi_dht_on_message(w->node[to].dht, sim_now(&w->node[to]), &peer, m);
	sim_rearm(&w->node[to]);
}

/* Whatever makes a member write its record: a ballot, a proposal, a leader of registers, an old view. */
static void ask_for_saves(struct sim_world *w, uint32_t from, uint32_t to, const struct agi_view *v)
{
	struct agi_msg m = {.kind = AGI_MSG_VIEW_PREPARE, .slot = v->slot, .epoch = v->epoch, .rpc_id = 1,
	                    .ballot = {.round = 1000, .node = w->node[from].id}};

	say_to(w, from, to, &m);
	m.kind = AGI_MSG_VIEW_ACCEPT;
	m.view = *v;
	m.view.epoch++;
	say_to(w, from, to, &m);
	m.kind = AGI_MSG_LEAD;
	say_to(w, from, to, &m);
	m.kind = AGI_MSG_VIEW_DECIDED;
	m.view = *v;
	say_to(w, from, to, &m);
}

static uint64_t stored_epoch(struct sim_world *w, uint32_t node, uint32_t slot)
{
	const uint8_t key[4] = {0, 0, (uint8_t)(slot >> 8), (uint8_t)slot};
	struct agi_str k = {(const char *)key, sizeof key}, value;
	enum agi_view_phase phase;
	struct agi_view v;

	assert_true(sim_disk_find(&w->node[node].disk, AGI_CF_VIEWS, k, &value));
	assert_int_equal(agi_dht_read_view(k, value, &v, &phase), AGI_OK);
	return v.epoch;
}

static void nothing_old_is_written_over_a_new_view_on_its_way(void **state)
{
	struct sim_world *w = cluster_of(5, 5, 1, 45);
	struct agi_call c = {.kind = AGI_CALL_RECOVER};
	enum agi_view_phase phase;
	struct agi_view old, now;
	uint32_t m[3];

	(void)state;
	members_of(w, 0, m);
	assert_true(agi_dht_slot(w->node[m[2]].dht, 0, &old, &phase));
	sim_crash_node(w, m[0]);
	sim_crash_node(w, m[1]);
	run_ms(w, 4000);
	w->node[m[2]].disk_slow_us = SECOND;
	agi_dht_call(w->node[m[2]].dht, sim_now(&w->node[m[2]]), SIM_OWN_CALL + 2000000, &c);
	sim_rearm(&w->node[m[2]]);
	for (int i = 0; i < 100000 && !is_on_its_way(&w->node[m[2]]); i++)
		sim_run_until(w, w->now_us + 100);
	ask_for_saves(w, m[0], m[2], &old);
	run_ms(w, 10000);
	assert_true(agi_dht_slot(w->node[m[2]].dht, 0, &now, &phase));
	assert_int_equal(phase, AGI_VIEW_ACTIVE);
	assert_true(now.epoch > UINT32_MAX);
	assert_true(stored_epoch(w, m[2], 0) >= now.epoch); /* a newer one may be on its way already */
	restart(w, m[2]);
	run_ms(w, 1000);
	assert_true(agi_dht_slot(w->node[m[2]].dht, 0, &now, &phase));
	assert_true(now.epoch > UINT32_MAX);
	end(w);
}

static void a_slot_of_one_member_takes_in_nobody_who_is_not_there(void **state)
{
	struct sim_world *w = cluster_of(5, 3, 3, 46);

	(void)state;
	sim_crash_node(w, 1);
	sim_crash_node(w, 2);
	run_ms(w, 100); /* to the survivor they are hosts like others */
	recover_all(w, 0);
	assert_int_equal(recovered.recovered, 8);
	run_ms(w, 5000);
	sim_start_node(w, 3);
	sim_start_node(w, 4);
	run_ms(w, 30000);
	settle(w, 3);
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_slot_whose_majority_is_gone_goes_on_with_the_survivor),
	    cmocka_unit_test(what_only_the_lost_members_had_is_lost_and_items_return_with_them),
	    cmocka_unit_test(all_lost_slots_recover_each_at_its_first_survivor),
	    cmocka_unit_test(two_recoveries_on_two_sides_never_make_two_views_of_one_epoch),
	    cmocka_unit_test(a_recovery_survives_a_crash_at_any_storage_step),
	    cmocka_unit_test(nothing_old_is_written_over_a_new_view_on_its_way),
	    cmocka_unit_test(a_slot_of_one_member_takes_in_nobody_who_is_not_there),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
