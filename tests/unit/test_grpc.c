/* SPDX-License-Identifier: Apache-2.0
 * Our server and our client over loopback, in one loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/net/echo_service.h"

#define GET "/agihpc.v1.KvService/Get"
#define PUT "/agihpc.v1.KvService/Put"
enum { PATIENCE_MS = 10000 };

struct world {
	struct event_base *base;
	struct echo echo;
	struct agi_grpc_channel *ch;
	char target[AGI_ADDR_TEXT];
	int n_done;
	/* of the last answer */
	enum agi_grpc_status status;
	char message[1200];
	uint64_t version;
	size_t value_bytes;
	int n_by_status[17];
	/* of the observer */
	int n_observed;
	char observed[128];
	enum agi_grpc_status observed_status;
};

static void on_observed(void *ctx, const char *service, const char *method,
			enum agi_grpc_kind kind, enum agi_grpc_status status, uint64_t micros)
{
	struct world *w = ctx;

	assert_int_equal(kind, AGI_GRPC_UNARY);
	assert_true(micros < 60000000);
	w->n_observed++;
	w->observed_status = status;
	snprintf(w->observed, sizeof w->observed, "%s/%s", service, method);
}

static void start(struct world *w, const struct agi_grpc_server_cfg *cfg)
{
	*w = (struct world){.base = event_base_new()};
	echo_start(&w->echo, w->base, cfg, 0);
	agi_grpc_server_observe(w->echo.server, on_observed, w);
	agi_addr_format(w->target, &w->echo.addr);
	assert_int_equal(agi_grpc_channel_new(w->base, w->target, &w->ch, NULL), AGI_OK);
}

static void stop(struct world *w)
{
	agi_grpc_channel_free(w->ch);
	if (w->echo.server)
		echo_stop(&w->echo);
	event_base_free(w->base);
}

static void on_done(void *arg, const struct agi_grpc_result *r)
{
	struct world *w = arg;

	w->n_done++;
	w->status = r->status;
	w->n_by_status[r->status]++;
	snprintf(w->message, sizeof w->message, "%.*s", AGI_STR_ARG(r->message));
	assert_int_equal(r->res != NULL, r->status == AGI_GRPC_OK);
	if (r->res && r->res->descriptor == &agihpc__v1__get_response__descriptor) {
		w->version = ((const Agihpc__V1__GetResponse *)r->res)->version;
		w->value_bytes = ((const Agihpc__V1__GetResponse *)r->res)->value.len;
	} else if (r->res) {
		w->version = ((const Agihpc__V1__PutResponse *)r->res)->version;
	}
}

static void give_up(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* Runs the loop until *counter has reached n. */
static void run_until(struct world *w, const int *counter, int n)
{
	const struct timeval patience = {PATIENCE_MS / 1000, 0};
	bool is_late = false;
	struct event *late = event_new(w->base, -1, 0, give_up, &is_late);

	event_add(late, &patience);
	while (*counter < n && !is_late)
		event_base_loop(w->base, EVLOOP_ONCE);
	event_free(late);
	assert_int_equal(*counter, n);
}

static void call_get(struct world *w, const char *ns, const char *key, int level,
		     uint32_t timeout_ms)
{
	Agihpc__V1__GetRequest req = AGIHPC__V1__GET_REQUEST__INIT;

	req.namespace_ = (ProtobufCBinaryData){strlen(ns), (uint8_t *)ns};
	req.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)key};
	req.level = (Agihpc__V1__Level)level;
	assert_int_equal(agi_grpc_unary(w->ch, GET, &req.base,
					&agihpc__v1__get_response__descriptor, timeout_ms, on_done,
					w),
			 AGI_OK);
}

static void get(struct world *w, const char *ns, const char *key, int level, uint32_t timeout_ms)
{
	int before = w->n_done;

	call_get(w, ns, key, level, timeout_ms);
	assert_int_equal(w->n_done, before); /* never before return */
	run_until(w, &w->n_done, before + 1);
}

static void put(struct world *w, const char *path, size_t value_bytes)
{
	Agihpc__V1__PutRequest req = AGIHPC__V1__PUT_REQUEST__INIT;
	int before = w->n_done;

	req.value = (ProtobufCBinaryData){value_bytes, calloc(1, value_bytes + 1)};
	assert_int_equal(agi_grpc_unary(w->ch, path, &req.base,
					&agihpc__v1__put_response__descriptor, 5000, on_done, w),
			 AGI_OK);
	free(req.value.data);
	run_until(w, &w->n_done, before + 1);
}

static void assert_answer(const struct world *w, enum agi_grpc_status status, const char *message)
{
	assert_string_equal(w->message, message);
	assert_int_equal(w->status, status);
}

static void a_call_is_answered_and_observed(void **state)
{
	struct world w;

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){0});
	put(&w, PUT, 1000);
	assert_answer(&w, AGI_GRPC_OK, "");
	assert_int_equal(w.version, 1000);
	assert_int_equal(w.n_observed, 1);
	assert_string_equal(w.observed, "agihpc.v1.KvService/Put");
	assert_int_equal(w.observed_status, AGI_GRPC_OK);
	get(&w, "later", "", 0, 1000);
	assert_answer(&w, AGI_GRPC_OK, "");
	stop(&w);
}

