/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/units.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "net/dial.h"

static void format_long(char out[CTL_UNIT_TEXT], uint64_t s)
{
	if (s < 3600)
		snprintf(out, CTL_UNIT_TEXT, "%" PRIu64 "m %02us", s / 60, (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(out, CTL_UNIT_TEXT, "%" PRIu64 "h %02um", s / 3600,
			 (unsigned)(s % 3600 / 60));
	else
		snprintf(out, CTL_UNIT_TEXT, "%" PRIu64 "d %uh", s / 86400,
			 (unsigned)(s % 86400 / 3600));
}

void ctl_format_ms(char out[CTL_UNIT_TEXT], double ms)
{
	if (!(ms >= 0) || ms > 1e18)
		snprintf(out, CTL_UNIT_TEXT, "-");
	else if (ms < 0.9995)
		snprintf(out, CTL_UNIT_TEXT, "%.3f ms", ms);
	else if (ms < 999.95)
		snprintf(out, CTL_UNIT_TEXT, "%.1f ms", ms);
	else if (ms < 59995)
		snprintf(out, CTL_UNIT_TEXT, "%.2f s", ms / 1000);
	else
		format_long(out, (uint64_t)llround(ms / 1000));
}

void ctl_format_bytes(char out[CTL_UNIT_TEXT], uint64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes / 1024;
	size_t u = 0;

	if (bytes < 1024) {
		snprintf(out, CTL_UNIT_TEXT, "%" PRIu64 " B", bytes);
		return;
	}
	for (; v >= 1023.95 && u + 1 < sizeof units / sizeof *units; u++)
		v /= 1024;
	snprintf(out, CTL_UNIT_TEXT, "%.1f %s", v, units[u]);
}

/* digits[.digits]; no sign, exponent, inf or hex as strtod would take. Returns its length, 0 =
 * none. */
static size_t decimal_length(const char *text)
{
	size_t n = strspn(text, "0123456789");

	if (n == 0)
		return 0;
	if (text[n] == '.') {
		size_t fraction = strspn(text + n + 1, "0123456789");

		return fraction ? n + 1 + fraction : 0;
	}
	return n;
}

static uint64_t unit_ms(const char *unit, uint64_t bare_unit_ms)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

	if (*unit == '\0')
		return bare_unit_ms;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (strcmp(unit, units[i].name) == 0)
			return units[i].ms;
	return 0;
}

enum agi_err ctl_parse_duration(uint64_t *out_ms, const char *text, uint64_t bare_unit_ms,
				uint64_t max_ms, struct agi_why *why)
{
	size_t n = decimal_length(text);
	uint64_t unit = n ? unit_ms(text + n, bare_unit_ms) : 0;
	char most[CTL_UNIT_TEXT];
	double ms;

	if (unit == 0)
		return agi_fail(
		    why, AGI_E_INVALID,
		    "'%.40s' is not a duration: write a number and a unit, ms, s, m, h or d,"
		    " like 500ms or 10s",
		    text);
	ms = strtod(text, NULL) * (double)unit;
	if (!(ms >= 1 && ms <= (double)max_ms)) {
		ctl_format_ms(most, (double)max_ms);
		return agi_fail(why, AGI_E_INVALID, "'%.40s' is outside 1 ms to %s", text, most);
	}
	*out_ms = (uint64_t)llround(ms);
	return AGI_OK;
}

enum agi_err ctl_parse_u32(uint32_t *out, const char *text, uint32_t min, uint32_t max,
			   struct agi_why *why)
{
	size_t n = strspn(text, "0123456789");
	uint64_t v = n > 0 && n <= 10 && text[n] == '\0' ? strtoull(text, NULL, 10) : UINT64_MAX;

	if (v < min || v > max)
		return agi_fail(why, AGI_E_INVALID, "'%.40s' is not a whole number from %u to %u",
				text, (unsigned)min, (unsigned)max);
	*out = (uint32_t)v;
	return AGI_OK;
}

static bool is_host_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_';
}

/* Something that looks like an IPv4 address but is none must not be looked up as a name. */
static bool is_host_name(const char *p, size_t n)
{
	bool has_letter = false;

	if (n == 0 || n > 253 || p[0] == '-' || p[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!is_host_char(p[i]))
			return false;
		has_letter |= (p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'z';
	}
	return has_letter;
}

static enum agi_err parse_name(char out[CTL_TARGET_TEXT], const char *text, size_t n,
			       uint16_t default_port, struct agi_why *why)
{
	const char *colon = memchr(text, ':', n);
	size_t host = colon ? (size_t)(colon - text) : n;
	uint32_t port = default_port;
	char digits[8] = "";

	if (!is_host_name(text, host))
		return agi_fail(
		    why, AGI_E_INVALID,
		    "'%.*s' is not an address: write HOST:PORT, like node1:5000 or [::1]:5000",
		    (int)(n > 80 ? 80 : n), text);
	if (!colon && !default_port)
		return agi_fail(why, AGI_E_INVALID, "'%.*s' has no port: write HOST:PORT",
				(int)(n > 80 ? 80 : n), text);
	if (colon) {
		size_t len = n - host - 1;

		if (len > 0 && len < sizeof digits)
			memcpy(digits, colon + 1, len);
		if (len >= sizeof digits || ctl_parse_u32(&port, digits, 1, 65535, NULL) != AGI_OK)
			return agi_fail(why, AGI_E_INVALID, "'%.*s': the port must be 1 to 65535",
					(int)(n > 80 ? 80 : n), text);
	}
	snprintf(out, CTL_TARGET_TEXT, "%.*s:%u", (int)host, text, (unsigned)port);
	return AGI_OK;
}

static bool has_prefix(const char *text, size_t n, const char *prefix)
{
	return n >= strlen(prefix) && memcmp(text, prefix, strlen(prefix)) == 0;
}

static enum agi_err parse_unix(char out[CTL_TARGET_TEXT], const char *text, size_t n,
			       struct agi_why *why)
{
	enum agi_err e = agi_dial_check((struct agi_str){text, n}, why);

	if (e == AGI_OK)
		snprintf(out, CTL_TARGET_TEXT, "%.*s", (int)n, text);
	return e;
}

enum agi_err ctl_parse_target(char out[CTL_TARGET_TEXT], const char *text, size_t n,
			      uint16_t default_port, struct agi_why *why)
{
	struct agi_addr addr;
	char formatted[AGI_ADDR_TEXT], plain[CTL_TARGET_TEXT];

	if (has_prefix(text, n, "unix:"))
		return parse_unix(out, text, n, why);
	if (has_prefix(text, n, CTL_TLS_PREFIX)) {
		enum agi_err e = ctl_parse_target(plain, text + strlen(CTL_TLS_PREFIX),
						  n - strlen(CTL_TLS_PREFIX), default_port, why);

		if (e == AGI_OK)
			snprintf(out, CTL_TARGET_TEXT, "%s%.*s", CTL_TLS_PREFIX,
				 CTL_TARGET_TEXT - 7, plain);
		return e;
	}
	if (agi_addr_parse(&addr, (struct agi_str){text, n}, default_port, NULL) != AGI_OK)
		return parse_name(out, text, n, default_port, why);
	agi_addr_format(formatted, &addr);
	snprintf(out, CTL_TARGET_TEXT, "%s", formatted);
	return AGI_OK;
}
