/* SPDX-License-Identifier: Apache-2.0
 * The hosts this node knows: probed, timed, and placed on the ring.
 *
 *             verified                lost 1 probe          lost 3, no other reaches it
 *   unknown ───────────▶ UP ─────────────────────────▶ SUSPECT ─────────────────▶ DOWN
 *                         ▲         answered              │ ▲    another reaches it │
 *                         ├───────────────────────────────┘ └───────────────────────┤
 *                         └─────────────────────────────────────────────────────────┘
 *
 * A suspect that lost 3 probes and that others reach is cut: nothing is asked of it from here, as if it were DOWN, but it
 * keeps its place. A host leaves the ring (its slots are given to others) only after down_after in DOWN, and when
 * others that are asked then do not reach it either. */
#include <assert.h>
#include <stdlib.h>

#include "dht/state.h"

enum {
	VERIFYING_MAX = 256,
	FIRST_PROBES_US = 125000, /* after a restart: near_hosts of those remembered at a time */
	LONG_DOWN = 30,         /* intervals after which a host that is down is looked for less often */
	REFUSED_MS = 1000       /* how long others are asked before a host whose disk takes no writes */
};

static void probe(struct agi_dht *d, void *arg);

struct agi_host *agi_hosts_find(struct agi_dht *d, const struct agi_id *id)
{
	struct agi_host *h;

	HASH_FIND(hh, d->hosts.by_id, id, sizeof *id, h);
	return h;
}

struct agi_peer agi_hosts_peer(struct agi_dht *d, const struct agi_id *id)
{
	struct agi_peer p = {.id = *id};
	struct agi_host *h;

	if (agi_id_eq(id, &d->self.id))
		p.addr = d->self.addr;
	else if ((h = agi_hosts_find(d, id)))
		p.addr = h->c.addr;
	return p;
}

static bool is_in_reach(const struct agi_host *h) { return h->state != AGI_MEMBER_DOWN && !h->is_cut; }

bool agi_hosts_is_up(const struct agi_dht *d, const struct agi_id *id)
{
	struct agi_host *h;

	if (agi_id_eq(id, &d->self.id))
		return true;
	HASH_FIND(hh, d->hosts.by_id, id, sizeof *id, h);
	return h && is_in_reach(h);
}

void agi_hosts_refused(struct agi_dht *d, const struct agi_id *id)
{
	struct agi_host *h;

	HASH_FIND(hh, d->hosts.by_id, id, sizeof *id, h);
	if (h)
		h->refuses_until_us = agi_after_ms(d, REFUSED_MS);
}

bool agi_hosts_is_refusing(const struct agi_dht *d, const struct agi_id *id)
{
	struct agi_host *h;

	if (agi_id_eq(id, &d->self.id))
		return d->is_read_only || d->is_low;
	HASH_FIND(hh, d->hosts.by_id, id, sizeof *id, h);
	return h && h->refuses_until_us > d->now.mono_us;
}

uint32_t agi_hosts_rtt(const struct agi_dht *d, const struct agi_id *id)
{
	struct agi_host *h;

	if (agi_id_eq(id, &d->self.id))
		return 0;
	HASH_FIND(hh, d->hosts.by_id, id, sizeof *id, h);
	return h ? h->srtt_us : UINT32_MAX;
}

size_t agi_hosts_nearest(const struct agi_dht *d, const struct agi_id *target,
                         const struct agi_contact **out, size_t max)
{
	return agi_ring_nearest(&d->hosts.ring, target, out, max);
}

static uint32_t *counter(struct agi_dht *d, enum agi_link_state s)
{
	return s == AGI_MEMBER_UP ? &d->hosts.up : s == AGI_MEMBER_SUSPECT ? &d->hosts.suspect
	                                                                    : &d->hosts.down;
}

static void changed(struct agi_dht *d)
{
	d->hosts.changed_us = d->now.mono_us;
	d->hosts.generation++;
	agi_reconf_wake(d, agi_after_ms(d, d->cfg.stable_ms));
}

/* A host that restarted before we missed it may have lost what it was told last (views not yet on its disk, or on
 * a disk that failed): slots are verified anew. */
static void changed_life(struct agi_dht *d)
{
	d->hosts.generation++;
	agi_reconf_wake(d, agi_after_ms(d, d->cfg.stable_ms));
}

