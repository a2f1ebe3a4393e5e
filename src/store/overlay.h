/* SPDX-License-Identifier: Apache-2.0
 * What a write batch in the making will have done: lets PUT_NEWER and GET see writes that are queued
 * before them but not committed yet. (RocksDB's indexed batch cannot hold range deletions.)
 *
 * Keys and values are borrowed until agi_overlay_clear: they are the queued jobs' own bytes. */
#ifndef AGI_STORE_OVERLAY_H
#define AGI_STORE_OVERLAY_H

#include "base/storage.h"

enum { AGI_OVERLAY_RANGES = 16 }; /* every look-up walks them: a group ends before it gathers more */

struct agi_overlay_entry {
	uint64_t hash;
	uint32_t seq; /* 0 = free */
	uint32_t before; /* the entry taken before this one: a chain of all, for clearing */
	enum agi_cf cf;
	bool is_deleted;
	struct agi_str key, value;
};
struct agi_overlay_range {
	uint32_t seq;
	enum agi_cf cf;
	struct agi_str begin, end;
};
struct agi_overlay {
	struct agi_overlay_entry *slots; /* open addressing, cap a power of two, at most half full */
	size_t cap, n;
	uint32_t last;              /* entry taken last, when n > 0 */
	struct agi_overlay_range *ranges;
	size_t n_ranges, cap_ranges;
	uint32_t seq;               /* of the last operation */
	uint32_t cf_mask;           /* column families touched */
	uint8_t hash_key[16];       /* of SipHash: peers choose keys, so they must not choose collisions */
};

/* hash_key: 16 random bytes. */
void agi_overlay_init(struct agi_overlay *o, const uint8_t hash_key[16]);
void agi_overlay_free(struct agi_overlay *o);
/* Room for n more operations, n_ranges of them range deletions, so that _apply cannot fail. NOMEM. */
AGI_MUST_USE enum agi_err agi_overlay_reserve(struct agi_overlay *o, size_t n, size_t n_ranges);
/* Any operation (a conditional one already judged to apply), within what was reserved. */
void agi_overlay_apply(struct agi_overlay *o, const struct agi_storage_op *op);

enum agi_overlay_hit { AGI_OVERLAY_MISS, AGI_OVERLAY_VALUE, AGI_OVERLAY_DELETED };
/* *value is written on AGI_OVERLAY_VALUE. MISS: ask the database. */
enum agi_overlay_hit agi_overlay_find(const struct agi_overlay *o, enum agi_cf cf, struct agi_str key,
                                      struct agi_str *value);
bool agi_overlay_has_cf(const struct agi_overlay *o, enum agi_cf cf);
void agi_overlay_clear(struct agi_overlay *o);

#endif
