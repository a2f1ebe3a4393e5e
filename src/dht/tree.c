/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/tree.h"

#include <assert.h>
#include <stdlib.h>

#include "dht/state.h"

enum {
	RUN_SLOTS = 256,   /* built in one go: known that much earlier than all of them */
	RETRY_MS = 5000,   /* after a page could not be read */
	PAGE_ITEMS = 512
};

static struct agi_merkle **tree_at(struct agi_slot *s, bool is_strong)
{
	return is_strong ? &s->tree.strong : &s->tree.items;
}

static void drop_trees(struct agi_slot *s)
{
	free(s->tree.items);
	free(s->tree.strong);
	s->tree.items = s->tree.strong = NULL;
	s->tree.dead_ms = AGI_NEVER;
	s->tree.has_strong_dead = false;
}

void agi_tree_forget(struct agi_dht *d, struct agi_slot *s)
{
	drop_trees(s);
	s->tree.state = AGI_TREE_UNKNOWN;
	s->tree.gen = ++d->trees.gen;
}

void agi_tree_root(const struct agi_dht *d, const struct agi_slot *s, struct agi_merkle_hash *out)
{
	struct agi_merkle_hash both[2];

	assert(s->tree.state == AGI_TREE_KNOWN);
	*out = (struct agi_merkle_hash){{0}};
	if (agi_merkle_is_empty(s->tree.items) && agi_merkle_is_empty(s->tree.strong))
		return;
	agi_merkle_root(&both[0], &d->member.cluster, s->tree.items);
	agi_merkle_root(&both[1], &d->member.cluster, s->tree.strong);
	agi_siphash(out->b, d->member.cluster.b, (struct agi_str){(const char *)both, sizeof both});
}

/* --- one record ------------------------------------------------------------------------------------ */

/* When a record dies, or AGI_NEVER. Registers have no time: whether one is dead is all there is to say. */
static void see_death(struct agi_slot *s, bool is_strong, struct agi_str key, struct agi_str value)
{
	struct agi_item item;
	struct agi_reg reg;
	uint64_t dead_ms;

	if (is_strong) {
		if (agi_reg_decode(&reg, value) == AGI_OK)
			s->tree.has_strong_dead |= reg.is_tombstone;
		return;
	}
	if (agi_item_decode(&item, key, value) != AGI_OK)
		return;
	dead_ms = agi_item_dead_ms(&item);
	if (dead_ms < s->tree.dead_ms)
		s->tree.dead_ms = dead_ms;
}

/* False when out of memory. */
static bool toggle(struct agi_dht *d, struct agi_slot *s, bool is_strong, const struct agi_merkle_hash *key,
                   const uint8_t version[AGI_VERSION_BYTES])
{
	struct agi_merkle **t = tree_at(s, is_strong);
	struct agi_merkle_hash record;

	if (!*t)
		*t = calloc(1, sizeof **t);
	if (!*t)
		return false;
	agi_merkle_record(&record, &d->member.cluster, key, version);
	agi_merkle_toggle(*t, agi_merkle_leaf_of(key), &record);
	return true;
}

/* --- building --------------------------------------------------------------------------------------- */

static void next_page(struct agi_dht *d);

bool agi_trees_is_busy(const struct agi_dht *d)
{
	return d->trees.lo < d->trees.hi || (d->trees.is_wanted && d->trees.pace.is_set);
}

static bool lacks_tree(const struct agi_slot *s)
{
	return s && agi_slot_is_held(s) && s->tree.state == AGI_TREE_UNKNOWN;
}

/* The next slots to build: from the first that lacks its tree up to one that has it. */
static bool choose_run(struct agi_dht *d)
{
	struct agi_trees *t = &d->trees;
	uint32_t last;

	for (t->lo = 0; t->lo < d->slots.n && !lacks_tree(d->slots.by_number[t->lo]); t->lo++)
		;
	t->hi = t->lo;
	if (t->lo == d->slots.n)
		return false;
	last = t->lo;
	for (uint32_t i = t->lo; i < d->slots.n && i - t->lo < RUN_SLOTS; i++) {
		struct agi_slot *s = d->slots.by_number[i];

		if (lacks_tree(s))
			last = i;
		else if (s && agi_slot_is_held(s))
			break;
	}
	t->hi = last + 1;
	return true;
}

