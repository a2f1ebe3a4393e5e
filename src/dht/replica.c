/* SPDX-License-Identifier: Apache-2.0
 * A replica's side of reads and writes, and how items look in storage.
 *
 *   key    be32 slot ‖ u8 namespace bytes ‖ namespace ‖ key
 *   value  version (be64 hlc ‖ node id) ‖ u8 flags ‖ be64 expiry ‖ value bytes
 *
 * The version leads the value, so that storage itself can keep the newest (AGI_PUT_NEWER). */
#include <stdlib.h>

#include "dht/state.h"

int agi_version_cmp(const struct agi_version *a, const struct agi_version *b)
{
	if (a->hlc != b->hlc)
		return a->hlc < b->hlc ? -1 : 1;
	return agi_id_cmp(&a->node, &b->node);
}

void agi_version_encode(uint8_t out[AGI_VERSION_BYTES], const struct agi_version *v)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(v->hlc >> (56 - 8 * i));
	memcpy(out + 8, v->node.b, AGI_ID_BYTES);
}

void agi_item_key(struct agi_buf *b, uint32_t slot, struct agi_str ns, struct agi_str key)
{
	agi_buf_u32(b, slot);
	agi_buf_u8(b, (uint8_t)ns.n);
	agi_buf_put_str(b, ns);
	agi_buf_put_str(b, key);
}

void agi_item_value(struct agi_buf *b, const struct agi_item *item)
{
	uint8_t version[AGI_VERSION_BYTES];

	agi_version_encode(version, &item->version);
	agi_buf_put(b, version, sizeof version);
	agi_buf_u8(b, item->is_tombstone ? AGI_ITEM_IS_DELETED : 0);
	agi_buf_u64(b, item->expires_ms);
	agi_buf_put_str(b, item->value);
}

enum agi_err agi_item_decode(struct agi_item *out, struct agi_str key, struct agi_str value)
{
	struct agi_cur k = agi_cur_of(key);

	*out = (struct agi_item){.key = {NULL, 0}};
	(void)agi_cur_u32(&k); /* slot */
	out->ns = agi_cur_take(&k, agi_cur_u8(&k));
	out->key = agi_cur_take(&k, k.n);
	return k.bad ? AGI_E_CORRUPT : agi_item_decode_record(out, value);
}

enum agi_err agi_item_decode_record(struct agi_item *out, struct agi_str value)
{
	struct agi_cur v = agi_cur_of(value);

	out->version.hlc = agi_cur_u64(&v);
	agi_cur_copy(&v, out->version.node.b, AGI_ID_BYTES);
	out->is_tombstone = agi_cur_u8(&v) & AGI_ITEM_IS_DELETED;
	out->expires_ms = agi_cur_u64(&v);
	out->value = agi_cur_take(&v, v.n);
	return v.bad ? AGI_E_CORRUPT : AGI_OK;
}

uint64_t agi_item_dead_ms(const struct agi_item *item)
{
	uint64_t written_ms = item->version.hlc >> AGI_HLC_COUNTER_BITS;

	if (!item->is_tombstone && item->expires_ms == 0)
		return AGI_NEVER;
	return item->expires_ms > written_ms ? item->expires_ms : written_ms;
}

void agi_slot_range(uint32_t slot, uint8_t begin[4], uint8_t end[4])
{
	for (int i = 0; i < 4; i++) {
		begin[i] = (uint8_t)(slot >> (24 - 8 * i));
		end[i] = (uint8_t)((slot + 1) >> (24 - 8 * i));
	}
}

