/* SPDX-License-Identifier: Apache-2.0 */
#include "node/dht_host.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

#include <event2/event.h>
#include <sodium.h>

#include "node/log.h"
#include "node/msg_codec.h"

enum {
	TURN_EVENTS = 256,      /* queued events delivered before the loop looks at its sockets again */
	QUEUE_MAX = AGI_RPCS_MAX, /* queued events; a core that makes more than that is refused */
	SCAN_PAGE_ITEMS = 1024,
	SCAN_PAGE_BYTES = 4 << 20
};

/* What an effect left to be told to the core. */
enum todo_kind { TODO_MESSAGE, TODO_UNREACHABLE, TODO_STORED, TODO_CANCEL };
struct todo {
	STAILQ_ENTRY(todo) next;
	enum todo_kind kind;
	struct agi_msg *msg;   /* MESSAGE: owned */
	struct agi_peer peer;  /* UNREACHABLE */
	enum agi_traffic traffic; /* UNREACHABLE */
	enum agi_err err;      /* UNREACHABLE, STORED */
	uint64_t id;           /* STORED: job; CANCEL: call */
	bool is_refused;       /* STORED: the store's queue had no room */
	struct agi_kv kv;      /* STORED with OK: what was read; the bytes follow this struct */
};

struct open_call {
	agi_dht_reply_fn *fn; /* NULL = free slot */
	agi_dht_event_fn *on_event;
	void *arg;
	uint32_t generation;
	uint32_t next_free;
};

struct agi_dht_host {
	struct agi_dht *dht;
	struct agi_links *links;
	struct agi_store *store;
	enum agi_err (*operate)(void *ctx, struct agi_str task, struct agi_buf *answer);
	void *operate_ctx;
	struct agi_log *log;
	struct agi_contact self;
	struct event *timer, *store_ready, *store_kick;
	uint64_t timer_at;      /* mono_us the timer is set for; AGI_NEVER = not set */
	bool is_inside;         /* the core is running: no entry */
	uint64_t entered_us;
	struct agi_now now;     /* of the completions that are being delivered */
	STAILQ_HEAD(, todo) todo;
	size_t n_todo;
	struct open_call calls[AGI_CALLS_MAX];
	uint32_t first_free;    /* AGI_CALLS_MAX = none */
	struct agi_buf out;     /* of one message */
	struct agi_buf read;    /* one value from the store */
	bool is_store_queued;   /* store_kick will run before the loop sleeps */
	struct agi_msg_scratch scratch;
	struct agi_dht_host_stats stats;
};

struct agi_now agi_clock_now(void)
{
	struct timespec m, w;

	clock_gettime(CLOCK_BOOTTIME, &m); /* goes on while the host is suspended: what was promised for a time ends */
	clock_gettime(CLOCK_REALTIME, &w);
	return (struct agi_now){(uint64_t)m.tv_sec * 1000000 + (uint64_t)m.tv_nsec / 1000,
	                        (uint64_t)w.tv_sec * 1000 + (uint64_t)w.tv_nsec / 1000000};
}

const struct agi_dht *agi_dht_host_core(const struct agi_dht_host *h) { return h->dht; }

const struct agi_dht_host_stats *agi_dht_host_stats(const struct agi_dht_host *h)
{
	return &h->stats;
}

/* --- what follows from effects ------------------------------------------------------------------------ */
static bool queue(struct agi_dht_host *h, const struct todo *what)
{
	size_t key = what->kv.key.n, value = what->kv.value.n;
	struct todo *t = h->n_todo < QUEUE_MAX ? malloc(sizeof *t + key + value) : NULL;

	if (!t)
		return false; /* the core's own deadlines then end what waits for it */
	*t = *what;
	if (key + value) {
		char *p = (char *)(t + 1);

		t->kv.key.p = memcpy(p, what->kv.key.p, key);
		t->kv.value.p = value ? memcpy(p + key, what->kv.value.p, value) : "";
	}
	STAILQ_INSERT_TAIL(&h->todo, t, next);
	h->n_todo++;
	return true;
}

