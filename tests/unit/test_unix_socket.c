/* SPDX-License-Identifier: Apache-2.0
 * Listening on a Unix socket, and calling over one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>

#include "agihpc.pb-c.h"
#include "net/dial.h"
#include "net/grpc.h"
#include "net/listen_unix.h"
#include "net/listener.h"
#include "loop.h"

struct world {
	char dir[64], path[96], target[112];
	struct event_base *base;
	struct agi_listener *listener;
	struct agi_grpc_server *server;
	uid_t uid;
	bool is_unix, is_done;
	enum agi_grpc_status status;
};

static void on_get(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	Agihpc__V1__GetResponse res = AGIHPC__V1__GET_RESPONSE__INIT;
	struct world *w = ctx;

	(void)req;
	w->is_unix = agi_grpc_call_peer(call)->is_unix;
	w->uid = agi_grpc_call_peer(call)->uid;
	agi_grpc_reply(call, &res.base);
}

static void on_grpc(void *ctx, struct agi_transport *t)
{
	agi_grpc_server_take(((struct world *)ctx)->server, t);
}

static enum agi_err listen_at(struct world *w, const char *path, struct agi_listener **out,
			      struct agi_why *why)
{
	struct agi_listener_cfg cfg = {
	    .unix_path = path, .ctx = w, .plaintext = AGI_PLAINTEXT_REFUSE};

	cfg.on_wire[AGI_WIRE_GRPC] = on_grpc;
	return agi_listener_new(w->base, &cfg, out, why);
}

static void start(struct world *w)
{
	static const struct agi_grpc_method methods[] = {{"Get", on_get}};

	*w = (struct world){.dir = "/tmp/agi-unix-XXXXXX", .base = event_base_new()};
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof w->path, "%s/node.sock", w->dir);
	snprintf(w->target, sizeof w->target, "unix:%s", w->path);
	assert_int_equal(agi_grpc_server_new(w->base, &(struct agi_grpc_server_cfg){0}, &w->server),
			 AGI_OK);
	assert_int_equal(
	    agi_grpc_server_add(w->server, &agihpc__v1__kv_service__descriptor, methods, 1, w),
	    AGI_OK);
}

static void stop(struct world *w)
{
	char command[96];

	agi_listener_free(w->listener);
	agi_grpc_server_free(w->server);
	event_base_free(w->base);
	snprintf(command, sizeof command, "rm -rf '%s'", w->dir);
	assert_int_equal(system(command), 0);
}

static void on_done(void *arg, const struct agi_grpc_result *r)
{
	((struct world *)arg)->is_done = true;
	((struct world *)arg)->status = r->status;
}

static bool is_done(void *arg) { return ((struct world *)arg)->is_done; }

static void call(struct world *w)
{
	Agihpc__V1__GetRequest req = AGIHPC__V1__GET_REQUEST__INIT;
	struct agi_grpc_channel *ch;

	assert_int_equal(agi_grpc_channel_new(w->base, w->target, &ch, NULL), AGI_OK);
	w->is_done = false;
	assert_int_equal(agi_grpc_unary(ch, "/agihpc.v1.KvService/Get", &req.base,
					&agihpc__v1__get_response__descriptor, 10000, on_done, w),
			 AGI_OK);
	assert_true(loop_until(w->base, is_done, w));
	agi_grpc_channel_free(ch);
}

static void a_call_over_a_unix_socket_tells_who_calls(void **state)
{
	struct agi_why why;
	struct stat st;
	struct world w;

	(void)state;
	start(&w);
	assert_int_equal(listen_at(&w, w.path, &w.listener, &why), AGI_OK);
	assert_int_equal(stat(w.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	call(&w);
	assert_int_equal(w.status, AGI_GRPC_OK);
	assert_true(w.is_unix);
	assert_int_equal(w.uid, geteuid());
	agi_listener_free(w.listener);
	w.listener = NULL;
	assert_int_equal(stat(w.path, &st), -1);
	call(&w);
	assert_int_equal(w.status, AGI_GRPC_UNAVAILABLE);
	stop(&w);
}

static void a_second_listener_is_refused_and_harms_nothing(void **state)
{
	struct agi_listener *second = NULL;
	struct agi_why why;
	char lock[112];
	struct world w;

	(void)state;
	start(&w);
	assert_int_equal(listen_at(&w, w.path, &w.listener, &why), AGI_OK);
	assert_int_equal(listen_at(&w, w.path, &second, &why), AGI_E_EXISTS);
	assert_non_null(strstr(why.text, w.path));
	/* not even when somebody has removed the lock file */
	snprintf(lock, sizeof lock, "%s.lock", w.path);
	assert_int_equal(unlink(lock), 0);
	assert_int_equal(listen_at(&w, w.path, &second, &why), AGI_E_EXISTS);
	call(&w);
	assert_int_equal(w.status, AGI_GRPC_OK);
	stop(&w);
}

