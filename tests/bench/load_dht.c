/* SPDX-License-Identifier: Apache-2.0
 * Our part of the DHT bench: one client that puts keys, then gets them, one operation at a time,
 * each by a node taken at random, over a connection to it that is open already (gRPC, plain text).
 *
 *   load_dht KEYS PUT-LEVEL GET-LEVEL NODE[,NODE…] [PID…]
 *
 * Levels are numbers of agihpc.v1.Level. Prints the line of JSON that dht_bench.h describes, as far
 * as operations go; put_cpu_us and get_cpu_us are the CPU time of the processes PID and of this one
 * per operation, and put_client_cpu_us, get_client_cpu_us of this one alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/bench/load_h2.h"

enum { NODES_MAX = 256, VALUE_BYTES = 80 };
enum { PUT, GET, KINDS };

static const char *const names[KINDS] = {"put", "get"};
static const char *const paths[KINDS] = {"/agihpc.v1.KvService/Put", "/agihpc.v1.KvService/Get"};

struct load {
	struct load_h2 to[KINDS][NODES_MAX];
	int n_nodes, kind, level[KINDS];
	char key[32];
	char **pids;
	int n_pids;
};

static size_t put_field(unsigned char *to, int number, const void *p, size_t n)
{
	to[0] = (unsigned char)(number << 3 | 2);
	to[1] = (unsigned char)n; /* below 128 */
	memcpy(to + 2, p, n);
	return n + 2;
}

/* PutRequest {key = 2, value = 3, level = 4}, GetRequest {key = 2, level = 3} */
static size_t make(void *ctx, unsigned char *to, size_t room)
{
	struct load *l = ctx;
	char value[VALUE_BYTES + 1];
	size_t n = LOAD_PREFIX_BYTES;

	(void)room; /* it is far below */
	n += put_field(to + n, 2, l->key, strlen(l->key));
	if (l->kind == PUT) {
		snprintf(value, sizeof value, "value of %-71s", l->key);
		n += put_field(to + n, 3, value, VALUE_BYTES);
	}
	to[n++] = (unsigned char)((l->kind == PUT ? 4 : 3) << 3);
	to[n++] = (unsigned char)l->level[l->kind];
	memset(to, 0, LOAD_PREFIX_BYTES);
	to[4] = (unsigned char)(n - LOAD_PREFIX_BYTES);
	return n;
}

/* False: the call ended with an error. */
static bool call(struct load *l, int kind, int node)
{
	struct load_h2 *c = &l->to[kind][node];

	l->kind = kind;
	load_h2_ask(c);
	load_h2_flush(c);
	while (!load_h2_receive(c))
		load_h2_flush(c); /* acknowledgements of HTTP/2 */
	return !c->has_failed && (kind == PUT || c->answer_bytes > VALUE_BYTES);
}

static double clock_us(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t))
		load_die("no such process");
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double nodes_cpu_us(const struct load *l)
{
	double sum = 0;
	clockid_t clock;

	for (int i = 0; i < l->n_pids; i++) {
		if (clock_getcpuclockid(atoi(l->pids[i]), &clock))
			load_die("no such process");
		sum += clock_us(clock);
	}
	return sum;
}

static void run(struct load *l, int kind, int keys)
{
	double *us = calloc((size_t)keys, sizeof *us), nodes = nodes_cpu_us(l),
	       own = clock_us(CLOCK_PROCESS_CPUTIME_ID);
	int done = 0;

	if (!us)
		load_die("out of memory");
	for (int i = 0; i < keys; i++) {
		int node = rand() % l->n_nodes;
		double from;

		snprintf(l->key, sizeof l->key, "key %d", i);
		from = clock_us(CLOCK_MONOTONIC);
		if (call(l, kind, node))
			us[done++] = clock_us(CLOCK_MONOTONIC) - from;
	}
	own = (clock_us(CLOCK_PROCESS_CPUTIME_ID) - own) / keys;
	printf("%s\"%s_failed\":%d,\"%s_cpu_us\":%.1f,\"%s_client_cpu_us\":%.1f,\"%s_us\":[",
	       kind ? "," : "{", names[kind], keys - done, names[kind],
	       (nodes_cpu_us(l) - nodes) / keys + own, names[kind], own, names[kind]);
	for (int i = 0; i < done; i++)
		printf("%s%.1f", i ? "," : "", us[i]);
	printf("]%s", kind == GET ? "}\n" : "");
	free(us);
}

static void open_all(struct load *l, char *nodes)
{
	for (char *t = strtok(nodes, ","); t && l->n_nodes < NODES_MAX; t = strtok(NULL, ",")) {
		for (int kind = 0; kind < KINDS; kind++) {
			struct load_h2 *c = &l->to[kind][l->n_nodes];

			load_h2_open(c, t, paths[kind]);
			c->make = make;
			c->ctx = l;
			c->is_tolerant = true;
		}
		l->n_nodes++;
	}
	for (int i = 0; i < l->n_nodes; i++) { /* headers are in the tables from now on */
		snprintf(l->key, sizeof l->key, "warm %d", i);
		if (!call(l, PUT, i))
			load_die("a node does not serve");
		(void)call(l, GET, i); /* of level one it may ask the host that has it last */
	}
}

int main(int argc, char **argv)
{
	static struct load l;

	if (argc < 5)
		load_die("usage: load_dht KEYS PUT-LEVEL GET-LEVEL NODE[,NODE...] [PID...]");
	l.level[PUT] = atoi(argv[2]);
	l.level[GET] = atoi(argv[3]);
	l.pids = argv + 5;
	l.n_pids = argc - 5;
	srand((unsigned)time(NULL));
	open_all(&l, argv[4]);
	for (int kind = 0; kind < KINDS; kind++)
		run(&l, kind, atoi(argv[1]));
	return 0;
}
