/* SPDX-License-Identifier: Apache-2.0 */
#include "node/load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { SECOND = AGI_LOAD_EVERY_US };

static void a_thread_that_always_computes_is_full_and_one_that_never_does_is_idle(void **state)
{
	struct agi_load full = {0}, idle = {0};
	uint32_t milli = 0;

	(void)state;
	assert_int_equal(agi_load_update(&full, 5 * SECOND, SECOND), 0); /* nobody knows over which time */
	for (uint64_t i = 1; i <= 12; i++) {
		milli = agi_load_update(&full, (5 + i) * SECOND, (1 + i) * SECOND);
		assert_int_equal(agi_load_update(&idle, 7, i * SECOND), 0);
	}
	assert_int_equal(milli, 1000);
}

static void half_a_cpu_is_half_and_ends_within_seconds_of_its_end(void **state)
{
	struct agi_load l = {0};
	uint64_t cpu = 0, i;

	(void)state;
	for (i = 1; i <= 12; i++, cpu += SECOND / 2)
		agi_load_update(&l, cpu, i * SECOND);
	assert_in_range(agi_load_update(&l, cpu, i * SECOND), 450, 550);
	for (uint64_t end = i + 6; i <= end; i++)
		agi_load_update(&l, cpu, i * SECOND);
	assert_int_equal(agi_load_update(&l, cpu, i * SECOND), 0);
}

static void looks_in_between_and_clocks_that_go_back_change_nothing(void **state)
{
	struct agi_load l = {0};
	uint32_t before;

	(void)state;
	agi_load_update(&l, 0, SECOND);
	before = agi_load_update(&l, SECOND, 2 * SECOND);
	assert_int_equal(before, 500);
	assert_int_equal(agi_load_update(&l, 2 * SECOND, 2 * SECOND + SECOND / 2), before);
	assert_int_equal(agi_load_update(&l, 0, 0), before);
	assert_int_equal(agi_load_update(&l, 0, 3 * SECOND), 250);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_thread_that_always_computes_is_full_and_one_that_never_does_is_idle),
	    cmocka_unit_test(half_a_cpu_is_half_and_ends_within_seconds_of_its_end),
	    cmocka_unit_test(looks_in_between_and_clocks_that_go_back_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
