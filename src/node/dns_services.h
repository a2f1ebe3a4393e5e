/* SPDX-License-Identifier: Apache-2.0
 * Services by DNS (dns.listen): of healthy instances only, nearest first, as Discover has them.
 *
 *   SERVICE.service.DOMAIN            A, AAAA: where its instances are; SRV: that and their ports
 *   _SERVICE._tcp.DOMAIN              SRV (also _SERVICE._tcp.service.DOMAIN)
 *   HEX.addr.DOMAIN                   A, AAAA: an address written as 8 or 32 hex digits, which SRV
 * records point to
 *
 * NXDOMAIN: no healthy instance is known, or there is no such kind of name; an empty answer: there
 * are instances, but none of that type. SERVFAIL: the registry cannot be asked. REFUSED: not below
 * DOMAIN. An answer holds the nearest instances that fit in it (net/dns.h). An instance registered
 * with a host name is in SRV answers only. */
#ifndef AGI_NODE_DNS_SERVICES_H
#define AGI_NODE_DNS_SERVICES_H

#include "config/config.h"
#include "node/dht_host.h"

struct agi_dns_services;

enum { AGI_DNS_FIND_MS = 2000 }; /* resolvers wait for five seconds */

/* Listens as config->dns says, which must have an address; config and host are borrowed. IO, NOMEM
 * + why. */
AGI_MUST_USE enum agi_err agi_dns_services_new(struct event_base *base,
					       const struct agi_config *config,
					       struct agi_dht_host *host,
					       struct agi_dns_services **out, struct agi_why *why);
/* Before the host is freed. NULL is allowed. */
void agi_dns_services_free(struct agi_dns_services *d);

#endif
