/* SPDX-License-Identifier: Apache-2.0
 * Slot views at one node: the durable record, learning newer ones, and who may be answered. The acceptor's
 * part of a view change and the source's part of a transfer are in acceptor.c.
 *
 *                 decided, we are in it           merged a sealed majority of the old members,
 *   FORWARD/NONE ───────────────────────▶ JOINING  or an active one of the new       ACTIVE
 *        ▲                                   ▲  └────────────────────────────────────▶ │
 *        │ released                          │ decided, we are in it                   │ accepted a
 *     LEAVING ◀──────────────────────────────┴──────────────── SEALED ◀────────────────┘ proposal
 *              decided, we are not in it
 *
 * An acceptor that accepted a proposal for epoch e+1 is sealed for e: it serves nothing at e any more, so
 * when a proposal is decided (a majority of e's members accepted it) no operation of e can complete. */
#include <assert.h>
#include <stdlib.h>

#include "dht/feed.h"

enum {
	RECORD_VERSION = 4,
	RECORD_VERSION_COPY = 3,   /* since then with flags, since 4 with the floor of collected tombstones */
	RECORD_VERSION_STRONG = 2, /* since then with the promise to a leader of registers */
	RECORD_VERSION_OLD = 1,
	FLAG_COPY = 1,
	FLAG_STALE = 2
};

int agi_ballot_cmp(const struct agi_ballot *a, const struct agi_ballot *b)
{
	if (a->round != b->round)
		return a->round < b->round ? -1 : 1;
	return agi_id_cmp(&a->node, &b->node);
}

struct agi_slot *agi_slot_find(const struct agi_dht *d, uint32_t slot)
{
	return slot < d->slots.n ? d->slots.by_number[slot] : NULL;
}

bool agi_slot_is_held(const struct agi_slot *s)
{
	return s && (s->phase == AGI_VIEW_ACTIVE || s->phase == AGI_VIEW_JOINING ||
	             s->phase == AGI_VIEW_SEALED || s->phase == AGI_VIEW_LEAVING);
}

static struct agi_slot *get_slot(struct agi_dht *d, uint32_t slot)
{
	struct agi_slot *s = agi_slot_find(d, slot);

	if (s || slot >= d->slots.n)
		return s;
	s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->view.slot = slot;
	d->slots.by_number[slot] = s;
	d->slots.in_phase[AGI_VIEW_NONE]++;
	return s;
}

/* It serves again. */
static void count_pause(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_move_stats *st = &d->move.stats;
	uint64_t us = d->now.mono_us - s->unserved_us;

	if (!s->unserved_us)
		return;
	s->unserved_us = 0;
	st->sealed++;
	st->sealed_us += us;
	if (us > st->sealed_max_us)
		st->sealed_max_us = us;
}

void agi_slot_set_phase(struct agi_dht *d, struct agi_slot *s, enum agi_view_phase p)
{
	struct agi_note n = {.kind = AGI_NOTE_VIEW_CHANGED, .slot = s->view.slot, .epoch = s->view.epoch,
	                     .phase = p};

	if (s->phase == AGI_VIEW_ACTIVE && (p == AGI_VIEW_SEALED || p == AGI_VIEW_JOINING))
		s->unserved_us = d->now.mono_us;
	else if (p == AGI_VIEW_ACTIVE)
		count_pause(d, s);
	else if (p == AGI_VIEW_LEAVING || p == AGI_VIEW_FORWARD)
		s->unserved_us = 0;
	d->slots.in_phase[s->phase]--;
	d->slots.in_phase[p]++;
	s->phase = p;
	if (p == AGI_VIEW_ACTIVE) {
		memset(s->same_s, 0, sizeof s->same_s);
		s->active_us = d->now.mono_us;
		agi_repair_soon(d);
	}
	if (p != AGI_VIEW_ACTIVE)
		agi_feeds_moved(d, s->view.slot);
	d->fx.note(d->ctx, &n);
}

