/* SPDX-License-Identifier: Apache-2.0
 * A backup's parts as they lie in a directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/set.h"
#include "base/hash.h"

enum { NODES = 3, SLOT_BITS = 2 };

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st, (void)type, (void)f;
	return remove(path);
}

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = malloc(256);

	assert_non_null(dir);
	snprintf(dir, 256, "%s/agi-set-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
	*state = dir;
	return 0;
}

static int teardown(void **state)
{
	nftw(*state, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	free(*state);
	return 0;
}

static void write_file(const char *path, struct agi_str text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text.p, 1, text.n, f), text.n);
	assert_int_equal(fclose(f), 0);
}

static struct agi_id id_of(int i)
{
	struct agi_id id = {{(uint8_t)(i + 1)}};

	return id;
}

/* Node i of three that were active in every slot; its store has one file, "1.sst". */
static void fill(struct agi_backup_part *p, int node, const char *name)
{
	const struct agi_str text = AGI_STR("what was kept");
	uint8_t hash[32];

	*p = (struct agi_backup_part){.slot_bits = SLOT_BITS, .began_ms = 1764000000000, .ended_ms = 1764000004711,
	                              .node = id_of(node), .cluster = id_of(100)};
	snprintf(p->name, sizeof p->name, "%s", name);
	snprintf(p->address, sizeof p->address, "10.0.0.%d:5000", node + 1);
	for (uint32_t i = 0, at; i < NODES; i++) {
		struct agi_id id = id_of((int)i);

		assert_int_equal(agi_backup_host(p, &id, &at), AGI_OK);
		p->took_part[at] = true;
	}
	for (uint32_t i = 0; i < 1u << SLOT_BITS; i++) {
		struct agi_backup_slot s = {i, 7, AGI_BACKUP_ACTIVE, NODES, {0, 1, 2}};

		assert_int_equal(agi_backup_add_slot(p, &s), AGI_OK);
	}
	agi_blake2b_256(hash, &text, 1);
	assert_int_equal(agi_backup_add_file(p, AGI_STR("1.sst"), text.n, hash), AGI_OK);
}

static void put_part(const char *dir, const char *below, int node, const char *name)
{
	struct agi_backup_part p;
	struct agi_buf text;
	char path[512];

	snprintf(path, sizeof path, "%s/%s", dir, below);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/%s/store", dir, below);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/%s/store/1.sst", dir, below);
	write_file(path, AGI_STR("what was kept"));
	fill(&p, node, name);
	agi_buf_init(&text, AGI_BACKUP_MANIFEST_MAX);
	agi_backup_write(&p, &text);
	snprintf(path, sizeof path, "%s/%s/manifest", dir, below);
	write_file(path, agi_buf_str(&text));
	agi_buf_free(&text);
	agi_backup_part_free(&p);
}

static void open_set(struct agi_backup_set *s, const char *dir)
{
	struct agi_why why = {""};

	if (agi_backup_set_open(s, dir, &why))
		fail_msg("%s", why.text);
}

/* Refused: why says what is to be seen. */
static void refuse(const char *dir, enum agi_err want, const char *words)
{
	struct agi_backup_set s;
	struct agi_why why = {""};

	assert_int_equal(agi_backup_set_open(&s, dir, &why), want);
	if (!strstr(why.text, words))
		fail_msg("\"%s\" says nothing of \"%s\"", why.text, words);
	agi_backup_set_free(&s); /* harmless */
}

static void parts_are_found_counted_and_named(void **state)
{
	const char *dir = *state;
	struct agi_backup_set all, two;
	char path[512];

	put_part(dir, "a", 0, "nightly");
	put_part(dir, "b", 1, "nightly");
	put_part(dir, "c", 2, "nightly");
	open_set(&all, dir);
	assert_int_equal(all.n, 3);
	assert_int_equal(all.missing, 0);
	assert_int_equal(all.cover.whole, 1 << SLOT_BITS);
	assert_int_equal(all.bytes, 3 * strlen("what was kept"));
	snprintf(path, sizeof path, "%s/c/manifest", dir);
	assert_int_equal(unlink(path), 0);
	open_set(&two, dir); /* of the third a store is left: no finished part */
	assert_int_equal(two.n, 2);
	assert_int_equal(two.missing, 1);
	assert_int_equal(two.cover.whole, 1 << SLOT_BITS);
	assert_memory_not_equal(all.mark, two.mark, sizeof all.mark);
	agi_backup_set_free(&two);
	agi_backup_set_free(&all);
}

