/* SPDX-License-Identifier: Apache-2.0
 * Coordinator of put, get, delete and hint replay: asks all members of the key's slot under the slot's
 * epoch, replies as soon as the level is reached, and afterwards puts right what it saw to be wrong (hints
 * for members that did not answer a write, newer items for members that were behind in a read).
 *
 *   NEED_VIEW ──▶ ASKING ──won──▶ replied ──▶ settling (stragglers) ──▶ gone
 *       ▲            │lost
 *       └─ retry ◀───┤ view moved, slot changing, or a newer view found
 *                    └──▶ replied with the reason
 *
 * A write keeps its version over retries, so that repeating it changes nothing; but when a member holds something newer
 * already, it is given a higher one: a write that is acknowledged is never overruled by one acknowledged before it.
 *
 * Several items of one slot may be written as one: with one message to each member and one version. */
#include <stdlib.h>

#include "dht/state.h"

enum op_kind { OP_PUT, OP_GET, OP_DELETE, OP_REWRITE };
enum { RETRY_MIN_MS = 5, RETRY_MAX_MS = 80 };

struct agi_kvop {
	struct agi_dht *d;
	enum op_kind kind;
	bool is_reading;           /* GET; first half of DELETE */
	bool has_call;             /* somebody waits for call_id */
	bool has_replied;
	bool must_retry, has_refetched;
	uint64_t overruled_by;     /* a stamp some member had stored already; 0 = none */
	uint64_t above;            /* the one ours was chosen to overrule */
	uint64_t call_id;
	enum agi_level level;
	struct agi_item item;      /* what is written; ns and key of what is read (points into bytes) */
	char *bytes;
	struct agi_item *items;    /* all that is written: &item, or a block of its own */
	size_t n_items;
	uint32_t slot;
	uint64_t ttl_ms;
	struct agi_view view;      /* of this round */
	struct agi_gather g;
	struct agi_version seen[AGI_REPLICAS_MAX]; /* reads: what each member had; hlc 0 = nothing */
	struct agi_item best;      /* newest item read; its value is in best_bytes */
	struct agi_buf best_bytes;
	bool has_best;
	enum agi_err last_status;
	struct agi_id target;      /* REWRITE */
	agi_kv_done_fn *fn;
	void *arg;
	uint32_t attempts;
	uint64_t deadline_us;
	struct agi_timer deadline, retry;
	struct agi_vwait wait;
	TAILQ_ENTRY(agi_kvop) entry;
};

static void attempt(struct agi_kvop *op);

static void cancel_asked(struct agi_kvop *op)
{
	for (uint32_t i = 0; i < op->g.n; i++)
		agi_rpc_cancel(op->d, op->g.rpc[i]);
}

static void destroy(struct agi_kvop *op)
{
	struct agi_dht *d = op->d;

	cancel_asked(op);
	agi_vfetch_cancel(d, &op->wait);
	agi_timer_clear(&d->timers, &op->deadline);
	agi_timer_clear(&d->timers, &op->retry);
	agi_buf_free(&op->best_bytes);
	if (op->items != &op->item)
		free(op->items);
	TAILQ_REMOVE(&d->kvops, op, entry);
	d->n_kvops--;
	free(op->bytes);
	agi_pool_put(&d->pools.kvop, op);
}

static bool is_live(const struct agi_dht *d, const struct agi_item *it)
{
	return !it->is_tombstone && (it->expires_ms == 0 || it->expires_ms > d->now.wall_ms);
}

static enum agi_call_kind call_kind(const struct agi_kvop *op)
{
	return op->kind == OP_PUT ? AGI_CALL_PUT : op->kind == OP_GET ? AGI_CALL_GET : AGI_CALL_DELETE;
}

/* --- replying ------------------------------------------------------------------------------------- */

static void reply(struct agi_kvop *op, enum agi_err err, const char *why)
{
	struct agi_result res = {.kind = call_kind(op), .err = err, .slot = op->slot,
	                         .acks = op->g.yes, .needed = op->g.need};

	op->has_replied = true;
	agi_timer_clear(&op->d->timers, &op->deadline);
	if (op->kind == OP_REWRITE) {
		op->fn(op->d, op->arg, err);
		return;
	}
	if (!op->has_call)
		return;
	op->has_call = false;
	res.found = op->has_best && is_live(op->d, &op->best);
	if (op->kind == OP_GET) {
		res.value = res.found ? op->best.value : (struct agi_str){"", 0};
		res.version = op->best.version;
	} else {
		res.version = op->item.version;
	}
	if (err == AGI_OK && op->kind == OP_GET && !res.found)
		res.err = AGI_E_NOT_FOUND;
	if (why)
		agi_fail(&res.why, err, "%s", why);
	agi_call_reply(op->d, op->call_id, &res);
}

