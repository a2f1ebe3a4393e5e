/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/world.h"

#include <math.h>
#include <stdlib.h>

enum {
	START_US = 1000000,
	STORE_US = 200,
	BOOTSTRAPS = 3,
	CORE_SLOT_BITS = 4 /* all slots are the founder's: few of them cost the others little */
};
static const uint64_t wall_ms = 1700000000000;
/* So that what one part draws does not change what another one does. */
static const uint64_t CHURN_SEED = 0x636875726e, ATTACK_SEED = 0x61747461636b;

static struct agi_now now(const struct agi_sim_world *w)
{
	return (struct agi_now){w->now_us, wall_ms + w->now_us / 1000};
}

static void trace(struct agi_sim_world *w, uint64_t v)
{
	w->trace = (w->trace ^ v) * 0x100000001b3u; /* FNV-1a */
	w->trace ^= w->trace >> 29;
}

void agi_sim_world_push(struct agi_sim_world *w, uint64_t at_us, enum agi_sim_event_kind kind, uint32_t node)
{
	struct agi_sim_event e = {.at_us = at_us, .kind = kind, .node = node, .life = w->node[node].life};

	agi_sim_events_push(&w->events, &e);
}

/* --- who is who --------------------------------------------------------------------------------------- */

static uint64_t prefix_of(const struct agi_id *id)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | id->b[i];
	return v;
}

/* 10.0.0.0/8: the index is the host's part. */
static void set_addr(struct agi_addr *a, uint32_t index)
{
	*a = (struct agi_addr){.ip = {[10] = 0xff, [11] = 0xff, [12] = 10}, .port = 5000};
	for (int i = 0; i < 3; i++)
		a->ip[15 - i] = (uint8_t)(index >> (8 * i));
}

static struct agi_sim_node *at_addr(struct agi_sim_world *w, const struct agi_addr *a)
{
	uint32_t index = (uint32_t)a->ip[13] << 16 | (uint32_t)a->ip[14] << 8 | a->ip[15];

	return a->port && index < w->opts.nodes ? &w->node[index] : NULL;
}

struct agi_sim_node *agi_sim_world_find(struct agi_sim_world *w, const struct agi_id *id)
{
	for (uint32_t i = (uint32_t)prefix_of(id) & (w->n_by_id - 1); w->by_id[i]; i = (i + 1) & (w->n_by_id - 1))
		if (agi_id_eq(&w->node[w->by_id[i] - 1].id, id))
			return &w->node[w->by_id[i] - 1];
	return NULL;
}

static void index_node(struct agi_sim_world *w, const struct agi_sim_node *n)
{
	uint32_t i = (uint32_t)prefix_of(&n->id) & (w->n_by_id - 1);

	while (w->by_id[i])
		i = (i + 1) & (w->n_by_id - 1);
	w->by_id[i] = n->index + 1;
	w->n_indexed++;
}

/* Entries of identities that are gone lead to nodes of another id; when there are many, all are made anew. */
static void index_new(struct agi_sim_world *w, const struct agi_sim_node *n)
{
	if (2 * w->n_indexed < w->n_by_id) {
		index_node(w, n);
		return;
	}
	memset(w->by_id, 0, w->n_by_id * sizeof *w->by_id);
	w->n_indexed = 0;
	for (uint32_t i = 0; i < w->opts.nodes; i++)
		if (!agi_id_is_zero(&w->node[i].id))
			index_node(w, &w->node[i]);
}

static void new_identity(struct agi_sim_node *n, uint8_t seckey[AGI_SECKEY_BYTES])
{
	struct agi_sim_world *w = n->w;
	uint8_t seed[AGI_SEED_BYTES], pub[AGI_PUBKEY_BYTES];

	for (size_t i = 0; i < sizeof seed; i++)
		seed[i] = (uint8_t)agi_prng_u64(&w->prng);
	agi_keypair_of_seed(seed, pub, seckey);
	agi_id_of_pubkey(&n->id, pub);
	index_new(w, n);
	for (uint32_t i = 0; i < w->opts.virtual_nodes; i++) {
		struct agi_id id;

		agi_id_of_vnode(&id, &n->id, i);
		w->points[(size_t)n->index * w->opts.virtual_nodes + i] = prefix_of(&id);
	}
}

