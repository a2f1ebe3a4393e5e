/* SPDX-License-Identifier: Apache-2.0
 * agihpc.v1.KvService: several puts and deletes in one call. */
#include "node/svc_kv.h"

static void done(struct agi_svc *s, struct agi_grpc_call *call, const void *req, const struct agi_result *res)
{
	Agihpc__V1__BatchResponse r = AGIHPC__V1__BATCH_RESPONSE__INIT;
	Agihpc__V1__BatchResult rows[AGI_BATCH_ITEMS], *list[AGI_BATCH_ITEMS];
	(void)s;
	(void)req;

	for (size_t i = 0; i < res->n_items; i++) {
		const struct agi_outcome *o = &res->outcomes[i];

		agihpc__v1__batch_result__init(&rows[i]);
		rows[i].code = (uint32_t)agi_err_grpc(o->err);
		if (o->err)
			rows[i].message = agi_svc_text(o->why.text[0] ? o->why.text : agi_err_text(o->err));
		rows[i].version = o->version;
		rows[i].acks = o->acks;
		rows[i].slot = o->slot;
		list[i] = &rows[i];
	}
	r.results = list;
	r.n_results = res->n_items;
	agi_grpc_reply(call, &r.base);
}

static enum agi_err take_item(struct agi_item *out, const Agihpc__V1__BatchItem *in, struct agi_why *why)
{
	uint64_t ttl_ms = 0;
	enum agi_err e = agi_svc_key(&out->key, in->key, why);

	if (!e)
		e = agi_svc_value(&out->value, in->value, why);
	if (!e)
		e = agi_svc_ttl(&ttl_ms, in->ttl_ms, why);
	if (!e && in->delete_ && (in->value.len || ttl_ms))
		e = agi_fail(why, AGI_E_INVALID, "value, ttl_ms: expected none, as delete is set");
	out->is_tombstone = in->delete_;
	out->expires_ms = ttl_ms;
	return e;
}

void agi_svc_batch(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__BatchRequest *p = (const Agihpc__V1__BatchRequest *)req;
	struct agi_item items[AGI_BATCH_ITEMS] = {{.expires_ms = 0}};
	struct agi_call op = {.kind = AGI_CALL_BATCH, .items = items, .n_items = p->n_items};
	struct agi_why why, reason;
	enum agi_err e = agi_svc_namespace(&op.ns, p->namespace_, &why);

	if (!e)
		e = agi_svc_level(ctx, op.ns, p->level, &op.level, &why);
	if (!e && (p->n_items == 0 || p->n_items > AGI_BATCH_ITEMS))
		e = agi_fail(&why, AGI_E_INVALID, "items: %zu, expected 1 to %d", p->n_items, AGI_BATCH_ITEMS);
	for (size_t i = 0; !e && i < p->n_items; i++) {
		e = take_item(&items[i], p->items[i], &reason);
		if (e)
			agi_fail(&why, e, "items[%zu].%s", i, reason.text);
	}
	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		agi_svc_start(ctx, call, p, &op, done);
}
