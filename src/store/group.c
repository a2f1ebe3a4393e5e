/* SPDX-License-Identifier: Apache-2.0 */
#include "store/group.h"

#include <assert.h>
#include <rocksdb/c.h>
#include <sodium.h>
#include <stdlib.h>

#include "store/mark.h"

void agi_group_init(struct agi_group *g, struct agi_db *db)
{
	uint8_t key[16];

	*g = (struct agi_group){.db = db, .batch = rocksdb_writebatch_create()};
	randombytes_buf(key, sizeof key);
	agi_overlay_init(&g->overlay, key);
	randombytes_buf(key, sizeof key);
	agi_recent_init(&g->recent, key);
	agi_jobs_init(&g->jobs);
	agi_jobs_init(&g->done);
}

void agi_group_free(struct agi_group *g)
{
	agi_jobs_free(&g->jobs);
	agi_jobs_free(&g->done);
	agi_overlay_free(&g->overlay);
	agi_recent_free(&g->recent);
	rocksdb_writebatch_destroy(g->batch);
}

/* --- commit ----------------------------------------------------------------------------------- */
static enum agi_store_trouble trouble_of(enum agi_err e, const char *text)
{
	if (e == AGI_E_CORRUPT)
		return AGI_STORE_DAMAGED;
	return strstr(text, "No space left") || strstr(text, "quota exceeded") ? AGI_STORE_NO_SPACE
	                                                                      : AGI_STORE_IO;
}

void agi_group_latch(struct agi_group *g, enum agi_err e, const struct agi_why *why)
{
	bool is_worse = e == AGI_E_CORRUPT && g->trouble != AGI_STORE_DAMAGED;

	if (g->is_read_only && !is_worse)
		return;
	g->is_read_only = true;
	g->trouble = trouble_of(e, why->text);
	g->read_only_why = *why;
	if (g->trouble != AGI_STORE_DAMAGED)
		return;
	agi_db_blame(g->db, &g->read_only_why);
	agi_damaged_write(agi_db_path(g->db), g->read_only_why.text);
}

static void run_get(struct agi_group *g, struct agi_job *j);

/* The batch is lost: its writes failed, and what was read from it was never there. */
static void undo(struct agi_group *g, enum agi_err e, const struct agi_why *why)
{
	agi_overlay_clear(&g->overlay);
	agi_recent_clear(&g->recent);
	for (struct agi_job *j = g->jobs.first; j; j = j->next) {
		if (j->is_staged) {
			agi_job_fail(j, e, why->text);
		} else if (j->is_from_overlay) {
			agi_job_reset(j);
			run_get(g, j);
		}
	}
}

void agi_group_commit(struct agi_group *g)
{
	struct agi_why why;

	if (rocksdb_writebatch_count(g->batch) > 0) {
		enum agi_err e = agi_db_commit(g->db, g->batch, &why);

		if (e) {
			agi_group_latch(g, e, &why);
			undo(g, e, &g->read_only_why);
		} else {
			g->commits++;
		}
	}
	if (g->bytes > AGI_GROUP_BYTES_MAX) { /* a large batch's memory is not kept */
		rocksdb_writebatch_destroy(g->batch);
		g->batch = rocksdb_writebatch_create();
	} else {
		rocksdb_writebatch_clear(g->batch);
	}
	agi_overlay_clear(&g->overlay);
	for (struct agi_job *j = g->jobs.first; j; j = j->next)
		j->is_staged = j->is_from_overlay = false;
	agi_jobs_join(&g->done, &g->jobs);
	g->n_jobs = g->n_staged = g->bytes = 0;
}

/* --- writes ----------------------------------------------------------------------------------- */
static enum agi_err find_version(struct agi_group *g, const struct agi_storage_op *op,
                                 struct agi_storage_was *out, struct agi_why *why)
{
	struct agi_str v;

	switch (agi_overlay_find(&g->overlay, op->cf, op->key, &v)) {
	case AGI_OVERLAY_VALUE:
		agi_was_set(out, v);
		return AGI_OK;
	case AGI_OVERLAY_DELETED:
		return AGI_OK;
	case AGI_OVERLAY_MISS:
		break;
	}
	return agi_db_get_version(g->db, op->cf, op->key, out, why);
}