static void every_status_and_its_text_arrive(void **state)
{
	struct world w;

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){0});
	for (int code = 1; code <= 16; code++) {
		get(&w, "status", "100% of\n\xc3\xa9 \x01", code, 0);
		assert_answer(&w, (enum agi_grpc_status)code, "100% of\n\xc3\xa9 \x01");
		assert_int_equal(w.observed_status, code);
	}
	assert_int_equal(w.n_observed, 16);
	stop(&w);
}

static void unknown_and_unwritten_methods_differ(void **state)
{
	struct world w;

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){0});
	put(&w, "/agihpc.v1.KvService/Delete", 1);
	assert_answer(&w, AGI_GRPC_UNIMPLEMENTED, "Method not implemented!");
	assert_string_equal(w.observed, "agihpc.v1.KvService/Delete");
	put(&w, "/agihpc.v1.KvService/Nope", 1);
	assert_answer(&w, AGI_GRPC_UNIMPLEMENTED, "Method not found!");
	assert_string_equal(w.observed, "unknown/unknown");
	put(&w, "/nope.Service/Put", 1);
	assert_answer(&w, AGI_GRPC_UNIMPLEMENTED, "Method not found!");
	put(&w, "/agihpc.v1.KvService/Owners", 0);
	assert_answer(&w, AGI_GRPC_ABORTED, "STALE_EPOCH: why");
	stop(&w);
}

static void a_request_that_does_not_decode_is_internal(void **state)
{
	struct world w;

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){0});
	get(&w, "\xff\xfe", "", 0, 1000);
	assert_answer(&w, AGI_GRPC_INTERNAL, "Exception deserializing request!");
	assert_int_equal(w.echo.n_seen, 0);
	stop(&w);
}

static void a_large_request_is_refused_and_the_connection_goes_on(void **state)
{
	struct world w;

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){.recv_max_bytes = 100000});
	put(&w, PUT, 99990);
	assert_answer(&w, AGI_GRPC_OK, "");
	put(&w, PUT, 5000000);
	assert_answer(&w, AGI_GRPC_RESOURCE_EXHAUSTED,
		      "Received message larger than max (5000005 vs. 100000)");
	put(&w, PUT, 10);
	assert_answer(&w, AGI_GRPC_OK, "");
	stop(&w);
}

static void large_messages_pass_both_ways(void **state)
{
	struct world w;

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){.recv_max_bytes = 40 << 20});
	put(&w, PUT, 30 << 20);
	assert_answer(&w, AGI_GRPC_OK, "");
	assert_int_equal(w.version, 30 << 20);
	get(&w, "large", "4000000", 0, 5000);
	assert_answer(&w, AGI_GRPC_OK, "");
	assert_int_equal(w.value_bytes, 4000000);
	get(&w, "large", "5000000", 0, 5000);
	assert_answer(&w, AGI_GRPC_RESOURCE_EXHAUSTED,
		      "Received message larger than max (5000005 vs. 4194304)");
	agi_grpc_channel_set_recv_max(w.ch, 10 << 20);
	get(&w, "large", "5000000", 0, 5000);
	assert_answer(&w, AGI_GRPC_OK, "");
	stop(&w);
}

static void a_deadline_ends_the_call_on_both_sides(void **state)
{
	struct world w;

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){0});
	get(&w, "hang", "", 0, 30);
	assert_answer(&w, AGI_GRPC_DEADLINE_EXCEEDED, "Deadline Exceeded");
	run_until(&w, &w.echo.n_cancelled, 1);
	assert_int_equal(w.n_observed, 1);
	get(&w, "left", "", 0, 5000);
	assert_in_range(w.version, 1000, 5000);
	get(&w, "left", "", 0, 0);
	assert_int_equal(w.version, UINT32_MAX);
	stop(&w);
}

static void many_calls_share_a_connection(void **state)
{
	struct world w;

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){.streams_max = 100});
	for (int i = 0; i < 5000; i++)
		call_get(&w, i % 2 ? "later" : "", "k", 0, 0);
	run_until(&w, &w.n_done, 5000);
	assert_int_equal(w.n_by_status[AGI_GRPC_OK], 5000);
	assert_int_equal(w.n_observed, 5000);
	stop(&w);
}

static void closing_the_channel_cancels_its_calls(void **state)
{
	struct world w;

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){0});
	for (int i = 0; i < 10; i++)
		call_get(&w, "hang", "", 0, 0);
	run_until(&w, &w.echo.n_hanging, 10);
	agi_grpc_channel_free(w.ch);
	w.ch = NULL;
	assert_int_equal(w.n_by_status[AGI_GRPC_CANCELLED], 10);
	run_until(&w, &w.echo.n_cancelled, 10);
	assert_int_equal(w.observed_status, AGI_GRPC_CANCELLED);
	stop(&w);
}

