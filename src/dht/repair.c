/* SPDX-License-Identifier: Apache-2.0
 * When to compare which slots with whom. A tick looks at all slots, collects for each peer those that are due,
 * and asks; what differs is pulled before that peer is asked again. */
#include "dht/repair.h"

#include <assert.h>
#include <stdlib.h>

enum {
	SOON_MS = 3000,      /* after a member came up or the view changed: hints go first */
	RETRY_MS = 2000,     /* a peer that failed, or whose trees are not known yet */
	GAP_MS = 10000,      /* the least between two comparisons that were not asked for by the interval */
	BUILDING_MS = 200
};

static void tick(struct agi_dht *d, void *arg);

void agi_repair_wake(struct agi_dht *d, uint64_t due_us)
{
	struct agi_timer *t = &d->repair.tick;

	if (!t->is_set || t->due_us > due_us)
		agi_timer_set(&d->timers, t, due_us);
}

void agi_repair_soon(struct agi_dht *d) { agi_repair_wake(d, agi_after_ms(d, SOON_MS)); }

void agi_repair_init(struct agi_dht *d) { d->repair.tick.fn = tick; }

static void end_peer(struct agi_repair_peer *p)
{
	agi_rpc_cancel(p->d, p->rpc);
	if (p->is_pulling)
		agi_repair_pull_abort(p);
	HASH_DEL(p->d->repair.peers, p);
	free(p);
}

void agi_repair_free(struct agi_dht *d)
{
	while (d->repair.peers)
		end_peer(d->repair.peers);
	agi_repair_registers_free(d);
	agi_repair_serves_free(d);
}

static struct agi_repair_peer *peer_of(struct agi_dht *d, const struct agi_id *id)
{
	struct agi_repair_peer *p;

	HASH_FIND(hh, d->repair.peers, id, sizeof *id, p);
	if (p)
		return p;
	p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	p->d = d;
	p->id = *id;
	HASH_ADD(hh, d->repair.peers, id, sizeof p->id, p);
	if (!p->hh.tbl) {
		free(p);
		return NULL;
	}
	return p;
}

uint64_t agi_repair_pace(struct agi_dht *d, uint64_t bytes)
{
	struct agi_repair *r = &d->repair;

	if (r->busy_until_us < d->now.mono_us)
		r->busy_until_us = d->now.mono_us;
	r->busy_until_us += bytes * 1000000 / d->cfg.repair_bytes;
	return r->busy_until_us;
}

/* --- what is due ------------------------------------------------------------------------------------ */

int agi_repair_place(const struct agi_slot *s, const struct agi_id *id)
{
	for (int i = 0; i < s->view.n_members; i++)
		if (agi_id_eq(&s->view.members[i], id))
			return i;
	return -1;
}

bool agi_repair_may(const struct agi_dht *d, uint32_t slot, uint64_t epoch, const struct agi_id *peer)
{
	struct agi_slot *s = agi_slot_find(d, slot);

	return s && s->phase == AGI_VIEW_ACTIVE && s->view.epoch == epoch && agi_view_has(&s->view, peer) &&
	       !d->is_stopped && !d->is_read_only;
}

static uint32_t seconds(const struct agi_dht *d) { return (uint32_t)(d->now.mono_us / 1000000) + 1; }

void agi_repair_same(struct agi_dht *d, struct agi_slot *s, const struct agi_id *peer)
{
	int i = agi_repair_place(s, peer);

	if (i >= 0)
		s->same_s[i] = seconds(d);
}

/* When the slot is to be compared with its i-th member; AGI_NEVER while that one is down. */
static uint64_t due_us(struct agi_dht *d, const struct agi_slot *s, int i)
{
	struct agi_host *h = agi_hosts_find(d, &s->view.members[i]);
	uint64_t same_us = (uint64_t)s->same_s[i] * 1000000, interval_us = (uint64_t)d->cfg.repair_interval_ms * 1000;
	uint64_t soon_us = h ? h->since_us + SOON_MS * 1000 : 0;

	if (!h || h->state != AGI_MEMBER_UP)
		return AGI_NEVER;
	if (s->same_s[i] == 0)
		return soon_us;
	if (same_us < h->since_us && soon_us < same_us + interval_us)
		return soon_us > same_us + GAP_MS * 1000 ? soon_us : same_us + GAP_MS * 1000;
	return same_us + interval_us;
}

