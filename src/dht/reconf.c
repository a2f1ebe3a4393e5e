/* SPDX-License-Identifier: Apache-2.0
 * Changing who holds a slot. Level-triggered: a scan looks at every slot's durable phase and starts the
 * work that phase calls for, so whatever a crash interrupted is taken up again.
 *
 *   ACTIVE,  first live member, another view is wanted (plan.c)      → prepare, then propose
 *   ACTIVE,  otherwise, after every change of the hosts known        → verify: is the view still the newest, and
 *                                                                      do the members before it know?
 *   SEALED   (a proposer may have died)                              → propose: finish the same instance
 *   JOINING                                                          → join: merge the old members' data
 *   LEAVING                                                          → leave: hand over, then release
 *   FORWARD, with a copy that nobody asks for any more               → drop it
 *
 * prepare  the newcomers copy the slot; no state of the protocol changes.
 * propose  single-decree Paxos (Lamport 2001) among the members of epoch e on the members of e+1.
 * join     a new member serves once it holds everything epoch e could have acknowledged at a majority:
 *          it has merged a majority of e's members, each of which has left e, or one ACTIVE member of
 *          e+1 (which did). It counts itself when it was a member of e.
 * leave    keeps its data until a majority of the new members is ACTIVE and has taken what it held. */
#include "dht/reconf.h"

#include <stdlib.h>

enum {
	SCAN_STEP_MS = 50,
	SCAN_SLOTS = 2048, /* looked at per step */
	RETRY_MS = 300     /* pause of one slot after a failed attempt, plus as much at random */
};

enum agi_work agi_reconf_kind(const struct agi_slot *s) { return s->reconf->kind; }

/* Sealed slots do not serve: their work goes first, and more of it at once. */
bool agi_reconf_has_room(const struct agi_dht *d, enum agi_work kind)
{
	uint32_t max = AGI_RECONFIG_SLOTS;

	if (kind == AGI_WORK_PREPARE || kind == AGI_WORK_COPY)
		max = d->cfg.rebalance_slots;
	else if (kind == AGI_WORK_JOIN || kind == AGI_WORK_PROPOSE)
		max = 8 * AGI_RECONFIG_SLOTS;
	return d->slots.n_works[kind] < max;
}

void agi_reconf_finish(struct agi_reconf *r, bool is_failed)
{
	struct agi_dht *d = r->d;
	struct agi_slot *s = r->s;

	for (uint32_t i = 0; i < r->g.n; i++)
		agi_rpc_cancel(d, r->g.rpc[i]);
	for (uint32_t i = 0; i < r->n_peers; i++)
		agi_rpc_cancel(d, r->rpc[i]);
	for (uint8_t i = 0; i < r->n_newcomers; i++) {
		agi_rpc_cancel(d, r->newcomer[i].rpc);
		agi_timer_clear(&d->timers, &r->newcomer[i].again);
	}
	if (r->job)
		agi_job_forget(d, r->job);
	if (r->kind == AGI_WORK_COPY)
		agi_copy_ended(r);
	if (r->kind == AGI_WORK_RECOVER)
		agi_recover_ended(r);
	agi_pull_cancel(&r->pull);
	agi_buf_free(&r->cursor);
	agi_buf_free(&r->end);
	agi_buf_free(&r->own);
	agi_buf_free(&r->lack);
	s->reconf = NULL;
	d->slots.n_works[r->kind]--;
	free(r);
	if (is_failed)
		s->retry_us = agi_after_ms(d, RETRY_MS + agi_prng_below(&d->prng, RETRY_MS));
	agi_reconf_wake(d, is_failed ? s->retry_us : d->now.mono_us);
}

void agi_reconf_abort(struct agi_dht *d, struct agi_slot *s)
{
	(void)d;
	if (s->reconf)
		agi_reconf_finish(s->reconf, false);
}

struct agi_reconf *agi_reconf_begin(struct agi_dht *d, struct agi_slot *s, enum agi_work kind)
{
	struct agi_reconf *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->kind = kind;
	r->d = d;
	r->s = s;
	agi_buf_init(&r->cursor, 0);
	agi_buf_init(&r->end, 0);
	agi_buf_init(&r->own, 0);
	agi_buf_init(&r->lack, 0);
	s->reconf = r;
	d->slots.n_works[kind]++;
	return r;
}

