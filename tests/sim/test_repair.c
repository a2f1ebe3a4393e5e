/* SPDX-License-Identifier: Apache-2.0
 * Replicas become alike again, whatever one of them missed: one promise a test, on a simulated cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dht/repair.h"
#include "replicas.h"

enum { SECOND = 1000000 };

static struct answer {
	bool is_there;
	enum agi_err err;
	bool found;
	char value[64];
	uint64_t version;
} got;

static void on_reply(struct sim_node *n, uint64_t call_id, const struct agi_result *res)
{
	size_t k = res->value.n < sizeof got.value ? res->value.n : sizeof got.value - 1;

	(void)n, (void)call_id;
	got = (struct answer){.is_there = true, .err = res->err, .found = res->found, .version = res->version.hlc};
	if (k)
		memcpy(got.value, res->value.p, k);
}

static void run_s(struct sim_world *w, uint64_t seconds)
{
	sim_run_until(w, w->now_us + seconds * SECOND);
	assert_string_equal(w->failure, "");
}

static void settle(struct sim_world *w)
{
	for (int s = 0; s < 120 && !sim_is_settled(w); s++)
		run_s(w, 1);
	assert_true(sim_is_settled(w));
}

/* Few slots, so that one slot has many items. */
static struct sim_world *cluster_with_grace(uint32_t nodes, uint32_t grace_ms)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg cfg = {.seed = 7, .nodes = nodes, .slot_bits = 1, .down_after_ms = 5000,
	                      .grace_ms = grace_ms, .is_verbose = getenv("VERBOSE") != NULL};

	assert_non_null(w);
	sim_set_up(w, &cfg);
	w->on_reply = on_reply;
	for (uint32_t i = 0; i < nodes; i++)
		sim_start_node(w, i);
	settle(w);
	return w;
}

static struct sim_world *cluster(uint32_t nodes) { return cluster_with_grace(nodes, 0); }

static void end(struct sim_world *w)
{
	assert_string_equal(w->failure, "");
	sim_tear_down(w);
	free(w);
}

static void ask(struct sim_world *w, uint32_t node, const struct agi_call *call)
{
	static uint64_t next = SIM_OWN_CALL;
	struct sim_node *n = &w->node[node];

	got = (struct answer){0};
	agi_dht_call(n->dht, sim_now(n), next++, call);
	sim_rearm(n);
	for (int i = 0; i < 4000 && !got.is_there; i++)
		sim_run_until(w, w->now_us + 5000);
	assert_true(got.is_there);
}

static void call(struct sim_world *w, uint32_t node, enum agi_call_kind kind, const char *key, const char *value,
                 enum agi_level level)
{
	struct agi_call c = {.kind = kind, .key = agi_str_of(key), .value = agi_str_of(value), .level = level,
	                     .timeout_ms = 3000};

	ask(w, node, &c);
}

static void put(struct sim_world *w, uint32_t node, const char *key, const char *value)
{
	call(w, node, AGI_CALL_PUT, key, value, AGI_LEVEL_QUORUM);
	assert_int_equal(got.err, AGI_OK);
}

static void fill(struct sim_world *w, int n)
{
	char key[16];

	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof key, "key-%d", i);
		call(w, 0, AGI_CALL_PUT, key, "value", AGI_LEVEL_ALL);
		assert_int_equal(got.err, AGI_OK);
	}
}

static void wait_equal(struct sim_world *w, uint64_t seconds)
{
	char why[200] = "";

	for (uint64_t s = 0; s < seconds && !sim_replicas_are_equal(w, why); s++)
		run_s(w, 1);
	if (!sim_replicas_are_equal(w, why))
		fail_msg("%s", why);
}

static void assert_unequal(struct sim_world *w)
{
	char why[200];

	assert_false(sim_replicas_are_equal(w, why));
}

