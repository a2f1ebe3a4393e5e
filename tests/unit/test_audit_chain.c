/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "roles/audit/chain.h"
#include "roles/audit/action.h"
#include "roles/audit/outcome.h"
#include "roles/audit/policy_change.h"

enum { ENTRIES = 12, HEAD_AT = 7 };

static uint8_t sec[AGI_SECKEY_BYTES];
static struct agi_id self;

struct made {
	struct agi_buf b;
	size_t at[ENTRIES + 1]; /* where each record begins */
	struct agi_audit_chain end;
};

static int make_keys(void **state)
{
	const uint8_t seed[AGI_SEED_BYTES] = {1};
	uint8_t pub[AGI_PUBKEY_BYTES];
	(void)state;

	agi_keypair_of_seed(seed, pub, sec);
	agi_id_of_pubkey(&self, pub);
	return agi_crypto_init();
}

static struct agi_audit_decision a_decision(uint8_t n)
{
	return (struct agi_audit_decision){.plan_hash = {n}, .nonce = {n, 1}, .decision = AGI_DECISION_BLOCK, .risk = 0.5,
	                                   .bond_index = -1, .policy_hash = {3}, .policy_epoch = 4, .stop_epoch = 5,
	                                   .latency_us = 250, .cause = AGI_STR("VOTED"), .plan_id = AGI_STR("plan")};
}

/* A start, decisions, a head. */
static struct made make(void)
{
	struct made m = {.end = {.node = self, .incarnation = 3}};
	const struct agi_audit_start first = {.cut_bytes = 0};
	struct agi_buf body;

	agi_buf_init(&m.b, 0);
	for (uint8_t i = 0; i < ENTRIES; i++) {
		struct agi_audit_decision d = a_decision(i);

		m.at[i] = m.b.n;
		agi_buf_init(&body, 0);
		if (i == 0)
			agi_audit_start_encode(&body, &first);
		else
			agi_audit_decision_encode(&body, &d);
		if (i == HEAD_AT)
			assert_true(agi_audit_append_head(&m.end, &m.b, 1000 + i, sec));
		else
			assert_true(agi_audit_append(&m.end, &m.b, i ? AGI_AUDIT_DECISION : AGI_AUDIT_START, 1000 + i,
			                             agi_buf_str(&body)));
		agi_buf_free(&body);
	}
	m.at[ENTRIES] = m.b.n;
	assert_int_equal(m.b.err, AGI_OK);
	return m;
}

/* Findings in these records; *bad: they cannot be read to their end. */
static int findings(struct agi_str records, bool *bad, struct agi_audit_walk *w)
{
	struct agi_cur c = agi_cur_of(records);
	struct agi_audit_entry e;
	const uint8_t *hash;
	struct agi_str bytes;
	int n = 0;

	*w = (struct agi_audit_walk){.has_last = false};
	while (agi_audit_next_record(&c, &bytes, &hash))
		n += agi_audit_follow(w, bytes, hash, &e, NULL) != AGI_OK;
	*bad = c.bad;
	return n;
}

static int found(struct agi_str records)
{
	struct agi_audit_walk w;
	bool bad;

	return findings(records, &bad, &w) + bad;
}

static void an_untouched_chain_has_no_findings(void **state)
{
	struct made m = make();
	struct agi_audit_walk w;
	bool bad;
	(void)state;

	assert_int_equal(findings(agi_buf_str(&m.b), &bad, &w), 0);
	assert_false(bad);
	assert_int_equal(w.seq, ENTRIES - 1);
	assert_memory_equal(w.last, m.end.last, sizeof w.last);
	agi_buf_free(&m.b);
}

static void any_changed_byte_is_found(void **state)
{
	struct made m = make();
	(void)state;

	for (size_t i = 0; i < m.b.n; i++) {
		m.b.p[i] ^= 0x40;
		assert_true(found(agi_buf_str(&m.b)) > 0);
		m.b.p[i] ^= 0x40;
	}
	agi_buf_free(&m.b);
}

static void one_changed_entry_is_one_finding_at_its_place(void **state)
{
	struct made m = make();
	struct agi_audit_walk w = {.has_last = false};
	struct agi_cur c = agi_cur_of(agi_buf_str(&m.b));
	struct agi_audit_entry e;
	const uint8_t *hash;
	struct agi_str bytes;
	(void)state;

	m.b.p[m.at[5] - AGI_AUDIT_HASH - 2] ^= 1; /* in the body of entry 4 */
	while (agi_audit_next_record(&c, &bytes, &hash)) {
		enum agi_err err = agi_audit_follow(&w, bytes, hash, &e, NULL);

		assert_int_equal(err, w.seq == 4 ? AGI_E_CORRUPT : AGI_OK);
	}
	agi_buf_free(&m.b);
}

