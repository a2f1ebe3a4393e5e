/* SPDX-License-Identifier: Apache-2.0
 * rebalance: slots on the move. drain, undrain, leave: orders to one host. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/moves.h"
#include "ctl/out.h"
#include "ctl/progress.h"
#include "ctl/units.h"

enum {
	INTERVAL_MS = 1000,
	LOOKS = 4,         /* at a node that empties, for each line */
	GONE_AFTER = 40    /* looks in a row without an answer: 10 s at least */
};

const struct ctl_opt ctl_opts_rebalance[] = {
    {"watch", 'w', NULL, NULL, "show it again every second, until nothing moves any more"},
    {"local", 'l', NULL, NULL, "only the one node's part, without asking the others"},
    {NULL, 0, NULL, NULL, NULL}};
const struct ctl_opt ctl_opts_drain[] = {
    {"force", 0, NULL, NULL, "even when fewer hosts remain than there are replicas"},
    {"wait", 0, NULL, NULL, "until its slots have moved, with a bar on a terminal"},
    {NULL, 0, NULL, NULL, NULL}};

/* --- one report, one sum -------------------------------------------------------------------------
 */
static json_t *report_json(const Agihpc__V1__RebalanceResponse *r)
{
	json_t *o = json_object();

	ctl_set(o, "node_id", ctl_json_str(ctl_str(r->node_id)));
	ctl_set(o, "address", ctl_json_str(ctl_str(r->address)));
	ctl_set(o, "draining", json_boolean(r->draining));
	ctl_set(o, "leaving", json_boolean(r->leaving));
	ctl_set(o, "settled", json_boolean(r->settled));
	ctl_set_u64(o, "slots_held", r->slots_held);
	ctl_set_u64(o, "slots_to_move", r->slots_to_move);
	ctl_set_u64(o, "preparing", r->preparing);
	ctl_set_u64(o, "proposing", r->proposing);
	ctl_set_u64(o, "copying", r->copying);
	ctl_set_u64(o, "copies", r->copies);
	ctl_set_u64(o, "joining", r->joining);
	ctl_set_u64(o, "handing_over", r->handing_over);
	ctl_set_u64(o, "bytes_in", r->bytes_in);
	ctl_set_u64(o, "bytes_out", r->bytes_out);
	ctl_set_u64(o, "records_in", r->records_in);
	ctl_set_u64(o, "bytes_in_after_seal", r->bytes_in_after_seal);
	ctl_set_u64(o, "slots_in", r->slots_in);
	ctl_set_u64(o, "slots_out", r->slots_out);
	ctl_set_u64(o, "changes_led", r->changes_led);
	ctl_set(o, "bytes_in_per_s", json_real(r->bytes_in_per_s));
	ctl_set(o, "changes_per_s", json_real(r->changes_per_s));
	ctl_set_u64(o, "limit_bytes_per_s", r->limit_bytes_per_s);
	ctl_set_u64(o, "limit_slots", r->limit_slots);
	ctl_set_u64(o, "throttled", r->throttled);
	ctl_set_u64(o, "pauses", r->pauses);
	ctl_set(o, "pause_mean_ms", json_real(r->pause_mean_ms));
	ctl_set(o, "pause_max_ms", json_real(r->pause_max_ms));
	return o;
}

static json_t *moves_json(const struct ctl_moves *m)
{
	const struct ctl_moves_sum *s = &m->sum;
	json_t *o = json_object(), *nodes = json_array();
	double eta_s = ctl_moves_eta_s(s);

	ctl_set(o, "settled", json_boolean(s->is_settled));
	ctl_set_u64(o, "slots_to_move", s->to_move);
	ctl_set_u64(o, "in_work", s->working);
	ctl_set_u64(o, "copying", s->copying);
	ctl_set_u64(o, "joining", s->joining);
	ctl_set_u64(o, "handing_over", s->handing_over);
	ctl_set_u64(o, "changes", s->changes);
	ctl_set_u64(o, "bytes_moved", s->bytes_in);
	ctl_set_u64(o, "bytes_left_estimate", s->to_move * s->bytes_per_slot);
	ctl_set(o, "bytes_per_s", json_real(s->bytes_per_s));
	ctl_set(o, "changes_per_s", json_real(s->changes_per_s));
	ctl_set(o, "eta_s", eta_s >= 0 ? json_real(eta_s) : json_null());
	ctl_set(o, "pause_mean_ms", json_real(s->pause_mean_ms));
	ctl_set(o, "pause_max_ms", json_real(s->pause_max_ms));
	ctl_set_u64(o, "members_silent", s->silent);
	for (size_t i = 0; i < m->n; i++)
		if (ctl_moves_report(m, i))
			json_array_append_new(nodes, report_json(ctl_moves_report(m, i)));
	ctl_set(o, "nodes", nodes);
	return o;
}

