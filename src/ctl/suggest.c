/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/suggest.h"

#include <string.h>

static unsigned min2(unsigned a, unsigned b) { return a < b ? a : b; }

unsigned ctl_edit_distance(const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b);
	unsigned row[3][CTL_WORD_MAX + 1]; /* two rows back, one row back, this one */

	if (na > CTL_WORD_MAX || nb > CTL_WORD_MAX)
		return CTL_WORD_MAX + 1;
	for (size_t j = 0; j <= nb; j++)
		row[1][j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		row[2][0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned d = row[1][j - 1] + (a[i - 1] != b[j - 1]);

			d = min2(d, min2(row[1][j], row[2][j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d = min2(d, row[0][j - 2] + 1);
			row[2][j] = d;
		}
		memmove(row[0], row[1], 2 * sizeof row[0]);
	}
	return row[1][nb];
}

size_t ctl_nearest_word(const char *word, const char *const *words, size_t n)
{
	size_t len = strlen(word), best = n;
	unsigned limit = len < 6 ? 1 : (unsigned)len / 3, best_d = limit + 1;

	if (len == 0)
		return n;
	for (size_t i = 0; i < n; i++) {
		unsigned d = ctl_edit_distance(word, words[i]);

		if (len >= 2 && strncmp(word, words[i], len) == 0)
			d = 0;
		if (d < best_d) {
			best_d = d;
			best = i;
		}
	}
	return best;
}
