/* SPDX-License-Identifier: Apache-2.0
 * What a member does for others during a view change: promises and accepts as a Paxos acceptor (proposer:
 * propose.c) and acknowledges what was decided. Promises, accepts
 * and the leaving of an epoch are durable before they are answered. */
#include <stdlib.h>

#include "dht/state.h"

enum { FINISH_MS = 1500 }; /* a sealed slot whose proposer is silent for so long is finished by others */

/* An answer that waits for the record to be durable. */
struct deferred {
	struct agi_peer to;
	struct agi_msg answer;
	struct agi_contact contacts[AGI_REPLICAS_MAX];
	uint64_t rpc_id;
};

static void answer_when_stored(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct deferred *p = arg;

	if (done->err != AGI_OK)
		p->answer.status = done->err;
	agi_answer_on(d, AGI_TRAFFIC_CONTROL, &p->to, p->rpc_id, &p->answer);
	free(p);
}

static void save_then_answer(struct agi_dht *d, const struct agi_slot *s, const struct agi_peer *from,
                             uint64_t rpc_id, const struct agi_msg *answer)
{
	struct deferred *p = calloc(1, sizeof *p);
	struct agi_msg failed = *answer;

	failed.status = AGI_E_NOMEM;
	if (!p) {
		agi_answer_on(d, AGI_TRAFFIC_CONTROL, from, rpc_id, &failed);
		return;
	}
	p->to = *from;
	p->answer = *answer;
	p->rpc_id = rpc_id;
	if (p->answer.contacts) {
		memcpy(p->contacts, answer->contacts, answer->n_contacts * sizeof *answer->contacts);
		p->answer.contacts = p->contacts;
	}
	if (agi_slot_save(d, s, NULL, 0, AGI_MUTANT(SEAL_UNSTORED) ? NULL : answer_when_stored, p)) {
		if (AGI_MUTANT(SEAL_UNSTORED))
			answer_when_stored(d, p, &(struct agi_storage_done){.err = AGI_OK});
	} else {
		free(p);
		agi_answer_on(d, AGI_TRAFFIC_CONTROL, from, rpc_id, &failed);
	}
}

/* May this node act as an acceptor for the change after `epoch`? A joining member may not: it could seal
 * an epoch whose data it does not hold yet. */
static enum agi_err admit_change(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m,
                                 struct agi_msg *out, struct agi_contact contacts[AGI_REPLICAS_MAX])
{
	struct agi_slot *s = agi_slot_find(d, m->slot);

	if (m->slot >= d->slots.n)
		return AGI_E_INVALID;
	if (d->is_read_only)
		return AGI_E_READ_ONLY;
	if (!s || s->view.epoch < m->epoch) {
		agi_view_fetch_from(d, from, m->slot);
		return AGI_E_SEALED;
	}
	if (s->view.epoch > m->epoch) {
		agi_view_fill(d, s, out, contacts);
		return AGI_E_STALE_EPOCH;
	}
	if (s->phase == AGI_VIEW_JOINING || agi_slot_is_taken_over(s))
		return AGI_E_SEALED;
	return s->phase == AGI_VIEW_ACTIVE || s->phase == AGI_VIEW_SEALED ? AGI_OK : AGI_E_NOT_MEMBER;
}

void agi_view_on_prepare(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_contact contacts[AGI_REPLICAS_MAX];
	struct agi_msg out = {.kind = AGI_MSG_VIEW_PROMISE, .slot = m->slot, .epoch = m->epoch};
	struct agi_slot *s;

	out.status = admit_change(d, from, m, &out, contacts);
	if (out.status != AGI_OK) {
		agi_answer(d, from, m, &out);
		return;
	}
	s = agi_slot_find(d, m->slot);
	if (agi_ballot_cmp(&m->ballot, &s->promised) <= 0) {
		out.status = AGI_E_EXISTS; /* a higher ballot */
		out.ballot = s->promised;
		agi_answer(d, from, m, &out);
		return;
	}
	s->promised = m->ballot;
	if (m->ballot.round > s->round)
		s->round = m->ballot.round;
	out.ballot = m->ballot;
	out.accepted_ballot = s->accepted;
	if (s->accepted.round)
		out.view = s->proposal;
	save_then_answer(d, s, from, m->rpc_id, &out);
}

void agi_view_on_accept(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_contact contacts[AGI_REPLICAS_MAX];
	struct agi_msg out = {.kind = AGI_MSG_VIEW_ACCEPTED, .slot = m->slot, .epoch = m->epoch};
	struct agi_slot *s;

	out.status = admit_change(d, from, m, &out, contacts);
	if (out.status == AGI_OK && (!agi_view_is_sane(d, &m->view) || m->view.slot != m->slot ||
	                             m->view.epoch != m->epoch + 1))
		out.status = AGI_E_INVALID;
	s = agi_slot_find(d, m->slot);
	if (out.status == AGI_OK && agi_ballot_cmp(&m->ballot, &s->promised) < 0 && !AGI_MUTANT(VIEW_BELOW_PROMISE)) {
		out.status = AGI_E_EXISTS;
		out.ballot = s->promised;
	}
	if (out.status == AGI_OK && !m->accepted_ballot.round && !agi_farewell_permits(d, &s->view, &m->view))
		out.status = AGI_E_NOT_READY;
	if (out.status != AGI_OK) {
		agi_answer(d, from, m, &out);
		return;
	}
	s->promised = s->accepted = m->ballot;
	s->proposal = m->view;
	if (s->phase == AGI_VIEW_ACTIVE) {
		if (s->reconf && agi_reconf_kind(s) != AGI_WORK_PROPOSE)
			agi_reconf_abort(d, s); /* what it looked at is over; this node may have to finish the instance */
		agi_slot_set_phase(d, s, AGI_VIEW_SEALED);
		/* if the proposer dies, finish its instance */
		s->retry_us = agi_after_ms(d, FINISH_MS + agi_prng_below(&d->prng, FINISH_MS));
		agi_reconf_wake(d, s->retry_us);
	}
	out.ballot = m->ballot;
	save_then_answer(d, s, from, m->rpc_id, &out);
}

void agi_view_on_decided(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_contact contacts[AGI_REPLICAS_MAX];
	struct agi_msg out = {.kind = AGI_MSG_VIEW_INFO, .slot = m->slot};
	struct agi_slot *s;

	agi_view_learn_from(d, m);
	s = agi_slot_find(d, m->slot);
	if (!s || !s->view.epoch) {
		agi_answer(d, from, m, &out);
		return;
	}
	if (agi_slot_is_taken_over(s))
		return; /* what it would say is over in a moment: the asker asks again */
	agi_view_fill(d, s, &out, contacts);
	/* that we have left the old epoch may be said only when it is durable */
	if (s->installing)
		save_then_answer(d, s, from, m->rpc_id, &out);
	else
		agi_answer(d, from, m, &out);
}
