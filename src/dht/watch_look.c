/* SPDX-License-Identifier: Apache-2.0
 * Who looks at which slot for a watch: feeds are asked for and kept, and where one began, or could not tell all, the
 * slot's keys are read from its member. */
#include <stdlib.h>

#include "dht/watch_impl.h"

enum {
	RENEW_MS = 2500,        /* a third of AGI_FEED_IDLE_MS, and a little */
	HOST_PAUSE_MS = 500,    /* after a host failed */
	PAGE_MS = 2000,
	PLAN_MS = 1000,         /* at least so often; a host may have come */
	PLAN_PAUSE_MS = 50,     /* and not more often: a slot that is refused is asked for again */
	STUCK_MS = 200,         /* slots that are not covered: look for their views so often */
	PAGE_SLOTS = 1024       /* asked about in one page */
};

/* --- the state of a slot at a host ----------------------------------------------------------------------- */
static bool is_covered(const struct agi_watched_slot *s) { return s->need && s->n_live >= s->need; }

static void set_look(struct agi_watch *w, struct agi_watched_host *h, uint32_t i, enum agi_look to)
{
	struct agi_watched_slot *s = &w->slots[i];
	enum agi_look from = (enum agi_look)h->look[i];
	bool was_covered = is_covered(s);

	s->n_live = (uint8_t)(s->n_live + (to == AGI_LOOK_LIVE) - (from == AGI_LOOK_LIVE));
	h->n_to_read += (uint32_t)(to == AGI_LOOK_TO_READ) - (uint32_t)(from == AGI_LOOK_TO_READ);
	h->n_on += (uint32_t)(to >= AGI_LOOK_TO_READ) - (uint32_t)(from >= AGI_LOOK_TO_READ);
	h->look[i] = (uint8_t)to;
	w->n_uncovered += (uint32_t)was_covered - (uint32_t)is_covered(s);
	if (to == AGI_LOOK_NONE)
		w->must_plan = true;
}

void agi_watch_lost(struct agi_watch *w, struct agi_watched_host *h, uint32_t slot)
{
	if (slot - w->first_slot < w->n_slots && h->look[slot - w->first_slot] != AGI_LOOK_NONE)
		set_look(w, h, slot - w->first_slot, AGI_LOOK_NONE);
}

void agi_watch_read_again(struct agi_watch *w, struct agi_watched_host *h, uint32_t slot)
{
	if (slot - w->first_slot >= w->n_slots || h->look[slot - w->first_slot] < AGI_LOOK_TO_READ)
		return;
	set_look(w, h, slot - w->first_slot, AGI_LOOK_TO_READ);
	if (h->page_slot == slot) /* what was read of it so far may be what changed */
		agi_buf_reset(&h->page_after);
}

/* Nothing is sure about what this host tells any more. */
static void host_failed(struct agi_watch *w, struct agi_watched_host *h)
{
	agi_rpc_cancel(w->d, h->watch_rpc);
	agi_rpc_cancel(w->d, h->page_rpc);
	h->watch_rpc = h->page_rpc = 0;
	h->is_known = false;
	agi_buf_reset(&h->want);
	agi_buf_reset(&h->asked);
	h->retry_us = agi_after_ms(w->d, HOST_PAUSE_MS);
	for (uint32_t i = 0; i < w->n_slots; i++)
		if (h->look[i] != AGI_LOOK_NONE)
			set_look(w, h, i, AGI_LOOK_NONE);
}

static void free_host(struct agi_watched_host *h)
{
	struct agi_watch *w = h->w;

	agi_rpc_cancel(w->d, h->watch_rpc);
	agi_rpc_cancel(w->d, h->page_rpc);
	HASH_DEL(w->hosts, h);
	agi_buf_free(&h->want);
	agi_buf_free(&h->asked);
	agi_buf_free(&h->page_after);
	free(h->look);
	free(h);
}

static void on_ended(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err, const struct agi_peer *from,
                     const struct agi_msg *m)
{
	(void)d, (void)arg, (void)which, (void)err, (void)from, (void)m;
}

/* The host need not keep a feed that nobody will ask for again. */
static void tell_end(struct agi_watch *w, const struct agi_watched_host *h)
{
	struct agi_feed_ask ask = {.watch = w->id, .is_end = true, .ns = w->ns};
	struct agi_msg m = {.kind = AGI_MSG_WATCH};
	struct agi_peer to = agi_hosts_peer(w->d, &h->id);
	struct agi_buf b;

	agi_buf_init(&b, 0);
	agi_feed_ask_put(&b, &ask, (struct agi_str){NULL, 0});
	m.blob = agi_buf_str(&b);
	if (!b.err)
		(void)agi_rpc_ask(w->d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, on_ended, NULL, 0);
	agi_buf_free(&b);
}