void agi_slot_set_copy(struct agi_dht *d, struct agi_slot *s, bool is_copy)
{
	d->slots.n_copies += is_copy;
	d->slots.n_copies -= s->is_copy;
	s->is_copy = is_copy;
	if (!is_copy)
		s->copied_us = s->copy_until_us = 0;
}

void agi_slot_set_wanted(struct agi_dht *d, struct agi_slot *s, bool is_wanted)
{
	d->slots.n_wanted += is_wanted;
	d->slots.n_wanted -= s->is_wanted;
	s->is_wanted = is_wanted;
}

/* --- the record ----------------------------------------------------------------------------------- */

static void put_ids(struct agi_buf *b, const struct agi_id *ids, uint8_t n)
{
	agi_buf_u8(b, n);
	for (uint8_t i = 0; i < n; i++)
		agi_buf_put(b, ids[i].b, AGI_ID_BYTES);
}

static bool get_ids(struct agi_cur *c, struct agi_id *ids, uint8_t *n)
{
	*n = agi_cur_u8(c);
	if (*n > AGI_REPLICAS_MAX)
		return false;
	for (uint8_t i = 0; i < *n; i++)
		agi_cur_copy(c, ids[i].b, AGI_ID_BYTES);
	return !c->bad;
}

static void put_ballot(struct agi_buf *b, const struct agi_ballot *bal)
{
	agi_buf_u64(b, bal->round);
	agi_buf_put(b, bal->node.b, AGI_ID_BYTES);
}

static void get_ballot(struct agi_cur *c, struct agi_ballot *bal)
{
	bal->round = agi_cur_u64(c);
	agi_cur_copy(c, bal->node.b, AGI_ID_BYTES);
}

static void record_encode(struct agi_buf *b, const struct agi_slot *s)
{
	agi_buf_u8(b, RECORD_VERSION);
	agi_buf_u8(b, (uint8_t)s->phase);
	agi_buf_u64(b, s->view.epoch);
	put_ids(b, s->view.members, s->view.n_members);
	put_ids(b, s->prev, s->n_prev);
	put_ballot(b, AGI_MUTANT(VIEW_FORGETS_PROMISE) ? &s->accepted : &s->promised);
	put_ballot(b, &s->accepted);
	put_ballot(b, &s->strong_promised);
	agi_buf_u8(b, (uint8_t)((s->is_copy ? FLAG_COPY : 0) | (s->is_stale ? FLAG_STALE : 0)));
	agi_buf_u64(b, s->floor);
	if (s->accepted.round)
		put_ids(b, s->proposal.members, s->proposal.n_members);
}

static bool record_decode(struct agi_slot *s, struct agi_str value)
{
	struct agi_cur c = agi_cur_of(value);
	uint8_t version = agi_cur_u8(&c), phase = agi_cur_u8(&c), flags;

	if (version < RECORD_VERSION_OLD || version > RECORD_VERSION || phase > AGI_VIEW_FORWARD)
		return false;
	s->phase = (enum agi_view_phase)phase;
	s->view.epoch = agi_cur_u64(&c);
	if (!get_ids(&c, s->view.members, &s->view.n_members) || !get_ids(&c, s->prev, &s->n_prev))
		return false;
	get_ballot(&c, &s->promised);
	get_ballot(&c, &s->accepted);
	if (version >= RECORD_VERSION_STRONG)
		get_ballot(&c, &s->strong_promised);
	flags = version >= RECORD_VERSION_COPY ? agi_cur_u8(&c) : 0;
	s->is_copy = flags & FLAG_COPY;
	s->is_stale = flags & FLAG_STALE;
	s->floor = version >= RECORD_VERSION ? agi_cur_u64(&c) : 0;
	s->strong_saved = s->strong_promised;
	if (s->accepted.round && !get_ids(&c, s->proposal.members, &s->proposal.n_members))
		return false;
	s->proposal.slot = s->view.slot;
	s->proposal.epoch = s->view.epoch + 1;
	s->round = s->promised.round;
	return !c.bad && c.n == 0 && s->view.epoch > 0 && s->view.n_members > 0;
}

