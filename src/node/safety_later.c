/* SPDX-License-Identifier: Apache-2.0 */
#include "node/safety_later.h"

static struct safety_work *take(struct safety_later *l)
{
	struct safety_work *w = TAILQ_FIRST(&l->queue);

	if (w)
		safety_later_remove(l, w);
	return w;
}

/* One piece, then whoever else has something to do gets the loop. */
static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct safety_later *l = arg;
	struct safety_work *w = take(l);
	(void)fd;
	(void)what;

	if (!TAILQ_EMPTY(&l->queue))
		event_active(l->event, EV_TIMEOUT, 0);
	if (w)
		w->run(w);
}

enum agi_err safety_later_init(struct safety_later *l, struct event_base *base)
{
	TAILQ_INIT(&l->queue);
	l->bytes = 0;
	l->event = event_new(base, -1, 0, on_turn, l);
	if (!l->event)
		return AGI_E_NOMEM;
	(void)event_priority_set(l->event, event_base_get_npriorities(base) - 1); /* the least */
	return AGI_OK;
}

void safety_later_free(struct safety_later *l)
{
	struct safety_work *w;

	if (!l->event)
		return; /* never made */
	while ((w = take(l)) != NULL)
		w->drop(w);
	event_free(l->event);
	l->event = NULL;
}

enum agi_err safety_later_add(struct safety_later *l, struct safety_work *w)
{
	if (l->bytes + w->bytes > SAFETY_LATER_BYTES)
		return AGI_E_FULL;
	l->bytes += w->bytes;
	TAILQ_INSERT_TAIL(&l->queue, w, link);
	event_active(l->event, EV_TIMEOUT, 0);
	return AGI_OK;
}

void safety_later_remove(struct safety_later *l, struct safety_work *w)
{
	TAILQ_REMOVE(&l->queue, w, link);
	l->bytes -= w->bytes;
}
