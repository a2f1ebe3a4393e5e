/* SPDX-License-Identifier: Apache-2.0
 * safety check: has a plan decided by the gateways. The exit code is the decision; every way to
 * have none tells the caller to treat the plan as blocked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/call.h"
#include "ctl/decision.h"
#include "ctl/out.h"
#include "ctl/units.h"
#include "net/pbjson.h"
#include "plan.pb-c.h"

enum { PLAN_JSON_MAX = 16 << 20 }; /* bytes; JSON takes some four times the 4 MiB a call may have */

const struct ctl_opt ctl_opts_safety_check[] = {
    {"profile", 0, "NAME", NULL, "policy profile to decide by (default: the gateway's)"},
    {"proofs", 0, NULL, NULL, "ask for the decision's proof"},
    {NULL, 0, NULL, NULL, NULL}};

static const char *risk_category_name(int category)
{
	static const char *const names[] = {"unspecified",    "physical_harm", "rights_violation",
					    "rule_violation", "fairness",      "epistemic",
					    "bond_index"};

	return category >= 0 && category < (int)(sizeof names / sizeof *names) ? names[category]
									       : "unknown";
}

static const char *step_decision_name(const Agi__Safety__V1__SafetyResult *r)
{
	static const char *const names[] = {"UNSPECIFIED", "ALLOW", "BLOCK", "REVISE", "DEFER"};
	int d = r ? (int)r->decision : 0;

	return d >= 0 && d < (int)(sizeof names / sizeof *names) ? names[d] : "UNSPECIFIED";
}

/* --- JSON ------------------------------------------------------------------------------------- */
static json_t *metadata_json(const Agi__Safety__V1__SafetyResult *r)
{
	json_t *o = json_object();

	for (size_t i = 0; i < r->n_metadata; i++) {
		struct agi_str key = ctl_str(r->metadata[i]->key);

		if (agi_utf8_is_valid(key))
			json_object_setn_new(o, key.p ? key.p : "", key.n,
					     ctl_json_str(ctl_str(r->metadata[i]->value)));
	}
	return o;
}

static json_t *bond_json(const Agi__Erisml__V1__BondIndexResultProto *b)
{
	json_t *o;

	if (!b)
		return json_null();
	o = json_object();
	ctl_set(o, "bond_index", ctl_json_float(b->bond_index));
	ctl_set(o, "baseline", ctl_json_float(b->baseline));
	ctl_set(o, "within_threshold", json_boolean(b->within_threshold));
	ctl_set(o, "violations", ctl_json_strs(b->violations, b->n_violations));
	return o;
}

static json_t *proof_json(const Agi__Erisml__V1__DecisionProofProto *p)
{
	json_t *o;

	if (!p)
		return json_null();
	o = json_object();
	ctl_set(o, "decision_id", ctl_json_str(ctl_str(p->decision_id)));
	ctl_set(o, "timestamp", ctl_json_str(ctl_str(p->timestamp)));
	ctl_set(o, "profile_name", ctl_json_str(ctl_str(p->profile_name)));
	ctl_set(o, "profile_hash", ctl_json_str(ctl_str(p->profile_hash)));
	ctl_set(o, "input_facts_hash", ctl_json_str(ctl_str(p->input_facts_hash)));
	ctl_set(o, "selected_option_id", ctl_json_str(ctl_str(p->selected_option_id)));
	ctl_set(o, "forbidden_options",
		ctl_json_strs(p->forbidden_options, p->n_forbidden_options));
	ctl_set(o, "governance_rationale", ctl_json_str(ctl_str(p->governance_rationale)));
	ctl_set(o, "confidence", ctl_json_float(p->confidence));
	ctl_set(o, "previous_proof_hash", ctl_json_str(ctl_str(p->previous_proof_hash)));
	ctl_set(o, "proof_hash", ctl_json_str(ctl_str(p->proof_hash)));
	return o;
}

