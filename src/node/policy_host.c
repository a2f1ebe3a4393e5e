/* SPDX-License-Identifier: Apache-2.0 */
#include "node/policy_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agihpc.pb-c.h"
#include "node/log.h"
#include "node/safety_policy.h"
#include "node/svc.h"

struct agi_policy_host {
	struct agi_loop *main;
	struct agi_safety_host *safety;
	struct agi_log *log;
	struct agi_policy_item *item;
	uint64_t told_epoch; /* in the log */
	struct agi_policy_told told; /* of the version set here last: which gateways have confirmed it */
};

static const char *const rule_names[] = {"majority", "unanimous", "byzantine"};

/* --- main → safety --------------------------------------------------------------------------------------- */
struct news {
	struct agi_safety_plane *plane;
	uint64_t began_us;
	bool is_absent;
	size_t n;
	char record[];
};

static void take_read(void *arg)
{
	struct news *n = arg;
	struct agi_str record = {n->is_absent ? NULL : n->record, n->n};

	(void)agi_safety_plane_policy_read(n->plane, record, n->began_us);
	free(n);
}

static void log_change(struct agi_policy_host *h)
{
	const struct agi_policy *p = agi_policy_item_view(h->item)->known;

	if (p->epoch == h->told_epoch)
		return;
	h->told_epoch = p->epoch;
	AGI_LOG(h->log, p->is_looser ? AGI_LOG_WARN : AGI_LOG_INFO, p->is_looser ? "policy_loosened" : "policy_changed",
	        agi_kv_u("epoch", p->epoch), agi_kv_str("author", p->author), agi_kv_str("by", p->node),
	        agi_kv_str("reason", p->reason));
}

/* What finds no room is lost: the next read, AGI_POLICY_REFRESH_MS later, says it again; until then the plane's view runs
 * out and blocks. */
static void on_read(void *ctx, struct agi_str record, uint64_t began_us)
{
	struct agi_policy_host *h = ctx;
	struct news *n = malloc(sizeof *n + record.n);

	log_change(h);
	if (!n)
		return;
	*n = (struct news){agi_safety_host_plane(h->safety), began_us, record.p == NULL, record.n};
	if (record.n)
		memcpy(n->record, record.p, record.n);
	if (agi_safety_host_post(h->safety, take_read, free, n))
		free(n);
}

/* A version that was chosen by this node. */
struct tidings {
	struct agi_safety_plane *plane;
	struct agi_policy_version version;
};

static void tell_there(void *arg)
{
	struct tidings *t = arg;

	agi_safety_plane_policy_tell(t->plane, &t->version);
	free(t);
}

/* What finds no room is not told: the gateways read it within AGI_POLICY_REFRESH_MS. */
static void on_chosen(void *ctx, const struct agi_policy *p)
{
	struct agi_policy_host *h = ctx;
	struct tidings *t = malloc(sizeof *t);

	if (!t)
		return;
	*t = (struct tidings){agi_safety_host_plane(h->safety), {.epoch = p->epoch}};
	memcpy(t->version.hash, p->hash, sizeof p->hash);
	h->told = (struct agi_policy_told){.version = t->version};
	if (agi_safety_host_post(h->safety, tell_there, free, t))
		free(t);
}

/* --- safety → main: a peer's notice, and what gateways confirm ------------------------------------------------ */
struct heard {
	struct agi_policy_host *host;
	struct agi_policy_told told;
};

static void take_notice(void *arg) { agi_policy_item_read_now(((struct agi_policy_host *)arg)->item); }

static void on_noticed(void *ctx)
{
	struct agi_policy_host *h = ctx;

	(void)!agi_loop_post(h->main, take_notice, NULL, h); /* else it is read by and by */
}

static void take_told(void *arg)
{
	struct heard *n = arg;

	if (n->told.version.epoch == n->host->told.version.epoch)
		n->host->told = n->told;
	free(n);
}

