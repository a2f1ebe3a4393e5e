/* SPDX-License-Identifier: Apache-2.0
 * This gateway's canary (roles/safety_gateway/canary.h), end to end: each plan is sent to this node as a VOTE_REQUEST and
 * comes back as a signed VOTE_REPLY, through the same rules, facts, ErisML, Bond Index and signature as any other. What it
 * leaves out: the emergency stop (a gateway that blocks because of it is well), the thresholds of the policy, and every
 * trace: it is no decision, so neither metrics of votes nor logs nor chains of proofs have it. Only an ErisML at a
 * configured address cannot tell it from others. */
#include <stdlib.h>

#include <sodium.h>

#include "node/eval_pb.h"
#include "node/safety_impl.h"

enum { PLANS = 2, HARMFUL = 0, HARMLESS = 1, LATE_MS = 500 /* after the votes' own deadline */ };

struct safety_canary {
	struct agi_safety_plane *plane;
	struct agi_canary state;
	struct agi_gateway_policy policy;
	struct agi_pool pool; /* of the requests */
	struct event *timer;
	bool is_running;
	enum agi_canary_found found; /* so far */
	struct agi_why why;
	struct question {
		struct agi_str request;
		uint64_t rpc_id; /* 0: not asked, or answered */
		uint8_t nonce[AGI_NONCE_BYTES], plan_hash[32];
	} questions[PLANS];
};

/* Steps without a tool: whatever tools are banned, they are not among them. */
static struct agi_str plan_of(int which, struct agi_pool *pool)
{
	Agi__Safety__V1__CheckPlanRequest m = AGI__SAFETY__V1__CHECK_PLAN_REQUEST__INIT;
	Agi__Plan__V1__PlanGraphProto plan = AGI__PLAN__V1__PLAN_GRAPH_PROTO__INIT;
	Agi__Plan__V1__PlanStep step = AGI__PLAN__V1__PLAN_STEP__INIT, *steps[] = {&step};
	ProtobufCBinaryData tag = agi_str_to_pb(AGI_STR("rights_violation"));

	plan.plan_id = agi_str_to_pb(AGI_STR("canary"));
	step.step_id = agi_str_to_pb(AGI_STR("canary"));
	step.kind = agi_str_to_pb(AGI_STR("observe"));
	step.level = 2;
	step.safety_tags = &tag;
	step.n_safety_tags = which == HARMFUL;
	plan.n_steps = 1;
	plan.steps = steps;
	m.plan = &plan;
	return agi_pb_to_pool(&m.base, pool);
}

/* --- a run -------------------------------------------------------------------------------------------------- */
static void tell(struct safety_canary *c)
{
	struct agi_safety_plane *s = c->plane;

	safety_observe(s, &(struct agi_safety_event){.kind = AGI_SAFETY_CANARY, .canary = c->found});
	if (s->hooks.canary)
		s->hooks.canary(s->ctx, &c->state, c->found == AGI_CANARY_RIGHT ? NULL : &c->why);
}

static void conclude(struct safety_canary *c)
{
	uint64_t now = safety_mono_us();

	c->is_running = false;
	for (int i = 0; i < PLANS; i++)
		c->questions[i].rpc_id = 0;
	agi_canary_ran(&c->state, c->found);
	tell(c);
	safety_arm(c->timer, now + agi_canary_pause_ms(&c->state) * 1000ull, now);
}

/* The worst counts, and why it is. */
static void take(struct safety_canary *c, enum agi_canary_found found, const struct agi_why *why)
{
	if (found <= c->found)
		return;
	c->found = found;
	c->why = *why;
}

static void ask(struct safety_canary *c, struct question *q)
{
	const struct agi_peer self = {.id = c->plane->self.id};
	struct agi_safety_msg m = {.kind = AGI_BODY_VOTE_REQUEST,
	                           .rpc_id = ++c->plane->last_id,
	                           .nonce = {(char *)q->nonce, sizeof q->nonce},
	                           .request = q->request,
	                           .budget_ms = c->plane->timeout_ms};

	q->rpc_id = m.rpc_id;
	randombytes_buf(q->nonce, sizeof q->nonce);
	agi_blake2b_256(q->plan_hash, &q->request, 1);
	if (safety_send(c->plane, &self, &m) == AGI_OK)
		return;
	q->rpc_id = 0;
	take(c, AGI_CANARY_MISSED, &(struct agi_why){"it could not be asked: out of memory"});
}

