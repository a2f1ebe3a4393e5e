/* SPDX-License-Identifier: Apache-2.0
 * Who holds this slot? Asks the hosts nearest to it, and those their answers point to, until a member of
 * the slot's view answers. One search per slot serves everybody who waits for it. */
#include <stdlib.h>

#include "dht/state.h"

enum { CANDIDATES_MAX = 48, PARALLEL = 3 };

struct agi_vfetch {
	uint32_t slot;
	struct agi_dht *d;
	struct agi_peer cand[CANDIDATES_MAX];
	uint64_t rpc[CANDIDATES_MAX];
	uint32_t n, next, asked;
	bool has_member_answer;
	struct agi_timer step;
	TAILQ_HEAD(, agi_vwait) waits;
	UT_hash_handle hh;
};

static void add(struct agi_vfetch *f, const struct agi_id *id, const struct agi_addr *addr)
{
	if (agi_id_eq(id, &f->d->self.id) || addr->port == 0 || f->n == CANDIDATES_MAX)
		return;
	for (uint32_t i = 0; i < f->n; i++)
		if (agi_id_eq(&f->cand[i].id, id))
			return;
	f->cand[f->n++] = (struct agi_peer){*id, *addr};
}

static void end(struct agi_vfetch *f, enum agi_err err)
{
	struct agi_dht *d = f->d;
	struct agi_vwait *w;

	for (uint32_t i = 0; i < f->n; i++)
		agi_rpc_cancel(d, f->rpc[i]);
	agi_timer_clear(&d->timers, &f->step);
	HASH_DEL(d->slots.fetches, f);
	while ((w = TAILQ_FIRST(&f->waits))) {
		TAILQ_REMOVE(&f->waits, w, entry);
		w->is_waiting = false;
		w->fn(d, w->arg, err);
	}
	free(f);
}

static void on_info(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                    const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_vfetch *f = arg;

	f->rpc[which] = 0;
	f->asked--;
	if (err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO && m->view.epoch) {
		for (size_t i = 0; i < m->n_contacts; i++)
			add(f, &m->contacts[i].id, &m->contacts[i].addr);
		if (agi_view_has(&m->view, &from->id))
			f->has_member_answer = true;
		agi_view_learn_from(d, m);
	}
	agi_timer_set(&d->timers, &f->step, d->now.mono_us);
}

static void step(struct agi_dht *d, void *arg)
{
	struct agi_vfetch *f = arg;
	struct agi_slot *s = agi_slot_find(d, f->slot);

	if (s && s->view.epoch && (f->has_member_answer || agi_view_has(&s->view, &d->self.id))) {
		end(f, AGI_OK);
		return;
	}
	while (f->asked < PARALLEL && f->next < f->n) {
		struct agi_msg m = {.kind = AGI_MSG_VIEW_GET, .slot = f->slot};
		uint32_t i = f->next++;

		f->rpc[i] = agi_rpc_ask(d, &f->cand[i], AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, on_info,
		                        f, i);
		f->asked += f->rpc[i] != 0;
	}
	if (f->asked == 0)
		end(f, s && s->view.epoch ? AGI_OK : AGI_E_NO_VIEW);
}

static void fill(struct agi_vfetch *f)
{
	struct agi_dht *d = f->d;
	const struct agi_contact *near[AGI_K];
	struct agi_slot *s = agi_slot_find(d, f->slot);
	struct agi_id mid;
	size_t n;

	for (int i = 0; s && i < s->view.n_members; i++) {
		struct agi_peer p = agi_hosts_peer(d, &s->view.members[i]);

		if (agi_hosts_is_up(d, &p.id))
			add(f, &p.id, &p.addr);
	}
	agi_slot_midpoint(&mid, f->slot, d->cfg.slot_bits);
	n = agi_hosts_nearest(d, &mid, near, AGI_K);
	for (size_t i = 0; i < n; i++)
		if (agi_hosts_is_up(d, &near[i]->id))
			add(f, &near[i]->id, &near[i]->addr);
}

static struct agi_vfetch *start(struct agi_dht *d, uint32_t slot)
{
	struct agi_vfetch *f = calloc(1, sizeof *f);

	if (!f)
		return NULL;
	f->slot = slot;
	f->d = d;
	f->step.fn = step;
	f->step.arg = f;
	TAILQ_INIT(&f->waits);
	HASH_ADD(hh, d->slots.fetches, slot, sizeof f->slot, f);
	if (!f->hh.tbl) {
		free(f);
		return NULL;
	}
	fill(f);
	agi_timer_set(&d->timers, &f->step, d->now.mono_us);
	return f;
}

void agi_vfetch_wait(struct agi_dht *d, uint32_t slot, struct agi_vwait *w)
{
	struct agi_vfetch *f;

	HASH_FIND(hh, d->slots.fetches, &slot, sizeof slot, f);
	if (!f)
		f = start(d, slot);
	if (!f)
		return; /* out of memory: the waiter's own deadline ends it */
	w->is_waiting = true;
	w->fetch = f;
	TAILQ_INSERT_TAIL(&f->waits, w, entry);
}

void agi_vfetch_cancel(struct agi_dht *d, struct agi_vwait *w)
{
	(void)d;
	if (!w->is_waiting)
		return;
	TAILQ_REMOVE(&w->fetch->waits, w, entry);
	w->is_waiting = false;
}

void agi_vfetches_free(struct agi_dht *d)
{
	struct agi_vfetch *f, *tmp;

	HASH_ITER(hh, d->slots.fetches, f, tmp) {
		TAILQ_INIT(&f->waits);
		end(f, AGI_E_CLOSED);
	}
}
