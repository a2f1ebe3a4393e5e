/* SPDX-License-Identifier: Apache-2.0
 * Coordinator of scans: one call reads one page of the keys that begin with a prefix, slot by slot.
 *
 * A page is made of rounds. A round takes the slots ahead (its window), asks of each as many members as its level needs,
 * each host once for all of its slots, and merges what they answer, slot by slot and key by key, up to the first
 * place that one of them did not cover. So a page ends at a definite place, from which the next one goes on.
 *
 *   ROUND ──▶ VIEWS (of slots nobody knows here) ──▶ ASKING ──all answered──▶ SINGLES ──▶ done, or another ROUND
 *     ▲                                                                          │
 *     └────────── pause, when a slot's members did not answer ◀──────────────────┘
 *
 * Items: the newest version of those asked counts. Registers: what all asked show alike is chosen; where they
 * differ the key is read by itself (strong.c), and so is a record too long for a page. */
#include <stdlib.h>

#include "dht/inner.h"
#include "dht/page.h"
#include "dht/scan.h"

enum {
	SINGLES_MAX = 16,      /* reads of single keys at once */
	FETCHES_MAX = 64,      /* views looked for at once */
	BAD_MAX = 16,          /* hosts that did not answer, remembered for this page */
	WINDOW_MIN = 16,       /* slots */
	SPARE_ITEMS = 16,      /* asked for beyond what is wanted: some may be deleted */
	HOST_BYTES_MIN = 8 << 10,
	ROUND_BYTES = 1 << 20, /* of all answers of a round */
	RPC_MS = 2000,         /* a member may have to read from its disk */
	PAUSE_MS = 20,
	SLICE_MS = 1500        /* a page that has got somewhere ends after so long */
};

struct entry {
	struct agi_item item;  /* strings are in bytes */
	char *bytes;
	bool is_single, is_gone; /* to be read by itself; was not there then */
};

struct asked_slot {
	uint32_t slot;
	uint64_t epoch;
	uint8_t n_hosts;
	struct asked_host *hosts[AGI_REPLICAS_MAX];
};

struct asked_host {
	struct agi_scan *s;
	struct agi_id id;
	uint64_t rpc;
	bool is_failed;
	struct agi_buf list;      /* struct agi_page_slot of what it is asked */
	struct agi_msg *answer;   /* a copy */
	struct agi_page page;
	struct agi_page_record at; /* the next record to merge, while has_at */
	bool has_at;
	uint32_t refused;         /* the next refused slot, while has_refused */
	bool has_refused;
	UT_hash_handle hh;
};

struct view_wait {
	struct agi_scan *s;
	struct agi_vwait wait;
};

struct single {
	struct agi_scan *s;
	uint64_t id;  /* of the inner call; 0 = free */
	size_t entry;
};

struct agi_scan {
	struct agi_dht *d;
	uint64_t call_id;
	struct agi_call call;       /* its strings are in bytes */
	char *bytes;
	struct agi_scan_place at;   /* everything before is in the page */
	struct agi_buf after;       /* bytes of at.after */
	bool has_moved;             /* since the call began */
	struct asked_slot *slots;   /* of this round */
	uint32_t n_slots;
	struct asked_host *hosts;
	uint32_t n_waiting;         /* answers, views or single reads */
	struct view_wait fetches[FETCHES_MAX];
	struct agi_id bad[BAD_MAX];
	uint32_t n_bad;
	enum agi_err last;          /* why the slot ahead could not be read */
	struct entry *entries;
	size_t n_entries, cap_entries, next_single;
	uint64_t count, bytes_taken;
	struct single singles[SINGLES_MAX];
	bool is_full;
	uint64_t deadline_us, slice_us;
	struct agi_timer deadline, retry;
	TAILQ_ENTRY(agi_scan) link;
};

static void start_round(struct agi_scan *s);
static void end_round(struct agi_scan *s);
static void refresh_view(struct agi_scan *s);

