/* SPDX-License-Identifier: Apache-2.0
 * The patterns of the operator `matches`: a subset of the usual regular expressions, in time linear in the text whatever
 * the pattern is. A pattern's positions are the bits of one word (Glushkov's automaton: V. M. Glushkov, The abstract theory
 * of automata, 1961), so there is nothing to go back to.
 *
 *   text   itself; outside ASCII a character's bytes      .      any byte but a newline
 *   [a-z_] [^a-z]   of ASCII; [^…] takes any other byte   \d \w \s \D \W \S   digits, word, blank (ASCII), the others
 *   \n \t \. \\ …   newline, tab, any punctuation         x* x+ x?   repeated
 *   (x|y)  a group, either                                ^ first, $ last (not beside a | outside of a group)
 *
 * It must match at the text's beginning and may end anywhere, unless it ends with $. Pure. */
#ifndef AGI_ROLES_RULES_PATTERN_H
#define AGI_ROLES_RULES_PATTERN_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum {
	AGI_PATTERN_POSITIONS = 64, /* characters, classes and dots of one pattern: the bits of a word */
	AGI_PATTERN_DEPTH = 8,      /* groups within groups */
	AGI_PATTERN_TEXT_MAX = 4096 /* bytes of a text; none that is longer matches */
};

struct agi_pattern {
	uint64_t of_byte[256];                  /* positions that take this byte */
	uint64_t follow[AGI_PATTERN_POSITIONS]; /* positions that may come after this one */
	uint64_t first, last;
	bool is_nullable, is_whole; /* takes the empty text; ends with $ */
};
/* INVALID + why: says where and what is wrong, and what would be right; *out is undefined then. A pattern that would match
 * every text is refused. */
AGI_MUST_USE enum agi_err agi_pattern_compile(struct agi_pattern *out, struct agi_str text, struct agi_why *why);
bool agi_pattern_matches(const struct agi_pattern *p, struct agi_str text);

#endif
