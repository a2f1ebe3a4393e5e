/* SPDX-License-Identifier: Apache-2.0
 * Most histories prove themselves: the versions told with the results say in which order the writes were done
 * and what each read saw. Here the operations are laid in that order, those of unknown outcome are put in where
 * something seen needs them, and the result is checked. When it is good, the history is linearizable; when it
 * is not, nothing is known. */
#include <stdlib.h>
#include <string.h>

#include "history.h"

struct walk {
	const struct lin_history *h;
	bool is_used[LIN_OPS_MAX]; /* pending operations that took effect */
	uint64_t state, latest_start;
	bool is_eager;             /* puts in pending deletions wherever they do no harm */
};

static bool is_pending(const struct lin_op *op) { return op->end == LIN_PENDING; }

/* Saw that nothing was there, and was not told since when. */
static bool is_undated(const struct lin_op *op)
{
	return op->version == 0 && !is_pending(op) &&
	       ((op->kind == LIN_GET && op->result == 0) || (op->kind == LIN_CAS && !op->result && op->saw == 0));
}

static bool is_write(const struct lin_op *op)
{
	return op->kind != LIN_GET && !(op->kind == LIN_CAS && op->result == 0);
}

static int compare(const void *a, const void *b)
{
	const struct lin_op *x = *(const struct lin_op *const *)a, *y = *(const struct lin_op *const *)b;

	if (x->version != y->version)
		return x->version < y->version ? -1 : 1;
	if (is_write(x) != is_write(y))
		return is_write(x) ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

static void put_pending(struct walk *k, size_t i, uint64_t state)
{
	k->is_used[i] = true;
	k->state = state;
	if (k->h->op[i].start > k->latest_start)
		k->latest_start = k->h->op[i].start;
}

/* The first pending operation of a kind not used yet (arg 0: of any), h->n when there is none. */
static size_t find_pending(const struct walk *k, enum lin_kind kind, uint64_t arg)
{
	size_t i = 0;

	while (i < k->h->n && (k->is_used[i] || !is_pending(&k->h->op[i]) || k->h->op[i].kind != kind ||
	                       (arg && k->h->op[i].arg != arg)))
		i++;
	return i;
}

static bool use_pending(struct walk *k, enum lin_kind kind, uint64_t arg, uint64_t state)
{
	size_t i = find_pending(k, kind, arg);

	if (i < k->h->n)
		put_pending(k, i, state);
	return i < k->h->n;
}

/* What pending operations have to be done so that the state is `token`? */
static bool reach(struct walk *k, uint64_t token, int depth)
{
	size_t i;

	if (k->state == token)
		return true;
	if (token == 0)
		return use_pending(k, LIN_DELETE, 0, 0);
	if (use_pending(k, LIN_PUT, token, token))
		return true;
	i = find_pending(k, LIN_CAS, token);
	if (i == k->h->n || depth == 0 || !reach(k, k->h->op[i].expected, depth - 1))
		return false;
	put_pending(k, i, token);
	return true;
}

static bool reach_sum(struct walk *k, uint64_t sum)
{
	for (uint64_t missing = sum & ~k->state; missing; missing &= missing - 1) {
		uint64_t bit = missing & ~(missing - 1);

		if (!use_pending(k, LIN_ADD, bit, k->state | bit))
			return false;
	}
	return k->state == sum;
}

static bool has_adds(const struct lin_history *h)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->op[i].kind == LIN_ADD)
			return true;
	return false;
}

static bool explain(struct walk *k, const struct lin_op *op, bool is_counter)
{
	enum { DEPTH = 8 };

	switch (op->kind) {
	case LIN_GET:
		return is_counter ? reach_sum(k, op->result) : reach(k, op->result, DEPTH);
	case LIN_CAS:
		if (!op->result)
			return op->saw != op->expected && reach(k, op->saw, DEPTH);
		if (!reach(k, op->expected, DEPTH))
			return false;
		k->state = op->arg;
		return true;
	case LIN_DELETE:
		if (op->result ? k->state == 0 && !use_pending(k, LIN_PUT, 0, 1) : !reach(k, 0, DEPTH))
			return false;
		k->state = 0;
		return true;
	case LIN_ADD:
		if (!(op->result & op->arg) || !reach_sum(k, op->result ^ op->arg))
			return false;
		k->state = op->result;
		return true;
	default:
		k->state = op->arg;
		return true;
	}
}

