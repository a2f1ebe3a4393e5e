/* SPDX-License-Identifier: Apache-2.0
 * This node's ErisML: asked by gateways over links, by clients over gRPC. */
#include <assert.h>
#include <stdlib.h>

#include "node/safety_impl.h"

/* It is over: counted, and what it proved is kept. */
static void conclude(struct agi_safety_plane *s, uint64_t began_us)
{
	audit_proofs_later(s);
	safety_observe(s, &(struct agi_safety_event){.kind = AGI_SAFETY_EVALUATED,
	                                             .bond_index = -1.0,
	                                             .took_us = safety_mono_us() - began_us});
}

/* A canary is judged by one that is thrown away after it: the default thresholds, the built-in profile, and nobody who keeps
 * proofs. */
static struct agi_erisml *erisml_for(struct agi_safety_plane *s, bool is_canary, struct agi_erisml *scratch)
{
	if (!is_canary)
		return &s->erisml;
	*scratch = s->erisml;
	agi_eval_policy_default(&scratch->policy);
	scratch->policy.mode = s->erisml.policy.mode;
	scratch->chain.kept = NULL;
	return scratch;
}

enum agi_err eval_here(struct agi_safety_plane *s, bool is_canary, const struct agi_facts *facts, size_t n,
                       struct agi_str profile, struct agi_pool *pool, struct agi_plan_eval *out,
                       struct agi_why *why)
{
	struct agi_erisml scratch, *e = erisml_for(s, is_canary, &scratch);
	struct agi_eval_policy policy = e->policy;
	struct agi_proof_ctx ctx = {.policy = &policy,
	                            .profile_name = profile,
	                            .wall_us = safety_wall_us(),
	                            .chain = &e->chain,
	                            .pool = pool};
	uint64_t began = safety_mono_us();
	enum agi_err err;

	agi_eval_policy_use(&policy, profile);
	err = agi_erisml_plan(out, &ctx, facts, n, true, why);

	agi_erisml_remember(e, err ? NULL : out);
	if (!is_canary)
		conclude(s, began);
	return err;
}

/* --- over links --------------------------------------------------------------------------------------- */
static enum agi_err evaluate_bytes(struct agi_erisml *e, struct agi_str request,
                                   struct agi_pool *pool, struct agi_str *response,
                                   struct agi_why *why)
{
	Agi__Erisml__V1__EvaluatePlanResponse *res = NULL;
	Agi__Erisml__V1__EvaluatePlanRequest *req = (Agi__Erisml__V1__EvaluatePlanRequest *)agi_pb_unpack(
	    &agi__erisml__v1__evaluate_plan_request__descriptor, request, why);
	enum agi_err err;

	if (!req)
		return AGI_E_MALFORMED;
	err = agi_erisml_evaluate_plan(e, safety_wall_us(), req, pool, &res, why);
	if (!err && res) {
		*response = agi_pb_to_pool(&res->base, pool);
		err = pool->err;
	}
	protobuf_c_message_free_unpacked(&req->base, NULL);
	return err;
}

void eval_on_request(struct agi_safety_plane *s, const struct agi_peer *from,
                     const struct agi_safety_msg *m)
{
	struct agi_safety_msg reply = {.kind = AGI_BODY_EVAL_REPLY, .rpc_id = m->rpc_id};
	struct agi_erisml scratch, *e = erisml_for(s, m->is_canary, &scratch);
	struct agi_why why = {"evaluation failed"};
	uint64_t began = safety_mono_us();
	struct agi_pool pool;

	agi_pool_init(&pool, 0);
	if (!s->serves_erisml)
		reply.error = AGI_STR("this node does not serve erisml");
	else if (evaluate_bytes(e, m->request, &pool, &reply.response, &why))
		reply.error = agi_str_of(why.text);
	if (!agi_utf8_is_valid(reply.error)) /* a name cut in the middle of a character */
		reply.error = AGI_STR("malformed request");
	if (safety_send(s, from, &reply)) {
		/* the gateway's deadline ends its vote with BLOCK */
	}
	agi_pool_free(&pool);
	if (!m->is_canary)
		conclude(s, began);
}

