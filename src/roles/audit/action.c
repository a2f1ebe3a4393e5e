/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/audit/action.h"

#include <string.h>

enum { BODY_VERSION = 1 };

/* The beginning that fits, between characters. */
static struct agi_str cut(struct agi_str s, size_t max)
{
	size_t n = s.n < max ? s.n : max;

	while (n < s.n && n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
		n--;
	return (struct agi_str){s.p, n};
}

void agi_audit_action_encode(struct agi_buf *b, const struct agi_audit_action *a)
{
	agi_buf_u8(b, BODY_VERSION);
	agi_buf_put(b, a->request_hash, sizeof a->request_hash);
	agi_buf_u8(b, (uint8_t)a->decision);
	agi_buf_u8(b, a->is_emergency_stop);
	agi_buf_f64(b, a->risk);
	agi_buf_u64(b, a->stop_epoch);
	agi_buf_blob(b, cut(a->plan_id, AGI_ACTION_ID_MAX));
	agi_buf_blob(b, cut(a->step_id, AGI_ACTION_ID_MAX));
	agi_buf_blob(b, cut(a->tool_id, AGI_ACTION_ID_MAX));
	agi_buf_blob(b, cut(a->reason, AGI_ACTION_REASON_MAX));
}

enum agi_err agi_audit_action_decode(struct agi_audit_action *out, struct agi_str body)
{
	struct agi_cur c = agi_cur_of(body);
	uint8_t version = agi_cur_u8(&c);

	*out = (struct agi_audit_action){.risk = 0};
	agi_cur_copy(&c, out->request_hash, sizeof out->request_hash);
	out->decision = (enum agi_decision)agi_cur_u8(&c);
	out->is_emergency_stop = agi_cur_u8(&c) != 0;
	out->risk = agi_cur_f64(&c);
	out->stop_epoch = agi_cur_u64(&c);
	out->plan_id = agi_cur_blob(&c);
	out->step_id = agi_cur_blob(&c);
	out->tool_id = agi_cur_blob(&c);
	out->reason = agi_cur_blob(&c);
	if (c.bad || c.n || version != BODY_VERSION || out->decision <= AGI_DECISION_NONE ||
	    out->decision >= AGI_DECISION_COUNT)
		return AGI_E_MALFORMED;
	return AGI_OK;
}

void agi_audit_reflexes_encode(struct agi_buf *b, const struct agi_audit_reflexes *r)
{
	agi_buf_u8(b, BODY_VERSION);
	agi_buf_u64(b, r->from_ms);
	agi_buf_u64(b, r->to_ms);
	agi_buf_u64(b, r->stop_epoch);
	agi_buf_u64(b, r->safe);
	agi_buf_u64(b, r->unsafe);
	agi_buf_u64(b, r->allowed);
	agi_buf_u32(b, r->n);
	for (uint32_t i = 0; i < r->n; i++) {
		agi_buf_f32(b, r->rows[i].harm_risk);
		agi_buf_f32(b, r->rows[i].collision);
		agi_buf_u8(b, r->rows[i].is_flagged);
	}
}

enum agi_err agi_audit_reflexes_decode(struct agi_audit_reflexes *out, struct agi_str body)
{
	struct agi_cur c = agi_cur_of(body);
	uint8_t version = agi_cur_u8(&c);

	*out = (struct agi_audit_reflexes){.from_ms = agi_cur_u64(&c)};
	out->to_ms = agi_cur_u64(&c);
	out->stop_epoch = agi_cur_u64(&c);
	out->safe = agi_cur_u64(&c);
	out->unsafe = agi_cur_u64(&c);
	out->allowed = agi_cur_u64(&c);
	out->n = agi_cur_u32(&c);
	if (c.bad || version != BODY_VERSION || out->n > AGI_REFLEX_ROWS || out->n > out->unsafe)
		return AGI_E_MALFORMED;
	for (uint32_t i = 0; i < out->n; i++) {
		out->rows[i].harm_risk = agi_cur_f32(&c);
		out->rows[i].collision = agi_cur_f32(&c);
		out->rows[i].is_flagged = agi_cur_u8(&c) != 0;
	}
	return c.bad || c.n ? AGI_E_MALFORMED : AGI_OK;
}
