/* SPDX-License-Identifier: Apache-2.0
 * Rules: every operator with its edges, what is refused, and order, stop and risk against a slow twin. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/number.h"
#include "base/prng.h"
#include "roles/rules/rules.h"

/* --- helpers ------------------------------------------------------------------------------------------------------ */
static struct agi_rule_value number(double v) { return (struct agi_rule_value){AGI_VALUE_NUMBER, v, {NULL, 0}}; }
static struct agi_rule_value truth(bool v) { return (struct agi_rule_value){AGI_VALUE_TRUTH, v, {NULL, 0}}; }
static struct agi_rule_value text(const char *z)
{
	return (struct agi_rule_value){AGI_VALUE_TEXT, 0, agi_str_of(z)};
}

static struct agi_cond test_of(const char *field, enum agi_rule_op op, const struct agi_rule_value *v, size_t n)
{
	return (struct agi_cond){
	    .kind = AGI_COND_TEST, .field = agi_str_of(field), .op = op, .values = v, .n_values = n};
}

static struct agi_rule rule_of(const char *id, const struct agi_cond *parts, size_t n)
{
	return (struct agi_rule){.id = agi_str_of(id),
	                         .scope = AGI_RULE_OF_BOTH,
	                         .cond = {.kind = AGI_COND_ALL, .parts = parts, .n_parts = n},
	                         .action = AGI_RULE_DENY,
	                         .reason = AGI_STR("because")};
}

static struct agi_rules *set_of(const struct agi_rule *rules, size_t n)
{
	struct agi_rules *s;
	struct agi_why why = {""};

	assert_int_equal(agi_rules_new(&s), AGI_OK);
	for (size_t i = 0; i < n; i++)
		if (agi_rules_add(s, &rules[i], &why))
			fail_msg("%s", why.text);
	assert_int_equal(agi_rules_seal(s), AGI_OK);
	return s;
}

static const struct agi_str tags[] = {AGI_STR("night"), AGI_STR("lab")};

/* Judges one rule whose only test is of this field, with params p = value and a reading. */
static bool holds(const struct agi_rule_subject *subject, struct agi_cond test)
{
	struct agi_rule rule = rule_of("r", &test, 1);
	struct agi_rules *s = set_of(&rule, 1);
	struct agi_rule_finding f;
	struct agi_pool pool;

	agi_pool_init(&pool, 0);
	agi_rules_judge(s, subject, &pool, &f);
	assert_int_equal(pool.err, AGI_OK);
	agi_pool_free(&pool);
	agi_rules_free(s);
	return f.decision == AGI_DECISION_ALLOW;
}

static bool param_holds(const char *value, enum agi_rule_op op, const struct agi_rule_value *v, size_t n)
{
	struct agi_pair params[] = {{AGI_STR("other"), AGI_STR("1")}, {AGI_STR("a.b"), agi_str_of(value)}};
	struct agi_plan_step step = {.params = params, .n_params = 2};
	struct agi_rule_subject s = {AGI_RULE_OF_PLANS, &step, NULL, 0};

	return holds(&s, test_of("parameters.a.b", op, v, n));
}

static bool param_is(const char *value, enum agi_rule_op op, struct agi_rule_value v)
{
	return param_holds(value, op, &v, 1);
}

static bool reading_is(float value, enum agi_rule_op op, struct agi_rule_value v)
{
	struct agi_reading r = {AGI_STR("force"), value};
	struct agi_rule_subject s = {AGI_RULE_OF_ACTIONS, NULL, &r, 1};

	return holds(&s, test_of("signals.force", op, &v, 1));
}

/* --- numbers ------------------------------------------------------------------------------------------------------- */
static void only_finite_decimals_are_numbers(void **state)
{
	static const char *const good[] = {"0", "-1", "+2.5", ".5", "5.", "1e3", "1E-3", "0007"};
	static const char *const bad[] = {"", "-", ".", "e3", "1e", "1e+", "0x10", "inf", "nan", "-inf", " 1", "1 ",
	                                  "1,5", "1_000", "1e999", "1.2.3", "--1"};
	double v = 42;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(agi_number_parse(agi_str_of(good[i]), &v));
	v = 42;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(agi_number_parse(agi_str_of(bad[i]), &v));
	assert_false(agi_number_parse((struct agi_str){"1\0", 2}, &v));
	assert_true(v == 42);
	assert_true(agi_number_parse(AGI_STR("-12.25e1"), &v));
	assert_true(v == -122.5);
}

