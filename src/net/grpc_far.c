/* SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc_far.h"

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include "net/grpc_server.h"
#include "net/http.h"

enum {
	TRANSIT_HIGH = 16 << 20, /* bytes of answers that near has not looked at; above, no call is begun */
	TRANSIT_LOW = 4 << 20,
	WAITING_HIGH = 16 << 10, /* of one stream, beside what is on the way: a thousand may be open */
};

TAILQ_HEAD(hops, agi_grpc_hop);

struct agi_grpc_far {
	struct agi_grpc_far_cfg cfg;
	_Atomic size_t transit; /* bytes of parcels that were posted and not looked at */
	_Atomic bool is_holding;
	struct agi_loop_message release;
	struct hops held; /* far's: calls that wait for transit to fall */
};

/* One call, or GET, on its way there and back. What is whose is touched by that loop only; the parcel changes hands
 * with the messages. */
struct agi_grpc_hop {
	struct agi_grpc_far *f;
	_Atomic unsigned refs; /* near's, far's, and of a CANCEL or MESSAGE on the way */
	struct agi_loop_message parcel, want, room, message, cancel;

	struct agi_grpc_call *near; /* not ended, and so lent, until the last parcel is here */
	struct agi_grpc_call *far;  /* NULL: ended */

	/* the parcel: near's while is_here */
	struct agi_buf messages; /* length (4 bytes), message, … */
	size_t taken;            /* of them, by the client */
	struct agi_buf headers;  /* go before the first message */
	bool is_last;
	enum agi_grpc_status status; /* with the last one */
	struct agi_buf text, trailers;
	struct agi_http_ask ask;
	int http_status; /* of a GET, whose body is in messages */
	const char *content_type;

	const ProtobufCMessage *req; /* of a stream: far's from MESSAGE to WANT */

	/* near's */
	bool is_here, is_cancelled;

	/* far's */
	struct agi_buf waiting; /* for the next parcel */
	bool is_away;           /* the parcel */
	bool wants_headers, has_headers, is_ended, is_held;
	TAILQ_ENTRY(agi_grpc_hop) link; /* f->held */
};

/* --- life of a hop ------------------------------------------------------------------------------------------- */
static void unref(struct agi_grpc_hop *h)
{
	if (atomic_fetch_sub(&h->refs, 1) > 1)
		return;
	agi_buf_free(&h->messages);
	agi_buf_free(&h->headers);
	agi_buf_free(&h->text);
	agi_buf_free(&h->trailers);
	agi_buf_free(&h->waiting);
	free(h);
}

static void on_parcel(void *arg);
static void on_want(void *arg);
static void on_room(void *arg);
static void on_request(void *arg);
static void on_cancelled(void *arg);

static struct agi_grpc_hop *hop_new(struct agi_grpc_far *f, struct agi_grpc_call *near)
{
	struct agi_grpc_hop *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->f = f;
	h->near = near;
	atomic_init(&h->refs, 2);
	/* What a loop that has stopped was to do is done by who posts or drops it: nothing runs beside that. */
	h->parcel = (struct agi_loop_message){.fn = on_parcel, .drop = on_parcel, .arg = h};
	h->want = (struct agi_loop_message){.fn = on_want, .arg = h};
	h->message = (struct agi_loop_message){.fn = on_request, .drop = on_request, .arg = h};
	h->room = (struct agi_loop_message){.fn = on_room, .drop = on_room, .arg = h};
	h->cancel = (struct agi_loop_message){.fn = on_cancelled, .drop = on_cancelled, .arg = h};
	return h;
}

const struct agi_grpc_call *agi_grpc_hop_near(const struct agi_grpc_hop *h) { return h->near; }

/* --- far: the answer ----------------------------------------------------------------------------------------- */
enum agi_err agi_grpc_hop_put(struct agi_grpc_hop *h, const ProtobufCMessage *res, struct agi_str bytes)
{
	size_t n = res ? protobuf_c_message_get_packed_size(res) : bytes.n, before = h->waiting.n;
	uint8_t *to;

	if (n > UINT32_MAX)
		return AGI_E_TOO_LARGE;
	to = agi_buf_reserve(&h->waiting, sizeof(uint32_t) + n);
	if (!to) {
		h->waiting.err = AGI_OK;
		h->waiting.n = before;
		return AGI_E_NOMEM;
	}
	agi_buf_u32(&h->waiting, (uint32_t)n);
	if (res)
		h->waiting.n += protobuf_c_message_pack(res, h->waiting.p + h->waiting.n);
	else
		agi_buf_put_str(&h->waiting, bytes);
	return AGI_OK;
}

