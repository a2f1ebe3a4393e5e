/* SPDX-License-Identifier: Apache-2.0 */
#include "node/load.h"

static uint32_t in_steps(uint32_t milli)
{
	return (milli + AGI_LOAD_STEP_MILLI / 2) / AGI_LOAD_STEP_MILLI * AGI_LOAD_STEP_MILLI;
}

uint32_t agi_load_update(struct agi_load *l, uint64_t cpu_us, uint64_t now_us)
{
	uint64_t busy = cpu_us > l->cpu_us ? cpu_us - l->cpu_us : 0, passed = now_us - l->at_us;

	if (l->at_us && (now_us < l->at_us || passed < AGI_LOAD_EVERY_US))
		return in_steps(l->smooth_milli);
	if (l->at_us) {
		uint64_t milli = busy * 1000 / passed;

		l->smooth_milli = (l->smooth_milli + (uint32_t)(milli < 1000 ? milli : 1000)) / 2;
	}
	l->cpu_us = cpu_us;
	l->at_us = now_us;
	return in_steps(l->smooth_milli);
}
