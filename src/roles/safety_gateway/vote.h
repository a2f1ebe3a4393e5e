/* SPDX-License-Identifier: Apache-2.0
 * Counting votes. The electorate is a configured number of gateways, never the number that was found or
 * that answered. The result is the most permissive decision such that as many of the electorate as the quorum's
 * rule needs voted for it or for something more permissive; a vote that is missing, late or invalid counts as
 * BLOCK. Every rule needs at least a majority: so ALLOW needs a majority of ALLOW votes, and no vote made
 * stricter ever makes the result more permissive. */
#ifndef AGI_ROLES_SAFETY_GATEWAY_VOTE_H
#define AGI_ROLES_SAFETY_GATEWAY_VOTE_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* In order of permissiveness. Zero is no decision, so that forgotten memory never allows anything. */
enum agi_decision {
	AGI_DECISION_NONE,
	AGI_DECISION_ALLOW,
	AGI_DECISION_REVISE,
	AGI_DECISION_DEFER,
	AGI_DECISION_BLOCK,
	AGI_DECISION_COUNT
};
/* "ALLOW"; anything that is no decision is named BLOCK */
const char *agi_decision_name(enum agi_decision d);
/* The stricter of two; NONE counts as BLOCK. */
enum agi_decision agi_decision_stricter(enum agi_decision a, enum agi_decision b);

/* How many of n gateways must agree, so that how many of them may lie. */
enum agi_quorum_rule {
	AGI_QUORUM_MAJORITY,  /* floor(n / 2) + 1 */
	AGI_QUORUM_UNANIMOUS, /* n: a single gateway that would not allow, or is silent, blocks */
	AGI_QUORUM_BYZANTINE  /* of n >= 3f + 1, 2f + 1: f gateways that lie can neither allow what the honest ones block
	                       * nor, answering wrongly or not at all, block what these allow
	                       * (Lamport, Shostak, Pease: The Byzantine Generals Problem, 1982) */
};
/* Votes that carry a decision; never less than a majority. 0: fewer than 3 * faults + 1 gateways (BYZANTINE; faults
 * are not looked at otherwise). electorate 1 … AGI_PANEL_MAX */
unsigned agi_quorum_needed(enum agi_quorum_rule rule, unsigned electorate, unsigned faults);

struct agi_tally {
	uint8_t electorate;
	uint8_t needed;
	uint8_t cast;                       /* votes counted, at most electorate */
	uint8_t votes[AGI_DECISION_COUNT];  /* by decision; NONE stays 0 */
};

/* electorate 1 … AGI_PANEL_MAX; needed: of agi_quorum_needed, a majority … electorate */
void agi_tally_init(struct agi_tally *t, unsigned electorate, unsigned needed);
/* Votes beyond the electorate are not counted. NONE (an invalid vote) counts as BLOCK. */
void agi_tally_add(struct agi_tally *t, enum agi_decision d);
/* floor(n / 2) + 1 */
unsigned agi_vote_majority(unsigned electorate);
/* The result if no further vote came. Never NONE. */
enum agi_decision agi_tally_result(const struct agi_tally *t);
/* True when the result stays the same however the next `open` votes fall (open is cut to what is missing);
 * the rest stay missing. */
bool agi_tally_is_decided(const struct agi_tally *t, unsigned open);

#endif
