/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/feed.h"

#include <stdlib.h>

enum {
	NEWS_BYTES = 64 << 10, /* of keys in one message */
	SLOT_BYTES = 12
};

struct feed_key {
	uint32_t slot;
	struct agi_version version;
	size_t n;
	UT_hash_handle hh;
	char key[];
};

struct agi_feed {
	struct agi_dht *d;
	struct agi_peer to;
	uint64_t watch;
	bool is_strong, is_exact;
	struct agi_str ns, prefix;  /* in bytes */
	char *bytes;
	uint8_t *looked_at;         /* one bit a slot */
	uint8_t *lost;              /* to be told */
	uint32_t n_lost;
	struct feed_key *dirty;
	uint64_t rpc;               /* of the news on their way; 0 = none */
	struct agi_timer idle, tell;
	TAILQ_ENTRY(agi_feed) link;
};

static bool has_bit(const uint8_t *bits, uint32_t i) { return bits[i / 8] >> i % 8 & 1; }
static void set_bit(uint8_t *bits, uint32_t i) { bits[i / 8] |= (uint8_t)(1 << i % 8); }
static void clear_bit(uint8_t *bits, uint32_t i) { bits[i / 8] &= (uint8_t)~(1 << i % 8); }

static void look_at(struct agi_feed *f, uint32_t slot)
{
	if (!has_bit(f->looked_at, slot))
		f->d->feeds.per_slot[slot]++;
	set_bit(f->looked_at, slot);
}

static void look_away(struct agi_feed *f, uint32_t slot)
{
	if (has_bit(f->looked_at, slot))
		f->d->feeds.per_slot[slot]--;
	clear_bit(f->looked_at, slot);
}

/* --- the messages' lists --------------------------------------------------------------------------------- */
static void put_short(struct agi_buf *b, struct agi_str s)
{
	agi_buf_u16(b, (uint16_t)s.n);
	agi_buf_put_str(b, s);
}

static struct agi_str take_short(struct agi_cur *c) { return agi_cur_take(c, agi_cur_u16(c)); }

void agi_feed_ask_put(struct agi_buf *b, const struct agi_feed_ask *ask, struct agi_str slots)
{
	agi_buf_u64(b, ask->watch);
	agi_buf_u8(b, ask->is_exact);
	agi_buf_u8(b, ask->is_end);
	put_short(b, ask->ns);
	put_short(b, ask->prefix);
	agi_buf_put_str(b, slots);
}

static enum agi_err take_ask(struct agi_feed_ask *ask, struct agi_str blob)
{
	struct agi_cur c = agi_cur_of(blob);

	*ask = (struct agi_feed_ask){.watch = agi_cur_u64(&c)};
	ask->is_exact = agi_cur_u8(&c) != 0;
	ask->is_end = agi_cur_u8(&c) != 0;
	ask->ns = take_short(&c);
	ask->prefix = take_short(&c);
	ask->slots = c;
	if (c.bad || c.n % SLOT_BYTES != 0 || ask->ns.n > AGI_NAMESPACE_MAX || ask->prefix.n > AGI_KEY_MAX)
		return AGI_E_INVALID;
	return AGI_OK;
}

enum agi_err agi_feed_state_open(struct agi_feed_state *s, const struct agi_msg *m)
{
	struct agi_cur c = agi_cur_of(m->blob);

	s->is_known = agi_cur_u8(&c) != 0;
	s->is_clean = agi_cur_u8(&c) != 0;
	s->lost = c;
	return c.bad || c.n % 4 != 0 ? AGI_E_MALFORMED : AGI_OK;
}

enum agi_err agi_feed_news_open(struct agi_feed_news *n, const struct agi_msg *m)
{
	struct agi_cur c = agi_cur_of(m->blob);
	struct agi_str lost;

	n->watch = agi_cur_u64(&c);
	lost = agi_cur_blob(&c);
	n->lost = agi_cur_of(lost);
	n->changes = c;
	return c.bad || lost.n % 4 != 0 ? AGI_E_INVALID : AGI_OK;
}

bool agi_feed_news_next(struct agi_feed_news *n, struct agi_feed_change *out)
{
	if (n->changes.n == 0)
		return false;
	out->slot = agi_cur_u32(&n->changes);
	out->version.hlc = agi_cur_u64(&n->changes);
	agi_cur_copy(&n->changes, out->version.node.b, AGI_ID_BYTES);
	out->key = take_short(&n->changes);
	return !n->changes.bad;
}

/* --- life -------------------------------------------------------------------------------------------------- */
static void forget_key(struct agi_feed *f, struct feed_key *k)
{
	HASH_DEL(f->dirty, k);
	f->d->feeds.bytes -= sizeof *k + k->n;
	free(k);
}

