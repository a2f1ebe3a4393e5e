/* SPDX-License-Identifier: Apache-2.0
 * Memory of one call: everything taken from a pool goes when the pool is freed. Bounded. The first error
 * is sticky: later requests give NULL or the empty string, and the caller checks err once at the end. */
#ifndef AGI_ROLES_POOL_H
#define AGI_ROLES_POOL_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct agi_pool_chunk;
struct agi_pool {
	struct agi_pool_chunk *head;
	size_t taken;     /* bytes handed out and lost to alignment */
	size_t max;       /* bytes allowed */
	enum agi_err err; /* NOMEM or TOO_LARGE */
};

enum { AGI_POOL_DEFAULT = 64 << 20 }; /* bytes: a 4 MiB request, its facts, its answer */

/* max_bytes 0 = AGI_POOL_DEFAULT. Takes no memory yet. */
void agi_pool_init(struct agi_pool *p, size_t max_bytes);
void agi_pool_free(struct agi_pool *p);
/* n items of size bytes, zeroed, aligned for any type; NULL on error. n == 0 gives NULL without error. */
void *agi_pool_take(struct agi_pool *p, size_t n, size_t size);
/* A copy; empty on error. */
struct agi_str agi_pool_copy(struct agi_pool *p, struct agi_str s);
/* The parts one after another; NUL bytes inside them are kept. */
struct agi_str agi_pool_concat(struct agi_pool *p, const struct agi_str *parts, size_t n);
/* A formatted line in the pool, cut at the size of struct agi_why. Not for text that may hold NUL. */
#define agi_pool_printf(pool, ...)                                                                 \
	__extension__({                                                                            \
		struct agi_why line_;                                                              \
		(void)agi_fail(&line_, AGI_OK, __VA_ARGS__);                                       \
		agi_pool_copy((pool), agi_str_of(line_.text));                                     \
	})

/* A list that grows inside a pool (the old copies stay in the pool: at most as much again). */
struct agi_strs {
	struct agi_str *p;
	size_t n, cap;
};
void agi_strs_add(struct agi_strs *l, struct agi_pool *pool, struct agi_str s);
/* As agi_strs_add, unless an equal string is there. Linear: for short lists. */
void agi_strs_add_new(struct agi_strs *l, struct agi_pool *pool, struct agi_str s);
bool agi_strs_has(const struct agi_strs *l, struct agi_str s);

#endif
