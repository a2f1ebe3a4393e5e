/* SPDX-License-Identifier: Apache-2.0
 * Streams between our server and our client over loopback, in one loop; test_grpc_far_stream: with the connections on a
 * loop of their own (what the server holds is then not looked at). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/grpc_server.h"
#include "tests/net/echo_service.h"
#include "tests/unit/loop.h"

#define RES &agihpc__v1__get_response__descriptor

struct talk {
	struct event_base *base;
	struct echo echo;
	struct agi_grpc_channel *ch;
	struct agi_grpc_client_call *call;
	char target[AGI_ADDR_TEXT];
	bool asks;    /* for the next message, as soon as one is here */
	bool cancels; /* when one is here */
	bool frees;   /* the channel, when one is here */
	int n_messages, n_writable, n_ended, n_sent;
	size_t bytes;
	uint64_t version;
	uint32_t acks;
	char value[64];
	enum agi_grpc_status status;
	char message[200], meta[64], trailer[64];
	size_t n_details;
	int want; /* for until() */
	int *counter;
};

static void on_message(void *arg, const ProtobufCMessage *m)
{
	struct talk *t = arg;
	const Agihpc__V1__GetResponse *r = (const void *)m;

	assert_int_equal(t->n_ended, 0);
	t->n_messages++;
	t->bytes += r->value.len;
	t->version = r->version;
	t->acks = r->acks;
	snprintf(t->value, sizeof t->value, "%.*s", (int)r->value.len, (char *)r->value.data);
	if (t->cancels)
		agi_grpc_stream_cancel(t->call);
	if (t->frees) {
		agi_grpc_channel_free(t->ch);
		t->ch = NULL;
	} else if (t->asks) {
		agi_grpc_stream_recv(t->call);
	}
}

static void on_writable(void *arg) { ((struct talk *)arg)->n_writable++; }

static void on_end(void *arg, const struct agi_grpc_result *r)
{
	struct talk *t = arg;

	t->n_ended++;
	t->status = r->status;
	assert_null(r->res);
	snprintf(t->message, sizeof t->message, "%.*s", AGI_STR_ARG(r->message));
	t->call = NULL;
}

static void on_done(void *arg, const struct agi_grpc_result *r)
{
	struct talk *t = arg;
	struct agi_str x = agi_grpc_result_metadata(r, "x-a"),
		       b = agi_grpc_result_metadata(r, "t-b-bin");

	t->n_ended++;
	t->status = r->status;
	t->n_details = agi_grpc_result_metadata(r, "grpc-status-details-bin").n;
	snprintf(t->meta, sizeof t->meta, "%.*s", AGI_STR_ARG(x));
	if (b.n)
		memcpy(t->trailer, b.p, b.n);
	if (r->res && r->res->descriptor == &agihpc__v1__put_response__descriptor)
		t->version = ((const Agihpc__V1__PutResponse *)r->res)->version;
	else if (r->res)
		t->bytes = ((const Agihpc__V1__GetResponse *)r->res)->value.len;
}

static const struct agi_grpc_client_ops ops = {on_message, on_writable, on_end};

static void start(struct talk *t, const struct agi_grpc_server_cfg *cfg)
{
	*t = (struct talk){.base = event_base_new()};
	echo_start(&t->echo, t->base, cfg, 0);
	agi_addr_format(t->target, &t->echo.addr);
	assert_int_equal(agi_grpc_channel_new(t->base, t->target, &t->ch, NULL), AGI_OK);
}

static void settle(struct talk *t)
{
	for (int i = 0; i < 200; i++) {
		event_base_loop(t->base, EVLOOP_NONBLOCK);
		if (t->echo.near)
			usleep(100); /* the other thread's turn */
	}
}

static void stop(struct talk *t)
{
	agi_grpc_channel_free(t->ch);
	settle(t);
	assert_int_equal(t->echo.server->request_bytes, 0);
	echo_stop(&t->echo);
	event_base_free(t->base);
	assert_int_equal(t->echo.streams.n_open, 0);
}

static bool reached(void *arg)
{
	struct talk *t = arg;

	return *t->counter >= t->want;
}

static void until(struct talk *t, int *counter, int n)
{
	t->counter = counter;
	t->want = n;
	assert_true(loop_until(t->base, reached, t));
}

static void begin(struct talk *t, const char *path, const struct agi_grpc_opts *opts)
{
	assert_int_equal(agi_grpc_stream_open(t->ch, path, RES, opts, &ops, t, &t->call), AGI_OK);
}

static enum agi_err say(struct talk *t, const void *key, size_t n)
{
	Agihpc__V1__GetRequest req = AGIHPC__V1__GET_REQUEST__INIT;

