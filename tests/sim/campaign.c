/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "clients.h"
#include "faults.h"
#include "verdict.h"
#include "world.h"

enum { SECOND = 1000000, ALL = (1 << SIM_FAULT_COUNT) - 1 };

static uint32_t draw_nodes(struct agi_prng *r)
{
	uint64_t dice = agi_prng_below(r, 100);

	if (dice < 85)
		return 3 + (uint32_t)agi_prng_below(r, 5);
	return dice < 97 ? 8 + (uint32_t)agi_prng_below(r, 8) : 16 + (uint32_t)agi_prng_below(r, 35);
}

/* A few seeds are calm, a few have everything at once, most about half of it. */
static uint32_t draw_faults(struct agi_prng *r)
{
	uint64_t dice = agi_prng_below(r, 20);
	uint32_t bits = (uint32_t)agi_prng_u64(r) & ALL;

	if (dice == 0)
		return 0;
	if (dice <= 2)
		return ALL;
	return dice < 8 ? bits & (uint32_t)agi_prng_u64(r) : bits;
}

void sim_cfg_of_seed(struct sim_cfg *c, uint64_t seed)
{
	struct agi_prng r;

	*c = (struct sim_cfg){.seed = seed};
	agi_prng_seed(&r, seed ^ 0x5eed);
	c->nodes = draw_nodes(&r);
	c->slot_bits = 1 + (uint32_t)agi_prng_below(&r, 4);
	c->fault_seconds = (c->nodes > 15 ? 10 : 20) + (uint32_t)agi_prng_below(&r, c->nodes > 7 ? 10 : 30);
	c->faults = draw_faults(&r);
	c->down_after_ms = 3000 + (uint32_t)agi_prng_below(&r, 17000);
	c->stable_ms = 100 + 100 * (uint32_t)agi_prng_below(&r, 8);
	c->n_keys = 2 + (uint32_t)agi_prng_below(&r, SIM_KEYS - 1);
	c->n_registers = 1 + (uint32_t)agi_prng_below(&r, SIM_REGISTERS);
	c->strong_percent = 10 + 20 * (uint32_t)agi_prng_below(&r, 4);
	c->load_us = 15000 + (uint32_t)agi_prng_below(&r, 60000);
}

/* The first three nodes start at once, others join during the run. */
static void schedule_starts(struct sim_world *w)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		sim_push(w, w->now_us + sim_between(w, 0, i < 3 ? 300000 : (uint64_t)w->cfg.fault_seconds * 600000),
		         SIM_RESTART, i);
}

int sim_run(struct sim_world *w, const struct sim_cfg *cfg)
{
	sim_set_up(w, cfg);
	w->end_us = w->now_us + (uint64_t)cfg->fault_seconds * SECOND;
	schedule_starts(w);
	sim_faults_begin(w);
	sim_push(w, w->now_us + 500000, SIM_CLIENT, 0);
	sim_run_until(w, w->end_us);
	sim_faults_end(w);
	if (!w->failure[0])
		sim_verdict(w);
	sim_tear_down(w);
	return w->failure[0] ? 1 : 0;
}
