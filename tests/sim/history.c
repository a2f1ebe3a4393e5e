/* SPDX-License-Identifier: Apache-2.0 */
#include "history.h"

#include <stdlib.h>
#include <string.h>

int lin_begin(struct lin_history *h, enum lin_kind kind, uint64_t arg, uint64_t expected, uint64_t now)
{
	if (h->n == LIN_OPS_MAX)
		return -1;
	h->op[h->n] = (struct lin_op){kind, arg, expected, now, LIN_PENDING, 0, 0, 0};
	return (int)h->n++;
}

enum { WORDS = LIN_OPS_MAX / 64, END = -1, TRIED_MAX = 400000 };
#define UNSEEN UINT64_MAX /* a token that nobody was told */

/* What has been put in order, and the register's value then and, if the last operation was a pending one, before it. */
struct config {
	uint64_t done[WORDS];
	uint64_t state, before;
	uint64_t is_lazy; /* a word: they are compared as bytes */
};

/* Configurations that were tried and led nowhere. */
struct memo {
	struct config *slot;
	bool *used;
	size_t cap, n;
};

/* The operations not yet in order, linked by start; how the search came to where it is. */
struct search {
	const struct lin_history *h;
	struct config at;
	int next[LIN_OPS_MAX + 1], prev[LIN_OPS_MAX + 1]; /* index n is the head */
	size_t n_open;  /* of next: completed operations */
	/* by version: those that tell one, in its order; so many are done. None else is in question then. */
	uint64_t version[LIN_OPS_MAX];
	size_t n_versions, n_versions_done;
	struct {
		int op;
		uint64_t state, before; /* of the configuration before it */
		bool is_lazy;
	} step[LIN_OPS_MAX];
	size_t n_steps;
	struct memo memo;
};

