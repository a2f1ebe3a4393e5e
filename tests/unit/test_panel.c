/* SPDX-License-Identifier: Apache-2.0
 * The quorum check: chosen stories, then random ones against the invariants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/prng.h"
#include "roles/safety_gateway/panel.h"

enum { MS = 1000, DEADLINE = 100 * MS, HEDGE = 30 * MS };

struct world {
	struct agi_panel panel;
	struct agi_id ids[AGI_PANEL_CANDIDATES_MAX];
	bool asked[AGI_PANEL_CANDIDATES_MAX];
	size_t n_asked, n_done;
	uint64_t now, done_at;
	enum agi_decision decision;
	enum agi_panel_cause cause;
	unsigned agreed;
	struct agi_pool pool;
	struct agi_check_result merged;
	struct agi_check_result votes[AGI_DECISION_COUNT];
	uint8_t nonce[AGI_NONCE_BYTES], hash[32];
};

static struct agi_now at(const struct world *w) { return (struct agi_now){w->now, 0}; }

static void on_ask(void *ctx, size_t candidate)
{
	struct world *w = ctx;

	assert_int_equal(w->n_done, 0);
	assert_false(w->asked[candidate]);
	w->asked[candidate] = true;
	w->n_asked++;
}

static void on_done(void *ctx, const struct agi_panel_result *res)
{
	struct world *w = ctx;

	w->n_done++;
	w->done_at = w->now;
	w->decision = res->decision;
	w->cause = res->cause;
	w->agreed = res->agreed;
	agi_panel_merge(&w->merged, res, &w->pool);
}

static const struct agi_panel_effects effects = {on_ask, on_done};

static void begin_with(struct world *w, unsigned electorate, unsigned needed, size_t candidates, uint64_t hedge)
{
	struct agi_panel_cfg cfg = {.electorate = electorate, .needed = needed,
	                            .deadline_us = DEADLINE, .hedge_us = hedge};
	static const char *const reasons[] = {"none", "All checks passed", "please revise",
	                                      "ask a person", "banned"};

	*w = (struct world){0};
	agi_pool_init(&w->pool, 0);
	for (size_t i = 0; i < sizeof w->nonce; i++)
		w->nonce[i] = cfg.nonce[i] = (uint8_t)(i + 1);
	for (size_t i = 0; i < sizeof w->hash; i++)
		w->hash[i] = cfg.plan_hash[i] = (uint8_t)(200 - i);
	for (size_t i = 0; i < AGI_PANEL_CANDIDATES_MAX; i++)
		w->ids[i].b[0] = (uint8_t)(i + 1);
	for (int d = AGI_DECISION_ALLOW; d < AGI_DECISION_COUNT; d++) {
		w->votes[d] = (struct agi_check_result){
		    .decision = (enum agi_decision)d, .risk = d / 4.0, .phase = "complete"};
		agi_strs_add(&w->votes[d].reasons, &w->pool, agi_str_of(reasons[d]));
	}
	agi_panel_begin(&w->panel, &cfg, &effects, w, w->ids, candidates, at(w));
}

static void begin(struct world *w, unsigned electorate, size_t candidates, uint64_t hedge)
{
	begin_with(w, electorate, agi_vote_majority(electorate), candidates, hedge);
}

static void vote(struct world *w, size_t i, enum agi_decision d)
{
	agi_panel_on_vote(&w->panel, at(w), &w->ids[i],
	                  (struct agi_str){(char *)w->nonce, sizeof w->nonce},
	                  (struct agi_str){(char *)w->hash, sizeof w->hash},
	                  d == AGI_DECISION_NONE ? NULL : &w->votes[d]);
}

static void forged_vote(struct world *w, size_t i, bool wrong_nonce)
{
	uint8_t other[32] = {0};
	struct agi_str bad = {(char *)other, wrong_nonce ? sizeof w->nonce : sizeof w->hash};
	struct agi_str nonce = {(char *)w->nonce, sizeof w->nonce};
	struct agi_str hash = {(char *)w->hash, sizeof w->hash};

	agi_panel_on_vote(&w->panel, at(w), &w->ids[i], wrong_nonce ? bad : nonce,
	                  wrong_nonce ? hash : bad, &w->votes[AGI_DECISION_ALLOW]);
}

static void gateway_fails(struct world *w, size_t i) { agi_panel_on_failed(&w->panel, at(w), &w->ids[i]); }

static void tick_at(struct world *w, uint64_t us)
{
	w->now = us;
	agi_panel_tick(&w->panel, at(w));
}

static void expect(struct world *w, enum agi_decision d, enum agi_panel_cause cause)
{
	assert_int_equal(w->n_done, 1);
	assert_int_equal(w->decision, d);
	assert_string_equal(agi_panel_cause_name(w->cause), agi_panel_cause_name(cause));
	assert_int_equal(w->merged.decision, d);
	assert_true(w->merged.reasons.n > 0);
	assert_true(agi_panel_next_deadline(&w->panel) == AGI_NEVER);
	agi_pool_free(&w->pool);
}

static void two_of_three_allow_and_the_third_is_not_waited_for(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 3, 3, HEDGE);
	assert_int_equal(w.n_asked, 3);
	vote(&w, 2, AGI_DECISION_ALLOW);
	assert_int_equal(w.n_done, 0);
	vote(&w, 0, AGI_DECISION_ALLOW);
	assert_int_equal(w.agreed, 2);
	assert_int_equal(w.merged.reasons.n, 1); /* each reason once */
	expect(&w, AGI_DECISION_ALLOW, AGI_PANEL_VOTED);
}

