/* SPDX-License-Identifier: Apache-2.0
 * The safety services as gRPC clients see them: two nodes, one of them only an ErisML at a configured address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "loop.h"
#include "net/listener.h"
#include "node/eval_pb.h"
#include "node/safety_plane.h"

#define CHECK_PLAN "/agi.safety.v1.PreActionSafetyService/CheckPlan"
#define CHECK_STEP "/agi.safety.v1.PreActionSafetyService/CheckStep"
#define ERISML     "/agi.erisml.v1.ErisMLService/"

static const uint8_t seckey[AGI_SECKEY_BYTES] = {1}; /* nobody checks signatures here */

struct host {
	struct agi_id id;
	struct agi_provider provider;
	struct agi_safety_plane *plane;
	struct agi_grpc_server *server;
	struct agi_listener *listener;
	char target[AGI_ADDR_TEXT];
	bool is_gateway_silent; /* the only gateway that is known does not answer */
};

struct world {
	struct event_base *base;
	struct host gateway, erisml;
	struct agi_grpc_channel *to_gateway, *to_erisml;
	bool is_done;
	enum agi_grpc_status status;
	char message[256], verdict[32];
	enum agi_decision decision;
	size_t n_reasons;
	double bond_index;
	bool is_within;
	bool is_consistent;
};

/* --- two hosts ---------------------------------------------------------------------------------------- */
static void on_grpc(void *ctx, struct agi_transport *t)
{
	agi_grpc_server_take(((struct host *)ctx)->server, t);
}

static enum agi_err on_send(void *ctx, const struct agi_peer *to, struct agi_str envelope)
{
	(void)ctx;
	(void)to;
	(void)envelope;
	return AGI_OK; /* lost: nobody else takes part */
}

static size_t on_instances(void *ctx, struct agi_str service, struct agi_instance *out, size_t max)
{
	struct host *h = ctx;

	if (!max || !agi_str_eq(service, AGI_STR("safety-gateway")))
		return 0;
	out[0] = (struct agi_instance){.provider = &h->provider, .node = h->id};
	if (h->is_gateway_silent)
		out[0].node.b[0]++;
	return 1;
}

static void open_host(struct host *h, struct event_base *base, const char *role, const char *erisml, const char *rules)
{
	static const struct agi_safety_hooks hooks = {on_send, on_instances, NULL};
	struct agi_listener_cfg listen = {.addr = loopback(0), .ctx = h};
	struct agi_config config;
	struct agi_why why = {{0}};

	h->id.b[0] = 1;
	assert_int_equal(agi_config_defaults(&config, &why), AGI_OK);
	assert_int_equal(agi_config_set(&config, "node.roles", role, &why), AGI_OK);
	assert_int_equal(agi_config_set(&config, "safety.quorum", "1", &why), AGI_OK);
	if (rules)
		assert_int_equal(agi_config_set(&config, "safety.rule_file", rules, &why), AGI_OK);
	if (erisml)
		assert_int_equal(agi_config_set(&config, "gateway.erisml_address", erisml, &why), AGI_OK);
	if (agi_config_check(&config, &why) ||
	    agi_safety_plane_new(base, &config, &(struct agi_safety_self){h->id, 1, seckey}, &hooks, h, &h->plane, &why))
		fail_msg("%s", why.text);
	agi_safety_plane_stop_read(h->plane, NULL, UINT64_MAX / 2); /* for good */
	agi_safety_plane_policy_read(h->plane, (struct agi_str){NULL, 0}, UINT64_MAX / 2);
	agi_config_free(&config);
	assert_int_equal(agi_grpc_server_new(base, &(struct agi_grpc_server_cfg){0}, &h->server), AGI_OK);
	assert_int_equal(strcmp(role, "erisml") == 0
	                     ? agi_safety_plane_serve_erisml(h->plane, h->server)
	                     : agi_safety_plane_serve_checks(h->plane, h->server), AGI_OK);
	listen.on_wire[AGI_WIRE_GRPC] = on_grpc;
	assert_int_equal(agi_listener_new(base, &listen, &h->listener, &why), AGI_OK);
	agi_addr_format(h->target, agi_listener_addr(h->listener));
}

