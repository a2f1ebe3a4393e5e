/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "dht/watch_impl.h"

enum {
	TICK_MS = 50,          /* while something is to be done */
	IDLE_TICK_MS = 500,
	TOKEN_MS = 5000,       /* a new token at most so often */
	UNCOVERED_MS = 1000,   /* told when it has lasted so long */
	TOKEN_VERSION = 1,
	TOLD_BYTES = 64 << 10  /* charged for the rest of a watch */
};

/* --- ends --------------------------------------------------------------------------------------------------- */
static void destroy(struct agi_watch *w)
{
	struct agi_dht *d = w->d;

	agi_watch_keys_free(w);
	agi_watch_look_free(w);
	agi_timer_clear(&d->timers, &w->tick);
	HASH_DEL(d->watches.by_id, w);
	d->watches.bytes -= w->charged;
	free(w->slots);
	free(w->pos);
	free(w->told);
	free(w->bytes);
	free(w);
}

static void cancel_call(struct agi_dht *d, void *arg)
{
	(void)d;
	destroy(arg);
}

/* --- to the client ---------------------------------------------------------------------------------------------- */
bool agi_watch_send(struct agi_watch *w, const struct agi_event *ev)
{
	bool is_taken = w->d->fx.event(w->d->ctx, w->call_id, ev);

	w->is_paused = !is_taken;
	return is_taken;
}

void agi_dht_watch_resume(struct agi_dht *d, struct agi_now now, uint64_t call_id)
{
	struct agi_watch *w, *tmp;

	agi_clock_enter(d, now);
	HASH_ITER(hh, d->watches.by_id, w, tmp) {
		if (w->call_id != call_id || !w->is_paused)
			continue;
		w->is_paused = false;
		agi_watch_read_keys(w);
		agi_timer_set(&d->timers, &w->tick, d->now.mono_us);
	}
}

/* --- positions and marks ------------------------------------------------------------------------------------------ */
void agi_watch_saw(struct agi_watch *w, uint32_t slot, uint64_t position)
{
	uint32_t i = slot - w->first_slot;

	if (w->is_strong && i < w->n_slots && position > w->pos[i].newest)
		w->pos[i].newest = position;
}

uint64_t agi_watch_since(const struct agi_watch *w, uint32_t slot)
{
	if (w->begin != AGI_BEGIN_SINCE && !w->is_caught_up)
		return 0;
	return w->is_strong ? w->pos[slot - w->first_slot].mark : w->mark;
}

/* Everything that was told or could have been told before these times has gone to the client. */
static void settled_at(const struct agi_watch *w, uint64_t *us, uint64_t *ms)
{
	const struct agi_watched_key *oldest = TAILQ_FIRST(&w->order);

	*us = oldest ? oldest->since_us : w->d->now.mono_us;
	*ms = oldest ? oldest->since_ms : w->d->now.wall_ms;
	for (const struct agi_watched_host *h = w->hosts; h; h = h->hh.next) {
		if (h->n_on == 0)
			continue;
		if (h->confirmed_us < *us)
			*us = h->confirmed_us;
		if (h->confirmed_ms < *ms)
			*ms = h->confirmed_ms;
	}
}

static void move_mark(struct agi_watch *w)
{
	uint64_t us, ms, lag_ms = AGI_WATCH_LAG_MS + 2 * (uint64_t)w->d->cfg.max_skew_ms;

	if (w->n_uncovered)
		return;
	settled_at(w, &us, &ms);
	if (!w->is_strong) {
		uint64_t mark = ms > lag_ms ? (ms - lag_ms) << AGI_HLC_COUNTER_BITS : 0;

		if (mark > w->mark)
			w->mark = mark;
		return;
	}
	if (us < w->turn_us + (uint64_t)AGI_WATCH_LAG_MS * 1000)
		return;
	for (uint32_t i = 0; i < w->n_slots; i++) {
		w->pos[i].mark = w->pos[i].turn;
		w->pos[i].turn = w->pos[i].newest;
	}
	w->turn_us = w->d->now.mono_us;
	if (w->turn_ms)
		w->mark = w->turn_ms << AGI_HLC_COUNTER_BITS; /* only how old the positions are */
	w->turn_ms = ms;
}

