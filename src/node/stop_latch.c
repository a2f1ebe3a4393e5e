/* SPDX-License-Identifier: Apache-2.0 */
#include "node/stop_latch.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "node/strong_item.h"

enum { READ_MS = AGI_STOP_VALID_MS };

struct op {
	struct agi_stop_latch *latch;
	enum agi_stop_wish wish;
	char reason[AGI_STOP_REASON_MAX + 1], source[AGI_STOP_WHO_MAX + 1];
	uint8_t id[AGI_STOP_ID_BYTES];
	struct agi_stop_record found; /* the register: as it was, or as it shall be */
	agi_stop_set_fn *fn;
	void *arg;
};

struct agi_stop_latch {
	struct agi_stop_latch_cfg cfg;
	struct agi_latch latch;
	struct agi_strong_item *item;
};

/* --- reading ------------------------------------------------------------------------------------------- */
/* What cannot be read says nothing: the latches run out, and everything blocks. */
static void on_read(void *ctx, struct agi_str value, uint64_t began_us)
{
	struct agi_stop_latch *l = ctx;
	struct agi_stop_record found;

	if (value.p && agi_stop_decode(&found, value))
		return;
	agi_latch_read(&l->latch, value.p ? &found : NULL, began_us);
	if (l->cfg.on_read)
		l->cfg.on_read(l->cfg.ctx, value.p ? &found : NULL, began_us);
}

/* --- writing ------------------------------------------------------------------------------------------- */
static bool is_as_wished(const struct op *op)
{
	return op->wish == AGI_STOP_READ || op->found.is_stopped == (op->wish == AGI_STOP_STOP);
}

static enum agi_err look(void *arg, struct agi_str found, struct agi_buf *value, enum agi_strong_next *next,
                         struct agi_why *why)
{
	struct op *op = arg;
	struct agi_stop_record r = {.is_stopped = op->wish == AGI_STOP_STOP, .at_ms = agi_clock_now().wall_ms};

	op->found = (struct agi_stop_record){0};
	if (found.p && agi_stop_decode(&op->found, found))
		return agi_fail(why, AGI_E_MALFORMED, "the stop's record cannot be read: %zu bytes", found.n);
	if (is_as_wished(op)) {
		*next = AGI_STRONG_DONE;
		return AGI_OK;
	}
	r.epoch = op->found.epoch + 1;
	memcpy(r.id, op->id, sizeof r.id);
	memcpy(r.reason, op->reason, sizeof r.reason);
	memcpy(r.source, op->source, sizeof r.source);
	memcpy(r.node, op->latch->cfg.node, sizeof r.node);
	agi_stop_encode(value, &r);
	op->found = r;
	*next = AGI_STRONG_WRITE;
	return AGI_OK;
}

static void done(void *arg, enum agi_err err, const struct agi_why *why)
{
	struct op *op = arg;

	op->fn(op->arg, err, &op->found, why);
	free(op);
}

enum agi_err agi_stop_latch_ask(struct agi_stop_latch *l, enum agi_stop_wish wish, struct agi_str reason,
                                struct agi_str source, agi_stop_set_fn *fn, void *arg)
{
	struct op *op = calloc(1, sizeof *op);
	enum agi_err e;

	if (!op)
		return AGI_E_NOMEM;
	*op = (struct op){.latch = l, .wish = wish, .fn = fn, .arg = arg};
	agi_stop_set_text(op->reason, AGI_STOP_REASON_MAX, reason);
	agi_stop_set_text(op->source, AGI_STOP_WHO_MAX, source);
	randombytes_buf(op->id, sizeof op->id);
	e = agi_strong_item_ask(l->item, NULL, &(struct agi_strong_ask){look, done, op});
	if (e)
		free(op);
	return e;
}

/* --- life ---------------------------------------------------------------------------------------------- */
enum agi_err agi_stop_latch_new(const struct agi_stop_latch_cfg *cfg, struct agi_stop_latch **out)
{
	struct agi_stop_latch *l = calloc(1, sizeof *l);
	enum agi_err e;

	if (!l)
		return AGI_E_NOMEM;
	l->cfg = *cfg;
	e = agi_strong_item_new(&(struct agi_strong_item_cfg){.base = cfg->base, .host = cfg->host,
	                                                      .key = AGI_STOP_KEY,
	                                                      .refresh_ms = AGI_STOP_REFRESH_MS,
	                                                      .read_ms = READ_MS, .on_read = on_read, .ctx = l},
	                        &l->item);
	if (e)
		free(l);
	else
		*out = l;
	return e;
}

void agi_stop_latch_start(struct agi_stop_latch *l) { agi_strong_item_start(l->item); }

void agi_stop_latch_free(struct agi_stop_latch *l)
{
	if (!l)
		return;
	agi_strong_item_free(l->item);
	free(l);
}

const struct agi_latch *agi_stop_latch_state(const struct agi_stop_latch *l) { return &l->latch; }

void agi_stop_latch_told(struct agi_stop_latch *l, const struct agi_stop_record *r)
{
	(void)agi_latch_told(&l->latch, r);
}
