/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <math.h>

#include "base/prng.h"
#include "roles/safety_gateway/policy.h"

enum { MS = 1000, VALID = AGI_POLICY_VALID_MS * MS };

static const struct agi_str tools[] = {{"saw", 3}, {"torch", 5}};

static struct agi_policy sound(void)
{
	struct agi_policy p = {.epoch = 1, .at_ms = 5, .reason = AGI_STR("because"), .author = AGI_STR("me"),
	                       .node = AGI_STR("n"), .quorum = 3, .byzantine_faults = 1};

	agi_gateway_policy_default(&p.rules);
	p.rules.banned = tools;
	p.rules.n_banned = 2;
	return p;
}

static struct agi_policy *made(struct agi_policy p)
{
	struct agi_policy *out;

	assert_int_equal(agi_policy_new(&p, &out), AGI_OK);
	return out;
}

/* --- what is allowed --------------------------------------------------------------------------------------- */
static void expect_wrong(struct agi_policy p, const char *said)
{
	struct agi_why why = {""};

	assert_int_equal(agi_policy_check(&p, &why), AGI_E_INVALID);
	if (!strstr(why.text, said))
		fail_msg("expected \"%s\", got \"%s\"", said, why.text);
}

static void what_is_wrong_is_named_with_what_is_allowed(void **state)
{
	struct agi_policy p = sound();
	const struct agi_str bad[] = {AGI_STR("a\nb")};
	(void)state;

	assert_int_equal(agi_policy_check(&p, NULL), AGI_OK);
#define WRONG(field, value, said)                                                                                     \
	p = sound();                                                                                                  \
	p.field = value;                                                                                              \
	expect_wrong(p, said)
	WRONG(rules.bond_index_warn, -0.5, "bond_index_warn: -0.5, expected 0..1");
	WRONG(rules.bond_index_block, 1.5, "bond_index_block: 1.5, expected 0..1");
	WRONG(rules.bond_index_block, (double)NAN, "bond_index_block: ");
	WRONG(rules.bond_index_block, 0.2, "bond_index_warn: 0.25, expected at most bond_index_block, 0.2");
	WRONG(rules.bond_index_fallback, 0.1, "bond_index_fallback: 0.1, expected at least bond_index_block");
	WRONG(rules.eval.physical_harm_threshold, 2, "physical_harm_threshold: 2, expected 0..1");
	WRONG(rules.bond_index_action, AGI_DECISION_ALLOW, "bond_index_action: expected BLOCK, DEFER or REVISE");
	WRONG(rules.bond_index_action, AGI_DECISION_NONE, "bond_index_action: ");
	WRONG(rules.banned, bad, "banned_tools[0]: ");
	WRONG(rules.eval.profile_name, AGI_STR(""), "profile: ");
	WRONG(rules.n_banned, AGI_POLICY_TOOLS_MAX + 1, "banned_tools: 1025 tools, expected at most 1024");
	WRONG(reason, AGI_STR(""), "reason: 0 bytes, expected 1..512");
	WRONG(quorum, 0, "quorum: 0, expected 1..7");
	WRONG(quorum, 8, "quorum: 8, expected 1..7");
	WRONG(quorum_rule, AGI_QUORUM_BYZANTINE, "quorum: 3, expected at least 4 for byzantine_faults 1");
#undef WRONG
}

/* --- what is looser ------------------------------------------------------------------------------------------ */
static void expect_looser(struct agi_policy to, const char *said)
{
	struct agi_policy *a = made(sound()), *b = made(to);
	struct agi_strs lines;
	struct agi_pool pool;

	agi_pool_init(&pool, 0);
	agi_policy_looser(&lines, &pool, a, b);
	assert_int_equal(pool.err, AGI_OK);
	if (said) {
		assert_int_equal(lines.n, 1);
		assert_memory_equal(lines.p[0].p, said, strlen(said));
	} else {
		assert_int_equal(lines.n, 0);
	}
	/* the way back is stricter, or the same; a profile is only a name, and the quorum can be looser both ways */
	if (said && strncmp(said, "profile", 7) != 0 && strncmp(said, "quorum", 6) != 0) {
		agi_policy_looser(&lines, &pool, b, a);
		assert_int_equal(lines.n, 0);
	}
	agi_pool_free(&pool);
	agi_policy_drop(a);
	agi_policy_drop(b);
}

