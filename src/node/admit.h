/* SPDX-License-Identifier: Apache-2.0
 * Which client operation goes to the core next. At most `running_max` are there at a time; the others wait in one
 * queue per namespace, served in turns by deficit round robin (Shreedhar, Varghese 1995; the cost is bytes), so
 * that a namespace that floods waits behind itself. The queues together are bounded too: when they are full the
 * longest one gives up its last, and who cannot be answered in time is refused at once.
 *
 *   enter ──room──▶ running ─────────────────────────▶ leave
 *     │──no room──▶ queued ──its turn (next)──▶ running
 *     └──refused: when to come again    └──pushed out by a namespace with less
 *
 * Values and lists only: no clock, no events. One thread. */
#ifndef AGI_NODE_ADMIT_H
#define AGI_NODE_ADMIT_H

#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/str.h"

struct agi_admit;
struct agi_admit_ns;

struct agi_admit_cfg {
	uint32_t running_max; /* operations in the core */
	uint64_t running_bytes_max; /* and what they carry; one always may */
	uint32_t queued_max;
	uint64_t queued_bytes_max;
};

/* Part of whoever enters; private but for pushed_out. */
struct agi_admit_entry {
	struct agi_admit_ns *ns;
	uint64_t cost, since_us;
	enum { AGI_ADMIT_OUT, AGI_ADMIT_QUEUED, AGI_ADMIT_RUNNING } state;
	TAILQ_ENTRY(agi_admit_entry) link;
};

enum agi_admit_verdict {
	AGI_ADMIT_RUN,   /* it runs: start it */
	AGI_ADMIT_WAIT,  /* it is queued: agi_admit_next will give it out */
	AGI_ADMIT_REFUSE /* come again after *retry_ms */
};
struct agi_admit_stats {
	uint32_t running, queued, namespaces; /* now; namespaces with one of them */
	uint64_t running_bytes, queued_bytes;
	uint64_t admitted, waited, wait_us;   /* since the start; those that waited, and how long in all */
	uint64_t refused_full, refused_late, pushed_out;
	uint64_t per_s;                       /* operations ended a second, lately */
};

AGI_MUST_USE enum agi_err agi_admit_new(const struct agi_admit_cfg *cfg, struct agi_admit **out);
/* Nobody is in any more. NULL is allowed. */
void agi_admit_free(struct agi_admit *a);

/* bytes: of what it carries; left_ms: how long its client waits (UINT32_MAX = for ever). REFUSE as well when out of
 * memory. *pushed: another entry that lost its place to this one: it is to be refused, and to leave; or NULL. */
enum agi_admit_verdict agi_admit_enter(struct agi_admit *a, struct agi_admit_entry *e, struct agi_str ns,
                                       uint64_t bytes, uint32_t left_ms, uint64_t now_us,
                                       struct agi_admit_entry **pushed, uint32_t *retry_ms);
/* The next that may run, which does now; NULL when none waits or there is no room. */
struct agi_admit_entry *agi_admit_next(struct agi_admit *a, uint64_t now_us);
bool agi_admit_has_next(const struct agi_admit *a);
/* It has ended, or waits no more. */
void agi_admit_leave(struct agi_admit *a, struct agi_admit_entry *e);
/* Every AGI_ADMIT_TICK_MS: how fast operations end, for what is told to those refused. */
enum { AGI_ADMIT_TICK_MS = 100 };
void agi_admit_tick(struct agi_admit *a);
/* When one of this namespace that is refused now should come again: 20 ms to 5 s. */
uint32_t agi_admit_retry_ms(const struct agi_admit *a, struct agi_str ns);
void agi_admit_stats(const struct agi_admit *a, struct agi_admit_stats *out);
/* Walks everything and asserts that the counts are right. */
void agi_admit_check(const struct agi_admit *a);

#endif
