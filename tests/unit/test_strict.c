/* SPDX-License-Identifier: Apache-2.0
 * Where mode "strict" departs from the reference, point by point; and that no failure allows, in any mode. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "node/eval_codec.h"
#include "roles/safety_gateway/facts_builder.h"
#include "roles/safety_gateway/words.h"

/* --- helpers -------------------------------------------------------------------------------------- */
static struct agi_facts good_facts(void)
{
	return (struct agi_facts){.option_id = AGI_STR("s"),
	                          .expected_benefit = 0.5f,
	                          .expected_harm = 0.05f,
	                          .has_valid_consent = true,
	                          .physical_harm_risk = 0.05f,
	                          .collision_probability = 0.01f,
	                          .uncertainty_level = 0.3f,
	                          .evidence_quality = 0.7f,
	                          .urgency = 0.3f};
}

static struct agi_step_eval judge(enum agi_eval_mode mode, const struct agi_facts *f)
{
	struct agi_eval_policy policy;
	struct agi_step_eval e;

	agi_eval_policy_default(&policy);
	policy.mode = mode;
	agi_step_evaluate(&e, &policy, f);
	return e;
}

static bool has(const struct agi_str *list, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++)
		if (agi_str_eq(list[i], agi_str_of(text)))
			return true;
	return false;
}

struct setup {
	struct agi_gateway_policy policy;
	struct agi_erisml erisml;
	struct agi_pool pool;
	struct agi_plan plan;
	struct agi_check_result result;
};

static void set_up(struct setup *s, enum agi_eval_mode mode)
{
	*s = (struct setup){0};
	agi_pool_init(&s->pool, 0);
	agi_gateway_policy_default(&s->policy);
	s->policy.eval.mode = mode;
	s->erisml.policy = s->policy.eval;
}

static void check(struct setup *s, const struct agi_plan_step *steps, size_t n)
{
	s->plan = (struct agi_plan){.steps = steps, .n_steps = n};
	agi_gateway_check_here(&s->result, &s->policy, &s->erisml, 1700000000000000, &s->plan, &s->pool);
}

static struct agi_plan_step step(const char *id, const char *tool)
{
	return (struct agi_plan_step){
	    .step_id = agi_str_of(id), .tool_id = agi_str_of(tool), .level = 1};
}

static void tear_down(struct setup *s) { agi_pool_free(&s->pool); }

static enum agi_decision decide(enum agi_eval_mode mode, const char *tool)
{
	struct setup s;
	struct agi_plan_step one = step("s", tool);

	set_up(&s, mode);
	check(&s, &one, 1);
	tear_down(&s);
	return s.result.decision;
}

/* ErisML's answer to one step, as strict ErisML would give it, to be bent by a test. */
struct answer {
	struct agi_step_result step;
	struct agi_bond bond;
	struct agi_plan_eval eval;
};

static void good_answer(struct answer *a, enum agi_verdict verdict)
{
	*a = (struct answer){.step = {.verdict = verdict, .is_vetoed = verdict == AGI_VERDICT_FORBID},
	                     .bond = {.is_within = true}};
	for (int d = 1; d < AGI_MORAL_DIMS; d++)
		a->step.moral[d] = 1.0;
	a->eval = (struct agi_plan_eval){.steps = &a->step,
	                                 .n_steps = 1,
	                                 .is_approved = !a->step.is_vetoed,
	                                 .bond = &a->bond};
}

static enum agi_decision finish_with(struct setup *s, enum agi_eval_mode mode, const struct answer *a)
{
	static struct agi_plan_step one;
	static struct agi_plan plan;
	struct agi_gateway_check c;

	set_up(s, mode);
	one = step("s", "report");
	plan = (struct agi_plan){.steps = &one, .n_steps = 1};
	assert_int_equal(agi_gateway_begin(&c, &s->policy, &plan, &s->pool, &s->result),
	                 AGI_GATEWAY_NEED_ERISML);
	agi_gateway_finish(&c, &a->eval, &s->result);
	return s->result.decision;
}

/* --- 1: invalid inputs ---------------------------------------------------------------------------- */
static void each_input_out_of_range_vetoes(void **state)
{
	static const size_t fields[] = {
	    offsetof(struct agi_facts, expected_benefit),   offsetof(struct agi_facts, expected_harm),
	    offsetof(struct agi_facts, urgency),            offsetof(struct agi_facts, physical_harm_risk),
	    offsetof(struct agi_facts, collision_probability),
	    offsetof(struct agi_facts, uncertainty_level),  offsetof(struct agi_facts, evidence_quality)};
	static const char *const names[] = {
	    "invalid_input:expected_benefit", "invalid_input:expected_harm", "invalid_input:urgency",
	    "invalid_input:physical_harm_risk", "invalid_input:collision_probability",
	    "invalid_input:uncertainty_level", "invalid_input:evidence_quality"};
	const float bad[] = {NAN, INFINITY, -INFINITY, -0.001f, 1.001f};

	(void)state;
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
			struct agi_facts f = good_facts();
			struct agi_step_eval e;

			*(float *)((char *)&f + fields[i]) = bad[k];
			e = judge(AGI_EVAL_STRICT, &f);
			assert_int_equal(e.verdict, AGI_VERDICT_FORBID);
			assert_true(e.is_vetoed);
			assert_true(has(e.flags, e.n_flags, "INVALID_INPUT"));
			assert_true(has(e.reasons, e.n_reasons, names[i]));
			e = judge(AGI_EVAL_REFERENCE, &f);
			assert_false(has(e.flags, e.n_flags, "INVALID_INPUT"));
		}
}

