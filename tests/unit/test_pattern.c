/* SPDX-License-Identifier: Apache-2.0
 * The patterns of rules: what they match, what is refused, and that they match as a slow twin says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/prng.h"
#include "roles/rules/pattern.h"

static bool matches(const char *pattern, const char *text)
{
	struct agi_pattern p;
	struct agi_why why = {""};

	if (agi_pattern_compile(&p, agi_str_of(pattern), &why))
		fail_msg("%s: %s", pattern, why.text);
	return agi_pattern_matches(&p, agi_str_of(text));
}

static void a_pattern_matches_at_the_beginning_and_may_end_anywhere(void **state)
{
	(void)state;
	assert_true(matches("move", "move_arm"));
	assert_true(matches("^move", "move_arm"));
	assert_false(matches("arm", "move_arm"));
	assert_true(matches(".*arm", "move_arm"));
	assert_false(matches("move$", "move_arm"));
	assert_true(matches("move_arm$", "move_arm"));
	assert_false(matches("move_arm$", "move_arm\n"));
	assert_true(matches("$", ""));
	assert_false(matches("$", "x"));
	assert_true(matches("(|a)$", ""));
}

static void every_kind_of_part_matches_what_the_page_says(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool is_match;
	} rows[] = {
	    {"a.c$", "abc", true},        {"a.c$", "a\nc", false},      {"[a-c]+$", "abcabc", true},
	    {"[a-c]+$", "abd", false},    {"[^a-c]$", "d", true},       {"[^a-c]$", "b", false},
	    {"[]x]+$", "]x]", true},      {"[a-]+$", "a-a", true},      {"[\\]\\-]+$", "]-", true},
	    {"\\d+\\.\\d+$", "12.5", true}, {"\\d+$", "12a", false},    {"\\w+$", "a_9", true},
	    {"\\W$", "-", true},          {"\\W$", "a", false},         {"\\s\\S$", "\tx", true},
	    {"[\\d_]+$", "1_2", true},    {"[^\\d]$", "7", false},      {"\\D+$", "ab", true},
	    {"(ab|cd)+$", "abcdab", true}, {"(ab|cd)+$", "abc", false}, {"a|b", "bx", true},
	    {"ab?c$", "ac", true},        {"ab?c$", "abc", true},       {"ab?c$", "abbc", false},
	    {"a*b$", "b", true},          {"(a*)*b$", "aaab", true},    {"x(a|)y$", "xy", true},
	    {"\xc3\xa9+$", "\xc3\xa9\xc3\xa9", true}, {"\xc3\xa9+$", "\xc3\xa9\xa9", false},
	    {"\\$\\^\\*\\\\$", "$^*\\", true}, {"a\\$$", "a$", true},   {"a\\\\$", "a\\", true},
	    {"\\n\\t$", "\n\t", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (matches(rows[i].pattern, rows[i].text) != rows[i].is_match)
			fail_msg("%s on %s", rows[i].pattern, rows[i].text);
}

static void what_is_not_supported_is_refused_and_said(void **state)
{
	static const struct {
		const char *pattern, *says;
	} rows[] = {
	    {"", "matches every text"},   {"a*", "matches every text"},     {"(a", "not closed"},
	    {"a)", "without a ("},        {"[a", "not closed"},             {"[", "not closed"},
	    {"[]", "not closed"},         {"*a", "nothing to repeat"},      {"a**", "repeated already"},
	    {"a*?b", "repeated already"}, {"a{2}", "counted repetition"},   {"(?:a)", "not supported"},
	    {"a^b", "only the first"},    {"a$b", "only the last"},         {"a|b$", "expected (a|b)$"},
	    {"(a$)", "only the last"},    {"\\1", "expected \\d"},          {"\\", "expected \\d"},
	    {"[b-a]", "in order"},        {"[\\d-z]", "in order"},          {"[\xc3\xa9]", "outside ASCII"},
	    {"((((((((((a))))))))))", "deeper"},
	    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "more than 64"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct agi_pattern p;
		struct agi_why why = {""};

		assert_int_equal(agi_pattern_compile(&p, agi_str_of(rows[i].pattern), &why), AGI_E_INVALID);
		if (!strstr(why.text, rows[i].says))
			fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].pattern, why.text, rows[i].says);
	}
}

static void sixty_four_positions_are_taken_and_long_texts_never_match(void **state)
{
	static char text[AGI_PATTERN_TEXT_MAX + 1];
	struct agi_pattern p;
	char pattern[65];

	(void)state;
	memset(pattern, 'a', 64);
	pattern[64] = '\0';
	assert_true(matches(pattern, pattern));
	memset(text, 'a', sizeof text);
	assert_int_equal(agi_pattern_compile(&p, AGI_STR("(a|a|a*)*b?$"), NULL), AGI_OK);
	assert_true(agi_pattern_matches(&p, (struct agi_str){text, AGI_PATTERN_TEXT_MAX}));
	assert_false(agi_pattern_matches(&p, (struct agi_str){text, AGI_PATTERN_TEXT_MAX + 1}));
}

/* --- the twin: where a part may end, for every place where it may begin ------------------------------------------ */
enum { TEXT = 10 };
struct world {
	struct agi_prng r;
	struct agi_buf pattern;
	char text[TEXT];
	size_t n;
};
typedef unsigned places; /* bits 0 … TEXT */

static places choice(struct world *w, places from, unsigned depth, const char **at);

