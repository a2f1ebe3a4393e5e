/* SPDX-License-Identifier: Apache-2.0
 * Values that were read lately, so that reading them again asks nobody. The owner's, not the store's thread's.
 *
 * What is here was in the database when it was read, and leaves when the completion of a later write to its key
 * is delivered. So a read from here sees every write whose completion was delivered before; and as each read of
 * the database comes in here, no read from here shows less than an earlier one did.
 *
 * Bounded: a ring of bytes (the oldest value gives way) and AGI_ROWS_KEYS entries, taken at the first read. A key
 * is known by a keyed hash of 128 bits. Private to src/store. */
#ifndef AGI_STORE_ROWS_H
#define AGI_STORE_ROWS_H

#include "base/buf.h"
#include "base/hash.h"
#include "base/storage.h"

enum {
	AGI_ROWS_WAYS = 4,
	AGI_ROWS_KEYS = 16384, /* a power of two */
	AGI_ROW_BYTES_MAX = 8192 /* larger values are not kept: copying them is most of reading them */
};

struct agi_row {
	uint64_t hash[2];
	uint64_t at;   /* of its bytes, counted over the ring's whole life */
	uint32_t n;
	enum agi_cf cf;
	bool is_there;
};
struct agi_rows {
	struct agi_row *rows; /* sets of AGI_ROWS_WAYS, the youngest first; NULL before the first fill */
	uint8_t *ring;
	size_t ring_bytes;
	uint64_t head;        /* bytes ever written to the ring: the next go to head % ring_bytes */
	uint8_t hash_key[AGI_SIP_KEY_BYTES];
};

/* ring_bytes: at least AGI_ROW_BYTES_MAX. */
void agi_rows_init(struct agi_rows *r, size_t ring_bytes, const uint8_t hash_key[AGI_SIP_KEY_BYTES]);
void agi_rows_free(struct agi_rows *r);
/* Appends the value to out; false when it is not here. */
bool agi_rows_find(const struct agi_rows *r, enum agi_cf cf, struct agi_str key, struct agi_buf *out);
/* The database has this value under key now. Without memory for it, or when it is too large, the key leaves. */
void agi_rows_fill(struct agi_rows *r, enum agi_cf cf, struct agi_str key, struct agi_str value);
/* Something was written, or was to be written, by this operation. */
void agi_rows_drop(struct agi_rows *r, const struct agi_storage_op *op);

#endif