static void free_in_callback(void *arg, const struct agi_grpc_result *r)
{
	struct world *w = arg;

	on_done(w, r);
	agi_grpc_channel_free(w->ch);
	w->ch = NULL;
}

static void a_callback_may_close_the_channel(void **state)
{
	Agihpc__V1__PutRequest req = AGIHPC__V1__PUT_REQUEST__INIT;
	struct world w;

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){0});
	call_get(&w, "hang", "", 0, 0);
	assert_int_equal(agi_grpc_unary(w.ch, PUT, &req.base, &agihpc__v1__put_response__descriptor,
					0, free_in_callback, &w),
			 AGI_OK);
	run_until(&w, &w.n_done, 2);
	assert_int_equal(w.n_by_status[AGI_GRPC_OK], 1);
	assert_int_equal(w.n_by_status[AGI_GRPC_CANCELLED], 1);
	stop(&w);
}

static void a_lost_server_is_unavailable_and_found_again(void **state)
{
	struct world w;
	uint16_t port;

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){0});
	port = w.echo.addr.port;
	call_get(&w, "hang", "", 0, 0);
	run_until(&w, &w.echo.n_hanging, 1);
	echo_stop(&w.echo);
	assert_int_equal(w.echo.n_cancelled, 1);
	run_until(&w, &w.n_done, 1);
	assert_int_equal(w.status, AGI_GRPC_UNAVAILABLE);
	get(&w, "", "", 0, 1000);
	assert_int_equal(w.status, AGI_GRPC_UNAVAILABLE);
	assert_non_null(strstr(w.message, "Connection refused"));
	echo_start(&w.echo, w.base, &(struct agi_grpc_server_cfg){0}, port);
	while (w.status == AGI_GRPC_UNAVAILABLE)
		get(&w, "", "", 0, 1000);
	assert_answer(&w, AGI_GRPC_OK, "");
	stop(&w);
}

static void a_draining_server_finishes_what_it_has(void **state)
{
	struct world w;

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){0});
	call_get(&w, "hang", "", 0, 300);
	run_until(&w, &w.echo.n_hanging, 1);
	agi_grpc_server_drain(w.echo.server);
	run_until(&w, &w.n_done, 1);
	assert_int_equal(w.status, AGI_GRPC_DEADLINE_EXCEEDED);
	stop(&w);
}

static void too_many_calls_are_refused_at_once(void **state)
{
	struct world w;

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){.calls_max = 5});
	for (int i = 0; i < 8; i++)
		call_get(&w, "hang", "", 0, 0);
	run_until(&w, &w.n_done, 3);
	assert_int_equal(w.n_by_status[AGI_GRPC_RESOURCE_EXHAUSTED], 3);
	assert_string_equal(w.message, "too many calls in progress");
	stop(&w);
}

static void names_are_resolved(void **state)
{
	struct world w;
	char target[32];

	(void)state;
	start(&w, &(struct agi_grpc_server_cfg){0});
	snprintf(target, sizeof target, "localhost:%u", (unsigned)w.echo.addr.port);
	agi_grpc_channel_free(w.ch);
	assert_int_equal(agi_grpc_channel_new(w.base, target, &w.ch, NULL), AGI_OK);
	put(&w, PUT, 3);
	assert_answer(&w, AGI_GRPC_OK, "");
	stop(&w);
}

static void a_bad_target_is_refused_with_an_example(void **state)
{
	static const char *const bad[] = {"",           "host",  ":1",      "host:", "host:0",
					  "host:65536", "a b:1", "host:1x", "h@x:1"};
	struct event_base *base = event_base_new();
	struct agi_grpc_channel *ch;
	struct agi_why why;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(agi_grpc_channel_new(base, bad[i], &ch, &why), AGI_E_INVALID);
		assert_non_null(strstr(why.text, "node1:5000"));
	}
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_call_is_answered_and_observed),
	    cmocka_unit_test(every_status_and_its_text_arrive),
	    cmocka_unit_test(unknown_and_unwritten_methods_differ),
	    cmocka_unit_test(a_request_that_does_not_decode_is_internal),
	    cmocka_unit_test(a_large_request_is_refused_and_the_connection_goes_on),
	    cmocka_unit_test(large_messages_pass_both_ways),
	    cmocka_unit_test(a_deadline_ends_the_call_on_both_sides),
	    cmocka_unit_test(many_calls_share_a_connection),
	    cmocka_unit_test(closing_the_channel_cancels_its_calls),
	    cmocka_unit_test(a_callback_may_close_the_channel),
	    cmocka_unit_test(a_lost_server_is_unavailable_and_found_again),
	    cmocka_unit_test(a_draining_server_finishes_what_it_has),
	    cmocka_unit_test(too_many_calls_are_refused_at_once),
	    cmocka_unit_test(names_are_resolved),
	    cmocka_unit_test(a_bad_target_is_refused_with_an_example),
	};

	return cmocka_run_group_tests_name("grpc", tests, NULL, NULL);
}