static bool place(struct walk *k, const struct lin_op *op, bool is_counter)
{
	if (!explain(k, op, is_counter) || op->end < k->latest_start)
		return false;
	if (op->start > k->latest_start)
		k->latest_start = op->start;
	return true;
}

/* Does the next operation need nothing of what is there now? */
static bool is_blind(const struct walk *k, const struct lin_op *next)
{
	uint64_t sees = next->kind == LIN_GET ? next->result : next->saw;

	if (next->kind == LIN_PUT)
		return true;
	return !is_write(next) && sees && sees != k->state && find_pending(k, LIN_PUT, sees) < k->h->n;
}

static bool can_be_now(const struct walk *k, const struct lin_op *op, const struct lin_op *next, uint64_t first_end)
{
	size_t i = find_pending(k, LIN_DELETE, 0);

	if (op->start > first_end || op->end < k->latest_start)
		return false;
	return k->state == 0 ||
	       (k->is_eager && is_blind(k, next) && i < k->h->n && k->h->op[i].start <= op->end &&
	        k->h->op[i].start <= first_end);
}

/* Of those that are undated: now, where nothing is there and nothing that ended before they began is left; or at
 * the latest before what began after they ended. */
static bool place_undated(struct walk *k, const struct lin_op *const *rest, size_t n, const struct lin_op **undated,
                          size_t *n_undated)
{
	uint64_t first_end = LIN_PENDING;
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (rest[i]->end < first_end)
			first_end = rest[i]->end;
	for (size_t i = 0; i < *n_undated; i++) {
		const struct lin_op *op = undated[i];
		bool is_due = n == 0 || op->end < rest[0]->start;

		if (!is_due && !can_be_now(k, op, rest[0], first_end))
			undated[kept++] = op;
		else if (!place(k, op, false))
			return false;
	}
	*n_undated = kept;
	return true;
}

static bool needs_absent(const struct lin_op *op)
{
	return op->kind == LIN_DELETE ? !op->result : op->kind == LIN_CAS && op->result && op->expected == 0;
}

static bool go(const struct lin_history *h, const struct lin_op *const *order, size_t n,
               const struct lin_op *const *all_undated, size_t n_undated, bool is_eager)
{
	const struct lin_op *undated[LIN_OPS_MAX];
	struct walk k = {.h = h, .is_eager = is_eager};
	bool is_counter = has_adds(h);

	memcpy(undated, all_undated, n_undated * sizeof *undated);
	for (size_t i = 0; i < n; i++) {
		if (needs_absent(order[i]) && k.state != 0 && !reach(&k, 0, 0))
			return false;
		if (!place_undated(&k, order + i, n - i, undated, &n_undated) || !place(&k, order[i], is_counter))
			return false;
	}
	return place_undated(&k, NULL, 0, undated, &n_undated);
}

static int compare_start(const void *a, const void *b)
{
	const struct lin_op *x = *(const struct lin_op *const *)a, *y = *(const struct lin_op *const *)b;

	return x->start < y->start ? -1 : x->start > y->start;
}

bool lin_has_witness(const struct lin_history *h)
{
	const struct lin_op **order = malloc((2 * h->n + 1) * sizeof *order), **undated = order + h->n;
	size_t n = 0, n_undated = 0;
	bool is_good;

	if (!order)
		abort();
	for (size_t i = 0; i < h->n; i++) {
		if (is_undated(&h->op[i]))
			undated[n_undated++] = &h->op[i];
		else if (h->op[i].kind != LIN_NONE && !is_pending(&h->op[i]))
			order[n++] = &h->op[i];
	}
	qsort(order, n, sizeof *order, compare);
	qsort(undated, n_undated, sizeof *undated, compare_start);
	is_good = go(h, order, n, undated, n_undated, false) || go(h, order, n, undated, n_undated, true);
	free(order);
	return is_good;
}
