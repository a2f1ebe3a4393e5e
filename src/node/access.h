/* SPDX-License-Identifier: Apache-2.0
 * Who may call what. One table (access.c) says which scope each method of each service needs; what
 * is not in the table needs admin. Scopes come from the Unix socket, of the node's own user or
 * root: all; a client certificate with a name of tls.admin_names: all; a bearer token of
 * auth.tokens_file: those of its line; nothing, when there is no tokens file: read, write and
 * safety.
 *
 * A call that another node hands on (AGI_FORWARD_HEADER) comes with that node's certificate, which
 * says nothing of the client: only its token counts. The header can take rights away, never give
 * any, so it does not matter who sends it. */
#ifndef AGI_NODE_ACCESS_H
#define AGI_NODE_ACCESS_H

#include "config/config.h"
#include "net/transport.h"
#include "node/tokens.h"

struct agi_access {
	const struct agi_tokens *tokens; /* NULL: no tokens file */
	const struct agi_config_list *admin_names;
	bool is_forwarded;            /* the call at hand was handed on */
};

/* i-th row of the table, NULL past the end; *method: of that service. */
const char *agi_access_row(size_t i, const char **method);
/* 0: everybody may. */
unsigned agi_access_needed(const char *service, const char *method);
/* authorization: the header's value, {NULL, 0} without one; needed: of agi_access_needed for
 * method. OK, UNAUTHENTICATED or PERMISSION_DENIED + why, which names the scope that is missing and
 * where it may come from. */
enum agi_grpc_status agi_access_check(const struct agi_access *a,
				      const struct agi_transport_peer *peer,
				      struct agi_str authorization, unsigned needed,
				      const char *method, struct agi_why *why);

#endif
