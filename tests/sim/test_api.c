/* SPDX-License-Identifier: Apache-2.0
 * What the operations of the memory API promise beyond put, get and delete, one promise a test, on a
 * simulated cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "world.h"

enum { SECOND = 1000000 };

enum { FOUND_MAX = 4096, CURSOR_MAX = 2048 };

/* The last reply, flattened. */
static struct answer {
	bool is_there, found, has_more;
	enum agi_err err;
	char why[200], value[64];
	uint64_t version, count;
	char cursor[CURSOR_MAX];
	size_t cursor_bytes;
} got;

/* What scans found since it was last cleared. */
static struct found {
	char key[40];
	size_t value_bytes;
	uint64_t value; /* its first 8 bytes */
} found[FOUND_MAX];
static size_t n_found, n_ok;

static void take_items(const struct agi_result *res)
{
	for (size_t i = 0; i < res->n_items; i++) {
		const struct agi_item *it = &res->items[i];
		struct found *f = &found[n_found++];

		assert_true(n_found < FOUND_MAX && it->key.n < sizeof f->key);
		*f = (struct found){.value_bytes = it->value.n};
		memcpy(f->key, it->key.p, it->key.n);
		if (it->value.n >= 8)
			memcpy(&f->value, it->value.p, 8);
		assert_true(it->version.hlc > 0);
	}
}

static void on_reply(struct sim_node *n, uint64_t call_id, const struct agi_result *res)
{
	size_t bytes = res->value.n < sizeof got.value - 1 ? res->value.n : sizeof got.value - 1;
	(void)n;
	(void)call_id;

	got = (struct answer){.is_there = true, .found = res->found, .err = res->err, .version = res->version.hlc,
	                      .has_more = res->has_more, .count = res->count, .cursor_bytes = res->cursor.n};
	if (res->cursor.n)
		memcpy(got.cursor, res->cursor.p, res->cursor.n);
	if (res->kind == AGI_CALL_SCAN)
		take_items(res);
	n_ok = 0;
	for (size_t i = 0; res->kind == AGI_CALL_BATCH && res->outcomes && i < res->n_items; i++)
		n_ok += res->outcomes[i].err == AGI_OK && res->outcomes[i].version > 0;
	if (bytes)
		memcpy(got.value, res->value.p, bytes);
	memcpy(got.why, res->why.text, strlen(res->why.text) < 199 ? strlen(res->why.text) : 199);
}

static struct sim_world *cluster(uint32_t nodes, uint32_t slot_bits)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg cfg = {.seed = 4242, .nodes = nodes, .slot_bits = slot_bits,
	                      .is_verbose = getenv("VERBOSE") != NULL};

	assert_non_null(w);
	sim_set_up(w, &cfg);
	w->on_reply = on_reply;
	for (uint32_t i = 0; i < nodes; i++)
		sim_start_node(w, i);
	for (int s = 0; s < 120 && !sim_is_settled(w); s++)
		sim_run_until(w, w->now_us + SECOND);
	assert_true(sim_is_settled(w));
	assert_string_equal(w->failure, "");
	return w;
}

static void end(struct sim_world *w)
{
	assert_string_equal(w->failure, "");
	sim_tear_down(w);
	free(w);
}

static void run_ms(struct sim_world *w, uint64_t ms) { sim_run_until(w, w->now_us + ms * 1000); }

/* Runs a call at a node until it is answered. */
static const struct answer *ask(struct sim_world *w, uint32_t node, const struct agi_call *call)
{
	static uint64_t next = SIM_OWN_CALL;
	struct sim_node *n = &w->node[node];

	got = (struct answer){0};
	agi_dht_call(n->dht, sim_now(n), next++, call);
	sim_rearm(n);
	for (int i = 0; i < 4000 && !got.is_there; i++)
		run_ms(w, 5);
	assert_true(got.is_there);
	return &got;
}

