/* SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc_server.h"

#include <assert.h>
#include <stdlib.h>

#include "base/limits.h"

/* --- routes ---------------------------------------------------------------------------------- */
static uint64_t hash_of(struct agi_str s) /* FNV-1a, 64 bit */
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (uint8_t)s.p[i]) * 0x100000001b3ull;
	return h;
}

const struct agi_grpc_route *agi_grpc_route_find(const struct agi_grpc_server *s,
						 struct agi_str path)
{
	uint64_t hash = hash_of(path);

	for (size_t i = hash; s->cap_routes; i++) {
		const struct agi_grpc_route *r = &s->routes[i & (s->cap_routes - 1)];

		if (!r->path.p)
			return NULL;
		if (r->hash == hash && agi_str_eq(r->path, path))
			return r;
	}
	return NULL;
}

static void insert_route(struct agi_grpc_server *s, const struct agi_grpc_route *r)
{
	size_t i = r->hash;

	while (s->routes[i & (s->cap_routes - 1)].path.p)
		i++;
	s->routes[i & (s->cap_routes - 1)] = *r;
	s->n_routes++;
}

/* At most half full, so that a search ends soon and always. */
static enum agi_err reserve_routes(struct agi_grpc_server *s, size_t more)
{
	struct agi_grpc_route *old = s->routes;
	size_t cap = s->cap_routes ? s->cap_routes : 64, n = s->cap_routes;

	while (cap < 2 * (s->n_routes + more))
		cap *= 2;
	if (cap == s->cap_routes)
		return AGI_OK;
	s->routes = calloc(cap, sizeof *s->routes);
	if (!s->routes) {
		s->routes = old;
		return AGI_E_NOMEM;
	}
	s->cap_routes = cap;
	s->n_routes = 0;
	for (size_t i = 0; i < n; i++)
		if (old[i].path.p)
			insert_route(s, &old[i]);
	free(old);
	return AGI_OK;
}

static const struct agi_grpc_method *method_of(const struct agi_grpc_method *methods, size_t n,
					       const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(methods[i].name, name) == 0)
			return &methods[i];
	return NULL;
}

/* Takes r->path. */
static enum agi_err put_route(struct agi_grpc_server *s, struct agi_grpc_route *r, enum agi_err err)
{
	if (err) {
		free((char *)r->path.p);
		return err;
	}
	r->hash = hash_of(r->path);
	assert(!agi_grpc_route_find(s, r->path)); /* a service is added once */
	if (s->guard)
		r->needs = s->needs(r->service, r->method);
	insert_route(s, r);
	return AGI_OK;
}

static enum agi_err add_route(struct agi_grpc_server *s, const ProtobufCServiceDescriptor *desc,
			      const ProtobufCMethodDescriptor *m,
			      const struct agi_grpc_method *method, void *ctx)
{
	struct agi_buf path;
	struct agi_grpc_route r = {
	    .service = desc->name, .method = m->name, .input = m->input, .ctx = ctx};

	if (method) {
		bool opens =
		    method->kind == AGI_GRPC_CLIENT_STREAM || method->kind == AGI_GRPC_BIDI;

		assert(opens ? method->open && !method->handler : method->handler && !method->open);
		r.kind = method->kind;
		r.is_raw = method->is_raw;
		assert(!r.is_raw || !opens);
		r.handler = method->handler;
		r.open = method->open;
	}
	agi_buf_init(&path, 0);
	agi_buf_printf(&path, "/%s/%s", desc->name, m->name);
	r.path = agi_buf_str(&path);
	return put_route(s, &r, path.err);
}

static enum agi_err add_service(struct agi_grpc_server *s, const char *name)
{
	const char **more = realloc(s->services, (s->n_services + 1) * sizeof *more);

	if (!more)
		return AGI_E_NOMEM;
	s->services = more;
	s->services[s->n_services++] = name;
	return AGI_OK;
}

enum agi_err agi_grpc_server_add(struct agi_grpc_server *s, const ProtobufCServiceDescriptor *desc,
				 const struct agi_grpc_method *methods, size_t n, void *ctx)
{
	enum agi_err e = reserve_routes(s, desc->n_methods);

	if (!e)
		e = add_service(s, desc->name);
	for (unsigned i = 0; i < desc->n_methods && !e; i++)
		e = add_route(s, desc, &desc->methods[i],
			      method_of(methods, n, desc->methods[i].name), ctx);
	return e;
}

