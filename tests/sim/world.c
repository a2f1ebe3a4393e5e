/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/slot.h"

enum event_kind { EV_MESSAGE, EV_UNREACHABLE, EV_DISK, EV_TIMER, EV_CLIENT, EV_FAULT, EV_RESTART };

struct sim_event {
	uint64_t at_us, seq;
	enum event_kind kind;
	uint32_t node;           /* who it happens to */
	uint64_t life;
	struct agi_peer from;    /* MESSAGE: sender; UNREACHABLE: the peer */
	struct agi_msg *msg;
	enum agi_traffic traffic; /* UNREACHABLE */
};

struct sim_call {
	struct sim_call *next;
	uint64_t id, life, value;
	uint32_t node, key;
	enum agi_call_kind kind;
	bool is_final;           /* a check after healing */
	int op;                  /* strong: index in its register's history */
	bool is_strong;
	struct agi_version floor; /* final: nothing older may be returned */
	int *outcome;            /* final: 1 = answered well */
};

/* --- helpers ---------------------------------------------------------------------------------------- */

static void trace(struct sim_world *w, uint64_t v)
{
	w->trace = (w->trace ^ v) * 0x100000001b3u; /* FNV-1a */
	w->trace ^= w->trace >> 29;
}

static void fail(struct sim_world *w, const char *fmt, ...) AGI_PRINTF(2, 3);
static void fail(struct sim_world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->failure[0])
		return;
	va_start(ap, fmt);
	vsnprintf(w->failure, sizeof w->failure, fmt, ap);
	va_end(ap);
}

static void say(struct sim_world *w, const char *fmt, ...) AGI_PRINTF(2, 3);
static void say(struct sim_world *w, const char *fmt, ...)
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

struct agi_now sim_now(const struct sim_node *n)
{
	return (struct agi_now){n->w->now_us, (uint64_t)(1700000000000 + (int64_t)(n->w->now_us / 1000) + n->skew_ms)};
}

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

static struct sim_event *push(struct sim_world *w, uint64_t at_us, enum event_kind kind, uint32_t node)
{
	struct sim_event *e = calloc(1, sizeof *e);
	size_t i;

