/* SPDX-License-Identifier: Apache-2.0
 * This node's gateway: one vote from request to reply.
 *
 *   VoteRequest ─► rules ─ decided ────────────────────────► VoteReply
 *                    └ ErisML: configured address │ here │ nearest instance, the next when it fails ─►
 *                                                              answer, failure or deadline ─► VoteReply */
#include <stdio.h>
#include <stdlib.h>

#include "node/safety_impl.h"

struct vote {
	LIST_ENTRY(vote) link;
	STAILQ_ENTRY(vote) signing; /* once it was cast */
	bool is_cast, is_canary;
	struct agi_signed_statement statement;
	struct agi_str response;
	struct agi_safety_plane *plane;
	struct agi_peer from;
	uint64_t rpc_id;    /* of the request */
	uint64_t eval_id;   /* of what was asked of ErisML; 0 = nothing is awaited */
	uint8_t nonce[AGI_NONCE_BYTES], plan_hash[32];
	uint64_t began_us, deadline_us;
	struct event *timer;
	struct agi_pool pool;
	Agi__Safety__V1__CheckPlanRequest *request;
	struct agi_policy *policy; /* it is judged by */
	struct agi_plan plan;
	struct agi_gateway_check check;
	struct agi_peer erismls[SAFETY_ERISMLS]; /* nearest first */
	size_t n_erismls, erisml;                /* erisml: the one that is asked */
};

/* --- ending ------------------------------------------------------------------------------------------- */
static void vote_free(struct vote *v)
{
	if (v->is_cast)
		STAILQ_REMOVE(&v->plane->signing, v, vote, signing);
	else
		LIST_REMOVE(v, link);
	v->plane->n_votes--;
	if (v->timer)
		event_free(v->timer);
	agi_pool_free(&v->pool);
	if (v->request)
		protobuf_c_message_free_unpacked(&v->request->base, NULL);
	agi_policy_drop(v->policy);
	free(v);
}

static void send_reply(struct agi_safety_plane *s, const struct agi_peer *to, struct agi_safety_msg *m)
{
	m->kind = AGI_BODY_VOTE_REPLY;
	if (safety_send(s, to, m)) {
		/* the router's deadline counts this vote as missing */
	}
}

static struct agi_str serialize(struct vote *v, const struct agi_check_result *r)
{
	struct agi_pair latency = {AGI_STR("latency_ms"),
	                           agi_pool_printf(&v->pool, "%.2f",
	                                           (double)(safety_mono_us() - v->began_us) / 1e3)};
	bool is_told = v->policy->rules.eval.mode == AGI_EVAL_STRICT ||
	               r->decision == AGI_DECISION_ALLOW;
	Agi__Safety__V1__CheckPlanResponse *res = agi_check_to_pb(r, &latency, is_told, &v->pool);

	return res ? agi_pb_to_pool(&res->base, &v->pool) : (struct agi_str){"", 0};
}

/* OK, or why nothing may be let pass now: the cluster is stopped, or may be; the policy that the plan was judged by is not
 * the one in force, or may not be; or this gateway is not well. */
static enum agi_check_cause obstacle(const struct vote *v)
{
	uint64_t now = safety_mono_us();
	enum agi_stop stop = agi_latch_state(&v->plane->latch, now);
	const struct agi_policy *in_force = agi_policy_in_force(&v->plane->policy, now);

	if (v->is_canary)
		return AGI_CHECK_OK; /* nobody acts on it */
	if (stop != AGI_STOP_CLEAR)
		return stop == AGI_STOP_SET ? AGI_CHECK_EMERGENCY_STOP : AGI_CHECK_STOP_STATE_UNKNOWN;
	if (in_force == v->policy)
		return canary_is_wrong(v->plane) ? AGI_CHECK_CANARY_FAILED : AGI_CHECK_OK;
	return in_force ? AGI_CHECK_POLICY_MISMATCH : AGI_CHECK_POLICY_STATE_UNKNOWN;
}

/* Whatever was found: while something is in the way, the vote is BLOCK. */
static const struct agi_check_result *unless_blocked(struct vote *v, const struct agi_check_result *r,
                                                     struct agi_check_result *blocked)
{
	enum agi_check_cause cause = obstacle(v);

	if (cause == AGI_CHECK_OK)
		return r;
	agi_check_block(blocked, cause);
	return blocked;
}

