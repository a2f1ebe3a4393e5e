/* SPDX-License-Identifier: Apache-2.0
 * Deliberate errors in the counting of votes, as dht/mutant.h has them for the memory: tests/sim/test_vote_mutants switches
 * one on at a time, and the campaign of tests/sim/test_votes must find it. Only that test's own copy of the files that
 * include this, built with -DAGI_MUTANTS, has them; everywhere else AGI_ROLE_MUTANT(X) is a constant false. */
#ifndef AGI_ROLES_MUTANT_H
#define AGI_ROLES_MUTANT_H

#include <stdbool.h>

#define AGI_ROLE_MUTANT_LIST(X)                                                                                       \
	X(ANY_CHECK, "a vote signed for another check counts")                                                        \
	X(ANY_POLICY, "a vote by another policy counts")                                                              \
	X(ANY_STOP, "a vote at another stop epoch counts")                                                            \
	X(UNSIGNED, "a wrong signature is not noticed")                                                               \
	X(OF_THE_ANSWERS, "a majority of those who answered is enough")                                               \
	X(CLEAR_FOREVER, "a gateway that read \"not stopped\" once believes it from then on")

enum agi_role_mutant {
	AGI_ROLE_MUTANT_NONE,
#define AGI_ROLE_MUTANT_ENUM(name, text) AGI_ROLE_MUTANT_##name,
	AGI_ROLE_MUTANT_LIST(AGI_ROLE_MUTANT_ENUM)
#undef AGI_ROLE_MUTANT_ENUM
	AGI_ROLE_MUTANT_COUNT
};

#ifdef AGI_MUTANTS
extern enum agi_role_mutant agi_role_mutant;
#define AGI_ROLE_MUTANT(name) (agi_role_mutant == AGI_ROLE_MUTANT_##name)
#else
#define AGI_ROLE_MUTANT(name) (AGI_ROLE_MUTANT_##name == AGI_ROLE_MUTANT_NONE)
#endif

#endif
