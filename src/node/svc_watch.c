/* SPDX-License-Identifier: Apache-2.0
 * agihpc.v1.KvService: a stream of changes. It goes past admission: it waits, and costs little. */
#include <stdlib.h>

#include "node/svc_kv.h"

struct watching {
	struct agi_svc *s;
	struct agi_grpc_call *call;
	uint64_t id; /* the core's; 0 = not begun, or over */
};

static void on_cancel(void *arg)
{
	struct watching *w = arg;

	agi_dht_host_cancel(w->s->host, w->id);
	agi_grpc_fail(w->call, AGI_GRPC_CANCELLED, "cancelled");
	free(w);
}

/* A watch ends when it cannot go on. */
static void on_end(void *arg, const struct agi_result *res)
{
	struct watching *w = arg;

	agi_grpc_fail_err(w->call, res->err, res->why.text[0] ? &res->why : NULL);
	free(w);
}

static bool on_event(void *arg, const struct agi_event *ev)
{
	struct watching *w = arg;
	Agihpc__V1__WatchResponse r = AGIHPC__V1__WATCH_RESPONSE__INIT;
	Agihpc__V1__WatchEvent one = AGIHPC__V1__WATCH_EVENT__INIT, *list = &one;
	enum agi_err e;

	r.caught_up = ev->is_caught_up;
	r.resume_token = agi_svc_data(ev->token);
	r.slots_unwatched = ev->n_uncovered;
	if (ev->has_item) {
		one.kind = ev->item.is_tombstone ? AGIHPC__V1__WATCH_EVENT__KIND__DELETE : AGIHPC__V1__WATCH_EVENT__KIND__PUT;
		one.key = agi_svc_data(ev->item.key);
		one.value = agi_svc_data(ev->item.value);
		one.version = ev->item.version.hlc;
		r.events = &list;
		r.n_events = 1;
	}
	e = agi_grpc_send(w->call, &r.base);
	if (e == AGI_E_NOMEM || e == AGI_E_TOO_LARGE) {
		agi_dht_host_cancel(w->s->host, w->id);
		agi_grpc_fail_err(w->call, e, NULL);
		free(w);
		return true;
	}
	return e != AGI_E_FULL; /* CANCELLED: on_cancel comes */
}

static void on_writable(void *arg)
{
	struct watching *w = arg;

	agi_dht_host_resume(w->s->host, w->id);
}

static enum agi_err take_request(struct agi_svc *s, struct agi_call *op, const Agihpc__V1__WatchRequest *p,
                                 struct agi_why *why)
{
	enum agi_err e = agi_svc_namespace(&op->ns, p->namespace_, why);

	if (!e && (!p->prefix || p->key.len))
		e = agi_svc_key(&op->key, p->key, why);
	if (!e)
		e = agi_svc_level(s, op->ns, p->level, &op->level, why);
	op->is_prefix = p->prefix;
	op->is_initial = p->initial;
	op->expected = p->from_version;
	op->cursor = agi_svc_str(p->resume_token);
	return e;
}

void agi_svc_watch(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	static const struct agi_grpc_stream_ops ops = {.on_writable = on_writable};
	struct agi_call op = {.kind = AGI_CALL_WATCH};
	struct agi_why why = {""};
	struct watching *w = malloc(sizeof *w);
	enum agi_err e = w ? take_request(ctx, &op, (const Agihpc__V1__WatchRequest *)req, &why) : AGI_E_NOMEM;
	uint64_t id;

	if (e) {
		agi_grpc_fail_err(call, e, why.text[0] ? &why : NULL);
		free(w);
		return;
	}
	*w = (struct watching){.s = ctx, .call = call};
	agi_grpc_call_stream(call, &ops, w);
	id = agi_dht_host_watch(w->s->host, &op, on_event, on_end, w);
	if (!id)
		return; /* refused, w is gone */
	w->id = id;
	agi_grpc_call_on_cancel(call, on_cancel, w);
	agi_grpc_send_headers(call);
}