uint64_t agi_sim_world_distance(const struct agi_sim_node *n, const struct agi_id *target)
{
	const uint64_t *p = n->w->points + (size_t)n->index * n->w->opts.virtual_nodes;
	uint64_t best = UINT64_MAX, t = prefix_of(target);

	for (uint32_t i = 0; i < n->w->opts.virtual_nodes; i++)
		best = (p[i] ^ t) < best ? p[i] ^ t : best;
	return best;
}

bool agi_sim_world_is_adversary(const struct agi_sim_node *n) { return n->w->attack.is_adversary[n->index]; }

struct agi_sim_node *agi_sim_world_nearest(struct agi_sim_world *w, const struct agi_id *target)
{
	struct agi_sim_node *nearest = NULL;
	uint64_t best = UINT64_MAX;

	for (uint32_t i = 0; i < w->opts.nodes; i++) {
		const struct agi_sim_node *n = &w->node[i];
		uint64_t d;

		if (!n->is_joined || agi_sim_world_is_adversary(n))
			continue;
		d = agi_sim_world_distance(n, target);

		if (d < best) {
			best = d;
			nearest = &w->node[i];
		}
	}
	return nearest;
}

/* --- effects of the core --------------------------------------------------------------------------------- */

static uint64_t delay_us(struct agi_sim_world *w, uint32_t from, uint32_t to)
{
	double base = agi_sim_latency_us(&w->latency, from, to);

	/* queues on the way: a few percent, seldom more */
	return (uint64_t)(base * (1 - w->opts.jitter * log(1 - agi_prng_unit(&w->prng)))) + 1;
}

static void send_packet(struct agi_sim_world *w, struct agi_sim_node *n, struct agi_sim_node *peer,
                        const struct agi_peer *to, enum agi_traffic traffic, const struct agi_msg *m)
{
	struct agi_sim_event e = {.kind = AGI_SIM_MESSAGE, .node = peer->index};
	struct agi_peer from = {.id = n->id};

	set_addr(&from.addr, n->index);
	e.at_us = w->now_us + delay_us(w, n->index, peer->index);
	e.packet = agi_sim_packet_new(&from, to, traffic, m);
	agi_sim_events_push(&w->events, &e);
}

static enum agi_err fx_send(void *ctx, const struct agi_peer *to, enum agi_traffic traffic, const struct agi_msg *m)
{
	struct agi_sim_node *n = ctx, *peer;
	struct agi_sim_world *w = n->w;
	struct agi_contact lies[AGI_K];
	struct agi_msg lie;

	if (m->kind == AGI_MSG_NODES && agi_sim_world_is_adversary(n)) {
		int n_lies = agi_sim_attack_answer(&w->attack, &n->asked_for, lies);

		if (n_lies < 0)
			return AGI_OK;
		lie = *m;
		lie.contacts = lies;
		lie.n_contacts = (size_t)n_lies;
		m = &lie;
	}
	if (m->has_coord) {
		n->coord = m->coord;
		n->has_coord = true;
	}
	peer = to->addr.port ? at_addr(w, &to->addr) : agi_sim_world_find(w, &to->id);
	if (!peer)
		return AGI_E_UNREACHABLE;
	if (peer != n) {
		n->sent.messages++;
		n->sent.bytes += agi_sim_wire_bytes(m) + AGI_SIM_FRAME_BYTES;
	}
	w->n_messages++;
	if (peer != n && w->opts.loss > 0 && agi_prng_unit(&w->prng) < w->opts.loss)
		w->n_lost++;
	else
		send_packet(w, n, peer, to, traffic, m);
	return AGI_OK;
}

