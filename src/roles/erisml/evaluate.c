/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/erisml/evaluate.h"

#include <float.h>
#include <math.h>

#include "roles/erisml/deontic.h"

/* The recorded answers depend on every intermediate being a double, no more and no less. */
_Static_assert(FLT_EVAL_METHOD == 0, "needs plain double arithmetic (on 32-bit x86: -mfpmath=sse)");

static const double HARM_VETO = 0.8; /* of the reference; as a double, so that 0.8f is above it */

static const char *name_at(const char *const *names, size_t n, unsigned i)
{
	return i < n ? names[i] : "unknown";
}
#define NAME_AT(names, i) name_at(names, sizeof names / sizeof *names, (unsigned)(i))

const char *agi_eval_mode_name(enum agi_eval_mode m)
{
	static const char *const names[] = {"strict", "reference"};

	return NAME_AT(names, m);
}

enum agi_err agi_eval_mode_parse(enum agi_eval_mode *out, struct agi_str s)
{
	if (agi_str_eq(s, AGI_STR("strict")))
		*out = AGI_EVAL_STRICT;
	else if (agi_str_eq(s, AGI_STR("reference")))
		*out = AGI_EVAL_REFERENCE;
	else
		return AGI_E_INVALID;
	return AGI_OK;
}

const char *agi_verdict_name(enum agi_verdict v)
{
	static const char *const names[] = {"unknown", "forbid", "avoid",
	                                    "neutral", "prefer", "strongly_prefer"};

	return NAME_AT(names, v);
}

enum agi_verdict agi_verdict_parse(struct agi_str s)
{
	for (int v = AGI_VERDICT_FORBID; v <= AGI_VERDICT_STRONGLY_PREFER; v++)
		if (agi_str_eq(s, agi_str_of(agi_verdict_name((enum agi_verdict)v))))
			return (enum agi_verdict)v;
	return AGI_VERDICT_UNKNOWN;
}

void agi_eval_policy_default(struct agi_eval_policy *p)
{
	*p = (struct agi_eval_policy){.mode = AGI_EVAL_STRICT,
	                              .physical_harm_threshold = 0.9,
	                              .profile_name = AGI_STR(AGI_PROFILE_BUILTIN)};
}

void agi_eval_policy_use(struct agi_eval_policy *p, struct agi_str profile_name)
{
	const struct agi_profile *own = agi_profiles_find(p->profiles, p->profile_name);
	const struct agi_profile *named = profile_name.n ? agi_profiles_find(p->profiles, profile_name) : own;

	if (profile_name.n)
		p->profile_name = profile_name;
	p->profile = p->mode != AGI_EVAL_STRICT ? NULL : named->is_unknown ? own : named;
}

static const struct agi_profile *profile_of(const struct agi_eval_policy *p)
{
	return p->profile && p->mode == AGI_EVAL_STRICT ? p->profile : &agi_profile_builtin;
}

bool agi_eval_has_own_profile(const struct agi_eval_policy *p) { return profile_of(p) != &agi_profile_builtin; }

double agi_eval_harm_limit(const struct agi_eval_policy *p)
{
	const struct agi_profile *profile = profile_of(p);
	double limit = HARM_VETO;

	if (p->mode == AGI_EVAL_STRICT && p->physical_harm_threshold < limit)
		limit = p->physical_harm_threshold;
	if (profile->limited & 1u << AGI_MORAL_PHYSICAL_HARM && profile->limits[AGI_MORAL_PHYSICAL_HARM] < limit)
		limit = profile->limits[AGI_MORAL_PHYSICAL_HARM];
	return limit;
}

/* max and min as the reference's language has them: a NaN in the first place stays, one in the second is
 * passed over (fmax and fmin would pass over both). */
static double first_max(double a, double b) { return b > a ? b : a; }
static double first_min(double a, double b) { return b < a ? b : a; }

static void add_flag(struct agi_step_eval *e, const char *flag)
{
	e->flags[e->n_flags++] = agi_str_of(flag);
}