static void set_result(json_t *o, const Agi__Safety__V1__SafetyResult *r)
{
	json_t *categories = json_array();

	for (size_t i = 0; i < r->n_categories; i++)
		json_array_append_new(categories,
				      json_string(risk_category_name((int)r->categories[i])));
	ctl_set(o, "risk_score", ctl_json_float(r->risk_score));
	ctl_set(o, "reasons", ctl_json_strs(r->reasons, r->n_reasons));
	ctl_set(o, "categories", categories);
	ctl_set(o, "bond_index", bond_json(r->bond_index));
	ctl_set(o, "proof", proof_json(r->decision_proof));
	ctl_set(o, "metadata", metadata_json(r));
}

static json_t *steps_json(const Agi__Safety__V1__CheckPlanResponse *res)
{
	json_t *list = json_array();

	for (size_t i = 0; i < res->n_step_results; i++) {
		const Agi__Safety__V1__StepSafetyResult *s = res->step_results[i];
		json_t *one = json_object();

		ctl_set(one, "step_id", ctl_json_str(ctl_str(s->step_id)));
		ctl_set(one, "decision", json_string(step_decision_name(s->result)));
		ctl_set(one, "risk_score",
			s->result ? ctl_json_float(s->result->risk_score) : json_null());
		ctl_set(one, "reasons",
			s->result ? ctl_json_strs(s->result->reasons, s->result->n_reasons)
				  : json_array());
		json_array_append_new(list, one);
	}
	return list;
}

static enum ctl_exit print_json(struct ctl *c, const Agi__Safety__V1__CheckPlanResponse *res,
				enum ctl_exit decision, const char *doubt, uint64_t took_us)
{
	json_t *o = json_object();

	ctl_set(o, "decision", json_string(ctl_decision_name(decision)));
	ctl_set(o, "plan_approved", json_boolean(decision == CTL_OK));
	ctl_set(o, "doubt", doubt ? json_string(doubt) : json_null());
	if (res->result)
		set_result(o, res->result);
	ctl_set(o, "steps", steps_json(res));
	ctl_set(o, "node", json_string(c->node));
	ctl_set_ms(o, "took_ms", (double)took_us / 1000);
	return ctl_print_json_take(c, o);
}

/* --- text ------------------------------------------------------------------------------------- */
static void put_result(struct ctl_table *t, const Agi__Safety__V1__SafetyResult *r)
{
	ctl_table_text(t, "risk");
	ctl_table_printf(t, "%.2f", (double)r->risk_score);
	for (size_t i = 0; i < r->n_reasons; i++) {
		ctl_table_text(t, i ? "" : "reasons");
		ctl_table_str(t, ctl_str(r->reasons[i]));
	}
	for (size_t i = 0; i < r->n_categories; i++) {
		ctl_table_text(t, i ? "" : "categories");
		ctl_table_text(t, risk_category_name((int)r->categories[i]));
	}
	if (r->bond_index) {
		ctl_table_text(t, "bond index");
		ctl_table_printf(t, "%.3f (%s the threshold)", (double)r->bond_index->bond_index,
				 r->bond_index->within_threshold ? "within" : "above");
	}
	for (size_t i = 0; i < r->n_metadata; i++) {
		ctl_table_str(t, ctl_str(r->metadata[i]->key));
		ctl_table_str(t, ctl_str(r->metadata[i]->value));
	}
	if (r->decision_proof && r->decision_proof->proof_hash.len) {
		ctl_table_text(t, "proof");
		ctl_table_str(t, ctl_str(r->decision_proof->proof_hash));
	}
}

static void put_steps(struct ctl_table *t, const Agi__Safety__V1__CheckPlanResponse *res)
{
	for (size_t i = 0; i < res->n_step_results; i++) {
		const Agi__Safety__V1__StepSafetyResult *s = res->step_results[i];

		ctl_table_text(t, i ? "" : "steps");
		ctl_table_printf(t, "%.*s: %s", AGI_STR_ARG(ctl_or_dash(s->step_id)),
				 step_decision_name(s->result));
	}
}

