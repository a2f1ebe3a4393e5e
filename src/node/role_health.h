/* SPDX-License-Identifier: Apache-2.0
 * What grpc.health.v1 says on the overlay port of services that belong to roles: of a role that runs here, whether
 * it serves; of one that does not, SERVING while a healthy instance is known that calls are handed on to. A
 * node that hands nothing on (node.forward) says NOT_SERVING of those: calls made here are not answered. */
#ifndef AGI_NODE_ROLE_HEALTH_H
#define AGI_NODE_ROLE_HEALTH_H

#include "node/svc.h"

struct agi_role_health {
	struct agi_svc *svc;
	bool hands_on; /* node.forward */
};

/* For struct agi_svc_health; ctx is a struct agi_role_health, which outlives the servers. */
enum agi_svc_state agi_role_health_state(void *ctx, struct agi_str service);
void agi_role_health_find_out(void *ctx, struct agi_str service, agi_svc_found_out_fn *fn, void *arg);

#endif
