/* SPDX-License-Identifier: Apache-2.0
 * How busy a thread is: the share of the last seconds that it computed, from its CPU time. One thread; values only. */
#ifndef AGI_NODE_LOAD_H
#define AGI_NODE_LOAD_H

#include <stdbool.h>
#include <stdint.h>

enum { AGI_LOAD_EVERY_US = 1000000, AGI_LOAD_STEP_MILLI = 50 };

/* All zero: nothing is known yet. */
struct agi_load {
	uint64_t cpu_us, at_us; /* of the last look; at_us 0 = none */
	uint32_t smooth_milli;
};

/* cpu_us: the thread's CPU time since it began; now_us: monotonic. 0 (idle) to 1000 (a whole CPU), in steps of
 * AGI_LOAD_STEP_MILLI so that small changes are none. Looks once a second at most; each second counts as much as all before. */
uint32_t agi_load_update(struct agi_load *l, uint64_t cpu_us, uint64_t now_us);

#endif
