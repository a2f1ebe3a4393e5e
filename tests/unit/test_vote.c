/* SPDX-License-Identifier: Apache-2.0
 * The tally against an obviously correct twin, over every vote of every panel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/limits.h"
#include "roles/safety_gateway/vote.h"

/* One vote of each seat; NONE = missing. */
typedef void visit_fn(const enum agi_decision *votes, unsigned n);

static unsigned needed; /* by the rule under test */

static void each_multiset_of(visit_fn *visit, unsigned n);

/* Every panel, under every number of votes a rule may need. */
static void each_multiset(visit_fn *visit)
{
	for (unsigned n = 1; n <= AGI_PANEL_MAX; n++)
		for (needed = agi_vote_majority(n); needed <= n; needed++)
			each_multiset_of(visit, n);
}

/* Every assignment of {missing, ALLOW, REVISE, DEFER, BLOCK} in non-descending order: every multiset. */
static void each_multiset_of(visit_fn *visit, unsigned n)
{
	enum agi_decision v[AGI_PANEL_MAX] = {AGI_DECISION_NONE};

	for (;;) {
		unsigned i = 0;

		visit(v, n);
		while (i < n && v[i] == AGI_DECISION_BLOCK)
			i++;
		if (i == n)
			break;
		v[i]++;
		for (unsigned k = 0; k < i; k++)
			v[k] = v[i];
	}
}

static void count(struct agi_tally *t, const enum agi_decision *v, unsigned n)
{
	agi_tally_init(t, n, needed);
	for (unsigned i = 0; i < n; i++)
		if (v[i] != AGI_DECISION_NONE)
			agi_tally_add(t, v[i]);
}

static enum agi_decision result(const enum agi_decision *v, unsigned n)
{
	struct agi_tally t;

	count(&t, v, n);
	return agi_tally_result(&t);
}

/* Straight from the definition: try each decision, most permissive first, and count who is content. */
static enum agi_decision slow_result(const enum agi_decision *v, unsigned n)
{
	for (int d = AGI_DECISION_ALLOW; d <= AGI_DECISION_BLOCK; d++) {
		unsigned content = 0;

		for (unsigned i = 0; i < n; i++) {
			int vote = v[i] == AGI_DECISION_NONE ? AGI_DECISION_BLOCK : (int)v[i];

			content += vote <= d;
		}
		if (content >= needed)
			return (enum agi_decision)d;
	}
	return AGI_DECISION_BLOCK;
}

static unsigned visited;

static void compare_with_twin(const enum agi_decision *v, unsigned n)
{
	visited++;
	assert_int_equal(result(v, n), slow_result(v, n));
}

static void tally_is_what_its_definition_says(void **state)
{
	(void)state;
	visited = 0;
	each_multiset(compare_with_twin);
	assert_int_equal(visited, 5 + 15 + 35 * 2 + 70 * 2 + 126 * 3 + 210 * 3 + 330 * 4); /* C(n + 4, 4), by rule */
}

static void check_allow(const enum agi_decision *v, unsigned n)
{
	unsigned allow = 0;

	for (unsigned i = 0; i < n; i++)
		allow += v[i] == AGI_DECISION_ALLOW;
	assert_int_equal(result(v, n) == AGI_DECISION_ALLOW, allow >= needed);
}

static void allow_needs_as_many_as_the_rule_says(void **state)
{
	(void)state;
	each_multiset(check_allow);
}

static void every_rule_needs_a_majority(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= AGI_PANEL_MAX; n++) {
		assert_int_equal(agi_quorum_needed(AGI_QUORUM_MAJORITY, n, 9), n / 2 + 1);
		assert_int_equal(agi_quorum_needed(AGI_QUORUM_UNANIMOUS, n, 9), n);
		for (unsigned f = 1; f <= 2; f++) {
			unsigned b = agi_quorum_needed(AGI_QUORUM_BYZANTINE, n, f);

			assert_int_equal(b == 0, n <= 3 * f);
			assert_true(b == 0 || (b >= 2 * f + 1 && 2 * b > n && b <= n));
		}
	}
	assert_int_equal(agi_quorum_needed(AGI_QUORUM_BYZANTINE, 4, 1), 3);
	assert_int_equal(agi_quorum_needed(AGI_QUORUM_BYZANTINE, 7, 2), 5);
}

