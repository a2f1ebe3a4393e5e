/* SPDX-License-Identifier: Apache-2.0
 * A mixed load for a running node, from one thread, each client with a connection of its own and one call at a time:
 *
 *   load_node SECONDS put:HOST:PORT:CLIENTS[:BYTES] get:HOST:PORT:CLIENTS check:HOST:PORT:CLIENTS[:STEPS] ...
 *
 * put: new keys, values of BYTES (100), level quorum. get: of a key that is not there, level quorum. check: CheckPlan of
 * a plan of STEPS (1) harmless steps. Prints a line of JSON: for each kind the calls that ended well and the failed
 * ones, calls per second, p50, p90 and p99 in microseconds; for checks also how many were not ALLOW. A second at the
 * beginning is not counted. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "agihpc.pb-c.h"
#include "net/grpc.h"
#include "safety.pb-c.h"

enum { CLIENTS_MAX = 1024, SAMPLES_MAX = 1 << 22, CALL_MS = 10000, STEPS_MAX = 64 };

enum kind { PUT, GET, CHECK, KINDS };
static const char *const names[KINDS] = {"put", "get", "check"};

struct series {
	uint32_t *us;
	size_t n, clients, failed, blocked, size; /* size: of a value in bytes, of a plan in steps */
};
static struct series all[KINDS];
static struct event_base *base;
static bool is_counting, is_over;

struct client {
	enum kind kind;
	struct agi_grpc_channel *channel;
	uint64_t began_us, calls;
	unsigned number;
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void die(const char *what, const char *detail)
{
	fprintf(stderr, "load_node: %s: %s\n", what, detail);
	exit(1);
}

static void next(struct client *c);

static void note_decision(struct series *s, const Agi__Safety__V1__SafetyResult *r)
{
	if (r->decision == AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_ALLOW || s->blocked++)
		return;
	for (size_t i = 0; i < r->n_reasons; i++)
		fprintf(stderr, "load_node: not allowed: %.*s\n", (int)r->reasons[i].len, (const char *)r->reasons[i].data);
}

static void on_done(void *arg, const struct agi_grpc_result *r)
{
	struct client *c = arg;
	struct series *s = &all[c->kind];

	if (is_over)
		return;
	if (is_counting && r->status != AGI_GRPC_OK && !(c->kind == GET && r->status == AGI_GRPC_NOT_FOUND)) {
		if (s->failed++ == 0)
			fprintf(stderr, "load_node: %s: status %d %.*s\n", names[c->kind], (int)r->status,
				AGI_STR_ARG(r->message));
	} else if (is_counting && s->n < SAMPLES_MAX) {
		s->us[s->n++] = (uint32_t)(now_us() - c->began_us);
		if (c->kind == CHECK)
			note_decision(s, ((const Agi__Safety__V1__CheckPlanResponse *)r->res)->result);
	}
	next(c);
}

static ProtobufCBinaryData bytes_of(const char *z)
{
	return (ProtobufCBinaryData){strlen(z), (uint8_t *)z};
}

static enum agi_err put(struct client *c)
{
	static uint8_t value[1 << 20];
	Agihpc__V1__PutRequest m = AGIHPC__V1__PUT_REQUEST__INIT;
	char key[64];

	snprintf(key, sizeof key, "load-%d-%u-%llu", (int)getpid(), c->number, (unsigned long long)c->calls);
	m.key = bytes_of(key);
	m.value = (ProtobufCBinaryData){all[PUT].size, value};
	return agi_grpc_unary(c->channel, "/agihpc.v1.KvService/Put", &m.base,
			      &agihpc__v1__put_response__descriptor, CALL_MS, on_done, c);
}

static enum agi_err get(struct client *c)
{
	Agihpc__V1__GetRequest m = AGIHPC__V1__GET_REQUEST__INIT;
	char key[64];

	snprintf(key, sizeof key, "none-%u-%llu", c->number, (unsigned long long)c->calls);
	m.key = bytes_of(key);
	return agi_grpc_unary(c->channel, "/agihpc.v1.KvService/Get", &m.base,
			      &agihpc__v1__get_response__descriptor, CALL_MS, on_done, c);
}

static enum agi_err check(struct client *c)
{
	Agi__Safety__V1__CheckPlanRequest m = AGI__SAFETY__V1__CHECK_PLAN_REQUEST__INIT;
	Agi__Plan__V1__PlanGraphProto plan = AGI__PLAN__V1__PLAN_GRAPH_PROTO__INIT;
	Agi__Plan__V1__PlanStep step[STEPS_MAX], *steps[STEPS_MAX];
	char names_of_steps[STEPS_MAX][24];