	if (w->n_heap == w->cap_heap) {
		w->cap_heap = w->cap_heap ? 2 * w->cap_heap : 1024;
		w->heap = realloc(w->heap, w->cap_heap * sizeof(void *));
	}
	if (!e || !w->heap)
		abort();
	*e = (struct sim_event){.at_us = at_us, .seq = w->next_seq++, .kind = kind, .node = node,
	                        .life = w->node[node].life};
	for (i = w->n_heap++; i > 0 && is_before(e, w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = e;
	return e;
}

static struct sim_event *pop(struct sim_world *w)
{
	struct sim_event *top = w->heap[0], *last = w->heap[--w->n_heap];
	size_t i = 0;

	for (;;) {
		size_t c = 2 * i + 1;

		if (c >= w->n_heap)
			break;
		if (c + 1 < w->n_heap && is_before(w->heap[c + 1], w->heap[c]))
			c++;
		if (!is_before(w->heap[c], last))
			break;
		w->heap[i] = w->heap[c];
		i = c;
	}
	w->heap[i] = last;
	return top;
}

static bool chance(struct sim_world *w, double p) { return agi_prng_unit(&w->prng) < p; }

static uint64_t between(struct sim_world *w, uint64_t lo, uint64_t hi)
{
	return lo + agi_prng_below(&w->prng, hi - lo + 1);
}

static struct sim_node *node_at(struct sim_world *w, const struct agi_peer *to)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (agi_id_is_zero(&to->id) ? agi_addr_eq(&w->node[i].addr, &to->addr)
		                            : agi_id_eq(&w->node[i].id, &to->id))
			return &w->node[i];
	return NULL;
}

/* --- effects: everything becomes an event --------------------------------------------------------------- */

void sim_rearm(struct sim_node *n)
{
	uint64_t due = n->dht ? agi_dht_next_deadline(n->dht) : AGI_NEVER;

	if (due == AGI_NEVER || (n->timer_at > n->w->now_us && n->timer_at <= due))
		return;
	n->timer_at = due > n->w->now_us ? due : n->w->now_us + 1;
	push(n->w, n->timer_at, EV_TIMER, n->index);
}

static void deliver(struct sim_world *w, struct sim_node *from, struct sim_node *to, const struct agi_msg *m)
{
	uint64_t delay = between(w, 50, 600);
	struct sim_event *e;

	if (from != to) {
		if (chance(w, w->drop) || w->is_cut[from->index][to->index]) {
			w->stats.dropped++;
			return;
		}
		if (w->slow_us && chance(w, 0.2))
			delay += agi_prng_below(&w->prng, w->slow_us);
	}
	e = push(w, w->now_us + delay, EV_MESSAGE, to->index);
	e->from = (struct agi_peer){from->id, from->addr};
	e->msg = agi_msg_clone(m);
	w->stats.messages++;
}

static void unreachable(struct sim_node *n, const struct agi_peer *to, enum agi_traffic traffic)
{
	struct sim_event *e = push(n->w, n->w->now_us + between(n->w, 50, 400), EV_UNREACHABLE, n->index);

	e->from = *to;
	e->traffic = traffic;
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
	if (n->w->refuse_sends && chance(w, n->w->refuse_sends))
		return AGI_E_FULL;
	if (m->kind == AGI_MSG_SLOT_PULL)
		w->stats.transfers++;
	deliver(w, n, peer, m);
	if (chance(w, w->duplicate))
		deliver(w, n, peer, m);
	return AGI_OK;
}

static void fx_store(void *ctx, uint64_t job_id, const struct agi_storage_req *req)
{
	struct sim_node *n = ctx;

	sim_disk_submit(&n->disk, job_id, req);
	if (!n->has_disk_event) {
		n->has_disk_event = true;
		push(n->w, n->w->now_us + between(n->w, 20, 900), EV_DISK, n->index);
	}
}

static void fx_note(void *ctx, const struct agi_note *note)
{
	struct sim_node *n = ctx;
	struct sim_world *w = n->w;

	trace(w, (uint64_t)note->kind << 40 | note->slot << 8 | n->index);
	if (note->kind == AGI_NOTE_VIEW_CHANGED) {
		w->stats.views++;
		say(w, "node %u slot %u epoch %" PRIu64 " %s", n->index, note->slot, note->epoch,
		    agi_view_phase_name(note->phase));
	} else if (note->kind == AGI_NOTE_DROPPED) {
		say(w, "node %u dropped: %s", n->index, note->text);
	} else {
		say(w, "node %u note %d", n->index, (int)note->kind);
	}
}

static void fx_reply(void *ctx, uint64_t call_id, const struct agi_result *res);
static const struct agi_dht_effects effects = {fx_send, fx_store, fx_reply, fx_note};

/* --- invariants --------------------------------------------------------------------------------------------- */

/* Never two views of one epoch, whoever holds them. */
static void check_views(struct sim_node *n)
{
	struct sim_world *w = n->w;

	for (uint32_t s = 0; s < 1u << w->cfg.slot_bits; s++) {
		struct agi_view v, *first;
		enum agi_view_phase phase;

		if (!agi_dht_slot(n->dht, s, &v, &phase) || v.epoch >= SIM_EPOCHS_MAX)
			continue;
		first = &w->seen[s][v.epoch];
		if (first->epoch == 0)
			*first = v;
		else if (first->n_members != v.n_members ||
		         memcmp(first->members, v.members, v.n_members * sizeof v.members[0]) != 0)
			fail(w, "slot %u has two views of epoch %" PRIu64, s, v.epoch);
	}
}

/* --- clients ---------------------------------------------------------------------------------------------------- */

static void key_text(char out[16], uint32_t key) { snprintf(out, 16, "key-%u", key); }

static void start_call(struct sim_world *w, struct sim_node *n, struct sim_call *c, const struct agi_call *call)
{
	c->id = ++w->next_call;
	c->node = n->index;
	c->life = n->life;
	c->kind = call->kind;
	c->next = w->calls;
	w->calls = c;
	agi_dht_call(n->dht, sim_now(n), c->id, call);
	sim_rearm(n);
}

static struct sim_call *take_call(struct sim_world *w, uint64_t id)
{
	for (struct sim_call **p = &w->calls; *p; p = &(*p)->next) {
		struct sim_call *c = *p;

		if (c->id != id)
			continue;
		*p = c->next;
		return c;
	}
	return NULL;
}

static int version_cmp(const struct agi_version *a, const struct agi_version *b)
{
	if (a->hlc != b->hlc)
		return a->hlc < b->hlc ? -1 : 1;
	return agi_id_cmp(&a->node, &b->node);
}

/* --- strong registers ------------------------------------------------------------------------------------- */

/* A version names one token for ever. */
static void learn_version(struct sim_world *w, uint32_t reg, uint64_t version, uint64_t token)
{
	struct sim_register *r = &w->reg[reg];

	if (version == 0)
		return;
	for (size_t i = 0; i < r->n_seen; i++) {
		if (r->seen[i].version != version)
			continue;
		if (r->seen[i].token != token)
			fail(w, "register %u: version %" PRIx64 " was given twice", reg, version);
		return;
	}
	if (r->n_seen < SIM_VERSIONS_MAX) {
		r->seen[r->n_seen].version = version;
		r->seen[r->n_seen++].token = token;
	}
}

static uint64_t token_of(const struct agi_result *res, bool is_counter)
{
	uint64_t token = 0;

	if (!res->found && res->kind == AGI_CALL_GET)
		return 0;
	if (is_counter) {
		for (size_t i = 0; i < res->value.n; i++)
			token = token * 10 + (uint64_t)(res->value.p[i] - '0');
		return token;
	}
	if (res->value.n == 8)
		memcpy(&token, res->value.p, 8);
	return token;
}

/* Did the call certainly do nothing? */
static bool is_without_effect(enum agi_err err)
{
	return err != AGI_OK && err != AGI_E_NOT_FOUND && err != AGI_E_CONDITION && err != AGI_E_UNKNOWN_OUTCOME;
}

static void take_strong(struct sim_world *w, struct sim_call *c, const struct agi_result *res)
{
	struct lin_op *op = &w->reg[c->key].history.op[c->op];
	bool is_counter = c->key == SIM_REGISTERS - 1;
	uint64_t token = token_of(res, is_counter);

	w->stats.strong++;
	if (res->err == AGI_E_UNKNOWN_OUTCOME) {
		w->stats.strong_unknown++;
		return; /* stays pending */
	}
	if (is_without_effect(res->err)) {
		w->stats.strong_failed++;
		op->kind = LIN_NONE;
		return;
	}
	op->end = w->now_us;
	if (op->kind == LIN_GET || op->kind == LIN_ADD)
		op->result = token;
	else if (op->kind == LIN_DELETE)
		op->result = res->found;
	else if (op->kind == LIN_CAS)
		op->result = res->err == AGI_OK;
	if (!is_counter && op->kind == LIN_GET && res->found)
		learn_version(w, c->key, res->version.hlc, token);
	else if (op->kind == LIN_PUT || (op->kind == LIN_CAS && res->err == AGI_OK))
		learn_version(w, c->key, res->version.hlc, op->arg);
}

static void strong_step(struct sim_world *w, struct sim_node *n)
{
	uint32_t reg = (uint32_t)agi_prng_below(&w->prng, SIM_REGISTERS);
	bool is_counter = reg == SIM_REGISTERS - 1;
	struct sim_register *r = &w->reg[reg];
	struct sim_call *c = calloc(1, sizeof *c);
	struct agi_call call = {.ns = AGI_STR("strong"), .level = AGI_LEVEL_STRONG,
	                        .timeout_ms = (uint32_t)between(w, 200, 3000)};
	uint64_t dice = agi_prng_below(&w->prng, 10), expected = 0;
	enum lin_kind kind;
	char key[16];

	c->key = reg;
	c->is_strong = true;
	c->value = ++w->next_value;
	key_text(key, reg);
	call.key = agi_str_of(key);
	call.value = (struct agi_str){(char *)&c->value, 8};
	if (is_counter) {
		kind = dice < 6 ? LIN_ADD : LIN_GET;
		c->value = call.delta = (int64_t)between(w, 1, 5);
	} else {
		kind = dice < 3 ? LIN_PUT : dice < 6 ? LIN_GET : dice < 7 ? LIN_DELETE : LIN_CAS;
	}
	if (kind == LIN_CAS && r->n_seen && dice != 9) {
		size_t i = r->n_seen - 1 - agi_prng_below(&w->prng, r->n_seen < 3 ? r->n_seen : 3);

		call.expected = r->seen[i].version;
		expected = r->seen[i].token;
	}
	call.kind = kind == LIN_PUT ? AGI_CALL_PUT : kind == LIN_GET ? AGI_CALL_GET
	            : kind == LIN_DELETE ? AGI_CALL_DELETE : kind == LIN_CAS ? AGI_CALL_CAS : AGI_CALL_ADD;
	c->op = lin_begin(&r->history, kind, c->value, expected, w->now_us);
	if (c->op < 0) {
		free(c);
		return;
	}
	start_call(w, n, c, &call);
}

static void check_final(struct sim_world *w, struct sim_call *c, const struct agi_result *res)
{
	struct sim_key *k = &w->key[c->key];
	uint64_t value = 0;

	if (res->err != AGI_OK && res->err != AGI_E_NOT_FOUND)
		return; /* tried again */
	*c->outcome = 1;
	if (version_cmp(&res->version, &c->floor) < 0) {
		fail(w, "key %u: acknowledged version %" PRIx64 " is lost, node %u reads %" PRIx64, c->key,
		     c->floor.hlc, c->node, res->version.hlc);
		return;
	}
	if (version_cmp(&res->version, &c->floor) > 0 || k->acked.hlc == 0)
		return; /* a write that was not acknowledged took effect: allowed */
	if (k->is_acked_delete != !res->found)
		fail(w, "key %u: %s", c->key, res->found ? "a deleted item is back" : "the item is gone");
	if (res->found && res->value.n == 8)
		memcpy(&value, res->value.p, 8);
	if (res->found && value != k->acked_value)
		fail(w, "key %u: another value under the acknowledged version", c->key);
}

static void fx_reply(void *ctx, uint64_t call_id, const struct agi_result *res)
{
	struct sim_node *n = ctx;
	struct sim_world *w = n->w;
	struct sim_call *c = take_call(w, call_id);
	struct sim_key *k;

	trace(w, (uint64_t)res->err << 48 ^ call_id);
	if (call_id >= SIM_OWN_CALL) {
		w->on_reply(n, call_id, res);
		return;
	}
	if (!c) {
		fail(w, "a second reply to call %" PRIu64, call_id);
		return;
	}
	k = &w->key[c->key];
	if (c->is_strong) {
		take_strong(w, c, res);
	} else if (c->is_final) {
		check_final(w, c, res);
	} else if (res->err == AGI_OK && c->kind != AGI_CALL_GET) {
		w->stats.acked++;
		if (version_cmp(&res->version, &k->acked) > 0) {
			k->acked = res->version;
			k->acked_value = c->value;
			k->is_acked_delete = c->kind == AGI_CALL_DELETE;
		}
	} else if (res->err != AGI_OK && res->err != AGI_E_NOT_FOUND) {
		w->stats.failed++;
	}
	free(c);
}

static void client_step(struct sim_world *w)
{
	struct sim_node *n = &w->node[agi_prng_below(&w->prng, w->cfg.nodes)];
	struct agi_call call = {.ns = AGI_STR("sim"), .timeout_ms = (uint32_t)between(w, 200, 3000)};
	struct sim_call *c;
	char key[16];
	uint64_t dice = agi_prng_below(&w->prng, 10);

	if (!n->dht)
		return;
	if (chance(w, 0.25)) {
		strong_step(w, n);
		return;
	}
	c = calloc(1, sizeof *c);
	c->key = (uint32_t)agi_prng_below(&w->prng, SIM_KEYS);
	c->value = ++w->next_value;
	key_text(key, c->key);
	call.key = agi_str_of(key);
	call.level = (enum agi_level)agi_prng_below(&w->prng, 3);
	call.kind = dice < 6 ? AGI_CALL_PUT : dice < 9 ? AGI_CALL_GET : AGI_CALL_DELETE;
	call.value = (struct agi_str){(char *)&c->value, 8};
	w->stats.puts += call.kind == AGI_CALL_PUT;
	w->stats.gets += call.kind == AGI_CALL_GET;
	w->stats.deletes += call.kind == AGI_CALL_DELETE;
	start_call(w, n, c, &call);
}

/* --- nodes ---------------------------------------------------------------------------------------------------------- */

static void load_all(struct sim_node *n)
{
	for (int cf = 0; cf < AGI_CF_COUNT; cf++) {
		for (size_t i = 0; i < n->disk.cf[cf].n; i++) {
			struct agi_why why;
			struct sim_entry *e = &n->disk.cf[cf].e[i];

			if (agi_dht_load(n->dht, (enum agi_cf)cf, e->key, e->value, &why) != AGI_OK)
				fail(n->w, "node %u does not load its own record: %s", n->index, why.text);
		}
	}
}

void sim_start_node(struct sim_world *w, uint32_t i)
{
	struct sim_node *n = &w->node[i];
	struct agi_dht_cfg cfg = {.seed = agi_prng_u64(&w->prng), .slot_bits = w->cfg.slot_bits,
	                          .down_after_ms = 20000, .stable_ms = 800, .virtual_nodes = 32};

	memcpy(cfg.seckey, n->seckey, sizeof cfg.seckey);
	cfg.self.addr = n->addr;
	cfg.self.incarnation = ++n->incarnation;
	for (uint32_t b = 0; b < 3 && b < w->cfg.nodes; b++)
		cfg.bootstrap[cfg.n_bootstrap++] = w->node[b].addr;
	cfg.is_first_listed = i == 0;
	n->life++;
	n->has_disk_event = false;
	n->timer_at = 0;
	if (agi_dht_new(&cfg, &effects, n, &n->dht) != AGI_OK)
		abort();
	load_all(n);
	agi_dht_start(n->dht, sim_now(n));
	sim_rearm(n);
	say(w, "node %u starts", i);
}

void sim_crash_node(struct sim_world *w, uint32_t i)
{
	struct sim_node *n = &w->node[i];

	if (!n->dht)
		return;
	say(w, "node %u crashes", i);
	agi_dht_free(n->dht);
	n->dht = NULL;
	n->life++;
	sim_disk_crash(&n->disk, &w->prng);
	for (struct sim_call **p = &w->calls; *p;) {
		struct sim_call *c = *p;

		if (c->node != i) {
			p = &c->next;
			continue;
		}
		*p = c->next; /* the client never learns: its write may or may not have happened */
		free(c);
	}
	w->stats.crashes++;
}

/* --- faults ------------------------------------------------------------------------------------------------------------ */

static void heal(struct sim_world *w) { memset(w->is_cut, 0, sizeof w->is_cut); }

static void partition(struct sim_world *w)
{
	bool is_one_way = chance(w, 0.3);
	uint64_t side = agi_prng_u64(&w->prng);

	w->stats.partitions++;
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		for (uint32_t j = 0; j < w->cfg.nodes; j++)
			if ((side >> i & 1) && !(side >> j & 1)) {
				w->is_cut[i][j] = true;
				if (!is_one_way)
					w->is_cut[j][i] = true;
			}
	say(w, "partition %s", is_one_way ? "one way" : "both ways");
}

static uint32_t n_running(const struct sim_world *w)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		n += w->node[i].dht != NULL;
	return n;
}

