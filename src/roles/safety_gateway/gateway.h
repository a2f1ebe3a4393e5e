/* SPDX-License-Identifier: Apache-2.0
 * One safety gateway's check of a plan, without I/O: rules first, then ErisML, then the Bond Index. A rule that denies
 * ends it; one that only defers or modifies is held against what the others find, and the stricter decides.
 *
 *   agi_gateway_begin ─ DONE ──────────────────────────────► result
 *          └─ NEED_ERISML ─ agi_gateway_finish (an answer) ─► result
 *                        └─ agi_gateway_fail   (no answer) ─► result: BLOCK
 *
 * Fails safe: whatever cannot be computed, read or trusted ends in BLOCK, in every mode. */
#ifndef AGI_ROLES_SAFETY_GATEWAY_GATEWAY_H
#define AGI_ROLES_SAFETY_GATEWAY_GATEWAY_H

#include "roles/erisml/plan_eval.h"
#include "roles/plan.h"
#include "roles/rules/rules.h"
#include "roles/safety_gateway/vote.h"

struct agi_gateway_policy {
	struct agi_eval_policy eval;   /* mode, physical harm threshold, profile */
	const struct agi_str *banned;  /* tool ids, compared byte for byte */
	size_t n_banned;
	const struct agi_rules *rule_set; /* strict: what an operator's file says; NULL = none; sealed, borrowed.
	                                   * The host's own, as eval.mode is: no policy from elsewhere replaces it */
	double bond_index_warn;        /* strict: at or above, a reason is added */
	double bond_index_block;       /* strict: at or above, bond_index_action is the decision */
	double bond_index_fallback;    /* strict: an index that cannot be computed counts as this; below
	                                * bond_index_block or no share: as 1 */
	enum agi_decision bond_index_action; /* REVISE, DEFER or BLOCK; anything else counts as BLOCK */
};
/* Strict; the five banned tools of the reference; 0.25, 0.30, 1.0, BLOCK. */
void agi_gateway_policy_default(struct agi_gateway_policy *p);

/* Why a check ended as it did where no rule was broken. */
enum agi_check_cause {
	AGI_CHECK_OK,
	AGI_CHECK_ERISML_UNAVAILABLE, /* none is known, or it cannot be reached */
	AGI_CHECK_ERISML_TIMEOUT,
	AGI_CHECK_ERISML_MALFORMED,   /* its answer cannot be read or contradicts itself or the request */
	AGI_CHECK_TOO_LARGE,          /* more steps or bytes than are checked */
	AGI_CHECK_OUT_OF_MEMORY,
	AGI_CHECK_BUSY,               /* as many checks as are made at once are being made */
	AGI_CHECK_EMERGENCY_STOP,     /* the cluster is stopped (latch.h) */
	AGI_CHECK_STOP_STATE_UNKNOWN, /* whether it is stopped could not be confirmed */
	AGI_CHECK_AUDIT_UNAVAILABLE,  /* the decision could not be logged where the loss of a host does not lose it */
	AGI_CHECK_POLICY_MISMATCH,    /* a gateway judged by another policy than the one in force (poll.h, policy.h) */
	/* found by the router (poll.h): a gateway's vote … */
	AGI_CHECK_VOTE_MALFORMED,       /* cannot be read */
	AGI_CHECK_VOTE_CONTRADICTORY,   /* was signed for another decision, or as another gateway, than it was sent */
	AGI_CHECK_VOTE_REPLAYED,        /* was signed for another plan or another check */
	AGI_CHECK_VOTE_STOP_STALE,      /* was made at another stop epoch than the router knows */
	AGI_CHECK_VOTE_CLOCK_OFF,       /* is more than AGI_VOTE_SKEW_MS from the router's time */
	AGI_CHECK_VOTE_SIGNATURE_WRONG,
	AGI_CHECK_CANARY_FAILED,      /* this gateway has judged a plan wrongly whose decision is known (canary.h) */
	AGI_CHECK_POLICY_STATE_UNKNOWN, /* which policy is in force could not be confirmed (policy.h) */
	AGI_CHECK_PROFILE_UNKNOWN,    /* the policy names a profile that this gateway does not have */
	AGI_CHECK_PROFILE_MISMATCH,   /* ErisML judged by another profile, or by another one of that name */
	AGI_CHECK_CAUSES
};
const char *agi_check_cause_name(enum agi_check_cause c); /* "ERISML_TIMEOUT" */

/* Numbered as agi.safety.v1.RiskCategory. */
enum agi_risk_category {
	AGI_RISK_PHYSICAL_HARM = 1,
	AGI_RISK_RIGHTS_VIOLATION,
	AGI_RISK_RULE_VIOLATION,
	AGI_RISK_FAIRNESS,
	AGI_RISK_EPISTEMIC,
	AGI_RISK_BOND_INDEX,
	AGI_RISK_CATEGORIES
};

struct agi_step_check {
	struct agi_str step_id;
	enum agi_decision decision;
	double risk;               /* 0 … 1 */
	struct agi_strs reasons;   /* strict */
	unsigned categories;       /* strict; bit 1 << enum agi_risk_category */
	const struct agi_proof *proof; /* strict; NULL = none */
};

struct agi_check_result {
	enum agi_decision decision;
	double risk;
	struct agi_strs reasons;
	unsigned categories;       /* strict; as above */
	bool has_bond;
	struct agi_bond bond;
	const struct agi_proof *proof; /* strict; NULL = none */
	const char *phase;         /* static: "rule_check", "erisml_check", "bond_index_check", "complete" */
	enum agi_check_cause cause;
	const struct agi_step_check *steps; /* only steps that are not allowed */
	size_t n_steps;
};

struct agi_gateway_check {
	const struct agi_gateway_policy *policy;
	const struct agi_plan *plan;
	struct agi_pool *pool;
	struct agi_check_result ruled; /* what the rules that do not deny make of it */
	struct agi_facts *facts; /* of every step, for ErisML's EvaluatePlan with proofs, the policy's profile */
};

enum agi_gateway_next { AGI_GATEWAY_DONE, AGI_GATEWAY_NEED_ERISML };
/* policy, plan and pool are kept until the check is over. plan NULL = none was given. On DONE out is the
 * result, else it is untouched. */
AGI_MUST_USE enum agi_gateway_next agi_gateway_begin(struct agi_gateway_check *c,
                                                     const struct agi_gateway_policy *policy,
                                                     const struct agi_plan *plan, struct agi_pool *pool,
                                                     struct agi_check_result *out);
/* ErisML's answer to c->facts. Its strings are kept by the result. */
void agi_gateway_finish(struct agi_gateway_check *c, const struct agi_plan_eval *eval,
                        struct agi_check_result *out);
/* No usable answer: BLOCK. detail: for a person, may be NULL. */
void agi_gateway_fail(struct agi_gateway_check *c, enum agi_check_cause cause, const char *detail,
                      struct agi_check_result *out);
/* A BLOCK that needs no memory: for failures before or beside a check. */
void agi_check_block(struct agi_check_result *out, enum agi_check_cause cause);

#endif
