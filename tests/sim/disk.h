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
};

void sim_disk_init(struct sim_disk *d);
void sim_disk_free(struct sim_disk *d);
void sim_disk_submit(struct sim_disk *d, uint64_t job_id, const struct agi_storage_req *req);
/* Executes the oldest request and hands its result to fn. False when none waits. */
bool sim_disk_step(struct sim_disk *d, void (*fn)(void *arg, uint64_t job_id,
                                                   const struct agi_storage_done *done),
                   void *arg);
/* Power loss: a random prefix of the pending writes survives. */
void sim_disk_crash(struct sim_disk *d, struct agi_prng *r);

#endif
