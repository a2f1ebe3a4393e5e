/* SPDX-License-Identifier: Apache-2.0
 * batch: puts and deletes, one a line. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/kv.h"
#include "ctl/status.h"
#include "ctl/table.h"
#include "ctl/units.h"

enum { FILE_BYTES_MAX = 64 << 20, BATCH_BYTES = 3 << 20 /* and what the message adds stays below 4 MiB */ };

const struct ctl_opt ctl_opts_batch[] = {
    CTL_OPT_NAMESPACE,
    CTL_OPT_LEVEL,
    {"ttl", 0, "TIME", NULL, "what is put expires after this time, like 10s or 5m"},
    {NULL, 0, NULL, NULL, NULL}};

/* One line. Words lie in the file's text, unescaped in place. */
struct line {
	unsigned number;
	bool is_delete;
	struct agi_str key, value;
	uint32_t code, slot;
	uint64_t version;
	char *message; /* NULL = none */
};

struct lines {
	struct line *v;
	size_t n;
	char *text;
};

/* --- reading ---------------------------------------------------------------------------------- */
static int hex_of(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* What follows a backslash; NULL when it is no escape. */
static char *unescape(char *at, char *out)
{
	static const char letters[] = "ntr\\\"", bytes[] = "\n\t\r\\\"";
	const char *known = *at ? strchr(letters, *at) : NULL;

	if (known) {
		*out = bytes[known - letters];
		return at + 1;
	}
	if (*at != 'x' || hex_of(at[1]) < 0 || hex_of(at[2]) < 0)
		return NULL;
	*out = (char)(hex_of(at[1]) * 16 + hex_of(at[2]));
	return at + 3;
}

/* The word in quotes that begins at *at, which is left behind it; NULL: fine, else what is wrong. */
static const char *take_quoted(char **at, struct agi_str *out)
{
	char *from = *at + 1, *to = from;

	out->p = to;
	while (*from && *from != '"') {
		if (*from != '\\') {
			*to++ = *from++;
			continue;
		}
		from = unescape(from + 1, to++);
		if (!from)
			return "an escape that is none of \\n, \\t, \\r, \\\\, \\\" and \\xNN";
	}
	if (!*from)
		return "a quote that does not end in its line";
	out->n = (size_t)(to - out->p);
	*at = from + 1;
	return **at && !strchr(" \t", **at) ? "a blank is missing behind a quote" : NULL;
}

static const char *take_word(char **at, struct agi_str *out)
{
	*at += strspn(*at, " \t");
	if (**at == '"')
		return take_quoted(at, out);
	out->p = *at;
	out->n = strcspn(*at, " \t");
	*at += out->n;
	return NULL;
}

static const char *parse_line(char *text, struct line *l)
{
	struct agi_str verb, rest = {NULL, 0};
	const char *wrong = take_word(&text, &verb);

	l->is_delete = agi_str_eq(verb, AGI_STR("del"));
	if (!wrong && !l->is_delete && !agi_str_eq(verb, AGI_STR("put")))
		return "expected put KEY VALUE or del KEY";
	if (!wrong)
		wrong = take_word(&text, &l->key);
	if (!wrong && (l->key.n == 0 || l->key.n > AGI_KEY_MAX))
		return "the key must have 1 to 1024 bytes";
	if (!wrong && !l->is_delete) {
		text += strspn(text, " \t");
		if (!*text)
			return "the value is missing";
		wrong = take_word(&text, &l->value);
	}
	if (!wrong && l->value.n > AGI_VALUE_MAX)
		return "the value has more than 1 MiB";
	if (!wrong)
		wrong = take_word(&text, &rest);
	return wrong ? wrong : rest.n ? "words too many: put KEY VALUE, or del KEY; quote what has blanks" : NULL;
}

static void add_line(struct lines *all, const struct line *l)
{
	if ((all->n & (all->n - 1)) == 0) {
		all->v = reallocarray(all->v, all->n ? 2 * all->n : 1, sizeof *all->v);
		if (!all->v)
			abort();
	}
	all->v[all->n++] = *l;
}

/* The text's lines; a zero byte would end one early. */
static enum ctl_exit parse(struct ctl *c, struct lines *all, const char *name)
{
	unsigned number = 0;

	for (char *at = all->text, *next; *at; at = next) {
		struct line l = {.number = ++number};
		size_t n = strcspn(at, "\n");
		const char *wrong;

		next = at + n + (at[n] == '\n');
		at[n] = '\0';
		if (n && at[n - 1] == '\r')
			at[n - 1] = '\0';
		at += strspn(at, " \t");
		if (!*at || *at == '#')
			continue;
		wrong = parse_line(at, &l);
		if (wrong)
			return ctl_error(c, CTL_FAILED, "%s:%u: %s", name, number, wrong);
		add_line(all, &l);
	}
	return CTL_OK;
}

static enum ctl_exit read_lines(struct ctl *c, const struct ctl_input *in, struct lines *all)
{
	const char *name = in->words.n ? in->words.p[0] : "-";
	struct agi_str file;
	enum ctl_exit code = ctl_read_file(c, name, FILE_BYTES_MAX, &file);

	if (code != CTL_OK)
		return code;
	all->text = ctl_copy(file);
	free((char *)(uintptr_t)file.p);
	if (strlen(all->text) != file.n)
		return ctl_error(c, CTL_FAILED, "%s holds a zero byte: write it as \"\\x00\"", name);
	return parse(c, all, strcmp(name, "-") == 0 ? "standard input" : name);
}

/* --- sending ---------------------------------------------------------------------------------- */
static bool is_there(const struct line *v, size_t n, struct agi_str key)
{
	for (size_t i = 0; i < n; i++)
		if (agi_str_eq(v[i].key, key))
			return true;
	return false;
}

/* As many lines as go into one call: a key that comes again waits for the next. */
static size_t count_next(const struct line *v, size_t n)
{
	size_t bytes = 0;

	if (n > AGI_BATCH_ITEMS)
		n = AGI_BATCH_ITEMS;
	for (size_t i = 0; i < n; i++) {
		bytes += v[i].key.n + v[i].value.n;
		if (i && (bytes > BATCH_BYTES || is_there(v, i, v[i].key)))
			return i;
	}
	return n;
}

static void take_results(struct line *v, size_t n, const struct ctl_call *call)
{
	const Agihpc__V1__BatchResponse *res = (const Agihpc__V1__BatchResponse *)call->res;

	for (size_t i = 0; i < n; i++) {
		const Agihpc__V1__BatchResult *r = res && i < res->n_results ? res->results[i] : NULL;

		v[i].code = r ? r->code : res ? AGI_GRPC_INTERNAL : (uint32_t)call->status;
		v[i].version = r ? r->version : 0;
		v[i].slot = r ? r->slot : 0;
		if (v[i].code)
			v[i].message = ctl_copy(r ? ctl_str(r->message) : agi_str_of(res ? "not in the answer" : call->message));
	}
}

/* A call that fails as a whole fails each of its lines: others may have been done. */
static enum ctl_exit send_lines(struct ctl *c, Agihpc__V1__BatchRequest *req, uint64_t ttl_ms, struct line *v, size_t n)
{
	struct ctl_call call = CTL_CALL("agihpc.v1.KvService/Batch", req, agihpc__v1__batch_response__descriptor);
	Agihpc__V1__BatchItem items[AGI_BATCH_ITEMS], *list[AGI_BATCH_ITEMS];
	enum ctl_exit code = ctl_choose_node(c);

	if (code != CTL_OK)
		return code;
	for (size_t i = 0; i < n; i++) {
		agihpc__v1__batch_item__init(&items[i]);
		items[i].key = ctl_bin(v[i].key);
		items[i].value = ctl_bin(v[i].value);
		items[i].delete_ = v[i].is_delete;
		items[i].ttl_ms = v[i].is_delete ? 0 : ttl_ms;
		list[i] = &items[i];
	}
	req->items = list;
	req->n_items = n;
	call.target = c->node;
	ctl_calls_run(c, &call, 1, ctl_left_ms(c));
	take_results(v, n, &call);
	ctl_call_clear(&call);
	return CTL_OK;
}

/* --- printing --------------------------------------------------------------------------------- */
static json_t *line_json(const struct line *l)
{
	json_t *o = json_object();

	ctl_set_u64(o, "line", l->number);
	ctl_set(o, "operation", json_string(l->is_delete ? "del" : "put"));
	ctl_set_bytes(o, "key", l->key);
	ctl_set_u64(o, "code", l->code);
	if (l->message)
		ctl_set_bytes(o, "message", agi_str_of(l->message));
	if (!l->code)
		ctl_kv_set_version(o, "version", l->version);
	ctl_set_u64(o, "slot", l->slot);
	return o;
}

static enum ctl_exit print_json(struct ctl *c, const Agihpc__V1__BatchRequest *req, const struct lines *all,
				const size_t done[3])
{
	json_t *o = json_object(), *list = json_array();

	ctl_set(o, "namespace", req->namespace_.len ? ctl_json_str(ctl_str(req->namespace_)) : json_string("default"));
	ctl_set_u64(o, "stored", done[0]);
	ctl_set_u64(o, "deleted", done[1]);
	ctl_set_u64(o, "failed", done[2]);
	for (size_t i = 0; i < all->n; i++)
		json_array_append_new(list, line_json(&all->v[i]));
	ctl_set(o, "results", list);
	return ctl_print_json_take(c, o);
}

static enum ctl_exit print_text(struct ctl *c, const struct lines *all, const size_t done[3])
{
	struct agi_buf out;

	agi_buf_init(&out, 0);
	for (size_t i = 0; i < all->n; i++) {
		const struct line *l = &all->v[i];

		if (!l->code)
			continue;
		agi_buf_printf(&out, "line %u: %s ", l->number, l->is_delete ? "del" : "put");
		ctl_put_harmless(&out, l->key);
		agi_buf_printf(&out, ": %s: ", agi_grpc_status_name((enum agi_grpc_status)l->code));
		ctl_put_harmless(&out, agi_str_of(l->message));
		agi_buf_u8(&out, '\n');
	}
	agi_buf_printf(&out, "stored %zu, deleted %zu, failed %zu\n", done[0], done[1], done[2]);
	return ctl_kv_print_take(c, &out);
}

static enum ctl_exit print_results(struct ctl *c, const Agihpc__V1__BatchRequest *req, const struct lines *all)
{
	size_t done[3] = {0, 0, 0}; /* stored, deleted, failed */
	enum ctl_exit worst = CTL_OK, code;

	for (size_t i = 0; i < all->n; i++) {
		const struct line *l = &all->v[i];

		done[l->code ? 2 : l->is_delete]++;
		if (l->code && worst == CTL_OK)
			worst = ctl_exit_of_status((enum agi_grpc_status)l->code);
	}
	code = c->is_json ? print_json(c, req, all, done) : print_text(c, all, done);
	return code == CTL_OK ? worst : code;
}

/* --- the command ------------------------------------------------------------------------------ */
static enum ctl_exit run(struct ctl *c, const struct ctl_input *in, struct lines *all)
{
	Agihpc__V1__BatchRequest req = AGIHPC__V1__BATCH_REQUEST__INIT;
	const char *ttl = ctl_opt_value(&in->opts, "ttl");
	uint64_t ttl_ms = 0;
	struct agi_why why;
	enum ctl_exit code = ctl_kv_namespace(c, in, &req.namespace_);

	if (code == CTL_OK && ttl && ctl_parse_duration(&ttl_ms, ttl, 0, UINT64_C(1) << 53, &why) != AGI_OK)
		return ctl_usage(c, "--ttl %s", why.text);
	if (code == CTL_OK)
		code = read_lines(c, in, all);
	req.level = ctl_kv_level(in);
	for (size_t at = 0, n; code == CTL_OK && at < all->n; at += n) {
		n = count_next(&all->v[at], all->n - at);
		code = send_lines(c, &req, ttl_ms, &all->v[at], n);
	}
	return code == CTL_OK ? print_results(c, &req, all) : code;
}

enum ctl_exit ctl_batch(struct ctl *c, const struct ctl_input *in)
{
	struct lines all = {NULL, 0, NULL};
	enum ctl_exit code = run(c, in, &all);

	for (size_t i = 0; i < all.n; i++)
		free(all.v[i].message);
	free(all.v);
	free(all.text);
	return code;
}
