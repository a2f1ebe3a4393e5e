/* SPDX-License-Identifier: Apache-2.0
 * agihpc.v1.KvService: scans by prefix. */
#include <stdlib.h>

#include "node/svc_kv.h"

static void scanned(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                    const struct agi_result *res)
{
	Agihpc__V1__ScanResponse r = AGIHPC__V1__SCAN_RESPONSE__INIT;
	Agihpc__V1__KeyValue *rows = calloc(res->n_items + 1, sizeof *rows);
	Agihpc__V1__KeyValue **list = calloc(res->n_items + 1, sizeof *list);
	(void)s;
	(void)req;

	for (size_t i = 0; rows && list && i < res->n_items; i++) {
		agihpc__v1__key_value__init(&rows[i]);
		rows[i].key = agi_svc_data(res->items[i].key);
		rows[i].value = agi_svc_data(res->items[i].value);
		rows[i].version = res->items[i].version.hlc;
		list[i] = &rows[i];
	}
	r.items = list;
	r.n_items = res->n_items;
	r.count = res->count;
	r.next_page_token = agi_svc_data(res->cursor);
	if (rows && list)
		agi_grpc_reply(call, &r.base);
	else
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
	free(rows);
	free(list);
}

void agi_svc_scan(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__ScanRequest *p = (const Agihpc__V1__ScanRequest *)req;
	struct agi_call op = {.kind = AGI_CALL_SCAN, .key = agi_svc_str(p->prefix), .limit = p->limit,
	                      .cursor = agi_svc_str(p->page_token), .is_keys_only = p->keys_only,
	                      .is_count = p->count_only};
	struct agi_why why;
	enum agi_err e = agi_svc_namespace(&op.ns, p->namespace_, &why);

	if (!e && op.key.n > AGI_KEY_MAX)
		e = agi_fail(&why, AGI_E_INVALID, "prefix: %zu bytes, expected at most %d", op.key.n, AGI_KEY_MAX);
	if (!e && op.limit > AGI_SCAN_ITEMS_MAX)
		e = agi_fail(&why, AGI_E_INVALID, "limit: %u, expected at most %d; the next page goes on from there",
		             op.limit, AGI_SCAN_ITEMS_MAX);
	if (!e)
		e = agi_svc_level(ctx, op.ns, p->level, &op.level, &why);
	if (e)
		agi_grpc_fail_err(call, e, &why);
	else
		agi_svc_start(ctx, call, p, &op, scanned);
}
