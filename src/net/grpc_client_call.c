/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "net/grpc_client.h"

/* --- ends ------------------------------------------------------------------------------------ */
static void leave_list(struct agi_grpc_client_call *call)
{
	struct agi_grpc_channel *ch = call->ch;

	if (call->is_queued)
		TAILQ_REMOVE(&ch->ready, call, ready_link);
	call->is_queued = false;
	if (call->state == AGI_CLIENT_WAITING)
		TAILQ_REMOVE(&ch->waiting, call, link);
	else if (call->state == AGI_CLIENT_LEFT)
		TAILQ_REMOVE(&ch->left, call, link);
	else if (call->state == AGI_CLIENT_OPEN)
		TAILQ_REMOVE(&call->conn->calls, call, link);
	call->conn = NULL;
}

void agi_grpc_client_settle(struct agi_grpc_client_call *call)
{
	struct agi_grpc_channel *ch = call->ch;

	leave_list(call);
	if (call->is_timed)
		event_del(&call->deadline);
	call->is_timed = false;
	call->state = AGI_CLIENT_DONE;
	TAILQ_INSERT_TAIL(&ch->done, call, link);
	event_active(ch->deliver, EV_TIMEOUT, 0);
}

void agi_grpc_client_set_result(struct agi_grpc_client_call *call, enum agi_grpc_status status,
				const char *text)
{
	call->status = status;
	agi_buf_reset(&call->message);
	agi_buf_put_str(&call->message, agi_str_of(text));
}

void agi_grpc_client_end(struct agi_grpc_client_call *call, enum agi_grpc_status status,
			 const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	agi_grpc_client_set_result(call, status, text);
	call->is_unsent = call->state == AGI_CLIENT_WAITING;
	if (call->state ==
	    AGI_CLIENT_OPEN) { /* the stream outlives the call only as far as nghttp2 goes */
		nghttp2_session *session = call->conn->h2.session;

		(void)nghttp2_session_set_stream_user_data(session, call->stream_id, NULL);
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream_id,
						NGHTTP2_CANCEL);
		agi_h2_wake(&call->conn->h2);
	}
	agi_grpc_client_settle(call);
}

void agi_grpc_client_call_free(struct agi_grpc_client_call *call)
{
	agi_buf_free(&call->metadata);
	agi_buf_free(&call->out);
	agi_buf_free(&call->message);
	agi_buf_free(&call->answer);
	agi_buf_free(&call->in);
	agi_grpc_reader_free(&call->reader);
	agi_pb_pool_free(&call->pool);
	free(call->path);
	free(call);
}

static void deliver_raw(struct agi_grpc_client_call *call)
{
	bool is_ok = call->status == AGI_GRPC_OK && !call->is_stream;
	const struct agi_grpc_raw_result result = {
	    .status = call->status,
	    .message = agi_buf_str(&call->message),
	    .res = is_ok ? agi_buf_str(&call->reader.message) : (struct agi_str){NULL, 0},
	    .metadata = &call->answer,
	    .trailers_at = call->has_trailers ? call->trailers_at : call->answer.n,
	    .is_unsent = call->is_unsent};

	if (call->is_stream)
		call->raw_ops->on_end(call->arg, &result);
	else
		call->raw_done(call->arg, &result);
}

static void deliver_message(struct agi_grpc_client_call *call)
{
	struct agi_grpc_result result;
	ProtobufCMessage *res = NULL;
	struct agi_why why;

	if (call->status == AGI_GRPC_OK && !call->is_stream) {
		res = agi_pb_unpack(call->res_type, agi_buf_str(&call->reader.message), &why);
		if (!res)
			agi_grpc_client_set_result(call, AGI_GRPC_INTERNAL, why.text);
	}
	result = (struct agi_grpc_result){call->status, agi_buf_str(&call->message), res,
					  &call->answer, call->is_unsent};
	if (call->is_stream)
		call->ops->on_end(call->arg, &result);
	else
		call->done(call->arg, &result);
	if (res)
		protobuf_c_message_free_unpacked(res, NULL);
}

void agi_grpc_client_deliver(struct agi_grpc_client_call *call)
{
	call->ch->n_calls--;
	call->ch = NULL; /* the callback may free it */
	if (call->raw_done || call->raw_ops)
		deliver_raw(call);
	else
		deliver_message(call);
	agi_grpc_client_call_free(call);
}

struct agi_str agi_grpc_result_metadata(const struct agi_grpc_result *r, const char *name)
{
	return agi_meta_find(r->metadata, agi_str_of(name));
}

/* --- request --------------------------------------------------------------------------------- */
static ssize_t read_out(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t room,
			uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
	struct agi_grpc_client_call *call =
	    nghttp2_session_get_stream_user_data(session, stream_id);
	size_t n;

	(void)source;
	(void)user_data;
	if (!call)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = call->out.n - call->out_sent;
	n = n < room ? n : room;
	if (n)
		memcpy(to, call->out.p + call->out_sent, n);
	call->out_sent += n;
	if (call->is_stream && n)
		agi_grpc_client_stream_sent(call);
	if (call->out_sent == call->out.n && call->is_half_closed)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	else if (n == 0) {
		call->is_deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)n;
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value),
			    NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

