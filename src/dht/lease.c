/* SPDX-License-Identifier: Apache-2.0
 * What clients ask of leases: grant, renew, revoke, look at; to put or change a key with one; and locks, which are
 * keys that are made with a lease where there is none.
 *
 *   put, cas, lock:  read the lease ─▶ put ─▶ (strong.c reads the lease again) ─▶ answered
 *                      │ ended: refused  │ lock is held: pause, again
 *
 * The version of a lock's key is its fencing token: versions of a key only grow, whoever writes it. */
#include <stdlib.h>

#include "dht/lease.h"

enum { PAUSE_MIN_MS = 20, PAUSE_MAX_MS = 250, GRANT_TRIES = 3 };

struct agi_lease_op;
typedef void step_fn(struct agi_lease_op *op, const struct agi_result *res);

struct agi_lease_op {
	struct agi_dht *d;
	uint64_t call_id;
	struct agi_call call;      /* strings in bytes */
	char *bytes;
	uint64_t id;
	uint8_t key[8];            /* the lease's */
	uint64_t inner;
	step_fn *next;             /* what takes the inner call's answer */
	bool is_writing;           /* a write was sent that may have happened */
	bool may_hold;             /* LOCK: one was, and nobody knows */
	uint64_t held_version, held_lease; /* LOCK: by whom */
	uint32_t attempts;
	uint64_t deadline_us;
	struct agi_timer deadline, retry;
	TAILQ_ENTRY(agi_lease_op) link;
};

/* --- ends -------------------------------------------------------------------------------------------------- */
static void destroy(struct agi_lease_op *op)
{
	struct agi_dht *d = op->d;

	agi_inner_cancel(d, op->inner);
	agi_timer_clear(&d->timers, &op->deadline);
	agi_timer_clear(&d->timers, &op->retry);
	TAILQ_REMOVE(&d->lease_ops, op, link);
	d->n_lock_waits -= op->call.is_waiting;
	free(op->bytes);
	free(op);
}

static void reply(struct agi_lease_op *op, struct agi_result *res)
{
	res->kind = op->call.kind;
	agi_call_reply(op->d, op->call_id, res);
	destroy(op);
}

static void fail(struct agi_lease_op *op, enum agi_err err, const char *why)
{
	struct agi_result res = {.err = err};

	agi_fail(&res.why, err, "%s", why[0] ? why : agi_err_text(err));
	reply(op, &res);
}

static void fail_gone(struct agi_lease_op *op)
{
	struct agi_result res = {.err = AGI_E_NOT_FOUND};

	agi_fail(&res.why, AGI_E_NOT_FOUND, "lease %016llx: it never was, or has ended", (unsigned long long)op->id);
	reply(op, &res);
}

static void fail_held(struct agi_lease_op *op)
{
	struct agi_result res = {.err = AGI_E_CONDITION, .version = {.hlc = op->held_version}, .lease = op->held_lease};

	agi_fail(&res.why, AGI_E_CONDITION, "the key is there: version %llu, lease %016llx",
	         (unsigned long long)op->held_version, (unsigned long long)op->held_lease);
	reply(op, &res);
}

static void on_deadline(struct agi_dht *d, void *arg)
{
	struct agi_lease_op *op = arg;

	(void)d;
	if (op->is_writing || op->may_hold)
		fail(op, AGI_E_UNKNOWN_OUTCOME, "");
	else if (op->held_version)
		fail_held(op);
	else
		fail(op, AGI_E_TIMEOUT, "");
}

/* --- steps --------------------------------------------------------------------------------------------------- */
static void on_inner(struct agi_dht *d, void *arg, const struct agi_result *res)
{
	struct agi_lease_op *op = arg;

	(void)d;
	op->inner = 0;
	op->is_writing = false;
	op->next(op, res);
}

static void step(struct agi_lease_op *op, struct agi_call *c, step_fn *next)
{
	uint64_t now = op->d->now.mono_us;

	c->level = AGI_LEVEL_STRONG;
	c->timeout_ms = op->deadline_us > now ? (uint32_t)((op->deadline_us - now) / 1000) + 1 : 1;
	op->next = next;
	op->is_writing = c->kind != AGI_CALL_GET;
	op->inner = agi_inner_start(op->d, c, on_inner, op);
	if (!op->inner)
		fail(op, AGI_E_NOMEM, "");
}