void agi_watch_look_free(struct agi_watch *w)
{
	for (int i = 0; i < AGI_WATCH_FETCHES; i++)
		agi_vfetch_cancel(w->d, &w->fetches[i].wait);
	while (w->hosts) {
		if (w->hosts->is_known && !w->d->is_stopped)
			tell_end(w, w->hosts);
		free_host(w->hosts);
	}
}

/* --- reading ----------------------------------------------------------------------------------------------- */
/* True when the record is news to the client: a deleted one is none to who begins with what is there. */
static bool is_news(const struct agi_watch *w, struct agi_str record, struct agi_version *version)
{
	bool is_dead, is_initial = w->skips_dead && !w->is_caught_up;
	struct agi_item it = {.expires_ms = 0};
	struct agi_reg reg;

	*version = it.version;
	if (w->is_strong) {
		if (agi_reg_decode(&reg, record) != AGI_OK)
			return false;
		is_dead = reg.is_tombstone;
		*version = (struct agi_version){.hlc = reg.version};
	} else {
		if (agi_item_decode_record(&it, record) != AGI_OK)
			return false;
		is_dead = it.is_tombstone || (it.expires_ms && it.expires_ms <= w->d->now.wall_ms);
		*version = it.version;
	}
	return !(is_dead && is_initial);
}

static bool take_records(struct agi_watch *w, struct agi_watched_host *h, struct agi_page *p)
{
	struct agi_page_record r;
	struct agi_version version;

	while (agi_page_next(p, &r)) {
		agi_watch_saw(w, r.slot, agi_page_position(w->is_strong, r.record));
		if (r.key.n == 0)
			continue; /* only how far the slot is */
		if (!is_news(w, r.record, &version)) {
			agi_watch_set_told(w, r.key, &version); /* another member may still come and tell */
			continue;
		}
		if (r.key.n <= AGI_KEY_MAX && agi_watch_key(w, r.slot, r.key, &version))
			continue;
		h->page_slot = r.slot; /* the table is full: from the slot's beginning, later */
		agi_buf_reset(&h->page_after);
		return false;
	}
	return true;
}

/* Slots that the page went through are LIVE; reading goes on in the one it ended in. */
static void take_page(struct agi_watch *w, struct agi_watched_host *h, struct agi_page *p)
{
	bool is_whole = take_records(w, h, p);
	uint32_t slot, stop = w->first_slot + w->n_slots;
	enum agi_err why;

	while (agi_page_next_refused(p, &slot, &why))
		agi_watch_lost(w, h, slot);
	if (!is_whole)
		stop = h->page_slot;
	else if (p->has_more)
		stop = p->last_slot;
	for (uint32_t i = 0; i < w->n_slots; i++)
		if (h->look[i] == AGI_LOOK_READING)
			set_look(w, h, i, w->first_slot + i < stop ? AGI_LOOK_LIVE : AGI_LOOK_TO_READ);
	if (!is_whole)
		return;
	h->page_slot = p->has_more ? p->last_slot : w->first_slot;
	agi_buf_reset(&h->page_after);
	if (p->has_more)
		agi_buf_put_str(&h->page_after, p->last_key);
}

static void on_page(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err, const struct agi_peer *from,
                    const struct agi_msg *m)
{
	struct agi_watched_host *h = arg;
	struct agi_watch *w = h->w;
	struct agi_page p;

	(void)d, (void)which, (void)from;
	h->page_rpc = 0;
	if (err || m->kind != AGI_MSG_SCANNED || m->status || agi_page_open(&p, m) != AGI_OK)
		host_failed(w, h);
	else
		take_page(w, h, &p);
	agi_watch_read_keys(w);
	agi_watch_look(w);
	agi_watch_read_pages(w);
}

/* The slots from `from` on that are to be read; how many. */
static uint32_t choose_slots(struct agi_watch *w, struct agi_watched_host *h, uint32_t from, struct agi_buf *out)
{
	uint32_t n = 0;

	for (uint32_t i = from - w->first_slot; i < w->n_slots && n < PAGE_SLOTS; i++) {
		struct agi_page_slot s = {.slot = w->first_slot + i, .epoch = w->slots[i].epoch,
		                          .since = agi_watch_since(w, w->first_slot + i)};

		if (h->look[i] != AGI_LOOK_TO_READ)
			continue;
		agi_buf_put(out, &s, sizeof s);
		n++;
	}
	return n;
}

