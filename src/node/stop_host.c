/* SPDX-License-Identifier: Apache-2.0 */
#include "node/stop_host.h"

#include <stdio.h>
#include <stdlib.h>

#include "agihpc.pb-c.h"
#include "node/log.h"
#include "node/policy_host.h"
#include "node/svc.h"
#include "node/svc_in_action.h"

struct agi_stop_host {
	struct agi_loop *main;
	struct agi_safety_host *safety;
	struct agi_log *log;
	struct agi_stop_latch *latch;
	struct agi_policy_host *policy;
	struct agi_in_action *here;    /* the main loop's */
	struct agi_in_action *at_role; /* the safety loop's */
	bool is_ending;
};

/* --- main → safety --------------------------------------------------------------------------------------- */
struct news {
	struct agi_safety_plane *plane;
	bool has_record;
	struct agi_stop_record record;
	uint64_t began_us;
};

static void take_read(void *arg)
{
	struct news *n = arg;

	agi_safety_plane_stop_read(n->plane, n->has_record ? &n->record : NULL, n->began_us);
	free(n);
}

static void tell_all(void *arg)
{
	struct news *n = arg;

	agi_safety_plane_stop_tell(n->plane, &n->record);
	free(n);
}

/* What finds no room is lost: the next read, AGI_STOP_REFRESH_MS later, says it again; until then a latch runs out and
 * blocks. */
static void post(struct agi_stop_host *h, agi_loop_fn *fn, const struct agi_stop_record *r, uint64_t began_us)
{
	struct news *n = calloc(1, sizeof *n);

	if (!n)
		return;
	n->plane = agi_safety_host_plane(h->safety);
	n->has_record = r != NULL;
	if (r)
		n->record = *r;
	n->began_us = began_us;
	if (agi_safety_host_post(h->safety, fn, free, n))
		free(n);
}

static void on_read(void *ctx, const struct agi_stop_record *r, uint64_t began_us)
{
	post(ctx, take_read, r, began_us);
}

/* --- safety → main: a peer's notice ------------------------------------------------------------------------ */
struct notice {
	struct agi_stop_host *host;
	struct agi_stop_record record;
};

static void take_notice(void *arg)
{
	struct notice *n = arg;

	agi_stop_latch_told(n->host->latch, &n->record);
	AGI_LOG(n->host->log, AGI_LOG_ERROR, "emergency_stop", agi_kv_z("reason", n->record.reason),
	        agi_kv_z("source", n->record.source), agi_kv_z("by", n->record.node),
	        agi_kv_u("epoch", n->record.epoch));
	free(n);
}

static void on_notice(void *ctx, const struct agi_stop_record *r)
{
	struct agi_stop_host *h = ctx;
	struct notice *n = malloc(sizeof *n);

	if (!n)
		return; /* the main loop reads the register itself */
	*n = (struct notice){h, *r};
	if (agi_loop_post(h->main, take_notice, free, n))
		free(n);
}

/* --- asking ------------------------------------------------------------------------------------------------- */
/* A wish, from either loop; its answer goes back to where it came from. */
struct wish {
	struct agi_stop_host *host;
	enum agi_stop_wish wish;
	bool is_from_role;
	char reason[AGI_STOP_REASON_MAX + 1], source[AGI_STOP_WHO_MAX + 1];
	agi_stop_set_fn *fn;
	void *arg;
	enum agi_err err;
	struct agi_stop_record record;
	struct agi_why why;
};

static void deliver(void *arg)
{
	struct wish *w = arg;

	w->fn(w->arg, w->err, &w->record, &w->why);
	free(w);
}

static void log_wish(const struct wish *w)
{
	if (w->wish == AGI_STOP_READ)
		return;
	AGI_LOG(w->host->log, w->err || w->wish == AGI_STOP_STOP ? AGI_LOG_ERROR : AGI_LOG_WARN,
	        w->wish == AGI_STOP_STOP ? "emergency_stop" : "emergency_stop_resumed",
	        agi_kv_z("reason", w->reason), agi_kv_z("source", w->source),
	        agi_kv_u("epoch", w->record.epoch), agi_kv_z("err", w->err ? agi_err_name(w->err) : ""));
}

static void on_done(void *arg, enum agi_err err, const struct agi_stop_record *r, const struct agi_why *why)
{
	struct wish *w = arg;
	struct agi_stop_host *h = w->host;

	w->err = err;
	w->record = *r;
	w->why = *why;
	log_wish(w);
	if (!err && r->is_stopped) {
		agi_stop_latch_told(h->latch, r);
		post(h, tell_all, r, 0);
	}
	if (!w->is_from_role)
		deliver(w);
	else if (agi_safety_host_post(h->safety, deliver, free, w))
		free(w); /* the caller's deadline answers it */
}

