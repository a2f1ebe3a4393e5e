/* SPDX-License-Identifier: Apache-2.0
 * What RocksDB tells of itself, and copies of it. */
#include "store/db_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t agi_db_disk_bytes(struct agi_db *db)
{
	uint64_t sum = 0, v;

	for (int i = 0; i < AGI_DB_CFS; i++)
		if (rocksdb_property_int_cf(db->db, db->cf[i], "rocksdb.live-sst-files-size", &v) == 0)
			sum += v;
	return sum;
}

uint64_t agi_db_sequence(const struct agi_db *db) { return rocksdb_get_latest_sequence_number(db->db); }

enum agi_err agi_db_note_synced(struct agi_db *db, uint64_t seq, struct agi_why *why)
{
	return agi_synced_write(&db->synced, seq, why);
}

uint64_t agi_db_synced(const struct agi_db *db) { return db->synced.seq; }

/* --- background work -------------------------------------------------------------------------- */
/* Why RocksDB takes no writes: the error that stopped it is its answer to every write, also to one of nothing. */
static char *stopped_by(struct agi_db *db)
{
	rocksdb_writebatch_t *nothing = rocksdb_writebatch_create();
	rocksdb_writeoptions_t *o = rocksdb_writeoptions_create();
	char *err = NULL;

	rocksdb_writeoptions_disable_WAL(o, 1);
	rocksdb_write(db->db, o, nothing, &err);
	rocksdb_writeoptions_destroy(o);
	rocksdb_writebatch_destroy(nothing);
	return err;
}

enum agi_err agi_db_background(struct agi_db *db, struct agi_why *why)
{
	uint64_t n = 0;
	enum agi_err e;
	char *err;

	if (rocksdb_property_int(db->db, "rocksdb.background-errors", &n) != 0 || n == db->background_errors)
		return AGI_OK;
	db->background_errors = n;
	err = stopped_by(db);
	/* RocksDB goes on after one error only: no room for a compaction. */
	e = agi_fail(why, err && strncmp(err, "Corruption", 10) == 0 ? AGI_E_CORRUPT : AGI_E_IO,
	             "cannot flush or compact %s: %s", db->path, err ? err : "IO error: No space left on device");
	if (err)
		rocksdb_free(err);
	return e;
}

void agi_db_stall(struct agi_db *db, bool *is_stopped, uint64_t *slowed_to)
{
	uint64_t v = 0;

	*is_stopped = rocksdb_property_int(db->db, "rocksdb.is-write-stopped", &v) == 0 && v != 0;
	v = 0;
	*slowed_to = rocksdb_property_int(db->db, "rocksdb.actual-delayed-write-rate", &v) == 0 ? v : 0;
}

/* --- whose data ------------------------------------------------------------------------------- */
static uint32_t slot_of(const char *key, size_t n)
{
	const uint8_t *p = (const uint8_t *)key;

	return n < 4 ? 0 : (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Keys of these families begin with their slot. */
static bool has_slots(const char *cf)
{
	return strcmp(cf, agi_cf_name(AGI_CF_ITEMS)) == 0 || strcmp(cf, agi_cf_name(AGI_CF_STRONG)) == 0 ||
	       strcmp(cf, agi_cf_name(AGI_CF_VIEWS)) == 0;
}

/* "block checksum mismatch" of "…Corruption: block checksum mismatch: stored = 1, computed = 2 in FILE …" */
static void put_cause(struct agi_buf *b, const char *text)
{
	const char *at = strstr(text, "Corruption: ");
	size_t n;

	if (!at)
		return;
	at += strlen("Corruption: ");
	n = strcspn(at, ":/");
	agi_buf_printf(b, ": %.*s", (int)(n < 60 ? n : 60), at);
}

static void tell(const struct agi_db *db, struct agi_why *why, const rocksdb_livefiles_t *files, int i)
{
	const char *cf = rocksdb_livefiles_column_family_name(files, i);
	size_t low_n, high_n;
	const char *low = rocksdb_livefiles_smallestkey(files, i, &low_n);
	const char *high = rocksdb_livefiles_largestkey(files, i, &high_n);
	struct agi_buf b;

	agi_buf_init(&b, 0);
	agi_buf_printf(&b, "%s%s (%s", db->path, rocksdb_livefiles_name(files, i), cf);
	if (has_slots(cf))
		agi_buf_printf(&b, " of slots %u to %u", slot_of(low, low_n), slot_of(high, high_n));
	agi_buf_printf(&b, ") is damaged");
	put_cause(&b, why->text);
	if (!b.err)
		(void)agi_fail(why, AGI_E_CORRUPT, "%.*s", AGI_STR_ARG(agi_buf_str(&b)));
	agi_buf_free(&b);
}

void agi_db_blame(struct agi_db *db, struct agi_why *why)
{
	const rocksdb_livefiles_t *files = rocksdb_livefiles(db->db);

	for (int i = 0; i < rocksdb_livefiles_count(files); i++)
		if (strstr(why->text, rocksdb_livefiles_name(files, i))) {
			tell(db, why, files, i);
			break;
		}
	rocksdb_livefiles_destroy(files);
}

/* --- copies ------------------------------------------------------------------------------------ */
enum agi_err agi_db_copy(struct agi_db *db, const char *dir, struct agi_why *why)
{
	rocksdb_checkpoint_t *c;
	enum agi_err e = AGI_OK;
	char *err = NULL;

	if (access(dir, F_OK) == 0)
		return agi_fail(why, AGI_E_EXISTS, "%s is there already", dir);
	c = rocksdb_checkpoint_object_create(db->db, &err);
	if (!err)
		rocksdb_checkpoint_create(c, dir, 0, &err); /* 0: memory is flushed first, so that the log is short */
	if (err) {
		e = agi_fail(why, strncmp(err, "Corruption", 10) == 0 ? AGI_E_CORRUPT : AGI_E_IO,
		             "cannot copy %s to %s: %s", db->path, dir, err);
		rocksdb_free(err);
	}
	if (c)
		rocksdb_checkpoint_object_destroy(c);
	return e;
}

void agi_db_expire(struct agi_db *db, uint64_t before_ms) { atomic_store(&db->expiry.before_ms, before_ms); }
uint64_t agi_db_expired_bytes(const struct agi_db *db) { return atomic_load(&db->expiry.bytes); }
