/* SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc_server.h"

#include <assert.h>
#include <stdlib.h>

#include "base/limits.h"

/* --- routes ------------------------------------------------------------------------------------------------ */
static uint64_t hash_of(struct agi_str s) /* FNV-1a, 64 bit */
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (uint8_t)s.p[i]) * 0x100000001b3ull;
	return h;
}

const struct agi_grpc_route *agi_grpc_route_find(const struct agi_grpc_server *s, struct agi_str path)
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

static agi_grpc_handler_fn *handler_of(const struct agi_grpc_method *methods, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(methods[i].name, name) == 0)
			return methods[i].handler;
	return NULL;
}

static enum agi_err add_route(struct agi_grpc_server *s, const ProtobufCServiceDescriptor *desc,
                              const ProtobufCMethodDescriptor *m, agi_grpc_handler_fn *handler, void *ctx)
{
	struct agi_buf path;
	struct agi_grpc_route r = {.service = desc->name, .method = m->name, .input = m->input,
	                           .handler = handler, .ctx = ctx};

	agi_buf_init(&path, 0);
	agi_buf_printf(&path, "/%s/%s", desc->name, m->name);
	if (path.err)
		return path.err;
	r.path = agi_buf_str(&path); /* the table owns it from here */
	r.hash = hash_of(r.path);
	assert(!agi_grpc_route_find(s, r.path)); /* a service is added once */
	insert_route(s, &r);
	return AGI_OK;
}

enum agi_err agi_grpc_server_add(struct agi_grpc_server *s, const ProtobufCServiceDescriptor *desc,
                                 const struct agi_grpc_method *methods, size_t n, void *ctx)
{
	enum agi_err e = reserve_routes(s, desc->n_methods);

	for (unsigned i = 0; i < desc->n_methods && !e; i++)
		e = add_route(s, desc, &desc->methods[i], handler_of(methods, n, desc->methods[i].name), ctx);
	return e;
}

/* --- nghttp2 callbacks ------------------------------------------------------------------------------------ */
static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct agi_grpc_conn *c = arg;
	struct agi_grpc_call *call;

	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	call = agi_grpc_call_new(c, frame->hd.stream_id);
	if (!call)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	(void)nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
	return 0;
}

static struct agi_grpc_call *call_of(nghttp2_session *session, int32_t stream_id)
{
	return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_bytes,
                     const uint8_t *value, size_t value_bytes, uint8_t flags, void *arg)
{
	struct agi_grpc_call *call;

	(void)flags;
	(void)arg;
	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	call = call_of(session, frame->hd.stream_id);
	if (call && agi_grpc_call_header(call, (struct agi_str){(const char *)name, name_bytes},
	                                 (struct agi_str){(const char *)value, value_bytes}))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *p, size_t n,
                   void *arg)
{
	struct agi_grpc_call *call = call_of(session, stream_id);

	(void)flags;
	(void)arg;
	if (call)
		agi_grpc_call_data(call, (struct agi_str){(const char *)p, n});
	return nghttp2_session_consume(session, stream_id, n) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct agi_grpc_conn *c = arg;
	struct agi_grpc_call *call;

	if (frame->hd.type == NGHTTP2_PING) {
		c->pings += !(frame->hd.flags & NGHTTP2_FLAG_ACK);
		return 0;
	}
	c->has_settings |= frame->hd.type == NGHTTP2_SETTINGS;
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	c->frames++;
	call = call_of(session, frame->hd.stream_id);
	if (!call)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		agi_grpc_call_headers_done(call);
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		agi_grpc_call_request_done(call);
	return 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct agi_grpc_call *call;

	(void)arg;
	if (frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	call = call_of(session, frame->hd.stream_id);
	if (call)
		agi_grpc_call_sent(call);
	return 0;
}

static int on_stream_closed(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *arg)
{
	struct agi_grpc_call *call = call_of(session, stream_id);

	(void)error_code;
	(void)arg;
	if (call)
		agi_grpc_call_closed(call);
	return 0;
}

/* --- connections -------------------------------------------------------------------------------------------- */
static void free_conn(struct agi_grpc_conn *c)
{
	struct agi_grpc_call *call;

	LIST_REMOVE(c, link);
	c->server->n_conns--;
	while ((call = LIST_FIRST(&c->calls)) != NULL)
		agi_grpc_call_closed(call);
	agi_h2_close(&c->h2);
	free(c);
}

static void on_closed(void *ctx, const struct agi_why *why)
{
	(void)why;
	free_conn(ctx);
}

static void after_read(void *ctx)
{
	struct agi_grpc_conn *c = ctx;
	struct agi_grpc_call *call;

	while ((call = TAILQ_FIRST(&c->ready)) != NULL)
		agi_grpc_call_dispatch(call);
}

static const struct agi_h2_ops ops = {.after_read = after_read, .on_closed = on_closed};

/* Takes t. */
static enum agi_err start_session(struct agi_grpc_conn *c, struct agi_transport *t)
{
	struct agi_grpc_server *s = c->server;
	const nghttp2_settings_entry settings[] = {
	    {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, s->cfg.streams_max},
	    {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, AGI_H2_STREAM_WINDOW},
	    {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, s->cfg.header_bytes_max}};
	nghttp2_session *session;

	if (nghttp2_session_server_new2(&session, s->callbacks, c, s->option) != 0) {
		agi_transport_close(t);
		return AGI_E_NOMEM;
	}
	if (nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings) ||
	    nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, AGI_H2_CONN_WINDOW)) {
		nghttp2_session_del(session);
		agi_transport_close(t);
		return AGI_E_NOMEM;
	}
	return agi_h2_open(&c->h2, &s->loop, t, session, &ops, c);
}

