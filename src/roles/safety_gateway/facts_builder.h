/* SPDX-License-Identifier: Apache-2.0
 * From a plan's step to the facts that ErisML judges: what its tool, tags and parameters imply. */
#ifndef AGI_ROLES_SAFETY_GATEWAY_FACTS_BUILDER_H
#define AGI_ROLES_SAFETY_GATEWAY_FACTS_BUILDER_H

#include "roles/erisml/evaluate.h"
#include "roles/plan.h"

/* What is known of who is around. Nothing on the wire carries it yet. */
struct agi_world {
	bool has_nearby_agents, has_affected_entities;
	size_t n_nearby_agents, n_affected_entities;
};

/* simulation and world may be NULL. Strings are borrowed from the step or static. In strict mode a maxim
 * is read from whole words of the tool id, not from any part of it, and a simulated risk that is no
 * probability is handed on as it is, for ErisML to veto. */
void agi_facts_build(struct agi_facts *out, enum agi_eval_mode mode, const struct agi_plan_step *step,
                     const struct agi_simulation *simulation, const struct agi_world *world);

/* The value of a parameter; p is NULL when the step has no such parameter. */
struct agi_str agi_step_param(const struct agi_plan_step *step, const char *name);

#endif
