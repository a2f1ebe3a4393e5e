/* SPDX-License-Identifier: Apache-2.0
 * Decision proofs: a hash chain over what was decided about which facts under which profile.
 *
 *   proof_hash = SHA-256("<decision_id>:<input_facts_hash>:<profile_name>:<verdict>:<previous_proof_hash>")
 *
 * in hex; reference mode keeps the first 16 digits of every hash and leaves plan proofs unhashed and out of
 * the chain. The head of the chain is a value that the caller owns, keeps and gives back. */
#ifndef AGI_ROLES_ERISML_PROOF_H
#define AGI_ROLES_ERISML_PROOF_H

#include "roles/erisml/evaluate.h"
#include "roles/erisml/bond.h"
#include "roles/erisml/proof_log.h"

struct agi_proof_chain {
	char head[AGI_HASH_TEXT]; /* proof_hash of the newest proof; "" = none yet */
	uint64_t length;          /* proofs made */
	struct agi_proof_runs *kept; /* strict mode: rows for whoever keeps the chain; NULL = nobody does */
};

struct agi_proof {
	struct agi_str decision_id, timestamp;
	struct agi_str input_facts_hash, profile_hash, profile_name;
	struct agi_strs candidates, ranked, forbidden; /* option ids */
	struct agi_str selected_option_id;
	struct agi_str governance_rationale;
	double confidence;
	struct agi_str previous_proof_hash, proof_hash;
};

/* Everything a proof needs besides the decision itself. */
struct agi_proof_ctx {
	const struct agi_eval_policy *policy;
	struct agi_str profile_name; /* of the request; empty = the policy's */
	uint64_t wall_us;            /* Unix time, microseconds */
	struct agi_proof_chain *chain;
	struct agi_pool *pool;
	/* What all proofs of one plan have alike; empty: made for each. */
	struct agi_str timestamp, profile_hash;
};
/* Fills the last two from the others. */
void agi_proof_ctx_share(struct agi_proof_ctx *ctx);

/* NULL when out of memory (the chain is then unchanged). Strings are in the pool or borrowed from facts. */
struct agi_proof *agi_proof_of_step(const struct agi_proof_ctx *ctx, const struct agi_facts *facts,
                                    const struct agi_step_eval *eval);

/* One option of a plan, in the plan's order. */
struct agi_proof_option {
	struct agi_str option_id;
	struct agi_str facts_hash; /* of its step's proof */
	double score;
	bool is_vetoed;
};
struct agi_proof *agi_proof_of_plan(const struct agi_proof_ctx *ctx,
                                    const struct agi_proof_option *options, size_t n,
                                    double bond_index);

/* What is judged by, hashed (64 hex digits): name, mode, thresholds, and what a profile of one's own says. */
void agi_profile_hash(char out[AGI_HASH_TEXT], const struct agi_eval_policy *policy,
                      struct agi_str profile_name);
/* "2026-11-23T12:06:03.843420+00:00" */
enum { AGI_TIMESTAMP_TEXT = 40 };
void agi_timestamp(char out[AGI_TIMESTAMP_TEXT], uint64_t wall_us);

#endif