void agi_grpc_server_accept(struct agi_grpc_server *s, int fd, const struct agi_addr *remote)
{
	struct agi_transport *t = agi_transport_tcp(fd, remote);

	if (t)
		agi_grpc_server_take(s, t);
}

void agi_grpc_server_take(struct agi_grpc_server *s, struct agi_transport *t)
{
	struct agi_grpc_conn *c = NULL;

	if (!s->is_draining && s->n_conns < s->cfg.connections_max)
		c = calloc(1, sizeof *c);
	if (!c) {
		agi_transport_close(t);
		return;
	}
	c->server = s;
	c->remote = agi_transport_peer(t)->addr;
	c->opened_us = agi_h2_now_us();
	LIST_INIT(&c->calls);
	TAILQ_INIT(&c->ready);
	LIST_INSERT_HEAD(&s->conns, c, link);
	s->n_conns++;
	if (start_session(c, t))
		free_conn(c);
}

/* --- the sweep: once a second, what nobody else notices --------------------------------------------------- */
static void end_connection(struct agi_grpc_conn *c, uint32_t error_code)
{
	(void)nghttp2_session_terminate_session(c->h2.session, error_code);
	agi_h2_wake(&c->h2);
}

static void go_away(struct agi_grpc_conn *c)
{
	if (c->n_calls == 0) {
		end_connection(c, NGHTTP2_NO_ERROR);
	} else if (!c->is_going) {
		c->is_going = true;
		(void)nghttp2_submit_shutdown_notice(c->h2.session);
	} else if (!c->is_gone) { /* a second later: requests that were on the way have come */
		c->is_gone = true;
		(void)nghttp2_submit_goaway(c->h2.session, NGHTTP2_FLAG_NONE,
		                            nghttp2_session_get_last_proc_stream_id(c->h2.session),
		                            NGHTTP2_NO_ERROR, NULL, 0);
	}
	agi_h2_wake(&c->h2);
}

static void expire_requests(struct agi_grpc_conn *c, uint64_t now)
{
	struct agi_grpc_call *call;

	LIST_FOREACH(call, &c->calls, link)
		if (call->state == AGI_CALL_RECEIVING &&
		    now - call->start_us > (uint64_t)AGI_GRPC_RECEIVE_MS * 1000)
			agi_grpc_call_expire(call);
}

/* True when the connection is dead and must go at once. */
static bool is_dead(struct agi_grpc_conn *c, uint64_t now)
{
	uint64_t quiet_ms = (now - c->h2.last_in_us) / 1000;

	if (!c->has_settings && now - c->opened_us > (uint64_t)AGI_GRPC_PREFACE_MS * 1000)
		return true;
	if (c->h2.unsent && now - c->h2.last_out_us > (uint64_t)AGI_GRPC_STALL_MS * 1000)
		return true;
	if (quiet_ms < AGI_GRPC_QUIET_MS) {
		c->is_pinged = false;
		return false;
	}
	if (c->n_calls == 0) {
		if (quiet_ms > AGI_GRPC_IDLE_MS)
			end_connection(c, NGHTTP2_NO_ERROR);
		return quiet_ms > AGI_GRPC_IDLE_MS + AGI_GRPC_PING_MS;
	}
	if (!c->is_pinged && !c->h2.is_paused) {
		c->is_pinged = true;
		(void)nghttp2_submit_ping(c->h2.session, NGHTTP2_FLAG_NONE, NULL);
		agi_h2_wake(&c->h2);
	}
	return c->is_pinged && quiet_ms > AGI_GRPC_QUIET_MS + AGI_GRPC_PING_MS;
}

