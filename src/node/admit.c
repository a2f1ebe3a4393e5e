/* SPDX-License-Identifier: Apache-2.0 */
#include "node/admit.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	COST_BASE = 512,       /* of any operation, beside its bytes */
	QUANTUM = 16 << 10,    /* cost a namespace may spend in its turn: about thirty small operations */
	RETRY_MIN_MS = 20,
	RETRY_MAX_MS = 5000,
	FRESH_PER_S = 1000     /* assumed before anything has ended */
};

struct agi_admit_ns {
	struct agi_str name;   /* in bytes */
	TAILQ_HEAD(agi_admit_queue, agi_admit_entry) queue;
	uint32_t queued, running;
	uint64_t queued_bytes, deficit;
	bool is_active;        /* on the list of those that wait */
	TAILQ_ENTRY(agi_admit_ns) active;
	UT_hash_handle hh;
	char bytes[];
};

struct agi_admit {
	struct agi_admit_cfg cfg;
	struct agi_admit_ns *by_name;
	TAILQ_HEAD(, agi_admit_ns) active; /* in the order of their turns */
	uint32_t n_active;
	uint64_t ended;        /* since the last tick */
	uint64_t per_tick_x16; /* smoothed */
	bool is_measured;
	struct agi_admit_stats stats;
};

enum agi_err agi_admit_new(const struct agi_admit_cfg *cfg, struct agi_admit **out)
{
	struct agi_admit *a = calloc(1, sizeof *a);

	if (!a)
		return AGI_E_NOMEM;
	a->cfg = *cfg;
	TAILQ_INIT(&a->active);
	*out = a;
	return AGI_OK;
}

void agi_admit_free(struct agi_admit *a)
{
	if (!a)
		return;
	assert(!a->by_name);
	free(a);
}

/* --- namespaces -------------------------------------------------------------------------------- */
static struct agi_admit_ns *find(const struct agi_admit *a, struct agi_str name)
{
	struct agi_admit_ns *ns;

	HASH_FIND(hh, a->by_name, name.n ? name.p : "", name.n, ns);
	return ns;
}

static struct agi_admit_ns *find_or_add(struct agi_admit *a, struct agi_str name)
{
	struct agi_admit_ns *ns = find(a, name);

	if (ns)
		return ns;
	ns = calloc(1, sizeof *ns + name.n + 1);
	if (!ns)
		return NULL;
	if (name.n)
		memcpy(ns->bytes, name.p, name.n);
	ns->name = (struct agi_str){ns->bytes, name.n};
	TAILQ_INIT(&ns->queue);
	HASH_ADD_KEYPTR(hh, a->by_name, ns->bytes, name.n, ns);
	if (!ns->hh.tbl) {
		free(ns);
		return NULL;
	}
	a->stats.namespaces++;
	return ns;
}

static void drop_if_idle(struct agi_admit *a, struct agi_admit_ns *ns)
{
	if (ns->queued || ns->running)
		return;
	HASH_DEL(a->by_name, ns);
	a->stats.namespaces--;
	free(ns);
}

static void activate(struct agi_admit *a, struct agi_admit_ns *ns)
{
	if (ns->is_active)
		return;
	ns->is_active = true;
	ns->deficit = 0;
	TAILQ_INSERT_TAIL(&a->active, ns, active);
	a->n_active++;
}

static void deactivate(struct agi_admit *a, struct agi_admit_ns *ns)
{
	if (!ns->is_active)
		return;
	ns->is_active = false;
	TAILQ_REMOVE(&a->active, ns, active);
	a->n_active--;
}

/* --- in and out ---------------------------------------------------------------------------------- */
static void run(struct agi_admit *a, struct agi_admit_entry *e)
{
	e->state = AGI_ADMIT_RUNNING;
	e->ns->running++;
	a->stats.running++;
	a->stats.running_bytes += e->cost;
	a->stats.admitted++;
}

static void queue(struct agi_admit *a, struct agi_admit_entry *e)
{
	struct agi_admit_ns *ns = e->ns;

	e->state = AGI_ADMIT_QUEUED;
	TAILQ_INSERT_TAIL(&ns->queue, e, link);
	ns->queued++;
	ns->queued_bytes += e->cost;
	a->stats.queued++;
	a->stats.queued_bytes += e->cost;
	activate(a, ns);
}

