/* SPDX-License-Identifier: Apache-2.0
 * Distributions as plots: of each kind of sample a file with value and share of the samples that do not exceed it, and
 * a script for gnuplot that draws them all. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/report.h"

enum { PATH_BYTES = 4096, POINTS = 1000, NOT_FOUND = 127 };

struct plot {
	const char *name, *title, *unit;
	struct agi_sim_samples *samples;
};

static FILE *create(const char *dir, const char *name, struct agi_why *why)
{
	char path[PATH_BYTES];
	FILE *f = NULL;

	if (snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path)
		f = fopen(path, "we");
	if (!f)
		(void)agi_fail(why, AGI_E_IO, "--plot: cannot write %s/%s", dir, name);
	return f;
}

static enum agi_err finish(FILE *f, const char *dir, struct agi_why *why)
{
	bool is_bad = ferror(f);

	if (fclose(f) != 0 || is_bad)
		return agi_fail(why, AGI_E_IO, "--plot: cannot write to %s; is the disk full?", dir);
	return AGI_OK;
}

static enum agi_err write_data(const char *dir, const struct plot *p, struct agi_why *why)
{
	char name[64];
	FILE *f;

	snprintf(name, sizeof name, "%s.dat", p->name);
	f = create(dir, name, why);
	if (!f)
		return AGI_E_IO;
	fprintf(f, "# %s%s, share of the samples that do not exceed it\n", p->title, p->unit);
	for (int i = 0; i <= POINTS; i++)
		fprintf(f, "%.6g %.4f\n", agi_sim_samples_quantile(p->samples, (double)i / POINTS), (double)i / POINTS);
	return finish(f, dir, why);
}

static enum agi_err write_script(const struct agi_sim_opts *o, const struct plot *plots, size_t n, struct agi_why *why)
{
	FILE *f = create(o->plot_dir, "plots.gp", why);

	if (!f)
		return AGI_E_IO;
	fprintf(f, "set terminal svg size 800,500 background 'white'\nset grid\nset key off\nset yrange [0:1]\n"
	           "set ylabel 'share of the samples'\n");
	for (size_t i = 0; i < n; i++)
		fprintf(f, "set output '%s.svg'\nset title '%s, %u hosts'\nset xlabel '%s%s'\n"
		           "plot '%s.dat' using 1:2 with steps linewidth 2\n",
		        plots[i].name, plots[i].title, o->nodes, plots[i].title, plots[i].unit, plots[i].name);
	return finish(f, o->plot_dir, why);
}

static enum agi_err draw(const char *dir, struct agi_why *why)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		if (chdir(dir) == 0)
			execlp("gnuplot", "gnuplot", "plots.gp", (char *)NULL);
		_exit(NOT_FOUND);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return agi_fail(why, AGI_E_IO, "--plot: cannot start gnuplot: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_FOUND)
		return agi_fail(why, AGI_E_IO, "--plot: gnuplot is not installed; data and plots.gp are in %s", dir);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return agi_fail(why, AGI_E_IO, "--plot: gnuplot failed on plots.gp in %s", dir);
	return AGI_OK;
}

enum agi_err agi_sim_report_plots(const struct agi_sim_opts *o, struct agi_sim_result *r, struct agi_why *why)
{
	const struct plot plots[] = {
	    {"hops", "hops of a lookup", "", &r->hops},
	    {"latency", "latency of a lookup", " (ms)", &r->latency_ms},
	    {"join", "time to join", " (ms)", &r->join_ms},
	    {"table", "hosts in a routing table", "", &r->table},
	    {"coordinates", "relative error of coordinates", "", &r->coord_error},
	    {"idle", "messages sent by a host when idle", " (1/s)", &r->sent},
	};
	size_t n = sizeof plots / sizeof *plots;
	enum agi_err err = AGI_OK;

	if (mkdir(o->plot_dir, 0777) != 0 && errno != EEXIST)
		return agi_fail(why, AGI_E_IO, "--plot: cannot make %s: %s", o->plot_dir, strerror(errno));
	for (size_t i = 0; i < n && err == AGI_OK; i++)
		err = write_data(o->plot_dir, &plots[i], why);
	if (err == AGI_OK)
		err = write_script(o, plots, n, why);
	return err == AGI_OK ? draw(o->plot_dir, why) : err;
}
