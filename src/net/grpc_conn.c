/* SPDX-License-Identifier: Apache-2.0
 * One connection of the gRPC server: from nghttp2's callbacks to calls, and its end. */
#include <stdlib.h>

#include "base/limits.h"
#include "net/grpc_server.h"

static const uint8_t going_mark[8] = "goaway?"; /* in the PING that follows the first GOAWAY */

/* --- going ----------------------------------------------------------------------------------- */
static void end_connection(struct agi_grpc_conn *c, uint32_t error_code)
{
	c->h2.is_held = false;
	(void)nghttp2_session_terminate_session(c->h2.session, error_code);
	agi_h2_wake(&c->h2);
}

/* Streams with a higher number than the last one taken were not looked at: clients may send those
 * calls again. */
static void go_finally(struct agi_grpc_conn *c)
{
	if (c->is_gone)
		return;
	c->is_gone = true;
	c->h2.is_held = false;
	(void)nghttp2_submit_goaway(c->h2.session, NGHTTP2_FLAG_NONE,
				    nghttp2_session_get_last_proc_stream_id(c->h2.session),
				    NGHTTP2_NO_ERROR, NULL, 0);
	agi_h2_wake(&c->h2);
}

void agi_grpc_conn_go(struct agi_grpc_conn *c)
{
	if (c->is_going)
		return;
	c->is_going = true;
	c->going_us = agi_h2_now_us();
	c->h2.is_held = true; /* with no stream open nghttp2 would be done now, but requests may be
				 on the way */
	(void)nghttp2_submit_shutdown_notice(c->h2.session);
	agi_h2_wake(&c->h2);
}

static void end_flood(struct agi_grpc_conn *c)
{
	static const char text[] =
	    "too_many_pings"; /* what gRPC clients look for: they ping less then */

	if (c->is_flooding)
		return;
	c->is_flooding = true;
	(void)nghttp2_submit_goaway(c->h2.session, NGHTTP2_FLAG_NONE,
				    nghttp2_session_get_last_proc_stream_id(c->h2.session),
				    NGHTTP2_ENHANCE_YOUR_CALM, (const uint8_t *)text,
				    sizeof text - 1);
	end_connection(c, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* --- pings ----------------------------------------------------------------------------------- */
static void allow_pings(struct agi_grpc_conn *c, uint32_t n)
{
	c->pings_allowed += n;
	if (c->pings_allowed > AGI_GRPC_PINGS_BURST)
		c->pings_allowed = AGI_GRPC_PINGS_BURST;
}

/* --- nghttp2 callbacks ----------------------------------------------------------------------- */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
	struct agi_grpc_conn *c = arg;

	c->h2.error_code = agi_h2_guard_begin(&c->guard, session, hd);
	return c->h2.error_code ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

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

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags,
		     void *arg)
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

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *p,
		   size_t n, void *arg)
{
	struct agi_grpc_call *call = call_of(session, stream_id);

	(void)flags;
	(void)arg;
	size_t used = n;

	if (call)
		used = agi_grpc_call_data(call, (struct agi_str){(const char *)p, n});
	if (nghttp2_session_consume_connection(session, n) ||
	    nghttp2_session_consume_stream(session, stream_id, used))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

static void on_ping(struct agi_grpc_conn *c, const nghttp2_frame *frame)
{
	if (frame->hd.flags & NGHTTP2_FLAG_ACK) {
		if (c->is_going &&
		    memcmp(frame->ping.opaque_data, going_mark, sizeof going_mark) == 0)
			go_finally(c);
	} else if (c->pings_allowed == 0) {
		end_flood(c);
	} else {
		c->pings_allowed--;
	}
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct agi_grpc_conn *c = arg;
	struct agi_grpc_call *call;

	if (frame->hd.type == NGHTTP2_PING)
		on_ping(c, frame);
	c->has_settings |= frame->hd.type == NGHTTP2_SETTINGS;
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	allow_pings(c, AGI_GRPC_PINGS_PER_FRAME);
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
	struct agi_grpc_conn *c = arg;
	struct agi_grpc_call *call;
	uint32_t error_code = agi_h2_guard_sent(&c->guard, frame, c->h2.last_in_us);

	if (error_code)
		(void)nghttp2_session_terminate_session(session, error_code);
	if (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA)
		allow_pings(c, AGI_GRPC_PINGS_PER_FRAME);
	if (frame->hd.type == NGHTTP2_GOAWAY && c->is_going &&
	    !c->is_gone) /* answered once it is read */
		(void)nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, going_mark);
	if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
	    !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	call = call_of(session, frame->hd.stream_id);
	if (call)
		agi_grpc_call_sent(call);
	return 0;
}

static int on_stream_closed(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
			    void *arg)
{
	struct agi_grpc_call *call = call_of(session, stream_id);

	(void)error_code;
	(void)arg;
	if (call)
		agi_grpc_call_closed(call);
	return 0;
}

nghttp2_session_callbacks *agi_grpc_conn_callbacks(void)
{
	nghttp2_session_callbacks *cb;

	if (nghttp2_session_callbacks_new(&cb) != 0)
		return NULL;
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_sent);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_closed);
	return cb;
}

