/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "node/dns_name.h"

static struct agi_dns_name read_name(const char *name)
{
	struct agi_dns_name out;

	agi_dns_name_read(&out, name, "agihpc.test");
	return out;
}

static void a_service_is_found_by_both_forms_in_any_case(void **state)
{
	static const struct {
		const char *name;
		enum agi_dns_kind kind;
	} forms[] = {{"lh-planner.service.agihpc.test", AGI_DNS_SERVICE},
		     {"LH-Planner.SERVICE.AgiHpc.Test.", AGI_DNS_SERVICE},
		     {"_lh-planner._tcp.agihpc.test", AGI_DNS_SRV_NAME},
		     {"_lh-planner._tcp.service.agihpc.test", AGI_DNS_SRV_NAME}};
	(void)state;

	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		struct agi_dns_name n = read_name(forms[i].name);

		assert_int_equal(n.kind, forms[i].kind);
		assert_string_equal(n.service, "lh-planner");
	}
}

static void what_is_above_or_beside_the_domain_is_foreign(void **state)
{
	static const char *const names[] = {
	    "",    ".", "test", ".agihpc.test", "x.service.agihpc", "xagihpc.test", "agihpc.test.x",
	    "a..b"};
	(void)state;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		assert_int_equal(read_name(names[i]).kind, AGI_DNS_FOREIGN);
}

static void names_that_others_are_below_are_there(void **state)
{
	static const char *const names[] = {"service.agihpc.test", "addr.agihpc.test",
					    "_tcp.agihpc.test", "_tcp.service.agihpc.test"};
	(void)state;

	assert_int_equal(read_name("agihpc.test").kind, AGI_DNS_APEX);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		assert_int_equal(read_name(names[i]).kind, AGI_DNS_BRANCH);
}

static void what_can_be_no_name_of_a_service_or_address_is_nothing(void **state)
{
	static const char *const names[] = {"x.agihpc.test",
					    "a.b.service.agihpc.test",
					    "-a.service.agihpc.test",
					    ".service.agihpc.test",
					    "..agihpc.test",
					    "a b.service.agihpc.test",
					    "lh._tcp.agihpc.test",
					    "_._tcp.agihpc.test",
					    "_a.b._tcp.agihpc.test",
					    "7f00001.addr.agihpc.test",
					    "7f00000g.addr.agihpc.test",
					    "a.7f000001.addr.agihpc.test",
					    ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
					     "aaaaaaaaaaa.service.agihpc.test")};
	(void)state;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		assert_int_equal(read_name(names[i]).kind, AGI_DNS_NOTHING);
}

static void names_longer_than_dns_has_are_foreign(void **state)
{
	char name[400];
	(void)state;

	memset(name, 'a', sizeof name);
	memcpy(name + 380, ".agihpc.test", 13);
	assert_int_equal(read_name(name).kind, AGI_DNS_FOREIGN);
}

static void an_address_and_its_name_are_the_same(void **state)
{
	static const char *const addresses[] = {"10.0.0.5:1", "255.1.2.254:1", "[2001:db8::7]:1",
						"[::1]:1"};
	(void)state;

	for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
		char text[AGI_DNS_HEX + 20], hex[AGI_DNS_HEX];
		struct agi_dns_name n;
		struct agi_addr a;

		assert_int_equal(agi_addr_parse(&a, agi_str_of(addresses[i]), 0, NULL), AGI_OK);
		agi_dns_name_hex(hex, &a);
		assert_int_equal(strlen(hex), agi_addr_is_v4(&a) ? 8 : 32);
		memcpy(text, hex, sizeof hex);
		strcat(text, ".addr.agihpc.test");
		n = read_name(text);
		assert_int_equal(n.kind, AGI_DNS_ADDRESS);
		assert_memory_equal(n.addr.ip, a.ip, sizeof a.ip);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_service_is_found_by_both_forms_in_any_case),
	    cmocka_unit_test(what_is_above_or_beside_the_domain_is_foreign),
	    cmocka_unit_test(names_that_others_are_below_are_there),
	    cmocka_unit_test(what_can_be_no_name_of_a_service_or_address_is_nothing),
	    cmocka_unit_test(names_longer_than_dns_has_are_foreign),
	    cmocka_unit_test(an_address_and_its_name_are_the_same)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