static void fail(struct agi_kvop *op, enum agi_err err)
{
	struct agi_why why = {""};

	if (err == AGI_E_NO_QUORUM)
		agi_fail(&why, err, "%u of %u replicas of slot %u answered, %u needed%s", op->g.yes, op->g.n,
		         op->slot, op->g.need,
		         !op->is_reading && op->g.yes ? "; the write may still take effect" : "");
	else if (err == AGI_E_TIMEOUT && !op->is_reading)
		agi_fail(&why, err, "slot %u: %u of %u replicas confirmed in time, %u needed; the write may "
		                    "still take effect",
		         op->slot, op->g.yes, op->g.n, op->g.need);
	else
		agi_fail(&why, err, "slot %u: %s", op->slot, agi_err_text(err));
	reply(op, err, why.text);
	destroy(op);
}

/* --- afterwards ------------------------------------------------------------------------------------- */

static void on_repaired(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                        const struct agi_peer *from, const struct agi_msg *m)
{
	(void)d, (void)arg, (void)which, (void)err, (void)from, (void)m;
}

/* Members that answered a read with less than the newest get the newest. */
static void repair(struct agi_kvop *op)
{
	if (!op->has_best)
		return;
	for (uint32_t i = 0; i < op->g.n; i++) {
		struct agi_peer to = agi_hosts_peer(op->d, &op->view.members[i]);
		struct agi_msg m = {.kind = AGI_MSG_WRITE, .slot = op->slot, .epoch = op->view.epoch,
		                    .items = &op->best, .n_items = 1, .is_transfer = true};

		if (op->g.state[i] == AGI_GATHER_YES &&
		    agi_version_cmp(&op->seen[i], &op->best.version) < 0)
			(void)agi_rpc_ask(op->d, &to, AGI_TRAFFIC_BULK, &m, AGI_RPC_TIMEOUT_MS, on_repaired, NULL, 0);
	}
}

static void leave_hints(struct agi_kvop *op)
{
	for (uint32_t i = 0; i < op->g.n; i++)
		for (size_t n = 0; n < op->n_items && op->g.state[i] != AGI_GATHER_YES; n++)
			agi_hint_add(op->d, &op->view.members[i], &op->items[n]);
}

/* Everybody has answered or is given up: the operation is over. */
static void settle(struct agi_kvop *op)
{
	if (op->is_reading)
		repair(op);
	else if (op->kind != OP_REWRITE)
		leave_hints(op);
	destroy(op);
}

/* --- rounds --------------------------------------------------------------------------------------------- */

/* Of a backup: older than what was collected in its slot, it is written just above that, so that whatever is newer stays. */
static bool is_restore(const struct agi_kvop *op)
{
	return op->kind == OP_REWRITE && agi_id_is_zero(&op->target);
}

static void stamp(struct agi_kvop *op, uint64_t above)
{
	op->above = above;
	op->item.version = (struct agi_version){agi_stamp_above(op->d, above), op->d->self.id};
	for (size_t i = 0; i < op->n_items; i++)
		op->items[i].version = op->item.version;
}

static void start_writing(struct agi_kvop *op)
{
	struct agi_dht *d = op->d;

	op->is_reading = false;
	stamp(op, op->has_best ? op->best.version.hlc : 0);
	if (op->ttl_ms)
		op->item.expires_ms = d->now.wall_ms + op->ttl_ms;
}

/* Some member holds a newer item than ours although it was written before: our clock is behind its writer's. The
 * write gets a stamp above it and is done again, or what it was acknowledged for would never be seen. */
static void stamp_higher(struct agi_kvop *op)
{
	cancel_asked(op);
	if (is_restore(op))
		op->item.version = (struct agi_version){op->overruled_by + 1, op->d->self.id};
	else
		stamp(op, op->overruled_by);
	op->overruled_by = 0;
	agi_timer_set(&op->d->timers, &op->retry, op->d->now.mono_us);
}

static void won(struct agi_kvop *op)
{
	if (op->kind == OP_DELETE && op->is_reading) {
		cancel_asked(op);
		start_writing(op);
		attempt(op);
		return;
	}
	reply(op, AGI_OK, NULL);
	if (agi_gather_is_quiet(&op->g))
		settle(op);
}