static void whatever_may_let_more_pass_is_said_to_be_looser(void **state)
{
	static const struct agi_str fewer[] = {{"torch", 5}}, more[] = {{"torch", 5}, {"saw", 3}, {"drill", 5}};
	struct agi_policy p;
	(void)state;

#define CHANGED(field, value, said)                                                                                   \
	p = sound();                                                                                                  \
	p.field = value;                                                                                              \
	expect_looser(p, said)
	CHANGED(epoch, 7, NULL);
	CHANGED(rules.bond_index_warn, 0.26, "bond_index_warn: 0.26 instead of 0.25");
	CHANGED(rules.bond_index_warn, 0.1, NULL);
	CHANGED(rules.bond_index_block, 0.4, "bond_index_block: 0.4 instead of 0.3");
	CHANGED(rules.eval.physical_harm_threshold, 0.95, "physical_harm_threshold: 0.95 instead of 0.9");
	CHANGED(rules.eval.physical_harm_threshold, 0.5, NULL);
	CHANGED(rules.bond_index_action, AGI_DECISION_REVISE, "bond_index_action: REVISE instead of BLOCK");
	CHANGED(rules.eval.profile_name, AGI_STR("other"), "profile: other instead of ");
	CHANGED(quorum, 1, "quorum: 1 of 1 must agree instead of 2 of 3");
	CHANGED(quorum, 5, "quorum: 3 of 5 must agree instead of 2 of 3"); /* a smaller part of them */
	CHANGED(quorum_rule, AGI_QUORUM_UNANIMOUS, NULL);
#undef CHANGED
	p = sound();
	p.rules.banned = fewer;
	p.rules.n_banned = 1;
	expect_looser(p, "banned_tools: no longer saw");
	p.rules.banned = more;
	p.rules.n_banned = 3;
	expect_looser(p, NULL);
}

/* --- bytes ----------------------------------------------------------------------------------------------------- */
static void a_record_is_read_as_it_was_written_and_nothing_else_is_one(void **state)
{
	struct agi_policy *p = made(sound()), *q;
	struct agi_buf b;
	struct agi_prng rng;
	(void)state;

	agi_buf_init(&b, 0);
	agi_policy_encode(&b, p);
	assert_int_equal(agi_policy_decode(agi_buf_str(&b), &p->rules, &q), AGI_OK);
	assert_memory_equal(p->hash, q->hash, 32);
	assert_true(q->epoch == 1 && q->needed == 2 && agi_str_eq(q->reason, p->reason) && q->rules.n_banned == 2 &&
	            agi_str_eq(q->rules.banned[1], tools[1]));
	agi_policy_drop(q);
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(agi_policy_decode((struct agi_str){(char *)b.p, n}, &p->rules, &q),
		                 AGI_E_MALFORMED);
	agi_prng_seed(&rng, 1);
	for (int i = 0; i < 20000; i++) { /* bytes from a disk: whatever they are, no crash, nothing unsound */
		size_t at = agi_prng_below(&rng, b.n);
		uint8_t was = b.p[at];

		b.p[at] = (uint8_t)agi_prng_u64(&rng);
		if (agi_policy_decode(agi_buf_str(&b), &p->rules, &q) == AGI_OK) {
			assert_true(q->needed > 0 && (!q->epoch || agi_policy_check(q, NULL) == AGI_OK));
			agi_policy_drop(q);
		}
		b.p[at] = was;
	}
	agi_buf_free(&b);
	agi_policy_drop(p);
}

static void everything_that_decides_is_in_the_hash(void **state)
{
	struct agi_policy base = sound(), p;
	struct agi_policy *a = made(base), *b;
	(void)state;

#define DIFFERS(field, value)                                                                                         \
	p = base;                                                                                                     \
	p.field = value;                                                                                              \
	b = made(p);                                                                                                  \
	assert_memory_not_equal(a->hash, b->hash, 32);                                                                \
	agi_policy_drop(b)
	DIFFERS(rules.eval.mode, AGI_EVAL_REFERENCE);
	DIFFERS(rules.bond_index_warn, 0.1);
	DIFFERS(rules.bond_index_block, 0.29);
	DIFFERS(rules.n_banned, 1);
	DIFFERS(quorum, 4);
	DIFFERS(quorum_rule, AGI_QUORUM_UNANIMOUS);
	DIFFERS(byzantine_faults, 2);
	DIFFERS(epoch, 0);
#undef DIFFERS
	agi_policy_drop(a);
}

/* --- as one loop of a host knows it ------------------------------------------------------------------------------ */
static void read_version(struct agi_policy_view *v, uint64_t epoch, double block, uint64_t began_us)
{
	struct agi_policy p = sound(), *made_of;
	struct agi_buf b;

	p.epoch = epoch;
	p.rules.bond_index_block = block;
	made_of = made(p);
	agi_buf_init(&b, 0);
	agi_policy_encode(&b, made_of);
	(void)agi_policy_view_read(v, agi_buf_str(&b), began_us);
	agi_buf_free(&b);
	agi_policy_drop(made_of);
}

static const struct agi_str absent = {NULL, 0};

static void set_up(struct agi_policy_view *v)
{
	struct agi_policy p = sound(), *configured;

	p.epoch = 0;
	configured = made(p);
	assert_int_equal(agi_policy_view_init(v, configured), AGI_OK);
	agi_policy_drop(configured);
}

