/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/nearest.h"

#include <stdlib.h>

#include "dht/inner.h"

struct candidate {
	struct agi_candidate c;      /* c.instance.provider = &provider */
	struct agi_provider provider; /* its strings lie in text, or are the search's */
	char address[AGI_ADDRESS_MAX + 1];
	uint32_t expected_us;        /* what it is sorted by */
	bool is_new;                 /* never measured: the answer to its first probe may hold the making of a link */
	uint64_t rpc, asked_us;      /* 0 = no probe in flight */
	bool has_answered;
};

struct agi_nearest {
	struct agi_dht *d;
	uint64_t call_id, inner;
	char service[AGI_SERVICE_NAME_MAX + 1];
	struct agi_str name;
	struct candidate *cand;      /* the usable ones first, nearest first */
	uint32_t n, n_usable, n_asked, n_open;
	uint64_t started_us, round_us;
	struct agi_timer due;
	TAILQ_ENTRY(agi_nearest) entry;
};

static void end(struct agi_nearest *s)
{
	struct agi_dht *d = s->d;

	agi_inner_cancel(d, s->inner);
	for (uint32_t i = 0; i < s->n; i++)
		agi_rpc_cancel(d, s->cand[i].rpc);
	agi_timer_clear(&d->timers, &s->due);
	TAILQ_REMOVE(&d->nearests.open, s, entry);
	d->nearests.n--;
	free(s->cand);
	free(s);
}

/* --- who comes into question ----------------------------------------------------------------------------- */

/* A record as it is weighed, before those that count are copied. */
struct weighed {
	const struct agi_record *r;
	enum agi_choice verdict;
	uint32_t measured_us, estimate_us, expected_us;
	bool is_new;
};

static struct weighed weigh(const struct agi_dht *d, const struct agi_record *r, bool is_stale)
{
	struct weighed w = {.r = r, .verdict = agi_discover_judge(d, r, is_stale), .measured_us = UINT32_MAX};
	const struct agi_host *h = agi_hosts_find((struct agi_dht *)d, &r->node);
	const struct agi_coord *coord = h && h->latency.has_coord ? &h->latency.coord
	                                : r->p.has_coord          ? &r->p.coord
	                                                          : NULL;

	w.estimate_us = agi_latency_estimate_us(d, coord);
	w.is_new = !h || h->latency.n == 0;
	if (agi_id_eq(&r->node, &d->self.id))
		w.measured_us = w.estimate_us = 0;
	else if (h && agi_latency_is_fresh(d, &h->latency))
		w.measured_us = agi_latency_measured_us(&h->latency);
	w.expected_us = w.measured_us != UINT32_MAX ? w.measured_us : w.estimate_us;
	return w;
}

static int by_expectation(const void *a, const void *b)
{
	const struct weighed *x = a, *y = b;
	bool x_can = x->verdict == AGI_CHOICE_NOT_MEASURED, y_can = y->verdict == AGI_CHOICE_NOT_MEASURED;
	int c;

	if (x_can != y_can)
		return x_can ? -1 : 1;
	if (x->expected_us != y->expected_us)
		return x->expected_us < y->expected_us ? -1 : 1;
	c = agi_id_cmp(&x->r->node, &y->r->node);
	return c ? c : agi_str_cmp(x->r->p.address, y->r->p.address);
}

static void copy(struct agi_nearest *s, struct candidate *to, const struct weighed *w, bool is_stale)
{
	size_t n = w->r->p.address.n < sizeof to->address ? w->r->p.address.n : sizeof to->address - 1;

	*to = (struct candidate){.provider = w->r->p, .expected_us = w->expected_us, .is_new = w->is_new};
	memcpy(to->address, w->r->p.address.p, n);
	to->provider.service = s->name;
	to->provider.address = (struct agi_str){to->address, n};
	to->c = (struct agi_candidate){.instance = {&to->provider, w->r->node, w->measured_us, is_stale},
	                               .estimate_us = w->estimate_us, .verdict = w->verdict};
}