static void sweep_conn(struct agi_grpc_conn *c, uint64_t now)
{
	if (is_dead(c, now)) {
		free_conn(c);
		return;
	}
	if (c->pings > AGI_GRPC_PINGS_PER_S && c->pings > c->frames)
		end_connection(c, NGHTTP2_ENHANCE_YOUR_CALM);
	c->pings = c->frames = 0;
	expire_requests(c, now);
	if (c->server->is_draining)
		go_away(c);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct agi_grpc_server *s = arg;
	struct agi_grpc_conn *c, *next;
	uint64_t now = agi_h2_now_us();

	(void)fd;
	(void)what;
	for (c = LIST_FIRST(&s->conns); c; c = next) {
		next = LIST_NEXT(c, link);
		sweep_conn(c, now);
	}
}

void agi_grpc_server_drain(struct agi_grpc_server *s)
{
	struct agi_grpc_conn *c;

	s->is_draining = true;
	LIST_FOREACH(c, &s->conns, link)
		go_away(c);
}

/* --- life ---------------------------------------------------------------------------------------------- */
static enum agi_err make_callbacks(struct agi_grpc_server *s)
{
	nghttp2_session_callbacks *cb;

	if (nghttp2_session_callbacks_new(&s->callbacks) != 0 || nghttp2_option_new(&s->option) != 0)
		return AGI_E_NOMEM;
	cb = s->callbacks;
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_sent);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_closed);
	nghttp2_option_set_no_auto_window_update(s->option, 1);
	nghttp2_option_set_no_closed_streams(s->option, 1);
	nghttp2_option_set_stream_reset_rate_limit(s->option, AGI_GRPC_RESETS_BURST, AGI_GRPC_RESETS_PER_S);
	return AGI_OK;
}

static void set_defaults(struct agi_grpc_server_cfg *cfg)
{
	if (!cfg->recv_max_bytes)
		cfg->recv_max_bytes = AGI_GRPC_RECV_DEFAULT;
	if (!cfg->streams_max)
		cfg->streams_max = AGI_GRPC_STREAMS_DEFAULT;
	if (!cfg->connections_max)
		cfg->connections_max = AGI_GRPC_CONNECTIONS_DEFAULT;
	if (!cfg->header_bytes_max)
		cfg->header_bytes_max = AGI_GRPC_HEADER_BYTES_DEFAULT;
	if (!cfg->calls_max)
		cfg->calls_max = AGI_GRPC_CALLS_DEFAULT;
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
	LIST_INIT(&s->conns);
	LIST_INIT(&s->orphans);
	TAILQ_INIT(&s->pool);
	if (make_callbacks(s) || agi_h2_loop_init(&s->loop, base))
		goto fail;
	s->sweep = event_new(base, -1, EV_PERSIST, on_sweep, s);
	if (!s->sweep || event_add(s->sweep, &second) != 0)
		goto fail;
	*out = s;
	return AGI_OK;
fail:
	agi_grpc_server_free(s);
	return AGI_E_NOMEM;
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
		free_conn(c);
	while ((call = LIST_FIRST(&s->orphans)) != NULL)
		agi_grpc_call_orphan(call);
	while ((call = TAILQ_FIRST(&s->pool)) != NULL) {
		TAILQ_REMOVE(&s->pool, call, ready_link);
		call->server = NULL;
		agi_grpc_call_destroy(call);
	}
	if (s->sweep)
		event_free(s->sweep);
	agi_h2_loop_free(&s->loop);
	nghttp2_session_callbacks_del(s->callbacks);
	nghttp2_option_del(s->option);
	for (size_t i = 0; i < s->cap_routes; i++)
		free((char *)s->routes[i].path.p);
	free(s->routes);
	free(s);
}
