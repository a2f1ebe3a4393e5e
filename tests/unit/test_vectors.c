/* SPDX-License-Identifier: Apache-2.0
 * Every recorded answer of the reference implementation, replayed in mode "reference". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "net/grpc.h"
#include "node/eval_pb.h"
#include "pb_json.h"
#include "roles/erisml/deontic.h"
#include "roles/safety_gateway/facts_builder.h"

/* --- rows ----------------------------------------------------------------------------------------- */
struct row {
	json_t *j;
	const char *id;
	uint8_t *bytes;
	size_t n;
	struct agi_pool pool;
	struct agi_erisml erisml;
	struct agi_gateway_policy policy;
};

static const char *text(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static struct agi_str str(const json_t *j, const char *key)
{
	const json_t *v = json_object_get(j, key);

	return (struct agi_str){json_string_value(v), json_string_length(v)};
}

static void take_hex(struct row *r, const char *key)
{
	struct agi_str hex = str(r->j, key);

	free(r->bytes);
	r->n = hex.n / 2;
	r->bytes = calloc(1, r->n + 1);
	assert_non_null(r->bytes);
	assert_int_equal(agi_unhex(r->bytes, r->n, hex), AGI_OK);
}

static ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *d, const void *p, size_t n)
{
	struct agi_why why;

	return agi_pb_unpack(d, (struct agi_str){p, n}, &why);
}

/* What a client would read: packed, and unpacked again. */
static void expect(struct row *r, const ProtobufCMessage *response, json_t *expected)
{
	struct agi_str wire = agi_pb_to_pool(response, &r->pool);
	ProtobufCMessage *read = unpack(response->descriptor, wire.p, wire.n);
	struct agi_why why = {{0}};

	assert_non_null(read);
	if (!pb_equals_json(read, expected, &why))
		fail_msg("row %s: %s", r->id, why.text);
	protobuf_c_message_free_unpacked(read, NULL);
}

/* The object inside j that a path like "step_results[1].proof" names. */
static json_t *object_at(json_t *j, const char *path)
{
	while (j && *path) {
		char key[64] = {0};
		unsigned index = 0;
		int used = 0;

		if (sscanf(path, "%63[a-z_][%u]%n", key, &index, &used) == 2 && used)
			j = json_array_get(json_object_get(j, key), index);
		else if (sscanf(path, "%63[a-z_]%n", key, &used) == 1)
			j = json_object_get(j, key);
		path += used;
		path += *path == '.';
	}
	return j;
}

/* The row's response with the values that depend on time put back. */
static json_t *full_response(const struct row *r)
{
	json_t *out = json_deep_copy(json_object_get(r->j, "response"));
	const char *path;
	json_t *values;

	json_object_foreach(json_object_get(r->j, "volatile"), path, values) {
		json_t *at = object_at(out, path);

		assert_non_null(at);
		json_object_update(at, values);
	}
	return out;
}

static uint64_t wall_us_of(const char *timestamp)
{
	struct tm tm = {0};
	unsigned us = 0;

	assert_int_equal(sscanf(timestamp, "%d-%d-%dT%d:%d:%d.%u+00:00", &tm.tm_year, &tm.tm_mon,
	                        &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &us), 7);
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	return (uint64_t)timegm(&tm) * 1000000 + us;
}

static void set_chain(struct row *r, const json_t *proof)
{
	snprintf(r->erisml.chain.head, sizeof r->erisml.chain.head, "%s",
	         text(proof, "previous_proof_hash"));
}

/* --- ErisML --------------------------------------------------------------------------------------- */
static void expect_error(struct row *r, enum agi_grpc_status status)
{
	json_t *error = json_object_get(r->j, "error");

	if (!error)
		fail_msg("row %s: refused, expected an answer", r->id);
	assert_int_equal(json_integer_value(json_object_get(error, "code_number")), status);
}

static void evaluate_step(struct row *r)
{
	Agi__Erisml__V1__EvaluateStepRequest *req = (void *)unpack(
	    &agi__erisml__v1__evaluate_step_request__descriptor, r->bytes, r->n);
	Agi__Erisml__V1__EvaluateStepResponse *res;
	json_t *full, *proof;

	if (!req) {
		expect_error(r, AGI_GRPC_INTERNAL);
		return;
	}
	full = full_response(r);
	proof = json_object_get(full, "proof");
	set_chain(r, proof);
	assert_int_equal(agi_erisml_evaluate_step(&r->erisml, wall_us_of(text(proof, "timestamp")), req,
	                                          &r->pool, &res, NULL), AGI_OK);
	expect(r, &res->base, full);
	protobuf_c_message_free_unpacked(&req->base, NULL);
	json_decref(full);
}

