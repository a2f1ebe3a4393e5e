/* SPDX-License-Identifier: Apache-2.0
 * Network coordinates on a made-up earth: hosts in cities, round trips by distance, detours and access lines, each
 * sample with noise. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dht/coord.h"

enum { HOSTS = 80, CITIES = 16, ROUNDS = 600 };

struct earth {
	double at[HOSTS][3]; /* on the unit sphere */
	double line_ms[HOSTS];
	struct agi_coord_self self[HOSTS];
	bool is_liar[HOSTS];
	struct agi_prng rng;
};

static void place(struct earth *e, double at[3])
{
	double z = 1.6 * agi_prng_unit(&e->rng) - 0.6, turn = 6.283185307 * agi_prng_unit(&e->rng);

	at[0] = sqrt(1 - z * z) * cos(turn);
	at[1] = sqrt(1 - z * z) * sin(turn);
	at[2] = z;
}

static void make(struct earth *e, uint64_t seed, bool has_lines)
{
	double city[CITIES][3];

	agi_prng_seed(&e->rng, seed);
	for (int i = 0; i < CITIES; i++)
		place(e, city[i]);
	for (int i = 0; i < HOSTS; i++) {
		double n = 0;

		for (int k = 0; k < 3; k++) {
			e->at[i][k] = city[i % CITIES][k] + 0.02 * (agi_prng_unit(&e->rng) - 0.5);
			n += e->at[i][k] * e->at[i][k];
		}
		for (int k = 0; k < 3; k++)
			e->at[i][k] /= sqrt(n);
		e->line_ms[i] = has_lines ? 0.2 + 4 * agi_prng_unit(&e->rng) : 0.05;
		e->is_liar[i] = false;
		agi_coord_init(&e->self[i], seed + (uint64_t)i);
	}
}

/* Light in glass goes 200 km a millisecond, there and back, and cables are 1.4 times as long as the arc. */
static double rtt_ms(const struct earth *e, int a, int b)
{
	double cosine = 0;

	for (int k = 0; k < 3; k++)
		cosine += e->at[a][k] * e->at[b][k];
	cosine = cosine > 1 ? 1 : cosine < -1 ? -1 : cosine;
	return 6371 * acos(cosine) * 1.4 / 100 + e->line_ms[a] + e->line_ms[b];
}

static struct agi_coord told(struct earth *e, int i)
{
	struct agi_coord c = e->self[i].c;

	if (!e->is_liar[i])
		return c;
	for (int k = 0; k < AGI_COORD_DIMENSIONS; k++)
		c.vec[k] = (float)(2000 * (agi_prng_unit(&e->rng) - 0.5));
	c.error = 0;
	return c;
}

static void run(struct earth *e, int rounds)
{
	for (int r = 0; r < rounds; r++) {
		for (int i = 0; i < HOSTS; i++) {
			int j = (int)agi_prng_below(&e->rng, HOSTS);
			struct agi_coord c = told(e, j);

			if (j != i)
				assert_true(agi_coord_update(&e->self[i], &c,
				                             rtt_ms(e, i, j) * (1 + 0.05 * agi_prng_unit(&e->rng))));
			assert_true(agi_coord_is_sane(&e->self[i].c));
		}
	}
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The median relative error of the estimates between honest hosts. */
static double median_error(const struct earth *e)
{
	static double errors[HOSTS * HOSTS];
	size_t n = 0;

	for (int i = 0; i < HOSTS; i++) {
		for (int j = 0; j < i; j++) {
			double rtt = rtt_ms(e, i, j);

			if (!e->is_liar[i] && !e->is_liar[j])
				errors[n++] = fabs(agi_coord_estimate_ms(&e->self[i].c, &e->self[j].c) - rtt) / rtt;
		}
	}
	qsort(errors, n, sizeof *errors, by_size);
	return errors[n / 2];
}

static void half_of_all_estimates_are_within_a_tenth(void **state)
{
	static struct earth e;

	(void)state;
	for (uint64_t seed = 1; seed <= 8; seed++) {
		double error;

		make(&e, seed, seed % 2 == 0);
		run(&e, ROUNDS);
		error = median_error(&e);
		print_message("# seed %d: median error %.1f %%\n", (int)seed, 100 * error);
		assert_true(error <= 0.10);
	}
}

/* They say they are sure, and somewhere else each time. */
static void a_fifth_of_liars_does_not_spoil_the_estimates_of_the_others(void **state)
{
	static struct earth e;

	(void)state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		double error;

		make(&e, seed, true);
		for (int i = 0; i < HOSTS / 5; i++)
			e.is_liar[i * 5] = true;
		run(&e, ROUNDS);
		error = median_error(&e);
		print_message("# seed %d, liars: median error %.1f %%\n", (int)seed, 100 * error);
		assert_true(error <= 0.30);
	}
}

