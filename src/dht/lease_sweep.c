/* SPDX-License-Identifier: Apache-2.0
 * Who ends what has expired: every member of a slot knows the leases in it and the items that have one, by the writes that
 * reach its storage and, after a start, by reading what is there. It ends a lease of which it has seen no new version for its
 * time to live, and reads an item with a lease every few seconds, which deletes it when the lease is gone (lease_look.c).
 * The slot's first living member does so first; the others, later and more rarely, what that one does not know of. All of it
 * is done under a condition, so it does no harm when two do it. */
#include <stdlib.h>

#include "dht/lease.h"

enum {
	PAGE = 500,           /* records read at once at the start … */
	PAGE_PAUSE_MS = 20,   /* … with so much time between */
	RETRY_MS = 1000,      /* it did not work, or cannot be done now */
	TURN_MS = 2000,       /* a lease that has expired is left to each living member that comes before, for so long */
	LOOK_MS = 3000,       /* an item with a lease is read so often … */
	LOOKS_PER_MS = 1,     /* … unless there are more of them than this allows */
	STEP_MS = 5000,       /* for a read or write */
	BUSY_MAX = 16         /* under way */
};

struct agi_lease_seen {
	struct agi_dht *d;
	uint64_t version;
	uint64_t ttl_ms, since_us; /* of a lease; ttl 0: of an item with one. since: when this version was seen first */
	uint32_t slot;
	uint64_t call;        /* under way */
	struct agi_timer timer;
	UT_hash_handle hh;
	uint8_t n_ns;
	size_t n;
	char key[];           /* be32 slot, length of the namespace, namespace, key: as stored */
};

static struct agi_str ns_of(const struct agi_lease_seen *l) { return (struct agi_str){l->key + AGI_HEAD_BYTES + 1, l->n_ns}; }

static struct agi_str key_of(const struct agi_lease_seen *l)
{
	size_t head = AGI_HEAD_BYTES + 1 + l->n_ns;

	return (struct agi_str){l->key + head, l->n - head};
}

static void forget(struct agi_lease_seen *l)
{
	struct agi_dht *d = l->d;
	struct agi_lease_sweep *w = &d->leases;

	w->n_busy -= l->call != 0;
	agi_inner_cancel(d, l->call);
	agi_timer_clear(&d->timers, &l->timer);
	HASH_DEL(w->by_key, l);
	w->bytes -= sizeof *l + l->n;
	free(l);
	if (w->has_overflown && !w->scan.is_set && !w->scan_job && HASH_COUNT(w->by_key) < AGI_LEASES_MAX / 8 * 3 &&
	    w->bytes < AGI_LEASES_BYTES / 8 * 3) {
		w->scan_slot = 0;
		agi_timer_set(&d->timers, &w->scan, agi_after_ms(d, RETRY_MS));
	}
}

/* --- acting ------------------------------------------------------------------------------------------------- */
/* How many living members come before this one. */
static uint32_t rank(const struct agi_lease_seen *l)
{
	const struct agi_slot *s = agi_slot_find(l->d, l->slot);
	uint32_t n = 0;

	for (uint8_t i = 0; s && i < s->view.n_members && !agi_id_eq(&s->view.members[i], &l->d->self.id); i++)
		n += agi_hosts_is_up(l->d, &s->view.members[i]);
	return n;
}

static void wait_ms(struct agi_lease_seen *l, uint64_t ms)
{
	agi_timer_set(&l->d->timers, &l->timer, agi_after_ms(l->d, ms) + agi_prng_below(&l->d->prng, ms * 100 + 1));
}

static uint64_t due_us(const struct agi_lease_seen *l)
{
	return l->since_us + (l->ttl_ms + l->ttl_ms / 64 + 100) * 1000;
}

static void watch_over(struct agi_lease_seen *l)
{
	uint64_t look_ms = HASH_COUNT(l->d->leases.by_key) / LOOKS_PER_MS;

	if (l->ttl_ms)
		agi_timer_set(&l->d->timers, &l->timer, due_us(l) + (uint64_t)rank(l) * TURN_MS * 1000);
	else
		wait_ms(l, (look_ms > LOOK_MS ? look_ms : LOOK_MS) * (1 + 4 * rank(l)));
}

static void start(struct agi_lease_seen *l, struct agi_call *c, agi_inner_fn *fn)
{
	c->ns = ns_of(l);
	c->key = key_of(l);
	c->level = AGI_LEVEL_STRONG;
	c->timeout_ms = STEP_MS;
	l->call = agi_inner_start(l->d, c, fn, l);
	l->d->leases.n_busy += l->call != 0;
	if (!l->call)
		wait_ms(l, RETRY_MS);
}

static struct agi_lease_seen *end_step(void *arg)
{
	struct agi_lease_seen *l = arg;

	l->call = 0;
	l->d->leases.n_busy--;
	return l;
}

