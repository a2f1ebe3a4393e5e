/* SPDX-License-Identifier: Apache-2.0 */
#include "node/eval_pb.h"

#include <stdlib.h>

void *agi_pb_new(struct agi_pool *pool, size_t bytes, const ProtobufCMessageDescriptor *d)
{
	void *m = agi_pool_take(pool, 1, bytes);

	if (m)
		d->message_init(m);
	return m;
}

/* protobuf-c does not write a float that equals 0, so -0.0 travels as a field that this message does not
 * know, with the same number and bytes: every reader sees the one field there is. */
static void add_negative_zero(ProtobufCMessage *m, uint32_t number, struct agi_pool *pool)
{
	enum { FLOATS_MAX = 9 }; /* of any message here */
	static const uint8_t bytes[4] = {0, 0, 0, 0x80};

	if (!m->unknown_fields)
		m->unknown_fields = agi_pool_take(pool, FLOATS_MAX, sizeof *m->unknown_fields);
	if (m->unknown_fields && m->n_unknown_fields < FLOATS_MAX)
		m->unknown_fields[m->n_unknown_fields++] = (ProtobufCMessageUnknownField){
		    .tag = number, .wire_type = PROTOBUF_C_WIRE_TYPE_32BIT, .len = 4,
		    .data = (uint8_t *)bytes};
}

static void put_float(ProtobufCMessage *m, float *field, uint32_t number, double v,
                      struct agi_pool *pool)
{
	*field = (float)v;
	if (*field == 0.0f && __builtin_signbit(*field))
		add_negative_zero(m, number, pool);
}

ProtobufCBinaryData *agi_pb_strings(const struct agi_strs *l, size_t *n, struct agi_pool *pool)
{
	ProtobufCBinaryData *out = agi_pool_take(pool, l->n, sizeof *out);

	*n = out ? l->n : 0;
	for (size_t i = 0; i < *n; i++)
		out[i] = agi_str_to_pb(l->p[i]);
	return out;
}

void agi_pb_take_strings(struct agi_strs *to, const ProtobufCBinaryData *from, size_t n,
                         struct agi_pool *pool)
{
	for (size_t i = 0; i < n; i++)
		agi_strs_add(to, pool, agi_str_of_pb(from[i]));
}

/* --- facts -------------------------------------------------------------------------------------- */
static void put_varint(struct agi_buf *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		agi_buf_u8(b, (uint8_t)(v | 0x80));
	agi_buf_u8(b, (uint8_t)v);
}

static struct agi_str unknown_fields(const ProtobufCMessage *m, struct agi_pool *pool)
{
	struct agi_str s = {"", 0};
	struct agi_buf b;

	if (!m->n_unknown_fields)
		return s;
	agi_buf_init(&b, 0);
	for (unsigned i = 0; i < m->n_unknown_fields; i++) {
		const ProtobufCMessageUnknownField *f = &m->unknown_fields[i];

		put_varint(&b, (uint64_t)f->tag << 3 | f->wire_type);
		agi_buf_put(&b, f->data, f->len);
	}
	if (b.err)
		pool->err = b.err; /* part of the fields is none of them */
	else
		s = agi_pool_copy(pool, agi_buf_str(&b));
	agi_buf_free(&b);
	return s;
}

struct indexed {
	struct agi_extension e;
	size_t at;
};

static int by_key_and_place(const void *x, const void *y)
{
	const struct indexed *a = x, *b = y;
	int c = agi_str_cmp(a->e.key, b->e.key);

	return c ? c : (a->at > b->at) - (a->at < b->at);
}

/* A map has one entry for each key, the one that came last. The reference's runtime keeps them all when it
 * writes the facts again for their hash, so its mode does too. */
static void take_extensions(struct agi_facts *out, const Agi__Erisml__V1__EthicalFactsProto *m,
                            enum agi_eval_mode mode, struct agi_pool *pool)
{
	struct indexed *all = agi_pool_take(pool, m->n_extensions, sizeof *all);
	struct agi_extension *kept = agi_pool_take(pool, m->n_extensions, sizeof *kept);
	size_t n = 0;

