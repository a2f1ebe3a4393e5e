/* SPDX-License-Identifier: Apache-2.0
 * A slot whose members are gone for good, but for a minority: an operator says so, and one survivor goes on alone.
 *
 *   who answers? ──a majority, or new members that can still join──▶ refused: nothing is lost
 *        │ fewer
 *        ▼
 *   another survivor comes before this one ──▶ refused, and told which
 *        │ none
 *        ▼
 *   merge what the other survivors hold ──▶ a view of this node alone, in an epoch far beyond ──▶ told to the others
 *
 * What it costs is in docs/decisions/0012: writes that only the lost members had are gone. No two nodes ever make two
 * views of one epoch: the new epoch carries the maker's place among the old members. From there the slot grows back
 * to its replicas like any other (reconf.c). Members that come back after all are of an older epoch: they are refused,
 * learn the view, hand over their items and drop the rest.
 *
 * epoch   (old epoch / 2^32 + 1) · 2^32 + place · 2^24
 * rounds  go on 2^20 beyond what the survivors promised: a version a lost member gave is never given again */
#include "dht/reconf.h"

#include <stdlib.h>

enum { PARALLEL = 16, EPOCH_SHIFT = 32, PLACE_SHIFT = 24, ROUND_JUMP = 1 << 20 };

struct agi_recovery {
	struct agi_dht *d;
	uint64_t call_id;
	bool is_all, is_cancelled;
	uint32_t next, end;    /* slots still to be looked at: [next, end) */
	uint32_t n_open;
	struct agi_recovered sum;
	struct agi_why why;    /* the first that could not be recovered */
	enum agi_err err;
	struct agi_timer step;
};

/* --- the whole call ------------------------------------------------------------------------------------ */

static void finish(struct agi_recovery *v)
{
	struct agi_dht *d = v->d;
	struct agi_result res = {.kind = AGI_CALL_RECOVER, .recovered = v->sum, .why = v->why};

	res.err = v->is_all ? AGI_OK : v->err;
	agi_timer_clear(&d->timers, &v->step);
	d->recovery = NULL;
	if (!v->is_cancelled)
		agi_call_reply(d, v->call_id, &res);
	free(v);
}

static void note_outcome(struct agi_recovery *v, uint32_t slot, enum agi_err err, const char *text)
{
	switch (err) {
	case AGI_OK:
		v->sum.recovered++;
		return;
	case AGI_E_NOT_LOST:
		v->sum.healthy++;
		break;
	case AGI_E_NOT_MEMBER:
		v->sum.elsewhere++;
		break;
	default:
		v->sum.failed++;
		break;
	}
	if (v->is_all && (err == AGI_E_NOT_LOST || err == AGI_E_NOT_MEMBER))
		return;
	if (v->err == AGI_OK) {
		v->err = err;
		agi_fail(&v->why, err, "slot %u: %s", slot, text);
	}
}

static void slot_done(struct agi_reconf *r, enum agi_err err, const char *text)
{
	struct agi_recovery *v = r->d->recovery;
	uint32_t slot = r->s->view.slot;

	r->is_told = true;
	agi_reconf_finish(r, false);
	if (!v)
		return;
	note_outcome(v, slot, err, text);
	v->n_open--;
	agi_timer_set(&v->d->timers, &v->step, v->d->now.mono_us);
}

void agi_recover_ended(struct agi_reconf *r)
{
	struct agi_recovery *v = r->d->recovery;

	if (r->is_told || !v)
		return;
	note_outcome(v, r->s->view.slot, AGI_E_STALE_EPOCH, "a newer view of it was learnt: look at it again");
	v->n_open--;
	agi_timer_set(&v->d->timers, &v->step, v->d->now.mono_us);
}

/* --- one slot: the new view ---------------------------------------------------------------------------- */

static void tell_others(struct agi_reconf *r)
{
	const struct agi_slot *s = r->s;

	for (uint8_t i = 0; i < r->n_peers; i++)
		agi_reconf_tell(r->d, &r->peer[i], &s->view, s->prev, s->n_prev, agi_view_on_told, NULL, 0, NULL);
}

static void on_saved(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_reconf *r = arg;
	struct agi_slot *s = r->s;
	struct agi_view old = s->view;
	struct agi_note n = {.kind = AGI_NOTE_RECOVERED, .slot = old.slot, .epoch = r->next.epoch};
	struct agi_buf text;

	r->job = 0;
	if (done->err != AGI_OK) {
		slot_done(r, done->err, "the new view could not be written");
		return;
	}
	agi_view_take_over(d, s, &r->next, ROUND_JUMP);
	agi_buf_init(&text, 0);
	agi_buf_printf(&text, "%u of %u members of epoch %llu answered", r->waiting, old.n_members,
	               (unsigned long long)old.epoch);
	agi_buf_u8(&text, 0);
	n.text = text.err ? "" : (const char *)text.p;
	d->fx.note(d->ctx, &n);
	agi_buf_free(&text);
	tell_others(r);
	slot_done(r, AGI_OK, "");
}

