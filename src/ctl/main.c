/* SPDX-License-Identifier: Apache-2.0
 * agihpc-ctl: finds the command, reads its options, runs it. */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/token.h"
#include "ctl/ctl.h"
#include "ctl/units.h"
#include "net/tls.h"

enum { WORDS_MAX = 1024, COMMANDS_MAX = 64, TOKEN_FILE_MAX = 4096 };

static const struct ctl_command commands[] = {
    {"status", "", "how the node is: ready, members, slots, roles, warnings", ctl_status, NULL, 0,
     0},
    {"members", "", "the hosts of the overlay and their state", ctl_members, NULL, 0, 0},
    {"slots", "[--all] [-v]", "who holds which part of the memory", ctl_slots, ctl_opts_slots, 0,
     0},
    {"slot recover", "--unsafe SLOT | --unsafe --all-lost [--yes]",
     "go on without a slot's majority when it is gone for good (operators)", ctl_slot_recover,
     ctl_opts_slot_recover, 0, 1},
    {"rebalance", "[--watch] [--local]", "slots on the move: how many, how fast, how long",
     ctl_rebalance, ctl_opts_rebalance, 0, 0},
    {"drain", "[NODE] [--force] [--wait]", "a host gives all its slots to others (operators)",
     ctl_drain, ctl_opts_drain, 0, 1},
    {"undrain", "[NODE]", "a host takes its share of the slots again (operators)", ctl_undrain, NULL,
     0, 1},
    {"leave", "[NODE] [--force] [--wait]",
     "a host gives its slots away and leaves for good (operators)", ctl_leave, ctl_opts_drain, 0, 1},
    {"roles", "", "where the roles are served", ctl_roles, NULL, 0, 0},
    {"register", "SERVICE ADDRESS [--check KIND] [--interval TIME] [--path PATH]",
     "advertise a service that runs at ADDRESS", ctl_register, ctl_opts_register, 2, 2},
    {"deregister", "SERVICE ADDRESS", "stop advertising a service", ctl_deregister, NULL, 2, 2},
    {"heartbeat", "SERVICE ADDRESS [--unwell WHY] [--load LOAD]", "say that a service with --check ttl is well",
     ctl_heartbeat, ctl_opts_heartbeat, 2, 2},
    {"discover", "SERVICE [--limit N] [--prefer WHAT]", "the healthy instances of a service, nearest first",
     ctl_discover, ctl_opts_discover, 1, 1},
    {"nearest", "SERVICE [--explain]", "the nearest healthy instance of a service", ctl_nearest,
     ctl_opts_nearest, 1, 1},
    {"put", "KEY VALUE | KEY - | KEY --file FILE", "store a value (-: from standard input)",
     ctl_put, ctl_opts_put, 1, 2},
    {"get", "KEY", "write a stored value to standard output", ctl_get, ctl_opts_get, 1, 1},
    {"del", "KEY", "delete a stored value", ctl_del, ctl_opts_del, 1, 1},
    {"incr", "KEY [--by N]", "add to a strong item that is a number, and print the sum", ctl_incr,
     ctl_opts_incr, 1, 1},
    {"scan", "[PREFIX] [--limit N] [--keys-only] [--count]", "the items whose keys begin with PREFIX",
     ctl_scan, ctl_opts_scan, 0, 1},
    {"batch", "[FILE]", "put and delete what the lines of FILE (or standard input) say", ctl_batch,
     ctl_opts_batch, 0, 1},
    {"watch", "KEY | --service NAME [--prefix] [--initial] [--count N] [--for TIME]",
     "print changes of items, or of a service's instances, as they happen", ctl_watch,
     ctl_opts_watch, 0, 1},
    {"lease grant", "TTL [--holder TEXT]", "make a lease, which lives while it is kept alive", ctl_lease_grant,
     ctl_opts_lease_grant, 1, 1},
    {"lease keepalive", "LEASE [--once]", "keep a lease alive until interrupted", ctl_lease_keepalive,
     ctl_opts_lease_keepalive, 1, 1},
    {"lease revoke", "LEASE", "end a lease; the items put with it go too", ctl_lease_revoke, NULL, 1, 1},
    {"lease show", "LEASE", "how long a lease lives, and who has it", ctl_lease_show, NULL, 1, 1},
    {"lease list", "", "all leases", ctl_lease_list, NULL, 0, 0},
    {"lock", "NAME [--ttl TIME] [--wait TIME] [-- COMMAND...]", "hold a lock while a command runs, or until interrupted",
     ctl_lock, ctl_opts_lock, 1, 1 + CTL_LOCK_WORDS},
    {"owners", "KEY", "the hosts that hold a key", ctl_owners, ctl_opts_owners, 1, 1},
    {"lookup", "HEX | --key KEY", "look for the hosts nearest to an id, hop by hop", ctl_lookup,
     ctl_opts_lookup, 0, 1},
    {"backup", "NAME [--no-wait]", "copy every node's store, as one backup", ctl_backup, ctl_opts_backup, 1, 1},
    {"restore", "NAME [--partial] [--no-wait]", "write a backup into this cluster", ctl_restore, ctl_opts_restore,
     1, 1},
    {"verify", "[--backup DIR]", "compare all replicas; or check a backup", ctl_verify, ctl_opts_verify, 0, 0},
    {"safety check", "FILE [--profile NAME] [--proofs]",
     "have a plan (PlanGraphProto as JSON; -: standard input) decided by the gateways",
     ctl_safety_check, ctl_opts_safety_check, 1, 1},
    {"safety stop", "[--reason TEXT]", "emergency stop: every check in the cluster blocks",
     ctl_safety_stop, ctl_opts_safety_stop, 0, 0},
    {"safety resume", "--reason TEXT", "end an emergency stop (operators)", ctl_safety_resume,
     ctl_opts_safety_stop, 0, 0},
    {"safety status", "", "whether an emergency stop is set", ctl_safety_status, NULL, 0, 0},
    {"safety verify", "FILE [--keys FILE]", "check the certificate of a decision, without a node",
     ctl_safety_verify, ctl_opts_safety_verify, 1, 1},
    {"safety audit", "[--since TIME] [--decision DECISION] [--host ID] [--limit N] [--verify] [--keys FILE]",
     "what was decided, from the audit logs of all hosts", ctl_safety_audit, ctl_opts_safety_audit, 0, 0},
    {"safety policy", "get [--epoch N] | set FILE --reason TEXT [--yes] | history",
     "what every gateway judges by: thresholds, banned tools, quorum (set: operators)", ctl_safety_policy,
     ctl_opts_safety_policy, 1, 2},
    {"keygen", "[--out FILE]", "make a cluster key", ctl_keygen, ctl_opts_keygen, 0, 0},
    {"token new", "NAME --scope SCOPES", "make a token and the line that lets it in",
     ctl_token_new, ctl_opts_token_new, 1, 1},
    {"config check", "FILE...", "check configuration files as the node would read them",
     ctl_config_check, ctl_opts_config_check, 1, WORDS_MAX},
    {"health", "[SERVICE]", "ask the node's gRPC health service", ctl_health, NULL, 0, 1},
    {"version", "", "the version of agihpc-ctl", ctl_version, NULL, 0, 0},
    {"help", "[COMMAND]", "how to use agihpc-ctl or one of its commands", ctl_help, NULL, 0, 2},
    {"completion bash", "", "print the completion script for bash", ctl_completion, NULL, 0, 0},
    {NULL, NULL, NULL, NULL, NULL, 0, 0}};

