/* SPDX-License-Identifier: Apache-2.0
 * TLS on listeners and channels, in one loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/ssl.h>
#include <sys/socket.h>
#include <time.h>

#include "agihpc.pb-c.h"
#include "net/grpc.h"
#include "base/limits.h"
#include "net/http.h"
#include "net/listener.h"
#include "net/tls.h"
#include "certs.h"
#include "loop.h"

#define GET "/agihpc.v1.KvService/Get"
enum { DAY_S = 86400 };

struct world {
	struct certs certs;
	struct event_base *base;
	struct agi_tls_server *tls;
	struct agi_listener *listener;
	struct agi_listener_stats stats;
	struct agi_grpc_server *server;
	struct agi_http *http;
	char target[AGI_ADDR_TEXT + 8];
	char failed[sizeof(struct agi_why)]; /* of the last handshake */
	char peer[256];                      /* of the last call: names of its certificate */
	bool peer_is_tls;
	/* of the last answer */
	bool is_done;
	enum agi_grpc_status status;
	char message[600];
	size_t value_bytes;
};

/* --- the service: answers key-many bytes
 * ---------------------------------------------------------------- */
static void on_get(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__GetRequest *r = (const void *)req;
	Agihpc__V1__GetResponse res = AGIHPC__V1__GET_RESPONSE__INIT;
	const struct agi_transport_peer *p = agi_grpc_call_peer(call);
	struct world *w = ctx;
	char text[16] = "";

	w->peer_is_tls = p->is_tls;
	w->peer[0] = '\0';
	for (size_t i = 0; i < p->n_names; i++)
		snprintf(w->peer + strlen(w->peer), sizeof w->peer - strlen(w->peer), "%s;",
			 p->names[i]);
	memcpy(text, r->key.data, r->key.len < 15 ? r->key.len : 15);
	res.value.len = (size_t)atol(text);
	res.value.data = calloc(1, res.value.len + 1);
	agi_grpc_reply(call, &res.base);
	free(res.value.data);
}

static void on_grpc(void *ctx, struct agi_transport *t)
{
	agi_grpc_server_take(((struct world *)ctx)->server, t);
}

static void on_http(void *ctx, struct agi_transport *t)
{
	agi_http_take(((struct world *)ctx)->http, t);
}

static void on_failed(void *ctx, const struct agi_addr *remote, const struct agi_why *why)
{
	assert_true(agi_addr_is_loopback(remote));
	snprintf(((struct world *)ctx)->failed, sizeof why->text, "%s", why->text);
}

static int on_page(void *ctx, struct agi_http_ask *ask, struct agi_buf *body, const char **content_type)
{
	(void)ctx;
	(void)content_type;
	agi_buf_printf(body, "this is %s\n", ask->path);
	return 200;
}

static const char *at(struct world *w, const char *file) { return certs_path(&w->certs, file); }

static void make_certs(struct world *w)
{
	struct certs_ca ca, other;

	certs_open(&w->certs);
	ca = certs_make(&w->certs, "ca", "test authority", NULL, -DAY_S, DAY_S, NULL);
	other = certs_make(&w->certs, "other-ca", "another authority", NULL, -DAY_S, DAY_S, NULL);
	certs_forget(certs_make(&w->certs, "server", "node", "DNS:node.test,IP:127.0.0.1", -DAY_S,
				DAY_S, &ca));
	certs_forget(certs_make(&w->certs, "server2", "node", "DNS:new.test,IP:127.0.0.1", -DAY_S,
				DAY_S, &ca));
	certs_forget(
	    certs_make(&w->certs, "expired", "node", "IP:127.0.0.1", -2 * DAY_S, -DAY_S, &ca));
	certs_forget(
	    certs_make(&w->certs, "future", "node", "IP:127.0.0.1", DAY_S, 2 * DAY_S, &ca));
	certs_forget(certs_make(&w->certs, "client", "operator",
				"DNS:op.test,email:op@test,URI:spiffe://test/op", -DAY_S, DAY_S,
				&ca));
	certs_forget(certs_make(&w->certs, "stranger", "operator", NULL, -DAY_S, DAY_S, &other));
	certs_forget(ca);
	certs_forget(other);
}

