/* SPDX-License-Identifier: Apache-2.0
 * Calls that come in on a thread of their own and are handled on this one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/grpc_server.h"
#include "tests/net/echo_service.h"
#include "tests/unit/loop.h"

struct world {
	struct event_base *base;
	struct echo echo;
	struct agi_grpc_channel *ch;
	int n_done, want;
	int n_by_status[AGI_GRPC_UNAUTHENTICATED + 1];
	uint64_t version;
	size_t value_bytes;
	char message[200], header[64], trailer[64];
	size_t n_details;
};

static void start(struct world *w, const struct agi_grpc_server_cfg *cfg)
{
	char target[AGI_ADDR_TEXT];

	*w = (struct world){.base = event_base_new()};
	echo_start(&w->echo, w->base, cfg, 0);
	agi_addr_format(target, &w->echo.addr);
	assert_int_equal(agi_grpc_channel_new(w->base, target, &w->ch, NULL), AGI_OK);
}

static void stop(struct world *w)
{
	agi_grpc_channel_free(w->ch);
	echo_stop(&w->echo);
	event_base_free(w->base);
}

static bool are_done(void *arg) { return ((struct world *)arg)->n_done >= ((struct world *)arg)->want; }

static void until_done(struct world *w, int n)
{
	w->want = n;
	assert_true(loop_until(w->base, are_done, w));
}

static bool none_hangs(void *arg) { return ((struct world *)arg)->echo.n_hanging == 0; }
static bool all_hang(void *arg) { return ((struct world *)arg)->echo.n_hanging == ((struct world *)arg)->want; }

static void copy(char *to, size_t n, struct agi_str s) { snprintf(to, n, "%.*s", AGI_STR_ARG(s)); }

static void on_done(void *arg, const struct agi_grpc_result *r)
{
	struct world *w = arg;

	w->n_done++;
	w->n_by_status[r->status]++;
	copy(w->message, sizeof w->message, r->message);
	copy(w->header, sizeof w->header, agi_grpc_result_metadata(r, "x-a"));
	copy(w->trailer, sizeof w->trailer, agi_grpc_result_metadata(r, "t-b"));
	w->n_details = agi_grpc_result_metadata(r, "grpc-status-details-bin").n;
	if (r->res && r->res->descriptor == &agihpc__v1__put_response__descriptor)
		w->version = ((const Agihpc__V1__PutResponse *)r->res)->version;
	if (r->res && r->res->descriptor == &agihpc__v1__get_response__descriptor)
		w->value_bytes = ((const Agihpc__V1__GetResponse *)r->res)->value.len;
}

static ProtobufCBinaryData bytes(const char *z) { return (ProtobufCBinaryData){strlen(z), (uint8_t *)(uintptr_t)z}; }

static void get(struct world *w, const char *namespace, const char *key, uint32_t timeout_ms)
{
	Agihpc__V1__GetRequest m = AGIHPC__V1__GET_REQUEST__INIT;

	m.namespace_ = bytes(namespace);
	m.key = bytes(key);
	assert_int_equal(agi_grpc_unary(w->ch, "/agihpc.v1.KvService/Get", &m.base,
					&agihpc__v1__get_response__descriptor, timeout_ms, on_done, w),
			 AGI_OK);
}

static void put(struct world *w, size_t n, const struct agi_grpc_opts *opts)
{
	Agihpc__V1__PutRequest m = AGIHPC__V1__PUT_REQUEST__INIT;

	m.value = (ProtobufCBinaryData){n, calloc(1, n + 1)};
	assert_int_equal(agi_grpc_unary_with(w->ch, "/agihpc.v1.KvService/Put", &m.base,
					     &agihpc__v1__put_response__descriptor, opts, on_done, w),
			 AGI_OK);
	free(m.value.data);
}

/* --- what handlers and clients see ----------------------------------------------------------------------------- */
static void requests_answers_and_metadata_pass(void **state)
{
	const struct agi_grpc_pair pairs[] = {{"x-a", AGI_STR("there")}, {"t-b", AGI_STR("back")}};
	struct world w;
	(void)state;

	start(&w, &(struct agi_grpc_server_cfg){0});
	put(&w, 1234, &(struct agi_grpc_opts){.metadata = pairs, .n_metadata = 2});
	until_done(&w, 1);
	assert_int_equal(w.n_by_status[AGI_GRPC_OK], 1);
	assert_int_equal(w.version, 1234);
	assert_string_equal(w.header, "there");
	assert_string_equal(w.trailer, "back");
	stop(&w);
}

