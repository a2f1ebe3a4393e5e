/* SPDX-License-Identifier: Apache-2.0 */
#include "config/load.h"

#include <stdio.h>
#include <stdlib.h>

enum { PATH_BYTES = 160 };

struct loader {
	const struct agi_key_spec *table;
	char *base;                        /* struct that offsets count from */
	struct agi_config_source *sources; /* by row; NULL inside a service */
	bool seen[AGI_CONFIG_KEYS_MAX];    /* rows given in this file or service */
	const char *name;
	const char *shown;                 /* "" or "dht.services[2]." */
	struct agi_why *why;
};

/* --- unknown keys ----------------------------------------------------------------------------- */
/* Edit distance (Wagner and Fischer 1974) of two names; a name longer than the row is "far". */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[64];
	size_t n = strlen(b);

	if (n + 1 > sizeof row / sizeof *row || strlen(a) > 64)
		return 64;
	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; a[i - 1]; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			unsigned change = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = row[j - 1] + 1;
			if (diagonal + 1 < row[j])
				row[j] = diagonal + 1;
			if (change < row[j])
				row[j] = change;
		}
	}
	return row[n];
}

/* The part of spec's path at the level below prefix (its first prefix_n bytes), or false. */
static bool name_below(const struct agi_key_spec *s, const char *prefix, size_t prefix_n, char out[64])
{
	if (strncmp(s->path, prefix, prefix_n) != 0)
		return false;
	snprintf(out, 64, "%.*s", (int)strcspn(s->path + prefix_n, "."), s->path + prefix_n);
	return true;
}

static void list_valid(const struct agi_key_spec *table, const char *path, size_t prefix_n,
                       struct agi_buf *out)
{
	char last[64] = "", name[64];

	for (const struct agi_key_spec *s = table; s->path; s++) {
		if (!name_below(s, path, prefix_n, name) || strcmp(name, last) == 0)
			continue;
		agi_buf_printf(out, "%s%s", *last ? ", " : "", name);
		memcpy(last, name, sizeof last);
	}
}

static void find_near(const struct agi_key_spec *table, const char *path, size_t prefix_n, char out[64])
{
	const char *given = path + prefix_n;
	unsigned best = 2 + (unsigned)strlen(given) / 3, d; /* a swap of neighbours counts two */
	char name[64];

	out[0] = '\0';
	for (const struct agi_key_spec *s = table; s->path; s++) {
		if (name_below(s, path, prefix_n, name) && (d = distance(given, name)) < best) {
			best = d;
			memcpy(out, name, 64);
		}
	}
	if (out[0])
		return;
	for (const struct agi_key_spec *s = table; s->path; s++) { /* right name, wrong place */
		const char *dot = strrchr(s->path, '.');

		if (dot && strcmp(dot + 1, given) == 0)
			snprintf(out, 64, "%s", s->path);
	}
}

enum agi_err agi_config_unknown(const struct agi_key_spec *table, const char *where, const char *path,
                                struct agi_why *why)
{
	const char *dot = strrchr(path, '.');
	size_t prefix_n = dot ? (size_t)(dot - path) + 1 : 0;
	struct agi_buf valid;
	char near[64];
	enum agi_err e;

	agi_buf_init(&valid, 4096);
	list_valid(table, path, prefix_n, &valid);
	find_near(table, path, prefix_n, near);
	e = agi_fail(why, AGI_E_INVALID, "%s: %.80s: unknown key;%s%s%s valid here: %.*s", where, path,
	             *near ? " did you mean \"" : "", near, *near ? "\"?" : "",
	             AGI_STR_ARG(agi_buf_str(&valid)));
	agi_buf_free(&valid);
	return e;
}

/* --- values ----------------------------------------------------------------------------------- */
static enum agi_err fail_here(const struct loader *l, unsigned line, const char *path, enum agi_err e,
                              const char *reason)
{
	return agi_fail(l->why, e, "%s:%u: %s%s: %s", l->name, line, l->shown, path, reason);
}

static const char *kind_name(const struct agi_yaml_node *n)
{
	return n->kind == AGI_YAML_LIST  ? "a list"
	       : n->kind == AGI_YAML_MAP ? "a section"
	       : agi_yaml_is_null(n)     ? "nothing"
	                                 : "a single value";
}

static enum agi_err fail_kind(const struct loader *l, const struct agi_yaml_node *n,
                              const struct agi_key_spec *s)
{
	char expected[160], reason[256];

	agi_spec_expected(s, expected, sizeof expected);
	snprintf(reason, sizeof reason, "found %s, expected %s", kind_name(n), expected);
	return fail_here(l, n->line, s->path, AGI_E_INVALID, reason);
}

static bool is_number(const struct agi_key_spec *s)
{
	return s->type == AGI_V_WHOLE || s->type == AGI_V_PORT || s->type == AGI_V_REAL;
}

