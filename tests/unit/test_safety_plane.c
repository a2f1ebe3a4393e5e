/* SPDX-License-Identifier: Apache-2.0
 * Whole checks between several safety planes on one event loop; links are replaced by a queue with faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include <event2/event.h>

#include "net/loop_thread.h"
#include "node/eval_pb.h"
#include "node/safety_msg.h"
#include "node/safety_plane.h"
#include "node/safety_policy.h"

/* Not the default 100 ms: a loaded machine is late by tens of ms, and a gateway gives up only a twentieth of
 * the time before its asker does. */
enum { NODES = 5, TIMEOUT_MS = 1200 };

enum fault {
	HEALTHY,
	SILENT,       /* takes messages and never answers */
	UNREACHABLE,  /* sends to it fail at once */
	BREAKS,       /* the link breaks after the message was taken */
	LIES_NONCE,   /* its votes carry another check's nonce */
	LIES_ALLOW,   /* votes ALLOW on everything */
	GARBLES,      /* its answers are no protobuf */
	/* its statements are signed … */
	REPLAYS,      /* for another check */
	OTHER_PLAN,   /* for another plan */
	OLD_POLICY,   /* by another policy */
	OLD_STOP,     /* at another epoch of the emergency stop */
	CLOCK_OFF,    /* two minutes ago */
	FORGES,       /* not at all */
	REPEATS,      /* its vote comes again and again, BLOCK as a rule */
	NO_ROLE       /* serves nothing although it is advertised */
};

struct node {
	struct net *net;
	struct agi_id id;
	uint8_t seckey[AGI_SECKEY_BYTES];
	struct agi_safety_plane *plane;
	enum fault fault;
	unsigned votes, evaluations, notices;
	struct agi_policy_told told;
};

struct net {
	struct event_base *base;
	struct node nodes[NODES];
	struct agi_provider providers[NODES];
	size_t gateways[NODES], n_gateways; /* indices, nearest first */
	size_t erismls[NODES], n_erismls;
	/* the answer */
	bool is_done;
	unsigned answers;
	enum agi_decision decision;
	char cause[64], quorum[16], phase[32], gateways_text[256], reason[320];
	double took_ms;
	uint64_t began_us;
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* --- the network -------------------------------------------------------------------------------------- */
struct parcel {
	struct node *from, *to;
	struct agi_buf bytes;
	bool is_news; /* the link to `to` broke: tell `from` */
};

static void deliver(evutil_socket_t fd, short what, void *arg)
{
	struct parcel *p = arg;
	struct agi_peer from = {.id = p->from->id};
	struct agi_envelope env;
	(void)fd;
	(void)what;

	if (p->is_news)
		agi_safety_plane_on_unreachable(p->from->plane, &p->to->id);
	else if (agi_envelope_open(agi_buf_str(&p->bytes), &env, NULL) == AGI_OK)
		agi_safety_plane_on_message(p->to->plane, &from, &env);
	agi_buf_free(&p->bytes);
	free(p);
}

static struct node *node_of(struct net *net, const struct agi_id *id)
{
	for (size_t i = 0; i < NODES; i++)
		if (agi_id_eq(&net->nodes[i].id, id))
			return &net->nodes[i];
	return NULL;
}

static void bend_statement(const struct node *from, struct agi_str bytes, struct agi_buf *bent)
{
	struct agi_signed_statement s, *list[] = {&s};
	struct agi_statement said;

	assert_int_equal(agi_signed_statement_decode(&s, bytes), AGI_OK);
	assert_int_equal(agi_statement_verify(&s, &said, NULL, NULL), AGI_OK);
	said.nonce[0] ^= from->fault == REPLAYS;
	said.plan_hash[0] ^= from->fault == OTHER_PLAN;
	said.policy_hash[0] ^= from->fault == OLD_POLICY;
	said.stop_epoch += from->fault == OLD_STOP;
	said.at_ms -= from->fault == CLOCK_OFF ? 120000 : 0;
	agi_statement_encode(s.bytes, &said);
	agi_statements_sign(list, 1, from->seckey);
	s.sig[0] ^= from->fault == FORGES;
	agi_signed_statement_encode(bent, &s);
}

static struct agi_str constant_vote(enum fault fault, struct agi_pool *pool)
{
	Agi__Safety__V1__CheckPlanResponse vote = AGI__SAFETY__V1__CHECK_PLAN_RESPONSE__INIT;
	Agi__Safety__V1__SafetyResult result = AGI__SAFETY__V1__SAFETY_RESULT__INIT;

	result.decision = fault == LIES_ALLOW ? AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_ALLOW
	                                      : AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_BLOCK;
	vote.result = &result;
	vote.plan_approved = fault == LIES_ALLOW;
	return agi_pb_to_pool(&vote.base, pool);
}

/* What a lying node makes of its own answers. */
static void bend(struct node *from, struct agi_buf *b)
{
	struct agi_buf bent, statement;
	struct agi_safety_msg m;
	struct agi_envelope env;
	struct agi_pool pool;

	if (from->fault < LIES_NONCE || agi_envelope_open(agi_buf_str(b), &env, NULL) ||
	    agi_safety_msg_decode(&env, &m, NULL) ||
	    (m.kind != AGI_BODY_VOTE_REPLY && m.kind != AGI_BODY_EVAL_REPLY))
		return;
	agi_pool_init(&pool, 0);
	agi_buf_init(&statement, 0);
	if (from->fault == LIES_NONCE)
		m.nonce = AGI_STR("0123456789abcdef");
	if (from->fault == GARBLES)
		m.response = AGI_STR("\xff\xff\xff");
	if (from->fault == LIES_ALLOW || from->fault == REPEATS)
		m.response = constant_vote(from->fault, &pool);
	if (m.statement.n) {
		bend_statement(from, m.statement, &statement);
		m.statement = agi_buf_str(&statement);
	}
	agi_buf_init(&bent, 0);
	agi_safety_msg_encode(&bent, &m);
	agi_buf_free(b);
	*b = bent;
	agi_buf_free(&statement);
	agi_pool_free(&pool);
}

static enum agi_err on_send(void *ctx, const struct agi_peer *to, struct agi_str envelope)
{
	struct node *from = ctx;
	struct node *target = node_of(from->net, &to->id);
	unsigned copies = from->fault == REPEATS ? 3 * AGI_PANEL_CANDIDATES_MAX : 1;

