/* SPDX-License-Identifier: Apache-2.0 */
#include "node/svc_in_action.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "node/eval_pb.h"
#include "roles/audit/action.h"

struct stop_call {
	struct agi_in_action *a;
	struct agi_grpc_call *call; /* NULL: the client has gone */
	LIST_ENTRY(stop_call) link;
};

struct agi_in_action {
	struct agi_in_action_cfg cfg;
	LIST_HEAD(, stop_call) stops;
	struct agi_audit_reflexes seen; /* since they were noted last */
	struct event *note;
};

static enum agi_stop stop_state(const struct agi_in_action *a)
{
	return agi_latch_state(a->cfg.latch, agi_clock_now().mono_us);
}

static const char *stop_text(enum agi_stop stop)
{
	return agi_check_cause_name(stop == AGI_STOP_SET ? AGI_CHECK_EMERGENCY_STOP : AGI_CHECK_STOP_STATE_UNKNOWN);
}

/* --- for the audit log ------------------------------------------------------------------------------------ */
/* To be noted soon. */
static struct agi_audit_reflexes *seen_now(struct agi_in_action *a)
{
	struct agi_audit_reflexes *r = &a->seen;

	r->to_ms = agi_clock_now().wall_ms;
	if (r->safe || r->unsafe || r->allowed)
		return r; /* the timer runs */
	r->from_ms = r->to_ms;
	event_add(a->note, &(struct timeval){.tv_usec = AGI_IN_ACTION_NOTE_MS * 1000});
	return r;
}

static void note_seen(struct agi_in_action *a)
{
	struct agi_buf b;

	a->seen.stop_epoch = a->cfg.latch->known.epoch;
	agi_buf_init(&b, 0);
	agi_audit_reflexes_encode(&b, &a->seen);
	if (!b.err)
		a->cfg.note(a->cfg.ctx, AGI_AUDIT_REFLEXES, agi_buf_str(&b));
	agi_buf_free(&b);
	event_del(a->note);
	a->seen = (struct agi_audit_reflexes){.n = 0};
}

void agi_in_action_flush(struct agi_in_action *a)
{
	if (a && event_pending(a->note, EV_TIMEOUT, NULL))
		note_seen(a);
}

static void on_note(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	note_seen(arg);
}

static void see_reflex(struct agi_in_action *a, const Agi__Safety__V1__ReflexCheckRequest *m, bool is_safe)
{
	struct agi_audit_reflexes *r = seen_now(a);

	r->safe += is_safe;
	r->unsafe += !is_safe;
	if (!is_safe && r->n < AGI_REFLEX_ROWS)
		r->rows[r->n++] = (struct agi_audit_reflex){m->physical_harm_risk, m->collision_probability, m->emergency_flag};
}

static void see_action(struct agi_in_action *a, const Agi__Safety__V1__CheckActionRequest *m, struct agi_str bytes,
                       const struct agi_action_check *found)
{
	struct agi_audit_action e = {.decision = found->decision,
	                             .is_emergency_stop = found->is_emergency_stop,
	                             .risk = found->risk,
	                             .stop_epoch = a->cfg.latch->known.epoch,
	                             .plan_id = agi_str_of_pb(m->plan_id),
	                             .step_id = agi_str_of_pb(m->step_id),
	                             .tool_id = m->step ? agi_str_of_pb(m->step->tool_id) : AGI_STR(""),
	                             .reason = found->reason};
	struct agi_buf b;

	if (found->decision == AGI_DECISION_ALLOW) {
		seen_now(a)->allowed++;
		return;
	}
	agi_blake2b_256(e.request_hash, &bytes, 1);
	agi_buf_init(&b, 0);
	agi_audit_action_encode(&b, &e);
	if (!b.err)
		a->cfg.note(a->cfg.ctx, AGI_AUDIT_ACTION, agi_buf_str(&b));
	agi_buf_free(&b);
}

/* --- CheckAction --------------------------------------------------------------------------------------- */
static void judge(const struct agi_in_action *a, const Agi__Safety__V1__CheckActionRequest *req,
                  struct agi_pool *pool, struct agi_action_check *out)
{
	struct agi_reading *readings = agi_pool_take(pool, req->n_sensor_readings + 1, sizeof *readings);
	struct agi_plan_step step;
	const struct agi_policy *policy = agi_policy_in_force(a->cfg.policy, agi_clock_now().mono_us);
	enum agi_stop stop = stop_state(a);

	if (req->step)
		agi_plan_step_from_pb(&step, req->step, pool);

	for (size_t i = 0; readings && i < req->n_sensor_readings; i++)
		readings[i] = (struct agi_reading){agi_str_of_pb(req->sensor_readings[i]->key),
		                                   req->sensor_readings[i]->value};
	if (stop != AGI_STOP_CLEAR)
		*out = (struct agi_action_check){.decision = AGI_DECISION_BLOCK,
		                                 .risk = 1.0,
		                                 .reason = agi_str_of(stop_text(stop)),
		                                 .is_emergency_stop = stop == AGI_STOP_SET};
	else if (pool->err || !readings)
		*out = (struct agi_action_check){
		    .decision = AGI_DECISION_BLOCK,
		    .risk = 1.0,
		    .reason = agi_str_of(agi_check_cause_name(AGI_CHECK_OUT_OF_MEMORY))};
	else if (!policy)
		*out = (struct agi_action_check){
		    .decision = AGI_DECISION_BLOCK,
		    .risk = 1.0,
		    .reason = agi_str_of(agi_check_cause_name(AGI_CHECK_POLICY_STATE_UNKNOWN))};
	else
		agi_action_check(out, &policy->rules, req->step ? &step : NULL, readings, req->n_sensor_readings,
		                 pool);
}