static void slot_key(uint8_t key[4], uint32_t slot)
{
	key[0] = (uint8_t)(slot >> 24);
	key[1] = (uint8_t)(slot >> 16);
	key[2] = (uint8_t)(slot >> 8);
	key[3] = (uint8_t)slot;
}

bool agi_slot_is_taken_over(const struct agi_slot *s)
{
	return s->ahead_job && s->ahead_epoch != s->view.epoch;
}

/* What the record of this slot is to say: what is on its way already counts. */
static struct agi_slot to_be_saved(struct agi_slot *real, const struct agi_slot *s)
{
	struct agi_slot as = *s;

	if (s == real && real->ahead_job) {
		as.phase = real->ahead_phase;
		as.is_copy = real->ahead_is_copy;
		as.is_stale = real->ahead_is_stale;
	}
	return as;
}

uint64_t agi_slot_save(struct agi_dht *d, const struct agi_slot *s, const struct agi_storage_op *extra,
                       size_t n_extra, agi_job_fn *fn, void *arg)
{
	struct agi_slot *real = agi_slot_find(d, s->view.slot), as = to_be_saved(real, s);
	uint8_t key[4];
	struct agi_buf value;
	struct agi_storage_op ops[3];
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = ops, .n_ops = 1};
	uint64_t job = 0;

	assert(s != real || !agi_slot_is_taken_over(real)); /* whoever could has been refused */
	slot_key(key, s->view.slot);
	agi_buf_init(&value, 0);
	record_encode(&value, &as);
	ops[0] = (struct agi_storage_op){AGI_PUT, AGI_CF_VIEWS, {(const char *)key, 4}, agi_buf_str(&value)};
	assert(n_extra <= 2);
	for (size_t i = 0; i < n_extra; i++)
		ops[req.n_ops++] = extra[i];
	if (!value.err)
		job = agi_job_submit(d, &req, fn, arg);
	agi_job_saves(d, job, s);
	if (job && s != real) {
		real->ahead_job = job;
		real->ahead_epoch = s->view.epoch;
		real->ahead_phase = s->phase;
		real->ahead_is_copy = s->is_copy;
		real->ahead_is_stale = s->is_stale;
	}
	agi_buf_free(&value);
	return job;
}

enum agi_err agi_views_init(struct agi_dht *d)
{
	d->slots.n = 1u << d->cfg.slot_bits;
	d->slots.by_number = calloc(d->slots.n, sizeof *d->slots.by_number);
	return d->slots.by_number ? AGI_OK : AGI_E_NOMEM;
}

/* What no node ever writes of itself; NULL: nothing. */
static const char *record_fault(const struct agi_dht *d, const struct agi_slot *s)
{
	if (agi_slot_is_held(s) && s->phase != AGI_VIEW_LEAVING && !agi_view_has(&s->view, &d->self.id))
		return "it makes this node a member, but its members are others: was node.key exchanged, or the "
		       "store taken from another host?";
	if (s->phase == AGI_VIEW_SEALED && s->accepted.round == 0)
		return "it is sealed for no proposal";
	if (agi_ballot_cmp(&s->accepted, &s->promised) > 0)
		return "it accepted more than it had promised";
	if ((s->is_copy || s->is_stale) && (s->phase == AGI_VIEW_ACTIVE || s->phase == AGI_VIEW_SEALED))
		return s->is_copy ? "it serves what was only copied" : "it serves what is out of date";
	return NULL;
}

