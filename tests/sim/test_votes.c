/* SPDX-License-Identifier: Apache-2.0
 * Random checks by panels of gateways that fail and lie (votes.h). Environment: SEEDS (how many), SEED_BASE (the first),
 * SEED (one only, with its story told). A failing seed prints the command that replays it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "votes.h"

enum { SEEDS_DEFAULT = 2000, SEEDS_FOR_COVERAGE = 1000 };

static uint64_t env(const char *name, uint64_t fallback)
{
	const char *v = getenv(name);

	return v && *v ? strtoull(v, NULL, 10) : fallback;
}

static bool is_met(const char *what, const char *name, uint64_t n)
{
	if (n == 0)
		printf("# never met: %s %s\n", what, name);
	return n > 0;
}

/* A campaign in which nothing goes wrong proves nothing. */
static bool has_met_everything(const struct votes_stats *s)
{
	static const enum agi_check_cause met[] = {
	    AGI_CHECK_OK,                AGI_CHECK_POLICY_MISMATCH, AGI_CHECK_VOTE_CONTRADICTORY,
	    AGI_CHECK_VOTE_REPLAYED,     AGI_CHECK_VOTE_STOP_STALE, AGI_CHECK_VOTE_CLOCK_OFF,
	    AGI_CHECK_VOTE_SIGNATURE_WRONG};
	bool is_good = true;

	for (int d = AGI_DECISION_ALLOW; d < AGI_DECISION_COUNT; d++)
		if (d != AGI_DECISION_DEFER) /* no plan here is deferred */
			is_good &= is_met("decision", agi_decision_name((enum agi_decision)d), s->decisions[d]);
	for (int c = 0; c < AGI_PANEL_CAUSES; c++)
		is_good &= is_met("cause", agi_panel_cause_name((enum agi_panel_cause)c), s->panel_causes[c]);
	for (size_t i = 0; i < sizeof met / sizeof *met; i++)
		is_good &= is_met("cause", agi_check_cause_name(met[i]), s->check_causes[met[i]]);
	is_good &= is_met("a check", "that had to be allowed", s->had_to_allow);
	is_good &= is_met("a check", "of a good plan that was blocked", s->could_not_allow);
	return is_met("a check", "while the cluster was stopped", s->stopped) && is_good;
}

int main(void)
{
	uint64_t base = env("SEED_BASE", 1), n = env("SEEDS", SEEDS_DEFAULT), failed = 0;
	struct votes_stats sum = {.stopped = 0};
	bool is_one = getenv("SEED") != NULL, is_good;

	votes_set_up();
	if (is_one) {
		base = env("SEED", 1);
		n = 1;
	}
	printf("1..2\n");
	for (uint64_t seed = base; seed < base + n; seed++) {
		const char *why = votes_run(seed, &sum, is_one);

		failed += why != NULL;
		if (why && failed <= 10)
			printf("# %s\n# replay: SEED=%" PRIu64 " tests/sim/test_votes\n", why, seed);
	}
	printf("%sok 1 - %" PRIu64 " seeds: what is allowed was signed by enough gateways for exactly this check; enough honest "
	       "ones allow\n", failed ? "not " : "", n);
	is_good = n < SEEDS_FOR_COVERAGE || has_met_everything(&sum);
	printf("%sok 2 - everything that should happen did (%" PRIu64 " ALLOW, %" PRIu64 " of them due; %" PRIu64 " BLOCK, %"
	       PRIu64 " of good plans)\n", is_good ? "" : "not ", sum.decisions[AGI_DECISION_ALLOW], sum.had_to_allow,
	       sum.decisions[AGI_DECISION_BLOCK], sum.could_not_allow);
	return failed || !is_good;
}
