/* SPDX-License-Identifier: Apache-2.0
 * How long a message takes from one simulated node to another. */
#ifndef AGI_SIM_LATENCY_H
#define AGI_SIM_LATENCY_H

#include "base/err.h"
#include "base/prng.h"

enum agi_sim_latency_kind {
	AGI_SIM_GEO,     /* hosts in and around cities of this earth: distance through fibre, plus each host's own access */
	AGI_SIM_UNIFORM, /* each pair has its own delay, drawn once from a range */
	AGI_SIM_MATRIX   /* measured round trips of sites, from a file; node i is at site i modulo their number */
};
struct agi_sim_latency_cfg {
	enum agi_sim_latency_kind kind;
	uint32_t min_us, max_us; /* UNIFORM: one way */
	const char *file;        /* MATRIX: a count n, then n rows of n round trips in milliseconds; '#' begins a comment */
};
struct agi_sim_place {
	float x, y, z;           /* on the unit sphere */
	float access_us;
};
struct agi_sim_latency {
	struct agi_sim_latency_cfg cfg;
	uint64_t seed;
	struct agi_sim_place *place; /* GEO: of each node */
	float *rtt_us;           /* MATRIX */
	uint32_t n_nodes, n_sites;
};

/* INVALID or IO with why for a file that cannot be used. cfg->file is borrowed for the call only. */
AGI_MUST_USE enum agi_err agi_sim_latency_init(struct agi_sim_latency *l, const struct agi_sim_latency_cfg *cfg,
                                               uint32_t n_nodes, uint64_t seed, struct agi_why *why);
void agi_sim_latency_free(struct agi_sim_latency *l);
/* One way, without jitter; the same in both directions but for a matrix that is not symmetric. */
uint32_t agi_sim_latency_us(const struct agi_sim_latency *l, uint32_t from, uint32_t to);
uint32_t agi_sim_latency_rtt_us(const struct agi_sim_latency *l, uint32_t a, uint32_t b);

#endif