static struct agi_str own_key(const struct agi_lease_op *op) { return (struct agi_str){(const char *)op->key, 8}; }

static void read_lease(struct agi_lease_op *op, step_fn *next)
{
	struct agi_call c = {.kind = AGI_CALL_GET, .ns = AGI_LEASE_NS, .key = own_key(op)};

	step(op, &c, next);
}

/* False, and op has ended: there is no such lease, or it could not be read. */
static bool take_lease(struct agi_lease_op *op, const struct agi_result *res, struct agi_lease *lease)
{
	if (res->err == AGI_E_NOT_FOUND)
		fail_gone(op);
	else if (res->err)
		fail(op, res->err, res->why.text);
	else if (agi_lease_decode(lease, own_key(op), res->value) != AGI_OK)
		fail(op, AGI_E_CORRUPT, "");
	else
		return true;
	return false;
}

static void write_lease(struct agi_lease_op *op, const struct agi_lease *lease, uint64_t expected, step_fn *next)
{
	struct agi_call c = {.kind = AGI_CALL_CAS, .ns = AGI_LEASE_NS, .key = own_key(op), .expected = expected};
	struct agi_buf value;

	agi_buf_init(&value, AGI_VALUE_MAX);
	agi_lease_encode(&value, lease);
	c.value = agi_buf_str(&value);
	if (value.err)
		fail(op, value.err, "");
	else
		step(op, &c, next);
	agi_buf_free(&value);
}

static void on_retry(struct agi_dht *d, void *arg)
{
	struct agi_lease_op *op = arg;

	(void)d;
	read_lease(op, op->next);
}

/* After a pause, from reading the lease on. Those who wait for the same lock come at different times. */
static void again(struct agi_lease_op *op, step_fn *next)
{
	uint64_t pause = PAUSE_MIN_MS << (op->attempts < 4 ? op->attempts : 4);

	op->attempts++;
	op->next = next;
	if (pause > PAUSE_MAX_MS)
		pause = PAUSE_MAX_MS;
	agi_timer_set(&op->d->timers, &op->retry,
	              agi_after_ms(op->d, pause / 2) + agi_prng_below(&op->d->prng, pause * 500 + 1));
}

/* --- GRANT, RENEW, REVOKE, LEASE --------------------------------------------------------------------------------- */
static void granted(struct agi_lease_op *op, const struct agi_result *res);

static void try_grant(struct agi_lease_op *op)
{
	struct agi_lease lease = {.ttl_ms = op->call.ttl_ms, .renewed_ms = op->d->now.wall_ms, .holder = op->call.value};

	do
		op->id = agi_prng_u64(&op->d->prng) >> 1; /* fits a signed number, too */
	while (op->id == 0);
	agi_lease_key(op->key, op->id);
	write_lease(op, &lease, 0, granted);
}

static void granted(struct agi_lease_op *op, const struct agi_result *res)
{
	struct agi_result out = {.lease = op->id, .ttl_ms = op->call.ttl_ms};

	if (res->err == AGI_E_CONDITION && op->attempts++ < GRANT_TRIES)
		try_grant(op); /* the number is taken */
	else if (res->err)
		fail(op, res->err, res->why.text); /* unknown: if it came to be, it will expire */
	else
		reply(op, &out);
}

static void renew(struct agi_lease_op *op, const struct agi_result *res);

static void renewed(struct agi_lease_op *op, const struct agi_result *res)
{
	struct agi_result out = {.lease = op->id, .ttl_ms = op->call.ttl_ms};

	if (res->err == AGI_OK)
		reply(op, &out);
	else if (res->err == AGI_E_CONDITION || res->err == AGI_E_UNKNOWN_OUTCOME)
		again(op, renew); /* changed meanwhile; renewing twice does no harm */
	else
		fail(op, res->err, res->why.text);
}

