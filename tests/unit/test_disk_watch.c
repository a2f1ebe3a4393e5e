/* SPDX-License-Identifier: Apache-2.0
 * When a node whose store met the end of its disk begins anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "node/disk.h"

enum { MIB = 1 << 20, SECONDS = 20 };

/* After how many seconds with so much room; 0: not at all. */
static int begins_after(enum agi_store_trouble trouble, uint64_t free_bytes, uint64_t reserve_bytes, bool is_low)
{
	const struct agi_config config = {.node.store.memtable_bytes = 4 * MIB};
	struct agi_disk_watch w = {.config = &config, .trouble = trouble, .free_bytes = free_bytes,
	                           .total_bytes = 1000ull * MIB, .reserve_bytes = reserve_bytes, .is_low = is_low};

	for (int s = 1; s <= SECONDS; s++)
		if (agi_disk_watch_begins_anew(&w))
			return s;
	return 0;
}

static void a_full_disk_is_left_alone_also_without_a_reserve(void **state)
{
	(void)state;
	assert_int_equal(begins_after(AGI_STORE_NO_SPACE, 0, 0, false), 0);
	assert_int_equal(begins_after(AGI_STORE_NO_SPACE, 8 * MIB - 1, 0, false), 0);
	assert_int_equal(begins_after(AGI_STORE_NO_SPACE, 8 * MIB, 0, false), 5);
}

static void with_a_reserve_a_quarter_more_is_waited_for(void **state)
{
	(void)state;
	assert_int_equal(begins_after(AGI_STORE_NO_SPACE, 49 * MIB, 40 * MIB, true), 0);
	assert_int_equal(begins_after(AGI_STORE_NO_SPACE, 50 * MIB, 40 * MIB, true), 5);
}

static void other_trouble_is_for_an_operator(void **state)
{
	(void)state;
	assert_int_equal(begins_after(AGI_STORE_IO, 900ull * MIB, 0, false), 0);
	assert_int_equal(begins_after(AGI_STORE_DAMAGED, 900ull * MIB, 0, false), 0);
	assert_int_equal(begins_after(AGI_STORE_SOUND, 900ull * MIB, 0, false), 0);
}

static void on_a_small_disk_a_tenth_suffices(void **state)
{
	const struct agi_config config = {.node.store.memtable_bytes = 64 * MIB};
	struct agi_disk_watch w = {.config = &config, .trouble = AGI_STORE_NO_SPACE, .free_bytes = 10 * MIB,
	                           .total_bytes = 100 * MIB};
	int s = 1;
	(void)state;

	while (s <= SECONDS && !agi_disk_watch_begins_anew(&w))
		s++;
	assert_int_equal(s, 5);
}

static void room_that_goes_away_is_waited_for_again(void **state)
{
	const struct agi_config config = {.node.store.memtable_bytes = 4 * MIB};
	struct agi_disk_watch w = {.config = &config, .trouble = AGI_STORE_NO_SPACE, .free_bytes = 500ull * MIB,
	                           .total_bytes = 1000ull * MIB};
	(void)state;

	for (int s = 0; s < 4; s++)
		assert_false(agi_disk_watch_begins_anew(&w));
	w.free_bytes = 0;
	assert_false(agi_disk_watch_begins_anew(&w));
	w.free_bytes = 500ull * MIB;
	for (int s = 0; s < 4; s++)
		assert_false(agi_disk_watch_begins_anew(&w));
	assert_true(agi_disk_watch_begins_anew(&w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_full_disk_is_left_alone_also_without_a_reserve),
	    cmocka_unit_test(with_a_reserve_a_quarter_more_is_waited_for),
	    cmocka_unit_test(other_trouble_is_for_an_operator),
	    cmocka_unit_test(on_a_small_disk_a_tenth_suffices),
	    cmocka_unit_test(room_that_goes_away_is_waited_for_again),
	};

	return cmocka_run_group_tests_name("watching the disk", tests, NULL, NULL);
}