static size_t hash(const struct config *c)
{
	uint64_t h = c->state * 0x9e3779b97f4a7c15u;

	h ^= c->is_lazy ? c->before * 0xc2b2ae3d27d4eb4fu + 1 : 0;
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
	struct memo bigger = {.cap = m->cap ? 4 * m->cap : 256};

	bigger.slot = malloc(bigger.cap * sizeof *bigger.slot);
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

static bool is_pending(const struct lin_op *op) { return op->end == LIN_PENDING; }

/* Applies op to state; false when it could not have given the result it gave. A pending one has no result. */
static bool apply(const struct lin_op *op, uint64_t *state)
{
	bool is_known = !is_pending(op);

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
	return op->kind == LIN_NONE || (op->kind == LIN_GET && is_pending(op));
}

static bool is_dated(const struct search *s, int i)
{
	return s->n_versions && !is_pending(&s->h->op[i]) && s->h->op[i].version;
}

static int compare_versions(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void sort_versions(struct search *s)
{
	for (size_t i = 0; i < s->h->n; i++)
		if (!is_moot(&s->h->op[i]) && !is_pending(&s->h->op[i]) && s->h->op[i].version)
			s->version[s->n_versions++] = s->h->op[i].version;
	qsort(s->version, s->n_versions, sizeof s->version[0], compare_versions);
}

static void link_all(struct search *s)
{
	int head = (int)s->h->n, last = head;

	for (int i = 0; i < head; i++) {
		if (is_moot(&s->h->op[i]))
			continue;
		s->n_open += !is_pending(&s->h->op[i]);
		s->next[last] = i;
		s->prev[i] = last;
		last = i;
	}
	s->next[last] = END;
}

static void take(struct search *s, int i, uint64_t state)
{
	s->step[s->n_steps].op = i;
	s->step[s->n_steps].state = s->at.state;
	s->step[s->n_steps].before = s->at.before;
	s->step[s->n_steps++].is_lazy = s->at.is_lazy;
	s->at.is_lazy = is_pending(&s->h->op[i]) && s->h->op[i].kind != LIN_ADD;
	s->at.before = s->at.is_lazy ? s->at.state : 0;
	s->at.state = state;
	s->at.done[i / 64] |= (uint64_t)1 << (i % 64);
	s->next[s->prev[i]] = s->next[i];
	if (s->next[i] != END)
		s->prev[s->next[i]] = s->prev[i];
	s->n_open -= !is_pending(&s->h->op[i]);
	s->n_versions_done += is_dated(s, i);
}

/* Undoes the last step; returns its operation. */
static int take_back(struct search *s)
{
	int i = s->step[--s->n_steps].op;

	s->at.state = s->step[s->n_steps].state;
	s->at.before = s->step[s->n_steps].before;
	s->at.is_lazy = s->step[s->n_steps].is_lazy;
	s->at.done[i / 64] &= ~((uint64_t)1 << (i % 64));
	s->next[s->prev[i]] = i;
	if (s->next[i] != END)
		s->prev[s->next[i]] = i;
	s->n_open += !is_pending(&s->h->op[i]);
	s->n_versions_done -= is_dated(s, i);
	return i;
}

/* The open operation that ended first: only what began before its end can come next. */
static int first_to_end(const struct search *s)
{
	const struct lin_op *op = s->h->op;
	uint64_t end = LIN_PENDING;
	int first = END;

	for (int i = s->next[s->h->n]; i != END && op[i].start <= end; i = s->next[i]) {
		if (op[i].end < end) {
			end = op[i].end;
			first = i;
		}
	}
	return first;
}

/* An earlier pending operation just like this one is still to come: taking that one first loses nothing. */
static bool has_twin(const struct search *s, int op)
{
	const struct lin_op *a = &s->h->op[op];

	for (int i = s->next[s->h->n]; is_pending(a) && i != op; i = s->next[i])
		if (is_pending(&s->h->op[i]) && s->h->op[i].kind == a->kind && s->h->op[i].arg == a->arg &&
		    s->h->op[i].expected == a->expected)
			return true;
	return false;
}

/* An addition that the sum told by the one that ended first does not contain comes after that one. */
static bool is_too_early(const struct search *s, int i, int first)
{
	const struct lin_op *a = &s->h->op[i], *f = &s->h->op[first];

	return a->kind == LIN_ADD && (f->kind == LIN_ADD || f->kind == LIN_GET) && !(f->result & a->arg);
}

/* A pending operation is put in only right before what needs it: where the next one could as well have come before
 * it, the pending one can be left for later, or out. (Additions are told apart by their sums.) */
static bool is_needless(const struct search *s, int i)
{
	const struct lin_op *op = &s->h->op[i];
	uint64_t state = s->at.state, before = s->at.before;
	bool could_be = apply(op, &before);

	if (op->kind == LIN_ADD)
		return false;
	if (is_pending(op) && apply(op, &state) && state == s->at.state)
		return true;
	if (is_pending(op))
		could_be = op->kind != LIN_CAS || before != s->at.before;
	return s->at.is_lazy && could_be;
}

static bool try_op(struct search *s, int i, int first)
{
	uint64_t state = s->at.state;

	if (is_dated(s, i) && s->h->op[i].version != s->version[s->n_versions_done])
		return false;
	if (is_too_early(s, i, first) || has_twin(s, i) || is_needless(s, i) || !apply(&s->h->op[i], &state))
		return false;
	if (2 * s->memo.n >= s->memo.cap)
		grow(&s->memo);
	take(s, i, state);
	if (insert(&s->memo, &s->at))
		return true;
	(void)take_back(s);
	return false;
}

/* The next operation after `after` in the order they are tried: completed ones first, then the pending, which
 * come where nothing else explains what was seen. END when none is left to try. */
static int candidate(const struct search *s, int after, uint64_t end)
{
	const struct lin_op *op = s->h->op;
	int head = (int)s->h->n;
	bool want_pending = after != head && is_pending(&op[after]);

	for (int i = s->next[after];; i = s->next[i]) {
		if (i != END && op[i].start <= end) {
			if (is_pending(&op[i]) == want_pending)
				return i;
		} else if (want_pending) {
			return END;
		} else {
			want_pending = true;
			i = head;
		}
	}
}

static enum lin_answer run(struct search *s)
{
	int after = (int)s->h->n;

	while (s->n_open) { /* what is pending need not have happened */
		if (s->memo.n > TRIED_MAX)
			return LIN_UNDECIDED;
		int first = first_to_end(s);
		uint64_t end = s->h->op[first].end;
		int i = candidate(s, after, end);

		while (i != END && !try_op(s, i, first))
			i = candidate(s, i, end);
		if (i != END) {
			after = (int)s->h->n;
		} else {
			if (s->n_steps == 0)
				return LIN_NO;
			after = take_back(s);
		}
	}
	return LIN_YES;
}

static enum lin_answer find_order(const struct lin_history *h, bool is_by_version)
{
	struct search *s = calloc(1, sizeof *s);
	enum lin_answer answer;

	if (!s)
		abort();
	s->h = h;
	link_all(s);
	if (is_by_version)
		sort_versions(s);
	grow(&s->memo);
	answer = run(s);
	free(s->memo.slot);
	free(s->memo.used);
	free(s);
	return answer;
}

static bool tells(const struct lin_op *op, const struct lin_op *write)
{
	if (op->kind == LIN_CAS && op->expected == write->arg)
		return true; /* pending or not: it may be what another one saw */
	if (is_pending(op))
		return false;
	if (write->kind == LIN_ADD)
		return (op->kind == LIN_ADD || op->kind == LIN_GET) && (op->result & write->arg);
	return op->kind == LIN_GET && op->result == write->arg;
}

static bool is_seen(const struct lin_history *h, const struct lin_op *write)
{
	for (size_t i = 0; i < h->n; i++)
		if (tells(&h->op[i], write))
			return true;
	return false;
}

static bool writes_a_token(const struct lin_op *op)
{
	return op->kind == LIN_PUT || op->kind == LIN_CAS || op->kind == LIN_ADD;
}

enum lin_answer lin_search(const struct lin_history *h, bool is_by_version)
{
	struct lin_history *x = malloc(sizeof *x);
	bool is_less = false;
	enum lin_answer answer;

	if (!x)
		abort();
	/* a pending write that nobody ever saw most likely never happened: without those the search is short */
	*x = *h;
	for (size_t i = 0; i < h->n; i++) {
		struct lin_op *op = &x->op[i];

		if (is_pending(op) && writes_a_token(op) && !is_seen(h, &h->op[i])) {
			op->kind = LIN_NONE;
			op->arg = UNSEEN; /* one is as good as another */
			is_less = true;
		}
	}
	answer = find_order(x, is_by_version);
	for (size_t i = 0; i < h->n; i++)
		if (h->op[i].kind != LIN_ADD)
			x->op[i].kind = h->op[i].kind;
	if (answer != LIN_YES && is_less)
		answer = find_order(x, is_by_version);
	free(x);
	return answer;
}

enum lin_answer lin_check(const struct lin_history *h)
{
	if (lin_has_witness(h) || lin_search(h, true) == LIN_YES)
		return LIN_YES;
	return lin_search(h, false);
}
