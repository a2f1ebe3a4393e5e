/* SPDX-License-Identifier: Apache-2.0
 * The source's side of a transfer: pages of records, and pages of keys and versions to compare. */
#include "dht/transfer.h"

#include <stdlib.h>

enum { INDEX_BYTES = 128 << 10 }; /* of one page that is compared: about 1,500 short keys */

/* --- lists ------------------------------------------------------------------------------------------ */

void agi_index_put(struct agi_buf *b, struct agi_str key, struct agi_str value)
{
	static const char zeros[AGI_VERSION_BYTES];
	size_t n = value.n < AGI_VERSION_BYTES ? value.n : AGI_VERSION_BYTES;

	agi_buf_u16(b, (uint16_t)key.n);
	agi_buf_put_str(b, key);
	agi_buf_put(b, value.p, n);
	agi_buf_put(b, zeros, AGI_VERSION_BYTES - n); /* a record that short is corrupt: anything is newer */
}

bool agi_index_next(struct agi_cur *c, struct agi_str *key, struct agi_str *version)
{
	if (c->n == 0)
		return false;
	*key = agi_cur_take(c, agi_cur_u16(c));
	*version = agi_cur_take(c, AGI_VERSION_BYTES);
	return !c->bad;
}

void agi_index_hash(struct agi_id *out, struct agi_str index) { agi_blake2b_256(out->b, &index, 1); }

void agi_records_list_put(struct agi_buf *b, const struct agi_kv *kv)
{
	agi_buf_u16(b, (uint16_t)kv->key.n);
	agi_buf_put_str(b, kv->key);
	agi_buf_blob(b, kv->value);
}

bool agi_records_list_next(struct agi_cur *c, struct agi_kv *kv)
{
	if (c->n == 0)
		return false;
	kv->key = agi_cur_take(c, agi_cur_u16(c));
	kv->value = agi_cur_blob(c);
	return !c->bad;
}

/* --- requests ---------------------------------------------------------------------------------------- */

struct page {
	struct agi_peer to;
	uint64_t rpc_id;
	enum agi_msg_kind kind;     /* of the answer */
	struct agi_slot *s;
	uint64_t epoch;
	bool is_strong;
	struct agi_id hash;         /* compare: of what the asker holds */
	struct agi_buf keys;        /* pull: the ones wanted, as an index; empty = all */
};

static void free_page(struct page *p)
{
	agi_buf_free(&p->keys);
	free(p);
}

/* Is this record among those asked for? Both lists are in order. */
static bool is_wanted(struct agi_cur *keys, struct agi_str *next, struct agi_str key)
{
	struct agi_str version;

	while (next->n && agi_str_cmp(*next, key) < 0)
		if (!agi_index_next(keys, next, &version))
			*next = (struct agi_str){NULL, 0};
	return next->n && agi_str_eq(*next, key);
}

static void put_records(struct agi_buf *b, const struct page *p, const struct agi_storage_done *done)
{
	struct agi_cur keys = agi_cur_of(agi_buf_str(&p->keys));
	struct agi_str next = {NULL, 0}, version;

	if (p->keys.n && !agi_index_next(&keys, &next, &version))
		return;
	for (size_t i = 0; i < done->n; i++)
		if (!p->keys.n || is_wanted(&keys, &next, done->kv[i].key))
			agi_records_list_put(b, &done->kv[i]);
}

static void put_index(struct agi_buf *b, struct agi_msg *out, const struct page *p,
                      const struct agi_storage_done *done)
{
	struct agi_id hash;

	for (size_t i = 0; i < done->n; i++)
		agi_index_put(b, done->kv[i].key, done->kv[i].value);
	agi_index_hash(&hash, agi_buf_str(b));
	out->has_item = !done->has_more && agi_id_eq(&hash, &p->hash);
	if (out->has_item)
		agi_buf_reset(b); /* the same: not told again */
}

static void on_page(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct page *p = arg;
	struct agi_msg out = {.kind = p->kind, .slot = p->s->view.slot, .status = done->err,
	                      .phase = p->s->phase, .is_strong = p->is_strong,
	                      .ballot = p->s->strong_promised, .floor = p->s->floor};
	struct agi_buf blob, next;

	agi_buf_init(&blob, 0);
	agi_buf_init(&next, 0);
	if (done->err == AGI_OK && p->kind == AGI_MSG_SLOT_ITEMS)
		put_records(&blob, p, done);
	else if (done->err == AGI_OK)
		put_index(&blob, &out, p, done);
	out.has_more = done->has_more && done->n > 0;
	if (out.has_more) { /* the next key after the last */
		agi_buf_put_str(&next, done->kv[done->n - 1].key);
		agi_buf_u8(&next, 0);
	}
	if (out.status == AGI_OK && (blob.err || next.err || p->s->view.epoch != p->epoch))
		out.status = blob.err ? blob.err : next.err ? next.err : AGI_E_STALE_EPOCH;
	if (out.status == AGI_OK) {
		out.blob = agi_buf_str(&blob);
		out.cursor = agi_buf_str(&next);
	}
	agi_bucket_take(&d->move.out, blob.n, d->now.mono_us);
	d->move.stats.bytes_out += blob.n;
	agi_answer_on(d, AGI_TRAFFIC_BULK, &p->to, p->rpc_id, &out);
	agi_buf_free(&blob);
	agi_buf_free(&next);
	free_page(p);
}

