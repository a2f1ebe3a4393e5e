/* SPDX-License-Identifier: Apache-2.0
 * Rules checked, copied, brought in order. */
#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/hash.h"
#include "roles/rules/impl.h"

enum { SET_VERSION = 1 };

static const char *const layer_names[AGI_LAYERS] = {"reflex", "tactical", "strategic"};

static const struct {
	const char *name, *word;
} ops[AGI_OPS] = {
    [AGI_OP_EQ] = {"==", "eq"},
    [AGI_OP_NE] = {"!=", "ne"},
    [AGI_OP_GT] = {">", "gt"},
    [AGI_OP_GE] = {">=", "ge"},
    [AGI_OP_LT] = {"<", "lt"},
    [AGI_OP_LE] = {"<=", "le"},
    [AGI_OP_WITHIN] = {"within", "within"},
    [AGI_OP_OUTSIDE] = {"outside", "outside"},
    [AGI_OP_IN] = {"in", "in"},
    [AGI_OP_NOT_IN] = {"not_in", "not_in"},
    [AGI_OP_MATCHES] = {"matches", "matches"},
    [AGI_OP_CONTAINS] = {"contains", "contains"},
    [AGI_OP_STARTS_WITH] = {"starts_with", "starts_with"},
    [AGI_OP_ENDS_WITH] = {"ends_with", "ends_with"},
};

bool agi_rule_op_parse(struct agi_str name, enum agi_rule_op *out)
{
	for (size_t i = 0; i < AGI_OPS; i++)
		if (agi_str_eq(name, agi_str_of(ops[i].name)) || agi_str_eq(name, agi_str_of(ops[i].word))) {
			*out = (enum agi_rule_op)i;
			return true;
		}
	return false;
}

const char *agi_rule_op_name(enum agi_rule_op op) { return (unsigned)op < AGI_OPS ? ops[op].name : "?"; }

/* --- fields ------------------------------------------------------------------------------------------------------ */
static bool tag_number(struct agi_str s, size_t *out)
{
	size_t v = 0;

	if (s.n == 0 || s.n > 4)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (size_t)(s.p[i] - '0');
	}
	*out = v;
	return true;
}

struct rule_field rule_field_of(struct agi_str path)
{
	static const struct {
		struct agi_str name;
		enum rule_source source;
	} known[] = {
	    {AGI_STR("tool_id"), SOURCE_TOOL_ID},         {AGI_STR("step_id"), SOURCE_STEP_ID},
	    {AGI_STR("kind"), SOURCE_KIND},               {AGI_STR("description"), SOURCE_DESCRIPTION},
	    {AGI_STR("parent_id"), SOURCE_PARENT_ID},     {AGI_STR("level"), SOURCE_LEVEL},
	    {AGI_STR("index"), SOURCE_INDEX},             {AGI_STR("requires_simulation"), SOURCE_SIMULATION},
	    {AGI_STR("tags"), SOURCE_TAGS},
	}, prefixes[] = {
	    {AGI_STR("parameters."), SOURCE_PARAM},       {AGI_STR("metrics."), SOURCE_METRIC},
	    {AGI_STR("signals."), SOURCE_SIGNAL},         {AGI_STR("tags."), SOURCE_TAG},
	};
	struct rule_field f = {.full = path};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (agi_str_eq(path, known[i].name))
			f.source = known[i].source;
	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
		struct agi_str p = prefixes[i].name;

		if (path.n <= p.n || !agi_str_has_prefix(path, p))
			continue;
		f.source = prefixes[i].source;
		f.name = (struct agi_str){path.p + p.n, path.n - p.n};
	}
	if (f.source == SOURCE_METRIC)
		f.name = path;
	if (f.source == SOURCE_TAG && !tag_number(f.name, &f.at))
		f.source = SOURCE_NONE;
	return f;
}

/* --- tests ------------------------------------------------------------------------------------------------------- */
static enum agi_err check_values(const struct agi_cond *t, struct agi_why *why)
{
	bool is_list = t->op == AGI_OP_IN || t->op == AGI_OP_NOT_IN;
	bool is_range = t->op == AGI_OP_WITHIN || t->op == AGI_OP_OUTSIDE;