static void an_entry_changed_with_its_hash_breaks_the_next(void **state)
{
	struct made m = make();
	size_t n = m.at[5] - m.at[4];
	(void)state;

	m.b.p[m.at[5] - AGI_AUDIT_HASH - 2] ^= 1;
	agi_audit_hash(m.b.p + m.at[5] - AGI_AUDIT_HASH,
	               (struct agi_str){(char *)m.b.p + m.at[4] + 4, n - AGI_AUDIT_RECORD_EXTRA});
	assert_int_equal(found(agi_buf_str(&m.b)), 1);
	agi_buf_free(&m.b);
}

/* The records of m in another order; n of them. */
static int found_in_order(const struct made *m, const int *order, int n)
{
	struct agi_buf b;
	int found_n;

	agi_buf_init(&b, 0);
	for (int i = 0; i < n; i++)
		agi_buf_put(&b, m->b.p + m->at[order[i]], m->at[order[i] + 1] - m->at[order[i]]);
	found_n = found(agi_buf_str(&b));
	agi_buf_free(&b);
	return found_n;
}

static void removed_inserted_and_swapped_entries_are_found(void **state)
{
	struct made m = make();
	int order[ENTRIES + 1];
	(void)state;

	for (int at = 1; at < ENTRIES - 1; at++) {
		int n = 0;

		for (int i = 0; i < ENTRIES; i++)
			if (i != at)
				order[n++] = i;
		assert_true(found_in_order(&m, order, n) > 0); /* removed */
		n = 0;
		for (int i = 0; i < ENTRIES; i++) {
			order[n++] = i;
			if (i == at)
				order[n++] = i;
		}
		assert_true(found_in_order(&m, order, n) > 0); /* twice */
		for (int i = 0; i < ENTRIES; i++)
			order[i] = i == at ? at + 1 : i == at + 1 ? at : i;
		assert_true(found_in_order(&m, order, ENTRIES) > 0); /* swapped */
	}
	agi_buf_free(&m.b);
}

static void a_chain_written_anew_lacks_the_signature(void **state)
{
	struct agi_audit_chain forged = {.node = self, .incarnation = 3};
	const uint8_t seed[AGI_SEED_BYTES] = {2};
	uint8_t pub[AGI_PUBKEY_BYTES], other[AGI_SECKEY_BYTES];
	struct agi_buf b;
	(void)state;

	agi_keypair_of_seed(seed, pub, other);
	agi_buf_init(&b, 0);
	assert_true(agi_audit_append(&forged, &b, AGI_AUDIT_START, 1, AGI_STR("x")));
	assert_int_equal(found(agi_buf_str(&b)), 0);
	assert_true(agi_audit_append_head(&forged, &b, 2, other));
	assert_int_equal(found(agi_buf_str(&b)), 1);
	agi_buf_free(&b);
}

static void lives_follow_each_other(void **state)
{
	struct made m = make();
	struct agi_audit_chain next = m.end, skipped = m.end;
	const size_t before = m.b.n;
	(void)state;

	next.incarnation = 4;
	next.next_seq = 0;
	assert_true(agi_audit_append(&next, &m.b, AGI_AUDIT_START, 2000, AGI_STR("x")));
	assert_int_equal(found(agi_buf_str(&m.b)), 0);
	m.b.n = before;
	skipped.incarnation = 4; /* does not begin at 0 */
	assert_true(agi_audit_append(&skipped, &m.b, AGI_AUDIT_START, 2000, AGI_STR("x")));
	assert_int_equal(found(agi_buf_str(&m.b)), 1);
	agi_buf_free(&m.b);
}

static void a_torn_end_is_told_from_a_whole_one(void **state)
{
	struct made m = make();
	struct agi_audit_walk w;
	bool bad;
	(void)state;

	for (size_t n = m.at[ENTRIES - 1]; n < m.b.n; n++) {
		assert_int_equal(findings((struct agi_str){(char *)m.b.p, n}, &bad, &w), 0);
		assert_int_equal(bad, n != m.at[ENTRIES - 1]);
		assert_int_equal(w.seq, ENTRIES - 2);
	}
	agi_buf_free(&m.b);
}

