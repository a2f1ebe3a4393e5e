/* SPDX-License-Identifier: Apache-2.0
 * Safety checks asked on one loop and decided on another; and what the safety loop knows of gateways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>

#include "base/limits.h"
#include "loop.h"
#include "net/listener.h"
#include "node/eval_pb.h"
#include "node/safety_door.h"
#include "node/safety_known.h"

#define CHECK_PLAN "/agi.safety.v1.PreActionSafetyService/CheckPlan"
#define CHECK_STEP "/agi.safety.v1.PreActionSafetyService/CheckStep"

static const uint8_t seckey[AGI_SECKEY_BYTES] = {1}; /* nobody checks signatures here */

struct world {
	struct event_base *base; /* home */
	struct agi_loop *home, *safety;
	struct agi_safety_plane *plane;
	struct agi_safety_door *door;
	struct agi_grpc_server *server;
	struct agi_listener *listener;
	struct agi_grpc_channel *channel;
	_Atomic bool is_gateway_silent;
	struct agi_id id;
	struct agi_provider provider;
	/* answers */
	int n_done;
	enum agi_grpc_status status;
	enum agi_decision decision;
	char cause[64];
};

static enum agi_err on_send(void *ctx, const struct agi_peer *to, struct agi_str envelope)
{
	(void)ctx;
	(void)to;
	(void)envelope;
	return AGI_OK; /* lost */
}

static size_t on_instances(void *ctx, struct agi_str service, struct agi_instance *out, size_t max)
{
	struct world *w = ctx;

	if (!max || !agi_str_eq(service, AGI_STR("safety-gateway")))
		return 0;
	out[0] = (struct agi_instance){.provider = &w->provider, .node = w->id};
	out[0].node.b[0] = w->is_gateway_silent ? 2 : 1;
	return 1;
}

static void on_grpc(void *ctx, struct agi_transport *t)
{
	agi_grpc_server_take(((struct world *)ctx)->server, t);
}

static void open_plane(struct world *w)
{
	static const struct agi_safety_hooks hooks = {on_send, on_instances, NULL};
	struct agi_config config;
	struct agi_why why = {{0}};

	assert_int_equal(agi_config_defaults(&config, &why), AGI_OK);
	assert_int_equal(agi_config_set(&config, "node.roles", "erisml,safety-gateway", &why), AGI_OK);
	assert_int_equal(agi_config_set(&config, "safety.quorum", "1", &why), AGI_OK);
	assert_int_equal(agi_config_set(&config, "safety.banned_tools", "shutdown_everything", &why), AGI_OK);
	if (agi_config_check(&config, &why) ||
	    agi_safety_plane_new(agi_loop_base(w->safety), &config, &(struct agi_safety_self){w->id, 1, seckey}, &hooks, w, &w->plane, &why))
		fail_msg("%s", why.text);
	agi_safety_plane_stop_read(w->plane, NULL, UINT64_MAX / 2); /* for good */
	agi_safety_plane_policy_read(w->plane, (struct agi_str){NULL, 0}, UINT64_MAX / 2);
	agi_config_free(&config);
}

static void set_up(struct world *w)
{
	struct agi_listener_cfg listen = {.addr = loopback(0), .ctx = w};
	char target[AGI_ADDR_TEXT];
	struct agi_why why;

	*w = (struct world){.base = event_base_new(), .id = {{1}}};
	assert_int_equal(agi_loop_new(&(struct agi_loop_cfg){.name = "home", .mailbox_max = 64, .base = w->base},
	                              &w->home), AGI_OK);
	assert_int_equal(agi_loop_new(&(struct agi_loop_cfg){.name = "safety", .mailbox_max = 64}, &w->safety),
	                 AGI_OK);
	open_plane(w);
	assert_int_equal(agi_safety_door_new(w->home, w->safety, w->plane, AGI_SAFETY_TIMEOUT_MS, &w->door),
	                 AGI_OK);
	assert_int_equal(agi_grpc_server_new(w->base, &(struct agi_grpc_server_cfg){0}, &w->server), AGI_OK);
	assert_int_equal(agi_safety_door_serve(w->door, w->server), AGI_OK);
	assert_int_equal(agi_safety_door_serve_erisml(w->door, w->server), AGI_OK);
	assert_int_equal(agi_safety_door_serve_outcomes(w->door, w->server), AGI_OK);
	listen.on_wire[AGI_WIRE_GRPC] = on_grpc;
	assert_int_equal(agi_listener_new(w->base, &listen, &w->listener, &why), AGI_OK);
	agi_addr_format(target, agi_listener_addr(w->listener));
	assert_int_equal(agi_grpc_channel_new(w->base, target, &w->channel, NULL), AGI_OK);
}

