/* SPDX-License-Identifier: Apache-2.0 */
#include "node/msg_codec.h"

#include "node/pb_wire.h"

/* Bytes kept for the length of each nested message; their greatest sizes follow from limits.h:
 * a contact 110, a version or ballot 45, a view 260, a provider 650, an item 1 MiB and its key. */
enum { W_SMALL = 1, W_VIEW = 2, W_PROVIDER = 2, W_ITEM = 4, W_BODY = 4 };

/* Field numbers of proto/overlay.proto. */
enum { ENV_VERSION = 1, ENV_TRACE_ID = 2 };
enum { C_ID = 1, C_IP, C_PORT, C_INCARNATION, C_WEIGHT, C_ZONE, C_MAY_SHRINK };
enum { V_HLC = 1, V_NODE };
enum { I_NS = 1, I_KEY, I_VALUE, I_VERSION, I_EXPIRES, I_TOMBSTONE, I_LEASE };
enum { VIEW_SLOT = 1, VIEW_EPOCH, VIEW_MEMBERS };
enum { B_ROUND = 1, B_NODE };
enum {
	P_SERVICE = 1,
	P_ADDRESS,
	P_PUBKEY,
	P_IP,
	P_PORT,
	P_INCARNATION,
	P_SEQ,
	P_TTL,
	P_LOAD,
	P_HEALTHY,
	P_WITHDRAWN,
	P_ZONE,
	P_SIG,
	P_TRAITS,
	P_COORD
};
enum {
	D_KIND = 1,
	D_RPC_ID,
	D_STATUS,
	D_WHY,
	D_CLUSTER,
	D_CONTACT,
	D_TARGET,
	D_SLOT,
	D_EPOCH,
	D_BALLOT,
	D_ACCEPTED_BALLOT,
	D_VIEW,
	D_PHASE,
	D_NAMESPACE,
	D_KEY,
	D_SERVICE,
	D_CURSOR,
	D_HAS_MORE,
	D_HAS_ITEM,
	D_IS_TRANSFER,
	D_CONTACTS,
	D_ITEMS,
	D_PROVIDERS,
	D_SOURCES,
	D_IS_STRONG,
	D_SEQ,
	D_OP,
	D_EXPECTED,
	D_DELTA,
	D_WALL_MS,
	D_END,
	D_HASHES,
	D_MASK,
	D_FLOOR,
	D_IS_FINAL,
	D_BLOB,
	D_IS_COPY,
	D_IS_BACKGROUND,
	D_WAIT_MS,
	D_COORD
};

/* --- encode ---------------------------------------------------------------------------------------- */
static struct agi_str raw(const void *p, size_t n) { return (struct agi_str){p, n}; }

static void put_id(struct agi_buf *b, uint32_t field, const struct agi_id *id)
{
	if (!agi_id_is_zero(id))
		agi_pb_put_bytes(b, field, raw(id->b, AGI_ID_BYTES));
}

static void put_contact(struct agi_buf *b, uint32_t field, const struct agi_contact *c)
{
	size_t at = agi_pb_begin(b, field, W_SMALL);

	agi_pb_put_bytes(b, C_ID, raw(c->id.b, AGI_ID_BYTES));
	agi_pb_put_bytes(b, C_IP, raw(c->addr.ip, sizeof c->addr.ip));
	agi_pb_put_u64(b, C_PORT, c->addr.port);
	agi_pb_put_u64(b, C_INCARNATION, c->incarnation);
	agi_pb_put_u64(b, C_WEIGHT, c->weight_milli);
	agi_pb_put_bytes(b, C_ZONE, agi_str_of(c->zone));
	agi_pb_put_bool(b, C_MAY_SHRINK, c->may_shrink);
	agi_pb_end(b, at, W_SMALL);
}

static void put_coord(struct agi_buf *b, uint32_t field, const struct agi_coord *c)
{
	size_t at = agi_pb_begin(b, field, W_SMALL);

	agi_coord_put(b, c);
	agi_pb_end(b, at, W_SMALL);
}