static void take_over(struct agi_reconf *r)
{
	struct agi_slot alone = *r->s;

	r->next = (struct agi_view){.slot = r->s->view.slot, .n_members = 1, .members = {r->d->self.id}};
	r->next.epoch = ((r->s->view.epoch >> EPOCH_SHIFT) + 1) << EPOCH_SHIFT | (uint64_t)r->place << PLACE_SHIFT;
	agi_slot_alone(&alone, &r->next, ROUND_JUMP);
	r->job = agi_slot_save(r->d, &alone, NULL, 0, on_saved, r);
	if (!r->job)
		slot_done(r, AGI_E_NOMEM, "out of memory");
}

/* --- one slot: what the survivors hold ------------------------------------------------------------------ */

static void merge_next(struct agi_reconf *r);

static void on_pulled(struct agi_dht *d, void *arg, enum agi_err err)
{
	struct agi_reconf *r = arg;

	(void)d;
	if (err != AGI_OK) {
		slot_done(r, err, "a survivor answered, but what it holds could not be copied");
		return;
	}
	r->pulling++;
	merge_next(r);
}

static void merge_next(struct agi_reconf *r)
{
	while (r->pulling < r->n_peers && !r->is_ready[r->pulling])
		r->pulling++;
	if (r->pulling == r->n_peers) {
		take_over(r);
		return;
	}
	r->pull = (struct agi_pull){.d = r->d, .s = r->s, .epoch = r->s->view.epoch, .from = r->peer[r->pulling],
	                            .fn = on_pulled, .arg = r};
	agi_pull_start(&r->pull);
}

/* --- one slot: who is left? ------------------------------------------------------------------------------ */

/* The better it is, the more certainly it holds what was acknowledged. Copies hold nothing. */
static uint32_t rank(enum agi_view_phase p, uint32_t place)
{
	uint32_t by_phase = p == AGI_VIEW_ACTIVE || p == AGI_VIEW_SEALED ? 0 : p == AGI_VIEW_LEAVING ? 1 : 2;

	return by_phase * 100 + place;
}

static uint32_t place_of(const struct agi_slot *s, const struct agi_id *id)
{
	uint32_t place = 0;

	for (; place < s->view.n_members; place++)
		if (agi_id_eq(&s->view.members[place], id))
			return place;
	for (uint8_t i = 0; i < s->n_prev; i++, place++)
		if (agi_id_eq(&s->prev[i], id))
			break;
	return place;
}

static bool is_in(const struct agi_id *ids, uint8_t n, const struct agi_id *id)
{
	for (uint8_t i = 0; i < n; i++)
		if (agi_id_eq(&ids[i], id))
			return true;
	return false;
}

struct census {
	uint32_t members, serving, former; /* that answered; of them, with data; of the members before, with data */
};

static void count(struct census *c, const struct agi_slot *s, const struct agi_id *id, enum agi_view_phase p,
                  bool has_data)
{
	bool is_serving = p == AGI_VIEW_ACTIVE || p == AGI_VIEW_SEALED;

	c->members += agi_view_has(&s->view, id);
	c->serving += agi_view_has(&s->view, id) && is_serving;
	c->former += is_in(s->prev, s->n_prev, id) && has_data;
}

/* Either a majority serves, or sees to it that its data comes: then there is nothing to recover. */
static bool is_alive(const struct census *c, const struct agi_slot *s)
{
	uint32_t need = agi_majority(s->view.n_members);

	return c->serving >= need ||
	       (c->members >= need && (c->serving > 0 || (s->n_prev && c->former >= agi_majority(s->n_prev))));
}

static void decide(struct agi_reconf *r)
{
	const struct agi_slot *s = r->s;
	uint32_t best = rank(s->phase, place_of(s, &r->d->self.id));
	const struct agi_id *first = &r->d->self.id;
	struct census c = {0};
	struct agi_why why;
	char hex[AGI_ID_HEX];

	count(&c, s, &r->d->self.id, s->phase, true);
	for (uint8_t i = 0; i < r->n_peers; i++) {
		if (!r->is_active[i])
			continue;
		count(&c, s, &r->peer[i], r->phase[i], r->is_ready[i]);
		if (r->is_ready[i] && rank(r->phase[i], place_of(s, &r->peer[i])) < best) {
			best = rank(r->phase[i], place_of(s, &r->peer[i]));
			first = &r->peer[i];
		}
	}
	r->waiting = c.members;
	r->place = (uint8_t)place_of(s, &r->d->self.id);
	if (is_alive(&c, s)) {
		agi_fail(&why, AGI_E_NOT_LOST, "%u of its %u members answer: it is not lost", c.members,
		         s->view.n_members);
		slot_done(r, AGI_E_NOT_LOST, why.text);
	} else if (first != &r->d->self.id) {
		agi_id_hex(hex, first);
		agi_fail(&why, AGI_E_NOT_MEMBER, "node %s survived too and comes first: ask it", hex);
		slot_done(r, AGI_E_NOT_MEMBER, why.text);
	} else {
		merge_next(r);
	}
}

