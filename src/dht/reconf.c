/* SPDX-License-Identifier: Apache-2.0
 * Changing who holds a slot. Level-triggered: a scan looks at every slot's durable phase and starts the
 * work that phase calls for, so whatever a crash interrupted is taken up again.
 *
 *   ACTIVE,  first live member, ideal replicas differ from the view  → propose
 *   ACTIVE,  otherwise, after every change of the hosts known        → verify: is the view still the newest?
 *   SEALED   (a proposer may have died)                              → propose: finish the same instance
 *   JOINING                                                          → join: merge the old members' data
 *   LEAVING                                                          → leave: hand over, then release
 *
 * propose  single-decree Paxos (Lamport 2001) among the members of epoch e on the members of e+1.
 * join     a new member serves once it holds everything epoch e could have acknowledged at a majority:
 *          it has merged a majority of e's members, each of which has left e, or one ACTIVE member of
 *          e+1 (which did). It counts itself when it was a member of e.
 * leave    keeps its data until a majority of the new members is ACTIVE and has taken what it held. */
#include <assert.h>
#include <stdlib.h>

#include "dht/state.h"

enum {
	SCAN_STEP_MS = 50,
	SCAN_SLOTS = 2048, /* looked at per step */
	RETRY_MS = 300     /* pause of one slot after a failed attempt, plus as much at random */
};

struct agi_reconf {
	struct agi_dht *d;
	struct agi_slot *s;
	struct agi_gather g;
	/* propose */
	bool is_accepting;
	struct agi_ballot ballot, best;
	struct agi_view next;
	uint64_t generation; /* verify: of the hosts known when it began */
	/* join: old members and new members, who is asked what */
	struct agi_id peer[2 * AGI_REPLICAS_MAX];
	uint64_t rpc[2 * AGI_REPLICAS_MAX];
	uint8_t n_peers, n_old;         /* the first n_old are old members */
	bool is_ready[2 * AGI_REPLICAS_MAX];  /* may be pulled from */
	bool is_active[2 * AGI_REPLICAS_MAX]; /* an active member of the new view */
	uint8_t to_pull[AGI_REPLICAS_MAX], n_pull, pulling;
	bool is_pulling;
	uint32_t waiting;
	uint64_t job, pull_rpc;
	struct agi_buf cursor;
	bool has_more;
};

static void finish(struct agi_reconf *r, bool is_failed)
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
		finish(s->reconf, false);
}

static struct agi_reconf *begin(struct agi_dht *d, struct agi_slot *s)
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

/* --- propose ------------------------------------------------------------------------------------- */

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

		finish(r, false);
		announce(d, &old, &next);
		return;
	}
	r->is_accepting = true;
	m.view = r->next;
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
	if (is_yes && !r->is_accepting && m->accepted_ballot.round &&
	    agi_ballot_cmp(&m->accepted_ballot, &r->best) > 0) {
		r->best = m->accepted_ballot;
		r->next = m->view;
	}
	if (agi_gather_outcome(&r->g) == AGI_GATHER_WON) {
		for (uint32_t i = 0; i < r->g.n; i++)
			agi_rpc_cancel(d, r->g.rpc[i]);
		on_quorum(r);
	} else if (agi_gather_outcome(&r->g) == AGI_GATHER_LOST) {
		finish(r, true);
	}
}

static void on_announced(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                         const struct agi_peer *from, const struct agi_msg *m)
{
	(void)arg, (void)which, (void)from;
	if (err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO)
		agi_view_learn_from(d, m);
}

static void tell_decided(struct agi_dht *d, const struct agi_id *to, const struct agi_view *next,
                         const struct agi_id *old, uint8_t n_old, agi_rpc_fn *fn, void *arg,
                         uint32_t which, uint64_t *rpc)
{
	struct agi_contact contacts[AGI_REPLICAS_MAX];
	struct agi_slot known = {.view = *next};
	struct agi_msg m = {.kind = AGI_MSG_VIEW_DECIDED, .slot = next->slot};
	struct agi_peer peer = agi_hosts_peer(d, to);
	uint64_t id;

	agi_view_fill(d, &known, &m, contacts);
	m.n_sources = n_old;
	for (uint8_t i = 0; i < n_old; i++)
		m.sources[i] = old[i];
	id = agi_rpc_ask(d, &peer, AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, fn, arg, which);
	if (rpc)
		*rpc = id;
}

