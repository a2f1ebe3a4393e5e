/* SPDX-License-Identifier: Apache-2.0
 * Profile files: the shipped ones; what is refused, and with which words; directories. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/prng.h"
#include "roles/safety_gateway/policy.h"
#include "roles/safety_gateway/statement.h"
#include "rulefile/profile_file.h"

#define HEAD "{\n\"schema_version\": \"DEMEProfileV04-0.1\",\n\"name\": \"p\",\n"

static struct agi_profiles *new_set(void)
{
	struct agi_profiles *set;

	assert_int_equal(agi_profiles_new(&set), AGI_OK);
	return set;
}

static enum agi_err read_text(const char *text, struct agi_profile *out, struct agi_why *why)
{
	struct agi_profiles *set = new_set();
	enum agi_err e = agi_profile_file_parse("p.json", agi_str_of(text), set, why);

	if (!e && out) {
		*out = *agi_profiles_find(set, AGI_STR("p"));
		assert_false(out->is_unknown);
	}
	assert_int_equal(agi_profiles_count(set), e ? 0 : 1);
	agi_profiles_free(set);
	return e;
}

static const char *shipped_dir(char out[1024])
{
	const char *src = getenv("AGI_SRCDIR");

	snprintf(out, 1024, "%s/conf/profiles", src ? src : ".");
	return out;
}

static void the_shipped_profiles_are_valid_and_the_default_is_what_is_built_in(void **state)
{
	const struct agi_profile *cautious;
	struct agi_profiles *set;
	struct agi_why why = {""};
	char dir[1024];
	(void)state;

	if (agi_profile_dir_load(shipped_dir(dir), &set, &why))
		fail_msg("%s", why.text);
	assert_int_equal(agi_profiles_count(set), 2); /* only the same as the built-in one may have its name */
	cautious = agi_profiles_find(set, AGI_STR("agi_hpc_cautious_v1"));
	assert_true(!cautious->is_unknown && cautious->weights[AGI_MORAL_PHYSICAL_HARM] == 4);
	assert_true(cautious->weights[AGI_MORAL_VIRTUE_CARE] == 1 && cautious->weight_sum == 14);
	assert_true(cautious->limits[AGI_MORAL_PHYSICAL_HARM] == 0.25);
	assert_int_equal(agi_profiles_check(set, AGI_STR("agi_hpc_cautious_v2"), &why), AGI_E_INVALID);
	assert_string_equal(why.text, "no profile \"agi_hpc_cautious_v2\" is known here; known are agi_hpc_safety_v1, "
	                              "agi_hpc_cautious_v1");
	agi_profiles_free(set);
}

static void what_is_wrong_is_named_with_its_line_and_what_would_be_right(void **state)
{
	static const struct {
		const char *text, *said;
	} rows[] = {
	    {"", "p.json: empty: expected a JSON object"},
	    {"{", "p.json:"},
	    {"[]", "p.json:1: profile: expected KEY: VALUE pairs"},
	    {"{\"name\": \"p\"}", "schema_version: missing"},
	    {"{\"schema_version\": \"DEMEProfileV04-0.1\"}", "name: missing"},
	    {"{\n\"schema_version\": \"DEMEProfileV03\",\n\"name\": \"p\"}",
	     "p.json:2: schema_version: \"DEMEProfileV03\": expected \"DEMEProfileV04-0.1\""},
	    {HEAD "\"hard_vetoes\": {}}", "p.json:4: hard_vetoes: unknown key; valid here: schema_version, name"},
	    {HEAD "\"name\": \"q\"}", "name: given twice"},
	    {HEAD "\"tags\": \"x\"}", "p.json:4: tags: expected a list of texts"},
	    {HEAD "\"notes\": [1]}", "p.json:4: notes: expected text"},
	    {HEAD "\"moral_dimension_weights\": [1]}", "moral_dimension_weights: expected KEY: VALUE pairs"},
	    {HEAD "\"moral_dimension_weights\": {\n\"harm\": 1}}",
	     "p.json:5: harm: unknown key; valid here: physical_harm, rights_respect"},
	    {HEAD "\"moral_dimension_weights\": {\"virtue_care\": \"1\"}}", "virtue_care: \"1\": expected a number"},
	    {HEAD "\"moral_dimension_weights\": {\"virtue_care\": {}}}", "virtue_care: a list or object: expected a number"},
	    {HEAD "\"moral_dimension_weights\": {\"virtue_care\": -1}}",
	     "p.json:4: moral_dimension_weights: virtue_care: -1, expected 0..100"},
	    {HEAD "\"moral_dimension_weights\": {\"virtue_care\": .nan}}", "virtue_care"},
	    {HEAD "\"moral_dimension_weights\": {\"rights_respect\": 0}}",
	     "rights_respect: 0, expected more: harm and rights always count"},
	    {HEAD "\"moral_dimension_limits\": {\"physical_harm\": 1.5}}",
	     "p.json:4: moral_dimension_limits: physical_harm: 1.5, expected 0..1"},
	    {"{\"schema_version\": \"DEMEProfileV04-0.1\", \"name\": \"agi_hpc_safety_v1\",\n"
	     "\"moral_dimension_weights\": {\"virtue_care\": 2}}",
	     "agi_hpc_safety_v1 is built in and cannot say anything else: give yours another name"},
	};
	(void)state;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct agi_why why = {""};

		assert_int_equal(read_text(rows[i].text, NULL, &why), AGI_E_INVALID);
		if (!strstr(why.text, rows[i].said))
			fail_msg("expected \"%s\", got \"%s\"", rows[i].said, why.text);
	}
}