static enum agi_err load_scalar(struct loader *l, const struct agi_yaml_node *n,
                                const struct agi_key_spec *s)
{
	struct agi_why reason;
	enum agi_err e;

	if (n->kind != AGI_YAML_SCALAR || agi_yaml_is_null(n))
		return fail_kind(l, n, s);
	if (is_number(s) && !n->is_plain) {
		snprintf(reason.text, sizeof reason.text, "\"%.60s\" is a text: write the number without quotes",
		         n->text);
		return fail_here(l, n->line, s->path, AGI_E_INVALID, reason.text);
	}
	e = agi_value_parse(s, l->base + s->offset, n->text, &reason);
	return e ? fail_here(l, n->line, s->path, e, reason.text) : AGI_OK;
}

static enum agi_err load_service(struct loader *l, const struct agi_yaml_node *n, unsigned index,
                                 struct agi_config_service *out);

static enum agi_err load_services(struct loader *l, const struct agi_yaml_node *n,
                                  const struct agi_key_spec *s)
{
	struct agi_config_services *list = (void *)(l->base + s->offset);
	size_t count = 0;

	for (const struct agi_yaml_node *item = n->first; item; item = item->next)
		count++;
	if (count > s->max)
		return fail_here(l, n->line, s->path, AGI_E_INVALID, "more than 256 services");
	list->v = calloc(count ? count : 1, sizeof *list->v);
	if (!list->v)
		return fail_here(l, n->line, s->path, AGI_E_NOMEM, agi_err_text(AGI_E_NOMEM));
	for (const struct agi_yaml_node *item = n->first; item; item = item->next) {
		struct agi_config_service *v = &list->v[list->n];
		enum agi_err e = load_service(l, item, (unsigned)list->n++, v);

		if (e)
			return e;
		for (size_t i = 0; i + 1 < list->n; i++)
			if (strcmp(list->v[i].name, v->name) == 0 && list->v[i].port == v->port &&
			    strcmp(list->v[i].address, v->address) == 0)
				return fail_here(l, item->line, s->path, AGI_E_INVALID,
				                 "the same name, port and address twice");
	}
	return AGI_OK;
}

static enum agi_err load_choices(struct loader *l, const struct agi_yaml_node *map,
                                 const struct agi_key_spec *s)
{
	char text[AGI_CONFIG_TEXT_MAX];
	struct agi_why reason;
	enum agi_err e;

	if (map->kind != AGI_YAML_MAP && !agi_yaml_is_null(map))
		return fail_kind(l, map, s);
	for (const struct agi_yaml_node *n = map->first; n; n = n->next) {
		if (n->kind != AGI_YAML_SCALAR || agi_yaml_is_null(n))
			return fail_kind(l, n, s);
		if ((size_t)snprintf(text, sizeof text, "%s=%s", n->key, n->text) >= sizeof text)
			return fail_here(l, n->line, s->path, AGI_E_INVALID, "a name or value is too long");
		e = agi_value_parse(s, l->base + s->offset, text, &reason);
		if (e)
			return fail_here(l, n->line, s->path, e, reason.text);
	}
	return AGI_OK;
}

static enum agi_err load_list(struct loader *l, const struct agi_yaml_node *n,
                              const struct agi_key_spec *s)
{
	void *field = l->base + s->offset;

	if (n->kind != AGI_YAML_LIST && s->type != AGI_V_CHOICES)
		return fail_kind(l, n, s);
	agi_value_clear(s, field);
	if (s->type == AGI_V_CHOICES)
		return load_choices(l, n, s);
	if (s->type == AGI_V_SERVICES)
		return load_services(l, n, s);
	for (const struct agi_yaml_node *item = n->first; item; item = item->next) {
		struct agi_why reason;
		enum agi_err e;

		if (item->kind != AGI_YAML_SCALAR || agi_yaml_is_null(item))
			return fail_kind(l, item, s);
		e = agi_value_parse(s, field, item->text, &reason);
		if (e)
			return fail_here(l, item->line, s->path, e, reason.text);
	}
	return AGI_OK;
}

/* --- sections --------------------------------------------------------------------------------- */
static bool is_section(const struct agi_key_spec *table, const char *path)
{
	size_t n = strlen(path);

	for (; table->path; table++)
		if (strncmp(table->path, path, n) == 0 && table->path[n] == '.')
			return true;
	return false;
}

static enum agi_err load_map(struct loader *l, const struct agi_yaml_node *map, const char *prefix);

static enum agi_err load_key(struct loader *l, const struct agi_yaml_node *n, const char *path)
{
	const struct agi_key_spec *s = agi_spec_find(l->table, path);
	size_t row;
	enum agi_err e;

