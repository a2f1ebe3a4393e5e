/* SPDX-License-Identifier: Apache-2.0
 * Which view should a slot have next? The ideal one follows from the ring (slot.h); this file finds the step
 * towards it that never makes the slot weaker on the way:
 *
 *  - All new members are up, and of the present ones a majority, or nothing could be decided.
 *  - Members are replaced, not merely dropped: fewer replicas would make the slot weaker. Only a host that is
 *    drained by force may go without a replacement.
 *  - Where it can be had, a majority of the new members are old ones that are up: they hold everything but the
 *    last writes, so the slot serves again at once, whatever becomes of the newcomers. Replacing two of three
 *    members takes two changes for that. */
#include "dht/state.h"

static bool is_same_set(const struct agi_view *a, const struct agi_view *b)
{
	if (a->n_members != b->n_members)
		return false;
	for (uint8_t i = 0; i < a->n_members; i++)
		if (!agi_view_has(b, &a->members[i]))
			return false;
	return true;
}

static bool may_shrink(const struct agi_dht *d, const struct agi_id *id)
{
	struct agi_host *h;

	if (agi_id_eq(id, &d->self.id))
		return d->self.may_shrink;
	HASH_FIND(hh, d->hosts.by_id, id, sizeof *id, h);
	return h && h->c.may_shrink;
}

/* Are so few members permitted? Those drained by force do not count. */
static bool is_enough(const struct agi_dht *d, const struct agi_view *v, const struct agi_view *ideal)
{
	uint8_t need = v->n_members;

	if (ideal->n_members >= d->cfg.replicas)
		return true;
	for (uint8_t i = 0; i < v->n_members; i++)
		need -= !agi_view_has(ideal, &v->members[i]) && may_shrink(d, &v->members[i]);
	return ideal->n_members >= need;
}

static void add(struct agi_view *v, const struct agi_id *id) { v->members[v->n_members++] = *id; }

/* Old members that are up come first until they are a majority, then the newcomers. */
static void first_step(const struct agi_dht *d, const struct agi_view *v, const struct agi_view *ideal,
                       struct agi_view *out)
{
	uint32_t majority = agi_majority(ideal->n_members);

	for (uint8_t i = 0; i < ideal->n_members; i++)
		if (agi_view_has(v, &ideal->members[i]))
			add(out, &ideal->members[i]);
	for (uint8_t i = 0; i < v->n_members && out->n_members < majority; i++)
		if (!agi_view_has(ideal, &v->members[i]) && agi_hosts_is_up(d, &v->members[i]))
			add(out, &v->members[i]);
	for (uint8_t i = 0; i < ideal->n_members && out->n_members < ideal->n_members; i++)
		if (!agi_view_has(v, &ideal->members[i]))
			add(out, &ideal->members[i]);
}

static uint32_t n_up(const struct agi_dht *d, const struct agi_view *v)
{
	uint32_t n = 0;

	for (uint8_t i = 0; i < v->n_members; i++)
		n += agi_hosts_is_up(d, &v->members[i]);
	return n;
}

bool agi_plan_next(const struct agi_dht *d, const struct agi_slot *s, struct agi_view *next)
{
	const struct agi_contact *near[AGI_REPLICAS_MAX];
	size_t n = agi_slot_ideal(&d->hosts.ring, s->view.slot, d->cfg.slot_bits, d->cfg.replicas, near);
	struct agi_view ideal = {.slot = s->view.slot, .epoch = s->view.epoch + 1}, step = ideal;

	for (size_t i = 0; i < n; i++)
		add(&ideal, &near[i]->id);
	if (n == 0 || is_same_set(&s->view, &ideal) || !is_enough(d, &s->view, &ideal) ||
	    n_up(d, &s->view) < agi_majority(s->view.n_members))
		return false;
	first_step(d, &s->view, &ideal, &step);
	*next = is_same_set(&s->view, &step) ? ideal : step;
	for (uint8_t i = 0; i < next->n_members; i++)
		if (!agi_hosts_is_up(d, &next->members[i]))
			return false;
	return true;
}
