/* SPDX-License-Identifier: Apache-2.0
 * The certificate of a decision: what the gateways said, signed, and what was concluded from it. Anybody who knows the
 * gateways' ids can check it, without the cluster. Pure. */
#ifndef AGI_ROLES_SAFETY_GATEWAY_CERTIFICATE_H
#define AGI_ROLES_SAFETY_GATEWAY_CERTIFICATE_H

#include "roles/safety_gateway/panel.h"
#include "roles/safety_gateway/statement.h"

struct agi_certificate {
	uint8_t plan_hash[32], nonce[16];
	enum agi_decision decision; /* what the router concluded */
	uint8_t electorate;         /* seats of the panel: configuration, not the number that answered */
	uint8_t needed;             /* of these must agree; a majority at least */
	struct agi_id router;       /* who concluded it */
	uint64_t at_ms;             /* by the router's clock */
	uint8_t n_asked, n_votes;
	struct agi_id asked[AGI_PANEL_CANDIDATES_MAX]; /* gateways that held a seat */
	struct agi_signed_statement votes[AGI_PANEL_CANDIDATES_MAX];
};

void agi_signed_statement_encode(struct agi_buf *b, const struct agi_signed_statement *s);
void agi_certificate_encode(struct agi_buf *b, const struct agi_certificate *c);
/* MALFORMED. What is read is not believed yet. */
AGI_MUST_USE enum agi_err agi_signed_statement_decode(struct agi_signed_statement *out, struct agi_str bytes);
AGI_MUST_USE enum agi_err agi_certificate_decode(struct agi_certificate *out, struct agi_str bytes);

struct agi_certificate_finding {
	enum agi_decision proved;   /* the most permissive decision that the valid votes carry */
	uint8_t valid;              /* votes that count */
	bool is_valid[AGI_PANEL_CANDIDATES_MAX];
	struct agi_why why[AGI_PANEL_CANDIDATES_MAX]; /* of the others */
	struct agi_statement said[AGI_PANEL_CANDIDATES_MAX];
};
/* known: ids of the gateways that are trusted; n_known 0 = whoever was asked. A vote counts when its signature is right,
 * it is about this plan and this check, its gateway held a seat, is known and has no other vote here, and it was made
 * (BLOCK apart) under the same policy and at the same stop epoch as the first one that counts. OK: the decision is
 * proved, that is, at least as strict as what the votes carry. AUTH + why: it is not. */
AGI_MUST_USE enum agi_err agi_certificate_judge(const struct agi_certificate *c, const struct agi_id *known,
                                                size_t n_known, struct agi_certificate_finding *out,
                                                struct agi_why *why);

#endif
