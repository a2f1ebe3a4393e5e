/* SPDX-License-Identifier: Apache-2.0 */
#include "store/rows.h"

#include <assert.h>
#include <stdlib.h>

enum { SETS = AGI_ROWS_KEYS / AGI_ROWS_WAYS };

static_assert((SETS & (SETS - 1)) == 0, "a power of two");

void agi_rows_init(struct agi_rows *r, size_t ring_bytes, const uint8_t hash_key[AGI_SIP_KEY_BYTES])
{
	assert(ring_bytes >= AGI_ROW_BYTES_MAX);
	*r = (struct agi_rows){.ring_bytes = ring_bytes};
	memcpy(r->hash_key, hash_key, sizeof r->hash_key);
}

void agi_rows_free(struct agi_rows *r)
{
	free(r->rows);
	free(r->ring);
	r->rows = NULL;
	r->ring = NULL;
	r->head = 0;
}

static bool is_live(const struct agi_rows *r, const struct agi_row *row)
{
	return row->is_there && r->head - row->at <= r->ring_bytes;
}

static struct agi_row *find(const struct agi_rows *r, enum agi_cf cf, const uint64_t hash[2])
{
	struct agi_row *set = &r->rows[(hash[0] & (SETS - 1)) * AGI_ROWS_WAYS];

	for (int i = 0; i < AGI_ROWS_WAYS; i++)
		if (set[i].hash[0] == hash[0] && set[i].hash[1] == hash[1] && set[i].cf == cf &&
		    is_live(r, &set[i]))
			return &set[i];
	return NULL;
}

static void hash_of(const struct agi_rows *r, struct agi_str key, uint64_t hash[2])
{
	static_assert(AGI_SIP_BYTES == 2 * sizeof hash[0], "hash");
	agi_siphash((uint8_t *)hash, r->hash_key, key);
}

bool agi_rows_find(const struct agi_rows *r, enum agi_cf cf, struct agi_str key, struct agi_buf *out)
{
	const struct agi_row *row;
	uint64_t hash[2];

	if (!r->rows)
		return false;
	hash_of(r, key, hash);
	row = find(r, cf, hash);
	if (!row)
		return false;
	agi_buf_put(out, r->ring + row->at % r->ring_bytes, row->n);
	return !out->err;
}

static bool has_memory(struct agi_rows *r)
{
	if (!r->rows)
		r->rows = calloc(AGI_ROWS_KEYS, sizeof *r->rows);
	if (!r->ring)
		r->ring = malloc(r->ring_bytes);
	return r->rows && r->ring;
}

/* Copies a value to the ring, in one piece. */
static uint64_t keep(struct agi_rows *r, struct agi_str value)
{
	size_t left = r->ring_bytes - r->head % r->ring_bytes;
	uint64_t at;

	if (value.n > left)
		r->head += left;
	at = r->head;
	if (value.n)
		memcpy(r->ring + at % r->ring_bytes, value.p, value.n);
	r->head += value.n;
	return at;
}

/* In the place of one that is gone, or else of the set's oldest, which stands last. */
static struct agi_row *make_room(struct agi_rows *r, const uint64_t hash[2])
{
	struct agi_row *set = &r->rows[(hash[0] & (SETS - 1)) * AGI_ROWS_WAYS];
	size_t at = 0;

	while (at < AGI_ROWS_WAYS - 1 && is_live(r, &set[at]))
		at++;
	memmove(set + 1, set, at * sizeof *set);
	return set;
}

void agi_rows_fill(struct agi_rows *r, enum agi_cf cf, struct agi_str key, struct agi_str value)
{
	struct agi_row *row;
	uint64_t hash[2];

	if (!has_memory(r))
		return; /* then nothing at all is here */
	hash_of(r, key, hash);
	row = find(r, cf, hash);
	if (value.n > AGI_ROW_BYTES_MAX) {
		if (row)
			row->is_there = false;
		return;
	}
	if (!row)
		row = make_room(r, hash);
	*row = (struct agi_row){
	    .hash = {hash[0], hash[1]}, .at = keep(r, value), .n = (uint32_t)value.n, .cf = cf, .is_there = true};
}

void agi_rows_drop(struct agi_rows *r, const struct agi_storage_op *op)
{
	struct agi_row *row;
	uint64_t hash[2];

	if (!r->rows)
		return;
	if (op->verb == AGI_DELETE_RANGE) { /* rare */
		agi_rows_free(r);
		return;
	}
	hash_of(r, op->key, hash);
	row = find(r, op->cf, hash);
	if (row)
		row->is_there = false;
}
