/* SPDX-License-Identifier: Apache-2.0
 * One connected stream of bytes, non-blocking: a TCP or Unix socket, or TLS on one (net/tls.h).
 * What gRPC and HTTP read from and write to, and who is at the other end.
 *
 * A transport owns its socket and has no events of its own: whoever uses it waits on
 * agi_transport_fd. Two things that a plain socket does not have follow from TLS: bytes may be here
 * although the socket is silent (agi_transport_pending), and reading may have to wait until the
 * socket can be written (agi_transport_wants_write). Not tied to a thread; used by one at a time.
 */
#ifndef AGI_NET_TRANSPORT_H
#define AGI_NET_TRANSPORT_H

#include <sys/types.h>

#include "base/addr.h"

struct agi_transport;

enum {
	AGI_PEER_NAMES_MAX = 32 /* of one certificate; further ones are not looked at */
};

struct agi_transport_peer {
	struct agi_addr addr; /* where it connects from; zero for a Unix socket */
	bool is_unix;
	uid_t uid; /* Unix: of the process that connected (SO_PEERCRED) */
	bool is_tls;
	/* TLS, a client certificate that was verified: its common name and subject alternative
	 * names (DNS, mail, URI). Terminated, owned by the transport, none holds NUL. */
	bool has_cert;
	char *names[AGI_PEER_NAMES_MAX];
	size_t n_names;
};

/* Behind a transport; a constructor sets all of them. Errors are in errno. */
struct agi_transport_ops {
	ssize_t (*read)(struct agi_transport *t, void *to, size_t n);
	ssize_t (*write)(struct agi_transport *t, const void *p, size_t n);
	size_t (*pending)(const struct agi_transport *t);    /* NULL: never any */
	const char *(*error)(const struct agi_transport *t); /* NULL: errno says it */
	void (*shutdown)(struct agi_transport *t);
	void (*free)(struct agi_transport *t); /* all but the socket */
};

struct agi_transport { /* private to the modules that make transports */
	const struct agi_transport_ops *ops;
	int fd;
	bool wants_write;
	struct agi_transport_peer peer;
};

/* A connected, non-blocking TCP socket; NULL when out of memory (fd is closed then). */
AGI_MUST_USE struct agi_transport *agi_transport_tcp(int fd, const struct agi_addr *remote);
/* A connected, non-blocking Unix socket; NULL when out of memory or the peer cannot be told (fd is
 * closed then). */
AGI_MUST_USE struct agi_transport *agi_transport_unix(int fd);

/* Bytes read; 0 at the end; -1 with errno (EAGAIN: nothing now). Fewer bytes than asked for: that
 * was all for now, the socket will tell when there are more. */
ssize_t agi_transport_read(struct agi_transport *t, void *to, size_t n);
/* Bytes taken, at least 1; -1 with errno (EAGAIN: the socket is full; what is written after it must
 * begin with the same n bytes). Never raises SIGPIPE. */
ssize_t agi_transport_write(struct agi_transport *t, const void *p, size_t n);
/* Bytes that are here already, of which the socket will not tell; reading so many does not touch
 * the socket. At most 16 KiB, a TLS record. Also an end that has come, as 1. */
static inline size_t agi_transport_pending(const struct agi_transport *t)
{
	return t->ops->pending ? t->ops->pending(t) : 0;
}
/* After a read or write that failed: what the peer or TLS says about it; NULL when that is nothing. */
const char *agi_transport_reason(const struct agi_transport *t);
/* The same, else what errno says. */
const char *agi_transport_error(const struct agi_transport *t);
/* The last read had to stop because the socket is full: read again when it can be written. */
static inline bool agi_transport_wants_write(const struct agi_transport *t)
{
	return t->wants_write;
}
/* Nothing more will be written; reading goes on. */
void agi_transport_shutdown(struct agi_transport *t);
/* NULL is allowed. */
void agi_transport_close(struct agi_transport *t);

static inline int agi_transport_fd(const struct agi_transport *t) { return t->fd; }
static inline const struct agi_transport_peer *agi_transport_peer(const struct agi_transport *t)
{
	return &t->peer;
}
/* The plain socket itself, the caller's from here on; t is freed. Not of TLS (-1, t is closed). */
int agi_transport_release(struct agi_transport *t, struct agi_addr *remote);

#endif
