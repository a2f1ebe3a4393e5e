/* SPDX-License-Identifier: Apache-2.0
 * The services of AGI-HPC on the overlay port of every node, whatever roles it runs: a call of a service
 * whose role does not run here is handed on to the nearest healthy instance of that role, one of this
 * overlay's nodes or a process that was registered under the role's name.
 *
 * Handed on unchanged: the request's bytes (never decoded here), the metadata, what is left of the
 * deadline, a cancellation. Handed back unchanged: status, text, the answer's bytes, metadata, details.
 *
 * An instance that speaks TLS (AGI_PROVIDER_TLS) is called so. The header "authorization" goes along where it
 * is needed and as safe as it was: to a role of a node that checks tokens itself (AGI_PROVIDER_TOKENS), when
 * this node checks them too, and never over the network in clear unless clients may send it so here.
 *
 * Bounds: a text of 1024 bytes, 16 headers and 16 trailers, answers of answer_bytes_max.
 *
 *   call ──► FINDING ──instances──► ASKING ──answer──► over
 *               │                     │  ▲
 *               │                     └──┘ the instance cannot be connected to: the next nearest one
 *               └── none known / forwarding is off / forwarded before ──► UNAVAILABLE
 *
 * An answer that is a stream (EventService/Subscribe) comes back message by message, as fast as the client reads.
 *
 * A call is only made elsewhere while no instance has seen it. What fails stays an error: no answer is ever
 * made up here, so a safety call that nobody answers is one that was not allowed.
 *
 * PreActionSafetyService is not in the table: every node decides it itself, by quorum (safety_plane.h).
 *
 * One event loop. Life: _new → _serve on each server → _free after those servers and after whoever
 * implements find. */
#ifndef AGI_NODE_SVC_FORWARD_H
#define AGI_NODE_SVC_FORWARD_H

#include "dht/dht.h"
#include "net/grpc.h"

struct event_base;
struct agi_forward;
struct agi_tls_client;

enum {
	AGI_FORWARD_CALLS_MAX = 512,         /* in progress; more are refused with RESOURCE_EXHAUSTED */
	AGI_FORWARD_STREAMS_MAX = 256,       /* of those, which may last for as long as their clients listen */
	AGI_FORWARD_TRIES = 3,               /* instances tried for one call */
	AGI_FORWARD_MAX_MS = 600000,         /* a call without a deadline ends then; not a stream */
	AGI_FORWARD_FIND_MS = 2000           /* of a call's time, to find instances */
};
/* A call with this header was handed on already; it is not handed on again. */
#define AGI_FORWARD_HEADER "agihpc-forwarded"

/* The role of the deployment guide that serves a gRPC service ("agi.plan.v1.PlanService": "lh-planner");
 * NULL for services that are not handed on. */
const char *agi_forward_role_of(const char *service);
/* i-th role that calls may be handed on to, each once; NULL past the end. */
const char *agi_forward_role_at(size_t i);

/* n == 0: none is known. Borrowed. */
typedef void agi_forward_found_fn(void *arg, const struct agi_instance *instances, size_t n);

struct agi_forward_cfg {
	struct event_base *base;
	uint32_t answer_bytes_max; /* a longer answer is RESOURCE_EXHAUSTED */
	bool is_on; /* node.forward; otherwise calls are told where to go */
	/* This node checks tokens: they are shown to roles of nodes that do so too, not to services, as
	 * whoever may register one could collect them. */
	bool checks_tokens;
	bool takes_clear_tokens; /* clients of other hosts may send them here without TLS */
	/* For instances with TLS; may be NULL or give NULL: the system's authorities are trusted. */
	const struct agi_tls_client *(*tls)(void *ctx);
	/* Healthy instances of a role, nearest first. fn is called exactly once, before or after return,
	 * within timeout_ms; not after find's owner has gone. */
	void (*find)(void *ctx, struct agi_str role, uint32_t timeout_ms, agi_forward_found_fn *fn,
	             void *arg);
	/* Whether this role runs here: its services are then left to others to add. */
	bool (*runs_here)(void *ctx, const char *role);
	void *ctx;
};
/* NOMEM. */
AGI_MUST_USE enum agi_err agi_forward_new(const struct agi_forward_cfg *cfg, struct agi_forward **out);
/* Adds every service of the table whose role does not run here. */
AGI_MUST_USE enum agi_err agi_forward_serve(struct agi_forward *f, struct agi_grpc_server *server);
/* Calls in progress. */
uint32_t agi_forward_count(const struct agi_forward *f);
/* NULL is allowed. */
void agi_forward_free(struct agi_forward *f);

#endif