static void put_summary(struct agi_buf *b, const struct ctl_moves_sum *s)
{
	char moved[CTL_UNIT_TEXT], left[CTL_UNIT_TEXT], rate[CTL_UNIT_TEXT], eta[CTL_UNIT_TEXT];

	ctl_format_bytes(moved, s->bytes_in);
	ctl_format_bytes(left, s->to_move * s->bytes_per_slot);
	ctl_format_bytes(rate, (uint64_t)s->bytes_per_s);
	ctl_format_ms(eta, ctl_moves_eta_s(s) * 1000);
	if (s->is_settled)
		agi_buf_printf(b, "Every slot is where it should be. Moved since the nodes started: "
				  "%" PRIu64 " changes, %s.\n", s->changes, moved);
	else if (s->to_move)
		agi_buf_printf(b, "%" PRIu64 " slots to move (%" PRIu64 " in work), about %s; %s/s; %s.\n",
			       s->to_move, s->working, left, rate,
			       ctl_moves_eta_s(s) >= 0 ? eta : "no end in sight yet");
	else
		agi_buf_printf(b, "Nothing is planned to move; %" PRIu64 " slots join, %" PRIu64
				  " are handed over%s.\n",
			       s->joining, s->handing_over, s->silent ? "; not every member reported" : "");
	if (s->pauses)
		agi_buf_printf(b, "Slots paused %.1f ms on average during a change, %.1f ms at most.\n",
			       s->pause_mean_ms, s->pause_max_ms);
}

static void row(struct ctl_table *t, const Agihpc__V1__RebalanceResponse *r)
{
	char text[CTL_UNIT_TEXT];

	ctl_table_str(t, ctl_short_id(r->node_id));
	ctl_table_str(t, ctl_or_dash(r->address));
	ctl_table_text(t, r->leaving    ? "leaving"
			  : r->draining ? (r->slots_held ? "draining" : "drained")
			  : r->settled  ? "settled"
					: "moving");
	ctl_table_printf(t, "%u", r->slots_held);
	ctl_table_printf(t, "%u", r->slots_to_move);
	ctl_table_printf(t, "%u", r->copying);
	ctl_table_printf(t, "%u", r->joining);
	ctl_table_printf(t, "%u", r->handing_over);
	ctl_format_bytes(text, r->bytes_in);
	ctl_table_text(t, text);
	ctl_format_bytes(text, r->bytes_out);
	ctl_table_text(t, text);
	ctl_format_bytes(text, (uint64_t)r->bytes_in_per_s);
	ctl_table_printf(t, "%s/s", text);
}

static enum ctl_exit print_tables(struct ctl *c, const struct ctl_moves *m)
{
	static const struct ctl_col cols[] = {
	    {"NODE", CTL_COL_TEXT},	{"ADDRESS", CTL_COL_TEXT}, {"STATE", CTL_COL_STATE},
	    {"HELD", CTL_COL_NUMBER},	{"TO-MOVE", CTL_COL_NUMBER}, {"COPYING", CTL_COL_NUMBER},
	    {"JOINING", CTL_COL_NUMBER}, {"HANDOVER", CTL_COL_NUMBER}, {"IN", CTL_COL_NUMBER},
	    {"OUT", CTL_COL_NUMBER},	{"RATE", CTL_COL_NUMBER}};
	struct ctl_table t;
	struct agi_buf b;
	enum ctl_exit code;

