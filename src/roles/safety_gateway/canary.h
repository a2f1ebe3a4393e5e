/* SPDX-License-Identifier: Apache-2.0
 * Whether a gateway's judgement can be relied on. Again and again it is asked about two plans whose decisions are known: a
 * harmless one, which it must ALLOW, and one that violates rights, which its ErisML must have it BLOCK. What it says of
 * them is RIGHT, MISSED (it could not judge: no ErisML, none in time) or WRONG.
 *
 *   UNTRIED ──right──► PASSING ──wrong, or MISSES in a row missed──► FAILING ──PASSES in a row right──► PASSING
 *      └────────────────── wrong ───────────────────────────────────────┘
 *
 * Only a gateway that is PASSING is offered. One that was WRONG votes BLOCK until it is PASSING again: a wrong ALLOW is not
 * given while the others still learn of it. MISSED votes are BLOCK by themselves. Pure. */
#ifndef AGI_ROLES_SAFETY_GATEWAY_CANARY_H
#define AGI_ROLES_SAFETY_GATEWAY_CANARY_H

#include "roles/safety_gateway/gateway.h"

enum {
	AGI_CANARY_MS = 1000,      /* between two runs */
	AGI_CANARY_RETRY_MS = 200, /* while it does not pass */
	AGI_CANARY_MISSES = 3,     /* a loaded host is late once in a while: that is no reason to leave */
	AGI_CANARY_PASSES = 2,
	AGI_CANARY_STALE_MS = 5000 /* not run for so long: the gateway is not offered */
};

enum agi_canary_state { AGI_CANARY_UNTRIED, AGI_CANARY_PASSING, AGI_CANARY_FAILING };
enum agi_canary_found { AGI_CANARY_RIGHT, AGI_CANARY_MISSED, AGI_CANARY_WRONG, AGI_CANARY_FINDINGS };
const char *agi_canary_found_name(enum agi_canary_found f); /* "right" */

struct agi_canary {
	enum agi_canary_state state;
	unsigned in_a_row; /* misses while PASSING, passes while FAILING */
	bool is_wrong;     /* since it was last PASSING */
};
/* A run is over: the worse of what its two plans showed. */
void agi_canary_ran(struct agi_canary *c, enum agi_canary_found found);
/* Until the next run. */
uint32_t agi_canary_pause_ms(const struct agi_canary *c);

/* What the answer about one of the plans shows; why is set unless it is RIGHT. */
enum agi_canary_found agi_canary_judge(bool is_harmless, const struct agi_check_result *r, struct agi_why *why);
/* The policy that they are judged by: p's banned tools and mode, the default thresholds, and no rule file. A policy so strict
 * that nothing is allowed does not make its gateways ill: that they BLOCK then is their service. */
void agi_canary_policy(struct agi_gateway_policy *out, const struct agi_gateway_policy *p);

#endif