static void add_reason(struct agi_step_eval *e, const char *reason)
{
	e->reasons[e->n_reasons++] = agi_str_of(reason);
}

static bool has_infinite_extension(const struct agi_facts *f)
{
	for (size_t i = 0; i < f->n_extensions; i++)
		if (!isfinite(f->extensions[i].value))
			return true;
	return false;
}

static void check_inputs(struct agi_step_eval *e, const struct agi_facts *f, const struct agi_profile *profile)
{
	const struct {
		float value;
		const char *reason;
	} inputs[] = {
	    {f->expected_benefit, "invalid_input:expected_benefit"},
	    {f->expected_harm, "invalid_input:expected_harm"},
	    {f->urgency, "invalid_input:urgency"},
	    {f->physical_harm_risk, "invalid_input:physical_harm_risk"},
	    {f->collision_probability, "invalid_input:collision_probability"},
	    {f->uncertainty_level, "invalid_input:uncertainty_level"},
	    {f->evidence_quality, "invalid_input:evidence_quality"},
	};

	for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
		if (!agi_is_share(inputs[i].value))
			add_reason(e, inputs[i].reason);
	if (has_infinite_extension(f))
		add_reason(e, "invalid_input:extensions");
	if (profile->is_unknown)
		add_reason(e, "invalid_input:profile_name");
	if (e->n_reasons)
		add_flag(e, "INVALID_INPUT");
}

static void judge_harm(struct agi_step_eval *e, const struct agi_facts *f, double limit)
{
	double harm = first_max(f->physical_harm_risk, f->collision_probability);

	e->moral[AGI_MORAL_PHYSICAL_HARM] = harm;
	if (harm > limit) {
		add_flag(e, "PHYSICAL_HARM");
		add_reason(e, "physical_harm_exceeds_threshold");
	}
}

static void judge_rights(struct agi_step_eval *e, const struct agi_facts *f)
{
	double rights = f->has_valid_consent ? 1.0 : 0.7;

	if (f->violates_rights) {
		rights = 0.0;
		add_flag(e, "RIGHTS_VIOLATION");
		add_reason(e, "explicit_rights_violation");
	} else if (f->violates_explicit_rule) {
		rights = 0.2;
		add_reason(e, "rule_violation");
	}
	if (f->maxim_action_kind.n) {
		struct agi_deontic d = agi_deontic_evaluate(f->maxim_action_kind, f->maxim_polarity);

		if (agi_deontic_is_vetoed(&d)) {
			rights = 0.0;
			add_flag(e, "DEONTIC_UNIVERSALIZABILITY");
			add_reason(e, d.reason.p);
		}
	}
	e->moral[AGI_MORAL_RIGHTS_RESPECT] = rights;
	e->moral[AGI_MORAL_AUTONOMY_RESPECT] = f->has_valid_consent ? 1.0 : 0.5;
}

static void judge_fairness(struct agi_step_eval *e, const struct agi_facts *f)
{
	double fairness = 1.0;

	if (f->discriminates_on_protected_attr) {
		fairness = 0.0;
		add_flag(e, "DISCRIMINATION");
		add_reason(e, "protected_attribute_discrimination");
	} else if (f->exploits_vulnerable_population) {
		fairness = 0.2;
		add_reason(e, "vulnerable_population_exploitation");
	}
	e->moral[AGI_MORAL_FAIRNESS_EQUITY] = fairness;
}

static void judge_knowledge_and_society(struct agi_step_eval *e, const struct agi_facts *f)
{
	double quality = (double)f->evidence_quality * (1.0 - (double)f->uncertainty_level);
	double benefit = f->expected_benefit, harm = f->expected_harm;
	double ratio = harm > 0.0 ? benefit / first_max(harm, 0.01) : benefit * 10.0;

	if (f->novel_situation) {
		quality *= 0.7;
		add_reason(e, "novel_situation_uncertainty");
	}
	e->moral[AGI_MORAL_EPISTEMIC_QUALITY] = quality;
	e->moral[AGI_MORAL_SOCIETAL_ENVIRONMENTAL] = first_min(1.0, ratio / 10.0);
	e->moral[AGI_MORAL_PRIVACY_PROTECTION] = 1.0;
	e->moral[AGI_MORAL_VIRTUE_CARE] = 1.0;
	e->moral[AGI_MORAL_LEGITIMACY_TRUST] = 1.0;
}