static void a_minority_is_not_whole(void **state)
{
	const char *dir = *state;
	struct agi_backup_set s;

	put_part(dir, "a", 0, "nightly");
	open_set(&s, dir);
	assert_int_equal(s.missing, 2);
	assert_int_equal(s.cover.whole, 0);
	agi_backup_set_free(&s);
}

static void the_same_parts_have_the_same_mark(void **state)
{
	const char *dir = *state;
	struct agi_backup_set a, b;

	put_part(dir, "a", 0, "nightly");
	put_part(dir, "b", 1, "nightly");
	open_set(&a, dir);
	open_set(&b, dir);
	assert_memory_equal(a.mark, b.mark, sizeof a.mark);
	agi_backup_set_free(&b);
	agi_backup_set_free(&a);
}

static void what_does_not_belong_together_is_refused(void **state)
{
	const char *dir = *state;
	char path[512];

	refuse(dir, AGI_E_NOT_FOUND, "no finished part");
	snprintf(path, sizeof path, "%s/gone", dir);
	refuse(path, AGI_E_NOT_FOUND, "gone");
	put_part(dir, "a", 0, "nightly");
	put_part(dir, "b", 1, "weekly");
	refuse(dir, AGI_E_INVALID, "different backups");
	snprintf(path, sizeof path, "%s/b/manifest", dir);
	assert_int_equal(unlink(path), 0);
	put_part(dir, "c", 0, "nightly");
	refuse(dir, AGI_E_INVALID, "same node");
}

static void a_manifest_that_was_changed_is_named(void **state)
{
	const char *dir = *state;
	char path[512];

	put_part(dir, "a", 0, "nightly");
	snprintf(path, sizeof path, "%s/a/manifest", dir);
	assert_int_equal(truncate(path, 100), 0);
	refuse(dir, AGI_E_CORRUPT, path);
}

/* --- files ------------------------------------------------------------------------------------------------ */
struct reading {
	uint64_t bytes;
	bool goes_on;
};

static bool on_bytes(void *ctx, uint64_t n)
{
	struct reading *r = ctx;

	r->bytes += n;
	return r->goes_on;
}

static void expect_file(const struct agi_backup_set *s, enum agi_err want, const char *path)
{
	struct reading r = {.goes_on = true};
	struct agi_why why = {""};

	assert_int_equal(agi_backup_check_file(&s->parts[0], &s->parts[0].p.files[0], on_bytes, &r, &why), want);
	if (want)
		assert_non_null(strstr(why.text, path));
	else
		assert_int_equal(r.bytes, s->parts[0].p.files[0].bytes);
}

static void damaged_and_missing_files_are_named(void **state)
{
	const char *dir = *state;
	struct reading stop = {.goes_on = false};
	struct agi_backup_set s;
	struct agi_why why;
	char path[512];

	put_part(dir, "a", 0, "nightly");
	open_set(&s, dir);
	snprintf(path, sizeof path, "%s/a/store/1.sst", dir);
	expect_file(&s, AGI_OK, path);
	assert_int_equal(agi_backup_check_file(&s.parts[0], &s.parts[0].p.files[0], on_bytes, &stop, &why),
	                 AGI_E_CLOSED);
	write_file(path, AGI_STR("what was kepT"));
	expect_file(&s, AGI_E_CORRUPT, path);
	write_file(path, AGI_STR("what was"));
	expect_file(&s, AGI_E_CORRUPT, path);
	assert_int_equal(unlink(path), 0);
	expect_file(&s, AGI_E_IO, path);
	agi_backup_set_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(parts_are_found_counted_and_named, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_minority_is_not_whole, setup, teardown),
	    cmocka_unit_test_setup_teardown(the_same_parts_have_the_same_mark, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_does_not_belong_together_is_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_manifest_that_was_changed_is_named, setup, teardown),
	    cmocka_unit_test_setup_teardown(damaged_and_missing_files_are_named, setup, teardown),
	};

	return cmocka_run_group_tests_name("sets of parts of a backup", tests, NULL, NULL);
}