	agi_buf_init(&b, 0);
	put_summary(&b, &m->sum);
	code = ctl_write(c, agi_buf_str(&b));
	agi_buf_free(&b);
	ctl_table_init(&t, cols, sizeof cols / sizeof *cols);
	for (size_t i = 0; i < m->n; i++)
		if (ctl_moves_report(m, i))
			row(&t, ctl_moves_report(m, i));
		else
			ctl_warn(c, "warning: %s did not report: %s", m->calls[i].target,
				 agi_grpc_status_name(m->calls[i].status));
	return code == CTL_OK ? ctl_print_table(c, &t) : (ctl_table_free(&t), code);
}

/* --- watching ------------------------------------------------------------------------------------
 */
static void pause_ms(uint32_t ms)
{
	struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};

	nanosleep(&t, NULL);
}

/* Every turn has the time of a whole command. */
static void begin_turn(struct ctl *c) { c->deadline_us = ctl_now_us() + (uint64_t)c->timeout_ms * 1000; }

/* done of total slots: on a terminal the line replaces the one before. */
static enum ctl_exit print_progress(struct ctl *c, uint64_t done, uint64_t total,
				    const struct ctl_moves_sum *s, bool is_last)
{
	bool is_terminal = isatty(STDOUT_FILENO);
	struct agi_buf b;
	enum ctl_exit code;

	agi_buf_init(&b, 0);
	if (is_terminal)
		agi_buf_printf(&b, "\r\033[K");
	ctl_progress_line(&b, is_terminal ? ctl_terminal_columns(STDOUT_FILENO) - 1 : CTL_COLUMNS_DEFAULT, done, total,
			  s->bytes_per_s, is_last ? -1 : ctl_moves_eta_s(s));
	if (is_last || !is_terminal)
		agi_buf_printf(&b, "\n");
	code = ctl_write(c, agi_buf_str(&b));
	agi_buf_free(&b);
	return code;
}

static enum ctl_exit print_json_line(struct ctl *c, const struct ctl_moves *m)
{
	json_t *doc = moves_json(m);
	char *text = json_dumps(doc, JSON_COMPACT | JSON_REAL_PRECISION(9));
	enum ctl_exit code;

	json_decref(doc);
	if (!text)
		return ctl_error(c, CTL_FAILED, "cannot write the answer as JSON");
	code = ctl_write(c, agi_str_of(text));
	free(text);
	return code == CTL_OK ? ctl_write(c, AGI_STR("\n")) : code;
}

/* What is done is counted from the first look on; what is to be done may grow meanwhile. */
static enum ctl_exit watch(struct ctl *c, bool is_local)
{
	uint64_t first = 0, done, total;
	bool is_first = true;

	for (;;) {
		struct ctl_moves m;
		enum ctl_exit code;
		bool is_last;

		begin_turn(c);
		code = ctl_moves_ask(c, is_local, &m);
		if (code != CTL_OK) {
			ctl_moves_clear(&m);
			return code;
		}
		if (is_first || m.sum.changes < first) /* a node has restarted */
			first = m.sum.changes;
		is_first = false;
		done = m.sum.changes - first;
		total = done + m.sum.to_move;
		is_last = m.sum.is_settled;
		code = c->is_json ? print_json_line(c, &m) : print_progress(c, done, total, &m.sum, is_last);
		if (code == CTL_OK && is_last && !c->is_json)
			code = print_tables(c, &m);
		ctl_moves_clear(&m);
		if (code != CTL_OK || is_last)
			return code;
		pause_ms(INTERVAL_MS);
	}
}

enum ctl_exit ctl_rebalance(struct ctl *c, const struct ctl_input *in)
{
	bool is_local = ctl_opt_is_set(&in->opts, "local");
	struct ctl_moves m;
	enum ctl_exit code;

	if (ctl_opt_is_set(&in->opts, "watch"))
		return watch(c, is_local);
	code = ctl_moves_ask(c, is_local, &m);
	if (code == CTL_OK)
		code = c->is_json ? ctl_print_json_take(c, moves_json(&m)) : print_tables(c, &m);
	ctl_moves_clear(&m);
	return code;
}

/* --- orders -------------------------------------------------------------------------------------
 */
/* Whom an order goes to, and who can tell later whether it has gone. */
struct target {
	char *address; /* as the members know it */
	char *witness; /* another member's; NULL: there is none */
};