/* A node's disk forgets what it held while it does not run. */
static void erase_record(struct sim_node *n, enum agi_cf cf, const char *key)
{
	struct sim_table *t = &n->disk.cf[cf];
	size_t length = strlen(key);

	assert_null(n->dht);
	for (size_t i = 0; i < t->n; i++) {
		struct agi_str k = t->e[i].key;

		if (k.n < length || memcmp(k.p + k.n - length, key, length) != 0 || k.p[k.n - length - 1] > 63)
			continue;
		free((char *)k.p);
		free((char *)t->e[i].value.p);
		memmove(&t->e[i], &t->e[i + 1], (t->n - i - 1) * sizeof t->e[0]);
		t->n--;
		return;
	}
	fail_msg("no record of %s", key);
}

static void erase_all(struct sim_node *n, enum agi_cf cf)
{
	struct sim_table *t = &n->disk.cf[cf];

	for (size_t i = 0; i < t->n; i++) {
		free((char *)t->e[i].key.p);
		free((char *)t->e[i].value.p);
	}
	t->n = 0;
}

static struct agi_repair_stats stats(struct sim_world *w)
{
	struct agi_repair_stats sum = {0}, one;

	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		if (!w->node[i].dht)
			continue;
		agi_dht_repair_stats(w->node[i].dht, &one);
		sum.compared += one.compared;
		sum.items += one.items;
		sum.bytes += one.bytes;
		sum.hash_bytes += one.hash_bytes;
		sum.registers += one.registers;
		sum.differed += one.differed;
		sum.pulls += one.pulls;
		sum.tombstones += one.tombstones;
		sum.hints_expired += one.hints_expired;
		sum.writes_below_floor += one.writes_below_floor;
	}
	return sum;
}

/* --- items ---------------------------------------------------------------------------------------- */

static void what_a_member_missed_it_gets_without_hints(void **state)
{
	struct sim_world *w = cluster(3);

	(void)state;
	fill(w, 50);
	sim_crash_node(w, 2);
	put(w, 0, "key-7", "newer");
	put(w, 1, "another", "value");
	call(w, 0, AGI_CALL_DELETE, "key-9", "", AGI_LEVEL_QUORUM);
	assert_int_equal(got.err, AGI_OK);
	run_s(w, 5); /* until the others have given up on it */
	for (uint32_t i = 0; i < 2; i++) { /* its hints are lost */
		sim_crash_node(w, i);
		erase_all(&w->node[i], AGI_CF_HINTS);
		sim_start_node(w, i);
	}
	run_s(w, 5);
	sim_start_node(w, 2);
	assert_unequal(w);
	settle(w);
	wait_equal(w, 20);
	assert_int_equal(stats(w).items, 3);
	call(w, 2, AGI_CALL_GET, "key-7", "", AGI_LEVEL_ONE);
	assert_string_equal(got.value, "newer");
	end(w);
}

static void what_each_of_two_lacks_both_have_in_the_end(void **state)
{
	struct sim_world *w = cluster(3);
	char key[16];

	(void)state;
	fill(w, 60);
	for (uint32_t i = 0; i < 3; i++)
		sim_crash_node(w, i);
	for (int i = 0; i < 60; i += 2) {
		snprintf(key, sizeof key, "key-%d", i);
		erase_record(&w->node[i / 2 % 3], AGI_CF_ITEMS, key);
	}
	for (uint32_t i = 0; i < 3; i++)
		sim_start_node(w, i);
	assert_unequal(w);
	settle(w);
	wait_equal(w, 20);
	assert_int_equal(sim_records(w, AGI_CF_ITEMS), 3 * 60);
	end(w);
}

