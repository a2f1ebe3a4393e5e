/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/ring.h"

#include <stdlib.h>

static uint64_t prefix_of(const struct agi_id *id)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | id->b[i];
	return v;
}

static int cmp_points(const void *a, const void *b)
{
	const struct agi_ring_point *x = a, *y = b;

	if (x->prefix != y->prefix)
		return x->prefix < y->prefix ? -1 : 1;
	return agi_id_cmp(&x->host->id, &y->host->id);
}

void agi_ring_free(struct agi_ring *r)
{
	free(r->points);
	*r = (struct agi_ring){0};
}

uint32_t agi_ring_vnodes(uint32_t virtual_nodes, uint32_t weight_milli)
{
	uint64_t n = ((uint64_t)virtual_nodes * weight_milli + 500) / 1000;

	if (n > AGI_VIRTUAL_NODES_MAX)
		n = AGI_VIRTUAL_NODES_MAX;
	return n ? (uint32_t)n : 1;
}

/* From the back and in place. Few points join many: what lies between two of them moves at once. */
static void merge(struct agi_ring_point *all, size_t n, const struct agi_ring_point *fresh, size_t n_fresh)
{
	while (n_fresh > 0) {
		const struct agi_ring_point *p = &fresh[--n_fresh];
		size_t a = 0, b = n;

		while (a < b) { /* the first of all that comes after p */
			size_t mid = a + (b - a) / 2;

			if (cmp_points(&all[mid], p) > 0)
				b = mid;
			else
				a = mid + 1;
		}
		memmove(&all[a + n_fresh + 1], &all[a], (n - a) * sizeof *all);
		all[a + n_fresh] = *p;
		n = a;
	}
}

enum agi_err agi_ring_add(struct agi_ring *r, const struct agi_contact *host, uint32_t virtual_nodes)
{
	uint32_t add = agi_ring_vnodes(virtual_nodes, host->weight_milli);
	struct agi_ring_point *fresh = malloc(add * sizeof *fresh);
	struct agi_ring_point *all = realloc(r->points, (r->n + add) * sizeof *all);

	if (all)
		r->points = all;
	if (!fresh || !all) {
		free(fresh);
		return AGI_E_NOMEM;
	}
	for (uint32_t i = 0; i < add; i++) {
		struct agi_id id;

		agi_id_of_vnode(&id, &host->id, i);
		fresh[i] = (struct agi_ring_point){prefix_of(&id), host};
	}
	qsort(fresh, add, sizeof *fresh, cmp_points);
	merge(all, r->n, fresh, add);
	r->n += add;
	r->n_hosts++;
	r->generation++;
	free(fresh);
	return AGI_OK;
}

void agi_ring_remove(struct agi_ring *r, const struct agi_contact *host)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->n; i++)
		if (r->points[i].host != host)
			r->points[kept++] = r->points[i];
	if (kept == r->n)
		return;
	r->n = kept;
	r->n_hosts--;
	r->generation++;
}

struct search {
	const struct agi_ring *ring;
	uint64_t target;
	const struct agi_contact **out;
	size_t n, max;
};

static void offer(struct search *s, const struct agi_contact *host)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->out[i] == host)
			return;
	s->out[s->n++] = host;
}

/* Points [lo, hi) share all bits above `bit`: the half on the target's side is nearer, entirely. */
static void visit(struct search *s, size_t lo, size_t hi, int bit)
{
	uint64_t mask;
	size_t a = lo, b = hi;

	if (lo == hi || s->n == s->max)
		return;
	if (hi - lo == 1 || bit < 0) {
		for (size_t i = lo; i < hi && s->n < s->max; i++)
			offer(s, s->ring->points[i].host);
		return;
	}
	mask = (uint64_t)1 << bit;
	while (a < b) { /* first point with this bit set */
		size_t mid = a + (b - a) / 2;

		if (s->ring->points[mid].prefix & mask)
			b = mid;
		else
			a = mid + 1;
	}
	if (s->target & mask) {
		visit(s, a, hi, bit - 1);
		visit(s, lo, a, bit - 1);
	} else {
		visit(s, lo, a, bit - 1);
		visit(s, a, hi, bit - 1);
	}
}

size_t agi_ring_nearest(const struct agi_ring *r, const struct agi_id *target,
                        const struct agi_contact **out, size_t max)
{
	struct search s = {r, prefix_of(target), out, 0, max < r->n_hosts ? max : r->n_hosts};

	visit(&s, 0, r->n, 63);
	return s.n;
}

uint64_t agi_ring_distance(const struct agi_id *target, const struct agi_id *host, uint32_t n_vnodes)
{
	uint64_t best = UINT64_MAX, t = prefix_of(target);

	for (uint32_t i = 0; i < n_vnodes; i++) {
		struct agi_id id;
		uint64_t dist;

		agi_id_of_vnode(&id, host, i);
		dist = prefix_of(&id) ^ t;
		if (dist < best)
			best = dist;
	}
	return best;
}
