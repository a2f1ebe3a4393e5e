/* SPDX-License-Identifier: Apache-2.0 */
#include "faults.h"

#include <stdlib.h>

#include "clients.h"
#include "dht/reconf.h"
#include "dht/state.h"

enum { SECOND = 1000000 };

static bool may(const struct sim_world *w, enum sim_fault f) { return w->cfg.faults >> f & 1; }

static void restart_later(struct sim_world *w, uint32_t node, uint64_t least_us, uint64_t most_us)
{
	sim_push(w, w->now_us + sim_between(w, least_us, most_us), SIM_RESTART, node);
}

static void crash(struct sim_world *w, uint32_t node)
{
	if (!w->node[node].dht)
		return;
	sim_crash_node(w, node);
	if (sim_chance(w, 0.4)) /* before anybody misses it */
		restart_later(w, node, 1000, 200000);
	else
		restart_later(w, node, 100000, sim_chance(w, 0.1) ? 30 * SECOND : 4 * SECOND);
}

void sim_faults_store_crash(struct sim_world *w, uint32_t node)
{
	w->stats.store_crashes++;
	crash(w, node);
}

static void power_failure(struct sim_world *w)
{
	if (!sim_chance(w, 0.2))
		return;
	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		if (!w->node[i].dht)
			continue;
		sim_crash_node(w, i);
		restart_later(w, i, 100000, 3 * SECOND);
	}
}

/* --- the network ---------------------------------------------------------------------------------------- */

static void mend_network(struct sim_world *w) { memset(w->is_cut, 0, sizeof w->is_cut); }

static void cut(struct sim_world *w, bool is_one_way)
{
	uint64_t side = sim_chance(w, 0.3) ? (uint64_t)1 << agi_prng_below(&w->prng, w->cfg.nodes)
	                                   : agi_prng_u64(&w->prng);

	w->stats.partitions++;
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		for (uint32_t j = 0; j < w->cfg.nodes; j++)
			if ((side >> i & 1) && !(side >> j & 1)) {
				w->is_cut[i][j] = true;
				w->is_cut[j][i] |= !is_one_way;
			}
	sim_say(w, "partition %s", is_one_way ? "one way" : "both ways");
}

/* Who can talk to whom is not the same for all: each has its own idea of who lives. */
static void cut_pairs(struct sim_world *w)
{
	for (uint64_t n = sim_between(w, 1, w->cfg.nodes); n > 0; n--) {
		uint64_t i = agi_prng_below(&w->prng, w->cfg.nodes), j = agi_prng_below(&w->prng, w->cfg.nodes);

		w->is_cut[i][j] = true;
		w->is_cut[j][i] |= sim_chance(w, 0.7);
	}
	w->stats.partitions++;
}

/* --- disks ------------------------------------------------------------------------------------------------ */

/* The record of a slot on a stopped node's disk. */
static uint64_t stored_epoch(const struct sim_node *n, uint32_t slot, enum agi_view_phase *phase)
{
	uint8_t key[4] = {(uint8_t)(slot >> 24), (uint8_t)(slot >> 16), (uint8_t)(slot >> 8), (uint8_t)slot};
	struct agi_str record;
	struct agi_cur c;

	if (!sim_disk_find(&n->disk, AGI_CF_VIEWS, (struct agi_str){(const char *)key, 4}, &record))
		return 0;
	c = agi_cur_of(record);
	(void)agi_cur_u8(&c); /* version */
	*phase = (enum agi_view_phase)agi_cur_u8(&c);
	return agi_cur_u64(&c);
}

static bool has_majority_without(struct sim_world *w, const struct agi_view *v, uint32_t node)
{
	uint32_t there = 0;

	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		there += i != node && agi_view_has(v, &w->node[i].id);
	return there >= agi_majority(v->n_members);
}

/* What is proposed may be chosen whatever becomes of those it names. */
static bool is_needed_next(struct sim_world *w, uint32_t node, const struct agi_view *v)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		const struct sim_node *n = &w->node[i];
		const struct agi_slot *s = n->dht ? agi_slot_find(n->dht, v->slot) : NULL;
		enum agi_view_phase phase;

		if (!n->dht && stored_epoch(n, v->slot, &phase) == v->epoch && phase == AGI_VIEW_SEALED)
			return true; /* it accepted something */
		if (!s || s->view.epoch != v->epoch)
			continue;
		if (s->accepted.round && !has_majority_without(w, &s->proposal, node))
			return true;
		if (s->reconf && agi_reconf_kind(s) == AGI_WORK_PROPOSE && !has_majority_without(w, &s->reconf->next, node))
			return true;
	}
	return false;
}

/* Does the slot survive without this node? Its newest view must keep a majority that holds everything, and the
 * next one, which may name this node before its loss is known, must not need it: views of three or more, and what is
 * being proposed. More than that cannot be asked of any design. */
