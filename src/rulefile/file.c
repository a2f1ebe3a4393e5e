/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "rulefile/impl.h"

enum agi_err file_fail_at(const struct file *f, unsigned line, enum agi_err e, const char *reason)
{
	return agi_fail(f->why, e, "%s:%u: %s%s", f->name, line, f->id, reason);
}

const struct agi_yaml_node *file_child(const struct agi_yaml_node *map, const char *key)
{
	for (const struct agi_yaml_node *n = map->first; n; n = n->next)
		if (strcmp(n->key, key) == 0)
			return n;
	return NULL;
}

size_t file_count(const struct agi_yaml_node *list)
{
	size_t n = 0;

	for (const struct agi_yaml_node *c = list->first; c; c = c->next)
		n++;
	return n;
}

static bool is_among(const char *word, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(word, *words) == 0)
			return true;
	return false;
}

void file_list_words(char out[FILE_WORDS], const char *const *words)
{
	struct agi_buf b;

	agi_buf_init(&b, 0);
	for (; *words; words++)
		agi_buf_printf(&b, "%s%s", b.n ? ", " : "", *words);
	agi_buf_u8(&b, 0);
	if (b.err || b.n > FILE_WORDS)
		out[0] = '\0';
	else
		memcpy(out, b.p, b.n);
	agi_buf_free(&b);
}

enum agi_err file_check_keys(const struct file *f, const struct agi_yaml_node *map, const char *what,
                             const char *const *keys)
{
	char valid[FILE_WORDS];

	if (map->kind != AGI_YAML_MAP)
		return FAIL(f, map->line, "%s: expected KEY: VALUE pairs", what);
	for (const struct agi_yaml_node *n = map->first; n; n = n->next) {
		if (!is_among(n->key, keys)) {
			file_list_words(valid, keys);
			return FAIL(f, n->key_line, "%.60s: unknown key; valid here: %s", n->key, valid);
		}
		if (file_child(map, n->key) != n)
			return FAIL(f, n->key_line, "%s: given twice", n->key);
	}
	return AGI_OK;
}

const char *file_text_of(const struct file *f, const struct agi_yaml_node *map, const char *key, enum agi_err *e)
{
	const struct agi_yaml_node *n = file_child(map, key);

	if (n && n->kind == AGI_YAML_SCALAR && !agi_yaml_is_null(n))
		return n->text;
	*e = FAIL(f, n ? n->line : map->line, n ? "%s: expected a single value" : "%s: missing", key);
	return NULL;
}
