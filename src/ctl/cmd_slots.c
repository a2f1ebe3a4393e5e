/* SPDX-License-Identifier: Apache-2.0
 * slots: who holds what, as one node knows it or (--all) as every member reports it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "ctl/call.h"
#include "ctl/out.h"
#include "ctl/slot_map.h"
#include "ctl/units.h"

const struct ctl_opt ctl_opts_slots[] = {
    {"all", 'a', NULL, NULL, "ask every member, not only the one node"},
    {"verbose", 'v', NULL, NULL, "list every slot"},
    {"replicas", 0, "N", NULL, "a slot with fewer live replicas counts as short (default: 3)"},
    {NULL, 0, NULL, NULL, NULL}};

struct asked {
	bool is_all;
	uint32_t replicas;
	const Agihpc__V1__MembersResponse *members;
	struct ctl_call *calls; /* one per member with --all, else one */
	size_t n_calls, n_silent;
	struct ctl_slot_map map;
};

/* What a state is called: of a single node nobody expects that it holds every slot. */
static const char *state_name(const struct asked *a, enum ctl_slot_state s)
{
	return s == CTL_SLOT_NO_HOLDER && !a->is_all ? "elsewhere" : ctl_slot_state_name(s);
}

/* --- asking ----------------------------------------------------------------------------------- */
static bool is_down(const Agihpc__V1__Member *m)
{
	return agi_str_eq(ctl_str(m->state), AGI_STR("down"));
}

static struct agi_str reporter(const struct asked *a, size_t i)
{
	return i < a->members->n_members ? ctl_str(a->members->members[i]->node_id) : AGI_STR("");
}

static void note_silent(struct ctl *c, struct asked *a, size_t i, const char *why)
{
	struct agi_str id = reporter(a, i);

	a->n_silent++;
	ctl_slot_map_set_live(&a->map, id, false);
	ctl_warn(c, "warning: %s did not report: %s", a->calls[i].target, why);
}

static void take_answers(struct ctl *c, struct asked *a)
{
	struct agi_why why;

	for (size_t i = 0; i < a->n_calls; i++) {
		struct ctl_call *call = &a->calls[i];

		if (!call->path) /* down: not asked */
			continue;
		if (call->status != AGI_GRPC_OK)
			note_silent(c, a, i, agi_grpc_status_name(call->status));
		else if (ctl_slot_map_add(&a->map, reporter(a, i),
					  (const Agihpc__V1__SlotsResponse *)call->res,
					  &why) != AGI_OK)
			note_silent(c, a, i, why.text);
	}
}

static void ask_all(struct ctl *c, struct asked *a, const Agihpc__V1__SlotsRequest *req)
{
	const struct ctl_call one =
	    CTL_CALL("agihpc.v1.NodeService/Slots", req, agihpc__v1__slots_response__descriptor);
	size_t n = 0;
	struct ctl_call *asking = ctl_alloc(sizeof *asking * a->members->n_members);
	size_t *index = ctl_alloc(sizeof *index * a->members->n_members);

	a->n_calls = a->members->n_members;
	a->calls = ctl_alloc(sizeof *a->calls * a->n_calls);
	memset(a->calls, 0, sizeof *a->calls * a->n_calls);
	for (size_t i = 0; i < a->n_calls; i++) {
		if (is_down(a->members->members[i]))
			continue;
		asking[n] = one;
		asking[n].target = ctl_copy(ctl_str(a->members->members[i]->address));
		index[n++] = i;
	}
	ctl_calls_run(c, asking, n, ctl_left_ms(c));
	for (size_t k = 0; k < n; k++)
		a->calls[index[k]] = asking[k];
	free(asking);
	free(index);
}

static enum ctl_exit ask(struct ctl *c, struct asked *a)
{
	Agihpc__V1__SlotsRequest req = AGIHPC__V1__SLOTS_REQUEST__INIT;
	enum ctl_exit code = CTL_OK;

	req.held_only = a->is_all;
	ctl_slot_map_init(&a->map, a->members);
	if (a->is_all) {
		ask_all(c, a, &req);
	} else {
		a->n_calls = 1;
		a->calls = ctl_alloc(sizeof *a->calls);
		*a->calls = (struct ctl_call)CTL_CALL("agihpc.v1.NodeService/Slots", &req,
						      agihpc__v1__slots_response__descriptor);
		code = ctl_ask(c, a->calls);
	}
	if (code != CTL_OK)
		return code;
	take_answers(c, a);
	ctl_slot_map_finish(&a->map);
	if (a->map.n_slots == 0)
		return ctl_error(c, CTL_UNAVAILABLE,
				 "UNAVAILABLE: nobody reported any slots (agihpc-ctl"
				 " status shows whether the node has joined)");
	return CTL_OK;
}

