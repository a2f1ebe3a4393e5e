/* SPDX-License-Identifier: Apache-2.0
 * The first member's part: which slot is due, and one range of its keys after another. Of registers, the one
 * run sets a mark, and another, a grace later, sweeps what is below it:
 *
 *   read own dead records ─▶ SWEEP to all ─all answered▶ SWEEP is_final to all ─▶ next range
 *            ▲                     │                                                 │
 *            └─────────────────────┼─────────────────────────────────────────────────┘
 *                                  └─somebody refused or is silent▶ the slot is left for later */
#include "dht/sweep.h"

#include <stdlib.h>

enum {
	LOOK_MS_MIN = 1000,
	LOOK_MS_MAX = 60000,
	PAUSE_MS_MAX = 10000,
	MARKING_MS = 2 * AGI_RPC_TIMEOUT_MS,
	MARKING_POLL_MS = 20
};

struct agi_sweeper {
	struct agi_dht *d;
	uint32_t slot;
	struct agi_sweep_scope scope;
	bool is_marking;           /* registers: waits, until then, for the promise of all */
	uint64_t marking_until_us;
	uint64_t dead_ms;          /* items: of the slot's tree, before this sweep */
	struct agi_buf begin, end; /* the range asked about */
	struct agi_buf hashes;     /* its dead records */
	size_t n;
	uint8_t held[AGI_SWEEP_RECORDS / 8]; /* by all who have answered */
	bool is_final;
	struct agi_gather g;
	uint64_t job;
	struct agi_timer pace;
};

static void read_own(struct agi_sweeper *w);

bool agi_sweep_is_dead(const struct agi_sweep_scope *x, const struct agi_kv *kv)
{
	struct agi_item item;
	struct agi_reg reg;

	if (x->is_strong)
		return agi_reg_decode(&reg, kv->value) == AGI_OK && reg.is_tombstone &&
		       agi_reg_is_below(&reg, x->floor, &x->ballot);
	return agi_item_decode(&item, kv->key, kv->value) == AGI_OK && item.version.hlc <= x->floor &&
	       agi_item_dead_ms(&item) <= x->floor >> AGI_HLC_COUNTER_BITS;
}

void agi_sweep_hash(struct agi_dht *d, struct agi_merkle_hash *out, const struct agi_kv *kv)
{
	struct agi_merkle_hash key;

	agi_merkle_key(&key, &d->member.cluster, kv->key);
	agi_merkle_record(out, &d->member.cluster, &key, (const uint8_t *)kv->value.p);
}

/* --- ends ---------------------------------------------------------------------------------------------- */

static uint64_t look_ms(const struct agi_dht *d)
{
	uint64_t ms = d->cfg.tombstone_grace_ms / 16;

	return ms < LOOK_MS_MIN ? LOOK_MS_MIN : ms > LOOK_MS_MAX ? LOOK_MS_MAX : ms;
}

/* A slot that could not be swept, as a member was busy or did not hold it all yet. */
static uint64_t pause_ms(const struct agi_dht *d)
{
	uint64_t ms = look_ms(d);

	return ms < PAUSE_MS_MAX ? ms : PAUSE_MS_MAX;
}

static void release(struct agi_sweeper *w)
{
	for (uint32_t i = 0; i < w->g.n; i++)
		agi_rpc_cancel(w->d, w->g.rpc[i]);
	if (w->job)
		agi_job_forget(w->d, w->job);
	agi_timer_clear(&w->d->timers, &w->pace);
	agi_buf_free(&w->begin);
	agi_buf_free(&w->end);
	agi_buf_free(&w->hashes);
	w->d->sweeps.run = NULL;
	free(w);
}

void agi_sweeps_free(struct agi_dht *d)
{
	if (d->sweeps.run)
		release(d->sweeps.run);
	agi_sweep_serves_free(d);
}

/* There are dead records left as old as any before this sweep. */
static void leave_some(struct agi_sweeper *w)
{
	struct agi_slot *s = agi_slot_find(w->d, w->slot);

	if (w->scope.is_strong)
		s->tree.has_strong_dead = true;
	else if (w->dead_ms < s->tree.dead_ms)
		s->tree.dead_ms = w->dead_ms;
}