/* Adds the slot to what its i-th member is to be asked about. Returns when to look again. */
static uint64_t collect(struct agi_dht *d, struct agi_slot *s, int i)
{
	struct agi_repair_peer *p;
	uint64_t due = due_us(d, s, i);

	if (due > d->now.mono_us)
		return due;
	p = peer_of(d, &s->view.members[i]);
	if (!p)
		return agi_after_ms(d, RETRY_MS);
	if (p->not_before_us > d->now.mono_us)
		return p->not_before_us;
	if (p->has_asked || p->n == AGI_COMPARE_SLOTS)
		return AGI_NEVER; /* its end wakes us */
	p->slot[p->n] = s->view.slot;
	p->epoch[p->n++] = s->view.epoch;
	return AGI_NEVER;
}

/* Since an active slot was last like its i-th member; one that never was counts from when it became active. */
static uint64_t age_us(const struct agi_dht *d, const struct agi_slot *s)
{
	uint64_t oldest = d->now.mono_us;

	for (int i = 0; i < s->view.n_members; i++) {
		uint64_t same_us = (uint64_t)s->same_s[i] * 1000000;

		if (agi_id_eq(&s->view.members[i], &d->self.id))
			continue;
		if (same_us < s->active_us)
			same_us = s->active_us;
		oldest = same_us < oldest ? same_us : oldest;
	}
	return d->now.mono_us - oldest;
}

void agi_dht_repair_stats(const struct agi_dht *d, struct agi_repair_stats *out)
{
	*out = d->repair.stats;
	for (uint32_t i = 0; i < d->slots.n; i++) {
		const struct agi_slot *s = d->slots.by_number[i];
		uint64_t age_ms;

		if (!s || s->phase != AGI_VIEW_ACTIVE)
			continue;
		out->slots_held++;
		out->slots_known += s->tree.state == AGI_TREE_KNOWN;
		age_ms = age_us(d, s) / 1000;
		out->oldest_ms = age_ms > out->oldest_ms ? age_ms : out->oldest_ms;
	}
}

/* --- comparing ----------------------------------------------------------------------------------------- */

static void next_pull(struct agi_repair_peer *p);

static void peer_done(struct agi_repair_peer *p, uint32_t pause_ms)
{
	p->n = p->at = 0;
	p->has_asked = false;
	p->not_before_us = agi_after_ms(p->d, pause_ms);
	agi_repair_wake(p->d, p->not_before_us);
}

void agi_repair_pulled(struct agi_repair_peer *p, bool is_whole)
{
	struct agi_dht *d = p->d;
	struct agi_slot *s = agi_slot_find(d, p->slot[p->at]);

	p->is_pulling = false;
	d->repair.n_pulls--;
	if (is_whole && s && s->view.epoch == p->epoch[p->at])
		agi_repair_same(d, s, &p->id);
	d->repair.stats.pulls += is_whole;
	d->repair.stats.pulls_failed += !is_whole;
	p->at++;
	next_pull(p);
	for (p = d->repair.peers; p && d->repair.n_pulls < AGI_REPAIR_PULLS; p = p->hh.next)
		if (p->has_asked && !p->rpc && !p->is_pulling)
			next_pull(p);
}

/* What two peers have, one of them need not send. */
static bool is_being_pulled(const struct agi_dht *d, uint32_t slot)
{
	for (const struct agi_repair_peer *p = d->repair.peers; p; p = p->hh.next)
		if (p->is_pulling && p->slot[p->at] == slot)
			return true;
	return false;
}

/* Brings a slot that may be pulled now to the front of those left; false when there is none. */
static bool choose_slot(struct agi_repair_peer *p)
{
	for (uint32_t i = p->at; i < p->n; i++) {
		uint32_t slot = p->slot[i];
		uint64_t epoch = p->epoch[i];

		if (is_being_pulled(p->d, slot))
			continue;
		p->slot[i] = p->slot[p->at];
		p->epoch[i] = p->epoch[p->at];
		p->slot[p->at] = slot;
		p->epoch[p->at] = epoch;
		return true;
	}
	return false;
}