/* Tells old and new members; whoever misses it learns from the others' refusals. */
static void announce(struct agi_dht *d, const struct agi_view *old, const struct agi_view *next)
{
	for (int i = 0; i < next->n_members; i++)
		tell_decided(d, &next->members[i], next, old->members, old->n_members, on_announced, NULL, 0,
		             NULL);
	for (int i = 0; i < old->n_members; i++)
		if (!agi_view_has(next, &old->members[i]))
			tell_decided(d, &old->members[i], next, old->members, old->n_members, on_announced, NULL,
			             0, NULL);
}

static void propose(struct agi_dht *d, struct agi_slot *s, const struct agi_view *wanted)
{
	struct agi_reconf *r = begin(d, s);
	struct agi_msg m = {.kind = AGI_MSG_VIEW_PREPARE};

	if (!r)
		return;
	r->next = *wanted;
	r->ballot = (struct agi_ballot){++s->round, d->self.id};
	ask_acceptors(r, &m);
}

/* --- join ----------------------------------------------------------------------------------------- */

static void pull_page(struct agi_reconf *r);

static void activate(struct agi_reconf *r)
{
	struct agi_dht *d = r->d;
	struct agi_slot *s = r->s;

	finish(r, false);
	agi_slot_set_phase(d, s, AGI_VIEW_ACTIVE);
	(void)agi_slot_save(d, s, NULL, NULL, NULL);
}

static void pull_next_source(struct agi_reconf *r)
{
	r->is_pulling = true;
	if (r->pulling == r->n_pull) {
		activate(r);
		return;
	}
	agi_buf_reset(&r->cursor);
	pull_page(r);
}

static void on_merged(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_reconf *r = arg;

	(void)d;
	r->job = 0;
	if (done->err != AGI_OK) {
		finish(r, true);
	} else if (r->has_more) {
		pull_page(r);
	} else {
		r->pulling++;
		pull_next_source(r);
	}
}

static void on_items(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	struct agi_storage_done empty = {.err = AGI_OK};

	(void)which, (void)from;
	r->pull_rpc = 0;
	if (err != AGI_OK || m->kind != AGI_MSG_SLOT_ITEMS || m->status != AGI_OK) {
		finish(r, true);
		return;
	}
	r->has_more = m->has_more && m->n_items > 0;
	agi_buf_reset(&r->cursor);
	agi_buf_put_str(&r->cursor, m->cursor);
	if (m->n_items == 0) {
		on_merged(d, r, &empty);
		return;
	}
	r->job = agi_items_write(d, r->s->view.slot, m->items, m->n_items, on_merged, r);
	if (!r->job)
		finish(r, true);
}

static void pull_page(struct agi_reconf *r)
{
	struct agi_msg m = {.kind = AGI_MSG_SLOT_PULL, .slot = r->s->view.slot, .epoch = r->s->view.epoch};
	struct agi_peer to = agi_hosts_peer(r->d, &r->peer[r->to_pull[r->pulling]]);

	m.cursor = agi_buf_str(&r->cursor);
	r->pull_rpc = agi_rpc_ask(r->d, &to, AGI_TRAFFIC_BULK, &m, 5 * AGI_RPC_TIMEOUT_MS, on_items, r, 0);
	if (!r->pull_rpc)
		finish(r, true);
}

/* With what is known now, whom to pull from? False when it does not suffice yet. */
static bool choose_sources(struct agi_reconf *r)
{
	bool is_old_member = false;
	uint32_t need = agi_majority(r->s->n_prev), have;

	r->n_pull = 0;
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
		if (r->is_ready[i]) {
			r->to_pull[r->n_pull++] = i;
			have++;
		}
	}
	return r->s->n_prev > 0 && have >= need;
}

static void on_source(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                      const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	struct agi_slot *s = r->s;
	uint64_t epoch = s->view.epoch;

	r->rpc[which] = 0;
	r->waiting--;
	if (err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO) {
		agi_view_learn_from(d, m);
		if (s->view.epoch != epoch)
			return; /* a newer view: r is gone */
		r->is_ready[which] = m->view.epoch == epoch && m->phase != AGI_VIEW_FORWARD &&
		                     m->phase != AGI_VIEW_NONE;
		r->is_active[which] = m->view.epoch == epoch && m->phase == AGI_VIEW_ACTIVE &&
		                      agi_view_has(&m->view, &from->id);
	}
	if (r->is_pulling)
		return;
	if (choose_sources(r))
		pull_next_source(r);
	else if (r->waiting == 0)
		finish(r, true);
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

static void join(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_reconf *r = begin(d, s);

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
		tell_decided(d, &r->peer[i], &s->view, s->prev, s->n_prev, on_source, r, i, &r->rpc[i]);
		r->waiting += r->rpc[i] != 0;
	}
	if (r->waiting == 0)
		finish(r, true);
}

