/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/erisml/plan_eval.h"

#include "base/limits.h"

static struct agi_str veto_text(struct agi_pool *pool, const struct agi_step_eval *e)
{
	struct agi_str parts[2 * AGI_EVAL_FLAGS_MAX];
	size_t n = 0;

	if (!e->is_vetoed)
		return (struct agi_str){"", 0};
	if (!e->n_flags)
		return AGI_STR("Aggregate score below threshold");
	parts[n++] = AGI_STR("Veto triggered: ");
	for (size_t i = 0; i < e->n_flags; i++) {
		if (i)
			parts[n++] = AGI_STR(", ");
		parts[n++] = e->flags[i];
	}
	return agi_pool_concat(pool, parts, n);
}

static void fill_result(struct agi_step_result *r, struct agi_pool *pool,
                        const struct agi_step_eval *e)
{
	*r = (struct agi_step_result){.verdict = e->verdict, .is_vetoed = e->is_vetoed};
	memcpy(r->moral, e->moral, sizeof r->moral);
	r->veto_reason = veto_text(pool, e);
	for (size_t i = 0; i < e->n_flags; i++)
		agi_strs_add(&r->flags, pool, e->flags[i]);
	for (size_t i = 0; i < e->n_reasons; i++)
		agi_strs_add(&r->reasons, pool, e->reasons[i]);
}

enum agi_err agi_erisml_step(struct agi_step_result *out, const struct agi_proof_ctx *ctx,
                             const struct agi_facts *facts)
{
	static const struct agi_facts none;
	struct agi_step_eval e;

	facts = facts ? facts : &none;
	agi_step_evaluate(&e, ctx->policy, facts);
	fill_result(out, ctx->pool, &e);
	out->proof = agi_proof_of_step(ctx, facts, &e);
	if (ctx->pool->err)
		return ctx->pool->err;
	return out->proof ? AGI_OK : AGI_E_NOMEM;
}

enum agi_hohfeld agi_position_of_step(const struct agi_step_result *s)
{
	bool is_bound = s->moral[AGI_MORAL_PHYSICAL_HARM] > 0.5 ||
	                s->moral[AGI_MORAL_RIGHTS_RESPECT] < 0.5;

	return is_bound ? AGI_HOHFELD_O : AGI_HOHFELD_L;
}

/* The affected party's position is defined as the correlative, so no defect can arise here: positions that
 * a plan declares are measured by the gateway, which sees the plan. */
static const struct agi_bond *derived_bond(const struct agi_plan_eval *p, const struct agi_proof_ctx *ctx)
{
	struct agi_bond *bond = agi_pool_take(ctx->pool, 1, sizeof *bond);
	struct agi_bond_count count = {0};

	if (!bond)
		return NULL;
	for (size_t i = 0; i < p->n_steps; i++) {
		enum agi_hohfeld agent = agi_position_of_step(&p->steps[i]);

		agi_bond_add(&count, agent, agi_hohfeld_correlative(agent));
	}
	agi_bond_finish(bond, &count, ctx->policy->mode);
	return bond;
}

static const struct agi_moral_tensor *tensor_of(const struct agi_plan_eval *p, struct agi_pool *pool)
{
	struct agi_moral_tensor *t = agi_pool_take(pool, 1, sizeof *t);
	double *data = agi_pool_take(pool, p->n_steps, AGI_MORAL_DIMS * sizeof *data);

	if (!t)
		return NULL;
	t->n_steps = p->n_steps;
	t->data = data;
	for (size_t i = 0; data && i < p->n_steps; i++) {
		const struct agi_step_result *s = &p->steps[i];

		for (size_t d = 0; d < AGI_MORAL_DIMS; d++)
			data[d * p->n_steps + i] = s->moral[d];
		for (size_t k = 0; k < s->flags.n; k++)
			agi_strs_add_new(&t->flags, pool, s->flags.p[k]);
		for (size_t k = 0; k < s->reasons.n; k++)
			agi_strs_add_new(&t->reasons, pool, s->reasons.p[k]);
	}
	return t;
}

enum agi_err agi_erisml_plan(struct agi_plan_eval *out, const struct agi_proof_ctx *ctx,
                             const struct agi_facts *facts, size_t n, bool want_proofs,
                             struct agi_why *why)
{
	struct agi_proof_ctx shared = *ctx;
	struct agi_step_result *steps;
	struct agi_proof_option *options;

	if (n > AGI_PLAN_STEPS_MAX)
		return agi_fail(why, AGI_E_TOO_LARGE, "step_facts: %zu steps, expected at most %d", n,
		                AGI_PLAN_STEPS_MAX);
	steps = agi_pool_take(ctx->pool, n, sizeof *steps);
	options = agi_pool_take(ctx->pool, n, sizeof *options);
	*out = (struct agi_plan_eval){.steps = steps, .n_steps = n};
	if (want_proofs)
		agi_proof_ctx_share(&shared);
	for (size_t i = 0; i < n && !ctx->pool->err; i++) {
		struct agi_step_eval e;

		agi_step_evaluate(&e, ctx->policy, &facts[i]);
		fill_result(&steps[i], ctx->pool, &e);
		if (want_proofs)
			steps[i].proof = agi_proof_of_step(&shared, &facts[i], &e);
		if (e.is_vetoed)
			agi_strs_add(&out->blocked, ctx->pool, facts[i].option_id);
		options[i] = (struct agi_proof_option){.option_id = facts[i].option_id, .score = e.score,
		                                       .is_vetoed = e.is_vetoed};
		if (steps[i].proof)
			options[i].facts_hash = steps[i].proof->input_facts_hash;
	}
	out->is_approved = out->blocked.n == 0;
	out->bond = derived_bond(out, ctx);
	if (want_proofs && out->bond)
		out->proof = agi_proof_of_plan(&shared, options, n, out->bond->index);
	if (ctx->policy->mode == AGI_EVAL_STRICT)
		out->tensor = tensor_of(out, ctx->pool);
	if (ctx->pool->err)
		return agi_fail(why, ctx->pool->err, "the evaluation needs more memory than allowed");
	return AGI_OK;
}
