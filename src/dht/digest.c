/* SPDX-License-Identifier: Apache-2.0
 * What the members of a slot hold, read from their disks and boiled down to a hash each: members that agree show the
 * same. Deleted and expired items do not count: members forget them at different times.
 *
 *   digest   be64 items ‖ be64 bytes ‖ 32 bytes, then the same of the registers
 *
 * The hash goes over the records in order of keys, each hashed together with the hash before it. Of a register
 * version, lease and value count; who led when it was accepted may differ between members. */
#include <stdlib.h>

#include "dht/care.h"

enum { DIGEST_MS = 60000, DIGESTS_MAX = 64, PART_BYTES = 8 + 8 + 32 };

/* --- a member's side ---------------------------------------------------------------------------- */
struct reading {
	struct agi_peer to;
	uint64_t rpc_id;
	uint32_t slot;
	uint64_t epoch, as_of_ms;
	bool is_strong;                /* has come to the registers */
	struct agi_holding_part part[2];
	struct agi_buf cursor;
};

static void read_page(struct agi_dht *d, struct reading *r);

static void finish(struct agi_dht *d, struct reading *r, enum agi_err status)
{
	struct agi_msg out = {.kind = AGI_MSG_DIGESTED, .slot = r->slot, .epoch = r->epoch, .status = status};
	struct agi_buf b;

	agi_buf_init(&b, 0);
	for (int i = 0; i < 2; i++) {
		agi_buf_u64(&b, r->part[i].records);
		agi_buf_u64(&b, r->part[i].bytes);
		agi_buf_put(&b, r->part[i].hash, sizeof r->part[i].hash);
	}
	out.blob = agi_buf_str(&b);
	if (b.err)
		out.status = b.err;
	agi_answer_on(d, AGI_TRAFFIC_CONTROL, &r->to, r->rpc_id, &out);
	agi_buf_free(&b);
	agi_buf_free(&r->cursor);
	free(r);
	d->n_digests--;
}

static void add(struct agi_holding_part *p, struct agi_str key, struct agi_str head, struct agi_str value)
{
	struct agi_str list[] = {{(const char *)p->hash, sizeof p->hash}, key, head, value};

	agi_blake2b_256(p->hash, list, 4);
	p->records++;
	p->bytes += key.n + head.n + value.n;
}

static enum agi_err add_item(struct reading *r, const struct agi_kv *kv)
{
	struct agi_item item;
	enum agi_err e = agi_item_decode(&item, kv->key, kv->value);

	if (!e && !item.is_tombstone && (item.expires_ms == 0 || item.expires_ms > r->as_of_ms))
		add(&r->part[0], kv->key, kv->value, (struct agi_str){"", 0});
	return e;
}

static enum agi_err add_register(struct reading *r, const struct agi_kv *kv)
{
	struct agi_reg reg;
	uint8_t head[16];
	enum agi_err e = agi_reg_decode(&reg, kv->value);

	if (e || reg.is_tombstone)
		return e;
	for (int i = 0; i < 8; i++) {
		head[i] = (uint8_t)(reg.version >> (56 - 8 * i));
		head[8 + i] = (uint8_t)(reg.lease >> (56 - 8 * i));
	}
	add(&r->part[1], kv->key, (struct agi_str){(const char *)head, sizeof head}, reg.value);
	return AGI_OK;
}

static void on_page(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct reading *r = arg;
	struct agi_slot *s = agi_slot_find(d, r->slot);
	enum agi_err e = done->err;

	for (size_t i = 0; !e && i < done->n; i++)
		e = r->is_strong ? add_register(r, &done->kv[i]) : add_item(r, &done->kv[i]);
	if (!e && (!s || s->view.epoch != r->epoch || s->phase != AGI_VIEW_ACTIVE))
		e = AGI_E_STALE_EPOCH;
	if (e) {
		finish(d, r, e);
		return;
	}
	agi_buf_reset(&r->cursor);
	if (done->has_more && done->n) {
		agi_buf_put_str(&r->cursor, done->kv[done->n - 1].key);
		agi_buf_u8(&r->cursor, 0);
	} else if (r->is_strong) {
		finish(d, r, AGI_OK);
		return;
	} else {
		r->is_strong = true;
	}
	read_page(d, r);
}

static void read_page(struct agi_dht *d, struct reading *r)
{
	uint8_t begin[4], end[4];
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN,
	                              .cf = r->is_strong ? AGI_CF_STRONG : AGI_CF_ITEMS,
	                              .max_items = AGI_PAGE_ITEMS,
	                              .max_bytes = AGI_PAGE_BYTES};

	agi_slot_range(r->slot, begin, end);
	req.begin = r->cursor.n ? agi_buf_str(&r->cursor) : (struct agi_str){(const char *)begin, 4};
	req.end = (struct agi_str){(const char *)end, 4};
	if (r->cursor.err || !agi_job_submit(d, &req, on_page, r))
		finish(d, r, AGI_E_NOMEM);
}