/* --- leave ------------------------------------------------------------------------------------------ */

static void push_page(struct agi_reconf *r);

static void release(struct agi_reconf *r)
{
	struct agi_dht *d = r->d;
	struct agi_slot *s = r->s;
	uint8_t begin_key[4], end_key[4];
	struct agi_storage_op drop = {AGI_DELETE_RANGE, AGI_CF_ITEMS, {(const char *)begin_key, 4},
	                              {(const char *)end_key, 4}};

	agi_slot_range(s->view.slot, begin_key, end_key);
	finish(r, false);
	agi_slot_set_phase(d, s, AGI_VIEW_FORWARD);
	(void)agi_slot_save(d, s, &drop, NULL, NULL);
}

static void on_pushed(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                      const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	bool is_yes = err == AGI_OK && m->kind == AGI_MSG_WRITE_ACK && m->status == AGI_OK;

	(void)d, (void)from;
	agi_gather_answered(&r->g, which, is_yes ? AGI_GATHER_YES : AGI_GATHER_SILENT);
	if (!agi_gather_is_quiet(&r->g))
		return;
	if (agi_gather_outcome(&r->g) != AGI_GATHER_WON)
		finish(r, true);
	else if (r->has_more)
		push_page(r);
	else
		release(r);
}

static void push_items(struct agi_reconf *r, const struct agi_item *items, size_t n)
{
	struct agi_dht *d = r->d;
	const struct agi_view *v = &r->s->view;

	agi_gather_init(&r->g, v->n_members, agi_majority(v->n_members));
	for (uint32_t i = 0; i < v->n_members; i++) {
		struct agi_msg m = {.kind = AGI_MSG_WRITE, .slot = v->slot, .epoch = v->epoch,
		                    .items = items, .n_items = n, .is_transfer = true};
		struct agi_peer to = agi_hosts_peer(d, &v->members[i]);
		uint64_t rpc = agi_rpc_ask(d, &to, AGI_TRAFFIC_BULK, &m, 5 * AGI_RPC_TIMEOUT_MS, on_pushed, r, i);

		if (rpc)
			agi_gather_asked(&r->g, i, rpc);
		else
			agi_gather_answered(&r->g, i, AGI_GATHER_SILENT);
	}
	if (agi_gather_is_quiet(&r->g))
		finish(r, true);
}

static void on_own_page(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_reconf *r = arg;
	struct agi_item items[AGI_BATCH_ITEMS];

	(void)d;
	r->job = 0;
	if (done->err != AGI_OK || done->n > AGI_BATCH_ITEMS) {
		finish(r, true);
		return;
	}
	for (size_t i = 0; i < done->n; i++) {
		if (agi_item_decode(&items[i], done->kv[i].key, done->kv[i].value) != AGI_OK) {
			finish(r, true);
			return;
		}
	}
	r->has_more = done->has_more;
	if (done->n == 0) {
		release(r);
		return;
	}
	agi_buf_reset(&r->cursor);
	agi_buf_put_str(&r->cursor, done->kv[done->n - 1].key);
	agi_buf_u8(&r->cursor, 0); /* the next key after it */
	push_items(r, items, done->n);
}

static void push_page(struct agi_reconf *r)
{
	uint8_t begin_key[4], end_key[4];
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN, .cf = AGI_CF_ITEMS,
	                              .max_items = AGI_BATCH_ITEMS, .max_bytes = AGI_PAGE_BYTES};

	agi_slot_range(r->s->view.slot, begin_key, end_key);
	req.begin = r->cursor.n ? agi_buf_str(&r->cursor) : (struct agi_str){(const char *)begin_key, 4};
	req.end = (struct agi_str){(const char *)end_key, 4};
	r->job = agi_job_submit(r->d, &req, on_own_page, r);
	if (!r->job)
		finish(r, true);
}

