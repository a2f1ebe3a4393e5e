/* SPDX-License-Identifier: Apache-2.0
 * NEAREST: measured, not believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dht/provider.h"
#include "dht/state.h"
#include "toy_net.h"

enum { HOSTS = 12 };

static struct toy net;
static struct toy_host hosts[HOSTS];
static struct agi_provider records[HOSTS + 1];
static uint32_t n_records;

/* The last answer. */
static struct {
	enum agi_err err;
	int chosen; /* host; -1: none, HOSTS: this node itself */
	uint32_t rtt_us;
	size_t n;
	struct {
		enum agi_choice verdict;
		uint32_t rtt_us, estimate_us;
		bool is_probed;
	} of[HOSTS + 1];
} got;

static int index_of(const struct agi_id *id)
{
	struct agi_peer p = {.id = *id};
	int i = toy_find(&net, &p);

	return i < 0 ? HOSTS : i;
}

static void on_reply(struct toy *t, const struct agi_result *res)
{
	(void)t;
	memset(&got, 0, sizeof got);
	got.err = res->err;
	got.chosen = res->n_instances ? index_of(&res->instances->node) : -1;
	got.rtt_us = res->n_instances ? res->instances->rtt_us : 0;
	got.n = res->n_candidates;
	for (size_t i = 0; i < res->n_candidates; i++) {
		const struct agi_candidate *c = &res->candidates[i];
		int k = index_of(&c->instance.node);

		got.of[k].verdict = c->verdict;
		got.of[k].rtt_us = c->instance.rtt_us;
		got.of[k].estimate_us = c->estimate_us;
		got.of[k].is_probed = c->is_probed;
	}
}

static bool serve(struct toy *t, uint32_t host, const struct agi_msg *m, struct agi_msg *out)
{
	(void)t, (void)host;
	if (m->kind == AGI_MSG_PROVIDER_GET)
		*out = (struct agi_msg){.kind = AGI_MSG_PROVIDERS, .providers = records, .n_providers = n_records};
	else if (m->kind == AGI_MSG_FIND_NODE)
		*out = (struct agi_msg){.kind = AGI_MSG_NODES};
	else if (m->kind == AGI_MSG_PROVIDER_PUT)
		*out = (struct agi_msg){.kind = AGI_MSG_PROVIDER_ACK};
	else
		return false;
	return true;
}

/* Host i serves "planner". */
static struct agi_provider *advertise(uint32_t i, uint32_t load_milli)
{
	struct agi_provider *p = &records[n_records++];

	*p = (struct agi_provider){.service = AGI_STR("planner"), .address = AGI_STR("10.0.0.1:7000"),
	                           .node_addr = hosts[i].c.addr, .incarnation = 1, .seq = 1, .ttl_ms = 60000,
	                           .load_milli = load_milli, .is_healthy = true};
	agi_provider_sign(p, hosts[i].seckey);
	return p;
}

static int begin(void **state)
{
	struct agi_dht_cfg cfg = {.seed = 5};

	(void)state;
	toy_hosts(&net, hosts, HOSTS, 1);
	net.serve = serve;
	net.reply = on_reply;
	n_records = 0;
	toy_start(&net, &cfg);
	return 0;
}

/* All hosts are known and probed for a while; host i has the round trip (i + 1) ms unless it was set before. */
static void know_all(void)
{
	for (uint32_t i = 0; i < HOSTS; i++) {
		if (hosts[i].rtt_us == 1000)
			hosts[i].rtt_us = (i + 1) * 1000;
		agi_hosts_verified(net.d, &hosts[i].c, UINT32_MAX);
	}
	toy_run(&net, 5000);
}

static int end(void **state)
{
	(void)state;
	toy_end(&net);
	return 0;
}

static uint64_t ask(void)
{
	struct agi_call c = {.kind = AGI_CALL_NEAREST, .service = AGI_STR("planner")};

	return toy_call(&net, &c);
}

static void the_nearest_by_measurement_is_chosen_and_the_others_say_why_not(void **state)
{
	(void)state;
	for (uint32_t i = 2; i < HOSTS; i++)
		advertise(i, 0);
	know_all();
	ask();
	assert_int_equal(got.err, AGI_OK);
	assert_int_equal(got.chosen, 2);
	assert_int_equal(got.rtt_us, 3000);
	assert_int_equal(got.n, HOSTS - 2);
	assert_int_equal(got.of[2].verdict, AGI_CHOICE_CHOSEN);
	assert_int_equal(got.of[4].verdict, AGI_CHOICE_SLOWER);
	assert_int_equal(got.of[11].verdict, AGI_CHOICE_NOT_MEASURED);
	assert_int_equal(got.of[11].rtt_us, 12000);
}

/* A network that has changed: what was measured before says host 2, the truth is host 4. */
static void what_is_measured_now_wins_over_what_was_known(void **state)
{
	(void)state;
	for (uint32_t i = 2; i < HOSTS; i++)
		advertise(i, 0);
	know_all();
	hosts[2].rtt_us = hosts[3].rtt_us = 80000;
	ask();
	assert_int_equal(got.chosen, 4);
	assert_true(got.of[4].is_probed);
	assert_int_equal(got.of[2].verdict, AGI_CHOICE_SLOWER);
}