static void what_is_not_named_is_as_it_is_built_in(void **state)
{
	struct agi_profile p;
	(void)state;

	assert_int_equal(read_text(HEAD "\"domain\": null, \"tags\": [\"a\"]}", &p, NULL), AGI_OK);
	assert_memory_equal(p.weights, agi_profile_builtin.weights, sizeof p.weights);
	assert_true(p.weight_sum == 10 && p.limited == 0);
}

static void put_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void a_directory_is_whole_or_refused(void **state)
{
	struct agi_config config;
	struct agi_profiles *set;
	struct agi_why why = {""};
	char dir[] = "test_profile_file.XXXXXX", command[64];
	(void)state;

	assert_non_null(mkdtemp(dir));
	put_file(dir, "p.json", HEAD "\"version\": \"1\"}");
	put_file(dir, "README", "no profile");
	put_file(dir, ".q.json", "{");
	assert_int_equal(agi_profile_dir_load(dir, &set, &why), AGI_OK);
	assert_int_equal(agi_profiles_count(set), 1);
	agi_profiles_free(set);

	assert_int_equal(agi_config_defaults(&config, &why), AGI_OK);
	assert_int_equal(agi_profile_dir_check(&config, &why), AGI_OK); /* the built-in one needs no directory */
	assert_int_equal(agi_config_set(&config, "safety.profile", "q", &why), AGI_OK);
	assert_int_equal(agi_profile_dir_check(&config, &why), AGI_E_INVALID);
	assert_string_equal(why.text, "safety.profile: no profile \"q\" is known here; known are agi_hpc_safety_v1 "
	                              "(safety.profile_dir is not set)");
	assert_int_equal(agi_config_set(&config, "safety.profile_dir", dir, &why), AGI_OK);
	assert_int_equal(agi_profile_dir_check(&config, &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "known are agi_hpc_safety_v1, p"));
	assert_int_equal(agi_config_set(&config, "safety.evaluation", "reference", &why), AGI_OK);
	assert_int_equal(agi_profile_dir_check(&config, &why), AGI_OK); /* takes any name */

	put_file(dir, "q.json", HEAD "\"version\": \"1\"}");
	assert_int_equal(agi_profile_dir_check(&config, &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "q.json:3: name: \"p\": expected \"q\", as the file is called"));
	agi_config_free(&config);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	assert_int_equal(system(command), 0);
	assert_int_equal(agi_profile_dir_load(dir, &set, &why), AGI_E_IO);
}

/* With another profile votes do not count together, and who has the built-in one only votes as before. */
static void what_a_profile_says_is_part_of_the_policys_hash(void **state)
{
	struct agi_profiles *set = new_set(), *other = new_set();
	struct agi_profile p;
	struct agi_gateway_policy g;
	uint8_t plain[32], mine[32], theirs[32], none[32];
	(void)state;

	agi_profile_init(&p, AGI_STR("p"));
	assert_int_equal(agi_profiles_add(set, &p, NULL), AGI_OK);
	p.weights[AGI_MORAL_VIRTUE_CARE] = 3;
	assert_int_equal(agi_profiles_add(other, &p, NULL), AGI_OK);
	agi_gateway_policy_default(&g);
	agi_policy_hash(plain, &g);
	g.eval.profiles = set;
	agi_eval_policy_use(&g.eval, AGI_STR(""));
	agi_policy_hash(mine, &g);
	assert_memory_equal(plain, mine, sizeof mine);
	agi_eval_policy_use(&g.eval, AGI_STR("p"));
	agi_policy_hash(mine, &g);
	g.eval.profiles = other;
	agi_eval_policy_use(&g.eval, AGI_STR("p"));
	agi_policy_hash(theirs, &g);
	g.eval.profiles = NULL;
	agi_eval_policy_use(&g.eval, AGI_STR("p"));
	agi_policy_hash(none, &g);
	assert_memory_not_equal(mine, theirs, sizeof mine);
	assert_memory_not_equal(mine, none, sizeof mine);
	assert_memory_not_equal(theirs, none, sizeof mine);
	g.eval.mode = AGI_EVAL_REFERENCE; /* there profiles change nothing */
	agi_eval_policy_use(&g.eval, AGI_STR("p"));
	agi_policy_hash(mine, &g);
	g.eval.profiles = other;
	agi_eval_policy_use(&g.eval, AGI_STR("p"));
	agi_policy_hash(theirs, &g);
	assert_memory_equal(mine, theirs, sizeof mine);
	agi_profiles_free(set);
	agi_profiles_free(other);
}