static void read_page(struct agi_watch *w, struct agi_watched_host *h)
{
	struct agi_page_ask ask = {.what = w->begin == AGI_BEGIN_NOW && !w->is_caught_up ? AGI_PAGE_LAST : AGI_PAGE_HEADS,
	                           .is_exact = !w->is_prefix, .ns = w->ns, .prefix = w->key};
	struct agi_msg m = {.kind = AGI_MSG_SCAN, .is_strong = w->is_strong};
	struct agi_peer to = agi_hosts_peer(w->d, &h->id);
	struct agi_buf slots, blob;

	agi_buf_init(&slots, 0);
	agi_buf_init(&blob, AGI_BLOB_MAX);
	ask.n_slots = choose_slots(w, h, h->page_slot, &slots);
	if (ask.n_slots == 0)
		ask.n_slots = choose_slots(w, h, w->first_slot, &slots);
	ask.slots = (void *)slots.p;
	if (ask.n_slots && ask.slots[0].slot == h->page_slot)
		ask.after = agi_buf_str(&h->page_after);
	agi_page_ask_put(&blob, &ask);
	m.blob = agi_buf_str(&blob);
	if (ask.n_slots && !slots.err && !blob.err && !h->page_after.err)
		h->page_rpc = agi_rpc_ask(w->d, &to, AGI_TRAFFIC_BULK, &m, PAGE_MS, on_page, h, 0);
	for (uint32_t i = 0; h->page_rpc && i < ask.n_slots; i++)
		set_look(w, h, ask.slots[i].slot - w->first_slot, AGI_LOOK_READING);
	agi_buf_free(&slots);
	agi_buf_free(&blob);
}

void agi_watch_read_pages(struct agi_watch *w)
{
	for (struct agi_watched_host *h = w->hosts; h && agi_watch_has_room(w); h = h->hh.next)
		if (!h->page_rpc && h->n_to_read)
			read_page(w, h);
}

/* --- feeds -------------------------------------------------------------------------------------------------- */
/* When a watch begins with now, an item's slot needs no reading. */
static enum agi_look first_look(const struct agi_watch *w)
{
	return w->begin == AGI_BEGIN_NOW && !w->is_caught_up && !w->is_strong ? AGI_LOOK_LIVE : AGI_LOOK_TO_READ;
}

static void take_state(struct agi_watch *w, struct agi_watched_host *h, struct agi_feed_state *s)
{
	struct agi_cur asked = agi_cur_of(agi_buf_str(&h->asked));

	if (h->is_known && !s->is_known) /* it had forgotten, and what it was to tell */
		for (uint32_t i = 0; i < w->n_slots; i++)
			if (h->look[i] >= AGI_LOOK_TO_READ)
				set_look(w, h, i, AGI_LOOK_NONE);
	h->is_known = true;
	while (asked.n) {
		uint32_t i = agi_cur_u32(&asked) - w->first_slot;
		uint64_t epoch = agi_cur_u64(&asked);

		if (h->look[i] == AGI_LOOK_ASKED)
			set_look(w, h, i, epoch == w->slots[i].epoch ? first_look(w) : AGI_LOOK_NONE);
	}
	while (s->lost.n)
		agi_watch_lost(w, h, agi_cur_u32(&s->lost));
	if (s->is_clean) {
		h->confirmed_us = h->asked_us;
		h->confirmed_ms = h->asked_ms;
	}
}

static void on_watched(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err, const struct agi_peer *from,
                       const struct agi_msg *m)
{
	struct agi_watched_host *h = arg;
	struct agi_watch *w = h->w;
	struct agi_feed_state s;

	(void)d, (void)which, (void)from;
	h->watch_rpc = 0;
	if (err || m->kind != AGI_MSG_WATCHED || m->status || agi_feed_state_open(&s, m) != AGI_OK)
		host_failed(w, h);
	else
		take_state(w, h, &s);
	agi_buf_reset(&h->asked);
	agi_watch_look(w);
	agi_watch_read_pages(w);
}

static void ask_host(struct agi_watch *w, struct agi_watched_host *h)
{
	struct agi_feed_ask ask = {.watch = w->id, .is_exact = !w->is_prefix, .ns = w->ns, .prefix = w->key};
	struct agi_msg m = {.kind = AGI_MSG_WATCH, .is_strong = w->is_strong};
	struct agi_peer to = agi_hosts_peer(w->d, &h->id);
	struct agi_buf b, swap = h->asked;

	h->asked = h->want;
	h->want = swap;
	agi_buf_reset(&h->want);
	agi_buf_init(&b, AGI_BLOB_MAX);
	agi_feed_ask_put(&b, &ask, agi_buf_str(&h->asked));
	m.blob = agi_buf_str(&b);
	h->asked_us = w->d->now.mono_us;
	h->asked_ms = w->d->now.wall_ms;
	if (!b.err && !h->asked.err)
		h->watch_rpc = agi_rpc_ask(w->d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, on_watched, h, 0);
	agi_buf_free(&b);
	if (!h->watch_rpc)
		host_failed(w, h);
}