static void ask_on_main(void *arg)
{
	struct wish *w = arg;
	enum agi_err e = agi_stop_latch_ask(w->host->latch, w->wish, agi_str_of(w->reason), agi_str_of(w->source),
	                                    on_done, w);

	if (e)
		on_done(w, e, &w->record, &w->why);
}

static struct wish *wish_new(struct agi_stop_host *h, enum agi_stop_wish wish, struct agi_str reason,
                             struct agi_str source, agi_stop_set_fn *fn, void *arg)
{
	struct wish *w = calloc(1, sizeof *w);

	if (!w)
		return NULL;
	w->host = h;
	w->wish = wish;
	w->fn = fn;
	w->arg = arg;
	agi_stop_set_text(w->reason, AGI_STOP_REASON_MAX, reason);
	agi_stop_set_text(w->source, AGI_STOP_WHO_MAX, source);
	return w;
}

static enum agi_err ask_here(struct agi_stop_host *h, enum agi_stop_wish wish, struct agi_str reason,
                             struct agi_str source, agi_stop_set_fn *fn, void *arg)
{
	struct wish *w = wish_new(h, wish, reason, source, fn, arg);
	enum agi_err e = w ? agi_stop_latch_ask(h->latch, wish, reason, source, on_done, w) : AGI_E_NOMEM;

	if (e)
		free(w);
	return e;
}

static enum agi_err stop_here(void *ctx, struct agi_str reason, struct agi_str source, agi_stop_set_fn *fn, void *arg)
{
	return ask_here(ctx, AGI_STOP_STOP, reason, source, fn, arg);
}

static enum agi_err stop_from_role(void *ctx, struct agi_str reason, struct agi_str source, agi_stop_set_fn *fn,
                                   void *arg)
{
	struct agi_stop_host *h = ctx;
	struct wish *w = wish_new(h, AGI_STOP_STOP, reason, source, fn, arg);
	enum agi_err e;

	if (!w)
		return AGI_E_NOMEM;
	w->is_from_role = true;
	e = agi_loop_post(h->main, ask_on_main, free, w);
	if (e)
		free(w);
	return e;
}

/* --- in-action checks, for the audit log ------------------------------------------------------------------------ */
struct note {
	struct agi_safety_plane *plane;
	enum agi_audit_kind kind;
	size_t n;
	char body[];
};

static void note_there(void *arg)
{
	struct note *n = arg;

	agi_safety_plane_note(n->plane, n->kind, (struct agi_str){n->body, n->n});
	free(n);
}

/* What finds no room is not in the log; the answer has been given. */
static void note_here(void *ctx, enum agi_audit_kind kind, struct agi_str body)
{
	struct agi_stop_host *h = ctx;
	struct note *n = h->is_ending ? NULL : malloc(sizeof *n + body.n);

	if (h->is_ending) /* nothing runs beside this */
		agi_safety_plane_note(agi_safety_host_plane(h->safety), kind, body);
	if (!n)
		return;
	*n = (struct note){agi_safety_host_plane(h->safety), kind, body.n};
	memcpy(n->body, body.p, body.n);
	if (agi_safety_host_post(h->safety, note_there, free, n))
		free(n);
}

static void note_from_role(void *ctx, enum agi_audit_kind kind, struct agi_str body)
{
	agi_safety_plane_note(agi_safety_host_plane(((struct agi_stop_host *)ctx)->safety), kind, body);
}

/* --- agihpc.v1.SafetyService ---------------------------------------------------------------------------------- */
struct asked {
	struct agi_grpc_call *call; /* NULL: the client has gone */
};

static void answer(void *arg, enum agi_err err, const struct agi_stop_record *r, const struct agi_why *why)
{
	Agihpc__V1__StopState res = AGIHPC__V1__STOP_STATE__INIT;
	struct asked *a = arg;
	char id[2 * AGI_STOP_ID_BYTES + 1] = "";

	if (a->call && err) {
		agi_grpc_fail_err(a->call, err, why);
	} else if (a->call) {
		for (size_t i = 0; r->epoch && i < AGI_STOP_ID_BYTES; i++)
			snprintf(id + 2 * i, 3, "%02x", r->id[i]);
		res.stopped = r->is_stopped;
		res.epoch = r->epoch;
		res.stop_id = agi_svc_text(id);
		res.reason = agi_svc_text(r->reason);
		res.source = agi_svc_text(r->source);
		res.node_id = agi_svc_text(r->node);
		res.at_ms = r->at_ms;
		agi_grpc_reply(a->call, &res.base);
	}
	free(a);
}

static void on_cancel(void *arg)
{
	struct asked *a = arg;
	struct agi_grpc_call *call = a->call;

	a->call = NULL;
	agi_grpc_fail(call, AGI_GRPC_CANCELLED, "the client gave up; the change may still take effect");
}

