/* SPDX-License-Identifier: Apache-2.0
 * What a member answers to those who compare and pull. */
#include <stdlib.h>

#include "dht/repair.h"

enum {
	SERVES_MAX = 16, /* DIFF_PULLs worked on at once */
	PAGES_MAX = 8,   /* read for one of them before an answer, even an empty one, is sent */
	GAP_MS = 10000,
	SOON_MS = 1000
};

/* --- roots and leaves ------------------------------------------------------------------------------- */

/* What differs for the one who asks, differs for us. */
static void suspect(struct agi_dht *d, struct agi_slot *s, const struct agi_id *peer)
{
	int i = agi_repair_place(s, peer);
	uint64_t same_us = i < 0 ? 0 : (uint64_t)s->same_s[i] * 1000000;

	if (same_us && d->now.mono_us >= same_us + GAP_MS * 1000) {
		s->same_s[i] = 0;
		agi_repair_wake(d, agi_after_ms(d, SOON_MS));
	}
}

static enum agi_compared compare(struct agi_dht *d, const struct agi_peer *from, struct agi_cur *c)
{
	uint32_t slot = agi_cur_u32(c);
	uint64_t epoch = agi_cur_u64(c);
	struct agi_slot *s = agi_slot_find(d, slot);
	struct agi_merkle_hash theirs, ours;

	agi_cur_copy(c, theirs.b, sizeof theirs.b);
	if (!agi_repair_may(d, slot, epoch, &from->id))
		return AGI_COMPARED_OTHER;
	if (s->tree.state != AGI_TREE_KNOWN) {
		agi_trees_want(d);
		return AGI_COMPARED_LATER;
	}
	agi_tree_root(d, s, &ours);
	if (memcmp(&ours, &theirs, sizeof ours) == 0) {
		agi_repair_same(d, s, &from->id);
		return AGI_COMPARED_SAME;
	}
	suspect(d, s, &from->id);
	return AGI_COMPARED_DIFFERS;
}

static void on_compare(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_COMPARED};
	struct agi_cur c = agi_cur_of(m->hashes);
	uint8_t said[AGI_COMPARE_SLOTS];
	size_t n = 0;

	if (m->hashes.n % AGI_COMPARE_BYTES || m->hashes.n > AGI_COMPARE_SLOTS * AGI_COMPARE_BYTES)
		out.status = AGI_E_INVALID;
	while (out.status == AGI_OK && c.n)
		said[n++] = (uint8_t)compare(d, from, &c);
	out.hashes = (struct agi_str){(const char *)said, n};
	agi_answer(d, from, m, &out);
}

static enum agi_err admit(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m,
                          struct agi_msg *out)
{
	enum agi_err e = agi_view_admit(d, from, m->slot, m->epoch, out);

	if (e == AGI_OK && !agi_view_has(&agi_slot_find(d, m->slot)->view, &from->id))
		e = AGI_E_NOT_MEMBER;
	return e;
}

static void on_leaves_get(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_LEAVES, .slot = m->slot};
	struct agi_slot *s = agi_slot_find(d, m->slot);
	struct agi_merkle both[2] = {0};

	out.status = admit(d, from, m, &out);
	if (out.status == AGI_OK && s->tree.state != AGI_TREE_KNOWN) {
		agi_trees_want(d);
		out.status = AGI_E_NOT_READY;
	}
	if (out.status == AGI_OK) {
		if (s->tree.items)
			both[0] = *s->tree.items;
		if (s->tree.strong)
			both[1] = *s->tree.strong;
		out.hashes = (struct agi_str){(const char *)both, sizeof both};
	}
	agi_answer(d, from, m, &out);
}

/* --- records -------------------------------------------------------------------------------------------- */

struct agi_repair_serve {
	struct agi_dht *d;
	struct agi_peer to;
	uint64_t rpc_id, epoch, mask;
	uint32_t slot, pages;
	bool is_strong, has_more;
	uint8_t nonce[AGI_NONCE_BYTES];
	struct agi_digest *known;  /* what the asker has, sorted */
	size_t n_known;
	struct agi_buf begin, end; /* still to be read */
	struct agi_buf bytes;      /* what it lacks: keys and values one after another … */
	size_t n;
	struct {
		size_t key_n, value_n; /* … of so many bytes */
	} found[AGI_BATCH_ITEMS];
	struct agi_timer pace;
	TAILQ_ENTRY(agi_repair_serve) entry;
};

