/* SPDX-License-Identifier: Apache-2.0
 * The client of the gRPC bench: as little work per call as can be, so that what is measured is the
 * server. Requests are bytes made once (HPACK writes a repeated header list as indexes into its
 * table), answers are read frame by frame; every call must end with grpc-status 0 and an answer of
 * the right size, or the program fails.
 *
 *   load_grpc rate SERVER PID CONNECTIONS STREAMS SECONDS
 *       closed loop; prints calls, seconds, and the CPU seconds that process PID used meanwhile
 *   load_grpc latency SERVER PONG SLICES CALLS
 *       one call at a time, one connection each to a gRPC server and to bench_grpc pong, SLICES
 * times CALLS calls to one and then to the other; prints for both p50, p99 and p99.9 in
 * microseconds: the median over the slices, so that what else the machine does in one moment does
 * not count
 *
 * SERVER and PONG are ports of 127.0.0.1 or paths of Unix-domain sockets. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench_grpc.h"

enum {
	PREFIX_BYTES = 5,
	HEAD_BYTES = 9,
	IN_BYTES = 256 << 10,
	OUT_BYTES = 256 << 10,
	STREAMS_MAX = 1000
};
enum { WINDOW = 65535 };

struct conn {
	int fd;
	nghttp2_hd_deflater *deflater;
	nghttp2_hd_inflater *inflater;
	unsigned char headers[512]; /* of every request but the first */
	size_t n_headers;
	int32_t next_stream_id;
	bool is_known;  /* headers is valid: both sides' tables hold the list */
	int64_t window; /* that we may send */
	int waiting;    /* requests for which there was no window */
	unsigned char *in, *out;
	size_t n_in, n_out;
	unsigned char *body_bytes; /* per stream id / 2: DATA so far */
	uint64_t n_done;
};

static void die(const char *what)
{
	fprintf(stderr, "load_grpc: %s\n", what);
	exit(1);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int dial(const char *target)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	bool is_path = strchr(target, '/') != NULL;
	int fd = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM, 0), on = 1;

	in.sin_port = htons((uint16_t)atoi(target));
	snprintf(un.sun_path, sizeof un.sun_path, "%s", target);
	if (fd < 0 || connect(fd, is_path ? (struct sockaddr *)&un : (struct sockaddr *)&in,
			      is_path ? sizeof un : sizeof in))
		die(target);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	return fd;
}

/* --- writing -----------------------------------------------------------------------------------
 */
static void flush(struct conn *c)
{
	size_t done = 0;

	while (done < c->n_out) {
		ssize_t n = send(c->fd, c->out + done, c->n_out - done, MSG_NOSIGNAL);

		if (n < 0)
			die("connection lost while writing");
		done += (size_t)n;
	}
	c->n_out = 0;
}

static void put(struct conn *c, const void *p, size_t n)
{
	if (n > OUT_BYTES - c->n_out)
		flush(c);
	memcpy(c->out + c->n_out, p, n);
	c->n_out += n;
}

static void put_head(struct conn *c, size_t n, uint8_t type, uint8_t flags, int32_t stream_id)
{
	unsigned char h[HEAD_BYTES] = {(unsigned char)(n >> 16),
				       (unsigned char)(n >> 8),
				       (unsigned char)n,
				       type,
				       flags,
				       (unsigned char)(stream_id >> 24),
				       (unsigned char)(stream_id >> 16),
				       (unsigned char)(stream_id >> 8),
				       (unsigned char)stream_id};

	put(c, h, sizeof h);
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), 0};
}

/* What a gRPC C++ client sends. */
static void deflate(struct conn *c)
{
	nghttp2_nv list[] = {nv(":scheme", "http"),
			     nv(":method", "POST"),
			     nv(":authority", "127.0.0.1:50051"),
			     nv(":path", "/agihpc.v1.KvService/Get"),
			     nv("te", "trailers"),
			     nv("content-type", "application/grpc"),
			     nv("user-agent", "grpc-c++/1.51.1 grpc-c/29.0.0 (linux)"),
			     nv("grpc-accept-encoding", "identity, deflate, gzip")};
	ssize_t n = nghttp2_hd_deflate_hd(c->deflater, c->headers, sizeof c->headers, list,
					  sizeof list / sizeof *list);

	if (n < 0)
		die("deflate");
	c->n_headers = (size_t)n;
}

static void ask(struct conn *c)
{
	static const unsigned char body[PREFIX_BYTES + BENCH_REQUEST_BYTES] = {
	    0,
	    0,
	    0,
	    0,
	    BENCH_REQUEST_BYTES,
	    0x12,
	    (BENCH_KEY_BYTES & 0x7f) | 0x80,
	    BENCH_KEY_BYTES >> 7};

	if (c->window < (int64_t)sizeof body) {
		c->waiting++;
		return;
	}
	c->window -= sizeof body;
	if (!c->is_known) { /* the first fills the table, the second is all indexes, as all after it
			     */
		deflate(c);
		c->is_known = c->next_stream_id > 1;
	}
	put_head(c, c->n_headers, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, c->next_stream_id);
	put(c, c->headers, c->n_headers);
	put_head(c, sizeof body, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, c->next_stream_id);
	put(c, body, sizeof body);
	c->next_stream_id += 2;
}