static void nothing_is_in_force_before_it_was_read_nor_long_after(void **state)
{
	struct agi_policy_view v;
	(void)state;

	set_up(&v);
	assert_null(agi_policy_in_force(&v, 0));
	assert_false(agi_policy_view_read(&v, absent, 1000));
	assert_ptr_equal(agi_policy_in_force(&v, 1000 + VALID - 1), v.configured);
	assert_null(agi_policy_in_force(&v, 1000 + VALID));
	assert_false(agi_policy_view_read(&v, absent, 500)); /* older and slower: does not shorten it */
	assert_non_null(agi_policy_in_force(&v, 1000 + VALID - 1));
	assert_false(agi_policy_view_read(&v, AGI_STR(""), 2000)); /* there, but no record */
	assert_false(agi_policy_view_read(&v, AGI_STR("?"), 2000));
	assert_null(agi_policy_in_force(&v, 1000 + VALID));
	agi_policy_view_clear(&v);
}

static void a_newer_version_is_taken_and_an_older_one_never_again(void **state)
{
	struct agi_policy_view v;
	struct agi_policy *held;
	(void)state;

	set_up(&v);
	(void)agi_policy_view_read(&v, absent, 1000);
	read_version(&v, 2, 0.28, 2000);
	assert_int_equal(agi_policy_in_force(&v, 2000)->epoch, 2);
	assert_null(agi_policy_in_force(&v, 2000 + VALID));
	held = agi_policy_hold(v.known);
	read_version(&v, 1, 0.30, 9 * VALID);
	(void)agi_policy_view_read(&v, absent, 9 * VALID);
	assert_int_equal(v.known->epoch, 2);
	assert_null(agi_policy_in_force(&v, 9 * VALID)); /* what contradicts it confirms nothing */
	read_version(&v, 2, 0.29, 9 * VALID); /* nor does another one of the same number */
	assert_null(agi_policy_in_force(&v, 9 * VALID));
	read_version(&v, 2, 0.28, 9 * VALID);
	assert_ptr_equal(agi_policy_in_force(&v, 9 * VALID), held);
	read_version(&v, 3, 0.27, 9 * VALID + 1);
	assert_true(held->rules.bond_index_block > 0.275); /* whoever holds it keeps it */
	agi_policy_drop(held);
	agi_policy_view_clear(&v);
}

static void what_is_doubted_is_unknown_until_a_read_that_began_after_the_doubt(void **state)
{
	struct agi_policy_view v;
	(void)state;

	set_up(&v);
	(void)agi_policy_view_read(&v, absent, 1000);
	agi_policy_view_doubt(&v, 5000);
	assert_null(agi_policy_in_force(&v, 5000));
	(void)agi_policy_view_read(&v, absent, 4999);
	assert_null(agi_policy_in_force(&v, 5000));
	(void)agi_policy_view_read(&v, absent, 5000);
	assert_non_null(agi_policy_in_force(&v, 5000));
	agi_policy_view_clear(&v);
}

/* Reads overtake each other as they like; each finds what was in force at some moment between its beginning and its end.
 * However that goes: VALID after a version was written nobody holds an older one for valid. */
static void no_order_of_reads_keeps_an_older_version_in_force(void **state)
{
	enum { STEP = 50 * MS, STEPS = 60, READS = 40 };
	(void)state;

	for (uint64_t seed = 0; seed < 300; seed++) {
		uint64_t written_us[5] = {0}, began[READS], found_us[READS], end[READS];
		struct agi_policy_view v;
		struct agi_prng rng;

		agi_prng_seed(&rng, seed);
		set_up(&v);
		for (int e = 1; e < 5; e++)
			written_us[e] = written_us[e - 1] + STEP * agi_prng_below(&rng, 20);
		for (int i = 0; i < READS; i++) {
			began[i] = STEP * agi_prng_below(&rng, STEPS);
			found_us[i] = began[i] + STEP * agi_prng_below(&rng, 10);
			end[i] = found_us[i] + STEP * agi_prng_below(&rng, 10);
		}
		for (uint64_t now = 0; now < STEP * (STEPS + 40); now += STEP) {
			for (int i = 0; i < READS; i++) {
				uint64_t epoch = 0;

				if (end[i] != now)
					continue;
				while (epoch < 4 && written_us[epoch + 1] <= found_us[i])
					epoch++;
				if (epoch)
					read_version(&v, epoch, 0.25 + (double)epoch / 100, began[i]);
				else
					(void)agi_policy_view_read(&v, absent, began[i]);
			}
			if (agi_policy_in_force(&v, now) && v.known->epoch < 4)
				assert_true(now < written_us[v.known->epoch + 1] + VALID);
		}
		agi_policy_view_clear(&v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_wrong_is_named_with_what_is_allowed),
	    cmocka_unit_test(whatever_may_let_more_pass_is_said_to_be_looser),
	    cmocka_unit_test(a_record_is_read_as_it_was_written_and_nothing_else_is_one),
	    cmocka_unit_test(everything_that_decides_is_in_the_hash),
	    cmocka_unit_test(nothing_is_in_force_before_it_was_read_nor_long_after),
	    cmocka_unit_test(a_newer_version_is_taken_and_an_older_one_never_again),
	    cmocka_unit_test(what_is_doubted_is_unknown_until_a_read_that_began_after_the_doubt),
	    cmocka_unit_test(no_order_of_reads_keeps_an_older_version_in_force),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
