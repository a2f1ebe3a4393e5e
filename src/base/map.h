/* SPDX-License-Identifier: Apache-2.0
 * Hash maps and lists: uthash (macros over intrusive handles) and the BSD tail queue.
 *
 * With HASH_NONFATAL_OOM an insertion that finds no memory leaves elem->hh.tbl NULL: check it. */
#ifndef AGI_BASE_MAP_H
#define AGI_BASE_MAP_H

#include <sys/queue.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#endif
