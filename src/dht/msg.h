/* SPDX-License-Identifier: Apache-2.0
 * What nodes say to each other, as values. The shell turns them into protobuf (proto/overlay.proto, by
 * src/node/msg_codec.c) and back; the simulator copies them. Every request has one answer kind; an
 * answer carries its request's rpc_id. All pointers are borrowed by whoever receives the struct. */
#ifndef AGI_DHT_MSG_H
#define AGI_DHT_MSG_H

#include "dht/coord.h"
#include "dht/types.h"

#define AGI_MSG_KINDS(X)                                                                       \
	X(PING, 1)            /* contact, cluster, wall_ms, coord: "here I am"; answer PONG;      */ \
	                      /* target: who asked for it and misses the receiver, zero = nobody  */ \
	X(PONG, 2)            /* contact, cluster, wall_ms, coord                                 */ \
	X(FIND_NODE, 3)       /* target; answer NODES                                             */ \
	X(NODES, 4)           /* contacts, nearest first                                          */ \
	X(VIEW_GET, 5)        /* slot; answer VIEW_INFO                                           */ \
	X(VIEW_INFO, 6)       /* view (epoch 0 = unknown), phase, contacts of its members         */ \
	X(WRITE, 7)           /* slot, epoch, items, level, seq: the stamp the item is to         */ \
	                      /* overrule, 0 = none; answer WRITE_ACK                             */ \
	X(WRITE_ACK, 8)       /* status; on STALE_EPOCH / NOT_MEMBER the newer view; on OK seq:   */ \
	                      /* the highest stamp that overrules an item, 0 = none               */ \
	X(READ, 9)            /* slot, epoch, ns, key; answer READ_ACK                            */ \
	X(READ_ACK, 10)       /* status; item when has_item                                       */ \
	X(VIEW_PREPARE, 11)   /* slot, epoch (of the old view), ballot; answer VIEW_PROMISE       */ \
	X(VIEW_PROMISE, 12)   /* status, ballot (highest seen), accepted proposal if any          */ \
	X(VIEW_ACCEPT, 13)    /* slot, epoch (old), ballot, view (proposed next), accepted_ballot */ \
	                      /* of who has accepted that view before, round 0 = it is new        */ \
	X(VIEW_ACCEPTED, 14)  /* status, ballot                                                   */ \
	X(VIEW_DECIDED, 15)   /* view (new), sources (sealed majority of the old one); VIEW_INFO  */ \
	X(SLOT_PULL, 16)      /* slot, epoch, is_strong, [cursor, end)  , blob: keys (none = all)  */ \
	X(SLOT_ITEMS, 17)     /* status, blob: records as stored, cursor (the next), has_more     */ \
	X(PROVIDER_PUT, 18)   /* providers; answer PROVIDER_ACK                                   */ \
	X(PROVIDER_ACK, 19)   /* status                                                           */ \
	X(PROVIDER_GET, 20)   /* service; answer PROVIDERS                                        */ \
	X(PROVIDERS, 21)      /* providers                                                        */ \
	X(GOODBYE, 22)        /* one-way: this node shuts down in order                           */ \
	X(REFUSED, 23)        /* status, why: answer to a request that makes no sense here        */ \
	X(LEAD, 24)           /* slot, epoch, ballot: "only I write this slot's registers"; LED    */ \
	X(LED, 25)            /* status, ballot (highest promised)                                */ \
	X(REG_WRITE, 26)      /* slot, epoch, ballot, seq, one item; answer REG_ACK               */ \
	X(REG_ACK, 27)        /* status, ballot (highest promised)                                */ \
	X(REG_READ, 28)       /* slot, epoch, ns, key; ballot when a leader asks; answer REG_STATE */ \
	X(REG_STATE, 29)      /* status; when has_item, one item whose value is the stored record */ \
	X(STRONG_DO, 30)      /* slot, epoch, op, expected, floor, one item; answer STRONG_DONE   */ \
	X(STRONG_DONE, 31)    /* status, has_item (found), one item (value, version)              */ \
	X(LEFT, 32)           /* one-way: this node has handed over everything and never returns  */ \
	X(COMPARE, 33)        /* hashes: slots, epochs, roots (repair.h); answer COMPARED         */ \
	X(COMPARED, 34)       /* hashes: one enum agi_compared for each                           */ \
	X(LEAVES_GET, 35)     /* slot, epoch; answer LEAVES                                       */ \
	X(LEAVES, 36)         /* status; hashes: the leaves of both trees                         */ \
	X(DIFF_PULL, 37)      /* slot, epoch, is_strong, mask, cursor, end, hashes: what the      */ \
	                      /* asker has in [cursor, end); answer DIFF_ITEMS                    */ \
	X(DIFF_ITEMS, 38)     /* status, items it lacks, has_more and cursor to go on from        */ \
	X(SWEEP, 39)          /* slot, epoch, is_strong, floor, ballot, cursor, end, hashes: dead */ \
	                      /* records in [cursor, end); is_final: drop them; answer SWEPT      */ \
	X(SWEPT, 40)          /* status, floor, hashes: one bit for each that is held exactly     */ \
	X(SCAN, 41)           /* is_strong, blob: what is to be read of which slots (page.h)      */ \
	X(SCANNED, 42)        /* status, has_more, blob: slots refused, records                   */ \
	X(WATCH, 43)          /* is_strong, blob: a watch and the slots it is to look at (feed.h) */ \
	X(WATCHED, 44)        /* status, blob: slots it does not look at (any more)               */ \
	X(CHANGED, 45)        /* blob: keys of a watch that changed; answer NOTED                 */ \
	X(NOTED, 46)          /* status                                                           */ \
	X(SLOT_COMPARE, 47)   /* slot, epoch, is_strong, [cursor, end), target: hash of my index */ \
	X(SLOT_INDEX, 48)     /* status, has_item: the same; else blob, cursor (the next), has_more */ \
	X(SLOT_COPY, 49)      /* view: become a member soon, copy its slot now; answer SLOT_COPIED */ \
	X(SLOT_COPIED, 50)    /* status; has_item: done; seq: bytes so far                        */ \
	X(OPERATE, 51)        /* blob: an operator's task for the node's shell; answer OPERATED   */ \
	X(OPERATED, 52)       /* status, blob                                                     */ \
	X(DIGEST, 53)         /* slot, epoch, floor: when items expire; answer DIGESTED           */ \
	X(DIGESTED, 54)       /* status, blob: what is held of the slot (digest.c)                */ \
	X(FAREWELL, 55)       /* sources: hosts out of its reach; "may I leave?"; FAREWELL_ACK    */ \
	X(FAREWELL_ACK, 56)   /* status: SEALED when slot still counts on it (farewell.c)         */ \
	X(PING_REQ, 57)       /* target: "can you reach it?"; answer REACHED                      */ \
	X(REACHED, 58)        /* status                                                           */

