/* SPDX-License-Identifier: Apache-2.0
 * What an operator's rules do to a gateway's decisions, and to actions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "node/eval_codec.h"
#include "roles/safety_gateway/action.h"
#include "roles/safety_gateway/statement.h"
#include "rulefile/rule_file.h"

static const char rule_text[] =
    "version: 1\n"
    "rules:\n"
    "- {id: no_doors, layer: tactical, priority: 500, action: deny, reason: doors stay shut,\n"
    "   all: [{field: tool_id, op: '!=', value: door}]}\n"
    "- {id: ask, layer: strategic, priority: 100, action: defer, reason: ask somebody, when_absent: skip,\n"
    "   all: [{field: parameters.sure, op: '==', value: true}]}\n"
    "- {id: slow, layer: tactical, priority: 400, action: modify, reason: too fast, when_absent: skip,\n"
    "   modifications: {parameters.velocity: '1.5'}, all: [{field: parameters.velocity, op: '<=', value: 1.5}]}\n"
    "- {id: button, layer: reflex, priority: 1000, action: deny, stop: true, reason: the button is pressed,\n"
    "   all: [{field: signals.button, value: false}]}\n"
    "- {id: warm, layer: tactical, priority: 10, action: defer, reason: too warm, when_absent: skip,\n"
    "   all: [{field: metrics.heat, op: '<', value: 60}]}\n";

struct setup {
	struct agi_rules *rules;
	struct agi_gateway_policy policy;
	struct agi_erisml erisml;
	struct agi_pool pool;
	struct agi_check_result r;
};

static void set_up(struct setup *s, enum agi_eval_mode mode)
{
	struct agi_why why = {""};

	*s = (struct setup){0};
	if (agi_rule_file_parse("rules", agi_str_of(rule_text), &s->rules, &why))
		fail_msg("%s", why.text);
	agi_pool_init(&s->pool, 0);
	agi_gateway_policy_default(&s->policy);
	s->policy.eval.mode = mode;
	s->policy.rule_set = s->rules;
	s->erisml.policy = s->policy.eval;
}

static void tear_down(struct setup *s)
{
	agi_pool_free(&s->pool);
	agi_rules_free(s->rules);
}

static struct agi_plan_step step(const char *id, const char *tool, const struct agi_pair *param)
{
	return (struct agi_plan_step){.step_id = agi_str_of(id), .tool_id = agi_str_of(tool), .level = 1,
	                              .params = param, .n_params = param ? 1 : 0};
}

static void check(struct setup *s, const struct agi_plan_step *steps, size_t n)
{
	struct agi_plan plan = {.steps = steps, .n_steps = n};

	agi_gateway_check_here(&s->r, &s->policy, &s->erisml, 1700000000000000, &plan, &s->pool);
	assert_int_equal(s->pool.err, AGI_OK);
}

static bool has(const struct agi_strs *l, const char *text) { return agi_strs_has(l, agi_str_of(text)); }

static const struct agi_pair unsure = {AGI_STR("sure"), AGI_STR("false")}, fast = {AGI_STR("velocity"), AGI_STR("9")};

static void a_denied_step_blocks_the_plan_without_erisml(void **state)
{
	const struct agi_plan_step steps[] = {step("a", "report", NULL), step("b", "door", NULL), step("c", "report", &unsure)};
	const struct agi_plan plan = {.steps = steps, .n_steps = 3};
	struct agi_gateway_check c;
	struct setup s;

	(void)state;
	set_up(&s, AGI_EVAL_STRICT);
	assert_int_equal(agi_gateway_begin(&c, &s.policy, &plan, &s.pool, &s.r), AGI_GATEWAY_DONE);
	assert_int_equal(s.r.decision, AGI_DECISION_BLOCK);
	assert_string_equal(s.r.phase, "rule_check");
	assert_true(s.r.risk == agi_rule_risk(AGI_LAYER_TACTICAL, AGI_RULE_DENY, 500));
	assert_int_equal(s.r.n_steps, 2);
	assert_true(agi_str_eq(s.r.steps[0].step_id, AGI_STR("b")));
	assert_int_equal(s.r.steps[0].decision, AGI_DECISION_BLOCK);
	assert_true(has(&s.r.steps[0].reasons, "rule:no_doors: doors stay shut"));
	assert_int_equal(s.r.steps[1].decision, AGI_DECISION_DEFER);
	assert_true(has(&s.r.reasons, "rule:no_doors: doors stay shut") && has(&s.r.reasons, "rule:ask: ask somebody"));
	assert_int_equal(s.r.categories, 1u << AGI_RISK_RULE_VIOLATION);
	tear_down(&s);
}

static void rules_that_do_not_deny_are_held_against_what_erisml_says(void **state)
{
	const struct agi_plan_step good = step("a", "report", NULL), ask = step("b", "report", &unsure),
	                           slow = step("c", "report", &fast), harm = step("d", "delete", &fast);
	const struct agi_plan_step both[] = {slow, ask};
	struct setup s;

	(void)state;
	set_up(&s, AGI_EVAL_STRICT);
	check(&s, &good, 1);
	assert_int_equal(s.r.decision, AGI_DECISION_ALLOW);
	assert_true(has(&s.r.reasons, "All checks passed"));
	check(&s, &ask, 1);
	assert_int_equal(s.r.decision, AGI_DECISION_DEFER);
	assert_string_equal(s.r.phase, "rule_check");
	assert_true(s.r.has_bond); /* ErisML was asked */
	assert_true(s.r.risk == agi_rule_risk(AGI_LAYER_STRATEGIC, AGI_RULE_DEFER, 100));
	check(&s, &slow, 1);
	assert_int_equal(s.r.decision, AGI_DECISION_REVISE);
	assert_true(has(&s.r.reasons, "rule:slow: too fast"));
	assert_true(has(&s.r.reasons, "rule:slow: set parameters.velocity to 1.5"));
	check(&s, both, 2);
	assert_int_equal(s.r.decision, AGI_DECISION_DEFER);
	assert_int_equal(s.r.n_steps, 2);
	check(&s, &harm, 1);
	assert_int_equal(s.r.decision, AGI_DECISION_BLOCK);
	assert_string_equal(s.r.phase, "erisml_check");
	assert_true(has(&s.r.reasons, "Ethical veto: d") && has(&s.r.reasons, "rule:slow: too fast"));
	tear_down(&s);
}

