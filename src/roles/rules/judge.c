/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "base/number.h"
#include "roles/rules/impl.h"

/* --- finding a value ------------------------------------------------------------------------------------------- */
enum found { FOUND_NOTHING, FOUND_NUMBER, FOUND_TEXT, FOUND_TAGS };
struct found_value {
	enum found what;
	double number;
	struct agi_str text;
};

static struct found_value no_value(void) { return (struct found_value){.what = FOUND_NOTHING}; }

static struct found_value text_value(struct agi_str s) { return (struct found_value){.what = FOUND_TEXT, .text = s}; }

static struct found_value number_value(double v) { return (struct found_value){.what = FOUND_NUMBER, .number = v}; }

static struct found_value param(const struct agi_plan_step *step, struct agi_str name)
{
	for (size_t i = 0; step && i < step->n_params; i++)
		if (agi_str_eq(step->params[i].key, name))
			return text_value(step->params[i].value);
	return no_value();
}

static struct found_value reading(const struct agi_rule_subject *s, struct agi_str name)
{
	for (size_t i = 0; i < s->n_readings; i++)
		if (agi_str_eq(s->readings[i].sensor, name))
			return number_value((double)s->readings[i].value);
	return no_value();
}

/* What a step says of sensors is worth nothing while it is carried out: then the sensors are asked. */
static struct found_value measured(const struct agi_rule_subject *s, const struct rule_field *f)
{
	return s->scope == AGI_RULE_OF_ACTIONS ? reading(s, f->name) : param(s->step, f->full);
}

static struct found_value look_up(const struct agi_rule_subject *s, const struct rule_field *f)
{
	const struct agi_plan_step *step = s->step;

	if (f->source == SOURCE_METRIC || f->source == SOURCE_SIGNAL)
		return measured(s, f);
	if (!step)
		return no_value();
	switch (f->source) {
	case SOURCE_TOOL_ID:
		return text_value(step->tool_id);
	case SOURCE_STEP_ID:
		return text_value(step->step_id);
	case SOURCE_KIND:
		return text_value(step->kind);
	case SOURCE_DESCRIPTION:
		return text_value(step->description);
	case SOURCE_PARENT_ID:
		return text_value(step->parent_id);
	case SOURCE_LEVEL:
		return number_value(step->level);
	case SOURCE_INDEX:
		return number_value(step->index);
	case SOURCE_SIMULATION:
		return number_value(step->requires_simulation);
	case SOURCE_TAGS:
		return (struct found_value){.what = step->n_tags ? FOUND_TAGS : FOUND_NOTHING};
	case SOURCE_TAG:
		return f->at < step->n_tags ? text_value(step->tags[f->at]) : no_value();
	default:
		return param(step, f->name);
	}
}