static size_t add_metadata(const struct agi_grpc_client_call *call, nghttp2_nv *h)
{
	struct agi_str name, value;
	size_t n = 0, at = 0;

	if (call->is_packing)
		h[n++] = nv("grpc-encoding", "gzip");
	while (agi_pairs_next(&call->metadata, &at, &name, &value))
		h[n++] = (nghttp2_nv){(uint8_t *)name.p, (uint8_t *)value.p, name.n, value.n,
				      NGHTTP2_NV_FLAG_NO_INDEX}; /* may be a secret */
	return n;
}

void agi_grpc_client_open(struct agi_grpc_client_call *call, struct agi_grpc_client_conn *conn)
{
	nghttp2_data_provider body = {.read_callback = read_out};
	char timeout[AGI_GRPC_TIMEOUT_TEXT];
	nghttp2_nv h[11 + AGI_GRPC_CLIENT_METADATA_MAX];
	size_t n = 0;
	int32_t id;

	h[n++] = nv(":method", "POST");
	h[n++] = nv(":scheme", agi_dial_is_tls(agi_str_of(call->ch->target)) ? "https" : "http");
	h[n++] = nv(":path", call->path);
	h[n++] = nv(":authority", call->ch->authority);
	if (call->ch->authorization) {
		h[n] = nv("authorization", call->ch->authorization);
		h[n++].flags |=
		    NGHTTP2_NV_FLAG_NO_INDEX; /* a secret stays out of compression tables */
	}
	h[n++] = nv("te", "trailers");
	if (call->deadline_us) {
		uint64_t now = agi_h2_now_us();

		(void)agi_grpc_timeout_format(
		    timeout, now < call->deadline_us ? call->deadline_us - now : 1);
		h[n++] = nv("grpc-timeout", timeout);
	}
	h[n++] = nv("content-type", "application/grpc");
	h[n++] = nv("user-agent", "agihpc-node/" AGI_VERSION);
	h[n++] = nv("grpc-accept-encoding", AGI_GRPC_ACCEPT_ENCODING);
	n += add_metadata(call, h + n);
	id = nghttp2_submit_request(conn->h2.session, NULL, h, n, &body, call);
	if (id < 0) {
		agi_grpc_client_end(call, AGI_GRPC_UNAVAILABLE, "cannot open a stream: %s",
				    nghttp2_strerror(id));
		return;
	}
	TAILQ_REMOVE(&call->ch->waiting, call, link);
	call->state = AGI_CLIENT_OPEN;
	call->conn = conn;
	call->stream_id = id;
	TAILQ_INSERT_TAIL(&conn->calls, call, link);
	agi_h2_wake(&conn->h2);
}

/* --- answer ---------------------------------------------------------------------------------- */
static void take_encoding(struct agi_grpc_client_call *call, struct agi_str value)
{
	call->reader.encoding = agi_grpc_encoding_parse(value);
	if (call->reader.encoding == AGI_GRPC_ENCODINGS) /* told when a message is compressed */
		call->reader.encoding = AGI_GRPC_IDENTITY;
}

void agi_grpc_client_header(struct agi_grpc_client_call *call, struct agi_str name,
			    struct agi_str value, bool is_trailer)
{
	if (is_trailer && !call->has_trailers) {
		call->has_trailers = true;
		call->trailers_at = call->answer.n;
	}
	if (agi_str_eq(name, AGI_STR(":status")) && value.n == 3)
		call->http_status =
		    (value.p[0] - '0') * 100 + (value.p[1] - '0') * 10 + (value.p[2] - '0');
	else if (agi_str_eq(name, AGI_STR("content-type")))
		call->is_grpc = agi_grpc_is_content_type(value);
	else if (agi_str_eq(name, AGI_STR("grpc-encoding")))
		take_encoding(call, value);
	else if (agi_str_eq(name, AGI_STR("grpc-status"))) {
		call->has_status = true;
		call->status = agi_grpc_status_parse(value);
	} else if (agi_str_eq(name, AGI_STR("grpc-message"))) {
		agi_buf_reset(&call->message);
		agi_grpc_percent_decode(&call->message, value);
	}
	(void)!agi_meta_take(&call->answer, name, value); /* malformed or too much: not there */
}

/* A message longer than the window would come in steps of a round trip each. */
static void widen(struct agi_grpc_client_call *call)
{
	uint32_t want = call->reader.message_bytes;

	want = want < AGI_H2_STREAM_WINDOW_MAX ? want : AGI_H2_STREAM_WINDOW_MAX;
	if (want > call->window &&
	    nghttp2_session_set_local_window_size(call->conn->h2.session, NGHTTP2_FLAG_NONE,
						  call->stream_id, (int32_t)want) == 0)
		call->window = want;
}

