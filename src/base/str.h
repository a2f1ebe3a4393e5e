/* SPDX-License-Identifier: Apache-2.0
 * A borrowed run of bytes: not terminated, may hold NUL, never owned. Who keeps it, copies it. */
#ifndef AGI_BASE_STR_H
#define AGI_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct agi_str {
	const char *p;
	size_t n; /* bytes */
};

#define AGI_STR(literal) ((struct agi_str){"" literal, sizeof(literal) - 1})
#define AGI_STR_ARG(s) (int)(s).n, (s).p ? (s).p : "" /* for "%.*s" */

static inline struct agi_str agi_str_of(const char *z)
{
	return (struct agi_str){z, z ? strlen(z) : 0};
}

static inline bool agi_str_eq(struct agi_str a, struct agi_str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* bytewise, shorter first on a common prefix; <0, 0, >0 */
static inline int agi_str_cmp(struct agi_str a, struct agi_str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.n > b.n) - (a.n < b.n);
}

static inline bool agi_str_has_prefix(struct agi_str s, struct agi_str prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

/* True when s is well-formed UTF-8 (Unicode 15 table 3-7: no surrogates, no overlong forms). */
bool agi_utf8_is_valid(struct agi_str s);

#endif
