/* SPDX-License-Identifier: Apache-2.0
 * What a gateway says of a plan, so that anybody can check later that it said so.
 *
 * A statement is a fixed string of bytes; the gateway signs it with its node key (Ed25519, RFC 8032). Many made in one
 * turn of the loop are signed together: the signature is over the root of a Merkle tree of them, and each carries its
 * audit path (the tree and the paths of RFC 9162, section 2.1, with BLAKE2b-256 for the hash). The vote itself rests on
 * the authenticated link; the signature is for afterwards. Pure. */
#ifndef AGI_ROLES_SAFETY_GATEWAY_STATEMENT_H
#define AGI_ROLES_SAFETY_GATEWAY_STATEMENT_H

#include "base/hash.h"
#include "base/id.h"
#include "roles/safety_gateway/gateway.h"

enum {
	AGI_STATEMENT_BYTES = 1 + 32 + 16 + 1 + 8 + 8 + 32 + 8 + 8 + 32 + 8 + 8,
	AGI_STATEMENT_BATCH = 256, /* signed together at most */
	AGI_STATEMENT_PATH = 8     /* log2 of it */
};

struct agi_statement {
	uint8_t plan_hash[32];   /* BLAKE2b-256 of the CheckPlanRequest as the gateway got it */
	uint8_t nonce[16];       /* of the check: no vote counts twice */
	enum agi_decision decision;
	double risk;
	double bond_index;       /* negative: there was none */
	uint8_t policy_hash[32]; /* of the rules it was judged by (agi_policy_hash) */
	uint64_t policy_epoch;   /* 0: from the configuration */
	uint64_t stop_epoch;     /* of the emergency stop's latch */
	struct agi_id gateway;
	uint64_t incarnation;
	uint64_t at_ms;          /* wall clock of the gateway */
};
void agi_statement_encode(uint8_t out[AGI_STATEMENT_BYTES], const struct agi_statement *s);
/* MALFORMED: another length or version, or a decision that is none. */
AGI_MUST_USE enum agi_err agi_statement_decode(struct agi_statement *out, struct agi_str bytes);

/* Everything in a policy that a decision depends on. */
void agi_policy_hash(uint8_t out[32], const struct agi_gateway_policy *p);

/* The i-th of n statements signed together. */
struct agi_signed_statement {
	uint8_t bytes[AGI_STATEMENT_BYTES];
	uint32_t index, count;
	uint8_t n_path;
	uint8_t path[AGI_STATEMENT_PATH][32];
	uint8_t sig[AGI_SIG_BYTES];
	uint8_t pubkey[AGI_PUBKEY_BYTES];
};
/* Fills path, sig, pubkey, index and count of all n (1 … AGI_STATEMENT_BATCH), whose bytes are there. */
void agi_statements_sign(struct agi_signed_statement *const *s, size_t n, const uint8_t seckey[AGI_SECKEY_BYTES]);
/* Roots whose signatures were found right lately: what was signed together is verified once. All zero to begin with. */
enum { AGI_SIGNED_ROOTS = 32 };
struct agi_signed_roots {
	struct agi_signed_root {
		uint8_t root[32], sig[AGI_SIG_BYTES], pubkey[AGI_PUBKEY_BYTES];
	} of[AGI_SIGNED_ROOTS];
	size_t n, next;
};
/* AUTH + why: the path does not lead to a root that this key signed, or the key is not the gateway's (its id is the
 * key's hash). MALFORMED: it does not decode. On OK out (may be NULL) is what was said. seen may be NULL. */
AGI_MUST_USE enum agi_err agi_statement_verify(const struct agi_signed_statement *s, struct agi_statement *out,
                                               struct agi_signed_roots *seen, struct agi_why *why);

#endif
