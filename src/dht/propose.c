/* SPDX-License-Identifier: Apache-2.0
 * The proposer of a view change: single-decree Paxos (Lamport, "Paxos Made Simple", 2001) among the members
 * of epoch e on the members of e+1. The acceptor is view.c. */
#include "dht/reconf.h"

static void on_paxos(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m);

static void ask_acceptors(struct agi_reconf *r, struct agi_msg *m)
{
	struct agi_dht *d = r->d;
	const struct agi_view *v = &r->s->view;

	m->slot = v->slot;
	m->epoch = v->epoch;
	m->ballot = r->ballot;
	agi_gather_init(&r->g, v->n_members, agi_majority(v->n_members));
	for (uint32_t i = 0; i < v->n_members; i++) {
		struct agi_peer to = agi_hosts_peer(d, &v->members[i]);
		uint64_t rpc = agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, m, AGI_RPC_TIMEOUT_MS, on_paxos, r, i);

		if (rpc)
			agi_gather_asked(&r->g, i, rpc);
		else
			agi_gather_answered(&r->g, i, AGI_GATHER_SILENT);
	}
}

static void announce(struct agi_dht *d, const struct agi_view *old, const struct agi_view *next);

static void on_quorum(struct agi_reconf *r)
{
	struct agi_msg m = {.kind = AGI_MSG_VIEW_ACCEPT};

	if (r->is_accepting) {
		struct agi_view old = r->s->view, next = r->next;
		struct agi_dht *d = r->d;

		agi_reconf_finish(r, false);
		d->move.stats.slots_led++;
		agi_rate_add(&d->move.rate_slots, 1, d->now.mono_us);
		announce(d, &old, &next);
		return;
	}
	r->is_accepting = true;
	m.view = r->next;
	m.accepted_ballot = r->best;
	ask_acceptors(r, &m);
}

static void on_paxos(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	bool is_yes = err == AGI_OK && m->status == AGI_OK;

	(void)from;
	agi_gather_answered(&r->g, which, is_yes ? AGI_GATHER_YES : m ? AGI_GATHER_NO : AGI_GATHER_SILENT);
	if (m && m->ballot.round > r->s->round)
		r->s->round = m->ballot.round;
	if (m && m->status == AGI_E_STALE_EPOCH) {
		struct agi_slot *s = r->s;
		uint64_t epoch = s->view.epoch;

		agi_view_learn_from(d, m); /* aborts r when it installs the newer view */
		if (s->view.epoch != epoch)
			return;
	}
	/* a value that may have been chosen already must be chosen again */
	if (is_yes && !r->is_accepting && m->accepted_ballot.round && !AGI_MUTANT(FORGET_ACCEPTED) &&
	    agi_ballot_cmp(&m->accepted_ballot, &r->best) > 0) {
		r->best = m->accepted_ballot;
		r->next = m->view;
	}
	if (agi_gather_outcome(&r->g) == AGI_GATHER_WON) {
		for (uint32_t i = 0; i < r->g.n; i++)
			agi_rpc_cancel(d, r->g.rpc[i]);
		on_quorum(r);
	} else if (agi_gather_outcome(&r->g) == AGI_GATHER_LOST) {
		agi_reconf_finish(r, true);
	}
}

/* Tells old and new members; whoever misses it learns from the others' refusals. */
static void announce(struct agi_dht *d, const struct agi_view *old, const struct agi_view *next)
{
	for (int i = 0; i < next->n_members; i++)
		agi_reconf_tell(d, &next->members[i], next, old->members, old->n_members, agi_view_on_told, NULL, 0,
		             NULL);
	for (int i = 0; i < old->n_members; i++)
		if (!agi_view_has(next, &old->members[i]))
			agi_reconf_tell(d, &old->members[i], next, old->members, old->n_members, agi_view_on_told, NULL,
			             0, NULL);
}

void agi_reconf_propose(struct agi_dht *d, struct agi_slot *s, const struct agi_view *wanted)
{
	struct agi_reconf *r = agi_reconf_begin(d, s, AGI_WORK_PROPOSE);
	struct agi_msg m = {.kind = AGI_MSG_VIEW_PREPARE};

	if (!r)
		return;
	r->next = *wanted;
	if (s->accepted.round && !AGI_MUTANT(FORGET_ACCEPTED)) { /* as if its own promise were there */
		r->best = s->accepted;
		r->next = s->proposal;
	}
	r->ballot = (struct agi_ballot){++s->round, d->self.id};
	ask_acceptors(r, &m);
}
