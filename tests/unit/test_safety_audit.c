/* SPDX-License-Identifier: Apache-2.0
 * The safety planes of a few nodes in one process, with audit logs: no answer without a copy on another host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/loop_thread.h"
#include "node/eval_codec.h"
#include "node/eval_pb.h"
#include "node/safety_msg.h"
#include "node/safety_plane.h"

enum { NODES = 4, ASKER = 3 };

enum fault {
	WITNESSES,
	SILENT,      /* about entries */
	UNREACHABLE, /* for entries */
	REFUSES,
	SLOW,        /* with entries: the asker learns of another policy before */
	STOPS        /* with entries: the asker learns of a stop before */
};

struct node {
	struct net *net;
	struct agi_id id;
	uint8_t sec[AGI_SECKEY_BYTES];
	struct agi_safety_plane *plane;
	enum fault fault;
	unsigned audited[AGI_AUDIT_KINDS], failures, reports[AGI_REPORTS];
	char dir[64];
};
struct net {
	struct event_base *base;
	uint64_t incarnation;
	struct node nodes[NODES];
	struct agi_provider provider;
	bool is_alone;
	char dir[32];
	unsigned answers;
	enum agi_decision decision;
	char cause[64];
	/* of reports */
	enum agi_err err;
	char event_id[64];
};

/* --- the network ------------------------------------------------------------------------------------------ */
struct parcel {
	struct node *from, *to;
	struct agi_buf bytes;
};

static struct node *node_of(struct net *net, const struct agi_id *id)
{
	for (size_t i = 0; i < NODES; i++)
		if (agi_id_eq(&net->nodes[i].id, id))
			return &net->nodes[i];
	return NULL;
}

/* The node reads that another policy is in force; whoever wrote it says so until it runs out. */
static void read_policy(struct node *n, uint64_t epoch, uint64_t began_us)
{
	struct agi_policy draft = {.epoch = epoch, .reason = AGI_STR("test"), .author = AGI_STR("me"), .quorum = 3}, *p;
	struct agi_buf b;

	agi_gateway_policy_default(&draft.rules);
	draft.is_looser = epoch > 1;
	assert_int_equal(agi_policy_new(&draft, &p), AGI_OK);
	agi_buf_init(&b, 0);
	agi_policy_encode(&b, p);
	(void)agi_safety_plane_policy_read(n->plane, agi_buf_str(&b), began_us);
	agi_buf_free(&b);
	agi_policy_drop(p);
}

static void deliver(evutil_socket_t fd, short what, void *arg)
{
	struct parcel *p = arg;
	struct agi_peer from = {.id = p->from->id};
	struct agi_envelope env;
	(void)fd;
	(void)what;

	assert_int_equal(agi_envelope_open(agi_buf_str(&p->bytes), &env, NULL), AGI_OK);
	if (p->to->fault == SLOW && env.kind == AGI_BODY_AUDIT_APPEND)
		read_policy(p->from, 1, UINT64_MAX / 2);
	if (p->to->fault == STOPS && env.kind == AGI_BODY_AUDIT_APPEND)
		agi_safety_plane_stop_tell(p->from->plane, &(struct agi_stop_record){.epoch = 1, .is_stopped = true});
	agi_safety_plane_on_message(p->to->plane, &from, &env);
	agi_buf_free(&p->bytes);
	free(p);
}

static void post(struct node *from, struct node *to, struct agi_str envelope)
{
	struct parcel *p = calloc(1, sizeof *p);

	assert_non_null(p);
	*p = (struct parcel){.from = from, .to = to};
	agi_buf_init(&p->bytes, 0);
	agi_buf_put_str(&p->bytes, envelope);
	event_base_once(from->net->base, -1, EV_TIMEOUT, deliver, p, NULL);
}

static void refuse(struct node *from, struct node *to, const struct agi_envelope *env)
{
	struct agi_safety_msg m, answer = {.kind = AGI_BODY_AUDIT_ACK, .error = AGI_STR("no room")};
	struct agi_buf b;

	assert_int_equal(agi_safety_msg_decode(env, &m, NULL), AGI_OK);
	answer.rpc_id = m.rpc_id;
	agi_buf_init(&b, 0);
	agi_safety_msg_encode(&b, &answer);
	post(to, from, agi_buf_str(&b));
	agi_buf_free(&b);
}

