/* SPDX-License-Identifier: Apache-2.0
 * safety policy get, set, history: what every gateway of the cluster judges by. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agihpc.pb-c.h"
#include "ctl/call.h"
#include "ctl/out.h"
#include "ctl/units.h"

enum {
	FILE_MAX = 1 << 20,
	TYPED_MAX = 32,
	KEPT = 64,           /* versions that a cluster keeps */
	ASKED_AT_ONCE = 8,
	SETTLE_MS = 20000    /* more than the strong reads and writes of a change take */
};

const struct ctl_opt ctl_opts_safety_policy[] = {
    {"epoch", 0, "N", NULL, "get: this version (default: the one in force)"},
    {"reason", 0, "TEXT", NULL, "set: why; kept with the version"},
    {"yes", 'y', NULL, NULL, "set: do not ask for confirmation when it loosens something"},
    {NULL, 0, NULL, NULL, NULL}};

/* --- printing --------------------------------------------------------------------------------------------------- */
static json_t *rules_json(const Agihpc__V1__Policy *p)
{
	json_t *o = json_object();

	ctl_set(o, "bond_index_warn", json_real(p->bond_index_warn));
	ctl_set(o, "bond_index_block", json_real(p->bond_index_block));
	ctl_set(o, "bond_index_fallback", json_real(p->bond_index_fallback));
	ctl_set(o, "physical_harm_threshold", json_real(p->physical_harm_threshold));
	ctl_set(o, "bond_index_action", ctl_json_str(ctl_str(p->bond_index_action)));
	ctl_set(o, "banned_tools", ctl_json_strs(p->banned_tools, p->n_banned_tools));
	ctl_set(o, "profile", ctl_json_str(ctl_str(p->profile)));
	ctl_set_u64(o, "quorum", p->quorum);
	ctl_set(o, "quorum_rule", ctl_json_str(ctl_str(p->quorum_rule)));
	ctl_set_u64(o, "byzantine_faults", p->byzantine_faults);
	return o;
}

static json_t *version_json(const Agihpc__V1__Policy *p)
{
	json_t *o = json_object();

	ctl_set_u64(o, "epoch", p->epoch);
	ctl_set(o, "hash", ctl_json_str(ctl_str(p->hash)));
	ctl_set_u64(o, "at_ms", p->at_ms);
	ctl_set(o, "author", ctl_json_str(ctl_str(p->author)));
	ctl_set(o, "node_id", ctl_json_str(ctl_str(p->node_id)));
	ctl_set(o, "reason", ctl_json_str(ctl_str(p->reason)));
	ctl_set(o, "looser", json_boolean(p->looser));
	ctl_set(o, "policy", rules_json(p));
	return o;
}

static void row(struct ctl_table *t, const char *name, struct agi_str value)
{
	ctl_table_text(t, name);
	ctl_table_str(t, value);
}

static void row_real(struct ctl_table *t, const char *name, double value)
{
	ctl_table_text(t, name);
	ctl_table_printf(t, "%g", value);
}

static void put_version(struct ctl_table *t, const Agihpc__V1__Policy *p)
{
	char at[CTL_TIME_TEXT];

	ctl_table_text(t, "policy epoch");
	ctl_table_printf(t, p->epoch ? "%" PRIu64 : "%" PRIu64 " (from the configuration)", p->epoch);
	row(t, "hash", ctl_or_dash(p->hash));
	if (!p->epoch)
		return;
	ctl_format_time(at, p->at_ms);
	row(t, "since", agi_str_of(at));
	row(t, "reason", ctl_or_dash(p->reason));
	row(t, "author", ctl_or_dash(p->author));
	row(t, "by node", ctl_short_id(p->node_id));
	row(t, "looser than before", agi_str_of(p->looser ? "yes" : "no"));
}

static enum ctl_exit print_version(struct ctl *c, const Agihpc__V1__Policy *p)
{
	static const struct ctl_col cols[] = {{NULL, CTL_COL_TEXT}, {NULL, CTL_COL_TEXT}};
	struct ctl_table t;

