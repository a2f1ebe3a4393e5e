/* SPDX-License-Identifier: Apache-2.0
 * A member's part in strong registers: one Paxos register per key (CASPaxos, Rystsov 2018), with the promise made
 * for a whole slot. A leader that holds a majority's promise writes any key of the slot in one round trip.
 *
 * Accepting is a storage operation: the promise is compared here, in memory, and the order of accepted writes by
 * AGI_PUT_NEWER, so an acceptor never reads before it writes. The promise is on disk before it is answered.
 *
 * A leader's read counts as its prepare: only who has promised may answer it, or an older leader's write on its way
 * could still be accepted behind what was read. Who has not promised yet does so first. A read without a ballot
 * promises nothing; whoever sends it believes only a majority that agrees. */
#include <stdlib.h>

#include "dht/state.h"

enum { FLAG_TOMBSTONE = 1, FLAG_LEASE = 2, HEAD_BYTES = AGI_VERSION_BYTES + 1 + 8 };

enum agi_err agi_reg_decode(struct agi_reg *out, struct agi_str record)
{
	struct agi_cur c = agi_cur_of(record);
	uint8_t flags;

	agi_cur_copy(&c, out->order, AGI_VERSION_BYTES);
	flags = agi_cur_u8(&c);
	out->is_tombstone = flags & FLAG_TOMBSTONE;
	out->version = agi_cur_u64(&c);
	out->lease = flags & FLAG_LEASE ? agi_cur_u64(&c) : 0;
	out->value = agi_cur_take(&c, c.n);
	return c.bad ? AGI_E_CORRUPT : AGI_OK;
}

bool agi_reg_is_below(const struct agi_reg *reg, uint64_t epoch, const struct agi_ballot *ballot)
{
	uint8_t first[8 + 8 + 16];

	for (int i = 0; i < 8; i++) {
		first[i] = (uint8_t)(epoch >> (56 - 8 * i));
		first[8 + i] = (uint8_t)(ballot->round >> (56 - 8 * i));
	}
	memcpy(first + 16, ballot->node.b, 16);
	return memcmp(reg->order, first, sizeof first) < 0;
}

static void encode(struct agi_buf *b, const struct agi_msg *m)
{
	const struct agi_item *it = &m->items[0];

	agi_buf_u64(b, m->epoch);
	agi_buf_u64(b, m->ballot.round);
	agi_buf_put(b, m->ballot.node.b, 16);
	agi_buf_u64(b, m->seq);
	agi_buf_u8(b, (it->is_tombstone ? FLAG_TOMBSTONE : 0) | (it->lease ? FLAG_LEASE : 0));
	agi_buf_u64(b, it->version.hlc);
	if (it->lease)
		agi_buf_u64(b, it->lease);
	agi_buf_put_str(b, it->value);
}

struct waiting {
	struct agi_peer to;
	uint64_t rpc_id;
	enum agi_msg_kind kind;
	uint32_t slot;
	struct agi_ballot ballot;
};

static struct waiting *wait_for(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m,
                                enum agi_msg_kind kind)
{
	struct waiting *w = agi_pool_get(&d->pools.reg_waiting, sizeof *w);

	if (w)
		*w = (struct waiting){*from, m->rpc_id, kind, m->slot, m->ballot};
	return w;
}

static void on_stored(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct waiting *w = arg;
	struct agi_msg out = {.kind = w->kind, .status = done->err};

	agi_answer_on(d, AGI_TRAFFIC_CONTROL, &w->to, w->rpc_id, &out);
	agi_pool_put(&d->pools.reg_waiting, w);
}

/* Refuses with EXISTS, and tells the promise, when a higher ballot than the request's was promised. */
static enum agi_err admit(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m,
                          struct agi_msg *out)
{
	enum agi_err e = agi_view_admit(d, from, m->slot, m->epoch, out);
	struct agi_slot *s = agi_slot_find(d, m->slot);

	if (e == AGI_OK && d->is_read_only)
		e = AGI_E_READ_ONLY;
	if (e == AGI_OK && (m->ballot.round == 0 || !agi_view_has(&s->view, &m->ballot.node)))
		e = AGI_E_INVALID;
	if (e == AGI_OK && agi_ballot_cmp(&m->ballot, &s->strong_promised) < 0 &&
	    !(AGI_MUTANT(REG_BELOW_PROMISE) && m->kind == AGI_MSG_REG_WRITE)) {
		e = AGI_E_EXISTS;
		out->ballot = s->strong_promised;
	}
	return e;
}