/* One clock reading per request here, one per proof in the recording: the first one counts. */
static uint64_t one_time(json_t *full)
{
	json_t *steps = json_object_get(full, "step_results"), *step;
	json_t *plan = json_object_get(full, "plan_proof");
	json_t *first = json_object_get(json_array_get(steps, 0), "proof");
	const char *timestamp = text(first ? first : plan, "timestamp");
	size_t i;

	json_array_foreach(steps, i, step) {
		json_t *proof = json_object_get(step, "proof");

		if (proof)
			json_object_set_new(proof, "timestamp", json_string(timestamp));
	}
	if (first && plan)
		json_object_set_new(plan, "timestamp", json_string(timestamp));
	return plan ? wall_us_of(timestamp) : 0;
}

static void evaluate_plan(struct row *r)
{
	Agi__Erisml__V1__EvaluatePlanRequest *req = (void *)unpack(
	    &agi__erisml__v1__evaluate_plan_request__descriptor, r->bytes, r->n);
	Agi__Erisml__V1__EvaluatePlanResponse *res;
	json_t *full = full_response(r);

	assert_non_null(req);
	set_chain(r, json_object_get(json_array_get(json_object_get(full, "step_results"), 0), "proof"));
	assert_int_equal(agi_erisml_evaluate_plan(&r->erisml, one_time(full), req, &r->pool, &res, NULL),
	                 AGI_OK);
	expect(r, &res->base, full);
	protobuf_c_message_free_unpacked(&req->base, NULL);
	json_decref(full);
}

static void bond_index(struct row *r)
{
	Agi__Erisml__V1__BondIndexRequest *req =
	    (void *)unpack(&agi__erisml__v1__bond_index_request__descriptor, r->bytes, r->n);
	Agi__Erisml__V1__BondIndexResultProto *res;
	struct agi_why why;
	enum agi_err err;

	assert_non_null(req);
	err = agi_erisml_bond_index(&r->erisml, req, &r->pool, &res, &why);
	if (err == AGI_E_INVALID)
		expect_error(r, AGI_GRPC_UNKNOWN);
	else if (err == AGI_OK)
		expect(r, &res->base, json_object_get(r->j, "response"));
	else
		fail_msg("row %s: %s", r->id, agi_err_text(err));
	protobuf_c_message_free_unpacked(&req->base, NULL);
}

static void verify(struct row *r)
{
	Agi__Erisml__V1__HohfeldianRequest *req =
	    (void *)unpack(&agi__erisml__v1__hohfeldian_request__descriptor, r->bytes, r->n);
	Agi__Erisml__V1__HohfeldianResponse *res;

	assert_non_null(req);
	assert_int_equal(agi_erisml_verify(req, &r->pool, &res), AGI_OK);
	expect(r, &res->base, json_object_get(r->j, "response"));
	protobuf_c_message_free_unpacked(&req->base, NULL);
}

/* --- the gateway ---------------------------------------------------------------------------------- */
static void check_plan(struct row *r)
{
	Agi__Safety__V1__CheckPlanRequest *req =
	    (void *)unpack(&agi__safety__v1__check_plan_request__descriptor, r->bytes, r->n);
	bool has_erisml = !json_object_get(r->j, "env");
	json_t *full = full_response(r);
	struct agi_pair latency = {AGI_STR("latency_ms"),
	                           str(object_at(full, "result.metadata"), "latency_ms")};
	struct agi_check_result result;
	struct agi_plan plan;

	assert_non_null(req);
	agi_plan_from_pb(&plan, req->plan, &r->pool);
	agi_gateway_check_here(&result, &r->policy, has_erisml ? &r->erisml : NULL, 1, &plan, &r->pool);
	if (has_erisml || strcmp(text(object_at(full, "result"), "decision"),
	                         "SAFETY_DECISION_ALLOW") != 0) {
		Agi__Safety__V1__CheckPlanResponse *res =
		    agi_check_to_pb(&result, &latency, latency.value.n != 0, &r->pool);

		assert_non_null(res);
		expect(r, &res->base, full);
	} else { /* the reference fails open here */
		assert_int_equal(result.decision, AGI_DECISION_BLOCK);
		assert_true(result.risk == 1.0);
	}
	protobuf_c_message_free_unpacked(&req->base, NULL);
	json_decref(full);
}

