/* SPDX-License-Identifier: Apache-2.0
 * Keeping replicas alike (anti-entropy), always on, in the background. Private to src/dht.
 *
 * Every active member of a slot compares with every other one, at an interval and soon after one of them came back:
 *
 *   COMPARE     the roots of many slots in one message; the answer says which differ        28 bytes a slot
 *   LEAVES_GET  of one that differs, twice, so that what is merely on its way drops out     2 KiB a slot
 *   DIFF_PULL   "this is what I have in the leaves that differ": a digest each              24 bytes a record
 *   DIFF_ITEMS  items the other has newer or alone, and only those
 *
 * Data is only ever pulled, by a member from a member of the same epoch: what a node takes in is what it asked for
 * itself, after it knew which tombstones were collected (sweep.h). Both sides compare, so both become whole.
 *
 * Registers are not copied: a member that promised a higher ballot must not accept an older write, or a reader
 * could take for chosen what a later leader decided without. Their keys are given to the slot's leader, which
 * writes what a majority holds anew, under its own ballot (AGI_STRONG_REPAIR).
 *
 *   repair.c   when to compare what with whom       repair_pull.c   one slot from one peer
 *   repair_serve.c  the answers                     repair_reg.c    registers */
#ifndef AGI_DHT_REPAIR_H
#define AGI_DHT_REPAIR_H

#include "dht/state.h"

enum {
	AGI_COMPARE_SLOTS = 256,      /* in one message */
	AGI_COMPARE_BYTES = 28,       /* be32 slot ‖ be64 epoch ‖ root */
	AGI_REPAIR_DIGESTS = 512,     /* in one DIFF_PULL, after a nonce */
	AGI_REPAIR_SCAN_ITEMS = 512,  /* read from the disk at once */
	AGI_REPAIR_PULLS = 4,         /* slots pulled at once, of different peers */
	AGI_REPAIR_TIMEOUT_MS = 10000 /* of one DIFF_PULL: its source reads at its own pace */
};
/* On the wire: never change. */
enum agi_compared {
	AGI_COMPARED_SAME,
	AGI_COMPARED_DIFFERS,
	AGI_COMPARED_LATER,  /* the tree is not known yet */
	AGI_COMPARED_OTHER   /* not an active member of this epoch */
};

/* One slot pulled from one peer. */
struct agi_repair_pull {
	struct agi_repair_peer *peer;
	uint32_t slot;
	uint64_t epoch;
	uint64_t mask[2];          /* leaves that differ: of items, of registers */
	bool has_looked;           /* leaves have been compared once */
	bool is_strong;            /* what is being pulled */
	bool is_partial;           /* something had to be left for another time */
	uint8_t nonce[AGI_NONCE_BYTES];
	struct agi_buf begin, end; /* range of keys that own covers */
	struct agi_buf own;        /* nonce ‖ digests of what we have there */
	size_t n_own;
	uint32_t sweeps;           /* of the slot, when the peer was asked */
	struct agi_buf next;       /* where the peer goes on */
	bool has_more;
	uint64_t rpc, job;
	struct agi_timer pace;
	void (*step)(struct agi_repair_pull *p); /* what pace is for */
};

struct agi_repair_peer {
	struct agi_id id;
	struct agi_dht *d;
	uint32_t n, at;            /* slots asked about, then those that differ; the one being pulled */
	uint32_t slot[AGI_COMPARE_SLOTS];
	uint64_t epoch[AGI_COMPARE_SLOTS];
	uint64_t rpc;              /* COMPARE on its way */
	bool is_pulling, has_asked;
	uint64_t not_before_us;
	struct agi_repair_pull pull;
	UT_hash_handle hh;
};

/* Whether this node may pull the slot from that peer now. */
bool agi_repair_may(const struct agi_dht *d, uint32_t slot, uint64_t epoch, const struct agi_id *peer);
/* Member i of the slot's view, or -1. */
int agi_repair_place(const struct agi_slot *s, const struct agi_id *id);
/* Reads and writes in the background share one rate: when the next of them may begin after so many bytes. */
uint64_t agi_repair_pace(struct agi_dht *d, uint64_t bytes);
/* The slot was compared with that member: alike, or made so. */
void agi_repair_same(struct agi_dht *d, struct agi_slot *s, const struct agi_id *peer);

/* Pulls p->slot[p->at]; agi_repair_pulled is called once, never before return. */
void agi_repair_pull_begin(struct agi_repair_peer *p);
void agi_repair_pull_abort(struct agi_repair_peer *p);
void agi_repair_pulled(struct agi_repair_peer *p, bool is_whole);

/* False when there is no room for it. */
bool agi_repair_register(struct agi_dht *d, uint32_t slot, struct agi_str ns, struct agi_str key);
void agi_repair_registers_free(struct agi_dht *d);
void agi_repair_serves_free(struct agi_dht *d);

#endif
