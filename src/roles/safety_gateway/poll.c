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

static bool is_in_doubt(const struct agi_poll *b, const struct agi_id *gateway)
{
	for (size_t i = 0; i < AGI_DOUBTS; i++)
		if (b->doubts->of[i].until_us > b->now_us && agi_id_eq(&b->doubts->of[i].gateway, gateway))
			return true;
	return false;
}

/* In the place of whoever will be trusted again first. */
static void doubt(const struct agi_poll *b, const struct agi_id *gateway)
{
	size_t first = 0;

	for (size_t i = 1; i < AGI_DOUBTS; i++)
		if (b->doubts->of[i].until_us < b->doubts->of[first].until_us)
			first = i;
	b->doubts->of[first].gateway = *gateway;
	b->doubts->of[first].until_us = b->now_us + AGI_DOUBT_US;
}

static bool is_well_signed(const struct agi_poll *b, const struct agi_id *gateway, const struct agi_signed_statement *s,
                           struct agi_signed_roots *seen)
{
	return agi_id_eq(gateway, &b->router) || AGI_ROLE_MUTANT(UNSIGNED) ||
	       agi_statement_verify(s, NULL, seen, NULL) == AGI_OK;
}

enum agi_check_cause agi_poll_judge(const struct agi_poll *b, const struct agi_id *gateway, enum agi_decision told,
                                      const struct agi_signed_statement *s, struct agi_signed_roots *seen)
{
	struct agi_statement said;
	enum agi_check_cause cause;

	if (agi_statement_decode(&said, (struct agi_str){(const char *)s->bytes, sizeof s->bytes}))
		return AGI_CHECK_VOTE_MALFORMED;
	cause = judge_said(b, gateway, told, &said);
	if (cause || (b->doubts && !is_in_doubt(b, gateway)))
		return cause;
	return is_well_signed(b, gateway, s, seen) ? AGI_CHECK_OK : AGI_CHECK_VOTE_SIGNATURE_WRONG;
}

bool agi_poll_confirm(const struct agi_poll *b, const struct agi_signed_statement *s, size_t n,
                      struct agi_signed_roots *seen)
{
	struct agi_statement said;

	for (size_t i = 0; i < n; i++) {
		if (agi_statement_decode(&said, (struct agi_str){(const char *)s[i].bytes, sizeof s[i].bytes}))
			return false;
		if (is_well_signed(b, &said.gateway, &s[i], seen))
			continue;
		doubt(b, &said.gateway);
		return false;
	}
	return true;
}
