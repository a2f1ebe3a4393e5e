/* SPDX-License-Identifier: Apache-2.0
 * Rule files: the shipped one, rule by rule; what is refused, and with which words; files with anything in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/prng.h"
#include "rulefile/rule_file.h"

/* --- the shipped rules ---------------------------------------------------------------------------------------------- */
enum { FIELDS = 8 };
struct given {
	const char *name, *value; /* a param; in an action "signals.X" and "metrics.X" are readings */
};
struct row {
	const char *rule;
	enum agi_rule_scope scope;
	enum agi_decision violated;
	struct given good[FIELDS], bad[FIELDS];
};
#define PLAN AGI_RULE_OF_PLANS
#define ACTION AGI_RULE_OF_ACTIONS
#define STILL {"metrics.current_force", "10"}, {"metrics.velocity_magnitude", "1"}
#define SAFE {"signals.joint_torque_max", "100"}, {"signals.collision_proximity", "0.06"}, {"signals.emergency_button", "0"}, STILL

static const struct row rows[] = {
    {"reflex.emergency_stop", ACTION, AGI_DECISION_BLOCK, {SAFE},
     {{"signals.joint_torque_max", "101"}, {"signals.collision_proximity", "1"}, {"signals.emergency_button", "0"}, STILL}},
    {"reflex.emergency_stop", ACTION, AGI_DECISION_BLOCK, {SAFE},
     {{"signals.joint_torque_max", "5"}, {"signals.collision_proximity", "0.04"}, {"signals.emergency_button", "0"}, STILL}},
    {"reflex.emergency_stop", ACTION, AGI_DECISION_BLOCK, {SAFE},
     {{"signals.joint_torque_max", "5"}, {"signals.collision_proximity", "1"}, {"signals.emergency_button", "1"}, STILL}},
    {"reflex.emergency_stop", ACTION, AGI_DECISION_BLOCK, {SAFE}, {STILL}},
    {"reflex.force_limit", PLAN, AGI_DECISION_BLOCK, {{"parameters.force", "100"}}, {{"parameters.force", "100.5"}}},
    {"reflex.force_limit", PLAN, AGI_DECISION_BLOCK, {{"parameters.force", "1"}}, {{"parameters.force", "nan"}}},
    {"reflex.current_force", ACTION, AGI_DECISION_BLOCK, {SAFE},
     {{"signals.joint_torque_max", "5"}, {"signals.collision_proximity", "1"}, {"signals.emergency_button", "0"},
      {"metrics.current_force", "101"}, {"metrics.velocity_magnitude", "1"}}},
    {"reflex.velocity_emergency", ACTION, AGI_DECISION_BLOCK, {SAFE},
     {{"signals.joint_torque_max", "5"}, {"signals.collision_proximity", "1"}, {"signals.emergency_button", "0"},
      {"metrics.current_force", "10"}, {"metrics.velocity_magnitude", "3.5"}}},
    {"tactical.collision_check", ACTION, AGI_DECISION_BLOCK, {SAFE, {"metrics.predicted_collision", "0"}},
     {SAFE, {"metrics.predicted_collision", "1"}}},
    {"tactical.collision_check", PLAN, AGI_DECISION_BLOCK, {{"metrics.predicted_collision", "False"}},
     {{"metrics.predicted_collision", "true"}}},
    {"tactical.tool_banned", PLAN, AGI_DECISION_BLOCK, {{"tool_id", "ls"}}, {{"tool_id", ":(){:|:&};:"}}},
    {"tactical.tool_parameter_banned", PLAN, AGI_DECISION_BLOCK, {{"parameters.tool", "ls"}}, {{"parameters.tool", "rm -rf"}}},
    {"tactical.workspace_bounds", PLAN, AGI_DECISION_REVISE,
     {{"parameters.target.x", "2"}, {"parameters.target.y", "-2"}, {"parameters.target.z", "0"}},
     {{"parameters.target.x", "2"}, {"parameters.target.y", "-2"}, {"parameters.target.z", "-0.1"}}},
    {"tactical.workspace_bounds", PLAN, AGI_DECISION_REVISE, {{"parameters.other", "2"}}, {{"parameters.target.x", "2"}}},
    {"tactical.joint_limits", PLAN, AGI_DECISION_BLOCK, {{"metrics.joint_limit_violations", "0"}},
     {{"metrics.joint_limit_violations", "1"}}},
    {"tactical.velocity_limit", PLAN, AGI_DECISION_REVISE, {{"parameters.velocity", "1.5"}}, {{"parameters.velocity", "1.6"}}},
    {"tactical.acceleration_limit", PLAN, AGI_DECISION_REVISE, {{"parameters.acceleration", "5"}},
     {{"parameters.acceleration", "5.1"}}},
    {"strategic.harm_prevention", PLAN, AGI_DECISION_BLOCK, {{"metrics.predicted_harm_probability", "0.009"}},
     {{"metrics.predicted_harm_probability", "0.01"}}},
    {"strategic.human_proximity", PLAN, AGI_DECISION_DEFER, {{"metrics.human_distance", "2"}},
     {{"metrics.human_distance", "1"}}},
    {"strategic.human_proximity", ACTION, AGI_DECISION_DEFER,
     {SAFE, {"metrics.human_distance", "0.5"}, {"metrics.approach_velocity", "0.2"}},
     {SAFE, {"metrics.human_distance", "0.4"}, {"metrics.approach_velocity", "0.2"}}},
    {"strategic.autonomy_respect", PLAN, AGI_DECISION_DEFER,
     {{"parameters.affects_human_autonomy", "false"}, {"parameters.requires_consent", "false"}},
     {{"parameters.affects_human_autonomy", "false"}, {"parameters.requires_consent", "true"}}},
    {"strategic.uncertainty_threshold", PLAN, AGI_DECISION_DEFER, {{"metrics.prediction_confidence", "0.8"}},
     {{"metrics.prediction_confidence", "0.79"}}},
    {"strategic.resource_fairness", PLAN, AGI_DECISION_REVISE, {{"metrics.gini", "0.3"}}, {{"metrics.gini", "0.31"}}},
    {"strategic.reversibility", PLAN, AGI_DECISION_DEFER, {{"parameters.irreversibility_justified", "true"}},
     {{"parameters.is_reversible", "false"}}},
    {"strategic.transparency", PLAN, AGI_DECISION_DEFER, {{"metrics.explainability", "0.7"}},
     {{"metrics.explainability", "0.69"}}},
};