static void deliver(struct agi_dht_host *h, struct agi_now now, struct todo *t)
{
	struct agi_peer self = {h->self.id, h->self.addr};
	struct agi_storage_done done = {.err = t->err, .kv = &t->kv, .n = t->err == AGI_OK};

	switch (t->kind) {
	case TODO_MESSAGE:
		agi_dht_on_message(h->dht, now, &self, t->msg);
		return;
	case TODO_UNREACHABLE:
		agi_dht_on_unreachable(h->dht, now, &t->peer, t->traffic, t->err);
		return;
	case TODO_STORED:
		if (t->is_refused)
			agi_fail(&done.why, t->err, "the storage queue is full");
		agi_dht_on_stored(h->dht, now, t->id, &done);
		return;
	case TODO_CANCEL:
		agi_dht_cancel(h->dht, t->id);
		return;
	}
}

static void drain(struct agi_dht_host *h, size_t max)
{
	struct agi_now now = STAILQ_EMPTY(&h->todo) ? (struct agi_now){0} : agi_clock_now();
	struct todo *t;

	for (; max && (t = STAILQ_FIRST(&h->todo)); max--) {
		STAILQ_REMOVE_HEAD(&h->todo, next);
		h->n_todo--;
		deliver(h, now, t);
		free(t->msg);
		free(t);
	}
}

/* --- turns -------------------------------------------------------------------------------------------- */
/* One timer: for the core's next deadline, or at once when queued events wait for the next turn. */
static void set_timer(struct agi_dht_host *h, uint64_t now_us)
{
	uint64_t at = h->n_todo ? now_us : agi_dht_next_deadline(h->dht), left;
	struct timeval tv;

	if (at == h->timer_at)
		return;
	h->timer_at = at;
	if (at == AGI_NEVER) {
		evtimer_del(h->timer);
		return;
	}
	left = at > now_us ? at - now_us : 0;
	tv = (struct timeval){(time_t)(left / 1000000), (suseconds_t)(left % 1000000)};
	evtimer_add(h->timer, &tv);
}

static struct agi_now enter(struct agi_dht_host *h)
{
	struct agi_now now = agi_clock_now();

	assert(!h->is_inside);
	h->is_inside = true;
	h->entered_us = now.mono_us;
	h->stats.events++;
	return now;
}

static void leave(struct agi_dht_host *h)
{
	uint64_t now_us, took_us;

	drain(h, TURN_EVENTS);
	h->is_inside = false;
	now_us = agi_clock_now().mono_us;
	took_us = now_us - h->entered_us;
	h->stats.slow_turns += took_us > AGI_SLOW_TURN_US;
	if (took_us > h->stats.longest_turn_us)
		h->stats.longest_turn_us = took_us;
	set_timer(h, now_us);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct agi_dht_host *h = arg;
	struct agi_now now;
	(void)fd;
	(void)what;

	h->timer_at = AGI_NEVER;
	now = enter(h);
	agi_dht_tick(h->dht, now);
	leave(h);
}

/* --- effects: send, store ------------------------------------------------------------------------------ */
static bool is_self(const struct agi_dht_host *h, const struct agi_peer *to)
{
	return agi_id_is_zero(&to->id) ? agi_addr_eq(&to->addr, &h->self.addr)
	                               : agi_id_eq(&to->id, &h->self.id);
}

static enum agi_err send_to_self(struct agi_dht_host *h, const struct agi_msg *msg)
{
	struct todo t = {.kind = TODO_MESSAGE, .msg = agi_msg_clone(msg)};

	h->stats.to_self++;
	if (!t.msg)
		return AGI_E_NOMEM;
	if (queue(h, &t))
		return AGI_OK;
	free(t.msg);
	return AGI_E_FULL;
}

static enum agi_err send_on(struct agi_dht_host *h, const struct agi_peer *to, enum agi_chan chan,
                            const struct agi_msg *msg)
{
	agi_buf_reset(&h->out);
	agi_msg_encode(&h->out, msg);
	if (h->out.err)
		return h->out.err;
	return agi_links_send(h->links, &to->id, &to->addr, chan, agi_buf_str(&h->out));
}

