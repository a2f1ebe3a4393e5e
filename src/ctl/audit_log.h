/* SPDX-License-Identifier: Apache-2.0
 * The audit logs of a whole cluster: every host's own chain and the copies that others keep of it, read page by page
 * from all of them side by side, checked as they come, compared at the end.
 *
 * Life: zero → ctl_audit_collect → (ctl_audit_compare) → … → ctl_audit_free. */
#ifndef AGI_CTL_AUDIT_LOG_H
#define AGI_CTL_AUDIT_LOG_H

#include "ctl/ctl.h"
#include "roles/audit/chain.h"
#include "roles/erisml/proof_log.h"

struct ctl_audit_host {
	struct agi_id id;
	char *target;
	char *why;              /* NULL: it answered; else why not */
	struct agi_audit_walk walk;
	struct agi_proof_walk proofs;
	struct agi_str cursor;  /* where its log ends, or goes on */
	bool has_more;
	bool has_oldest;        /* of its own entries */
	uint64_t oldest_life, oldest_seq;
};

/* An entry, as its own host has it or as another one keeps it. */
struct ctl_audit_entry {
	struct agi_audit_entry e;       /* body is in bytes */
	struct agi_str bytes;           /* owned */
	uint8_t hash[AGI_AUDIT_HASH];
	int holder;                     /* host that keeps it; -1: it is from its own log */
	uint32_t copies;                /* after _compare, of the first of those with its number: at other hosts */
	bool is_shown;                  /* that first one */
};

/* The end of one life in its own log. */
struct ctl_audit_life {
	struct agi_id node;
	uint64_t incarnation, last_seq;
};

struct ctl_audit {
	uint64_t since_ms;
	bool is_checked;             /* findings are made */
	const struct agi_id *known;  /* gateways trusted, as for agi_certificate_judge */
	size_t n_known;

	struct ctl_audit_host *hosts;
	size_t n_hosts;
	struct ctl_audit_entry *entries; /* after _compare ordered by node, life, number; own before copies */
	size_t n_entries, cap_entries;
	struct ctl_audit_life *lives;
	size_t n_lives, cap_lives;
	char **findings;
	size_t n_findings, cap_findings;
	uint64_t checked;            /* entries of own logs that were followed */
};

/* Asks c->node for the members and all of them for their logs. A host that does not answer is named in its why; other
 * errors are reported. */
enum ctl_exit ctl_audit_collect(struct ctl *c, struct ctl_audit *a);
/* Orders the entries, and with is_checked holds each host's own log against the copies of others. */
void ctl_audit_compare(struct ctl_audit *a);
/* Hosts that did not answer. */
size_t ctl_audit_missing(const struct ctl_audit *a);
void ctl_audit_free(struct ctl_audit *a);

#endif