static void without_erisml_the_answer_is_block_whatever_the_rules_say(void **state)
{
	const struct agi_plan_step slow = step("c", "report", &fast), good = step("a", "report", NULL);
	const struct agi_plan_step *const steps[] = {&slow, &good};
	struct setup s;

	(void)state;
	set_up(&s, AGI_EVAL_STRICT);
	for (int i = 0; i < 2; i++) {
		struct agi_plan plan = {.steps = steps[i], .n_steps = 1};

		agi_gateway_check_here(&s.r, &s.policy, NULL, 0, &plan, &s.pool);
		assert_int_equal(s.r.decision, AGI_DECISION_BLOCK);
		assert_int_equal(s.r.cause, AGI_CHECK_ERISML_UNAVAILABLE);
	}
	tear_down(&s);
}

static void rules_of_actions_say_nothing_of_plans(void **state)
{
	const struct agi_pair pressed = {AGI_STR("signals.button"), AGI_STR("true")};
	const struct agi_plan_step one = step("a", "report", &pressed);
	struct setup s;

	(void)state;
	set_up(&s, AGI_EVAL_STRICT);
	check(&s, &one, 1);
	assert_int_equal(s.r.decision, AGI_DECISION_ALLOW);
	tear_down(&s);
}

static void mode_reference_has_no_rules(void **state)
{
	const struct agi_plan_step one = step("a", "door", NULL);
	struct agi_action_check a;
	struct setup s;

	(void)state;
	set_up(&s, AGI_EVAL_REFERENCE);
	check(&s, &one, 1);
	assert_int_equal(s.r.decision, AGI_DECISION_ALLOW);
	agi_action_check(&a, &s.policy, &one, NULL, 0, &s.pool);
	assert_int_equal(a.decision, AGI_DECISION_ALLOW);
	tear_down(&s);
}

