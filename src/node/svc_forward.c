/* SPDX-License-Identifier: Apache-2.0
 * Calls that are handed on, until an instance is asked. */
#include <stdio.h>
#include <stdlib.h>

#include "node/svc_forward_impl.h"

void agi_forwarded_forget(struct agi_forwarded *c)
{
	LIST_REMOVE(c, link);
	c->f->n_open--;
	c->f->n_streams -= c->is_stream;
	free(c);
}

/* Ends the call for the client. */
static void refuse(struct agi_forwarded *c, enum agi_grpc_status status, const char *detail)
{
	agi_grpc_call_on_cancel(c->call, NULL, NULL);
	agi_grpc_fail(c->call, status, "role %s does not run on this node; %s", c->role, detail);
	agi_forwarded_forget(c);
}

/* --- instances ------------------------------------------------------------------------------------------- */
void agi_forwarded_ask_next(struct agi_forwarded *c, const char *failed)
{
	struct agi_why why;
	char text[768];

	agi_fail(&why, AGI_OK, "%s", failed);
	while (c->at < c->n_targets) {
		const struct agi_forward_target *t = &c->targets[c->at++];

		if (agi_forwarded_ask(c, t, &why) == AGI_OK)
			return;
	}
	snprintf(text, sizeof text, "nearest: %s: %s", c->targets[0].address, why.text);
	refuse(c, AGI_GRPC_UNAVAILABLE, text);
}

static bool is_loopback(struct agi_str address)
{
	struct agi_addr a;

	return agi_addr_parse(&a, address, 0, NULL) == AGI_OK && agi_addr_is_loopback(&a);
}

static const char *why_kept(const struct agi_forward_cfg *cfg, const struct agi_provider *p)
{
	if (cfg->checks_tokens && !(p->traits & AGI_PROVIDER_TOKENS))
		return "the instance is not a role of a node that checks tokens";
	if (!cfg->takes_clear_tokens && !(p->traits & AGI_PROVIDER_TLS) && !is_loopback(p->address))
		return "the instance does not speak TLS";
	return NULL;
}

static void take_targets(struct agi_forwarded *c, const struct agi_instance *instances, size_t n)
{
	for (size_t i = 0; i < n && c->n_targets < AGI_FORWARD_TRIES; i++) {
		const struct agi_provider *p = instances[i].provider;
		struct agi_forward_target *t = &c->targets[c->n_targets];
		size_t skip = p->traits & AGI_PROVIDER_TLS ? sizeof AGI_FORWARD_TLS_PREFIX - 1 : 0;

		if (p->address.n > AGI_ADDRESS_MAX)
			continue;
		memcpy(t->text, AGI_FORWARD_TLS_PREFIX, skip);
		memcpy(t->text + skip, p->address.p, p->address.n);
		t->address = t->text + skip;
		t->keeps_why = why_kept(&c->f->cfg, p);
		c->n_targets++;
	}
}

static void on_found(void *arg, const struct agi_instance *instances, size_t n)
{
	struct agi_forwarded *c = arg;
	char text[AGI_ADDRESS_MAX + 64];

	c->is_finding = false;
	if (!c->call) {
		agi_forwarded_forget(c);
		return;
	}
	take_targets(c, instances, n);
	if (c->n_targets == 0) {
		snprintf(text, sizeof text, "no instance of role %s is known", c->role);
		refuse(c, AGI_GRPC_UNAVAILABLE, text);
	} else if (!c->f->cfg.is_on) {
		snprintf(text, sizeof text, "nearest: %s", c->targets[0].address);
		refuse(c, AGI_GRPC_UNAVAILABLE, text);
	} else {
		agi_forwarded_ask_next(c, "");
	}
}

/* --- calls ----------------------------------------------------------------------------------------------- */
static void on_cancel(void *arg)
{
	struct agi_forwarded *c = arg;
	struct agi_grpc_call *call = c->call;

	c->call = NULL;
	agi_forwarded_stop(c);
	agi_grpc_fail(call, AGI_GRPC_CANCELLED, "cancelled");
}

static struct agi_forwarded *begin(struct agi_forward *f, const char *role, struct agi_grpc_call *call,
                                   bool is_stream)
{
	struct agi_forwarded *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->f = f;
	c->role = role;
	c->call = call;
	c->is_stream = is_stream;
	LIST_INSERT_HEAD(&f->open, c, link);
	f->n_open++;
	f->n_streams += is_stream;
	snprintf(c->path, sizeof c->path, "%.*s", AGI_STR_ARG(agi_grpc_call_path(call)));
	return c;
}