static void judge_limits(struct agi_step_eval *e, const struct agi_profile *profile)
{
	static const char *const reasons[AGI_MORAL_DIMS] = {
	    [AGI_MORAL_RIGHTS_RESPECT] = "profile_limit:rights_respect",
	    [AGI_MORAL_FAIRNESS_EQUITY] = "profile_limit:fairness_equity",
	    [AGI_MORAL_AUTONOMY_RESPECT] = "profile_limit:autonomy_respect",
	    [AGI_MORAL_PRIVACY_PROTECTION] = "profile_limit:privacy_protection",
	    [AGI_MORAL_SOCIETAL_ENVIRONMENTAL] = "profile_limit:societal_environmental",
	    [AGI_MORAL_VIRTUE_CARE] = "profile_limit:virtue_care",
	    [AGI_MORAL_LEGITIMACY_TRUST] = "profile_limit:legitimacy_trust",
	    [AGI_MORAL_EPISTEMIC_QUALITY] = "profile_limit:epistemic_quality"};
	uint8_t n = e->n_reasons;

	/* harm's is in agi_eval_harm_limit */
	for (unsigned d = AGI_MORAL_RIGHTS_RESPECT; d < AGI_MORAL_DIMS; d++)
		if (profile->limited & 1u << d && !(e->moral[d] >= profile->limits[d]))
			add_reason(e, reasons[d]);
	if (e->n_reasons > n)
		add_flag(e, "PROFILE_LIMIT");
}

/* The order of these additions decides cases one ulp from a threshold; a factor of 1 changes no bit. */
static double score_of(const double *m, const struct agi_profile *profile)
{
	double s = (1.0 - m[AGI_MORAL_PHYSICAL_HARM]) * profile->weights[AGI_MORAL_PHYSICAL_HARM];

	for (unsigned d = AGI_MORAL_RIGHTS_RESPECT; d < AGI_MORAL_DIMS; d++)
		if (profile->weights[d] > 0) /* what weighs nothing does not matter, not even as NaN */
			s += m[d] * profile->weights[d];
	return s / profile->weight_sum;
}

/* NaN is no number above a threshold: forbidden. */
static enum agi_verdict verdict_of(double score)
{
	if (score >= 0.9)
		return AGI_VERDICT_STRONGLY_PREFER;
	if (score >= 0.7)
		return AGI_VERDICT_PREFER;
	if (score >= 0.5)
		return AGI_VERDICT_NEUTRAL;
	if (score >= 0.3)
		return AGI_VERDICT_AVOID;
	return AGI_VERDICT_FORBID;
}

void agi_step_evaluate(struct agi_step_eval *e, const struct agi_eval_policy *policy,
                       const struct agi_facts *facts)
{
	static const struct agi_facts none;
	const struct agi_facts *f = facts ? facts : &none;
	const struct agi_profile *profile = profile_of(policy);

	*e = (struct agi_step_eval){.verdict = AGI_VERDICT_FORBID};
	if (policy->mode == AGI_EVAL_STRICT)
		check_inputs(e, f, profile);
	judge_harm(e, f, agi_eval_harm_limit(policy));
	judge_rights(e, f);
	judge_fairness(e, f);
	judge_knowledge_and_society(e, f);
	judge_limits(e, profile);
	e->score = score_of(e->moral, profile);
	e->verdict = e->n_flags ? AGI_VERDICT_FORBID : verdict_of(e->score);
	e->is_vetoed = e->verdict == AGI_VERDICT_FORBID;
}
