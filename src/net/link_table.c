/* SPDX-License-Identifier: Apache-2.0 */
#include <sodium.h>
#include <stdlib.h>

#include "net/link_impl.h"

/* splitmix64's finisher over words; seeded, so that nobody outside can choose colliding keys. */
static uint64_t mix(uint64_t h, const void *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof w);
	h = (h ^ w) * 0xbf58476d1ce4e5b9u;
	h = (h ^ h >> 27) * 0x94d049bb133111ebu;
	return h ^ h >> 31;
}

static struct conn_bucket *peer_bucket(const struct agi_links *l, const struct agi_id *peer,
				       enum agi_chan chan)
{
	uint64_t h = mix(l->hash_seed + (uint64_t)chan, peer->b);

	return &l->peers[h & l->buckets_mask];
}

static struct conn_bucket *addr_bucket(const struct agi_links *l, const struct agi_addr *a,
				       enum agi_chan chan)
{
	uint64_t h = mix(mix(l->hash_seed + a->port + ((uint64_t)chan << 16), a->ip), a->ip + 8);

	return &l->addrs[h & l->buckets_mask];
}

enum agi_err table_init(struct agi_links *l)
{
	uint32_t n = 16;

	while (n < l->links_max && n < 1u << 20)
		n *= 2;
	l->buckets_mask = n - 1;
	l->peers = calloc(n, sizeof *l->peers);
	l->addrs = calloc(n, sizeof *l->addrs);
	randombytes_buf(&l->hash_seed, sizeof l->hash_seed);
	return l->peers && l->addrs ? AGI_OK : AGI_E_NOMEM;
}

void table_free(struct agi_links *l)
{
	free(l->peers);
	free(l->addrs);
}

/* At the front: the newest link is found first. */
void table_add_peer(struct conn *c)
{
	LIST_INSERT_HEAD(peer_bucket(c->l, &c->peer, c->chan), c, by_peer);
	c->is_in_peers = true;
}

void table_add_addr(struct conn *c)
{
	LIST_INSERT_HEAD(addr_bucket(c->l, &c->remote, c->chan), c, by_addr);
	c->is_in_addrs = true;
}

void table_remove(struct conn *c)
{
	if (c->is_in_peers)
		LIST_REMOVE(c, by_peer);
	if (c->is_in_addrs)
		LIST_REMOVE(c, by_addr);
	c->is_in_peers = c->is_in_addrs = false;
}

struct conn *table_find_peer(const struct agi_links *l, const struct agi_id *peer,
			     enum agi_chan chan)
{
	struct conn *c;

	LIST_FOREACH(c, peer_bucket(l, peer, chan), by_peer)
	if (c->chan == chan && agi_id_eq(&c->peer, peer))
		return c;
	return NULL;
}

struct conn *table_surplus(const struct conn *of)
{
	struct conn *c, *oldest = NULL;
	int n = 0;

	LIST_FOREACH(c, peer_bucket(of->l, &of->peer, of->chan), by_peer)
	{
		if (c->chan == of->chan && agi_id_eq(&c->peer, &of->peer)) {
			oldest = c;
			n++;
		}
	}
	return n > AGI_LINK_TWINS_MAX ? oldest : NULL;
}

struct conn *table_find_dial(const struct agi_links *l, const struct agi_id *peer,
			     const struct agi_addr *addr, enum agi_chan chan)
{
	bool anybody = agi_id_is_zero(peer);
	struct conn *c;

	LIST_FOREACH(c, addr_bucket(l, addr, chan), by_addr)
	{
		if (c->chan != chan || !agi_addr_eq(&c->remote, addr))
			continue;
		if (c->state == CONN_UP ? anybody : agi_id_eq(&c->peer, peer))
			return c;
	}
	return NULL;
}
