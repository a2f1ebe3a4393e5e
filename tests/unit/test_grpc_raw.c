/* SPDX-License-Identifier: Apache-2.0
 * The gRPC server against an HTTP/2 peer that does what no gRPC client would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <nghttp2/nghttp2.h>
#include <sys/socket.h>

#include "net/grpc_server.h"
#include "tests/net/echo_service.h"

enum { STREAMS = 1200 };

struct stream {
	int http_status;
	char status[8], message[256], accept[32];
	size_t data_bytes;
	bool is_closed;
	uint32_t error_code;
};

struct peer {
	struct event_base *base;
	struct agi_grpc_server *server;
	struct echo echo;
	int fd;
	nghttp2_session *session;
	struct stream stream[2 * STREAMS];
	int n_closed;
	bool is_deaf; /* reads nothing */
	uint32_t goaway_code;
	/* GOAWAYs as they came; nghttp2 tells only the first to a client without streams */
	int n_goaway_seen;
	uint32_t goaway_last[4];
	uint8_t frame[13]; /* the beginning of the frame that is coming */
	size_t frame_bytes;
	char goaway_text[32];
	int n_goaway;
	bool is_over; /* the server has closed */
	/* of the request that is being sent */
	struct agi_str body;
	bool is_open_ended;
};
static struct peer p;

/* --- the peer -------------------------------------------------------------------------------- */
static int on_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t nn,
		     const uint8_t *value, size_t vn, uint8_t flags, void *arg)
{
	struct stream *st = &p.stream[f->hd.stream_id];
	struct agi_str n = {(const char *)name, nn};

	(void)s, (void)flags, (void)arg;
	if (agi_str_eq(n, AGI_STR(":status")))
		st->http_status = atoi((const char *)value);
	else if (agi_str_eq(n, AGI_STR("grpc-status")))
		snprintf(st->status, sizeof st->status, "%.*s", (int)vn, (const char *)value);
	else if (agi_str_eq(n, AGI_STR("grpc-message")))
		snprintf(st->message, sizeof st->message, "%.*s", (int)vn, (const char *)value);
	else if (agi_str_eq(n, AGI_STR("grpc-accept-encoding")) || agi_str_eq(n, AGI_STR("allow")))
		snprintf(st->accept, sizeof st->accept, "%.*s", (int)vn, (const char *)value);
	return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
		   void *arg)
{
	(void)s, (void)flags, (void)data, (void)arg;
	p.stream[id].data_bytes += n;
	return 0;
}

static int on_closed(nghttp2_session *s, int32_t id, uint32_t error_code, void *arg)
{
	(void)s, (void)arg;
	p.stream[id].is_closed = true;
	p.stream[id].error_code = error_code;
	p.n_closed++;
	return 0;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *f, void *arg)
{
	(void)s, (void)arg;
	if (f->hd.type == NGHTTP2_GOAWAY) {
		p.n_goaway++;
		p.goaway_code = f->goaway.error_code;
		if (f->goaway.opaque_data_len)
			snprintf(p.goaway_text, sizeof p.goaway_text, "%.*s",
				 (int)f->goaway.opaque_data_len,
				 (const char *)f->goaway.opaque_data);
	}
	return 0;
}

static void start(const struct agi_grpc_server_cfg *cfg)
{
	nghttp2_session_callbacks *cb;
	struct agi_addr nowhere = {0};
	int pair[2];

	p = (struct peer){.base = event_base_new()};
	echo_start(&p.echo, p.base, cfg, 0);
	p.server = p.echo.server;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	agi_grpc_server_accept(p.server, pair[0], &nowhere);
	p.fd = pair[1];
	assert_int_equal(nghttp2_session_callbacks_new(&cb), 0);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_closed);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	assert_int_equal(nghttp2_session_client_new(&p.session, cb, NULL), 0);
	nghttp2_session_callbacks_del(cb);
	assert_int_equal(nghttp2_submit_settings(p.session, 0, NULL, 0), 0);
}

static void stop(void)
{
	echo_stop(&p.echo);
	nghttp2_session_del(p.session);
	close(p.fd);
	event_base_free(p.base);
}

static uint32_t be(const uint8_t *b, int n) { return n ? be(b, n - 1) << 8 | b[n - 1] : 0; }