static void bodies_come_back_as_they_were(void **state)
{
	struct agi_audit_decision d = a_decision(9), back;
	struct agi_audit_start s = {true, 7, 99, 12}, start;
	struct agi_buf b;
	(void)state;

	agi_buf_init(&b, 0);
	agi_audit_decision_encode(&b, &d);
	assert_int_equal(agi_audit_decision_decode(&back, agi_buf_str(&b)), AGI_OK);
	assert_memory_equal(back.plan_hash, d.plan_hash, 32);
	assert_memory_equal(back.nonce, d.nonce, 16);
	assert_true(back.decision == d.decision && back.risk == d.risk && back.bond_index == d.bond_index);
	assert_true(back.policy_epoch == 4 && back.stop_epoch == 5 && back.latency_us == 250);
	assert_true(agi_str_eq(back.cause, d.cause) && agi_str_eq(back.plan_id, d.plan_id) && !back.certificate.n);
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(agi_audit_decision_decode(&back, (struct agi_str){(char *)b.p, n}), AGI_E_MALFORMED);
	agi_buf_reset(&b);
	agi_audit_start_encode(&b, &s);
	assert_int_equal(agi_audit_start_decode(&start, agi_buf_str(&b)), AGI_OK);
	assert_true(start.has_before && start.incarnation == 7 && start.seq == 99 && start.cut_bytes == 12);
	agi_buf_free(&b);
}

static void expect_event_id(const struct agi_audit_outcome *o, const char *text)
{
	struct agi_buf b;

	agi_buf_init(&b, 0);
	agi_audit_outcome_event_id(&b, o);
	assert_true(agi_str_eq(agi_buf_str(&b), agi_str_of(text)));
	agi_buf_free(&b);
}

static void an_outcome_comes_back_bit_for_bit(void **state)
{
	struct agi_audit_outcome o = {.report_hash = {5}, .at_s = 1700000000, .is_success = true, .actual_harm = -0.0f,
	                              .plan_id = AGI_STR("p"), .step_id = AGI_STR("s_1"), .proof_hash = AGI_STR("ab"),
	                              .description = AGI_STR("gripped")}, back;
	const uint32_t odd = 0x7fc00123; /* no number */
	struct agi_buf b;
	(void)state;

	memcpy(&o.predicted_risk, &odd, sizeof odd);
	agi_buf_init(&b, 0);
	agi_audit_outcome_encode(&b, &o);
	assert_int_equal(agi_audit_outcome_decode(&back, agi_buf_str(&b)), AGI_OK);
	assert_memory_equal(back.report_hash, o.report_hash, 32);
	assert_memory_equal(&back.predicted_risk, &o.predicted_risk, 4);
	assert_memory_equal(&back.actual_harm, &o.actual_harm, 4);
	assert_true(back.is_success && !back.is_cut && back.at_s == o.at_s);
	assert_true(agi_str_eq(back.plan_id, o.plan_id) && agi_str_eq(back.step_id, o.step_id));
	assert_true(agi_str_eq(back.proof_hash, o.proof_hash) && agi_str_eq(back.description, o.description));
	expect_event_id(&back, "outcome_p_s_1_1700000000");
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(agi_audit_outcome_decode(&back, (struct agi_str){(char *)b.p, n}), AGI_E_MALFORMED);
	agi_buf_free(&b);
}

static void a_long_description_is_cut_between_characters_and_a_long_id_refused(void **state)
{
	enum { LONG = AGI_OUTCOME_TEXT_MAX + 5 };
	static char text[LONG];
	struct agi_audit_outcome o = {.description = {text, LONG}}, back;
	struct agi_why why = {""};
	struct agi_buf b;
	(void)state;

	memset(text, 'x', LONG);
	text[AGI_OUTCOME_TEXT_MAX - 1] = (char)0xc3; /* the first half of one */
	text[AGI_OUTCOME_TEXT_MAX] = (char)0xa4;
	agi_buf_init(&b, 0);
	agi_audit_outcome_encode(&b, &o);
	assert_int_equal(agi_audit_outcome_decode(&back, agi_buf_str(&b)), AGI_OK);
	assert_true(back.is_cut && back.description.n == AGI_OUTCOME_TEXT_MAX - 1);
	agi_buf_free(&b);
	assert_int_equal(agi_audit_outcome_check(&o, &why), AGI_OK);
	o.step_id = (struct agi_str){text, AGI_OUTCOME_ID_MAX + 1};
	assert_int_equal(agi_audit_outcome_check(&o, &why), AGI_E_INVALID);
	assert_string_equal(why.text, "step_id: 1025 bytes, at most 1024");
}

