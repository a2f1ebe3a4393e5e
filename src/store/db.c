/* SPDX-License-Identifier: Apache-2.0
 * Options, and why:
 *  - WAL recovery "tolerate corrupted tail" (0): a record cut short at the end of the log was never
 *    acknowledged and is dropped; a bad checksum anywhere is an error.
 *    Point-in-time recovery would open there and silently forget acknowledged writes behind the damage. After
 *    a power cut a disk may have kept some sectors of the last write only: wal.h tells that from damage, and
 *    such an end is cut off.
 *  - Memory: 200 daemons share one machine in tests. One small cache holds data, index and filter blocks of all
 *    column families; the memtables share one bound, which one busy family may use up (the larger a memtable,
 *    the less is rewritten by compactions); arenas start small; few files are open. */
#include "store/db.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/heads.h"
#include "store/db_impl.h"
#include "store/mend.h"

enum {
	CACHE_BYTES_DEFAULT = 8 << 20,
	MEMTABLE_BYTES_DEFAULT = 16 << 20,
	TABLE_SYNC_BYTES = 256 << 10, /* tables go to the disk as they are written: syncs of the log do not wait for bursts */
	ARENA_BYTES = 64 << 10,       /* per column family, taken at its first write */
	WAL_BYTES_MAX = 64 << 20,     /* rarely written families are flushed so that old logs go */
	MANIFEST_BYTES_MAX = 4 << 20,
	MANIFEST_PREALLOC_BYTES = 64 << 10,
	OPEN_FILES_MAX = 128,
	INFO_LOGS = 1,
	INFO_LOG_FATAL = 4, /* InfoLogLevel::FATAL_LEVEL */
	READ_TIER_CACHE = 1,          /* ReadTier::kBlockCacheTier: Incomplete instead of I/O */
	WAL_TOLERATE_TAIL = 0         /* WALRecoveryMode::kTolerateCorruptedTailRecords */
};
static const double BLOOM_BITS = 10; /* per key: 1 % false positives */

const char *agi_db_path(const struct agi_db *db) { return db->path; }

/* --- errors ----------------------------------------------------------------------------------- */
static enum agi_err code_of(const char *status)
{
	if (strncmp(status, "Corruption", 10) == 0)
		return AGI_E_CORRUPT;
	return AGI_E_IO;
}

/* Frees status. */
static enum agi_err fail_take(struct agi_why *why, const char *what, const char *path, char *status)
{
	enum agi_err e = code_of(status);
	char *old = strstr(status, ".ldb:");

	if (old) /* of a missing table RocksDB tells the name that LevelDB gave it, which it tried last */
		memcpy(old, ".sst", 4);
	(void)agi_fail(why, e, "%s %s: %s", what, path, status);
	rocksdb_free(status);
	return e;
}

/* --- opening ---------------------------------------------------------------------------------- */
static enum agi_err sync_dir(const char *path, struct agi_why *why)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = 0;

	if (fd < 0 || fsync(fd) != 0)
		err = errno;
	if (fd >= 0)
		close(fd);
	return err ? agi_fail(why, AGI_E_IO, "%s: cannot sync the directory: %s", path, strerror(err))
	           : AGI_OK;
}

static enum agi_err make_dir(const char *path, struct agi_why *why)
{
	char parent[PATH_MAX];
	struct stat st;

	if (mkdir(path, 0700) == 0) {
		snprintf(parent, sizeof parent, "%s", path);
		return sync_dir(dirname(parent), why);
	}
	if (errno != EEXIST)
		return agi_fail(why, AGI_E_IO, "%s: cannot create the directory: %s", path, strerror(errno));
	if (stat(path, &st) != 0)
		return agi_fail(why, AGI_E_IO, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return agi_fail(why, AGI_E_IO, "%s: expected a directory", path);
	return AGI_OK;
}

/* RocksDB's lock is a POSIX record lock on LOCK; another process's holder can be asked for. Never asked
 * within the process that holds it: closing the file there would release the lock. */
static enum agi_err fail_locked(const char *path, bool is_own, struct agi_why *why)
{
	char lock[PATH_MAX + 8];
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd, pid = 0;

