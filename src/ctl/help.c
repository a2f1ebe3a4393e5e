/* SPDX-License-Identifier: Apache-2.0
 * help: made from the same tables that parse the command line. */
#include <stdio.h>
#include <string.h>

#include "ctl/out.h"

static void put_options(struct agi_buf *out, const struct ctl_opt *opts)
{
	char left[64];

	for (; opts && opts->name; opts++) {
		char letter[5] = "    ";

		if (opts->letter)
			snprintf(letter, sizeof letter, "-%c, ", opts->letter);
		snprintf(left, sizeof left, "%s--%s%s%s", letter, opts->name, opts->arg ? " " : "",
			 opts->arg ? opts->arg : "");
		agi_buf_printf(out, "  %-26s  %s", left, opts->help);
		if (opts->values)
			agi_buf_printf(out, " [%s]", opts->values);
		agi_buf_printf(out, "\n");
	}
}

static void put_overview(const struct ctl *c, struct agi_buf *out)
{
	agi_buf_printf(out, "Usage: agihpc-ctl [OPTION...] COMMAND [ARGUMENT...]\n"
			    "Asks the nodes of an AGI-HPC overlay.\n\nCommands:\n");
	for (const struct ctl_command *cmd = c->commands; cmd->name; cmd++)
		agi_buf_printf(out, "  %-15s  %s\n", cmd->name, cmd->help);
	agi_buf_printf(out, "\nOptions, before or after the command:\n");
	put_options(out, c->global_opts);
	agi_buf_printf(
	    out,
	    "\nExit status: 0 ok, 1 failed, 2 usage, 3 not found, 4 unavailable or no quorum;\n"
	    "safety check: 0 ALLOW, 10 BLOCK, 11 REVISE, 12 DEFER.\n"
	    "agihpc-ctl help COMMAND tells more, agihpc-ctl(1) all.\n");
}

static void put_command(const struct ctl *c, const struct ctl_command *cmd, struct agi_buf *out)
{
	agi_buf_printf(out, "Usage: agihpc-ctl [OPTION...] %s%s%s\n%s\n", cmd->name,
		       *cmd->args ? " " : "", cmd->args, cmd->help);
	if (cmd->opts) {
		agi_buf_printf(out, "\nOptions of %s:\n", cmd->name);
		put_options(out, cmd->opts);
	}
	agi_buf_printf(out, "\nOptions of every command:\n");
	put_options(out, c->global_opts);
}

/* The words name a command, or the first word of several ("safety"). */
static int put_matching(const struct ctl *c, const char *name, struct agi_buf *out)
{
	size_t n = strlen(name);
	int found = 0;

	for (const struct ctl_command *cmd = c->commands; cmd->name; cmd++)
		if (strncmp(cmd->name, name, n) == 0 &&
		    (cmd->name[n] == '\0' || cmd->name[n] == ' ')) {
			if (found++)
				agi_buf_printf(out, "\n");
			put_command(c, cmd, out);
		}
	return found;
}

enum ctl_exit ctl_help(struct ctl *c, const struct ctl_input *in)
{
	struct agi_buf out;
	enum ctl_exit code;
	char name[64];

	agi_buf_init(&out, 0);
	snprintf(name, sizeof name, "%s%s%s", in->words.n > 0 ? in->words.p[0] : "",
		 in->words.n > 1 ? " " : "", in->words.n > 1 ? in->words.p[1] : "");
	if (in->words.n == 0)
		put_overview(c, &out);
	if (in->words.n > 0 && put_matching(c, name, &out) == 0)
		code = ctl_unknown_command(c, name);
	else
		code = ctl_write(c, agi_buf_str(&out));
	agi_buf_free(&out);
	return code;
}
