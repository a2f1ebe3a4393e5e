/* SPDX-License-Identifier: Apache-2.0
 * The safety plane's services on a gRPC server whose loop is not the plane's: the request's bytes go there by
 * mailbox, the answer's bytes come back.
 *
 * A call is touched on its own loop (home) only. An answer finds it by place and generation; when the call was
 * cancelled or its connection died meanwhile, the place has another generation and the answer is dropped. Bounded:
 * AGI_SAFETY_DOOR_CALLS. Whatever goes wrong with a check is answered BLOCK: no place, a full mailbox, no answer in
 * time; with an evaluation or a report, an error.
 *
 * Life: _new → _serve → … → home's server freed, safety loop stopped → _free. */
#ifndef AGI_NODE_SAFETY_DOOR_H
#define AGI_NODE_SAFETY_DOOR_H

#include "net/loop_thread.h"
#include "node/safety_plane.h"

struct agi_safety_door;

enum {
	AGI_SAFETY_DOOR_CALLS = 1024,
	AGI_SAFETY_DOOR_LATE_MS = 20 /* after the check's own deadline: for both ways */
};

/* timeout_ms: of a check (failsafe.safety_check_timeout_ms). */
AGI_MUST_USE enum agi_err agi_safety_door_new(struct agi_loop *home, struct agi_loop *safety,
                                              struct agi_safety_plane *plane, uint32_t timeout_ms,
                                              struct agi_safety_door **out);
/* agi.safety.v1.PreActionSafetyService; server lives on home. */
AGI_MUST_USE enum agi_err agi_safety_door_serve(struct agi_safety_door *d, struct agi_grpc_server *server);
/* agi.erisml.v1.ErisMLService, likewise. */
AGI_MUST_USE enum agi_err agi_safety_door_serve_erisml(struct agi_safety_door *d,
                                                       struct agi_grpc_server *server);
/* agi.safety.v1.PostActionSafetyService, likewise. */
AGI_MUST_USE enum agi_err agi_safety_door_serve_outcomes(struct agi_safety_door *d, struct agi_grpc_server *server);
/* NULL is allowed. */
void agi_safety_door_free(struct agi_safety_door *d);
/* Calls that wait. */
uint32_t agi_safety_door_waiting(const struct agi_safety_door *d);

#endif
