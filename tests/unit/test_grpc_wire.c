/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/limits.h"
#include "net/grpc_wire.h"

static void assert_timeout(const char *text, uint64_t want_us)
{
	uint64_t us = 0;

	assert_true(agi_grpc_timeout_parse(agi_str_of(text), &us));
	assert_true(us == want_us);
}

static void every_unit_of_a_timeout_is_known(void **state)
{
	(void)state;
	assert_timeout("1n", 1);
	assert_timeout("1500n", 2);
	assert_timeout("7u", 7);
	assert_timeout("100m", 100000);
	assert_timeout("3S", 3000000);
	assert_timeout("2M", 120000000);
	assert_timeout("1H", 3600000000ull);
	assert_timeout("99999999H", 99999999 * 3600000000ull);
	assert_timeout("0m", 0);
}

static void other_timeouts_are_malformed(void **state)
{
	static const char *const bad[] = {"",    "m",          "1",    "1s",  "1 m", "-1m",
					  "+1m", "123456789m", "1.5S", "1mm", "0x1m"};
	uint64_t us;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(agi_grpc_timeout_parse(agi_str_of(bad[i]), &us));
}

static void a_formatted_timeout_is_read_back_not_shorter(void **state)
{
	(void)state;
	for (uint64_t us = 1; us < UINT64_MAX / 64; us = us * 7 / 2 + 1) {
		char text[AGI_GRPC_TIMEOUT_TEXT];
		uint64_t back;

		assert_true(agi_grpc_timeout_format(text, us) <= 9);
		assert_true(agi_grpc_timeout_parse(agi_str_of(text), &back));
		if (us <= 99999999 * 3600000000ull)
			assert_true(back >= us &&
				    back - us <= us / 99999); /* five digits at least */
	}
}

static void percent_encoding_gives_back_every_byte(void **state)
{
	char all[256];
	struct agi_buf coded, back;

	(void)state;
	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	agi_buf_init(&coded, 0);
	agi_buf_init(&back, 0);
	agi_grpc_percent_encode(&coded, (struct agi_str){all, 256});
	for (size_t i = 0; i < coded.n; i++)
		assert_in_range(coded.p[i], 0x20, 0x7e);
	agi_grpc_percent_decode(&back, agi_buf_str(&coded));
	assert_true(agi_str_eq(agi_buf_str(&back), (struct agi_str){all, 256}));
	agi_buf_reset(&back);
	agi_grpc_percent_decode(&back, AGI_STR("50% 100%2 %zz %41%"));
	assert_true(agi_str_eq(agi_buf_str(&back), AGI_STR("50% 100%2 %zz A%")));
	agi_buf_free(&coded);
	agi_buf_free(&back);
}

static void long_messages_are_cut_between_characters(void **state)
{
	char text[AGI_GRPC_MESSAGE_MAX + 8];
	struct agi_buf coded;

	(void)state;
	memset(text, 'x', sizeof text);
	memcpy(text + AGI_GRPC_MESSAGE_MAX - 1, "\xc3\xa9", 2); /* would be cut in two */
	agi_buf_init(&coded, 0);
	agi_grpc_percent_encode(&coded, (struct agi_str){text, sizeof text});
	assert_int_equal(coded.n, AGI_GRPC_MESSAGE_MAX - 1);
	agi_buf_free(&coded);
}

static void statuses_are_mapped_as_specified(void **state)
{
	(void)state;
	assert_int_equal(agi_grpc_status_parse(AGI_STR("0")), AGI_GRPC_OK);
	assert_int_equal(agi_grpc_status_parse(AGI_STR("16")), AGI_GRPC_UNAUTHENTICATED);
	assert_int_equal(agi_grpc_status_parse(AGI_STR("17")), AGI_GRPC_UNKNOWN);
	assert_int_equal(agi_grpc_status_parse(AGI_STR("")), AGI_GRPC_UNKNOWN);
	assert_int_equal(agi_grpc_status_parse(AGI_STR("x")), AGI_GRPC_UNKNOWN);
	assert_int_equal(agi_grpc_status_of_http(400), AGI_GRPC_INTERNAL);
	assert_int_equal(agi_grpc_status_of_http(404), AGI_GRPC_UNIMPLEMENTED);
	assert_int_equal(agi_grpc_status_of_http(503), AGI_GRPC_UNAVAILABLE);
	assert_int_equal(agi_grpc_status_of_http(500), AGI_GRPC_UNKNOWN);
	assert_int_equal(agi_grpc_status_of_h2(7), AGI_GRPC_UNAVAILABLE);
	assert_int_equal(agi_grpc_status_of_h2(8), AGI_GRPC_CANCELLED);
	assert_int_equal(agi_grpc_status_of_h2(11), AGI_GRPC_RESOURCE_EXHAUSTED);
	assert_int_equal(agi_grpc_status_of_h2(12), AGI_GRPC_PERMISSION_DENIED);
	assert_int_equal(agi_grpc_status_of_h2(2), AGI_GRPC_INTERNAL);
}