	if (c->is_json)
		return ctl_print_json_take(c, version_json(p));
	ctl_table_init(&t, cols, 2);
	put_version(&t, p);
	row_real(&t, "bond_index_warn", p->bond_index_warn);
	row_real(&t, "bond_index_block", p->bond_index_block);
	row_real(&t, "bond_index_fallback", p->bond_index_fallback);
	row_real(&t, "physical_harm_threshold", p->physical_harm_threshold);
	row(&t, "bond_index_action", ctl_or_dash(p->bond_index_action));
	row(&t, "profile", ctl_or_dash(p->profile));
	ctl_table_text(&t, "quorum");
	ctl_table_printf(&t, "%u, %.*s", p->quorum, AGI_STR_ARG(ctl_str(p->quorum_rule)));
	row_real(&t, "byzantine_faults", p->byzantine_faults);
	for (size_t i = 0; i < p->n_banned_tools; i++)
		row(&t, i ? "" : "banned_tools", ctl_str(p->banned_tools[i]));
	if (!p->n_banned_tools)
		row(&t, "banned_tools", AGI_STR("-"));
	return ctl_print_table(c, &t);
}

/* --- get ---------------------------------------------------------------------------------------------------------- */
static enum ctl_exit get(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__GetPolicyRequest req = AGIHPC__V1__GET_POLICY_REQUEST__INIT;
	struct ctl_call call = CTL_CALL("agihpc.v1.PolicyService/Get", &req, agihpc__v1__policy__descriptor);
	const char *epoch = ctl_opt_value(&in->opts, "epoch");
	enum ctl_exit code;
	struct agi_why why;
	uint32_t n = 0;

	if (epoch && ctl_parse_u32(&n, epoch, 0, UINT32_MAX, &why) != AGI_OK)
		return ctl_usage(c, "--epoch %s", why.text);
	req.older = epoch != NULL;
	req.epoch = n;
	code = ctl_ask(c, &call);
	if (code == CTL_OK)
		code = print_version(c, (const Agihpc__V1__Policy *)call.res);
	ctl_call_clear(&call);
	return code;
}

/* --- history ------------------------------------------------------------------------------------------------------ */
struct history {
	struct ctl_table table;
	json_t *list;
};

static void add(struct ctl *c, struct history *h, const Agihpc__V1__Policy *p)
{
	char at[CTL_TIME_TEXT];

	if (c->is_json) {
		json_array_append_new(h->list, version_json(p));
		return;
	}
	ctl_format_time(at, p->at_ms);
	ctl_table_printf(&h->table, "%" PRIu64, p->epoch);
	ctl_table_text(&h->table, at);
	ctl_table_text(&h->table, p->looser ? "yes" : "no");
	ctl_table_str(&h->table, ctl_or_dash(p->author));
	ctl_table_str(&h->table, p->epoch ? ctl_or_dash(p->reason) : AGI_STR("from the configuration"));
}

/* The versions from `last` down, n of them; one that is not kept any more is left out. */
static enum ctl_exit add_some(struct ctl *c, struct history *h, uint64_t last, size_t n)
{
	Agihpc__V1__GetPolicyRequest reqs[ASKED_AT_ONCE];
	struct ctl_call calls[ASKED_AT_ONCE];
	enum ctl_exit code = CTL_OK;

	for (size_t i = 0; i < n; i++) {
		reqs[i] = (Agihpc__V1__GetPolicyRequest)AGIHPC__V1__GET_POLICY_REQUEST__INIT;
		reqs[i].older = true;
		reqs[i].epoch = last - i;
		calls[i] = (struct ctl_call)CTL_CALL("agihpc.v1.PolicyService/Get", &reqs[i],
		                                     agihpc__v1__policy__descriptor);
		calls[i].target = c->node;
	}
	ctl_calls_run(c, calls, n, ctl_left_ms(c));
	for (size_t i = 0; i < n; i++) {
		if (code == CTL_OK && calls[i].status == AGI_GRPC_OK)
			add(c, h, (const Agihpc__V1__Policy *)calls[i].res);
		else if (code == CTL_OK && calls[i].status != AGI_GRPC_NOT_FOUND)
			code = ctl_report(c, &calls[i], NULL);
		ctl_call_clear(&calls[i]);
	}
	return code;
}

static enum ctl_exit add_older(struct ctl *c, struct history *h, uint64_t epoch)
{
	uint64_t left = epoch < KEPT ? epoch : KEPT - 1;
	enum ctl_exit code = CTL_OK;

	while (left && code == CTL_OK) {
		size_t n = left < ASKED_AT_ONCE ? (size_t)left : ASKED_AT_ONCE;

		code = add_some(c, h, epoch - 1, n);
		epoch -= n;
		left -= n;
	}
	return code;
}

