/* SPDX-License-Identifier: Apache-2.0
 * The evaluating roles on the wire: agi.erisml.v1, agi.safety.v1 and agi.plan.v1 messages to and from the
 * values of src/roles, and each request to its response.
 *
 * Memory: what comes out lies in the pool or borrows from what went in; nothing is freed singly. A message
 * made here must not be given to protobuf_c_message_free_unpacked. Every function may leave pool->err set:
 * those that return a message then return NULL.
 *
 * A float of -0.0 is carried (as the reference does) although protobuf-c leaves out whatever equals zero. */
#ifndef AGI_NODE_EVAL_CODEC_H
#define AGI_NODE_EVAL_CODEC_H

#include "erisml.pb-c.h"
#include "roles/erisml/plan_eval.h"
#include "roles/safety_gateway/action.h"
#include "roles/safety_gateway/gateway.h"
#include "safety.pb-c.h"

/* --- ErisML: request to response ----------------------------------------------------------------- */
struct agi_erisml {
	struct agi_eval_policy policy;
	struct agi_proof_chain chain;
	struct agi_bond last; /* of the last plan, without violations */
	bool has_last;
};
/* req is what the wire brought. NOMEM, TOO_LARGE (+ why): nothing was answered. */
AGI_MUST_USE enum agi_err agi_erisml_evaluate_step(struct agi_erisml *e, uint64_t wall_us,
                                                   const Agi__Erisml__V1__EvaluateStepRequest *req,
                                                   struct agi_pool *pool,
                                                   Agi__Erisml__V1__EvaluateStepResponse **out,
                                                   struct agi_why *why);
AGI_MUST_USE enum agi_err agi_erisml_evaluate_plan(struct agi_erisml *e, uint64_t wall_us,
                                                   const Agi__Erisml__V1__EvaluatePlanRequest *req,
                                                   struct agi_pool *pool,
                                                   Agi__Erisml__V1__EvaluatePlanResponse **out,
                                                   struct agi_why *why);
/* Keeps the Bond Index of a plan; eval NULL: it could not be evaluated, which counts as the worst. */
void agi_erisml_remember(struct agi_erisml *e, const struct agi_plan_eval *eval);
/* GetBondIndex, see erisml.proto. NOMEM. */
AGI_MUST_USE enum agi_err agi_erisml_last_bond(const struct agi_erisml *e, struct agi_pool *pool,
                                               Agi__Erisml__V1__BondIndexResultProto **out);
/* INVALID + why: a state that is none; the wire's answer is then status UNKNOWN. */
AGI_MUST_USE enum agi_err agi_erisml_bond_index(const struct agi_erisml *e,
                                                const Agi__Erisml__V1__BondIndexRequest *req,
                                                struct agi_pool *pool,
                                                Agi__Erisml__V1__BondIndexResultProto **out,
                                                struct agi_why *why);
AGI_MUST_USE enum agi_err agi_erisml_verify(const Agi__Erisml__V1__HohfeldianRequest *req,
                                            struct agi_pool *pool,
                                            Agi__Erisml__V1__HohfeldianResponse **out);

/* --- pieces ---------------------------------------------------------------------------------------- */
void agi_facts_from_pb(struct agi_facts *out, const Agi__Erisml__V1__EthicalFactsProto *m,
                       enum agi_eval_mode mode, struct agi_pool *pool);
/* ids of the steps, tools, tags, parameters; NULL m gives an empty plan. */
void agi_plan_from_pb(struct agi_plan *out, const Agi__Plan__V1__PlanGraphProto *m,
                      struct agi_pool *pool);
void agi_plan_step_from_pb(struct agi_plan_step *out, const Agi__Plan__V1__PlanStep *m,
                           struct agi_pool *pool);
/* What a gateway asks ErisML: all steps, with proofs. */
Agi__Erisml__V1__EvaluatePlanRequest *agi_plan_facts_to_pb(const struct agi_facts *facts, size_t n,
                                                           struct agi_str profile,
                                                           struct agi_pool *pool);
void agi_plan_eval_from_pb(struct agi_plan_eval *out, const Agi__Erisml__V1__EvaluatePlanResponse *m,
                           struct agi_pool *pool);
/* metadata: pairs added to those of the result itself (phase, and cause when it is not OK). */
Agi__Safety__V1__CheckPlanResponse *agi_check_to_pb(const struct agi_check_result *r,
                                                    const struct agi_pair *metadata, size_t n_metadata,
                                                    struct agi_pool *pool);
/* A gateway's answer as a vote. The decision is NONE when it has no result, an unknown decision or an
 * approval that contradicts it. */
void agi_check_from_pb(struct agi_check_result *out, const Agi__Safety__V1__CheckPlanResponse *m,
                       struct agi_pool *pool);
/* Wire numbers of agi.safety.v1.SafetyDecision. */
Agi__Safety__V1__SafetyDecision agi_decision_to_pb(enum agi_decision d);
enum agi_decision agi_decision_from_pb(int d);

/* Serialized into the pool. */
struct agi_str agi_pb_to_pool(const ProtobufCMessage *m, struct agi_pool *pool);

/* --- a gateway with ErisML in the same process ------------------------------------------------------ */
/* CheckPlan from end to end; erisml NULL = there is none: BLOCK unless the rules already decided. */
void agi_gateway_check_here(struct agi_check_result *out, const struct agi_gateway_policy *policy,
                            struct agi_erisml *erisml, uint64_t wall_us, const struct agi_plan *plan,
                            struct agi_pool *pool);

#endif
