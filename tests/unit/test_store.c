/* SPDX-License-Identifier: Apache-2.0
 * The contract of base/storage.h and store/store.h, point by point. */
#include "store_util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <rocksdb/c.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* --- values ----------------------------------------------------------------------------------- */
static void a_value_is_read_back_until_it_is_deleted(void **state)
{
	struct fixture *f = *state;
	struct agi_storage_op del = op_of(AGI_DELETE, "a", NULL);
	struct agi_storage_req r = write_of(&del, 1);

	expect_stored(f, "a", NULL);
	assert_int_equal(put(f, "a", "1"), AGI_OK);
	expect_stored(f, "a", "1");
	assert_int_equal(put(f, "a", ""), AGI_OK);
	expect_stored(f, "a", "");
	assert_int_equal(ask(f, &r).err, AGI_OK);
	expect_stored(f, "a", NULL);
}

static void column_families_are_apart(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 2; round++) {
		for (int cf = 0; cf < AGI_CF_COUNT; cf++) {
			char v[2] = {(char)('a' + cf), 0};
			struct agi_storage_op op = {AGI_PUT, (enum agi_cf)cf, AGI_STR("k"), agi_str_of(v)};
			struct agi_storage_req w = write_of(&op, 1);
			struct agi_storage_req r = {
			    .kind = AGI_STORAGE_GET, .cf = (enum agi_cf)cf, .begin = AGI_STR("k")};
			struct answer a;

			if (round == 0)
				assert_int_equal(ask(f, &w).err, AGI_OK);
			a = ask(f, &r);
			assert_int_equal(a.err, AGI_OK);
			assert_int_equal(a.text[2], 'a' + cf);
		}
		reopen_store(f);
	}
}

static void keys_and_values_may_hold_any_byte(void **state)
{
	struct fixture *f = *state;
	struct agi_storage_op op = {AGI_PUT, AGI_CF_ITEMS, AGI_STR("a\0b\xff"), AGI_STR("\0\x01\n")};
	struct agi_storage_req w = write_of(&op, 1);
	struct agi_storage_req r = {.kind = AGI_STORAGE_GET, .cf = AGI_CF_ITEMS, .begin = op.key};
	struct answer a;

	assert_int_equal(ask(f, &w).err, AGI_OK);
	a = ask(f, &r);
	assert_int_equal(a.err, AGI_OK);
	assert_memory_equal(a.text, "a\0b\xff=\0\x01\n", 8);
	expect_stored(f, "a", NULL);
}

static void what_was_written_is_there_after_reopening(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(put(f, "a", "1"), AGI_OK);
	reopen_store(f);
	expect_stored(f, "a", "1");
}

static void a_request_is_applied_in_the_order_of_its_operations(void **state)
{
	struct fixture *f = *state;
	struct agi_storage_op ops[] = {op_of(AGI_PUT, "a", "1"), op_of(AGI_PUT, "b", "1"),
	                               op_of(AGI_DELETE_RANGE, "a", "b"), op_of(AGI_PUT, "a", "2"),
	                               op_of(AGI_DELETE, "b", NULL)};
	struct agi_storage_req w = write_of(ops, 5);

	assert_int_equal(ask(f, &w).err, AGI_OK);
	expect_stored(f, "a", "2");
	expect_stored(f, "b", NULL);
}

static void an_empty_request_completes(void **state)
{
	struct agi_storage_req w = write_of(NULL, 0);

	assert_int_equal(ask(*state, &w).err, AGI_OK);
}

static void a_range_deletion_takes_its_begin_and_leaves_its_end(void **state)
{
	struct fixture *f = *state;
	struct agi_storage_op ops[] = {op_of(AGI_DELETE_RANGE, "b", "d"),
	                               op_of(AGI_DELETE_RANGE, "e", "a"), /* nothing: end before begin */
	                               op_of(AGI_DELETE_RANGE, "e", "e")};
	struct agi_storage_req w = write_of(ops, 3);
	const char *keys[] = {"a", "b", "c", "d", "e"};

	for (int i = 0; i < 5; i++)
		assert_int_equal(put(f, keys[i], "v"), AGI_OK);
	assert_int_equal(ask(f, &w).err, AGI_OK);
	assert_string_equal(scan(f, "", "", 0, 0).text, "a=v d=v e=v");
	reopen_store(f);
	assert_string_equal(scan(f, "", "", 0, 0).text, "a=v d=v e=v");
}

