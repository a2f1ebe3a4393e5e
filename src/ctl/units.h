/* SPDX-License-Identifier: Apache-2.0
 * Times, sizes and node addresses as people write and read them. */
#ifndef AGI_CTL_UNITS_H
#define AGI_CTL_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

#define CTL_TLS_PREFIX "tls://"

enum {
	CTL_UNIT_TEXT = 32,      /* bytes of any formatted quantity and its terminator */
	CTL_DEFAULT_PORT = 5000, /* the overlay port */
	CTL_TARGET_TEXT =
	    AGI_ADDRESS_MAX + 9 /* "tls://", brackets of an IPv6 address and terminator */
};

/* "0.042 ms", "12.3 ms", "1.50 s", "4m 05s", "3h 07m", "12d 4h"; "-" for a negative or NaN (not
 * measured). */
void ctl_format_ms(char out[CTL_UNIT_TEXT], double ms);
/* "812 B", "4.1 MiB" */
void ctl_format_bytes(char out[CTL_UNIT_TEXT], uint64_t bytes);

/* A positive decimal number with a unit: ms, s, m, h or d ("500ms", "1.5s", "2m"). A number without
 * one counts `bare_unit_ms` milliseconds; 0 = the unit is required. INVALID with why when
 * malformed, below 1 ms or above max_ms. */
AGI_MUST_USE enum agi_err ctl_parse_duration(uint64_t *out_ms, const char *text,
					     uint64_t bare_unit_ms, uint64_t max_ms,
					     struct agi_why *why);
/* A decimal integer in [min, max]. INVALID with why. */
AGI_MUST_USE enum agi_err ctl_parse_u32(uint32_t *out, const char *text, uint32_t min, uint32_t max,
					struct agi_why *why);
/* "host:port" for an IP address or DNS name of n bytes, with or without a port (then default_port;
 * 0 = the port is required), "tls://" before it kept; "unix:PATH" as it is. INVALID with why. */
AGI_MUST_USE enum agi_err ctl_parse_target(char out[CTL_TARGET_TEXT], const char *text, size_t n,
					   uint16_t default_port, struct agi_why *why);

#endif
