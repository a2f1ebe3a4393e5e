/* SPDX-License-Identifier: Apache-2.0
 * What is still to happen in a simulated world, in order of time; of what happens at one time, what was
 * queued first comes first. Events are kept for reuse: a run queues millions. */
#ifndef SIM_QUEUE_H
#define SIM_QUEUE_H

#include <stdbool.h>

#include "dht/dht.h"

enum sim_event_kind {
	SIM_MESSAGE,     /* msg arrives from `from` */
	SIM_UNREACHABLE, /* the link to `from` could not be made */
	SIM_DISK,        /* the node's disk works on */
	SIM_TIMER,
	SIM_RESTART,
	SIM_CLIENT,      /* a client's next operation */
	SIM_HANG_UP,     /* the client of call `call` gives up */
	SIM_FAULT,
	SIM_RIVAL        /* the node proposes a view of slot `call` of its own */
};

struct sim_event {
	uint64_t at_us;
	enum sim_event_kind kind;
	uint32_t node;            /* who it happens to */
	uint64_t life, identity;  /* of that node when it was queued */
	struct agi_peer from;
	struct agi_msg *msg;      /* owned */
	enum agi_traffic traffic; /* UNREACHABLE */
	uint64_t call;
	struct sim_event *next;   /* when not in use */
};

struct sim_queue {
	struct sim_place {
		uint64_t at_us, seq;
		struct sim_event *e;
	} *heap;
	size_t n, cap;
	uint64_t next_seq;
	struct sim_event *unused;
	struct sim_chunk *chunks;
};

void sim_queue_free(struct sim_queue *q);
/* The event is zeroed but for its time and kind; it belongs to the queue until popped. */
struct sim_event *sim_queue_push(struct sim_queue *q, uint64_t at_us, enum sim_event_kind kind);
/* Puts a popped event back, to happen later; behind what is queued for then. */
void sim_queue_defer(struct sim_queue *q, struct sim_event *e, uint64_t at_us);
/* The next event not later than until_us, or NULL. Give it back with _done. */
struct sim_event *sim_queue_pop(struct sim_queue *q, uint64_t until_us);
void sim_queue_done(struct sim_queue *q, struct sim_event *e);

#endif
