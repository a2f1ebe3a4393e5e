/* SPDX-License-Identifier: Apache-2.0
 * Rings of many hosts at once: sorted once, where agi_ring_add moves what is there for each. */
#ifndef AGI_SIM_RINGS_H
#define AGI_SIM_RINGS_H

#include "dht/ring.h"

/* Places n hosts, which are borrowed and must outlive the ring (or be removed), on an empty ring. */
void agi_sim_ring_build(struct agi_ring *ring, const struct agi_contact *hosts, size_t n, uint32_t virtual_nodes);

#endif
