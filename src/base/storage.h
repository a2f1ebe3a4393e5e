/* SPDX-License-Identifier: Apache-2.0
 * What the core asks of storage, as values: the vocabulary between src/dht (which emits requests) and
 * whoever executes them (src/store with RocksDB, tests/sim in memory).
 *
 * Contract of every executor:
 *  - Requests of one node take effect in the order they were submitted; a read sees every write
 *    submitted before it (unless it says that it may lag). Completions come in that order too, but for reads
 *    that may lag and requests refused unseen (FULL, TOO_LARGE, NOMEM: nothing of them was done).
 *  - One write request is atomic: all of its operations or none survive a crash.
 *  - A write's completion is reported only after its bytes are durable (fsync), together with those of
 *    every earlier write.
 *  - After a failed write the store is read-only: every later write completes with READ_ONLY. */
#ifndef AGI_BASE_STORAGE_H
#define AGI_BASE_STORAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* Column families. The names on disk are agi_cf_name()'s and never change. */
enum agi_cf {
	AGI_CF_META,     /* node: key, incarnation, cluster id, known contacts */
	AGI_CF_ITEMS,    /* eventual items, by slot */
	AGI_CF_VIEWS,    /* slot views and their Paxos state */
	AGI_CF_HINTS,    /* writes owed to unreachable replicas */
	AGI_CF_REGISTRY, /* services registered on this host */
	AGI_CF_STRONG,   /* strong registers (issue C) */
	AGI_CF_AUDIT,    /* decision log (issue D) */
	AGI_CF_COUNT
};
const char *agi_cf_name(enum agi_cf cf);

enum agi_storage_verb {
	AGI_PUT,
	/* Writes value only when no value is stored under key, or when the stored value's first
	 * AGI_VERSION_BYTES bytes compare lower than the new one's (memcmp). This is last-writer-wins
	 * as a storage primitive: the comparison needs no read in the core, so writes to one key commute. */
	AGI_PUT_NEWER,
	AGI_DELETE,
	AGI_DELETE_RANGE, /* [key, value) */
	/* Deletes only what is exactly of this version: value has AGI_VERSION_BYTES bytes, and what is stored
	 * begins with them. */
	AGI_DELETE_IF
};
enum { AGI_HEAD_BYTES = 4 };     /* the slot, where keys begin with it */
enum { AGI_VERSION_BYTES = 40 }; /* be64 hybrid logical clock ‖ 32-byte node id */
/* A value in AGI_CF_ITEMS: version ‖ u8 flags ‖ be64 Unix time in ms when it expires (0 = never) ‖ bytes. Storage may
 * take the bytes of one that has expired, and then flags it as deleted (agi_store_expire). */
enum {
	AGI_ITEM_FLAGS_AT = AGI_VERSION_BYTES,
	AGI_ITEM_EXPIRY_AT = AGI_ITEM_FLAGS_AT + 1,
	AGI_ITEM_HEAD_BYTES = AGI_ITEM_EXPIRY_AT + 8,
	AGI_ITEM_IS_DELETED = 1 /* flag */
};

struct agi_storage_op {
	enum agi_storage_verb verb;
	enum agi_cf cf;
	struct agi_str key;
	struct agi_str value; /* AGI_DELETE_RANGE: the end key (exclusive) */
};

enum agi_storage_kind { AGI_STORAGE_WRITE, AGI_STORAGE_GET, AGI_STORAGE_SCAN };

struct agi_storage_req {
	enum agi_storage_kind kind;
	/* WRITE */
	const struct agi_storage_op *ops;
	size_t n_ops;
	/* GET: cf, begin = key. SCAN: keys in [begin, end) in order, at most max_items and about max_bytes
	 * (at least one item when there is one). */
	enum agi_cf cf;
	struct agi_str begin, end;
	uint32_t max_items, max_bytes;
	uint32_t value_bytes; /* SCAN: so many first bytes of each value; 0 = all of it */
	/* SCAN of many ranges at once, as of one moment: heads holds AGI_HEAD_BYTES each, ascending; the ranges are
	 * [head ‖ begin, head ‖ end), neither empty. In the first one, what is below head ‖ after or equal to it is
	 * left out, when after is not empty. Ranges without keys cost nothing. Empty heads: the one range above. */
	struct agi_str heads, after;
	/* GET: need not see writes whose completion is still to come, so that it can be answered sooner. It sees
	 * every write whose completion was reported before, and reads of one key never go back. */
	bool may_lag;
};

struct agi_kv {
	struct agi_str key, value;
};

/* What a conditional operation (AGI_PUT_NEWER, AGI_DELETE_IF) found under its key, and whether it was done. */
struct agi_storage_was {
	bool is_done, was_there;
	uint8_t n;                          /* bytes of version: fewer than all when the value was shorter */
	uint8_t version[AGI_VERSION_BYTES]; /* what the value began with */
};

/* A completion. Everything is borrowed until the call that delivers it returns. */
struct agi_storage_done {
	enum agi_err err;       /* OK; NOT_FOUND (GET); READ_ONLY, IO, CORRUPT */
	const struct agi_kv *kv; /* GET: one; SCAN: n */
	size_t n;
	bool has_more;          /* SCAN: the range held more */
	/* WRITE, on OK: one for each operation, in order (zero for an unconditional one); NULL when none of the
	 * operations was conditional. */
	const struct agi_storage_was *was;
	struct agi_why why;     /* on error */
};

#endif
