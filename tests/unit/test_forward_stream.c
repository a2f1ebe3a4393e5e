/* SPDX-License-Identifier: Apache-2.0
 * EventService/Subscribe handed on by a front server to a back server: answers that are streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "agihpc.pb-c.h"
#include "net/grpc_meta.h"
#include "net/listener.h"
#include "node/svc_forward.h"
#include "tests/unit/loop.h"

#define SUBSCRIBE "/agihpc.v1.EventService/Subscribe"
#define PUBLISH "/agihpc.v1.EventService/Publish"
enum { EVENT_BYTES = 60000, CLIENTS_MAX = AGI_FORWARD_STREAMS_MAX + 1 };

struct server {
	struct agi_grpc_server *grpc;
	struct agi_listener *listener;
	char target[AGI_ADDR_TEXT];
};

struct world;
struct client { /* one call */
	struct world *w;
	struct agi_grpc_client_call *call;
	bool asks; /* for the next message, when one came */
	int n_headers, n_messages, n_ended;
	uint64_t sum; /* of sequence × place */
	size_t bytes;
	char from[32];
	enum agi_grpc_status status;
	char message[300], cost[32];
};

struct world {
	struct event_base *base;
	struct server front, back;
	struct agi_forward *forward;
	struct agi_grpc_channel *channel;
	struct client client[CLIENTS_MAX];
	bool is_known;
	/* the instance */
	struct back_call {
		struct world *w;
		struct agi_grpc_call *call; /* NULL: it has ended */
	} held[CLIENTS_MAX];
	int n_seen, n_cancelled, n_sent, n_events;
	bool is_silent, is_long, fails;
};

/* --- the instance: n_events, then the end ------------------------------------------------------------------ */
static void end_back(struct back_call *b)
{
	struct agi_grpc_call *call = b->call;

	b->call = NULL;
	agi_grpc_call_on_cancel(call, NULL, NULL);
	agi_grpc_call_add_trailer(call, "x-cost", AGI_STR("seven"));
	if (b->w->fails)
		agi_grpc_fail(call, AGI_GRPC_DATA_LOSS, "fell behind");
	else
		agi_grpc_finish(call);
}

static void send_events(void *arg)
{
	static uint8_t payload[EVENT_BYTES];
	struct back_call *b = arg;
	struct world *w = b->w;

	while (w->n_sent < w->n_events) {
		Agihpc__V1__Event e = AGIHPC__V1__EVENT__INIT;

		e.sequence = (uint64_t)w->n_sent + 1;
		if (w->is_long)
			e.payload = (ProtobufCBinaryData){sizeof payload, payload};
		if (agi_grpc_send(b->call, &e.base) != AGI_OK)
			return; /* on_writable comes */
		w->n_sent++;
	}
	if (!w->is_silent)
		end_back(b);
}

static void on_back_cancel(void *arg)
{
	struct back_call *b = arg;
	struct agi_grpc_call *call = b->call;

	b->w->n_cancelled++;
	b->call = NULL;
	agi_grpc_fail(call, AGI_GRPC_CANCELLED, "gone");
}

static void subscribe(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	static const struct agi_grpc_stream_ops ops = {.on_writable = send_events};
	const Agihpc__V1__SubscribeRequest *r = (const void *)req;
	struct world *w = ctx;
	struct back_call *b = &w->held[w->n_seen++];

	assert_int_equal(r->after_sequence, 7);
	assert_true(agi_str_eq(agi_grpc_call_metadata(call, AGI_FORWARD_HEADER), AGI_STR("1")));
	*b = (struct back_call){w, call};
	agi_grpc_call_stream(call, &ops, b);
	agi_grpc_call_on_cancel(call, on_back_cancel, b);
	agi_grpc_call_add_header(call, "x-from", AGI_STR("back"));
	agi_grpc_send_headers(call);
	send_events(b);
}

