/* SPDX-License-Identifier: Apache-2.0
 * From a gRPC call to an operation of the core, through admission (admit.h), and back. */
#include <stdlib.h>

#include "node/svc.h"

enum {
	MARGIN_MS_MAX = 20,  /* of the client's deadline, kept for the answer's way back */
	DISK_RETRY_MS = 5000 /* a full disk is not emptied at once */
};

/* One gRPC call that waits for its turn, then for the core. The operation's strings are the request's, which
 * lives until the call ends; its items are copied. */
struct waiting {
	struct agi_svc *s;
	struct agi_grpc_call *call;
	const void *req;
	agi_svc_answer_fn *fn;
	struct agi_call op;
	uint64_t id; /* the core's; 0 = not there yet */
	struct agi_admit_entry entry;
	struct agi_item items[]; /* op's, copied */
};

static struct waiting *waiting_of(struct agi_admit_entry *e)
{
	return (struct waiting *)(void *)((char *)e - offsetof(struct waiting, entry));
}

static void forget(struct waiting *w)
{
	agi_admit_leave(w->s->admit, &w->entry);
	if (agi_admit_has_next(w->s->admit))
		event_active(w->s->admit_go, EV_TIMEOUT, 0);
	free(w);
}

/* When to come again, if the error says that nothing was done for lack of room; 0 = the client's own affair. */
static uint32_t retry_of(const struct waiting *w, enum agi_err err)
{
	if (err == AGI_E_DISK_FULL)
		return DISK_RETRY_MS;
	return err == AGI_E_FULL || err == AGI_E_NOMEM ? agi_admit_retry_ms(w->s->admit, w->op.ns) : 0;
}

static void on_result(void *arg, const struct agi_result *res)
{
	struct waiting *w = arg;

	if (res->err == AGI_E_NOT_FOUND && !res->why.text[0])
		agi_grpc_fail(w->call, AGI_GRPC_NOT_FOUND, "no such key");
	else if (res->err && res->err != AGI_E_CONDITION)
		agi_grpc_fail_retry(w->call, res->err, res->why.text[0] ? &res->why : NULL,
		                    retry_of(w, res->err));
	else
		w->fn(w->s, w->call, w->req, res);
	forget(w);
}

static void on_cancel(void *arg)
{
	struct waiting *w = arg;

	if (w->id)
		agi_dht_host_cancel(w->s->host, w->id);
	agi_grpc_fail(w->call, AGI_GRPC_CANCELLED, "cancelled");
	forget(w);
}

/* The core should answer before the client's patience ends, so that the client learns what happened. */
static uint32_t timeout_of(const struct agi_grpc_call *call)
{
	uint32_t left = agi_grpc_call_left_ms(call), margin = left / 10;

	if (left == UINT32_MAX)
		return AGI_CALL_TIMEOUT_MS;
	left -= margin < MARGIN_MS_MAX ? margin : MARGIN_MS_MAX;
	return left ? left : 1;
}

static void start(struct waiting *w)
{
	struct agi_grpc_call *call = w->call;
	uint64_t id;

	w->op.timeout_ms = timeout_of(call);
	id = agi_dht_host_call(w->s->host, &w->op, on_result, w);
	if (!id)
		return; /* answered already, w is gone */
	w->id = id;
	agi_grpc_call_on_cancel(call, on_cancel, w);
}

/* --- admission ------------------------------------------------------------------------------------ */
static void refuse(struct waiting *w, uint32_t retry_ms)
{
	struct agi_admit_stats st;
	struct agi_why why;

	agi_admit_stats(w->s->admit, &st);
	agi_fail(&why, AGI_E_FULL, "%u operations run on this node and %u wait; try again in %u ms", st.running,
	         st.queued, retry_ms);
	agi_grpc_fail_retry(w->call, AGI_E_FULL, &why, retry_ms);
}

static void push_out(struct agi_admit_entry *e)
{
	struct waiting *w = waiting_of(e);

	refuse(w, agi_admit_retry_ms(w->s->admit, w->op.ns));
	forget(w);
}