/* Goes on with the next slot that differs, if there is one and room for it. */
static void next_pull(struct agi_repair_peer *p)
{
	struct agi_dht *d = p->d;

	while (p->at < p->n && !agi_repair_may(d, p->slot[p->at], p->epoch[p->at], &p->id))
		p->at++;
	if (p->at == p->n) {
		peer_done(p, p->n ? RETRY_MS / 4 : 0);
	} else if (d->repair.n_pulls < AGI_REPAIR_PULLS && choose_slot(p)) {
		d->repair.n_pulls++;
		p->is_pulling = true;
		agi_repair_pull_begin(p);
	}
}

/* Keeps of the slots asked about those that differ. Returns whether all of them could be judged. */
static bool sort_out(struct agi_repair_peer *p, struct agi_str said)
{
	struct agi_dht *d = p->d;
	uint32_t n = 0;
	bool is_whole = true;

	for (uint32_t i = 0; i < p->n && i < said.n; i++) {
		struct agi_slot *s = agi_slot_find(d, p->slot[i]);

		d->repair.stats.compared++;
		if (said.p[i] == AGI_COMPARED_DIFFERS) {
			d->repair.stats.differed++;
			p->slot[n] = p->slot[i];
			p->epoch[n++] = p->epoch[i];
		} else if (said.p[i] != AGI_COMPARED_SAME) {
			is_whole = false;
		} else if (s && s->view.epoch == p->epoch[i]) {
			agi_repair_same(d, s, &p->id);
		}
	}
	p->n = n;
	return is_whole;
}

static void on_compared(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                        const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_repair_peer *p = arg;

	(void)d, (void)which, (void)from;
	p->rpc = 0;
	if (err != AGI_OK || m->kind != AGI_MSG_COMPARED || m->hashes.n != p->n) {
		peer_done(p, RETRY_MS);
		return;
	}
	if (sort_out(p, m->hashes) || p->n)
		next_pull(p);
	else
		peer_done(p, RETRY_MS);
}

static void ask(struct agi_repair_peer *p)
{
	struct agi_dht *d = p->d;
	struct agi_msg m = {.kind = AGI_MSG_COMPARE};
	struct agi_peer to = agi_hosts_peer(d, &p->id);
	struct agi_merkle_hash root;
	struct agi_buf b;

	agi_buf_init(&b, 0);
	for (uint32_t i = 0; i < p->n; i++) {
		agi_tree_root(d, agi_slot_find(d, p->slot[i]), &root);
		agi_buf_u32(&b, p->slot[i]);
		agi_buf_u64(&b, p->epoch[i]);
		agi_buf_put(&b, root.b, sizeof root.b);
	}
	m.hashes = agi_buf_str(&b);
	p->has_asked = true;
	p->rpc = b.err ? 0 : agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, on_compared, p, 0);
	if (!p->rpc)
		peer_done(p, RETRY_MS);
	agi_buf_free(&b);
}

/* --- the tick ------------------------------------------------------------------------------------------- */

static void tick(struct agi_dht *d, void *arg)
{
	struct agi_repair_peer *p, *tmp;
	uint64_t next_us = AGI_NEVER;
	bool is_blind = false;

	(void)arg;
	if (!d->member.is_joined || d->is_stopped || d->is_read_only) {
		agi_repair_soon(d);
		return;
	}
	for (uint32_t i = 0; i < d->slots.n; i++) {
		struct agi_slot *s = d->slots.by_number[i];

		if (!s || s->phase != AGI_VIEW_ACTIVE)
			continue;
		if (s->tree.state != AGI_TREE_KNOWN) {
			is_blind = true;
			continue;
		}
		for (int k = 0; k < s->view.n_members; k++) {
			uint64_t due = agi_id_eq(&s->view.members[k], &d->self.id) ? AGI_NEVER : collect(d, s, k);

			next_us = due < next_us ? due : next_us;
		}
	}
	if (is_blind) {
		agi_trees_want(d);
		next_us = next_us < agi_after_ms(d, BUILDING_MS) ? next_us : agi_after_ms(d, BUILDING_MS);
	}
	HASH_ITER(hh, d->repair.peers, p, tmp) {
		if (p->n && !p->has_asked)
			ask(p);
		else if (!p->has_asked && !agi_hosts_find(d, &p->id))
			end_peer(p);
	}
	if (next_us != AGI_NEVER)
		agi_repair_wake(d, next_us);
}
