/* SPDX-License-Identifier: Apache-2.0
 * The maxim gate: may the maxim behind an action be willed as a universal law? Prohibited kinds of action
 * and the refusal of a duty are vetoed. Kinds are compared byte for byte: no aliases, no trimming. */
#ifndef AGI_ROLES_ERISML_DEONTIC_H
#define AGI_ROLES_ERISML_DEONTIC_H

#include "base/str.h"

enum agi_contradiction {
	AGI_CONTRADICTION_NONE,
	AGI_CONTRADICTION_IN_CONCEPTION, /* a prohibited kind, affirmed */
	AGI_CONTRADICTION_IN_WILL,       /* a duty, negated */
	AGI_CONTRADICTION_UNDETERMINED   /* an unknown kind: passes */
};
const char *agi_contradiction_name(enum agi_contradiction c);

struct agi_deontic {
	enum agi_contradiction contradiction;
	bool is_negated;        /* the kind judged is "not:" and the kind given */
	struct agi_str reason;  /* static; empty unless vetoed */
};
static inline bool agi_deontic_is_vetoed(const struct agi_deontic *d) { return d->reason.n > 0; }

/* polarity "negated" negates; anything else affirms. */
struct agi_deontic agi_deontic_evaluate(struct agi_str kind, struct agi_str polarity);

#endif
