/* SPDX-License-Identifier: Apache-2.0
 * TLS (OpenSSL) behind a transport: certificates for listeners and for dialling, and the handshake.
 *
 * TLS 1.2 with forward-secret AEAD suites, and 1.3. No renegotiation, compression or resumption:
 * connections live long, and a client must prove anew what it is after certificates have changed.
 * ALPN chooses between "h2" and "http/1.1"; a client that offers others only is refused.
 *
 * The files may change at any time: agi_tls_server_reload takes the new ones for connections that
 * come later; those that are up stay as they are. Contexts are used on one thread; their transports
 * may be on others. */
#ifndef AGI_NET_TLS_H
#define AGI_NET_TLS_H

#include "net/transport.h"

struct agi_tls_server;
struct agi_tls_client;

enum {
	AGI_TLS_PATH_MAX = 1024, /* bytes of a file's name, terminator included */
	AGI_TLS_CHAIN_BYTES_MAX =
	    32 << 10 /* of a peer's certificates: a chain of five with large keys */
};

/* --- listeners
 * -------------------------------------------------------------------------------------------- */
struct agi_tls_server_cfg {
	const char *cert_file,
	    *key_file; /* PEM: the certificate, then what it was signed with; its key */
	const char *client_ca_file; /* PEM: who signs clients' certificates; NULL or "": none is
				       asked for */
	bool require_client_cert;   /* needs client_ca_file */
};

/* INVALID + why: a file that cannot be read or parsed, a key that is not the certificate's, a
 * certificate that has expired or is not valid yet; the text names the file. NOMEM. */
AGI_MUST_USE enum agi_err agi_tls_server_new(const struct agi_tls_server_cfg *cfg,
					     struct agi_tls_server **out, struct agi_why *why);
/* NULL is allowed. Connections go on. */
void agi_tls_server_free(struct agi_tls_server *s);
/* True once for each change of the files since they were last read (or tried). Costs some stat
 * calls. */
bool agi_tls_server_has_changed(struct agi_tls_server *s);
/* Reads the files again. On error, as of agi_tls_server_new, the old ones stay in use. */
AGI_MUST_USE enum agi_err agi_tls_server_reload(struct agi_tls_server *s, struct agi_why *why);
/* Unix time at which the certificate in use expires. */
int64_t agi_tls_server_expires_s(const struct agi_tls_server *s);

/* --- clients
 * ---------------------------------------------------------------------------------------------- */
struct agi_tls_client_cfg { /* each NULL or "" = not given */
	const char
	    *ca_file; /* PEM: who may sign the server's certificate; not given: the system's list */
	const char *cert_file, *key_file; /* PEM: both or neither */
	const char
	    *server_name; /* expected in the certificate; not given: the host that was dialled */
};
/* INVALID + why, NOMEM, as agi_tls_server_new. */
AGI_MUST_USE enum agi_err agi_tls_client_new(const struct agi_tls_client_cfg *cfg,
					     struct agi_tls_client **out, struct agi_why *why);
/* NULL is allowed. Connections go on. */
void agi_tls_client_free(struct agi_tls_client *c);
/* As of the server, for connections that are made from now on. */
bool agi_tls_client_has_changed(struct agi_tls_client *c);
AGI_MUST_USE enum agi_err agi_tls_client_reload(struct agi_tls_client *c, struct agi_why *why);

/* --- one connection
 * ------------------------------------------------------------------------------------------ */
/* Takes the plain transport (also on error, NULL: out of memory). The handshake comes first;
 * nothing may be read or written before it is done. */
AGI_MUST_USE struct agi_transport *agi_tls_accept(const struct agi_tls_server *s,
						  struct agi_transport *plain);
/* host: as dialled, a name or an address. protocol: what ALPN offers, "h2" or "http/1.1". */
AGI_MUST_USE struct agi_transport *agi_tls_connect(const struct agi_tls_client *c, const char *host,
						   const char *protocol,
						   struct agi_transport *plain);

enum agi_tls_step { AGI_TLS_DONE, AGI_TLS_WANTS_READ, AGI_TLS_WANTS_WRITE, AGI_TLS_FAILED };
/* Goes on with the handshake; call again when the socket is as wanted. FAILED + why: what the peer
 * or its certificate lacks. After DONE the transport's peer is filled. */
enum agi_tls_step agi_tls_handshake(struct agi_transport *t, struct agi_why *why);
/* After DONE: what ALPN chose, "h2" or "http/1.1"; "" when the peer does not know ALPN. */
const char *agi_tls_protocol(const struct agi_transport *t);

#endif