/* --- memory ------------------------------------------------------------------------------------------- */
static void free_hosts(struct agi_scan *s)
{
	struct asked_host *h, *tmp;

	HASH_ITER(hh, s->hosts, h, tmp) {
		HASH_DEL(s->hosts, h);
		agi_rpc_cancel(s->d, h->rpc);
		agi_buf_free(&h->list);
		free(h->answer);
		free(h);
	}
	free(s->slots);
	s->slots = NULL;
	s->n_slots = 0;
}

static void destroy(struct agi_scan *s)
{
	struct agi_dht *d = s->d;

	free_hosts(s);
	for (int i = 0; i < FETCHES_MAX; i++)
		agi_vfetch_cancel(d, &s->fetches[i].wait);
	for (int i = 0; i < SINGLES_MAX; i++)
		agi_inner_cancel(d, s->singles[i].id);
	for (size_t i = 0; i < s->n_entries; i++)
		free(s->entries[i].bytes);
	free(s->entries);
	agi_timer_clear(&d->timers, &s->deadline);
	agi_timer_clear(&d->timers, &s->retry);
	TAILQ_REMOVE(&d->scans.open, s, link);
	d->scans.n--;
	agi_buf_free(&s->after);
	free(s->bytes);
	free(s);
}

/* --- ends ------------------------------------------------------------------------------------------------ */
static void fail(struct agi_scan *s, enum agi_err err)
{
	struct agi_result res = {.kind = s->call.kind, .err = err, .slot = s->at.slot};

	agi_fail(&res.why, err, "slot %u of %u: %s", s->at.slot, s->d->slots.n,
	         agi_err_text(s->last ? s->last : err));
	agi_call_reply(s->d, s->call_id, &res);
	destroy(s);
}

/* Entries that turned out not to be there are left out. */
static size_t squeeze(struct agi_scan *s, struct agi_item *out)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_entries; i++)
		if (!s->entries[i].is_gone)
			out[n++] = s->entries[i].item;
	return n;
}

static void finish(struct agi_scan *s)
{
	struct agi_item *items = calloc(s->n_entries + 1, sizeof *items);
	struct agi_result res = {.kind = s->call.kind, .has_more = s->at.slot < s->d->slots.n};
	struct agi_buf place;

	agi_buf_init(&place, 0);
	if (res.has_more)
		agi_scan_place_put(&place, &s->at, &s->call);
	if (!items || place.err) {
		free(items);
		agi_buf_free(&place);
		fail(s, AGI_E_NOMEM);
		return;
	}
	res.items = items;
	res.n_items = squeeze(s, items);
	res.count = s->count + res.n_items;
	if (s->call.is_count) /* what was read by itself only to see whether it is there */
		res.n_items = 0;
	res.cursor = agi_buf_str(&place);
	agi_call_reply(s->d, s->call_id, &res);
	free(items);
	agi_buf_free(&place);
	destroy(s);
}

/* What was found by then is an answer, too. */
static void on_deadline(struct agi_dht *d, void *arg)
{
	struct agi_scan *s = arg;
	bool has_singles = false;

	(void)d;
	for (size_t i = s->next_single; i < s->n_entries; i++)
		has_singles = has_singles || s->entries[i].is_single;
	for (int i = 0; i < SINGLES_MAX; i++)
		has_singles = has_singles || s->singles[i].id;
	if (s->has_moved && !has_singles)
		finish(s);
	else
		fail(s, s->last ? s->last : AGI_E_TIMEOUT);
}

/* --- what was found -------------------------------------------------------------------------------------- */
static struct entry *add_entry(struct agi_scan *s, struct agi_str key, struct agi_str value)
{
	struct entry *e;
	char *p;

	if (s->n_entries == s->cap_entries) {
		size_t cap = s->cap_entries ? 2 * s->cap_entries : 64;
		struct entry *more = realloc(s->entries, cap * sizeof *more);

		if (!more)
			return NULL;
		s->entries = more;
		s->cap_entries = cap;
	}
	p = malloc(key.n + value.n + 1);
	if (!p)
		return NULL;
	e = &s->entries[s->n_entries++];
	*e = (struct entry){.bytes = p, .item = {.ns = s->call.ns}};
	e->item.key = (struct agi_str){memcpy(p, key.p, key.n), key.n};
	e->item.value = (struct agi_str){p + key.n, value.n};
	if (value.n)
		memcpy(p + key.n, value.p, value.n);
	return e;
}

