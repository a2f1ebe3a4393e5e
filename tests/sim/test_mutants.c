/* SPDX-License-Identifier: Apache-2.0
 * Is the simulator worth anything? Each deliberate error of src/dht/mutant.h is switched on in
 * turn, and the campaign that looks hardest at its part of the protocol must find it. Environment:
 * MUTANT_SEEDS (how many a mutant may live through), MUTANT_BASE (the first of them), SIM_JOBS
 * (processes), MUTANT (one only, by name), MUTANT_FOCUS (another campaign for all; a number). */
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "dht/mutant.h"
#include "scene_leave.h"
#include "world.h"

enum { SEEDS_DEFAULT = 1200, REASON = 400, JAM_SECONDS = 120 };

enum agi_mutant agi_mutant;

static const char *const names[AGI_MUTANT_COUNT] = {"NONE",
#define NAME(name, text) #name,
						    AGI_MUTANT_LIST(NAME)
#undef NAME
};

static const char *const texts[AGI_MUTANT_COUNT] = {"no error",
#define TEXT(name, text) text,
						    AGI_MUTANT_LIST(TEXT)
#undef TEXT
};

/* Shared with the child that runs the mutant; it may die in the middle of a seed. */
struct outcome {
	uint64_t seed; /* the one being run, or that noticed */
	uint64_t n_run;
	bool is_caught;
	char reason[REASON];
};

static uint64_t env(const char *name, uint64_t fallback)
{
	const char *v = getenv(name);

	return v && *v ? strtoull(v, NULL, 10) : fallback;
}

/* Which campaign a mutant has to fear, and a seed of it that caught it when this was written: what
 * is tried first. */
static const struct {
	enum sim_focus focus;
	uint64_t seed;
	void (*scene)(void); /* … or a scene that shows it, which random faults hardly ever play */
} known[AGI_MUTANT_COUNT] = {
    [AGI_MUTANT_WRITE_ACK_UNSTORED] = {SIM_FOCUS_FOUNDING, 1},
    [AGI_MUTANT_REG_ACK_UNSTORED] = {SIM_FOCUS_STRONG, 2},
    [AGI_MUTANT_LED_UNSTORED] = {SIM_FOCUS_STRONG, 2},
    [AGI_MUTANT_SEAL_UNSTORED] = {SIM_FOCUS_STRONG, 98},
    [AGI_MUTANT_ANSWER_OUTSIDE] = {SIM_FOCUS_ITEMS, 3},
    [AGI_MUTANT_ANSWER_JOINING] = {SIM_FOCUS_STRONG, 3},
    [AGI_MUTANT_IGNORE_EPOCH] = {SIM_FOCUS_ITEMS, 1},
    [AGI_MUTANT_MERGE_ONE] = {SIM_FOCUS_VIEWS, 18},
    [AGI_MUTANT_MERGE_UNSEALED] = {SIM_FOCUS_VIEWS, 4},
    [AGI_MUTANT_MERGE_NO_REGISTERS] = {SIM_FOCUS_VIEWS, 3},
    [AGI_MUTANT_MERGE_NONE] = {SIM_FOCUS_STRONG, 3},
    [AGI_MUTANT_RELEASE_EARLY] = {SIM_FOCUS_STRONG, 137},
    [AGI_MUTANT_FORGET_ACCEPTED] = {SIM_FOCUS_VIEWS, 1},
    [AGI_MUTANT_VIEW_BELOW_PROMISE] = {SIM_FOCUS_VIEWS, 1},
    [AGI_MUTANT_VIEW_FORGETS_PROMISE] = {SIM_FOCUS_VIEWS, 4},
    [AGI_MUTANT_REG_BELOW_PROMISE] = {SIM_FOCUS_STRONG, 3},
    [AGI_MUTANT_READ_UNPROMISED] = {SIM_FOCUS_STRONG, 5},
    [AGI_MUTANT_ROUND_REUSED] = {SIM_FOCUS_STRONG, 1},
    [AGI_MUTANT_ROUND_LOST] = {SIM_FOCUS_STRONG, 24},
    [AGI_MUTANT_SAME_ONE] = {SIM_FOCUS_STRONG, 5},
    [AGI_MUTANT_READ_OLDEST] = {SIM_FOCUS_STRONG, 8},
    [AGI_MUTANT_MINORITY] = {SIM_FOCUS_STRONG, 1},
    [AGI_MUTANT_DO_TWICE] = {SIM_FOCUS_STRONG, 17},
    [AGI_MUTANT_RETRY_UNKNOWN] = {SIM_FOCUS_VIEWS, 108},
    [AGI_MUTANT_LEAD_ON] = {SIM_FOCUS_STRONG, 3},
    [AGI_MUTANT_OVERRULED] = {SIM_FOCUS_NONE, 4},
    [AGI_MUTANT_STAMP_TWICE] = {SIM_FOCUS_ITEMS, 4},
    [AGI_MUTANT_FOUND_UNSTORED] = {SIM_FOCUS_FOUNDING, 94},
    [AGI_MUTANT_FLOOR_IGNORED] = {SIM_FOCUS_DEAD, 670},
    [AGI_MUTANT_SWEEP_SOME] = {SIM_FOCUS_ITEMS, 493},
    [AGI_MUTANT_LEAVE_UNASKED] = {SIM_FOCUS_ANY, 0, scene_of_a_leave},
};

