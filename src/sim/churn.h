/* SPDX-License-Identifier: Apache-2.0
 * How long hosts stay, and how long they are away. */
#ifndef AGI_SIM_CHURN_H
#define AGI_SIM_CHURN_H

#include <stddef.h>

#include "base/err.h"
#include "base/prng.h"

enum agi_sim_churn_kind {
	AGI_SIM_STAY,
	AGI_SIM_EXPONENTIAL,
	AGI_SIM_WEIBULL,   /* a shape below 1: who has been there long stays long, as measured in peer-to-peer networks */
	AGI_SIM_SESSIONS   /* drawn from measured session times: a file with one in seconds on each line; '#': comment */
};
struct agi_sim_churn_cfg {
	enum agi_sim_churn_kind kind;
	double median_s, shape;
	double away_s;     /* mean, exponentially distributed */
	const char *file;
};
struct agi_sim_churn {
	struct agi_sim_churn_cfg cfg;
	struct agi_prng prng;
	double *session_s;
	size_t n_sessions;
};

/* INVALID or IO with why for a file that cannot be used. cfg->file is borrowed for the call only. */
AGI_MUST_USE enum agi_err agi_sim_churn_init(struct agi_sim_churn *c, const struct agi_sim_churn_cfg *cfg, uint64_t seed,
                                             struct agi_why *why);
void agi_sim_churn_free(struct agi_sim_churn *c);
/* Draws; kind is not STAY. */
uint64_t agi_sim_churn_session_us(struct agi_sim_churn *c);
uint64_t agi_sim_churn_away_us(struct agi_sim_churn *c);

#endif
