/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/hlc.h"

uint64_t agi_hlc_next(struct agi_hlc *c, uint64_t wall_ms)
{
	uint64_t wall = wall_ms << AGI_HLC_COUNTER_BITS | c->salt;

	c->last = wall > c->last ? wall : c->last + 1;
	return c->last;
}

void agi_hlc_see(struct agi_hlc *c, uint64_t stamp)
{
	if (stamp > c->last)
		c->last = stamp;
}

bool agi_hlc_is_ahead(uint64_t stamp, uint64_t wall_ms, uint64_t max_skew_ms)
{
	return stamp >> AGI_HLC_COUNTER_BITS > wall_ms + max_skew_ms;
}
