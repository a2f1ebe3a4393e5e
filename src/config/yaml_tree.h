/* SPDX-License-Identifier: Apache-2.0
 * A YAML document as a tree with line numbers, from bytes that may be anything. A subset on purpose: one
 * document, no aliases, anchors or tags (a configuration needs none, and aliases can blow up), bounded in
 * bytes, depth and nodes. For src/config and src/rulefile. */
#ifndef AGI_CONFIG_YAML_TREE_H
#define AGI_CONFIG_YAML_TREE_H

#include "base/err.h"
#include "base/str.h"

enum agi_yaml_kind { AGI_YAML_SCALAR, AGI_YAML_LIST, AGI_YAML_MAP };

struct agi_yaml_node {
	enum agi_yaml_kind kind;
	unsigned line;
	bool is_plain;      /* SCALAR: written without quotes */
	char *text;         /* SCALAR; owned, terminated, holds no NUL, valid UTF-8 */
	char *key;          /* child of a MAP: its key; owned */
	unsigned key_line;
	struct agi_yaml_node *first, *last, *next; /* children of LIST and MAP; next sibling */
	struct agi_yaml_node *parent;
};

/* *out: the root, or NULL for a document without content. name begins every error: "NAME:LINE: …".
 * INVALID, TOO_LARGE, NOMEM. */
AGI_MUST_USE enum agi_err agi_yaml_parse(const char *name, struct agi_str text,
                                         struct agi_yaml_node **out, struct agi_why *why);
void agi_yaml_free(struct agi_yaml_node *root);
/* A plain scalar that says nothing: empty, "~" or "null". */
bool agi_yaml_is_null(const struct agi_yaml_node *n);

#endif