static void renew(struct agi_lease_op *op, const struct agi_result *res)
{
	struct agi_lease lease;

	if (!take_lease(op, res, &lease))
		return;
	lease.renewed_ms = op->d->now.wall_ms;
	op->call.ttl_ms = lease.ttl_ms;
	write_lease(op, &lease, res->version.hlc, renewed);
}

static void revoked(struct agi_lease_op *op, const struct agi_result *res)
{
	struct agi_result out = {.lease = op->id};

	if (res->err)
		fail(op, res->err, res->why.text);
	else
		reply(op, &out);
}

static void revoke(struct agi_lease_op *op, const struct agi_result *res)
{
	struct agi_call c = {.kind = AGI_CALL_DELETE, .ns = AGI_LEASE_NS, .key = own_key(op)};
	struct agi_lease lease;

	if (take_lease(op, res, &lease))
		step(op, &c, revoked);
}

static void show(struct agi_lease_op *op, const struct agi_result *res)
{
	struct agi_result out = {.lease = op->id, .value = res->value, .version = res->version};
	struct agi_lease lease;

	if (!take_lease(op, res, &lease))
		return;
	out.ttl_ms = lease.ttl_ms;
	reply(op, &out);
}

/* --- a key with a lease ----------------------------------------------------------------------------------------- */
static void put(struct agi_lease_op *op, const struct agi_result *res);

static void begin_put(struct agi_lease_op *op, const struct agi_result *res)
{
	struct agi_call c = op->call;
	struct agi_lease lease;

	if (!take_lease(op, res, &lease))
		return;
	c.lease = op->id;
	c.kind = c.kind == AGI_CALL_PUT ? AGI_CALL_PUT : AGI_CALL_CAS;
	c.is_attached = true;
	step(op, &c, put);
}

/* Held by this very lease: it was asked for again, or its first answer was lost. */
static bool is_own_lock(const struct agi_lease_op *op, const struct agi_result *res)
{
	return op->call.kind == AGI_CALL_LOCK && res->err == AGI_E_CONDITION && res->lease == op->id;
}

static void put(struct agi_lease_op *op, const struct agi_result *res)
{
	struct agi_result out = *res;

	if (op->call.kind == AGI_CALL_LOCK && res->err == AGI_E_UNKNOWN_OUTCOME) {
		op->may_hold = true; /* then the next attempt finds it held by this lease */
		again(op, begin_put);
		return;
	}
	if (op->call.kind == AGI_CALL_LOCK && res->err == AGI_E_CONDITION && !is_own_lock(op, res)) {
		op->may_hold = false;
		op->held_version = res->version.hlc;
		op->held_lease = res->lease;
		if (op->call.is_waiting)
			again(op, begin_put);
		else
			fail_held(op);
		return;
	}
	if (res->err == AGI_E_NOT_FOUND) { /* it ended while the key was put */
		fail_gone(op);
		return;
	}
	if (is_own_lock(op, res))
		out.err = AGI_OK;
	out.lease = op->id;
	reply(op, &out);
}

/* --- begin ---------------------------------------------------------------------------------------------------------- */
static enum agi_err check(const struct agi_dht *d, const struct agi_call *c, struct agi_why *why)
{
	struct agi_call lease = {.key = AGI_STR("lease")};
	bool is_key = c->kind == AGI_CALL_PUT || c->kind == AGI_CALL_CAS || c->kind == AGI_CALL_LOCK;
	enum agi_err e = agi_kv_check_call(d, is_key ? c : &lease, why);

