/* SPDX-License-Identifier: Apache-2.0
 * One slot pulled from one peer:
 *
 *   leaves ─▶ pause ─▶ leaves ─▶ for items, then registers, if leaves of that tree differ:
 *                                  ┌─▶ read own records until the list is full or the slot ends ─┐
 *                                  │   ┌─▶ DIFF_PULL ─▶ write what came ─┐ (while has_more)      │
 *                                  └───┴──────────────────────────────────┴──────────────────────┘
 *
 * Nothing is held on to across steps but the slot's number: before each, what was so is looked at again. */
#include "dht/repair.h"

#include <stdlib.h>

enum { LOOK_AGAIN_MS = 300 }; /* many times what a write is on its way */

static void read_own(struct agi_repair_pull *p);
static void ask_leaves(struct agi_repair_pull *p);
static void pull(struct agi_repair_pull *p);

static struct agi_dht *dht_of(const struct agi_repair_pull *p) { return p->peer->d; }

static void release(struct agi_repair_pull *p)
{
	struct agi_dht *d = dht_of(p);

	agi_rpc_cancel(d, p->rpc);
	if (p->job)
		agi_job_forget(d, p->job);
	agi_timer_clear(&d->timers, &p->pace);
	agi_buf_free(&p->begin);
	agi_buf_free(&p->end);
	agi_buf_free(&p->own);
	agi_buf_free(&p->next);
}

void agi_repair_pull_abort(struct agi_repair_peer *peer)
{
	release(&peer->pull);
	peer->is_pulling = false;
	peer->d->repair.n_pulls--;
}

static void finish(struct agi_repair_pull *p, bool is_whole)
{
	release(p);
	agi_repair_pulled(p->peer, is_whole && !p->is_partial);
}

/* Later, from the loop. */
static void then(struct agi_repair_pull *p, void (*step)(struct agi_repair_pull *p), uint64_t due_us)
{
	p->step = step;
	agi_timer_set(&dht_of(p)->timers, &p->pace, due_us);
}

static struct agi_slot *slot_of(const struct agi_repair_pull *p)
{
	struct agi_dht *d = dht_of(p);

	return agi_repair_may(d, p->slot, p->epoch, &p->peer->id) ? agi_slot_find(d, p->slot) : NULL;
}

static void on_pace(struct agi_dht *d, void *arg)
{
	struct agi_repair_pull *p = arg;

	(void)d;
	if (slot_of(p))
		p->step(p);
	else
		finish(p, false);
}

/* --- own records -------------------------------------------------------------------------------------- */

static void set_range(struct agi_buf *b, uint32_t slot, bool is_end)
{
	uint8_t begin[4], end[4];

	agi_slot_range(slot, begin, end);
	agi_buf_reset(b);
	agi_buf_put(b, is_end ? end : begin, 4);
}

static bool is_at_end(const struct agi_repair_pull *p)
{
	struct agi_buf end;
	bool is_it;

	agi_buf_init(&end, 0);
	set_range(&end, p->slot, true);
	is_it = agi_str_eq(agi_buf_str(&p->end), agi_buf_str(&end));
	agi_buf_free(&end);
	return is_it;
}

/* Begins a new list where the last one ended. */
static void begin_list(struct agi_repair_pull *p)
{
	struct agi_dht *d = dht_of(p);

	for (int i = 0; i < AGI_NONCE_BYTES; i++)
		p->nonce[i] = (uint8_t)agi_prng_u64(&d->prng);
	agi_buf_reset(&p->own);
	agi_buf_put(&p->own, p->nonce, sizeof p->nonce);
	p->n_own = 0;
	agi_buf_reset(&p->end);
	agi_buf_put_str(&p->end, agi_buf_str(&p->begin));
	read_own(p);
}

static void begin_kind(struct agi_repair_pull *p, bool is_strong)
{
	p->is_strong = is_strong;
	if (!p->mask[is_strong]) {
		if (is_strong)
			finish(p, true);
		else
			begin_kind(p, true);
		return;
	}
	set_range(&p->begin, p->slot, false);
	begin_list(p);
}

