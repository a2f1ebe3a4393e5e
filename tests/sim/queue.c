/* SPDX-License-Identifier: Apache-2.0 */
#include "queue.h"

#include <stdlib.h>

enum { CHUNK = 256, ARITY = 4 };

struct sim_chunk {
	struct sim_chunk *next;
	struct sim_event events[CHUNK];
};

void sim_queue_free(struct sim_queue *q)
{
	for (size_t i = 0; i < q->n; i++)
		free(q->heap[i].e->msg);
	free(q->heap);
	while (q->chunks) {
		struct sim_chunk *c = q->chunks;

		q->chunks = c->next;
		free(c);
	}
	*q = (struct sim_queue){0};
}

static void add_chunk(struct sim_queue *q)
{
	struct sim_chunk *c = malloc(sizeof *c);

	if (!c)
		abort();
	c->next = q->chunks;
	q->chunks = c;
	for (int i = 0; i < CHUNK; i++) {
		c->events[i].next = q->unused;
		q->unused = &c->events[i];
	}
}

static bool is_before(const struct sim_place *a, const struct sim_place *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

static void insert(struct sim_queue *q, struct sim_event *e)
{
	struct sim_place p = {e->at_us, q->next_seq++, e};
	size_t i;

	if (q->n == q->cap) {
		q->cap = q->cap ? 2 * q->cap : 1024;
		q->heap = realloc(q->heap, q->cap * sizeof *q->heap);
		if (!q->heap)
			abort();
	}
	for (i = q->n++; i > 0 && is_before(&p, &q->heap[(i - 1) / ARITY]); i = (i - 1) / ARITY)
		q->heap[i] = q->heap[(i - 1) / ARITY];
	q->heap[i] = p;
}

struct sim_event *sim_queue_push(struct sim_queue *q, uint64_t at_us, enum sim_event_kind kind)
{
	struct sim_event *e;

	if (!q->unused)
		add_chunk(q);
	e = q->unused;
	q->unused = e->next;
	*e = (struct sim_event){.at_us = at_us, .kind = kind};
	insert(q, e);
	return e;
}

void sim_queue_defer(struct sim_queue *q, struct sim_event *e, uint64_t at_us)
{
	e->at_us = at_us;
	insert(q, e);
}

static size_t first_child(const struct sim_queue *q, size_t i)
{
	size_t c = ARITY * i + 1, end = c + ARITY < q->n ? c + ARITY : q->n, best = c;

	for (size_t k = c + 1; k < end; k++)
		if (is_before(&q->heap[k], &q->heap[best]))
			best = k;
	return best;
}

struct sim_event *sim_queue_pop(struct sim_queue *q, uint64_t until_us)
{
	struct sim_event *top;
	struct sim_place last;
	size_t i = 0;

	if (q->n == 0 || q->heap[0].at_us > until_us)
		return NULL;
	top = q->heap[0].e;
	last = q->heap[--q->n];
	while (ARITY * i + 1 < q->n) {
		size_t c = first_child(q, i);

		if (!is_before(&q->heap[c], &last))
			break;
		q->heap[i] = q->heap[c];
		i = c;
	}
	q->heap[i] = last;
	return top;
}

void sim_queue_done(struct sim_queue *q, struct sim_event *e)
{
	free(e->msg);
	e->msg = NULL;
	e->next = q->unused;
	q->unused = e;
}