/* --- printing --------------------------------------------------------------------------------- */
static json_t *hosts_json(const struct ctl_slot_map *m)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < m->n_hosts; i++) {
		json_t *one = json_object();

		ctl_set(one, "node_id", ctl_json_str(m->hosts[i].id));
		ctl_set(one, "address", ctl_json_str(m->hosts[i].address));
		ctl_set(one, "state", ctl_json_str(m->hosts[i].state));
		ctl_set(one, "live", json_boolean(m->hosts[i].is_live));
		ctl_set_u64(one, "slots", m->hosts[i].slots);
		json_array_append_new(list, one);
	}
	return list;
}

static json_t *slots_json(const struct asked *a)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < a->map.n_slots; i++) {
		const struct ctl_slot *s = &a->map.slots[i];
		json_t *one = json_object();

		ctl_set_u64(one, "slot", i);
		ctl_set_u64(one, "epoch", s->view ? s->view->epoch : 0);
		ctl_set(one, "state", json_string(state_name(a, s->state)));
		ctl_set_u64(one, "live", s->n_live);
		ctl_set(one, "members",
			s->view ? ctl_json_strs(s->view->members, s->view->n_members)
				: json_array());
		json_array_append_new(list, one);
	}
	return list;
}

static enum ctl_exit print_json(struct ctl *c, const struct asked *a, bool is_verbose)
{
	struct ctl_slot_totals t;
	json_t *o = json_object();

	ctl_slot_map_totals(&a->map, a->replicas, &t);
	ctl_set_u64(o, "slots_total", a->map.n_slots);
	ctl_set_u64(o, "active", t.by_state[CTL_SLOT_ACTIVE]);
	ctl_set_u64(o, "joining", t.by_state[CTL_SLOT_JOINING]);
	ctl_set_u64(o, "sealed", t.by_state[CTL_SLOT_SEALED]);
	ctl_set_u64(o, "leaving", t.by_state[CTL_SLOT_LEAVING]);
	ctl_set_u64(o, a->is_all ? "no_holder_answered" : "elsewhere",
		    t.by_state[CTL_SLOT_NO_HOLDER]);
	ctl_set_u64(o, "unreported", t.by_state[CTL_SLOT_UNREPORTED]);
	ctl_set_u64(o, "under_replicated", t.under_replicated);
	ctl_set_u64(o, "replicas", a->replicas);
	ctl_set(o, "all", json_boolean(a->is_all));
	ctl_set_u64(o, "members_silent", a->n_silent);
	ctl_set(o, "hosts", hosts_json(&a->map));
	if (is_verbose)
		ctl_set(o, "slots", slots_json(a));
	return ctl_print_json_take(c, o);
}

static enum ctl_exit print_summary(struct ctl *c, const struct asked *a)
{
	static const struct ctl_col cols[] = {{NULL, CTL_COL_TEXT}, {NULL, CTL_COL_NUMBER}};
	struct ctl_slot_totals sum;
	struct ctl_table t;
	enum ctl_exit code;
	char name[64];

	ctl_slot_map_totals(&a->map, a->replicas, &sum);
	ctl_table_init(&t, cols, 2);
	ctl_table_text(&t, "slots");
	ctl_table_printf(&t, "%u", a->map.n_slots);
	for (int s = CTL_SLOT_ACTIVE; s < CTL_SLOT_STATES; s++) {
		ctl_table_text(&t, state_name(a, s));
		ctl_table_printf(&t, "%u", sum.by_state[s]);
	}
	ctl_table_text(&t, state_name(a, CTL_SLOT_UNREPORTED));
	ctl_table_printf(&t, "%u", sum.by_state[CTL_SLOT_UNREPORTED]);
	snprintf(name, sizeof name, "under-replicated (below %u)", a->replicas);
	ctl_table_text(&t, name);
	ctl_table_printf(&t, "%u", sum.under_replicated);
	code = ctl_print_table(c, &t);
	return code == CTL_OK ? ctl_write(c, AGI_STR("\n")) : code;
}

