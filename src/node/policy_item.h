/* SPDX-License-Identifier: Apache-2.0
 * The policy's register (roles/safety_gateway/policy.h): read again and again for the hosts' views, looked up, and
 * changed. On the core's loop.
 *
 *   set: read it: is it the version the change was made for, would it loosen anything? → keep that version under
 *        policy.(epoch mod 64) → compare-and-set to epoch + 1 → wait until no host can hold the one before for valid:
 *        none answers by it any more → done
 *
 * A version is kept before the next one replaces it, so the last AGI_POLICY_KEPT can always be looked up. */
#ifndef AGI_NODE_POLICY_ITEM_H
#define AGI_NODE_POLICY_ITEM_H

#include "node/dht_host.h"
#include "roles/safety_gateway/policy.h"

struct agi_policy_item;

struct agi_policy_item_cfg {
	struct event_base *base;
	struct agi_dht_host *host;
	char node[AGI_POLICY_WHO_MAX + 1];    /* this node's id: who wrote it */
	const struct agi_policy *configured;  /* copied */
	/* As agi_strong_item_cfg's. */
	void (*on_read)(void *ctx, struct agi_str record, uint64_t began_us);
	/* This node has just had this version chosen. */
	void (*on_chosen)(void *ctx, const struct agi_policy *p);
	void *ctx;
};
AGI_MUST_USE enum agi_err agi_policy_item_new(const struct agi_policy_item_cfg *cfg, struct agi_policy_item **out);
/* What is open is answered CLOSED. NULL is allowed. */
void agi_policy_item_free(struct agi_policy_item *it);
/* Begins to read. */
void agi_policy_item_start(struct agi_policy_item *it);
/* As the main loop knows it. */
const struct agi_policy_view *agi_policy_item_view(const struct agi_policy_item *it);
/* There is a newer one: what is known is not in force, and it is read now. */
void agi_policy_item_doubt(struct agi_policy_item *it);
/* There is said to be a newer one: it is read now, and what is known stays in force until then. */
void agi_policy_item_read_now(struct agi_policy_item *it);

struct agi_policy_found {
	struct agi_policy *policy;       /* borrowed; NULL on error */
	bool is_set;                     /* set: false: it would loosen something and that was not allowed; policy is what
	                                  * would have been set */
	const struct agi_strs *looser;   /* set: what it loosens */
};
typedef void agi_policy_fn(void *arg, enum agi_err err, const struct agi_policy_found *found,
                           const struct agi_why *why);

/* The version in force, by a linearizable read; with epoch: that version, NOT_FOUND when there never was one, or it is
 * not kept any more. fn is called once, never before this returns. FULL, NOMEM: it will not be. */
AGI_MUST_USE enum agi_err agi_policy_item_get(struct agi_policy_item *it, const uint64_t *epoch, agi_policy_fn *fn,
                                              void *arg);
/* wish: rules, quorum, reason and author count. base_epoch: of the version that it was made for. CONDITION: another one
 * is in force. OK comes when no host judges by the one before any more. Immediately INVALID + why, FULL, NOMEM. */
AGI_MUST_USE enum agi_err agi_policy_item_set(struct agi_policy_item *it, const struct agi_policy *wish,
                                              uint64_t base_epoch, bool may_loosen, agi_policy_fn *fn, void *arg,
                                              struct agi_why *why);

#endif