static void note_state(struct agi_host *h, enum agi_link_state s)
{
	struct agi_note n = {.contact = &h->c};

	n.kind = s == AGI_MEMBER_DOWN ? AGI_NOTE_MEMBER_DOWN : AGI_NOTE_MEMBER_UP;
	if ((s == AGI_MEMBER_DOWN) != (h->state == AGI_MEMBER_DOWN))
		h->d->fx.note(h->d->ctx, &n);
}

static void move_to(struct agi_host *h, enum agi_link_state s, bool is_cut)
{
	struct agi_dht *d = h->d;
	bool was_in_reach = is_in_reach(h);

	if (h->state == s && h->is_cut == is_cut)
		return;
	--*counter(d, h->state);
	++*counter(d, s);
	note_state(h, s);
	h->state = s;
	h->is_cut = is_cut;
	h->since_us = d->now.mono_us;
	if (was_in_reach != is_in_reach(h)) {
		changed(d);
		if (is_in_reach(h))
			agi_hint_wake(d);
	}
	if (s == AGI_MEMBER_UP) {
		agi_suspect_cancel(h);
		agi_repair_soon(d);
	}
}

static void set_state(struct agi_host *h, enum agi_link_state s) { move_to(h, s, false); }

static void put_in_ring(struct agi_host *h)
{
	if (h->is_in_ring ||
	    agi_ring_add(&h->d->hosts.ring, &h->c, h->d->cfg.virtual_nodes) != AGI_OK)
		return;
	h->is_in_ring = true;
	changed(h->d);
}

static void take_off_ring(struct agi_host *h)
{
	if (!h->is_in_ring)
		return;
	agi_ring_remove(&h->d->hosts.ring, &h->c);
	h->is_in_ring = false;
	changed(h->d);
}

/* Interval to this host's next probe: near.c's, and longer for one that is long gone. */
static uint64_t interval_us(const struct agi_host *h)
{
	const struct agi_dht *d = h->d;
	uint64_t us = (uint64_t)d->cfg.ping_interval_ms * 1000;
	uint64_t shared = agi_near_interval_us(h);

	if (h->state == AGI_MEMBER_DOWN && d->now.mono_us - h->since_us > LONG_DOWN * us)
		us *= 5; /* long gone: look less often */
	return us > shared ? us : shared;
}

static void schedule(struct agi_host *h, uint64_t in_us)
{
	struct agi_dht *d = h->d;
	uint64_t jitter = agi_prng_below(&d->prng, in_us / 8 + 1);

	agi_timer_set(&d->timers, &h->probe, d->now.mono_us + in_us - jitter);
}

void agi_hosts_is_near(struct agi_host *h)
{
	uint64_t us = interval_us(h);

	if (h->probe.is_set && h->probe.due_us > h->d->now.mono_us + us)
		schedule(h, us);
}

void agi_hosts_failed(struct agi_dht *d, const struct agi_id *id)
{
	struct agi_host *h = agi_hosts_find(d, id);

	if (h && !h->is_near && !agi_near_is_all(d) && !h->probe_rpc && h->state == AGI_MEMBER_UP)
		agi_timer_set(&d->timers, &h->probe, d->now.mono_us);
}

static uint32_t smooth(uint32_t srtt, uint32_t sample)
{
	/* RFC 6298 2.3: alpha 1/8 */
	return srtt == UINT32_MAX ? sample : (uint32_t)(((uint64_t)srtt * 7 + sample) / 8);
}

/* Another identity lives at its address: the host came back with an empty disk. */
static bool is_replaced(const struct agi_host *h)
{
	struct agi_host *x, *tmp;

	HASH_ITER(hh, h->d->hosts.by_id, x, tmp)
		if (x != h && x->state == AGI_MEMBER_UP && agi_addr_eq(&x->c.addr, &h->c.addr))
			return true;
	return agi_addr_eq(&h->d->self.addr, &h->c.addr);
}

static bool is_down_for(const struct agi_host *h, uint64_t us)
{
	return h->state == AGI_MEMBER_DOWN && h->d->now.mono_us - h->since_us >= us;
}

