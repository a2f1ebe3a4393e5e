/* SPDX-License-Identifier: Apache-2.0
 * The plan that a gateway is asked about, and its answer. */
#include "node/eval_pb.h"

/* --- plans -------------------------------------------------------------------------------------- */
void agi_plan_step_from_pb(struct agi_plan_step *out, const Agi__Plan__V1__PlanStep *m,
                           struct agi_pool *pool)
{
	struct agi_strs tags = {0};
	struct agi_pair *params = agi_pool_take(pool, m->n_params, sizeof *params);
	size_t n = 0;

	agi_pb_take_strings(&tags, m->safety_tags, m->n_safety_tags, pool);
	for (size_t i = m->n_params; params && i-- > 0;) { /* the last of a key counts */
		struct agi_pair p = {agi_str_of_pb(m->params[i]->key),
		                     agi_str_of_pb(m->params[i]->value)};

		params[n++] = p;
	}
	*out = (struct agi_plan_step){
	    .step_id = agi_str_of_pb(m->step_id),
	    .index = m->index,
	    .level = m->level,
	    .kind = agi_str_of_pb(m->kind),
	    .description = agi_str_of_pb(m->description),
	    .parent_id = agi_str_of_pb(m->parent_id),
	    .tool_id = agi_str_of_pb(m->tool_id),
	    .requires_simulation = m->requires_simulation,
	    .tags = tags.p,
	    .n_tags = tags.n,
	    .params = params,
	    .n_params = n,
	};
}

void agi_plan_from_pb(struct agi_plan *out, const Agi__Plan__V1__PlanGraphProto *m,
                      struct agi_pool *pool)
{
	struct agi_plan_step *steps;

	*out = (struct agi_plan){0};
	if (!m)
		return;
	out->plan_id = agi_str_of_pb(m->plan_id);
	steps = agi_pool_take(pool, m->n_steps, sizeof *steps);
	for (size_t i = 0; steps && i < m->n_steps; i++)
		agi_plan_step_from_pb(&steps[i], m->steps[i], pool);
	out->steps = steps;
	out->n_steps = steps ? m->n_steps : 0;
}

/* --- the gateway's answers ---------------------------------------------------------------------- */
Agi__Safety__V1__SafetyDecision agi_decision_to_pb(enum agi_decision d)
{
	switch (d) {
	case AGI_DECISION_ALLOW:
		return AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_ALLOW;
	case AGI_DECISION_REVISE:
		return AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_REVISE;
	case AGI_DECISION_DEFER:
		return AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_DEFER;
	default:
		return AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_BLOCK;
	}
}

enum agi_decision agi_decision_from_pb(int d)
{
	for (int i = AGI_DECISION_ALLOW; i <= AGI_DECISION_BLOCK; i++)
		if ((int)agi_decision_to_pb((enum agi_decision)i) == d)
			return (enum agi_decision)i;
	return AGI_DECISION_NONE;
}

static void add_metadata(Agi__Safety__V1__SafetyResult *m, struct agi_str key, struct agi_str value,
                         struct agi_pool *pool)
{
	Agi__Safety__V1__SafetyResult__MetadataEntry *e =
	    AGI_PB_NEW(pool, Agi__Safety__V1__SafetyResult__MetadataEntry,
	        agi__safety__v1__safety_result__metadata_entry);

	if (!e)
		return;
	e->key = agi_str_to_pb(key);
	e->value = agi_str_to_pb(value);
	m->metadata[m->n_metadata++] = e;
}

static void put_categories(Agi__Safety__V1__SafetyResult *m, unsigned bits, struct agi_pool *pool)
{
	m->categories = bits ? agi_pool_take(pool, AGI_RISK_CATEGORIES, sizeof *m->categories) : NULL;
	for (unsigned i = 1; m->categories && i < AGI_RISK_CATEGORIES; i++)
		if (bits & 1u << i)
			m->categories[m->n_categories++] = (Agi__Safety__V1__RiskCategory)i;
}

static Agi__Safety__V1__SafetyResult *new_result(enum agi_decision d, double risk,
                                                 const struct agi_strs *reasons, unsigned categories,
                                                 const struct agi_proof *proof, struct agi_pool *pool)
{
	Agi__Safety__V1__SafetyResult *m =
	    AGI_PB_NEW(pool, Agi__Safety__V1__SafetyResult, agi__safety__v1__safety_result);

	if (!m)
		return NULL;
	m->decision = agi_decision_to_pb(d);
	m->risk_score = (float)risk;
	m->reasons = agi_pb_strings(reasons, &m->n_reasons, pool);
	put_categories(m, categories, pool);
	m->decision_proof = agi_proof_to_pb(proof, pool);
	return m;
}

static Agi__Safety__V1__SafetyResult *check_result_to_pb(const struct agi_check_result *r,
                                                         const struct agi_pair *metadata, size_t n,
                                                         struct agi_pool *pool)
{
	Agi__Safety__V1__SafetyResult *m =
	    new_result(r->decision, r->risk, &r->reasons, r->categories, r->proof, pool);

	if (!m)
		return NULL;
	m->bond_index = r->has_bond ? agi_bond_to_pb(&r->bond, pool) : NULL;
	m->metadata = agi_pool_take(pool, n + 2, sizeof *m->metadata);
	if (!m->metadata)
		return NULL;
	if (r->phase)
		add_metadata(m, AGI_STR("phase"), agi_str_of(r->phase), pool);
	if (r->cause != AGI_CHECK_OK)
		add_metadata(m, AGI_STR("cause"), agi_str_of(agi_check_cause_name(r->cause)), pool);
	for (size_t i = 0; i < n; i++)
		add_metadata(m, metadata[i].key, metadata[i].value, pool);
	return m;
}