static enum agi_err on_send(void *ctx, const struct agi_peer *to, struct agi_str envelope)
{
	struct node *from = ctx, *target = node_of(from->net, &to->id);
	struct agi_envelope env;

	assert_int_equal(agi_envelope_open(envelope, &env, NULL), AGI_OK);
	if (env.kind != AGI_BODY_AUDIT_APPEND || target->fault == WITNESSES || target->fault >= SLOW)
		post(from, target, envelope);
	else if (target->fault == REFUSES)
		refuse(from, target, &env);
	return env.kind == AGI_BODY_AUDIT_APPEND && target->fault == UNREACHABLE ? AGI_E_UNREACHABLE : AGI_OK;
}

/* The first three are gateways and run ErisML. */
static size_t on_instances(void *ctx, struct agi_str service, struct agi_instance *out, size_t max)
{
	struct net *net = ((struct node *)ctx)->net;
	size_t n = agi_str_eq(service, AGI_STR("in-action")) ? 0 : ASKER;

	assert_true(n <= max || max < ASKER);
	for (size_t i = 0; i < n && i < max; i++)
		out[i] = (struct agi_instance){.provider = &net->provider, .node = net->nodes[i].id};
	return n < max ? n : max;
}

static size_t on_witnesses(void *ctx, struct agi_peer *out, size_t max, bool *is_alone)
{
	struct node *self = ctx;
	size_t n = 0;

	*is_alone = self->net->is_alone;
	for (size_t i = 0; i < NODES && n < max && !*is_alone; i++)
		if (&self->net->nodes[i] != self)
			out[n++] = (struct agi_peer){.id = self->net->nodes[i].id};
	return n;
}

static void on_observe(void *ctx, const struct agi_safety_event *e)
{
	struct node *n = ctx;

	if (e->kind == AGI_SAFETY_AUDITED)
		n->audited[e->audit_kind]++;
	if (e->kind == AGI_SAFETY_REPORTED)
		n->reports[e->report]++;
	n->failures += e->kind == AGI_SAFETY_AUDIT_FAILED;
}

/* --- set up -------------------------------------------------------------------------------------------------- */
static void add_node(struct net *net, uint8_t i, enum fault fault)
{
	static const struct agi_safety_hooks hooks = {
	    .send = on_send, .instances = on_instances, .observe = on_observe, .witnesses = on_witnesses};
	const uint8_t seed[AGI_SEED_BYTES] = {i + 1};
	struct node *n = &net->nodes[i];
	uint8_t pub[AGI_PUBKEY_BYTES];
	struct agi_audit_found found;
	struct agi_config config;
	struct agi_why why = {""};

	agi_keypair_of_seed(seed, pub, n->sec);
	agi_id_of_pubkey(&n->id, pub);
	n->net = net;
	n->fault = fault;
	snprintf(n->dir, sizeof n->dir, "%s/%u", net->dir, i);
	assert_int_equal(agi_config_defaults(&config, &why), AGI_OK);
	if (i != ASKER)
		assert_int_equal(agi_config_set(&config, "node.roles", "safety-gateway,erisml", &why), AGI_OK);
	assert_int_equal(agi_config_set(&config, "failsafe.safety_check_timeout_ms", "2000", &why), AGI_OK);
	assert_int_equal(agi_config_check(&config, &why), AGI_OK);
	assert_int_equal(agi_safety_plane_new(net->base, &config, &(struct agi_safety_self){n->id, net->incarnation, n->sec}, &hooks, n,
	                                      &n->plane, &why), AGI_OK);
	if (agi_safety_plane_open_audit(n->plane, n->dir, 1 << 30, &found, &why))
		fail_msg("%s", why.text);
	agi_safety_plane_stop_read(n->plane, NULL, UINT64_MAX / 2); /* for good */
	agi_safety_plane_policy_read(n->plane, (struct agi_str){NULL, 0}, UINT64_MAX / 2);
	agi_config_free(&config);
}

