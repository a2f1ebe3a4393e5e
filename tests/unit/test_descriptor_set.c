/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "descriptors.pb-c.h"
#include "net/descriptor_set.h"

static struct agi_str set(void)
{
	return (struct agi_str){(const char *)agi_descriptors, agi_descriptors_bytes};
}

static void assert_declared_in(const char *symbol, const char *file)
{
	struct agi_str found = agi_descriptor_file_of(set(), agi_str_of(symbol));

	if (!file) {
		assert_null(found.p);
		return;
	}
	assert_non_null(found.p);
	assert_ptr_equal(found.p, agi_descriptor_file(set(), agi_str_of(file)).p);
}

static void names_are_found_where_they_are_declared(void **state)
{
	(void)state;
	assert_declared_in("agi.plan.v1.PlanService", "plan.proto");
	assert_declared_in("agi.plan.v1.PlanService.Plan", "plan.proto");
	assert_declared_in("agihpc.v1.GetRequest.key", "agihpc.proto");
	assert_declared_in("grpc.health.v1.HealthCheckResponse.ServingStatus", "health.proto");
	assert_declared_in("grpc.health.v1.HealthCheckResponse.SERVING", "health.proto");
	assert_declared_in("grpc.reflection.v1alpha.ExtensionRequest", "reflection_v1alpha.proto");
}

static void what_is_no_name_is_not_found(void **state)
{
	static const char *const none[] = {"",
					   ".",
					   "agi",
					   "agi.plan.v1",
					   "agi.plan.v1.",
					   "PlanService",
					   "agi.plan.v1.PlanService.",
					   "agi.plan.v1.PlanService.Plan.x",
					   "agi.plan.v1.planservice",
					   "agihpc.v1.GetRequest.nope"};

	(void)state;
	for (size_t i = 0; i < sizeof none / sizeof *none; i++)
		assert_declared_in(none[i], NULL);
	assert_null(agi_descriptor_file(set(), AGI_STR("nope.proto")).p);
	assert_null(agi_descriptor_file_of_message(set(), AGI_STR("agi.plan.v1.PlanService")).p);
}

static void imports_come_once_and_after_the_file(void **state)
{
	struct agi_str files[AGI_DESCRIPTOR_FILES_MAX],
	    safety = agi_descriptor_file(set(), AGI_STR("safety.proto"));
	size_t n = agi_descriptor_with_imports(set(), safety, files);

	(void)state;
	assert_int_equal(n, 3);
	assert_ptr_equal(files[0].p, safety.p);
	assert_ptr_not_equal(files[1].p, files[2].p);
}

static void a_damaged_set_is_searched_no_further_than_it_goes(void **state)
{
	static char copy[1 << 16];

	(void)state;
	assert_true(set().n <= sizeof copy);
	memcpy(copy, set().p, set().n);
	for (size_t n = 0; n < set().n; n += 7)
		(void)agi_descriptor_file_of((struct agi_str){copy, n},
					     AGI_STR("agi.safety.v1.Nope"));
	for (size_t i = 0; i < 3000; i++) {
		copy[i] = (char)0xff;
		(void)agi_descriptor_file_of((struct agi_str){copy, set().n},
					     AGI_STR("agi.safety.v1.Nope"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_are_found_where_they_are_declared),
	    cmocka_unit_test(what_is_no_name_is_not_found),
	    cmocka_unit_test(imports_come_once_and_after_the_file),
	    cmocka_unit_test(a_damaged_set_is_searched_no_further_than_it_goes),
	};

	return cmocka_run_group_tests_name("descriptor set", tests, NULL, NULL);
}
