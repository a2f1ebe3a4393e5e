/* SPDX-License-Identifier: Apache-2.0
 * Each held slot's Merkle trees, kept right while writes go on. Private to src/dht.
 *
 *             wanted                    every page read
 *   UNKNOWN ───────────▶ BUILDING ─────────────────────▶ KNOWN
 *      ▲                     │                             │
 *      └─────────────────────┴─────────────────────────────┘  a write failed, or one storage tells nothing of
 *
 * Trees live in memory only. After a start they are built by reading the slots in pages, in the background,
 * when somebody wants to compare. From then on every conditional write changes them: storage tells what it replaced.
 *
 * A page read in the middle of writes shows exactly those that were submitted before it (base/storage.h). So while a
 * slot is being built, a write changes the tree only if its key lies in what had been asked for before the write was;
 * otherwise a later page shows it. */
#ifndef AGI_DHT_TREE_H
#define AGI_DHT_TREE_H

#include "base/buf.h"
#include "dht/merkle.h"
#include "dht/timers.h"

struct agi_dht;
struct agi_slot;

enum agi_tree_state { AGI_TREE_UNKNOWN, AGI_TREE_BUILDING, AGI_TREE_KNOWN };
struct agi_tree {
	enum agi_tree_state state;
	uint32_t gen;              /* of what was learnt of it; writes of an earlier one do not count */
	uint32_t pages;            /* KNOWN: pages its building took */
	bool is_spoilt;            /* BUILDING: begin again */
	bool has_strong_dead;      /* KNOWN: a deleted register may be among the records */
	uint64_t dead_ms;          /* KNOWN: no item dies or died before this; AGI_NEVER = none ever will */
	struct agi_merkle *items, *strong; /* NULL: no records */
};

struct agi_trees {
	struct agi_timer pace;     /* the next page */
	uint32_t gen;
	uint32_t lo, hi;           /* slots being built; equal: none */
	bool is_strong;            /* items first, then registers */
	struct agi_buf next;       /* pages so far cover every key below this one */
	uint32_t pages_asked, pages_done;
	uint64_t job;
	bool is_wanted;            /* look for slots to build when this run is over */
	uint64_t scanned_bytes, built; /* since the start, for people */
};

void agi_trees_init(struct agi_dht *d);
void agi_trees_free(struct agi_dht *d);
/* Builds, in the background, whatever held slots lack. */
void agi_trees_want(struct agi_dht *d);
/* True while slots are being built, or are to be. */
bool agi_trees_is_busy(const struct agi_dht *d);
/* What is stored in the slot changed, or will, in a way nobody tells. */
void agi_tree_forget(struct agi_dht *d, struct agi_slot *s);
/* Over both kinds of records; all zero when there are none. Only of a KNOWN tree. */
void agi_tree_root(const struct agi_dht *d, const struct agi_slot *s, struct agi_merkle_hash *out);

/* --- for rpc.c: every storage request passes by ------------------------------------------------------ */
struct agi_storage_req;
struct agi_storage_done;
struct agi_tree_note;
/* What the completion of this write will have to change; NULL when nothing. */
struct agi_tree_note *agi_tree_note_new(struct agi_dht *d, const struct agi_storage_req *req);
void agi_tree_note_apply(struct agi_dht *d, const struct agi_tree_note *n,
                         const struct agi_storage_done *done);
void agi_tree_note_free(struct agi_tree_note *n);

#endif