	if (!s)
		return is_section(l->table, path) ? load_map(l, n, path) : AGI_E_NOT_FOUND;
	row = (size_t)(s - l->table);
	if (l->seen[row])
		return fail_here(l, n->key_line, path, AGI_E_INVALID, "given twice in this file");
	e = agi_value_is_list(s) ? load_list(l, n, s) : load_scalar(l, n, s);
	if (e)
		return e;
	l->seen[row] = true;
	if (l->sources)
		l->sources[row] = (struct agi_config_source){l->name, n->line};
	return AGI_OK;
}

static enum agi_err fail_unknown(const struct loader *l, const struct agi_yaml_node *n, const char *path)
{
	char where[400];

	snprintf(where, sizeof where, "%s:%u%s%.*s", l->name, n->key_line, *l->shown ? ": " : "",
	         (int)(*l->shown ? strlen(l->shown) - 1 : 0), l->shown);
	return agi_config_unknown(l->table, where, path, l->why);
}

/* A section written twice would hide half of itself from the reader. */
static enum agi_err check_twice(const struct loader *l, const struct agi_yaml_node *n, const char *path)
{
	for (const struct agi_yaml_node *p = n->parent->first; p != n; p = p->next)
		if (strcmp(p->key, n->key) == 0)
			return fail_here(l, n->key_line, path, AGI_E_INVALID, "given twice in this file");
	return AGI_OK;
}

/* prefix: "" or a section's path. */
static enum agi_err load_map(struct loader *l, const struct agi_yaml_node *map, const char *prefix)
{
	if (agi_yaml_is_null(map))
		return AGI_OK;
	if (map->kind != AGI_YAML_MAP)
		return fail_here(l, map->line, prefix, AGI_E_INVALID, "expected a section, \"key: value\" lines");
	for (const struct agi_yaml_node *n = map->first; n; n = n->next) {
		char path[PATH_BYTES];
		enum agi_err e;

		/* A key with a dot would look like a path. */
		if ((size_t)snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", n->key) >=
		        sizeof path || strchr(n->key, '.'))
			return fail_unknown(l, n, "(a key that is too long or holds a dot)");
		e = check_twice(l, n, path);
		if (e == AGI_OK)
			e = load_key(l, n, path);
		if (e == AGI_E_NOT_FOUND)
			return fail_unknown(l, n, path);
		if (e)
			return e;
	}
	return AGI_OK;
}

static enum agi_err preset_service(struct agi_config_service *out)
{
	for (const struct agi_key_spec *s = agi_service_spec; s->path; s++) {
		void *field = (char *)out + s->offset;
		enum agi_err e = agi_value_fill(s, field);

		if (e == AGI_OK && *s->preset)
			e = agi_value_parse(s, field, s->preset, NULL);
		if (e)
			return e;
	}
	return AGI_OK;
}

static bool has_seen(const struct loader *l, const char *path)
{
	return l->seen[agi_spec_find(l->table, path) - l->table];
}

static enum agi_err load_service(struct loader *outer, const struct agi_yaml_node *n, unsigned index,
                                 struct agi_config_service *out)
{
	char shown[32];
	struct loader l = {.table = agi_service_spec,
	                   .base = (char *)out,
	                   .name = outer->name,
	                   .shown = shown,
	                   .why = outer->why};
	enum agi_err e = preset_service(out);

	snprintf(shown, sizeof shown, "dht.services[%u].", index);
	if (e)
		return fail_here(&l, n->line, "name", e, agi_err_text(e));
	out->line = n->line;
	if (n->kind != AGI_YAML_MAP)
		return fail_here(&l, n->line, "name", AGI_E_INVALID, "expected a section with name and port");
	e = load_map(&l, n, "");
	if (e)
		return e;
	if (!has_seen(&l, "name") || !has_seen(&l, "port"))
		return fail_here(&l, n->line, has_seen(&l, "name") ? "port" : "name", AGI_E_INVALID,
		                 "missing: a service has a name and a port");
	if (out->check_timeout_ms > out->check_interval_ms) {
		if (has_seen(&l, "health_check.timeout"))
			return fail_here(&l, n->line, "health_check.timeout", AGI_E_INVALID,
			                 "longer than health_check_interval");
		out->check_timeout_ms = out->check_interval_ms;
	}
	return AGI_OK;
}

enum agi_err agi_config_load_tree(struct agi_config *c, const char *name,
                                  const struct agi_yaml_node *root, struct agi_why *why)
{
	struct loader l = {.table = agi_config_spec,
	                   .base = (char *)c,
	                   .sources = c->sources,
	                   .name = name,
	                   .shown = "",
	                   .why = why};

	if (root->kind != AGI_YAML_MAP && !agi_yaml_is_null(root))
		return agi_fail(why, AGI_E_INVALID, "%s:%u: found %s, expected sections such as \"node:\"", name,
		                root->line, kind_name(root));
	return load_map(&l, root, "");
}