/* What it may hold in the core: what it brings, or a page of what it reads. */
static uint64_t bytes_of(const struct agi_call *op)
{
	uint64_t bytes = op->key.n + op->value.n + (op->kind == AGI_CALL_SCAN ? AGI_PAGE_BYTES : 0);

	for (size_t i = 0; i < op->n_items; i++)
		bytes += op->items[i].key.n + op->items[i].value.n;
	return bytes;
}

static struct waiting *new_waiting(struct agi_svc *s, struct agi_grpc_call *call, const void *req,
                                   const struct agi_call *op, agi_svc_answer_fn *fn)
{
	struct waiting *w = calloc(1, sizeof *w + op->n_items * sizeof w->items[0]);

	if (!w)
		return NULL;
	*w = (struct waiting){.s = s, .call = call, .req = req, .fn = fn, .op = *op};
	if (op->n_items)
		memcpy(w->items, op->items, op->n_items * sizeof w->items[0]);
	w->op.items = w->items;
	return w;
}

void agi_svc_start(struct agi_svc *s, struct agi_grpc_call *call, const void *req, struct agi_call *op,
                   agi_svc_answer_fn *fn)
{
	struct waiting *w = new_waiting(s, call, req, op, fn);
	struct agi_admit_entry *pushed;
	uint32_t retry_ms;

	if (!w) {
		agi_grpc_fail_err(call, AGI_E_NOMEM, NULL);
		return;
	}
	/* of the registry, of operators: few, and their strings may not last; or one that only waits */
	if (!op->ns.n || op->is_waiting) {
		start(w);
		return;
	}
	switch (agi_admit_enter(s->admit, &w->entry, op->ns, bytes_of(op), agi_grpc_call_left_ms(call),
	                        agi_clock_now().mono_us, &pushed, &retry_ms)) {
	case AGI_ADMIT_RUN:
		start(w);
		return;
	case AGI_ADMIT_WAIT:
		agi_grpc_call_on_cancel(call, on_cancel, w);
		break;
	case AGI_ADMIT_REFUSE:
		refuse(w, retry_ms);
		free(w);
		break;
	}
	if (pushed)
		push_out(pushed);
}

static void on_go(evutil_socket_t fd, short what, void *arg)
{
	struct agi_svc *s = arg;
	struct agi_admit_entry *e;
	(void)fd;
	(void)what;

	while ((e = agi_admit_next(s->admit, agi_clock_now().mono_us)) != NULL)
		start(waiting_of(e));
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct agi_svc *s = arg;
	(void)fd;
	(void)what;

	agi_admit_tick(s->admit);
	if (agi_admit_has_next(s->admit))
		event_active(s->admit_go, EV_TIMEOUT, 0);
}

enum agi_err agi_svc_admission_open(struct agi_svc *s, struct event_base *base)
{
	const struct agi_admit_cfg cfg = {.running_max = s->config->node.admission.running_max,
	                                  .running_bytes_max = s->config->node.admission.running_bytes_max,
	                                  .queued_max = s->config->node.admission.queued_max,
	                                  .queued_bytes_max = s->config->node.admission.queued_bytes_max};
	const struct timeval every = {0, AGI_ADMIT_TICK_MS * 1000};
	enum agi_err e = agi_admit_new(&cfg, &s->admit);

	if (e)
		return e;
	s->admit_go = event_new(base, -1, 0, on_go, s);
	s->admit_tick = event_new(base, -1, EV_PERSIST, on_tick, s);
	return s->admit_go && s->admit_tick && event_add(s->admit_tick, &every) == 0 ? AGI_OK : AGI_E_NOMEM;
}

void agi_svc_admission_close(struct agi_svc *s)
{
	if (s->admit_go)
		event_free(s->admit_go);
	if (s->admit_tick)
		event_free(s->admit_tick);
	agi_admit_free(s->admit);
	s->admit = NULL;
	s->admit_go = s->admit_tick = NULL;
}