static void target_free(struct target *t)
{
	free(t->address);
	free(t->witness);
}

static bool is_meant(const Agihpc__V1__Member *m, const char *which)
{
	if (!which)
		return agi_str_eq(ctl_str(m->state), AGI_STR("self"));
	return agi_str_eq(ctl_str(m->address), agi_str_of(which)) ||
	       agi_str_has_prefix(ctl_str(m->node_id), agi_str_of(which));
}

/* which: the beginning of an id, or an address; NULL: the node that was asked. */
static enum ctl_exit find_target(struct ctl *c, const Agihpc__V1__MembersResponse *r, const char *which,
				 struct target *t)
{
	for (size_t i = 0; i < r->n_members; i++) {
		const Agihpc__V1__Member *m = r->members[i];

		if (is_meant(m, which) && t->address)
			return ctl_error(c, CTL_USAGE, "several nodes begin with %s: give more of the id", which);
		if (is_meant(m, which))
			t->address = ctl_copy(ctl_str(m->address));
		else if (!t->witness && !agi_str_eq(ctl_str(m->state), AGI_STR("down")))
			t->witness = ctl_copy(ctl_str(m->address));
	}
	if (t->address)
		return CTL_OK;
	return ctl_error(c, CTL_NOT_FOUND, "no member has the id or address %s (agihpc-ctl members lists them)",
			 which ? which : "of the node that was asked");
}

/* The node an order goes to: the word given, or the one of -n. From here on everything is asked of it. */
static enum ctl_exit choose_target(struct ctl *c, const struct ctl_input *in, struct target *t)
{
	Agihpc__V1__MembersRequest req = AGIHPC__V1__MEMBERS_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.NodeService/Members", &req, agihpc__v1__members_response__descriptor);
	enum ctl_exit code = ctl_ask(c, &call);

	if (code == CTL_OK)
		code = find_target(c, (const Agihpc__V1__MembersResponse *)call.res,
				   in->words.n ? in->words.p[0] : NULL, t);
	if (code == CTL_OK && in->words.n) {
		free(c->node);
		c->node = ctl_copy(agi_str_of(t->address));
	}
	ctl_call_clear(&call);
	return code;
}

static enum ctl_exit print_order(struct ctl *c, const char *order, const uint32_t *slots)
{
	json_t *o;

	if (!c->is_json) {
		struct agi_buf b;
		enum ctl_exit code;

		agi_buf_init(&b, 0);
		if (slots)
			agi_buf_printf(&b, "%s: %s; %u slots will move (agihpc-ctl rebalance --watch shows it)\n",
				       c->node, order, *slots);
		else
			agi_buf_printf(&b, "%s: %s\n", c->node, order);
		code = ctl_write(c, agi_buf_str(&b));
		agi_buf_free(&b);
		return code;
	}
	o = json_object();
	ctl_set(o, "address", json_string(c->node));
	ctl_set(o, "order", json_string(order));
	if (slots)
		ctl_set_u64(o, "slots", *slots);
	return ctl_print_json_take(c, o);
}

/* One look at the chosen node, without a word about a failure. */
static bool look(struct ctl *c, struct ctl_call *call, struct ctl_moves_sum *sum, uint32_t *held)
{
	const Agihpc__V1__RebalanceResponse *r;

	begin_turn(c);
	call->target = c->node;
	ctl_calls_run(c, call, 1, ctl_left_ms(c));
	*sum = (struct ctl_moves_sum){.reports = 0};
	if (call->status != AGI_GRPC_OK)
		return false;
	r = (const Agihpc__V1__RebalanceResponse *)call->res;
	ctl_moves_add(sum, r);
	*held = r->slots_held;
	return true;
}

