/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "net/grpc_server.h"

/* --- making and freeing ---------------------------------------------------------------------- */
enum { DEADLINE_SLACK_US = 10000 };

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
				       .trailers = kept.trailers,
				       .in = kept.in,
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
	call->start_us = c->h2.last_in_us; /* its HEADERS were read just now */
	call->window = AGI_H2_STREAM_WINDOW;
	LIST_INSERT_HEAD(&c->calls, call, link);
	c->n_calls++;
	c->server->n_calls++;
	return call;
}

struct agi_grpc_call *agi_grpc_call_new_far(struct agi_grpc_server *s, const struct agi_grpc_call *near,
					    struct agi_grpc_hop *hop)
{
	struct agi_grpc_call *call = s->n_calls < s->cfg.calls_max ? from_pool(s) : NULL;

	if (!call)
		return NULL;
	call->server = s;
	call->hop = hop;
	call->state = AGI_CALL_RUNNING;
	call->route = agi_grpc_route_find(s, near->route->path);
	call->remote = near->remote;
	call->start_us = near->start_us;
	call->has_deadline = near->has_deadline;
	call->deadline_us = near->deadline_us;
	call->is_observed = true; /* where it came in */
	LIST_INSERT_HEAD(&s->orphans, call, link);
	s->n_calls++;
	return call;
}

static void free_buffers(struct agi_grpc_call *call)
{
	agi_buf_free(&call->headers);
	agi_buf_free(&call->message);
	agi_buf_free(&call->extra);
	agi_buf_free(&call->trailers);
	agi_buf_free(&call->in);
	agi_buf_free(&call->out);
	agi_grpc_reader_free(&call->reader);
	agi_pb_pool_free(&call->pool);
}

static void empty(struct agi_buf *b)
{
	if (b->cap > AGI_GRPC_POOLED_BYTES)
		agi_buf_free(b);
	else
		agi_buf_reset(b);
}

static void stop_deadline(struct agi_grpc_call *call)
{
	if (call->is_timed)
		event_del(&call->deadline);
	call->is_timed = false;
}

static void dequeue(struct agi_grpc_call *call)
{
	if (call->is_queued)
		TAILQ_REMOVE(&call->server->ready, call, ready_link);
	if (call->is_held)
		TAILQ_REMOVE(&call->conn->held, call, ready_link);
	call->is_queued = call->is_held = false;
}

void agi_grpc_call_destroy(struct agi_grpc_call *call)
{
	struct agi_grpc_server *s = call->server;

	stop_deadline(call);
	dequeue(call);
	agi_grpc_call_drop_request(call);
	if (!s || s->n_pool >= AGI_GRPC_POOLED_CALLS) {
		free_buffers(call);
		free(call);
	} else {
		empty(&call->headers);
		empty(&call->message);
		empty(&call->extra);
		empty(&call->trailers);
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
			   r ? r->kind : AGI_GRPC_UNARY, status, agi_h2_now_us() - call->start_us);
}

/* --- the deadline ---------------------------------------------------------------------------- */
/* The client keeps the same deadline, and knows best when it passes: ours comes a moment later. A reset that
 * reached it before would look to it like a call the server had cancelled. */
static uint64_t cut_at_us(const struct agi_grpc_call *call)
{
	uint64_t slack = (call->deadline_us - call->start_us) / 10;

	return call->deadline_us + (slack < DEADLINE_SLACK_US ? slack : DEADLINE_SLACK_US);
}

void agi_grpc_call_start_deadline(struct agi_grpc_call *call)
{
	uint64_t at = cut_at_us(call), now = agi_h2_now_us(), left = at > now ? at - now : 0;
	struct timeval tv = {(time_t)(left / 1000000), (suseconds_t)(left % 1000000)};

	event_assign(&call->deadline, call->server->loop.base, -1, 0, on_deadline, call);
	call->is_timed = event_add(&call->deadline, &tv) == 0;
}

/* --- the handler's turn ---------------------------------------------------------------------- */
void agi_grpc_call_enqueue(struct agi_grpc_call *call)
{
	struct agi_grpc_server *s = call->server;

	if (call->is_queued || call->is_held)
		return;
	call->is_queued = true;
	TAILQ_INSERT_TAIL(&s->ready, call, ready_link);
	if ((!call->conn || !call->conn->h2.is_reading) && !s->is_pumping)
		event_active(s->pump, EV_TIMEOUT, 0);
}

/* A client that asks and does not fetch gets no further answers made: they would be kept in memory.
 */
static void hold(struct agi_grpc_call *call)
{
	call->is_held = true;
	TAILQ_INSERT_TAIL(&call->conn->held, call, ready_link);
}

void agi_grpc_conn_release(struct agi_grpc_conn *c)
{
	struct agi_grpc_call *call;

	while ((call = TAILQ_FIRST(&c->held)) != NULL) {
		dequeue(call);
		agi_grpc_call_enqueue(call);
	}
}