static void more_range_deletions_than_a_group_holds_are_all_done(void **state)
{
	struct fixture *f = *state;
	struct agi_storage_op put_ops[40], ops[40];
	struct agi_storage_req w = write_of(put_ops, 40), d = write_of(ops, 40);
	char key[40][8], end[40][8];

	for (int i = 0; i < 40; i++) {
		snprintf(key[i], sizeof key[i], "k%02d", i);
		snprintf(end[i], sizeof end[i], "k%02d!", i);
		put_ops[i] = op_of(AGI_PUT, key[i], "v");
		ops[i] = op_of(AGI_DELETE_RANGE, key[i], end[i]);
	}
	assert_int_equal(ask(f, &w).err, AGI_OK);
	assert_int_equal(scan(f, "", "", 0, 0).n, 40);
	assert_int_equal(ask(f, &d).err, AGI_OK);
	assert_int_equal(scan(f, "", "", 0, 0).n, 0);
}

/* --- PUT_NEWER -------------------------------------------------------------------------------- */
/* 39 zero bytes and v, then the tag: a value of version v. */
static struct agi_str versioned(char buf[64], uint8_t v, char tag)
{
	memset(buf, '0', AGI_VERSION_BYTES);
	buf[AGI_VERSION_BYTES - 1] = (char)('0' + v);
	buf[AGI_VERSION_BYTES] = tag;
	return (struct agi_str){buf, AGI_VERSION_BYTES + 1};
}

static char tag_of(struct fixture *f, const char *key)
{
	struct answer a = get(f, key);

	return a.err ? '-' : a.text[strlen(a.text) - 1];
}

static void put_newer_keeps_the_highest_version(void **state)
{
	struct fixture *f = *state;
	const struct {
		uint8_t version;
		char tag, stays;
	} steps[] = {{2, 'a', 'a'}, {1, 'b', 'a'}, {2, 'c', 'a'}, {3, 'd', 'd'}};

	for (size_t i = 0; i < 4; i++) {
		char buf[64];
		struct agi_storage_op op = op_of(AGI_PUT_NEWER, "k", NULL);
		struct agi_storage_req w = write_of(&op, 1);

		op.value = versioned(buf, steps[i].version, steps[i].tag);
		assert_int_equal(ask(f, &w).err, AGI_OK);
		assert_int_equal(tag_of(f, "k"), steps[i].stays);
	}
}

static void put_newer_sees_the_operations_before_it_in_its_request(void **state)
{
	struct fixture *f = *state;
	char b[5][64];
	struct agi_storage_op ops[] = {op_of(AGI_PUT_NEWER, "x", NULL), op_of(AGI_PUT_NEWER, "x", NULL),
	                               op_of(AGI_PUT_NEWER, "y", NULL), op_of(AGI_DELETE, "y", NULL),
	                               op_of(AGI_PUT_NEWER, "y", NULL), op_of(AGI_PUT, "z", "short"),
	                               op_of(AGI_PUT_NEWER, "z", NULL)};
	struct agi_storage_req w = write_of(ops, 7);

	ops[0].value = versioned(b[0], 5, 'a');
	ops[1].value = versioned(b[1], 4, 'b'); /* older than its neighbour */
	ops[2].value = versioned(b[2], 9, 'c');
	ops[4].value = versioned(b[3], 1, 'd'); /* nothing is stored any more */
	ops[6].value = versioned(b[4], 1, 'e'); /* a plain value is compared bytewise: "short" > "000…" */
	assert_int_equal(ask(f, &w).err, AGI_OK);
	assert_int_equal(tag_of(f, "x"), 'a');
	assert_int_equal(tag_of(f, "y"), 'd');
	assert_string_equal(get(f, "z").text, "z=short");
}

