/* SPDX-License-Identifier: Apache-2.0 */
#include "node/svc_forward.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/limits.h"
#include "erisml.pb-c.h"
#include "memory.pb-c.h"
#include "net/channel_pool.h"
#include "net/grpc_meta.h"
#include "plan.pb-c.h"
#include "rh.pb-c.h"
#include "safety.pb-c.h"

/* --- which role serves what --------------------------------------------------------------------------- */
static const struct service {
	const ProtobufCServiceDescriptor *desc;
	const char *role;
} services[] = {
    {&agi__plan__v1__plan_service__descriptor, "lh-planner"},
    {&agi__plan__v1__simulation_service__descriptor, "rh-world-model"},
    {&agi__erisml__v1__eris_mlservice__descriptor, "erisml"},
    {&agi__safety__v1__in_action_safety_service__descriptor, "in-action"},
    {&agi__safety__v1__post_action_safety_service__descriptor, "post-action"},
    {&agi__memory__v1__semantic_memory_service__descriptor, "semantic-memory"},
    {&agi__memory__v1__episodic_memory_service__descriptor, "episodic-memory"},
    {&agi__memory__v1__procedural_memory_service__descriptor, "procedural-memory"},
    /* EnrichPlanningContext joins all three memories, and the guide has no role of its own for it. Facts
     * are what every context holds (the other two are optional), and tool schemas, the fourth part of its
     * answer, are the semantic memory's alone: one hop fewer than from anywhere else. */
    {&agi__memory__v1__unified_memory_service__descriptor, "semantic-memory"},
    {&agi__rh__v1__perception_service__descriptor, "rh-world-model"},
    {&agi__rh__v1__world_model_service__descriptor, "rh-world-model"},
    {&agi__rh__v1__control_execution_service__descriptor, "rh-world-model"},
    {&agi__rh__v1__rhhealth_service__descriptor, "rh-world-model"},
};
enum { SERVICES = sizeof services / sizeof *services, METHODS_MAX = 8, PATH_MAX_BYTES = 160 };

const char *agi_forward_role_of(const char *service)
{
	for (size_t i = 0; i < SERVICES; i++)
		if (strcmp(services[i].desc->name, service) == 0)
			return services[i].role;
	return NULL;
}

static bool is_first_of_role(size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (strcmp(services[k].role, services[i].role) == 0)
			return false;
	return true;
}

const char *agi_forward_role_at(size_t i)
{
	for (size_t k = 0; k < SERVICES; k++)
		if (is_first_of_role(k) && i-- == 0)
			return services[k].role;
	return NULL;
}

/* --- state ------------------------------------------------------------------------------------------------ */
struct route {
	struct agi_forward *f;
	const char *role;
	struct agi_grpc_method methods[METHODS_MAX];
};

#define TLS_PREFIX "tls://"
struct target {
	char text[sizeof TLS_PREFIX + AGI_ADDRESS_MAX];
	const char *address;   /* host:port, within it */
	const char *keeps_why; /* why the header "authorization" does not go there; NULL: it does */
};

struct forwarded {
	struct agi_forward *f;
	const char *role;
	struct agi_grpc_call *call; /* NULL: the client has gone, only the answer is waited for */
	bool is_finding;
	bool is_token_kept; /* the instance that is asked was not shown the client's */
	char path[PATH_MAX_BYTES];
	struct target targets[AGI_FORWARD_TRIES];
	size_t n_targets, at; /* at: the next one */
	struct agi_pooled *channel;        /* while out is open */
	struct agi_grpc_client_call *out;
	LIST_ENTRY(forwarded) link;
};

struct agi_forward {
	struct agi_forward_cfg cfg;
	struct agi_channel_pool *pool;
	struct route routes[SERVICES];
	LIST_HEAD(, forwarded) open;
	uint32_t n_open;
};

static void forget(struct forwarded *c)
{
	LIST_REMOVE(c, link);
	c->f->n_open--;
	free(c);
}

/* Ends the call for the client. */
static void refuse(struct forwarded *c, enum agi_grpc_status status, const char *detail)
{
	agi_grpc_call_on_cancel(c->call, NULL, NULL);
	agi_grpc_fail(c->call, status, "role %s does not run on this node; %s", c->role, detail);
	forget(c);
}

/* --- the answer ---------------------------------------------------------------------------------------------- */
static void ask_next(struct forwarded *c, const char *failed);

/* grpc-status-details-bin is the application's, though its name is the protocol's. */
static bool is_handed_back(struct agi_str name)
{
	return agi_str_eq(name, AGI_STR("grpc-status-details-bin")) ||
	       (!agi_meta_is_reserved(name) && !agi_str_eq(name, AGI_STR("content-length")));
}

