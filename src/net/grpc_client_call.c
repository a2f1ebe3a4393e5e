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

	if (call->state == AGI_UNARY_WAITING)
		TAILQ_REMOVE(&ch->waiting, call, link);
	else if (call->state == AGI_UNARY_OPEN)
		TAILQ_REMOVE(&call->conn->calls, call, link);
	call->conn = NULL;
}

/* DONE with what status and message say. */
static void settle(struct agi_grpc_client_call *call)
{
	struct agi_grpc_channel *ch = call->ch;

	leave_list(call);
	if (call->is_timed)
		event_del(&call->deadline);
	call->is_timed = false;
	call->state = AGI_UNARY_DONE;
	TAILQ_INSERT_TAIL(&ch->done, call, link);
	event_active(ch->deliver, EV_TIMEOUT, 0);
}

static void set_result(struct agi_grpc_client_call *call, enum agi_grpc_status status,
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
	set_result(call, status, text);
	if (call->state ==
	    AGI_UNARY_OPEN) { /* the stream outlives the call only as far as nghttp2 goes */
		nghttp2_session *session = call->conn->h2.session;

		(void)nghttp2_session_set_stream_user_data(session, call->stream_id, NULL);
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream_id,
						NGHTTP2_CANCEL);
		agi_h2_wake(&call->conn->h2);
	}
	settle(call);
}

void agi_grpc_client_deliver(struct agi_grpc_client_call *call)
{
	struct agi_grpc_result result;
	ProtobufCMessage *res = NULL;
	struct agi_why why;

	call->ch->n_calls--;
	call->ch = NULL; /* the callback may free it */
	if (call->status == AGI_GRPC_OK) {
		res = agi_pb_unpack(call->res_type, agi_buf_str(&call->reader.message), &why);
		if (!res)
			set_result(call, AGI_GRPC_INTERNAL, why.text);
	}
	result = (struct agi_grpc_result){call->status, agi_buf_str(&call->message), res};
	call->done(call->arg, &result);
	if (res)
		protobuf_c_message_free_unpacked(res, NULL);
	agi_buf_free(&call->out);
	agi_buf_free(&call->message);
	agi_buf_free(&call->reader.message);
	free(call->path);
	free(call);
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
	memcpy(to, call->out.p + call->out_sent, n);
	call->out_sent += n;
	if (call->out_sent == call->out.n)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value),
			    NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