static void inputs_at_the_ends_of_their_range_are_valid(void **state)
{
	struct agi_facts f = good_facts();

	(void)state;
	f.expected_benefit = f.urgency = f.evidence_quality = 1.0f;
	f.expected_harm = f.physical_harm_risk = f.collision_probability = f.uncertainty_level = 0.0f;
	assert_int_equal(judge(AGI_EVAL_STRICT, &f).n_flags, 0);
	f.physical_harm_risk = -0.0f;
	assert_int_equal(judge(AGI_EVAL_STRICT, &f).n_flags, 0);
}

static void the_most_reasons_and_flags_of_one_step_fit(void **state)
{
	struct agi_extension ext = {AGI_STR("k"), NAN};
	struct agi_facts f = {.expected_benefit = 2, .expected_harm = 2, .urgency = 2,
	                      .physical_harm_risk = 2, .collision_probability = 2,
	                      .uncertainty_level = 2, .evidence_quality = 2, .violates_rights = true,
	                      .discriminates_on_protected_attr = true, .novel_situation = true,
	                      .maxim_action_kind = AGI_STR("deceive"), .extensions = &ext,
	                      .n_extensions = 1};
	struct agi_profile profile = agi_profile_builtin;
	struct agi_eval_policy policy;
	struct agi_step_eval e;
	(void)state;

	agi_eval_policy_default(&policy);
	policy.profile = &profile;
	profile.is_unknown = true; /* and with limits: more than there is of either */
	profile.limited = (1u << AGI_MORAL_DIMS) - 1;
	for (int d = 0; d < AGI_MORAL_DIMS; d++)
		profile.limits[d] = NAN;
	agi_step_evaluate(&e, &policy, &f);
	assert_int_equal(e.n_flags, AGI_EVAL_FLAGS_MAX);
	assert_int_equal(e.n_reasons, AGI_EVAL_REASONS_MAX);
}

/* The weights are data now; the sum must still be the reference's, bit for bit. */
static void the_built_in_profile_gives_the_same_score_in_both_modes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4096; i++) {
		struct agi_facts f = {.expected_benefit = (float)(i % 16) / 15, .expected_harm = (float)(i / 16 % 16) / 15,
		                      .physical_harm_risk = (float)(i / 256) / 20, .has_valid_consent = i & 1,
		                      .exploits_vulnerable_population = i & 2, .evidence_quality = 0.3f};
		struct agi_step_eval strict = judge(AGI_EVAL_STRICT, &f), reference = judge(AGI_EVAL_REFERENCE, &f);
		const double *m = strict.moral;
		double s = ((((((((1.0 - m[0]) * 2.0 + m[1] * 2.0) + m[2]) + m[3]) + m[4]) + m[5]) + m[6]) + m[7]) / 10.0;

		assert_memory_equal(&strict.score, &s, sizeof s);
		assert_memory_equal(&reference.score, &s, sizeof s);
	}
}

static void a_profile_weighs_and_vetoes_in_strict_mode_only(void **state)
{
	struct agi_profiles *set;
	struct agi_profile p;
	struct agi_eval_policy policy;
	struct agi_facts f = good_facts();
	struct agi_step_eval e, plain;
	(void)state;

	agi_profile_init(&p, AGI_STR("mine"));
	p.weights[AGI_MORAL_EPISTEMIC_QUALITY] = 10;
	p.limited = 1u << AGI_MORAL_PHYSICAL_HARM | 1u << AGI_MORAL_EPISTEMIC_QUALITY;
	p.limits[AGI_MORAL_PHYSICAL_HARM] = 0.5;
	p.limits[AGI_MORAL_EPISTEMIC_QUALITY] = 0.25;
	assert_int_equal(agi_profiles_new(&set), AGI_OK);
	assert_int_equal(agi_profiles_add(set, &p, NULL), AGI_OK);
	agi_eval_policy_default(&policy);
	policy.profiles = set;
	agi_eval_policy_use(&policy, AGI_STR("mine"));
	f.evidence_quality = 0.5f;
	f.uncertainty_level = 0;
	f.novel_situation = false;
	plain = judge(AGI_EVAL_STRICT, &f);
	agi_step_evaluate(&e, &policy, &f);
	assert_true(e.n_flags == 0 && e.score == (plain.score * 10 + 0.5 * 10) / 20);
	f.evidence_quality = 0.2f;
	agi_step_evaluate(&e, &policy, &f);
	assert_true(e.is_vetoed && has(e.flags, e.n_flags, "PROFILE_LIMIT"));
	assert_true(has(e.reasons, e.n_reasons, "profile_limit:epistemic_quality"));
	f.evidence_quality = 0.5f;
	f.physical_harm_risk = 0.6f;
	agi_step_evaluate(&e, &policy, &f);
	assert_true(e.is_vetoed && has(e.flags, e.n_flags, "PHYSICAL_HARM"));
	policy.mode = AGI_EVAL_REFERENCE;
	agi_step_evaluate(&e, &policy, &f);
	plain = judge(AGI_EVAL_REFERENCE, &f);
	assert_memory_equal(&e.score, &plain.score, sizeof e.score);
	assert_true(!e.is_vetoed);
	agi_profiles_free(set);
}