static void on_view(struct agi_dht *d, void *arg, enum agi_err err)
{
	struct agi_kvop *op = arg;
	struct agi_slot *s = agi_slot_find(d, op->slot);

	if (err != AGI_OK)
		fail(op, err);
	else if (!op->must_retry && op->has_refetched && s && s->view.epoch == op->view.epoch)
		fail(op, op->last_status ? op->last_status : AGI_E_NO_QUORUM);
	else
		attempt(op);
}

static void on_retry(struct agi_dht *d, void *arg)
{
	(void)d;
	attempt(arg);
}

static void lose(struct agi_kvop *op)
{
	struct agi_dht *d = op->d;
	uint64_t pause = RETRY_MIN_MS << (op->attempts < 5 ? op->attempts : 4);

	cancel_asked(op);
	if (op->must_retry && op->attempts % 3 == 0) { /* a view whose hosts are gone would be tried for ever */
		agi_vfetch_wait(d, op->slot, &op->wait);
	} else if (op->must_retry) {
		if (pause > RETRY_MAX_MS)
			pause = RETRY_MAX_MS;
		agi_timer_set(&d->timers, &op->retry,
		              agi_after_ms(d, pause) + agi_prng_below(&d->prng, pause * 1000));
	} else if (!op->has_refetched) {
		op->has_refetched = true;
		agi_vfetch_wait(d, op->slot, &op->wait);
	} else {
		fail(op, op->last_status ? op->last_status : AGI_E_NO_QUORUM);
	}
}

static void evaluate(struct agi_kvop *op)
{
	if (op->has_replied) {
		if (agi_gather_is_quiet(&op->g))
			settle(op);
		return;
	}
	if (op->overruled_by && agi_gather_outcome(&op->g) != AGI_GATHER_OPEN) {
		stamp_higher(op);
		return;
	}
	switch (agi_gather_outcome(&op->g)) {
	case AGI_GATHER_WON:
		won(op);
		break;
	case AGI_GATHER_LOST:
		lose(op);
		break;
	default:
		break;
	}
}

static void take_read(struct agi_kvop *op, uint32_t which, const struct agi_msg *m)
{
	const struct agi_item *it = m->items;

	if (!m->has_item || m->n_items != 1)
		return;
	op->seen[which] = it->version;
	if (op->has_best && (agi_version_cmp(&it->version, &op->best.version) <= 0) == !AGI_MUTANT(READ_OLDEST))
		return;
	agi_buf_reset(&op->best_bytes);
	agi_buf_put_str(&op->best_bytes, it->value);
	op->best = *it;
	op->best.ns = op->item.ns;
	op->best.key = op->item.key;
	op->best.value = agi_buf_str(&op->best_bytes);
	op->has_best = true;
	agi_stamp_see(op->d, it->version.hlc);
}

static enum agi_gather_state overruled(struct agi_kvop *op, uint64_t by)
{
	if (by > op->overruled_by)
		op->overruled_by = by;
	return AGI_GATHER_NO;
}

static enum agi_gather_state judge(struct agi_kvop *op, uint32_t which, enum agi_err err,
                                   const struct agi_msg *m)
{
	if (err != AGI_OK)
		return AGI_GATHER_SILENT;
	switch (m->status) {
	case AGI_OK:
		if (op->is_reading)
			take_read(op, which, m);
		else if (is_restore(op) && m->floor >= op->item.version.hlc && !op->item.is_tombstone && !op->has_replied)
			return overruled(op, m->floor);
		else if (m->seq && !AGI_MUTANT(OVERRULED) && op->kind != OP_REWRITE && !op->has_replied)
			return overruled(op, m->seq);
		return AGI_GATHER_YES;
	case AGI_E_STALE_EPOCH:
	case AGI_E_NOT_MEMBER:
	case AGI_E_SEALED:
		op->must_retry = true;
		return AGI_GATHER_NO;
	default:
		op->last_status = m->status;
		return AGI_GATHER_NO;
	}
}

static void on_answer(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                      const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_kvop *op = arg;
	enum agi_msg_kind wanted = op->is_reading ? AGI_MSG_READ_ACK : AGI_MSG_WRITE_ACK;

	(void)from;
	if (err == AGI_OK && m->kind != wanted)
		err = AGI_E_MALFORMED;
	agi_gather_answered(&op->g, which, judge(op, which, err, m));
	if (err == AGI_OK && m->view.epoch)
		agi_view_learn_from(d, m);
	if (op->best_bytes.err) {
		fail(op, op->best_bytes.err);
		return;
	}
	evaluate(op);
}

