/* SPDX-License-Identifier: Apache-2.0
 * What was measured: a table for people, JSON for programs, plots. */
#ifndef AGI_SIM_REPORT_H
#define AGI_SIM_REPORT_H

#include <stdio.h>

#include "sim/measure.h"

/* These sort the samples. */
void agi_sim_report_table(FILE *out, const struct agi_sim_opts *o, struct agi_sim_result *r);
/* One object on one line; its keys are part of the interface: agihpc-sim(1). */
void agi_sim_report_json(FILE *out, const struct agi_sim_opts *o, struct agi_sim_result *r);
/* Writes the distributions into o->plot_dir, which is made when it is not there, and has gnuplot draw them. IO with
 * why, also when there is no gnuplot: the data and the script are there then. */
AGI_MUST_USE enum agi_err agi_sim_report_plots(const struct agi_sim_opts *o, struct agi_sim_result *r,
                                               struct agi_why *why);

#endif
