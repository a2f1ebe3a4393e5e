/* SPDX-License-Identifier: Apache-2.0
 * Safety checks under a virtual clock: two routers, up to 21 gateways, a register with the emergency stop, messages that
 * are late or lost, gateways that fail and lie. Panel, poll, latch, statements, certificates and the judging of plans are
 * the shipped code. A seed decides everything. */
#ifndef AGI_TESTS_SIM_VOTES_H
#define AGI_TESTS_SIM_VOTES_H

#include "base/prng.h"
#include "roles/safety_gateway/certificate.h"
#include "roles/safety_gateway/latch.h"
#include "roles/safety_gateway/poll.h"

/* What a gateway does wrong, or suffers. Liars last. */
#define VOTES_FAULTS(X)                                                                                               \
	X(HONEST, "nothing")                                                                                          \
	X(SLOW, "votes late or too late")                                                                             \
	X(SILENT, "never answers")                                                                                    \
	X(DEAD, "cannot be reached")                                                                                  \
	X(CUT_OFF, "cannot be reached for a while, without notice")                                                   \
	X(RESTARTS, "forgets what it was asked, and the stop")                                                        \
	X(OLD_POLICY, "judges by an earlier policy")                                                                  \
	X(NO_STOP, "cannot read the emergency stop any more")                                                         \
	X(CLOCK_OFF, "has the wrong time")                                                                            \
	X(ALLOWS, "votes ALLOW on everything")                                                                        \
	X(BLOCKS, "votes BLOCK on everything")                                                                        \
	X(OTHER_PLAN, "signs ALLOW for another plan")                                                                 \
	X(OTHER_CHECK, "signs ALLOW for another check")                                                               \
	X(REPLAYS, "shows what it signed for an earlier check of the plan")                                           \
	X(OTHER_POLICY, "signs ALLOW by a policy that allows it")                                                     \
	X(OTHER_STOP, "signs ALLOW at an earlier or later stop epoch")                                                \
	X(FORGES, "signs wrongly")                                                                                    \
	X(IN_ANOTHERS_NAME, "shows a vote of another gateway")                                                        \
	X(TWO_FACED, "tells each router something else, and to each both")                                            \
	X(CONTRADICTS, "signs BLOCK and says ALLOW")                                                                  \
	X(REPEATS, "sends each vote many times")                                                                      \
	X(WRONG_NONCE, "answers with the nonce of nobody")

enum votes_fault {
#define VOTES_ENUM(name, text) VOTES_##name,
	VOTES_FAULTS(VOTES_ENUM)
#undef VOTES_ENUM
	VOTES_FAULT_COUNT,
	VOTES_FIRST_LIAR = VOTES_ALLOWS
};

enum { VOTES_GATEWAYS = AGI_PANEL_CANDIDATES_MAX, VOTES_CHECKS = 4, VOTES_PLANS = 4, VOTES_REASON = 400 };

/* What was met, summed up over seeds: the branches that should be reached. */
struct votes_stats {
	uint64_t decisions[AGI_DECISION_COUNT], panel_causes[AGI_PANEL_CAUSES], check_causes[AGI_CHECK_CAUSES];
	uint64_t had_to_allow, could_not_allow, stopped;
};

/* Once, before any run: keys, and what the policies say of the plans. */
void votes_set_up(void);
/* Runs the seed; NULL, or which promise was broken. is_told: the story on stdout. */
const char *votes_run(uint64_t seed, struct votes_stats *sum, bool is_told);

#endif
