/* SPDX-License-Identifier: Apache-2.0
 * What the campaign of random faults found, each as a small scenario of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "world.h"

enum { SECOND = 1000000, SLOT_BITS = 4 };

static void run_ms(struct sim_world *w, uint64_t ms) { sim_run_until(w, w->now_us + ms * 1000); }

/* Replies to the calls of `put`, the newest first. */
static struct agi_result answers[2];
static uint32_t n_answers;

static void on_reply(struct sim_node *n, uint64_t call_id, const struct agi_result *res)
{
	(void)n, (void)call_id;
	answers[1] = answers[0];
	answers[0] = *res;
	n_answers++;
}

static struct sim_world *cluster(uint32_t nodes, uint32_t started)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg cfg = {.seed = 42, .nodes = nodes, .slot_bits = SLOT_BITS, .down_after_ms = 5000,
	                      .is_verbose = getenv("VERBOSE") != NULL};

	assert_non_null(w);
	sim_set_up(w, &cfg);
	w->on_reply = on_reply;
	for (uint32_t i = 0; i < started; i++)
		sim_start_node(w, i);
	run_ms(w, 15000);
	return w;
}

static void must_settle(struct sim_world *w, int seconds)
{
	for (int s = 0; s < seconds && !sim_is_settled(w); s++)
		run_ms(w, 1000);
	assert_true(sim_is_settled(w));
	assert_string_equal(w->failure, "");
	sim_tear_down(w);
	free(w);
}

static enum agi_view_phase phase_at(struct sim_world *w, uint32_t node, uint32_t slot, struct agi_view *v)
{
	enum agi_view_phase phase = AGI_VIEW_NONE;

	(void)agi_dht_slot(w->node[node].dht, slot, v, &phase);
	return phase;
}

/* A node of the first n that is active at an epoch a newer one has replaced without it; -1 when there is none. */
static int left_behind(struct sim_world *w, uint32_t n)
{
	struct agi_view v, x;

	for (uint32_t s = 0; s < 1u << SLOT_BITS; s++)
		for (uint32_t i = 0; i < n; i++)
			for (uint32_t k = 0; k < w->cfg.nodes && phase_at(w, i, s, &v) == AGI_VIEW_ACTIVE; k++)
				if (phase_at(w, k, s, &x) == AGI_VIEW_ACTIVE && x.epoch > v.epoch)
					return (int)i;
	return -1;
}

static void a_former_member_that_missed_the_decision_is_told_later(void **state)
{
	struct sim_world *w = cluster(4, 3);
	int who = -1;

	(void)state;
	sim_start_node(w, 3);
	/* whatever the newcomer says to the others is lost, and so is what is decided with it, for less than it takes
	 * to be thought dead */
	for (int ms = 0; ms < 20000 && who < 0; ms++) {
		run_ms(w, 1);
		for (uint32_t s = 0; s < 1u << SLOT_BITS && who < 0; s++) {
			struct agi_view v;

			for (uint32_t i = 0; i < 3; i++)
				if (phase_at(w, i, s, &v) == AGI_VIEW_SEALED)
					who = 2;
		}
	}
	assert_true(who >= 0);
	for (uint32_t i = 0; i < 4; i++)
		w->is_cut[i][who] = true;
	run_ms(w, 700);
	assert_int_equal(left_behind(w, 3), who);
	memset(w->is_cut, 0, sizeof w->is_cut);
	must_settle(w, 20);
}

static void a_member_that_forgot_what_its_failed_disk_did_not_keep_is_told_again(void **state)
{
	struct sim_world *w = cluster(4, 3);

	(void)state;
	sim_start_node(w, 3);
	run_ms(w, 500); /* it has joined, and is no member of any slot yet */
	w->node[3].disk.is_failing = true;
	run_ms(w, 8000);
	sim_crash_node(w, 3); /* and back before anybody misses it */
	sim_start_node(w, 3);
	must_settle(w, 30);
}

static void put(struct sim_world *w, uint32_t node, uint32_t i)
{
	static uint64_t next = SIM_OWN_CALL;
	char key[16];
	struct agi_call c = {.kind = AGI_CALL_PUT, .level = AGI_LEVEL_QUORUM, .value = AGI_STR("v"), .timeout_ms = 2000};

	snprintf(key, sizeof key, "k%u", i);
	c.key = agi_str_of(key);
	agi_dht_call(w->node[node].dht, sim_now(&w->node[node]), next++, &c);
	sim_rearm(&w->node[node]);
}