/* Finds what is there and says whether the operation applies to it. */
static enum agi_err judge(struct agi_group *g, const struct agi_storage_op *op, struct agi_storage_was *was,
                          struct agi_why *why)
{
	struct agi_recent_key key = agi_recent_key(&g->recent, op->cf, op->key);
	const uint8_t *version = agi_recent_find(&g->recent, &key);
	struct agi_str fresh = {op->value.p, AGI_VERSION_BYTES}, stored;
	enum agi_err e = AGI_OK;

	*was = (struct agi_storage_was){.was_there = false};
	if (version)
		agi_was_set(was, (struct agi_str){(const char *)version, AGI_VERSION_BYTES});
	else
		e = find_version(g, op, was, why);
	if (e)
		return e;
	stored = (struct agi_str){(const char *)was->version, was->n};
	if (op->verb == AGI_PUT_NEWER)
		was->is_done = !was->was_there || agi_str_cmp(stored, fresh) < 0;
	else
		was->is_done = was->was_there && agi_str_eq(stored, fresh);
	if (was->is_done && op->verb == AGI_PUT_NEWER)
		agi_recent_put(&g->recent, &key, op->value.p);
	else if (was->is_done)
		agi_recent_forget(&g->recent, &key);
	return AGI_OK;
}

static void forget_recent(struct agi_group *g, const struct agi_storage_op *op)
{
	struct agi_recent_key key;

	if (op->verb == AGI_DELETE_RANGE) {
		agi_recent_forget_family(&g->recent, op->cf);
		return;
	}
	key = agi_recent_key(&g->recent, op->cf, op->key);
	agi_recent_forget(&g->recent, &key);
}

static enum agi_err stage_ops(struct agi_group *g, struct agi_job *j, struct agi_why *why)
{
	for (size_t i = 0; i < j->req.n_ops; i++) {
		const struct agi_storage_op *op = &j->req.ops[i];

		if (agi_is_conditional(op)) {
			enum agi_err e = judge(g, op, &j->was[i], why);

			if (e)
				return e;
			if (!j->was[i].is_done)
				continue;
		} else {
			forget_recent(g, op);
		}
		agi_db_batch_add(g->db, g->batch, op);
		agi_overlay_apply(&g->overlay, op);
	}
	return AGI_OK;
}

/* Nothing of the job may remain; what was gathered before it still counts. */
static void drop_job(struct agi_group *g, struct agi_job *j, enum agi_err e, const struct agi_why *why)
{
	char *err = NULL;

	rocksdb_writebatch_rollback_to_save_point(g->batch, &err);
	assert(!err);
	agi_recent_clear(&g->recent);
	agi_group_commit(g); /* also empties the overlay, which cannot be rolled back */
	agi_job_fail(j, e, why->text);
	agi_group_latch(g, e, why);
}

static enum agi_err reserve(struct agi_group *g, const struct agi_job *j)
{
	size_t n = g->overlay.n_ranges;

	if (n && n + j->n_ranges > AGI_OVERLAY_RANGES) {
		agi_group_commit(g);
		if (g->is_read_only)
			return AGI_E_READ_ONLY;
	}
	return agi_overlay_reserve(&g->overlay, j->req.n_ops, j->n_ranges);
}

static void run_write(struct agi_group *g, struct agi_job *j)
{
	struct agi_why why;
	enum agi_err e;

	if (g->is_read_only) {
		agi_job_fail(j, AGI_E_READ_ONLY, g->read_only_why.text);
		return;
	}
	e = reserve(g, j);
	if (e) {
		agi_job_fail(j, e, e == AGI_E_READ_ONLY ? g->read_only_why.text : agi_err_text(e));
		return;
	}
	rocksdb_writebatch_set_save_point(g->batch);
	e = stage_ops(g, j, &why);
	if (e) {
		drop_job(g, j, e, &why);
		return;
	}
	rocksdb_writebatch_pop_save_point(g->batch, &(char *){NULL});
	j->done.was = j->was;
	j->is_staged = true;
	g->n_staged++;
	g->bytes += j->bytes;
}

