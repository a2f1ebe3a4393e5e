/* SPDX-License-Identifier: Apache-2.0
 * The body of a POLICY entry of the audit log (chain.h): from here on this host judges by another safety policy than
 * before. What the versions say is bound by their hashes and looked up by their epochs. Pure. */
#ifndef AGI_ROLES_AUDIT_POLICY_CHANGE_H
#define AGI_ROLES_AUDIT_POLICY_CHANGE_H

#include "base/buf.h"

/* As this host knew them: after a start or a sleep, versions may lie between the two. */
struct agi_audit_policy {
	uint64_t before_epoch, epoch;
	uint8_t before_hash[32], hash[32];
	uint64_t at_ms;    /* by the clock of the node that wrote it */
	bool is_looser;    /* than the version that epoch replaced */
	struct agi_str reason, author, node; /* borrowed; bounds: AGI_POLICY_REASON_MAX, AGI_POLICY_WHO_MAX */
};
void agi_audit_policy_encode(struct agi_buf *b, const struct agi_audit_policy *p);
/* MALFORMED. */
AGI_MUST_USE enum agi_err agi_audit_policy_decode(struct agi_audit_policy *out, struct agi_str body);

#endif
