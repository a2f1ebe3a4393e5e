/* SPDX-License-Identifier: Apache-2.0
 * What a router takes for a vote. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/limits.h"
#include "roles/safety_gateway/poll.h"

static uint8_t sec[2][AGI_SECKEY_BYTES];
static struct agi_id id[2];
static const struct agi_poll poll = {.plan_hash = {1}, .nonce = {2}, .policy_hash = {3}, .policy_epoch = 4,
                                         .stop_epoch = 5, .stop_epoch_now = 5, .asked_ms = 1000000, .now_ms = 1000050};

static int make_keys(void **state)
{
	(void)state;
	for (uint8_t i = 0; i < 2; i++) {
		const uint8_t seed[AGI_SEED_BYTES] = {i + 1};
		uint8_t pub[AGI_PUBKEY_BYTES];

		agi_keypair_of_seed(seed, pub, sec[i]);
		agi_id_of_pubkey(&id[i], pub);
	}
	return agi_crypto_init();
}

static struct agi_statement statement(enum agi_decision d)
{
	return (struct agi_statement){.plan_hash = {1}, .nonce = {2}, .policy_hash = {3}, .policy_epoch = 4,
	                              .stop_epoch = 5, .at_ms = 1000020, .decision = d, .gateway = id[0]};
}

static struct agi_signed_statement sign(const struct agi_statement *said, const uint8_t key[AGI_SECKEY_BYTES])
{
	struct agi_signed_statement s, *list[] = {&s};

	memset(&s, 0, sizeof s);
	agi_statement_encode(s.bytes, said);
	agi_statements_sign(list, 1, key);
	return s;
}

static void expect(const struct agi_statement *said, enum agi_decision told, enum agi_check_cause cause)
{
	struct agi_signed_statement s = sign(said, sec[0]);

	assert_string_equal(agi_check_cause_name(agi_poll_judge(&poll, &id[0], told, &s, NULL)),
	                    agi_check_cause_name(cause));
}

static void a_vote_for_this_check_counts(void **state)
{
	(void)state;
	for (int d = AGI_DECISION_ALLOW; d < AGI_DECISION_COUNT; d++) {
		struct agi_statement s = statement((enum agi_decision)d);

		expect(&s, (enum agi_decision)d, AGI_CHECK_OK);
	}
}

static void a_vote_that_is_not_what_was_signed_is_contradictory(void **state)
{
	struct agi_statement s = statement(AGI_DECISION_BLOCK);

	(void)state;
	expect(&s, AGI_DECISION_ALLOW, AGI_CHECK_VOTE_CONTRADICTORY);
	s = statement(AGI_DECISION_ALLOW);
	s.gateway = id[1]; /* in the name of another one */
	expect(&s, AGI_DECISION_ALLOW, AGI_CHECK_VOTE_CONTRADICTORY);
}

static void a_vote_for_another_plan_or_check_is_replayed(void **state)
{
	for (int d = AGI_DECISION_ALLOW; d < AGI_DECISION_COUNT; d++) {
		struct agi_statement plan = statement((enum agi_decision)d), check = plan;

		plan.plan_hash[31] ^= 1;
		expect(&plan, plan.decision, AGI_CHECK_VOTE_REPLAYED);
		check.nonce[15] ^= 1;
		expect(&check, check.decision, AGI_CHECK_VOTE_REPLAYED);
	}
	(void)state;
}

static void another_policy_or_stop_epoch_does_not_allow(void **state)
{
	(void)state;
	for (int d = AGI_DECISION_ALLOW; d < AGI_DECISION_BLOCK; d++) {
		struct agi_statement s = statement((enum agi_decision)d);

		s.policy_hash[0] ^= 1;
		expect(&s, s.decision, AGI_CHECK_POLICY_MISMATCH);
		for (int by = -1; by <= 1; by += 2) {
			s = statement((enum agi_decision)d);
			s.policy_epoch += (uint64_t)by;
			expect(&s, s.decision, AGI_CHECK_POLICY_MISMATCH);
			s = statement((enum agi_decision)d);
			s.stop_epoch += (uint64_t)by;
			expect(&s, s.decision, AGI_CHECK_VOTE_STOP_STALE);
			s.decision = AGI_DECISION_BLOCK;
			expect(&s, AGI_DECISION_BLOCK, AGI_CHECK_OK);
		}
	}
}

static void news_of_a_stop_ends_what_has_begun(void **state)
{
	const struct agi_statement said = statement(AGI_DECISION_ALLOW);
	const struct agi_signed_statement s = sign(&said, sec[0]);
	struct agi_poll b = poll;

	(void)state;
	b.stop_epoch_now = 6;
	assert_int_equal(agi_poll_judge(&b, &id[0], AGI_DECISION_ALLOW, &s, NULL), AGI_CHECK_VOTE_STOP_STALE);
}

static void a_clock_that_is_far_off_does_not_allow(void **state)
{
	static const uint64_t wrong[] = {0, 1000000 - AGI_VOTE_SKEW_MS - 1, 1000050 + AGI_VOTE_SKEW_MS + 1, UINT64_MAX};
	static const uint64_t right[] = {1000000 - AGI_VOTE_SKEW_MS, 1000050 + AGI_VOTE_SKEW_MS};
	struct agi_statement s = statement(AGI_DECISION_ALLOW);

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		s.at_ms = wrong[i];
		expect(&s, AGI_DECISION_ALLOW, AGI_CHECK_VOTE_CLOCK_OFF);
	}
	for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
		s.at_ms = right[i];
		expect(&s, AGI_DECISION_ALLOW, AGI_CHECK_OK);
	}
}

