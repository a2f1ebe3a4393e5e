/* SPDX-License-Identifier: Apache-2.0
 * Where a role is served: the instances the core has at hand, else those the overlay tells. A role that was
 * asked for once is followed from then on, so that the next call need not wait. */
#ifndef AGI_NODE_ROLE_FIND_H
#define AGI_NODE_ROLE_FIND_H

#include "node/dht_host.h"
#include "node/svc_forward.h"

/* Calls fn exactly once, perhaps before it returns, within timeout_ms; not at all once the host is freed. role
 * must be one of agi_forward_role_at: what is followed is followed for good. */
void agi_role_find(struct agi_dht_host *host, struct agi_str role, uint32_t timeout_ms,
                   agi_forward_found_fn *fn, void *arg);

/* Asks for the role's instances when fewer than least (up to AGI_PANEL_MAX) are known. What is found is in the core's
 * cache then. */
void agi_role_look(struct agi_dht_host *host, struct agi_str role, size_t least, uint32_t timeout_ms);

#endif
