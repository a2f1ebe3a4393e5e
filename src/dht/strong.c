/* SPDX-License-Identifier: Apache-2.0
 * Client side of strong operations: a get asks as many members as make a majority, the nearest first, and is done
 * when they show the same accepted write (or none). When one is slow or they differ, the others are asked too. A
 * write that stays half done, and everything else, goes to the slot's first living member, which leads
 * (lead.c).
 *
 * An operation that may have been applied is never sent twice: when its answer stays away the outcome is
 * unknown, and is told so. */
#include <stdlib.h>

#include "dht/lease.h"

enum {
	PAUSE_MIN_MS = 3,
	PAUSE_MAX_MS = 60,
	HEDGE_MS = 20,          /* a member that has not answered a get by then is not waited for alone */
	ABOUT_AS_NEAR_US = 500  /* a difference of round trips not worth a preference: load spreads */
};

struct agi_strong_call {
	struct agi_dht *d;
	uint64_t call_id;
	enum agi_call_kind kind;
	enum agi_strong_op op;
	struct agi_str ns, key, value; /* in bytes */
	char *bytes;
	uint64_t expected, floor;
	int64_t delta;
	bool is_delete;
	uint64_t lease;           /* what is put goes with it */
	bool is_raw;
	struct agi_lease_look *look; /* the item that was met has a lease: does it hold? */
	uint32_t slot, attempts;
	enum agi_err last;        /* why the last attempt did not do */
	struct agi_view view;     /* get: whose members are asked */
	struct agi_gather g;      /* get: members asked */
	struct agi_buf best;
	uint8_t n_same;
	uint64_t rpc;             /* to the leader */
	uint64_t deadline_us;
	struct agi_timer deadline, retry, hedge;
	struct agi_vwait wait;
	TAILQ_ENTRY(agi_strong_call) entry;
};

static void attempt(struct agi_strong_call *c);
static void ask_leader(struct agi_strong_call *c);

static void destroy(struct agi_strong_call *c)
{
	struct agi_dht *d = c->d;

	for (uint32_t i = 0; i < c->g.n; i++)
		agi_rpc_cancel(d, c->g.rpc[i]);
	agi_rpc_cancel(d, c->rpc);
	agi_lease_look_cancel(c->look);
	agi_vfetch_cancel(d, &c->wait);
	agi_timer_clear(&d->timers, &c->deadline);
	agi_timer_clear(&d->timers, &c->retry);
	agi_timer_clear(&d->timers, &c->hedge);
	TAILQ_REMOVE(&d->strong_calls, c, entry);
	d->n_kvops--;
	agi_buf_free(&c->best);
	free(c->bytes);
	agi_pool_put(&d->pools.strong_call, c);
}

static bool is_read(const struct agi_strong_call *c) { return c->op == AGI_STRONG_GET; }

static void reply(struct agi_strong_call *c, struct agi_result *res)
{
	enum agi_err err = res->err;

	if (err == AGI_OK && is_read(c) && !res->found)
		res->err = AGI_E_NOT_FOUND;
	else if (err == AGI_E_UNKNOWN_OUTCOME)
		agi_fail(&res->why, err, "slot %u: the write was sent and not confirmed; read the version to "
		                         "learn whether it happened", c->slot);
	else if (err == AGI_E_CONDITION)
		agi_fail(&res->why, err, "version is %llu, expected %llu", (unsigned long long)res->version.hlc,
		         (unsigned long long)c->expected);
	else if (err != AGI_OK)
		agi_fail(&res->why, err, "slot %u after %u attempts: %s", c->slot, c->attempts,
		         agi_err_text(c->last ? c->last : err));
	agi_call_reply(c->d, c->call_id, res);
	destroy(c);
}

static void fail(struct agi_strong_call *c, enum agi_err err)
{
	struct agi_result res = {.kind = c->kind, .err = err, .slot = c->slot, .value = {"", 0}};

	reply(c, &res);
}