static bool is_conditional(const struct agi_storage_op *op)
{
	return op->verb == AGI_PUT_NEWER || op->verb == AGI_DELETE_IF;
}

static void fx_store(void *ctx, uint64_t job_id, const struct agi_storage_req *req)
{
	struct agi_sim_node *n = ctx;
	struct agi_sim_event e = {.at_us = n->w->now_us + STORE_US, .kind = AGI_SIM_STORED, .node = n->index,
	                          .life = n->life, .arg = job_id, .is_read = req->kind == AGI_STORAGE_GET};
	bool has_condition = false;

	for (size_t i = 0; req->kind == AGI_STORAGE_WRITE && i < req->n_ops; i++)
		has_condition |= is_conditional(&req->ops[i]);
	e.n_ops = has_condition ? (uint32_t)req->n_ops : 0;
	agi_sim_events_push(&n->w->events, &e);
}

static void fx_reply(void *ctx, uint64_t call_id, const struct agi_result *res)
{
	struct agi_sim_node *n = ctx;

	n->w->on_reply(n->w->user, n, call_id, res);
}

static void fx_note(void *ctx, const struct agi_note *note)
{
	struct agi_sim_node *n = ctx;

	trace(n->w, (uint64_t)note->kind << 40 | n->index);
}

static bool fx_event(void *ctx, uint64_t call_id, const struct agi_event *ev)
{
	(void)ctx, (void)call_id, (void)ev;
	return true;
}

static const struct agi_dht_effects effects = {fx_send, fx_store, fx_reply, fx_note, fx_event};

/* --- life of a node ----------------------------------------------------------------------------------------- */

static void rearm(struct agi_sim_node *n)
{
	uint64_t at = agi_dht_next_deadline(n->dht);

	if (at >= n->timer_at)
		return;
	n->timer_at = at > n->w->now_us ? at : n->w->now_us;
	agi_sim_world_push(n->w, n->timer_at, AGI_SIM_TIMER, n->index);
}

/* Those it may ask to join: some that were there before it. Adversaries are not among them: an operator lists hosts
 * that are known to be good, and who knows nobody but adversaries is lost whatever it does. */
static void choose_bootstraps(struct agi_sim_node *n, struct agi_dht_cfg *cfg)
{
	struct agi_sim_world *w = n->w;
	uint32_t first = (uint32_t)agi_prng_below(&w->prng, w->opts.nodes);

	for (uint32_t i = 0; i < w->opts.nodes && cfg->n_bootstrap < BOOTSTRAPS; i++) {
		const struct agi_sim_node *other = &w->node[(first + i) % w->opts.nodes];

		if (other->is_joined && other != n && !agi_sim_world_is_adversary(other))
			set_addr(&cfg->bootstrap[cfg->n_bootstrap++], other->index);
	}
}

static void start_node(struct agi_sim_node *n)
{
	struct agi_sim_world *w = n->w;
	struct agi_dht_cfg cfg = {.seed = agi_prng_u64(&w->prng), .slot_bits = CORE_SLOT_BITS,
	                          .virtual_nodes = w->opts.virtual_nodes, .lookup_paths = w->opts.paths, .stable_ms = UINT32_MAX,
	                          .repair_interval_ms = UINT32_MAX};

	new_identity(n, cfg.seckey);
	cfg.self.incarnation = 1;
	set_addr(&cfg.self.addr, n->index);
	choose_bootstraps(n, &cfg);
	cfg.force_init = w->n_joined == 0;
	n->life++;
	n->timer_at = AGI_NEVER;
	n->started_us = w->now_us;
	n->is_joined = n->has_coord = false;
	if (agi_dht_new(&cfg, &effects, n, &n->dht) != AGI_OK) {
		n->dht = NULL;
		return;
	}
	w->n_running++;
	if (w->is_churning)
		agi_sim_world_push(w, w->now_us + agi_sim_churn_session_us(&w->churn), AGI_SIM_STOP, n->index);
	agi_dht_start(n->dht, now(w));
	rearm(n);
}