static bool has_service(const struct agi_grpc_server *s, const char *name)
{
	for (size_t i = 0; i < s->n_services; i++)
		if (strcmp(s->services[i], name) == 0)
			return true;
	return false;
}

static enum agi_err add_other(struct agi_grpc_server *s, struct agi_grpc_route r, agi_grpc_handler_fn *handler,
			      agi_grpc_open_fn *open, void *ctx)
{
	struct agi_buf path;

	agi_buf_init(&path, 0);
	agi_buf_put_str(&path, r.path);
	r.path = agi_buf_str(&path);
	if (r.handler)
		r.handler = handler;
	else if (r.open)
		r.open = open;
	r.ctx = ctx;
	return put_route(s, &r, path.err);
}

enum agi_err agi_grpc_server_add_others(struct agi_grpc_server *s, const struct agi_grpc_server *other,
					agi_grpc_handler_fn *handler, agi_grpc_open_fn *open, void *ctx)
{
	enum agi_err e = reserve_routes(s, other->n_routes);

	for (size_t i = 0; i < other->n_services && !e; i++)
		if (!has_service(s, other->services[i]))
			e = add_service(s, other->services[i]);
	for (size_t i = 0; i < other->cap_routes && !e; i++)
		if (other->routes[i].path.p && !agi_grpc_route_find(s, other->routes[i].path))
			e = add_other(s, other->routes[i], handler, open, ctx);
	return e;
}

const char *agi_grpc_server_service(const struct agi_grpc_server *s, size_t i)
{
	return i < s->n_services ? s->services[i] : NULL;
}

/* --- handlers -------------------------------------------------------------------------------- */
void agi_grpc_server_pump(struct agi_grpc_server *s)
{
	struct agi_grpc_call *call;
	int n = 0;

	if (s->is_pumping)
		return;
	s->is_pumping = true;
	while ((call = TAILQ_FIRST(&s->ready)) != NULL && n++ < AGI_GRPC_PUMP_MAX)
		agi_grpc_call_dispatch(call);
	s->is_pumping = false;
	if (call)
		event_active(s->pump, EV_TIMEOUT, 0);
}

static void on_pump(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	agi_grpc_server_pump(arg);
}

/* --- once a second --------------------------------------------------------------------------- */
static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct agi_grpc_server *s = arg;
	struct agi_grpc_conn *c, *next;
	uint64_t now = agi_h2_now_us();

	(void)fd;
	(void)what;
	for (c = LIST_FIRST(&s->conns); c; c = next) {
		next = LIST_NEXT(c, link);
		agi_grpc_conn_sweep(c, now);
	}
}

void agi_grpc_server_drain(struct agi_grpc_server *s)
{
	struct agi_grpc_conn *c;

	s->is_draining = true;
	LIST_FOREACH(c, &s->conns, link)
	agi_grpc_conn_go(c);
}

/* --- life ------------------------------------------------------------------------------------ */
static enum agi_err make_callbacks(struct agi_grpc_server *s)
{
	s->callbacks = agi_grpc_conn_callbacks();
	if (!s->callbacks || nghttp2_option_new(&s->option) != 0)
		return AGI_E_NOMEM;
	nghttp2_option_set_no_auto_window_update(s->option, 1);
	nghttp2_option_set_no_closed_streams(s->option, 1);
	/* net/h2_guard.h counts resets, of both sides */
	nghttp2_option_set_stream_reset_rate_limit(s->option, UINT32_MAX, UINT32_MAX);
	return AGI_OK;
}

static uint64_t greater(uint64_t a, uint64_t b) { return a > b ? a : b; }

static uint32_t or_default(uint32_t given, uint32_t preset) { return given ? given : preset; }

