/* SPDX-License-Identifier: Apache-2.0
 * This node's ErisML: asked by gateways over links, by clients over gRPC. */
#include "node/safety_impl.h"

static void observe(struct agi_safety_plane *s, uint64_t began_us)
{
	safety_observe(s, &(struct agi_safety_event){.kind = AGI_SAFETY_EVALUATED,
	                                             .bond_index = -1.0,
	                                             .took_us = safety_mono_us() - began_us});
}

enum agi_err eval_here(struct agi_safety_plane *s, const struct agi_facts *facts, size_t n,
                       struct agi_str profile, struct agi_pool *pool, struct agi_plan_eval *out,
                       struct agi_why *why)
{
	struct agi_proof_ctx ctx = {.policy = &s->erisml.policy,
	                            .profile_name = profile,
	                            .wall_us = safety_wall_us(),
	                            .chain = &s->erisml.chain,
	                            .pool = pool};
	uint64_t began = safety_mono_us();
	enum agi_err err = agi_erisml_plan(out, &ctx, facts, n, true, why);

	agi_erisml_remember(&s->erisml, err ? NULL : out);
	observe(s, began);
	return err;
}

/* --- over links --------------------------------------------------------------------------------------- */
static enum agi_err evaluate_bytes(struct agi_safety_plane *s, struct agi_str request,
                                   struct agi_pool *pool, struct agi_str *response,
                                   struct agi_why *why)
{
	Agi__Erisml__V1__EvaluatePlanResponse *res = NULL;
	Agi__Erisml__V1__EvaluatePlanRequest *req = (Agi__Erisml__V1__EvaluatePlanRequest *)agi_pb_unpack(
	    &agi__erisml__v1__evaluate_plan_request__descriptor, request, why);
	enum agi_err err;

	if (!req)
		return AGI_E_MALFORMED;
	err = agi_erisml_evaluate_plan(&s->erisml, safety_wall_us(), req, pool, &res, why);
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
	struct agi_why why = {"evaluation failed"};
	uint64_t began = safety_mono_us();
	struct agi_pool pool;

	agi_pool_init(&pool, 0);
	if (!s->serves_erisml)
		reply.error = AGI_STR("this node does not serve erisml");
	else if (evaluate_bytes(s, m->request, &pool, &reply.response, &why))
		reply.error = agi_str_of(why.text);
	if (!agi_utf8_is_valid(reply.error)) /* a name cut in the middle of a character */
		reply.error = AGI_STR("malformed request");
	if (safety_send(s, from, &reply)) {
		/* the gateway's deadline ends its vote with BLOCK */
	}
	agi_pool_free(&pool);
	observe(s, began);
}

/* --- over gRPC ---------------------------------------------------------------------------------------- */
/* Ends the call. An error of the reference's application is status UNKNOWN. */
static void answer(struct agi_safety_plane *s, struct agi_grpc_call *call, enum agi_err err,
                   const struct agi_why *why, const ProtobufCMessage *res, uint64_t began)
{
	observe(s, began);
	if (!err && res)
		agi_grpc_reply(call, res);
	else if (err == AGI_E_INVALID)
		agi_grpc_fail(call, AGI_GRPC_UNKNOWN, "Exception calling application: %s", why->text);
	else
		agi_grpc_fail_err(call, err ? err : AGI_E_NOMEM, why);
}

static void on_evaluate_step(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct agi_safety_plane *s = ctx;
	Agi__Erisml__V1__EvaluateStepResponse *res = NULL;
	uint64_t began = safety_mono_us();
	struct agi_why why = {{0}};
	struct agi_pool pool;
	enum agi_err err;

	agi_pool_init(&pool, 0);
	err = agi_erisml_evaluate_step(&s->erisml, safety_wall_us(),
	                               (const Agi__Erisml__V1__EvaluateStepRequest *)req, &pool, &res,
	                               &why);
	answer(s, call, err, &why, res ? &res->base : NULL, began);
	agi_pool_free(&pool);
}

static void on_evaluate_plan(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct agi_safety_plane *s = ctx;
	Agi__Erisml__V1__EvaluatePlanResponse *res = NULL;
	uint64_t began = safety_mono_us();
	struct agi_why why = {{0}};
	struct agi_pool pool;
	enum agi_err err;

	agi_pool_init(&pool, 0);
	err = agi_erisml_evaluate_plan(&s->erisml, safety_wall_us(),
	                               (const Agi__Erisml__V1__EvaluatePlanRequest *)req, &pool, &res,
	                               &why);
	answer(s, call, err, &why, res ? &res->base : NULL, began);
	agi_pool_free(&pool);
}

static void on_bond_index(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct agi_safety_plane *s = ctx;
	Agi__Erisml__V1__BondIndexResultProto *res = NULL;
	uint64_t began = safety_mono_us();
	struct agi_why why = {{0}};
	struct agi_pool pool;
	enum agi_err err;

	agi_pool_init(&pool, 0);
	err = agi_erisml_bond_index(&s->erisml, (const Agi__Erisml__V1__BondIndexRequest *)req, &pool,
	                            &res, &why);
	answer(s, call, err, &why, res ? &res->base : NULL, began);
	agi_pool_free(&pool);
}

static void on_last_bond(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct agi_safety_plane *s = ctx;
	Agi__Erisml__V1__BondIndexResultProto *res = NULL;
	struct agi_pool pool;
	enum agi_err err;
	(void)req;

	agi_pool_init(&pool, 0);
	err = agi_erisml_last_bond(&s->erisml, &pool, &res);
	if (err || !res)
		agi_grpc_fail_err(call, err ? err : AGI_E_NOMEM, NULL);
	else
		agi_grpc_reply(call, &res->base);
	agi_pool_free(&pool);
}

static void on_verify(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	struct agi_safety_plane *s = ctx;
	Agi__Erisml__V1__HohfeldianResponse *res = NULL;
	uint64_t began = safety_mono_us();
	struct agi_why why = {{0}};
	struct agi_pool pool;
	enum agi_err err;

	agi_pool_init(&pool, 0);
	err = agi_erisml_verify((const Agi__Erisml__V1__HohfeldianRequest *)req, &pool, &res);
	answer(s, call, err, &why, res ? &res->base : NULL, began);
	agi_pool_free(&pool);
}

static const struct agi_grpc_method methods[] = {{"EvaluateStep", on_evaluate_step},
                                                 {"EvaluatePlan", on_evaluate_plan},
                                                 {"ComputeBondIndex", on_bond_index},
                                                 {"GetBondIndex", on_last_bond},
                                                 {"VerifyHohfeldian", on_verify}};

enum agi_err agi_safety_plane_serve_erisml(struct agi_safety_plane *s, struct agi_grpc_server *server)
{
	return agi_grpc_server_add(server, &agi__erisml__v1__eris_mlservice__descriptor, methods,
	                           sizeof methods / sizeof *methods, s);
}
