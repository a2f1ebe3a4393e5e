/* SPDX-License-Identifier: Apache-2.0 */
#include "store/job.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static bool add(size_t *sum, size_t n)
{
	return !__builtin_add_overflow(*sum, n, sum);
}

static bool is_possible(const struct agi_storage_op *op)
{
	return op->verb == AGI_DELETE_IF ? op->value.n == AGI_VERSION_BYTES
	                                 : op->verb != AGI_PUT_NEWER || op->value.n >= AGI_VERSION_BYTES;
}

static size_t was_bytes(const struct agi_storage_req *req)
{
	for (size_t i = 0; i < req->n_ops; i++)
		if (agi_is_conditional(&req->ops[i]))
			return req->n_ops * sizeof(struct agi_storage_was);
	return 0;
}

static enum agi_err measure(const struct agi_storage_req *req, size_t *out)
{
	size_t n = sizeof(struct agi_job);
	bool fits = true;

	assert(req->kind != AGI_STORAGE_WRITE || req->n_ops == 0 || req->ops);
	if (req->kind == AGI_STORAGE_WRITE) {
		if (req->n_ops > SIZE_MAX / 4 / sizeof *req->ops)
			return AGI_E_TOO_LARGE;
		n += req->n_ops * sizeof *req->ops + was_bytes(req);
		for (size_t i = 0; i < req->n_ops; i++) {
			const struct agi_storage_op *op = &req->ops[i];

			assert((unsigned)op->cf < AGI_CF_COUNT);
			if (!is_possible(op))
				return AGI_E_INVALID;
			fits = fits && add(&n, op->key.n) && add(&n, op->value.n);
		}
	} else {
		assert((unsigned)req->cf < AGI_CF_COUNT);
		assert(req->heads.n % AGI_HEAD_BYTES == 0);
		fits = add(&n, req->begin.n) && add(&n, req->end.n) && add(&n, req->heads.n) &&
		       add(&n, req->after.n);
	}
	*out = n;
	return fits ? AGI_OK : AGI_E_TOO_LARGE;
}

static struct agi_str copy(char **to, struct agi_str s)
{
	struct agi_str out = {*to, s.n};

	if (s.n)
		memcpy(*to, s.p, s.n);
	*to += s.n;
	return out;
}

static void copy_ops(struct agi_job *j, const struct agi_storage_req *req)
{
	struct agi_storage_op *ops = (struct agi_storage_op *)(void *)j->data;
	size_t was = was_bytes(req);
	char *to = j->data + req->n_ops * sizeof *ops + was;

	if (was)
		j->was = memset(j->data + req->n_ops * sizeof *ops, 0, was);
	for (size_t i = 0; i < req->n_ops; i++) {
		ops[i] = req->ops[i];
		ops[i].key = copy(&to, req->ops[i].key);
		ops[i].value = copy(&to, req->ops[i].value);
		j->n_ranges += ops[i].verb == AGI_DELETE_RANGE;
	}
	j->req.ops = ops;
}

enum agi_err agi_job_new(uint64_t id, const struct agi_storage_req *req, size_t max_bytes,
                         struct agi_job **out)
{
	struct agi_job *j;
	size_t bytes;
	enum agi_err e = measure(req, &bytes);

	if (e)
		return e;
	if (bytes > max_bytes)
		return AGI_E_TOO_LARGE;
	j = malloc(bytes);
	if (!j)
		return AGI_E_NOMEM;
	*j = (struct agi_job){.id = id, .bytes = bytes, .req = *req};
	agi_buf_init(&j->result, 0);
	if (req->kind == AGI_STORAGE_WRITE) {
		copy_ops(j, req);
	} else {
		char *to = j->data;

		j->req.begin = copy(&to, req->begin);
		j->req.end = copy(&to, req->end);
		j->req.heads = copy(&to, req->heads);
		j->req.after = copy(&to, req->after);
		j->req.ops = NULL;
		j->req.n_ops = 0;
	}
	*out = j;
	return AGI_OK;
}

void agi_job_reset(struct agi_job *j)
{
	agi_buf_free(&j->result);
	agi_buf_init(&j->result, 0);
	free(j->kv);
	j->kv = NULL;
	j->done = (struct agi_storage_done){0};
	j->is_from_overlay = false;
}

void agi_job_free(struct agi_job *j)
{
	if (!j)
		return;
	agi_buf_free(&j->result);
	free(j->kv);
	free(j);
}

void agi_job_fail(struct agi_job *j, enum agi_err e, const char *text)
{
	agi_job_reset(j);
	j->done.err = e;
	snprintf(j->done.why.text, sizeof j->done.why.text, "%s", text);
}

void agi_jobs_init(struct agi_jobs *l)
{
	l->first = NULL;
	l->tail = &l->first;
}

void agi_jobs_add(struct agi_jobs *l, struct agi_job *j)
{
	j->next = NULL;
	*l->tail = j;
	l->tail = &j->next;
}

struct agi_job *agi_jobs_take_first(struct agi_jobs *l)
{
	struct agi_job *j = l->first;

	if (j) {
		l->first = j->next;
		if (!l->first)
			l->tail = &l->first;
		j->next = NULL;
	}
	return j;
}

void agi_jobs_join(struct agi_jobs *l, struct agi_jobs *from)
{
	if (!from->first)
		return;
	*l->tail = from->first;
	l->tail = from->tail;
	agi_jobs_init(from);
}

void agi_jobs_free(struct agi_jobs *l)
{
	struct agi_job *j;

	while ((j = agi_jobs_take_first(l)) != NULL)
		agi_job_free(j);
}
