/* SPDX-License-Identifier: Apache-2.0
 * Rules that an operator writes: what must hold of a plan's step, or of an action and its sensor readings, and what
 * follows where it does not. agihpc-rules(5) is the page for operators; src/rulefile reads the file. Pure: one set may be
 * used by several threads once it is sealed.
 *
 *   agi_rules_new → agi_rules_add … → agi_rules_seal → agi_rules_judge … → agi_rules_free
 *
 * Rules are taken layer by layer (reflex, tactical, strategic), in a layer by priority, high first, equal ones as they
 * were added. What does not hold is a violation. The first that denies ends the evaluation; else defer is stricter than
 * modify. Only the first rule that modifies says how. The risk is the largest of the violations',
 * min(1, 0.4 * layer + 0.4 * action + 0.2 * min(1, priority / 1000)).
 *
 * A test that cannot be made does not hold, whatever its operator: the value is missing, of another kind, or not finite. */
#ifndef AGI_ROLES_RULES_RULES_H
#define AGI_ROLES_RULES_RULES_H

#include "roles/plan.h"
#include "roles/pool.h"
#include "roles/safety_gateway/vote.h"

enum {
	AGI_RULES_MAX = 256,           /* of one set */
	AGI_RULE_TESTS_MAX = 1024,     /* of one set */
	AGI_RULE_PATTERNS_MAX = 64,    /* of one set: 3 KiB each, and what costs most */
	AGI_RULE_GROUP_DEPTH = 2,      /* an all of anys, or an any of alls, says everything that can be said */
	AGI_RULE_VALUES_MAX = 64,      /* of one in or not_in */
	AGI_RULE_MODIFY_MAX = 16,      /* fields one rule modifies */
	AGI_RULE_ID_MAX = 63,          /* bytes */
	AGI_RULE_TEXT_MAX = 255,       /* bytes of a field, a value, a pattern, a reason */
	AGI_RULE_PRIORITY_MAX = 1000000
};

enum agi_rule_layer { AGI_LAYER_REFLEX, AGI_LAYER_TACTICAL, AGI_LAYER_STRATEGIC, AGI_LAYERS };
enum agi_rule_action { AGI_RULE_MODIFY, AGI_RULE_DEFER, AGI_RULE_DENY, AGI_RULE_ACTIONS };
/* What a rule is about; bits. */
enum agi_rule_scope { AGI_RULE_OF_PLANS = 1, AGI_RULE_OF_ACTIONS = 2, AGI_RULE_OF_BOTH = 3 };

enum agi_rule_op {
	AGI_OP_EQ, AGI_OP_NE,                             /* number, truth or text */
	AGI_OP_GT, AGI_OP_GE, AGI_OP_LT, AGI_OP_LE,       /* number */
	AGI_OP_WITHIN, AGI_OP_OUTSIDE,                    /* two numbers, the ends belong to the inside */
	AGI_OP_IN, AGI_OP_NOT_IN,                         /* values of one kind */
	AGI_OP_MATCHES,                                   /* a pattern (pattern.h) */
	AGI_OP_CONTAINS, AGI_OP_STARTS_WITH, AGI_OP_ENDS_WITH, /* text; contains: also a member of the tags */
	AGI_OPS
};
/* ">=" and "ge" alike; false: there is none of this name. */
bool agi_rule_op_parse(struct agi_str name, enum agi_rule_op *out);
const char *agi_rule_op_name(enum agi_rule_op op); /* ">=" */

enum agi_rule_kind { AGI_VALUE_NUMBER, AGI_VALUE_TRUTH, AGI_VALUE_TEXT };
struct agi_rule_value {
	enum agi_rule_kind kind;
	double number;       /* finite; of a truth 1 or 0 */
	struct agi_str text;
};

enum agi_cond_kind { AGI_COND_TEST, AGI_COND_ALL, AGI_COND_ANY };
struct agi_cond {
	enum agi_cond_kind kind;
	/* TEST. field: tool_id, step_id, kind, description, parent_id, level, index, requires_simulation, tags, tags.N,
	 * parameters.NAME, metrics.NAME, signals.NAME */
	struct agi_str field;
	enum agi_rule_op op;
	const struct agi_rule_value *values;
	size_t n_values;
	/* ALL, ANY */
	const struct agi_cond *parts;
	size_t n_parts;
};

struct agi_rule {
	struct agi_str id;            /* letters, digits, . _ - */
	enum agi_rule_layer layer;
	uint32_t priority;
	enum agi_rule_scope scope;
	bool skips_absent;            /* where none of the fields it names is there, it says nothing */
	struct agi_cond cond;         /* ALL or ANY */
	enum agi_rule_action action;
	bool is_stop;                 /* DENY of an action: the machine is to stop */
	struct agi_str reason;
	const struct agi_pair *modify; /* MODIFY: field and new value, for whoever made the plan */
	size_t n_modify;
};

struct agi_rules;
/* NOMEM. */
AGI_MUST_USE enum agi_err agi_rules_new(struct agi_rules **out);
/* NULL is allowed. */
void agi_rules_free(struct agi_rules *s);
/* A test as it is written, by itself: so that a file's reader can name the line. INVALID + why. */
AGI_MUST_USE enum agi_err agi_rule_test_check(const struct agi_cond *test, struct agi_why *why);
/* What scope a rule has that does not say: ACTIONS when it names a signal or a metric, else BOTH. */
enum agi_rule_scope agi_rule_scope_of(const struct agi_cond *cond);
/* Copies it. INVALID + why, FULL + why (a bound above), NOMEM; the set is unchanged but for memory then. */
AGI_MUST_USE enum agi_err agi_rules_add(struct agi_rules *s, const struct agi_rule *rule, struct agi_why *why);
/* Brings them in order; from now on nothing is added. NOMEM. */
AGI_MUST_USE enum agi_err agi_rules_seal(struct agi_rules *s);

/* --- of a sealed set ----------------------------------------------------------------------------------------- */
size_t agi_rules_count(const struct agi_rules *s);
/* In the order of evaluation. */
const struct agi_rule *agi_rules_at(const struct agi_rules *s, size_t i);
/* BLAKE2b-256 of everything a judgement depends on. */
const uint8_t *agi_rules_hash(const struct agi_rules *s);

/* A plan's step: metrics and signals are what its params claim under their full names. An action: they are what the
 * sensors read ("metrics.NAME", and NAME for a signal), never what a param says. */
struct agi_rule_subject {
	enum agi_rule_scope scope;          /* PLANS or ACTIONS */
	const struct agi_plan_step *step;   /* NULL: all its fields are missing */
	const struct agi_reading *readings; /* ACTIONS */
	size_t n_readings;
};
struct agi_rule_finding {
	enum agi_decision decision; /* ALLOW: nothing was violated */
	double risk;                /* 0 when nothing was violated */
	bool is_stop;
	struct agi_strs reasons;    /* "rule:ID: …"; in the pool */
};
/* Errors are the pool's: what is in out is not to be used then. */
void agi_rules_judge(const struct agi_rules *s, const struct agi_rule_subject *subject, struct agi_pool *pool,
                     struct agi_rule_finding *out);
/* The risk of one violation; "what" of the text above. */
double agi_rule_risk(enum agi_rule_layer layer, enum agi_rule_action action, uint32_t priority);

#endif
