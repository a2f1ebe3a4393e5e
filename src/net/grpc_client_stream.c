/* SPDX-License-Identifier: Apache-2.0
 * What only streams have: messages one by one in both directions, and waiting for each other. */
#include "net/grpc_client.h"

void agi_grpc_client_enqueue(struct agi_grpc_client_call *call)
{
	if (call->is_queued || call->state == AGI_CLIENT_DONE)
		return;
	call->is_queued = true;
	TAILQ_INSERT_TAIL(&call->ch->ready, call, ready_link);
	event_active(call->ch->deliver, EV_TIMEOUT, 0);
}

static size_t kept_bytes(const struct agi_grpc_client_call *call)
{
	return call->in.n - call->in_taken;
}

/* --- receiving ------------------------------------------------------------------------------- */
/* What was taken out of it makes room; bounded by the stream's window. */
static void keep(struct agi_grpc_client_call *call, struct agi_str data)
{
	struct agi_buf *in = &call->in;

	if (call->in_taken && call->in_taken >= kept_bytes(call)) {
		memmove(in->p, in->p + call->in_taken, kept_bytes(call));
		in->n -= call->in_taken;
		call->in_taken = 0;
	}
	agi_buf_put_str(in, data);
	if (in->err)
		agi_grpc_client_end(call, AGI_GRPC_RESOURCE_EXHAUSTED, "out of memory");
}

/* A receiver that keeps up gets a window for long ways. */
static void widen(struct agi_grpc_client_call *call, size_t n)
{
	uint32_t want = 2 * call->window;

	call->direct_bytes += n;
	if (call->direct_bytes < 4 * (size_t)call->window || want > AGI_H2_STREAM_WINDOW_MAX)
		return;
	call->direct_bytes = 0;
	if (nghttp2_session_set_local_window_size(call->conn->h2.session, NGHTTP2_FLAG_NONE,
						  call->stream_id, (int32_t)want) == 0)
		call->window = want;
}

size_t agi_grpc_client_stream_data(struct agi_grpc_client_call *call, struct agi_str data)
{
	size_t n = data.n;

	if (call->wants && !call->is_whole && kept_bytes(call) == 0 &&
	    !agi_grpc_client_feed(call, &data))
		return n;
	if (call->wants && call->is_whole)
		agi_grpc_client_enqueue(call);
	n -= data.n;
	if (n)
		widen(call, n);
	if (data.n)
		keep(call, data);
	return n;
}

static bool feed_kept(struct agi_grpc_client_call *call)
{
	struct agi_str data = {(const char *)call->in.p + call->in_taken, kept_bytes(call)};
	size_t before = data.n;

	if (!agi_grpc_client_feed(call, &data))
		return false;
	call->in_taken = call->in.n - data.n;
	if (call->conn) {
		(void)nghttp2_session_consume_stream(call->conn->h2.session, call->stream_id,
						     before - data.n);
		agi_h2_wake(&call->conn->h2);
	}
	return true;
}

void agi_grpc_stream_recv(struct agi_grpc_client_call *call)
{
	if (call->wants || call->state == AGI_CLIENT_DONE)
		return;
	call->wants = true;
	if (call->is_whole) {
		call->is_whole = false;
		agi_grpc_reader_next(&call->reader);
		agi_pb_pool_reset(&call->pool);
	}
	if (kept_bytes(call) || call->state == AGI_CLIENT_LEFT)
		agi_grpc_client_enqueue(call);
}

/* Before the message is handed over: what comes then may end the call. */
static void message_told(struct agi_grpc_client_call *call)
{
	call->wants = false;
	if (call->state == AGI_CLIENT_LEFT)
		agi_grpc_client_enqueue(call); /* it may have been the last */
}

static void tell_message(struct agi_grpc_client_call *call)
{
	struct agi_str bytes = agi_buf_str(&call->reader.message);
	const ProtobufCMessage *m;

	if (call->raw_ops) {
		message_told(call);
		call->raw_ops->on_message(call->arg, bytes);
		return;
	}
	m = agi_pb_unpack_pool(call->res_type, bytes, &call->pool, NULL);
	if (!m) {
		agi_grpc_client_end(call, AGI_GRPC_INTERNAL, "Exception deserializing response!");
		return;
	}
	message_told(call);
	call->ops->on_message(call->arg, m);
}

void agi_grpc_client_began(struct agi_grpc_client_call *call)
{
	if (call->http_status < 200)
		return; /* 1xx: the answer's are still to come */
	call->has_begun = true;
	if (call->raw_ops && !call->is_begin_told)
		agi_grpc_client_enqueue(call);
}

