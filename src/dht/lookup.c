/* SPDX-License-Identifier: Apache-2.0
 * Iterative lookup (Kademlia 2.3) over disjoint paths (S/Kademlia, Baumgart and Mies 2007, 4.3). Distance to a host
 * is that of its nearest virtual node.
 *
 * The k nearest of our own table are dealt out to d paths. A host belongs to the path that named it first, and is
 * asked by that path only: a host that names its accomplices spoils its own path. Each path asks on until its
 * own nearest have answered, whatever the others found; and all of them together until the k nearest that
 * are alive have answered. In a cluster that is known whole this asks nobody a single path would not have asked. */
#include <stdlib.h>

#include "dht/state.h"

enum {
	PATH_CANDIDATES = 24, /* kept by each of several paths: the k nearest may all come by one of them */
	PATH_NEAREST = 3      /* a path ends when so many of its own nearest have answered */
};

enum candidate_state { CAND_IDLE, CAND_ASKED, CAND_DONE, CAND_FAILED };

struct candidate {
	struct agi_contact c;
	uint64_t distance;
	enum candidate_state state;
	uint8_t path;
	uint32_t round;    /* learnt in; 1 = from our own table */
	uint32_t rtt_us;
	uint64_t asked_us, rpc;
};

struct agi_lookup {
	struct agi_dht *d;
	struct agi_id target;
	agi_lookup_fn *fn;
	void *arg;
	uint32_t n_paths, per_path; /* candidates of one path at most */
	uint32_t n, n_of[AGI_LOOKUP_PATHS_MAX];
	uint32_t n_asks;
	struct agi_hop hops[AGI_LOOKUP_MAX];
	uint32_t n_hops;
	struct agi_timer done; /* the result is delivered from the loop, never from start */
	TAILQ_ENTRY(agi_lookup) entry;
	struct candidate cand[]; /* sorted by distance; room for n_paths * per_path */
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

/* The farthest of a full path makes room for one that is nearer, unless it is being asked. */
static bool make_room(struct agi_lookup *l, const struct candidate *fresh)
{
	uint32_t i = l->n;

	if (l->n_of[fresh->path] < l->per_path)
		return true;
	while (i > 0 && l->cand[i - 1].path != fresh->path)
		i--;
	if (i == 0 || l->cand[i - 1].distance <= fresh->distance || l->cand[i - 1].state == CAND_ASKED)
		return false;
	memmove(&l->cand[i - 1], &l->cand[i], (l->n - i) * sizeof *l->cand);
	l->n--;
	l->n_of[fresh->path]--;
	return true;
}

static void add(struct agi_lookup *l, const struct agi_contact *c, uint8_t path, uint32_t round)
{
	uint32_t vnodes = agi_ring_vnodes(l->d->cfg.virtual_nodes, c->weight_milli);
	struct candidate fresh = {.c = *c, .path = path, .round = round, .rtt_us = UINT32_MAX};
	uint32_t i;

	if (agi_id_is_zero(&c->id) || find(l, &c->id))
		return;
	fresh.distance = agi_ring_distance(&l->target, &c->id, vnodes);
	if (agi_id_eq(&c->id, &l->d->self.id))
		fresh.state = CAND_DONE; /* our own table is where we started */
	if (!make_room(l, &fresh))
		return;
	for (i = l->n; i > 0 && l->cand[i - 1].distance > fresh.distance; i--)
		l->cand[i] = l->cand[i - 1];
	l->cand[i] = fresh;
	l->n++;
	l->n_of[path]++;
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
	l->n_asks++;
	c->rpc = agi_rpc_ask(l->d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, on_nodes, l, 0);
	if (!c->rpc)
		c->state = CAND_FAILED;
}

/* What is asked now: in flight, in all and of each path. */
struct flight {
	uint32_t n, of[AGI_LOOKUP_PATHS_MAX];
};

static void ask_if_may(struct agi_lookup *l, struct candidate *c, struct flight *f)
{
	uint32_t at_once = l->n_paths > AGI_ALPHA ? l->n_paths : AGI_ALPHA;

	if (c->state != CAND_IDLE || c->round > AGI_LOOKUP_HOPS_MAX || f->n >= at_once ||
	    f->of[c->path] >= AGI_ALPHA || l->n_asks >= l->n_paths * l->per_path * 2)
		return;
	ask(l, c);
	f->n += c->state == CAND_ASKED;
	f->of[c->path] += c->state == CAND_ASKED;
}

static bool counts(const struct candidate *c) { return c->state == CAND_DONE || c->state == CAND_ASKED; }

/* Each path by itself: its nearest living ones. */
static void step_paths(struct agi_lookup *l, struct flight *f)
{
	uint32_t alive[AGI_LOOKUP_PATHS_MAX] = {0};

	for (uint32_t i = 0; i < l->n; i++) {
		struct candidate *c = &l->cand[i];

		if (alive[c->path] == PATH_NEAREST)
			continue;
		ask_if_may(l, c, f);
		alive[c->path] += counts(c);
	}
}

/* Asks on, or finishes when the k nearest living candidates, and the nearest of each path, have answered. */
static void step(struct agi_lookup *l)
{
	struct flight f = {0};
	uint32_t alive = 0;

	for (uint32_t i = 0; i < l->n; i++) {
		f.n += l->cand[i].state == CAND_ASKED;
		f.of[l->cand[i].path] += l->cand[i].state == CAND_ASKED;
	}
	if (l->n_paths > 1)
		step_paths(l, &f);
	for (uint32_t i = 0; i < l->n && alive < AGI_K; i++) {
		ask_if_may(l, &l->cand[i], &f);
		alive += counts(&l->cand[i]);
	}
	if (f.n == 0)
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
	uint8_t path;

	(void)which;
	if (!c)
		return;
	c->rpc = 0;
	round = c->round + 1;
	path = c->path;
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
		add(l, &m->contacts[i], path, round);
		agi_hosts_heard_of(d, &m->contacts[i]);
	}
	step(l);
}

