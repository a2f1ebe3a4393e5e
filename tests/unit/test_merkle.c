/* SPDX-License-Identifier: Apache-2.0
 * Trees and lists of records against a slow twin: a plain list of what is stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/prng.h"
#include "dht/merkle.h"

enum { N_KEYS = 300 };

static const struct agi_id cluster = {{1, 2, 3}};

/* What one replica stores: version 0 = nothing. */
struct twin {
	uint64_t version[N_KEYS];
	struct agi_merkle tree;
};

static struct agi_str key_text(char out[16], int key)
{
	snprintf(out, 16, "key-%d", key);
	return (struct agi_str){out, strlen(out)};
}

static void version_bytes(uint8_t out[AGI_VERSION_BYTES], uint64_t v)
{
	memset(out, 0, AGI_VERSION_BYTES);
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(v >> (56 - 8 * i));
}

static void toggle(struct agi_merkle *t, int key, uint64_t v)
{
	uint8_t version[AGI_VERSION_BYTES];
	struct agi_merkle_hash k, r;
	char text[16];

	if (!v)
		return;
	version_bytes(version, v);
	agi_merkle_key(&k, &cluster, key_text(text, key));
	agi_merkle_record(&r, &cluster, &k, version);
	agi_merkle_toggle(t, agi_merkle_leaf_of(&k), &r);
}

static void write_key(struct twin *t, int key, uint64_t v)
{
	toggle(&t->tree, key, t->version[key]);
	toggle(&t->tree, key, v);
	t->version[key] = v;
}

static struct agi_merkle built(const struct twin *t)
{
	struct agi_merkle m = {0};

	for (int i = 0; i < N_KEYS; i++)
		toggle(&m, i, t->version[i]);
	return m;
}

static uint64_t expected_mask(const struct twin *a, const struct twin *b)
{
	uint64_t mask = 0;
	struct agi_merkle_hash k;
	char text[16];

	for (int i = 0; i < N_KEYS; i++) {
		agi_merkle_key(&k, &cluster, key_text(text, i));
		if (a->version[i] != b->version[i])
			mask |= UINT64_C(1) << agi_merkle_leaf_of(&k);
	}
	return mask;
}

static void a_tree_kept_by_writes_is_the_tree_built_from_what_is_stored(void **state)
{
	static struct twin a, b;
	struct agi_merkle_hash ra, rb;
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 11);
	for (int step = 0; step < 20000; step++) {
		struct twin *t = agi_prng_below(&r, 2) ? &a : &b;
		struct agi_merkle fresh;

		write_key(t, (int)agi_prng_below(&r, N_KEYS), agi_prng_below(&r, 4));
		if (step % 100 == 0) { /* now and then they agree */
			memcpy(b.version, a.version, sizeof b.version);
			b.tree = a.tree;
		}
		if (step % 7)
			continue;
		fresh = built(t);
		assert_memory_equal(&fresh, &t->tree, sizeof fresh);
		assert_true(agi_merkle_diff(&a.tree, &b.tree) == expected_mask(&a, &b));
		agi_merkle_root(&ra, &cluster, &a.tree);
		agi_merkle_root(&rb, &cluster, &b.tree);
		assert_true((memcmp(&ra, &rb, sizeof ra) == 0) == (expected_mask(&a, &b) == 0));
	}
}

static void a_tree_emptied_again_is_no_tree(void **state)
{
	static struct twin t;
	struct agi_merkle_hash root, zero = {{0}};

	(void)state;
	for (int i = 0; i < N_KEYS; i++)
		write_key(&t, i, 5);
	assert_false(agi_merkle_is_empty(&t.tree));
	assert_int_not_equal(agi_merkle_diff(&t.tree, NULL), 0);
	agi_merkle_root(&root, &cluster, &t.tree);
	assert_memory_not_equal(&root, &zero, sizeof root);
	for (int i = 0; i < N_KEYS; i++)
		write_key(&t, i, 0);
	assert_true(agi_merkle_is_empty(&t.tree) && agi_merkle_is_empty(NULL));
	assert_int_equal(agi_merkle_diff(&t.tree, NULL), 0);
	agi_merkle_root(&root, &cluster, &t.tree);
	assert_memory_equal(&root, &zero, sizeof root);
	agi_merkle_root(&root, &cluster, NULL);
	assert_memory_equal(&root, &zero, sizeof root);
}

