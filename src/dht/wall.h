/* SPDX-License-Identifier: Apache-2.0
 * The time of day as a node believes it: its monotonic clock plus a base that follows the median of the clocks of the
 * hosts it talks to, its own among them. One host whose clock jumps, or is simply wrong, so neither stamps its
 * writes with a time the others refuse nor accepts what they would not. (Cristian, "Probabilistic clock
 * synchronization", 1989, for the reading of a remote clock; the median as in Lamport and Melliar-Smith, 1985.)
 *
 * A base is a wall clock minus this host's monotonic clock, in milliseconds. */
#ifndef AGI_DHT_WALL_H
#define AGI_DHT_WALL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"

enum {
	AGI_WALL_SLEW_MS = 5,     /* followed by so much per judgement … */
	AGI_WALL_STEP_MS = 500,   /* … while no farther off than this; beyond it in one step … */
	AGI_WALL_STEP_AFTER = 3,  /* … when so many judgements in a row agree that it is */
	AGI_WALL_SAMPLES = 16     /* hosts whose clocks are compared */
};

struct agi_wall {
	int64_t base_ms;
	bool is_set, is_confirmed; /* confirmed: compared with another host's clock, or alone long enough */
	int64_t far_ms;            /* the last median that was too far off, relative to base */
	uint32_t n_far;
};

/* What the time is, in milliseconds since 1970. The first call believes the host's clock. */
uint64_t agi_wall_ms(struct agi_wall *w, struct agi_now now);
/* This host's clock as a base. */
int64_t agi_wall_base(struct agi_now now);
/* One judgement (about every second): peer_base are other hosts' clocks as bases; n = 0 when there is no other host. */
void agi_wall_judge(struct agi_wall *w, struct agi_now now, const int64_t *peer_base, size_t n);

#endif
