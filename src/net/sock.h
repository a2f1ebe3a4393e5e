/* SPDX-License-Identifier: Apache-2.0
 * Socket addresses and socket options, said once for all of net. */
#ifndef AGI_NET_SOCK_H
#define AGI_NET_SOCK_H

#include <sys/socket.h>

#include "base/addr.h"

/* IPv4-mapped addresses become AF_INET (an IPv6 socket may be refused by the host), others
 * AF_INET6. Returns the length to pass on. */
socklen_t agi_sock_of_addr(struct sockaddr_storage *out, const struct agi_addr *a);
/* INVALID for a family other than AF_INET and AF_INET6. */
AGI_MUST_USE enum agi_err agi_addr_of_sock(struct agi_addr *out, const struct sockaddr *sa);
/* A non-blocking, close-on-exec TCP socket of the address's family; -1 + errno. */
int agi_sock_tcp(const struct agi_addr *a);
/* TCP_NODELAY: messages are coalesced by us, once per turn of the loop; the kernel must not wait
 * for more. Failure is harmless and ignored (socket pairs have no such option). */
void agi_sock_no_delay(int fd);

#endif