static bool gather(struct agi_nearest *s)
{
	bool is_stale = false;
	const struct agi_records *rs = agi_discover_records(s->d, s->name, &is_stale);
	struct weighed *all = calloc((rs ? rs->n : 0) + 1, sizeof *all);
	struct agi_record *r, *tmp;
	uint32_t n = 0;

	if (!all)
		return false;
	if (rs)
		HASH_ITER(hh, rs->by_key, r, tmp)
			if (!r->p.is_withdrawn)
				all[n++] = weigh(s->d, r, is_stale);
	qsort(all, n, sizeof *all, by_expectation);
	s->n = n < AGI_NEAREST_CANDIDATES ? n : AGI_NEAREST_CANDIDATES;
	s->cand = calloc(s->n + 1, sizeof *s->cand);
	for (uint32_t i = 0; s->cand && i < s->n; i++) {
		copy(s, &s->cand[i], &all[i], is_stale);
		s->n_usable += all[i].verdict == AGI_CHOICE_NOT_MEASURED;
	}
	if (!s->cand)
		s->n = 0;
	free(all);
	return s->cand != NULL;
}

/* --- the decision ------------------------------------------------------------------------------------------ */

/* Round trips up to this are as good as this one. */
static uint64_t as_near_as(uint64_t us) { return us + us / 10 + AGI_NEAREST_SLACK_US; }

static uint32_t rtt_of(const struct candidate *c) { return c->c.instance.rtt_us; }

static const struct candidate *first_in(const struct agi_nearest *s)
{
	const struct candidate *best = NULL;

	for (uint32_t i = 0; i < s->n_usable; i++)
		if (s->cand[i].has_answered && (!best || rtt_of(&s->cand[i]) < rtt_of(best)))
			best = &s->cand[i];
	return best;
}

/* Loads within one quarter are the same. */
static uint32_t load_of(const struct candidate *c) { return c->provider.load_milli / 250; }

/* Of those as near as the nearest, the least loaded; of these the nearest. */
static struct candidate *choose(struct agi_nearest *s)
{
	const struct candidate *first = first_in(s);
	struct candidate *best = NULL;

	for (uint32_t i = 0; first && i < s->n_usable; i++) {
		struct candidate *c = &s->cand[i];

		if (!c->has_answered || rtt_of(c) > as_near_as(rtt_of(first)))
			continue;
		if (!best || load_of(c) < load_of(best) ||
		    (load_of(c) == load_of(best) && rtt_of(c) < rtt_of(best)))
			best = c;
	}
	return best;
}

static enum agi_choice verdict_on(const struct candidate *c, const struct candidate *chosen)
{
	if (c == chosen)
		return AGI_CHOICE_CHOSEN;
	if (c->has_answered)
		return load_of(c) > load_of(chosen) && rtt_of(c) <= as_near_as(rtt_of(chosen)) ? AGI_CHOICE_BUSIER
		                                                                                : AGI_CHOICE_FARTHER;
	return c->rpc ? AGI_CHOICE_SLOWER : c->c.verdict;
}

static void reply(struct agi_nearest *s)
{
	struct agi_candidate *out = calloc(s->n + 1, sizeof *out);
	struct agi_result res = {.kind = AGI_CALL_NEAREST, .candidates = out};
	struct candidate *chosen = choose(s);
	uint32_t n = 0;

	if (!out)
		res.err = AGI_E_NOMEM;
	for (uint32_t i = 0; i < s->n; i++)
		s->cand[i].c.verdict = verdict_on(&s->cand[i], chosen);
	if (out && chosen)
		out[n++] = chosen->c;
	for (uint32_t i = 0; out && i < s->n; i++)
		if (&s->cand[i] != chosen)
			out[n++] = s->cand[i].c;
	res.n_candidates = n;
	res.instances = chosen ? &chosen->c.instance : NULL;
	res.n_instances = chosen != NULL;
	agi_call_reply(s->d, s->call_id, &res);
	free(out);
	end(s);
}

/* --- probes ------------------------------------------------------------------------------------------------- */

static void go_on(struct agi_nearest *s);