	assert_non_null(target);
	assert_ptr_not_equal(from, target); /* a node's messages to itself take the short cut */
	if (target->fault == UNREACHABLE)
		return AGI_E_UNREACHABLE;
	if (target->fault == SILENT)
		return AGI_OK;
	while (copies-- > 0) {
		struct parcel *p = calloc(1, sizeof *p);

		assert_non_null(p);
		*p = (struct parcel){.from = from, .to = target, .is_news = target->fault == BREAKS};
		agi_buf_init(&p->bytes, 0);
		agi_buf_put_str(&p->bytes, envelope);
		bend(from, &p->bytes);
		event_base_once(from->net->base, -1, EV_TIMEOUT, deliver, p, NULL);
	}
	return AGI_OK;
}

static size_t on_instances(void *ctx, struct agi_str service, struct agi_instance *out, size_t max)
{
	struct net *net = ((struct node *)ctx)->net;
	bool is_gateway = agi_str_eq(service, AGI_STR("safety-gateway"));
	const size_t *list = is_gateway ? net->gateways : net->erismls;
	size_t n = is_gateway ? net->n_gateways : net->n_erismls;

	if (agi_str_eq(service, AGI_STR("in-action")))
		return 0;
	assert_true(is_gateway || agi_str_eq(service, AGI_STR("erisml")));
	for (size_t i = 0; i < n && i < max; i++)
		out[i] = (struct agi_instance){.provider = &net->providers[list[i]],
		                               .node = net->nodes[list[i]].id};
	return n < max ? n : max;
}

static void on_observe(void *ctx, const struct agi_safety_event *e)
{
	struct node *n = ctx;

	n->votes += e->kind == AGI_SAFETY_VOTED;
	n->evaluations += e->kind == AGI_SAFETY_EVALUATED;
}

static void on_noticed(void *ctx) { ((struct node *)ctx)->notices++; }

static void on_told(void *ctx, const struct agi_policy_told *t) { ((struct node *)ctx)->told = *t; }

/* --- set up ------------------------------------------------------------------------------------------- */
struct shape {
	unsigned quorum;
	size_t gateways, erismls; /* nodes 0 … gateways - 1; erismls are the last ones */
	size_t unread;            /* the first ones have not read the emergency stop */
	const char *mode;         /* NULL = strict */
	unsigned timeout_ms;      /* 0 = TIMEOUT_MS */
	enum fault faults[NODES];
};

static bool serves(size_t node, const struct shape *s, bool gateway)
{
	return gateway ? node < s->gateways : node >= NODES - s->erismls;
}

static void add_node(struct net *net, size_t i, const struct shape *s)
{
	static const struct agi_safety_hooks hooks = {.send = on_send, .instances = on_instances, .observe = on_observe,
	                                             .policy_noticed = on_noticed, .policy_told = on_told};
	const uint8_t seed[AGI_SEED_BYTES] = {(uint8_t)(i + 1)};
	struct node *n = &net->nodes[i];
	uint8_t pubkey[AGI_PUBKEY_BYTES];
	struct agi_config config;
	struct agi_why why = {{0}};
	char roles[64], quorum[8], timeout[16];

	n->net = net;
	agi_keypair_of_seed(seed, pubkey, n->seckey);
	agi_id_of_pubkey(&n->id, pubkey);
	n->fault = s->faults[i];
	snprintf(quorum, sizeof quorum, "%u", s->quorum);
	snprintf(roles, sizeof roles, "%s%s%s", serves(i, s, true) ? "safety-gateway" : "",
	         serves(i, s, true) && serves(i, s, false) ? "," : "",
	         serves(i, s, false) ? "erisml" : "");
	assert_int_equal(agi_config_defaults(&config, &why), AGI_OK);
	if (roles[0] && n->fault != NO_ROLE)
		assert_int_equal(agi_config_set(&config, "node.roles", roles, &why), AGI_OK);
	assert_int_equal(agi_config_set(&config, "safety.quorum", quorum, &why), AGI_OK);
	snprintf(timeout, sizeof timeout, "%u", s->timeout_ms ? s->timeout_ms : TIMEOUT_MS);
	assert_int_equal(agi_config_set(&config, "failsafe.safety_check_timeout_ms", timeout, &why), AGI_OK);
	if (s->mode)
		assert_int_equal(agi_config_set(&config, "safety.evaluation", s->mode, &why), AGI_OK);
	if (agi_config_check(&config, &why))
		fail_msg("%s", why.text);
	assert_int_equal(agi_safety_plane_new(net->base, &config, &(struct agi_safety_self){n->id, 1, n->seckey}, &hooks, n,
	                                      &n->plane, &why),
	                 AGI_OK);
	if (i >= s->unread)
		agi_safety_plane_stop_read(n->plane, NULL, UINT64_MAX / 2); /* for good */
	agi_safety_plane_policy_read(n->plane, (struct agi_str){NULL, 0}, UINT64_MAX / 2);
	agi_config_free(&config);
	if (serves(i, s, true))
		net->gateways[net->n_gateways++] = i;
	if (serves(i, s, false))
		net->erismls[net->n_erismls++] = i;
}

static void set_up(struct net *net, const struct shape *s)
{
	*net = (struct net){.base = event_base_new()};
	assert_int_equal(event_base_priority_init(net->base, AGI_LOOP_PRIORITIES), 0); /* as the safety loop's */
	assert_non_null(net->base);
	for (size_t i = 0; i < NODES; i++)
		add_node(net, i, s);
}

static void tear_down(struct net *net)
{
	for (size_t i = 0; i < NODES; i++)
		agi_safety_plane_free(net->nodes[i].plane);
	event_base_free(net->base);
}

static void copy_metadata(const Agi__Safety__V1__SafetyResult *r, const char *key, char *to, size_t n)
{
	to[0] = '\0';
	for (size_t i = 0; i < r->n_metadata; i++)
		if (agi_str_eq(agi_str_of_pb(r->metadata[i]->key), agi_str_of(key)))
			snprintf(to, n, "%.*s", AGI_STR_ARG(agi_str_of_pb(r->metadata[i]->value)));
}

static void on_done(void *arg, const Agi__Safety__V1__CheckPlanResponse *res)
{
	struct net *net = arg;

	net->answers++;
	net->is_done = true;
	net->took_ms = (double)(now_us() - net->began_us) / 1e3;
	net->decision = agi_decision_from_pb((int)res->result->decision);
	assert_int_equal(res->plan_approved, net->decision == AGI_DECISION_ALLOW);
	assert_true(res->result->n_reasons > 0);
	snprintf(net->reason, sizeof net->reason, "%.*s",
	         AGI_STR_ARG(agi_str_of_pb(res->result->reasons[0])));
	copy_metadata(res->result, "cause", net->cause, sizeof net->cause);
	copy_metadata(res->result, "quorum", net->quorum, sizeof net->quorum);
	copy_metadata(res->result, "phase", net->phase, sizeof net->phase);
	copy_metadata(res->result, "gateways", net->gateways_text, sizeof net->gateways_text);
}

static struct agi_str plan_of(const char *tool, struct agi_pool *pool)
{
	Agi__Safety__V1__CheckPlanRequest m = AGI__SAFETY__V1__CHECK_PLAN_REQUEST__INIT;
	Agi__Plan__V1__PlanGraphProto plan = AGI__PLAN__V1__PLAN_GRAPH_PROTO__INIT;
	Agi__Plan__V1__PlanStep step = AGI__PLAN__V1__PLAN_STEP__INIT, *steps[] = {&step};

