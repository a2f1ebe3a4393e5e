/* SPDX-License-Identifier: Apache-2.0 */
#include "clients.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/state.h"
#include "faults.h"

enum { RECENT = 4, KEY_BITS = 8, HANG_UP_PERCENT = 4, TTL_PERCENT = 15, CLOCKS_MS = 5000, ADDS_MAX = 62 };
static const char eventual_ns[] = "sim", strong_ns[] = "strong";

/* --- open calls ------------------------------------------------------------------------------------- */

static void key_text(char out[16], uint32_t key) { snprintf(out, 16, "key-%u", key); }

/* A value tells its key, so that one that strays is seen. */
static uint64_t new_value(struct sim_world *w, uint32_t key) { return ++w->next_value << KEY_BITS | key; }

static struct sim_call *new_call(uint32_t key)
{
	struct sim_call *c = calloc(1, sizeof *c);

	if (!c)
		abort();
	c->key = key;
	return c;
}

static void start_call(struct sim_world *w, struct sim_node *n, struct sim_call *c, struct agi_call *call)
{
	struct sim_call **bucket;
	char key[16];

	key_text(key, c->key);
	call->key = agi_str_of(key);
	call->ns = agi_str_of(c->is_strong ? strong_ns : eventual_ns);
	call->value = (struct agi_str){(char *)&c->value, 8};
	c->id = ++w->next_call;
	c->begun_us = w->now_us;
	c->node = n->index;
	c->kind = call->kind;
	c->level = call->level;
	if (c->is_strong && (w->cfg.faults >> SIM_RIVALS & 1) && !c->outcome && agi_prng_below(&w->prng, 4) == 0)
		sim_rivals_lead(n, call->ns, call->key);
	bucket = &w->calls[c->id % SIM_CALL_BUCKETS];
	c->next = *bucket;
	*bucket = c;
	if (!c->outcome && agi_prng_below(&w->prng, 100) < HANG_UP_PERCENT)
		sim_push(w, w->now_us + agi_prng_below(&w->prng, 500000), SIM_HANG_UP, n->index)->call = c->id;
	agi_dht_call(n->dht, sim_now(n), c->id, call); /* may answer and free c */
	sim_rearm(n);
}

static struct sim_call *take_call(struct sim_world *w, uint64_t id)
{
	for (struct sim_call **p = &w->calls[id % SIM_CALL_BUCKETS]; *p; p = &(*p)->next) {
		struct sim_call *c = *p;

		if (c->id != id)
			continue;
		*p = c->next;
		return c;
	}
	return NULL;
}

void sim_client_hang_up(struct sim_world *w, uint64_t call_id)
{
	struct sim_call *c = take_call(w, call_id);
	struct sim_node *n;

	if (!c)
		return;
	n = &w->node[c->node];
	agi_dht_cancel(n->dht, call_id); /* a strong operation stays pending in its history */
	sim_rearm(n);
	w->stats.hang_ups++;
	free(c);
}

static void forget(struct sim_world *w, bool is_all, uint32_t node)
{
	for (int b = 0; b < SIM_CALL_BUCKETS; b++) {
		for (struct sim_call **p = &w->calls[b]; *p;) {
			struct sim_call *c = *p;

			if (!is_all && c->node != node) {
				p = &c->next;
				continue;
			}
			*p = c->next;
			free(c);
		}
	}
}

void sim_clients_forget(struct sim_world *w, uint32_t node) { forget(w, false, node); }

void sim_clients_free(struct sim_world *w) { forget(w, true, 0); }

/* --- eventual items ------------------------------------------------------------------------------------ */

void sim_item_key(const struct sim_world *w, uint32_t key, struct agi_buf *out)
{
	struct agi_id hash;
	char text[16];

	key_text(text, key);
	agi_id_of_key(&hash, agi_str_of(eventual_ns), agi_str_of(text));
	agi_item_key(out, agi_slot_of_hash(&hash, w->cfg.slot_bits), agi_str_of(eventual_ns), agi_str_of(text));
}

static uint64_t value_of(const struct agi_result *res)
{
	uint64_t value = 0;

	if (res->value.n == 8)
		memcpy(&value, res->value.p, 8);
	return value;
}

/* Nothing of it need be left: it is dead itself, or something that died was perhaps written after it. */
static bool may_be_collected(const struct sim_write *x, const struct sim_key *k, uint64_t wall_ms)
{
	return x->is_delete || (x->expires_ms && x->expires_ms < wall_ms) || x->begun_us < k->dying_until_us;
}

