/* SPDX-License-Identifier: Apache-2.0
 * Ask some, count, decide early: the one shape of every distributed operation here (lookup, read, write,
 * Paxos rounds). Pure bookkeeping: who was asked, who said what, and whether the outcome is settled.
 *
 *            asked          answered yes
 *     IDLE ────────▶ ASKED ─────────────▶ YES
 *       │              │  answered no
 *       │              ├─────────────────▶ NO      (the peer's own answer)
 *       │ not asked    │  no answer
 *       └─────────────▶└─────────────────▶ SILENT  (unreachable, timed out) */
#ifndef AGI_DHT_GATHER_H
#define AGI_DHT_GATHER_H

#include "dht/types.h"

enum agi_gather_state { AGI_GATHER_IDLE, AGI_GATHER_ASKED, AGI_GATHER_YES, AGI_GATHER_NO, AGI_GATHER_SILENT };
enum agi_gather_outcome {
	AGI_GATHER_OPEN, /* could still go either way */
	AGI_GATHER_WON,  /* need yes answers are there */
	AGI_GATHER_LOST  /* need yes answers cannot come any more */
};

struct agi_gather {
	uint32_t n, need;
	uint32_t yes, no, silent, asked; /* asked: outstanding now */
	uint8_t state[AGI_REPLICAS_MAX];
	uint64_t rpc[AGI_REPLICAS_MAX];  /* the caller's request ids, while ASKED */
};

/* n <= AGI_REPLICAS_MAX peers, need of them must say yes. */
void agi_gather_init(struct agi_gather *g, uint32_t n, uint32_t need);
void agi_gather_asked(struct agi_gather *g, uint32_t i, uint64_t rpc);
/* IDLE or ASKED → YES / NO / SILENT. A second answer of one peer is a bug of the caller. */
void agi_gather_answered(struct agi_gather *g, uint32_t i, enum agi_gather_state s);
enum agi_gather_outcome agi_gather_outcome(const struct agi_gather *g);
/* Nobody is asked any more: every peer has its final state or was never asked. */
bool agi_gather_is_quiet(const struct agi_gather *g);

#endif
