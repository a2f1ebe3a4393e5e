/* SPDX-License-Identifier: Apache-2.0 */
#include "node/svc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct agi_why why;
static struct agi_str out;

static void an_empty_namespace_is_the_default_one(void **state)
{
	(void)state;
	assert_int_equal(agi_svc_namespace(&out, agi_svc_text(""), &why), AGI_OK);
	assert_true(agi_str_eq(out, AGI_STR("default")));
	assert_int_equal(agi_svc_namespace(&out, agi_svc_text("memory/episodic"), &why), AGI_OK);
	assert_true(agi_str_eq(out, AGI_STR("memory/episodic")));
}

static void a_namespace_that_could_be_mistaken_is_refused(void **state)
{
	char big[AGI_NAMESPACE_MAX + 2] = {0};
	(void)state;

	/* namespace and key are hashed with a zero byte between them: none inside */
	assert_int_equal(agi_svc_namespace(&out, (ProtobufCBinaryData){3, (uint8_t *)"a\0b"}, &why),
	                 AGI_E_INVALID);
	assert_int_equal(agi_svc_namespace(&out, agi_svc_text("a\nb"), &why), AGI_E_INVALID);
	assert_int_equal(agi_svc_namespace(&out, agi_svc_text("\xff"), &why), AGI_E_INVALID);
	memset(big, 'n', AGI_NAMESPACE_MAX + 1);
	assert_int_equal(agi_svc_namespace(&out, agi_svc_text(big), &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "64 bytes"));
	big[AGI_NAMESPACE_MAX] = '\0';
	assert_int_equal(agi_svc_namespace(&out, agi_svc_text(big), &why), AGI_OK);
}

static void a_key_has_1_to_1024_bytes_of_any_kind(void **state)
{
	static char big[AGI_KEY_MAX + 1];
	(void)state;

	assert_int_equal(agi_svc_key(&out, agi_svc_text(""), &why), AGI_E_INVALID);
	assert_int_equal(agi_svc_key(&out, (ProtobufCBinaryData){AGI_KEY_MAX, (uint8_t *)big}, &why),
	                 AGI_OK);
	assert_int_equal(
	    agi_svc_key(&out, (ProtobufCBinaryData){AGI_KEY_MAX + 1, (uint8_t *)big}, &why),
	    AGI_E_INVALID);
}

static void a_service_is_a_dns_label(void **state)
{
	static const char *const good[] = {"a", "lh-planner", "3d", "safety-gateway"};
	static const char *const bad[] = {"", "-a", "a-", "A", "a.b", "a_b", "a b", "\xc3\xa4",
	                                  "a123456789012345678901234567890123456789012345678901234567890123"};
	(void)state;

	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_int_equal(agi_svc_service_name(&out, agi_svc_text(good[i]), &why), AGI_OK);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(agi_svc_service_name(&out, agi_svc_text(bad[i]), &why), AGI_E_INVALID);
}

static void an_address_is_where_others_can_connect(void **state)
{
	static const char *const good[] = {"10.0.0.5:50051", "node1.cluster:5000", "[fd00::5]:80",
	                                   "localhost:65535"};
	static const char *const bad[] = {"",        "10.0.0.5",    "10.0.0.5:0", "10.0.0.5:65536",
	                                  ":5000",   "0.0.0.0:80",  "[::]:80",    "a b:80",
	                                  "x:80x",   "http://x:80", "x:",         "fd00::5:"};
	(void)state;

	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_int_equal(agi_svc_address(&out, agi_svc_text(good[i]), &why), AGI_OK);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(agi_svc_address(&out, agi_svc_text(bad[i]), &why), AGI_E_INVALID);
		assert_non_null(strstr(why.text, "host:port"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_empty_namespace_is_the_default_one),
	    cmocka_unit_test(a_namespace_that_could_be_mistaken_is_refused),
	    cmocka_unit_test(a_key_has_1_to_1024_bytes_of_any_kind),
	    cmocka_unit_test(a_service_is_a_dns_label),
	    cmocka_unit_test(an_address_is_where_others_can_connect),
	};

	return cmocka_run_group_tests_name("svc", tests, NULL, NULL);
}