static void a_policys_profile_that_is_not_known_forbids_every_step(void **state)
{
	struct agi_eval_policy policy;
	struct agi_facts f = good_facts();
	struct agi_step_eval e;
	(void)state;

	agi_eval_policy_default(&policy);
	policy.profile_name = AGI_STR("agi_hpc_safety_v2");
	agi_eval_policy_use(&policy, AGI_STR("whatever")); /* nor has any profile that name */
	agi_step_evaluate(&e, &policy, &f);
	assert_true(e.is_vetoed && has(e.flags, e.n_flags, "INVALID_INPUT"));
	assert_true(has(e.reasons, e.n_reasons, "invalid_input:profile_name"));
	policy.mode = AGI_EVAL_REFERENCE;
	agi_eval_policy_use(&policy, AGI_STR("agi_hpc_safety_v2"));
	agi_step_evaluate(&e, &policy, &f);
	assert_false(e.is_vetoed);
}

static void a_requests_name_that_no_profile_has_is_a_name_only(void **state)
{
	struct agi_profile mine;
	struct agi_profiles *set;
	struct agi_eval_policy policy;
	struct agi_facts f = good_facts();
	struct agi_step_eval e;

	(void)state;
	agi_eval_policy_default(&policy);
	agi_eval_policy_use(&policy, AGI_STR("other"));
	agi_step_evaluate(&e, &policy, &f);
	assert_false(e.is_vetoed);
	agi_profile_init(&mine, AGI_STR("mine"));
	mine.limited = 1u << AGI_MORAL_EPISTEMIC_QUALITY;
	mine.limits[AGI_MORAL_EPISTEMIC_QUALITY] = 1;
	assert_int_equal(agi_profiles_new(&set), AGI_OK);
	assert_int_equal(agi_profiles_add(set, &mine, NULL), AGI_OK);
	agi_eval_policy_default(&policy);
	policy.profiles = set;
	policy.profile_name = AGI_STR("mine");
	agi_eval_policy_use(&policy, AGI_STR("other"));
	agi_step_evaluate(&e, &policy, &f);
	assert_true(e.is_vetoed); /* by the policy's own */
	agi_profiles_free(set);
}

static void a_simulated_risk_that_is_no_probability_is_handed_on(void **state)
{
	struct agi_plan_step s = step("s", "report");
	struct agi_simulation sim = {.overall_risk = NAN};
	struct agi_facts f;

	(void)state;
	agi_facts_build(&f, AGI_EVAL_STRICT, &s, &sim, NULL);
	assert_int_equal(judge(AGI_EVAL_STRICT, &f).verdict, AGI_VERDICT_FORBID);
	sim.overall_risk = -1.0f;
	agi_facts_build(&f, AGI_EVAL_STRICT, &s, &sim, NULL);
	assert_int_equal(judge(AGI_EVAL_STRICT, &f).verdict, AGI_VERDICT_FORBID);
}

static void invalid_sensor_readings_are_unsafe(void **state)
{
	struct setup s;
	struct agi_action_check a;
	struct agi_plan_step one = step("s", "report");
	struct agi_reading r[] = {{AGI_STR("temperature"), NAN}};

	(void)state;
	set_up(&s, AGI_EVAL_STRICT);
	agi_action_check(&a, &s.policy, &one, r, 1, &s.pool);
	assert_int_equal(a.decision, AGI_DECISION_BLOCK);
	assert_true(a.is_emergency_stop);
	assert_true(agi_str_eq(a.reason, AGI_STR("invalid_input:temperature")));
	r[0] = (struct agi_reading){AGI_STR("proximity"), INFINITY};
	agi_action_check(&a, &s.policy, &one, r, 1, &s.pool);
	assert_int_equal(a.decision, AGI_DECISION_BLOCK);
	s.policy.eval.mode = AGI_EVAL_REFERENCE;
	agi_action_check(&a, &s.policy, &one, r, 1, &s.pool);
	assert_int_equal(a.decision, AGI_DECISION_ALLOW);
	assert_false(agi_reflex_check(AGI_EVAL_STRICT, NAN, 0, false).is_safe);
	assert_false(agi_reflex_check(AGI_EVAL_STRICT, 0, -1.0f, false).is_safe);
	assert_true(agi_reflex_check(AGI_EVAL_REFERENCE, NAN, NAN, false).is_safe);
	assert_true(agi_reflex_check(AGI_EVAL_STRICT, 0.9f, 0.79999995f, false).is_safe);
	assert_false(agi_reflex_check(AGI_EVAL_STRICT, 0, 0.8f, false).is_safe);
	tear_down(&s);
}

/* --- 2: whole words ------------------------------------------------------------------------------- */
static void maxims_are_whole_words_of_the_tool_id(void **state)
{
	static const char *const innocent[] = {"client_lookup", "believe", "supplier_db",
	                                       "pharmacy_lookup", "harmless_probe", "counterattack",
	                                       "Charm", "relief", "harm\xc2\xadless"};
	static const char *const guilty[] = {"lie_to_user", "tools.lie", "lieToUser", "tell-lie",
	                                     "speech/Lie", "LIEtoUser", "ns:mislead", "XMLAttack",
	                                     "attac\xe2\x84\xaa", "attack2", "harm everyone"};

	(void)state;
	for (size_t i = 0; i < sizeof innocent / sizeof *innocent; i++)
		assert_int_equal(decide(AGI_EVAL_STRICT, innocent[i]), AGI_DECISION_ALLOW);
	for (size_t i = 0; i < sizeof guilty / sizeof *guilty; i++)
		assert_int_equal(decide(AGI_EVAL_STRICT, guilty[i]), AGI_DECISION_BLOCK);
	assert_int_equal(decide(AGI_EVAL_REFERENCE, "client_lookup"), AGI_DECISION_BLOCK);
}

