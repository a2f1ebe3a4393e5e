/* SPDX-License-Identifier: Apache-2.0
 * Who serves the safety roles, as the registry knew it at one moment: a bounded copy that the loop of the core
 * makes and the safety loop works with. Too old is as if nobody were known: checks are then blocked. */
#ifndef AGI_NODE_SAFETY_KNOWN_H
#define AGI_NODE_SAFETY_KNOWN_H

#include "dht/dht.h"
#include "roles/safety_gateway/panel.h"

/* A host may have several instances and is asked once. */
enum {
	AGI_SAFETY_WITNESSES_MAX = 6,   /* hosts that may be asked to keep copies of audit entries */
	AGI_SAFETY_MEMBERS_SEEN = 256   /* of the hosts known, so many are looked at for them */
};
enum { AGI_SAFETY_KNOWN_MAX = 2 * AGI_PANEL_CANDIDATES_MAX, AGI_SAFETY_KNOWN_SERVICES = 3 };

struct agi_safety_known {
	uint64_t at_us; /* monotonic; 0 = never filled */
	struct agi_safety_known_row {
		struct agi_id node;
		struct agi_addr addr; /* overlay */
		uint32_t rtt_us;
	} rows[AGI_SAFETY_KNOWN_SERVICES][AGI_SAFETY_KNOWN_MAX];
	size_t n[AGI_SAFETY_KNOWN_SERVICES];
	struct agi_peer witnesses[AGI_SAFETY_WITNESSES_MAX];
	size_t n_witnesses;
	bool is_alone; /* no other host is known, up or not */
	/* for agi_safety_known_find: what its instances point to */
	struct agi_provider providers[AGI_SAFETY_KNOWN_MAX];
};

/* Where an instance runs. zone is borrowed; "" = none given: such a host is a domain of its own. */
struct agi_fault_domain {
	const char *zone;
	const uint8_t *ip; /* 16 bytes, as agi_addr.ip */
};
/* order: a permutation of 0 … n-1. Of n instances, nearest first, those come first that are from zones, and after that from hosts, of
 * which the fewest came before: the first of them are from as many fault domains as there are. n ≤ AGI_SAFETY_KNOWN_MAX. */
void agi_safety_spread(const struct agi_fault_domain *of, size_t n, size_t order[AGI_SAFETY_KNOWN_MAX]);
/* On the core's thread. Gateways are spread over fault domains, other instances are nearest first. */
void agi_safety_known_fill(struct agi_safety_known *k, const struct agi_dht *d, uint64_t now_us);
/* The same hosts in the same order (round trips may differ). */
bool agi_safety_known_eq(const struct agi_safety_known *a, const struct agi_safety_known *b);
/* As agi_dht_known_instances, of "safety-gateway", "erisml" and "in-action"; providers say service and node_addr only and are
 * valid until the next call. None when it is older than AGI_SAFETY_KNOWN_MS. */
size_t agi_safety_known_find(struct agi_safety_known *k, uint64_t now_us, struct agi_str service,
                             struct agi_instance *out, size_t max);
/* Other hosts, those of other zones first, then the nearest. *is_alone: there are none in the cluster. */
size_t agi_safety_known_witnesses(const struct agi_safety_known *k, uint64_t now_us, struct agi_peer *out, size_t max,
                                  bool *is_alone);

#endif