/* What is to be thought of a suspect by now? Most hosts being suspects at once, none is called dead as soon as that. */
static void judge(struct agi_host *h)
{
	uint32_t enough = agi_health_is_doubtful(h->d) ? 2 * AGI_PINGS_LOST_DOWN : AGI_PINGS_LOST_DOWN;

	if (h->state != AGI_MEMBER_SUSPECT || h->lost < AGI_PINGS_LOST_DOWN)
		return;
	if (h->vouch == AGI_VOUCH_NO && h->lost >= enough)
		set_state(h, AGI_MEMBER_DOWN);
	else
		move_to(h, AGI_MEMBER_SUSPECT, true);
}

void agi_hosts_inquired(struct agi_host *h)
{
	if (h->vouch == AGI_VOUCH_NO) {
		judge(h);
		if (is_down_for(h, (uint64_t)h->d->cfg.down_after_ms * 1000))
			take_off_ring(h);
	} else if (h->state == AGI_MEMBER_DOWN) {
		move_to(h, AGI_MEMBER_SUSPECT, true);
	}
}

/* Others are asked about a suspect each time, about a host that is down when it may have to leave the ring. */
static void inquire(struct agi_host *h)
{
	uint64_t down_after_us = (uint64_t)h->d->cfg.down_after_ms * 1000;
	uint64_t long_us = LONG_DOWN * (uint64_t)h->d->cfg.ping_interval_ms * 1000;

	if (h->state == AGI_MEMBER_DOWN &&
	    !(h->is_in_ring && is_down_for(h, down_after_us < long_us ? down_after_us : long_us)))
		return;
	agi_suspect_ask(h);
	if (!h->inquiry)
		agi_hosts_inquired(h); /* nobody to ask */
}

static void lost(struct agi_host *h, enum agi_err err)
{
	struct agi_dht *d = h->d;

	if (h->lost < UINT8_MAX)
		h->lost++;
	if (err == AGI_E_TIMEOUT)
		agi_health_missed(d);
	if (h->state == AGI_MEMBER_UP)
		set_state(h, AGI_MEMBER_SUSPECT);
	judge(h);
	inquire(h);
	if (h->state == AGI_MEMBER_DOWN && !h->is_in_ring && is_replaced(h)) {
		agi_hosts_left(d, &h->c.id);
		return;
	}
	schedule(h, is_in_reach(h) ? AGI_REPROBE_MS * 1000 : interval_us(h));
}

static void on_pong(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                    const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_host *h = arg;

	(void)which;
	(void)from;
	h->probe_rpc = 0;
	if (err == AGI_E_TIMEOUT && agi_health_excuses(h)) {
		schedule(h, AGI_REPROBE_MS * 1000);
		return;
	}
	if (err != AGI_OK || m->kind != AGI_MSG_PONG) {
		lost(h, err);
		return;
	}
	agi_health_answered(d);
	schedule(h, interval_us(h));
	if (agi_member_saw_cluster(d, &h->c.id, &m->cluster) && agi_id_eq(&m->contact.id, &h->c.id)) {
		agi_clock_told(d, h, m->wall_ms, d->now.mono_us - h->asked_us);
		agi_hosts_verified(d, &m->contact, (uint32_t)(d->now.mono_us - h->asked_us));
		agi_latency_measured(d, h, m, (uint32_t)(d->now.mono_us - h->asked_us));
	}
}

static void probe(struct agi_dht *d, void *arg)
{
	struct agi_host *h = arg;
	struct agi_peer to = {h->c.id, h->c.addr};
	struct agi_msg m = {.kind = AGI_MSG_PING};

	if (h->probe_rpc)
		return;
	agi_member_fill_ping(d, &m);
	h->asked_us = d->now.mono_us;
	h->probe_rpc = agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m, agi_health_timeout_ms(d, AGI_PING_TIMEOUT_MS),
	                           on_pong, h, 0);
	if (!h->probe_rpc)
		schedule(h, interval_us(h));
}

static void forget(struct agi_host *h)
{
	struct agi_dht *d = h->d;

	take_off_ring(h);
	agi_timer_clear(&d->timers, &h->probe);
	agi_rpc_cancel(d, h->probe_rpc);
	agi_suspect_cancel(h);
	--*counter(d, h->state);
	d->hosts.n_near -= h->is_near;
	HASH_DEL(d->hosts.by_id, h);
	free(h);
}

/* Room for one more: the host that has been down longest makes it. */
static bool make_room(struct agi_dht *d)
{
	struct agi_host *h, *tmp, *oldest = NULL;

	if (HASH_COUNT(d->hosts.by_id) < AGI_CONTACTS_MAX)
		return true;
	HASH_ITER(hh, d->hosts.by_id, h, tmp) {
		if (h->state == AGI_MEMBER_DOWN && (!oldest || h->since_us < oldest->since_us))
			oldest = h;
	}
	if (!oldest)
		return false;
	forget(oldest);
	return true;
}

