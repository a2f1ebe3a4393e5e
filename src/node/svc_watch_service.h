/* SPDX-License-Identifier: Apache-2.0
 * agihpc.v1.RegistryService WatchService: clients are told how the instances of a service change, as this node
 * sees it (service_feed.h). The node looks at what it knows every AGI_SERVICE_LOOK_MS while anybody watches, and keeps
 * the changes for AGI_SERVICE_LINGER_MS after the last watch of a service has ended, so that it can be resumed.
 * Life: agi_service_watches_new before the gRPC server gets its services; _free after the server, before the host. */
#ifndef AGI_NODE_SVC_WATCH_SERVICE_H
#define AGI_NODE_SVC_WATCH_SERVICE_H

#include "node/svc.h"

enum {
	AGI_SERVICE_LOOK_MS = 200,
	AGI_SERVICE_LINGER_MS = 60000 /* a client that lost its connection is back by then, or reads all */
};

AGI_MUST_USE enum agi_err agi_service_watches_new(struct agi_svc *s, struct event_base *base,
                                                  struct agi_service_watches **out);
/* NULL is allowed. */
void agi_service_watches_free(struct agi_service_watches *w);
/* The gRPC method. */
void agi_svc_watch_service(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx);

#endif