uint64_t agi_items_write(struct agi_dht *d, uint32_t slot, const struct agi_item *items, size_t n,
                         agi_job_fn *fn, void *arg)
{
	struct agi_storage_op one, *ops = n == 1 ? &one : calloc(n, sizeof *ops);
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = ops, .n_ops = n};
	struct agi_buf *b = agi_scratch(d);
	const char *p;
	uint64_t job = 0;

	for (size_t i = 0; ops && i < n; i++) {
		size_t at = b->n;

		ops[i] = (struct agi_storage_op){AGI_PUT_NEWER, AGI_CF_ITEMS};
		agi_item_key(b, slot, items[i].ns, items[i].key);
		ops[i].key.n = b->n - at;
		agi_item_value(b, &items[i]);
		ops[i].value.n = b->n - at - ops[i].key.n;
		agi_stamp_see(d, items[i].version.hlc);
	}
	p = (const char *)b->p; /* the bytes stay where they are from here on */
	for (size_t i = 0; ops && i < n; i++) {
		ops[i].key.p = p;
		ops[i].value.p = p + ops[i].key.n;
		p += ops[i].key.n + ops[i].value.n;
	}
	if (ops && !b->err)
		job = agi_job_submit(d, &req, fn, arg);
	if (ops != &one)
		free(ops);
	return job;
}

struct waiting {
	struct agi_peer to;
	uint64_t rpc_id;
	bool is_transfer;
	size_t n;
	struct agi_version offered[]; /* WRITE: of each item */
};

static struct waiting *wait_for(const struct agi_peer *from, const struct agi_msg *m)
{
	struct waiting *w = calloc(1, sizeof *w + m->n_items * sizeof w->offered[0]);

	if (!w)
		return NULL;
	*w = (struct waiting){.to = *from, .rpc_id = m->rpc_id, .is_transfer = m->is_transfer, .n = m->n_items};
	for (size_t i = 0; i < m->n_items; i++)
		w->offered[i] = m->items[i].version;
	return w;
}

static enum agi_err check_items(struct agi_dht *d, const struct agi_msg *m)
{
	if (m->n_items == 0 || m->n_items > AGI_BATCH_ITEMS)
		return AGI_E_INVALID;
	for (size_t i = 0; i < m->n_items; i++) {
		const struct agi_item *it = &m->items[i];

		if (it->ns.n > AGI_NAMESPACE_MAX || it->key.n > AGI_KEY_MAX || it->value.n > AGI_VALUE_MAX)
			return AGI_E_TOO_LARGE;
		if (it->key.n == 0 || agi_dht_slot_of(d, it->ns, it->key) != m->slot)
			return AGI_E_INVALID;
		if (!m->is_transfer && agi_stamp_is_refused(d, it->version.hlc, m->seq))
			return AGI_E_CLOCK_SKEW;
	}
	return AGI_OK;
}

/* The highest stamp of what was found stored that is newer than what was offered; 0 = nothing is. The writer's clock
 * is behind another's then: what it wrote now would be overruled by what was written before. */
static uint64_t overruled_by(const struct waiting *w, const struct agi_storage_done *done)
{
	uint8_t offered[AGI_VERSION_BYTES];
	uint64_t highest = 0;

	for (size_t i = 0; done->was && i < w->n; i++) {
		struct agi_cur c = agi_cur_of((struct agi_str){(const char *)done->was[i].version, done->was[i].n});
		uint64_t hlc = agi_cur_u64(&c);

		agi_version_encode(offered, &w->offered[i]);
		if (!done->was[i].is_done && done->was[i].n == AGI_VERSION_BYTES && hlc > highest &&
		    memcmp(done->was[i].version, offered, AGI_VERSION_BYTES) > 0)
			highest = hlc;
	}
	return highest;
}

/* Items whose keys may have been deleted and collected since: who sends them does not know (sweep.h). A deletion
 * is welcome at any age, but a client's is to come after what was written before it, collected or not. */
static size_t leave_out_old(struct agi_dht *d, const struct agi_msg *m, struct agi_item out[AGI_BATCH_ITEMS])
{
	uint64_t floor = agi_slot_find(d, m->slot)->floor;
	size_t n = 0;

	for (size_t i = 0; i < m->n_items; i++)
		if (!floor || (m->items[i].is_tombstone && m->is_transfer) || m->items[i].version.hlc > floor ||
		    AGI_MUTANT(FLOOR_IGNORED))
			out[n++] = m->items[i];
	d->repair.stats.writes_below_floor += m->n_items - n;
	return n;
}