enum { NO_CLIENTS, ASK_CLIENTS, REQUIRE_CLIENTS };

static void start_with(struct world *w, int clients, struct agi_listener_cfg cfg)
{
	static const struct agi_grpc_method methods[] = {{"Get", on_get}};
	struct agi_tls_server_cfg tls = {.require_client_cert = clients == REQUIRE_CLIENTS};
	char text[AGI_ADDR_TEXT];
	struct agi_why why;

	*w = (struct world){.base = event_base_new()};
	make_certs(w);
	tls.cert_file = at(w, "server.crt");
	tls.key_file = at(w, "server.key");
	tls.client_ca_file = clients == NO_CLIENTS ? NULL : at(w, "ca.crt");
	assert_int_equal(agi_tls_server_new(&tls, &w->tls, &why), AGI_OK);
	assert_int_equal(agi_grpc_server_new(w->base, &(struct agi_grpc_server_cfg){0}, &w->server),
			 AGI_OK);
	assert_int_equal(
	    agi_grpc_server_add(w->server, &agihpc__v1__kv_service__descriptor, methods, 1, w),
	    AGI_OK);
	assert_int_equal(agi_http_new(w->base, on_page, w, &w->http), AGI_OK);
	cfg.addr = loopback(0);
	cfg.tls = w->tls;
	cfg.ctx = w;
	cfg.on_tls_failed = on_failed;
	cfg.tls_failed_ctx = w;
	cfg.on_wire[AGI_WIRE_GRPC] = on_grpc;
	cfg.on_wire[AGI_WIRE_HTTP] = on_http;
	assert_int_equal(agi_listener_new(w->base, &cfg, &w->listener, &why), AGI_OK);
	agi_addr_format(text, agi_listener_addr(w->listener));
	snprintf(w->target, sizeof w->target, "tls://%s", text);
}

static void start(struct world *w, int clients)
{
	start_with(w, clients, (struct agi_listener_cfg){0});
}

static void stop(struct world *w)
{
	agi_listener_free(w->listener);
	agi_grpc_server_free(w->server);
	agi_http_free(w->http);
	agi_tls_server_free(w->tls);
	event_base_free(w->base);
	certs_close(&w->certs);
}

/* --- calls
 * -------------------------------------------------------------------------------------------------
 */
static void on_done(void *arg, const struct agi_grpc_result *r)
{
	struct world *w = arg;

	w->is_done = true;
	w->status = r->status;
	snprintf(w->message, sizeof w->message, "%.*s", AGI_STR_ARG(r->message));
	if (r->res)
		w->value_bytes = ((const Agihpc__V1__GetResponse *)r->res)->value.len;
}

static bool is_done(void *arg) { return ((struct world *)arg)->is_done; }

static void call(struct world *w, struct agi_grpc_channel *ch, const char *key)
{
	Agihpc__V1__GetRequest req = AGIHPC__V1__GET_REQUEST__INIT;

	req.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)key};
	w->is_done = false;
	assert_int_equal(agi_grpc_unary(ch, GET, &req.base, &agihpc__v1__get_response__descriptor,
					20000, on_done, w),
			 AGI_OK);
	assert_true(loop_until(w->base, is_done, w));
}

static struct agi_tls_client *client_of(struct world *w, const char *ca, const char *cert,
					const char *name)
{
	char crt[64], key[64];
	struct agi_tls_client_cfg cfg = {.ca_file = at(w, ca), .server_name = name};
	struct agi_tls_client *c;
	struct agi_why why;

	if (cert) {
		snprintf(crt, sizeof crt, "%s.crt", cert);
		snprintf(key, sizeof key, "%s.key", cert);
		cfg.cert_file = at(w, crt);
		cfg.key_file = at(w, key);
	}
	assert_int_equal(agi_tls_client_new(&cfg, &c, &why), AGI_OK);
	return c;
}

/* One call on a connection of its own. */
static void call_once(struct world *w, const char *ca, const char *cert, const char *name)
{
	struct agi_tls_client *c = client_of(w, ca, cert, name);
	struct agi_grpc_channel *ch;

	assert_int_equal(agi_grpc_channel_new(w->base, w->target, &ch, NULL), AGI_OK);
	agi_grpc_channel_set_tls(ch, c);
	call(w, ch, "7");
	agi_grpc_channel_free(ch);
	agi_tls_client_free(c);
}