static void stop_node(struct agi_sim_node *n)
{
	agi_dht_free(n->dht);
	n->dht = NULL;
	n->life++;
	n->w->n_running--;
	n->w->n_stops++;
	n->w->n_joined -= n->is_joined;
	n->is_joined = false;
	agi_sim_attack_went(&n->w->attack, n->index);
	if (n->w->is_churning)
		agi_sim_world_push(n->w, n->w->now_us + agi_sim_churn_away_us(&n->w->churn), AGI_SIM_START, n->index);
}

static void look_if_joined(struct agi_sim_node *n)
{
	struct agi_dht_status s;
	struct agi_member me;

	if (n->is_joined)
		return;
	agi_dht_status(n->dht, &s);
	if (!s.is_ready || !agi_dht_member(n->dht, 0, &me))
		return;
	n->is_joined = true;
	n->w->n_joined++;
	agi_sim_attack_came(&n->w->attack, n->index, &me.contact);
	n->w->on_joined(n->w->user, n);
}

/* --- events ---------------------------------------------------------------------------------------------------- */

/* Somebody else lives at that address, or nobody who says so: the sender learns it a way back later. A host that is
 * gone says nothing. */
static void not_delivered(struct agi_sim_world *w, const struct agi_sim_node *n, struct agi_sim_event *e)
{
	struct agi_sim_node *sender = at_addr(w, &e->packet->from.addr);
	struct agi_sim_event back = {.kind = AGI_SIM_UNREACHABLE, .node = sender->index, .life = sender->life};

	if (!n->dht || !agi_id_eq(&sender->id, &e->packet->from.id))
		return;
	back.at_us = w->now_us + delay_us(w, n->index, sender->index);
	back.packet = agi_sim_packet_new(&e->packet->from, &e->packet->to, e->packet->traffic, NULL);
	agi_sim_events_push(&w->events, &back);
}

static void deliver(struct agi_sim_world *w, struct agi_sim_node *n, struct agi_sim_event *e)
{
	const struct agi_id *to = &e->packet->to.id;
	const struct agi_msg *m = e->packet->msg;

	if (!n->dht || (!agi_id_is_zero(to) && !agi_id_eq(to, &n->id))) {
		not_delivered(w, n, e);
		return;
	}
	if (!m)
		return; /* out of memory when it was sent: lost */
	if (m->kind == AGI_MSG_FIND_NODE)
		n->asked_for = m->target;
	agi_dht_on_message(n->dht, now(w), &e->packet->from, m);
}

static void stored(struct agi_sim_node *n, const struct agi_sim_event *e)
{
	struct agi_storage_done done = {.err = e->is_read ? AGI_E_NOT_FOUND : AGI_OK};
	struct agi_storage_was *was = NULL;

	if (e->n_ops) {
		was = agi_sim_alloc(e->n_ops, sizeof *was);
		for (uint32_t i = 0; i < e->n_ops; i++)
			was[i].is_done = true;
		done.was = was;
	}
	agi_dht_on_stored(n->dht, now(n->w), e->arg, &done);
	free(was);
}

static void timer(struct agi_sim_node *n, const struct agi_sim_event *e)
{
	if (n->timer_at != e->at_us)
		return; /* an earlier one was set, and has been here */
	n->timer_at = AGI_NEVER;
	agi_dht_tick(n->dht, now(n->w));
}