/* Hosts nobody has measured: a lie about the place brings a host onto the list, the probe takes it off. */
static void a_lie_about_coordinates_does_not_make_a_host_the_nearest(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		struct agi_provider *p = advertise(i, 0);

		p->has_coord = true;
		p->coord = (struct agi_coord){.height = AGI_COORD_HEIGHT_MIN};
		p->coord.vec[0] = i == 2 ? 0 : 100;
		hosts[i].rtt_us = i == 2 ? 90000 : 20000 + 10000 * i;
		agi_hosts_verified(net.d, &hosts[i].c, UINT32_MAX);
	}
	net.now.mono_us += 1;
	toy_run(&net, 700); /* joins; no probe has been answered twice */
	ask();
	assert_int_equal(got.err, AGI_OK);
	assert_int_equal(got.chosen, 0);
	assert_true(got.of[0].is_probed);
}

static void who_does_not_answer_is_never_chosen(void **state)
{
	uint64_t us;

	(void)state;
	for (uint32_t i = 0; i < HOSTS; i++)
		advertise(i, 0);
	know_all();
	for (uint32_t i = 0; i < 6; i++)
		hosts[i].is_silent = true;
	us = ask();
	assert_int_equal(got.chosen, 6);
	assert_int_equal(got.of[0].verdict, AGI_CHOICE_SILENT);
	assert_true(us < 2000000);
	for (uint32_t i = 0; i < HOSTS; i++)
		hosts[i].is_silent = true;
	us = ask();
	assert_int_equal(got.chosen, -1);
	assert_true(us < 3000000);
}

static void of_those_as_near_the_one_with_less_load_is_chosen(void **state)
{
	(void)state;
	hosts[3].rtt_us = 2000;
	hosts[4].rtt_us = 2050;
	advertise(3, 900);
	advertise(4, 100);
	advertise(6, 0);
	know_all();
	ask();
	assert_int_equal(got.chosen, 4);
	assert_int_equal(got.of[3].verdict, AGI_CHOICE_BUSIER);
}

static void what_cannot_be_used_is_listed_with_the_reason(void **state)
{
	struct agi_provider *p;

	(void)state;
	advertise(1, 0);
	p = advertise(2, 0);
	p->is_healthy = false;
	agi_provider_sign(p, hosts[2].seckey);
	hosts[3].c.incarnation = 5;
	advertise(3, 0);
	advertise(4, 0);
	p = advertise(5, 0);
	p->is_withdrawn = true;
	agi_provider_sign(p, hosts[5].seckey);
	know_all();
	agi_hosts_gone(net.d, &hosts[4].c.id);
	ask();
	assert_int_equal(got.chosen, 1);
	assert_int_equal(got.n, 4);
	assert_int_equal(got.of[2].verdict, AGI_CHOICE_UNHEALTHY);
	assert_int_equal(got.of[3].verdict, AGI_CHOICE_GHOST);
	assert_int_equal(got.of[4].verdict, AGI_CHOICE_DOWN);
}

static void an_unknown_service_and_a_wrong_name_are_told_apart(void **state)
{
	struct agi_call c = {.kind = AGI_CALL_NEAREST, .service = AGI_STR("No Name")};

	(void)state;
	know_all();
	ask();
	assert_int_equal(got.err, AGI_OK);
	assert_int_equal(got.chosen, -1);
	toy_call(&net, &c);
	assert_int_equal(got.err, AGI_E_INVALID);
}

static void a_search_that_is_cancelled_or_outlived_leaves_nothing_behind(void **state)
{
	struct agi_call c = {.kind = AGI_CALL_NEAREST, .service = AGI_STR("planner")};

	(void)state;
	advertise(1, 0);
	know_all();
	for (uint64_t id = 1000; id < 1010; id++) {
		agi_dht_call(net.d, net.now, id, &c);
		toy_run(&net, id - 1000);
		agi_dht_cancel(net.d, id);
		agi_dht_call(net.d, net.now, id, &c);
		toy_run(&net, id - 1000);
	}
	agi_dht_call(net.d, net.now, 2000, &c); /* is open when the node is freed */
	toy_run(&net, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	    TEST(the_nearest_by_measurement_is_chosen_and_the_others_say_why_not),
	    TEST(what_is_measured_now_wins_over_what_was_known),
	    TEST(a_lie_about_coordinates_does_not_make_a_host_the_nearest),
	    TEST(who_does_not_answer_is_never_chosen),
	    TEST(of_those_as_near_the_one_with_less_load_is_chosen),
	    TEST(what_cannot_be_used_is_listed_with_the_reason),
	    TEST(an_unknown_service_and_a_wrong_name_are_told_apart),
	    TEST(a_search_that_is_cancelled_or_outlived_leaves_nothing_behind),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
