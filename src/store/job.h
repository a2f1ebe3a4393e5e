/* SPDX-License-Identifier: Apache-2.0
 * One queued request with its own copy of all bytes, and its answer. Private to src/store. */
#ifndef AGI_STORE_JOB_H
#define AGI_STORE_JOB_H

#include "base/buf.h"
#include "base/storage.h"

struct agi_job {
	struct agi_job *next;
	uint64_t id;
	size_t bytes;               /* of this copy; what the queue's bound counts */
	struct agi_storage_req req; /* points into data */
	struct agi_storage_done done;
	struct agi_buf result;      /* keys and values read */
	struct agi_kv *kv;          /* done.kv; owned */
	size_t n_ranges;            /* WRITE: range deletions among the operations */
	struct agi_storage_was *was; /* WRITE: one for each operation, in data; NULL when none is conditional */
	bool is_staged;             /* WRITE: in the batch that is not committed yet */
	bool is_from_overlay;       /* GET: answered from that batch */
	_Alignas(struct agi_storage_op) char data[]; /* operations, what they found, then bytes */
};

/* Done only when what is stored under its key allows it. */
static inline bool agi_is_conditional(const struct agi_storage_op *op)
{
	return op->verb == AGI_PUT_NEWER || op->verb == AGI_DELETE_IF;
}

struct agi_jobs { /* a list in submission order */
	struct agi_job *first, **tail;
};

/* INVALID for what no executor could do (a PUT_NEWER or DELETE_IF without a version), TOO_LARGE beyond max_bytes, NOMEM. */
AGI_MUST_USE enum agi_err agi_job_new(uint64_t id, const struct agi_storage_req *req, size_t max_bytes,
                                      struct agi_job **out);
void agi_job_free(struct agi_job *j);
/* Forgets the answer, to be worked out again. */
void agi_job_reset(struct agi_job *j);
/* Ends it with an error. */
void agi_job_fail(struct agi_job *j, enum agi_err e, const char *text);

void agi_jobs_init(struct agi_jobs *l);
void agi_jobs_add(struct agi_jobs *l, struct agi_job *j);
struct agi_job *agi_jobs_take_first(struct agi_jobs *l); /* NULL when empty */
/* Appends all of from, which is empty afterwards. */
void agi_jobs_join(struct agi_jobs *l, struct agi_jobs *from);
void agi_jobs_free(struct agi_jobs *l);

#endif