static void content_types_of_grpc_are_known(void **state)
{
	(void)state;
	assert_true(agi_grpc_is_content_type(AGI_STR("application/grpc")));
	assert_true(agi_grpc_is_content_type(AGI_STR("application/grpc+proto")));
	assert_true(agi_grpc_is_content_type(AGI_STR("application/grpc;charset=utf-8")));
	assert_false(agi_grpc_is_content_type(AGI_STR("application/grpc-web")));
	assert_false(agi_grpc_is_content_type(AGI_STR("application/json")));
	assert_false(agi_grpc_is_content_type(AGI_STR("")));
}

/* However the bytes are cut, the messages are the same. */
static void messages_survive_every_cut(void **state)
{
	static const char wire[] = "\0\0\0\0\x03"
				   "abc\0\0\0\0\0\0\0\0\0\x01z";
	static const char *const want[] = {"abc", "", "z"};

	(void)state;
	for (size_t cut = 1; cut < sizeof wire; cut++) {
		struct agi_grpc_reader r = {0};
		size_t n = 0;

		for (size_t at = 0; at < sizeof wire - 1; at += cut) {
			size_t left = sizeof wire - 1 - at;
			struct agi_str in = {wire + at, cut < left ? cut : left};

			while (in.n &&
			       agi_grpc_reader_feed(&r, &in, 100) == AGI_GRPC_READ_MESSAGE) {
				assert_true(
				    agi_str_eq(agi_buf_str(&r.message), agi_str_of(want[n++])));
				agi_grpc_reader_next(&r);
			}
		}
		assert_int_equal(n, 3);
		assert_true(agi_grpc_reader_is_idle(&r));
		agi_buf_free(&r.message);
	}
}

static void a_large_message_is_refused_by_its_prefix(void **state)
{
	struct agi_grpc_reader r = {0};
	struct agi_str in = AGI_STR("\0\0\x40\0\x01");

	(void)state;
	assert_int_equal(agi_grpc_reader_feed(&r, &in, AGI_GRPC_RECV_DEFAULT),
			 AGI_GRPC_READ_TOO_LARGE);
	assert_int_equal(r.message_bytes, AGI_GRPC_RECV_DEFAULT + 1);
	assert_int_equal(r.message.cap, 0);
}

static void a_compressed_message_is_told_apart(void **state)
{
	struct agi_grpc_reader r = {0};
	struct agi_str in = AGI_STR("\1\0\0\0\x01x");

	(void)state;
	assert_int_equal(agi_grpc_reader_feed(&r, &in, 100), AGI_GRPC_READ_COMPRESSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_unit_of_a_timeout_is_known),
	    cmocka_unit_test(other_timeouts_are_malformed),
	    cmocka_unit_test(a_formatted_timeout_is_read_back_not_shorter),
	    cmocka_unit_test(percent_encoding_gives_back_every_byte),
	    cmocka_unit_test(long_messages_are_cut_between_characters),
	    cmocka_unit_test(statuses_are_mapped_as_specified),
	    cmocka_unit_test(content_types_of_grpc_are_known),
	    cmocka_unit_test(messages_survive_every_cut),
	    cmocka_unit_test(a_large_message_is_refused_by_its_prefix),
	    cmocka_unit_test(a_compressed_message_is_told_apart),
	};

	return cmocka_run_group_tests_name("grpc_wire", tests, NULL, NULL);
}