static void publish(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	Agihpc__V1__PublishResponse res = AGIHPC__V1__PUBLISH_RESPONSE__INIT;
	(void)req;
	(void)ctx;

	res.sequence = 5;
	agi_grpc_reply(call, &res.base);
}

/* --- the world ------------------------------------------------------------------------------------------- */
static void on_grpc(void *ctx, struct agi_transport *t) { agi_grpc_server_take(((struct server *)ctx)->grpc, t); }

static void serve(struct world *w, struct server *s)
{
	struct agi_listener_cfg cfg = {.addr = loopback(0), .ctx = s};
	struct agi_why why;

	cfg.on_wire[AGI_WIRE_GRPC] = on_grpc;
	assert_int_equal(agi_grpc_server_new(w->base, &(struct agi_grpc_server_cfg){0}, &s->grpc), AGI_OK);
	assert_int_equal(agi_listener_new(w->base, &cfg, &s->listener, &why), AGI_OK);
	agi_addr_format(s->target, agi_listener_addr(s->listener));
}

static void find(void *ctx, struct agi_str role, uint32_t timeout_ms, agi_forward_found_fn *fn, void *arg)
{
	struct world *w = ctx;
	struct agi_provider p = {.address = agi_str_of(w->back.target), .is_healthy = true};
	struct agi_instance i = {.provider = &p};
	(void)timeout_ms;

	assert_true(agi_str_eq(role, AGI_STR("event-fabric")));
	fn(arg, &i, w->is_known);
}

static bool runs_here(void *ctx, const char *role)
{
	(void)ctx;
	(void)role;
	return false;
}

static void start(struct world *w)
{
	static const struct agi_grpc_method methods[] = {
	    {.name = "Subscribe", .handler = subscribe, .kind = AGI_GRPC_SERVER_STREAM},
	    {.name = "Publish", .handler = publish}};
	struct agi_forward_cfg cfg = {
	    .answer_bytes_max = 1 << 20, .is_on = true, .find = find, .runs_here = runs_here, .ctx = w};

	*w = (struct world){.base = event_base_new(), .is_known = true};
	serve(w, &w->front);
	serve(w, &w->back);
	assert_int_equal(
	    agi_grpc_server_add(w->back.grpc, &agihpc__v1__event_service__descriptor, methods, 2, w), AGI_OK);
	cfg.base = w->base;
	assert_int_equal(agi_forward_new(&cfg, &w->forward), AGI_OK);
	assert_int_equal(agi_forward_serve(w->forward, w->front.grpc), AGI_OK);
	assert_int_equal(agi_grpc_channel_new(w->base, w->front.target, &w->channel, NULL), AGI_OK);
}

static void stop_server(struct server *s)
{
	agi_listener_free(s->listener);
	agi_grpc_server_free(s->grpc);
	*s = (struct server){.grpc = NULL};
}

static void stop(struct world *w)
{
	agi_grpc_channel_free(w->channel);
	stop_server(&w->front);
	stop_server(&w->back);
	agi_forward_free(w->forward);
	event_base_free(w->base);
}

/* --- the client ------------------------------------------------------------------------------------------ */
static void take_from(struct client *c, const struct agi_buf *metadata)
{
	snprintf(c->from, sizeof c->from, "%.*s", AGI_STR_ARG(agi_meta_find(metadata, AGI_STR("x-from"))));
}

static void on_headers(void *arg, const struct agi_buf *metadata)
{
	struct client *c = arg;

	c->n_headers++;
	take_from(c, metadata);
}

static void on_message(void *arg, struct agi_str message)
{
	struct client *c = arg;
	Agihpc__V1__Event *e = (Agihpc__V1__Event *)agi_pb_unpack(&agihpc__v1__event__descriptor, message, NULL);

	assert_non_null(e);
	c->sum += e->sequence * (uint64_t)++c->n_messages;
	c->bytes += e->payload.len;
	protobuf_c_message_free_unpacked(&e->base, NULL);
	if (c->asks)
		agi_grpc_stream_recv(c->call);
}