static void ask_for(struct agi_stop_host *h, struct agi_grpc_call *call, enum agi_stop_wish wish,
                    ProtobufCBinaryData reason, ProtobufCBinaryData source)
{
	struct asked *a = calloc(1, sizeof *a);
	enum agi_err e = AGI_E_NOMEM;

	if (a) {
		a->call = call;
		e = ask_here(h, wish, agi_svc_str(reason), agi_svc_str(source), answer, a);
	}
	if (e) {
		free(a);
		agi_grpc_fail_err(call, e, NULL);
	} else {
		agi_grpc_call_on_cancel(call, on_cancel, a);
	}
}

static void stop(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__StopRequest *m = (const Agihpc__V1__StopRequest *)req;

	ask_for(ctx, call, AGI_STOP_STOP, m->reason, m->source);
}

static void resume(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__ResumeRequest *m = (const Agihpc__V1__ResumeRequest *)req;

	ask_for(ctx, call, AGI_STOP_RESUME, m->reason, m->source);
}

static void get_stop(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	(void)req;
	ask_for(ctx, call, AGI_STOP_READ, (ProtobufCBinaryData){0}, (ProtobufCBinaryData){0});
}

enum agi_err agi_stop_host_serve(struct agi_stop_host *h, struct agi_grpc_server *server)
{
	static const struct agi_grpc_method methods[] = {{.name = "Stop", .handler = stop},
	                                                 {.name = "Resume", .handler = resume},
	                                                 {.name = "GetStop", .handler = get_stop}};
	enum agi_err e = agi_grpc_server_add(server, &agihpc__v1__safety_service__descriptor, methods,
	                                     sizeof methods / sizeof *methods, h);

	return e ? e : agi_policy_host_serve(h->policy, server);
}

enum agi_err agi_stop_host_serve_actions(struct agi_stop_host *h, struct agi_grpc_server *server)
{
	return agi_in_action_serve(h->here, server);
}

enum agi_err agi_stop_host_serve_role(struct agi_stop_host *h, struct agi_grpc_server *server)
{
	return agi_in_action_serve(h->at_role, server);
}

/* --- life ----------------------------------------------------------------------------------------------------- */
static enum agi_err open_parts(struct agi_stop_host *h, struct event_base *base, struct agi_dht_host *host,
                               const struct agi_id *self)
{
	struct agi_safety_plane *plane = agi_safety_host_plane(h->safety);
	struct agi_stop_latch_cfg cfg = {.base = base, .host = host, .on_read = on_read, .ctx = h};
	struct agi_in_action_cfg actions = {.base = base,
	                                    .stop = stop_here,
	                                    .note = note_here,
	                                    .ctx = h};
	enum agi_err e;

	agi_id_hex(cfg.node, self);
	e = agi_stop_latch_new(&cfg, &h->latch);
	if (e)
		return e;
	e = agi_policy_host_new(h->main, host, h->safety, h->log, self, &h->policy);
	if (e)
		return e;
	actions.latch = agi_stop_latch_state(h->latch);
	actions.policy = agi_policy_host_view(h->policy);
	e = agi_in_action_new(&actions, &h->here);
	if (e)
		return e;
	actions.latch = agi_safety_plane_latch(plane);
	actions.base = agi_safety_host_base(h->safety);
	actions.policy = agi_safety_plane_policy(plane);
	actions.stop = stop_from_role;
	actions.note = note_from_role;
	return agi_in_action_new(&actions, &h->at_role);
}

enum agi_err agi_stop_host_new(struct event_base *base, struct agi_loop *main, struct agi_dht_host *host,
                               struct agi_safety_host *safety, struct agi_log *log, const struct agi_id *self,
                               struct agi_stop_host **out)
{
	struct agi_stop_host *h = calloc(1, sizeof *h);
	enum agi_err e;

	if (!h)
		return AGI_E_NOMEM;
	h->main = main;
	h->safety = safety;
	h->log = log;
	e = open_parts(h, base, host, self);
	if (e) {
		agi_stop_host_free(h);
		return e;
	}
	agi_safety_host_on_stop(safety, on_notice, h);
	*out = h;
	return AGI_OK;
}

void agi_stop_host_start(struct agi_stop_host *h)
{
	agi_stop_latch_start(h->latch);
	agi_policy_host_start(h->policy);
}

void agi_stop_host_free(struct agi_stop_host *h)
{
	if (!h)
		return;
	h->is_ending = true;
	agi_in_action_flush(h->here);
	agi_in_action_flush(h->at_role);
	agi_stop_latch_free(h->latch);
	agi_policy_host_free(h->policy);
	agi_in_action_free(h->here);
	agi_in_action_free(h->at_role);
	free(h);
}

const struct agi_latch *agi_stop_host_latch(const struct agi_stop_host *h) { return agi_stop_latch_state(h->latch); }
