/* SPDX-License-Identifier: Apache-2.0
 * A slot's records are pulled from another host: the outcome is compared with what a merge of two tables must be, for
 * random tables that share much, little or nothing; and the bucket that slows it down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dht/transfer.h"
#include "world.h"

enum { KEYS_MAX = 4000 };

/* What the table of one host holds: key i has version[i], 0 = nothing. */
struct table {
	uint8_t version[2][KEYS_MAX];
};

static struct sim_world *w;
static uint32_t value_bytes;
static struct {
	bool is_there;
	enum agi_err err;
} ended;

static void on_pulled(struct agi_dht *d, void *arg, enum agi_err err)
{
	(void)d, (void)arg;
	ended.is_there = true;
	ended.err = err;
}

static void set_up(void)
{
	struct sim_cfg cfg = {.seed = 7, .nodes = 2, .slot_bits = 1, .repair_ms = UINT32_MAX};

	w = malloc(sizeof *w);
	assert_non_null(w);
	sim_set_up(w, &cfg);
	w->is_edited = true;
	for (uint32_t i = 0; i < 2; i++)
		sim_start_node(w, i);
	sim_run_until(w, w->now_us + 20000000);
	assert_int_equal(agi_slot_find(w->node[0].dht, 0)->view.n_members, 2);
}

static void tear_down(void)
{
	assert_string_equal(w->failure, "");
	sim_tear_down(w);
	free(w);
}

/* The n-th key that belongs to slot 0. */
static void key_of(struct agi_buf *b, uint32_t n)
{
	static uint32_t at[KEYS_MAX], known, next;
	char text[256];

	while (known <= n) {
		snprintf(text, sizeof text, "k%u", next);
		if (agi_dht_slot_of(w->node[0].dht, AGI_STR("n"), agi_str_of(text)) == 0)
			at[known++] = next;
		next++;
	}
	snprintf(text, sizeof text, "k%u", at[n]);
	agi_buf_reset(b);
	agi_item_key(b, 0, AGI_STR("n"), agi_str_of(text));
}

static void run_write(struct sim_node *n, enum agi_cf cf, uint32_t key, uint8_t version)
{
	struct agi_buf k, v;
	struct agi_item item = {.version = {.hlc = version}};
	struct agi_storage_op op = {.verb = version ? AGI_PUT : AGI_DELETE, .cf = cf};
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = &op, .n_ops = 1};
	char *value = calloc(1, value_bytes + 1);

	agi_buf_init(&k, 0);
	agi_buf_init(&v, 0);
	key_of(&k, key);
	item.value = (struct agi_str){value, key % 7 == 0 ? value_bytes : value_bytes / 8};
	agi_item_value(&v, &item);
	op.key = agi_buf_str(&k);
	op.value = agi_buf_str(&v);
	sim_disk_submit(&n->disk, UINT64_C(1) << 60, &req);
	agi_buf_free(&k);
	agi_buf_free(&v);
	free(value);
}

static void store_table(struct sim_node *n, const struct table *t, uint32_t keys)
{
	for (uint32_t i = 0; i < keys; i++) {
		run_write(n, AGI_CF_ITEMS, i, t->version[0][i]);
		run_write(n, AGI_CF_STRONG, i, t->version[1][i]);
	}
}

static uint32_t find(const struct sim_node *n, enum agi_cf cf, struct agi_str key)
{
	const struct sim_table *t = &n->disk.cf[cf];

	for (size_t lo = 0, hi = t->n; lo < hi;) {
		size_t mid = (lo + hi) / 2;
		int c = agi_str_cmp(t->e[mid].key, key);

		if (c == 0)
			return (uint8_t)t->e[mid].value.p[7];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 0;
}

static void expect_table(const struct sim_node *n, const struct table *t, uint32_t keys)
{
	struct agi_buf k;

	agi_buf_init(&k, 0);
	for (uint32_t i = 0; i < keys; i++) {
		key_of(&k, i);
		assert_int_equal(find(n, AGI_CF_ITEMS, agi_buf_str(&k)), t->version[0][i]);
		assert_int_equal(find(n, AGI_CF_STRONG, agi_buf_str(&k)), t->version[1][i]);
	}
	agi_buf_free(&k);
}

static uint64_t pull(bool is_mirror, bool is_background)
{
	struct sim_node *n = &w->node[1];
	struct agi_dht_moves before, after;
	struct agi_pull p = {.d = n->dht, .s = agi_slot_find(n->dht, 0), .from = w->node[0].id,
	                     .is_mirror = is_mirror, .is_background = is_background, .fn = on_pulled};

	p.epoch = p.s->view.epoch;
	agi_dht_moves(n->dht, &before);
	ended.is_there = false;
	agi_pull_start(&p);
	sim_rearm(n);
	for (int i = 0; i < 100000 && !ended.is_there; i++)
		sim_run_until(w, w->now_us + 2000);
	assert_true(ended.is_there);
	assert_int_equal(ended.err, AGI_OK);
	sim_run_until(w, w->now_us + 20000);
	agi_dht_moves(n->dht, &after);
	return after.stats.bytes_in - before.stats.bytes_in;
}

/* ours is what a pull from theirs must make of it. */
static void merge(struct table *ours, const struct table *theirs, uint32_t keys, bool is_mirror)
{
	for (int cf = 0; cf < 2; cf++) {
		for (uint32_t i = 0; i < keys; i++) {
			uint8_t b = theirs->version[cf][i];

			if (b > ours->version[cf][i])
				ours->version[cf][i] = b;
			else if (is_mirror && !b)
				ours->version[cf][i] = 0;
		}
	}
}

static void a_pull_makes_what_a_merge_of_both_tables_makes(void **state)
{
	static struct table theirs, ours;
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 99);
	set_up();
	for (int round = 0; round < 40; round++) {
		uint32_t keys = 1 + (uint32_t)agi_prng_below(&r, round < 34 ? 40 : KEYS_MAX);
		uint32_t here = (uint32_t)agi_prng_below(&r, 101), there = (uint32_t)agi_prng_below(&r, 101);
		uint32_t alike = (uint32_t)agi_prng_below(&r, 101);
		bool is_mirror = agi_prng_below(&r, 2);

		value_bytes = (uint32_t)agi_prng_below(&r, 3) ? 40 : 4000;
		memset(&theirs, 0, sizeof theirs);
		memset(&ours, 0, sizeof ours);
		for (uint32_t i = 0; i < keys; i++) {
			for (int cf = 0; cf < 2; cf++) {
				if (agi_prng_below(&r, 100) < there)
					theirs.version[cf][i] = (uint8_t)(1 + agi_prng_below(&r, 200));
				if (agi_prng_below(&r, 100) < alike)
					ours.version[cf][i] = theirs.version[cf][i];
				else if (agi_prng_below(&r, 100) < here)
					ours.version[cf][i] = (uint8_t)(1 + agi_prng_below(&r, 200));
			}
		}
		store_table(&w->node[0], &theirs, KEYS_MAX);
		store_table(&w->node[1], &ours, KEYS_MAX);
		(void)pull(is_mirror, round % 3 == 0);
		merge(&ours, &theirs, keys, is_mirror);
		expect_table(&w->node[1], &ours, keys);
		expect_table(&w->node[0], &theirs, keys);
	}
	tear_down();
}