/* What was read, against the newest write it had to see. */
static void judge_read(struct sim_world *w, const struct sim_call *c, const struct agi_result *res)
{
	int cmp = agi_version_cmp(&res->version, &c->floor.version);
	uint64_t wall_ms = sim_now(&w->node[c->node]).wall_ms, value = value_of(res);

	if (res->found) {
		sim_names_learn(w, "key", c->key, &res->version, value);
		if ((value & ((1 << KEY_BITS) - 1)) != c->key)
			sim_fail(w, "key %u: a value was read that nobody wrote to it", c->key);
	}
	/* an older deletion may be all that is left: those are taken at any age */
	if (cmp < 0 && !(!res->found && may_be_collected(&c->floor, &w->key[c->key], wall_ms)))
		sim_fail(w, "key %u: acknowledged version %" PRIx64 " is lost, node %u reads %" PRIx64
		         " at level %s%s", c->key, c->floor.version.hlc, c->node, res->version.hlc,
		         agi_level_name(c->level), c->outcome ? " after healing" : "");
	if (cmp != 0 || c->floor.version.hlc == 0)
		return; /* newer: a write that was not acknowledged took effect */
	if (res->found && c->floor.is_delete)
		sim_fail(w, "key %u: a deleted item is back", c->key);
	else if (!res->found && !c->floor.is_delete && !c->floor.expires_ms)
		sim_fail(w, "key %u: the item is gone", c->key);
	else if (res->found && value != c->floor.value)
		sim_fail(w, "key %u: another value under the acknowledged version", c->key);
	else if (res->found && c->outcome && c->floor.expires_ms && c->floor.expires_ms + CLOCKS_MS < wall_ms &&
	         !(w->cfg.faults >> SIM_CLOCK_JUMP & 1)) /* else who knows what time it was stamped with */
		sim_fail(w, "key %u: an item whose time is over is still there", c->key);
}

static void raise(struct sim_write *known, const struct sim_write *x)
{
	if (agi_version_cmp(&x->version, &known->version) > 0)
		*known = *x;
}

static void take_acknowledged(struct sim_world *w, const struct sim_call *c, const struct agi_result *res)
{
	struct sim_write x = {res->version, c->value, c->kind == AGI_CALL_DELETE, c->expires_ms, c->begun_us};

	w->stats.acked++;
	if (c->level != AGI_LEVEL_ONE && agi_version_cmp(&x.version, &c->floor.version) <= 0)
		sim_fail(w, "key %u: a write that was acknowledged is overruled by one acknowledged before it", c->key);
	if (!x.is_delete)
		sim_names_learn(w, "key", c->key, &x.version, x.value);
	raise(&w->key[c->key].any, &x);
	if (c->level != AGI_LEVEL_ONE)
		raise(&w->key[c->key].safe, &x);
}

static void take_eventual(struct sim_world *w, const struct sim_call *c, const struct agi_result *res)
{
	bool is_answered = res->err == AGI_OK || res->err == AGI_E_NOT_FOUND;

	if (!is_answered) {
		w->stats.failed++;
		return;
	}
	if (c->outcome)
		*c->outcome = 1;
	if (c->kind != AGI_CALL_GET)
		take_acknowledged(w, c, res);
	else if (c->level != AGI_LEVEL_ONE)
		judge_read(w, c, res);
}

static void eventual_step(struct sim_world *w, struct sim_node *n)
{
	uint32_t n_keys = w->cfg.n_keys ? w->cfg.n_keys : SIM_KEYS;
	struct agi_call call = {.timeout_ms = (uint32_t)sim_between(w, 200, 3000),
	                        .level = (enum agi_level)agi_prng_below(&w->prng, 3)};
	struct sim_call *c = new_call((uint32_t)agi_prng_below(&w->prng, n_keys));
	uint64_t dice = agi_prng_below(&w->prng, 10);

	call.kind = dice < 6 ? AGI_CALL_PUT : dice < 9 ? AGI_CALL_GET : AGI_CALL_DELETE;
	c->value = new_value(w, c->key);
	c->floor = w->key[c->key].safe;
	if (call.kind == AGI_CALL_PUT && agi_prng_below(&w->prng, 100) < TTL_PERCENT) {
		call.ttl_ms = sim_between(w, 1000, 20000);
		c->expires_ms = sim_now(n).wall_ms + call.ttl_ms;
	}
	if (call.ttl_ms || call.kind == AGI_CALL_DELETE)
		w->key[c->key].dying_until_us = w->now_us + (uint64_t)call.timeout_ms * 1000 + CLOCKS_MS * 1000;
	w->stats.puts += call.kind == AGI_CALL_PUT;
	w->stats.gets += call.kind == AGI_CALL_GET;
	w->stats.deletes += call.kind == AGI_CALL_DELETE;
	start_call(w, n, c, &call);
}

