/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/prng.h"
#include "roles/safety_gateway/latch.h"

enum { MS = 1000, VALID = AGI_STOP_VALID_MS * MS };

static const struct agi_stop_record stopped = {.epoch = 1, .is_stopped = true, .reason = "smoke"};
static const struct agi_stop_record resumed = {.epoch = 2, .is_stopped = false};

static void nothing_is_clear_before_it_was_read_nor_long_after(void **state)
{
	struct agi_latch l = {0};

	(void)state;
	assert_int_equal(agi_latch_state(&l, 0), AGI_STOP_UNKNOWN);
	assert_false(agi_latch_is_followed(&l, 0));
	agi_latch_read(&l, NULL, 1000);
	assert_int_equal(agi_latch_state(&l, 1000 + VALID - 1), AGI_STOP_CLEAR);
	assert_int_equal(agi_latch_state(&l, 1000 + VALID), AGI_STOP_UNKNOWN);
	assert_true(agi_latch_is_followed(&l, 1000 + VALID));
	assert_false(agi_latch_is_followed(&l, 1000 + VALID + AGI_STOP_LOST_MS * MS));
	agi_latch_read(&l, NULL, 500); /* an older read that was slower does not shorten it */
	assert_int_equal(agi_latch_state(&l, 1000 + VALID - 1), AGI_STOP_CLEAR);
}

static void once_stopped_only_a_later_read_resumes(void **state)
{
	struct agi_latch l = {0};

	(void)state;
	agi_latch_read(&l, NULL, 1);
	assert_true(agi_latch_told(&l, &stopped));
	assert_false(agi_latch_told(&l, &stopped));
	assert_int_equal(agi_latch_state(&l, 2), AGI_STOP_SET);
	agi_latch_read(&l, NULL, 3); /* began before the stop was written: says nothing */
	assert_int_equal(agi_latch_state(&l, 4), AGI_STOP_SET);
	assert_int_equal(agi_latch_state(&l, 1000 * VALID), AGI_STOP_SET);
	assert_false(agi_latch_told(&l, &resumed)); /* a notice never resumes */
	assert_int_equal(agi_latch_state(&l, 5), AGI_STOP_SET);
	agi_latch_read(&l, &resumed, 10);
	assert_int_equal(agi_latch_state(&l, 11), AGI_STOP_CLEAR);
	assert_false(agi_latch_told(&l, &stopped)); /* of before */
	assert_int_equal(agi_latch_state(&l, 12), AGI_STOP_CLEAR);
}

/* A register with one writer, reads that take their time and come in any order, notices that are lost or late: AGI_STOP_VALID_MS
 * after a stop was written, nobody holds it for clear. */
static void no_host_is_clear_for_longer_than_valid_after_a_stop(void **state)
{
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 5);
	for (int round = 0; round < 3000; round++) {
		struct agi_stop_record record = {0};
		struct agi_latch l = {0};
		struct { uint64_t began; struct agi_stop_record r; } reads[40];
		uint64_t stopped_at = UINT64_MAX;
		int n = 0;

		for (uint64_t t = 0; t < 40; t++) {
			uint64_t now = t * 100 * MS;

			if (agi_prng_below(&r, 8) == 0) {
				record.epoch++;
				record.is_stopped = !record.is_stopped;
				stopped_at = record.is_stopped ? now : UINT64_MAX;
				if (agi_prng_below(&r, 2))
					(void)agi_latch_told(&l, &record);
			}
			/* linearizable: shows what the register holds at some moment after it began */
			reads[n].began = now - agi_prng_below(&r, now + 1 < 300 * MS ? now + 1 : 300 * MS);
			reads[n++].r = record;
			if (agi_prng_below(&r, 3)) {
				int i = (int)agi_prng_below(&r, (uint64_t)n);

				agi_latch_read(&l, reads[i].r.epoch ? &reads[i].r : NULL, reads[i].began);
			}
			if (stopped_at != UINT64_MAX && now >= stopped_at + VALID)
				assert_int_not_equal(agi_latch_state(&l, now), AGI_STOP_CLEAR);
		}
	}
}

static void a_record_comes_back_as_it_went_and_others_are_refused(void **state)
{
	struct agi_stop_record r = {.epoch = 7, .is_stopped = true, .at_ms = 12345, .id = {1, 2, 3},
	                            .reason = "arm hit a person", .source = "cell 4", .node = "ab12"};
	struct agi_stop_record back;
	struct agi_buf b;

	(void)state;
	agi_buf_init(&b, 0);
	agi_stop_encode(&b, &r);
	assert_int_equal(agi_stop_decode(&back, agi_buf_str(&b)), AGI_OK);
	assert_true(back.epoch == 7 && back.is_stopped && back.at_ms == 12345);
	assert_memory_equal(back.id, r.id, sizeof r.id);
	assert_string_equal(back.reason, r.reason);
	assert_string_equal(back.source, r.source);
	assert_string_equal(back.node, r.node);
	for (size_t n = 0; n < b.n; n++)
		assert_int_not_equal(agi_stop_decode(&back, (struct agi_str){(char *)b.p, n}), AGI_OK);
	b.p[0] = 9;
	assert_int_not_equal(agi_stop_decode(&back, agi_buf_str(&b)), AGI_OK);
	agi_buf_free(&b);
	agi_stop_set_text(r.node, 4, AGI_STR("abc\xc3\xa4"));
	assert_string_equal(r.node, "abc");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nothing_is_clear_before_it_was_read_nor_long_after),
	    cmocka_unit_test(once_stopped_only_a_later_read_resumes),
	    cmocka_unit_test(no_host_is_clear_for_longer_than_valid_after_a_stop),
	    cmocka_unit_test(a_record_comes_back_as_it_went_and_others_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