static enum agi_err refuse_record(struct agi_dht *d, struct agi_slot *s, struct agi_why *why, const char *fault)
{
	s->phase = AGI_VIEW_NONE;
	s->is_copy = s->is_stale = false;
	d->slots.in_phase[AGI_VIEW_NONE]++;
	return agi_fail(why, AGI_E_CORRUPT, "views: the record of slot %u %s", s->view.slot, fault);
}

enum agi_err agi_dht_read_view(struct agi_str key, struct agi_str value, struct agi_view *view,
                               enum agi_view_phase *phase)
{
	struct agi_cur c = agi_cur_of(key);
	struct agi_slot s = {.view.slot = agi_cur_u32(&c)};

	if (c.bad || c.n || !record_decode(&s, value))
		return AGI_E_CORRUPT;
	*view = s.view;
	*phase = s.phase;
	return AGI_OK;
}

enum agi_err agi_view_load(struct agi_dht *d, struct agi_str key, struct agi_str value,
                           struct agi_why *why)
{
	const char *fault;
	struct agi_why text;
	struct agi_cur c = agi_cur_of(key);
	uint32_t number = agi_cur_u32(&c);
	struct agi_slot *s;

	if (c.bad || c.n)
		return agi_fail(why, AGI_E_CORRUPT, "views: a key of %zu bytes, expected 4", key.n);
	if (number >= d->slots.n)
		return agi_fail(why, AGI_E_INVALID,
		                "slot %u is stored but slot_bits=%u allows only %u: slot_bits cannot be "
		                "changed after the cluster was created",
		                number, d->cfg.slot_bits, d->slots.n);
	s = get_slot(d, number);
	if (!s)
		return AGI_E_NOMEM;
	d->slots.in_phase[s->phase]--;
	if (!record_decode(s, value)) {
		agi_fail(&text, AGI_E_CORRUPT, "does not decode (its format is %u, this version reads %d to %d)",
		         value.n ? (unsigned)(uint8_t)value.p[0] : 0, RECORD_VERSION_OLD, RECORD_VERSION);
		return refuse_record(d, s, why, text.text);
	}
	fault = record_fault(d, s);
	if (fault) {
		agi_fail(&text, AGI_E_CORRUPT, "cannot be this node's: %s", fault);
		return refuse_record(d, s, why, text.text);
	}
	d->slots.in_phase[s->phase]++;
	d->slots.n_copies += s->is_copy;
	return AGI_OK;
}

struct genesis_ops {
	struct agi_storage_op *ops;
	uint8_t (*keys)[4];
};

/* All records are alike: the keys differ, the value is shared. */
static bool genesis_fill(struct agi_dht *d, struct genesis_ops *g, struct agi_buf *value)
{
	for (uint32_t i = 0; i < d->slots.n; i++) {
		struct agi_slot *s = get_slot(d, i);

		if (!s)
			return false;
		s->view = (struct agi_view){.slot = i, .epoch = 1, .n_members = 1};
		s->view.members[0] = d->self.id;
		d->slots.in_phase[s->phase]--;
		s->phase = AGI_VIEW_ACTIVE;
		d->slots.in_phase[AGI_VIEW_ACTIVE]++;
		if (i == 0)
			record_encode(value, s);
		slot_key(g->keys[i], i);
		g->ops[i] = (struct agi_storage_op){AGI_PUT, AGI_CF_VIEWS, {(const char *)g->keys[i], 4},
		                                    agi_buf_str(value)};
	}
	return !value->err;
}

void agi_views_genesis(struct agi_dht *d, const struct agi_storage_op *extra, agi_job_fn *fn)
{
	struct genesis_ops g = {calloc(d->slots.n + 1, sizeof *g.ops), calloc(d->slots.n, 4)};
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = g.ops, .n_ops = d->slots.n + 1};
	struct agi_buf value;

	agi_buf_init(&value, 0);
	if (g.ops && g.keys && genesis_fill(d, &g, &value)) {
		g.ops[d->slots.n] = *extra;
		(void)agi_job_submit(d, &req, fn, NULL);
	}
	agi_buf_free(&value);
	free(g.ops);
	free(g.keys);
}

