/* SPDX-License-Identifier: Apache-2.0
 * The client of the key-value bench: the same closed loop for every system. One thread, CONNECTIONS
 * connections with one operation in flight each, spread evenly over the endpoints; every answer is
 * checked (status, and for a get that a whole value came), and a wrong one ends the program.
 *
 *   load_kv [-e] [-v BYTES] SYSTEM OPERATION CONNECTIONS SECONDS KEYS ENDPOINT[,ENDPOINT…] [PID…]
 *
 * SYSTEM: "strong" and "quorum" are agihpc.v1.KvService at that level (gRPC); "etcd" is
 * etcdserverpb.KV, whose gets are linearizable (gRPC); "redis" is SET and WAIT 2 in one packet
 * (RESP), and the answer counts when WAIT says 2.
 *
 * OPERATION: "fill" puts every key once, whatever SECONDS says; "put" and "get" take keys at
 * random.
 *
 * -e: calls may fail, which is counted (gRPC). -v: bytes of a value, 1 to 16000; 256 without it.
 *
 * Keys have 16 bytes, values do not compress. Ends early at SIGTERM. Prints one line of JSON:
 * operations (that succeeded), errors, seconds, per_s, mean_us, p50_us, p90_us, p99_us, max_us
 * (from handing the request to the kernel until the answer is read), cpu_us (CPU time of the
 * processes PID per operation), load_cpu_us (this program's own). */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/load_h2.h"

enum { KEY_BYTES = 16, VALUE_BYTES = 256, VALUE_BYTES_MAX = 16000, POOL_BYTES = 64 << 10 };
enum { CONNS_MAX = 1000, TARGETS_MAX = 16 };
enum { WAIT_REPLICAS = 2, WAIT_MS = 5000, RESP_MAX = VALUE_BYTES_MAX + 384 };
enum { LEVEL_QUORUM = 2, LEVEL_STRONG = 4 };
enum op { OP_FILL, OP_PUT, OP_GET };

struct system {
	const char *name, *put_path, *get_path; /* no path: RESP */
	int level;
};
static const struct system systems[] = {
    {"strong", "/agihpc.v1.KvService/Put", "/agihpc.v1.KvService/Get", LEVEL_STRONG},
    {"quorum", "/agihpc.v1.KvService/Put", "/agihpc.v1.KvService/Get", LEVEL_QUORUM},
    {"etcd", "/etcdserverpb.KV/Put", "/etcdserverpb.KV/Range", 0},
    {"redis", NULL, NULL, 0},
};

struct load {
	const struct system *system;
	enum op op;
	uint32_t keys, next_key;
	size_t value_bytes;
	bool is_tolerant;
	uint64_t errors;
	unsigned char pool[POOL_BYTES]; /* values are pieces of it */
	uint64_t random;
	uint64_t done;
	uint32_t *us; /* of every operation */
	size_t n_us, cap_us;
};

struct client {
	struct load *load;
	double sent_s;
	bool is_busy;
	struct load_h2 h2;
	char in[RESP_MAX]; /* RESP */
	size_t n_in;
};

static uint64_t next_random(struct load *l) /* xorshift64 (Marsaglia 2003) */
{
	l->random ^= l->random << 13;
	l->random ^= l->random >> 7;
	l->random ^= l->random << 17;
	return l->random;
}

/* --- requests ----------------------------------------------------------------------------------
 */
static size_t put_field(unsigned char *to, int number, const void *p, size_t n)
{
	size_t at = 0;

	to[at++] = (unsigned char)(number << 3 | 2);
	for (size_t rest = n; rest >= 0x80; rest >>= 7)
		to[at++] = (unsigned char)(rest | 0x80);
	to[at++] = (unsigned char)(n >= 1 << 14 ? n >> 14 : n >= 1 << 7 ? n >> 7 : n);
	memcpy(to + at, p, n);
	return at + n;
}

static void next_key(struct load *l, char key[KEY_BYTES + 1])
{
	uint32_t i = l->op == OP_FILL ? l->next_key++ : (uint32_t)(next_random(l) % l->keys);

	snprintf(key, KEY_BYTES + 1, "key-%012u", i);
}

static const unsigned char *next_value(struct load *l)
{
	return l->pool + next_random(l) % (POOL_BYTES - l->value_bytes);
}

static size_t make_grpc(void *ctx, unsigned char *to, size_t room)
{
	struct load *l = ((struct client *)ctx)->load;
	int first = l->system->level ? 2 : 1; /* agihpc.v1 has the namespace before the key */
	size_t n = LOAD_PREFIX_BYTES;
	char key[KEY_BYTES + 1];

	(void)room; /* it is far below */
	next_key(l, key);
	n += put_field(to + n, first, key, KEY_BYTES);
	if (l->op != OP_GET)
		n += put_field(to + n, first + 1, next_value(l), l->value_bytes);
	if (l->system->level) {
		to[n++] = (unsigned char)((l->op == OP_GET ? 3 : 4) << 3);
		to[n++] = (unsigned char)l->system->level;
	}
	memset(to, 0, LOAD_PREFIX_BYTES);
	to[3] = (unsigned char)((n - LOAD_PREFIX_BYTES) >> 8);
	to[4] = (unsigned char)(n - LOAD_PREFIX_BYTES);
	return n;
}

