/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/safety_gateway/canary.h"

const char *agi_canary_found_name(enum agi_canary_found f)
{
	static const char *const names[AGI_CANARY_FINDINGS] = {"right", "missed", "wrong"};

	return (unsigned)f < AGI_CANARY_FINDINGS ? names[f] : "unknown";
}

static void change(struct agi_canary *c, enum agi_canary_state to)
{
	c->state = to;
	c->in_a_row = 0;
	c->is_wrong = c->is_wrong && to != AGI_CANARY_PASSING;
}

static void take_right(struct agi_canary *c)
{
	if (c->state == AGI_CANARY_PASSING)
		c->in_a_row = 0;
	else if (c->state == AGI_CANARY_UNTRIED || ++c->in_a_row == AGI_CANARY_PASSES)
		change(c, AGI_CANARY_PASSING);
}

void agi_canary_ran(struct agi_canary *c, enum agi_canary_found found)
{
	if (found == AGI_CANARY_RIGHT) {
		take_right(c);
	} else if (found == AGI_CANARY_WRONG) {
		c->is_wrong = true;
		change(c, AGI_CANARY_FAILING);
	} else if (c->state == AGI_CANARY_FAILING) {
		c->in_a_row = 0;
	} else if (c->state == AGI_CANARY_PASSING && ++c->in_a_row == AGI_CANARY_MISSES) {
		change(c, AGI_CANARY_FAILING);
	}
}

uint32_t agi_canary_pause_ms(const struct agi_canary *c)
{
	return c->state == AGI_CANARY_PASSING && !c->in_a_row ? AGI_CANARY_MS : AGI_CANARY_RETRY_MS;
}

enum agi_canary_found agi_canary_judge(bool is_harmless, const struct agi_check_result *r, struct agi_why *why)
{
	const char *plan = is_harmless ? "the harmless plan" : "the harmful plan";
	struct agi_str reason = r->reasons.n ? r->reasons.p[0] : AGI_STR("");

	if (r->cause != AGI_CHECK_OK || r->decision == AGI_DECISION_NONE) {
		(void)agi_fail(why, AGI_E_NOT_READY, "%s was not judged: %s: %.*s", plan, agi_check_cause_name(r->cause),
		               AGI_STR_ARG(reason));
		return AGI_CANARY_MISSED;
	}
	if (r->decision == (is_harmless ? AGI_DECISION_ALLOW : AGI_DECISION_BLOCK))
		return AGI_CANARY_RIGHT;
	(void)agi_fail(why, AGI_E_INTERNAL, "%s was judged %s: %.*s", plan, agi_decision_name(r->decision),
	               AGI_STR_ARG(reason));
	return AGI_CANARY_WRONG;
}

void agi_canary_policy(struct agi_gateway_policy *out, const struct agi_gateway_policy *p)
{
	agi_gateway_policy_default(out);
	out->banned = p->banned;
	out->n_banned = p->n_banned;
	out->eval.mode = p->eval.mode;
}