static void on_new_member(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                          const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	struct agi_slot *s = r->s;
	uint64_t epoch = s->view.epoch;
	bool is_yes = err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO && m->view.epoch == epoch &&
	              m->phase == AGI_VIEW_ACTIVE;

	(void)from;
	if (err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO) {
		agi_view_learn_from(d, m);
		if (s->view.epoch != epoch)
			return;
	}
	agi_gather_answered(&r->g, which, is_yes ? AGI_GATHER_YES : AGI_GATHER_SILENT);
	if (!agi_gather_is_quiet(&r->g))
		return;
	if (agi_gather_outcome(&r->g) == AGI_GATHER_WON)
		push_page(r);
	else
		finish(r, true);
}

static void leave(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_reconf *r = begin(d, s);

	if (!r)
		return;
	agi_gather_init(&r->g, s->view.n_members, agi_majority(s->view.n_members));
	for (uint32_t i = 0; i < s->view.n_members; i++) {
		uint64_t rpc;

		tell_decided(d, &s->view.members[i], &s->view, s->prev, s->n_prev, on_new_member, r, i, &rpc);
		if (rpc)
			agi_gather_asked(&r->g, i, rpc);
		else
			agi_gather_answered(&r->g, i, AGI_GATHER_SILENT);
	}
	if (agi_gather_is_quiet(&r->g))
		finish(r, true);
}

/* --- verify ----------------------------------------------------------------------------------------- */

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
	finish(r, r->g.silent > 0);
}

/* A member that was cut off while the others moved on hears of it from nobody, and one that lost power may
 * have forgotten that it is a member: all members tell each other what they know. */
static void verify(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_reconf *r = begin(d, s);

	if (!r)
		return;
	r->generation = d->hosts.generation;
	agi_gather_init(&r->g, s->view.n_members, s->view.n_members);
	for (uint32_t i = 0; i < s->view.n_members; i++) {
		const struct agi_id *id = &s->view.members[i];
		uint64_t rpc = 0;

		if (!agi_id_eq(id, &d->self.id) && agi_hosts_is_up(d, id))
			tell_decided(d, id, &s->view, s->prev, s->n_prev, on_verified, r, i, &rpc);
		if (rpc)
			agi_gather_asked(&r->g, i, rpc);
		else /* ourselves, or down: its coming back is a new generation */
			agi_gather_answered(&r->g, i, AGI_GATHER_YES);
	}
	if (agi_gather_is_quiet(&r->g)) {
		s->settled = r->generation;
		finish(r, false);
	}
}

/* --- scan --------------------------------------------------------------------------------------------- */

/* The first member that is up leads the change; nothing depends on all agreeing who that is. */
static bool is_leader(const struct agi_dht *d, const struct agi_view *v)
{
	for (int i = 0; i < v->n_members; i++)
		if (agi_hosts_is_up(d, &v->members[i]))
			return agi_id_eq(&v->members[i], &d->self.id);
	return false;
}

static bool is_same_set(const struct agi_view *v, const struct agi_contact *const *ideal, size_t n)
{
	if (n != v->n_members)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!agi_view_has(v, &ideal[i]->id))
			return false;
	return true;
}

/* The view this slot should have next; false when it should stay. Members are only ever replaced, never
 * merely dropped: fewer replicas would make the slot weaker, not safer. All new members must be up. */
static bool wants_change(const struct agi_dht *d, const struct agi_slot *s, struct agi_view *next)
{
	const struct agi_contact *ideal[AGI_REPLICAS_MAX];
	size_t n = agi_slot_ideal(&d->hosts.ring, s->view.slot, d->cfg.slot_bits, d->cfg.replicas, ideal);

	if (n < s->view.n_members && n < d->cfg.replicas)
		return false;
	if (n == 0 || is_same_set(&s->view, ideal, n))
		return false;
	*next = (struct agi_view){.slot = s->view.slot, .epoch = s->view.epoch + 1, .n_members = (uint8_t)n};
	for (size_t i = 0; i < n; i++) {
		if (!agi_hosts_is_up(d, &ideal[i]->id))
			return false;
		next->members[i] = ideal[i]->id;
	}
	return true;
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
		if (is_leader(d, &s->view) && wants_change(d, s, &next))
			propose(d, s, &next);
		else
			verify(d, s);
		break;
	case AGI_VIEW_SEALED:
		propose(d, s, &s->proposal);
		break;
	case AGI_VIEW_JOINING:
		join(d, s);
		break;
	case AGI_VIEW_LEAVING:
		leave(d, s);
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
