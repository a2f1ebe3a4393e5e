/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/safety_gateway/gateway.h"

#include "base/limits.h"
#include "roles/safety_gateway/facts_builder.h"

static const double RISK_NONE = 0.1, RISK_REVISE = 0.7, RISK_VETO = 0.9, RISK_MAX = 1.0;

static const struct agi_str banned_default[] = {
    {"override_safety", 15}, {"bypass_auth", 11},   {"disable_monitoring", 18},
    {"root_access", 11},     {"kernel_exploit", 14},
};

void agi_gateway_policy_default(struct agi_gateway_policy *p)
{
	*p = (struct agi_gateway_policy){
	    .banned = banned_default,
	    .n_banned = sizeof banned_default / sizeof *banned_default,
	    .bond_index_warn = 0.25,
	    .bond_index_block = 0.30,
	    .bond_index_fallback = 1.0,
	    .bond_index_action = AGI_DECISION_BLOCK,
	};
	agi_eval_policy_default(&p->eval);
}

static const struct {
	const char *name;
	struct agi_str text;
} causes[AGI_CHECK_CAUSES] = {
    [AGI_CHECK_OK] = {"OK", {"", 0}},
#define CAUSE(x, t) [AGI_CHECK_##x] = {#x, {t, sizeof t - 1}}
    CAUSE(ERISML_UNAVAILABLE, "ErisML unavailable"),
    CAUSE(ERISML_TIMEOUT, "ErisML did not answer in time"),
    CAUSE(ERISML_MALFORMED, "ErisML's answer is not usable"),
    CAUSE(TOO_LARGE, "the plan is larger than what is checked"),
    CAUSE(OUT_OF_MEMORY, "out of memory"),
    CAUSE(BUSY, "too many checks at once"),
    CAUSE(EMERGENCY_STOP, "emergency stop"),
    CAUSE(STOP_STATE_UNKNOWN, "whether an emergency stop is set could not be confirmed"),
    CAUSE(AUDIT_UNAVAILABLE, "the decision could not be kept in the audit log of two hosts"),
    CAUSE(POLICY_MISMATCH, "judged by another policy than the one in force"),
    CAUSE(VOTE_MALFORMED, "a gateway's vote could not be read"),
    CAUSE(VOTE_CONTRADICTORY, "a gateway signed something else than it answered"),
    CAUSE(VOTE_REPLAYED, "a gateway's vote was signed for another plan or check"),
    CAUSE(VOTE_STOP_STALE, "a gateway and this node know different emergency stops"),
    CAUSE(VOTE_CLOCK_OFF, "a gateway's clock and this node's are too far apart"),
    CAUSE(VOTE_SIGNATURE_WRONG, "a gateway's signature is wrong"),
    CAUSE(CANARY_FAILED, "this gateway misjudges a plan whose decision is known"),
    CAUSE(POLICY_STATE_UNKNOWN, "which policy is in force could not be confirmed"),
    CAUSE(PROFILE_UNKNOWN, "the policy's profile is not known at this gateway"),
    CAUSE(PROFILE_MISMATCH, "ErisML judged by another profile than this gateway's"),
#undef CAUSE
};

const char *agi_check_cause_name(enum agi_check_cause c)
{
	return (unsigned)c < AGI_CHECK_CAUSES ? causes[c].name : "OK";
}

void agi_check_block(struct agi_check_result *out, enum agi_check_cause cause)
{
	/* Only read, never grown: a list over static text needs no pool. */
	*out = (struct agi_check_result){.decision = AGI_DECISION_BLOCK,
	                                 .risk = RISK_MAX,
	                                 .phase = "erisml_check",
	                                 .cause = cause};
	out->reasons.p = (struct agi_str *)&causes[cause].text;
	out->reasons.n = 1;
}

static bool is_strict(const struct agi_gateway_check *c)
{
	return c->policy->eval.mode == AGI_EVAL_STRICT;
}

static void add_reason(struct agi_gateway_check *c, struct agi_check_result *out, struct agi_str label,
                       struct agi_str what)
{
	const struct agi_str parts[] = {label, what};

	agi_strs_add(&out->reasons, c->pool, agi_pool_concat(c->pool, parts, 2));
}