static const struct ctl_opt global_opts[] = {
    {"node", 'n', "ADDR", NULL,
     "node to ask: HOST[:PORT], tls://HOST[:PORT] or unix:PATH; of several with commas the first "
     "that answers"},
    {"output", 'o', "FORMAT", "table json", "form of the answer (default: table)"},
    {"timeout", 't', "SECONDS", NULL, "give up after this time, like 2 or 500ms (default: 5)"},
    {"tls-ca", 0, "FILE", NULL, "use TLS; who may sign the node's certificate (PEM)"},
    {"tls-cert", 0, "FILE", NULL, "use TLS; show this certificate (PEM)"},
    {"tls-key", 0, "FILE", NULL, "its key (PEM)"},
    {"tls-server-name", 0, "NAME", NULL, "use TLS; name in the node's certificate"},
    {"token-file", 0, "FILE", NULL, "send the token in FILE (default: AGIHPC_TOKEN)"},
    {"help", 'h', NULL, NULL, "how to use the command"},
    {"version", 0, NULL, NULL, "the version of agihpc-ctl"},
    {NULL, 0, NULL, NULL, NULL}};

/* --- finding the command ---------------------------------------------------------------------- */
enum ctl_exit ctl_unknown_command(const struct ctl *c, const char *name)
{
	const char *names[COMMANDS_MAX];
	struct agi_why near = {""};
	struct agi_buf list;
	enum ctl_exit code;
	size_t n = 0;

