/* SPDX-License-Identifier: Apache-2.0
 * JSON is read as the YAML that it is: what is wrong has a line. */
#include "rulefile/profile_file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/number.h"
#include "rulefile/impl.h"

enum { PATH_BYTES = 1024 + 256 };
#define SCHEMA "DEMEProfileV04-0.1"
#define SUFFIX ".json"

/* --- values --------------------------------------------------------------------------------------------------------- */
static enum agi_err read_number(const struct file *f, const struct agi_yaml_node *n, const char *section, double *out)
{
	if (n->kind == AGI_YAML_SCALAR && n->is_plain && agi_number_parse(agi_str_of(n->text), out))
		return AGI_OK;
	return FAIL(f, n->line, "%s: %s: %s%.40s%s: expected a number", section, n->key,
	            n->kind == AGI_YAML_SCALAR ? "\"" : "", n->kind == AGI_YAML_SCALAR ? n->text : "a list or object",
	            n->kind == AGI_YAML_SCALAR ? "\"" : "");
}

/* One number for each dimension that is named. set: bit of each. */
static enum agi_err read_dimensions(const struct file *f, const struct agi_yaml_node *root, const char *section,
                                    double max, double out[AGI_MORAL_DIMS], unsigned *set)
{
	const struct agi_yaml_node *map = file_child(root, section);
	const char *names[AGI_MORAL_DIMS + 1] = {NULL};
	enum agi_err e;

	*set = 0;
	for (unsigned d = 0; d < AGI_MORAL_DIMS; d++)
		names[d] = agi_moral_dim_name((enum agi_moral_dim)d);
	if (!map)
		return AGI_OK;
	e = file_check_keys(f, map, section, names);
	for (unsigned d = 0; d < AGI_MORAL_DIMS && !e; d++) {
		const struct agi_yaml_node *n = file_child(map, names[d]);

		if (!n)
			continue;
		e = read_number(f, n, section, &out[d]);
		if (!e && !(out[d] >= 0 && out[d] <= max))
			e = FAIL(f, n->line, "%s: %s: %g, expected 0..%g", section, names[d], out[d], max);
		*set |= 1u << d;
	}
	return e;
}

static enum agi_err check_text(const struct file *f, const struct agi_yaml_node *n)
{
	return n && n->kind != AGI_YAML_SCALAR ? FAIL(f, n->line, "%s: expected text", n->key) : AGI_OK;
}

static enum agi_err check_tags(const struct file *f, const struct agi_yaml_node *tags)
{
	if (tags && tags->kind != AGI_YAML_LIST)
		return FAIL(f, tags->line, "tags: expected a list of texts");
	for (const struct agi_yaml_node *n = tags ? tags->first : NULL; n; n = n->next)
		if (n->kind != AGI_YAML_SCALAR)
			return FAIL(f, n->line, "tags: expected a list of texts");
	return AGI_OK;
}

/* What a profile says about itself, for people. */
static enum agi_err check_words(const struct file *f, const struct agi_yaml_node *root)
{
	static const char *const keys[] = {"description", "stakeholder_label", "domain", "version", "notes"};
	enum agi_err e = check_tags(f, file_child(root, "tags"));

	for (size_t i = 0; i < sizeof keys / sizeof *keys && !e; i++)
		e = check_text(f, file_child(root, keys[i]));
	return e;
}

/* --- a profile ------------------------------------------------------------------------------------------------------ */
static enum agi_err read_schema(const struct file *f, const struct agi_yaml_node *root)
{
	enum agi_err e = AGI_OK;
	const char *text = file_text_of(f, root, "schema_version", &e);

	if (text && strcmp(text, SCHEMA) != 0)
		e = FAIL(f, file_child(root, "schema_version")->line, "schema_version: \"%.40s\": expected \"" SCHEMA "\"", text);
	return e;
}

/* Parts of DEME that would forbid or weigh something which is not judged by here must not be read as if they were. */
static enum agi_err read_profile(struct file *f, const struct agi_yaml_node *root, struct agi_profile *p)
{
	static const char *const keys[] = {"schema_version", "name", "description", "stakeholder_label", "domain", "version",
	                                   "tags", "notes", "moral_dimension_weights", "moral_dimension_limits", NULL};
	enum agi_err e = file_check_keys(f, root, "profile", keys);
	const char *name = e ? NULL : file_text_of(f, root, "name", &e);
	unsigned weighed;

