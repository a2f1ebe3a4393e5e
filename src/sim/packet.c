/* SPDX-License-Identifier: Apache-2.0
 * Sizes after the protobuf encoding: a field that is zero or empty is not written; a number takes a byte for each
 * seven bits; fields up to 15 have a tag of one byte, later ones of two. The daemon's encoder leaves room for the
 * length of a message within a message before it knows it: WIDTH_… bytes, whatever the length. */
#include "sim/packet.h"

#include <stdlib.h>

#include "sim/events.h"

struct agi_sim_packet *agi_sim_packet_new(const struct agi_peer *from, const struct agi_peer *to,
                                          enum agi_traffic traffic, const struct agi_msg *msg)
{
	struct agi_sim_packet *p = agi_sim_alloc(1, sizeof *p);

	*p = (struct agi_sim_packet){*from, *to, traffic, NULL};
	if (msg)
		p->msg = agi_msg_clone(msg);
	return p;
}

void agi_sim_packet_free(struct agi_sim_packet *p)
{
	if (!p)
		return;
	free(p->msg);
	free(p);
}

enum { WIDTH_CONTACT = 1, WIDTH_VERSION = 1, WIDTH_BALLOT = 1, WIDTH_VIEW = 2, WIDTH_PROVIDER = 2, WIDTH_ITEM = 4,
       WIDTH_BODY = 4 };

static size_t varint(uint64_t v)
{
	size_t n = 1;

	while (v >>= 7)
		n++;
	return n;
}

static size_t number(size_t tag, uint64_t v) { return v ? tag + varint(v) : 0; }

static size_t bytes(size_t tag, size_t n) { return n ? tag + varint(n) + n : 0; }

static size_t id(size_t tag, const struct agi_id *i) { return agi_id_is_zero(i) ? 0 : bytes(tag, AGI_ID_BYTES); }

static size_t contact(const struct agi_contact *c)
{
	return id(1, &c->id) + bytes(1, sizeof c->addr.ip) + number(1, c->addr.port) + number(1, c->incarnation) +
	       number(1, c->weight_milli) + bytes(1, strlen(c->zone)) + number(1, c->may_shrink);
}

static size_t provider(const struct agi_provider *p)
{
	return bytes(1, p->service.n) + bytes(1, p->address.n) + bytes(1, AGI_PUBKEY_BYTES) + bytes(1, 16) +
	       number(1, p->node_addr.port) + number(1, p->incarnation) + number(1, p->seq) + number(1, p->ttl_ms) +
	       number(1, p->load_milli) + number(1, p->is_healthy) + number(1, p->is_withdrawn) +
	       bytes(1, strlen(p->zone)) + bytes(1, AGI_SIG_BYTES) + number(1, p->traits);
}

static size_t ballot(size_t tag, const struct agi_ballot *b)
{
	return b->round ? tag + WIDTH_BALLOT + number(1, b->round) + id(1, &b->node) : 0;
}

static size_t view(const struct agi_view *v)
{
	if (v->epoch == 0)
		return 0;
	return 1 + WIDTH_VIEW + number(1, v->slot) + number(1, v->epoch) + v->n_members * (2u + AGI_ID_BYTES);
}

static size_t lists(const struct agi_msg *m)
{
	size_t n = m->n_sources * (3u + AGI_ID_BYTES);

	for (size_t i = 0; i < m->n_contacts; i++)
		n += 2 + WIDTH_CONTACT + contact(&m->contacts[i]);
	for (size_t i = 0; i < m->n_providers; i++)
		n += 2 + WIDTH_PROVIDER + provider(&m->providers[i]);
	for (size_t i = 0; i < m->n_items; i++) {
		const struct agi_item *it = &m->items[i];
		size_t version = number(1, it->version.hlc) + id(1, &it->version.node);

		n += 2 + WIDTH_ITEM + bytes(1, it->ns.n) + bytes(1, it->key.n) + bytes(1, it->value.n) + 1 +
		     WIDTH_VERSION + version + number(1, it->expires_ms) + number(1, it->is_tombstone) +
		     number(1, it->lease);
	}
	return n;
}

static size_t of_slots(const struct agi_msg *m)
{
	return number(1, m->slot) + number(1, m->epoch) + ballot(1, &m->ballot) + ballot(1, &m->accepted_ballot) +
	       view(&m->view) + number(1, m->phase) + bytes(1, m->ns.n) + bytes(1, m->key.n) + bytes(2, m->cursor.n) +
	       number(2, m->has_more) + number(2, m->has_item) + number(2, m->is_transfer) + number(2, m->is_strong) +
	       number(2, m->seq) + number(2, m->op) + number(2, m->expected) + number(2, (uint64_t)m->delta) +
	       bytes(2, m->end.n) + bytes(2, m->hashes.n) + number(2, m->mask) + number(2, m->floor) +
	       number(2, m->is_final) + number(2, m->is_copy) + number(2, m->is_background) + number(2, m->wait_ms);
}

size_t agi_sim_wire_bytes(const struct agi_msg *m)
{
	size_t n = number(1, m->kind) + number(1, m->rpc_id) + number(1, m->status) + bytes(1, m->why.n) +
	           id(1, &m->cluster) + id(1, &m->target) + bytes(2, m->service.n) + number(2, m->wall_ms) +
	           bytes(2, m->blob.n) + bytes(2, m->has_coord ? AGI_COORD_BYTES : 0) + of_slots(m) + lists(m);

	if (!agi_id_is_zero(&m->contact.id))
		n += 1 + WIDTH_CONTACT + contact(&m->contact);
	return number(1, 1) + 1 + WIDTH_BODY + n; /* the envelope: version, body */
}
