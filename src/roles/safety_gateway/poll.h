/* SPDX-License-Identifier: Apache-2.0
 * What a router takes for a vote. BLOCK is believed of everybody: doubting it could only make a result more permissive.
 * Anything else counts only if the gateway signed the same, about this plan and this check, by the router's policy, at the
 * emergency stop's epoch that the router knows, now. Otherwise its seat's vote is BLOCK, with the cause; and what was not
 * signed for this check, BLOCK or not, is no part of its certificate. Pure. */
#ifndef AGI_ROLES_SAFETY_GATEWAY_POLL_H
#define AGI_ROLES_SAFETY_GATEWAY_POLL_H

#include "roles/safety_gateway/statement.h"

/* Gateways that signed wrongly, each for AGI_DOUBT_US. All zero is none. */
enum { AGI_DOUBTS = 16, AGI_DOUBT_US = 600000000 };
struct agi_doubts {
	struct {
		struct agi_id gateway;
		uint64_t until_us;
	} of[AGI_DOUBTS];
};

/* What a vote must be about. */
struct agi_poll {
	uint8_t plan_hash[32], nonce[16];
	uint8_t policy_hash[32];
	uint64_t policy_epoch;
	uint64_t stop_epoch, stop_epoch_now; /* of the router's latch when the check began, and now: news ends it */
	uint64_t asked_ms, now_ms;           /* the router's wall clock, likewise */
	struct agi_id router;      /* of its own signatures it knows that they are right */
	/* NULL: every signature is verified before its vote counts. Else only those of gateways in doubt, and the caller has
	 * agi_poll_confirm verify the others before anybody is told the decision. */
	struct agi_doubts *doubts;
	uint64_t now_us;           /* monotonic, for them */
};

/* told: the decision of the answer that came with the statement, over this gateway's link. AGI_CHECK_OK: it counts as it
 * is. VOTE_CONTRADICTORY … VOTE_SIGNATURE_WRONG: its vote is BLOCK. seen: see statement.h; may be NULL. */
AGI_MUST_USE enum agi_check_cause agi_poll_judge(const struct agi_poll *b, const struct agi_id *gateway,
                                                   enum agi_decision told, const struct agi_signed_statement *s,
                                                   struct agi_signed_roots *seen);

/* Are the signatures of all these statements, which counted, right? Of what is asked only router, doubts (not NULL) and
 * now_us matter; who signed wrongly is in doubt from now on. */
AGI_MUST_USE bool agi_poll_confirm(const struct agi_poll *b, const struct agi_signed_statement *s, size_t n,
                                   struct agi_signed_roots *seen);

#endif