static void make_statement(struct vote *v, const struct agi_check_result *r)
{
	struct agi_safety_plane *s = v->plane;
	struct agi_statement said = {.decision = r->decision,
	                             .risk = r->risk,
	                             .bond_index = r->has_bond ? r->bond.index : -1.0,
	                             .policy_epoch = v->policy->epoch,
	                             .stop_epoch = s->latch.known.epoch,
	                             .gateway = s->self.id,
	                             .incarnation = s->self.incarnation,
	                             .at_ms = safety_wall_us() / 1000};

	memcpy(said.plan_hash, v->plan_hash, sizeof said.plan_hash);
	memcpy(said.nonce, v->nonce, sizeof said.nonce);
	memcpy(said.policy_hash, v->policy->hash, sizeof said.policy_hash);
	agi_statement_encode(v->statement.bytes, &said);
}

static void send_vote(struct vote *v)
{
	struct agi_safety_msg m = {.rpc_id = v->rpc_id,
	                           .nonce = {(char *)v->nonce, sizeof v->nonce},
	                           .plan_hash = {(char *)v->plan_hash, sizeof v->plan_hash},
	                           .response = v->response};
	struct agi_buf b;

	agi_buf_init(&b, 0);
	agi_signed_statement_encode(&b, &v->statement);
	m.statement = agi_buf_str(&b);
	if (!m.response.n || v->pool.err || b.err)
		m = (struct agi_safety_msg){.rpc_id = v->rpc_id, .error = AGI_STR("out of memory")};
	send_reply(v->plane, &v->from, &m);
	agi_buf_free(&b);
}

void vote_sign_all(struct agi_safety_plane *s)
{
	struct agi_signed_statement *batch[AGI_STATEMENT_BATCH];
	struct vote *v;
	size_t n = 0;

	STAILQ_FOREACH(v, &s->signing, signing) {
		if (n == AGI_STATEMENT_BATCH)
			break;
		batch[n++] = &v->statement;
	}
	if (n)
		agi_statements_sign(batch, n, s->self.seckey);
	while (n-- > 0) {
		v = STAILQ_FIRST(&s->signing);
		send_vote(v);
		vote_free(v);
	}
	if (!STAILQ_EMPTY(&s->signing))
		event_active(s->sign_event, EV_TIMEOUT, 0);
}

/* Casts the vote: it is signed with the others of this turn of the loop, sent and forgotten. */
static void conclude(struct vote *v, const struct agi_check_result *found)
{
	struct agi_check_result blocked;
	const struct agi_check_result *r = unless_blocked(v, found, &blocked);
	struct agi_safety_plane *s = v->plane;

	make_statement(v, r);
	v->response = serialize(v, r);
	v->eval_id = 0; /* nothing is awaited any more */
	if (v->timer)
		event_del(v->timer);
	LIST_REMOVE(v, link);
	v->is_cast = true;
	STAILQ_INSERT_TAIL(&s->signing, v, signing);
	event_active(s->sign_event, EV_TIMEOUT, 0);
	if (v->is_canary)
		return;
	safety_observe(s, &(struct agi_safety_event){.kind = AGI_SAFETY_VOTED,
	                                             .decision = r->decision,
	                                             .check_cause = r->cause,
	                                             .bond_index = r->has_bond ? r->bond.index : -1.0,
	                                             .took_us = safety_mono_us() - v->began_us});
}

static void conclude_failed(struct vote *v, enum agi_check_cause cause, const char *detail)
{
	struct agi_check_result r;

	agi_gateway_fail(&v->check, cause, detail, &r);
	conclude(v, &r);
}

static void conclude_answered(struct vote *v, const Agi__Erisml__V1__EvaluatePlanResponse *m)
{
	struct agi_check_result r;
	struct agi_plan_eval eval;

	agi_plan_eval_from_pb(&eval, m, &v->pool);
	agi_gateway_finish(&v->check, &eval, &r);
	conclude(v, &r);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	conclude_failed(arg, AGI_CHECK_ERISML_TIMEOUT, NULL);
}

/* --- ErisML at a configured address --------------------------------------------------------------------- */
struct remote_eval {
	struct agi_safety_plane *plane;
	uint64_t eval_id;
};

static struct vote *find_eval(struct agi_safety_plane *s, uint64_t eval_id)
{
	struct vote *v;

	LIST_FOREACH(v, &s->votes, link)
		if (eval_id && v->eval_id == eval_id)
			return v;
	return NULL;
}

/* "UNAVAILABLE: cannot connect to …", for whoever reads why the plan was blocked. */
static void conclude_refused(struct vote *v, const struct agi_grpc_result *res)
{
	const char *name = agi_grpc_status_name(res->status);
	char detail[512];

	snprintf(detail, sizeof detail, "%s: %.*s", name, AGI_STR_ARG(res->message));
	if (!agi_utf8_is_valid(agi_str_of(detail))) /* it goes into an answer */
		snprintf(detail, sizeof detail, "%s", name);
	conclude_failed(v, AGI_CHECK_ERISML_UNAVAILABLE, detail);
}

