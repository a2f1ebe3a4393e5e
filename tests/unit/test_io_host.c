/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "node/io_host.h"

static void a_number_is_taken_at_its_word(void **state)
{
	(void)state;
	for (unsigned cores = 1; cores < 9; cores++)
		for (unsigned n = 0; n <= 8; n++)
			assert_int_equal(agi_io_loops((enum agi_io_loops)(AGI_IO_LOOPS_0 + n), cores), n);
}

static void auto_leaves_cores_to_the_core_and_to_safety(void **state)
{
	static const uint32_t expected[] = {0, 0, 0, 1, 2, 2, 2};
	(void)state;

	for (unsigned cores = 0; cores < sizeof expected / sizeof *expected; cores++)
		assert_int_equal(agi_io_loops(AGI_IO_LOOPS_AUTO, cores), expected[cores]);
	assert_int_equal(agi_io_loops(AGI_IO_LOOPS_AUTO, 256), 2);
}

static void without_loops_there_is_no_host_and_nothing_to_do(void **state)
{
	struct agi_config config;
	struct agi_io_host *h;
	struct agi_why why = {""};
	(void)state;

	assert_int_equal(agi_config_defaults(&config, &why), AGI_OK);
	assert_int_equal(agi_config_set(&config, "node.io_loops", "0", &why), AGI_OK);
	assert_int_equal(agi_io_host_new(&(struct agi_io_cfg){.config = &config}, &h, &why), AGI_OK);
	assert_null(h);
	assert_int_equal(agi_io_host_serve(h, NULL, NULL, false, NULL, &why), AGI_OK);
	assert_int_equal(agi_io_host_start(h, &why), AGI_OK);
	agi_io_host_reload(h);
	agi_io_host_drain(h);
	agi_io_host_stop(h);
	agi_io_host_close(h);
	agi_io_host_free(h);
	agi_config_free(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_number_is_taken_at_its_word),
	    cmocka_unit_test(auto_leaves_cores_to_the_core_and_to_safety),
	    cmocka_unit_test(without_loops_there_is_no_host_and_nothing_to_do),
	};

	return cmocka_run_group_tests_name("io host", tests, NULL, NULL);
}