static void check_action(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	Agi__Safety__V1__CheckActionResponse res = AGI__SAFETY__V1__CHECK_ACTION_RESPONSE__INIT;
	struct agi_check_result r = {.phase = "rule_check"};
	Agi__Safety__V1__CheckPlanResponse *m;
	struct agi_action_check found;
	struct agi_pool pool;

	agi_pool_init(&pool, 0);
	judge(ctx, (const Agi__Safety__V1__CheckActionRequest *)req, &pool, &found);
	see_action(ctx, (const Agi__Safety__V1__CheckActionRequest *)req, agi_grpc_call_bytes(call), &found);
	r.decision = found.decision;
	r.risk = found.risk;
	agi_strs_add(&r.reasons, &pool, found.reason);
	for (size_t i = 0; i < found.more.n; i++)
		agi_strs_add(&r.reasons, &pool, found.more.p[i]);
	m = agi_check_to_pb(&r, NULL, 0, &pool);
	if (m && !pool.err) {
		res.result = m->result;
		res.emergency_stop = found.is_emergency_stop;
		if (found.is_emergency_stop)
			res.stop_reason = agi_str_to_pb(found.reason);
		agi_grpc_reply(call, &res.base);
	} else {
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL); /* no answer is no permission */
	}
	agi_pool_free(&pool);
}

/* --- ReflexCheck ---------------------------------------------------------------------------------------- */
static void reflex_check(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agi__Safety__V1__ReflexCheckRequest *m = (const Agi__Safety__V1__ReflexCheckRequest *)req;
	Agi__Safety__V1__ReflexCheckResponse res = AGI__SAFETY__V1__REFLEX_CHECK_RESPONSE__INIT;
	struct agi_in_action *a = ctx;
	enum agi_stop stop = stop_state(a);
	struct agi_reflex r = {false, stop_text(stop)};

	if (stop == AGI_STOP_CLEAR)
		r = agi_reflex_check(a->cfg.policy->configured->rules.eval.mode, m->physical_harm_risk, m->collision_probability,
		                     m->emergency_flag);
	res.safe = r.is_safe;
	res.emergency_stop = !r.is_safe && stop != AGI_STOP_UNKNOWN;
	res.reason = agi_str_to_pb(agi_str_of(r.reason));
	see_reflex(a, m, r.is_safe);
	agi_grpc_reply(call, &res.base);
}

/* --- EmergencyStop --------------------------------------------------------------------------------------- */
static void on_stop_set(void *arg, enum agi_err err, const struct agi_stop_record *r, const struct agi_why *why)
{
	Agi__Safety__V1__EmergencyStopResponse res = AGI__SAFETY__V1__EMERGENCY_STOP_RESPONSE__INIT;
	struct stop_call *s = arg;
	char id[2 * AGI_STOP_ID_BYTES + 1];

	if (s->call && err) {
		agi_grpc_fail_err(s->call, err, why);
	} else if (s->call) {
		for (size_t i = 0; i < AGI_STOP_ID_BYTES; i++)
			snprintf(id + 2 * i, 3, "%02x", r->id[i]);
		res.acknowledged = true;
		res.stop_id = agi_str_to_pb(agi_str_of(id));
		agi_grpc_reply(s->call, &res.base);
	}
	LIST_REMOVE(s, link);
	free(s);
}

/* The stop goes on: only its answer is not wanted any more. */
static void on_cancel(void *arg)
{
	struct stop_call *s = arg;
	struct agi_grpc_call *call = s->call;

	s->call = NULL;
	agi_grpc_fail(call, AGI_GRPC_CANCELLED, "the client gave up; the stop may still take effect");
}

static void emergency_stop(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Agi__Safety__V1__EmergencyStopRequest *m = (const Agi__Safety__V1__EmergencyStopRequest *)req;
	struct agi_in_action *a = ctx;
	struct stop_call *s = calloc(1, sizeof *s);
	enum agi_err e;

	if (!s) {
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
		return;
	}
	*s = (struct stop_call){.a = a, .call = call};
	LIST_INSERT_HEAD(&a->stops, s, link);
	e = a->cfg.stop(a->cfg.ctx, agi_str_of_pb(m->reason), agi_str_of_pb(m->source), on_stop_set, s);
	if (e) {
		LIST_REMOVE(s, link);
		free(s);
		agi_grpc_fail_err(call, e, NULL);
		return;
	}
	agi_grpc_call_on_cancel(call, on_cancel, s);
}

/* --- life ------------------------------------------------------------------------------------------------ */
enum agi_err agi_in_action_new(const struct agi_in_action_cfg *cfg, struct agi_in_action **out)
{
	struct agi_in_action *a = calloc(1, sizeof *a);

	if (!a)
		return AGI_E_NOMEM;
	a->cfg = *cfg;
	LIST_INIT(&a->stops);
	a->note = evtimer_new(cfg->base, on_note, a);
	if (!a->note) {
		free(a);
		return AGI_E_NOMEM;
	}
	*out = a;
	return AGI_OK;
}

enum agi_err agi_in_action_serve(struct agi_in_action *a, struct agi_grpc_server *server)
{
	static const struct agi_grpc_method methods[] = {{.name = "CheckAction", .handler = check_action},
	                                                 {.name = "ReflexCheck", .handler = reflex_check},
	                                                 {.name = "EmergencyStop", .handler = emergency_stop}};

	return agi_grpc_server_add(server, &agi__safety__v1__in_action_safety_service__descriptor, methods,
	                           sizeof methods / sizeof *methods, a);
}

void agi_in_action_free(struct agi_in_action *a)
{
	struct stop_call *s;

	if (!a)
		return;
	while ((s = LIST_FIRST(&a->stops))) {
		LIST_REMOVE(s, link);
		free(s);
	}
	event_free(a->note);
	free(a);
}
