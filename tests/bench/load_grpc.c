/* SPDX-License-Identifier: Apache-2.0
 * The client of the gRPC bench. Every call must end with grpc-status 0 and an answer of the right
 * size, or the program fails.
 *
 *   load_grpc rate SERVER PID CONNECTIONS STREAMS SECONDS
 *       closed loop; prints calls, seconds, and the CPU seconds that process PID used meanwhile
 *   load_grpc latency SERVER PONG SLICES CALLS
 *       one call at a time, one connection each to a gRPC server and to bench_grpc pong, SLICES
 * times CALLS calls to one and then to the other; prints for both p50, p99 and p99.9 in
 * microseconds: the median over the slices, so that what else the machine does in one moment does
 * not count
 *
 *   load_grpc reflex SERVER SLICES CALLS
 *       the same for ReflexCheck of a node that serves the role in-action, alone
 *
 * SERVER and PONG are ports of 127.0.0.1 or paths of Unix-domain sockets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench_grpc.h"
#include "tests/bench/load_h2.h"

/* The request is the same for every call. */
static size_t make(void *ctx, unsigned char *to, size_t room)
{
	static const unsigned char body[LOAD_PREFIX_BYTES + BENCH_REQUEST_BYTES] = {
	    0,
	    0,
	    0,
	    0,
	    BENCH_REQUEST_BYTES,
	    0x12,
	    (BENCH_KEY_BYTES & 0x7f) | 0x80,
	    BENCH_KEY_BYTES >> 7};

	(void)ctx;
	(void)room;
	memcpy(to, body, sizeof body);
	return sizeof body;
}

static uint32_t answer_bytes = LOAD_PREFIX_BYTES + BENCH_RESPONSE_BYTES;

static void open_conn(struct load_h2 *c, const char *target)
{
	load_h2_open(c, target, "/agihpc.v1.KvService/Get");
	c->make = make;
}

/* physical_harm_risk and collision_probability 0.125; the answer is safe = true and nothing else. */
static size_t make_reflex(void *ctx, unsigned char *to, size_t room)
{
	static const unsigned char body[LOAD_PREFIX_BYTES + 10] = {
	    0, 0, 0, 0, 10, 0x0d, 0, 0, 0, 0x3e, 0x15, 0, 0, 0, 0x3e};

	(void)ctx;
	(void)room;
	memcpy(to, body, sizeof body);
	return sizeof body;
}

/* How many calls ended, each with a whole answer. */
static int receive(struct load_h2 *c)
{
	int n = load_h2_receive(c);

	if (n && c->answer_bytes != answer_bytes)
		load_die("a call did not end with a whole answer");
	return n;
}

/* --- rate
 * ------------------------------------------------------------------------------------------ */
/* User and system time of a process in seconds. */
static double cpu_s(pid_t pid)
{
	struct timespec t;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
		load_die("no such process");
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t run_until(struct load_h2 *conns, int n, int ep, double until)
{
	struct epoll_event ev[64];
	uint64_t done = 0;

	while (load_now_s() < until) {
		int got = epoll_wait(ep, ev, 64, 100);

		for (int i = 0; i < got; i++) {
			struct load_h2 *c = &conns[ev[i].data.u32];
			int ended = receive(c);

			done += (uint64_t)ended;
			while (ended-- > 0)
				load_h2_ask(c);
			load_h2_flush(c);
		}
	}
	(void)n;
	return done;
}

static void rate(const char *target, pid_t pid, int n, int streams, double seconds)
{
	struct load_h2 *conns = calloc((size_t)n, sizeof *conns);
	int ep = epoll_create1(0);
	double began, cpu, took;
	uint64_t done;

	if (!conns || ep < 0)
		load_die("out of memory");
	for (int i = 0; i < n; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t)i};

		open_conn(&conns[i], target);
		for (int s = 0; s < streams; s++)
			load_h2_ask(&conns[i]);
		load_h2_flush(&conns[i]);
		epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &ev);
	}
	(void)run_until(conns, n, ep, load_now_s() + 0.5); /* warm */
	cpu = cpu_s(pid);
	began = load_now_s();
	done = run_until(conns, n, ep, began + seconds);
	took = load_now_s() - began;
	cpu = cpu_s(pid) - cpu;
	printf("%llu %.6f %.6f\n", (unsigned long long)done, took, cpu);
	for (int i = 0; i < n; i++)
		load_h2_close(&conns[i]);
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

