/* SPDX-License-Identifier: Apache-2.0
 * agihpc.v1.EventService is declared, for clients to be written against, and not there yet: every method
 * says so. */
#include "agihpc.pb-c.h"
#include "node/svc.h"

static void tell(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	(void)req;
	(void)ctx;
	agi_grpc_fail(call, AGI_GRPC_UNIMPLEMENTED,
	              "agihpc.v1.EventService: this version of agihpc-node (%s) has no event fabric yet; nothing "
	              "was published or will be delivered",
	              AGI_VERSION);
}

enum agi_err agi_svc_event_add(struct agi_grpc_server *server)
{
	static const struct agi_grpc_method methods[] = {
	    {.name = "Publish", .handler = tell},
	    {.name = "Subscribe", .handler = tell, .kind = AGI_GRPC_SERVER_STREAM},
	};

	return agi_grpc_server_add(server, &agihpc__v1__event_service__descriptor, methods,
	                           sizeof methods / sizeof *methods, NULL);
}