static void note_rtt(struct agi_dht *d, struct candidate *c, const struct agi_msg *m)
{
	uint32_t us = (uint32_t)(d->now.mono_us - c->asked_us);
	struct agi_host *h = agi_hosts_find(d, &c->c.instance.node);

	if (h && m->kind == AGI_MSG_PONG)
		agi_latency_measured(d, h, m, us);
	if (us < c->c.instance.rtt_us)
		c->c.instance.rtt_us = us;
}

static void on_probe(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err, const struct agi_peer *from,
                     const struct agi_msg *m);

static bool ask(struct agi_nearest *s, uint32_t i)
{
	struct candidate *c = &s->cand[i];
	struct agi_peer to = agi_hosts_peer(s->d, &c->c.instance.node);
	struct agi_msg m = {.kind = AGI_MSG_PING};

	if (to.addr.port == 0)
		to.addr = c->provider.node_addr;
	agi_member_fill_ping(s->d, &m);
	c->asked_us = s->d->now.mono_us;
	c->rpc = agi_rpc_ask(s->d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_NEAREST_PROBE_MS, on_probe, s, i);
	s->n_open += c->rpc != 0;
	return c->rpc != 0;
}

static void on_probe(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err, const struct agi_peer *from,
                     const struct agi_msg *m)
{
	struct agi_nearest *s = arg;
	struct candidate *c = &s->cand[which];

	(void)from;
	c->rpc = 0;
	s->n_open--;
	if (err != AGI_OK) {
		c->c.verdict = AGI_CHOICE_SILENT;
		c->has_answered = false;
	} else {
		c->has_answered = true;
		c->c.is_probed = true;
		note_rtt(d, c, m);
		if (c->is_new) { /* the link is there now: once more, for the round trip alone */
			c->is_new = false;
			(void)ask(s, which);
		}
	}
	go_on(s);
}

static void probe_next(struct agi_nearest *s)
{
	uint32_t asked = 0;

	s->round_us = s->d->now.mono_us;
	while (s->n_asked < s->n_usable && asked < AGI_NEAREST_SHORTLIST) {
		struct candidate *c = &s->cand[s->n_asked++];

		asked++;
		if (agi_id_eq(&c->c.instance.node, &s->d->self.id))
			c->has_answered = c->c.is_probed = true;
		else if (!ask(s, s->n_asked - 1))
			c->c.verdict = AGI_CHOICE_SILENT;
	}
}

/* Is it worth more time? A link is being made, or it was nearer a moment ago and may only have been held up. */
static bool is_worth_waiting(const struct candidate *c, const struct candidate *first)
{
	return c->rpc && (c->is_new || c->has_answered || rtt_of(c) < rtt_of(first));
}

/* When what is open can no more be nearer than who has answered first. */
static uint64_t decided_us(const struct agi_nearest *s)
{
	const struct candidate *first = first_in(s);
	uint64_t wait = first ? as_near_as(rtt_of(first)) : (uint64_t)AGI_NEAREST_PROBE_MS * 1000;

	for (uint32_t i = 0; first && i < s->n_asked; i++)
		if (is_worth_waiting(&s->cand[i], first))
			return s->round_us + 4 * wait + 1000;
	return s->round_us + wait;
}

static void go_on(struct agi_nearest *s)
{
	struct agi_dht *d = s->d;
	bool is_timely = d->now.mono_us - s->started_us < (uint64_t)AGI_NEAREST_TOTAL_MS * 1000;

	if (s->n_open == 0 && !first_in(s) && is_timely)
		probe_next(s);
	/* the decision is made in its own event: who calls this may still use the search */
	agi_timer_set(&d->timers, &s->due, s->n_open == 0 ? d->now.mono_us : decided_us(s));
}

static void on_due(struct agi_dht *d, void *arg)
{
	struct agi_nearest *s = arg;

	(void)d;
	if (s->n_open > 0 && !first_in(s))
		return; /* every probe ends, and goes on then */
	if (s->n_open == 0 && !first_in(s) && s->n_asked < s->n_usable &&
	    d->now.mono_us - s->started_us < (uint64_t)AGI_NEAREST_TOTAL_MS * 1000)
		go_on(s);
	else
		reply(s);
}

