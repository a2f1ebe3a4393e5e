/* SPDX-License-Identifier: Apache-2.0
 * The safety plane's messages between nodes (proto/overlay.proto) to and from the wire. */
#ifndef AGI_NODE_SAFETY_MSG_H
#define AGI_NODE_SAFETY_MSG_H

#include "node/msg_codec.h"

/* Which fields count: see proto/overlay.proto. Byte strings are borrowed. */
struct agi_safety_msg {
	enum agi_envelope_body kind;
	uint64_t rpc_id;
	struct agi_str nonce, plan_hash;
	/* STOP_NOTICE: request is the record, AUDIT_APPEND: the entries, POLICY_NOTICE, _ACK: the version */
	struct agi_str request, response;
	struct agi_str error;  /* UTF-8 */
	struct agi_str statement;
	uint32_t budget_ms;
	bool is_canary;        /* EVAL_REQUEST */
};

/* Appends a whole envelope. Errors are b's. */
void agi_safety_msg_encode(struct agi_buf *b, const struct agi_safety_msg *m);
/* MALFORMED + why, also for another kind of body. */
AGI_MUST_USE enum agi_err agi_safety_msg_decode(const struct agi_envelope *env,
                                                struct agi_safety_msg *out, struct agi_why *why);

#endif
