/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/args.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ctl/suggest.h"

enum { SETS_MAX = 2 };

const char *ctl_opt_value(const struct ctl_optset *set, const char *name)
{
	for (size_t i = 0; set->opts && set->opts[i].name; i++)
		if (strcmp(set->opts[i].name, name) == 0)
			return set->value[i];
	assert(!"no such option in the table");
	return NULL;
}

bool ctl_word_in(const char *list, const char *word)
{
	size_t n = strlen(word);

	while (*list) {
		size_t len = strcspn(list, " ");

		if (len == n && memcmp(list, word, n) == 0)
			return true;
		list += len;
		list += strspn(list, " ");
	}
	return false;
}

void ctl_add_suggestion(struct agi_why *why, const char *word, const char *const *words, size_t n,
			const char *prefix)
{
	size_t at = strlen(why->text), nearest = ctl_nearest_word(word, words, n);

	if (nearest < n)
		snprintf(why->text + at, sizeof why->text - at, "; did you mean '%s%s'?", prefix,
			 words[nearest]);
}

static void append(struct agi_why *why, const char *fmt, ...) AGI_PRINTF(2, 3);
static void append(struct agi_why *why, const char *fmt, ...)
{
	size_t at = strlen(why->text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text + at, sizeof why->text - at, fmt, ap);
	va_end(ap);
}

static enum agi_err fail_unknown(const struct ctl_optset *sets, size_t n_sets, const char *word,
				 struct agi_why *why)
{
	const char *names[SETS_MAX * CTL_OPTS_MAX];
	char name[CTL_WORD_MAX + 1];
	size_t n = 0;
	struct agi_why scratch;

	if (!why)
		why = &scratch;
	agi_fail(why, AGI_E_INVALID, "unknown option '%.60s'; valid are", word);
	for (size_t s = 0; s < n_sets; s++)
		for (size_t i = 0; sets[s].opts && sets[s].opts[i].name; i++) {
			append(why, "%s --%s", n ? "," : "", sets[s].opts[i].name);
			names[n++] = sets[s].opts[i].name;
		}
	word += strspn(word, "-");
	snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
	ctl_add_suggestion(why, name, names, n, "--");
	return AGI_E_INVALID;
}

static enum agi_err check_value(const struct ctl_opt *o, const char *value, struct agi_why *why)
{
	const char *words[16];
	char copy[128];
	size_t n = 0;
	struct agi_why scratch;

	if (!o->values || ctl_word_in(o->values, value))
		return AGI_OK;
	if (!why)
		why = &scratch;
	snprintf(copy, sizeof copy, "%s", o->values);
	for (char *at = copy, *word; (word = strsep(&at, " ")) && n < sizeof words / sizeof *words;)
		words[n++] = word;
	agi_fail(why, AGI_E_INVALID, "--%s '%.60s': valid are", o->name, value);
	for (size_t i = 0; i < n; i++)
		append(why, "%s %s", i ? "," : "", words[i]);
	ctl_add_suggestion(why, value, words, n, "");
	return AGI_E_INVALID;
}

static enum agi_err store(struct ctl_optset *set, size_t i, const char *value, struct agi_why *why)
{
	const struct ctl_opt *o = &set->opts[i];

	if (set->value[i])
		return agi_fail(why, AGI_E_INVALID, "--%s is given twice", o->name);
	if (check_value(o, value, why) != AGI_OK && o->arg)
		return AGI_E_INVALID;
	set->value[i] = value;
	return AGI_OK;
}

/* One option word; *used = how many words of argv it took. */
static enum agi_err take_option(struct ctl_optset *set, size_t i, const char *attached,
				const char *next, int *used, struct agi_why *why)
{
	const struct ctl_opt *o = &set->opts[i];

	*used = 1;
	if (!o->arg)
		return attached ? agi_fail(why, AGI_E_INVALID, "--%s takes no value", o->name)
				: store(set, i, "", why);
	if (attached)
		return store(set, i, attached, why);
	if (!next)
		return agi_fail(why, AGI_E_INVALID, "--%s needs a value: --%s %s", o->name, o->name,
				o->arg);
	*used = 2;
	return store(set, i, next, why);
}

static enum agi_err parse_long(struct ctl_optset *sets, size_t n_sets, const char *word,
			       const char *next, int *used, struct agi_why *why)
{
	size_t n = strcspn(word + 2, "=");
	const char *attached = word[2 + n] == '=' ? word + 2 + n + 1 : NULL;

	for (size_t s = 0; s < n_sets; s++)
		for (size_t i = 0; sets[s].opts && sets[s].opts[i].name; i++)
			if (strlen(sets[s].opts[i].name) == n &&
			    memcmp(sets[s].opts[i].name, word + 2, n) == 0)
				return take_option(&sets[s], i, attached, next, used, why);
	return fail_unknown(sets, n_sets, word, why);
}

static enum agi_err parse_short(struct ctl_optset *sets, size_t n_sets, const char *word,
				const char *next, int *used, struct agi_why *why)
{
	for (size_t s = 0; s < n_sets; s++)
		for (size_t i = 0; sets[s].opts && sets[s].opts[i].name; i++)
			if (sets[s].opts[i].letter == word[1])
				return take_option(&sets[s], i, word[2] ? word + 2 : NULL, next,
						   used, why);
	return fail_unknown(sets, n_sets, word, why);
}

enum agi_err ctl_args_parse(struct ctl_optset *sets, size_t n_sets, char **argv, int argc,
			    bool stop_at_word, struct ctl_words *words, struct agi_why *why)
{
	enum agi_err e;
	int i = 0, n = 0, used;

	assert(n_sets <= SETS_MAX);
	while (i < argc) {
		char *word = argv[i];

		if (strcmp(word, "--") == 0) {
			i++;
			break;
		}
		if (word[0] != '-' || word[1] == '\0') {
			if (stop_at_word)
				break;
			argv[n++] = word;
			i++;
			continue;
		}
		e = (word[1] == '-' ? parse_long : parse_short)(
		    sets, n_sets, word, i + 1 < argc ? argv[i + 1] : NULL, &used, why);
		if (e != AGI_OK)
			return e;
		i += used;
	}
	while (i < argc)
		argv[n++] = argv[i++];
	*words = (struct ctl_words){argv, n};
	return AGI_OK;
}