static void fault_step(struct sim_world *w)
{
	uint32_t victim = (uint32_t)agi_prng_below(&w->prng, w->cfg.nodes);

	switch (agi_prng_below(&w->prng, 8)) {
	case 0:
	case 1:
		if (w->node[victim].dht) {
			sim_crash_node(w, victim);
			push(w, w->now_us + between(w, 100000, chance(w, 0.1) ? 30000000 : 4000000), EV_RESTART, victim);
		}
		break;
	case 2:
		partition(w);
		break;
	case 3:
	case 4:
		heal(w);
		break;
	case 5:
		w->drop = chance(w, 0.5) ? agi_prng_unit(&w->prng) * 0.2 : 0;
		w->slow_us = chance(w, 0.5) ? between(w, 1000, 1500000) : 0;
		w->refuse_sends = chance(w, 0.3) ? 0.05 : 0;
		break;
	case 6:
		w->node[victim].skew_ms = (int64_t)between(w, 0, 4000) - 2000;
		break;
	default:
		if (chance(w, 0.15)) { /* power fails everywhere */
			for (uint32_t i = 0; i < w->cfg.nodes; i++) {
				if (!w->node[i].dht)
					continue;
				sim_crash_node(w, i);
				push(w, w->now_us + between(w, 100000, 3000000), EV_RESTART, i);
			}
		}
		break;
	}
}

