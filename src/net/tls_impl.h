/* SPDX-License-Identifier: Apache-2.0
 * Inside of TLS, included by nobody else: tls_files.c (contexts out of files) and tls.c
 * (connections). */
#ifndef AGI_NET_TLS_IMPL_H
#define AGI_NET_TLS_IMPL_H

#include <openssl/ssl.h>

#include "net/tls.h"

/* What a context is made of, and how the files looked when they were last seen. */
struct agi_tls_files {
	char *ca, *cert, *key; /* paths; "" = none */
	struct agi_tls_stamp { /* of each; all zeros when it is not there */
		uint64_t device, inode, size;
		int64_t mtime_s, mtime_ns;
	} stamps[3];
};

struct agi_tls_server {
	SSL_CTX *ctx;
	struct agi_tls_files files; /* ca: of clients */
	bool require_client_cert;
};

struct agi_tls_client {
	SSL_CTX *ctx;
	struct agi_tls_files files; /* ca: of servers; "" = the system's */
	char *server_name;          /* "" = the dialled host */
};

/* Why OpenSSL's last call failed, for people; its error queue is empty afterwards. */
void agi_tls_reason(char *out, size_t n);

#endif
