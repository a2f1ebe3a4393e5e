/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/prng.h"
#include "net/pbjson.h"
#include "agihpc.pb-c.h"
#include "erisml.pb-c.h"
#include "memory.pb-c.h"
#include "overlay.pb-c.h"
#include "rh.pb-c.h"
#include "safety.pb-c.h"

static void *parse(const ProtobufCMessageDescriptor *d, const char *json)
{
	ProtobufCMessage *m = NULL;
	struct agi_why why = {""};

	if (agi_pbjson_parse(d, agi_str_of(json), &m, &why))
		fail_msg("%s", why.text);
	return m;
}

static void drop(void *m) { protobuf_c_message_free_unpacked(m, NULL); }

static void assert_refused(const ProtobufCMessageDescriptor *d, const char *json,
			   const char *expect)
{
	ProtobufCMessage *m = NULL;
	struct agi_why why = {""};

	assert_int_equal(agi_pbjson_parse(d, agi_str_of(json), &m, &why), AGI_E_INVALID);
	assert_null(m);
	if (!strstr(why.text, expect))
		fail_msg("%s: \"%s\" does not say \"%s\"", json, why.text, expect);
}

static void assert_prints(const void *m, unsigned style, const char *want)
{
	struct agi_buf out;

	agi_buf_init(&out, 0);
	assert_int_equal(agi_pbjson_print(m, style, &out), AGI_OK);
	agi_buf_u8(&out, 0);
	assert_string_equal((char *)out.p, want);
	agi_buf_free(&out);
}

#define PLAN       &agi__safety__v1__check_plan_request__descriptor
#define STEP       &agi__plan__v1__plan_step__descriptor
#define PERCEPTION &agi__rh__v1__perception_state__descriptor

static void both_spellings_of_a_name_are_read(void **state)
{
	Agi__Safety__V1__CheckPlanRequest *r =
	    parse(PLAN, "{\"plan\": {\"plan_id\": \"p\", \"goalText\": \"g\", \"steps\": "
			"[{\"stepId\": \"s\", \"index\": 3,"
			"\"requires_simulation\": true, \"params\": {\"a\": \"1\", \"b\": \"\"}}], "
			"\"metadata\": null},"
			"\"requireProofs\": true}");

	(void)state;
	assert_prints(r, 0,
		      "{\"plan\":{\"plan_id\":\"p\",\"goal_text\":\"g\",\"steps\":[{\"step_id\":"
		      "\"s\",\"index\":3,"
		      "\"requires_simulation\":true,\"params\":{\"a\":\"1\",\"b\":\"\"}}]},"
		      "\"require_proofs\":true}");
	assert_prints(r, AGI_PBJSON_CAMEL,
		      "{\"plan\":{\"planId\":\"p\",\"goalText\":\"g\",\"steps\":[{\"stepId\":\"s\","
		      "\"index\":3,"
		      "\"requiresSimulation\":true,\"params\":{\"a\":\"1\",\"b\":\"\"}}]},"
		      "\"requireProofs\":true}");
	drop(r);
}

static void pretty_text_has_one_field_a_line(void **state)
{
	Agi__Plan__V1__PlanStep *s = parse(
	    STEP, "{\"step_id\":\"s\",\"safety_tags\":[\"x\",\"y\"],\"params\":{\"k\":\"v\"}}");

	(void)state;
	assert_prints(
	    s, AGI_PBJSON_PRETTY,
	    "{\n  \"step_id\": \"s\",\n  \"safety_tags\": [\n    \"x\",\n    \"y\"\n  ],\n"
	    "  \"params\": {\n    \"k\": \"v\"\n  }\n}");
	drop(s);
	s = parse(STEP, "{}");
	assert_prints(s, AGI_PBJSON_PRETTY, "{}");
	assert_prints(
	    s, AGI_PBJSON_DEFAULTS,
	    "{\"step_id\":\"\",\"index\":0,\"level\":0,\"kind\":\"\",\"description\":\"\",\"parent_"
	    "id\":\"\","
	    "\"requires_simulation\":false,\"safety_tags\":[],\"tool_id\":\"\",\"params\":{}}");
	drop(s);
}

static void enums_are_read_by_name_or_number(void **state)
{
	const ProtobufCMessageDescriptor *d = &agi__safety__v1__safety_result__descriptor;
	Agi__Safety__V1__SafetyResult *r =
	    parse(d, "{\"decision\":\"SAFETY_DECISION_BLOCK\",\"categories\":[3,\"RISK_CATEGORY_"
		     "FAIRNESS\",99]}");

	(void)state;
	assert_int_equal(r->decision, AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_BLOCK);
	assert_prints(r, 0,
		      "{\"decision\":\"SAFETY_DECISION_BLOCK\",\"categories\":[\"RISK_CATEGORY_"
		      "RULE_VIOLATION\","
		      "\"RISK_CATEGORY_FAIRNESS\",99]}");
	drop(r);
	assert_refused(d, "{\"decision\":\"BLOCK\"}",
		       "decision: expected one of SAFETY_DECISION_ALLOW");
	assert_refused(d, "{\"decision\":true}", "found true");
}