static void a_nul_byte_is_part_of_the_id(void **state)
{
	(void)state;
	assert_true(agi_folded_has_word(AGI_STR("x\0lie"), "lie"));
	assert_true(agi_folded_contains(AGI_STR("x\0aliens"), "lie"));
	assert_false(agi_folded_equals(AGI_STR("true\0"), "true"));
	assert_true(agi_folded_equals(AGI_STR("TrUe"), "true"));
	assert_false(agi_folded_equals(AGI_STR(""), "true"));
}

/* --- 3: harm threshold ---------------------------------------------------------------------------- */
static void the_stricter_of_both_harm_thresholds_vetoes(void **state)
{
	struct agi_eval_policy policy;
	struct agi_facts f = good_facts();
	struct agi_step_eval e;

	(void)state;
	agi_eval_policy_default(&policy);
	f.physical_harm_risk = 0.85f; /* between the reference's 0.8 and the policy's 0.9 */
	agi_step_evaluate(&e, &policy, &f);
	assert_true(e.is_vetoed);
	policy.physical_harm_threshold = 0.5;
	f.physical_harm_risk = 0.6f;
	agi_step_evaluate(&e, &policy, &f);
	assert_true(e.is_vetoed);
	policy.mode = AGI_EVAL_REFERENCE;
	agi_step_evaluate(&e, &policy, &f);
	assert_false(e.is_vetoed);
}

static void the_gateways_own_threshold_holds_against_a_laxer_erisml(void **state)
{
	struct setup s;
	struct answer a;

	(void)state;
	good_answer(&a, AGI_VERDICT_PREFER);
	a.step.moral[AGI_MORAL_PHYSICAL_HARM] = 0.85;
	assert_int_equal(finish_with(&s, AGI_EVAL_STRICT, &a), AGI_DECISION_BLOCK);
	tear_down(&s);
	a.step.moral[AGI_MORAL_PHYSICAL_HARM] = NAN;
	assert_int_equal(finish_with(&s, AGI_EVAL_STRICT, &a), AGI_DECISION_BLOCK);
	tear_down(&s);
}

/* --- 4: avoid, warn, block ------------------------------------------------------------------------ */
static void a_step_to_avoid_makes_the_plan_revise(void **state)
{
	struct setup s;
	struct answer a;

	(void)state;
	good_answer(&a, AGI_VERDICT_AVOID);
	assert_int_equal(finish_with(&s, AGI_EVAL_STRICT, &a), AGI_DECISION_REVISE);
	assert_int_equal(s.result.n_steps, 1);
	assert_int_equal(s.result.steps[0].decision, AGI_DECISION_REVISE);
	assert_true(agi_strs_has(&s.result.reasons, AGI_STR("Verdict avoid: s")));
	tear_down(&s);
	assert_int_equal(finish_with(&s, AGI_EVAL_REFERENCE, &a), AGI_DECISION_ALLOW);
	tear_down(&s);
}

static void bond_index_warns_and_then_decides(void **state)
{
	const struct {
		double index;
		enum agi_decision strict, reference;
	} cases[] = {
	    {0.2, AGI_DECISION_ALLOW, AGI_DECISION_ALLOW},
	    {0.25, AGI_DECISION_ALLOW, AGI_DECISION_ALLOW}, /* with a reason */
	    {0.30, AGI_DECISION_BLOCK, AGI_DECISION_REVISE},
	    {(double)0.30f, AGI_DECISION_BLOCK, AGI_DECISION_REVISE},
	    {1.0, AGI_DECISION_BLOCK, AGI_DECISION_REVISE},
	    {NAN, AGI_DECISION_BLOCK, AGI_DECISION_REVISE},
	    {-1.0, AGI_DECISION_BLOCK, AGI_DECISION_REVISE},
	};
	struct setup s;
	struct answer a;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		good_answer(&a, AGI_VERDICT_PREFER);
		a.bond.index = cases[i].index;
		a.bond.is_within = cases[i].index < 0.30;
		assert_int_equal(finish_with(&s, AGI_EVAL_STRICT, &a), cases[i].strict);
		if (cases[i].index == 0.25)
			assert_true(agi_strs_has(&s.result.reasons, AGI_STR(
			    "Bond Index 0.250 is at or above the warning threshold 0.25")));
		tear_down(&s);
		assert_int_equal(finish_with(&s, AGI_EVAL_REFERENCE, &a), cases[i].reference);
		tear_down(&s);
	}
}

static void a_missing_bond_index_is_the_worst(void **state)
{
	struct setup s;
	struct answer a;

	(void)state;
	good_answer(&a, AGI_VERDICT_PREFER);
	a.eval.bond = NULL;
	assert_int_equal(finish_with(&s, AGI_EVAL_STRICT, &a), AGI_DECISION_BLOCK);
	assert_true(s.result.bond.index == 1.0);
	tear_down(&s);
	assert_int_equal(finish_with(&s, AGI_EVAL_REFERENCE, &a), AGI_DECISION_REVISE);
	assert_true(s.result.bond.index == 1.0);
	tear_down(&s);
}

static enum agi_decision with_positions(struct setup *s, const char *agent, const char *affected,
                                        enum agi_decision action)
{
	static struct agi_pair params[2];
	struct agi_plan_step steps[2] = {step("a", "report"), step("b", "report")};