static void no_gateway_and_too_few_gateways_block_at_once(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 3, 0, HEDGE);
	expect(&w, AGI_DECISION_BLOCK, AGI_PANEL_NO_GATEWAYS);
	begin(&w, 3, 1, HEDGE);
	assert_int_equal(w.n_asked, 0);
	expect(&w, AGI_DECISION_BLOCK, AGI_PANEL_TOO_FEW_GATEWAYS);
	begin(&w, 7, 3, HEDGE);
	expect(&w, AGI_DECISION_BLOCK, AGI_PANEL_TOO_FEW_GATEWAYS);
}

static void a_majority_of_the_electorate_suffices_when_no_more_gateways_exist(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 3, 2, HEDGE);
	assert_int_equal(w.n_asked, 2);
	vote(&w, 0, AGI_DECISION_ALLOW);
	vote(&w, 1, AGI_DECISION_ALLOW);
	expect(&w, AGI_DECISION_ALLOW, AGI_PANEL_VOTED);
	begin(&w, 3, 2, HEDGE);
	vote(&w, 0, AGI_DECISION_ALLOW);
	vote(&w, 1, AGI_DECISION_BLOCK); /* 1 of 3: the empty seat counts as BLOCK */
	expect(&w, AGI_DECISION_BLOCK, AGI_PANEL_GATEWAYS_FAILED);
}

static void the_same_identity_twice_is_one_candidate(void **state)
{
	struct world w;
	struct agi_panel_cfg cfg = {.electorate = 3, .needed = 2, .deadline_us = DEADLINE};
	struct agi_id same[3] = {{{7}}, {{7}}, {{7}}};

	(void)state;
	begin(&w, 3, 0, 0);
	w.n_done = 0;
	agi_panel_begin(&w.panel, &cfg, &effects, &w, same, 3, at(&w));
	expect(&w, AGI_DECISION_BLOCK, AGI_PANEL_TOO_FEW_GATEWAYS);
}

static void silence_until_the_deadline_blocks(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 3, 3, HEDGE);
	vote(&w, 0, AGI_DECISION_ALLOW);
	tick_at(&w, DEADLINE - 1);
	assert_int_equal(w.n_done, 0);
	assert_true(agi_panel_next_deadline(&w.panel) == DEADLINE);
	tick_at(&w, DEADLINE);
	assert_true(w.merged.risk == 1.0);
	expect(&w, AGI_DECISION_BLOCK, AGI_PANEL_TIMEOUT);
}

static void a_vote_at_the_deadline_is_late(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 3, 3, 0);
	vote(&w, 0, AGI_DECISION_ALLOW);
	w.now = DEADLINE;
	vote(&w, 1, AGI_DECISION_ALLOW);
	expect(&w, AGI_DECISION_BLOCK, AGI_PANEL_TIMEOUT);
}

