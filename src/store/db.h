/* SPDX-License-Identifier: Apache-2.0
 * RocksDB (7.8, C API) with this node's options and errors as ours. Private to src/store: no queue and no
 * thread here; whoever calls owns it for the time of the call. */
#ifndef AGI_STORE_DB_H
#define AGI_STORE_DB_H

#include "base/buf.h"
#include "base/storage.h"
#include "store/store.h"

struct agi_db;
typedef struct rocksdb_writebatch_t rocksdb_writebatch_t;

/* As agi_store_open. notice: set when something was put right on the way, else empty. */
AGI_MUST_USE enum agi_err agi_db_open(const struct agi_store_cfg *cfg, struct agi_db **out,
                                      struct agi_why *notice, struct agi_why *why);
void agi_db_close(struct agi_db *db);
const char *agi_db_path(const struct agi_db *db);
/* As agi_store_expire; any thread. */
void agi_db_expire(struct agi_db *db, uint64_t before_ms);
uint64_t agi_db_expired_bytes(const struct agi_db *db);

/* Appends the value to out. NOT_FOUND, IO, CORRUPT, NOMEM. */
AGI_MUST_USE enum agi_err agi_db_get(struct agi_db *db, enum agi_cf cf, struct agi_str key,
                                     struct agi_buf *out, struct agi_why *why);
/* As _get, when no disk has to be read for it; else FULL, and so for every error. Any thread, while others
 * use the database. */
AGI_MUST_USE enum agi_err agi_db_peek(struct agi_db *db, enum agi_cf cf, struct agi_str key,
                                      struct agi_buf *out);
/* What the value stored under key begins with; was_there is false when there is none. IO, CORRUPT. */
AGI_MUST_USE enum agi_err agi_db_get_version(struct agi_db *db, enum agi_cf cf, struct agi_str key,
                                             struct agi_storage_was *out, struct agi_why *why);
/* Notes what a stored value begins with. */
void agi_was_set(struct agi_storage_was *out, struct agi_str stored);
/* One item of a scan: bytes are borrowed until take returns; false stops. */
typedef bool agi_db_take_fn(void *arg, struct agi_str key, struct agi_str value);
/* Keys in [begin, end) in order (end empty: to the last key) until take says stop. */
AGI_MUST_USE enum agi_err agi_db_scan(struct agi_db *db, enum agi_cf cf, struct agi_str begin,
                                      struct agi_str end, agi_db_take_fn *take, void *arg,
                                      struct agi_why *why);

/* The ranges of req (base/heads.h) in order, as of one moment, until take says stop. */
AGI_MUST_USE enum agi_err agi_db_scan_heads(struct agi_db *db, const struct agi_storage_req *req,
                                            agi_db_take_fn *take, void *arg, struct agi_why *why);

/* As agi_store_copy; any thread. */
AGI_MUST_USE enum agi_err agi_db_copy(struct agi_db *db, const char *dir, struct agi_why *why);

/* Adds to the batch; PUT_NEWER is written as PUT, DELETE_IF as DELETE (the caller has judged them). */
void agi_db_batch_add(struct agi_db *db, rocksdb_writebatch_t *batch, const struct agi_storage_op *op);
/* Writes and syncs. On error nothing of the batch is visible to reads; after a crash it may be. */
AGI_MUST_USE enum agi_err agi_db_commit(struct agi_db *db, rocksdb_writebatch_t *batch,
                                        struct agi_why *why);
uint64_t agi_db_disk_bytes(struct agi_db *db);
/* Grows with every operation written. */
uint64_t agi_db_sequence(const struct agi_db *db);
/* Notes that everything up to this sequence number has been reported durable (mark.h). IO. */
AGI_MUST_USE enum agi_err agi_db_note_synced(struct agi_db *db, uint64_t seq, struct agi_why *why);
uint64_t agi_db_synced(const struct agi_db *db);
/* OK, or why RocksDB's flushes or compactions fail (then it may still take writes for a while). */
AGI_MUST_USE enum agi_err agi_db_background(struct agi_db *db, struct agi_why *why);
/* Write stalls as RocksDB tells them: stopped, or slowed down to so many bytes a second (0 = neither). Any
 * thread. */
void agi_db_stall(struct agi_db *db, bool *is_stopped, uint64_t *slowed_to);
/* Damage: the text becomes "FILE (items of slots 3 to 17) is damaged: cause", when it names a table. */
void agi_db_blame(struct agi_db *db, struct agi_why *why);

#endif
