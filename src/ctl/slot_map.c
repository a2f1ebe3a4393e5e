/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/slot_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "ctl/ctl.h"

const char *ctl_slot_state_name(enum ctl_slot_state s)
{
	static const char *const names[CTL_SLOT_STATES] = {
	    "unreported", "active", "joining", "sealed", "leaving", "no holder answered"};

	return names[s];
}

/* Phases as nodes name them; a node that only forwards is no holder and says nothing. */
static enum ctl_slot_state state_of_phase(struct agi_str phase)
{
	for (int s = CTL_SLOT_ACTIVE; s <= CTL_SLOT_LEAVING; s++)
		if (agi_str_eq(phase, agi_str_of(ctl_slot_state_name(s))))
			return s;
	return CTL_SLOT_NO_HOLDER;
}

/* Index of the host, which is added when it is new. */
static uint32_t host_of(struct ctl_slot_map *m, struct agi_str id)
{
	json_t *known = json_object_getn(m->host_index, id.p ? id.p : "", id.n);

	if (known)
		return (uint32_t)json_integer_value(known);
	if (m->n_hosts == m->hosts_cap) {
		struct ctl_host *bigger = ctl_alloc(sizeof *bigger * (m->hosts_cap * 2 + 16));

		if (m->n_hosts)
			memcpy(bigger, m->hosts, sizeof *bigger * m->n_hosts);
		free(m->hosts);
		m->hosts = bigger;
		m->hosts_cap = m->hosts_cap * 2 + 16;
	}
	m->hosts[m->n_hosts] = (struct ctl_host){.id = id, .state = AGI_STR("unknown")};
	json_object_setn_new(m->host_index, id.p ? id.p : "", id.n, json_integer(m->n_hosts));
	return m->n_hosts++;
}

void ctl_slot_map_init(struct ctl_slot_map *m, const Agihpc__V1__MembersResponse *hosts)
{
	*m = (struct ctl_slot_map){.host_index = json_object()};
	for (size_t i = 0; i < hosts->n_members; i++) {
		uint32_t at = host_of(m, ctl_str(hosts->members[i]->node_id));

		m->hosts[at].address = ctl_str(hosts->members[i]->address);
		m->hosts[at].state = ctl_str(hosts->members[i]->state);
		m->hosts[at].is_live = !agi_str_eq(m->hosts[at].state, AGI_STR("down"));
	}
}

void ctl_slot_map_free(struct ctl_slot_map *m)
{
	free(m->slots);
	free(m->hosts);
	json_decref(m->host_index);
}

void ctl_slot_map_set_live(struct ctl_slot_map *m, struct agi_str node_id, bool is_live)
{
	m->hosts[host_of(m, node_id)].is_live = is_live;
}

static bool is_in_view(const Agihpc__V1__Slot *s, struct agi_str id)
{
	for (size_t i = 0; i < s->n_members; i++)
		if (agi_str_eq(ctl_str(s->members[i]), id))
			return true;
	return false;
}

/* The worst of two: sealed before joining before leaving before active. */
static enum ctl_slot_state worse(enum ctl_slot_state a, enum ctl_slot_state b)
{
	static const int badness[CTL_SLOT_STATES] = {[CTL_SLOT_ACTIVE] = 1,
						     [CTL_SLOT_LEAVING] = 2,
						     [CTL_SLOT_JOINING] = 3,
						     [CTL_SLOT_SEALED] = 4};

	return badness[a] >= badness[b] ? a : b;
}

static void add_slot(struct ctl_slot *s, struct agi_str reporter, const Agihpc__V1__Slot *report)
{
	enum ctl_slot_state state = is_in_view(report, reporter)
					? state_of_phase(ctl_str(report->phase))
					: CTL_SLOT_NO_HOLDER;

	if (!s->view || report->epoch > s->view->epoch)
		*s = (struct ctl_slot){.view = report, .state = state};
	else if (report->epoch == s->view->epoch)
		s->state = worse(state, s->state);
}

enum agi_err ctl_slot_map_add(struct ctl_slot_map *m, struct agi_str node_id,
			      const Agihpc__V1__SlotsResponse *res, struct agi_why *why)
{
	if (res->slots_total > 1 << AGI_SLOT_BITS_MAX ||
	    (m->slots && res->slots_total && res->slots_total != m->n_slots))
		return agi_fail(why, AGI_E_MALFORMED, "it counts %u slots, others %u",
				res->slots_total, m->n_slots);
	for (size_t i = 0; i < res->n_slots; i++)
		if (res->slots[i]->slot >= res->slots_total)
			return agi_fail(why, AGI_E_MALFORMED, "it reports slot %u of %u",
					res->slots[i]->slot, res->slots_total);
	if (!m->slots && res->slots_total) {
		m->n_slots = res->slots_total;
		m->slots = ctl_alloc(sizeof *m->slots * m->n_slots);
		memset(m->slots, 0, sizeof *m->slots * m->n_slots);
	}
	for (size_t i = 0; i < res->n_slots; i++)
		add_slot(&m->slots[res->slots[i]->slot], node_id, res->slots[i]);
	return AGI_OK;
}

void ctl_slot_map_finish(struct ctl_slot_map *m)
{
	for (uint32_t i = 0; i < m->n_slots; i++) {
		const Agihpc__V1__Slot *view = m->slots[i].view;

		for (size_t j = 0; view && j < view->n_members; j++) {
			struct ctl_host *h = &m->hosts[host_of(m, ctl_str(view->members[j]))];

			h->slots++;
			m->slots[i].n_live += h->is_live;
		}
	}
}

void ctl_slot_map_totals(const struct ctl_slot_map *m, uint32_t replicas,
			 struct ctl_slot_totals *out)
{
	*out = (struct ctl_slot_totals){{0}, 0};
	for (uint32_t i = 0; i < m->n_slots; i++) {
		out->by_state[m->slots[i].state]++;
		out->under_replicated += m->slots[i].n_live < replicas;
	}
}
