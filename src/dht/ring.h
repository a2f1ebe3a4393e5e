/* SPDX-License-Identifier: Apache-2.0
 * The virtual nodes of all known hosts, ordered by id: finds the hosts whose virtual nodes are nearest to a
 * point by XOR. Two nodes with the same hosts give the same answer.
 *
 * Ids are compared by their first 64 bits (ties by host id): among a million virtual nodes two share them
 * with probability 3e-8, and then only their order, not their presence, is affected. */
#ifndef AGI_DHT_RING_H
#define AGI_DHT_RING_H

#include "dht/types.h"

struct agi_ring_point {
	uint64_t prefix;                 /* first 8 bytes of the virtual node's id */
	const struct agi_contact *host;  /* borrowed; must outlive its stay in the ring */
};
struct agi_ring {
	struct agi_ring_point *points; /* sorted */
	size_t n;
	size_t n_hosts;
	uint64_t generation;           /* grows with every change */
};

void agi_ring_free(struct agi_ring *r);
/* Virtual nodes of a host of this weight: at least 1. */
uint32_t agi_ring_vnodes(uint32_t virtual_nodes, uint32_t weight_milli);
AGI_MUST_USE enum agi_err agi_ring_add(struct agi_ring *r, const struct agi_contact *host,
                                       uint32_t virtual_nodes);
void agi_ring_remove(struct agi_ring *r, const struct agi_contact *host);
/* Up to max distinct hosts, nearest first; returns how many. */
size_t agi_ring_nearest(const struct agi_ring *r, const struct agi_id *target,
                        const struct agi_contact **out, size_t max);
/* Smallest XOR distance (first 64 bits) from target to any virtual node of this host; for hosts that
 * are not in the ring. */
uint64_t agi_ring_distance(const struct agi_id *target, const struct agi_id *host, uint32_t n_vnodes);

#endif
