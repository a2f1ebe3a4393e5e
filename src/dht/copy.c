/* SPDX-License-Identifier: Apache-2.0
 * A host that may become a member of a slot copies it beforehand (pre-copy), asked to by the member that leads the
 * change (prepare.c), which repeats its request as long as it wants the copy.
 *
 * What a copy holds counts for nothing: it is not told to clients, not handed on to others, and once the host is a
 * member it is made equal to what one sealed member holds, removals included, before the others' records are
 * merged into it (join.c). Otherwise an item that was deleted, and whose tombstone was collected, between the copy
 * and the seal would come back. So that no copy is ever taken for a member's own records, a mark in the slot's
 * record is on the disk before the first copied record is, and goes in the same write that drops the copy or makes
 * the member active. */
#include "dht/reconf.h"

enum {
	KEEP_MS = 60000,   /* a copy nobody has asked about for so long is dropped */
	FRESH_MS = 2000,   /* a copy this old is brought up to date before it counts as done again */
	ANSWER_MS = 1000   /* the request is answered after so long, done or not */
};

/* --- answers ---------------------------------------------------------------------------------------- */

static void tell(struct agi_dht *d, const struct agi_peer *to, uint64_t rpc_id, const struct agi_slot *s,
                 enum agi_err status, bool is_done)
{
	struct agi_msg out = {.kind = AGI_MSG_SLOT_COPIED, .status = status, .has_item = is_done};

	if (s && s->view.epoch) {
		out.seq = s->copy_progress;
		agi_view_tell(s, &out);
	}
	agi_answer_on(d, AGI_TRAFFIC_CONTROL, to, rpc_id, &out);
}

static void answer_waiter(struct agi_reconf *r, enum agi_err status, bool is_done)
{
	if (r->waiter_rpc)
		tell(r->d, &r->waiter, r->waiter_rpc, r->s, status, is_done);
	r->waiter_rpc = 0;
	agi_timer_clear(&r->d->timers, &r->answer);
}

void agi_copy_ended(struct agi_reconf *r)
{
	struct agi_host *source = agi_hosts_find(r->d, &r->peer[0]);

	if (source && source->copies)
		source->copies--;
	answer_waiter(r, AGI_E_CANCELLED, false);
}

static void on_answer_due(struct agi_dht *d, void *arg)
{
	(void)d;
	answer_waiter(arg, AGI_OK, false);
}

static void wait(struct agi_reconf *r, const struct agi_peer *from, uint64_t rpc_id)
{
	r->waiter = *from; /* an earlier request of the same change has been given up by its sender */
	r->waiter_rpc = rpc_id;
	agi_timer_set(&r->d->timers, &r->answer, agi_after_ms(r->d, ANSWER_MS));
}

/* --- copying ----------------------------------------------------------------------------------------- */

static void on_pulled(struct agi_dht *d, void *arg, enum agi_err err)
{
	struct agi_reconf *r = arg;

	if (err == AGI_OK)
		r->s->copied_us = d->now.mono_us;
	else
		d->move.stats.copies_failed++;
	answer_waiter(r, err, err == AGI_OK);
	agi_reconf_finish(r, false);
}

static void pull(struct agi_reconf *r)
{
	r->pull = (struct agi_pull){.d = r->d, .s = r->s, .epoch = r->s->view.epoch, .from = r->peer[0],
	                            .is_mirror = r->s->is_copy, .is_background = true, .fn = on_pulled, .arg = r};
	agi_pull_start(&r->pull);
}

static void on_marked(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_reconf *r = arg;

	(void)d;
	r->job = 0;
	if (done->err != AGI_OK) {
		answer_waiter(r, done->err, false);
		agi_reconf_finish(r, true);
		return;
	}
	agi_slot_set_copy(r->d, r->s, true);
	pull(r);
}

/* The member that is up and from which the least is being copied; NULL when each gives enough already. */
static struct agi_host *choose_source(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_host *best = NULL;
	uint32_t first = s->view.slot + s->copy_tries++; /* one that fails is not asked again and again */

	for (uint8_t i = 0; i < s->view.n_members; i++) {
		struct agi_host *h = agi_hosts_find(d, &s->view.members[(first + i) % s->view.n_members]);

		if (h && agi_hosts_is_up(d, &h->c.id) && h->copies < AGI_COPIES_PER_PAIR &&
		    (!best || h->copies < best->copies))
			best = h;
	}
	return best;
}