/* --- reading -------------------------------------------------------------------------------------
 */
static uint32_t be32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Looks for grpc-status: 0 in a header block. */
static bool read_headers(struct conn *c, const unsigned char *p, size_t n)
{
	bool is_ok = false;

	for (;;) {
		nghttp2_nv f;
		int flags = 0;
		ssize_t r = nghttp2_hd_inflate_hd2(c->inflater, &f, &flags, p, n, 1);

		if (r < 0)
			die("a header block that does not decode");
		p += r;
		n -= (size_t)r;
		if (flags & NGHTTP2_HD_INFLATE_EMIT && f.namelen == 11 &&
		    memcmp(f.name, "grpc-status", 11) == 0)
			is_ok = f.valuelen == 1 && f.value[0] == '0';
		if (flags & NGHTTP2_HD_INFLATE_FINAL)
			break;
		if (!(flags & NGHTTP2_HD_INFLATE_EMIT) && n == 0)
			break;
	}
	nghttp2_hd_inflate_end_headers(c->inflater);
	return is_ok;
}

/* Answers are less than 256 bytes: a byte counts them. */
static unsigned char *body_of(struct conn *c, int32_t stream_id)
{
	return &c->body_bytes[(stream_id / 2) % (2 * STREAMS_MAX)];
}

static void answered(struct conn *c, int32_t stream_id, bool is_ok)
{
	unsigned char *body = body_of(c, stream_id);

	if (!is_ok || *body != PREFIX_BYTES + BENCH_RESPONSE_BYTES)
		die("a call did not end with grpc-status 0 and a whole answer");
	*body = 0;
	c->n_done++;
}

static void take_window(struct conn *c, uint32_t more)
{
	c->window += more;
	for (; c->waiting && c->window > PREFIX_BYTES + BENCH_REQUEST_BYTES; c->waiting--)
		ask(c);
}

/* One frame; true when it ends a call. */
static bool take_frame(struct conn *c, uint8_t type, uint8_t flags, int32_t stream_id,
		       const unsigned char *p, size_t n)
{
	switch (type) {
	case NGHTTP2_DATA:
		*body_of(c, stream_id) += (unsigned char)n;
		return false;
	case NGHTTP2_HEADERS: {
		bool is_ok = read_headers(c, p, n);

		if (!(flags & NGHTTP2_FLAG_END_STREAM))
			return false;
		answered(c, stream_id, is_ok);
		return true;
	}
	case NGHTTP2_SETTINGS:
		if (!(flags & NGHTTP2_FLAG_ACK))
			put_head(c, 0, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0);
		return false;
	case NGHTTP2_PING:
		if (!(flags & NGHTTP2_FLAG_ACK)) {
			put_head(c, n, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0);
			put(c, p, n);
		}
		return false;
	case NGHTTP2_WINDOW_UPDATE:
		if (stream_id == 0)
			take_window(c, be32(p));
		return false;
	case NGHTTP2_GOAWAY:
	case NGHTTP2_RST_STREAM:
		die("the server ended a stream or the connection");
	}
	return false;
}

/* Everything that is here; the calls that ended. */
static int take_input(struct conn *c)
{
	size_t at = 0;
	int ended = 0;

	while (c->n_in - at >= HEAD_BYTES) {
		const unsigned char *h = c->in + at;
		size_t n = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];

		if (c->n_in - at < HEAD_BYTES + n)
			break;
		ended += take_frame(c, h[3], h[4], (int32_t)(be32(h + 5) & 0x7fffffff),
				    h + HEAD_BYTES, n);
		at += HEAD_BYTES + n;
	}
	memmove(c->in, c->in + at, c->n_in - at);
	c->n_in -= at;
	return ended;
}

static int receive(struct conn *c)
{
	ssize_t n = recv(c->fd, c->in + c->n_in, IN_BYTES - c->n_in, 0);

	if (n <= 0)
		die("connection lost while reading");
	c->n_in += (size_t)n;
	return take_input(c);
}