static void note_goaways(const uint8_t *in, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p.frame_bytes < sizeof p.frame)
			p.frame[p.frame_bytes] = in[i];
		if (++p.frame_bytes < 9 || p.frame_bytes < 9 + be(p.frame, 3))
			continue;
		if (p.frame[3] == NGHTTP2_GOAWAY && p.n_goaway_seen < 4)
			p.goaway_last[p.n_goaway_seen++] = be(p.frame + 9, 4);
		p.frame_bytes = 0;
	}
}

/* One exchange: what we have to say, one turn of the server's loop, what it says. */
static bool turn(void)
{
	uint8_t in[16384];
	const uint8_t *out;
	ssize_t n;
	bool is_busy = false;

	while ((n = nghttp2_session_mem_send(p.session, &out)) > 0) {
		is_busy = true;
		for (ssize_t done = 0; done < n && !p.is_over;) {
			ssize_t w = send(p.fd, out + done, (size_t)(n - done), MSG_NOSIGNAL);

			if (w < 0 && errno == EAGAIN)
				event_base_loop(p.base, EVLOOP_NONBLOCK);
			else if (w < 0)
				p.is_over = true;
			else
				done += w;
		}
	}
	event_base_loop(p.base, EVLOOP_NONBLOCK);
	while (!p.is_deaf && (n = recv(p.fd, in, sizeof in, 0)) >= 0) {
		if (n == 0) {
			p.is_over = true;
			break;
		}
		is_busy = true;
		note_goaways(in, (size_t)n);
		assert_int_equal(nghttp2_session_mem_recv(p.session, in, (size_t)n), n);
	}
	return is_busy;
}

static void settle(void)
{
	for (int idle = 0; idle < 3 && !p.is_over; idle++)
		if (turn())
			idle = 0;
}

static ssize_t read_body(nghttp2_session *s, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
			 nghttp2_data_source *source, void *arg)
{
	size_t n = p.body.n < room ? p.body.n : room;

	(void)s, (void)id, (void)source, (void)arg;
	memcpy(to, p.body.p, n);
	p.body.p += n;
	p.body.n -= n;
	if (p.body.n)
		return (ssize_t)n;
	if (p.is_open_ended)
		return n ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), 0};
}

struct request {
	const char *method, *path, *type, *extra_name, *extra_value;
	struct agi_str body;
	bool is_open_ended;
};

static struct stream *ask_only(struct request r)
{
	nghttp2_data_provider body = {.read_callback = read_body};
	nghttp2_nv h[8];
	size_t n = 0;
	int32_t id;

	h[n++] = nv(":method", r.method ? r.method : "POST");
	h[n++] = nv(":scheme", "http");
	h[n++] = nv(":path", r.path ? r.path : "/agihpc.v1.KvService/Put");
	h[n++] = nv(":authority", "x");
	h[n++] = nv("te", "trailers");
	h[n++] = nv("content-type", r.type ? r.type : "application/grpc");
	if (r.extra_name)
		h[n++] = nv(r.extra_name, r.extra_value);
	p.body = r.body;
	p.is_open_ended = r.is_open_ended;
	id = nghttp2_submit_request(p.session, NULL, h, n, &body, NULL);
	assert_in_range(id, 1, 2 * STREAMS - 1);
	return &p.stream[id];
}

static struct stream *ask(struct request r)
{
	struct stream *s = ask_only(r);

	settle();
	return s;
}

#define EMPTY AGI_STR("\0\0\0\0\0")

static void assert_answer(const struct stream *s, int http_status, const char *status,
			  const char *message)
{
	assert_int_equal(s->http_status, http_status);
	assert_string_equal(s->message, message);
	assert_string_equal(s->status, status);
	assert_true(s->is_closed);
	assert_int_equal(s->error_code, NGHTTP2_NO_ERROR);
}

/* --- the promises ---------------------------------------------------------------------------- */
static void what_is_not_grpc_is_refused_with_an_http_status(void **state)
{
	(void)state;
	start(&(struct agi_grpc_server_cfg){0});
	assert_answer(ask((struct request){.type = "application/json", .body = EMPTY}), 415, "13",
		      "content-type must be application/grpc");
	assert_answer(ask((struct request){.method = "PUT", .body = EMPTY}), 405, "13",
		      "gRPC requests use the method POST");
	assert_string_equal(p.stream[3].accept, "POST");
	assert_answer(ask((struct request){.type = "application/grpc+proto", .body = EMPTY}), 200,
		      "0", "");
	stop();
}