	req.key = (ProtobufCBinaryData){n, (uint8_t *)(uintptr_t)key};
	return agi_grpc_stream_send(t->call, &req.base);
}

static void count(struct talk *t, const char *what, const struct agi_grpc_opts *opts)
{
	begin(t, "/test.Streams/Count", opts);
	assert_int_equal(say(t, what, strlen(what)), AGI_OK);
	agi_grpc_stream_half_close(t->call);
	agi_grpc_stream_recv(t->call);
}

/* --- server streams -------------------------------------------------------------------------- */
static void every_message_of_a_stream_arrives_in_order(void **state)
{
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	t.asks = true;
	count(&t, "5000 3", NULL);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.n_messages, 5000);
	assert_int_equal(t.version, 4999);
	assert_int_equal(t.status, AGI_GRPC_OK);
	stop(&t);
}

static void a_stream_may_be_empty(void **state)
{
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	count(&t, "0 0", NULL);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.status, AGI_GRPC_OK);
	assert_int_equal(t.n_messages, 0);
	stop(&t);
}

static void a_client_that_does_not_ask_holds_the_server_back(void **state)
{
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	count(&t, "100000 10000", NULL); /* a gigabyte */
	until(&t, &t.n_messages, 1);
	settle(&t);
	assert_int_equal(t.n_messages, 1);
	assert_true(t.echo.streams.n_full > 0);
	if (!t.echo.near)
		assert_in_range(LIST_FIRST(&t.echo.server->conns)->reply_bytes, 1, 256 << 10);
	agi_grpc_stream_recv(t.call);
	until(&t, &t.n_messages, 2);
	agi_grpc_stream_cancel(t.call);
	until(&t, &t.n_ended, 1);
	until(&t, &t.echo.streams.n_cancelled, 1);
	assert_int_equal(t.status, AGI_GRPC_CANCELLED);
	stop(&t);
}

static void a_failing_stream_still_gives_its_messages(void **state)
{
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	t.asks = true;
	count(&t, "3 10 fail", NULL);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.status, AGI_GRPC_DATA_LOSS);
	assert_string_equal(t.message, "enough");
	stop(&t);
}

static void messages_may_be_asked_for_after_the_server_has_ended(void **state)
{
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	count(&t, "3 10", NULL);
	until(&t, &t.n_messages, 1);
	settle(&t);
	assert_int_equal(t.echo.streams.n_open, 0);
	assert_int_equal(t.n_ended, 0);
	agi_grpc_stream_recv(t.call);
	until(&t, &t.n_messages, 2);
	agi_grpc_stream_recv(t.call);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.n_messages, 3);
	assert_int_equal(t.status, AGI_GRPC_OK);
	stop(&t);
}

static void a_deadline_ends_a_stream_on_both_sides(void **state)
{
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	count(&t, "100000 10000", &(struct agi_grpc_opts){.timeout_ms = 50});
	until(&t, &t.n_ended, 1);
	until(&t, &t.echo.streams.n_cancelled, 1);
	assert_int_equal(t.status, AGI_GRPC_DEADLINE_EXCEEDED);
	stop(&t);
}

static void a_channel_may_be_freed_by_a_message(void **state)
{
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	t.frees = true;
	count(&t, "100 10", NULL);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.status, AGI_GRPC_CANCELLED);
	settle(&t);
	stop(&t);
}

/* --- client streams -------------------------------------------------------------------------- */
static void a_stream_of_requests_is_taken_whole(void **state)
{
	struct talk t;
	static char key[700];
	size_t sum = 0;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	begin(&t, "/test.Streams/Sum", NULL);
	agi_grpc_stream_recv(t.call);
	for (int i = 0; i < 5000; sum += (size_t)(i % 700), i++)
		while (say(&t, key, (size_t)(i % 700)) == AGI_E_FULL) {
			int before = t.n_writable;

			until(&t, &t.n_writable, before + 1);
		}
	agi_grpc_stream_half_close(t.call);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.status, AGI_GRPC_OK);
	assert_int_equal(t.version, sum);
	assert_int_equal(t.acks, 5000);
	assert_true(t.n_writable > 0);
	stop(&t);
}

static void a_handler_that_does_not_ask_holds_the_client_back(void **state)
{
	static char key[10000];
	struct talk t;
	int sent = 0;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	begin(&t, "/test.Streams/Hold", NULL);
	for (int i = 0; i < 100; i++) {
		while (say(&t, key, sizeof key) == AGI_OK)
			sent++;
		event_base_loop(t.base, EVLOOP_NONBLOCK);
	}
	settle(&t);
	assert_in_range(sent, 6, 40); /* windows and buffers, no more */
	if (!t.echo.near)
		assert_in_range(t.echo.server->request_bytes, 10000, AGI_H2_STREAM_WINDOW);
	for (int n = 1; n <= sent; n++) {
		agi_grpc_recv(t.echo.streams.held);
		until(&t, &t.echo.streams.n_held, n);
	}
	agi_grpc_stream_half_close(t.call);
	agi_grpc_recv(t.echo.streams.held);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.status, AGI_GRPC_OUT_OF_RANGE);
	assert_int_equal(t.echo.streams.held_bytes, (size_t)sent * sizeof key);
	stop(&t);
}

