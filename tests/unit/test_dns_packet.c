/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "net/dns_packet.h"

/* id 0x1234, recursion desired, one question, an additional record (EDNS): a.Bc IN A */
static const uint8_t good[] = {0x12, 0x34, 1, 0, 0, 1, 0, 0,  0, 0,    0, 1, 1, 'a', 2, 'B', 'c',
			       0,    0,    1, 0, 1, 0, 0, 41, 4, 0xd0, 0, 0, 0, 0,   0, 0};
enum { HEADER = 12, QUESTION = 10, EDNS = 11 };

static enum agi_dns_code code_of(const uint8_t *p, size_t n)
{
	struct agi_dns_asked asked;
	enum agi_dns_code code = AGI_DNS_OK;

	assert_true(agi_dns_packet_read(&asked, p, n, &code));
	return code;
}

static enum agi_dns_code code_with(size_t at, uint8_t byte)
{
	uint8_t p[sizeof good];

	memcpy(p, good, sizeof p);
	p[at] = byte;
	return code_of(p, sizeof p);
}

static void a_question_is_read_and_what_follows_it_left_alone(void **state)
{
	struct agi_dns_asked asked;
	enum agi_dns_code code;
	(void)state;

	assert_true(agi_dns_packet_read(&asked, good, sizeof good, &code));
	assert_int_equal(code, AGI_DNS_OK);
	assert_int_equal(asked.id, 0x1234);
	assert_int_equal(asked.type, AGI_DNS_A);
	assert_string_equal(asked.name, "a.Bc");
	assert_int_equal(asked.question_bytes, QUESTION);
}

static void what_is_no_question_is_told_so_or_ignored(void **state)
{
	struct agi_dns_asked asked;
	enum agi_dns_code code;
	(void)state;

	for (size_t n = 0; n < HEADER; n++)
		assert_false(agi_dns_packet_read(&asked, good, n, &code));
	for (size_t n = HEADER; n < HEADER + QUESTION; n++)
		assert_int_equal(code_of(good, n), AGI_DNS_FORMERR);
	assert_int_equal(code_of(good, HEADER + QUESTION), AGI_DNS_OK);
	assert_int_equal(code_with(2, 0x28), AGI_DNS_NOTIMP);
	assert_int_equal(code_with(5, 0), AGI_DNS_FORMERR); /* questions */
	assert_int_equal(code_with(5, 2), AGI_DNS_FORMERR);
	assert_int_equal(code_with(12, 0xc0), AGI_DNS_FORMERR); /* a name that points */
	assert_int_equal(code_with(12, 63), AGI_DNS_FORMERR);
	assert_int_equal(code_with(21, 3), AGI_DNS_REFUSED); /* class CHAOS */
	assert_false(
	    agi_dns_packet_read(&asked, (const uint8_t[HEADER]){0, 0, 0x80}, HEADER, &code));
}

static void bytes_that_no_name_has_cannot_look_like_one(void **state)
{
	struct agi_dns_asked asked;
	enum agi_dns_code code;
	uint8_t p[sizeof good];
	(void)state;

	memcpy(p, good, sizeof p);
	p[15] = '.';
	p[16] = 0;
	assert_true(agi_dns_packet_read(&asked, p, sizeof p, &code));
	assert_string_equal(asked.name, "a.??");
}

/* Everything that is read is within the packet and the structure: with sanitizers this says so. */
static void random_packets_do_no_harm(void **state)
{
	unsigned seed = 7;
	(void)state;

	for (int i = 0; i < 200000; i++) {
		size_t n = (size_t)rand_r(&seed) % 400;
		uint8_t *p = malloc(n + 1);
		struct agi_dns_asked asked;
		enum agi_dns_code code;

		for (size_t k = 0; k < n; k++)
			p[k] = k < sizeof good && rand_r(&seed) % 8 ? good[k]
								    : (uint8_t)(rand_r(&seed) % 70);
		if (agi_dns_packet_read(&asked, p, n, &code) && !code) {
			assert_true(strlen(asked.name) <= AGI_DNS_NAME_MAX &&
				    asked.question_bytes <= sizeof asked.question);
			assert_memory_equal(asked.question, p + HEADER, asked.question_bytes);
		}
		free(p);
	}
}

static void an_answer_has_the_question_and_as_many_records_as_fit(void **state)
{
	static const uint8_t record[] = {0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 5};
	struct agi_dns_asked asked;
	struct agi_dns_reply r;
	enum agi_dns_code code;
	struct agi_buf b;
	uint16_t n = 0;
	(void)state;

	assert_true(agi_dns_packet_read(&asked, good, sizeof good, &code));
	agi_dns_reply_init(&r, &asked);
	while (agi_dns_reply_put(&r, AGI_DNS_ANSWER, NULL, AGI_DNS_A, 9, AGI_STR("\x0a\0\0\5")))
		n++;
	assert_int_equal(n, (AGI_DNS_ANSWER_MAX - HEADER - QUESTION) / 16);
	agi_buf_init(&b, AGI_DNS_ANSWER_MAX);
	agi_dns_reply_write(&b, &asked, &r, AGI_DNS_OK);
	assert_int_equal(b.err, AGI_OK);
	assert_memory_equal(agi_buf_str(&b).p,
			    ((uint8_t[]){0x12, 0x34, 0x85, 0, 0, 1, 0, (uint8_t)n, 0, 0, 0, 0}),
			    HEADER);
	assert_memory_equal(agi_buf_str(&b).p + HEADER, good + HEADER, QUESTION);
	assert_memory_equal(agi_buf_str(&b).p + HEADER + QUESTION, record, sizeof record);
	assert_int_equal(agi_buf_str(&b).n, HEADER + QUESTION + 16 * n);
	agi_buf_free(&b);
	agi_dns_reply_free(&r);
}

static void names_are_written_as_labels_or_refused(void **state)
{
	static const char *const bad[] = {
	    "", ".", "a..b", ".a",
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
	struct agi_buf b;
	(void)state;

	agi_buf_init(&b, AGI_DNS_ANSWER_MAX);
	assert_true(agi_dns_name_put(&b, "ab.c."));
	assert_int_equal(agi_buf_str(&b).n, 6);
	assert_memory_equal(agi_buf_str(&b).p, "\2ab\1c", 6);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(agi_dns_name_put(&b, bad[i]));
	agi_buf_free(&b);
}

static void a_refusal_is_a_header_alone(void **state)
{
	static const struct agi_dns_reply nothing;
	struct agi_dns_asked asked;
	enum agi_dns_code code;
	struct agi_buf b;
	(void)state;

	assert_true(agi_dns_packet_read(&asked, good, HEADER + 3, &code));
	agi_buf_init(&b, AGI_DNS_ANSWER_MAX);
	agi_dns_reply_write(&b, &asked, &nothing, code);
	assert_int_equal(agi_buf_str(&b).n, HEADER);
	assert_memory_equal(agi_buf_str(&b).p, ((uint8_t[HEADER]){0x12, 0x34, 0x85, 1}), HEADER);
	agi_buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_question_is_read_and_what_follows_it_left_alone),
	    cmocka_unit_test(what_is_no_question_is_told_so_or_ignored),
	    cmocka_unit_test(bytes_that_no_name_has_cannot_look_like_one),
	    cmocka_unit_test(random_packets_do_no_harm),
	    cmocka_unit_test(an_answer_has_the_question_and_as_many_records_as_fit),
	    cmocka_unit_test(names_are_written_as_labels_or_refused),
	    cmocka_unit_test(a_refusal_is_a_header_alone)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
