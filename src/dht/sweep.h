/* SPDX-License-Identifier: Apache-2.0
 * Dead records (deleted items, and items whose time to live is over) go for good. Private to src/dht.
 *
 * A dead record must stay until no older record of its key can come back. So, slot by slot, the first member asks
 * all members, while all are there:
 *
 *   SWEEP           "raise your floor to this stamp, durably; which of these dead records do you hold exactly?"
 *   SWEEP is_final  "drop those that all of us hold"   (AGI_DELETE_IF: only that very version)
 *
 * A member that holds a dead record holds nothing older of its key, and what it takes in later from where could be
 * older than what was dropped?
 *
 *   other members      hold nothing older either, for they were asked too; and what was asked of them before the
 *                      drop is thrown away when it comes after it (repair_pull.c)
 *   anybody else       a hint, a late write, a read repair, a former member that hands over: refused when it is not
 *                      newer than the floor, and not itself a deletion (replica.c)
 *   the node itself    what it kept from an earlier time as a member is made to fit when it joins again (join.c)
 *
 * The floor only grows, each time above that of every member; it moves with the slot. No clock takes part in this
 * argument. The grace (AGI_TOMBSTONE_GRACE_MS) is for another reason: what is refused was perhaps acknowledged (at
 * level one, by a host that was away), so it gets that long to arrive.
 *
 * A deleted register goes the same way, but needs no floor. Registers are only written by a leader, under its ballot.
 * The sweeping member first becomes leader of the slot under a ballot that no write had so far, and all members
 * promise it (lead.c): a mark. What was written below it is then refused by every one of them, from whomever and
 * whenever it comes, as it is in every later epoch; and of a register whose deletion all members hold, none holds
 * anything older. A read that meets both the deletion and its absence takes either for "absent".
 *
 * Both are kept for the grace for the sake of watches too: one that is resumed is told of deletions meanwhile. A register
 * does not tell when it was written, but that it was before the mark, and the mark is old enough. */
#ifndef AGI_DHT_SWEEP_H
#define AGI_DHT_SWEEP_H

#include "dht/repair.h"

enum {
	AGI_SWEEP_RECORDS = 512,      /* asked about at once */
	AGI_SWEEP_TIMEOUT_MS = 10000  /* members read the range at their own pace */
};

/* What is swept: items dead by the floor, or registers deleted below the ballot. */
struct agi_sweep_scope {
	bool is_strong;
	uint64_t epoch;          /* of the view */
	uint64_t floor;          /* registers: the ballot's epoch, this one or an earlier one */
	struct agi_ballot ballot;
};
static inline enum agi_cf agi_sweep_cf(const struct agi_sweep_scope *x)
{
	return x->is_strong ? AGI_CF_STRONG : AGI_CF_ITEMS;
}
/* May the record go when all members hold it? */
bool agi_sweep_is_dead(const struct agi_sweep_scope *x, const struct agi_kv *kv);
/* Hash of one record, as in a tree. */
void agi_sweep_hash(struct agi_dht *d, struct agi_merkle_hash *out, const struct agi_kv *kv);
void agi_sweep_serves_free(struct agi_dht *d);

#endif