/* Another member answers, and knows it no more: only who has left is forgotten at once. */
static bool is_forgotten(struct ctl *c, const struct target *t)
{
	Agihpc__V1__MembersRequest req = AGIHPC__V1__MEMBERS_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.NodeService/Members", &req, agihpc__v1__members_response__descriptor);
	bool is_listed = false, is_answered;

	if (!t->witness)
		return false;
	call.target = t->witness;
	ctl_calls_run(c, &call, 1, ctl_left_ms(c));
	is_answered = call.status == AGI_GRPC_OK;
	if (is_answered) {
		const Agihpc__V1__MembersResponse *r = (const Agihpc__V1__MembersResponse *)call.res;

		for (size_t i = 0; i < r->n_members; i++)
			is_listed |= agi_str_eq(ctl_str(r->members[i]->address), agi_str_of(t->address));
	}
	ctl_call_clear(&call);
	return is_answered && !is_listed;
}

/* Until the node holds no slot; one that leaves: until it has gone, then. */
static enum ctl_exit wait_for(struct ctl *c, const struct target *t, uint32_t slots, bool is_leaving)
{
	Agihpc__V1__RebalanceRequest req = AGIHPC__V1__REBALANCE_REQUEST__INIT;
	uint32_t silent = 0, held = slots;

	for (uint32_t turn = 0;; turn++) {
		struct ctl_call call = CTL_CALL("agihpc.v1.NodeService/Rebalance", &req,
						agihpc__v1__rebalance_response__descriptor);
		struct ctl_moves_sum sum;
		bool is_there = look(c, &call, &sum, &held), is_over;
		enum ctl_exit code = CTL_OK;

		if (is_leaving && !is_there && held > 0 && is_forgotten(c, t))
			held = 0;
		is_over = held == 0 && is_there != is_leaving;
		silent = is_there ? 0 : silent + 1;
		if (!is_over && silent >= GONE_AFTER)
			code = ctl_report(c, &call, NULL);
		else if (!c->is_json && (is_over || turn % LOOKS == 0))
			code = print_progress(c, slots > held ? slots - held : 0, slots > held ? slots : held,
					      &sum, is_over);
		ctl_call_clear(&call);
		if (code != CTL_OK || is_over)
			return code;
		pause_ms(INTERVAL_MS / LOOKS);
	}
}

enum ctl_exit ctl_drain(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__DrainRequest req = AGIHPC__V1__DRAIN_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.NodeService/Drain", &req, agihpc__v1__drain_response__descriptor);
	struct target t = {NULL, NULL};
	enum ctl_exit code = choose_target(c, in, &t);
	uint32_t slots = 0;

	req.force = ctl_opt_is_set(&in->opts, "force");
	if (code == CTL_OK)
		code = ctl_ask(c, &call);
	if (code == CTL_OK) {
		slots = ((const Agihpc__V1__DrainResponse *)call.res)->slots;
		code = print_order(c, "drains", &slots);
	}
	if (code == CTL_OK && ctl_opt_is_set(&in->opts, "wait"))
		code = wait_for(c, &t, slots, false);
	ctl_call_clear(&call);
	target_free(&t);
	return code;
}

enum ctl_exit ctl_undrain(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__UndrainRequest req = AGIHPC__V1__UNDRAIN_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.NodeService/Undrain", &req, agihpc__v1__undrain_response__descriptor);
	struct target t = {NULL, NULL};
	enum ctl_exit code = choose_target(c, in, &t);

	if (code == CTL_OK)
		code = ctl_ask(c, &call);
	if (code == CTL_OK)
		code = print_order(c, "takes its share of the slots again", NULL);
	ctl_call_clear(&call);
	target_free(&t);
	return code;
}

enum ctl_exit ctl_leave(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__LeaveRequest req = AGIHPC__V1__LEAVE_REQUEST__INIT;
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.NodeService/Leave", &req, agihpc__v1__leave_response__descriptor);
	struct target t = {NULL, NULL};
	enum ctl_exit code = choose_target(c, in, &t);
	uint32_t slots = 0;

	req.force = ctl_opt_is_set(&in->opts, "force");
	if (code == CTL_OK)
		code = ctl_ask(c, &call);
	if (code == CTL_OK) {
		slots = ((const Agihpc__V1__LeaveResponse *)call.res)->slots;
		code = print_order(c, "leaves the cluster for good", &slots);
	}
	if (code == CTL_OK && ctl_opt_is_set(&in->opts, "wait"))
		code = wait_for(c, &t, slots, true);
	ctl_call_clear(&call);
	target_free(&t);
	return code;
}