static void close_host(struct host *h)
{
	agi_listener_free(h->listener);
	agi_grpc_server_free(h->server);
	agi_safety_plane_free(h->plane);
}

static void set_up_with(struct world *w, const char *rules)
{
	*w = (struct world){.base = event_base_new()};
	open_host(&w->erisml, w->base, "erisml", NULL, NULL);
	open_host(&w->gateway, w->base, "safety-gateway", w->erisml.target, rules);
	assert_int_equal(agi_grpc_channel_new(w->base, w->gateway.target, &w->to_gateway, NULL), AGI_OK);
	assert_int_equal(agi_grpc_channel_new(w->base, w->erisml.target, &w->to_erisml, NULL), AGI_OK);
}

static void set_up(struct world *w) { set_up_with(w, NULL); }

static void tear_down(struct world *w)
{
	agi_grpc_channel_free(w->to_gateway);
	agi_grpc_channel_free(w->to_erisml);
	close_host(&w->gateway);
	close_host(&w->erisml);
	event_base_free(w->base);
}

/* --- calls --------------------------------------------------------------------------------------------- */
static void take_result(struct world *w, const Agi__Safety__V1__SafetyResult *r)
{
	w->decision = agi_decision_from_pb((int)r->decision);
	w->n_reasons = r->n_reasons;
}

static void on_done(void *arg, const struct agi_grpc_result *r)
{
	struct world *w = arg;
	const ProtobufCMessage *m = r->res;

	w->is_done = true;
	w->status = r->status;
	snprintf(w->message, sizeof w->message, "%.*s", AGI_STR_ARG(r->message));
	if (!m)
		return;
	if (m->descriptor == &agi__safety__v1__check_plan_response__descriptor)
		take_result(w, ((const Agi__Safety__V1__CheckPlanResponse *)m)->result);
	if (m->descriptor == &agi__safety__v1__safety_result__descriptor)
		take_result(w, (const Agi__Safety__V1__SafetyResult *)m);
	if (m->descriptor == &agi__erisml__v1__evaluate_step_response__descriptor)
		snprintf(w->verdict, sizeof w->verdict, "%.*s", AGI_STR_ARG(agi_str_of_pb(
		         ((const Agi__Erisml__V1__EvaluateStepResponse *)m)->verdict)));
	if (m->descriptor == &agi__erisml__v1__bond_index_result_proto__descriptor) {
		w->bond_index = ((const Agi__Erisml__V1__BondIndexResultProto *)m)->bond_index;
		w->is_within = ((const Agi__Erisml__V1__BondIndexResultProto *)m)->within_threshold;
	}
	if (m->descriptor == &agi__erisml__v1__hohfeldian_response__descriptor)
		w->is_consistent = ((const Agi__Erisml__V1__HohfeldianResponse *)m)->consistent;
}

static bool is_done(void *arg) { return ((struct world *)arg)->is_done; }

static void call(struct world *w, struct agi_grpc_channel *ch, const char *path,
                 const ProtobufCMessage *req, const ProtobufCMessageDescriptor *res, uint32_t timeout_ms)
{
	w->is_done = false;
	assert_int_equal(agi_grpc_unary(ch, path, req, res, timeout_ms, on_done, w), AGI_OK);
	assert_true(loop_until(w->base, is_done, w));
}

static enum agi_decision check_plan(struct world *w, const char *tool, uint32_t timeout_ms)
{
	Agi__Safety__V1__CheckPlanRequest m = AGI__SAFETY__V1__CHECK_PLAN_REQUEST__INIT;
	Agi__Plan__V1__PlanGraphProto plan = AGI__PLAN__V1__PLAN_GRAPH_PROTO__INIT;
	Agi__Plan__V1__PlanStep step = AGI__PLAN__V1__PLAN_STEP__INIT, *steps[] = {&step};

	step.tool_id = agi_str_to_pb(agi_str_of(tool));
	plan.n_steps = 1;
	plan.steps = steps;
	m.plan = &plan;
	call(w, w->to_gateway, CHECK_PLAN, &m.base, &agi__safety__v1__check_plan_response__descriptor,
	     timeout_ms);
	return w->decision;
}

