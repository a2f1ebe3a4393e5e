/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/prng.h"
#include "store/overlay.h"

enum { KEYS = 24, CFS = 3 };
static const uint8_t hash_key[16] = "0123456789abcde";

/* The slow twin: what each key is, told by going through every operation. */
struct model {
	enum agi_overlay_hit hit[CFS][KEYS];
	int value[CFS][KEYS];
};

static char names[KEYS + 1][4], values[4096][8];

static struct agi_storage_op random_op(struct agi_prng *r, struct model *m, int i)
{
	unsigned cf = (unsigned)agi_prng_below(r, CFS), a = (unsigned)agi_prng_below(r, KEYS);
	unsigned b = (unsigned)agi_prng_below(r, KEYS + 1);
	struct agi_storage_op op = {.cf = (enum agi_cf)cf, .key = agi_str_of(names[a])};

	switch (agi_prng_below(r, 8)) {
	case 0:
		op.verb = AGI_DELETE_RANGE;
		op.value = agi_str_of(names[b]);
		for (unsigned k = a; k < b; k++)
			m->hit[cf][k] = AGI_OVERLAY_DELETED;
		return op;
	case 1:
	case 2:
		op.verb = AGI_DELETE;
		m->hit[cf][a] = AGI_OVERLAY_DELETED;
		return op;
	default:
		op.verb = AGI_PUT;
		op.value = agi_str_of(values[i]);
		m->hit[cf][a] = AGI_OVERLAY_VALUE;
		m->value[cf][a] = i;
		return op;
	}
}

static void expect_same(const struct agi_overlay *o, const struct model *m)
{
	for (unsigned cf = 0; cf < CFS; cf++) {
		for (unsigned k = 0; k < KEYS; k++) {
			struct agi_str v;
			enum agi_overlay_hit h =
			    agi_overlay_find(o, (enum agi_cf)cf, agi_str_of(names[k]), &v);

			assert_int_equal(h, m->hit[cf][k]);
			if (h == AGI_OVERLAY_VALUE)
				assert_true(agi_str_eq(v, agi_str_of(values[m->value[cf][k]])));
		}
	}
}

static void find_agrees_with_going_through_every_operation(void **state)
{
	struct agi_overlay o;
	struct agi_prng r;

	(void)state;
	for (int k = 0; k <= KEYS; k++)
		snprintf(names[k], sizeof names[k], "k%02d", k);
	for (int i = 0; i < 4096; i++)
		snprintf(values[i], sizeof values[i], "v%d", i);
	agi_prng_seed(&r, 7);
	agi_overlay_init(&o, hash_key);
	for (int round = 0; round < 200; round++) {
		struct model m = {0};
		int n = (int)agi_prng_below(&r, 60);

		for (int i = 0; i < n; i++) {
			struct agi_storage_op op = random_op(&r, &m, i);

			assert_int_equal(agi_overlay_reserve(&o, 1, op.verb == AGI_DELETE_RANGE), AGI_OK);
			agi_overlay_apply(&o, &op);
			expect_same(&o, &m);
		}
		agi_overlay_clear(&o);
		expect_same(&o, &(struct model){0});
	}
	agi_overlay_free(&o);
}

static void many_keys_are_all_found(void **state)
{
	static char key[20000][8];
	struct agi_overlay o;

	(void)state;
	agi_overlay_init(&o, hash_key);
	for (int i = 0; i < 20000; i++) {
		struct agi_storage_op op = {AGI_PUT, AGI_CF_ITEMS, {key[i], 0}, {key[i], 0}};

		op.key.n = op.value.n = (size_t)snprintf(key[i], sizeof key[i], "%d", i);
		assert_int_equal(agi_overlay_reserve(&o, 1, 0), AGI_OK);
		agi_overlay_apply(&o, &op);
	}
	for (int i = 0; i < 20000; i++) {
		struct agi_str v, k = agi_str_of(key[i]);

		assert_int_equal(agi_overlay_find(&o, AGI_CF_ITEMS, k, &v), AGI_OVERLAY_VALUE);
		assert_true(agi_str_eq(v, k));
		assert_int_equal(agi_overlay_find(&o, AGI_CF_META, k, &v), AGI_OVERLAY_MISS);
	}
	agi_overlay_clear(&o);
	assert_int_equal(o.cap, 0); /* a large table is given back */
	agi_overlay_free(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(find_agrees_with_going_through_every_operation),
	    cmocka_unit_test(many_keys_are_all_found),
	};

	return cmocka_run_group_tests_name("overlay", tests, NULL, NULL);
}