static void begin_run(struct agi_dht *d)
{
	struct agi_trees *t = &d->trees;
	uint8_t begin[4], end[4];

	t->is_wanted = false;
	if (!choose_run(d))
		return;
	for (uint32_t i = t->lo; i < t->hi; i++) {
		struct agi_slot *s = d->slots.by_number[i];

		if (!lacks_tree(s))
			continue;
		agi_tree_forget(d, s);
		s->tree.state = AGI_TREE_BUILDING;
		s->tree.is_spoilt = false;
	}
	t->is_wanted = true; /* and look again */
	t->is_strong = false;
	t->pages_asked = t->pages_done = 0;
	agi_slot_range(t->lo, begin, end);
	agi_buf_reset(&t->next);
	agi_buf_put(&t->next, begin, 4);
	next_page(d);
}

/* Whatever of this run is still being built begins again later. */
static void end_run(struct agi_dht *d, bool is_whole)
{
	struct agi_trees *t = &d->trees;

	for (uint32_t i = t->lo; i < t->hi; i++) {
		struct agi_slot *s = d->slots.by_number[i];

		if (!s || s->tree.state != AGI_TREE_BUILDING)
			continue;
		if (!is_whole || s->tree.is_spoilt) {
			agi_tree_forget(d, s);
			continue;
		}
		s->tree.state = AGI_TREE_KNOWN;
		s->tree.pages = t->pages_done;
		t->built++;
	}
	t->lo = t->hi = 0;
	agi_timer_set(&d->timers, &t->pace, is_whole ? d->now.mono_us : agi_after_ms(d, RETRY_MS));
}

static void take_record(struct agi_dht *d, const struct agi_kv *kv)
{
	struct agi_trees *t = &d->trees;
	struct agi_cur c = agi_cur_of(kv->key);
	struct agi_slot *s = agi_slot_find(d, agi_cur_u32(&c));
	struct agi_merkle_hash key;

	if (c.bad || !s || s->tree.state != AGI_TREE_BUILDING)
		return;
	agi_merkle_key(&key, &d->member.cluster, kv->key);
	if (kv->value.n < AGI_VERSION_BYTES ||
	    !toggle(d, s, t->is_strong, &key, (const uint8_t *)kv->value.p))
		s->tree.is_spoilt = true;
	see_death(s, t->is_strong, kv->key, kv->value);
}

static void on_page(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_trees *t = &d->trees;
	uint64_t bytes = 0;
	uint8_t begin[4], end[4];

	(void)arg;
	t->job = 0;
	if (done->err != AGI_OK || t->next.err) {
		end_run(d, false);
		return;
	}
	t->pages_done++;
	for (size_t i = 0; i < done->n; i++) {
		take_record(d, &done->kv[i]);
		bytes += done->kv[i].key.n + done->kv[i].value.n;
	}
	t->scanned_bytes += bytes;
	agi_buf_reset(&t->next);
	if (done->has_more && done->n) { /* goes on after the last one seen */
		agi_buf_put_str(&t->next, done->kv[done->n - 1].key);
		agi_buf_u8(&t->next, 0);
	} else if (t->is_strong) {
		end_run(d, true);
		return;
	} else {
		t->is_strong = true;
		agi_slot_range(t->lo, begin, end);
		agi_buf_put(&t->next, begin, 4);
	}
	agi_timer_set(&d->timers, &t->pace, d->now.mono_us + bytes * 1000000 / d->cfg.repair_bytes);
}

