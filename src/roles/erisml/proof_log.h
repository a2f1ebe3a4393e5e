/* SPDX-License-Identifier: Apache-2.0
 * The chain of decision proofs (proof.h) as it is kept, so that it can be followed later and goes on after a restart.
 * Pure: who keeps the bytes is the audit log (roles/audit/chain.h).
 *
 *   run = blob(head of the chain before) row …
 *   row = 0 ‖ facts hash (32) ‖ blob(decision id) ‖ blob(profile name) ‖ blob(verdict)
 *       | 1 ‖ proof hash (32)            a proof whose texts are too long to keep: its link is taken on trust */
#ifndef AGI_ROLES_ERISML_PROOF_LOG_H
#define AGI_ROLES_ERISML_PROOF_LOG_H

#include "roles/erisml/facts.h"

enum {
	AGI_PROOF_TEXT_MAX = 1024,      /* of a row's texts together, bytes */
	AGI_PROOF_RUN_BYTES = 64 << 10, /* a run is ended when it has so many */
	AGI_PROOF_RUNS_BYTES = 4 << 20  /* kept between two takings */
};

/* Runs that were not taken yet, each a blob. Init with agi_proof_runs_init; b.err: rows were lost (FULL, NOMEM). */
struct agi_proof_runs {
	struct agi_buf b;
	size_t begun; /* of the open run's length field; b.n == 0: none is open */
};
void agi_proof_runs_init(struct agi_proof_runs *r);
/* They were taken. */
void agi_proof_runs_reset(struct agi_proof_runs *r);
void agi_proof_runs_free(struct agi_proof_runs *r);

struct agi_proof_row {
	struct agi_str previous_hash, hash;         /* hex digits; previous may be empty */
	struct agi_str facts_hash;                  /* hex digits */
	struct agi_str decision_id, profile, verdict;
};
void agi_proof_runs_add(struct agi_proof_runs *r, const struct agi_proof_row *row);

/* The text whose SHA-256 is a proof's hash. */
void agi_proof_text(struct agi_buf *out, const struct agi_proof_row *row);

/* Follows runs from the oldest on. */
struct agi_proof_walk {
	bool has_head;               /* false: the first run's is believed */
	char head[AGI_HASH_TEXT];    /* proof_hash of the newest proof; "" = none was made */
	uint64_t proofs;
};
/* CORRUPT + why: proofs are missing before it. MALFORMED + why: it cannot be read to its end. The walk then goes on
 * from what the run says. */
AGI_MUST_USE enum agi_err agi_proof_follow(struct agi_proof_walk *w, struct agi_str run, struct agi_why *why);

#endif