/* is_sure: the record is what counts. Otherwise, and when it came without its value, the key is read by itself. */
static enum agi_err take(struct agi_scan *s, const struct agi_page_record *r, const struct agi_item *it, bool is_sure)
{
	bool has_value = !s->call.is_keys_only && !s->call.is_count;
	bool is_single = !is_sure || (has_value && r->is_cut);
	struct entry *e;

	if (is_sure && s->call.is_count) {
		s->count++;
		return AGI_OK;
	}
	e = add_entry(s, r->key, is_single || !has_value ? (struct agi_str){NULL, 0} : it->value);
	if (!e)
		return AGI_E_NOMEM;
	e->is_single = is_single;
	e->item.version = it->version;
	e->item.expires_ms = it->expires_ms;
	e->item.lease = it->lease;
	s->bytes_taken += r->key.n + (has_value ? r->bytes : 0);
	return AGI_OK;
}

/* One key, as those asked have it: best is the newest record, n_same of the slot's hosts show exactly it. */
static enum agi_err judge(struct agi_scan *s, const struct asked_slot *slot, const struct agi_page_record *best,
                          uint32_t n_same)
{
	struct agi_item it = {.key = best->key};
	struct agi_reg reg;
	bool is_dead;
	enum agi_err e;

	if (s->call.level == AGI_LEVEL_STRONG) {
		e = agi_reg_decode(&reg, best->record);
		it.version.hlc = reg.version;
		it.value = reg.value;
		it.lease = reg.lease;
		is_dead = reg.is_tombstone;
		if (e == AGI_OK && n_same < slot->n_hosts)
			return take(s, best, &it, false);
	} else {
		e = agi_item_decode_record(&it, best->record);
		is_dead = it.is_tombstone || (it.expires_ms && it.expires_ms <= s->d->now.wall_ms);
	}
	if (e != AGI_OK)
		return AGI_E_CORRUPT;
	return is_dead ? AGI_OK : take(s, best, &it, true);
}

/* --- merging ------------------------------------------------------------------------------------------------ */
static void next_record(struct asked_host *h) { h->has_at = agi_page_next(&h->page, &h->at); }

static void next_refused(struct asked_host *h)
{
	enum agi_err why;

	h->has_refused = agi_page_next_refused(&h->page, &h->refused, &why);
}

/* The first order bytes of a record: what decides which of two is newer. */
static int compare_records(const struct agi_page_record *a, const struct agi_page_record *b)
{
	size_t n = AGI_VERSION_BYTES;

	if (a->record.n < n || b->record.n < n)
		return (a->record.n >= n) - (b->record.n >= n);
	return memcmp(a->record.p, b->record.p, n);
}

/* The least key that one of the slot's hosts has next, not above limit; NULL: none. */
static const struct agi_page_record *least(const struct asked_slot *slot, const struct agi_str *limit)
{
	const struct agi_page_record *out = NULL;

	for (uint8_t i = 0; i < slot->n_hosts; i++) {
		const struct asked_host *h = slot->hosts[i];

		if (!h->has_at || h->at.slot != slot->slot || (limit && agi_str_cmp(h->at.key, *limit) > 0))
			continue;
		if (!out || agi_str_cmp(h->at.key, out->key) < 0)
			out = &h->at;
	}
	return out;
}

static void move_to(struct agi_scan *s, uint32_t slot, struct agi_str after)
{
	agi_buf_reset(&s->after);
	agi_buf_put_str(&s->after, after);
	s->at.slot = slot;
	s->at.after = agi_buf_str(&s->after);
	s->has_moved = true;
}

static bool is_full(const struct agi_scan *s)
{
	return s->n_entries >= s->call.limit || s->bytes_taken >= AGI_SCAN_PAGE_BYTES ||
	       s->count >= AGI_SCAN_COUNT_MAX;
}

