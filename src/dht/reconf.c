/* SPDX-License-Identifier: Apache-2.0
 * Changing who holds a slot. Level-triggered: a scan looks at every slot's durable phase and starts the
 * work that phase calls for, so whatever a crash interrupted is taken up again.
 *
 *   ACTIVE,  first live member, ideal replicas differ from the view  → propose
 *   ACTIVE,  otherwise, after every change of the hosts known        → verify: is the view still the newest, and
 *                                                                      do the members before it know?
 *   SEALED   (a proposer may have died)                              → propose: finish the same instance
 *   JOINING                                                          → join: merge the old members' data
 *   LEAVING                                                          → leave: hand over, then release
 *
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

void agi_reconf_finish(struct agi_reconf *r, bool is_failed)
{
	struct agi_dht *d = r->d;
	struct agi_slot *s = r->s;

	for (uint32_t i = 0; i < r->g.n; i++)
		agi_rpc_cancel(d, r->g.rpc[i]);
	for (uint32_t i = 0; i < r->n_peers; i++)
		agi_rpc_cancel(d, r->rpc[i]);
	agi_rpc_cancel(d, r->pull_rpc);
	if (r->job)
		agi_job_forget(d, r->job);
	agi_buf_free(&r->cursor);
	free(r);
	s->reconf = NULL;
	d->slots.n_reconfs--;
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

struct agi_reconf *agi_reconf_begin(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_reconf *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->d = d;
	r->s = s;
	agi_buf_init(&r->cursor, 0);
	s->reconf = r;
	d->slots.n_reconfs++;
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
	struct agi_reconf *r = agi_reconf_begin(d, s);

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

static void look_at(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_view next;

	switch (s->phase) {
	case AGI_VIEW_ACTIVE:
		if (!is_stable(d))
			break;
		if (is_leader(d, &s->view) && agi_plan_next(d, s, &next))
			agi_reconf_propose(d, s, &next);
		else
			verify(d, s);
		break;
	case AGI_VIEW_SEALED:
		agi_reconf_propose(d, s, &s->proposal);
		break;
	case AGI_VIEW_JOINING:
		agi_reconf_join(d, s);
		break;
	case AGI_VIEW_LEAVING:
		agi_reconf_leave(d, s);
		break;
	default:
		break;
	}
}

static bool is_settled(const struct agi_dht *d, const struct agi_slot *s)
{
	return s->phase == AGI_VIEW_NONE || s->phase == AGI_VIEW_FORWARD ||
	       (s->phase == AGI_VIEW_ACTIVE && s->settled == d->hosts.generation);
}

/* Looks at every slot, a part at a time; passes go on until one finds all of them settled. */
static void scan(struct agi_dht *d, void *arg)
{
	(void)arg;
	if (!d->member.is_joined || d->is_stopped || d->is_read_only)
		return;
	for (uint32_t looked = 0; looked < SCAN_SLOTS && d->slots.scan_next < d->slots.n; looked++) {
		struct agi_slot *s = d->slots.by_number[d->slots.scan_next];

		if (d->slots.n_reconfs >= AGI_RECONFIG_SLOTS)
			return; /* a finished one wakes us; scan_next stays */
		d->slots.scan_next++;
		if (!s || is_settled(d, s))
			continue;
		d->slots.scan_again = true;
		if (!s->reconf && d->now.mono_us >= s->retry_us)
			look_at(d, s);
	}
	if (d->slots.scan_next < d->slots.n) {
		agi_reconf_wake(d, agi_after_ms(d, 1));
		return;
	}
	d->slots.scan_next = 0;
	if (d->slots.scan_again)
		agi_reconf_wake(d, agi_after_ms(d, SCAN_STEP_MS));
	d->slots.scan_again = false;
}

void agi_reconf_wake(struct agi_dht *d, uint64_t due_us)
{
	if (!d->slots.scan.is_set || due_us < d->slots.scan.due_us)
		agi_timer_set(&d->timers, &d->slots.scan, due_us);
}

void agi_reconf_init(struct agi_dht *d) { d->slots.scan.fn = scan; }
