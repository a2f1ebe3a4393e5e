/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/prng.h"
#include "node/admit.h"

enum { RUNNING = 8, QUEUED = 64, FOREVER = UINT32_MAX };

struct op {
	struct agi_admit_entry e;
	int ns;
	bool is_in;
};

static struct agi_admit *make(uint32_t running, uint32_t queued, uint64_t queued_bytes)
{
	const struct agi_admit_cfg cfg = {running, 1 << 20, queued, queued_bytes};
	struct agi_admit *a;

	assert_int_equal(agi_admit_new(&cfg, &a), AGI_OK);
	return a;
}

static struct agi_str name_of(int ns)
{
	static const char *const names[] = {"flood", "calm", "third", "fourth"};

	return agi_str_of(names[ns]);
}

static enum agi_admit_verdict enter(struct agi_admit *a, struct op *op, int ns, uint64_t bytes,
                                    struct agi_admit_entry **pushed)
{
	uint32_t retry_ms = 0;
	enum agi_admit_verdict v;

	op->ns = ns;
	v = agi_admit_enter(a, &op->e, name_of(ns), bytes, FOREVER, 0, pushed, &retry_ms);
	if (v == AGI_ADMIT_REFUSE)
		assert_in_range(retry_ms, 20, 5000);
	op->is_in = v != AGI_ADMIT_REFUSE;
	return v;
}

static void leave(struct agi_admit *a, struct op *op)
{
	op->is_in = false;
	agi_admit_leave(a, &op->e);
}

static struct op *op_of(struct agi_admit_entry *e) { return (struct op *)(void *)e; }

/* Puts n of one namespace in; those refused or pushed out are left alone. */
static void put_in(struct agi_admit *a, struct op *ops, int n, int ns)
{
	struct agi_admit_entry *pushed;

	for (int i = 0; i < n; i++) {
		(void)enter(a, &ops[i], ns, 100, &pushed);
		if (pushed)
			leave(a, op_of(pushed));
	}
}

static void empty(struct agi_admit *a, struct op *ops, int n)
{
	for (int i = 0; i < n; i++)
		if (ops[i].is_in)
			leave(a, &ops[i]);
}

static void without_a_crowd_everybody_runs_at_once(void **state)
{
	struct agi_admit *a = make(RUNNING, QUEUED, 1 << 20);
	struct op ops[RUNNING];
	struct agi_admit_entry *pushed;
	(void)state;

	for (int i = 0; i < RUNNING; i++)
		assert_int_equal(enter(a, &ops[i], i % 2, 100, &pushed), AGI_ADMIT_RUN);
	assert_null(agi_admit_next(a, 0));
	empty(a, ops, RUNNING);
	agi_admit_check(a);
	agi_admit_free(a);
}

static void a_calm_namespace_runs_next_however_long_the_floods_queue_is(void **state)
{
	struct agi_admit *a = make(RUNNING, QUEUED, 1 << 20);
	static struct op flood[RUNNING + QUEUED], calm;
	struct agi_admit_entry *pushed, *e;
	(void)state;

	put_in(a, flood, RUNNING + QUEUED / 2, 0);
	assert_int_equal(enter(a, &calm, 1, 100, &pushed), AGI_ADMIT_WAIT);
	for (int i = 0; i < 130; i++) { /* a turn of the flood may come first */
		for (int k = 0; k < RUNNING + QUEUED; k++)
			if (flood[k].is_in && flood[k].e.state == AGI_ADMIT_RUNNING) {
				leave(a, &flood[k]);
				break;
			}
		e = agi_admit_next(a, 0);
		if (e == &calm.e)
			break;
		assert_non_null(e);
		assert_true(i < 30); /* 16 KiB of its operations of 612 bytes */
	}
	assert_ptr_equal(e, &calm.e);
	leave(a, &calm);
	empty(a, flood, RUNNING + QUEUED);
	agi_admit_free(a);
}

static void a_full_queue_is_shared_and_not_whoevers_came_first(void **state)
{
	struct agi_admit *a = make(RUNNING, QUEUED, 1 << 20);
	static struct op flood[4 * QUEUED], calm[QUEUED];
	struct agi_admit_entry *pushed;
	struct agi_admit_stats st;
	int n = 0;
	(void)state;

	put_in(a, flood, 4 * QUEUED, 0);
	agi_admit_stats(a, &st);
	assert_int_equal(st.queued, QUEUED);
	assert_int_equal(st.refused_full, 4 * QUEUED - QUEUED - RUNNING);
	for (int i = 0; i < QUEUED; i++) {
		enum agi_admit_verdict v = enter(a, &calm[i], 1, 100, &pushed);

		assert_true((v == AGI_ADMIT_WAIT) == (pushed != NULL));
		if (pushed) {
			assert_int_equal(op_of(pushed)->ns, 0);
			leave(a, op_of(pushed));
		}
		n += v == AGI_ADMIT_WAIT;
	}
	assert_in_range(n, QUEUED / 2 - 1, QUEUED / 2);
	agi_admit_check(a);
	empty(a, flood, 4 * QUEUED);
	empty(a, calm, QUEUED);
	agi_admit_free(a);
}