static void start(struct agi_grpc_call *call)
{
	const struct agi_grpc_route *r = call->route;

	if (call->conn->h2.is_full) {
		hold(call);
		return;
	}
	if (!agi_grpc_route_has_request_stream(r)) {
		agi_grpc_call_start_unary(call);
		return;
	}
	call->state = AGI_CALL_RUNNING;
	r->open(call, r->ctx);
}

void agi_grpc_call_dispatch(struct agi_grpc_call *call)
{
	dequeue(call);
	if (call->state == AGI_CALL_READY) {
		start(call);
	} else if (call->state != AGI_CALL_RUNNING || call->is_finished) {
		return;
	} else if (call->is_writable) {
		call->is_writable = false;
		if (call->wants)
			agi_grpc_call_enqueue(call);
		if (call->ops && call->ops->on_writable)
			call->ops->on_writable(call->ops_arg);
	} else {
		agi_grpc_call_deliver(call);
	}
}

/* --- ends that nobody asked for -------------------------------------------------------------- */
void agi_grpc_call_tell(struct agi_grpc_call *call)
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
	if (agi_h2_now_us() < cut_at_us(call)) { /* the loop's clock is that of the turn's beginning: too early */
		agi_grpc_call_start_deadline(call);
		return;
	}
	if (call->state != AGI_CALL_RUNNING) {
		dequeue(call);
		agi_grpc_call_refuse_early(call, AGI_GRPC_DEADLINE_EXCEEDED, "Deadline Exceeded");
		return;
	}
	agi_grpc_call_cut(call, AGI_GRPC_DEADLINE_EXCEEDED, AGI_STR("Deadline Exceeded"));
	agi_grpc_call_tell(call);
}

/* Cuts the call from its connection. */
static void detach(struct agi_grpc_call *call)
{
	struct agi_grpc_conn *c = call->conn;

	LIST_REMOVE(call, link);
	dequeue(call);
	c->n_calls--;
	c->reply_bytes -= call->out.n - call->out_sent;
	c->request_bytes -= call->charged_bytes;
	c->widened_bytes -= call->window - AGI_H2_STREAM_WINDOW;
	agi_grpc_conn_update_full(c);
	call->conn = NULL;
	call->is_finished = true;
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
	agi_grpc_call_tell(call);
}

void agi_grpc_call_orphan(struct agi_grpc_call *call)
{
	LIST_REMOVE(call, link);
	stop_deadline(call);
	call->server = NULL;
}

void agi_grpc_call_sweep(struct agi_grpc_call *call, uint64_t now_us)
{
	bool is_stalled = call->state == AGI_CALL_ENDED && call->out_sent < call->out.n &&
			  call->out_sent == call->out_seen;

	if (call->state == AGI_CALL_RECEIVING &&
	    now_us - call->start_us > (uint64_t)AGI_GRPC_RECEIVE_MS * 1000)
		agi_grpc_call_refuse_early(call, AGI_GRPC_DEADLINE_EXCEEDED,
					   "the request did not arrive in time");
	call->out_seen = call->out_sent;
	call->stalled_s = is_stalled ? call->stalled_s + 1 : 0;
	if (call->stalled_s > AGI_GRPC_STALL_MS / 1000)
		(void)nghttp2_submit_rst_stream(call->conn->h2.session, NGHTTP2_FLAG_NONE,
						call->stream_id, NGHTTP2_CANCEL);
}

void agi_grpc_call_handler_done(struct agi_grpc_call *call)
{
	call->state = AGI_CALL_ENDED;
	stop_deadline(call);
	agi_grpc_call_drop_request(call);
	if (call->hop)
		agi_grpc_hop_end(call->hop);
	if (call->conn)
		return;
	if (call->server)
		LIST_REMOVE(call, link);
	agi_grpc_call_destroy(call);
}

/* --- what a handler may ask ------------------------------------------------------------------ */
void agi_grpc_call_stream(struct agi_grpc_call *call, const struct agi_grpc_stream_ops *stream_ops,
			  void *arg)
{
	call->ops = stream_ops;
	call->ops_arg = arg;
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

/* The call as it came. */
static const struct agi_grpc_call *origin(const struct agi_grpc_call *call)
{
	return call->hop ? agi_grpc_hop_near(call->hop) : call;
}

struct agi_str agi_grpc_call_bytes(const struct agi_grpc_call *call)
{
	return agi_buf_str(&origin(call)->reader.message);
}

struct agi_str agi_grpc_call_path(const struct agi_grpc_call *call) { return call->route->path; }

struct agi_str agi_grpc_call_metadata(const struct agi_grpc_call *call, const char *name)
{
	return agi_meta_find(&origin(call)->headers, agi_str_of(name));
}

bool agi_grpc_call_metadata_next(const struct agi_grpc_call *call, size_t *at, struct agi_str *name,
				 struct agi_str *value)
{
	while (agi_pairs_next(&origin(call)->headers, at, name, value))
		if (!agi_meta_is_reserved(*name))
			return true;
	return false;
}

const struct agi_transport_peer *agi_grpc_call_peer(const struct agi_grpc_call *call)
{
	return call->conn ? agi_transport_peer(call->conn->h2.transport) : NULL;
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
