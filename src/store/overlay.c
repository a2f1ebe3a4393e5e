/* SPDX-License-Identifier: Apache-2.0 */
#include "store/overlay.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

enum { CAP_MIN = 256, CAP_KEPT = 8192 }; /* entries; a larger table is given back after its group */

static_assert(crypto_shorthash_KEYBYTES == 16, "SipHash key");

void agi_overlay_init(struct agi_overlay *o, const uint8_t hash_key[16])
{
	*o = (struct agi_overlay){0};
	memcpy(o->hash_key, hash_key, sizeof o->hash_key);
}

void agi_overlay_free(struct agi_overlay *o)
{
	free(o->slots);
	free(o->ranges);
	o->slots = NULL;
	o->ranges = NULL;
	o->cap = o->cap_ranges = 0;
	o->n = 0;
	agi_overlay_clear(o);
}

static uint64_t hash_of(const struct agi_overlay *o, enum agi_cf cf, struct agi_str key)
{
	uint8_t h[crypto_shorthash_BYTES];
	uint64_t v;

	crypto_shorthash(h, (const uint8_t *)(key.p ? key.p : ""), key.n, o->hash_key);
	memcpy(&v, h, sizeof v);
	return v + (uint64_t)cf * 0x9e3779b97f4a7c15u;
}

/* The key's entry, or the free one where it belongs. */
static struct agi_overlay_entry *slot_of(const struct agi_overlay *o, uint64_t hash, enum agi_cf cf,
                                         struct agi_str key)
{
	for (size_t i = hash & (o->cap - 1);; i = (i + 1) & (o->cap - 1)) {
		struct agi_overlay_entry *e = &o->slots[i];

		if (e->seq == 0)
			return e;
		if (e->hash == hash && e->cf == cf && agi_str_eq(e->key, key))
			return e;
	}
}

/* Fills an entry and puts it into the chain, if it was free. */
static void take(struct agi_overlay *o, struct agi_overlay_entry *e, const struct agi_overlay_entry *what)
{
	uint32_t before = e->seq ? e->before : o->last;

	if (e->seq == 0)
		o->last = (uint32_t)(e - o->slots);
	*e = *what;
	e->before = before;
}

static enum agi_err grow(struct agi_overlay *o, size_t cap)
{
	struct agi_overlay_entry *old = o->slots;
	size_t old_cap = o->cap;

	o->slots = calloc(cap, sizeof *o->slots);
	if (!o->slots) {
		o->slots = old;
		return AGI_E_NOMEM;
	}
	o->cap = cap;
	for (size_t i = 0; i < old_cap; i++)
		if (old[i].seq)
			take(o, slot_of(o, old[i].hash, old[i].cf, old[i].key), &old[i]);
	free(old);
	return AGI_OK;
}

enum agi_err agi_overlay_reserve(struct agi_overlay *o, size_t n, size_t n_ranges)
{
	size_t cap = o->cap ? o->cap : CAP_MIN;

	if (o->n_ranges + n_ranges > o->cap_ranges) {
		size_t want = o->n_ranges + n_ranges + AGI_OVERLAY_RANGES;
		void *p = reallocarray(o->ranges, want, sizeof *o->ranges);

		if (!p)
			return AGI_E_NOMEM;
		o->ranges = p;
		o->cap_ranges = want;
	}
	if (n > SIZE_MAX / 8 / sizeof *o->slots)
		return AGI_E_NOMEM;
	while (cap / 2 < o->n + n)
		cap *= 2;
	return cap == o->cap ? AGI_OK : grow(o, cap);
}

void agi_overlay_apply(struct agi_overlay *o, const struct agi_storage_op *op)
{
	struct agi_overlay_entry *e;
	uint64_t hash;

	o->seq++;
	o->cf_mask |= 1u << op->cf;
	if (op->verb == AGI_DELETE_RANGE) {
		assert(o->n_ranges < o->cap_ranges);
		o->ranges[o->n_ranges++] =
		    (struct agi_overlay_range){o->seq, op->cf, op->key, op->value};
		return;
	}
	hash = hash_of(o, op->cf, op->key);
	e = slot_of(o, hash, op->cf, op->key);
	o->n += e->seq == 0;
	assert(o->n <= o->cap / 2);
	take(o, e,
	     &(struct agi_overlay_entry){.hash = hash,
	                                 .seq = o->seq,
	                                 .cf = op->cf,
	                                 .is_deleted = op->verb == AGI_DELETE || op->verb == AGI_DELETE_IF,
	                                 .key = op->key,
	                                 .value = op->value});
}

enum agi_overlay_hit agi_overlay_find(const struct agi_overlay *o, enum agi_cf cf, struct agi_str key,
                                      struct agi_str *value)
{
	const struct agi_overlay_entry *e = NULL;

	if (!agi_overlay_has_cf(o, cf))
		return AGI_OVERLAY_MISS;
	if (o->n) {
		e = slot_of(o, hash_of(o, cf, key), cf, key);
		if (e->seq == 0)
			e = NULL;
	}
	for (size_t i = 0; i < o->n_ranges; i++) {
		const struct agi_overlay_range *r = &o->ranges[i];

		if (r->cf == cf && (!e || r->seq > e->seq) && agi_str_cmp(key, r->begin) >= 0 &&
		    agi_str_cmp(key, r->end) < 0)
			return AGI_OVERLAY_DELETED;
	}
	if (!e)
		return AGI_OVERLAY_MISS;
	if (e->is_deleted)
		return AGI_OVERLAY_DELETED;
	*value = e->value;
	return AGI_OVERLAY_VALUE;
}

bool agi_overlay_has_cf(const struct agi_overlay *o, enum agi_cf cf) { return o->cf_mask >> cf & 1; }

void agi_overlay_clear(struct agi_overlay *o)
{
	if (o->cap > CAP_KEPT) {
		free(o->slots);
		o->slots = NULL;
		o->cap = 0;
	} else { /* a group is small beside the table that a large one left behind */
		for (; o->n; o->n--) {
			struct agi_overlay_entry *e = &o->slots[o->last];

			o->last = e->before;
			e->seq = 0;
		}
	}
	o->n = o->n_ranges = 0;
	o->seq = 0;
	o->cf_mask = 0;
}
