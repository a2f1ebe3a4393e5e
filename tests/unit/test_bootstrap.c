/* SPDX-License-Identifier: Apache-2.0 */
#include "node/bootstrap.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "node/netif.h"

static struct agi_addr addr(const char *text)
{
	struct agi_addr a;
	struct agi_why why;

	if (agi_addr_parse(&a, agi_str_of(text), 0, &why))
		fail_msg("%s", why.text);
	return a;
}

static struct agi_resolved listed(const char *first, const char *second)
{
	struct agi_resolved r = {.n = 2, .is_first_known = true};

	r.addr[0] = addr(first);
	r.addr[1] = addr(second);
	return r;
}

static void listen_is_advertised_unless_it_is_every_address(void **state)
{
	struct agi_addr none = {.port = 0}, given = addr("10.1.1.1:9"), out;
	struct agi_addr one = addr("127.0.0.12:5000"), all = addr("0.0.0.0:5000");
	struct agi_resolved list = listed("127.0.0.11:5000", "127.0.0.12:5000");
	(void)state;

	agi_bootstrap_advertise(&out, &none, &one, &list);
	assert_true(agi_addr_eq(&out, &one));
	agi_bootstrap_advertise(&out, &given, &all, &list);
	assert_true(agi_addr_eq(&out, &given));
	agi_bootstrap_advertise(&out, &none, &all, &list);
	assert_false(agi_ip_is_wildcard(&out));
	assert_int_equal(out.port, 5000);
	assert_true(agi_ip_is_local(&out));
}

static void the_first_of_the_list_knows_itself(void **state)
{
	struct agi_addr first = addr("127.0.0.11:5000"), second = addr("127.0.0.12:5000");
	struct agi_resolved list = listed("127.0.0.11:5000", "127.0.0.12:5000");
	(void)state;

	agi_bootstrap_name_self(&list, &first, &first);
	assert_true(agi_bootstrap_is_first(&list, &first));
	assert_false(agi_bootstrap_is_first(&list, &second));
	list.is_first_known = false; /* the first name did not resolve: addr[0] is another entry's */
	assert_false(agi_bootstrap_is_first(&list, &first));
}

static void listening_everywhere_its_port_on_a_local_address_is_itself(void **state)
{
	struct agi_addr all = addr("0.0.0.0:5000"), me = addr("10.0.0.5:5000");
	struct agi_resolved list = listed("127.0.1.1:5000", "127.0.1.1:5001");
	(void)state;

	agi_bootstrap_name_self(&list, &me, &all);
	assert_true(agi_addr_eq(&list.addr[0], &me));
	assert_int_equal(list.addr[1].port, 5001);
	assert_true(agi_bootstrap_is_first(&list, &me));
}

static void names_are_resolved_in_order_and_failures_named(void **state)
{
	struct agi_endpoint e[] = {{(char *)"127.0.0.7", 5000},
	                           {(char *)"no-such-host.invalid", 5000},
	                           {(char *)"::1", 6000}};
	struct agi_endpoints list = {e, 3};
	struct agi_resolver *r;
	struct agi_resolved out;
	struct agi_addr want = addr("127.0.0.7:5000"), want6 = addr("[::1]:6000");
	(void)state;

	assert_int_equal(agi_resolver_new(&list, &r), AGI_OK);
	assert_true(agi_bootstrap_wait(r, 20000, &out));
	assert_true(out.is_first_known);
	assert_int_equal(out.n, 2);
	assert_true(agi_addr_eq(&out.addr[0], &want));
	assert_true(agi_addr_eq(&out.addr[1], &want6));
	assert_int_equal(out.n_failed, 1);
	assert_non_null(strstr(out.failed, "no-such-host.invalid"));
	assert_false(agi_resolver_take(r, &out));
	assert_int_equal(agi_resolver_begin(r), AGI_OK);
	agi_resolver_free(r); /* while a round runs */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(listen_is_advertised_unless_it_is_every_address),
	    cmocka_unit_test(the_first_of_the_list_knows_itself),
	    cmocka_unit_test(listening_everywhere_its_port_on_a_local_address_is_itself),
	    cmocka_unit_test(names_are_resolved_in_order_and_failures_named),
	};

	return cmocka_run_group_tests_name("bootstrap", tests, NULL, NULL);
}