static enum agi_err start(struct agi_dht *d, struct agi_slot *s, const struct agi_peer *from, uint64_t rpc_id)
{
	struct agi_slot marked = *s;
	struct agi_host *source = agi_reconf_has_room(d, AGI_WORK_COPY) ? choose_source(d, s) : NULL;
	struct agi_reconf *r;

	if (!source)
		return AGI_E_FULL;
	r = agi_reconf_begin(d, s, AGI_WORK_COPY);
	if (!r)
		return AGI_E_NOMEM;
	r->peer[0] = source->c.id;
	source->copies++;
	r->answer = (struct agi_timer){.fn = on_answer_due, .arg = r};
	wait(r, from, rpc_id);
	if (s->is_copy) {
		pull(r);
		return AGI_OK;
	}
	marked.is_copy = true;
	r->job = agi_slot_save(d, &marked, NULL, 0, on_marked, r);
	if (r->job)
		return AGI_OK;
	r->waiter_rpc = 0;
	agi_reconf_finish(r, false);
	return AGI_E_NOMEM;
}

/* Whoever leads the change knows our view, or we learn its. */
static enum agi_err admit(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_slot *s;

	if (!agi_view_is_sane(d, &m->view) || !agi_view_has(&m->view, &from->id) ||
	    agi_view_has(&m->view, &d->self.id))
		return AGI_E_INVALID;
	if (d->is_read_only)
		return AGI_E_READ_ONLY;
	if (d->is_low)
		return AGI_E_DISK_FULL;
	agi_view_learn_from(d, m);
	s = agi_slot_find(d, m->view.slot);
	if (!s)
		return AGI_E_NOMEM;
	return s->view.epoch == m->view.epoch ? AGI_OK : AGI_E_STALE_EPOCH;
}

void agi_copy_on_ask(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	enum agi_err e = admit(d, from, m);
	struct agi_slot *s = agi_slot_find(d, m->view.slot);

	if (e != AGI_OK) {
		tell(d, from, m->rpc_id, s, e, false);
		return;
	}
	s->copy_until_us = agi_after_ms(d, KEEP_MS);
	if (s->reconf && s->reconf->kind == AGI_WORK_COPY) {
		answer_waiter(s->reconf, AGI_E_CANCELLED, false);
		wait(s->reconf, from, m->rpc_id);
	} else if (s->phase == AGI_VIEW_LEAVING || /* a former member has nearly everything */
	           (s->is_copy && s->copied_us && d->now.mono_us - s->copied_us < (uint64_t)FRESH_MS * 1000)) {
		tell(d, from, m->rpc_id, s, AGI_OK, true);
	} else {
		e = s->reconf ? AGI_E_FULL : start(d, s, from, m->rpc_id);
		if (e != AGI_OK)
			tell(d, from, m->rpc_id, s, e, false);
	}
}

/* --- dropping ------------------------------------------------------------------------------------------ */

static void on_dropped(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_reconf *r = arg;

	r->job = 0;
	if (done->err == AGI_OK)
		agi_slot_set_copy(d, r->s, false);
	d->move.stats.copies_dropped += done->err == AGI_OK;
	agi_reconf_finish(r, done->err != AGI_OK);
}

void agi_copy_look_at(struct agi_dht *d, struct agi_slot *s)
{
	uint8_t begin[4], end[4];
	struct agi_storage_op drop[2] = {
	    {AGI_DELETE_RANGE, AGI_CF_ITEMS, {(const char *)begin, 4}, {(const char *)end, 4}},
	    {AGI_DELETE_RANGE, AGI_CF_STRONG, {(const char *)begin, 4}, {(const char *)end, 4}}};
	struct agi_slot bare = *s;
	struct agi_reconf *r;

	if (s->copy_until_us == 0) /* after a restart */
		s->copy_until_us = agi_after_ms(d, KEEP_MS);
	if (d->now.mono_us < s->copy_until_us) {
		s->retry_us = s->copy_until_us;
		return;
	}
	r = agi_reconf_begin(d, s, AGI_WORK_DROP);
	if (!r)
		return;
	bare.is_copy = false;
	agi_slot_range(s->view.slot, begin, end);
	r->job = agi_slot_save(d, &bare, drop, 2, on_dropped, r);
	if (!r->job)
		agi_reconf_finish(r, true);
}