static enum agi_err fx_send(void *ctx, const struct agi_peer *to, enum agi_traffic traffic,
                            const struct agi_msg *msg)
{
	struct agi_dht_host *h = ctx;
	enum agi_err e;

	h->stats.messages_out[msg->kind]++;
	if (is_self(h, to))
		e = send_to_self(h, msg);
	else
		e = send_on(h, to, traffic == AGI_TRAFFIC_BULK ? AGI_CHAN_BULK : AGI_CHAN_CONTROL, msg);
	if (!e)
		return AGI_OK;
	h->stats.send_errors++;
	AGI_LOG(h->log, AGI_LOG_DEBUG, "send_failed", agi_kv_id("node", &to->id),
	        agi_kv_addr("addr", &to->addr), agi_kv_z("kind", agi_msg_kind_name(msg->kind)),
	        agi_kv_z("err", agi_err_name(e)));
	return e;
}

/* A read that needs no disk is answered without the store's thread. False: the thread must do it. */
static bool read_at_once(struct agi_dht_host *h, uint64_t job_id, const struct agi_storage_req *req)
{
	struct todo t = {.kind = TODO_STORED, .id = job_id};

	if (req->kind != AGI_STORAGE_GET || !req->may_lag)
		return false;
	agi_buf_reset(&h->read);
	t.err = agi_store_peek(h->store, req, &h->read);
	if (t.err != AGI_OK && t.err != AGI_E_NOT_FOUND)
		return false;
	if (t.err == AGI_OK)
		t.kv = (struct agi_kv){req->begin, agi_buf_str(&h->read)};
	return queue(h, &t);
}

static void on_store_kick(evutil_socket_t fd, short what, void *arg)
{
	struct agi_dht_host *h = arg;
	(void)fd;
	(void)what;

	h->is_store_queued = false;
	agi_store_kick(h->store);
}

static void fx_store(void *ctx, uint64_t job_id, const struct agi_storage_req *req)
{
	struct agi_dht_host *h = ctx;
	struct todo t = {.kind = TODO_STORED, .id = job_id, .is_refused = true};

	if (read_at_once(h, job_id, req))
		return;
	t.err = agi_store_queue(h->store, job_id, req);
	if (!t.err) { /* the thread is told once a turn: one sync for all that the turn brought */
		if (!h->is_store_queued)
			event_active(h->store_kick, EV_TIMEOUT, 0);
		h->is_store_queued = true;
		return;
	}
	h->stats.store_refused++;
	AGI_LOG(h->log, AGI_LOG_WARN, "store_refused", agi_kv_z("err", agi_err_name(t.err)));
	queue(h, &t);
}

static void on_stored(void *arg, uint64_t job_id, const struct agi_storage_done *done)
{
	struct agi_dht_host *h = arg;

	agi_dht_on_stored(h->dht, h->now, job_id, done);
}

static void on_store_ready(evutil_socket_t fd, short what, void *arg)
{
	struct agi_dht_host *h = arg;
	(void)fd;
	(void)what;

	h->now = enter(h);
	agi_store_poll(h->store, on_stored, h);
	leave(h);
}

/* --- effects: reply, note -------------------------------------------------------------------------------- */
static struct open_call *call_of(struct agi_dht_host *h, uint64_t id)
{
	uint32_t i = (uint32_t)id;
	struct open_call *c = i < AGI_CALLS_MAX ? &h->calls[i] : NULL;

	return c && c->fn && c->generation == (uint32_t)(id >> 32) ? c : NULL;
}

static void release(struct agi_dht_host *h, struct open_call *c)
{
	c->fn = NULL;
	c->next_free = h->first_free;
	h->first_free = (uint32_t)(c - h->calls);
}

static void fx_reply(void *ctx, uint64_t call_id, const struct agi_result *res)
{
	struct agi_dht_host *h = ctx;
	struct open_call *c = call_of(h, call_id);
	agi_dht_reply_fn *fn;

	if (!c)
		return; /* cancelled, and the core does not know yet */
	fn = c->fn;
	release(h, c);
	h->stats.calls_failed[res->kind] += res->err != AGI_OK;
	fn(c->arg, res);
}

static bool fx_event(void *ctx, uint64_t call_id, const struct agi_event *ev)
{
	struct agi_dht_host *h = ctx;
	struct open_call *c = call_of(h, call_id);

	return !c || !c->on_event || c->on_event(c->arg, ev);
}