static void set_defaults(struct agi_grpc_server_cfg *cfg)
{
	cfg->recv_max_bytes = or_default(cfg->recv_max_bytes, AGI_GRPC_RECV_DEFAULT);
	cfg->streams_max = or_default(cfg->streams_max, AGI_GRPC_STREAMS_DEFAULT);
	cfg->connections_max = or_default(cfg->connections_max, AGI_GRPC_CONNECTIONS_DEFAULT);
	cfg->header_bytes_max = or_default(cfg->header_bytes_max, AGI_GRPC_HEADER_BYTES_DEFAULT);
	cfg->calls_max = or_default(cfg->calls_max, AGI_GRPC_CALLS_DEFAULT);
	cfg->keepalive_ms = or_default(cfg->keepalive_ms, AGI_GRPC_KEEPALIVE_MS);
	cfg->keepalive_timeout_ms =
	    or_default(cfg->keepalive_timeout_ms, AGI_GRPC_KEEPALIVE_TIMEOUT_MS);
	cfg->compress_min_bytes = or_default(cfg->compress_min_bytes, AGI_GRPC_COMPRESS_MIN);
	if (!cfg->conn_bytes_max)
		cfg->conn_bytes_max =
		    greater(AGI_GRPC_CONN_BYTES_DEFAULT, 2 * (uint64_t)cfg->recv_max_bytes);
}

enum agi_err agi_grpc_server_new(struct event_base *base, const struct agi_grpc_server_cfg *cfg,
				 struct agi_grpc_server **out)
{
	struct agi_grpc_server *s = calloc(1, sizeof *s);
	const struct timeval second = {1, 0};

	if (!s)
		return AGI_E_NOMEM;
	s->cfg = *cfg;
	set_defaults(&s->cfg);
	s->request_bytes_max =
	    greater(AGI_GRPC_REQUEST_BYTES_MAX, 4 * (uint64_t)s->cfg.recv_max_bytes);
	TAILQ_INIT(&s->ready);
	LIST_INIT(&s->conns);
	LIST_INIT(&s->orphans);
	TAILQ_INIT(&s->pool);
	if (make_callbacks(s) || agi_h2_loop_init(&s->loop, base))
		goto fail;
	s->sweep = event_new(base, -1, EV_PERSIST, on_sweep, s);
	s->pump = event_new(base, -1, 0, on_pump, s);
	if (!s->pump || !s->sweep || event_add(s->sweep, &second) != 0)
		goto fail;
	*out = s;
	return AGI_OK;
fail:
	agi_grpc_server_free(s);
	return AGI_E_NOMEM;
}

void agi_grpc_server_serve_http(struct agi_grpc_server *s, struct agi_http *http)
{
	s->http = http;
}

void agi_grpc_server_guard(struct agi_grpc_server *s, agi_grpc_needs_fn *needs,
			   agi_grpc_guard_fn *fn, void *ctx)
{
	s->needs = needs;
	s->guard = fn;
	s->guard_ctx = ctx;
	for (size_t i = 0; i < s->cap_routes; i++)
		if (s->routes[i].path.p)
			s->routes[i].needs = needs(s->routes[i].service, s->routes[i].method);
}

void agi_grpc_server_observe(struct agi_grpc_server *s, agi_grpc_observe_fn *fn, void *ctx)
{
	s->observe = fn;
	s->observe_ctx = ctx;
}

void agi_grpc_server_free(struct agi_grpc_server *s)
{
	struct agi_grpc_conn *c;
	struct agi_grpc_call *call;

	if (!s)
		return;
	while ((c = LIST_FIRST(&s->conns)) != NULL)
		agi_grpc_conn_free(c);
	while ((call = LIST_FIRST(&s->orphans)) != NULL) {
		call->is_finished = true;
		agi_grpc_call_tell(call); /* those of other loops have not heard of it; may free call */
		if (call == LIST_FIRST(&s->orphans))
			agi_grpc_call_orphan(call);
	}
	while ((call = TAILQ_FIRST(&s->pool)) != NULL) {
		TAILQ_REMOVE(&s->pool, call, ready_link);
		call->server = NULL;
		agi_grpc_call_destroy(call);
	}
	if (s->sweep)
		event_free(s->sweep);
	if (s->pump)
		event_free(s->pump);
	agi_grpc_packer_free(s->packer);
	agi_h2_loop_free(&s->loop);
	nghttp2_session_callbacks_del(s->callbacks);
	nghttp2_option_del(s->option);
	for (size_t i = 0; i < s->cap_routes; i++)
		free((char *)s->routes[i].path.p);
	free(s->routes);
	free(s->services);
	free(s);
}
