/* SPDX-License-Identifier: Apache-2.0
 * The emergency stop over the node's two loops: the register is read and written where the core is (stop_latch.h), and
 * judged by on the safety loop too; a stop written here goes to every gateway known. Also the services of it:
 * agi.safety.v1.InActionSafetyService for both loops, agihpc.v1.SafetyService for the main one.
 *
 * On the main loop's thread. Life: _new → _serve … (before the safety loop starts) → _start → … → servers freed, safety
 * loop stopped → _free. */
#ifndef AGI_NODE_STOP_HOST_H
#define AGI_NODE_STOP_HOST_H

#include "node/safety_host.h"
#include "node/stop_latch.h"

struct agi_stop_host;

AGI_MUST_USE enum agi_err agi_stop_host_new(struct event_base *base, struct agi_loop *main,
                                            struct agi_dht_host *host, struct agi_safety_host *safety,
                                            struct agi_log *log, const struct agi_id *self,
                                            struct agi_stop_host **out);
/* NULL is allowed. */
void agi_stop_host_free(struct agi_stop_host *h);
/* Begins to read the register. */
void agi_stop_host_start(struct agi_stop_host *h);

/* agihpc.v1.SafetyService, on a server of the main loop. */
AGI_MUST_USE enum agi_err agi_stop_host_serve(struct agi_stop_host *h, struct agi_grpc_server *server);
/* InActionSafetyService: on a server of the main loop; on one of the safety loop. */
AGI_MUST_USE enum agi_err agi_stop_host_serve_actions(struct agi_stop_host *h, struct agi_grpc_server *server);
AGI_MUST_USE enum agi_err agi_stop_host_serve_role(struct agi_stop_host *h, struct agi_grpc_server *server);

/* As the main loop knows it. */
const struct agi_latch *agi_stop_host_latch(const struct agi_stop_host *h);

#endif
