/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/prng.h"
#include "store/rows.h"

enum { KEYS = 32, CFS = 2, RING = 64 << 10, VALUE = 400 };
static const uint8_t hash_key[AGI_SIP_KEY_BYTES] = "0123456789abcde";

/* A slow twin: what the database would say, and whether it may be here. */
struct model {
	char value[CFS][KEYS][VALUE];
	size_t n[CFS][KEYS];
	bool may_be_here[CFS][KEYS];
};

static char names[KEYS][8];

static struct agi_str name(unsigned k) { return agi_str_of(names[k]); }

static void fill(struct agi_rows *r, struct model *m, struct agi_prng *p, unsigned cf, unsigned k)
{
	char *v = m->value[cf][k];

	m->n[cf][k] = agi_prng_below(p, VALUE);
	for (size_t i = 0; i < m->n[cf][k]; i++)
		v[i] = (char)('a' + agi_prng_below(p, 26));
	m->may_be_here[cf][k] = true;
	agi_rows_fill(r, (enum agi_cf)cf, name(k), (struct agi_str){v, m->n[cf][k]});
}

static void drop(struct agi_rows *r, struct model *m, unsigned cf, unsigned k, enum agi_storage_verb verb)
{
	struct agi_storage_op op = {verb, (enum agi_cf)cf, name(k), AGI_STR("")};

	agi_rows_drop(r, &op);
	if (verb == AGI_DELETE_RANGE)
		memset(m->may_be_here, 0, sizeof m->may_be_here);
	m->may_be_here[cf][k] = false;
}

/* Returns whether it was found. */
static bool check(const struct agi_rows *r, const struct model *m, unsigned cf, unsigned k)
{
	struct agi_buf b;
	bool found;

	agi_buf_init(&b, 0);
	found = agi_rows_find(r, (enum agi_cf)cf, name(k), &b);
	if (found) {
		assert_true(m->may_be_here[cf][k]);
		assert_true(agi_str_eq(agi_buf_str(&b), (struct agi_str){m->value[cf][k], m->n[cf][k]}));
	}
	agi_buf_free(&b);
	return found;
}

static void what_it_gives_is_what_was_filled_last_and_not_dropped(void **state)
{
	static const enum agi_storage_verb verbs[] = {AGI_PUT, AGI_PUT_NEWER, AGI_DELETE, AGI_DELETE_IF};
	static struct model m;
	struct agi_rows r;
	struct agi_prng p;
	unsigned found = 0;

	(void)state;
	agi_prng_seed(&p, 7);
	agi_rows_init(&r, RING, hash_key);
	for (int i = 0; i < 20000; i++) {
		unsigned cf = (unsigned)agi_prng_below(&p, CFS), k = (unsigned)agi_prng_below(&p, KEYS);

		switch (agi_prng_below(&p, 200)) {
		case 0:
			drop(&r, &m, cf, k, AGI_DELETE_RANGE);
			break;
		case 1 ... 40:
			drop(&r, &m, cf, k, verbs[agi_prng_below(&p, 4)]);
			break;
		default:
			fill(&r, &m, &p, cf, k);
			assert_true(check(&r, &m, cf, k));
		}
		found += check(&r, &m, (unsigned)agi_prng_below(&p, CFS), (unsigned)agi_prng_below(&p, KEYS));
	}
	assert_true(found > 10000); /* the ring holds all keys several times over */
	agi_rows_free(&r);
}

static void values_give_way_in_the_order_they_came(void **state)
{
	char value[VALUE] = "v";
	struct agi_rows r;
	struct agi_buf b;
	unsigned found = 0;

	(void)state;
	agi_rows_init(&r, 10 * VALUE + 100 > AGI_ROW_BYTES_MAX ? 10 * VALUE + 100 : AGI_ROW_BYTES_MAX, hash_key);
	agi_buf_init(&b, 0);
	for (unsigned k = 0; k < KEYS; k++)
		agi_rows_fill(&r, AGI_CF_ITEMS, name(k), (struct agi_str){value, VALUE});
	for (unsigned k = 0; k < KEYS; k++)
		found += agi_rows_find(&r, AGI_CF_ITEMS, name(k), &b);
	assert_int_equal(found, r.ring_bytes / VALUE);
	assert_false(agi_rows_find(&r, AGI_CF_ITEMS, name(0), &b));
	assert_true(agi_rows_find(&r, AGI_CF_ITEMS, name(KEYS - 1), &b));
	agi_buf_free(&b);
	agi_rows_free(&r);
}

static void a_large_value_is_not_kept_nor_the_one_before_it(void **state)
{
	static char large[AGI_ROW_BYTES_MAX + 1];
	struct agi_rows r;
	struct agi_buf b;

	(void)state;
	agi_rows_init(&r, RING, hash_key);
	agi_buf_init(&b, 0);
	agi_rows_fill(&r, AGI_CF_ITEMS, name(1), AGI_STR("small"));
	agi_rows_fill(&r, AGI_CF_ITEMS, name(1), (struct agi_str){large, sizeof large});
	assert_false(agi_rows_find(&r, AGI_CF_ITEMS, name(1), &b));
	agi_buf_free(&b);
	agi_rows_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_it_gives_is_what_was_filled_last_and_not_dropped),
	    cmocka_unit_test(values_give_way_in_the_order_they_came),
	    cmocka_unit_test(a_large_value_is_not_kept_nor_the_one_before_it),
	};

	for (unsigned k = 0; k < KEYS; k++)
		snprintf(names[k], sizeof names[k], "k%02u", k);
	return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