static struct agi_host *insert(struct agi_dht *d, const struct agi_contact *c, enum agi_link_state state)
{
	struct agi_host *h;

	if (!make_room(d) || !(h = calloc(1, sizeof *h)))
		return NULL;
	h->c = *c;
	h->d = d;
	h->state = state;
	h->since_us = d->now.mono_us;
	h->srtt_us = UINT32_MAX;
	h->probe.fn = probe;
	h->probe.arg = h;
	HASH_ADD(hh, d->hosts.by_id, c.id, sizeof h->c.id, h);
	if (!h->hh.tbl) {
		free(h);
		return NULL;
	}
	++*counter(d, state);
	put_in_ring(h);
	return h;
}

static void announce_up(struct agi_host *h)
{
	struct agi_note n = {.kind = AGI_NOTE_MEMBER_UP, .contact = &h->c};

	h->d->fx.note(h->d->ctx, &n);
	agi_member_remember(h->d, &h->c);
}

static void refresh(struct agi_host *h, const struct agi_contact *c)
{
	bool is_moved = !agi_addr_eq(&h->c.addr, &c->addr) || strcmp(h->c.zone, c->zone) != 0 ||
	                h->c.weight_milli != c->weight_milli || h->c.may_shrink != c->may_shrink;

	if (c->incarnation < h->c.incarnation)
		return; /* an old life's message */
	if (is_moved) {
		take_off_ring(h);
		h->c = *c;
		put_in_ring(h);
		agi_member_remember(h->d, c);
	}
	if (c->incarnation > h->c.incarnation)
		changed_life(h->d);
	h->c.incarnation = c->incarnation;
}

void agi_hosts_verified(struct agi_dht *d, const struct agi_contact *c, uint32_t rtt_us)
{
	struct agi_host *h = agi_hosts_find(d, &c->id);

	if (agi_id_eq(&c->id, &d->self.id))
		return;
	if (!h) {
		h = insert(d, c, AGI_MEMBER_UP);
		if (!h)
			return;
		announce_up(h);
		schedule(h, interval_us(h));
	}
	refresh(h, c);
	if (rtt_us != UINT32_MAX)
		h->srtt_us = smooth(h->srtt_us, rtt_us);
	h->lost = h->excused = 0;
	put_in_ring(h);
	set_state(h, AGI_MEMBER_UP);
}

void agi_hosts_remembered(struct agi_dht *d, const struct agi_contact *c)
{
	struct agi_host *h;

	if (agi_id_eq(&c->id, &d->self.id) || agi_hosts_find(d, &c->id))
		return;
	h = insert(d, c, AGI_MEMBER_DOWN);
	if (h) /* not all of thousands at once */
		agi_timer_set(&d->timers, &h->probe,
		              d->now.mono_us + HASH_COUNT(d->hosts.by_id) / d->cfg.near_hosts * FIRST_PROBES_US);
}

void agi_hosts_start(struct agi_dht *d)
{
	struct agi_host *h, *tmp;

	d->hosts.changed_us = d->now.mono_us;
	d->hosts.stall_due_us = agi_timers_next(&d->timers); /* what was loaded is not late */
	HASH_ITER(hh, d->hosts.by_id, h, tmp) {
		h->since_us = d->now.mono_us; /* how long they were down before is not known */
		if (h->probe.is_set) /* what was loaded had no clock */
			agi_timer_set(&d->timers, &h->probe, d->now.mono_us + h->probe.due_us);
	}
	agi_near_start(d);
}

void agi_hosts_alive(struct agi_dht *d, const struct agi_id *id)
{
	struct agi_host *h = agi_hosts_find(d, id);

	if (!h)
		return;
	h->lost = 0;
	if (h->state == AGI_MEMBER_SUSPECT && !h->is_cut)
		set_state(h, AGI_MEMBER_UP);
	else if (h->state != AGI_MEMBER_UP && !h->probe_rpc)
		agi_timer_set(&d->timers, &h->probe, d->now.mono_us);
}

