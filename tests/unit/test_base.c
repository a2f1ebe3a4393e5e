/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/prng.h"

static void buffer_gives_back_what_was_put(void **state)
{
	struct agi_buf b;
	struct agi_cur c;

	(void)state;
	agi_buf_init(&b, 0);
	agi_buf_u8(&b, 7);
	agi_buf_u16(&b, 0x1234);
	agi_buf_u32(&b, 0xdeadbeef);
	agi_buf_u64(&b, UINT64_MAX - 1);
	agi_buf_blob(&b, AGI_STR("a\0b"));
	agi_buf_printf(&b, "%d-%s", 5, "x");
	assert_int_equal(b.err, AGI_OK);
	c = agi_cur_of(agi_buf_str(&b));
	assert_int_equal(agi_cur_u8(&c), 7);
	assert_int_equal(agi_cur_u16(&c), 0x1234);
	assert_int_equal(agi_cur_u32(&c), 0xdeadbeef);
	assert_true(agi_cur_u64(&c) == UINT64_MAX - 1);
	assert_true(agi_str_eq(agi_cur_blob(&c), AGI_STR("a\0b")));
	assert_true(agi_str_eq(agi_cur_take(&c, 3), AGI_STR("5-x")));
	assert_false(c.bad);
	assert_int_equal(c.n, 0);
	agi_buf_free(&b);
}

static void short_read_is_bad_and_stays_bad(void **state)
{
	struct agi_cur c = agi_cur_of(AGI_STR("\x00\x00\x00\x05"
	                                      "abc"));

	(void)state;
	assert_int_equal(agi_cur_blob(&c).n, 0);
	assert_true(c.bad);
	assert_int_equal(agi_cur_u8(&c), 0);
}

static void buffer_respects_its_maximum(void **state)
{
	struct agi_buf b;

	(void)state;
	agi_buf_init(&b, 4);
	agi_buf_u32(&b, 1);
	assert_int_equal(b.err, AGI_OK);
	agi_buf_u8(&b, 1);
	assert_int_equal(b.err, AGI_E_TOO_LARGE);
	assert_int_equal(b.n, 4);
	agi_buf_free(&b);
}

static void utf8_follows_unicode_table_3_7(void **state)
{
	(void)state;
	assert_true(agi_utf8_is_valid(AGI_STR("plain \0 nul")));
	assert_true(agi_utf8_is_valid(AGI_STR("\xc3\xa9\xe2\x84\xaa\xf0\x9f\x98\x80")));
	assert_false(agi_utf8_is_valid(AGI_STR("\xc0\x80")));         /* overlong */
	assert_false(agi_utf8_is_valid(AGI_STR("\xed\xa0\x80")));     /* surrogate */
	assert_false(agi_utf8_is_valid(AGI_STR("\xf4\x90\x80\x80"))); /* above U+10FFFF */
	assert_false(agi_utf8_is_valid(AGI_STR("\xe2\x84")));         /* truncated */
	assert_false(agi_utf8_is_valid(AGI_STR("\xff")));
}

static void xor_metric_holds(void **state)
{
	struct agi_prng r;
	struct agi_id a, b, t, d;

	(void)state;
	agi_prng_seed(&r, 1);
	for (int round = 0; round < 1000; round++) {
		for (int i = 0; i < 32; i++) {
			a.b[i] = (uint8_t)agi_prng_u64(&r);
			b.b[i] = (uint8_t)agi_prng_u64(&r);
			t.b[i] = (uint8_t)agi_prng_u64(&r);
		}
		assert_int_equal(agi_id_cmp_distance(&t, &a, &b), -agi_id_cmp_distance(&t, &b, &a));
		assert_true(agi_id_cmp_distance(&a, &a, &b) < 0);
		agi_id_xor(&d, &a, &b);
		assert_int_equal(agi_id_common_bits(&a, &b), agi_id_common_bits(&d, &(struct agi_id){{0}}));
	}
	assert_int_equal(agi_id_common_bits(&a, &a), 256);
}

static void address_text_round_trips(void **state)
{
	static const struct {
		const char *in, *out;
	} good[] = {{"127.0.0.1:5000", "127.0.0.1:5000"},
	            {"127.0.0.1", "127.0.0.1:5000"},
	            {"[::1]:1", "[::1]:1"},
	            {"fd00::5", "[fd00::5]:5000"}};
	static const char *const bad[] = {"", ":", "1.2.3:5", "host:5", "1.2.3.4:0", "1.2.3.4:65536",
	                                  "1.2.3.4:", "[::1", "[::1]5", "1.2.3.4:5x"};
	struct agi_addr a;
	struct agi_why why;
	char text[AGI_ADDR_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(agi_addr_parse(&a, agi_str_of(good[i].in), 5000, &why), AGI_OK);
		agi_addr_format(text, &a);
		assert_string_equal(text, good[i].out);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(agi_addr_parse(&a, agi_str_of(bad[i]), 5000, &why), AGI_E_INVALID);
	assert_int_equal(agi_addr_parse(&a, AGI_STR("1.2.3.4"), 0, &why), AGI_E_INVALID);
}

static void hex_refuses_other_characters(void **state)
{
	uint8_t out[2];
	char text[5];

	(void)state;
	assert_int_equal(agi_unhex(out, 2, AGI_STR("0fA5")), AGI_OK);
	agi_hex(text, out, 2);
	assert_string_equal(text, "0fa5");
	assert_int_equal(agi_unhex(out, 2, AGI_STR("0fA")), AGI_E_INVALID);
	assert_int_equal(agi_unhex(out, 2, AGI_STR("0fAg")), AGI_E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(buffer_gives_back_what_was_put),
	    cmocka_unit_test(short_read_is_bad_and_stays_bad),
	    cmocka_unit_test(buffer_respects_its_maximum),
	    cmocka_unit_test(utf8_follows_unicode_table_3_7),
	    cmocka_unit_test(xor_metric_holds),
	    cmocka_unit_test(address_text_round_trips),
	    cmocka_unit_test(hex_refuses_other_characters),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