/* Every check ends here: what could not be written down in full is not trusted. */
static void seal(struct agi_gateway_check *c, struct agi_check_result *out)
{
	if (c->pool->err)
		agi_check_block(out, c->pool->err == AGI_E_TOO_LARGE ? AGI_CHECK_TOO_LARGE
		                                                      : AGI_CHECK_OUT_OF_MEMORY);
	else if (!is_strict(c))
		out->categories = 0;
}

/* --- steps that are not allowed ---------------------------------------------------------------- */
struct step_list {
	struct agi_step_check *p;
	size_t n;
};

static struct agi_step_check *add_step(struct step_list *l, const struct agi_plan_step *step,
                                       enum agi_decision d, double risk)
{
	struct agi_step_check *s;

	if (!l->p)
		return NULL;
	s = &l->p[l->n++];
	*s = (struct agi_step_check){.step_id = step->step_id, .decision = d, .risk = risk};
	return s;
}

static unsigned categories_of(const struct agi_step_result *s)
{
	static const struct {
		struct agi_str text;
		unsigned category;
	} known[] = {
	    {{"PHYSICAL_HARM", 13}, AGI_RISK_PHYSICAL_HARM},
	    {{"RIGHTS_VIOLATION", 16}, AGI_RISK_RIGHTS_VIOLATION},
	    {{"DEONTIC_UNIVERSALIZABILITY", 26}, AGI_RISK_RIGHTS_VIOLATION},
	    {{"rule_violation", 14}, AGI_RISK_RULE_VIOLATION},
	    {{"DISCRIMINATION", 14}, AGI_RISK_FAIRNESS},
	    {{"vulnerable_population_exploitation", 34}, AGI_RISK_FAIRNESS},
	    {{"novel_situation_uncertainty", 27}, AGI_RISK_EPISTEMIC},
	    {{"INVALID_INPUT", 13}, AGI_RISK_EPISTEMIC},
	    {{"PROFILE_LIMIT", 13}, AGI_RISK_RULE_VIOLATION},
	};
	unsigned bits = 0;

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (agi_strs_has(&s->flags, known[i].text) || agi_strs_has(&s->reasons, known[i].text))
			bits |= 1u << known[i].category;
	return bits;
}

/* Why ErisML judged the step so: strict mode says it, the reference does not. */
static void explain(struct agi_gateway_check *c, struct agi_check_result *out,
                    struct agi_step_check *to, const struct agi_step_result *from)
{
	unsigned categories = categories_of(from);

	out->categories |= categories;
	if (!to || !is_strict(c))
		return;
	to->categories = categories;
	to->proof = from->proof;
	if (from->veto_reason.n)
		agi_strs_add(&to->reasons, c->pool, from->veto_reason);
	for (size_t i = 0; i < from->reasons.n; i++)
		agi_strs_add(&to->reasons, c->pool, from->reasons.p[i]);
}

/* --- phase 1: rules ---------------------------------------------------------------------------- */
static bool is_banned(const struct agi_gateway_policy *p, struct agi_str tool)
{
	for (size_t i = 0; i < p->n_banned; i++)
		if (agi_str_eq(p->banned[i], tool))
			return true;
	return false;
}

static bool break_rules(struct agi_gateway_check *c, struct agi_check_result *out)
{
	struct step_list steps = {0};

	*out = (struct agi_check_result){.phase = "rule_check"};
	for (size_t i = 0; i < c->plan->n_steps; i++) {
		const struct agi_plan_step *step = &c->plan->steps[i];
		struct agi_step_check *s;

		if (!is_banned(c->policy, step->tool_id))
			continue;
		if (!steps.p)
			steps.p = agi_pool_take(c->pool, c->plan->n_steps, sizeof *steps.p);
		add_reason(c, out, AGI_STR("Banned tool: "), step->tool_id);
		s = add_step(&steps, step, AGI_DECISION_BLOCK, RISK_MAX);
		if (s && is_strict(c)) {
			s->categories = 1u << AGI_RISK_RULE_VIOLATION;
			agi_strs_add(&s->reasons, c->pool, out->reasons.n
			             ? out->reasons.p[out->reasons.n - 1] : step->tool_id);
		}
	}
	if (!out->reasons.n && !c->pool->err)
		return false;
	out->decision = AGI_DECISION_BLOCK;
	out->risk = RISK_MAX;
	out->categories = 1u << AGI_RISK_RULE_VIOLATION;
	out->steps = steps.p;
	out->n_steps = steps.n;
	seal(c, out);
	return true;
}

