/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/attack.h"

#include <stdlib.h>

#include "sim/events.h"
#include "sim/rings.h"

enum { INVENTED_PER_NODE = 4 }; /* of those nearest to anything, four in five are invented then */

void agi_sim_attack_init(struct agi_sim_attack *a, const struct agi_sim_attack_cfg *cfg, uint32_t n_nodes,
                         uint32_t virtual_nodes, uint64_t seed)
{
	uint32_t want = (uint32_t)(cfg->share * n_nodes + 0.5);
	struct agi_prng r;

	*a = (struct agi_sim_attack){.cfg = *cfg, .n_nodes = n_nodes, .virtual_nodes = virtual_nodes};
	a->is_adversary = agi_sim_alloc(n_nodes, sizeof *a->is_adversary);
	agi_prng_seed(&r, seed);
	while (a->n_adversaries < want && a->n_adversaries + 2 < n_nodes) {
		uint32_t i = 1 + (uint32_t)agi_prng_below(&r, n_nodes - 1); /* not the founder */

		a->n_adversaries += !a->is_adversary[i];
		a->is_adversary[i] = true;
	}
	if (cfg->kind == AGI_SIM_COLLUDE && a->n_adversaries) {
		a->contact = agi_sim_alloc(n_nodes, sizeof *a->contact);
		a->is_named = agi_sim_alloc(n_nodes, sizeof *a->is_named);
	}
}

static void must(enum agi_err err)
{
	if (err != AGI_OK)
		(void)agi_sim_grow(NULL, SIZE_MAX, 2); /* out of memory: says so and ends */
}

void agi_sim_attack_invent(struct agi_sim_attack *a, uint64_t seed, void (*addr_of)(struct agi_addr *, uint32_t node))
{
	size_t n = (size_t)a->n_nodes * INVENTED_PER_NODE, i = 0;
	struct agi_prng r;

	if (a->cfg.kind != AGI_SIM_ECLIPSE || a->n_adversaries == 0)
		return;
	agi_prng_seed(&r, seed);
	a->contact = agi_sim_alloc(n, sizeof *a->contact);
	while (i < n) {
		uint32_t node = (uint32_t)agi_prng_below(&r, a->n_nodes);
		struct agi_contact *c = &a->contact[i];

		if (!a->is_adversary[node])
			continue;
		for (int b = 0; b < AGI_ID_BYTES; b++)
			c->id.b[b] = (uint8_t)agi_prng_u64(&r);
		addr_of(&c->addr, node);
		c->incarnation = 1;
		c->weight_milli = 1000;
		i++;
	}
	agi_sim_ring_build(&a->names, a->contact, n, a->virtual_nodes);
}

void agi_sim_attack_free(struct agi_sim_attack *a)
{
	agi_ring_free(&a->names);
	free(a->is_adversary);
	free(a->contact);
	free(a->is_named);
	*a = (struct agi_sim_attack){0};
}

void agi_sim_attack_came(struct agi_sim_attack *a, uint32_t node, const struct agi_contact *c)
{
	if (!a->is_named || !a->is_adversary[node] || a->is_named[node])
		return;
	a->contact[node] = *c;
	must(agi_ring_add(&a->names, &a->contact[node], a->virtual_nodes));
	a->is_named[node] = true;
}

void agi_sim_attack_went(struct agi_sim_attack *a, uint32_t node)
{
	if (!a->is_named || !a->is_named[node])
		return;
	agi_ring_remove(&a->names, &a->contact[node]);
	a->is_named[node] = false;
}

int agi_sim_attack_answer(const struct agi_sim_attack *a, const struct agi_id *target, struct agi_contact out[AGI_K])
{
	const struct agi_contact *near[AGI_K];
	size_t n;

	if (a->cfg.kind == AGI_SIM_DROP)
		return -1;
	if (a->cfg.kind == AGI_SIM_EMPTY)
		return 0;
	n = agi_ring_nearest(&a->names, target, near, AGI_K);
	for (size_t i = 0; i < n; i++)
		out[i] = *near[i];
	return (int)n;
}
