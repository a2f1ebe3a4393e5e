/* SPDX-License-Identifier: Apache-2.0
 * Which hosts matter to this node, and are probed at the full interval? Up to cfg.near_hosts all that it knows. Among
 * more:
 *
 *  - members of the slots that are held here, those that a proposal names, and those that should be members next, with
 *    one more of each slot: who is to be taken in is known to be up before it is needed;
 *  - hosts whose services were handed out of late;
 *  - routing contacts up to the number: of each Kademlia bucket (hosts that share so many bits with our id) as many,
 *    those nearest to us. So every host chooses others. Had it those that are known longest, everybody would choose the
 *    same: of 300 hosts in agihpc-sim the busiest sent twice what the others did, and more with each one that came.
 *
 * The others are a cache for lookups in one hop. Each is probed rarely, and at once when something asked of it fails. */
#include <stdlib.h>

#include "dht/state.h"

enum { BUCKETS = AGI_ID_BYTES * 8 };

/* Hosts that are not near yet, sorted by bucket and by their distance from us. */
struct ranked {
	struct agi_host *h;
	uint32_t bucket;
};

bool agi_near_is_all(const struct agi_dht *d) { return HASH_COUNT(d->hosts.by_id) <= d->cfg.near_hosts; }

static void mark(struct agi_dht *d, const struct agi_id *id)
{
	struct agi_host *h = agi_hosts_find(d, id);

	if (h && !h->is_near) {
		h->is_near = true;
		d->hosts.n_near++;
	}
}

static void mark_view(struct agi_dht *d, const struct agi_view *v)
{
	for (uint8_t i = 0; i < v->n_members; i++)
		mark(d, &v->members[i]);
}

static void mark_slot(struct agi_dht *d, const struct agi_slot *s)
{
	const struct agi_contact *next[AGI_REPLICAS_MAX];
	uint32_t n = d->cfg.replicas < AGI_REPLICAS_MAX ? d->cfg.replicas + 1 : d->cfg.replicas;

	mark_view(d, &s->view);
	if (s->accepted.round > 0)
		mark_view(d, &s->proposal);
	n = (uint32_t)agi_slot_ideal(&d->hosts.ring, s->view.slot, d->cfg.slot_bits, n, next);
	for (uint32_t i = 0; i < n; i++)
		mark(d, &next[i]->id);
}

static uint32_t bucket_of(const struct agi_id *self, const struct agi_id *id)
{
	uint32_t bit = 0;

	while (bit < BUCKETS - 1 && !(((self->b[bit / 8] ^ id->b[bit / 8]) >> (7 - bit % 8)) & 1))
		bit++;
	return bit;
}

static int cmp_ranked(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->bucket != y->bucket)
		return x->bucket < y->bucket ? -1 : 1;
	return agi_id_cmp_distance(&x->h->d->self.id, &x->h->c.id, &y->h->c.id);
}

/* How many of each bucket: one of each in turn, the nearest bucket first, until there are enough. */
static void share(const uint32_t has[BUCKETS], uint32_t want, uint32_t quota[BUCKETS])
{
	for (bool is_more = true; is_more && want > 0;) {
		is_more = false;
		for (uint32_t b = BUCKETS; b-- > 0 && want > 0;) {
			if (quota[b] == has[b])
				continue;
			quota[b]++;
			want--;
			is_more = true;
		}
	}
}

static void mark_contacts(struct agi_dht *d, uint32_t want)
{
	struct ranked *all = calloc(HASH_COUNT(d->hosts.by_id) + 1, sizeof *all);
	uint32_t has[BUCKETS] = {0}, quota[BUCKETS] = {0}, n = 0;
	struct agi_host *h, *tmp;

	if (!all)
		return; /* out of memory: fewer are near until the next time */
	HASH_ITER(hh, d->hosts.by_id, h, tmp) {
		if (h->is_near || h->state == AGI_MEMBER_DOWN)
			continue;
		all[n] = (struct ranked){h, bucket_of(&d->self.id, &h->c.id)};
		has[all[n++].bucket]++;
	}
	share(has, want, quota);
	qsort(all, n, sizeof *all, cmp_ranked);
	for (uint32_t i = 0; i < n; i++)
		if (quota[all[i].bucket] > 0) {
			quota[all[i].bucket]--;
			mark(d, &all[i].h->c.id);
		}
	free(all);
}

static void choose(struct agi_dht *d)
{
	struct agi_host *h, *tmp;

	d->hosts.n_near = 0;
	HASH_ITER(hh, d->hosts.by_id, h, tmp) {
		h->is_near = h->used_us && d->now.mono_us - h->used_us < (uint64_t)AGI_NEAR_USED_MS * 1000;
		d->hosts.n_near += h->is_near;
	}
	for (uint32_t i = 0; i < d->slots.n; i++)
		if (d->slots.by_number[i] && agi_slot_is_held(d->slots.by_number[i]))
			mark_slot(d, d->slots.by_number[i]);
	if (d->hosts.n_near < d->cfg.near_hosts)
		mark_contacts(d, d->cfg.near_hosts - d->hosts.n_near);
	HASH_ITER(hh, d->hosts.by_id, h, tmp)
		if (h->is_near)
			agi_hosts_is_near(h);
}

/* Chosen anew when hosts or slots have changed; now and then in any case. */
static void look(struct agi_dht *d, void *arg)
{
	struct agi_near *near = &d->hosts.near;

	(void)arg;
	if (!agi_near_is_all(d) && (near->generation != d->hosts.generation ||
	                            d->now.mono_us - near->chosen_us >= (uint64_t)AGI_NEAR_ANEW_MS * 1000)) {
		choose(d);
		near->generation = d->hosts.generation;
		near->chosen_us = d->now.mono_us;
	}
	agi_timer_set(&d->timers, &near->look, agi_after_ms(d, AGI_NEAR_LOOK_MS));
}

void agi_near_start(struct agi_dht *d)
{
	d->hosts.near.look.fn = look;
	agi_timer_set(&d->timers, &d->hosts.near.look, agi_after_ms(d, AGI_NEAR_LOOK_MS));
}

void agi_near_used(struct agi_dht *d, const struct agi_id *id)
{
	struct agi_host *h = agi_hosts_find(d, id);

	if (!h)
		return;
	h->used_us = d->now.mono_us;
	if (!h->is_near && !agi_near_is_all(d)) {
		mark(d, id);
		agi_hosts_is_near(h);
	}
}

uint64_t agi_near_interval_us(const struct agi_host *h)
{
	const struct agi_dht *d = h->d;
	uint64_t us = (uint64_t)d->cfg.ping_interval_ms * 1000, all = HASH_COUNT(d->hosts.by_id);
	uint64_t n = agi_near_is_all(d) ? all : h->is_near ? d->hosts.n_near : all - d->hosts.n_near;
	uint64_t shared = n * 1000000 / (agi_near_is_all(d) || h->is_near ? AGI_PROBES_PER_S : AGI_FAR_PROBES_PER_S);

	return us > shared ? us : shared;
}