/* One step that breaks rules. */
static void add_finding(struct agi_gateway_check *c, struct agi_check_result *out, struct step_list *steps,
                        const struct agi_plan_step *step, const struct agi_rule_finding *f)
{
	struct agi_step_check *s = add_step(steps, step, f->decision, f->risk);

	if (s) {
		s->reasons = f->reasons;
		s->categories = 1u << AGI_RISK_RULE_VIOLATION;
	}
	for (size_t i = 0; i < f->reasons.n; i++)
		agi_strs_add_new(&out->reasons, c->pool, f->reasons.p[i]);
	out->decision = agi_decision_stricter(out->decision, f->decision);
	out->risk = f->risk > out->risk ? f->risk : out->risk;
	out->categories = 1u << AGI_RISK_RULE_VIOLATION;
}

/* The operator's rules. True: they decide, whatever the others would find. */
static bool apply_rule_set(struct agi_gateway_check *c, struct agi_check_result *out)
{
	const struct agi_rules *rules = is_strict(c) ? c->policy->rule_set : NULL;
	struct agi_check_result *r = &c->ruled;
	struct step_list steps = {0};

	*r = (struct agi_check_result){.decision = AGI_DECISION_ALLOW, .phase = "rule_check"};
	for (size_t i = 0; rules && i < c->plan->n_steps; i++) {
		const struct agi_plan_step *step = &c->plan->steps[i];
		const struct agi_rule_subject subject = {AGI_RULE_OF_PLANS, step, NULL, 0};
		struct agi_rule_finding f;

		agi_rules_judge(rules, &subject, c->pool, &f);
		if (f.decision == AGI_DECISION_ALLOW)
			continue;
		if (!steps.p)
			steps.p = agi_pool_take(c->pool, c->plan->n_steps, sizeof *steps.p);
		add_finding(c, r, &steps, step, &f);
	}
	r->steps = steps.p;
	r->n_steps = steps.n;
	if (r->decision != AGI_DECISION_BLOCK && !c->pool->err)
		return false;
	*out = *r;
	seal(c, out);
	return true;
}

/* What the rules found beside what the others did: nothing is lost, and the stricter decides. */
static void weigh_rules(struct agi_gateway_check *c, struct agi_check_result *out, struct step_list *steps)
{
	const struct agi_check_result *r = &c->ruled;

	if (r->decision == AGI_DECISION_ALLOW)
		return;
	for (size_t i = 0; i < r->reasons.n; i++)
		agi_strs_add(&out->reasons, c->pool, r->reasons.p[i]);
	for (size_t i = 0; steps->p && i < r->n_steps; i++)
		steps->p[steps->n++] = r->steps[i];
	if (r->decision > out->decision)
		out->phase = r->phase;
	out->decision = agi_decision_stricter(out->decision, r->decision);
	out->risk = r->risk > out->risk ? r->risk : out->risk;
	out->categories |= r->categories;
}

static void revise_empty(struct agi_gateway_check *c, struct agi_check_result *out)
{
	*out = (struct agi_check_result){
	    .decision = AGI_DECISION_REVISE, .risk = RISK_REVISE, .phase = "rule_check"};
	agi_strs_add(&out->reasons, c->pool, AGI_STR("empty plan"));
	out->categories = 1u << AGI_RISK_RULE_VIOLATION;
	seal(c, out);
}

enum agi_gateway_next agi_gateway_begin(struct agi_gateway_check *c,
                                        const struct agi_gateway_policy *policy,
                                        const struct agi_plan *plan, struct agi_pool *pool,
                                        struct agi_check_result *out)
{
	static const struct agi_plan none;

	*c = (struct agi_gateway_check){.policy = policy, .plan = plan ? plan : &none, .pool = pool};
	if (c->plan->n_steps > AGI_PLAN_STEPS_MAX) {
		agi_check_block(out, AGI_CHECK_TOO_LARGE);
		out->phase = "rule_check";
		return AGI_GATEWAY_DONE;
	}
	if (is_strict(c) && policy->eval.profile && policy->eval.profile->is_unknown) {
		agi_check_block(out, AGI_CHECK_PROFILE_UNKNOWN);
		out->phase = "rule_check";
		return AGI_GATEWAY_DONE;
	}
	if (break_rules(c, out))
		return AGI_GATEWAY_DONE;
	if (c->plan->n_steps == 0 && is_strict(c)) {
		revise_empty(c, out);
		return AGI_GATEWAY_DONE;
	}
	if (apply_rule_set(c, out))
		return AGI_GATEWAY_DONE;
	c->facts = agi_pool_take(pool, c->plan->n_steps, sizeof *c->facts);
	if (pool->err) {
		seal(c, out);
		return AGI_GATEWAY_DONE;
	}
	for (size_t i = 0; i < c->plan->n_steps; i++)
		agi_facts_build(&c->facts[i], policy->eval.mode, &c->plan->steps[i], NULL, NULL);
	return AGI_GATEWAY_NEED_ERISML;
}

