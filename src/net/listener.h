/* SPDX-License-Identifier: Apache-2.0
 * A listening TCP socket that tells protocols apart by their first bytes (looked at, not consumed):
 * "PRI " HTTP/2 prior knowledge (gRPC), "GET "/"HEAD" plain HTTP, 0x16 TLS, 0x01 node-to-node link.
 * A connection that sends nothing for the sniff timeout, or anything else, is closed and counted. */
#ifndef AGI_NET_LISTENER_H
#define AGI_NET_LISTENER_H

#include "base/addr.h"

struct event_base;
struct agi_listener;

enum agi_wire { AGI_WIRE_GRPC, AGI_WIRE_HTTP, AGI_WIRE_TLS, AGI_WIRE_LINK, AGI_WIRE_COUNT };

/* Takes the fd (non-blocking, nothing consumed). */
typedef void agi_accept_fn(void *ctx, int fd, const struct agi_addr *remote);

struct agi_listener_cfg {
	struct agi_addr addr;
	agi_accept_fn *on_wire[AGI_WIRE_COUNT]; /* NULL = that protocol is not served here: closed */
	void *ctx;
	uint32_t sniff_timeout_ms;              /* 0 = 10000 */
	uint32_t pending_max;                   /* connections not yet told apart; 0 = 1024 */
};

/* Binds without SO_REUSEPORT (a second daemon on the port must fail): EXISTS when the address is in use,
 * with the address in why. */
AGI_MUST_USE enum agi_err agi_listener_new(struct event_base *base, const struct agi_listener_cfg *cfg,
                                           struct agi_listener **out, struct agi_why *why);
void agi_listener_free(struct agi_listener *l);
/* The bound address (the port when 0 was asked for). */
const struct agi_addr *agi_listener_addr(const struct agi_listener *l);

#endif
