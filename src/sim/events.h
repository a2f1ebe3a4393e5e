/* SPDX-License-Identifier: Apache-2.0
 * What is still to happen, in order of time; of what happens at one time, what was queued first comes first. */
#ifndef AGI_SIM_EVENTS_H
#define AGI_SIM_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum agi_sim_event_kind {
	AGI_SIM_MESSAGE,     /* packet arrives at node */
	AGI_SIM_UNREACHABLE, /* node learns that nobody of that name is where packet went */
	AGI_SIM_STORED,      /* node's storage job `arg` is done */
	AGI_SIM_TIMER,       /* a deadline of node is due */
	AGI_SIM_START,       /* node starts */
	AGI_SIM_STOP,        /* node vanishes without a word */
	AGI_SIM_LOOKUP       /* somebody looks something up */
};
struct agi_sim_packet;
struct agi_sim_event {
	uint64_t at_us, seq;
	enum agi_sim_event_kind kind;
	uint32_t node, life;            /* of the node when the event was queued */
	uint32_t n_ops;                 /* STORED: conditional writes among its operations … */
	bool is_read;                   /* … or a GET */
	uint64_t arg;
	struct agi_sim_packet *packet;  /* owned */
};
struct agi_sim_events {
	struct agi_sim_event *heap;     /* four children each: fewer cache misses than two */
	size_t n, cap;
	uint64_t next_seq;
};

/* Frees the packets too. */
void agi_sim_events_free(struct agi_sim_events *q);
/* Sets seq. Ends the program when memory does. */
void agi_sim_events_push(struct agi_sim_events *q, const struct agi_sim_event *e);
/* The next event not later than until_us; false when there is none. */
bool agi_sim_events_pop(struct agi_sim_events *q, uint64_t until_us, struct agi_sim_event *out);

/* Memory that the simulator itself cannot go on without: ends the program with a message when there is none. */
void *agi_sim_alloc(size_t n, size_t size);
void *agi_sim_grow(void *p, size_t n, size_t size);

#endif