static void build_facts(struct row *r)
{
	json_t *request = json_object_get(r->j, "request");
	json_t *world_json = json_object_get(request, "world_state");
	json_t *nearby = json_object_get(world_json, "nearby_agents");
	json_t *affected = json_object_get(world_json, "affected_entities");
	struct agi_world world = {nearby != NULL, affected != NULL, json_array_size(nearby),
	                          json_array_size(affected)};
	Agi__Plan__V1__SimulationResult *sim = NULL;
	struct agi_simulation s;
	struct agi_plan_step step;
	struct agi_facts facts;
	struct agi_buf encoded;
	Agi__Plan__V1__PlanStep *m;

	if (json_object_get(r->j, "simulation_result_hex")) {
		take_hex(r, "simulation_result_hex");
		sim = (void *)unpack(&agi__plan__v1__simulation_result__descriptor, r->bytes, r->n);
		assert_non_null(sim);
		s = (struct agi_simulation){sim->step_risk, sim->n_step_risk, sim->overall_risk};
	}
	take_hex(r, "step_hex");
	m = (void *)unpack(&agi__plan__v1__plan_step__descriptor, r->bytes, r->n);
	assert_non_null(m);
	agi_plan_step_from_pb(&step, m, &r->pool);
	agi_facts_build(&facts, AGI_EVAL_REFERENCE, &step, sim ? &s : NULL,
	                json_object_size(world_json) ? &world : NULL);
	expect(r, &agi_facts_to_pb(&facts, &r->pool)->base, json_object_get(r->j, "response"));
	/* the canonical encoding is the recorded one, byte for byte */
	take_hex(r, "response_hex");
	agi_buf_init(&encoded, 0);
	agi_facts_encode(&encoded, &facts);
	if (!agi_str_eq(agi_buf_str(&encoded), (struct agi_str){(char *)r->bytes, r->n}))
		fail_msg("row %s: another encoding", r->id);
	agi_buf_free(&encoded);
	protobuf_c_message_free_unpacked(&m->base, NULL);
	if (sim)
		protobuf_c_message_free_unpacked(&sim->base, NULL);
}

static void deontic_gate(struct row *r)
{
	json_t *request = json_object_get(r->j, "request"), *response = json_object_get(r->j, "response");
	struct agi_str kind = str(request, "action_kind"), code = str(response, "erisml_reason_code");
	struct agi_deontic d = agi_deontic_evaluate(kind, str(request, "polarity"));
	struct agi_str parts[] = {d.is_negated ? AGI_STR("not:") : AGI_STR(""), kind};
	struct agi_str judged = agi_pool_concat(&r->pool, parts, 2);

	assert_int_equal(agi_deontic_is_vetoed(&d), json_is_true(json_object_get(response, "vetoed")));
	assert_int_equal(!agi_deontic_is_vetoed(&d), json_is_true(json_object_get(response, "passes")));
	assert_string_equal(agi_contradiction_name(d.contradiction), text(response, "contradiction_type"));
	assert_true(agi_str_eq(judged, str(response, "action_kind")));
	assert_true(agi_str_eq(d.reason, code));
}

static void check_action(struct row *r)
{
	Agi__Safety__V1__CheckActionRequest *req =
	    (void *)unpack(&agi__safety__v1__check_action_request__descriptor, r->bytes, r->n);
	json_t *response = json_object_get(r->j, "response");
	struct agi_reading readings[8];
	struct agi_action_check c;
	struct agi_plan_step step;

	assert_non_null(req);
	assert_true(req->n_sensor_readings <= 8);
	for (size_t i = 0; i < req->n_sensor_readings; i++)
		readings[i] = (struct agi_reading){agi_str_of_pb(req->sensor_readings[i]->key),
		                                   req->sensor_readings[i]->value};
	if (req->step)
		agi_plan_step_from_pb(&step, req->step, &r->pool);
	agi_action_check(&c, &r->policy, req->step ? &step : NULL, readings, req->n_sensor_readings,
	                 &r->pool);
	assert_string_equal(agi_decision_name(c.decision), text(response, "decision"));
	assert_true(c.risk == json_number_value(json_object_get(response, "risk_score")));
	assert_int_equal(json_array_size(json_object_get(response, "reasons")), 1);
	assert_true(agi_str_eq(c.reason, agi_str_of(json_string_value(
	                                     json_array_get(json_object_get(response, "reasons"), 0)))));
	assert_int_equal(c.is_emergency_stop,
	                 json_object_size(json_object_get(response, "metadata")) == 1);
	protobuf_c_message_free_unpacked(&req->base, NULL);
}