static void read_page(struct agi_repair_serve *v);

static void end_serve(struct agi_repair_serve *v)
{
	agi_timer_clear(&v->d->timers, &v->pace);
	TAILQ_REMOVE(&v->d->repair.serves, v, entry);
	v->d->repair.n_serves--;
	agi_buf_free(&v->begin);
	agi_buf_free(&v->end);
	agi_buf_free(&v->bytes);
	free(v->known);
	free(v);
}

void agi_repair_serves_free(struct agi_dht *d)
{
	while (!TAILQ_EMPTY(&d->repair.serves))
		end_serve(TAILQ_FIRST(&d->repair.serves));
}

static enum agi_err decode_found(const struct agi_repair_serve *v, struct agi_item *items)
{
	struct agi_cur c = agi_cur_of(agi_buf_str(&v->bytes));

	for (size_t i = 0; i < v->n; i++) {
		struct agi_str key = agi_cur_take(&c, v->found[i].key_n);
		struct agi_str value = agi_cur_take(&c, v->found[i].value_n);
		enum agi_err e = agi_item_decode(&items[i], key, value);

		if (e)
			return e;
		if (v->is_strong) /* only which they are */
			items[i] = (struct agi_item){.ns = items[i].ns, .key = items[i].key};
	}
	return AGI_OK;
}

static void answer(struct agi_repair_serve *v, enum agi_err status)
{
	struct agi_dht *d = v->d;
	struct agi_item items[AGI_BATCH_ITEMS];
	struct agi_msg out = {.kind = AGI_MSG_DIFF_ITEMS, .slot = v->slot, .is_strong = v->is_strong,
	                      .status = status};

	if (out.status == AGI_OK)
		out.status = v->bytes.err ? v->bytes.err : v->begin.err ? v->begin.err : decode_found(v, items);
	if (out.status == AGI_OK) {
		out.items = items;
		out.n_items = v->n;
		out.has_more = v->has_more;
		out.cursor = agi_buf_str(&v->begin);
	}
	agi_answer_on(d, AGI_TRAFFIC_BULK, &v->to, v->rpc_id, &out);
	end_serve(v);
}

static bool is_full(const struct agi_repair_serve *v)
{
	return v->n == AGI_BATCH_ITEMS || v->bytes.n >= AGI_PAGE_BYTES;
}

static void take(struct agi_repair_serve *v, const struct agi_kv *kv)
{
	struct agi_str value = kv->value;
	struct agi_merkle_hash key;
	struct agi_digest digest;

	agi_buf_reset(&v->begin);
	agi_buf_put_str(&v->begin, kv->key);
	agi_buf_u8(&v->begin, 0);
	agi_merkle_key(&key, &v->d->member.cluster, kv->key);
	if (!(v->mask >> agi_merkle_leaf_of(&key) & 1) || value.n < AGI_VERSION_BYTES)
		return;
	agi_digest_of(&digest, v->nonce, kv->key, (const uint8_t *)value.p);
	if (!agi_digests_lack(v->known, v->n_known, &digest))
		return;
	v->found[v->n].key_n = kv->key.n;
	v->found[v->n++].value_n = value.n;
	agi_buf_put_str(&v->bytes, kv->key);
	agi_buf_put_str(&v->bytes, value);
}

static void on_page(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_repair_serve *v = arg;
	uint64_t bytes = 0;
	size_t i;

	if (done->err != AGI_OK || !agi_repair_may(d, v->slot, v->epoch, &v->to.id)) {
		answer(v, done->err != AGI_OK ? done->err : AGI_E_SEALED);
		return;
	}
	for (i = 0; i < done->n && !is_full(v); i++) {
		take(v, &done->kv[i]);
		bytes += done->kv[i].key.n + done->kv[i].value.n;
	}
	v->has_more = i < done->n || done->has_more;
	v->pages++;
	if (!v->has_more || is_full(v) || v->pages == PAGES_MAX)
		answer(v, AGI_OK);
	else
		agi_timer_set(&d->timers, &v->pace, agi_repair_pace(d, bytes));
}

