/* SPDX-License-Identifier: Apache-2.0
 * Iterative lookup (Kademlia 2.3): asks the α nearest candidates not asked yet, until the k nearest that
 * are alive have answered. Distance to a host is that of its nearest virtual node. */
#include <stdlib.h>

#include "dht/state.h"

enum candidate_state { CAND_IDLE, CAND_ASKED, CAND_DONE, CAND_FAILED };

struct candidate {
	struct agi_contact c;
	uint64_t distance;
	enum candidate_state state;
	uint32_t round;    /* learnt in; 1 = from our own table */
	uint32_t rtt_us;
	uint64_t asked_us, rpc;
};

struct agi_lookup {
	struct agi_dht *d;
	struct agi_id target;
	agi_lookup_fn *fn;
	void *arg;
	struct candidate cand[AGI_LOOKUP_MAX]; /* sorted by distance */
	uint32_t n;
	struct agi_hop hops[AGI_LOOKUP_MAX];
	uint32_t n_hops;
	struct agi_timer done; /* the result is delivered from the loop, never from start */
	TAILQ_ENTRY(agi_lookup) entry;
};

static void on_nodes(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m);

static struct candidate *find(struct agi_lookup *l, const struct agi_id *id)
{
	for (uint32_t i = 0; i < l->n; i++)
		if (agi_id_eq(&l->cand[i].c.id, id))
			return &l->cand[i];
	return NULL;
}

static void add(struct agi_lookup *l, const struct agi_contact *c, uint32_t round)
{
	uint32_t vnodes = agi_ring_vnodes(l->d->cfg.virtual_nodes, c->weight_milli);
	struct candidate fresh = {.c = *c, .round = round, .rtt_us = UINT32_MAX};
	uint32_t i;

	if (agi_id_is_zero(&c->id) || find(l, &c->id))
		return;
	fresh.distance = agi_ring_distance(&l->target, &c->id, vnodes);
	if (agi_id_eq(&c->id, &l->d->self.id))
		fresh.state = CAND_DONE; /* our own table is where we started */
	if (l->n == AGI_LOOKUP_MAX) {
		struct candidate *last = &l->cand[l->n - 1];

		if (last->distance <= fresh.distance || last->state == CAND_ASKED)
			return;
		l->n--;
	}
	for (i = l->n; i > 0 && l->cand[i - 1].distance > fresh.distance; i--)
		l->cand[i] = l->cand[i - 1];
	l->cand[i] = fresh;
	l->n++;
}

static void end(struct agi_lookup *l)
{
	for (uint32_t i = 0; i < l->n; i++)
		agi_rpc_cancel(l->d, l->cand[i].rpc);
	agi_timer_clear(&l->d->timers, &l->done);
	TAILQ_REMOVE(&l->d->lookups, l, entry);
	free(l);
}

static void deliver(struct agi_dht *d, void *arg)
{
	struct agi_lookup *l = arg;
	struct agi_contact nearest[AGI_K];
	size_t n = 0;

	for (uint32_t i = 0; i < l->n && n < AGI_K; i++)
		if (l->cand[i].state == CAND_DONE)
			nearest[n++] = l->cand[i].c;
	l->fn(d, l->arg, nearest, n, l->hops, l->n_hops);
	end(l);
}

static void ask(struct agi_lookup *l, struct candidate *c)
{
	struct agi_peer to = {c->c.id, c->c.addr};
	struct agi_msg m = {.kind = AGI_MSG_FIND_NODE, .target = l->target};

	c->state = CAND_ASKED;
	c->asked_us = l->d->now.mono_us;
	c->rpc = agi_rpc_ask(l->d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, on_nodes, l, 0);
	if (!c->rpc)
		c->state = CAND_FAILED;
}

/* Asks on, or finishes when the k nearest living candidates have answered. */
static void step(struct agi_lookup *l)
{
	uint32_t asked = 0, alive = 0;

	for (uint32_t i = 0; i < l->n; i++)
		asked += l->cand[i].state == CAND_ASKED;
	for (uint32_t i = 0; i < l->n && alive < AGI_K && asked < AGI_ALPHA; i++) {
		struct candidate *c = &l->cand[i];

		if (c->state == CAND_IDLE && c->round <= AGI_LOOKUP_HOPS_MAX) {
			ask(l, c);
			asked += c->state == CAND_ASKED;
		}
		alive += c->state == CAND_DONE || c->state == CAND_ASKED;
	}
	if (asked == 0)
		agi_timer_set(&l->d->timers, &l->done, l->d->now.mono_us);
}

static void record_hop(struct agi_lookup *l, const struct candidate *c)
{
	if (l->n_hops < AGI_LOOKUP_MAX)
		l->hops[l->n_hops++] = (struct agi_hop){c->c, c->rtt_us, c->round};
}

static struct candidate *find_rpc(struct agi_lookup *l, const struct agi_id *id)
{
	struct candidate *c = find(l, id);

	return c && c->state == CAND_ASKED ? c : NULL;
}

static void on_nodes(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_lookup *l = arg;
	struct candidate *c = find_rpc(l, &from->id);
	uint32_t round;

	(void)which;
	if (!c)
		return;
	c->rpc = 0;
	round = c->round + 1;
	if (err != AGI_OK || m->kind != AGI_MSG_NODES) {
		c->state = CAND_FAILED;
		record_hop(l, c);
		step(l);
		return;
	}
	c->state = CAND_DONE;
	c->rtt_us = (uint32_t)(d->now.mono_us - c->asked_us);
	record_hop(l, c);
	for (size_t i = 0; i < m->n_contacts; i++) {
		add(l, &m->contacts[i], round);
		agi_hosts_heard_of(d, &m->contacts[i]);
	}
	step(l);
}

struct agi_lookup *agi_lookup_start(struct agi_dht *d, const struct agi_id *target, agi_lookup_fn *fn,
                                    void *arg)
{
	const struct agi_contact *near[AGI_K];
	struct agi_lookup *l = calloc(1, sizeof *l);
	size_t n;

	if (!l)
		return NULL;
	l->d = d;
	l->target = *target;
	l->fn = fn;
	l->arg = arg;
	l->done.fn = deliver;
	l->done.arg = l;
	TAILQ_INSERT_TAIL(&d->lookups, l, entry);
	n = agi_hosts_nearest(d, target, near, AGI_K);
	for (size_t i = 0; i < n; i++)
		if (agi_hosts_is_up(d, &near[i]->id))
			add(l, near[i], 1);
	step(l);
	return l;
}

void agi_lookup_cancel(struct agi_lookup *l) { end(l); }

void agi_lookups_free(struct agi_dht *d)
{
	while (!TAILQ_EMPTY(&d->lookups))
		end(TAILQ_FIRST(&d->lookups));
}

void agi_lookup_on_find_node(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	const struct agi_contact *near[AGI_K];
	struct agi_contact out[AGI_K];
	struct agi_msg answer = {.kind = AGI_MSG_NODES, .contacts = out};
	size_t n = agi_hosts_nearest(d, &m->target, near, AGI_K);

	for (size_t i = 0; i < n; i++)
		if (agi_hosts_is_up(d, &near[i]->id))
			out[answer.n_contacts++] = *near[i];
	agi_answer(d, from, m, &answer);
}
