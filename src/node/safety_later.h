/* SPDX-License-Identifier: Apache-2.0
 * Work of the safety plane that takes long: evaluations cost 8 to 10 us a step, and a plan may have thousands. It
 * waits in a queue of its own, and a piece of it is done only when the loop has nothing else to do: what is short never
 * waits behind more than the one piece that runs.
 *
 * Bounded by bytes (SAFETY_LATER_BYTES). What has waited so long that nobody waits for it any more is not done. */
#ifndef AGI_NODE_SAFETY_LATER_H
#define AGI_NODE_SAFETY_LATER_H

#include <event2/event.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "base/err.h"

enum {
	SAFETY_LONG_BYTES = 4 << 10,    /* of a request; above, it is long: some 300 steps, 3 ms, at most below */
	SAFETY_LATER_BYTES = 64 << 20
};

struct safety_work {
	void (*run)(struct safety_work *w);  /* w is out of the queue */
	void (*drop)(struct safety_work *w); /* the same, when the queue goes */
	size_t bytes;                        /* what it holds */
	TAILQ_ENTRY(safety_work) link;
};

struct safety_later {
	TAILQ_HEAD(, safety_work) queue;
	size_t bytes;
	struct event *event;
};

/* NOMEM. */
AGI_MUST_USE enum agi_err safety_later_init(struct safety_later *l, struct event_base *base);
/* Drops what waits. */
void safety_later_free(struct safety_later *l);
/* FULL: w stays the caller's. */
AGI_MUST_USE enum agi_err safety_later_add(struct safety_later *l, struct safety_work *w);
/* Out of the queue; neither run nor drop will be called. */
void safety_later_remove(struct safety_later *l, struct safety_work *w);

#endif
