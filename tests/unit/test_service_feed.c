/* SPDX-License-Identifier: Apache-2.0 */
#include "node/service_feed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"

enum { NAMES = 300, STEPS = 12000, READERS = 4 };

/* --- the world: instances that come, go and change ------------------------------------------------------- */
struct world {
	struct agi_prng prng;
	struct agi_service_feed *feed;
	struct agi_provider p[NAMES];
	char address[NAMES][24];
	bool is_there[NAMES], is_stale[NAMES];
};

/* What a client makes of what it hears. */
struct reader {
	struct agi_service_cursor cursor;
	uint64_t incarnation[NAMES]; /* 0 = not there */
	bool is_stale[NAMES], is_caught_up;
	uint32_t n_resyncs;
};

static void set_up(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof *w);
	agi_prng_seed(&w->prng, seed);
	assert_int_equal(agi_service_feed_new(seed, &w->feed), AGI_OK);
	for (int i = 0; i < NAMES; i++) {
		snprintf(w->address[i], sizeof w->address[i], "10.0.0.%d:%d", i % 7, 1000 + i);
		w->p[i] = (struct agi_provider){.address = agi_str_of(w->address[i]), .incarnation = 1};
	}
}

static void look(struct world *w)
{
	static struct agi_instance list[NAMES];
	size_t n = 0;

	for (int i = 0; i < NAMES; i++)
		if (w->is_there[i]) {
			list[n] = (struct agi_instance){.provider = &w->p[i], .is_stale = w->is_stale[i]};
			list[n++].node.b[0] = (uint8_t)(i % 7);
		}
	assert_int_equal(agi_service_feed_update(w->feed, list, n), AGI_OK);
}

static void change_something(struct world *w)
{
	uint32_t i = (uint32_t)agi_prng_below(&w->prng, NAMES);

	switch (agi_prng_below(&w->prng, 4)) {
	case 0:
		w->p[i].incarnation++;
		break;
	case 1:
		w->is_stale[i] = !w->is_stale[i];
		break;
	default:
		w->is_there[i] = !w->is_there[i];
	}
}

static int index_of(const struct agi_service_row *row)
{
	int i = atoi(strchr(row->address, ':') + 1) - 1000;

	assert_in_range(i, 0, NAMES - 1);
	return i;
}

static void hear(struct world *w, struct reader *r, size_t max)
{
	struct agi_service_change out[64];
	bool is_resync;
	size_t n = agi_service_cursor_next(w->feed, &r->cursor, out, max, &is_resync, &r->is_caught_up);

	assert_true(n <= max);
	if (is_resync) {
		memset(r->incarnation, 0, sizeof r->incarnation);
		r->n_resyncs++;
	}
	for (size_t i = 0; i < n; i++) {
		int k = index_of(&out[i].row);

		r->incarnation[k] = out[i].what == AGI_SERVICE_DOWN ? 0 : out[i].row.incarnation;
		r->is_stale[k] = out[i].row.is_stale;
	}
}

static void assert_same(const struct world *w, const struct reader *r)
{
	for (int i = 0; i < NAMES; i++) {
		assert_int_equal(r->incarnation[i], w->is_there[i] ? w->p[i].incarnation : 0);
		if (w->is_there[i])
			assert_int_equal(r->is_stale[i], w->is_stale[i]);
	}
}

static struct agi_str no_token(void) { return (struct agi_str){"", 0}; }

/* --- promises ---------------------------------------------------------------------------------------------- */
/* Readers of every speed, and ones that come back with their token, against the world itself. */
static void whoever_has_caught_up_has_what_there_is(void **state)
{
	static struct world w;
	static struct reader r[READERS];
	uint8_t token[AGI_FEED_TOKEN_BYTES];
	uint32_t n_resumed = 0, n_compared = 0;

	(void)state;
	set_up(&w, 7);
	memset(r, 0, sizeof r);
	for (int k = 0; k < READERS; k++)
		agi_service_cursor_open(w.feed, no_token(), &r[k].cursor);
	for (int step = 0; step < STEPS; step++) {
		for (uint64_t n = agi_prng_below(&w.prng, step % 500 == 0 ? 2000 : 4); n > 0; n--)
			change_something(&w);
		look(&w);
		for (int k = 0; k < READERS; k++) {
			if (agi_prng_below(&w.prng, (uint64_t)k * k * 25 + 1) > 0)
				continue;
			hear(&w, &r[k], 1 + agi_prng_below(&w.prng, 64));
			if (r[k].is_caught_up && ++n_compared)
				assert_same(&w, &r[k]);
			if (!agi_service_cursor_token(w.feed, &r[k].cursor, token) || agi_prng_below(&w.prng, 4))
				continue;
			agi_service_cursor_open(w.feed, (struct agi_str){(char *)token, sizeof token}, &r[k].cursor);
			n_resumed++;
		}
	}
	assert_true(n_resumed > 100 && n_compared > 1000);
	assert_in_range(r[0].n_resyncs, 1, 60); /* who reads all the time is seldom told to forget … */
	assert_true(r[READERS - 1].n_resyncs > 10); /* … and who hardly reads, often */
	agi_service_feed_free(w.feed);
}

