/* SPDX-License-Identifier: Apache-2.0 */
#include "node/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/token.h"

struct entry {
	uint8_t hash[AGI_TOKEN_HASH_BYTES];
	unsigned scopes;
	char name[AGI_TOKEN_NAME_MAX + 1];
};

struct agi_tokens {
	struct entry *v;
	size_t n, cap;
};

/* --- scopes
 * ---------------------------------------------------------------------------------------------- */
static const struct {
	const char *name;
	unsigned scope, includes;
} scopes[] = {{"read", AGI_SCOPE_READ, AGI_SCOPE_READ},
	      {"write", AGI_SCOPE_WRITE, AGI_SCOPE_WRITE},
	      {"safety", AGI_SCOPE_SAFETY, AGI_SCOPE_SAFETY},
	      {"admin", AGI_SCOPE_ADMIN, AGI_SCOPES_ALL}};
enum { SCOPES = sizeof scopes / sizeof *scopes };

void agi_scopes_format(char out[AGI_SCOPES_TEXT], unsigned set)
{
	out[0] = '\0';
	for (int i = 0; i < SCOPES; i++)
		if (set & scopes[i].scope)
			snprintf(out + strlen(out), AGI_SCOPES_TEXT - strlen(out), "%s%s",
				 out[0] ? "," : "", scopes[i].name);
	if (!out[0])
		snprintf(out, AGI_SCOPES_TEXT, "none");
}

static unsigned scope_of(struct agi_str word)
{
	for (int i = 0; i < SCOPES; i++)
		if (agi_str_eq(word, agi_str_of(scopes[i].name)))
			return scopes[i].includes;
	return 0;
}

enum agi_err agi_scopes_parse(unsigned *out, struct agi_str text, struct agi_why *why)
{
	unsigned set = 0;

	for (;;) {
		const char *comma = text.n ? memchr(text.p, ',', text.n) : NULL;
		struct agi_str word = {text.p, comma ? (size_t)(comma - text.p) : text.n};
		unsigned one = scope_of(word);

		if (!one)
			return agi_fail(why, AGI_E_INVALID,
					"scope \"%.*s\": expected read, write, safety or admin",
					(int)(word.n < 40 ? word.n : 40), word.p ? word.p : "");
		set |= one;
		if (!comma)
			break;
		text = (struct agi_str){comma + 1, text.n - word.n - 1};
	}
	*out = set;
	return AGI_OK;
}

/* --- lines
 * ------------------------------------------------------------------------------------------------
 */
static struct agi_str next_word(struct agi_str *line)
{
	struct agi_str word = {line->p, 0};

	while (line->n && (*line->p == ' ' || *line->p == '\t'))
		*line = (struct agi_str){line->p + 1, line->n - 1};
	word.p = line->p;
	while (word.n < line->n && word.p[word.n] != ' ' && word.p[word.n] != '\t')
		word.n++;
	*line = (struct agi_str){line->p + word.n, line->n - word.n};
	return word;
}

static bool is_name(struct agi_str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '"')
			return false;
	return s.n >= 1 && s.n <= AGI_TOKEN_NAME_MAX;
}

static enum agi_err read_entry(struct entry *e, struct agi_str line, struct agi_why *why)
{
	static const struct agi_str prefix = {"blake2b:", 8};
	struct agi_str name = next_word(&line), scope_list = next_word(&line),
		       hash = next_word(&line);
	enum agi_err err;

	if (next_word(&line).n || !hash.n)
		return agi_fail(
		    why, AGI_E_INVALID,
		    "expected NAME SCOPES blake2b:HASH, as agihpc-ctl token new prints it");
	if (!is_name(name))
		return agi_fail(why, AGI_E_INVALID,
				"the name: expected 1..%d printable ASCII characters",
				AGI_TOKEN_NAME_MAX);
	if (!agi_str_has_prefix(hash, prefix) ||
	    agi_unhex(e->hash, sizeof e->hash,
		      (struct agi_str){hash.p + prefix.n, hash.n - prefix.n}))
		return agi_fail(
		    why, AGI_E_INVALID,
		    "the hash: expected blake2b: and 64 hex digits (never the token itself)");
	err = agi_scopes_parse(&e->scopes, scope_list, why);
	memcpy(e->name, name.p, name.n);
	return err;
}

static enum agi_err add_entry(struct agi_tokens *t, const struct entry *e, struct agi_why *why)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->v[i].name, e->name) == 0 ||
		    memcmp(t->v[i].hash, e->hash, sizeof e->hash) == 0)
			return agi_fail(why, AGI_E_INVALID, "\"%s\" or its token is given twice",
					e->name);
	if (t->n == AGI_TOKENS_MAX)
		return agi_fail(why, AGI_E_TOO_LARGE, "more than %d tokens", AGI_TOKENS_MAX);
	if (t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 16;
		struct entry *v = reallocarray(t->v, cap, sizeof *v);

		if (!v)
			return agi_fail(why, AGI_E_NOMEM, "out of memory");
		t->v = v;
		t->cap = cap;
	}
	t->v[t->n++] = *e;
	return AGI_OK;
}

static enum agi_err take_line(struct agi_tokens *t, struct agi_str line, struct agi_why *why)
{
	struct agi_str rest = line, first;
	struct entry e = {.scopes = 0};
	enum agi_err err;

	if (line.n && line.p[line.n - 1] == '\r')
		rest.n = --line.n;
	first = next_word(&rest);
	if (first.n == 0 || first.p[0] == '#')
		return AGI_OK;
	err = read_entry(&e, line, why);
	return err ? err : add_entry(t, &e, why);
}