/* --- compare and set, add --------------------------------------------------------------------------- */
static uint64_t put_strong(struct sim_world *w, uint32_t node, const char *key, const char *value)
{
	struct agi_call c = {.kind = AGI_CALL_PUT, .key = agi_str_of(key), .value = agi_str_of(value),
	                     .level = AGI_LEVEL_STRONG};

	assert_int_equal(ask(w, node, &c)->err, AGI_OK);
	return got.version;
}

static const struct answer *get_strong(struct sim_world *w, uint32_t node, const char *key)
{
	struct agi_call c = {.kind = AGI_CALL_GET, .key = agi_str_of(key), .level = AGI_LEVEL_STRONG};

	return ask(w, node, &c);
}

static const struct answer *cas(struct sim_world *w, const char *key, const char *value, uint64_t expected)
{
	struct agi_call c = {.kind = AGI_CALL_CAS, .key = agi_str_of(key), .expected = expected,
	                     .is_delete = value == NULL, .value = agi_str_of(value ? value : "")};

	return ask(w, 1, &c);
}

static void a_condition_that_does_not_hold_tells_what_is_there(void **state)
{
	struct sim_world *w = cluster(3, 2);
	uint64_t first, second;

	(void)state;
	first = put_strong(w, 0, "k", "one");
	second = put_strong(w, 2, "k", "two");
	assert_true(second > first);
	assert_int_equal(cas(w, "k", "three", first)->err, AGI_E_CONDITION);
	assert_true(got.found);
	assert_int_equal(got.version, second);
	assert_string_equal(got.value, "two");
	assert_int_equal(cas(w, "k", "three", 0)->err, AGI_E_CONDITION);
	assert_int_equal(cas(w, "none", "x", first)->err, AGI_E_CONDITION);
	assert_false(got.found);
	assert_int_equal(got.version, 0);
	assert_int_equal(cas(w, "k", "three", second)->err, AGI_OK);
	assert_true(got.version > second);
	assert_string_equal(get_strong(w, 0, "k")->value, "three");
	end(w);
}

static void a_delete_under_a_condition_removes_exactly_that_version(void **state)
{
	struct sim_world *w = cluster(3, 2);
	uint64_t version;

	(void)state;
	version = put_strong(w, 0, "k", "one");
	assert_int_equal(cas(w, "k", NULL, version - 1)->err, AGI_E_CONDITION);
	assert_int_equal(get_strong(w, 2, "k")->err, AGI_OK);
	assert_int_equal(cas(w, "k", NULL, version)->err, AGI_OK);
	assert_int_equal(get_strong(w, 2, "k")->err, AGI_E_NOT_FOUND);
	assert_int_equal(cas(w, "k", NULL, version)->err, AGI_E_CONDITION);
	assert_int_equal(got.version, 0);
	assert_int_equal(cas(w, "k", "again", 0)->err, AGI_OK);
	assert_true(got.version > version);
	end(w);
}

static const struct answer *add(struct sim_world *w, const char *key, int64_t delta)
{
	struct agi_call c = {.kind = AGI_CALL_ADD, .key = agi_str_of(key), .delta = delta};

	return ask(w, 2, &c);
}

static void sums_are_exact_to_the_last_number_and_nothing_else_is_added_to(void **state)
{
	struct sim_world *w = cluster(3, 2);

	(void)state;
	assert_string_equal(add(w, "n", 5)->value, "5");
	assert_string_equal(add(w, "n", -7)->value, "-2");
	put_strong(w, 0, "n", "9223372036854775806");
	assert_string_equal(add(w, "n", 1)->value, "9223372036854775807");
	assert_int_equal(add(w, "n", 1)->err, AGI_E_NOT_NUMBER);
	assert_string_equal(get_strong(w, 0, "n")->value, "9223372036854775807");
	assert_string_equal(add(w, "n", INT64_MIN)->value, "-1");
	put_strong(w, 0, "n", "0x10");
	assert_int_equal(add(w, "n", 1)->err, AGI_E_NOT_NUMBER);
	assert_string_equal(get_strong(w, 0, "n")->value, "0x10");
	end(w);
}