static void a_status_its_text_and_details_pass(void **state)
{
	struct world w;
	Agihpc__V1__OwnersRequest m = AGIHPC__V1__OWNERS_REQUEST__INIT;
	(void)state;

	start(&w, &(struct agi_grpc_server_cfg){0});
	assert_int_equal(agi_grpc_unary(w.ch, "/agihpc.v1.KvService/Owners", &m.base,
					&agihpc__v1__owners_response__descriptor, 0, on_done, &w),
			 AGI_OK);
	until_done(&w, 1);
	assert_int_equal(w.n_by_status[AGI_GRPC_ABORTED], 1);
	assert_string_equal(w.message, "STALE_EPOCH: why");
	assert_true(w.n_details > 10);
	assert_int_equal(agi_grpc_unary(w.ch, "/agihpc.v1.KvService/Delete", &m.base,
					&agihpc__v1__owners_response__descriptor, 0, on_done, &w),
			 AGI_OK);
	until_done(&w, 2);
	assert_int_equal(w.n_by_status[AGI_GRPC_UNIMPLEMENTED], 1);
	stop(&w);
}

static void large_messages_pass_and_too_large_ones_are_refused(void **state)
{
	struct world w;
	(void)state;

	start(&w, &(struct agi_grpc_server_cfg){.recv_max_bytes = 3 << 20, .conn_bytes_max = 6 << 20});
	agi_grpc_channel_set_recv_max(w.ch, 100 << 20);
	put(&w, 3000000, NULL);
	until_done(&w, 1);
	assert_int_equal(w.version, 3000000);
	get(&w, "large", "5000000", 0);
	until_done(&w, 2);
	assert_int_equal(w.value_bytes, 5000000);
	put(&w, 4 << 20, NULL);
	until_done(&w, 3);
	assert_int_equal(w.n_by_status[AGI_GRPC_RESOURCE_EXHAUSTED], 1);
	stop(&w);
}

static void many_calls_at_once_each_get_their_own_answer(void **state)
{
	struct world w;
	(void)state;

	start(&w, &(struct agi_grpc_server_cfg){0});
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 500; i++)
			get(&w, i % 3 ? "later" : "", "k", 0);
		until_done(&w, 500 * (round + 1));
	}
	assert_int_equal(w.n_by_status[AGI_GRPC_OK], 5000);
	stop(&w);
}

static void compressed_answers_to_who_asks(void **state)
{
	struct world w;
	(void)state;

	start(&w, &(struct agi_grpc_server_cfg){.compress = AGI_GRPC_COMPRESS_ACCEPTED});
	get(&w, "large", "1000000", 0);
	until_done(&w, 1);
	assert_int_equal(w.value_bytes, 1000000);
	stop(&w);
}

/* --- ends ------------------------------------------------------------------------------------------------------ */
static void a_deadline_and_a_lost_client_reach_the_handler(void **state)
{
	struct world w;
	(void)state;

	start(&w, &(struct agi_grpc_server_cfg){0});
	get(&w, "hang", "", 50);
	until_done(&w, 1);
	assert_int_equal(w.n_by_status[AGI_GRPC_DEADLINE_EXCEEDED], 1);
	assert_true(loop_until(w.base, none_hangs, &w));
	for (int i = 0; i < 20; i++)
		get(&w, "hang", "", 0);
	w.want = 20;
	assert_true(loop_until(w.base, all_hang, &w));
	agi_grpc_channel_free(w.ch);
	w.ch = NULL;
	assert_true(loop_until(w.base, none_hangs, &w));
	assert_int_equal(w.echo.n_cancelled, 21);
	stop(&w);
}