static void on_told(void *ctx, const struct agi_policy_told *t)
{
	struct agi_policy_host *h = ctx;
	struct heard *n = malloc(sizeof *n);

	if (!n)
		return;
	*n = (struct heard){h, *t};
	if (agi_loop_post(h->main, take_told, free, n))
		free(n);
}

/* --- agihpc.v1.PolicyService ------------------------------------------------------------------------------ */
struct asked {
	struct agi_policy_host *host;
	struct agi_grpc_call *call; /* NULL: the client has gone */
	bool is_set;
};

struct shown {
	Agihpc__V1__Policy m;
	ProtobufCBinaryData *tools;
	char hash[65];
};

/* False: no memory. Borrows p. */
static bool show(struct shown *s, const struct agi_policy *p)
{
	const struct agi_gateway_policy *r = &p->rules;

	s->tools = calloc(r->n_banned + 1, sizeof *s->tools);
	if (!s->tools)
		return false;
	for (size_t i = 0; i < r->n_banned; i++)
		s->tools[i] = agi_svc_data(r->banned[i]);
	for (size_t i = 0; i < sizeof p->hash; i++)
		snprintf(s->hash + 2 * i, 3, "%02x", p->hash[i]);
	s->m = (Agihpc__V1__Policy)AGIHPC__V1__POLICY__INIT;
	s->m.epoch = p->epoch;
	s->m.hash = agi_svc_text(s->hash);
	s->m.at_ms = p->at_ms;
	s->m.author = agi_svc_data(p->author);
	s->m.node_id = agi_svc_data(p->node);
	s->m.reason = agi_svc_data(p->reason);
	s->m.looser = p->is_looser;
	s->m.bond_index_warn = r->bond_index_warn;
	s->m.bond_index_block = r->bond_index_block;
	s->m.bond_index_fallback = r->bond_index_fallback;
	s->m.physical_harm_threshold = r->eval.physical_harm_threshold;
	s->m.bond_index_action = agi_svc_text(agi_decision_name(r->bond_index_action));
	s->m.n_banned_tools = r->n_banned;
	s->m.banned_tools = s->tools;
	s->m.profile = agi_svc_data(r->eval.profile_name);
	s->m.quorum = p->quorum;
	s->m.quorum_rule = agi_svc_text(rule_names[p->quorum_rule]);
	s->m.byzantine_faults = p->byzantine_faults;
	return true;
}

/* The gateways as the answer lists them. */
struct listed {
	Agihpc__V1__PolicyGateway m[AGI_POLICY_TOLD_MAX], *list[AGI_POLICY_TOLD_MAX];
	char ids[AGI_POLICY_TOLD_MAX][AGI_ID_HEX], hashes[AGI_POLICY_TOLD_MAX][65];
};

static void list(struct listed *l, const struct agi_policy_told *t)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct agi_policy_gateway *g = &t->gateways[i];
		Agihpc__V1__PolicyGateway *m = &l->m[i];

		*m = (Agihpc__V1__PolicyGateway)AGIHPC__V1__POLICY_GATEWAY__INIT;
		agi_id_hex(l->ids[i], &g->id);
		agi_hex(l->hashes[i], g->version.hash, sizeof g->version.hash);
		m->node_id = agi_svc_text(l->ids[i]);
		m->answered = g->has_answered;
		m->in_force = g->is_sure && agi_policy_is_confirmed(t, i);
		m->epoch = g->is_sure ? g->version.epoch : 0;
		m->hash = agi_svc_text(g->is_sure ? l->hashes[i] : "");
		l->list[i] = m;
	}
}