static enum agi_err merge_key(struct agi_scan *s, const struct asked_slot *slot, struct agi_page_record best)
{
	struct agi_str key = best.key;
	uint32_t n_same = 0;

	for (uint8_t i = 0; i < slot->n_hosts; i++) {
		struct asked_host *h = slot->hosts[i];
		int c;

		if (!h->has_at || h->at.slot != slot->slot || !agi_str_eq(h->at.key, key))
			continue;
		c = n_same ? compare_records(&h->at, &best) : 1;
		if (c > 0) {
			best = h->at;
			n_same = 0;
		}
		n_same += c >= 0;
		next_record(h);
	}
	return judge(s, slot, &best, n_same);
}

/* How far all of the slot's hosts covered it. False: one of them told nothing of it. */
static bool find_limit(struct agi_scan *s, const struct asked_slot *slot, const struct agi_str **limit)
{
	*limit = NULL;
	for (uint8_t i = 0; i < slot->n_hosts; i++) {
		struct asked_host *h = slot->hosts[i];

		if (h->is_failed)
			return false;
		while (h->has_refused && h->refused < slot->slot)
			next_refused(h);
		if (h->has_refused && h->refused == slot->slot) {
			s->last = AGI_E_SEALED;
			return false;
		}
		if (!h->page.has_more || slot->slot < h->page.last_slot)
			continue;
		if (slot->slot > h->page.last_slot)
			return false;
		if (!*limit || agi_str_cmp(h->page.last_key, **limit) < 0)
			*limit = &h->page.last_key;
	}
	if (*limit && slot->slot == s->at.slot && agi_str_cmp(**limit, s->at.after) <= 0) {
		s->last = AGI_E_MALFORMED; /* it goes nowhere */
		return false;
	}
	return true;
}

/* True when the slot is done and the next one may follow. */
static bool merge_slot(struct agi_scan *s, const struct asked_slot *slot, enum agi_err *err)
{
	const struct agi_page_record *r;
	const struct agi_str *limit;

	if (!find_limit(s, slot, &limit))
		return false;
	while ((r = least(slot, limit))) {
		move_to(s, slot->slot, r->key);
		*err = merge_key(s, slot, *r);
		s->is_full = is_full(s);
		if (*err || s->is_full)
			return false;
	}
	if (limit) {
		move_to(s, slot->slot, *limit);
		return false;
	}
	for (uint8_t i = 0; i < slot->n_hosts; i++) /* nothing of this slot is left to be skipped, or it makes no sense */
		while (slot->hosts[i]->has_at && slot->hosts[i]->at.slot <= slot->slot)
			next_record(slot->hosts[i]);
	move_to(s, slot->slot + 1, (struct agi_str){NULL, 0});
	return true;
}

/* As many slots as the last round got through are likely to be what the next one gets through. */
static void adapt_window(struct agi_scan *s, uint32_t n_done)
{
	uint32_t window = n_done == s->n_slots ? 2 * s->at.window : 2 * n_done;

	s->at.window = window < WINDOW_MIN ? WINDOW_MIN : window > s->d->slots.n ? s->d->slots.n : window;
}

static enum agi_err merge(struct agi_scan *s)
{
	enum agi_err err = AGI_OK;
	uint32_t i = 0;

	while (i < s->n_slots && !s->is_full && err == AGI_OK && merge_slot(s, &s->slots[i], &err))
		i++;
	adapt_window(s, i);
	return err ? err : s->after.err;
}

/* --- keys read by themselves ----------------------------------------------------------------------------------- */
static void start_singles(struct agi_scan *s);

static enum agi_err take_single(struct entry *e, const struct agi_result *res)
{
	struct agi_str key = e->item.key;
	char *p;

	if (res->err == AGI_E_NOT_FOUND) {
		e->is_gone = true;
		return AGI_OK;
	}
	if (res->err)
		return res->err;
	p = malloc(key.n + res->value.n + 1);
	if (!p)
		return AGI_E_NOMEM;
	e->item.key.p = memcpy(p, key.p, key.n);
	e->item.value = (struct agi_str){p + key.n, res->value.n};
	if (res->value.n)
		memcpy(p + key.n, res->value.p, res->value.n);
	free(e->bytes);
	e->bytes = p;
	e->item.version = res->version;
	e->item.lease = res->lease;
	return AGI_OK;
}

