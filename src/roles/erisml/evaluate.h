/* SPDX-License-Identifier: Apache-2.0
 * ErisML's judgement of one step: nine moral dimensions, vetoes, a verdict. Pure and exact: double
 * arithmetic in a fixed order, rounded to float only by whoever puts the values on the wire. */
#ifndef AGI_ROLES_ERISML_EVALUATE_H
#define AGI_ROLES_ERISML_EVALUATE_H

#include "roles/erisml/facts.h"
#include "roles/erisml/profile.h"

enum agi_eval_mode {
	AGI_EVAL_STRICT,   /* default: closes the gaps of the reference, see agihpc.yaml(5) "evaluation" */
	AGI_EVAL_REFERENCE /* answers as the reference implementation does, wherever that is safe */
};
const char *agi_eval_mode_name(enum agi_eval_mode m);
/* "strict" or "reference"; INVALID otherwise. */
AGI_MUST_USE enum agi_err agi_eval_mode_parse(enum agi_eval_mode *out, struct agi_str s);

enum agi_verdict {
	AGI_VERDICT_UNKNOWN, /* not one of the five: only ever read from a peer */
	AGI_VERDICT_FORBID,
	AGI_VERDICT_AVOID,
	AGI_VERDICT_NEUTRAL,
	AGI_VERDICT_PREFER,
	AGI_VERDICT_STRONGLY_PREFER
};
const char *agi_verdict_name(enum agi_verdict v);
enum agi_verdict agi_verdict_parse(struct agi_str s);

struct agi_eval_policy {
	enum agi_eval_mode mode;
	/* STRICT: a harm above this or above the reference's 0.8 is vetoed. */
	double physical_harm_threshold;
	struct agi_str profile_name; /* used where a request names none */
	const struct agi_profiles *profiles; /* this host's; NULL: only the built-in one. Borrowed */
	const struct agi_profile *profile;   /* STRICT: what is judged by; NULL: the built-in one */
};
/* Judge for somebody who names this profile (empty = none), which the proofs tell: by the profile of that name, or by p's
 * own where none has it; if p's own is not known either, everything is vetoed. In mode reference names change nothing.
 * The name is borrowed. */
void agi_eval_policy_use(struct agi_eval_policy *p, struct agi_str profile_name);
/* A profile that is not the built-in one, or unknown. */
bool agi_eval_has_own_profile(const struct agi_eval_policy *p);
/* strict, 0.9, "agi_hpc_safety_v1" */
void agi_eval_policy_default(struct agi_eval_policy *p);
/* The harm above which a step is vetoed under this policy. */
double agi_eval_harm_limit(const struct agi_eval_policy *p);

enum {
	AGI_EVAL_FLAGS_MAX = 6,   /* invalid input, harm, rights, maxim, discrimination, a limit of the profile */
	AGI_EVAL_REASONS_MAX = 22 /* eight inputs and the profile, five lines of the table, eight limits */
};

struct agi_step_eval {
	double moral[AGI_MORAL_DIMS];
	double score;
	enum agi_verdict verdict;
	bool is_vetoed;
	/* static strings, in the order the checks are made */
	struct agi_str flags[AGI_EVAL_FLAGS_MAX];
	struct agi_str reasons[AGI_EVAL_REASONS_MAX];
	uint8_t n_flags, n_reasons;
};

/* facts NULL = no facts were given: the same as empty ones. */
void agi_step_evaluate(struct agi_step_eval *out, const struct agi_eval_policy *policy,
                       const struct agi_facts *facts);

/* true when 0 <= v <= 1 (so not for NaN) */
static inline bool agi_is_share(double v) { return v >= 0.0 && v <= 1.0; }

#endif
