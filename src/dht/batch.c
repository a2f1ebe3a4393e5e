/* SPDX-License-Identifier: Apache-2.0
 * Batches: several puts and deletes in one call, each of which succeeds or fails by itself. Items of one slot are
 * written as one; strong ones each by its slot's leader. */
#include <stdlib.h>

#include "dht/batch.h"
#include "dht/inner.h"

struct part {
	struct agi_batch *b;
	uint64_t call;           /* the inner call; 0 = none */
	uint16_t first, n;       /* of b->order */
};

struct agi_batch {
	struct agi_dht *d;
	uint64_t call_id;
	enum agi_level level;
	uint32_t timeout_ms, n_open;
	size_t n;
	struct agi_item items[AGI_BATCH_ITEMS]; /* strings are in bytes */
	uint32_t slots[AGI_BATCH_ITEMS];
	uint16_t order[AGI_BATCH_ITEMS];        /* items by slot */
	struct agi_outcome outcomes[AGI_BATCH_ITEMS];
	struct part parts[AGI_BATCH_ITEMS];
	size_t n_parts;
	char *bytes;
	TAILQ_ENTRY(agi_batch) link;
};

static void destroy(struct agi_batch *b)
{
	for (size_t i = 0; i < b->n_parts; i++)
		agi_inner_cancel(b->d, b->parts[i].call);
	TAILQ_REMOVE(&b->d->batches, b, link);
	free(b->bytes);
	free(b);
}

static void finish(struct agi_batch *b)
{
	struct agi_result res = {.kind = AGI_CALL_BATCH, .outcomes = b->outcomes, .n_items = b->n};

	agi_call_reply(b->d, b->call_id, &res);
	destroy(b);
}

static void on_part(struct agi_dht *d, void *arg, const struct agi_result *res)
{
	struct part *p = arg;
	struct agi_batch *b = p->b;

	(void)d;
	p->call = 0;
	for (uint16_t i = p->first; i < p->first + p->n; i++)
		b->outcomes[b->order[i]] = (struct agi_outcome){.err = res->err, .why = res->why,
		                                                .version = res->err ? 0 : res->version.hlc,
		                                                .acks = res->acks, .slot = b->slots[b->order[i]]};
	if (--b->n_open == 0)
		finish(b);
}

static bool start_part(struct agi_batch *b, struct part *p)
{
	struct agi_item list[AGI_BATCH_ITEMS];
	const struct agi_item *first = &b->items[b->order[p->first]];
	struct agi_call c = {.kind = AGI_CALL_PUT, .ns = first->ns, .key = first->key, .level = b->level,
	                     .timeout_ms = b->timeout_ms};

	if (b->level == AGI_LEVEL_STRONG) {
		c.kind = first->is_tombstone ? AGI_CALL_DELETE : AGI_CALL_PUT;
		c.value = first->value;
	} else {
		for (uint16_t i = 0; i < p->n; i++)
			list[i] = b->items[b->order[p->first + i]];
		c.items = list;
		c.n_items = p->n;
	}
	p->call = agi_inner_start(b->d, &c, on_part, p);
	return p->call != 0;
}

static void start(struct agi_batch *b)
{
	size_t n = b->n_parts; /* the last part that cannot begin may end the batch */

	b->n_open = (uint32_t)n;
	for (size_t i = 0; i < n; i++) {
		struct agi_result none = {.err = AGI_E_NOMEM};

		if (!start_part(b, &b->parts[i]))
			on_part(b->d, &b->parts[i], &none);
	}
}

/* Insertion sort: there are few. */
static void sort_by_slot(struct agi_batch *b)
{
	for (uint16_t i = 0; i < b->n; i++) {
		uint16_t at = i;

		for (; at > 0 && b->slots[b->order[at - 1]] > b->slots[i]; at--)
			b->order[at] = b->order[at - 1];
		b->order[at] = i;
	}
}

