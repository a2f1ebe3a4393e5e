/* SPDX-License-Identifier: Apache-2.0
 * Deliberate errors, to show that the simulator finds such errors: tests/sim/test_mutants switches one on at a
 * time, and the campaign must fail. Only the test's own copy of the core, built with -DAGI_MUTANTS, has them;
 * everywhere else AGI_MUTANT(X) is a constant false. docs/safety-argument.md says which step
 * each one breaks, docs/simulator.md what notices it. */
#ifndef AGI_DHT_MUTANT_H
#define AGI_DHT_MUTANT_H

#include <stdbool.h>

#define AGI_MUTANT_LIST(X)                                                                           \
	X(WRITE_ACK_UNSTORED, "a write is acknowledged before it is on disk")                        \
	X(REG_ACK_UNSTORED, "a register write is accepted before it is on disk")                     \
	X(LED_UNSTORED, "a leader is promised before the promise is on disk")                        \
	X(SEAL_UNSTORED, "a proposal is accepted before it is on disk")                              \
	X(ANSWER_OUTSIDE, "who is no member answers reads and takes writes")                         \
	X(ANSWER_JOINING, "a member that still merges answers")                                      \
	X(IGNORE_EPOCH, "a request of an older epoch is served")                                     \
	X(MERGE_ONE, "a new member merges one old member instead of a majority")                     \
	X(MERGE_UNSEALED, "a new member merges from old members that still serve the old epoch")     \
	X(MERGE_NO_REGISTERS, "registers do not move with their slot")                               \
	X(MERGE_NONE, "a new member is active without having merged anything")                       \
	X(RELEASE_EARLY, "a former member drops its data before the new ones have it")               \
	X(FORGET_ACCEPTED, "a proposer overlooks what may have been chosen already")                 \
	X(VIEW_BELOW_PROMISE, "an acceptor accepts a view below its promise")                        \
	X(VIEW_FORGETS_PROMISE, "an acceptor's promise does not survive a restart")                  \
	X(REG_BELOW_PROMISE, "a register write below the promise is accepted")                       \
	X(READ_UNPROMISED, "a leader reads from members that have not promised")                     \
	X(ROUND_REUSED, "a leader takes a round that was used before")                               \
	X(ROUND_LOST, "a new member starts from round 0")                                            \
	X(SAME_ONE, "a read is settled when one member has the newest write")                        \
	X(READ_OLDEST, "a read returns the oldest of what the members hold")                         \
	X(MINORITY, "one member of three is a majority")                                             \
	X(DO_TWICE, "a request that arrives twice is done twice")                                    \
	X(RETRY_UNKNOWN, "an operation of unknown outcome is tried again")                           \
	X(LEAD_ON, "a leader whose write is overdue leads on")                                       \
	X(OVERRULED, "a write that an older one overrules is acknowledged")                          \
	X(STAMP_TWICE, "the same stamp is made twice")                                               \
	X(FOUND_UNSTORED, "a cluster is told before it is on disk")                                  \
	X(FLOOR_IGNORED, "items below the floor are taken from anybody")                             \
	X(SWEEP_SOME, "a tombstone goes that one of the members does not hold")                      \
	X(LEAVE_UNASKED, "a host leaves for good while a proposal names it")

enum agi_mutant {
	AGI_MUTANT_NONE,
#define AGI_MUTANT_ENUM(name, text) AGI_MUTANT_##name,
	AGI_MUTANT_LIST(AGI_MUTANT_ENUM)
#undef AGI_MUTANT_ENUM
	AGI_MUTANT_COUNT
};

#ifdef AGI_MUTANTS
extern enum agi_mutant agi_mutant;
#define AGI_MUTANT(name) (agi_mutant == AGI_MUTANT_##name)
#else
#define AGI_MUTANT(name) (AGI_MUTANT_##name == AGI_MUTANT_NONE)
#endif

#endif