static void a_paused_stream_does_not_stop_others(void **state)
{
	static char key[10000];
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	begin(&t, "/test.Streams/Hold", NULL);
	for (int i = 0; i < 20; i++) {
		while (say(&t, key, sizeof key) == AGI_OK)
			;
		event_base_loop(t.base, EVLOOP_NONBLOCK);
	}
	t.asks = true;
	count(&t, "1000 1000", NULL);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.echo.streams.n_open, 1);
	assert_int_equal(t.bytes, 1000000);
	stop(&t);
}

/* --- both ways ------------------------------------------------------------------------------- */
static void a_talk_goes_back_and_forth(void **state)
{
	struct talk t;
	char word[16];

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	begin(&t, "/test.Streams/Chat", NULL);
	for (int i = 0; i < 100; i++) {
		int n = snprintf(word, sizeof word, "word %d", i);

		agi_grpc_stream_recv(t.call);
		assert_int_equal(say(&t, word, (size_t)n), AGI_OK);
		until(&t, &t.n_messages, i + 1);
		assert_string_equal(t.value, word);
	}
	agi_grpc_stream_half_close(t.call);
	assert_int_equal(say(&t, "x", 1), AGI_E_CANCELLED);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.status, AGI_GRPC_OK);
	stop(&t);
}

static void a_server_may_end_before_the_client(void **state)
{
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	begin(&t, "/test.Streams/Chat", NULL);
	assert_int_equal(say(&t, "bye", 3), AGI_OK);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.status, AGI_GRPC_OK);
	settle(&t);
	assert_int_equal(t.echo.server->n_calls, 0);
	stop(&t);
}

static void a_cancelled_talk_tells_the_handler(void **state)
{
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	begin(&t, "/test.Streams/Chat", NULL);
	t.cancels = true;
	agi_grpc_stream_recv(t.call);
	assert_int_equal(say(&t, "x", 1), AGI_OK);
	until(&t, &t.n_ended, 1);
	until(&t, &t.echo.streams.n_cancelled, 1);
	assert_int_equal(t.status, AGI_GRPC_CANCELLED);
	stop(&t);
}

static void large_messages_go_both_ways(void **state)
{
	enum { LARGE = 100 << 20 };
	struct talk t;
	char *big = calloc(1, LARGE);

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){.recv_max_bytes = LARGE + 100});
	agi_grpc_channel_set_recv_max(t.ch, LARGE + 100);
	begin(&t, "/test.Streams/Chat", NULL);
	agi_grpc_stream_recv(t.call);
	assert_int_equal(say(&t, big, LARGE), AGI_OK);
	until(&t, &t.n_messages, 1);
	assert_int_equal(t.bytes, LARGE);
	agi_grpc_stream_half_close(t.call);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.status, AGI_GRPC_OK);
	free(big);
	stop(&t);
}

static void what_a_connection_holds_is_bounded(void **state)
{
	static char key[100000];
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){.conn_bytes_max = 50000});
	begin(&t, "/test.Streams/Hold", NULL);
	assert_int_equal(say(&t, key, sizeof key), AGI_OK);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.status, AGI_GRPC_RESOURCE_EXHAUSTED);
	assert_string_equal(t.message, "too many request bytes at once");
	stop(&t);
}

/* --- compression, metadata ------------------------------------------------------------------- */
static void compressed_streams_are_understood(void **state)
{
	static char key[5000];
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	begin(&t, "/test.Streams/Chat", &(struct agi_grpc_opts){.compress = true});
	t.asks = true;
	agi_grpc_stream_recv(t.call);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(say(&t, key, sizeof key), AGI_OK);
		until(&t, &t.n_messages, i + 1);
	}
	assert_int_equal(t.bytes, 100 * sizeof key);
	agi_grpc_stream_half_close(t.call);
	until(&t, &t.n_ended, 1);
	stop(&t);
}

