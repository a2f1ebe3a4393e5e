/* SPDX-License-Identifier: Apache-2.0
 * The versions of the keys that were written last, so that AGI_PUT_NEWER of a key that is written often needs no
 * read. It says what the newest version of a key is, or that it does not know. A key is known by a keyed
 * hash of 128 bits: who does not know the hash key cannot make two keys meet.
 *
 * Bounded: AGI_RECENT_KEYS entries, taken at the first write; without memory it knows nothing. Private to
 * src/store. */
#ifndef AGI_STORE_RECENT_H
#define AGI_STORE_RECENT_H

#include "base/storage.h"

enum { AGI_RECENT_WAYS = 4, AGI_RECENT_KEYS = 32768 }; /* 2 MiB; a power of two */

struct agi_recent_key { /* a key, hashed once */
	enum agi_cf cf;
	uint64_t hash[2];
};
struct agi_recent_entry {
	uint64_t hash[2];
	uint32_t generation; /* 0 = free; another than its family's: out of date */
	enum agi_cf cf;
	uint8_t version[AGI_VERSION_BYTES];
};
struct agi_recent {
	struct agi_recent_entry *entries; /* sets of AGI_RECENT_WAYS, the youngest first; NULL before the first write */
	uint32_t generation[AGI_CF_COUNT];
	uint8_t hash_key[16];
};

/* hash_key: 16 random bytes. */
void agi_recent_init(struct agi_recent *r, const uint8_t hash_key[16]);
void agi_recent_free(struct agi_recent *r);
struct agi_recent_key agi_recent_key(const struct agi_recent *r, enum agi_cf cf, struct agi_str key);
/* The version, valid until the next call that writes; NULL = not known. */
const uint8_t *agi_recent_find(const struct agi_recent *r, const struct agi_recent_key *key);
/* version: AGI_VERSION_BYTES. */
void agi_recent_put(struct agi_recent *r, const struct agi_recent_key *key, const void *version);
/* The key was written in another way, or deleted. */
void agi_recent_forget(struct agi_recent *r, const struct agi_recent_key *key);
void agi_recent_forget_family(struct agi_recent *r, enum agi_cf cf);
void agi_recent_clear(struct agi_recent *r);

#endif
