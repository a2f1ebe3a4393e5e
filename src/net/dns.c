/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dns.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "net/sock.h"

enum {
	PACKET_MAX = 1500, /* of questions; what is longer is cut off, which the one question does
			      not mind */
	SRV_FIXED = 6,
	SOA_FIXED = 20,
	HOSTMASTER = 11,
	DATA_MAX = 2 * AGI_DNS_NAME_MAX + HOSTMASTER + SOA_FIXED
};

struct agi_dns_question {
	struct agi_dns *dns;
	struct agi_addr from;
	struct agi_dns_asked asked;
	struct agi_dns_reply reply;
	LIST_ENTRY(agi_dns_question) link;
};

struct agi_dns {
	struct event *readable;
	int fd;
	struct agi_addr addr;
	agi_dns_fn *fn;
	void *ctx;
	LIST_HEAD(, agi_dns_question) open;
	size_t n_open;
};

const struct agi_dns_asked *agi_dns_question(const struct agi_dns_question *q) { return &q->asked; }
const struct agi_addr *agi_dns_addr(const struct agi_dns *d) { return &d->addr; }

/* --- records
 * ------------------------------------------------------------------------------------------ */
static bool put_addr(struct agi_dns_question *q, enum agi_dns_part part, const char *owner,
		     const struct agi_addr *a, uint32_t ttl_s)
{
	const char *ip = (const char *)a->ip;

	if (agi_addr_is_v4(a))
		return agi_dns_reply_put(&q->reply, part, owner, AGI_DNS_A, ttl_s,
					 (struct agi_str){ip + 12, 4});
	return agi_dns_reply_put(&q->reply, part, owner, AGI_DNS_AAAA, ttl_s,
				 (struct agi_str){ip, 16});
}

bool agi_dns_put_addr(struct agi_dns_question *q, const struct agi_addr *a, uint32_t ttl_s)
{
	return put_addr(q, AGI_DNS_ANSWER, NULL, a, ttl_s);
}

bool agi_dns_put_srv(struct agi_dns_question *q, uint16_t priority, uint16_t port,
		     const char *target, const struct agi_addr *with_addr, uint32_t ttl_s)
{
	struct agi_buf b;
	bool ok;

	agi_buf_init(&b, DATA_MAX);
	agi_buf_u16(&b, priority);
	agi_buf_u16(&b, 0); /* weight: priorities are distinct already */
	agi_buf_u16(&b, port);
	ok =
	    agi_dns_name_put(&b, target) && !b.err &&
	    agi_dns_reply_put(&q->reply, AGI_DNS_ANSWER, NULL, AGI_DNS_SRV, ttl_s, agi_buf_str(&b));
	agi_buf_free(&b);
	if (ok && with_addr) /* without it the client asks for it */
		(void)put_addr(q, AGI_DNS_ADDITIONAL, target, with_addr, ttl_s);
	return ok;
}

/* mname, rname, serial, refresh, retry, expire, minimum (RFC 1035 3.3.13, 2308): there are no
 * secondaries. */
bool agi_dns_put_soa(struct agi_dns_question *q, const char *zone, bool is_answer, uint32_t ttl_s)
{
	const uint32_t numbers[] = {1, 3600, 600, 86400, ttl_s};
	struct agi_buf b;
	bool ok;

	agi_buf_init(&b, DATA_MAX);
	ok = agi_dns_name_put(&b, zone);
	agi_buf_put_str(&b, AGI_STR("\x0ahostmaster"));
	ok = ok && agi_dns_name_put(&b, zone);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		agi_buf_u32(&b, numbers[i]);
	ok = ok && !b.err &&
	     agi_dns_reply_put(&q->reply, is_answer ? AGI_DNS_ANSWER : AGI_DNS_AUTHORITY,
			       is_answer ? NULL : zone, AGI_DNS_SOA, ttl_s, agi_buf_str(&b));
	agi_buf_free(&b);
	return ok;
}

static void forget(struct agi_dns_question *q)
{
	LIST_REMOVE(q, link);
	q->dns->n_open--;
	agi_dns_reply_free(&q->reply);
	free(q);
}

/* What cannot be sent is lost as any datagram may be. */
static void send_reply(const struct agi_dns *d, const struct agi_addr *to,
		       const struct agi_dns_asked *asked, const struct agi_dns_reply *r,
		       enum agi_dns_code code)
{
	struct sockaddr_storage ss;
	socklen_t n = agi_sock_of_addr(&ss, to);
	struct agi_buf b;

