/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/reconf.h"
#include "faults.h"

/* The newest view of a slot that a running node is an active member of; false when nobody is. */
static bool newest_view(struct sim_world *w, uint32_t slot, struct agi_view *out)
{
	out->epoch = 0;
	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		enum agi_view_phase phase;
		struct agi_view v;

		if (w->node[i].dht && agi_dht_slot(w->node[i].dht, slot, &v, &phase) &&
		    phase == AGI_VIEW_ACTIVE && v.epoch > out->epoch)
			*out = v;
	}
	return out->epoch > 0;
}

static bool exists(const struct sim_world *w, const struct agi_id *id)
{
	for (uint32_t i = 0; i < w->cfg.nodes; i++)
		if (agi_id_eq(&w->node[i].id, id))
			return true;
	return false;
}

static void add_members(struct agi_view *out, const struct agi_view *v, uint32_t first, uint32_t most,
                        struct sim_world *w)
{
	for (uint32_t i = 0; i < v->n_members && out->n_members < most; i++) {
		const struct agi_id *id = &v->members[(first + i) % v->n_members];

		if (!agi_view_has(out, id) && (!w || exists(w, id)))
			out->members[out->n_members++] = *id;
	}
}

/* A next view as somebody might want it: a majority of the members stays, the others are any hosts. Who lost its
 * disk is kept only where there is nobody else: one more loss, and no design could go on. */
static void draw_view(struct sim_world *w, const struct agi_view *v, struct agi_view *out)
{
	uint32_t keep = v->n_members - (v->n_members > 2 && sim_chance(w, 0.8));
	uint32_t first = (uint32_t)agi_prng_below(&w->prng, v->n_members);

	*out = (struct agi_view){.slot = v->slot, .epoch = v->epoch + 1};
	add_members(out, v, first, keep, w);
	for (int tries = 0; tries < 8 && out->n_members < v->n_members; tries++) {
		const struct sim_node *n = &w->node[agi_prng_below(&w->prng, w->cfg.nodes)];

		if (n->dht && !agi_view_has(out, &n->id))
			out->members[out->n_members++] = n->id;
	}
	add_members(out, v, first, v->n_members, NULL); /* nobody else: as it is */
}

static void propose(struct sim_node *n, const struct agi_view *wanted)
{
	struct agi_slot *s = agi_slot_find(n->dht, wanted->slot);

	if (!s || s->phase != AGI_VIEW_ACTIVE || s->view.epoch + 1 != wanted->epoch ||
	    !agi_reconf_has_room(n->dht, AGI_WORK_PROPOSE))
		return;
	agi_clock_enter(n->dht, sim_now(n));
	agi_reconf_abort(n->dht, s);
	agi_reconf_propose(n->dht, s, wanted);
	sim_rearm(n);
	sim_say(n->w, "node %u proposes a view of slot %u of its own", n->index, wanted->slot);
}

void sim_rivals_late(struct sim_world *w, uint32_t node, uint32_t slot)
{
	struct sim_node *n = &w->node[node];
	struct agi_view v, wanted;

	if (!n->dht || n->paused_until > w->now_us || !newest_view(w, slot, &v) || !agi_view_has(&v, &n->id))
		return;
	draw_view(w, &v, &wanted);
	propose(n, &wanted);
}

/* At once, or while others' proposals are on their way. */
void sim_rivals_propose(struct sim_world *w)
{
	uint32_t slot = (uint32_t)agi_prng_below(&w->prng, (uint64_t)1 << w->cfg.slot_bits);

	for (uint32_t i = 0; i < w->cfg.nodes; i++) {
		uint64_t later = sim_chance(w, 0.5) ? 0 : sim_between(w, 100, (uint64_t)128 << agi_prng_below(&w->prng, 12));

		if (!w->node[i].dht || sim_chance(w, 0.2))
			continue;
		if (later)
			sim_push(w, w->now_us + later, SIM_RIVAL, i)->call = slot;
		else
			sim_rivals_late(w, i, slot);
	}
}

void sim_rivals_lead(struct sim_node *n, struct agi_str ns, struct agi_str key)
{
	enum agi_view_phase phase;
	struct agi_view v;

	if (!agi_dht_slot(n->dht, agi_dht_slot_of(n->dht, ns, key), &v, &phase))
		return;
	agi_clock_enter(n->dht, sim_now(n));
	agi_hosts_refused(n->dht, &v.members[agi_prng_below(&n->w->prng, v.n_members)]);
}
