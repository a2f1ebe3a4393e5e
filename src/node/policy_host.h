/* SPDX-License-Identifier: Apache-2.0
 * The policy over the node's two loops: the register is read and changed where the core is (policy_item.h), and judged by
 * on the safety loop too; a version set here is told to every gateway known. Also its service, agihpc.v1.PolicyService.
 *
 * On the main loop's thread. Life: _new → _serve → _start → … → server freed, safety loop stopped → _free. */
#ifndef AGI_NODE_POLICY_HOST_H
#define AGI_NODE_POLICY_HOST_H

#include "node/policy_item.h"
#include "node/safety_host.h"

struct agi_policy_host;

/* Before the safety loop starts: its plane's configured policy is copied. */
AGI_MUST_USE enum agi_err agi_policy_host_new(struct agi_loop *main, struct agi_dht_host *host,
                                              struct agi_safety_host *safety, struct agi_log *log,
                                              const struct agi_id *self, struct agi_policy_host **out);
/* NULL is allowed. */
void agi_policy_host_free(struct agi_policy_host *h);
/* Begins to read the register. */
void agi_policy_host_start(struct agi_policy_host *h);
AGI_MUST_USE enum agi_err agi_policy_host_serve(struct agi_policy_host *h, struct agi_grpc_server *server);
/* As the main loop knows it. */
const struct agi_policy_view *agi_policy_host_view(const struct agi_policy_host *h);

#endif