static bool is_dispensable(struct sim_world *w, uint32_t node, uint32_t slot)
{
	struct agi_view v = {.epoch = 0}, x;
	enum agi_view_phase phase;
	uint32_t whole = 0;

	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (w->node[i].dht && agi_dht_slot(w->node[i].dht, slot, &x, &phase) && x.epoch > v.epoch)
			v = x;
	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		uint64_t epoch = stored_epoch(&w->node[i], slot, &phase);

		if (epoch > v.epoch)
			return false; /* a stopped node knows more */
		whole += i != node && agi_view_has(&v, &w->node[i].id) && epoch == v.epoch &&
		         (phase == AGI_VIEW_ACTIVE || phase == AGI_VIEW_SEALED);
	}
	return v.epoch > 0 && v.n_members >= 3 && whole >= agi_majority(v.n_members) && !is_needed_next(w, node, &v);
}

static bool holds(const struct sim_node *n, const struct agi_buf *key, const struct agi_version *v)
{
	uint8_t version[AGI_VERSION_BYTES];
	struct agi_str stored;

	agi_version_encode(version, v);
	return sim_disk_find(&n->disk, AGI_CF_ITEMS, agi_buf_str(key), &stored) &&
	       memcmp(stored.p, version, sizeof version) >= 0;
}

/* A write acknowledged at level one may have been on this disk only: then it is lost, as announced. One at
 * quorum must not. */
static void forget_what_was_only_there(struct sim_world *w, uint32_t node)
{
	for (uint32_t k = 0; k < SIM_KEYS; k++) {
		struct sim_key *key = &w->key[k];
		bool has_any = false;
		struct agi_buf b;

		agi_buf_init(&b, 0);
		sim_item_key(w, k, &b);
		for (uint32_t i = 0; i < w->cfg.nodes; i++)
			has_any |= i != node && holds(&w->node[i], &b, &key->any.version);
		agi_buf_free(&b);
		if (!has_any)
			key->any = key->safe;
	}
}

static void wipe(struct sim_world *w, uint32_t node)
{
	for (uint32_t s = 0; s < 1u << w->cfg.slot_bits; s++)
		if (!is_dispensable(w, node, s))
			return;
	forget_what_was_only_there(w, node);
	sim_wipe_node(w, node);
	restart_later(w, node, 100000, 5 * SECOND);
}

/* It works until then; the node is restarted with a new controller, the same disk behind it. */
static void break_disk(struct sim_world *w, struct sim_node *n)
{
	if (n->disk.is_failing || !n->dht)
		return;
	n->disk.is_failing = true;
	n->disk.writes_left = (uint32_t)agi_prng_below(&w->prng, 30);
	w->stats.bad_disks++;
	sim_say(w, "node %u: the disk fails after %u writes", n->index, n->disk.writes_left);
}

/* --- clocks -------------------------------------------------------------------------------------------------- */

/* Mostly within max_skew, sometimes far beyond it. */
static void jump_clock(struct sim_world *w, struct sim_node *n)
{
	int64_t most = sim_chance(w, 0.2) ? 600000 : 2000;

	n->skew_ms = (int64_t)sim_between(w, 0, 2 * (uint64_t)most) - most;
	w->stats.clock_jumps++;
	sim_say(w, "node %u: the wall clock is %+lld ms off", n->index, (long long)n->skew_ms);
}

/* --- operators --------------------------------------------------------------------------------------------------- */

static void move(struct sim_world *w, struct sim_node *n)
{
	static const uint32_t weights[] = {250, 1000, 1000, 3000};
	static const char *const zones[] = {"", "z1", "z2", "z3"};

	sim_set_place(n, weights[agi_prng_below(&w->prng, 4)], zones[agi_prng_below(&w->prng, 4)]);
}

/* One that has left has handed everything over: its disk is not needed, and a new node takes its place. */
static void replace_left(struct sim_world *w)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		struct agi_dht_status st = {.is_left = false};

		if (w->node[i].dht)
			agi_dht_status(w->node[i].dht, &st);
		if (!st.is_left)
			continue;
		w->stats.left++;
		sim_wipe_node(w, i);
		w->stats.wipes--;
		restart_later(w, i, 1000, SECOND);
	}
}

void sim_faults_restaff(struct sim_world *w)
{
	replace_left(w);
	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		struct agi_dht_status st = {.is_drained = false};

		if (w->node[i].dht)
			agi_dht_status(w->node[i].dht, &st);
		if (st.is_drained || st.is_leaving)
			sim_order(&w->node[i], AGI_CALL_UNDRAIN);
	}
}

/* --- steps ----------------------------------------------------------------------------------------------------- */

