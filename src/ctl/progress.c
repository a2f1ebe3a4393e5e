/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/progress.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR_MIN = 10, BAR_MAX = 40, TAIL_MAX = 200, COLUMNS_MAX = 400 };

size_t ctl_terminal_columns(int fd)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) || size.ws_col == 0)
		return CTL_COLUMNS_DEFAULT;
	return size.ws_col < COLUMNS_MAX ? size.ws_col : COLUMNS_MAX;
}

void ctl_bar(struct agi_buf *out, size_t columns, uint64_t done, uint64_t total, const char *text)
{
	char tail[TAIL_MAX];
	double part = total && done < total ? (double)done / (double)total : 1;
	size_t n, bar, filled;

	snprintf(tail, sizeof tail, " %u %%  %s", (unsigned)(part * 100), text);
	n = strlen(tail);
	if (columns < n + BAR_MIN + 2) { /* no room for a bar */
		agi_buf_put(out, tail + 1, n - 1 < columns ? n - 1 : columns);
		return;
	}
	bar = columns - n - 2;
	if (bar > BAR_MAX)
		bar = BAR_MAX;
	filled = (size_t)(part * (double)bar);
	agi_buf_u8(out, '[');
	for (size_t i = 0; i < bar; i++)
		agi_buf_u8(out, i < filled ? '#' : '.');
	agi_buf_u8(out, ']');
	agi_buf_put(out, tail, n);
}

void ctl_progress(const char *what, uint64_t done, uint64_t total, const char *fmt, ...)
{
	size_t columns = ctl_terminal_columns(STDERR_FILENO), used = strlen(what) + 3; /* the last stays free */
	char text[TAIL_MAX];
	struct agi_buf line;
	va_list ap;

	if (!isatty(STDERR_FILENO))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	agi_buf_init(&line, 0);
	agi_buf_printf(&line, "\r\033[K%s  ", what);
	ctl_bar(&line, columns > used ? columns - used : 0, done, total ? total : UINT64_MAX, text);
	fprintf(stderr, "%.*s", AGI_STR_ARG(agi_buf_str(&line)));
	fflush(stderr);
	agi_buf_free(&line);
}

void ctl_progress_end(void)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
}
