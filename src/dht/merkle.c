/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/merkle.h"

#include <stdlib.h>
#include <string.h>

void agi_merkle_key(struct agi_merkle_hash *out, const struct agi_id *cluster, struct agi_str key)
{
	agi_siphash(out->b, cluster->b, key);
}

uint32_t agi_merkle_leaf_of(const struct agi_merkle_hash *key) { return key->b[0] % AGI_MERKLE_LEAVES; }

void agi_merkle_record(struct agi_merkle_hash *out, const struct agi_id *cluster,
                       const struct agi_merkle_hash *key, const uint8_t version[AGI_VERSION_BYTES])
{
	uint8_t both[AGI_MERKLE_BYTES + AGI_VERSION_BYTES];

	memcpy(both, key->b, AGI_MERKLE_BYTES);
	memcpy(both + AGI_MERKLE_BYTES, version, AGI_VERSION_BYTES);
	agi_siphash(out->b, cluster->b, (struct agi_str){(const char *)both, sizeof both});
}

void agi_merkle_toggle(struct agi_merkle *t, uint32_t leaf, const struct agi_merkle_hash *record)
{
	for (int i = 0; i < AGI_MERKLE_BYTES; i++)
		t->leaf[leaf].b[i] ^= record->b[i];
}

bool agi_merkle_is_empty(const struct agi_merkle *t)
{
	static const struct agi_merkle empty;

	return !t || memcmp(t, &empty, sizeof empty) == 0;
}

void agi_merkle_root(struct agi_merkle_hash *out, const struct agi_id *cluster, const struct agi_merkle *t)
{
	*out = (struct agi_merkle_hash){{0}};
	if (!agi_merkle_is_empty(t))
		agi_siphash(out->b, cluster->b, (struct agi_str){(const char *)t->leaf, sizeof t->leaf});
}

uint64_t agi_merkle_diff(const struct agi_merkle *a, const struct agi_merkle *b)
{
	static const struct agi_merkle empty;
	uint64_t mask = 0;

	a = a ? a : &empty;
	b = b ? b : &empty;
	for (int i = 0; i < AGI_MERKLE_LEAVES; i++)
		if (memcmp(&a->leaf[i], &b->leaf[i], sizeof a->leaf[i]) != 0)
			mask |= UINT64_C(1) << i;
	return mask;
}

/* --- lists of records ---------------------------------------------------------------------------------- */

static uint64_t get_u64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static void put_u64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (56 - 8 * i));
}

void agi_digest_of(struct agi_digest *out, const uint8_t nonce[AGI_NONCE_BYTES], struct agi_str key,
                   const uint8_t version[AGI_VERSION_BYTES])
{
	uint8_t h[AGI_SIP_BYTES];

	agi_siphash(h, nonce, key);
	out->key = get_u64(h);
	agi_siphash(h, nonce, (struct agi_str){(const char *)version, AGI_VERSION_BYTES});
	out->version = get_u64(h);
	out->lead = get_u64(version);
}

void agi_digest_encode(uint8_t out[AGI_DIGEST_BYTES], const struct agi_digest *d)
{
	put_u64(out, d->key);
	put_u64(out + 8, d->version);
	put_u64(out + 16, d->lead);
}

void agi_digest_decode(struct agi_digest *out, const uint8_t in[AGI_DIGEST_BYTES])
{
	*out = (struct agi_digest){get_u64(in), get_u64(in + 8), get_u64(in + 16)};
}

static int cmp_key(const void *a, const void *b)
{
	const struct agi_digest *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

void agi_digests_sort(struct agi_digest *list, size_t n)
{
	if (n)
		qsort(list, n, sizeof *list, cmp_key);
}

bool agi_digests_lack(const struct agi_digest *list, size_t n, const struct agi_digest *record)
{
	const struct agi_digest *own = n ? bsearch(record, list, n, sizeof *list, cmp_key) : NULL;

	return !own || (own->version != record->version && own->lead <= record->lead);
}