static void unqueue(struct agi_admit *a, struct agi_admit_entry *e)
{
	struct agi_admit_ns *ns = e->ns;

	TAILQ_REMOVE(&ns->queue, e, link);
	ns->queued--;
	ns->queued_bytes -= e->cost;
	a->stats.queued--;
	a->stats.queued_bytes -= e->cost;
	e->state = AGI_ADMIT_OUT;
	if (!ns->queued)
		deactivate(a, ns);
}

static bool has_room(const struct agi_admit *a)
{
	return a->stats.running < a->cfg.running_max && a->stats.running_bytes < a->cfg.running_bytes_max;
}

static bool is_full(const struct agi_admit *a, uint64_t cost)
{
	return a->stats.queued >= a->cfg.queued_max || a->stats.queued_bytes + cost > a->cfg.queued_bytes_max;
}

/* Who holds most of what is scarce: of the bytes when those have run out, else of the places. */
static struct agi_admit_ns *greediest(const struct agi_admit *a)
{
	bool by_bytes = a->stats.queued < a->cfg.queued_max;
	struct agi_admit_ns *ns, *most = NULL;

	TAILQ_FOREACH(ns, &a->active, active)
		if (!most || (by_bytes ? ns->queued_bytes > most->queued_bytes : ns->queued > most->queued))
			most = ns;
	return most;
}

/* The queue is full: the last of the greediest namespace makes room, if that leaves it with more than the
 * newcomer's has. */
static struct agi_admit_entry *push_out(struct agi_admit *a, const struct agi_admit_ns *for_ns, uint64_t cost)
{
	struct agi_admit_ns *most = greediest(a);
	bool by_bytes = a->stats.queued < a->cfg.queued_max; /* which bound is met */
	struct agi_admit_entry *last;

	if (!most || most == for_ns)
		return NULL;
	if (by_bytes ? most->queued_bytes <= for_ns->queued_bytes + cost : most->queued <= for_ns->queued + 1)
		return NULL;
	last = TAILQ_LAST(&most->queue, agi_admit_queue);
	if (by_bytes && a->stats.queued_bytes - last->cost + cost > a->cfg.queued_bytes_max)
		return NULL; /* it would lose its place for nothing */
	unqueue(a, last);
	a->stats.pushed_out++;
	return last;
}

static uint64_t per_s(const struct agi_admit *a)
{
	uint64_t v = a->per_tick_x16 * (1000 / AGI_ADMIT_TICK_MS) / 16;

	return a->is_measured ? (v ? v : 1) : FRESH_PER_S;
}

/* How long one that comes last in this namespace's queue will wait, about: namespaces take turns. */
static uint64_t wait_ms(const struct agi_admit *a, const struct agi_admit_ns *ns)
{
	uint64_t before = ns ? ns->queued : 0, turns = a->n_active ? a->n_active : 1;
	uint64_t ahead = before * turns < a->stats.queued ? before * turns : a->stats.queued;

	return (ahead + a->stats.running) * 1000 / per_s(a);
}

uint32_t agi_admit_retry_ms(const struct agi_admit *a, struct agi_str name)
{
	uint64_t ms = wait_ms(a, find(a, name));

	return ms < RETRY_MIN_MS ? RETRY_MIN_MS : ms > RETRY_MAX_MS ? RETRY_MAX_MS : (uint32_t)ms;
}

static enum agi_admit_verdict refuse(struct agi_admit *a, struct agi_admit_entry *e, uint64_t *counter,
                                     uint32_t *retry_ms)
{
	*retry_ms = agi_admit_retry_ms(a, e->ns->name);
	(*counter)++;
	drop_if_idle(a, e->ns);
	e->ns = NULL;
	return AGI_ADMIT_REFUSE;
}