/* --- events --------------------------------------------------------------------------------------------------------------- */

struct disk_turn {
	struct sim_node *n;
};

static void disk_done(void *arg, uint64_t job_id, const struct agi_storage_done *done)
{
	struct disk_turn *t = arg;

	agi_dht_on_stored(t->n->dht, sim_now(t->n), job_id, done);
}

static void disk_step(struct sim_node *n)
{
	struct disk_turn t = {n};
	size_t batch = 1 + agi_prng_below(&n->w->prng, 8);

	n->has_disk_event = false;
	for (size_t i = 0; i < batch && sim_disk_step(&n->disk, disk_done, &t); i++)
		;
	if (n->disk.first && !n->has_disk_event) {
		n->has_disk_event = true;
		push(n->w, n->w->now_us + between(n->w, 20, 900), EV_DISK, n->index);
	}
}

static void happen(struct sim_world *w, struct sim_event *e)
{
	struct sim_node *n = &w->node[e->node];
	bool is_alive = n->dht && e->life == n->life;

	trace(w, e->at_us * 8 + (uint64_t)e->kind);
	switch (e->kind) {
	case EV_MESSAGE:
		/* a message may reach a later life of the node, but not one that must not be done twice: its
		 * link has ended with the life it was sent to */
		if (n->dht && (is_alive || e->msg->kind != AGI_MSG_STRONG_DO))
			agi_dht_on_message(n->dht, sim_now(n), &e->from, e->msg);
		break;
	case EV_UNREACHABLE:
		if (is_alive)
			agi_dht_on_unreachable(n->dht, sim_now(n), &e->from, e->traffic, AGI_E_UNREACHABLE);
		break;
	case EV_DISK:
		if (is_alive)
			disk_step(n);
		break;
	case EV_TIMER:
		if (is_alive)
			agi_dht_tick(n->dht, sim_now(n));
		break;
	case EV_RESTART:
		if (!n->dht)
			sim_start_node(w, e->node);
		break;
	case EV_CLIENT:
		client_step(w);
		break;
	case EV_FAULT:
		fault_step(w);
		break;
	}
	if (n->dht) {
		sim_rearm(n);
		if (w->stats.events % 16 == 0) {
			agi_dht_check(n->dht);
			check_views(n);
		}
	}
	w->stats.events++;
}