void agi_reconf_tell(struct agi_dht *d, const struct agi_id *to, const struct agi_view *view,
                     const struct agi_id *prev, uint8_t n_prev, agi_rpc_fn *fn, void *arg, uint32_t which,
                     uint64_t *rpc)
{
	struct agi_contact contacts[AGI_REPLICAS_MAX];
	struct agi_slot known = {.view = *view};
	struct agi_msg m = {.kind = AGI_MSG_VIEW_DECIDED, .slot = view->slot};
	struct agi_peer peer = agi_hosts_peer(d, to);
	uint64_t id;

	agi_view_fill(d, &known, &m, contacts);
	m.n_sources = n_prev;
	for (uint8_t i = 0; i < n_prev; i++)
		m.sources[i] = prev[i];
	id = agi_rpc_ask(d, &peer, AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, fn, arg, which);
	if (rpc)
		*rpc = id;
}

/* --- verify ---------------------------------------------------------------------------------------- */

/* An answer either is of our epoch or has taught us a newer one (then r is gone). */
static void on_verified(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                        const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	struct agi_slot *s = r->s;
	uint64_t epoch = s->view.epoch;

	(void)from;
	if (err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO) {
		agi_view_learn_from(d, m);
		if (s->view.epoch != epoch)
			return;
	}
	agi_gather_answered(&r->g, which, err == AGI_OK ? AGI_GATHER_YES : AGI_GATHER_SILENT);
	if (!agi_gather_is_quiet(&r->g))
		return;
	if (r->g.silent == 0)
		s->settled = r->generation;
	agi_reconf_finish(r, r->g.silent > 0);
}

static void on_former(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err, const struct agi_peer *from,
                      const struct agi_msg *m)
{
	struct agi_slot *s = arg;

	(void)which, (void)from;
	if (err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO) {
		agi_view_learn_from(d, m);
	} else if (s->phase == AGI_VIEW_ACTIVE) {
		s->settled = 0; /* told again later */
		s->retry_us = agi_after_ms(d, RETRY_MS + agi_prng_below(&d->prng, RETRY_MS));
		agi_reconf_wake(d, s->retry_us);
	}
}

/* A member of the epoch before that missed what was decided believes that it is one still, and keeps what it
 * should hand over. */
static void tell_former(struct agi_dht *d, struct agi_slot *s)
{
	for (uint8_t i = 0; i < s->n_prev; i++)
		if (!agi_view_has(&s->view, &s->prev[i]) && agi_hosts_is_up(d, &s->prev[i]))
			agi_reconf_tell(d, &s->prev[i], &s->view, s->prev, s->n_prev, on_former, s, i, NULL);
}

/* A member that was cut off while the others moved on hears of it from nobody, and one that lost power may
 * have forgotten that it is a member: all members tell each other what they know. */
static void verify(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_reconf *r = agi_reconf_begin(d, s, AGI_WORK_VERIFY);

	if (!r)
		return;
	r->generation = d->hosts.generation;
	tell_former(d, s);
	agi_gather_init(&r->g, s->view.n_members, s->view.n_members);
	for (uint32_t i = 0; i < s->view.n_members; i++) {
		const struct agi_id *id = &s->view.members[i];
		uint64_t rpc = 0;

		if (!agi_id_eq(id, &d->self.id) && agi_hosts_is_up(d, id))
			agi_reconf_tell(d, id, &s->view, s->prev, s->n_prev, on_verified, r, i, &rpc);
		if (rpc)
			agi_gather_asked(&r->g, i, rpc);
		else /* ourselves, or down: its coming back is a new generation */
			agi_gather_answered(&r->g, i, AGI_GATHER_YES);
	}
	if (agi_gather_is_quiet(&r->g)) {
		s->settled = r->generation;
		agi_reconf_finish(r, false);
	}
}

/* --- scan ------------------------------------------------------------------------------------------ */

/* The first member that is up leads the change; nothing depends on all agreeing who that is. */
static bool is_leader(const struct agi_dht *d, const struct agi_view *v)
{
	for (int i = 0; i < v->n_members; i++)
		if (agi_hosts_is_up(d, &v->members[i]))
			return agi_id_eq(&v->members[i], &d->self.id);
	return false;
}

static bool is_stable(const struct agi_dht *d)
{
	return d->now.mono_us - d->hosts.changed_us >= (uint64_t)d->cfg.stable_ms * 1000;
}

