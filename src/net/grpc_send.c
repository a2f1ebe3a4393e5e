/* SPDX-License-Identifier: Apache-2.0
 * The answer: headers, messages, trailers. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "net/grpc_server.h"

static const char *const status_digits[] = {"0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
					    "9", "10", "11", "12", "13", "14", "15", "16"};
enum { FIXED_HEADERS = 8 };

/* --- header lists ---------------------------------------------------------------------------- */
static nghttp2_nv nv(struct agi_str name, struct agi_str value, uint8_t flags)
{
	return (nghttp2_nv){(uint8_t *)name.p, (uint8_t *)value.p, name.n, value.n, flags};
}

static nghttp2_nv fixed(struct agi_str name, struct agi_str value)
{
	return nv(name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
}

static size_t add_list(const struct agi_buf *list, nghttp2_nv *to)
{
	struct agi_str name, value;
	size_t n = 0, at = 0;

	while (n < AGI_GRPC_EXTRA_HEADERS && agi_pairs_next(list, &at, &name, &value))
		to[n++] = nv(name, value, 0);
	return n;
}

static size_t add_status(const struct agi_grpc_call *call, nghttp2_nv *to)
{
	size_t n = 0;

	to[n++] = fixed(AGI_STR("grpc-status"), agi_str_of(status_digits[call->status]));
	if (call->message.n)
		to[n++] = nv(AGI_STR("grpc-message"), agi_buf_str(&call->message), 0);
	return n + (call->trailers.n ? add_list(&call->trailers, to + n) : 0);
}

void agi_grpc_call_add_header(struct agi_grpc_call *call, const char *name, struct agi_str value)
{
	(void)!agi_meta_give(&call->extra, agi_str_of(name), value);
}

void agi_grpc_call_add_trailer(struct agi_grpc_call *call, const char *name, struct agi_str value)
{
	(void)!agi_meta_give(&call->trailers, agi_str_of(name), value);
}

/* --- out ------------------------------------------------------------------------------------- */
void agi_grpc_conn_update_full(struct agi_grpc_conn *c)
{
	c->h2.is_full = c->reply_bytes > AGI_GRPC_REPLY_BYTES_HIGH;
	if (!c->h2.is_full)
		agi_grpc_conn_release(c);
}

static size_t pending_bytes(const struct agi_grpc_call *call)
{
	return call->out.n - call->out_sent;
}

static void after_sending(struct agi_grpc_call *call, size_t n)
{
	call->out_sent += n;
	call->conn->reply_bytes -= n;
	agi_grpc_conn_update_full(call->conn);
	if (call->is_blocked && pending_bytes(call) <= AGI_GRPC_SEND_LOW) {
		call->is_blocked = false;
		call->is_writable = true;
		agi_grpc_call_enqueue(call);
	}
}

/* nghttp2 asks for the next bytes of a DATA frame. */
static ssize_t read_out(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t room,
			uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
	struct agi_grpc_call *call = source->ptr;
	size_t n = pending_bytes(call);
	nghttp2_nv trailers[2 + AGI_GRPC_EXTRA_HEADERS];

	(void)user_data;
	n = n < room ? n : room;
	if (n) {
		memcpy(to, call->out.p + call->out_sent, n);
		after_sending(call, n);
	}
	if (pending_bytes(call))
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

static void reset_stream(struct agi_grpc_call *call, uint32_t error_code)
{
	(void)nghttp2_submit_rst_stream(call->conn->h2.session, NGHTTP2_FLAG_NONE, call->stream_id,
					error_code);
	agi_h2_wake(&call->conn->h2);
}

/* Sends headers, and after them the messages in out when there are any to come (has_body). */
static void submit(struct agi_grpc_call *call, const char *http_status, bool has_body)
{
	nghttp2_nv h[FIXED_HEADERS + 2 * AGI_GRPC_EXTRA_HEADERS];
	nghttp2_data_provider body = {.source.ptr = call, .read_callback = read_out};
	size_t n = 0;

	call->is_answered = true;
	h[n++] = fixed(AGI_STR(":status"), agi_str_of(http_status));
	h[n++] = fixed(AGI_STR("content-type"), AGI_STR("application/grpc"));
	if (call->is_packing) {
		h[n++] = fixed(AGI_STR("grpc-encoding"), AGI_STR("gzip"));
		h[n++] = fixed(AGI_STR("grpc-accept-encoding"), AGI_STR(AGI_GRPC_ACCEPT_ENCODING));
	}
	if (call->extra.n)
		n += add_list(&call->extra, h + n);
	if (!has_body)
		n += add_status(call, h + n);
	if (nghttp2_submit_response(call->conn->h2.session, call->stream_id, h, n,
				    has_body ? &body : NULL) != 0)
		reset_stream(call, NGHTTP2_INTERNAL_ERROR);
	agi_h2_wake(&call->conn->h2);
}

static void resume(struct agi_grpc_call *call)
{
	if (call->is_deferred)
		(void)nghttp2_session_resume_data(call->conn->h2.session, call->stream_id);
	call->is_deferred = false;
	agi_h2_wake(&call->conn->h2);
}

void agi_grpc_call_sent(struct agi_grpc_call *call)
{
	if (!call->is_remote_closed && call->conn) /* the client need not send the rest */
		reset_stream(call, NGHTTP2_NO_ERROR);
}

/* --- ends ------------------------------------------------------------------------------------ */
void agi_grpc_call_refuse_http(struct agi_grpc_call *call, const char *http_status,
			       enum agi_grpc_status status, struct agi_str text)
{
	if (call->is_finished)
		return;
	agi_grpc_call_observe(call, status);
	call->is_finished = true;
	call->is_blocked = false;
	if (call->hop)
		agi_grpc_hop_status(call->hop, status, text);
	if (!call->conn)
		return;
	agi_grpc_percent_encode(&call->message, text);
	if (call->is_answered)
		resume(call);
	else
		submit(call, http_status, false);
}

void agi_grpc_call_refuse(struct agi_grpc_call *call, enum agi_grpc_status status,
			  struct agi_str text)
{
	agi_grpc_call_refuse_http(call, "200", status, text);
}

void agi_grpc_call_refuse_early(struct agi_grpc_call *call, enum agi_grpc_status status,
				const char *text)
{
	call->state = AGI_CALL_ENDED;
	agi_grpc_call_refuse(call, status, agi_str_of(text));
	agi_grpc_call_drop_request(call);
}

void agi_grpc_call_cut(struct agi_grpc_call *call, enum agi_grpc_status status, struct agi_str text)
{
	if (!call->is_finished && call->conn && pending_bytes(call)) {
		agi_grpc_call_observe(call, status);
		call->is_finished = true;
		reset_stream(call, NGHTTP2_CANCEL);
		return;
	}
	agi_grpc_call_refuse(call, status, text);
}

/* --- what a handler may do ------------------------------------------------------------------- */
/* Messages that are gone make room. */
static void compact(struct agi_grpc_call *call)
{
	struct agi_buf *b = &call->out;

	if (call->out_sent == 0 || call->out_sent < b->n - call->out_sent)
		return;
	memmove(b->p, b->p + call->out_sent, b->n - call->out_sent);
	b->n -= call->out_sent;
	call->out_sent = 0;
	call->out_seen = 0;
}

/* Answers are compressed from the first message on, or not at all: the headers say so. */
static void decide_packing(struct agi_grpc_call *call)
{
	struct agi_grpc_server *s = call->server;
	bool is_wanted = s->cfg.compress == AGI_GRPC_COMPRESS_ACCEPTED ||
			 (s->cfg.compress == AGI_GRPC_COMPRESS_ASKED &&
			  call->reader.encoding != AGI_GRPC_IDENTITY);

	if (!is_wanted || call->is_answered ||
	    !agi_grpc_accepts(agi_grpc_call_metadata(call, "grpc-accept-encoding"), AGI_GRPC_GZIP))
		return;
	if (!s->packer)
		s->packer = agi_grpc_packer_new();
	call->is_packing = s->packer != NULL;
}

/* One answer may be of any size; on top of others it must fit. */
static bool may_hold(const struct agi_grpc_call *call, size_t n)
{
	const struct agi_grpc_conn *c = call->conn;

	return c->reply_bytes == 0 || c->reply_bytes + n <= call->server->cfg.conn_bytes_max;
}

/* What is answered: a message, or bytes that are one. */
struct piece {
	const ProtobufCMessage *message; /* NULL: bytes */
	struct agi_str bytes;
};

static bool put_piece(struct agi_grpc_call *call, const struct piece *m)
{
	struct agi_grpc_server *s = call->server;
	size_t n = !call->is_packing ? 0
		   : m->message	     ? protobuf_c_message_get_packed_size(m->message)
				     : m->bytes.n;
	bool is_packed = call->is_packing && n >= s->cfg.compress_min_bytes;

	if (m->message)
		return is_packed ? agi_grpc_put_packed(&call->out, m->message, s->packer)
				 : agi_grpc_put_message(&call->out, m->message);
	return is_packed ? agi_grpc_put_packed_bytes(&call->out, m->bytes, s->packer)
			 : agi_grpc_put_bytes(&call->out, m->bytes);
}

static enum agi_err put(struct agi_grpc_call *call, const struct piece *m)
{
	struct agi_grpc_conn *c = call->conn;
	size_t before, n;

	if (call->hop)
		return agi_grpc_hop_put(call->hop, m->message, m->bytes);
	if (call->out_sent)
		compact(call);
	before = call->out.n;
	decide_packing(call);
	if (!put_piece(call, m)) {
		call->out.err = AGI_OK;
		return AGI_E_TOO_LARGE;
	}
	n = call->out.n - before;
	if (!may_hold(call, n)) {
		call->out.n = before;
		if (!before) /* its end may wait long, the memory shall not */
			agi_buf_free(&call->out);
		return AGI_E_TOO_LARGE;
	}
	c->reply_bytes += n;
	agi_grpc_conn_update_full(c);
	return AGI_OK;
}

/* What was put goes out. */
static void go(struct agi_grpc_call *call)
{
	if (call->hop)
		agi_grpc_hop_flush(call->hop);
	else if (call->is_answered)
		resume(call);
	else
		submit(call, "200", true);
}

static bool is_gone(const struct agi_grpc_call *call)
{
	return call->is_finished || (!call->conn && !call->hop);
}

static bool is_full(const struct agi_grpc_call *call)
{
	size_t n = pending_bytes(call);

	if (call->hop)
		return agi_grpc_hop_is_full(call->hop);
	return n >= AGI_GRPC_SEND_HIGH || (n && call->conn->reply_bytes > AGI_GRPC_REPLY_BYTES_HIGH);
}

static enum agi_err send_piece(struct agi_grpc_call *call, const struct piece *m)
{
	enum agi_err e;

	assert(call->state == AGI_CALL_RUNNING);
	if (is_gone(call))
		return AGI_E_CANCELLED;
	if (is_full(call)) {
		call->is_blocked = true;
		return AGI_E_FULL;
	}
	e = put(call, m);
	if (!e)
		go(call);
	return e;
}

enum agi_err agi_grpc_send(struct agi_grpc_call *call, const ProtobufCMessage *res)
{
	return send_piece(call, &(struct piece){.message = res});
}

enum agi_err agi_grpc_send_bytes(struct agi_grpc_call *call, struct agi_str bytes)
{
	return send_piece(call, &(struct piece){.bytes = bytes});
}

void agi_grpc_send_headers(struct agi_grpc_call *call)
{
	assert(call->state == AGI_CALL_RUNNING);
	if (call->is_answered || is_gone(call))
		return;
	if (call->hop) {
		agi_grpc_hop_headers(call->hop);
		return;
	}
	decide_packing(call);
	submit(call, "200", true);
}

void agi_grpc_finish(struct agi_grpc_call *call)
{
	assert(call->state == AGI_CALL_RUNNING);
	agi_grpc_call_refuse(call, AGI_GRPC_OK, AGI_STR(""));
	agi_grpc_call_handler_done(call);
}

/* The last message and OK. */
static void answer(struct agi_grpc_call *call, const struct piece *m)
{
	assert(call->state == AGI_CALL_RUNNING);
	if (is_gone(call)) {
		agi_grpc_call_handler_done(call);
		return;
	}
	if (put(call, m)) {
		agi_grpc_fail(call, AGI_GRPC_RESOURCE_EXHAUSTED, "the answer is too large to send");
		return;
	}
	agi_grpc_call_observe(call, AGI_GRPC_OK);
	call->is_finished = true;
	if (!call->hop) /* else with the end that follows */
		go(call);
	agi_grpc_call_handler_done(call);
}

void agi_grpc_reply(struct agi_grpc_call *call, const ProtobufCMessage *res)
{
	answer(call, &(struct piece){.message = res});
}

void agi_grpc_relay(struct agi_grpc_call *call, enum agi_grpc_status status, struct agi_str text,
		    struct agi_str res)
{
	assert(call->state == AGI_CALL_RUNNING);
	assert(call->route->kind == AGI_GRPC_SERVER_STREAM ||
	       (call->route->kind == AGI_GRPC_UNARY && !call->is_answered));
	if (status == AGI_GRPC_OK && call->route->kind == AGI_GRPC_UNARY) {
		answer(call, &(struct piece){.bytes = res});
		return;
	}
	agi_grpc_call_refuse(call, status, text);
	agi_grpc_call_handler_done(call);
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
	agi_grpc_call_refuse(call, status, agi_str_of(text));
	agi_grpc_call_handler_done(call);
}

void agi_grpc_fail_err(struct agi_grpc_call *call, enum agi_err err, const struct agi_why *why)
{
	agi_grpc_fail_retry(call, err, why, 0);
}

void agi_grpc_fail_retry(struct agi_grpc_call *call, enum agi_err err, const struct agi_why *why,
			 uint32_t retry_ms)
{
	char text[AGI_GRPC_MESSAGE_MAX], ms[16];
	struct agi_buf details;

	assert(err != AGI_OK);
	snprintf(text, sizeof text, "%s: %s", agi_err_name(err),
		 why && why->text[0] ? why->text : agi_err_text(err));
	agi_buf_init(&details, 0);
	agi_grpc_put_details(&details, agi_err_grpc(err), agi_str_of(text),
			     agi_str_of(agi_err_name(err)), retry_ms);
	if (retry_ms) {
		snprintf(ms, sizeof ms, "%u", retry_ms);
		agi_grpc_call_add_trailer(call, AGI_GRPC_PUSHBACK, agi_str_of(ms));
	}
	if (!details.err && details.n)
		agi_grpc_call_add_trailer(call, "grpc-status-details-bin", agi_buf_str(&details));
	agi_buf_free(&details);
	agi_grpc_fail(call, agi_err_grpc(err), "%s", text);
}