/* --- operators ------------------------------------------------------------------------------------------------------ */
static void comparisons_hold_exactly_where_they_say(void **state)
{
	(void)state;
	assert_true(param_is("100", AGI_OP_LE, number(100)));
	assert_false(param_is("100.0001", AGI_OP_LE, number(100)));
	assert_false(param_is("100", AGI_OP_LT, number(100)));
	assert_true(param_is("99.9", AGI_OP_LT, number(100)));
	assert_true(param_is("100", AGI_OP_GE, number(100)));
	assert_false(param_is("100", AGI_OP_GT, number(100)));
	assert_true(param_is("1e2", AGI_OP_EQ, number(100)));
	assert_false(param_is("1e2", AGI_OP_NE, number(100)));
	assert_true(param_is("7", AGI_OP_NE, number(100)));
	assert_true(param_is("lab", AGI_OP_EQ, text("lab")));
	assert_false(param_is("Lab", AGI_OP_EQ, text("lab")));
	assert_true(param_is("Lab", AGI_OP_NE, text("lab")));
	assert_true(param_is("True", AGI_OP_EQ, truth(true)));
	assert_true(param_is("false", AGI_OP_EQ, truth(false)));
	assert_true(param_is("false", AGI_OP_NE, truth(true)));
}

static void ranges_hold_their_ends_inside(void **state)
{
	const struct agi_rule_value v[] = {number(-2), number(2)};

	(void)state;
	assert_true(param_holds("-2", AGI_OP_WITHIN, v, 2));
	assert_true(param_holds("2", AGI_OP_WITHIN, v, 2));
	assert_false(param_holds("2.01", AGI_OP_WITHIN, v, 2));
	assert_true(param_holds("2.01", AGI_OP_OUTSIDE, v, 2));
	assert_true(param_holds("-3", AGI_OP_OUTSIDE, v, 2));
	assert_false(param_holds("-2", AGI_OP_OUTSIDE, v, 2));
}

static void lists_hold_their_members(void **state)
{
	const struct agi_rule_value names[] = {text("rm -rf"), text("dd"), text(":(){:|:&};:")};
	const struct agi_rule_value numbers[] = {number(1), number(2.5)};

	(void)state;
	assert_true(param_holds("dd", AGI_OP_IN, names, 3));
	assert_false(param_holds("dd ", AGI_OP_IN, names, 3));
	assert_false(param_holds(":(){:|:&};:", AGI_OP_NOT_IN, names, 3));
	assert_true(param_holds("ls", AGI_OP_NOT_IN, names, 3));
	assert_true(param_holds("", AGI_OP_NOT_IN, names, 3));
	assert_true(param_holds("2.50", AGI_OP_IN, numbers, 2));
	assert_true(param_holds("3", AGI_OP_NOT_IN, numbers, 2));
}

static void texts_are_searched_byte_for_byte(void **state)
{
	(void)state;
	assert_true(param_is("the lab door", AGI_OP_CONTAINS, text("lab")));
	assert_false(param_is("the door", AGI_OP_CONTAINS, text("lab")));
	assert_true(param_is("lab/door", AGI_OP_STARTS_WITH, text("lab/")));
	assert_false(param_is("la", AGI_OP_STARTS_WITH, text("lab/")));
	assert_true(param_is("a.pdf", AGI_OP_ENDS_WITH, text(".pdf")));
	assert_false(param_is("pdf", AGI_OP_ENDS_WITH, text(".pdf")));
	assert_true(param_is("door_17", AGI_OP_MATCHES, text("door_\\d+$")));
	assert_false(param_is("door_x", AGI_OP_MATCHES, text("door_\\d+$")));
}

static void what_cannot_be_compared_does_not_hold_whatever_the_operator_is(void **state)
{
	const struct agi_rule_value range[] = {number(0), number(1)};
	static const enum agi_rule_op of_numbers[] = {AGI_OP_EQ, AGI_OP_NE, AGI_OP_GT, AGI_OP_GE, AGI_OP_LT,
	                                              AGI_OP_LE, AGI_OP_IN, AGI_OP_NOT_IN};
	static const char *const no_numbers[] = {"", "ten", "nan", "inf", "-inf", "0x1", "true", "1 "};

	(void)state;
	for (size_t i = 0; i < sizeof no_numbers / sizeof *no_numbers; i++) {
		for (size_t k = 0; k < sizeof of_numbers / sizeof *of_numbers; k++)
			assert_false(param_is(no_numbers[i], of_numbers[k], number(5)));
		assert_false(param_holds(no_numbers[i], AGI_OP_WITHIN, range, 2));
		assert_false(param_holds(no_numbers[i], AGI_OP_OUTSIDE, range, 2));
	}
	assert_false(param_is("yes", AGI_OP_EQ, truth(true)));
	assert_false(param_is("yes", AGI_OP_NE, truth(true)));
	assert_false(param_is("1", AGI_OP_EQ, truth(true)));
}