static enum agi_decision check_step(struct world *w, const char *tool, float force)
{
	Agi__Safety__V1__CheckActionRequest m = AGI__SAFETY__V1__CHECK_ACTION_REQUEST__INIT;
	Agi__Safety__V1__CheckActionRequest__SensorReadingsEntry reading =
	    AGI__SAFETY__V1__CHECK_ACTION_REQUEST__SENSOR_READINGS_ENTRY__INIT, *readings[] = {&reading};
	Agi__Plan__V1__PlanStep step = AGI__PLAN__V1__PLAN_STEP__INIT;

	step.tool_id = agi_str_to_pb(agi_str_of(tool));
	reading.key = agi_str_to_pb(AGI_STR("force"));
	reading.value = force;
	m.step = tool[0] ? &step : NULL;
	m.n_sensor_readings = 1;
	m.sensor_readings = readings;
	call(w, w->to_gateway, CHECK_STEP, &m.base, &agi__safety__v1__safety_result__descriptor, 1000);
	assert_int_equal(w->status, AGI_GRPC_OK);
	return w->decision;
}

static void check_plan_is_answered_through_an_erisml_at_its_address(void **state)
{
	struct world w;

	(void)state;
	set_up(&w);
	assert_int_equal(check_plan(&w, "report", 1000), AGI_DECISION_ALLOW);
	assert_int_equal(check_plan(&w, "lie", 1000), AGI_DECISION_BLOCK);
	assert_int_equal(check_plan(&w, "bypass_auth", 1000), AGI_DECISION_BLOCK);
	assert_int_equal(w.status, AGI_GRPC_OK);
	tear_down(&w);
}

static void check_step_is_a_plan_of_one_step(void **state)
{
	struct world w;

	(void)state;
	set_up(&w);
	assert_int_equal(check_step(&w, "report", 0), AGI_DECISION_ALLOW);
	assert_int_equal(check_step(&w, "root_access", 0), AGI_DECISION_BLOCK);
	assert_int_equal(check_step(&w, "report", 101.0f), AGI_DECISION_BLOCK);
	assert_int_equal(check_step(&w, "", 0), AGI_DECISION_REVISE); /* no step: an empty plan */
	tear_down(&w);
}