static void a_failed_gateway_is_replaced_at_once_a_silent_one_after_a_while(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 3, 5, HEDGE);
	gateway_fails(&w, 1);
	assert_true(w.asked[3]);
	assert_true(agi_panel_next_deadline(&w.panel) == HEDGE);
	vote(&w, 3, AGI_DECISION_ALLOW);
	tick_at(&w, HEDGE); /* 0 and 2 are silent, one spare is left */
	assert_true(w.asked[4]);
	assert_int_equal(w.n_asked, 5);
	vote(&w, 4, AGI_DECISION_ALLOW);
	expect(&w, AGI_DECISION_ALLOW, AGI_PANEL_VOTED);
}

static void who_answered_is_never_replaced(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 3, 6, HEDGE);
	vote(&w, 0, AGI_DECISION_BLOCK);
	gateway_fails(&w, 0);
	assert_int_equal(w.n_asked, 3);
	vote(&w, 0, AGI_DECISION_ALLOW); /* one vote each: the first */
	vote(&w, 1, AGI_DECISION_ALLOW);
	assert_int_equal(w.n_done, 0);
	vote(&w, 2, AGI_DECISION_BLOCK);
	expect(&w, AGI_DECISION_BLOCK, AGI_PANEL_VOTED);
}

static void of_two_votes_for_one_seat_the_stricter_counts(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 5, 10, HEDGE);
	tick_at(&w, HEDGE); /* everybody is silent: five spares */
	assert_int_equal(w.n_asked, 10);
	vote(&w, 5, AGI_DECISION_ALLOW); /* for seat 0 */
	vote(&w, 0, AGI_DECISION_BLOCK); /* late, stricter */
	vote(&w, 6, AGI_DECISION_ALLOW);
	vote(&w, 7, AGI_DECISION_ALLOW);
	assert_int_equal(w.n_done, 0);
	vote(&w, 2, AGI_DECISION_BLOCK); /* seat 2 as well */
	vote(&w, 8, AGI_DECISION_BLOCK);
	expect(&w, AGI_DECISION_BLOCK, AGI_PANEL_VOTED);
}

static void a_vote_for_another_check_or_plan_is_no_vote(void **state)
{
	struct world w;

	(void)state;
	for (int wrong_nonce = 0; wrong_nonce < 2; wrong_nonce++) {
		begin(&w, 3, 3, 0);
		forged_vote(&w, 0, wrong_nonce);
		forged_vote(&w, 1, wrong_nonce);
		expect(&w, AGI_DECISION_BLOCK, AGI_PANEL_GATEWAYS_FAILED);
	}
}

static void a_vote_that_cannot_be_read_is_block(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 3, 6, 0);
	vote(&w, 0, AGI_DECISION_NONE);
	vote(&w, 1, AGI_DECISION_NONE);
	assert_int_equal(w.n_asked, 3);
	expect(&w, AGI_DECISION_BLOCK, AGI_PANEL_VOTED);
}

static void votes_of_strangers_and_spares_do_not_count(void **state)
{
	struct world w;
	struct agi_id stranger = {{99}};

	(void)state;
	begin(&w, 3, 6, 0);
	vote(&w, 4, AGI_DECISION_ALLOW);
	vote(&w, 5, AGI_DECISION_ALLOW);
	w.ids[5] = stranger;
	vote(&w, 5, AGI_DECISION_ALLOW);
	assert_int_equal(w.n_done, 0);
	tick_at(&w, DEADLINE);
	expect(&w, AGI_DECISION_BLOCK, AGI_PANEL_TIMEOUT);
}

static void the_decision_between_allow_and_block_is_the_majoritys(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 3, 3, 0);
	vote(&w, 0, AGI_DECISION_ALLOW);
	vote(&w, 1, AGI_DECISION_BLOCK);
	vote(&w, 2, AGI_DECISION_REVISE);
	assert_int_equal(w.merged.reasons.n, 1);
	assert_true(agi_str_eq(w.merged.reasons.p[0], AGI_STR("please revise")));
	expect(&w, AGI_DECISION_REVISE, AGI_PANEL_VOTED);
}

/* --- random stories ------------------------------------------------------------------------------- */
struct tally_of_story {
	enum agi_decision first[AGI_PANEL_CANDIDATES_MAX]; /* what each identity said first and in time */
	unsigned allows, causes[AGI_PANEL_CAUSES];
};