	if (!all || !kept)
		return;
	for (size_t i = 0; i < m->n_extensions; i++)
		all[i] = (struct indexed){
		    {agi_str_of_pb(m->extensions[i]->key), m->extensions[i]->value}, i};
	qsort(all, m->n_extensions, sizeof *all, by_key_and_place);
	for (size_t i = 0; i < m->n_extensions; i++) {
		if (mode == AGI_EVAL_STRICT && n && agi_str_eq(kept[n - 1].key, all[i].e.key))
			n--;
		kept[n++] = all[i].e;
	}
	out->extensions = kept;
	out->n_extensions = n;
}

void agi_facts_from_pb(struct agi_facts *out, const Agi__Erisml__V1__EthicalFactsProto *m,
                       enum agi_eval_mode mode, struct agi_pool *pool)
{
	*out = (struct agi_facts){
	    .option_id = agi_str_of_pb(m->option_id),
	    .expected_benefit = m->expected_benefit,
	    .expected_harm = m->expected_harm,
	    .urgency = m->urgency,
	    .affected_count = m->affected_count,
	    .violates_rights = m->violates_rights,
	    .has_valid_consent = m->has_valid_consent,
	    .violates_explicit_rule = m->violates_explicit_rule,
	    .discriminates_on_protected_attr = m->discriminates_on_protected_attr,
	    .exploits_vulnerable_population = m->exploits_vulnerable_population,
	    .physical_harm_risk = m->physical_harm_risk,
	    .collision_probability = m->collision_probability,
	    .uncertainty_level = m->uncertainty_level,
	    .evidence_quality = m->evidence_quality,
	    .novel_situation = m->novel_situation,
	    .maxim_action_kind = agi_str_of_pb(m->maxim_action_kind),
	    .maxim_polarity = agi_str_of_pb(m->maxim_polarity),
	    .unknown = unknown_fields(&m->base, pool),
	};
	take_extensions(out, m, mode, pool);
}

Agi__Erisml__V1__EthicalFactsProto *agi_facts_to_pb(const struct agi_facts *f, struct agi_pool *pool)
{
	Agi__Erisml__V1__EthicalFactsProto *m =
	    AGI_PB_NEW(pool, Agi__Erisml__V1__EthicalFactsProto, agi__erisml__v1__ethical_facts_proto);

	if (!m)
		return NULL;
	m->option_id = agi_str_to_pb(f->option_id);
	put_float(&m->base, &m->expected_benefit, 10, f->expected_benefit, pool);
	put_float(&m->base, &m->expected_harm, 11, f->expected_harm, pool);
	put_float(&m->base, &m->urgency, 12, f->urgency, pool);
	m->affected_count = f->affected_count;
	m->violates_rights = f->violates_rights;
	m->has_valid_consent = f->has_valid_consent;
	m->violates_explicit_rule = f->violates_explicit_rule;
	m->discriminates_on_protected_attr = f->discriminates_on_protected_attr;
	m->exploits_vulnerable_population = f->exploits_vulnerable_population;
	put_float(&m->base, &m->physical_harm_risk, 40, f->physical_harm_risk, pool);
	put_float(&m->base, &m->collision_probability, 41, f->collision_probability, pool);
	put_float(&m->base, &m->uncertainty_level, 50, f->uncertainty_level, pool);
	put_float(&m->base, &m->evidence_quality, 51, f->evidence_quality, pool);
	m->novel_situation = f->novel_situation;
	m->maxim_action_kind = agi_str_to_pb(f->maxim_action_kind);
	m->maxim_polarity = agi_str_to_pb(f->maxim_polarity);
	return m;
}

Agi__Erisml__V1__EvaluatePlanRequest *agi_plan_facts_to_pb(const struct agi_facts *facts, size_t n,
                                                           struct agi_str profile,
                                                           struct agi_pool *pool)
{
	Agi__Erisml__V1__EvaluatePlanRequest *m = AGI_PB_NEW(pool, Agi__Erisml__V1__EvaluatePlanRequest,
	                                              agi__erisml__v1__evaluate_plan_request);