static enum ctl_exit print_hosts(struct ctl *c, const struct ctl_slot_map *m)
{
	static const struct ctl_col cols[] = {{"NODE", CTL_COL_TEXT},
					      {"ADDRESS", CTL_COL_TEXT},
					      {"STATE", CTL_COL_STATE},
					      {"SLOTS", CTL_COL_NUMBER},
					      {"SHARE", CTL_COL_NUMBER}};
	struct ctl_table t;

	ctl_table_init(&t, cols, sizeof cols / sizeof *cols);
	for (uint32_t i = 0; i < m->n_hosts; i++) {
		const struct ctl_host *h = &m->hosts[i];

		ctl_table_str(&t, ctl_short_id(ctl_bin(h->id)));
		ctl_table_str(&t, ctl_or_dash(ctl_bin(h->address)));
		ctl_table_str(&t, ctl_or_dash(ctl_bin(h->state)));
		ctl_table_printf(&t, "%u", h->slots);
		ctl_table_printf(&t, "%.1f %%", 100.0 * h->slots / m->n_slots);
	}
	return ctl_print_table(c, &t);
}

static void put_members(struct ctl_table *t, const Agihpc__V1__Slot *view)
{
	struct agi_buf text;

	agi_buf_init(&text, 0);
	for (size_t i = 0; i < view->n_members; i++) {
		if (i)
			agi_buf_u8(&text, ' ');
		agi_buf_put_str(&text, ctl_short_id(view->members[i]));
	}
	ctl_table_str(t, agi_buf_str(&text));
	agi_buf_free(&text);
}

static enum ctl_exit print_slots(struct ctl *c, const struct asked *a)
{
	static const struct ctl_col cols[] = {{"SLOT", CTL_COL_NUMBER},
					      {"EPOCH", CTL_COL_NUMBER},
					      {"STATE", CTL_COL_STATE},
					      {"LIVE", CTL_COL_NUMBER},
					      {"MEMBERS", CTL_COL_TEXT}};
	struct ctl_table t;

	ctl_table_init(&t, cols, sizeof cols / sizeof *cols);
	for (uint32_t i = 0; i < a->map.n_slots; i++) {
		const struct ctl_slot *s = &a->map.slots[i];

		ctl_table_printf(&t, "%u", i);
		ctl_table_printf(&t, "%" PRIu64, s->view ? s->view->epoch : 0);
		ctl_table_text(&t, state_name(a, s->state));
		ctl_table_printf(&t, "%u", s->n_live);
		if (s->view)
			put_members(&t, s->view);
		else
			ctl_table_text(&t, "");
	}
	return ctl_print_table(c, &t);
}

static enum ctl_exit print_text(struct ctl *c, const struct asked *a, bool is_verbose)
{
	enum ctl_exit code = print_summary(c, a);

	if (code == CTL_OK)
		code = print_hosts(c, &a->map);
	if (code == CTL_OK && is_verbose)
		code = ctl_write(c, AGI_STR("\n"));
	return code == CTL_OK && is_verbose ? print_slots(c, a) : code;
}

static void free_asked(struct asked *a)
{
	for (size_t i = 0; i < a->n_calls; i++) {
		ctl_call_clear(&a->calls[i]);
		if (a->is_all)
			free((char *)(uintptr_t)a->calls[i].target);
	}
	free(a->calls);
	ctl_slot_map_free(&a->map);
}

enum ctl_exit ctl_slots(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__MembersRequest req = AGIHPC__V1__MEMBERS_REQUEST__INIT;
	struct ctl_call call = CTL_CALL("agihpc.v1.NodeService/Members", &req,
					agihpc__v1__members_response__descriptor);
	const char *replicas = ctl_opt_value(&in->opts, "replicas");
	struct asked a = {.replicas = AGI_REPLICAS_DEFAULT};
	bool is_verbose = ctl_opt_is_set(&in->opts, "verbose");
	struct agi_why why;
	enum ctl_exit code;

	a.is_all = ctl_opt_is_set(&in->opts, "all");
	if (replicas && ctl_parse_u32(&a.replicas, replicas, 1, AGI_REPLICAS_MAX, &why) != AGI_OK)
		return ctl_usage(c, "--replicas %s", why.text);
	code = ctl_ask(c, &call);
	if (code == CTL_OK) {
		a.members = (const Agihpc__V1__MembersResponse *)call.res;
		code = ask(c, &a);
		if (code == CTL_OK)
			code = c->is_json ? print_json(c, &a, is_verbose)
					  : print_text(c, &a, is_verbose);
		free_asked(&a);
	}
	ctl_call_clear(&call);
	return code;
}
