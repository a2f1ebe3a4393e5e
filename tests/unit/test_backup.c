/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/backup.h"
#include "base/prng.h"

static struct agi_id id_of(int i)
{
	struct agi_id id = {{(uint8_t)(i + 1)}};

	return id;
}

static void begin(struct agi_backup_part *p, int node)
{
	uint32_t i;
	struct agi_id id = id_of(node);

	*p = (struct agi_backup_part){.slot_bits = 2, .began_ms = 1764000000000, .ended_ms = 1764000004711,
	                              .node = id, .cluster = id_of(100)};
	snprintf(p->name, sizeof p->name, "nightly-3");
	snprintf(p->address, sizeof p->address, "10.0.0.%d:5000", node + 1);
	assert_int_equal(agi_backup_host(p, &id, &i), AGI_OK);
	p->took_part[i] = true;
}

static void hold(struct agi_backup_part *p, uint32_t slot, uint64_t epoch, enum agi_backup_phase phase, int a, int b,
                 int c)
{
	struct agi_backup_slot s = {slot, epoch, phase, 3, {0}};
	int members[3] = {a, b, c};

	for (int i = 0; i < 3; i++) {
		struct agi_id id = id_of(members[i]);

		assert_int_equal(agi_backup_host(p, &id, &s.members[i]), AGI_OK);
	}
	assert_int_equal(agi_backup_add_slot(p, &s), AGI_OK);
}

static void names_are_safe_as_directories(void **state)
{
	static const char *const good[] = {"a", "nightly-3", "2026-11-23T17.00", "A_b"};
	static const char *const bad[] = {"", ".", "..", ".x", "-x", "a/b", "a b", "a\n", "\xc3\xa4"};
	(void)state;

	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(agi_backup_name_is_valid(agi_str_of(good[i])));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(agi_backup_name_is_valid(agi_str_of(bad[i])));
}

static void make(struct agi_backup_part *p, struct agi_buf *text)
{
	uint8_t hash[32] = {1, 2, 3};

	begin(p, 0);
	hold(p, 0, 5, AGI_BACKUP_ACTIVE, 0, 1, 2);
	hold(p, 3, 9, AGI_BACKUP_JOINING, 0, 3, 2);
	assert_int_equal(agi_backup_add_file(p, AGI_STR("000012.sst"), 4711, hash), AGI_OK);
	agi_buf_init(text, 0);
	agi_backup_write(p, text);
	assert_int_equal(text->err, AGI_OK);
}

static void a_manifest_is_read_as_it_was_written(void **state)
{
	struct agi_backup_part p, q = {.slot_bits = 0};
	struct agi_buf text, again;
	struct agi_why why = {""};
	(void)state;

	make(&p, &text);
	assert_int_equal(agi_backup_read(&q, agi_buf_str(&text), &why), AGI_OK);
	agi_buf_init(&again, 0);
	agi_backup_write(&q, &again);
	assert_true(agi_str_eq(agi_buf_str(&text), agi_buf_str(&again)));
	assert_memory_equal(p.end, q.end, 32);
	assert_int_equal(q.slots[1].phase, AGI_BACKUP_JOINING);
	assert_string_equal(q.files[0].name, "000012.sst");
	agi_buf_free(&text);
	agi_buf_free(&again);
	agi_backup_part_free(&p);
	agi_backup_part_free(&q);
}

static void any_change_to_a_manifest_is_noticed(void **state)
{
	struct agi_backup_part p, q = {.slot_bits = 0};
	struct agi_buf text;
	struct agi_why why;
	(void)state;

	make(&p, &text);
	for (size_t i = 0; i < text.n; i++) {
		struct agi_str cut = {(const char *)text.p, i};

		assert_int_not_equal(agi_backup_read(&q, cut, &why), AGI_OK);
		text.p[i] ^= 1;
		assert_int_not_equal(agi_backup_read(&q, agi_buf_str(&text), &why), AGI_OK);
		text.p[i] ^= 1;
	}
	agi_buf_free(&text);
	agi_backup_part_free(&p);
}

/* Lines are checked even when somebody has sealed them. */
static void expect_refused(const char *lines)
{
	struct agi_backup_part q = {.slot_bits = 0};
	struct agi_str body = agi_str_of(lines);
	struct agi_why why = {""};
	struct agi_buf b;
	uint8_t hash[32];
	char hex[65];

	agi_buf_init(&b, 0);
	agi_blake2b_256(hash, &body, 1);
	agi_hex(hex, hash, 32);
	agi_buf_printf(&b, "%send %s\n", lines, hex);
	if (agi_backup_read(&q, agi_buf_str(&b), &why) == AGI_OK)
		fail_msg("accepted: %s", lines);
	assert_true(why.text[0]);
	agi_buf_free(&b);
}

#define HEX64 "0101010101010101010101010101010101010101010101010101010101010101"
#define HEAD                                                                                                    \
	"agihpc-backup 1\nname n\ncluster " HEX64 "\nnode " HEX64 "\naddress a\nslot_bits 2\nhost " HEX64 "\n"