	if (!m)
		return NULL;
	m->step_facts = agi_pool_take(pool, n, sizeof *m->step_facts);
	m->n_step_facts = m->step_facts ? n : 0;
	for (size_t i = 0; i < m->n_step_facts; i++)
		m->step_facts[i] = agi_facts_to_pb(&facts[i], pool);
	m->profile_name = agi_str_to_pb(profile);
	m->generate_proofs = true;
	return pool->err ? NULL : m;
}

/* --- ErisML's answers --------------------------------------------------------------------------- */
static float *moral_field(Agi__Erisml__V1__MoralVectorProto *m, unsigned dim)
{
	float *const fields[AGI_MORAL_DIMS] = {
	    &m->physical_harm,      &m->rights_respect,         &m->fairness_equity,
	    &m->autonomy_respect,   &m->privacy_protection,     &m->societal_environmental,
	    &m->virtue_care,        &m->legitimacy_trust,       &m->epistemic_quality};

	return fields[dim];
}

Agi__Erisml__V1__DecisionProofProto *agi_proof_to_pb(const struct agi_proof *p, struct agi_pool *pool)
{
	Agi__Erisml__V1__DecisionProofProto *m;

	if (!p)
		return NULL;
	m = AGI_PB_NEW(pool, Agi__Erisml__V1__DecisionProofProto, agi__erisml__v1__decision_proof_proto);
	if (!m)
		return NULL;
	m->decision_id = agi_str_to_pb(p->decision_id);
	m->timestamp = agi_str_to_pb(p->timestamp);
	m->input_facts_hash = agi_str_to_pb(p->input_facts_hash);
	m->profile_hash = agi_str_to_pb(p->profile_hash);
	m->profile_name = agi_str_to_pb(p->profile_name);
	m->candidate_option_ids = agi_pb_strings(&p->candidates, &m->n_candidate_option_ids, pool);
	m->selected_option_id = agi_str_to_pb(p->selected_option_id);
	m->ranked_options = agi_pb_strings(&p->ranked, &m->n_ranked_options, pool);
	m->forbidden_options = agi_pb_strings(&p->forbidden, &m->n_forbidden_options, pool);
	m->governance_rationale = agi_str_to_pb(p->governance_rationale);
	put_float(&m->base, &m->confidence, 21, p->confidence, pool);
	m->previous_proof_hash = agi_str_to_pb(p->previous_proof_hash);
	m->proof_hash = agi_str_to_pb(p->proof_hash);
	return m;
}

const struct agi_proof *agi_proof_from_pb(const Agi__Erisml__V1__DecisionProofProto *m,
                                             struct agi_pool *pool)
{
	struct agi_proof *p = m ? agi_pool_take(pool, 1, sizeof *p) : NULL;

	if (!p)
		return NULL;
	*p = (struct agi_proof){
	    .decision_id = agi_str_of_pb(m->decision_id),
	    .timestamp = agi_str_of_pb(m->timestamp),
	    .input_facts_hash = agi_str_of_pb(m->input_facts_hash),
	    .profile_hash = agi_str_of_pb(m->profile_hash),
	    .profile_name = agi_str_of_pb(m->profile_name),
	    .selected_option_id = agi_str_of_pb(m->selected_option_id),
	    .governance_rationale = agi_str_of_pb(m->governance_rationale),
	    .confidence = m->confidence,
	    .previous_proof_hash = agi_str_of_pb(m->previous_proof_hash),
	    .proof_hash = agi_str_of_pb(m->proof_hash),
	};
	agi_pb_take_strings(&p->candidates, m->candidate_option_ids, m->n_candidate_option_ids, pool);
	agi_pb_take_strings(&p->ranked, m->ranked_options, m->n_ranked_options, pool);
	agi_pb_take_strings(&p->forbidden, m->forbidden_options, m->n_forbidden_options, pool);
	return p;
}