	step.step_id = agi_str_to_pb(AGI_STR("s1"));
	step.level = 1;
	step.tool_id = agi_str_to_pb(agi_str_of(tool));
	plan.n_steps = tool[0] ? 1 : 0;
	plan.steps = steps;
	m.plan = &plan;
	return agi_pb_to_pool(&m.base, pool);
}

/* Asks the last node, which is the farthest from being a gateway, and waits for the answer. */
static void check(struct net *net, const char *tool)
{
	struct agi_pool pool;

	agi_pool_init(&pool, 0);
	net->is_done = false;
	net->began_us = now_us();
	agi_safety_plane_check(net->nodes[NODES - 1].plane, plan_of(tool, &pool), 0, on_done, net);
	while (!net->is_done)
		assert_true(event_base_loop(net->base, EVLOOP_ONCE) >= 0);
	event_base_loop(net->base, EVLOOP_NONBLOCK); /* what is under way arrives, late */
	agi_pool_free(&pool);
}

static void expect(const struct shape *shape, const char *tool, enum agi_decision d, const char *cause)
{
	struct net net;

	set_up(&net, shape);
	check(&net, tool);
	if (net.decision != d || strcmp(net.cause, cause) != 0)
		fail_msg("%s: %s (%s: %s), expected %s (%s)", tool, agi_decision_name(net.decision),
		         net.cause, net.reason, agi_decision_name(d), cause);
	assert_int_equal(net.answers, 1);
	tear_down(&net);
}

/* --- long plans ---------------------------------------------------------------------------------------- */
enum { LONG_STEPS = 250 }; /* just long: this runs in slow builds too */

static struct agi_str long_plan(struct agi_pool *pool)
{
	Agi__Safety__V1__CheckPlanRequest m = AGI__SAFETY__V1__CHECK_PLAN_REQUEST__INIT;
	Agi__Plan__V1__PlanGraphProto plan = AGI__PLAN__V1__PLAN_GRAPH_PROTO__INIT;
	Agi__Plan__V1__PlanStep *steps = agi_pool_take(pool, LONG_STEPS, sizeof *steps);
	Agi__Plan__V1__PlanStep **list = agi_pool_take(pool, LONG_STEPS, sizeof *list);

