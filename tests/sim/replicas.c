/* SPDX-License-Identifier: Apache-2.0 */
#include "replicas.h"

#include <stdio.h>

#include "dht/merkle.h"

static uint32_t slot_of(struct agi_str key)
{
	const uint8_t *p = (const uint8_t *)key.p;

	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Index of the first record of this slot, or of what comes after it. */
static size_t first_of(const struct sim_table *t, uint32_t slot)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (slot_of(t->e[mid].key) < slot)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void build(struct agi_merkle *out, const struct agi_id *cluster, const struct sim_table *t, uint32_t slot)
{
	*out = (struct agi_merkle){0};
	for (size_t i = first_of(t, slot); i < t->n && slot_of(t->e[i].key) == slot; i++) {
		struct agi_merkle_hash key, record;

		agi_merkle_key(&key, cluster, t->e[i].key);
		agi_merkle_record(&record, cluster, &key, (const uint8_t *)t->e[i].value.p);
		agi_merkle_toggle(out, agi_merkle_leaf_of(&key), &record);
	}
}

bool sim_trees_are_right(const struct sim_node *n, char why[200])
{
	const struct agi_merkle *tree[2];
	struct agi_dht_status st;

	agi_dht_status(n->dht, &st);
	for (uint32_t s = 0; s < 1u << n->w->cfg.slot_bits; s++) {
		if (!agi_dht_trees(n->dht, s, &tree[0], &tree[1]))
			continue;
		for (int i = 0; i < 2; i++) {
			struct agi_merkle real;

			build(&real, &st.cluster, &n->disk.cf[i ? AGI_CF_STRONG : AGI_CF_ITEMS], s);
			if (agi_merkle_diff(&real, tree[i]) == 0)
				continue;
			snprintf(why, 200, "node %u: the tree of slot %u (%s) is not that of its disk", n->index, s,
			         i ? "registers" : "items");
			return false;
		}
	}
	return true;
}

/* Deleted, or with a time to live: its value may be gone already on one side. */
static bool may_lose_value(struct agi_str value, bool is_strong)
{
	return !is_strong && value.n >= AGI_VERSION_BYTES + 9 &&
	       memcmp(value.p + AGI_VERSION_BYTES, "\0\0\0\0\0\0\0\0\0", 9) != 0;
}

static bool is_alike(const struct sim_entry *a, const struct sim_entry *b, bool is_strong)
{
	if (!agi_str_eq(a->key, b->key))
		return false;
	if (may_lose_value(a->value, is_strong) || may_lose_value(b->value, is_strong))
		return memcmp(a->value.p, b->value.p, AGI_VERSION_BYTES) == 0;
	return agi_str_eq(a->value, b->value);
}

static bool is_slot_equal(const struct sim_node *a, const struct sim_node *b, uint32_t slot, enum agi_cf cf,
                          char why[200])
{
	const struct sim_table *x = &a->disk.cf[cf], *y = &b->disk.cf[cf];
	size_t i = first_of(x, slot), k = first_of(y, slot);

	for (;; i++, k++) {
		bool has_x = i < x->n && slot_of(x->e[i].key) == slot;
		bool has_y = k < y->n && slot_of(y->e[k].key) == slot;
		struct agi_str key;

		if (!has_x && !has_y)
			return true;
		if (has_x && has_y && is_alike(&x->e[i], &y->e[k], cf == AGI_CF_STRONG))
			continue;
		key = has_x ? x->e[i].key : y->e[k].key;
		snprintf(why, 200, "slot %u: nodes %u and %u differ in %s at or near key %.*s", slot, a->index,
		         b->index, agi_cf_name(cf), (int)(key.n - 5), key.p + 5);
		return false;
	}
}

static bool holds(struct sim_node *n, uint32_t slot, uint64_t *epoch)
{
	enum agi_view_phase phase;
	struct agi_view v;

	if (!agi_dht_slot(n->dht, slot, &v, &phase) || phase != AGI_VIEW_ACTIVE)
		return false;
	*epoch = v.epoch;
	return true;
}

bool sim_replicas_are_equal(struct sim_world *w, char why[200])
{
	for (uint32_t s = 0; s < 1u << w->cfg.slot_bits; s++) {
		struct sim_node *first = NULL;
		uint64_t epoch = 0, first_epoch = 0;

		for (uint32_t i = 0; i < w->cfg.nodes; i++) {
			struct sim_node *n = &w->node[i];

			if (!holds(n, s, &epoch))
				continue;
			if (!first) {
				first = n;
				first_epoch = epoch;
			} else if (epoch != first_epoch) {
				snprintf(why, 200, "slot %u: nodes %u and %u are active in different epochs", s,
				         first->index, i);
				return false;
			} else if (!is_slot_equal(first, n, s, AGI_CF_ITEMS, why) ||
			           !is_slot_equal(first, n, s, AGI_CF_STRONG, why)) {
				return false;
			}
		}
	}
	return true;
}

size_t sim_records(const struct sim_world *w, enum agi_cf cf)
{
	size_t n = 0;

	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		n += w->node[i].disk.cf[cf].n;
	return n;
}