static void next_page(struct agi_dht *d)
{
	struct agi_trees *t = &d->trees;
	uint8_t begin[4], end[4];
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN,
	                              .cf = t->is_strong ? AGI_CF_STRONG : AGI_CF_ITEMS,
	                              .begin = agi_buf_str(&t->next), .end = {(const char *)end, 4},
	                              .max_items = PAGE_ITEMS, .max_bytes = AGI_PAGE_BYTES};

	agi_slot_range(t->hi - 1, begin, end);
	if (!t->next.err)
		t->job = agi_job_submit(d, &req, on_page, NULL);
	if (t->job)
		t->pages_asked++;
	else
		end_run(d, false);
}

static void on_pace(struct agi_dht *d, void *arg)
{
	struct agi_trees *t = &d->trees;

	(void)arg;
	if (d->is_stopped || t->job)
		return;
	if (t->lo < t->hi)
		next_page(d);
	else if (t->is_wanted)
		begin_run(d);
}

void agi_trees_want(struct agi_dht *d)
{
	struct agi_trees *t = &d->trees;

	if (!d->member.is_joined || d->is_stopped)
		return;
	if (!agi_trees_is_busy(d))
		agi_timer_set(&d->timers, &t->pace, d->now.mono_us);
	t->is_wanted = true;
}

void agi_trees_init(struct agi_dht *d)
{
	d->trees.pace.fn = on_pace;
	agi_buf_init(&d->trees.next, 0);
}

void agi_trees_free(struct agi_dht *d)
{
	for (uint32_t i = 0; d->slots.by_number && i < d->slots.n; i++)
		if (d->slots.by_number[i])
			drop_trees(d->slots.by_number[i]);
	agi_buf_free(&d->trees.next);
}

/* --- writes ------------------------------------------------------------------------------------------ */

struct noted {
	size_t op;                 /* its place in the request */
	uint32_t slot, gen;
	uint32_t pages;            /* asked for when it was submitted */
	bool is_strong, is_put, was_building;
	struct agi_merkle_hash key;
	uint8_t version[AGI_VERSION_BYTES];
	size_t key_at, key_n;      /* was_building: the key itself, in keys */
};
struct agi_tree_note {
	struct agi_buf keys;
	size_t n;
	struct noted op[];
};

void agi_tree_note_free(struct agi_tree_note *n)
{
	if (n)
		agi_buf_free(&n->keys);
	free(n);
}

static struct agi_slot *slot_of(struct agi_dht *d, const struct agi_storage_op *op)
{
	struct agi_cur c = agi_cur_of(op->key);

	if (op->cf != AGI_CF_ITEMS && op->cf != AGI_CF_STRONG)
		return NULL;
	return agi_slot_find(d, agi_cur_u32(&c));
}

/* Nobody tells what these do: whoever builds a tree after this sees them done. */
static void forget_range(struct agi_dht *d, const struct agi_storage_op *op)
{
	struct agi_cur from = agi_cur_of(op->key), to = agi_cur_of(op->value);
	uint32_t first = agi_cur_u32(&from), last = op->verb == AGI_DELETE_RANGE ? agi_cur_u32(&to) : first;

	for (uint32_t i = first; i <= last && i < d->slots.n; i++) {
		bool is_in = i < last || first == last || to.n > 0; /* an end of four bytes is the first not meant */

		if (is_in && d->slots.by_number[i])
			agi_tree_forget(d, d->slots.by_number[i]);
	}
}

static void note_op(struct agi_dht *d, struct agi_tree_note *n, const struct agi_storage_req *req, size_t i)
{
	const struct agi_storage_op *op = &req->ops[i];
	struct agi_slot *s = slot_of(d, op);
	struct noted *x = &n->op[n->n];

	if (!s || s->tree.state == AGI_TREE_UNKNOWN)
		return;
	*x = (struct noted){.op = i, .slot = s->view.slot, .gen = s->tree.gen, .pages = d->trees.pages_asked,
	                    .is_strong = op->cf == AGI_CF_STRONG, .is_put = op->verb == AGI_PUT_NEWER,
	                    .was_building = s->tree.state == AGI_TREE_BUILDING,
	                    .key_at = n->keys.n, .key_n = op->key.n};
	agi_merkle_key(&x->key, &d->member.cluster, op->key);
	memcpy(x->version, op->value.p, AGI_VERSION_BYTES);
	if (x->was_building)
		agi_buf_put_str(&n->keys, op->key);
	if (x->is_put)
		see_death(s, x->is_strong, op->key, op->value);
	n->n++;
}