/* --- connections ----------------------------------------------------------------------------- */
void agi_grpc_conn_free(struct agi_grpc_conn *c)
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
	agi_grpc_conn_free(ctx);
}

static void after_read(void *ctx) { agi_grpc_server_pump(((struct agi_grpc_conn *)ctx)->server); }

static uint32_t on_bytes(void *ctx, const uint8_t *p, size_t n)
{
	struct agi_grpc_conn *c = ctx;

	return agi_h2_guard_read(&c->guard, p, n, c->h2.last_in_us);
}

static const struct agi_h2_ops ops = {
    .on_bytes = on_bytes, .after_read = after_read, .on_closed = on_closed};

/* Takes t. */
static enum agi_err start_session(struct agi_grpc_conn *c, struct agi_transport *t)
{
	struct agi_grpc_server *s = c->server;
	const nghttp2_settings_entry settings[] = {
	    {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, s->cfg.streams_max},
	    {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, AGI_H2_STREAM_WINDOW},
	    {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, s->cfg.header_bytes_max}};
	nghttp2_session *session;

	if (nghttp2_session_server_new3(&session, s->callbacks, c, s->option, &s->loop.mem.fns) != 0) {
		agi_transport_close(t);
		return AGI_E_NOMEM;
	}
	if (nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings,
				    sizeof settings / sizeof *settings) ||
	    nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
						  AGI_H2_CONN_WINDOW)) {
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
	agi_h2_guard_init(&c->guard, c->opened_us);
	c->pings_allowed = AGI_GRPC_PINGS_BURST;
	c->window = AGI_H2_CONN_WINDOW;
	LIST_INIT(&c->calls);
	TAILQ_INIT(&c->held);
	LIST_INSERT_HEAD(&s->conns, c, link);
	s->n_conns++;
	if (start_session(c, t))
		agi_grpc_conn_free(c);
}

/* --- the sweep ------------------------------------------------------------------------------- */
static void sweep_calls(struct agi_grpc_conn *c, uint64_t now)
{
	struct agi_grpc_call *call;

	LIST_FOREACH(call, &c->calls, link)
	agi_grpc_call_sweep(call, now);
}

/* True when the connection is dead and must go at once. */
static bool is_dead(struct agi_grpc_conn *c, uint64_t now)
{
	const struct agi_grpc_server_cfg *cfg = &c->server->cfg;
	uint64_t quiet_ms = (now - c->h2.last_in_us) / 1000;

	if (!c->has_settings && now - c->opened_us > (uint64_t)AGI_GRPC_PREFACE_MS * 1000)
		return true;
	if (c->h2.unsent && now - c->h2.last_out_us > (uint64_t)AGI_GRPC_STALL_MS * 1000)
		return true;
	if (quiet_ms < cfg->keepalive_ms || c->h2.last_in_us > c->pinged_us)
		c->is_pinged = false;
	if (quiet_ms < cfg->keepalive_ms)
		return false;
	if (c->n_calls == 0) {
		if (quiet_ms > AGI_GRPC_IDLE_MS)
			agi_grpc_conn_go(c);
		return quiet_ms > AGI_GRPC_IDLE_MS + cfg->keepalive_timeout_ms;
	}
	if (!c->is_pinged && !c->h2.is_paused) {
		c->is_pinged = true;
		c->pinged_us = now;
		(void)nghttp2_submit_ping(c->h2.session, NGHTTP2_FLAG_NONE, NULL);
		agi_h2_wake(&c->h2);
	}
	return c->is_pinged && now - c->pinged_us > (uint64_t)cfg->keepalive_timeout_ms * 1000;
}

/* Up to a tenth less than the maximum, by chance of the time it was opened. */
static uint64_t age_max_ms(const struct agi_grpc_conn *c)
{
	uint64_t max = c->server->cfg.age_max_ms;

	return max - max * (c->opened_us % 1000) / 1000 * AGI_GRPC_AGE_SPREAD / 100;
}

static void look_at_age(struct agi_grpc_conn *c, uint64_t now)
{
	uint64_t grace_ms = c->server->cfg.age_grace_ms;

	if (c->server->cfg.age_max_ms && now - c->opened_us > age_max_ms(c) * 1000)
		agi_grpc_conn_go(c);
	if (c->is_going && now - c->going_us > 1000000)
		go_finally(c); /* whether or not the PING came back */
	if (c->is_going && !c->server->is_draining && grace_ms &&
	    now - c->going_us > grace_ms * 1000)
		end_connection(c, NGHTTP2_NO_ERROR);
}

void agi_grpc_conn_sweep(struct agi_grpc_conn *c, uint64_t now_us)
{
	if (is_dead(c, now_us)) {
		agi_grpc_conn_free(c);
		return;
	}
	if (agi_h2_guard_is_stuck(&c->guard, c->h2.is_paused, now_us))
		end_connection(c, NGHTTP2_ENHANCE_YOUR_CALM);
	allow_pings(c, AGI_GRPC_PINGS_PER_S);
	sweep_calls(c, now_us);
	look_at_age(c, now_us);
}
