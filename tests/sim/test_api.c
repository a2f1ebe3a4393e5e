/* SPDX-License-Identifier: Apache-2.0
 * What the operations of the memory API promise beyond put, get and delete, one promise a test, on a
 * simulated cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "world.h"

enum { SECOND = 1000000 };

/* The last reply, flattened. */
static struct answer {
	bool is_there, found;
	enum agi_err err;
	char why[200], value[64];
	uint64_t version;
} got;

static void on_reply(struct sim_node *n, uint64_t call_id, const struct agi_result *res)
{
	size_t bytes = res->value.n < sizeof got.value - 1 ? res->value.n : sizeof got.value - 1;
	(void)n;
	(void)call_id;

	got = (struct answer){.is_there = true, .found = res->found, .err = res->err, .version = res->version.hlc};
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_condition_that_does_not_hold_tells_what_is_there),
	    cmocka_unit_test(a_delete_under_a_condition_removes_exactly_that_version),
	    cmocka_unit_test(sums_are_exact_to_the_last_number_and_nothing_else_is_added_to),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
