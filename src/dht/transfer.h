/* SPDX-License-Identifier: Apache-2.0
 * A slot's records go from one host to another: what differs, not what is the same.
 *
 * Whoever pulls walks over the slot's key range, items first, then registers. For each page of what it holds
 * itself it asks the source to compare (a hash of keys and versions); a page that differs comes back as an index
 * (keys and versions), and the records it lacks or has older are fetched. Behind its own last key everything is
 * fetched. What is written is a merge (AGI_PUT_NEWER), so nothing newer is ever lost and everything may be repeated.
 *
 * An index is a list of  u16 key bytes ‖ key ‖ version (AGI_VERSION_BYTES), in order of keys; a list of records
 * u16 key bytes ‖ key ‖ be32 value bytes ‖ value. Keys and values are as stored (replica.c, reg.c). */
#ifndef AGI_DHT_TRANSFER_H
#define AGI_DHT_TRANSFER_H

#include "dht/state.h"

/* --- lists ------------------------------------------------------------------------------------------ */
void agi_index_put(struct agi_buf *b, struct agi_str key, struct agi_str value);
/* The next entry; false at the end, or (c->bad) when it does not decode. version has AGI_VERSION_BYTES. */
bool agi_index_next(struct agi_cur *c, struct agi_str *key, struct agi_str *version);
void agi_index_hash(struct agi_id *out, struct agi_str index);
void agi_records_list_put(struct agi_buf *b, const struct agi_kv *kv);
bool agi_records_list_next(struct agi_cur *c, struct agi_kv *kv);

/* --- the taker's side (pull.c) ----------------------------------------------------------------------- */
struct agi_pull;
typedef void agi_pull_fn(struct agi_dht *d, void *arg, enum agi_err err);
struct agi_pull {
	/* given */
	struct agi_dht *d;
	struct agi_slot *s;
	uint64_t epoch;         /* the source must be in it, and hold the slot */
	struct agi_id from;
	bool is_mirror;         /* what the source does not have is removed here … */
	bool is_stale;          /* … but for items above the source's floor */
	bool is_background;     /* waits for its share of the bandwidth */
	agi_pull_fn *fn;        /* once, unless cancelled; not before agi_pull_start returns */
	void *arg;
	/* private */
	bool is_strong, has_own_ended, is_comparing;
	uint64_t floor;         /* of the source */
	struct agi_buf cursor;  /* first key of the page; empty = the slot's first */
	struct agi_buf until;   /* its end; empty = the slot's */
	struct agi_buf own;     /* index of what is here */
	struct agi_buf want;    /* keys still to be fetched */
	uint64_t rpc, job;
	struct agi_timer wait;
};
/* The given fields are set, the others zero. */
void agi_pull_start(struct agi_pull *p);
/* Ends it without a word; also after its end, and when it was never started (all zero). */
void agi_pull_cancel(struct agi_pull *p);

#endif
