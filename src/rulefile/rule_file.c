/* SPDX-License-Identifier: Apache-2.0 */
#include "rulefile/rule_file.h"

#include <math.h>
#include <strings.h>

#include "base/number.h"
#include "rulefile/impl.h"

/* The place of a word in words. preset < 0: it must be given. */
static enum agi_err choice_of(const struct file *f, const struct agi_yaml_node *map, const char *key,
                              const char *const *words, int preset, int *out)
{
	const char *text;
	char valid[FILE_WORDS];
	enum agi_err e = AGI_OK;

	*out = preset;
	if (preset >= 0 && !file_child(map, key))
		return AGI_OK;
	text = file_text_of(f, map, key, &e);
	if (!text)
		return e;
	for (int i = 0; words[i]; i++)
		if (strcmp(text, words[i]) == 0) {
			*out = i;
			return AGI_OK;
		}
	file_list_words(valid, words);
	return FAIL(f, file_child(map, key)->line, "%s: \"%.60s\": expected one of %s", key, text, valid);
}

/* --- values -------------------------------------------------------------------------------------------------------- */
/* What other versions of YAML read as a truth or as nothing must not become a text unnoticed. */
static bool is_doubtful(const char *text)
{
	static const char *const words[] = {"",  "~",  "null", "yes", "no",   "on",   "off",
	                                    "true", "false", "y", "n", ".nan", ".inf", "-.inf"};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcasecmp(text, words[i]) == 0)
			return true;
	return false;
}

static enum agi_err read_value(const struct file *f, const struct agi_yaml_node *n, struct agi_rule_value *out)
{
	struct agi_str s = agi_str_of(n->text);

	*out = (struct agi_rule_value){.kind = AGI_VALUE_TEXT};
	if (n->kind != AGI_YAML_SCALAR)
		return FAIL(f, n->line, "value: expected a number, true, false, a text, or a list of them");
	if (n->is_plain && (strcmp(n->text, "true") == 0 || strcmp(n->text, "false") == 0)) {
		out->kind = AGI_VALUE_TRUTH;
		out->number = n->text[0] == 't';
	} else if (n->is_plain && is_doubtful(n->text)) {
		return FAIL(f, n->line, "value: \"%s\": expected true or false, a finite number, or a text in quotes", n->text);
	} else if (n->is_plain && agi_number_parse(s, &out->number)) {
		out->kind = AGI_VALUE_NUMBER;
	} else {
		out->text = s;
	}
	return AGI_OK;
}

static enum agi_err read_values(struct file *f, const struct agi_yaml_node *n, struct agi_cond *out)
{
	bool is_list = n->kind == AGI_YAML_LIST;
	size_t wanted = is_list ? file_count(n) : 1, i = 0;
	struct agi_rule_value *v = agi_pool_take(&f->pool, wanted, sizeof *v);
	enum agi_err e = AGI_OK;

	if (is_list) {
		for (const struct agi_yaml_node *c = n->first; c && v && !e; c = c->next)
			e = read_value(f, c, &v[i++]);
	} else if (v) {
		e = read_value(f, n, v);
	}
	out->values = v;
	out->n_values = v ? wanted : 0;
	return e ? e : f->pool.err;
}

/* --- conditions ---------------------------------------------------------------------------------------------------- */
static enum agi_err read_op(const struct file *f, const struct agi_yaml_node *map, struct agi_cond *out)
{
	enum agi_err e = AGI_OK;
	const char *text;

	if (!file_child(map, "op") && agi_str_has_prefix(out->field, AGI_STR("signals."))) {
		out->op = AGI_OP_EQ;
		return AGI_OK;
	}
	text = file_text_of(f, map, "op", &e);
	if (!text)
		return e;
	if (agi_rule_op_parse(agi_str_of(text), &out->op))
		return AGI_OK;
	return FAIL(f, file_child(map, "op")->line,
	            "op: \"%.40s\": expected == != > >= < <= (or eq ne gt ge lt le), within, outside, in, not_in, matches, "
	            "contains, starts_with or ends_with", text);
}

static enum agi_err read_test(struct file *f, const struct agi_yaml_node *map, struct agi_cond *out)
{
	static const char *const keys[] = {"field", "op", "value", NULL};
	enum agi_err e = file_check_keys(f, map, "condition", keys);
	const struct agi_yaml_node *value;
	struct agi_why reason;
	const char *field;

	*out = (struct agi_cond){.kind = AGI_COND_TEST};
	field = e ? NULL : file_text_of(f, map, "field", &e);
	if (!field)
		return e;
	out->field = agi_str_of(field);
	e = read_op(f, map, out);
	value = file_child(map, "value");
	if (!e && !value)
		return FAIL(f, map->line, "value: missing");
	if (!e)
		e = read_values(f, value, out);
	if (e)
		return e;
	e = agi_rule_test_check(out, &reason);
	return e ? file_fail_at(f, map->line, e, reason.text) : AGI_OK;
}

static enum agi_err read_group(struct file *f, const struct agi_yaml_node *list, unsigned depth, struct agi_cond *out);

