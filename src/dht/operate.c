/* SPDX-License-Identifier: Apache-2.0
 * An operator's task for another node: its shell answers at once (begin something, tell how it goes); what the bytes
 * mean is the shells' business. */
#include <stdlib.h>

#include "dht/care.h"

enum { OPERATE_MS = 5000 };

struct operate_call {
	uint64_t call_id, rpc;
};

static void on_answer(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err, const struct agi_peer *from,
                      const struct agi_msg *m)
{
	struct operate_call *oc = arg;
	struct agi_result res = {.kind = AGI_CALL_OPERATE, .err = err};

	(void)which, (void)from;
	if (err == AGI_OK)
		res.err = m->kind == AGI_MSG_OPERATED ? m->status : AGI_E_MALFORMED;
	if (res.err == AGI_OK)
		res.value = m->blob;
	agi_call_reply(d, oc->call_id, &res);
	free(oc);
}

static void cancel(struct agi_dht *d, void *op)
{
	struct operate_call *oc = op;

	agi_rpc_cancel(d, oc->rpc);
	free(oc);
}

void agi_operate_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call)
{
	struct agi_msg m = {.kind = AGI_MSG_OPERATE, .blob = call->value};
	struct agi_peer to = agi_hosts_peer(d, &call->target);
	struct operate_call *oc;

	if (!to.addr.port || !agi_hosts_is_up(d, &to.id)) {
		agi_call_fail(d, call_id, call->kind, AGI_E_UNREACHABLE, "the node is not up");
		return;
	}
	oc = calloc(1, sizeof *oc);
	if (!oc) {
		agi_call_fail(d, call_id, call->kind, AGI_E_NOMEM, "");
		return;
	}
	oc->call_id = call_id;
	if (agi_call_open(d, call_id, call->kind, oc, cancel) != AGI_OK) {
		free(oc);
		return;
	}
	oc->rpc = agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m, OPERATE_MS, on_answer, oc, 0);
	if (!oc->rpc) {
		free(oc);
		agi_call_fail(d, call_id, call->kind, AGI_E_NOMEM, "");
	}
}

void agi_operate_on(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_OPERATED, .status = AGI_E_UNSUPPORTED};
	struct agi_buf answer;

	agi_buf_init(&answer, AGI_BLOB_MAX);
	if (d->cfg.operate)
		out.status = d->cfg.operate(d->ctx, m->blob, &answer);
	if (out.status == AGI_OK && answer.err)
		out.status = answer.err;
	if (out.status == AGI_OK)
		out.blob = agi_buf_str(&answer);
	agi_answer(d, from, m, &out);
	agi_buf_free(&answer);
}
