/* SPDX-License-Identifier: Apache-2.0
 * Runs many seeds of the simulator, one process per processor. Environment: SEEDS (how many), SEED_BASE, SIM_JOBS
 * (processes), SEED (one only, with its story told), SIM_FOCUS (all of them in one enum sim_focus; a number). A
 * failing seed prints the command that replays it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "world.h"

enum { JOBS_MAX = 64, SEEDS_DEFAULT = 2000, SEEDS_SANITIZED = 120, SEEDS_FOR_COVERAGE = 300 };

struct report {
	uint64_t failed;
	struct sim_stats sum;
};

static uint64_t env(const char *name, uint64_t fallback)
{
	const char *v = getenv(name);

	return v && *v ? strtoull(v, NULL, 10) : fallback;
}

static enum sim_focus focus(void)
{
	uint64_t f = env("SIM_FOCUS", SIM_FOCUS_ANY);

	return f < SIM_FOCUS_ANY ? (enum sim_focus)f : SIM_FOCUS_ANY;
}

static uint64_t default_seeds(void)
{
	const char *san = getenv("AGI_SANITIZERS"), *level = getenv("AGI_TEST_LEVEL");

	if ((san && *san) || (level && strcmp(level, "unit") == 0))
		return SEEDS_SANITIZED;
	return SEEDS_DEFAULT;
}

static void tell_cfg(const struct sim_cfg *c)
{
	static const char *const texts[] = {
#define TEXT(name, text) text,
	    SIM_FAULTS(TEXT)
#undef TEXT
	};

	printf("# %u nodes, %u slots, %u s", c->nodes, 1u << c->slot_bits, c->fault_seconds);
	for (int i = 0; i < SIM_FAULT_COUNT; i++)
		if (c->faults >> i & 1)
			printf("; %s", texts[i]);
	printf("\n");
}

static int replay(uint64_t seed)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg c;
	int rc;

	if (!w)
		return 1;
	sim_cfg_of_seed(&c, seed, focus());
	tell_cfg(&c);
	c.is_verbose = true;
	rc = sim_run(w, &c);
	printf("# seed %" PRIu64 ": %s\n", seed, rc ? w->failure : "every invariant held");
	free(w);
	return rc;
}

static void add(struct sim_stats *sum, const struct sim_stats *x)
{
#define ADD(name) sum->name += x->name;
	SIM_STATS(ADD)
#undef ADD
}

/* Every `step`-th seed from the base on. */
static void run_seeds(uint64_t base, uint64_t n, uint64_t first, uint64_t step, struct report *out)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg c;

	if (!w)
		abort();
	for (uint64_t i = first; i < n; i += step) {
		sim_cfg_of_seed(&c, base + i, focus());
		if (sim_run(w, &c) != 0) {
			printf("# seed %" PRIu64 ": %s\n# replay: ", base + i, w->failure);
			if (focus() != SIM_FOCUS_ANY)
				printf("SIM_FOCUS=%d ", (int)focus());
			printf("SEED=%" PRIu64 " tests/sim/test_sim\n", base + i);
			out->failed++;
		}
		add(&out->sum, &w->stats);
	}
	free(w);
}

/* A child reports through a pipe; one that dies without a report counts as failed. */
static void child(uint64_t base, uint64_t n, uint64_t first, uint64_t step, int fd)
{
	struct report r = {0};

	run_seeds(base, n, first, step, &r);
	fflush(stdout);
	exit(write(fd, &r, sizeof r) == sizeof r ? 0 : 1);
}

static void run_all(uint64_t base, uint64_t n, uint64_t jobs, struct report *sum)
{
	int fd[JOBS_MAX];

	for (uint64_t i = 0; i < jobs; i++) {
		int ends[2];

		if (pipe(ends) != 0)
			abort();
		fflush(stdout);
		if (fork() == 0)
			child(base, n, i, jobs, ends[1]);
		close(ends[1]);
		fd[i] = ends[0];
	}
	for (uint64_t i = 0; i < jobs; i++) {
		struct report r = {.failed = 1};
		int status;

		if (read(fd[i], &r, sizeof r) != sizeof r)
			printf("# a process of the campaign died\n");
		sum->failed += r.failed;
		add(&sum->sum, &r.sum);
		close(fd[i]);
		if (wait(&status) < 0 || status != 0)
			sum->failed++;
	}
}

static bool is_repeatable(uint64_t seed)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg c;
	uint64_t hash;
	bool is_same;

	if (!w)
		return false;
	sim_cfg_of_seed(&c, seed, focus());
	(void)sim_run(w, &c);
	hash = w->trace;
	(void)sim_run(w, &c);
	is_same = hash == w->trace;
	free(w);
	return is_same;
}

/* What should have happened at least once in a campaign of this size, and did not. */
static bool has_met_everything(const struct sim_stats *s)
{
	bool is_good = true;

#define MET(name) \
	if (s->name == 0) { \
		printf("# never happened: %s\n", #name); \
		is_good = false; \
	}
	SIM_STATS(MET)
#undef MET
	return is_good;
}

int main(void)
{
	uint64_t n = env("SEEDS", default_seeds()), base = env("SEED_BASE", 1);
	uint64_t jobs = env("SIM_JOBS", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	struct report sum = {0};
	bool is_good, is_same;

	if (agi_crypto_init() != AGI_OK)
		return 1;
	if (getenv("SEED"))
		return replay(env("SEED", 1));
	printf("1..3\n");
	run_all(base, n, jobs < 1 ? 1 : jobs > JOBS_MAX ? JOBS_MAX : jobs, &sum);
	printf("# %" PRIu64 " seeds:", n);
#define TELL(name) printf(" %s %" PRIu64, #name, sum.sum.name);
	SIM_STATS(TELL)
#undef TELL
	printf("\n%s 1 - no acknowledged write is lost, registers are linearizable, one view per epoch over %" PRIu64
	       " seeds\n", sum.failed ? "not ok" : "ok", n);
	is_good = n < SEEDS_FOR_COVERAGE || focus() != SIM_FOCUS_ANY || has_met_everything(&sum.sum);
	printf("%s 2 - everything that can go wrong did\n", is_good ? "ok" : "not ok");
	is_same = is_repeatable(base);
	printf("%s 3 - the same seed gives the same trace\n", is_same ? "ok" : "not ok");
	return sum.failed || !is_good || !is_same ? 1 : 0;
}