	params[0] = (struct agi_pair){AGI_STR("hohfeld_agent"), agi_str_of(agent)};
	params[1] = (struct agi_pair){AGI_STR("hohfeld_affected"), agi_str_of(affected)};
	steps[1].params = params;
	steps[1].n_params = affected ? 2 : 1;
	set_up(s, AGI_EVAL_STRICT);
	s->policy.bond_index_action = action;
	check(s, steps, 2);
	return s->result.decision;
}

static void bond_index_action_is_configurable_but_never_allows(void **state)
{
	struct setup s;

	(void)state;
	assert_int_equal(with_positions(&s, "O", "L", AGI_DECISION_REVISE), AGI_DECISION_REVISE);
	tear_down(&s);
	assert_int_equal(with_positions(&s, "O", "L", AGI_DECISION_DEFER), AGI_DECISION_DEFER);
	tear_down(&s);
	assert_int_equal(with_positions(&s, "O", "L", AGI_DECISION_ALLOW), AGI_DECISION_BLOCK);
	tear_down(&s);
}

/* --- 5: declared positions ------------------------------------------------------------------------ */
static void declared_positions_are_measured(void **state)
{
	struct setup s;

	(void)state;
	assert_int_equal(with_positions(&s, "O", "C", AGI_DECISION_BLOCK), AGI_DECISION_ALLOW);
	assert_true(s.result.bond.index == 0.0);
	assert_true(s.result.bond.correlative_rate == 1.0);
	tear_down(&s);
	assert_int_equal(with_positions(&s, "O", "L", AGI_DECISION_BLOCK), AGI_DECISION_BLOCK);
	assert_true(s.result.bond.index == 0.5);
	assert_true(s.result.bond.correlative_rate == 0.5);
	assert_true(s.result.bond.negation_rate == 0.5);
	assert_true(agi_strs_has(&s.result.bond.violations,
	                         AGI_STR("b.agent(O) <-> b.affected(L): expected C")));
	assert_string_equal(s.result.phase, "bond_index_check");
	tear_down(&s);
}

static void an_invalid_or_half_declared_position_makes_the_index_uncomputable(void **state)
{
	static const char *const bad[][2] = {{"o", "C"}, {"O", ""}, {"", ""}, {"O", NULL},
	                                     {"Obligation", "Claim"}, {"O ", "C"}};
	struct setup s;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(with_positions(&s, bad[i][0], bad[i][1], AGI_DECISION_BLOCK),
		                 AGI_DECISION_BLOCK);
		assert_true(s.result.bond.index == 1.0);
		tear_down(&s);
	}
}

static void a_confidence_out_of_range_makes_the_index_uncomputable(void **state)
{
	struct agi_hohfeld_verdict a = {AGI_STR("x"), AGI_STR("O"), 1.5f};
	struct agi_hohfeld_verdict b = {AGI_STR("y"), AGI_STR("C"), 1.0f};
	struct agi_pool pool;
	struct agi_bond bond;

	(void)state;
	agi_pool_init(&pool, 0);
	assert_int_equal(agi_bond_compute(&bond, AGI_EVAL_STRICT, &a, 1, &b, 1, &pool, NULL), AGI_OK);
	assert_true(bond.index == 1.0 && !bond.is_within);
	assert_int_equal(agi_bond_compute(&bond, AGI_EVAL_REFERENCE, &a, 1, &b, 1, &pool, NULL), AGI_OK);
	assert_true(bond.index == 0.0 && bond.is_within);
	agi_pool_free(&pool);
}

static void positions_form_the_square_of_opposites_and_correlatives(void **state)
{
	(void)state;
	for (int i = AGI_HOHFELD_O; i <= AGI_HOHFELD_N; i++) {
		enum agi_hohfeld h = (enum agi_hohfeld)i;

		assert_int_equal(agi_hohfeld_correlative(agi_hohfeld_correlative(h)), h);
		assert_int_equal(agi_hohfeld_opposite(agi_hohfeld_opposite(h)), h);
		assert_int_equal(agi_hohfeld_opposite(agi_hohfeld_correlative(h)),
		                 agi_hohfeld_correlative(agi_hohfeld_opposite(h)));
		assert_int_equal(agi_hohfeld_parse((struct agi_str){(char[]){agi_hohfeld_letter(h)}, 1}), h);
	}
	assert_int_equal(agi_hohfeld_parse(AGI_STR("\0")), AGI_HOHFELD_INVALID);
	assert_int_equal(agi_hohfeld_parse(AGI_STR("O\0")), AGI_HOHFELD_INVALID);
}

/* --- 6: failures and empty plans ------------------------------------------------------------------ */
static void every_failure_of_erisml_blocks_in_every_mode(void **state)
{
	struct agi_plan_step one = step("s", "report");
	struct agi_plan plan = {.steps = &one, .n_steps = 1};
	struct agi_gateway_check c;
	struct setup s;

	(void)state;
	for (int mode = AGI_EVAL_STRICT; mode <= AGI_EVAL_REFERENCE; mode++)
		for (int cause = AGI_CHECK_OK; cause < AGI_CHECK_CAUSES; cause++) {
			set_up(&s, (enum agi_eval_mode)mode);
			assert_int_equal(agi_gateway_begin(&c, &s.policy, &plan, &s.pool, &s.result),
			                 AGI_GATEWAY_NEED_ERISML);
			agi_gateway_fail(&c, (enum agi_check_cause)cause, "detail", &s.result);
			assert_int_equal(s.result.decision, AGI_DECISION_BLOCK);
			assert_true(s.result.risk == 1.0);
			assert_int_not_equal(s.result.cause, AGI_CHECK_OK);
			assert_int_equal(s.result.reasons.n, 1);
			tear_down(&s);
		}
}