static void a_reading_that_is_no_number_does_not_hold(void **state)
{
	static const enum agi_rule_op of_numbers[] = {AGI_OP_EQ, AGI_OP_NE, AGI_OP_GT, AGI_OP_GE, AGI_OP_LT,
	                                              AGI_OP_LE, AGI_OP_IN, AGI_OP_NOT_IN};
	static const float bad[] = {NAN, INFINITY, -INFINITY};

	(void)state;
	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < sizeof of_numbers / sizeof *of_numbers; k++)
			assert_false(reading_is(bad[i], of_numbers[k], number(5)));
	assert_true(reading_is(5.0f, AGI_OP_EQ, number(5)));
	assert_true(reading_is(0.0f, AGI_OP_EQ, truth(false)));
	assert_true(reading_is(-0.0f, AGI_OP_EQ, truth(false)));
	assert_true(reading_is(1.0f, AGI_OP_EQ, truth(true)));
	assert_false(reading_is(0.5f, AGI_OP_EQ, truth(true)));
	assert_false(reading_is(0.5f, AGI_OP_NE, truth(true)));
}

/* --- fields --------------------------------------------------------------------------------------------------------- */
static void every_field_of_a_step_is_found(void **state)
{
	struct agi_plan_step step = {.step_id = AGI_STR("s1"), .index = 3, .level = 2, .kind = AGI_STR("action"),
	                             .description = AGI_STR("open"), .parent_id = AGI_STR("s0"),
	                             .tool_id = AGI_STR("door"), .requires_simulation = true, .tags = tags, .n_tags = 2};
	struct agi_rule_subject s = {AGI_RULE_OF_PLANS, &step, NULL, 0}, none = {AGI_RULE_OF_PLANS, NULL, NULL, 0};
	const struct agi_rule_value door = text("door"), s1 = text("s1"), s0 = text("s0"), action = text("action"),
	                            open_text = text("open"), two = number(2), three = number(3), yes = truth(true),
	                            lab = text("lab"), day = text("day");
	const struct agi_cond good[] = {
	    test_of("tool_id", AGI_OP_EQ, &door, 1),      test_of("step_id", AGI_OP_EQ, &s1, 1),
	    test_of("parent_id", AGI_OP_EQ, &s0, 1),      test_of("kind", AGI_OP_EQ, &action, 1),
	    test_of("description", AGI_OP_EQ, &open_text, 1), test_of("level", AGI_OP_EQ, &two, 1),
	    test_of("index", AGI_OP_EQ, &three, 1),       test_of("requires_simulation", AGI_OP_EQ, &yes, 1),
	    test_of("tags", AGI_OP_CONTAINS, &lab, 1),    test_of("tags.1", AGI_OP_EQ, &lab, 1)};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_true(holds(&s, good[i]));
		assert_false(holds(&none, good[i]));
	}
	assert_false(holds(&s, test_of("tags", AGI_OP_CONTAINS, &day, 1)));
	assert_false(holds(&s, test_of("tags.2", AGI_OP_NE, &day, 1)));
	assert_false(holds(&s, test_of("parameters.x", AGI_OP_NE, &day, 1)));
}

static void what_a_step_says_of_sensors_is_worth_nothing_in_an_action(void **state)
{
	struct agi_pair params[] = {{AGI_STR("signals.force"), AGI_STR("1")}, {AGI_STR("metrics.gini"), AGI_STR("0.1")}};
	struct agi_plan_step step = {.params = params, .n_params = 2};
	struct agi_reading readings[] = {{AGI_STR("force"), 500}, {AGI_STR("metrics.gini"), 0.75f}};
	struct agi_rule_subject plan = {AGI_RULE_OF_PLANS, &step, readings, 2};
	struct agi_rule_subject action = {AGI_RULE_OF_ACTIONS, &step, readings, 2};
	struct agi_rule_subject blind = {AGI_RULE_OF_ACTIONS, &step, NULL, 0};
	const struct agi_rule_value hundred = number(100), third = number(0.3);
	const struct agi_cond force = test_of("signals.force", AGI_OP_LE, &hundred, 1);
	const struct agi_cond gini = test_of("metrics.gini", AGI_OP_LE, &third, 1);

	(void)state;
	assert_true(holds(&plan, force));
	assert_true(holds(&plan, gini));
	assert_false(holds(&action, force));
	assert_false(holds(&action, gini));
	assert_false(holds(&blind, force));
	assert_false(holds(&blind, gini));
}