static void ask_redis(struct client *c)
{
	char out[RESP_MAX], key[KEY_BYTES + 1];
	int n;

	next_key(c->load, key);
	n = snprintf(out, sizeof out, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n", KEY_BYTES, key,
		     (int)c->load->value_bytes);
	memcpy(out + n, next_value(c->load), c->load->value_bytes);
	n += (int)c->load->value_bytes;
	n += snprintf(out + n, sizeof out - (size_t)n,
		      "\r\n*3\r\n$4\r\nWAIT\r\n$1\r\n%d\r\n$4\r\n%d\r\n", WAIT_REPLICAS, WAIT_MS);
	if (send(c->h2.fd, out, (size_t)n, MSG_NOSIGNAL) != n)
		load_die("connection lost while writing");
}

static void ask(struct client *c)
{
	struct load *l = c->load;

	c->is_busy = l->op != OP_FILL || l->next_key < l->keys;
	if (!c->is_busy)
		return;
	c->sent_s = load_now_s();
	if (l->system->put_path)
		load_h2_ask(&c->h2);
	else
		ask_redis(c);
}

/* --- answers -------------------------------------------------------------------------------------
 */
/* True when "+OK" and the count of WAIT are here. */
static bool receive_redis(struct client *c)
{
	static const char want[] = "+OK\r\n:2\r\n";
	ssize_t n = recv(c->h2.fd, c->in + c->n_in, sizeof c->in - c->n_in, 0);

	if (n <= 0)
		load_die("connection lost while reading");
	c->n_in += (size_t)n;
	if (c->n_in < sizeof want - 1)
		return false;
	if (c->n_in != sizeof want - 1 || memcmp(c->in, want, sizeof want - 1) != 0) {
		fprintf(stderr, "load: redis says %.*s", (int)c->n_in, c->in);
		load_die("not the answer of a SET that two replicas have");
	}
	c->n_in = 0;
	return true;
}

static bool receive_grpc(struct client *c)
{
	if (load_h2_receive(&c->h2) == 0) {
		load_h2_flush(&c->h2); /* acknowledgements of HTTP/2 */
		return false;
	}
	if (c->load->op == OP_GET && !c->h2.has_failed && c->h2.answer_bytes < c->load->value_bytes)
		load_die("a get without a whole value");
	return true;
}

static void note(struct load *l, double seconds)
{
	if (l->n_us == l->cap_us) {
		l->cap_us = l->cap_us ? 2 * l->cap_us : 1 << 16;
		l->us = realloc(l->us, l->cap_us * sizeof *l->us);
		if (!l->us)
			load_die("out of memory");
	}
	l->us[l->n_us++] = (uint32_t)(seconds * 1e6);
}

static void receive(struct client *c)
{
	bool is_redis = !c->load->system->put_path;

	if (!(is_redis ? receive_redis(c) : receive_grpc(c)))
		return;
	if (!c->is_busy)
		load_die("an answer nobody asked for");
	if (c->h2.has_failed)
		c->load->errors++;
	else
		note(c->load, load_now_s() - c->sent_s);
	c->load->done++;
	ask(c);
	if (!is_redis)
		load_h2_flush(&c->h2);
}

/* --- the loop
 * -------------------------------------------------------------------------------------- */
static void open_client(struct client *c, struct load *l, const char *target)
{
	c->load = l;
	if (l->system->put_path) {
		load_h2_open(&c->h2, target,
			     l->op == OP_GET ? l->system->get_path : l->system->put_path);
		c->h2.make = make_grpc;
		c->h2.is_tolerant = l->is_tolerant;
		c->h2.ctx = c;
	} else {
		c->h2.fd = load_dial(target);
	}
}

static volatile sig_atomic_t is_ended;

static void on_term(int number)
{
	(void)number;
	is_ended = 1;
}

/* Until the time is up, or, when it is 0, until every key is written. */
static void run(struct load *l, struct client *clients, int ep, double until)
{
	struct epoll_event ev[64];

	while (!is_ended && (until ? load_now_s() < until : l->done < l->keys)) {
		int got = epoll_wait(ep, ev, 64, 100);

		if (got < 0 && errno != EINTR)
			load_die("epoll_wait");
		for (int i = 0; i < got; i++)
			receive(&clients[ev[i].data.u32]);
	}
}

static double clock_s(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t))
		load_die("no such process");
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_s(char **pids, int n)
{
	double sum = 0;
	clockid_t clock;

	for (int i = 0; i < n; i++) {
		if (clock_getcpuclockid(atoi(pids[i]), &clock))
			load_die("no such process");
		sum += clock_s(clock);
	}
	return sum;
}