static void on_channel_answer(void *arg, const struct agi_grpc_result *res)
{
	struct remote_eval *r = arg;
	struct vote *v = find_eval(r->plane, r->eval_id);

	free(r);
	if (!v)
		return;
	if (res->status == AGI_GRPC_OK && res->res)
		conclude_answered(v, (const Agi__Erisml__V1__EvaluatePlanResponse *)res->res);
	else if (res->status == AGI_GRPC_DEADLINE_EXCEEDED)
		conclude_failed(v, AGI_CHECK_ERISML_TIMEOUT, NULL);
	else
		conclude_refused(v, res);
}

static void ask_channel(struct vote *v, Agi__Erisml__V1__EvaluatePlanRequest *req)
{
	struct remote_eval *r = calloc(1, sizeof *r);
	uint64_t now = safety_mono_us();
	uint32_t left_ms = v->deadline_us > now ? (uint32_t)((v->deadline_us - now) / 1000) : 0;

	if (!r) {
		conclude_failed(v, AGI_CHECK_OUT_OF_MEMORY, NULL);
		return;
	}
	*r = (struct remote_eval){v->plane, v->eval_id};
	req->generate_proofs = !v->is_canary;
	if (agi_grpc_unary(v->plane->erisml_channel, "/agi.erisml.v1.ErisMLService/EvaluatePlan",
	                   &req->base, &agi__erisml__v1__evaluate_plan_response__descriptor,
	                   left_ms ? left_ms : 1, on_channel_answer, r)) {
		free(r);
		conclude_failed(v, AGI_CHECK_ERISML_UNAVAILABLE, "out of memory");
	}
}

/* --- ErisML as the overlay knows it ----------------------------------------------------------------------- */
static void find_erismls(struct vote *v)
{
	struct agi_instance found[4 * SAFETY_ERISMLS]; /* a host may have several; it is asked once */
	size_t n = v->plane->hooks.instances(v->plane->ctx, AGI_STR("erisml"), found,
	                                     sizeof found / sizeof *found);

	for (size_t i = 0; i < n && v->n_erismls < SAFETY_ERISMLS; i++) {
		bool is_known = false;

		for (size_t k = 0; k < v->n_erismls; k++)
			is_known |= agi_id_eq(&v->erismls[k].id, &found[i].node);
		if (!is_known)
			v->erismls[v->n_erismls++] =
			    (struct agi_peer){found[i].node, found[i].provider->node_addr};
	}
}

/* Asks the nearest that was not tried; the vote may be over after this. */
static void ask_next(struct vote *v, struct agi_str request)
{
	struct agi_safety_msg m = {
	    .kind = AGI_BODY_EVAL_REQUEST, .rpc_id = v->eval_id, .request = request, .is_canary = v->is_canary};

	for (; v->erisml < v->n_erismls; v->erisml++)
		if (safety_send(v->plane, &v->erismls[v->erisml], &m) == AGI_OK)
			return;
	conclude_failed(v, AGI_CHECK_ERISML_UNAVAILABLE,
	                v->n_erismls ? NULL : "no healthy instance is known");
}

static Agi__Erisml__V1__EvaluatePlanRequest *question(struct vote *v)
{
	return agi_plan_facts_to_pb(v->check.facts, v->plan.n_steps,
	                            v->policy->rules.eval.profile_name, &v->pool);
}

static void try_next(struct vote *v)
{
	Agi__Erisml__V1__EvaluatePlanRequest *req;

	v->erisml++;
	req = question(v);
	if (req)
		ask_next(v, agi_pb_to_pool(&req->base, &v->pool));
	else
		conclude_failed(v, AGI_CHECK_OUT_OF_MEMORY, NULL);
}

static void ask_elsewhere(struct vote *v)
{
	Agi__Erisml__V1__EvaluatePlanRequest *req = question(v);
	struct agi_str bytes = req ? agi_pb_to_pool(&req->base, &v->pool) : (struct agi_str){"", 0};

	v->timer = evtimer_new(v->plane->base, on_timer, v);
	if (!req || v->pool.err || !v->timer) {
		conclude_failed(v, AGI_CHECK_OUT_OF_MEMORY, NULL);
		return;
	}
	safety_arm(v->timer, v->deadline_us, safety_mono_us());
	v->eval_id = ++v->plane->last_id;
	if (v->plane->erisml_channel) {
		ask_channel(v, req);
		return;
	}
	find_erismls(v);
	ask_next(v, bytes);
}

static void ask_erisml(struct vote *v)
{
	struct agi_why why = {{0}};
	struct agi_check_result r;
	struct agi_plan_eval eval;

	if (v->plane->erisml_channel || !v->plane->serves_erisml) {
		ask_elsewhere(v);
		return;
	}
	if (eval_here(v->plane, v->is_canary, v->check.facts, v->plan.n_steps, v->policy->rules.eval.profile_name,
	              &v->pool, &eval, &why)) {
		conclude_failed(v, AGI_CHECK_ERISML_UNAVAILABLE, why.text);
		return;
	}
	agi_gateway_finish(&v->check, &eval, &r);
	conclude(v, &r);
}

