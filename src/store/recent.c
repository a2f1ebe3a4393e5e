/* SPDX-License-Identifier: Apache-2.0 */
#include "store/recent.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

enum { SETS = AGI_RECENT_KEYS / AGI_RECENT_WAYS };

static_assert((SETS & (SETS - 1)) == 0, "a power of two");
static_assert(crypto_shorthash_siphashx24_KEYBYTES == 16, "SipHash key");
static_assert(crypto_shorthash_siphashx24_BYTES == sizeof(((struct agi_recent_key *)0)->hash), "hash");

void agi_recent_init(struct agi_recent *r, const uint8_t hash_key[16])
{
	*r = (struct agi_recent){0};
	memcpy(r->hash_key, hash_key, sizeof r->hash_key);
	for (int i = 0; i < AGI_CF_COUNT; i++)
		r->generation[i] = 1;
}

void agi_recent_free(struct agi_recent *r)
{
	free(r->entries);
	r->entries = NULL;
}

struct agi_recent_key agi_recent_key(const struct agi_recent *r, enum agi_cf cf, struct agi_str key)
{
	struct agi_recent_key k = {.cf = cf};

	crypto_shorthash_siphashx24((uint8_t *)k.hash, (const uint8_t *)(key.p ? key.p : ""), key.n,
	                            r->hash_key);
	return k;
}

static bool is_live(const struct agi_recent *r, const struct agi_recent_entry *e)
{
	return e->generation == r->generation[e->cf];
}

static struct agi_recent_entry *set_of(const struct agi_recent *r, const struct agi_recent_key *key)
{
	return &r->entries[(key->hash[0] & (SETS - 1)) * AGI_RECENT_WAYS];
}

static struct agi_recent_entry *find(const struct agi_recent *r, const struct agi_recent_key *key)
{
	struct agi_recent_entry *set;

	if (!r->entries)
		return NULL;
	set = set_of(r, key);
	for (int i = 0; i < AGI_RECENT_WAYS; i++)
		if (set[i].hash[0] == key->hash[0] && set[i].hash[1] == key->hash[1] &&
		    set[i].cf == key->cf && is_live(r, &set[i]))
			return &set[i];
	return NULL;
}

const uint8_t *agi_recent_find(const struct agi_recent *r, const struct agi_recent_key *key)
{
	const struct agi_recent_entry *e = find(r, key);

	return e ? e->version : NULL;
}

/* In the place of one that says nothing any more, or else of the set's oldest, which stands last. */
static struct agi_recent_entry *make_room(const struct agi_recent *r, const struct agi_recent_key *key)
{
	struct agi_recent_entry *set = set_of(r, key);
	size_t at = 0;

	while (at < AGI_RECENT_WAYS - 1 && is_live(r, &set[at]))
		at++;
	memmove(set + 1, set, at * sizeof *set);
	return set;
}

void agi_recent_put(struct agi_recent *r, const struct agi_recent_key *key, const void *version)
{
	struct agi_recent_entry *e = find(r, key);

	if (!r->entries)
		r->entries = calloc(AGI_RECENT_KEYS, sizeof *r->entries);
	if (!r->entries)
		return;
	if (!e)
		e = make_room(r, key);
	*e = (struct agi_recent_entry){.hash = {key->hash[0], key->hash[1]},
	                               .generation = r->generation[key->cf],
	                               .cf = key->cf};
	memcpy(e->version, version, AGI_VERSION_BYTES);
}

void agi_recent_forget(struct agi_recent *r, const struct agi_recent_key *key)
{
	struct agi_recent_entry *e = find(r, key);

	if (e)
		e->generation = 0;
}

void agi_recent_forget_family(struct agi_recent *r, enum agi_cf cf)
{
	if (++r->generation[cf] == 0) /* entries of 2^32 changes ago would count again */
		agi_recent_clear(r);
}

void agi_recent_clear(struct agi_recent *r)
{
	free(r->entries);
	r->entries = NULL;
	for (int i = 0; i < AGI_CF_COUNT; i++)
		r->generation[i] = 1;
}
