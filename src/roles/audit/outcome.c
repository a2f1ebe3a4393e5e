/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/audit/outcome.h"

#include <string.h>

enum { BODY_VERSION = 1, SUCCESS = 1, CUT = 2 };

static enum agi_err check_length(const char *field, struct agi_str s, struct agi_why *why)
{
	if (s.n <= AGI_OUTCOME_ID_MAX)
		return AGI_OK;
	return agi_fail(why, AGI_E_INVALID, "%s: %zu bytes, at most %d", field, s.n, AGI_OUTCOME_ID_MAX);
}

enum agi_err agi_audit_outcome_check(const struct agi_audit_outcome *o, struct agi_why *why)
{
	enum agi_err e = check_length("plan_id", o->plan_id, why);

	if (!e)
		e = check_length("step_id", o->step_id, why);
	return e ? e : check_length("decision_proof_hash", o->proof_hash, why);
}

static struct agi_str beginning_of(struct agi_str s)
{
	size_t n = s.n < AGI_OUTCOME_TEXT_MAX ? s.n : AGI_OUTCOME_TEXT_MAX;

	while (n < s.n && n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
		n--; /* inside a character */
	return (struct agi_str){s.p, n};
}

void agi_audit_outcome_encode(struct agi_buf *b, const struct agi_audit_outcome *o)
{
	struct agi_str kept = beginning_of(o->description);
	bool is_cut = o->is_cut || kept.n < o->description.n;

	agi_buf_u8(b, BODY_VERSION);
	agi_buf_put(b, o->report_hash, sizeof o->report_hash);
	agi_buf_u64(b, o->at_s);
	agi_buf_u8(b, (uint8_t)((o->is_success ? SUCCESS : 0) | (is_cut ? CUT : 0)));
	agi_buf_f32(b, o->predicted_risk);
	agi_buf_f32(b, o->actual_harm);
	agi_buf_blob(b, o->plan_id);
	agi_buf_blob(b, o->step_id);
	agi_buf_blob(b, o->proof_hash);
	agi_buf_blob(b, kept);
}

enum agi_err agi_audit_outcome_decode(struct agi_audit_outcome *out, struct agi_str body)
{
	struct agi_cur c = agi_cur_of(body);
	uint8_t version = agi_cur_u8(&c), flags;

	*out = (struct agi_audit_outcome){.at_s = 0};
	agi_cur_copy(&c, out->report_hash, sizeof out->report_hash);
	out->at_s = agi_cur_u64(&c);
	flags = agi_cur_u8(&c);
	out->is_success = flags & SUCCESS;
	out->is_cut = flags & CUT;
	out->predicted_risk = agi_cur_f32(&c);
	out->actual_harm = agi_cur_f32(&c);
	out->plan_id = agi_cur_blob(&c);
	out->step_id = agi_cur_blob(&c);
	out->proof_hash = agi_cur_blob(&c);
	out->description = agi_cur_blob(&c);
	return c.bad || c.n || version != BODY_VERSION || flags & ~(SUCCESS | CUT) ? AGI_E_MALFORMED : AGI_OK;
}

void agi_audit_outcome_event_id(struct agi_buf *b, const struct agi_audit_outcome *o)
{
	agi_buf_put_str(b, AGI_STR("outcome_"));
	agi_buf_put_str(b, o->plan_id);
	agi_buf_u8(b, '_');
	agi_buf_put_str(b, o->step_id);
	agi_buf_printf(b, "_%llu", (unsigned long long)o->at_s);
}