void agi_hosts_left(struct agi_dht *d, const struct agi_id *id)
{
	struct agi_host *h = agi_hosts_find(d, id);

	if (!h)
		return;
	set_state(h, AGI_MEMBER_DOWN);
	agi_member_forget(d, id);
	forget(h);
}

/* Out of memory takes us off our own ring until the next change: others still place us. */
void agi_hosts_set_self(struct agi_dht *d, const struct agi_contact *self)
{
	agi_ring_remove(&d->hosts.ring, &d->self);
	d->self = *self;
	d->hosts.is_self_in_ring = agi_ring_add(&d->hosts.ring, &d->self, d->cfg.virtual_nodes) == AGI_OK;
	changed(d);
}

void agi_hosts_gone(struct agi_dht *d, const struct agi_id *id)
{
	struct agi_host *h = agi_hosts_find(d, id);

	if (!h)
		return;
	h->lost = AGI_PINGS_LOST_DOWN;
	set_state(h, AGI_MEMBER_DOWN);
	schedule(h, interval_us(h));
}

static void on_verify(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                      const struct agi_peer *from, const struct agi_msg *m)
{
	(void)arg;
	(void)which;
	d->hosts.verifying--;
	if (err != AGI_OK || m->kind != AGI_MSG_PONG || !agi_id_eq(&from->id, &m->contact.id))
		return;
	if (agi_member_saw_cluster(d, &from->id, &m->cluster) && !agi_id_is_zero(&m->cluster))
		agi_hosts_verified(d, &m->contact, UINT32_MAX);
}

static void greet(struct agi_dht *d, const struct agi_contact *c)
{
	struct agi_peer to = {c->id, c->addr};
	struct agi_msg m = {.kind = AGI_MSG_PING};

	if (d->hosts.verifying >= VERIFYING_MAX)
		return;
	agi_member_fill_ping(d, &m);
	if (agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_PING_TIMEOUT_MS, on_verify, NULL, 0))
		d->hosts.verifying++;
}

void agi_hosts_show(struct agi_dht *d, const struct agi_id *id)
{
	struct agi_host *h = agi_hosts_find(d, id);

	if (h && h->probe_rpc)
		greet(d, &h->c); /* it may not have heard the probe in flight, or its answer was lost */
	else if (h)
		agi_timer_set(&d->timers, &h->probe, d->now.mono_us);
}

void agi_hosts_heard_of(struct agi_dht *d, const struct agi_contact *c)
{
	struct agi_host *h = agi_hosts_find(d, &c->id);

	if (agi_id_eq(&c->id, &d->self.id) || agi_id_is_zero(&c->id) || c->addr.port == 0)
		return;
	if (h && (h->state == AGI_MEMBER_UP || h->probe_rpc) && agi_addr_eq(&h->c.addr, &c->addr))
		return;
	greet(d, c);
}

void agi_hosts_free(struct agi_dht *d)
{
	struct agi_host *h, *tmp;

	agi_suspects_free(d);
	HASH_ITER(hh, d->hosts.by_id, h, tmp) {
		agi_timer_clear(&d->timers, &h->probe);
		agi_suspect_cancel(h);
		HASH_DEL(d->hosts.by_id, h);
		free(h);
	}
	agi_ring_free(&d->hosts.ring);
}

void agi_hosts_check(const struct agi_dht *d)
{
	const struct agi_ring *r = &d->hosts.ring;
	struct agi_host *h, *tmp;
	uint32_t n[4] = {0}, near = 0;
	size_t in_ring = d->hosts.is_self_in_ring;

	HASH_ITER(hh, d->hosts.by_id, h, tmp) {
		n[h->state]++;
		near += h->is_near;
		in_ring += h->is_in_ring;
		assert(!agi_id_eq(&h->c.id, &d->self.id));
		assert(h->probe_rpc || h->probe.is_set || d->is_stopped);
		assert(!h->is_cut || h->state == AGI_MEMBER_SUSPECT);
		assert(!h->inquiry || h->state != AGI_MEMBER_UP);
	}
	assert(n[AGI_MEMBER_UP] == d->hosts.up && n[AGI_MEMBER_SUSPECT] == d->hosts.suspect &&
	       n[AGI_MEMBER_DOWN] == d->hosts.down);
	assert(in_ring == r->n_hosts && near == d->hosts.n_near);
	for (size_t i = 1; i < r->n; i++)
		assert(r->points[i - 1].prefix <= r->points[i].prefix);
}