static void destroy(struct agi_feed *f)
{
	struct agi_dht *d = f->d;
	struct feed_key *k, *tmp;

	HASH_ITER(hh, f->dirty, k, tmp)
		forget_key(f, k);
	for (uint32_t i = 0; i < d->slots.n; i++)
		look_away(f, i);
	agi_rpc_cancel(d, f->rpc);
	agi_timer_clear(&d->timers, &f->idle);
	agi_timer_clear(&d->timers, &f->tell);
	TAILQ_REMOVE(&d->feeds.all, f, link);
	d->feeds.n--;
	free(f->looked_at);
	free(f->bytes);
	free(f);
}

static void on_idle(struct agi_dht *d, void *arg)
{
	(void)d;
	destroy(arg);
}

static void tell(struct agi_dht *d, void *arg);

static struct agi_feed *new_feed(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m,
                                 const struct agi_feed_ask *ask)
{
	size_t bits = d->slots.n / 8 + 1;
	struct agi_feed *f = calloc(1, sizeof *f);
	char *p = malloc(ask->ns.n + ask->prefix.n + 1);
	uint8_t *both = calloc(2, bits);

	if (!f || !p || !both) {
		free(f);
		free(p);
		free(both);
		return NULL;
	}
	*f = (struct agi_feed){.d = d, .to = *from, .watch = ask->watch, .is_strong = m->is_strong,
	                       .is_exact = ask->is_exact, .bytes = p, .looked_at = both, .lost = both + bits};
	f->ns = (struct agi_str){memcpy(p, ask->ns.n ? ask->ns.p : "", ask->ns.n), ask->ns.n};
	f->prefix = (struct agi_str){memcpy(p + ask->ns.n, ask->prefix.n ? ask->prefix.p : "", ask->prefix.n), ask->prefix.n};
	f->idle = (struct agi_timer){.fn = on_idle, .arg = f};
	f->tell = (struct agi_timer){.fn = tell, .arg = f};
	TAILQ_INSERT_TAIL(&d->feeds.all, f, link);
	d->feeds.n++;
	return f;
}

static struct agi_feed *find(struct agi_dht *d, const struct agi_id *from, uint64_t watch)
{
	struct agi_feed *f;

	TAILQ_FOREACH(f, &d->feeds.all, link)
		if (f->watch == watch && agi_id_eq(&f->to.id, from))
			return f;
	return NULL;
}

/* --- telling ------------------------------------------------------------------------------------------------ */
static void wake(struct agi_feed *f)
{
	if (!f->rpc && !f->tell.is_set)
		agi_timer_set(&f->d->timers, &f->tell, f->d->now.mono_us);
}

static void lose(struct agi_feed *f, uint32_t slot)
{
	if (!has_bit(f->looked_at, slot))
		return;
	look_away(f, slot);
	if (!has_bit(f->lost, slot)) {
		set_bit(f->lost, slot);
		f->n_lost++;
	}
	wake(f);
}

static void put_lost(struct agi_buf *b, struct agi_feed *f)
{
	for (uint32_t i = 0; f->n_lost && i < f->d->slots.n; i++) {
		if (!has_bit(f->lost, i))
			continue;
		clear_bit(f->lost, i);
		f->n_lost--;
		agi_buf_u32(b, i);
	}
}

static void put_change(struct agi_buf *b, const struct feed_key *k)
{
	agi_buf_u32(b, k->slot);
	agi_buf_u64(b, k->version.hlc);
	agi_buf_put(b, k->version.node.b, AGI_ID_BYTES);
	put_short(b, (struct agi_str){k->key, k->n});
}

static void on_noted(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err, const struct agi_peer *from,
                     const struct agi_msg *m)
{
	struct agi_feed *f = arg;

	(void)d, (void)which, (void)from;
	f->rpc = 0;
	if (err || m->kind != AGI_MSG_NOTED || m->status)
		destroy(f); /* what was in the message is lost: so is the feed, which its watch will notice */
	else if (f->n_lost || f->dirty)
		wake(f);
}

static void tell(struct agi_dht *d, void *arg)
{
	struct agi_feed *f = arg;
	struct agi_msg m = {.kind = AGI_MSG_CHANGED};
	struct agi_buf lost, b;
	struct feed_key *k, *tmp;

	agi_buf_init(&lost, 0);
	agi_buf_init(&b, AGI_BLOB_MAX);
	put_lost(&lost, f);
	agi_buf_u64(&b, f->watch);
	agi_buf_blob(&b, agi_buf_str(&lost));
	HASH_ITER(hh, f->dirty, k, tmp) {
		if (b.n > NEWS_BYTES)
			break;
		put_change(&b, k);
		forget_key(f, k);
	}
	m.blob = agi_buf_str(&b);
	if (!lost.err && !b.err)
		f->rpc = agi_rpc_ask(d, &f->to, AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, on_noted, f, 0);
	agi_buf_free(&lost);
	agi_buf_free(&b);
	if (!f->rpc)
		destroy(f);
}

