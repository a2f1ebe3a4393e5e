/* SPDX-License-Identifier: Apache-2.0
 * completion bash: a script made from the command tables, so that it never lags behind them. */
#include <string.h>

#include "ctl/out.h"

static void put_names(struct agi_buf *out, const struct ctl_opt *opts)
{
	for (; opts && opts->name; opts++) {
		agi_buf_printf(out, " --%s", opts->name);
		if (opts->letter)
			agi_buf_printf(out, " -%c", opts->letter);
	}
}

/* What may follow an option that takes a value: its values, a file, or anything. */
static void put_values(struct agi_buf *out, const struct ctl_opt *opts)
{
	for (; opts && opts->name; opts++) {
		if (!opts->arg)
			continue;
		agi_buf_printf(out, "\t--%s", opts->name);
		if (opts->letter)
			agi_buf_printf(out, "|-%c", opts->letter);
		agi_buf_printf(out, ") ");
		if (opts->values)
			agi_buf_printf(out, "COMPREPLY=($(compgen -W '%s' -- \"$cur\"))",
				       opts->values);
		else if (strcmp(opts->arg, "FILE") == 0)
			agi_buf_printf(
			    out, "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\"))");
		else
			agi_buf_printf(out, "COMPREPLY=()");
		agi_buf_printf(out, "; return ;;\n");
	}
}

/* The words that can come first, each once: "safety check" and a later "safety audit" give one
 * "safety". */
static void put_first_words(struct agi_buf *out, const struct ctl_command *commands)
{
	for (const struct ctl_command *cmd = commands; cmd->name; cmd++) {
		size_t n = strcspn(cmd->name, " ");
		bool is_new = cmd == commands || strncmp(cmd[-1].name, cmd->name, n) != 0 ||
			      (cmd[-1].name[n] != ' ' && cmd[-1].name[n] != '\0');

		if (is_new)
			agi_buf_printf(out, " %.*s", (int)n, cmd->name);
	}
}

static bool takes_file(const struct ctl_command *cmd) { return strncmp(cmd->args, "FILE", 4) == 0; }

static void put_command(struct agi_buf *out, const struct ctl *c, const struct ctl_command *cmd)
{
	agi_buf_printf(out, "\t'%s')\n\t\twords='", cmd->name);
	put_names(out, cmd->opts);
	if (strcmp(cmd->name, "help") == 0)
		put_first_words(out, c->commands);
	agi_buf_printf(out, "'\n");
	if (strcmp(cmd->name, "safety policy") == 0)
		agi_buf_printf(out, "\t\twords=\"$words get set history\"\n\t\tfiles=1\n");
	if (takes_file(cmd))
		agi_buf_printf(out, "\t\tfiles=1\n");
	agi_buf_printf(out, "\t\t;;\n");
}

/* A first word alone, where the second is still missing. */
static void put_second_words(struct agi_buf *out, const struct ctl_command *commands)
{
	for (const struct ctl_command *cmd = commands; cmd->name; cmd++) {
		const char *space = strchr(cmd->name, ' ');

		if (space)
			agi_buf_printf(out, "\t'%.*s') words='%s' ;;\n", (int)(space - cmd->name),
				       cmd->name, space + 1);
	}
}

/* Options before the command whose value is no command: "-n|--node|-o". */
static void put_pattern_of_globals(struct agi_buf *out, const struct ctl_opt *opts)
{
	const char *bar = "";

	for (; opts->name; opts++)
		if (opts->arg) {
			agi_buf_printf(out, "%s--%s|-%c", bar, opts->name, opts->letter);
			bar = "|";
		}
}

static void put_second_word_rules(struct agi_buf *out, const struct ctl_command *commands)
{
	for (const struct ctl_command *cmd = commands; cmd->name; cmd++) {
		size_t n = strcspn(cmd->name, " ");

		if (cmd->name[n])
			agi_buf_printf(out, "\t\t\t'%.*s') command=\"$command $word\" ;;\n", (int)n,
				       cmd->name);
	}
}

static void put_script(struct agi_buf *out, const struct ctl *c)
{
	agi_buf_printf(out,
		       "# bash completion for agihpc-ctl, made by: agihpc-ctl completion bash\n"
		       "_agihpc_ctl() {\n"
		       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
		       "\tlocal i word command= words= files=\n"
		       "\tCOMPREPLY=()\n"
		       "\tcase $prev in\n");
	put_values(out, c->global_opts);
	for (const struct ctl_command *cmd = c->commands; cmd->name; cmd++)
		if (cmd->opts)
			put_values(out, cmd->opts);
	agi_buf_printf(out, "\tesac\n"
			    "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
			    "\t\tword=${COMP_WORDS[i]}\n"
			    "\t\tcase $word in\n"
			    "\t\t");
	put_pattern_of_globals(out, c->global_opts);
	agi_buf_printf(out, ") ((i++)) ;;\n"
			    "\t\t-*) ;;\n"
			    "\t\t*) case $command in\n"
			    "\t\t\t'') command=$word ;;\n");
	put_second_word_rules(out, c->commands);
	agi_buf_printf(out, "\t\t\tesac ;;\n"
			    "\t\tesac\n"
			    "\tdone\n"
			    "\tcase $command in\n"
			    "\t'') words='");
	put_first_words(out, c->commands);
	agi_buf_printf(out, "' ;;\n");
	put_second_words(out, c->commands);
	for (const struct ctl_command *cmd = c->commands; cmd->name; cmd++)
		put_command(out, c, cmd);
	agi_buf_printf(out, "\tesac\n"
			    "\tif [[ $files && $cur != -* ]]; then\n"
			    "\t\tcompopt -o filenames\n"
			    "\t\tCOMPREPLY=($(compgen -f -- \"$cur\"))\n"
			    "\t\treturn\n"
			    "\tfi\n"
			    "\t[[ $cur == -* ]] && words=\"$words");
	put_names(out, c->global_opts);
	agi_buf_printf(out, "\"\n"
			    "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
			    "}\n"
			    "complete -F _agihpc_ctl agihpc-ctl\n");
}

enum ctl_exit ctl_completion(struct ctl *c, const struct ctl_input *in)
{
	struct agi_buf out;
	enum ctl_exit code;

	(void)in;
	agi_buf_init(&out, 0);
	put_script(&out, c);
	code = out.err == AGI_OK ? ctl_write(c, agi_buf_str(&out))
				 : ctl_error(c, CTL_FAILED, "%s", agi_err_text(out.err));
	agi_buf_free(&out);
	return code;
}
