/* SPDX-License-Identifier: Apache-2.0
 * Memory for nghttp2: its streams and frames are a dozen small blocks per call that live for
 * microseconds. Blocks that are given back wait in lists by size for the next call, up to a bound;
 * larger ones go to malloc. One per loop, used on its thread only. */
#ifndef AGI_NET_H2_MEM_H
#define AGI_NET_H2_MEM_H

#include <nghttp2/nghttp2.h>

enum {
	AGI_H2_MEM_STEP = 64,      /* sizes are rounded up to a multiple */
	AGI_H2_MEM_CLASSES = 9,    /* blocks of up to 576 bytes: a stream takes most of it */
	AGI_H2_MEM_KEPT_MAX = 4096 /* blocks kept per size: 10 MiB in all when every list is full */
};

struct agi_h2_mem {
	nghttp2_mem fns; /* for nghttp2_session_*_new3 */
	struct agi_h2_block *kept[AGI_H2_MEM_CLASSES];
	unsigned n_kept[AGI_H2_MEM_CLASSES];
};

/* m stays where it is: fns points to it. */
void agi_h2_mem_init(struct agi_h2_mem *m);
/* Every session that used it is gone. */
void agi_h2_mem_free(struct agi_h2_mem *m);

#endif
