/* SPDX-License-Identifier: Apache-2.0
 * The policy that every gateway judges by: one strong register of the overlay beside the emergency stop's (latch.h),
 * read again and again by every host. While the register is absent, a host's configuration is its policy: epoch 0.
 *
 *   UNKNOWN ──a read──► IN FORCE (what it found) ──older than AGI_POLICY_VALID_MS, or doubted──► UNKNOWN
 *
 * Nothing is allowed by a policy that is not known to be in force. A copy counts from when its read began, on the
 * monotonic clock: AGI_POLICY_VALID_MS after a new policy was written no host judges by the one before it, cut off or
 * not. Pure. */
#ifndef AGI_ROLES_SAFETY_GATEWAY_POLICY_H
#define AGI_ROLES_SAFETY_GATEWAY_POLICY_H

#include "base/buf.h"
#include "roles/safety_gateway/gateway.h"

enum {
	AGI_POLICY_REFRESH_MS = 200,
	AGI_POLICY_VALID_MS = 800,
	AGI_POLICY_KEPT = 64,          /* versions that can be looked up */
	AGI_POLICY_TOOLS_MAX = 1024,
	AGI_POLICY_NAME_MAX = 255,     /* bytes of a tool's or a profile's name */
	AGI_POLICY_REASON_MAX = 512,   /* bytes, UTF-8 */
	AGI_POLICY_WHO_MAX = 128,
	AGI_POLICY_ID_BYTES = 16
};
#define AGI_POLICY_KEY "policy" /* in AGI_STOP_NAMESPACE; older versions: "policy.0" … "policy.63", by epoch */

/* Does not change once it is made; strings are its own. Shared within one thread. */
struct agi_policy {
	uint64_t epoch;     /* 0: from the configuration; grows by one with every change */
	uint64_t at_ms;     /* wall clock of the node that wrote it */
	uint8_t id[AGI_POLICY_ID_BYTES]; /* random, of this change */
	bool is_looser;     /* than the one before it, in something */
	struct agi_str reason, author, node;
	/* rules.eval.mode, profiles and rule_set are the host's own: they are no part of the record; rules.eval.profile is found
	 * by its name. Mode, rules and what the profile says are part of the hash. */
	struct agi_gateway_policy rules;
	uint32_t quorum;    /* gateways asked */
	enum agi_quorum_rule quorum_rule;
	uint32_t byzantine_faults;

	/* of all this */
	uint32_t needed;    /* of the gateways; 0 = quorum cannot be met (_check says so) */
	uint8_t hash[32];   /* of rules, and from epoch 1 on of the quorum: what votes carry */
	uint32_t refs;
	struct agi_pool pool;
};
/* A copy of what `from` says before "of all this". The caller drops it. NOMEM. */
AGI_MUST_USE enum agi_err agi_policy_new(const struct agi_policy *from, struct agi_policy **out);
struct agi_policy *agi_policy_hold(struct agi_policy *p);
/* NULL is allowed. */
void agi_policy_drop(struct agi_policy *p);

/* INVALID + why: names the field, what it says and what is allowed. */
AGI_MUST_USE enum agi_err agi_policy_check(const struct agi_policy *p, struct agi_why *why);
/* What of `to` may let something pass that `from` would not have: a line for people each; none = it is at least as
 * strict. Errors are the pool's. */
void agi_policy_looser(struct agi_strs *out, struct agi_pool *pool, const struct agi_policy *from,
                       const struct agi_policy *to);

void agi_policy_encode(struct agi_buf *b, const struct agi_policy *p);
/* host: its own mode, profiles and rule_set become part of it; borrowed for its life. MALFORMED: no record of this version, or from epoch 1 on one that _check refuses. NOMEM. */
AGI_MUST_USE enum agi_err agi_policy_decode(struct agi_str bytes, const struct agi_gateway_policy *host, struct agi_policy **out);

/* --- as one loop of a host knows it ------------------------------------------------------------------------- */
struct agi_policy_view {
	struct agi_policy *configured;
	struct agi_policy *known;   /* the last one read; never NULL between _init and _clear */
	struct agi_buf record;      /* known's bytes; empty: absent */
	uint64_t valid_until_us;    /* monotonic; 0 = not read */
	uint64_t not_before_us;     /* reads that began earlier say nothing */
};
/* configured is copied. NOMEM. */
AGI_MUST_USE enum agi_err agi_policy_view_init(struct agi_policy_view *v, const struct agi_policy *configured);
void agi_policy_view_clear(struct agi_policy_view *v);
/* A linearizable read that began at began_us found this record (p NULL: none). One that cannot be read or contradicts a
 * later epoch known already says nothing. True: known is another one now. */
bool agi_policy_view_read(struct agi_policy_view *v, struct agi_str record, uint64_t began_us);
/* Somebody says that there is a newer one: only a read that begins now tells. */
void agi_policy_view_doubt(struct agi_policy_view *v, uint64_t now_us);
/* NULL: not known. Valid until the next _read; hold it to keep it. */
struct agi_policy *agi_policy_in_force(const struct agi_policy_view *v, uint64_t now_us);

#endif
