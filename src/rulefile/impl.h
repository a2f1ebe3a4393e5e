/* SPDX-License-Identifier: Apache-2.0
 * What the readers of files share: a tree of keys and values, and errors that say where. */
#ifndef AGI_RULEFILE_IMPL_H
#define AGI_RULEFILE_IMPL_H

#include "config/yaml_tree.h"
#include "roles/rules/rules.h"

struct file {
	const char *name;
	struct agi_rules *rules;
	struct agi_pool pool; /* of one rule while it is read; the set copies it */
	struct agi_why *why;
	char id[AGI_RULE_ID_MAX + 16]; /* "rule ID: ", as far as it is known */
};

/* e + why: "NAME:LINE: rule ID: reason". */
enum agi_err file_fail_at(const struct file *f, unsigned line, enum agi_err e, const char *reason);
#define FAIL(f, line, ...)                                                                                         \
	__extension__({                                                                                            \
		struct agi_why reason_;                                                                            \
		(void)agi_fail(&reason_, AGI_E_INVALID, __VA_ARGS__);                                              \
		file_fail_at((f), (line), AGI_E_INVALID, reason_.text);                                            \
	})

/* NULL: none. */
const struct agi_yaml_node *file_child(const struct agi_yaml_node *map, const char *key);
size_t file_count(const struct agi_yaml_node *list);
enum { FILE_WORDS = 400 };
void file_list_words(char out[FILE_WORDS], const char *const *words);
/* Of a map: only these keys (NULL ends them), each once. */
AGI_MUST_USE enum agi_err file_check_keys(const struct file *f, const struct agi_yaml_node *map, const char *what,
                                          const char *const *keys);
/* NULL, and *e set: it is missing or no single value. */
const char *file_text_of(const struct file *f, const struct agi_yaml_node *map, const char *key, enum agi_err *e);

#endif