/* What was met, or just written, counts if its lease holds; else it is gone by now. */
static void on_looked(struct agi_dht *d, void *arg, enum agi_err err, struct agi_result *res)
{
	struct agi_strong_call *c = arg;

	c->look = NULL;
	if (err == AGI_OK) {
		reply(c, res);
	} else if (err != AGI_E_NOT_FOUND) {
		fail(c, is_read(c) || res->err == AGI_E_CONDITION ? err : AGI_E_UNKNOWN_OUTCOME);
	} else if (c->lease && res->err == AGI_OK) {
		c->last = AGI_E_NOT_FOUND; /* the lease ended while the item was written with it */
		fail(c, AGI_E_NOT_FOUND);
	} else {
		agi_timer_set(&d->timers, &c->retry, d->now.mono_us);
	}
}

/* OK or CONDITION: what the item is now. */
static void take_answer(struct agi_strong_call *c, enum agi_err err, bool is_found, struct agi_str value,
                        uint64_t version, uint64_t lease)
{
	struct agi_result res = {.kind = c->kind, .err = err, .slot = c->slot, .found = is_found, .value = value,
	                         .version = {.hlc = version}, .lease = lease};
	uint64_t now = c->d->now.mono_us;

	if (!lease || c->is_raw) {
		reply(c, &res);
		return;
	}
	c->look = agi_lease_look_start(c->d, c->ns, c->key, &res,
	                               c->deadline_us > now ? (uint32_t)((c->deadline_us - now) / 1000) + 1 : 1,
	                               on_looked, c);
	if (!c->look)
		fail(c, is_read(c) || err == AGI_E_CONDITION ? AGI_E_NOMEM : AGI_E_UNKNOWN_OUTCOME);
}

static void again(struct agi_strong_call *c, enum agi_err why)
{
	uint64_t pause = PAUSE_MIN_MS << (c->attempts < 5 ? c->attempts : 5);

	c->last = why;
	if (pause > PAUSE_MAX_MS)
		pause = PAUSE_MAX_MS;
	agi_timer_set(&c->d->timers, &c->retry,
	              agi_after_ms(c->d, pause) + agi_prng_below(&c->d->prng, pause * 1000));
}

static void on_retry(struct agi_dht *d, void *arg)
{
	(void)d;
	attempt(arg);
}

/* A pending answer that may never come: a read simply failed, a write may have happened. */
static void on_deadline(struct agi_dht *d, void *arg)
{
	struct agi_strong_call *c = arg;

	(void)d;
	fail(c, (c->rpc || c->look) && !is_read(c) ? AGI_E_UNKNOWN_OUTCOME
	                              : c->last == AGI_E_NO_QUORUM ? AGI_E_NO_QUORUM : AGI_E_TIMEOUT);
}

/* That member's disk takes no writes, and it did nothing: another leads, unless all are so. */
static void refused(struct agi_strong_call *c, const struct agi_peer *by, enum agi_err err)
{
	struct agi_slot *s = agi_slot_find(c->d, c->slot);
	uint32_t refusing = 0;

	agi_hosts_refused(c->d, &by->id);
	for (uint32_t i = 0; s && i < s->view.n_members; i++)
		refusing += agi_hosts_is_refusing(c->d, &s->view.members[i]);
	c->last = err;
	if (s && refusing >= agi_majority(s->view.n_members))
		fail(c, err);
	else
		again(c, err);
}

/* --- by the leader ---------------------------------------------------------------------------------- */

static void on_done(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                    const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_strong_call *c = arg;
	const struct agi_item *it = err == AGI_OK && m->n_items == 1 ? m->items : NULL;

	(void)which;
	c->rpc = 0;
	if (err != AGI_OK || m->kind != AGI_MSG_STRONG_DONE) {
		/* refused by a node that does not serve: it did nothing; silence: nobody knows */
		if (is_read(c) || AGI_MUTANT(RETRY_UNKNOWN) || err == AGI_E_NOT_READY || err == AGI_E_UNSUPPORTED || err == AGI_E_FULL)
			again(c, err ? err : AGI_E_MALFORMED);
		else
			fail(c, AGI_E_UNKNOWN_OUTCOME);
		return;
	}
	if (m->view.epoch)
		agi_view_learn_from(d, m);
	switch (m->status) {
	case AGI_OK:
	case AGI_E_CONDITION:
		if (it)
			take_answer(c, m->status, m->has_item, it->value, it->version.hlc, it->lease);
		else
			fail(c, AGI_E_MALFORMED);
		break;
	case AGI_E_STALE_EPOCH:
	case AGI_E_NOT_MEMBER:
	case AGI_E_SEALED:
	case AGI_E_NO_QUORUM:
	case AGI_E_TIMEOUT:
		again(c, m->status);
		break;
	case AGI_E_READ_ONLY:
	case AGI_E_DISK_FULL:
		refused(c, from, m->status);
		break;
	default:
		c->last = m->status;
		fail(c, m->status);
		break;
	}
}