/* --- comparing --------------------------------------------------------------------------------------------------- */
static bool equals_folded(struct agi_str s, const char *word)
{
	size_t n = strlen(word);

	if (s.n != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if ((s.p[i] | 32) != word[i])
			return false;
	return true;
}

/* Params are text on the wire: "50" is a number where a number is asked for, "true" and "False" are truths. */
static bool as_number(const struct found_value *v, double *out)
{
	if (v->what == FOUND_NUMBER && isfinite(v->number)) {
		*out = v->number;
		return true;
	}
	return v->what == FOUND_TEXT && agi_number_parse(v->text, out);
}

static bool as_truth(const struct found_value *v, double *out)
{
	if (v->what == FOUND_TEXT && (equals_folded(v->text, "true") || equals_folded(v->text, "false")))
		*out = v->text.n == 4;
	else if (v->what == FOUND_NUMBER && (v->number == 0.0 || v->number == 1.0))
		*out = v->number;
	else
		return false;
	return true;
}

/* -1: they cannot be compared; else whether they are equal. */
static int compare(const struct found_value *v, const struct agi_rule_value *with)
{
	double number;

	if (with->kind == AGI_VALUE_TEXT)
		return v->what == FOUND_TEXT ? agi_str_eq(v->text, with->text) : -1;
	if (with->kind == AGI_VALUE_TRUTH ? !as_truth(v, &number) : !as_number(v, &number))
		return -1;
	return number == with->number;
}

/* All values are of one kind, so one that cannot be compared stands for all. */
static bool is_member(const struct found_value *v, const struct rule_node *t, bool wanted)
{
	for (size_t i = 0; i < t->n_values; i++) {
		int equal = compare(v, &t->values[i]);

		if (equal < 0)
			return false;
		if (equal)
			return wanted;
	}
	return !wanted;
}

static bool in_order(const struct found_value *v, const struct rule_node *t)
{
	double number, a = t->values[0].number;

	if (!as_number(v, &number))
		return false;
	switch (t->op) {
	case AGI_OP_GT:
		return number > a;
	case AGI_OP_GE:
		return number >= a;
	case AGI_OP_LT:
		return number < a;
	case AGI_OP_LE:
		return number <= a;
	case AGI_OP_WITHIN:
		return number >= a && number <= t->values[1].number;
	default:
		return number < a || number > t->values[1].number;
	}
}

static bool contains(struct agi_str s, struct agi_str part)
{
	return part.n == 0 || (s.n >= part.n && memmem(s.p, s.n, part.p, part.n));
}

static bool is_text_like(const struct found_value *v, const struct rule_node *t)
{
	struct agi_str s = v->text, part;

	if (v->what != FOUND_TEXT)
		return false;
	part = t->values[0].text;
	switch (t->op) {
	case AGI_OP_MATCHES:
		return agi_pattern_matches(t->pattern, s);
	case AGI_OP_CONTAINS:
		return contains(s, part);
	case AGI_OP_STARTS_WITH:
		return agi_str_has_prefix(s, part);
	default:
		return s.n >= part.n && memcmp(s.p + s.n - part.n, part.p, part.n) == 0;
	}
}

static bool has_tag(const struct agi_plan_step *step, struct agi_str tag)
{
	for (size_t i = 0; i < step->n_tags; i++)
		if (agi_str_eq(step->tags[i], tag))
			return true;
	return false;
}

static bool test_holds(const struct found_value *v, const struct rule_node *t, const struct agi_rule_subject *s)
{
	if (v->what == FOUND_NOTHING)
		return false;
	if (v->what == FOUND_TAGS) /* the only operator that is let through for them */
		return has_tag(s->step, t->values[0].text);
	switch (t->op) {
	case AGI_OP_EQ:
	case AGI_OP_IN:
		return is_member(v, t, true);
	case AGI_OP_NE:
	case AGI_OP_NOT_IN:
		return is_member(v, t, false);
	case AGI_OP_MATCHES:
	case AGI_OP_CONTAINS:
	case AGI_OP_STARTS_WITH:
	case AGI_OP_ENDS_WITH:
		return is_text_like(v, t);
	default:
		return in_order(v, t);
	}
}

/* --- rules ------------------------------------------------------------------------------------------------------- */
/* What an evaluation has seen, for the reason. */
struct seen {
	bool is_any_there;
	const struct rule_node *failed; /* the first test that did not hold */
	bool is_missing;                /* because there was no value */
};

static bool holds(const struct rule_node *n, const struct agi_rule_subject *s, struct seen *seen)
{
	bool is_all = n->kind == AGI_COND_ALL, result = is_all;

	if (n->kind == AGI_COND_TEST) {
		struct found_value v = look_up(s, &n->field);
		bool is_good = test_holds(&v, n, s);

		seen->is_any_there |= v.what != FOUND_NOTHING;
		if (!is_good && !seen->failed) {
			seen->failed = n;
			seen->is_missing = v.what == FOUND_NOTHING;
		}
		return is_good;
	}
	/* Every part is looked at: whether a field is there may be asked of any. */
	for (size_t i = 0; i < n->n_parts; i++)
		result = holds(&n->parts[i], s, seen) ? result || !is_all : result && !is_all;
	return result;
}

static void explain(const struct rule_entry *e, const struct seen *seen, struct agi_pool *pool, struct agi_strs *to)
{
	const struct agi_rule *r = &e->rule;
	const struct agi_str parts[] = {AGI_STR("rule:"), r->id, AGI_STR(": "), r->reason,
	                                seen->is_missing ? AGI_STR("; missing: ") : AGI_STR(""),
	                                seen->is_missing ? seen->failed->field.full : AGI_STR("")};

	agi_strs_add(to, pool, agi_pool_concat(pool, parts, sizeof parts / sizeof *parts));
}

static void tell_modifications(const struct agi_rule *r, struct agi_pool *pool, struct agi_strs *to)
{
	for (size_t i = 0; i < r->n_modify; i++) {
		const struct agi_str parts[] = {AGI_STR("rule:"), r->id, AGI_STR(": set "), r->modify[i].key,
		                                AGI_STR(" to "), r->modify[i].value};

		agi_strs_add(to, pool, agi_pool_concat(pool, parts, sizeof parts / sizeof *parts));
	}
}

static enum agi_decision decision_of(enum agi_rule_action a)
{
	return a == AGI_RULE_MODIFY ? AGI_DECISION_REVISE
	       : a == AGI_RULE_DEFER ? AGI_DECISION_DEFER : AGI_DECISION_BLOCK;
}

void agi_rules_judge(const struct agi_rules *s, const struct agi_rule_subject *subject, struct agi_pool *pool,
                     struct agi_rule_finding *out)
{
	bool is_modified = false;

	*out = (struct agi_rule_finding){.decision = AGI_DECISION_ALLOW};
	for (size_t i = 0; i < s->n; i++) {
		const struct rule_entry *e = &s->entries[i];
		struct seen seen = {false, NULL, false};

		if (!(e->rule.scope & subject->scope) || holds(&e->node, subject, &seen))
			continue;
		if (e->rule.skips_absent && !seen.is_any_there)
			continue;
		out->decision = agi_decision_stricter(out->decision, decision_of(e->rule.action));
		out->risk = e->risk > out->risk ? e->risk : out->risk;
		explain(e, &seen, pool, &out->reasons);
		if (e->rule.action == AGI_RULE_DENY) {
			out->is_stop = e->rule.is_stop;
			return;
		}
		if (e->rule.action == AGI_RULE_MODIFY && !is_modified) {
			tell_modifications(&e->rule, pool, &out->reasons);
			is_modified = true;
		}
	}
}