bool agi_grpc_hop_is_full(const struct agi_grpc_hop *h) { return h->waiting.n >= WAITING_HIGH; }

static void swap(struct agi_buf *a, struct agi_buf *b)
{
	struct agi_buf kept = *a;

	*a = *b;
	*b = kept;
}

static void post_parcel(struct agi_grpc_hop *h)
{
	atomic_fetch_add(&h->f->transit, h->messages.n);
	if (agi_loop_post_kept(h->f->cfg.near_loop, &h->parcel))
		on_parcel(h);
}

void agi_grpc_hop_flush(struct agi_grpc_hop *h)
{
	if (h->is_away || !(h->waiting.n || h->wants_headers || h->is_ended))
		return;
	if (h->far && !h->has_headers) {
		swap(&h->headers, &h->far->extra);
		h->has_headers = true;
	}
	h->wants_headers = false;
	h->is_last = h->is_ended;
	h->is_away = true;
	swap(&h->messages, &h->waiting);
	post_parcel(h);
}

void agi_grpc_hop_headers(struct agi_grpc_hop *h)
{
	h->wants_headers = !h->has_headers;
	agi_grpc_hop_flush(h);
}

void agi_grpc_hop_status(struct agi_grpc_hop *h, enum agi_grpc_status status, struct agi_str text)
{
	h->status = status;
	agi_buf_reset(&h->text);
	agi_buf_put_str(&h->text, text);
}

void agi_grpc_hop_end(struct agi_grpc_hop *h)
{
	swap(&h->trailers, &h->far->trailers);
	if (!h->has_headers)
		swap(&h->headers, &h->far->extra);
	h->has_headers = true;
	h->far = NULL;
	h->is_ended = true;
	agi_grpc_hop_flush(h);
}

/* --- far: what near says ------------------------------------------------------------------------------------- */
static void start(struct agi_grpc_call *call, const ProtobufCMessage *req)
{
	const struct agi_grpc_route *r = call->route;

	if (r->open)
		r->open(call, r->ctx);
	else
		r->handler(call, req, r->ctx);
}

static void refuse(struct agi_grpc_hop *h, enum agi_grpc_status status, const char *text)
{
	agi_grpc_hop_status(h, status, agi_str_of(text));
	h->is_ended = true;
	agi_grpc_hop_flush(h);
}

static void begin(struct agi_grpc_hop *h)
{
	h->far = agi_grpc_call_new_far(h->f->cfg.far, h->near, h);
	if (h->far)
		start(h->far, h->near->req);
	else
		refuse(h, AGI_GRPC_RESOURCE_EXHAUSTED, "too many calls in progress");
}

static void unhold(struct agi_grpc_hop *h)
{
	TAILQ_REMOVE(&h->f->held, h, link);
	h->is_held = false;
}

/* Near has looked at most of it. */
static void on_release(void *arg)
{
	struct agi_grpc_far *f = arg;
	struct agi_grpc_hop *h;

	while ((h = TAILQ_FIRST(&f->held)) != NULL && atomic_load(&f->transit) <= TRANSIT_HIGH) {
		unhold(h);
		begin(h);
	}
	atomic_store(&f->is_holding, h != NULL);
	if (h && atomic_load(&f->transit) <= TRANSIT_LOW) /* near looked meanwhile and said nothing */
		(void)!agi_loop_post_kept(f->cfg.far_loop, &f->release);
}

static void serve(void *arg)
{
	struct agi_grpc_hop *h = arg;
	struct agi_grpc_far *f = h->f;

	if (TAILQ_EMPTY(&f->held) && atomic_load(&f->transit) <= TRANSIT_HIGH) {
		begin(h);
		return;
	}
	TAILQ_INSERT_TAIL(&f->held, h, link);
	h->is_held = true;
	on_release(f);
}

static void on_room(void *arg)
{
	struct agi_grpc_hop *h = arg;
	struct agi_grpc_call *call = h->far;

	h->is_away = false;
	agi_grpc_hop_flush(h);
	if (!call || !call->server || !call->is_blocked || agi_grpc_hop_is_full(h))
		return;
	call->is_blocked = false;
	call->is_writable = true;
	agi_grpc_call_enqueue(call);
}

void agi_grpc_hop_recv(struct agi_grpc_hop *h) { (void)!agi_loop_post_kept(h->f->cfg.near_loop, &h->want); }