static void sealed_nonsense_is_refused(void **state)
{
	static const char *const bad[] = {
	    "agihpc-backup 1\n", "agihpc-backup 2\n", "something else\n", HEAD "slot 4 1 active 0\n",
	    HEAD "slot 0 1 active 1\n", HEAD "slot 0 0 active 0\n", HEAD "slot 0 1 dancing 0\n",
	    HEAD "slot 0 1 active\n", HEAD "slot 1 1 active 0\nslot 1 1 active 0\n",
	    HEAD "slot 0 1 active 0 0 0 0 0 0 0 0\n", HEAD "file ../x 1 " HEX64 "\n", HEAD "file a/b 1 " HEX64 "\n",
	    HEAD "file x -1 " HEX64 "\n", HEAD "file x 1 abc\n", HEAD "part 1\n", HEAD "host abc\n", HEAD "what 1\n",
	    HEAD "slot_bits 17\n", HEAD "name ../n\n", "agihpc-backup 1\nslot 0 1 active 0\n"};
	(void)state;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		expect_refused(bad[i]);
}

static void check_cover(const struct agi_backup_part *parts, size_t n, const uint64_t epochs[4])
{
	const struct agi_backup_part *list[8];
	struct agi_backup_cover c;

	for (size_t i = 0; i < n; i++)
		list[i] = &parts[i];
	assert_int_equal(agi_backup_cover(list, n, &c), AGI_OK);
	for (uint32_t s = 0; s < 4; s++)
		assert_true(c.epoch[s] == epochs[s]);
	agi_backup_cover_free(&c);
}

static void a_slot_is_whole_when_a_majority_was_active_in_one_epoch(void **state)
{
	struct agi_backup_part p[4];
	(void)state;

	for (int i = 0; i < 4; i++)
		begin(&p[i], i);
	/* 0: two of three; the third says nothing */
	hold(&p[0], 0, 5, AGI_BACKUP_ACTIVE, 0, 1, 2);
	hold(&p[1], 0, 5, AGI_BACKUP_ACTIVE, 0, 1, 2);
	/* 1: one only */
	hold(&p[0], 1, 5, AGI_BACKUP_ACTIVE, 0, 1, 2);
	/* 2: caught in a change: nobody's majority */
	hold(&p[0], 2, 5, AGI_BACKUP_ACTIVE, 0, 1, 2);
	hold(&p[1], 2, 5, AGI_BACKUP_SEALED, 0, 1, 2);
	hold(&p[2], 2, 6, AGI_BACKUP_JOINING, 0, 2, 3);
	/* 3: before and after a change, each with its majority; a stranger does not count */
	hold(&p[0], 3, 8, AGI_BACKUP_ACTIVE, 0, 2, 1);
	hold(&p[1], 3, 9, AGI_BACKUP_ACTIVE, 1, 2, 3);
	hold(&p[2], 3, 9, AGI_BACKUP_ACTIVE, 1, 2, 3);
	hold(&p[3], 3, 9, AGI_BACKUP_JOINING, 1, 2, 3);
	check_cover(p, 4, (uint64_t[]){5, 0, 0, 9});
	check_cover(p, 2, (uint64_t[]){5, 0, 0, 0});
	for (int i = 0; i < 4; i++)
		agi_backup_part_free(&p[i]);
}

static void a_former_members_data_does_not_count(void **state)
{
	const struct agi_backup_part *list[3];
	struct agi_backup_part p[3];
	struct agi_backup_cover c;
	(void)state;

	for (int i = 0; i < 3; i++) {
		begin(&p[i], i);
		list[i] = &p[i];
	}
	hold(&p[0], 0, 4, AGI_BACKUP_LEAVING, 1, 2, 3);
	hold(&p[1], 0, 5, AGI_BACKUP_ACTIVE, 1, 2, 3);
	hold(&p[2], 0, 5, AGI_BACKUP_ACTIVE, 1, 2, 3);
	hold(&p[0], 1, 4, AGI_BACKUP_LEAVING, 1, 2, 3);
	assert_int_equal(agi_backup_cover(list, 3, &c), AGI_OK);
	assert_int_equal(c.whole, 1);
	assert_int_equal(c.first_incomplete, 1);
	assert_false(agi_backup_counts(&c, &p[0], 0));
	assert_true(agi_backup_counts(&c, &p[1], 0));
	assert_true(agi_backup_counts(&c, &p[0], 1)); /* better than nothing */
	assert_false(agi_backup_counts(&c, &p[1], 1));
	agi_backup_cover_free(&c);
	for (int i = 0; i < 3; i++)
		agi_backup_part_free(&p[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_are_safe_as_directories),
	    cmocka_unit_test(a_manifest_is_read_as_it_was_written),
	    cmocka_unit_test(any_change_to_a_manifest_is_noticed),
	    cmocka_unit_test(sealed_nonsense_is_refused),
	    cmocka_unit_test(a_slot_is_whole_when_a_majority_was_active_in_one_epoch),
	    cmocka_unit_test(a_former_members_data_does_not_count),
	};

	return cmocka_run_group_tests_name("backup manifests", tests, NULL, NULL);
}