/* --- groups, scopes, absence ---------------------------------------------------------------------------------------- */
struct judged {
	enum agi_decision decision;
	double risk;
	bool is_stop;
	size_t n_reasons;
	char first[200];
};

static struct judged judge(const struct agi_rule *rules, size_t n, const struct agi_rule_subject *subject)
{
	struct agi_rules *s = set_of(rules, n);
	struct agi_rule_finding f;
	struct judged j;
	struct agi_pool pool;

	agi_pool_init(&pool, 0);
	agi_rules_judge(s, subject, &pool, &f);
	j = (struct judged){f.decision, f.risk, f.is_stop, f.reasons.n, ""};
	if (f.reasons.n)
		memcpy(j.first, f.reasons.p[0].p, f.reasons.p[0].n < 199 ? f.reasons.p[0].n : 199);
	agi_pool_free(&pool);
	agi_rules_free(s);
	return j;
}

static void groups_are_all_and_any(void **state)
{
	const struct agi_rule_value two = number(2), half = number(0.5), slow = number(0.3);
	const struct agi_cond near[] = {test_of("signals.distance", AGI_OP_GE, &half, 1),
	                                test_of("signals.velocity", AGI_OP_LE, &slow, 1)};
	const struct agi_cond parts[] = {test_of("signals.distance", AGI_OP_GE, &two, 1),
	                                 {.kind = AGI_COND_ALL, .parts = near, .n_parts = 2}};
	struct agi_rule rule = rule_of("human", parts, 2);
	static const struct {
		float distance, velocity;
		bool is_good;
	} rows[] = {{3, 9, true}, {2, 9, true}, {1, 0.25f, true}, {1, 0.5f, false}, {0.25f, 0, false}};

	(void)state;
	rule.cond.kind = AGI_COND_ANY;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct agi_reading r[] = {{AGI_STR("distance"), rows[i].distance}, {AGI_STR("velocity"), rows[i].velocity}};
		struct agi_rule_subject s = {AGI_RULE_OF_ACTIONS, NULL, r, 2};

		assert_int_equal(judge(&rule, 1, &s).decision, rows[i].is_good ? AGI_DECISION_ALLOW : AGI_DECISION_BLOCK);
	}
}

static void a_rule_is_for_plans_or_actions_or_both(void **state)
{
	const struct agi_rule_value v = text("door");
	const struct agi_cond never = test_of("tool_id", AGI_OP_NE, &v, 1);
	struct agi_plan_step step = {.tool_id = AGI_STR("door")};
	struct agi_rule rule = rule_of("r", &never, 1);

	(void)state;
	for (unsigned scope = 1; scope <= 3; scope++)
		for (unsigned asked = 1; asked <= 2; asked++) {
			struct agi_rule_subject s = {(enum agi_rule_scope)asked, &step, NULL, 0};

			rule.scope = (enum agi_rule_scope)scope;
			assert_int_equal(judge(&rule, 1, &s).decision,
			                 scope & asked ? AGI_DECISION_BLOCK : AGI_DECISION_ALLOW);
		}
}

static void a_rule_without_scope_of_its_own_is_for_where_its_values_come_from(void **state)
{
	const struct agi_rule_value v = number(1);
	const struct agi_cond param = test_of("parameters.x", AGI_OP_EQ, &v, 1);
	const struct agi_cond both[] = {param, test_of("metrics.x", AGI_OP_EQ, &v, 1)};
	const struct agi_cond group = {.kind = AGI_COND_ANY, .parts = both, .n_parts = 2};
	const struct agi_cond deep = {.kind = AGI_COND_ALL, .parts = &group, .n_parts = 1};

	(void)state;
	assert_int_equal(agi_rule_scope_of(&param), AGI_RULE_OF_BOTH);
	assert_int_equal(agi_rule_scope_of(&both[1]), AGI_RULE_OF_ACTIONS);
	assert_int_equal(agi_rule_scope_of(&deep), AGI_RULE_OF_ACTIONS);
}

