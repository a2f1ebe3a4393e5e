/* SPDX-License-Identifier: Apache-2.0
 * Which capable hosts serve a role: small stories, then random clusters in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/prng.h"
#include "roles/activation.h"

enum { HOSTS = 20 };
static const uint64_t SECOND = 1000000;

/* A cluster in which every host looks once a second. What one sees of another is what that was a second ago. */
struct world {
	struct agi_activation of[HOSTS];
	struct agi_activation_host host[HOSTS];
	bool lives[HOSTS], sees[HOSTS][HOSTS];
	bool was_active[HOSTS]; /* what the others see */
	unsigned changes;
	size_t n;
	uint64_t now;
};

static void start(struct world *w, size_t i, const struct agi_activation_policy *p)
{
	w->lives[i] = true;
	w->was_active[i] = false;
	agi_activation_init(&w->of[i], "in-action", p, w->now);
}

static void build(struct world *w, size_t n, const struct agi_activation_policy *p, uint64_t seed)
{
	static const char *const zones[] = {"", "a", "b", "c"};
	struct agi_prng r;

	agi_prng_seed(&r, seed);
	*w = (struct world){.n = n, .now = 1000 * SECOND};
	for (size_t i = 0; i < n; i++) {
		for (int k = 0; k < AGI_ID_BYTES; k++)
			w->host[i].id.b[k] = (uint8_t)agi_prng_u64(&r);
		w->host[i].zone = zones[agi_prng_below(&r, seed % 2 ? 4 : 1)];
		start(w, i, p);
		for (size_t k = 0; k < n; k++)
			w->sees[i][k] = true;
	}
}

static size_t view_of(const struct world *w, size_t i, struct agi_activation_host out[HOSTS])
{
	size_t m = 0;

	for (size_t k = 0; k < w->n; k++)
		if (k != i && w->lives[k] && w->sees[i][k]) {
			out[m] = w->host[k];
			out[m++].is_active = w->was_active[k];
		}
	return m;
}

static size_t active(const struct world *w)
{
	size_t m = 0;

	for (size_t i = 0; i < w->n; i++)
		m += w->lives[i] && w->of[i].is_active;
	return m;
}

static size_t living(const struct world *w)
{
	size_t m = 0;

	for (size_t i = 0; i < w->n; i++)
		m += w->lives[i];
	return m;
}

static void turn(struct world *w)
{
	struct agi_activation_host seen[HOSTS];

	w->now += SECOND;
	for (size_t i = 0; i < w->n; i++)
		if (w->lives[i]) {
			size_t m = view_of(w, i, seen);

			agi_activation_step(&w->of[i], w->now, AGI_ACTIVATION_FRESH, &w->host[i], seen, m);
		}
	for (size_t i = 0; i < w->n; i++) {
		bool is_active = w->lives[i] && w->of[i].is_active;

		w->changes += is_active != w->was_active[i];
		w->was_active[i] = is_active;
	}
}

static void turns(struct world *w, unsigned seconds)
{
	while (seconds--)
		turn(w);
}

static void load(struct world *w, uint32_t all_milli)
{
	size_t n = active(w);

	for (size_t i = 0; i < w->n; i++)
		w->host[i].load_milli = w->of[i].is_active ? (uint32_t)(all_milli / (n ? n : 1)) : 0;
}

static const struct agi_activation_policy three = {3, 3, 500, 300 * 1000000ull};

/* --- stories ------------------------------------------------------------------------------------------------------ */
static void of_four_hosts_three_serve_and_a_dead_one_is_replaced_at_once(void **state)
{
	struct world w;
	size_t dead = 0;

	(void)state;
	build(&w, 4, &three, 2);
	turns(&w, 10);
	assert_int_equal(active(&w), 3);
	while (!w.of[dead].is_active)
		dead++;
	w.lives[dead] = false;
	turn(&w);
	assert_int_equal(active(&w), 3);
	turns(&w, 1000);
	assert_int_equal(w.changes, 3 + 2);
}

static void without_policy_every_host_serves(void **state)
{
	static const struct agi_activation_policy all = {0, 0, 700, 0};
	struct world w;

	(void)state;
	build(&w, 12, &all, 2);
	turn(&w);
	assert_int_equal(active(&w), 12);
	turns(&w, 100);
	assert_int_equal(w.changes, 12);
}