/* --- what is written ------------------------------------------------------------------------------------------ */
struct noted {
	enum agi_cf cf;
	uint32_t slot;
	size_t op;                  /* of the request */
	size_t ns_n;
	struct agi_version version;
	size_t n;                   /* bytes of namespace and key, in keys */
};
struct agi_feed_note {
	struct agi_buf keys;
	size_t n;
	struct noted v[];
};

static bool matches(const struct agi_feed *f, enum agi_cf cf, uint32_t slot, struct agi_str ns, struct agi_str key)
{
	return f->is_strong == (cf == AGI_CF_STRONG) && slot < f->d->slots.n && has_bit(f->looked_at, slot) &&
	       agi_str_eq(f->ns, ns) &&
	       (f->is_exact ? agi_str_eq(f->prefix, key) : agi_str_has_prefix(key, f->prefix));
}

static void mark_dirty(struct agi_feed *f, uint32_t slot, struct agi_str key, const struct agi_version *version)
{
	struct feed_key *k;

	HASH_FIND(hh, f->dirty, key.p, key.n, k);
	if (k) {
		if (agi_version_cmp(version, &k->version) > 0)
			k->version = *version;
		return;
	}
	if (HASH_COUNT(f->dirty) < AGI_FEED_KEYS && f->d->feeds.bytes < AGI_FEEDS_BYTES)
		k = malloc(sizeof *k + key.n);
	if (k) {
		*k = (struct feed_key){.slot = slot, .version = *version, .n = key.n};
		memcpy(k->key, key.p, key.n);
		HASH_ADD_KEYPTR(hh, f->dirty, k->key, k->n, k);
		if (!k->hh.tbl) {
			free(k);
			k = NULL;
		}
	}
	if (k)
		f->d->feeds.bytes += sizeof *k + k->n;
	else
		lose(f, slot);
	wake(f);
}

/* The version a get of the record would answer. */
static enum agi_err version_of(enum agi_cf cf, struct agi_str record, struct agi_version *out)
{
	struct agi_item it;
	struct agi_reg reg;
	enum agi_err e;

	if (cf == AGI_CF_STRONG) {
		e = agi_reg_decode(&reg, record);
		*out = (struct agi_version){.hlc = reg.version};
		return e;
	}
	e = agi_item_decode_record(&it, record);
	*out = it.version;
	return e;
}

static bool split_key(struct agi_str stored, uint32_t *slot, struct agi_str *ns, struct agi_str *key)
{
	struct agi_cur c = agi_cur_of(stored);

	*slot = agi_cur_u32(&c);
	*ns = agi_cur_take(&c, agi_cur_u8(&c));
	*key = agi_cur_take(&c, c.n);
	return !c.bad;
}

static bool is_told(const struct agi_storage_op *op)
{
	return op->verb == AGI_PUT_NEWER && (op->cf == AGI_CF_ITEMS || op->cf == AGI_CF_STRONG);
}

/* Does any feed want to hear of it? */
static bool is_wanted(struct agi_dht *d, const struct agi_storage_op *op)
{
	struct agi_str ns, key;
	struct agi_feed *f;
	uint32_t slot;

	if (!is_told(op) || !split_key(op->key, &slot, &ns, &key) || slot >= d->slots.n || !d->feeds.per_slot[slot])
		return false;
	TAILQ_FOREACH(f, &d->feeds.all, link)
		if (matches(f, op->cf, slot, ns, key))
			return true;
	return false;
}

static void note_op(struct agi_feed_note *n, const struct agi_storage_op *op, size_t i)
{
	struct noted *v = &n->v[n->n];
	struct agi_str ns, key;

	*v = (struct noted){.cf = op->cf, .op = i};
	if (!split_key(op->key, &v->slot, &ns, &key) || version_of(op->cf, op->value, &v->version) != AGI_OK)
		return;
	v->ns_n = ns.n;
	v->n = ns.n + key.n;
	agi_buf_put_str(&n->keys, ns);
	agi_buf_put_str(&n->keys, key);
	n->n++;
}

struct agi_feed_note *agi_feed_note_new(struct agi_dht *d, const struct agi_storage_req *req)
{
	struct agi_feed_note *n;
	size_t wanted = 0;