/* --- tokens ---------------------------------------------------------------------------------------------------------- */
/* A token is only good for the watch it came from. */
static uint32_t token_mark(const struct agi_watch *w)
{
	struct agi_id hash;

	agi_id_of_key(&hash, w->ns, w->key);
	return (uint32_t)hash.b[0] << 24 | (uint32_t)hash.b[1] << 16 | (uint32_t)hash.b[2] << 8 |
	       (uint32_t)(w->is_strong << 1 | w->is_prefix);
}

static void put_token(struct agi_buf *b, const struct agi_watch *w)
{
	agi_buf_u8(b, TOKEN_VERSION);
	agi_buf_u32(b, token_mark(w));
	agi_buf_u64(b, w->mark);
	for (uint32_t i = 0; w->is_strong && i < w->n_slots; i++) {
		if (!w->pos[i].mark)
			continue;
		agi_buf_u32(b, w->first_slot + i);
		agi_buf_u64(b, w->pos[i].mark);
	}
}

/* What was deleted since the mark must still be known when all pages have been read: an eighth of the grace is for that.
 * No mark: nothing had been told yet when the token was made, or it is of an earlier version. */
static bool is_too_old(const struct agi_watch *w)
{
	uint64_t grace_ms = w->d->cfg.tombstone_grace_ms, mark_ms = w->mark >> AGI_HLC_COUNTER_BITS;

	return w->mark && mark_ms + grace_ms - grace_ms / 8 < w->d->now.wall_ms;
}

static enum agi_err take_token(struct agi_watch *w, struct agi_str token, struct agi_why *why)
{
	struct agi_cur c = agi_cur_of(token);
	uint8_t version = agi_cur_u8(&c);
	uint32_t mark = agi_cur_u32(&c);

	w->mark = agi_cur_u64(&c);
	if (c.bad || version != TOKEN_VERSION || c.n % 12 != 0)
		return agi_fail(why, AGI_E_INVALID, "resume token: not one that a watch of this cluster gave");
	if (mark != token_mark(w))
		return agi_fail(why, AGI_E_INVALID, "resume token: of a watch of another namespace, key or level");
	if (is_too_old(w))
		return agi_fail(why, AGI_E_TOO_OLD, "resume token: too old, deletions since then may be forgotten "
		                "(dht.tombstone_grace); begin anew with what is there");
	if (!w->is_strong)
		return AGI_OK;
	while (c.n) {
		uint32_t i = agi_cur_u32(&c) - w->first_slot;
		uint64_t position = agi_cur_u64(&c);

		if (i >= w->n_slots)
			return agi_fail(why, AGI_E_INVALID, "resume token: not one that a watch of this cluster gave");
		w->pos[i] = (struct agi_watched_pos){position, position, position};
	}
	return AGI_OK;
}

/* --- time ---------------------------------------------------------------------------------------------------------------- */
/* Registers, the first time. Who begins now wants what begins later, and that gets higher positions than these. Who
 * begins with what is there wants also what was on its way: the mark follows when that must have arrived. */
static void begin_marks(struct agi_watch *w)
{
	for (uint32_t i = 0; i < w->n_slots; i++) {
		w->pos[i].turn = w->pos[i].newest;
		w->pos[i].mark = w->begin == AGI_BEGIN_NOW ? w->pos[i].newest : 0;
	}
}

/* That it misses nothing from now on; how many slots nobody looks at; where to go on after an interruption. */
static void tell_state(struct agi_watch *w)
{
	uint64_t now = w->d->now.mono_us;
	bool is_first = !w->is_caught_up && w->n_uncovered == 0 && TAILQ_EMPTY(&w->order);
	bool is_changed = w->n_uncovered != w->told_uncovered && now - w->uncovered_us >= UNCOVERED_MS * 1000;
	bool has_token = is_first || (w->is_caught_up && now - w->token_us >= TOKEN_MS * 1000 && !w->n_uncovered);
	struct agi_event ev = {.is_caught_up = is_first, .n_uncovered = w->n_uncovered};
	struct agi_buf token;

	if (w->is_paused || !(is_first || is_changed || has_token))
		return;
	if (is_first && w->is_strong && w->begin != AGI_BEGIN_SINCE)
		begin_marks(w);
	agi_buf_init(&token, AGI_BLOB_MAX);
	if (has_token)
		put_token(&token, w);
	ev.token = agi_buf_str(&token);
	if (!token.err && agi_watch_send(w, &ev)) {
		w->is_caught_up = w->is_caught_up || is_first;
		w->told_uncovered = w->n_uncovered;
		if (has_token)
			w->token_us = now;
		if (is_first)
			w->turn_us = now;
	}
	agi_buf_free(&token);
}