static void a_host_that_comes_back_takes_its_place_without_a_gap(void **state)
{
	struct world w;
	size_t first = 0;

	(void)state;
	build(&w, 4, &three, 2);
	turns(&w, 10);
	while (!w.of[first].is_active)
		first++;
	w.lives[first] = false;
	turns(&w, 10);
	start(&w, first, &three);
	for (int i = 0; i < 30; i++) {
		turn(&w);
		assert_true(active(&w) >= 3);
	}
	assert_int_equal(active(&w), 3);
	assert_true(w.of[first].is_active);
}

static void load_brings_hosts_at_once_and_they_go_slowly_after_the_window(void **state)
{
	static const struct agi_activation_policy p = {2, 30, 500, 300 * 1000000ull};
	struct world w;
	size_t before;

	(void)state;
	build(&w, 20, &p, 2);
	turns(&w, 400);
	assert_int_equal(active(&w), 2);
	for (int i = 0; i < 20; i++) { /* measured loads end at 1000: it takes some rounds */
		load(&w, active(&w) < 10 ? (uint32_t)active(&w) * 1000 : 10000);
		turn(&w);
	}
	assert_int_equal(active(&w), 20);
	load(&w, 2000);
	turns(&w, 290);
	assert_int_equal(active(&w), 20);
	for (int minute = 0; minute < 20; minute++) {
		before = active(&w);
		load(&w, 2000);
		turns(&w, 60);
		assert_true(active(&w) <= before);
		assert_true(before - active(&w) <= (before >= 20 ? before / 10 : 1) + 1); /* of two minutes' parts */
	}
	assert_int_equal(active(&w), 4);
}

static void demand_that_comes_and_goes_keeps_its_hosts(void **state)
{
	static const struct agi_activation_policy p = {2, 0, 500, 300 * 1000000ull};
	struct world w;

	(void)state;
	build(&w, 12, &p, 2);
	turns(&w, 400);
	for (int i = 0; i < 10; i++) {
		load(&w, (uint32_t)active(&w) * 1000 > 5000 ? 5000 : (uint32_t)active(&w) * 1000);
		turn(&w);
	}
	assert_int_equal(active(&w), 10);
	w.changes = 0;
	for (int i = 0; i < 12; i++) {
		load(&w, i % 2 ? 5000 : 500);
		turns(&w, 120);
	}
	assert_int_equal(active(&w), 10);
	assert_int_equal(w.changes, 0);
}

static void who_should_serve_and_does_not_is_replaced(void **state)
{
	struct world w;
	size_t stuck = 0;

	(void)state;
	build(&w, 5, &three, 2);
	turns(&w, 10);
	while (!w.of[stuck].is_active)
		stuck++;
	w.of[stuck].is_active = w.was_active[stuck] = false;
	for (int i = 0; i < 20; i++) {
		struct agi_activation_host seen[HOSTS];
		size_t m;

		w.now += SECOND;
		for (size_t k = 0; k < w.n; k++) {
			if (k == stuck)
				continue;
			m = view_of(&w, k, seen);
			agi_activation_step(&w.of[k], w.now, AGI_ACTIVATION_FRESH, &w.host[k], seen, m);
		}
		for (size_t k = 0; k < w.n; k++)
			w.was_active[k] = w.of[k].is_active;
	}
	assert_int_equal(active(&w), 3);
}

static void who_sees_nobody_serves_and_nobody_goes_by_stale_news(void **state)
{
	struct agi_activation a;
	struct agi_activation_host self = {.zone = ""}, others[3];
	uint64_t now = SECOND;

	(void)state;
	agi_activation_init(&a, "in-action", &three, now);
	for (; now < 5 * SECOND; now += SECOND)
		assert_false(agi_activation_step(&a, now, AGI_ACTIVATION_BLIND, &self, NULL, 0));
	now += 2 * SECOND;
	assert_true(agi_activation_step(&a, now, AGI_ACTIVATION_BLIND, &self, NULL, 0));
	for (int i = 0; i < 3; i++)
		others[i] = (struct agi_activation_host){.zone = "", .is_active = true, .is_fixed = true, .id.b[0] = (uint8_t)(i + 1)};
	for (int i = 0; i < 20; i++, now += SECOND)
		assert_true(agi_activation_step(&a, now, AGI_ACTIVATION_STALE, &self, others, 3));
	for (int i = 0; i < 7; i++, now += SECOND)
		agi_activation_step(&a, now, AGI_ACTIVATION_FRESH, &self, others, 3);
	assert_false(a.is_active);
}

