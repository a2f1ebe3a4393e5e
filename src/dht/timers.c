/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/timers.h"

#include <stddef.h>

#include "base/clock.h"

static struct agi_timer *meld(struct agi_timer *a, struct agi_timer *b)
{
	if (!a)
		return b;
	if (!b)
		return a;
	if (b->due_us < a->due_us) {
		struct agi_timer *t = a;

		a = b;
		b = t;
	}
	b->prev = a;
	b->next = a->child;
	if (a->child)
		a->child->prev = b;
	a->child = b;
	return a;
}

/* Melds a list of siblings: pairs from the left, then all pairs from the right. */
static struct agi_timer *meld_siblings(struct agi_timer *first)
{
	struct agi_timer *pairs = NULL, *root = NULL;

	while (first) {
		struct agi_timer *a = first, *b = a->next;

		first = b ? b->next : NULL;
		a->next = a->prev = NULL;
		if (b)
			b->next = b->prev = NULL;
		a = meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct agi_timer *a = pairs;

		pairs = a->next;
		a->next = NULL;
		root = meld(root, a);
	}
	return root;
}

void agi_timer_clear(struct agi_timers *ts, struct agi_timer *t)
{
	struct agi_timer *sub;

	if (!t->is_set)
		return;
	sub = meld_siblings(t->child);
	if (t == ts->root) {
		ts->root = sub;
	} else {
		if (t->prev->child == t)
			t->prev->child = t->next;
		else
			t->prev->next = t->next;
		if (t->next)
			t->next->prev = t->prev;
		ts->root = meld(ts->root, sub);
	}
	if (ts->root)
		ts->root->prev = ts->root->next = NULL;
	t->child = t->next = t->prev = NULL;
	t->is_set = false;
}

void agi_timer_set(struct agi_timers *ts, struct agi_timer *t, uint64_t due_us)
{
	agi_timer_clear(ts, t);
	t->due_us = due_us;
	t->is_set = true;
	ts->root = meld(ts->root, t);
}

struct agi_timer *agi_timers_take_due(struct agi_timers *ts, uint64_t now_us)
{
	struct agi_timer *t = ts->root;

	if (!t || t->due_us > now_us)
		return NULL;
	agi_timer_clear(ts, t);
	return t;
}

uint64_t agi_timers_next(const struct agi_timers *ts)
{
	return ts->root ? ts->root->due_us : AGI_NEVER;
}
