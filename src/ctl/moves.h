/* SPDX-License-Identifier: Apache-2.0
 * Slots on the move, as every member reports its part: asked for, added up, and shown as a line of progress. */
#ifndef AGI_CTL_MOVES_H
#define AGI_CTL_MOVES_H

#include "agihpc.pb-c.h"
#include "base/buf.h"
#include "ctl/call.h"

/* What all reports say together. */
struct ctl_moves_sum {
	uint32_t reports, silent;  /* members that answered, and that did not */
	bool is_settled;           /* every member answered and has nothing to do */
	uint64_t to_move, working; /* slots; working: preparing or proposing */
	uint64_t joining, handing_over, copying;
	uint64_t changes;          /* led to their end since the nodes started */
	uint64_t bytes_in, slots_in;
	uint64_t pauses;
	double pause_mean_ms, pause_max_ms;
	double bytes_per_s, changes_per_s;
	uint64_t bytes_per_slot;   /* moved for one slot, on average; an estimate until some have moved */
};

struct ctl_moves {
	struct ctl_call list;      /* Members */
	struct ctl_call *calls;    /* Rebalance, one per member; path NULL: down, not asked */
	size_t n;
	struct ctl_moves_sum sum;
};
/* Asks the chosen node for the members and each of these (or, is_local, only that node). Reports its own errors;
 * members that do not answer are counted. Clear it in any case. */
AGI_MUST_USE enum ctl_exit ctl_moves_ask(struct ctl *c, bool is_local, struct ctl_moves *m);
void ctl_moves_clear(struct ctl_moves *m);
/* i-th report; NULL when that member did not answer. */
const Agihpc__V1__RebalanceResponse *ctl_moves_report(const struct ctl_moves *m, size_t i);

/* Adds one report. Call _finish after the last. */
void ctl_moves_add(struct ctl_moves_sum *s, const Agihpc__V1__RebalanceResponse *r);
void ctl_moves_finish(struct ctl_moves_sum *s);
/* Seconds until nothing is left to move; negative: nobody can tell. */
double ctl_moves_eta_s(const struct ctl_moves_sum *s);

/* One line of `columns` characters at most, without its end: "[#####.....] 50 %  12/24 slots  1.2 MiB/s  40 s left".
 * done of total slots. */
void ctl_progress_line(struct agi_buf *out, size_t columns, uint64_t done, uint64_t total,
		       double bytes_per_s, double eta_s);

#endif
