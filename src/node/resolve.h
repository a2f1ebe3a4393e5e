/* SPDX-License-Identifier: Apache-2.0
 * Names of a bootstrap list to addresses, with the system's resolver (hosts file, DNS, whatever nsswitch
 * says), on a thread of its own so that a slow name server never holds up the loop. One round at a time. */
#ifndef AGI_NODE_RESOLVE_H
#define AGI_NODE_RESOLVE_H

#include "base/addr.h"
#include "base/limits.h"
#include "config/config.h"

struct agi_resolver;

struct agi_resolved {
	struct agi_addr addr[AGI_BOOTSTRAP_MAX]; /* first address of each name that resolved, in list order */
	size_t n;
	bool is_first_known;     /* addr[0] belongs to the list's first entry */
	size_t n_failed;
	char failed[256];        /* "node9: Name or service not known", the first that failed */
};

/* endpoints are copied. NOMEM. */
AGI_MUST_USE enum agi_err agi_resolver_new(const struct agi_endpoints *endpoints,
                                           struct agi_resolver **out);
/* Never waits: a round still running ends on its own. NULL is allowed. */
void agi_resolver_free(struct agi_resolver *r);
/* Begins a round unless one is running. INTERNAL when no thread can be started. */
AGI_MUST_USE enum agi_err agi_resolver_begin(struct agi_resolver *r);
/* Readable when a round has ended. */
int agi_resolver_fd(const struct agi_resolver *r);
/* The result of a round that has ended since the last call; false when there is none. */
bool agi_resolver_take(struct agi_resolver *r, struct agi_resolved *out);

#endif
