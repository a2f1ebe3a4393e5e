/* SPDX-License-Identifier: Apache-2.0
 * Hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014): wall milliseconds << 16 with a
 * counter in the low bits; never goes back, follows the largest stamp seen. */
#ifndef AGI_DHT_HLC_H
#define AGI_DHT_HLC_H

#include <stdbool.h>
#include <stdint.h>

enum { AGI_HLC_COUNTER_BITS = 16, AGI_HLC_LIFE_BITS = 4, AGI_HLC_ABOVE = 1 << 15 };

struct agi_hlc {
	uint64_t last;
	/* Lest a stamp be made twice: its last bits are those of this node's incarnation, for a node that starts again
	 * may see what it saw before and go on from there; where the counter of a millisecond begins is random, and
	 * another each time the clock is set back. */
	uint16_t salt;
};

void agi_hlc_init(struct agi_hlc *c, uint64_t incarnation, uint64_t random);
/* A stamp greater than every one made or seen before. */
uint64_t agi_hlc_next(struct agi_hlc *c, uint64_t wall_ms);
/* One at most AGI_HLC_ABOVE greater than another, whatever was made or seen before. Those with different n, of 2048,
 * are different whatever they are above. */
uint64_t agi_hlc_above(const struct agi_hlc *c, uint64_t stamp, uint32_t n);
/* Takes note of another node's stamp. */
void agi_hlc_see(struct agi_hlc *c, uint64_t stamp);
/* Forgets what was made and seen: the time that it followed was wrong. */
void agi_hlc_set_back(struct agi_hlc *c);
/* More than max_skew_ms ahead of our wall clock? */
bool agi_hlc_is_ahead(uint64_t stamp, uint64_t wall_ms, uint64_t max_skew_ms);

#endif
