/* SPDX-License-Identifier: Apache-2.0 */
#include "history.h"

#include <stdlib.h>
#include <string.h>

int lin_begin(struct lin_history *h, enum lin_kind kind, uint64_t arg, uint64_t expected, uint64_t now)
{
	if (h->n == LIN_OPS_MAX)
		return -1;
	h->op[h->n] = (struct lin_op){kind, arg, expected, now, LIN_PENDING, 0};
	return (int)h->n++;
}

enum { WORDS = LIN_OPS_MAX / 64 };

/* What has been put in order, and the register's value then. */
struct config {
	uint64_t done[WORDS];
	uint64_t state;
};

struct memo {
	struct config *slot;
	bool *used;
	size_t cap, n;
};

static size_t hash(const struct config *c)
{
	uint64_t h = c->state * 0x9e3779b97f4a7c15u;

	for (int i = 0; i < WORDS; i++)
		h = (h ^ c->done[i]) * 0xff51afd7ed558ccdu, h ^= h >> 32;
	return (size_t)h;
}

static bool insert(struct memo *m, const struct config *c)
{
	size_t i = hash(c) & (m->cap - 1);

	for (; m->used[i]; i = (i + 1) & (m->cap - 1))
		if (memcmp(&m->slot[i], c, sizeof *c) == 0)
			return false;
	m->used[i] = true;
	m->slot[i] = *c;
	m->n++;
	return true;
}

static void grow(struct memo *m)
{
	struct memo bigger = {.cap = m->cap ? 2 * m->cap : 1024};

	bigger.slot = calloc(bigger.cap, sizeof *bigger.slot);
	bigger.used = calloc(bigger.cap, sizeof *bigger.used);
	if (!bigger.slot || !bigger.used)
		abort();
	for (size_t i = 0; i < m->cap; i++)
		if (m->used[i])
			insert(&bigger, &m->slot[i]);
	free(m->slot);
	free(m->used);
	*m = bigger;
}

static bool is_done(const struct config *c, size_t i) { return c->done[i / 64] >> (i % 64) & 1; }

/* Applies op to state; false when it could not have given the result it gave. A pending one has no result. */
static bool apply(const struct lin_op *op, uint64_t *state)
{
	bool is_known = op->end != LIN_PENDING;

	switch (op->kind) {
	case LIN_GET:
		return !is_known || op->result == *state;
	case LIN_PUT:
		*state = op->arg;
		return true;
	case LIN_DELETE:
		if (is_known && op->result != (*state != 0))
			return false;
		*state = 0;
		return true;
	case LIN_CAS:
		if (is_known && op->result != (*state == op->expected))
			return false;
		if (*state == op->expected)
			*state = op->arg;
		return true;
	default:
		*state += op->arg;
		return !is_known || op->result == *state;
	}
}

/* Of no consequence: did nothing, or only looked and was never told. */
static bool is_moot(const struct lin_op *op)
{
	return op->kind == LIN_NONE || (op->kind == LIN_GET && op->end == LIN_PENDING);
}

/* An earlier pending operation just like this one is still to come: taking that one first loses nothing. */
static bool has_twin(const struct lin_history *h, const struct config *c, size_t i)
{
	if (h->op[i].end != LIN_PENDING || (h->op[i].kind != LIN_ADD && h->op[i].kind != LIN_DELETE))
		return false;
	for (size_t k = 0; k < i; k++)
		if (!is_done(c, k) && h->op[k].end == LIN_PENDING && h->op[k].kind == h->op[i].kind &&
		    h->op[k].arg == h->op[i].arg)
			return true;
	return false;
}

static bool search(const struct lin_history *h, struct memo *m, const struct config *c);

static bool try_next(const struct lin_history *h, struct memo *m, const struct config *c, size_t i)
{
	struct config next = *c;

	if (!apply(&h->op[i], &next.state))
		return false;
	next.done[i / 64] |= (uint64_t)1 << (i % 64);
	if (2 * m->n >= m->cap)
		grow(m);
	return insert(m, &next) && search(h, m, &next);
}

static bool search(const struct lin_history *h, struct memo *m, const struct config *c)
{
	uint64_t first_end = LIN_PENDING;
	bool is_complete = true;

	for (size_t i = 0; i < h->n; i++) {
		if (is_done(c, i) || h->op[i].end == LIN_PENDING || is_moot(&h->op[i]))
			continue;
		is_complete = false;
		if (h->op[i].end < first_end)
			first_end = h->op[i].end;
	}
	if (is_complete)
		return true; /* what is pending need not have happened */
	/* only what began before everything still open had ended can come next; what is pending comes
	 * where nothing else explains what was seen */
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < h->n && h->op[i].start <= first_end; i++)
			if (!is_done(c, i) && !is_moot(&h->op[i]) && !has_twin(h, c, i) &&
			    (h->op[i].end == LIN_PENDING) == (pass == 1) && try_next(h, m, c, i))
				return true;
	return false;
}

static bool is_linearizable(const struct lin_history *h)
{
	struct memo m = {0};
	struct config start = {{0}, 0};
	bool is_good;

	grow(&m);
	is_good = search(h, &m, &start);
	free(m.slot);
	free(m.used);
	return is_good;
}

static bool is_seen(const struct lin_history *h, uint64_t token)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->op[i].end != LIN_PENDING &&
		    ((h->op[i].kind == LIN_GET && h->op[i].result == token) ||
		     (h->op[i].kind == LIN_CAS && h->op[i].expected == token)))
			return true;
	return false;
}

bool lin_check(const struct lin_history *h)
{
	struct lin_history *fewer = malloc(sizeof *fewer);
	bool is_good;

	if (!fewer)
		abort();
	/* a pending write that nobody ever saw most likely never happened: without those the search is short */
	*fewer = *h;
	for (size_t i = 0; i < h->n; i++)
		if (h->op[i].end == LIN_PENDING && (h->op[i].kind == LIN_PUT || h->op[i].kind == LIN_CAS) &&
		    !is_seen(h, h->op[i].arg))
			fewer->op[i].kind = LIN_NONE;
	is_good = is_linearizable(fewer) || is_linearizable(h);
	free(fewer);
	return is_good;
}