static void on_request(void *arg)
{
	struct agi_grpc_hop *h = arg;
	struct agi_grpc_call *call = h->far;

	if (call && call->server && !call->is_finished) {
		call->wants = false;
		call->has_ended = !h->req;
		call->ops->on_message(call->ops_arg, h->req);
	}
	unref(h);
}

static void on_cancelled(void *arg)
{
	struct agi_grpc_hop *h = arg;

	if (h->far) {
		h->far->is_finished = true;
		agi_grpc_call_tell(h->far);
	} else if (h->is_held) {
		unhold(h);
		refuse(h, AGI_GRPC_CANCELLED, "cancelled");
	}
	unref(h);
}

/* --- near: the answer ---------------------------------------------------------------------------------------- */
static bool next_message(const struct agi_grpc_hop *h, struct agi_str *out)
{
	const uint8_t *p = h->messages.p + h->taken;

	if (h->taken == h->messages.n)
		return false;
	*out = (struct agi_str){(const char *)p + 4, (size_t)p[0] << 24 | (size_t)p[1] << 16 |
							 (size_t)p[2] << 8 | p[3]};
	return true;
}

static void cancel(struct agi_grpc_hop *h)
{
	if (h->is_cancelled)
		return;
	h->is_cancelled = true;
	atomic_fetch_add(&h->refs, 1);
	if (agi_loop_post_kept(h->f->cfg.far_loop, &h->cancel))
		unref(h); /* far's server, when it is freed, tells the handler */
}

/* False when the client does not take more now. */
static bool hand_messages(struct agi_grpc_hop *h)
{
	struct agi_str message;
	enum agi_err e;

	while (next_message(h, &message)) {
		e = agi_grpc_send_bytes(h->near, message);
		if (e == AGI_E_FULL)
			return false;
		if (e && e != AGI_E_CANCELLED) {
			agi_grpc_call_refuse(h->near, AGI_GRPC_RESOURCE_EXHAUSTED,
					     AGI_STR("the answer is too large to send"));
			cancel(h);
		}
		h->taken += 4 + message.n;
	}
	return true;
}

static void give_back(struct agi_grpc_hop *h)
{
	agi_buf_reset(&h->messages);
	h->taken = 0;
	h->is_here = false;
	if (agi_loop_post_kept(h->f->cfg.far_loop, &h->room))
		on_room(h);
}

static void end(struct agi_grpc_hop *h)
{
	struct agi_grpc_call *call = h->near;

	swap(&call->trailers, &h->trailers);
	agi_grpc_call_refuse(call, h->status, agi_buf_str(&h->text));
	agi_grpc_call_handler_done(call);
	unref(h); /* near's */
	unref(h); /* far's */
}

/* As much as can be done with the parcel that is here. May end the call. */
static void work(struct agi_grpc_hop *h)
{
	if (h->headers.n && !h->near->is_answered) {
		swap(&h->near->extra, &h->headers);
		agi_buf_reset(&h->headers);
	}
	if (!hand_messages(h))
		return;
	if (h->is_last) {
		end(h);
		return;
	}
	agi_grpc_send_headers(h->near);
	give_back(h);
}

static void end_get(struct agi_grpc_hop *h)
{
	struct agi_grpc_call *call = h->near;

	swap(&call->out, &h->messages);
	agi_grpc_call_submit_get(call, h->http_status, h->content_type);
	agi_grpc_call_handler_done(call);
	unref(h);
	unref(h);
}

static void on_parcel(void *arg)
{
	struct agi_grpc_hop *h = arg;
	struct agi_grpc_far *f = h->f;

	if (atomic_fetch_sub(&f->transit, h->messages.n) - h->messages.n <= TRANSIT_LOW &&
	    atomic_load(&f->is_holding))
		(void)!agi_loop_post_kept(f->cfg.far_loop, &f->release);
	h->is_here = true;
	if (h->http_status)
		end_get(h);
	else
		work(h);
}

static void on_writable(void *arg)
{
	struct agi_grpc_hop *h = arg;

	if (h->is_here)
		work(h);
}

static void on_want(void *arg) { agi_grpc_recv(((struct agi_grpc_hop *)arg)->near); }

static void on_message(void *arg, const ProtobufCMessage *req)
{
	struct agi_grpc_hop *h = arg;

	h->req = req;
	atomic_fetch_add(&h->refs, 1);
	if (agi_loop_post_kept(h->f->cfg.far_loop, &h->message))
		unref(h);
}

