/* SPDX-License-Identifier: Apache-2.0
 * The first bytes of a connection to a port that knows gRPC, HTTP, links and TLS: told apart, a ClientHello
 * read, the handshake begun. The first byte says: bits 0 to 2: in pieces of 1 << 2n bytes; bit 3: the port
 * takes no plain text. Each connection must end in exactly one of the listener's counters, and be what its
 * first bytes say, however they come. */
#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "net/listener.h"
#include "net/sock.h"
#include "net/tls.h"
#include "tests/unit/certs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { TURNS = 1000 };
static struct event_base *base;
static struct agi_listener *listener[2];
static struct certs certs;
static int n_taken[AGI_WIRE_COUNT];

static void take(enum agi_wire wire, struct agi_transport *t)
{
	n_taken[wire]++;
	agi_transport_close(t);
}

static void on_grpc(void *ctx, struct agi_transport *t) { (void)ctx, take(AGI_WIRE_GRPC, t); }
static void on_http(void *ctx, struct agi_transport *t) { (void)ctx, take(AGI_WIRE_HTTP, t); }
static void on_link(void *ctx, struct agi_transport *t) { (void)ctx, take(AGI_WIRE_LINK, t); }

static void remove_certs(void) { certs_close(&certs); }

static void listen_twice(void)
{
	struct agi_listener_cfg cfg = {.addr = {.ip = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}}};
	struct agi_tls_server_cfg files = {0};
	struct agi_tls_server *tls;
	struct certs_ca ca;
	struct agi_why why;

	base = event_base_new();
	certs_open(&certs);
	(void)atexit(remove_certs);
	ca = certs_make(&certs, "ca", "fuzz", NULL, -86400, 86400, NULL);
	certs_forget(certs_make(&certs, "server", "fuzz", "IP:127.0.0.1", -86400, 86400, &ca));
	certs_forget(ca);
	files.cert_file = certs_path(&certs, "server.crt");
	files.key_file = certs_path(&certs, "server.key");
	if (!base || agi_tls_server_new(&files, &tls, &why))
		abort();
	cfg.tls = tls;
	cfg.on_wire[AGI_WIRE_GRPC] = on_grpc;
	cfg.on_wire[AGI_WIRE_HTTP] = on_http;
	cfg.on_wire[AGI_WIRE_LINK] = on_link;
	for (int i = 0; i < 2; i++) {
		cfg.plaintext = i ? AGI_PLAINTEXT_REFUSE : AGI_PLAINTEXT_ALLOW;
		if (agi_listener_new(base, &cfg, &listener[i], &why))
			abort();
	}
}

static int connect_to(const struct agi_addr *a)
{
	const struct linger at_once = {1, 0}; /* so many connections would use up the ports */
	struct sockaddr_storage sa;
	socklen_t n = agi_sock_of_addr(&sa, a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, n) ||
	    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once))
		abort();
	return fd;
}

static uint64_t ends(const struct agi_listener_stats *s)
{
	return s->accepted[AGI_WIRE_GRPC] + s->accepted[AGI_WIRE_HTTP] + s->accepted[AGI_WIRE_LINK] + s->unknown +
	       s->silent + s->crowded + s->plain + s->tls_failed;
}

static void say(int fd, struct agi_str text, size_t piece)
{
	while (text.n) {
		ssize_t n = send(fd, text.p, text.n < piece ? text.n : piece, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		text = (struct agi_str){text.p + n, text.n - (size_t)n};
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
}

/* True once the listener has done with it; answers (a ServerHello, an alert) are not read. */
static bool run_until_ended(struct agi_listener *l, uint64_t want)
{
	struct agi_listener_stats s;

	for (int i = 0; i < TURNS; i++) {
		event_base_loop(base, i < TURNS / 2 ? EVLOOP_NONBLOCK : EVLOOP_ONCE);
		agi_listener_stats(l, &s);
		if (ends(&s) >= want)
			return true;
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct agi_cur in = {data, n, false};
	uint8_t how = agi_cur_u8(&in);
	struct agi_str text = agi_cur_take(&in, in.n);
	struct agi_listener_stats before, after;
	struct agi_listener *l;
	enum agi_wire wire = AGI_WIRE_COUNT;
	bool is_told;
	int fd;

	if (!base)
		listen_twice();
	l = listener[how >> 3 & 1];
	agi_listener_stats(l, &before);
	fd = connect_to(agi_listener_addr(l));
	say(fd, text, (size_t)1 << 2 * (how & 7));
	shutdown(fd, SHUT_WR);
	is_told = run_until_ended(l, ends(&before) + 1);
	close(fd);
	assert(is_told);
	agi_listener_stats(l, &after);
	assert(ends(&after) == ends(&before) + 1);
	if (!agi_wire_of(&wire, text))
		assert(after.silent == before.silent + 1);
	else if (wire == AGI_WIRE_COUNT)
		assert(after.unknown == before.unknown + 1);
	else if (wire == AGI_WIRE_LINK)
		assert(after.accepted[wire] == before.accepted[wire] + 1);
	else if (wire != AGI_WIRE_TLS)
		assert((how >> 3 & 1 ? after.plain - before.plain : after.accepted[wire] - before.accepted[wire]) == 1);
	else
		assert(after.unknown == before.unknown && after.plain == before.plain);
	return 0;
}
