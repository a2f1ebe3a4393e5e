/* SPDX-License-Identifier: Apache-2.0
 * Group commit: runs jobs in order, gathering writes into one batch until somebody asks for the commit.
 * Gets see the gathered writes; a scan of a touched column family, and a full batch, commit first.
 *
 *            write, get                       commit or read fails
 *   OPEN ───────────────▶ OPEN ── commit ──▶ OPEN ───────────▶ READ_ONLY (until reopened)
 *
 * Private to src/store; runs on one thread at a time. */
#ifndef AGI_STORE_GROUP_H
#define AGI_STORE_GROUP_H

#include "store/db.h"
#include "store/job.h"
#include "store/overlay.h"
#include "store/recent.h"

enum {
	AGI_GROUP_BYTES_MAX = 4 << 20, /* of one batch, and of answers held back with it */
	AGI_GROUP_JOBS_MAX = 4096,
	AGI_SCAN_BYTES_MAX = 64 << 20  /* one scan's answer, whatever it asks for */
};

struct agi_group {
	struct agi_db *db;
	rocksdb_writebatch_t *batch;
	struct agi_overlay overlay;
	struct agi_recent recent;  /* of what was staged, committed or not: empty after a failed commit */
	struct agi_jobs jobs;      /* run, not yet committed, in order */
	size_t n_jobs, n_staged, bytes;
	struct agi_jobs done;      /* complete: the owner takes them */
	uint64_t commits;
	bool is_read_only;
	enum agi_store_trouble trouble;
	struct agi_why read_only_why;
};

void agi_group_init(struct agi_group *g, struct agi_db *db);
void agi_group_free(struct agi_group *g);
/* Takes the job; it appears in g->done now or after a later commit. */
void agi_group_run_take(struct agi_group *g, struct agi_job **job);
/* Makes everything run so far durable and moves it to g->done. */
void agi_group_commit(struct agi_group *g);
/* From now on nothing is written: the first cause stays. Damage is marked on disk (mark.h). */
void agi_group_latch(struct agi_group *g, enum agi_err e, const struct agi_why *why);

#endif
