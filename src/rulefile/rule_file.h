/* SPDX-License-Identifier: Apache-2.0
 * The file that an operator writes rules in (agihpc-rules(5)), read into a set of rules (roles/rules/rules.h). Used by the
 * daemon and by agihpc-ctl config check. */
#ifndef AGI_RULEFILE_RULE_FILE_H
#define AGI_RULEFILE_RULE_FILE_H

#include "config/config.h"
#include "roles/rules/rules.h"

/* On error why begins "NAME:LINE: rule ID: " where there is a line and a rule, and says what was wrong and what would be
 * right. INVALID, TOO_LARGE, FULL, NOMEM; IO of _load. The set is sealed; the caller frees it. */
AGI_MUST_USE enum agi_err agi_rule_file_parse(const char *name, struct agi_str text, struct agi_rules **out,
                                              struct agi_why *why);
AGI_MUST_USE enum agi_err agi_rule_file_load(const char *path, struct agi_rules **out, struct agi_why *why);
/* *out NULL: the configuration names no rule file. */
AGI_MUST_USE enum agi_err agi_rule_file_of(const struct agi_config *c, struct agi_rules **out, struct agi_why *why);
/* OK where agi_rule_file_of would be. */
AGI_MUST_USE enum agi_err agi_rule_file_check(const struct agi_config *c, struct agi_why *why);

#endif
