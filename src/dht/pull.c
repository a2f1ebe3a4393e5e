/* SPDX-License-Identifier: Apache-2.0
 * The taker's side of a transfer, one page after another:
 *
 *   OWN ──something is here──▶ COMPARE ──the same──────────────────────▶ next page
 *    │                            │ ──differs──▶ DROP (mirror) ──▶ FETCH ──▶ WRITE ──┘
 *    └──nothing of ours is behind the cursor──▶ FETCH all ──▶ WRITE ──▶ FETCH … until the source has no more */
#include "dht/transfer.h"

#include <stdlib.h>

enum { BUSY_MS_MAX = 5000 };

static void next_page(struct agi_pull *p);
static void fetch(struct agi_pull *p);

/* --- ends ------------------------------------------------------------------------------------------- */

void agi_pull_cancel(struct agi_pull *p)
{
	if (!p->d)
		return;
	agi_rpc_cancel(p->d, p->rpc);
	if (p->job)
		agi_job_forget(p->d, p->job);
	agi_timer_clear(&p->d->timers, &p->wait);
	agi_buf_free(&p->cursor);
	agi_buf_free(&p->until);
	agi_buf_free(&p->own);
	agi_buf_free(&p->want);
	p->d = NULL;
}

static void end(struct agi_pull *p, enum agi_err err)
{
	struct agi_dht *d = p->d;

	agi_pull_cancel(p);
	p->fn(d, p->arg, err);
}

static void set(struct agi_buf *b, struct agi_str s)
{
	agi_buf_reset(b);
	agi_buf_put_str(b, s);
}

static enum agi_err sticky(const struct agi_pull *p)
{
	return p->cursor.err ? p->cursor.err : p->until.err ? p->until.err : p->own.err ? p->own.err : p->want.err;
}

/* Everything up to `until` is done. */
static void advance(struct agi_pull *p)
{
	enum agi_err err = sticky(p);

	p->s->copy_progress++;
	if (err) {
		end(p, err);
	} else if (p->until.n) {
		set(&p->cursor, agi_buf_str(&p->until));
		next_page(p);
	} else if (!p->is_strong && !AGI_MUTANT(MERGE_NO_REGISTERS)) {
		p->is_strong = true;
		p->has_own_ended = false;
		agi_buf_reset(&p->cursor);
		next_page(p);
	} else {
		end(p, AGI_OK);
	}
}

static void go_on(struct agi_pull *p)
{
	if (p->want.n || p->has_own_ended)
		fetch(p);
	else
		advance(p);
}

/* --- writing ------------------------------------------------------------------------------------------ */

static enum agi_cf cf_of(const struct agi_pull *p) { return p->is_strong ? AGI_CF_STRONG : AGI_CF_ITEMS; }

/* An item's key; the head of a register is longer when it has a lease. */
static enum agi_err decode(const struct agi_pull *p, const struct agi_kv *kv, struct agi_item *item)
{
	enum agi_err e = agi_item_decode(item, kv->key, kv->value);
	struct agi_reg reg;

	if (e || !p->is_strong)
		return e;
	e = agi_reg_decode(&reg, kv->value);
	item->value = reg.value;
	return e;
}

/* Would this node have taken the record from a client? */
static bool is_sane(struct agi_pull *p, const struct agi_kv *kv)
{
	uint32_t slot = p->s->view.slot;
	uint8_t begin[4], end_key[4];
	struct agi_item item;

	agi_slot_range(slot, begin, end_key);
	if (!agi_str_has_prefix(kv->key, (struct agi_str){(const char *)begin, 4}) ||
	    decode(p, kv, &item) != AGI_OK || item.ns.n > AGI_NAMESPACE_MAX ||
	    item.key.n == 0 || item.key.n > AGI_KEY_MAX || item.value.n > AGI_VALUE_MAX ||
	    agi_dht_slot_of(p->d, item.ns, item.key) != slot)
		return false;
	if (!p->is_strong)
		agi_stamp_see(p->d, item.version.hlc);
	return true;
}

static void on_written(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_pull *p = arg;

	(void)d;
	p->job = 0;
	if (done->err != AGI_OK)
		end(p, done->err);
	else
		go_on(p);
}

