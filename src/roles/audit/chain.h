/* SPDX-License-Identifier: Apache-2.0
 * The audit log as bytes: a chain of entries for each life (start) of a node, so that whoever changes, removes, inserts
 * or swaps one breaks what follows. Pure: who keeps the bytes, and where, is src/node/audit_file.h.
 *
 *   entry  = version ‖ kind ‖ node ‖ incarnation ‖ seq ‖ at_ms ‖ hash of the entry before ‖ body
 *   hash   = BLAKE2b-256(entry)
 *   record = be32 length ‖ entry ‖ hash       (as it is kept; the hash tells damage of the last one too)
 *
 * seq counts from 0 in each life without a gap. The first entry of a life is a START, whose hash before is that of the
 * last entry found of the life before it. */
#ifndef AGI_ROLES_AUDIT_CHAIN_H
#define AGI_ROLES_AUDIT_CHAIN_H

#include "base/buf.h"
#include "base/id.h"
#include "roles/safety_gateway/certificate.h"

enum {
	AGI_AUDIT_HASH = 32,
	AGI_AUDIT_HEADER = 1 + 1 + AGI_ID_BYTES + 8 + 8 + 8 + AGI_AUDIT_HASH,
	AGI_AUDIT_BATCH = 256 << 10,  /* entries that go to a witness in one message, bytes */
	AGI_AUDIT_ENTRY_MAX = AGI_AUDIT_BATCH + (64 << 10), /* a WITNESS of one such message, and any other */
	AGI_AUDIT_RECORD_EXTRA = 4 + AGI_AUDIT_HASH,
	AGI_AUDIT_PLAN_ID_MAX = 256   /* bytes of a plan's id that are kept */
};

/* On disk and on the wire: only ever add. */
enum agi_audit_kind {
	AGI_AUDIT_NONE,
	AGI_AUDIT_START,    /* a life begins */
	AGI_AUDIT_DECISION, /* of a check that this node was asked for */
	AGI_AUDIT_STOP,     /* an emergency stop, or its end, is known here: body is its record (latch.h) */
	AGI_AUDIT_WITNESS,  /* another node's entries, as they were sent here before their client was answered */
	AGI_AUDIT_HEAD,     /* the node signs its chain up to here */
	AGI_AUDIT_PROOFS,   /* this node's ErisML proved decisions: body is a run (roles/erisml/proof_log.h) */
	AGI_AUDIT_OUTCOME,  /* what a client reported of a step that was carried out (outcome.h) */
	AGI_AUDIT_ACTION,   /* an in-action check forbade something (action.h) */
	AGI_AUDIT_REFLEXES, /* in-action checks of a moment (action.h) */
	AGI_AUDIT_POLICY,   /* another safety policy is known here (policy_change.h) */
	AGI_AUDIT_KINDS
};
const char *agi_audit_kind_name(enum agi_audit_kind k); /* "decision" */

struct agi_audit_entry {
	enum agi_audit_kind kind;
	struct agi_id node;
	uint64_t incarnation, seq;
	uint64_t at_ms; /* wall clock of the node */
	uint8_t prev[AGI_AUDIT_HASH];
	struct agi_str body; /* borrowed */
};
/* MALFORMED: no entry of this version, or of no kind known. */
AGI_MUST_USE enum agi_err agi_audit_decode(struct agi_audit_entry *out, struct agi_str bytes);
void agi_audit_hash(uint8_t out[AGI_AUDIT_HASH], struct agi_str bytes);

/* --- writing ---------------------------------------------------------------------------------------------- */
/* The end of a chain that grows. Begin with node, incarnation and, in last, the last hash of the life before. */
struct agi_audit_chain {
	struct agi_id node;
	uint64_t incarnation, next_seq;
	uint8_t last[AGI_AUDIT_HASH];
};
/* Appends the record of the next entry; false, and nothing changed, when b is out of memory or the body too long. */
AGI_MUST_USE bool agi_audit_append(struct agi_audit_chain *c, struct agi_buf *b, enum agi_audit_kind kind,
                                   uint64_t at_ms, struct agi_str body);
/* A HEAD: its body is the signature of the entry's other bytes, among them the hash of the entry before. */
AGI_MUST_USE bool agi_audit_append_head(struct agi_audit_chain *c, struct agi_buf *b, uint64_t at_ms,
                                        const uint8_t seckey[AGI_SECKEY_BYTES]);
/* A copy of *c made before takes back what was appended since. */

/* --- bodies ------------------------------------------------------------------------------------------------- */
struct agi_audit_start {
	bool has_before;
	uint64_t incarnation, seq; /* of the last entry found of the life before */
	uint64_t cut_bytes;        /* a torn end behind it, which was cut off */
};
void agi_audit_start_encode(struct agi_buf *b, const struct agi_audit_start *s);
AGI_MUST_USE enum agi_err agi_audit_start_decode(struct agi_audit_start *out, struct agi_str body);

struct agi_audit_decision {
	uint8_t plan_hash[32], nonce[16];
	enum agi_decision decision;
	double risk, bond_index;   /* bond_index negative: there was none */
	uint8_t policy_hash[32];
	uint64_t policy_epoch, stop_epoch;
	uint64_t latency_us;
	struct agi_str cause, plan_id;
	struct agi_str certificate; /* empty: none; then only BLOCK can be proved */
};
void agi_audit_decision_encode(struct agi_buf *b, const struct agi_audit_decision *d);
AGI_MUST_USE enum agi_err agi_audit_decision_decode(struct agi_audit_decision *out, struct agi_str body);

/* A WITNESS's body: entries (with their length before each) of one other node, as it sent them. */
void agi_audit_put_entry(struct agi_buf *b, struct agi_str entry);
/* The next entry of such a body; false at its end. c->bad: it is malformed. */
bool agi_audit_next_entry(struct agi_cur *c, struct agi_str *entry);
/* Every entry is one of this node's own, in order: what a witness takes. (Entries about other nodes are left out of
 * what is sent, so seq may jump.) MALFORMED. */
AGI_MUST_USE enum agi_err agi_audit_check_batch(struct agi_str body, const struct agi_id *from);

/* --- reading -------------------------------------------------------------------------------------------------- */
/* The next record; false at the end. c->bad: the bytes are no record (damaged, or torn). Whether hash is the entry's
 * is for the caller. */
bool agi_audit_next_record(struct agi_cur *c, struct agi_str *entry, const uint8_t **hash);

/* Entries of one chain, one after another. */
struct agi_audit_walk {
	bool has_last;
	struct agi_id node;
	uint64_t incarnation, seq;
	uint8_t last[AGI_AUDIT_HASH];
};
/* The next entry; hash (NULL: not known) is the one kept beside it. Whatever is wrong with it is the error (CORRUPT,
 * AUTH: a signature) + why, and the walk goes on behind it. *out is filled unless MALFORMED is returned. The first
 * entry of a walk need not be the first of its chain. */
AGI_MUST_USE enum agi_err agi_audit_follow(struct agi_audit_walk *w, struct agi_str bytes, const uint8_t *hash,
                                           struct agi_audit_entry *out, struct agi_why *why);
/* Whether a DECISION's certificate proves what it says, about the same plan and check. known: as for
 * agi_certificate_judge. AUTH, MALFORMED + why. */
AGI_MUST_USE enum agi_err agi_audit_check_decision(const struct agi_audit_entry *e, const struct agi_id *known,
                                                   size_t n_known, struct agi_why *why);

#endif