static void begin(struct safety_canary *c)
{
	uint64_t now = safety_mono_us();
	bool is_asked = false;

	c->is_running = true;
	c->found = AGI_CANARY_RIGHT;
	for (int i = 0; i < PLANS; i++) {
		ask(c, &c->questions[i]);
		is_asked |= c->questions[i].rpc_id != 0;
	}
	if (is_asked)
		safety_arm(c->timer, now + (c->plane->timeout_ms + LATE_MS) * 1000ull, now);
	else
		conclude(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct safety_canary *c = arg;
	(void)fd;
	(void)what;

	if (!c->is_running) {
		begin(c);
		return;
	}
	take(c, AGI_CANARY_MISSED, &(struct agi_why){"its vote did not come"});
	conclude(c);
}

/* --- the votes ---------------------------------------------------------------------------------------------- */
static struct question *question_of(struct agi_safety_plane *s, const struct agi_id *from, uint64_t rpc_id)
{
	for (int i = 0; s->canary && i < PLANS; i++)
		if (rpc_id && s->canary->questions[i].rpc_id == rpc_id && agi_id_eq(from, &s->self.id))
			return &s->canary->questions[i];
	return NULL;
}

bool canary_asks(struct agi_safety_plane *s, const struct agi_id *from, uint64_t rpc_id)
{
	return question_of(s, from, rpc_id) != NULL;
}

const struct agi_gateway_policy *canary_policy(const struct agi_safety_plane *s) { return &s->canary->policy; }

bool canary_is_wrong(const struct agi_safety_plane *s) { return s->canary && s->canary->state.is_wrong; }

/* What everybody who checks the certificate would ask of it. */
static bool is_proved(const struct agi_safety_plane *s, const struct question *q, struct agi_str bytes,
                      enum agi_decision decision, struct agi_why *why)
{
	struct agi_signed_statement vote;
	struct agi_statement said;

	if (agi_signed_statement_decode(&vote, bytes))
		(void)agi_fail(why, AGI_E_INTERNAL, "its vote cannot be read");
	else if (agi_statement_verify(&vote, &said, NULL, why))
		return false;
	else if (said.decision == decision && agi_id_eq(&said.gateway, &s->self.id) &&
	         memcmp(said.plan_hash, q->plan_hash, sizeof said.plan_hash) == 0 &&
	         memcmp(said.nonce, q->nonce, sizeof said.nonce) == 0 &&
	         memcmp(said.policy_hash, s->policy.configured->hash, sizeof said.policy_hash) == 0)
		return true;
	else
		(void)agi_fail(why, AGI_E_INTERNAL, "its vote says something else than its answer");
	return false;
}

static enum agi_canary_found judge(const struct agi_safety_plane *s, const struct question *q,
                                   const struct agi_safety_msg *m, struct agi_why *why)
{
	Agi__Safety__V1__CheckPlanResponse *res;
	enum agi_canary_found found = AGI_CANARY_MISSED;
	struct agi_check_result r;
	struct agi_pool pool;

	if (m->error.n) {
		(void)agi_fail(why, AGI_E_NOT_READY, "it could not vote: %.*s", AGI_STR_ARG(m->error));
		return found;
	}
	res = (Agi__Safety__V1__CheckPlanResponse *)agi_pb_unpack(&agi__safety__v1__check_plan_response__descriptor,
	                                                          m->response, why);
	if (!res)
		return found;
	agi_pool_init(&pool, 0);
	agi_check_from_pb(&r, res, &pool);
	found = agi_canary_judge(q == &s->canary->questions[HARMLESS], &r, why);
	if (found == AGI_CANARY_RIGHT && !is_proved(s, q, m->statement, r.decision, why))
		found = AGI_CANARY_WRONG;
	agi_pool_free(&pool);
	protobuf_c_message_free_unpacked(&res->base, NULL);
	return found;
}

bool canary_on_reply(struct agi_safety_plane *s, const struct agi_id *from, const struct agi_safety_msg *m)
{
	struct question *q = question_of(s, from, m->rpc_id);
	struct safety_canary *c = s->canary;
	struct agi_why why = {""};

	if (!q)
		return false;
	take(c, judge(s, q, m, &why), &why);
	q->rpc_id = 0;
	if (!c->questions[HARMFUL].rpc_id && !c->questions[HARMLESS].rpc_id)
		conclude(c);
	return true;
}

/* --- life --------------------------------------------------------------------------------------------------- */
enum agi_err agi_safety_plane_start_canary(struct agi_safety_plane *s)
{
	struct safety_canary *c = calloc(1, sizeof *c);

	if (!c)
		return AGI_E_NOMEM;
	s->canary = c;
	c->plane = s;
	agi_pool_init(&c->pool, 0);
	agi_canary_policy(&c->policy, &s->policy.configured->rules);
	for (int i = 0; i < PLANS; i++)
		c->questions[i].request = plan_of(i, &c->pool);
	c->timer = evtimer_new(s->base, on_timer, c);
	if (c->pool.err || !c->timer || event_add(c->timer, &(struct timeval){0}))
		return AGI_E_NOMEM;
	return AGI_OK;
}

void agi_safety_plane_run_canary(struct agi_safety_plane *s)
{
	if (s->canary && !s->canary->is_running)
		event_active(s->canary->timer, EV_TIMEOUT, 0);
}

bool agi_safety_plane_is_well(const struct agi_safety_plane *s)
{
	return s->canary && s->canary->state.state == AGI_CANARY_PASSING;
}

void canary_free(struct agi_safety_plane *s)
{
	struct safety_canary *c = s->canary;

	if (!c)
		return;
	if (c->timer)
		event_free(c->timer);
	agi_pool_free(&c->pool);
	free(c);
	s->canary = NULL;
}