/* --- over gRPC ---------------------------------------------------------------------------------------- */
static enum agi_err evaluate_step(struct agi_safety_plane *s, const ProtobufCMessage *req, struct agi_pool *pool,
                                  const ProtobufCMessage **res, struct agi_why *why)
{
	Agi__Erisml__V1__EvaluateStepResponse *m = NULL;
	enum agi_err e = agi_erisml_evaluate_step(&s->erisml, safety_wall_us(),
	                                          (const Agi__Erisml__V1__EvaluateStepRequest *)req, pool, &m,
	                                          why);

	*res = m ? &m->base : NULL;
	return e;
}

static enum agi_err evaluate_plan(struct agi_safety_plane *s, const ProtobufCMessage *req, struct agi_pool *pool,
                                  const ProtobufCMessage **res, struct agi_why *why)
{
	Agi__Erisml__V1__EvaluatePlanResponse *m = NULL;
	enum agi_err e = agi_erisml_evaluate_plan(&s->erisml, safety_wall_us(),
	                                          (const Agi__Erisml__V1__EvaluatePlanRequest *)req, pool, &m,
	                                          why);

	*res = m ? &m->base : NULL;
	return e;
}

static enum agi_err bond_index(struct agi_safety_plane *s, const ProtobufCMessage *req, struct agi_pool *pool,
                               const ProtobufCMessage **res, struct agi_why *why)
{
	Agi__Erisml__V1__BondIndexResultProto *m = NULL;
	enum agi_err e = agi_erisml_bond_index(&s->erisml, (const Agi__Erisml__V1__BondIndexRequest *)req, pool,
	                                       &m, why);

	*res = m ? &m->base : NULL;
	return e;
}

static enum agi_err last_bond(struct agi_safety_plane *s, const ProtobufCMessage *req, struct agi_pool *pool,
                              const ProtobufCMessage **res, struct agi_why *why)
{
	Agi__Erisml__V1__BondIndexResultProto *m = NULL;
	enum agi_err e = agi_erisml_last_bond(&s->erisml, pool, &m);
	(void)req;
	(void)why;

	*res = m ? &m->base : NULL;
	return e;
}

static enum agi_err verify(struct agi_safety_plane *s, const ProtobufCMessage *req, struct agi_pool *pool,
                           const ProtobufCMessage **res, struct agi_why *why)
{
	Agi__Erisml__V1__HohfeldianResponse *m = NULL;
	enum agi_err e = agi_erisml_verify((const Agi__Erisml__V1__HohfeldianRequest *)req, pool, &m);
	(void)s;
	(void)why;

	*res = m ? &m->base : NULL;
	return e;
}

/* Every method of the service; here only. */
static const struct method {
	const char *name;
	bool is_judgement; /* for the metrics */
	enum agi_err (*fn)(struct agi_safety_plane *s, const ProtobufCMessage *req, struct agi_pool *pool,
	                   const ProtobufCMessage **res, struct agi_why *why);
} written[EVAL_METHODS] = {{"EvaluateStep", true, evaluate_step},
                           {"EvaluatePlan", true, evaluate_plan},
                           {"ComputeBondIndex", true, bond_index},
                           {"GetBondIndex", false, last_bond},
                           {"VerifyHohfeldian", true, verify}};

static bool is_called(const struct method *m, struct agi_str path)
{
	size_t n = strlen(m->name);

	return path.n > n && path.p[path.n - n - 1] == '/' && memcmp(path.p + path.n - n, m->name, n) == 0;
}

size_t eval_method_of(const struct agi_grpc_call *call)
{
	struct agi_str path = agi_grpc_call_path(call);
	size_t i = 0;

	while (!is_called(&written[i], path)) {
		i++;
		assert(i < EVAL_METHODS); /* the server calls for methods of eval_serve only */
	}
	return i;
}

