/* SPDX-License-Identifier: Apache-2.0
 * Would the campaign of test_votes notice? Each deliberate error of roles/mutant.h is switched on in turn, and one of
 * these seeds must fail; the seed holds without it. MUTANT: one only, by name; MUTANT_BASE,
 * MUTANT_SEEDS: where to look. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "roles/mutant.h"
#include "votes.h"

enum agi_role_mutant agi_role_mutant;

static const char *const names[AGI_ROLE_MUTANT_COUNT] = {"NONE",
#define NAME(name, text) #name,
							  AGI_ROLE_MUTANT_LIST(NAME)
#undef NAME
};

static const char *const texts[AGI_ROLE_MUTANT_COUNT] = {"no error",
#define TEXT(name, text) text,
							  AGI_ROLE_MUTANT_LIST(TEXT)
#undef TEXT
};

static uint64_t env(const char *name, uint64_t fallback)
{
	const char *v = getenv(name);

	return v && *v ? strtoull(v, NULL, 10) : fallback;
}

static bool is_caught(enum agi_role_mutant m, uint64_t seed, char why[VOTES_REASON])
{
	struct votes_stats sum = {.stopped = 0};
	const char *found;

	agi_role_mutant = m;
	found = votes_run(seed, &sum, false);
	if (found)
		snprintf(why, VOTES_REASON, "%s", found);
	agi_role_mutant = AGI_ROLE_MUTANT_NONE;
	return found && !votes_run(seed, &sum, false);
}

int main(void)
{
	uint64_t base = env("MUTANT_BASE", 1), end = base + env("MUTANT_SEEDS", 2000);
	const char *only = getenv("MUTANT");
	char why[VOTES_REASON];
	int failed = 0;

	votes_set_up();
	printf("1..%d\n", AGI_ROLE_MUTANT_COUNT - 1);
	for (int m = 1; m < AGI_ROLE_MUTANT_COUNT; m++) {
		uint64_t seed = base;

		if (only && strcmp(only, names[m]) != 0) {
			printf("ok %d # SKIP not asked for\n", m);
			continue;
		}
		while (seed < end && !is_caught((enum agi_role_mutant)m, seed, why))
			seed++;
		failed += seed == end;
		if (seed < end)
			printf("ok %d - %s: %s (seed %" PRIu64 ": %s)\n", m, names[m], texts[m], seed, why);
		else
			printf("not ok %d - %s: %s: nobody noticed\n", m, names[m], texts[m]);
	}
	return failed != 0;
}