static void on_tick(struct agi_dht *d, void *arg)
{
	struct agi_watch *w = arg;
	bool is_busy;

	if (w->n_uncovered == w->told_uncovered)
		w->uncovered_us = d->now.mono_us;
	agi_watch_look(w);
	agi_watch_read_pages(w);
	agi_watch_read_keys(w);
	move_mark(w);
	tell_state(w);
	is_busy = !w->is_caught_up || w->n_uncovered || w->must_plan || !TAILQ_EMPTY(&w->order);
	agi_timer_set(&d->timers, &w->tick, agi_after_ms(d, is_busy ? TICK_MS : IDLE_TICK_MS));
}

/* --- what members tell -------------------------------------------------------------------------------------------------- */
static void take_news(struct agi_watch *w, struct agi_watched_host *h, struct agi_feed_news *n)
{
	struct agi_feed_change c;

	while (agi_feed_news_next(n, &c)) {
		bool is_ours = w->is_prefix ? agi_str_has_prefix(c.key, w->key) : agi_str_eq(c.key, w->key);

		if (!is_ours || c.key.n == 0 || c.key.n > AGI_KEY_MAX)
			continue;
		agi_watch_saw(w, c.slot, c.version.hlc); /* a register's version is a position of its slot, too */
		if (!agi_watch_key(w, c.slot, c.key, &c.version))
			agi_watch_read_again(w, h, c.slot);
	}
	while (n->lost.n)
		agi_watch_lost(w, h, agi_cur_u32(&n->lost));
}

void agi_watch_on_changed(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_NOTED};
	struct agi_watched_host *h = NULL;
	struct agi_watch *w = NULL;
	struct agi_feed_news n;

	out.status = agi_feed_news_open(&n, m);
	if (out.status == AGI_OK)
		HASH_FIND(hh, d->watches.by_id, &n.watch, sizeof n.watch, w);
	if (w)
		HASH_FIND(hh, w->hosts, &from->id, sizeof from->id, h);
	if (out.status == AGI_OK && !h)
		out.status = AGI_E_NOT_FOUND;
	if (h)
		take_news(w, h, &n);
	agi_answer(d, from, m, &out);
	if (!h)
		return;
	agi_watch_read_keys(w);
	if (w->must_plan)
		agi_timer_set(&d->timers, &w->tick, d->now.mono_us);
}

/* --- begin ------------------------------------------------------------------------------------------------------------------ */
static enum agi_err check(const struct agi_dht *d, const struct agi_call *c, size_t bytes, struct agi_why *why)
{
	if (!d->member.is_joined)
		return agi_fail(why, AGI_E_NOT_READY, "%s", d->member.waits_for);
	if (c->key.n > AGI_KEY_MAX || (c->key.n == 0 && !c->is_prefix) || c->ns.n > AGI_NAMESPACE_MAX)
		return agi_fail(why, AGI_E_INVALID, "key of %zu bytes: 1 to %d are allowed", c->key.n, AGI_KEY_MAX);
	if (c->expected && c->is_prefix)
		return agi_fail(why, AGI_E_INVALID, "from a version: only for a single key; a prefix is resumed by a token");
	if ((c->expected || c->is_initial) + (c->cursor.n > 0) > 1)
		return agi_fail(why, AGI_E_INVALID, "a resume token says where to begin: give nothing else with it");
	if (HASH_COUNT(d->watches.by_id) >= AGI_WATCHES_MAX || d->watches.bytes + bytes > AGI_WATCHES_BYTES)
		return agi_fail(why, AGI_E_FULL, "%u watches are open on this node", HASH_COUNT(d->watches.by_id));
	return AGI_OK;
}