static void greet(struct conn *c)
{
	static const unsigned char window[4] = {0x7f, 0xff, 0,
						0}; /* for everything that will ever come */

	put(c, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
	put_head(c, 0, NGHTTP2_SETTINGS, 0, 0);
	put_head(c, 4, NGHTTP2_WINDOW_UPDATE, 0, 0);
	put(c, window, sizeof window);
}

static void open_conn(struct conn *c, const char *target)
{
	*c = (struct conn){.fd = dial(target), .next_stream_id = 1, .window = WINDOW};
	c->in = malloc(IN_BYTES);
	c->out = malloc(OUT_BYTES);
	c->body_bytes = calloc(1, 2 * STREAMS_MAX);
	if (!c->in || !c->out || !c->body_bytes || nghttp2_hd_deflate_new(&c->deflater, 4096) ||
	    nghttp2_hd_inflate_new(&c->inflater))
		die("out of memory");
	greet(c);
}

static void close_conn(struct conn *c)
{
	close(c->fd);
	nghttp2_hd_deflate_del(c->deflater);
	nghttp2_hd_inflate_del(c->inflater);
	free(c->in);
	free(c->out);
	free(c->body_bytes);
}

/* --- rate
 * ------------------------------------------------------------------------------------------ */
/* User and system time of a process in seconds. */
static double cpu_s(pid_t pid)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
		die("no such process");
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t run_until(struct conn *conns, int n, int ep, double until)
{
	struct epoll_event ev[64];
	uint64_t done = 0;

	while (now_s() < until) {
		int got = epoll_wait(ep, ev, 64, 100);

		for (int i = 0; i < got; i++) {
			struct conn *c = &conns[ev[i].data.u32];
			int ended = receive(c);

			done += (uint64_t)ended;
			while (ended-- > 0)
				ask(c);
			flush(c);
		}
	}
	(void)n;
	return done;
}

static void rate(const char *target, pid_t pid, int n, int streams, double seconds)
{
	struct conn *conns = calloc((size_t)n, sizeof *conns);
	int ep = epoll_create1(0);
	double began, cpu, took;
	uint64_t done;

	if (!conns || ep < 0)
		die("out of memory");
	for (int i = 0; i < n; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t)i};

		open_conn(&conns[i], target);
		for (int s = 0; s < streams; s++)
			ask(&conns[i]);
		flush(&conns[i]);
		epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &ev);
	}
	(void)run_until(conns, n, ep, now_s() + 0.5); /* warm */
	cpu = cpu_s(pid);
	began = now_s();
	done = run_until(conns, n, ep, began + seconds);
	took = now_s() - began;
	cpu = cpu_s(pid) - cpu;
	printf("%llu %.6f %.6f\n", (unsigned long long)done, took, cpu);
	for (int i = 0; i < n; i++)
		close_conn(&conns[i]);
	free(conns);
	close(ep);
}

/* --- latency
 * ----------------------------------------------------------------------------------------- */
static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void call_one(struct conn *c)
{
	ask(c);
	flush(c);
	while (receive(c) == 0)
		;
	flush(c);
}

static void ping_one(int fd)
{
	static const char out[BENCH_REQUEST_BYTES];
	char in[BENCH_RESPONSE_BYTES];
	size_t have = 0;

	if (send(fd, out, sizeof out, MSG_NOSIGNAL) != sizeof out)
		die("ping-pong lost");
	while (have < sizeof in) {
		ssize_t n = recv(fd, in + have, sizeof in - have, 0);

		if (n <= 0)
			die("ping-pong lost");
		have += (size_t)n;
	}
}

enum { SHARES = 3 };
struct slices {
	double *at[SHARES]; /* one figure per slice */
};

/* Calls of one slice, in microseconds, into the slice's figures. */
static void slice(struct slices *to, int i, struct conn *c, int fd, int calls, double *us)
{
	static const double shares[SHARES] = {0.50, 0.99, 0.999};

	for (int k = 0; k < calls; k++) {
		double began = now_s();

		if (c)
			call_one(c);
		else
			ping_one(fd);
		us[k] = (now_s() - began) * 1e6;
	}
	qsort(us, (size_t)calls, sizeof *us, ascending);
	for (int k = 0; k < SHARES; k++)
		to->at[k][i] = us[(size_t)(shares[k] * (calls - 1))];
}

static void make_slices(struct slices *s, int n)
{
	for (int k = 0; k < SHARES; k++)
		if (!(s->at[k] = calloc((size_t)n, sizeof(double))))
			die("out of memory");
}

static void print_slices(struct slices *s, int n)
{
	for (int k = 0; k < SHARES; k++) {
		qsort(s->at[k], (size_t)n, sizeof(double), ascending);
		printf("%.2f%s", s->at[k][n / 2], k == SHARES - 1 ? "\n" : " ");
		free(s->at[k]);
	}
}

static void latency(const char *target, const char *pong, int n, int calls)
{
	struct slices ours, bare;
	struct conn c;
	int fd = dial(pong);
	double *us = calloc((size_t)calls, sizeof *us);

	if (!us)
		die("out of memory");
	open_conn(&c, target);
	make_slices(&ours, n);
	make_slices(&bare, n);
	for (int i = 0; i < 200; i++) {
		call_one(&c);
		ping_one(fd);
	}
	for (int i = 0; i < n; i++) {
		slice(&ours, i, &c, -1, calls, us);
		slice(&bare, i, NULL, fd, calls, us);
	}
	print_slices(&ours, n);
	print_slices(&bare, n);
	close_conn(&c);
	close(fd);
	free(us);
}

int main(int argc, char **argv)
{
	if (argc == 7 && strcmp(argv[1], "rate") == 0 && atoi(argv[5]) <= STREAMS_MAX)
		rate(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), atof(argv[6]));
	else if (argc == 6 && strcmp(argv[1], "latency") == 0)
		latency(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]));
	else {
		fprintf(stderr, "usage: load_grpc rate SERVER PID CONNECTIONS STREAMS SECONDS\n"
				"       load_grpc latency SERVER PONG SLICES CALLS\n");
		return 2;
	}
	return 0;
}
