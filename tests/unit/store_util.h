/* SPDX-License-Identifier: Apache-2.0
 * What the store's tests share: a directory of their own, and requests in one line. */
#ifndef AGI_TEST_STORE_UTIL_H
#define AGI_TEST_STORE_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "store/store.h"

struct fixture {
	char dir[256];
	struct agi_store *store;
	uint64_t next_id;
};

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st, (void)type, (void)f;
	return remove(path);
}

static inline void open_store(struct fixture *f)
{
	struct agi_store_cfg cfg = {.path = f->dir, .memtable_bytes = 4 << 20, .cache_bytes = 1 << 20};
	struct agi_why why = {{0}};
	enum agi_err e = agi_store_open(&cfg, &f->store, &why);

	if (e)
		fail_msg("open: %s: %s", agi_err_name(e), why.text);
}

static inline void reopen_store(struct fixture *f)
{
	agi_store_close(f->store);
	f->store = NULL;
	open_store(f);
}

static inline void make_dir(struct fixture *f)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(f->dir, sizeof f->dir, "%s/agi-store-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->dir));
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	assert_non_null(f);
	make_dir(f);
	open_store(f);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	agi_store_close(f->store);
	nftw(f->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	free(f);
	return 0;
}

/* --- one request and its answer --------------------------------------------------------------- */
struct answer {
	uint64_t id;
	enum agi_err err;
	struct agi_why why;
	char text[512]; /* GET: the value; SCAN: "k=v k=v …"; cut off */
	size_t n;
	bool has_more;
	bool is_there;
};

static inline void append(struct answer *a, size_t *at, struct agi_str s)
{
	size_t n = s.n < sizeof a->text - 1 - *at ? s.n : sizeof a->text - 1 - *at;

	if (n)
		memcpy(a->text + *at, s.p, n);
	*at += n;
}

static inline void note_answer(void *arg, uint64_t id, const struct agi_storage_done *d)
{
	struct answer *a = arg;
	size_t at = 0;

	*a = (struct answer){.id = id, .err = d->err, .why = d->why, .n = d->n,
	                     .has_more = d->has_more, .is_there = true};
	for (size_t i = 0; i < d->n; i++) {
		if (i)
			append(a, &at, AGI_STR(" "));
		append(a, &at, d->kv[i].key);
		append(a, &at, AGI_STR("="));
		append(a, &at, d->kv[i].value);
	}
}

static inline void wait_store(struct agi_store *s)
{
	struct pollfd p = {.fd = agi_store_fd(s), .events = POLLIN};

	assert_int_equal(poll(&p, 1, 30000), 1);
}

/* Submits, waits for the answer: it must be the only one on its way. */
static inline struct answer ask(struct fixture *f, const struct agi_storage_req *req)
{
	struct answer a = {0};

	assert_int_equal(agi_store_submit(f->store, ++f->next_id, req), AGI_OK);
	while (!a.is_there) {
		wait_store(f->store);
		agi_store_poll(f->store, note_answer, &a);
	}
	assert_true(a.id == f->next_id);
	return a;
}

static inline struct agi_storage_op op_of(enum agi_storage_verb verb, const char *key, const char *value)
{
	return (struct agi_storage_op){verb, AGI_CF_ITEMS, agi_str_of(key), agi_str_of(value)};
}

static inline struct agi_storage_req write_of(const struct agi_storage_op *ops, size_t n)
{
	return (struct agi_storage_req){.kind = AGI_STORAGE_WRITE, .ops = ops, .n_ops = n};
}

static inline struct agi_storage_req get_of(const char *key)
{
	return (struct agi_storage_req){
	    .kind = AGI_STORAGE_GET, .cf = AGI_CF_ITEMS, .begin = agi_str_of(key)};
}

static inline enum agi_err put(struct fixture *f, const char *key, const char *value)
{
	struct agi_storage_op op = op_of(AGI_PUT, key, value);
	struct agi_storage_req r = write_of(&op, 1);

	return ask(f, &r).err;
}

static inline struct answer get(struct fixture *f, const char *key)
{
	struct agi_storage_req r = get_of(key);

	return ask(f, &r);
}

static inline void expect_stored(struct fixture *f, const char *key, const char *value)
{
	struct answer a = get(f, key);
	char want[512];

	if (!value) {
		assert_int_equal(a.err, AGI_E_NOT_FOUND);
		return;
	}
	assert_int_equal(a.err, AGI_OK);
	snprintf(want, sizeof want, "%s=%s", key, value);
	assert_string_equal(a.text, want);
}

static inline struct answer scan(struct fixture *f, const char *begin, const char *end, uint32_t max_items,
                                 uint32_t max_bytes)
{
	struct agi_storage_req r = {.kind = AGI_STORAGE_SCAN,
	                            .cf = AGI_CF_ITEMS,
	                            .begin = agi_str_of(begin),
	                            .end = agi_str_of(end),
	                            .max_items = max_items,
	                            .max_bytes = max_bytes};

	return ask(f, &r);
}

#endif