/* The first living member leads that does not refuse to write; after failures the others get their chance. */
static int choose_leader(const struct agi_strong_call *c, const struct agi_view *v)
{
	uint32_t skip = c->attempts > 3 ? c->attempts - 3 : 0;
	int refusing = -1;

	for (uint32_t i = 0; i < v->n_members; i++) {
		uint32_t at = (i + skip) % v->n_members;

		if (!agi_hosts_is_up(c->d, &v->members[at]))
			continue;
		if (!agi_hosts_is_refusing(c->d, &v->members[at]))
			return (int)at;
		refusing = (int)at;
	}
	return refusing;
}

static void ask_leader(struct agi_strong_call *c)
{
	struct agi_dht *d = c->d;
	struct agi_slot *s = agi_slot_find(d, c->slot);
	struct agi_item item = {.ns = c->ns, .key = c->key, .value = c->value, .is_tombstone = c->is_delete,
	                        .lease = c->lease};
	struct agi_msg m = {.kind = AGI_MSG_STRONG_DO, .slot = c->slot, .epoch = s->view.epoch, .op = c->op,
	                    .expected = c->expected, .floor = c->floor, .delta = c->delta, .items = &item, .n_items = 1};
	int leader = choose_leader(c, &s->view);
	uint64_t left_ms = c->deadline_us > d->now.mono_us ? (c->deadline_us - d->now.mono_us) / 1000 : 0;
	struct agi_peer to;

	if (leader < 0) {
		again(c, AGI_E_NO_QUORUM);
		return;
	}
	to = agi_hosts_peer(d, &s->view.members[leader]);
	c->rpc = agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m, (uint32_t)left_ms + 1, on_done, c, 0);
	if (!c->rpc)
		again(c, AGI_E_NOMEM);
}

/* --- a get, directly ------------------------------------------------------------------------------------ */

static struct agi_str order_of(struct agi_str record)
{
	return (struct agi_str){record.p, record.n < AGI_VERSION_BYTES ? 0 : AGI_VERSION_BYTES};
}

static void take_record(struct agi_strong_call *c, struct agi_str record)
{
	int cmp = agi_str_cmp(order_of(record), order_of(agi_buf_str(&c->best)));

	if (cmp > 0) {
		agi_buf_reset(&c->best);
		agi_buf_put_str(&c->best, record);
		c->n_same = 0;
	}
	c->n_same += cmp >= 0;
}

static void read_done(struct agi_strong_call *c)
{
	struct agi_reg reg = {.is_tombstone = true, .value = {"", 0}};

	if (c->best.n && agi_reg_decode(&reg, agi_buf_str(&c->best)) != AGI_OK) {
		fail(c, AGI_E_CORRUPT);
		return;
	}
	if (c->best.err)
		fail(c, c->best.err);
	else
		take_answer(c, AGI_OK, !reg.is_tombstone, reg.value, reg.version, reg.is_tombstone ? 0 : reg.lease);
}

static void end_reading(struct agi_strong_call *c)
{
	for (uint32_t i = 0; i < c->g.n; i++)
		agi_rpc_cancel(c->d, c->g.rpc[i]);
	agi_gather_init(&c->g, 0, 0);
	agi_timer_clear(&c->d->timers, &c->hedge);
}