static struct agi_rules *shipped(void)
{
	const char *dir = getenv("AGI_SRCDIR");
	struct agi_rules *rules;
	struct agi_why why = {""};
	char path[512];

	snprintf(path, sizeof path, "%s/conf/safety-rules.yaml", dir ? dir : ".");
	if (agi_rule_file_load(path, &rules, &why))
		fail_msg("%s", why.text);
	return rules;
}

/* Whether the rule is among the reasons. */
static bool names(const struct agi_rule_finding *f, const char *rule)
{
	char begin[80];

	snprintf(begin, sizeof begin, "rule:%s: ", rule);
	for (size_t i = 0; i < f->reasons.n; i++)
		if (agi_str_has_prefix(f->reasons.p[i], agi_str_of(begin)))
			return true;
	return false;
}

static bool is_violated(const struct agi_rules *rules, const struct row *row, const struct given *given)
{
	struct agi_pair params[FIELDS];
	struct agi_reading readings[FIELDS];
	struct agi_plan_step step = {.tool_id = AGI_STR("move"), .params = params};
	struct agi_rule_subject s = {row->scope, &step, readings, 0};
	struct agi_rule_finding f;
	struct agi_pool pool;
	bool result;

	for (size_t i = 0; i < FIELDS && given[i].name; i++) {
		const char *dot = strchr(given[i].name, '.');
		bool is_param = strncmp(given[i].name, "parameters.", 11) == 0;

		if (strcmp(given[i].name, "tool_id") == 0)
			step.tool_id = agi_str_of(given[i].value);
		else if (!is_param && row->scope == ACTION)
			readings[s.n_readings++] = (struct agi_reading){
			    agi_str_of(given[i].name[0] == 's' ? dot + 1 : given[i].name), strtof(given[i].value, NULL)};
		else
			params[step.n_params++] = (struct agi_pair){agi_str_of(is_param ? dot + 1 : given[i].name),
			                                            agi_str_of(given[i].value)};
	}
	agi_pool_init(&pool, 0);
	agi_rules_judge(rules, &s, &pool, &f);
	result = f.decision != AGI_DECISION_ALLOW;
	if (result && (!names(&f, row->rule) || f.decision != row->violated))
		fail_msg("%s: %s, first %.*s", row->rule, agi_decision_name(f.decision), AGI_STR_ARG(f.reasons.p[0]));
	agi_pool_free(&pool);
	return result;
}