/* A gateway and an ErisML, each with its own profiles. */
static struct agi_check_result judge(const struct agi_gateway_policy *gateway, const struct agi_profiles *of_erisml,
                                     struct agi_pool *pool)
{
	const struct agi_plan_step step = {.step_id = AGI_STR("s"), .kind = AGI_STR("observe"), .level = 2};
	const struct agi_plan plan = {.plan_id = AGI_STR("plan"), .steps = &step, .n_steps = 1};
	struct agi_eval_policy policy = gateway->eval;
	struct agi_proof_chain chain = {.length = 0};
	struct agi_proof_ctx ctx = {.policy = &policy, .profile_name = gateway->eval.profile_name, .chain = &chain,
	                            .pool = pool};
	struct agi_gateway_check check;
	struct agi_check_result r;
	struct agi_plan_eval eval;

	policy.profiles = of_erisml;
	agi_eval_policy_use(&policy, gateway->eval.profile_name);
	if (agi_gateway_begin(&check, gateway, &plan, pool, &r) == AGI_GATEWAY_DONE)
		return r;
	assert_int_equal(agi_erisml_plan(&eval, &ctx, check.facts, 1, true, NULL), AGI_OK);
	agi_gateway_finish(&check, &eval, &r);
	return r;
}

static void a_gateway_trusts_only_what_was_judged_by_its_own_profile(void **state)
{
	struct agi_profiles *set = new_set(), *other = new_set();
	struct agi_gateway_policy g;
	struct agi_check_result r;
	struct agi_profile p;
	struct agi_pool pool;
	(void)state;

	agi_pool_init(&pool, 0);
	agi_profile_init(&p, AGI_STR("p"));
	p.weights[AGI_MORAL_PHYSICAL_HARM] = 3;
	assert_int_equal(agi_profiles_add(set, &p, NULL), AGI_OK);
	p.weights[AGI_MORAL_VIRTUE_CARE] = 100;
	assert_int_equal(agi_profiles_add(other, &p, NULL), AGI_OK);
	agi_gateway_policy_default(&g);
	g.eval.profiles = set;
	agi_eval_policy_use(&g.eval, AGI_STR("p"));
	assert_int_equal(judge(&g, set, &pool).decision, AGI_DECISION_ALLOW);
	r = judge(&g, other, &pool);
	assert_true(r.decision == AGI_DECISION_BLOCK && r.cause == AGI_CHECK_PROFILE_MISMATCH);
	assert_int_equal(judge(&g, NULL, &pool).decision, AGI_DECISION_BLOCK);
	g.eval.profile_name = AGI_STR("q");
	agi_eval_policy_use(&g.eval, AGI_STR(""));
	r = judge(&g, set, &pool);
	assert_true(r.decision == AGI_DECISION_BLOCK && r.cause == AGI_CHECK_PROFILE_UNKNOWN);
	agi_pool_free(&pool);
	agi_profiles_free(set);
	agi_profiles_free(other);
}

static void files_with_anything_in_them_are_read_or_refused(void **state)
{
	static const char *const words[] = {"{", "}", "[", "]", ":", ",", "\"", "\n", "1", "-", "name", "\"p\"", "null",
	                                    "\"moral_dimension_limits\":", "\"physical_harm\":", "1e999", "\xff"};
	struct agi_prng r;
	(void)state;

	agi_prng_seed(&r, 7);
	for (int i = 0; i < 3000; i++) {
		char text[512] = HEAD;
		struct agi_why why = {""};

		for (int k = 0; k < 12; k++)
			strcat(text, words[agi_prng_below(&r, sizeof words / sizeof *words)]);
		if (read_text(text, NULL, &why))
			assert_true(strncmp(why.text, "p.json", 6) == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_shipped_profiles_are_valid_and_the_default_is_what_is_built_in),
	    cmocka_unit_test(what_is_wrong_is_named_with_its_line_and_what_would_be_right),
	    cmocka_unit_test(what_is_not_named_is_as_it_is_built_in),
	    cmocka_unit_test(a_directory_is_whole_or_refused),
	    cmocka_unit_test(what_a_profile_says_is_part_of_the_policys_hash),
	    cmocka_unit_test(a_gateway_trusts_only_what_was_judged_by_its_own_profile),
	    cmocka_unit_test(files_with_anything_in_them_are_read_or_refused),
	};

	return cmocka_run_group_tests_name("profile files", tests, NULL, NULL);
}
