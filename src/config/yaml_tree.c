/* SPDX-License-Identifier: Apache-2.0 */
#include "config/yaml_tree.h"

#include <stdlib.h>
#include <yaml.h>

#include "config/config.h"

struct builder {
	const char *name;
	struct agi_why *why;
	struct agi_yaml_node *root, *at; /* at: the list or map being filled */
	unsigned depth, nodes;
	char *key; /* of the map at: the key that waits for its value */
	unsigned key_line;
	bool is_ended;
};

static void free_node(struct agi_yaml_node *n)
{
	free(n->text);
	free(n->key);
	free(n);
}

/* Depth is bounded, but the walk does without recursion anyway: children first. */
void agi_yaml_free(struct agi_yaml_node *root)
{
	struct agi_yaml_node *n = root;

	while (n) {
		struct agi_yaml_node *up = n->parent;

		if (n->first) {
			struct agi_yaml_node *child = n->first;

			n->first = child->next;
			n = child;
			continue;
		}
		free_node(n);
		n = up;
	}
}

bool agi_yaml_is_null(const struct agi_yaml_node *n)
{
	return n->kind == AGI_YAML_SCALAR && n->is_plain &&
	       (!*n->text || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0);
}

/* --- building --------------------------------------------------------------------------------- */
static enum agi_err no_memory(struct builder *b)
{
	return agi_fail(b->why, AGI_E_NOMEM, "%s: %s", b->name, agi_err_text(AGI_E_NOMEM));
}

static enum agi_err copy_scalar(struct builder *b, const yaml_event_t *e, char **out)
{
	size_t n = e->data.scalar.length;
	unsigned line = (unsigned)e->start_mark.line + 1;

	if (n > AGI_CONFIG_TEXT_MAX)
		return agi_fail(b->why, AGI_E_INVALID, "%s:%u: a text of %zu bytes: expected at most %d",
		                b->name, line, n, AGI_CONFIG_TEXT_MAX);
	if (memchr(e->data.scalar.value, 0, n))
		return agi_fail(b->why, AGI_E_INVALID, "%s:%u: a NUL byte in a text", b->name, line);
	*out = malloc(n + 1);
	if (!*out)
		return no_memory(b);
	memcpy(*out, e->data.scalar.value, n);
	(*out)[n] = '\0';
	return AGI_OK;
}

static enum agi_err add_node(struct builder *b, enum agi_yaml_kind kind, unsigned line,
                             struct agi_yaml_node **out)
{
	struct agi_yaml_node *n;

	if (b->root && !b->at)
		return agi_fail(b->why, AGI_E_INVALID, "%s:%u: a second document: expected one", b->name,
		                line);
	if (++b->nodes > AGI_CONFIG_NODES_MAX)
		return agi_fail(b->why, AGI_E_TOO_LARGE, "%s:%u: more than %d values", b->name, line,
		                AGI_CONFIG_NODES_MAX);
	n = calloc(1, sizeof *n);
	if (!n)
		return no_memory(b);
	*n = (struct agi_yaml_node){.kind = kind, .line = line, .parent = b->at};
	if (!b->at) {
		b->root = n;
	} else {
		n->key = b->key;
		n->key_line = b->key_line;
		b->key = NULL;
		if (b->at->last)
			b->at->last->next = n;
		else
			b->at->first = n;
		b->at->last = n;
	}
	*out = n;
	return AGI_OK;
}

static bool wants_key(const struct builder *b)
{
	return b->at && b->at->kind == AGI_YAML_MAP && !b->key;
}

static enum agi_err on_scalar(struct builder *b, const yaml_event_t *e, unsigned line)
{
	struct agi_yaml_node *n;
	char *text;
	enum agi_err err = copy_scalar(b, e, &text);

	if (err)
		return err;
	if (wants_key(b)) {
		b->key = text;
		b->key_line = line;
		return AGI_OK;
	}
	err = add_node(b, AGI_YAML_SCALAR, line, &n);
	if (err) {
		free(text);
		return err;
	}
	n->text = text;
	n->is_plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	return AGI_OK;
}

static enum agi_err on_open(struct builder *b, enum agi_yaml_kind kind, unsigned line)
{
	struct agi_yaml_node *n;
	enum agi_err err;

	if (wants_key(b))
		return agi_fail(b->why, AGI_E_INVALID, "%s:%u: a key must be a plain word", b->name, line);
	if (++b->depth > AGI_CONFIG_DEPTH_MAX)
		return agi_fail(b->why, AGI_E_INVALID, "%s:%u: nested deeper than %d levels", b->name,
		                line, AGI_CONFIG_DEPTH_MAX);
	err = add_node(b, kind, line, &n);
	if (err == AGI_OK)
		b->at = n;
	return err;
}