static struct agi_lookup *new_lookup(struct agi_dht *d, uint32_t paths)
{
	uint32_t per_path = paths > 1 ? PATH_CANDIDATES : AGI_LOOKUP_MAX;
	struct agi_lookup *l = calloc(1, sizeof *l + (size_t)paths * per_path * sizeof *l->cand);

	if (!l)
		return NULL;
	l->d = d;
	l->n_paths = paths;
	l->per_path = per_path;
	return l;
}

static struct agi_lookup *start(struct agi_dht *d, uint32_t paths, const struct agi_id *target, agi_lookup_fn *fn,
                                void *arg)
{
	const struct agi_contact *near[AGI_K];
	struct agi_lookup *l = new_lookup(d, paths);
	uint32_t n_dealt = 0;
	size_t n;

	if (!l)
		return NULL;
	l->target = *target;
	l->fn = fn;
	l->arg = arg;
	l->done.fn = deliver;
	l->done.arg = l;
	TAILQ_INSERT_TAIL(&d->lookups, l, entry);
	n = agi_hosts_nearest(d, target, near, AGI_K);
	for (size_t i = 0; i < n; i++)
		if (agi_hosts_is_up(d, &near[i]->id))
			add(l, near[i], (uint8_t)(n_dealt++ % l->n_paths), 1);
	step(l);
	return l;
}

struct agi_lookup *agi_lookup_start(struct agi_dht *d, const struct agi_id *target, agi_lookup_fn *fn,
                                    void *arg)
{
	return start(d, d->cfg.lookup_paths, target, fn, arg);
}

struct agi_lookup *agi_lookup_start_plain(struct agi_dht *d, const struct agi_id *target, agi_lookup_fn *fn,
                                          void *arg)
{
	return start(d, 1, target, fn, arg);
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
