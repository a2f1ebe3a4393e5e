/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/events.h"

#include <stdio.h>
#include <stdlib.h>

#include "sim/packet.h"

enum { ARITY = 4 };

static void *must_have(void *p)
{
	if (p)
		return p;
	fprintf(stderr, "agihpc-sim: out of memory; simulate fewer nodes or virtual nodes\n");
	exit(1);
}

void *agi_sim_alloc(size_t n, size_t size) { return must_have(calloc(n ? n : 1, size)); }

void *agi_sim_grow(void *p, size_t n, size_t size) { return must_have(reallocarray(p, n, size)); }

static bool is_before(const struct agi_sim_event *a, const struct agi_sim_event *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

void agi_sim_events_free(struct agi_sim_events *q)
{
	for (size_t i = 0; i < q->n; i++)
		agi_sim_packet_free(q->heap[i].packet);
	free(q->heap);
	*q = (struct agi_sim_events){0};
}

void agi_sim_events_push(struct agi_sim_events *q, const struct agi_sim_event *e)
{
	struct agi_sim_event fresh = *e;
	size_t i;

	fresh.seq = q->next_seq++;
	if (q->n == q->cap) {
		q->cap = q->cap ? 2 * q->cap : 1024;
		q->heap = agi_sim_grow(q->heap, q->cap, sizeof *q->heap);
	}
	for (i = q->n++; i > 0 && is_before(&fresh, &q->heap[(i - 1) / ARITY]); i = (i - 1) / ARITY)
		q->heap[i] = q->heap[(i - 1) / ARITY];
	q->heap[i] = fresh;
}

static size_t first_child(const struct agi_sim_events *q, size_t i)
{
	size_t c = ARITY * i + 1, end = c + ARITY < q->n ? c + ARITY : q->n, best = c;

	for (size_t k = c + 1; k < end; k++)
		if (is_before(&q->heap[k], &q->heap[best]))
			best = k;
	return best;
}

bool agi_sim_events_pop(struct agi_sim_events *q, uint64_t until_us, struct agi_sim_event *out)
{
	struct agi_sim_event last;
	size_t i = 0;

	if (q->n == 0 || q->heap[0].at_us > until_us)
		return false;
	*out = q->heap[0];
	last = q->heap[--q->n];
	while (ARITY * i + 1 < q->n) {
		size_t c = first_child(q, i);

		if (!is_before(&q->heap[c], &last))
			break;
		q->heap[i] = q->heap[c];
		i = c;
	}
	q->heap[i] = last;
	return true;
}