	if (TAILQ_EMPTY(&d->feeds.all) || req->kind != AGI_STORAGE_WRITE)
		return NULL;
	for (size_t i = 0; i < req->n_ops; i++)
		wanted += is_wanted(d, &req->ops[i]);
	if (!wanted)
		return NULL;
	n = calloc(1, sizeof *n + wanted * sizeof n->v[0]);
	if (n)
		agi_buf_init(&n->keys, 0);
	for (size_t i = 0; i < req->n_ops; i++) {
		struct agi_str ns, key;
		uint32_t slot;

		if (!is_wanted(d, &req->ops[i]))
			continue;
		if (n && !n->keys.err)
			note_op(n, &req->ops[i], i);
		if ((!n || n->keys.err) && split_key(req->ops[i].key, &slot, &ns, &key))
			agi_feeds_moved(d, slot); /* nobody will be told of it: the slot must be looked at anew */
	}
	return n;
}

void agi_feed_note_apply(struct agi_dht *d, const struct agi_feed_note *n, const struct agi_storage_done *done)
{
	const char *at = n ? (const char *)n->keys.p : NULL;

	for (size_t i = 0; n && i < n->n; i++) {
		const struct noted *v = &n->v[i];
		struct agi_str ns = {at, v->ns_n}, key = {at + v->ns_n, v->n - v->ns_n};
		struct agi_feed *f, *next;

		at += v->n;
		if (done->err == AGI_OK && done->was && !done->was[v->op].is_done)
			continue; /* something newer was there already */
		for (f = TAILQ_FIRST(&d->feeds.all); f; f = next) {
			next = TAILQ_NEXT(f, link);
			if (!matches(f, v->cf, v->slot, ns, key))
				continue;
			if (done->err)
				lose(f, v->slot); /* whether it is there shows when the slot is read */
			else
				mark_dirty(f, v->slot, key, &v->version);
		}
	}
}

void agi_feed_note_free(struct agi_feed_note *n)
{
	if (!n)
		return;
	agi_buf_free(&n->keys);
	free(n);
}

void agi_feeds_moved(struct agi_dht *d, uint32_t slot)
{
	struct agi_feed *f;

	TAILQ_FOREACH(f, &d->feeds.all, link)
		lose(f, slot);
}

/* --- what is asked ----------------------------------------------------------------------------------------------- */
static void add_slots(struct agi_feed *f, struct agi_cur slots, struct agi_buf *refused)
{
	while (slots.n) {
		uint32_t slot = agi_cur_u32(&slots);
		uint64_t epoch = agi_cur_u64(&slots);
		const struct agi_slot *s = agi_slot_find(f->d, slot);

		if (!s || s->view.epoch != epoch || s->phase != AGI_VIEW_ACTIVE) {
			agi_buf_u32(refused, slot);
			continue;
		}
		look_at(f, slot);
		if (has_bit(f->lost, slot)) {
			clear_bit(f->lost, slot);
			f->n_lost--;
		}
	}
}

static void answer(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m, struct agi_feed *f,
                   const struct agi_feed_ask *ask, bool is_known)
{
	struct agi_msg out = {.kind = AGI_MSG_WATCHED};
	struct agi_buf b;

	agi_buf_init(&b, AGI_BLOB_MAX);
	agi_buf_u8(&b, is_known);
	agi_buf_u8(&b, !f->dirty && !f->rpc);
	add_slots(f, ask->slots, &b);
	put_lost(&b, f);
	out.status = b.err;
	out.blob = agi_buf_str(&b);
	agi_answer(d, from, m, &out);
	if (b.err)
		destroy(f);
	agi_buf_free(&b);
}

void agi_feed_on_watch(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_WATCHED};
	struct agi_feed_ask ask;
	struct agi_feed *f = NULL;
	bool is_known = false;

	out.status = take_ask(&ask, m->blob);
	if (out.status == AGI_OK) {
		f = find(d, &from->id, ask.watch);
		is_known = f != NULL;
		if (f && ask.is_end)
			destroy(f);
		else if (!f && !ask.is_end && d->feeds.n >= AGI_FEEDS_MAX)
			out.status = AGI_E_FULL;
		else if (!f && !ask.is_end && !(f = new_feed(d, from, m, &ask)))
			out.status = AGI_E_NOMEM;
	}
	if (out.status || ask.is_end) {
		agi_answer(d, from, m, &out);
		return;
	}
	agi_timer_set(&d->timers, &f->idle, agi_after_ms(d, AGI_FEED_IDLE_MS));
	answer(d, from, m, f, &ask, is_known);
}

enum agi_err agi_feeds_init(struct agi_dht *d)
{
	TAILQ_INIT(&d->feeds.all);
	d->feeds.per_slot = calloc(d->slots.n, sizeof *d->feeds.per_slot);
	return d->feeds.per_slot ? AGI_OK : AGI_E_NOMEM;
}

void agi_feeds_free(struct agi_dht *d)
{
	while (!TAILQ_EMPTY(&d->feeds.all))
		destroy(TAILQ_FIRST(&d->feeds.all));
	free(d->feeds.per_slot);
	d->feeds.per_slot = NULL;
}