static void a_malformed_timeout_is_refused(void **state)
{
	(void)state;
	start(&(struct agi_grpc_server_cfg){0});
	assert_answer(
	    ask((struct request){.extra_name = "grpc-timeout", .extra_value = "1s", .body = EMPTY}),
	    200, "13", "malformed grpc-timeout: expected 1 to 8 digits and a unit");
	assert_answer(ask((struct request){
			  .extra_name = "grpc-timeout", .extra_value = "10S", .body = EMPTY}),
		      200, "0", "");
	stop();
}

static void unknown_encodings_are_refused_with_what_is_known(void **state)
{
	struct stream *s;

	(void)state;
	start(&(struct agi_grpc_server_cfg){0});
	s = ask(
	    (struct request){.extra_name = "grpc-encoding", .extra_value = "zstd", .body = EMPTY});
	assert_answer(s, 200, "12",
		      "grpc-encoding \"zstd\" is not supported; send identity,deflate,gzip");
	assert_string_equal(s->accept, "identity,deflate,gzip");
	assert_answer(ask((struct request){
			  .extra_name = "grpc-encoding", .extra_value = "identity", .body = EMPTY}),
		      200, "0", "");
	assert_answer(ask((struct request){.body = AGI_STR("\1\0\0\0\1x")}), 200, "13",
		      "Compressed-Flag is set but there is no grpc-encoding");
	stop();
}

static void a_call_has_exactly_one_whole_message(void **state)
{
	(void)state;
	start(&(struct agi_grpc_server_cfg){0});
	assert_answer(ask((struct request){.body = AGI_STR("")}), 200, "12",
		      "a unary call has one request message");
	assert_answer(ask((struct request){.body = AGI_STR("\0\0\0\0\0\0\0\0\0\0")}), 200, "12",
		      "a unary call has one request message");
	assert_answer(ask((struct request){.body = AGI_STR("\0\0\0\0\5ab")}), 200, "13",
		      "the request ends inside a message");
	assert_answer(ask((struct request){.body = AGI_STR("\0\0")}), 200, "13",
		      "the request ends inside a message");
	stop();
}

static void a_large_message_is_refused_before_it_has_come(void **state)
{
	(void)state;
	start(&(struct agi_grpc_server_cfg){0});
	assert_answer(
	    ask((struct request){.body = AGI_STR("\0\0\x40\0\1x"), .is_open_ended = true}), 200,
	    "8", "Received message larger than max (4194305 vs. 4194304)");
	assert_int_equal(p.server->request_bytes, 0);
	assert_int_equal(p.server->n_calls, 0);
	stop();
}

static void large_headers_are_refused(void **state)
{
	static char big[20000];

	(void)state;
	memset(big, 'x', sizeof big - 1);
	start(&(struct agi_grpc_server_cfg){0});
	assert_answer(ask((struct request){.extra_name = "x", .extra_value = big, .body = EMPTY}),
		      200, "8", "request headers larger than the limit");
	assert_answer(ask((struct request){.body = EMPTY}), 200, "0", "");
	stop();
}

static void streams_above_the_limit_wait_or_are_refused(void **state)
{
	const struct agi_str hang = AGI_STR("\0\0\0\0\6\x0a\4hang");

	(void)state;
	start(&(struct agi_grpc_server_cfg){.streams_max = 10});
	for (int i = 0; i < 15; i++) { /* all of them sent before the server's SETTINGS are read */
		ask_only((struct request){.path = "/agihpc.v1.KvService/Get", .body = hang});
		(void)turn();
	}
	settle();
	assert_int_equal(p.echo.n_hanging, 10);
	assert_true(p.server->n_calls <= 10);
	stop();
	assert_int_equal(p.echo.n_hanging, 0);
}

