/* SPDX-License-Identifier: Apache-2.0 */
#include "node/strong_item.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "roles/safety_gateway/latch.h"

enum { ROUND_MS = 1500, OPS_MAX = 64, READS_MAX = 8, AGAIN_MS = 20 };

struct op {
	struct agi_strong_item *item;
	struct agi_strong_ask ask;
	char key[AGI_STRONG_KEY_MAX + 1];
	bool is_setting;               /* the call that is open is the compare-and-set */
	bool is_refused;               /* by look */
	enum agi_strong_next wish;     /* of look */
	struct agi_buf value;          /* to be written */
	uint64_t version;              /* of what was found; 0 = absent */
	enum agi_err err;              /* of the last call */
	struct agi_why why;
	bool may_be_written;
	uint64_t call_id, deadline_us;
	struct event *next;            /* a reply must not start a call: it goes on from here */
	LIST_ENTRY(op) link;
};

struct reading {
	struct agi_strong_item *item;
	uint64_t call_id, began_us;
	bool is_open;
};

struct agi_strong_item {
	struct agi_strong_item_cfg cfg;
	struct event *tick;
	struct reading reads[READS_MAX];
	LIST_HEAD(, op) ops;
	uint32_t n_ops;
};

static struct agi_call strong(enum agi_call_kind kind, const char *key, uint32_t timeout_ms)
{
	return (struct agi_call){.kind = kind, .level = AGI_LEVEL_STRONG, .timeout_ms = timeout_ms,
	                         .ns = AGI_STR(AGI_STOP_NAMESPACE), .key = agi_str_of(key)};
}

/* --- reading ------------------------------------------------------------------------------------------- */
static void on_read(void *arg, const struct agi_result *res)
{
	struct reading *r = arg;
	struct agi_strong_item *s = r->item;

	r->is_open = false;
	if (res->err == AGI_E_NOT_FOUND)
		s->cfg.on_read(s->cfg.ctx, (struct agi_str){NULL, 0}, r->began_us);
	else if (res->err == AGI_OK)
		s->cfg.on_read(s->cfg.ctx, res->value.p ? res->value : AGI_STR(""), r->began_us);
}

void agi_strong_item_read_now(struct agi_strong_item *s)
{
	struct agi_call get = strong(AGI_CALL_GET, s->cfg.key, s->cfg.read_ms);

	for (size_t i = 0; i < READS_MAX; i++) {
		struct reading *r = &s->reads[i];

		if (r->is_open)
			continue;
		*r = (struct reading){s, 0, agi_clock_now().mono_us, true};
		r->call_id = agi_dht_host_call(s->cfg.host, &get, on_read, r);
		break;
	}
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	agi_strong_item_read_now(arg);
}

/* --- asking -------------------------------------------------------------------------------------------- */
static void end(struct op *op, enum agi_err err)
{
	LIST_REMOVE(op, link);
	op->item->n_ops--;
	op->ask.done(op->ask.arg, err, &op->why);
	event_free(op->next);
	agi_buf_free(&op->value);
	free(op);
}

static void again(struct op *op, uint32_t in_ms)
{
	event_add(op->next, &(struct timeval){.tv_usec = (suseconds_t)in_ms * 1000});
}