/* All nodes start (again), on what their logs hold. */
static void begin_life(struct net *net, uint64_t incarnation)
{
	net->base = event_base_new();
	net->incarnation = incarnation;
	assert_int_equal(event_base_priority_init(net->base, AGI_LOOP_PRIORITIES), 0);
	for (uint8_t i = 0; i < NODES; i++)
		add_node(net, i, net->nodes[i].fault);
}

static void set_up(struct net *net, const enum fault faults[ASKER])
{
	*net = (struct net){.incarnation = 0};
	strcpy(net->dir, "test_safety_audit.XXXXXX");
	assert_non_null(mkdtemp(net->dir));
	for (uint8_t i = 0; i < NODES; i++)
		net->nodes[i].fault = i < ASKER ? faults[i] : WITNESSES;
	begin_life(net, 1);
}

static void free_planes(struct net *net)
{
	for (size_t i = 0; i < NODES; i++)
		agi_safety_plane_free(net->nodes[i].plane);
	event_base_free(net->base);
}

static void remove_logs(const struct net *net)
{
	char command[64];

	snprintf(command, sizeof command, "rm -rf %s", net->dir);
	assert_int_equal(system(command), 0);
}

static void on_done(void *arg, const Agi__Safety__V1__CheckPlanResponse *res)
{
	struct net *net = arg;

	net->answers++;
	net->decision = agi_decision_from_pb((int)res->result->decision);
	for (size_t i = 0; i < res->result->n_metadata; i++)
		if (agi_str_eq(agi_str_of_pb(res->result->metadata[i]->key), AGI_STR("cause")))
			snprintf(net->cause, sizeof net->cause, "%.*s",
			         AGI_STR_ARG(agi_str_of_pb(res->result->metadata[i]->value)));
}

/* n checks at once. */
static void ask(struct net *net, unsigned n, uint32_t budget_ms)
{
	Agi__Safety__V1__CheckPlanRequest m = AGI__SAFETY__V1__CHECK_PLAN_REQUEST__INIT;
	Agi__Plan__V1__PlanGraphProto plan = AGI__PLAN__V1__PLAN_GRAPH_PROTO__INIT;
	Agi__Plan__V1__PlanStep step = AGI__PLAN__V1__PLAN_STEP__INIT, *steps[] = {&step};
	struct agi_pool pool;

	agi_pool_init(&pool, 0);
	plan.plan_id = agi_str_to_pb(AGI_STR("plan-1"));
	step.step_id = agi_str_to_pb(AGI_STR("s1"));
	step.tool_id = agi_str_to_pb(AGI_STR("report"));
	plan.n_steps = 1;
	plan.steps = steps;
	m.plan = &plan;
	net->answers = 0;
	for (unsigned i = 0; i < n; i++)
		agi_safety_plane_check(net->nodes[ASKER].plane, agi_pb_to_pool(&m.base, &pool), budget_ms, on_done, net);
	while (net->answers < n)
		assert_true(event_base_loop(net->base, EVLOOP_ONCE) >= 0);
	for (int i = 0; i < 3; i++)
		event_base_loop(net->base, EVLOOP_NONBLOCK); /* what is under way arrives, late */
	agi_pool_free(&pool);
}

static void expect(struct net *net, enum agi_decision d, const char *cause)
{
	ask(net, 1, d == AGI_DECISION_BLOCK ? 200 : 0);
	if (net->decision != d || strcmp(net->cause, cause) != 0)
		fail_msg("%s (%s), expected %s (%s)", agi_decision_name(net->decision), net->cause, agi_decision_name(d), cause);
}

/* --- what is in a log ------------------------------------------------------------------------------------------ */
struct log {
	int entries, findings, decisions, heads, outcomes, policies;
	enum agi_decision last;
	int proof_runs, broken_proofs;
	int copies; /* of other nodes' decisions and outcomes */
};

static void count_copies(struct agi_str body, struct log *log)
{
	struct agi_cur c = agi_cur_of(body);
	struct agi_audit_entry e;
	struct agi_str bytes;

	while (agi_audit_next_entry(&c, &bytes))
		log->copies += agi_audit_decode(&e, bytes) == AGI_OK &&
		               (e.kind == AGI_AUDIT_DECISION || e.kind == AGI_AUDIT_OUTCOME);
	assert_false(c.bad);
}