void sim_client_final_read(struct sim_world *w, uint32_t key, uint32_t node, int *outcome)
{
	struct agi_call call = {.kind = AGI_CALL_GET, .level = AGI_LEVEL_ALL, .timeout_ms = 4000};
	struct sim_call *c = new_call(key);

	bool is_grace_long = w->cfg.grace_ms >= SIM_GRACE_MS && !(w->cfg.faults >> SIM_CLOCK_JUMP & 1);

	/* what was acknowledged by one node only may be too old to be taken when that one comes back */
	c->floor = is_grace_long ? w->key[key].any : w->key[key].safe;
	c->outcome = outcome;
	start_call(w, &w->node[node], c, &call);
}

void sim_client_final_write(struct sim_world *w, uint32_t key, uint32_t node, int *outcome)
{
	struct agi_call call = {.kind = AGI_CALL_PUT, .level = AGI_LEVEL_QUORUM, .timeout_ms = 4000};
	struct sim_call *c = new_call(key);

	c->value = new_value(w, key);
	c->floor = w->key[key].safe;
	c->outcome = outcome;
	start_call(w, &w->node[node], c, &call);
}

/* --- strong registers ------------------------------------------------------------------------------------ */

static bool is_counter(uint32_t reg) { return reg == SIM_REGISTERS - 1; }

static uint64_t token_of(const struct agi_result *res, uint32_t reg)
{
	uint64_t token = 0;

	if (!res->found && res->kind == AGI_CALL_GET)
		return 0;
	if (!is_counter(reg))
		return value_of(res);
	for (size_t i = 0; i < res->value.n; i++)
		token = token * 10 + (uint64_t)(res->value.p[i] - '0');
	return token;
}

static void learn_version(struct sim_world *w, uint32_t reg, const struct agi_version *v, uint64_t token)
{
	struct sim_register *r = &w->reg[reg];
	size_t last = r->n_seen % RECENT;

	sim_names_learn(w, "register", reg, v, token);
	if (r->n_seen && r->seen[(r->n_seen - 1) % RECENT].version == v->hlc)
		return;
	r->seen[last].version = v->hlc;
	r->seen[last].token = token;
	r->n_seen++;
}

/* Did the call certainly do nothing? */
static bool is_without_effect(enum agi_err err)
{
	return err != AGI_OK && err != AGI_E_NOT_FOUND && err != AGI_E_CONDITION && err != AGI_E_UNKNOWN_OUTCOME;
}

static void take_strong(struct sim_world *w, const struct sim_call *c, const struct agi_result *res)
{
	struct lin_op *op = &w->reg[c->key].history.op[c->op];
	uint64_t token = token_of(res, c->key);

	w->stats.strong++;
	w->stats.strong_condition += res->err == AGI_E_CONDITION;
	if (res->err == AGI_E_UNKNOWN_OUTCOME) {
		w->stats.strong_unknown++;
		return; /* stays pending */
	}
	if (is_without_effect(res->err)) {
		sim_say(w, "call %" PRIu64 " at node %u, register %u: %s", c->id, c->node, c->key, res->why.text);
		w->stats.strong_failed++;
		op->kind = LIN_NONE;
		return;
	}
	if (c->outcome)
		*c->outcome = 1;
	op->end = w->now_us;
	if (op->kind == LIN_GET || op->kind == LIN_ADD)
		op->result = token;
	else if (op->kind == LIN_DELETE)
		op->result = res->found;
	else if (op->kind == LIN_CAS)
		op->result = res->err == AGI_OK;
	op->saw = res->found ? token : 0;
	op->version = res->version.hlc;
	if (op->kind == LIN_GET && res->found)
		learn_version(w, c->key, &res->version, token);
	else if (op->kind == LIN_PUT || (op->kind == LIN_CAS && res->err == AGI_OK))
		learn_version(w, c->key, &res->version, op->arg);
}

