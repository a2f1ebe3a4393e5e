/* SPDX-License-Identifier: Apache-2.0
 * gRPC channels by target, for who calls many: one connection a target, kept while it is used and closed
 * AGI_POOL_IDLE_MS after the last call. Bounded: AGI_POOL_CHANNELS_MAX targets; of those that nobody uses
 * the one used longest ago makes room. One event loop. */
#ifndef AGI_NET_CHANNEL_POOL_H
#define AGI_NET_CHANNEL_POOL_H

#include "net/grpc.h"

enum {
	AGI_POOL_CHANNELS_MAX = 64, /* instances one node calls at a time; each is a socket */
	AGI_POOL_IDLE_MS = 60000,   /* a minute saves the handshake of whoever calls now and then */
	AGI_POOL_SWEEP_MS = 5000
};

struct agi_channel_pool;
struct agi_pooled;

/* NOMEM. */
AGI_MUST_USE enum agi_err agi_channel_pool_new(struct event_base *base,
					       struct agi_channel_pool **out);
/* The channel to target ("host:port"), held until agi_channel_pool_put. INVALID + why: no target; FULL + why:
 * so many targets are in use; NOMEM. */
AGI_MUST_USE enum agi_err agi_channel_pool_get(struct agi_channel_pool *pool, struct agi_str target,
					       struct agi_pooled **out, struct agi_why *why);
struct agi_grpc_channel *agi_pooled_channel(const struct agi_pooled *p);
/* Its calls are over. */
void agi_channel_pool_put(struct agi_channel_pool *pool, struct agi_pooled *p);
/* Targets there is a channel for. */
size_t agi_channel_pool_count(const struct agi_channel_pool *pool);
/* Open calls end with CANCELLED; their callbacks may still put. NULL is allowed. */
void agi_channel_pool_free(struct agi_channel_pool *pool);

#endif