static void call_one(struct load_h2 *c)
{
	load_h2_ask(c);
	load_h2_flush(c);
	while (receive(c) == 0)
		;
	load_h2_flush(c);
}

static void ping_one(int fd)
{
	static const char out[BENCH_REQUEST_BYTES];
	char in[BENCH_RESPONSE_BYTES];
	size_t have = 0;

	if (send(fd, out, sizeof out, MSG_NOSIGNAL) != sizeof out)
		load_die("ping-pong lost");
	while (have < sizeof in) {
		ssize_t n = recv(fd, in + have, sizeof in - have, 0);

		if (n <= 0)
			load_die("ping-pong lost");
		have += (size_t)n;
	}
}

enum { SHARES = 3 };
struct slices {
	double *at[SHARES]; /* one figure per slice */
};

/* Calls of one slice, in microseconds, into the slice's figures. */
static void slice(struct slices *to, int i, struct load_h2 *c, int fd, int calls, double *us)
{
	static const double shares[SHARES] = {0.50, 0.99, 0.999};

	for (int k = 0; k < calls; k++) {
		double began = load_now_s();

		if (c)
			call_one(c);
		else
			ping_one(fd);
		us[k] = (load_now_s() - began) * 1e6;
	}
	qsort(us, (size_t)calls, sizeof *us, ascending);
	for (int k = 0; k < SHARES; k++)
		to->at[k][i] = us[(size_t)(shares[k] * (calls - 1))];
}

static void make_slices(struct slices *s, int n)
{
	for (int k = 0; k < SHARES; k++)
		if (!(s->at[k] = calloc((size_t)n, sizeof(double))))
			load_die("out of memory");
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
	struct load_h2 c;
	int fd = load_dial(pong);
	double *us = calloc((size_t)calls, sizeof *us);

	if (!us)
		load_die("out of memory");
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
	load_h2_close(&c);
	close(fd);
	free(us);
}

static void reflex(const char *target, int n, int calls)
{
	struct slices s;
	struct load_h2 c;
	double *us = calloc((size_t)calls, sizeof *us);

	if (!us)
		load_die("out of memory");
	load_h2_open(&c, target, "/agi.safety.v1.InActionSafetyService/ReflexCheck");
	c.make = make_reflex;
	answer_bytes = LOAD_PREFIX_BYTES + 2;
	make_slices(&s, n);
	for (int i = 0; i < 200; i++)
		call_one(&c);
	for (int i = 0; i < n; i++)
		slice(&s, i, &c, -1, calls, us);
	print_slices(&s, n);
	load_h2_close(&c);
	free(us);
}

int main(int argc, char **argv)
{
	if (argc == 7 && strcmp(argv[1], "rate") == 0 && atoi(argv[5]) <= LOAD_STREAMS_MAX)
		rate(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), atof(argv[6]));
	else if (argc == 6 && strcmp(argv[1], "latency") == 0)
		latency(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]));
	else if (argc == 5 && strcmp(argv[1], "reflex") == 0)
		reflex(argv[2], atoi(argv[3]), atoi(argv[4]));
	else {
		fprintf(stderr, "usage: load_grpc rate SERVER PID CONNECTIONS STREAMS SECONDS\n"
				"       load_grpc latency SERVER PONG SLICES CALLS\n"
				"       load_grpc reflex SERVER SLICES CALLS\n");
		return 2;
	}
	return 0;
}