	plan.n_steps = all[CHECK].size < STEPS_MAX ? all[CHECK].size : STEPS_MAX;
	for (size_t i = 0; i < plan.n_steps; i++) {
		agi__plan__v1__plan_step__init(steps[i] = &step[i]);
		snprintf(names_of_steps[i], sizeof names_of_steps[i], "s%zu", i);
		step[i].step_id = bytes_of(names_of_steps[i]);
		step[i].tool_id = bytes_of("report");
	}
	plan.plan_id = bytes_of("p");
	plan.steps = steps;
	m.plan = &plan;
	return agi_grpc_unary(c->channel, "/agi.safety.v1.PreActionSafetyService/CheckPlan", &m.base,
			      &agi__safety__v1__check_plan_response__descriptor, CALL_MS, on_done, c);
}

static void next(struct client *c)
{
	enum agi_err e;

	c->calls++;
	c->began_us = now_us();
	e = c->kind == PUT ? put(c) : c->kind == GET ? get(c) : check(c);
	if (e)
		die("no call", agi_err_text(e));
}

/* kind:HOST:PORT:CLIENTS[:SIZE] */
static void add_clients(char *text)
{
	static unsigned n_all;
	char *kind = strtok(text, ":"), *host = strtok(NULL, ":"), *port = strtok(NULL, ":");
	char *number = strtok(NULL, ":"), *size = strtok(NULL, ":"), target[128];
	struct agi_why why = {""};
	enum kind k = PUT;
	int n = number ? atoi(number) : 0;

	while (kind && k < KINDS && strcmp(kind, names[k]) != 0)
		k++;
	if (!kind || k == KINDS || n < 1 || n_all + (unsigned)n > CLIENTS_MAX)
		die("kind:HOST:PORT:CLIENTS[:SIZE] expected, put, get or check", kind ? kind : "");
	if (size)
		all[k].size = (size_t)atoi(size);
	snprintf(target, sizeof target, "%s:%s", host, port);
	for (int i = 0; i < n; i++) {
		struct client *c = calloc(1, sizeof *c);

		if (!c || agi_grpc_channel_new(base, target, &c->channel, &why))
			die(target, c ? why.text : "out of memory");
		c->kind = k;
		c->number = n_all++;
		all[k].clients++;
		next(c);
	}
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static uint32_t percentile(const struct series *s, unsigned hundredths)
{
	return s->n ? s->us[(s->n - 1) * hundredths / 100] : 0;
}

static void print(enum kind k, double seconds, const char *comma)
{
	struct series *s = &all[k];

	qsort(s->us, s->n, sizeof *s->us, by_value);
	printf("%s\"%s\": {\"clients\": %zu, \"ok\": %zu, \"failed\": %zu, \"not_allowed\": %zu, \"per_s\": %.0f, "
	       "\"p50_us\": %u, \"p90_us\": %u, \"p99_us\": %u}",
	       comma, names[k], s->clients, s->n, s->failed, s->blocked, (double)s->n / seconds,
	       percentile(s, 50), percentile(s, 90), percentile(s, 99));
}

int main(int argc, char **argv)
{
	int seconds = argc > 2 ? atoi(argv[1]) : 0;
	const char *comma = "{";

	if (seconds < 1) {
		fprintf(stderr, "usage: load_node SECONDS put:HOST:PORT:CLIENTS[:BYTES] get:HOST:PORT:CLIENTS check:HOST:PORT:CLIENTS[:STEPS] ...\n");
		return 2;
	}
	base = event_base_new();
	for (int k = 0; k < KINDS; k++) {
		all[k].size = k == CHECK ? 1 : 100;
		all[k].us = malloc(SAMPLES_MAX * sizeof *all[k].us);
		if (!base || !all[k].us)
			die("start", "out of memory");
	}
	for (int i = 2; i < argc; i++)
		add_clients(argv[i]);
	event_base_loopexit(base, &(struct timeval){1, 0});
	event_base_dispatch(base);
	is_counting = true;
	event_base_loopexit(base, &(struct timeval){seconds, 0});
	event_base_dispatch(base);
	is_over = true;
	for (enum kind k = 0; k < KINDS; k++) {
		if (!all[k].clients)
			continue;
		print(k, seconds, comma);
		comma = ", ";
	}
	printf("}\n");
	return 0;
}
