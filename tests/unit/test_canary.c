/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "roles/safety_gateway/canary.h"

/* r right, m missed, w wrong: the state after all of them. */
static struct agi_canary after(const char *runs)
{
	struct agi_canary c = {.state = AGI_CANARY_UNTRIED};

	for (; *runs; runs++)
		agi_canary_ran(&c, *runs == 'r' ? AGI_CANARY_RIGHT : *runs == 'm' ? AGI_CANARY_MISSED : AGI_CANARY_WRONG);
	return c;
}

static void a_gateway_is_offered_after_its_first_right_run_and_its_second_after_an_illness(void **state)
{
	(void)state;
	assert_int_equal(after("").state, AGI_CANARY_UNTRIED);
	assert_int_equal(after("mmmmm").state, AGI_CANARY_UNTRIED);
	assert_int_equal(after("mmmmmr").state, AGI_CANARY_PASSING);
	assert_int_equal(after("wr").state, AGI_CANARY_FAILING);
	assert_int_equal(after("wrmr").state, AGI_CANARY_FAILING);
	assert_int_equal(after("wrr").state, AGI_CANARY_PASSING);
	assert_int_equal(after("rmmmrr").state, AGI_CANARY_PASSING);
}

static void one_wrong_run_or_three_missed_in_a_row_end_it(void **state)
{
	(void)state;
	assert_int_equal(after("w").state, AGI_CANARY_FAILING);
	assert_int_equal(after("rw").state, AGI_CANARY_FAILING);
	assert_int_equal(after("rmm").state, AGI_CANARY_PASSING);
	assert_int_equal(after("rmmrmmr").state, AGI_CANARY_PASSING);
	assert_int_equal(after("rmmm").state, AGI_CANARY_FAILING);
	assert_int_equal(agi_canary_pause_ms(&(struct agi_canary){.state = AGI_CANARY_PASSING}), AGI_CANARY_MS);
	for (const char *runs = "mrmmm"; *runs; runs++) {
		struct agi_canary c = after(runs);

		assert_int_equal(agi_canary_pause_ms(&c), AGI_CANARY_RETRY_MS);
	}
}

static void who_was_wrong_is_not_believed_until_it_passes(void **state)
{
	(void)state;
	assert_false(after("rmmm").is_wrong);
	assert_true(after("rw").is_wrong);
	assert_true(after("rwr").is_wrong);
	assert_true(after("rwmmmr").is_wrong);
	assert_false(after("rwrr").is_wrong);
}

static enum agi_canary_found judged(bool is_harmless, enum agi_decision d, enum agi_check_cause cause, const char *why)
{
	struct agi_check_result r = {.decision = d, .cause = cause};
	struct agi_why found = {""};
	enum agi_canary_found f = agi_canary_judge(is_harmless, &r, &found);

	assert_string_equal(found.text, why);
	return f;
}

static void an_answer_is_right_for_the_right_reason_only(void **state)
{
	(void)state;
	assert_int_equal(judged(true, AGI_DECISION_ALLOW, AGI_CHECK_OK, ""), AGI_CANARY_RIGHT);
	assert_int_equal(judged(false, AGI_DECISION_BLOCK, AGI_CHECK_OK, ""), AGI_CANARY_RIGHT);
	assert_int_equal(judged(false, AGI_DECISION_BLOCK, AGI_CHECK_ERISML_TIMEOUT,
	                        "the harmful plan was not judged: ERISML_TIMEOUT: "), AGI_CANARY_MISSED);
	assert_int_equal(judged(false, AGI_DECISION_ALLOW, AGI_CHECK_OK, "the harmful plan was judged ALLOW: "),
	                 AGI_CANARY_WRONG);
	assert_int_equal(judged(true, AGI_DECISION_REVISE, AGI_CHECK_OK, "the harmless plan was judged REVISE: "),
	                 AGI_CANARY_WRONG);
	assert_int_equal(judged(true, AGI_DECISION_NONE, AGI_CHECK_OK, "the harmless plan was not judged: OK: "),
	                 AGI_CANARY_MISSED);
}

static void a_policy_keeps_its_rules_and_gets_the_default_thresholds(void **state)
{
	const struct agi_str banned[] = {AGI_STR("drill")};
	struct agi_gateway_policy strict, used;
	(void)state;

	agi_gateway_policy_default(&strict);
	strict.banned = banned;
	strict.n_banned = 1;
	strict.bond_index_block = strict.bond_index_warn = 0;
	strict.eval.physical_harm_threshold = 0;
	strict.eval.mode = AGI_EVAL_REFERENCE;
	strict.rule_set = (const struct agi_rules *)&strict; /* nobody may look */
	agi_canary_policy(&used, &strict);
	assert_null(used.rule_set);
	assert_true(used.banned == banned && used.n_banned == 1 && used.eval.mode == AGI_EVAL_REFERENCE);
	assert_true(used.bond_index_block > 0.2 && used.eval.physical_harm_threshold > 0.2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_gateway_is_offered_after_its_first_right_run_and_its_second_after_an_illness),
	    cmocka_unit_test(one_wrong_run_or_three_missed_in_a_row_end_it),
	    cmocka_unit_test(who_was_wrong_is_not_believed_until_it_passes),
	    cmocka_unit_test(an_answer_is_right_for_the_right_reason_only),
	    cmocka_unit_test(a_policy_keeps_its_rules_and_gets_the_default_thresholds),
	};

	return cmocka_run_group_tests_name("canary", tests, NULL, NULL);
}