static void on_end(void *arg, const struct agi_grpc_raw_result *r)
{
	struct client *c = arg;

	c->n_ended++;
	c->call = NULL;
	c->status = r->status;
	take_from(c, r->metadata);
	snprintf(c->message, sizeof c->message, "%.*s", AGI_STR_ARG(r->message));
	snprintf(c->cost, sizeof c->cost, "%.*s", AGI_STR_ARG(agi_meta_find(r->metadata, AGI_STR("x-cost"))));
}

static struct client *open_client(struct world *w, int i, bool asks)
{
	static const struct agi_grpc_raw_ops ops = {on_headers, on_message, on_end};
	struct client *c = &w->client[i];

	*c = (struct client){.w = w, .asks = asks};
	assert_int_equal(agi_grpc_stream_raw(w->channel, SUBSCRIBE, AGI_STR("\x10\x07"), NULL, 0, &ops, c, &c->call),
	                 AGI_OK);
	if (asks)
		agi_grpc_stream_recv(c->call);
	return c;
}

static bool has_ended(void *arg) { return ((struct client *)arg)->n_ended; }
static bool has_begun(void *arg) { return ((struct client *)arg)->n_headers; }
static bool was_cancelled(void *arg) { return ((struct world *)arg)->n_cancelled && !agi_forward_count(((struct world *)arg)->forward); }

/* Until nothing has happened for a while. */
static void settle(struct world *w)
{
	for (int quiet = 0; quiet < 20; quiet++) {
		int before = w->n_sent;

		event_base_loopexit(w->base, &(struct timeval){.tv_usec = 5000});
		event_base_dispatch(w->base);
		if (w->n_sent != before)
			quiet = 0;
	}
}

/* --- promises -------------------------------------------------------------------------------------------- */
static void messages_come_in_order_and_the_end_as_it_was(void **state)
{
	struct world w;
	struct client *c;

	(void)state;
	for (int fails = 0; fails < 2; fails++) {
		start(&w);
		w.n_events = 100;
		w.fails = fails;
		c = open_client(&w, 0, true);
		assert_true(loop_until(w.base, has_ended, c));
		assert_string_equal(c->from, "back");
		assert_int_equal(c->status, fails ? AGI_GRPC_DATA_LOSS : AGI_GRPC_OK);
		assert_string_equal(c->message, fails ? "fell behind" : "");
		assert_string_equal(c->cost, "seven");
		if (!fails) { /* an error may overtake what was not read yet */
			assert_int_equal(c->n_headers, 1);
			assert_int_equal(c->n_messages, 100);
			assert_int_equal(c->sum, 100 * 101 * 201 / 6);
		}
		assert_int_equal(agi_forward_count(w.forward), 0);
		stop(&w);
	}
}

static void headers_come_before_there_is_any_message(void **state)
{
	struct world w;
	struct client *c;

	(void)state;
	start(&w);
	w.is_silent = true;
	c = open_client(&w, 0, true);
	assert_true(loop_until(w.base, has_begun, c));
	assert_string_equal(c->from, "back");
	assert_int_equal(c->n_messages, 0);
	assert_int_equal(c->n_ended, 0);
	stop(&w);
}

/* What waits on the way: two streams' windows and the queues of four ends, far below what there is to send. */
static void a_client_that_does_not_read_holds_the_instance_back(void **state)
{
	enum { EVENTS = 1000, ON_THE_WAY = 100 };
	struct world w;
	struct client *c;

	(void)state;
	start(&w);
	w.n_events = EVENTS;
	w.is_long = true;
	c = open_client(&w, 0, false);
	agi_grpc_stream_recv(c->call);
	assert_true(loop_until(w.base, has_begun, c));
	settle(&w);
	assert_int_equal(c->n_messages, 1);
	assert_in_range(w.n_sent, 1, ON_THE_WAY);
	c->asks = true;
	agi_grpc_stream_recv(c->call);
	assert_true(loop_until(w.base, has_ended, c));
	assert_int_equal(c->n_messages, EVENTS);
	assert_int_equal(c->bytes, (size_t)EVENTS * EVENT_BYTES);
	assert_int_equal(c->status, AGI_GRPC_OK);
	stop(&w);
}