static void wide_integers_are_strings(void **state)
{
	Agihpc__Overlay__V1__Version *v =
	    parse(&agihpc__overlay__v1__version__descriptor,
		  "{\"hlc\":\"18446744073709551615\",\"node\":\"AQL/\"}");
	Agi__Rh__V1__PerceptionState *p;

	(void)state;
	assert_true(v->hlc == UINT64_MAX);
	assert_int_equal(v->node.len, 3);
	assert_prints(v, 0, "{\"hlc\":\"18446744073709551615\",\"node\":\"AQL/\"}");
	drop(v);
	p = parse(PERCEPTION, "{\"timestampMs\":\"-9223372036854775808\",\"embedding\":\"-_8\","
			      "\"embedding_dim\":1e2}");
	assert_true(p->timestamp_ms == INT64_MIN);
	assert_prints(p, 0,
		      "{\"timestamp_ms\":\"-9223372036854775808\",\"embedding\":\"+/"
		      "8=\",\"embedding_dim\":100}");
	drop(p);
}

static void numbers_out_of_range_are_refused(void **state)
{
	(void)state;
	assert_refused(STEP, "{\"index\":2147483648}",
		       "index: expected a whole number -2147483648..2147483647, found 2147483648");
	assert_refused(STEP, "{\"index\":-2147483649}", "found -2147483649");
	assert_refused(STEP, "{\"index\":1.5}", "found 1.5");
	assert_refused(STEP, "{\"index\":\"12x\"}", "found \"12x\"");
	assert_refused(STEP, "{\"index\":\"\"}", "expected a whole number");
	assert_refused(&agihpc__v1__put_request__descriptor, "{\"ttl_ms\":-1}",
		       "0..18446744073709551615, found -1");
	assert_refused(&agi__safety__v1__reflex_check_request__descriptor,
		       "{\"physical_harm_risk\":1e39}", "3.4028235e38");
	drop(parse(STEP, "{\"index\":-2147483648,\"level\":\"2147483647\"}"));
}

static void wrong_types_name_path_and_both_types(void **state)
{
	(void)state;
	assert_refused(PLAN, "[1]", "expected an object (CheckPlanRequest), found an array");
	assert_refused(PLAN, "{\"plan\":7}", "plan: expected an object (PlanGraphProto), found 7");
	assert_refused(PLAN, "{\"plan\":{\"steps\":[{},{\"step_id\":5}]}}",
		       "plan.steps[1].step_id: expected a string, found 5");
	assert_refused(PLAN, "{\"plan\":{\"steps\":{}}}",
		       "plan.steps: expected an array, found an object");
	assert_refused(PLAN, "{\"plan\":{\"metadata\":{\"k\":1}}}",
		       "plan.metadata.k: expected a string, found 1");
	assert_refused(PLAN, "{\"require_proofs\":\"true\"}",
		       "expected true or false, found \"true\"");
	assert_refused(PERCEPTION, "{\"embedding\":\"***\"}", "embedding: expected base64");
}

static void unknown_fields_are_refused_with_the_valid_names(void **state)
{
	(void)state;
	assert_refused(PLAN, "{\"plan\":{\"stepz\":[]}}",
		       "plan.stepz: no such field; PlanGraphProto has plan_id, goal_text, steps, "
		       "metadata, schema_version");
	assert_refused(PLAN, "{\"plan\":{\"plan_id\":\"a\",\"planId\":\"b\"}}",
		       "not under both its names");
	assert_refused(&agihpc__v1__status_request__descriptor, "{\"x\":1}",
		       "StatusRequest has none");
}

static void syntax_errors_have_line_and_column(void **state)
{
	(void)state;
	assert_refused(PLAN, "{\n \"plan\": {,}\n}", "line 2, column");
	assert_refused(PLAN, "", "line 1");
	assert_refused(PLAN, "{} {}", "end of file expected");
	assert_refused(PLAN, "{\"plan\":{},\"plan\":{}}", "duplicate");
}

static void a_oneof_has_one_member(void **state)
{
	const ProtobufCMessageDescriptor *d = &agihpc__overlay__v1__envelope__descriptor;
	Agihpc__Overlay__V1__Envelope *e = parse(d, "{\"vote_request\":{\"rpc_id\":1}}");

	(void)state;
	assert_int_equal(e->body_case, AGIHPC__OVERLAY__V1__ENVELOPE__BODY_VOTE_REQUEST);
	assert_prints(e, 0, "{\"vote_request\":{\"rpc_id\":\"1\"}}");
	drop(e);
	assert_refused(d, "{\"vote_request\":{},\"vote_reply\":{}}", "oneof");
}