static struct log read_log(const struct node *n)
{
	struct agi_audit_at at = {.has_segment = false};
	struct agi_audit_walk walk = {.has_last = false};
	struct agi_proof_walk proofs = {.has_head = false};
	struct agi_audit_decision d;
	struct agi_audit_chunk chunk;
	struct agi_audit_entry e;
	struct log log = {.entries = 0};
	struct agi_str bytes;
	const uint8_t *hash;

	agi_buf_init(&chunk.records, 0);
	do {
		struct agi_cur c;

		assert_int_equal(agi_audit_read(n->dir, &at, 0, &chunk, NULL), AGI_OK);
		c = agi_cur_of(agi_buf_str(&chunk.records));
		for (; agi_audit_next_record(&c, &bytes, &hash); log.entries++) {
			log.findings += agi_audit_follow(&walk, bytes, hash, &e, NULL) != AGI_OK;
			log.heads += e.kind == AGI_AUDIT_HEAD;
			log.outcomes += e.kind == AGI_AUDIT_OUTCOME;
			log.policies += e.kind == AGI_AUDIT_POLICY;
			if (e.kind == AGI_AUDIT_WITNESS)
				count_copies(e.body, &log);
			log.proof_runs += e.kind == AGI_AUDIT_PROOFS;
			log.broken_proofs += e.kind == AGI_AUDIT_PROOFS && agi_proof_follow(&proofs, e.body, NULL) != AGI_OK;
			if (e.kind != AGI_AUDIT_DECISION)
				continue;
			log.findings += agi_audit_check_decision(&e, NULL, 0, NULL) != AGI_OK;
			assert_int_equal(agi_audit_decision_decode(&d, e.body), AGI_OK);
			assert_true(agi_str_eq(d.plan_id, AGI_STR("plan-1")));
			log.decisions++;
			log.last = d.decision;
		}
	} while (chunk.has_more);
	agi_buf_free(&chunk.records);
	return log;
}

/* --- stories ------------------------------------------------------------------------------------------------------ */
static const enum fault healthy[ASKER] = {WITNESSES, WITNESSES, WITNESSES};

static void each_answer_is_in_three_logs_and_signed(void **state)
{
	struct net net;
	struct log log;
	int copies = 0;
	(void)state;

	set_up(&net, healthy);
	expect(&net, AGI_DECISION_ALLOW, "VOTED");
	ask(&net, 200, 0); /* many in one turn: more than fit into one message */
	free_planes(&net);
	log = read_log(&net.nodes[ASKER]);
	assert_true(log.decisions == 201 && log.heads == 1 && log.findings == 0 && log.last == AGI_DECISION_ALLOW);
	for (int i = 0; i < ASKER; i++) {
		log = read_log(&net.nodes[i]);
		assert_true(log.findings == 0 && log.decisions == 0);
		copies += log.copies;
	}
	assert_int_equal(copies, 2 * 201);
	remove_logs(&net);
}

static void without_a_witness_nothing_is_allowed_and_the_log_says_so(void **state)
{
	static const enum fault cases[][ASKER] = {
	    {SILENT, SILENT, SILENT}, {UNREACHABLE, UNREACHABLE, UNREACHABLE}, {REFUSES, REFUSES, SILENT}};
	struct net net;
	struct log log;
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		set_up(&net, cases[i]);
		expect(&net, AGI_DECISION_BLOCK, "AUDIT_UNAVAILABLE");
		free_planes(&net);
		log = read_log(&net.nodes[ASKER]);
		assert_int_equal(log.findings, 0);
		assert_true(log.decisions == 1 || log.last == AGI_DECISION_BLOCK);
		remove_logs(&net);
	}
}

/* Decided by one policy, answered when another one is in force. */
static void a_policy_that_changes_before_the_answer_withholds_it(void **state)
{
	static const enum fault slow[ASKER] = {SLOW, SLOW, SLOW};
	struct net net;
	struct log log;
	(void)state;

	set_up(&net, slow);
	expect(&net, AGI_DECISION_BLOCK, "POLICY_MISMATCH");
	free_planes(&net);
	log = read_log(&net.nodes[ASKER]);
	assert_true(log.findings == 0 && log.decisions == 2 && log.last == AGI_DECISION_BLOCK);
	remove_logs(&net);
}

