/* SPDX-License-Identifier: Apache-2.0
 * An event loop that others can talk to: an event_base, a bounded mailbox, and, unless the base was given, a
 * thread of its own. What lives on a loop is touched by its thread only; everybody else posts a message: a
 * function and what it works on, which the message owns.
 *
 *   any thread ── post(fn, arg) ──► queue (mutex, bounded) ── eventfd ──► the loop's thread: fn(arg)
 *
 * The lock guards the queue and is never held while a message runs. Messages of one sender run in order. At most
 * AGI_LOOP_BATCH of them run before other events of the loop get their turn. What must not be refused (the answer to a
 * call that was taken, its end) brings its place in the queue with it: agi_loop_post_kept.
 *
 * Before _start and after _stop whoever owns the loop may touch what lives on it: nothing else runs then.
 *
 * Life: _new → (build what lives on the base) → _start → post … → _stop → (free what lives there) → _free. */
#ifndef AGI_NET_LOOP_THREAD_H
#define AGI_NET_LOOP_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct event_base;
struct agi_loop;

enum {
	AGI_LOOP_BATCH = 64,
	AGI_LOOP_PRIORITIES = 3 /* of a base of its own: events have the middle one unless they are given another */
};

struct agi_loop_cfg {
	const char *name;        /* of the thread, at most 15 bytes; copied */
	uint32_t mailbox_max;    /* messages that wait */
	int nice;                /* of the thread, which is scheduled promptly then, where the process may say so;
	                          * 0 = as the process */
	struct event_base *base; /* a base whose thread is there already (no thread is made); NULL = a new one */
};

/* NOMEM, IO (no descriptor). */
AGI_MUST_USE enum agi_err agi_loop_new(const struct agi_loop_cfg *cfg, struct agi_loop **out);
/* Starts the thread, which takes no signals. Of no effect for a given base. NOMEM when there can be none. */
AGI_MUST_USE enum agi_err agi_loop_start(struct agi_loop *l);
/* Ends and joins the thread (after the callback that runs now) and closes the mailbox: messages that wait are
 * dropped. Not from the loop's own thread, unless its base was given. */
void agi_loop_stop(struct agi_loop *l);
/* Stops it first. Nobody may post any more, and nothing may be left on a base of its own. NULL is allowed. */
void agi_loop_free(struct agi_loop *l);

struct event_base *agi_loop_base(const struct agi_loop *l);
/* CPU time that the loop's own thread has used, in microseconds; 0 while it has none. For whoever owns the loop. */
uint64_t agi_loop_cpu_us(const struct agi_loop *l);

typedef void agi_loop_fn(void *arg);
/* From any thread, the loop's own included (the message runs later, too). Runs fn(arg) on the loop's thread;
 * drop(arg) instead when the loop stops before (drop may be NULL). FULL, CLOSED (stopped): arg stays the
 * caller's, nothing runs. */
AGI_MUST_USE enum agi_err agi_loop_post(struct agi_loop *l, agi_loop_fn *fn, agi_loop_fn *drop, void *arg);

/* A message that its owner keeps: there is always room for it, and there are as many as there are owners. fn, drop
 * and arg are the owner's; the rest is private, 0 at first. */
struct agi_loop_message {
	agi_loop_fn *fn, *drop;
	void *arg;
	struct agi_loop_message *next;
	bool waits;
};
/* As agi_loop_post; of no effect while m waits. From when its fn or drop begins it may be posted again, or freed.
 * CLOSED: nothing runs. */
AGI_MUST_USE enum agi_err agi_loop_post_kept(struct agi_loop *l, struct agi_loop_message *m);
/* Messages that were refused because the mailbox was full. */
uint64_t agi_loop_refused(struct agi_loop *l);

#endif
