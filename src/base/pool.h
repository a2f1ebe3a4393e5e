/* SPDX-License-Identifier: Apache-2.0
 * Objects of one size that come and go with every operation: freed ones are kept for the next. (glibc's calloc does
 * not look into its thread cache: a zeroed object from here costs a tenth.) One thread at a time.
 *
 * At most AGI_POOL_KEPT are kept; under AddressSanitizer none, so that it sees every use after free. */
#ifndef AGI_BASE_POOL_H
#define AGI_BASE_POOL_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __has_feature /* clang's way to say it */
#if __has_feature(address_sanitizer)
#define AGI_POOL_KEEPS_NOTHING
#endif
#endif
#ifdef __SANITIZE_ADDRESS__ /* gcc's */
#define AGI_POOL_KEEPS_NOTHING
#endif
#ifdef AGI_POOL_KEEPS_NOTHING
enum { AGI_POOL_KEPT = 0 };
#else
enum { AGI_POOL_KEPT = 256 };
#endif

struct agi_pool {
	void *first; /* each begins with a pointer to the next */
	uint32_t n;
};

/* All zero; NULL when out of memory. A pool's objects all have the same size, a pointer's at least. */
static inline void *agi_pool_get(struct agi_pool *p, size_t bytes)
{
	void *o = p->first;

	if (!o)
		return calloc(1, bytes);
	memcpy(&p->first, o, sizeof p->first);
	p->n--;
	memset(o, 0, bytes);
	return o;
}

/* NULL is allowed. */
static inline void agi_pool_put(struct agi_pool *p, void *o)
{
	if (!o || p->n + 1 > AGI_POOL_KEPT) {
		free(o);
		return;
	}
	memcpy(o, &p->first, sizeof p->first);
	p->first = o;
	p->n++;
}

static inline void agi_pool_free(struct agi_pool *p)
{
	while (p->first) {
		void *o = p->first;

		memcpy(&p->first, o, sizeof p->first);
		free(o);
	}
	p->n = 0;
}

#endif
