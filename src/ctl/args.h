/* SPDX-License-Identifier: Apache-2.0
 * Command-line options, declared as tables: "--name VALUE", "--name=VALUE", "-n VALUE", "-nVALUE";
 * "--" ends the options, a lone "-" is a word. An option given twice is an error (which one is
 * meant?). */
#ifndef AGI_CTL_ARGS_H
#define AGI_CTL_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { CTL_OPTS_MAX = 12 }; /* options in one table */

struct ctl_opt {
	const char *name;   /* long name, without dashes; NULL ends a table */
	char letter;        /* short form, or 0 */
	const char *arg;    /* "FILE"; NULL = a flag */
	const char *values; /* the valid values, separated by spaces; NULL = any */
	const char *help;   /* one line */
};

struct ctl_optset {
	const struct ctl_opt *opts; /* NULL = none */
	const char *value[CTL_OPTS_MAX];
};

struct ctl_words {
	char **p;
	int n;
};

/* Parses argv[0 .. argc-1]. Options of every set are understood; the other words are moved, in
 * order, to the front of argv and described by *words. With stop_at_word, parsing ends before the
 * first word and *words holds everything from there. INVALID with why: what was wrong, what is
 * valid, the nearest. */
AGI_MUST_USE enum agi_err ctl_args_parse(struct ctl_optset *sets, size_t n_sets, char **argv,
					 int argc, bool stop_at_word, struct ctl_words *words,
					 struct agi_why *why);
/* The option's value; "" for a flag that was given; NULL when it was not given. The name must
 * exist. */
const char *ctl_opt_value(const struct ctl_optset *set, const char *name);
static inline bool ctl_opt_is_set(const struct ctl_optset *set, const char *name)
{
	return ctl_opt_value(set, name) != NULL;
}
/* True when `word` is one of the space-separated `list`. */
bool ctl_word_in(const char *list, const char *word);
/* Appends ", did you mean 'x'?" to text when one of the words is near. */
void ctl_add_suggestion(struct agi_why *why, const char *word, const char *const *words, size_t n,
			const char *prefix);

#endif