/* One item of many: what is sent to find it is far less than what is stored, and only it is sent. */
static void traffic_is_proportional_to_the_difference(void **state)
{
	struct sim_world *w = cluster(3);
	struct agi_repair_stats one, many;
	char key[16];

	(void)state;
	fill(w, 1500);
	sim_crash_node(w, 1);
	erase_record(&w->node[1], AGI_CF_ITEMS, "key-700");
	sim_start_node(w, 1);
	settle(w);
	wait_equal(w, 20);
	one = stats(w);
	assert_true(one.items >= 1 && one.items <= 2); /* two members may both bring it */
	assert_true(one.hash_bytes < 40000); /* leaves, and digests of one leaf of 64: not of 1500 items */
	sim_crash_node(w, 1);
	for (int i = 0; i < 1500; i += 5) {
		snprintf(key, sizeof key, "key-%d", i);
		erase_record(&w->node[1], AGI_CF_ITEMS, key);
	}
	sim_start_node(w, 1);
	settle(w);
	wait_equal(w, 30);
	many = stats(w);
	assert_true(many.items >= 300 && many.items <= 700);
	end(w);
}

static void replicas_that_are_alike_send_roots_only(void **state)
{
	struct sim_world *w = cluster(3);
	struct agi_repair_stats before, after;

	(void)state;
	fill(w, 100);
	run_s(w, 20);
	before = stats(w);
	run_s(w, 60);
	after = stats(w);
	assert_true(after.hash_bytes == before.hash_bytes && after.items == before.items);
	assert_true(after.differed == before.differed);
	end(w);
}

/* --- registers --------------------------------------------------------------------------------------- */

static void set_interval(struct sim_world *w, uint32_t interval_ms)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		agi_dht_set_repair(w->node[i].dht, sim_now(&w->node[i]), interval_ms, 0);
		sim_rearm(&w->node[i]);
	}
}

static void another_interval_counts_at_once(void **state)
{
	struct sim_world *w = cluster(3);
	uint64_t before;

	(void)state;
	fill(w, 10);
	set_interval(w, 3600000);
	run_s(w, 20);
	before = stats(w).compared;
	run_s(w, 60);
	assert_true(stats(w).compared == before);
	set_interval(w, 1000);
	run_s(w, 10);
	assert_true(stats(w).compared > before + 3 * 2 * 2); /* each of three with two others, two slots, several times */
	end(w);
}

static void a_register_that_one_member_missed_is_made_alike(void **state)
{
	struct sim_world *w = cluster(3);
	uint64_t version;

	(void)state;
	call(w, 0, AGI_CALL_PUT, "reg", "one", AGI_LEVEL_STRONG);
	assert_int_equal(got.err, AGI_OK);
	sim_crash_node(w, 2);
	call(w, 0, AGI_CALL_PUT, "reg", "two", AGI_LEVEL_STRONG);
	assert_int_equal(got.err, AGI_OK);
	version = got.version;
	call(w, 1, AGI_CALL_PUT, "other", "value", AGI_LEVEL_STRONG);
	assert_int_equal(got.err, AGI_OK);
	run_s(w, 3);
	sim_start_node(w, 2);
	assert_unequal(w);
	settle(w);
	wait_equal(w, 20);
	assert_true(stats(w).registers >= 2);
	call(w, 2, AGI_CALL_GET, "reg", "", AGI_LEVEL_STRONG);
	assert_string_equal(got.value, "two");
	assert_true(got.version == version); /* a repair is not a change */
	end(w);
}

/* --- dead items ---------------------------------------------------------------------------------------- */

enum { GRACE_S = 16, SWEPT_S = GRACE_S + 12 }; /* world.c */

static void delete_all(struct sim_world *w, uint32_t node, int n)
{
	char key[16];

	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof key, "key-%d", i);
		call(w, node, AGI_CALL_DELETE, key, "", AGI_LEVEL_QUORUM);
		assert_int_equal(got.err, AGI_OK);
	}
}

static void assert_none_is_back(struct sim_world *w, uint32_t node, int n)
{
	char key[16];

	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof key, "key-%d", i);
		call(w, node, AGI_CALL_GET, key, "", AGI_LEVEL_ALL);
		assert_int_equal(got.err, AGI_E_NOT_FOUND);
	}
}

static uint32_t index_of(const struct sim_world *w, const struct agi_id *id)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (agi_id_eq(&w->node[i].id, id))
			return i;
	fail_msg("an unknown member");
	return 0;
}