const ProtobufCMessageDescriptor *eval_method_input(size_t method)
{
	return protobuf_c_service_descriptor_get_method_by_name(&agi__erisml__v1__eris_mlservice__descriptor,
	                                                        written[method].name)
	    ->input;
}

enum agi_err eval_method(struct agi_safety_plane *s, size_t method, const ProtobufCMessage *req,
                         struct agi_pool *pool, const ProtobufCMessage **res, struct agi_why *why)
{
	uint64_t began = safety_mono_us();
	enum agi_err e;

	*res = NULL;
	e = written[method].fn(s, req, pool, res, why);
	if (written[method].is_judgement)
		conclude(s, began);
	return !e && !*res ? AGI_E_NOMEM : e;
}

/* An error of the reference's application is status UNKNOWN. */
void eval_fail(struct agi_grpc_call *call, enum agi_err err, const struct agi_why *why)
{
	if (err == AGI_E_INVALID)
		agi_grpc_fail(call, AGI_GRPC_UNKNOWN, "Exception calling application: %s", why->text);
	else
		agi_grpc_fail_err(call, err, why->text[0] ? why : NULL);
}

static void answer(struct agi_safety_plane *s, struct agi_grpc_call *call, const ProtobufCMessage *req)
{
	const ProtobufCMessage *res;
	struct agi_why why = {{0}};
	struct agi_pool pool;
	enum agi_err err;

	agi_pool_init(&pool, 0);
	err = eval_method(s, eval_method_of(call), req, &pool, &res, &why);
	if (err)
		eval_fail(call, err, &why);
	else
		agi_grpc_reply(call, res);
	agi_pool_free(&pool);
}

/* A call whose evaluation waits for its turn. */
struct waiting {
	struct safety_work work;
	struct agi_safety_plane *plane;
	struct agi_grpc_call *call;
	const ProtobufCMessage *req;
};

static void waiting_run(struct safety_work *work)
{
	struct waiting *w = (struct waiting *)work;

	agi_grpc_call_on_cancel(w->call, NULL, NULL);
	answer(w->plane, w->call, w->req);
	free(w);
}

/* The call was ended by its server. */
static void waiting_drop(struct safety_work *work) { free(work); }

static void on_cancel(void *arg)
{
	struct waiting *w = arg;

	safety_later_remove(&w->plane->later, &w->work);
	agi_grpc_fail(w->call, AGI_GRPC_CANCELLED, "cancelled");
	free(w);
}

static void answer_later(struct agi_safety_plane *s, struct agi_grpc_call *call, const ProtobufCMessage *req)
{
	struct waiting *w = malloc(sizeof *w);
	enum agi_err e = AGI_E_NOMEM;

	if (w) {
		*w = (struct waiting){{.run = waiting_run, .drop = waiting_drop}, s, call, req};
		w->work.bytes = sizeof *w + agi_grpc_call_bytes(call).n;
		e = safety_later_add(&s->later, &w->work);
	}
	if (e) {
		free(w);
		agi_grpc_fail_err(call, e, NULL);
		return;
	}
	agi_grpc_call_on_cancel(call, on_cancel, w);
}

static void on_call(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	if (agi_grpc_call_bytes(call).n > SAFETY_LONG_BYTES)
		answer_later(ctx, call, req);
	else
		answer(ctx, call, req);
}

enum agi_err eval_serve(struct agi_grpc_server *server, struct agi_grpc_method methods[EVAL_METHODS],
                        agi_grpc_handler_fn *handler, void *ctx)
{
	for (size_t i = 0; i < EVAL_METHODS; i++)
		methods[i] = (struct agi_grpc_method){.name = written[i].name, .handler = handler};
	return agi_grpc_server_add(server, &agi__erisml__v1__eris_mlservice__descriptor, methods, EVAL_METHODS,
	                           ctx);
}

enum agi_err agi_safety_plane_serve_erisml(struct agi_safety_plane *s, struct agi_grpc_server *server)
{
	return eval_serve(server, s->erisml_methods, on_call, s);
}