static enum sim_focus focus_of(enum agi_mutant m)
{
	return getenv("MUTANT_FOCUS") ? (enum sim_focus)env("MUTANT_FOCUS", 0) : known[m].focus;
}

/* Only the test that is part of make check knows beforehand where to look. */
static uint64_t nth_seed(enum agi_mutant m, uint64_t i)
{
	if (!getenv("MUTANT_SEEDS") && known[m].seed)
		return i == 0 ? known[m].seed : i;
	return env("MUTANT_BASE", 1) + i;
}

/* What fails without the mutant as well was not caught. */
static bool holds_without(struct sim_world *w, const struct sim_cfg *c, enum agi_mutant m)
{
	bool is_good;

	agi_mutant = AGI_MUTANT_NONE;
	is_good = sim_run(w, c) == 0;
	agi_mutant = m;
	return is_good;
}

/* Fails by an assertion, which ends the process, when the mutant is in it. */
static void play(enum agi_mutant m, struct outcome *out)
{
	agi_mutant = AGI_MUTANT_NONE;
	known[m].scene();
	agi_mutant = m;
	out->n_run = 1;
	known[m].scene();
}

static void hunt(enum agi_mutant m, uint64_t n, struct outcome *out)
{
	struct sim_world *w = malloc(sizeof *w);
	struct sim_cfg c;

	if (!w)
		abort();
	for (uint64_t i = 0; i < n && !out->is_caught; i++) {
		out->seed = nth_seed(m, i);
		sim_cfg_of_seed(&c, out->seed, focus_of(m));
		out->n_run++;
		(void)alarm(JAM_SECONDS);
		if (sim_run(w, &c) == 0 || w->is_undecided)
			continue;
		snprintf(out->reason, sizeof out->reason, "%s", w->failure);
		out->is_caught = holds_without(w, &c, m);
	}
	free(w);
}

static pid_t start(enum agi_mutant m, struct outcome *out)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid != 0)
		return pid;
	agi_mutant = m;
	if (!freopen("/dev/null", "w", stderr)) /* its assertions are its own business */
		exit(0);
	if (known[m].scene && !getenv("MUTANT_SEEDS"))
		play(m, out);
	else
		hunt(m, env("MUTANT_SEEDS", SEEDS_DEFAULT), out);
	exit(0);
}

static void finish(enum agi_mutant m, pid_t pid, struct outcome *out)
{
	int status = 0;

	(void)waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		out->is_caught = out->n_run > 0;
		snprintf(out->reason, sizeof out->reason,
			 WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM
			     ? "it does not come to an end"
			     : "an assertion");
	}
	if (out->is_caught)
		printf("ok %d - %s: %s (SIM_FOCUS=%d SEED=%" PRIu64 ", %" PRIu64 " tried: %s)\n",
		       (int)m, names[m], texts[m], (int)focus_of(m), out->seed, out->n_run,
		       out->reason);
	else
		printf("not ok %d - %s: %s: nobody noticed in %" PRIu64 " seeds\n", (int)m,
		       names[m], texts[m], env("MUTANT_SEEDS", SEEDS_DEFAULT));
}

static bool is_wanted(enum agi_mutant m)
{
	const char *only = getenv("MUTANT");

	return !only || strcmp(only, names[m]) == 0;
}

int main(void)
{
	struct outcome *out = mmap(NULL, AGI_MUTANT_COUNT * sizeof *out, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t jobs = env("SIM_JOBS", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	pid_t pid[AGI_MUTANT_COUNT];
	int next = 1, failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (agi_crypto_init() != AGI_OK || out == MAP_FAILED)
		return 1;
	printf("1..%d\n", AGI_MUTANT_COUNT - 1);
	for (int m = 1; m < AGI_MUTANT_COUNT; m++) {
		for (; next < AGI_MUTANT_COUNT && (uint64_t)(next - m) < (jobs ? jobs : 1); next++)
			pid[next] = is_wanted((enum agi_mutant)next)
					? start((enum agi_mutant)next, &out[next])
					: 0;
		if (!is_wanted((enum agi_mutant)m)) {
			printf("ok %d # SKIP not asked for\n", m);
			continue;
		}
		finish((enum agi_mutant)m, pid[m], &out[m]);
		failed += !out[m].is_caught;
	}
	munmap(out, AGI_MUTANT_COUNT * sizeof *out);
	return failed ? 1 : 0;
}
