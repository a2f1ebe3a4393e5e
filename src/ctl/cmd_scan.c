/* SPDX-License-Identifier: Apache-2.0
 * scan: the items of a namespace, by prefix. */
#include <inttypes.h>
#include <stdlib.h>

#include "ctl/kv.h"
#include "ctl/table.h"
#include "ctl/units.h"

enum { HOLD_MAX = 64 << 20, PAGE_MAX = AGI_SCAN_ITEMS_MAX, VALUE_SHOWN = 64 };

const struct ctl_opt ctl_opts_scan[] = {
    CTL_OPT_NAMESPACE,
    CTL_OPT_LEVEL,
    {"limit", 0, "N", NULL, "stop after so many items"},
    {"keys-only", 0, NULL, NULL, "print the keys, one a line"},
    {"count", 0, NULL, NULL, "print only how many items there are"},
    {NULL, 0, NULL, NULL, NULL}};

/* What the pages brought. */
struct found {
	struct ctl_call *pages; /* their answers own what rows point to */
	size_t n_pages;
	Agihpc__V1__KeyValue **rows;
	size_t n_rows;
	uint64_t count, bytes;
	bool is_all;
};

static void free_found(struct found *f)
{
	for (size_t i = 0; i < f->n_pages; i++)
		ctl_call_clear(&f->pages[i]);
	free(f->pages);
	free(f->rows);
}

static void *grow(void *p, size_t n, size_t size)
{
	void *more = reallocarray(p, n ? n : 1, size);

	if (!more)
		abort(); /* as ctl_alloc: a client that cannot allocate has nothing left to do */
	return more;
}

static void take_page(struct found *f, const Agihpc__V1__ScanResponse *res)
{
	f->count += res->count;
	f->rows = grow(f->rows, f->n_rows + res->n_items, sizeof *f->rows);
	for (size_t i = 0; i < res->n_items; i++) {
		f->rows[f->n_rows++] = res->items[i];
		f->bytes += res->items[i]->key.len + res->items[i]->value.len + sizeof **f->rows;
	}
}

static enum ctl_exit read_page(struct ctl *c, struct found *f, Agihpc__V1__ScanRequest *req)
{
	const struct ctl_call fresh = CTL_CALL("agihpc.v1.KvService/Scan", req, agihpc__v1__scan_response__descriptor);
	const Agihpc__V1__ScanResponse *res;
	enum ctl_exit code;

	f->pages = grow(f->pages, f->n_pages + 1, sizeof *f->pages);
	f->pages[f->n_pages] = fresh;
	code = ctl_ask(c, &f->pages[f->n_pages++]);
	if (code != CTL_OK)
		return code;
	res = (const Agihpc__V1__ScanResponse *)f->pages[f->n_pages - 1].res;
	take_page(f, res);
	req->page_token = res->next_page_token;
	f->is_all = res->next_page_token.len == 0;
	return CTL_OK;
}

/* limit 0 = all. */
static enum ctl_exit read_pages(struct ctl *c, struct found *f, Agihpc__V1__ScanRequest *req, uint32_t limit)
{
	enum ctl_exit code;

	do {
		req->limit = limit && limit - f->n_rows < PAGE_MAX ? limit - (uint32_t)f->n_rows : PAGE_MAX;
		code = read_page(c, f, req);
		if (code != CTL_OK)
			return code;
		if (f->bytes > HOLD_MAX)
			return ctl_error(c, CTL_FAILED, "more than 64 MiB: give a longer prefix, --limit, "
							"--keys-only or --count");
	} while (!f->is_all && !(limit && f->n_rows >= limit));
	return CTL_OK;
}

static int by_key(const void *a, const void *b)
{
	return agi_str_cmp(ctl_str((*(Agihpc__V1__KeyValue *const *)a)->key),
			   ctl_str((*(Agihpc__V1__KeyValue *const *)b)->key));
}

/* --- printing --------------------------------------------------------------------------------- */
static enum ctl_exit print_json(struct ctl *c, const Agihpc__V1__ScanRequest *req, const struct found *f)
{
	json_t *o = json_object(), *list = json_array();

