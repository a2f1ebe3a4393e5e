/* SPDX-License-Identifier: Apache-2.0
 * Is a host dead that does not answer, or out of this node's reach, or is it this node that is slow?
 *
 * Others are asked before anybody is called dead (after Das, Gupta, Motivala: SWIM, 2002): up to three hosts that are up
 * probe it for us. Each tells it who misses it, so that it shows itself to us at once by its own way.
 *
 * A node doubts itself first (after Dadgar, Phillips, Currey: Lifeguard, 2017): while its timers are late or those it asks
 * say nothing, its probes wait longer; a probe in whose time it stood still counts for nothing. Both are
 * bounded, so that a host that is dead is found to be all the same. */
#include <stdlib.h>

#include "dht/state.h"

enum { DRAWS = 16 }; /* of the ring, to find the few that are asked */

/* Others asked about one host; freed when one has reached it or all have answered. */
struct agi_inquiry {
	struct agi_host *h;
	uint64_t rpc[AGI_INDIRECT];
	struct agi_id who[AGI_INDIRECT];
	uint32_t n, waiting;
};

/* A probe made for another host. */
struct agi_relay {
	struct agi_peer asker;
	uint64_t asked; /* its request */
	LIST_ENTRY(agi_relay) entry;
};

/* --- own health ---------------------------------------------------------------------------------- */

static void worse(struct agi_dht *d)
{
	if (d->hosts.health < AGI_HEALTH_MAX)
		d->hosts.health++;
}

void agi_health_look(struct agi_dht *d)
{
	uint64_t due = agi_timers_next(&d->timers);

	if (!d->is_started || due == AGI_NEVER || due == d->hosts.stall_due_us ||
	    d->now.mono_us < due + AGI_STALL_MS * 1000)
		return;
	d->hosts.stall_due_us = due;
	d->hosts.stalled_us = d->now.mono_us;
	worse(d);
}

void agi_health_answered(struct agi_dht *d)
{
	if (d->hosts.health > 0)
		d->hosts.health--;
}

bool agi_health_is_doubtful(const struct agi_dht *d)
{
	return d->hosts.suspect > 1 && d->hosts.suspect > d->hosts.up;
}

void agi_health_missed(struct agi_dht *d)
{
	if (agi_health_is_doubtful(d))
		worse(d);
}

bool agi_health_excuses(struct agi_host *h)
{
	if (h->excused >= AGI_STALLS_EXCUSED || h->d->hosts.stalled_us <= h->asked_us)
		return false;
	h->excused++;
	return true;
}

uint32_t agi_health_timeout_ms(const struct agi_dht *d, uint32_t ms) { return ms * (1u + d->hosts.health); }

/* --- asking others -------------------------------------------------------------------------------- */

void agi_suspect_cancel(struct agi_host *h)
{
	struct agi_inquiry *q = h->inquiry;

	h->inquiry = NULL;
	h->vouch = AGI_VOUCH_UNKNOWN;
	for (uint32_t i = 0; q && i < q->n; i++)
		agi_rpc_cancel(h->d, q->rpc[i]);
	free(q);
}

static void conclude(struct agi_inquiry *q, enum agi_vouch vouch)
{
	struct agi_host *h = q->h;

	agi_suspect_cancel(h);
	h->vouch = vouch;
	agi_hosts_inquired(h);
}

static void on_reached(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                       const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_inquiry *q = arg;

	(void)from;
	q->rpc[which] = 0;
	q->waiting--;
	if (err == AGI_E_TIMEOUT)
		worse(d); /* it was up: who tells us nothing may have told us, had we listened */
	if (err == AGI_OK && m->kind == AGI_MSG_REACHED && m->status == AGI_OK)
		conclude(q, AGI_VOUCH_YES);
	else if (q->waiting == 0)
		conclude(q, AGI_VOUCH_NO);
}

static bool is_asked(const struct agi_inquiry *q, const struct agi_id *id)
{
	for (uint32_t i = 0; i < q->n; i++)
		if (agi_id_eq(&q->who[i], id))
			return true;
	return false;
}

static struct agi_host *draw(const struct agi_inquiry *q)
{
	struct agi_dht *d = q->h->d;
	const struct agi_ring *r = &d->hosts.ring;
	struct agi_host *x;