static void tell_begin(struct agi_grpc_client_call *call)
{
	call->is_begin_told = true;
	if (call->wants || call->state == AGI_CLIENT_LEFT)
		agi_grpc_client_enqueue(call);
	call->raw_ops->on_headers(call->arg, &call->answer);
}

/* --- the end --------------------------------------------------------------------------------- */
/* Bytes that were handed over are in use until more is asked for. */
static bool has_undelivered(const struct agi_grpc_client_call *call)
{
	return kept_bytes(call) || (call->is_whole && (call->wants || call->raw_ops));
}

/* Everything that came was handed over. */
static void finish(struct agi_grpc_client_call *call)
{
	bool is_inside = !call->is_whole && !agi_grpc_reader_is_idle(&call->reader);

	if (is_inside)
		agi_grpc_client_set_result(call, AGI_GRPC_INTERNAL,
					   "the answer ends inside a message");
	agi_grpc_client_settle(call);
}

void agi_grpc_client_stream_closed(struct agi_grpc_client_call *call)
{
	if (!has_undelivered(call)) {
		finish(call);
		return;
	}
	TAILQ_REMOVE(&call->conn->calls, call, link);
	call->conn = NULL;
	call->state = AGI_CLIENT_LEFT;
	TAILQ_INSERT_TAIL(&call->ch->left, call, link);
	agi_grpc_client_enqueue(call);
}

void agi_grpc_client_turn(struct agi_grpc_client_call *call)
{
	TAILQ_REMOVE(&call->ch->ready, call, ready_link);
	call->is_queued = false;
	if (call->raw_ops && call->has_begun && !call->is_begin_told) {
		tell_begin(call);
		return;
	}
	if (call->is_writable && call->state == AGI_CLIENT_OPEN) {
		call->is_writable = false;
		if (call->wants)
			agi_grpc_client_enqueue(call);
		if (call->ops && call->ops->on_writable)
			call->ops->on_writable(call->arg);
		return;
	}
	if (call->wants && !call->is_whole && kept_bytes(call) && !feed_kept(call))
		return;
	if (call->wants && call->is_whole)
		tell_message(call);
	else if (call->state == AGI_CLIENT_LEFT && !has_undelivered(call))
		finish(call);
}

void agi_grpc_stream_cancel(struct agi_grpc_client_call *call)
{
	if (call->state != AGI_CLIENT_DONE)
		agi_grpc_client_end(call, AGI_GRPC_CANCELLED, "cancelled");
}

/* --- sending --------------------------------------------------------------------------------- */
static size_t unsent_bytes(const struct agi_grpc_client_call *call)
{
	return call->out.n - call->out_sent;
}

void agi_grpc_client_stream_sent(struct agi_grpc_client_call *call)
{
	if (!call->is_blocked || unsent_bytes(call) > AGI_GRPC_CLIENT_SEND_LOW)
		return;
	call->is_blocked = false;
	call->is_writable = true;
	agi_grpc_client_enqueue(call);
}

static void resume(struct agi_grpc_client_call *call)
{
	if (!call->conn)
		return;
	if (call->is_deferred)
		(void)nghttp2_session_resume_data(call->conn->h2.session, call->stream_id);
	call->is_deferred = false;
	agi_h2_wake(&call->conn->h2);
}

static void compact(struct agi_grpc_client_call *call)
{
	struct agi_buf *b = &call->out;

	if (call->out_sent < AGI_GRPC_CLIENT_SEND_LOW || call->out_sent < unsent_bytes(call))
		return;
	memmove(b->p, b->p + call->out_sent, unsent_bytes(call));
	b->n -= call->out_sent;
	call->out_sent = 0;
	call->is_cut = true;
}

enum agi_err agi_grpc_stream_send(struct agi_grpc_client_call *call, const ProtobufCMessage *req)
{
	size_t before;
	bool is_put;

	if (call->is_half_closed || call->state == AGI_CLIENT_LEFT ||
	    call->state == AGI_CLIENT_DONE)
		return AGI_E_CANCELLED;
	if (unsent_bytes(call) >= AGI_GRPC_CLIENT_SEND_HIGH) {
		call->is_blocked = true;
		return AGI_E_FULL;
	}
	compact(call);
	before = call->out.n;
	is_put = call->is_packing ? agi_grpc_put_packed(&call->out, req, call->ch->packer)
				  : agi_grpc_put_message(&call->out, req);
	if (!is_put) {
		call->out.n = before;
		call->out.err = AGI_OK;
		return AGI_E_TOO_LARGE;
	}
	resume(call);
	return AGI_OK;
}

void agi_grpc_stream_half_close(struct agi_grpc_client_call *call)
{
	call->is_half_closed = true;
	call->is_blocked = false;
	if (call->state == AGI_CLIENT_OPEN)
		resume(call);
}
