/* SPDX-License-Identifier: Apache-2.0
 * A gateway's canary through whole safety planes: one gateway, one node with ErisML, and a link that may bend answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/loop_thread.h"
#include "node/eval_codec.h"
#include "node/eval_pb.h"
#include "node/safety_msg.h"
#include "node/safety_plane.h"

enum { GATEWAY, ERISML, NODES, PATIENCE_S = 60 };

struct node {
	struct net *net;
	struct agi_id id;
	uint8_t sec[AGI_SECKEY_BYTES];
	struct agi_safety_plane *plane;
	unsigned events[AGI_SAFETY_CANARY + 1], found[AGI_CANARY_FINDINGS];
};
struct net {
	struct event_base *base;
	struct node nodes[NODES];
	struct agi_provider provider;
	bool has_erisml, permits_everything;
	struct agi_why why;
	bool is_answered;
	enum agi_decision decision;
	char cause[64];
};

/* --- the network ------------------------------------------------------------------------------------------ */
struct parcel {
	struct node *from, *to;
	struct agi_buf bytes;
};

static void deliver(evutil_socket_t fd, short what, void *arg)
{
	struct parcel *p = arg;
	struct agi_peer from = {.id = p->from->id};
	struct agi_envelope env;
	(void)fd;
	(void)what;

	assert_int_equal(agi_envelope_open(agi_buf_str(&p->bytes), &env, NULL), AGI_OK);
	agi_safety_plane_on_message(p->to->plane, &from, &env);
	agi_buf_free(&p->bytes);
	free(p);
}

static void post(struct node *from, struct node *to, const struct agi_safety_msg *m)
{
	struct parcel *p = calloc(1, sizeof *p);

	assert_non_null(p);
	*p = (struct parcel){.from = from, .to = to};
	agi_buf_init(&p->bytes, 0);
	agi_safety_msg_encode(&p->bytes, m);
	event_base_once(from->net->base, -1, EV_TIMEOUT, deliver, p, NULL);
}

/* An ErisML that does not see who violates rights. */
static struct agi_str blinded(struct agi_str request, struct agi_pool *pool)
{
	Agi__Erisml__V1__EvaluatePlanRequest *m = (Agi__Erisml__V1__EvaluatePlanRequest *)agi_pb_unpack(
	    &agi__erisml__v1__evaluate_plan_request__descriptor, request, NULL);
	struct agi_str bent;

	assert_non_null(m);
	for (size_t i = 0; i < m->n_step_facts; i++)
		m->step_facts[i]->violates_rights = false;
	bent = agi_pb_to_pool(&m->base, pool);
	protobuf_c_message_free_unpacked(&m->base, NULL);
	return bent;
}

static enum agi_err on_send(void *ctx, const struct agi_peer *to, struct agi_str envelope)
{
	struct node *from = ctx;
	struct net *net = from->net;
	struct node *target = agi_id_eq(&to->id, &net->nodes[GATEWAY].id) ? &net->nodes[GATEWAY] : &net->nodes[ERISML];
	struct agi_safety_msg m;
	struct agi_envelope env;
	struct agi_pool pool;

	assert_int_equal(agi_envelope_open(envelope, &env, NULL), AGI_OK);
	assert_int_equal(agi_safety_msg_decode(&env, &m, NULL), AGI_OK);
	agi_pool_init(&pool, 0);
	if (m.kind == AGI_BODY_EVAL_REQUEST && net->permits_everything)
		m.request = blinded(m.request, &pool);
	if (net->has_erisml)
		post(from, target, &m);
	agi_pool_free(&pool);
	return net->has_erisml ? AGI_OK : AGI_E_UNREACHABLE;
}

static size_t on_instances(void *ctx, struct agi_str service, struct agi_instance *out, size_t max)
{
	struct net *net = ((struct node *)ctx)->net;
	bool is_gateway = agi_str_eq(service, AGI_STR("safety-gateway"));

	if (!max || agi_str_eq(service, AGI_STR("in-action")) || (!is_gateway && !net->has_erisml))
		return 0;
	out[0] = (struct agi_instance){.provider = &net->provider, .node = net->nodes[is_gateway ? GATEWAY : ERISML].id};
	return 1;
}

static void on_observe(void *ctx, const struct agi_safety_event *e)
{
	struct node *n = ctx;

	n->events[e->kind]++;
	if (e->kind == AGI_SAFETY_CANARY)
		n->found[e->canary]++;
}

static void on_canary(void *ctx, const struct agi_canary *c, const struct agi_why *why)
{
	(void)c;
	if (why)
		((struct node *)ctx)->net->why = *why;
}