/* This host's own instance, while it has time, is nearer than any other. */
static bool is_here(const struct agi_nearest *s)
{
	return s->n_usable > 0 && agi_id_eq(&s->cand[0].c.instance.node, &s->d->self.id) &&
	       s->cand[0].provider.load_milli < AGI_NEAREST_BUSY_MILLI;
}

static void on_discovered(struct agi_dht *d, void *arg, const struct agi_result *found)
{
	struct agi_nearest *s = arg;

	s->inner = 0;
	if (found->err || !gather(s)) {
		struct agi_result res = {.kind = AGI_CALL_NEAREST, .err = found->err ? found->err : AGI_E_NOMEM,
		                         .why = found->why};

		agi_call_reply(d, s->call_id, &res);
		end(s);
		return;
	}
	if (is_here(s))
		s->cand[0].has_answered = true;
	go_on(s);
}

/* --- the call ------------------------------------------------------------------------------------------------ */

static void cancel(struct agi_dht *d, void *op)
{
	(void)d;
	end(op);
}

static struct agi_nearest *new_search(struct agi_dht *d, uint64_t call_id, struct agi_str service)
{
	struct agi_nearest *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->d = d;
	s->call_id = call_id;
	s->started_us = d->now.mono_us;
	s->due = (struct agi_timer){.fn = on_due, .arg = s};
	memcpy(s->service, service.p, service.n);
	s->name = (struct agi_str){s->service, service.n};
	TAILQ_INSERT_TAIL(&d->nearests.open, s, entry);
	d->nearests.n++;
	return s;
}

void agi_nearest_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *c)
{
	struct agi_call discover = {.kind = AGI_CALL_DISCOVER, .service = c->service};
	struct agi_nearest *s;

	if (!agi_service_name_is_valid(c->service)) {
		agi_call_fail(d, call_id, c->kind, AGI_E_INVALID,
		              "a service name has 1 to 63 of a-z, 0-9 and '-', not '-' at an end");
		return;
	}
	if (d->nearests.n >= AGI_NEAREST_OPEN_MAX) {
		agi_call_fail(d, call_id, c->kind, AGI_E_FULL, "256 searches for a nearest instance are open: retry later");
		return;
	}
	s = new_search(d, call_id, c->service);
	if (!s) {
		agi_call_fail(d, call_id, c->kind, AGI_E_NOMEM, "");
		return;
	}
	if (agi_call_open(d, call_id, c->kind, s, cancel) != AGI_OK) {
		end(s);
		return;
	}
	s->inner = agi_inner_start(d, &discover, on_discovered, s);
	if (!s->inner) {
		end(s);
		agi_call_fail(d, call_id, c->kind, AGI_E_NOMEM, "");
	}
}

void agi_nearest_free(struct agi_dht *d)
{
	while (!TAILQ_EMPTY(&d->nearests.open))
		end(TAILQ_FIRST(&d->nearests.open));
}

const char *agi_choice_text(enum agi_choice v)
{
	static const char *const texts[AGI_CHOICES] = {
	    [AGI_CHOICE_CHOSEN] = "chosen",
	    [AGI_CHOICE_FARTHER] = "farther",
	    [AGI_CHOICE_BUSIER] = "as near, more load",
	    [AGI_CHOICE_SLOWER] = "slower to answer",
	    [AGI_CHOICE_NOT_MEASURED] = "not asked: farther by what is known",
	    [AGI_CHOICE_SILENT] = "no answer",
	    [AGI_CHOICE_DOWN] = "its host is down",
	    [AGI_CHOICE_UNHEALTHY] = "unhealthy",
	    [AGI_CHOICE_GHOST] = "of a run of its host that has ended",
	    [AGI_CHOICE_EXPIRED] = "not renewed in time",
	};

	return (unsigned)v < AGI_CHOICES ? texts[v] : "unknown";
}