static void note_member(struct agi_dht_host *h, const struct agi_note *n, const char *event)
{
	AGI_LOG(h->log, AGI_LOG_INFO, event, agi_kv_id("node", &n->contact->id),
	        agi_kv_addr("addr", &n->contact->addr), agi_kv_z("zone", n->contact->zone),
	        agi_kv_u("incarnation", n->contact->incarnation));
}

static void fx_note(void *ctx, const struct agi_note *n)
{
	struct agi_dht_host *h = ctx;
	static const struct agi_contact nobody;
	const struct agi_contact *c = n->contact ? n->contact : &nobody;
	const char *text = n->text ? n->text : "";

	switch (n->kind) {
	case AGI_NOTE_MEMBER_UP:
		h->stats.members_up++;
		note_member(h, n, "member_up");
		return;
	case AGI_NOTE_MEMBER_DOWN:
		h->stats.members_down++;
		note_member(h, n, "member_down");
		return;
	case AGI_NOTE_CLUSTER_CREATED:
		AGI_LOG(h->log, AGI_LOG_INFO, "cluster_created", agi_kv_z("detail", text));
		return;
	case AGI_NOTE_CLUSTER_JOINED:
		AGI_LOG(h->log, AGI_LOG_INFO, "cluster_joined", agi_kv_z("detail", text));
		return;
	case AGI_NOTE_WRONG_CLUSTER:
		AGI_LOG(h->log, AGI_LOG_ERROR, "wrong_cluster", agi_kv_id("node", &c->id),
		        agi_kv_addr("addr", &c->addr), agi_kv_z("detail", text));
		return;
	case AGI_NOTE_VIEW_CHANGED:
		h->stats.view_changes++;
		AGI_LOG(h->log, AGI_LOG_DEBUG, "view_changed", agi_kv_u("slot", n->slot),
		        agi_kv_u("epoch", n->epoch), agi_kv_z("phase", agi_view_phase_name(n->phase)));
		return;
	case AGI_NOTE_STORE_FAILED:
		AGI_LOG(h->log, AGI_LOG_ERROR, "store_failed", agi_kv_z("err", agi_err_name(n->err)),
		        agi_kv_z("detail", text));
		return;
	case AGI_NOTE_DRAIN:
		AGI_LOG(h->log, AGI_LOG_WARN, "drain_state", agi_kv_z("now", text));
		return;
	case AGI_NOTE_LEFT:
		AGI_LOG(h->log, AGI_LOG_WARN, "left_cluster");
		return;
	case AGI_NOTE_RECOVERED:
		h->stats.slots_recovered++;
		AGI_LOG(h->log, AGI_LOG_ERROR, "slot_recovered_unsafe", agi_kv_u("slot", n->slot),
		        agi_kv_u("epoch", n->epoch), agi_kv_z("survivors", text),
		        agi_kv_z("lost", "writes that only the other members had"));
		return;
	case AGI_NOTE_DROPPED:
		h->stats.dropped++;
		AGI_LOG(h->log, AGI_LOG_WARN, "input_dropped", agi_kv_id("node", &c->id),
		        agi_kv_z("detail", text));
		return;
	}
}

static const struct agi_dht_effects effects = {fx_send, fx_store, fx_reply, fx_note, fx_event};

static enum agi_err on_operate(void *ctx, struct agi_str task, struct agi_buf *answer)
{
	struct agi_dht_host *h = ctx;

	return h->operate ? h->operate(h->operate_ctx, task, answer) : AGI_E_UNSUPPORTED;
}

/* --- loading ---------------------------------------------------------------------------------------------- */
struct load {
	struct agi_dht_host *h;
	enum agi_cf cf;
	struct agi_buf next; /* the key to go on from */
	bool has_more;
	enum agi_err err;
	struct agi_why *why;
};

static void load_page(void *arg, uint64_t job_id, const struct agi_storage_done *done)
{
	struct load *l = arg;
	(void)job_id;

	l->err = done->err;
	if (done->err) {
		agi_fail(l->why, done->err, "reading %s: %s", agi_cf_name(l->cf), done->why.text);
		return;
	}
	for (size_t i = 0; i < done->n && !l->err; i++)
		l->err = agi_dht_load(l->h->dht, l->cf, done->kv[i].key, done->kv[i].value, l->why);
	l->has_more = done->has_more && done->n > 0;
	if (!l->has_more)
		return;
	agi_buf_reset(&l->next);
	agi_buf_put_str(&l->next, done->kv[done->n - 1].key);
	agi_buf_u8(&l->next, 0);
	if (!l->err)
		l->err = l->next.err;
}

