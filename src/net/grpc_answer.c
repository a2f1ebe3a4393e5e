/* SPDX-License-Identifier: Apache-2.0
 * How a call is answered, by its handler or without one. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "net/grpc_server.h"

/* --- the answer ------------------------------------------------------------------------------ */
static const char *const status_digits[] = {"0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
					    "9", "10", "11", "12", "13", "14", "15", "16"};
enum { FIXED_HEADERS = 6 };

static nghttp2_nv nv(struct agi_str name, struct agi_str value, uint8_t flags)
{
	return (nghttp2_nv){(uint8_t *)name.p, (uint8_t *)value.p, name.n, value.n, flags};
}

static nghttp2_nv fixed(struct agi_str name, struct agi_str value)
{
	return nv(name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
}

static size_t add_extra(const struct agi_grpc_call *call, nghttp2_nv *to)
{
	struct agi_str name, value;
	size_t n = 0, at = 0;

	while (n < AGI_GRPC_EXTRA_HEADERS && agi_pairs_next(&call->extra, &at, &name, &value))
		to[n++] = nv(name, value, 0);
	return n;
}

static size_t add_status(const struct agi_grpc_call *call, nghttp2_nv *to)
{
	size_t n = 0;

	to[n++] = fixed(AGI_STR("grpc-status"), agi_str_of(status_digits[call->status]));
	if (call->message.n)
		to[n++] = nv(AGI_STR("grpc-message"), agi_buf_str(&call->message), 0);
	return n;
}

/* nghttp2 asks for the next bytes of a DATA frame. */
static ssize_t read_out(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t room,
			uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
	struct agi_grpc_call *call = source->ptr;
	size_t n = call->out.n - call->out_sent;
	nghttp2_nv trailers[2];

	(void)user_data;
	n = n < room ? n : room;
	if (n)
		memcpy(to, call->out.p + call->out_sent, n);
	call->out_sent += n;
	call->conn->reply_bytes -= n;
	agi_grpc_conn_set_full(call->conn);
	if (call->out_sent < call->out.n)
		return (ssize_t)n;
	if (!call->is_finished) {
		call->is_deferred = n == 0;
		return n ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
	}
	*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
	if (nghttp2_submit_trailer(session, stream_id, trailers, add_status(call, trailers)) != 0)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* the stream is reset */
	return (ssize_t)n;
}

/* Sends headers, and after them the messages in out when there are any to come (has_body). */
static void submit(struct agi_grpc_call *call, const char *http_status, bool has_body)
{
	nghttp2_nv h[FIXED_HEADERS + AGI_GRPC_EXTRA_HEADERS];
	nghttp2_data_provider body = {.source.ptr = call, .read_callback = read_out};
	nghttp2_session *session = call->conn->h2.session;
	size_t n = 0;

	call->is_answered = true;
	h[n++] = fixed(AGI_STR(":status"), agi_str_of(http_status));
	h[n++] = fixed(AGI_STR("content-type"), AGI_STR("application/grpc"));
	if (call->extra.n)
		n += add_extra(call, h + n);
	if (!has_body)
		n += add_status(call, h + n);
	if (nghttp2_submit_response(session, call->stream_id, h, n, has_body ? &body : NULL) != 0)
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream_id,
						NGHTTP2_INTERNAL_ERROR);
	agi_h2_wake(&call->conn->h2);
}

void agi_grpc_call_refuse_http(struct agi_grpc_call *call, const char *http_status,
			       enum agi_grpc_status status, struct agi_str text)
{
	if (call->is_answered)
		return;
	agi_grpc_call_observe(call, status);
	if (!call->conn)
		return;
	agi_grpc_percent_encode(&call->message, text);
	call->is_finished = true;
	submit(call, http_status, false);
}

void agi_grpc_call_refuse(struct agi_grpc_call *call, enum agi_grpc_status status, const char *text)
{
	agi_grpc_call_refuse_http(call, "200", status, agi_str_of(text));
}

void agi_grpc_call_sent(struct agi_grpc_call *call)
{
	if (!call->is_remote_closed && call->conn) /* the client need not send the rest */
		(void)nghttp2_submit_rst_stream(call->conn->h2.session, NGHTTP2_FLAG_NONE,
						call->stream_id, NGHTTP2_NO_ERROR);
}

/* --- what a handler may do ------------------------------------------------------------------- */
/* The handler has ended its call; it must not touch it again. */
static void handler_done(struct agi_grpc_call *call)
{
	call->state = AGI_CALL_ENDED;
	agi_grpc_call_stop_deadline(call);
	agi_grpc_call_drop_request(call);
	if (call->conn)
		return;
	if (call->server)
		LIST_REMOVE(call, link);
	agi_grpc_call_destroy(call);
}

void agi_grpc_reply(struct agi_grpc_call *call, const ProtobufCMessage *res)
{
	assert(call->state == AGI_CALL_RUNNING);
	if (call->is_answered || !call->conn) {
		handler_done(call);
		return;
	}
	if (!agi_grpc_put_message(&call->out, res)) {
		agi_buf_reset(&call->out);
		agi_grpc_fail(call, AGI_GRPC_RESOURCE_EXHAUSTED, "the answer is too large to send");
		return;
	}
	agi_grpc_call_observe(call, AGI_GRPC_OK);
	call->conn->reply_bytes += call->out.n;
	agi_grpc_conn_set_full(call->conn);
	call->is_finished = true;
	submit(call, "200", true);
	handler_done(call);
}

void agi_grpc_fail(struct agi_grpc_call *call, enum agi_grpc_status status, const char *fmt, ...)
{
	char text[AGI_GRPC_MESSAGE_MAX];
	va_list ap;

	assert(call->state == AGI_CALL_RUNNING);
	assert(status > AGI_GRPC_OK && status <= AGI_GRPC_UNAUTHENTICATED);
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	agi_grpc_call_refuse(call, status, text);
	handler_done(call);
}

void agi_grpc_fail_err(struct agi_grpc_call *call, enum agi_err err, const struct agi_why *why)
{
	assert(err != AGI_OK);
	agi_grpc_fail(call, agi_err_grpc(err), "%s: %s", agi_err_name(err),
		      why && why->text[0] ? why->text : agi_err_text(err));
}

void agi_grpc_call_add_header(struct agi_grpc_call *call, const char *name, struct agi_str value)
{
	struct agi_str n = agi_str_of(name);

	assert(nghttp2_check_header_name((const uint8_t *)n.p, n.n) && n.p[0] != ':');
	if (nghttp2_check_header_value((const uint8_t *)value.p, value.n))
		agi_pairs_put(&call->extra, n, value);
}