/* What is left has been seen; when we did not get so far, it may be as old as before. */
static void finish(struct agi_sweeper *w, bool is_whole)
{
	struct agi_dht *d = w->d;
	struct agi_slot *s = agi_slot_find(d, w->slot);

	if (!is_whole)
		leave_some(w);
	if (w->scope.is_strong)
		s->sweep_strong_us = agi_after_ms(d, is_whole ? look_ms(d) : pause_ms(d));
	else
		s->sweep_us = agi_after_ms(d, is_whole ? look_ms(d) : pause_ms(d));
	if (w->scope.is_strong && !w->is_marking && is_whole)
		s->sweep_mark.at_us = 0;
	d->repair.stats.sweeps += is_whole && !w->is_marking;
	release(w);
	agi_timer_set(&d->timers, &d->sweeps.look, agi_repair_pace(d, 0));
}

static struct agi_slot *slot_of(const struct agi_sweeper *w)
{
	return agi_repair_may(w->d, w->slot, w->scope.epoch, &w->d->self.id) ? agi_slot_find(w->d, w->slot) : NULL;
}

/* --- asking ---------------------------------------------------------------------------------------------- */

static void next_range(struct agi_sweeper *w)
{
	uint8_t begin[4], end[4];

	agi_slot_range(w->slot, begin, end);
	if (agi_str_eq(agi_buf_str(&w->end), (struct agi_str){(const char *)end, 4})) {
		finish(w, true);
		return;
	}
	w->scope.floor += !w->scope.is_strong;
	w->is_final = false;
	w->n = 0;
	agi_buf_reset(&w->hashes);
	agi_buf_reset(&w->begin);
	agi_buf_put_str(&w->begin, agi_buf_str(&w->end));
	agi_timer_set(&w->d->timers, &w->pace, agi_repair_pace(w->d, 0));
}

static void ask_members(struct agi_sweeper *w);

/* Leaves in the list what all members hold. */
static void agree(struct agi_sweeper *w)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n; i++)
		if (w->held[i / 8] >> i % 8 & 1)
			memmove(w->hashes.p + AGI_MERKLE_BYTES * n++, w->hashes.p + AGI_MERKLE_BYTES * i,
			        AGI_MERKLE_BYTES);
	if (n < w->n)
		leave_some(w); /* the others wait for their turn */
	w->n = n;
	w->hashes.n = n * AGI_MERKLE_BYTES;
	w->is_final = true;
	if (n)
		ask_members(w);
	else
		next_range(w);
}

static void on_swept(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_sweeper *w = arg;
	bool is_yes = err == AGI_OK && m->kind == AGI_MSG_SWEPT && m->status == AGI_OK &&
	              m->hashes.n == (w->n + 7) / 8;

	(void)from;
	for (size_t i = 0; is_yes && i < m->hashes.n && !AGI_MUTANT(SWEEP_SOME); i++)
		w->held[i] &= (uint8_t)m->hashes.p[i];
	agi_gather_answered(&w->g, which, is_yes ? AGI_GATHER_YES : AGI_GATHER_SILENT);
	if (!agi_gather_is_quiet(&w->g))
		return;
	if (!slot_of(w) || agi_gather_outcome(&w->g) != AGI_GATHER_WON) {
		finish(w, false);
	} else if (w->is_final) {
		d->repair.stats.tombstones += w->n;
		next_range(w);
	} else {
		agree(w);
	}
}

static void ask_members(struct agi_sweeper *w)
{
	struct agi_dht *d = w->d;
	const struct agi_view *v = &agi_slot_find(d, w->slot)->view;
	struct agi_msg m = {.kind = AGI_MSG_SWEEP, .slot = w->slot, .epoch = w->scope.epoch,
	                    .is_strong = w->scope.is_strong, .floor = w->scope.floor,
	                    .ballot = w->scope.ballot, .is_final = w->is_final, .cursor = agi_buf_str(&w->begin),
	                    .end = agi_buf_str(&w->end), .hashes = agi_buf_str(&w->hashes)};

	memset(w->held, 0xff, sizeof w->held);
	agi_gather_init(&w->g, v->n_members, v->n_members);
	for (uint32_t i = 0; i < v->n_members; i++) {
		struct agi_peer to = agi_hosts_peer(d, &v->members[i]);
		uint64_t rpc = agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_SWEEP_TIMEOUT_MS, on_swept, w, i);

		if (rpc)
			agi_gather_asked(&w->g, i, rpc);
		else
			agi_gather_answered(&w->g, i, AGI_GATHER_SILENT);
	}
	if (agi_gather_is_quiet(&w->g))
		finish(w, false);
}

