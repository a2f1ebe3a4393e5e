/* SPDX-License-Identifier: Apache-2.0
 * Calls that the core makes to itself (inner.c). Private to src/dht. */
#ifndef AGI_DHT_INNER_H
#define AGI_DHT_INNER_H

#include "dht/state.h"

/* res is borrowed; res->err and the rest as a client would see them. */
typedef void agi_inner_fn(struct agi_dht *d, void *arg, const struct agi_result *res);
/* Starts the call; its strings are copied. fn once, never before return, unless cancelled. Returns the call's id; 0
 * when out of memory. */
uint64_t agi_inner_start(struct agi_dht *d, const struct agi_call *call, agi_inner_fn *fn, void *arg);
/* fn will not be called any more. 0 and unknown ids are ignored. */
void agi_inner_cancel(struct agi_dht *d, uint64_t id);

/* --- for call.c and dht.c --- */
/* The answer to a call whose id has the bit AGI_INNER_CALLS. */
void agi_inner_reply(struct agi_dht *d, uint64_t id, const struct agi_result *res);
void agi_inners_free(struct agi_dht *d);

#endif