	if (is_list && (t->n_values < 1 || t->n_values > AGI_RULE_VALUES_MAX))
		return agi_fail(why, AGI_E_INVALID, "value: %zu values for %s: expected a list of 1..%d", t->n_values,
		                agi_rule_op_name(t->op), AGI_RULE_VALUES_MAX);
	if (!is_list && t->n_values != (is_range ? 2 : 1))
		return agi_fail(why, AGI_E_INVALID, "value: %zu values for %s: expected %s", t->n_values,
		                agi_rule_op_name(t->op), is_range ? "two, [LOW, HIGH]" : "one");
	for (size_t i = 0; i < t->n_values; i++) {
		const struct agi_rule_value *v = &t->values[i];

		if ((unsigned)v->kind > AGI_VALUE_TEXT || v->kind != t->values[0].kind)
			return agi_fail(why, AGI_E_INVALID, "value: values of different kinds: expected only numbers, only "
			                                    "true and false, or only texts");
		if (v->kind != AGI_VALUE_TEXT ? !isfinite(v->number) : v->text.n > AGI_RULE_TEXT_MAX)
			return agi_fail(why, AGI_E_INVALID, v->kind == AGI_VALUE_TEXT
			                    ? "value: a text of more than %d bytes"
			                    : "value: expected a finite number, or a text of at most %d bytes",
			                AGI_RULE_TEXT_MAX);
	}
	return AGI_OK;
}

static enum agi_err check_kind(const struct agi_cond *t, struct agi_why *why)
{
	enum agi_rule_kind kind = t->values[0].kind;
	struct agi_pattern pattern;

	switch (t->op) {
	case AGI_OP_EQ:
	case AGI_OP_NE:
	case AGI_OP_IN:
	case AGI_OP_NOT_IN:
		return AGI_OK;
	case AGI_OP_MATCHES:
	case AGI_OP_CONTAINS:
	case AGI_OP_STARTS_WITH:
	case AGI_OP_ENDS_WITH:
		if (kind != AGI_VALUE_TEXT || t->values[0].text.n == 0)
			return agi_fail(why, AGI_E_INVALID, "value: %s takes a text, in quotes if it looks like something else",
			                agi_rule_op_name(t->op));
		return t->op == AGI_OP_MATCHES ? agi_pattern_compile(&pattern, t->values[0].text, why) : AGI_OK;
	default:
		if (kind != AGI_VALUE_NUMBER)
			return agi_fail(why, AGI_E_INVALID, "value: %s takes a number%s", agi_rule_op_name(t->op),
			                t->n_values == 2 ? " at both ends" : "");
		if (t->n_values == 2 && !(t->values[0].number <= t->values[1].number))
			return agi_fail(why, AGI_E_INVALID, "value: [%g, %g]: expected [LOW, HIGH]", t->values[0].number,
			                t->values[1].number);
		return AGI_OK;
	}
}

/* A test that no value could ever pass, or that asks a number for its letters, is a slip of the pen. */
static enum agi_err check_field(const struct agi_cond *t, struct agi_why *why)
{
	struct rule_field f = rule_field_of(t->field);
	bool is_number = f.source == SOURCE_METRIC || f.source == SOURCE_SIGNAL || f.source == SOURCE_LEVEL ||
	                 f.source == SOURCE_INDEX || f.source == SOURCE_SIMULATION;

	if (t->field.n > AGI_RULE_TEXT_MAX || f.source == SOURCE_NONE)
		return agi_fail(why, AGI_E_INVALID,
		                "field: \"%.*s\": expected parameters.NAME, metrics.NAME, signals.NAME, tool_id, step_id, "
		                "kind, description, parent_id, level, index, requires_simulation, tags or tags.NUMBER",
		                t->field.n > 80 ? 80 : (int)t->field.n, t->field.p ? t->field.p : "");
	if (f.source == SOURCE_TAGS && t->op != AGI_OP_CONTAINS)
		return agi_fail(why, AGI_E_INVALID, "op: %s of tags: expected contains, or tags.0 for the first of them",
		                agi_rule_op_name(t->op));
	if (is_number && t->values[0].kind == AGI_VALUE_TEXT)
		return agi_fail(why, AGI_E_INVALID, "value: %.*s is a number: expected a number, true or false",
		                AGI_STR_ARG(t->field));
	return AGI_OK;
}

enum agi_err agi_rule_test_check(const struct agi_cond *t, struct agi_why *why)
{
	enum agi_err e;

	if ((unsigned)t->op >= AGI_OPS)
		return agi_fail(why, AGI_E_INVALID, "op: there is no operator %d", (int)t->op);
	e = check_values(t, why);
	if (!e)
		e = check_field(t, why);
	return e ? e : check_kind(t, why);
}

enum agi_rule_scope agi_rule_scope_of(const struct agi_cond *c)
{
	enum rule_source source;