void agi_views_free(struct agi_dht *d)
{
	for (uint32_t i = 0; d->slots.by_number && i < d->slots.n; i++) {
		if (d->slots.by_number[i]) {
			agi_reconf_abort(d, d->slots.by_number[i]);
			agi_lead_abort(d, d->slots.by_number[i]);
		}
		free(d->slots.by_number[i]);
	}
	free(d->slots.by_number);
	d->slots.by_number = NULL;
}

/* --- learning and telling views --------------------------------------------------------------------- */

bool agi_view_is_sane(const struct agi_dht *d, const struct agi_view *v)
{
	if (v->slot >= d->slots.n || v->epoch == 0 || v->n_members == 0 ||
	    v->n_members > AGI_REPLICAS_MAX)
		return false;
	for (int i = 0; i < v->n_members; i++)
		for (int k = 0; k < i; k++)
			if (agi_id_eq(&v->members[i], &v->members[k]))
				return false;
	return true;
}

static void on_installed(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_slot *s = arg;

	(void)d;
	if (done->err == AGI_OK)
		s->installing--;
}

static void install(struct agi_dht *d, struct agi_slot *s, const struct agi_view *v,
                    const struct agi_id *prev, uint8_t n_prev)
{
	bool was_held = agi_slot_is_held(s), is_member = agi_view_has(v, &d->self.id);
	bool is_continued = s->phase != AGI_VIEW_LEAVING && v->epoch == s->view.epoch + 1;

	if (was_held && !is_continued && !s->is_copy)
		s->is_stale = true; /* what was collected meanwhile is still here */
	agi_reconf_abort(d, s);
	agi_lead_abort(d, s);
	s->ahead_job = 0;
	s->view = *v;
	s->n_prev = n_prev;
	for (uint8_t i = 0; i < n_prev; i++)
		s->prev[i] = prev[i];
	s->promised = s->accepted = (struct agi_ballot){0};
	s->round = 0;
	s->retry_us = 0;
	s->settled = s->planned = 0;
	agi_slot_set_wanted(d, s, false);
	agi_slot_set_phase(d, s, is_member ? AGI_VIEW_JOINING
	                                   : was_held ? AGI_VIEW_LEAVING : AGI_VIEW_FORWARD);
	if (is_member || was_held) {
		s->installing++; /* stays up when the write fails: what is not durable is not claimed */
		(void)agi_slot_save(d, s, NULL, 0, on_installed, s);
		agi_reconf_wake(d, d->now.mono_us);
	}
}

void agi_view_learn(struct agi_dht *d, const struct agi_view *v, const struct agi_id *prev, uint8_t n_prev)
{
	struct agi_slot *s;

	if (!agi_view_is_sane(d, v) || n_prev > AGI_REPLICAS_MAX)
		return;
	s = get_slot(d, v->slot);
	if (s && v->epoch > s->view.epoch)
		install(d, s, v, prev, n_prev);
}

void agi_view_learn_from(struct agi_dht *d, const struct agi_msg *answer)
{
	for (size_t i = 0; i < answer->n_contacts; i++)
		if (!agi_hosts_is_up(d, &answer->contacts[i].id))
			agi_hosts_heard_of(d, &answer->contacts[i]);
	if (answer->view.epoch)
		agi_view_learn(d, &answer->view, answer->sources, answer->n_sources);
}

void agi_view_tell(const struct agi_slot *s, struct agi_msg *answer)
{
	answer->view = s->view;
	answer->phase = s->phase;
	answer->is_copy = s->is_copy || s->is_stale;
	answer->n_sources = s->n_prev;
	memcpy(answer->sources, s->prev, sizeof answer->sources);
}