static void what_is_missing_violates_unless_all_of_it_is_and_the_rule_says_so(void **state)
{
	const struct agi_rule_value v = number(1);
	const struct agi_cond parts[] = {test_of("parameters.x", AGI_OP_EQ, &v, 1), test_of("parameters.y", AGI_OP_EQ, &v, 1)};
	struct agi_pair x = {AGI_STR("x"), AGI_STR("1")};
	struct agi_plan_step with_none = {.n_params = 0}, with_x = {.params = &x, .n_params = 1};
	struct agi_rule_subject none = {AGI_RULE_OF_PLANS, &with_none, NULL, 0}, some = {AGI_RULE_OF_PLANS, &with_x, NULL, 0};
	struct agi_rule rule = rule_of("r", parts, 2);
	struct judged j = judge(&rule, 1, &none);

	(void)state;
	assert_int_equal(j.decision, AGI_DECISION_BLOCK);
	assert_string_equal(j.first, "rule:r: because; missing: parameters.x");
	rule.skips_absent = true;
	assert_int_equal(judge(&rule, 1, &none).decision, AGI_DECISION_ALLOW);
	j = judge(&rule, 1, &some);
	assert_int_equal(j.decision, AGI_DECISION_BLOCK);
	assert_string_equal(j.first, "rule:r: because; missing: parameters.y");
}

static void a_modification_is_told_once_and_by_the_first(void **state)
{
	const struct agi_rule_value v = text("door");
	const struct agi_cond never = test_of("tool_id", AGI_OP_NE, &v, 1);
	const struct agi_pair slow = {AGI_STR("parameters.velocity"), AGI_STR("1.5")};
	struct agi_plan_step step = {.tool_id = AGI_STR("door")};
	struct agi_rule_subject s = {AGI_RULE_OF_PLANS, &step, NULL, 0};
	struct agi_rule rules[] = {rule_of("a", &never, 1), rule_of("b", &never, 1)};
	struct agi_rules *set;
	struct agi_rule_finding f;
	struct agi_pool pool;

	(void)state;
	for (int i = 0; i < 2; i++) {
		rules[i].action = AGI_RULE_MODIFY;
		rules[i].modify = &slow;
		rules[i].n_modify = 1;
	}
	set = set_of(rules, 2);
	agi_pool_init(&pool, 0);
	agi_rules_judge(set, &s, &pool, &f);
	assert_int_equal(f.decision, AGI_DECISION_REVISE);
	assert_int_equal(f.reasons.n, 3);
	assert_true(agi_strs_has(&f.reasons, AGI_STR("rule:a: because")));
	assert_true(agi_strs_has(&f.reasons, AGI_STR("rule:a: set parameters.velocity to 1.5")));
	assert_true(agi_strs_has(&f.reasons, AGI_STR("rule:b: because")));
	agi_pool_free(&pool);
	agi_rules_free(set);
}

/* --- order, stop, risk: a slow twin ----------------------------------------------------------------------------------- */
enum { RULES = 12, PARAMS = 6 };
struct twin_rule {
	int layer, action, priority, param; /* of this param: it must be "1" */
	bool is_done;
};

static const double layer_weight[] = {1.0, 0.7, 0.5}, action_weight[] = {0.3, 0.6, 1.0};

/* The next in order: searched for anew each time. */
static struct twin_rule *next_of(struct twin_rule *r, size_t n)
{
	struct twin_rule *best = NULL;

	for (size_t i = 0; i < n; i++)
		if (!r[i].is_done && (!best || r[i].layer < best->layer ||
		                      (r[i].layer == best->layer && r[i].priority > best->priority)))
			best = &r[i];
	return best;
}

static struct judged twin(struct twin_rule *r, size_t n, unsigned good_params)
{
	struct judged j = {AGI_DECISION_ALLOW, 0, false, 0, ""};
	bool is_modified = false;
	struct twin_rule *now;

	while ((now = next_of(r, n))) {
		double risk = 0.4 * layer_weight[now->layer] + 0.4 * action_weight[now->action] +
		              0.2 * fmin(1.0, now->priority / 1000.0);

		now->is_done = true;
		if (good_params >> now->param & 1)
			continue;
		j.risk = fmax(j.risk, fmin(1.0, risk));
		j.n_reasons++;
		if (now->action == AGI_RULE_DENY) {
			j.decision = AGI_DECISION_BLOCK;
			return j;
		}
		if (now->action == AGI_RULE_DEFER)
			j.decision = AGI_DECISION_DEFER;
		else if (j.decision == AGI_DECISION_ALLOW)
			j.decision = AGI_DECISION_REVISE;
		if (now->action == AGI_RULE_MODIFY && !is_modified) {
			j.n_reasons++;
			is_modified = true;
		}
	}
	return j;
}

