/* SPDX-License-Identifier: Apache-2.0
 * What is to be simulated, as said on the command line (agihpc-sim(1)). */
#ifndef AGI_SIM_OPTIONS_H
#define AGI_SIM_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include "sim/attack.h"
#include "sim/churn.h"
#include "sim/latency.h"

enum { AGI_SIM_NODES_MAX = 1000000 };

struct agi_sim_opts {
	uint32_t nodes, lookups, virtual_nodes, paths;
	uint64_t seed;
	double join_per_s;    /* hosts that start in a second */
	double settle_s;      /* after the last has joined, before anything is measured */
	double idle_s;        /* measured without lookups */
	double duration_s;    /* the lookups are spread over it */
	double jitter;        /* mean of what is added to a delay, as a share of it */
	double loss;          /* share of messages lost */
	struct agi_sim_latency_cfg latency;
	struct agi_sim_churn_cfg churn; /* from when the lookups begin */
	struct agi_sim_attack_cfg attack; /* from the start */
	const char *plot_dir; /* NULL = no plots */
	bool is_json;
	bool is_quiet;        /* no progress on standard error */
};

enum agi_sim_task { AGI_SIM_RUN, AGI_SIM_HELP, AGI_SIM_VERSION, AGI_SIM_COMPLETION };
/* Strings are borrowed from argv. INVALID with why: what was wrong, and what would be right. */
AGI_MUST_USE enum agi_err agi_sim_opts_parse(struct agi_sim_opts *o, enum agi_sim_task *task, int argc, char **argv,
                                             struct agi_why *why);
void agi_sim_opts_help(FILE *out);
/* The completion for bash. */
void agi_sim_opts_completion(FILE *out);

#endif
