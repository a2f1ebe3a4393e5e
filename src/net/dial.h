/* SPDX-License-Identifier: Apache-2.0
 * Connecting to "host:port", "tls://host:port" or "unix:/path": resolves the name without blocking
 * the loop (libevent's evdns: /etc/hosts, then the name servers of /etc/resolv.conf), tries its
 * addresses one after the other, and gives a connection, all within one time limit. */
#ifndef AGI_NET_DIAL_H
#define AGI_NET_DIAL_H

#include "net/transport.h"

struct event_base;
struct agi_dial;
struct agi_tls_client;

enum { AGI_DIAL_ADDRESSES_MAX = 8 /* addresses of a name that are tried */ };

/* t: the caller's from here on; NULL on failure, with why ("127.0.0.1:50060: Connection refused").
 */
typedef void agi_dial_fn(void *arg, struct agi_transport *t, const struct agi_why *why);

/* INVALID + why unless target is HOST:PORT or tls://HOST:PORT, with a name, an IPv4 address or
 * [IPv6], or unix:PATH with an absolute path. */
AGI_MUST_USE enum agi_err agi_dial_check(struct agi_str target, struct agi_why *why);
bool agi_dial_is_tls(struct agi_str target);
/* Calls fn exactly once, never before return; the dial is gone then. INVALID, NOMEM: nothing
 * follows. tls is for a target with TLS, must outlive the dial, and may be NULL for others. */
AGI_MUST_USE enum agi_err agi_dial_start(struct event_base *base, struct agi_str target,
					 const struct agi_tls_client *tls, uint32_t timeout_ms,
					 agi_dial_fn *fn, void *arg, struct agi_dial **out,
					 struct agi_why *why);
/* For TLS, right after _start: HTTP/1.1 will be spoken on the connection, not HTTP/2. */
void agi_dial_speak_http(struct agi_dial *d);
/* fn will not be called. NULL is allowed. */
void agi_dial_cancel(struct agi_dial *d);

#endif