static void a_cancelled_stream_is_cancelled_where_it_runs(void **state)
{
	struct world w;
	struct client *c;

	(void)state;
	start(&w);
	w.is_silent = true;
	w.n_events = 3;
	c = open_client(&w, 0, true);
	assert_true(loop_until(w.base, has_begun, c));
	agi_grpc_stream_cancel(c->call);
	assert_true(loop_until(w.base, was_cancelled, &w));
	assert_int_equal(c->status, AGI_GRPC_CANCELLED);
	stop(&w);
}

static void an_instance_that_dies_ends_the_stream_and_is_not_asked_again(void **state)
{
	struct world w;
	struct client *c;

	(void)state;
	start(&w);
	w.is_silent = true;
	w.n_events = 3;
	c = open_client(&w, 0, true);
	assert_true(loop_until(w.base, has_begun, c));
	stop_server(&w.back);
	assert_true(loop_until(w.base, has_ended, c));
	assert_int_equal(c->status, AGI_GRPC_UNAVAILABLE);
	assert_int_equal(w.n_seen, 1);
	stop(&w);
}

static void without_an_instance_it_is_unavailable_by_role(void **state)
{
	struct world w;
	struct client *c;

	(void)state;
	start(&w);
	w.is_known = false;
	c = open_client(&w, 0, true);
	assert_true(loop_until(w.base, has_ended, c));
	assert_int_equal(c->status, AGI_GRPC_UNAVAILABLE);
	assert_string_equal(c->message, "role event-fabric does not run on this node; "
	                                "no instance of role event-fabric is known");
	stop(&w);
}

static void on_published(void *arg, const struct agi_grpc_raw_result *r)
{
	struct client *c = arg;

	c->n_ended++;
	c->status = r->status;
	c->bytes = r->res.n;
}

static void streams_are_bounded_and_leave_room_for_calls(void **state)
{
	struct world *w = malloc(sizeof *w);
	struct agi_grpc_client_call *call;
	struct client *last, published = {.n_ended = 0};

	(void)state;
	start(w);
	w->is_silent = true;
	for (int i = 0; i < AGI_FORWARD_STREAMS_MAX; i++)
		assert_true(loop_until(w->base, has_begun, open_client(w, i, true)));
	last = open_client(w, AGI_FORWARD_STREAMS_MAX, true);
	assert_true(loop_until(w->base, has_ended, last));
	assert_int_equal(last->status, AGI_GRPC_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(last->message, "256 streams are being forwarded"));
	assert_int_equal(agi_grpc_unary_raw(w->channel, PUBLISH, AGI_STR(""), NULL, 5000, on_published, &published,
	                                    &call),
	                 AGI_OK);
	assert_true(loop_until(w->base, has_ended, &published));
	assert_int_equal(published.status, AGI_GRPC_OK);
	assert_int_equal(published.bytes, 2);
	stop(w);
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(messages_come_in_order_and_the_end_as_it_was),
	    cmocka_unit_test(headers_come_before_there_is_any_message),
	    cmocka_unit_test(a_client_that_does_not_read_holds_the_instance_back),
	    cmocka_unit_test(a_cancelled_stream_is_cancelled_where_it_runs),
	    cmocka_unit_test(an_instance_that_dies_ends_the_stream_and_is_not_asked_again),
	    cmocka_unit_test(without_an_instance_it_is_unavailable_by_role),
	    cmocka_unit_test(streams_are_bounded_and_leave_room_for_calls),
	};

	return cmocka_run_group_tests_name("forwarded streams", tests, NULL, NULL);
}