static bool allocate(struct agi_watch *w, const struct agi_call *c)
{
	char *p = malloc(c->ns.n + c->key.n + 1);

	w->bytes = p;
	w->slots = calloc(w->n_slots, sizeof *w->slots);
	w->n_told = w->is_prefix ? AGI_WATCH_RECENT : 1;
	w->told = calloc(w->n_told, sizeof *w->told);
	if (w->is_strong)
		w->pos = calloc(w->n_slots, sizeof *w->pos);
	if (!p || !w->slots || !w->told || (w->is_strong && !w->pos))
		return false;
	w->ns = (struct agi_str){memcpy(p, c->ns.n ? c->ns.p : "", c->ns.n), c->ns.n};
	w->key = (struct agi_str){memcpy(p + c->ns.n, c->key.n ? c->key.p : "", c->key.n), c->key.n};
	return true;
}

static size_t bytes_of(const struct agi_dht *d, const struct agi_call *c)
{
	size_t each = sizeof(struct agi_watched_slot) + sizeof(struct agi_watched_pos) + 8 /* its looks */;

	return (c->is_prefix ? d->slots.n * each : each) + TOLD_BYTES;
}

static struct agi_watch *new_watch(struct agi_dht *d, const struct agi_call *c)
{
	struct agi_watch *w = calloc(1, sizeof *w);

	if (!w)
		return NULL;
	w->d = d;
	w->id = agi_prng_u64(&d->prng);
	w->is_strong = c->level == AGI_LEVEL_STRONG;
	w->is_prefix = c->is_prefix;
	w->skips_dead = c->is_initial && !c->expected;
	w->begin = c->cursor.n ? AGI_BEGIN_SINCE : c->is_initial || c->expected ? AGI_BEGIN_INITIAL : AGI_BEGIN_NOW;
	w->first_slot = c->is_prefix ? 0 : agi_dht_slot_of(d, c->ns, c->key);
	w->n_slots = c->is_prefix ? d->slots.n : 1;
	w->n_uncovered = w->told_uncovered = w->n_slots;
	w->must_plan = true;
	w->uncovered_us = w->turn_us = d->now.mono_us;
	w->tick = (struct agi_timer){.fn = on_tick, .arg = w};
	TAILQ_INIT(&w->order);
	if (allocate(w, c))
		HASH_ADD(hh, d->watches.by_id, id, sizeof w->id, w);
	if (w->hh.tbl) {
		w->charged = bytes_of(d, c);
		d->watches.bytes += w->charged;
		return w;
	}
	free(w->bytes);
	free(w->slots);
	free(w->told);
	free(w->pos);
	free(w);
	return NULL;
}

void agi_watch_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *c)
{
	struct agi_version from = {.hlc = c->expected};
	struct agi_why why = {""};
	struct agi_watch *w = NULL;
	enum agi_err err = check(d, c, bytes_of(d, c), &why);

	if (err == AGI_OK) {
		w = new_watch(d, c);
		err = w ? AGI_OK : AGI_E_NOMEM;
	}
	if (err == AGI_OK && c->cursor.n)
		err = take_token(w, c->cursor, &why);
	if (err) {
		if (w)
			destroy(w);
		agi_call_fail(d, call_id, c->kind, err, why.text);
		return;
	}
	if (agi_call_open(d, call_id, c->kind, w, cancel_call) != AGI_OK) {
		destroy(w);
		return;
	}
	w->call_id = call_id;
	if (c->expected) { /* the last node id there is: writes of this stamp are known, whoever made them */
		memset(from.node.b, 0xff, sizeof from.node.b);
		agi_watch_set_told(w, w->key, &from);
	}
	agi_timer_set(&d->timers, &w->tick, d->now.mono_us);
}

void agi_watches_free(struct agi_dht *d)
{
	struct agi_watch *w, *tmp;

	HASH_ITER(hh, d->watches.by_id, w, tmp)
		destroy(w);
}