static void what_a_killed_process_left_is_replaced(void **state)
{
	struct agi_unix_socket dead = {.fd = -1};
	struct agi_why why;
	struct world w;

	(void)state;
	start(&w);
	assert_int_equal(agi_unix_listen(&dead, w.path, 1, &why), AGI_OK);
	close(dead.fd); /* as the kernel does it: the path stays */
	close(dead.lock_fd);
	assert_int_equal(access(w.path, F_OK), 0);
	assert_int_equal(listen_at(&w, w.path, &w.listener, &why), AGI_OK);
	call(&w);
	assert_int_equal(w.status, AGI_GRPC_OK);
	stop(&w);
}

static void nothing_but_a_socket_is_ever_removed(void **state)
{
	struct agi_why why;
	struct world w;
	FILE *f;

	(void)state;
	start(&w);
	f = fopen(w.path, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(listen_at(&w, w.path, &w.listener, &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "no socket"));
	assert_int_equal(access(w.path, F_OK), 0);
	stop(&w);
}

static void a_directory_that_others_write_to_is_refused(void **state)
{
	struct agi_why why;
	struct world w;

	(void)state;
	start(&w);
	assert_int_equal(chmod(w.dir, 0777), 0);
	assert_int_equal(listen_at(&w, w.path, &w.listener, &why), AGI_E_DENIED);
	assert_non_null(strstr(why.text, w.dir));
	assert_int_equal(chmod(w.dir, 01777), 0); /* as /tmp: what is ours stays ours */
	assert_int_equal(listen_at(&w, w.path, &w.listener, &why), AGI_OK);
	stop(&w);
}

static void bad_paths_are_named(void **state)
{
	char longer[200] = "/tmp/";
	struct agi_why why;
	struct world w;

	(void)state;
	start(&w);
	memset(longer + 5, 'x', 150);
	assert_int_equal(listen_at(&w, longer, &w.listener, &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "107 bytes"));
	assert_int_equal(listen_at(&w, "node.sock", &w.listener, &why), AGI_E_INVALID);
	assert_int_equal(listen_at(&w, "/nowhere/node.sock", &w.listener, &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "/nowhere"));
	stop(&w);
}

static void targets_are_checked(void **state)
{
	static const char *const good[] = {"unix:/a", "tls://node1:5000", "tls://[::1]:5000",
					   "tls://10.0.0.1:1"};
	static const char *const bad[] = {"unix:",       "unix:/",       "unix:a/b",      "tls://",
					  "tls://node1", "tls:/node1:1", "http://node1:1"};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_int_equal(agi_dial_check(agi_str_of(good[i]), NULL), AGI_OK);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(agi_dial_check(agi_str_of(bad[i]), NULL), AGI_E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_call_over_a_unix_socket_tells_who_calls),
	    cmocka_unit_test(a_second_listener_is_refused_and_harms_nothing),
	    cmocka_unit_test(what_a_killed_process_left_is_replaced),
	    cmocka_unit_test(nothing_but_a_socket_is_ever_removed),
	    cmocka_unit_test(a_directory_that_others_write_to_is_refused),
	    cmocka_unit_test(bad_paths_are_named),
	    cmocka_unit_test(targets_are_checked),
	};

	return cmocka_run_group_tests_name("unix_socket", tests, NULL, NULL);
}
