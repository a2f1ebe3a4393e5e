/* SPDX-License-Identifier: Apache-2.0
 * The thread that waits for the disk on behalf of the audit log: it syncs what the safety loop appends, and reads for
 * who asks (svc_audit.h).
 *
 * Life: _new → _start → … → _stop → _free. */
#ifndef AGI_NODE_AUDIT_HOST_H
#define AGI_NODE_AUDIT_HOST_H

#include "net/loop_thread.h"
#include "node/safety_plane.h"

struct agi_audit_host;

AGI_MUST_USE enum agi_err agi_audit_host_new(struct agi_loop *safety, struct agi_audit_host **out);
/* Syncs for this plane from now on. */
void agi_audit_host_serve(struct agi_audit_host *h, struct agi_safety_plane *plane);
AGI_MUST_USE enum agi_err agi_audit_host_start(struct agi_audit_host *h);
/* NULL is allowed. */
void agi_audit_host_stop(struct agi_audit_host *h);
void agi_audit_host_free(struct agi_audit_host *h);

/* On the safety loop; one at a time. Fits agi_safety_hooks.audit_sync. CLOSED: it does not run. */
AGI_MUST_USE enum agi_err agi_audit_host_sync(struct agi_audit_host *h, const struct agi_audit_sync *sync);
/* For what reads. */
struct agi_loop *agi_audit_host_loop(const struct agi_audit_host *h);

#endif
