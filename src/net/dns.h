/* SPDX-License-Identifier: Apache-2.0
 * A DNS server over UDP. An answer is never marked as truncated, as there is no TCP to ask again
 * over: it holds as many records as fit into 512 bytes, in the order they were put; the others are
 * left out. What is no question is answered FORMERR, NOTIMP or REFUSED, or not at all
 * (net/dns_packet.h).
 *
 * Not libevent's server: version 2.1.12 can be ended by an empty datagram.
 *
 * Single-threaded: the loop's. At most AGI_DNS_TURN_MAX packets are read in a turn of it. */
#ifndef AGI_NET_DNS_H
#define AGI_NET_DNS_H

#include "net/dns_packet.h"

struct event_base;
struct agi_dns;

enum {
	AGI_DNS_OPEN_MAX =
	    256, /* questions without an answer yet; further ones get none, resolvers ask again */
	AGI_DNS_TURN_MAX = 64 /* some hundred microseconds */
};

/* Until agi_dns_answer. */
struct agi_dns_question;
const struct agi_dns_asked *agi_dns_question(const struct agi_dns_question *q);

/* Answers q now or later, in any case before agi_dns_free. */
typedef void agi_dns_fn(void *ctx, struct agi_dns_question *q);

/* Binds addr. IO + why. */
AGI_MUST_USE enum agi_err agi_dns_new(struct event_base *base, const struct agi_addr *addr,
				      agi_dns_fn *fn, void *ctx, struct agi_dns **out,
				      struct agi_why *why);
/* Questions still open are dropped, and may not be answered any more. NULL is allowed. */
void agi_dns_free(struct agi_dns *d);
/* Where it listens: the port is known when it was asked for as 0. */
const struct agi_addr *agi_dns_addr(const struct agi_dns *d);

/* --- records: true when it was put, false when it does not fit (or is no name): then nothing was
 * put ---------- */
/* A or AAAA of the name asked for, by the address's family. */
bool agi_dns_put_addr(struct agi_dns_question *q, const struct agi_addr *a, uint32_t ttl_s);
/* SRV of the name asked for; smaller priorities first. with_addr: not NULL: also its address, in
 * the additional part. */
bool agi_dns_put_srv(struct agi_dns_question *q, uint16_t priority, uint16_t port,
		     const char *target, const struct agi_addr *with_addr, uint32_t ttl_s);
/* SOA of zone: as an answer, or (in the authority part) for how long what is not there may be
 * remembered so. */
bool agi_dns_put_soa(struct agi_dns_question *q, const char *zone, bool is_answer, uint32_t ttl_s);
/* Sends it; q is no more. */
void agi_dns_answer(struct agi_dns_question *q, enum agi_dns_code code);

#endif