static enum ctl_exit print_text(struct ctl *c, const Agi__Safety__V1__CheckPlanResponse *res,
				enum ctl_exit decision, const char *doubt, uint64_t took_us)
{
	static const struct ctl_col cols[] = {{NULL, CTL_COL_TEXT}, {NULL, CTL_COL_STATE}};
	char took[CTL_UNIT_TEXT];
	struct ctl_table t;

	ctl_format_ms(took, (double)took_us / 1000);
	ctl_table_init(&t, cols, 2);
	ctl_table_text(&t, "decision");
	ctl_table_text(&t, ctl_decision_name(decision));
	if (doubt) {
		ctl_table_text(&t, "doubt");
		ctl_table_printf(&t, "%s: this counts as BLOCK", doubt);
	}
	if (res->result)
		put_result(&t, res->result);
	put_steps(&t, res);
	ctl_table_text(&t, "answered in");
	ctl_table_text(&t, took);
	return ctl_print_table(c, &t);
}

/* --- asking ----------------------------------------------------------------------------------- */
static enum ctl_exit take_plan(struct ctl *c, const char *path, ProtobufCMessage **plan)
{
	struct agi_str text;
	struct agi_why why = {""};
	enum agi_err e;
	enum ctl_exit code = ctl_read_file(c, path, PLAN_JSON_MAX, &text);

	if (code != CTL_OK)
		return code;
	e = agi_pbjson_parse(&agi__plan__v1__plan_graph_proto__descriptor, text, plan, &why);
	free((char *)(uintptr_t)text.p);
	if (e == AGI_OK)
		return CTL_OK;
	return ctl_error(c, CTL_FAILED, "%s: %s (expected: a PlanGraphProto in protobuf JSON)",
			 strcmp(path, "-") == 0 ? "standard input" : path, why.text);
}

static enum ctl_exit check(struct ctl *c, const Agi__Safety__V1__CheckPlanRequest *req)
{
	struct ctl_call call = CTL_CALL("agi.safety.v1.PreActionSafetyService/CheckPlan", req,
					agi__safety__v1__check_plan_response__descriptor);
	const Agi__Safety__V1__CheckPlanResponse *res;
	enum ctl_exit decision, code = ctl_ask(c, &call);
	const char *doubt;

	if (code == CTL_OK) {
		res = (const Agi__Safety__V1__CheckPlanResponse *)call.res;
		decision = ctl_decide(res, &doubt);
		code = c->is_json ? print_json(c, res, decision, doubt, call.took_us)
				  : print_text(c, res, decision, doubt, call.took_us);
		if (code == CTL_OK)
			code = decision;
	} else if (code == CTL_FAILED && call.status != AGI_GRPC_INVALID_ARGUMENT) {
		code = CTL_UNAVAILABLE; /* the plan was not refused: nobody decided */
	}
	ctl_call_clear(&call);
	return code;
}

enum ctl_exit ctl_safety_check(struct ctl *c, const struct ctl_input *in)
{
	Agi__Safety__V1__CheckPlanRequest req = AGI__SAFETY__V1__CHECK_PLAN_REQUEST__INIT;
	const char *profile = ctl_opt_value(&in->opts, "profile");
	ProtobufCMessage *plan = NULL;
	enum ctl_exit code;

	if (profile && !agi_utf8_is_valid(agi_str_of(profile)))
		return ctl_usage(c, "--profile must be UTF-8 text");
	code = take_plan(c, in->words.p[0], &plan);
	if (code == CTL_OK) {
		req.plan = (Agi__Plan__V1__PlanGraphProto *)plan;
		req.profile_name = ctl_bin_of(profile ? profile : "");
		req.require_proofs = ctl_opt_is_set(&in->opts, "proofs");
		code = check(c, &req);
		protobuf_c_message_free_unpacked(plan, NULL);
	}
	if (code != CTL_OK && code < CTL_BLOCK)
		ctl_error(c, code, "no decision: treat the plan as BLOCK");
	return code;
}
