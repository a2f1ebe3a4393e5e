/* SPDX-License-Identifier: Apache-2.0
 * The messages of a request. */
#include <stdio.h>

#include "base/limits.h"
#include "net/grpc_server.h"

/* --- memory: what is held for calls that have not ended -------------------------------------- */
static size_t held_bytes(const struct agi_grpc_call *call)
{
	return call->reader.message.n + call->in.n;
}

/* Counts what is held now; false when that is more than there may be. */
static bool charge(struct agi_grpc_call *call)
{
	struct agi_grpc_server *s = call->server;
	struct agi_grpc_conn *c = call->conn;
	size_t held = held_bytes(call), before = call->charged_bytes;

	if (held > before && (s->request_bytes - before + held > s->request_bytes_max ||
			      c->request_bytes - before + held > s->cfg.conn_bytes_max))
		return false;
	s->request_bytes += held - before;
	c->request_bytes += held - before;
	call->charged_bytes = held;
	return true;
}

static void uncharge(struct agi_grpc_call *call)
{
	if (call->server)
		call->server->request_bytes -= call->charged_bytes;
	if (call->conn)
		call->conn->request_bytes -= call->charged_bytes;
	call->charged_bytes = 0;
}

static void empty(struct agi_buf *b)
{
	if (b->cap > AGI_GRPC_POOLED_BYTES)
		agi_buf_free(b);
	else
		agi_buf_reset(b);
}

static void drop_message(struct agi_grpc_call *call)
{
	call->req = NULL;
	agi_pb_pool_reset(&call->pool);
	empty(&call->reader.message);
}

void agi_grpc_call_drop_request(struct agi_grpc_call *call)
{
	uncharge(call);
	agi_grpc_reader_next(&call->reader);
	drop_message(call);
	empty(&call->in);
	call->in_taken = 0;
	call->wants = call->is_whole = false;
}

/* --- windows --------------------------------------------------------------------------------- */
static uint32_t at_most(uint32_t n, uint32_t max) { return n < max ? n : max; }

/* What a stream's window lets come while its handler asks for nothing is kept: all windows together
 * stay within half of what may be held for the connection. */
static bool may_widen(const struct agi_grpc_call *call, uint32_t more)
{
	const struct agi_grpc_conn *c = call->conn;

	return !agi_grpc_route_has_request_stream(call->route) ||
	       c->widened_bytes + more <= c->server->cfg.conn_bytes_max / 2;
}

static void widen(struct agi_grpc_call *call, uint32_t want)
{
	struct agi_grpc_conn *c = call->conn;
	nghttp2_session *session = c->h2.session;

	want = at_most(want, AGI_H2_STREAM_WINDOW_MAX);
	if (want <= call->window || !may_widen(call, want - call->window))
		return;
	if (nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, call->stream_id,
						  (int32_t)want))
		return;
	c->widened_bytes += want - call->window;
	call->window = want;
	want = at_most(2 * want, AGI_H2_CONN_WINDOW_MAX);
	if (want > c->window && nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
								      (int32_t)want) == 0)
		c->window = want;
}

/* A stream whose handler keeps up gets a window for long ways. */
static void widen_stream(struct agi_grpc_call *call, size_t n)
{
	call->direct_bytes += n;
	if (call->direct_bytes < 4 * (size_t)call->window)
		return;
	call->direct_bytes = 0;
	widen(call, 2 * call->window);
}

/* --- messages -------------------------------------------------------------------------------- */
/* The request is not acceptable: the client is answered, a handler that has begun is told. May free
 * call. */
static void reject(struct agi_grpc_call *call, enum agi_grpc_status status, const char *text)
{
	if (call->state != AGI_CALL_RUNNING) {
		agi_grpc_call_refuse_early(call, status, text);
		return;
	}
	agi_grpc_call_refuse(call, status, agi_str_of(text));
	agi_grpc_call_tell(call);
}

static void reject_large(struct agi_grpc_call *call, bool is_unpacked)
{
	uint32_t max = call->server->cfg.recv_max_bytes;
	char text[96];

	if (is_unpacked)
		snprintf(text, sizeof text,
			 "Received message larger than max after decompression (%u)", max);
	else
		snprintf(text, sizeof text, "Received message larger than max (%u vs. %u)",
			 call->reader.message_bytes, max);
	reject(call, AGI_GRPC_RESOURCE_EXHAUSTED, text);
}

/* Feeds the reader. False when the call was rejected (it may be gone). */
static bool feed(struct agi_grpc_call *call, struct agi_str *data)
{
	bool was_inside = call->reader.prefix_bytes == AGI_GRPC_PREFIX_BYTES;
	enum agi_grpc_read r =
	    agi_grpc_reader_feed(&call->reader, data, call->server->cfg.recv_max_bytes);

	switch (r) {
	case AGI_GRPC_READ_TOO_LARGE:
	case AGI_GRPC_READ_TOO_LARGE_UNPACKED:
		reject_large(call, r == AGI_GRPC_READ_TOO_LARGE_UNPACKED);
		return false;
	case AGI_GRPC_READ_COMPRESSED:
		reject(call, AGI_GRPC_INTERNAL,
		       "Compressed-Flag is set but there is no grpc-encoding");
		return false;
	case AGI_GRPC_READ_BAD:
		reject(call, AGI_GRPC_INTERNAL, "a compressed message does not decompress");
		return false;
	case AGI_GRPC_READ_NOMEM:
		reject(call, AGI_GRPC_RESOURCE_EXHAUSTED, "out of memory");
		return false;
	case AGI_GRPC_READ_MESSAGE:
		call->is_whole = true;
		break;
	case AGI_GRPC_READ_MORE:
		if (!was_inside && call->reader.prefix_bytes == AGI_GRPC_PREFIX_BYTES)
			widen(call,
			      call->reader
				  .message_bytes); /* else it comes in steps of a round trip each */
		break;
	}
	if (charge(call))
		return true;
	reject(call, AGI_GRPC_RESOURCE_EXHAUSTED, "too many request bytes at once");
	return false;
}

