/* SPDX-License-Identifier: Apache-2.0
 * Hinted handoff: a write that a replica could not take is kept here, durably, and delivered when the
 * replica is up again.
 *
 *   key    32-byte id of the replica ‖ be64 sequence
 *   value  be32 length ‖ item key (replica.c) ‖ item value
 *
 * Bounded by AGI_HINTS_MAX, and by time (hint_ttl_ms): what does not fit, or was not delivered by then, is left to the
 * comparison of replicas (repair.h). Hints expire before tombstones are collected (sweep.h). */
#include <stdlib.h>

#include "dht/state.h"

enum { PAGE = 32, RETRY_MS = 2000, KEY_BYTES = AGI_ID_BYTES + 8 };

struct agi_hint_target {
	struct agi_id id;
	struct agi_dht *d;
	uint32_t n;                    /* hints stored for it */
	bool is_busy;                  /* a page is being replayed … */
	bool is_away;                  /* … only to drop what is too old */
	uint64_t expiry_us;            /* when to look for that next */
	uint32_t open, failed;
	uint8_t done_key[PAGE][KEY_BYTES]; /* delivered, to be deleted */
	uint32_t n_done;
	UT_hash_handle hh;
};
struct replay {
	struct agi_hint_target *t;
	uint8_t key[KEY_BYTES];
};

static struct agi_hint_target *target_of(struct agi_dht *d, const struct agi_id *id)
{
	struct agi_hint_target *t;

	HASH_FIND(hh, d->hints.by_target, id, sizeof *id, t);
	if (t)
		return t;
	t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->id = *id;
	t->d = d;
	HASH_ADD(hh, d->hints.by_target, id, sizeof t->id, t);
	if (!t->hh.tbl) {
		free(t);
		return NULL;
	}
	return t;
}

static void hint_key(uint8_t key[KEY_BYTES], const struct agi_id *target, uint64_t seq)
{
	memcpy(key, target->b, AGI_ID_BYTES);
	for (int i = 0; i < 8; i++)
		key[AGI_ID_BYTES + i] = (uint8_t)(seq >> (56 - 8 * i));
}

enum agi_err agi_hint_load(struct agi_dht *d, struct agi_str key, struct agi_str value, struct agi_why *why)
{
	struct agi_cur c = agi_cur_of(key);
	struct agi_hint_target *t;
	struct agi_id id;
	uint64_t seq;

	(void)value;
	agi_cur_copy(&c, id.b, AGI_ID_BYTES);
	seq = agi_cur_u64(&c);
	if (c.bad || c.n)
		return agi_fail(why, AGI_E_CORRUPT, "hints: a key of %zu bytes, expected %d", key.n, KEY_BYTES);
	t = target_of(d, &id);
	if (!t)
		return AGI_E_NOMEM;
	t->n++;
	d->hints.n++;
	if (seq >= d->hints.next_seq)
		d->hints.next_seq = seq + 1;
	return AGI_OK;
}

void agi_hint_add(struct agi_dht *d, const struct agi_id *target, const struct agi_item *item)
{
	struct agi_hint_target *t = target_of(d, target);
	uint8_t key[KEY_BYTES];
	struct agi_buf k, v;
	struct agi_storage_op op = {AGI_PUT, AGI_CF_HINTS, {(const char *)key, KEY_BYTES}, {NULL, 0}};
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = &op, .n_ops = 1};

	if (d->is_read_only || d->is_low)
		return; /* the owed write is where it was acknowledged; the replica is compared and repaired later */
	if (!t || d->hints.n >= AGI_HINTS_MAX) {
		agi_note_dropped(d, NULL, AGI_E_FULL, "hint not kept: too many are owed already");
		return;
	}
	agi_buf_init(&k, 0);
	agi_buf_init(&v, 0);
	agi_item_key(&k, agi_dht_slot_of(d, item->ns, item->key), item->ns, item->key);
	agi_buf_blob(&v, agi_buf_str(&k));
	agi_item_value(&v, item);
	hint_key(key, target, d->hints.next_seq++);
	op.value = agi_buf_str(&v);
	if (!k.err && !v.err && agi_job_submit(d, &req, NULL, NULL)) {
		t->n++;
		d->hints.n++;
		agi_hint_wake(d);
	}
	agi_buf_free(&k);
	agi_buf_free(&v);
}

static void page_done(struct agi_hint_target *t)
{
	struct agi_dht *d = t->d;
	struct agi_storage_op ops[PAGE];
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = ops, .n_ops = t->n_done};

	t->is_busy = false;
	if (d->is_stopped)
		return;
	for (uint32_t i = 0; i < t->n_done; i++)
		ops[i] = (struct agi_storage_op){AGI_DELETE, AGI_CF_HINTS,
		                                 {(const char *)t->done_key[i], KEY_BYTES}, {NULL, 0}};
	if (t->n_done)
		(void)agi_job_submit(d, &req, NULL, NULL);
	t->n -= t->n_done < t->n ? t->n_done : t->n;
	d->hints.n -= t->n_done < d->hints.n ? t->n_done : d->hints.n;
	if (t->n && t->n_done && !t->failed) { /* more, and all goes well: no pause */
		t->expiry_us = 0;
		agi_timer_set(&d->timers, &d->hints.replay, d->now.mono_us);
	}
}

