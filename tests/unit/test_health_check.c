/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agihpc.pb-c.h"
#include "base/limits.h"
#include "config/config.h"
#include "health.pb-c.h"
#include "net/grpc.h"
#include "dht/types.h"
#include "net/http.h"
#include "net/listener.h"
#include "net/tls.h"
#include "node/health_check.h"
#include "tests/unit/certs.h"
#include "tests/unit/loop.h"

struct world {
	struct event_base *base;
	struct agi_health_checks *checks;
	int n_verdicts, want;
	bool is_healthy;
	char detail[320], address[300];
	bool remove_in_callback;
	/* the service */
	int fd;
	struct event *accept;
	struct agi_http *http;
	struct agi_grpc_server *grpc;
	int http_status;
	Grpc__Health__V1__HealthCheckResponse__ServingStatus serving;
	bool is_silent;
	int n_looks;
};

static void on_verdict(void *ctx, struct agi_str service, struct agi_str address, bool is_healthy,
		       const char *detail)
{
	struct world *w = ctx;

	assert_true(agi_str_eq(service, AGI_STR("svc")));
	w->n_verdicts++;
	w->is_healthy = is_healthy;
	snprintf(w->detail, sizeof w->detail, "%s", detail);
	snprintf(w->address, sizeof w->address, "%.*s", AGI_STR_ARG(address));
	assert_int_equal(is_healthy, detail[0] == '\0');
	if (w->remove_in_callback)
		agi_health_checks_remove(w->checks, service, address);
	assert_true(agi_str_eq(service, AGI_STR("svc"))); /* still there */
}

/* --- a service that can be made to do anything ----------------------------------------------- */
static int on_get(void *ctx, struct agi_http_ask *ask, struct agi_buf *body, const char **type)
{
	struct world *w = ctx;

	(void)body, (void)type;
	w->n_looks++;
	return strcmp(ask->path, "/healthz") == 0 ? w->http_status : 404;
}

static void on_health(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Grpc__Health__V1__HealthCheckRequest *r = (const void *)req;
	Grpc__Health__V1__HealthCheckResponse res = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
	struct world *w = ctx;

	w->n_looks++;
	res.status = w->serving;
	if (r->service.len)
		agi_grpc_fail(call, AGI_GRPC_NOT_FOUND, "no such service");
	else
		agi_grpc_reply(call, &res.base);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct world *w = arg;
	struct agi_addr nowhere = {0};
	int got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (w->is_silent)
		(void)got; /* the test ends the process */
	else if (w->http)
		agi_http_accept(w->http, got, &nowhere);
	else if (w->grpc)
		agi_grpc_server_accept(w->grpc, got, &nowhere);
	else
		close(got);
}