static void take_unary(struct agi_grpc_call *call, struct agi_str data)
{
	if (!call->is_whole && !feed(call, &data))
		return;
	if (call->is_whole && data.n)
		reject(call, AGI_GRPC_UNIMPLEMENTED, "a unary call has one request message");
}

static void keep(struct agi_grpc_call *call, struct agi_str data)
{
	struct agi_buf *in = &call->in;

	if (call->in_taken && call->in_taken >= in->n - call->in_taken) {
		memmove(in->p, in->p + call->in_taken, in->n - call->in_taken);
		in->n -= call->in_taken;
		call->in_taken = 0;
	}
	agi_buf_put_str(&call->in, data);
	if (call->in.err || !charge(call))
		reject(call, AGI_GRPC_RESOURCE_EXHAUSTED, "too many request bytes at once");
}

size_t agi_grpc_call_data(struct agi_grpc_call *call, struct agi_str data)
{
	size_t before = data.n;

	if (data.n == 0 || call->is_finished || call->state == AGI_CALL_ENDED)
		return data.n;
	if (!agi_grpc_route_has_request_stream(call->route)) {
		take_unary(call, data);
		return before;
	}
	if (call->wants && !call->is_whole && call->in.n == 0 && !feed(call, &data))
		return before;
	if (call->is_whole && call->wants)
		agi_grpc_call_enqueue(call);
	before -= data.n;
	if (before)
		widen_stream(call, before);
	if (data.n)
		keep(call, data);
	return before;
}

void agi_grpc_call_request_done(struct agi_grpc_call *call)
{
	call->is_remote_closed = true;
	if (call->is_finished || call->state == AGI_CALL_ENDED)
		return;
	if (agi_grpc_route_has_request_stream(call->route)) {
		if (call->wants)
			agi_grpc_call_enqueue(call);
		return;
	}
	if (!call->is_whole) {
		if (agi_grpc_reader_is_idle(&call->reader))
			agi_grpc_call_refuse_early(call, AGI_GRPC_UNIMPLEMENTED,
						   "a unary call has one request message");
		else
			agi_grpc_call_refuse_early(call, AGI_GRPC_INTERNAL,
						   "the request ends inside a message");
		return;
	}
	call->state = AGI_CALL_READY;
	agi_grpc_call_enqueue(call);
}

void agi_grpc_call_start_unary(struct agi_grpc_call *call)
{
	const struct agi_grpc_route *r = call->route;

	if (!r->is_raw)
		call->req = agi_pb_unpack_pool(r->input, agi_buf_str(&call->reader.message),
					       &call->pool, NULL);
	if (!call->req && !r->is_raw) {
		agi_grpc_call_refuse_early(call, AGI_GRPC_INTERNAL,
					   "Exception deserializing request!");
		return;
	}
	call->state = AGI_CALL_RUNNING;
	r->handler(call, call->req, r->ctx);
}

/* --- streams --------------------------------------------------------------------------------- */
/* Takes the rest of a message out of what was kept, and lets the client send as much again. */
static bool feed_kept(struct agi_grpc_call *call)
{
	struct agi_str data = agi_buf_str(&call->in);
	size_t before;

	if (call->in_taken == data.n)
		return true;
	data = (struct agi_str){data.p + call->in_taken, data.n - call->in_taken};
	before = data.n;
	if (!feed(call, &data))
		return false;
	call->in_taken = call->in.n - data.n;
	if (data.n == 0) {
		call->in_taken = 0;
		empty(&call->in);
		(void)charge(call);
	}
	(void)nghttp2_session_consume_stream(call->conn->h2.session, call->stream_id,
					     before - data.n);
	agi_h2_wake(&call->conn->h2);
	return true;
}

static void deliver_message(struct agi_grpc_call *call)
{
	call->req = agi_pb_unpack_pool(call->route->input, agi_buf_str(&call->reader.message),
				       &call->pool, NULL);
	if (!call->req) {
		reject(call, AGI_GRPC_INTERNAL, "Exception deserializing request!");
		return;
	}
	call->wants = false;
	call->ops->on_message(call->ops_arg, call->req);
}

void agi_grpc_call_deliver(struct agi_grpc_call *call)
{
	if (!call->wants || call->is_finished || !call->conn)
		return;
	if (!call->is_whole && !feed_kept(call))
		return;
	if (call->is_whole) {
		deliver_message(call);
	} else if (call->is_remote_closed && agi_grpc_reader_is_idle(&call->reader)) {
		call->wants = false;
		call->has_ended = true;
		call->ops->on_message(call->ops_arg, NULL);
	} else if (call->is_remote_closed) {
		reject(call, AGI_GRPC_INTERNAL, "the request ends inside a message");
	}
}

void agi_grpc_recv(struct agi_grpc_call *call)
{
	if (call->wants || call->has_ended || call->is_finished || (!call->conn && !call->hop))
		return;
	call->wants = true;
	if (call->hop) {
		agi_grpc_hop_recv(call->hop);
		return;
	}
	if (call->is_whole) { /* the one before is done with */
		call->is_whole = false;
		agi_grpc_reader_next(&call->reader);
		drop_message(call);
		(void)charge(call);
	}
	if (call->in.n || call->is_remote_closed)
		agi_grpc_call_enqueue(call);
}