/* is_active: it answered and is of this epoch; is_ready: and holds records of its own. */
static void on_answer(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                      const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	struct agi_slot *s = r->s;
	uint64_t epoch = s->view.epoch;

	(void)from;
	r->rpc[which] = 0;
	r->waiting--;
	if (err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO) {
		agi_view_learn_from(d, m);
		if (s->view.epoch != epoch)
			return; /* a newer view: r is gone */
		r->is_active[which] = true; /* whatever it knows: it is there, and learns this view soon */
		r->phase[which] = m->view.epoch == epoch ? m->phase : AGI_VIEW_JOINING;
		r->is_ready[which] = m->view.epoch == epoch && !m->is_copy && m->phase != AGI_VIEW_FORWARD &&
		                     m->phase != AGI_VIEW_NONE;
	}
	if (r->waiting == 0)
		decide(r);
}

static void add_peer(struct agi_reconf *r, const struct agi_id *id)
{
	if (!agi_id_eq(id, &r->d->self.id) && !is_in(r->peer, r->n_peers, id))
		r->peer[r->n_peers++] = *id;
}

static bool holds_records(const struct agi_slot *s) { return agi_slot_is_held(s) && !s->is_copy; }

static void look_at(struct agi_recovery *v, uint32_t slot)
{
	struct agi_dht *d = v->d;
	struct agi_slot *s = agi_slot_find(d, slot);
	struct agi_reconf *r;

	if (!s || !holds_records(s)) {
		note_outcome(v, slot, AGI_E_NOT_MEMBER, "this node holds nothing of it: ask one that does");
		return;
	}
	if (s->ahead_job) { /* it becomes active, or is taken over */
		note_outcome(v, slot, AGI_E_STALE_EPOCH, "its record is being written: look at it again");
		return;
	}
	agi_reconf_abort(d, s);
	r = agi_reconf_begin(d, s, AGI_WORK_RECOVER);
	if (!r) {
		note_outcome(v, slot, AGI_E_NOMEM, "out of memory");
		return;
	}
	v->n_open++;
	for (uint8_t i = 0; i < s->view.n_members; i++)
		add_peer(r, &s->view.members[i]);
	for (uint8_t i = 0; i < s->n_prev; i++)
		add_peer(r, &s->prev[i]);
	for (uint8_t i = 0; i < r->n_peers; i++) {
		struct agi_peer to = agi_hosts_peer(d, &r->peer[i]);
		struct agi_msg m = {.kind = AGI_MSG_VIEW_GET, .slot = slot};

		r->rpc[i] = agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, on_answer, r, i);
		r->waiting += r->rpc[i] != 0;
	}
	if (r->waiting == 0)
		decide(r);
}

/* --- the call ----------------------------------------------------------------------------------------------- */

static void step(struct agi_dht *d, void *arg)
{
	struct agi_recovery *v = arg;

	(void)d;
	while (v->next < v->end && v->n_open < PARALLEL && !v->is_cancelled)
		look_at(v, v->next++);
	if (v->n_open == 0 && (v->next == v->end || v->is_cancelled))
		finish(v);
}

/* What has begun is finished: a slot half way would be no better. */
static void cancel(struct agi_dht *d, void *op)
{
	struct agi_recovery *v = op;

	v->is_cancelled = true;
	agi_timer_set(&d->timers, &v->step, d->now.mono_us);
}

static enum agi_err check(const struct agi_dht *d, const struct agi_call *call, struct agi_why *why)
{
	if (d->is_read_only)
		return agi_fail(why, AGI_E_READ_ONLY, "the store is read-only after a disk error");
	if (d->recovery)
		return agi_fail(why, AGI_E_FULL, "a recovery is going on at this node: wait for its end");
	if (!call->is_all && call->slot >= d->slots.n)
		return agi_fail(why, AGI_E_INVALID, "slot %u: expected 0..%u", call->slot, d->slots.n - 1);
	return AGI_OK;
}

void agi_recover_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call)
{
	struct agi_why why;
	enum agi_err e = check(d, call, &why);
	struct agi_recovery *v = e ? NULL : calloc(1, sizeof *v);

	if (!v) {
		agi_call_fail(d, call_id, call->kind, e ? e : AGI_E_NOMEM, e ? why.text : "");
		return;
	}
	if (agi_call_open(d, call_id, call->kind, v, cancel) != AGI_OK) {
		free(v);
		return;
	}
	*v = (struct agi_recovery){.d = d, .call_id = call_id, .is_all = call->is_all, .next = call->slot,
	                           .end = call->slot + 1, .step = {.fn = step, .arg = v}};
	if (v->is_all) {
		v->next = 0;
		v->end = d->slots.n;
	}
	d->recovery = v;
	agi_timer_set(&d->timers, &v->step, d->now.mono_us);
}

void agi_recover_free(struct agi_dht *d)
{
	if (!d->recovery)
		return;
	agi_timer_clear(&d->timers, &d->recovery->step);
	free(d->recovery);
	d->recovery = NULL;
}
