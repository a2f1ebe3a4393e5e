/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/rings.h"

#include <stdlib.h>

#include "sim/events.h"

static int cmp_points(const void *a, const void *b)
{
	const struct agi_ring_point *x = a, *y = b;

	return x->prefix < y->prefix ? -1 : x->prefix > y->prefix;
}

void agi_sim_ring_build(struct agi_ring *ring, const struct agi_contact *hosts, size_t n, uint32_t virtual_nodes)
{
	*ring = (struct agi_ring){.points = agi_sim_alloc(n * virtual_nodes, sizeof *ring->points), .n_hosts = n};
	for (size_t i = 0; i < n; i++) {
		for (uint32_t v = 0; v < virtual_nodes; v++) {
			struct agi_ring_point *p = &ring->points[ring->n++];
			struct agi_id id;

			agi_id_of_vnode(&id, &hosts[i].id, v);
			p->host = &hosts[i];
			for (int b = 0; b < 8; b++)
				p->prefix = p->prefix << 8 | id.b[b];
		}
	}
	qsort(ring->points, ring->n, sizeof *ring->points, cmp_points);
}