static void every_shipped_rule_holds_and_is_violated_as_it_should(void **state)
{
	struct agi_rules *rules = shipped();

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (is_violated(rules, &rows[i], rows[i].good))
			fail_msg("row %zu, %s: violated by what is good", i, rows[i].rule);
		if (!is_violated(rules, &rows[i], rows[i].bad))
			fail_msg("row %zu, %s: holds for what is bad", i, rows[i].rule);
	}
	for (size_t i = 0; i < agi_rules_count(rules); i++) {
		bool is_tried = false;

		for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
			is_tried |= agi_str_eq(agi_rules_at(rules, i)->id, agi_str_of(rows[k].rule));
		if (!is_tried)
			fail_msg("%.*s has no row here", AGI_STR_ARG(agi_rules_at(rules, i)->id));
	}
	agi_rules_free(rules);
}

/* The reference's rule is the wrong way round: its normal state is denied, and a pressed button passes. */
static void the_emergency_stop_is_the_right_way_round(void **state)
{
	struct agi_rules *rules = shipped();
	struct agi_reading readings[] = {{AGI_STR("joint_torque_max"), 5}, {AGI_STR("collision_proximity"), 2},
	                                 {AGI_STR("emergency_button"), 0}, {AGI_STR("metrics.current_force"), 1},
	                                 {AGI_STR("metrics.velocity_magnitude"), 1}};
	struct agi_plan_step step = {.tool_id = AGI_STR("move")};
	struct agi_rule_subject s = {ACTION, &step, readings, 5};
	struct agi_rule_finding f;
	struct agi_pool pool;

	(void)state;
	agi_pool_init(&pool, 0);
	agi_rules_judge(rules, &s, &pool, &f);
	assert_int_equal(f.decision, AGI_DECISION_ALLOW);
	assert_false(f.is_stop);
	readings[2].value = 1;
	agi_rules_judge(rules, &s, &pool, &f);
	assert_int_equal(f.decision, AGI_DECISION_BLOCK);
	assert_true(f.is_stop);
	assert_true(f.risk == 1.0);
	assert_int_equal(f.reasons.n, 1); /* the first that denies ends it */
	agi_pool_free(&pool);
	agi_rules_free(rules);
}

/* --- what is refused --------------------------------------------------------------------------------------------------- */
#define HEAD "version: 1\nrules:\n- id: a.b\n  layer: reflex\n  priority: 10\n  reason: why\n"
#define GOOD HEAD "  action: deny\n  all:\n  - {field: parameters.x, op: '<=', value: 1}\n"

static void refused(const char *text, const char *says)
{
	struct agi_rules *rules = NULL;
	struct agi_why why = {""};

	if (agi_rule_file_parse("r.yaml", agi_str_of(text), &rules, &why) == AGI_OK)
		fail_msg("taken, but \"%s\" was expected:\n%s", says, text);
	assert_null(rules);
	if (!strstr(why.text, says))
		fail_msg("\"%s\" does not say \"%s\"", why.text, says);
}

static void errors_name_file_line_rule_and_what_would_be_right(void **state)
{
	(void)state;
	refused("", "r.yaml: empty: expected version: 1 and rules:");
	refused("[]", "r.yaml:1: rule file: expected KEY: VALUE");
	refused("version: 2\nrules: []", "r.yaml:1: version: \"2\": expected one of 1");
	refused("rules: []", "r.yaml:1: version: missing");
	refused("version: 1", "rules: missing");
	refused("version: 1\nrules: []", "r.yaml:2: rules: expected a list of at least one rule");
	refused("version: 1\nrules: [x]", "rule number 1: rule: expected KEY: VALUE");
	refused("version: 1\nrule: []", "r.yaml:2: rule: unknown key; valid here: version, rules");
	refused("version: 1\nrules:\n- layer: reflex", "r.yaml:3: rule number 1: id: missing");
	refused(GOOD "- id: a.b\n  layer: reflex\n  priority: 1\n  reason: r\n  action: deny\n  all: [{field: kind, op: eq, value: x}]\n",
	        "r.yaml:10: rule a.b: id: there is a rule a.b before this one");
	refused(GOOD "  colour: red\n", "r.yaml:10: rule a.b: colour: unknown key; valid here: id, layer");
	refused(GOOD "  action: defer\n", "r.yaml:10: rule a.b: action: given twice");
	refused(GOOD "  any: [{field: kind, op: eq, value: x}]\n", "r.yaml:3: rule a.b: expected either all: or any:");
	refused(HEAD "  action: deny\n", "expected either all: or any:");
	refused(GOOD "  stop: yes\n", "r.yaml:10: rule a.b: stop: \"yes\": expected one of false, true");
	refused(GOOD "  applies_to: plans\n", "applies_to: \"plans\": expected one of plan, action, both");
	refused(GOOD "  when_absent: [x]\n", "when_absent: expected a single value");
	refused(GOOD "  modifications: {x: 1}\n", "modifications: expected 1..16 of them with action modify");
	refused(GOOD "  modifications: {x: 1, x: 2}\n", "modifications: x: given twice");
	refused(HEAD "  action: allow\n  all: [{field: kind, op: eq, value: x}]\n",
	        "r.yaml:7: rule a.b: action: \"allow\": expected one of modify, defer, deny");
	refused("version: 1\nrules:\n- id: a\n  layer: high\n  priority: 1\n  reason: r\n  action: deny\n"
	        "  all: [{field: kind, op: eq, value: x}]\n", "r.yaml:4: rule a: layer: \"high\": expected one of reflex");
	refused("version: 1\nrules:\n- id: a\n  layer: reflex\n  priority: 1.5\n  reason: r\n  action: deny\n"
	        "  all: [{field: kind, op: eq, value: x}]\n", "r.yaml:5: rule a: priority: \"1.5\": expected a whole number");
}