static int ascending(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void print(struct load *l, double seconds, double cpu, double load_cpu)
{
	double sum = 0, n = (double)l->n_us;

	if (l->n_us == 0)
		load_die("no operation ended in time");
	for (size_t i = 0; i < l->n_us; i++)
		sum += l->us[i];
	qsort(l->us, l->n_us, sizeof *l->us, ascending);
	printf("{\"operations\":%zu,\"errors\":%llu,\"seconds\":%.3f,\"per_s\":%.1f,\"mean_us\":%."
	       "1f,\"p50_us\":%u,"
	       "\"p90_us\":%u,\"p99_us\":%u,\"max_us\":%u,\"cpu_us\":%.2f,\"load_cpu_us\":%.2f}\n",
	       l->n_us, (unsigned long long)l->errors, seconds, n / seconds, sum / n,
	       l->us[l->n_us / 2], l->us[(size_t)(n * 0.90)], l->us[(size_t)(n * 0.99)],
	       l->us[l->n_us - 1], cpu * 1e6 / n, load_cpu * 1e6 / n);
}

static void init(struct load *l, const char *system, const char *op, const char *keys)
{
	for (size_t i = 0; i < sizeof systems / sizeof *systems; i++)
		if (strcmp(systems[i].name, system) == 0)
			l->system = &systems[i];
	l->op = strcmp(op, "fill") == 0 ? OP_FILL : strcmp(op, "get") == 0 ? OP_GET : OP_PUT;
	l->keys = (uint32_t)strtoul(keys, NULL, 10);
	if (!l->system || l->keys == 0 || (l->op == OP_PUT && strcmp(op, "put") != 0) ||
	    (l->op == OP_GET && !l->system->get_path))
		load_die("unknown system, operation or number of keys");
	l->random = (uint64_t)getpid() * 0x9e3779b97f4a7c15u + (uint64_t)time(NULL);
	for (size_t i = 0; i < POOL_BYTES; i++)
		l->pool[i] = (unsigned char)(next_random(l) >> 24);
}

static int open_clients(struct client *clients, int n, struct load *l, char *endpoints)
{
	char *targets[TARGETS_MAX];
	int n_targets = 0, ep = epoll_create1(0);

	for (char *t = strtok(endpoints, ","); t && n_targets < TARGETS_MAX; t = strtok(NULL, ","))
		targets[n_targets++] = t;
	if (n_targets == 0 || ep < 0)
		load_die("no endpoint");
	for (int i = 0; i < n; i++) {
		struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t)i};

		open_client(&clients[i], l, targets[i % n_targets]);
		if (epoll_ctl(ep, EPOLL_CTL_ADD, clients[i].h2.fd, &ev))
			load_die("epoll_ctl");
	}
	return ep;
}

/* Returns how many of argv were options and the program's name. */
static int take_options(struct load *l, int argc, char **argv)
{
	int o;

	l->value_bytes = VALUE_BYTES;
	while ((o = getopt(argc, argv, "+ev:")) != -1) {
		if (o == 'e')
			l->is_tolerant = true;
		else if (o == 'v')
			l->value_bytes = strtoul(optarg, NULL, 10);
		else
			return argc;
	}
	return l->value_bytes >= 1 && l->value_bytes <= VALUE_BYTES_MAX ? optind : argc;
}

int main(int argc, char **argv)
{
	static struct load l;
	struct client *clients;
	double began, cpu, own, seconds;
	int n, ep, skip = take_options(&l, argc, argv) - 1;

	argc -= skip;
	argv += skip;
	if (argc < 7 || (n = atoi(argv[3])) < 1 || n > CONNS_MAX) {
		fprintf(stderr, "usage: load_kv [-e] [-v BYTES] strong|quorum|etcd|redis "
				"fill|put|get CONNECTIONS SECONDS KEYS "
				"ENDPOINT[,ENDPOINT...] [PID...]\n");
		return 2;
	}
	init(&l, argv[1], argv[2], argv[5]);
	clients = calloc((size_t)n, sizeof *clients);
	if (!clients)
		load_die("out of memory");
	signal(SIGTERM, on_term);
	ep = open_clients(clients, n, &l, argv[6]);
	cpu = cpu_s(argv + 7, argc - 7);
	own = clock_s(CLOCK_PROCESS_CPUTIME_ID);
	began = load_now_s();
	for (int i = 0; i < n; i++) {
		ask(&clients[i]);
		if (l.system->put_path)
			load_h2_flush(&clients[i].h2);
	}
	run(&l, clients, ep, l.op == OP_FILL ? 0 : began + atof(argv[4]));
	seconds = load_now_s() - began;
	print(&l, seconds, cpu_s(argv + 7, argc - 7) - cpu,
	      clock_s(CLOCK_PROCESS_CPUTIME_ID) - own);
	return 0;
}