void sim_run_until(struct sim_world *w, uint64_t until_us)
{
	while (w->n_heap && w->heap[0]->at_us <= until_us && !w->failure[0]) {
		struct sim_event *e = pop(w);

		w->now_us = e->at_us;
		happen(w, e);
		free(e->msg);
		free(e);
	}
	w->now_us = until_us;
}

/* --- the phases of a run ------------------------------------------------------------------------------------------------------ */

static void schedule_load(struct sim_world *w, uint64_t from_us, uint64_t to_us)
{
	for (uint64_t t = from_us; t < to_us; t += between(w, 5000, 40000))
		push(w, t, EV_CLIENT, 0);
	for (uint64_t t = from_us + 2000000; t < to_us; t += between(w, 100000, 2500000))
		push(w, t, EV_FAULT, 0);
}

/* Every member of every slot's newest view is active, and the view is as ideal as the hosts allow. */
bool sim_is_settled(struct sim_world *w)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		struct agi_dht_status st;

		agi_dht_status(w->node[i].dht, &st);
		if (!st.is_ready || st.members_up != w->cfg.nodes - 1 || st.reconfigs || st.hints ||
		    st.slots_joining || st.slots_sealed || st.slots_leaving)
			return false;
	}
	for (uint32_t s = 0; s < 1u << w->cfg.slot_bits; s++) {
		uint32_t active = 0;

		for (uint32_t i = 0; i < w->cfg.nodes; i++) {
			enum agi_view_phase phase;
			struct agi_view v;

			if (agi_dht_slot(w->node[i].dht, s, &v, &phase) && phase == AGI_VIEW_ACTIVE)
				active++;
		}
		if (active != (w->cfg.nodes < 3 ? w->cfg.nodes : 3))
			return false;
	}
	return true;
}

