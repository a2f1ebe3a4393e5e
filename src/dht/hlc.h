/* SPDX-License-Identifier: Apache-2.0
 * Hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014): wall milliseconds << 16 with a
 * counter in the low bits; never goes back, follows the largest stamp seen. */
#ifndef AGI_DHT_HLC_H
#define AGI_DHT_HLC_H

#include <stdbool.h>
#include <stdint.h>

enum { AGI_HLC_COUNTER_BITS = 16 };

struct agi_hlc {
	uint64_t last;
	uint16_t salt; /* where the counter of a millisecond starts: random in each life of a node, lest a stamp be made
	                  twice when its clock was set back */
};

/* A stamp greater than every one made or seen before. */
uint64_t agi_hlc_next(struct agi_hlc *c, uint64_t wall_ms);
/* Takes note of another node's stamp. */
void agi_hlc_see(struct agi_hlc *c, uint64_t stamp);
/* More than max_skew_ms ahead of our wall clock? */
bool agi_hlc_is_ahead(uint64_t stamp, uint64_t wall_ms, uint64_t max_skew_ms);

#endif