static void strings_are_escaped_and_may_hold_nul(void **state)
{
	Agi__Plan__V1__PlanStep *s =
	    parse(STEP, "{\"step_id\":\"a\\u0000\\n\\\"\\\\\\u00e9\\ud83d\\ude00\"}");

	(void)state;
	assert_int_equal(s->step_id.len, 11);
	assert_prints(s, 0, "{\"step_id\":\"a\\u0000\\n\\\"\\\\\xc3\xa9\xf0\x9f\x98\x80\"}");
	s->step_id.data[5] = 0xff;
	assert_prints(
	    s, 0,
	    "{\"step_id\":\"a\\u0000\\n\\\"\\\\\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"}");
	drop(s);
}

static void maps_of_numbers_work(void **state)
{
	const ProtobufCMessageDescriptor *d = &agi__safety__v1__check_action_request__descriptor;
	Agi__Safety__V1__CheckActionRequest *r =
	    parse(d, "{\"sensor_readings\":{\"force\":1.5,\"x\":\"NaN\"}}");

	(void)state;
	assert_int_equal(r->n_sensor_readings, 2);
	assert_prints(r, 0, "{\"sensor_readings\":{\"force\":1.5,\"x\":\"NaN\"}}");
	drop(r);
}

/* The text of a float is the shortest, and reads back as the same bits. */
static void every_float_survives(void **state)
{
	const ProtobufCMessageDescriptor *d = &agi__safety__v1__reflex_check_request__descriptor;
	Agi__Safety__V1__ReflexCheckRequest m = AGI__SAFETY__V1__REFLEX_CHECK_REQUEST__INIT;
	struct agi_prng r;
	struct agi_buf out;

	(void)state;
	m.physical_harm_risk = 0.1f;
	m.collision_probability = -0.0f;
	assert_prints(&m, 0, "{\"physical_harm_risk\":0.1,\"collision_probability\":-0}");
	m.physical_harm_risk = INFINITY;
	m.collision_probability = -INFINITY;
	assert_prints(
	    &m, 0, "{\"physical_harm_risk\":\"Infinity\",\"collision_probability\":\"-Infinity\"}");
	agi_prng_seed(&r, 3);
	agi_buf_init(&out, 0);
	for (int i = 0; i < 20000; i++) {
		uint32_t bits = (uint32_t)agi_prng_u64(&r);
		Agi__Safety__V1__ReflexCheckRequest *back;

		memcpy(&m.physical_harm_risk, &bits, 4);
		m.collision_probability = (float)i / 1000;
		agi_buf_reset(&out);
		assert_int_equal(agi_pbjson_print(&m.base, 0, &out), AGI_OK);
		agi_buf_u8(&out, 0);
		back = parse(d, (char *)out.p);
		if (!isnan(m.physical_harm_risk))
			assert_memory_equal(&back->physical_harm_risk, &bits, 4);
		assert_true(back->collision_probability == m.collision_probability);
		drop(back);
	}
	agi_buf_free(&out);
}

/* Whatever bytes come, nothing crashes, and an error has a text. */
static void mutated_text_is_read_or_refused(void **state)
{
	static const char seed[] =
	    "{\"plan\":{\"planId\":\"p\",\"steps\":[{\"index\":3,\"params\":{\"a\":\"1\"}}],"
	    "\"metadata\":{\"k\":\"v\"}},\"requireProofs\":true,\"profile_name\":null}";
	struct agi_prng r;
	int n_ok = 0;

	(void)state;
	agi_prng_seed(&r, 5);
	for (int i = 0; i < 20000; i++) {
		char text[sizeof seed];
		ProtobufCMessage *m = NULL;
		struct agi_why why = {""};

		memcpy(text, seed, sizeof seed);
		for (uint64_t k = agi_prng_below(&r, 3); k > 0; k--)
			text[agi_prng_below(&r, sizeof seed - 1)] =
			    (char)(agi_prng_below(&r, 96) + 32);
		if (agi_pbjson_parse(PLAN, (struct agi_str){text, sizeof seed - 1}, &m, &why) ==
		    AGI_OK) {
			drop(m);
			n_ok++;
		} else {
			assert_true(why.text[0] != '\0');
		}
	}
	assert_in_range(n_ok, 1000, 19000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(both_spellings_of_a_name_are_read),
	    cmocka_unit_test(pretty_text_has_one_field_a_line),
	    cmocka_unit_test(enums_are_read_by_name_or_number),
	    cmocka_unit_test(wide_integers_are_strings),
	    cmocka_unit_test(numbers_out_of_range_are_refused),
	    cmocka_unit_test(wrong_types_name_path_and_both_types),
	    cmocka_unit_test(unknown_fields_are_refused_with_the_valid_names),
	    cmocka_unit_test(syntax_errors_have_line_and_column),
	    cmocka_unit_test(a_oneof_has_one_member),
	    cmocka_unit_test(strings_are_escaped_and_may_hold_nul),
	    cmocka_unit_test(maps_of_numbers_work),
	    cmocka_unit_test(every_float_survives),
	    cmocka_unit_test(mutated_text_is_read_or_refused),
	};

	return cmocka_run_group_tests_name("pbjson", tests, NULL, NULL);
}
