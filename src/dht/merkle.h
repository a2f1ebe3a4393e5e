/* SPDX-License-Identifier: Apache-2.0
 * What a slot holds, as hashes small enough to compare: pure values, no state of a node (that is tree.h).
 *
 * A tree has two levels. A record (a key and the version stored under it) is one 128-bit hash; a leaf is the XOR of
 * the hashes of its records; the root is a hash over all leaves. XOR lets one record be taken out and another be put
 * in without knowing the rest: a write costs three short hashes and no reading. A key's leaf is a part of the key's
 * hash, so the records of one leaf lie all over the slot and a leaf is a fair sample of it.
 *
 * The value takes no part: a version names one value (types.h), and a record whose value was dropped because it
 * expired must not differ from one that still has it.
 *
 * Hashes are keyed with the cluster's id (two clusters never compare). They find accidents, not lies: a member
 * that wants to hide a difference need not answer at all. Lists of records (struct agi_digest) are keyed anew in
 * each exchange, so that two keys that look alike once do not look alike the next time.
 *
 * Sources: Merkle, "A Digital Signature Based on a Conventional Encryption Function" (1987); anti-entropy with such
 * trees: DeCandia et al., "Dynamo" (2007), 4.7. XOR of hashes: Bellare and Micciancio (1997), who also show why
 * it is no defence against somebody who chooses the records. */
#ifndef AGI_DHT_MERKLE_H
#define AGI_DHT_MERKLE_H

#include <stdbool.h>

#include "base/hash.h"
#include "base/id.h"
#include "base/storage.h"

enum {
	AGI_MERKLE_LEAVES = 64, /* one bit each of the mask that names differing ones */
	AGI_MERKLE_BYTES = AGI_SIP_BYTES,
	AGI_MERKLE_TREE_BYTES = AGI_MERKLE_LEAVES * AGI_MERKLE_BYTES
};

struct agi_merkle_hash {
	uint8_t b[AGI_MERKLE_BYTES];
};
struct agi_merkle {
	struct agi_merkle_hash leaf[AGI_MERKLE_LEAVES]; /* all zero: no records */
};

/* key: as stored (slot, namespace and key). */
void agi_merkle_key(struct agi_merkle_hash *out, const struct agi_id *cluster, struct agi_str key);
uint32_t agi_merkle_leaf_of(const struct agi_merkle_hash *key);
/* Of one record: key as made by agi_merkle_key. */
void agi_merkle_record(struct agi_merkle_hash *out, const struct agi_id *cluster,
                       const struct agi_merkle_hash *key, const uint8_t version[AGI_VERSION_BYTES]);
/* Puts a record in, or takes it out again. */
void agi_merkle_toggle(struct agi_merkle *t, uint32_t leaf, const struct agi_merkle_hash *record);
bool agi_merkle_is_empty(const struct agi_merkle *t);
/* NULL stands for a tree without records, here and below. Two trees have one root when they are equal; the
 * root of none is all zero. */
void agi_merkle_root(struct agi_merkle_hash *out, const struct agi_id *cluster, const struct agi_merkle *t);
/* Bit i: leaf i differs. */
uint64_t agi_merkle_diff(const struct agi_merkle *a, const struct agi_merkle *b);

/* --- lists of records ---------------------------------------------------------------------------------- */
/* Enough of a record to say whether another node has it, has a newer one, or none. */
struct agi_digest {
	uint64_t key;     /* hash of the key */
	uint64_t version; /* hash of the version */
	uint64_t lead;    /* the version's first eight bytes: a later one is never smaller */
};
enum { AGI_DIGEST_BYTES = 24, AGI_NONCE_BYTES = AGI_SIP_KEY_BYTES };

void agi_digest_of(struct agi_digest *out, const uint8_t nonce[AGI_NONCE_BYTES], struct agi_str key,
                   const uint8_t version[AGI_VERSION_BYTES]);
void agi_digest_encode(uint8_t out[AGI_DIGEST_BYTES], const struct agi_digest *d);
void agi_digest_decode(struct agi_digest *out, const uint8_t in[AGI_DIGEST_BYTES]);
/* Orders by key hash, for agi_digests_lack. */
void agi_digests_sort(struct agi_digest *list, size_t n);
/* Would the owner of this sorted list gain from this record? True when it has nothing under the key, or another
 * version that is not surely newer. */
bool agi_digests_lack(const struct agi_digest *list, size_t n, const struct agi_digest *record);

#endif
