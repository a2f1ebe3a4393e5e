/* SPDX-License-Identifier: Apache-2.0
 * A listening TCP or Unix socket that tells protocols apart by their first bytes (looked at, not
 * consumed): "PRI " HTTP/2 prior knowledge (gRPC), "GET "/"HEAD" plain HTTP, 0x16 TLS, 0x01
 * node-to-node link. Others, and those that send nothing for the sniff timeout, are closed and
 * counted.
 *
 * Behind 0x16 the handshake is made here, within the same time. What ALPN chose is what it is then:
 * "h2" gRPC, "http/1.1" or a client without ALPN plain HTTP. A link has its own encryption and is
 * never inside TLS. */
#ifndef AGI_NET_LISTENER_H
#define AGI_NET_LISTENER_H

#include "net/transport.h"

struct event_base;
struct agi_listener;
struct agi_tls_server;

enum agi_wire { AGI_WIRE_GRPC, AGI_WIRE_HTTP, AGI_WIRE_TLS, AGI_WIRE_LINK, AGI_WIRE_COUNT };

/* Takes the connection (nothing consumed). */
typedef void agi_accept_fn(void *ctx, struct agi_transport *t);

/* Told of each TLS handshake that failed (why is not kept); may be NULL. */
typedef void agi_tls_failed_fn(void *ctx, const struct agi_addr *remote, const struct agi_why *why);

/* gRPC and HTTP without TLS. Links and Unix sockets are not asked. */
enum agi_plaintext { AGI_PLAINTEXT_ALLOW, AGI_PLAINTEXT_LOOPBACK, AGI_PLAINTEXT_REFUSE };

struct agi_listener_cfg {
	struct agi_addr addr;
	const char *unix_path;            /* a Unix socket there instead; NULL = TCP on addr */
	bool is_fed;                      /* nothing is bound: connections come by agi_listener_take */
	/* TCP: sockets are given away as they were accepted, for other loops to agi_listener_take them;
	 * tls and what follows are not looked at. NULL = they stay. */
	void (*on_accept)(void *ctx, int fd, const struct agi_addr *remote);
	const struct agi_tls_server *tls; /* NULL = TLS is not served; outlives the listener */
	enum agi_plaintext plaintext;
	agi_accept_fn *on_wire[AGI_WIRE_COUNT]; /* NULL = that protocol is not served here: closed;
						 * AGI_WIRE_TLS is not looked at */
	agi_tls_failed_fn *on_tls_failed;
	void *tls_failed_ctx;
	void *ctx;
	uint32_t sniff_timeout_ms; /* 0 = AGI_LISTEN_SNIFF_MS */
	uint32_t pending_max;      /* not yet told apart: above it the oldest is closed;
				    * 0 = AGI_LISTEN_PENDING. Of them AGI_TLS_PENDING may be
				    * within a TLS handshake */
};

struct agi_listener_stats {
	uint64_t accepted[AGI_WIRE_COUNT]; /* handed over; those in TLS are counted as TLS too */
	uint64_t unknown;    /* closed: first bytes of no protocol, or of one not served here */
	uint64_t silent;     /* closed: said too little in time, or hung up before */
	uint64_t crowded;    /* closed: pending_max */
	uint64_t plain;      /* closed: TLS is asked for here */
	uint64_t tls_failed; /* closed: TLS handshakes that came to nothing */
	uint64_t pauses;     /* times that descriptors ran out and accepting paused */
};

/* Binds without SO_REUSEPORT (a second daemon on the port must fail). EXISTS when the address is in
 * use, DENIED for a privileged port, INVALID for an address that is not this host's, FULL without
 * descriptors, NOMEM, IO; why names the address. Unix: as agi_unix_listen. */
AGI_MUST_USE enum agi_err agi_listener_new(struct event_base *base,
					   const struct agi_listener_cfg *cfg,
					   struct agi_listener **out, struct agi_why *why);
/* Takes a connected, non-blocking TCP socket as if it had been accepted here. */
void agi_listener_take(struct agi_listener *l, int fd, const struct agi_addr *remote);
/* Also closes what is not yet told apart. NULL is allowed; not from inside on_wire. */
void agi_listener_free(struct agi_listener *l);
/* The bound address (the port when 0 was asked for); zero for a Unix socket. */
const struct agi_addr *agi_listener_addr(const struct agi_listener *l);
void agi_listener_stats(const struct agi_listener *l, struct agi_listener_stats *out);

/* What the first bytes say. AGI_WIRE_COUNT when they are of no protocol; false when more are
 * needed. */
bool agi_wire_of(enum agi_wire *out, struct agi_str first);

#endif