typedef void bend_fn(struct answer *a);
static void another_number_of_steps(struct answer *a) { a->eval.n_steps = 0; }
static void unknown_verdict(struct answer *a) { a->step.verdict = AGI_VERDICT_UNKNOWN; }
static void forbidden_but_not_vetoed(struct answer *a) { a->step.verdict = AGI_VERDICT_FORBID; }
static void vetoed_but_preferred(struct answer *a) { a->step.is_vetoed = true; }
static void vetoed_but_approved(struct answer *a)
{
	a->step.is_vetoed = true;
	a->step.verdict = AGI_VERDICT_FORBID;
}
static void not_approved_without_veto(struct answer *a) { a->eval.is_approved = false; }
static struct agi_str stray_id = {"s", 1};
static void blocked_without_veto(struct answer *a)
{
	a->eval.blocked = (struct agi_strs){&stray_id, 1, 1};
	a->eval.is_approved = false;
}

static void an_answer_that_contradicts_itself_blocks_in_every_mode(void **state)
{
	static bend_fn *const bends[] = {another_number_of_steps, unknown_verdict,
	                                 forbidden_but_not_vetoed, vetoed_but_preferred,
	                                 vetoed_but_approved, not_approved_without_veto,
	                                 blocked_without_veto};
	struct setup s;
	struct answer a;

	(void)state;
	for (int mode = AGI_EVAL_STRICT; mode <= AGI_EVAL_REFERENCE; mode++)
		for (size_t i = 0; i < sizeof bends / sizeof *bends; i++) {
			good_answer(&a, AGI_VERDICT_PREFER);
			bends[i](&a);
			assert_int_equal(finish_with(&s, (enum agi_eval_mode)mode, &a), AGI_DECISION_BLOCK);
			assert_int_equal(s.result.cause, AGI_CHECK_ERISML_MALFORMED);
			tear_down(&s);
		}
}

static void an_empty_plan_is_to_be_revised(void **state)
{
	struct setup s;

	(void)state;
	set_up(&s, AGI_EVAL_STRICT);
	check(&s, NULL, 0);
	assert_int_equal(s.result.decision, AGI_DECISION_REVISE);
	assert_true(agi_strs_has(&s.result.reasons, AGI_STR("empty plan")));
	tear_down(&s);
	set_up(&s, AGI_EVAL_REFERENCE);
	check(&s, NULL, 0);
	assert_int_equal(s.result.decision, AGI_DECISION_ALLOW);
	tear_down(&s);
}

static void a_plan_larger_than_what_is_checked_blocks(void **state)
{
	struct agi_plan_step *steps = test_calloc(10001, sizeof *steps);
	struct setup s;

	(void)state;
	set_up(&s, AGI_EVAL_REFERENCE);
	check(&s, steps, 10001);
	assert_int_equal(s.result.decision, AGI_DECISION_BLOCK);
	assert_int_equal(s.result.cause, AGI_CHECK_TOO_LARGE);
	tear_down(&s);
	set_up(&s, AGI_EVAL_STRICT);
	check(&s, steps, 10000);
	assert_int_equal(s.result.decision, AGI_DECISION_ALLOW);
	tear_down(&s);
	test_free(steps);
}

static void too_little_memory_never_allows_more(void **state)
{
	struct agi_plan_step steps[] = {step("a", "report"), step("b", "lie"), step("c", "help")};
	unsigned blocked_for_memory = 0;

	(void)state;
	for (size_t n = 1; n <= 3; n += 2)
		for (size_t bytes = 1; bytes < 20000; bytes += 97) {
			struct setup s;
			bool is_good = n == 1;

			set_up(&s, AGI_EVAL_STRICT);
			agi_pool_init(&s.pool, bytes);
			check(&s, steps, n);
			assert_true(s.result.decision == AGI_DECISION_BLOCK ||
			            (is_good && s.result.decision == AGI_DECISION_ALLOW));
			assert_true(s.result.reasons.n > 0);
			blocked_for_memory += s.result.cause != AGI_CHECK_OK;
			tear_down(&s);
		}
	assert_true(blocked_for_memory > 10);
}

/* --- 7: proofs ------------------------------------------------------------------------------------ */
static void expect_linked(const struct agi_proof *p, struct agi_str previous, const char *verdict,
                          struct agi_pool *pool)
{
	const struct agi_str parts[] = {p->decision_id,  AGI_STR(":"), p->input_facts_hash,
	                                AGI_STR(":"),    p->profile_name, AGI_STR(":"),
	                                agi_str_of(verdict), AGI_STR(":"), previous};
	uint8_t digest[32];
	char hex[65];

	agi_sha256(digest, agi_pool_concat(pool, parts, 9));
	agi_hex(hex, digest, 32);
	assert_true(agi_str_eq(p->previous_proof_hash, previous));
	assert_true(agi_str_eq(p->proof_hash, agi_str_of(hex)));
	assert_int_equal(p->input_facts_hash.n, 64);
	assert_int_equal(p->profile_hash.n, 64);
}

static void evaluate(struct setup *s, const struct agi_facts *f, size_t n, struct agi_plan_eval *out)
{
	struct agi_proof_ctx ctx = {.policy = &s->erisml.policy, .wall_us = 1700000000123456,
	                            .chain = &s->erisml.chain, .pool = &s->pool};

	assert_int_equal(agi_erisml_plan(out, &ctx, f, n, true, NULL), AGI_OK);
}