static void explain_unsettled(struct sim_world *w)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		struct agi_dht_status st;

		agi_dht_status(w->node[i].dht, &st);
		say(w, "node %u: ready %d up %u active %u joining %u sealed %u leaving %u hints %u reconfigs %u (%s)",
		    i, st.is_ready, st.members_up, st.slots_active, st.slots_joining, st.slots_sealed,
		    st.slots_leaving, st.hints, st.reconfigs, st.phase);
	}
	for (uint32_t s = 0; s < 1u << w->cfg.slot_bits; s++) {
		for (uint32_t i = 0; i < w->cfg.nodes; i++) {
			enum agi_view_phase phase;
			struct agi_view v;

			if (agi_dht_slot(w->node[i].dht, s, &v, &phase) && phase == AGI_VIEW_ACTIVE)
				say(w, "slot %u: node %u active at epoch %" PRIu64 " with %u members", s, i, v.epoch,
				    v.n_members);
		}
	}
}

static void final_read(struct sim_world *w, uint32_t key, uint32_t node, int *outcome)
{
	struct sim_call *c = calloc(1, sizeof *c);
	struct agi_call call = {.kind = AGI_CALL_GET, .ns = AGI_STR("sim"), .level = AGI_LEVEL_ALL,
	                        .timeout_ms = 4000};
	char text[16];

	key_text(text, key);
	call.key = agi_str_of(text);
	c->key = key;
	c->is_final = true;
	c->floor = w->key[key].acked;
	c->outcome = outcome;
	start_call(w, &w->node[node], c, &call);
}

