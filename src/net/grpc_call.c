/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "net/grpc_server.h"

/* --- header lists: u16 name length, u32 value length, name, value ------------------------------------------ */
enum { PAIR_BYTES = 6 };

static void put_pair(struct agi_buf *b, struct agi_str name, struct agi_str value)
{
	uint8_t *to = agi_buf_reserve(b, PAIR_BYTES + name.n + value.n);
	uint16_t nn = (uint16_t)name.n;
	uint32_t vn = (uint32_t)value.n;

	if (!to)
		return;
	memcpy(to, &nn, 2);
	memcpy(to + 2, &vn, 4);
	memcpy(to + PAIR_BYTES, name.p, name.n);
	if (value.n)
		memcpy(to + PAIR_BYTES + name.n, value.p, value.n);
	b->n += PAIR_BYTES + name.n + value.n;
}

static bool next_pair(const struct agi_buf *b, size_t *at, struct agi_str *name, struct agi_str *value)
{
	uint16_t nn;
	uint32_t vn;

	if (*at >= b->n)
		return false;
	memcpy(&nn, b->p + *at, 2);
	memcpy(&vn, b->p + *at + 2, 4);
	*name = (struct agi_str){(const char *)b->p + *at + PAIR_BYTES, nn};
	*value = (struct agi_str){name->p + nn, vn};
	*at += PAIR_BYTES + nn + vn;
	return true;
}

/* --- making and freeing ---------------------------------------------------------------------------------- */
static void on_deadline(evutil_socket_t fd, short what, void *arg);

static struct agi_grpc_call *from_pool(struct agi_grpc_server *s)
{
	struct agi_grpc_call *call = TAILQ_FIRST(&s->pool), kept;

	if (!call)
		return calloc(1, sizeof *call);
	TAILQ_REMOVE(&s->pool, call, ready_link);
	s->n_pool--;
	kept = *call;
	*call = (struct agi_grpc_call){.headers = kept.headers, .message = kept.message, .extra = kept.extra,
	                               .out = kept.out, .pool = kept.pool};
	call->reader.message = kept.reader.message;
	return call;
}

struct agi_grpc_call *agi_grpc_call_new(struct agi_grpc_conn *c, int32_t stream_id)
{
	struct agi_grpc_call *call = from_pool(c->server);

	if (!call)
		return NULL;
	call->server = c->server;
	call->conn = c;
	call->stream_id = stream_id;
	call->remote = c->remote;
	call->start_us = agi_h2_now_us();
	LIST_INSERT_HEAD(&c->calls, call, link);
	c->n_calls++;
	c->server->n_calls++;
	return call;
}

static void free_buffers(struct agi_grpc_call *call)
{
	agi_buf_free(&call->headers);
	agi_buf_free(&call->message);
	agi_buf_free(&call->extra);
	agi_buf_free(&call->out);
	agi_buf_free(&call->reader.message);
	agi_pb_pool_free(&call->pool);
}

static void empty(struct agi_buf *b)
{
	if (b->cap > AGI_GRPC_POOLED_BYTES)
		agi_buf_free(b);
	else
		agi_buf_reset(b);
}

static void drop_request(struct agi_grpc_call *call)
{
	if (call->server)
		call->server->request_bytes -= call->charged_bytes;
	call->charged_bytes = 0;
	call->req = NULL;
	agi_pb_pool_reset(&call->pool);
	empty(&call->reader.message);
}

static void stop_deadline(struct agi_grpc_call *call)
{
	if (call->is_timed)
		event_del(&call->deadline);
	call->is_timed = false;
}

void agi_grpc_call_destroy(struct agi_grpc_call *call)
{
	struct agi_grpc_server *s = call->server;

	stop_deadline(call);
	drop_request(call);
	if (!s || s->n_pool >= AGI_GRPC_POOLED_CALLS) {
		free_buffers(call);
		free(call);
	} else {
		empty(&call->headers);
		empty(&call->message);
		empty(&call->extra);
		empty(&call->out);
		TAILQ_INSERT_HEAD(&s->pool, call, ready_link);
		s->n_pool++;
	}
	if (s)
		s->n_calls--;
}

static void observe(struct agi_grpc_call *call, enum agi_grpc_status status)
{
	struct agi_grpc_server *s = call->server;
	const struct agi_grpc_route *r = call->route;

	if (call->is_observed)
		return;
	call->is_observed = true;
	call->status = status;
	if (s && s->observe)
		s->observe(s->observe_ctx, r ? r->service : "unknown", r ? r->method : "unknown", status,
		           agi_h2_now_us() - call->start_us);
}

