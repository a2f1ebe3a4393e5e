/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/safety_gateway/words.h"

static const char KELVIN[] = "\xe2\x84\xaa";

/* One folded letter at s[at], and how many bytes it took. A byte outside ASCII stands for itself. */
static char fold(struct agi_str s, size_t at, size_t *bytes)
{
	char c = s.p[at];

	*bytes = 1;
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	if (s.n - at >= 3 && memcmp(s.p + at, KELVIN, 3) == 0) {
		*bytes = 3;
		return 'k';
	}
	return c;
}

/* Bytes that needle covers at s[at]; 0 when it is not there. */
static size_t match(struct agi_str s, size_t at, const char *needle)
{
	size_t i = at, bytes;

	for (; *needle; needle++) {
		if (i >= s.n || fold(s, i, &bytes) != *needle)
			return 0;
		i += bytes;
	}
	return i - at;
}

bool agi_folded_contains(struct agi_str s, const char *needle)
{
	for (size_t i = 0; i < s.n; i++)
		if (match(s, i, needle))
			return true;
	return false;
}

bool agi_folded_equals(struct agi_str s, const char *text)
{
	return s.n && match(s, 0, text) == s.n;
}

static bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
static bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
static bool is_ascii_other(char c)
{
	return (unsigned char)c < 0x80 && !is_upper(c) && !is_lower(c);
}

/* Does a word begin or end between s[at - 1] and s[at]? */
static bool is_boundary(struct agi_str s, size_t at)
{
	char before, after;

	if (at == 0 || at == s.n)
		return true;
	before = s.p[at - 1];
	after = s.p[at];
	if (is_ascii_other(before) || is_ascii_other(after))
		return true;
	if (is_upper(after)) /* loginUser; XMLParser: before a capital that a small letter follows */
		return !is_upper(before) || (at + 1 < s.n && is_lower(s.p[at + 1]));
	/* LIEto: capitals end, but the one capital of To does not end a word */
	return is_lower(after) && is_upper(before) && at >= 2 && is_upper(s.p[at - 2]);
}

bool agi_folded_has_word(struct agi_str s, const char *needle)
{
	for (size_t i = 0; i < s.n; i++) {
		size_t n = is_boundary(s, i) ? match(s, i, needle) : 0;

		if (n && is_boundary(s, i + n))
			return true;
	}
	return false;
}
