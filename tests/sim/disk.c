/* SPDX-License-Identifier: Apache-2.0 */
#include "disk.h"

#include "base/heads.h"

#include <stdlib.h>

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static struct agi_str dup_str(struct agi_str s)
{
	char *p = must(malloc(s.n + 1));

	if (s.n)
		memcpy(p, s.p, s.n);
	return (struct agi_str){p, s.n};
}

static size_t lower_bound(const struct sim_table *t, struct agi_str key)
{
	size_t lo = 0, hi = t->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (agi_str_cmp(t->e[mid].key, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void put(struct sim_table *t, struct agi_str key, struct agi_str value)
{
	size_t i = lower_bound(t, key);

	if (i < t->n && agi_str_eq(t->e[i].key, key)) {
		free((char *)t->e[i].value.p);
		t->e[i].value = dup_str(value);
		return;
	}
	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 16;
		t->e = must(realloc(t->e, t->cap * sizeof *t->e));
	}
	if (i < t->n)
		memmove(t->e + i + 1, t->e + i, (t->n - i) * sizeof *t->e);
	t->e[i] = (struct sim_entry){dup_str(key), dup_str(value)};
	t->n++;
}

static void erase(struct sim_table *t, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		free((char *)t->e[i].key.p);
		free((char *)t->e[i].value.p);
	}
	if (to < t->n)
		memmove(t->e + from, t->e + to, (t->n - to) * sizeof *t->e);
	t->n -= to - from;
}

static void apply(struct sim_disk *d, const struct agi_storage_op *op, struct agi_storage_was *was)
{
	struct sim_table *t = &d->cf[op->cf];
	size_t i = lower_bound(t, op->key);
	bool is_there = i < t->n && agi_str_eq(t->e[i].key, op->key);

	if (op->verb == AGI_PUT_NEWER || op->verb == AGI_DELETE_IF) { /* only these have a version on both sides */
		int c = is_there ? memcmp(t->e[i].value.p, op->value.p, AGI_VERSION_BYTES) : 0;

		was->was_there = is_there;
		if (is_there)
			memcpy(was->version, t->e[i].value.p, was->n = AGI_VERSION_BYTES);
		was->is_done = op->verb == AGI_PUT_NEWER ? !is_there || c < 0 : is_there && c == 0;
	}
	switch (op->verb) {
	case AGI_PUT:
		put(t, op->key, op->value);
		break;
	case AGI_PUT_NEWER:
		if (was->is_done)
			put(t, op->key, op->value);
		break;
	case AGI_DELETE:
		if (is_there)
			erase(t, i, i + 1);
		break;
	case AGI_DELETE_RANGE:
		erase(t, i, lower_bound(t, op->value));
		break;
	case AGI_DELETE_IF:
		if (was->is_done)
			erase(t, i, i + 1);
		break;
	}
}

void sim_disk_expire(struct sim_disk *d, uint64_t before_ms)
{
	struct sim_table *t = &d->cf[AGI_CF_ITEMS];

	for (size_t i = 0; i < t->n; i++) {
		struct agi_cur c = agi_cur_of(t->e[i].value);
		uint64_t expires_ms;

		(void)agi_cur_take(&c, AGI_ITEM_EXPIRY_AT);
		expires_ms = agi_cur_u64(&c);
		if (c.bad || !expires_ms || expires_ms >= before_ms)
			continue;
		((char *)t->e[i].value.p)[AGI_ITEM_FLAGS_AT] |= AGI_ITEM_IS_DELETED;
		t->e[i].value.n = AGI_ITEM_HEAD_BYTES;
	}
}

void sim_disk_init(struct sim_disk *d)
{
	*d = (struct sim_disk){0};
	d->last = &d->first;
}

static void free_pending(struct sim_pending *p)
{
	free(p->ops);
	free(p->bytes);
	free(p);
}

void sim_disk_free(struct sim_disk *d)
{
	for (int cf = 0; cf < AGI_CF_COUNT; cf++) {
		erase(&d->cf[cf], 0, d->cf[cf].n);
		free(d->cf[cf].e);
	}
	while (d->first) {
		struct sim_pending *p = d->first;

		d->first = p->next;
		free_pending(p);
	}
	sim_disk_init(d);
}

static struct agi_str move(char **at, struct agi_str s)
{
	struct agi_str out = {*at, s.n};

	if (s.n)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return out;
}

void sim_disk_submit(struct sim_disk *d, uint64_t job_id, const struct agi_storage_req *req)
{
	struct sim_pending *p = must(calloc(1, sizeof *p));
	size_t bytes = req->begin.n + req->end.n + req->heads.n + req->after.n + 1;
	char *at;

	for (size_t i = 0; req->kind == AGI_STORAGE_WRITE && i < req->n_ops; i++)
		bytes += req->ops[i].key.n + req->ops[i].value.n;
	p->job_id = job_id;
	p->req = *req;
	p->bytes = at = must(malloc(bytes));
	p->req.begin = move(&at, req->begin);
	p->req.end = move(&at, req->end);
	p->req.heads = move(&at, req->heads);
	p->req.after = move(&at, req->after);
	if (req->kind == AGI_STORAGE_WRITE) {
		p->ops = must(calloc(req->n_ops + 1, sizeof *p->ops));
		for (size_t i = 0; i < req->n_ops; i++) {
			p->ops[i] = req->ops[i];
			p->ops[i].key = move(&at, req->ops[i].key);
			p->ops[i].value = move(&at, req->ops[i].value);
		}
		p->req.ops = p->ops;
	}
	/* a read that may lag is mostly answered before the writes that wait, sometimes after */
	if (req->kind == AGI_STORAGE_GET && req->may_lag && job_id % 4) {
		p->next = d->first;
		d->first = p;
		if (!p->next)
			d->last = &p->next;
	} else {
		*d->last = p;
		d->last = &p->next;
	}
	d->n_pending++;
}

static struct sim_pending *take(struct sim_disk *d)
{
	struct sim_pending *p = d->first;

	if (!p)
		return NULL;
	d->first = p->next;
	if (!d->first)
		d->last = &d->first;
	d->n_pending--;
	return p;
}

/* False when the answer is full. */
static bool take_entry(const struct sim_entry *e, const struct agi_storage_req *q, struct agi_storage_done *done,
                       struct agi_kv *kv, size_t *bytes)
{
	if (done->n == q->max_items || (done->n > 0 && *bytes >= q->max_bytes)) {
		done->has_more = true;
		return false;
	}
	kv[done->n] = (struct agi_kv){e->key, e->value};
	if (q->value_bytes && e->value.n > q->value_bytes)
		kv[done->n].value.n = q->value_bytes;
	*bytes += e->key.n + kv[done->n++].value.n;
	return true;
}

static void scan_heads(struct sim_disk *d, const struct agi_storage_req *q, struct agi_storage_done *done,
                       struct agi_kv *kv)
{
	struct sim_table *t = &d->cf[q->cf];
	enum agi_heads_verdict verdict = AGI_HEADS_TAKE;
	struct agi_heads h;
	struct agi_str target;
	size_t bytes = 0;

	agi_heads_init(&h, q);
	for (size_t i = lower_bound(t, agi_heads_first(&h)); i < t->n && verdict != AGI_HEADS_END;) {
		verdict = agi_heads_judge(&h, t->e[i].key, &target);
		if (verdict == AGI_HEADS_SEEK)
			i = lower_bound(t, target);
		else if (verdict == AGI_HEADS_TAKE && !take_entry(&t->e[i++], q, done, kv, &bytes))
			break;
	}
	agi_heads_free(&h);
}

static void scan(struct sim_disk *d, const struct agi_storage_req *q, struct agi_storage_done *done,
                 struct agi_kv *kv)
{
	struct sim_table *t = &d->cf[q->cf];
	size_t bytes = 0;

	done->kv = kv;
	if (q->heads.n) {
		scan_heads(d, q, done, kv);
		return;
	}
	for (size_t i = lower_bound(t, q->begin); i < t->n && agi_str_cmp(t->e[i].key, q->end) < 0; i++)
		if (!take_entry(&t->e[i], q, done, kv, &bytes))
			break;
}

bool sim_disk_find(const struct sim_disk *d, enum agi_cf cf, struct agi_str key, struct agi_str *out)
{
	const struct sim_table *t = &d->cf[cf];
	size_t i = lower_bound(t, key);

	if (i == t->n || !agi_str_eq(t->e[i].key, key))
		return false;
	*out = t->e[i].value;
	return true;
}

/* was (may be NULL) has room for what each operation found. */
static void apply_all(struct sim_disk *d, const struct sim_pending *p, struct agi_storage_was *was)
{
	struct agi_storage_was unseen;

	for (size_t i = 0; p->req.kind == AGI_STORAGE_WRITE && i < p->req.n_ops; i++)
		apply(d, &p->ops[i], was ? &was[i] : &unseen);
}

/* After a failed sync nobody knows what is on the disk: all of the write, or nothing. */
static enum agi_err write_all(struct sim_disk *d, const struct sim_pending *p, struct agi_storage_was *was)
{
	if (d->is_read_only)
		return AGI_E_READ_ONLY;
	if (d->is_failing && d->writes_left-- == 0) {
		d->is_read_only = true;
		if (agi_prng_below(d->prng, 2))
			apply_all(d, p, NULL);
		return AGI_E_IO;
	}
	apply_all(d, p, was);
	return AGI_OK;
}

static struct agi_kv *read_some(struct sim_disk *d, const struct sim_pending *p, struct agi_storage_done *done)
{
	struct agi_kv *kv;

	if (d->bad_reads > 0 && agi_prng_unit(d->prng) < d->bad_reads) {
		done->err = AGI_E_CORRUPT;
		return NULL;
	}
	kv = must(calloc(p->req.kind == AGI_STORAGE_GET ? 1 : p->req.max_items + 1, sizeof *kv));
	if (p->req.kind == AGI_STORAGE_SCAN) {
		scan(d, &p->req, done, kv);
	} else if (sim_disk_find(d, p->req.cf, p->req.begin, &kv[0].value)) {
		kv[0].key = p->req.begin;
		done->kv = kv;
		done->n = 1;
	} else {
		done->err = AGI_E_NOT_FOUND;
	}
	return kv;
}

bool sim_disk_step(struct sim_disk *d, void (*fn)(void *arg, uint64_t job_id,
                                                   const struct agi_storage_done *done),
                   void *arg)
{
	struct sim_pending *p = take(d);
	struct agi_storage_done done = {.err = AGI_OK};
	struct agi_storage_was *was = NULL;
	struct agi_kv *kv = NULL;

	if (!p)
		return false;
	if (p->req.kind == AGI_STORAGE_WRITE) {
		was = must(calloc(p->req.n_ops + 1, sizeof *was));
		done.err = write_all(d, p, was);
		done.was = done.err == AGI_OK ? was : NULL;
	} else {
		kv = read_some(d, p, &done);
	}
	fn(arg, p->job_id, &done);
	free(was);
	free(kv);
	free_pending(p);
	return true;
}

bool sim_disk_step_unseen(struct sim_disk *d)
{
	struct sim_pending *p = take(d);

	if (!p)
		return false;
	if (p->req.kind == AGI_STORAGE_WRITE)
		(void)write_all(d, p, NULL);
	free_pending(p);
	return true;
}

void sim_disk_crash(struct sim_disk *d, struct agi_prng *r)
{
	size_t survive = d->is_read_only ? 0 : agi_prng_below(r, d->n_pending + 1);
	struct sim_pending *p;

	while ((p = take(d))) {
		if (survive > 0) {
			apply_all(d, p, NULL);
			survive--;
		}
		free_pending(p);
	}
	d->is_failing = d->is_read_only = false;
}