static void a_stop_before_the_answer_withholds_it(void **state)
{
	static const enum fault stops[ASKER] = {STOPS, STOPS, STOPS};
	struct net net;
	struct log log;
	(void)state;

	set_up(&net, stops);
	expect(&net, AGI_DECISION_BLOCK, "EMERGENCY_STOP");
	free_planes(&net);
	log = read_log(&net.nodes[ASKER]);
	assert_true(log.findings == 0 && log.decisions == 2 && log.last == AGI_DECISION_BLOCK);
	remove_logs(&net);
}

static void another_witness_stands_in_for_each_that_does_not_answer(void **state)
{
	static const enum fault cases[][ASKER] = {
	    {SILENT, SILENT, WITNESSES}, {UNREACHABLE, UNREACHABLE, WITNESSES}, {REFUSES, REFUSES, WITNESSES}};
	struct net net;
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		set_up(&net, cases[i]);
		expect(&net, AGI_DECISION_ALLOW, "VOTED");
		free_planes(&net);
		assert_int_equal(read_log(&net.nodes[2]).copies, 1);
		remove_logs(&net);
	}
}

static void a_host_that_is_alone_keeps_its_own_log(void **state)
{
	struct net net;
	(void)state;

	set_up(&net, healthy);
	net.is_alone = true;
	expect(&net, AGI_DECISION_ALLOW, "VOTED");
	free_planes(&net);
	assert_int_equal(read_log(&net.nodes[ASKER]).decisions, 1);
	assert_int_equal(read_log(&net.nodes[0]).copies, 0);
	remove_logs(&net);
}

