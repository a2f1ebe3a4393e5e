/* SPDX-License-Identifier: Apache-2.0
 * agi.safety.v1.InActionSafetyService: checks made while a plan is carried out. CheckAction and ReflexCheck are
 * answered at once from what this host knows, its latch included; nothing leaves the host. One for each loop that has a
 * server with the service; everything runs on that loop.
 *
 * They are noted for the audit log without waiting for it: an action that is not allowed by itself, all others and reflexes
 * together every AGI_IN_ACTION_NOTE_MS. */
#ifndef AGI_NODE_SVC_IN_ACTION_H
#define AGI_NODE_SVC_IN_ACTION_H

#include "net/grpc.h"
#include "node/stop_latch.h"
#include "roles/audit/chain.h"
#include "roles/safety_gateway/action.h"
#include "roles/safety_gateway/policy.h"

struct agi_in_action;

enum { AGI_IN_ACTION_NOTE_MS = 100 /* what a host that is lost takes with it */ };

struct agi_in_action_cfg {
	struct event_base *base;
	const struct agi_policy_view *policy;
	const struct agi_latch *latch; /* of this loop */
	/* EmergencyStop: fn is called on this loop, once, perhaps never when the node stops. An error: not at all. */
	enum agi_err (*stop)(void *ctx, struct agi_str reason, struct agi_str source, agi_stop_set_fn *fn,
	                     void *arg);
	/* The body of an ACTION or a REFLEXES entry; borrowed until return. */
	void (*note)(void *ctx, enum agi_audit_kind kind, struct agi_str body);
	void *ctx;
};
AGI_MUST_USE enum agi_err agi_in_action_new(const struct agi_in_action_cfg *cfg, struct agi_in_action **out);
AGI_MUST_USE enum agi_err agi_in_action_serve(struct agi_in_action *a, struct agi_grpc_server *server);
/* Notes now what is to be noted; NULL is allowed. */
void agi_in_action_flush(struct agi_in_action *a);
/* After its server was freed and no answer of _stop can come any more. NULL is allowed. */
void agi_in_action_free(struct agi_in_action *a);

#endif