/* --- the answer ---------------------------------------------------------------------------------------- */
static const char *const status_digits[] = {"0", "1", "2",  "3",  "4",  "5",  "6",  "7", "8",
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

	while (n < AGI_GRPC_EXTRA_HEADERS && next_pair(&call->extra, &at, &name, &value))
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

static void set_full(struct agi_grpc_conn *c) { c->h2.is_full = c->reply_bytes > AGI_GRPC_REPLY_BYTES_HIGH; }

/* nghttp2 asks for the next bytes of a DATA frame. */
static ssize_t read_out(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t room, uint32_t *flags,
                        nghttp2_data_source *source, void *user_data)
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
	set_full(call->conn);
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

/* Ends the call on the wire without a message (Trailers-Only), unless it has been answered. */
static void refuse_http(struct agi_grpc_call *call, const char *http_status, enum agi_grpc_status status,
                        struct agi_str text)
{
	if (call->is_answered)
		return;
	observe(call, status);
	if (!call->conn)
		return;
	agi_grpc_percent_encode(&call->message, text);
	call->is_finished = true;
	submit(call, http_status, false);
}

static void refuse(struct agi_grpc_call *call, enum agi_grpc_status status, const char *text)
{
	refuse_http(call, "200", status, agi_str_of(text));
}

/* Refused before a handler saw it: what is still coming is dropped. */
static void refuse_early(struct agi_grpc_call *call, enum agi_grpc_status status, const char *text)
{
	call->state = AGI_CALL_ENDED;
	refuse(call, status, text);
	drop_request(call);
}

void agi_grpc_call_sent(struct agi_grpc_call *call)
{
	if (!call->is_remote_closed && call->conn) /* the client need not send the rest */
		(void)nghttp2_submit_rst_stream(call->conn->h2.session, NGHTTP2_FLAG_NONE, call->stream_id,
		                                NGHTTP2_NO_ERROR);
}

/* --- request: headers -------------------------------------------------------------------------------------- */
static void take_encoding(struct agi_grpc_call *call, struct agi_str value)
{
	if (agi_str_eq(value, AGI_STR("identity")))
		return;
	snprintf(call->encoding, sizeof call->encoding, "%.*s", AGI_STR_ARG(value));
	if (!call->encoding[0])
		call->encoding[0] = '?';
}

static void take_timeout(struct agi_grpc_call *call, struct agi_str value)
{
	uint64_t us;

	if (!agi_grpc_timeout_parse(value, &us)) {
		call->is_bad_timeout = true;
		return;
	}
	call->has_deadline = true;
	call->deadline_us = call->start_us + us;
}

static void take_pseudo(struct agi_grpc_call *call, struct agi_str name, struct agi_str value)
{
	if (agi_str_eq(name, AGI_STR(":path")))
		call->route = agi_grpc_route_find(call->server, value);
	else if (agi_str_eq(name, AGI_STR(":method")))
		call->is_post = agi_str_eq(value, AGI_STR("POST"));
}

enum agi_err agi_grpc_call_header(struct agi_grpc_call *call, struct agi_str name, struct agi_str value)
{
	call->header_list_bytes += name.n + value.n + 32;
	if (call->header_list_bytes > call->server->cfg.header_bytes_max) {
		call->is_oversized = true;
		return AGI_OK;
	}
	if (name.n && name.p[0] == ':') {
		take_pseudo(call, name, value);
		return AGI_OK;
	}
	if (agi_str_eq(name, AGI_STR("content-type")))
		call->is_grpc = agi_grpc_is_content_type(value);
	else if (agi_str_eq(name, AGI_STR("grpc-timeout")))
		take_timeout(call, value);
	else if (agi_str_eq(name, AGI_STR("grpc-encoding")))
		take_encoding(call, value);
	put_pair(&call->headers, name, value);
	return call->headers.err;
}

static void start_deadline(struct agi_grpc_call *call)
{
	uint64_t left = call->deadline_us - call->start_us;
	struct timeval tv = {(time_t)(left / 1000000), (suseconds_t)(left % 1000000)};

	event_assign(&call->deadline, call->server->loop.base, -1, 0, on_deadline, call);
	call->is_timed = event_add(&call->deadline, &tv) == 0;
}

static void refuse_encoding(struct agi_grpc_call *call)
{
	char text[96];

	put_pair(&call->extra, AGI_STR("grpc-accept-encoding"), AGI_STR("identity"));
	snprintf(text, sizeof text, "grpc-encoding \"%s\" is not supported; send \"identity\"", call->encoding);
	refuse_early(call, AGI_GRPC_UNIMPLEMENTED, text);
}

void agi_grpc_call_headers_done(struct agi_grpc_call *call)
{
	const struct agi_grpc_server *s = call->server;

	if (call->is_oversized)
		refuse_early(call, AGI_GRPC_RESOURCE_EXHAUSTED, "request headers larger than the limit");
	else if (!call->is_post) {
		put_pair(&call->extra, AGI_STR("allow"), AGI_STR("POST"));
		call->state = AGI_CALL_ENDED;
		refuse_http(call, "405", AGI_GRPC_INTERNAL, AGI_STR("gRPC requests use the method POST"));
	} else if (!call->is_grpc) {
		call->state = AGI_CALL_ENDED;
		refuse_http(call, "415", AGI_GRPC_INTERNAL, AGI_STR("content-type must be application/grpc"));
	} else if (call->is_bad_timeout)
		refuse_early(call, AGI_GRPC_INTERNAL, "malformed grpc-timeout: expected 1 to 8 digits and a unit");
	else if (!call->route)
		refuse_early(call, AGI_GRPC_UNIMPLEMENTED, "Method not found!");
	else if (!call->route->handler)
		refuse_early(call, AGI_GRPC_UNIMPLEMENTED, "Method not implemented!");
	else if (call->encoding[0])
		refuse_encoding(call);
	else if (s->n_calls > s->cfg.calls_max)
		refuse_early(call, AGI_GRPC_RESOURCE_EXHAUSTED, "too many calls in progress");
	if (call->state != AGI_CALL_ENDED && call->has_deadline)
		start_deadline(call);
}

/* --- request: message --------------------------------------------------------------------------------------- */
static void refuse_large(struct agi_grpc_call *call)
{
	char text[96];

	snprintf(text, sizeof text, "Received message larger than max (%u vs. %u)", call->reader.message_bytes,
	         call->server->cfg.recv_max_bytes);
	refuse_early(call, AGI_GRPC_RESOURCE_EXHAUSTED, text);
}

static bool charge(struct agi_grpc_call *call, size_t n)
{
	struct agi_grpc_server *s = call->server;

	if (n > AGI_GRPC_REQUEST_BYTES_MAX - s->request_bytes)
		return false;
	s->request_bytes += n;
	call->charged_bytes += n;
	return true;
}

void agi_grpc_call_data(struct agi_grpc_call *call, struct agi_str data)
{
	enum agi_grpc_read r = AGI_GRPC_READ_MESSAGE;

	if (call->state != AGI_CALL_RECEIVING || data.n == 0)
		return;
	if (!call->is_whole)
		r = agi_grpc_reader_feed(&call->reader, &data, call->server->cfg.recv_max_bytes);
	if (r == AGI_GRPC_READ_TOO_LARGE)
		refuse_large(call);
	else if (r == AGI_GRPC_READ_COMPRESSED)
		refuse_early(call, AGI_GRPC_INTERNAL, "Compressed-Flag is set but there is no grpc-encoding");
	else if (r == AGI_GRPC_READ_NOMEM || !charge(call, call->reader.message.n - call->charged_bytes))
		refuse_early(call, AGI_GRPC_RESOURCE_EXHAUSTED, "too many request bytes at once");
	else if (r == AGI_GRPC_READ_MESSAGE) {
		call->is_whole = true;
		if (data.n)
			refuse_early(call, AGI_GRPC_UNIMPLEMENTED, "a unary call has one request message");
	}
}

void agi_grpc_call_request_done(struct agi_grpc_call *call)
{
	call->is_remote_closed = true;
	if (call->state != AGI_CALL_RECEIVING)
		return;
	if (!call->is_whole) {
		if (agi_grpc_reader_is_idle(&call->reader))
			refuse_early(call, AGI_GRPC_UNIMPLEMENTED, "a unary call has one request message");
		else
			refuse_early(call, AGI_GRPC_INTERNAL, "the request ends inside a message");
		return;
	}
	call->state = AGI_CALL_READY;
	TAILQ_INSERT_TAIL(&call->conn->ready, call, ready_link);
}

void agi_grpc_call_dispatch(struct agi_grpc_call *call)
{
	const struct agi_grpc_route *r = call->route;

	TAILQ_REMOVE(&call->conn->ready, call, ready_link);
	call->req = agi_pb_unpack_pool(r->input, agi_buf_str(&call->reader.message), &call->pool, NULL);
	if (!call->req) {
		refuse_early(call, AGI_GRPC_INTERNAL, "Exception deserializing request!");
		return;
	}
	call->state = AGI_CALL_RUNNING;
	r->handler(call, call->req, r->ctx);
}

/* --- ends that nobody asked for ------------------------------------------------------------------------- */
static void tell_handler(struct agi_grpc_call *call)
{
	void (*fn)(void *arg) = call->on_cancel;

	call->on_cancel = NULL;
	if (call->state == AGI_CALL_RUNNING && fn)
		fn(call->on_cancel_arg); /* may end and free the call */
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct agi_grpc_call *call = arg;

	(void)fd;
	(void)what;
	assert(call->state != AGI_CALL_READY); /* dispatch follows in the same turn */
	if (call->state == AGI_CALL_RECEIVING) {
		refuse_early(call, AGI_GRPC_DEADLINE_EXCEEDED, "Deadline Exceeded");
		return;
	}
	refuse(call, AGI_GRPC_DEADLINE_EXCEEDED, "Deadline Exceeded");
	tell_handler(call);
}

/* Cuts the call from its connection. */
static void detach(struct agi_grpc_call *call)
{
	struct agi_grpc_conn *c = call->conn;

	LIST_REMOVE(call, link);
	if (call->state == AGI_CALL_READY)
		TAILQ_REMOVE(&c->ready, call, ready_link);
	c->n_calls--;
	c->reply_bytes -= call->out.n - call->out_sent;
	set_full(c);
	call->conn = NULL;
}

void agi_grpc_call_closed(struct agi_grpc_call *call)
{
	detach(call);
	observe(call, AGI_GRPC_CANCELLED);
	if (call->state != AGI_CALL_RUNNING) {
		agi_grpc_call_destroy(call);
		return;
	}
	LIST_INSERT_HEAD(&call->server->orphans, call, link);
	tell_handler(call);
}

void agi_grpc_call_orphan(struct agi_grpc_call *call)
{
	LIST_REMOVE(call, link);
	stop_deadline(call);
	call->server = NULL;
}

void agi_grpc_call_expire(struct agi_grpc_call *call)
{
	refuse_early(call, AGI_GRPC_DEADLINE_EXCEEDED, "the request did not arrive in time");
}

/* --- what a handler may do --------------------------------------------------------------------------------- */
/* The handler has ended its call; it must not touch it again. */
static void handler_done(struct agi_grpc_call *call)
{
	call->state = AGI_CALL_ENDED;
	stop_deadline(call);
	drop_request(call);
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
	observe(call, AGI_GRPC_OK);
	call->conn->reply_bytes += call->out.n;
	set_full(call->conn);
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
	refuse(call, status, text);
	handler_done(call);
}

void agi_grpc_fail_err(struct agi_grpc_call *call, enum agi_err err, const struct agi_why *why)
{
	assert(err != AGI_OK);
	agi_grpc_fail(call, agi_err_grpc(err), "%s: %s", agi_err_name(err),
	              why && why->text[0] ? why->text : agi_err_text(err));
}

uint32_t agi_grpc_call_left_ms(const struct agi_grpc_call *call)
{
	uint64_t now, left;

	if (!call->has_deadline)
		return UINT32_MAX;
	now = agi_h2_now_us();
	left = now < call->deadline_us ? (call->deadline_us - now) / 1000 : 0;
	return left < UINT32_MAX ? (uint32_t)left : UINT32_MAX - 1;
}

struct agi_str agi_grpc_call_bytes(const struct agi_grpc_call *call)
{
	return agi_buf_str(&call->reader.message);
}

struct agi_str agi_grpc_call_metadata(const struct agi_grpc_call *call, const char *name)
{
	struct agi_str want = agi_str_of(name), n, v;
	size_t at = 0;

	while (next_pair(&call->headers, &at, &n, &v))
		if (agi_str_eq(n, want))
			return v;
	return (struct agi_str){NULL, 0};
}

const struct agi_addr *agi_grpc_call_remote(const struct agi_grpc_call *call) { return &call->remote; }

void agi_grpc_call_on_cancel(struct agi_grpc_call *call, void (*fn)(void *arg), void *arg)
{
	call->on_cancel = fn;
	call->on_cancel_arg = arg;
}

void agi_grpc_call_add_header(struct agi_grpc_call *call, const char *name, struct agi_str value)
{
	struct agi_str n = agi_str_of(name);

	assert(nghttp2_check_header_name((const uint8_t *)n.p, n.n) && n.p[0] != ':');
	if (nghttp2_check_header_value((const uint8_t *)value.p, value.n))
		put_pair(&call->extra, n, value);
}
