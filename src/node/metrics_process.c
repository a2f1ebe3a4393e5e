/* SPDX-License-Identifier: Apache-2.0
 * The process_… metrics that Prometheus' own client libraries agree on (prometheus.io, "Writing
 * client libraries", process metrics), from proc(5). */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "node/metrics.h"

struct stat_line {
	unsigned long user_ticks, system_ticks, virtual_bytes;
	long threads, resident_pages;
	unsigned long long start_ticks; /* since boot */
};

static bool read_file(const char *path, char *to, size_t room)
{
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return false;
	n = fread(to, 1, room - 1, f);
	to[n] = '\0';
	fclose(f);
	return n > 0;
}

/* Fields 14, 15, 20, 22, 23, 24 of /proc/self/stat; the second, the name, may hold blanks and
 * parentheses. */
static bool read_stat(struct stat_line *s)
{
	char text[1024];
	const char *p;

	if (!read_file("/proc/self/stat", text, sizeof text))
		return false;
	p = strrchr(text, ')');
	return p && sscanf(p + 1,
			   " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d "
			   "%ld %*d %llu %lu %ld",
			   &s->user_ticks, &s->system_ticks, &s->threads, &s->start_ticks,
			   &s->virtual_bytes, &s->resident_pages) == 6;
}

/* Unix time of the boot, seconds. */
static bool read_boot(unsigned long long *out)
{
	static char text[64 << 10]; /* a line for each interrupt comes before it */
	const char *p;

	if (!read_file("/proc/stat", text, sizeof text))
		return false;
	p = strstr(text, "\nbtime ");
	return p && sscanf(p, "\nbtime %llu", out) == 1;
}

static void put(struct agi_buf *b, const char *name, const char *type, const char *help, double v)
{
	agi_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name,
		       v);
}

static void put_descriptors(struct agi_buf *b)
{
	DIR *d = opendir("/proc/self/fd");
	struct rlimit limit;
	int n = -3; /* ".", ".." and the one that reads them */

	if (!d)
		return;
	while (readdir(d))
		n++;
	closedir(d);
	put(b, "process_open_fds", "gauge", "Open file descriptors.", n);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		put(b, "process_max_fds", "gauge", "Most file descriptors this process may have.",
		    (double)limit.rlim_cur);
}

void agi_metrics_write_process(struct agi_buf *out)
{
	double hz = (double)sysconf(_SC_CLK_TCK);
	unsigned long long boot;
	struct stat_line s;

	put_descriptors(out);
	if (!read_stat(&s))
		return;
	put(out, "process_cpu_seconds_total", "counter", "User and system CPU time.",
	    (double)(s.user_ticks + s.system_ticks) / hz);
	put(out, "process_resident_memory_bytes", "gauge", "Resident memory.",
	    (double)s.resident_pages * (double)sysconf(_SC_PAGESIZE));
	put(out, "process_virtual_memory_bytes", "gauge", "Virtual memory.",
	    (double)s.virtual_bytes);
	put(out, "process_threads", "gauge", "Threads.", (double)s.threads);
	if (read_boot(&boot))
		put(out, "process_start_time_seconds", "gauge", "Start of the process, Unix time.",
		    (double)boot + (double)s.start_ticks / hz);
}
