/* SPDX-License-Identifier: Apache-2.0
 * The bodies of ACTION and REFLEXES entries of the audit log (chain.h): what was decided while plans were carried out. An
 * action that was not allowed has an entry of its own. The others and reflexes are too many for that: one entry counts
 * those of a moment, and has the values of the reflexes that were unsafe, as far as there is room. Pure. */
#ifndef AGI_ROLES_AUDIT_ACTION_H
#define AGI_ROLES_AUDIT_ACTION_H

#include "base/buf.h"
#include "roles/safety_gateway/vote.h"

enum {
	AGI_ACTION_ID_MAX = 256,     /* bytes of an id that are kept, as of a plan's in a decision */
	AGI_ACTION_REASON_MAX = 512, /* bytes */
	AGI_REFLEX_ROWS = 128        /* unsafe ones in one entry with their values */
};

struct agi_audit_action {
	uint8_t request_hash[32]; /* BLAKE2b-256 of the CheckActionRequest, byte for byte */
	enum agi_decision decision;
	bool is_emergency_stop;
	double risk;
	uint64_t stop_epoch;
	struct agi_str plan_id, step_id, tool_id, reason; /* borrowed */
};
/* Cuts what is too long. */
void agi_audit_action_encode(struct agi_buf *b, const struct agi_audit_action *a);
/* MALFORMED. */
AGI_MUST_USE enum agi_err agi_audit_action_decode(struct agi_audit_action *out, struct agi_str body);

struct agi_audit_reflexes {
	uint64_t from_ms, to_ms;  /* wall clock: of the first, of the last */
	uint64_t stop_epoch;
	uint64_t safe, unsafe;    /* all of them */
	uint64_t allowed;         /* actions */
	uint32_t n;               /* unsafe ones below: the first */
	struct agi_audit_reflex {
		float harm_risk, collision; /* as they came: perhaps no numbers */
		bool is_flagged;            /* emergency_flag */
	} rows[AGI_REFLEX_ROWS];
};
void agi_audit_reflexes_encode(struct agi_buf *b, const struct agi_audit_reflexes *r);
/* MALFORMED. */
AGI_MUST_USE enum agi_err agi_audit_reflexes_decode(struct agi_audit_reflexes *out, struct agi_str body);

#endif