	if (is_own)
		return agi_fail(why, AGI_E_EXISTS, "%s: already open in this process", path);
	snprintf(lock, sizeof lock, "%s/LOCK", path);
	fd = open(lock, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		if (fcntl(fd, F_GETLK, &fl) == 0 && fl.l_type != F_UNLCK)
			pid = (int)fl.l_pid;
		close(fd);
	}
	if (pid > 0)
		return agi_fail(why, AGI_E_EXISTS,
		                "%s: in use by process %d; each node needs a data directory of its own",
		                path, pid);
	return agi_fail(why, AGI_E_EXISTS,
	                "%s: in use by another process; each node needs a data directory of its own",
	                path);
}

static enum agi_err open_failed(const char *path, char *status, struct agi_why *why)
{
	enum agi_err e;

	if (strstr(status, "lock hold by current process"))
		e = fail_locked(path, true, why);
	else if (strstr(status, "While lock file") && !strstr(status, "No space left"))
		e = fail_locked(path, false, why);
	else if (strstr(status, "Column families not opened"))
		e = agi_fail(why, AGI_E_UNSUPPORTED,
		             "%s: written by a newer version of this program (%s)", path, status);
	else
		return fail_take(why, "cannot open", path, status);
	rocksdb_free(status);
	return e;
}

static void set_table_options(rocksdb_options_t *o, uint64_t cache_bytes)
{
	rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
	rocksdb_lru_cache_options_t *lru = rocksdb_lru_cache_options_create();
	rocksdb_cache_t *cache;

	rocksdb_lru_cache_options_set_capacity(lru, cache_bytes);
	rocksdb_lru_cache_options_set_num_shard_bits(lru, 0); /* one reader thread: no need for shards */
	cache = rocksdb_cache_create_lru_opts(lru);
	rocksdb_block_based_options_set_block_cache(t, cache);
	rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
	rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(t, 1);
	rocksdb_block_based_options_set_filter_policy(t, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
	rocksdb_options_set_block_based_table_factory(o, t);
	rocksdb_cache_destroy(cache); /* the options hold it from here on */
	rocksdb_lru_cache_options_destroy(lru);
	rocksdb_block_based_options_destroy(t);
}

static void set_memory_options(rocksdb_options_t *o, uint64_t memtable_bytes)
{
	rocksdb_options_set_db_write_buffer_size(o, memtable_bytes);
	rocksdb_options_set_write_buffer_size(o, memtable_bytes);
	rocksdb_options_set_max_write_buffer_number(o, 2);
	rocksdb_options_set_arena_block_size(o, ARENA_BYTES);
	rocksdb_options_set_max_open_files(o, OPEN_FILES_MAX);
	rocksdb_options_set_target_file_size_base(o, 8 << 20);
	rocksdb_options_set_max_background_jobs(o, 2); /* one flush, one compaction */
	rocksdb_options_set_bytes_per_sync(o, TABLE_SYNC_BYTES);
	rocksdb_options_set_compression(o, rocksdb_lz4_compression);
}

/* Options that the C API has no call for. Takes o; NULL when RocksDB does not know one of them. */
static rocksdb_options_t *with_options(rocksdb_options_t *o, const char *text, const char *path,
                                       struct agi_why *why)
{
	rocksdb_options_t *full = rocksdb_options_create();
	char *err = NULL;

	rocksdb_get_options_from_string(o, text, full, &err);
	rocksdb_options_destroy(o);
	if (err) {
		(void)fail_take(why, "RocksDB options for", path, err);
		rocksdb_options_destroy(full);
		return NULL;
	}
	return full;
}

/* NULL when RocksDB does not know one of the options. */
static rocksdb_options_t *make_options(const struct agi_store_cfg *cfg, struct agi_why *why)
{
	rocksdb_options_t *o = rocksdb_options_create();

	rocksdb_options_set_create_if_missing(o, 1);
	rocksdb_options_set_create_missing_column_families(o, 1);
	rocksdb_options_set_paranoid_checks(o, 1);
	rocksdb_options_set_wal_recovery_mode(o, WAL_TOLERATE_TAIL);
	rocksdb_options_set_max_total_wal_size(o, WAL_BYTES_MAX);
	rocksdb_options_set_max_manifest_file_size(o, MANIFEST_BYTES_MAX);
	rocksdb_options_set_manifest_preallocation_size(o, MANIFEST_PREALLOC_BYTES);
	rocksdb_options_set_stats_dump_period_sec(o, 0);
	rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
	/* RocksDB's own log is a file beside its data. On a full disk its second line after a failed one ends the process
	 * (an assertion on a file that has failed before), so nothing is logged once the store is open. */
	rocksdb_options_set_info_log_level(o, INFO_LOG_FATAL);
	rocksdb_options_set_keep_log_file_num(o, INFO_LOGS);
	set_memory_options(o, cfg->memtable_bytes ? cfg->memtable_bytes : MEMTABLE_BYTES_DEFAULT);
	set_table_options(o, cfg->cache_bytes ? cfg->cache_bytes : CACHE_BYTES_DEFAULT);
	/* No thread for statistics nobody reads. And after a failed write RocksDB must not try again by itself: the log it
	 * would go on with has failed (its own assertion ends the process then), and what failed stays failed here. */
	return with_options(o, "stats_persist_period_sec=0;max_bgerror_resume_count=0", cfg->path, why);
}

static enum agi_err open_rocksdb(struct agi_db *db, struct agi_why *why)
{
	const char *names[AGI_DB_CFS];
	const rocksdb_options_t *options[AGI_DB_CFS];
	char *err = NULL;

	for (int i = 0; i < AGI_DB_CFS; i++) {
		names[i] = i < AGI_CF_COUNT ? agi_cf_name((enum agi_cf)i) : "default";
		options[i] = i == AGI_CF_ITEMS ? db->item_options : db->options;
	}
	db->db = rocksdb_open_column_families(db->options, db->path, AGI_DB_CFS, names, options, db->cf, &err);
	if (err) {
		db->db = NULL;
		return open_failed(db->path, err, why);
	}
	return AGI_OK;
}

/* The store has opened: is everything there that was acknowledged? */
static enum agi_err check_synced(struct agi_db *db, struct agi_why *why)
{
	enum agi_err e = agi_synced_open(&db->synced, db->path, why);
	uint64_t seq = rocksdb_get_latest_sequence_number(db->db);

	if (e || db->synced.seq <= seq)
		return e;
	return agi_fail(why, AGI_E_CORRUPT,
	                "%s has lost acknowledged writes: its log ends at operation %llu, operation %llu was "
	                "acknowledged",
	                db->path, (unsigned long long)seq, (unsigned long long)db->synced.seq);
}

static enum agi_err open_mended(struct agi_db *db, struct agi_why *notice, struct agi_why *why)
{
	enum agi_err e = agi_damaged_read(db->path, why);

	if (!e)
		e = agi_mend_check(db->path, why);
	if (e)
		return e;
	e = open_rocksdb(db, why);
	if (e == AGI_E_CORRUPT && agi_mend_log(db->path, notice, why) == AGI_OK)
		e = open_rocksdb(db, why);
	if (!e)
		e = sync_dir(db->path, why);
	return e ? e : check_synced(db, why);
}

enum agi_err agi_db_open(const struct agi_store_cfg *cfg, struct agi_db **out, struct agi_why *notice,
                         struct agi_why *why)
{
	struct agi_db *db;
	enum agi_err e;

	if (!cfg->path || !*cfg->path || strlen(cfg->path) >= sizeof db->path)
		return agi_fail(why, AGI_E_INVALID, "the store's path must have 1..%d bytes", PATH_MAX - 1);
	e = make_dir(cfg->path, why);
	if (e)
		return e;
	db = calloc(1, sizeof *db);
	if (!db)
		return agi_fail(why, AGI_E_NOMEM, "%s", agi_err_text(AGI_E_NOMEM));
	snprintf(db->path, sizeof db->path, "%s", cfg->path);
	db->synced.fd = -1;
	notice->text[0] = '\0';
	db->options = make_options(cfg, why);
	if (db->options) {
		agi_expiry_init(&db->expiry);
		db->item_options = rocksdb_options_create_copy(db->options);
		rocksdb_options_set_compaction_filter(db->item_options, db->expiry.filter);
	}
	e = db->options ? open_mended(db, notice, why) : AGI_E_INTERNAL;
	if (e) {
		agi_db_close(db);
		return e;
	}
	db->get_options = rocksdb_readoptions_create();
	rocksdb_readoptions_set_verify_checksums(db->get_options, 1);
	db->peek_options = rocksdb_readoptions_create();
	rocksdb_readoptions_set_verify_checksums(db->peek_options, 1);
	rocksdb_readoptions_set_read_tier(db->peek_options, READ_TIER_CACHE);
	db->write_options = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(db->write_options, 1);
	*out = db;
	return AGI_OK;
}

void agi_db_close(struct agi_db *db)
{
	if (!db)
		return;
	if (db->db) {
		rocksdb_cancel_all_background_work(db->db, 1);
		for (int i = 0; i < AGI_DB_CFS; i++)
			rocksdb_column_family_handle_destroy(db->cf[i]);
		rocksdb_close(db->db);
	}
	if (db->write_options)
		rocksdb_writeoptions_destroy(db->write_options);
	if (db->get_options)
		rocksdb_readoptions_destroy(db->get_options);
	if (db->peek_options)
		rocksdb_readoptions_destroy(db->peek_options);
	if (db->item_options)
		rocksdb_options_destroy(db->item_options);
	agi_expiry_free(&db->expiry);
	if (db->options)
		rocksdb_options_destroy(db->options);
	agi_synced_close(&db->synced);
	free(db);
}

/* --- reading ---------------------------------------------------------------------------------- */
static enum agi_err get_pinned(struct agi_db *db, enum agi_cf cf, struct agi_str key,
                               rocksdb_pinnableslice_t **out, struct agi_why *why)
{
	char *err = NULL;

	*out = rocksdb_get_pinned_cf(db->db, db->get_options, db->cf[cf], key.p ? key.p : "", key.n, &err);
	if (err)
		return fail_take(why, "cannot read from", db->path, err);
	return *out ? AGI_OK : AGI_E_NOT_FOUND;
}

static struct agi_str str_of_slice(const rocksdb_pinnableslice_t *s)
{
	struct agi_str v;

	v.p = rocksdb_pinnableslice_value(s, &v.n);
	return v;
}

enum agi_err agi_db_get(struct agi_db *db, enum agi_cf cf, struct agi_str key, struct agi_buf *out,
                        struct agi_why *why)
{
	rocksdb_pinnableslice_t *s;
	enum agi_err e = get_pinned(db, cf, key, &s, why);

	if (e)
		return e;
	agi_buf_put_str(out, str_of_slice(s));
	rocksdb_pinnableslice_destroy(s);
	return out->err;
}

enum agi_err agi_db_peek(struct agi_db *db, enum agi_cf cf, struct agi_str key, struct agi_buf *out)
{
	rocksdb_pinnableslice_t *s;
	char *err = NULL;

	s = rocksdb_get_pinned_cf(db->db, db->peek_options, db->cf[cf], key.p ? key.p : "", key.n, &err);
	if (err) {
		rocksdb_free(err);
		return AGI_E_FULL;
	}
	if (!s)
		return AGI_E_NOT_FOUND;
	agi_buf_put_str(out, str_of_slice(s));
	rocksdb_pinnableslice_destroy(s);
	return out->err ? AGI_E_FULL : AGI_OK;
}

void agi_was_set(struct agi_storage_was *out, struct agi_str stored)
{
	out->was_there = true;
	out->n = stored.n < AGI_VERSION_BYTES ? (uint8_t)stored.n : AGI_VERSION_BYTES;
	if (out->n)
		memcpy(out->version, stored.p, out->n);
}

enum agi_err agi_db_get_version(struct agi_db *db, enum agi_cf cf, struct agi_str key,
                                struct agi_storage_was *out, struct agi_why *why)
{
	rocksdb_pinnableslice_t *s;
	enum agi_err e = get_pinned(db, cf, key, &s, why);

	if (e == AGI_E_NOT_FOUND)
		return AGI_OK;
	if (e)
		return e;
	agi_was_set(out, str_of_slice(s));
	rocksdb_pinnableslice_destroy(s);
	return AGI_OK;
}

static enum agi_err walk(struct agi_db *db, rocksdb_iterator_t *it, agi_db_take_fn *take, void *arg,
                         struct agi_why *why)
{
	char *err = NULL;

	for (; rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
		struct agi_str k, v;

		k.p = rocksdb_iter_key(it, &k.n);
		v.p = rocksdb_iter_value(it, &v.n);
		if (!take(arg, k, v))
			return AGI_OK;
	}
	rocksdb_iter_get_error(it, &err);
	return err ? fail_take(why, "cannot read from", db->path, err) : AGI_OK;
}

static rocksdb_readoptions_t *scan_options(void)
{
	rocksdb_readoptions_t *o = rocksdb_readoptions_create();

	rocksdb_readoptions_set_verify_checksums(o, 1);
	rocksdb_readoptions_set_fill_cache(o, 0); /* a transfer must not push out what gets need */
	return o;
}

enum agi_err agi_db_scan(struct agi_db *db, enum agi_cf cf, struct agi_str begin, struct agi_str end,
                         agi_db_take_fn *take, void *arg, struct agi_why *why)
{
	rocksdb_readoptions_t *o = scan_options();
	rocksdb_iterator_t *it;
	enum agi_err e;

	if (end.n)
		rocksdb_readoptions_set_iterate_upper_bound(o, end.p, end.n);
	it = rocksdb_create_iterator_cf(db->db, o, db->cf[cf]);
	rocksdb_iter_seek(it, begin.p ? begin.p : "", begin.n);
	e = walk(db, it, take, arg, why);
	rocksdb_iter_destroy(it);
	rocksdb_readoptions_destroy(o);
	return e;
}

static enum agi_err walk_heads(struct agi_db *db, rocksdb_iterator_t *it, struct agi_heads *h,
                               agi_db_take_fn *take, void *arg, struct agi_why *why)
{
	enum agi_heads_verdict verdict = AGI_HEADS_SEEK;
	struct agi_str target = agi_heads_first(h), k, v;
	char *err = NULL;

	rocksdb_iter_seek(it, target.p, target.n);
	while (rocksdb_iter_valid(it) && verdict != AGI_HEADS_END) {
		k.p = rocksdb_iter_key(it, &k.n);
		verdict = agi_heads_judge(h, k, &target);
		if (verdict == AGI_HEADS_SEEK) {
			rocksdb_iter_seek(it, target.p, target.n);
		} else if (verdict == AGI_HEADS_TAKE) {
			v.p = rocksdb_iter_value(it, &v.n);
			if (!take(arg, k, v))
				return AGI_OK;
			rocksdb_iter_next(it);
		}
	}
	rocksdb_iter_get_error(it, &err);
	return err ? fail_take(why, "cannot read from", db->path, err) : h->target.err;
}

enum agi_err agi_db_scan_heads(struct agi_db *db, const struct agi_storage_req *req, agi_db_take_fn *take,
                               void *arg, struct agi_why *why)
{
	rocksdb_readoptions_t *o = scan_options();
	rocksdb_iterator_t *it;
	struct agi_heads h;
	enum agi_err e;

	agi_heads_init(&h, req);
	it = rocksdb_create_iterator_cf(db->db, o, db->cf[req->cf]);
	e = walk_heads(db, it, &h, take, arg, why);
	rocksdb_iter_destroy(it);
	rocksdb_readoptions_destroy(o);
	agi_heads_free(&h);
	return e;
}

/* --- writing ---------------------------------------------------------------------------------- */
void agi_db_batch_add(struct agi_db *db, rocksdb_writebatch_t *batch, const struct agi_storage_op *op)
{
	rocksdb_column_family_handle_t *cf = db->cf[op->cf];
	const char *key = op->key.p ? op->key.p : "", *value = op->value.p ? op->value.p : "";

	switch (op->verb) {
	case AGI_PUT:
	case AGI_PUT_NEWER:
		rocksdb_writebatch_put_cf(batch, cf, key, op->key.n, value, op->value.n);
		break;
	case AGI_DELETE:
	case AGI_DELETE_IF:
		rocksdb_writebatch_delete_cf(batch, cf, key, op->key.n);
		break;
	case AGI_DELETE_RANGE:
		if (agi_str_cmp(op->key, op->value) < 0)
			rocksdb_writebatch_delete_range_cf(batch, cf, key, op->key.n, value, op->value.n);
		break;
	}
}

enum agi_err agi_db_commit(struct agi_db *db, rocksdb_writebatch_t *batch, struct agi_why *why)
{
	char *err = NULL;

	rocksdb_write(db->db, db->write_options, batch, &err);
	return err ? fail_take(why, "cannot write to", db->path, err) : AGI_OK;
}
