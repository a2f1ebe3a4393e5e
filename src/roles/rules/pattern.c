/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/rules/pattern.h"

/* A part of the pattern: where it may begin and end. */
struct part {
	uint64_t first, last;
	bool is_nullable;
};

struct reader {
	struct agi_pattern *p;
	const unsigned char *text;
	size_t n, at;
	unsigned n_positions, depth;
	bool has_choice; /* a | outside of all groups */
	struct agi_why *why;
};

typedef bool set_of_bytes[256];

#define FAIL(r, ...) (void)agi_fail((r)->why, AGI_E_INVALID, __VA_ARGS__)

/* --- building ------------------------------------------------------------------------------------------------ */
static bool add_position(struct reader *r, const set_of_bytes set, struct part *out)
{
	uint64_t bit;

	if (r->n_positions == AGI_PATTERN_POSITIONS) {
		FAIL(r, "pattern: more than %d characters and classes", AGI_PATTERN_POSITIONS);
		return false;
	}
	bit = (uint64_t)1 << r->n_positions++;
	for (size_t i = 0; i < 256; i++)
		if (set[i])
			r->p->of_byte[i] |= bit;
	*out = (struct part){bit, bit, false};
	return true;
}

static void link_parts(struct agi_pattern *p, uint64_t from, uint64_t to)
{
	for (; from; from &= from - 1)
		p->follow[__builtin_ctzll(from)] |= to;
}

static struct part join(struct agi_pattern *p, struct part a, struct part b)
{
	link_parts(p, a.last, b.first);
	return (struct part){a.first | (a.is_nullable ? b.first : 0), b.last | (b.is_nullable ? a.last : 0),
	                     a.is_nullable && b.is_nullable};
}

/* --- sets of bytes ------------------------------------------------------------------------------------------- */
static bool is_in_named(char name, unsigned char c)
{
	bool is_digit = c >= '0' && c <= '9';

	switch (name) {
	case 'd':
		return is_digit;
	case 'w':
		return is_digit || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
	default:
		return c == ' ' || (c >= '\t' && c <= '\r');
	}
}

static bool is_punctuation(unsigned char c)
{
	return c > ' ' && c < 127 && !is_in_named('w', c);
}

/* What stands behind a backslash, added to the set. *one: the byte it is, or -1 for a class. */
static bool read_escape(struct reader *r, set_of_bytes set, int *one)
{
	unsigned char c = r->at < r->n ? r->text[r->at] : 0;
	char small = (char)(c | 32);

	*one = c == 'n' ? '\n' : c == 't' ? '\t' : c;
	if (c == 'n' || c == 't' || c == '_' || is_punctuation(c)) {
		set[*one] = true;
	} else if (c && (small == 'd' || small == 'w' || small == 's')) {
		for (unsigned i = 0; i < 256; i++)
			set[i] |= is_in_named(small, (unsigned char)i) == (c == (unsigned char)small);
		*one = -1;
	} else {
		FAIL(r, "pattern: a \\ at byte %zu: expected \\d \\w \\s \\D \\W \\S \\n \\t or punctuation after it",
		     r->at);
		return false;
	}
	r->at++;
	return true;
}

/* One end of a range, or a single member. */
static bool read_member(struct reader *r, set_of_bytes set, int *one)
{
	unsigned char c = r->text[r->at++];

	if (c == '\\')
		return read_escape(r, set, one);
	if (c >= 0x80) {
		FAIL(r, "pattern: a character outside ASCII in [] at byte %zu: write (a|b) instead", r->at);
		return false;
	}
	*one = c;
	set[c] = true;
	return true;
}

static bool read_range(struct reader *r, set_of_bytes set)
{
	int from, to;

	if (!read_member(r, set, &from))
		return false;
	if (r->at + 1 >= r->n || r->text[r->at] != '-' || r->text[r->at + 1] == ']')
		return true;
	r->at++;
	if (!read_member(r, set, &to))
		return false;
	if (from < 0 || to < from) {
		FAIL(r, "pattern: the range that ends at byte %zu: expected two characters in order", r->at);
		return false;
	}
	for (int c = from; c <= to; c++)
		set[c] = true;
	return true;
}

static bool read_class(struct reader *r, struct part *out)
{
	size_t began = r->at;
	set_of_bytes set = {false};
	bool is_negated = r->at < r->n && r->text[r->at] == '^';

	r->at += is_negated;
	do { /* a ] that comes first is a member */
		if (r->at >= r->n) {
			FAIL(r, "pattern: the [ at byte %zu is not closed", began);
			return false;
		}
		if (!read_range(r, set))
			return false;
	} while (r->at >= r->n || r->text[r->at] != ']');
	r->at++;
	for (size_t i = 0; is_negated && i < 256; i++)
		set[i] = !set[i];
	return add_position(r, set, out);
}

/* --- reading ------------------------------------------------------------------------------------------------- */
static bool read_choice(struct reader *r, struct part *out);

