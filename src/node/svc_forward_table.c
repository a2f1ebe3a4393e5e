/* SPDX-License-Identifier: Apache-2.0
 * Which role serves what. */
#include "agihpc.pb-c.h"
#include "erisml.pb-c.h"
#include "memory.pb-c.h"
#include "node/svc_forward_impl.h"
#include "plan.pb-c.h"
#include "rh.pb-c.h"
#include "safety.pb-c.h"

static const struct agi_forward_service services[] = {
    {&agi__plan__v1__plan_service__descriptor, "lh-planner", NULL},
    {&agi__plan__v1__simulation_service__descriptor, "rh-world-model", NULL},
    {&agi__erisml__v1__eris_mlservice__descriptor, "erisml", NULL},
    {&agi__safety__v1__in_action_safety_service__descriptor, "in-action", NULL},
    {&agi__safety__v1__post_action_safety_service__descriptor, "post-action", NULL},
    {&agi__memory__v1__semantic_memory_service__descriptor, "semantic-memory", NULL},
    {&agi__memory__v1__episodic_memory_service__descriptor, "episodic-memory", NULL},
    {&agi__memory__v1__procedural_memory_service__descriptor, "procedural-memory", NULL},
    /* EnrichPlanningContext joins all three memories, and the guide has no role of its own for it. Facts
     * are what every context holds (the other two are optional), and tool schemas, the fourth part of its
     * answer, are the semantic memory's alone: one hop fewer than from anywhere else. */
    {&agi__memory__v1__unified_memory_service__descriptor, "semantic-memory", NULL},
    {&agi__rh__v1__perception_service__descriptor, "rh-world-model", NULL},
    {&agi__rh__v1__world_model_service__descriptor, "rh-world-model", NULL},
    {&agi__rh__v1__control_execution_service__descriptor, "rh-world-model", NULL},
    {&agi__rh__v1__rhhealth_service__descriptor, "rh-world-model", NULL},
    {&agihpc__v1__event_service__descriptor, "event-fabric", "Subscribe"},
};
enum { SERVICES = sizeof services / sizeof *services };
static_assert((size_t)SERVICES <= (size_t)AGI_FORWARD_SERVICES_MAX, "raise SERVICES_MAX");

const struct agi_forward_service *agi_forward_service_at(size_t i)
{
	return i < SERVICES ? &services[i] : NULL;
}

const char *agi_forward_role_of(const char *service)
{
	for (size_t i = 0; i < SERVICES; i++)
		if (strcmp(services[i].desc->name, service) == 0)
			return services[i].role;
	return NULL;
}

static bool is_first_of_role(size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (strcmp(services[k].role, services[i].role) == 0)
			return false;
	return true;
}

const char *agi_forward_role_at(size_t i)
{
	for (size_t k = 0; k < SERVICES; k++)
		if (is_first_of_role(k) && i-- == 0)
			return services[k].role;
	return NULL;
}
