/* SPDX-License-Identifier: Apache-2.0
 * Methods of agihpc.v1.NodeService about slots that move: progress, drain, leave, lost majorities. Added with the
 * others by svc_node.c. ctx is the struct agi_svc. */
#ifndef AGI_NODE_SVC_MOVE_H
#define AGI_NODE_SVC_MOVE_H

#include "net/grpc.h"

void agi_svc_rebalance(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx);
void agi_svc_drain(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx);
void agi_svc_undrain(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx);
void agi_svc_leave(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx);
void agi_svc_recover_unsafe(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx);

#endif