static void reflex_check(struct row *r)
{
	Agi__Safety__V1__ReflexCheckRequest *req =
	    (void *)unpack(&agi__safety__v1__reflex_check_request__descriptor, r->bytes, r->n);
	struct agi_reflex reflex;

	assert_non_null(req);
	reflex = agi_reflex_check(AGI_EVAL_REFERENCE, req->physical_harm_risk,
	                          req->collision_probability, req->emergency_flag);
	assert_int_equal(reflex.is_safe,
	                 json_is_true(json_object_get(json_object_get(r->j, "response"), "safe")));
	protobuf_c_message_free_unpacked(&req->base, NULL);
}

/* --- the file ------------------------------------------------------------------------------------- */
enum { SIMULATION_ROWS = 17 }; /* SimulationService belongs to a later role */

static const struct {
	const char *rpc;
	void (*run)(struct row *r); /* NULL: not this role's */
} rpcs[] = {
    {"agi.erisml.v1.ErisMLService/EvaluateStep", evaluate_step},
    {"agi.erisml.v1.ErisMLService/EvaluatePlan", evaluate_plan},
    {"agi.erisml.v1.ErisMLService/ComputeBondIndex", bond_index},
    {"agi.erisml.v1.ErisMLService/VerifyHohfeldian", verify},
    {"agi.safety.v1.PreActionSafetyService/CheckPlan", check_plan},
    {"pseudo:facts_builder.build", build_facts},
    {"pseudo:deontic_gate.evaluate", deontic_gate},
    {"pseudo:SafetyGateway.check_action", check_action},
    {"pseudo:SafetyGateway.reflex_check", reflex_check},
    {"agi.plan.v1.SimulationService/Simulate", NULL},
};
enum { RPCS = sizeof rpcs / sizeof *rpcs };

static void run_row(json_t *j, void (*run)(struct row *))
{
	struct row r = {.j = j, .id = text(j, "id")};

	agi_pool_init(&r.pool, 0);
	agi_gateway_policy_default(&r.policy);
	r.policy.eval.mode = AGI_EVAL_REFERENCE;
	r.erisml.policy = r.policy.eval;
	if (json_object_get(j, "request_hex"))
		take_hex(&r, "request_hex");
	run(&r);
	assert_int_equal(r.pool.err, AGI_OK);
	agi_pool_free(&r.pool);
	free(r.bytes);
}

/* Runs the rows of one RPC (NULL: counts those of no role here). */
static size_t run_rows(const char *rpc, void (*run)(struct row *))
{
	const char *dir = getenv("AGI_SRCDIR");
	char path[1024], *line = NULL;
	size_t n = 0, cap = 0;
	FILE *f;

	snprintf(path, sizeof path, "%s/tests/data/vectors_public.jsonl", dir ? dir : ".");
	f = fopen(path, "r");
	assert_non_null(f);
	while (getline(&line, &cap, f) > 0) {
		json_t *j = json_loads(line, JSON_ALLOW_NUL, NULL);

		assert_non_null(j);
		if (strcmp(text(j, "rpc"), rpc) == 0) {
			n++;
			if (run)
				run_row(j, run);
		}
		json_decref(j);
	}
	free(line);
	fclose(f);
	return n;
}

static void row_is_answered_as_recorded(void **state)
{
	size_t i = (size_t)(uintptr_t)*state;
	size_t n = run_rows(rpcs[i].rpc, rpcs[i].run);

	assert_true(n > 0);
	print_message("# %s: %zu rows\n", rpcs[i].rpc, n);
}

static void no_row_is_left_out_unseen(void **state)
{
	size_t all = 0, skipped = run_rows(rpcs[RPCS - 1].rpc, NULL);

	(void)state;
	for (size_t i = 0; i < RPCS; i++)
		all += run_rows(rpcs[i].rpc, NULL);
	assert_int_equal(all, 392);
	assert_int_equal(skipped, SIMULATION_ROWS);
	print_message("# %zu rows of the simulation role skipped\n", skipped);
}

int main(void)
{
	struct CMUnitTest tests[RPCS];

	if (agi_crypto_init())
		return 1;
	for (size_t i = 0; i + 1 < RPCS; i++)
		tests[i] = (struct CMUnitTest){.name = rpcs[i].rpc,
		                               .test_func = row_is_answered_as_recorded,
		                               .initial_state = (void *)(uintptr_t)i};
	tests[RPCS - 1] = (struct CMUnitTest)cmocka_unit_test(no_row_is_left_out_unseen);
	return cmocka_run_group_tests_name("recorded answers", tests, NULL, NULL);
}
