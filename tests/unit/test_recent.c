/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/prng.h"
#include "store/recent.h"

enum { KEYS = 64, CFS = 3 };
static const uint8_t hash_key[16] = "0123456789abcde";

struct model {
	uint8_t version[CFS][KEYS]; /* 0 = unknown; else the version's last byte */
};

static struct agi_recent_key key_of(const struct agi_recent *r, unsigned cf, unsigned k)
{
	char name[16];

	snprintf(name, sizeof name, "key %u", k);
	return agi_recent_key(r, (enum agi_cf)cf, agi_str_of(name));
}

static void put(struct agi_recent *r, unsigned cf, unsigned k, uint8_t v)
{
	struct agi_recent_key key = key_of(r, cf, k);
	uint8_t version[AGI_VERSION_BYTES] = {0};

	version[AGI_VERSION_BYTES - 1] = v;
	agi_recent_put(r, &key, version);
}

/* 0 = unknown */
static uint8_t found(const struct agi_recent *r, unsigned cf, unsigned k)
{
	struct agi_recent_key key = key_of(r, cf, k);
	const uint8_t *version = agi_recent_find(r, &key);

	return version ? version[AGI_VERSION_BYTES - 1] : 0;
}

static void step(struct agi_recent *r, struct model *m, struct agi_prng *p)
{
	unsigned cf = (unsigned)agi_prng_below(p, CFS), k = (unsigned)agi_prng_below(p, KEYS);
	struct agi_recent_key key = key_of(r, cf, k);

	switch (agi_prng_below(p, 60)) {
	case 0:
		agi_recent_forget_family(r, (enum agi_cf)cf);
		memset(m->version[cf], 0, KEYS);
		break;
	case 1:
		agi_recent_clear(r);
		memset(m->version, 0, sizeof m->version);
		break;
	case 2:
	case 3:
	case 4:
		agi_recent_forget(r, &key);
		m->version[cf][k] = 0;
		break;
	default:
		m->version[cf][k] = (uint8_t)(1 + agi_prng_below(p, 255));
		put(r, cf, k, m->version[cf][k]);
	}
}

static void it_knows_what_was_put_and_nothing_else(void **state)
{
	struct agi_recent r;
	struct agi_prng p;
	static struct model m;

	(void)state;
	agi_prng_seed(&p, 1);
	agi_recent_init(&r, hash_key);
	for (int i = 0; i < 5000; i++) {
		step(&r, &m, &p);
		for (unsigned cf = 0; cf < CFS; cf++)
			for (unsigned k = 0; k < KEYS; k++)
				assert_int_equal(found(&r, cf, k), m.version[cf][k]);
	}
	agi_recent_free(&r);
}

static void beyond_its_size_it_forgets_but_never_errs(void **state)
{
	struct agi_recent r;
	unsigned known = 0;

	(void)state;
	agi_recent_init(&r, hash_key);
	for (unsigned k = 0; k < 4 * AGI_RECENT_KEYS; k++) {
		put(&r, 1, k, (uint8_t)(k % 255 + 1));
		assert_int_equal(found(&r, 1, k), k % 255 + 1);
	}
	for (unsigned k = 0; k < 4 * AGI_RECENT_KEYS; k++) {
		uint8_t v = found(&r, 1, k);

		known += v != 0;
		assert_true(v == 0 || v == k % 255 + 1);
	}
	assert_true(known <= AGI_RECENT_KEYS && known > AGI_RECENT_KEYS - AGI_RECENT_KEYS / 100); /* sets fill unevenly */
	agi_recent_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_knows_what_was_put_and_nothing_else),
	    cmocka_unit_test(beyond_its_size_it_forgets_but_never_errs),
	};

	return cmocka_run_group_tests_name("recent versions", tests, NULL, NULL);
}
