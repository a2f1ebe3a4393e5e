/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/slot.h"

#include <assert.h>

#include "dht/mutant.h"

uint32_t agi_slot_of_hash(const struct agi_id *hash, uint32_t slot_bits)
{
	uint32_t top = (uint32_t)hash->b[0] << 24 | (uint32_t)hash->b[1] << 16 |
	               (uint32_t)hash->b[2] << 8 | hash->b[3];

	assert(slot_bits >= 1 && slot_bits <= AGI_SLOT_BITS_MAX);
	return top >> (32 - slot_bits);
}

void agi_slot_midpoint(struct agi_id *out, uint32_t slot, uint32_t slot_bits)
{
	uint32_t top = slot << (32 - slot_bits) | 1u << (31 - slot_bits);

	*out = (struct agi_id){{(uint8_t)(top >> 24), (uint8_t)(top >> 16), (uint8_t)(top >> 8),
	                        (uint8_t)top}};
}

static bool is_zone_taken(const struct agi_contact *c, const struct agi_contact *const *chosen, size_t n)
{
	if (c->zone[0] == '\0')
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(chosen[i]->zone, c->zone) == 0)
			return true;
	return false;
}

static bool is_chosen(const struct agi_contact *c, const struct agi_contact *const *chosen, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (chosen[i] == c)
			return true;
	return false;
}

size_t agi_slot_ideal(const struct agi_ring *r, uint32_t slot, uint32_t slot_bits, uint32_t replicas,
                      const struct agi_contact *out[AGI_REPLICAS_MAX])
{
	const struct agi_contact *near[AGI_LOOKUP_MAX];
	struct agi_id mid;
	size_t n_near, n = 0;

	assert(replicas <= AGI_REPLICAS_MAX);
	agi_slot_midpoint(&mid, slot, slot_bits);
	n_near = agi_ring_nearest(r, &mid, near, AGI_LOOKUP_MAX);
	for (size_t i = 0; i < n_near && n < replicas; i++) /* first pass: new zones only */
		if (near[i]->weight_milli && !is_zone_taken(near[i], out, n))
			out[n++] = near[i];
	for (size_t i = 0; i < n_near && n < replicas; i++) /* then whoever is nearest */
		if (near[i]->weight_milli && !is_chosen(near[i], out, n))
			out[n++] = near[i];
	return n;
}

bool agi_view_has(const struct agi_view *v, const struct agi_id *node)
{
	for (int i = 0; i < v->n_members; i++)
		if (agi_id_eq(&v->members[i], node))
			return true;
	return false;
}

uint32_t agi_majority(uint32_t n) { return n / 2 + !AGI_MUTANT(MINORITY); }