	if (!name)
		return e;
	agi_profile_init(p, agi_str_of(name));
	e = read_schema(f, root);
	if (!e)
		e = check_words(f, root);
	if (!e)
		e = read_dimensions(f, root, "moral_dimension_weights", AGI_PROFILE_WEIGHT_MAX, p->weights, &weighed);
	return e ? e : read_dimensions(f, root, "moral_dimension_limits", 1, p->limits, &p->limited);
}

/* wanted NULL: any name. */
static enum agi_err parse(const char *name, struct agi_str text, const char *wanted, struct agi_profiles *set,
                          struct agi_why *why)
{
	struct file f = {.name = name, .why = why};
	struct agi_yaml_node *root = NULL;
	enum agi_err e = agi_yaml_parse(name, text, &root, why);
	struct agi_profile p;
	struct agi_why reason;

	if (e)
		return e;
	if (!root)
		return agi_fail(why, AGI_E_INVALID, "%s: empty: expected a JSON object with schema_version and name", name);
	e = read_profile(&f, root, &p);
	if (!e && wanted && !agi_str_eq(p.name, agi_str_of(wanted)))
		e = FAIL(&f, file_child(root, "name")->line, "name: \"%.80s\": expected \"%.80s\", as the file is called", p.name.p,
		         wanted);
	if (!e) {
		e = agi_profiles_add(set, &p, &reason);
		if (e)
			e = file_fail_at(&f, root->line, e, reason.text);
	}
	agi_yaml_free(root);
	return e;
}

enum agi_err agi_profile_file_parse(const char *name, struct agi_str text, struct agi_profiles *set, struct agi_why *why)
{
	return parse(name, text, NULL, set, why);
}

/* --- directories ---------------------------------------------------------------------------------------------------- */
static int is_profile(const struct dirent *d)
{
	size_t n = strlen(d->d_name), suffix = strlen(SUFFIX);

	return d->d_name[0] != '.' && n > suffix && strcmp(d->d_name + n - suffix, SUFFIX) == 0;
}

static enum agi_err load_one(const char *dir, const char *file, struct agi_profiles *set, struct agi_why *why)
{
	char path[PATH_BYTES], wanted[256];
	struct agi_buf text;
	enum agi_err e;

	if (snprintf(path, sizeof path, "%s/%s", dir, file) >= (int)sizeof path)
		return agi_fail(why, AGI_E_TOO_LARGE, "%s: its path is too long", file);
	snprintf(wanted, sizeof wanted, "%.*s", (int)(strlen(file) - strlen(SUFFIX)), file);
	e = agi_config_read_file(path, &text, why);
	if (!e)
		e = parse(path, agi_buf_str(&text), wanted, set, why);
	agi_buf_free(&text);
	return e;
}

enum agi_err agi_profile_dir_load(const char *dir, struct agi_profiles **out, struct agi_why *why)
{
	struct dirent **found = NULL;
	struct agi_profiles *set;
	int n = scandir(dir, &found, is_profile, alphasort);
	enum agi_err e;

	if (n < 0)
		return agi_fail(why, AGI_E_IO, "%s: %s", dir, strerror(errno));
	e = agi_profiles_new(&set) ? agi_fail(why, AGI_E_NOMEM, "%s: out of memory", dir) : AGI_OK;
	for (int i = 0; i < n; i++) {
		if (!e)
			e = load_one(dir, found[i]->d_name, set, why);
		free(found[i]);
	}
	free(found);
	if (!e)
		*out = set;
	else
		agi_profiles_free(set);
	return e;
}

enum agi_err agi_profile_dir_of(const struct agi_config *c, struct agi_profiles **out, struct agi_why *why)
{
	struct agi_why reason;
	enum agi_err e = AGI_OK;

	*out = NULL;
	if (c->safety.profile_dir[0])
		e = agi_profile_dir_load(c->safety.profile_dir, out, &reason);
	if (e)
		return agi_fail(why, e, "safety.profile_dir: %s", reason.text);
	if (c->safety.evaluation == AGI_EVALUATION_STRICT)
		e = agi_profiles_check(*out, agi_str_of(c->safety.profile), &reason);
	if (e) {
		agi_profiles_free(*out);
		*out = NULL;
		return agi_fail(why, e, "safety.profile: %s%s", reason.text,
		                c->safety.profile_dir[0] ? "" : " (safety.profile_dir is not set)");
	}
	return AGI_OK;
}

enum agi_err agi_profile_dir_check(const struct agi_config *c, struct agi_why *why)
{
	struct agi_profiles *set;
	enum agi_err e = agi_profile_dir_of(c, &set, why);

	agi_profiles_free(e ? NULL : set);
	return e;
}