static void listen_at(struct world *w, uint16_t port)
{
	struct agi_addr a = loopback(port);
	struct sockaddr_storage sa;
	socklen_t n = agi_sock_of_addr(&sa, &a);
	int on = 1;

	w->fd = agi_sock_tcp(&a);
	(void)setsockopt(w->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	assert_int_equal(bind(w->fd, (struct sockaddr *)&sa, n), 0);
	assert_int_equal(listen(w->fd, 16), 0);
	w->accept = event_new(w->base, w->fd, EV_READ | EV_PERSIST, on_accept, w);
	event_add(w->accept, NULL);
	n = sizeof sa;
	assert_int_equal(getsockname(w->fd, (struct sockaddr *)&sa, &n), 0);
	assert_int_equal(agi_addr_of_sock(&a, (struct sockaddr *)&sa), AGI_OK);
	agi_addr_format(w->address, &a);
}

static void stop_listening(struct world *w)
{
	event_free(w->accept);
	close(w->fd);
	w->accept = NULL;
}

static void start(struct world *w)
{
	*w = (struct world){.base = event_base_new(), .http_status = 200, .serving = 1};
	listen_at(w, 0);
	assert_int_equal(agi_health_checks_new(w->base, on_verdict, w, &w->checks), AGI_OK);
}

static void serve_http(struct world *w)
{
	assert_int_equal(agi_http_new(w->base, on_get, w, &w->http), AGI_OK);
}

static void serve_grpc(struct world *w)
{
	static const struct agi_grpc_method methods[] = {{"Check", on_health}};

	assert_int_equal(agi_grpc_server_new(w->base, &(struct agi_grpc_server_cfg){0}, &w->grpc),
			 AGI_OK);
	assert_int_equal(
	    agi_grpc_server_add(w->grpc, &grpc__health__v1__health__descriptor, methods, 1, w),
	    AGI_OK);
}

static void stop(struct world *w)
{
	agi_health_checks_free(w->checks);
	agi_http_free(w->http);
	agi_grpc_server_free(w->grpc);
	if (w->accept)
		stop_listening(w);
	event_base_free(w->base);
}

static struct agi_str config_of(const char *kind, uint32_t interval_ms, uint32_t timeout_ms,
				const char *path, bool is_tls)
{
	static uint8_t wire[1024];
	Agihpc__V1__HealthCheck c = AGIHPC__V1__HEALTH_CHECK__INIT;

	c.kind = (ProtobufCBinaryData){strlen(kind), (uint8_t *)kind};
	c.path = (ProtobufCBinaryData){strlen(path), (uint8_t *)path};
	c.interval_ms = interval_ms;
	c.timeout_ms = timeout_ms;
	c.tls = is_tls;
	return (struct agi_str){(char *)wire, agihpc__v1__health_check__pack(&c, wire)};
}

static struct agi_str config(const char *kind, uint32_t interval_ms, uint32_t timeout_ms,
			     const char *path)
{
	return config_of(kind, interval_ms, timeout_ms, path, false);
}

static void set(struct world *w, struct agi_str cfg)
{
	char address[300];

	snprintf(address, sizeof address, "%s", w->address);
	assert_int_equal(
	    agi_health_checks_set(w->checks, AGI_STR("svc"), agi_str_of(address), cfg, NULL),
	    AGI_OK);
}

static bool has_come(void *arg)
{
	struct world *w = arg;

	return w->n_verdicts >= w->want;
}

static void expect(struct world *w, int n, bool is_healthy, const char *detail)
{
	w->want = n;
	assert_true(loop_until(w->base, has_come, w));
	assert_int_equal(w->n_verdicts, n);
	assert_int_equal(w->is_healthy, is_healthy);
	if (!strstr(w->detail, detail))
		fail_msg("\"%s\" does not say \"%s\"", w->detail, detail);
}

/* --- promises
 * ------------------------------------------------------------------------------------------------
 */
static void a_service_that_comes_and_goes_is_seen(void **state)
{
	struct world w;
	uint16_t port;

	(void)state;
	start(&w);
	port = (uint16_t)atoi(strchr(w.address, ':') + 1);
	set(&w, config("tcp", 100, 100, ""));
	assert_int_equal(w.n_verdicts, 0); /* never from inside */
	expect(&w, 1, true, "");
	stop_listening(&w);
	expect(&w, 2, false, "Connection refused");
	listen_at(&w, port);
	expect(&w, 3, true, "");
	stop(&w);
}

static void an_http_service_must_answer_2xx(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	serve_http(&w);
	set(&w, config("http", 100, 100, "/healthz"));
	expect(&w, 1, true, "");
	w.http_status = 503;
	expect(&w, 2, false, "/healthz answered 503 Service Unavailable");
	w.http_status = 200;
	expect(&w, 3, true, "");
	set(&w, config("http", 100, 100, "/nope"));
	expect(&w, 4, true, ""); /* told anew, then looked at */
	expect(&w, 5, false, "/nope answered 404");
	stop(&w);
}

static void a_grpc_service_must_say_serving(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	serve_grpc(&w);
	set(&w, config("grpc", 100, 100, ""));
	expect(&w, 1, true, "");
	w.serving = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
	expect(&w, 2, false, "grpc.health.v1 says NOT_SERVING");
	w.serving = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	expect(&w, 3, true, "");
	set(&w, config("grpc", 100, 100, "other.Service"));
	expect(&w, 5, false, "NOT_FOUND: no such service");
	stop(&w);
}

static void a_service_that_accepts_and_is_silent_is_unhealthy(void **state)
{
	static const char *const kinds[] = {"http", "grpc"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct world w;

		start(&w);
		w.is_silent = true;
		set(&w, config(kinds[i], 100, 100, ""));
		expect(&w, 1, false, i ? "" : "no answer within 100 ms");
		stop(&w);
	}
}

static void kind_none_is_healthy_and_asks_nobody(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	stop_listening(&w);
	set(&w, config("none", 100, 100, ""));
	expect(&w, 1, true, "");
	stop(&w);
}

static void a_removed_check_is_silent_also_from_its_own_callback(void **state)
{
	struct world w;

	(void)state;
	for (int i = 0; i < 2; i++) {
		start(&w);
		serve_grpc(&w);
		w.remove_in_callback = true;
		set(&w, config(i ? "grpc" : "tcp", 100, 100, ""));
		expect(&w, 1, true, "");
		agi_health_checks_remove(w.checks, AGI_STR("svc"), AGI_STR("unknown:1"));
		stop(&w);
	}
	start(&w);
	set(&w, config("tcp", 100, 100, ""));
	agi_health_checks_remove(w.checks, AGI_STR("svc"), agi_str_of(w.address));
	event_base_loop(w.base, EVLOOP_NONBLOCK);
	assert_int_equal(w.n_verdicts, 0);
	stop(&w);
}

static void names_are_resolved(void **state)
{
	struct world w;
	char name[64];

	(void)state;
	start(&w);
	snprintf(name, sizeof name, "localhost%s", strchr(w.address, ':'));
	assert_int_equal(
	    agi_health_checks_set(w.checks, AGI_STR("svc"), agi_str_of(name), AGI_STR(""), NULL),
	    AGI_OK);
	expect(&w, 1, true, "");
	assert_string_equal(w.address, name);
	stop(&w);
}

/* --- exec ------------------------------------------------------------------------------------- */
/* "/bin/sh -c SCRIPT" */
static struct agi_str script(const char *path, const char *text, uint32_t interval_ms)
{
	static uint8_t wire[2048];
	Agihpc__V1__HealthCheck c = AGIHPC__V1__HEALTH_CHECK__INIT;
	ProtobufCBinaryData args[] = {{2, (uint8_t *)"-c"}, {strlen(text), (uint8_t *)text}};

	c.kind = (ProtobufCBinaryData){4, (uint8_t *)"exec"};
	c.path = (ProtobufCBinaryData){strlen(path), (uint8_t *)path};
	c.args = args;
	c.n_args = 2;
	c.interval_ms = c.timeout_ms = interval_ms;
	return (struct agi_str){(char *)wire, agihpc__v1__health_check__pack(&c, wire)};
}

static void permit(struct world *w, const char *path)
{
	static char *one[1];
	static struct agi_config_list list = {one, 1};

	one[0] = (char *)path;
	assert_int_equal(agi_health_checks_permit(w->checks, &list), AGI_OK);
}

static void a_program_is_well_when_it_ends_with_status_0(void **state)
{
	static const struct {
		const char *text, *detail;
	} cases[] = {
	    {"test $AGIHPC_SERVICE = svc && test -n \"$AGIHPC_ADDRESS\" && test $(pwd) = /", ""},
	    {"echo 'it is broken'; echo more >&2; exit 3", "exit status 3: it is broken"},
	    {"kill -9 $$", "ended by signal 9"},
	    {"test ! -e /proc/$$/fd/77 && test ! -e /proc/$$/fd/78", ""}, /* nothing is inherited */
	    {"read x; test -z \"$x\"", ""},                             /* there is nothing to be read */
	};

	(void)state;
	assert_int_equal(dup2(0, 77), 77);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct world w;

		start(&w);
		permit(&w, "/usr/bin");
		set(&w, script("/bin/sh", cases[i].text, 60000));
		expect(&w, 1, cases[i].detail[0] == '\0', cases[i].detail);
		stop(&w);
	}
	close(77);
}