	for (size_t i = 0; i < LONG_STEPS; i++) {
		steps[i] = (Agi__Plan__V1__PlanStep)AGI__PLAN__V1__PLAN_STEP__INIT;
		steps[i].step_id = agi_str_to_pb(agi_pool_printf(pool, "step-%zu", i));
		steps[i].tool_id = agi_str_to_pb(AGI_STR("report"));
		list[i] = &steps[i];
	}
	plan.n_steps = LONG_STEPS;
	plan.steps = list;
	m.plan = &plan;
	return agi_pb_to_pool(&m.base, pool);
}

struct asked {
	unsigned *n_answers, at;
	enum agi_decision decision;
};

static void on_asked(void *arg, const Agi__Safety__V1__CheckPlanResponse *res)
{
	struct asked *a = arg;

	a->at = ++*a->n_answers;
	a->decision = agi_decision_from_pb((int)res->result->decision);
}

/* n long checks at once, then a short one; all with so much time. */
static void ask_many(struct net *net, struct asked *asked, size_t n, uint32_t budget_ms)
{
	struct agi_safety_plane *plane = net->nodes[NODES - 1].plane;
	unsigned n_answers = 0;
	struct agi_pool pool;
	struct agi_str plan;

	agi_pool_init(&pool, 0);
	plan = long_plan(&pool);
	for (size_t i = 0; i <= n; i++) {
		asked[i] = (struct asked){.n_answers = &n_answers};
		agi_safety_plane_check(plane, i < n ? plan : plan_of("report", &pool), budget_ms, on_asked, &asked[i]);
	}
	while (n_answers <= n)
		assert_true(event_base_loop(net->base, EVLOOP_ONCE) >= 0);
	agi_pool_free(&pool);
}

static void what_is_short_does_not_wait_behind_what_is_long(void **state)
{
	const struct shape s = {.quorum = 1, .gateways = 1, .erismls = 5};
	struct asked asked[9];
	struct net net;

	(void)state;
	set_up(&net, &s);
	ask_many(&net, asked, 8, 0);
	for (size_t i = 0; i <= 8; i++)
		assert_int_equal(asked[i].decision, AGI_DECISION_ALLOW);
	assert_in_range(asked[8].at, 1, 3); /* asked last */
	tear_down(&net);
}

static void what_nobody_waits_for_any_more_is_not_evaluated(void **state)
{
	const struct shape s = {.quorum = 1, .gateways = 1, .erismls = 5};
	static struct asked asked[301];
	struct net net;

	(void)state;
	set_up(&net, &s);
	ask_many(&net, asked, 300, 60); /* ten times as much work */
	event_base_loop(net.base, EVLOOP_NONBLOCK);
	for (int i = 0; i < 1000; i++)
		event_base_loop(net.base, EVLOOP_NONBLOCK);
	assert_in_range(net.nodes[0].evaluations, 1, 250);
	assert_int_equal(asked[299].decision, AGI_DECISION_BLOCK);
	tear_down(&net);
}

/* --- stories ------------------------------------------------------------------------------------------ */
static void three_gateways_and_one_erisml_decide(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 3, .erismls = 1};
	struct net net;

	(void)state;
	expect(&s, "report", AGI_DECISION_ALLOW, "VOTED");
	expect(&s, "override_safety", AGI_DECISION_BLOCK, "VOTED");
	expect(&s, "lie_to_user", AGI_DECISION_BLOCK, "VOTED");
	expect(&s, "", AGI_DECISION_REVISE, "VOTED");
	set_up(&net, &s);
	check(&net, "report");
	assert_true(strcmp(net.quorum, "2/3") == 0 || strcmp(net.quorum, "3/3") == 0);
	assert_string_equal(net.phase, "complete");
	assert_non_null(strchr(net.gateways_text, ',')); /* two at least */
	tear_down(&net);
}

static void a_gateway_with_erisml_on_its_own_host_asks_nobody(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 5, .erismls = 5};
	struct net net;

	(void)state;
	set_up(&net, &s);
	check(&net, "report");
	assert_int_equal(net.decision, AGI_DECISION_ALLOW);
	assert_int_equal(net.nodes[0].votes, 1);
	assert_int_equal(net.nodes[0].evaluations, 1);
	assert_int_equal(net.nodes[3].votes, 0); /* a spare that was not needed */
	tear_down(&net);
}

/* A notice given at one node reaches every gateway by the messages between them. */
static void a_stop_told_by_one_node_blocks_at_all(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 5, .erismls = 5};
	const struct agi_stop_record stop = {.epoch = 1, .is_stopped = true, .reason = "test"};
	const struct agi_stop_record resume = {.epoch = 2};
	struct net net;

	(void)state;
	set_up(&net, &s);
	agi_safety_plane_stop_tell(net.nodes[NODES - 1].plane, &stop);
	check(&net, "report");
	assert_int_equal(net.decision, AGI_DECISION_BLOCK);
	assert_non_null(strstr(net.reason, "emergency stop"));
	for (int i = 0; i < NODES; i++)
		assert_int_equal(agi_latch_state(agi_safety_plane_latch(net.nodes[i].plane), now_us()), AGI_STOP_SET);
	for (int i = 0; i < NODES; i++)
		agi_safety_plane_stop_read(net.nodes[i].plane, &resume, now_us());
	check(&net, "report");
	assert_int_equal(net.decision, AGI_DECISION_ALLOW);
	tear_down(&net);
}

