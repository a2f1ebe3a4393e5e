/* SPDX-License-Identifier: Apache-2.0
 * Profiles: how much each moral dimension weighs in a step's score, and what is vetoed whatever the score. Pure.
 *
 * The built-in one is the reference's own evaluation; every other is known by a name and what it says (its hash is part of
 * the policy's). A profile can only add vetoes; with other weights a score may rise as well as fall.
 *
 * Life of a set: _new → _add … → (only read from here on) → _free. */
#ifndef AGI_ROLES_ERISML_PROFILE_H
#define AGI_ROLES_ERISML_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* In the order of the fields of agi.erisml.v1.MoralVectorProto (numbers 1 … 9). */
enum agi_moral_dim {
	AGI_MORAL_PHYSICAL_HARM, /* the only one of which more is worse */
	AGI_MORAL_RIGHTS_RESPECT,
	AGI_MORAL_FAIRNESS_EQUITY,
	AGI_MORAL_AUTONOMY_RESPECT,
	AGI_MORAL_PRIVACY_PROTECTION,
	AGI_MORAL_SOCIETAL_ENVIRONMENTAL,
	AGI_MORAL_VIRTUE_CARE,
	AGI_MORAL_LEGITIMACY_TRUST,
	AGI_MORAL_EPISTEMIC_QUALITY,
	AGI_MORAL_DIMS
};
const char *agi_moral_dim_name(enum agi_moral_dim d);

enum {
	AGI_PROFILES_MAX = 64,
	AGI_PROFILE_NAME_MAX = 255, /* bytes, as in a policy */
	AGI_PROFILE_WEIGHT_MAX = 100
};
#define AGI_PROFILE_BUILTIN "agi_hpc_safety_v1"

struct agi_profile {
	struct agi_str name;
	double weights[AGI_MORAL_DIMS];  /* 0 … AGI_PROFILE_WEIGHT_MAX */
	unsigned limited;                /* bit of each dimension that has a limit */
	double limits[AGI_MORAL_DIMS];   /* 0 … 1; a step is vetoed whose harm is above it, or another value below it */

	/* of all this, by _add */
	double weight_sum;
	uint8_t hash[32];                /* of the weights and limits */
	bool is_unknown;                 /* stands for a name that no profile has: everything is vetoed */
};
/* Weights and limits of the built-in profile, to begin from. */
void agi_profile_init(struct agi_profile *p, struct agi_str name);
extern const struct agi_profile agi_profile_builtin;

struct agi_profiles;
AGI_MUST_USE enum agi_err agi_profiles_new(struct agi_profiles **out);
/* NULL is allowed. */
void agi_profiles_free(struct agi_profiles *s);
/* Copies it. INVALID (a weight or limit outside its range, harm or rights that weigh nothing, a name that is there
 * already, the built-in one's name for something else), FULL, NOMEM; + why. */
AGI_MUST_USE enum agi_err agi_profiles_add(struct agi_profiles *s, const struct agi_profile *p, struct agi_why *why);
/* s NULL: only the built-in one. Never NULL: for a name that is not there one that vetoes everything (is_unknown).
 * Valid as long as the set. */
const struct agi_profile *agi_profiles_find(const struct agi_profiles *s, struct agi_str name);
/* AGI_E_INVALID + why: it is not there; names those that are. */
AGI_MUST_USE enum agi_err agi_profiles_check(const struct agi_profiles *s, struct agi_str name, struct agi_why *why);
size_t agi_profiles_count(const struct agi_profiles *s); /* without the built-in one */

#endif
