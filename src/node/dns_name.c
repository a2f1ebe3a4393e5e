/* SPDX-License-Identifier: Apache-2.0 */
#include "node/dns_name.h"

#include <string.h>

#include "dht/provider.h"

static const char digits[] = "0123456789abcdef";

enum { TEXT_MAX = 255 };

/* Takes tail, and the dot before it, off the end; false: it does not end so. */
static bool cut(char *name, const char *tail)
{
	size_t n = strlen(name), t = strlen(tail);

	if (n < t || memcmp(name + n - t, tail, t) != 0 ||
	    (n > t && (name[n - t - 1] != '.' || n - t < 2)))
		return false;
	name[n > t ? n - t - 1 : 0] = '\0';
	return true;
}

static enum agi_dns_kind read_service(struct agi_dns_name *out, const char *label,
				      enum agi_dns_kind kind)
{
	if (!agi_service_name_is_valid(agi_str_of(label)))
		return AGI_DNS_NOTHING;
	memcpy(out->service, label, strlen(label) + 1);
	return kind;
}

static enum agi_dns_kind read_hex(struct agi_dns_name *out, const char *label)
{
	size_t n = strlen(label);
	uint8_t *ip = out->addr.ip + (n == 8 ? 12 : 0);

	if ((n != 8 && n != 32) || strspn(label, digits) != n)
		return AGI_DNS_NOTHING;
	if (n == 8)
		memcpy(out->addr.ip, (const uint8_t[12]){[10] = 0xff, [11] = 0xff}, 12);
	for (size_t i = 0; i < n / 2; i++)
		ip[i] = (uint8_t)((strchr(digits, label[2 * i]) - digits) << 4 |
				  (strchr(digits, label[2 * i + 1]) - digits));
	return AGI_DNS_ADDRESS;
}

/* rest: what stands before the domain. */
static enum agi_dns_kind read_below(struct agi_dns_name *out, char *rest)
{
	bool is_service;

	if (!*rest)
		return AGI_DNS_APEX;
	if (cut(rest, "addr"))
		return *rest ? read_hex(out, rest) : AGI_DNS_BRANCH;
	is_service = cut(rest, "service");
	if (is_service && !*rest)
		return AGI_DNS_BRANCH;
	if (!cut(rest, "_tcp"))
		return is_service ? read_service(out, rest, AGI_DNS_SERVICE) : AGI_DNS_NOTHING;
	if (!*rest)
		return AGI_DNS_BRANCH;
	return *rest == '_' ? read_service(out, rest + 1, AGI_DNS_SRV_NAME) : AGI_DNS_NOTHING;
}

void agi_dns_name_read(struct agi_dns_name *out, const char *name, const char *domain)
{
	char rest[TEXT_MAX + 1];
	size_t n = strlen(name);

	*out = (struct agi_dns_name){.kind = AGI_DNS_FOREIGN};
	if (n && name[n - 1] == '.')
		n--;
	if (n > TEXT_MAX)
		return;
	for (size_t i = 0; i < n; i++)
		rest[i] =
		    name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] + ('a' - 'A')) : name[i];
	rest[n] = '\0';
	if (cut(rest, domain))
		out->kind = read_below(out, rest);
}

void agi_dns_name_hex(char out[AGI_DNS_HEX], const struct agi_addr *a)
{
	const uint8_t *ip = a->ip + (agi_addr_is_v4(a) ? 12 : 0);
	size_t n = agi_addr_is_v4(a) ? 4 : 16;

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[ip[i] >> 4];
		out[2 * i + 1] = digits[ip[i] & 15];
	}
	out[2 * n] = '\0';
}