static void write_rules(char path[64], const char *text)
{
	int fd;
	FILE *f;

	snprintf(path, 64, "rules-%ld-XXXXXX", (long)getpid());
	fd = mkstemp(path);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void the_rule_file_is_kept_by_plans_and_by_steps_with_readings(void **state)
{
	struct world w;
	char path[64];

	(void)state;
	write_rules(path, "version: 1\nrules:\n"
	                  "- {id: doors, layer: tactical, priority: 1, action: deny, reason: shut, applies_to: plan,\n"
	                  "   all: [{field: tool_id, op: '!=', value: door}]}\n"
	                  "- {id: gentle, layer: tactical, priority: 1, action: defer, reason: too strong,\n"
	                  "   all: [{field: signals.force, op: '<=', value: 50}]}\n");
	set_up_with(&w, path);
	unlink(path);
	assert_int_equal(check_plan(&w, "report", 1000), AGI_DECISION_ALLOW);
	assert_int_equal(check_plan(&w, "door", 1000), AGI_DECISION_BLOCK);
	assert_int_equal(check_step(&w, "report", 50), AGI_DECISION_ALLOW);
	assert_int_equal(check_step(&w, "report", 51), AGI_DECISION_DEFER);
	assert_int_equal(check_step(&w, "door", 50), AGI_DECISION_BLOCK);
	assert_int_equal(check_step(&w, "report", 101), AGI_DECISION_BLOCK);
	tear_down(&w);
}

static void a_gateway_whose_erisml_is_gone_blocks(void **state)
{
	struct world w;

	(void)state;
	set_up(&w);
	assert_int_equal(check_plan(&w, "report", 1000), AGI_DECISION_ALLOW);
	agi_listener_free(w.erisml.listener);
	w.erisml.listener = NULL;
	agi_grpc_server_free(w.erisml.server);
	w.erisml.server = NULL;
	assert_int_equal(check_plan(&w, "report", 1000), AGI_DECISION_BLOCK);
	assert_int_equal(check_plan(&w, "report", 1000), AGI_DECISION_BLOCK);
	tear_down(&w);
}

static void a_client_that_gives_up_leaves_nothing_behind(void **state)
{
	struct agi_safety_status st;
	struct world w;

	(void)state;
	set_up(&w);
	w.gateway.is_gateway_silent = true;
	check_plan(&w, "report", 20);
	/* told BLOCK just in time, or the deadline passed: never ALLOW */
	assert_true(w.status == AGI_GRPC_DEADLINE_EXCEEDED || w.decision == AGI_DECISION_BLOCK);
	w.decision = AGI_DECISION_NONE;
	assert_int_equal(check_plan(&w, "report", 1000), AGI_DECISION_BLOCK);
	agi_safety_plane_status(w.gateway.plane, &st);
	assert_int_equal(st.checks, 0);
	assert_int_equal(st.votes, 0);
	tear_down(&w);
}

static void closing_during_a_check_is_clean(void **state)
{
	Agi__Safety__V1__CheckPlanRequest m = AGI__SAFETY__V1__CHECK_PLAN_REQUEST__INIT;
	struct agi_safety_status st = {0};
	struct world w;

	(void)state;
	set_up(&w);
	w.gateway.is_gateway_silent = true;
	assert_int_equal(agi_grpc_unary(w.to_gateway, CHECK_PLAN, &m.base,
	                                &agi__safety__v1__check_plan_response__descriptor, 0, on_done, &w),
	                 AGI_OK);
	while (!st.checks) {
		event_base_loop(w.base, EVLOOP_ONCE);
		agi_safety_plane_status(w.gateway.plane, &st);
	}
	tear_down(&w);
}

/* --- ErisML -------------------------------------------------------------------------------------------- */
static void erisml_answers_its_four_methods(void **state)
{
	Agi__Erisml__V1__EvaluateStepRequest step = AGI__ERISML__V1__EVALUATE_STEP_REQUEST__INIT;
	Agi__Erisml__V1__EvaluatePlanRequest plan = AGI__ERISML__V1__EVALUATE_PLAN_REQUEST__INIT;
	Agi__Erisml__V1__HohfeldianRequest none = AGI__ERISML__V1__HOHFELDIAN_REQUEST__INIT;
	Agi__Erisml__V1__BondIndexRequest bond = AGI__ERISML__V1__BOND_INDEX_REQUEST__INIT;
	Agi__Erisml__V1__HohfeldianVerdictProto a = AGI__ERISML__V1__HOHFELDIAN_VERDICT_PROTO__INIT, b = a;
	Agi__Erisml__V1__HohfeldianVerdictProto *as[] = {&a}, *bs[] = {&b};
	struct world w;

	(void)state;
	set_up(&w);
	call(&w, w.to_erisml, ERISML "EvaluateStep", &step.base,
	     &agi__erisml__v1__evaluate_step_response__descriptor, 1000);
	assert_string_equal(w.verdict, "prefer"); /* of no facts at all */
	call(&w, w.to_erisml, ERISML "EvaluatePlan", &plan.base,
	     &agi__erisml__v1__evaluate_plan_response__descriptor, 1000);
	assert_int_equal(w.status, AGI_GRPC_OK);
	call(&w, w.to_erisml, ERISML "VerifyHohfeldian", &none.base,
	     &agi__erisml__v1__hohfeldian_response__descriptor, 1000);
	assert_true(w.is_consistent);
	bond.n_party_a_verdicts = bond.n_party_b_verdicts = 1;
	bond.party_a_verdicts = as;
	bond.party_b_verdicts = bs;
	a.state = agi_str_to_pb(AGI_STR("O"));
	b.state = agi_str_to_pb(AGI_STR("L"));
	call(&w, w.to_erisml, ERISML "ComputeBondIndex", &bond.base,
	     &agi__erisml__v1__bond_index_result_proto__descriptor, 1000);
	assert_true(w.bond_index == 1.0);
	tear_down(&w);
}

static void get_bond_index(struct world *w)
{
	Agi__Erisml__V1__GetBondIndexRequest none = AGI__ERISML__V1__GET_BOND_INDEX_REQUEST__INIT;

	call(w, w->to_erisml, ERISML "GetBondIndex", &none.base,
	     &agi__erisml__v1__bond_index_result_proto__descriptor, 1000);
	assert_int_equal(w->status, AGI_GRPC_OK);
}

static void the_bond_index_of_the_last_plan_is_kept(void **state)
{
	Agi__Erisml__V1__EvaluatePlanRequest plan = AGI__ERISML__V1__EVALUATE_PLAN_REQUEST__INIT;
	Agi__Erisml__V1__EthicalFactsProto harm = AGI__ERISML__V1__ETHICAL_FACTS_PROTO__INIT;
	Agi__Erisml__V1__EthicalFactsProto **many = calloc(AGI_PLAN_STEPS_MAX + 1, sizeof *many);
	struct world w;

	(void)state;
	set_up(&w);
	get_bond_index(&w);
	assert_true(w.bond_index == 0 && !w.is_within);
	call(&w, w.to_erisml, ERISML "EvaluatePlan", &plan.base,
	     &agi__erisml__v1__evaluate_plan_response__descriptor, 1000);
	get_bond_index(&w);
	assert_true(w.bond_index < 0.3 && w.is_within);
	for (size_t i = 0; i <= AGI_PLAN_STEPS_MAX; i++)
		many[i] = &harm;
	plan.n_step_facts = AGI_PLAN_STEPS_MAX + 1; /* more than is evaluated */
	plan.step_facts = many;
	call(&w, w.to_erisml, ERISML "EvaluatePlan", &plan.base,
	     &agi__erisml__v1__evaluate_plan_response__descriptor, 5000);
	assert_int_not_equal(w.status, AGI_GRPC_OK);
	get_bond_index(&w);
	assert_true(w.bond_index == 1.0 && !w.is_within);
	free(many);
	tear_down(&w);
}

static void a_state_that_is_none_is_an_unknown_error_that_names_it(void **state)
{
	Agi__Erisml__V1__BondIndexRequest bond = AGI__ERISML__V1__BOND_INDEX_REQUEST__INIT;
	Agi__Erisml__V1__HohfeldianVerdictProto a = AGI__ERISML__V1__HOHFELDIAN_VERDICT_PROTO__INIT;
	Agi__Erisml__V1__HohfeldianVerdictProto *as[] = {&a};
	struct world w;

	(void)state;
	set_up(&w);
	bond.n_party_a_verdicts = bond.n_party_b_verdicts = 1;
	bond.party_a_verdicts = bond.party_b_verdicts = as;
	a.state = agi_str_to_pb(AGI_STR("ought\0"));
	call(&w, w.to_erisml, ERISML "ComputeBondIndex", &bond.base,
	     &agi__erisml__v1__bond_index_result_proto__descriptor, 1000);
	assert_int_equal(w.status, AGI_GRPC_UNKNOWN);
	assert_string_equal(w.message, "Exception calling application: 'ought\\x00' is not a valid "
	                               "HohfeldianState (O, C, L or N)");
	tear_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(check_plan_is_answered_through_an_erisml_at_its_address),
	    cmocka_unit_test(check_step_is_a_plan_of_one_step),
	    cmocka_unit_test(the_rule_file_is_kept_by_plans_and_by_steps_with_readings),
	    cmocka_unit_test(a_gateway_whose_erisml_is_gone_blocks),
	    cmocka_unit_test(a_client_that_gives_up_leaves_nothing_behind),
	    cmocka_unit_test(closing_during_a_check_is_clean),
	    cmocka_unit_test(erisml_answers_its_four_methods),
	    cmocka_unit_test(the_bond_index_of_the_last_plan_is_kept),
	    cmocka_unit_test(a_state_that_is_none_is_an_unknown_error_that_names_it),
	};

	return agi_crypto_init() ? 1 : cmocka_run_group_tests_name("safety over gRPC", tests, NULL, NULL);
}