static void on_single(struct agi_dht *d, void *arg, const struct agi_result *res)
{
	struct single *one = arg;
	struct agi_scan *s = one->s;
	enum agi_err e;

	(void)d;
	one->id = 0;
	s->n_waiting--;
	e = take_single(&s->entries[one->entry], res);
	if (e)
		fail(s, e);
	else
		start_singles(s);
}

static bool start_single(struct agi_scan *s, struct single *one, size_t entry)
{
	uint64_t left_ms = s->deadline_us > s->d->now.mono_us ? (s->deadline_us - s->d->now.mono_us) / 1000 : 0;
	struct agi_call get = {.kind = AGI_CALL_GET, .ns = s->call.ns, .key = s->entries[entry].item.key,
	                       .level = s->call.level, .timeout_ms = (uint32_t)left_ms + 1};

	one->s = s;
	one->entry = entry;
	one->id = agi_inner_start(s->d, &get, on_single, one);
	s->n_waiting += one->id != 0;
	return one->id != 0;
}

static void start_singles(struct agi_scan *s)
{
	for (size_t i = 0; i < SINGLES_MAX; i++) {
		if (s->singles[i].id)
			continue;
		while (s->next_single < s->n_entries && !s->entries[s->next_single].is_single)
			s->next_single++;
		if (s->next_single == s->n_entries)
			break;
		if (!start_single(s, &s->singles[i], s->next_single++)) {
			fail(s, AGI_E_NOMEM);
			return;
		}
	}
	if (s->n_waiting == 0)
		end_round(s);
}

/* --- a round's end ------------------------------------------------------------------------------------------------ */
static void on_retry(struct agi_dht *d, void *arg)
{
	(void)d;
	start_round(arg);
}

static void end_round(struct agi_scan *s)
{
	struct agi_dht *d = s->d;

	if (s->is_full || s->at.slot >= d->slots.n || (s->has_moved && d->now.mono_us >= s->slice_us))
		finish(s);
	else if (s->last)
		refresh_view(s);
	else
		agi_timer_set(&d->timers, &s->retry, d->now.mono_us);
}

static void all_answered(struct agi_scan *s)
{
	enum agi_err e;

	s->last = AGI_OK;
	for (struct asked_host *h = s->hosts; h; h = h->hh.next)
		if (h->is_failed && s->n_bad < BAD_MAX) {
			s->bad[s->n_bad++] = h->id;
			s->last = AGI_E_NO_QUORUM;
		}
	e = merge(s);
	free_hosts(s);
	if (e)
		fail(s, e);
	else
		start_singles(s);
}

static void on_page(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err, const struct agi_peer *from,
                    const struct agi_msg *m)
{
	struct asked_host *h = arg;
	struct agi_scan *s = h->s;

	(void)d, (void)which, (void)from;
	h->rpc = 0;
	h->is_failed = true;
	if (err == AGI_OK && m->kind == AGI_MSG_SCANNED && m->status == AGI_OK) {
		h->answer = agi_msg_clone(m);
		h->is_failed = !h->answer || agi_page_open(&h->page, h->answer) != AGI_OK;
	}
	if (!h->is_failed) {
		next_record(h);
		next_refused(h);
	}
	if (--s->n_waiting == 0)
		all_answered(s);
}

/* --- a round's beginning --------------------------------------------------------------------------------------------- */
static bool is_bad(const struct agi_scan *s, const struct agi_id *id)
{
	for (uint32_t i = 0; i < s->n_bad; i++)
		if (agi_id_eq(&s->bad[i], id))
			return true;
	return false;
}

/* Lower is asked first. */
static uint64_t cost_of(const struct agi_scan *s, const struct agi_id *id)
{
	if (!agi_hosts_is_up(s->d, id))
		return UINT64_MAX;
	if (agi_id_eq(id, &s->d->self.id))
		return 0;
	return agi_hosts_rtt(s->d, id) + (is_bad(s, id) ? UINT64_C(1) << 40 : 0);
}