/* Two of three gateways have not read the stop's state: theirs are BLOCKs, and ALLOW has no majority. */
static void a_gateway_that_cannot_confirm_the_stop_votes_block(void **state)
{
	const struct shape two = {.quorum = 3, .gateways = 3, .erismls = 3, .unread = 2};
	const struct shape one = {.quorum = 3, .gateways = 3, .erismls = 3, .unread = 1};

	(void)state;
	expect(&two, "report", AGI_DECISION_BLOCK, "STOP_STATE_UNKNOWN");
	expect(&one, "report", AGI_DECISION_ALLOW, "VOTED");
}

/* --- policy -------------------------------------------------------------------------------------------- */
enum knows { UNCONFIRMED, OLD, NEW, KNOWLEDGE };

/* The node reads the policy of this epoch: the first allows "report", the second bans it. */
static void read_policy(struct node *n, uint64_t epoch, uint64_t began_us)
{
	static const struct agi_str banned[] = {{"report", 6}};
	struct agi_policy draft = {.epoch = epoch, .reason = AGI_STR("test"), .quorum = 3}, *p;
	struct agi_buf b;

	agi_gateway_policy_default(&draft.rules);
	draft.rules.banned = banned;
	draft.rules.n_banned = epoch == 2;
	assert_int_equal(agi_policy_new(&draft, &p), AGI_OK);
	agi_buf_init(&b, 0);
	agi_policy_encode(&b, p);
	assert_true(agi_safety_plane_policy_read(n->plane, agi_buf_str(&b), began_us));
	agi_buf_free(&b);
	agi_policy_drop(p);
}

static void let_know(struct node *n, enum knows what)
{
	read_policy(n, what == NEW ? 2 : 1, what == UNCONFIRMED ? 0 : UINT64_MAX / 2);
}

/* Three gateways and the node that asks them, each with any knowledge: 81 clusters. */
static void a_plan_passes_only_by_one_policy_that_the_asker_and_a_majority_hold_confirmed(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 3, .erismls = 3};
	(void)state;

	for (int i = 0; i < KNOWLEDGE * KNOWLEDGE * KNOWLEDGE * KNOWLEDGE; i++) {
		const enum knows asker = i % 3, gateways[] = {i / 3 % 3, i / 9 % 3, i / 27};
		unsigned old = 0;
		struct net net;

		set_up(&net, &s);
		let_know(&net.nodes[NODES - 1], asker);
		for (int k = 0; k < 3; k++) {
			let_know(&net.nodes[k], gateways[k]);
			old += gateways[k] == OLD;
		}
		check(&net, "report");
		if (net.decision != (asker == OLD && old >= 2 ? AGI_DECISION_ALLOW : AGI_DECISION_BLOCK))
			fail_msg("asker %d, gateways %d %d %d: %s (%s)", (int)asker, (int)gateways[0],
			         (int)gateways[1], (int)gateways[2], agi_decision_name(net.decision), net.cause);
		tear_down(&net);
	}
}

static void why_another_policys_votes_did_not_count_is_said(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 3, .erismls = 3};
	struct net net;
	(void)state;

	set_up(&net, &s);
	let_know(&net.nodes[NODES - 1], OLD); /* the gateways still have the configuration's */
	check(&net, "report");
	assert_int_equal(net.decision, AGI_DECISION_BLOCK);
	assert_string_equal(net.cause, "POLICY_MISMATCH");
	for (int i = 0; i < 3; i++)
		let_know(&net.nodes[i], UNCONFIRMED);
	check(&net, "report");
	assert_string_equal(net.cause, "POLICY_STATE_UNKNOWN");
	tear_down(&net);
}

/* The one that was in force when it was asked for is not the one when it is decided. */
static void a_policy_that_changes_during_a_check_blocks_it(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 3, .erismls = 3};
	struct agi_pool pool;
	struct net net;
	(void)state;

	for (int late = 0; late < 2; late++) { /* at the asker only, or everywhere */
		set_up(&net, &s);
		agi_pool_init(&pool, 0);
		net.is_done = false;
		agi_safety_plane_check(net.nodes[NODES - 1].plane, plan_of("report", &pool), 0, on_done, &net);
		for (int i = late ? NODES - 1 : 0; i < NODES; i++)
			let_know(&net.nodes[i], OLD);
		while (!net.is_done)
			assert_true(event_base_loop(net.base, EVLOOP_ONCE) >= 0);
		assert_int_equal(net.decision, AGI_DECISION_BLOCK);
		assert_string_equal(net.cause, "POLICY_MISMATCH");
		check(&net, "report");
		assert_int_equal(net.decision, late ? AGI_DECISION_BLOCK : AGI_DECISION_ALLOW);
		agi_pool_free(&pool);
		tear_down(&net);
	}
}

static size_t count_confirmed(const struct agi_policy_told *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		n += agi_policy_is_confirmed(t, i);
	return n;
}

static void wait_for_confirmed(struct net *net, const struct node *asker, size_t n)
{
	while (count_confirmed(&asker->told) < n)
		assert_true(event_base_loop(net->base, EVLOOP_ONCE) >= 0);
}

