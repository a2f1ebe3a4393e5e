/* SPDX-License-Identifier: Apache-2.0
 * token new: a token for a client, and what the node keeps of it. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/token.h"
#include "ctl/out.h"

const struct ctl_opt ctl_opts_token_new[] = {
    {"scope", 0, "SCOPES", NULL, "what it permits: read, write, safety, admin, with commas"},
    {NULL, 0, NULL, NULL, NULL}};

enum { NAME_MAX_BYTES = 63, LINE_BYTES = 256 };

static bool is_name(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < n; i++)
		if (name[i] <= ' ' || name[i] > '~' || name[i] == '"')
			return false;
	return n >= 1 && n <= NAME_MAX_BYTES && name[0] != '#';
}

/* Every word once, none that is unknown. */
static bool are_scopes(const char *list)
{
	char word[16];
	int seen = 0;

	for (const char *at = list;; at++) {
		static const char *const valid[] = {"read", "write", "safety", "admin"};
		size_t n = strcspn(at, ","), i = 0;

		snprintf(word, sizeof word, "%.*s", (int)(n < 15 ? n : 15), at);
		while (i < 4 && strcmp(word, valid[i]) != 0)
			i++;
		if (i == 4 || (seen & 1 << i))
			return false;
		seen |= 1 << i;
		at += n;
		if (!*at)
			return true;
	}
}

static enum ctl_exit print_json(const struct ctl *c, const char *token, const char *line)
{
	json_t *o = json_object();

	ctl_set_bytes(o, "token", agi_str_of(token));
	ctl_set_bytes(o, "line", agi_str_of(line));
	return ctl_print_json_take(c, o);
}

static enum ctl_exit print_text(const struct ctl *c, const char *token, const char *line)
{
	struct agi_buf out;
	enum ctl_exit code;

	agi_buf_init(&out, 0);
	agi_buf_printf(&out,
		       "token, for the client; it is not shown again:\n  %s\n"
		       "line, for the nodes' file auth.tokens_file:\n  %s\n",
		       token, line);
	code = ctl_write(c, agi_buf_str(&out));
	if (out.n)
		sodium_memzero(out.p, out.n);
	agi_buf_free(&out);
	return code;
}

enum ctl_exit ctl_token_new(struct ctl *c, const struct ctl_input *in)
{
	const char *name = in->words.p[0], *scopes = ctl_opt_value(&in->opts, "scope");
	char token[AGI_TOKEN_BYTES + 1], hex[2 * AGI_TOKEN_HASH_BYTES + 1], line[LINE_BYTES];
	uint8_t hash[AGI_TOKEN_HASH_BYTES];
	enum ctl_exit code;

	if (!is_name(name))
		return ctl_usage(c, "the name '%.60s': expected 1 to %d printable characters", name,
				 NAME_MAX_BYTES);
	if (!scopes)
		return ctl_usage(c, "--scope is missing: read, write, safety, admin, with commas");
	if (!are_scopes(scopes))
		return ctl_usage(
		    c, "--scope '%.60s': expected read, write, safety or admin, with commas",
		    scopes);
	agi_token_make(token);
	(void)agi_token_hash(hash, agi_str_of(token));
	agi_hex(hex, hash, sizeof hash);
	snprintf(line, sizeof line, "%s %s blake2b:%s", name, scopes, hex);
	code = c->is_json ? print_json(c, token, line) : print_text(c, token, line);
	sodium_memzero(token, sizeof token);
	return code;
}
