/* SPDX-License-Identifier: Apache-2.0 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "net/grpc_client.h"
#include "net/tls.h"

enum { TURNS_MAX = 1024 }; /* callbacks of streams per turn of the loop */

/* --- nghttp2 callbacks ----------------------------------------------------------------------- */
static struct agi_grpc_client_call *call_of(nghttp2_session *session, int32_t stream_id)
{
	return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags,
		     void *arg)
{
	struct agi_grpc_client_call *call = call_of(session, frame->hd.stream_id);

	(void)flags;
	(void)arg;
	if (call && frame->hd.type == NGHTTP2_HEADERS)
		agi_grpc_client_header(call, (struct agi_str){(const char *)name, name_bytes},
				       (struct agi_str){(const char *)value, value_bytes},
		                       frame->headers.cat == NGHTTP2_HCAT_HEADERS ||
		                           (frame->hd.flags & NGHTTP2_FLAG_END_STREAM));
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *p,
		   size_t n, void *arg)
{
	struct agi_grpc_client_call *call = call_of(session, stream_id);

	(void)flags;
	(void)arg;
	size_t used = n;

	if (call)
		used = agi_grpc_client_data(call, (struct agi_str){(const char *)p, n});
	if (nghttp2_session_consume_connection(session, n) ||
	    nghttp2_session_consume_stream(session, stream_id, used))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

/* The answer is complete although the request was not: what is left of it need not be sent. */
static void on_answered(nghttp2_session *session, struct agi_grpc_client_call *call)
{
	if (call->is_half_closed && call->out_sent == call->out.n)
		return; /* the stream closes by itself */
	(void)nghttp2_session_set_stream_user_data(session, call->stream_id, NULL);
	(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream_id,
					NGHTTP2_CANCEL);
	agi_grpc_client_closed(call, NGHTTP2_NO_ERROR);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct agi_grpc_client_conn *conn = arg;
	struct agi_grpc_client_call *call;

	if (frame->hd.type == NGHTTP2_GOAWAY) {
		conn->is_going = true;
		if (conn->ch->current == conn)
			conn->ch->current = NULL; /* new calls get a new connection */
	} else if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
		   (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
		call = call_of(session, frame->hd.stream_id);
		if (call)
			on_answered(session, call);
	} else if (frame->hd.type == NGHTTP2_HEADERS) {
		call = call_of(session, frame->hd.stream_id);
		if (call)
			agi_grpc_client_began(call);
	}
	return 0;
}

static int on_stream_closed(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
			    void *arg)
{
	struct agi_grpc_client_call *call = call_of(session, stream_id);

	(void)arg;
	if (call)
		agi_grpc_client_closed(call, error_code);
	return 0;
}

/* --- connections ----------------------------------------------------------------------------- */
static void update_sweep(struct agi_grpc_channel *ch)
{
	const struct timeval second = {1, 0};

	if (LIST_EMPTY(&ch->conns))
		event_del(ch->sweep);
	else if (!event_pending(ch->sweep, EV_TIMEOUT, NULL))
		event_add(ch->sweep, &second);
}

static void end_conn(struct agi_grpc_client_conn *conn, const char *why)
{
	struct agi_grpc_channel *ch = conn->ch;
	struct agi_grpc_client_call *call;

	while ((call = TAILQ_FIRST(&conn->calls)) != NULL)
		agi_grpc_client_end(call, AGI_GRPC_UNAVAILABLE, "%s: %s", ch->target, why);
	if (ch->current == conn)
		ch->current = NULL;
	LIST_REMOVE(conn, link);
	agi_h2_close(&conn->h2);
	free(conn);
	update_sweep(ch);
}

static void on_closed(void *ctx, const struct agi_why *why) { end_conn(ctx, why->text); }

static void after_read(void *ctx)
{
	struct agi_grpc_client_conn *conn = ctx;

	if (conn->is_going && TAILQ_EMPTY(&conn->calls))
		(void)nghttp2_session_terminate_session(conn->h2.session, NGHTTP2_NO_ERROR);
}

static const struct agi_h2_ops ops = {.after_read = after_read, .on_closed = on_closed};

/* Takes t. */
static enum agi_err start_session(struct agi_grpc_client_conn *conn, struct agi_transport *t)
{
	struct agi_grpc_channel *ch = conn->ch;
	const nghttp2_settings_entry settings[] = {
	    {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
	    {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, AGI_H2_STREAM_WINDOW}};
	nghttp2_session *session;

	if (nghttp2_session_client_new3(&session, ch->callbacks, conn, ch->option,
	                                &ch->loop.mem.fns) != 0) {
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
	return agi_h2_open(&conn->h2, &ch->loop, t, session, &ops, conn);
}

/* Takes t. */
static enum agi_err connected(struct agi_grpc_channel *ch, struct agi_transport *t)
{
	struct agi_grpc_client_conn *conn = calloc(1, sizeof *conn);

	if (!conn) {
		agi_transport_close(t);
		return AGI_E_NOMEM;
	}
	conn->ch = ch;
	TAILQ_INIT(&conn->calls);
	LIST_INSERT_HEAD(&ch->conns, conn, link);
	if (start_session(conn, t)) {
		end_conn(conn, "out of memory");
		return AGI_E_NOMEM;
	}
	ch->current = conn;
	ch->backoff_ms = 0;
	update_sweep(ch);
	return AGI_OK;
}

/* --- connecting ------------------------------------------------------------------------------ */
static void fail_waiting(struct agi_grpc_channel *ch)
{
	struct agi_grpc_client_call *call;

	while ((call = TAILQ_FIRST(&ch->waiting)) != NULL)
		agi_grpc_client_end(call, AGI_GRPC_UNAVAILABLE, "cannot connect to %s: %s",
				    ch->target, ch->why.text);
}

static void back_off(struct agi_grpc_channel *ch)
{
	ch->backoff_ms = ch->backoff_ms ? ch->backoff_ms * 2 : AGI_GRPC_BACKOFF_MIN_MS;
	if (ch->backoff_ms > AGI_GRPC_BACKOFF_MAX_MS)
		ch->backoff_ms = AGI_GRPC_BACKOFF_MAX_MS;
	ch->retry_at_us = agi_h2_now_us() + (uint64_t)ch->backoff_ms * 1000;
	fail_waiting(ch);
}

static void on_dialled(void *arg, struct agi_transport *t, const struct agi_why *why)
{
	struct agi_grpc_channel *ch = arg;

	ch->dial = NULL;
	ch->why = *why;
	if (t && connected(ch, t) == AGI_OK) {
		agi_grpc_channel_push(ch);
		return;
	}
	if (t)
		(void)!agi_fail(&ch->why, AGI_E_NOMEM, "out of memory");
	back_off(ch);
}

static enum agi_err dial(struct agi_grpc_channel *ch)
{
	static const struct agi_tls_client_cfg trust_the_system;
	struct agi_str target = agi_str_of(ch->target);
	enum agi_err e = AGI_OK;

	if (agi_dial_is_tls(target) && !ch->tls && !ch->own_tls)
		e = agi_tls_client_new(&trust_the_system, &ch->own_tls, &ch->why);
	return e ? e : agi_dial_start(ch->base, target, ch->tls ? ch->tls : ch->own_tls, AGI_GRPC_CONNECT_MS,
	                              on_dialled, ch, &ch->dial, &ch->why);
}

void agi_grpc_channel_push(struct agi_grpc_channel *ch)
{
	struct agi_grpc_client_call *call;

	while (ch->current && (call = TAILQ_FIRST(&ch->waiting)) != NULL)
		agi_grpc_client_open(call, ch->current);
	if (TAILQ_EMPTY(&ch->waiting) || ch->current || ch->dial)
		return;
	if (agi_h2_now_us() < ch->retry_at_us)
		fail_waiting(ch);
	else if (dial(ch))
		back_off(ch);
}

/* --- once a second: connections that have died silently -------------------------------------- */
static bool is_dead(struct agi_grpc_client_conn *conn, uint64_t now)
{
	uint64_t quiet_ms = (now - conn->h2.last_in_us) / 1000;

	if (TAILQ_EMPTY(&conn->calls) || quiet_ms < AGI_GRPC_CLIENT_QUIET_MS) {
		conn->is_pinged = false;
		return false;
	}
	if (!conn->is_pinged) {
		conn->is_pinged = true;
		(void)nghttp2_submit_ping(conn->h2.session, NGHTTP2_FLAG_NONE, NULL);
		agi_h2_wake(&conn->h2);
	}
	return quiet_ms > AGI_GRPC_CLIENT_QUIET_MS + AGI_GRPC_CLIENT_PING_MS;
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct agi_grpc_channel *ch = arg;
	struct agi_grpc_client_conn *conn, *next;
	uint64_t now = agi_h2_now_us();

	(void)fd;
	(void)what;
	for (conn = LIST_FIRST(&ch->conns); conn; conn = next) {
		next = LIST_NEXT(conn, link);
		if (is_dead(conn, now))
			end_conn(conn, "no answer to a keepalive ping");
	}
}

/* --- callbacks ------------------------------------------------------------------------------- */
static void free_channel(struct agi_grpc_channel *ch);

static void deliver(struct agi_grpc_channel *ch)
{
	struct agi_grpc_client_call *call;

	ch->delivering++;
	for (int i = 0; i < TURNS_MAX && (call = TAILQ_FIRST(&ch->ready)) != NULL; i++)
		agi_grpc_client_turn(call);
	if (!TAILQ_EMPTY(&ch->ready)) /* the rest of the loop gets its turn */
		event_active(ch->deliver, EV_TIMEOUT, 0);
	while ((call = TAILQ_FIRST(&ch->done)) != NULL) {
		TAILQ_REMOVE(&ch->done, call, link);
		agi_grpc_client_deliver(call);
	}
	ch->delivering--;
}

static void on_deliver(evutil_socket_t fd, short what, void *arg)
{
	struct agi_grpc_channel *ch = arg;

	(void)fd;
	(void)what;
	deliver(ch);
	if (ch->is_closing)
		free_channel(ch);
	else
		agi_grpc_channel_push(ch);
}

/* --- life ------------------------------------------------------------------------------------ */
static enum agi_err make_callbacks(struct agi_grpc_channel *ch)
{
	nghttp2_session_callbacks *cb;

	if (nghttp2_session_callbacks_new(&ch->callbacks) != 0 ||
	    nghttp2_option_new(&ch->option) != 0)
		return AGI_E_NOMEM;
	cb = ch->callbacks;
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_closed);
	nghttp2_option_set_no_auto_window_update(ch->option, 1);
	return AGI_OK;
}

static void drop_authorization(struct agi_grpc_channel *ch)
{
	if (ch->authorization)
		sodium_memzero(ch->authorization, strlen(ch->authorization));
	free(ch->authorization);
	ch->authorization = NULL;
}

static void free_channel(struct agi_grpc_channel *ch)
{
	struct agi_grpc_client_conn *conn;

	agi_dial_cancel(ch->dial);
	while ((conn = LIST_FIRST(&ch->conns)) != NULL)
		end_conn(conn, "");
	if (ch->deliver)
		event_free(ch->deliver);
	if (ch->sweep)
		event_free(ch->sweep);
	agi_h2_loop_free(&ch->loop);
	nghttp2_session_callbacks_del(ch->callbacks);
	nghttp2_option_del(ch->option);
	agi_tls_client_free(ch->own_tls);
	drop_authorization(ch);
	agi_grpc_packer_free(ch->packer);
	free(ch->target);
	free(ch);
}

/* :authority of RFC 9113 8.3.1; a path is none, and gRPC says "localhost" there. */
static const char *authority_of(const char *target)
{
	struct agi_str s = agi_str_of(target);

	if (agi_str_has_prefix(s, AGI_STR("unix:")))
		return "localhost";
	return agi_dial_is_tls(s) ? target + strlen("tls://") : target;
}

enum agi_err agi_grpc_channel_new(struct event_base *base, const char *target,
				  struct agi_grpc_channel **out, struct agi_why *why)
{
	struct agi_grpc_channel *ch;
	enum agi_err e = agi_dial_check(agi_str_of(target), why);

	if (e)
		return e;
	ch = calloc(1, sizeof *ch);
	if (!ch)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	ch->base = base;
	ch->recv_max_bytes = AGI_GRPC_RECV_DEFAULT;
	LIST_INIT(&ch->conns);
	TAILQ_INIT(&ch->waiting);
	TAILQ_INIT(&ch->left);
	TAILQ_INIT(&ch->done);
	TAILQ_INIT(&ch->ready);
	ch->target = strdup(target);
	ch->deliver = event_new(base, -1, 0, on_deliver, ch);
	ch->sweep = event_new(base, -1, EV_PERSIST, on_sweep, ch);
	if (!ch->target || !ch->deliver || !ch->sweep || make_callbacks(ch) ||
	    agi_h2_loop_init(&ch->loop, base)) {
		free_channel(ch);
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	}
	ch->authority = authority_of(ch->target);
	*out = ch;
	return AGI_OK;
}

void agi_grpc_channel_set_tls(struct agi_grpc_channel *ch, const struct agi_tls_client *tls) { ch->tls = tls; }

enum agi_err agi_grpc_channel_set_token(struct agi_grpc_channel *ch, const char *token)
{
	char *text;

	drop_authorization(ch);
	if (!token)
		return AGI_OK;
	if (!nghttp2_check_header_value((const uint8_t *)token, strlen(token)))
		return AGI_E_INVALID;
	if (asprintf(&text, "Bearer %s", token) < 0)
		return AGI_E_NOMEM;
	ch->authorization = text;
	return AGI_OK;
}

void agi_grpc_channel_set_recv_max(struct agi_grpc_channel *ch, uint32_t bytes)
{
	ch->recv_max_bytes = bytes;
}

void agi_grpc_channel_free(struct agi_grpc_channel *ch)
{
	struct agi_grpc_client_conn *conn;
	struct agi_grpc_client_call *call;

	if (!ch)
		return;
	while ((call = TAILQ_FIRST(&ch->waiting)) != NULL)
		agi_grpc_client_end(call, AGI_GRPC_CANCELLED, "the channel was closed");
	LIST_FOREACH(conn, &ch->conns, link)
	while ((call = TAILQ_FIRST(&conn->calls)) != NULL)
		agi_grpc_client_end(call, AGI_GRPC_CANCELLED, "the channel was closed");
	while ((call = TAILQ_FIRST(&ch->left)) != NULL)
		agi_grpc_client_end(call, AGI_GRPC_CANCELLED, "the channel was closed");
	deliver(ch);
	ch->is_closing = true;
	if (ch->delivering == 0) /* else we are inside a callback, and who runs it frees */
		free_channel(ch);
}