static enum ctl_exit history(struct ctl *c)
{
	static const struct ctl_col cols[] = {{"EPOCH", CTL_COL_NUMBER}, {"SINCE", CTL_COL_TEXT},
	                                      {"LOOSER", CTL_COL_TEXT},  {"AUTHOR", CTL_COL_TEXT},
	                                      {"REASON", CTL_COL_TEXT}};
	Agihpc__V1__GetPolicyRequest req = AGIHPC__V1__GET_POLICY_REQUEST__INIT;
	struct ctl_call call = CTL_CALL("agihpc.v1.PolicyService/Get", &req, agihpc__v1__policy__descriptor);
	struct history h = {.list = json_array()};
	const Agihpc__V1__Policy *newest;
	enum ctl_exit code = ctl_ask(c, &call);
	json_t *o;

	ctl_table_init(&h.table, cols, 5);
	if (code == CTL_OK) {
		newest = (const Agihpc__V1__Policy *)call.res;
		add(c, &h, newest);
		code = add_older(c, &h, newest->epoch);
	}
	if (code == CTL_OK && c->is_json) {
		o = json_object();
		ctl_set(o, "versions", json_incref(h.list));
		code = ctl_print_json_take(c, o);
	} else if (code == CTL_OK) {
		code = ctl_print_table(c, &h.table);
		h.table.text = (struct agi_buf){0};
	}
	ctl_table_free(&h.table);
	json_decref(h.list);
	ctl_call_clear(&call);
	return code;
}

/* --- set: the file over what is in force -------------------------------------------------------------------------- */
static const char fields[] = "bond_index_warn, bond_index_block, bond_index_fallback, physical_harm_threshold, "
                             "bond_index_action, banned_tools, profile, quorum, quorum_rule, byzantine_faults";

struct file {
	json_t *doc;
	ProtobufCBinaryData *tools; /* borrowed from doc */
};

static enum ctl_exit take_tools(struct ctl *c, struct file *f, const json_t *v, Agihpc__V1__Policy *p)
{
	size_t n = json_array_size(v);

	if (!json_is_array(v))
		return ctl_error(c, CTL_USAGE, "banned_tools: expected a list of names");
	f->tools = ctl_alloc(sizeof *f->tools * (n + 1));
	for (size_t i = 0; i < n; i++) {
		const json_t *tool = json_array_get(v, i);

		if (!json_is_string(tool))
			return ctl_error(c, CTL_USAGE, "banned_tools[%zu]: expected a name", i);
		f->tools[i] = ctl_bin_of(json_string_value(tool));
	}
	p->banned_tools = f->tools;
	p->n_banned_tools = n;
	return CTL_OK;
}

/* One field of the file: 1 taken, 0 no such field of this kind, -1 reported. */
static int take_real(struct ctl *c, const char *key, const json_t *v, Agihpc__V1__Policy *p)
{
	const struct {
		const char *name;
		double *to;
	} reals[] = {{"bond_index_warn", &p->bond_index_warn},
	             {"bond_index_block", &p->bond_index_block},
	             {"bond_index_fallback", &p->bond_index_fallback},
	             {"physical_harm_threshold", &p->physical_harm_threshold}};

	for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
		if (strcmp(key, reals[i].name) != 0)
			continue;
		if (!json_is_number(v)) {
			ctl_error(c, CTL_USAGE, "%s: expected a number, 0..1", key);
			return -1;
		}
		*reals[i].to = json_number_value(v);
		return 1;
	}
	return 0;
}

static int take_whole(struct ctl *c, const char *key, const json_t *v, Agihpc__V1__Policy *p)
{
	uint32_t *to = strcmp(key, "quorum") == 0 ? &p->quorum
	               : strcmp(key, "byzantine_faults") == 0 ? &p->byzantine_faults : NULL;

	if (!to)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX) {
		ctl_error(c, CTL_USAGE, "%s: expected a whole number, %s", key, to == &p->quorum ? "1..7" : "0..7");
		return -1;
	}
	*to = (uint32_t)json_integer_value(v);
	return 1;
}

static int take_text(struct ctl *c, const char *key, const json_t *v, Agihpc__V1__Policy *p)
{
	ProtobufCBinaryData *to = strcmp(key, "bond_index_action") == 0 ? &p->bond_index_action
	                          : strcmp(key, "profile") == 0 ? &p->profile
	                          : strcmp(key, "quorum_rule") == 0 ? &p->quorum_rule : NULL;

	if (!to)
		return 0;
	if (!json_is_string(v)) {
		ctl_error(c, CTL_USAGE, "%s: expected text", key);
		return -1;
	}
	*to = ctl_bin_of(json_string_value(v));
	return 1;
}

static enum ctl_exit take_field(struct ctl *c, struct file *f, const char *key, const json_t *v, Agihpc__V1__Policy *p)
{
	int taken;

