/* SPDX-License-Identifier: Apache-2.0
 * Requests to responses, and the gateway's side. The conversions of single messages: eval_pb.c. */
#include "node/eval_codec.h"

#include "node/eval_pb.h"

/* policy: for the request's profile, valid as long as what is returned. */
static struct agi_proof_ctx context(struct agi_erisml *e, struct agi_eval_policy *policy, uint64_t wall_us,
                                    struct agi_str profile, struct agi_pool *pool)
{
	*policy = e->policy;
	agi_eval_policy_use(policy, profile);
	return (struct agi_proof_ctx){.policy = policy,
	                              .profile_name = profile,
	                              .wall_us = wall_us,
	                              .chain = &e->chain,
	                              .pool = pool};
}

enum agi_err agi_erisml_evaluate_step(struct agi_erisml *e, uint64_t wall_us,
                                      const Agi__Erisml__V1__EvaluateStepRequest *req,
                                      struct agi_pool *pool,
                                      Agi__Erisml__V1__EvaluateStepResponse **out,
                                      struct agi_why *why)
{
	struct agi_eval_policy policy;
	struct agi_proof_ctx ctx = context(e, &policy, wall_us, agi_str_of_pb(req->profile_name), pool);
	struct agi_facts facts = {0};
	struct agi_step_result result;
	enum agi_err err;

	if (req->facts)
		agi_facts_from_pb(&facts, req->facts, e->policy.mode, pool);
	err = agi_erisml_step(&result, &ctx, &facts);
	if (err)
		return agi_fail(why, err, "EvaluateStep: %s", agi_err_text(err));
	*out = agi_step_result_to_pb(&result, pool);
	return pool->err;
}

void agi_erisml_remember(struct agi_erisml *e, const struct agi_plan_eval *eval)
{
	static const struct agi_bond worst = {.index = 1.0};

	e->last = eval && eval->bond ? *eval->bond : worst;
	e->last.violations = (struct agi_strs){0}; /* in memory of the call */
	e->has_last = true;
}

enum agi_err agi_erisml_last_bond(const struct agi_erisml *e, struct agi_pool *pool,
                                  Agi__Erisml__V1__BondIndexResultProto **out)
{
	struct agi_bond bond = {.index = 0};

	if (e->has_last)
		bond = e->last;
	else
		agi_strs_add(&bond.violations, pool, AGI_STR("no plan was evaluated here since the start"));
	*out = agi_bond_to_pb(&bond, pool);
	return pool->err;
}

enum agi_err agi_erisml_evaluate_plan(struct agi_erisml *e, uint64_t wall_us,
                                      const Agi__Erisml__V1__EvaluatePlanRequest *req,
                                      struct agi_pool *pool,
                                      Agi__Erisml__V1__EvaluatePlanResponse **out,
                                      struct agi_why *why)
{
	struct agi_eval_policy policy;
	struct agi_proof_ctx ctx = context(e, &policy, wall_us, agi_str_of_pb(req->profile_name), pool);
	struct agi_facts *facts = agi_pool_take(pool, req->n_step_facts, sizeof *facts);
	struct agi_plan_eval eval;
	enum agi_err err;

	for (size_t i = 0; facts && i < req->n_step_facts; i++)
		agi_facts_from_pb(&facts[i], req->step_facts[i], e->policy.mode, pool);
	if (pool->err)
		return agi_fail(why, pool->err, "EvaluatePlan: %s", agi_err_text(pool->err));
	err = agi_erisml_plan(&eval, &ctx, facts, req->n_step_facts, req->generate_proofs, why);
	agi_erisml_remember(e, err ? NULL : &eval);
	if (err)
		return err;
	*out = agi_plan_eval_to_pb(&eval, pool);
	return pool->err;
}

static struct agi_hohfeld_verdict *verdicts(Agi__Erisml__V1__HohfeldianVerdictProto **v, size_t n,
                                            struct agi_pool *pool)
{
	struct agi_hohfeld_verdict *out = agi_pool_take(pool, n, sizeof *out);

	for (size_t i = 0; out && i < n; i++)
		out[i] = (struct agi_hohfeld_verdict){.party_name = agi_str_of_pb(v[i]->party_name),
		                                      .state = agi_str_of_pb(v[i]->state),
		                                      .confidence = v[i]->confidence};
	return out;
}

enum agi_err agi_erisml_bond_index(const struct agi_erisml *e,
                                   const Agi__Erisml__V1__BondIndexRequest *req, struct agi_pool *pool,
                                   Agi__Erisml__V1__BondIndexResultProto **out, struct agi_why *why)
{
	struct agi_hohfeld_verdict *a = verdicts(req->party_a_verdicts, req->n_party_a_verdicts, pool);
	struct agi_hohfeld_verdict *b = verdicts(req->party_b_verdicts, req->n_party_b_verdicts, pool);
	struct agi_bond bond;
	enum agi_err err;

	if (pool->err)
		return agi_fail(why, pool->err, "ComputeBondIndex: %s", agi_err_text(pool->err));
	err = agi_bond_compute(&bond, e->policy.mode, a, req->n_party_a_verdicts, b,
	                       req->n_party_b_verdicts, pool, why);
	if (err)
		return err;
	*out = agi_bond_to_pb(&bond, pool);
	return pool->err;
}

enum agi_err agi_erisml_verify(const Agi__Erisml__V1__HohfeldianRequest *req, struct agi_pool *pool,
                               Agi__Erisml__V1__HohfeldianResponse **out)
{
	struct agi_hohfeld_verdict *v = verdicts(req->verdicts, req->n_verdicts, pool);
	struct agi_symmetry s;

	if (pool->err)
		return pool->err;
	agi_hohfeld_verify(&s, v, req->n_verdicts, pool);
	*out = agi_symmetry_to_pb(&s, pool);
	return pool->err;
}

void agi_gateway_check_here(struct agi_check_result *out, const struct agi_gateway_policy *policy,
                            struct agi_erisml *erisml, uint64_t wall_us, const struct agi_plan *plan,
                            struct agi_pool *pool)
{
	struct agi_gateway_check check;
	struct agi_plan_eval eval;
	struct agi_why why = {{0}};

	if (agi_gateway_begin(&check, policy, plan, pool, out) == AGI_GATEWAY_DONE)
		return;
	if (!erisml) {
		agi_gateway_fail(&check, AGI_CHECK_ERISML_UNAVAILABLE, NULL, out);
		return;
	}
	struct agi_eval_policy judged_by;
	struct agi_proof_ctx ctx = context(erisml, &judged_by, wall_us, policy->eval.profile_name, pool);
	if (agi_erisml_plan(&eval, &ctx, check.facts, plan ? plan->n_steps : 0, true, &why)) {
		agi_erisml_remember(erisml, NULL);
		agi_gateway_fail(&check, AGI_CHECK_ERISML_UNAVAILABLE, why.text, out);
	} else {
		agi_erisml_remember(erisml, &eval);
		agi_gateway_finish(&check, &eval, out);
	}
}
