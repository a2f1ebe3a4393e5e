/* SPDX-License-Identifier: Apache-2.0 */
#include "node/role_host.h"

#include <stdlib.h>

#include "net/grpc_reflection.h"
#include "net/listener.h"
#include "node/security.h"
#include "node/svc.h"

static const char *const erisml_services[] = {"agi.erisml.v1.ErisMLService"};
static const char *const gateway_services[] = {"agi.safety.v1.PreActionSafetyService"};
static const char *const in_action_services[] = {"agi.safety.v1.InActionSafetyService"};
static const char *const post_action_services[] = {"agi.safety.v1.PostActionSafetyService"};
static const struct agi_role_def defs[] = {
    {"erisml", 50060, erisml_services, sizeof erisml_services / sizeof *erisml_services, .is_awaited = true},
    {"safety-gateway", 50055, gateway_services, sizeof gateway_services / sizeof *gateway_services,
     .follows_stop = true, .is_awaited = true},
    {"in-action", 50056, in_action_services, sizeof in_action_services / sizeof *in_action_services,
     .follows_stop = true, .is_awaited = true},
    {"post-action", 50058, post_action_services, sizeof post_action_services / sizeof *post_action_services},
};

struct agi_role_host {
	const struct agi_role_def *def;
	struct event_base *base;
	struct agi_listener *listener;
	struct agi_grpc_server *server; /* NULL before _serve */
	struct agi_grpc_far *get;
	struct agi_svc_health health;
	struct agi_role_hooks hooks;
	struct agi_addr addr;
};

const struct agi_role_def *agi_role_def_at(size_t i)
{
	return i < sizeof defs / sizeof *defs ? &defs[i] : NULL;
}

const struct agi_role_def *agi_role_def_of(const char *name)
{
	for (size_t i = 0; agi_role_def_at(i); i++)
		if (strcmp(defs[i].name, name) == 0)
			return &defs[i];
	return NULL;
}

static void on_grpc(void *ctx, struct agi_transport *t)
{
	struct agi_role_host *h = ctx;

	if (h->server)
		agi_grpc_server_take(h->server, t);
	else
		agi_transport_close(t);
}

static void on_http(void *ctx, struct agi_transport *t)
{
	struct agi_role_host *h = ctx;

	if (h->hooks.take_http)
		h->hooks.take_http(h->hooks.ctx, t);
	else
		agi_transport_close(t);
}

static bool health_of(void *ctx)
{
	struct agi_role_host *h = ctx;

	return h->hooks.is_serving(h->hooks.ctx, h->def);
}

enum agi_err agi_role_host_new(struct event_base *base, const struct agi_role_def *role,
                               const struct agi_addr *ip, uint16_t port, struct agi_security *security,
                               struct agi_role_host **out,
                               struct agi_why *why)
{
	struct agi_role_host *h = calloc(1, sizeof *h);
	struct agi_listener_cfg cfg = {.addr = *ip, .ctx = h};
	enum agi_err e;

	if (!h)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	h->def = role;
	h->base = base;
	cfg.addr.port = port;
	cfg.on_wire[AGI_WIRE_GRPC] = on_grpc;
	cfg.on_wire[AGI_WIRE_HTTP] = on_http;
	if (security)
		agi_security_fill(security, &cfg);
	e = agi_listener_new(base, &cfg, &h->listener, why);
	if (e) {
		free(h);
		return e;
	}
	h->addr = *agi_listener_addr(h->listener);
	*out = h;
	return AGI_OK;
}

enum agi_err agi_role_host_serve(struct agi_role_host *h, const struct agi_role_hooks *hooks,
                                 struct agi_why *why)
{
	enum agi_err e;

	h->hooks = *hooks;
	h->health = (struct agi_svc_health){.names = h->def->services,
	                                    .n = h->def->n_services,
	                                    .is_serving = health_of,
	                                    .ctx = h,
	                                    .base = h->base};
	e = agi_grpc_server_new(h->base, hooks->grpc, &h->server);
	if (!e)
		e = hooks->add(hooks->ctx, h->def, h->server);
	if (!e)
		e = agi_svc_health_add(h->server, &h->health);
	if (!e)
		e = agi_grpc_reflection_add(h->server);
	h->hooks.get.near = h->server;
	if (!e && hooks->get.far)
		e = agi_grpc_far_new(&h->hooks.get, &h->get);
	if (e)
		return agi_fail(why, e, "role %s: %s", h->def->name, agi_err_text(e));
	if (hooks->security)
		agi_security_guard(hooks->security, h->server);
	if (hooks->observe)
		agi_grpc_server_observe(h->server, hooks->observe, hooks->observe_ctx);
	return AGI_OK;
}

void agi_role_host_drain(struct agi_role_host *h)
{
	agi_listener_free(h->listener);
	h->listener = NULL;
	if (h->server)
		agi_grpc_server_drain(h->server);
}

void agi_role_host_free(struct agi_role_host *h)
{
	if (!h)
		return;
	agi_listener_free(h->listener);
	agi_grpc_server_free(h->server);
	agi_grpc_far_free(h->get);
	free(h);
}

const struct agi_role_def *agi_role_host_def(const struct agi_role_host *h) { return h->def; }

const struct agi_addr *agi_role_host_addr(const struct agi_role_host *h) { return &h->addr; }