/* A member of the key's slot that is asked first by nobody here. */
static uint32_t member_of(struct sim_world *w, const char *key)
{
	enum agi_view_phase phase;
	struct agi_view v;
	uint32_t slot = agi_dht_slot_of(w->node[0].dht, (struct agi_str){"", 0}, agi_str_of(key));

	assert_true(agi_dht_slot(w->node[0].dht, slot, &v, &phase));
	for (int i = v.n_members - 1; i >= 0; i--)
		if (index_of(w, &v.members[i]) != 0)
			return index_of(w, &v.members[i]);
	return 0;
}

static void settle_without(struct sim_world *w, uint32_t gone)
{
	for (int s = 0; s < 60; s++) {
		uint32_t busy = 0;

		run_s(w, 1);
		for (uint32_t i = 0; i < w->cfg.nodes; i++) {
			struct agi_dht_status st;

			if (i == gone)
				continue;
			agi_dht_status(w->node[i].dht, &st);
			busy += st.slots_joining + st.slots_sealed + st.slots_leaving + (st.members_down == 0);
		}
		if (!busy && s > 15)
			return;
	}
	fail_msg("the slots of a dead host are not taken over");
}

static void what_was_deleted_leaves_all_disks_after_the_grace(void **state)
{
	struct sim_world *w = cluster(3);

	(void)state;
	fill(w, 60);
	delete_all(w, 1, 40);
	run_s(w, GRACE_S - 4);
	assert_int_equal(sim_records(w, AGI_CF_ITEMS), 3 * 60);
	run_s(w, SWEPT_S - GRACE_S + 4);
	assert_int_equal(sim_records(w, AGI_CF_ITEMS), 3 * 20);
	assert_true(stats(w).tombstones >= 40);
	assert_none_is_back(w, 0, 40);
	put(w, 2, "key-3", "again");
	call(w, 0, AGI_CALL_GET, "key-3", "", AGI_LEVEL_ALL);
	assert_string_equal(got.value, "again");
	wait_equal(w, 20);
	end(w);
}

static void items_whose_time_is_over_leave_all_disks_too(void **state)
{
	struct sim_world *w = cluster(3);
	char key[16];

	(void)state;
	fill(w, 10);
	for (int i = 0; i < 10; i += 2) { /* they cover an older value, which must not show again */
		struct agi_call c = {.kind = AGI_CALL_PUT, .value = AGI_STR("short"), .level = AGI_LEVEL_QUORUM,
		                     .ttl_ms = 2000, .timeout_ms = 3000};

		snprintf(key, sizeof key, "key-%d", i);
		c.key = agi_str_of(key);
		ask(w, 0, &c);
		assert_int_equal(got.err, AGI_OK);
	}
	run_s(w, SWEPT_S + 2);
	assert_int_equal(sim_records(w, AGI_CF_ITEMS), 3 * 5);
	for (int i = 0; i < 10; i++) {
		snprintf(key, sizeof key, "key-%d", i);
		call(w, 1, AGI_CALL_GET, key, "", AGI_LEVEL_ALL);
		assert_int_equal(got.err, i % 2 ? AGI_OK : AGI_E_NOT_FOUND);
	}
	end(w);
}

/* Away for a while, but still a member: nothing is collected without it. */
static void nothing_is_collected_while_a_member_is_away(void **state)
{
	struct sim_world *w = cluster(3); /* nobody can take its place */

	(void)state;
	fill(w, 30);
	sim_crash_node(w, 2);
	run_s(w, 3);
	delete_all(w, 0, 30);
	run_s(w, 3 * SWEPT_S);
	assert_int_equal(w->node[0].disk.cf[AGI_CF_ITEMS].n, 30);
	assert_true(stats(w).hints_expired >= 30); /* so they cannot tell it */
	sim_start_node(w, 2);
	settle(w);
	assert_none_is_back(w, 2, 30);
	run_s(w, SWEPT_S);
	assert_int_equal(sim_records(w, AGI_CF_ITEMS), 0);
	assert_none_is_back(w, 2, 30);
	end(w);
}

