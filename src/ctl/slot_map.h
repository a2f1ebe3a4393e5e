/* SPDX-License-Identifier: Apache-2.0
 * Who holds which slot, put together from the answers of one or many nodes: for each slot the view
 * of the highest epoch that anybody reported. */
#ifndef AGI_CTL_SLOT_MAP_H
#define AGI_CTL_SLOT_MAP_H

#include <jansson.h>

#include "agihpc.pb-c.h"
#include "base/err.h"
#include "base/str.h"

/* How a slot stands, by what the members of its view said of themselves; the worst counts. */
enum ctl_slot_state {
	CTL_SLOT_UNREPORTED, /* no answer knew it */
	CTL_SLOT_ACTIVE,
	CTL_SLOT_JOINING,
	CTL_SLOT_SEALED,
	CTL_SLOT_LEAVING,
	CTL_SLOT_NO_HOLDER, /* its view is known, but none of the members answered */
	CTL_SLOT_STATES
};
const char *ctl_slot_state_name(enum ctl_slot_state s);

struct ctl_slot {
	const Agihpc__V1__Slot *view; /* borrowed from the answer; NULL = unreported */
	enum ctl_slot_state state;
	uint32_t n_live; /* members of the view that are up */
};
struct ctl_host {
	struct agi_str id, address, state; /* borrowed */
	bool is_live;                      /* counts as a replica */
	uint32_t slots;                    /* views it is in */
};
struct ctl_slot_map {
	uint32_t n_slots, n_hosts, hosts_cap;
	struct ctl_slot *slots;
	struct ctl_host
	    *hosts;         /* those of Members first, in its order; then ids found only in views */
	json_t *host_index; /* node id -> index */
};

/* hosts: the members as the asked node sees them; all but those "down" count as live. */
void ctl_slot_map_init(struct ctl_slot_map *m, const Agihpc__V1__MembersResponse *hosts);
void ctl_slot_map_free(struct ctl_slot_map *m);
/* Says whether a host answered: who was asked and did not is not live. */
void ctl_slot_map_set_live(struct ctl_slot_map *m, struct agi_str node_id, bool is_live);
/* Adds the answer of node_id, which must live as long as the map. MALFORMED with why when it
 * contradicts itself or an earlier answer (number of slots, a slot number out of range). */
AGI_MUST_USE enum agi_err ctl_slot_map_add(struct ctl_slot_map *m, struct agi_str node_id,
					   const Agihpc__V1__SlotsResponse *res,
					   struct agi_why *why);
/* After all answers: counts hosts' slots and live replicas. */
void ctl_slot_map_finish(struct ctl_slot_map *m);

struct ctl_slot_totals {
	uint32_t by_state[CTL_SLOT_STATES];
	uint32_t
	    under_replicated; /* fewer live replicas than `replicas`, the unreported included */
};
void ctl_slot_map_totals(const struct ctl_slot_map *m, uint32_t replicas,
			 struct ctl_slot_totals *out);

#endif
