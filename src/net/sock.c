/* SPDX-License-Identifier: Apache-2.0 */
#include "net/sock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

socklen_t agi_sock_of_addr(struct sockaddr_storage *out, const struct agi_addr *a)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof *out);
	if (agi_addr_is_v4(a)) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(a->port);
		memcpy(&v4->sin_addr, a->ip + 12, 4);
		return sizeof *v4;
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(a->port);
	memcpy(&v6->sin6_addr, a->ip, 16);
	return sizeof *v6;
}

enum agi_err agi_addr_of_sock(struct agi_addr *out, const struct sockaddr *sa)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)sa;

	if (sa->sa_family == AF_INET) {
		memcpy(out->ip, v4_prefix, sizeof v4_prefix);
		memcpy(out->ip + 12, &v4->sin_addr, 4);
		out->port = ntohs(v4->sin_port);
		return AGI_OK;
	}
	if (sa->sa_family == AF_INET6) {
		memcpy(out->ip, &v6->sin6_addr, 16);
		out->port = ntohs(v6->sin6_port);
		return AGI_OK;
	}
	return AGI_E_INVALID;
}

int agi_sock_tcp(const struct agi_addr *a)
{
	int family = agi_addr_is_v4(a) ? AF_INET : AF_INET6;

	return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
}

void agi_sock_no_delay(int fd)
{
	int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}