/* --- set up ------------------------------------------------------------------------------------------------ */
static void add_node(struct net *net, int i, const char *roles, const char *policy)
{
	static const struct agi_safety_hooks hooks = {
	    .send = on_send, .instances = on_instances, .observe = on_observe, .canary = on_canary};
	const uint8_t seed[AGI_SEED_BYTES] = {(uint8_t)(i + 1)};
	struct node *n = &net->nodes[i];
	uint8_t pub[AGI_PUBKEY_BYTES];
	struct agi_config config;
	struct agi_why why = {""};

	agi_keypair_of_seed(seed, pub, n->sec);
	agi_id_of_pubkey(&n->id, pub);
	n->net = net;
	assert_int_equal(agi_config_defaults(&config, &why), AGI_OK);
	assert_int_equal(agi_config_set(&config, "node.roles", roles, &why), AGI_OK);
	assert_int_equal(agi_config_set(&config, "safety.quorum", "1", &why), AGI_OK);
	/* late is what is told by missing answers here, not by a slow machine */
	assert_int_equal(agi_config_set(&config, "failsafe.safety_check_timeout_ms", "2000", &why), AGI_OK);
	if (policy)
		assert_int_equal(agi_config_set(&config, policy, "0", &why), AGI_OK);
	if (agi_config_check(&config, &why))
		fail_msg("%s", why.text);
	assert_int_equal(agi_safety_plane_new(net->base, &config, &(struct agi_safety_self){n->id, 1, n->sec}, &hooks, n,
	                                      &n->plane, &why), AGI_OK);
	agi_safety_plane_stop_read(n->plane, NULL, UINT64_MAX / 2); /* for good */
	agi_safety_plane_policy_read(n->plane, (struct agi_str){NULL, 0}, UINT64_MAX / 2);
	agi_config_free(&config);
}

/* gateway: its roles. policy: a threshold that is 0, NULL = none. */
static void set_up(struct net *net, const char *gateway, const char *policy)
{
	*net = (struct net){.base = event_base_new(), .has_erisml = true};
	assert_int_equal(event_base_priority_init(net->base, AGI_LOOP_PRIORITIES), 0);
	add_node(net, GATEWAY, gateway, policy);
	add_node(net, ERISML, "erisml", policy);
	assert_false(agi_safety_plane_is_well(net->nodes[GATEWAY].plane));
	assert_int_equal(agi_safety_plane_start_canary(net->nodes[GATEWAY].plane), AGI_OK);
}

static void tear_down(struct net *net)
{
	net->has_erisml = false;
	for (size_t i = 0; i < NODES; i++)
		agi_safety_plane_free(net->nodes[i].plane);
	event_base_free(net->base);
}

/* What is under way at the end is delivered first, or leaked. */
static void settle(struct net *net)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(net->base, EVLOOP_NONBLOCK);
}

static void until_well(struct net *net, bool is_well)
{
	time_t end = time(NULL) + PATIENCE_S;

	agi_safety_plane_run_canary(net->nodes[GATEWAY].plane);
	while (agi_safety_plane_is_well(net->nodes[GATEWAY].plane) != is_well) {
		event_base_loop(net->base, EVLOOP_ONCE);
		if (time(NULL) > end)
			fail_msg("not %s: %s", is_well ? "well" : "ill", net->why.text);
	}
}

static void on_done(void *arg, const Agi__Safety__V1__CheckPlanResponse *res)
{
	struct net *net = arg;

	net->is_answered = true;
	net->decision = agi_decision_from_pb((int)res->result->decision);
	for (size_t i = 0; i < res->result->n_metadata; i++)
		if (agi_str_eq(agi_str_of_pb(res->result->metadata[i]->key), AGI_STR("cause")))
			snprintf(net->cause, sizeof net->cause, "%.*s",
			         AGI_STR_ARG(agi_str_of_pb(res->result->metadata[i]->value)));
}

static void expect(struct net *net, enum agi_decision d, const char *cause)
{
	Agi__Safety__V1__CheckPlanRequest m = AGI__SAFETY__V1__CHECK_PLAN_REQUEST__INIT;
	Agi__Plan__V1__PlanGraphProto plan = AGI__PLAN__V1__PLAN_GRAPH_PROTO__INIT;
	Agi__Plan__V1__PlanStep step = AGI__PLAN__V1__PLAN_STEP__INIT, *steps[] = {&step};
	struct agi_pool pool;

	agi_pool_init(&pool, 0);
	step.tool_id = agi_str_to_pb(AGI_STR("report"));
	plan.n_steps = 1;
	plan.steps = steps;
	m.plan = &plan;
	net->is_answered = false;
	agi_safety_plane_check(net->nodes[GATEWAY].plane, agi_pb_to_pool(&m.base, &pool), 0, on_done, net);
	while (!net->is_answered)
		event_base_loop(net->base, EVLOOP_ONCE);
	agi_pool_free(&pool);
	if (net->decision != d || strcmp(net->cause, cause) != 0)
		fail_msg("%s (%s), expected %s (%s)", agi_decision_name(net->decision), net->cause, agi_decision_name(d), cause);
}