static void find(struct agi_forwarded *c)
{
	uint32_t left = agi_grpc_call_left_ms(c->call);

	if (left > AGI_FORWARD_FIND_MS)
		left = AGI_FORWARD_FIND_MS;
	c->is_finding = true;
	c->f->cfg.find(c->f->cfg.ctx, agi_str_of(c->role), left ? left : 1, on_found, c);
}

static void hand_on(struct agi_grpc_call *call, const struct agi_forward_route *r, bool is_stream)
{
	struct agi_forward *f = r->f;
	struct agi_forwarded *c;

	if (f->n_open >= AGI_FORWARD_CALLS_MAX || (is_stream && f->n_streams >= AGI_FORWARD_STREAMS_MAX)) {
		agi_grpc_fail(call, AGI_GRPC_RESOURCE_EXHAUSTED,
		              "role %s does not run on this node; %d %s are being forwarded, no more at a time",
		              r->role, is_stream ? AGI_FORWARD_STREAMS_MAX : AGI_FORWARD_CALLS_MAX,
		              is_stream ? "streams" : "calls");
		return;
	}
	c = begin(f, r->role, call, is_stream);
	if (!c) {
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
		return;
	}
	if (agi_grpc_call_metadata(call, AGI_FORWARD_HEADER).p) {
		refuse(c, AGI_GRPC_UNAVAILABLE, "the call was forwarded here and goes no further");
		return;
	}
	if (is_stream)
		agi_grpc_call_stream(call, &agi_forwarded_stream_ops, c);
	agi_grpc_call_on_cancel(call, on_cancel, c);
	find(c);
}

static void on_call(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	(void)req;
	hand_on(call, ctx, false);
}

static void on_stream(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	(void)req;
	hand_on(call, ctx, true);
}

/* --- life ------------------------------------------------------------------------------------------------ */
enum agi_err agi_forward_new(const struct agi_forward_cfg *cfg, struct agi_forward **out)
{
	struct agi_forward *f = calloc(1, sizeof *f);

	if (!f)
		return AGI_E_NOMEM;
	f->cfg = *cfg;
	LIST_INIT(&f->open);
	if (agi_channel_pool_new(cfg->base, &f->pool)) {
		free(f);
		return AGI_E_NOMEM;
	}
	*out = f;
	return AGI_OK;
}

static enum agi_err serve(struct agi_forward *f, size_t i, struct agi_grpc_server *server)
{
	const struct agi_forward_service *s = agi_forward_service_at(i);
	struct agi_forward_route *r = &f->routes[i];
	size_t n = s->desc->n_methods;

	if (n > AGI_FORWARD_METHODS_MAX)
		return AGI_E_INTERNAL;
	r->f = f;
	r->role = s->role;
	for (size_t k = 0; k < n; k++) {
		const char *name = s->desc->methods[k].name;
		bool is_stream = s->stream && strcmp(name, s->stream) == 0;

		r->methods[k] = (struct agi_grpc_method){.name = name,
		                                         .handler = is_stream ? on_stream : on_call,
		                                         .kind = is_stream ? AGI_GRPC_SERVER_STREAM : AGI_GRPC_UNARY,
		                                         .is_raw = true};
	}
	return agi_grpc_server_add(server, s->desc, r->methods, n, r);
}

enum agi_err agi_forward_serve(struct agi_forward *f, struct agi_grpc_server *server)
{
	const struct agi_forward_service *s;
	enum agi_err e = AGI_OK;

	for (size_t i = 0; !e && (s = agi_forward_service_at(i)) != NULL; i++)
		if (!f->cfg.runs_here(f->cfg.ctx, s->role))
			e = serve(f, i, server);
	return e;
}

uint32_t agi_forward_count(const struct agi_forward *f) { return f->n_open; }

void agi_forward_free(struct agi_forward *f)
{
	struct agi_forwarded *c;

	if (!f)
		return;
	agi_channel_pool_free(f->pool); /* ends what is being asked */
	while ((c = LIST_FIRST(&f->open)) != NULL)
		agi_forwarded_forget(c); /* was looking for instances; its client was told when the server went */
	free(f);
}
