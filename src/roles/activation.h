/* SPDX-License-Identifier: Apache-2.0
 * Whether this host serves a role that more hosts could serve than are wanted. Every capable host decides for itself,
 * from what it sees of the others; nobody leads (docs/decisions: activation).
 *
 * How many: enough for the load (sum of the active hosts' loads / target), between min and max. More at once; fewer
 * only by what was enough during the whole window, and at most a tenth (at least one) a minute.
 * Who: the first so many by rank: each host's place among those of its zone, then BLAKE2b(role ‖ 0 ‖ node id), so
 * that a few active hosts are spread over the zones.
 *
 *   standby ──fewer capable hosts rank before it than are wanted──▶ active
 *   standby ──fewer are active than are wanted, for PATIENCE──────▶ active
 *   active  ──as many *active* hosts rank before it, for HOLD─────▶ standby
 *
 * Every step of rank is monotone: who sees fewer hosts places itself no later. So the first min of the hosts that
 * live are active whatever part of the others each sees; views that differ make too many active, never too few, as
 * long as no host is seen that is dead. Leaving needs active successors that are seen, not successors that should be. */
#ifndef AGI_ROLES_ACTIVATION_H
#define AGI_ROLES_ACTIVATION_H

#include "base/id.h"
#include "base/limits.h"

enum {
	AGI_ACTIVATION_HOSTS_MAX = AGI_PROVIDERS_MSG_MAX, /* others that are looked at: what a node knows of a service */
	AGI_ACTIVATION_PATIENCE_MS = 5000, /* several refreshes of what is known: who should serve had its chance */
	AGI_ACTIVATION_HOLD_MS = 5000,     /* the same, so that what passes does not make a role come and go */
	AGI_ACTIVATION_STEP_MS = 60000,    /* between two steps down */
	AGI_ACTIVATION_SPANS = 8           /* parts of the window whose greatest demand is kept */
};

struct agi_activation_policy {
	uint32_t min_active;   /* 0: as many as max_active permits, whatever the load */
	uint32_t max_active;   /* 0: no limit; else at least min_active */
	uint32_t target_milli; /* load of an active host that is aimed at, 1 … 1000 */
	uint64_t window_us;    /* demand must have been lower for so long before anybody goes */
};

struct agi_activation_host {
	struct agi_id id;
	const char *zone;    /* borrowed; "" = none given: such a host is a zone of its own */
	uint32_t load_milli; /* 0 idle … 1000 full; of active hosts */
	bool is_active;
	bool is_fixed;       /* active without regard to a policy: ranks before all that have one */
};

enum agi_activation_view {
	AGI_ACTIVATION_BLIND, /* the others have not been asked for yet */
	AGI_ACTIVATION_STALE, /* the last known: nobody goes by it */
	AGI_ACTIVATION_FRESH
};

struct agi_activation {
	struct agi_activation_policy policy;
	char role[AGI_SERVICE_NAME_MAX + 1];
	bool is_active, has_level;
	uint32_t level;      /* so many are to be active, as this host has it */
	uint32_t wanted;     /* by the load at the last step, UINT32_MAX: all */
	uint32_t n_active;   /* seen active, this host included */
	uint32_t n_capable;  /* and all, this host included */
	uint32_t ahead;      /* of them, those that rank before this host */
	uint64_t began_us, next_down_us;
	uint64_t surplus_us, deficit_us; /* since when; 0: not so */
	uint64_t span_us;    /* when the newest of spans began */
	uint32_t spans[AGI_ACTIVATION_SPANS];
};

/* Begins in standby. */
void agi_activation_init(struct agi_activation *a, const char *role, const struct agi_activation_policy *policy,
                         uint64_t now_us);
/* About once a second. self: not is_fixed; is_active is not read. hosts: others, each once. n beyond
 * HOSTS_MAX is cut. Returns a->is_active. */
bool agi_activation_step(struct agi_activation *a, uint64_t now_us, enum agi_activation_view view,
                         const struct agi_activation_host *self, const struct agi_activation_host *hosts,
                         size_t n);
/* This host cannot serve the role now: when it can again it begins anew. */
void agi_activation_rest(struct agi_activation *a, uint64_t now_us);

#endif
