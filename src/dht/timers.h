/* SPDX-License-Identifier: Apache-2.0
 * Deadlines of one node: an intrusive pairing heap (Fredman et al. 1986), so that setting and clearing
 * a timer never allocates and never fails. */
#ifndef AGI_DHT_TIMERS_H
#define AGI_DHT_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

struct agi_dht;

struct agi_timer {
	uint64_t due_us;
	void (*fn)(struct agi_dht *d, void *arg);
	void *arg;
	struct agi_timer *child, *next, *prev; /* prev: left sibling, or parent of a first child */
	bool is_set;
};

struct agi_timers {
	struct agi_timer *root;
};

/* Sets or moves. fn and arg must have been set by the owner. */
void agi_timer_set(struct agi_timers *ts, struct agi_timer *t, uint64_t due_us);
/* Clearing a timer that is not set does nothing. */
void agi_timer_clear(struct agi_timers *ts, struct agi_timer *t);
/* Takes one timer that is due at now_us off the heap; NULL when none is. */
struct agi_timer *agi_timers_take_due(struct agi_timers *ts, uint64_t now_us);
/* AGI_NEVER when empty. */
uint64_t agi_timers_next(const struct agi_timers *ts);

#endif