static void check_everything_acked_is_there(struct sim_world *w)
{
	for (uint32_t key = 0; key < SIM_KEYS && !w->failure[0]; key++) {
		uint32_t node = (uint32_t)agi_prng_below(&w->prng, w->cfg.nodes);
		int outcome = 0;

		for (int attempt = 0; attempt < 5 && !outcome && !w->failure[0]; attempt++) {
			final_read(w, key, node, &outcome);
			sim_run_until(w, w->now_us + 5000000);
		}
		if (!outcome)
			fail(w, "key %u cannot be read after everything healed", key);
	}
}

static void tell_history(struct sim_world *w, const struct lin_history *h)
{
	static const char *const names[] = {"none", "get", "put", "delete", "cas", "add"};

	for (size_t i = 0; i < h->n; i++) {
		const struct lin_op *op = &h->op[i];

		if (op->kind != LIN_NONE)
			say(w, "  %12.6f .. %12.6f %-6s arg %" PRIu64 " expected %" PRIu64 " result %" PRIu64 "%s",
			    (double)op->start / 1e6, op->end == LIN_PENDING ? 0 : (double)op->end / 1e6,
			    names[op->kind], op->arg, op->expected, op->result,
			    op->end == LIN_PENDING ? " (unknown)" : "");
	}
}

