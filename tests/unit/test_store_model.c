/* SPDX-License-Identifier: Apache-2.0
 * Random requests in random bursts, with reopenings, against a table in memory that applies them one by one. */
#include "store_util.h"

#include "base/prng.h"

enum { KEYS = 20, CFS = 2, VALUE = 48, BURST = 60, SCAN_TEXT = 2048 };

struct model {
	bool has[CFS][KEYS];
	char value[CFS][KEYS][VALUE]; /* VALUE bytes, not terminated */
};

/* What an answer must be, worked out when the request is made. */
struct expected {
	enum agi_err err;
	bool is_write, has_was;
	struct agi_storage_was was[6];
	bool has_more;
	char text[SCAN_TEXT];
	size_t n;
};

struct world {
	struct fixture *f;
	struct agi_prng prng;
	struct model model;
	struct expected want[BURST];
	unsigned submitted, answered;
};

static char names[KEYS + 1][4];

static void random_value(struct world *w, char out[VALUE])
{
	/* The first 39 bytes are equal and the 40th has few values, so that versions often meet. */
	memset(out, '0', VALUE);
	out[AGI_VERSION_BYTES - 1] = (char)('0' + agi_prng_below(&w->prng, 6));
	for (int i = AGI_VERSION_BYTES; i < VALUE; i++)
		out[i] = (char)('a' + agi_prng_below(&w->prng, 26));
}

static void note_version(struct agi_storage_was *was, const char *value)
{
	was->was_there = true;
	was->n = AGI_VERSION_BYTES;
	memcpy(was->version, value, AGI_VERSION_BYTES);
}

static void apply(struct model *m, const struct agi_storage_op *op, unsigned a, unsigned b,
                  struct agi_storage_was *was)
{
	bool *has = &m->has[op->cf][a];
	char *value = m->value[op->cf][a];

	switch (op->verb) {
	case AGI_DELETE_IF:
		if (!*has)
			return;
		note_version(was, value);
		was->is_done = memcmp(value, op->value.p, AGI_VERSION_BYTES) == 0;
		*has = !was->is_done;
		return;
	case AGI_PUT_NEWER:
		if (*has)
			note_version(was, value);
		was->is_done = !*has || memcmp(value, op->value.p, AGI_VERSION_BYTES) < 0;
		if (!was->is_done)
			return;
		/* fall through */
	case AGI_PUT:
		*has = true;
		memcpy(value, op->value.p, VALUE);
		return;
	case AGI_DELETE:
		*has = false;
		return;
	case AGI_DELETE_RANGE:
		for (unsigned k = a; k < b; k++)
			m->has[op->cf][k] = false;
		return;
	}
}

static void submit(struct world *w, const struct agi_storage_req *r)
{
	assert_int_equal(agi_store_submit(w->f->store, w->submitted++, r), AGI_OK);
}

static void submit_write(struct world *w)
{
	struct agi_storage_op ops[6];
	char values[6][VALUE];
	size_t n = agi_prng_below(&w->prng, 7);
	struct agi_storage_req r = write_of(ops, n);
	struct expected *e = &w->want[w->submitted];

	*e = (struct expected){.err = AGI_OK, .is_write = true};
	for (size_t i = 0; i < n; i++) {
		unsigned a = (unsigned)agi_prng_below(&w->prng, KEYS);
		unsigned b = (unsigned)agi_prng_below(&w->prng, KEYS + 1);
		static const enum agi_storage_verb verbs[] = {
		    AGI_PUT, AGI_PUT_NEWER, AGI_PUT_NEWER, AGI_PUT_NEWER, AGI_DELETE, AGI_DELETE_RANGE,
		    AGI_DELETE_IF, AGI_DELETE_IF};

		random_value(w, values[i]);
		ops[i] = (struct agi_storage_op){verbs[agi_prng_below(&w->prng, 8)],
		                                 (enum agi_cf)agi_prng_below(&w->prng, CFS),
		                                 agi_str_of(names[a]),
		                                 {values[i], VALUE}};
		if (ops[i].verb == AGI_DELETE_RANGE)
			ops[i].value = agi_str_of(names[b]);
		if (ops[i].verb == AGI_DELETE)
			ops[i].value = AGI_STR("");
		if (ops[i].verb == AGI_DELETE_IF)
			ops[i].value.n = AGI_VERSION_BYTES;
		e->has_was |= ops[i].verb == AGI_DELETE_IF || ops[i].verb == AGI_PUT_NEWER;
		apply(&w->model, &ops[i], a, b, &e->was[i]);
	}
	e->n = n;
	submit(w, &r);
}

static void submit_get(struct world *w)
{
	unsigned cf = (unsigned)agi_prng_below(&w->prng, CFS), k = (unsigned)agi_prng_below(&w->prng, KEYS);
	struct agi_storage_req r = {
	    .kind = AGI_STORAGE_GET, .cf = (enum agi_cf)cf, .begin = agi_str_of(names[k])};
	struct expected *e = &w->want[w->submitted];

	*e = (struct expected){.err = w->model.has[cf][k] ? AGI_OK : AGI_E_NOT_FOUND};
	if (e->err == AGI_OK) {
		memcpy(e->text, w->model.value[cf][k], VALUE);
		e->n = VALUE;
	}
	submit(w, &r);
}

