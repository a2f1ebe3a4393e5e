/* SPDX-License-Identifier: Apache-2.0
 * The gRPC client against an HTTP/2 server that answers as no gRPC server would. The path of a call
 * says how: /h/404      HTTP status 404 and an HTML page            /H/404   the same with
 * grpc-status 5 in it /r/8        RST_STREAM with error code 8                /t/7 Trailers-Only
 * with grpc-status 7 "a b" /n/         headers and a message, no trailers          /s/99 trailers
 * with grpc-status 99 /e/         an empty body and grpc-status 0             /b/      a body that
 * is cut inside a message /c/         a compressed flag without an encoding       /z/      a gzip
 * encoding that is none /g/         GOAWAY that did not take the call, then the connection ends;
 * the second one is answered */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "agihpc.pb-c.h"
#include "base/addr.h"
#include "net/grpc.h"
#include "tests/unit/loop.h"

struct peer {
	struct event_base *base;
	struct event *accept_ev, *read_ev;
	int listen_fd, fd;
	nghttp2_session *session;
	struct agi_addr addr;
	char path[64];
	struct agi_str body;
	bool has_trailers;
	char status[16];
	int n_connections, n_calls;
	bool closes; /* after what there is to send */
};

struct answer {
	int n_done;
	enum agi_grpc_status status;
	char message[200];
	size_t n_details;
};

static struct peer p;

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), 0};
}

static ssize_t read_body(nghttp2_session *s, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
			 nghttp2_data_source *source, void *arg)
{
	const nghttp2_nv trailers[] = {nv("grpc-status", p.status)};

	(void)source;
	(void)arg;
	assert_true(p.body.n <= room);
	memcpy(to, p.body.p, p.body.n);
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (p.has_trailers) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		assert_int_equal(nghttp2_submit_trailer(s, id, trailers, 1), 0);
	}
	return (ssize_t)p.body.n;
}

static void respond(int32_t id, const char *status, const char *type, const char *name,
		    const char *value, struct agi_str body)
{
	nghttp2_data_provider provider = {.read_callback = read_body};
	nghttp2_nv h[4] = {nv(":status", status), nv("content-type", type)};
	size_t n = 2;

	if (name)
		h[n++] = nv(name, value);
	p.body = body;
	assert_int_equal(nghttp2_submit_response(p.session, id, h, n, &provider), 0);
}

#define WHOLE AGI_STR("\0\0\0\0\0")
static void answer_call(int32_t id)
{
	const char *rest = p.path + 3, *type = "application/grpc";
	nghttp2_nv only[] = {nv(":status", "200"), nv("content-type", type),
			     nv("grpc-status", rest), nv("grpc-message", "a%20b"),
			     nv("grpc-status-details-bin", "AAEC")};

	p.n_calls++;
	p.has_trailers = p.path[1] != 'h' && p.path[1] != 'H' && p.path[1] != 'n';
	snprintf(p.status, sizeof p.status, "%s", *rest ? rest : "0");
	switch (p.path[1]) {
	case 'h':
		respond(id, rest, "text/html", NULL, NULL, AGI_STR("<html>"));
		break;
	case 'H':
		respond(id, rest, type, "grpc-status", "5", AGI_STR("<html>"));
		break;
	case 'r':
		nghttp2_submit_rst_stream(p.session, 0, id, (uint32_t)atoi(rest));
		break;
	case 't':
		assert_int_equal(nghttp2_submit_response(p.session, id, only, 5, NULL), 0);
		break;
	case 'e':
		respond(id, "200", type, NULL, NULL, AGI_STR(""));
		break;
	case 'b':
		respond(id, "200", type, NULL, NULL, AGI_STR("\0\0\0\0\5ab"));
		break;
	case 'c':
		respond(id, "200", type, NULL, NULL, AGI_STR("\1\0\0\0\1x"));
		break;
	case 'z':
		respond(id, "200", type, "grpc-encoding", "gzip", AGI_STR("\1\0\0\0\1x"));
		break;
	case 'g':
		if (p.n_connections > 1) {
			respond(id, "200", type, NULL, NULL, WHOLE);
			break;
		}
		nghttp2_submit_goaway(p.session, 0, 0, NGHTTP2_NO_ERROR, NULL, 0);
		p.closes = true;
		break;
	default:
		respond(id, "200", type, NULL, NULL, WHOLE);
	}
}

static int on_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t nn,
		     const uint8_t *value, size_t vn, uint8_t flags, void *arg)
{
	(void)s, (void)f, (void)flags, (void)arg;
	if (nn == 5 && memcmp(name, ":path", 5) == 0)
		snprintf(p.path, sizeof p.path, "%.*s", (int)vn, (const char *)value);
	return 0;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *f, void *arg)
{
	(void)s, (void)arg;
	if (f->hd.type == NGHTTP2_DATA && (f->hd.flags & NGHTTP2_FLAG_END_STREAM))
		answer_call(f->hd.stream_id);
	return 0;
}

