/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/decision.h"

static enum ctl_exit exit_of(Agi__Safety__V1__SafetyDecision d)
{
	switch (d) {
	case AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_ALLOW:
		return CTL_OK;
	case AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_REVISE:
		return CTL_REVISE;
	case AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_DEFER:
		return CTL_DEFER;
	default:
		return CTL_BLOCK;
	}
}

static bool has_blocked_step(const Agi__Safety__V1__CheckPlanResponse *res)
{
	for (size_t i = 0; i < res->n_step_results; i++)
		if (res->step_results[i]->result &&
		    exit_of(res->step_results[i]->result->decision) == CTL_BLOCK)
			return true;
	return false;
}

enum ctl_exit ctl_decide(const Agi__Safety__V1__CheckPlanResponse *res, const char **doubt)
{
	enum ctl_exit decision = res->result ? exit_of(res->result->decision) : CTL_BLOCK;

	*doubt = NULL;
	if (!res->result)
		*doubt = "the answer holds no result";
	else if (decision == CTL_BLOCK &&
		 res->result->decision != AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_BLOCK)
		*doubt = "the answer holds no known decision";
	else if (decision == CTL_OK && !res->plan_approved)
		*doubt = "the answer says ALLOW but does not approve the plan";
	else if (decision == CTL_OK && has_blocked_step(res))
		*doubt = "the answer says ALLOW but blocks a step";
	else if (decision != CTL_OK && res->plan_approved)
		*doubt = "the answer approves the plan but does not say ALLOW";
	return *doubt ? CTL_BLOCK : decision;
}

const char *ctl_decision_name(enum ctl_exit decision)
{
	switch (decision) {
	case CTL_OK:
		return "ALLOW";
	case CTL_REVISE:
		return "REVISE";
	case CTL_DEFER:
		return "DEFER";
	default:
		return "BLOCK";
	}
}
