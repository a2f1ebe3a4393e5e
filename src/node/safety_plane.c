/* SPDX-License-Identifier: Apache-2.0 */
#include "node/safety_plane.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "node/safety_impl.h"
#include "node/safety_known.h"
#include "rulefile/profile_file.h"
#include "rulefile/rule_file.h"

/* --- time --------------------------------------------------------------------------------------- */
static uint64_t clock_us(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t safety_mono_us(void) { return clock_us(CLOCK_BOOTTIME); } /* as agi_clock_now */
uint64_t safety_wall_us(void) { return clock_us(CLOCK_REALTIME); }
struct agi_now safety_now(void)
{
	return (struct agi_now){safety_mono_us(), safety_wall_us() / 1000};
}

void safety_arm(struct event *timer, uint64_t at_us, uint64_t now_us)
{
	uint64_t in = at_us > now_us ? at_us - now_us : 0;

	event_add(timer, &(struct timeval){(time_t)(in / 1000000), (suseconds_t)(in % 1000000)});
}

void safety_observe(struct agi_safety_plane *s, const struct agi_safety_event *e)
{
	if (s->hooks.observe)
		s->hooks.observe(s->ctx, e);
}

/* --- messages to this node itself ------------------------------------------------------------------ */
struct local {
	STAILQ_ENTRY(local) link;
	struct agi_id failed; /* bytes.n == 0: a send to this peer failed */
	uint64_t check_id;
	struct agi_buf bytes; /* an envelope */
};

static void local_free(struct agi_safety_plane *s, struct local *l)
{
	s->local_bytes -= l->bytes.n;
	agi_buf_free(&l->bytes);
	free(l);
}

static void local_add(struct agi_safety_plane *s, struct local *l)
{
	s->local_bytes += l->bytes.n;
	STAILQ_INSERT_TAIL(&s->locals, l, link);
	event_active(s->local_event, EV_TIMEOUT, 0);
}

static enum agi_err send_to_self(struct agi_safety_plane *s, struct agi_buf *bytes)
{
	struct local *l;

	if (s->local_bytes + bytes->n > SAFETY_QUEUE_BYTES)
		return AGI_E_FULL;
	l = calloc(1, sizeof *l);
	if (!l)
		return AGI_E_NOMEM;
	l->bytes = *bytes;
	agi_buf_init(bytes, 0);
	local_add(s, l);
	return AGI_OK;
}

void safety_fail_later(struct agi_safety_plane *s, const struct agi_id *peer, uint64_t check_id)
{
	struct local *l = calloc(1, sizeof *l);

	if (!l)
		return; /* the check's deadline ends it */
	l->failed = *peer;
	l->check_id = check_id;
	local_add(s, l);
}

static void deliver_local(struct agi_safety_plane *s, struct local *l)
{
	struct agi_peer self = {.id = s->self.id};
	struct agi_envelope env;

	if (!l->bytes.n)
		check_on_unreachable(s, &l->failed, l->check_id);
	else if (agi_envelope_open(agi_buf_str(&l->bytes), &env, NULL) == AGI_OK)
		agi_safety_plane_on_message(s, &self, &env);
}

static void on_local(evutil_socket_t fd, short what, void *arg)
{
	struct agi_safety_plane *s = arg;
	struct local *l;
	(void)fd;
	(void)what;

	while ((l = STAILQ_FIRST(&s->locals))) {
		STAILQ_REMOVE_HEAD(&s->locals, link);
		deliver_local(s, l);
		local_free(s, l);
	}
}

enum agi_err safety_send(struct agi_safety_plane *s, const struct agi_peer *to,
                         const struct agi_safety_msg *m)
{
	struct agi_buf b;
	enum agi_err err;

	agi_buf_init(&b, AGI_LINK_FRAME_MAX);
	agi_safety_msg_encode(&b, m);
	err = b.err;
	if (!err)
		err = agi_id_eq(&to->id, &s->self.id) ? send_to_self(s, &b)
		                                   : s->hooks.send(s->ctx, to, agi_buf_str(&b));
	agi_buf_free(&b);
	return err;
}

/* --- emergency stop ----------------------------------------------------------------------------------- */
static void on_stop_notice(struct agi_safety_plane *s, const struct agi_safety_msg *m)
{
	struct agi_stop_record r;

	if (agi_stop_decode(&r, m->request) || !agi_latch_told(&s->latch, &r))
		return;
	audit_stop(s);
	if (s->hooks.stopped)
		s->hooks.stopped(s->ctx, &r);
}

void agi_safety_plane_stop_read(struct agi_safety_plane *s, const struct agi_stop_record *r, uint64_t began_us)
{
	agi_latch_read(&s->latch, r, began_us);
	audit_stop(s);
}

/* Who does not get it reads the register within AGI_STOP_VALID_MS or blocks. */
static void tell_service(struct agi_safety_plane *s, struct agi_str service, const struct agi_safety_msg *m)
{
	struct agi_instance found[AGI_SAFETY_KNOWN_MAX];
	size_t n = s->hooks.instances(s->ctx, service, found, AGI_SAFETY_KNOWN_MAX);

	for (size_t i = 0; i < n; i++) {
		struct agi_peer to = {found[i].node, found[i].provider->node_addr};

		if (!agi_id_eq(&to.id, &s->self.id) && safety_send(s, &to, m))
			continue; /* it cannot be reached: see above */
	}
}

void agi_safety_plane_stop_tell(struct agi_safety_plane *s, const struct agi_stop_record *r)
{
	struct agi_safety_msg m = {.kind = AGI_BODY_STOP_NOTICE};
	struct agi_buf b;

	(void)agi_latch_told(&s->latch, r);
	audit_stop(s);
	agi_buf_init(&b, 0);
	agi_stop_encode(&b, r);
	m.request = agi_buf_str(&b);
	if (!b.err && r->is_stopped) {
		tell_service(s, AGI_STR("safety-gateway"), &m);
		tell_service(s, AGI_STR("in-action"), &m);
	}
	agi_buf_free(&b);
}

const struct agi_latch *agi_safety_plane_latch(const struct agi_safety_plane *s) { return &s->latch; }

/* --- messages that arrive ---------------------------------------------------------------------------- */
/* The questions that take long, and answers to them. */
static void judge(struct agi_safety_plane *s, const struct agi_peer *from, const struct agi_safety_msg *m)
{
	if (m->kind == AGI_BODY_VOTE_REQUEST)
		vote_on_request(s, from, m);
	else if (m->kind == AGI_BODY_EVAL_REQUEST)
		eval_on_request(s, from, m);
	else
		vote_on_eval_reply(s, &from->id, m);
}

/* A message that waits for its turn. */
struct waiting {
	struct safety_work work;
	struct agi_safety_plane *plane;
	struct agi_peer from;
	struct agi_pool pool; /* of the strings */
	struct agi_safety_msg m;
	uint64_t came_us;
};

static void waiting_free(struct safety_work *work)
{
	struct waiting *w = (struct waiting *)work;

	agi_pool_free(&w->pool);
	free(w);
}

static void waiting_run(struct safety_work *work)
{
	struct waiting *w = (struct waiting *)work;
	uint64_t waited_ms = (safety_mono_us() - w->came_us) / 1000;
	uint32_t budget_ms = w->m.kind == AGI_BODY_VOTE_REQUEST ? w->m.budget_ms : w->plane->timeout_ms;

	if (waited_ms < budget_ms) {
		if (w->m.budget_ms)
			w->m.budget_ms -= (uint32_t)waited_ms;
		judge(w->plane, &w->from, &w->m);
	} /* else whoever asked has blocked already */
	waiting_free(work);
}

static void judge_later(struct agi_safety_plane *s, const struct agi_peer *from, const struct agi_safety_msg *m)
{
	struct waiting *w = calloc(1, sizeof *w);

	if (!w)
		return; /* no answer is BLOCK */
	agi_pool_init(&w->pool, 0);
	w->work = (struct safety_work){.run = waiting_run, .drop = waiting_free};
	w->work.bytes = sizeof *w + m->request.n + m->response.n;
	w->plane = s;
	w->from = *from;
	w->came_us = safety_mono_us();
	w->m = *m;
	w->m.nonce = agi_pool_copy(&w->pool, m->nonce);
	w->m.plan_hash = agi_pool_copy(&w->pool, m->plan_hash);
	w->m.request = agi_pool_copy(&w->pool, m->request);
	w->m.response = agi_pool_copy(&w->pool, m->response);
	w->m.error = agi_pool_copy(&w->pool, m->error);
	w->m.statement = agi_pool_copy(&w->pool, m->statement);
	if (w->pool.err || safety_later_add(&s->later, &w->work))
		waiting_free(&w->work);
}

static bool is_long(const struct agi_safety_msg *m)
{
	return m->request.n + m->response.n > SAFETY_LONG_BYTES;
}

void agi_safety_plane_on_message(struct agi_safety_plane *s, const struct agi_peer *from,
                                 const struct agi_envelope *env)
{
	struct agi_safety_msg m;

	if (agi_safety_msg_decode(env, &m, NULL))
		return; /* whoever waits for an answer gets none and blocks */
	switch (m.kind) {
	case AGI_BODY_VOTE_REQUEST:
	case AGI_BODY_EVAL_REQUEST:
	case AGI_BODY_EVAL_REPLY:
		if (is_long(&m))
			judge_later(s, from, &m);
		else
			judge(s, from, &m);
		break;
	case AGI_BODY_VOTE_REPLY:
		if (!canary_on_reply(s, &from->id, &m))
			check_on_vote_reply(s, &from->id, &m);
		break;
	case AGI_BODY_STOP_NOTICE:
		on_stop_notice(s, &m);
		break;
	case AGI_BODY_POLICY_NOTICE:
		policy_on_notice(s, from, &m);
		break;
	case AGI_BODY_POLICY_ACK:
		policy_on_ack(s, &from->id, &m);
		break;
	case AGI_BODY_AUDIT_APPEND:
		audit_on_append(s, from, &m);
		break;
	case AGI_BODY_AUDIT_ACK:
		audit_on_ack(s, &from->id, &m);
		break;
	default:
		break;
	}
}

void agi_safety_plane_on_unreachable(struct agi_safety_plane *s, const struct agi_id *peer)
{
	check_on_unreachable(s, peer, 0);
	vote_on_unreachable(s, peer);
	audit_on_unreachable(s, peer);
}

static void on_sign(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	vote_sign_all(arg);
}

/* --- life ------------------------------------------------------------------------------------------- */
static bool has_role(const struct agi_config *c, const char *role)
{
	for (size_t i = 0; i < c->node.roles.n; i++)
		if (strcmp(c->node.roles.v[i], role) == 0)
			return true;
	return false;
}

static enum agi_err configured(const struct agi_config *c, const struct agi_safety_plane *s, struct agi_policy **out)
{
	const struct agi_config_list *tools = &c->safety.banned_tools;
	struct agi_policy p = {.quorum = c->safety.quorum,
	                       .quorum_rule = (enum agi_quorum_rule)c->safety.quorum_rule,
	                       .byzantine_faults = c->safety.byzantine_faults};
	struct agi_gateway_policy *r = &p.rules;
	struct agi_str *banned = calloc(tools->n + 1, sizeof *banned);
	enum agi_err e;

	if (!banned)
		return AGI_E_NOMEM;
	agi_gateway_policy_default(r);
	r->rule_set = s->rules;
	r->eval.profiles = s->profiles;
	for (size_t i = 0; i < tools->n; i++)
		banned[i] = agi_str_of(tools->v[i]);
	r->banned = banned;
	r->n_banned = tools->n;
	r->bond_index_warn = c->thresholds.bond_index_warn;
	r->bond_index_block = c->thresholds.bond_index_block;
	r->bond_index_fallback = c->failsafe.bond_index_fallback;
	r->bond_index_action = c->safety.bond_index_action == AGI_BOND_REVISE ? AGI_DECISION_REVISE
	                                                                      : AGI_DECISION_BLOCK;
	r->eval.mode = c->safety.evaluation == AGI_EVALUATION_REFERENCE ? AGI_EVAL_REFERENCE : AGI_EVAL_STRICT;
	r->eval.physical_harm_threshold = c->thresholds.physical_harm_threshold;
	r->eval.profile_name = agi_str_of(c->safety.profile);
	e = agi_policy_new(&p, out);
	free(banned);
	return e;
}

static enum agi_err take_policy(struct agi_safety_plane *s, const struct agi_config *c, struct agi_why *why)
{
	struct agi_policy *p;
	enum agi_err e = agi_rule_file_of(c, &s->rules, why);

	if (!e)
		e = agi_profile_dir_of(c, &s->profiles, why);
	if (!e)
		e = configured(c, s, &p);
	if (e)
		return e;
	if (p->quorum < 1 || p->quorum > AGI_PANEL_MAX)
		e = agi_fail(why, AGI_E_INVALID, "safety.quorum: %u, expected 1..%d", p->quorum, AGI_PANEL_MAX);
	else if (!p->needed)
		e = agi_fail(why, AGI_E_INVALID, "safety.quorum: %u, too few for %u byzantine_faults", p->quorum,
		             p->byzantine_faults);
	else
		e = agi_policy_view_init(&s->policy, p);
	agi_policy_drop(p);
	if (!e)
		s->erisml.policy = s->policy.known->rules.eval;
	return e;
}

static enum agi_err open_erisml_channel(struct agi_safety_plane *s, const struct agi_config *c,
                                        struct agi_why *why)
{
	const struct agi_endpoint *e = &c->gateway.erisml_address;
	char target[AGI_ADDRESS_MAX + 24];

	if (!e->host[0])
		return AGI_OK;
	snprintf(target, sizeof target, strchr(e->host, ':') ? "%s[%s]:%u" : "%s%s:%u",
	         c->gateway.erisml_tls == AGI_SWITCH_ON ? "tls://" : "", e->host, e->port);
	return agi_grpc_channel_new(s->base, target, &s->erisml_channel, why);
}

void agi_safety_plane_set_credentials(struct agi_safety_plane *s, const struct agi_tls_client *tls,
                                      const char *token)
{
	if (!s->erisml_channel)
		return;
	agi_grpc_channel_set_tls(s->erisml_channel, tls);
	if (agi_grpc_channel_set_token(s->erisml_channel, token))
		(void)!agi_grpc_channel_set_token(s->erisml_channel, NULL); /* it will be refused, and so said */
}

enum agi_err agi_safety_plane_new(struct event_base *base, const struct agi_config *config,
                                  const struct agi_safety_self *self, const struct agi_safety_hooks *hooks,
                                  void *ctx, struct agi_safety_plane **out, struct agi_why *why)
{
	struct agi_safety_plane *s = calloc(1, sizeof *s);
	enum agi_err err;

	if (!s)
		return agi_fail(why, AGI_E_NOMEM, "safety plane: out of memory");
	s->base = base;
	s->self = *self;
	s->hooks = *hooks;
	s->ctx = ctx;
	s->serves_gateway = has_role(config, "safety-gateway");
	s->serves_erisml = has_role(config, "erisml");
	agi_proof_runs_init(&s->proofs);
	s->erisml.chain.kept = &s->proofs;
	s->timeout_ms = config->failsafe.safety_check_timeout_ms;
	s->hedge_ms = s->timeout_ms / 4; /* late enough to be rare, early enough for a spare to vote */
	LIST_INIT(&s->checks);
	LIST_INIT(&s->votes);
	LIST_INIT(&s->reports);
	LIST_INIT(&s->policy_rounds);
	STAILQ_INIT(&s->locals);
	STAILQ_INIT(&s->signing);
	err = take_policy(s, config, why);
	if (!err)
		err = open_erisml_channel(s, config, why);
	if (!err)
		err = safety_later_init(&s->later, base);
	s->local_event = err ? NULL : event_new(base, -1, 0, on_local, s);
	s->sign_event = err ? NULL : event_new(base, -1, 0, on_sign, s);
	if (!err && (!s->local_event || !s->sign_event))
		err = AGI_E_NOMEM;
	if (err)
		agi_safety_plane_free(s);
	else
		*out = s;
	return err;
}

void agi_safety_plane_free(struct agi_safety_plane *s)
{
	struct local *l;

	if (!s)
		return;
	agi_grpc_channel_free(s->erisml_channel); /* its callbacks still find the votes */
	s->erisml_channel = NULL;
	check_free_all(s);
	vote_free_all(s);
	outcome_free_all(s);
	canary_free(s);
	audit_free(s);
	while ((l = STAILQ_FIRST(&s->locals))) {
		STAILQ_REMOVE_HEAD(&s->locals, link);
		local_free(s, l);
	}
	if (s->local_event)
		event_free(s->local_event);
	safety_later_free(&s->later);
	if (s->sign_event)
		event_free(s->sign_event);
	agi_proof_runs_free(&s->proofs);
	policy_free(s);
	agi_rules_free(s->rules);
	agi_profiles_free(s->profiles);
	free(s);
}

void agi_safety_plane_status(const struct agi_safety_plane *s, struct agi_safety_status *out)
{
	const struct agi_policy *p = s->policy.known;

	*out = (struct agi_safety_status){.mode = p->rules.eval.mode,
	                                  .serves_gateway = s->serves_gateway,
	                                  .serves_erisml = s->serves_erisml,
	                                  .quorum = p->quorum,
	                                  .needed = p->needed,
	                                  .timeout_ms = s->timeout_ms,
	                                  .checks = s->n_checks,
	                                  .votes = s->n_votes,
	                                  .proofs = s->erisml.chain.length};
}
