/* SPDX-License-Identifier: Apache-2.0
 * Scopes, and the table of tokens that carry them, read from a file of lines
 *
 *   NAME SCOPE[,SCOPE...] blake2b:HEX
 *
 * with '#' before a comment on a line of its own. A line that is wrong makes the whole file wrong.
 */
#ifndef AGI_NODE_TOKENS_H
#define AGI_NODE_TOKENS_H

#include "base/err.h"
#include "base/str.h"

enum {
	AGI_TOKENS_MAX = 4096,         /* lines with a token; each is looked at in a search */
	AGI_TOKENS_FILE_MAX = 1 << 20, /* bytes */
	AGI_TOKEN_NAME_MAX = 63,       /* bytes; goes into logs and messages */
	AGI_BEARER_MAX = 4096          /* bytes of a token that is shown to others: theirs may be long */
};

enum agi_scope {
	AGI_SCOPE_READ = 1,
	AGI_SCOPE_WRITE = 2,
	AGI_SCOPE_SAFETY = 4,
	AGI_SCOPE_ADMIN = 8
};
enum { AGI_SCOPES_ALL = 15, AGI_SCOPES_TEXT = 32 };

/* "read,write"; "none" for 0. */
void agi_scopes_format(char out[AGI_SCOPES_TEXT], unsigned scopes);
/* admin includes all others. INVALID + why: what is valid. */
AGI_MUST_USE enum agi_err agi_scopes_parse(unsigned *out, struct agi_str text, struct agi_why *why);

struct agi_tokens;
/* INVALID + why ("PATH:LINE: ..."), IO, DENIED (others can write to the file), TOO_LARGE, NOMEM. */
AGI_MUST_USE enum agi_err agi_tokens_read(const char *path, struct agi_tokens **out,
					  struct agi_why *why);
/* The same from memory; name stands for the file in errors. */
AGI_MUST_USE enum agi_err agi_tokens_parse(const char *name, struct agi_str text,
					   struct agi_tokens **out, struct agi_why *why);
/* A file that holds one token, to show to others: its first line without the space around it,
 * terminated. INVALID, IO, DENIED (others can read it), TOO_LARGE + why; out is unchanged then. */
AGI_MUST_USE enum agi_err agi_bearer_read(const char *path, char out[AGI_BEARER_MAX + 1],
					  struct agi_why *why);
/* NULL is allowed. */
void agi_tokens_free(struct agi_tokens *t);
size_t agi_tokens_count(const struct agi_tokens *t);
/* Scopes of a token, and its name (borrowed); false when it is not in the table. */
bool agi_tokens_find(const struct agi_tokens *t, struct agi_str token, unsigned *scopes,
		     const char **name);

#endif