static void proofs_are_whole_hashes_in_one_chain_with_the_plan(void **state)
{
	struct agi_facts f[2] = {good_facts(), good_facts()};
	struct agi_plan_eval e;
	struct setup s;

	(void)state;
	f[1].violates_rights = true;
	f[1].option_id = AGI_STR("t");
	set_up(&s, AGI_EVAL_STRICT);
	evaluate(&s, f, 2, &e);
	expect_linked(e.steps[0].proof, AGI_STR(""), "strongly_prefer", &s.pool);
	expect_linked(e.steps[1].proof, e.steps[0].proof->proof_hash, "forbid", &s.pool);
	expect_linked(e.proof, e.steps[1].proof->proof_hash, "blocked", &s.pool);
	assert_true(agi_str_eq(agi_str_of(s.erisml.chain.head), e.proof->proof_hash));
	assert_int_equal(s.erisml.chain.length, 3);
	assert_true(agi_str_eq(e.proof->timestamp, AGI_STR("2023-11-14T22:13:20.123456+00:00")));
	tear_down(&s);
}

static void reference_proofs_are_short_and_leave_the_plan_out(void **state)
{
	struct agi_facts f = good_facts();
	struct agi_plan_eval e;
	struct setup s;

	(void)state;
	set_up(&s, AGI_EVAL_REFERENCE);
	evaluate(&s, &f, 1, &e);
	assert_int_equal(e.steps[0].proof->proof_hash.n, 16);
	assert_int_equal(e.steps[0].proof->input_facts_hash.n, 16);
	assert_int_equal(e.proof->proof_hash.n, 0);
	assert_int_equal(s.erisml.chain.length, 1);
	assert_true(agi_str_eq(agi_str_of(s.erisml.chain.head), e.steps[0].proof->proof_hash));
	tear_down(&s);
}

static void the_profile_hash_tells_policies_apart(void **state)
{
	struct agi_eval_policy a, b;
	char x[AGI_HASH_TEXT], y[AGI_HASH_TEXT];

	(void)state;
	agi_eval_policy_default(&a);
	b = a;
	b.physical_harm_threshold = 0.5;
	agi_profile_hash(x, &a, a.profile_name);
	agi_profile_hash(y, &b, b.profile_name);
	assert_string_not_equal(x, y);
	agi_profile_hash(y, &a, AGI_STR("other"));
	assert_string_not_equal(x, y);
}

static void timestamps_are_civil_dates(void **state)
{
	static const struct {
		uint64_t s;
		const char *text;
	} known[] = {{0, "1970-01-01T00:00:00.000000+00:00"},
	             {951782400, "2000-02-29T00:00:00.000000+00:00"},
	             {1709251199, "2024-02-29T23:59:59.000000+00:00"},
	             {4107542400, "2100-03-01T00:00:00.000000+00:00"}};

	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		char text[AGI_TIMESTAMP_TEXT];

		agi_timestamp(text, known[i].s * 1000000);
		assert_string_equal(text, known[i].text);
	}
}

/* --- 8: what the reference leaves empty ----------------------------------------------------------- */
static void tensor_rates_and_rankings_are_filled(void **state)
{
	struct agi_facts f[3] = {good_facts(), good_facts(), good_facts()};
	struct agi_plan_eval e;
	struct setup s;

	(void)state;
	f[0].option_id = AGI_STR("worse");
	f[0].expected_benefit = 0.1f;
	f[1].option_id = AGI_STR("better");
	f[2].option_id = AGI_STR("never");
	f[2].discriminates_on_protected_attr = true;
	set_up(&s, AGI_EVAL_STRICT);
	evaluate(&s, f, 3, &e);
	assert_int_equal(e.tensor->n_steps, 3);
	for (size_t i = 0; i < 3; i++)
		for (size_t d = 0; d < AGI_MORAL_DIMS; d++)
			assert_true(e.tensor->data[d * 3 + i] == e.steps[i].moral[d]);
	assert_true(agi_strs_has(&e.tensor->flags, AGI_STR("DISCRIMINATION")));
	assert_true(e.bond->correlative_rate == 1.0 && e.bond->negation_rate == 0.0);
	assert_int_equal(e.proof->candidates.n, 3);
	assert_int_equal(e.proof->ranked.n, 2);
	assert_true(agi_str_eq(e.proof->ranked.p[0], AGI_STR("better")));
	assert_int_equal(e.proof->forbidden.n, 1);
	assert_int_equal(e.steps[0].proof->ranked.n, 1);
	assert_int_equal(e.steps[2].proof->ranked.n, 0);
	tear_down(&s);
}

static void the_gateway_says_why_and_proves_it(void **state)
{
	struct agi_plan_step steps[] = {step("a", "report"), step("b", "delete")};
	struct setup s;

	(void)state;
	set_up(&s, AGI_EVAL_STRICT);
	check(&s, steps, 2);
	assert_int_equal(s.result.decision, AGI_DECISION_BLOCK);
	assert_int_equal(s.result.categories,
	                 1u << AGI_RISK_RIGHTS_VIOLATION);
	assert_non_null(s.result.proof);
	assert_int_equal(s.result.proof->proof_hash.n, 64);
	assert_int_equal(s.result.n_steps, 1);
	assert_true(agi_strs_has(&s.result.steps[0].reasons, AGI_STR("explicit_rights_violation")));
	tear_down(&s);
	set_up(&s, AGI_EVAL_REFERENCE);
	check(&s, steps, 2);
	assert_int_equal(s.result.categories, 0);
	assert_null(s.result.proof);
	assert_int_equal(s.result.steps[0].reasons.n, 0);
	tear_down(&s);
}

