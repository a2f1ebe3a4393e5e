/* SPDX-License-Identifier: Apache-2.0
 * Measured values of one kind. */
#ifndef AGI_SIM_SAMPLES_H
#define AGI_SIM_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>

struct agi_sim_samples {
	double *v;
	size_t n, cap;
	bool is_sorted;
};
void agi_sim_samples_free(struct agi_sim_samples *s);
void agi_sim_samples_add(struct agi_sim_samples *s, double v);
/* Of none: 0. */
double agi_sim_samples_mean(const struct agi_sim_samples *s);
/* Sorts. The smallest value that at least this share (0 … 1) does not exceed; of none: 0. */
double agi_sim_samples_quantile(struct agi_sim_samples *s, double share);

#endif