/* Which view is wanted depends on the hosts known and on the view: looked up once for each of these. */
static bool is_wanted(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_view next;

	if (s->planned != d->hosts.generation) {
		s->planned = d->hosts.generation;
		agi_slot_set_wanted(d, s, is_leader(d, &s->view) && agi_plan_next(d, s, &next));
	}
	return s->is_wanted;
}

static void look_at_active(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_view next;

	if (!is_stable(d))
		return;
	if (is_wanted(d, s)) {
		if (agi_reconf_has_room(d, AGI_WORK_PREPARE) && agi_plan_next(d, s, &next))
			agi_reconf_prepare(d, s, &next);
	} else if (agi_reconf_has_room(d, AGI_WORK_VERIFY)) {
		verify(d, s);
	}
}

static void look_at(struct agi_dht *d, struct agi_slot *s)
{
	switch (s->phase) {
	case AGI_VIEW_ACTIVE:
		look_at_active(d, s);
		break;
	case AGI_VIEW_SEALED:
		if (agi_reconf_has_room(d, AGI_WORK_PROPOSE))
			agi_reconf_propose(d, s, &s->proposal);
		break;
	case AGI_VIEW_JOINING:
		if (agi_reconf_has_room(d, AGI_WORK_JOIN))
			agi_reconf_join(d, s);
		break;
	case AGI_VIEW_LEAVING:
		if (agi_reconf_has_room(d, AGI_WORK_LEAVE))
			agi_reconf_leave(d, s);
		break;
	default:
		if (s->is_copy)
			agi_copy_look_at(d, s);
		break;
	}
}

static bool is_settled(const struct agi_dht *d, const struct agi_slot *s)
{
	if (s->phase == AGI_VIEW_NONE || s->phase == AGI_VIEW_FORWARD)
		return !s->is_copy;
	return s->phase == AGI_VIEW_ACTIVE && s->settled == d->hosts.generation;
}

/* When must this unsettled slot be looked at again? */
static uint64_t due_us(const struct agi_dht *d, const struct agi_slot *s)
{
	uint64_t soon_us = agi_after_ms(d, SCAN_STEP_MS);

	return s->retry_us > soon_us ? s->retry_us : soon_us;
}

/* A copy that nobody has asked about lately: kept for a while, should they ask again. */
static bool is_only_kept(const struct agi_slot *s) { return s->is_copy && !agi_slot_is_held(s) && !s->reconf; }

/* Looks at every slot, a part at a time; passes go on until one finds all of them settled. */
static void scan(struct agi_dht *d, void *arg)
{
	struct agi_slots *all = &d->slots;

	(void)arg;
	if (!d->member.is_joined || d->is_stopped || d->is_read_only)
		return;
	if (all->scan_next == 0) {
		all->scan_due_us = AGI_NEVER;
		all->scan_found_work = false;
		all->idle_until_us = 0;
	}
	for (uint32_t looked = 0; looked < SCAN_SLOTS && all->scan_next < all->n; looked++) {
		struct agi_slot *s = all->by_number[all->scan_next++];

		if (!s || is_settled(d, s))
			continue;
		if (!s->reconf && d->now.mono_us >= s->retry_us)
			look_at(d, s);
		all->scan_found_work |= !is_only_kept(s);
		if (due_us(d, s) < all->scan_due_us)
			all->scan_due_us = due_us(d, s);
	}
	if (all->scan_next < all->n) {
		agi_timer_set(&d->timers, &all->scan, agi_after_ms(d, 1));
		return;
	}
	all->scan_next = 0;
	if (all->scan_due_us == AGI_NEVER)
		return;
	all->idle_until_us = all->scan_found_work ? 0 : all->scan_due_us;
	agi_reconf_wake(d, all->scan_due_us);
}

/* In the middle of a pass the slot that matters may lie behind it: then another pass follows. */
void agi_reconf_wake(struct agi_dht *d, uint64_t due_us)
{
	if (d->slots.scan_next > 0 && due_us < d->slots.scan_due_us) {
		d->slots.scan_due_us = due_us;
		d->slots.scan_found_work = true;
	}
	if (!d->slots.scan.is_set || due_us < d->slots.scan.due_us)
		agi_timer_set(&d->timers, &d->slots.scan, due_us);
}

bool agi_reconf_is_idle(const struct agi_dht *d)
{
	const struct agi_timer *t = &d->slots.scan;

	return !t->is_set || t->due_us == d->slots.idle_until_us;
}

void agi_reconf_init(struct agi_dht *d) { d->slots.scan.fn = scan; }