static void who_changed_the_policy_when_and_why_comes_back(void **state)
{
	const struct agi_audit_policy p = {.before_epoch = 1, .epoch = 2, .before_hash = {3}, .hash = {4}, .at_ms = 5,
	                                   .is_looser = true, .reason = AGI_STR("why"), .author = AGI_STR("who"),
	                                   .node = AGI_STR("where")};
	struct agi_audit_policy back;
	struct agi_buf b;
	(void)state;

	agi_buf_init(&b, 0);
	agi_audit_policy_encode(&b, &p);
	assert_int_equal(agi_audit_policy_decode(&back, agi_buf_str(&b)), AGI_OK);
	assert_true(back.before_epoch == 1 && back.epoch == 2 && back.at_ms == 5 && back.is_looser);
	assert_true(back.before_hash[0] == 3 && back.hash[0] == 4 && agi_str_eq(back.node, p.node));
	assert_true(agi_str_eq(back.reason, p.reason) && agi_str_eq(back.author, p.author));
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(agi_audit_policy_decode(&back, (struct agi_str){(char *)b.p, n}), AGI_E_MALFORMED);
	agi_buf_free(&b);
}

static void what_was_decided_of_actions_and_reflexes_comes_back(void **state)
{
	const struct agi_audit_action a = {.request_hash = {7}, .decision = AGI_DECISION_BLOCK, .is_emergency_stop = true,
	                                   .risk = 1, .stop_epoch = 3, .plan_id = AGI_STR("p"), .step_id = AGI_STR("s"),
	                                   .tool_id = AGI_STR("arm"), .reason = AGI_STR("Collision imminent")};
	struct agi_audit_reflexes r = {.from_ms = 1, .to_ms = 2, .stop_epoch = 3, .safe = 4, .unsafe = 500, .allowed = 6,
	                               .n = AGI_REFLEX_ROWS}, many;
	struct agi_audit_action back;
	struct agi_buf b;
	(void)state;

	agi_buf_init(&b, 0);
	agi_audit_action_encode(&b, &a);
	assert_int_equal(agi_audit_action_decode(&back, agi_buf_str(&b)), AGI_OK);
	assert_true(back.decision == a.decision && back.is_emergency_stop && back.risk == 1 && back.stop_epoch == 3);
	assert_true(back.request_hash[0] == 7 && agi_str_eq(back.plan_id, a.plan_id) && agi_str_eq(back.step_id, a.step_id));
	assert_true(agi_str_eq(back.tool_id, a.tool_id) && agi_str_eq(back.reason, a.reason));
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(agi_audit_action_decode(&back, (struct agi_str){(char *)b.p, n}), AGI_E_MALFORMED);
	agi_buf_reset(&b);
	for (uint32_t i = 0; i < r.n; i++)
		r.rows[i] = (struct agi_audit_reflex){(float)i, 0.5f, i % 2 == 1};
	agi_audit_reflexes_encode(&b, &r);
	assert_int_equal(agi_audit_reflexes_decode(&many, agi_buf_str(&b)), AGI_OK);
	assert_true(many.from_ms == 1 && many.to_ms == 2 && many.stop_epoch == 3);
	assert_true(many.safe == 4 && many.unsafe == 500 && many.allowed == 6 && many.n == r.n);
	for (uint32_t i = 0; i < r.n; i++)
		assert_true(many.rows[i].harm_risk == (float)i && many.rows[i].is_flagged == (i % 2 == 1));
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(agi_audit_reflexes_decode(&many, (struct agi_str){(char *)b.p, n}), AGI_E_MALFORMED);
	agi_buf_free(&b);
}