/* --- reads ------------------------------------------------------------------------------------ */
static void run_get(struct agi_group *g, struct agi_job *j)
{
	enum agi_err e = AGI_OK;
	struct agi_str v;

	switch (agi_overlay_find(&g->overlay, j->req.cf, j->req.begin, &v)) {
	case AGI_OVERLAY_VALUE:
		j->is_from_overlay = true;
		agi_buf_put_str(&j->result, v);
		e = j->result.err;
		break;
	case AGI_OVERLAY_DELETED:
		j->is_from_overlay = true;
		e = AGI_E_NOT_FOUND;
		break;
	case AGI_OVERLAY_MISS:
		e = agi_db_get(g->db, j->req.cf, j->req.begin, &j->result, &j->done.why);
		break;
	}
	if (e == AGI_OK) {
		j->kv = malloc(sizeof *j->kv);
		e = j->kv ? AGI_OK : AGI_E_NOMEM;
	}
	j->done.err = e;
	if (e == AGI_E_IO || e == AGI_E_CORRUPT)
		agi_group_latch(g, e, &j->done.why);
	if (e) {
		if (e != AGI_E_NOT_FOUND && !j->done.why.text[0])
			agi_job_fail(j, e, agi_err_text(e));
		return;
	}
	j->kv[0] = (struct agi_kv){j->req.begin, agi_buf_str(&j->result)};
	j->done.kv = j->kv;
	j->done.n = 1;
	g->bytes += j->result.n;
}

struct scan {
	struct agi_job *job;
	size_t cap;
	uint32_t max_items, max_bytes;
	enum agi_err err;
};

/* Until the scan has ended kv holds lengths only: the buffer may still move. */
static bool take_item(void *arg, struct agi_str key, struct agi_str value)
{
	struct scan *s = arg;
	struct agi_job *j = s->job;

	if (j->done.n == s->max_items || (j->done.n && j->result.n >= s->max_bytes)) {
		j->done.has_more = true;
		return false;
	}
	if (j->done.n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 16;
		struct agi_kv *kv = realloc(j->kv, cap * sizeof *kv);

		if (!kv) {
			s->err = AGI_E_NOMEM;
			return false;
		}
		j->kv = kv;
		s->cap = cap;
	}
	if (j->req.value_bytes && value.n > j->req.value_bytes)
		value.n = j->req.value_bytes;
	agi_buf_put_str(&j->result, key);
	agi_buf_put_str(&j->result, value);
	s->err = j->result.err;
	if (s->err)
		return false;
	j->kv[j->done.n++] = (struct agi_kv){{NULL, key.n}, {NULL, value.n}};
	return true;
}

static void run_scan(struct agi_group *g, struct agi_job *j)
{
	struct scan s = {.job = j,
	                 .max_items = j->req.max_items ? j->req.max_items : UINT32_MAX,
	                 .max_bytes = AGI_SCAN_BYTES_MAX};
	struct agi_why why = {{0}};
	const char *p;
	enum agi_err e;

	if (j->req.max_bytes && j->req.max_bytes < s.max_bytes)
		s.max_bytes = j->req.max_bytes;
	if (agi_overlay_has_cf(&g->overlay, j->req.cf))
		agi_group_commit(g);
	e = j->req.heads.n ? agi_db_scan_heads(g->db, &j->req, take_item, &s, &why)
	                   : agi_db_scan(g->db, j->req.cf, j->req.begin, j->req.end, take_item, &s, &why);
	if (e == AGI_E_IO || e == AGI_E_CORRUPT)
		agi_group_latch(g, e, &why);
	if (e == AGI_OK)
		e = s.err;
	if (e) {
		agi_job_fail(j, e, why.text[0] ? why.text : agi_err_text(e));
		return;
	}
	p = (const char *)j->result.p;
	for (size_t i = 0; i < j->done.n; i++) {
		j->kv[i].key.p = p;
		p += j->kv[i].key.n;
		j->kv[i].value.p = p;
		p += j->kv[i].value.n;
	}
	j->done.kv = j->kv;
	g->bytes += j->result.n;
}

void agi_group_run_take(struct agi_group *g, struct agi_job **job)
{
	struct agi_job *j = *job;

	*job = NULL;
	switch (j->req.kind) {
	case AGI_STORAGE_WRITE:
		run_write(g, j);
		break;
	case AGI_STORAGE_GET:
		run_get(g, j);
		break;
	case AGI_STORAGE_SCAN:
		run_scan(g, j);
		break;
	}
	agi_jobs_add(&g->jobs, j);
	g->n_jobs++;
	if (g->bytes > AGI_GROUP_BYTES_MAX || g->n_jobs >= AGI_GROUP_JOBS_MAX)
		agi_group_commit(g);
}
