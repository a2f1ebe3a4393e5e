/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/hlc.h"

enum {
	LIVES = 1 << AGI_HLC_LIFE_BITS,
	SALTS = AGI_HLC_ABOVE, /* half of the counter: the other half is left to count */
	SET_BACK = SALTS / 16
};

void agi_hlc_init(struct agi_hlc *c, uint64_t incarnation, uint64_t random)
{
	c->last = 0;
	c->salt = (uint16_t)(random % (SALTS / LIVES) * LIVES + incarnation % LIVES);
}

static uint64_t of_our_life(const struct agi_hlc *c, uint64_t stamp) { return stamp / LIVES * LIVES + c->salt % LIVES; }

uint64_t agi_hlc_next(struct agi_hlc *c, uint64_t wall_ms)
{
	uint64_t wall = wall_ms << AGI_HLC_COUNTER_BITS | c->salt;

	c->last = wall > c->last ? wall : of_our_life(c, c->last + LIVES);
	return c->last;
}

uint64_t agi_hlc_above(const struct agi_hlc *c, uint64_t stamp, uint32_t n)
{
	uint64_t next = of_our_life(c, stamp / AGI_HLC_ABOVE * AGI_HLC_ABOVE + (uint64_t)n * LIVES % AGI_HLC_ABOVE);

	return next > stamp ? next : next + AGI_HLC_ABOVE;
}

void agi_hlc_set_back(struct agi_hlc *c)
{
	c->last = 0;
	c->salt = (uint16_t)((c->salt + SET_BACK) % SALTS);
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