static void read_page(struct agi_repair_serve *v)
{
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN,
	                              .cf = v->is_strong ? AGI_CF_STRONG : AGI_CF_ITEMS,
	                              .begin = agi_buf_str(&v->begin), .end = agi_buf_str(&v->end),
	                              .max_items = AGI_REPAIR_SCAN_ITEMS, .max_bytes = AGI_PAGE_BYTES};

	if (v->begin.err || v->end.err || !agi_job_submit(v->d, &req, on_page, v))
		answer(v, AGI_E_NOMEM);
}

static void on_pace(struct agi_dht *d, void *arg)
{
	(void)d;
	read_page(arg);
}

/* A range of keys of this slot, and whole digests after the nonce. */
static bool is_sane(const struct agi_msg *m)
{
	uint8_t begin[4], end[4];

	agi_slot_range(m->slot, begin, end);
	return agi_str_cmp(m->cursor, (struct agi_str){(const char *)begin, 4}) >= 0 &&
	       agi_str_cmp(m->end, (struct agi_str){(const char *)end, 4}) <= 0 && m->mask &&
	       m->hashes.n >= AGI_NONCE_BYTES && (m->hashes.n - AGI_NONCE_BYTES) % AGI_DIGEST_BYTES == 0;
}

static struct agi_repair_serve *new_serve(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_repair_serve *v = calloc(1, sizeof *v);
	size_t n = (m->hashes.n - AGI_NONCE_BYTES) / AGI_DIGEST_BYTES;
	struct agi_digest *known = calloc(n + 1, sizeof *known);

	if (!v || !known) {
		free(v);
		free(known);
		return NULL;
	}
	v->d = d;
	v->to = *from;
	v->rpc_id = m->rpc_id;
	v->slot = m->slot;
	v->epoch = m->epoch;
	v->mask = m->mask;
	v->is_strong = m->is_strong;
	memcpy(v->nonce, m->hashes.p, sizeof v->nonce);
	for (size_t i = 0; i < n; i++)
		agi_digest_decode(&known[i],
		                  (const uint8_t *)m->hashes.p + AGI_NONCE_BYTES + i * AGI_DIGEST_BYTES);
	agi_digests_sort(known, n);
	v->known = known;
	v->n_known = n;
	agi_buf_init(&v->begin, 0);
	agi_buf_init(&v->end, 0);
	agi_buf_init(&v->bytes, 0);
	agi_buf_put_str(&v->begin, m->cursor);
	agi_buf_put_str(&v->end, m->end);
	v->pace = (struct agi_timer){.fn = on_pace, .arg = v};
	TAILQ_INSERT_TAIL(&d->repair.serves, v, entry);
	d->repair.n_serves++;
	return v;
}

static void on_pull(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_DIFF_ITEMS, .slot = m->slot, .is_strong = m->is_strong};
	struct agi_repair_serve *v;

	out.status = admit(d, from, m, &out);
	if (out.status == AGI_OK && !is_sane(m))
		out.status = AGI_E_INVALID;
	if (out.status == AGI_OK && d->repair.n_serves >= SERVES_MAX)
		out.status = AGI_E_FULL;
	if (out.status == AGI_OK) {
		v = new_serve(d, from, m);
		if (v) {
			read_page(v);
			return;
		}
		out.status = AGI_E_NOMEM;
	}
	agi_answer(d, from, m, &out);
}

bool agi_repair_on_message(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	switch (m->kind) {
	case AGI_MSG_COMPARE:
		on_compare(d, from, m);
		return true;
	case AGI_MSG_LEAVES_GET:
		on_leaves_get(d, from, m);
		return true;
	case AGI_MSG_DIFF_PULL:
		on_pull(d, from, m);
		return true;
	case AGI_MSG_SWEEP:
		agi_sweep_on_sweep(d, from, m);
		return true;
	default:
		return false;
	}
}