static void errors_of_a_condition_name_its_line(void **state)
{
#define COND(c) HEAD "  action: deny\n  all:\n  - {field: kind, op: eq, value: x}\n  - " c "\n"
	(void)state;
	refused(COND("{field: parameters.x, op: '=<', value: 1}"), "r.yaml:10: rule a.b: op: \"=<\": expected == != >");
	refused(COND("{field: parameters.x, value: 1}"), "r.yaml:10: rule a.b: op: missing");
	refused(COND("{field: parameters.x, op: eq}"), "r.yaml:10: rule a.b: value: missing");
	refused(COND("{op: eq, value: 1}"), "field: missing");
	refused(COND("{field: params.x, op: eq, value: 1}"), "field: \"params.x\": expected parameters.NAME");
	refused(COND("{field: parameters.x, op: eq, value: yes}"), "value: \"yes\": expected true or false");
	refused(COND("{field: parameters.x, op: eq, value: .nan}"), "value: \".nan\": expected");
	refused(COND("{field: parameters.x, op: le, value: '5'}"), "value: <= takes a number");
	refused(COND("{field: parameters.x, op: within, value: [2, 1]}"), "expected [LOW, HIGH]");
	refused(COND("{field: parameters.x, op: in, value: [1, a]}"), "values of different kinds");
	refused(COND("{field: parameters.x, op: in, value: [[1]]}"), "value: expected a number");
	refused(COND("{field: parameters.x, op: in, value: []}"), "expected a list of 1..64");
	refused(COND("{field: kind, op: matches, value: 'a{2}'}"), "counted repetition");
	refused(COND("{field: kind, op: eq, value: x, not: true}"), "not: unknown key");
	refused(COND("{all: [], field: kind}"), "expected all: or any: alone");
	refused(COND("{any: []}"), "any: expected a list of conditions");
	refused(COND("{any: [{all: [{field: kind, op: eq, value: x}]}]}"), "nested deeper");
	refused(COND("word"), "condition: expected KEY: VALUE");
}

static void what_is_not_said_is_as_the_page_says(void **state)
{
	static const char text[] = HEAD "  action: deny\n  any:\n  - {field: signals.x, value: true}\n"
	                                "  - all: [{field: kind, op: ne, value: 'true'}, {field: level, op: '>', value: 2}]\n";
	struct agi_rules *rules;
	const struct agi_rule *r;
	struct agi_why why = {""};

	(void)state;
	if (agi_rule_file_parse("r.yaml", AGI_STR(GOOD), &rules, &why))
		fail_msg("%s", why.text);
	r = agi_rules_at(rules, 0);
	assert_int_equal(r->scope, AGI_RULE_OF_BOTH);
	assert_false(r->skips_absent);
	assert_false(r->is_stop);
	agi_rules_free(rules);
	if (agi_rule_file_parse("r.yaml", agi_str_of(text), &rules, &why))
		fail_msg("%s", why.text);
	r = agi_rules_at(rules, 0);
	assert_int_equal(r->scope, AGI_RULE_OF_ACTIONS);
	assert_int_equal(r->cond.kind, AGI_COND_ANY);
	assert_int_equal(r->cond.parts[0].op, AGI_OP_EQ);
	assert_int_equal(r->cond.parts[0].values[0].kind, AGI_VALUE_TRUTH);
	assert_int_equal(r->cond.parts[1].parts[0].values[0].kind, AGI_VALUE_TEXT);
	agi_rules_free(rules);
}