/* --- events ------------------------------------------------------------------------------------------- */
static void refuse(struct agi_safety_plane *s, const struct agi_peer *from,
                   const struct agi_safety_msg *m, struct agi_str why)
{
	send_reply(s, from, &(struct agi_safety_msg){.rpc_id = m->rpc_id, .error = why});
}

static struct vote *vote_new(struct agi_safety_plane *s, const struct agi_peer *from,
                             const struct agi_safety_msg *m, bool is_canary)
{
	struct vote *v = calloc(1, sizeof *v);
	uint32_t budget_ms = m->budget_ms < s->timeout_ms ? m->budget_ms : s->timeout_ms;

	if (!v)
		return NULL;
	v->plane = s;
	v->from = *from;
	v->is_canary = is_canary;
	v->policy = agi_policy_hold(is_canary ? s->policy.configured : s->policy.known);
	v->rpc_id = m->rpc_id;
	memcpy(v->nonce, m->nonce.p, sizeof v->nonce);
	agi_blake2b_256(v->plan_hash, &m->request, 1);
	v->began_us = safety_mono_us();
	/* A tenth of the time left is for the way back: a BLOCK with its reason beats silence. */
	v->deadline_us = v->began_us + (uint64_t)budget_ms * 900;
	agi_pool_init(&v->pool, 0);
	LIST_INSERT_HEAD(&s->votes, v, link);
	s->n_votes++;
	return v;
}

void vote_on_request(struct agi_safety_plane *s, const struct agi_peer *from,
                     const struct agi_safety_msg *m)
{
	bool is_canary = canary_asks(s, &from->id, m->rpc_id);
	struct agi_check_result r;
	struct vote *v = NULL;

	if (!s->serves_gateway)
		refuse(s, from, m, AGI_STR("this node does not serve safety-gateway"));
	else if (m->nonce.n != AGI_NONCE_BYTES)
		refuse(s, from, m, AGI_STR("nonce: expected 16 bytes"));
	else if ((s->n_votes >= SAFETY_VOTES_MAX && !is_canary) || !(v = vote_new(s, from, m, is_canary)))
		refuse(s, from, m, AGI_STR("too many votes at once"));
	if (!v)
		return;
	v->request = (Agi__Safety__V1__CheckPlanRequest *)agi_pb_unpack(
	    &agi__safety__v1__check_plan_request__descriptor, m->request, NULL);
	if (!v->request) {
		refuse(s, from, m, AGI_STR("the request cannot be read"));
		vote_free(v);
		return;
	}
	agi_plan_from_pb(&v->plan, v->request->plan, &v->pool);
	if (agi_gateway_begin(&v->check, is_canary ? canary_policy(s) : &v->policy->rules, &v->plan, &v->pool, &r) ==
	    AGI_GATEWAY_DONE)
		conclude(v, &r);
	else
		ask_erisml(v);
}

void vote_on_eval_reply(struct agi_safety_plane *s, const struct agi_id *from,
                        const struct agi_safety_msg *m)
{
	struct vote *v = find_eval(s, m->rpc_id);
	Agi__Erisml__V1__EvaluatePlanResponse *res;

	if (!v || v->erisml >= v->n_erismls || !agi_id_eq(&v->erismls[v->erisml].id, from))
		return;
	if (m->error.n) {
		try_next(v);
		return;
	}
	res = (Agi__Erisml__V1__EvaluatePlanResponse *)agi_pb_unpack(
	    &agi__erisml__v1__evaluate_plan_response__descriptor, m->response, NULL);
	if (!res) {
		conclude_failed(v, AGI_CHECK_ERISML_MALFORMED, "it cannot be read");
		return;
	}
	conclude_answered(v, res);
	protobuf_c_message_free_unpacked(&res->base, NULL);
}

void vote_on_unreachable(struct agi_safety_plane *s, const struct agi_id *peer)
{
	struct vote *v, *next;

	for (v = LIST_FIRST(&s->votes); v; v = next) {
		next = LIST_NEXT(v, link);
		if (v->eval_id && v->erisml < v->n_erismls &&
		    agi_id_eq(&v->erismls[v->erisml].id, peer))
			try_next(v);
	}
}

void vote_free_all(struct agi_safety_plane *s)
{
	struct vote *v;

	while ((v = LIST_FIRST(&s->votes)))
		vote_free(v);
	while ((v = STAILQ_FIRST(&s->signing)))
		vote_free(v);
}