/* The records of a page become one write. false: the source sends nonsense, or there is no memory. */
static bool write_records(struct agi_pull *p, struct agi_str blob)
{
	struct agi_storage_op ops[AGI_PAGE_ITEMS];
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = ops};
	struct agi_cur c = agi_cur_of(blob);
	struct agi_kv kv;

	while (agi_records_list_next(&c, &kv)) {
		if (req.n_ops == AGI_PAGE_ITEMS || !is_sane(p, &kv))
			return false;
		ops[req.n_ops++] = (struct agi_storage_op){AGI_PUT_NEWER, cf_of(p), kv.key, kv.value};
	}
	if (c.bad || req.n_ops == 0)
		return false;
	p->s->copy_progress++;
	p->d->move.stats.records_in += req.n_ops;
	p->job = agi_job_submit(p->d, &req, on_written, p);
	return p->job != 0;
}

/* --- fetching ------------------------------------------------------------------------------------------- */

static void take_progress(struct agi_pull *p, const struct agi_msg *m)
{
	p->floor = m->floor;
	if (m->floor > p->s->floor)
		p->s->floor = m->floor;
	/* our next leader's rounds, and so versions, go on from the highest any source has promised */
	if (m->is_strong && m->ballot.round > p->s->strong_promised.round && !AGI_MUTANT(ROUND_LOST))
		p->s->strong_promised = m->ballot;
}

/* To be slow on purpose is progress too. */
static void wait_ms(struct agi_pull *p, uint64_t ms)
{
	p->s->copy_progress++;
	agi_timer_set(&p->d->timers, &p->wait, agi_after_ms(p->d, ms < BUSY_MS_MAX ? ms : BUSY_MS_MAX));
}

/* Is the answer one to go on with? Otherwise the pull is over, or waits. */
static bool is_good(struct agi_pull *p, enum agi_err err, const struct agi_msg *m, enum agi_msg_kind kind)
{
	p->rpc = 0;
	if (err == AGI_OK && m->kind == kind && m->status == AGI_E_FULL && p->is_background) {
		wait_ms(p, m->wait_ms ? m->wait_ms : 50);
		return false;
	}
	if (err == AGI_OK && (m->kind != kind || (m->status == AGI_OK && m->is_strong != p->is_strong)))
		err = AGI_E_MALFORMED;
	if (err == AGI_OK)
		err = m->status;
	if (err != AGI_OK)
		end(p, err);
	return err == AGI_OK;
}

/* Keys before the cursor have been dealt with: the source has sent them, or no longer has them. An empty cursor is
 * the end of the page. */
static void drop_wanted_before(struct agi_pull *p, struct agi_str cursor)
{
	struct agi_cur c = agi_cur_of(agi_buf_str(&p->want)), rest = c;
	struct agi_str key, version;

	while (agi_index_next(&c, &key, &version) && (!cursor.n || agi_str_cmp(key, cursor) < 0))
		rest = c;
	if (rest.n)
		memmove(p->want.p, rest.p, rest.n);
	p->want.n = rest.n;
}

/* Takes note of where the source's page ended; false when that leads nowhere. */
static bool move_on(struct agi_pull *p, const struct agi_msg *m)
{
	struct agi_str next = m->has_more ? m->cursor : (struct agi_str){"", 0};
	size_t wanted = p->want.n;

	if (m->has_more && agi_str_cmp(next, agi_buf_str(&p->cursor)) <= 0)
		return false;
	if (p->has_own_ended) {
		set(&p->cursor, next);
		p->has_own_ended = m->has_more;
		return true;
	}
	drop_wanted_before(p, next);
	return p->want.n < wanted;
}

static void on_items(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_pull *p = arg;

	(void)which, (void)from;
	if (!is_good(p, err, m, AGI_MSG_SLOT_ITEMS))
		return;
	take_progress(p, m);
	agi_bucket_take(&d->move.in, m->blob.n, d->now.mono_us);
	agi_rate_add(&d->move.rate_in, m->blob.n, d->now.mono_us);
	d->move.stats.bytes_in += m->blob.n;
	d->move.stats.bytes_sealed += p->is_background ? 0 : m->blob.n;
	if (!move_on(p, m))
		end(p, AGI_E_MALFORMED); /* it would never end */
	else if (m->blob.n == 0)
		go_on(p);
	else if (!write_records(p, m->blob))
		end(p, AGI_E_MALFORMED);
}

