/* SPDX-License-Identifier: Apache-2.0
 * grpc.health.v1.Health: Check and Watch (github.com/grpc/grpc, doc/health-checking.md). A watcher
 * hears the present state at once and every change after it; states that come and go between two
 * looks are not told. */
#include <stdlib.h>

#include "health.pb-c.h"
#include "node/svc.h"

enum { LOOK_MS = 200 /* how late a watcher may hear of a change */, NAME_MAX_BYTES = 255 };

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name
typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus serving_status;

struct agi_svc_watcher {
	struct agi_svc_health *h;
	struct agi_grpc_call *call;
	struct question *asking; /* nothing is told before its answer */
	serving_status told;
	size_t name_bytes;
	char name[NAME_MAX_BYTES];
	LIST_ENTRY(agi_svc_watcher) link;
};

static bool is_listed(const struct agi_svc_health *h, struct agi_str name)
{
	if (name.n == 0)
		return true;
	for (size_t i = 0; i < h->n; i++)
		if (agi_str_eq(name, agi_str_of(h->names[i])))
			return true;
	return false;
}

static struct agi_str name_of(const ProtobufCMessage *req)
{
	return agi_svc_str(((const Grpc__Health__V1__HealthCheckRequest *)req)->service);
}

static enum agi_svc_state state_of(const struct agi_svc_health *h, struct agi_str name)
{
	if (is_listed(h, name))
		return h->is_serving(h->ctx) ? AGI_SVC_SERVING : AGI_SVC_NOT_SERVING;
	return h->state_of ? h->state_of(h->others_ctx, name) : AGI_SVC_UNKNOWN;
}

/* --- asking others: the answer may come after the call has gone ---------------------------------- */
struct question {
	void (*fn)(void *arg);
	void *arg; /* NULL: nobody waits any more */
};

static void on_found_out(void *arg)
{
	struct question *q = arg;

	if (q->arg)
		q->fn(q->arg);
	free(q);
}

/* *out is set while the answer is awaited. */
static void ask(const struct agi_svc_health *h, struct agi_str name, void (*fn)(void *arg), void *arg,
		struct question **out)
{
	struct question *q = malloc(sizeof *q);

	if (!q) {
		fn(arg);
		return;
	}
	*q = (struct question){fn, arg};
	*out = q;
	h->find_out(h->others_ctx, name, on_found_out, q);
}

static bool must_ask(const struct agi_svc_health *h, struct agi_str name)
{
	return !is_listed(h, name) && state_of(h, name) == AGI_SVC_NOT_SERVING;
}

/* --- Check ------------------------------------------------------------------------------------- */
static void answer(struct agi_grpc_call *call, enum agi_svc_state state)
{
	Grpc__Health__V1__HealthCheckResponse r = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	if (state == AGI_SVC_UNKNOWN) {
		agi_grpc_fail(call, AGI_GRPC_NOT_FOUND, "unknown service");
		return;
	}
	r.status = state == AGI_SVC_SERVING ? STATUS(SERVING) : STATUS(NOT_SERVING);
	agi_grpc_reply(call, &r.base);
}

/* A Check that waits for others; req is there until it is answered. */
struct waiting {
	const struct agi_svc_health *h;
	struct agi_grpc_call *call;
	struct agi_str name;
	struct question *asking;
};

static void on_checked(void *arg)
{
	struct waiting *w = arg;

	agi_grpc_call_on_cancel(w->call, NULL, NULL);
	answer(w->call, state_of(w->h, w->name));
	free(w);
}

static void on_check_cancel(void *arg)
{
	struct waiting *w = arg;

	w->asking->arg = NULL;
	agi_grpc_fail(w->call, AGI_GRPC_CANCELLED, "cancelled");
	free(w);
}

static void check(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct agi_svc_health *h = ctx;
	struct agi_str name = name_of(req);
	struct waiting *w = must_ask(h, name) ? malloc(sizeof *w) : NULL;

	if (!w) {
		answer(call, state_of(h, name));
		return;
	}
	*w = (struct waiting){h, call, name, NULL};
	agi_grpc_call_on_cancel(call, on_check_cancel, w);
	ask(h, name, on_checked, w, &w->asking);
}

/* --- Watch ------------------------------------------------------------------------------------- */
static serving_status status_of(const struct agi_svc_watcher *w)
{
	switch (state_of(w->h, (struct agi_str){w->name, w->name_bytes})) {
	case AGI_SVC_SERVING:
		return STATUS(SERVING);
	case AGI_SVC_NOT_SERVING:
		return STATUS(NOT_SERVING);
	case AGI_SVC_UNKNOWN:
		break;
	}
	return STATUS(SERVICE_UNKNOWN);
}

/* Tells w what it does not know yet. A client that reads too slowly hears the state of when it
 * does. */
static void tell(struct agi_svc_watcher *w)
{
	Grpc__Health__V1__HealthCheckResponse r = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	if (w->asking)
		return;
	r.status = status_of(w);
	if (r.status != w->told && agi_grpc_send(w->call, &r.base) == AGI_OK)
		w->told = r.status;
}

static void on_writable(void *arg) { tell(arg); }

static void on_watch_found(void *arg)
{
	struct agi_svc_watcher *w = arg;

	w->asking = NULL;
	tell(w);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct agi_svc_health *h = arg;
	struct agi_svc_watcher *w;

	(void)fd;
	(void)what;
	LIST_FOREACH(w, &h->watchers, link)
	tell(w);
}

static void start_looking(struct agi_svc_health *h)
{
	const struct timeval tv = {0, LOOK_MS * 1000};

	if (!LIST_EMPTY(&h->watchers))
		return;
	event_assign(&h->look, h->base, -1, EV_PERSIST, on_look, h);
	event_add(&h->look, &tv);
}

static void on_cancel(void *arg)
{
	struct agi_svc_watcher *w = arg;

	LIST_REMOVE(w, link);
	if (LIST_EMPTY(&w->h->watchers))
		event_del(&w->h->look);
	if (w->asking)
		w->asking->arg = NULL;
	agi_grpc_fail(w->call, AGI_GRPC_CANCELLED, "cancelled");
	free(w);
}

static void watch(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	static const struct agi_grpc_stream_ops ops = {.on_writable = on_writable};
	struct agi_svc_health *h = ctx;
	struct agi_str name = name_of(req);
	struct agi_svc_watcher *w = calloc(1, sizeof *w);

	if (!w) {
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
		return;
	}
	w->h = h;
	w->call = call;
	w->told = STATUS(UNKNOWN);
	w->name_bytes = name.n <= sizeof w->name ? name.n : sizeof w->name; /* cut: nobody's name */
	if (name.n)
		memcpy(w->name, name.p, w->name_bytes);
	start_looking(h);
	LIST_INSERT_HEAD(&h->watchers, w, link);
	agi_grpc_call_stream(call, &ops, w);
	agi_grpc_call_on_cancel(call, on_cancel, w);
	if (must_ask(h, name))
		ask(h, name, on_watch_found, w, &w->asking);
	else
		tell(w);
}

enum agi_err agi_svc_health_add(struct agi_grpc_server *server, struct agi_svc_health *h)
{
	static const struct agi_grpc_method methods[] = {
	    {"Check", check, AGI_GRPC_UNARY, NULL}, {"Watch", watch, AGI_GRPC_SERVER_STREAM, NULL}};

	LIST_INIT(&h->watchers);
	return agi_grpc_server_add(server, &grpc__health__v1__health__descriptor, methods, 2, h);
}