void agi_digest_on(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_DIGESTED, .slot = m->slot};
	struct reading *r;

	out.status = agi_view_admit(d, from, m->slot, m->epoch, &out);
	if (out.status == AGI_OK && d->n_digests >= DIGESTS_MAX)
		out.status = AGI_E_FULL;
	r = out.status == AGI_OK ? calloc(1, sizeof *r) : NULL;
	if (!r) {
		out.status = out.status ? out.status : AGI_E_NOMEM;
		agi_answer(d, from, m, &out);
		return;
	}
	*r = (struct reading){.to = *from, .rpc_id = m->rpc_id, .slot = m->slot, .epoch = m->epoch,
	                      .as_of_ms = m->floor};
	agi_buf_init(&r->cursor, 0);
	d->n_digests++;
	read_page(d, r);
}

/* --- asking all members ---------------------------------------------------------------------------- */
struct digest_call {
	struct agi_dht *d;
	uint64_t call_id;
	uint32_t slot;
	struct agi_view view;
	uint64_t rpc[AGI_REPLICAS_MAX];
	uint32_t open;
	struct agi_holding digests[AGI_REPLICAS_MAX];
	struct agi_vwait wait;
};

static void reply(struct digest_call *dc)
{
	struct agi_result res = {.kind = AGI_CALL_DIGEST, .slot = dc->slot, .view = dc->view,
	                         .digests = dc->digests, .n_digests = dc->view.n_members};

	agi_call_reply(dc->d, dc->call_id, &res);
	free(dc);
}

static enum agi_err take(struct agi_holding *out, const struct agi_msg *m)
{
	struct agi_cur c = agi_cur_of(m->blob);

	if (m->kind != AGI_MSG_DIGESTED)
		return AGI_E_MALFORMED;
	if (m->status != AGI_OK)
		return m->status;
	for (int i = 0; i < 2; i++) {
		out->part[i].records = agi_cur_u64(&c);
		out->part[i].bytes = agi_cur_u64(&c);
		agi_cur_copy(&c, out->part[i].hash, sizeof out->part[i].hash);
	}
	return c.bad || c.n ? AGI_E_MALFORMED : AGI_OK;
}

static void on_answer(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err, const struct agi_peer *from,
                      const struct agi_msg *m)
{
	struct digest_call *dc = arg;

	(void)from;
	dc->rpc[which] = 0;
	dc->digests[which].err = err ? err : take(&dc->digests[which], m);
	if (!err && m->view.epoch)
		agi_view_learn_from(d, m);
	if (--dc->open == 0)
		reply(dc);
}

static void ask(struct digest_call *dc)
{
	struct agi_dht *d = dc->d;
	struct agi_msg m = {.kind = AGI_MSG_DIGEST, .slot = dc->slot, .epoch = dc->view.epoch,
	                    .floor = d->now.wall_ms + d->cfg.max_skew_ms};

	dc->open = 1; /* not done before everybody was asked */
	for (uint32_t i = 0; i < dc->view.n_members; i++) {
		struct agi_peer to = agi_hosts_peer(d, &dc->view.members[i]);

		dc->digests[i].node = to.id;
		dc->digests[i].err = AGI_E_UNREACHABLE;
		if (agi_hosts_is_up(d, &to.id))
			dc->rpc[i] = agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m, DIGEST_MS, on_answer, dc, i);
		dc->open += dc->rpc[i] != 0;
	}
	if (--dc->open == 0)
		reply(dc);
}

static void on_view(struct agi_dht *d, void *arg, enum agi_err err)
{
	struct digest_call *dc = arg;
	struct agi_slot *s = agi_slot_find(d, dc->slot);

	if (err || !s) {
		agi_call_fail(d, dc->call_id, AGI_CALL_DIGEST, err ? err : AGI_E_NO_VIEW, "nobody who holds the slot answers");
		free(dc);
		return;
	}
	dc->view = s->view;
	ask(dc);
}

static void cancel(struct agi_dht *d, void *op)
{
	struct digest_call *dc = op;

	for (uint32_t i = 0; i < AGI_REPLICAS_MAX; i++)
		agi_rpc_cancel(d, dc->rpc[i]);
	agi_vfetch_cancel(d, &dc->wait);
	free(dc);
}

void agi_digest_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call)
{
	struct digest_call *dc = call->slot < d->slots.n && d->member.is_joined ? calloc(1, sizeof *dc) : NULL;

	if (!dc) {
		agi_call_fail(d, call_id, call->kind, !d->member.is_joined ? AGI_E_NOT_READY : AGI_E_INVALID,
		              !d->member.is_joined ? d->member.waits_for : "no such slot");
		return;
	}
	*dc = (struct digest_call){.d = d, .call_id = call_id, .slot = call->slot};
	dc->wait.fn = on_view;
	dc->wait.arg = dc;
	if (agi_call_open(d, call_id, call->kind, dc, cancel) != AGI_OK)
		free(dc);
	else
		agi_vfetch_wait(d, dc->slot, &dc->wait); /* also when a view is known: its newest is wanted */
}