static enum agi_err load_cf(struct agi_dht_host *h, enum agi_cf cf, struct agi_why *why)
{
	struct load l = {.h = h, .cf = cf, .why = why};
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN,
	                              .cf = cf,
	                              .max_items = SCAN_PAGE_ITEMS,
	                              .max_bytes = SCAN_PAGE_BYTES};
	struct agi_buf begin; /* load_page writes the next key while this one is in use */
	enum agi_err e;

	agi_buf_init(&l.next, 0);
	agi_buf_init(&begin, 0);
	do {
		l.has_more = false;
		agi_buf_reset(&begin);
		agi_buf_put_str(&begin, agi_buf_str(&l.next));
		req.begin = agi_buf_str(&begin);
		e = begin.err ? begin.err : agi_store_run(h->store, &req, load_page, &l);
		if (!e)
			e = l.err;
	} while (!e && l.has_more);
	agi_buf_free(&begin);
	agi_buf_free(&l.next);
	return e;
}

static enum agi_err load_all(struct agi_dht_host *h, struct agi_why *why)
{
	static const enum agi_cf cfs[] = {AGI_CF_META, AGI_CF_VIEWS, AGI_CF_REGISTRY, AGI_CF_HINTS};
	enum agi_err e = AGI_OK;

	for (size_t i = 0; i < sizeof cfs / sizeof *cfs && !e; i++)
		e = load_cf(h, cfs[i], why);
	return e;
}

/* --- life ------------------------------------------------------------------------------------------------- */
static enum agi_err make_events(struct agi_dht_host *h, struct event_base *base)
{
	h->timer = evtimer_new(base, on_timer, h);
	h->store_ready = event_new(base, agi_store_fd(h->store), EV_READ | EV_PERSIST, on_store_ready, h);
	h->store_kick = event_new(base, -1, 0, on_store_kick, h);
	if (!h->timer || !h->store_ready || !h->store_kick || event_add(h->store_ready, NULL))
		return AGI_E_NOMEM;
	return AGI_OK;
}

enum agi_err agi_dht_host_new(const struct agi_dht_host_cfg *cfg, struct agi_dht_host **out,
                              struct agi_why *why)
{
	struct agi_dht_host *h = calloc(1, sizeof *h);
	struct agi_dht_cfg dht;
	enum agi_err e;

	if (!h)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	h->links = cfg->links;
	h->store = cfg->store;
	h->operate = cfg->operate;
	h->operate_ctx = cfg->operate_ctx;
	h->log = cfg->log;
	h->self = cfg->dht.self;
	h->timer_at = AGI_NEVER;
	STAILQ_INIT(&h->todo);
	agi_buf_init(&h->out, AGI_LINK_FRAME_MAX);
	agi_buf_init(&h->read, AGI_LINK_FRAME_MAX);
	for (uint32_t i = 0; i < AGI_CALLS_MAX; i++)
		h->calls[i].next_free = i + 1;
	dht = cfg->dht;
	dht.operate = on_operate;
	e = agi_dht_new(&dht, &effects, h, &h->dht);
	sodium_memzero(dht.seckey, sizeof dht.seckey);
	if (e)
		agi_fail(why, e, "starting the overlay: %s", agi_err_text(e));
	if (!e)
		e = load_all(h, why);
	if (!e)
		e = make_events(h, cfg->base);
	if (e) {
		agi_dht_host_free(h);
		return e;
	}
	*out = h;
	return AGI_OK;
}

void agi_dht_host_start(struct agi_dht_host *h)
{
	struct agi_now now = enter(h);

	agi_dht_start(h->dht, now);
	leave(h);
}

void agi_dht_host_stop(struct agi_dht_host *h)
{
	struct agi_now now = enter(h);

	agi_dht_stop(h->dht, now);
	leave(h);
}