static void the_active_ones_are_spread_over_the_zones(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		static const char *const zones[] = {"a", "b", "c"};
		struct world w;
		unsigned in[3] = {0};

		build(&w, 12, &three, seed);
		for (size_t i = 0; i < 12; i++)
			w.host[i].zone = zones[i < 8 ? 0 : i < 10 ? 1 : 2];
		turns(&w, 20);
		for (size_t i = 0; i < 12; i++)
			in[i < 8 ? 0 : i < 10 ? 1 : 2] += w.of[i].is_active;
		assert_true(in[0] == 1 && in[1] == 1 && in[2] == 1);
	}
}

/* --- properties --------------------------------------------------------------------------------------------------- */
static struct agi_activation_policy random_policy(struct agi_prng *r)
{
	struct agi_activation_policy p = {(uint32_t)agi_prng_below(r, 8), 0, 300 + (uint32_t)agi_prng_below(r, 700),
	                                  agi_prng_below(r, 100) * SECOND};

	if (agi_prng_below(r, 2))
		p.max_active = p.min_active + (uint32_t)agi_prng_below(r, 6) + (p.min_active == 0);
	return p;
}

static size_t least(const struct agi_activation_policy *p, size_t n)
{
	size_t want = p->min_active ? p->min_active : p->max_active ? p->max_active : n;

	return want < n ? want : n;
}

static void hosts_that_see_the_same_agree_and_stay_so(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct world w;
		struct agi_prng r;
		struct agi_activation_policy p;

		agi_prng_seed(&r, seed);
		p = random_policy(&r);
		build(&w, 1 + agi_prng_below(&r, HOSTS), &p, seed);
		turns(&w, 20);
		assert_int_equal(active(&w), least(&p, w.n)); /* idle */
		w.changes = 0;
		turns(&w, 100);
		assert_int_equal(w.changes, 0);
	}
}

/* Each sees another part of the others, and it changes; hosts come and go. */
static void the_least_number_serves_whatever_each_sees_of_the_others(void **state)
{
	unsigned more = 0, exact = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct world w;
		struct agi_prng r;
		struct agi_activation_policy p;

		agi_prng_seed(&r, seed);
		p = random_policy(&r);
		build(&w, 1 + agi_prng_below(&r, HOSTS), &p, seed);
		for (int i = 0; i < 150; i++) {
			size_t x = agi_prng_below(&r, w.n), y = agi_prng_below(&r, w.n);

			if (i < 100 && agi_prng_below(&r, 10) == 0) {
				if (w.lives[x])
					w.lives[x] = false;
				else
					start(&w, x, &p);
			}
			for (size_t k = 0; k < w.n; k++)
				w.sees[x][k] = agi_prng_below(&r, 3) > 0;
			w.sees[y][x] = !w.sees[y][x];
			load(&w, (uint32_t)agi_prng_below(&r, 20000));
			turn(&w);
			assert_true(active(&w) >= least(&p, living(&w)));
			more += active(&w) > least(&p, living(&w));
			exact += active(&w) == least(&p, living(&w));
		}
	}
	assert_true(more > 100 && exact > 100); /* the stories do get there */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(of_four_hosts_three_serve_and_a_dead_one_is_replaced_at_once),
	    cmocka_unit_test(without_policy_every_host_serves),
	    cmocka_unit_test(a_host_that_comes_back_takes_its_place_without_a_gap),
	    cmocka_unit_test(load_brings_hosts_at_once_and_they_go_slowly_after_the_window),
	    cmocka_unit_test(demand_that_comes_and_goes_keeps_its_hosts),
	    cmocka_unit_test(who_should_serve_and_does_not_is_replaced),
	    cmocka_unit_test(who_sees_nobody_serves_and_nobody_goes_by_stale_news),
	    cmocka_unit_test(the_active_ones_are_spread_over_the_zones),
	    cmocka_unit_test(hosts_that_see_the_same_agree_and_stay_so),
	    cmocka_unit_test(the_least_number_serves_whatever_each_sees_of_the_others),
	};

	return cmocka_run_group_tests_name("activation", tests, NULL, NULL);
}