/* Reads the pattern again for itself: literals a b, ., [ab], groups, | and the three repetitions. */
static places atom(struct world *w, places from, unsigned depth, const char **at)
{
	const char c = *(*at)++;
	const char *inside = *at;
	places to = 0;

	if (c == '(') {
		to = choice(w, from, depth + 1, at);
		(*at)++;
		return to;
	}
	if (c == '[')
		*at = strchr(*at, ']') + 1;
	for (size_t i = 0; i < w->n; i++) {
		bool takes = c == '.' || (c == '[' ? memchr(inside, w->text[i], (size_t)(*at - inside)) != NULL
		                                   : w->text[i] == c);

		if ((from >> i & 1) && takes)
			to |= 1u << (i + 1);
	}
	return to;
}

static places repeated(struct world *w, places from, unsigned depth, const char **at)
{
	const char *begin = *at;
	places once = atom(w, from, depth, at), all = once;
	char c = **at;

	if (c == '?' || c == '*' || c == '+')
		(*at)++;
	while (c == '*' || c == '+') {
		const char *again = begin;
		places more = all | atom(w, all, depth, &again);

		if (more == all)
			break;
		all = more;
	}
	return c == '?' || c == '*' ? all | from : all;
}

static places choice(struct world *w, places from, unsigned depth, const char **at)
{
	places all = 0, now = from;

	while (**at && **at != ')') {
		if (**at == '|') {
			all |= now;
			now = from;
			(*at)++;
		} else {
			now = repeated(w, now, depth, at);
		}
	}
	return all | now;
}

static void write_pattern(struct world *w, unsigned depth)
{
	static const char *const atoms[] = {"a", "b", ".", "[ab]", "[b]", "a"};
	static const char *const repeats[] = {"", "", "", "*", "+", "?"};
	size_t n = 1 + agi_prng_below(&w->r, 3);

	for (size_t i = 0; i < n; i++) {
		if (i && agi_prng_below(&w->r, 4) == 0)
			agi_buf_u8(&w->pattern, '|');
		if (depth < 3 && agi_prng_below(&w->r, 3) == 0) {
			agi_buf_u8(&w->pattern, '(');
			write_pattern(w, depth + 1);
			agi_buf_u8(&w->pattern, ')');
		} else {
			agi_buf_put_str(&w->pattern, agi_str_of(atoms[agi_prng_below(&w->r, 6)]));
		}
		agi_buf_put_str(&w->pattern, agi_str_of(repeats[agi_prng_below(&w->r, 6)]));
	}
}

static void random_patterns_match_what_a_slow_twin_says(void **state)
{
	struct world w = {.n = 0};
	size_t compared = 0;

	(void)state;
	agi_prng_seed(&w.r, 17);
	agi_buf_init(&w.pattern, 0);
	for (int i = 0; i < 20000; i++) {
		bool is_whole = agi_prng_below(&w.r, 2);
		struct agi_pattern p;
		const char *at;
		places ends;

		agi_buf_reset(&w.pattern);
		agi_buf_u8(&w.pattern, '(');
		write_pattern(&w, 0);
		agi_buf_put(&w.pattern, is_whole ? ")$" : ")", is_whole ? 2 : 1);
		if (agi_pattern_compile(&p, agi_buf_str(&w.pattern), NULL))
			continue; /* too long, or matches everything */
		w.pattern.n -= is_whole;
		agi_buf_u8(&w.pattern, 0);
		w.n = agi_prng_below(&w.r, TEXT);
		for (size_t k = 0; k < w.n; k++)
			w.text[k] = "abc"[agi_prng_below(&w.r, 3)];
		at = (const char *)w.pattern.p;
		ends = choice(&w, 1, 0, &at);
		if (agi_pattern_matches(&p, (struct agi_str){w.text, w.n}) != (is_whole ? (ends >> w.n & 1) : ends != 0))
			fail_msg("%s%s on %.*s", (char *)w.pattern.p, is_whole ? "$" : "", (int)w.n, w.text);
		compared++;
	}
	assert_true(compared > 10000);
	agi_buf_free(&w.pattern);
}

static void random_bytes_are_taken_or_refused(void **state)
{
	struct agi_prng r;

	(void)state;
	agi_prng_seed(&r, 3);
	for (int i = 0; i < 20000; i++) {
		static const char likely[] = "ab.*+?()[]|^$\\-dw{}\xc3\xa9";
		char text[24];
		size_t n = agi_prng_below(&r, sizeof text);
		struct agi_pattern p;
		struct agi_why why = {""};

		for (size_t k = 0; k < n; k++)
			text[k] = agi_prng_below(&r, 8) ? likely[agi_prng_below(&r, sizeof likely - 1)]
			                                : (char)agi_prng_below(&r, 256);
		if (agi_pattern_compile(&p, (struct agi_str){text, n}, &why))
			assert_true(why.text[0]);
		else
			(void)agi_pattern_matches(&p, (struct agi_str){text, n});
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_pattern_matches_at_the_beginning_and_may_end_anywhere),
	    cmocka_unit_test(every_kind_of_part_matches_what_the_page_says),
	    cmocka_unit_test(what_is_not_supported_is_refused_and_said),
	    cmocka_unit_test(sixty_four_positions_are_taken_and_long_texts_never_match),
	    cmocka_unit_test(random_patterns_match_what_a_slow_twin_says),
	    cmocka_unit_test(random_bytes_are_taken_or_refused),
	};

	return cmocka_run_group_tests_name("pattern", tests, NULL, NULL);
}