/* --- phase 2: ErisML --------------------------------------------------------------------------- */
static bool is_vetoed(const struct agi_gateway_check *c, const struct agi_step_result *s)
{
	double harm = s->moral[AGI_MORAL_PHYSICAL_HARM];

	if (s->is_vetoed || s->verdict == AGI_VERDICT_FORBID || s->verdict == AGI_VERDICT_UNKNOWN)
		return true;
	/* ErisML may run under another node's policy: this gateway's threshold holds as well. */
	return is_strict(c) && !(harm <= agi_eval_harm_limit(&c->policy->eval));
}

/* An answer that does not fit the question or itself proves nothing. */
static const char *contradiction(const struct agi_gateway_check *c, const struct agi_plan_eval *e)
{
	size_t vetoed = 0;

	if (e->n_steps != c->plan->n_steps)
		return "it has another number of steps";
	for (size_t i = 0; i < e->n_steps; i++) {
		const struct agi_step_result *s = &e->steps[i];

		if (s->verdict == AGI_VERDICT_UNKNOWN)
			return "it has an unknown verdict";
		if (s->is_vetoed != (s->verdict == AGI_VERDICT_FORBID))
			return "a verdict and its veto disagree";
		vetoed += s->is_vetoed;
	}
	if (e->blocked.n != vetoed || e->is_approved != (vetoed == 0))
		return "its approval and its vetoes disagree";
	return NULL;
}

static void block_vetoed(struct agi_gateway_check *c, const struct agi_plan_eval *e,
                         struct agi_check_result *out, struct step_list *steps)
{
	for (size_t i = 0; i < e->n_steps; i++) {
		const struct agi_plan_step *step = &c->plan->steps[i];

		if (!is_vetoed(c, &e->steps[i]))
			continue;
		add_reason(c, out, AGI_STR("Ethical veto: "), step->step_id);
		explain(c, out, add_step(steps, step, AGI_DECISION_BLOCK, RISK_MAX), &e->steps[i]);
		out->decision = AGI_DECISION_BLOCK;
		out->risk = RISK_VETO;
	}
}

static void revise_avoided(struct agi_gateway_check *c, const struct agi_plan_eval *e,
                           struct agi_check_result *out, struct step_list *steps)
{
	for (size_t i = 0; i < e->n_steps; i++) {
		const struct agi_plan_step *step = &c->plan->steps[i];

		if (e->steps[i].verdict != AGI_VERDICT_AVOID)
			continue;
		add_reason(c, out, AGI_STR("Verdict avoid: "), step->step_id);
		explain(c, out, add_step(steps, step, AGI_DECISION_REVISE, RISK_REVISE),
		        &e->steps[i]);
		out->decision = AGI_DECISION_REVISE;
		out->risk = RISK_REVISE;
	}
}

/* --- phase 3: Bond Index ----------------------------------------------------------------------- */
static void give_up_on_bond(struct agi_gateway_check *c, struct agi_bond *bond, struct agi_str why)
{
	double fallback = c->policy->bond_index_fallback;

	agi_bond_uncomputable(bond, c->pool, why);
	if (is_strict(c) && agi_is_share(fallback) && fallback >= c->policy->bond_index_block)
		bond->index = fallback;
}

static void add_defect(struct agi_gateway_check *c, struct agi_bond *bond, struct agi_str step_id,
                       enum agi_hohfeld a, enum agi_hohfeld b)
{
	char x[3] = {agi_hohfeld_letter(a), agi_hohfeld_letter(b),
	             agi_hohfeld_letter(agi_hohfeld_correlative(a))};
	const struct agi_str parts[] = {
	    step_id, AGI_STR(".agent("), {&x[0], 1}, AGI_STR(") <-> "), step_id,
	    AGI_STR(".affected("), {&x[1], 1}, AGI_STR("): expected "), {&x[2], 1}};