static void order_stop_and_risk_are_those_of_a_slow_twin(void **state)
{
	static const char *const fields[PARAMS] = {"parameters.a", "parameters.b", "parameters.c",
	                                           "parameters.d", "parameters.e", "parameters.f"};
	static const char ids[RULES][4] = {"r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11"};
	const struct agi_rule_value one = number(1);
	const struct agi_pair slow = {AGI_STR("x"), AGI_STR("y")};
	struct agi_prng rng;
	size_t seen[AGI_DECISION_COUNT] = {0};

	(void)state;
	agi_prng_seed(&rng, 11);
	for (int round = 0; round < 3000; round++) {
		struct twin_rule twins[RULES];
		struct agi_cond conds[RULES];
		struct agi_rule rules[RULES];
		struct agi_pair params[PARAMS];
		size_t n = 1 + agi_prng_below(&rng, RULES);
		unsigned good = (unsigned)agi_prng_below(&rng, 1u << PARAMS) | (unsigned)agi_prng_below(&rng, 1u << PARAMS);
		struct judged a, b;

		for (size_t i = 0; i < n; i++) {
			int priority = (int)(agi_prng_below(&rng, 6) * 250);

			twins[i] = (struct twin_rule){(int)agi_prng_below(&rng, 3), (int)agi_prng_below(&rng, 3), priority,
			                              (int)agi_prng_below(&rng, PARAMS), false};
			conds[i] = test_of(fields[twins[i].param], AGI_OP_EQ, &one, 1);
			rules[i] = rule_of(ids[i], &conds[i], 1);
			rules[i].layer = (enum agi_rule_layer)twins[i].layer;
			rules[i].action = (enum agi_rule_action)twins[i].action;
			rules[i].priority = (uint32_t)priority;
			if (rules[i].action == AGI_RULE_MODIFY) {
				rules[i].modify = &slow;
				rules[i].n_modify = 1;
			}
		}
		for (size_t i = 0; i < PARAMS; i++)
			params[i] = (struct agi_pair){{fields[i] + 11, 1}, good >> i & 1 ? AGI_STR("1") : AGI_STR("0")};
		struct agi_plan_step step = {.params = params, .n_params = PARAMS};
		struct agi_rule_subject s = {AGI_RULE_OF_PLANS, &step, NULL, 0};

		a = judge(rules, n, &s);
		b = twin(twins, n, good);
		assert_int_equal(a.decision, b.decision);
		assert_true(a.risk == b.risk);
		assert_int_equal(a.n_reasons, b.n_reasons);
		seen[a.decision]++;
	}
	for (int d = AGI_DECISION_ALLOW; d < AGI_DECISION_COUNT; d++)
		assert_true(seen[d] > 50);
}

static void the_stop_comes_with_the_rule_that_denied(void **state)
{
	const struct agi_rule_value v = text("door");
	const struct agi_cond never = test_of("tool_id", AGI_OP_NE, &v, 1);
	struct agi_plan_step step = {.tool_id = AGI_STR("door")};
	struct agi_rule_subject s = {AGI_RULE_OF_ACTIONS, &step, NULL, 0};
	struct agi_rule rules[] = {rule_of("soft", &never, 1), rule_of("hard", &never, 1)};

	(void)state;
	rules[1].is_stop = true;
	rules[0].priority = 1;
	assert_false(judge(rules, 2, &s).is_stop);
	rules[1].priority = 2;
	assert_true(judge(rules, 2, &s).is_stop);
	assert_true(judge(rules, 2, &s).risk == fmin(1.0, 0.4 + 0.4 + 0.2 * (2 / 1000.0)));
}

/* --- what is refused, what is hashed ------------------------------------------------------------------------------------ */
static void refused(const struct agi_rule *r, const char *says)
{
	struct agi_rules *s;
	struct agi_why why = {""};

	assert_int_equal(agi_rules_new(&s), AGI_OK);
	assert_int_equal(agi_rules_add(s, r, &why), AGI_E_INVALID);
	if (!strstr(why.text, says))
		fail_msg("\"%s\" does not say \"%s\"", why.text, says);
	assert_int_equal(agi_rules_count(s), 0);
	agi_rules_free(s);
}