static void put_version(struct agi_buf *b, uint32_t field, const struct agi_version *v)
{
	size_t at = agi_pb_begin(b, field, W_SMALL);

	agi_pb_put_u64(b, V_HLC, v->hlc);
	put_id(b, V_NODE, &v->node);
	agi_pb_end(b, at, W_SMALL);
}

static void put_item(struct agi_buf *b, const struct agi_item *i)
{
	size_t at = agi_pb_begin(b, D_ITEMS, W_ITEM);

	agi_pb_put_bytes(b, I_NS, i->ns);
	agi_pb_put_bytes(b, I_KEY, i->key);
	agi_pb_put_bytes(b, I_VALUE, i->value);
	put_version(b, I_VERSION, &i->version);
	agi_pb_put_u64(b, I_EXPIRES, i->expires_ms);
	agi_pb_put_bool(b, I_TOMBSTONE, i->is_tombstone);
	agi_pb_put_u64(b, I_LEASE, i->lease);
	agi_pb_end(b, at, W_ITEM);
}

static void put_view(struct agi_buf *b, const struct agi_view *v)
{
	size_t at;

	if (!v->slot && !v->epoch && !v->n_members)
		return;
	at = agi_pb_begin(b, D_VIEW, W_VIEW);
	agi_pb_put_u64(b, VIEW_SLOT, v->slot);
	agi_pb_put_u64(b, VIEW_EPOCH, v->epoch);
	for (uint8_t i = 0; i < v->n_members; i++)
		agi_pb_put_element(b, VIEW_MEMBERS, raw(v->members[i].b, AGI_ID_BYTES));
	agi_pb_end(b, at, W_VIEW);
}

static void put_ballot(struct agi_buf *b, uint32_t field, const struct agi_ballot *v)
{
	size_t at;

	if (!v->round && agi_id_is_zero(&v->node))
		return;
	at = agi_pb_begin(b, field, W_SMALL);
	agi_pb_put_u64(b, B_ROUND, v->round);
	put_id(b, B_NODE, &v->node);
	agi_pb_end(b, at, W_SMALL);
}

static void put_provider(struct agi_buf *b, const struct agi_provider *p)
{
	size_t at = agi_pb_begin(b, D_PROVIDERS, W_PROVIDER);

	agi_pb_put_bytes(b, P_SERVICE, p->service);
	agi_pb_put_bytes(b, P_ADDRESS, p->address);
	agi_pb_put_bytes(b, P_PUBKEY, raw(p->pubkey, sizeof p->pubkey));
	agi_pb_put_bytes(b, P_IP, raw(p->node_addr.ip, sizeof p->node_addr.ip));
	agi_pb_put_u64(b, P_PORT, p->node_addr.port);
	agi_pb_put_u64(b, P_INCARNATION, p->incarnation);
	agi_pb_put_u64(b, P_SEQ, p->seq);
	agi_pb_put_u64(b, P_TTL, p->ttl_ms);
	agi_pb_put_u64(b, P_LOAD, p->load_milli);
	agi_pb_put_bool(b, P_HEALTHY, p->is_healthy);
	agi_pb_put_bool(b, P_WITHDRAWN, p->is_withdrawn);
	agi_pb_put_bytes(b, P_ZONE, agi_str_of(p->zone));
	agi_pb_put_bytes(b, P_SIG, raw(p->sig, sizeof p->sig));
	agi_pb_put_u64(b, P_TRAITS, p->traits);
	if (p->has_coord)
		put_coord(b, P_COORD, &p->coord);
	agi_pb_end(b, at, W_PROVIDER);
}

static void put_lists(struct agi_buf *b, const struct agi_msg *m)
{
	for (size_t i = 0; i < m->n_contacts; i++)
		put_contact(b, D_CONTACTS, &m->contacts[i]);
	for (size_t i = 0; i < m->n_items; i++)
		put_item(b, &m->items[i]);
	for (size_t i = 0; i < m->n_providers; i++)
		put_provider(b, &m->providers[i]);
	for (uint8_t i = 0; i < m->n_sources; i++)
		agi_pb_put_element(b, D_SOURCES, raw(m->sources[i].b, AGI_ID_BYTES));
}

