/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/erisml/deontic.h"

enum kind_class { PROHIBITED, DUTY, PERMISSIBLE };

#define FAIL "deontic_universalizability_fail:"
/* affirmed / negated: the reason code of a veto, or empty. */
static const struct kind {
	struct agi_str name;
	enum kind_class class;
	struct agi_str affirmed, negated;
} kinds[] = {
#define PROHIBIT(k) {{k, sizeof k - 1}, PROHIBITED, {FAIL k, sizeof FAIL k - 1}, {"", 0}}
#define OBLIGE(k)   {{k, sizeof k - 1}, DUTY, {"", 0}, {FAIL "not:" k, sizeof FAIL "not:" k - 1}}
#define PERMIT(k)   {{k, sizeof k - 1}, PERMISSIBLE, {"", 0}, {"", 0}}
    PROHIBIT("deceive"),
    PROHIBIT("break_commitment"),
    PROHIBIT("cheat"),
    PROHIBIT("impose_externality"),
    PROHIBIT("coerce"),
    PROHIBIT("coerce_or_be_coerced"),
    PROHIBIT("inflict_harm"),
    PROHIBIT("use_as_means"),
    PROHIBIT("refuse"),
    OBLIGE("help"),
    OBLIGE("protect"),
    PERMIT("make_or_keep_commitment"),
    PERMIT("disclose"),
    PERMIT("act_under_norm"),
    PERMIT("act_under_authority"),
};

const char *agi_contradiction_name(enum agi_contradiction c)
{
	static const char *const names[] = {"no_contradiction", "contradiction_in_conception",
	                                    "contradiction_in_will", "undetermined"};

	return (unsigned)c < sizeof names / sizeof *names ? names[c] : "unknown";
}

struct agi_deontic agi_deontic_evaluate(struct agi_str kind, struct agi_str polarity)
{
	bool is_negated = agi_str_eq(polarity, AGI_STR("negated"));

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		const struct kind *k = &kinds[i];
		struct agi_deontic d = {.is_negated = is_negated,
		                        .reason = is_negated ? k->negated : k->affirmed};

		if (!agi_str_eq(kind, k->name))
			continue;
		if (agi_deontic_is_vetoed(&d))
			d.contradiction = k->class == DUTY ? AGI_CONTRADICTION_IN_WILL
			                                   : AGI_CONTRADICTION_IN_CONCEPTION;
		return d;
	}
	return (struct agi_deontic){.contradiction = AGI_CONTRADICTION_UNDETERMINED};
}