static void reply_set(const struct asked *a, const struct agi_policy_found *found, struct shown *s)
{
	const struct agi_policy_told *told = &a->host->told;
	Agihpc__V1__SetPolicyResponse res = AGIHPC__V1__SET_POLICY_RESPONSE__INIT;
	ProtobufCBinaryData *lines = calloc(found->looser->n + 1, sizeof *lines);
	struct listed *l = calloc(1, sizeof *l);

	if (!lines || !l) {
		free(lines);
		free(l);
		agi_grpc_fail_err(a->call, AGI_E_NOMEM, NULL);
		return;
	}
	for (size_t i = 0; i < found->looser->n; i++)
		lines[i] = agi_svc_data(found->looser->p[i]);
	res.set = found->is_set;
	res.policy = &s->m;
	res.n_looser = found->looser->n;
	res.looser = lines;
	if (found->is_set && told->version.epoch == found->policy->epoch) {
		list(l, told);
		res.n_gateways = told->n;
		res.gateways = l->list;
	}
	agi_grpc_reply(a->call, &res.base);
	free(lines);
	free(l);
}

static void answer(void *arg, enum agi_err err, const struct agi_policy_found *found, const struct agi_why *why)
{
	struct asked *a = arg;
	struct shown s = {.tools = NULL};

	if (a->call && err)
		agi_grpc_fail_err(a->call, err, why->text[0] ? why : NULL);
	else if (a->call && !show(&s, found->policy))
		agi_grpc_fail_err(a->call, AGI_E_NOMEM, NULL);
	else if (a->call && a->is_set)
		reply_set(a, found, &s);
	else if (a->call)
		agi_grpc_reply(a->call, &s.m.base);
	free(s.tools);
	free(a);
}

static void on_cancel(void *arg)
{
	struct asked *a = arg;
	struct agi_grpc_call *call = a->call;

	a->call = NULL;
	agi_grpc_fail(call, AGI_GRPC_CANCELLED, "the client gave up; a change may still take effect");
}

static struct asked *asked_new(struct agi_policy_host *h, struct agi_grpc_call *call, bool is_set)
{
	struct asked *a = calloc(1, sizeof *a);

	if (a)
		*a = (struct asked){h, call, is_set};
	return a;
}

/* After it was asked: e is what asking gave. */
static void asked_begun(struct asked *a, struct agi_grpc_call *call, enum agi_err e, const struct agi_why *why)
{
	if (e) {
		free(a);
		agi_grpc_fail_err(call, e, why && why->text[0] ? why : NULL);
	} else {
		agi_grpc_call_on_cancel(call, on_cancel, a);
	}
}

static void get(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__GetPolicyRequest *m = (const Agihpc__V1__GetPolicyRequest *)req;
	struct agi_policy_host *h = ctx;
	struct asked *a = asked_new(h, call, false);
	uint64_t epoch = m->epoch;

	asked_begun(a, call, a ? agi_policy_item_get(h->item, m->older ? &epoch : NULL, answer, a) : AGI_E_NOMEM, NULL);
}

static enum agi_err take_names(struct agi_policy *p, const Agihpc__V1__Policy *m, struct agi_why *why)
{
	static const enum agi_decision actions[] = {AGI_DECISION_BLOCK, AGI_DECISION_DEFER, AGI_DECISION_REVISE};
	size_t i = 0, k = 0;

	while (i < 3 && !agi_str_eq(agi_svc_str(m->bond_index_action), agi_str_of(agi_decision_name(actions[i]))))
		i++;
	if (i == 3)
		return agi_fail(why, AGI_E_INVALID, "bond_index_action: expected BLOCK, DEFER or REVISE");
	while (k < 3 && !agi_str_eq(agi_svc_str(m->quorum_rule), agi_str_of(rule_names[k])))
		k++;
	if (k == 3)
		return agi_fail(why, AGI_E_INVALID, "quorum_rule: expected majority, unanimous or byzantine");
	p->rules.bond_index_action = actions[i];
	p->quorum_rule = (enum agi_quorum_rule)k;
	return AGI_OK;
}