void agi_grpc_client_open(struct agi_grpc_client_call *call, struct agi_grpc_client_conn *conn)
{
	nghttp2_data_provider body = {.read_callback = read_out};
	char timeout[AGI_GRPC_TIMEOUT_TEXT];
	nghttp2_nv h[9];
	size_t n = 0;
	int32_t id;

	h[n++] = nv(":method", "POST");
	h[n++] = nv(":scheme", agi_dial_is_tls(agi_str_of(call->ch->target)) ? "https" : "http");
	h[n++] = nv(":path", call->path);
	h[n++] = nv(":authority", call->ch->authority);
	if (call->ch->authorization) {
		h[n] = nv("authorization", call->ch->authorization);
		h[n++].flags |= NGHTTP2_NV_FLAG_NO_INDEX; /* a secret stays out of compression tables */
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
	id = nghttp2_submit_request(conn->h2.session, NULL, h, n, &body, call);
	if (id < 0) {
		agi_grpc_client_end(call, AGI_GRPC_UNAVAILABLE, "cannot open a stream: %s",
				    nghttp2_strerror(id));
		return;
	}
	TAILQ_REMOVE(&call->ch->waiting, call, link);
	call->state = AGI_UNARY_OPEN;
	call->conn = conn;
	call->stream_id = id;
	TAILQ_INSERT_TAIL(&conn->calls, call, link);
	agi_h2_wake(&conn->h2);
}

/* --- answer ---------------------------------------------------------------------------------- */
void agi_grpc_client_header(struct agi_grpc_client_call *call, struct agi_str name,
			    struct agi_str value)
{
	if (agi_str_eq(name, AGI_STR(":status")) && value.n == 3)
		call->http_status =
		    (value.p[0] - '0') * 100 + (value.p[1] - '0') * 10 + (value.p[2] - '0');
	else if (agi_str_eq(name, AGI_STR("content-type")))
		call->is_grpc = agi_grpc_is_content_type(value);
	else if (agi_str_eq(name, AGI_STR("grpc-status"))) {
		call->has_status = true;
		call->status = agi_grpc_status_parse(value);
	} else if (agi_str_eq(name, AGI_STR("grpc-message"))) {
		agi_buf_reset(&call->message);
		agi_grpc_percent_decode(&call->message, value);
	}
}

void agi_grpc_client_data(struct agi_grpc_client_call *call, struct agi_str data)
{
	uint32_t max = call->ch->recv_max_bytes;

	if (!call->is_grpc || data.n == 0)
		return; /* an HTML page of some proxy, say */
	if (call->is_whole) {
		agi_grpc_client_end(call, AGI_GRPC_UNIMPLEMENTED,
				    "more than one message answers a unary call");
		return;
	}
	switch (agi_grpc_reader_feed(&call->reader, &data, max)) {
	case AGI_GRPC_READ_MORE:
		return;
	case AGI_GRPC_READ_MESSAGE:
		call->is_whole = true;
		if (data.n)
			agi_grpc_client_end(call, AGI_GRPC_UNIMPLEMENTED,
					    "more than one message answers a unary call");
		return;
	case AGI_GRPC_READ_TOO_LARGE:
		agi_grpc_client_end(call, AGI_GRPC_RESOURCE_EXHAUSTED,
				    "Received message larger than max (%u vs. %u)",
				    call->reader.message_bytes, max);
		return;
	case AGI_GRPC_READ_TOO_LARGE_UNPACKED:
	case AGI_GRPC_READ_BAD:
	case AGI_GRPC_READ_COMPRESSED:
		agi_grpc_client_end(call, AGI_GRPC_INTERNAL,
				    "the answer is compressed, which was not asked for");
		return;
	case AGI_GRPC_READ_NOMEM:
		agi_grpc_client_end(call, AGI_GRPC_RESOURCE_EXHAUSTED, "out of memory");
	}
}

/* The server has not looked at the call: once more, on another connection if need be. */
static bool retry(struct agi_grpc_client_call *call, uint32_t error_code)
{
	if (error_code != NGHTTP2_REFUSED_STREAM || call->was_refused || call->http_status)
		return false;
	TAILQ_REMOVE(&call->conn->calls, call, link);
	call->was_refused = true;
	call->conn = NULL;
	call->out_sent = 0;
	call->state = AGI_UNARY_WAITING;
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
		if (call->status == AGI_GRPC_OK && !call->is_whole)
			set_result(call, AGI_GRPC_UNIMPLEMENTED, "no message answers a unary call");
	} else if (call->http_status && call->http_status != 200) {
		snprintf(text, sizeof text, "HTTP status %d instead of a gRPC answer",
			 call->http_status);
		set_result(call, agi_grpc_status_of_http(call->http_status), text);
	} else if (error_code != NGHTTP2_NO_ERROR) {
		snprintf(text, sizeof text, "stream reset by the server: %s",
			 nghttp2_http2_strerror(error_code));
		set_result(call, agi_grpc_status_of_h2(error_code), text);
	} else {
		set_result(call, AGI_GRPC_UNKNOWN,
			   call->is_grpc ? "the answer has no grpc-status"
					 : "the answer is not application/grpc");
	}
	settle(call);
}

/* --- start ----------------------------------------------------------------------------------- */
static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	agi_grpc_client_end(arg, AGI_GRPC_DEADLINE_EXCEEDED, "Deadline Exceeded");
}

static void start_deadline(struct agi_grpc_client_call *call, uint32_t timeout_ms)
{
	struct timeval tv = {timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000};

	call->deadline_us = agi_h2_now_us() + (uint64_t)timeout_ms * 1000;
	event_assign(&call->deadline, call->ch->base, -1, 0, on_deadline, call);
	call->is_timed = event_add(&call->deadline, &tv) == 0;
}

enum agi_err agi_grpc_unary(struct agi_grpc_channel *ch, const char *path,
			    const ProtobufCMessage *req, const ProtobufCMessageDescriptor *res_type,
			    uint32_t timeout_ms, agi_grpc_done_fn *done, void *arg)
{
	struct agi_grpc_client_call *call = calloc(1, sizeof *call);
	bool is_packed;

	if (!call)
		return AGI_E_NOMEM;
	*call =
	    (struct agi_grpc_client_call){.ch = ch, .res_type = res_type, .done = done, .arg = arg};
	ch->n_calls++;
	call->path = strdup(path);
	is_packed = agi_grpc_put_message(&call->out, req);
	TAILQ_INSERT_TAIL(&ch->waiting, call, link);
	if (timeout_ms)
		start_deadline(call, timeout_ms);
	if (!call->path || !is_packed)
		agi_grpc_client_end(call, AGI_GRPC_RESOURCE_EXHAUSTED,
				    "the request is too large to send");
	else if (ch->n_calls > AGI_GRPC_CLIENT_CALLS_MAX)
		agi_grpc_client_end(call, AGI_GRPC_RESOURCE_EXHAUSTED,
				    "too many calls are open on this channel");
	else
		agi_grpc_channel_push(ch);
	return AGI_OK;
}