	agi_buf_init(&list, 0);
	for (const struct ctl_command *cmd = c->commands; cmd->name && n < COMMANDS_MAX; cmd++) {
		agi_buf_printf(&list, "%s %s", n ? "," : "", cmd->name);
		names[n++] = cmd->name;
	}
	ctl_add_suggestion(&near, name, names, n, "");
	code = ctl_usage(c, "unknown command '%.60s'; valid are%.*s%s", name, AGI_STR_ARG(agi_buf_str(&list)),
			 near.text);
	agi_buf_free(&list);
	return code;
}

static const struct ctl_command *find(const struct ctl *c, const struct ctl_words *w, int *used)
{
	for (const struct ctl_command *cmd = c->commands; cmd->name; cmd++) {
		const char *space = strchr(cmd->name, ' ');
		size_t first = space ? (size_t)(space - cmd->name) : strlen(cmd->name);

		if (strncmp(cmd->name, w->p[0], first) != 0 || w->p[0][first] != '\0')
			continue;
		*used = space ? 2 : 1;
		if (!space || (w->n > 1 && strcmp(space + 1, w->p[1]) == 0))
			return cmd;
	}
	return NULL;
}

/* The first word names a family, the second none of its commands: say what the family has. */
static enum ctl_exit fail_unknown(const struct ctl *c, const struct ctl_words *w)
{
	size_t n = strlen(w->p[0]);
	char name[128];

	for (const struct ctl_command *cmd = c->commands; cmd->name; cmd++)
		if (strncmp(cmd->name, w->p[0], n) == 0 && cmd->name[n] == ' ') {
			if (w->n < 2)
				return ctl_usage(c, "%s what? Did you mean '%s'?", w->p[0],
						 cmd->name);
			snprintf(name, sizeof name, "%s %s", w->p[0], w->p[1]);
			return ctl_unknown_command(c, name);
		}
	return ctl_unknown_command(c, w->p[0]);
}

static enum ctl_exit check_words(const struct ctl *c, const struct ctl_words *w)
{
	const struct ctl_command *cmd = c->command;

	if (w->n < cmd->words_min)
		return ctl_usage(c, "an argument is missing: %s %s", cmd->name, cmd->args);
	if (w->n > cmd->words_max)
		return ctl_usage(c, "'%.60s' is one argument too many: %s %s", w->p[cmd->words_max],
				 cmd->name, cmd->args);
	return CTL_OK;
}

/* --- the options of every command --------------------------------------------------------------
 */
static enum ctl_exit check_nodes(const struct ctl *c)
{
	char target[CTL_TARGET_TEXT];
	struct agi_why why;

	for (const char *at = c->nodes;; at++) {
		size_t n = strcspn(at, ",");

		if (ctl_parse_target(target, at, n, CTL_DEFAULT_PORT, &why) != AGI_OK)
			return ctl_usage(c, "node %s", why.text);
		at += n;
		if (!*at)
			return CTL_OK;
	}
}

static enum ctl_exit take_tls(struct ctl *c, const struct ctl_optset *set)
{
	const struct agi_tls_client_cfg cfg = {.ca_file = ctl_opt_value(set, "tls-ca"),
					       .cert_file = ctl_opt_value(set, "tls-cert"),
					       .key_file = ctl_opt_value(set, "tls-key"),
					       .server_name =
						   ctl_opt_value(set, "tls-server-name")};
	struct agi_why why;

	if (!cfg.ca_file && !cfg.cert_file && !cfg.key_file && !cfg.server_name &&
	    !strstr(c->nodes, CTL_TLS_PREFIX))
		return CTL_OK;
	if (agi_tls_client_new(&cfg, &c->tls, &why) != AGI_OK)
		return ctl_error(c, CTL_USAGE, "%s", why.text);
	return CTL_OK;
}

