/* SPDX-License-Identifier: Apache-2.0
 * Runs many seeds of the simulator. Environment: SEEDS (how many), SEED_BASE, SEED (one only, with its
 * story told), NODES. A failing seed prints the command that replays it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "world.h"

static uint64_t env(const char *name, uint64_t fallback)
{
	const char *v = getenv(name);

	return v && *v ? strtoull(v, NULL, 10) : fallback;
}

static struct sim_cfg cfg_of(uint64_t seed)
{
	struct agi_prng r;
	struct sim_cfg c = {.seed = seed};

	agi_prng_seed(&r, seed ^ 0x5eed);
	c.nodes = (uint32_t)env("NODES", 3 + agi_prng_below(&r, 6));
	c.slot_bits = 1 + (uint32_t)agi_prng_below(&r, 4);
	c.fault_seconds = 20 + (uint32_t)agi_prng_below(&r, 40);
	return c;
}

static int replay(uint64_t seed)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg c = cfg_of(seed);
	int rc;

	c.is_verbose = true;
	rc = sim_run(w, &c);
	printf("# seed %" PRIu64 ": %s\n", seed, rc ? w->failure : "every invariant held");
	free(w);
	return rc;
}

int main(void)
{
	uint64_t n = env("SEEDS", 200), base = env("SEED_BASE", 1), failed = 0;
	struct sim_world *w = malloc(sizeof *w);
	struct sim_stats sum = {0};
	uint64_t hash;
	struct sim_cfg c;

	if (agi_crypto_init() != AGI_OK || !w)
		return 1;
	if (getenv("SEED")) {
		free(w);
		return replay(env("SEED", 1));
	}
	printf("1..2\n");
	for (uint64_t s = base; s < base + n; s++) {
		c = cfg_of(s);
		if (sim_run(w, &c) != 0) {
			printf("# seed %" PRIu64 ": %s\n# replay: SEED=%" PRIu64 " tests/sim/test_sim\n", s,
			       w->failure, s);
			failed++;
		}
		sum.events += w->stats.events;
		sum.acked += w->stats.acked;
		sum.failed += w->stats.failed;
		sum.crashes += w->stats.crashes;
		sum.partitions += w->stats.partitions;
		sum.views += w->stats.views;
		sum.transfers += w->stats.transfers;
		sum.strong += w->stats.strong;
		sum.strong_unknown += w->stats.strong_unknown;
		sum.strong_failed += w->stats.strong_failed;
	}
	printf("# %" PRIu64 " seeds: %" PRIu64 " events, %" PRIu64 " writes acknowledged, %" PRIu64
	       " calls failed, %" PRIu64 " crashes, %" PRIu64 " partitions, %" PRIu64
	       " view changes, %" PRIu64 " pages pulled\n",
	       n, sum.events, sum.acked, sum.failed, sum.crashes, sum.partitions, sum.views, sum.transfers);
	printf("# strong operations: %" PRIu64 " answered, %" PRIu64 " of them unknown, %" PRIu64 " without effect\n",
	       sum.strong, sum.strong_unknown, sum.strong_failed);
	printf("%s 1 - no acknowledged write is lost, registers are linearizable, one view per epoch over %" PRIu64 " seeds\n",
	       failed ? "not ok" : "ok", n);
	c = cfg_of(base);
	(void)sim_run(w, &c);
	hash = w->trace;
	(void)sim_run(w, &c);
	printf("%s 2 - the same seed gives the same trace\n", hash == w->trace ? "ok" : "not ok");
	free(w);
	return failed ? 1 : 0;
}
