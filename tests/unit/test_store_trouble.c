/* SPDX-License-Identifier: Apache-2.0
 * A disk that fails and a store that is damaged: what is told, what still works, and what is never forgotten.
 * Faults are made where RocksDB meets the system: this program's own fdatasync and write stand before libc's. */
#include "store_util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "base/prng.h"
#include "store/wal.h"

/* --- faults ------------------------------------------------------------------------------------ */
static _Atomic int sync_errno, sst_write_errno; /* 0 = works */

int fdatasync(int fd)
{
	if (sync_errno) {
		errno = sync_errno;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

static bool is_sst(int fd)
{
	char link[64], path[512];
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof path - 1);
	return n > 4 && memcmp(path + n - 4, ".sst", 4) == 0;
}

ssize_t write(int fd, const void *p, size_t n)
{
	if (sst_write_errno && is_sst(fd)) {
		errno = sst_write_errno;
		return -1;
	}
	return syscall(SYS_write, fd, p, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	if (sst_write_errno && is_sst(fd)) {
		errno = sst_write_errno;
		return -1;
	}
	return syscall(SYS_pwrite64, fd, p, n, at);
}

static int heal(void **state)
{
	sync_errno = sst_write_errno = 0;
	return teardown(state);
}

/* --- files ------------------------------------------------------------------------------------- */
/* The file of dir with this ending and the highest name; false when there is none. */
static bool find_file(const char *dir, const char *end, char out[512])
{
	struct dirent *e;
	char best[256] = "";
	DIR *d = opendir(dir);
	size_t n = strlen(end);

	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		if (strlen(e->d_name) > n && strcmp(e->d_name + strlen(e->d_name) - n, end) == 0 &&
		    strcmp(e->d_name, best) > 0)
			snprintf(best, sizeof best, "%s", e->d_name);
	closedir(d);
	snprintf(out, 512, "%s/%s", dir, best);
	return best[0] != '\0';
}

static uint64_t size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_size;
}

static void flip(const char *path, uint64_t at)
{
	char c;
	int fd = open(path, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &c, 1, (off_t)at), 1);
	c ^= 0x10;
	assert_int_equal(pwrite(fd, &c, 1, (off_t)at), 1);
	close(fd);
}

static enum agi_err try_open(struct fixture *f, struct agi_why *why)
{
	struct agi_store_cfg cfg = {.path = f->dir};

	assert_null(f->store);
	return agi_store_open(&cfg, &f->store, why);
}

static void close_store(struct fixture *f)
{
	agi_store_close(f->store);
	f->store = NULL;
}

static struct agi_store_stats stats(struct fixture *f)
{
	struct agi_store_stats st;

	agi_store_stats(f->store, &st);
	return st;
}

/* Fills the store with keys of slot 5 so that they are in a table file. */
static void fill(struct fixture *f, int n)
{
	char key[32], value[512];

	memset(value, 'v', sizeof value - 1);
	value[sizeof value - 1] = '\0';
	for (int i = 0; i < n; i++) {
		struct agi_storage_op op = {AGI_PUT, AGI_CF_ITEMS, {key, 0}, agi_str_of(value)};
		struct agi_storage_req w = write_of(&op, 1);

		memcpy(key, "\0\0\0\5", 4);
		op.key.n = 4 + (size_t)snprintf(key + 4, sizeof key - 4, "k%05d", i);
		assert_int_equal(ask(f, &w).err, AGI_OK);
	}
	reopen_store(f); /* what the log holds becomes tables */
}

/* --- a disk that fails --------------------------------------------------------------------------- */
static void a_failed_sync_ends_all_writing_and_nothing_of_it_shows(void **state)
{
	struct fixture *f = *state;
	struct agi_store_stats st;
	enum agi_err e;

	assert_int_equal(put(f, "before", "1"), AGI_OK);
	sync_errno = EIO;
	e = put(f, "lost", "1"); /* a sync in RocksDB's background may have met the fault first */
	assert_true(e == AGI_E_IO || e == AGI_E_READ_ONLY);
	sync_errno = 0; /* a later sync that works proves nothing: the kernel has dropped the pages */
	assert_int_equal(put(f, "later", "1"), AGI_E_READ_ONLY);
	expect_stored(f, "before", "1");
	expect_stored(f, "lost", NULL);
	st = stats(f);
	assert_true(st.is_read_only);
	assert_int_equal(st.trouble, AGI_STORE_IO);
	reopen_store(f);
	expect_stored(f, "before", "1");
	expect_stored(f, "later", NULL);
	assert_int_equal(put(f, "again", "1"), AGI_OK);
}