static void a_witness_takes_the_senders_entries_only(void **state)
{
	struct made m = make();
	struct agi_cur c = agi_cur_of(agi_buf_str(&m.b));
	const struct agi_id other = {{1}};
	const uint8_t *hash;
	struct agi_str bytes;
	struct agi_buf batch;
	(void)state;

	agi_buf_init(&batch, 0);
	assert_int_equal(agi_audit_check_batch(agi_buf_str(&batch), &self), AGI_E_MALFORMED);
	for (int i = 0; agi_audit_next_record(&c, &bytes, &hash); i++)
		if (i % 3)
			agi_audit_put_entry(&batch, bytes);
	assert_int_equal(agi_audit_check_batch(agi_buf_str(&batch), &self), AGI_OK);
	assert_int_equal(agi_audit_check_batch(agi_buf_str(&batch), &other), AGI_E_MALFORMED);
	batch.n--;
	assert_int_equal(agi_audit_check_batch(agi_buf_str(&batch), &self), AGI_E_MALFORMED);
	batch.n++;
	agi_audit_put_entry(&batch, (struct agi_str){(char *)m.b.p + 4, m.at[1] - AGI_AUDIT_RECORD_EXTRA}); /* an older one */
	assert_int_equal(agi_audit_check_batch(agi_buf_str(&batch), &self), AGI_E_MALFORMED);
	agi_buf_free(&batch);
	agi_buf_free(&m.b);
}

static struct agi_audit_entry entry_of(const struct agi_buf *body)
{
	return (struct agi_audit_entry){.kind = AGI_AUDIT_DECISION, .node = self, .body = agi_buf_str(body)};
}

static void a_decision_needs_the_certificate_that_proves_it(void **state)
{
	struct agi_statement said = {.plan_hash = {1}, .nonce = {2}, .decision = AGI_DECISION_ALLOW, .bond_index = -1,
	                             .gateway = self};
	struct agi_certificate cert = {.plan_hash = {1}, .nonce = {2}, .decision = AGI_DECISION_ALLOW, .electorate = 1,
	                               .needed = 1, .router = self, .n_asked = 1, .asked = {self}, .n_votes = 1};
	struct agi_signed_statement *list[] = {&cert.votes[0]};
	struct agi_audit_decision d = a_decision(1);
	const struct agi_id other = {{1}};
	struct agi_buf b, body;
	struct agi_audit_entry e;
	(void)state;

	agi_statement_encode(cert.votes[0].bytes, &said);
	agi_statements_sign(list, 1, sec);
	agi_buf_init(&b, 0);
	agi_certificate_encode(&b, &cert);
	memcpy(d.nonce, (uint8_t[16]){2}, 16);
	d.decision = AGI_DECISION_ALLOW;
	for (int with = 0; with < 2; with++) {
		d.certificate = with ? agi_buf_str(&b) : (struct agi_str){NULL, 0};
		agi_buf_init(&body, 0);
		agi_audit_decision_encode(&body, &d);
		e = entry_of(&body);
		assert_int_equal(agi_audit_check_decision(&e, NULL, 0, NULL), with ? AGI_OK : AGI_E_AUTH);
		assert_int_equal(agi_audit_check_decision(&e, &other, 1, NULL), AGI_E_AUTH);
		e.node = other; /* somebody else's decision */
		assert_int_equal(agi_audit_check_decision(&e, NULL, 0, NULL), AGI_E_AUTH);
		agi_buf_free(&body);
	}
	d.plan_hash[0] = 9;
	agi_buf_init(&body, 0);
	agi_audit_decision_encode(&body, &d);
	e = entry_of(&body);
	assert_int_equal(agi_audit_check_decision(&e, NULL, 0, NULL), AGI_E_AUTH);
	agi_buf_free(&body);
	agi_buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_untouched_chain_has_no_findings),
	    cmocka_unit_test(any_changed_byte_is_found),
	    cmocka_unit_test(one_changed_entry_is_one_finding_at_its_place),
	    cmocka_unit_test(an_entry_changed_with_its_hash_breaks_the_next),
	    cmocka_unit_test(removed_inserted_and_swapped_entries_are_found),
	    cmocka_unit_test(a_chain_written_anew_lacks_the_signature),
	    cmocka_unit_test(lives_follow_each_other),
	    cmocka_unit_test(a_torn_end_is_told_from_a_whole_one),
	    cmocka_unit_test(bodies_come_back_as_they_were),
	    cmocka_unit_test(an_outcome_comes_back_bit_for_bit),
	    cmocka_unit_test(what_was_decided_of_actions_and_reflexes_comes_back),
	    cmocka_unit_test(who_changed_the_policy_when_and_why_comes_back),
	    cmocka_unit_test(a_long_description_is_cut_between_characters_and_a_long_id_refused),
	    cmocka_unit_test(a_witness_takes_the_senders_entries_only),
	    cmocka_unit_test(a_decision_needs_the_certificate_that_proves_it),
	};

	return cmocka_run_group_tests_name("audit chain", tests, make_keys, NULL);
}
