/* SPDX-License-Identifier: Apache-2.0
 * A simulated disk: base/storage.h in memory. Requests take effect in order; what has not completed when
 * the power goes may survive or not, but only a prefix of it and each write whole. */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "base/prng.h"
#include "base/storage.h"

struct sim_entry {
	struct agi_str key, value; /* owned */
};
struct sim_table {
	struct sim_entry *e; /* sorted by key */
	size_t n, cap;
};
struct sim_pending {
	struct sim_pending *next;
	uint64_t job_id;
	struct agi_storage_req req; /* strings owned by bytes */
	struct agi_storage_op *ops;
	char *bytes;
};
struct sim_disk {
	struct sim_table cf[AGI_CF_COUNT];
	struct sim_pending *first, **last;
	size_t n_pending;
	/* trouble: the write after so many more fails, and all later ones */
	bool is_failing, is_read_only;
	uint32_t writes_left;
	double bad_reads;        /* chance that a read ends with CORRUPT; needs prng */
	struct agi_prng *prng;
};

void sim_disk_init(struct sim_disk *d);
void sim_disk_free(struct sim_disk *d);
void sim_disk_submit(struct sim_disk *d, uint64_t job_id, const struct agi_storage_req *req);
/* Executes the oldest request and hands its result to fn. False when none waits. */
bool sim_disk_step(struct sim_disk *d, void (*fn)(void *arg, uint64_t job_id,
                                                   const struct agi_storage_done *done),
                   void *arg);
/* Executes the oldest request and tells nobody: power fails before its completion is seen. */
bool sim_disk_step_unseen(struct sim_disk *d);
/* What agi_store_expire permits. */
void sim_disk_expire(struct sim_disk *d, uint64_t before_ms);
/* Power loss: a random prefix of the pending writes survives. A failing disk works again. */
void sim_disk_crash(struct sim_disk *d, struct agi_prng *r);
/* What is stored under a key; false when nothing is. */
bool sim_disk_find(const struct sim_disk *d, enum agi_cf cf, struct agi_str key, struct agi_str *out);

#endif