void agi_msg_encode(struct agi_buf *b, const struct agi_msg *m)
{
	size_t at;

	agi_pb_put_u64(b, ENV_VERSION, AGI_PROTOCOL_VERSION);
	at = agi_pb_begin(b, AGI_BODY_DHT, W_BODY);
	agi_pb_put_u64(b, D_KIND, m->kind);
	agi_pb_put_u64(b, D_RPC_ID, m->rpc_id);
	agi_pb_put_u64(b, D_STATUS, m->status);
	agi_pb_put_bytes(b, D_WHY, m->why);
	put_id(b, D_CLUSTER, &m->cluster);
	if (!agi_id_is_zero(&m->contact.id))
		put_contact(b, D_CONTACT, &m->contact);
	put_id(b, D_TARGET, &m->target);
	agi_pb_put_u64(b, D_SLOT, m->slot);
	agi_pb_put_u64(b, D_EPOCH, m->epoch);
	put_ballot(b, D_BALLOT, &m->ballot);
	put_ballot(b, D_ACCEPTED_BALLOT, &m->accepted_ballot);
	put_view(b, &m->view);
	agi_pb_put_u64(b, D_PHASE, m->phase);
	agi_pb_put_bytes(b, D_NAMESPACE, m->ns);
	agi_pb_put_bytes(b, D_KEY, m->key);
	agi_pb_put_bytes(b, D_SERVICE, m->service);
	agi_pb_put_bytes(b, D_CURSOR, m->cursor);
	agi_pb_put_bool(b, D_HAS_MORE, m->has_more);
	agi_pb_put_bool(b, D_HAS_ITEM, m->has_item);
	agi_pb_put_bool(b, D_IS_TRANSFER, m->is_transfer);
	put_lists(b, m);
	agi_pb_put_bool(b, D_IS_STRONG, m->is_strong);
	agi_pb_put_u64(b, D_SEQ, m->seq);
	agi_pb_put_u64(b, D_OP, m->op);
	agi_pb_put_u64(b, D_EXPECTED, m->expected);
	agi_pb_put_u64(b, D_DELTA, (uint64_t)m->delta);
	agi_pb_put_u64(b, D_WALL_MS, m->wall_ms);
	agi_pb_put_bytes(b, D_END, m->end);
	agi_pb_put_bytes(b, D_HASHES, m->hashes);
	agi_pb_put_u64(b, D_MASK, m->mask);
	agi_pb_put_u64(b, D_FLOOR, m->floor);
	agi_pb_put_bool(b, D_IS_FINAL, m->is_final);
	agi_pb_put_bytes(b, D_BLOB, m->blob);
	agi_pb_put_bool(b, D_IS_COPY, m->is_copy);
	agi_pb_put_bool(b, D_IS_BACKGROUND, m->is_background);
	agi_pb_put_u64(b, D_WAIT_MS, m->wait_ms);
	if (m->has_coord)
		put_coord(b, D_COORD, &m->coord);
	agi_pb_end(b, at, W_BODY);
}

/* --- decode: each get_ says what was wrong with which field ------------------------------------------ */
static enum agi_err type_is_wrong(const char *name, struct agi_why *why)
{
	return agi_fail(why, AGI_E_MALFORMED, "%s: wrong wire type", name);
}

static enum agi_err get_u64(uint64_t *out, const struct agi_pb_field *f, uint64_t max,
                            const char *name, struct agi_why *why)
{
	if (f->type != AGI_PB_VARINT)
		return type_is_wrong(name, why);
	if (f->u > max)
		return agi_fail(why, AGI_E_MALFORMED, "%s: %llu, expected at most %llu", name,
		                (unsigned long long)f->u, (unsigned long long)max);
	*out = f->u;
	return AGI_OK;
}

static enum agi_err get_u32(uint32_t *out, const struct agi_pb_field *f, uint32_t max,
                            const char *name, struct agi_why *why)
{
	uint64_t v = 0;
	enum agi_err e = get_u64(&v, f, max, name, why);

	if (!e)
		*out = (uint32_t)v;
	return e;
}

static enum agi_err get_bool(bool *out, const struct agi_pb_field *f, const char *name,
                             struct agi_why *why)
{
	if (f->type != AGI_PB_VARINT)
		return type_is_wrong(name, why);
	*out = f->u != 0;
	return AGI_OK;
}

