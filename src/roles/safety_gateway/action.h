/* SPDX-License-Identifier: Apache-2.0
 * Checks made while acting: one action against its sensor readings, and the reflex. Pure, no ErisML, no
 * network, no memory but for one reason. */
#ifndef AGI_ROLES_SAFETY_GATEWAY_ACTION_H
#define AGI_ROLES_SAFETY_GATEWAY_ACTION_H

#include "roles/safety_gateway/gateway.h"

struct agi_action_check {
	enum agi_decision decision;
	double risk;
	struct agi_str reason; /* static or in the pool */
	bool is_emergency_stop;
	struct agi_strs more;  /* further reasons; in the pool */
};
/* step NULL = none was given. Readings: the keys are unique; "proximity" (metres) and "force" (newtons) are
 * judged; in strict mode any reading that is not finite makes the action unsafe, and the policy's rules must hold. */
void agi_action_check(struct agi_action_check *out, const struct agi_gateway_policy *policy,
                      const struct agi_plan_step *step, const struct agi_reading *readings, size_t n,
                      struct agi_pool *pool);
/* Of this only what the readings forbid by themselves; false: nothing, and out is untouched. */
bool agi_action_readings(struct agi_action_check *out, enum agi_eval_mode mode,
                         const struct agi_reading *readings, size_t n, struct agi_pool *pool);
/* Of this only what the policy's rules say (strict); false: they say nothing, and out is untouched. */
bool agi_action_rules(struct agi_action_check *out, const struct agi_gateway_policy *policy,
                      const struct agi_plan_step *step, const struct agi_reading *readings, size_t n,
                      struct agi_pool *pool);

struct agi_reflex {
	bool is_safe;
	const char *reason; /* static; "" when safe */
};
/* In strict mode a risk that is no probability is unsafe. */
struct agi_reflex agi_reflex_check(enum agi_eval_mode mode, float physical_harm_risk,
                                   float collision_probability, bool emergency_flag);

#endif