/* Every register answers after healing, and its whole history is linearizable. */
static void check_registers(struct sim_world *w)
{
	for (uint32_t i = 0; i < 200 && !w->failure[0]; i++) {
		strong_step(w, &w->node[i % w->cfg.nodes]);
		sim_run_until(w, w->now_us + 20000);
	}
	sim_run_until(w, w->now_us + 5000000);
	for (uint32_t r = 0; r < SIM_REGISTERS && !w->failure[0]; r++) {
		if (lin_check(&w->reg[r].history))
			continue;
		tell_history(w, &w->reg[r].history);
		fail(w, "register %u: its history of %zu operations is not linearizable", r,
		     w->reg[r].history.n);
	}
}

void sim_set_up(struct sim_world *w, const struct sim_cfg *cfg)
{
	memset(w, 0, sizeof *w);
	w->cfg = *cfg;
	agi_prng_seed(&w->prng, cfg->seed);
	w->now_us = 1000000;
	for (uint32_t i = 0; i < cfg->nodes; i++) {
		struct sim_node *n = &w->node[i];
		uint8_t seed[AGI_SEED_BYTES], pub[AGI_PUBKEY_BYTES];
		struct agi_why why;
		char text[32];

		n->w = w;
		n->index = i;
		for (size_t b = 0; b < sizeof seed; b++)
			seed[b] = (uint8_t)agi_prng_u64(&w->prng);
		agi_keypair_of_seed(seed, pub, n->seckey);
		agi_id_of_pubkey(&n->id, pub);
		snprintf(text, sizeof text, "10.0.%u.%u:5000", i / 250, i % 250 + 1);
		if (agi_addr_parse(&n->addr, agi_str_of(text), 0, &why) != AGI_OK)
			abort();
		sim_disk_init(&n->disk);
	}
}

void sim_tear_down(struct sim_world *w)
{
	while (w->n_heap) {
		struct sim_event *e = pop(w);

		free(e->msg);
		free(e);
	}
	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		agi_dht_free(w->node[i].dht);
		sim_disk_free(&w->node[i].disk);
	}
	while (w->calls) {
		struct sim_call *c = w->calls;

		w->calls = c->next;
		free(c);
	}
	free(w->heap);
	w->heap = NULL;
}

int sim_run(struct sim_world *w, const struct sim_cfg *cfg)
{
	uint64_t end_us;

	sim_set_up(w, cfg);
	for (uint32_t i = 0; i < cfg->nodes; i++) /* the first three at once, others during the run */
		push(w, i < 3 ? w->now_us + between(w, 0, 300000)
		              : w->now_us + between(w, 0, (uint64_t)cfg->fault_seconds * 600000),
		     EV_RESTART, i);
	end_us = w->now_us + (uint64_t)cfg->fault_seconds * 1000000;
	w->duplicate = 0.01;
	schedule_load(w, w->now_us + 500000, end_us);
	sim_run_until(w, end_us);
	/* heal: everything that was broken works again, and nothing new breaks */
	heal(w);
	w->drop = w->duplicate = w->refuse_sends = 0;
	w->slow_us = 0;
	for (uint32_t i = 0; i < cfg->nodes; i++) {
		w->node[i].skew_ms = 0;
		if (!w->node[i].dht && !w->failure[0])
			sim_start_node(w, i);
	}
	for (int s = 0; s < 240 && !w->failure[0] && !(n_running(w) == cfg->nodes && sim_is_settled(w)); s++)
		sim_run_until(w, w->now_us + 1000000);
	if (!w->failure[0] && !sim_is_settled(w)) {
		explain_unsettled(w);
		fail(w, "the cluster did not settle within 240 s after healing");
	}
	if (!w->failure[0])
		check_everything_acked_is_there(w);
	if (!w->failure[0])
		check_registers(w);
	sim_tear_down(w);
	return w->failure[0] ? 1 : 0;
}