static enum agi_err read_cond(struct file *f, const struct agi_yaml_node *map, unsigned depth, struct agi_cond *out)
{
	static const char *const keys[] = {"all", "any", NULL};

	if (map->kind != AGI_YAML_MAP || (!file_child(map, "all") && !file_child(map, "any")))
		return read_test(f, map, out);
	if (file_count(map) != 1)
		return FAIL(f, map->line, "expected all: or any: alone, beside other conditions as a list item of its own");
	if (file_check_keys(f, map, "condition", keys))
		return AGI_E_INVALID;
	return read_group(f, map->first, depth + 1, out);
}

/* The node of an all: or any: */
static enum agi_err read_group(struct file *f, const struct agi_yaml_node *list, unsigned depth, struct agi_cond *out)
{
	struct agi_cond *parts;
	enum agi_err e = AGI_OK;
	size_t i = 0;

	*out = (struct agi_cond){.kind = strcmp(list->key, "all") == 0 ? AGI_COND_ALL : AGI_COND_ANY};
	if (depth > AGI_RULE_GROUP_DEPTH)
		return FAIL(f, list->key_line, "%s: nested deeper than %d: an all of anys, or an any of alls, says the same",
		            list->key, AGI_RULE_GROUP_DEPTH);
	if (list->kind != AGI_YAML_LIST || !list->first)
		return FAIL(f, list->line, "%s: expected a list of conditions, each {field: …, op: …, value: …}", list->key);
	out->n_parts = file_count(list);
	parts = agi_pool_take(&f->pool, out->n_parts, sizeof *parts);
	for (const struct agi_yaml_node *n = list->first; n && parts && !e; n = n->next)
		e = read_cond(f, n, depth, &parts[i++]);
	out->parts = parts;
	return e ? e : f->pool.err;
}

/* --- rules --------------------------------------------------------------------------------------------------------- */
static enum agi_err read_priority(const struct file *f, const struct agi_yaml_node *map, uint32_t *out)
{
	enum agi_err e = AGI_OK;
	const char *text = file_text_of(f, map, "priority", &e);
	double v;

	if (!text)
		return e;
	if (!agi_number_parse(agi_str_of(text), &v) || v != floor(v) || v < 0 || v > AGI_RULE_PRIORITY_MAX)
		return FAIL(f, file_child(map, "priority")->line, "priority: \"%.40s\": expected a whole number, 0..%d", text,
		            AGI_RULE_PRIORITY_MAX);
	*out = (uint32_t)v;
	return AGI_OK;
}

static enum agi_err read_modifications(struct file *f, const struct agi_yaml_node *map, struct agi_rule *r)
{
	const struct agi_yaml_node *m = file_child(map, "modifications");
	struct agi_pair *pairs;
	size_t i = 0;

	if (!m)
		return AGI_OK;
	if (m->kind != AGI_YAML_MAP)
		return FAIL(f, m->line, "modifications: expected FIELD: VALUE pairs");
	r->n_modify = file_count(m);
	pairs = agi_pool_take(&f->pool, r->n_modify, sizeof *pairs);
	for (const struct agi_yaml_node *n = m->first; n && pairs; n = n->next) {
		if (n->kind != AGI_YAML_SCALAR)
			return FAIL(f, n->line, "modifications: %.60s: expected a single value", n->key);
		if (file_child(m, n->key) != n)
			return FAIL(f, n->key_line, "modifications: %.60s: given twice", n->key);
		pairs[i++] = (struct agi_pair){agi_str_of(n->key), agi_str_of(n->text)};
	}
	r->modify = pairs;
	return f->pool.err;
}

static enum agi_err read_conditions(struct file *f, const struct agi_yaml_node *map, struct agi_rule *r)
{
	const struct agi_yaml_node *all = file_child(map, "all"), *any = file_child(map, "any");

	if (!all == !any)
		return FAIL(f, map->line, "expected either all: or any: with a list of conditions");
	return read_group(f, all ? all : any, 1, &r->cond);
}

static enum agi_err read_choices(const struct file *f, const struct agi_yaml_node *map, struct agi_rule *r)
{
	static const char *const layers[] = {"reflex", "tactical", "strategic", NULL};
	static const char *const scopes[] = {"", "plan", "action", "both", NULL};
	static const char *const absents[] = {"violate", "skip", NULL};
	static const char *const actions[] = {"modify", "defer", "deny", NULL};
	static const char *const truths[] = {"false", "true", NULL};
	int layer, scope, absent, action, stop;
	enum agi_err e = choice_of(f, map, "layer", layers, -1, &layer);

	if (!e)
		e = choice_of(f, map, "applies_to", scopes + 1, agi_rule_scope_of(&r->cond) - 1, &scope);
	if (!e)
		e = choice_of(f, map, "when_absent", absents, 0, &absent);
	if (!e)
		e = choice_of(f, map, "action", actions, -1, &action);
	if (!e)
		e = choice_of(f, map, "stop", truths, 0, &stop);
	if (e)
		return e;
	r->layer = (enum agi_rule_layer)layer;
	r->scope = (enum agi_rule_scope)(scope + 1);
	r->skips_absent = absent;
	r->action = (enum agi_rule_action)action;
	r->is_stop = stop;
	return AGI_OK;
}

