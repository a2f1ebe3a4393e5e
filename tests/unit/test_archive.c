/* SPDX-License-Identifier: Apache-2.0
 * Copies of a store that runs. */
#include "store_util.h"

#include <pthread.h>

#include "store/archive.h"

static void path_in(struct fixture *f, const char *name, char out[512])
{
	snprintf(out, 512, "%s/%s", f->dir, name);
}

static struct agi_archive *open_copy(const char *dir)
{
	struct agi_archive *a = NULL;
	struct agi_why why = {""};

	if (agi_archive_open(dir, &a, &why))
		fail_msg("%s", why.text);
	return a;
}

/* The items from begin on as "k=v k=v". */
static void list(struct agi_archive *a, const char *begin, char out[512])
{
	struct agi_archive_cursor *c = agi_archive_walk(a, AGI_CF_ITEMS, agi_str_of(begin));
	struct agi_str k, v;
	struct agi_why why;
	size_t n = 0;

	out[0] = '\0';
	for (; agi_archive_here(c, &k, &v, &why) == AGI_OK; agi_archive_next(c))
		n += (size_t)snprintf(out + n, 512 - n, "%s%.*s=%.*s", n ? " " : "", AGI_STR_ARG(k), AGI_STR_ARG(v));
	assert_int_equal(agi_archive_here(c, &k, &v, &why), AGI_E_NOT_FOUND);
	agi_archive_cursor_free(c);
}

static void a_copy_holds_what_was_there_and_nothing_later(void **state)
{
	struct fixture *f = *state;
	struct agi_archive *a;
	struct agi_why why;
	char dir[512], got[512];

	path_in(f, "copy", dir);
	assert_int_equal(put(f, "a", "1"), AGI_OK);
	assert_int_equal(put(f, "b", "2"), AGI_OK);
	assert_int_equal(agi_store_copy(f->store, dir, &why), AGI_OK);
	assert_int_equal(put(f, "b", "later"), AGI_OK);
	assert_int_equal(put(f, "c", "later"), AGI_OK);
	a = open_copy(dir);
	list(a, "", got);
	assert_string_equal(got, "a=1 b=2");
	list(a, "b", got);
	assert_string_equal(got, "b=2");
	agi_archive_close(a);
	assert_int_equal(agi_store_copy(f->store, dir, &why), AGI_E_EXISTS);
	expect_stored(f, "c", "later");
}

static void a_copy_is_read_without_being_changed(void **state)
{
	struct fixture *f = *state;
	struct agi_archive *a, *b;
	struct agi_why why;
	char dir[512], log[520], got[512];

	path_in(f, "copy", dir);
	assert_int_equal(put(f, "a", "1"), AGI_OK);
	assert_int_equal(agi_store_copy(f->store, dir, &why), AGI_OK);
	agi_store_close(f->store); /* it stands on its own */
	f->store = NULL;
	a = open_copy(dir);
	b = open_copy(dir);
	list(b, "", got);
	agi_archive_close(a);
	agi_archive_close(b);
	assert_string_equal(got, "a=1");
	snprintf(log, sizeof log, "%s/LOG", dir);
	assert_int_equal(access(log, F_OK), -1);
}

static void what_is_no_copy_is_explained(void **state)
{
	struct fixture *f = *state;
	struct agi_archive *a = NULL;
	struct agi_why why = {""};
	char dir[512];

	path_in(f, "nothing", dir);
	assert_int_not_equal(agi_archive_open(dir, &a, &why), AGI_OK);
	assert_non_null(strstr(why.text, dir));
}

/* --- while it is written to ------------------------------------------------------------------------- */
enum { PAIRS = 400 };


/* Pairs in one write each: l and r must never be apart. */
static void submit_pair(struct fixture *f, uint64_t id)
{
	char l[16], r[16];
	struct agi_storage_op ops[2];
	struct agi_storage_req w = write_of(ops, 2);

	snprintf(l, sizeof l, "l%05d", (int)id);
	snprintf(r, sizeof r, "r%05d", (int)id);
	ops[0] = op_of(AGI_PUT, l, "x");
	ops[1] = op_of(AGI_PUT, r, "x");
	ops[1].cf = AGI_CF_HINTS;
	assert_int_equal(agi_store_submit(f->store, id, &w), AGI_OK);
}

static void *copy_later(void *arg)
{
	struct fixture *f = arg;
	struct agi_why why;
	char dir[512];

	path_in(f, "copy", dir);
	return agi_store_copy(f->store, dir, &why) ? arg : NULL;
}

static void count_done(void *arg, uint64_t id, const struct agi_storage_done *d)
{
	(void)id;
	assert_int_equal(d->err, AGI_OK);
	++*(int *)arg;
}

static int count(struct agi_archive *a, enum agi_cf cf)
{
	struct agi_archive_cursor *c = agi_archive_walk(a, cf, (struct agi_str){NULL, 0});
	struct agi_str k, v;
	struct agi_why why;
	int n = 0;

	for (; agi_archive_here(c, &k, &v, &why) == AGI_OK; agi_archive_next(c))
		n++;
	agi_archive_cursor_free(c);
	return n;
}

static void a_copy_taken_while_writes_go_on_has_every_write_whole(void **state)
{
	struct fixture *f = *state;
	struct agi_archive *a;
	pthread_t thread;
	char dir[512];
	void *failed;
	int done = 0, before, n;

	for (int i = 0; i < PAIRS / 2; i++)
		submit_pair(f, (uint64_t)i);
	while (done < PAIRS / 4) {
		wait_store(f->store);
		agi_store_poll(f->store, count_done, &done);
	}
	before = done;
	assert_int_equal(pthread_create(&thread, NULL, copy_later, f), 0);
	for (int i = PAIRS / 2; i < PAIRS; i++)
		submit_pair(f, (uint64_t)i);
	while (done < PAIRS) {
		wait_store(f->store);
		agi_store_poll(f->store, count_done, &done);
	}
	assert_int_equal(pthread_join(thread, &failed), 0);
	assert_null(failed);
	path_in(f, "copy", dir);
	a = open_copy(dir);
	n = count(a, AGI_CF_ITEMS);
	assert_int_equal(n, count(a, AGI_CF_HINTS));
	assert_in_range(n, before, PAIRS);
	agi_archive_close(a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_copy_holds_what_was_there_and_nothing_later),
	    TEST(a_copy_is_read_without_being_changed),
	    TEST(what_is_no_copy_is_explained),
	    TEST(a_copy_taken_while_writes_go_on_has_every_write_whole),
	};

	return cmocka_run_group_tests_name("copies of stores", tests, NULL, NULL);
}
