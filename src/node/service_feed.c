/* SPDX-License-Identifier: Apache-2.0 */
#include "node/service_feed.h"

#include <stdlib.h>

struct agi_service_feed {
	uint64_t epoch, seq; /* seq: of the next change; the ring has those before it */
	struct agi_service_row *rows; /* in order of node and address */
	size_t n_rows;
	struct agi_service_change ring[AGI_SERVICE_CHANGES];
};

static int cmp_key(const struct agi_id *node, const char *address, const struct agi_service_row *r)
{
	int c = agi_id_cmp(node, &r->node);

	return c ? c : strcmp(address, r->address);
}

static int cmp_rows(const void *a, const void *b)
{
	const struct agi_service_row *x = a;

	return cmp_key(&x->node, x->address, b);
}

enum agi_err agi_service_feed_new(uint64_t epoch, struct agi_service_feed **out)
{
	struct agi_service_feed *f = calloc(1, sizeof *f);

	if (!f)
		return AGI_E_NOMEM;
	f->epoch = epoch;
	*out = f;
	return AGI_OK;
}

void agi_service_feed_free(struct agi_service_feed *f)
{
	if (!f)
		return;
	free(f->rows);
	free(f);
}

size_t agi_service_feed_rows(const struct agi_service_feed *f) { return f->n_rows; }

/* --- what has changed ------------------------------------------------------------------------------------ */

static void fill(struct agi_service_row *r, const struct agi_instance *i)
{
	const struct agi_provider *p = i->provider;

	r->node = i->node;
	memcpy(r->address, p->address.p, p->address.n < AGI_ADDRESS_MAX ? p->address.n : AGI_ADDRESS_MAX);
	memcpy(r->zone, p->zone, sizeof r->zone);
	r->rtt_us = i->rtt_us;
	r->load_milli = p->load_milli;
	r->traits = p->traits;
	r->incarnation = p->incarnation;
	r->is_stale = i->is_stale;
}

static bool is_same(const struct agi_service_row *a, const struct agi_service_row *b)
{
	uint32_t more = a->load_milli > b->load_milli ? a->load_milli : b->load_milli;
	uint32_t less = a->load_milli > b->load_milli ? b->load_milli : a->load_milli;

	return a->incarnation == b->incarnation && a->traits == b->traits && a->is_stale == b->is_stale &&
	       more - less < AGI_FEED_LOAD_STEP && strcmp(a->zone, b->zone) == 0;
}

static void tell(struct agi_service_feed *f, enum agi_service_what what, const struct agi_service_row *row)
{
	f->ring[f->seq++ % AGI_SERVICE_CHANGES] = (struct agi_service_change){what, *row};
}

/* was and is: the same instance. What is not worth telling now adds up until it is. */
static void compare(struct agi_service_feed *f, const struct agi_service_row *was, struct agi_service_row *is)
{
	if (is_same(was, is))
		is->load_milli = was->load_milli;
	else
		tell(f, AGI_SERVICE_CHANGED, is);
}

enum agi_err agi_service_feed_update(struct agi_service_feed *f, const struct agi_instance *instances, size_t n)
{
	struct agi_service_row *rows = calloc(n + 1, sizeof *rows);
	size_t i = 0, k = 0;

	if (!rows)
		return AGI_E_NOMEM;
	for (size_t j = 0; j < n; j++)
		fill(&rows[j], &instances[j]);
	qsort(rows, n, sizeof *rows, cmp_rows);
	while (i < f->n_rows || k < n) {
		int c = i == f->n_rows ? 1 : k == n ? -1 : cmp_rows(&f->rows[i], &rows[k]);

		if (c < 0)
			tell(f, AGI_SERVICE_DOWN, &f->rows[i++]);
		else if (c > 0)
			tell(f, AGI_SERVICE_UP, &rows[k++]);
		else
			compare(f, &f->rows[i++], &rows[k++]);
	}
	free(f->rows);
	f->rows = rows;
	f->n_rows = n;
	return AGI_OK;
}

/* --- readers --------------------------------------------------------------------------------------------- */

static bool is_kept(const struct agi_service_feed *f, uint64_t seq)
{
	return seq <= f->seq && f->seq - seq <= AGI_SERVICE_CHANGES;
}

static void begin(const struct agi_service_feed *f, struct agi_service_cursor *c)
{
	*c = (struct agi_service_cursor){.seq = f->seq, .is_all = true, .must_forget = true};
}

void agi_service_cursor_open(const struct agi_service_feed *f, struct agi_str token, struct agi_service_cursor *out)
{
	struct agi_cur cur = agi_cur_of(token);
	uint64_t epoch = agi_cur_u64(&cur), seq = agi_cur_u64(&cur);

	begin(f, out);
	if (!cur.bad && cur.n == 0 && epoch == f->epoch && is_kept(f, seq))
		*out = (struct agi_service_cursor){.seq = seq};
}

/* The first row after the cursor's key. */
static size_t find_row(const struct agi_service_feed *f, const struct agi_service_cursor *c)
{
	size_t low = 0, high = f->n_rows;

	while (c->has_key && low < high) {
		size_t mid = low + (high - low) / 2;

		if (cmp_key(&c->node, c->address, &f->rows[mid]) >= 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static size_t next_rows(const struct agi_service_feed *f, struct agi_service_cursor *c,
                        struct agi_service_change *out, size_t max)
{
	size_t at = find_row(f, c), n = 0;

	for (; n < max && at < f->n_rows; at++)
		out[n++] = (struct agi_service_change){AGI_SERVICE_UP, f->rows[at]};
	c->is_all = at < f->n_rows;
	if (n > 0) {
		c->has_key = true;
		c->node = out[n - 1].row.node;
		memcpy(c->address, out[n - 1].row.address, sizeof c->address);
	}
	return n;
}

size_t agi_service_cursor_next(const struct agi_service_feed *f, struct agi_service_cursor *c,
                               struct agi_service_change *out, size_t max, bool *is_resync, bool *is_caught_up)
{
	size_t n = 0;

	if (!is_kept(f, c->seq))
		begin(f, c);
	*is_resync = c->must_forget;
	c->must_forget = false;
	if (c->is_all)
		n = next_rows(f, c, out, max);
	for (; !c->is_all && n < max && c->seq < f->seq; c->seq++)
		out[n++] = f->ring[c->seq % AGI_SERVICE_CHANGES];
	*is_caught_up = !c->is_all && c->seq == f->seq;
	return n;
}

bool agi_service_cursor_token(const struct agi_service_feed *f, const struct agi_service_cursor *c,
                              uint8_t out[AGI_FEED_TOKEN_BYTES])
{
	if (c->is_all || c->must_forget)
		return false;
	for (int i = 0; i < 8; i++) {
		out[i] = (uint8_t)(f->epoch >> (56 - 8 * i));
		out[8 + i] = (uint8_t)(c->seq >> (56 - 8 * i));
	}
	return true;
}