	if (r->n == 0)
		return NULL;
	x = agi_hosts_find(d, &r->points[agi_prng_below(&d->prng, r->n)].host->id);
	return x && x != q->h && x->state == AGI_MEMBER_UP && x->lost == 0 && !is_asked(q, &x->c.id) ? x : NULL;
}

static void ask_one(struct agi_inquiry *q, const struct agi_host *x)
{
	struct agi_dht *d = q->h->d;
	struct agi_peer to = {x->c.id, x->c.addr};
	struct agi_msg m = {.kind = AGI_MSG_PING_REQ, .target = q->h->c.id};

	q->who[q->n] = x->c.id;
	q->rpc[q->n] = agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m,
	                           agi_health_timeout_ms(d, AGI_INDIRECT_TIMEOUT_MS), on_reached, q, q->n);
	if (q->rpc[q->n]) {
		q->n++;
		q->waiting++;
	}
}

void agi_suspect_ask(struct agi_host *h)
{
	struct agi_inquiry *q;

	if (h->inquiry)
		return;
	if (!(q = calloc(1, sizeof *q))) {
		h->vouch = AGI_VOUCH_NO;
		return;
	}
	q->h = h;
	for (int i = 0; i < DRAWS && q->n < AGI_INDIRECT; i++) {
		struct agi_host *x = draw(q);

		if (x)
			ask_one(q, x);
	}
	if (q->n > 0) {
		h->inquiry = q;
		return;
	}
	free(q);
	h->vouch = AGI_VOUCH_NO;
}

/* --- asked by others ------------------------------------------------------------------------------ */

static void tell(struct agi_dht *d, const struct agi_peer *asker, uint64_t rpc_id, enum agi_err status)
{
	struct agi_msg out = {.kind = AGI_MSG_REACHED, .status = status};

	agi_answer_on(d, AGI_TRAFFIC_CONTROL, asker, rpc_id, &out);
}

static void forget_relay(struct agi_dht *d, struct agi_relay *r)
{
	LIST_REMOVE(r, entry);
	d->hosts.n_relays--;
	free(r);
}

static void on_relayed(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                       const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_relay *r = arg;

	(void)which, (void)from;
	tell(d, &r->asker, r->asked, err == AGI_OK && m->kind != AGI_MSG_PONG ? AGI_E_UNREACHABLE : err);
	forget_relay(d, r);
}

static enum agi_err relay(struct agi_dht *d, const struct agi_host *h, const struct agi_peer *asker, uint64_t asked)
{
	struct agi_peer to = {h->c.id, h->c.addr};
	struct agi_msg m = {.kind = AGI_MSG_PING, .target = asker->id};
	struct agi_relay *r;

	if (d->hosts.n_relays >= AGI_INDIRECT_MAX)
		return AGI_E_FULL;
	if (!(r = malloc(sizeof *r)))
		return AGI_E_NOMEM;
	*r = (struct agi_relay){.asker = *asker, .asked = asked};
	agi_member_fill_ping(d, &m);
	if (!agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_PING_TIMEOUT_MS, on_relayed, r, 0)) {
		free(r);
		return AGI_E_NOMEM;
	}
	LIST_INSERT_HEAD(&d->hosts.relays, r, entry);
	d->hosts.n_relays++;
	return AGI_OK;
}

/* Only hosts that it knows are probed, where it knows them: nobody can point it at an address. One that it misses
 * itself is not probed for others too. */
void agi_suspect_on_ping_req(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_host *h = agi_hosts_find(d, &m->target);
	enum agi_err err = AGI_E_UNREACHABLE;

	if (agi_id_eq(&m->target, &d->self.id)) {
		tell(d, from, m->rpc_id, AGI_OK);
		return;
	}
	if (h && h->state == AGI_MEMBER_UP && h->lost == 0)
		err = relay(d, h, from, m->rpc_id);
	if (err != AGI_OK)
		tell(d, from, m->rpc_id, err);
}

void agi_suspects_free(struct agi_dht *d)
{
	while (!LIST_EMPTY(&d->hosts.relays))
		forget_relay(d, LIST_FIRST(&d->hosts.relays));
}