static void assert_refused(struct world *w, const char *text)
{
	assert_int_equal(w->status, AGI_GRPC_UNAVAILABLE);
	if (!strstr(w->message, text))
		fail_msg("\"%s\" does not say \"%s\"", w->message, text);
}

/* --- who is let in
 * ---------------------------------------------------------------------------------------- */
static void a_call_goes_through_tls(void **state)
{
	struct world w;

	(void)state;
	start(&w, NO_CLIENTS);
	call_once(&w, "ca.crt", NULL, NULL);
	assert_int_equal(w.status, AGI_GRPC_OK);
	assert_int_equal(w.value_bytes, 7);
	assert_true(w.peer_is_tls);
	assert_string_equal(w.peer, "");
	agi_listener_stats(w.listener, &w.stats);
	assert_int_equal(w.stats.accepted[AGI_WIRE_TLS], 1);
	assert_int_equal(w.stats.accepted[AGI_WIRE_GRPC], 1);
	stop(&w);
}

static void a_server_that_is_not_who_was_asked_for_is_left(void **state)
{
	struct world w;

	(void)state;
	start(&w, NO_CLIENTS);
	call_once(&w, "ca.crt", NULL, "node.test");
	assert_int_equal(w.status, AGI_GRPC_OK);
	call_once(&w, "ca.crt", NULL, "other.test");
	assert_refused(&w, "ostname mismatch");
	call_once(&w, "other-ca.crt", NULL, NULL);
	assert_refused(&w, "the server's certificate");
	stop(&w);
}

static void the_names_of_a_clients_certificate_are_known(void **state)
{
	struct world w;

	(void)state;
	start(&w, ASK_CLIENTS);
	call_once(&w, "ca.crt", "client", NULL);
	assert_int_equal(w.status, AGI_GRPC_OK);
	assert_string_equal(w.peer, "operator;op.test;op@test;spiffe://test/op;");
	call_once(&w, "ca.crt", NULL, NULL);
	assert_int_equal(w.status, AGI_GRPC_OK);
	assert_string_equal(w.peer, "");
	stop(&w);
}

static void a_client_without_a_good_certificate_is_refused_and_told(void **state)
{
	struct world w;

	(void)state;
	start(&w, REQUIRE_CLIENTS);
	call_once(&w, "ca.crt", "client", NULL);
	assert_int_equal(w.status, AGI_GRPC_OK);
	call_once(&w, "ca.crt", NULL, NULL);
	assert_refused(&w, "certificate required");
	assert_non_null(strstr(w.failed, "did not return a certificate"));
	call_once(&w, "ca.crt", "stranger", NULL);
	assert_refused(&w, "unknown ca");
	assert_non_null(strstr(w.failed, "the client's certificate"));
	stop(&w);
}

static void a_certificate_that_is_only_asked_for_must_still_be_good(void **state)
{
	struct world w;

	(void)state;
	start(&w, ASK_CLIENTS);
	call_once(&w, "ca.crt", "stranger", NULL);
	assert_refused(&w, "unknown ca");
	stop(&w);
}

/* --- bytes
 * ----------------------------------------------------------------------------------------------------
 */
static void large_answers_arrive_whole(void **state)
{
	struct agi_grpc_channel *ch;
	struct agi_tls_client *c;
	struct world w;

	(void)state;
	start(&w, NO_CLIENTS);
	c = client_of(&w, "ca.crt", NULL, NULL);
	assert_int_equal(agi_grpc_channel_new(w.base, w.target, &ch, NULL), AGI_OK);
	agi_grpc_channel_set_tls(ch, c);
	agi_grpc_channel_set_recv_max(ch, 64 << 20);
	call(&w, ch, "20000000");
	assert_int_equal(w.status, AGI_GRPC_OK);
	assert_int_equal(w.value_bytes, 20000000);
	agi_grpc_channel_free(ch);
	agi_tls_client_free(c);
	stop(&w);
}