void agi_reg_on_lead(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_LED, .slot = m->slot};
	struct agi_slot *s = agi_slot_find(d, m->slot);
	struct waiting *w = NULL;

	out.status = admit(d, from, m, &out);
	if (out.status == AGI_OK && m->ballot.round <= s->strong_promised.round && !AGI_MUTANT(ROUND_REUSED)) {
		out.status = AGI_E_EXISTS; /* a round is used once, whoever asks: versions are made of it */
		out.ballot = s->strong_promised;
	}
	if (out.status == AGI_OK) {
		s->strong_promised = m->ballot;
		w = wait_for(d, from, m, AGI_MSG_LED);
		if (w && agi_slot_save(d, s, NULL, 0, AGI_MUTANT(LED_UNSTORED) ? NULL : on_stored, w)) {
			if (AGI_MUTANT(LED_UNSTORED))
				on_stored(d, w, &(struct agi_storage_done){.err = AGI_OK});
			return;
		}
		agi_pool_put(&d->pools.reg_waiting, w);
		out.status = AGI_E_NOMEM;
	}
	agi_answer(d, from, m, &out);
}

static enum agi_err check_item(struct agi_dht *d, const struct agi_msg *m)
{
	const struct agi_item *it = m->items;

	if (m->n_items != 1 || it->key.n == 0)
		return AGI_E_INVALID;
	if (it->ns.n > AGI_NAMESPACE_MAX || it->key.n > AGI_KEY_MAX || it->value.n > AGI_VALUE_MAX)
		return AGI_E_TOO_LARGE;
	return agi_dht_slot_of(d, it->ns, it->key) == m->slot ? AGI_OK : AGI_E_INVALID;
}

/* A leader whose request for the promise this member missed, or could not write down, is promised now, in the
 * same atomic write. */
static uint64_t store(struct agi_dht *d, struct agi_slot *s, const struct agi_msg *m, struct waiting *w)
{
	bool is_new_promise = agi_ballot_cmp(&m->ballot, &s->strong_saved) > 0;
	struct agi_buf *b = agi_scratch(d);
	size_t key_bytes;
	struct agi_storage_op op = {.verb = AGI_PUT_NEWER, .cf = AGI_CF_STRONG};
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = &op, .n_ops = 1};
	uint64_t job = 0;

	agi_item_key(b, m->slot, m->items->ns, m->items->key);
	key_bytes = b->n;
	encode(b, m);
	if (b->err)
		return 0;
	op.key = (struct agi_str){(const char *)b->p, key_bytes};
	op.value = (struct agi_str){(const char *)b->p + key_bytes, b->n - key_bytes};
	if (is_new_promise) {
		s->strong_promised = m->ballot; /* admitted: none higher */
		job = agi_slot_save(d, s, &op, 1, AGI_MUTANT(REG_ACK_UNSTORED) ? NULL : on_stored, w);
	} else {
		job = agi_job_submit(d, &req, AGI_MUTANT(REG_ACK_UNSTORED) ? NULL : on_stored, w);
	}
	return job;
}

bool agi_strong_seen_has(const struct agi_strong_seen *seen, const struct agi_id *from, uint64_t rpc_id)
{
	for (uint32_t i = 0; i < AGI_STRONG_SEEN; i++)
		if (seen->rpc_id[i] == rpc_id && agi_id_eq(&seen->from[i], from))
			return true;
	return false;
}

void agi_strong_seen_add(struct agi_strong_seen *seen, const struct agi_id *from, uint64_t rpc_id)
{
	seen->rpc_id[seen->next] = rpc_id;
	seen->from[seen->next] = *from;
	seen->next = (seen->next + 1) % AGI_STRONG_SEEN;
}