static void hang_up(void)
{
	event_free(p.read_ev);
	nghttp2_session_del(p.session);
	close(p.fd);
	p.session = NULL;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	uint8_t in[65536];
	const uint8_t *out;
	ssize_t n = recv(fd, in, sizeof in, 0);

	(void)what, (void)arg;
	if (n <= 0) {
		hang_up();
		return;
	}
	assert_int_equal(nghttp2_session_mem_recv(p.session, in, (size_t)n), n);
	while ((n = nghttp2_session_mem_send(p.session, &out)) > 0)
		assert_int_equal(send(fd, out, (size_t)n, MSG_NOSIGNAL), n);
	if (p.closes)
		hang_up();
	p.closes = false;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	nghttp2_session_callbacks *cb;

	(void)what, (void)arg;
	if (p.session)
		hang_up();
	p.fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	p.n_connections++;
	assert_int_equal(nghttp2_session_callbacks_new(&cb), 0);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	assert_int_equal(nghttp2_session_server_new(&p.session, cb, NULL), 0);
	nghttp2_session_callbacks_del(cb);
	nghttp2_submit_settings(p.session, 0, NULL, 0);
	p.read_ev = event_new(p.base, p.fd, EV_READ | EV_PERSIST, on_readable, NULL);
	event_add(p.read_ev, NULL);
}

static int start(void **state)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof sa;

	(void)state;
	p = (struct peer){.base = event_base_new()};
	p.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p.listen_fd, (struct sockaddr *)&sa, n), 0);
	assert_int_equal(listen(p.listen_fd, 8), 0);
	assert_int_equal(getsockname(p.listen_fd, (struct sockaddr *)&sa, &n), 0);
	assert_int_equal(agi_addr_of_sock(&p.addr, (struct sockaddr *)&sa), AGI_OK);
	p.accept_ev = event_new(p.base, p.listen_fd, EV_READ | EV_PERSIST, on_accept, NULL);
	event_add(p.accept_ev, NULL);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	if (p.session)
		hang_up();
	event_free(p.accept_ev);
	close(p.listen_fd);
	event_base_free(p.base);
	return 0;
}

/* --- calls ----------------------------------------------------------------------------------- */
static void keep(struct answer *a, const struct agi_grpc_result *r)
{
	a->n_done++;
	a->status = r->status;
	a->n_details = agi_grpc_result_metadata(r, "grpc-status-details-bin").n;
	snprintf(a->message, sizeof a->message, "%.*s", AGI_STR_ARG(r->message));
}

static void on_done(void *arg, const struct agi_grpc_result *r) { keep(arg, r); }
static void on_message(void *arg, const ProtobufCMessage *m) { (void)arg, (void)m; }
static const struct agi_grpc_client_ops ops = {.on_message = on_message, .on_end = on_done};

static bool is_done(void *arg) { return ((struct answer *)arg)->n_done > 0; }

static struct answer ask(const char *path, bool as_stream)
{
	Agihpc__V1__GetRequest req = AGIHPC__V1__GET_REQUEST__INIT;
	const ProtobufCMessageDescriptor *res = &agihpc__v1__get_response__descriptor;
	struct agi_grpc_client_call *call;
	struct agi_grpc_channel *ch;
	char target[AGI_ADDR_TEXT];
	struct answer a = {0};

	agi_addr_format(target, &p.addr);
	assert_int_equal(agi_grpc_channel_new(p.base, target, &ch, NULL), AGI_OK);
	if (as_stream) {
		assert_int_equal(agi_grpc_stream_open(ch, path, res, NULL, &ops, &a, &call),
				 AGI_OK);
		assert_int_equal(agi_grpc_stream_send(call, &req.base), AGI_OK);
		agi_grpc_stream_half_close(call);
		agi_grpc_stream_recv(call);
	} else {
		assert_int_equal(agi_grpc_unary(ch, path, &req.base, res, 5000, on_done, &a),
				 AGI_OK);
	}
	assert_true(loop_until(p.base, is_done, &a));
	agi_grpc_channel_free(ch);
	assert_int_equal(a.n_done, 1);
	return a;
}

static void assert_both(const char *path, enum agi_grpc_status status, const char *message)
{
	for (int i = 0; i < 2; i++) {
		struct answer a = ask(path, i == 1);

		assert_string_equal(a.message, message);
		assert_int_equal(a.status, status);
	}
}