static void keys_are_spread_over_all_leaves(void **state)
{
	uint32_t n[AGI_MERKLE_LEAVES] = {0};
	struct agi_merkle_hash k;
	char text[16];

	(void)state;
	for (int i = 0; i < 64 * AGI_MERKLE_LEAVES; i++) {
		agi_merkle_key(&k, &cluster, key_text(text, i));
		n[agi_merkle_leaf_of(&k)]++;
	}
	for (int i = 0; i < AGI_MERKLE_LEAVES; i++)
		assert_in_range(n[i], 32, 112); /* 64 expected, deviation 8 */
}

static void hashes_of_another_cluster_are_others(void **state)
{
	struct agi_id other = {{1, 2, 4}};
	struct agi_merkle_hash a, b;

	(void)state;
	agi_merkle_key(&a, &cluster, AGI_STR("key"));
	agi_merkle_key(&b, &other, AGI_STR("key"));
	assert_memory_not_equal(&a, &b, sizeof a);
}

static void digest(struct agi_digest *out, const uint8_t nonce[AGI_NONCE_BYTES], int key, uint64_t v)
{
	uint8_t version[AGI_VERSION_BYTES], wire[AGI_DIGEST_BYTES];
	struct agi_digest d;
	char text[16];

	version_bytes(version, v);
	agi_digest_of(&d, nonce, key_text(text, key), version);
	agi_digest_encode(wire, &d);
	agi_digest_decode(out, wire);
}

/* Exactly what the other side has newer, or we have not at all, is asked for. */
static void a_list_lacks_what_is_absent_or_older_and_nothing_else(void **state)
{
	static struct twin own, other;
	struct agi_digest list[N_KEYS], d;
	uint8_t nonce[AGI_NONCE_BYTES] = {0};
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 12);
	for (int round = 0; round < 50; round++) {
		size_t n = 0;

		nonce[0] = (uint8_t)round;
		for (int i = 0; i < N_KEYS; i++) {
			own.version[i] = agi_prng_below(&r, 5);
			other.version[i] = agi_prng_below(&r, 5);
			if (own.version[i])
				digest(&list[n++], nonce, i, own.version[i]);
		}
		agi_digests_sort(list, n);
		for (int i = 0; i < N_KEYS; i++) {
			if (!other.version[i])
				continue;
			digest(&d, nonce, i, other.version[i]);
			assert_true(agi_digests_lack(list, n, &d) == (other.version[i] > own.version[i]));
		}
	}
	digest(&d, nonce, 0, 1);
	assert_true(agi_digests_lack(NULL, 0, &d));
}

/* Versions of one clock tick differ further back: both sides then ask, and storage keeps the newest. */
static void versions_with_one_lead_are_told_apart(void **state)
{
	uint8_t version[AGI_VERSION_BYTES] = {0}, nonce[AGI_NONCE_BYTES] = {0};
	struct agi_digest a, b;

	(void)state;
	agi_digest_of(&a, nonce, AGI_STR("key"), version);
	version[AGI_VERSION_BYTES - 1] = 1;
	agi_digest_of(&b, nonce, AGI_STR("key"), version);
	assert_true(agi_digests_lack(&a, 1, &b) && agi_digests_lack(&b, 1, &a));
	assert_false(agi_digests_lack(&a, 1, &a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_tree_kept_by_writes_is_the_tree_built_from_what_is_stored),
	    cmocka_unit_test(a_tree_emptied_again_is_no_tree),
	    cmocka_unit_test(keys_are_spread_over_all_leaves),
	    cmocka_unit_test(hashes_of_another_cluster_are_others),
	    cmocka_unit_test(a_list_lacks_what_is_absent_or_older_and_nothing_else),
	    cmocka_unit_test(versions_with_one_lead_are_told_apart),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
