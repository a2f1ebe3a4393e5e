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

static uint32_t draw(struct agi_prng *r, uint32_t lo, uint32_t hi)
{
	return lo + (uint32_t)agi_prng_below(r, hi - lo + 1);
}

static void draw_any(struct sim_cfg *c, struct agi_prng *r)
{
	c->nodes = draw_nodes(r);
	c->slot_bits = draw(r, 1, 4);
	c->fault_seconds = (c->nodes > 15 ? 10 : 20) + draw(r, 0, c->nodes > 7 ? 10 : 30);
	c->faults = draw_faults(r);
	c->n_keys = draw(r, 2, SIM_KEYS);
	c->n_registers = draw(r, 1, SIM_REGISTERS);
	c->strong_percent = 10 + 20 * draw(r, 0, 3);
	c->load_us = draw(r, 15000, 75000);
}

enum {
	LATE = 1 << SIM_DELAY | 1 << SIM_SLOW_DISK,
	RIVAL = 1 << SIM_RIVALS | 1 << SIM_PAIRS,
	CRASHES = 1 << SIM_STORE_CRASH | 1 << SIM_CRASH,
	CHURN = 1 << SIM_PLACE | 1 << SIM_DRAIN | 1 << SIM_LEAVE
};

/* A few slots and registers that everybody fights for. */
static void draw_strong(struct sim_cfg *c, struct agi_prng *r)
{
	c->nodes = draw(r, 3, 4);
	c->slot_bits = 1;
	c->fault_seconds = draw(r, 12, 20);
	c->faults = LATE | RIVAL | CRASHES | (draw_faults(r) & ~(uint32_t)(1 << SIM_CLOCK_JUMP));
	c->n_keys = 2;
	c->n_registers = draw(r, 1, 3);
	c->strong_percent = 95;
	c->load_us = draw(r, 8000, 30000);
	c->fault_us = 600000;
}

/* Views that never come to rest. */
static void draw_views(struct sim_cfg *c, struct agi_prng *r)
{
	c->nodes = draw(r, 4, 7);
	c->slot_bits = draw(r, 1, 2);
	c->fault_seconds = draw(r, 12, 20);
	c->faults = LATE | RIVAL | CRASHES | (draw_faults(r) & (CHURN | 1 << SIM_DROP | 1 << SIM_ONE_WAY));
	c->n_keys = draw(r, 2, 10);
	c->n_registers = draw(r, 1, 3);
	c->strong_percent = 50;
	c->load_us = 60000;
	c->fault_us = 300000;
}

/* Few keys that are written much, while slots move and replicas miss writes. */
static void draw_items(struct sim_cfg *c, struct agi_prng *r)
{
	c->nodes = draw(r, 4, 6);
	c->slot_bits = draw(r, 1, 3);
	c->fault_seconds = draw(r, 15, 30);
	c->faults = draw_faults(r) | (draw_faults(r) & (LATE | CRASHES | CHURN));
	c->n_keys = draw(r, 2, 8);
	c->n_registers = 1;
	c->strong_percent = 0;
	c->load_us = draw(r, 6000, 20000);
	c->fault_us = 800000;
}

static void draw_founding(struct sim_cfg *c, struct agi_prng *r)
{
	c->nodes = draw(r, 3, 4);
	c->slot_bits = 1;
	c->fault_seconds = draw(r, 3, 8);
	c->faults = 1 << SIM_EARLY | LATE | CRASHES | (draw_faults(r) & (1 << SIM_DROP | 1 << SIM_PARTITION));
	c->n_keys = 2;
	c->n_registers = 1;
	c->strong_percent = 10;
	c->load_us = 75000;
	c->fault_us = 300000;
}

/* What was deleted is collected at once, while replicas miss writes, and hosts come back that were replaced. */
static void draw_dead(struct sim_cfg *c, struct agi_prng *r)
{
	c->nodes = draw(r, 4, 5);
	c->slot_bits = 1;
	c->fault_seconds = draw(r, 25, 40);
	c->faults = LATE | 1 << SIM_CRASH | 1 << SIM_PARTITION | (draw_faults(r) & ~(uint32_t)(1 << SIM_CLOCK_JUMP));
	c->n_keys = draw(r, 2, 12);
	c->n_registers = draw(r, 1, 4);
	c->strong_percent = 30;
	c->load_us = draw(r, 15000, 60000);
	c->grace_ms = draw(r, 200, 1500);
}

void sim_cfg_of_seed(struct sim_cfg *c, uint64_t seed, enum sim_focus focus)
{
	static void (*const draw_focus[])(struct sim_cfg *, struct agi_prng *) = {
	    draw_any, draw_strong, draw_views, draw_items, draw_founding, draw_dead};
	struct agi_prng r;

	*c = (struct sim_cfg){.seed = seed};
	agi_prng_seed(&r, seed ^ 0x5eed);
	if (focus == SIM_FOCUS_ANY) /* half of the seeds have none */
		focus = (enum sim_focus)agi_prng_below(&r, 2 * SIM_FOCUS_ANY);
	if (focus >= SIM_FOCUS_ANY)
		focus = SIM_FOCUS_NONE;
	draw_focus[focus](c, &r);
	c->down_after_ms = draw(&r, 3000, 20000);
	c->stable_ms = 100 * draw(&r, 1, 8);
	c->repair_ms = draw(&r, 500, 8000);
	if (!c->grace_ms)
		c->grace_ms = draw(&r, 0, 1) ? SIM_GRACE_MS : draw(&r, 500, 3500);
	c->near_hosts = draw(&r, 0, 2) ? 0 : draw(&r, 1, 4);
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
