/* SPDX-License-Identifier: Apache-2.0
 * Links over loopback, both ends in one process on one event loop:
 *   round trips one at a time, round trips with many in flight, and bulk messages one way.
 * CPU is of the whole process, both ends and the kernel's work for them included.
 * usage: bench_link [seconds per part]; the last line is JSON. */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "net/link.h"
#include "net/listener.h"

enum { SMALL = 100, BULK = 256 * 1024, IN_FLIGHT = 256, BULK_IN_FLIGHT = 8 };

struct node {
	struct agi_links *links;
	struct agi_listener *listener;
	struct agi_id id;
	bool echoes;
	uint64_t n; /* messages received */
};

static struct event_base *base;
static struct node client, server;
static char payload[BULK];
static size_t message_bytes;

static uint64_t cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void send_from_client(void)
{
	enum agi_err err =
	    agi_links_send(client.links, &server.id, agi_listener_addr(server.listener),
			   AGI_CHAN_CONTROL, (struct agi_str){payload, message_bytes});

	if (err) {
		fprintf(stderr, "bench_link: send: %s\n", agi_err_text(err));
		exit(1);
	}
}

static void on_message(void *ctx, const struct agi_id *peer, const struct agi_addr *remote,
		       enum agi_chan chan, struct agi_str m)
{
	struct node *n = ctx;

	n->n++;
	if (n->echoes && agi_links_send(n->links, peer, remote, chan, m))
		exit(1);
	if (n == &client || !server.echoes)
		send_from_client();
}

static void on_down(void *ctx, const struct agi_id *peer, const struct agi_addr *dialled,
		    enum agi_chan chan, enum agi_err err, const struct agi_why *why)
{
	(void)ctx, (void)peer, (void)dialled, (void)chan, (void)err;
	fprintf(stderr, "bench_link: %s\n", why->text);
	exit(1);
}

static void on_link(void *ctx, struct agi_transport *t)
{
	struct node *n = ctx;
	struct agi_addr remote;
	int fd = agi_transport_release(t, &remote);

	agi_links_accept(n->links, fd, &remote);
}

static void node_start(struct node *n, uint8_t first)
{
	static const struct agi_links_handlers handlers = {on_message, on_down};
	uint8_t seed[32] = {first}, pub[32];
	struct agi_links_cfg cfg = {.n_psk = 1};
	struct agi_listener_cfg lcfg = {
	    .addr = {.ip = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}},
	    .on_wire = {[AGI_WIRE_LINK] = on_link},
	    .ctx = n};
	struct agi_why why = {"out of memory"};

	agi_keypair_of_seed(seed, pub, cfg.seckey);
	agi_id_of_pubkey(&n->id, pub);
	if (agi_links_new(base, &cfg, &handlers, n, &n->links) ||
	    agi_listener_new(base, &lcfg, &n->listener, &why)) {
		fprintf(stderr, "bench_link: %s\n", why.text);
		exit(1);
	}
}

static void node_stop(struct node *n)
{
	agi_listener_free(n->listener);
	agi_links_free(n->links);
	*n = (struct node){0};
}

struct result {
	double per_s, cpu_us_each;
};

/* Runs with so many messages of so many bytes in flight; counts what counted receives. */
static struct result part(bool echoes, size_t bytes, int in_flight, double seconds)
{
	struct node *counted = echoes ? &client : &server;
	uint64_t t, cpu, n, end;
	struct result r;

	node_start(&client, 1);
	node_start(&server, 2);
	server.echoes = echoes;
	message_bytes = bytes;
	for (int i = 0; i < in_flight; i++)
		send_from_client();
	while (counted->n < 1000 && counted->n < (uint64_t)in_flight * 4)
		event_base_loop(base, EVLOOP_ONCE);
	t = now_us(), cpu = cpu_us(), n = counted->n;
	end = t + (uint64_t)(seconds * 1e6);
	while (now_us() < end)
		event_base_loop(base, EVLOOP_ONCE);
	n = counted->n - n;
	r.per_s = (double)n * 1e6 / (double)(now_us() - t);
	r.cpu_us_each = n ? (double)(cpu_us() - cpu) / (double)n : 0;
	node_stop(&client);
	node_stop(&server);
	return r;
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 2;
	struct result one, many, bulk;

	if (agi_crypto_init() || !(base = event_base_new()))
		return 1;
	one = part(true, SMALL, 1, seconds);
	many = part(true, SMALL, IN_FLIGHT, seconds);
	bulk = part(false, BULK, BULK_IN_FLIGHT, seconds);
	printf("%d bytes, 1 in flight:   %9.0f round trips/s, %6.2f us of CPU each\n", SMALL,
	       one.per_s, one.cpu_us_each);
	printf("%d bytes, %d in flight: %9.0f round trips/s, %6.2f us of CPU each\n", SMALL,
	       IN_FLIGHT, many.per_s, many.cpu_us_each);
	printf("%d bytes, one way:    %9.0f messages/s, %.0f MB/s, %6.2f us of CPU each\n", BULK,
	       bulk.per_s, bulk.per_s * BULK / 1e6, bulk.cpu_us_each);
	printf("{\"bench\":\"link\",\"small_bytes\":%d,\"rtt_per_s\":%.0f,\"rtt_cpu_us\":%.2f,"
	       "\"pipelined_per_s\":%.0f,\"small_message_cpu_us\":%.3f,\"bulk_mb_per_s\":%.0f}\n",
	       SMALL, one.per_s, one.cpu_us_each, many.per_s, many.cpu_us_each / 2,
	       bulk.per_s * BULK / 1e6);
	event_base_free(base);
	return 0;
}