static void tear_down(struct world *w)
{
	agi_loop_stop(w->safety);
	agi_grpc_channel_free(w->channel);
	agi_listener_free(w->listener);
	agi_grpc_server_free(w->server);
	assert_int_equal(agi_safety_door_waiting(w->door), 0);
	agi_safety_plane_free(w->plane);
	agi_safety_door_free(w->door);
	agi_loop_free(w->safety);
	agi_loop_free(w->home);
	event_base_free(w->base);
}

static void start(struct world *w) { assert_int_equal(agi_loop_start(w->safety), AGI_OK); }

/* --- calls ---------------------------------------------------------------------------------------------- */
static void take_result(struct world *w, const Agi__Safety__V1__SafetyResult *r)
{
	w->decision = agi_decision_from_pb((int)r->decision);
	w->cause[0] = '\0';
	for (size_t i = 0; i < r->n_metadata; i++)
		if (agi_str_eq(agi_str_of_pb(r->metadata[i]->key), AGI_STR("cause")))
			snprintf(w->cause, sizeof w->cause, "%.*s",
			         AGI_STR_ARG(agi_str_of_pb(r->metadata[i]->value)));
}

static void on_done(void *arg, const struct agi_grpc_result *r)
{
	struct world *w = arg;

	w->n_done++;
	w->status = r->status;
	if (r->res && r->res->descriptor == &agi__safety__v1__check_plan_response__descriptor)
		take_result(w, ((const Agi__Safety__V1__CheckPlanResponse *)r->res)->result);
	else if (r->res && r->res->descriptor == &agi__safety__v1__safety_result__descriptor)
		take_result(w, (const Agi__Safety__V1__SafetyResult *)r->res);
}

struct wait {
	struct world *w;
	int n;
};
static bool are_done(void *arg) { return ((struct wait *)arg)->w->n_done >= ((struct wait *)arg)->n; }
static void until_done(struct world *w, int n)
{
	assert_true(loop_until(w->base, are_done, &(struct wait){w, n}));
}

static void send_plan(struct world *w, const char *tool, uint32_t timeout_ms)
{
	Agi__Safety__V1__CheckPlanRequest m = AGI__SAFETY__V1__CHECK_PLAN_REQUEST__INIT;
	Agi__Plan__V1__PlanGraphProto plan = AGI__PLAN__V1__PLAN_GRAPH_PROTO__INIT;
	Agi__Plan__V1__PlanStep step = AGI__PLAN__V1__PLAN_STEP__INIT, *steps[] = {&step};

	step.tool_id = agi_str_to_pb(agi_str_of(tool));
	plan.n_steps = 1;
	plan.steps = steps;
	m.plan = &plan;
	assert_int_equal(agi_grpc_unary(w->channel, CHECK_PLAN, &m.base,
	                                &agi__safety__v1__check_plan_response__descriptor, timeout_ms, on_done,
	                                w), AGI_OK);
}

static enum agi_decision check_plan(struct world *w, const char *tool)
{
	int n = w->n_done;

	w->decision = AGI_DECISION_NONE;
	send_plan(w, tool, 0);
	until_done(w, n + 1);
	assert_int_equal(w->status, AGI_GRPC_OK);
	return w->decision;
}

static enum agi_decision check_step(struct world *w, const char *tool)
{
	Agi__Safety__V1__CheckActionRequest m = AGI__SAFETY__V1__CHECK_ACTION_REQUEST__INIT;
	Agi__Plan__V1__PlanStep step = AGI__PLAN__V1__PLAN_STEP__INIT;
	int n = w->n_done;

	step.tool_id = agi_str_to_pb(agi_str_of(tool));
	m.step = &step;
	w->decision = AGI_DECISION_NONE;
	assert_int_equal(agi_grpc_unary(w->channel, CHECK_STEP, &m.base,
	                                &agi__safety__v1__safety_result__descriptor, 0, on_done, w), AGI_OK);
	until_done(w, n + 1);
	assert_int_equal(w->status, AGI_GRPC_OK);
	return w->decision;
}