static void metadata_goes_both_ways_text_and_bytes(void **state)
{
	const struct agi_grpc_pair pairs[] = {{"x-a", AGI_STR("some text")},
					      {"t-b-bin", AGI_STR("\0\xff\x80,=")}};
	const struct agi_grpc_opts opts = {.timeout_ms = 5000, .metadata = pairs, .n_metadata = 2};
	const struct agi_grpc_pair bad[] = {{"x-a", AGI_STR("new\nline")}},
				   own[] = {{"grpc-x", AGI_STR("1")}};
	Agihpc__V1__PutRequest req = AGIHPC__V1__PUT_REQUEST__INIT;
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	assert_int_equal(agi_grpc_unary_with(t.ch, "/agihpc.v1.KvService/Put", &req.base,
					     &agihpc__v1__put_response__descriptor, &opts, on_done,
					     &t),
			 AGI_OK);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.status, AGI_GRPC_OK);
	assert_string_equal(t.meta, "some text");
	assert_memory_equal(t.trailer, "\0\xff\x80,=", 5);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
		    agi_grpc_unary_with(
			t.ch, "/agihpc.v1.KvService/Put", &req.base,
			&agihpc__v1__put_response__descriptor,
			&(struct agi_grpc_opts){.metadata = i ? bad : own, .n_metadata = 1},
			on_done, &t),
		    AGI_E_INVALID);
	stop(&t);
}

static void an_error_brings_its_details(void **state)
{
	Agihpc__V1__PutRequest req = AGIHPC__V1__PUT_REQUEST__INIT;
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	assert_int_equal(agi_grpc_unary(t.ch, "/agihpc.v1.KvService/Owners", &req.base,
					&agihpc__v1__put_response__descriptor, 5000, on_done, &t),
			 AGI_OK);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.status, AGI_GRPC_ABORTED);
	assert_true(t.n_details > 60);
	stop(&t);
}

/* --- connections that go --------------------------------------------------------------------- */
static void a_drained_server_lets_streams_end(void **state)
{
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){0});
	begin(&t, "/test.Streams/Chat", NULL);
	t.asks = true;
	agi_grpc_stream_recv(t.call);
	assert_int_equal(say(&t, "a", 1), AGI_OK);
	until(&t, &t.n_messages, 1);
	echo_drain(&t.echo);
	settle(&t);
	if (!t.echo.near)
		assert_true(LIST_FIRST(&t.echo.server->conns)->is_gone);
	assert_int_equal(say(&t, "b", 1), AGI_OK);
	until(&t, &t.n_messages, 2);
	agi_grpc_stream_half_close(t.call);
	until(&t, &t.n_ended, 1);
	assert_int_equal(t.status, AGI_GRPC_OK);
	settle(&t);
	assert_int_equal(t.echo.server->n_conns, 0);
	stop(&t);
}

static void an_old_connection_is_told_to_go(void **state)
{
	struct talk t;

	(void)state;
	start(&t, &(struct agi_grpc_server_cfg){.age_max_ms = 1, .age_grace_ms = 1});
	begin(&t, "/test.Streams/Chat", NULL);
	agi_grpc_stream_recv(t.call);
	until(&t, &t.n_ended, 1); /* the grace is over for a call that does not end */
	assert_int_equal(t.status, AGI_GRPC_UNAVAILABLE);
	until(&t, &t.echo.streams.n_cancelled, 1);
	stop(&t);
}

int main(void)
{
#ifdef FAR
	setenv("AGI_ECHO_FAR", "1", 1);
#endif
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_message_of_a_stream_arrives_in_order),
	    cmocka_unit_test(a_stream_may_be_empty),
	    cmocka_unit_test(a_client_that_does_not_ask_holds_the_server_back),
	    cmocka_unit_test(a_failing_stream_still_gives_its_messages),
	    cmocka_unit_test(messages_may_be_asked_for_after_the_server_has_ended),
	    cmocka_unit_test(a_deadline_ends_a_stream_on_both_sides),
	    cmocka_unit_test(a_channel_may_be_freed_by_a_message),
	    cmocka_unit_test(a_stream_of_requests_is_taken_whole),
	    cmocka_unit_test(a_handler_that_does_not_ask_holds_the_client_back),
	    cmocka_unit_test(a_paused_stream_does_not_stop_others),
	    cmocka_unit_test(a_talk_goes_back_and_forth),
	    cmocka_unit_test(a_server_may_end_before_the_client),
	    cmocka_unit_test(a_cancelled_talk_tells_the_handler),
	    cmocka_unit_test(large_messages_go_both_ways),
	    cmocka_unit_test(what_a_connection_holds_is_bounded),
	    cmocka_unit_test(compressed_streams_are_understood),
	    cmocka_unit_test(metadata_goes_both_ways_text_and_bytes),
	    cmocka_unit_test(an_error_brings_its_details),
	    cmocka_unit_test(a_drained_server_lets_streams_end),
	    cmocka_unit_test(an_old_connection_is_told_to_go),
	};

	return cmocka_run_group_tests_name("grpc streams", tests, NULL, NULL);
}