/* What is wanted of this page, or everything from the cursor on. */
static void fetch(struct agi_pull *p)
{
	struct agi_dht *d = p->d;
	struct agi_msg m = {.kind = AGI_MSG_SLOT_PULL, .slot = p->s->view.slot, .epoch = p->epoch,
	                    .is_strong = p->is_strong, .is_background = p->is_background};
	struct agi_peer to = agi_hosts_peer(d, &p->from);
	uint64_t wait_us = p->is_background ? agi_bucket_wait_us(&d->move.in, d->now.mono_us) : 0;
	struct agi_cur c = agi_cur_of(agi_buf_str(&p->want));
	struct agi_str version;

	if (wait_us) {
		d->move.stats.throttled++;
		wait_ms(p, wait_us / 1000 + 1);
		return;
	}
	m.cursor = agi_buf_str(&p->cursor);
	if (p->want.n) {
		m.blob = agi_buf_str(&p->want);
		(void)agi_index_next(&c, &m.cursor, &version);
		m.end = agi_buf_str(&p->until);
	} else {
		agi_buf_reset(&p->until);
	}
	p->rpc = agi_rpc_ask(d, &to, AGI_TRAFFIC_BULK, &m, 5 * AGI_RPC_TIMEOUT_MS, on_items, p, 0);
	if (!p->rpc)
		end(p, AGI_E_NOMEM);
}

/* --- comparing --------------------------------------------------------------------------------------------- */

static bool is_in(const struct agi_pull *p, struct agi_str key)
{
	return agi_str_cmp(key, agi_buf_str(&p->cursor)) >= 0 &&
	       (!p->until.n || agi_str_cmp(key, agi_buf_str(&p->until)) < 0);
}

static bool may_go(const struct agi_pull *p, struct agi_str version)
{
	struct agi_cur c = agi_cur_of(version);

	return p->is_strong || !p->is_stale || agi_cur_u64(&c) <= p->floor;
}

/* Both lists are in order of keys. What is newer there is wanted, what is only here is gone. */
static bool diff(struct agi_pull *p, struct agi_str theirs, struct agi_buf *gone)
{
	struct agi_cur a = agi_cur_of(agi_buf_str(&p->own)), b = agi_cur_of(theirs);
	struct agi_str ak, av, bk, bv, last = {NULL, 0};
	bool has_a = agi_index_next(&a, &ak, &av), has_b = agi_index_next(&b, &bk, &bv);

	while (has_a || has_b) {
		int c = !has_a ? 1 : !has_b ? -1 : agi_str_cmp(ak, bk);

		if (has_b && (!is_in(p, bk) || (last.n && agi_str_cmp(last, bk) >= 0)))
			return false;
		if (c < 0) {
			if (is_in(p, ak) && may_go(p, av))
				agi_index_put(gone, ak, av);
		} else if (c > 0 || agi_str_cmp(av, bv) < 0) {
			agi_index_put(&p->want, bk, bv);
		}
		if (c >= 0) {
			last = bk;
			has_b = agi_index_next(&b, &bk, &bv);
		}
		if (c <= 0)
			has_a = agi_index_next(&a, &ak, &av);
	}
	return !b.bad;
}

static bool drop(struct agi_pull *p, struct agi_str gone)
{
	struct agi_storage_op ops[AGI_COMPARE_ITEMS];
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = ops};
	struct agi_cur c = agi_cur_of(gone);
	struct agi_str key, version;

	while (agi_index_next(&c, &key, &version) && req.n_ops < AGI_COMPARE_ITEMS)
		ops[req.n_ops++] = (struct agi_storage_op){AGI_DELETE_IF, cf_of(p), key, version};
	p->job = agi_job_submit(p->d, &req, on_written, p);
	return p->job != 0;
}