/* A blocking OpenSSL client in a child process: OpenSSL's own view of us. */
static void https(struct world *w, const char *alpn, size_t alpn_bytes, char *answer, size_t room)
{
	int fd = raw_connect(agi_listener_addr(w->listener)), pipes[2];
	pid_t child;
	size_t n = 0;
	ssize_t got;

	assert_int_equal(pipe(pipes), 0);
	child = fork();
	if (child == 0) {
		SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
		SSL *ssl = SSL_new(ctx);
		static const char request[] = "GET /there HTTP/1.0\r\n\r\n";
		char text[1024];
		int r;

		SSL_set_fd(ssl, fd);
		if (alpn_bytes)
			SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned)alpn_bytes);
		if (SSL_connect(ssl) != 1 || SSL_write(ssl, request, sizeof request - 1) < 1)
			_exit(1);
		while ((r = SSL_read(ssl, text, sizeof text)) > 0)
			(void)!write(pipes[1], text, (size_t)r);
		if (SSL_get_error(ssl, r) == SSL_ERROR_ZERO_RETURN)
			(void)!write(pipes[1], "goodbye", 7);
		_exit(0);
	}
	close(pipes[1]);
	close(fd);
	fcntl(pipes[0], F_SETFL, O_NONBLOCK);
	for (;;) {
		event_base_loop(w->base, EVLOOP_NONBLOCK);
		got = read(pipes[0], answer + n, room - 1 - n);
		if (got == 0)
			break;
		n += got > 0 ? (size_t)got : 0;
	}
	answer[n] = '\0';
	close(pipes[0]);
}

static void http_is_served_inside_tls_and_ends_in_order(void **state)
{
	char answer[1024];
	struct world w;

	(void)state;
	start(&w, NO_CLIENTS);
	https(&w, NULL, 0, answer, sizeof answer);
	assert_non_null(strstr(answer, "200 OK"));
	assert_non_null(strstr(answer, "this is /there\ngoodbye"));
	https(&w, "\x08http/1.1", 9, answer, sizeof answer);
	assert_non_null(strstr(answer, "this is /there\n"));
	https(&w,
	      "\x03"
	      "foo",
	      4, answer, sizeof answer);
	assert_string_equal(answer, "");
	assert_non_null(strstr(w.failed, "no application protocol"));
	stop(&w);
}

/* --- what hostile or broken clients do
 * -------------------------------------------------------------------------- */
static bool one_has_failed(void *arg)
{
	struct world *w = arg;

	agi_listener_stats(w->listener, &w->stats);
	return w->stats.tls_failed + w->stats.silent + w->stats.crowded + w->stats.plain > 0;
}

static void garbage_is_closed_and_counted(void **state)
{
	static const char *const firsts[] = {"\x16garbage that is no ClientHello at all",
					     "\x16\x03\x01\xff\xff\x01",
					     "\x16\x03\x01\x00\x05\x01\x02\x03\x04\x05"};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct agi_listener_cfg cfg = {.sniff_timeout_ms = 100};
		struct world w;
		int fd;

		start_with(&w, NO_CLIENTS, cfg);
		fd = raw_connect(agi_listener_addr(w.listener));
		assert_true(write(fd, firsts[i], i == 2 ? 10 : strlen(firsts[i])) > 0);
		assert_true(loop_until(w.base, one_has_failed, &w));
		assert_int_equal(w.stats.tls_failed + w.stats.silent, 1);
		close(fd);
		stop(&w);
	}
}

static void a_slow_handshake_is_closed_in_time(void **state)
{
	struct agi_listener_cfg cfg = {.sniff_timeout_ms = 50};
	struct world w;
	int fd;

	(void)state;
	start_with(&w, NO_CLIENTS, cfg);
	fd = raw_connect(agi_listener_addr(w.listener));
	assert_int_equal(write(fd, "\x16\x03\x01\x02\x00\x01", 6), 6);
	assert_true(loop_until(w.base, one_has_failed, &w));
	assert_int_equal(w.stats.silent, 1);
	close(fd);
	stop(&w);
}

