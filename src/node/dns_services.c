/* SPDX-License-Identifier: Apache-2.0 */
#include "node/dns_services.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "net/dns.h"
#include "node/dns_name.h"

enum {
	INSTANCES_MAX = AGI_DNS_ANSWER_MAX / 16
}; /* that are looked at: a record has 16 bytes at least */

struct search {
	struct agi_dns_services *in;
	struct agi_dns_question *q;
	struct agi_dns_name name;
	uint64_t call;
	bool is_starting, is_over; /* answered before agi_dht_host_call returned */
	LIST_ENTRY(search) link;
};

struct agi_dns_services {
	struct agi_dht_host *host;
	struct agi_dns *dns;
	const char *domain;
	uint32_t ttl_s;
	LIST_HEAD(, search) open; /* as many as net/dns lets in */
};

/* --- answers
 * ------------------------------------------------------------------------------------------ */
static bool wants(const struct agi_dns_question *q, int type)
{
	return agi_dns_question(q)->type == type || agi_dns_question(q)->type == AGI_DNS_ANY;
}

static bool wants_addr(const struct agi_dns_question *q, const struct agi_addr *a)
{
	return wants(q, agi_addr_is_v4(a) ? AGI_DNS_A : AGI_DNS_AAAA);
}

/* What is not there may be remembered for as long as what is. */
static void answer_without(const struct agi_dns_services *d, struct agi_dns_question *q,
			   enum agi_dns_code code)
{
	(void)agi_dns_put_soa(q, d->domain, false, d->ttl_s);
	agi_dns_answer(q, code);
}

/* The instances before i have the same address. */
static bool is_repeated(const struct agi_instance *v, size_t i, const struct agi_addr *a)
{
	struct agi_addr b;

	while (i--)
		if (agi_addr_parse(&b, v[i].provider->address, 0, NULL) == AGI_OK &&
		    memcmp(a->ip, b.ip, sizeof b.ip) == 0)
			return true;
	return false;
}

static bool put_host(const struct agi_dns_services *d, struct agi_dns_question *q,
		     const struct agi_instance *v, size_t i)
{
	struct agi_addr a;

	if (agi_addr_parse(&a, v[i].provider->address, 0, NULL) || !wants_addr(q, &a) ||
	    is_repeated(v, i, &a))
		return false;
	return agi_dns_put_addr(q, &a, d->ttl_s);
}

/* host:port of the record, where host is no address. False: longer than a name, or not so. */
static bool read_host(char host[AGI_DNS_NAME_MAX + 1], uint16_t *port, struct agi_str text)
{
	const char *colon = memrchr(text.p, ':', text.n);
	size_t n = colon ? (size_t)(colon - text.p) : 0;
	unsigned long number = 0;

	if (n == 0 || n > AGI_DNS_NAME_MAX)
		return false;
	for (size_t i = n + 1; i < text.n && number <= UINT16_MAX; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		number = number * 10 + (unsigned long)(text.p[i] - '0');
	}
	if (number == 0 || number > UINT16_MAX)
		return false;
	memcpy(host, text.p, n);
	host[n] = '\0';
	*port = (uint16_t)number;
	return true;
}

static bool put_srv(const struct agi_dns_services *d, struct agi_dns_question *q,
		    const struct agi_instance *in, uint16_t priority)
{
	char target[AGI_DNS_NAME_MAX + 1], hex[AGI_DNS_HEX];
	struct agi_addr a;
	uint16_t port;
	int n;

	if (agi_addr_parse(&a, in->provider->address, 0, NULL))
		return read_host(target, &port, in->provider->address) &&
		       agi_dns_put_srv(q, priority, port, target, NULL, d->ttl_s);
	agi_dns_name_hex(hex, &a);
	n = snprintf(target, sizeof target, "%s.addr.%s", hex, d->domain);
	return n > 0 && (size_t)n < sizeof target &&
	       agi_dns_put_srv(q, priority, a.port, target, &a, d->ttl_s);
}

