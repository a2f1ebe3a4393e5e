/* SPDX-License-Identifier: Apache-2.0
 * A service for tests of the gRPC server, under the name and messages of agihpc.v1.KvService:
 *   Put     answers version = number of value bytes, acks = 1; headers "x-..." come back as
 * headers, "t-..." as trailers Get     by namespace: "" answers value = key; "status" fails with
 * status = level and text = key; "hang" never answers; "later" answers after the loop's next turn;
 * "large" answers key-many bytes; "left" answers version = milliseconds left; "counts" answers
 * version = cancelled, acks = hanging calls Delete  has no handler. Owners fails with the agi_err
 * STALE_EPOCH and the text "why"
 *
 * With AGI_ECHO_FAR set in the environment, connections are served on a thread of their own, and the
 * handlers run where they always do (net/grpc_far.h). */
#ifndef AGI_TESTS_ECHO_SERVICE_H
#define AGI_TESTS_ECHO_SERVICE_H

#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/grpc.h"
#include "net/grpc_far.h"
#include "net/sock.h"
#include "agihpc.pb-c.h"
#include "tests/net/stream_service.h"

enum { ECHO_MAILBOX = 1024 };

struct echo {
	struct event_base *base;
	struct agi_grpc_server *server, *near; /* near, loops, far: NULL unless AGI_ECHO_FAR */
	struct agi_loop *loop, *near_loop;
	struct agi_grpc_far *far;
	struct streams streams;
	int n_hanging, n_cancelled, n_seen;
	int fd;
	struct event *accept;
	struct agi_addr addr;
};

static inline void echo_put(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__PutRequest *r = (const void *)req;
	Agihpc__V1__PutResponse res = AGIHPC__V1__PUT_RESPONSE__INIT;
	struct agi_str name, value;
	char z[64];
	size_t at = 0;

	((struct echo *)ctx)->n_seen++;
	res.version = r->value.len;
	res.acks = 1;
	while (agi_grpc_call_metadata_next(call, &at, &name, &value)) {
		snprintf(z, sizeof z, "%.*s", AGI_STR_ARG(name));
		if (agi_str_has_prefix(name, AGI_STR("x-")))
			agi_grpc_call_add_header(call, z, value);
		else if (agi_str_has_prefix(name, AGI_STR("t-")))
			agi_grpc_call_add_trailer(call, z, value);
	}
	agi_grpc_reply(call, &res.base);
}

struct echo_later {
	struct agi_grpc_call *call;
	struct echo *echo;
};

static inline void echo_cancelled(void *arg)
{
	struct echo_later *l = arg;

	l->echo->n_cancelled++;
	l->echo->n_hanging--;
	agi_grpc_fail(l->call, AGI_GRPC_CANCELLED, "gone");
	free(l);
}

static inline void echo_now(evutil_socket_t fd, short what, void *arg)
{
	struct echo_later *l = arg;
	Agihpc__V1__GetResponse res = AGIHPC__V1__GET_RESPONSE__INIT;

	(void)fd;
	(void)what;
	res.version = 1;
	agi_grpc_call_on_cancel(l->call, NULL, NULL);
	agi_grpc_reply(l->call, &res.base);
	free(l);
}

static inline void echo_wait(struct agi_grpc_call *call, struct echo *e, bool is_later)
{
	struct echo_later *l = malloc(sizeof *l);
	const struct timeval now = {0, 0};

	if (!l)
		abort();
	*l = (struct echo_later){call, e};
	if (is_later) {
		event_base_once(e->base, -1, EV_TIMEOUT, echo_now, l, &now);
		return;
	}
	agi_grpc_call_on_cancel(call, echo_cancelled, l);
	e->n_hanging++;
}

static inline bool echo_is(ProtobufCBinaryData d, const char *name)
{
	return d.len == strlen(name) && memcmp(d.data, name, d.len) == 0;
}

static inline void echo_large(struct agi_grpc_call *call, ProtobufCBinaryData key)
{
	Agihpc__V1__GetResponse res = AGIHPC__V1__GET_RESPONSE__INIT;
	char digits[16] = "";

	memcpy(digits, key.data, key.len < 15 ? key.len : 15);
	res.value.len = (size_t)strtoul(digits, NULL, 10);
	res.value.data = calloc(1, res.value.len + 1);
	agi_grpc_reply(call, &res.base);
	free(res.value.data);
}