/* The instance asks for a token, and the client has sent one: it is told why that did not arrive. */
static struct agi_str tell_why_kept(const struct forwarded *c, struct agi_str text, char *to, size_t room)
{
	int n = snprintf(to, room, "%.*s (this node did not hand the call's token on: %s)",
	                 (int)(text.n < 512 ? text.n : 512), text.n ? text.p : "",
	                 c->targets[c->at - 1].keeps_why);

	return (struct agi_str){to, (size_t)n < room ? (size_t)n : room - 1};
}

static void hand_back(struct forwarded *c, const struct agi_grpc_raw_result *r)
{
	struct agi_str name, value, text = r->message;
	size_t at = 0, began = 0;
	char z[256], why[768];

	for (; agi_pairs_next(r->metadata, &at, &name, &value); began = at) {
		if (!is_handed_back(name) || name.n >= sizeof z)
			continue;
		snprintf(z, sizeof z, "%.*s", AGI_STR_ARG(name));
		if (began < r->trailers_at)
			agi_grpc_call_add_header(c->call, z, value);
		else
			agi_grpc_call_add_trailer(c->call, z, value);
	}
	if (c->is_token_kept && r->status == AGI_GRPC_UNAUTHENTICATED)
		text = tell_why_kept(c, text, why, sizeof why);
	agi_grpc_call_on_cancel(c->call, NULL, NULL);
	agi_grpc_relay(c->call, r->status, text, r->res);
	forget(c);
}

static void on_answer(void *arg, const struct agi_grpc_raw_result *r)
{
	struct forwarded *c = arg;
	char text[256];

	agi_channel_pool_put(c->f->pool, c->channel);
	c->channel = NULL;
	c->out = NULL;
	if (!c->call) {
		forget(c);
	} else if (r->is_unsent && r->status == AGI_GRPC_UNAVAILABLE) {
		snprintf(text, sizeof text, "%.*s", AGI_STR_ARG(r->message));
		ask_next(c, text);
	} else {
		hand_back(c, r);
	}
}

/* --- the request --------------------------------------------------------------------------------------------- */
/* What belongs to one connection, or says who we are ourselves. */
static bool is_ours(struct agi_str name)
{
	return agi_str_eq(name, AGI_STR("user-agent")) ||
	       agi_str_eq(name, AGI_STR("content-length")) || agi_str_eq(name, AGI_STR("host")) ||
	       agi_str_eq(name, AGI_STR(AGI_FORWARD_HEADER));
}

static void copy_metadata(struct forwarded *c, const struct target *t, struct agi_buf *out)
{
	struct agi_str name, value;
	size_t at = 0;

	c->is_token_kept = false;
	while (agi_grpc_call_metadata_next(c->call, &at, &name, &value)) {
		if (is_ours(name))
			continue;
		if (t->keeps_why && agi_str_eq(name, AGI_STR("authorization")))
			c->is_token_kept = true;
		else
			(void)!agi_meta_give(out, name, value);
	}
	(void)!agi_meta_give(out, AGI_STR(AGI_FORWARD_HEADER), AGI_STR("1"));
}

static uint32_t timeout_of(const struct forwarded *c)
{
	uint32_t left = agi_grpc_call_left_ms(c->call);

	if (left == UINT32_MAX)
		return AGI_FORWARD_MAX_MS;
	return left ? left : 1;
}

static enum agi_err open_channel(struct forwarded *c, const struct target *t, struct agi_why *why)
{
	const struct agi_forward_cfg *cfg = &c->f->cfg;
	enum agi_err e = agi_channel_pool_get(c->f->pool, agi_str_of(t->text), &c->channel, why);

	if (e)
		return e;
	agi_grpc_channel_set_recv_max(agi_pooled_channel(c->channel), cfg->answer_bytes_max);
	if (t->text != t->address && cfg->tls)
		agi_grpc_channel_set_tls(agi_pooled_channel(c->channel), cfg->tls(cfg->ctx));
	return AGI_OK;
}

static enum agi_err ask(struct forwarded *c, const struct target *t, struct agi_why *why)
{
	struct agi_buf metadata;
	enum agi_err e = open_channel(c, t, why);

	if (e)
		return e;
	agi_buf_init(&metadata, 0);
	copy_metadata(c, t, &metadata);
	e = metadata.err;
	if (!e)
		e = agi_grpc_unary_raw(agi_pooled_channel(c->channel), c->path,
		                       agi_grpc_call_bytes(c->call), &metadata, timeout_of(c),
		                       on_answer, c, &c->out);
	agi_buf_free(&metadata);
	if (!e)
		return AGI_OK;
	agi_channel_pool_put(c->f->pool, c->channel);
	c->channel = NULL;
	return agi_fail(why, e, "%s", agi_err_text(e));
}