static void happen_to_node(struct agi_sim_world *w, struct agi_sim_node *n, struct agi_sim_event *e)
{
	bool is_alive = n->dht && e->life == n->life;

	if (e->kind == AGI_SIM_MESSAGE)
		deliver(w, n, e);
	else if (e->kind == AGI_SIM_UNREACHABLE && is_alive)
		agi_dht_on_unreachable(n->dht, now(w), &e->packet->to, e->packet->traffic, AGI_E_UNREACHABLE);
	else if (e->kind == AGI_SIM_STORED && is_alive)
		stored(n, e);
	else if (e->kind == AGI_SIM_TIMER && is_alive)
		timer(n, e);
	else if (e->kind == AGI_SIM_START && !n->dht)
		start_node(n);
	else if (e->kind == AGI_SIM_STOP && is_alive)
		stop_node(n);
	if (!n->dht)
		return;
	look_if_joined(n);
	rearm(n);
}

void agi_sim_world_run(struct agi_sim_world *w, uint64_t until_us)
{
	struct agi_sim_event e;

	while (agi_sim_events_pop(&w->events, until_us, &e)) {
		w->now_us = e.at_us;
		w->n_events++;
		trace(w, e.at_us * 8 + (uint64_t)e.kind + ((uint64_t)e.node << 40));
		if (e.kind == AGI_SIM_LOOKUP)
			w->on_event(w->user, &e);
		else
			happen_to_node(w, &w->node[e.node], &e);
		agi_sim_packet_free(e.packet);
	}
	if (until_us > w->now_us)
		w->now_us = until_us;
}

void agi_sim_world_churn(struct agi_sim_world *w)
{
	w->is_churning = w->opts.churn.kind != AGI_SIM_STAY;
	for (uint32_t i = 0; w->is_churning && i < w->opts.nodes; i++)
		if (w->node[i].dht)
			agi_sim_world_push(w, w->now_us + agi_sim_churn_session_us(&w->churn), AGI_SIM_STOP, i);
}

void agi_sim_world_call(struct agi_sim_node *n, uint64_t call_id, const struct agi_call *call)
{
	agi_dht_call(n->dht, now(n->w), call_id, call);
	rearm(n);
}

/* --- life of the world -------------------------------------------------------------------------------------------- */

enum agi_err agi_sim_world_init(struct agi_sim_world *w, const struct agi_sim_opts *opts, struct agi_why *why)
{
	enum agi_err err;

	*w = (struct agi_sim_world){.opts = *opts, .now_us = START_US, .n_by_id = 1};
	agi_prng_seed(&w->prng, opts->seed);
	err = agi_sim_latency_init(&w->latency, &opts->latency, opts->nodes, opts->seed, why);
	if (err == AGI_OK)
		err = agi_sim_churn_init(&w->churn, &opts->churn, opts->seed ^ CHURN_SEED, why);
	if (err != AGI_OK) {
		agi_sim_latency_free(&w->latency);
		return err;
	}
	agi_sim_attack_init(&w->attack, &opts->attack, opts->nodes, opts->virtual_nodes, opts->seed ^ ATTACK_SEED);
	agi_sim_attack_invent(&w->attack, opts->seed, set_addr);
	while (w->n_by_id < 4 * opts->nodes)
		w->n_by_id *= 2;
	w->by_id = agi_sim_alloc(w->n_by_id, sizeof *w->by_id);
	w->points = agi_sim_alloc((size_t)opts->nodes * opts->virtual_nodes, sizeof *w->points);
	w->node = agi_sim_alloc(opts->nodes, sizeof *w->node);
	for (uint32_t i = 0; i < opts->nodes; i++)
		w->node[i] = (struct agi_sim_node){.w = w, .index = i, .timer_at = AGI_NEVER};
	return AGI_OK;
}

void agi_sim_world_free(struct agi_sim_world *w)
{
	for (uint32_t i = 0; w->node && i < w->opts.nodes; i++)
		agi_dht_free(w->node[i].dht);
	agi_sim_events_free(&w->events);
	agi_sim_latency_free(&w->latency);
	agi_sim_churn_free(&w->churn);
	agi_sim_attack_free(&w->attack);
	free(w->by_id);
	free(w->points);
	free(w->node);
}