static void on_ended(struct agi_dht *d, void *arg, const struct agi_result *res)
{
	struct agi_lease_seen *l = end_step(arg);

	(void)d;
	if (res->err == AGI_OK)
		forget(l);
	else
		wait_ms(l, RETRY_MS); /* renewed meanwhile, or not to be reached: it is read again */
}

/* A lease: ended, if it has the version whose time is over. */
static void on_lease(struct agi_dht *d, void *arg, const struct agi_result *res)
{
	struct agi_lease_seen *l = end_step(arg);
	struct agi_call c = {.kind = AGI_CALL_CAS, .is_delete = true, .expected = l->version};

	if (res->err == AGI_E_NOT_FOUND) {
		forget(l);
	} else if (res->err) {
		wait_ms(l, RETRY_MS);
	} else if (res->version.hlc != l->version) { /* a renewal that this member missed */
		l->version = res->version.hlc;
		l->since_us = d->now.mono_us;
		watch_over(l);
	} else if (d->now.mono_us < due_us(l)) {
		watch_over(l);
	} else {
		start(l, &c, on_ended);
	}
}

/* An item with a lease: the read has deleted it, if the lease is gone. */
static void on_item(struct agi_dht *d, void *arg, const struct agi_result *res)
{
	struct agi_lease_seen *l = end_step(arg);

	(void)d;
	if (res->err == AGI_E_NOT_FOUND || (res->err == AGI_OK && !res->lease))
		forget(l);
	else
		watch_over(l);
}

static void on_due(struct agi_dht *d, void *arg)
{
	struct agi_lease_seen *l = arg;
	const struct agi_slot *s = agi_slot_find(d, l->slot);
	struct agi_call c = {.kind = AGI_CALL_GET};

	if (!s || !agi_slot_is_held(s))
		forget(l);
	else if (d->is_read_only || s->phase != AGI_VIEW_ACTIVE || d->leases.n_busy >= BUSY_MAX)
		wait_ms(l, RETRY_MS);
	else
		start(l, &c, l->ttl_ms ? on_lease : on_item);
}

/* --- seeing --------------------------------------------------------------------------------------------------- */
static bool is_lease_key(struct agi_str key)
{
	struct agi_str ns = AGI_LEASE_NS;

	return key.n == AGI_HEAD_BYTES + 1 + ns.n + 8 && (uint8_t)key.p[AGI_HEAD_BYTES] == ns.n &&
	       memcmp(key.p + AGI_HEAD_BYTES + 1, ns.p, ns.n) == 0;
}

static struct agi_lease_seen *new_seen(struct agi_dht *d, struct agi_str key)
{
	struct agi_lease_sweep *w = &d->leases;
	struct agi_cur c = agi_cur_of(key);
	struct agi_lease_seen *l;
	uint32_t part = is_lease_key(key) ? 1 : 2; /* items are cleared up by whoever reads them, too; leases end only here */

	if (HASH_COUNT(w->by_key) >= AGI_LEASES_MAX / part || w->bytes + sizeof *l + key.n > AGI_LEASES_BYTES / part) {
		w->has_overflown = true;
		return NULL;
	}
	l = calloc(1, sizeof *l + key.n);
	if (!l)
		return NULL;
	*l = (struct agi_lease_seen){.d = d, .slot = agi_cur_u32(&c), .n_ns = agi_cur_u8(&c), .n = key.n};
	if (agi_cur_take(&c, l->n_ns).n == l->n_ns && !c.bad && c.n) {
		memcpy(l->key, key.p, key.n);
		l->timer = (struct agi_timer){.fn = on_due, .arg = l};
		HASH_ADD_KEYPTR(hh, w->by_key, l->key, l->n, l);
	}
	if (l->hh.tbl) {
		w->bytes += sizeof *l + l->n;
		return l;
	}
	free(l);
	return NULL;
}

/* A record with a lease, or of one, is in this node's storage. */
static void see(struct agi_dht *d, struct agi_str key, struct agi_str record)
{
	struct agi_lease_seen *l;
	struct agi_lease lease = {.ttl_ms = 0};
	struct agi_reg reg;

	if (agi_reg_decode(&reg, record) != AGI_OK)
		return;
	HASH_FIND(hh, d->leases.by_key, key.p, key.n, l);
	if (l && reg.version <= l->version)
		return;
	if (reg.is_tombstone) {
		if (l && !l->call)
			forget(l);
		return;
	}
	if (is_lease_key(key) &&
	    agi_lease_decode(&lease, (struct agi_str){key.p + key.n - 8, 8}, reg.value) != AGI_OK)
		return;
	if (!l)
		l = new_seen(d, key);
	if (!l)
		return;
	l->version = reg.version;
	l->ttl_ms = lease.ttl_ms;
	l->since_us = d->now.mono_us;
	if (!l->call)
		watch_over(l);
}

