/* SPDX-License-Identifier: Apache-2.0
 * A network address as a value (no name lookup here: names are resolved by the shell). */
#ifndef AGI_BASE_ADDR_H
#define AGI_BASE_ADDR_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum { AGI_ADDR_TEXT = 64 }; /* bytes for "[ipv6]:port" and terminator */

struct agi_addr {
	uint8_t ip[16]; /* IPv6, or IPv4 as ::ffff:a.b.c.d (RFC 4291 2.5.5.2) */
	uint16_t port;  /* host order; 0 = unset */
};

bool agi_addr_eq(const struct agi_addr *a, const struct agi_addr *b);
bool agi_addr_is_v4(const struct agi_addr *a);
bool agi_addr_is_loopback(const struct agi_addr *a);
/* "127.0.0.1:5000" or "[::1]:5000". A missing port takes default_port (0 = the port is required).
 * INVALID with why for anything else, names included. */
AGI_MUST_USE enum agi_err agi_addr_parse(struct agi_addr *out, struct agi_str text,
                                         uint16_t default_port, struct agi_why *why);
void agi_addr_format(char out[AGI_ADDR_TEXT], const struct agi_addr *a);
void agi_addr_format_ip(char out[AGI_ADDR_TEXT], const struct agi_addr *a);

#endif