/* failed: what was wrong with the one before; "" at first. */
static void ask_next(struct forwarded *c, const char *failed)
{
	struct agi_why why;
	char text[768];

	agi_fail(&why, AGI_OK, "%s", failed);
	while (c->at < c->n_targets) {
		const struct target *t = &c->targets[c->at++];

		if (ask(c, t, &why) == AGI_OK)
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

static void take_targets(struct forwarded *c, const struct agi_instance *instances, size_t n)
{
	for (size_t i = 0; i < n && c->n_targets < AGI_FORWARD_TRIES; i++) {
		const struct agi_provider *p = instances[i].provider;
		struct target *t = &c->targets[c->n_targets];
		size_t skip = p->traits & AGI_PROVIDER_TLS ? sizeof TLS_PREFIX - 1 : 0;

		if (p->address.n > AGI_ADDRESS_MAX)
			continue;
		memcpy(t->text, TLS_PREFIX, skip);
		memcpy(t->text + skip, p->address.p, p->address.n);
		t->address = t->text + skip;
		t->keeps_why = why_kept(&c->f->cfg, p);
		c->n_targets++;
	}
}

static void on_found(void *arg, const struct agi_instance *instances, size_t n)
{
	struct forwarded *c = arg;
	char text[AGI_ADDRESS_MAX + 64];

	c->is_finding = false;
	if (!c->call) {
		forget(c);
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
		ask_next(c, "");
	}
}

static void on_cancel(void *arg)
{
	struct forwarded *c = arg;
	struct agi_grpc_call *call = c->call;

	c->call = NULL;
	if (c->out)
		agi_grpc_unary_cancel(c->out); /* on_answer follows */
	agi_grpc_fail(call, AGI_GRPC_CANCELLED, "cancelled");
}

static void on_call(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const struct route *r = ctx;
	struct agi_forward *f = r->f;
	struct forwarded *c;
	uint32_t left;
	(void)req;

	if (f->n_open >= AGI_FORWARD_CALLS_MAX) {
		agi_grpc_fail(call, AGI_GRPC_RESOURCE_EXHAUSTED,
		              "role %s does not run on this node; %d calls are being forwarded, no more at a time",
		              r->role, AGI_FORWARD_CALLS_MAX);
		return;
	}
	c = calloc(1, sizeof *c);
	if (!c) {
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
		return;
	}
	c->f = f;
	c->role = r->role;
	c->call = call;
	LIST_INSERT_HEAD(&f->open, c, link);
	f->n_open++;
	snprintf(c->path, sizeof c->path, "%.*s", AGI_STR_ARG(agi_grpc_call_path(call)));
	if (agi_grpc_call_metadata(call, AGI_FORWARD_HEADER).p) {
		refuse(c, AGI_GRPC_UNAVAILABLE, "the call was forwarded here and goes no further");
		return;
	}
	agi_grpc_call_on_cancel(call, on_cancel, c);
	c->is_finding = true;
	left = timeout_of(c);
	f->cfg.find(f->cfg.ctx, agi_str_of(r->role),
	            left < AGI_FORWARD_FIND_MS ? left : AGI_FORWARD_FIND_MS, on_found, c);
}

/* --- life ------------------------------------------------------------------------------------------------------ */
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
	const ProtobufCServiceDescriptor *desc = services[i].desc;
	struct route *r = &f->routes[i];
	size_t n = desc->n_methods;

	if (n > METHODS_MAX)
		return AGI_E_INTERNAL;
	r->f = f;
	r->role = services[i].role;
	for (size_t k = 0; k < n; k++)
		r->methods[k] = (struct agi_grpc_method){
		    .name = desc->methods[k].name, .handler = on_call, .is_raw = true};
	return agi_grpc_server_add(server, desc, r->methods, n, r);
}

enum agi_err agi_forward_serve(struct agi_forward *f, struct agi_grpc_server *server)
{
	enum agi_err e = AGI_OK;

	for (size_t i = 0; i < SERVICES && !e; i++)
		if (!f->cfg.runs_here(f->cfg.ctx, services[i].role))
			e = serve(f, i, server);
	return e;
}

uint32_t agi_forward_count(const struct agi_forward *f) { return f->n_open; }

void agi_forward_free(struct agi_forward *f)
{
	struct forwarded *c;

	if (!f)
		return;
	agi_channel_pool_free(f->pool); /* ends what is being asked */
	while ((c = LIST_FIRST(&f->open)) != NULL)
		forget(c); /* was looking for instances; its client was told when the server went */
	free(f);
}