Agi__Erisml__V1__BondIndexResultProto *agi_bond_to_pb(const struct agi_bond *b, struct agi_pool *pool)
{
	Agi__Erisml__V1__BondIndexResultProto *m = AGI_PB_NEW(pool, Agi__Erisml__V1__BondIndexResultProto,
	                                               agi__erisml__v1__bond_index_result_proto);

	if (!m)
		return NULL;
	m->bond_index = (float)b->index;
	m->baseline = (float)AGI_BOND_BASELINE;
	m->within_threshold = b->is_within;
	m->violations = agi_pb_strings(&b->violations, &m->n_violations, pool);
	m->correlative_rate = (float)b->correlative_rate;
	m->negation_rate = (float)b->negation_rate;
	return m;
}

const struct agi_bond *agi_bond_from_pb(const Agi__Erisml__V1__BondIndexResultProto *m,
                                           struct agi_pool *pool)
{
	struct agi_bond *b = m ? agi_pool_take(pool, 1, sizeof *b) : NULL;

	if (!b)
		return NULL;
	b->index = m->bond_index;
	b->is_within = m->within_threshold;
	b->correlative_rate = m->correlative_rate;
	b->negation_rate = m->negation_rate;
	agi_pb_take_strings(&b->violations, m->violations, m->n_violations, pool);
	return b;
}

Agi__Erisml__V1__EvaluateStepResponse *agi_step_result_to_pb(const struct agi_step_result *r,
                                                             struct agi_pool *pool)
{
	Agi__Erisml__V1__EvaluateStepResponse *m = AGI_PB_NEW(pool, Agi__Erisml__V1__EvaluateStepResponse,
	                                               agi__erisml__v1__evaluate_step_response);
	Agi__Erisml__V1__MoralVectorProto *v =
	    AGI_PB_NEW(pool, Agi__Erisml__V1__MoralVectorProto, agi__erisml__v1__moral_vector_proto);

	if (!m || !v)
		return NULL;
	for (unsigned d = 0; d < AGI_MORAL_DIMS; d++)
		put_float(&v->base, moral_field(v, d), d + 1, r->moral[d], pool);
	v->veto_flags = agi_pb_strings(&r->flags, &v->n_veto_flags, pool);
	v->reason_codes = agi_pb_strings(&r->reasons, &v->n_reason_codes, pool);
	m->verdict = agi_str_to_pb(agi_str_of(agi_verdict_name(r->verdict)));
	m->moral_vector = v;
	m->vetoed = r->is_vetoed;
	m->veto_reason = agi_str_to_pb(r->veto_reason);
	m->proof = agi_proof_to_pb(r->proof, pool);
	return m;
}

static void step_result_from_pb(struct agi_step_result *out,
                                const Agi__Erisml__V1__EvaluateStepResponse *m, struct agi_pool *pool)
{
	*out = (struct agi_step_result){.verdict = agi_verdict_parse(agi_str_of_pb(m->verdict)),
	                                .is_vetoed = m->vetoed,
	                                .veto_reason = agi_str_of_pb(m->veto_reason),
	                                .proof = agi_proof_from_pb(m->proof, pool)};
	if (!m->moral_vector) {
		out->verdict = AGI_VERDICT_UNKNOWN; /* a verdict on no grounds is none */
		return;
	}
	for (unsigned d = 0; d < AGI_MORAL_DIMS; d++)
		out->moral[d] = *moral_field(m->moral_vector, d);
	agi_pb_take_strings(&out->flags, m->moral_vector->veto_flags, m->moral_vector->n_veto_flags, pool);
	agi_pb_take_strings(&out->reasons, m->moral_vector->reason_codes, m->moral_vector->n_reason_codes,
	             pool);
}

static Agi__Erisml__V1__MoralTensorProto *tensor_to_pb(const struct agi_moral_tensor *t,
                                                       struct agi_pool *pool)
{
	enum { RANK = 2 };
	Agi__Erisml__V1__MoralTensorProto *m;
	size_t n;