/* This node first, then the nearest; of those about as near, any. -1 when nobody is left. */
static int choose_member(struct agi_strong_call *c)
{
	struct agi_dht *d = c->d;
	uint64_t least = UINT64_MAX;
	int best = -1;

	for (uint32_t i = 0; i < c->g.n; i++) {
		uint64_t rtt = agi_hosts_rtt(d, &c->view.members[i]);
		uint64_t cost = rtt ? rtt + agi_prng_below(&d->prng, rtt + ABOUT_AS_NEAR_US) : 0;

		if (c->g.state[i] != AGI_GATHER_IDLE)
			continue;
		if (!agi_hosts_is_up(d, &c->view.members[i])) {
			agi_gather_answered(&c->g, i, AGI_GATHER_SILENT);
		} else if (cost < least) {
			least = cost;
			best = (int)i;
		}
	}
	return best;
}

static void on_state(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m);

/* Up to n more members are asked; false when none could be. */
static bool ask_more(struct agi_strong_call *c, uint32_t n)
{
	struct agi_msg m = {.kind = AGI_MSG_REG_READ, .slot = c->slot, .epoch = c->view.epoch, .ns = c->ns,
	                    .key = c->key};
	uint32_t asked = c->g.asked;
	int i;

	while (n && (i = choose_member(c)) >= 0) {
		struct agi_peer to = agi_hosts_peer(c->d, &c->view.members[i]);
		uint64_t rpc =
		    agi_rpc_ask(c->d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, on_state, c, (uint32_t)i);

		if (rpc)
			agi_gather_asked(&c->g, (uint32_t)i, rpc);
		else
			agi_gather_answered(&c->g, (uint32_t)i, AGI_GATHER_SILENT);
		n -= rpc != 0;
	}
	return c->g.asked > asked;
}

/* What is known now: enough, too little for ever, or who else may help? A majority that differs is a write on its way,
 * or one that a member missed: the others may show which; if not, the leader finishes it. */
static void look_at_answers(struct agi_strong_call *c, enum agi_err why)
{
	switch (agi_gather_outcome(&c->g)) {
	case AGI_GATHER_WON:
		if (c->n_same >= c->g.need || AGI_MUTANT(SAME_ONE)) {
			end_reading(c);
			read_done(c);
		} else if (!ask_more(c, c->g.n) && c->n_same + c->g.asked < c->g.need) {
			end_reading(c);
			ask_leader(c);
		}
		break;
	case AGI_GATHER_LOST:
		end_reading(c);
		again(c, why);
		break;
	default:
		break;
	}
}

static void on_state(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_strong_call *c = arg;
	bool is_yes = err == AGI_OK && m->kind == AGI_MSG_REG_STATE && m->status == AGI_OK;

	(void)from;
	agi_gather_answered(&c->g, which, is_yes ? AGI_GATHER_YES : m ? AGI_GATHER_NO : AGI_GATHER_SILENT);
	if (is_yes)
		take_record(c, m->has_item && m->n_items == 1 ? m->items[0].value : (struct agi_str){"", 0});
	else if (m && m->view.epoch)
		agi_view_learn_from(d, m);
	if (!is_yes)
		(void)ask_more(c, 1);
	look_at_answers(c, m && m->status != AGI_OK ? m->status : AGI_E_NO_QUORUM);
}

/* Somebody is slow: the others are asked as well; after that, the leader. */
static void on_hedge(struct agi_dht *d, void *arg)
{
	struct agi_strong_call *c = arg;

	if (ask_more(c, c->g.n)) {
		agi_timer_set(&d->timers, &c->hedge, agi_after_ms(d, HEDGE_MS));
	} else if (agi_gather_outcome(&c->g) == AGI_GATHER_WON) {
		end_reading(c);
		ask_leader(c);
	} else {
		look_at_answers(c, AGI_E_NO_QUORUM);
	}
}

/* A majority is asked, and more only when that does not do. */
static void read_majority(struct agi_strong_call *c)
{
	c->view = agi_slot_find(c->d, c->slot)->view;
	agi_gather_init(&c->g, c->view.n_members, agi_majority(c->view.n_members));
	agi_buf_reset(&c->best);
	c->n_same = 0;
	agi_timer_set(&c->d->timers, &c->hedge, agi_after_ms(c->d, HEDGE_MS));
	(void)ask_more(c, c->g.need);
	look_at_answers(c, AGI_E_NO_QUORUM);
}

/* --- begin --------------------------------------------------------------------------------------------------- */

