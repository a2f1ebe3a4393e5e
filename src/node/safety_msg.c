/* SPDX-License-Identifier: Apache-2.0 */
#include "node/safety_msg.h"

#include "node/pb_wire.h"

enum { ENVELOPE_VERSION = 1, WIDTH = 4 /* bytes of a body's length: below 256 MiB */ };

/* Where a message keeps its field; 0 = it has none. */
static const struct layout {
	uint8_t nonce, plan_hash, request, response, error, statement, budget_ms, canary;
} layouts[] = {
    [AGI_BODY_VOTE_REQUEST] = {.nonce = 2, .request = 3, .budget_ms = 4},
    [AGI_BODY_VOTE_REPLY] = {.nonce = 2, .plan_hash = 3, .response = 4, .error = 5, .statement = 6},
    [AGI_BODY_EVAL_REQUEST] = {.request = 2, .canary = 3},
    [AGI_BODY_EVAL_REPLY] = {.response = 2, .error = 3},
    [AGI_BODY_STOP_NOTICE] = {.request = 2},
    [AGI_BODY_AUDIT_APPEND] = {.request = 2},
    [AGI_BODY_AUDIT_ACK] = {.error = 2},
    [AGI_BODY_POLICY_NOTICE] = {.request = 2},
    [AGI_BODY_POLICY_ACK] = {.request = 2},
};
enum { RPC_ID = 1 };

static void put(struct agi_buf *b, unsigned field, struct agi_str s)
{
	if (field)
		agi_pb_put_bytes(b, field, s);
}

void agi_safety_msg_encode(struct agi_buf *b, const struct agi_safety_msg *m)
{
	const struct layout *l = &layouts[m->kind];
	size_t begun;

	agi_pb_put_u64(b, ENVELOPE_VERSION, AGI_PROTOCOL_VERSION);
	begun = agi_pb_begin(b, m->kind, WIDTH);
	agi_pb_put_u64(b, RPC_ID, m->rpc_id);
	put(b, l->nonce, m->nonce);
	put(b, l->plan_hash, m->plan_hash);
	put(b, l->request, m->request);
	put(b, l->response, m->response);
	put(b, l->error, m->error);
	put(b, l->statement, m->statement);
	if (l->budget_ms)
		agi_pb_put_u64(b, l->budget_ms, m->budget_ms);
	if (l->canary)
		agi_pb_put_u64(b, l->canary, m->is_canary);
	agi_pb_end(b, begun, WIDTH);
}

static struct agi_str *field_of(struct agi_safety_msg *m, const struct layout *l, uint32_t number)
{
	if (number == l->nonce)
		return &m->nonce;
	if (number == l->plan_hash)
		return &m->plan_hash;
	if (number == l->request)
		return &m->request;
	if (number == l->response)
		return &m->response;
	if (number == l->statement)
		return &m->statement;
	return number == l->error ? &m->error : NULL;
}

enum agi_err agi_safety_msg_decode(const struct agi_envelope *env, struct agi_safety_msg *out,
                                   struct agi_why *why)
{
	struct agi_cur c = agi_cur_of(env->body);
	const struct layout *l;
	struct agi_pb_field f;

	*out = (struct agi_safety_msg){.kind = env->kind};
	if (env->kind < AGI_BODY_VOTE_REQUEST || env->kind > AGI_BODY_LAST)
		return agi_fail(why, AGI_E_MALFORMED, "body %d is not of the safety plane", env->kind);
	l = &layouts[env->kind];
	while (agi_pb_next(&c, &f)) {
		struct agi_str *bytes = field_of(out, l, f.number);

		if (bytes && f.type == AGI_PB_BYTES)
			*bytes = f.s;
		else if (f.number == RPC_ID && f.type == AGI_PB_VARINT)
			out->rpc_id = f.u;
		else if (f.number == l->budget_ms && f.type == AGI_PB_VARINT)
			out->budget_ms = f.u > UINT32_MAX ? UINT32_MAX : (uint32_t)f.u;
		else if (f.number == l->canary && f.type == AGI_PB_VARINT)
			out->is_canary = f.u != 0;
	}
	if (c.bad)
		return agi_fail(why, AGI_E_MALFORMED, "safety message of %zu bytes: malformed",
		                env->body.n);
	if (!agi_utf8_is_valid(out->error))
		return agi_fail(why, AGI_E_MALFORMED, "safety message: error is not UTF-8");
	return AGI_OK;
}
