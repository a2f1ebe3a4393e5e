/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "roles/erisml/proof_log.h"

/* A chain of its own, as proof.c makes it. */
struct chain {
	char head[AGI_HASH_TEXT], facts[AGI_HASH_TEXT];
	uint64_t n;
	struct agi_proof_runs runs;
};

static void add(struct chain *c, const char *id, size_t id_n)
{
	char hash[AGI_HASH_TEXT], facts[AGI_SHA256_BYTES] = {0};
	uint8_t digest[AGI_SHA256_BYTES];
	struct agi_proof_row row = {.previous_hash = agi_str_of(c->head), .decision_id = {id, id_n},
	                            .profile = AGI_STR("standard"), .verdict = AGI_STR("prefer")};
	struct agi_buf text;

	snprintf(facts, sizeof facts, "facts %llu", (unsigned long long)c->n);
	agi_hex(c->facts, (const uint8_t *)facts, sizeof facts);
	row.facts_hash = agi_str_of(c->facts);
	agi_buf_init(&text, 0);
	agi_proof_text(&text, &row);
	agi_sha256(digest, agi_buf_str(&text));
	agi_buf_free(&text);
	agi_hex(hash, digest, sizeof digest);
	row.hash = agi_str_of(hash);
	agi_proof_runs_add(&c->runs, &row);
	memcpy(c->head, hash, sizeof hash);
	c->n++;
}

static void begin(struct chain *c)
{
	*c = (struct chain){.n = 0};
	agi_proof_runs_init(&c->runs);
}

static enum agi_err follow_all(struct agi_proof_walk *w, struct agi_str runs, struct agi_why *why)
{
	struct agi_cur c = agi_cur_of(runs);
	enum agi_err e = AGI_OK;

	while (c.n && !c.bad && !e)
		e = agi_proof_follow(w, agi_cur_blob(&c), why);
	assert_false(c.bad);
	return e;
}

static void a_chain_is_followed_through_runs_of_bounded_size(void **state)
{
	struct agi_proof_walk w = {.has_head = false};
	struct agi_why why = {""};
	struct agi_cur runs;
	struct chain c;
	size_t n = 0;
	(void)state;

	begin(&c);
	for (int i = 0; i < 3000; i++)
		add(&c, "step_a_1764000000", 17);
	assert_int_equal(c.runs.b.err, AGI_OK);
	for (runs = agi_cur_of(agi_buf_str(&c.runs.b)); runs.n; n++)
		assert_in_range(agi_cur_blob(&runs).n, 1, AGI_PROOF_RUN_BYTES + AGI_PROOF_TEXT_MAX + 64);
	assert_true(n > 3);
	assert_int_equal(follow_all(&w, agi_buf_str(&c.runs.b), &why), AGI_OK);
	assert_int_equal(w.proofs, 3000);
	assert_string_equal(w.head, c.head);
	agi_proof_runs_free(&c.runs);
}

static void texts_too_long_to_keep_leave_the_chain_whole(void **state)
{
	static char longer[AGI_PROOF_TEXT_MAX + 1];
	struct agi_proof_walk w = {.has_head = false};
	struct agi_why why = {""};
	struct chain c;
	(void)state;

	memset(longer, 'x', sizeof longer);
	begin(&c);
	add(&c, "a", 1);
	add(&c, longer, sizeof longer);
	add(&c, "b", 1);
	assert_in_range(c.runs.b.n, 1, AGI_PROOF_TEXT_MAX);
	assert_int_equal(follow_all(&w, agi_buf_str(&c.runs.b), &why), AGI_OK);
	assert_string_equal(w.head, c.head);
	agi_proof_runs_free(&c.runs);
}

static void a_run_left_out_is_told_and_the_rest_followed(void **state)
{
	struct agi_proof_walk w = {.has_head = false};
	struct agi_why why = {""};
	struct chain c;
	(void)state;

	begin(&c);
	add(&c, "a", 1);
	assert_int_equal(follow_all(&w, agi_buf_str(&c.runs.b), &why), AGI_OK);
	agi_proof_runs_reset(&c.runs);
	add(&c, "lost", 4);
	agi_proof_runs_reset(&c.runs);
	add(&c, "b", 1);
	assert_int_equal(follow_all(&w, agi_buf_str(&c.runs.b), &why), AGI_E_CORRUPT);
	assert_non_null(strstr(why.text, "missing"));
	assert_string_equal(w.head, c.head);
	agi_proof_runs_free(&c.runs);
}

static void a_changed_byte_shows_at_the_next_run(void **state)
{
	struct agi_why why = {""};
	struct chain c;
	size_t first;
	(void)state;

	begin(&c);
	add(&c, "a", 1);
	first = c.runs.b.n;
	for (size_t i = 4 + 4; i < first; i++) { /* behind the lengths of the run and of its head */
		struct agi_proof_walk w = {.has_head = false};
		struct agi_proof_runs next;
		struct chain changed = c;
		enum agi_err e;

		agi_proof_runs_init(&next);
		changed.runs = next;
		add(&changed, "b", 1);
		c.runs.b.p[i] ^= 1;
		e = follow_all(&w, agi_buf_str(&c.runs.b), &why);
		if (e == AGI_OK)
			e = follow_all(&w, agi_buf_str(&changed.runs.b), &why);
		assert_int_not_equal(e, AGI_OK);
		c.runs.b.p[i] ^= 1;
		agi_proof_runs_free(&changed.runs);
	}
	agi_proof_runs_free(&c.runs);
}

static void any_bytes_are_an_error_and_no_crash(void **state)
{
	uint64_t x = 88172645463325252u;
	char bytes[200];
	(void)state;

	for (int i = 0; i < 20000; i++) {
		struct agi_proof_walk w = {.has_head = false};
		struct agi_why why = {""};
		size_t n = 0;

		do {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			bytes[n] = (char)(n < 8 && x % 4 ? 0 : x % 97);
			n++;
		} while (n < sizeof bytes && x % 61);
		(void)!agi_proof_follow(&w, (struct agi_str){bytes, n}, &why);
	}
}

static void rows_that_nobody_takes_are_bounded_and_lost(void **state)
{
	struct chain c;
	(void)state;

	begin(&c);
	for (int i = 0; i < 80000 && !c.runs.b.err; i++)
		add(&c, "step_a_1764000000", 17);
	assert_int_not_equal(c.runs.b.err, AGI_OK);
	assert_true(c.runs.b.n <= AGI_PROOF_RUNS_BYTES);
	agi_proof_runs_reset(&c.runs);
	assert_int_equal(c.runs.b.err, AGI_OK);
	agi_proof_runs_free(&c.runs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_chain_is_followed_through_runs_of_bounded_size),
	    cmocka_unit_test(texts_too_long_to_keep_leave_the_chain_whole),
	    cmocka_unit_test(a_run_left_out_is_told_and_the_rest_followed),
	    cmocka_unit_test(a_changed_byte_shows_at_the_next_run),
	    cmocka_unit_test(any_bytes_are_an_error_and_no_crash),
	    cmocka_unit_test(rows_that_nobody_takes_are_bounded_and_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
