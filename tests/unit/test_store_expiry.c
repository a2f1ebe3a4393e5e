/* SPDX-License-Identifier: Apache-2.0 */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "store/db_impl.h"

enum { VALUE = 200, RECORD = AGI_ITEM_HEAD_BYTES + VALUE };

static void fill(uint8_t out[RECORD], uint8_t flags, uint64_t expires_ms)
{
	memset(out, 0x5a, RECORD);
	out[AGI_ITEM_FLAGS_AT] = flags;
	for (int i = 0; i < 8; i++)
		out[AGI_ITEM_EXPIRY_AT + i] = (uint8_t)(expires_ms >> (56 - 8 * i));
}

static void only_what_is_over_loses_its_bytes(void **state)
{
	static const struct {
		uint64_t before_ms, expires_ms;
		size_t n;
		bool is_stripped;
	} cases[] = {
	    {1000, 0, RECORD, false}, /* it never expires */
	    {1000, 999, RECORD, true},
	    {1000, 1000, RECORD, false},
	    {0, 1, RECORD, false},
	    {1000, 999, AGI_ITEM_HEAD_BYTES, false},
	    {1000, 999, AGI_ITEM_HEAD_BYTES - 1, false},
	    {1000, 999, 0, false},
	    {UINT64_MAX, UINT64_MAX - 1, AGI_ITEM_HEAD_BYTES + 1, true},
	};
	uint8_t record[RECORD], head[AGI_ITEM_HEAD_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct agi_str value = {(const char *)record, cases[i].n};

		fill(record, 0, cases[i].expires_ms);
		assert_int_equal(agi_expiry_strip(cases[i].before_ms, value, head), cases[i].is_stripped);
		if (!cases[i].is_stripped)
			continue;
		assert_int_equal(head[AGI_ITEM_FLAGS_AT], AGI_ITEM_IS_DELETED);
		head[AGI_ITEM_FLAGS_AT] = 0;
		assert_memory_equal(head, record, sizeof head); /* version and expiry stay */
	}
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *f)
{
	(void)st, (void)kind, (void)f;
	return remove(path);
}

static void put(struct agi_db *db, enum agi_cf cf, const char *key, uint64_t expires_ms)
{
	uint8_t record[RECORD];
	char *err = NULL;

	fill(record, 0, expires_ms);
	rocksdb_put_cf(db->db, db->write_options, db->cf[cf], key, strlen(key), (const char *)record, RECORD, &err);
	assert_null(err);
}

static size_t bytes_of(struct agi_db *db, enum agi_cf cf, const char *key)
{
	struct agi_why why;
	struct agi_buf b;
	size_t n;

	agi_buf_init(&b, 0);
	assert_int_equal(agi_db_get(db, cf, agi_str_of(key), &b, &why), AGI_OK);
	n = b.n;
	if (n == AGI_ITEM_HEAD_BYTES)
		assert_int_equal(b.p[AGI_ITEM_FLAGS_AT], AGI_ITEM_IS_DELETED);
	agi_buf_free(&b);
	return n;
}

static void compact(struct agi_db *db)
{
	rocksdb_compact_range_cf(db->db, db->cf[AGI_CF_ITEMS], NULL, 0, NULL, 0);
	rocksdb_compact_range_cf(db->db, db->cf[AGI_CF_STRONG], NULL, 0, NULL, 0);
}

static struct agi_db *open_db(const char *dir)
{
	struct agi_store_cfg cfg = {.path = dir, .memtable_bytes = 4 << 20, .cache_bytes = 1 << 20};
	struct agi_why notice, why = {{0}};
	struct agi_db *db = NULL;

	if (agi_db_open(&cfg, &db, &notice, &why) != AGI_OK)
		fail_msg("%s", why.text);
	return db;
}

static void compactions_take_the_bytes_of_expired_items(void **state)
{
	const char *tmp = getenv("TMPDIR");
	char dir[512];
	struct agi_db *db;

	(void)state;
	snprintf(dir, sizeof dir, "%s/agi-expiry-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
	db = open_db(dir);
	put(db, AGI_CF_ITEMS, "forever", 0);
	put(db, AGI_CF_ITEMS, "later", 3000);
	put(db, AGI_CF_ITEMS, "over", 1000);
	put(db, AGI_CF_STRONG, "register", 1000);
	compact(db);
	assert_int_equal(bytes_of(db, AGI_CF_ITEMS, "over"), RECORD); /* nobody has told the time */
	agi_db_expire(db, 2000);
	compact(db);
	assert_int_equal(bytes_of(db, AGI_CF_ITEMS, "over"), AGI_ITEM_HEAD_BYTES);
	assert_int_equal(bytes_of(db, AGI_CF_ITEMS, "later"), RECORD);
	assert_int_equal(bytes_of(db, AGI_CF_ITEMS, "forever"), RECORD);
	assert_int_equal(bytes_of(db, AGI_CF_STRONG, "register"), RECORD);
	assert_int_equal(agi_db_expired_bytes(db), VALUE);
	agi_db_close(db);
	db = open_db(dir);
	assert_int_equal(bytes_of(db, AGI_CF_ITEMS, "over"), AGI_ITEM_HEAD_BYTES);
	agi_db_close(db);
	nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_what_is_over_loses_its_bytes),
	    cmocka_unit_test(compactions_take_the_bytes_of_expired_items),
	};

	return cmocka_run_group_tests_name("expiry", tests, NULL, NULL);
}