/* RLIMIT_FSIZE 0 is a disk without room. */
static void a_log_that_cannot_be_written_blocks_until_it_can(void **state)
{
	struct rlimit was, now;
	struct net net;
	struct log log;
	(void)state;

	set_up(&net, healthy);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	now = (struct rlimit){0, was.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
	for (int i = 0; i < NODES; i++)
		read_policy(&net.nodes[i], 1, UINT64_MAX / 2);
	expect(&net, AGI_DECISION_BLOCK, "AUDIT_UNAVAILABLE");
	assert_true(net.nodes[ASKER].failures > 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	read_policy(&net.nodes[ASKER], 1, UINT64_MAX / 2); /* no news, but not in the log yet */
	expect(&net, AGI_DECISION_ALLOW, "VOTED");
	free_planes(&net);
	log = read_log(&net.nodes[ASKER]);
	assert_true(log.findings == 0 && log.policies == 1);
	remove_logs(&net);
}

static void a_stop_is_in_the_log_once_of_everybody_who_knows_of_it(void **state)
{
	const struct agi_stop_record stop = {.epoch = 1, .is_stopped = true, .reason = "smoke"};
	struct net net;
	(void)state;

	set_up(&net, healthy);
	agi_safety_plane_stop_tell(net.nodes[0].plane, &stop);
	for (int i = 0; i < 3; i++)
		event_base_loop(net.base, EVLOOP_NONBLOCK);
	agi_safety_plane_stop_read(net.nodes[0].plane, &stop, 1);
	expect(&net, AGI_DECISION_BLOCK, "EMERGENCY_STOP");
	for (int i = 0; i < ASKER; i++)
		assert_int_equal(net.nodes[i].audited[AGI_AUDIT_STOP], 1);
	free_planes(&net);
	remove_logs(&net);
}

static void a_policy_is_in_the_log_once_of_everybody_who_learns_of_it(void **state)
{
	struct net net;
	(void)state;

	set_up(&net, healthy);
	for (int i = 0; i < NODES; i++)
		assert_int_equal(net.nodes[i].audited[AGI_AUDIT_POLICY], 0); /* the configuration is no change */
	for (int i = 0; i < NODES; i++) {
		read_policy(&net.nodes[i], 1, UINT64_MAX / 2);
		read_policy(&net.nodes[i], 1, UINT64_MAX / 2);
		read_policy(&net.nodes[i], 3, UINT64_MAX / 2);
	}
	expect(&net, AGI_DECISION_ALLOW, "VOTED");
	for (int i = 0; i < NODES; i++)
		assert_int_equal(net.nodes[i].audited[AGI_AUDIT_POLICY], 2);
	free_planes(&net);
	assert_int_equal(read_log(&net.nodes[0]).findings, 0);
	remove_logs(&net);
}

static void a_witness_takes_no_entries_of_others(void **state)
{
	struct agi_safety_msg m = {.kind = AGI_BODY_AUDIT_APPEND, .rpc_id = 7, .request = AGI_STR("nonsense")};
	struct net net;
	struct agi_buf b;
	(void)state;

	set_up(&net, healthy);
	agi_buf_init(&b, 0);
	agi_safety_msg_encode(&b, &m);
	post(&net.nodes[1], &net.nodes[0], agi_buf_str(&b));
	agi_buf_free(&b);
	expect(&net, AGI_DECISION_ALLOW, "VOTED");
	free_planes(&net);
	assert_int_equal(read_log(&net.nodes[0]).findings, 0); /* and every copy in it can be read */
	remove_logs(&net);
}

static struct agi_safety_proofs continue_proofs(struct node *n)
{
	struct agi_safety_proofs found;
	struct agi_why why = {""};

	if (agi_safety_plane_continue_proofs(n->plane, n->dir, &found, &why))
		fail_msg("%s", why.text);
	return found;
}

static void decision_proofs_go_on_where_the_last_life_ended(void **state)
{
	struct agi_safety_proofs found;
	struct net net;
	(void)state;

	set_up(&net, healthy);
	assert_int_equal(continue_proofs(&net.nodes[0]).runs, 0); /* the first life */
	for (uint64_t life = 2; life < 5; life++) {
		uint64_t runs = life - 2;

		expect(&net, AGI_DECISION_ALLOW, "VOTED");
		free_planes(&net);
		begin_life(&net, life);
		for (int i = 0; i < ASKER; i++) {
			found = continue_proofs(&net.nodes[i]);
			assert_true(found.runs > 0 && found.broken == 0);
			assert_int_equal(read_log(&net.nodes[i]).proof_runs, runs + 1);
		}
		assert_int_equal(continue_proofs(&net.nodes[ASKER]).runs, 0); /* it has no ErisML */
	}
	expect(&net, AGI_DECISION_ALLOW, "VOTED");
	free_planes(&net);
	begin_life(&net, 5); /* and forgets to go on */
	expect(&net, AGI_DECISION_ALLOW, "VOTED");
	free_planes(&net);
	begin_life(&net, 6);
	assert_int_equal(read_log(&net.nodes[0]).broken_proofs, 1);
	free_planes(&net);
	remove_logs(&net);
}

/* --- outcomes ------------------------------------------------------------------------------------------------------ */
static void on_logged(void *arg, enum agi_err err, const Agi__Safety__V1__ActionOutcomeAck *ack,
                      const struct agi_why *why)
{
	struct net *net = arg;

	net->answers++;
	net->err = err;
	assert_true(err ? why->text[0] : ack->logged);
	if (ack)
		snprintf(net->event_id, sizeof net->event_id, "%.*s", AGI_STR_ARG(agi_str_of_pb(ack->event_id)));
}

/* n reports at once; the first `forgotten` are not waited for. */
static void report(struct net *net, unsigned n, unsigned forgotten)
{
	Agi__Safety__V1__ActionOutcomeReport m = AGI__SAFETY__V1__ACTION_OUTCOME_REPORT__INIT;
	struct agi_why why = {""};
	struct agi_pool pool;
	struct agi_str bytes;
	uint64_t id;

	agi_pool_init(&pool, 0);
	m.plan_id = agi_str_to_pb(AGI_STR("plan-1"));
	m.step_id = agi_str_to_pb(AGI_STR("s1"));
	m.success = true;
	bytes = agi_pb_to_pool(&m.base, &pool);
	net->answers = 0;
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(agi_safety_plane_report(net->nodes[ASKER].plane, &m, bytes, on_logged, net, &id, &why), AGI_OK);
		if (i < forgotten)
			agi_safety_plane_forget_report(net->nodes[ASKER].plane, id);
	}
	assert_int_equal(net->answers, 0); /* none before it returns */
	while (net->answers < n - forgotten)
		assert_true(event_base_loop(net->base, EVLOOP_ONCE) >= 0);
	agi_pool_free(&pool);
}

static void an_outcome_is_acknowledged_when_another_host_has_it(void **state)
{
	struct net net;
	int copies = 0;
	(void)state;

	set_up(&net, healthy);
	report(&net, 100, 30);
	assert_int_equal(net.err, AGI_OK);
	assert_int_equal(strncmp(net.event_id, "outcome_plan-1_s1_1", 19), 0);
	assert_int_equal(net.nodes[ASKER].reports[AGI_REPORT_SUCCESS], 100);
	expect(&net, AGI_DECISION_ALLOW, "VOTED");
	free_planes(&net);
	assert_int_equal(read_log(&net.nodes[ASKER]).outcomes, 100);
	assert_int_equal(read_log(&net.nodes[ASKER]).findings, 0);
	for (int i = 0; i < ASKER; i++)
		copies += read_log(&net.nodes[i]).copies;
	assert_int_equal(copies, 2 * 101);
	remove_logs(&net);
}

static void an_outcome_that_no_other_host_has_is_an_error(void **state)
{
	static const enum fault nobody[ASKER] = {UNREACHABLE, UNREACHABLE, UNREACHABLE};
	struct net net;
	(void)state;

	set_up(&net, nobody);
	report(&net, 3, 0);
	assert_int_equal(net.err, AGI_E_NO_QUORUM);
	assert_int_equal(net.nodes[ASKER].reports[AGI_REPORT_REFUSED], 3);
	free_planes(&net);
	remove_logs(&net);
}

static void reports_beyond_a_bound_are_refused(void **state)
{
	Agi__Safety__V1__ActionOutcomeReport m = AGI__SAFETY__V1__ACTION_OUTCOME_REPORT__INIT;
	char plan[AGI_OUTCOME_ID_MAX + 1];
	struct agi_why why = {""};
	enum agi_err e = AGI_OK;
	struct net net;
	unsigned taken;
	uint64_t id;
	(void)state;

	set_up(&net, healthy);
	memset(plan, 'p', sizeof plan);
	m.plan_id = (ProtobufCBinaryData){sizeof plan, (uint8_t *)plan};
	assert_int_equal(agi_safety_plane_report(net.nodes[0].plane, &m, AGI_STR(""), on_logged, &net, &id, &why),
	                 AGI_E_INVALID);
	m.plan_id.len = 1;
	for (taken = 0; !e; taken++)
		e = agi_safety_plane_report(net.nodes[0].plane, &m, AGI_STR(""), on_logged, &net, &id, &why);
	assert_true(e == AGI_E_FULL && taken > 100);
	free_planes(&net); /* with all of them open */
	remove_logs(&net);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_answer_is_in_three_logs_and_signed),
	    cmocka_unit_test(without_a_witness_nothing_is_allowed_and_the_log_says_so),
	    cmocka_unit_test(a_policy_that_changes_before_the_answer_withholds_it),
	    cmocka_unit_test(a_stop_before_the_answer_withholds_it),
	    cmocka_unit_test(another_witness_stands_in_for_each_that_does_not_answer),
	    cmocka_unit_test(a_host_that_is_alone_keeps_its_own_log),
	    cmocka_unit_test(a_log_that_cannot_be_written_blocks_until_it_can),
	    cmocka_unit_test(a_stop_is_in_the_log_once_of_everybody_who_knows_of_it),
	    cmocka_unit_test(a_policy_is_in_the_log_once_of_everybody_who_learns_of_it),
	    cmocka_unit_test(a_witness_takes_no_entries_of_others),
	    cmocka_unit_test(decision_proofs_go_on_where_the_last_life_ended),
	    cmocka_unit_test(an_outcome_is_acknowledged_when_another_host_has_it),
	    cmocka_unit_test(an_outcome_that_no_other_host_has_is_an_error),
	    cmocka_unit_test(reports_beyond_a_bound_are_refused),
	};

	return agi_crypto_init() ? 1 : cmocka_run_group_tests_name("safety audit", tests, NULL, NULL);
}