	if (strcmp(key, "banned_tools") == 0)
		return take_tools(c, f, v, p);
	taken = take_real(c, key, v, p);
	if (!taken)
		taken = take_whole(c, key, v, p);
	if (!taken)
		taken = take_text(c, key, v, p);
	if (!taken)
		return ctl_error(c, CTL_USAGE, "'%.60s' is no field of a policy; valid are %s", key, fields);
	return taken > 0 ? CTL_OK : CTL_USAGE;
}

static enum ctl_exit read_file(struct ctl *c, struct file *f, const char *path)
{
	json_error_t error;
	struct agi_str text;
	enum ctl_exit code = ctl_read_file(c, path, FILE_MAX, &text);

	if (code != CTL_OK)
		return code;
	f->doc = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &error);
	free((char *)(uintptr_t)text.p);
	if (!f->doc)
		return ctl_error(c, CTL_USAGE, "%s: line %d: %s", path, error.line, error.text);
	if (!json_is_object(f->doc))
		return ctl_error(c, CTL_USAGE, "%s: expected a JSON object with fields of a policy: %s", path, fields);
	return CTL_OK;
}

/* What the file says, over p; what it does not name stays as it is. The output of get has the fields one level down. */
static enum ctl_exit apply(struct ctl *c, struct file *f, Agihpc__V1__Policy *p)
{
	json_t *inner = json_object_get(f->doc, "policy"), *v;
	json_t *from = json_is_object(inner) ? inner : f->doc;
	enum ctl_exit code = CTL_OK;
	const char *key;

	json_object_foreach(from, key, v) {
		code = take_field(c, f, key, v, p);
		if (code != CTL_OK)
			break;
	}
	return code;
}

/* --- set: asking ---------------------------------------------------------------------------------------------------- */
static void show_looser(const Agihpc__V1__SetPolicyResponse *r)
{
	struct agi_buf b;

	agi_buf_init(&b, 0);
	agi_buf_printf(&b, "This loosens the safety policy of the whole cluster:\n");
	for (size_t i = 0; i < r->n_looser; i++) {
		agi_buf_printf(&b, "  ");
		ctl_put_harmless(&b, ctl_str(r->looser[i]));
		agi_buf_printf(&b, "\n");
	}
	fprintf(stderr, "%.*s", AGI_STR_ARG(agi_buf_str(&b)));
	agi_buf_free(&b);
}

static enum ctl_exit confirm(struct ctl *c, const Agihpc__V1__SetPolicyResponse *r)
{
	char typed[TYPED_MAX];

	show_looser(r);
	if (!isatty(STDIN_FILENO))
		return ctl_usage(c, "--yes is missing: there is no terminal to confirm this on");
	fprintf(stderr, "Type \"loosen\" to go on: ");
	if (!fgets(typed, sizeof typed, stdin))
		typed[0] = '\0';
	typed[strcspn(typed, "\r\n")] = '\0';
	return strcmp(typed, "loosen") == 0 ? CTL_OK : ctl_error(c, CTL_FAILED, "not confirmed, nothing was done");
}

static size_t confirmed(const Agihpc__V1__SetPolicyResponse *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_gateways; i++)
		n += r->gateways[i]->in_force;
	return n;
}

/* What an operator may have to look after. */
static void name_unconfirmed(struct ctl *c, const Agihpc__V1__SetPolicyResponse *r)
{
	for (size_t i = 0; i < r->n_gateways; i++) {
		const Agihpc__V1__PolicyGateway *g = r->gateways[i];
		struct agi_str id = ctl_short_id(g->node_id);

		if (g->in_force)
			continue;
		if (!g->answered)
			ctl_warn(c, "gateway %.*s did not answer: it blocks until it has read this policy", AGI_STR_ARG(id));
		else if (!g->hash.len)
			ctl_warn(c, "gateway %.*s does not know which policy is in force: it blocks", AGI_STR_ARG(id));
		else if (g->epoch == r->policy->epoch)
			ctl_warn(c, "gateway %.*s judges by other rules or in another mode, hash %.*s: its votes do not count here",
			         AGI_STR_ARG(id), AGI_STR_ARG(ctl_str(g->hash)));
		else
			ctl_warn(c, "gateway %.*s was at epoch %" PRIu64 ": it blocks until it has read this policy",
			         AGI_STR_ARG(id), g->epoch);
	}
}

