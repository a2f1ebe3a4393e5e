/* SPDX-License-Identifier: Apache-2.0
 * Inside of svc_forward: the table of services (svc_forward_table.c), calls until an instance is asked
 * (svc_forward.c), what is asked and handed back (svc_forward_relay.c). */
#ifndef AGI_NODE_SVC_FORWARD_IMPL_H
#define AGI_NODE_SVC_FORWARD_IMPL_H

#include <sys/queue.h>

#include "base/limits.h"
#include "net/channel_pool.h"
#include "node/svc_forward.h"

struct agi_forward_service {
	const ProtobufCServiceDescriptor *desc;
	const char *role;
	const char *stream; /* the method that is answered by a stream; NULL: none is */
};
/* i-th; NULL past the end. */
const struct agi_forward_service *agi_forward_service_at(size_t i);

enum { AGI_FORWARD_SERVICES_MAX = 24, AGI_FORWARD_METHODS_MAX = 8, AGI_FORWARD_PATH_MAX = 160 };
#define AGI_FORWARD_TLS_PREFIX "tls://"

/* An instance that may be asked. */
struct agi_forward_target {
	char text[sizeof AGI_FORWARD_TLS_PREFIX + AGI_ADDRESS_MAX];
	const char *address;   /* host:port, within it */
	const char *keeps_why; /* why the header "authorization" does not go there; NULL: it does */
};

struct agi_forwarded {
	struct agi_forward *f;
	const char *role;
	struct agi_grpc_call *call; /* NULL: the client has gone, only the answer is waited for */
	bool is_stream;
	bool is_finding;
	bool is_token_kept;   /* the instance that is asked was not shown the client's */
	bool has_headers;     /* of a stream: given to the client */
	bool is_held;         /* of a stream: a message waits until the client has read more */
	struct agi_str held;
	char path[AGI_FORWARD_PATH_MAX];
	struct agi_forward_target targets[AGI_FORWARD_TRIES];
	size_t n_targets, at; /* at: the next one */
	struct agi_pooled *channel; /* while out is open */
	struct agi_grpc_client_call *out;
	LIST_ENTRY(agi_forwarded) link;
};

struct agi_forward_route {
	struct agi_forward *f;
	const char *role;
	struct agi_grpc_method methods[AGI_FORWARD_METHODS_MAX];
};

struct agi_forward {
	struct agi_forward_cfg cfg;
	struct agi_channel_pool *pool;
	struct agi_forward_route routes[AGI_FORWARD_SERVICES_MAX];
	LIST_HEAD(, agi_forwarded) open;
	uint32_t n_open, n_streams;
};

/* --- svc_forward.c --------------------------------------------------------------------------------------- */
void agi_forwarded_forget(struct agi_forwarded *c);
/* Asks the next instance, or ends the call when there is none left. failed: what was wrong with the one before. */
void agi_forwarded_ask_next(struct agi_forwarded *c, const char *failed);

/* --- svc_forward_relay.c --------------------------------------------------------------------------------- */
/* Calls t; what comes of it ends c, or goes on with agi_forwarded_ask_next. On error + why nothing follows. */
AGI_MUST_USE enum agi_err agi_forwarded_ask(struct agi_forwarded *c, const struct agi_forward_target *t,
                                            struct agi_why *why);
/* The client has gone: out is cancelled when there is one. */
void agi_forwarded_stop(struct agi_forwarded *c);
/* To be set on a call that is answered by a stream, with c. */
extern const struct agi_grpc_stream_ops agi_forwarded_stream_ops;

#endif