static Agi__Safety__V1__StepSafetyResult *step_check_to_pb(const struct agi_step_check *s,
                                                           struct agi_pool *pool)
{
	Agi__Safety__V1__StepSafetyResult *m =
	    AGI_PB_NEW(pool, Agi__Safety__V1__StepSafetyResult, agi__safety__v1__step_safety_result);

	if (!m)
		return NULL;
	m->step_id = agi_str_to_pb(s->step_id);
	m->result = new_result(s->decision, s->risk, &s->reasons, s->categories, s->proof, pool);
	return m;
}

Agi__Safety__V1__CheckPlanResponse *agi_check_to_pb(const struct agi_check_result *r,
                                                    const struct agi_pair *metadata, size_t n_metadata,
                                                    struct agi_pool *pool)
{
	Agi__Safety__V1__CheckPlanResponse *m =
	    AGI_PB_NEW(pool, Agi__Safety__V1__CheckPlanResponse, agi__safety__v1__check_plan_response);

	if (!m)
		return NULL;
	m->result = check_result_to_pb(r, metadata, n_metadata, pool);
	m->step_results = agi_pool_take(pool, r->n_steps, sizeof *m->step_results);
	m->n_step_results = m->step_results ? r->n_steps : 0;
	for (size_t i = 0; i < m->n_step_results; i++)
		m->step_results[i] = step_check_to_pb(&r->steps[i], pool);
	m->plan_approved = r->decision == AGI_DECISION_ALLOW;
	return pool->err ? NULL : m;
}

static const char *phase_from_pb(struct agi_str s)
{
	static const char *const known[] = {"rule_check", "erisml_check", "bond_index_check",
	                                    "complete", "quorum"};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (agi_str_eq(s, agi_str_of(known[i])))
			return known[i];
	return NULL;
}

static enum agi_check_cause cause_from_pb(struct agi_str s)
{
	for (int i = AGI_CHECK_OK; i < AGI_CHECK_CAUSES; i++)
		if (agi_str_eq(s, agi_str_of(agi_check_cause_name((enum agi_check_cause)i))))
			return (enum agi_check_cause)i;
	return AGI_CHECK_OK;
}

static unsigned categories_from_pb(const Agi__Safety__V1__SafetyResult *m)
{
	unsigned bits = 0;

	for (size_t i = 0; i < m->n_categories; i++)
		if ((int)m->categories[i] > 0 && (int)m->categories[i] < AGI_RISK_CATEGORIES)
			bits |= 1u << m->categories[i];
	return bits;
}

static double risk_from_pb(float risk) { return agi_is_share(risk) ? risk : 1.0; }

static void result_from_pb(struct agi_check_result *out, const Agi__Safety__V1__SafetyResult *m,
                           struct agi_pool *pool)
{
	const struct agi_bond *bond = agi_bond_from_pb(m->bond_index, pool);

	out->decision = agi_decision_from_pb((int)m->decision);
	out->risk = risk_from_pb(m->risk_score);
	agi_pb_take_strings(&out->reasons, m->reasons, m->n_reasons, pool);
	out->categories = categories_from_pb(m);
	out->proof = agi_proof_from_pb(m->decision_proof, pool);
	if (bond) {
		out->bond = *bond;
		out->has_bond = true;
	}
	for (size_t i = 0; i < m->n_metadata; i++) {
		struct agi_str value = agi_str_of_pb(m->metadata[i]->value);

		if (agi_str_eq(agi_str_of_pb(m->metadata[i]->key), AGI_STR("phase")))
			out->phase = phase_from_pb(value);
		if (agi_str_eq(agi_str_of_pb(m->metadata[i]->key), AGI_STR("cause")))
			out->cause = cause_from_pb(value);
	}
}

static void step_check_from_pb(struct agi_step_check *out, const Agi__Safety__V1__StepSafetyResult *m,
                               struct agi_pool *pool)
{
	*out = (struct agi_step_check){.step_id = agi_str_of_pb(m->step_id),
	                               .decision = AGI_DECISION_BLOCK,
	                               .risk = 1.0};
	if (!m->result)
		return;
	out->decision = agi_decision_from_pb((int)m->result->decision);
	out->risk = risk_from_pb(m->result->risk_score);
	out->categories = categories_from_pb(m->result);
	out->proof = agi_proof_from_pb(m->result->decision_proof, pool);
	agi_pb_take_strings(&out->reasons, m->result->reasons, m->result->n_reasons, pool);
}

void agi_check_from_pb(struct agi_check_result *out, const Agi__Safety__V1__CheckPlanResponse *m,
                       struct agi_pool *pool)
{
	struct agi_step_check *steps = agi_pool_take(pool, m->n_step_results, sizeof *steps);

	*out = (struct agi_check_result){.decision = AGI_DECISION_NONE, .risk = 1.0};
	if (!m->result)
		return;
	result_from_pb(out, m->result, pool);
	if (m->plan_approved != (out->decision == AGI_DECISION_ALLOW))
		out->decision = AGI_DECISION_NONE;
	for (size_t i = 0; steps && i < m->n_step_results; i++)
		step_check_from_pb(&steps[i], m->step_results[i], pool);
	out->steps = steps;
	out->n_steps = steps ? m->n_step_results : 0;
	if (pool->err)
		out->decision = AGI_DECISION_NONE;
}