void agi_reg_on_write(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_REG_ACK, .slot = m->slot};
	struct agi_slot *s = agi_slot_find(d, m->slot);
	struct waiting *w = NULL;

	out.status = admit(d, from, m, &out);
	if (out.status == AGI_OK)
		out.status = check_item(d, m);
	if (out.status == AGI_OK)
		out.status = agi_store_admit(d, m->items, 1);
	if (out.status == AGI_OK) {
		w = wait_for(d, from, m, AGI_MSG_REG_ACK);
		if (w && store(d, s, m, w)) {
			agi_strong_seen_add(&d->reg_seen, &from->id, m->rpc_id);
			if (AGI_MUTANT(REG_ACK_UNSTORED))
				on_stored(d, w, &(struct agi_storage_done){.err = AGI_OK});
			return;
		}
		agi_pool_put(&d->pools.reg_waiting, w);
		out.status = AGI_E_NOMEM;
	}
	/* The leader takes a refusal by all for a write that did not happen. Links deliver once, but should this one have
	 * come before and been accepted, its answer is on its way. */
	if (!agi_strong_seen_has(&d->reg_seen, &from->id, m->rpc_id))
		agi_answer(d, from, m, &out);
}

/* The promise this read stands on may not have reached the disk. */
static bool is_saved(const struct agi_dht *d, const struct waiting *w)
{
	const struct agi_slot *s = agi_slot_find(d, w->slot);

	return !d->is_read_only && s && agi_ballot_cmp(&w->ballot, &s->strong_saved) <= 0;
}

static void on_read(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct waiting *w = arg;
	struct agi_item item = {.value = {"", 0}};
	struct agi_msg out = {.kind = AGI_MSG_REG_STATE};
	struct agi_reg reg;

	if (w->ballot.round && !is_saved(d, w)) {
		out.status = d->is_read_only ? AGI_E_READ_ONLY : AGI_E_FULL;
	} else if (done->err == AGI_OK) {
		out.status = agi_reg_decode(&reg, done->kv[0].value);
		item.value = done->kv[0].value;
		out.has_item = true;
		out.items = &item;
		out.n_items = 1;
	} else if (done->err != AGI_E_NOT_FOUND) {
		out.status = done->err;
	}
	agi_answer_on(d, AGI_TRAFFIC_CONTROL, &w->to, w->rpc_id, &out);
	agi_pool_put(&d->pools.reg_waiting, w);
}

/* Storage works in order: a read submitted after the promise completes after it. */
static bool promise_before_read(struct agi_dht *d, const struct agi_msg *m)
{
	struct agi_slot *s = agi_slot_find(d, m->slot);

	if (m->ballot.round == 0 || agi_ballot_cmp(&m->ballot, &s->strong_saved) <= 0)
		return true;
	s->strong_promised = m->ballot;
	return agi_slot_save(d, s, NULL, 0, NULL, NULL) != 0;
}

void agi_reg_on_read(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_REG_STATE, .slot = m->slot};
	/* A client's get must see what this member has acknowledged. A leader builds its next write on what it reads:
	 * it must see what this member will acknowledge as well. */
	struct agi_storage_req req = {
	    .kind = AGI_STORAGE_GET, .cf = AGI_CF_STRONG, .may_lag = m->ballot.round == 0};
	struct waiting *w = NULL;
	struct agi_buf *key;
	struct agi_msg plain = *m;

	plain.ballot = (struct agi_ballot){0};
	if (AGI_MUTANT(READ_UNPROMISED))
		m = &plain;
	out.status = m->ballot.round ? admit(d, from, m, &out) : agi_view_admit(d, from, m->slot, m->epoch, &out);
	if (out.status == AGI_OK && (m->ns.n > AGI_NAMESPACE_MAX || m->key.n > AGI_KEY_MAX))
		out.status = AGI_E_TOO_LARGE;
	if (out.status == AGI_OK && !promise_before_read(d, m))
		out.status = AGI_E_NOMEM;
	if (out.status == AGI_OK) {
		key = agi_scratch(d);
		agi_item_key(key, m->slot, m->ns, m->key);
		req.begin = agi_buf_str(key);
		w = key->err ? NULL : wait_for(d, from, m, AGI_MSG_REG_STATE);
		if (!w || !agi_job_submit(d, &req, on_read, w)) {
			agi_pool_put(&d->pools.reg_waiting, w);
			out.status = AGI_E_NOMEM;
		}
	}
	if (out.status != AGI_OK)
		agi_answer(d, from, m, &out);
}