static void a_full_disk_is_told_from_a_broken_one(void **state)
{
	struct fixture *f = *state;

	sync_errno = ENOSPC;
	assert_int_equal(put(f, "k", "1"), AGI_E_IO);
	assert_int_equal(stats(f).trouble, AGI_STORE_NO_SPACE);
	sync_errno = 0;
}

/* Writes until the store refuses; the acknowledged ones. */
static int write_until_refused(struct fixture *f)
{
	static char value[32 << 10];
	time_t end = time(NULL) + 60;
	int n = 0;
	char key[16];

	memset(value, 'x', sizeof value - 1);
	for (; time(NULL) < end; n++) {
		snprintf(key, sizeof key, "n%05d", n);
		if (put(f, key, value) != AGI_OK)
			return n;
		if (n > 64)
			nanosleep(&(struct timespec){0, 10000000}, NULL); /* until the next look after it */
	}
	fail_msg("the store never noticed");
	return 0;
}

static void a_failed_flush_in_the_background_is_noticed(void **state)
{
	struct fixture *f = *state;
	char key[16];
	int n;

	sst_write_errno = EIO;
	n = write_until_refused(f);
	assert_int_equal(stats(f).trouble, AGI_STORE_IO);
	assert_non_null(strstr(stats(f).read_only_why.text, f->dir));
	close_store(f);
	sst_write_errno = 0;
	open_store(f);
	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof key, "n%05d", i);
		assert_int_equal(get(f, key).err, AGI_OK);
	}
}

/* --- damaged tables ------------------------------------------------------------------------------ */
static void damage_in_a_table_is_found_named_and_remembered(void **state)
{
	struct fixture *f = *state;
	struct agi_why why = {{0}}, again = {{0}};
	char path[512];

	fill(f, 400);
	assert_true(find_file(f->dir, ".sst", path));
	close_store(f);
	flip(path, size_of(path) / 3);
	assert_int_equal(try_open(f, &why), AGI_OK); /* RocksDB looks at blocks when they are read */
	assert_int_equal(scan(f, "", "", 0, 0).err, AGI_E_CORRUPT);
	assert_int_equal(put(f, "k", "1"), AGI_E_READ_ONLY);
	assert_int_equal(stats(f).trouble, AGI_STORE_DAMAGED);
	why = stats(f).read_only_why;
	assert_non_null(strstr(why.text, strrchr(path, '/')));
	assert_non_null(strstr(why.text, "(items of slots 5 to 5)"));
	close_store(f);
	assert_int_equal(try_open(f, &again), AGI_E_CORRUPT);
	assert_string_equal(again.text, why.text);
}

static void wait_for_trouble(struct fixture *f)
{
	time_t end = time(NULL) + 60;

	while (!stats(f).is_read_only) {
		if (time(NULL) > end)
			fail_msg("nothing was found");
		nanosleep(&(struct timespec){0, 10000000}, NULL);
	}
}

static void scrubbing_finds_what_nobody_reads(void **state)
{
	struct fixture *f = *state;
	char path[512];

	fill(f, 400);
	agi_store_scrub(f->store, true);
	while (stats(f).scrub_passes == 0)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	assert_false(stats(f).is_read_only);
	assert_true(stats(f).scrub_bytes > 400 * 500);
	assert_true(stats(f).scrub_last_end > 0);
	assert_true(find_file(f->dir, ".sst", path));
	close_store(f);
	flip(path, size_of(path) / 3);
	open_store(f);
	agi_store_scrub(f->store, true);
	wait_for_trouble(f);
	assert_int_equal(stats(f).trouble, AGI_STORE_DAMAGED);
}

static void a_slow_pass_ends_at_once_when_the_store_is_closed(void **state)
{
	struct fixture *f = *state;
	struct agi_store_cfg cfg = {.path = f->dir, .scrub_every_s = 1, .scrub_bytes_s = 1000};
	struct agi_why why;

	fill(f, 3000);
	close_store(f);
	assert_int_equal(agi_store_open(&cfg, &f->store, &why), AGI_OK);
	while (!stats(f).is_scrubbing)
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	close_store(f); /* at 1000 bytes a second it would take half an hour */
}