static bool has_no_children(void *arg)
{
	siginfo_t how;

	(void)arg;
	return waitid(P_ALL, 0, &how, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD;
}

static void a_program_that_does_not_end_is_killed_and_waited_for(void **state)
{
	static const char *const texts[] = {"while :; do echo y; done", "trap '' TERM; sleep 1000"};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct world w;

		start(&w);
		permit(&w, "/usr/bin/");
		set(&w, script("/bin/sh", texts[i], 200));
		expect(&w, 1, false, "no answer within 200 ms");
		agi_health_checks_remove(w.checks, AGI_STR("svc"), agi_str_of(w.address));
		assert_true(loop_until(w.base, has_no_children, NULL));
		stop(&w);
	}
}

/* Nobody's process, or one that only waits for init. */
static bool is_gone(void *arg)
{
	char path[40], text[400] = "", *end;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", *(int *)arg);
	f = fopen(path, "r");
	if (!f)
		return true;
	if (!fgets(text, sizeof text, f))
		text[0] = '\0';
	fclose(f);
	end = strrchr(text, ')');
	return !end || end[2] == 'Z' || end[2] == 'X';
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg; /* the loop looks again */
}

static bool has_text(void *arg)
{
	struct stat st;

	return fstat(*(int *)arg, &st) == 0 && st.st_size > 0;
}

