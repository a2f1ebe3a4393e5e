/* SPDX-License-Identifier: Apache-2.0
 * Single values of src/roles to and from protobuf-c structs. For eval_codec.c and its tests; memory as
 * eval_codec.h says. Functions that return a message return NULL only when pool->err is set. */
#ifndef AGI_NODE_EVAL_PB_H
#define AGI_NODE_EVAL_PB_H

#include "node/eval_codec.h"

static inline struct agi_str agi_str_of_pb(ProtobufCBinaryData d)
{
	return (struct agi_str){d.data ? (const char *)d.data : "", d.len};
}
static inline ProtobufCBinaryData agi_str_to_pb(struct agi_str s)
{
	return (ProtobufCBinaryData){s.n, (uint8_t *)s.p};
}

Agi__Erisml__V1__EthicalFactsProto *agi_facts_to_pb(const struct agi_facts *f, struct agi_pool *pool);
Agi__Erisml__V1__EvaluateStepResponse *agi_step_result_to_pb(const struct agi_step_result *r,
                                                             struct agi_pool *pool);
Agi__Erisml__V1__EvaluatePlanResponse *agi_plan_eval_to_pb(const struct agi_plan_eval *e,
                                                           struct agi_pool *pool);
Agi__Erisml__V1__BondIndexResultProto *agi_bond_to_pb(const struct agi_bond *b, struct agi_pool *pool);
Agi__Erisml__V1__HohfeldianResponse *agi_symmetry_to_pb(const struct agi_symmetry *s,
                                                        struct agi_pool *pool);

#endif