/* A source must have left the old epoch behind (then nothing of it can complete any more), or be in the epoch of a
 * pre-copy, and still hold the slot's data. */
static enum agi_err admit(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m,
                          struct agi_msg *out)
{
	struct agi_slot *s = agi_slot_find(d, m->slot);
	uint64_t wait_us;

	if (m->slot >= d->slots.n)
		return AGI_E_INVALID;
	if (!s || s->view.epoch + AGI_MUTANT(MERGE_UNSEALED) < m->epoch) {
		agi_view_fetch_from(d, from, m->slot);
		return AGI_E_SEALED;
	}
	if (s->view.epoch > m->epoch) {
		agi_view_tell(s, out);
		return AGI_E_STALE_EPOCH;
	}
	if (!agi_slot_is_held(s))
		return AGI_E_NOT_MEMBER;
	out->is_copy = s->is_copy; /* nothing of its own: the asker counts it, and takes nothing from it */
	if (s->is_copy)
		return AGI_E_NOT_MEMBER;
	wait_us = m->is_background ? agi_bucket_wait_us(&d->move.out, d->now.mono_us) : 0;
	if (wait_us) {
		d->move.stats.throttled++;
		out->wait_ms = (uint32_t)(wait_us / 1000 < 5000 ? wait_us / 1000 + 1 : 5000);
		return AGI_E_FULL;
	}
	return AGI_OK;
}

/* The part of the slot's range that is asked for; INVALID when it lies outside. */
static enum agi_err range_of(const struct agi_msg *m, struct agi_storage_req *req, uint8_t begin[4],
                             uint8_t end[4])
{
	agi_slot_range(m->slot, begin, end);
	req->begin = (struct agi_str){(const char *)begin, 4};
	req->end = (struct agi_str){(const char *)end, 4};
	if ((m->cursor.n && !agi_str_has_prefix(m->cursor, req->begin)) ||
	    (m->end.n && !agi_str_has_prefix(m->end, req->begin)))
		return AGI_E_INVALID;
	if (m->cursor.n)
		req->begin = m->cursor;
	if (m->end.n)
		req->end = m->end;
	return agi_str_cmp(req->begin, req->end) <= 0 ? AGI_OK : AGI_E_INVALID;
}

static struct page *new_page(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m,
                             enum agi_msg_kind kind)
{
	struct page *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	*p = (struct page){.to = *from, .rpc_id = m->rpc_id, .kind = kind, .s = agi_slot_find(d, m->slot),
	                   .epoch = m->epoch, .is_strong = m->is_strong, .hash = m->target};
	agi_buf_init(&p->keys, 0);
	agi_buf_put_str(&p->keys, m->blob);
	if (!p->keys.err)
		return p;
	free_page(p);
	return NULL;
}

static void serve(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m,
                  enum agi_msg_kind kind, struct agi_storage_req *req)
{
	struct agi_msg out = {.kind = kind, .slot = m->slot, .is_strong = m->is_strong};
	uint8_t begin[4], end[4];
	struct page *p;

	req->kind = AGI_STORAGE_SCAN;
	req->cf = m->is_strong ? AGI_CF_STRONG : AGI_CF_ITEMS;
	out.status = admit(d, from, m, &out);
	if (out.status == AGI_OK)
		out.status = range_of(m, req, begin, end);
	if (out.status == AGI_OK) {
		p = new_page(d, from, m, kind);
		if (p && agi_job_submit(d, req, on_page, p))
			return;
		if (p)
			free_page(p);
		out.status = AGI_E_NOMEM;
	}
	agi_answer(d, from, m, &out);
}

void agi_transfer_on_pull(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_storage_req req = {.max_items = AGI_PAGE_ITEMS, .max_bytes = AGI_PAGE_BYTES};

	serve(d, from, m, AGI_MSG_SLOT_ITEMS, &req);
}

void agi_transfer_on_compare(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_storage_req req = {.max_items = AGI_COMPARE_ITEMS, .max_bytes = INDEX_BYTES,
	                              .value_bytes = AGI_VERSION_BYTES};

	serve(d, from, m, AGI_MSG_SLOT_INDEX, &req);
}