static void a_reader_in_the_middle_of_all_gets_no_token(void **state)
{
	static struct world w;
	static struct reader r;
	uint8_t token[AGI_FEED_TOKEN_BYTES];

	(void)state;
	set_up(&w, 1);
	memset(w.is_there, 1, sizeof w.is_there);
	look(&w);
	agi_service_cursor_open(w.feed, no_token(), &r.cursor);
	assert_false(agi_service_cursor_token(w.feed, &r.cursor, token));
	hear(&w, &r, 64);
	assert_false(r.is_caught_up);
	assert_false(agi_service_cursor_token(w.feed, &r.cursor, token));
	while (!r.is_caught_up)
		hear(&w, &r, 64);
	assert_true(agi_service_cursor_token(w.feed, &r.cursor, token));
	assert_int_equal(r.n_resyncs, 1);
	agi_service_feed_free(w.feed);
}

static void a_token_of_another_feed_or_of_no_feed_begins_anew(void **state)
{
	static struct world w, other;
	static struct reader r;
	uint8_t token[AGI_FEED_TOKEN_BYTES];

	(void)state;
	set_up(&w, 1);
	set_up(&other, 2);
	look(&w);
	look(&other);
	agi_service_cursor_open(w.feed, no_token(), &r.cursor);
	hear(&w, &r, 1);
	assert_true(agi_service_cursor_token(w.feed, &r.cursor, token));
	agi_service_cursor_open(w.feed, (struct agi_str){(char *)token, sizeof token}, &r.cursor);
	hear(&w, &r, 1);
	assert_int_equal(r.n_resyncs, 1);
	agi_service_cursor_open(other.feed, (struct agi_str){(char *)token, sizeof token}, &r.cursor);
	hear(&other, &r, 1);
	assert_int_equal(r.n_resyncs, 2);
	token[AGI_FEED_TOKEN_BYTES - 1] = 0xff; /* the future */
	agi_service_cursor_open(w.feed, (struct agi_str){(char *)token, sizeof token}, &r.cursor);
	hear(&w, &r, 1);
	assert_int_equal(r.n_resyncs, 3);
	agi_service_feed_free(w.feed);
	agi_service_feed_free(other.feed);
}

static void load_is_told_when_it_has_moved_by_a_tenth(void **state)
{
	static struct world w;
	static struct reader r;
	struct agi_service_change out[4];
	bool is_resync, is_caught_up;

	(void)state;
	set_up(&w, 1);
	w.is_there[0] = true;
	look(&w);
	agi_service_cursor_open(w.feed, no_token(), &r.cursor);
	assert_int_equal(agi_service_cursor_next(w.feed, &r.cursor, out, 4, &is_resync, &is_caught_up), 1);
	for (uint32_t load = 0; load < AGI_FEED_LOAD_STEP; load += 30) {
		w.p[0].load_milli = load;
		look(&w);
		assert_int_equal(agi_service_cursor_next(w.feed, &r.cursor, out, 4, &is_resync, &is_caught_up), 0);
	}
	w.p[0].load_milli = AGI_FEED_LOAD_STEP; /* ten times a little is a tenth */
	look(&w);
	assert_int_equal(agi_service_cursor_next(w.feed, &r.cursor, out, 4, &is_resync, &is_caught_up), 1);
	assert_int_equal(out[0].what, AGI_SERVICE_CHANGED);
	assert_int_equal(out[0].row.load_milli, AGI_FEED_LOAD_STEP);
	agi_service_feed_free(w.feed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whoever_has_caught_up_has_what_there_is),
	    cmocka_unit_test(a_reader_in_the_middle_of_all_gets_no_token),
	    cmocka_unit_test(a_token_of_another_feed_or_of_no_feed_begins_anew),
	    cmocka_unit_test(load_is_told_when_it_has_moved_by_a_tenth),
	};

	return cmocka_run_group_tests_name("service_feed", tests, NULL, NULL);
}