static void too_many_handshakes_end_the_oldest_and_disturb_nobody(void **state)
{
	enum { N = AGI_TLS_PENDING + 10 };
	int fd[N];
	struct world w;

	(void)state;
	start(&w, NO_CLIENTS);
	for (int i = 0; i < N; i++) {
		fd[i] = raw_connect(agi_listener_addr(w.listener));
		assert_int_equal(write(fd[i], "\x16\x03\x01\x02\x00\x01", 6), 6);
		event_base_loop(w.base, EVLOOP_NONBLOCK);
	}
	call_once(&w, "ca.crt", NULL, NULL);
	assert_int_equal(w.status, AGI_GRPC_OK);
	agi_listener_stats(w.listener, &w.stats);
	assert_int_equal(w.stats.crowded, 11);
	for (int i = 0; i < N; i++)
		close(fd[i]);
	stop(&w);
}

static void plaintext_can_be_refused(void **state)
{
	static const enum agi_plaintext may[] = {AGI_PLAINTEXT_ALLOW, AGI_PLAINTEXT_LOOPBACK,
						 AGI_PLAINTEXT_REFUSE};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct agi_listener_cfg cfg = {.plaintext = may[i]};
		struct agi_grpc_channel *ch;
		struct world w;

		start_with(&w, NO_CLIENTS, cfg);
		assert_int_equal(
		    agi_grpc_channel_new(w.base, w.target + strlen("tls://"), &ch, NULL), AGI_OK);
		call(&w, ch, "1");
		assert_int_equal(w.status, may[i] == AGI_PLAINTEXT_REFUSE ? AGI_GRPC_UNAVAILABLE
									  : AGI_GRPC_OK);
		agi_listener_stats(w.listener, &w.stats);
		assert_int_equal(w.stats.plain, may[i] == AGI_PLAINTEXT_REFUSE);
		agi_grpc_channel_free(ch);
		stop(&w);
	}
}

/* --- certificates
 * --------------------------------------------------------------------------------------------- */
static void copy_file(struct world *w, const char *from, const char *to)
{
	char command[256];

	snprintf(command, sizeof command, "cp '%s' '%s'", at(w, from), at(w, to));
	assert_int_equal(system(command), 0);
}

static void new_certificates_serve_new_connections_and_old_ones_go_on(void **state)
{
	struct agi_grpc_channel *old;
	struct agi_tls_client *c;
	struct agi_why why;
	struct world w;

	(void)state;
	start(&w, NO_CLIENTS);
	c = client_of(&w, "ca.crt", NULL, "node.test");
	assert_int_equal(agi_grpc_channel_new(w.base, w.target, &old, NULL), AGI_OK);
	agi_grpc_channel_set_tls(old, c);
	call(&w, old, "1");
	assert_int_equal(w.status, AGI_GRPC_OK);
	assert_false(agi_tls_server_has_changed(w.tls));

	copy_file(&w, "server2.crt", "server.crt");
	assert_true(agi_tls_server_has_changed(w.tls));
	assert_false(agi_tls_server_has_changed(w.tls));
	assert_int_equal(agi_tls_server_reload(w.tls, &why),
			 AGI_E_INVALID); /* the key is not there yet */
	assert_non_null(strstr(why.text, "is not the key of"));
	call_once(&w, "ca.crt", NULL, "node.test");
	assert_int_equal(w.status, AGI_GRPC_OK);

	copy_file(&w, "server2.key", "server.key");
	assert_true(agi_tls_server_has_changed(w.tls));
	assert_int_equal(agi_tls_server_reload(w.tls, &why), AGI_OK);
	call_once(&w, "ca.crt", NULL, "new.test");
	assert_int_equal(w.status, AGI_GRPC_OK);
	call_once(&w, "ca.crt", NULL, "node.test");
	assert_refused(&w, "ostname mismatch");
	call(&w, old, "100000");
	assert_int_equal(w.status, AGI_GRPC_OK);
	agi_grpc_channel_free(old);
	agi_tls_client_free(c);
	stop(&w);
}

