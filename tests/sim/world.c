/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "clients.h"
#include "faults.h"
#include "vows.h"
#include "replicas.h"

enum { FIRST_ORDER = 1 << 29 }; /* calls with this id or above are an operator's */

/* --- helpers ---------------------------------------------------------------------------------------- */

static void trace(struct sim_world *w, uint64_t v)
{
	w->trace = (w->trace ^ v) * 0x100000001b3u; /* FNV-1a */
	w->trace ^= w->trace >> 29;
}

void sim_fail(struct sim_world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->failure[0])
		return;
	va_start(ap, fmt);
	vsnprintf(w->failure, sizeof w->failure, fmt, ap);
	va_end(ap);
}

void sim_say(const struct sim_world *w, const char *fmt, ...)
{
	va_list ap;

	if (!w->cfg.is_verbose)
		return;
	printf("# %10.6f ", (double)w->now_us / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

bool sim_chance(struct sim_world *w, double p) { return p > 0 && agi_prng_unit(&w->prng) < p; }

uint64_t sim_between(struct sim_world *w, uint64_t lo, uint64_t hi)
{
	return lo + agi_prng_below(&w->prng, hi - lo + 1);
}

struct sim_event *sim_push(struct sim_world *w, uint64_t at_us, enum sim_event_kind kind, uint32_t node)
{
	struct sim_event *e = sim_queue_push(&w->queue, at_us, kind);

	e->node = node;
	e->life = w->node[node].life;
	e->identity = w->node[node].identity;
	return e;
}

/* --- clocks ------------------------------------------------------------------------------------------- */

static uint64_t mono_of(const struct sim_clock *c, uint64_t world_us)
{
	return c->mono0 + (world_us - c->world0) * c->rate_ppm / 1000000;
}

/* The world's time when this clock shows mono_us. */
static uint64_t world_of(const struct sim_clock *c, uint64_t mono_us)
{
	return mono_us <= c->mono0 ? c->world0
	                           : c->world0 + ((mono_us - c->mono0) * 1000000 + c->rate_ppm - 1) / c->rate_ppm;
}

enum { EXPIRED_MS = 20000 };

struct agi_now sim_now(const struct sim_node *n)
{
	return (struct agi_now){mono_of(&n->clock, n->w->now_us),
	                        (uint64_t)(1700000000000 + (int64_t)(n->w->now_us / 1000) + n->skew_ms)};
}

void sim_set_clock_rate(struct sim_node *n, uint64_t rate_ppm)
{
	n->clock.mono0 = mono_of(&n->clock, n->w->now_us);
	n->clock.world0 = n->w->now_us;
	n->clock.rate_ppm = rate_ppm;
	n->timer_at = 0;
	sim_rearm(n);
}

void sim_rearm(struct sim_node *n)
{
	uint64_t now = n->w->now_us, due = n->dht ? agi_dht_next_deadline(n->dht) : AGI_NEVER;

	if (due == AGI_NEVER)
		return;
	due = world_of(&n->clock, due);
	if (n->timer_at > now && n->timer_at <= due)
		return;
	n->timer_at = due > now ? due : now + 1;
	sim_push(n->w, n->timer_at, SIM_TIMER, n->index);
}

/* --- effects: everything becomes an event --------------------------------------------------------------- */

static uint8_t *peer_place(struct sim_world *w, const struct agi_id *id)
{
	uint32_t i = id->b[3];

	while (w->peers[i] && !agi_id_eq(&w->node[w->peers[i] - 1].id, id))
		i = (i + 1) % SIM_PEERS;
	return &w->peers[i];
}

static void index_peers(struct sim_world *w)
{
	memset(w->peers, 0, sizeof w->peers);
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		*peer_place(w, &w->node[i].id) = (uint8_t)(i + 1);
}

static struct sim_node *node_at(struct sim_world *w, const struct agi_peer *to)
{
	uint8_t *place;

	if (!agi_id_is_zero(&to->id)) {
		place = peer_place(w, &to->id);
		return *place ? &w->node[*place - 1] : NULL;
	}
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (agi_addr_eq(&w->node[i].addr, &to->addr))
			return &w->node[i];
	return NULL;
}

static void deliver(struct sim_world *w, struct sim_node *from, struct sim_node *to, const struct agi_msg *m)
{
	uint64_t delay = sim_between(w, 50, 600);
	struct sim_event *e;

	if (from != to) {
		if (w->is_cut[from->index][to->index] || sim_chance(w, w->drop)) {
			w->stats.dropped++;
			return;
		}
		if (w->slow_us && sim_chance(w, 0.2))
			delay += agi_prng_below(&w->prng, w->slow_us);
		if (m->kind == w->held_kind && (!w->held_to || w->held_to == to->index + 1))
			delay += w->held_us;
	}
	e = sim_push(w, w->now_us + delay, SIM_MESSAGE, to->index);
	e->from = (struct agi_peer){from->id, from->addr};
	e->msg = agi_msg_clone(m);
	w->stats.messages++;
}

static void unreachable(struct sim_node *n, const struct agi_peer *to, enum agi_traffic traffic)
{
	struct sim_event *e = sim_push(n->w, n->w->now_us + sim_between(n->w, 50, 400), SIM_UNREACHABLE, n->index);

	e->from = *to;
	e->traffic = traffic;
}

uint64_t sim_view_hash(const struct agi_view *v)
{
	uint64_t h = 0xcbf29ce484222325u ^ v->n_members;

	for (int i = 0; i < v->n_members; i++) {
		uint64_t part;

		memcpy(&part, v->members[i].b, sizeof part);
		h = (h ^ part) * 0x9e3779b97f4a7c15u;
		h ^= h >> 31;
	}
	return h | 1;
}

/* Rare things that have to happen for a campaign to be worth something. */
static void count_rivals(struct sim_world *w, const struct agi_msg *m)
{
	w->stats.drops += m->kind == AGI_MSG_SWEEP && m->is_final && !m->is_strong;
	w->stats.strong_drops += m->kind == AGI_MSG_SWEEP && m->is_final && m->is_strong;
	w->stats.leads += m->kind == AGI_MSG_LED && m->status == AGI_OK;
	w->stats.rival_leads += m->kind == AGI_MSG_REG_ACK && m->status == AGI_E_EXISTS;
}

static enum agi_err fx_send(void *ctx, const struct agi_peer *to, enum agi_traffic traffic, const struct agi_msg *m)
{
	struct sim_node *n = ctx, *peer = node_at(n->w, to);
	struct sim_world *w = n->w;

	trace(w, (uint64_t)m->kind << 32 | n->index);
	if (!peer || !peer->dht) {
		if (!peer || !w->is_cut[n->index][peer->index])
			unreachable(n, to, traffic);
		return AGI_OK;
	}
	if (sim_chance(w, w->refuse_sends)) {
		w->stats.refused++;
		return AGI_E_FULL;
	}
	n->has_spoken |= agi_msg_is_answer(m->kind) && m->status == AGI_OK && m->kind != AGI_MSG_PONG;
	w->stats.pages += m->kind == AGI_MSG_SLOT_PULL;
	count_rivals(w, m);
	sim_vows_look(n, peer, m);
	deliver(w, n, peer, m);
	if (sim_chance(w, w->duplicate)) {
		w->stats.duplicated++;
		deliver(w, n, peer, m);
	}
	return AGI_OK;
}

static void schedule_disk(struct sim_node *n)
{
	if (n->has_disk_event)
		return;
	n->has_disk_event = true;
	sim_push(n->w, n->w->now_us + sim_between(n->w, 20, 900 + n->disk_slow_us), SIM_DISK, n->index);
}

static void fx_store(void *ctx, uint64_t job_id, const struct agi_storage_req *req)
{
	struct sim_node *n = ctx;

	sim_disk_submit(&n->disk, job_id, req);
	schedule_disk(n);
}

static void fx_note(void *ctx, const struct agi_note *note)
{
	struct sim_node *n = ctx;
	struct sim_world *w = n->w;

	trace(w, (uint64_t)note->kind << 40 | note->slot << 8 | n->index);
	if (note->kind == AGI_NOTE_VIEW_CHANGED) {
		w->stats.views++;
		w->stats.seals += note->phase == AGI_VIEW_SEALED;
		n->changed_slots |= (uint64_t)1 << note->slot;
		sim_say(w, "node %u slot %u epoch %" PRIu64 " %s", n->index, note->slot, note->epoch,
		        agi_view_phase_name(note->phase));
	} else if (note->kind == AGI_NOTE_DROPPED) {
		sim_say(w, "node %u dropped: %s", n->index, note->text);
	} else {
		n->changed_slots |= note->kind == AGI_NOTE_CLUSTER_CREATED ? UINT64_MAX : 0;
		sim_say(w, "node %u note %d", n->index, (int)note->kind);
	}
}

static void fx_reply(void *ctx, uint64_t call_id, const struct agi_result *res)
{
	struct sim_node *n = ctx;

	trace(n->w, (uint64_t)res->err << 48 ^ call_id);
	if (call_id >= SIM_OWN_CALL)
		n->w->on_reply(n, call_id, res);
	else if (call_id < FIRST_ORDER)
		sim_client_reply(n, call_id, res);
}


/* Of watches: a scenario's own affair. */
static bool fx_event(void *ctx, uint64_t call_id, const struct agi_event *ev)
{
	struct sim_node *n = ctx;

	trace(n->w, call_id ^ ev->item.version.hlc);
	return !n->w->on_event || n->w->on_event(n, call_id, ev);
}

static const struct agi_dht_effects effects = {fx_send, fx_store, fx_reply, fx_note, fx_event};

/* --- invariants --------------------------------------------------------------------------------------------- */

/* Never two views of one epoch, whoever holds them. */
static void check_view(struct sim_node *n, uint32_t slot)
{
	enum agi_view_phase phase;
	struct agi_view v;
	uint64_t *seen;

	if (!agi_dht_slot(n->dht, slot, &v, &phase) || v.epoch >= SIM_EPOCHS_MAX)
		return;
	seen = &n->w->seen[slot][v.epoch];
	if (*seen == 0)
		*seen = sim_view_hash(&v);
	else if (*seen != sim_view_hash(&v))
		sim_fail(n->w, "slot %u has two views of epoch %" PRIu64, slot, v.epoch);
}

static void check_node(struct sim_node *n)
{
	uint64_t changed = n->changed_slots;
	char why[200];

	n->changed_slots = 0;
	for (uint32_t s = 0; changed && s < 1u << n->w->cfg.slot_bits; s++, changed >>= 1)
		if (changed & 1)
			check_view(n, s);
	if (n->w->stats.events % 32 == 0)
		agi_dht_check(n->dht);
	if (n->w->stats.events % 256 == 0 && !n->w->is_edited && !sim_trees_are_right(n, why))
		sim_fail(n->w, "%s", why);
}

static uint64_t name_of(const char *what, uint32_t key, const struct agi_version *v)
{
	uint64_t h = ((uint64_t)what[0] << 32 | key) * 0x9e3779b97f4a7c15u, part;

	memcpy(&part, v->node.b, sizeof part);
	h = (h ^ h >> 29 ^ v->hlc) * 0xff51afd7ed558ccdu;
	h = (h ^ h >> 32 ^ part) * 0xc4ceb9fe1a85ec53u;
	return h | 1;
}

static void grow_names(struct sim_names *t)
{
	struct sim_names bigger = {.cap = t->cap ? 2 * t->cap : 1024};

	bigger.slot = calloc(bigger.cap, sizeof *bigger.slot);
	if (!bigger.slot)
		abort();
	for (size_t i = 0; i < t->cap; i++) {
		size_t k = t->slot[i].name & (bigger.cap - 1);

		while (t->slot[i].name && bigger.slot[k].name)
			k = (k + 1) & (bigger.cap - 1);
		if (t->slot[i].name)
			bigger.slot[k] = t->slot[i];
	}
	bigger.n = t->n;
	free(t->slot);
	*t = bigger;
}

void sim_names_learn(struct sim_world *w, const char *what, uint32_t key, const struct agi_version *v,
                     uint64_t value)
{
	struct sim_names *t = &w->names;
	uint64_t name = name_of(what, key, v);
	size_t i;

	if (v->hlc == 0)
		return;
	if (2 * t->n >= t->cap)
		grow_names(t);
	for (i = name & (t->cap - 1); t->slot[i].name; i = (i + 1) & (t->cap - 1)) {
		if (t->slot[i].name != name)
			continue;
		if (t->slot[i].value != value)
			sim_fail(w, "%s %u: version %" PRIx64 " was given twice", what, key, v->hlc);
		return;
	}
	t->slot[i].name = name;
	t->slot[i].value = value;
	t->n++;
}

/* --- nodes ---------------------------------------------------------------------------------------------------- */

static void load_all(struct sim_node *n)
{
	for (int cf = 0; cf < AGI_CF_COUNT; cf++) {
		for (size_t i = 0; i < n->disk.cf[cf].n; i++) {
			struct agi_why why;
			struct sim_entry *e = &n->disk.cf[cf].e[i];

			if (agi_dht_load(n->dht, (enum agi_cf)cf, e->key, e->value, &why) != AGI_OK)
				sim_fail(n->w, "node %u does not load its own record: %s", n->index, why.text);
		}
	}
}

void sim_start_node(struct sim_world *w, uint32_t i)
{
	struct sim_node *n = &w->node[i];
	uint32_t grace_ms = w->cfg.grace_ms ? w->cfg.grace_ms : SIM_GRACE_MS;
	struct agi_dht_cfg cfg = {.seed = agi_prng_u64(&w->prng), .slot_bits = w->cfg.slot_bits,
	                          .down_after_ms = w->cfg.down_after_ms ? w->cfg.down_after_ms : 20000,
	                          .stable_ms = w->cfg.stable_ms ? w->cfg.stable_ms : 800, .virtual_nodes = 32, .near_hosts = w->cfg.near_hosts,
	                          .repair_interval_ms = w->cfg.repair_ms ? w->cfg.repair_ms : 4000,
	                          .hint_ttl_ms = grace_ms / 2, .tombstone_grace_ms = grace_ms,
	                          .lookup_paths = 1 /* everybody is known: more would ask the same hosts */};

	memcpy(cfg.seckey, n->seckey, sizeof cfg.seckey);
	cfg.self.addr = n->addr;
	cfg.self.incarnation = ++n->incarnation;
	cfg.self.weight_milli = n->weight_milli;
	snprintf(cfg.self.zone, sizeof cfg.self.zone, "%s", n->zone ? n->zone : "");
	for (uint32_t b = 0; b < 3 && b < w->cfg.nodes; b++)
		cfg.bootstrap[cfg.n_bootstrap++] = w->node[b].addr;
	cfg.is_first_listed = i == 0 && n->identity == 0; /* who replaces a lost disk must not found a cluster */
	n->life++;
	n->has_disk_event = false;
	n->timer_at = 0;
	n->changed_slots = UINT64_MAX;
	if (agi_dht_new(&cfg, &effects, n, &n->dht) != AGI_OK)
		abort();
	sim_disk_expire(&n->disk, 1700000000000 + w->now_us / 1000 - EXPIRED_MS); /* a compaction some time before */
	load_all(n);
	agi_dht_start(n->dht, sim_now(n));
	sim_rearm(n);
	sim_say(w, "node %u starts", i);
}

void sim_crash_node(struct sim_world *w, uint32_t i)
{
	struct sim_node *n = &w->node[i];

	if (!n->dht)
		return;
	sim_say(w, "node %u crashes", i);
	agi_dht_free(n->dht);
	n->dht = NULL;
	n->life++;
	n->paused_until = 0;
	sim_disk_crash(&n->disk, &w->prng);
	sim_clients_forget(w, i);
	w->stats.crashes++;
}

static void new_identity(struct sim_node *n)
{
	uint8_t seed[AGI_SEED_BYTES], pub[AGI_PUBKEY_BYTES];

	for (size_t b = 0; b < sizeof seed; b++)
		seed[b] = (uint8_t)agi_prng_u64(&n->w->prng);
	agi_keypair_of_seed(seed, pub, n->seckey);
	agi_id_of_pubkey(&n->id, pub);
	n->incarnation = 0;
	sim_disk_init(&n->disk);
	n->disk.prng = &n->w->prng;
}

void sim_wipe_node(struct sim_world *w, uint32_t i)
{
	struct sim_node *n = &w->node[i];

	sim_crash_node(w, i);
	sim_disk_free(&n->disk);
	n->identity++;
	new_identity(n);
	index_peers(w);
	w->stats.wipes++;
	sim_say(w, "node %u has lost its disk", i);
}

void sim_pause_node(struct sim_world *w, uint32_t i, uint64_t until_us)
{
	w->node[i].paused_until = until_us;
	w->stats.pauses++;
	sim_say(w, "node %u stands still until %.6f", i, (double)until_us / 1e6);
}

void sim_order(struct sim_node *n, enum agi_call_kind kind)
{
	struct agi_call call = {.kind = kind, .timeout_ms = 5000};

	agi_dht_call(n->dht, sim_now(n), FIRST_ORDER + ++n->w->next_order, &call);
	sim_rearm(n);
	n->w->stats.orders++;
	sim_say(n->w, "node %u is ordered to %s", n->index,
	        kind == AGI_CALL_DRAIN ? "drain" : kind == AGI_CALL_LEAVE ? "leave" : "serve");
}

void sim_set_place(struct sim_node *n, uint32_t weight_milli, const char *zone)
{
	n->weight_milli = weight_milli;
	n->zone = zone;
	if (n->dht)
		agi_dht_set_place(n->dht, sim_now(n), weight_milli, zone);
	sim_rearm(n);
	n->w->stats.places++;
	sim_say(n->w, "node %u has weight %u in zone %s", n->index, weight_milli, zone);
}

uint32_t sim_n_running(const struct sim_world *w)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		n += w->node[i].dht != NULL;
	return n;
}

/* --- events --------------------------------------------------------------------------------------------------------------- */

static void disk_done(void *arg, uint64_t job_id, const struct agi_storage_done *done)
{
	struct sim_node *n = arg;

	n->w->stats.bad_reads += done->err == AGI_E_CORRUPT;
	agi_dht_on_stored(n->dht, sim_now(n), job_id, done);
}

static void disk_step(struct sim_node *n)
{
	struct sim_world *w = n->w;
	size_t batch = 1 + agi_prng_below(&w->prng, 8);

	n->has_disk_event = false;
	for (size_t i = 0; i < batch && n->disk.first; i++) {
		if (sim_chance(w, w->store_crash)) {
			if (agi_prng_below(&w->prng, 2))
				(void)sim_disk_step_unseen(&n->disk);
			sim_faults_store_crash(w, n->index);
			return;
		}
		(void)sim_disk_step(&n->disk, disk_done, n);
	}
	if (n->disk.first)
		schedule_disk(n);
}

/* A message may reach a later life of the node, but not one that must not be done twice: its link has ended
 * with the life it was sent to. A node that lost its disk is another one. */
static bool is_deliverable(const struct sim_node *n, const struct sim_event *e)
{
	return n->dht && e->identity == n->identity && (e->life == n->life || e->msg->kind != AGI_MSG_STRONG_DO);
}

static void happen_to_node(struct sim_world *w, struct sim_node *n, struct sim_event *e)
{
	bool is_alive = n->dht && e->life == n->life;

	n->has_spoken = false;
	switch (e->kind) {
	case SIM_MESSAGE:
		if (is_deliverable(n, e))
			agi_dht_on_message(n->dht, sim_now(n), &e->from, e->msg);
		break;
	case SIM_UNREACHABLE:
		if (is_alive)
			agi_dht_on_unreachable(n->dht, sim_now(n), &e->from, e->traffic, AGI_E_UNREACHABLE);
		break;
	case SIM_DISK:
		if (is_alive)
			disk_step(n);
		break;
	case SIM_TIMER:
		if (is_alive)
			agi_dht_tick(n->dht, sim_now(n));
		break;
	default:
		if (!n->dht && e->life == n->life)
			sim_start_node(w, e->node);
		break;
	}
	if (!n->dht)
		return;
	sim_rearm(n);
	check_node(n);
	if (n->has_spoken && n->disk.first && sim_chance(w, 2 * w->store_crash))
		sim_faults_store_crash(w, n->index);
}

static void happen(struct sim_world *w, struct sim_event *e)
{
	trace(w, e->at_us * 8 + (uint64_t)e->kind);
	w->stats.events++;
	if (e->kind == SIM_CLIENT)
		sim_client_step(w);
	else if (e->kind == SIM_HANG_UP)
		sim_client_hang_up(w, e->call);
	else if (e->kind == SIM_FAULT)
		sim_faults_step(w);
	else if (e->kind == SIM_RIVAL)
		sim_rivals_late(w, e->node, (uint32_t)e->call);
	else
		happen_to_node(w, &w->node[e->node], e);
}

void sim_run_until(struct sim_world *w, uint64_t until_us)
{
	struct sim_event *e;

	while (!w->failure[0] && (e = sim_queue_pop(&w->queue, until_us))) {
		struct sim_node *n = &w->node[e->node];

		w->now_us = e->at_us;
		if (n->paused_until > w->now_us && e->kind <= SIM_TIMER && n->dht) {
			sim_queue_defer(&w->queue, e, n->paused_until);
			continue;
		}
		happen(w, e);
		sim_queue_done(&w->queue, e);
	}
	if (until_us > w->now_us)
		w->now_us = until_us;
}

/* --- life of a world ------------------------------------------------------------------------------------------------------------ */

void sim_set_up(struct sim_world *w, const struct sim_cfg *cfg)
{
	memset(w, 0, sizeof *w);
	w->cfg = *cfg;
	agi_prng_seed(&w->prng, cfg->seed);
	w->now_us = 1000000;
	for (uint32_t i = 0; i < cfg->nodes; i++) {
		struct sim_node *n = &w->node[i];
		struct agi_why why;
		char text[32];

		n->w = w;
		n->index = i;
		n->clock = (struct sim_clock){w->now_us, w->now_us, 1000000};
		new_identity(n);
		snprintf(text, sizeof text, "10.0.%u.%u:5000", i / 250, i % 250 + 1);
		if (agi_addr_parse(&n->addr, agi_str_of(text), 0, &why) != AGI_OK)
			abort();
	}
	index_peers(w);
}

void sim_tear_down(struct sim_world *w)
{
	sim_queue_free(&w->queue);
	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		agi_dht_free(w->node[i].dht);
		w->node[i].dht = NULL;
		sim_disk_free(&w->node[i].disk);
	}
	sim_clients_free(w);
	free(w->names.slot);
	w->names = (struct sim_names){0};
}