static enum agi_err get_bytes(struct agi_str *out, const struct agi_pb_field *f, size_t max,
                              const char *name, struct agi_why *why)
{
	if (f->type != AGI_PB_BYTES)
		return type_is_wrong(name, why);
	if (f->s.n > max)
		return agi_fail(why, AGI_E_TOO_LARGE, "%s: %zu bytes, expected at most %zu", name, f->s.n,
		                max);
	*out = f->s;
	return AGI_OK;
}

static enum agi_err get_text(struct agi_str *out, const struct agi_pb_field *f, size_t max,
                             const char *name, struct agi_why *why)
{
	struct agi_str s = {0};
	enum agi_err e = get_bytes(&s, f, max, name, why);

	if (e)
		return e;
	if (!agi_utf8_is_valid(s))
		return agi_fail(why, AGI_E_MALFORMED, "%s: not UTF-8", name);
	*out = s;
	return AGI_OK;
}

static enum agi_err get_exact(void *out, size_t n, const struct agi_pb_field *f, const char *name,
                              struct agi_why *why)
{
	if (f->type != AGI_PB_BYTES)
		return type_is_wrong(name, why);
	if (f->s.n != n)
		return agi_fail(why, AGI_E_MALFORMED, "%s: %zu bytes, expected %zu", name, f->s.n, n);
	memcpy(out, f->s.p, n);
	return AGI_OK;
}

static enum agi_err get_zone(char out[AGI_ZONE_MAX + 1], const struct agi_pb_field *f,
                             const char *name, struct agi_why *why)
{
	struct agi_str s = {0};
	enum agi_err e = get_text(&s, f, AGI_ZONE_MAX, name, why);

	if (e)
		return e;
	if (s.n && memchr(s.p, '\0', s.n))
		return agi_fail(why, AGI_E_MALFORMED, "%s: holds a zero byte", name);
	if (s.n)
		memcpy(out, s.p, s.n);
	out[s.n] = '\0';
	return AGI_OK;
}

static enum agi_err get_port(uint16_t *out, const struct agi_pb_field *f, const char *name,
                             struct agi_why *why)
{
	uint64_t v = 0;
	enum agi_err e = get_u64(&v, f, UINT16_MAX, name, why);

	if (!e)
		*out = (uint16_t)v;
	return e;
}

/* A coordinate that makes no sense is as good as none: the rest of the message counts. */
static enum agi_err get_coord(bool *has, struct agi_coord *out, const struct agi_pb_field *f, const char *name,
                              struct agi_why *why)
{
	if (f->type != AGI_PB_BYTES)
		return type_is_wrong(name, why);
	*out = (struct agi_coord){0};
	*has = agi_coord_take(out, f->s);
	return AGI_OK;
}

static enum agi_err is_whole(const struct agi_cur *c, const char *name, struct agi_why *why)
{
	return c->bad ? agi_fail(why, AGI_E_MALFORMED, "%s: broken encoding", name) : AGI_OK;
}

static enum agi_err contact_field(struct agi_contact *c, const struct agi_pb_field *f,
                                  struct agi_why *why)
{
	switch (f->number) {
	case C_ID:
		return get_exact(c->id.b, AGI_ID_BYTES, f, "contact.id", why);
	case C_IP:
		return get_exact(c->addr.ip, sizeof c->addr.ip, f, "contact.ip", why);
	case C_PORT:
		return get_port(&c->addr.port, f, "contact.port", why);
	case C_INCARNATION:
		return get_u64(&c->incarnation, f, UINT64_MAX, "contact.incarnation", why);
	case C_WEIGHT: /* so that weight times virtual nodes stays countable */
		return get_u32(&c->weight_milli, f, AGI_VIRTUAL_NODES_MAX * 1000, "contact.weight", why);
	case C_ZONE:
		return get_zone(c->zone, f, "contact.zone", why);
	case C_MAY_SHRINK:
		return get_bool(&c->may_shrink, f, "contact.may_shrink", why);
	default:
		return AGI_OK;
	}
}