static void what_was_owed_to_a_host_that_never_comes_back_goes_to_who_replaced_it(void **state)
{
	struct sim_world *w = cluster(5, 5);

	(void)state;
	sim_wipe_node(w, 4);
	for (uint32_t i = 0; i < 200; i++) {
		put(w, i % 4, i);
		run_ms(w, 5);
	}
	run_ms(w, 3000);
	sim_start_node(w, 4);
	must_settle(w, 60); /* settled: nothing is owed */
}

/* The clocks of most hosts were wrong for a while: an item has a stamp of ten minutes hence. */
static void an_item_stamped_with_a_wrong_time_can_be_written_again_and_each_write_has_its_own_version(void **state)
{
	struct sim_world *w = cluster(3, 0);

	(void)state;
	w->node[0].skew_ms = w->node[1].skew_ms = 600000;
	for (uint32_t i = 0; i < 3; i++)
		sim_start_node(w, i);
	run_ms(w, 10000);
	put(w, 0, 1);
	run_ms(w, 100);
	assert_int_equal(answers[0].err, AGI_OK);
	w->node[0].skew_ms = w->node[1].skew_ms = 0;
	run_ms(w, 10000);
	n_answers = 0;
	put(w, 2, 1); /* two at once */
	put(w, 2, 1);
	run_ms(w, 100);
	assert_int_equal(n_answers, 2);
	assert_int_equal(answers[0].err, AGI_OK);
	assert_int_equal(answers[1].err, AGI_OK);
	assert_true(answers[0].version.hlc != answers[1].version.hlc);
	must_settle(w, 10);
}

static void a_cluster_whose_founding_was_lost_is_founded_again(void **state)
{
	struct sim_world *w = cluster(3, 0);
	struct sim_node *n = &w->node[0];
	struct agi_dht_status st = {.is_joined = false};

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		sim_start_node(w, i);
	n->has_disk_event = true; /* its disk does nothing */
	run_ms(w, 5000);
	assert_true(n->disk.n_pending > 0);
	agi_dht_status(w->node[1].dht, &st);
	assert_true(agi_id_is_zero(&st.cluster));
	sim_crash_node(w, 0);
	sim_disk_free(&n->disk);
	sim_start_node(w, 0);
	must_settle(w, 60);
}

/* Its sender was told that nothing was done, and may have asked another leader since. */
static void a_request_that_was_refused_is_not_done_when_it_arrives_again(void **state)
{
	struct sim_world *w = cluster(3, 3);
	struct agi_item item = {.ns = AGI_STR("n"), .key = AGI_STR("k")};
	struct agi_msg m = {.kind = AGI_MSG_STRONG_DO, .op = AGI_STRONG_ADD, .delta = 1, .items = &item, .n_items = 1,
	                    .rpc_id = 77};
	struct agi_peer from = {w->node[1].id, w->node[1].addr};
	struct agi_view v = {.epoch = 0};

	(void)state;
	m.slot = agi_dht_slot_of(w->node[0].dht, item.ns, item.key);
	(void)phase_at(w, 0, m.slot, &v);
	m.epoch = v.epoch + 1; /* of which nobody knows yet */
	agi_dht_on_message(w->node[0].dht, sim_now(&w->node[0]), &from, &m);
	run_ms(w, 100);
	m.epoch = v.epoch;
	agi_dht_on_message(w->node[0].dht, sim_now(&w->node[0]), &from, &m);
	run_ms(w, 1000);
	assert_int_equal(w->node[0].disk.cf[AGI_CF_STRONG].n, 0);
	m.rpc_id = 78;
	agi_dht_on_message(w->node[0].dht, sim_now(&w->node[0]), &from, &m);
	run_ms(w, 1000);
	assert_int_equal(w->node[0].disk.cf[AGI_CF_STRONG].n, 1);
	must_settle(w, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_former_member_that_missed_the_decision_is_told_later),
	    cmocka_unit_test(a_member_that_forgot_what_its_failed_disk_did_not_keep_is_told_again),
	    cmocka_unit_test(what_was_owed_to_a_host_that_never_comes_back_goes_to_who_replaced_it),
	    cmocka_unit_test(an_item_stamped_with_a_wrong_time_can_be_written_again_and_each_write_has_its_own_version),
	    cmocka_unit_test(a_cluster_whose_founding_was_lost_is_founded_again),
	    cmocka_unit_test(a_request_that_was_refused_is_not_done_when_it_arrives_again),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests_name("trouble", tests, NULL, NULL);
}