static void on_written(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct waiting *w = arg;
	struct agi_msg out = {.kind = AGI_MSG_WRITE_ACK, .status = done->err};

	if (done->err == AGI_OK)
		out.seq = overruled_by(w, done);
	agi_answer_on(d, w->is_transfer ? AGI_TRAFFIC_BULK : AGI_TRAFFIC_CONTROL, &w->to, w->rpc_id, &out);
	free(w);
}

void agi_replica_on_write(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_WRITE_ACK, .slot = m->slot};
	struct agi_item items[AGI_BATCH_ITEMS];
	struct waiting *w = NULL;
	size_t n = 0;

	out.status = agi_view_admit(d, from, m->slot, m->epoch, &out);
	if (out.status == AGI_OK)
		out.status = check_items(d, m);
	if (out.status == AGI_OK)
		out.status = agi_store_admit(d, m->items, m->n_items);
	if (out.status == AGI_OK && (n = leave_out_old(d, m, items)) < m->n_items) {
		out.floor = agi_slot_find(d, m->slot)->floor;
		out.seq = m->is_transfer ? 0 : out.floor; /* a client's write is given a stamp above it */
		n = m->is_transfer ? n : 0;
	}
	if (out.status == AGI_OK && n) {
		w = wait_for(from, m);
		for (size_t i = 0; i < n && !m->is_transfer; i++)
			agi_stamp_see(d, items[i].version.hlc);
		if (w && agi_items_write(d, m->slot, items, n,
		                         AGI_MUTANT(WRITE_ACK_UNSTORED) ? NULL : on_written, w)) {
			if (AGI_MUTANT(WRITE_ACK_UNSTORED))
				on_written(d, w, &(struct agi_storage_done){.err = AGI_OK});
			return;
		}
		free(w);
		out.status = AGI_E_NOMEM;
	}
	agi_answer(d, from, m, &out);
}

static void on_read(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct waiting *w = arg;
	struct agi_item item;
	struct agi_msg out = {.kind = AGI_MSG_READ_ACK};

	if (done->err == AGI_OK) {
		out.status = agi_item_decode(&item, done->kv[0].key, done->kv[0].value);
		if (out.status == AGI_OK) {
			out.has_item = true;
			out.items = &item;
			out.n_items = 1;
		}
	} else if (done->err != AGI_E_NOT_FOUND) {
		out.status = done->err;
	}
	agi_answer_on(d, AGI_TRAFFIC_CONTROL, &w->to, w->rpc_id, &out);
	free(w);
}

void agi_replica_on_read(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_READ_ACK, .slot = m->slot};
	/* what was acknowledged is seen: that is all a majority needs */
	struct agi_storage_req req = {.kind = AGI_STORAGE_GET, .cf = AGI_CF_ITEMS, .may_lag = true};
	struct waiting *w = NULL;
	struct agi_buf *key;

	out.status = agi_view_admit(d, from, m->slot, m->epoch, &out);
	if (out.status == AGI_OK && (m->ns.n > AGI_NAMESPACE_MAX || m->key.n > AGI_KEY_MAX))
		out.status = AGI_E_TOO_LARGE;
	if (out.status == AGI_OK) {
		key = agi_scratch(d);
		agi_item_key(key, m->slot, m->ns, m->key);
		req.begin = agi_buf_str(key);
		w = key->err ? NULL : wait_for(from, m);
		if (!w || !agi_job_submit(d, &req, on_read, w)) {
			free(w);
			out.status = AGI_E_NOMEM;
		}
	}
	if (out.status != AGI_OK)
		agi_answer(d, from, m, &out);
}