static void refused_test(const char *field, enum agi_rule_op op, const struct agi_rule_value *v, size_t n,
                         const char *says)
{
	const struct agi_cond test = test_of(field, op, v, n);
	struct agi_rule r = rule_of("r", &test, 1);

	refused(&r, says);
}

static void a_test_that_makes_no_sense_is_refused(void **state)
{
	const struct agi_rule_value word = text("x"), empty = text(""), nan_value = number(NAN), one = number(1),
	                            back[] = {number(2), number(1)}, mixed[] = {number(1), text("a")};

	(void)state;
	refused_test("force", AGI_OP_LE, &one, 1, "expected parameters.NAME");
	refused_test("parameters.", AGI_OP_LE, &one, 1, "expected parameters.NAME");
	refused_test("tags.x", AGI_OP_EQ, &word, 1, "expected parameters.NAME");
	refused_test("tags", AGI_OP_EQ, &word, 1, "expected contains");
	refused_test("parameters.x", AGI_OP_LE, &word, 1, "takes a number");
	refused_test("parameters.x", AGI_OP_LE, &nan_value, 1, "finite");
	refused_test("parameters.x", AGI_OP_LE, back, 2, "expected one");
	refused_test("parameters.x", AGI_OP_WITHIN, &one, 1, "[LOW, HIGH]");
	refused_test("parameters.x", AGI_OP_WITHIN, back, 2, "[LOW, HIGH]");
	refused_test("parameters.x", AGI_OP_IN, mixed, 2, "different kinds");
	refused_test("parameters.x", AGI_OP_IN, mixed, 0, "expected a list");
	refused_test("parameters.x", AGI_OP_CONTAINS, &one, 1, "takes a text");
	refused_test("parameters.x", AGI_OP_CONTAINS, &empty, 1, "takes a text");
	refused_test("parameters.x", AGI_OP_MATCHES, &empty, 1, "takes a text");
	refused_test("parameters.x", AGI_OPS, &one, 1, "no operator");
	refused_test("signals.x", AGI_OP_EQ, &word, 1, "is a number");
}

static void a_rule_that_makes_no_sense_is_refused(void **state)
{
	const struct agi_rule_value one = number(1);
	const struct agi_cond test = test_of("parameters.x", AGI_OP_EQ, &one, 1);
	const struct agi_cond group = {.kind = AGI_COND_ALL, .parts = &test, .n_parts = 1};
	const struct agi_cond deep = {.kind = AGI_COND_ANY, .parts = &group, .n_parts = 1};
	const struct agi_rule good = rule_of("r", &test, 1);
	struct agi_rule r;

	(void)state;
#define REFUSED(says, ...) (r = good, __VA_ARGS__, refused(&r, says))
	REFUSED("id: ", r.id = AGI_STR(""));
	REFUSED("id: ", r.id = AGI_STR("a b"));
	REFUSED("layer: ", r.layer = AGI_LAYERS);
	REFUSED("priority: ", r.priority = AGI_RULE_PRIORITY_MAX + 1);
	REFUSED("applies_to: ", r.scope = (enum agi_rule_scope)0);
	REFUSED("reason: ", r.reason = AGI_STR(""));
	REFUSED("all: 0 conditions", r.cond.n_parts = 0);
	REFUSED("all: or any:", r.cond = test);
	REFUSED("nested deeper", r.cond.parts = &deep);
	REFUSED("action: ", r.action = AGI_RULE_ACTIONS);
	REFUSED("stop: ", r.is_stop = true, r.action = AGI_RULE_DEFER);
	REFUSED("stop: ", r.is_stop = true, r.scope = AGI_RULE_OF_PLANS);
	REFUSED("modifications: ", r.action = AGI_RULE_MODIFY);
#undef REFUSED
}

static void two_rules_of_one_name_and_too_many_are_refused(void **state)
{
	const struct agi_rule_value one = number(1);
	const struct agi_cond test = test_of("parameters.x", AGI_OP_EQ, &one, 1);
	struct agi_rule r = rule_of("r", &test, 1);
	struct agi_rules *s;
	struct agi_why why;
	char id[8] = "r";

	(void)state;
	assert_int_equal(agi_rules_new(&s), AGI_OK);
	assert_int_equal(agi_rules_add(s, &r, &why), AGI_OK);
	assert_int_equal(agi_rules_add(s, &r, &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "there is a rule r before"));
	for (int i = 1; i < AGI_RULES_MAX; i++) {
		id[1] = (char)('a' + i % 26);
		id[2] = (char)('a' + i / 26);
		id[3] = '\0';
		r.id = agi_str_of(id);
		assert_int_equal(agi_rules_add(s, &r, &why), AGI_OK);
	}
	r.id = AGI_STR("last");
	assert_int_equal(agi_rules_add(s, &r, &why), AGI_E_FULL);
	assert_int_equal(agi_rules_seal(s), AGI_OK);
	agi_rules_free(s);
}

