/* SPDX-License-Identifier: Apache-2.0
 * How long the shipped rules take over a plan of five steps. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "rulefile/rule_file.h"

enum { STEPS = 5, PARAMS = 6, ROUNDS = 20000, RUNS = 9 };

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Seconds for one plan, and in *n_bad how many of its steps were not allowed. */
static double judge(const struct agi_rules *rules, const struct agi_pair *params, unsigned *n_bad)
{
	struct agi_plan_step step = {.tool_id = AGI_STR("move_arm"), .params = params, .n_params = PARAMS};
	const struct agi_rule_subject s = {AGI_RULE_OF_PLANS, &step, NULL, 0};
	double began = seconds();

	for (int round = 0; round < ROUNDS; round++) {
		struct agi_pool pool;

		agi_pool_init(&pool, 0);
		for (int i = 0; i < STEPS; i++) {
			struct agi_rule_finding f;

			agi_rules_judge(rules, &s, &pool, &f);
			*n_bad += f.decision != AGI_DECISION_ALLOW;
		}
		agi_pool_free(&pool);
	}
	return (seconds() - began) / ROUNDS;
}

static double median(const struct agi_rules *rules, const struct agi_pair *params, bool is_good)
{
	double runs[RUNS];
	unsigned n_bad = 0;

	for (int i = 0; i < RUNS; i++)
		runs[i] = judge(rules, params, &n_bad);
	if (n_bad != (is_good ? 0 : RUNS * ROUNDS * STEPS)) {
		fprintf(stderr, "the rules judge otherwise than expected\n");
		exit(1);
	}
	qsort(runs, RUNS, sizeof *runs, compare);
	return runs[RUNS / 2];
}

int main(int argc, char **argv)
{
	static const struct agi_pair good[PARAMS] = {
	    {AGI_STR("force"), AGI_STR("20")},      {AGI_STR("velocity"), AGI_STR("1.0")}, {AGI_STR("target.x"), AGI_STR("0.5")},
	    {AGI_STR("target.y"), AGI_STR("-0.5")}, {AGI_STR("target.z"), AGI_STR("1")},   {AGI_STR("is_reversible"), AGI_STR("true")}};
	static const struct agi_pair bad[PARAMS] = {
	    {AGI_STR("force"), AGI_STR("20")},      {AGI_STR("velocity"), AGI_STR("9")},   {AGI_STR("target.x"), AGI_STR("5")},
	    {AGI_STR("target.y"), AGI_STR("-0.5")}, {AGI_STR("target.z"), AGI_STR("1")},   {AGI_STR("is_reversible"), AGI_STR("false")}};
	struct agi_rules *rules;
	struct agi_why why;

	if (argc != 2 || agi_rule_file_load(argv[1], &rules, &why)) {
		fprintf(stderr, "%s\n", argc == 2 ? why.text : "usage: bench_rules RULE-FILE");
		return 1;
	}
	printf("{\"rules\": %zu, \"steps\": %d, \"kept_us\": %.2f, \"violated_us\": %.2f}\n", agi_rules_count(rules), STEPS,
	       median(rules, good, true) * 1e6, median(rules, bad, false) * 1e6);
	agi_rules_free(rules);
	return 0;
}