static void on_delivered(struct agi_dht *d, void *arg, enum agi_err err)
{
	struct replay *r = arg;
	struct agi_hint_target *t = r->t;

	(void)d;
	if (err == AGI_OK)
		memcpy(t->done_key[t->n_done++], r->key, KEY_BYTES);
	else
		t->failed++;
	free(r);
	if (--t->open == 0)
		page_done(t);
}

static bool is_expired(const struct agi_dht *d, const struct agi_item *item)
{
	return (item->version.hlc >> AGI_HLC_COUNTER_BITS) + d->cfg.hint_ttl_ms < d->now.wall_ms;
}

static void deliver(struct agi_hint_target *t, const struct agi_kv *kv)
{
	struct agi_cur c = agi_cur_of(kv->value);
	struct agi_str item_key = agi_cur_blob(&c);
	struct agi_item item;
	struct replay *r;

	if (c.bad || kv->key.n != KEY_BYTES ||
	    agi_item_decode(&item, item_key, agi_cur_take(&c, c.n)) != AGI_OK) {
		t->failed++;
		return;
	}
	if (is_expired(t->d, &item)) {
		t->d->repair.stats.hints_expired++;
		memcpy(t->done_key[t->n_done++], kv->key.p, KEY_BYTES);
		return;
	}
	r = t->is_away ? NULL : calloc(1, sizeof *r);
	if (!r) {
		t->failed++;
		return;
	}
	r->t = t;
	memcpy(r->key, kv->key.p, KEY_BYTES);
	if (agi_kv_rewrite(t->d, &item, &t->id, on_delivered, r) == AGI_OK) {
		t->open++;
	} else {
		free(r);
		t->failed++;
	}
}

static void on_page(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_hint_target *t = arg;

	(void)d;
	if (done->err == AGI_OK && done->n == 0) /* what we counted is not there: start afresh */
		t->n = 0;
	for (size_t i = 0; done->err == AGI_OK && i < done->n && i < PAGE; i++)
		deliver(t, &done->kv[i]);
	if (t->open == 0)
		page_done(t);
}

/* One that has left is nowhere: what it was owed goes to who holds the slots now. */
static bool is_reachable(struct agi_dht *d, const struct agi_id *id)
{
	return agi_hosts_is_up(d, id) || !agi_hosts_find(d, id);
}

static void replay_target(struct agi_hint_target *t)
{
	uint8_t begin[KEY_BYTES], end[KEY_BYTES + 1];
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN, .cf = AGI_CF_HINTS, .max_items = PAGE,
	                              .max_bytes = AGI_PAGE_BYTES};

	hint_key(begin, &t->id, 0);
	hint_key(end, &t->id, UINT64_MAX);
	end[KEY_BYTES] = 0;
	req.begin = (struct agi_str){(const char *)begin, KEY_BYTES};
	req.end = (struct agi_str){(const char *)end, KEY_BYTES + 1};
	t->n_done = t->failed = 0;
	t->is_away = !is_reachable(t->d, &t->id);
	t->expiry_us = agi_after_ms(t->d, t->d->cfg.hint_ttl_ms / 8);
	t->is_busy = agi_job_submit(t->d, &req, on_page, t) != 0;
}

static void on_replay(struct agi_dht *d, void *arg)
{
	struct agi_hint_target *t, *tmp;

	(void)arg;
	if (d->hints.n) /* level-triggered: as long as something is owed, look again */
		agi_timer_set(&d->timers, &d->hints.replay, agi_after_ms(d, RETRY_MS));
	if (!d->member.is_joined || d->is_stopped || d->is_read_only)
		return;
	HASH_ITER(hh, d->hints.by_target, t, tmp) {
		if (t->n && !t->is_busy && (is_reachable(d, &t->id) || t->expiry_us <= d->now.mono_us))
			replay_target(t);
	}
}

void agi_hint_init(struct agi_dht *d) { d->hints.replay.fn = on_replay; }

void agi_hint_wake(struct agi_dht *d)
{
	uint64_t due_us = agi_after_ms(d, RETRY_MS / 4);

	if (d->hints.n && (!d->hints.replay.is_set || d->hints.replay.due_us > due_us))
		agi_timer_set(&d->timers, &d->hints.replay, due_us);
}

void agi_hints_free(struct agi_dht *d)
{
	struct agi_hint_target *t, *tmp;

	HASH_ITER(hh, d->hints.by_target, t, tmp) {
		HASH_DEL(d->hints.by_target, t);
		free(t);
	}
}