enum agi_msg_kind {
#define AGI_MSG_ENUM(name, number) AGI_MSG_##name = number,
	AGI_MSG_KINDS(AGI_MSG_ENUM)
#undef AGI_MSG_ENUM
	AGI_MSG_KIND_MAX
};
const char *agi_msg_kind_name(enum agi_msg_kind k);
bool agi_msg_is_answer(enum agi_msg_kind k);

/* Ballot of a view change within one epoch: round first, then the proposer's id. round 0 = none. */
struct agi_ballot {
	uint64_t round;
	struct agi_id node;
};

/* What a strong operation does to its register. */
enum agi_strong_op {
	AGI_STRONG_GET,
	AGI_STRONG_PUT,
	AGI_STRONG_DELETE,
	AGI_STRONG_CAS, /* put, or delete (a tombstone), if the version is `expected` (0 = absent) */
	AGI_STRONG_ADD, /* the value is a decimal number: add `delta`, answer the sum */
	AGI_STRONG_REPAIR /* nothing: but all members hold the same write of it afterwards */
};

/* One struct for all kinds: few fields, most shared; the comment above says which count for a kind.
 * Unset fields are zero. */
struct agi_msg {
	enum agi_msg_kind kind;
	uint64_t rpc_id;
	enum agi_err status;
	struct agi_str why;              /* REFUSED */
	struct agi_id cluster;           /* PING, PONG: zero = in no cluster */
	struct agi_contact contact;      /* PING, PONG: the sender */
	struct agi_id target;
	uint32_t slot;
	uint64_t epoch;
	struct agi_ballot ballot;
	struct agi_ballot accepted_ballot;
	struct agi_view view;
	enum agi_view_phase phase;
	struct agi_str ns, key;
	struct agi_str service;
	struct agi_str cursor;           /* opaque to the receiver of a page; or where a range of keys begins … */
	struct agi_str end;              /* … and ends (exclusive) */
	struct agi_str hashes;           /* lists of hashes, packed */
	struct agi_str blob;             /* other lists, packed by the module that sends them */
	uint64_t mask;                   /* DIFF_PULL: bit i: leaf i of the tree is meant */
	uint64_t floor;                  /* SWEEP, SWEPT, SLOT_ITEMS: stamp up to which tombstones were collected (SWEEP of
	                                    registers: the ballot's epoch); WRITE_ACK: items were left out for it; STRONG_DO:
	                                    the version that is given is higher than this; DIGEST: Unix time in ms */
	bool is_final;                   /* SWEEP */
	bool has_more, has_item;
	bool is_copy;                    /* VIEW_INFO, SLOT_ITEMS, SLOT_INDEX: what I hold is only copied, not my own */
	bool is_background;              /* SLOT_PULL, SLOT_COMPARE: may be told to wait */
	uint32_t wait_ms;                /* with status FULL: ask again after so long */
	bool is_strong;                  /* SLOT_…: registers, not eventual items */
	uint64_t seq;                    /* REG_WRITE: the leader's count of its writes */
	enum agi_strong_op op;
	uint64_t expected;
	int64_t delta;
	uint64_t wall_ms;                /* PING, PONG: the sender's clock, ms since 1970; 0 = not told */
	bool has_coord;                  /* PING, PONG */
	struct agi_coord coord;          /* the sender's; believed only when it is sane */
	bool is_transfer;                /* WRITE: repair, hint or release, not a client's write */
	const struct agi_contact *contacts;
	size_t n_contacts;
	const struct agi_item *items;
	size_t n_items;
	const struct agi_provider *providers;
	size_t n_providers;
	struct agi_id sources[AGI_REPLICAS_MAX];
	uint8_t n_sources;
};

/* A deep copy in one allocation (free with free()); NULL when out of memory. */
struct agi_msg *agi_msg_clone(const struct agi_msg *m);

#endif