static void what_a_program_started_goes_with_it(void **state)
{
	const struct timeval often = {0, 5000};
	char text[200] = "", file[] = "/tmp/agihpc-exec-XXXXXX";
	int fd = mkstemp(file), pid;
	struct event *tick;
	struct world w;

	(void)state;
	assert_true(fd >= 0);
	snprintf(text, sizeof text, "sleep 1000 & echo $! >%s; wait", file);
	start(&w);
	tick = event_new(w.base, -1, EV_PERSIST, on_tick, NULL);
	event_add(tick, &often);
	permit(&w, "/usr/bin/dash");
	set(&w, script("/bin/sh", text, 60000));
	assert_true(loop_until(w.base, has_text, &fd));
	agi_health_checks_remove(w.checks, AGI_STR("svc"), agi_str_of(w.address));
	assert_true(loop_until(w.base, has_no_children, NULL));
	memset(text, 0, sizeof text);
	assert_true(read(fd, text, sizeof text - 1) > 0);
	pid = atoi(text);
	assert_true(pid > 1);
	assert_true(loop_until(w.base, is_gone, &pid));
	event_free(tick);
	stop(&w);
	close(fd);
	unlink(file);
}

static void checks_that_are_freed_leave_no_program_behind(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	permit(&w, "/usr/bin");
	set(&w, script("/bin/sh", "sleep 1000", 60000));
	event_base_loop(w.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	event_base_loop(w.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	stop(&w);
	assert_true(has_no_children(NULL));
}

static void only_programs_that_are_permitted_run(void **state)
{
	char dir[] = "/tmp/agihpc-exec-XXXXXX", link[64];
	struct agi_why why;
	struct world w;

	(void)state;
	start(&w);
	assert_int_equal(agi_health_checks_accept(w.checks, script("/bin/sh", "", 1000), &why), AGI_E_DENIED);
	assert_non_null(strstr(why.text, "node.exec_checks"));
	assert_int_equal(agi_health_checks_accept(w.checks, AGI_STR(""), &why), AGI_OK);
	set(&w, script("/bin/sh", "", 1000)); /* as after a restart with another configuration */
	expect(&w, 1, false, "runs no programs");
	assert_non_null(mkdtemp(dir));
	permit(&w, dir);
	snprintf(link, sizeof link, "%s/sh", dir);
	assert_int_equal(symlink("/bin/sh", link), 0);
	assert_int_equal(agi_health_checks_accept(w.checks, script(link, "", 1000), &why), AGI_E_DENIED);
	assert_non_null(strstr(why.text, "not permitted"));
	snprintf(link + strlen(link), sizeof link - strlen(link), "x");
	assert_int_equal(agi_health_checks_accept(w.checks, script(link, "", 1000), &why), AGI_E_DENIED);
	assert_non_null(strstr(why.text, "No such file"));
	assert_int_equal(agi_health_checks_accept(w.checks, script("bin/sh", "", 1000), &why), AGI_E_INVALID);
	assert_int_equal(agi_health_checks_accept(w.checks, script("/usr/../bin/sh", "", 1000), &why), AGI_E_INVALID);
	stop(&w);
	link[strlen(link) - 1] = '\0';
	unlink(link);
	rmdir(dir);
}

/* --- ttl -------------------------------------------------------------------------------------- */
static enum agi_err beat(struct world *w, bool is_well, const char *detail)
{
	char address[300];

	snprintf(address, sizeof address, "%s", w->address);
	return agi_health_checks_heartbeat(w->checks, AGI_STR("svc"), agi_str_of(address), is_well, agi_str_of(detail), NULL);
}

static void a_service_that_speaks_for_itself_must_go_on_doing_so(void **state)
{
	struct world w;

	(void)state;
	start(&w);
	assert_int_equal(beat(&w, true, ""), AGI_E_NOT_FOUND);
	set(&w, config("ttl", 60000, 0, ""));
	expect(&w, 1, false, "no heartbeat"); /* a registration by itself is no sign of life */
	assert_int_equal(beat(&w, true, ""), AGI_OK);
	assert_int_equal(w.n_verdicts, 1); /* never from inside */
	expect(&w, 2, true, "");
	assert_int_equal(beat(&w, false, "out of memory"), AGI_OK);
	expect(&w, 3, false, "out of memory");
	assert_int_equal(beat(&w, true, ""), AGI_OK);
	expect(&w, 4, true, "");
	set(&w, config("ttl", 100, 0, "")); /* registered anew: still well … */
	expect(&w, 5, true, "");
	expect(&w, 6, false, "no heartbeat for 100 ms"); /* … for so long */
	set(&w, config("tcp", 100, 100, ""));
	assert_int_equal(beat(&w, true, ""), AGI_E_INVALID);
	stop(&w);
}

/* --- TLS -------------------------------------------------------------------------------------- */
struct tls_world {
	struct world w;
	struct certs certs;
	struct agi_tls_server *server;
	struct agi_listener *listener;
	struct agi_tls_client *client; /* what checks are given; NULL: none */
};

static void on_tls_grpc(void *ctx, struct agi_transport *t)
{
	agi_grpc_server_take(((struct world *)ctx)->grpc, t);
}

static void on_tls_http(void *ctx, struct agi_transport *t)
{
	agi_http_take(((struct world *)ctx)->http, t);
}

static const struct agi_tls_client *give_client(void *ctx)
{
	return ((struct tls_world *)ctx)->client;
}

static void trust(struct tls_world *t, const char *ca)
{
	struct agi_tls_client_cfg cfg = {.ca_file = certs_path(&t->certs, ca)};
	struct agi_why why;

	agi_tls_client_free(t->client);
	assert_int_equal(agi_tls_client_new(&cfg, &t->client, &why), AGI_OK);
}

static void start_tls(struct tls_world *t)
{
	struct agi_listener_cfg cfg = {.addr = loopback(0), .ctx = &t->w};
	struct agi_tls_server_cfg tls = {0};
	struct certs_ca ca;
	struct agi_why why;

	*t = (struct tls_world){.client = NULL};
	start(&t->w);
	serve_http(&t->w);
	serve_grpc(&t->w);
	certs_open(&t->certs);
	ca = certs_make(&t->certs, "ca", "test", NULL, -86400, 86400, NULL);
	certs_forget(certs_make(&t->certs, "other", "other", NULL, -86400, 86400, NULL));
	certs_forget(
	    certs_make(&t->certs, "server", "server", "IP:127.0.0.1", -86400, 86400, &ca));
	certs_forget(ca);
	tls.cert_file = certs_path(&t->certs, "server.crt");
	tls.key_file = certs_path(&t->certs, "server.key");
	assert_int_equal(agi_tls_server_new(&tls, &t->server, &why), AGI_OK);
	cfg.tls = t->server;
	cfg.plaintext = AGI_PLAINTEXT_REFUSE;
	cfg.on_wire[AGI_WIRE_GRPC] = on_tls_grpc;
	cfg.on_wire[AGI_WIRE_HTTP] = on_tls_http;
	assert_int_equal(agi_listener_new(t->w.base, &cfg, &t->listener, &why), AGI_OK);
	agi_addr_format(t->w.address, agi_listener_addr(t->listener));
	agi_health_checks_set_tls(t->w.checks, give_client, t);
}

static void stop_tls(struct tls_world *t)
{
	agi_listener_free(t->listener);
	stop(&t->w);
	agi_tls_server_free(t->server);
	agi_tls_client_free(t->client);
	certs_close(&t->certs);
}

static void a_service_that_speaks_tls_is_asked_over_tls(void **state)
{
	static const char *const kinds[] = {"http", "grpc"};
	struct tls_world t;

	(void)state;
	for (int i = 0; i < 2; i++) {
		const char *path = i == 0 ? "/healthz" : "";

		start_tls(&t);
		trust(&t, "ca.crt");
		set(&t.w, config_of(kinds[i], 100, 100, path, true));
		expect(&t.w, 1, true, "");
		assert_int_equal(t.w.n_looks, 1);
		set(&t.w, config_of(kinds[i], 100, 100, path, false)); /* registered anew, without */
		expect(&t.w, 2, true, ""); /* as it was last seen */
		expect(&t.w, 3, false, "");
		stop_tls(&t);
	}
}

static void a_service_with_a_wrong_certificate_is_unhealthy_and_says_why(void **state)
{
	static const char *const kinds[] = {"http", "grpc"};
	struct tls_world t;

	(void)state;
	for (int i = 0; i < 2; i++) {
		start_tls(&t);
		trust(&t, "other.crt");
		set(&t.w, config_of(kinds[i], 10000, 5000, i == 0 ? "/healthz" : "", true));
		expect(&t.w, 1, false, "TLS handshake: the server's certificate: ");
		stop_tls(&t);
		start_tls(&t);
		set(&t.w, config_of(kinds[i], 10000, 5000, i == 0 ? "/healthz" : "", true));
		expect(&t.w, 1, false, "TLS cannot be spoken");
		assert_int_equal(t.w.n_looks, 0);
		stop_tls(&t);
	}
}

static void what_is_told_of_a_service_follows_its_config(void **state)
{
	(void)state;
	assert_int_equal(agi_health_config_traits(config_of("none", 0, 0, "", true)),
			 AGI_PROVIDER_TLS);
	assert_int_equal(agi_health_config_traits(config_of("none", 0, 0, "", false)), 0);
	assert_int_equal(agi_health_config_traits(AGI_STR("\xff")), 0);
}

static void assert_refused(struct agi_str cfg, const char *expect_text)
{
	struct agi_why why = {""};

	assert_int_equal(agi_health_config_check(cfg, &why), AGI_E_INVALID);
	if (!strstr(why.text, expect_text))
		fail_msg("\"%s\" does not say \"%s\"", why.text, expect_text);
}

static void a_config_that_cannot_be_run_is_refused(void **state)
{
	char longer[400];

	(void)state;
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	assert_int_equal(agi_health_config_check(AGI_STR(""), NULL), AGI_OK);
	assert_int_equal(agi_health_config_check(config("tcp", 300, 0, ""), NULL), AGI_OK);
	assert_refused(AGI_STR("\x0a\x05tcp"), "cut short");
	assert_refused(config("ping", 0, 0, ""),
		       "kind \"ping\": expected \"tcp\", \"http\", \"grpc\", \"exec\", \"ttl\" or \"none\"");
	assert_refused(config("exec", 0, 0, ""), "absolute path of a program");
	assert_refused(config("exec", 0, 0, "/"), "absolute path of a program");
	assert_refused(config("tcp", 50, 0, ""), "interval_ms 50: expected 100..3600000");
	assert_refused(config("tcp", 3600001, 0, ""), "interval_ms");
	assert_refused(config("tcp", 500, 501, ""),
		       "timeout_ms 501: expected at most the interval, 500 ms");
	assert_refused(config("http", 500, 0, "healthz"), "as in /healthz");
	assert_refused(config("http", 500, 0, "/a b"), "printable");
	assert_refused(config("http", 500, 0, "/a\r\nX: y"), "printable");
	assert_refused(config("grpc", 500, 0, longer), "at most 255 bytes");
}

static void the_number_of_checks_is_bounded(void **state)
{
	struct world w;
	struct agi_why why;
	char address[32];

	(void)state;
	start(&w);
	for (int i = 0; i < AGI_LOCAL_SERVICES_MAX; i++) {
		snprintf(address, sizeof address, "127.0.0.1:%d", i + 1);
		assert_int_equal(agi_health_checks_set(w.checks, AGI_STR("svc"),
						       agi_str_of(address),
						       config("none", 0, 0, ""), NULL),
				 AGI_OK);
	}
	assert_int_equal(agi_health_checks_set(w.checks, AGI_STR("svc"), AGI_STR("127.0.0.1:9999"),
					       AGI_STR(""), &why),
			 AGI_E_FULL);
	assert_int_equal(
	    agi_health_checks_set(w.checks, AGI_STR("svc"), AGI_STR("nonsense"), AGI_STR(""), &why),
	    AGI_E_FULL);
	agi_health_checks_remove(w.checks, AGI_STR("svc"), AGI_STR("127.0.0.1:1"));
	assert_int_equal(
	    agi_health_checks_set(w.checks, AGI_STR("svc"), AGI_STR("nonsense"), AGI_STR(""), &why),
	    AGI_E_INVALID);
	assert_non_null(strstr(why.text, "node1:5000"));
	stop(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_service_that_comes_and_goes_is_seen),
	    cmocka_unit_test(an_http_service_must_answer_2xx),
	    cmocka_unit_test(a_grpc_service_must_say_serving),
	    cmocka_unit_test(a_service_that_accepts_and_is_silent_is_unhealthy),
	    cmocka_unit_test(kind_none_is_healthy_and_asks_nobody),
	    cmocka_unit_test(a_removed_check_is_silent_also_from_its_own_callback),
	    cmocka_unit_test(a_program_is_well_when_it_ends_with_status_0),
	    cmocka_unit_test(a_program_that_does_not_end_is_killed_and_waited_for),
	    cmocka_unit_test(what_a_program_started_goes_with_it),
	    cmocka_unit_test(checks_that_are_freed_leave_no_program_behind),
	    cmocka_unit_test(only_programs_that_are_permitted_run),
	    cmocka_unit_test(a_service_that_speaks_for_itself_must_go_on_doing_so),
	    cmocka_unit_test(names_are_resolved),
	    cmocka_unit_test(a_service_that_speaks_tls_is_asked_over_tls),
	    cmocka_unit_test(a_service_with_a_wrong_certificate_is_unhealthy_and_says_why),
	    cmocka_unit_test(what_is_told_of_a_service_follows_its_config),
	    cmocka_unit_test(a_config_that_cannot_be_run_is_refused),
	    cmocka_unit_test(the_number_of_checks_is_bounded),
	};

	return cmocka_run_group_tests_name("health_check", tests, NULL, NULL);
}
