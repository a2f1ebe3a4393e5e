/* SPDX-License-Identifier: Apache-2.0
 * CPU time of the gRPC server per unary call: 200 bytes in, 100 bytes out, many streams on a few
 * connections. The server runs in a child process whose CPU time (user and system) is read from the
 * kernel; the load generator, closed loop on our own client, is not counted.
 *
 *   bench_grpc [seconds per line, default 2]
 *
 * The last line is JSON:
 * {"bench":"grpc","server_us_per_call":{"c<connections>_s<streams>":...},"calls_per_s":{...}}.
 * server_us_per_call: microseconds of one core that the server spends on a call; calls_per_s: with
 * the generator on the other core. */
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/net/echo_service.h"

enum { CONNECTIONS_MAX = 16, VALUE_BYTES = 190, ANSWER_BYTES = 92 };

struct load {
	struct event_base *base;
	struct agi_grpc_channel *ch[CONNECTIONS_MAX];
	uint64_t n_done, n_failed;
	bool is_over;
};
struct lane {
	struct load *load;
	struct agi_grpc_channel *ch;
};

/* --- server process -------------------------------------------------------------------------- */
static void answer(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	static uint8_t bytes[ANSWER_BYTES];
	Agihpc__V1__GetResponse res = AGIHPC__V1__GET_RESPONSE__INIT;

	(void)ctx;
	res.version = ((const Agihpc__V1__PutRequest *)req)->value.len;
	res.value = (ProtobufCBinaryData){sizeof bytes, bytes};
	agi_grpc_reply(call, &res.base);
}

static void serve(int to_parent)
{
	static const struct agi_grpc_method methods[] = {{"Put", answer}};
	struct event_base *base = event_base_new();
	struct echo e;

	echo_start(&e, base, &(struct agi_grpc_server_cfg){0}, 0);
	agi_grpc_server_free(e.server);
	if (agi_grpc_server_new(base, &(struct agi_grpc_server_cfg){0}, &e.server) ||
	    agi_grpc_server_add(e.server, &agihpc__v1__kv_service__descriptor, methods, 1, NULL) ||
	    write(to_parent, &e.addr.port, sizeof e.addr.port) != sizeof e.addr.port)
		exit(1);
	event_base_dispatch(base);
	exit(0);
}

/* User and system time of a process in microseconds. */
static uint64_t cpu_us(pid_t pid)
{
	char path[64];
	unsigned long ticks[2] = {0, 0};
	struct timespec t;
	clockid_t clock;
	FILE *f;

	if (clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &t) == 0)
		return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			 &ticks[0], &ticks[1]) != 2)
		exit(1);
	fclose(f);
	return (ticks[0] + ticks[1]) * 1000000 / (unsigned long)sysconf(_SC_CLK_TCK);
}

/* --- load ------------------------------------------------------------------------------------ */
static void on_done(void *arg, const struct agi_grpc_result *r);

static void call(struct lane *lane)
{
	static uint8_t bytes[VALUE_BYTES];
	Agihpc__V1__PutRequest req = AGIHPC__V1__PUT_REQUEST__INIT;

	req.key = (ProtobufCBinaryData){4, (uint8_t *)"name"};
	req.value = (ProtobufCBinaryData){sizeof bytes, bytes};
	if (agi_grpc_unary(lane->ch, "/agihpc.v1.KvService/Put", &req.base,
			   &agihpc__v1__get_response__descriptor, 0, on_done, lane))
		exit(1);
}

static void on_done(void *arg, const struct agi_grpc_result *r)
{
	struct lane *lane = arg;

	lane->load->n_done++;
	lane->load->n_failed += r->status != AGI_GRPC_OK;
	if (!lane->load->is_over && r->status == AGI_GRPC_OK)
		call(lane);
}

static void run_for(struct load *l, double seconds)
{
	const struct timeval tv = {(time_t)seconds,
				   (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};

	event_base_loopexit(l->base, &tv);
	event_base_dispatch(l->base);
}

struct figure {
	double us_per_call, calls_per_s;
};

static struct figure measure(pid_t server, uint16_t port, int connections, int streams,
			     double seconds)
{
	struct load l = {.base = event_base_new()};
	struct lane *lanes = calloc((size_t)(connections * streams), sizeof *lanes);
	char target[32];
	uint64_t calls, cpu;
	struct figure f;

	snprintf(target, sizeof target, "127.0.0.1:%u", (unsigned)port);
	for (int c = 0; c < connections; c++) {
		if (agi_grpc_channel_new(l.base, target, &l.ch[c], NULL))
			exit(1);
		for (int s = 0; s < streams; s++) {
			lanes[c * streams + s] = (struct lane){&l, l.ch[c]};
			call(&lanes[c * streams + s]);
		}
	}
	run_for(&l, 0.3); /* connected and warm */
	calls = l.n_done;
	cpu = cpu_us(server);
	run_for(&l, seconds);
	calls = l.n_done - calls;
	cpu = cpu_us(server) - cpu;
	f = (struct figure){calls ? (double)cpu / (double)calls : 0, (double)calls / seconds};
	l.is_over = true;
	for (int c = 0; c < connections; c++)
		agi_grpc_channel_free(l.ch[c]);
	if (l.n_failed > (uint64_t)(connections * streams))
		exit(1);
	event_base_free(l.base);
	free(lanes);
	return f;
}

int main(int argc, char **argv)
{
	static const struct {
		int connections, streams;
	} shapes[] = {{1, 1}, {1, 10}, {1, 100}, {4, 100}, {16, 1}, {16, 10}};
	enum { N = sizeof shapes / sizeof *shapes };
	double seconds = argc > 1 ? atof(argv[1]) : 2;
	struct figure f[N];
	uint16_t port;
	int pipes[2];
	pid_t server;

	if (pipe(pipes) != 0 || (server = fork()) < 0)
		return 1;
	if (server == 0)
		serve(pipes[1]);
	if (read(pipes[0], &port, sizeof port) != sizeof port)
		return 1;
	printf("connections  streams each   server CPU-us a call      calls/s\n");
	for (int i = 0; i < N; i++) {
		f[i] = measure(server, port, shapes[i].connections, shapes[i].streams, seconds);
		printf("%11d %13d %22.2f %12.0f\n", shapes[i].connections, shapes[i].streams,
		       f[i].us_per_call, f[i].calls_per_s);
	}
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	printf("{\"bench\":\"grpc\",\"server_us_per_call\":{");
	for (int i = 0; i < N; i++)
		printf("%s\"c%d_s%d\":%.3f", i ? "," : "", shapes[i].connections, shapes[i].streams,
		       f[i].us_per_call);
	printf("},\"calls_per_s\":{");
	for (int i = 0; i < N; i++)
		printf("%s\"c%d_s%d\":%.0f", i ? "," : "", shapes[i].connections, shapes[i].streams,
		       f[i].calls_per_s);
	printf("}}\n");
	return 0;
}
