/* SPDX-License-Identifier: Apache-2.0
 * Inside agihpc.v1.KvService: svc_kv.c (put, get, delete, owners) and the files of its other methods. */
#ifndef AGI_NODE_SVC_KV_H
#define AGI_NODE_SVC_KV_H

#include "agihpc.pb-c.h"
#include "node/svc.h"

/* The level that was asked for; the namespace's own when none was. INVALID + why. */
AGI_MUST_USE enum agi_err agi_svc_level(const struct agi_svc *s, struct agi_str ns,
                                        Agihpc__V1__Level in, enum agi_level *out, struct agi_why *why);
/* What every operation on a key has: fills ns, key and level of op. */
AGI_MUST_USE enum agi_err agi_svc_kv_common(const struct agi_svc *s, struct agi_call *op,
                                            ProtobufCBinaryData ns, ProtobufCBinaryData key,
                                            Agihpc__V1__Level level, struct agi_why *why);
/* At most 1 MiB. */
AGI_MUST_USE enum agi_err agi_svc_value(struct agi_str *out, ProtobufCBinaryData in, struct agi_why *why);
/* 0 = does not expire; at most 100 years. */
AGI_MUST_USE enum agi_err agi_svc_ttl(uint64_t *out, uint64_t ttl_ms, struct agi_why *why);

/* svc_batch.c */
void agi_svc_batch(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx);

/* svc_watch.c */
void agi_svc_watch(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx);

/* svc_scan.c */
void agi_svc_scan(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx);

/* svc_atomic.c */
void agi_svc_compare_and_set(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx);
void agi_svc_add(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx);

#endif