static void a_newcomer_has_its_place_after_a_minute_of_probes(void **state)
{
	static struct earth e;
	double wrong = 0;

	(void)state;
	make(&e, 5, true);
	run(&e, ROUNDS);
	agi_coord_init(&e.self[7], 7);
	for (int n = 0; n < 60; n++) {
		int j = (int)agi_prng_below(&e.rng, 7);

		assert_true(agi_coord_update(&e.self[7], &e.self[j].c, rtt_ms(&e, 7, j)));
	}
	for (int j = 0; j < 7; j++)
		wrong += fabs(agi_coord_estimate_ms(&e.self[7].c, &e.self[j].c) - rtt_ms(&e, 7, j)) /
		         rtt_ms(&e, 7, j) / 7;
	assert_true(wrong < 0.2);
}

static void one_sample_moves_a_host_by_a_bounded_step(void **state)
{
	struct agi_coord_self s;
	struct agi_coord liar = {.height = AGI_COORD_HEIGHT_MIN}, before;

	(void)state;
	agi_coord_init(&s, 3);
	liar.vec[0] = AGI_COORD_FAR_MS;
	before = s.c;
	assert_true(agi_coord_update(&s, &liar, 1));
	assert_true(fabsf(s.c.vec[0] - before.vec[0]) <= AGI_COORD_STEP_MS);
	liar.vec[0] = 0;
	before = s.c;
	assert_true(agi_coord_update(&s, &liar, AGI_COORD_FAR_MS));
	assert_true(fabsf(s.c.vec[0] - before.vec[0]) <= AGI_COORD_STEP_MS);
}

static void refuse_each(const float bad[], size_t n)
{
	struct agi_coord_self s;

	agi_coord_init(&s, 3);
	for (size_t i = 0; i < n; i++) {
		float *field[4];
		struct agi_coord c = s.c, before = s.c;
		int which;

		for (which = 0; which < 4; which++) {
			c = s.c;
			field[0] = &c.vec[3], field[1] = &c.height, field[2] = &c.adjustment, field[3] = &c.error;
			*field[which] = bad[i];
			assert_false(agi_coord_is_sane(&c));
			assert_false(agi_coord_update(&s, &c, 1));
			assert_memory_equal(&before, &s.c, sizeof before);
		}
	}
}

static void nonsense_of_peers_is_refused_and_changes_nothing(void **state)
{
	const float bad[] = {NAN, INFINITY, -INFINITY, 1e30f, -1e30f, 10001};
	const double rtts[] = {0, -1, NAN, INFINITY, 10001};
	struct agi_coord_self s;
	struct agi_coord peer;

	(void)state;
	refuse_each(bad, sizeof bad / sizeof *bad);
	agi_coord_init(&s, 3);
	peer = s.c;
	for (size_t i = 0; i < sizeof rtts / sizeof *rtts; i++)
		assert_false(agi_coord_update(&s, &peer, rtts[i]));
	peer.height = 0;
	assert_false(agi_coord_is_sane(&peer));
	peer = s.c;
	peer.error = -0.1f;
	assert_false(agi_coord_is_sane(&peer));
	assert_int_equal(s.n, 0);
}

static void a_coordinate_is_read_back_from_its_bytes_and_nothing_else_is(void **state)
{
	struct agi_coord c = {.vec = {1.5f, -2, 3}, .height = 0.25f, .adjustment = -0.5f, .error = 0.1f}, back;
	struct agi_buf b;
	struct agi_str s;

	(void)state;
	agi_buf_init(&b, 0);
	agi_coord_put(&b, &c);
	s = agi_buf_str(&b);
	assert_int_equal(s.n, AGI_COORD_BYTES);
	assert_true(agi_coord_take(&back, s));
	assert_memory_equal(&c, &back, sizeof c);
	for (size_t n = 0; n < s.n; n++)
		assert_false(agi_coord_take(&back, (struct agi_str){s.p, n}));
	c.vec[7] = NAN;
	agi_buf_reset(&b);
	agi_coord_put(&b, &c);
	assert_false(agi_coord_take(&back, agi_buf_str(&b)));
	agi_buf_u8(&b, 0);
	assert_false(agi_coord_take(&back, agi_buf_str(&b)));
	agi_buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(half_of_all_estimates_are_within_a_tenth),
	    cmocka_unit_test(a_fifth_of_liars_does_not_spoil_the_estimates_of_the_others),
	    cmocka_unit_test(a_newcomer_has_its_place_after_a_minute_of_probes),
	    cmocka_unit_test(one_sample_moves_a_host_by_a_bounded_step),
	    cmocka_unit_test(nonsense_of_peers_is_refused_and_changes_nothing),
	    cmocka_unit_test(a_coordinate_is_read_back_from_its_bytes_and_nothing_else_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