/* --- scan --------------------------------------------------------------------------------------------- */
static void put_value(struct sim_world *w, uint32_t node, const char *ns, const char *key, uint64_t value, size_t bytes,
                      enum agi_level level)
{
	char *b = calloc(1, bytes);
	struct agi_call c = {.kind = AGI_CALL_PUT, .ns = agi_str_of(ns), .key = agi_str_of(key), .value = {b, bytes},
	                     .level = level};

	memcpy(b, &value, 8);
	assert_int_equal(ask(w, node, &c)->err, AGI_OK);
	free(b);
}

static void del(struct sim_world *w, uint32_t node, const char *ns, const char *key, enum agi_level level)
{
	struct agi_call c = {.kind = AGI_CALL_DELETE, .ns = agi_str_of(ns), .key = agi_str_of(key), .level = level};

	assert_int_equal(ask(w, node, &c)->err, AGI_OK);
}

/* One page behind the last one; a fresh scan when that was the last page. */
static const struct answer *scan_page(struct sim_world *w, uint32_t node, struct agi_call c)
{
	static char cursor[CURSOR_MAX];

	memcpy(cursor, got.cursor, got.cursor_bytes);
	c.kind = AGI_CALL_SCAN;
	c.cursor = (struct agi_str){cursor, got.cursor_bytes};
	return ask(w, node, &c);
}

/* All pages, each at another node. Returns the pages. */
static unsigned scan_all(struct sim_world *w, struct agi_call c)
{
	unsigned pages = 0;

	n_found = 0;
	got.cursor_bytes = 0;
	do {
		assert_int_equal(scan_page(w, pages % w->cfg.nodes, c)->err, AGI_OK);
		assert_true(got.has_more == (got.cursor_bytes > 0));
		assert_true(++pages < 1000);
	} while (got.has_more);
	return pages;
}

static const struct found *find(const char *key)
{
	const struct found *f = NULL;

	for (size_t i = 0; i < n_found; i++) {
		if (strcmp(found[i].key, key) != 0)
			continue;
		assert_null(f); /* nothing comes twice */
		f = &found[i];
	}
	return f;
}

static void number_key(char out[40], unsigned i) { snprintf(out, 40, i % 3 ? "even/%u" : "odd/%u", i); }

static void every_live_key_is_found_once_whatever_the_page(enum agi_level level)
{
	static const uint32_t limits[] = {0, 1, 7, 50, 1000};
	struct sim_world *w = cluster(4, 5);
	struct agi_call c = {.ns = AGI_STR("n"), .level = level};
	char key[40];

	for (unsigned i = 0; i < 120; i++) {
		number_key(key, i);
		put_value(w, i % 4, "n", key, i, 8, level);
		put_value(w, i % 4, "other", key, 7, 8, level);
	}
	for (unsigned i = 0; i < 120; i += 5) {
		number_key(key, i);
		del(w, (i + 1) % 4, "n", key, level);
	}
	for (size_t l = 0; l < 5; l++) {
		for (int prefix = 0; prefix < 3; prefix++) {
			c.key = prefix == 0 ? AGI_STR("") : prefix == 1 ? AGI_STR("odd/") : AGI_STR("odd/1");
			c.limit = limits[l];
			scan_all(w, c);
			for (unsigned i = 0; i < 120; i++) {
				const struct found *f;

				number_key(key, i);
				f = find(key);
				assert_int_equal(f != NULL, i % 5 && agi_str_has_prefix(agi_str_of(key), c.key));
				assert_true(!f || (f->value == i && f->value_bytes == 8));
			}
			assert_int_equal(n_found, prefix == 0 ? 96 : prefix == 1 ? 32 : n_found);
		}
	}
	c.key = AGI_STR("");
	c.is_keys_only = true;
	scan_all(w, c);
	assert_int_equal(n_found, 96);
	assert_int_equal(found[0].value_bytes, 0);
	c.is_count = true;
	scan_all(w, c);
	assert_int_equal(n_found, 0);
	assert_int_equal(got.count, 96);
	end(w);
}

static void a_scan_finds_every_live_item_once(void **state)
{
	(void)state;
	every_live_key_is_found_once_whatever_the_page(AGI_LEVEL_QUORUM);
	every_live_key_is_found_once_whatever_the_page(AGI_LEVEL_ONE);
}