static uint32_t needed(const struct agi_scan *s, uint32_t n)
{
	return s->call.level == AGI_LEVEL_ONE ? 1 : s->call.level == AGI_LEVEL_ALL ? n : agi_majority(n);
}

static struct asked_host *host_of(struct agi_scan *s, const struct agi_id *id)
{
	struct asked_host *h;

	HASH_FIND(hh, s->hosts, id, sizeof *id, h);
	if (h)
		return h;
	h = calloc(1, sizeof *h);
	if (!h)
		return NULL;
	h->s = s;
	h->id = *id;
	agi_buf_init(&h->list, 0);
	HASH_ADD(hh, s->hosts, id, sizeof h->id, h);
	if (h->hh.tbl)
		return h;
	free(h);
	return NULL;
}

/* Chooses whom to ask of the slot. NO_QUORUM when too few live. */
static enum agi_err plan_slot(struct agi_scan *s, struct asked_slot *out, const struct agi_view *v)
{
	uint64_t cost[AGI_REPLICAS_MAX];
	struct agi_page_slot want = {.slot = v->slot, .epoch = v->epoch};

	*out = (struct asked_slot){.slot = v->slot, .epoch = v->epoch};
	for (uint8_t i = 0; i < v->n_members; i++)
		cost[i] = cost_of(s, &v->members[i]);
	for (uint32_t n = needed(s, v->n_members); n > 0; n--) {
		struct asked_host *h;
		uint8_t best = 0;

		for (uint8_t i = 1; i < v->n_members; i++)
			if (cost[i] < cost[best])
				best = i;
		if (cost[best] == UINT64_MAX)
			return AGI_E_NO_QUORUM;
		cost[best] = UINT64_MAX;
		h = host_of(s, &v->members[best]);
		if (!h)
			return AGI_E_NOMEM;
		out->hosts[out->n_hosts++] = h;
	}
	for (uint8_t i = 0; i < out->n_hosts; i++)
		agi_buf_put(&out->hosts[i]->list, &want, sizeof want);
	return AGI_OK;
}

static void ask_host(struct agi_scan *s, struct asked_host *h)
{
	uint32_t share = ROUND_BYTES / HASH_COUNT(s->hosts);
	struct agi_peer to = agi_hosts_peer(s->d, &h->id);
	const struct agi_page_slot *slots = (void *)h->list.p;
	struct agi_page_ask ask = {.what = s->call.is_keys_only || s->call.is_count ? AGI_PAGE_HEADS : AGI_PAGE_RECORDS,
	                           .ns = s->call.ns, .prefix = s->call.key,
	                           .max_items = s->call.is_count ? 0 : s->call.limit - (uint32_t)s->n_entries + SPARE_ITEMS,
	                           .max_bytes = share < HOST_BYTES_MIN ? HOST_BYTES_MIN : share,
	                           .slots = slots, .n_slots = (uint32_t)(h->list.n / sizeof *slots)};
	struct agi_msg m = {.kind = AGI_MSG_SCAN, .is_strong = s->call.level == AGI_LEVEL_STRONG};
	struct agi_buf blob;

	if (slots[0].slot == s->at.slot)
		ask.after = s->at.after;
	agi_buf_init(&blob, AGI_BLOB_MAX);
	agi_page_ask_put(&blob, &ask);
	m.blob = agi_buf_str(&blob);
	h->rpc = blob.err || h->list.err ? 0 : agi_rpc_ask(s->d, &to, AGI_TRAFFIC_BULK, &m, RPC_MS, on_page, h, 0);
	h->is_failed = h->rpc == 0;
	s->n_waiting += h->rpc != 0;
	agi_buf_free(&blob);
}

static void on_view(struct agi_dht *d, void *arg, enum agi_err err)
{
	struct view_wait *w = arg;
	struct agi_scan *s = w->s;

	(void)d;
	if (err)
		s->last = err;
	if (--s->n_waiting == 0)
		agi_timer_set(&s->d->timers, &s->retry, agi_after_ms(s->d, s->last ? PAUSE_MS : 0));
}

