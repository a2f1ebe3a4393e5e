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

/* A message in the pool, at its defaults. */
#define AGI_PB_NEW(pool, type, name) ((type *)agi_pb_new((pool), sizeof(type), &name##__descriptor))
void *agi_pb_new(struct agi_pool *pool, size_t bytes, const ProtobufCMessageDescriptor *d);
ProtobufCBinaryData *agi_pb_strings(const struct agi_strs *l, size_t *n, struct agi_pool *pool);
void agi_pb_take_strings(struct agi_strs *to, const ProtobufCBinaryData *from, size_t n,
                         struct agi_pool *pool);

/* For facts made here: no extensions and nothing unknown. */
Agi__Erisml__V1__EthicalFactsProto *agi_facts_to_pb(const struct agi_facts *f, struct agi_pool *pool);
Agi__Erisml__V1__EvaluateStepResponse *agi_step_result_to_pb(const struct agi_step_result *r,
                                                             struct agi_pool *pool);
Agi__Erisml__V1__EvaluatePlanResponse *agi_plan_eval_to_pb(const struct agi_plan_eval *e,
                                                           struct agi_pool *pool);
Agi__Erisml__V1__BondIndexResultProto *agi_bond_to_pb(const struct agi_bond *b, struct agi_pool *pool);
Agi__Erisml__V1__HohfeldianResponse *agi_symmetry_to_pb(const struct agi_symmetry *s,
                                                        struct agi_pool *pool);
/* NULL for NULL, both ways. */
Agi__Erisml__V1__DecisionProofProto *agi_proof_to_pb(const struct agi_proof *p, struct agi_pool *pool);
const struct agi_proof *agi_proof_from_pb(const Agi__Erisml__V1__DecisionProofProto *m,
                                             struct agi_pool *pool);
const struct agi_bond *agi_bond_from_pb(const Agi__Erisml__V1__BondIndexResultProto *m,
                                           struct agi_pool *pool);

#endif