static uint32_t needed(const struct agi_kvop *op, uint32_t n)
{
	switch (op->level) {
	case AGI_LEVEL_ONE:
		return 1;
	case AGI_LEVEL_ALL:
		return n;
	default:
		return agi_majority(n);
	}
}

static void ask_member(struct agi_kvop *op, uint32_t i)
{
	struct agi_dht *d = op->d;
	struct agi_peer to = agi_hosts_peer(d, &op->view.members[i]);
	struct agi_msg m = {.kind = AGI_MSG_READ, .slot = op->slot, .epoch = op->view.epoch};
	uint64_t left_ms = op->deadline_us > d->now.mono_us ? (op->deadline_us - d->now.mono_us) / 1000 : 0;
	uint32_t timeout = left_ms < AGI_RPC_TIMEOUT_MS ? (uint32_t)left_ms + 1 : AGI_RPC_TIMEOUT_MS;
	uint64_t rpc;

	if (op->is_reading) {
		m.ns = op->item.ns;
		m.key = op->item.key;
	} else {
		m.kind = AGI_MSG_WRITE;
		m.items = op->items;
		m.n_items = op->n_items;
		m.is_transfer = op->kind == OP_REWRITE;
		m.seq = op->above;
	}
	if (to.addr.port == 0)
		op->must_retry = true; /* a member we have not met yet: it is being verified */
	rpc = agi_hosts_is_up(d, &to.id)
	          ? agi_rpc_ask(d, &to, m.is_transfer ? AGI_TRAFFIC_BULK : AGI_TRAFFIC_CONTROL, &m, timeout,
	                        on_answer, op, i)
	          : 0;
	if (rpc)
		agi_gather_asked(&op->g, i, rpc);
	else
		agi_gather_answered(&op->g, i, AGI_GATHER_SILENT);
}

static void attempt(struct agi_kvop *op)
{
	struct agi_slot *s = agi_slot_find(op->d, op->slot);

	if (!s || s->view.epoch == 0) {
		agi_vfetch_wait(op->d, op->slot, &op->wait);
		return;
	}
	op->view = s->view;
	op->attempts++;
	op->must_retry = false;
	op->last_status = AGI_OK;
	op->overruled_by = 0;
	memset(op->seen, 0, sizeof op->seen);
	if (op->kind == OP_REWRITE && agi_view_has(&op->view, &op->target)) {
		op->view.n_members = 1;
		op->view.members[0] = op->target;
	}
	agi_gather_init(&op->g, op->view.n_members, needed(op, op->view.n_members));
	for (uint32_t i = 0; i < op->g.n; i++)
		ask_member(op, i);
	evaluate(op);
}

/* --- begin ------------------------------------------------------------------------------------------------ */

static void on_deadline(struct agi_dht *d, void *arg)
{
	(void)d;
	fail(arg, AGI_E_TIMEOUT);
}

static struct agi_kvop *new_op(struct agi_dht *d, enum op_kind kind, struct agi_str ns, struct agi_str key,
                               struct agi_str value, uint32_t timeout_ms)
{
	struct agi_kvop *op = agi_pool_get(&d->pools.kvop, sizeof *op);
	char *p = malloc(ns.n + key.n + value.n + 1);

	if (!op || !p) {
		agi_pool_put(&d->pools.kvop, op);
		free(p);
		return NULL;
	}
	op->d = d;
	op->kind = kind;
	op->bytes = p;
	op->item.ns = (struct agi_str){memcpy(p, ns.n ? ns.p : "", ns.n), ns.n};
	op->item.key = (struct agi_str){memcpy(p + ns.n, key.n ? key.p : "", key.n), key.n};
	op->item.value = (struct agi_str){memcpy(p + ns.n + key.n, value.n ? value.p : "", value.n), value.n};
	op->items = &op->item;
	op->n_items = 1;
	op->slot = agi_dht_slot_of(d, ns, key);
	op->level = AGI_LEVEL_QUORUM;
	agi_buf_init(&op->best_bytes, 0);
	op->deadline_us = agi_after_ms(d, timeout_ms ? timeout_ms : AGI_CALL_TIMEOUT_MS);
	op->deadline = (struct agi_timer){.fn = on_deadline, .arg = op};
	op->retry = (struct agi_timer){.fn = on_retry, .arg = op};
	op->wait.fn = on_view;
	op->wait.arg = op;
	TAILQ_INSERT_TAIL(&d->kvops, op, entry);
	d->n_kvops++;
	agi_timer_set(&d->timers, &op->deadline, op->deadline_us);
	return op;
}