static enum ctl_exit take_token(struct ctl *c, const struct ctl_optset *set)
{
	const char *path = ctl_opt_value(set, "token-file"), *preset = getenv("AGIHPC_TOKEN");
	struct agi_str text = {preset, preset ? strlen(preset) : 0};
	uint8_t hash[AGI_TOKEN_HASH_BYTES];
	enum ctl_exit code = path ? ctl_read_file(c, path, TOKEN_FILE_MAX, &text) : CTL_OK;
	const char *p = text.p;

	if (code != CTL_OK || (!path && !text.n))
		return code;
	while (text.n && strchr(" \t\r\n", text.p[text.n - 1]))
		text.n--;
	if (!agi_token_hash(hash, text))
		code = ctl_usage(c, "%s%s holds no token: expected agi_ and 43 characters",
				 path ? "--token-file " : "AGIHPC_TOKEN", path ? path : "");
	else
		c->token = ctl_copy(text);
	if (path)
		free((char *)p);
	return code;
}

static enum ctl_exit take_globals(struct ctl *c, const struct ctl_optset *set)
{
	const char *nodes = ctl_opt_value(set, "node"), *output = ctl_opt_value(set, "output");
	const char *timeout = ctl_opt_value(set, "timeout"), *preset = getenv("AGIHPC_NODE");
	uint64_t ms = CTL_TIMEOUT_DEFAULT_MS;
	struct agi_why why;
	enum ctl_exit code;

	c->nodes = nodes ? nodes : preset && *preset ? preset : "127.0.0.1:5000";
	c->is_json = output && strcmp(output, "json") == 0;
	if (timeout && ctl_parse_duration(&ms, timeout, 1000, CTL_TIMEOUT_MAX_MS, &why) != AGI_OK)
		return ctl_usage(c, "--timeout %s", why.text);
	c->timeout_ms = (uint32_t)ms;
	c->has_timeout = timeout != NULL;
	c->deadline_us = ctl_now_us() + ms * 1000;
	code = check_nodes(c);
	if (code == CTL_OK)
		code = take_tls(c, set);
	return code == CTL_OK ? take_token(c, set) : code;
}

/* "agihpc-ctl put --help" is "agihpc-ctl help put". */
static enum ctl_exit help_on(struct ctl *c)
{
	char name[64], *words[2] = {name, NULL};
	struct ctl_input in = {.words = {words, c->command ? 1 : 0}};

	snprintf(name, sizeof name, "%s", c->command ? c->command->name : "");
	return ctl_help(c, &in);
}

static enum ctl_exit run(struct ctl *c, int argc, char **argv)
{
	struct ctl_optset sets[2] = {{.opts = global_opts}, {.opts = NULL}};
	struct ctl_input in = {.opts = {NULL}};
	struct agi_why why;
	enum ctl_exit code;
	int used = 0;

	if (ctl_args_parse(sets, 1, argv, argc, true, &in.words, &why) != AGI_OK)
		return ctl_usage(c, "%s", why.text);
	if (in.words.n > 0) {
		c->command = find(c, &in.words, &used);
		if (!c->command)
			return fail_unknown(c, &in.words);
		sets[1].opts = c->command->opts;
		if (ctl_args_parse(sets, 2, in.words.p + used, in.words.n - used, false, &in.words,
				   &why) != AGI_OK)
			return ctl_usage(c, "%s", why.text);
	}
	if (ctl_opt_is_set(&sets[0], "version"))
		return ctl_version(c, &in);
	if (ctl_opt_is_set(&sets[0], "help"))
		return help_on(c);
	if (!c->command)
		return ctl_usage(c, "no command given");
	in.opts = sets[1];
	code = check_words(c, &in.words);
	if (code == CTL_OK)
		code = take_globals(c, &sets[0]);
	return code == CTL_OK ? c->command->run(c, &in) : code;
}

int main(int argc, char **argv)
{
	struct ctl c = {.commands = commands, .global_opts = global_opts};
	enum ctl_exit code;

	signal(SIGPIPE, SIG_IGN); /* a lost connection is an error, not the end */
	json_set_alloc_funcs(ctl_alloc, free);
	if (agi_crypto_init() != AGI_OK)
		return ctl_error(&c, CTL_FAILED, "no source of randomness");
	c.has_colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	code = run(&c, argc - 1, argv + 1);
	free(c.node);
	free(c.token);
	agi_tls_client_free(c.tls);
	return code;
}
