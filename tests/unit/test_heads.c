/* SPDX-License-Identifier: Apache-2.0
 * A scan of many ranges against a twin that looks at every key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/heads.h"
#include "base/prng.h"

enum { KEYS = 200, HEADS = 12, KEY_MAX = 8 };

struct key {
	uint8_t b[KEY_MAX];
	size_t n;
};

static struct agi_str str_of(const struct key *k) { return (struct agi_str){(const char *)k->b, k->n}; }

static int by_key(const void *a, const void *b) { return agi_str_cmp(str_of(a), str_of(b)); }

/* Few heads and few letters, so that everything meets. Some keys are shorter than a head. */
static void random_key(struct agi_prng *r, struct key *k)
{
	k->n = agi_prng_below(r, 10) ? 4 + agi_prng_below(r, KEY_MAX - 3) : agi_prng_below(r, 5);
	for (size_t i = 0; i < KEY_MAX; i++)
		k->b[i] = i < 3 ? 0 : i == 3 ? (uint8_t)agi_prng_below(r, HEADS) : (uint8_t)(agi_prng_below(r, 3) * 0x7f + 1);
}

static bool is_in_range(const struct agi_storage_req *q, size_t range, struct agi_str key)
{
	struct agi_str head = {q->heads.p + 4 * range, 4}, rest = {key.p + 4, key.n - 4};

	if (key.n < 4 || !agi_str_eq((struct agi_str){key.p, 4}, head))
		return false;
	if (range == 0 && q->after.n && agi_str_cmp(rest, q->after) <= 0)
		return false;
	return agi_str_cmp(rest, q->begin) >= 0 && agi_str_cmp(rest, q->end) < 0;
}

static bool is_wanted(const struct agi_storage_req *q, struct agi_str key)
{
	for (size_t i = 0; i < q->heads.n / 4; i++)
		if (is_in_range(q, i, key))
			return true;
	return false;
}

static size_t first_not_below(const struct key *keys, struct agi_str at)
{
	size_t i = 0;

	while (i < KEYS && agi_str_cmp(str_of(&keys[i]), at) < 0)
		i++;
	return i;
}

/* Walks as an executor does; marks what it took. Returns the seeks it made. */
static unsigned walk(const struct agi_storage_req *q, const struct key *keys, bool taken[KEYS])
{
	struct agi_heads h;
	struct agi_str target;
	unsigned seeks = 1;
	enum agi_heads_verdict v = AGI_HEADS_TAKE;

	agi_heads_init(&h, q);
	for (size_t i = first_not_below(keys, agi_heads_first(&h)); i < KEYS && v != AGI_HEADS_END;) {
		v = agi_heads_judge(&h, str_of(&keys[i]), &target);
		if (v == AGI_HEADS_SEEK) {
			assert_true(agi_str_cmp(target, str_of(&keys[i])) > 0);
			i = first_not_below(keys, target);
			seeks++;
		} else if (v == AGI_HEADS_TAKE) {
			taken[i++] = true;
		}
	}
	agi_heads_free(&h);
	return seeks;
}

static void every_key_in_a_range_is_taken_and_no_other(void **state)
{
	struct agi_prng r;
	struct key keys[KEYS], begin, end, after;
	(void)state;

	agi_prng_seed(&r, 7);
	for (int round = 0; round < 3000; round++) {
		char heads[HEADS * 4] = {0};
		struct agi_storage_req q = {.heads = {heads, 0}};
		bool taken[KEYS] = {false};

		for (size_t i = 0; i < KEYS; i++)
			random_key(&r, &keys[i]);
		qsort(keys, KEYS, sizeof *keys, by_key);
		for (uint8_t h = 0; h < HEADS; h++)
			if (agi_prng_below(&r, 2)) {
				heads[q.heads.n + 3] = (char)h;
				q.heads.n += 4;
			}
		if (!q.heads.n)
			continue;
		random_key(&r, &begin), random_key(&r, &end), random_key(&r, &after);
		q.begin = (struct agi_str){(char *)begin.b + 4, 1};
		q.end = (struct agi_str){(char *)end.b + 4, 1 + agi_prng_below(&r, 3)};
		if (agi_prng_below(&r, 2))
			q.after = (struct agi_str){(char *)after.b + 4, 1 + agi_prng_below(&r, 3)};
		if (agi_str_cmp(q.begin, q.end) >= 0 || (q.after.n && agi_str_cmp(q.after, q.begin) < 0))
			continue;
		assert_true(walk(&q, keys, taken) <= 1 + q.heads.n / 4);
		for (size_t i = 0; i < KEYS; i++)
			assert_int_equal(taken[i], is_wanted(&q, str_of(&keys[i])));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_key_in_a_range_is_taken_and_no_other)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
