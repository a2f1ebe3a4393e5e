/* SPDX-License-Identifier: Apache-2.0
 * safety stop, safety resume, safety status: the emergency stop of the whole cluster. */
#include <inttypes.h>
#include <stdio.h>

#include "agihpc.pb-c.h"
#include "ctl/call.h"
#include "ctl/out.h"

const struct ctl_opt ctl_opts_safety_stop[] = {
    {"reason", 0, "TEXT", NULL, "why; kept with the stop and in every node's log"},
    {NULL, 0, NULL, NULL, NULL}};

static enum ctl_exit print_json(struct ctl *c, const Agihpc__V1__StopState *s)
{
	json_t *o = json_object();

	ctl_set(o, "stopped", json_boolean(s->stopped));
	ctl_set_u64(o, "epoch", s->epoch);
	ctl_set(o, "stop_id", ctl_json_str(ctl_str(s->stop_id)));
	ctl_set(o, "reason", ctl_json_str(ctl_str(s->reason)));
	ctl_set(o, "source", ctl_json_str(ctl_str(s->source)));
	ctl_set(o, "node_id", ctl_json_str(ctl_str(s->node_id)));
	ctl_set_u64(o, "at_ms", s->at_ms);
	return ctl_print_json_take(c, o);
}

static void row(struct ctl_table *t, const char *name, struct agi_str value)
{
	ctl_table_text(t, name);
	ctl_table_str(t, value);
}

static enum ctl_exit print_text(struct ctl *c, const Agihpc__V1__StopState *s)
{
	static const struct ctl_col cols[] = {{NULL, CTL_COL_TEXT}, {NULL, CTL_COL_STATE}};
	struct ctl_table t;
	char at[CTL_TIME_TEXT];

	ctl_table_init(&t, cols, 2);
	row(&t, "emergency stop", agi_str_of(s->stopped ? "STOPPED" : "clear"));
	ctl_table_text(&t, "epoch");
	ctl_table_printf(&t, "%" PRIu64, s->epoch);
	if (s->epoch) {
		ctl_format_time(at, s->at_ms);
		row(&t, "since", agi_str_of(at));
		row(&t, "reason", ctl_or_dash(s->reason));
		row(&t, "source", ctl_or_dash(s->source));
		row(&t, "by node", ctl_short_id(s->node_id));
		row(&t, "id", ctl_or_dash(s->stop_id));
	}
	return ctl_print_table(c, &t);
}

/* expected: what the answer must say after a change; -1 = only asked. */
static enum ctl_exit ask(struct ctl *c, struct ctl_call *call, int expected)
{
	const Agihpc__V1__StopState *s;
	enum ctl_exit code = ctl_ask(c, call);

	if (code == CTL_OK) {
		s = (const Agihpc__V1__StopState *)call->res;
		code = c->is_json ? print_json(c, s) : print_text(c, s);
		if (code == CTL_OK && expected >= 0 && s->stopped != (expected == 1))
			code = ctl_error(c, CTL_FAILED, "the node's answer does not say so");
	}
	ctl_call_clear(call);
	return code;
}

enum ctl_exit ctl_safety_stop(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__StopRequest req = AGIHPC__V1__STOP_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.SafetyService/Stop", &req, agihpc__v1__stop_state__descriptor);
	const char *reason = ctl_opt_value(&in->opts, "reason");
	char text[CTL_SOURCE_BYTES];

	if (reason && !agi_utf8_is_valid(agi_str_of(reason)))
		return ctl_usage(c, "--reason must be UTF-8 text");
	req.reason = ctl_bin_of(reason ? reason : "");
	req.source = ctl_source(text);
	return ask(c, &call, 1);
}

enum ctl_exit ctl_safety_resume(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__ResumeRequest req = AGIHPC__V1__RESUME_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.SafetyService/Resume", &req, agihpc__v1__stop_state__descriptor);
	const char *reason = ctl_opt_value(&in->opts, "reason");
	char text[CTL_SOURCE_BYTES];

	if (!reason || !reason[0])
		return ctl_usage(c, "--reason is missing: say why it is safe to go on");
	if (!agi_utf8_is_valid(agi_str_of(reason)))
		return ctl_usage(c, "--reason must be UTF-8 text");
	req.reason = ctl_bin_of(reason);
	req.source = ctl_source(text);
	return ask(c, &call, 0);
}

enum ctl_exit ctl_safety_status(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__GetStopRequest req = AGIHPC__V1__GET_STOP_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.SafetyService/GetStop", &req, agihpc__v1__stop_state__descriptor);
	(void)in;

	return ask(c, &call, -1);
}
