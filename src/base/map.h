/* SPDX-License-Identifier: Apache-2.0
 * Hash maps and lists: uthash (macros over intrusive handles) and the BSD tail queue.
 *
 * With HASH_NONFATAL_OOM an insertion that finds no memory leaves elem->hh.tbl NULL: check it.
 *
 * Keys are ids and numbers of 4 to 32 bytes for the most part: agi_map_hash takes eight bytes at a time, where
 * uthash's own function takes one (a product of two words folded, as in Wang Yi's wyhash). */
#ifndef AGI_BASE_MAP_H
#define AGI_BASE_MAP_H

#include <sys/queue.h>

#include <stdint.h>
#include <string.h>

static inline uint64_t agi_map_fold(uint64_t a, uint64_t b)
{
	unsigned __int128 p = (unsigned __int128)a * b;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static inline uint32_t agi_map_hash(const void *key, size_t n)
{
	const char *p = key;
	uint64_t h = 0x9e3779b97f4a7c15u ^ n, w;

	for (; n >= sizeof w; n -= sizeof w, p += sizeof w) {
		memcpy(&w, p, sizeof w);
		h = agi_map_fold(h ^ w, 0xd6e8feb86659fd93u);
	}
	w = 0;
	memcpy(&w, p, n);
	h = agi_map_fold(h ^ w, 0xa0761d6478bd642fu);
	return (uint32_t)(h ^ h >> 32);
}

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(key, bytes, value) ((value) = agi_map_hash(key, bytes))
#include <uthash.h>

#endif
