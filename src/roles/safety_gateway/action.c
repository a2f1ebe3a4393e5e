/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/safety_gateway/action.h"

#include <math.h>

static double reading_or(const struct agi_reading *r, size_t n, struct agi_str sensor, double otherwise)
{
	for (size_t i = 0; i < n; i++)
		if (agi_str_eq(r[i].sensor, sensor))
			return r[i].value;
	return otherwise;
}

static struct agi_action_check stop(struct agi_str reason)
{
	return (struct agi_action_check){
	    .decision = AGI_DECISION_BLOCK, .risk = 1.0, .reason = reason, .is_emergency_stop = true};
}

static struct agi_action_check block(struct agi_pool *pool, struct agi_str label, struct agi_str what)
{
	const struct agi_str parts[] = {label, what};
	struct agi_str reason = agi_pool_concat(pool, parts, 2);

	return (struct agi_action_check){
	    .decision = AGI_DECISION_BLOCK, .risk = 1.0, .reason = reason.n ? reason : label};
}

bool agi_action_readings(struct agi_action_check *out, enum agi_eval_mode mode,
                         const struct agi_reading *readings, size_t n, struct agi_pool *pool)
{
	for (size_t i = 0; mode == AGI_EVAL_STRICT && i < n; i++)
		if (!isfinite(readings[i].value)) {
			*out = block(pool, AGI_STR("invalid_input:"), readings[i].sensor);
			out->is_emergency_stop = true;
			return true;
		}
	if (reading_or(readings, n, AGI_STR("proximity"), 1.0) < 0.1) {
		*out = stop(AGI_STR("Collision imminent"));
		return true;
	}
	if (reading_or(readings, n, AGI_STR("force"), 0.0) > 100.0) {
		*out = stop(AGI_STR("Excessive force detected"));
		return true;
	}
	return false;
}

bool agi_action_rules(struct agi_action_check *out, const struct agi_gateway_policy *policy,
                      const struct agi_plan_step *step, const struct agi_reading *readings, size_t n,
                      struct agi_pool *pool)
{
	const struct agi_rule_subject subject = {AGI_RULE_OF_ACTIONS, step, readings, n};
	struct agi_rule_finding f;

	if (policy->eval.mode != AGI_EVAL_STRICT || !policy->rule_set)
		return false;
	agi_rules_judge(policy->rule_set, &subject, pool, &f);
	if (f.decision == AGI_DECISION_ALLOW && !pool->err)
		return false;
	if (pool->err || !f.reasons.n) {
		*out = block(pool, AGI_STR("rules could not be judged"), AGI_STR(""));
		return true;
	}
	*out = (struct agi_action_check){f.decision, f.risk, f.reasons.p[0], f.is_stop,
	                                 {f.reasons.p + 1, f.reasons.n - 1, f.reasons.n - 1}};
	return true;
}

void agi_action_check(struct agi_action_check *out, const struct agi_gateway_policy *policy,
                      const struct agi_plan_step *step, const struct agi_reading *readings, size_t n,
                      struct agi_pool *pool)
{
	if (agi_action_readings(out, policy->eval.mode, readings, n, pool))
		return;
	for (size_t i = 0; step && i < policy->n_banned; i++)
		if (agi_str_eq(policy->banned[i], step->tool_id)) {
			*out = block(pool, AGI_STR("Banned tool: "), step->tool_id);
			return;
		}
	if (!agi_action_rules(out, policy, step, readings, n, pool))
		*out = (struct agi_action_check){
		    .decision = AGI_DECISION_ALLOW, .risk = 0.1, .reason = AGI_STR("Action safe to continue")};
}

struct agi_reflex agi_reflex_check(enum agi_eval_mode mode, float physical_harm_risk,
                                   float collision_probability, bool emergency_flag)
{
	if (emergency_flag)
		return (struct agi_reflex){false, "emergency flag set"};
	if (mode == AGI_EVAL_STRICT && !agi_is_share(physical_harm_risk))
		return (struct agi_reflex){false, "invalid_input:physical_harm_risk"};
	if (mode == AGI_EVAL_STRICT && !agi_is_share(collision_probability))
		return (struct agi_reflex){false, "invalid_input:collision_probability"};
	if ((double)physical_harm_risk > 0.9)
		return (struct agi_reflex){false, "physical_harm_risk above 0.9"};
	if ((double)collision_probability > 0.8)
		return (struct agi_reflex){false, "collision_probability above 0.8"};
	return (struct agi_reflex){true, ""};
}
