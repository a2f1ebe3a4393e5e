/* SPDX-License-Identifier: Apache-2.0
 * Where to join: the bootstrap list as addresses, whether this node is the first of it, and which address to
 * tell others. Names are resolved again while the node has not joined, since name service may come up later
 * than the node. */
#ifndef AGI_NODE_BOOTSTRAP_H
#define AGI_NODE_BOOTSTRAP_H

#include "node/resolve.h"

enum {
	AGI_RESOLVE_WAIT_MS = 3000, /* at start: names that take longer come later */
	AGI_RESOLVE_AGAIN_MS = 5000
};

/* One round, at most wait_ms; false when it has not ended by then (it goes on). */
bool agi_bootstrap_wait(struct agi_resolver *r, uint32_t wait_ms, struct agi_resolved *out);
/* The address to advertise: given when it is set; else listen, unless that is a wildcard; else the address
 * this host has towards the first listed host that is another one; else the host's own. */
void agi_bootstrap_advertise(struct agi_addr *out, const struct agi_addr *given,
                             const struct agi_addr *listen, const struct agi_resolved *list);
/* Entries that are this node by another address become the advertised one: when it listens on every address,
 * its port on any of them. */
void agi_bootstrap_name_self(struct agi_resolved *list, const struct agi_addr *advertise,
                             const struct agi_addr *listen);
/* This node is the list's first entry (after _name_self). */
bool agi_bootstrap_is_first(const struct agi_resolved *list, const struct agi_addr *advertise);

#endif