/* --- planning ------------------------------------------------------------------------------------------------ */
static struct agi_watched_host *host_of(struct agi_watch *w, const struct agi_id *id)
{
	struct agi_watched_host *h;

	HASH_FIND(hh, w->hosts, id, sizeof *id, h);
	if (h)
		return h;
	h = calloc(1, sizeof *h);
	if (!h)
		return NULL;
	*h = (struct agi_watched_host){.w = w, .id = *id, .page_slot = w->first_slot, .look = calloc(w->n_slots, 1)};
	agi_buf_init(&h->want, 0);
	agi_buf_init(&h->asked, 0);
	agi_buf_init(&h->page_after, 0);
	if (h->look)
		HASH_ADD(hh, w->hosts, id, sizeof h->id, h);
	if (h->look && h->hh.tbl)
		return h;
	free(h->look);
	free(h);
	return NULL;
}

static void on_view(struct agi_dht *d, void *arg, enum agi_err err)
{
	struct agi_watch_fetch *f = arg;

	(void)d, (void)err;
	f->w->must_plan = true;
	f->wait.fn = NULL; /* free again */
}

static void fetch_view(struct agi_watch *w, uint32_t slot)
{
	for (int i = 0; i < AGI_WATCH_FETCHES; i++) {
		struct agi_watch_fetch *f = &w->fetches[i];

		if (f->wait.fn)
			continue;
		*f = (struct agi_watch_fetch){.w = w, .wait = {.fn = on_view, .arg = f}};
		agi_vfetch_wait(w->d, slot, &f->wait);
		if (!f->wait.is_waiting)
			f->wait.fn = NULL; /* out of memory: another time */
		return;
	}
}

/* The slot has other members now: whoever looked at it looks at the old ones' work. */
static void take_view(struct agi_watch *w, uint32_t i, const struct agi_view *v)
{
	for (struct agi_watched_host *h = w->hosts; h; h = h->hh.next)
		if (h->look[i] != AGI_LOOK_NONE)
			set_look(w, h, i, AGI_LOOK_NONE);
	w->slots[i].epoch = v->epoch;
	w->slots[i].need = (uint8_t)(v->n_members - agi_majority(v->n_members) + 1);
}

static void plan_slot(struct agi_watch *w, uint32_t i)
{
	const struct agi_slot *s = agi_slot_find(w->d, w->first_slot + i);

	if (!s || s->view.epoch == 0)
		return;
	if (s->view.epoch > w->slots[i].epoch)
		take_view(w, i, &s->view);
	for (uint8_t n = 0; n < s->view.n_members; n++) {
		struct agi_watched_host *h;

		if (!agi_hosts_is_up(w->d, &s->view.members[n]))
			continue;
		h = host_of(w, &s->view.members[n]);
		if (!h || h->look[i] != AGI_LOOK_NONE || w->d->now.mono_us < h->retry_us)
			continue;
		agi_buf_u32(&h->want, w->first_slot + i);
		agi_buf_u64(&h->want, w->slots[i].epoch);
		set_look(w, h, i, AGI_LOOK_ASKED);
	}
}

static void plan(struct agi_watch *w)
{
	bool is_stuck = w->d->now.mono_us - w->fetched_us >= STUCK_MS * 1000;

	w->must_plan = false;
	w->planned_us = w->d->now.mono_us;
	w->hosts_seen = w->d->hosts.generation;
	for (struct agi_watched_host *h = w->hosts; h; h = h->hh.next)
		if (h->n_on && !agi_hosts_is_up(w->d, &h->id))
			host_failed(w, h);
	for (uint32_t i = 0; i < w->n_slots; i++) {
		if (is_stuck && !is_covered(&w->slots[i])) {
			fetch_view(w, w->first_slot + i);
			w->fetched_us = w->d->now.mono_us;
		}
		plan_slot(w, i);
	}
}

void agi_watch_look(struct agi_watch *w)
{
	struct agi_dht *d = w->d;
	struct agi_watched_host *h, *tmp;
	bool is_wanted = w->must_plan || w->hosts_seen != d->hosts.generation;
	uint64_t ago_us = d->now.mono_us - w->planned_us;

	if (ago_us >= PLAN_MS * 1000 || (is_wanted && ago_us >= PLAN_PAUSE_MS * 1000))
		plan(w);
	HASH_ITER(hh, w->hosts, h, tmp) {
		bool is_due = h->n_on && d->now.mono_us - h->asked_us >= RENEW_MS * 1000;

		if (!h->watch_rpc && (h->want.n || is_due))
			ask_host(w, h);
	}
}
