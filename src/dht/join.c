/* SPDX-License-Identifier: Apache-2.0
 * A new member becomes active: whom it may learn from, and in which order.
 *
 * Its sources are a majority of the members before, each of which has left the old epoch, or one active member of
 * the new view. A newcomer that has copied the slot beforehand is first made equal to one source (copy.c says why),
 * then the others are merged. Sources that hold nothing but such a copy count for the majority, as they did not
 * miss anything they had acknowledged, and are not pulled from.
 *
 * One that was a member of an earlier view, and away since then, may hold what the others have deleted and collected
 * (sweep.h). It too is first made equal to one source, but keeps items above the floor: nothing of that time was
 * collected, and they may be acknowledged at level one. */
#include "dht/reconf.h"

static void pull_next_source(struct agi_reconf *r);

/* What is stored here is not what a member holds. */
static bool is_foreign(const struct agi_slot *s) { return s->is_copy || s->is_stale; }

static void serve(struct agi_reconf *r)
{
	struct agi_dht *d = r->d;
	struct agi_slot *s = r->s;

	agi_reconf_finish(r, false);
	d->move.stats.slots_in += !s->unserved_us; /* the others were members before */
	agi_slot_set_phase(d, s, AGI_VIEW_ACTIVE);
}

static void on_active(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_reconf *r = arg;

	r->job = 0;
	if (done->err != AGI_OK) {
		agi_reconf_finish(r, true);
		return;
	}
	agi_slot_set_copy(d, r->s, false);
	r->s->is_stale = false;
	serve(r);
}

/* That the records are this member's own now must be on the disk before the first write is taken: after a restart
 * they would be made equal to somebody else's again. */
static void activate(struct agi_reconf *r)
{
	struct agi_slot active = *r->s;

	active.phase = AGI_VIEW_ACTIVE;
	active.is_copy = active.is_stale = false;
	r->job = agi_slot_save(r->d, &active, NULL, 0, on_active, r);
	if (!r->job)
		agi_reconf_finish(r, true);
}

static void on_pulled(struct agi_dht *d, void *arg, enum agi_err err)
{
	struct agi_reconf *r = arg;

	(void)d;
	if (err != AGI_OK) {
		agi_reconf_finish(r, true);
		return;
	}
	r->pulling++;
	pull_next_source(r);
}

static void pull_next_source(struct agi_reconf *r)
{
	r->is_pulling = true;
	if (r->pulling == r->n_pull) {
		activate(r);
		return;
	}
	if (r->d->is_low) { /* what is pulled has no room: later */
		agi_reconf_finish(r, true);
		return;
	}
	r->pull = (struct agi_pull){.d = r->d, .s = r->s, .epoch = r->s->view.epoch,
	                            .from = r->peer[r->to_pull[r->pulling]],
	                            .is_mirror = is_foreign(r->s) && r->pulling == 0, .is_stale = r->s->is_stale,
	                            .fn = on_pulled, .arg = r};
	agi_pull_start(&r->pull);
}

/* With what is known now, whom to pull from? False when it does not suffice yet. */
static bool choose_sources(struct agi_reconf *r)
{
	bool is_old_member = false;
	uint32_t need = AGI_MUTANT(MERGE_ONE) ? 1 : agi_majority(r->s->n_prev), have;

	r->n_pull = 0;
	if (AGI_MUTANT(MERGE_NONE))
		return true;
	for (uint8_t i = 0; i < r->n_peers; i++) {
		if (r->is_active[i]) { /* one active member of the new view has it all */
			r->to_pull[r->n_pull++] = i;
			return true;
		}
	}
	for (uint8_t i = 0; i < r->s->n_prev; i++)
		is_old_member |= agi_id_eq(&r->s->prev[i], &r->d->self.id);
	have = is_old_member;
	for (uint8_t i = 0; i < r->n_old && have < need; i++) {
		if (!r->is_ready[i])
			continue;
		have++;
		if (!r->is_copy[i])
			r->to_pull[r->n_pull++] = i;
	}
	/* a copy alone proves nothing; of a majority at least one has sealed the epoch with records of its own */
	return r->s->n_prev > 0 && have >= need && (r->n_pull > 0 || !is_foreign(r->s));
}

static void on_source(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                      const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	struct agi_slot *s = r->s;
	uint64_t epoch = s->view.epoch;

	r->rpc[which] = 0;
	r->waiting--;
	if (err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO && m->status == AGI_OK) {
		agi_view_learn_from(d, m);
		if (s->view.epoch != epoch)
			return; /* a newer view: r is gone */
		r->is_ready[which] = m->view.epoch == epoch && m->phase != AGI_VIEW_FORWARD &&
		                     m->phase != AGI_VIEW_NONE;
		r->is_active[which] = m->view.epoch == epoch && m->phase == AGI_VIEW_ACTIVE &&
		                      agi_view_has(&m->view, &from->id);
		r->is_copy[which] = m->is_copy;
	}
	if (r->is_pulling)
		return;
	if (choose_sources(r))
		pull_next_source(r);
	else if (r->waiting == 0)
		agi_reconf_finish(r, true);
}

static void add_peer(struct agi_reconf *r, const struct agi_id *id)
{
	if (agi_id_eq(id, &r->d->self.id))
		return;
	for (uint8_t i = 0; i < r->n_peers; i++)
		if (agi_id_eq(&r->peer[i], id))
			return;
	r->peer[r->n_peers++] = *id;
}

void agi_reconf_join(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_reconf *r = agi_reconf_begin(d, s, AGI_WORK_JOIN);

	if (!r)
		return;
	for (uint8_t i = 0; i < s->n_prev; i++)
		add_peer(r, &s->prev[i]);
	r->n_old = r->n_peers;
	if (choose_sources(r)) { /* we alone were the majority */
		pull_next_source(r);
		return;
	}
	for (int i = 0; i < s->view.n_members; i++)
		add_peer(r, &s->view.members[i]);
	for (uint8_t i = 0; i < r->n_peers; i++) {
		agi_reconf_tell(d, &r->peer[i], &s->view, s->prev, s->n_prev, on_source, r, i, &r->rpc[i]);
		r->waiting += r->rpc[i] != 0;
	}
	for (uint8_t i = 0; AGI_MUTANT(MERGE_UNSEALED) && i < r->n_old; i++)
		r->is_ready[i] = true;
	if (AGI_MUTANT(MERGE_UNSEALED) && choose_sources(r))
		pull_next_source(r);
	else if (r->waiting == 0)
		agi_reconf_finish(r, true);
}