static const struct agi_grpc_stream_ops stream_ops = {on_message, on_writable};

/* What is here is handed to nobody, so that far may end. */
static void on_cancel(void *arg)
{
	struct agi_grpc_hop *h = arg;

	cancel(h);
	if (h->is_here)
		work(h);
}

/* --- near: a call -------------------------------------------------------------------------------------------- */
/* The loop of the handlers stopped before it looked. */
static void abandon(void *arg)
{
	struct agi_grpc_hop *h = arg;

	agi_grpc_hop_status(h, AGI_GRPC_UNAVAILABLE, AGI_STR("shutting down"));
	end(h);
}

static void on_open(struct agi_grpc_call *call, void *ctx)
{
	struct agi_grpc_far *f = ctx;
	struct agi_grpc_hop *h = hop_new(f, call);
	enum agi_err e = h ? AGI_OK : AGI_E_NOMEM;

	agi_grpc_call_stream(call, &stream_ops, h);
	if (!e)
		e = agi_loop_post(f->cfg.far_loop, serve, abandon, h);
	if (!e) {
		agi_grpc_call_on_cancel(call, on_cancel, h);
		return;
	}
	free(h);
	if (e == AGI_E_CLOSED)
		agi_grpc_fail(call, AGI_GRPC_UNAVAILABLE, "shutting down");
	else
		agi_grpc_fail(call, AGI_GRPC_RESOURCE_EXHAUSTED, "%s: this node has too much to do, try again later",
			      agi_err_name(e));
}

static void on_call(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	(void)req; /* stays where it is */
	on_open(call, ctx);
}

/* --- GET ------------------------------------------------------------------------------------------------------- */
static void on_get_reply(struct agi_http_ask *ask, int status, const char *content_type, struct agi_str body)
{
	struct agi_grpc_hop *h = (struct agi_grpc_hop *)((char *)ask - offsetof(struct agi_grpc_hop, ask));

	agi_buf_put_str(&h->messages, body);
	h->http_status = status;
	h->content_type = content_type;
	post_parcel(h);
}

static void answer_get(void *arg)
{
	struct agi_grpc_hop *h = arg;

	h->ask.reply = on_get_reply;
	h->http_status = agi_grpc_get_answer(h->f->cfg.far->http, h->near, NULL, &h->ask, &h->messages,
					     &h->content_type);
	if (h->http_status != AGI_HTTP_LATER)
		post_parcel(h);
}

static void refuse_get(struct agi_grpc_hop *h)
{
	h->http_status = 503;
	h->content_type = "text/plain; charset=utf-8";
	agi_buf_printf(&h->messages, "503 busy, try again later\n");
	end_get(h);
}

static void abandon_get(void *arg) { refuse_get(arg); }

void agi_grpc_far_get(struct agi_grpc_call *call)
{
	struct agi_grpc_far *f = call->server->far;
	struct agi_grpc_hop *h = hop_new(f, call);

	call->is_observed = true; /* it is no call */
	if (!h) {
		call->state = AGI_CALL_ENDED;
		agi_grpc_call_refuse_http(call, "503", AGI_GRPC_UNAVAILABLE, AGI_STR("out of memory"));
		return;
	}
	call->state = AGI_CALL_RUNNING;
	call->is_finished = true; /* what it sends is of no interest */
	if (agi_loop_post(f->cfg.far_loop, answer_get, abandon_get, h))
		refuse_get(h);
}

/* --- life ------------------------------------------------------------------------------------------------------ */
enum agi_err agi_grpc_far_new(const struct agi_grpc_far_cfg *cfg, struct agi_grpc_far **out)
{
	struct agi_grpc_far *f = calloc(1, sizeof *f);
	enum agi_err e = AGI_OK;

	if (!f)
		return AGI_E_NOMEM;
	f->cfg = *cfg;
	TAILQ_INIT(&f->held);
	f->release = (struct agi_loop_message){.fn = on_release, .arg = f};
	if (!cfg->is_get_only)
		e = agi_grpc_server_add_others(cfg->near, cfg->far, on_call, on_open, f);
	if (e) {
		free(f);
		return e;
	}
	if (cfg->far->http)
		cfg->near->far = f;
	*out = f;
	return AGI_OK;
}

void agi_grpc_far_free(struct agi_grpc_far *f)
{
	struct agi_grpc_hop *h;

	if (!f)
		return;
	while ((h = TAILQ_FIRST(&f->held)) != NULL) {
		unhold(h);
		abandon(h);
	}
	free(f);
}