static void a_missing_table_is_damage(void **state)
{
	struct fixture *f = *state;
	struct agi_why why = {{0}};
	char path[512];

	fill(f, 10);
	close_store(f);
	assert_true(find_file(f->dir, ".sst", path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(try_open(f, &why), AGI_E_CORRUPT);
	assert_non_null(strstr(why.text, strrchr(path, '/')));
}

static void a_store_whose_current_is_missing_is_not_begun_anew(void **state)
{
	struct fixture *f = *state;
	struct agi_why why = {{0}};
	char path[512];

	fill(f, 10);
	close_store(f);
	snprintf(path, sizeof path, "%s/CURRENT", f->dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(try_open(f, &why), AGI_E_CORRUPT);
	assert_non_null(strstr(why.text, "CURRENT"));
	assert_true(find_file(f->dir, ".sst", path));
}

/* --- damaged logs ---------------------------------------------------------------------------------- */
enum { RECORDS = 24, VALUE_MAX = 80000 };

/* Runs this program again with a role (see main) on the fixture's store; it ends without closing it, as a power
 * cut would end it. out: where its standard output goes. */
static void in_child(struct fixture *f, const char *role, const char *arg, int out)
{
	int status;
	pid_t pid;

	close_store(f);
	pid = fork();
	if (pid == 0) {
		if (out >= 0)
			dup2(out, STDOUT_FILENO);
		execl("/proc/self/exe", "test_store_trouble", role, f->dir, arg, (char *)NULL);
		_exit(127);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Puts values of all sizes; tells where the log ended after each. */
static int child_writes_records(struct fixture *f, const char *seed)
{
	static char value[VALUE_MAX];
	struct agi_prng r;
	char key[16], path[512];

	agi_prng_seed(&r, strtoull(seed, NULL, 10));
	for (size_t i = 0; i < sizeof value; i++)
		value[i] = (char)agi_prng_below(&r, 256);
	for (int i = 0; i < RECORDS; i++) {
		uint64_t end;
		struct agi_storage_op op = {AGI_PUT, AGI_CF_ITEMS, {key, 0},
		                            {value, agi_prng_below(&r, i % 3 ? 300 : VALUE_MAX)}};
		struct agi_storage_req w = write_of(&op, 1);

		op.key.n = (size_t)snprintf(key, sizeof key, "k%03d", i);
		if (ask(f, &w).err || !find_file(f->dir, ".log", path))
			return 1;
		end = size_of(path);
		if (write(STDOUT_FILENO, &end, sizeof end) != sizeof end)
			return 2;
	}
	return 0;
}

/* A log of RECORDS writes; ends[i] is where the i-th ends. */
static void make_log(struct fixture *f, const char *seed, char path[512], uint64_t ends[RECORDS])
{
	int p[2];

	assert_int_equal(pipe(p), 0);
	in_child(f, "records", seed, p[1]);
	close(p[1]);
	assert_int_equal(read(p[0], ends, RECORDS * sizeof *ends), RECORDS * sizeof *ends);
	close(p[0]);
	assert_true(find_file(f->dir, ".log", path));
	assert_true(size_of(path) == ends[RECORDS - 1]);
}

static void only_damage_in_the_last_record_counts_as_torn(void **state)
{
	struct fixture *f = *state;
	struct agi_wal_look look;
	uint64_t ends[RECORDS];
	struct agi_why why;
	struct agi_prng r;
	char path[512];

	make_log(f, "4711", path, ends);
	agi_prng_seed(&r, 4712);
	assert_int_equal(agi_wal_look(f->dir, &look, &why), AGI_OK);
	assert_int_equal(look.end, AGI_WAL_WHOLE);
	for (int i = 0; i < 150; i++) {
		uint64_t at = agi_prng_below(&r, ends[RECORDS - 1]);
		bool is_last = at >= ends[RECORDS - 2];

		flip(path, at);
		assert_int_equal(agi_wal_look(f->dir, &look, &why), AGI_OK);
		if (is_last)
			assert_int_not_equal(look.end, AGI_WAL_DAMAGED);
		else
			assert_int_equal(look.end, AGI_WAL_DAMAGED);
		if (look.end == AGI_WAL_TORN)
			assert_true(look.offset == ends[RECORDS - 2]);
		flip(path, at);
	}
}

static void forget_synced(const char *dir)
{
	char path[512];

	snprintf(path, sizeof path, "%s/SYNCED", dir);
	assert_int_equal(unlink(path), 0);
}

static void a_torn_last_write_is_cut_off_and_the_rest_is_there(void **state)
{
	struct fixture *f = *state;
	uint64_t ends[RECORDS];
	struct agi_why why = {{0}};
	char path[512], cut[512];

	make_log(f, "99", path, ends);
	forget_synced(f->dir); /* the power went before it was noted */
	flip(path, ends[RECORDS - 2] + 20);
	assert_int_equal(try_open(f, &why), AGI_OK);
	assert_int_equal(scan(f, "k", "l", 0, 0).n, RECORDS - 1);
	assert_non_null(strstr(stats(f).notice.text, ".log"));
	assert_true(find_file(f->dir, ".cut", cut));
	assert_true(size_of(cut) == ends[RECORDS - 1] - ends[RECORDS - 2]);
	assert_int_equal(put(f, "k999", "v"), AGI_OK);
	reopen_store(f);
	assert_int_equal(stats(f).notice.text[0], '\0');
	assert_int_equal(scan(f, "k", "l", 0, 0).n, RECORDS);
}

static void damage_before_the_last_write_is_refused_and_named(void **state)
{
	struct fixture *f = *state;
	uint64_t ends[RECORDS];
	struct agi_why why = {{0}};
	char path[512];

	make_log(f, "100", path, ends);
	flip(path, ends[RECORDS / 2] + 20);
	assert_int_equal(try_open(f, &why), AGI_E_CORRUPT);
	assert_non_null(strstr(why.text, strrchr(path, '/')));
	assert_non_null(strstr(why.text, "acknowledged"));
}

/* Puts, waits until the store has noted what is durable, and ends. */
static int child_writes_and_rests(struct fixture *f)
{
	if (put(f, "k1", "v") || put(f, "k2", "v"))
		return 1;
	nanosleep(&(struct timespec){2, 0}, NULL); /* it is noted within a second */
	return 0;
}

static void a_log_that_lost_acknowledged_writes_is_refused(void **state)
{
	struct fixture *f = *state;
	struct agi_why why = {{0}};
	char path[512];

	in_child(f, "rest", "", -1);
	assert_true(find_file(f->dir, ".log", path));
	assert_int_equal(truncate(path, (off_t)size_of(path) - 3), 0);
	assert_int_equal(try_open(f, &why), AGI_E_CORRUPT);
	assert_non_null(strstr(why.text, "lost acknowledged writes"));
	assert_int_equal(try_open(f, &why), AGI_E_CORRUPT); /* and stays so */
}

static void closing_in_order_is_never_taken_for_a_loss(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 5; i++) {
		assert_int_equal(put(f, "k", "v"), AGI_OK);
		reopen_store(f);
		reopen_store(f);
	}
}

static void crc32c_is_as_published(void **state)
{
	static const uint8_t zeros[32];

	(void)state;
	assert_int_equal(agi_crc32c((const uint8_t *)"123456789", 9), 0xe3069283);
	assert_int_equal(agi_crc32c(zeros, 32), 0x8a9136aa); /* RFC 3720 B.4 */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, heal)

static int child(char **argv)
{
	struct fixture f = {.store = NULL};

	snprintf(f.dir, sizeof f.dir, "%s", argv[2]);
	open_store(&f);
	_exit(strcmp(argv[1], "rest") == 0 ? child_writes_and_rests(&f) : child_writes_records(&f, argv[3]));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_failed_sync_ends_all_writing_and_nothing_of_it_shows),
	    TEST(a_full_disk_is_told_from_a_broken_one),
	    TEST(a_failed_flush_in_the_background_is_noticed),
	    TEST(damage_in_a_table_is_found_named_and_remembered),
	    TEST(scrubbing_finds_what_nobody_reads),
	    TEST(a_slow_pass_ends_at_once_when_the_store_is_closed),
	    TEST(a_missing_table_is_damage),
	    TEST(a_store_whose_current_is_missing_is_not_begun_anew),
	    TEST(only_damage_in_the_last_record_counts_as_torn),
	    TEST(a_torn_last_write_is_cut_off_and_the_rest_is_there),
	    TEST(damage_before_the_last_write_is_refused_and_named),
	    TEST(a_log_that_lost_acknowledged_writes_is_refused),
	    TEST(closing_in_order_is_never_taken_for_a_loss),
	    cmocka_unit_test(crc32c_is_as_published),
	};

	if (argc == 4)
		return child(argv);
	return cmocka_run_group_tests_name("store in trouble", tests, NULL, NULL);
}
