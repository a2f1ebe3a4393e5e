/* SPDX-License-Identifier: Apache-2.0 */
#include "node/stop_latch.h"

#include <stdlib.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <sodium.h>

enum { SET_MS = 5000, ROUND_MS = 1500, READ_MS = AGI_STOP_VALID_MS, OPS_MAX = 64, READS_MAX = 8, AGAIN_MS = 20 };

struct op {
	struct agi_stop_latch *latch;
	enum agi_stop_wish wish;
	bool is_setting;               /* the call that is open is the compare-and-set */
	char reason[AGI_STOP_REASON_MAX + 1], source[AGI_STOP_WHO_MAX + 1];
	uint8_t id[AGI_STOP_ID_BYTES];
	struct agi_stop_record found;  /* the register */
	uint64_t version;              /* of found; 0 = absent */
	enum agi_err err;              /* of the last call */
	struct agi_why why;
	bool may_be_written;
	uint64_t call_id, deadline_us;
	struct event *next;            /* a reply must not start a call: it goes on from here */
	agi_stop_set_fn *fn;
	void *arg;
	LIST_ENTRY(op) link;
};

struct reading {
	struct agi_stop_latch *latch;
	uint64_t call_id, began_us;
	bool is_open;
};

struct agi_stop_latch {
	struct agi_stop_latch_cfg cfg;
	struct agi_latch latch;
	struct event *tick;
	struct reading reads[READS_MAX];
	LIST_HEAD(, op) ops;
	uint32_t n_ops;
};

/* --- reading ------------------------------------------------------------------------------------------- */
static void took(struct agi_stop_latch *l, const struct agi_stop_record *r, uint64_t began_us)
{
	agi_latch_read(&l->latch, r, began_us);
	if (l->cfg.on_read)
		l->cfg.on_read(l->cfg.ctx, r, began_us);
}

/* What cannot be read says nothing: the latches run out, and everything blocks. */
static void on_read(void *arg, const struct agi_result *res)
{
	struct reading *r = arg;
	struct agi_stop_record found;

	r->is_open = false;
	if (res->err == AGI_E_NOT_FOUND)
		took(r->latch, NULL, r->began_us);
	else if (res->err == AGI_OK && agi_stop_decode(&found, res->value) == AGI_OK)
		took(r->latch, &found, r->began_us);
}

static struct agi_call strong(enum agi_call_kind kind, uint32_t timeout_ms)
{
	return (struct agi_call){.kind = kind, .level = AGI_LEVEL_STRONG, .timeout_ms = timeout_ms,
	                         .ns = AGI_STR(AGI_STOP_NAMESPACE), .key = AGI_STR(AGI_STOP_KEY)};
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct agi_stop_latch *l = arg;
	struct agi_call get = strong(AGI_CALL_GET, READ_MS);
	(void)fd, (void)what;

	for (size_t i = 0; i < READS_MAX; i++) {
		struct reading *r = &l->reads[i];

		if (r->is_open)
			continue;
		*r = (struct reading){l, 0, agi_clock_now().mono_us, true};
		r->call_id = agi_dht_host_call(l->cfg.host, &get, on_read, r);
		break;
	}
}

/* --- writing ------------------------------------------------------------------------------------------- */
static void end(struct op *op, enum agi_err err)
{
	LIST_REMOVE(op, link);
	op->latch->n_ops--;
	op->fn(op->arg, err, &op->found, &op->why);
	event_free(op->next);
	free(op);
}

static void again(struct op *op, uint32_t in_ms)
{
	event_add(op->next, &(struct timeval){.tv_usec = (suseconds_t)in_ms * 1000});
}

static void on_found(void *arg, const struct agi_result *res)
{
	struct op *op = arg;

	op->call_id = 0;
	op->err = res->err;
	op->why = res->why;
	op->version = 0;
	op->found = (struct agi_stop_record){0};
	if (res->err == AGI_E_NOT_FOUND) {
		op->err = AGI_OK;
	} else if (res->err == AGI_OK) {
		op->version = res->version.hlc;
		op->err = agi_stop_decode(&op->found, res->value);
		if (op->err)
			agi_fail(&op->why, op->err, "the stop's record cannot be read: %zu bytes", res->value.n);
	}
	again(op, 0);
}

static void on_set(void *arg, const struct agi_result *res)
{
	struct op *op = arg;

	op->call_id = 0;
	op->err = res->err;
	op->why = res->why;
	again(op, res->err == AGI_OK ? 0 : AGAIN_MS);
}

static void look(struct op *op)
{
	struct agi_call get = strong(AGI_CALL_GET, ROUND_MS);

	op->is_setting = false;
	op->call_id = agi_dht_host_call(op->latch->cfg.host, &get, on_found, op);
}