static void assert_gone_but_from(struct sim_world *w, uint32_t away, enum agi_cf cf)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		assert_true(i == away || w->node[i].disk.cf[cf].n == 0);
}

/* Who has taken this host's place goes down, and it becomes a member again. */
static uint32_t take_place_back(struct sim_world *w, uint32_t node)
{
	uint32_t stand_in = member_of(w, "key-0");

	sim_crash_node(w, stand_in);
	sim_start_node(w, node);
	settle_without(w, stand_in);
	return stand_in;
}

/* Away for long, and replaced: what it kept was deleted and collected meanwhile. */
static void a_host_away_longer_than_the_grace_brings_nothing_back(void **state)
{
	struct sim_world *w = cluster(4);
	uint32_t h;

	(void)state;
	fill(w, 30);
	h = member_of(w, "key-0");
	sim_crash_node(w, h);
	settle_without(w, h);
	delete_all(w, 0, 30);
	run_s(w, 2 * SWEPT_S);
	assert_gone_but_from(w, h, AGI_CF_ITEMS);
	assert_true(w->node[h].disk.cf[AGI_CF_ITEMS].n > 0);
	sim_start_node(w, h);
	settle(w);
	run_s(w, 10);
	assert_int_equal(sim_records(w, AGI_CF_ITEMS), 0);
	assert_none_is_back(w, h, 30);
	end(w);
}

/* … as a member again, before it has handed anything over. */
static void nor_does_it_as_a_member_again(void **state)
{
	struct sim_world *w = cluster(4);
	uint32_t h, stand_in;

	(void)state;
	fill(w, 30);
	h = member_of(w, "key-0");
	sim_crash_node(w, h);
	settle_without(w, h);
	delete_all(w, 0, 30);
	run_s(w, 2 * SWEPT_S);
	stand_in = take_place_back(w, h);
	run_s(w, 10);
	assert_gone_but_from(w, stand_in, AGI_CF_ITEMS);
	sim_start_node(w, stand_in);
	settle(w);
	run_s(w, 10);
	assert_int_equal(sim_records(w, AGI_CF_ITEMS), 0);
	assert_none_is_back(w, h, 30);
	end(w);
}

/* A member asked for what it lacks; the answer comes when that was deleted, and the deletion collected. */
static void what_was_asked_for_before_a_collection_is_not_taken_after_it(void **state)
{
	struct sim_world *w = cluster_with_grace(3, 500);
	struct agi_repair_stats own = {0};

	(void)state;
	fill(w, 30);
	sim_crash_node(w, 2);
	erase_record(&w->node[2], AGI_CF_ITEMS, "key-5");
	w->held_kind = AGI_MSG_DIFF_ITEMS;
	w->held_us = 7 * SECOND;
	sim_start_node(w, 2);
	while (own.hash_bytes <= 2 * 2 * AGI_MERKLE_TREE_BYTES) { /* it has seen the leaves twice, and has asked */
		sim_run_until(w, w->now_us + 10000);
		agi_dht_repair_stats(w->node[2].dht, &own);
	}
	call(w, 0, AGI_CALL_DELETE, "key-5", "", AGI_LEVEL_ALL);
	assert_int_equal(got.err, AGI_OK);
	run_s(w, 5);
	assert_int_equal(sim_records(w, AGI_CF_ITEMS), 3 * 29); /* collected already */
	assert_int_equal(stats(w).items, 0);
	run_s(w, 20);
	assert_int_equal(sim_records(w, AGI_CF_ITEMS), 3 * 29);
	call(w, 0, AGI_CALL_GET, "key-5", "", AGI_LEVEL_ALL);
	assert_int_equal(got.err, AGI_E_NOT_FOUND);
	end(w);
}

static void cut(struct sim_world *w, uint32_t node, bool is_cut)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		w->is_cut[node][i] = w->is_cut[i][node] = is_cut;
}