/* --- tests ---------------------------------------------------------------------------------------------- */
static void a_check_gets_the_decision_of_the_other_loop(void **state)
{
	struct world w;
	(void)state;

	set_up(&w);
	start(&w);
	assert_int_equal(check_plan(&w, "get_temperature"), AGI_DECISION_ALLOW);
	assert_int_equal(check_plan(&w, "shutdown_everything"), AGI_DECISION_BLOCK);
	assert_int_equal(check_step(&w, "get_temperature"), AGI_DECISION_ALLOW);
	assert_int_equal(check_step(&w, "shutdown_everything"), AGI_DECISION_BLOCK);
	tear_down(&w);
}

static enum agi_grpc_status evaluate(struct world *w)
{
	Agi__Erisml__V1__EvaluateStepRequest m = AGI__ERISML__V1__EVALUATE_STEP_REQUEST__INIT;
	Agi__Erisml__V1__EthicalFactsProto facts = AGI__ERISML__V1__ETHICAL_FACTS_PROTO__INIT;
	int n = w->n_done;

	m.facts = &facts;
	assert_int_equal(agi_grpc_unary(w->channel, "/agi.erisml.v1.ErisMLService/EvaluateStep", &m.base,
	                                &agi__erisml__v1__evaluate_step_response__descriptor, 0, on_done, w), AGI_OK);
	until_done(w, n + 1);
	return w->status;
}

static void an_evaluation_gets_its_answer_or_its_error(void **state)
{
	struct world w;
	(void)state;

	set_up(&w);
	assert_int_equal(evaluate(&w), AGI_GRPC_DEADLINE_EXCEEDED); /* nobody is there */
	start(&w);
	assert_int_equal(evaluate(&w), AGI_GRPC_OK);
	agi_loop_stop(w.safety);
	assert_int_equal(evaluate(&w), AGI_GRPC_RESOURCE_EXHAUSTED);
	tear_down(&w);
}

/* A method added to the .proto is added at one place, and answers here as on the role's own port. */
static void every_method_of_erisml_is_answered(void **state)
{
	const ProtobufCServiceDescriptor *d = &agi__erisml__v1__eris_mlservice__descriptor;
	struct world w;
	(void)state;

	set_up(&w);
	start(&w);
	for (unsigned i = 0; i < d->n_methods; i++) {
		ProtobufCMessage *empty = agi_pb_unpack(d->methods[i].input, AGI_STR(""), NULL);
		char path[128];
		int n = w.n_done;

		snprintf(path, sizeof path, "/%s/%s", d->name, d->methods[i].name);
		assert_int_equal(agi_grpc_unary(w.channel, path, empty, d->methods[i].output, 0, on_done, &w),
		                 AGI_OK);
		until_done(&w, n + 1);
		if (w.status != AGI_GRPC_OK && w.status != AGI_GRPC_UNKNOWN) /* UNKNOWN: nothing to evaluate */
			fail_msg("%s: status %d", path, (int)w.status);
		protobuf_c_message_free_unpacked(empty, NULL);
	}
	tear_down(&w);
}

/* Work that takes long has another way: it waits for what is short. */
static void a_long_evaluation_is_answered_too(void **state)
{
	enum { STEPS = 2000 };
	static Agi__Erisml__V1__EthicalFactsProto facts[STEPS], *list[STEPS];
	Agi__Erisml__V1__EvaluatePlanRequest m = AGI__ERISML__V1__EVALUATE_PLAN_REQUEST__INIT;
	struct world w;
	(void)state;

	for (int i = 0; i < STEPS; i++) {
		facts[i] = (Agi__Erisml__V1__EthicalFactsProto)AGI__ERISML__V1__ETHICAL_FACTS_PROTO__INIT;
		facts[i].option_id = agi_str_to_pb(AGI_STR("an option"));
		list[i] = &facts[i];
	}
	m.n_step_facts = STEPS;
	m.step_facts = list;
	set_up(&w);
	start(&w);
	assert_int_equal(agi_grpc_unary(w.channel, "/agi.erisml.v1.ErisMLService/EvaluatePlan", &m.base,
	                                &agi__erisml__v1__evaluate_plan_response__descriptor, 0, on_done, &w), AGI_OK);
	send_plan(&w, "get_temperature", 0);
	until_done(&w, 2);
	assert_int_equal(w.status, AGI_GRPC_OK);
	assert_int_equal(agi_grpc_unary(w.channel, "/agi.erisml.v1.ErisMLService/EvaluatePlan", &m.base,
	                                &agi__erisml__v1__evaluate_plan_response__descriptor, 1, on_done, &w), AGI_OK);
	until_done(&w, 3);
	tear_down(&w); /* perhaps with the evaluation waiting */
}