static void set(struct op *op)
{
	struct agi_call cas = strong(AGI_CALL_CAS, ROUND_MS);
	struct agi_stop_record r = {.epoch = op->found.epoch + 1, .is_stopped = op->wish == AGI_STOP_STOP,
	                            .at_ms = agi_clock_now().wall_ms};
	struct agi_buf b;

	memcpy(r.id, op->id, sizeof r.id);
	memcpy(r.reason, op->reason, sizeof r.reason);
	memcpy(r.source, op->source, sizeof r.source);
	memcpy(r.node, op->latch->cfg.node, sizeof r.node);
	agi_buf_init(&b, 0);
	agi_stop_encode(&b, &r);
	op->is_setting = true;
	if (b.err) {
		op->err = b.err;
		again(op, AGAIN_MS);
	} else {
		cas.value = agi_buf_str(&b);
		cas.expected = op->version;
		op->found = r;
		op->call_id = agi_dht_host_call(op->latch->cfg.host, &cas, on_set, op);
	}
	agi_buf_free(&b);
}

static bool is_as_wished(const struct op *op)
{
	return op->wish == AGI_STOP_READ || op->found.is_stopped == (op->wish == AGI_STOP_STOP);
}

/* After a read, or after a write: what now? */
static void on_next(evutil_socket_t fd, short what, void *arg)
{
	struct op *op = arg;
	bool is_over = agi_clock_now().mono_us >= op->deadline_us;
	(void)fd, (void)what;

	if (op->is_setting && op->err != AGI_OK && op->err != AGI_E_CONDITION)
		op->may_be_written = true;
	if (op->is_setting && op->err == AGI_OK)
		end(op, AGI_OK);
	else if (!op->is_setting && op->err == AGI_OK && is_as_wished(op))
		end(op, AGI_OK);
	else if (is_over)
		end(op, op->may_be_written ? AGI_E_UNKNOWN_OUTCOME : op->err ? op->err : AGI_E_TIMEOUT);
	else if (!op->is_setting && op->err == AGI_OK)
		set(op);
	else
		look(op); /* somebody else wrote, or we do not know whether we did */
}

enum agi_err agi_stop_latch_ask(struct agi_stop_latch *l, enum agi_stop_wish wish, struct agi_str reason,
                                struct agi_str source, agi_stop_set_fn *fn, void *arg)
{
	struct op *op;

	if (l->n_ops >= OPS_MAX)
		return AGI_E_FULL;
	op = calloc(1, sizeof *op);
	if (!op)
		return AGI_E_NOMEM;
	*op = (struct op){.latch = l, .wish = wish, .fn = fn, .arg = arg,
	                  .err = AGI_E_TIMEOUT, /* nothing has been read yet */
	                  .deadline_us = agi_clock_now().mono_us + (uint64_t)SET_MS * 1000};
	agi_stop_set_text(op->reason, AGI_STOP_REASON_MAX, reason);
	agi_stop_set_text(op->source, AGI_STOP_WHO_MAX, source);
	randombytes_buf(op->id, sizeof op->id);
	op->next = evtimer_new(l->cfg.base, on_next, op);
	if (!op->next) {
		free(op);
		return AGI_E_NOMEM;
	}
	LIST_INSERT_HEAD(&l->ops, op, link);
	l->n_ops++;
	again(op, 0);
	return AGI_OK;
}

/* --- life ---------------------------------------------------------------------------------------------- */
enum agi_err agi_stop_latch_new(const struct agi_stop_latch_cfg *cfg, struct agi_stop_latch **out)
{
	struct agi_stop_latch *l = calloc(1, sizeof *l);

	if (!l)
		return AGI_E_NOMEM;
	l->cfg = *cfg;
	LIST_INIT(&l->ops);
	l->tick = event_new(cfg->base, -1, EV_PERSIST, on_tick, l);
	if (!l->tick) {
		free(l);
		return AGI_E_NOMEM;
	}
	*out = l;
	return AGI_OK;
}

void agi_stop_latch_start(struct agi_stop_latch *l)
{
	event_add(l->tick, &(struct timeval){.tv_usec = AGI_STOP_REFRESH_MS * 1000});
	event_active(l->tick, EV_TIMEOUT, 0);
}

void agi_stop_latch_free(struct agi_stop_latch *l)
{
	struct op *op;

	if (!l)
		return;
	for (size_t i = 0; i < READS_MAX; i++)
		if (l->reads[i].is_open)
			agi_dht_host_cancel(l->cfg.host, l->reads[i].call_id);
	while ((op = LIST_FIRST(&l->ops))) {
		agi_dht_host_cancel(l->cfg.host, op->call_id);
		end(op, AGI_E_CLOSED);
	}
	event_free(l->tick);
	free(l);
}

const struct agi_latch *agi_stop_latch_state(const struct agi_stop_latch *l) { return &l->latch; }

void agi_stop_latch_told(struct agi_stop_latch *l, const struct agi_stop_record *r)
{
	(void)agi_latch_told(&l->latch, r);
}
