/* SPDX-License-Identifier: Apache-2.0
 * Items whose time is over lose their bytes when RocksDB rewrites their table anyway: a compaction filter. Private to
 * src/store.
 *
 * The record itself stays, with its version: while a replica still has the value, somebody must know that it is over. It
 * goes when all replicas have it (src/dht/sweep.h). Nothing here is a write: no sequence number, no log, no sync. */
#ifndef AGI_STORE_EXPIRY_H
#define AGI_STORE_EXPIRY_H

#include <rocksdb/c.h>
#include <stdatomic.h>

#include "base/storage.h"

struct agi_expiry {
	_Atomic uint64_t before_ms; /* Unix time; what expired before it is over for everybody; 0 = nothing is */
	_Atomic uint64_t bytes;     /* not written again because of that, since the start */
	rocksdb_compactionfilter_t *filter;
};

/* A filter for x, which must stay where it is until _free, and that until the database is closed. */
void agi_expiry_init(struct agi_expiry *x);
void agi_expiry_free(struct agi_expiry *x);
/* Writes what is left of the record; false when it stays as it is. */
bool agi_expiry_strip(uint64_t before_ms, struct agi_str value, uint8_t head[AGI_ITEM_HEAD_BYTES]);

#endif
