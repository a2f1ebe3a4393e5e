/* SPDX-License-Identifier: Apache-2.0 */
#include "net/h2_mem.h"

#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Before every block; holds its class while it is used, the next of its list while it is kept. */
struct agi_h2_block {
	union {
		size_t bytes; /* usable */
		struct agi_h2_block *next;
	};
	alignas(max_align_t) unsigned char data[];
};

static size_t class_of(size_t n) { return n ? (n - 1) / AGI_H2_MEM_STEP : 0; }

static struct agi_h2_block *block_of(void *p)
{
	return (struct agi_h2_block *)((unsigned char *)p - offsetof(struct agi_h2_block, data));
}

static void *take(size_t n, void *arg)
{
	struct agi_h2_mem *m = arg;
	size_t i = class_of(n);
	struct agi_h2_block *b;

	if (i >= AGI_H2_MEM_CLASSES) {
		if (n > SIZE_MAX / 2)
			return NULL;
	} else {
		n = (i + 1) * AGI_H2_MEM_STEP;
		b = m->kept[i];
		if (b) {
			m->kept[i] = b->next;
			m->n_kept[i]--;
			b->bytes = n;
			return b->data;
		}
	}
	b = malloc(sizeof *b + n);
	if (!b)
		return NULL;
	b->bytes = n;
	return b->data;
}

static void give(void *p, void *arg)
{
	struct agi_h2_mem *m = arg;
	struct agi_h2_block *b;
	size_t i;

	if (!p)
		return;
	b = block_of(p);
	i = class_of(b->bytes);
	if (i >= AGI_H2_MEM_CLASSES || m->n_kept[i] >= AGI_H2_MEM_KEPT_MAX) {
		free(b);
		return;
	}
	b->next = m->kept[i];
	m->kept[i] = b;
	m->n_kept[i]++;
}

static void *take_zeroed(size_t n, size_t bytes, void *arg)
{
	void *p = bytes && n > SIZE_MAX / 2 / bytes ? NULL : take(n * bytes, arg);

	return p ? memset(p, 0, n * bytes) : NULL;
}

static void *resize(void *p, size_t n, void *arg)
{
	void *to;

	if (p && n <= block_of(p)->bytes)
		return p;
	to = take(n, arg);
	if (to && p) {
		memcpy(to, p, block_of(p)->bytes);
		give(p, arg);
	}
	return to;
}

void agi_h2_mem_init(struct agi_h2_mem *m)
{
	*m = (struct agi_h2_mem){.fns = {m, take, give, take_zeroed, resize}};
}

void agi_h2_mem_free(struct agi_h2_mem *m)
{
	struct agi_h2_block *b;

	for (size_t i = 0; i < AGI_H2_MEM_CLASSES; i++)
		while ((b = m->kept[i]) != NULL) {
			m->kept[i] = b->next;
			free(b);
		}
}
