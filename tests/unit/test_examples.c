/* SPDX-License-Identifier: Apache-2.0
 * Every plan in conf/examples is decided as its README says. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "node/eval_codec.h"
#include "pb_json.h"

static char dir[1024];

/* The decision in the README's table, or "". */
static void expected_decision(const char *file, char out[16])
{
	char path[1100], line[512], name[64];
	FILE *f;

	snprintf(path, sizeof path, "%s/README.md", dir);
	f = fopen(path, "r");
	assert_non_null(f);
	out[0] = '\0';
	while (!out[0] && fgets(line, sizeof line, f))
		if (sscanf(line, "| `%63[^`]` | %15[A-Z] |", name, out) != 2 || strcmp(name, file) != 0)
			out[0] = '\0';
	fclose(f);
}

static void decide(const char *file, const char *expected)
{
	char path[1100];
	json_error_t at;
	json_t *j;
	struct agi_gateway_policy policy;
	struct agi_erisml erisml = {0};
	struct agi_check_result result;
	struct agi_why why = {{0}};
	struct agi_plan plan;
	struct agi_pool pool;
	ProtobufCMessage *m;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	j = json_load_file(path, 0, &at);
	if (!j)
		fail_msg("%s: %s", file, at.text);
	agi_pool_init(&pool, 0);
	agi_gateway_policy_default(&policy);
	erisml.policy = policy.eval;
	m = pb_of_json(&agi__plan__v1__plan_graph_proto__descriptor, j, &pool, &why);
	if (!m)
		fail_msg("%s: %s", file, why.text);
	agi_plan_from_pb(&plan, (Agi__Plan__V1__PlanGraphProto *)m, &pool);
	agi_gateway_check_here(&result, &policy, &erisml, 1, &plan, &pool);
	if (strcmp(agi_decision_name(result.decision), expected) != 0)
		fail_msg("%s: %s, the README says %s", file, agi_decision_name(result.decision), expected);
	agi_pool_free(&pool);
	json_decref(j);
}

static void every_example_is_decided_as_its_readme_says(void **state)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	unsigned n = 0;

	(void)state;
	assert_non_null(d);
	while ((e = readdir(d))) {
		size_t len = strlen(e->d_name);
		char expected[16];

		if (len < 5 || strcmp(e->d_name + len - 5, ".json") != 0)
			continue;
		expected_decision(e->d_name, expected);
		if (!expected[0])
			fail_msg("%s is not in the README's table", e->d_name);
		decide(e->d_name, expected);
		n++;
	}
	closedir(d);
	assert_true(n >= 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_example_is_decided_as_its_readme_says)};
	const char *src = getenv("AGI_SRCDIR");

	snprintf(dir, sizeof dir, "%s/conf/examples", src ? src : ".");
	return agi_crypto_init() ? 1 : cmocka_run_group_tests_name("examples", tests, NULL, NULL);
}