static void one_event(struct world *w, struct agi_prng *r, size_t n, struct tally_of_story *s)
{
	size_t i = agi_prng_below(r, n ? n : 1);
	enum agi_decision d = (enum agi_decision)agi_prng_below(r, AGI_DECISION_COUNT);

	if (agi_prng_below(r, 3) == 0) /* mostly willing gateways: ALLOW must be reachable */
		d = AGI_DECISION_ALLOW;
	switch (agi_prng_below(r, 8)) {
	case 0:
		if (w->asked[i] && s->first[i] == AGI_DECISION_NONE)
			s->first[i] = AGI_DECISION_COUNT; /* failed: no vote of it may count */
		gateway_fails(w, i);
		break;
	case 1:
		if (w->asked[i] && s->first[i] == AGI_DECISION_NONE)
			s->first[i] = AGI_DECISION_COUNT;
		forged_vote(w, i, agi_prng_below(r, 2));
		break;
	case 2:
	case 3:
		tick_at(w, w->now + agi_prng_below(r, 40 * MS));
		break;
	default:
		if (w->asked[i] && s->first[i] == AGI_DECISION_NONE && w->now < DEADLINE)
			s->first[i] = d == AGI_DECISION_NONE ? AGI_DECISION_BLOCK : d;
		vote(w, i, d);
	}
}

static void one_story(uint64_t seed, struct tally_of_story *s)
{
	struct agi_prng r;
	struct world w;
	unsigned electorate, needed, allows = 0;
	size_t n, guard = 0;

	agi_prng_seed(&r, seed);
	electorate = 1 + (unsigned)agi_prng_below(&r, AGI_PANEL_MAX);
	n = agi_prng_below(&r, AGI_PANEL_CANDIDATES_MAX + 1);
	memset(s->first, 0, sizeof s->first);
	needed = agi_vote_majority(electorate);
	needed += (unsigned)agi_prng_below(&r, electorate - needed + 1);
	begin_with(&w, electorate, needed, n, agi_prng_below(&r, 2) ? HEDGE : 0);
	while (!w.n_done) {
		assert_true(agi_panel_next_deadline(&w.panel) <= DEADLINE);
		one_event(&w, &r, n, s);
		if (++guard > 200)
			tick_at(&w, DEADLINE);
	}
	vote(&w, 0, AGI_DECISION_ALLOW); /* after the end nothing happens */
	tick_at(&w, 2 * DEADLINE);
	assert_int_equal(w.n_done, 1);
	for (size_t i = 0; i < n; i++)
		allows += s->first[i] == AGI_DECISION_ALLOW;
	if (w.decision == AGI_DECISION_ALLOW)
		assert_true(allows >= needed);
	if (w.decision != AGI_DECISION_BLOCK)
		assert_int_equal(w.cause, AGI_PANEL_VOTED);
	assert_int_equal(w.merged.decision, w.decision);
	s->allows += w.decision == AGI_DECISION_ALLOW;
	s->causes[w.cause]++;
	agi_pool_free(&w.pool);
}

static void allow_means_that_enough_identities_allowed_this_plan(void **state)
{
	struct tally_of_story s = {0};

	(void)state;
	for (uint64_t seed = 1; seed <= 20000; seed++)
		one_story(seed, &s);
	assert_true(s.allows > 500); /* the stories do get there */
	for (int c = 0; c < AGI_PANEL_CAUSES; c++)
		assert_true(s.causes[c] > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(two_of_three_allow_and_the_third_is_not_waited_for),
	    cmocka_unit_test(no_gateway_and_too_few_gateways_block_at_once),
	    cmocka_unit_test(a_majority_of_the_electorate_suffices_when_no_more_gateways_exist),
	    cmocka_unit_test(the_same_identity_twice_is_one_candidate),
	    cmocka_unit_test(silence_until_the_deadline_blocks),
	    cmocka_unit_test(a_vote_at_the_deadline_is_late),
	    cmocka_unit_test(a_failed_gateway_is_replaced_at_once_a_silent_one_after_a_while),
	    cmocka_unit_test(who_answered_is_never_replaced),
	    cmocka_unit_test(of_two_votes_for_one_seat_the_stricter_counts),
	    cmocka_unit_test(a_vote_for_another_check_or_plan_is_no_vote),
	    cmocka_unit_test(a_vote_that_cannot_be_read_is_block),
	    cmocka_unit_test(votes_of_strangers_and_spares_do_not_count),
	    cmocka_unit_test(the_decision_between_allow_and_block_is_the_majoritys),
	    cmocka_unit_test(allow_means_that_enough_identities_allowed_this_plan),
	};

	return cmocka_run_group_tests_name("panel", tests, NULL, NULL);
}