static void comments_make_no_other_policy(void **state)
{
	struct agi_rules *a, *b;
	struct agi_why why;

	(void)state;
	assert_int_equal(agi_rule_file_parse("a", AGI_STR(GOOD), &a, &why), AGI_OK);
	assert_int_equal(agi_rule_file_parse("b", AGI_STR("# a comment\n" GOOD "  when_absent: violate\n"), &b, &why), AGI_OK);
	assert_memory_equal(agi_rules_hash(a), agi_rules_hash(b), 32);
	agi_rules_free(b);
	assert_int_equal(agi_rule_file_parse("b", AGI_STR(GOOD "  when_absent: skip\n"), &b, &why), AGI_OK);
	assert_memory_not_equal(agi_rules_hash(a), agi_rules_hash(b), 32);
	agi_rules_free(a);
	agi_rules_free(b);
}

static void the_configurations_file_is_read_and_a_missing_one_said(void **state)
{
	struct agi_config c;
	struct agi_rules *rules;
	struct agi_why why = {""};

	(void)state;
	assert_int_equal(agi_config_defaults(&c, &why), AGI_OK);
	assert_int_equal(agi_rule_file_of(&c, &rules, &why), AGI_OK);
	assert_null(rules);
	assert_int_equal(agi_config_set(&c, "safety.rule_file", "/nonexistent/rules.yaml", &why), AGI_OK);
	assert_int_equal(agi_config_check(&c, &why), AGI_OK);
	assert_int_equal(agi_rule_file_check(&c, &why), AGI_E_IO);
	assert_non_null(strstr(why.text, "safety.rule_file: /nonexistent/rules.yaml: "));
	assert_int_equal(agi_config_set(&c, "safety.evaluation", "reference", &why), AGI_OK);
	assert_int_equal(agi_config_check(&c, &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "evaluation strict only"));
	agi_config_free(&c);
}

/* --- anything ------------------------------------------------------------------------------------------------------------ */
static void files_with_anything_in_them_are_taken_or_refused_with_a_reason(void **state)
{
	static const char *const pieces[] = {
	    "version: 1\n", "rules:\n", "- ", "  ", "id: a\n", "layer: reflex\n", "priority: 7\n", "action: deny\n",
	    "action: modify\n", "all:\n", "any: ", "field: parameters.x", "op: '<'", "value: 1", "value: [1, 2]", "{", "}",
	    "[", "]", ", ", "\n", ": ", "modifications: {a: b}\n", "reason: r\n", "stop: true\n", "op: matches", "'(a|b)*$'",
	    "\"", "&x ", "*x", "!t ", "|\n", "\xff", "~", "tags.1"};
	struct agi_prng r;
	size_t taken = 0;

	(void)state;
	agi_prng_seed(&r, 5);
	for (int i = 0; i < 6000; i++) {
		struct agi_buf b;
		struct agi_rules *rules;
		struct agi_why why = {""};
		size_t edits = agi_prng_below(&r, 4), n = agi_prng_below(&r, 40);

		agi_buf_init(&b, 0);
		if (i % 2) { /* a good file with a few pieces strewn in, or nothing but pieces */
			agi_buf_put_str(&b, AGI_STR(GOOD));
			for (size_t k = 0; k < edits; k++)
				b.p[agi_prng_below(&r, b.n)] = (uint8_t)(" :-{}[]\n'\"a1#&*!|"[agi_prng_below(&r, 17)]);
		} else {
			for (size_t k = 0; k < n; k++)
				agi_buf_put_str(&b, agi_str_of(pieces[agi_prng_below(&r, sizeof pieces / sizeof *pieces)]));
		}
		if (agi_rule_file_parse("r", agi_buf_str(&b), &rules, &why)) {
			assert_true(why.text[0]);
		} else {
			taken++;
			agi_rules_free(rules);
		}
		agi_buf_free(&b);
	}
	assert_true(taken > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_shipped_rule_holds_and_is_violated_as_it_should),
	    cmocka_unit_test(the_emergency_stop_is_the_right_way_round),
	    cmocka_unit_test(errors_name_file_line_rule_and_what_would_be_right),
	    cmocka_unit_test(errors_of_a_condition_name_its_line),
	    cmocka_unit_test(what_is_not_said_is_as_the_page_says),
	    cmocka_unit_test(comments_make_no_other_policy),
	    cmocka_unit_test(the_configurations_file_is_read_and_a_missing_one_said),
	    cmocka_unit_test(files_with_anything_in_them_are_taken_or_refused_with_a_reason),
	};

	return cmocka_run_group_tests_name("rule_file", tests, NULL, NULL);
}
