/* SPDX-License-Identifier: Apache-2.0
 * Histories of operations on single registers, and whether they are linearizable (Wing & Gong 1993, with the
 * memo of Lowe 2017; one register at a time, because linearizability is local). A value is a token; 0 is
 * "absent". What is added to a counter is a power of two, each once: the sum tells which additions were done. */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NONE: what certainly did nothing and told nothing. */
enum lin_kind { LIN_NONE, LIN_GET, LIN_PUT, LIN_DELETE, LIN_CAS, LIN_ADD };
enum { LIN_OPS_MAX = 384 };
#define LIN_PENDING UINT64_MAX

struct lin_op {
	enum lin_kind kind;
	uint64_t arg;        /* PUT, CAS: token written; ADD: what is added, one bit */
	uint64_t expected;   /* CAS: token that had to be there */
	uint64_t start, end; /* end LIN_PENDING: the outcome is unknown, it may happen at any time after start or never */
	uint64_t result;     /* GET: token; ADD: sum; DELETE: 1 when something was there; CAS: 1 when it was done */
	uint64_t saw;        /* CAS that was not done: token that was there */
	uint64_t version;    /* told with the result: of what was written or read; 0 = none */
};
struct lin_history {
	struct lin_op op[LIN_OPS_MAX]; /* in order of start */
	size_t n;
};

/* Returns the new operation's index, or -1 when the history is full. */
int lin_begin(struct lin_history *h, enum lin_kind kind, uint64_t arg, uint64_t expected, uint64_t now);
/* Is there an order of the operations that respects real time and gives every result seen? Undecided: a search of
 * bounded length neither found one nor came to its end. */
enum lin_answer { LIN_NO, LIN_YES, LIN_UNDECIDED };
enum lin_answer lin_check(const struct lin_history *h);
/* The same by search alone: of all orders, or of those that agree with the versions; and by laying the operations in
 * the order of their versions, which may miss an order that is there. */
enum lin_answer lin_search(const struct lin_history *h, bool is_by_version);
bool lin_has_witness(const struct lin_history *h);

#endif