	agi_buf_init(&b, AGI_DNS_ANSWER_MAX);
	agi_dns_reply_write(&b, asked, r, code);
	if (!b.err)
		(void)!sendto(d->fd, agi_buf_str(&b).p, agi_buf_str(&b).n, MSG_NOSIGNAL,
			      (struct sockaddr *)&ss, n);
	agi_buf_free(&b);
}

void agi_dns_answer(struct agi_dns_question *q, enum agi_dns_code code)
{
	send_reply(q->dns, &q->from, &q->asked, &q->reply, code);
	forget(q);
}

/* --- questions
 * ---------------------------------------------------------------------------------------- */
static void on_packet(struct agi_dns *d, const struct agi_addr *from, const uint8_t *p, size_t n)
{
	static const struct agi_dns_reply nothing;
	struct agi_dns_question *q;
	struct agi_dns_asked asked;
	enum agi_dns_code code;

	if (!agi_dns_packet_read(&asked, p, n, &code))
		return;
	if (code) {
		send_reply(d, from, &asked, &nothing, code);
		return;
	}
	if (d->n_open >= AGI_DNS_OPEN_MAX || !(q = malloc(sizeof *q)))
		return;
	q->dns = d;
	q->from = *from;
	q->asked = asked;
	agi_dns_reply_init(&q->reply, &asked);
	LIST_INSERT_HEAD(&d->open, q, link);
	d->n_open++;
	d->fn(d->ctx, q);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct agi_dns *d = arg;
	uint8_t packet[PACKET_MAX];
	(void)what;

	for (int i = 0; i < AGI_DNS_TURN_MAX; i++) {
		struct sockaddr_storage ss;
		socklen_t len = sizeof ss;
		ssize_t n = recvfrom(fd, packet, sizeof packet, 0, (struct sockaddr *)&ss, &len);
		struct agi_addr from;

		if (n < 0 && errno != EINTR &&
		    errno != ECONNREFUSED) /* the latter is about an answer sent before */
			return;
		if (n >= 0 && agi_addr_of_sock(&from, (struct sockaddr *)&ss) == AGI_OK &&
		    from.port)
			on_packet(d, &from, packet, (size_t)n);
	}
}

/* --- life
 * --------------------------------------------------------------------------------------------- */
static int open_socket(const struct agi_addr *addr, struct agi_addr *bound)
{
	struct sockaddr_storage ss;
	socklen_t n = agi_sock_of_addr(&ss, addr);
	int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), e;

	if (fd < 0)
		return -1;
	if (bind(fd, (struct sockaddr *)&ss, n) == 0) {
		n = sizeof ss;
		if (getsockname(fd, (struct sockaddr *)&ss, &n) == 0 &&
		    agi_addr_of_sock(bound, (struct sockaddr *)&ss) == AGI_OK)
			return fd;
	}
	e = errno;
	close(fd);
	errno = e;
	return -1;
}

enum agi_err agi_dns_new(struct event_base *base, const struct agi_addr *addr, agi_dns_fn *fn,
			 void *ctx, struct agi_dns **out, struct agi_why *why)
{
	struct agi_dns *d = calloc(1, sizeof *d);
	char text[AGI_ADDR_TEXT];

	if (!d)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	d->fn = fn;
	d->ctx = ctx;
	LIST_INIT(&d->open);
	agi_addr_format(text, addr);
	d->fd = open_socket(addr, &d->addr);
	if (d->fd < 0) {
		free(d);
		return agi_fail(why, AGI_E_IO, "DNS on %s: %s", text, strerror(errno));
	}
	d->readable = event_new(base, d->fd, EV_READ | EV_PERSIST, on_readable, d);
	if (!d->readable || event_add(d->readable, NULL)) {
		agi_dns_free(d);
		return agi_fail(why, AGI_E_NOMEM, "DNS on %s: out of memory", text);
	}
	*out = d;
	return AGI_OK;
}

void agi_dns_free(struct agi_dns *d)
{
	struct agi_dns_question *q;

	if (!d)
		return;
	while ((q = LIST_FIRST(&d->open)))
		forget(q);
	if (d->readable)
		event_free(d->readable);
	close(d->fd);
	free(d);
}
