/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/msg.h"

#include <stdlib.h>

const char *agi_msg_kind_name(enum agi_msg_kind k)
{
	switch (k) {
#define AGI_MSG_NAME(name, number) \
	case AGI_MSG_##name: \
		return #name;
		AGI_MSG_KINDS(AGI_MSG_NAME)
#undef AGI_MSG_NAME
	default:
		return "UNKNOWN";
	}
}

bool agi_msg_is_answer(enum agi_msg_kind k)
{
	switch (k) {
	case AGI_MSG_PONG:
	case AGI_MSG_NODES:
	case AGI_MSG_VIEW_INFO:
	case AGI_MSG_WRITE_ACK:
	case AGI_MSG_READ_ACK:
	case AGI_MSG_VIEW_PROMISE:
	case AGI_MSG_VIEW_ACCEPTED:
	case AGI_MSG_SLOT_ITEMS:
	case AGI_MSG_PROVIDER_ACK:
	case AGI_MSG_PROVIDERS:
	case AGI_MSG_REFUSED:
	case AGI_MSG_LED:
	case AGI_MSG_REG_ACK:
	case AGI_MSG_REG_STATE:
	case AGI_MSG_OPERATED:
	case AGI_MSG_DIGESTED:
	case AGI_MSG_FAREWELL_ACK:
	case AGI_MSG_REACHED:
	case AGI_MSG_STRONG_DONE:
	case AGI_MSG_COMPARED:
	case AGI_MSG_LEAVES:
	case AGI_MSG_DIFF_ITEMS:
	case AGI_MSG_SWEPT:
	case AGI_MSG_SCANNED:
	case AGI_MSG_WATCHED:
	case AGI_MSG_NOTED:
	case AGI_MSG_SLOT_INDEX:
	case AGI_MSG_SLOT_COPIED:
		return true;
	default:
		return false;
	}
}

/* The copy's tail: strings are laid one after another behind the arrays. */
struct tail {
	char *p;
};

static size_t round_up(size_t n) { return (n + 15) & ~(size_t)15; }

static struct agi_str move_str(struct tail *t, struct agi_str s)
{
	struct agi_str out = {t->p, s.n};

	if (s.n)
		memcpy(t->p, s.p, s.n);
	t->p += s.n;
	return out;
}

static void *move_array(struct tail *t, const void *a, size_t bytes)
{
	void *out = t->p;

	if (bytes == 0)
		return NULL;
	memcpy(t->p, a, bytes);
	t->p += round_up(bytes);
	return out;
}

static size_t string_bytes(const struct agi_msg *m)
{
	size_t n = m->why.n + m->ns.n + m->key.n + m->service.n + m->cursor.n + m->end.n + m->hashes.n + m->blob.n;

	for (size_t i = 0; i < m->n_items; i++)
		n += m->items[i].ns.n + m->items[i].key.n + m->items[i].value.n;
	for (size_t i = 0; i < m->n_providers; i++)
		n += m->providers[i].service.n + m->providers[i].address.n;
	return n;
}

struct agi_msg *agi_msg_clone(const struct agi_msg *m)
{
	size_t contacts = m->n_contacts * sizeof *m->contacts;
	size_t items = m->n_items * sizeof *m->items;
	size_t providers = m->n_providers * sizeof *m->providers;
	char *block = malloc(round_up(sizeof *m) + round_up(contacts) + round_up(items) +
	                     round_up(providers) + string_bytes(m));
	struct agi_msg *c = (struct agi_msg *)block;
	struct agi_item *ci;
	struct agi_provider *cp;
	struct tail t;

	if (!block)
		return NULL;
	*c = *m;
	t.p = block + round_up(sizeof *m);
	c->contacts = move_array(&t, m->contacts, contacts);
	c->items = ci = move_array(&t, m->items, items);
	c->providers = cp = move_array(&t, m->providers, providers);
	c->why = move_str(&t, m->why);
	c->ns = move_str(&t, m->ns);
	c->key = move_str(&t, m->key);
	c->service = move_str(&t, m->service);
	c->cursor = move_str(&t, m->cursor);
	c->end = move_str(&t, m->end);
	c->hashes = move_str(&t, m->hashes);
	c->blob = move_str(&t, m->blob);
	for (size_t i = 0; i < m->n_items; i++) {
		ci[i].ns = move_str(&t, ci[i].ns);
		ci[i].key = move_str(&t, ci[i].key);
		ci[i].value = move_str(&t, ci[i].value);
	}
	for (size_t i = 0; i < m->n_providers; i++) {
		cp[i].service = move_str(&t, cp[i].service);
		cp[i].address = move_str(&t, cp[i].address);
	}
	return c;
}