static void when_memory_runs_out_the_answer_is_block(void **state)
{
	const struct agi_plan_step steps[] = {step("a", "report", &fast), step("b", "report", &unsure)};
	const struct agi_plan plan = {.steps = steps, .n_steps = 2};
	struct agi_action_check a;
	struct setup s;

	(void)state;
	set_up(&s, AGI_EVAL_STRICT);
	for (size_t bytes = 1; bytes < 3000; bytes += 8) {
		struct agi_pool pool;

		agi_pool_init(&pool, bytes);
		agi_gateway_check_here(&s.r, &s.policy, &s.erisml, 0, &plan, &pool);
		assert_int_not_equal(s.r.decision, AGI_DECISION_ALLOW);
		assert_true(!pool.err || s.r.decision == AGI_DECISION_BLOCK);
		agi_pool_free(&pool);
		agi_pool_init(&pool, bytes);
		agi_action_check(&a, &s.policy, &steps[0], NULL, 0, &pool);
		assert_int_equal(a.decision, AGI_DECISION_BLOCK);
		agi_pool_free(&pool);
	}
	tear_down(&s);
}

static void actions_are_judged_by_their_readings(void **state)
{
	const struct agi_plan_step one = step("a", "report", NULL);
	struct agi_reading r[] = {{AGI_STR("button"), 0}, {AGI_STR("metrics.heat"), 20}};
	struct agi_action_check a;
	struct setup s;

	(void)state;
	set_up(&s, AGI_EVAL_STRICT);
	agi_action_check(&a, &s.policy, &one, r, 2, &s.pool);
	assert_int_equal(a.decision, AGI_DECISION_ALLOW);
	assert_int_equal(a.more.n, 0);
	r[1].value = 80;
	agi_action_check(&a, &s.policy, &one, r, 2, &s.pool);
	assert_int_equal(a.decision, AGI_DECISION_DEFER);
	assert_false(a.is_emergency_stop);
	assert_true(agi_str_eq(a.reason, AGI_STR("rule:warm: too warm")));
	r[0].value = 1;
	agi_action_check(&a, &s.policy, &one, r, 2, &s.pool);
	assert_int_equal(a.decision, AGI_DECISION_BLOCK);
	assert_true(a.is_emergency_stop);
	assert_true(a.risk == 1.0);
	r[0].value = NAN;
	agi_action_check(&a, &s.policy, &one, r, 2, &s.pool);
	assert_true(agi_str_eq(a.reason, AGI_STR("invalid_input:button")));
	agi_action_check(&a, &s.policy, &one, r, 0, &s.pool); /* a button that says nothing */
	assert_int_equal(a.decision, AGI_DECISION_BLOCK);
	assert_true(agi_str_eq(a.reason, AGI_STR("rule:button: the button is pressed; missing: signals.button")));
	agi_action_check(&a, &s.policy, NULL, &(struct agi_reading){AGI_STR("button"), 0}, 1, &s.pool);
	assert_int_equal(a.decision, AGI_DECISION_BLOCK); /* no step: its tool is missing, too */
	tear_down(&s);
}

static void rules_are_part_of_the_policys_hash_only_where_there_are_some(void **state)
{
	uint8_t with[32], without[32], other[32];
	struct agi_rules *rules;
	struct agi_why why;
	struct setup s;

	(void)state;
	set_up(&s, AGI_EVAL_STRICT);
	agi_policy_hash(with, &s.policy);
	s.policy.rule_set = NULL;
	agi_policy_hash(without, &s.policy);
	assert_memory_not_equal(with, without, 32);
	assert_int_equal(agi_rule_file_parse("r", AGI_STR("version: 1\nrules: [{id: a, layer: reflex, priority: 1, action: deny, "
	                                                  "reason: r, all: [{field: kind, op: eq, value: x}]}]"),
	                                     &rules, &why), AGI_OK);
	s.policy.rule_set = rules;
	agi_policy_hash(other, &s.policy);
	assert_memory_not_equal(with, other, 32);
	assert_memory_not_equal(without, other, 32);
	agi_rules_free(rules);
	tear_down(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_denied_step_blocks_the_plan_without_erisml),
	    cmocka_unit_test(rules_that_do_not_deny_are_held_against_what_erisml_says),
	    cmocka_unit_test(without_erisml_the_answer_is_block_whatever_the_rules_say),
	    cmocka_unit_test(rules_of_actions_say_nothing_of_plans),
	    cmocka_unit_test(mode_reference_has_no_rules),
	    cmocka_unit_test(when_memory_runs_out_the_answer_is_block),
	    cmocka_unit_test(actions_are_judged_by_their_readings),
	    cmocka_unit_test(rules_are_part_of_the_policys_hash_only_where_there_are_some),
	};

	return cmocka_run_group_tests_name("rules_gateway", tests, NULL, NULL);
}
