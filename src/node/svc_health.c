/* SPDX-License-Identifier: Apache-2.0
 * grpc.health.v1.Health: Check and Watch (github.com/grpc/grpc, doc/health-checking.md). A watcher
 * hears the present state at once and every change after it; states that come and go between two
 * looks are not told. */
#include <stdlib.h>

#include "health.pb-c.h"
#include "node/svc.h"

enum { LOOK_MS = 200 }; /* how late a watcher may hear of a change */

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name
typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus serving_status;

struct agi_svc_watcher {
	struct agi_svc_health *h;
	struct agi_grpc_call *call;
	bool is_known;
	serving_status told;
	LIST_ENTRY(agi_svc_watcher) link;
};

static bool is_known(const struct agi_svc_health *h, struct agi_str name)
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

static serving_status status_of(const struct agi_svc_health *h)
{
	return h->is_serving(h->ctx) ? STATUS(SERVING) : STATUS(NOT_SERVING);
}

static void check(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct agi_svc_health *h = ctx;
	Grpc__Health__V1__HealthCheckResponse r = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	if (!is_known(h, name_of(req))) {
		agi_grpc_fail(call, AGI_GRPC_NOT_FOUND, "unknown service");
		return;
	}
	r.status = status_of(h);
	agi_grpc_reply(call, &r.base);
}

/* --- watchers -------------------------------------------------------------------------------- */
/* Tells w what it does not know yet. A client that reads too slowly hears the state of when it
 * does. */
static void tell(struct agi_svc_watcher *w, serving_status now)
{
	Grpc__Health__V1__HealthCheckResponse r = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	r.status = w->is_known ? now : STATUS(SERVICE_UNKNOWN);
	if (r.status != w->told && agi_grpc_send(w->call, &r.base) == AGI_OK)
		w->told = r.status;
}

static void on_writable(void *arg)
{
	struct agi_svc_watcher *w = arg;

	tell(w, status_of(w->h));
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct agi_svc_health *h = arg;
	serving_status now = status_of(h);
	struct agi_svc_watcher *w;

	(void)fd;
	(void)what;
	LIST_FOREACH(w, &h->watchers, link)
	tell(w, now);
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
	agi_grpc_fail(w->call, AGI_GRPC_CANCELLED, "cancelled");
	free(w);
}

static void watch(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	static const struct agi_grpc_stream_ops ops = {.on_writable = on_writable};
	struct agi_svc_health *h = ctx;
	struct agi_svc_watcher *w = malloc(sizeof *w);

	if (!w) {
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
		return;
	}
	*w = (struct agi_svc_watcher){h, call, is_known(h, name_of(req)), STATUS(UNKNOWN), {0}};
	start_looking(h);
	LIST_INSERT_HEAD(&h->watchers, w, link);
	agi_grpc_call_stream(call, &ops, w);
	agi_grpc_call_on_cancel(call, on_cancel, w);
	tell(w, status_of(h));
}

enum agi_err agi_svc_health_add(struct agi_grpc_server *server, struct agi_svc_health *h)
{
	static const struct agi_grpc_method methods[] = {
	    {"Check", check, AGI_GRPC_UNARY, NULL}, {"Watch", watch, AGI_GRPC_SERVER_STREAM, NULL}};

	LIST_INIT(&h->watchers);
	return agi_grpc_server_add(server, &grpc__health__v1__health__descriptor, methods, 2, h);
}