/* --- deleted registers ---------------------------------------------------------------------------------- */

enum { STRONG_SWEPT_S = GRACE_S + 6 };

static void put_registers(struct sim_world *w, int n)
{
	char key[16];

	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof key, "key-%d", i);
		call(w, 0, AGI_CALL_PUT, key, "value", AGI_LEVEL_STRONG);
		assert_int_equal(got.err, AGI_OK);
	}
}

static void delete_registers(struct sim_world *w, uint32_t node, int n)
{
	char key[16];

	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof key, "key-%d", i);
		call(w, node, AGI_CALL_DELETE, key, "", AGI_LEVEL_STRONG);
		assert_int_equal(got.err, AGI_OK);
	}
}

static void assert_no_register_is_back(struct sim_world *w, int n)
{
	char key[16];

	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof key, "key-%d", i);
		call(w, (uint32_t)i % 3, AGI_CALL_GET, key, "", AGI_LEVEL_STRONG);
		assert_int_equal(got.err, AGI_E_NOT_FOUND);
	}
}

static void deleted_registers_leave_all_disks(void **state)
{
	struct sim_world *w = cluster(3);
	uint64_t version;

	(void)state;
	put_registers(w, 30);
	delete_registers(w, 1, 20);
	version = got.version;
	run_s(w, STRONG_SWEPT_S);
	assert_int_equal(sim_records(w, AGI_CF_STRONG), 3 * 10);
	assert_no_register_is_back(w, 20);
	assert_int_equal(sim_records(w, AGI_CF_STRONG), 3 * 10); /* nor do reads write anything */
	call(w, 2, AGI_CALL_PUT, "key-19", "again", AGI_LEVEL_STRONG);
	assert_true(got.err == AGI_OK && got.version > version);
	call(w, 0, AGI_CALL_GET, "key-19", "", AGI_LEVEL_STRONG);
	assert_string_equal(got.value, "again");
	wait_equal(w, 20);
	end(w);
}

/* A write that one member was to get before the deletion comes when both are forgotten. */
static void a_write_from_before_a_collected_deletion_is_refused(void **state)
{
	struct sim_world *w = cluster(3);

	(void)state;
	put_registers(w, 2);
	w->held_kind = AGI_MSG_REG_WRITE;
	w->held_us = 60 * SECOND;
	w->held_to = 1 + member_of(w, "key-0");
	call(w, 0, AGI_CALL_PUT, "key-0", "late", AGI_LEVEL_STRONG);
	assert_int_equal(got.err, AGI_OK);
	w->held_kind = (enum agi_msg_kind)0;
	delete_registers(w, 0, 1);
	run_s(w, 2 * STRONG_SWEPT_S);
	assert_int_equal(sim_records(w, AGI_CF_STRONG), 3);
	for (int s = 0; s < 25; s++) { /* it comes in these */
		run_s(w, 1);
		assert_int_equal(sim_records(w, AGI_CF_STRONG), 3);
	}
	assert_no_register_is_back(w, 1);
	end(w);
}

static void no_register_is_collected_while_a_member_is_away(void **state)
{
	struct sim_world *w = cluster(3);

	(void)state;
	put_registers(w, 10);
	sim_crash_node(w, 2);
	run_s(w, 3);
	delete_registers(w, 0, 10);
	run_s(w, 4 * STRONG_SWEPT_S);
	assert_int_equal(w->node[0].disk.cf[AGI_CF_STRONG].n, 10);
	sim_start_node(w, 2);
	settle(w);
	run_s(w, 2 * STRONG_SWEPT_S);
	assert_int_equal(sim_records(w, AGI_CF_STRONG), 0);
	assert_no_register_is_back(w, 10);
	end(w);
}