static void large_values_take_turns_by_their_bytes(void **state)
{
	struct agi_admit *a = make(1, 1000, 1ull << 30);
	static struct op big[100], small[900], first;
	struct agi_admit_entry *pushed, *e;
	uint64_t bytes[2] = {0};
	(void)state;

	assert_int_equal(enter(a, &first, 2, 1, &pushed), AGI_ADMIT_RUN);
	for (int i = 0; i < 100; i++)
		assert_int_equal(enter(a, &big[i], 0, 200 << 10, &pushed), AGI_ADMIT_WAIT);
	for (int i = 0; i < 900; i++)
		assert_int_equal(enter(a, &small[i], 1, 1 << 10, &pushed), AGI_ADMIT_WAIT);
	leave(a, &first);
	for (int i = 0; i < 450; i++) {
		e = agi_admit_next(a, 0);
		assert_non_null(e);
		bytes[op_of(e)->ns] += e->cost;
		leave(a, op_of(e));
	}
	assert_true(bytes[0] < 2 * bytes[1] && bytes[1] < 2 * bytes[0]);
	empty(a, big, 100);
	empty(a, small, 900);
	agi_admit_free(a);
}

static void who_cannot_be_served_in_time_is_told_at_once(void **state)
{
	struct agi_admit *a = make(RUNNING, QUEUED, 1 << 20);
	static struct op ops[RUNNING + 20], late;
	struct agi_admit_entry *pushed;
	uint32_t retry_ms;
	(void)state;

	put_in(a, ops, RUNNING + 20, 0);
	for (int i = 0; i < 50; i++)
		agi_admit_tick(a); /* nothing ends: very slow */
	assert_int_equal(agi_admit_enter(a, &late.e, name_of(0), 1, 500, 0, &pushed, &retry_ms), AGI_ADMIT_REFUSE);
	assert_int_equal(retry_ms, 5000);
	empty(a, ops, RUNNING + 20);
	agi_admit_check(a);
	agi_admit_free(a);
}

static void the_hint_follows_how_fast_operations_end(void **state)
{
	struct agi_admit *a = make(100, 10000, 1 << 30);
	static struct op ops[1100];
	struct agi_admit_entry *pushed, *e;
	struct op one;
	(void)state;

	for (int tick = 0; tick < 40; tick++) { /* 100 in 100 ms: 1000 a second */
		for (int i = 0; i < 100; i++) {
			(void)enter(a, &one, 0, 1, &pushed);
			leave(a, &one);
		}
		agi_admit_tick(a);
	}
	put_in(a, ops, 1100, 0);
	assert_in_range(agi_admit_retry_ms(a, name_of(0)), 1000, 1300);
	assert_in_range(agi_admit_retry_ms(a, name_of(1)), 100, 1300);
	while ((e = agi_admit_next(a, 0)) != NULL)
		leave(a, op_of(e));
	empty(a, ops, 1100);
	agi_admit_free(a);
}

/* Random entering, ending and giving up: counts stay right, nobody is lost, bounds hold. */
static void nothing_is_lost_whatever_happens(void **state)
{
	enum { OPS = 300 };
	static struct op ops[OPS];
	struct agi_admit *a = make(RUNNING, QUEUED, 64 << 10);
	struct agi_admit_entry *pushed, *e;
	struct agi_prng r;
	(void)state;

	agi_prng_seed(&r, 11);
	for (int step = 0; step < 100000; step++) {
		struct op *op = &ops[agi_prng_below(&r, OPS)];

		if (op->is_in && agi_prng_below(&r, 3) == 0) {
			leave(a, op);
		} else if (!op->is_in) {
			(void)enter(a, op, (int)agi_prng_below(&r, 4), agi_prng_below(&r, 4000), &pushed);
			if (pushed)
				leave(a, op_of(pushed));
		}
		if (agi_prng_below(&r, 4) == 0 && (e = agi_admit_next(a, 0)) != NULL)
			assert_int_equal(e->state, AGI_ADMIT_RUNNING);
		agi_admit_check(a);
	}
	while ((e = agi_admit_next(a, 0)) != NULL)
		;
	empty(a, ops, OPS);
	agi_admit_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(without_a_crowd_everybody_runs_at_once),
	    cmocka_unit_test(a_calm_namespace_runs_next_however_long_the_floods_queue_is),
	    cmocka_unit_test(a_full_queue_is_shared_and_not_whoevers_came_first),
	    cmocka_unit_test(large_values_take_turns_by_their_bytes),
	    cmocka_unit_test(who_cannot_be_served_in_time_is_told_at_once),
	    cmocka_unit_test(the_hint_follows_how_fast_operations_end),
	    cmocka_unit_test(nothing_is_lost_whatever_happens),
	};

	return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
