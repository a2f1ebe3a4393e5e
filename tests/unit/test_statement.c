/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/prng.h"
#include "roles/safety_gateway/statement.h"

static uint8_t pub[AGI_PUBKEY_BYTES], sec[AGI_SECKEY_BYTES];
static struct agi_id self;

static int make_key(void **state)
{
	const uint8_t seed[AGI_SEED_BYTES] = {7};

	(void)state;
	agi_keypair_of_seed(seed, pub, sec);
	agi_blake2b_256(self.b, &(struct agi_str){(char *)pub, sizeof pub}, 1);
	return agi_crypto_init();
}

static struct agi_statement random_statement(struct agi_prng *r)
{
	struct agi_statement s = {.decision = (enum agi_decision)(1 + agi_prng_below(r, 4)), .risk = 0.25,
	                          .bond_index = -1.0, .policy_epoch = agi_prng_u64(r), .stop_epoch = 3,
	                          .gateway = self, .incarnation = 9, .at_ms = agi_prng_u64(r)};

	s.plan_hash[5] = (uint8_t)agi_prng_u64(r);
	s.nonce[3] = (uint8_t)agi_prng_u64(r);
	s.policy_hash[31] = (uint8_t)agi_prng_u64(r);
	return s;
}

static void a_statement_comes_back_as_it_went(void **state)
{
	uint8_t bytes[AGI_STATEMENT_BYTES], again[AGI_STATEMENT_BYTES];
	struct agi_statement s, back;
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 1);
	for (int i = 0; i < 200; i++) {
		s = random_statement(&r);
		agi_statement_encode(bytes, &s);
		assert_int_equal(agi_statement_decode(&back, (struct agi_str){(char *)bytes, sizeof bytes}), AGI_OK);
		agi_statement_encode(again, &back);
		assert_memory_equal(bytes, again, sizeof bytes);
		assert_true(back.decision == s.decision && back.at_ms == s.at_ms && back.risk == s.risk);
	}
	bytes[49] = 0; /* the decision */
	assert_int_equal(agi_statement_decode(&back, (struct agi_str){(char *)bytes, sizeof bytes}), AGI_E_MALFORMED);
	assert_int_equal(agi_statement_decode(&back, (struct agi_str){(char *)bytes, 10}), AGI_E_MALFORMED);
}

/* Every size of batch, every place in it; then each single bit of one is turned. */
static void every_statement_of_a_batch_verifies_and_no_changed_one_does(void **state)
{
	static struct agi_signed_statement all[AGI_STATEMENT_BATCH];
	struct agi_signed_statement *list[AGI_STATEMENT_BATCH];
	static struct agi_signed_roots seen;
	struct agi_why why;
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 2);
	for (size_t n = 1; n <= AGI_STATEMENT_BATCH; n += n < 20 ? 1 : 59) {
		for (size_t i = 0; i < n; i++) {
			struct agi_statement s = random_statement(&r);

			agi_statement_encode(all[i].bytes, &s);
			list[i] = &all[i];
		}
		agi_statements_sign(list, n, sec);
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(agi_statement_verify(&all[i], NULL, &seen, &why), AGI_OK);
			if (n > 1) {
				struct agi_signed_statement moved = all[i];

				moved.index = (moved.index + 1) % moved.count;
				assert_int_not_equal(agi_statement_verify(&moved, NULL, &seen, &why), AGI_OK);
			}
		}
		assert_int_equal(agi_statement_verify(&all[0], NULL, NULL, &why), AGI_OK);
	}
	assert_in_range(seen.n, 20, AGI_SIGNED_ROOTS); /* one for each batch */
	for (size_t bit = 0; bit < 8 * sizeof all[0].bytes; bit++) {
		struct agi_signed_statement bad = all[3];

		bad.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(agi_statement_verify(&bad, NULL, &seen, &why), AGI_OK);
	}
	for (size_t bit = 0; bit < 8 * AGI_SIG_BYTES; bit++) {
		struct agi_signed_statement bad = all[3];

		bad.sig[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(agi_statement_verify(&bad, NULL, &seen, &why), AGI_OK);
	}
}

static void another_key_cannot_speak_for_a_gateway(void **state)
{
	struct agi_signed_statement s = {.count = 1}, *list[] = {&s};
	const uint8_t seed[AGI_SEED_BYTES] = {8};
	uint8_t other_pub[AGI_PUBKEY_BYTES], other[AGI_SECKEY_BYTES];
	struct agi_statement said = {.decision = AGI_DECISION_ALLOW, .gateway = self};
	struct agi_why why;

	(void)state;
	agi_keypair_of_seed(seed, other_pub, other);
	agi_statement_encode(s.bytes, &said);
	agi_statements_sign(list, 1, other);
	assert_int_equal(agi_statement_verify(&s, NULL, NULL, &why), AGI_E_AUTH);
	memcpy(s.pubkey, pub, sizeof pub); /* nor by naming the right key beside the wrong signature */
	assert_int_equal(agi_statement_verify(&s, NULL, NULL, &why), AGI_E_AUTH);
}

static void policies_that_decide_differently_have_different_hashes(void **state)
{
	const struct agi_str tools[] = {{"a", 1}, {"bc", 2}}, cut[] = {{"ab", 2}, {"c", 1}};
	struct agi_gateway_policy p, q;
	uint8_t a[32], b[32];

	(void)state;
	agi_gateway_policy_default(&p);
	agi_policy_hash(a, &p);
	q = p;
	agi_policy_hash(b, &q);
	assert_memory_equal(a, b, 32);
	q.bond_index_block += 0.01;
	agi_policy_hash(b, &q);
	assert_memory_not_equal(a, b, 32);
	q = p;
	q.eval.mode = AGI_EVAL_REFERENCE;
	agi_policy_hash(b, &q);
	assert_memory_not_equal(a, b, 32);
	p.banned = tools;
	q = p;
	q.banned = cut;
	p.n_banned = q.n_banned = 2;
	agi_policy_hash(a, &p);
	agi_policy_hash(b, &q);
	assert_memory_not_equal(a, b, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_statement_comes_back_as_it_went),
	    cmocka_unit_test(every_statement_of_a_batch_verifies_and_no_changed_one_does),
	    cmocka_unit_test(another_key_cannot_speak_for_a_gateway),
	    cmocka_unit_test(policies_that_decide_differently_have_different_hashes),
	};

	return cmocka_run_group_tests(tests, make_key, NULL);
}