/* Nearest first, as far as there is room. */
static size_t put_instances(const struct search *s, const struct agi_result *res)
{
	size_t n = 0;

	for (size_t i = 0; i < res->n_instances && i < INSTANCES_MAX; i++) {
		if (s->name.kind == AGI_DNS_SERVICE)
			n += put_host(s->in, s->q, res->instances, i);
		if (wants(s->q, AGI_DNS_SRV))
			n += put_srv(s->in, s->q, &res->instances[i], (uint16_t)(i + 1));
	}
	return n;
}

/* --- searches
 * ----------------------------------------------------------------------------------------- */
static void on_found(void *arg, const struct agi_result *res)
{
	struct search *s = arg;

	if (res->err)
		agi_dns_answer(s->q, AGI_DNS_SERVFAIL);
	else if (!res->n_instances)
		answer_without(s->in, s->q, AGI_DNS_NXDOMAIN);
	else if (put_instances(s, res))
		agi_dns_answer(s->q, AGI_DNS_OK);
	else
		answer_without(s->in, s->q, AGI_DNS_OK);
	s->is_over = true;
	if (s->is_starting)
		return;
	LIST_REMOVE(s, link);
	free(s);
}

static void find(struct agi_dns_services *d, struct agi_dns_question *q,
		 const struct agi_dns_name *name)
{
	struct search *s = calloc(1, sizeof *s);
	struct agi_call op = {.kind = AGI_CALL_DISCOVER, .timeout_ms = AGI_DNS_FIND_MS};

	if (!s) {
		agi_dns_answer(q, AGI_DNS_SERVFAIL);
		return;
	}
	*s = (struct search){.in = d, .q = q, .name = *name, .is_starting = true};
	op.service = agi_str_of(s->name.service);
	s->call = agi_dht_host_call(d->host, &op, on_found, s);
	s->is_starting = false;
	if (s->is_over)
		free(s);
	else
		LIST_INSERT_HEAD(&d->open, s, link);
}

static void on_question(void *ctx, struct agi_dns_question *q)
{
	struct agi_dns_services *d = ctx;
	struct agi_dns_name name;

	agi_dns_name_read(&name, agi_dns_question(q)->name, d->domain);
	switch (name.kind) {
	case AGI_DNS_FOREIGN:
		agi_dns_answer(q, AGI_DNS_REFUSED);
		return;
	case AGI_DNS_NOTHING:
		answer_without(d, q, AGI_DNS_NXDOMAIN);
		return;
	case AGI_DNS_SERVICE:
	case AGI_DNS_SRV_NAME:
		find(d, q, &name);
		return;
	case AGI_DNS_APEX:
		if (!wants(q, AGI_DNS_SOA) || !agi_dns_put_soa(q, d->domain, true, d->ttl_s))
			break;
		agi_dns_answer(q, AGI_DNS_OK);
		return;
	case AGI_DNS_ADDRESS:
		if (!wants_addr(q, &name.addr) || !agi_dns_put_addr(q, &name.addr, d->ttl_s))
			break;
		agi_dns_answer(q, AGI_DNS_OK);
		return;
	case AGI_DNS_BRANCH:
		break;
	}
	answer_without(d, q, AGI_DNS_OK);
}

/* --- life
 * --------------------------------------------------------------------------------------------- */
enum agi_err agi_dns_services_new(struct event_base *base, const struct agi_config *config,
				  struct agi_dht_host *host, struct agi_dns_services **out,
				  struct agi_why *why)
{
	struct agi_dns_services *d = calloc(1, sizeof *d);
	enum agi_err e;

	if (!d)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	*d = (struct agi_dns_services){
	    .host = host, .domain = config->dns.domain, .ttl_s = config->dns.ttl_ms / 1000};
	LIST_INIT(&d->open);
	e = agi_dns_new(base, &config->dns.listen, on_question, d, &d->dns, why);
	if (e) {
		free(d);
		return e;
	}
	*out = d;
	return AGI_OK;
}

void agi_dns_services_free(struct agi_dns_services *d)
{
	struct search *s;

	if (!d)
		return;
	while ((s = LIST_FIRST(&d->open))) {
		agi_dht_host_cancel(d->host, s->call);
		LIST_REMOVE(s, link);
		free(s);
	}
	agi_dns_free(d->dns);
	free(d);
}
