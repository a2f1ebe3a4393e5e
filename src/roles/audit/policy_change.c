/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/audit/policy_change.h"

enum { BODY_VERSION = 1 };

void agi_audit_policy_encode(struct agi_buf *b, const struct agi_audit_policy *p)
{
	agi_buf_u8(b, BODY_VERSION);
	agi_buf_u64(b, p->before_epoch);
	agi_buf_u64(b, p->epoch);
	agi_buf_put(b, p->before_hash, sizeof p->before_hash);
	agi_buf_put(b, p->hash, sizeof p->hash);
	agi_buf_u64(b, p->at_ms);
	agi_buf_u8(b, p->is_looser);
	agi_buf_blob(b, p->reason);
	agi_buf_blob(b, p->author);
	agi_buf_blob(b, p->node);
}

enum agi_err agi_audit_policy_decode(struct agi_audit_policy *out, struct agi_str body)
{
	struct agi_cur c = agi_cur_of(body);
	uint8_t version = agi_cur_u8(&c);

	*out = (struct agi_audit_policy){.before_epoch = agi_cur_u64(&c)};
	out->epoch = agi_cur_u64(&c);
	agi_cur_copy(&c, out->before_hash, sizeof out->before_hash);
	agi_cur_copy(&c, out->hash, sizeof out->hash);
	out->at_ms = agi_cur_u64(&c);
	out->is_looser = agi_cur_u8(&c) != 0;
	out->reason = agi_cur_blob(&c);
	out->author = agi_cur_blob(&c);
	out->node = agi_cur_blob(&c);
	return version != BODY_VERSION || c.bad || c.n ? AGI_E_MALFORMED : AGI_OK;
}
