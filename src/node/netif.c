/* SPDX-License-Identifier: Apache-2.0 */
#include "node/netif.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

bool agi_ip_is_wildcard(const struct agi_addr *a)
{
	static const uint8_t zero[16];

	return agi_addr_is_v4(a) ? memcmp(a->ip + 12, zero, 4) == 0 : memcmp(a->ip, zero, 16) == 0;
}

static bool ip_of(struct agi_addr *out, const struct sockaddr *sa)
{
	if (sa && sa->sa_family == AF_INET) {
		memcpy(out->ip, v4_prefix, 12);
		memcpy(out->ip + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
		return true;
	}
	if (sa && sa->sa_family == AF_INET6) {
		memcpy(out->ip, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
		return true;
	}
	return false;
}

bool agi_ip_is_local(const struct agi_addr *a)
{
	struct ifaddrs *list, *i;
	struct agi_addr own;
	bool is_local = agi_addr_is_loopback(a);

	if (is_local || getifaddrs(&list))
		return is_local;
	for (i = list; i && !is_local; i = i->ifa_next)
		is_local = ip_of(&own, i->ifa_addr) && memcmp(own.ip, a->ip, 16) == 0;
	freeifaddrs(list);
	return is_local;
}

enum agi_err agi_ip_towards(struct agi_addr *out, const struct agi_addr *a)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(a->port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};
	struct sockaddr_storage own;
	socklen_t n = sizeof own;
	bool is_v4 = agi_addr_is_v4(a), is_known;
	int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return AGI_E_UNREACHABLE;
	memcpy(&v4.sin_addr, a->ip + 12, 4);
	memcpy(&v6.sin6_addr, a->ip, 16);
	is_known = connect(fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
	                   is_v4 ? sizeof v4 : sizeof v6) == 0 &&
	           getsockname(fd, (struct sockaddr *)&own, &n) == 0 &&
	           ip_of(out, (struct sockaddr *)&own);
	close(fd);
	return is_known ? AGI_OK : AGI_E_UNREACHABLE;
}

static bool is_link_local(const struct agi_addr *a)
{
	return agi_addr_is_v4(a) ? a->ip[12] == 169 && a->ip[13] == 254
	                         : a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

void agi_ip_of_host(struct agi_addr *out)
{
	static const uint8_t loopback[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
	struct ifaddrs *list = NULL, *i;
	struct agi_addr a;
	bool has_v6 = false;

	memcpy(out->ip, loopback, 16);
	if (getifaddrs(&list))
		return;
	for (i = list; i; i = i->ifa_next) {
		if (!(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK) || !ip_of(&a, i->ifa_addr) ||
		    is_link_local(&a))
			continue;
		if (agi_addr_is_v4(&a)) {
			memcpy(out->ip, a.ip, 16);
			break;
		}
		if (!has_v6)
			memcpy(out->ip, a.ip, 16);
		has_v6 = true;
	}
	freeifaddrs(list);
}
