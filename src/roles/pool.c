/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/pool.h"

#include <stdlib.h>

enum { CHUNK_BYTES = 8192 };

struct agi_pool_chunk {
	struct agi_pool_chunk *next;
	size_t used, cap; /* bytes of data */
	max_align_t data[];
};

void agi_pool_init(struct agi_pool *p, size_t max_bytes)
{
	*p = (struct agi_pool){.max = max_bytes ? max_bytes : AGI_POOL_DEFAULT};
}

void agi_pool_free(struct agi_pool *p)
{
	struct agi_pool_chunk *c = p->head;

	while (c) {
		struct agi_pool_chunk *next = c->next;

		free(c);
		c = next;
	}
	p->head = NULL;
	p->taken = 0;
}

static bool add_chunk(struct agi_pool *p, size_t bytes)
{
	size_t cap = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
	struct agi_pool_chunk *c = calloc(1, sizeof *c + cap);

	if (!c) {
		p->err = AGI_E_NOMEM;
		return false;
	}
	c->cap = cap;
	c->next = p->head;
	p->head = c;
	return true;
}

void *agi_pool_take(struct agi_pool *p, size_t n, size_t size)
{
	const size_t align = sizeof(max_align_t);
	size_t left = p->max - p->taken;
	size_t bytes;
	void *at;

	if (p->err || n == 0 || size == 0)
		return NULL;
	if (n > left / size || (bytes = (n * size + align - 1) / align * align) > left) {
		p->err = AGI_E_TOO_LARGE;
		return NULL;
	}
	if ((!p->head || p->head->cap - p->head->used < bytes) && !add_chunk(p, bytes))
		return NULL;
	at = (char *)p->head->data + p->head->used;
	p->head->used += bytes;
	p->taken += bytes;
	return at;
}

struct agi_str agi_pool_copy(struct agi_pool *p, struct agi_str s)
{
	return agi_pool_concat(p, &s, 1);
}

struct agi_str agi_pool_concat(struct agi_pool *p, const struct agi_str *parts, size_t n)
{
	size_t bytes = 0, at = 0;
	char *to;

	for (size_t i = 0; i < n; i++)
		bytes += parts[i].n;
	to = agi_pool_take(p, bytes, 1);
	if (!to)
		return (struct agi_str){"", 0};
	for (size_t i = 0; i < n; i++) {
		if (parts[i].n)
			memcpy(to + at, parts[i].p, parts[i].n);
		at += parts[i].n;
	}
	return (struct agi_str){to, bytes};
}

void agi_strs_add(struct agi_strs *l, struct agi_pool *pool, struct agi_str s)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 8;
		struct agi_str *p = agi_pool_take(pool, cap, sizeof *p);

		if (!p)
			return;
		if (l->n)
			memcpy(p, l->p, l->n * sizeof *p);
		l->p = p;
		l->cap = cap;
	}
	l->p[l->n++] = s;
}

bool agi_strs_has(const struct agi_strs *l, struct agi_str s)
{
	for (size_t i = 0; i < l->n; i++)
		if (agi_str_eq(l->p[i], s))
			return true;
	return false;
}

void agi_strs_add_new(struct agi_strs *l, struct agi_pool *pool, struct agi_str s)
{
	if (!agi_strs_has(l, s))
		agi_strs_add(l, pool, s);
}
