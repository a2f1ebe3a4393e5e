/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum { BAR = 24 };

void ctl_progress(const char *what, uint64_t done, uint64_t total, const char *fmt, ...)
{
	char bar[BAR + 1], text[160];
	unsigned part = total ? (unsigned)((double)(done < total ? done : total) / (double)total * 100) : 0;
	va_list ap;

	if (!isatty(STDERR_FILENO))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (unsigned i = 0; i < BAR; i++)
		bar[i] = i < part * BAR / 100 ? '#' : ' ';
	bar[BAR] = '\0';
	if (total)
		fprintf(stderr, "\r\033[K%s  [%s] %3u %%  %s", what, bar, part, text);
	else
		fprintf(stderr, "\r\033[K%s  %s", what, text);
	fflush(stderr);
}

void ctl_progress_end(void)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
}