/* --- own dead records ------------------------------------------------------------------------------------ */

/* It stays, and is dead or dies some time. */
static void note_rest(struct agi_sweeper *w, const struct agi_kv *kv)
{
	struct agi_slot *s = agi_slot_find(w->d, w->slot);
	struct agi_item item;
	struct agi_reg reg;

	if (w->scope.is_strong) {
		if (agi_reg_decode(&reg, kv->value) == AGI_OK && reg.is_tombstone)
			s->tree.has_strong_dead = true;
	} else if (agi_item_decode(&item, kv->key, kv->value) == AGI_OK &&
	           agi_item_dead_ms(&item) < s->tree.dead_ms) {
		s->tree.dead_ms = agi_item_dead_ms(&item);
	}
}

static void take(struct agi_sweeper *w, const struct agi_kv *kv)
{
	struct agi_merkle_hash hash;

	agi_buf_reset(&w->end);
	agi_buf_put_str(&w->end, kv->key);
	agi_buf_u8(&w->end, 0);
	if (agi_sweep_is_dead(&w->scope, kv)) {
		agi_sweep_hash(w->d, &hash, kv);
		agi_buf_put(&w->hashes, hash.b, sizeof hash.b);
		w->n++;
	} else {
		note_rest(w, kv);
	}
}

static void on_own(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_sweeper *w = arg;
	uint8_t begin[4], end[4];
	uint64_t bytes = 0;
	size_t i;

	w->job = 0;
	if (done->err != AGI_OK || !slot_of(w)) {
		finish(w, false);
		return;
	}
	for (i = 0; i < done->n && w->n < AGI_SWEEP_RECORDS; i++) {
		take(w, &done->kv[i]);
		bytes += done->kv[i].key.n + done->kv[i].value.n;
	}
	if (i == done->n && !done->has_more) {
		agi_slot_range(w->slot, begin, end);
		agi_buf_reset(&w->end);
		agi_buf_put(&w->end, end, 4);
		if (w->n)
			ask_members(w);
		else
			finish(w, true);
	} else if (w->end.err || w->hashes.err) {
		finish(w, false);
	} else if (w->n == AGI_SWEEP_RECORDS) {
		ask_members(w);
	} else {
		agi_timer_set(&d->timers, &w->pace, agi_repair_pace(d, bytes));
	}
}

static void read_own(struct agi_sweeper *w)
{
	uint8_t begin[4], end[4];
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN, .cf = agi_sweep_cf(&w->scope),
	                              .begin = agi_buf_str(&w->end), .end = {(const char *)end, 4},
	                              .max_items = AGI_REPAIR_SCAN_ITEMS, .max_bytes = AGI_PAGE_BYTES};

	agi_slot_range(w->slot, begin, end);
	w->job = agi_job_submit(w->d, &req, on_own, w);
	if (!w->job)
		finish(w, false);
}

/* What is deleted from now on has a higher ballot, and waits for the next mark. */
static void try_to_mark(struct agi_sweeper *w, struct agi_slot *s)
{
	struct agi_dht *d = w->d;

	if (agi_lead_is_promised_by_all(s, &s->sweep_mark.ballot)) {
		s->sweep_mark.epoch = w->scope.epoch;
		s->sweep_mark.at_us = d->now.mono_us;
		finish(w, true);
	} else if (d->now.mono_us < w->marking_until_us) {
		agi_timer_set(&d->timers, &w->pace, agi_after_ms(d, MARKING_POLL_MS));
	} else {
		finish(w, false);
	}
}

static void on_pace(struct agi_dht *d, void *arg)
{
	struct agi_sweeper *w = arg;
	struct agi_slot *s = slot_of(w);

	(void)d;
	if (!s)
		finish(w, false);
	else if (w->is_marking)
		try_to_mark(w, s);
	else
		read_own(w);
}

/* --- which slot ------------------------------------------------------------------------------------------------ */

static bool are_all_here(struct agi_dht *d, const struct agi_slot *s)
{
	for (int i = 0; i < s->view.n_members; i++)
		if (!agi_hosts_is_up(d, &s->view.members[i]))
			return false;
	return true;
}

static bool is_ours(const struct agi_dht *d, const struct agi_slot *s)
{
	return s->phase == AGI_VIEW_ACTIVE && s->tree.state == AGI_TREE_KNOWN &&
	       agi_id_eq(&s->view.members[0], &d->self.id);
}