/* One gateway confirms it at once, one when it has read it, one is deaf. */
static void gateways_are_told_of_a_policy_until_they_confirm_it(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 3, .erismls = 3, .faults = {[2] = SILENT}};
	struct node *asker;
	struct net net;
	(void)state;

	set_up(&net, &s);
	asker = &net.nodes[NODES - 1];
	let_know(asker, NEW);
	let_know(&net.nodes[0], NEW);
	let_know(&net.nodes[1], OLD);
	struct agi_policy_version v = {.epoch = 2};
	memcpy(v.hash, agi_safety_plane_policy(asker->plane)->known->hash, sizeof v.hash);
	agi_safety_plane_policy_tell(asker->plane, &v);
	wait_for_confirmed(&net, asker, 1);
	while (!asker->told.gateways[1].has_answered)
		assert_true(event_base_loop(net.base, EVLOOP_ONCE) >= 0);
	assert_true(asker->told.n == 3 && asker->told.gateways[0].version.epoch == 2);
	assert_true(asker->told.gateways[1].is_sure && asker->told.gateways[1].version.epoch == 1);
	assert_true(net.nodes[0].notices == 0 && net.nodes[1].notices >= 1); /* only who does not know it reads */
	let_know(&net.nodes[1], NEW);
	wait_for_confirmed(&net, asker, 2);
	assert_false(asker->told.gateways[2].has_answered);
	tear_down(&net);
}

/* A gateway with other rules has another hash for the same epoch; one that has read nothing lately has none. */
static void a_gateway_that_judges_otherwise_or_by_nothing_confirms_nothing(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 2, .erismls = 2};
	struct agi_policy_version v = {.epoch = 2, .hash = {1}};
	struct node *asker;
	struct net net;
	(void)state;

	set_up(&net, &s);
	asker = &net.nodes[NODES - 1];
	let_know(&net.nodes[0], NEW);
	let_know(&net.nodes[1], UNCONFIRMED);
	agi_safety_plane_policy_tell(asker->plane, &v);
	while (!asker->told.gateways[0].has_answered || !asker->told.gateways[1].has_answered)
		assert_true(event_base_loop(net.base, EVLOOP_ONCE) >= 0);
	assert_true(asker->told.gateways[0].is_sure && !asker->told.gateways[1].is_sure);
	assert_int_equal(count_confirmed(&asker->told), 0);
	tear_down(&net);
}

static void a_node_asks_itself_like_any_peer(void **state)
{
	const struct shape s = {.quorum = 1, .gateways = 5, .erismls = 5};
	struct net net;

	(void)state;
	set_up(&net, &s);
	net.n_gateways = 1;
	net.gateways[0] = NODES - 1; /* the node that is asked is the one gateway */
	check(&net, "report");
	assert_int_equal(net.decision, AGI_DECISION_ALLOW);
	assert_int_equal(net.nodes[NODES - 1].votes, 1);
	tear_down(&net);
}

static void no_gateway_blocks_at_once(void **state)
{
	struct shape s = {.quorum = 3, .gateways = 0, .erismls = 1};
	struct net net;

	(void)state;
	expect(&s, "report", AGI_DECISION_BLOCK, "NO_GATEWAYS");
	s.gateways = 1;
	expect(&s, "report", AGI_DECISION_BLOCK, "TOO_FEW_GATEWAYS");
	set_up(&net, &s);
	check(&net, "report");
	assert_true(net.took_ms < TIMEOUT_MS / 2);
	tear_down(&net);
}

static void one_dead_gateway_of_three_does_not_matter_two_do(void **state)
{
	static const enum fault faults[] = {SILENT, UNREACHABLE, BREAKS, LIES_NONCE, NO_ROLE};
	static const char *const causes[] = {"TIMEOUT", "GATEWAYS_FAILED", "GATEWAYS_FAILED",
	                                     "GATEWAYS_FAILED", "GATEWAYS_FAILED"};

	(void)state;
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
		struct shape s = {.quorum = 3, .gateways = 3, .erismls = 1};

		s.faults[0] = faults[i];
		expect(&s, "report", AGI_DECISION_ALLOW, "VOTED");
		s.faults[1] = faults[i];
		expect(&s, "report", AGI_DECISION_BLOCK, causes[i]);
	}
}

static void votes_that_cannot_be_read_block(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 3, .erismls = 1, .faults = {GARBLES, GARBLES}};

	(void)state;
	expect(&s, "report", AGI_DECISION_BLOCK, "VOTE_MALFORMED");
}

static void one_liar_of_three_cannot_allow(void **state)
{
	struct shape s = {.quorum = 3, .gateways = 3, .erismls = 1, .faults = {LIES_ALLOW}};

	(void)state;
	expect(&s, "override_safety", AGI_DECISION_BLOCK, "VOTED"); /* the others' judgement, who were asked first */
	s.faults[1] = LIES_ALLOW;
	expect(&s, "override_safety", AGI_DECISION_BLOCK, "VOTE_CONTRADICTORY");
}

/* One such gateway of three is not needed; with two, nothing is allowed, and it is said why. */
static void votes_that_are_not_for_this_check_now_block_with_their_cause(void **state)
{
	static const struct {
		enum fault fault;
		const char *cause;
	} rows[] = {{REPLAYS, "VOTE_REPLAYED"},       {OTHER_PLAN, "VOTE_REPLAYED"},   {OLD_POLICY, "POLICY_MISMATCH"},
	            {OLD_STOP, "VOTE_STOP_STALE"},    {CLOCK_OFF, "VOTE_CLOCK_OFF"},   {FORGES, "VOTE_SIGNATURE_WRONG"}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct shape s = {.quorum = 3, .gateways = 3, .erismls = 1};

		s.faults[0] = rows[i].fault;
		expect(&s, "report", AGI_DECISION_ALLOW, "VOTED");
		s.faults[1] = rows[i].fault;
		expect(&s, "report", AGI_DECISION_BLOCK, rows[i].cause);
		s.faults[2] = rows[i].fault;
		expect(&s, "report", AGI_DECISION_BLOCK, rows[i].cause);
	}
}