static enum agi_err get_contact(struct agi_contact *out, const struct agi_pb_field *in,
                                struct agi_why *why)
{
	struct agi_cur c = agi_cur_of(in->s);
	struct agi_pb_field f;
	enum agi_err e;

	if (in->type != AGI_PB_BYTES)
		return type_is_wrong("contact", why);
	*out = (struct agi_contact){0};
	while (agi_pb_next(&c, &f)) {
		e = contact_field(out, &f, why);
		if (e)
			return e;
	}
	if (!c.bad && agi_id_is_zero(&out->id))
		return agi_fail(why, AGI_E_MALFORMED, "contact.id: missing");
	return is_whole(&c, "contact", why);
}

/* Version and Ballot: a number and a node. */
static enum agi_err get_stamp(uint64_t *number, struct agi_id *node, const struct agi_pb_field *in,
                              const char *name, struct agi_why *why)
{
	struct agi_cur c = agi_cur_of(in->s);
	struct agi_pb_field f;
	enum agi_err e = AGI_OK;

	if (in->type != AGI_PB_BYTES)
		return type_is_wrong(name, why);
	while (agi_pb_next(&c, &f)) {
		if (f.number == V_HLC)
			e = get_u64(number, &f, UINT64_MAX, name, why);
		else if (f.number == V_NODE)
			e = get_exact(node->b, AGI_ID_BYTES, &f, name, why);
		if (e)
			return e;
	}
	return is_whole(&c, name, why);
}

static enum agi_err item_field(struct agi_item *i, const struct agi_pb_field *f, struct agi_why *why)
{
	switch (f->number) {
	case I_NS:
		return get_text(&i->ns, f, AGI_NAMESPACE_MAX, "item.namespace", why);
	case I_KEY:
		return get_bytes(&i->key, f, AGI_CURSOR_MAX, "item.key", why); /* a register's is its stored key */
	case I_VALUE:
		return get_bytes(&i->value, f, AGI_VALUE_MAX + AGI_RECORD_HEAD_MAX, "item.value", why);
	case I_VERSION:
		return get_stamp(&i->version.hlc, &i->version.node, f, "item.version", why);
	case I_EXPIRES:
		return get_u64(&i->expires_ms, f, UINT64_MAX, "item.expires_ms", why);
	case I_TOMBSTONE:
		return get_bool(&i->is_tombstone, f, "item.is_tombstone", why);
	case I_LEASE:
		return get_u64(&i->lease, f, UINT64_MAX, "item.lease", why);
	default:
		return AGI_OK;
	}
}

static enum agi_err get_item(struct agi_item *out, const struct agi_pb_field *in, struct agi_why *why)
{
	struct agi_cur c = agi_cur_of(in->s);
	struct agi_pb_field f;
	enum agi_err e;

	if (in->type != AGI_PB_BYTES)
		return type_is_wrong("item", why);
	*out = (struct agi_item){0};
	while (agi_pb_next(&c, &f)) {
		e = item_field(out, &f, why);
		if (e)
			return e;
	}
	return is_whole(&c, "item", why);
}

static enum agi_err get_member(struct agi_id *list, uint8_t *n, const struct agi_pb_field *f,
                               const char *name, struct agi_why *why)
{
	enum agi_err e;

	if (*n == AGI_REPLICAS_MAX)
		return agi_fail(why, AGI_E_TOO_LARGE, "%s: expected at most %d", name,
		                (int)AGI_REPLICAS_MAX);
	e = get_exact(list[*n].b, AGI_ID_BYTES, f, name, why);
	if (!e)
		(*n)++;
	return e;
}

static enum agi_err get_view(struct agi_view *out, const struct agi_pb_field *in, struct agi_why *why)
{
	struct agi_cur c = agi_cur_of(in->s);
	struct agi_pb_field f;
	enum agi_err e = AGI_OK;