/* What errors call it, before anything else is read. */
static void name_rule(struct file *f, const struct agi_yaml_node *map, size_t number)
{
	const struct agi_yaml_node *id = map->kind == AGI_YAML_MAP ? file_child(map, "id") : NULL;
	struct agi_why name;

	if (id && id->kind == AGI_YAML_SCALAR && id->text[0])
		(void)agi_fail(&name, AGI_OK, "rule %.*s: ", AGI_RULE_ID_MAX, id->text);
	else
		(void)agi_fail(&name, AGI_OK, "rule number %zu: ", number);
	memcpy(f->id, name.text, strlen(name.text) + 1);
}

static enum agi_err read_rule(struct file *f, const struct agi_yaml_node *map)
{
	static const char *const keys[] = {"id",     "layer",  "priority", "applies_to", "when_absent",   "all", "any",
	                                   "action", "reason", "stop",     "modifications", NULL};
	enum agi_err e = file_check_keys(f, map, "rule", keys);
	struct agi_rule r = {.priority = 0};
	struct agi_why reason;

	if (e)
		return e;
	r.id = agi_str_of(file_text_of(f, map, "id", &e));
	if (!e)
		r.reason = agi_str_of(file_text_of(f, map, "reason", &e));
	if (!e)
		e = read_priority(f, map, &r.priority);
	if (!e)
		e = read_conditions(f, map, &r);
	if (!e)
		e = read_choices(f, map, &r);
	if (!e)
		e = read_modifications(f, map, &r);
	if (e == AGI_E_NOMEM || e == AGI_E_TOO_LARGE)
		return file_fail_at(f, map->line, e, agi_err_text(e));
	if (e)
		return e;
	e = agi_rules_add(f->rules, &r, &reason);
	return e ? file_fail_at(f, map->line, e, reason.text) : AGI_OK;
}

static enum agi_err read_rules(struct file *f, const struct agi_yaml_node *list)
{
	enum agi_err e = AGI_OK;
	size_t number = 0;

	if (list->kind != AGI_YAML_LIST || !list->first)
		return FAIL(f, list->line, "rules: expected a list of at least one rule");
	for (const struct agi_yaml_node *n = list->first; n && !e; n = n->next) {
		name_rule(f, n, ++number);
		agi_pool_init(&f->pool, 0);
		e = read_rule(f, n);
		agi_pool_free(&f->pool);
	}
	f->id[0] = '\0';
	return e;
}

static enum agi_err read_root(struct file *f, const struct agi_yaml_node *root)
{
	static const char *const keys[] = {"version", "rules", NULL};
	static const char *const versions[] = {"1", NULL};
	enum agi_err e = file_check_keys(f, root, "rule file", keys);
	int version;

	if (!e)
		e = choice_of(f, root, "version", versions, -1, &version);
	if (!e && !file_child(root, "rules"))
		e = FAIL(f, root->line, "rules: missing");
	return e ? e : read_rules(f, file_child(root, "rules"));
}

/* --- files --------------------------------------------------------------------------------------------------------- */
enum agi_err agi_rule_file_parse(const char *name, struct agi_str text, struct agi_rules **out, struct agi_why *why)
{
	struct file f = {.name = name, .why = why};
	struct agi_yaml_node *root = NULL;
	enum agi_err e = agi_yaml_parse(name, text, &root, why);

	if (e)
		return e;
	if (!root)
		return agi_fail(why, AGI_E_INVALID, "%s: empty: expected version: 1 and rules:", name);
	e = agi_rules_new(&f.rules);
	if (e)
		agi_fail(why, e, "%s: %s", name, agi_err_text(e));
	else
		e = read_root(&f, root);
	if (!e && (e = agi_rules_seal(f.rules)))
		agi_fail(why, e, "%s: %s", name, agi_err_text(e));
	agi_yaml_free(root);
	if (e)
		agi_rules_free(f.rules);
	else
		*out = f.rules;
	return e;
}

enum agi_err agi_rule_file_load(const char *path, struct agi_rules **out, struct agi_why *why)
{
	struct agi_buf text;
	enum agi_err e = agi_config_read_file(path, &text, why);

	if (!e)
		e = agi_rule_file_parse(path, agi_buf_str(&text), out, why);
	agi_buf_free(&text);
	return e;
}

enum agi_err agi_rule_file_of(const struct agi_config *c, struct agi_rules **out, struct agi_why *why)
{
	struct agi_why reason;
	enum agi_err e;

	*out = NULL;
	if (!c->safety.rule_file[0])
		return AGI_OK;
	e = agi_rule_file_load(c->safety.rule_file, out, &reason);
	return e ? agi_fail(why, e, "safety.rule_file: %s", reason.text) : AGI_OK;
}

enum agi_err agi_rule_file_check(const struct agi_config *c, struct agi_why *why)
{
	struct agi_rules *rules;
	enum agi_err e = agi_rule_file_of(c, &rules, why);

	agi_rules_free(rules);
	return e;
}