static bool is_told(const struct agi_storage_op *op)
{
	return (op->verb == AGI_PUT_NEWER || op->verb == AGI_DELETE_IF) && op->value.n >= AGI_VERSION_BYTES;
}

struct agi_tree_note *agi_tree_note_new(struct agi_dht *d, const struct agi_storage_req *req)
{
	struct agi_tree_note *n;
	size_t n_told = 0;

	for (size_t i = 0; req->kind == AGI_STORAGE_WRITE && i < req->n_ops; i++) {
		struct agi_slot *s = slot_of(d, &req->ops[i]);

		if (s && !is_told(&req->ops[i]))
			forget_range(d, &req->ops[i]);
		else
			n_told += s && s->tree.state != AGI_TREE_UNKNOWN;
	}
	if (!n_told)
		return NULL;
	n = calloc(1, sizeof *n + n_told * sizeof n->op[0]);
	if (n)
		agi_buf_init(&n->keys, 0);
	for (size_t i = 0; i < req->n_ops; i++) {
		struct agi_slot *s = slot_of(d, &req->ops[i]);

		if (n && is_told(&req->ops[i]))
			note_op(d, n, req, i);
		else if (!n && s)
			agi_tree_forget(d, s);
	}
	return n;
}

/* Does the tree contain what was stored under this key before the write? */
static bool is_covered(struct agi_dht *d, const struct agi_tree_note *n, const struct noted *x,
                       struct agi_slot *s)
{
	const struct agi_trees *t = &d->trees;
	struct agi_str key = {(const char *)n->keys.p + x->key_at, x->key_n};

	if (!x->was_building)
		return true;
	if (s->tree.state == AGI_TREE_KNOWN) { /* after the last page, or out of order */
		if (x->pages != s->tree.pages)
			agi_tree_forget(d, s);
		return s->tree.state == AGI_TREE_KNOWN;
	}
	if (x->pages != t->pages_done || n->keys.err)
		s->tree.is_spoilt = true;
	if (x->is_strong != t->is_strong)
		return t->is_strong; /* items are all read, registers not yet */
	return agi_str_cmp(key, agi_buf_str(&t->next)) < 0;
}

static void apply_op(struct agi_dht *d, const struct agi_tree_note *n, const struct noted *x,
                     const struct agi_storage_was *was)
{
	struct agi_slot *s = agi_slot_find(d, x->slot);
	bool is_good = true;

	if (!s || s->tree.gen != x->gen || !was->is_done || !is_covered(d, n, x, s))
		return;
	if (was->was_there)
		is_good = was->n == AGI_VERSION_BYTES && toggle(d, s, x->is_strong, &x->key, was->version);
	if (is_good && x->is_put)
		is_good = toggle(d, s, x->is_strong, &x->key, x->version);
	if (!is_good)
		agi_tree_forget(d, s);
}

void agi_tree_note_apply(struct agi_dht *d, const struct agi_tree_note *n,
                         const struct agi_storage_done *done)
{
	/* refused before anything was done */
	bool is_untouched = done->err == AGI_E_FULL || done->err == AGI_E_TOO_LARGE || done->err == AGI_E_NOMEM ||
	                    done->err == AGI_E_READ_ONLY || done->err == AGI_E_INVALID;

	for (size_t i = 0; n && i < n->n && !is_untouched; i++) {
		struct agi_slot *s = agi_slot_find(d, n->op[i].slot);

		if (done->err == AGI_OK && done->was)
			apply_op(d, n, &n->op[i], &done->was[n->op[i].op]);
		else if (s && s->tree.gen == n->op[i].gen)
			agi_tree_forget(d, s);
	}
}