static void split(struct agi_batch *b)
{
	for (uint16_t i = 0; i < b->n; i++) {
		struct part *last = b->n_parts ? &b->parts[b->n_parts - 1] : NULL;

		if (last && b->level != AGI_LEVEL_STRONG && b->slots[b->order[last->first]] == b->slots[b->order[i]])
			last->n++;
		else
			b->parts[b->n_parts++] = (struct part){.b = b, .first = i, .n = 1};
	}
}

static enum agi_err check(const struct agi_dht *d, const struct agi_call *c, struct agi_why *why)
{
	size_t bytes = 0;

	if (c->n_items == 0 || c->n_items > AGI_BATCH_ITEMS)
		return agi_fail(why, AGI_E_INVALID, "%zu items, expected 1 to %d", c->n_items, AGI_BATCH_ITEMS);
	for (size_t i = 0; i < c->n_items; i++) {
		struct agi_call one = {.ns = c->ns, .key = c->items[i].key, .value = c->items[i].value};
		enum agi_err e = agi_kv_check_call(d, &one, why);

		if (e)
			return e;
		if (c->level == AGI_LEVEL_STRONG && c->items[i].expires_ms)
			return agi_fail(why, AGI_E_INVALID, "items[%zu]: a strong item cannot have a time to live", i);
		for (size_t j = 0; j < i; j++)
			if (agi_str_eq(c->items[i].key, c->items[j].key))
				return agi_fail(why, AGI_E_INVALID, "items[%zu] and items[%zu] have the same key: "
				                                    "a batch has no order", j, i);
		bytes += c->items[i].key.n + c->items[i].value.n;
	}
	if (bytes > AGI_BATCH_BYTES)
		return agi_fail(why, AGI_E_TOO_LARGE, "%zu bytes of keys and values, expected at most %d", bytes,
		                AGI_BATCH_BYTES);
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

static struct agi_batch *new_batch(struct agi_dht *d, const struct agi_call *c)
{
	struct agi_batch *b = calloc(1, sizeof *b);
	size_t bytes = c->ns.n + 1;
	struct agi_str ns;
	char *p;

	for (size_t i = 0; i < c->n_items; i++)
		bytes += c->items[i].key.n + c->items[i].value.n;
	p = malloc(bytes);
	if (!b || !p) {
		free(b);
		free(p);
		return NULL;
	}
	*b = (struct agi_batch){.d = d, .level = c->level, .timeout_ms = c->timeout_ms, .n = c->n_items, .bytes = p};
	ns = move(&p, c->ns);
	for (size_t i = 0; i < c->n_items; i++) {
		b->items[i] = c->items[i];
		b->items[i].ns = ns;
		if (b->items[i].expires_ms) /* was the time to live */
			b->items[i].expires_ms += d->now.wall_ms;
		b->items[i].key = move(&p, c->items[i].key);
		b->items[i].value = move(&p, c->items[i].value);
		b->slots[i] = agi_dht_slot_of(d, ns, b->items[i].key);
	}
	sort_by_slot(b);
	split(b);
	TAILQ_INSERT_TAIL(&d->batches, b, link);
	return b;
}

static void cancel_call(struct agi_dht *d, void *arg)
{
	(void)d;
	destroy(arg);
}

void agi_batch_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *c)
{
	struct agi_why why;
	struct agi_batch *b;
	enum agi_err err = check(d, c, &why);

	if (err) {
		agi_call_fail(d, call_id, c->kind, err, why.text);
		return;
	}
	b = new_batch(d, c);
	if (!b) {
		agi_call_fail(d, call_id, c->kind, AGI_E_NOMEM, "");
		return;
	}
	if (agi_call_open(d, call_id, c->kind, b, cancel_call) != AGI_OK) {
		destroy(b);
		return;
	}
	b->call_id = call_id;
	start(b);
}

void agi_batches_init(struct agi_dht *d) { TAILQ_INIT(&d->batches); }

void agi_batches_free(struct agi_dht *d)
{
	while (!TAILQ_EMPTY(&d->batches))
		destroy(TAILQ_FIRST(&d->batches));
}
