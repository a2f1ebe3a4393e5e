/* SPDX-License-Identifier: Apache-2.0
 * "Did you mean": the nearest of a list of words, by edit distance. */
#ifndef AGI_CTL_SUGGEST_H
#define AGI_CTL_SUGGEST_H

#include <stddef.h>

enum { CTL_WORD_MAX = 63 }; /* bytes; longer words are never near to anything */

/* Insertions, deletions, substitutions and swaps of neighbours that turn a into b (optimal string
 * alignment). CTL_WORD_MAX + 1 when either is longer than CTL_WORD_MAX. */
unsigned ctl_edit_distance(const char *a, const char *b);
/* Index of the word nearest to `word` if it is near enough to be a slip of the finger (a third of
 * its length, at least one edit) or begins with it; n when none is. */
size_t ctl_nearest_word(const char *word, const char *const *words, size_t n);

#endif