static void a_scan_finds_every_live_register_once(void **state)
{
	(void)state;
	every_live_key_is_found_once_whatever_the_page(AGI_LEVEL_STRONG);
}

static void an_empty_namespace_takes_one_page(void **state)
{
	struct sim_world *w = cluster(3, 6);
	struct agi_call c = {.ns = AGI_STR("nothing"), .level = AGI_LEVEL_QUORUM};
	uint64_t sent = w->stats.messages;

	(void)state;
	assert_int_equal(scan_all(w, c), 1);
	assert_int_equal(n_found, 0);
	assert_true(w->stats.messages - sent < 20);
	end(w);
}

static void what_has_expired_is_not_found(void **state)
{
	struct sim_world *w = cluster(3, 2);
	struct agi_call put = {.kind = AGI_CALL_PUT, .key = AGI_STR("k"), .value = AGI_STR("v"), .ttl_ms = 5000};
	struct agi_call c = {.level = AGI_LEVEL_QUORUM};

	(void)state;
	assert_int_equal(ask(w, 0, &put)->err, AGI_OK);
	scan_all(w, c);
	assert_int_equal(n_found, 1);
	run_ms(w, 6000);
	scan_all(w, c);
	assert_int_equal(n_found, 0);
	end(w);
}

static void long_values_come_whole(void **state)
{
	struct sim_world *w = cluster(3, 3);
	struct agi_call c = {.level = AGI_LEVEL_QUORUM};

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		char key[40];

		number_key(key, i);
		put_value(w, 0, "", key, i, i % 2 ? 9000 : 400000, AGI_LEVEL_QUORUM);
		put_value(w, 0, "", key, i, i % 2 ? 9000 : 400000, AGI_LEVEL_STRONG);
	}
	for (int strong = 0; strong < 2; strong++) {
		c.level = strong ? AGI_LEVEL_STRONG : AGI_LEVEL_QUORUM;
		assert_true(scan_all(w, c) > 1); /* two megabytes are more than a page */
		assert_int_equal(n_found, 10);
		for (unsigned i = 0; i < 10; i++) {
			char key[40];

			number_key(key, i);
			assert_int_equal(find(key)->value_bytes, i % 2 ? 9000 : 400000);
			assert_true(find(key)->value == i);
		}
	}
	end(w);
}

static void a_page_token_is_good_for_its_own_scan_only(void **state)
{
	struct sim_world *w = cluster(3, 2);
	struct agi_call c = {.ns = AGI_STR("n"), .level = AGI_LEVEL_QUORUM, .limit = 1};

	(void)state;
	put_value(w, 0, "n", "a", 1, 8, AGI_LEVEL_QUORUM);
	put_value(w, 0, "n", "b", 2, 8, AGI_LEVEL_QUORUM);
	got.cursor_bytes = 0;
	assert_int_equal(scan_page(w, 0, c)->err, AGI_OK);
	assert_true(got.has_more);
	c.level = AGI_LEVEL_STRONG;
	assert_int_equal(scan_page(w, 0, c)->err, AGI_E_INVALID);
	assert_non_null(strstr(got.why, "another namespace, prefix or level"));
	memcpy(got.cursor, "nonsense", 8);
	got.cursor_bytes = 8;
	assert_int_equal(scan_page(w, 0, c)->err, AGI_E_INVALID);
	end(w);
}

static void a_scan_goes_on_when_a_member_dies_and_fails_without_a_majority(void **state)
{
	struct sim_world *w = cluster(3, 4);
	struct agi_call c = {.ns = AGI_STR("n"), .limit = 10, .timeout_ms = 5000};
	char key[40];

	(void)state;
	for (unsigned i = 0; i < 60; i++) {
		number_key(key, i);
		put_value(w, i % 3, "n", key, i, 8, i % 2 ? AGI_LEVEL_QUORUM : AGI_LEVEL_STRONG);
	}
	for (int strong = 0; strong < 2; strong++) {
		c.level = strong ? AGI_LEVEL_STRONG : AGI_LEVEL_QUORUM;
		n_found = 0;
		got.cursor_bytes = 0;
		assert_int_equal(scan_page(w, 0, c)->err, AGI_OK);
		sim_crash_node(w, 2);
		while (got.has_more)
			assert_int_equal(scan_page(w, 0, c)->err, AGI_OK);
		assert_int_equal(n_found, 30);
		sim_crash_node(w, 1);
		run_ms(w, 5000);
		assert_int_equal(scan_page(w, 0, c)->err, AGI_E_NO_QUORUM);
		assert_non_null(strstr(got.why, "slot 0 of 16"));
		sim_start_node(w, 1);
		sim_start_node(w, 2);
		run_ms(w, 10000);
	}
	end(w);
}