static void delete_if_deletes_only_the_version_it_names(void **state)
{
	struct fixture *f = *state;
	char b[4][64];
	struct agi_storage_op ops[] = {op_of(AGI_PUT_NEWER, "x", NULL), op_of(AGI_DELETE_IF, "x", NULL),
	                               op_of(AGI_DELETE_IF, "x", NULL)};
	struct agi_storage_req put_one = write_of(ops, 1), older = write_of(ops + 1, 1), all = write_of(ops, 3);

	ops[0].value = versioned(b[0], 5, 'a');
	assert_int_equal(ask(f, &put_one).err, AGI_OK);
	ops[1].value = versioned(b[1], 4, 'a');
	ops[1].value.n = AGI_VERSION_BYTES;
	assert_int_equal(ask(f, &older).err, AGI_OK);
	assert_int_equal(tag_of(f, "x"), 'a');
	ops[0].value = versioned(b[0], 6, 'b'); /* within one request: put, one that misses, one that hits */
	ops[2].value = versioned(b[2], 6, 'b');
	ops[2].value.n = AGI_VERSION_BYTES;
	assert_int_equal(ask(f, &all).err, AGI_OK);
	assert_int_equal(tag_of(f, "x"), '-');
	assert_int_equal(ask(f, &older).err, AGI_OK); /* nothing there: nothing to do */
	ops[1].value.n = AGI_VERSION_BYTES + 1;
	assert_int_equal(agi_store_submit(f->store, 1, &older), AGI_E_INVALID);
}

struct tally {
	unsigned n, ok;
	uint64_t last_id;
};

static void count_answer(void *arg, uint64_t id, const struct agi_storage_done *d)
{
	struct tally *t = arg;

	assert_true(id > t->last_id); /* in the order of submission */
	t->last_id = id;
	t->n++;
	t->ok += d->err == AGI_OK;
}

static void wait_for(struct fixture *f, struct tally *t, unsigned n)
{
	while (t->n < n) {
		wait_store(f->store);
		agi_store_poll(f->store, count_answer, t);
	}
}

static void put_newer_sees_the_requests_queued_before_it(void **state)
{
	struct fixture *f = *state;
	struct tally t = {0};
	char buf[64];

	/* Falling versions in one burst: whatever shares a batch, the first stays. */
	for (int round = 0; round < 20; round++) {
		for (int v = 9; v >= 0; v--) {
			char key[16];
			struct agi_storage_op op = op_of(AGI_PUT_NEWER, key, NULL);
			struct agi_storage_req w = write_of(&op, 1);

			snprintf(key, sizeof key, "k%d", round);
			op.key = agi_str_of(key);
			op.value = versioned(buf, (uint8_t)v, (char)('a' + v));
			assert_int_equal(agi_store_submit(f->store, ++f->next_id, &w), AGI_OK);
		}
	}
	wait_for(f, &t, 200);
	assert_int_equal(t.ok, 200);
	for (int round = 0; round < 20; round++) {
		char key[16];

		snprintf(key, sizeof key, "k%d", round);
		assert_int_equal(tag_of(f, key), 'a' + 9);
	}
}

static void put_newer_without_a_version_is_refused(void **state)
{
	struct fixture *f = *state;
	struct agi_storage_op op = op_of(AGI_PUT_NEWER, "k", "too short for a version");
	struct agi_storage_req w = write_of(&op, 1);

	assert_int_equal(agi_store_submit(f->store, 1, &w), AGI_E_INVALID);
	expect_stored(f, "k", NULL);
}

/* --- peeking ---------------------------------------------------------------------------------- */
static enum agi_err peek(struct fixture *f, const char *key, struct agi_buf *out)
{
	struct agi_storage_req r = get_of(key);

	r.may_lag = true;
	agi_buf_reset(out);
	return agi_store_peek(f->store, &r, out);
}

static void a_peek_sees_what_was_reported_durable(void **state)
{
	struct fixture *f = *state;
	struct agi_buf b;

	agi_buf_init(&b, 0);
	assert_int_equal(peek(f, "k", &b), AGI_E_NOT_FOUND);
	assert_int_equal(put(f, "k", "v1"), AGI_OK);
	assert_int_equal(peek(f, "k", &b), AGI_OK);
	assert_true(agi_str_eq(agi_buf_str(&b), AGI_STR("v1")));
	assert_int_equal(put(f, "k", "v2"), AGI_OK);
	assert_int_equal(peek(f, "k", &b), AGI_OK);
	assert_true(agi_str_eq(agi_buf_str(&b), AGI_STR("v2")));
	agi_buf_free(&b);
}