	if (in->type != AGI_PB_BYTES)
		return type_is_wrong("view", why);
	*out = (struct agi_view){0};
	while (agi_pb_next(&c, &f)) {
		if (f.number == VIEW_SLOT)
			e = get_u32(&out->slot, &f, (1u << AGI_SLOT_BITS_MAX) - 1, "view.slot", why);
		else if (f.number == VIEW_EPOCH)
			e = get_u64(&out->epoch, &f, UINT64_MAX, "view.epoch", why);
		else if (f.number == VIEW_MEMBERS)
			e = get_member(out->members, &out->n_members, &f, "view.members", why);
		if (e)
			return e;
	}
	return is_whole(&c, "view", why);
}

static enum agi_err provider_field(struct agi_provider *p, const struct agi_pb_field *f,
                                   struct agi_why *why)
{
	switch (f->number) {
	case P_SERVICE:
		return get_text(&p->service, f, AGI_SERVICE_NAME_MAX, "provider.service", why);
	case P_ADDRESS:
		return get_text(&p->address, f, AGI_ADDRESS_MAX, "provider.address", why);
	case P_PUBKEY:
		return get_exact(p->pubkey, sizeof p->pubkey, f, "provider.pubkey", why);
	case P_IP:
		return get_exact(p->node_addr.ip, sizeof p->node_addr.ip, f, "provider.node_ip", why);
	case P_PORT:
		return get_port(&p->node_addr.port, f, "provider.node_port", why);
	case P_INCARNATION:
		return get_u64(&p->incarnation, f, UINT64_MAX, "provider.incarnation", why);
	case P_SEQ:
		return get_u64(&p->seq, f, UINT64_MAX, "provider.seq", why);
	case P_TTL:
		return get_u32(&p->ttl_ms, f, UINT32_MAX, "provider.ttl_ms", why);
	case P_LOAD:
		return get_u32(&p->load_milli, f, 1000, "provider.load_milli", why);
	case P_HEALTHY:
		return get_bool(&p->is_healthy, f, "provider.is_healthy", why);
	case P_WITHDRAWN:
		return get_bool(&p->is_withdrawn, f, "provider.is_withdrawn", why);
	case P_ZONE:
		return get_zone(p->zone, f, "provider.zone", why);
	case P_SIG:
		return get_exact(p->sig, sizeof p->sig, f, "provider.sig", why);
	case P_TRAITS:
		return get_u32(&p->traits, f, UINT32_MAX, "provider.traits", why);
	case P_COORD:
		return get_coord(&p->has_coord, &p->coord, f, "provider.coord", why);
	default:
		return AGI_OK;
	}
}

static enum agi_err get_provider(struct agi_provider *out, const struct agi_pb_field *in,
                                 struct agi_why *why)
{
	struct agi_cur c = agi_cur_of(in->s);
	struct agi_pb_field f;
	enum agi_err e;

	if (in->type != AGI_PB_BYTES)
		return type_is_wrong("provider", why);
	*out = (struct agi_provider){0};
	while (agi_pb_next(&c, &f)) {
		e = provider_field(out, &f, why);
		if (e)
			return e;
	}
	return is_whole(&c, "provider", why);
}

static enum agi_err list_is_full(const char *name, size_t max, struct agi_why *why)
{
	return agi_fail(why, AGI_E_TOO_LARGE, "%s: expected at most %zu", name, max);
}

static enum agi_err list_field(struct agi_msg *m, struct agi_msg_scratch *s,
                               const struct agi_pb_field *f, struct agi_why *why)
{
	switch (f->number) {
	case D_CONTACTS:
		if (m->n_contacts == AGI_K)
			return list_is_full("contacts", AGI_K, why);
		return get_contact(&s->contacts[m->n_contacts++], f, why);
	case D_ITEMS:
		if (m->n_items == AGI_PAGE_ITEMS)
			return list_is_full("items", AGI_PAGE_ITEMS, why);
		return get_item(&s->items[m->n_items++], f, why);
	case D_PROVIDERS:
		if (m->n_providers == AGI_PROVIDERS_MSG_MAX)
			return list_is_full("providers", AGI_PROVIDERS_MSG_MAX, why);
		return get_provider(&s->providers[m->n_providers++], f, why);
	case D_SOURCES:
		return get_member(m->sources, &m->n_sources, f, "sources", why);
	default:
		return AGI_OK;
	}
}