	ctl_set(o, "namespace", req->namespace_.len ? ctl_json_str(ctl_str(req->namespace_)) : json_string("default"));
	ctl_set_bytes(o, "prefix", ctl_str(req->prefix));
	ctl_set_u64(o, "count", f->count);
	ctl_set(o, "complete", json_boolean(f->is_all));
	for (size_t i = 0; i < f->n_rows; i++) {
		json_t *one = json_object();

		ctl_set_bytes(one, "key", ctl_str(f->rows[i]->key));
		if (!req->keys_only)
			ctl_set_bytes(one, "value", ctl_str(f->rows[i]->value));
		ctl_kv_set_version(one, "version", f->rows[i]->version);
		json_array_append_new(list, one);
	}
	if (req->count_only)
		json_decref(list);
	else
		ctl_set(o, "items", list);
	return ctl_print_json_take(c, o);
}

static enum ctl_exit print_lines(struct ctl *c, const Agihpc__V1__ScanRequest *req, const struct found *f)
{
	struct agi_buf out;

	agi_buf_init(&out, 0);
	if (req->count_only)
		agi_buf_printf(&out, "%" PRIu64 "\n", f->count);
	for (size_t i = 0; i < f->n_rows; i++) {
		agi_buf_put_str(&out, ctl_str(f->rows[i]->key));
		agi_buf_u8(&out, '\n');
	}
	return ctl_kv_print_take(c, &out);
}

static enum ctl_exit print_items(struct ctl *c, const struct found *f)
{
	static const struct ctl_col cols[] = {{"KEY", CTL_COL_TEXT}, {"VERSION", CTL_COL_NUMBER},
					      {"SIZE", CTL_COL_NUMBER}, {"VALUE", CTL_COL_TEXT}};
	struct ctl_table t;

	ctl_table_init(&t, cols, sizeof cols / sizeof *cols);
	for (size_t i = 0; i < f->n_rows; i++) {
		struct agi_str value = ctl_str(f->rows[i]->value);
		char size[CTL_UNIT_TEXT];

		ctl_format_bytes(size, value.n);
		if (value.n > VALUE_SHOWN)
			value.n = VALUE_SHOWN;
		ctl_table_str(&t, ctl_str(f->rows[i]->key));
		ctl_table_printf(&t, "%" PRIu64, f->rows[i]->version);
		ctl_table_printf(&t, "%s", size);
		ctl_table_str(&t, value);
	}
	return ctl_print_table(c, &t);
}

static enum ctl_exit print_found(struct ctl *c, const Agihpc__V1__ScanRequest *req, const struct found *f)
{
	if (c->is_json)
		return print_json(c, req, f);
	if (req->keys_only || req->count_only)
		return print_lines(c, req, f);
	return print_items(c, f);
}

/* --- the command ------------------------------------------------------------------------------ */
static enum ctl_exit take_words(struct ctl *c, const struct ctl_input *in, Agihpc__V1__ScanRequest *req,
				uint32_t *limit)
{
	const char *text = ctl_opt_value(&in->opts, "limit");
	enum ctl_exit code = ctl_kv_namespace(c, in, &req->namespace_);
	struct agi_why why;

	*limit = 0;
	if (code == CTL_OK && in->words.n > 0)
		req->prefix = ctl_bin_of(in->words.p[0]);
	if (code == CTL_OK && req->prefix.len > AGI_KEY_MAX)
		return ctl_usage(c, "the prefix has %zu bytes: at most %d are possible", req->prefix.len, AGI_KEY_MAX);
	if (code == CTL_OK && text && ctl_parse_u32(limit, text, 1, UINT32_MAX, &why) != AGI_OK)
		return ctl_usage(c, "--limit %s", why.text);
	req->level = ctl_kv_level(in);
	req->keys_only = ctl_opt_is_set(&in->opts, "keys-only");
	req->count_only = ctl_opt_is_set(&in->opts, "count");
	if (code == CTL_OK && req->count_only && (req->keys_only || text))
		return ctl_usage(c, "--count stands alone: it prints no items");
	return code;
}

enum ctl_exit ctl_scan(struct ctl *c, const struct ctl_input *in)
{
	Agihpc__V1__ScanRequest req = AGIHPC__V1__SCAN_REQUEST__INIT;
	struct found f = {.pages = NULL};
	uint32_t limit;
	enum ctl_exit code = take_words(c, in, &req, &limit);

	if (code == CTL_OK)
		code = read_pages(c, &f, &req, limit);
	if (code == CTL_OK) {
		if (f.n_rows)
			qsort(f.rows, f.n_rows, sizeof *f.rows, by_key);
		code = print_found(c, &req, &f);
	}
	free_found(&f);
	return code;
}