/* --- stories ------------------------------------------------------------------------------------------------ */
static void it_passes_at_once_and_leaves_no_trace(void **state)
{
	static const char *const roles[] = {"safety-gateway,erisml", "safety-gateway"};
	struct agi_safety_status st;
	struct net net;
	(void)state;

	for (size_t i = 0; i < 2; i++) {
		set_up(&net, roles[i], NULL);
		until_well(&net, true);
		for (int n = 0; n < NODES; n++) {
			agi_safety_plane_status(net.nodes[n].plane, &st);
			assert_true(st.proofs == 0 && st.votes == 0 && st.checks == 0);
			for (int k = 0; k < AGI_SAFETY_CANARY; k++)
				assert_int_equal(net.nodes[n].events[k], 0);
		}
		assert_int_equal(net.nodes[GATEWAY].found[AGI_CANARY_RIGHT], 1);
		expect(&net, AGI_DECISION_ALLOW, "VOTED");
		settle(&net);
		tear_down(&net);
	}
}

static void a_stopped_gateway_is_well(void **state)
{
	const struct agi_stop_record stop = {.epoch = 1, .is_stopped = true, .reason = "smoke"};
	struct net net;
	(void)state;

	set_up(&net, "safety-gateway,erisml", NULL);
	agi_safety_plane_stop_tell(net.nodes[GATEWAY].plane, &stop);
	until_well(&net, true);
	expect(&net, AGI_DECISION_BLOCK, "EMERGENCY_STOP");
	settle(&net);
	tear_down(&net);
}

static void a_policy_that_allows_nothing_makes_nobody_ill(void **state)
{
	static const char *const thresholds[] = {"thresholds.physical_harm_threshold", "safety.bond_index_threshold"};
	static const char *const roles[] = {"safety-gateway,erisml", "safety-gateway"};
	struct net net;
	(void)state;

	for (size_t i = 0; i < 4; i++) {
		set_up(&net, roles[i % 2], thresholds[i / 2]);
		until_well(&net, true);
		expect(&net, AGI_DECISION_BLOCK, "VOTED");
		settle(&net);
		tear_down(&net);
	}
}

static void without_erisml_it_is_ill_and_well_again_with_it(void **state)
{
	struct net net;
	(void)state;

	set_up(&net, "safety-gateway", NULL);
	until_well(&net, true);
	net.has_erisml = false;
	until_well(&net, false);
	assert_int_equal(net.nodes[GATEWAY].found[AGI_CANARY_MISSED], AGI_CANARY_MISSES);
	assert_non_null(strstr(net.why.text, "plan was not judged: ERISML_UNAVAILABLE: "));
	net.has_erisml = true;
	until_well(&net, true);
	assert_int_equal(net.nodes[GATEWAY].found[AGI_CANARY_RIGHT], 1 + AGI_CANARY_PASSES);
	expect(&net, AGI_DECISION_ALLOW, "VOTED");
	settle(&net);
	tear_down(&net);
}

/* Nothing else tells an ErisML that approves of everything: its answers are in order. */
static void with_an_erisml_that_permits_what_it_must_not_every_vote_is_block(void **state)
{
	struct net net;
	(void)state;

	set_up(&net, "safety-gateway", NULL);
	until_well(&net, true);
	expect(&net, AGI_DECISION_ALLOW, "VOTED");
	net.permits_everything = true;
	until_well(&net, false);
	assert_string_equal(net.why.text, "the harmful plan was judged ALLOW: All checks passed");
	expect(&net, AGI_DECISION_BLOCK, "CANARY_FAILED");
	net.permits_everything = false;
	until_well(&net, true);
	expect(&net, AGI_DECISION_ALLOW, "VOTED");
	settle(&net);
	tear_down(&net);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_passes_at_once_and_leaves_no_trace),
	    cmocka_unit_test(a_stopped_gateway_is_well),
	    cmocka_unit_test(a_policy_that_allows_nothing_makes_nobody_ill),
	    cmocka_unit_test(without_erisml_it_is_ill_and_well_again_with_it),
	    cmocka_unit_test(with_an_erisml_that_permits_what_it_must_not_every_vote_is_block),
	};

	return agi_crypto_init() ? 1 : cmocka_run_group_tests_name("safety canary", tests, NULL, NULL);
}