static void who_signs_wrongly_blocks_one_check_and_counts_for_nothing_then(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 3, .erismls = 1, .faults = {[2] = FORGES}};
	struct net net;

	(void)state;
	set_up(&net, &s);
	check(&net, "report"); /* its vote is among the first two */
	assert_int_equal(net.decision, AGI_DECISION_BLOCK);
	assert_string_equal(net.cause, "VOTE_SIGNATURE_WRONG");
	for (int i = 0; i < 3; i++) {
		check(&net, "report");
		assert_int_equal(net.decision, AGI_DECISION_ALLOW);
	}
	tear_down(&net);
}

static void one_gateway_that_repeats_itself_does_not_silence_the_others(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 3, .erismls = 1, .faults = {REPEATS}};

	(void)state;
	expect(&s, "report", AGI_DECISION_ALLOW, "VOTED");
}

static void a_node_that_has_too_many_checks_or_votes_blocks(void **state)
{
	const struct shape s = {.quorum = 1, .gateways = 1, .erismls = 1, .timeout_ms = 10000,
	                        .faults = {[NODES - 1] = SILENT}};
	struct net net;
	struct agi_pool pool;
	struct agi_str plan;
	unsigned n = 0;

	(void)state;
	agi_pool_init(&pool, 0);
	plan = plan_of("report", &pool);
	set_up(&net, &s);
	while (net.answers == 0 && n++ < 10000)
		(void)agi_safety_plane_check(net.nodes[2].plane, plan, 0, on_done, &net);
	assert_in_range(n, 1000, 9999);
	assert_int_equal(net.decision, AGI_DECISION_BLOCK);
	assert_string_equal(net.cause, "BUSY");
	event_base_loop(net.base, EVLOOP_NONBLOCK); /* the gateway takes them all and waits for ErisML */
	net.is_done = false;
	(void)agi_safety_plane_check(net.nodes[3].plane, plan, 0, on_done, &net);
	while (!net.is_done)
		assert_true(event_base_loop(net.base, EVLOOP_ONCE) >= 0);
	assert_int_equal(net.decision, AGI_DECISION_BLOCK);
	assert_string_equal(net.cause, "GATEWAYS_FAILED");
	tear_down(&net);
	agi_pool_free(&pool);
}

static void spares_stand_in_for_the_dead(void **state)
{
	struct shape s = {.quorum = 3, .gateways = 5, .erismls = 1};

	(void)state;
	s.faults[0] = s.faults[1] = UNREACHABLE;
	expect(&s, "report", AGI_DECISION_ALLOW, "VOTED");
	s.faults[0] = s.faults[1] = SILENT;
	expect(&s, "report", AGI_DECISION_ALLOW, "VOTED");
}

static void silence_ends_within_the_budget(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 3, .erismls = 1,
	                        .faults = {SILENT, SILENT, SILENT}};
	struct net net;

	(void)state;
	set_up(&net, &s);
	check(&net, "report");
	assert_int_equal(net.decision, AGI_DECISION_BLOCK);
	assert_string_equal(net.cause, "TIMEOUT");
	assert_true(net.took_ms >= TIMEOUT_MS * 0.9);
	tear_down(&net);
}

static void erisml_failing_blocks_in_every_mode(void **state)
{
	static const char *const modes[] = {"strict", "reference"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct shape s = {.quorum = 3, .gateways = 3, .erismls = 0, .mode = modes[i]};

		expect(&s, "report", AGI_DECISION_BLOCK, "ERISML_UNAVAILABLE");
		s.erismls = 1;
		s.faults[NODES - 1] = HEALTHY;
		expect(&s, "report", AGI_DECISION_ALLOW, "VOTED");
		s.faults[NODES - 1] = GARBLES;
		expect(&s, "report", AGI_DECISION_BLOCK, "ERISML_MALFORMED");
		s.erismls = 2;
		s.faults[NODES - 1] = HEALTHY;
		s.faults[NODES - 2] = SILENT;
		expect(&s, "report", AGI_DECISION_BLOCK, "ERISML_TIMEOUT");
	}
}

static void the_next_erisml_is_asked_when_the_nearest_is_gone(void **state)
{
	static const enum fault faults[] = {UNREACHABLE, BREAKS, NO_ROLE};

	(void)state;
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
		struct shape s = {.quorum = 3, .gateways = 3, .erismls = 2};

		s.faults[NODES - 2] = faults[i];
		expect(&s, "report", AGI_DECISION_ALLOW, "VOTED");
	}
}

static void a_request_that_is_no_protobuf_blocks(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 3, .erismls = 1};
	struct net net;

	(void)state;
	set_up(&net, &s);
	agi_safety_plane_check(net.nodes[4].plane, AGI_STR("\x0a\xff\xff"), 0, on_done, &net);
	while (!net.is_done)
		event_base_loop(net.base, EVLOOP_ONCE);
	assert_int_equal(net.decision, AGI_DECISION_BLOCK);
	assert_string_equal(net.cause, "GATEWAYS_FAILED"); /* each of them says that it cannot read it */
	tear_down(&net);
}