static void cancelled_calls_are_forgotten(void **state)
{
	const struct agi_str hang = AGI_STR("\0\0\0\0\6\x0a\4hang");

	(void)state;
	start(&(struct agi_grpc_server_cfg){0});
	for (int i = 0; i < 200; i++) {
		struct stream *s =
		    ask_only((struct request){.path = "/agihpc.v1.KvService/Get", .body = hang});

		(void)turn();
		nghttp2_submit_rst_stream(p.session, 0, (int32_t)(s - p.stream), NGHTTP2_CANCEL);
	}
	settle();
	assert_int_equal(p.echo.n_cancelled, 200);
	assert_int_equal(p.echo.n_hanging, 0);
	assert_int_equal(p.server->n_calls, 0);
	stop();
}

static void a_flood_of_resets_ends_the_connection(void **state)
{
	(void)state;
	start(&(struct agi_grpc_server_cfg){0});
	for (int i = 0; i < STREAMS - 1 && !p.n_goaway; i++) {
		struct stream *s =
		    ask_only((struct request){.body = AGI_STR("\0"), .is_open_ended = true});

		(void)turn();
		nghttp2_submit_rst_stream(p.session, 0, (int32_t)(s - p.stream), NGHTTP2_CANCEL);
		(void)turn();
	}
	settle();
	assert_int_equal(p.n_goaway, 1);
	assert_true(p.is_over);
	assert_int_equal(p.server->n_calls, 0);
	assert_int_equal(p.server->n_conns, 0);
	stop();
}

static void a_flood_of_pings_ends_the_connection(void **state)
{
	(void)state;
	start(&(struct agi_grpc_server_cfg){0});
	for (int i = 0; i < 50; i++) {
		nghttp2_submit_ping(p.session, 0, NULL);
		(void)turn();
	}
	assert_int_equal(p.n_goaway, 0);
	for (int i = 0; i < 100 && !p.is_over; i++) {
		nghttp2_submit_ping(p.session, 0, NULL);
		(void)turn();
	}
	settle();
	assert_int_equal(p.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
	assert_string_equal(p.goaway_text, "too_many_pings");
	assert_true(p.is_over);
	stop();
}

static void pings_between_calls_are_no_flood(void **state)
{
	(void)state;
	start(&(struct agi_grpc_server_cfg){0});
	for (int i = 0; i < 300; i++) {
		nghttp2_submit_ping(p.session, 0, NULL);
		assert_answer(ask((struct request){.body = EMPTY}), 200, "0", "");
	}
	assert_int_equal(p.n_goaway, 0);
	stop();
}

static void turns_for(int ms)
{
	const struct timeval step = {0, 20000};

	for (int t = 0; t < ms && !p.is_over; t += 20) {
		event_base_loopexit(p.base, &step);
		event_base_dispatch(p.base);
		(void)turn();
	}
}

static void a_peer_that_answers_no_ping_is_dropped(void **state)
{
	const struct agi_str hang = AGI_STR("\0\0\0\0\6\x0a\4hang");

	(void)state;
	start(&(struct agi_grpc_server_cfg){.keepalive_ms = 500, .keepalive_timeout_ms = 500});
	ask((struct request){.path = "/agihpc.v1.KvService/Get", .body = hang});
	turns_for(3500); /* it answers PINGs */
	assert_int_equal(p.echo.n_hanging, 1);
	p.is_deaf = true;
	for (int i = 0; i < 40 && p.server->n_conns; i++)
		event_base_loop(p.base, EVLOOP_ONCE);
	assert_int_equal(p.server->n_conns, 0);
	assert_int_equal(p.echo.n_cancelled, 1);
	stop();
}

static void a_drained_connection_is_told_twice_and_takes_what_was_on_the_way(void **state)
{
	struct stream *late;

	(void)state;
	start(&(struct agi_grpc_server_cfg){0});
	assert_answer(ask((struct request){.body = EMPTY}), 200, "0", "");
	agi_grpc_server_drain(p.server);
	late = ask_only((struct request){.body = EMPTY}); /* it has not heard of it yet */
	event_base_loop(p.base, EVLOOP_NONBLOCK);
	settle();
	assert_answer(late, 200, "0", "");
	assert_int_equal(p.n_goaway_seen, 2);
	assert_int_equal(p.goaway_last[0], INT32_MAX);
	assert_int_equal(p.goaway_last[1], 3);
	assert_int_equal(p.goaway_code, NGHTTP2_NO_ERROR);
	assert_true(p.is_over);
	assert_int_equal(p.server->n_conns, 0);
	stop();
}

static void a_peer_that_does_not_read_is_not_read(void **state)
{
	const struct agi_str large = AGI_STR("\0\0\0\0\x10\x0a\5large\x12\7"
					     "4000000");

	const nghttp2_settings_entry wide = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 30};

	(void)state;
	start(&(struct agi_grpc_server_cfg){0});
	nghttp2_submit_settings(p.session, 0, &wide, 1);
	settle();
	nghttp2_session_set_local_window_size(p.session, 0, 0, 1 << 30);
	p.is_deaf = true;
	for (int i = 0; i < 100; i++) {
		ask_only((struct request){.path = "/agihpc.v1.KvService/Get", .body = large});
		for (int k = 0; k < 3; k++) {
			const uint8_t *out;
			ssize_t n = nghttp2_session_mem_send(p.session, &out);

			if (n > 0)
				(void)!send(p.fd, out, (size_t)n, MSG_NOSIGNAL);
			event_base_loop(p.base, EVLOOP_NONBLOCK);
		}
	}
	assert_in_range(LIST_FIRST(&p.server->conns)->reply_bytes, 4000000, (8 << 20) + 4000010);
	assert_true(LIST_FIRST(&p.server->conns)->h2.is_paused);
	p.is_deaf = false;
	settle();
	assert_true(p.stream[1].is_closed);
	assert_int_equal(p.stream[1].data_bytes, 4000010);
	stop();
}