static void what_is_queued_begins_with_the_kick(void **state)
{
	struct fixture *f = *state;
	struct agi_storage_op op = op_of(AGI_PUT, "k", "v");
	struct agi_storage_req w = write_of(&op, 1);
	struct tally t = {0};
	struct agi_store_stats st;
	struct agi_buf b;

	agi_buf_init(&b, 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(agi_store_queue(f->store, ++f->next_id, &w), AGI_OK);
	assert_int_equal(peek(f, "k", &b), AGI_E_NOT_FOUND);
	agi_store_stats(f->store, &st);
	assert_int_equal(st.queued, 10);
	agi_store_kick(f->store);
	wait_for(f, &t, 10);
	assert_int_equal(t.ok, 10);
	agi_store_stats(f->store, &st);
	assert_int_equal(st.commits, 1);
	agi_buf_free(&b);
}

/* --- scans ------------------------------------------------------------------------------------ */
static void a_scan_gives_its_range_in_order_within_its_limits(void **state)
{
	struct fixture *f = *state;
	const char *keys[] = {"c", "a", "d", "b"};
	struct answer a;

	for (int i = 0; i < 4; i++)
		assert_int_equal(put(f, keys[i], "v"), AGI_OK);
	assert_string_equal(scan(f, "b", "d", 0, 0).text, "b=v c=v");
	assert_false(scan(f, "b", "d", 2, 0).has_more);
	assert_string_equal(scan(f, "", "", 0, 0).text, "a=v b=v c=v d=v");
	a = scan(f, "a", "z", 3, 0);
	assert_string_equal(a.text, "a=v b=v c=v");
	assert_true(a.has_more);
	a = scan(f, "a", "z", 0, 1); /* at least one item */
	assert_string_equal(a.text, "a=v");
	assert_true(a.has_more);
	a = scan(f, "x", "z", 10, 10);
	assert_int_equal(a.err, AGI_OK);
	assert_int_equal(a.n, 0);
	assert_false(a.has_more);
}

static void a_scan_of_many_ranges_finds_what_is_in_them(void **state)
{
	struct fixture *f = *state;
	const char *keys[] = {"0001", "0001a", "0001b1", "0001b2", "0001c", "0002a", "0003b", "0003b3", "0007bz", "0009b", "x"};
	struct agi_storage_req s = {.kind = AGI_STORAGE_SCAN, .cf = AGI_CF_ITEMS, .heads = AGI_STR("0001000200030007"),
	                            .begin = AGI_STR("b"), .end = AGI_STR("c"), .value_bytes = 1};
	struct answer a;

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		assert_int_equal(put(f, keys[i], "value"), AGI_OK);
	assert_string_equal(ask(f, &s).text, "0001b1=v 0001b2=v 0003b=v 0003b3=v 0007bz=v");
	s.after = AGI_STR("b1");
	s.max_items = 2;
	a = ask(f, &s);
	assert_string_equal(a.text, "0001b2=v 0003b=v");
	assert_true(a.has_more);
	s.heads = AGI_STR("00020008");
	a = ask(f, &s);
	assert_int_equal(a.n, 0);
	assert_false(a.has_more);
}

struct answers {
	struct answer list[16];
	unsigned n;
};

static void keep_answer(void *arg, uint64_t id, const struct agi_storage_done *d)
{
	struct answers *all = arg;

	assert_true(all->n < 16);
	note_answer(&all->list[all->n++], id, d);
}

static void a_read_sees_every_write_before_it_and_none_after(void **state)
{
	struct fixture *f = *state;
	struct agi_storage_op op1 = op_of(AGI_PUT, "a", "1"), op2 = op_of(AGI_PUT, "a", "2"),
	                      del = op_of(AGI_DELETE, "a", NULL);
	struct agi_storage_req w1 = write_of(&op1, 1), w2 = write_of(&op2, 1), w3 = write_of(&del, 1);
	struct agi_storage_req g = get_of("a");
	struct agi_storage_req s = {.kind = AGI_STORAGE_SCAN, .cf = AGI_CF_ITEMS};
	const struct agi_storage_req *burst[] = {&g, &w1, &g, &s, &w2, &g, &w3, &g, &s};
	const char *want[] = {"", "", "a=1", "a=1", "", "a=2", "", "", ""};

	for (int round = 0; round < 50; round++) {
		struct answers got = {.n = 0};

		for (unsigned i = 0; i < 9; i++)
			assert_int_equal(agi_store_submit(f->store, i, burst[i]), AGI_OK);
		while (got.n < 9) {
			wait_store(f->store);
			agi_store_poll(f->store, keep_answer, &got);
		}
		for (unsigned i = 0; i < 9; i++) {
			assert_int_equal(got.list[i].id, i);
			assert_string_equal(got.list[i].text, want[i]);
		}
		assert_int_equal(got.list[0].err, AGI_E_NOT_FOUND);
		assert_int_equal(got.list[7].err, AGI_E_NOT_FOUND);
	}
}

static void start_up_requests_run_at_once(void **state)
{
	struct fixture *f = *state;
	struct agi_storage_op op = op_of(AGI_PUT, "a", "1");
	struct agi_storage_req w = write_of(&op, 1), g = get_of("a"), none = get_of("b");
	struct answer a = {0};

	assert_int_equal(agi_store_run(f->store, &w, NULL, NULL), AGI_OK);
	assert_int_equal(agi_store_run(f->store, &g, note_answer, &a), AGI_OK);
	assert_string_equal(a.text, "a=1");
	assert_int_equal(agi_store_run(f->store, &none, note_answer, &a), AGI_E_NOT_FOUND);
	assert_int_equal(put(f, "b", "2"), AGI_OK); /* and the queue goes on */
	assert_int_equal(agi_store_run(f->store, &none, note_answer, &a), AGI_OK);
	assert_string_equal(a.text, "b=2");
}

/* --- bounds ----------------------------------------------------------------------------------- */
static void writes_queued_together_share_a_sync(void **state)
{
	struct fixture *f = *state;
	struct agi_store_stats st;
	struct tally t = {0};
	struct agi_storage_op op = op_of(AGI_PUT, "a", "1");
	struct agi_storage_req w = write_of(&op, 1);

	for (int i = 0; i < 2000; i++)
		assert_int_equal(agi_store_submit(f->store, ++f->next_id, &w), AGI_OK);
	wait_for(f, &t, 2000);
	agi_store_stats(f->store, &st);
	assert_int_equal(st.writes, 2000);
	assert_int_equal(st.queued, 0);
	assert_int_equal(st.queued_bytes, 0);
	assert_true(st.commits < 1000);
	assert_false(st.is_read_only);
}

static void a_full_queue_refuses_and_loses_nothing(void **state)
{
	struct fixture *f = *state;
	struct agi_storage_op op = op_of(AGI_PUT, "a", "1");
	struct agi_storage_req w = write_of(&op, 1);
	struct tally t = {0};
	unsigned n = 0;
	enum agi_err e;

	while ((e = agi_store_submit(f->store, n + 1, &w)) == AGI_OK)
		n++;
	assert_int_equal(e, AGI_E_FULL);
	assert_int_equal(n, AGI_STORE_QUEUE_MAX); /* completions that nobody takes count as well */
	wait_for(f, &t, n);
	assert_int_equal(t.ok, n);
	f->next_id = n;
	assert_int_equal(put(f, "b", "2"), AGI_OK);
}

static void bytes_are_bounded_too(void **state)
{
	struct fixture *f = *state;
	char *big = calloc(1, AGI_STORE_QUEUE_BYTES);
	struct agi_storage_op op = {AGI_PUT, AGI_CF_ITEMS, AGI_STR("k"), {big, AGI_STORE_QUEUE_BYTES / 4}};
	struct agi_storage_req w = write_of(&op, 1);
	struct tally t = {0};

	assert_non_null(big);
	for (unsigned i = 1; i <= 3; i++)
		assert_int_equal(agi_store_submit(f->store, i, &w), AGI_OK);
	assert_int_equal(agi_store_submit(f->store, 4, &w), AGI_E_FULL);
	op.value.n = AGI_STORE_QUEUE_BYTES;
	assert_int_equal(agi_store_submit(f->store, 4, &w), AGI_E_TOO_LARGE);
	wait_for(f, &t, 3);
	assert_int_equal(t.ok, 3);
	free(big);
}

static void closing_completes_what_is_queued(void **state)
{
	struct fixture *f = *state;
	struct agi_storage_op op;
	struct agi_storage_req w = write_of(&op, 1);
	char key[16];

	for (int i = 0; i < 500; i++) {
		snprintf(key, sizeof key, "k%03d", i);
		op = op_of(AGI_PUT, key, "v");
		assert_int_equal(agi_store_submit(f->store, (uint64_t)i + 1, &w), AGI_OK);
	}
	reopen_store(f);
	assert_int_equal(scan(f, "", "", 0, 0).n, 500);
}

/* --- opening ---------------------------------------------------------------------------------- */
static enum agi_err try_open(const char *path, struct agi_why *why)
{
	struct agi_store_cfg cfg = {.path = path};
	struct agi_store *s = NULL;
	enum agi_err e = agi_store_open(&cfg, &s, why);

	if (e == AGI_OK)
		agi_store_close(s);
	else
		assert_null(s);
	return e;
}

/* Runs this program again as a process of its own: role and directory as arguments. Its exit status. */
static int run_child(const char *role, const char *dir)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execl("/proc/self/exe", "test_store", role, dir, (char *)NULL);
		_exit(127);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static int child_opens_a_locked_store(const char *dir)
{
	struct agi_why why = {{0}};
	char holder[32];

	if (try_open(dir, &why) != AGI_E_EXISTS)
		return 1;
	snprintf(holder, sizeof holder, "process %d;", (int)getppid());
	if (!strstr(why.text, holder)) {
		fprintf(stderr, "%s\n", why.text);
		return 2;
	}
	return 0;
}

static void a_second_opener_is_told_who_holds_it(void **state)
{
	struct fixture *f = *state;
	struct agi_why why = {{0}};

	assert_int_equal(run_child("locked", f->dir), 0);
	assert_int_equal(try_open(f->dir, &why), AGI_E_EXISTS);
	assert_non_null(strstr(why.text, "already open in this process"));
	assert_int_equal(run_child("locked", f->dir), 0); /* and asking did not release the lock */
}

static void impossible_paths_are_explained(void **state)
{
	struct fixture *f = *state;
	struct agi_why why = {{0}};
	char path[512];
	int fd;

	assert_int_equal(try_open("", &why), AGI_E_INVALID);
	snprintf(path, sizeof path, "%s/file", f->dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(try_open(path, &why), AGI_E_IO);
	assert_non_null(strstr(why.text, "expected a directory"));
	snprintf(path, sizeof path, "%s/no/such", f->dir);
	assert_int_equal(try_open(path, &why), AGI_E_IO);
	assert_non_null(strstr(why.text, path));
}

static void a_new_directory_is_for_its_owner_only(void **state)
{
	struct fixture *f = *state;
	struct agi_why why = {{0}};
	char path[512];
	struct stat st;

	snprintf(path, sizeof path, "%s/new", f->dir);
	assert_int_equal(try_open(path, &why), AGI_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

static void a_store_of_a_newer_version_is_left_alone(void **state)
{
	struct fixture *f = *state;
	rocksdb_options_t *o = rocksdb_options_create();
	rocksdb_column_family_handle_t *cf;
	struct agi_why why = {{0}};
	char path[512], *err = NULL;
	rocksdb_t *db;

	snprintf(path, sizeof path, "%s/newer", f->dir);
	rocksdb_options_set_create_if_missing(o, 1);
	db = rocksdb_open(o, path, &err);
	assert_null(err);
	cf = rocksdb_create_column_family(db, o, "of-the-future", &err);
	assert_null(err);
	rocksdb_column_family_handle_destroy(cf);
	rocksdb_close(db);
	rocksdb_options_destroy(o);
	assert_int_equal(try_open(path, &why), AGI_E_UNSUPPORTED);
	assert_non_null(strstr(why.text, "newer version"));
}

/* --- damage ----------------------------------------------------------------------------------- */
/* A process that writes k000…k199 one by one and ends without closing: everything is in the log. */
static int child_leaves_a_log(const char *dir)
{
	struct fixture f = {0};
	char key[16];

	snprintf(f.dir, sizeof f.dir, "%s", dir);
	open_store(&f);
	for (int i = 0; i < 200; i++) {
		snprintf(key, sizeof key, "k%03d", i);
		if (put(&f, key, "0123456789abcdef0123456789abcdef"))
			_exit(1);
	}
	_exit(0);
}

/* The newest write-ahead log in dir. */
static void log_of(const char *dir, char out[512])
{
	struct dirent *e;
	char best[256] = "";
	DIR *d = opendir(dir);

	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		if (strlen(e->d_name) > 4 && strcmp(e->d_name + strlen(e->d_name) - 4, ".log") == 0 &&
		    strcmp(e->d_name, best) > 0)
			snprintf(best, sizeof best, "%s", e->d_name);
	closedir(d);
	assert_true(best[0]);
	snprintf(out, 512, "%s/%s", dir, best);
}

static void leave_log(struct fixture *f, char path[512])
{
	agi_store_close(f->store);
	f->store = NULL;
	assert_int_equal(run_child("log", f->dir), 0);
	log_of(f->dir, path);
}

/* As if the power had gone before the last writes were noted as acknowledged. */
static void forget_synced(const char *dir)
{
	char path[512];

	snprintf(path, sizeof path, "%s/SYNCED", dir);
	assert_int_equal(unlink(path), 0);
}

static void a_torn_end_of_the_log_loses_only_what_was_torn(void **state)
{
	struct fixture *f = *state;
	char path[512];
	struct stat st;

	leave_log(f, path);
	forget_synced(f->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size - 7), 0);
	open_store(f);
	assert_int_equal(scan(f, "k", "l", 0, 0).n, 199);
	expect_stored(f, "k199", NULL);
	assert_int_equal(put(f, "k199", "again"), AGI_OK);
	reopen_store(f);
	assert_int_equal(scan(f, "k", "l", 0, 0).n, 200);
}

static void damage_inside_the_log_is_reported(void **state)
{
	struct fixture *f = *state;
	struct agi_why why = {{0}};
	char path[512], c;
	struct stat st;
	int fd;

	leave_log(f, path);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(pread(fd, &c, 1, st.st_size / 2), 1);
	c ^= 0x10;
	assert_int_equal(pwrite(fd, &c, 1, st.st_size / 2), 1);
	close(fd);
	assert_int_equal(try_open(f->dir, &why), AGI_E_CORRUPT);
	assert_non_null(strstr(why.text, f->dir));
}

/* --- a disk that refuses ---------------------------------------------------------------------- */
enum { REFUSED_VALUE = 64 << 10 };

/* Writes under a file size limit until one fails; then reads and writes again. */
static int child_meets_a_full_disk(const char *dir)
{
	struct rlimit limit = {1 << 20, 1 << 20};
	struct fixture f = {0};
	struct agi_store_stats st;
	static char value[REFUSED_VALUE + 1];
	struct agi_storage_op op;
	struct agi_storage_req w = write_of(&op, 1);
	struct answer a;
	char key[16];
	int n = 0;

	snprintf(f.dir, sizeof f.dir, "%s", dir);
	open_store(&f);
	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return 77;
	memset(value, 'v', REFUSED_VALUE);
	do {
		snprintf(key, sizeof key, "k%03d", n++);
		op = op_of(AGI_PUT, key, value);
		a = ask(&f, &w);
	} while (a.err == AGI_OK && n < 100);
	agi_store_stats(f.store, &st);
	if (a.err != AGI_E_IO || !strstr(a.why.text, dir) || !st.is_read_only)
		return 1;
	if (strcmp(st.read_only_why.text, a.why.text) != 0)
		return 2;
	if (get(&f, key).err != AGI_E_NOT_FOUND || get(&f, "k000").err != AGI_OK)
		return 3; /* the failed write is not visible, reads go on */
	a = ask(&f, &w);
	if (a.err != AGI_E_READ_ONLY || strcmp(a.why.text, st.read_only_why.text) != 0)
		return 4;
	op = op_of(AGI_PUT, "tiny", "v");
	if (ask(&f, &w).err != AGI_E_READ_ONLY)
		return 5;
	agi_store_close(f.store);
	return n < 100 ? 100 + n : 6;
}

static void a_failed_write_makes_the_store_read_only(void **state)
{
	struct fixture *f = *state;
	int status, n;

	agi_store_close(f->store);
	f->store = NULL;
	status = run_child("full", f->dir);
	if (status == 77)
		skip();
	assert_in_range(status, 103, 127);
	n = status - 100;
	open_store(f);
	for (int i = 0; i < n - 1; i++) { /* all but the last were acknowledged */
		char key[16];

		snprintf(key, sizeof key, "k%03d", i);
		assert_int_equal(get(f, key).err, AGI_OK);
	}
	assert_int_equal(put(f, "again", "v"), AGI_OK); /* room again: a reopened store writes */
}

/* A burst in which a write fails: what was read from the failed batch is read again. */
static int child_reads_from_a_failing_batch(const char *dir)
{
	struct rlimit limit = {256 << 10, 256 << 10};
	struct fixture f = {0};
	static char value[1 << 20];
	struct agi_storage_op small = op_of(AGI_PUT, "a", "new");
	struct agi_storage_op big = {AGI_PUT, AGI_CF_ITEMS, AGI_STR("b"), {value, sizeof value}};
	struct agi_storage_req w1 = write_of(&small, 1), w2 = write_of(&big, 1), g = get_of("a");
	struct agi_storage_req s = {.kind = AGI_STORAGE_SCAN, .cf = AGI_CF_ITEMS};
	const struct agi_storage_req *burst[] = {&w2, &w1, &g, &s};
	struct answers got = {.n = 0};

	snprintf(f.dir, sizeof f.dir, "%s", dir);
	open_store(&f);
	if (put(&f, "a", "old"))
		return 1;
	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return 77;
	for (unsigned i = 0; i < 4; i++)
		if (agi_store_submit(f.store, i, burst[i]))
			return 2;
	while (got.n < 4) {
		wait_store(f.store);
		agi_store_poll(f.store, keep_answer, &got);
	}
	if (got.list[0].err != AGI_E_IO)
		return 3;
	if (got.list[1].err != AGI_E_IO && got.list[1].err != AGI_E_READ_ONLY)
		return 4;
	if (strcmp(got.list[2].text, "a=old") != 0 || strcmp(got.list[3].text, "a=old") != 0)
		return 5;
	agi_store_close(f.store);
	return 0;
}

static void a_read_never_shows_a_write_that_failed(void **state)
{
	struct fixture *f = *state;
	int status;

	agi_store_close(f->store);
	f->store = NULL;
	status = run_child("burst", f->dir);
	if (status == 77)
		skip();
	assert_int_equal(status, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_value_is_read_back_until_it_is_deleted),
	    TEST(column_families_are_apart),
	    TEST(keys_and_values_may_hold_any_byte),
	    TEST(what_was_written_is_there_after_reopening),
	    TEST(a_request_is_applied_in_the_order_of_its_operations),
	    TEST(an_empty_request_completes),
	    TEST(a_range_deletion_takes_its_begin_and_leaves_its_end),
	    TEST(more_range_deletions_than_a_group_holds_are_all_done),
	    TEST(put_newer_keeps_the_highest_version),
	    TEST(put_newer_sees_the_operations_before_it_in_its_request),
	    TEST(put_newer_sees_the_requests_queued_before_it),
	    TEST(put_newer_without_a_version_is_refused),
	    TEST(a_peek_sees_what_was_reported_durable),
	    TEST(what_is_queued_begins_with_the_kick),
	    TEST(delete_if_deletes_only_the_version_it_names),
	    TEST(a_scan_gives_its_range_in_order_within_its_limits),
	    TEST(a_scan_of_many_ranges_finds_what_is_in_them),
	    TEST(a_read_sees_every_write_before_it_and_none_after),
	    TEST(start_up_requests_run_at_once),
	    TEST(writes_queued_together_share_a_sync),
	    TEST(a_full_queue_refuses_and_loses_nothing),
	    TEST(bytes_are_bounded_too),
	    TEST(closing_completes_what_is_queued),
	    TEST(a_second_opener_is_told_who_holds_it),
	    TEST(impossible_paths_are_explained),
	    TEST(a_new_directory_is_for_its_owner_only),
	    TEST(a_store_of_a_newer_version_is_left_alone),
	    TEST(a_torn_end_of_the_log_loses_only_what_was_torn),
	    TEST(damage_inside_the_log_is_reported),
	    TEST(a_failed_write_makes_the_store_read_only),
	    TEST(a_read_never_shows_a_write_that_failed),
	};

	if (argc == 3 && strcmp(argv[1], "locked") == 0)
		return child_opens_a_locked_store(argv[2]);
	if (argc == 3 && strcmp(argv[1], "log") == 0)
		return child_leaves_a_log(argv[2]);
	if (argc == 3 && strcmp(argv[1], "full") == 0)
		return child_meets_a_full_disk(argv[2]);
	if (argc == 3 && strcmp(argv[1], "burst") == 0)
		return child_reads_from_a_failing_batch(argv[2]);
	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
