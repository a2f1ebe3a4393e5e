/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/safety_gateway/poll.h"

#include <string.h>

#include "base/limits.h"
#include "roles/mutant.h"

static bool is_in_time(const struct agi_poll *b, uint64_t at_ms)
{
	return at_ms + AGI_VOTE_SKEW_MS >= b->asked_ms && at_ms <= b->now_ms + AGI_VOTE_SKEW_MS;
}

static enum agi_check_cause judge_said(const struct agi_poll *b, const struct agi_id *gateway, enum agi_decision told,
                                       const struct agi_statement *said)
{
	if (said->decision != told || !agi_id_eq(&said->gateway, gateway))
		return AGI_CHECK_VOTE_CONTRADICTORY;
	if (memcmp(said->plan_hash, b->plan_hash, sizeof said->plan_hash) != 0 ||
	    (memcmp(said->nonce, b->nonce, sizeof said->nonce) != 0 && !AGI_ROLE_MUTANT(ANY_CHECK)))
		return AGI_CHECK_VOTE_REPLAYED;
	if (told == AGI_DECISION_BLOCK)
		return AGI_CHECK_OK;
	if ((memcmp(said->policy_hash, b->policy_hash, sizeof said->policy_hash) != 0 ||
	     said->policy_epoch != b->policy_epoch) &&
	    !AGI_ROLE_MUTANT(ANY_POLICY))
		return AGI_CHECK_POLICY_MISMATCH;
	if ((said->stop_epoch != b->stop_epoch || b->stop_epoch_now != b->stop_epoch) && !AGI_ROLE_MUTANT(ANY_STOP))
		return AGI_CHECK_VOTE_STOP_STALE;
	return is_in_time(b, said->at_ms) ? AGI_CHECK_OK : AGI_CHECK_VOTE_CLOCK_OFF;
}

enum agi_check_cause agi_poll_judge(const struct agi_poll *b, const struct agi_id *gateway, enum agi_decision told,
                                      const struct agi_signed_statement *s, struct agi_signed_roots *seen)
{
	struct agi_statement said;
	enum agi_check_cause cause;

	if (agi_statement_decode(&said, (struct agi_str){(const char *)s->bytes, sizeof s->bytes}))
		return AGI_CHECK_VOTE_MALFORMED;
	cause = judge_said(b, gateway, told, &said);
	if (cause || agi_id_eq(gateway, &b->router) || AGI_ROLE_MUTANT(UNSIGNED))
		return cause;
	return agi_statement_verify(s, NULL, seen, NULL) ? AGI_CHECK_VOTE_SIGNATURE_WRONG : AGI_CHECK_OK;
}
