/* SPDX-License-Identifier: Apache-2.0
 * What a set of rules is made of. Private to src/roles/rules. */
#ifndef AGI_ROLES_RULES_IMPL_H
#define AGI_ROLES_RULES_IMPL_H

#include "roles/rules/pattern.h"
#include "roles/rules/rules.h"

/* Where a field's value is found. */
enum rule_source {
	SOURCE_NONE,
	SOURCE_TOOL_ID,
	SOURCE_STEP_ID,
	SOURCE_KIND,
	SOURCE_DESCRIPTION,
	SOURCE_PARENT_ID,
	SOURCE_LEVEL,
	SOURCE_INDEX,
	SOURCE_SIMULATION,
	SOURCE_TAGS,
	SOURCE_TAG,    /* tags.N */
	SOURCE_PARAM,
	SOURCE_METRIC,
	SOURCE_SIGNAL
};
struct rule_field {
	enum rule_source source;
	size_t at;           /* TAG */
	struct agi_str name; /* PARAM, SIGNAL: without the prefix; METRIC: the whole, as readings and params have it */
	struct agi_str full;
};
/* NONE: there is no such field. */
struct rule_field rule_field_of(struct agi_str path);

/* A condition as it is evaluated. */
struct rule_node {
	enum agi_cond_kind kind;
	enum agi_rule_op op;
	struct rule_field field;
	const struct agi_rule_value *values;
	size_t n_values;
	const struct agi_pattern *pattern;
	const struct rule_node *parts;
	size_t n_parts;
};

struct rule_entry {
	struct agi_rule rule; /* strings, values and parts are the set's own */
	struct rule_node node;
	size_t order;
	double risk;
};

struct agi_rules {
	struct agi_pool pool;
	struct rule_entry *entries; /* sealed: in the order of evaluation */
	size_t n, cap, n_tests, n_patterns;
	bool is_sealed;
	uint8_t hash[32];
};

#endif