void agi_view_fill(struct agi_dht *d, const struct agi_slot *s, struct agi_msg *answer,
                   struct agi_contact contacts[AGI_REPLICAS_MAX])
{
	agi_view_tell(s, answer);
	answer->contacts = contacts;
	answer->n_contacts = 0;
	for (int i = 0; i < s->view.n_members; i++) {
		struct agi_host *h = agi_hosts_find(d, &s->view.members[i]);

		if (h)
			contacts[answer->n_contacts++] = h->c;
		else if (agi_id_eq(&s->view.members[i], &d->self.id))
			contacts[answer->n_contacts++] = d->self;
	}
}

void agi_slot_alone(struct agi_slot *s, const struct agi_view *v, uint64_t round_jump)
{
	s->n_prev = s->view.n_members; /* told of it whenever they are up (reconf.c) */
	memcpy(s->prev, s->view.members, sizeof s->prev);
	s->view = *v;
	s->phase = AGI_VIEW_ACTIVE;
	s->promised = s->accepted = (struct agi_ballot){0};
	s->round = 0;
	s->is_copy = s->is_stale = false;
	s->strong_promised.round += round_jump;
}

void agi_view_take_over(struct agi_dht *d, struct agi_slot *s, const struct agi_view *v, uint64_t round_jump)
{
	enum agi_view_phase was = s->phase;

	agi_lead_abort(d, s);
	agi_slot_alone(s, v, round_jump);
	s->phase = was;
	agi_slot_set_phase(d, s, AGI_VIEW_ACTIVE);
	s->retry_us = s->settled = s->planned = 0;
	agi_slot_set_wanted(d, s, false);
}

void agi_view_on_told(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                      const struct agi_peer *from, const struct agi_msg *m)
{
	(void)arg, (void)which, (void)from;
	if (err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO)
		agi_view_learn_from(d, m);
}

/* The requester knows a newer view than we do: ask it. */
void agi_view_fetch_from(struct agi_dht *d, const struct agi_peer *from, uint32_t slot)
{
	struct agi_msg m = {.kind = AGI_MSG_VIEW_GET, .slot = slot};

	(void)agi_rpc_ask(d, from, AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, agi_view_on_told, NULL, 0);
}

enum agi_err agi_view_admit(struct agi_dht *d, const struct agi_peer *from, uint32_t slot, uint64_t epoch,
                            struct agi_msg *answer)
{
	struct agi_slot *s = agi_slot_find(d, slot);

	if (slot >= d->slots.n)
		return AGI_E_INVALID;
	if (!s || s->view.epoch < epoch) {
		agi_view_fetch_from(d, from, slot);
		return AGI_E_SEALED; /* retry: we will have caught up */
	}
	agi_view_tell(s, answer);
	if (AGI_MUTANT(ANSWER_OUTSIDE) && s->phase >= AGI_VIEW_LEAVING)
		return AGI_OK;
	if (s->view.epoch > epoch && !AGI_MUTANT(IGNORE_EPOCH))
		return AGI_E_STALE_EPOCH;
	if (agi_slot_is_taken_over(s))
		return AGI_E_SEALED;
	if (AGI_MUTANT(ANSWER_JOINING) && s->phase == AGI_VIEW_JOINING)
		return AGI_OK;
	switch (s->phase) {
	case AGI_VIEW_ACTIVE:
		return AGI_OK;
	case AGI_VIEW_JOINING:
	case AGI_VIEW_SEALED:
		return AGI_E_SEALED;
	default:
		return AGI_E_NOT_MEMBER;
	}
}

void agi_view_on_get(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_contact contacts[AGI_REPLICAS_MAX];
	struct agi_msg out = {.kind = AGI_MSG_VIEW_INFO, .slot = m->slot};
	struct agi_slot *s = agi_slot_find(d, m->slot);

	if (s && s->view.epoch)
		agi_view_fill(d, s, &out, contacts);
	agi_answer(d, from, m, &out);
}
