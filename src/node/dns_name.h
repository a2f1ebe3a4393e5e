/* SPDX-License-Identifier: Apache-2.0
 * What a name below dns.domain stands for (dns_services.h lists the forms). Pure. */
#ifndef AGI_NODE_DNS_NAME_H
#define AGI_NODE_DNS_NAME_H

#include "base/addr.h"
#include "base/limits.h"

enum agi_dns_kind {
	AGI_DNS_FOREIGN,  /* not the domain, nor below it */
	AGI_DNS_NOTHING,  /* below it, but no name that can be there */
	AGI_DNS_APEX,     /* the domain itself */
	AGI_DNS_BRANCH,   /* there are only longer names: "service", "addr", "_tcp" */
	AGI_DNS_SERVICE,  /* SERVICE.service */
	AGI_DNS_SRV_NAME, /* _SERVICE._tcp */
	AGI_DNS_ADDRESS   /* HEX.addr */
};

struct agi_dns_name {
	enum agi_dns_kind kind;
	char service[AGI_SERVICE_NAME_MAX + 1]; /* SERVICE, SRV_NAME: in lower case, valid */
	struct agi_addr addr;                   /* ADDRESS; port 0 */
};

enum { AGI_DNS_HEX = 32 + 1 };

/* name: any bytes, in any case, with or without a dot at its end; domain: in lower case, without.
 */
void agi_dns_name_read(struct agi_dns_name *out, const char *name, const char *domain);
/* The first label of an ADDRESS. */
void agi_dns_name_hex(char out[AGI_DNS_HEX], const struct agi_addr *a);

#endif