void agi_dht_host_free(struct agi_dht_host *h)
{
	struct todo *t;

	if (!h)
		return;
	while ((t = STAILQ_FIRST(&h->todo))) {
		STAILQ_REMOVE_HEAD(&h->todo, next);
		free(t->msg);
		free(t);
	}
	if (h->timer)
		event_free(h->timer);
	if (h->store_ready)
		event_free(h->store_ready);
	if (h->store_kick)
		event_free(h->store_kick);
	agi_dht_free(h->dht);
	agi_buf_free(&h->out);
	agi_buf_free(&h->read);
	free(h);
}

/* --- events from links -------------------------------------------------------------------------------------- */
/* A request gets a clear answer even when it was not understood; an answer just fails by its deadline. */
static void refuse(struct agi_dht_host *h, const struct agi_peer *to, enum agi_chan chan,
                   const struct agi_msg *msg, enum agi_err err, const struct agi_why *why)
{
	struct agi_msg m = {.kind = AGI_MSG_REFUSED,
	                    .rpc_id = msg->rpc_id,
	                    .status = err,
	                    .why = agi_str_of(why->text)};

	h->stats.decode_errors++;
	AGI_LOG(h->log, AGI_LOG_WARN, "message_refused", agi_kv_id("node", &to->id),
	        agi_kv_addr("addr", &to->addr), agi_kv_z("err", agi_err_name(err)),
	        agi_kv_z("why", why->text));
	if (msg->rpc_id == 0 || (msg->kind < AGI_MSG_KIND_MAX && agi_msg_is_answer(msg->kind)))
		return;
	h->stats.messages_out[m.kind]++;
	if (send_on(h, to, chan, &m))
		h->stats.send_errors++;
}

void agi_dht_host_on_message(struct agi_dht_host *h, const struct agi_id *peer,
                             const struct agi_addr *remote, enum agi_chan chan, struct agi_str body)
{
	struct agi_peer from = {*peer, *remote};
	struct agi_msg msg;
	struct agi_why why;
	struct agi_now now;
	enum agi_err e = agi_msg_decode(body, &h->scratch, &msg, &why);

	if (e) {
		refuse(h, &from, chan, &msg, e, &why);
		return;
	}
	h->stats.messages_in[msg.kind]++;
	now = enter(h);
	agi_dht_on_message(h->dht, now, &from, &msg);
	leave(h);
}

void agi_dht_host_on_down(struct agi_dht_host *h, const struct agi_id *peer,
                          const struct agi_addr *dialled, enum agi_traffic traffic, enum agi_err err)
{
	struct todo t = {.kind = TODO_UNREACHABLE, .peer = {*peer, *dialled}, .traffic = traffic, .err = err};

	queue(h, &t);
	if (h->is_inside)
		return;
	enter(h);
	leave(h);
}

/* --- client operations -------------------------------------------------------------------------------------- */
static uint64_t refuse_call(struct agi_dht_host *h, const struct agi_call *call,
                            agi_dht_reply_fn *fn, void *arg)
{
	struct agi_result res = {.kind = call->kind, .err = AGI_E_FULL};

	h->stats.calls_failed[call->kind]++;
	agi_fail(&res.why, AGI_E_FULL, "%d operations are in flight on this node", AGI_CALLS_MAX);
	fn(arg, &res);
	return 0;
}

uint64_t agi_dht_host_call(struct agi_dht_host *h, const struct agi_call *call, agi_dht_reply_fn *fn,
                           void *arg)
{
	return agi_dht_host_watch(h, call, NULL, fn, arg);
}

void agi_dht_host_resume(struct agi_dht_host *h, uint64_t id)
{
	struct agi_now now;

	if (!call_of(h, id))
		return;
	now = enter(h);
	agi_dht_watch_resume(h->dht, now, id);
	leave(h);
}

uint64_t agi_dht_host_watch(struct agi_dht_host *h, const struct agi_call *call, agi_dht_event_fn *on_event,
                            agi_dht_reply_fn *fn, void *arg)
{
	struct open_call *c;
	struct agi_now now;
	uint64_t id;

	h->stats.calls[call->kind]++;
	if (h->first_free == AGI_CALLS_MAX)
		return refuse_call(h, call, fn, arg);
	c = &h->calls[h->first_free];
	h->first_free = c->next_free;
	c->fn = fn;
	c->on_event = on_event;
	c->arg = arg;
	c->generation = (c->generation + 1) & INT32_MAX; /* ids stay below 2^63 */
	id = (uint64_t)c->generation << 32 | (uint64_t)(c - h->calls);
	now = enter(h);
	agi_dht_call(h->dht, now, id, call);
	leave(h);
	return call_of(h, id) ? id : 0;
}

