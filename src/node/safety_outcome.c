/* SPDX-License-Identifier: Apache-2.0
 * agi.safety.v1.PostActionSafetyService: what became of a step goes into the audit log, and its client is answered when
 * another host has a copy.
 *
 *   reported ─► own log ─┬─ a witness has it ──────────────► ack
 *                        └─ none in time, or not written ──► NO_QUORUM: the client reports it again */
#include <stdlib.h>

#include "node/eval_pb.h"
#include "node/safety_impl.h"

struct report {
	LIST_ENTRY(report) link;
	struct agi_safety_plane *plane;
	uint64_t id, batch_id;
	agi_safety_logged_fn *done; /* NULL: forgotten */
	void *arg;
	enum agi_safety_report said;
	struct agi_buf event_id;
};

const char *agi_safety_report_name(enum agi_safety_report r)
{
	static const char *const names[] = {"success", "failure", "refused"};

	return (unsigned)r < sizeof names / sizeof *names ? names[r] : "unknown";
}

static void observe(struct agi_safety_plane *s, enum agi_safety_report r)
{
	safety_observe(s, &(struct agi_safety_event){.kind = AGI_SAFETY_REPORTED, .report = r});
}

static void report_free(struct report *r)
{
	LIST_REMOVE(r, link);
	r->plane->n_reports--;
	agi_buf_free(&r->event_id);
	free(r);
}

static void conclude(struct report *r, bool is_kept)
{
	Agi__Safety__V1__ActionOutcomeAck ack = AGI__SAFETY__V1__ACTION_OUTCOME_ACK__INIT;
	struct agi_why why = {""};
	enum agi_err e = AGI_OK;

	if (!is_kept)
		e = agi_fail(&why, AGI_E_NO_QUORUM,
		             "the outcome is not for certain in the audit logs of two hosts: report it again");
	ack.event_id = agi_str_to_pb(agi_buf_str(&r->event_id));
	ack.logged = true;
	observe(r->plane, is_kept ? r->said : AGI_REPORT_REFUSED);
	if (r->done)
		r->done(r->arg, e, e ? NULL : &ack, &why);
	report_free(r);
}

void outcome_on_audited(struct agi_safety_plane *s, uint64_t batch_id, bool is_kept)
{
	struct report *r, *next;

	for (r = LIST_FIRST(&s->reports); r; r = next) {
		next = LIST_NEXT(r, link);
		if (r->batch_id == batch_id)
			conclude(r, is_kept);
	}
}

void outcome_free_all(struct agi_safety_plane *s)
{
	struct report *r;

	while ((r = LIST_FIRST(&s->reports)))
		report_free(r);
}

/* --- reporting ---------------------------------------------------------------------------------------------- */
static struct agi_audit_outcome outcome_of(const Agi__Safety__V1__ActionOutcomeReport *m, struct agi_str bytes)
{
	struct agi_audit_outcome o = {.at_s = safety_wall_us() / 1000000,
	                              .is_success = m->success,
	                              .predicted_risk = m->predicted_risk,
	                              .actual_harm = m->actual_harm,
	                              .plan_id = agi_str_of_pb(m->plan_id),
	                              .step_id = agi_str_of_pb(m->step_id),
	                              .proof_hash = agi_str_of_pb(m->decision_proof_hash),
	                              .description = agi_str_of_pb(m->outcome_description)};

	agi_blake2b_256(o.report_hash, &bytes, 1);
	return o;
}

static struct report *report_new(struct agi_safety_plane *s, const struct agi_audit_outcome *o)
{
	struct report *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->plane = s;
	r->id = ++s->last_id;
	r->said = o->is_success ? AGI_REPORT_SUCCESS : AGI_REPORT_FAILURE;
	agi_buf_init(&r->event_id, 0);
	LIST_INSERT_HEAD(&s->reports, r, link);
	s->n_reports++;
	agi_audit_outcome_event_id(&r->event_id, o);
	if (!r->event_id.err)
		return r;
	report_free(r);
	return NULL;
}

/* NULL + *err, why. */
static struct report *begin(struct agi_safety_plane *s, const struct agi_audit_outcome *o, enum agi_err *err,
                            struct agi_why *why)
{
	struct report *r = NULL;

	*err = agi_audit_outcome_check(o, why);
	if (*err)
		return NULL;
	*err = s->n_reports < SAFETY_REPORTS_MAX ? AGI_E_NOMEM : AGI_E_FULL;
	r = *err == AGI_E_FULL ? NULL : report_new(s, o);
	if (r)
		*err = audit_outcome(s, o, &r->batch_id);
	if (!*err)
		return r;
	(void)agi_fail(why, *err, "the outcome could not be logged");
	if (r)
		report_free(r);
	return NULL;
}

enum agi_err agi_safety_plane_report(struct agi_safety_plane *s, const Agi__Safety__V1__ActionOutcomeReport *m,
                                     struct agi_str bytes, agi_safety_logged_fn *done, void *arg, uint64_t *id,
                                     struct agi_why *why)
{
	struct agi_audit_outcome o = outcome_of(m, bytes);
	enum agi_err e;
	struct report *r = begin(s, &o, &e, why);

	if (!r) {
		observe(s, AGI_REPORT_REFUSED);
		return e;
	}
	r->done = done;
	r->arg = arg;
	*id = r->id;
	return AGI_OK;
}

void agi_safety_plane_forget_report(struct agi_safety_plane *s, uint64_t id)
{
	struct report *r;

	LIST_FOREACH(r, &s->reports, link)
		if (r->id == id)
			r->done = NULL;
}

/* --- over gRPC, on the plane's loop ------------------------------------------------------------------------- */
struct asked {
	struct agi_safety_plane *plane;
	struct agi_grpc_call *call;
	uint64_t id;
};

static void on_logged(void *arg, enum agi_err err, const Agi__Safety__V1__ActionOutcomeAck *ack,
                      const struct agi_why *why)
{
	struct asked *a = arg;

	if (err)
		agi_grpc_fail_err(a->call, err, why);
	else
		agi_grpc_reply(a->call, &ack->base);
	free(a);
}

static void on_cancel(void *arg)
{
	struct asked *a = arg;

	agi_safety_plane_forget_report(a->plane, a->id);
	agi_grpc_fail(a->call, AGI_GRPC_CANCELLED, "the client gave up; the outcome is logged all the same");
	free(a);
}

static void report_outcome(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct asked *a = malloc(sizeof *a);
	struct agi_why why = {""};
	enum agi_err e = AGI_E_NOMEM;

	if (a) {
		*a = (struct asked){.plane = ctx, .call = call};
		e = agi_safety_plane_report(ctx, (const Agi__Safety__V1__ActionOutcomeReport *)req,
		                            agi_grpc_call_bytes(call), on_logged, a, &a->id, &why);
	}
	if (e) {
		free(a);
		agi_grpc_fail_err(call, e, why.text[0] ? &why : NULL);
		return;
	}
	agi_grpc_call_on_cancel(call, on_cancel, a);
}

enum agi_err agi_safety_plane_serve_outcomes(struct agi_safety_plane *s, struct agi_grpc_server *server)
{
	static const struct agi_grpc_method methods[] = {{.name = "ReportOutcome", .handler = report_outcome}};

	return agi_grpc_server_add(server, &agi__safety__v1__post_action_safety_service__descriptor, methods,
	                           sizeof methods / sizeof *methods, s);
}