	if (!t)
		return NULL;
	m = AGI_PB_NEW(pool, Agi__Erisml__V1__MoralTensorProto, agi__erisml__v1__moral_tensor_proto);
	n = t->n_steps * AGI_MORAL_DIMS;
	if (!m)
		return NULL;
	m->rank = RANK;
	m->shape = agi_pool_take(pool, RANK, sizeof *m->shape);
	m->axis_names = agi_pool_take(pool, RANK, sizeof *m->axis_names);
	m->data = agi_pool_take(pool, n, sizeof *m->data);
	if (pool->err)
		return NULL;
	m->n_shape = m->n_axis_names = RANK;
	m->shape[0] = AGI_MORAL_DIMS;
	m->shape[1] = (int32_t)t->n_steps;
	m->axis_names[0] = agi_str_to_pb(AGI_STR("dimension"));
	m->axis_names[1] = agi_str_to_pb(AGI_STR("step"));
	m->n_data = n;
	for (size_t i = 0; i < n; i++)
		m->data[i] = (float)t->data[i];
	m->veto_flags = agi_pb_strings(&t->flags, &m->n_veto_flags, pool);
	m->reason_codes = agi_pb_strings(&t->reasons, &m->n_reason_codes, pool);
	return m;
}

Agi__Erisml__V1__EvaluatePlanResponse *agi_plan_eval_to_pb(const struct agi_plan_eval *e,
                                                           struct agi_pool *pool)
{
	Agi__Erisml__V1__EvaluatePlanResponse *m = AGI_PB_NEW(pool, Agi__Erisml__V1__EvaluatePlanResponse,
	                                               agi__erisml__v1__evaluate_plan_response);

	if (!m)
		return NULL;
	m->step_results = agi_pool_take(pool, e->n_steps, sizeof *m->step_results);
	m->n_step_results = m->step_results ? e->n_steps : 0;
	for (size_t i = 0; i < m->n_step_results; i++)
		m->step_results[i] = agi_step_result_to_pb(&e->steps[i], pool);
	m->plan_approved = e->is_approved;
	m->blocked_steps = agi_pb_strings(&e->blocked, &m->n_blocked_steps, pool);
	m->bond_index = e->bond ? agi_bond_to_pb(e->bond, pool) : NULL;
	m->plan_proof = agi_proof_to_pb(e->proof, pool);
	m->moral_tensor = tensor_to_pb(e->tensor, pool);
	return pool->err ? NULL : m;
}

void agi_plan_eval_from_pb(struct agi_plan_eval *out, const Agi__Erisml__V1__EvaluatePlanResponse *m,
                           struct agi_pool *pool)
{
	struct agi_step_result *steps = agi_pool_take(pool, m->n_step_results, sizeof *steps);

	for (size_t i = 0; steps && i < m->n_step_results; i++)
		step_result_from_pb(&steps[i], m->step_results[i], pool);
	*out = (struct agi_plan_eval){.steps = steps,
	                              .n_steps = steps ? m->n_step_results : 0,
	                              .is_approved = m->plan_approved,
	                              .bond = agi_bond_from_pb(m->bond_index, pool),
	                              .proof = agi_proof_from_pb(m->plan_proof, pool)};
	agi_pb_take_strings(&out->blocked, m->blocked_steps, m->n_blocked_steps, pool);
}

Agi__Erisml__V1__HohfeldianResponse *agi_symmetry_to_pb(const struct agi_symmetry *s,
                                                        struct agi_pool *pool)
{
	Agi__Erisml__V1__HohfeldianResponse *m = AGI_PB_NEW(pool, Agi__Erisml__V1__HohfeldianResponse,
	                                             agi__erisml__v1__hohfeldian_response);

	if (!m)
		return NULL;
	m->consistent = s->violations.n == 0;
	m->symmetry_rate = (float)s->rate;
	m->violations = agi_pb_strings(&s->violations, &m->n_violations, pool);
	return m;
}

struct agi_str agi_pb_to_pool(const ProtobufCMessage *m, struct agi_pool *pool)
{
	size_t n = protobuf_c_message_get_packed_size(m);
	uint8_t *p = agi_pool_take(pool, n, 1);

	if (!p)
		return (struct agi_str){"", 0};
	protobuf_c_message_pack(m, p);
	return (struct agi_str){(const char *)p, n};
}
