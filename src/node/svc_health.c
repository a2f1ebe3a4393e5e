/* SPDX-License-Identifier: Apache-2.0
 * grpc.health.v1.Health: Check. Watch is declared and not written: UNIMPLEMENTED, which the protocol asks
 * clients to take as "poll". */
#include "health.pb-c.h"
#include "node/svc.h"

static bool is_known(const struct agi_svc_health *h, struct agi_str name)
{
	if (name.n == 0)
		return true;
	for (size_t i = 0; i < h->n; i++)
		if (agi_str_eq(name, agi_str_of(h->names[i])))
			return true;
	return false;
}

static void check(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	const Grpc__Health__V1__HealthCheckRequest *p =
	    (const Grpc__Health__V1__HealthCheckRequest *)req;
	struct agi_svc_health *h = ctx;
	Grpc__Health__V1__HealthCheckResponse r = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	if (!is_known(h, agi_svc_str(p->service))) {
		agi_grpc_fail(call, AGI_GRPC_NOT_FOUND, "unknown service");
		return;
	}
	r.status = h->is_serving(h->ctx)
	               ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
	               : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
	agi_grpc_reply(call, &r.base);
}

enum agi_err agi_svc_health_add(struct agi_grpc_server *server, struct agi_svc_health *h)
{
	static const struct agi_grpc_method methods[] = {{"Check", check}};

	return agi_grpc_server_add(server, &grpc__health__v1__health__descriptor, methods, 1, h);
}
