/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/prng.h"
#include "roles/safety_gateway/certificate.h"

enum { GATEWAYS = 5 };
static uint8_t sec[GATEWAYS][AGI_SECKEY_BYTES];
static struct agi_id id[GATEWAYS];

static int make_keys(void **state)
{
	(void)state;
	for (uint8_t i = 0; i < GATEWAYS; i++) {
		const uint8_t seed[AGI_SEED_BYTES] = {i + 1};
		uint8_t pub[AGI_PUBKEY_BYTES];

		agi_keypair_of_seed(seed, pub, sec[i]);
		agi_id_of_pubkey(&id[i], pub);
	}
	return agi_crypto_init();
}

static struct agi_statement statement(int gateway, enum agi_decision d)
{
	return (struct agi_statement){.plan_hash = {1}, .nonce = {2}, .decision = d, .policy_hash = {3},
	                              .bond_index = -1.0, .gateway = id[gateway]};
}

static void add(struct agi_certificate *c, int key, const struct agi_statement *said)
{
	struct agi_signed_statement *s = &c->votes[c->n_votes++], *list[] = {s};

	agi_statement_encode(s->bytes, said);
	agi_statements_sign(list, 1, sec[key]);
}

/* Votes of gateways 0 … n - 1. */
static struct agi_certificate make(enum agi_decision concluded, uint8_t electorate, const enum agi_decision *votes,
                                   int n)
{
	struct agi_certificate c = {.plan_hash = {1}, .nonce = {2}, .decision = concluded, .electorate = electorate,
	                            .needed = (uint8_t)agi_vote_majority(electorate)};

	for (int i = 0; i < GATEWAYS; i++)
		c.asked[c.n_asked++] = id[i];
	for (int i = 0; i < n; i++) {
		struct agi_statement s = statement(i, votes[i]);

		add(&c, i, &s);
	}
	return c;
}

static enum agi_err judge(const struct agi_certificate *c, struct agi_certificate_finding *f)
{
	struct agi_why why;

	return agi_certificate_judge(c, NULL, 0, f, &why);
}

/* Against a slow twin: all multisets of up to five votes, all electorates, all conclusions. */
static void only_what_enough_of_the_electorate_carry_is_proved(void **state)
{
	static const enum agi_decision all[] = {AGI_DECISION_ALLOW, AGI_DECISION_REVISE, AGI_DECISION_DEFER,
	                                        AGI_DECISION_BLOCK};
	static struct agi_certificate_finding f;
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 3);
	for (int round = 0; round < 400; round++) {
		enum agi_decision votes[GATEWAYS], concluded = all[agi_prng_below(&r, 4)];
		int n = (int)agi_prng_below(&r, GATEWAYS + 1), allow = 0;
		uint8_t electorate = (uint8_t)(1 + agi_prng_below(&r, GATEWAYS));
		struct agi_certificate c;

		for (int i = 0; i < n; i++)
			allow += (votes[i] = all[agi_prng_below(&r, 4)]) == AGI_DECISION_ALLOW;
		c = make(concluded, electorate, votes, n);
		c.needed += (uint8_t)agi_prng_below(&r, c.electorate - c.needed + 1);
		if (concluded == AGI_DECISION_BLOCK)
			assert_int_equal(judge(&c, &f), AGI_OK); /* needs no proof */
		if (concluded == AGI_DECISION_ALLOW)
			assert_int_equal(judge(&c, &f) == AGI_OK, allow >= c.needed);
		if (judge(&c, &f) == AGI_OK)
			assert_true(concluded >= f.proved);
		assert_int_equal(f.valid, n);
	}
}