static void what_a_client_trusts_and_shows_may_change_too(void **state)
{
	struct agi_grpc_channel *ch;
	struct agi_tls_client *c;
	struct agi_why why;
	struct world w;

	(void)state;
	start(&w, REQUIRE_CLIENTS);
	copy_file(&w, "other-ca.crt", "trusted.crt");
	copy_file(&w, "client.crt", "own.crt");
	copy_file(&w, "client.key", "own.key");
	c = client_of(&w, "trusted.crt", "own", NULL);
	assert_int_equal(agi_grpc_channel_new(w.base, w.target, &ch, NULL), AGI_OK);
	agi_grpc_channel_set_tls(ch, c);
	call(&w, ch, "1");
	assert_refused(&w, "self-signed certificate in certificate chain");
	agi_grpc_channel_free(ch);
	assert_false(agi_tls_client_has_changed(c));

	copy_file(&w, "stranger.key", "own.key");
	copy_file(&w, "ca.crt", "trusted.crt");
	assert_true(agi_tls_client_has_changed(c));
	assert_int_equal(agi_tls_client_reload(c, &why), AGI_E_INVALID); /* all or nothing */
	assert_non_null(strstr(why.text, "is not the key of"));
	copy_file(&w, "client.key", "own.key");
	assert_true(agi_tls_client_has_changed(c));
	assert_int_equal(agi_tls_client_reload(c, &why), AGI_OK);
	assert_int_equal(agi_grpc_channel_new(w.base, w.target, &ch, NULL), AGI_OK);
	agi_grpc_channel_set_tls(ch, c);
	call(&w, ch, "1");
	assert_int_equal(w.status, AGI_GRPC_OK);
	agi_grpc_channel_free(ch);
	agi_tls_client_free(c);
	stop(&w);
}

static void certificates_that_cannot_serve_are_named(void **state)
{
	static const struct {
		const char *cert, *key, *ca, *text;
	} cases[] = {{"server.crt", "server2.key", "", "is not the key of certificate"},
		     {"nothing.crt", "server.key", "", "nothing.crt: No such file"},
		     {"server.crt", "nothing.key", "", "nothing.key: No such file"},
		     {"server.key", "server.key", "", "server.key: no start line"},
		     {"expired.crt", "expired.key", "", "has expired"},
		     {"future.crt", "future.key", "", "not valid yet"},
		     {"server.crt", "server.key", "nothing.crt", "client CA"},
		     {"server.crt", "server.key", "server.key", "client CA"}};
	struct world w;

	(void)state;
	start(&w, NO_CLIENTS);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct agi_tls_server_cfg cfg = {at(&w, cases[i].cert), at(&w, cases[i].key),
						 cases[i].ca[0] ? at(&w, cases[i].ca) : NULL,
						 false};
		struct agi_tls_server *s = NULL;
		struct agi_why why;

		assert_int_equal(agi_tls_server_new(&cfg, &s, &why), AGI_E_INVALID);
		if (!strstr(why.text, cases[i].text))
			fail_msg("\"%s\" does not say \"%s\"", why.text, cases[i].text);
	}
	assert_true(agi_tls_server_expires_s(w.tls) > time(NULL) + DAY_S - 600);
	assert_true(agi_tls_server_expires_s(w.tls) <= time(NULL) + DAY_S);
	stop(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_call_goes_through_tls),
	    cmocka_unit_test(a_server_that_is_not_who_was_asked_for_is_left),
	    cmocka_unit_test(the_names_of_a_clients_certificate_are_known),
	    cmocka_unit_test(a_client_without_a_good_certificate_is_refused_and_told),
	    cmocka_unit_test(a_certificate_that_is_only_asked_for_must_still_be_good),
	    cmocka_unit_test(large_answers_arrive_whole),
	    cmocka_unit_test(http_is_served_inside_tls_and_ends_in_order),
	    cmocka_unit_test(garbage_is_closed_and_counted),
	    cmocka_unit_test(a_slow_handshake_is_closed_in_time),
	    cmocka_unit_test(too_many_handshakes_end_the_oldest_and_disturb_nobody),
	    cmocka_unit_test(plaintext_can_be_refused),
	    cmocka_unit_test(new_certificates_serve_new_connections_and_old_ones_go_on),
	    cmocka_unit_test(what_a_client_trusts_and_shows_may_change_too),
	    cmocka_unit_test(certificates_that_cannot_serve_are_named),
	};

	return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