static void fetch_views(struct agi_scan *s)
{
	struct agi_dht *d = s->d;

	for (uint32_t slot = s->at.slot, n = 0; slot < d->slots.n && n < FETCHES_MAX; slot++) {
		const struct agi_slot *known = agi_slot_find(d, slot);

		if (known && known->view.epoch)
			continue;
		s->fetches[n] = (struct view_wait){.s = s, .wait = {.fn = on_view, .arg = &s->fetches[n]}};
		s->n_waiting++;
		agi_vfetch_wait(d, slot, &s->fetches[n++].wait);
	}
}

/* The slots ahead whose views are known, and whose members live; NO_QUORUM when the first one's do not. */
static enum agi_err plan_round(struct agi_scan *s)
{
	struct agi_dht *d = s->d;
	enum agi_err e = AGI_OK;

	s->slots = calloc(s->at.window, sizeof *s->slots);
	if (!s->slots)
		return AGI_E_NOMEM;
	while (s->n_slots < s->at.window && s->at.slot + s->n_slots < d->slots.n) {
		const struct agi_slot *known = agi_slot_find(d, s->at.slot + s->n_slots);

		if (!known || known->view.epoch == 0)
			break;
		e = plan_slot(s, &s->slots[s->n_slots], &known->view);
		if (e)
			break;
		s->n_slots++;
	}
	return s->n_slots && e == AGI_E_NO_QUORUM ? AGI_OK : e;
}

/* A slot whose members stay silent may have others by now. */
static void refresh_view(struct agi_scan *s)
{
	s->fetches[0] = (struct view_wait){.s = s, .wait = {.fn = on_view, .arg = &s->fetches[0]}};
	s->n_waiting++;
	agi_vfetch_wait(s->d, s->at.slot, &s->fetches[0].wait);
}

static void start_round(struct agi_scan *s)
{
	struct asked_host *h, *tmp;
	enum agi_err e = plan_round(s);

	if (e != AGI_OK || s->n_slots == 0)
		free_hosts(s);
	s->last = e;
	if (e == AGI_E_NO_QUORUM) {
		refresh_view(s);
		return;
	}
	if (e) {
		fail(s, e);
		return;
	}
	if (s->n_slots == 0) {
		fetch_views(s);
		return;
	}
	HASH_ITER(hh, s->hosts, h, tmp)
		ask_host(s, h);
	if (s->n_waiting == 0)
		all_answered(s);
}

/* --- places: where a page ended, for the next one ------------------------------------------------------------------------- */
enum { PLACE_VERSION = 1 };

/* A place is only good for the scan it came from. */
static uint32_t mark_of(const struct agi_call *c)
{
	struct agi_id hash;

	agi_id_of_key(&hash, c->ns, c->key);
	return (uint32_t)hash.b[0] << 24 | (uint32_t)hash.b[1] << 16 | (uint32_t)hash.b[2] << 8 |
	       (c->level == AGI_LEVEL_STRONG);
}

void agi_scan_place_put(struct agi_buf *b, const struct agi_scan_place *p, const struct agi_call *c)
{
	agi_buf_u8(b, PLACE_VERSION);
	agi_buf_u32(b, mark_of(c));
	agi_buf_u32(b, p->slot);
	agi_buf_u32(b, p->window);
	agi_buf_put_str(b, p->after);
}

static enum agi_err take_place(const struct agi_dht *d, struct agi_scan_place *p, const struct agi_call *c,
                               struct agi_why *why)
{
	struct agi_cur cur = agi_cur_of(c->cursor);
	uint8_t version;
	uint32_t mark;