static void votes_that_are_not_for_this_check_do_not_count(void **state)
{
	const enum agi_decision votes[] = {AGI_DECISION_ALLOW};
	static struct agi_certificate_finding f;
	struct agi_certificate ok, c;
	struct agi_statement s;

	(void)state;
	ok = make(AGI_DECISION_ALLOW, 3, votes, 1);
	s = statement(1, AGI_DECISION_ALLOW);
	c = ok;
	add(&c, 1, &s);
	assert_int_equal(judge(&c, &f), AGI_OK);
	c = ok; /* by another key */
	add(&c, 2, &s);
	assert_int_equal(judge(&c, &f), AGI_E_AUTH);
	c = ok; /* the same gateway twice */
	s = statement(0, AGI_DECISION_ALLOW);
	add(&c, 0, &s);
	assert_int_equal(judge(&c, &f), AGI_E_AUTH);
	s = statement(1, AGI_DECISION_ALLOW);
	for (int what = 0; what < 5; what++) {
		struct agi_statement other = s;

		other.plan_hash[0] += what == 0;
		other.nonce[0] += what == 1;
		other.policy_hash[0] += what == 2;
		other.policy_epoch += what == 3;
		other.stop_epoch += what == 4;
		c = ok;
		add(&c, 1, &other);
		assert_int_equal(judge(&c, &f), AGI_E_AUTH);
		assert_false(f.is_valid[1]);
		assert_true(f.why[1].text[0] != '\0');
	}
	c = make(AGI_DECISION_BLOCK, 3, votes, 0); /* who blocks by another policy, or knows of a stop, does not matter */
	c.decision = AGI_DECISION_ALLOW;
	s = statement(2, AGI_DECISION_BLOCK);
	s.policy_epoch++;
	s.stop_epoch++;
	add(&c, 2, &s);
	for (int i = 0; i < 2; i++) {
		s = statement(i, AGI_DECISION_ALLOW);
		add(&c, i, &s);
	}
	assert_int_equal(judge(&c, &f), AGI_OK);
	s = statement(1, AGI_DECISION_ALLOW);
	c = ok; /* it held no seat */
	add(&c, 1, &s);
	c.asked[1] = id[4];
	assert_int_equal(judge(&c, &f), AGI_E_AUTH);
}

static void with_a_list_of_gateways_only_those_count(void **state)
{
	const enum agi_decision votes[] = {AGI_DECISION_ALLOW, AGI_DECISION_ALLOW, AGI_DECISION_ALLOW};
	static struct agi_certificate_finding f;
	struct agi_certificate c = make(AGI_DECISION_ALLOW, 3, votes, 3);
	struct agi_why why;

	(void)state;
	assert_int_equal(agi_certificate_judge(&c, id, 2, &f, &why), AGI_OK);
	assert_int_equal(f.valid, 2);
	assert_int_equal(agi_certificate_judge(&c, id, 1, &f, &why), AGI_E_AUTH);
}

static void bytes_come_back_as_they_went_and_no_others_are_taken(void **state)
{
	const enum agi_decision votes[] = {AGI_DECISION_ALLOW, AGI_DECISION_BLOCK};
	struct agi_certificate c = make(AGI_DECISION_BLOCK, 3, votes, 2), back;
	struct agi_buf b, again;

	(void)state;
	agi_buf_init(&b, 0);
	agi_buf_init(&again, 0);
	agi_certificate_encode(&b, &c);
	assert_int_equal(agi_certificate_decode(&back, agi_buf_str(&b)), AGI_OK);
	agi_certificate_encode(&again, &back);
	assert_int_equal(b.n, again.n);
	assert_memory_equal(b.p, again.p, b.n);
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(agi_certificate_decode(&back, (struct agi_str){(char *)b.p, n}), AGI_E_MALFORMED);
	for (size_t i = 0; i < b.n; i++) { /* whatever changes: no crash */
		b.p[i] ^= 0xff;
		(void)!agi_certificate_decode(&back, agi_buf_str(&b));
		b.p[i] ^= 0xff;
	}
	agi_buf_free(&b);
	agi_buf_free(&again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_what_enough_of_the_electorate_carry_is_proved),
	    cmocka_unit_test(votes_that_are_not_for_this_check_do_not_count),
	    cmocka_unit_test(with_a_list_of_gateways_only_those_count),
	    cmocka_unit_test(bytes_come_back_as_they_went_and_no_others_are_taken),
	};

	return cmocka_run_group_tests(tests, make_keys, NULL);
}