static bool hashes_differ(const struct agi_rule *a, const struct agi_rule *b, size_t n)
{
	struct agi_rules *x = set_of(a, n), *y = set_of(b, n);
	bool differ = memcmp(agi_rules_hash(x), agi_rules_hash(y), 32) != 0;

	agi_rules_free(x);
	agi_rules_free(y);
	return differ;
}

static void the_hash_is_of_what_is_judged_by(void **state)
{
	const struct agi_rule_value one = number(1), two = number(2), three[] = {number(1), number(3)};
	const struct agi_cond test = test_of("parameters.x", AGI_OP_EQ, &one, 1);
	const struct agi_cond others[] = {test_of("parameters.y", AGI_OP_EQ, &one, 1), test_of("parameters.x", AGI_OP_NE, &one, 1),
	                                  test_of("parameters.x", AGI_OP_EQ, &two, 1), test_of("parameters.x", AGI_OP_IN, three, 2)};
	const struct agi_rule a = rule_of("r", &test, 1);
	struct agi_rule b = a, ab[2] = {a, a}, ba[2];

	(void)state;
	assert_false(hashes_differ(&a, &b, 1));
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		b.cond.parts = &others[i];
		assert_true(hashes_differ(&a, &b, 1));
	}
#define DIFFERS(change) (b = a, (change), assert_true(hashes_differ(&a, &b, 1)))
	DIFFERS(b.priority = 1);
	DIFFERS(b.layer = AGI_LAYER_STRATEGIC);
	DIFFERS(b.scope = AGI_RULE_OF_PLANS);
	DIFFERS(b.skips_absent = true);
	DIFFERS(b.action = AGI_RULE_DEFER);
	DIFFERS(b.is_stop = true);
	DIFFERS(b.cond.kind = AGI_COND_ANY);
	DIFFERS(b.reason = AGI_STR("why not"));
#undef DIFFERS
	ab[1].id = AGI_STR("s");
	ab[1].priority = 1;
	ba[0] = ab[1];
	ba[1] = ab[0];
	assert_false(hashes_differ(ab, ba, 2)); /* evaluated in the same order */
	ab[1].priority = ba[0].priority = 0;
	assert_true(hashes_differ(ab, ba, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_finite_decimals_are_numbers),
	    cmocka_unit_test(comparisons_hold_exactly_where_they_say),
	    cmocka_unit_test(ranges_hold_their_ends_inside),
	    cmocka_unit_test(lists_hold_their_members),
	    cmocka_unit_test(texts_are_searched_byte_for_byte),
	    cmocka_unit_test(what_cannot_be_compared_does_not_hold_whatever_the_operator_is),
	    cmocka_unit_test(a_reading_that_is_no_number_does_not_hold),
	    cmocka_unit_test(every_field_of_a_step_is_found),
	    cmocka_unit_test(what_a_step_says_of_sensors_is_worth_nothing_in_an_action),
	    cmocka_unit_test(groups_are_all_and_any),
	    cmocka_unit_test(a_rule_is_for_plans_or_actions_or_both),
	    cmocka_unit_test(a_rule_without_scope_of_its_own_is_for_where_its_values_come_from),
	    cmocka_unit_test(what_is_missing_violates_unless_all_of_it_is_and_the_rule_says_so),
	    cmocka_unit_test(a_modification_is_told_once_and_by_the_first),
	    cmocka_unit_test(order_stop_and_risk_are_those_of_a_slow_twin),
	    cmocka_unit_test(the_stop_comes_with_the_rule_that_denied),
	    cmocka_unit_test(a_test_that_makes_no_sense_is_refused),
	    cmocka_unit_test(a_rule_that_makes_no_sense_is_refused),
	    cmocka_unit_test(two_rules_of_one_name_and_too_many_are_refused),
	    cmocka_unit_test(the_hash_is_of_what_is_judged_by),
	};

	return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
