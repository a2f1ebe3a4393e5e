/* SPDX-License-Identifier: Apache-2.0
 * agihpc.v1.AuditService: this host's audit log, page by page. Read by the thread that waits for the disk
 * (audit_host.h), answered on the main loop. */
#ifndef AGI_NODE_SVC_AUDIT_H
#define AGI_NODE_SVC_AUDIT_H

#include "net/grpc.h"
#include "node/safety_host.h"

struct agi_svc_audit {
	struct agi_loop *main;
	struct agi_safety_host *safety;
	char node[AGI_ID_HEX];
};
/* a is borrowed for the server's life. */
AGI_MUST_USE enum agi_err agi_svc_audit_add(struct agi_svc_audit *a, struct agi_grpc_server *server);

#endif