	if (e)
		return e;
	if (c->kind == AGI_CALL_GRANT && (c->ttl_ms < AGI_LEASE_TTL_MIN_MS || c->ttl_ms > AGI_LEASE_TTL_MAX_MS))
		return agi_fail(why, AGI_E_INVALID, "a lease's time to live is %d ms to %d ms", AGI_LEASE_TTL_MIN_MS,
		                AGI_LEASE_TTL_MAX_MS);
	if (c->kind == AGI_CALL_GRANT && c->value.n > AGI_LEASE_HOLDER_MAX)
		return agi_fail(why, AGI_E_INVALID, "holder of %zu bytes: at most %d are allowed", c->value.n,
		                AGI_LEASE_HOLDER_MAX);
	if (c->kind != AGI_CALL_GRANT && c->lease == 0)
		return agi_fail(why, AGI_E_INVALID, "no lease has the number 0");
	if (c->kind == AGI_CALL_PUT && c->level != AGI_LEVEL_STRONG)
		return agi_fail(why, AGI_E_INVALID, "only a strong item can have a lease");
	if (is_key && c->is_delete)
		return agi_fail(why, AGI_E_INVALID, "what is deleted needs no lease");
	if (is_key && c->ttl_ms)
		return agi_fail(why, AGI_E_INVALID, "a strong item cannot have a time to live");
	if (c->is_waiting && d->n_lock_waits >= AGI_LOCKS_WAITING)
		return agi_fail(why, AGI_E_FULL, "%u calls wait for locks on this node", d->n_lock_waits);
	if (c->is_waiting && c->value.n > AGI_LOCK_VALUE_MAX)
		return agi_fail(why, AGI_E_TOO_LARGE, "value of %zu bytes: a lock that is waited for may have %d", c->value.n,
		                AGI_LOCK_VALUE_MAX);
	if (c->kind == AGI_CALL_LOCK && c->expected)
		return agi_fail(why, AGI_E_INVALID, "a lock is taken where there is no key: no version can be expected");
	return AGI_OK;
}

static struct agi_str move(char **at, struct agi_str s)
{
	struct agi_str out = {*at, s.n};

	if (s.n)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return out;
}

static struct agi_lease_op *new_op(struct agi_dht *d, const struct agi_call *c)
{
	struct agi_lease_op *op = calloc(1, sizeof *op);
	char *p = malloc(c->ns.n + c->key.n + c->value.n + 1);

	if (!op || !p) {
		free(op);
		free(p);
		return NULL;
	}
	*op = (struct agi_lease_op){.d = d, .call = *c, .bytes = p, .id = c->lease};
	op->call.ns = move(&p, c->ns);
	op->call.key = move(&p, c->key);
	op->call.value = move(&p, c->value);
	agi_lease_key(op->key, op->id);
	op->deadline_us = agi_after_ms(d, c->timeout_ms ? c->timeout_ms : AGI_CALL_TIMEOUT_MS);
	op->deadline = (struct agi_timer){.fn = on_deadline, .arg = op};
	op->retry = (struct agi_timer){.fn = on_retry, .arg = op};
	TAILQ_INSERT_TAIL(&d->lease_ops, op, link);
	d->n_lock_waits += op->call.is_waiting;
	agi_timer_set(&d->timers, &op->deadline, op->deadline_us);
	return op;
}

static void cancel_call(struct agi_dht *d, void *arg)
{
	(void)d;
	destroy(arg);
}

static void begin(struct agi_lease_op *op)
{
	switch (op->call.kind) {
	case AGI_CALL_GRANT:
		try_grant(op);
		break;
	case AGI_CALL_RENEW:
		read_lease(op, renew);
		break;
	case AGI_CALL_REVOKE:
		read_lease(op, revoke);
		break;
	case AGI_CALL_LEASE:
		read_lease(op, show);
		break;
	default:
		read_lease(op, begin_put);
		break;
	}
}

void agi_lease_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *c)
{
	struct agi_lease_op *op;
	struct agi_why why;
	enum agi_err err = check(d, c, &why);

	if (err) {
		agi_call_fail(d, call_id, c->kind, err, why.text);
		return;
	}
	op = new_op(d, c);
	if (!op) {
		agi_call_fail(d, call_id, c->kind, AGI_E_NOMEM, "");
		return;
	}
	if (agi_call_open(d, call_id, c->kind, op, cancel_call) != AGI_OK) {
		destroy(op);
		return;
	}
	op->call_id = call_id;
	begin(op);
}

void agi_leases_free(struct agi_dht *d)
{
	while (!TAILQ_EMPTY(&d->lease_ops))
		destroy(TAILQ_FIRST(&d->lease_ops));
}
