/* SPDX-License-Identifier: Apache-2.0
 * agi.safety.v1.PreActionSafetyService: a call becomes a check, its answer the reply. */
#include <stdlib.h>

#include "node/eval_pb.h"
#include "node/safety_impl.h"

struct pre_action {
	struct agi_safety_plane *plane;
	struct agi_grpc_call *call;
	uint64_t check_id; /* 0 while the check begins */
	bool is_step;      /* CheckStep: the answer is a SafetyResult */
	bool is_answered;
};

static void on_checked(void *arg, const Agi__Safety__V1__CheckPlanResponse *res)
{
	struct pre_action *p = arg;
	const ProtobufCMessage *m = p->is_step ? &res->result->base : &res->base;

	p->is_answered = true;
	agi_grpc_reply(p->call, m);
	if (p->check_id)
		free(p);
}

static void on_cancel(void *arg)
{
	struct pre_action *p = arg;

	if (p->is_answered)
		return;
	p->is_answered = true;
	agi_safety_plane_cancel(p->plane, p->check_id);
	agi_grpc_fail(p->call, AGI_GRPC_CANCELLED, "the client gave up");
	free(p);
}

static struct pre_action *pre_action_new(struct agi_safety_plane *s, struct agi_grpc_call *call, bool is_step)
{
	struct pre_action *p = calloc(1, sizeof *p);

	if (p)
		*p = (struct pre_action){.plane = s, .call = call, .is_step = is_step};
	else
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
	return p;
}

static uint32_t budget_of(const struct agi_grpc_call *call)
{
	uint32_t left_ms = agi_grpc_call_left_ms(call);

	return left_ms ? left_ms : 1;
}

static void begun(struct pre_action *p, uint64_t id)
{
	if (p->is_answered) {
		free(p);
		return;
	}
	p->check_id = id;
	agi_grpc_call_on_cancel(p->call, on_cancel, p);
}

static void on_check_plan(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct pre_action *p = pre_action_new(ctx, call, false);
	(void)req;

	if (p)
		begun(p, agi_safety_plane_check(ctx, agi_grpc_call_bytes(call), budget_of(call), on_checked, p));
}

static void on_check_step(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agi__Safety__V1__CheckActionRequest *m = (const Agi__Safety__V1__CheckActionRequest *)req;
	struct pre_action *p = pre_action_new(ctx, call, true);

	if (p)
		begun(p, agi_safety_plane_check_step(ctx, m, budget_of(call), on_checked, p));
}

/* --- one step ----------------------------------------------------------------------------------------- */
/* What the sensors forbid, by themselves or by the rules for actions; without readings there is nothing to forbid. */
static bool judge_readings(struct agi_safety_plane *s, const Agi__Safety__V1__CheckActionRequest *req,
                           struct agi_pool *pool, struct agi_action_check *out)
{
	struct agi_reading *readings = agi_pool_take(pool, req->n_sensor_readings, sizeof *readings);
	size_t n = req->n_sensor_readings;
	struct agi_plan_step step;

	if (!readings)
		return false;
	for (size_t i = 0; i < n; i++)
		readings[i] = (struct agi_reading){agi_str_of_pb(req->sensor_readings[i]->key),
		                                   req->sensor_readings[i]->value};
	if (req->step)
		agi_plan_step_from_pb(&step, req->step, pool);
	return agi_action_readings(out, s->policy.known->rules.eval.mode, readings, n, pool) ||
	       agi_action_rules(out, &s->policy.known->rules, req->step ? &step : NULL, readings, n, pool);
}

/* That needs no panel. True when it was answered. */
static bool refuse_for_readings(struct agi_safety_plane *s, const Agi__Safety__V1__CheckActionRequest *req,
                                struct agi_pool *pool, agi_safety_done_fn *done, void *arg)
{
	struct agi_check_result r = {.phase = "rule_check"};
	Agi__Safety__V1__CheckPlanResponse *m = NULL;
	struct agi_action_check a;

	if (judge_readings(s, req, pool, &a)) {
		r.decision = a.decision;
		r.risk = a.risk;
		agi_strs_add(&r.reasons, pool, a.reason);
		for (size_t i = 0; i < a.more.n; i++)
			agi_strs_add(&r.reasons, pool, a.more.p[i]);
		m = agi_check_to_pb(&r, NULL, 0, pool);
	} else if (!pool->err) {
		return false;
	}
	if (m && !pool->err)
		done(arg, m);
	else
		agi_safety_block(done, arg, agi_check_cause_name(AGI_CHECK_OUT_OF_MEMORY));
	return true;
}

/* A step is checked as the plan that consists of it. */
static struct agi_str one_step_plan(const Agi__Safety__V1__CheckActionRequest *req, struct agi_pool *pool)
{
	Agi__Safety__V1__CheckPlanRequest m = AGI__SAFETY__V1__CHECK_PLAN_REQUEST__INIT;
	Agi__Plan__V1__PlanGraphProto plan = AGI__PLAN__V1__PLAN_GRAPH_PROTO__INIT;
	Agi__Plan__V1__PlanStep *steps[] = {req->step};

	plan.plan_id = req->plan_id;
	plan.n_steps = req->step ? 1 : 0;
	plan.steps = steps;
	m.plan = &plan;
	return agi_pb_to_pool(&m.base, pool);
}

uint64_t agi_safety_plane_check_step(struct agi_safety_plane *s, const Agi__Safety__V1__CheckActionRequest *req,
                                     uint32_t budget_ms, agi_safety_done_fn *done, void *arg)
{
	struct agi_pool pool;
	struct agi_str request;
	uint64_t id = 0;

	agi_pool_init(&pool, 0);
	if (!refuse_for_readings(s, req, &pool, done, arg)) {
		request = one_step_plan(req, &pool);
		if (pool.err)
			agi_safety_block(done, arg, agi_check_cause_name(AGI_CHECK_OUT_OF_MEMORY));
		else
			id = agi_safety_plane_check(s, request, budget_ms, done, arg);
	}
	agi_pool_free(&pool);
	return id;
}

static const struct agi_grpc_method methods[] = {{.name = "CheckPlan", .handler = on_check_plan},
                                                 {.name = "CheckStep", .handler = on_check_step}};

enum agi_err agi_safety_plane_serve_checks(struct agi_safety_plane *s, struct agi_grpc_server *server)
{
	return agi_grpc_server_add(server, &agi__safety__v1__pre_action_safety_service__descriptor,
	                           methods, sizeof methods / sizeof *methods, s);
}
