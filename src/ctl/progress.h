/* SPDX-License-Identifier: Apache-2.0
 * How far a long task of the cluster has got, on one line of a terminal's standard error; nothing where that is no
 * terminal. */
#ifndef AGI_CTL_PROGRESS_H
#define AGI_CTL_PROGRESS_H

#include <stdint.h>

#include "base/err.h"

/* "copying  [#######             ]  35 %  text": replaces what was shown before. total 0: no bar. */
void ctl_progress(const char *what, uint64_t done, uint64_t total, const char *fmt, ...) AGI_PRINTF(4, 5);
/* Takes the line away. */
void ctl_progress_end(void);

#endif
