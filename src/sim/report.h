/* SPDX-License-Identifier: Apache-2.0
 * What was measured, for people. */
#ifndef AGI_SIM_REPORT_H
#define AGI_SIM_REPORT_H

#include <stdio.h>

#include "sim/measure.h"

/* Sorts the samples. */
void agi_sim_report_table(FILE *out, const struct agi_sim_opts *o, struct agi_sim_result *r);

#endif