static uint32_t some_ready_node(struct sim_world *w)
{
	struct agi_dht_status st;

	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		if (!w->node[i].dht)
			continue;
		agi_dht_status(w->node[i].dht, &st);
		if (st.is_ready)
			return i;
	}
	fail_msg("no node is ready");
	return 0;
}

/* What was acknowledged before a scan and never deleted is found, while nodes come, go and change slots. */
static void a_scan_misses_nothing_while_slots_move(void **state)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg cfg = {.seed = 99, .nodes = 6, .slot_bits = 4, .is_verbose = getenv("VERBOSE") != NULL};
	char key[40];

	(void)state;
	sim_set_up(w, &cfg);
	w->on_reply = on_reply;
	for (uint32_t i = 0; i < 3; i++)
		sim_start_node(w, i);
	run_ms(w, 8000);
	for (unsigned i = 0; i < 80; i++) {
		number_key(key, i);
		put_value(w, i % 3, "n", key, i, 8, AGI_LEVEL_QUORUM);
		put_value(w, i % 3, "n", key, i, 8, AGI_LEVEL_STRONG);
	}
	w->drop = 0.02;
	w->duplicate = 0.02;
	w->slow_us = 20000;
	for (int round = 0; round < 24; round++) {
		struct agi_call c = {.ns = AGI_STR("n"), .limit = 5 + (uint32_t)round, .timeout_ms = 20000,
		                     .level = round % 2 ? AGI_LEVEL_STRONG : AGI_LEVEL_QUORUM};

		if (round == 2 || round == 5 || round == 8)
			sim_start_node(w, 3 + (uint32_t)round / 3);
		if (round % 6 == 3)
			sim_crash_node(w, (uint32_t)round / 6 % 3);
		if (round % 6 == 5)
			sim_start_node(w, (uint32_t)round / 6 % 3);
		n_found = 0;
		got.cursor_bytes = 0;
		do {
			assert_int_equal(scan_page(w, some_ready_node(w), c)->err, AGI_OK);
			run_ms(w, 200);
		} while (got.has_more);
		assert_int_equal(n_found, 80);
		for (unsigned i = 0; i < 80; i++) {
			number_key(key, i);
			assert_non_null(find(key));
		}
	}
	end(w);
}

/* --- batch -------------------------------------------------------------------------------------------- */
static void a_batch_writes_every_item_or_says_which_it_did_not(void **state)
{
	struct sim_world *w = cluster(4, 3);
	char keys[AGI_BATCH_ITEMS][40];
	struct agi_item items[AGI_BATCH_ITEMS] = {{.expires_ms = 0}};
	struct agi_call c = {.kind = AGI_CALL_BATCH, .ns = AGI_STR("n"), .items = items, .n_items = AGI_BATCH_ITEMS};
	struct agi_call scan = {.ns = AGI_STR("n")};

	(void)state;
	for (int strong = 0; strong < 2; strong++) {
		c.level = scan.level = strong ? AGI_LEVEL_STRONG : AGI_LEVEL_QUORUM;
		for (unsigned i = 0; i < AGI_BATCH_ITEMS; i++) {
			number_key(keys[i], i);
			items[i] = (struct agi_item){.key = agi_str_of(keys[i]), .value = agi_str_of(keys[i])};
		}
		ask(w, 1, &c);
		assert_int_equal(got.err, AGI_OK);
		assert_int_equal(n_ok, AGI_BATCH_ITEMS);
		scan_all(w, scan);
		assert_int_equal(n_found, AGI_BATCH_ITEMS);
		for (unsigned i = 0; i < AGI_BATCH_ITEMS; i += 2)
			items[i] = (struct agi_item){.key = agi_str_of(keys[i]), .is_tombstone = true};
		ask(w, 2, &c);
		assert_int_equal(n_ok, AGI_BATCH_ITEMS);
		scan_all(w, scan);
		assert_int_equal(n_found, AGI_BATCH_ITEMS / 2);
	}
	items[3].key = items[7].key;
	assert_int_equal(ask(w, 0, &c)->err, AGI_E_INVALID);
	assert_non_null(strstr(got.why, "items[3] and items[7] have the same key"));
	c.n_items = AGI_BATCH_ITEMS + 1;
	assert_int_equal(ask(w, 0, &c)->err, AGI_E_INVALID);
	end(w);
}

