/* SPDX-License-Identifier: Apache-2.0
 * Calls that the core makes to itself: what a client could ask for, as a step of something larger (a scan's
 * single reads, the steps of a lease). They are open calls like any other; only their answers stay inside. */
#include <stdlib.h>

#include "dht/inner.h"

enum inner_state { INNER_STARTING, INNER_OPEN, INNER_LATE };

struct agi_inner {
	uint64_t id;
	struct agi_dht *d;
	agi_inner_fn *fn;
	void *arg;
	enum inner_state state;
	struct agi_result early; /* LATE: what came before start had returned */
	struct agi_timer late;
	UT_hash_handle hh;
};

static void end(struct agi_inner *in, const struct agi_result *res)
{
	struct agi_dht *d = in->d;
	agi_inner_fn *fn = in->fn;
	void *arg = in->arg;

	agi_timer_clear(&d->timers, &in->late);
	HASH_DEL(d->inners.by_id, in);
	free(in);
	if (res)
		fn(d, arg, res);
}

static void on_late(struct agi_dht *d, void *arg)
{
	struct agi_inner *in = arg;
	struct agi_result res = in->early;

	(void)d;
	end(in, &res);
}

static struct agi_inner *find(struct agi_dht *d, uint64_t id)
{
	struct agi_inner *in;

	HASH_FIND(hh, d->inners.by_id, &id, sizeof id, in);
	return in;
}

/* Only refusals come early, and they hold nothing that is borrowed. */
void agi_inner_reply(struct agi_dht *d, uint64_t id, const struct agi_result *res)
{
	struct agi_inner *in = find(d, id);

	if (!in)
		return;
	if (in->state == INNER_OPEN) {
		end(in, res);
		return;
	}
	in->early = (struct agi_result){.kind = res->kind, .err = res->err ? res->err : AGI_E_INTERNAL, .why = res->why};
	in->state = INNER_LATE;
}

uint64_t agi_inner_start(struct agi_dht *d, const struct agi_call *call, agi_inner_fn *fn, void *arg)
{
	struct agi_inner *in = calloc(1, sizeof *in);

	if (!in)
		return 0;
	*in = (struct agi_inner){.id = AGI_INNER_CALLS | ++d->inners.last, .d = d, .fn = fn, .arg = arg};
	in->late = (struct agi_timer){.fn = on_late, .arg = in};
	HASH_ADD(hh, d->inners.by_id, id, sizeof in->id, in);
	if (!in->hh.tbl) {
		free(in);
		return 0;
	}
	agi_call_run(d, in->id, call);
	if (in->state == INNER_LATE)
		agi_timer_set(&d->timers, &in->late, d->now.mono_us);
	else
		in->state = INNER_OPEN;
	return in->id;
}

void agi_inner_cancel(struct agi_dht *d, uint64_t id)
{
	struct agi_inner *in = id ? find(d, id) : NULL;

	if (!in)
		return;
	end(in, NULL);
	agi_dht_cancel(d, id);
}

void agi_inners_free(struct agi_dht *d)
{
	while (d->inners.by_id)
		end(d->inners.by_id, NULL);
}
