/* SPDX-License-Identifier: Apache-2.0
 * A plan as roles see it: agi.plan.v1 as plain values (proto/plan.proto), borrowed from whoever decoded
 * it. Strings may hold NUL. A map is a list whose keys are unique. */
#ifndef AGI_ROLES_PLAN_H
#define AGI_ROLES_PLAN_H

#include <stdint.h>

#include "base/str.h"

struct agi_pair {
	struct agi_str key, value;
};

struct agi_plan_step {
	struct agi_str step_id;
	int32_t index, level;
	struct agi_str kind, description, parent_id, tool_id;
	bool requires_simulation;
	const struct agi_str *tags;
	size_t n_tags;
	const struct agi_pair *params;
	size_t n_params;
};

struct agi_plan {
	struct agi_str plan_id;
	const struct agi_plan_step *steps;
	size_t n_steps;
};

/* What a sensor says while a step is carried out. */
struct agi_reading {
	struct agi_str sensor;
	float value;
};

/* What a simulation said of a plan (agi.plan.v1.SimulationResult). */
struct agi_simulation {
	const float *step_risk;
	size_t n_step_risk;
	float overall_risk;
};

#endif
