/* SPDX-License-Identifier: Apache-2.0
 * agihpc.v1.KvService: strong writes that depend on the present value. */
#include "node/svc_kv.h"

/* --- CompareAndSet -------------------------------------------------------------------------------- */
static void compared(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                     const struct agi_result *res)
{
	Agihpc__V1__CompareAndSetResponse r = AGIHPC__V1__COMPARE_AND_SET_RESPONSE__INIT;
	(void)s;
	(void)req;

	r.succeeded = res->err == AGI_OK;
	r.version = res->version.hlc;
	if (!r.succeeded)
		r.value = agi_svc_data(res->value);
	r.slot = res->slot;
	agi_grpc_reply(call, &r.base);
}

void agi_svc_compare_and_set(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__CompareAndSetRequest *p = (const Agihpc__V1__CompareAndSetRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_CAS, .expected = p->expected_version, .is_delete = p->delete_,
	                      .lease = p->lease_id};
	struct agi_why why;
	enum agi_err e = agi_svc_kv_common(ctx, &op, p->namespace_, p->key, AGIHPC__V1__LEVEL__LEVEL_STRONG, &why);

	if (!e)
		e = agi_svc_value(&op.value, p->value, &why);
	if (!e && p->delete_ && p->value.len)
		e = agi_fail(&why, AGI_E_INVALID, "value: expected to be empty, as delete is set");
	if (!e && p->delete_ && !p->expected_version)
		e = agi_fail(&why, AGI_E_INVALID, "expected_version: 0 stands for no item: there is nothing to delete");
	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		agi_svc_start(ctx, call, p, &op, compared);
}

/* --- Add ------------------------------------------------------------------------------------------- */
/* The core writes sums as decimal numbers of 64 bits. */
static bool read_sum(int64_t *out, struct agi_str s)
{
	bool is_negative = s.n && s.p[0] == '-';
	uint64_t v = 0;

	if (s.n == (size_t)is_negative || s.n > 20)
		return false;
	for (size_t i = is_negative; i < s.n; i++)
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	*out = (int64_t)(is_negative ? 0 - v : v);
	return true;
}

static void added(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                  const struct agi_result *res)
{
	Agihpc__V1__AddResponse r = AGIHPC__V1__ADD_RESPONSE__INIT;
	(void)s;
	(void)req;

	if (!read_sum(&r.value, res->value)) {
		agi_grpc_fail_err(call, AGI_E_CORRUPT, NULL);
		return;
	}
	r.version = res->version.hlc;
	r.slot = res->slot;
	agi_grpc_reply(call, &r.base);
}

void agi_svc_add(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__AddRequest *p = (const Agihpc__V1__AddRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_ADD, .delta = p->delta};
	struct agi_why why;
	enum agi_err e = agi_svc_kv_common(ctx, &op, p->namespace_, p->key, AGIHPC__V1__LEVEL__LEVEL_STRONG, &why);

	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		agi_svc_start(ctx, call, p, &op, added);
}
