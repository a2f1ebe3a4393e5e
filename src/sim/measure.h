/* SPDX-License-Identifier: Apache-2.0
 * A whole run: hosts join, are left alone, look things up; and what was measured meanwhile. */
#ifndef AGI_SIM_MEASURE_H
#define AGI_SIM_MEASURE_H

#include "sim/options.h"
#include "sim/samples.h"

/* What one host sent in a window of time. */
struct agi_sim_load {
	double messages_per_s, bytes_per_s;         /* mean over all hosts */
	double messages_per_s_max, bytes_per_s_max; /* of the busiest */
};
struct agi_sim_result {
	uint32_t joined;                  /* hosts in the cluster before the lookups */
	uint32_t adversaries;
	uint64_t stops;                   /* of hosts, while lookups went on */
	struct agi_sim_samples join_ms;   /* from its start until a host has looked around */
	struct agi_sim_samples table;     /* hosts that a host knows and does not take for dead */
	struct agi_sim_samples sent;      /* messages/s of each host, idle */
	struct agi_sim_load idle, busy;
	/* Of lookups by honest hosts. Right: the nearest honest host found is the one that truly is the nearest of them,
	 * when the lookup began or when it ended. Those whose own host stopped meanwhile are not counted. */
	uint32_t lookups, right;
	struct agi_sim_samples hops;      /* of right ones: from one host to the next until the nearest had been asked;
	                                   * 0 = the host itself */
	struct agi_sim_samples latency_ms, asked; /* whole lookups; hosts asked */
	struct agi_sim_samples coord_error; /* of pairs of hosts: |estimated - true round trip| / true one */
	double slots_max_mean;            /* the busiest host's slots (as first replica of 4096), by the mean */
	double replicas_max_mean;         /* the same, as any replica */
	double bytes_per_node;            /* resident memory of this process for each host */
	double simulated_s, cpu_s;
	uint64_t events, messages, lost, trace;
};
/* INVALID or IO with why; TIMEOUT when the hosts do not find together. */
AGI_MUST_USE enum agi_err agi_sim_measure(const struct agi_sim_opts *o, struct agi_sim_result *out,
                                          struct agi_why *why);
void agi_sim_result_free(struct agi_sim_result *r);

#endif
