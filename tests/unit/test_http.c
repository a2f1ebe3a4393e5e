/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/prng.h"
#include "net/http.h"
#include "net/http_request.h"
#include "net/transport.h"

/* --- the request parser ---------------------------------------------------------------------- */
static struct agi_http_request req;

static int read_request(const char *text)
{
	size_t used = 0;
	int r = agi_http_request_read(agi_str_of(text), &req, &used);

	assert_int_equal(used, r == 200 ? strlen(text) : 0);
	return r;
}

static void a_request_is_read(void **state)
{
	(void)state;
	assert_int_equal(
	    read_request(
		"GET /v1/services/a%20b?x=1&y=%32 HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n"),
	    200);
	assert_string_equal(req.path, "/v1/services/a b");
	assert_string_equal(req.query, "x=1&y=%32");
	assert_true(req.is_keep_alive && !req.is_head);
	assert_int_equal(read_request("\r\nHEAD / HTTP/1.0\n\n"), 200);
	assert_true(!req.is_keep_alive && req.is_head);
	assert_string_equal(req.query, "");
	assert_int_equal(
	    read_request("GET http://h:1/m?q HTTP/1.1\r\nhost:h\r\nconnection: Close\r\n\r\n"),
	    200);
	assert_string_equal(req.path, "/m");
	assert_false(req.is_keep_alive);
}

static void a_part_of_a_request_waits_for_more(void **state)
{
	static const char whole[] = "GET /a HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
	size_t used;

	(void)state;
	for (size_t n = 0; n < sizeof whole - 1; n++)
		assert_int_equal(agi_http_request_read((struct agi_str){whole, n}, &req, &used), 0);
	assert_int_equal(read_request(whole), 200);
}

