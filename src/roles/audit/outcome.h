/* SPDX-License-Identifier: Apache-2.0
 * The body of an OUTCOME entry of the audit log (chain.h): what became of a step that was carried out, as a client of
 * PostActionSafetyService reported it. Values are kept as they came: a log does not judge. Pure. */
#ifndef AGI_ROLES_AUDIT_OUTCOME_H
#define AGI_ROLES_AUDIT_OUTCOME_H

#include "base/buf.h"

enum {
	AGI_OUTCOME_ID_MAX = 1024,       /* bytes of plan_id, step_id and decision_proof_hash each; longer ones are refused */
	AGI_OUTCOME_TEXT_MAX = 16 << 10, /* bytes of the description that are kept: an entry stays small */
};

struct agi_audit_outcome {
	uint8_t report_hash[32];           /* BLAKE2b-256 of the ActionOutcomeReport, byte for byte */
	uint64_t at_s;                     /* Unix time, of the event id */
	bool is_success, is_cut;           /* is_cut: the description is the beginning of a longer one */
	float predicted_risk, actual_harm; /* perhaps no numbers */
	struct agi_str plan_id, step_id, proof_hash, description; /* borrowed */
};
/* INVALID + why: something is too long to be kept. */
AGI_MUST_USE enum agi_err agi_audit_outcome_check(const struct agi_audit_outcome *o, struct agi_why *why);
/* Cuts the description, between characters. */
void agi_audit_outcome_encode(struct agi_buf *b, const struct agi_audit_outcome *o);
/* MALFORMED. */
AGI_MUST_USE enum agi_err agi_audit_outcome_decode(struct agi_audit_outcome *out, struct agi_str body);
/* "outcome_PLAN_STEP_SECONDS": two reports of one step within a second share it. */
void agi_audit_outcome_event_id(struct agi_buf *b, const struct agi_audit_outcome *o);

#endif