static void send_report(struct world *w, struct agi_str plan_id)
{
	Agi__Safety__V1__ActionOutcomeReport m = AGI__SAFETY__V1__ACTION_OUTCOME_REPORT__INIT;

	m.plan_id = agi_str_to_pb(plan_id);
	assert_int_equal(agi_grpc_unary(w->channel, "/agi.safety.v1.PostActionSafetyService/ReportOutcome", &m.base,
	                                &agi__safety__v1__action_outcome_ack__descriptor, 0, on_done, w), AGI_OK);
}

static void a_check_does_not_wait_for_an_outcome_reported_before_it(void **state)
{
	static char plan[AGI_OUTCOME_ID_MAX + 1];
	struct world w;
	(void)state;

	set_up(&w); /* the safety loop does not run yet */
	send_report(&w, AGI_STR("p"));
	send_report(&w, AGI_STR("q"));
	assert_int_equal(check_plan(&w, "get_temperature"), AGI_DECISION_BLOCK);
	assert_int_equal(agi_safety_door_waiting(w.door), 2);
	start(&w);
	until_done(&w, 3);
	assert_int_equal(w.status, AGI_GRPC_UNIMPLEMENTED); /* this plane keeps no log */
	memset(plan, 'p', sizeof plan);
	send_report(&w, (struct agi_str){plan, sizeof plan});
	until_done(&w, 4);
	assert_int_equal(w.status, AGI_GRPC_INVALID_ARGUMENT);
	tear_down(&w);
}

static void answers_to_cancelled_calls_reach_nobody(void **state)
{
	struct world w;
	(void)state;

	set_up(&w); /* the safety loop does not run yet: the clients' patience ends first */
	for (int i = 0; i < 20; i++)
		send_plan(&w, "get_temperature", 5);
	until_done(&w, 20);
	assert_int_equal(w.status, AGI_GRPC_DEADLINE_EXCEEDED);
	for (int i = 0; i < 1000 && agi_safety_door_waiting(w.door); i++)
		event_base_loop(w.base, EVLOOP_ONCE);
	assert_int_equal(agi_safety_door_waiting(w.door), 0);
	start(&w); /* answers of old come now, for places that others have */
	for (int i = 0; i < 20; i++)
		send_plan(&w, "shutdown_everything", 0);
	until_done(&w, 40);
	assert_int_equal(w.n_done, 40);
	assert_int_equal(w.status, AGI_GRPC_OK);
	assert_int_equal(w.decision, AGI_DECISION_BLOCK);
	tear_down(&w);
}

static void calls_of_a_broken_connection_are_forgotten(void **state)
{
	struct world w;
	char target[AGI_ADDR_TEXT];
	(void)state;

	set_up(&w);
	start(&w);
	w.is_gateway_silent = true;
	for (int i = 0; i < 20; i++)
		send_plan(&w, "get_temperature", 0);
	for (int i = 0; i < 1000 && agi_safety_door_waiting(w.door) < 20; i++)
		event_base_loop(w.base, EVLOOP_ONCE);
	assert_int_equal(agi_safety_door_waiting(w.door), 20);
	agi_grpc_channel_free(w.channel);
	agi_addr_format(target, agi_listener_addr(w.listener));
	assert_int_equal(agi_grpc_channel_new(w.base, target, &w.channel, NULL), AGI_OK);
	w.is_gateway_silent = false;
	assert_int_equal(check_plan(&w, "get_temperature"), AGI_DECISION_ALLOW);
	tear_down(&w);
}

static void no_answer_in_time_is_block_and_a_late_one_is_dropped(void **state)
{
	struct world w;
	(void)state;

	set_up(&w); /* the safety loop does not run yet */
	assert_int_equal(check_plan(&w, "get_temperature"), AGI_DECISION_BLOCK);
	assert_string_equal(w.cause, agi_panel_cause_name(AGI_PANEL_TIMEOUT));
	start(&w);
	assert_int_equal(check_plan(&w, "get_temperature"), AGI_DECISION_ALLOW);
	tear_down(&w);
}

static void a_loop_that_is_gone_or_full_is_block_at_once(void **state)
{
	struct world w;
	(void)state;

	set_up(&w);
	for (int i = 0; i < 65; i++) /* one more than the mailbox holds */
		send_plan(&w, "get_temperature", 0);
	until_done(&w, 1);
	assert_int_equal(w.decision, AGI_DECISION_BLOCK);
	assert_string_equal(w.cause, agi_check_cause_name(AGI_CHECK_BUSY));
	until_done(&w, 65);
	agi_loop_stop(w.safety);
	assert_int_equal(check_plan(&w, "get_temperature"), AGI_DECISION_BLOCK);
	tear_down(&w);
}