/* Away so long that its place was taken, and a member again. */
static void a_returning_host_brings_no_register_back(void **state)
{
	struct sim_world *w = cluster(4);
	uint32_t h, stand_in;

	(void)state;
	put_registers(w, 10);
	h = member_of(w, "key-0");
	sim_crash_node(w, h);
	settle_without(w, h);
	delete_registers(w, 0, 10);
	run_s(w, 2 * STRONG_SWEPT_S);
	assert_gone_but_from(w, h, AGI_CF_STRONG);
	stand_in = take_place_back(w, h);
	sim_start_node(w, stand_in);
	settle(w);
	run_s(w, 2 * STRONG_SWEPT_S);
	assert_int_equal(sim_records(w, AGI_CF_STRONG), 0);
	assert_no_register_is_back(w, 10);
	end(w);
}

/* … so that no client hears of it. */
static void operations_go_on_while_registers_are_collected(void **state)
{
	struct sim_world *w = cluster(3);
	uint64_t until_us = w->now_us + 60 * (uint64_t)SECOND;

	(void)state;
	for (uint32_t i = 0; w->now_us < until_us; i++) {
		char key[16];

		snprintf(key, sizeof key, "key-%u", i / 2);
		call(w, i % 3, i % 2 ? AGI_CALL_DELETE : AGI_CALL_PUT, key, "value", AGI_LEVEL_STRONG);
		assert_int_equal(got.err, AGI_OK);
		sim_run_until(w, w->now_us + 20000);
	}
	assert_true(w->stats.strong_drops > 0);
	end(w);
}

/* A write that only it holds is handed over when it comes back, for it is newer than what was collected. */
static void what_only_a_returning_host_holds_is_kept(void **state)
{
	struct sim_world *w = cluster(4);
	uint32_t h;

	(void)state;
	fill(w, 30);
	h = member_of(w, "lonely");
	delete_all(w, 0, 30);
	run_s(w, 6);
	cut(w, h, true);
	run_s(w, 5);
	call(w, h, AGI_CALL_PUT, "lonely", "value", AGI_LEVEL_ONE);
	assert_int_equal(got.err, AGI_OK);
	sim_crash_node(w, h);
	cut(w, h, false);
	settle_without(w, h);
	run_s(w, SWEPT_S);
	for (uint32_t i = 0; i < 4; i++)
		assert_true(i == h || w->node[i].disk.cf[AGI_CF_ITEMS].n == 0); /* collected, and no trace of it */
	erase_all(&w->node[h], AGI_CF_HINTS);
	sim_start_node(w, h);
	settle(w);
	wait_equal(w, 30);
	call(w, 0, AGI_CALL_GET, "lonely", "", AGI_LEVEL_ALL);
	assert_string_equal(got.value, "value");
	assert_none_is_back(w, h, 30);
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_a_member_missed_it_gets_without_hints),
	    cmocka_unit_test(what_each_of_two_lacks_both_have_in_the_end),
	    cmocka_unit_test(traffic_is_proportional_to_the_difference),
	    cmocka_unit_test(replicas_that_are_alike_send_roots_only),
	    cmocka_unit_test(another_interval_counts_at_once),
	    cmocka_unit_test(a_register_that_one_member_missed_is_made_alike),
	    cmocka_unit_test(what_was_deleted_leaves_all_disks_after_the_grace),
	    cmocka_unit_test(items_whose_time_is_over_leave_all_disks_too),
	    cmocka_unit_test(nothing_is_collected_while_a_member_is_away),
	    cmocka_unit_test(a_host_away_longer_than_the_grace_brings_nothing_back),
	    cmocka_unit_test(nor_does_it_as_a_member_again),
	    cmocka_unit_test(what_was_asked_for_before_a_collection_is_not_taken_after_it),
	    cmocka_unit_test(what_only_a_returning_host_holds_is_kept),
	    cmocka_unit_test(deleted_registers_leave_all_disks),
	    cmocka_unit_test(a_write_from_before_a_collected_deletion_is_refused),
	    cmocka_unit_test(no_register_is_collected_while_a_member_is_away),
	    cmocka_unit_test(a_returning_host_brings_no_register_back),
	    cmocka_unit_test(operations_go_on_while_registers_are_collected),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
