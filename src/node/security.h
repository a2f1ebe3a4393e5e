/* SPDX-License-Identifier: Apache-2.0
 * The node's certificates, tokens and what follows from them, for every listener and gRPC server:
 * files are read at start, looked at again every AGI_SECURITY_LOOK_MS and on SIGHUP; what cannot be
 * used is logged and the old stays in force. */
#ifndef AGI_NODE_SECURITY_H
#define AGI_NODE_SECURITY_H

#include "config/config.h"
#include "net/grpc.h"
#include "net/listener.h"

struct agi_log;
struct agi_security;
struct agi_tls_client;

enum {
	AGI_SECURITY_LOOK_MS = 2000,
	AGI_SECURITY_EXPIRY_WARN_S = 14 * 86400 /* a certificate that expires sooner is warned of */
};

/* INVALID, DENIED, IO, ... + why that names the key and the file. config and log outlive it. */
AGI_MUST_USE enum agi_err agi_security_new(const struct agi_config *config, struct agi_log *log,
					   struct agi_security **out, struct agi_why *why);
/* Another loop has one of the same configuration, which looks at the files and logs what it reads again. Of this one
 * only _reload is called, when that one's _tick or _reload has read something. */
void agi_security_follow(struct agi_security *s);
/* After the listeners and servers it was given to. NULL is allowed. */
void agi_security_free(struct agi_security *s);

/* What a listener of this node needs: TLS and the rule for plain text. */
void agi_security_fill(struct agi_security *s, struct agi_listener_cfg *cfg);
/* From now on server asks who may call what. */
void agi_security_guard(struct agi_security *s, struct agi_grpc_server *server);
/* The same for a question that is no call: OK, UNAUTHENTICATED or PERMISSION_DENIED + why. peer NULL: not
 * known, only the token counts. what: its name in why. */
enum agi_grpc_status agi_security_check(struct agi_security *s, const struct agi_transport_peer *peer,
					struct agi_str authorization, unsigned needs,
					const char *what, struct agi_why *why);
/* What others have to know of the ports of this node's roles: of agi_provider_trait. */
uint32_t agi_security_role_traits(const struct agi_security *s);
/* Whether clients of other hosts may speak without TLS to this node. */
bool agi_security_takes_clear(const struct agi_security *s);
/* With what this node calls others over TLS: whom it trusts, what it shows. Made at start when the
 * configuration has keys for it, else when first asked for. Stays the same pointer until _free, while
 * the files behind it are read again; NULL: out of memory. */
const struct agi_tls_client *agi_security_dialer(struct agi_security *s);
/* The token shown at gateway.erisml_address; NULL: none. Valid until the next tick or reload. */
const char *agi_security_erisml_token(const struct agi_security *s);
/* Call often: looks at the files when it is time. Whether something was read again. */
bool agi_security_tick(struct agi_security *s, uint64_t now_us);
/* Reads everything again now. */
void agi_security_reload(struct agi_security *s);
/* i-th thing an operator should know; NULL past the end. Valid until the next call. */
const char *agi_security_warning(struct agi_security *s, size_t i);
/* Logs those warnings. */
void agi_security_tell(struct agi_security *s);

#endif