static void a_server_may_go_while_calls_wait(void **state)
{
	struct world w;
	(void)state;

	set_up(&w);
	start(&w);
	w.is_gateway_silent = true;
	for (int i = 0; i < 20; i++)
		send_plan(&w, "get_temperature", 0);
	for (int i = 0; i < 1000 && agi_safety_door_waiting(w.door) < 20; i++)
		event_base_loop(w.base, EVLOOP_ONCE);
	tear_down(&w);
}

/* --- what is known --------------------------------------------------------------------------------------- */
static void what_is_known_is_good_for_a_while_only(void **state)
{
	static struct agi_safety_known k, same;
	struct agi_instance out[4];
	(void)state;

	assert_int_equal(agi_safety_known_find(&k, 1, AGI_STR("erisml"), out, 4), 0);
	k.at_us = 1000;
	k.n[0] = 2;
	k.rows[0][0].node.b[0] = 7;
	k.rows[0][1].addr.port = 9;
	assert_int_equal(agi_safety_known_find(&k, 2000, AGI_STR("safety-gateway"), out, 4), 2);
	assert_int_equal(out[0].node.b[0], 7);
	assert_int_equal(out[1].provider->node_addr.port, 9);
	assert_int_equal(agi_safety_known_find(&k, 2000, AGI_STR("safety-gateway"), out, 1), 1);
	assert_int_equal(agi_safety_known_find(&k, 2000, AGI_STR("erisml"), out, 4), 0);
	assert_int_equal(agi_safety_known_find(&k, 2000, AGI_STR("planner"), out, 4), 0);
	assert_int_equal(agi_safety_known_find(&k, 1001 + AGI_SAFETY_KNOWN_MS * 1000, AGI_STR("safety-gateway"),
	                                       out, 4), 0);
	same = k;
	assert_true(agi_safety_known_eq(&k, &same));
	same.rows[0][1].addr.port = 10;
	assert_false(agi_safety_known_eq(&k, &same));
}

static void gateways_are_spread_over_zones_and_then_over_hosts(void **state)
{
	static const uint8_t host[4][16] = {{1}, {2}, {3}, {4}};
	static const struct agi_fault_domain zones[] = {
	    {"a", host[0]}, {"a", host[1]}, {"a", host[2]}, {"b", host[3]}}, none[] = {
	    {"", host[0]}, {"", host[0]}, {"", host[1]}, {"", host[2]}}, both[] = {
	    {"a", host[0]}, {"a", host[0]}, {"a", host[1]}, {"", host[2]}, {"b", host[3]}};
	size_t order[AGI_SAFETY_KNOWN_MAX];
	(void)state;

	agi_safety_spread(zones, 4, order); /* the nearest of each zone, then the nearest */
	assert_true(order[0] == 0 && order[1] == 3 && order[2] == 1 && order[3] == 2);
	agi_safety_spread(none, 4, order); /* without zones: one of each host first */
	assert_true(order[0] == 0 && order[1] == 2 && order[2] == 3 && order[3] == 1);
	agi_safety_spread(both, 5, order);
	assert_true(order[0] == 0 && order[1] == 3 && order[2] == 4 && order[3] == 2 && order[4] == 1);
	agi_safety_spread(zones, 0, order);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_check_gets_the_decision_of_the_other_loop),
	    cmocka_unit_test(an_evaluation_gets_its_answer_or_its_error),
	    cmocka_unit_test(every_method_of_erisml_is_answered),
	    cmocka_unit_test(a_long_evaluation_is_answered_too),
	    cmocka_unit_test(a_check_does_not_wait_for_an_outcome_reported_before_it),
	    cmocka_unit_test(answers_to_cancelled_calls_reach_nobody),
	    cmocka_unit_test(calls_of_a_broken_connection_are_forgotten),
	    cmocka_unit_test(no_answer_in_time_is_block_and_a_late_one_is_dropped),
	    cmocka_unit_test(a_loop_that_is_gone_or_full_is_block_at_once),
	    cmocka_unit_test(a_server_may_go_while_calls_wait),
	    cmocka_unit_test(what_is_known_is_good_for_a_while_only),
	    cmocka_unit_test(gateways_are_spread_over_zones_and_then_over_hosts),
	};

	return cmocka_run_group_tests_name("safety_door", tests, NULL, NULL);
}