static void submit_scan(struct world *w)
{
	unsigned cf = (unsigned)agi_prng_below(&w->prng, CFS), a = (unsigned)agi_prng_below(&w->prng, KEYS);
	unsigned b = (unsigned)agi_prng_below(&w->prng, KEYS + 1), left = 1 + (unsigned)agi_prng_below(&w->prng, 8);
	struct agi_storage_req r = {.kind = AGI_STORAGE_SCAN, .cf = (enum agi_cf)cf,
	                            .begin = agi_str_of(names[a]), .end = agi_str_of(names[b]),
	                            .max_items = left, .max_bytes = 1 << 20};
	struct expected *e = &w->want[w->submitted];

	*e = (struct expected){.err = AGI_OK};
	for (unsigned k = a; k < b; k++) {
		if (!w->model.has[cf][k])
			continue;
		if (left-- == 0) {
			e->has_more = true;
			break;
		}
		memcpy(e->text + e->n, names[k], 3);
		memcpy(e->text + e->n + 3, w->model.value[cf][k], VALUE);
		e->n += 3 + VALUE;
	}
	submit(w, &r);
}

static void check_answer(void *arg, uint64_t id, const struct agi_storage_done *d)
{
	struct world *w = arg;
	const struct expected *e = &w->want[id];
	size_t at = 0;

	assert_int_equal(id, w->answered++);
	assert_int_equal(d->err, e->err);
	assert_int_equal(d->has_more, e->has_more);
	if (e->is_write) {
		assert_true((d->was != NULL) == e->has_was);
		for (size_t i = 0; d->was && i < e->n; i++)
			assert_memory_equal(&d->was[i], &e->was[i], sizeof e->was[i]);
		return;
	}
	for (size_t i = 0; i < d->n; i++) {
		if (e->n != VALUE) { /* a scan: keys as well */
			assert_memory_equal(d->kv[i].key.p, e->text + at, 3);
			at += 3;
		}
		assert_int_equal(d->kv[i].value.n, VALUE);
		assert_memory_equal(d->kv[i].value.p, e->text + at, VALUE);
		at += VALUE;
	}
	assert_int_equal(at, e->n);
}

/* At any moment: fills what peeks keep with whatever is there just now. */
static void peek(struct world *w, unsigned cf, unsigned k, struct agi_buf *out, enum agi_err *err)
{
	struct agi_storage_req r = {.kind = AGI_STORAGE_GET, .cf = (enum agi_cf)cf, .begin = agi_str_of(names[k]),
	                            .may_lag = true};

	agi_buf_reset(out);
	*err = agi_store_peek(w->f->store, &r, out);
	assert_true(*err == AGI_OK || *err == AGI_E_NOT_FOUND || *err == AGI_E_FULL);
}

/* When every completion has been delivered a peek shows exactly what is stored. */
static void check_peeks(struct world *w)
{
	struct agi_buf b;
	enum agi_err e;

	agi_buf_init(&b, 0);
	for (unsigned cf = 0; cf < CFS; cf++) {
		for (unsigned k = 0; k < KEYS; k++) {
			peek(w, cf, k, &b, &e);
			if (e == AGI_E_FULL)
				continue;
			assert_int_equal(e, w->model.has[cf][k] ? AGI_OK : AGI_E_NOT_FOUND);
			if (e == AGI_OK) {
				assert_int_equal(b.n, VALUE);
				assert_memory_equal(b.p, w->model.value[cf][k], VALUE);
			}
		}
	}
	agi_buf_free(&b);
}

static void run_burst(struct world *w)
{
	unsigned n = 1 + (unsigned)agi_prng_below(&w->prng, BURST);
	struct agi_buf peeked;
	enum agi_err e;

	agi_buf_init(&peeked, 0);
	w->submitted = w->answered = 0;
	while (w->submitted < n) {
		switch (agi_prng_below(&w->prng, 8)) {
		case 0:
			submit_scan(w);
			break;
		case 1:
		case 2:
		case 3:
			submit_get(w);
			break;
		default:
			submit_write(w);
		}
		peek(w, (unsigned)agi_prng_below(&w->prng, CFS), (unsigned)agi_prng_below(&w->prng, KEYS), &peeked, &e);
	}
	while (w->answered < n) {
		wait_store(w->f->store);
		agi_store_poll(w->f->store, check_answer, w);
	}
	agi_buf_free(&peeked);
	check_peeks(w);
}

static void random_requests_agree_with_a_table(void **state)
{
	static struct world w;

	for (int k = 0; k <= KEYS; k++)
		snprintf(names[k], sizeof names[k], "k%02d", k);
	w.f = *state;
	for (uint64_t seed = 1; seed <= 4; seed++) {
		agi_prng_seed(&w.prng, seed);
		for (int burst = 0; burst < 150; burst++) {
			run_burst(&w);
			if (agi_prng_below(&w.prng, 40) == 0)
				reopen_store(w.f);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(random_requests_agree_with_a_table, setup, teardown),
	};

	return cmocka_run_group_tests_name("store model", tests, NULL, NULL);
}