	agi_strs_add(&bond->violations, c->pool,
	             agi_pool_concat(c->pool, parts, sizeof parts / sizeof *parts));
}

/* Positions that steps declare, measured; the others derived, which makes no defect. */
static void measure_positions(struct agi_gateway_check *c, const struct agi_plan_eval *e,
                              struct agi_bond *bond)
{
	struct agi_bond_count count = {0};
	struct agi_str bad = {NULL, 0};

	*bond = (struct agi_bond){0};
	for (size_t i = 0; i < e->n_steps; i++) {
		const struct agi_plan_step *step = &c->plan->steps[i];
		struct agi_str a = agi_step_param(step, "hohfeld_agent");
		struct agi_str b = agi_step_param(step, "hohfeld_affected");
		enum agi_hohfeld x = agi_position_of_step(&e->steps[i]);
		enum agi_hohfeld y = agi_hohfeld_correlative(x);

		if (a.p || b.p) {
			x = agi_hohfeld_parse(a);
			y = agi_hohfeld_parse(b);
		}
		if (!x || !y)
			bad = (struct agi_str){step->step_id.n ? step->step_id.p : "", step->step_id.n};
		agi_bond_add(&count, x, y);
		if (x && y && y != agi_hohfeld_correlative(x))
			add_defect(c, bond, step->step_id, x, y);
	}
	agi_bond_finish(bond, &count, AGI_EVAL_STRICT);
	if (bad.p) {
		const struct agi_str parts[] = {
		    bad, AGI_STR(": hohfeld_agent and hohfeld_affected must each be O, C, L or N")};

		give_up_on_bond(c, bond, agi_pool_concat(c->pool, parts, 2));
	}
}

/* ErisML's own index counts too; one that is no share of pairs counts as the worst. */
static void take_erisml_bond(struct agi_gateway_check *c, const struct agi_plan_eval *e,
                             struct agi_bond *bond)
{
	if (!e->bond || !agi_is_share(e->bond->index)) {
		give_up_on_bond(c, bond, AGI_STR("ErisML gave no usable Bond Index"));
		return;
	}
	if (e->bond->index > bond->index)
		bond->index = e->bond->index;
	for (size_t i = 0; i < e->bond->violations.n; i++)
		agi_strs_add(&bond->violations, c->pool, e->bond->violations.p[i]);
}

static void compute_bond(struct agi_gateway_check *c, const struct agi_plan_eval *e,
                         struct agi_check_result *out)
{
	out->bond = (struct agi_bond){0};
	if (is_strict(c))
		measure_positions(c, e, &out->bond);
	take_erisml_bond(c, e, &out->bond);
	if (!is_strict(c)) /* the reference repeats the value and no more */
		out->bond = (struct agi_bond){.index = out->bond.index};
	out->bond.is_within = out->bond.index < AGI_BOND_LIMIT;
	out->has_bond = true;
}

/* Compared as floats: an index that came over the wire was rounded, and so is the threshold. */
static bool reaches(double index, double threshold) { return !((float)index < (float)threshold); }

static void add_bond_reason(struct agi_gateway_check *c, struct agi_check_result *out,
                            const char *how, double threshold)
{
	out->categories |= 1u << AGI_RISK_BOND_INDEX;
	agi_strs_add(&out->reasons, c->pool,
	             agi_pool_printf(c->pool, "Bond Index %.3f %s %g", out->bond.index, how,
	                             threshold));
}

static void decide_bond_strict(struct agi_gateway_check *c, struct agi_check_result *out)
{
	const struct agi_gateway_policy *p = c->policy;
	enum agi_decision d = p->bond_index_action;

	if (reaches(out->bond.index, p->bond_index_block)) {
		out->decision = d == AGI_DECISION_REVISE || d == AGI_DECISION_DEFER
		                    ? d : AGI_DECISION_BLOCK;
		out->risk = out->decision == AGI_DECISION_BLOCK ? RISK_VETO : RISK_REVISE;
		out->phase = "bond_index_check";
		add_bond_reason(c, out, "exceeds threshold", p->bond_index_block);
		for (size_t i = 0; i < out->bond.violations.n; i++)
			agi_strs_add(&out->reasons, c->pool, out->bond.violations.p[i]);
	} else if (reaches(out->bond.index, p->bond_index_warn)) {
		add_bond_reason(c, out, "is at or above the warning threshold", p->bond_index_warn);
	}
}

