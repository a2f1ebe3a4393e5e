/* SPDX-License-Identifier: Apache-2.0
 * DNS packets (RFC 1035 4): a question taken apart, an answer put together. Pure.
 *
 * Of a packet only the header and its one question are read; what follows (EDNS, RFC 6891 7) is
 * left alone. */
#ifndef AGI_NET_DNS_PACKET_H
#define AGI_NET_DNS_PACKET_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/buf.h"

enum {
	AGI_DNS_NAME_MAX = 255, /* bytes of a name, and characters as text */
	AGI_DNS_ANSWER_MAX =
	    512 /* bytes of an answer: what every resolver takes over UDP (RFC 1035 4.2.1) */
};

/* Types (RFC 1035 3.2.2, 3596, 2782). */
enum { AGI_DNS_A = 1, AGI_DNS_SOA = 6, AGI_DNS_AAAA = 28, AGI_DNS_SRV = 33, AGI_DNS_ANY = 255 };
/* Response codes (RFC 1035 4.1.1). */
enum agi_dns_code {
	AGI_DNS_OK = 0,
	AGI_DNS_FORMERR = 1,
	AGI_DNS_SERVFAIL = 2,
	AGI_DNS_NXDOMAIN = 3,
	AGI_DNS_NOTIMP = 4,
	AGI_DNS_REFUSED = 5
};

struct agi_dns_asked {
	uint16_t id, flags; /* as sent */
	uint16_t type;
	char name[AGI_DNS_NAME_MAX + 1]; /* labels with dots between, none at the end; bytes that no
					    host name has are '?' */
	uint8_t question[AGI_DNS_NAME_MAX +
			 4]; /* as sent, to be sent back; empty when it was not understood */
	size_t question_bytes;
};

/* False: gets no answer (an answer itself, or too short to be anything). Else *code is OK, or what
 * to answer without looking further: FORMERR, NOTIMP, REFUSED (a class other than IN). */
AGI_MUST_USE bool agi_dns_packet_read(struct agi_dns_asked *out, const uint8_t *p, size_t n,
				      enum agi_dns_code *code);

/* --- answers: records in three parts, within AGI_DNS_ANSWER_MAX
 * ------------------------------------------ */
enum agi_dns_part { AGI_DNS_ANSWER, AGI_DNS_AUTHORITY, AGI_DNS_ADDITIONAL, AGI_DNS_PARTS };

struct agi_dns_reply {
	struct agi_buf part[AGI_DNS_PARTS];
	uint16_t count[AGI_DNS_PARTS];
	size_t room; /* bytes left */
};

void agi_dns_reply_init(struct agi_dns_reply *r, const struct agi_dns_asked *asked);
void agi_dns_reply_free(struct agi_dns_reply *r);
/* owner NULL: the name that was asked for. False when it does not fit, or a name is none: nothing
 * was put. */
bool agi_dns_reply_put(struct agi_dns_reply *r, enum agi_dns_part part, const char *owner,
		       uint16_t type, uint32_t ttl_s, struct agi_str data);
/* A name in wire form, without pointers; false: it is none (RFC 1035 3.1), and b holds anything. */
AGI_MUST_USE bool agi_dns_name_put(struct agi_buf *b, const char *name);
/* The packet. out is empty (b.err) when out of memory. */
void agi_dns_reply_write(struct agi_buf *out, const struct agi_dns_asked *asked,
			 const struct agi_dns_reply *r, enum agi_dns_code code);

#endif
