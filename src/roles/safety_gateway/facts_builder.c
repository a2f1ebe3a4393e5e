/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/safety_gateway/facts_builder.h"

#include "roles/safety_gateway/words.h"

static const char *const harmful_tools[] = {"delete",         "destroy",     "terminate",
                                            "override_safety", "force_shutdown", "bypass_auth", NULL};
static const char *const consent_tools[] = {"access_personal_data", "modify_user_settings",
                                            "read_private_files",   "send_notification",
                                            "modify_preferences",   NULL};
static const char *const high_risk_tools[] = {"physical_manipulation", "navigation",
                                              "power_control",         "motor_control",
                                              "gripper_control",       "arm_movement", NULL};

static bool is_one_of(struct agi_str s, const char *const *list)
{
	for (; *list; list++)
		if (agi_str_eq(s, agi_str_of(*list)))
			return true;
	return false;
}

static bool has_tag(const struct agi_plan_step *step, const char *tag)
{
	for (size_t i = 0; i < step->n_tags; i++)
		if (agi_str_eq(step->tags[i], agi_str_of(tag)))
			return true;
	return false;
}

struct agi_str agi_step_param(const struct agi_plan_step *step, const char *name)
{
	for (size_t i = 0; i < step->n_params; i++)
		if (agi_str_eq(step->params[i].key, agi_str_of(name)))
			return step->params[i].value.n ? step->params[i].value : AGI_STR("");
	return (struct agi_str){NULL, 0};
}

static double benefit_of(const struct agi_plan_step *step)
{
	static const char *const modest[] = {"plan", "observe", "analyze", NULL};

	if (step->level == 0) /* a mission; also what a step without a level looks like */
		return 0.9;
	if (agi_str_eq(step->kind, AGI_STR("action")))
		return 0.6;
	return is_one_of(step->kind, modest) ? 0.4 : 0.5;
}

static double urgency_of(const struct agi_plan_step *step)
{
	static const struct {
		const char *tag;
		double urgency;
	} order[] = {{"emergency", 1.0}, {"time_critical", 0.8}, {"urgent", 0.6}, {"routine", 0.2}};

	for (size_t i = 0; i < sizeof order / sizeof *order; i++)
		if (has_tag(step, order[i].tag))
			return order[i].urgency;
	return 0.3;
}

struct risk {
	double harm, collision, uncertainty;
};

static double step_risk_at(const struct agi_simulation *sim, int32_t index)
{
	size_t i = index < 0 ? 0 : (size_t)index;

	return i < sim->n_step_risk ? sim->step_risk[i] : 0.0;
}

static struct risk risk_of(const struct agi_plan_step *step, const struct agi_simulation *sim,
                           enum agi_eval_mode mode)
{
	/* strict: NaN and negative risks count as given, and are vetoed as invalid input */
	bool is_simulated = sim && (mode == AGI_EVAL_STRICT ? !(sim->overall_risk == 0.0f)
	                                                     : sim->overall_risk > 0.0f);

	if (is_simulated)
		return (struct risk){sim->overall_risk, step_risk_at(sim, step->index), 0.1};
	if (is_one_of(step->tool_id, high_risk_tools))
		return (struct risk){0.3, 0.2, 0.7};
	if (is_one_of(step->tool_id, harmful_tools))
		return (struct risk){0.5, 0.1, 0.5};
	return (struct risk){0.05, 0.01, 0.3};
}

static int32_t affected_count(const struct agi_world *world)
{
	size_t n = 1;

	if (world && world->has_nearby_agents)
		n = world->n_nearby_agents + 1;
	else if (world && world->has_affected_entities)
		n = world->n_affected_entities;
	return n > INT32_MAX ? INT32_MAX : (int32_t)n;
}

static bool has_consent(const struct agi_plan_step *step)
{
	struct agi_str v;

	if (!is_one_of(step->tool_id, consent_tools))
		return true;
	v = agi_step_param(step, "consent_obtained");
	return agi_folded_equals(v, "true") || agi_folded_equals(v, "yes") ||
	       agi_folded_equals(v, "1");
}

/* The first line that fits names the maxim. */
static struct agi_str maxim_of(const struct agi_plan_step *step, enum agi_eval_mode mode)
{
	static const struct {
		const char *words[4], *tags[3], *kind;
	} maxims[] = {
	    {{"harm", "attack"}, {NULL}, "inflict_harm"},
	    {{"deceive", "lie", "mislead"}, {"deception"}, "deceive"},
	    {{"coerce", "threaten"}, {"coercion"}, "coerce"},
	    {{"protect"}, {"protect", "safeguard"}, "protect"},
	    {{"assist", "help"}, {NULL}, "help"},
	};

	if (is_one_of(step->tool_id, harmful_tools))
		return AGI_STR("inflict_harm");
	for (size_t i = 0; i < sizeof maxims / sizeof *maxims; i++) {
		for (size_t k = 0; maxims[i].tags[k]; k++)
			if (has_tag(step, maxims[i].tags[k]))
				return agi_str_of(maxims[i].kind);
		for (size_t k = 0; maxims[i].words[k]; k++)
			if (mode == AGI_EVAL_STRICT
			        ? agi_folded_has_word(step->tool_id, maxims[i].words[k])
			        : agi_folded_contains(step->tool_id, maxims[i].words[k]))
				return agi_str_of(maxims[i].kind);
	}
	return (struct agi_str){"", 0};
}

static struct agi_str polarity_of(const struct agi_plan_step *step)
{
	bool is_negated = has_tag(step, "negated") || has_tag(step, "refrain") ||
	                  agi_folded_equals(agi_step_param(step, "negated"), "true");

	return is_negated ? AGI_STR("negated") : AGI_STR("affirmed");
}

void agi_facts_build(struct agi_facts *out, enum agi_eval_mode mode, const struct agi_plan_step *step,
                     const struct agi_simulation *simulation, const struct agi_world *world)
{
	struct risk risk = risk_of(step, simulation, mode);
	bool is_harmful = is_one_of(step->tool_id, harmful_tools);

	*out = (struct agi_facts){
	    .option_id = step->step_id,
	    .expected_benefit = (float)benefit_of(step),
	    .expected_harm = (float)risk.harm,
	    .physical_harm_risk = (float)risk.harm,
	    .collision_probability = (float)risk.collision,
	    .uncertainty_level = (float)risk.uncertainty,
	    .evidence_quality = (float)(1.0 - risk.uncertainty),
	    .urgency = (float)urgency_of(step),
	    .affected_count = affected_count(world),
	    .violates_rights = is_harmful || has_tag(step, "rights_violation"),
	    .has_valid_consent = has_consent(step),
	    .violates_explicit_rule = is_harmful,
	    .novel_situation = has_tag(step, "novel") || has_tag(step, "unprecedented") ||
	                       has_tag(step, "first_encounter"),
	    .maxim_action_kind = maxim_of(step, mode),
	};
	if (out->maxim_action_kind.n)
		out->maxim_polarity = polarity_of(step);
}