bool agi_grpc_client_feed(struct agi_grpc_client_call *call, struct agi_str *data)
{
	uint32_t max = call->ch->recv_max_bytes;

	switch (agi_grpc_reader_feed(&call->reader, data, max)) {
	case AGI_GRPC_READ_MORE:
		if (call->conn && call->reader.prefix_bytes == AGI_GRPC_PREFIX_BYTES)
			widen(call);
		return true;
	case AGI_GRPC_READ_MESSAGE:
		call->is_whole = true;
		return true;
	case AGI_GRPC_READ_TOO_LARGE:
		agi_grpc_client_end(call, AGI_GRPC_RESOURCE_EXHAUSTED,
				    "Received message larger than max (%u vs. %u)",
				    call->reader.message_bytes, max);
		return false;
	case AGI_GRPC_READ_TOO_LARGE_UNPACKED:
		agi_grpc_client_end(call, AGI_GRPC_RESOURCE_EXHAUSTED,
				    "Received message larger than max after decompression (%u)",
				    max);
		return false;
	case AGI_GRPC_READ_COMPRESSED:
		agi_grpc_client_end(call, AGI_GRPC_INTERNAL,
				    "the answer is compressed, but not with what was accepted");
		return false;
	case AGI_GRPC_READ_BAD:
		agi_grpc_client_end(call, AGI_GRPC_INTERNAL,
				    "a compressed message does not decompress");
		return false;
	case AGI_GRPC_READ_NOMEM:
		break;
	}
	agi_grpc_client_end(call, AGI_GRPC_RESOURCE_EXHAUSTED, "out of memory");
	return false;
}

size_t agi_grpc_client_data(struct agi_grpc_client_call *call, struct agi_str data)
{
	size_t n = data.n;

	if (!call->is_grpc || call->http_status != 200 || data.n == 0)
		return n; /* an HTML page of some proxy, say */
	if (call->is_stream)
		return agi_grpc_client_stream_data(call, data);
	if (!call->is_whole && !agi_grpc_client_feed(call, &data))
		return n;
	if (call->is_whole && data.n)
		agi_grpc_client_end(call, AGI_GRPC_UNIMPLEMENTED,
				    "more than one message answers a unary call");
	return n;
}

/* The server has not looked at the call: once more, on another connection if need be. */
static bool retry(struct agi_grpc_client_call *call, uint32_t error_code)
{
	if (error_code != NGHTTP2_REFUSED_STREAM || call->was_refused || call->is_cut ||
	    call->http_status)
		return false;
	TAILQ_REMOVE(&call->conn->calls, call, link);
	call->was_refused = true;
	call->conn = NULL;
	call->out_sent = 0;
	call->is_deferred = false;
	call->state = AGI_CLIENT_WAITING;
	TAILQ_INSERT_TAIL(&call->ch->waiting, call, link);
	event_active(call->ch->deliver, EV_TIMEOUT, 0); /* which pushes, too */
	return true;
}

void agi_grpc_client_closed(struct agi_grpc_client_call *call, uint32_t error_code)
{
	char text[96];

	if (retry(call, error_code))
		return;
	if (call->has_status) {
		if (call->status == AGI_GRPC_OK && call->is_stream) {
			agi_grpc_client_stream_closed(call);
			return;
		}
		if (call->status == AGI_GRPC_OK && !call->is_whole &&
		    !agi_grpc_reader_is_idle(&call->reader))
			agi_grpc_client_set_result(call, AGI_GRPC_INTERNAL,
						   "the answer ends inside a message");
		else if (call->status == AGI_GRPC_OK && !call->is_whole)
			agi_grpc_client_set_result(call, AGI_GRPC_UNIMPLEMENTED,
						   "no message answers a unary call");
	} else if (call->http_status && call->http_status != 200) {
		snprintf(text, sizeof text, "HTTP status %d instead of a gRPC answer",
			 call->http_status);
		agi_grpc_client_set_result(call, agi_grpc_status_of_http(call->http_status), text);
	} else if (call->deadline_us && agi_h2_now_us() >= call->deadline_us) {
		/* the server's clock was a little ahead of our timer */
		agi_grpc_client_set_result(call, AGI_GRPC_DEADLINE_EXCEEDED, "Deadline Exceeded");
	} else if (error_code != NGHTTP2_NO_ERROR) {
		snprintf(text, sizeof text, "stream reset by the server: %s",
			 nghttp2_http2_strerror(error_code));
		agi_grpc_client_set_result(call, agi_grpc_status_of_h2(error_code), text);
	} else {
		agi_grpc_client_set_result(call, AGI_GRPC_UNKNOWN,
					   call->is_grpc ? "the answer has no grpc-status"
							 : "the answer is not application/grpc");
	}
	agi_grpc_client_settle(call);
}