/* --- writes ----------------------------------------------------------------------------------------------------- */
struct agi_lease_note {
	struct agi_buf list; /* of be32 index of the operation, key and record with their lengths */
};

static bool is_of_interest(struct agi_str key, struct agi_str record)
{
	struct agi_reg reg;

	return is_lease_key(key) || (agi_reg_decode(&reg, record) == AGI_OK && reg.lease != 0);
}

struct agi_lease_note *agi_lease_note_new(const struct agi_storage_req *req)
{
	struct agi_lease_note *n = NULL;

	for (size_t i = 0; req->kind == AGI_STORAGE_WRITE && i < req->n_ops; i++) {
		const struct agi_storage_op *op = &req->ops[i];

		if (op->cf != AGI_CF_STRONG || op->verb != AGI_PUT_NEWER || !is_of_interest(op->key, op->value))
			continue;
		if (!n) {
			n = calloc(1, sizeof *n);
			if (!n)
				return NULL; /* it is seen at the next renewal, or start */
			agi_buf_init(&n->list, 0);
		}
		agi_buf_u32(&n->list, (uint32_t)i);
		agi_buf_blob(&n->list, op->key);
		agi_buf_blob(&n->list, op->value);
	}
	return n;
}

void agi_lease_note_apply(struct agi_dht *d, const struct agi_lease_note *n, const struct agi_storage_done *done)
{
	struct agi_cur c;

	if (!n || done->err || n->list.err)
		return;
	c = agi_cur_of(agi_buf_str(&n->list));
	while (c.n) {
		uint32_t op = agi_cur_u32(&c);
		struct agi_str key = agi_cur_blob(&c), record = agi_cur_blob(&c);

		if (!done->was || done->was[op].is_done)
			see(d, key, record);
	}
}

void agi_lease_note_free(struct agi_lease_note *n)
{
	if (!n)
		return;
	agi_buf_free(&n->list);
	free(n);
}

/* --- what is there at the start ------------------------------------------------------------------------------------ */
static void on_page(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_lease_sweep *w = &d->leases;

	(void)arg;
	w->scan_job = 0;
	for (size_t i = 0; done->err == AGI_OK && i < done->n; i++)
		if (is_of_interest(done->kv[i].key, done->kv[i].value))
			see(d, done->kv[i].key, done->kv[i].value);
	if (d->is_stopped)
		return;
	if (done->err == AGI_OK) {
		agi_buf_reset(&w->scan_after);
		w->scan_slot = d->slots.n;
	}
	if (done->err == AGI_OK && done->has_more && done->n) { /* goes on behind the last one read */
		struct agi_cur c = agi_cur_of(done->kv[done->n - 1].key);

		w->scan_slot = agi_cur_u32(&c);
		agi_buf_put_str(&w->scan_after, agi_cur_take(&c, c.n));
	}
	if (w->scan_slot < d->slots.n)
		agi_timer_set(&d->timers, &w->scan, agi_after_ms(d, done->err ? RETRY_MS : PAGE_PAUSE_MS));
}

static void scan(struct agi_dht *d, void *arg)
{
	struct agi_lease_sweep *w = &d->leases;
	struct agi_buf heads;
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN, .cf = AGI_CF_STRONG, .max_items = PAGE,
	                              .max_bytes = AGI_PAGE_BYTES, .begin = {"\0", 1}, .end = {"\xff", 1}};

	(void)arg;
	if (w->scan_slot == 0 && w->scan_after.n == 0)
		w->has_overflown = false;
	agi_buf_init(&heads, 0);
	for (uint32_t i = w->scan_slot; i < d->slots.n; i++) {
		if (agi_slot_find(d, i) && agi_slot_is_held(agi_slot_find(d, i)))
			agi_buf_u32(&heads, i);
		else if (i == w->scan_slot)
			agi_buf_reset(&w->scan_after); /* was meant for this one */
	}
	req.heads = agi_buf_str(&heads);
	req.after = agi_buf_str(&w->scan_after);
	if (heads.n && !heads.err)
		w->scan_job = agi_job_submit(d, &req, on_page, NULL);
	if (heads.n && !w->scan_job)
		agi_timer_set(&d->timers, &w->scan, agi_after_ms(d, RETRY_MS));
	agi_buf_free(&heads);
}

void agi_lease_sweep_init(struct agi_dht *d)
{
	d->leases.scan = (struct agi_timer){.fn = scan};
	agi_buf_init(&d->leases.scan_after, 0);
}

void agi_lease_sweep_start(struct agi_dht *d) { agi_timer_set(&d->timers, &d->leases.scan, d->now.mono_us); }

void agi_lease_sweep_free(struct agi_dht *d)
{
	struct agi_lease_seen *l, *tmp;

	d->leases.has_overflown = false;
	HASH_ITER(hh, d->leases.by_key, l, tmp)
		forget(l);
	agi_job_forget(d, d->leases.scan_job);
	agi_buf_free(&d->leases.scan_after);
}
