/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "net/pb.h"

enum {
	FIRST_CHUNK = 4096 - 64, /* a page less malloc's header: enough for a usual request */
	KEEP_MAX = 64 << 10      /* a chunk above this is not kept for the next use */
};

struct agi_pb_chunk {
	struct agi_pb_chunk *next;
	size_t cap;
	uint64_t bytes[]; /* for alignment */
};

static struct agi_pb_chunk *new_chunk(const struct agi_pb_pool *pool, size_t need)
{
	size_t cap = pool->cap ? pool->cap * 2 : FIRST_CHUNK;
	struct agi_pb_chunk *c;

	if (cap < need)
		cap = need;
	if (cap > (1 << 20) && need <= (1 << 20))
		cap = 1 << 20;
	c = malloc(sizeof *c + cap);
	if (c)
		c->cap = cap;
	return c;
}

void *agi_pb_pool_alloc(struct agi_pb_pool *pool, size_t n)
{
	void *p;

	if (n > AGI_PB_UNPACKED_MAX)
		return NULL;
	n = (n + 7) & ~(size_t)7;
	if (n > pool->cap - pool->used) {
		struct agi_pb_chunk *c = new_chunk(pool, n);

		if (!c)
			return NULL;
		c->next = pool->chunks;
		pool->chunks = c;
		pool->cap = c->cap;
		pool->used = 0;
	}
	p = (char *)pool->chunks->bytes + pool->used;
	pool->used += n;
	return p;
}

static void free_chunks(struct agi_pb_chunk *c)
{
	while (c) {
		struct agi_pb_chunk *next = c->next;

		free(c);
		c = next;
	}
}

void agi_pb_pool_reset(struct agi_pb_pool *pool)
{
	struct agi_pb_chunk *keep = pool->chunks;

	if (!keep)
		return;
	if (keep->cap > KEEP_MAX) {
		agi_pb_pool_free(pool);
		return;
	}
	free_chunks(keep->next);
	keep->next = NULL;
	pool->used = 0;
}

void agi_pb_pool_free(struct agi_pb_pool *pool)
{
	free_chunks(pool->chunks);
	*pool = (struct agi_pb_pool){0};
}