/* --- the wire ------------------------------------------------------------------------------------- */
static void an_answer_survives_the_wire(void **state)
{
	struct agi_plan_step steps[] = {step("a", "report"), step("b", "lie"), step("c", "help")};
	struct setup s;
	struct agi_check_result back;
	Agi__Safety__V1__CheckPlanResponse *m;
	struct agi_pair more = {AGI_STR("latency_ms"), AGI_STR("1.00")};

	(void)state;
	set_up(&s, AGI_EVAL_STRICT);
	check(&s, steps, 3);
	m = agi_check_to_pb(&s.result, &more, 1, &s.pool);
	assert_non_null(m);
	agi_check_from_pb(&back, m, &s.pool);
	assert_int_equal(back.decision, s.result.decision);
	assert_int_equal(back.categories, s.result.categories);
	assert_int_equal(back.reasons.n, s.result.reasons.n);
	assert_int_equal(back.n_steps, s.result.n_steps);
	assert_string_equal(back.phase, s.result.phase);
	assert_true(agi_str_eq(back.proof->proof_hash, s.result.proof->proof_hash));
	tear_down(&s);
}

static void a_vote_that_approves_against_its_decision_is_none(void **state)
{
	Agi__Safety__V1__CheckPlanResponse m = AGI__SAFETY__V1__CHECK_PLAN_RESPONSE__INIT;
	Agi__Safety__V1__SafetyResult r = AGI__SAFETY__V1__SAFETY_RESULT__INIT;
	struct agi_check_result back;
	struct agi_pool pool;

	(void)state;
	agi_pool_init(&pool, 0);
	agi_check_from_pb(&back, &m, &pool); /* no result at all */
	assert_int_equal(back.decision, AGI_DECISION_NONE);
	m.result = &r;
	for (int d = -1; d <= 6; d++)
		for (int approved = 0; approved < 2; approved++) {
			r.decision = (Agi__Safety__V1__SafetyDecision)d;
			m.plan_approved = approved;
			agi_check_from_pb(&back, &m, &pool);
			if (approved != (d == 1) || d < 1 || d > 4)
				assert_int_equal(back.decision, AGI_DECISION_NONE);
			else
				assert_int_equal(agi_decision_to_pb(back.decision), d);
		}
	agi_pool_free(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_input_out_of_range_vetoes),
	    cmocka_unit_test(inputs_at_the_ends_of_their_range_are_valid),
	    cmocka_unit_test(the_most_reasons_and_flags_of_one_step_fit),
	    cmocka_unit_test(the_built_in_profile_gives_the_same_score_in_both_modes),
	    cmocka_unit_test(a_profile_weighs_and_vetoes_in_strict_mode_only),
	    cmocka_unit_test(a_policys_profile_that_is_not_known_forbids_every_step),
	    cmocka_unit_test(a_requests_name_that_no_profile_has_is_a_name_only),
	    cmocka_unit_test(a_simulated_risk_that_is_no_probability_is_handed_on),
	    cmocka_unit_test(invalid_sensor_readings_are_unsafe),
	    cmocka_unit_test(maxims_are_whole_words_of_the_tool_id),
	    cmocka_unit_test(a_nul_byte_is_part_of_the_id),
	    cmocka_unit_test(the_stricter_of_both_harm_thresholds_vetoes),
	    cmocka_unit_test(the_gateways_own_threshold_holds_against_a_laxer_erisml),
	    cmocka_unit_test(a_step_to_avoid_makes_the_plan_revise),
	    cmocka_unit_test(bond_index_warns_and_then_decides),
	    cmocka_unit_test(a_missing_bond_index_is_the_worst),
	    cmocka_unit_test(bond_index_action_is_configurable_but_never_allows),
	    cmocka_unit_test(declared_positions_are_measured),
	    cmocka_unit_test(an_invalid_or_half_declared_position_makes_the_index_uncomputable),
	    cmocka_unit_test(a_confidence_out_of_range_makes_the_index_uncomputable),
	    cmocka_unit_test(positions_form_the_square_of_opposites_and_correlatives),
	    cmocka_unit_test(every_failure_of_erisml_blocks_in_every_mode),
	    cmocka_unit_test(an_answer_that_contradicts_itself_blocks_in_every_mode),
	    cmocka_unit_test(an_empty_plan_is_to_be_revised),
	    cmocka_unit_test(a_plan_larger_than_what_is_checked_blocks),
	    cmocka_unit_test(too_little_memory_never_allows_more),
	    cmocka_unit_test(proofs_are_whole_hashes_in_one_chain_with_the_plan),
	    cmocka_unit_test(reference_proofs_are_short_and_leave_the_plan_out),
	    cmocka_unit_test(the_profile_hash_tells_policies_apart),
	    cmocka_unit_test(timestamps_are_civil_dates),
	    cmocka_unit_test(tensor_rates_and_rankings_are_filled),
	    cmocka_unit_test(the_gateway_says_why_and_proves_it),
	    cmocka_unit_test(an_answer_survives_the_wire),
	    cmocka_unit_test(a_vote_that_approves_against_its_decision_is_none),
	};

	return agi_crypto_init() ? 1 : cmocka_run_group_tests_name("strict", tests, NULL, NULL);
}
