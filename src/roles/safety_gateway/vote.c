/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/safety_gateway/vote.h"

#include "roles/mutant.h"

#include <assert.h>

#include "base/limits.h"

static enum agi_decision valid(enum agi_decision d)
{
	return d >= AGI_DECISION_ALLOW && d <= AGI_DECISION_BLOCK ? d : AGI_DECISION_BLOCK;
}

const char *agi_decision_name(enum agi_decision d)
{
	static const char *const names[] = {"BLOCK", "ALLOW", "REVISE", "DEFER", "BLOCK"};

	return names[valid(d)];
}

enum agi_decision agi_decision_stricter(enum agi_decision a, enum agi_decision b)
{
	return valid(a) > valid(b) ? valid(a) : valid(b);
}

unsigned agi_vote_majority(unsigned electorate) { return electorate / 2 + 1; }

unsigned agi_quorum_needed(enum agi_quorum_rule rule, unsigned electorate, unsigned faults)
{
	unsigned majority = agi_vote_majority(electorate);

	if (rule == AGI_QUORUM_MAJORITY)
		return majority;
	if (rule == AGI_QUORUM_UNANIMOUS)
		return electorate;
	if (electorate < 3 * faults + 1)
		return 0;
	return 2 * faults + 1 > majority ? 2 * faults + 1 : majority;
}

void agi_tally_init(struct agi_tally *t, unsigned electorate, unsigned needed)
{
	assert(electorate >= 1 && electorate <= AGI_PANEL_MAX);
	assert(needed >= agi_vote_majority(electorate) && needed <= electorate);
	*t = (struct agi_tally){.electorate = (uint8_t)electorate, .needed = (uint8_t)needed};
}

void agi_tally_add(struct agi_tally *t, enum agi_decision d)
{
	if (t->cast == t->electorate)
		return;
	t->votes[valid(d)]++;
	t->cast++;
}

/* The result with `more` further ALLOW votes. */
static enum agi_decision result_with(const struct agi_tally *t, unsigned more)
{
	unsigned so_far = more, needed = AGI_ROLE_MUTANT(OF_THE_ANSWERS) ? t->cast / 2U + 1 : t->needed;

	for (int d = AGI_DECISION_ALLOW; d < AGI_DECISION_BLOCK; d++) {
		so_far += t->votes[d];
		if (so_far >= needed)
			return (enum agi_decision)d;
	}
	return AGI_DECISION_BLOCK;
}

enum agi_decision agi_tally_result(const struct agi_tally *t) { return result_with(t, 0); }

bool agi_tally_is_decided(const struct agi_tally *t, unsigned open)
{
	unsigned missing = (unsigned)(t->electorate - t->cast);

	/* The tally is monotone: between all-BLOCK and all-ALLOW lie all other outcomes. */
	return result_with(t, open < missing ? open : missing) == agi_tally_result(t);
}