/* A status this node has no name for comes from a newer one: a failure all the same. */
static enum agi_err get_status(enum agi_err *out, const struct agi_pb_field *f, struct agi_why *why)
{
	uint32_t v = 0;
	enum agi_err e = get_u32(&v, f, UINT32_MAX, "status", why);

	if (!e)
		*out = v < AGI_E_COUNT ? (enum agi_err)v : AGI_E_INTERNAL;
	return e;
}

/* Fields of the operations on registers. */
static enum agi_err strong_field(struct agi_msg *m, const struct agi_pb_field *f, struct agi_why *why)
{
	uint64_t v = 0;
	enum agi_err e;

	switch (f->number) {
	case D_IS_STRONG:
		return get_bool(&m->is_strong, f, "is_strong", why);
	case D_SEQ:
		return get_u64(&m->seq, f, UINT64_MAX, "seq", why);
	case D_OP:
		e = get_u64(&v, f, AGI_STRONG_REPAIR, "op", why);
		m->op = (enum agi_strong_op)v;
		return e;
	case D_EXPECTED:
		return get_u64(&m->expected, f, UINT64_MAX, "expected", why);
	case D_DELTA:
		e = get_u64(&v, f, UINT64_MAX, "delta", why);
		m->delta = (int64_t)v;
		return e;
	default:
		return AGI_OK;
	}
}

static enum agi_err scalar_field(struct agi_msg *m, const struct agi_pb_field *f, struct agi_why *why)
{
	uint32_t v = 0;
	enum agi_err e;

	switch (f->number) {
	case D_KIND:
		e = get_u32(&v, f, UINT32_MAX, "kind", why);
		m->kind = (enum agi_msg_kind)v;
		return e;
	case D_RPC_ID:
		return get_u64(&m->rpc_id, f, UINT64_MAX, "rpc_id", why);
	case D_STATUS:
		return get_status(&m->status, f, why);
	case D_SLOT:
		return get_u32(&m->slot, f, (1u << AGI_SLOT_BITS_MAX) - 1, "slot", why);
	case D_EPOCH:
		return get_u64(&m->epoch, f, UINT64_MAX, "epoch", why);
	case D_PHASE:
		e = get_u32(&v, f, AGI_VIEW_FORWARD, "phase", why);
		m->phase = (enum agi_view_phase)v;
		return e;
	case D_WALL_MS:
		return get_u64(&m->wall_ms, f, UINT64_MAX, "wall_ms", why);
	case D_MASK:
		return get_u64(&m->mask, f, UINT64_MAX, "mask", why);
	case D_FLOOR:
		return get_u64(&m->floor, f, UINT64_MAX, "floor", why);
	case D_IS_FINAL:
		return get_bool(&m->is_final, f, "is_final", why);
	case D_HAS_MORE:
		return get_bool(&m->has_more, f, "has_more", why);
	case D_HAS_ITEM:
		return get_bool(&m->has_item, f, "has_item", why);
	case D_IS_TRANSFER:
		return get_bool(&m->is_transfer, f, "is_transfer", why);
	case D_IS_COPY:
		return get_bool(&m->is_copy, f, "is_copy", why);
	case D_IS_BACKGROUND:
		return get_bool(&m->is_background, f, "is_background", why);
	case D_WAIT_MS:
		return get_u32(&m->wait_ms, f, 60000, "wait_ms", why);
	default:
		return strong_field(m, f, why);
	}
}