static bool read_group(struct reader *r, struct part *out)
{
	size_t began = r->at;

	if (r->at < r->n && r->text[r->at] == '?') {
		FAIL(r, "pattern: (? at byte %zu is not supported", began);
		return false;
	}
	if (++r->depth > AGI_PATTERN_DEPTH) {
		FAIL(r, "pattern: groups deeper than %d", AGI_PATTERN_DEPTH);
		return false;
	}
	if (!read_choice(r, out))
		return false;
	r->depth--;
	if (r->at >= r->n || r->text[r->at] != ')') {
		FAIL(r, "pattern: the ( at byte %zu is not closed", began);
		return false;
	}
	r->at++;
	return true;
}

/* A character; outside ASCII all of its bytes, so that what repeats it repeats the whole. */
static bool read_character(struct reader *r, unsigned char c, struct part *out)
{
	set_of_bytes set = {false};
	struct part more;

	set[c] = true;
	if (!add_position(r, set, out))
		return false;
	while (c >= 0xc0 && r->at < r->n && (r->text[r->at] & 0xc0) == 0x80) {
		memset(set, 0, sizeof set);
		set[r->text[r->at++]] = true;
		if (!add_position(r, set, &more))
			return false;
		*out = join(r->p, *out, more);
	}
	return true;
}

static bool read_atom(struct reader *r, struct part *out)
{
	unsigned char c = r->text[r->at++];
	set_of_bytes set = {false};
	int one;

	switch (c) {
	case '(':
		return read_group(r, out);
	case '[':
		return read_class(r, out);
	case '\\':
		return read_escape(r, set, &one) && add_position(r, set, out);
	case '.':
		memset(set, true, sizeof set);
		set['\n'] = false;
		return add_position(r, set, out);
	case '*':
	case '+':
	case '?':
	case '{':
	case '}':
	case '^':
	case '$':
		FAIL(r, "pattern: %c at byte %zu: %s; write \\%c for the character itself", c, r->at,
		     c == '^'   ? "only the first may be one"
		     : c == '$' ? "only the last may be one, and not beside a | outside of a group"
		     : c == '{' || c == '}' ? "counted repetition is not supported"
		                : "there is nothing to repeat, or it is repeated already",
		     c);
		return false;
	default:
		return read_character(r, c, out);
	}
}

static bool read_repeated(struct reader *r, struct part *out)
{
	unsigned char c;

	if (!read_atom(r, out))
		return false;
	c = r->at < r->n ? r->text[r->at] : 0;
	if (c != '*' && c != '+' && c != '?')
		return true;
	r->at++;
	if (c != '?')
		link_parts(r->p, out->last, out->first);
	if (c != '+')
		out->is_nullable = true;
	return true;
}

static bool ends_here(const struct reader *r)
{
	return r->at >= r->n || r->text[r->at] == '|' || r->text[r->at] == ')';
}

static bool read_choice(struct reader *r, struct part *out)
{
	*out = (struct part){0, 0, false};
	for (;;) {
		struct part sequence = {0, 0, true}, next;

		while (!ends_here(r)) {
			if (!read_repeated(r, &next))
				return false;
			sequence = join(r->p, sequence, next);
		}
		out->first |= sequence.first;
		out->last |= sequence.last;
		out->is_nullable |= sequence.is_nullable;
		if (r->at >= r->n || r->text[r->at] != '|')
			return true;
		r->has_choice |= r->depth == 0;
		r->at++;
	}
}

/* The last character is a $ that is not escaped. */
static bool ends_with_dollar(struct agi_str s)
{
	size_t slashes = 0;

	if (s.n == 0 || s.p[s.n - 1] != '$')
		return false;
	while (slashes + 1 < s.n && s.p[s.n - 2 - slashes] == '\\')
		slashes++;
	return slashes % 2 == 0;
}

enum agi_err agi_pattern_compile(struct agi_pattern *out, struct agi_str text, struct agi_why *why)
{
	struct reader r = {.p = out, .text = (const unsigned char *)text.p, .n = text.n, .why = why};
	struct part all;

	*out = (struct agi_pattern){.is_whole = ends_with_dollar(text)};
	r.n -= out->is_whole;
	r.at = r.n && r.text[0] == '^';
	if (!read_choice(&r, &all))
		return AGI_E_INVALID;
	if (r.at < r.n)
		return agi_fail(why, AGI_E_INVALID, "pattern: a ) without a ( at byte %zu", r.at + 1);
	if (out->is_whole && r.has_choice)
		return agi_fail(why, AGI_E_INVALID, "pattern: $ beside a |: expected (a|b)$");
	if (all.is_nullable && !out->is_whole)
		return agi_fail(why, AGI_E_INVALID, "pattern: matches every text; is a $ missing at its end?");
	out->first = all.first;
	out->last = all.last;
	out->is_nullable = all.is_nullable;
	return AGI_OK;
}

bool agi_pattern_matches(const struct agi_pattern *p, struct agi_str text)
{
	uint64_t at = p->first;

	if (text.n > AGI_PATTERN_TEXT_MAX)
		return false;
	if (text.n == 0)
		return p->is_nullable;
	for (size_t i = 0; i < text.n; i++) {
		uint64_t next = 0;

		at &= p->of_byte[(unsigned char)text.p[i]];
		if ((at & p->last) && (!p->is_whole || i + 1 == text.n))
			return true;
		for (; at; at &= at - 1)
			next |= p->follow[__builtin_ctzll(at)];
		if (!next)
			return false;
		at = next;
	}
	return false;
}