static void bad_requests_have_their_status(void **state)
{
	static const struct {
		int status;
		const char *text;
	} bad[] = {{400, "GET\r\n\r\n"},
		   {400, "GET /\r\n\r\n"},
		   {400, "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"},
		   {400, "GET / HTTP/1.1\r\n\r\n"},
		   {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
		   {400, "GET a HTTP/1.1\r\nHost: h\r\n\r\n"},
		   {400, "GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n"},
		   {400, "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n"},
		   {400, "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n"},
		   {400, "GET / HTTP/1.1\r\nHost : h\r\n\r\n"},
		   {400, "GET / HTTP/1.1\r\nHost h\r\n\r\n"},
		   {400, "GET / FTP/1.1\r\nHost: h\r\n\r\n"},
		   {400, "G(T / HTTP/1.1\r\nHost: h\r\n\r\n"},
		   {405, "POST / HTTP/1.1\r\nHost: h\r\n\r\n"},
		   {405, "get / HTTP/1.1\r\nHost: h\r\n\r\n"},
		   {413, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"},
		   {501, "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"},
		   {505, "GET / HTTP/2.0\r\nHost: h\r\n\r\n"}};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (read_request(bad[i].text) != bad[i].status)
			fail_msg("%s: expected %d", bad[i].text, bad[i].status);
}

static void long_requests_are_cut_off(void **state)
{
	char *text = malloc(64 << 10);
	size_t used;

	(void)state;
	memset(text, 'a', 64 << 10);
	memcpy(text, "GET /", 5);
	assert_int_equal(
	    agi_http_request_read((struct agi_str){text, AGI_HTTP_LINE_MAX - 1}, &req, &used), 0);
	assert_int_equal(
	    agi_http_request_read((struct agi_str){text, AGI_HTTP_LINE_MAX}, &req, &used), 414);
	memcpy(text, "GET / HTTP/1.1\r\nA: ", 19);
	assert_int_equal(
	    agi_http_request_read((struct agi_str){text, AGI_HTTP_HEADERS_MAX}, &req, &used), 0);
	assert_int_equal(
	    agi_http_request_read((struct agi_str){text, AGI_HTTP_HEADERS_MAX + 17}, &req, &used),
	    431);
	free(text);
}

static void mutated_requests_are_read_or_refused(void **state)
{
	static const char seed[] = "GET /a%20b?x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
	struct agi_prng r;
	int n_ok = 0;

	(void)state;
	agi_prng_seed(&r, 9);
	for (int i = 0; i < 20000; i++) {
		char *text = malloc(sizeof seed - 1); /* exactly, so that a read past it is seen */
		size_t used;

		memcpy(text, seed, sizeof seed - 1);
		for (uint64_t k = agi_prng_below(&r, 3); k > 0; k--)
			text[agi_prng_below(&r, sizeof seed - 1)] = (char)agi_prng_u64(&r);
		n_ok += agi_http_request_read((struct agi_str){text, sizeof seed - 1}, &req,
					      &used) == 200;
		free(text);
	}
	assert_in_range(n_ok, 1000, 19000);
}

/* --- the server
 * -------------------------------------------------------------------------------------------------
 */
struct world {
	struct event_base *base;
	struct agi_http *http;
	int fd;
	char got[1 << 20];
	size_t n;
};

static struct agi_http_ask *later; /* who waits */
static int n_gone;

static void on_gone(void *arg)
{
	(void)arg;
	n_gone++;
	later = NULL;
}

static int serve(void *ctx, struct agi_http_ask *ask, struct agi_buf *body, const char **content_type)
{
	const char *path = ask->path, *query = ask->query;

	(void)ctx;
	if (!strcmp(path, "/later")) {
		later = ask;
		ask->on_gone = on_gone;
		return AGI_HTTP_LATER;
	}
	if (!strcmp(path, "/who")) {
		agi_buf_printf(body, "%.*s%s", AGI_STR_ARG(ask->authorization), ask->peer->is_unix ? " unix" : "");
		return ask->authorization.n ? 200 : 401;
	}
	if (!strcmp(path, "/big")) {
		for (int i = 0; i < 50000; i++)
			agi_buf_printf(body, "0123456789");
		return 200;
	}
	if (strcmp(path, "/ok") != 0) {
		agi_buf_printf(body, "no %s\n", path);
		return 404;
	}
	*content_type = "application/json";
	agi_buf_printf(body, "{\"q\":\"%s\"}", query);
	return 200;
}

static void start(struct world *w)
{
	struct agi_addr nowhere = {0};
	int pair[2];

	w->base = event_base_new();
	w->n = 0;
	assert_int_equal(agi_http_new(w->base, serve, NULL, &w->http), AGI_OK);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	agi_http_accept(w->http, pair[0], &nowhere);
	w->fd = pair[1];
}

static void stop(struct world *w)
{
	agi_http_free(w->http);
	event_base_free(w->base);
	close(w->fd);
}

static void say(struct world *w, const char *text)
{
	assert_int_equal(write(w->fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Lets the server work until it has nothing to do, and reads what it says. False when it has
 * closed. */
static bool hear(struct world *w)
{
	ssize_t n = 0;

	for (int idle = 0; idle < 3; idle++) {
		event_base_loop(w->base, EVLOOP_NONBLOCK);
		n = read(w->fd, w->got + w->n, sizeof w->got - 1 - w->n);
		if (n > 0) {
			w->n += (size_t)n;
			idle = 0;
		}
	}
	w->got[w->n] = '\0';
	return n != 0;
}

static int count(const char *text, const char *what)
{
	int n = 0;

	for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
		n++;
	return n;
}

static void answers_follow_each_other_on_one_connection(void **state)
{
	static struct world w;

	(void)state;
	start(&w);
	say(&w, "GET /ok?a HTTP/1.1\r\nHost: h\r\n\r\nGET /no HTTP/1.1\r\nHost: h\r\n\r\nHEAD /ok "
		"HTTP/1.1\r\nHo");
	assert_true(hear(&w));
	assert_non_null(strstr(w.got, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr(w.got, "Content-Type: application/json\r\nContent-Length: 9\r\n"));
	assert_non_null(strstr(w.got, "\r\n\r\n{\"q\":\"a\"}HTTP/1.1 404 Not Found\r\n"));
	assert_non_null(strstr(w.got, "no /no\n"));
	assert_int_equal(count(w.got, "HTTP/1.1 "), 2);
	say(&w, "st: h\r\n\r\n");
	assert_true(hear(&w));
	assert_int_equal(count(w.got, "HTTP/1.1 "), 3);
	assert_string_equal(w.got + w.n - 4, "\r\n\r\n"); /* HEAD has no body */
	say(&w, "GET /ok HTTP/1.0\r\n\r\n");
	assert_false(hear(&w));
	assert_int_equal(count(w.got, "Connection: close"), 1);
	stop(&w);
}

static void a_large_answer_arrives_whole(void **state)
{
	static struct world w;

	(void)state;
	start(&w);
	say(&w, "GET /big HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	assert_false(hear(&w));
	assert_non_null(strstr(w.got, "Content-Length: 500000\r\n"));
	assert_int_equal(w.n, (size_t)(strstr(w.got, "\r\n\r\n") + 4 - w.got) + 500000);
	stop(&w);
}

static void a_refused_request_is_told_why_and_ends_the_connection(void **state)
{
	static struct world w;

	(void)state;
	start(&w);
	say(&w, "POST /ok HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /ok "
		"HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_false(hear(&w));
	assert_int_equal(count(w.got, "HTTP/1.1 "), 1);
	assert_non_null(strstr(w.got, "405 Method Not Allowed"));
	assert_non_null(strstr(w.got, "Allow: GET, HEAD"));
	assert_non_null(strstr(w.got, "405 only GET and HEAD are served here\n"));
	stop(&w);
}

static void too_many_connections_are_closed_at_once(void **state)
{
	static struct world w;
	struct agi_addr nowhere = {0};
	int pair[2], fds[AGI_HTTP_CONNS_MAX];
	char c;

	(void)state;
	start(&w);
	for (int i = 1; i < AGI_HTTP_CONNS_MAX; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
		agi_http_accept(w.http, pair[0], &nowhere);
		fds[i] = pair[1];
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	agi_http_accept(w.http, pair[0], &nowhere);
	assert_int_equal(read(pair[1], &c, 1), 0);
	close(pair[1]);
	for (int i = 1; i < AGI_HTTP_CONNS_MAX; i++)
		close(fds[i]);
	say(&w, "GET /ok HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_true(hear(&w));
	assert_int_equal(count(w.got, "200 OK"), 1);
	stop(&w);
}

static void an_answer_may_come_later(void **state)
{
	static struct world w;

	(void)state;
	start(&w);
	later = NULL;
	say(&w, "GET /later HTTP/1.1\r\nHost: h\r\n\r\nGET /ok?b HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_true(hear(&w));
	assert_non_null(later);
	assert_int_equal(w.n, 0); /* the second waits for the first */
	agi_http_reply(later, 404, "application/json", AGI_STR("{}"));
	assert_true(hear(&w));
	assert_int_equal(count(w.got, "HTTP/1.1 404 Not Found"), 1);
	assert_non_null(strstr(w.got, "Content-Type: application/json\r\nContent-Length: 2\r\n"));
	assert_non_null(strstr(w.got, "\r\n\r\n{}HTTP/1.1 200 OK"));
	say(&w, "HEAD /later HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	assert_true(hear(&w));
	agi_http_reply(later, 200, "text/plain", AGI_STR("body"));
	assert_false(hear(&w));
	assert_non_null(strstr(w.got, "Content-Length: 4\r\n"));
	assert_string_equal(w.got + w.n - 4, "\r\n\r\n");
	stop(&w);
}

static void who_waits_for_an_answer_may_go(void **state)
{
	static struct world w;

	(void)state;
	start(&w);
	n_gone = 0;
	say(&w, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_true(hear(&w));
	assert_non_null(later);
	stop(&w);
	assert_int_equal(n_gone, 1);
}

static void the_authorization_is_handed_to_who_answers(void **state)
{
	static struct world w;
	char text[1200];

	(void)state;
	start(&w);
	say(&w, "GET /who HTTP/1.1\r\nHost: h\r\nauthorization:  Bearer x \r\n\r\n");
	assert_true(hear(&w));
	assert_non_null(strstr(w.got, "200 OK"));
	assert_non_null(strstr(w.got, "\r\n\r\nBearer x"));
	say(&w, "GET /who HTTP/1.1\r\nHost: h\r\n\r\n"); /* not the one of before */
	assert_true(hear(&w));
	assert_non_null(strstr(w.got, "401 Unauthorized"));
	assert_non_null(strstr(w.got, "WWW-Authenticate: Bearer\r\n"));
	snprintf(text, sizeof text, "GET /who HTTP/1.1\r\nHost: h\r\nAuthorization: %0900d\r\n\r\n", 7);
	say(&w, text);
	assert_true(hear(&w));
	assert_non_null(strstr(w.got, "Content-Length: 511\r\n"));
	stop(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_request_is_read),
	    cmocka_unit_test(a_part_of_a_request_waits_for_more),
	    cmocka_unit_test(bad_requests_have_their_status),
	    cmocka_unit_test(long_requests_are_cut_off),
	    cmocka_unit_test(mutated_requests_are_read_or_refused),
	    cmocka_unit_test(answers_follow_each_other_on_one_connection),
	    cmocka_unit_test(a_large_answer_arrives_whole),
	    cmocka_unit_test(a_refused_request_is_told_why_and_ends_the_connection),
	    cmocka_unit_test(an_answer_may_come_later),
	    cmocka_unit_test(who_waits_for_an_answer_may_go),
	    cmocka_unit_test(the_authorization_is_handed_to_who_answers),
	    cmocka_unit_test(too_many_connections_are_closed_at_once),
	};

	return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