	for (size_t i = 0; c->kind != AGI_COND_TEST && i < c->n_parts; i++)
		if (agi_rule_scope_of(&c->parts[i]) == AGI_RULE_OF_ACTIONS)
			return AGI_RULE_OF_ACTIONS;
	if (c->kind != AGI_COND_TEST)
		return AGI_RULE_OF_BOTH;
	source = rule_field_of(c->field).source;
	return source == SOURCE_METRIC || source == SOURCE_SIGNAL ? AGI_RULE_OF_ACTIONS : AGI_RULE_OF_BOTH;
}

/* --- rules ------------------------------------------------------------------------------------------------------- */
struct sizes {
	size_t tests, patterns;
};

static enum agi_err check_cond(const struct agi_cond *c, unsigned depth, struct sizes *sizes, struct agi_why *why)
{
	enum agi_err e = AGI_OK;

	if (c->kind == AGI_COND_TEST) {
		sizes->tests++;
		sizes->patterns += c->op == AGI_OP_MATCHES;
		return agi_rule_test_check(c, why);
	}
	if (depth == AGI_RULE_GROUP_DEPTH)
		return agi_fail(why, AGI_E_INVALID, "all or any nested deeper than %d: an all of anys, or an any of alls, "
		                                    "says the same", AGI_RULE_GROUP_DEPTH);
	if (c->n_parts == 0 || c->n_parts > AGI_RULE_TESTS_MAX)
		return agi_fail(why, AGI_E_INVALID, "%s: %zu conditions: expected 1..%d", c->kind == AGI_COND_ALL ? "all" : "any",
		                c->n_parts, AGI_RULE_TESTS_MAX);
	for (size_t i = 0; i < c->n_parts && !e; i++)
		e = check_cond(&c->parts[i], depth + 1, sizes, why);
	return e;
}