static bool has_dead_items(const struct agi_dht *d, const struct agi_slot *s)
{
	return d->now.mono_us >= s->sweep_us && s->tree.dead_ms < AGI_NEVER - d->cfg.tombstone_grace_ms &&
	       s->tree.dead_ms + d->cfg.tombstone_grace_ms <= d->now.wall_ms;
}

static bool has_dead_registers(const struct agi_dht *d, const struct agi_slot *s)
{
	uint64_t at_us = s->sweep_mark.at_us;

	return d->now.mono_us >= s->sweep_strong_us && s->tree.has_strong_dead &&
	       (!at_us || d->now.mono_us >= at_us + (uint64_t)d->cfg.tombstone_grace_ms * 1000);
}

static bool begin(struct agi_dht *d, struct agi_slot *s, const struct agi_sweep_scope *scope)
{
	struct agi_sweeper *w = calloc(1, sizeof *w);
	uint8_t begin[4], end[4];

	if (!w)
		return false;
	w->d = d;
	w->slot = s->view.slot;
	w->scope = *scope;
	w->scope.epoch = s->view.epoch;
	w->dead_ms = s->tree.dead_ms;
	w->is_marking = scope->is_strong && !scope->ballot.round;
	w->marking_until_us = agi_after_ms(d, MARKING_MS);
	agi_buf_init(&w->begin, 0);
	agi_buf_init(&w->end, 0);
	agi_buf_init(&w->hashes, 0);
	agi_slot_range(w->slot, begin, end);
	agi_buf_put(&w->begin, begin, 4);
	agi_buf_put(&w->end, begin, 4);
	w->pace = (struct agi_timer){.fn = on_pace, .arg = w};
	d->sweeps.run = w;
	agi_timer_set(&d->timers, &w->pace, d->now.mono_us);
	return true;
}

static bool begin_items(struct agi_dht *d, struct agi_slot *s)
{
	uint64_t oldest_ms = d->now.wall_ms - d->cfg.tombstone_grace_ms;
	struct agi_sweep_scope scope = {.floor = oldest_ms << AGI_HLC_COUNTER_BITS};

	if (scope.floor <= s->floor)
		scope.floor = s->floor + 1;
	if (scope.floor >> AGI_HLC_COUNTER_BITS > oldest_ms || !begin(d, s, &scope)) {
		s->sweep_us = agi_after_ms(d, pause_ms(d));
		return false;
	}
	s->tree.dead_ms = AGI_NEVER; /* what is seen from now on counts */
	return true;
}

static bool begin_registers(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_sweep_scope scope = {.is_strong = true};
	bool is_marked = s->sweep_mark.at_us != 0;

	if (is_marked) {
		scope.floor = s->sweep_mark.epoch;
		scope.ballot = s->sweep_mark.ballot;
	}
	if ((!is_marked && !agi_lead_renew(d, s)) || !begin(d, s, &scope)) {
		s->sweep_strong_us = agi_after_ms(d, pause_ms(d));
		return false;
	}
	s->tree.has_strong_dead = !is_marked; /* what is seen from now on counts */
	return true;
}

static bool begin_what_is_due(struct agi_dht *d, struct agi_slot *s)
{
	bool has_items = has_dead_items(d, s), has_registers = has_dead_registers(d, s);

	if ((!has_items && !has_registers) || !are_all_here(d, s))
		return false;
	return (has_items && begin_items(d, s)) || (has_registers && begin_registers(d, s));
}

static void look(struct agi_dht *d, void *arg)
{
	struct agi_sweeps *x = &d->sweeps;

	(void)arg;
	agi_timer_set(&d->timers, &x->look, agi_after_ms(d, look_ms(d)));
	if (x->run || !d->member.is_joined || d->is_stopped || d->is_read_only ||
	    d->now.wall_ms < d->cfg.tombstone_grace_ms)
		return;
	for (uint32_t i = 0; i < d->slots.n; i++) {
		uint32_t at = (x->next + i) % d->slots.n;
		struct agi_slot *s = d->slots.by_number[at];

		if (!s || !is_ours(d, s) || !begin_what_is_due(d, s))
			continue;
		x->next = at; /* it may have both */
		return;
	}
}

void agi_sweeps_init(struct agi_dht *d) { d->sweeps.look.fn = look; }

void agi_sweeps_start(struct agi_dht *d)
{
	agi_timer_set(&d->timers, &d->sweeps.look, agi_after_ms(d, look_ms(d)));
}