static void a_cancelled_check_is_never_answered(void **state)
{
	const struct shape s = {.quorum = 3, .gateways = 3, .erismls = 1};
	struct agi_pool pool;
	struct net net;
	uint64_t id;

	(void)state;
	set_up(&net, &s);
	agi_pool_init(&pool, 0);
	id = agi_safety_plane_check(net.nodes[4].plane, plan_of("report", &pool), 0, on_done, &net);
	agi_safety_plane_cancel(net.nodes[4].plane, id);
	agi_safety_plane_cancel(net.nodes[4].plane, id);
	for (int i = 0; i < 20; i++)
		event_base_loop(net.base, EVLOOP_NONBLOCK);
	assert_int_equal(net.answers, 0);
	agi_pool_free(&pool);
	tear_down(&net);
}

static void nonsense_from_peers_changes_nothing(void **state)
{
	static const enum agi_envelope_body kinds[] = {AGI_BODY_VOTE_REQUEST, AGI_BODY_VOTE_REPLY,
	                                               AGI_BODY_EVAL_REQUEST, AGI_BODY_EVAL_REPLY,
	                                               AGI_BODY_POLICY_NOTICE, AGI_BODY_POLICY_ACK};
	const struct shape s = {.quorum = 3, .gateways = 3, .erismls = 3};
	struct agi_peer from;
	struct net net;

	(void)state;
	set_up(&net, &s);
	from = (struct agi_peer){.id = net.nodes[1].id};
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		static const char *const bodies[] = {"", "\xff", "\x08\x01", "\x12\x01", "\x12\x02\xff\xff",
		                                     "\x08\x01\x12\0200123456789abcdef\x1a\x01\xff"};

		for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
			struct agi_envelope env = {1, {0}, kinds[k], agi_str_of(bodies[i])};

			agi_safety_plane_on_message(net.nodes[2].plane, &from, &env);
		}
	}
	for (int i = 0; i < 5; i++)
		event_base_loop(net.base, EVLOOP_NONBLOCK);
	check(&net, "report");
	assert_int_equal(net.decision, AGI_DECISION_ALLOW);
	tear_down(&net);
}

static void messages_survive_the_wire(void **state)
{
	const struct agi_safety_msg in = {.kind = AGI_BODY_VOTE_REPLY, .rpc_id = UINT64_MAX,
	                                  .nonce = AGI_STR("n\0nce"), .plan_hash = AGI_STR("hash"),
	                                  .response = AGI_STR("response"), .error = AGI_STR("error")};
	struct agi_safety_msg out;
	struct agi_envelope env;
	struct agi_buf b;

	(void)state;
	agi_buf_init(&b, 0);
	agi_safety_msg_encode(&b, &in);
	assert_int_equal(agi_envelope_open(agi_buf_str(&b), &env, NULL), AGI_OK);
	assert_int_equal(agi_safety_msg_decode(&env, &out, NULL), AGI_OK);
	assert_true(out.rpc_id == in.rpc_id && agi_str_eq(out.nonce, in.nonce));
	assert_true(agi_str_eq(out.plan_hash, in.plan_hash) && agi_str_eq(out.error, in.error));
	assert_true(agi_str_eq(out.response, in.response) && out.kind == in.kind);
	agi_buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_short_does_not_wait_behind_what_is_long),
	    cmocka_unit_test(what_nobody_waits_for_any_more_is_not_evaluated),
	    cmocka_unit_test(three_gateways_and_one_erisml_decide),
	    cmocka_unit_test(a_gateway_with_erisml_on_its_own_host_asks_nobody),
	    cmocka_unit_test(a_plan_passes_only_by_one_policy_that_the_asker_and_a_majority_hold_confirmed),
	    cmocka_unit_test(why_another_policys_votes_did_not_count_is_said),
	    cmocka_unit_test(a_policy_that_changes_during_a_check_blocks_it),
	    cmocka_unit_test(gateways_are_told_of_a_policy_until_they_confirm_it),
	    cmocka_unit_test(a_gateway_that_judges_otherwise_or_by_nothing_confirms_nothing),
	    cmocka_unit_test(a_node_asks_itself_like_any_peer),
	    cmocka_unit_test(a_stop_told_by_one_node_blocks_at_all),
	    cmocka_unit_test(a_gateway_that_cannot_confirm_the_stop_votes_block),
	    cmocka_unit_test(no_gateway_blocks_at_once),
	    cmocka_unit_test(one_dead_gateway_of_three_does_not_matter_two_do),
	    cmocka_unit_test(votes_that_cannot_be_read_block),
	    cmocka_unit_test(one_liar_of_three_cannot_allow),
	    cmocka_unit_test(votes_that_are_not_for_this_check_now_block_with_their_cause),
	    cmocka_unit_test(who_signs_wrongly_blocks_one_check_and_counts_for_nothing_then),
	    cmocka_unit_test(one_gateway_that_repeats_itself_does_not_silence_the_others),
	    cmocka_unit_test(a_node_that_has_too_many_checks_or_votes_blocks),
	    cmocka_unit_test(spares_stand_in_for_the_dead),
	    cmocka_unit_test(silence_ends_within_the_budget),
	    cmocka_unit_test(erisml_failing_blocks_in_every_mode),
	    cmocka_unit_test(the_next_erisml_is_asked_when_the_nearest_is_gone),
	    cmocka_unit_test(a_request_that_is_no_protobuf_blocks),
	    cmocka_unit_test(a_cancelled_check_is_never_answered),
	    cmocka_unit_test(nonsense_from_peers_changes_nothing),
	    cmocka_unit_test(messages_survive_the_wire),
	};

	return agi_crypto_init() ? 1 : cmocka_run_group_tests_name("safety plane", tests, NULL, NULL);
}