static void cancel_call(struct agi_dht *d, void *arg)
{
	(void)d;
	destroy(arg);
}

/* In place of the one item: many of its slot. */
static enum agi_err take_items(struct agi_kvop *op, const struct agi_item *items, size_t n)
{
	size_t bytes = n * sizeof *items;
	char *p;

	for (size_t i = 0; i < n; i++)
		bytes += items[i].key.n + items[i].value.n;
	op->items = malloc(bytes);
	if (!op->items) {
		op->items = &op->item;
		return AGI_E_NOMEM;
	}
	p = (char *)(op->items + n);
	op->n_items = n;
	for (size_t i = 0; i < n; i++) {
		struct agi_item *it = &op->items[i];

		*it = items[i];
		it->ns = op->item.ns;
		it->key.p = memcpy(p, items[i].key.p, items[i].key.n);
		p += it->key.n;
		it->value.p = it->value.n ? memcpy(p, items[i].value.p, it->value.n) : "";
		p += it->value.n;
	}
	return AGI_OK;
}

enum agi_err agi_kv_check_call(const struct agi_dht *d, const struct agi_call *c, struct agi_why *why)
{
	if (!d->member.is_joined)
		return agi_fail(why, AGI_E_NOT_READY, "%s", d->member.waits_for);
	if (c->key.n == 0 || c->key.n > AGI_KEY_MAX)
		return agi_fail(why, AGI_E_INVALID, "key of %zu bytes: 1 to %d are allowed", c->key.n, AGI_KEY_MAX);
	if (c->ns.n > AGI_NAMESPACE_MAX)
		return agi_fail(why, AGI_E_INVALID, "namespace of %zu bytes: at most %d are allowed", c->ns.n,
		                AGI_NAMESPACE_MAX);
	if (c->value.n > AGI_VALUE_MAX)
		return agi_fail(why, AGI_E_TOO_LARGE, "value of %zu bytes: at most %d are allowed", c->value.n,
		                AGI_VALUE_MAX);
	if (d->n_kvops >= 2 * AGI_CALLS_MAX)
		return agi_fail(why, AGI_E_FULL, "%u operations are open on this node", d->n_kvops);
	return AGI_OK;
}

void agi_kv_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *c)
{
	enum op_kind kind = c->kind == AGI_CALL_PUT ? OP_PUT : c->kind == AGI_CALL_GET ? OP_GET : OP_DELETE;
	struct agi_why why;
	enum agi_err err = agi_kv_check_call(d, c, &why);
	struct agi_kvop *op;

	if (err != AGI_OK) {
		agi_call_fail(d, call_id, c->kind, err, why.text);
		return;
	}
	op = new_op(d, kind, c->ns, c->key, kind == OP_PUT ? c->value : (struct agi_str){"", 0}, c->timeout_ms);
	if (op && c->n_items && take_items(op, c->items, c->n_items) != AGI_OK) {
		destroy(op);
		op = NULL;
	}
	if (!op) {
		agi_call_fail(d, call_id, c->kind, AGI_E_NOMEM, "");
		return;
	}
	if (agi_call_open(d, call_id, c->kind, op, cancel_call) != AGI_OK) {
		destroy(op);
		return;
	}
	op->has_call = true;
	op->call_id = call_id;
	op->level = c->level;
	op->ttl_ms = c->ttl_ms;
	op->is_reading = kind != OP_PUT;
	op->item.is_tombstone = kind == OP_DELETE;
	if (kind == OP_PUT)
		start_writing(op);
	attempt(op);
}

enum agi_err agi_kv_rewrite(struct agi_dht *d, const struct agi_item *item, const struct agi_id *target,
                            agi_kv_done_fn *fn, void *arg)
{
	struct agi_kvop *op = new_op(d, OP_REWRITE, item->ns, item->key, item->value, 0);

	if (!op)
		return AGI_E_NOMEM;
	op->item.version = item->version;
	op->item.expires_ms = item->expires_ms;
	op->item.is_tombstone = item->is_tombstone;
	op->target = *target;
	op->fn = fn;
	op->arg = arg;
	agi_timer_set(&d->timers, &op->retry, d->now.mono_us); /* first attempt from the loop: never before return */
	return AGI_OK;
}

void agi_kv_free_all(struct agi_dht *d)
{
	struct agi_kvop *op;

	while ((op = TAILQ_FIRST(&d->kvops))) {
		if (op->kind == OP_REWRITE && !op->has_replied)
			op->fn(d, op->arg, AGI_E_CLOSED);
		destroy(op);
	}
}