static void on_view(struct agi_dht *d, void *arg, enum agi_err err)
{
	(void)d;
	if (err == AGI_OK)
		attempt(arg);
	else
		fail(arg, err);
}

static void attempt(struct agi_strong_call *c)
{
	struct agi_slot *s = agi_slot_find(c->d, c->slot);

	c->attempts++;
	if (!s || s->view.epoch == 0 || (c->attempts > 1 && c->attempts % 4 == 0 && !c->wait.is_waiting)) {
		c->attempts++; /* a view that leads nowhere is asked for anew */
		agi_vfetch_wait(c->d, c->slot, &c->wait);
	} else if (is_read(c)) {
		read_majority(c);
	} else {
		ask_leader(c);
	}
}

static void cancel_call(struct agi_dht *d, void *arg)
{
	(void)d;
	destroy(arg);
}

static enum agi_strong_op op_of(enum agi_call_kind kind)
{
	switch (kind) {
	case AGI_CALL_PUT:
		return AGI_STRONG_PUT;
	case AGI_CALL_DELETE:
		return AGI_STRONG_DELETE;
	case AGI_CALL_CAS:
		return AGI_STRONG_CAS;
	case AGI_CALL_ADD:
		return AGI_STRONG_ADD;
	default:
		return AGI_STRONG_GET;
	}
}

static struct agi_strong_call *new_call(struct agi_dht *d, const struct agi_call *call)
{
	struct agi_strong_call *c = agi_pool_get(&d->pools.strong_call, sizeof *c);
	char *p = malloc(call->ns.n + call->key.n + call->value.n + 1);

	if (!c || !p) {
		agi_pool_put(&d->pools.strong_call, c);
		free(p);
		return NULL;
	}
	c->d = d;
	c->kind = call->kind;
	c->op = op_of(call->kind);
	c->bytes = p;
	c->ns = (struct agi_str){memcpy(p, call->ns.n ? call->ns.p : "", call->ns.n), call->ns.n};
	p += call->ns.n;
	c->key = (struct agi_str){memcpy(p, call->key.p, call->key.n), call->key.n};
	p += call->key.n;
	c->value = (struct agi_str){memcpy(p, call->value.n ? call->value.p : "", call->value.n), call->value.n};
	c->expected = call->expected;
	c->floor = call->floor;
	c->delta = call->delta;
	c->is_delete = call->is_delete;
	c->lease = call->lease;
	c->is_raw = call->is_raw;
	c->slot = agi_dht_slot_of(d, call->ns, call->key);
	agi_buf_init(&c->best, 0);
	c->deadline_us = agi_after_ms(d, call->timeout_ms ? call->timeout_ms : AGI_CALL_TIMEOUT_MS);
	c->deadline = (struct agi_timer){.fn = on_deadline, .arg = c};
	c->retry = (struct agi_timer){.fn = on_retry, .arg = c};
	c->hedge = (struct agi_timer){.fn = on_hedge, .arg = c};
	c->wait.fn = on_view;
	c->wait.arg = c;
	TAILQ_INSERT_TAIL(&d->strong_calls, c, entry);
	d->n_kvops++;
	agi_timer_set(&d->timers, &c->deadline, c->deadline_us);
	return c;
}

void agi_strong_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *call)
{
	struct agi_why why;
	enum agi_err err = agi_kv_check_call(d, call, &why);
	struct agi_strong_call *c;

	if (err == AGI_OK && call->ttl_ms)
		err = agi_fail(&why, AGI_E_INVALID, "a strong item cannot have a time to live");
	if (err != AGI_OK) {
		agi_call_fail(d, call_id, call->kind, err, why.text);
		return;
	}
	c = new_call(d, call);
	if (!c) {
		agi_call_fail(d, call_id, call->kind, AGI_E_NOMEM, "");
		return;
	}
	if (agi_call_open(d, call_id, call->kind, c, cancel_call) != AGI_OK) {
		destroy(c);
		return;
	}
	c->call_id = call_id;
	attempt(c);
}

void agi_strong_free_all(struct agi_dht *d)
{
	while (!TAILQ_EMPTY(&d->strong_calls))
		destroy(TAILQ_FIRST(&d->strong_calls));
}
