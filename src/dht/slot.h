/* SPDX-License-Identifier: Apache-2.0
 * Slots: the id space cut into 2^slot_bits equal ranges by key prefix, and who ideally holds each. */
#ifndef AGI_DHT_SLOT_H
#define AGI_DHT_SLOT_H

#include "dht/ring.h"

/* The first slot_bits of the hash. */
uint32_t agi_slot_of_hash(const struct agi_id *hash, uint32_t slot_bits);
void agi_slot_midpoint(struct agi_id *out, uint32_t slot, uint32_t slot_bits);
/* The distinct hosts nearest to the slot's midpoint, skipping hosts of a zone already chosen while other
 * zones remain among the nearest AGI_LOOKUP_MAX (hosts without a zone are no fault domain of their own) and
 * hosts of weight 0.
 * Returns how many (at most replicas). */
size_t agi_slot_ideal(const struct agi_ring *r, uint32_t slot, uint32_t slot_bits, uint32_t replicas,
                      const struct agi_contact *out[AGI_REPLICAS_MAX]);

bool agi_view_has(const struct agi_view *v, const struct agi_id *node);
uint32_t agi_majority(uint32_t n); /* ⌊n/2⌋+1 */

#endif
