/* SPDX-License-Identifier: Apache-2.0
 * The listeners of this node's roles: each role has its port of the guide, a gRPC server of its own with the
 * role's services and grpc.health.v1, and /metrics and /healthz beside them. */
#ifndef AGI_NODE_ROLE_HOST_H
#define AGI_NODE_ROLE_HOST_H

#include "config/config.h"
#include "net/grpc_far.h"

struct event_base;
struct agi_role_host;
struct agi_security;
struct agi_transport;

struct agi_role_def {
	const char *name;            /* "erisml" */
	uint16_t port;               /* default */
	const char *const *services; /* full gRPC names, for Health */
	size_t n_services;
	bool follows_stop; /* judges plans or actions: not offered while the emergency stop's state cannot be read */
	bool is_awaited;   /* without it checks are blocked: looked for at every start */
};
/* The roles this version knows; NULL for other names. */
const struct agi_role_def *agi_role_def_of(const char *name);
/* i-th, NULL past the end. */
const struct agi_role_def *agi_role_def_at(size_t i);

struct agi_role_hooks {
	/* Adds the role's services to its server. */
	enum agi_err (*add)(void *ctx, const struct agi_role_def *role, struct agi_grpc_server *server);
	bool (*is_serving)(void *ctx, const struct agi_role_def *role);
	void *ctx;
	const struct agi_grpc_server_cfg *grpc; /* of the role's server */
	/* GET on the role's port, over HTTP/1.1 (what answers lives on another loop); NULL = not served. */
	void (*take_http)(void *ctx, struct agi_transport *t);
	struct agi_grpc_far_cfg get; /* the same over HTTP/2; near is set here; far NULL = not served */
	struct agi_security *security;      /* who may call what; NULL: everybody */
	agi_grpc_observe_fn *observe;       /* may be NULL */
	void *observe_ctx;
};
/* All on the thread of base, but what only reads (_def, _addr) and what comes before it runs.
 *
 * Binds the role's port on ip, with TLS as security (may be NULL) has it. EXISTS + why when it is in use.
 * Connections wait until _serve. */
AGI_MUST_USE enum agi_err agi_role_host_new(struct event_base *base, const struct agi_role_def *role,
                                            const struct agi_addr *ip, uint16_t port,
                                            struct agi_security *security,
                                            struct agi_role_host **out, struct agi_why *why);
AGI_MUST_USE enum agi_err agi_role_host_serve(struct agi_role_host *h,
                                              const struct agi_role_hooks *hooks,
                                              struct agi_why *why);
/* No new connections; open calls may end. */
void agi_role_host_drain(struct agi_role_host *h);
/* NULL is allowed. */
void agi_role_host_free(struct agi_role_host *h);
const struct agi_role_def *agi_role_host_def(const struct agi_role_host *h);
const struct agi_addr *agi_role_host_addr(const struct agi_role_host *h);

#endif