static void decide_bond(struct agi_gateway_check *c, const struct agi_plan_eval *e,
                        struct agi_check_result *out)
{
	if (is_strict(c)) {
		decide_bond_strict(c, out);
	} else if (!out->bond.is_within || !e->bond || !e->bond->is_within) {
		out->decision = AGI_DECISION_REVISE;
		out->risk = RISK_REVISE;
		out->phase = "bond_index_check";
		add_bond_reason(c, out, "exceeds threshold", AGI_BOND_LIMIT);
	}
}

/* The checks after the vetoes: the stricter of the two decides. */
static void weigh(struct agi_gateway_check *c, const struct agi_plan_eval *e,
                  struct agi_check_result *out, struct step_list *steps)
{
	struct agi_check_result avoided = *out;

	decide_bond(c, e, out);
	if (!is_strict(c))
		return;
	avoided.reasons = out->reasons;
	avoided.categories = out->categories;
	revise_avoided(c, e, &avoided, steps);
	out->reasons = avoided.reasons;
	out->categories = avoided.categories;
	if (avoided.decision > out->decision) {
		out->decision = avoided.decision;
		out->risk = avoided.risk;
		out->phase = "erisml_check";
	}
}

/* Of what only this project's ErisML can judge by: the reference's own evaluation needs no proof of itself. */
static bool is_by_another_profile(const struct agi_gateway_check *c, const struct agi_plan_eval *e)
{
	const struct agi_eval_policy *p = &c->policy->eval;
	char hash[AGI_HASH_TEXT];

	if (!agi_eval_has_own_profile(p))
		return false;
	agi_profile_hash(hash, p, p->profile_name);
	return !e->proof || !agi_str_eq(e->proof->profile_hash, agi_str_of(hash));
}

void agi_gateway_finish(struct agi_gateway_check *c, const struct agi_plan_eval *eval,
                        struct agi_check_result *out)
{
	const char *wrong = contradiction(c, eval);
	struct step_list steps = {0};

	if (wrong) {
		agi_gateway_fail(c, AGI_CHECK_ERISML_MALFORMED, wrong, out);
		return;
	}
	if (is_by_another_profile(c, eval)) {
		agi_gateway_fail(c, AGI_CHECK_PROFILE_MISMATCH, NULL, out);
		return;
	}
	*out = (struct agi_check_result){
	    .decision = AGI_DECISION_ALLOW, .risk = RISK_NONE, .phase = "erisml_check"};
	steps.p = agi_pool_take(c->pool, eval->n_steps + c->ruled.n_steps, sizeof *steps.p);
	out->proof = is_strict(c) ? eval->proof : NULL;
	compute_bond(c, eval, out);
	block_vetoed(c, eval, out, &steps);
	if (out->decision == AGI_DECISION_ALLOW)
		weigh(c, eval, out, &steps);
	weigh_rules(c, out, &steps);
	if (out->decision == AGI_DECISION_ALLOW) {
		out->phase = "complete";
		if (!out->reasons.n)
			agi_strs_add(&out->reasons, c->pool, AGI_STR("All checks passed"));
	}
	out->steps = steps.p;
	out->n_steps = steps.n;
	seal(c, out);
}

void agi_gateway_fail(struct agi_gateway_check *c, enum agi_check_cause cause, const char *detail,
                      struct agi_check_result *out)
{
	struct agi_str more = agi_str_of(detail);

	if (cause == AGI_CHECK_OK)
		cause = AGI_CHECK_ERISML_UNAVAILABLE;
	agi_check_block(out, cause);
	out->reasons = (struct agi_strs){0};
	if (more.n) {
		const struct agi_str parts[] = {causes[cause].text, AGI_STR(": "), more};

		agi_strs_add(&out->reasons, c->pool, agi_pool_concat(c->pool, parts, 3));
	} else {
		agi_strs_add(&out->reasons, c->pool, causes[cause].text);
	}
	out->categories = 1u << AGI_RISK_EPISTEMIC;
	if (is_strict(c)) {
		give_up_on_bond(c, &out->bond, causes[cause].text);
		out->has_bond = true;
		out->categories |= 1u << AGI_RISK_BOND_INDEX;
	}
	seal(c, out);
}
