/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/grpc_server.h"

/* --- making and freeing ---------------------------------------------------------------------- */
static void on_deadline(evutil_socket_t fd, short what, void *arg);

static struct agi_grpc_call *from_pool(struct agi_grpc_server *s)
{
	struct agi_grpc_call *call = TAILQ_FIRST(&s->pool), kept;

	if (!call)
		return calloc(1, sizeof *call);
	TAILQ_REMOVE(&s->pool, call, ready_link);
	s->n_pool--;
	kept = *call;
	*call = (struct agi_grpc_call){.headers = kept.headers,
				       .message = kept.message,
				       .extra = kept.extra,
				       .out = kept.out,
				       .pool = kept.pool};
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

void agi_grpc_call_drop_request(struct agi_grpc_call *call)
{
	if (call->server)
		call->server->request_bytes -= call->charged_bytes;
	call->charged_bytes = 0;
	call->req = NULL;
	agi_pb_pool_reset(&call->pool);
	empty(&call->reader.message);
}

void agi_grpc_call_stop_deadline(struct agi_grpc_call *call)
{
	if (call->is_timed)
		event_del(&call->deadline);
	call->is_timed = false;
}

void agi_grpc_call_destroy(struct agi_grpc_call *call)
{
	struct agi_grpc_server *s = call->server;

	agi_grpc_call_stop_deadline(call);
	agi_grpc_call_drop_request(call);
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

void agi_grpc_call_observe(struct agi_grpc_call *call, enum agi_grpc_status status)
{
	struct agi_grpc_server *s = call->server;
	const struct agi_grpc_route *r = call->route;

	if (call->is_observed)
		return;
	call->is_observed = true;
	call->status = status;
	if (s && s->observe)
		s->observe(s->observe_ctx, r ? r->service : "unknown", r ? r->method : "unknown",
			   status, agi_h2_now_us() - call->start_us);
}

/* Refused before a handler saw it: what is still coming is dropped. */
static void refuse_early(struct agi_grpc_call *call, enum agi_grpc_status status, const char *text)
{
	call->state = AGI_CALL_ENDED;
	agi_grpc_call_refuse(call, status, text);
	agi_grpc_call_drop_request(call);
}

/* --- request: headers ------------------------------------------------------------------------ */
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

enum agi_err agi_grpc_call_header(struct agi_grpc_call *call, struct agi_str name,
				  struct agi_str value)
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
	agi_pairs_put(&call->headers, name, value);
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

	agi_pairs_put(&call->extra, AGI_STR("grpc-accept-encoding"), AGI_STR("identity"));
	snprintf(text, sizeof text, "grpc-encoding \"%s\" is not supported; send \"identity\"",
		 call->encoding);
	refuse_early(call, AGI_GRPC_UNIMPLEMENTED, text);
}

void agi_grpc_call_headers_done(struct agi_grpc_call *call)
{
	const struct agi_grpc_server *s = call->server;

	if (call->is_oversized)
		refuse_early(call, AGI_GRPC_RESOURCE_EXHAUSTED,
			     "request headers larger than the limit");
	else if (!call->is_post) {
		agi_pairs_put(&call->extra, AGI_STR("allow"), AGI_STR("POST"));
		call->state = AGI_CALL_ENDED;
		agi_grpc_call_refuse_http(call, "405", AGI_GRPC_INTERNAL,
					  AGI_STR("gRPC requests use the method POST"));
	} else if (!call->is_grpc) {
		call->state = AGI_CALL_ENDED;
		agi_grpc_call_refuse_http(call, "415", AGI_GRPC_INTERNAL,
					  AGI_STR("content-type must be application/grpc"));
	} else if (call->is_bad_timeout)
		refuse_early(call, AGI_GRPC_INTERNAL,
			     "malformed grpc-timeout: expected 1 to 8 digits and a unit");
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

/* --- request: message ------------------------------------------------------------------------ */
static void refuse_large(struct agi_grpc_call *call)
{
	char text[96];

	snprintf(text, sizeof text, "Received message larger than max (%u vs. %u)",
		 call->reader.message_bytes, call->server->cfg.recv_max_bytes);
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
		refuse_early(call, AGI_GRPC_INTERNAL,
			     "Compressed-Flag is set but there is no grpc-encoding");
	else if (r == AGI_GRPC_READ_NOMEM ||
		 !charge(call, call->reader.message.n - call->charged_bytes))
		refuse_early(call, AGI_GRPC_RESOURCE_EXHAUSTED, "too many request bytes at once");
	else if (r == AGI_GRPC_READ_MESSAGE) {
		call->is_whole = true;
		if (data.n)
			refuse_early(call, AGI_GRPC_UNIMPLEMENTED,
				     "a unary call has one request message");
	}
}

void agi_grpc_call_request_done(struct agi_grpc_call *call)
{
	call->is_remote_closed = true;
	if (call->state != AGI_CALL_RECEIVING)
		return;
	if (!call->is_whole) {
		if (agi_grpc_reader_is_idle(&call->reader))
			refuse_early(call, AGI_GRPC_UNIMPLEMENTED,
				     "a unary call has one request message");
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
	call->req =
	    agi_pb_unpack_pool(r->input, agi_buf_str(&call->reader.message), &call->pool, NULL);
	if (!call->req) {
		refuse_early(call, AGI_GRPC_INTERNAL, "Exception deserializing request!");
		return;
	}
	call->state = AGI_CALL_RUNNING;
	r->handler(call, call->req, r->ctx);
}

/* --- ends that nobody asked for -------------------------------------------------------------- */
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
	agi_grpc_call_refuse(call, AGI_GRPC_DEADLINE_EXCEEDED, "Deadline Exceeded");
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
	agi_grpc_conn_set_full(c);
	call->conn = NULL;
}

void agi_grpc_call_closed(struct agi_grpc_call *call)
{
	detach(call);
	agi_grpc_call_observe(call, AGI_GRPC_CANCELLED);
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
	agi_grpc_call_stop_deadline(call);
	call->server = NULL;
}

void agi_grpc_call_expire(struct agi_grpc_call *call)
{
	refuse_early(call, AGI_GRPC_DEADLINE_EXCEEDED, "the request did not arrive in time");
}

/* --- what a handler may ask ------------------------------------------------------------------ */
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

	while (agi_pairs_next(&call->headers, &at, &n, &v))
		if (agi_str_eq(n, want))
			return v;
	return (struct agi_str){NULL, 0};
}

const struct agi_addr *agi_grpc_call_remote(const struct agi_grpc_call *call)
{
	return &call->remote;
}

void agi_grpc_call_on_cancel(struct agi_grpc_call *call, void (*fn)(void *arg), void *arg)
{
	call->on_cancel = fn;
	call->on_cancel_arg = arg;
}