static void items_of_a_batch_fail_by_themselves_and_are_delivered_later(void **state)
{
	struct sim_world *w = cluster(4, 3);
	char keys[AGI_BATCH_ITEMS][40];
	struct agi_item items[AGI_BATCH_ITEMS] = {{.expires_ms = 0}};
	struct agi_call c = {.kind = AGI_CALL_BATCH, .ns = AGI_STR("n"), .items = items, .n_items = AGI_BATCH_ITEMS,
	                     .level = AGI_LEVEL_ALL, .timeout_ms = 3000};
	struct agi_call scan = {.ns = AGI_STR("n"), .level = AGI_LEVEL_ONE};

	(void)state;
	for (unsigned i = 0; i < AGI_BATCH_ITEMS; i++) {
		number_key(keys[i], i);
		items[i] = (struct agi_item){.key = agi_str_of(keys[i]), .value = AGI_STR("v"), .expires_ms = 60000};
	}
	sim_crash_node(w, 3);
	run_ms(w, 4000);
	ask(w, 1, &c);
	assert_int_equal(got.err, AGI_OK);
	assert_true(n_ok > 0 && n_ok < AGI_BATCH_ITEMS); /* slots with and without the dead node */
	c.level = AGI_LEVEL_QUORUM; /* what is acknowledged is owed to the absent ones */
	ask(w, 1, &c);
	assert_int_equal(n_ok, AGI_BATCH_ITEMS);
	sim_start_node(w, 3);
	run_ms(w, 12000); /* hints */
	sim_crash_node(w, 0);
	sim_crash_node(w, 2);
	run_ms(w, 4000);
	got.cursor_bytes = n_found = 0;
	do
		assert_int_equal(scan_page(w, 3, scan)->err, AGI_OK);
	while (got.has_more);
	assert_int_equal(n_found, AGI_BATCH_ITEMS);
	run_ms(w, 60000);
	got.cursor_bytes = n_found = 0;
	assert_int_equal(scan_page(w, 3, scan)->err, AGI_OK);
	assert_int_equal(n_found, 0);
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_condition_that_does_not_hold_tells_what_is_there),
	    cmocka_unit_test(a_delete_under_a_condition_removes_exactly_that_version),
	    cmocka_unit_test(sums_are_exact_to_the_last_number_and_nothing_else_is_added_to),
	    cmocka_unit_test(a_scan_finds_every_live_item_once),
	    cmocka_unit_test(a_scan_finds_every_live_register_once),
	    cmocka_unit_test(an_empty_namespace_takes_one_page),
	    cmocka_unit_test(what_has_expired_is_not_found),
	    cmocka_unit_test(long_values_come_whole),
	    cmocka_unit_test(a_page_token_is_good_for_its_own_scan_only),
	    cmocka_unit_test(a_scan_goes_on_when_a_member_dies_and_fails_without_a_majority),
	    cmocka_unit_test(a_scan_misses_nothing_while_slots_move),
	    cmocka_unit_test(a_batch_writes_every_item_or_says_which_it_did_not),
	    cmocka_unit_test(items_of_a_batch_fail_by_themselves_and_are_delivered_later),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
