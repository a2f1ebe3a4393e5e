/* SPDX-License-Identifier: Apache-2.0 */
#include "base/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool agi_addr_eq(const struct agi_addr *a, const struct agi_addr *b)
{
	return a->port == b->port && memcmp(a->ip, b->ip, 16) == 0;
}

bool agi_addr_is_v4(const struct agi_addr *a) { return memcmp(a->ip, v4_prefix, 12) == 0; }

bool agi_addr_is_loopback(const struct agi_addr *a)
{
	static const uint8_t one[16] = {[15] = 1};

	return agi_addr_is_v4(a) ? a->ip[12] == 127 : memcmp(a->ip, one, 16) == 0;
}

static bool parse_port(uint16_t *out, struct agi_str s)
{
	unsigned v = 0;

	if (s.n == 0 || s.n > 5)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (unsigned)(s.p[i] - '0');
	}
	if (v == 0 || v > 65535)
		return false;
	*out = (uint16_t)v;
	return true;
}

/* Splits text into host and port; port.p is NULL when there is none. */
static bool split(struct agi_str text, struct agi_str *host, struct agi_str *port)
{
	const char *colon, *close;

	*port = (struct agi_str){NULL, 0};
	if (text.n && text.p[0] == '[') {
		close = memchr(text.p, ']', text.n);
		if (!close)
			return false;
		*host = (struct agi_str){text.p + 1, (size_t)(close - text.p - 1)};
		close++;
		if (close == text.p + text.n)
			return true;
		if (*close != ':')
			return false;
		*port = (struct agi_str){close + 1, (size_t)(text.p + text.n - close - 1)};
		return true;
	}
	colon = text.n && text.p ? memrchr(text.p, ':', text.n) : NULL;
	if (!colon || memchr(text.p, ':', (size_t)(colon - text.p))) { /* none, or bare IPv6 */
		*host = text;
		return true;
	}
	*host = (struct agi_str){text.p, (size_t)(colon - text.p)};
	*port = (struct agi_str){colon + 1, (size_t)(text.p + text.n - colon - 1)};
	return true;
}

enum agi_err agi_addr_parse(struct agi_addr *out, struct agi_str text, uint16_t default_port,
                            struct agi_why *why)
{
	struct agi_addr a = {.port = default_port};
	struct agi_str host, port;
	char z[INET6_ADDRSTRLEN];

	if (!split(text, &host, &port) || host.n == 0 || host.n >= sizeof z)
		goto bad;
	memcpy(z, host.p, host.n);
	z[host.n] = '\0';
	if (memchr(z, '\0', host.n))
		goto bad;
	if (inet_pton(AF_INET, z, a.ip + 12) == 1)
		memcpy(a.ip, v4_prefix, 12);
	else if (inet_pton(AF_INET6, z, a.ip) != 1)
		goto bad;
	if (port.p && !parse_port(&a.port, port))
		return agi_fail(why, AGI_E_INVALID, "address \"%.*s\": the port must be 1..65535",
		                AGI_STR_ARG(text));
	if (a.port == 0)
		return agi_fail(why, AGI_E_INVALID, "address \"%.*s\": a port is needed, as in 10.0.0.5:5000",
		                AGI_STR_ARG(text));
	*out = a;
	return AGI_OK;
bad:
	return agi_fail(why, AGI_E_INVALID,
	                "address \"%.*s\": expected IP:PORT, as in 10.0.0.5:5000 or [fd00::5]:5000",
	                (int)(text.n < 100 ? text.n : 100), text.p ? text.p : "");
}

void agi_addr_format_ip(char out[AGI_ADDR_TEXT], const struct agi_addr *a)
{
	if (agi_addr_is_v4(a))
		inet_ntop(AF_INET, a->ip + 12, out, AGI_ADDR_TEXT);
	else
		inet_ntop(AF_INET6, a->ip, out, AGI_ADDR_TEXT);
}

void agi_addr_format(char out[AGI_ADDR_TEXT], const struct agi_addr *a)
{
	char ip[AGI_ADDR_TEXT];

	agi_addr_format_ip(ip, a);
	snprintf(out, AGI_ADDR_TEXT, agi_addr_is_v4(a) ? "%.46s:%u" : "[%.46s]:%u", ip,
	         (unsigned)a->port);
}