/* Of n gateways f lie, each in the worst way; the honest ones are of one mind, or split. */
static void check_liars(unsigned n, unsigned f)
{
	enum agi_decision v[AGI_PANEL_MAX];

	needed = agi_quorum_needed(AGI_QUORUM_BYZANTINE, n, f);
	for (unsigned honest_allows = 0; honest_allows <= n - f; honest_allows++) {
		for (unsigned i = 0; i < n; i++)
			v[i] = i < f || i - f < honest_allows ? AGI_DECISION_ALLOW : AGI_DECISION_BLOCK;
		if (result(v, n) == AGI_DECISION_ALLOW) /* though the liars helped */
			assert_true(honest_allows >= f + 1);
		for (unsigned i = 0; i < f; i++)
			v[i] = i % 2 ? AGI_DECISION_NONE : AGI_DECISION_BLOCK;
		if (honest_allows == n - f) /* though the liars hindered */
			assert_int_equal(result(v, n), AGI_DECISION_ALLOW);
	}
}

static void liars_neither_allow_nor_block_under_byzantine(void **state)
{
	(void)state;
	for (unsigned f = 1; f <= 2; f++)
		for (unsigned n = 3 * f + 1; n <= AGI_PANEL_MAX; n++)
			check_liars(n, f);
}

static void check_stricter(const enum agi_decision *v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (int d = v[i] + 1; d <= AGI_DECISION_BLOCK && v[i] != AGI_DECISION_NONE; d++) {
			enum agi_decision w[AGI_PANEL_MAX];

			memcpy(w, v, sizeof w);
			w[i] = (enum agi_decision)d;
			assert_true(result(w, n) >= result(v, n));
			w[i] = AGI_DECISION_NONE;
			assert_true(result(w, n) >= result(v, n));
		}
}

static void a_stricter_or_missing_vote_never_makes_the_result_more_permissive(void **state)
{
	(void)state;
	each_multiset(check_stricter);
}

/* Fill the missing seats in every way: does the result ever differ from "all missing are BLOCK"? */
static bool can_change(const enum agi_decision *v, unsigned n, unsigned open)
{
	enum agi_decision w[AGI_PANEL_MAX];
	unsigned at = 0;

	memcpy(w, v, sizeof w);
	while (at < n && w[at] != AGI_DECISION_NONE)
		at++;
	if (at == n || !open)
		return false;
	for (int d = AGI_DECISION_ALLOW; d <= AGI_DECISION_BLOCK; d++) {
		w[at] = (enum agi_decision)d;
		if (result(w, n) != result(v, n) || can_change(w, n, open - 1))
			return true;
	}
	return false;
}

static void check_decided(const enum agi_decision *v, unsigned n)
{
	struct agi_tally t;

	if (n > 5)
		return; /* the twin tries 5^missing ways */
	count(&t, v, n);
	for (unsigned open = 0; open <= n; open++)
		assert_int_equal(agi_tally_is_decided(&t, open), !can_change(v, n, open));
}

static void decided_early_means_that_no_vote_can_change_it(void **state)
{
	(void)state;
	each_multiset(check_decided);
}

static void one_block_of_two_blocks(void **state)
{
	const enum agi_decision v[AGI_PANEL_MAX] = {AGI_DECISION_ALLOW, AGI_DECISION_BLOCK};

	(void)state;
	needed = 2;
	assert_int_equal(result(v, 2), AGI_DECISION_BLOCK);
}

static void votes_beyond_the_electorate_and_nonsense_do_not_allow(void **state)
{
	struct agi_tally t;

	(void)state;
	agi_tally_init(&t, 3, 2);
	agi_tally_add(&t, AGI_DECISION_NONE);
	agi_tally_add(&t, (enum agi_decision)77);
	agi_tally_add(&t, AGI_DECISION_ALLOW);
	agi_tally_add(&t, AGI_DECISION_ALLOW);
	assert_int_equal(agi_tally_result(&t), AGI_DECISION_BLOCK);
	assert_string_equal(agi_decision_name((enum agi_decision)77), "BLOCK");
	assert_int_equal(agi_decision_stricter(AGI_DECISION_NONE, AGI_DECISION_ALLOW), AGI_DECISION_BLOCK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tally_is_what_its_definition_says),
	    cmocka_unit_test(allow_needs_as_many_as_the_rule_says),
	    cmocka_unit_test(every_rule_needs_a_majority),
	    cmocka_unit_test(liars_neither_allow_nor_block_under_byzantine),
	    cmocka_unit_test(a_stricter_or_missing_vote_never_makes_the_result_more_permissive),
	    cmocka_unit_test(decided_early_means_that_no_vote_can_change_it),
	    cmocka_unit_test(one_block_of_two_blocks),
	    cmocka_unit_test(votes_beyond_the_electorate_and_nonsense_do_not_allow),
	};

	return cmocka_run_group_tests_name("vote", tests, NULL, NULL);
}