static enum agi_err refuse_extras(struct builder *b, const yaml_event_t *e, unsigned line)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (e->type) {
	case YAML_SCALAR_EVENT:
		anchor = e->data.scalar.anchor;
		tag = e->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = e->data.sequence_start.anchor;
		tag = e->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = e->data.mapping_start.anchor;
		tag = e->data.mapping_start.tag;
		break;
	default:
		break;
	}
	if (anchor || e->type == YAML_ALIAS_EVENT)
		return agi_fail(b->why, AGI_E_INVALID,
		                "%s:%u: anchors (&) and aliases (*) are not supported: write the value out",
		                b->name, line);
	if (tag)
		return agi_fail(b->why, AGI_E_INVALID, "%s:%u: tags (!) are not supported", b->name, line);
	return AGI_OK;
}

static enum agi_err on_event(struct builder *b, const yaml_event_t *e)
{
	unsigned line = (unsigned)e->start_mark.line + 1;
	enum agi_err err = refuse_extras(b, e, line);

	if (err)
		return err;
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		return on_scalar(b, e, line);
	case YAML_SEQUENCE_START_EVENT:
		return on_open(b, AGI_YAML_LIST, line);
	case YAML_MAPPING_START_EVENT:
		return on_open(b, AGI_YAML_MAP, line);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->depth--;
		b->at = b->at->parent;
		return AGI_OK;
	case YAML_STREAM_END_EVENT:
		b->is_ended = true;
		return AGI_OK;
	default:
		return AGI_OK;
	}
}

/* --- checking the bytes, reading the events --------------------------------------------------- */
static enum agi_err check_bytes(const char *name, struct agi_str text, struct agi_why *why)
{
	unsigned line = 1;

	if (text.n > AGI_CONFIG_FILE_BYTES_MAX)
		return agi_fail(why, AGI_E_TOO_LARGE, "%s: larger than %d bytes", name,
		                AGI_CONFIG_FILE_BYTES_MAX);
	while (text.n) { /* no UTF-8 sequence crosses a line's end */
		const char *end = memchr(text.p, '\n', text.n);
		struct agi_str s = {text.p, end ? (size_t)(end - text.p) + 1 : text.n};

		if (!agi_utf8_is_valid(s))
			return agi_fail(why, AGI_E_INVALID, "%s:%u: not valid UTF-8", name, line);
		if (memchr(s.p, 0, s.n))
			return agi_fail(why, AGI_E_INVALID, "%s:%u: a NUL byte: expected text", name, line);
		text.p += s.n;
		text.n -= s.n;
		line++;
	}
	return AGI_OK;
}

static enum agi_err fail_syntax(const char *name, struct agi_str text, const yaml_parser_t *p,
                                struct agi_why *why)
{
	unsigned line = (unsigned)p->problem_mark.line + 1;

	if (p->error == YAML_MEMORY_ERROR)
		return agi_fail(why, AGI_E_NOMEM, "%s: %s", name, agi_err_text(AGI_E_NOMEM));
	if (p->error == YAML_READER_ERROR) { /* tells an offset only */
		line = 1;
		for (size_t i = 0; i < p->problem_offset && i < text.n; i++)
			line += text.p[i] == '\n';
	}
	return agi_fail(why, AGI_E_INVALID, "%s:%u: not YAML: %s%s%s", name, line,
	                p->problem ? p->problem : "unreadable", p->context ? " " : "",
	                p->context ? p->context : "");
}

static enum agi_err read_events(struct builder *b, yaml_parser_t *p, struct agi_str text)
{
	enum agi_err err = AGI_OK;
	yaml_event_t e;

	while (err == AGI_OK && !b->is_ended) {
		if (!yaml_parser_parse(p, &e))
			return fail_syntax(b->name, text, p, b->why);
		err = on_event(b, &e);
		yaml_event_delete(&e);
	}
	return err;
}

enum agi_err agi_yaml_parse(const char *name, struct agi_str text, struct agi_yaml_node **out,
                            struct agi_why *why)
{
	struct builder b = {.name = name, .why = why};
	yaml_parser_t p;
	enum agi_err err = check_bytes(name, text, why);

	if (err)
		return err;
	if (!yaml_parser_initialize(&p))
		return no_memory(&b);
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&p, (const unsigned char *)(text.p ? text.p : ""), text.n);
	err = read_events(&b, &p, text);
	yaml_parser_delete(&p);
	free(b.key);
	if (err) {
		agi_yaml_free(b.root);
		return err;
	}
	*out = b.root;
	return AGI_OK;
}