static void take_own(struct agi_repair_pull *p, const struct agi_kv *kv)
{
	uint8_t wire[AGI_DIGEST_BYTES];
	struct agi_merkle_hash key;
	struct agi_digest digest;

	agi_buf_reset(&p->end);
	agi_buf_put_str(&p->end, kv->key);
	agi_buf_u8(&p->end, 0); /* the next key after it */
	agi_merkle_key(&key, &dht_of(p)->member.cluster, kv->key);
	if (!(p->mask[p->is_strong] >> agi_merkle_leaf_of(&key) & 1) || kv->value.n < AGI_VERSION_BYTES)
		return;
	agi_digest_of(&digest, p->nonce, kv->key, (const uint8_t *)kv->value.p);
	agi_digest_encode(wire, &digest);
	agi_buf_put(&p->own, wire, sizeof wire);
	p->n_own++;
}

static void on_own(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_repair_pull *p = arg;
	uint64_t bytes = 0;
	size_t i;

	p->job = 0;
	if (done->err != AGI_OK || !slot_of(p)) {
		finish(p, false);
		return;
	}
	for (i = 0; i < done->n && p->n_own < AGI_REPAIR_DIGESTS; i++) {
		take_own(p, &done->kv[i]);
		bytes += done->kv[i].key.n + done->kv[i].value.n;
	}
	if (i == done->n && !done->has_more)
		set_range(&p->end, p->slot, true);
	if (p->end.err || p->own.err)
		finish(p, false);
	else if (p->n_own < AGI_REPAIR_DIGESTS && !is_at_end(p))
		then(p, read_own, agi_repair_pace(d, bytes));
	else
		then(p, pull, agi_repair_pace(d, bytes));
}

static void read_own(struct agi_repair_pull *p)
{
	uint8_t begin[4], end[4];
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN,
	                              .cf = p->is_strong ? AGI_CF_STRONG : AGI_CF_ITEMS,
	                              .begin = agi_buf_str(&p->end), .end = {(const char *)end, 4},
	                              .max_items = AGI_REPAIR_SCAN_ITEMS, .max_bytes = AGI_PAGE_BYTES};

	agi_slot_range(p->slot, begin, end);
	p->job = agi_job_submit(dht_of(p), &req, on_own, p);
	if (!p->job)
		finish(p, false);
}

/* --- the peer's records ---------------------------------------------------------------------------------- */

/* The page has been taken: the rest of this list, the next list, the other kind, or the end. */
static void page_done(struct agi_repair_pull *p)
{
	if (p->has_more) {
		then(p, pull, agi_repair_pace(dht_of(p), 0));
		return;
	}
	if (is_at_end(p)) {
		if (p->is_strong)
			finish(p, true);
		else
			begin_kind(p, true);
		return;
	}
	agi_buf_reset(&p->begin);
	agi_buf_put_str(&p->begin, agi_buf_str(&p->end));
	begin_list(p);
}

static void on_written(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_repair_pull *p = arg;

	(void)d;
	p->job = 0;
	if (done->err != AGI_OK || !slot_of(p))
		finish(p, false);
	else
		page_done(p);
}

static bool is_sane(struct agi_dht *d, const struct agi_repair_pull *p, const struct agi_item *it)
{
	return it->key.n > 0 && it->key.n <= AGI_KEY_MAX && it->ns.n <= AGI_NAMESPACE_MAX &&
	       it->value.n <= AGI_VALUE_MAX && agi_dht_slot_of(d, it->ns, it->key) == p->slot;
}

static void take_registers(struct agi_repair_pull *p, const struct agi_msg *m)
{
	struct agi_dht *d = dht_of(p);

	for (size_t i = 0; i < m->n_items; i++)
		if (!is_sane(d, p, &m->items[i]) ||
		    !agi_repair_register(d, p->slot, m->items[i].ns, m->items[i].key))
			p->is_partial = true;
	page_done(p);
}

/* A stamp from the future is refused when a client's write comes in (replica.c). What a member has accepted, and
 * perhaps acknowledged, all of them get. */
static void take_items(struct agi_repair_pull *p, const struct agi_msg *m)
{
	struct agi_dht *d = dht_of(p);
	struct agi_item *items = calloc(m->n_items + 1, sizeof *items);
	uint64_t bytes = 0;
	size_t n = 0;

	for (size_t i = 0; items && i < m->n_items; i++) {
		if (!is_sane(d, p, &m->items[i])) {
			p->is_partial = true;
			continue;
		}
		items[n++] = m->items[i];
		bytes += m->items[i].ns.n + m->items[i].key.n + m->items[i].value.n;
	}
	d->repair.stats.items += n;
	d->repair.stats.bytes += bytes;
	(void)agi_repair_pace(d, bytes);
	if (!items)
		finish(p, false);
	else if (n == 0)
		page_done(p);
	else if (!(p->job = agi_items_write(d, p->slot, items, n, on_written, p)))
		finish(p, false);
	free(items);
}