static enum agi_call_kind call_of(enum lin_kind kind)
{
	switch (kind) {
	case LIN_PUT:
		return AGI_CALL_PUT;
	case LIN_DELETE:
		return AGI_CALL_DELETE;
	case LIN_CAS:
		return AGI_CALL_CAS;
	case LIN_ADD:
		return AGI_CALL_ADD;
	default:
		return AGI_CALL_GET;
	}
}

static void start_strong(struct sim_world *w, struct sim_node *n, struct sim_call *c, enum lin_kind kind,
                         uint32_t timeout_ms)
{
	struct sim_register *r = &w->reg[c->key];
	struct agi_call call = {.kind = call_of(kind), .level = AGI_LEVEL_STRONG, .timeout_ms = timeout_ms};
	uint64_t expected = 0;

	c->is_strong = true;
	c->value = new_value(w, c->key);
	if (kind == LIN_ADD)
		c->value = (uint64_t)(call.delta = (int64_t)1 << r->n_adds++);
	if (kind == LIN_CAS && r->n_seen && agi_prng_below(&w->prng, 4)) {
		size_t i = (r->n_seen - 1 - agi_prng_below(&w->prng, r->n_seen < 3 ? r->n_seen : 3)) % RECENT;

		call.expected = r->seen[i].version;
		expected = r->seen[i].token;
	}
	c->op = lin_begin(&r->history, kind, c->value, expected, w->now_us);
	if (c->op >= 0) {
		start_call(w, n, c, &call);
		return;
	}
	if (c->outcome)
		*c->outcome = 1; /* its history is full: it will be checked as it is */
	free(c);
}

/* A few additions are left for the end. */
static bool may_add(const struct sim_world *w, uint32_t reg)
{
	return w->reg[reg].n_adds < (w->now_us < w->end_us ? ADDS_MAX - 8 : ADDS_MAX);
}

static void strong_step(struct sim_world *w, struct sim_node *n)
{
	uint32_t n_regs = w->cfg.n_registers ? w->cfg.n_registers : SIM_REGISTERS;
	struct sim_call *c = new_call(SIM_REGISTERS - 1 - (uint32_t)agi_prng_below(&w->prng, n_regs));
	uint64_t dice = agi_prng_below(&w->prng, 10);
	enum lin_kind kind = is_counter(c->key) ? (dice < 6 && may_add(w, c->key) ? LIN_ADD : LIN_GET)
	                     : dice < 3         ? LIN_PUT
	                     : dice < 6         ? LIN_GET
	                     : dice < 7         ? LIN_DELETE
	                                        : LIN_CAS;

	start_strong(w, n, c, kind, (uint32_t)sim_between(w, 200, 3000));
}

void sim_client_final_strong(struct sim_world *w, uint32_t reg, uint32_t node, int *outcome)
{
	static const enum lin_kind kinds[] = {LIN_GET, LIN_PUT, LIN_CAS, LIN_DELETE, LIN_GET};
	struct sim_call *c = new_call(reg);
	enum lin_kind kind = is_counter(reg) ? (may_add(w, reg) ? LIN_ADD : LIN_GET)
	                                     : kinds[agi_prng_below(&w->prng, 5)];

	c->outcome = outcome;
	start_strong(w, &w->node[node], c, kind, 4000);
}

/* --- both --------------------------------------------------------------------------------------------------- */

void sim_client_reply(struct sim_node *n, uint64_t call_id, const struct agi_result *res)
{
	struct sim_world *w = n->w;
	struct sim_call *c = take_call(w, call_id);

	if (!c) {
		sim_fail(w, "a second reply to call %" PRIu64, call_id);
		return;
	}
	if (c->is_strong)
		take_strong(w, c, res);
	else
		take_eventual(w, c, res);
	free(c);
}

void sim_client_step(struct sim_world *w)
{
	struct sim_node *n = &w->node[agi_prng_below(&w->prng, w->cfg.nodes)];
	uint64_t pause_us = sim_between(w, 2000, w->cfg.load_us ? w->cfg.load_us : 40000);

	if (w->now_us + pause_us < w->end_us)
		sim_push(w, w->now_us + pause_us, SIM_CLIENT, 0);
	if (!n->dht || n->paused_until > w->now_us)
		return;
	if (agi_prng_below(&w->prng, 100) < w->cfg.strong_percent)
		strong_step(w, n);
	else
		eventual_step(w, n);
}