static void on_index(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_pull *p = arg;
	struct agi_buf gone;

	(void)d, (void)which, (void)from;
	if (!is_good(p, err, m, AGI_MSG_SLOT_INDEX))
		return;
	p->is_comparing = false;
	take_progress(p, m);
	if (m->has_item) {
		advance(p);
		return;
	}
	if (m->has_more && (!is_in(p, m->cursor) || agi_str_eq(m->cursor, agi_buf_str(&p->cursor)))) {
		end(p, AGI_E_MALFORMED);
		return;
	}
	if (m->has_more) /* it has more here than fits: a shorter page */
		set(&p->until, m->cursor);
	agi_buf_init(&gone, 0);
	agi_buf_reset(&p->want);
	if (!diff(p, m->blob, &gone) || sticky(p) || gone.err)
		end(p, AGI_E_MALFORMED);
	else if (!p->is_mirror || !gone.n)
		go_on(p);
	else if (!drop(p, agi_buf_str(&gone)))
		end(p, AGI_E_NOMEM);
	agi_buf_free(&gone);
}

static void compare(struct agi_pull *p)
{
	struct agi_msg m = {.kind = AGI_MSG_SLOT_COMPARE, .slot = p->s->view.slot, .epoch = p->epoch,
	                    .is_strong = p->is_strong, .is_background = p->is_background};
	struct agi_peer to = agi_hosts_peer(p->d, &p->from);

	m.cursor = agi_buf_str(&p->cursor);
	m.end = agi_buf_str(&p->until);
	agi_index_hash(&m.target, agi_buf_str(&p->own));
	p->is_comparing = true;
	p->rpc = agi_rpc_ask(p->d, &to, AGI_TRAFFIC_BULK, &m, 5 * AGI_RPC_TIMEOUT_MS, on_index, p, 0);
	if (!p->rpc)
		end(p, AGI_E_NOMEM);
}

static void on_own(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_pull *p = arg;

	(void)d;
	p->job = 0;
	if (done->err != AGI_OK) {
		end(p, done->err);
		return;
	}
	agi_buf_reset(&p->own);
	agi_buf_reset(&p->want);
	agi_buf_reset(&p->until);
	for (size_t i = 0; i < done->n; i++)
		agi_index_put(&p->own, done->kv[i].key, done->kv[i].value);
	if (done->has_more && done->n) {
		agi_buf_put_str(&p->until, done->kv[done->n - 1].key);
		agi_buf_u8(&p->until, 0);
	}
	p->has_own_ended = done->n == 0;
	if (sticky(p))
		end(p, sticky(p));
	else if (p->has_own_ended)
		fetch(p);
	else
		compare(p);
}

static void next_page(struct agi_pull *p)
{
	uint8_t begin[4], end_key[4];
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN, .cf = cf_of(p), .max_items = AGI_COMPARE_ITEMS,
	                              .max_bytes = AGI_PAGE_BYTES / 2, .value_bytes = AGI_VERSION_BYTES};

	agi_slot_range(p->s->view.slot, begin, end_key);
	if (!p->cursor.n)
		agi_buf_put(&p->cursor, begin, 4);
	req.begin = agi_buf_str(&p->cursor);
	req.end = (struct agi_str){(const char *)end_key, 4};
	p->job = sticky(p) ? 0 : agi_job_submit(p->d, &req, on_own, p);
	if (!p->job)
		end(p, AGI_E_NOMEM);
}

static void on_wait(struct agi_dht *d, void *arg)
{
	struct agi_pull *p = arg;

	(void)d;
	if (p->is_comparing)
		compare(p);
	else
		fetch(p);
}

static void on_begin(struct agi_dht *d, void *arg)
{
	struct agi_pull *p = arg;

	(void)d;
	p->wait.fn = on_wait;
	next_page(p);
}

/* From the loop: whoever starts a pull is not called back before it has returned. */
void agi_pull_start(struct agi_pull *p)
{
	agi_buf_init(&p->cursor, 0);
	agi_buf_init(&p->until, 0);
	agi_buf_init(&p->own, 0);
	agi_buf_init(&p->want, 0);
	p->wait = (struct agi_timer){.fn = on_begin, .arg = p};
	agi_timer_set(&p->d->timers, &p->wait, p->d->now.mono_us);
}
