/* SPDX-License-Identifier: Apache-2.0
 * config check: the daemon's own reading of its configuration, without the daemon. */
#include <stdlib.h>

#include "config/config.h"
#include "ctl/out.h"
#include "rulefile/profile_file.h"
#include "rulefile/rule_file.h"

const struct ctl_opt ctl_opts_config_check[] = {
    {"effective", 0, NULL, NULL, "print every value in effect, with where it comes from"},
    {NULL, 0, NULL, NULL, NULL}};

/* The files as the daemon reads them: each laid over the one before, then the environment. */
static enum agi_err load(struct agi_config *config, const struct ctl_words *files,
			 struct agi_why *why)
{
	enum agi_err e = agi_config_defaults(config, why);

	for (int i = 0; i < files->n && e == AGI_OK; i++)
		e = agi_config_load_file(config, files->p[i], why);
	if (e == AGI_OK)
		e = agi_config_env(config, getenv, why);
	if (e == AGI_OK)
		e = agi_config_check(config, why);
	if (e == AGI_OK)
		e = agi_rule_file_check(config, why);
	return e == AGI_OK ? agi_profile_dir_check(config, why) : e;
}

static enum ctl_exit print_config(struct ctl *c, const struct agi_config *config,
				  const struct ctl_words *files, bool is_effective)
{
	struct agi_config_source source;
	struct agi_buf out;
	enum ctl_exit code;
	const char *path;

	agi_buf_init(&out, 0);
	if (is_effective)
		agi_config_dump(config, &out);
	for (int i = 0; i < files->n && !is_effective; i++)
		agi_buf_printf(&out, "%s: valid\n", files->p[i]);
	for (size_t i = 0; agi_config_unused(config, i, &path, &source); i++)
		ctl_warn(c, "%s:%u: %s is accepted, but this version does not use it", source.name,
			 source.line, path);
	code = ctl_write(c, agi_buf_str(&out));
	agi_buf_free(&out);
	return code;
}

static enum ctl_exit print_config_json(struct ctl *c, const struct agi_config *config,
				       const struct ctl_words *files)
{
	json_t *o = json_object(), *list = json_array(), *unused = json_array();
	struct agi_config_source source;
	struct agi_buf dump;
	const char *path;

	for (int i = 0; i < files->n; i++)
		json_array_append_new(list, ctl_json_str(agi_str_of(files->p[i])));
	for (size_t i = 0; agi_config_unused(config, i, &path, &source); i++)
		json_array_append_new(unused, json_string(path));
	agi_buf_init(&dump, 0);
	agi_config_dump(config, &dump);
	ctl_set(o, "valid", json_true());
	ctl_set(o, "files", list);
	ctl_set(o, "unused_keys", unused);
	ctl_set(o, "effective_yaml", ctl_json_str(agi_buf_str(&dump)));
	agi_buf_free(&dump);
	return ctl_print_json_take(c, o);
}

enum ctl_exit ctl_config_check(struct ctl *c, const struct ctl_input *in)
{
	struct agi_config config;
	struct agi_why why = {""};
	enum ctl_exit code;

	if (load(&config, &in->words, &why) != AGI_OK)
		code = ctl_error(c, CTL_FAILED, "%s", why.text);
	else
		code = c->is_json ? print_config_json(c, &config, &in->words)
				  : print_config(c, &config, &in->words,
						 ctl_opt_is_set(&in->opts, "effective"));
	agi_config_free(&config);
	return code;
}