static void http_statuses_become_those_of_grpc(void **state)
{
	static const struct {
		const char *http;
		enum agi_grpc_status status;
	} map[] = {{"400", AGI_GRPC_INTERNAL},          {"401", AGI_GRPC_UNAUTHENTICATED},
		   {"403", AGI_GRPC_PERMISSION_DENIED}, {"404", AGI_GRPC_UNIMPLEMENTED},
		   {"429", AGI_GRPC_UNAVAILABLE},       {"502", AGI_GRPC_UNAVAILABLE},
		   {"503", AGI_GRPC_UNAVAILABLE},       {"504", AGI_GRPC_UNAVAILABLE},
		   {"500", AGI_GRPC_UNKNOWN},           {"418", AGI_GRPC_UNKNOWN}};
	char path[32], text[64];

	(void)state;
	for (size_t i = 0; i < sizeof map / sizeof *map; i++) {
		snprintf(path, sizeof path, "/h/%s", map[i].http);
		snprintf(text, sizeof text, "HTTP status %s instead of a gRPC answer", map[i].http);
		assert_both(path, map[i].status, text);
	}
	assert_both("/h/200", AGI_GRPC_UNKNOWN, "the answer is not application/grpc");
	assert_both("/H/404", AGI_GRPC_NOT_FOUND, ""); /* what gRPC says counts */
}

static void reset_streams_become_statuses(void **state)
{
	static const enum agi_grpc_status map[] = {
	    [NGHTTP2_PROTOCOL_ERROR] = AGI_GRPC_INTERNAL,
	    [NGHTTP2_INTERNAL_ERROR] = AGI_GRPC_INTERNAL,
	    [NGHTTP2_FLOW_CONTROL_ERROR] = AGI_GRPC_INTERNAL,
	    [NGHTTP2_SETTINGS_TIMEOUT] = AGI_GRPC_INTERNAL,
	    [NGHTTP2_STREAM_CLOSED] = AGI_GRPC_INTERNAL,
	    [NGHTTP2_FRAME_SIZE_ERROR] = AGI_GRPC_INTERNAL,
	    [NGHTTP2_REFUSED_STREAM] = AGI_GRPC_UNAVAILABLE,
	    [NGHTTP2_CANCEL] = AGI_GRPC_CANCELLED,
	    [NGHTTP2_COMPRESSION_ERROR] = AGI_GRPC_INTERNAL,
	    [NGHTTP2_CONNECT_ERROR] = AGI_GRPC_INTERNAL,
	    [NGHTTP2_ENHANCE_YOUR_CALM] = AGI_GRPC_RESOURCE_EXHAUSTED,
	    [NGHTTP2_INADEQUATE_SECURITY] = AGI_GRPC_PERMISSION_DENIED};
	char path[32];

	(void)state;
	for (unsigned code = 1; code < sizeof map / sizeof *map; code++) {
		snprintf(path, sizeof path, "/r/%u", code);
		assert_int_equal(ask(path, false).status, map[code]);
		assert_int_equal(ask(path, true).status, map[code]);
	}
}

static void a_refused_call_is_tried_once_more(void **state)
{
	(void)state;
	assert_int_equal(ask("/r/7", false).status, AGI_GRPC_UNAVAILABLE);
	assert_int_equal(p.n_calls, 2);
	p.n_connections = 0;
	assert_int_equal(ask("/g/", false).status, AGI_GRPC_OK);
	assert_int_equal(p.n_connections, 2);
}

static void an_error_may_be_headers_only(void **state)
{
	struct answer a;

	(void)state;
	assert_both("/t/7", AGI_GRPC_PERMISSION_DENIED, "a b");
	a = ask("/t/7", false);
	assert_int_equal(a.n_details, 3);
}

static void answers_that_are_not_whole_are_errors(void **state)
{
	(void)state;
	assert_both("/n/", AGI_GRPC_UNKNOWN, "the answer has no grpc-status");
	assert_both("/s/99", AGI_GRPC_UNKNOWN, "");
	assert_int_equal(ask("/e/", false).status, AGI_GRPC_UNIMPLEMENTED);
	assert_int_equal(ask("/e/", true).status, AGI_GRPC_OK);
	assert_both("/b/", AGI_GRPC_INTERNAL, "the answer ends inside a message");
	assert_both("/c/", AGI_GRPC_INTERNAL,
		    "the answer is compressed, but not with what was accepted");
	assert_both("/z/", AGI_GRPC_INTERNAL, "a compressed message does not decompress");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(http_statuses_become_those_of_grpc, start, stop),
	    cmocka_unit_test_setup_teardown(reset_streams_become_statuses, start, stop),
	    cmocka_unit_test_setup_teardown(a_refused_call_is_tried_once_more, start, stop),
	    cmocka_unit_test_setup_teardown(an_error_may_be_headers_only, start, stop),
	    cmocka_unit_test_setup_teardown(answers_that_are_not_whole_are_errors, start, stop),
	};

	return cmocka_run_group_tests_name("grpc client", tests, NULL, NULL);
}
