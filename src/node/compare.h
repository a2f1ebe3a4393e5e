/* SPDX-License-Identifier: Apache-2.0
 * Compares what the members of every slot hold, by digests that each reads from its disk (dht/digest.c): checksums are
 * walked on the way. Slots that differ are looked at again, as writes may be under way; what differs after that is
 * told. One event loop.
 *
 *   NONE ──start──▶ RUNNING ──every slot judged──▶ DONE */
#ifndef AGI_NODE_COMPARE_H
#define AGI_NODE_COMPARE_H

#include "node/dht_host.h"

struct event_base;
struct agi_compare;

enum { AGI_COMPARE_TOLD_MAX = 64 /* slots that are told with all they show */ };
enum agi_compare_state { AGI_COMPARE_NONE, AGI_COMPARE_RUNNING, AGI_COMPARE_DONE };
/* A slot whose members do not agree, or do not answer. */
struct agi_compare_slot {
	struct agi_view view;
	struct agi_holding holding[AGI_REPLICAS_MAX]; /* as the view's members */
};
struct agi_compare_status {
	enum agi_compare_state state;
	uint32_t slots, judged;
	uint32_t same;        /* all members show the same */
	uint32_t different;   /* those who answered do not */
	uint32_t incomplete;  /* those who answered agree, but some did not (down, joining) */
	uint32_t damaged;     /* of all: slots that a member could not read */
	uint64_t records, bytes; /* in slots, each counted once */
	uint32_t n_told;
	const struct agi_compare_slot *told;
};

AGI_MUST_USE enum agi_err agi_compare_new(struct event_base *base, struct agi_dht_host *host,
                                          struct agi_compare **out);
void agi_compare_free(struct agi_compare *c);
/* FULL (one runs), NOT_READY, NOMEM + why. */
AGI_MUST_USE enum agi_err agi_compare_start(struct agi_compare *c, struct agi_why *why);
void agi_compare_look(const struct agi_compare *c, struct agi_compare_status *out);
/* Unix time at which the newest ended; 0: none has. */
int64_t agi_compare_last(const struct agi_compare *c, struct agi_compare_status *out);

#endif
