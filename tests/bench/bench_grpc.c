/* SPDX-License-Identifier: Apache-2.0
 * The servers of the gRPC bench (tests/bench/bench_grpc.sh puts the parts together).
 *
 *   bench_grpc serve PATH  our server on a TCP port of 127.0.0.1 and on the Unix-domain socket PATH
 *   bench_grpc pong PATH   bare ping-pong without any protocol, blocking, likewise:
 * BENCH_REQUEST_BYTES in, BENCH_RESPONSE_BYTES out; the measure of what the kernel alone costs
 *
 * Both print the port and serve until they are killed. */
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agihpc.pb-c.h"
#include "net/grpc.h"
#include "net/transport.h"
#include "tests/bench/bench_grpc.h"

static void need(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static int listen_tcp(uint16_t *port, int flags)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof sa;
	int fd = socket(AF_INET, SOCK_STREAM | flags, 0);

	need(fd >= 0 && bind(fd, (struct sockaddr *)&sa, n) == 0 && listen(fd, 1024) == 0 &&
		 getsockname(fd, (struct sockaddr *)&sa, &n) == 0,
	     "127.0.0.1");
	*port = ntohs(sa.sin_port);
	return fd;
}

static int listen_unix(const char *path, int flags)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | flags, 0);

	snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
	need(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(fd, 1024) == 0,
	     path);
	return fd;
}

/* --- our server ------------------------------------------------------------------------------ */
static struct agi_grpc_server *server;

static void answer(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	static uint8_t bytes[BENCH_VALUE_BYTES];
	Agihpc__V1__GetResponse res = AGIHPC__V1__GET_RESPONSE__INIT;

	(void)ctx;
	res.version = ((const Agihpc__V1__GetRequest *)req)->key.len & 0x7f;
	res.value = (ProtobufCBinaryData){sizeof bytes, bytes};
	agi_grpc_reply(call, &res.base);
}

static void on_connect(evutil_socket_t fd, short what, void *arg)
{
	int got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct agi_transport *t;

	(void)what;
	if (got < 0)
		return;
	t = arg ? agi_transport_unix(got) : agi_transport_tcp(got, &(struct agi_addr){0});
	if (t)
		agi_grpc_server_take(server, t);
}

static void serve(const char *path)
{
	static const struct agi_grpc_method methods[] = {{.name = "Get", .handler = answer}};
	struct event_base *base = event_base_new();
	uint16_t port;
	int tcp = listen_tcp(&port, SOCK_NONBLOCK), un = listen_unix(path, SOCK_NONBLOCK);

	need(
	    !agi_grpc_server_new(base, &(struct agi_grpc_server_cfg){0}, &server) &&
		!agi_grpc_server_add(server, &agihpc__v1__kv_service__descriptor, methods, 1, NULL),
	    "server");
	event_add(event_new(base, tcp, EV_READ | EV_PERSIST, on_connect, NULL), NULL);
	event_add(event_new(base, un, EV_READ | EV_PERSIST, on_connect, (void *)path), NULL);
	printf("%u\n", (unsigned)port);
	fflush(stdout);
	event_base_dispatch(base);
}

/* --- ping-pong -------------------------------------------------------------------------------- */
static void pong_one(int fd)
{
	char in[BENCH_REQUEST_BYTES], out[BENCH_RESPONSE_BYTES] = {0};
	size_t have = 0;
	int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	for (;;) {
		ssize_t n = recv(fd, in + have, sizeof in - have, 0);

		if (n <= 0)
			break;
		have += (size_t)n;
		if (have < sizeof in)
			continue;
		have = 0;
		if (send(fd, out, sizeof out, MSG_NOSIGNAL) != sizeof out)
			break;
	}
	close(fd);
}

static void *pong(void *arg)
{
	for (int fd; (fd = accept(*(int *)arg, NULL, NULL)) >= 0;)
		pong_one(fd);
	return NULL;
}

static void serve_pong(const char *path)
{
	static int tcp, un;
	pthread_t other;
	uint16_t port;

	tcp = listen_tcp(&port, 0);
	un = listen_unix(path, 0);
	printf("%u\n", (unsigned)port);
	fflush(stdout);
	need(pthread_create(&other, NULL, pong, &un) == 0, "thread");
	pong(&tcp);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve(argv[2]);
	else if (argc == 3 && strcmp(argv[1], "pong") == 0)
		serve_pong(argv[2]);
	fprintf(stderr, "usage: bench_grpc serve PATH | bench_grpc pong PATH\n");
	return 2;
}
