/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/audit_file.h"

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "test_audit_file.XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char command[128];
	(void)state;

	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

struct life {
	struct agi_audit_file *f;
	struct agi_audit_chain chain;
	struct agi_audit_found found;
};

static struct life begin(uint64_t incarnation, uint64_t bytes_max, uint32_t segment_bytes)
{
	const struct agi_audit_file_cfg cfg = {dir, bytes_max, segment_bytes};
	struct life l = {.chain = {.node = {{7}}, .incarnation = incarnation}};
	struct agi_why why = {""};

	if (agi_audit_file_open(&cfg, &l.f, &l.found, &why))
		fail_msg("%s", why.text);
	if (l.found.has_last)
		memcpy(l.chain.last, l.found.hash, sizeof l.chain.last);
	return l;
}

/* An entry with a body of n bytes; what the file said to it. */
static enum agi_err add(struct life *l, size_t n, uint64_t at_ms)
{
	struct agi_audit_chain before = l->chain;
	char *body = calloc(1, n + 1);
	struct agi_buf b;
	enum agi_err e;

	agi_buf_init(&b, 0);
	assert_true(agi_audit_append(&l->chain, &b, l->chain.next_seq ? AGI_AUDIT_STOP : AGI_AUDIT_START, at_ms,
	                             (struct agi_str){body, n}));
	e = agi_audit_file_append(l->f, agi_buf_str(&b), NULL);
	if (e)
		l->chain = before;
	agi_buf_free(&b);
	free(body);
	return e;
}

static void sync_all(struct life *l)
{
	struct agi_audit_sync s;

	while (agi_audit_file_take_sync(l->f, &s)) {
		enum agi_err e = agi_audit_sync_run(&s, NULL);

		agi_audit_file_synced(l->f, e);
		assert_int_equal(e, AGI_OK);
	}
}

struct seen {
	int entries, findings, damages;
	uint64_t first_seq, last_seq, last_life;
};

static struct seen read_all(uint64_t since_ms)
{
	struct agi_audit_at at = {.has_segment = false};
	struct agi_audit_walk walk = {.has_last = false};
	struct agi_audit_chunk chunk;
	struct seen seen = {.entries = 0};
	struct agi_audit_entry e;
	const uint8_t *hash;
	struct agi_str bytes;

	agi_buf_init(&chunk.records, 0);
	do {
		struct agi_cur c;

		assert_int_equal(agi_audit_read(dir, &at, since_ms, &chunk, NULL), AGI_OK);
		c = agi_cur_of(agi_buf_str(&chunk.records));
		while (agi_audit_next_record(&c, &bytes, &hash)) {
			seen.findings += agi_audit_follow(&walk, bytes, hash, &e, NULL) != AGI_OK;
			if (seen.entries++ == 0)
				seen.first_seq = e.seq;
			seen.last_seq = e.seq;
			seen.last_life = e.incarnation;
		}
		assert_false(c.bad);
		seen.damages += chunk.damage.text[0] != '\0';
	} while (chunk.has_more);
	agi_buf_free(&chunk.records);
	return seen;
}

/* Of the i-th segment, by name. */
static void path_of(char out[400], int i)
{
	struct dirent **list;
	int n = scandir(dir, &list, NULL, alphasort);

	assert_true(n > i + 2);
	snprintf(out, 400, "%s/%s", dir, list[i + 2]->d_name);
	while (n-- > 0)
		free(list[n]);
	free(list);
}

static int segments(void)
{
	struct dirent **list;
	int n = scandir(dir, &list, NULL, alphasort);

	for (int i = 0; i < n; i++)
		free(list[i]);
	free(list);
	return n - 2;
}

static void what_was_appended_is_read_again_across_lives_and_segments(void **state)
{
	struct life l;
	struct seen seen;
	(void)state;

	for (uint64_t life = 1; life <= 3; life++) {
		l = begin(life, 1 << 20, 1000);
		assert_int_equal(l.found.has_last, life > 1);
		assert_true(life == 1 || (l.found.incarnation == life - 1 && l.found.seq == 19));
		for (int i = 0; i < 20; i++)
			assert_int_equal(add(&l, 100, life * 1000 + (uint64_t)i), AGI_OK);
		sync_all(&l);
		agi_audit_file_free(l.f);
	}
	assert_true(segments() > 9);
	seen = read_all(0);
	assert_true(seen.entries == 60 && !seen.findings && !seen.damages);
	seen = read_all(3005);
	assert_true(seen.entries == 15 && seen.first_seq == 5 && !seen.findings);
	assert_int_equal(read_all(9000).entries, 0);
}

static void a_torn_end_is_cut_off_and_the_chain_goes_on(void **state)
{
	struct life l;
	char path[400];
	struct stat st;
	(void)state;

	for (off_t left = 1; left < 300; left += 37) {
		assert_int_equal(remove_dir(NULL), 0);
		l = begin(1, 1 << 20, 0);
		for (int i = 0; i < 5; i++)
			assert_int_equal(add(&l, 200, 1), AGI_OK);
		agi_audit_file_free(l.f);
		path_of(path, 0);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(truncate(path, st.st_size - left), 0);
		l = begin(2, 1 << 20, 0);
		assert_int_equal(l.found.seq, 3);
		assert_int_equal(l.found.cut_bytes, st.st_size / 5 - left);
		assert_int_equal(add(&l, 10, 2), AGI_OK);
		agi_audit_file_free(l.f);
		assert_true(read_all(0).entries == 5 && !read_all(0).findings && !read_all(0).damages);
	}
}