enum agi_admit_verdict agi_admit_enter(struct agi_admit *a, struct agi_admit_entry *e, struct agi_str name,
                                       uint64_t bytes, uint32_t left_ms, uint64_t now_us,
                                       struct agi_admit_entry **pushed, uint32_t *retry_ms)
{
	*pushed = NULL;
	*e = (struct agi_admit_entry){.ns = find_or_add(a, name), .cost = bytes + COST_BASE, .since_us = now_us};
	if (!e->ns) {
		*retry_ms = RETRY_MAX_MS;
		a->stats.refused_full++;
		return AGI_ADMIT_REFUSE;
	}
	if (has_room(a) && !a->stats.queued) {
		run(a, e);
		return AGI_ADMIT_RUN;
	}
	if (wait_ms(a, e->ns) >= left_ms)
		return refuse(a, e, &a->stats.refused_late, retry_ms);
	if (is_full(a, e->cost))
		*pushed = push_out(a, e->ns, e->cost);
	if (is_full(a, e->cost))
		return refuse(a, e, &a->stats.refused_full, retry_ms);
	queue(a, e);
	return AGI_ADMIT_WAIT;
}

bool agi_admit_has_next(const struct agi_admit *a)
{
	return a->stats.queued && has_room(a);
}

/* The namespace whose turn it is and that can pay for its first. */
static struct agi_admit_ns *whose_turn(struct agi_admit *a)
{
	struct agi_admit_ns *ns;

	for (;;) {
		ns = TAILQ_FIRST(&a->active);
		if (ns->deficit >= TAILQ_FIRST(&ns->queue)->cost)
			return ns;
		ns->deficit += QUANTUM;
		TAILQ_REMOVE(&a->active, ns, active);
		TAILQ_INSERT_TAIL(&a->active, ns, active);
	}
}

struct agi_admit_entry *agi_admit_next(struct agi_admit *a, uint64_t now_us)
{
	struct agi_admit_entry *e;
	struct agi_admit_ns *ns;

	if (!agi_admit_has_next(a))
		return NULL;
	ns = whose_turn(a);
	e = TAILQ_FIRST(&ns->queue);
	ns->deficit -= e->cost;
	unqueue(a, e);
	run(a, e);
	a->stats.waited++;
	a->stats.wait_us += now_us > e->since_us ? now_us - e->since_us : 0;
	return e;
}

void agi_admit_leave(struct agi_admit *a, struct agi_admit_entry *e)
{
	struct agi_admit_ns *ns = e->ns;

	if (e->state == AGI_ADMIT_QUEUED) {
		unqueue(a, e);
	} else if (e->state == AGI_ADMIT_RUNNING) {
		ns->running--;
		a->stats.running--;
		a->stats.running_bytes -= e->cost;
		a->ended++;
	}
	e->state = AGI_ADMIT_OUT;
	e->ns = NULL;
	if (ns)
		drop_if_idle(a, ns);
}

void agi_admit_tick(struct agi_admit *a)
{
	/* an idle tick tells nothing of how fast a busy one would be */
	if (a->ended || a->stats.queued) {
		a->per_tick_x16 += a->ended * 4 - a->per_tick_x16 / 4;
		a->is_measured = true;
	}
	a->ended = 0;
}

void agi_admit_stats(const struct agi_admit *a, struct agi_admit_stats *out)
{
	*out = a->stats;
	out->per_s = a->per_tick_x16 * (1000 / AGI_ADMIT_TICK_MS) / 16;
}

void agi_admit_check(const struct agi_admit *a)
{
	uint32_t queued = 0, running = 0, active = 0;
	struct agi_admit_ns *ns, *tmp;
	uint64_t bytes = 0;

	HASH_ITER(hh, a->by_name, ns, tmp) {
		struct agi_admit_entry *e;
		uint32_t n = 0;

		TAILQ_FOREACH(e, &ns->queue, link) {
			assert(e->ns == ns && e->state == AGI_ADMIT_QUEUED);
			bytes += e->cost;
			n++;
		}
		assert(n == ns->queued && ns->is_active == (n > 0) && (n || ns->running));
		queued += n;
		running += ns->running;
		active += ns->is_active;
	}
	assert(queued == a->stats.queued && running == a->stats.running && active == a->n_active);
	assert(bytes == a->stats.queued_bytes);
	assert(queued <= a->cfg.queued_max && bytes <= a->cfg.queued_bytes_max);
	assert(running <= a->cfg.running_max);
}