	*p = (struct agi_scan_place){.window = d->slots.n};
	if (c->cursor.n == 0)
		return AGI_OK;
	version = agi_cur_u8(&cur);
	mark = agi_cur_u32(&cur);
	p->slot = agi_cur_u32(&cur);
	p->window = agi_cur_u32(&cur);
	p->after = agi_cur_take(&cur, cur.n);
	if (cur.bad || version != PLACE_VERSION || p->slot >= d->slots.n || p->after.n > AGI_KEY_MAX)
		return agi_fail(why, AGI_E_INVALID, "page token: not one that a scan of this cluster gave");
	if (mark != mark_of(c))
		return agi_fail(why, AGI_E_INVALID, "page token: of a scan of another namespace, prefix or level");
	if (p->window < WINDOW_MIN || p->window > d->slots.n)
		p->window = d->slots.n;
	return AGI_OK;
}

/* --- begin ------------------------------------------------------------------------------------------------------------------ */
static enum agi_err check(const struct agi_dht *d, const struct agi_call *c, struct agi_scan_place *place,
                          struct agi_why *why)
{
	if (!d->member.is_joined)
		return agi_fail(why, AGI_E_NOT_READY, "%s", d->member.waits_for);
	if (c->key.n > AGI_KEY_MAX || c->ns.n > AGI_NAMESPACE_MAX)
		return agi_fail(why, AGI_E_INVALID, "prefix of %zu bytes: at most %d are allowed", c->key.n, AGI_KEY_MAX);
	if (d->scans.n >= AGI_SCANS_MAX)
		return agi_fail(why, AGI_E_FULL, "%u scans run on this node", d->scans.n);
	return take_place(d, place, c, why);
}

static struct agi_scan *new_scan(struct agi_dht *d, const struct agi_call *c, const struct agi_scan_place *place)
{
	struct agi_scan *s = calloc(1, sizeof *s);
	char *p = malloc(c->ns.n + c->key.n + 1);

	if (!s || !p) {
		free(s);
		free(p);
		return NULL;
	}
	s->d = d;
	s->call = *c;
	s->bytes = p;
	s->call.ns = (struct agi_str){memcpy(p, c->ns.n ? c->ns.p : "", c->ns.n), c->ns.n};
	s->call.key = (struct agi_str){memcpy(p + c->ns.n, c->key.n ? c->key.p : "", c->key.n), c->key.n};
	if (s->call.limit == 0 || s->call.limit > AGI_SCAN_ITEMS_MAX)
		s->call.limit = s->call.limit ? AGI_SCAN_ITEMS_MAX : AGI_SCAN_ITEMS_DEFAULT;
	agi_buf_init(&s->after, 0);
	agi_buf_put_str(&s->after, place->after);
	s->at = *place;
	s->at.after = agi_buf_str(&s->after);
	s->deadline_us = agi_after_ms(d, c->timeout_ms ? c->timeout_ms : AGI_CALL_TIMEOUT_MS);
	s->slice_us = agi_after_ms(d, SLICE_MS);
	s->deadline = (struct agi_timer){.fn = on_deadline, .arg = s};
	s->retry = (struct agi_timer){.fn = on_retry, .arg = s};
	TAILQ_INSERT_TAIL(&d->scans.open, s, link);
	d->scans.n++;
	agi_timer_set(&d->timers, &s->deadline, s->deadline_us);
	return s;
}

static void cancel_call(struct agi_dht *d, void *arg)
{
	(void)d;
	destroy(arg);
}

void agi_scan_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *c)
{
	struct agi_scan_place place;
	struct agi_why why;
	struct agi_scan *s;
	enum agi_err err = check(d, c, &place, &why);

	if (err) {
		agi_call_fail(d, call_id, c->kind, err, why.text);
		return;
	}
	s = new_scan(d, c, &place);
	if (!s) {
		agi_call_fail(d, call_id, c->kind, AGI_E_NOMEM, "");
		return;
	}
	if (agi_call_open(d, call_id, c->kind, s, cancel_call) != AGI_OK) {
		destroy(s);
		return;
	}
	s->call_id = call_id;
	agi_timer_set(&d->timers, &s->retry, d->now.mono_us);
}

void agi_scans_init(struct agi_dht *d) { TAILQ_INIT(&d->scans.open); }

void agi_scans_free(struct agi_dht *d)
{
	while (!TAILQ_EMPTY(&d->scans.open))
		destroy(TAILQ_FIRST(&d->scans.open));
}