static json_t *gateways_json(const Agihpc__V1__SetPolicyResponse *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->n_gateways; i++) {
		const Agihpc__V1__PolicyGateway *g = r->gateways[i];
		json_t *o = json_object();

		ctl_set(o, "node_id", ctl_json_str(ctl_str(g->node_id)));
		ctl_set(o, "in_force", json_boolean(g->in_force));
		ctl_set(o, "answered", json_boolean(g->answered));
		ctl_set_u64(o, "epoch", g->epoch);
		ctl_set(o, "hash", ctl_json_str(ctl_str(g->hash)));
		json_array_append_new(list, o);
	}
	return list;
}

static enum ctl_exit print_set(struct ctl *c, const Agihpc__V1__SetPolicyResponse *r)
{
	const Agihpc__V1__Policy *p = r->policy;
	json_t *o;

	if (!r->set || !p)
		return ctl_error(c, CTL_FAILED, "the node's answer does not say that it was set");
	name_unconfirmed(c, r);
	if (c->is_json) {
		o = version_json(p);
		ctl_set(o, "loosened", ctl_json_strs(r->looser, r->n_looser));
		ctl_set_u64(o, "confirmed", confirmed(r));
		ctl_set(o, "gateways", gateways_json(r));
		return ctl_print_json_take(c, o);
	}
	return ctl_say(c, "policy epoch %" PRIu64 " is in force, confirmed by %zu of %zu known gateways; none judges by an older one\n",
	               p->epoch, confirmed(r), r->n_gateways);
}

static enum ctl_exit ask_to_set(struct ctl *c, Agihpc__V1__SetPolicyRequest *req)
{
	struct ctl_call call =
	    CTL_CALL("agihpc.v1.PolicyService/Set", req, agihpc__v1__set_policy_response__descriptor);
	const Agihpc__V1__SetPolicyResponse *r;
	enum ctl_exit code;

	if (!c->has_timeout)
		c->timeout_ms = SETTLE_MS;
	c->deadline_us = ctl_now_us() + (uint64_t)c->timeout_ms * 1000;
	code = ctl_ask(c, &call);
	r = (const Agihpc__V1__SetPolicyResponse *)call.res;
	if (code == CTL_OK && !r->set && !req->may_loosen && r->n_looser) {
		code = confirm(c, r);
		req->may_loosen = true;
		if (code == CTL_OK)
			code = ask_to_set(c, req);
	} else if (code == CTL_OK) {
		code = print_set(c, r);
	}
	ctl_call_clear(&call);
	return code;
}

static enum ctl_exit set(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__GetPolicyRequest get_req = AGIHPC__V1__GET_POLICY_REQUEST__INIT;
	Agihpc__V1__SetPolicyRequest req = AGIHPC__V1__SET_POLICY_REQUEST__INIT;
	struct ctl_call call = CTL_CALL("agihpc.v1.PolicyService/Get", &get_req, agihpc__v1__policy__descriptor);
	const char *reason = ctl_opt_value(&in->opts, "reason");
	char author[CTL_SOURCE_BYTES];
	struct file f = {.doc = NULL};
	Agihpc__V1__Policy wish;
	enum ctl_exit code;

	if (!reason || !reason[0])
		return ctl_usage(c, "--reason is missing: say why the policy changes");
	if (!agi_utf8_is_valid(agi_str_of(reason)))
		return ctl_usage(c, "--reason must be UTF-8 text");
	code = read_file(c, &f, in->words.p[1]);
	if (code == CTL_OK)
		code = ctl_ask(c, &call);
	if (code == CTL_OK) {
		wish = *(const Agihpc__V1__Policy *)call.res;
		req.base_epoch = wish.epoch;
		req.policy = &wish;
		req.reason = ctl_bin_of(reason);
		req.author = ctl_source(author);
		req.may_loosen = ctl_opt_is_set(&in->opts, "yes");
		code = apply(c, &f, &wish);
	}
	if (code == CTL_OK)
		code = ask_to_set(c, &req);
	ctl_call_clear(&call);
	free(f.tools);
	json_decref(f.doc);
	return code;
}

enum ctl_exit ctl_safety_policy(struct ctl *c, const struct ctl_input *in)
{
	const char *what = in->words.p[0];

	if (strcmp(what, "set") == 0)
		return in->words.n == 2 ? set(c, in)
		                        : ctl_usage(c, "the file is missing: safety policy set FILE --reason TEXT");
	if (in->words.n != 1)
		return ctl_usage(c, "'%.60s' is one argument too many", in->words.p[1]);
	if (strcmp(what, "get") == 0)
		return get(c, in);
	if (strcmp(what, "history") == 0)
		return history(c);
	return ctl_usage(c, "'%.60s': expected get, set or history", what);
}