static bool is_good_id(struct agi_str id)
{
	for (size_t i = 0; i < id.n; i++) {
		char c = id.p[i], small = (char)(c | 32);

		if (!(small >= 'a' && small <= 'z') && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-')
			return false;
	}
	return id.n >= 1 && id.n <= AGI_RULE_ID_MAX;
}

static bool is_good_text(struct agi_str s)
{
	return s.n >= 1 && s.n <= AGI_RULE_TEXT_MAX && agi_utf8_is_valid(s);
}

static enum agi_err check_action(const struct agi_rule *r, struct agi_why *why)
{
	if ((unsigned)r->action >= AGI_RULE_ACTIONS)
		return agi_fail(why, AGI_E_INVALID, "action: expected deny, defer or modify");
	if (r->is_stop && (r->action != AGI_RULE_DENY || !(r->scope & AGI_RULE_OF_ACTIONS)))
		return agi_fail(why, AGI_E_INVALID, "stop: only for a rule that denies, and that applies to actions");
	if ((r->action == AGI_RULE_MODIFY) != (r->n_modify > 0) || r->n_modify > AGI_RULE_MODIFY_MAX)
		return agi_fail(why, AGI_E_INVALID, "modifications: expected 1..%d of them with action modify, none otherwise",
		                AGI_RULE_MODIFY_MAX);
	for (size_t i = 0; i < r->n_modify; i++)
		if (!is_good_text(r->modify[i].key) || !is_good_text(r->modify[i].value))
			return agi_fail(why, AGI_E_INVALID, "modifications: expected FIELD: VALUE, each 1..%d bytes",
			                AGI_RULE_TEXT_MAX);
	return AGI_OK;
}

static enum agi_err check_rule(const struct agi_rules *s, const struct agi_rule *r, struct sizes *sizes,
                               struct agi_why *why)
{
	enum agi_err e;

	if (!is_good_id(r->id))
		return agi_fail(why, AGI_E_INVALID, "id: expected 1..%d letters, digits and . _ -", AGI_RULE_ID_MAX);
	for (size_t i = 0; i < s->n; i++)
		if (agi_str_eq(s->entries[i].rule.id, r->id))
			return agi_fail(why, AGI_E_INVALID, "id: there is a rule %.*s before this one", AGI_STR_ARG(r->id));
	if ((unsigned)r->layer >= AGI_LAYERS)
		return agi_fail(why, AGI_E_INVALID, "layer: expected %s, %s or %s", layer_names[0], layer_names[1],
		                layer_names[2]);
	if (r->priority > AGI_RULE_PRIORITY_MAX)
		return agi_fail(why, AGI_E_INVALID, "priority: expected 0..%d", AGI_RULE_PRIORITY_MAX);
	if (r->scope < AGI_RULE_OF_PLANS || r->scope > AGI_RULE_OF_BOTH)
		return agi_fail(why, AGI_E_INVALID, "applies_to: expected plan, action or both");
	if (!is_good_text(r->reason))
		return agi_fail(why, AGI_E_INVALID, "reason: expected a text of 1..%d bytes", AGI_RULE_TEXT_MAX);
	if (r->cond.kind == AGI_COND_TEST)
		return agi_fail(why, AGI_E_INVALID, "expected all: or any: with a list of conditions");
	e = check_cond(&r->cond, 0, sizes, why);
	return e ? e : check_action(r, why);
}

/* --- copies ------------------------------------------------------------------------------------------------------ */
static const struct agi_rule_value *copy_values(struct agi_pool *pool, const struct agi_cond *c)
{
	struct agi_rule_value *v = agi_pool_take(pool, c->n_values, sizeof *v);

	for (size_t i = 0; v && i < c->n_values; i++) {
		v[i] = c->values[i];
		v[i].text = agi_pool_copy(pool, v[i].text);
	}
	return v;
}

static void copy_cond(struct agi_pool *pool, struct agi_cond *to, const struct agi_cond *from)
{
	struct agi_cond *parts;

	*to = *from;
	if (from->kind == AGI_COND_TEST) {
		to->field = agi_pool_copy(pool, from->field);
		to->values = copy_values(pool, from);
		return;
	}
	parts = agi_pool_take(pool, from->n_parts, sizeof *parts);
	for (size_t i = 0; parts && i < from->n_parts; i++)
		copy_cond(pool, &parts[i], &from->parts[i]);
	to->parts = parts;
}

static void make_node(struct agi_pool *pool, struct rule_node *n, const struct agi_cond *c)
{
	struct agi_pattern *pattern;
	struct rule_node *parts;

	*n = (struct rule_node){.kind = c->kind, .op = c->op, .values = c->values, .n_values = c->n_values};
	if (pool->err)
		return;
	if (c->kind != AGI_COND_TEST) {
		parts = agi_pool_take(pool, c->n_parts, sizeof *parts);
		for (size_t i = 0; parts && i < c->n_parts; i++)
			make_node(pool, &parts[i], &c->parts[i]);
		n->parts = parts;
		n->n_parts = c->n_parts;
		return;
	}
	n->field = rule_field_of(c->field);
	if (c->op != AGI_OP_MATCHES)
		return;
	pattern = agi_pool_take(pool, 1, sizeof *pattern);
	if (pattern && agi_pattern_compile(pattern, c->values[0].text, NULL)) /* it was checked */
		pool->err = AGI_E_INVALID;
	n->pattern = pattern;
}

static void copy_rule(struct agi_pool *pool, struct rule_entry *e, const struct agi_rule *r)
{
	struct agi_pair *modify = agi_pool_take(pool, r->n_modify, sizeof *modify);

	e->rule = *r;
	e->rule.id = agi_pool_copy(pool, r->id);
	e->rule.reason = agi_pool_copy(pool, r->reason);
	for (size_t i = 0; modify && i < r->n_modify; i++) {
		modify[i].key = agi_pool_copy(pool, r->modify[i].key);
		modify[i].value = agi_pool_copy(pool, r->modify[i].value);
	}
	e->rule.modify = modify;
	copy_cond(pool, &e->rule.cond, &r->cond);
	make_node(pool, &e->node, &e->rule.cond);
	e->risk = agi_rule_risk(r->layer, r->action, r->priority);
}

double agi_rule_risk(enum agi_rule_layer layer, enum agi_rule_action action, uint32_t priority)
{
	static const double of_layer[AGI_LAYERS] = {1.0, 0.7, 0.5};
	static const double of_action[AGI_RULE_ACTIONS] = {
	    [AGI_RULE_MODIFY] = 0.3, [AGI_RULE_DEFER] = 0.6, [AGI_RULE_DENY] = 1.0};
	double share = priority < 1000 ? priority / 1000.0 : 1.0;
	double risk = 0.4 * of_layer[layer] + 0.4 * of_action[action] + 0.2 * share;

	return risk < 1.0 ? risk : 1.0;
}

/* --- life ---------------------------------------------------------------------------------------------------------- */
enum agi_err agi_rules_new(struct agi_rules **out)
{
	struct agi_rules *s = calloc(1, sizeof *s);

	if (!s)
		return AGI_E_NOMEM;
	agi_pool_init(&s->pool, 0);
	*out = s;
	return AGI_OK;
}

void agi_rules_free(struct agi_rules *s)
{
	if (!s)
		return;
	agi_pool_free(&s->pool);
	free(s->entries);
	free(s);
}

static enum agi_err make_room(struct agi_rules *s)
{
	size_t cap = s->cap ? 2 * s->cap : 16;
	struct rule_entry *more;

	if (s->n < s->cap)
		return AGI_OK;
	more = reallocarray(s->entries, cap, sizeof *more);
	if (!more)
		return AGI_E_NOMEM;
	s->entries = more;
	s->cap = cap;
	return AGI_OK;
}

enum agi_err agi_rules_add(struct agi_rules *s, const struct agi_rule *rule, struct agi_why *why)
{
	struct sizes sizes = {s->n_tests, s->n_patterns};
	enum agi_err e = check_rule(s, rule, &sizes, why);

	if (e)
		return e;
	if (s->is_sealed || s->n == AGI_RULES_MAX)
		return agi_fail(why, AGI_E_FULL, "more than %d rules", AGI_RULES_MAX);
	if (sizes.tests > AGI_RULE_TESTS_MAX || sizes.patterns > AGI_RULE_PATTERNS_MAX)
		return agi_fail(why, AGI_E_FULL, "more than %d conditions or %d patterns in all rules together",
		                AGI_RULE_TESTS_MAX, AGI_RULE_PATTERNS_MAX);
	e = make_room(s);
	if (!e) {
		s->entries[s->n] = (struct rule_entry){.order = s->n};
		copy_rule(&s->pool, &s->entries[s->n], rule);
		e = s->pool.err;
	}
	if (e)
		return agi_fail(why, e, "%s", agi_err_text(e));
	s->n++;
	s->n_tests = sizes.tests;
	s->n_patterns = sizes.patterns;
	return AGI_OK;
}

/* --- order, hash --------------------------------------------------------------------------------------------------- */
static int by_order(const void *x, const void *y)
{
	const struct rule_entry *a = x, *b = y;

	if (a->rule.layer != b->rule.layer)
		return a->rule.layer < b->rule.layer ? -1 : 1;
	if (a->rule.priority != b->rule.priority)
		return a->rule.priority > b->rule.priority ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

static void put_cond(struct agi_buf *b, const struct agi_cond *c)
{
	agi_buf_u8(b, (uint8_t)c->kind);
	if (c->kind == AGI_COND_TEST) {
		agi_buf_blob(b, c->field);
		agi_buf_u8(b, (uint8_t)c->op);
		agi_buf_u32(b, (uint32_t)c->n_values);
		for (size_t i = 0; i < c->n_values; i++) {
			agi_buf_u8(b, (uint8_t)c->values[i].kind);
			agi_buf_f64(b, c->values[i].number);
			agi_buf_blob(b, c->values[i].text);
		}
		return;
	}
	agi_buf_u32(b, (uint32_t)c->n_parts);
	for (size_t i = 0; i < c->n_parts; i++)
		put_cond(b, &c->parts[i]);
}

static void put_rule(struct agi_buf *b, const struct agi_rule *r)
{
	agi_buf_blob(b, r->id);
	agi_buf_u8(b, (uint8_t)r->layer);
	agi_buf_u32(b, r->priority);
	agi_buf_u8(b, (uint8_t)r->scope);
	agi_buf_u8(b, r->skips_absent);
	agi_buf_u8(b, (uint8_t)r->action);
	agi_buf_u8(b, r->is_stop);
	agi_buf_blob(b, r->reason);
	agi_buf_u32(b, (uint32_t)r->n_modify);
	for (size_t i = 0; i < r->n_modify; i++) {
		agi_buf_blob(b, r->modify[i].key);
		agi_buf_blob(b, r->modify[i].value);
	}
	put_cond(b, &r->cond);
}

enum agi_err agi_rules_seal(struct agi_rules *s)
{
	struct agi_buf b;
	enum agi_err e;

	if (s->n)
		qsort(s->entries, s->n, sizeof *s->entries, by_order);
	agi_buf_init(&b, 0);
	agi_buf_u8(&b, SET_VERSION);
	agi_buf_u32(&b, (uint32_t)s->n);
	for (size_t i = 0; i < s->n; i++)
		put_rule(&b, &s->entries[i].rule);
	e = b.err;
	if (!e)
		agi_blake2b_256(s->hash, &(struct agi_str){(const char *)b.p, b.n}, 1);
	agi_buf_free(&b);
	s->is_sealed = !e;
	return e;
}

size_t agi_rules_count(const struct agi_rules *s) { return s->n; }

const struct agi_rule *agi_rules_at(const struct agi_rules *s, size_t i) { return &s->entries[i].rule; }

const uint8_t *agi_rules_hash(const struct agi_rules *s) { return s->hash; }