static void what_is_the_same_is_not_sent(void **state)
{
	static struct table t;
	uint64_t all, one;

	(void)state;
	set_up();
	value_bytes = 400;
	for (uint32_t i = 0; i < 2000; i++)
		t.version[0][i] = t.version[1][i] = 5;
	store_table(&w->node[0], &t, KEYS_MAX);
	all = pull(false, true);
	assert_true(all > 2000 * 2 * 100);
	assert_int_equal(pull(false, true), 0);
	t.version[0][1234] = 9;
	run_write(&w->node[0], AGI_CF_ITEMS, 1234, 9);
	one = pull(false, true);
	assert_true(one > 0 && one < 1000);
	expect_table(&w->node[1], &t, 2000);
	tear_down();
}

/* --- the bucket ------------------------------------------------------------------------------------------ */

static void a_bucket_lets_through_its_rate_on_average(void **state)
{
	static const uint64_t rates[] = {64 << 10, 1 << 20, 123456789, UINT64_C(1) << 36};
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 3);
	for (size_t k = 0; k < sizeof rates / sizeof *rates; k++) {
		struct agi_bucket b = {.per_s = rates[k]};
		uint64_t now_us = 5000000, sum = 0, end_us = now_us + 20000000;

		while (now_us < end_us) {
			uint64_t wait_us = agi_bucket_wait_us(&b, now_us), n = agi_prng_below(&r, 300000);

			if (wait_us) {
				now_us += wait_us;
				continue;
			}
			agi_bucket_take(&b, n, now_us);
			sum += n;
			now_us += agi_prng_below(&r, 3);
		}
		if (rates[k] < UINT64_C(1) << 33) /* else the pauses above are the limit */
			assert_true(sum / 20 > rates[k] / 100 * 95 && sum / 20 < rates[k] / 100 * 105 + 30000);
	}
}

static void a_bucket_without_a_rate_never_waits_and_a_new_rate_counts_at_once(void **state)
{
	struct agi_bucket b = {0};

	(void)state;
	agi_bucket_take(&b, UINT64_C(1) << 40, 1);
	assert_int_equal(agi_bucket_wait_us(&b, 1), 0);
	agi_bucket_set(&b, 1000000, 10);
	agi_bucket_take(&b, 2000000, 10);
	assert_in_range(agi_bucket_wait_us(&b, 10), 1990000, 2010000);
	agi_bucket_set(&b, 4000000, 10);
	assert_in_range(agi_bucket_wait_us(&b, 10), 490000, 510000);
	agi_bucket_set(&b, 0, 10);
	assert_int_equal(agi_bucket_wait_us(&b, 10), 0);
}

static void a_rate_forgets_what_was_long_ago(void **state)
{
	struct agi_rate r = {0};

	(void)state;
	assert_true(agi_rate_per_s(&r, 77000000) == 0);
	for (uint64_t s = 100; s < 120; s++)
		agi_rate_add(&r, 50, s * 1000000 + 300000);
	assert_true(agi_rate_per_s(&r, 119900000) == 50);
	assert_true(agi_rate_per_s(&r, 124500000) == 30);
	assert_true(agi_rate_per_s(&r, 131000000) == 0);
	agi_rate_add(&r, 10, 200000000);
	assert_true(agi_rate_per_s(&r, 201500000) == 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_pull_makes_what_a_merge_of_both_tables_makes),
	    cmocka_unit_test(what_is_the_same_is_not_sent),
	    cmocka_unit_test(a_bucket_lets_through_its_rate_on_average),
	    cmocka_unit_test(a_bucket_without_a_rate_never_waits_and_a_new_rate_counts_at_once),
	    cmocka_unit_test(a_rate_forgets_what_was_long_ago),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