static void garbage_closes_the_connection(void **state)
{
	static const char *const garbage[] = {
	    "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxxxxxxxxxx",
	    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"};

	(void)state;
	for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
		start(&(struct agi_grpc_server_cfg){0});
		assert_true(send(p.fd, garbage[i], strlen(garbage[i]), 0) > 0);
		for (int k = 0; k < 5; k++)
			event_base_loop(p.base, EVLOOP_NONBLOCK);
		assert_int_equal(p.server->n_conns, 0);
		stop();
	}
}

static void connections_above_the_limit_are_closed(void **state)
{
	struct agi_addr nowhere = {0};
	int pair[2];
	char c;

	(void)state;
	start(&(struct agi_grpc_server_cfg){.connections_max = 1});
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	agi_grpc_server_accept(p.server, pair[0], &nowhere);
	assert_int_equal(read(pair[1], &c, 1), 0);
	close(pair[1]);
	assert_answer(ask((struct request){.body = EMPTY}), 200, "0", "");
	agi_grpc_server_drain(p.server);
	turns_for(5000); /* nghttp2 without streams answers no PING after GOAWAY: the server waits a second */
	assert_true(p.is_over);
	assert_int_equal(p.goaway_code, NGHTTP2_NO_ERROR);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_not_grpc_is_refused_with_an_http_status),
	    cmocka_unit_test(a_malformed_timeout_is_refused),
	    cmocka_unit_test(unknown_encodings_are_refused_with_what_is_known),
	    cmocka_unit_test(a_call_has_exactly_one_whole_message),
	    cmocka_unit_test(a_large_message_is_refused_before_it_has_come),
	    cmocka_unit_test(large_headers_are_refused),
	    cmocka_unit_test(streams_above_the_limit_wait_or_are_refused),
	    cmocka_unit_test(cancelled_calls_are_forgotten),
	    cmocka_unit_test(a_flood_of_resets_ends_the_connection),
	    cmocka_unit_test(a_flood_of_pings_ends_the_connection),
	    cmocka_unit_test(pings_between_calls_are_no_flood),
	    cmocka_unit_test(a_peer_that_answers_no_ping_is_dropped),
	    cmocka_unit_test(a_drained_connection_is_told_twice_and_takes_what_was_on_the_way),
	    cmocka_unit_test(a_peer_that_does_not_read_is_not_read),
	    cmocka_unit_test(garbage_closes_the_connection),
	    cmocka_unit_test(connections_above_the_limit_are_closed),
	};

	return cmocka_run_group_tests_name("grpc_raw", tests, NULL, NULL);
}
