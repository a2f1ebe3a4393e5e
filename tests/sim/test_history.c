/* SPDX-License-Identifier: Apache-2.0
 * The checker of histories, against a slow twin that tries every order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/prng.h"
#include "history.h"

enum { HISTORIES = 20000, OPS_MAX = 7 };

static bool apply(const struct lin_op *op, uint64_t *state)
{
	bool is_done = *state == op->expected, is_pending = op->end == LIN_PENDING;
	uint64_t old = *state;

	switch (op->kind) {
	case LIN_GET:
		return is_pending || op->result == old;
	case LIN_PUT:
		*state = op->arg;
		return true;
	case LIN_DELETE:
		*state = 0;
		return is_pending || op->result == (old != 0);
	case LIN_CAS:
		if (is_done)
			*state = op->arg;
		return is_pending || op->result == is_done;
	case LIN_ADD:
		*state += op->arg;
		return is_pending || op->result == *state;
	default:
		return true;
	}
}

/* Every order of what is left, pending ones left out or not. */
static bool try_all(const struct lin_history *h, uint32_t done, uint64_t state)
{
	uint64_t first_end = LIN_PENDING;

	for (size_t i = 0; i < h->n; i++)
		if (!(done >> i & 1) && h->op[i].kind != LIN_NONE && h->op[i].end < first_end)
			first_end = h->op[i].end;
	if (first_end == LIN_PENDING)
		return true;
	for (size_t i = 0; i < h->n; i++) {
		uint64_t next = state;

		if (!(done >> i & 1) && h->op[i].kind != LIN_NONE && h->op[i].start <= first_end &&
		    apply(&h->op[i], &next) && try_all(h, done | 1u << i, next))
			return true;
	}
	return false;
}

static uint64_t one_of(struct agi_prng *r, uint64_t n) { return agi_prng_below(r, n); }

/* Mostly what a register would have said, with mistakes; versions are right as long as nobody errs. */
static void draw(struct agi_prng *r, struct lin_history *h)
{
	uint64_t state = 0, version = 0, seen[OPS_MAX + 2] = {0}, tokens = 0;
	bool is_counter = one_of(r, 4) == 0;
	size_t n = 1 + one_of(r, OPS_MAX);

	h->n = 0;
	for (size_t i = 0; i < n; i++) {
		enum lin_kind kind = is_counter ? (one_of(r, 2) ? LIN_ADD : LIN_GET) : 1 + (enum lin_kind)one_of(r, 4);
		uint64_t at = 10 * i + 10, was = state;
		struct lin_op *op = &h->op[lin_begin(h, kind, kind == LIN_ADD ? (uint64_t)1 << i : 100 + i,
		                                     one_of(r, 2) ? state : seen[one_of(r, tokens + 1)], at)];
		bool is_done = true;

		if (kind == LIN_CAS)
			is_done = op->expected == state;
		else if (kind == LIN_GET)
			is_done = false;
		if (is_done) {
			state = kind == LIN_ADD ? state + op->arg : kind == LIN_DELETE ? 0 : op->arg;
			version++;
			if (kind == LIN_PUT || kind == LIN_CAS)
				seen[++tokens] = op->arg;
		}
		op->version = version;
		op->saw = was;
		op->result = kind == LIN_GET ? was : kind == LIN_DELETE ? was != 0 : kind == LIN_CAS ? is_done : state;
		op->end = one_of(r, 4) == 0 ? LIN_PENDING : at + one_of(r, 40);
		if (op->end == LIN_PENDING && one_of(r, 2) && is_done) { /* it did not happen */
			state = was;
			version--;
		}
		if (op->end != LIN_PENDING && one_of(r, 12) == 0)
			op->result = kind == LIN_GET ? seen[one_of(r, tokens + 1)] : !op->result;
		if (kind == LIN_ADD && !(op->result & op->arg))
			op->result |= op->arg;
		if (one_of(r, 20) == 0)
			op->version = one_of(r, n);
		if (one_of(r, 20) == 0 && i > 0)
			op->start = h->op[i - 1].start;
	}
}

static void the_search_agrees_with_trying_every_order(void **state)
{
	struct lin_history *h = malloc(sizeof *h);
	size_t good = 0, bad = 0;
	struct agi_prng r;

	(void)state;
	assert_non_null(h);
	agi_prng_seed(&r, 3);
	for (int i = 0; i < HISTORIES; i++) {
		bool expected;

		draw(&r, h);
		expected = try_all(h, 0, 0);
		good += expected;
		bad += !expected;
		assert_int_equal(lin_search(h, false), expected ? LIN_YES : LIN_NO);
	}
	assert_true(good > HISTORIES / 20 && bad > HISTORIES / 20);
	free(h);
}

static void what_the_versions_prove_is_so(void **state)
{
	struct lin_history *h = malloc(sizeof *h);
	size_t proved = 0, missed = 0, not_found = 0;
	struct agi_prng r;

	(void)state;
	assert_non_null(h);
	agi_prng_seed(&r, 4);
	for (int i = 0; i < HISTORIES; i++) {
		bool is_good;

		draw(&r, h);
		is_good = try_all(h, 0, 0);
		if (lin_has_witness(h)) {
			assert_true(is_good);
			proved++;
		} else {
			missed += is_good;
		}
		if (lin_search(h, true) == LIN_YES)
			assert_true(is_good);
		else
			not_found += is_good;
	}
	assert_true(proved > missed);
	assert_true(not_found < missed);
	free(h);
}

/* Many writes and reads at once, and then a read that no order explains: there are more than can be tried. */
static void a_search_that_is_cut_off_does_not_say_no(void **state)
{
	enum { WRITES = 60 };
	struct lin_history *h = calloc(1, sizeof *h);

	(void)state;
	assert_non_null(h);
	for (uint64_t i = 0; i < WRITES; i++) {
		struct lin_op *op = &h->op[lin_begin(h, LIN_PUT, 100 + i, 0, 1)];

		op->end = 1000;
	}
	for (uint64_t i = 0; i < WRITES; i++) {
		struct lin_op *op = &h->op[lin_begin(h, LIN_GET, 0, 0, 2)];

		op->end = 1000;
		op->result = 100 + i;
	}
	h->op[lin_begin(h, LIN_GET, 0, 0, 2000)].end = 2001; /* absent */
	assert_int_equal(lin_search(h, false), LIN_UNDECIDED);
	free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_search_agrees_with_trying_every_order),
	    cmocka_unit_test(what_the_versions_prove_is_so),
	    cmocka_unit_test(a_search_that_is_cut_off_does_not_say_no),
	};

	return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
