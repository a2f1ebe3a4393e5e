/* SPDX-License-Identifier: Apache-2.0
 * Telling the gateways that there is a newer policy, and which of them say that it is in force. On the safety loop. */
#ifndef AGI_NODE_SAFETY_POLICY_H
#define AGI_NODE_SAFETY_POLICY_H

#include "node/safety_plane.h"

enum { AGI_POLICY_TOLD_MAX = 2 * AGI_PANEL_CANDIDATES_MAX };

struct agi_policy_version {
	uint64_t epoch;
	uint8_t hash[32];
};
/* The gateways that this node knew when it was told, and the last that each has said. */
struct agi_policy_told {
	struct agi_policy_version version;
	size_t n;
	struct agi_policy_gateway {
		struct agi_id id;
		bool has_answered;
		bool is_sure; /* it knows which policy is in force: version; else it blocks */
		struct agi_policy_version version;
	} gateways[AGI_POLICY_TOLD_MAX];
};
/* Judges by that version, or by a later one. Of that epoch with another hash: by other rules of its own (decision 0017). */
bool agi_policy_is_confirmed(const struct agi_policy_told *t, size_t i);

/* This node has had the version chosen: the gateways known are told for two seconds, until they confirm it. The hook
 * policy_told is called with whom it told, and with each answer. */
void agi_safety_plane_policy_tell(struct agi_safety_plane *s, const struct agi_policy_version *v);

#endif
