/* SPDX-License-Identifier: Apache-2.0
 * agihpc-sim: a cluster of many hosts in one process, measured. */
#include <stdio.h>

#include "sim/report.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

static int simulate(const struct agi_sim_opts *o)
{
	struct agi_sim_result r;
	struct agi_why why;
	enum agi_err err = agi_sim_measure(o, &r, &why);

	if (err == AGI_OK && o->is_json)
		agi_sim_report_json(stdout, o, &r);
	else if (err == AGI_OK)
		agi_sim_report_table(stdout, o, &r);
	if (err == AGI_OK && o->plot_dir)
		err = agi_sim_report_plots(o, &r, &why);
	if (err != AGI_OK)
		fprintf(stderr, "agihpc-sim: %s\n", why.text);
	agi_sim_result_free(&r);
	return err == AGI_OK && fflush(stdout) == 0 ? 0 : EXIT_FAILED;
}

int main(int argc, char **argv)
{
	struct agi_sim_opts o;
	enum agi_sim_task task;
	struct agi_why why;

	if (agi_sim_opts_parse(&o, &task, argc, argv, &why) != AGI_OK) {
		fprintf(stderr, "agihpc-sim: %s\n", why.text);
		return EXIT_USAGE;
	}
	if (task == AGI_SIM_RUN)
		return simulate(&o);
	if (task == AGI_SIM_HELP)
		agi_sim_opts_help(stdout);
	else if (task == AGI_SIM_COMPLETION)
		agi_sim_opts_completion(stdout);
	else
		printf("agihpc-sim %s\n", AGI_VERSION);
	return fflush(stdout) == 0 ? 0 : EXIT_FAILED;
}