static void on_found(void *arg, const struct agi_result *res)
{
	struct op *op = arg;
	bool is_absent = res->err == AGI_E_NOT_FOUND;
	struct agi_str found = {NULL, 0};

	op->call_id = 0;
	op->err = is_absent ? AGI_OK : res->err;
	op->why = res->why;
	op->version = 0;
	if (op->err == AGI_OK) {
		op->version = is_absent ? 0 : res->version.hlc;
		if (!is_absent)
			found = res->value.p ? res->value : AGI_STR("");
		agi_buf_reset(&op->value);
		op->err = op->ask.look(op->ask.arg, found, &op->value, &op->wish, &op->why);
		op->is_refused = op->err != AGI_OK;
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
	struct agi_call get = strong(AGI_CALL_GET, op->key, ROUND_MS);

	op->is_setting = false;
	op->call_id = agi_dht_host_call(op->item->cfg.host, &get, on_found, op);
}

static void set(struct op *op)
{
	struct agi_call cas = strong(AGI_CALL_CAS, op->key, ROUND_MS);

	op->is_setting = true;
	if (op->value.err) {
		op->err = op->value.err;
		again(op, AGAIN_MS);
		return;
	}
	cas.value = agi_buf_str(&op->value);
	cas.expected = op->version;
	op->call_id = agi_dht_host_call(op->item->cfg.host, &cas, on_set, op);
}

/* After a read, or after a write: what now? */
static void on_next(evutil_socket_t fd, short what, void *arg)
{
	struct op *op = arg;
	bool is_over = agi_clock_now().mono_us >= op->deadline_us;
	(void)fd, (void)what;

	if (op->is_setting && op->err != AGI_OK && op->err != AGI_E_CONDITION)
		op->may_be_written = true;
	if (op->is_refused)
		end(op, op->may_be_written ? AGI_E_UNKNOWN_OUTCOME : op->err);
	else if (op->err == AGI_OK && (op->is_setting || op->wish == AGI_STRONG_DONE))
		end(op, AGI_OK);
	else if (is_over)
		end(op, op->may_be_written ? AGI_E_UNKNOWN_OUTCOME : op->err ? op->err : AGI_E_TIMEOUT);
	else if (!op->is_setting && op->err == AGI_OK)
		set(op);
	else
		look(op); /* somebody else wrote, or we do not know whether we did */
}

enum agi_err agi_strong_item_ask(struct agi_strong_item *s, const char *key, const struct agi_strong_ask *ask)
{
	struct op *op;

	if (s->n_ops >= OPS_MAX)
		return AGI_E_FULL;
	op = calloc(1, sizeof *op);
	if (!op)
		return AGI_E_NOMEM;
	*op = (struct op){.item = s, .ask = *ask, .wish = AGI_STRONG_WRITE,
	                  .err = AGI_E_TIMEOUT, /* nothing has been read yet */
	                  .deadline_us = agi_clock_now().mono_us + (uint64_t)AGI_STRONG_ASK_MS * 1000};
	snprintf(op->key, sizeof op->key, "%s", key ? key : s->cfg.key);
	agi_buf_init(&op->value, 0);
	op->next = evtimer_new(s->cfg.base, on_next, op);
	if (!op->next) {
		free(op);
		return AGI_E_NOMEM;
	}
	LIST_INSERT_HEAD(&s->ops, op, link);
	s->n_ops++;
	again(op, 0);
	return AGI_OK;
}

/* --- life ---------------------------------------------------------------------------------------------- */
enum agi_err agi_strong_item_new(const struct agi_strong_item_cfg *cfg, struct agi_strong_item **out)
{
	struct agi_strong_item *s = calloc(1, sizeof *s);

	if (!s)
		return AGI_E_NOMEM;
	s->cfg = *cfg;
	LIST_INIT(&s->ops);
	s->tick = event_new(cfg->base, -1, EV_PERSIST, on_tick, s);
	if (!s->tick) {
		free(s);
		return AGI_E_NOMEM;
	}
	*out = s;
	return AGI_OK;
}

void agi_strong_item_start(struct agi_strong_item *s)
{
	event_add(s->tick, &(struct timeval){.tv_usec = (suseconds_t)s->cfg.refresh_ms * 1000});
	event_active(s->tick, EV_TIMEOUT, 0);
}

void agi_strong_item_free(struct agi_strong_item *s)
{
	struct op *op;

	if (!s)
		return;
	for (size_t i = 0; i < READS_MAX; i++)
		if (s->reads[i].is_open)
			agi_dht_host_cancel(s->cfg.host, s->reads[i].call_id);
	while ((op = LIST_FIRST(&s->ops))) {
		agi_dht_host_cancel(s->cfg.host, op->call_id);
		end(op, AGI_E_CLOSED);
	}
	event_free(s->tick);
	free(s);
}