static void on_items(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_repair_pull *p = arg;
	struct agi_slot *s = slot_of(p);

	(void)d, (void)which, (void)from;
	p->rpc = 0;
	if (!s || err != AGI_OK || m->kind != AGI_MSG_DIFF_ITEMS || m->status != AGI_OK ||
	    m->is_strong != p->is_strong || m->n_items > AGI_PAGE_ITEMS ||
	    (m->has_more && agi_str_cmp(m->cursor, agi_buf_str(&p->next)) <= 0)) {
		finish(p, false);
		return;
	}
	if (p->sweeps != s->sweeps) { /* tombstones were dropped since we asked: this may be what they covered */
		then(p, pull, agi_after_ms(d, LOOK_AGAIN_MS));
		return;
	}
	p->has_more = m->has_more;
	if (m->has_more) {
		agi_buf_reset(&p->next);
		agi_buf_put_str(&p->next, m->cursor);
	}
	if (p->is_strong)
		take_registers(p, m);
	else
		take_items(p, m);
}

static void pull(struct agi_repair_pull *p)
{
	struct agi_dht *d = dht_of(p);
	struct agi_peer to = agi_hosts_peer(d, &p->peer->id);
	struct agi_msg m = {.kind = AGI_MSG_DIFF_PULL, .slot = p->slot, .epoch = p->epoch,
	                    .is_strong = p->is_strong, .mask = p->mask[p->is_strong],
	                    .end = agi_buf_str(&p->end), .hashes = agi_buf_str(&p->own)};

	if (!p->has_more) {
		agi_buf_reset(&p->next);
		agi_buf_put_str(&p->next, agi_buf_str(&p->begin));
	}
	m.cursor = agi_buf_str(&p->next);
	p->sweeps = agi_slot_find(d, p->slot)->sweeps;
	d->repair.stats.hash_bytes += m.hashes.n;
	p->rpc = p->next.err || p->begin.err ? 0
	                                     : agi_rpc_ask(d, &to, AGI_TRAFFIC_BULK, &m, AGI_REPAIR_TIMEOUT_MS,
	                                                   on_items, p, 0);
	if (!p->rpc)
		finish(p, false);
}

/* --- leaves ------------------------------------------------------------------------------------------------ */

static void on_leaves(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                      const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_repair_pull *p = arg;
	struct agi_slot *s = slot_of(p);
	struct agi_merkle theirs[2];

	(void)which, (void)from;
	p->rpc = 0;
	if (!s || err != AGI_OK || m->kind != AGI_MSG_LEAVES || m->status != AGI_OK ||
	    m->hashes.n != sizeof theirs || s->tree.state != AGI_TREE_KNOWN) {
		finish(p, false);
		return;
	}
	d->repair.stats.hash_bytes += m->hashes.n;
	memcpy(theirs, m->hashes.p, sizeof theirs);
	for (int i = 0; i < 2; i++) {
		uint64_t mask = agi_merkle_diff(i ? s->tree.strong : s->tree.items, &theirs[i]);

		p->mask[i] = p->has_looked ? p->mask[i] & mask : mask;
	}
	if (!p->mask[0] && !p->mask[1]) {
		finish(p, true);
	} else if (!p->has_looked) {
		p->has_looked = true;
		then(p, ask_leaves, agi_after_ms(d, LOOK_AGAIN_MS));
	} else {
		begin_kind(p, false);
	}
}

static void ask_leaves(struct agi_repair_pull *p)
{
	struct agi_dht *d = dht_of(p);
	struct agi_peer to = agi_hosts_peer(d, &p->peer->id);
	struct agi_msg m = {.kind = AGI_MSG_LEAVES_GET, .slot = p->slot, .epoch = p->epoch};

	p->rpc = agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, on_leaves, p, 0);
	if (!p->rpc)
		finish(p, false);
}

void agi_repair_pull_begin(struct agi_repair_peer *peer)
{
	struct agi_repair_pull *p = &peer->pull;

	*p = (struct agi_repair_pull){.peer = peer, .slot = peer->slot[peer->at], .epoch = peer->epoch[peer->at]};
	p->pace = (struct agi_timer){.fn = on_pace, .arg = p};
	agi_buf_init(&p->begin, 0);
	agi_buf_init(&p->end, 0);
	agi_buf_init(&p->own, 0);
	agi_buf_init(&p->next, 0);
	then(p, ask_leaves, peer->d->now.mono_us);
}