static enum agi_err field_of(struct agi_msg *m, struct agi_msg_scratch *s,
                             const struct agi_pb_field *f, struct agi_why *why)
{
	switch (f->number) {
	case D_WHY:
		return get_text(&m->why, f, AGI_WHY_MAX, "why", why);
	case D_CLUSTER:
		return get_exact(m->cluster.b, AGI_ID_BYTES, f, "cluster", why);
	case D_CONTACT:
		return get_contact(&m->contact, f, why);
	case D_TARGET:
		return get_exact(m->target.b, AGI_ID_BYTES, f, "target", why);
	case D_BALLOT:
		return get_stamp(&m->ballot.round, &m->ballot.node, f, "ballot", why);
	case D_ACCEPTED_BALLOT:
		return get_stamp(&m->accepted_ballot.round, &m->accepted_ballot.node, f,
		                 "accepted_ballot", why);
	case D_VIEW:
		return get_view(&m->view, f, why);
	case D_NAMESPACE:
		return get_text(&m->ns, f, AGI_NAMESPACE_MAX, "namespace", why);
	case D_KEY:
		return get_bytes(&m->key, f, AGI_KEY_MAX, "key", why);
	case D_SERVICE:
		return get_text(&m->service, f, AGI_SERVICE_NAME_MAX, "service", why);
	case D_CURSOR:
		return get_bytes(&m->cursor, f, AGI_CURSOR_MAX, "cursor", why);
	case D_END:
		return get_bytes(&m->end, f, AGI_CURSOR_MAX, "end", why);
	case D_HASHES:
		return get_bytes(&m->hashes, f, AGI_HASHES_MAX, "hashes", why);
	case D_COORD:
		return get_coord(&m->has_coord, &m->coord, f, "coord", why);
	case D_BLOB:
		return get_bytes(&m->blob, f, AGI_BLOB_MAX, "blob", why);
	case D_CONTACTS:
	case D_ITEMS:
	case D_PROVIDERS:
	case D_SOURCES:
		return list_field(m, s, f, why);
	default:
		return scalar_field(m, f, why);
	}
}

enum agi_err agi_msg_decode(struct agi_str body, struct agi_msg_scratch *scratch, struct agi_msg *out,
                            struct agi_why *why)
{
	struct agi_cur c = agi_cur_of(body);
	struct agi_pb_field f;
	enum agi_err e;

	*out = (struct agi_msg){.contacts = scratch->contacts,
	                        .items = scratch->items,
	                        .providers = scratch->providers};
	while (agi_pb_next(&c, &f)) {
		e = field_of(out, scratch, &f, why);
		if (e)
			return e;
	}
	e = is_whole(&c, "message", why);
	if (!e && (out->kind == 0 || out->kind >= AGI_MSG_KIND_MAX))
		e = agi_fail(why, AGI_E_UNSUPPORTED, "message kind %u is not known here, 1..%d are",
		             (unsigned)out->kind, AGI_MSG_KIND_MAX - 1);
	return e;
}

/* --- envelope --------------------------------------------------------------------------------------- */
static enum agi_err envelope_is_ours(const struct agi_envelope *v, struct agi_why *why)
{
	if (v->version < AGI_PROTOCOL_VERSION_MIN || v->version > AGI_PROTOCOL_VERSION)
		return agi_fail(why, AGI_E_UNSUPPORTED, "protocol version %u, this node speaks %d",
		                v->version, AGI_PROTOCOL_VERSION);
	if (v->trace_id.n && v->trace_id.n != AGI_TRACE_ID_BYTES)
		return agi_fail(why, AGI_E_MALFORMED, "trace_id: %zu bytes, expected %d", v->trace_id.n,
		                AGI_TRACE_ID_BYTES);
	if (!v->kind)
		return agi_fail(why, AGI_E_UNSUPPORTED, "an envelope without a body known here");
	return AGI_OK;
}

enum agi_err agi_envelope_open(struct agi_str payload, struct agi_envelope *out, struct agi_why *why)
{
	struct agi_cur c = agi_cur_of(payload);
	struct agi_pb_field f;
	enum agi_err e = AGI_OK;

	*out = (struct agi_envelope){0};
	while (!e && agi_pb_next(&c, &f)) {
		if (f.number == ENV_VERSION)
			e = get_u32(&out->version, &f, UINT32_MAX, "version", why);
		else if (f.number == ENV_TRACE_ID)
			e = get_bytes(&out->trace_id, &f, AGI_TRACE_ID_BYTES, "trace_id", why);
		else if (f.number >= AGI_BODY_DHT && f.number <= AGI_BODY_LAST) {
			e = get_bytes(&out->body, &f, AGI_LINK_FRAME_MAX, "body", why);
			out->kind = (enum agi_envelope_body)f.number;
		}
	}
	if (!e)
		e = is_whole(&c, "envelope", why);
	return e ? e : envelope_is_ours(out, why);
}