static void servers_may_go_while_calls_and_streams_are_open(void **state)
{
	for (int streams = 0; streams < 2; streams++) {
		struct world w;
		(void)state;

		start(&w, &(struct agi_grpc_server_cfg){0});
		for (int i = 0; i < 20; i++)
			get(&w, "hang", "", 0);
		w.want = 20;
		assert_true(loop_until(w.base, all_hang, &w));
		for (int i = 0; i < 200 && streams; i++) /* some are answered, some on the way, some unread */
			get(&w, i % 2 ? "later" : "", "k", 0);
		for (int i = 0; i < 3 && streams; i++)
			event_base_loop(w.base, EVLOOP_ONCE);
		echo_stop(&w.echo);
		agi_grpc_channel_free(w.ch);
		assert_int_equal(w.echo.n_hanging, 0);
		event_base_free(w.base);
	}
}

/* --- bounds ---------------------------------------------------------------------------------------------------- */
static void a_full_mailbox_is_resource_exhausted_and_a_later_call_is_served(void **state)
{
	struct world w;
	struct event_base *client = event_base_new();
	char target[AGI_ADDR_TEXT];
	(void)state;

	/* The client has a loop of its own, and that of the handlers stands still. */
	start(&w, &(struct agi_grpc_server_cfg){.streams_max = 2 * ECHO_MAILBOX});
	agi_addr_format(target, &w.echo.addr);
	agi_grpc_channel_free(w.ch);
	assert_int_equal(agi_grpc_channel_new(client, target, &w.ch, NULL), AGI_OK);
	get(&w, "", "", 0);
	while (w.n_done == 0) { /* connects */
		event_base_loop(client, EVLOOP_NONBLOCK);
		event_base_loop(w.base, EVLOOP_NONBLOCK);
	}
	for (int i = 0; i < ECHO_MAILBOX + 100; i++)
		get(&w, "", "", 0);
	w.want = 101;
	assert_true(loop_until(client, are_done, &w));
	assert_int_equal(w.n_by_status[AGI_GRPC_RESOURCE_EXHAUSTED], 100);
	assert_non_null(strstr(w.message, "too much to do"));
	while (w.n_done < ECHO_MAILBOX + 101) {
		event_base_loop(client, EVLOOP_NONBLOCK);
		event_base_loop(w.base, EVLOOP_NONBLOCK);
	}
	get(&w, "", "", 0);
	while (w.n_done < ECHO_MAILBOX + 102) {
		event_base_loop(client, EVLOOP_NONBLOCK);
		event_base_loop(w.base, EVLOOP_NONBLOCK);
	}
	assert_int_equal(w.n_by_status[AGI_GRPC_OK], ECHO_MAILBOX + 2);
	agi_grpc_channel_free(w.ch);
	w.ch = NULL;
	stop(&w);
	event_base_free(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(requests_answers_and_metadata_pass),
	    cmocka_unit_test(a_status_its_text_and_details_pass),
	    cmocka_unit_test(large_messages_pass_and_too_large_ones_are_refused),
	    cmocka_unit_test(many_calls_at_once_each_get_their_own_answer),
	    cmocka_unit_test(compressed_answers_to_who_asks),
	    cmocka_unit_test(a_deadline_and_a_lost_client_reach_the_handler),
	    cmocka_unit_test(servers_may_go_while_calls_and_streams_are_open),
	    cmocka_unit_test(a_full_mailbox_is_resource_exhausted_and_a_later_call_is_served),
	};

	setenv("AGI_ECHO_FAR", "1", 1);
	return cmocka_run_group_tests_name("grpc far", tests, NULL, NULL);
}
