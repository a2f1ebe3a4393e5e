/* SPDX-License-Identifier: Apache-2.0
 * Questions about this host's own addresses. */
#ifndef AGI_NODE_NETIF_H
#define AGI_NODE_NETIF_H

#include "base/addr.h"

/* 0.0.0.0 or :: */
bool agi_ip_is_wildcard(const struct agi_addr *a);
/* An address of one of this host's interfaces (any 127.x.y.z is). Ports are ignored. */
bool agi_ip_is_local(const struct agi_addr *a);
/* The address this host sends from when it talks to a; nothing is sent. UNREACHABLE without a route. */
AGI_MUST_USE enum agi_err agi_ip_towards(struct agi_addr *out, const struct agi_addr *a);
/* Some address others may reach: of the first interface that is up and not loopback, IPv4 first; else
 * 127.0.0.1. */
void agi_ip_of_host(struct agi_addr *out);

#endif