/* Borrows from m, and tools, which has room for all. */
static enum agi_err take_wish(struct agi_policy *p, struct agi_str *tools, const Agihpc__V1__SetPolicyRequest *m,
                              struct agi_why *why)
{
	const Agihpc__V1__Policy *w = m->policy;

	*p = (struct agi_policy){.reason = agi_svc_str(m->reason), .author = agi_svc_str(m->author)};
	for (size_t i = 0; i < w->n_banned_tools; i++)
		tools[i] = agi_svc_str(w->banned_tools[i]);
	p->rules = (struct agi_gateway_policy){.banned = tools,
	                                       .n_banned = w->n_banned_tools,
	                                       .bond_index_warn = w->bond_index_warn,
	                                       .bond_index_block = w->bond_index_block,
	                                       .bond_index_fallback = w->bond_index_fallback};
	p->rules.eval.physical_harm_threshold = w->physical_harm_threshold;
	p->rules.eval.profile_name = agi_svc_str(w->profile);
	p->quorum = w->quorum;
	p->byzantine_faults = w->byzantine_faults;
	return take_names(p, w, why);
}

static void set(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agihpc__V1__SetPolicyRequest *m = (const Agihpc__V1__SetPolicyRequest *)req;
	struct agi_policy_host *h = ctx;
	struct asked *a = asked_new(h, call, true);
	struct agi_why why = {""};
	struct agi_str *tools = NULL;
	struct agi_policy wish;
	enum agi_err e = AGI_OK;

	if (!m->policy)
		e = agi_fail(&why, AGI_E_INVALID, "policy: missing");
	else if (!a || !(tools = calloc(m->policy->n_banned_tools + 1, sizeof *tools)))
		e = AGI_E_NOMEM;
	if (!e)
		e = take_wish(&wish, tools, m, &why);
	if (!e)
		e = agi_policy_item_set(h->item, &wish, m->base_epoch, m->may_loosen, answer, a, &why);
	free(tools);
	asked_begun(a, call, e, &why);
}

enum agi_err agi_policy_host_serve(struct agi_policy_host *h, struct agi_grpc_server *server)
{
	static const struct agi_grpc_method methods[] = {{.name = "Get", .handler = get},
	                                                 {.name = "Set", .handler = set}};

	return agi_grpc_server_add(server, &agihpc__v1__policy_service__descriptor, methods,
	                           sizeof methods / sizeof *methods, h);
}

/* --- life ------------------------------------------------------------------------------------------------- */
enum agi_err agi_policy_host_new(struct agi_loop *main, struct agi_dht_host *host, struct agi_safety_host *safety,
                                 struct agi_log *log, const struct agi_id *self, struct agi_policy_host **out)
{
	static const struct agi_safety_policy_hooks hooks = {.noticed = on_noticed, .told = on_told};
	struct agi_policy_host *h = calloc(1, sizeof *h);
	struct agi_policy_item_cfg cfg = {.base = agi_loop_base(main), .host = host, .on_read = on_read,
	                                  .on_chosen = on_chosen, .ctx = h};
	enum agi_err e;

	if (!h)
		return AGI_E_NOMEM;
	h->main = main;
	h->safety = safety;
	h->log = log;
	cfg.configured = agi_safety_plane_policy(agi_safety_host_plane(safety))->configured;
	agi_id_hex(cfg.node, self);
	e = agi_policy_item_new(&cfg, &h->item);
	if (e) {
		free(h);
		return e;
	}
	agi_safety_host_on_policy(safety, &hooks, h);
	*out = h;
	return AGI_OK;
}

void agi_policy_host_free(struct agi_policy_host *h)
{
	if (!h)
		return;
	agi_policy_item_free(h->item);
	free(h);
}

void agi_policy_host_start(struct agi_policy_host *h) { agi_policy_item_start(h->item); }

const struct agi_policy_view *agi_policy_host_view(const struct agi_policy_host *h)
{
	return agi_policy_item_view(h->item);
}