enum agi_err agi_tokens_parse(const char *name, struct agi_str text, struct agi_tokens **out,
			      struct agi_why *why)
{
	struct agi_tokens *t = calloc(1, sizeof *t);
	enum agi_err e = t ? AGI_OK : agi_fail(why, AGI_E_NOMEM, "out of memory");
	struct agi_why reason = {""};

	for (unsigned number = 1; !e && text.n; number++) {
		const char *end = memchr(text.p, '\n', text.n);
		size_t n = end ? (size_t)(end - text.p) : text.n;

		e = take_line(t, (struct agi_str){text.p, n}, &reason);
		if (e)
			(void)agi_fail(why, e, "%s:%u: %.200s", name, number, reason.text);
		text = (struct agi_str){text.p + n + !!end, text.n - n - !!end};
	}
	if (e)
		agi_tokens_free(t);
	else
		*out = t;
	return e;
}

/* --- the file
 * ------------------------------------------------------------------------------------------------
 */
struct kind {
	mode_t forbidden;
	const char *fault; /* who has one of those bits */
	int max_bytes;
};

static enum agi_err check_file(int fd, const char *path, const struct kind *kind,
			       struct agi_why *why)
{
	struct stat st;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return agi_fail(why, AGI_E_IO, "%s: expected a regular file", path);
	if (st.st_mode & kind->forbidden)
		return agi_fail(why, AGI_E_DENIED, "%s: %s (mode %03o): expected %03o or less", path,
				kind->fault, (unsigned)(st.st_mode & 07777),
				(unsigned)(0666 & ~kind->forbidden));
	return st.st_size > kind->max_bytes
		   ? agi_fail(why, AGI_E_TOO_LARGE, "%s: larger than %d bytes", path,
			      kind->max_bytes)
		   : AGI_OK;
}

static enum agi_err read_all(int fd, const char *path, struct agi_buf *out, struct agi_why *why)
{
	ssize_t n;

	do {
		uint8_t *to = agi_buf_reserve(out, 4096);

		if (!to)
			return agi_fail(why, out->err, "%s: %s", path, agi_err_text(out->err));
		n = read(fd, to, 4096);
		out->n += n > 0 ? (size_t)n : 0;
	} while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? agi_fail(why, AGI_E_IO, "%s: %s", path, strerror(errno)) : AGI_OK;
}

static enum agi_err read_file(const char *path, const struct kind *kind, struct agi_buf *text,
			      struct agi_why *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang the start */
	enum agi_err e;

	agi_buf_init(text, (size_t)kind->max_bytes + 4096);
	if (fd < 0)
		return agi_fail(why, AGI_E_IO, "%s: %s", path, strerror(errno));
	e = check_file(fd, path, kind, why);
	if (!e)
		e = read_all(fd, path, text, why);
	close(fd);
	return e;
}

enum agi_err agi_tokens_read(const char *path, struct agi_tokens **out, struct agi_why *why)
{
	static const struct kind table = {S_IWGRP | S_IWOTH, "others can write to it",
					  AGI_TOKENS_FILE_MAX};
	struct agi_buf text;
	enum agi_err e = read_file(path, &table, &text, why);

	if (!e)
		e = agi_tokens_parse(path, agi_buf_str(&text), out, why);
	agi_buf_free(&text);
	return e;
}

/* RFC 6750 2.1 permits less; what matters is that it cannot end the header or the line. */
static enum agi_err take_bearer(const char *path, struct agi_str text, char out[AGI_BEARER_MAX + 1],
				struct agi_why *why)
{
	struct agi_str token;

	while (text.n && strchr(" \t\r\n", text.p[text.n - 1]))
		text.n--;
	token = next_word(&text);
	if (token.n == 0 || text.n)
		return agi_fail(why, AGI_E_INVALID, "%s: expected one line with one token", path);
	if (token.n > AGI_BEARER_MAX)
		return agi_fail(why, AGI_E_TOO_LARGE, "%s: a token of more than %d bytes", path,
				AGI_BEARER_MAX);
	for (size_t i = 0; i < token.n; i++)
		if (token.p[i] <= ' ' || token.p[i] > '~')
			return agi_fail(why, AGI_E_INVALID,
					"%s: expected a token of printable ASCII characters", path);
	memcpy(out, token.p, token.n);
	out[token.n] = '\0';
	return AGI_OK;
}

enum agi_err agi_bearer_read(const char *path, char out[AGI_BEARER_MAX + 1], struct agi_why *why)
{
	static const struct kind secret = {S_IWGRP | S_IRWXO, "others can read or change it",
					   2 * AGI_BEARER_MAX};
	struct agi_buf text;
	enum agi_err e = read_file(path, &secret, &text, why);

	if (!e)
		e = take_bearer(path, agi_buf_str(&text), out, why);
	if (text.p)
		sodium_memzero(text.p, text.cap);
	agi_buf_free(&text);
	return e;
}

void agi_tokens_free(struct agi_tokens *t)
{
	if (!t)
		return;
	free(t->v);
	free(t);
}

size_t agi_tokens_count(const struct agi_tokens *t) { return t->n; }

/* How long a search takes may tell how much of a hash fits; of the token behind it that tells
 * nothing. */
bool agi_tokens_find(const struct agi_tokens *t, struct agi_str token, unsigned *out,
		     const char **name)
{
	uint8_t hash[AGI_TOKEN_HASH_BYTES];

	if (!agi_token_hash(hash, token))
		return false;
	for (size_t i = 0; i < t->n; i++)
		if (sodium_memcmp(t->v[i].hash, hash, sizeof hash) == 0) {
			*out = t->v[i].scopes;
			*name = t->v[i].name;
			return true;
		}
	return false;
}