static void change_weather(struct sim_world *w)
{
	w->drop = may(w, SIM_DROP) && sim_chance(w, 0.5) ? agi_prng_unit(&w->prng) * 0.2 : 0;
	w->slow_us = may(w, SIM_DELAY) && sim_chance(w, 0.5) ? sim_between(w, 1000, 1500000) : 0;
	w->refuse_sends = may(w, SIM_REFUSE) && sim_chance(w, 0.3) ? 0.05 : 0;
	w->duplicate = may(w, SIM_DUPLICATE) && sim_chance(w, 0.7) ? 0.03 : 0;
	w->store_crash = may(w, SIM_STORE_CRASH) && sim_chance(w, 0.7) ? 0.001 : 0;
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		w->node[i].disk_slow_us =
		    may(w, SIM_SLOW_DISK) && sim_chance(w, 0.3) ? sim_between(w, 5000, 400000) : 0;
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		w->node[i].disk.bad_reads = may(w, SIM_BAD_READ) && sim_chance(w, 0.2) ? 0.005 : 0;
}

static void do_fault(struct sim_world *w, enum sim_fault f, uint32_t victim)
{
	struct sim_node *n = &w->node[victim];

	switch (f) {
	case SIM_CRASH:
		crash(w, victim);
		break;
	case SIM_POWER:
		power_failure(w);
		break;
	case SIM_PARTITION:
	case SIM_ONE_WAY:
		cut(w, f == SIM_ONE_WAY);
		break;
	case SIM_RIVALS:
		for (uint64_t i = sim_between(w, 1, 4); i > 0; i--)
			sim_rivals_propose(w);
		break;
	case SIM_PAIRS:
		cut_pairs(w);
		break;
	case SIM_PLACE:
		move(w, n);
		break;
	case SIM_DRAIN:
		if (n->dht)
			sim_order(n, sim_chance(w, 0.6) ? AGI_CALL_DRAIN : AGI_CALL_UNDRAIN);
		break;
	case SIM_LEAVE:
		if (n->dht && sim_chance(w, 0.5))
			sim_order(n, AGI_CALL_LEAVE);
		break;
	case SIM_WIPE:
		wipe(w, victim);
		break;
	case SIM_BAD_DISK:
		break_disk(w, n);
		break;
	case SIM_CLOCK_JUMP:
		jump_clock(w, n);
		break;
	case SIM_CLOCK_RATE:
		sim_set_clock_rate(n, sim_between(w, 900000, 1100000));
		break;
	case SIM_PAUSE:
		if (n->dht)
			sim_pause_node(w, victim, w->now_us + sim_between(w, 10000, 8 * SECOND));
		break;
	default:
		change_weather(w);
		break;
	}
}

static bool is_read_only(const struct sim_node *n)
{
	struct agi_dht_status st = {.is_read_only = false};

	if (n->dht)
		agi_dht_status(n->dht, &st);
	return st.is_read_only;
}

/* What was broken is repaired somewhere. */
static void mend(struct sim_world *w, uint32_t victim)
{
	mend_network(w);
	if (is_read_only(&w->node[victim]))
		crash(w, victim); /* restarted after its disk was seen to */
}

void sim_faults_step(struct sim_world *w)
{
	uint64_t next = w->now_us + sim_between(w, 50000, w->cfg.fault_us ? w->cfg.fault_us : 2 * SECOND);
	uint32_t victim = (uint32_t)agi_prng_below(&w->prng, w->cfg.nodes);
	enum sim_fault f = (enum sim_fault)agi_prng_below(&w->prng, SIM_FAULT_COUNT);

	if (next < w->end_us)
		sim_push(w, next, SIM_FAULT, 0);
	replace_left(w);
	if (sim_chance(w, 0.25)) {
		mend(w, victim);
		return;
	}
	for (int i = 0; i < SIM_FAULT_COUNT && !may(w, f); i++)
		f = (f + 1) % SIM_FAULT_COUNT;
	if (may(w, f))
		do_fault(w, f, victim);
}

void sim_faults_begin(struct sim_world *w)
{
	uint64_t first_us = w->now_us + (may(w, SIM_EARLY) ? sim_between(w, 10000, 3000000) : 2500000);

	for (uint32_t i = 0; i < w->cfg.nodes && may(w, SIM_CLOCK_RATE); i++)
		w->node[i].clock.rate_ppm = sim_between(w, 950000, 1050000);
	if (may(w, SIM_EARLY)) {
		change_weather(w);
		w->store_crash = may(w, SIM_STORE_CRASH) ? 0.05 : 0; /* until the first step: the founding is short */
	}
	if (w->cfg.faults)
		sim_push(w, first_us, SIM_FAULT, 0);
}

void sim_faults_end(struct sim_world *w)
{
	mend_network(w);
	w->drop = w->duplicate = w->refuse_sends = w->store_crash = 0;
	w->slow_us = 0;
	for (uint32_t i = 0; i < w->cfg.nodes && !w->failure[0]; i++) {
		struct sim_node *n = &w->node[i];

		n->skew_ms = 0;
		n->disk_slow_us = 0;
		n->paused_until = 0;
		n->disk.bad_reads = 0;
		if (n->disk.is_failing || is_read_only(n))
			sim_crash_node(w, i);
		n->disk.is_failing = n->disk.is_read_only = false;
		if (!n->dht)
			sim_start_node(w, i);
	}
}
