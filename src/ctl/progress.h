/* SPDX-License-Identifier: Apache-2.0
 * How far a long task of the cluster has got, on one line. */
#ifndef AGI_CTL_PROGRESS_H
#define AGI_CTL_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { CTL_COLUMNS_DEFAULT = 80 };
/* Of the terminal fd; CTL_COLUMNS_DEFAULT when it is none, or does not say. */
size_t ctl_terminal_columns(int fd);

/* One line of `columns` characters at most, without its end: "[#####.....] 50 %  text"; the bar is left out where there
 * is no room for it, and then the text cut off. A total of 0 is done. */
void ctl_bar(struct agi_buf *out, size_t columns, uint64_t done, uint64_t total, const char *text);

/* "copying  [#######.............] 35 %  text" on a terminal's standard error, in place of what was shown before;
 * nothing where that is no terminal. */
void ctl_progress(const char *what, uint64_t done, uint64_t total, const char *fmt, ...) AGI_PRINTF(4, 5);
/* Takes the line away. */
void ctl_progress_end(void);

#endif