static void a_wrong_signature_does_not_allow(void **state)
{
	const struct agi_statement said = statement(AGI_DECISION_ALLOW);
	struct agi_signed_statement s = sign(&said, sec[0]);
	struct agi_signed_roots seen = {.n = 0};

	(void)state;
	assert_int_equal(agi_poll_judge(&poll, &id[0], AGI_DECISION_ALLOW, &s, &seen), AGI_CHECK_OK);
	assert_int_equal(seen.n, 1);
	assert_int_equal(agi_poll_judge(&poll, &id[0], AGI_DECISION_ALLOW, &s, &seen), AGI_CHECK_OK);
	assert_int_equal(seen.n, 1);
	for (size_t bit = 0; bit < 8 * sizeof s.sig; bit += 7) {
		struct agi_signed_statement bad = s;

		bad.sig[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(agi_poll_judge(&poll, &id[0], AGI_DECISION_ALLOW, &bad, &seen),
		                 AGI_CHECK_VOTE_SIGNATURE_WRONG);
	}
	s = sign(&said, sec[1]); /* by another key */
	assert_int_equal(agi_poll_judge(&poll, &id[0], AGI_DECISION_ALLOW, &s, &seen), AGI_CHECK_VOTE_SIGNATURE_WRONG);
	s.bytes[0] ^= 0xff; /* no statement of a version known here */
	assert_int_equal(agi_poll_judge(&poll, &id[0], AGI_DECISION_ALLOW, &s, &seen), AGI_CHECK_VOTE_MALFORMED);
}

static void signatures_can_be_verified_later_but_not_of_whoever_is_in_doubt(void **state)
{
	const struct agi_statement said = statement(AGI_DECISION_ALLOW);
	struct agi_signed_statement s[2] = {sign(&said, sec[0]), sign(&said, sec[0])};
	struct agi_signed_roots seen = {.n = 0};
	struct agi_doubts doubts = {0};
	struct agi_poll b = poll;

	(void)state;
	b.doubts = &doubts;
	b.now_us = 7;
	s[1].sig[0] ^= 1;
	assert_int_equal(agi_poll_judge(&b, &id[0], AGI_DECISION_ALLOW, &s[1], &seen), AGI_CHECK_OK);
	assert_true(agi_poll_confirm(&b, s, 1, &seen));
	assert_int_equal(agi_poll_judge(&b, &id[0], AGI_DECISION_ALLOW, &s[1], &seen), AGI_CHECK_OK);
	assert_false(agi_poll_confirm(&b, s, 2, &seen));
	assert_int_equal(agi_poll_judge(&b, &id[0], AGI_DECISION_ALLOW, &s[1], &seen), AGI_CHECK_VOTE_SIGNATURE_WRONG);
	assert_int_equal(agi_poll_judge(&b, &id[0], AGI_DECISION_ALLOW, &s[0], &seen), AGI_CHECK_OK);
	b.now_us += AGI_DOUBT_US;
	assert_int_equal(agi_poll_judge(&b, &id[0], AGI_DECISION_ALLOW, &s[1], &seen), AGI_CHECK_OK);
	b.router = id[0]; /* its own: it knows */
	assert_true(agi_poll_confirm(&b, s, 2, &seen));
}

static void more_doubts_than_there_is_room_for_displace_the_oldest(void **state)
{
	struct agi_statement said = statement(AGI_DECISION_ALLOW);
	struct agi_signed_roots seen = {.n = 0};
	struct agi_doubts doubts = {0};
	struct agi_poll b = poll;

	(void)state;
	b.doubts = &doubts;
	for (uint8_t i = 0; i <= AGI_DOUBTS; i++) {
		struct agi_signed_statement s;

		said.gateway.b[0] = i;
		s = sign(&said, sec[0]); /* not its key */
		b.now_us++;
		assert_false(agi_poll_confirm(&b, &s, 1, &seen));
		assert_int_equal(agi_poll_judge(&b, &said.gateway, AGI_DECISION_ALLOW, &s, &seen),
		                 AGI_CHECK_VOTE_SIGNATURE_WRONG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_vote_for_this_check_counts),
	    cmocka_unit_test(a_vote_that_is_not_what_was_signed_is_contradictory),
	    cmocka_unit_test(a_vote_for_another_plan_or_check_is_replayed),
	    cmocka_unit_test(another_policy_or_stop_epoch_does_not_allow),
	    cmocka_unit_test(news_of_a_stop_ends_what_has_begun),
	    cmocka_unit_test(a_clock_that_is_far_off_does_not_allow),
	    cmocka_unit_test(a_wrong_signature_does_not_allow),
	    cmocka_unit_test(signatures_can_be_verified_later_but_not_of_whoever_is_in_doubt),
	    cmocka_unit_test(more_doubts_than_there_is_room_for_displace_the_oldest),
	};

	return cmocka_run_group_tests_name("poll", tests, make_keys, NULL);
}