static void damage_within_is_kept_and_told(void **state)
{
	struct life l = begin(1, 1 << 20, 0);
	char path[400];
	struct seen seen;
	int fd;
	(void)state;

	for (int i = 0; i < 5; i++)
		assert_int_equal(add(&l, 200, 1), AGI_OK);
	agi_audit_file_free(l.f);
	path_of(path, 0);
	fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, "\xff", 1, 150), 1); /* in the body of the first */
	seen = read_all(0);
	assert_true(seen.entries == 5 && seen.findings == 1 && !seen.damages);
	assert_int_equal(pwrite(fd, "\xff", 1, 0), 1); /* its length */
	close(fd);
	l = begin(2, 1 << 20, 0);
	assert_true(l.found.is_damaged && !l.found.cut_bytes);
	assert_int_equal(add(&l, 10, 2), AGI_OK);
	agi_audit_file_free(l.f);
	seen = read_all(0);
	assert_true(seen.entries == 1 && seen.damages == 1 && seen.last_life == 2);
}

static void the_oldest_segments_go_when_all_take_too_much(void **state)
{
	struct life l = begin(1, 5000, 1000);
	struct seen seen;
	(void)state;

	for (int i = 0; i < 100; i++) {
		assert_int_equal(add(&l, 100, 1), AGI_OK);
		sync_all(&l);
	}
	agi_audit_file_free(l.f);
	seen = read_all(0);
	assert_true(seen.entries <= 25 && seen.entries > 10 && seen.last_seq == 99 && !seen.findings);
}

static void unsynced_segments_are_not_piled_up(void **state)
{
	struct life l = begin(1, 1 << 20, 200);
	(void)state;

	for (int i = 0; i < 30; i++)
		assert_int_equal(add(&l, 100, 1), AGI_OK);
	sync_all(&l);
	agi_audit_file_free(l.f);
	assert_int_equal(read_all(0).entries, 30);
}

/* RLIMIT_FSIZE is a disk that is full: write() stops short, then fails. */
static void a_full_disk_takes_whole_entries_or_nothing(void **state)
{
	struct life l = begin(1, 1 << 20, 0);
	struct rlimit was, now;
	(void)state;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	now = was;
	now.rlim_cur = 1000;
	assert_int_equal(add(&l, 300, 1), AGI_OK);
	assert_int_equal(add(&l, 300, 1), AGI_OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
	assert_int_not_equal(add(&l, 300, 1), AGI_OK);
	assert_int_not_equal(add(&l, 300, 1), AGI_OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(add(&l, 300, 1), AGI_OK); /* there is room again */
	agi_audit_file_free(l.f);
	assert_true(read_all(0).entries == 3 && !read_all(0).findings && !read_all(0).damages);
}

static void after_a_failed_sync_nothing_more_is_taken(void **state)
{
	struct life l = begin(1, 1 << 20, 0);
	struct agi_audit_sync s;
	(void)state;

	assert_int_equal(add(&l, 10, 1), AGI_OK);
	assert_true(agi_audit_file_take_sync(l.f, &s));
	close(s.fd[0]);
	s.fd[0] = open("/dev/null", O_WRONLY); /* does not sync */
	agi_audit_file_synced(l.f, agi_audit_sync_run(&s, NULL));
	assert_int_equal(add(&l, 10, 1), AGI_E_READ_ONLY);
	agi_audit_file_free(l.f);
	l = begin(2, 1 << 20, 0);
	assert_int_equal(add(&l, 10, 1), AGI_OK);
	agi_audit_file_free(l.f);
}

static void a_place_that_cannot_be_written_is_named(void **state)
{
	const struct agi_audit_file_cfg cfg = {"/proc/nowhere", 1 << 20, 0};
	struct agi_audit_at at = {.has_segment = false};
	struct agi_audit_chunk chunk;
	struct agi_audit_found found;
	struct agi_audit_file *f;
	struct agi_why why = {""};
	(void)state;

	agi_buf_init(&chunk.records, 0);
	assert_int_equal(agi_audit_file_open(&cfg, &f, &found, &why), AGI_E_IO);
	assert_non_null(strstr(why.text, "/proc/nowhere"));
	assert_int_equal(agi_audit_read("/proc/nowhere", &at, 0, &chunk, &why), AGI_E_NOT_FOUND);
}

int main(void)
{
#define TEST(x) cmocka_unit_test_setup_teardown(x, make_dir, remove_dir)
	const struct CMUnitTest tests[] = {
	    TEST(what_was_appended_is_read_again_across_lives_and_segments),
	    TEST(a_torn_end_is_cut_off_and_the_chain_goes_on),
	    TEST(damage_within_is_kept_and_told),
	    TEST(the_oldest_segments_go_when_all_take_too_much),
	    TEST(unsynced_segments_are_not_piled_up),
	    TEST(a_full_disk_takes_whole_entries_or_nothing),
	    TEST(after_a_failed_sync_nothing_more_is_taken),
	    TEST(a_place_that_cannot_be_written_is_named),
	};

	return cmocka_run_group_tests_name("audit file", tests, NULL, NULL);
}