void agi_dht_host_cancel(struct agi_dht_host *h, uint64_t id)
{
	struct open_call *c = call_of(h, id);
	struct todo t = {.kind = TODO_CANCEL, .id = id};

	if (!c)
		return;
	release(h, c);
	queue(h, &t);
	if (h->is_inside)
		return;
	enter(h);
	leave(h);
}

void agi_dht_host_set_health(struct agi_dht_host *h, struct agi_str service, struct agi_str address,
                             bool is_healthy, uint32_t load_milli)
{
	struct agi_now now = enter(h);
	enum agi_err e = agi_dht_set_health(h->dht, now, service, address, is_healthy, load_milli);

	leave(h);
	if (e)
		AGI_LOG(h->log, AGI_LOG_DEBUG, "health_of_unknown", agi_kv_str("service", service),
		        agi_kv_str("address", address), agi_kv_z("err", agi_err_name(e)));
}

void agi_dht_host_set_traits(struct agi_dht_host *h, struct agi_str service, struct agi_str address,
                             uint32_t traits)
{
	struct agi_now now = enter(h);
	enum agi_err e = agi_dht_set_traits(h->dht, now, service, address, traits);

	leave(h);
	if (e)
		AGI_LOG(h->log, AGI_LOG_DEBUG, "traits_of_unknown", agi_kv_str("service", service),
		        agi_kv_str("address", address), agi_kv_z("err", agi_err_name(e)));
}

void agi_dht_host_set_load(struct agi_dht_host *h, struct agi_str service, struct agi_str address, uint32_t load_milli)
{
	struct agi_now now = enter(h);
	enum agi_err e = agi_dht_set_load(h->dht, now, service, address, load_milli);

	leave(h);
	if (e)
		AGI_LOG(h->log, AGI_LOG_DEBUG, "load_of_unknown", agi_kv_str("service", service),
		        agi_kv_str("address", address), agi_kv_z("err", agi_err_name(e)));
}

void agi_dht_host_set_low(struct agi_dht_host *h, bool is_low)
{
	enter(h);
	agi_dht_set_low(h->dht, is_low);
	leave(h);
}

void agi_dht_host_set_read_only(struct agi_dht_host *h)
{
	struct agi_now now = enter(h);

	agi_dht_set_read_only(h->dht, now);
	leave(h);
}

void agi_dht_host_follow(struct agi_dht_host *h, struct agi_str service)
{
	struct agi_now now = enter(h);

	agi_dht_follow_service(h->dht, now, service);
	leave(h);
}

enum agi_err agi_dht_host_follow_for(struct agi_dht_host *h, struct agi_str service, uint32_t ms)
{
	struct agi_now now = enter(h);
	enum agi_err e = agi_dht_follow_for(h->dht, now, service, ms);

	leave(h);
	return e;
}

void agi_dht_host_set_bootstrap(struct agi_dht_host *h, const struct agi_addr *addrs, size_t n,
                                bool is_first_listed)
{
	struct agi_now now = enter(h);

	agi_dht_set_bootstrap(h->dht, now, addrs, n, is_first_listed);
	leave(h);
}

void agi_dht_host_set_place(struct agi_dht_host *h, uint32_t weight_milli, const char *zone)
{
	struct agi_now now = enter(h);

	agi_dht_set_place(h->dht, now, weight_milli, zone);
	leave(h);
}

void agi_dht_host_set_rebalance(struct agi_dht_host *h, uint64_t bytes_per_s, uint32_t slots)
{
	struct agi_now now = enter(h);

	agi_dht_set_rebalance(h->dht, now, bytes_per_s, slots);
	leave(h);
}

void agi_dht_host_set_repair(struct agi_dht_host *h, uint32_t interval_ms, uint32_t bytes_per_s)
{
	struct agi_now now = enter(h);

	agi_dht_set_repair(h->dht, now, interval_ms, bytes_per_s);
	leave(h);
}