static inline void echo_get(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__GetRequest *r = (const void *)req;
	Agihpc__V1__GetResponse res = AGIHPC__V1__GET_RESPONSE__INIT;

	((struct echo *)ctx)->n_seen++;
	res.value = r->key;
	if (echo_is(r->namespace_, "hang") || echo_is(r->namespace_, "later")) {
		echo_wait(call, ctx, echo_is(r->namespace_, "later"));
	} else if (echo_is(r->namespace_, "status") && (int)r->level != 0) {
		agi_grpc_fail(call, (enum agi_grpc_status)r->level, "%.*s", (int)r->key.len,
			      (char *)r->key.data);
	} else if (echo_is(r->namespace_, "large")) {
		echo_large(call, r->key);
	} else {
		if (echo_is(r->namespace_, "left"))
			res.version = agi_grpc_call_left_ms(call);
		if (echo_is(r->namespace_, "counts"))
			res.version = (uint64_t)((struct echo *)ctx)->n_cancelled;
		res.acks = (uint32_t)((struct echo *)ctx)->n_hanging;
		agi_grpc_reply(call, &res.base);
	}
}

static inline void echo_owners(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct agi_why why;

	(void)req;
	(void)ctx;
	(void)!agi_fail(&why, AGI_E_STALE_EPOCH, "why");
	agi_grpc_fail_err(call, AGI_E_STALE_EPOCH, &why);
}

struct echo_visitor {
	struct echo *echo;
	int fd;
};

static inline void echo_take(void *arg)
{
	struct echo_visitor *v = arg;

	agi_grpc_server_accept(v->echo->near, v->fd, &v->echo->addr);
	free(v);
}

static inline void echo_drop(void *arg)
{
	close(((struct echo_visitor *)arg)->fd);
	free(arg);
}

static inline void echo_accept(evutil_socket_t fd, short what, void *arg)
{
	struct echo *e = arg;
	int got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (got >= 0 && e->near) {
		struct echo_visitor *v = malloc(sizeof *v);

		*v = (struct echo_visitor){e, got};
		if (agi_loop_post(e->near_loop, echo_take, echo_drop, v))
			echo_drop(v);
	} else if (got >= 0) {
		agi_grpc_server_accept(e->server, got, &e->addr);
	}
}

/* A thread for the connections. */
static inline void echo_spread(struct echo *e, const struct agi_grpc_server_cfg *cfg)
{
	const struct agi_loop_cfg here = {.name = "echo", .mailbox_max = ECHO_MAILBOX, .base = e->base};
	const struct agi_loop_cfg there = {.name = "near", .mailbox_max = ECHO_MAILBOX};
	struct agi_grpc_far_cfg far = {.far = e->server};

	if (agi_loop_new(&here, &e->loop) || agi_loop_new(&there, &e->near_loop) ||
	    agi_grpc_server_new(agi_loop_base(e->near_loop), cfg, &e->near))
		abort();
	far.near = e->near;
	far.near_loop = e->near_loop;
	far.far_loop = e->loop;
	if (agi_grpc_far_new(&far, &e->far) || agi_loop_start(e->near_loop))
		abort();
}

/* Listens on 127.0.0.1; port 0 = any. Aborts when it cannot: it is a test. */
static inline void echo_start(struct echo *e, struct event_base *base,
			      const struct agi_grpc_server_cfg *cfg, uint16_t port)
{
	static const struct agi_grpc_method methods[] = {
	    {"Put", echo_put}, {"Get", echo_get}, {"Owners", echo_owners}};
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof sa;
	int on = 1;

	*e = (struct echo){.base = base};
	e->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	(void)setsockopt(e->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (e->fd < 0 || bind(e->fd, (struct sockaddr *)&sa, n) || listen(e->fd, 128) ||
	    getsockname(e->fd, (struct sockaddr *)&sa, &n) ||
	    agi_addr_of_sock(&e->addr, (struct sockaddr *)&sa) ||
	    agi_grpc_server_new(base, cfg, &e->server) ||
	    agi_grpc_server_add(e->server, &agihpc__v1__kv_service__descriptor, methods, 3, e))
		abort();
	streams_add(e->server, &e->streams);
	if (getenv("AGI_ECHO_FAR"))
		echo_spread(e, cfg);
	e->accept = event_new(base, e->fd, EV_READ | EV_PERSIST, echo_accept, e);
	if (!e->accept || event_add(e->accept, NULL))
		abort();
}

static inline void echo_drain_near(void *arg) { agi_grpc_server_drain(((struct echo *)arg)->near); }

static inline void echo_drain(struct echo *e)
{
	if (!e->near)
		agi_grpc_server_drain(e->server);
	else if (agi_loop_post(e->near_loop, echo_drain_near, NULL, e))
		abort();
}

static inline void echo_stop(struct echo *e)
{
	if (e->near_loop)
		agi_loop_stop(e->near_loop);
	agi_grpc_server_free(e->near);
	agi_grpc_server_free(e->server);
	if (e->near_loop) {
		agi_loop_free(e->near_loop);
		agi_loop_free(e->loop);
	}
	agi_grpc_far_free(e->far);
	event_free(e->accept);
	close(e->fd);
}

#endif
