/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/prng.h"
#include "ctl/args.h"
#include "ctl/decision.h"
#include "ctl/moves.h"
#include "ctl/out.h"
#include "ctl/slot_map.h"
#include "ctl/status.h"
#include "ctl/suggest.h"
#include "ctl/table.h"
#include "ctl/units.h"

/* --- suggestions ------------------------------------------------------------------------------ */
/* The textbook recursion, for words short enough. */
static unsigned slow_distance(const char *a, size_t na, const char *b, size_t nb)
{
	unsigned d, e;

	if (na == 0 || nb == 0)
		return (unsigned)(na + nb);
	d = slow_distance(a, na - 1, b, nb - 1) + (a[na - 1] != b[nb - 1]);
	e = slow_distance(a, na - 1, b, nb) + 1;
	d = e < d ? e : d;
	e = slow_distance(a, na, b, nb - 1) + 1;
	d = e < d ? e : d;
	if (na > 1 && nb > 1 && a[na - 1] == b[nb - 2] && a[na - 2] == b[nb - 1]) {
		e = slow_distance(a, na - 2, b, nb - 2) + 1;
		d = e < d ? e : d;
	}
	return d;
}

static void random_word(struct agi_prng *r, char out[7])
{
	size_t n = (size_t)(agi_prng_u64(r) % 7);

	for (size_t i = 0; i < n; i++)
		out[i] = (char)('a' + agi_prng_u64(r) % 3);
	out[n] = '\0';
}

static void edit_distance_agrees_with_the_recursion(void **state)
{
	struct agi_prng r;
	char a[7], b[7];

	(void)state;
	agi_prng_seed(&r, 7);
	for (int i = 0; i < 500; i++) {
		random_word(&r, a);
		random_word(&r, b);
		assert_int_equal(ctl_edit_distance(a, b),
				 slow_distance(a, strlen(a), b, strlen(b)));
	}
	memset(a, 'x', sizeof a);
	assert_int_equal(
	    ctl_edit_distance("0123456789012345678901234567890123456789012345678901234567890123",
			      "0"),
	    CTL_WORD_MAX + 1);
}

static void near_words_are_suggested_and_far_ones_not(void **state)
{
	static const char *const words[] = {"status",   "members", "deregister",
					    "discover", "get",     "put"};
	const size_t n = sizeof words / sizeof *words;

	(void)state;
	assert_int_equal(ctl_nearest_word("sattus", words, n), 0);
	assert_int_equal(ctl_nearest_word("member", words, n), 1);
	assert_int_equal(ctl_nearest_word("dregister", words, n), 2);
	assert_int_equal(ctl_nearest_word("disc", words, n), 3);
	assert_int_equal(ctl_nearest_word("gte", words, n), 4);
	assert_int_equal(ctl_nearest_word("frobnicate", words, n), n);
	assert_int_equal(ctl_nearest_word("", words, n), n);
}

/* --- quantities ------------------------------------------------------------------------------- */
static void milliseconds_read_like_people_write_them(void **state)
{
	static const struct {
		double ms;
		const char *text;
	} rows[] = {{0, "0.000 ms"},     {0.042, "0.042 ms"},  {0.9996, "1.0 ms"},
		    {12.34, "12.3 ms"},  {999.96, "1.00 s"},   {1500, "1.50 s"},
		    {59994, "59.99 s"},  {59999, "1m 00s"},    {245000, "4m 05s"},
		    {3600000, "1h 00m"}, {11220000, "3h 07m"}, {86400000, "1d 0h"},
		    {-1, "-"},           {NAN, "-"},           {INFINITY, "-"}};
	char text[CTL_UNIT_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ctl_format_ms(text, rows[i].ms);
		assert_string_equal(text, rows[i].text);
	}
}

static void bytes_read_like_people_write_them(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {{0, "0 B"},           {1023, "1023 B"},     {1024, "1.0 KiB"},
		    {4299162, "4.1 MiB"}, {1048575, "1.0 MiB"}, {UINT64_MAX, "16.0 EiB"}};
	char text[CTL_UNIT_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		ctl_format_bytes(text, rows[i].bytes);
		assert_string_equal(text, rows[i].text);
	}
}

static void durations_need_a_number_and_a_unit(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {{"1ms", 1},       {"500ms", 500}, {"5s", 5000},
		    {"1.5s", 1500},   {"2m", 120000}, {"1h", 3600000},
		    {"1d", 86400000}, {"0.25s", 250}, {"007s", 7000}};
	static const char *const bad[] = {
	    "",     "s",    "5",      "5 s",   "-5s", "+5s",
	    "5sec", "1e3s", "0s",     "0.1ms", "inf", "0x5s",
	    "5.s",  ".5s",  "1.2.3s", "31d",   "5S",  "99999999999999999999999999999999999d"};
	struct agi_why why;
	uint64_t ms;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(
		    ctl_parse_duration(&ms, good[i].text, 0, 30 * UINT64_C(86400000), &why),
		    AGI_OK);
		assert_true(ms == good[i].ms);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		ms = 77;
		assert_int_equal(ctl_parse_duration(&ms, bad[i], 0, 30 * UINT64_C(86400000), &why),
				 AGI_E_INVALID);
		assert_true(ms == 77);
	}
	assert_int_equal(ctl_parse_duration(&ms, "2", 1000, 10000, &why), AGI_OK);
	assert_true(ms == 2000);
}

static void numbers_are_whole_and_in_range(void **state)
{
	static const char *const bad[] = {
	    "", "-1", "0", "11", "1.0", " 1", "1 ", "0x1", "99999999999999"};
	struct agi_why why;
	uint32_t v;

	(void)state;
	assert_int_equal(ctl_parse_u32(&v, "10", 1, 10, &why), AGI_OK);
	assert_int_equal(v, 10);
	assert_int_equal(ctl_parse_u32(&v, "4294967295", 0, UINT32_MAX, &why), AGI_OK);
	assert_int_equal(ctl_parse_u32(&v, "4294967296", 0, UINT32_MAX, &why), AGI_E_INVALID);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(ctl_parse_u32(&v, bad[i], 1, 10, &why), AGI_E_INVALID);
}

static void targets_take_names_and_numbers(void **state)
{
	static const struct {
		const char *in, *out;
	} good[] = {{"127.0.0.1", "127.0.0.1:5000"}, {"127.0.0.1:50055", "127.0.0.1:50055"},
		    {"[::1]:7", "[::1]:7"},          {"fd00::5", "[fd00::5]:5000"},
		    {"node1", "node1:5000"},         {"node1.cluster:5001", "node1.cluster:5001"},
		    {"my_host", "my_host:5000"}};
	static const char *const bad[] = {
	    "",         ":5000",       "node1:", "node1:0",         "node1:65536",
	    "1.2.3",    "1.2.3.4.5:1", "-x:1",   "no de:1",         "a/b:1",
	    "node1:5x", "http://x",    "[::1",   "node1:123456789", "1.2.3.4:99999"};
	char text[CTL_TARGET_TEXT], longest[300];
	struct agi_why why;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(ctl_parse_target(text, good[i].in, strlen(good[i].in), 5000, &why),
				 AGI_OK);
		assert_string_equal(text, good[i].out);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(ctl_parse_target(text, bad[i], strlen(bad[i]), 5000, &why),
				 AGI_E_INVALID);
	assert_int_equal(ctl_parse_target(text, "node1", 5, 0, &why), AGI_E_INVALID);
	assert_int_equal(ctl_parse_target(text, "10.0.0.1", 8, 0, &why), AGI_E_INVALID);
	memset(longest, 'a', sizeof longest);
	assert_int_equal(ctl_parse_target(text, longest, 253, 65535, &why), AGI_OK);
	assert_int_equal(strlen(text), 253 + 6);
	assert_int_equal(ctl_parse_target(text, longest, 254, 1, &why), AGI_E_INVALID);
}

/* --- options ---------------------------------------------------------------------------------- */
static const struct ctl_opt global[] = {{"output", 'o', "FORMAT", "table json", "-"},
					{"timeout", 't', "SECONDS", NULL, "-"},
					{NULL, 0, NULL, NULL, NULL}};
static const struct ctl_opt local[] = {{"all", 'a', NULL, NULL, "-"},
				       {"level", 0, "LEVEL", "one quorum all", "-"},
				       {NULL, 0, NULL, NULL, NULL}};

struct parsed {
	struct ctl_optset sets[2];
	struct ctl_words words;
	struct agi_why why;
	char copy[256], *argv[16];
};

/* Splits a line at spaces and parses it. */
static enum agi_err parse(struct parsed *p, const char *line, bool stop_at_word)
{
	int n = 0;

	*p = (struct parsed){.sets = {{.opts = global}, {.opts = local}}};
	snprintf(p->copy, sizeof p->copy, "%s", line);
	for (char *word = strtok(p->copy, " "); word; word = strtok(NULL, " "))
		p->argv[n++] = word;
	return ctl_args_parse(p->sets, 2, p->argv, n, stop_at_word, &p->words, &p->why);
}

static void options_are_found_in_every_form_and_place(void **state)
{
	static const char *const lines[] = {"k -o json -t 2 v -a", "-ojson k --timeout=2 --all v",
					    "--output json -t2 -a -- k v",
					    "k v -a --output=json -t 2"};
	struct parsed p;

	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		assert_int_equal(parse(&p, lines[i], false), AGI_OK);
		assert_string_equal(ctl_opt_value(&p.sets[0], "output"), "json");
		assert_string_equal(ctl_opt_value(&p.sets[0], "timeout"), "2");
		assert_true(ctl_opt_is_set(&p.sets[1], "all"));
		assert_null(ctl_opt_value(&p.sets[1], "level"));
		assert_int_equal(p.words.n, 2);
		assert_string_equal(p.words.p[0], "k");
		assert_string_equal(p.words.p[1], "v");
	}
}

static void dashes_end_options_and_stand_for_a_stream(void **state)
{
	struct parsed p;

	(void)state;
	assert_int_equal(parse(&p, "k - -- --all -o", false), AGI_OK);
	assert_int_equal(p.words.n, 4);
	assert_string_equal(p.words.p[1], "-");
	assert_string_equal(p.words.p[2], "--all");
	assert_string_equal(p.words.p[3], "-o");
	assert_false(ctl_opt_is_set(&p.sets[1], "all"));
	assert_int_equal(parse(&p, "-o json put -x --y", true), AGI_OK);
	assert_int_equal(p.words.n, 3);
	assert_string_equal(p.words.p[0], "put");
}

static void wrong_options_are_named_with_what_is_valid(void **state)
{
	static const struct {
		const char *line, *says[3];
	} rows[] = {
	    {"--levle one",
	     {"unknown option '--levle'", "valid are --output", "did you mean '--level'?"}},
	    {"-x", {"unknown option '-x'", "--all", "--timeout"}},
	    {"--all=1", {"--all takes no value", "", ""}},
	    {"-t", {"--timeout needs a value", "SECONDS", ""}},
	    {"-t 1 --timeout 2", {"--timeout is given twice", "", ""}},
	    {"--level qourum", {"--level 'qourum'", "one, quorum, all", "did you mean 'quorum'?"}},
	    {"-o yaml", {"--output 'yaml'", "table, json", ""}}};
	struct parsed p;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(parse(&p, rows[i].line, false), AGI_E_INVALID);
		for (int j = 0; j < 3; j++)
			if (!strstr(p.why.text, rows[i].says[j]))
				fail_msg("'%s' does not say '%s'", p.why.text, rows[i].says[j]);
	}
}

/* --- tables ----------------------------------------------------------------------------------- */
static const struct ctl_col cols[] = {
    {"NAME", CTL_COL_TEXT}, {"RTT", CTL_COL_NUMBER}, {"STATE", CTL_COL_STATE}};

static void assert_renders(struct ctl_table *t, bool colour, const char *expected)
{
	struct agi_buf out;

	agi_buf_init(&out, 0);
	assert_int_equal(ctl_table_render(t, colour, &out), AGI_OK);
	agi_buf_u8(&out, 0);
	assert_string_equal((char *)out.p, expected);
	agi_buf_free(&out);
	ctl_table_free(t);
}

static void columns_align_and_lines_do_not_end_in_spaces(void **state)
{
	struct ctl_table t;

	(void)state;
	ctl_table_init(&t, cols, 3);
	ctl_table_text(&t, "a");
	ctl_table_text(&t, "12.3 ms");
	ctl_table_text(&t, "up");
	ctl_table_text(&t, "caf\xc3\xa9-long");
	ctl_table_text(&t, "-");
	ctl_table_text(&t, "");
	ctl_table_printf(&t, "%d", 3);
	assert_renders(&t, false,
		       "NAME           RTT  STATE\n"
		       "a          12.3 ms  up\n"
		       "caf\xc3\xa9-long        -\n"
		       "3\n");
}

static void only_states_are_coloured_and_only_when_asked(void **state)
{
	struct ctl_table t;

	(void)state;
	ctl_table_init(&t, cols, 3);
	ctl_table_text(&t, "up");
	ctl_table_text(&t, "1");
	ctl_table_text(&t, "down");
	assert_renders(&t, true, "NAME  RTT  STATE\nup      1  \033[31mdown\033[0m\n");
}

static void what_comes_from_outside_cannot_drive_the_terminal(void **state)
{
	static const struct ctl_col one[] = {{NULL, CTL_COL_TEXT}};
	struct ctl_table t;

	(void)state;
	ctl_table_init(&t, one, 1);
	ctl_table_str(&t, AGI_STR("\033[2J\n\r\0\x7f\xc2\x9b\xff\xe2\x82"
				  "z\xe2\x82\xac"));
	assert_renders(&t, false,
		       "\\x1b[2J\\x0a\\x0d\\x00\\x7f\\xc2\\x9b\\xff\\xe2\\x82z\xe2\x82\xac\n");
}

/* --- JSON ------------------------------------------------------------------------------------- */
static void bytes_that_are_not_text_become_base64(void **state)
{
	json_t *o = json_object();

	(void)state;
	ctl_set_bytes(o, "value", AGI_STR("a\0\xc3\xa9"));
	assert_int_equal(json_string_length(json_object_get(o, "value")), 4);
	assert_null(json_object_get(o, "value_base64"));
	json_object_clear(o);
	ctl_set_bytes(o, "value", AGI_STR("\xff\xfe"));
	assert_null(json_object_get(o, "value"));
	assert_string_equal(json_string_value(json_object_get(o, "value_base64")), "//4=");
	json_object_clear(o);
	ctl_set_bytes(o, "value", (struct agi_str){NULL, 0});
	assert_string_equal(json_string_value(json_object_get(o, "value")), "");
	json_decref(o);
}

static void floats_keep_their_short_form(void **state)
{
	json_t *v = ctl_json_float(0.3f);

	(void)state;
	assert_true(json_real_value(v) == 0.3);
	json_decref(v);
	v = ctl_json_float(1.0f / 3);
	assert_true((float)json_real_value(v) == 1.0f / 3);
	json_decref(v);
	v = ctl_json_float(NAN);
	assert_true(json_is_null(v));
	json_decref(v);
}

/* --- answers ---------------------------------------------------------------------------------- */
static void exit_codes_follow_the_status(void **state)
{
	(void)state;
	assert_int_equal(ctl_exit_of_status(AGI_GRPC_OK), 0);
	assert_int_equal(ctl_exit_of_status(AGI_GRPC_NOT_FOUND), 3);
	assert_int_equal(ctl_exit_of_status(AGI_GRPC_UNAVAILABLE), 4);
	assert_int_equal(ctl_exit_of_status(AGI_GRPC_DEADLINE_EXCEEDED), 4);
	for (int s = 1; s <= 16; s++)
		assert_int_not_equal(ctl_exit_of_status((enum agi_grpc_status)s), 0);
	assert_int_not_equal(ctl_exit_of_status((enum agi_grpc_status)99), 0);
}

static void advice_goes_by_the_error_the_node_names(void **state)
{
	(void)state;
	assert_non_null(strstr(ctl_advice(AGI_GRPC_UNAVAILABLE, "NO_QUORUM: 1 of 2"), "members"));
	assert_non_null(strstr(ctl_advice(AGI_GRPC_UNAVAILABLE, "Connection refused"), "running"));
	assert_non_null(strstr(ctl_advice(AGI_GRPC_UNAVAILABLE, "NOT_READYX"), "running"));
	assert_null(ctl_advice(AGI_GRPC_INTERNAL, "x"));
}

/* Every answer that can be built from these parts; only one of them may let the plan pass. */
static void only_a_plain_allow_is_allow(void **state)
{
	Agi__Safety__V1__SafetyResult result = AGI__SAFETY__V1__SAFETY_RESULT__INIT;
	Agi__Safety__V1__SafetyResult step_result = AGI__SAFETY__V1__SAFETY_RESULT__INIT;
	Agi__Safety__V1__StepSafetyResult step = AGI__SAFETY__V1__STEP_SAFETY_RESULT__INIT,
					  *steps = &step;
	Agi__Safety__V1__CheckPlanResponse res = AGI__SAFETY__V1__CHECK_PLAN_RESPONSE__INIT;
	const char *doubt;
	int allowed = 0;

	(void)state;
	step.result = &step_result;
	res.step_results = &steps;
	for (int has_result = 0; has_result < 2; has_result++)
		for (int approved = 0; approved < 2; approved++)
			for (int d = -1; d <= 6; d++)
				for (int s = -1; s <= 6; s++) {
					enum ctl_exit e;

					res.result = has_result ? &result : NULL;
					res.plan_approved = approved;
					*(int *)&result.decision = d;
					res.n_step_results = s >= 0;
					*(int *)&step_result.decision = s;
					e = ctl_decide(&res, &doubt);
					assert_true(e == CTL_OK || e == CTL_BLOCK ||
						    e == CTL_REVISE || e == CTL_DEFER);
					if (e == CTL_OK) {
						assert_true(has_result && approved && d == 1 &&
							    !doubt);
						assert_true(s == -1 || s == 1 || s == 3 || s == 4);
						allowed++;
					}
					if (has_result && !approved && d == 3)
						assert_int_equal(e, CTL_REVISE);
					if (has_result && !approved && d == 4)
						assert_int_equal(e, CTL_DEFER);
				}
	assert_int_equal(allowed, 4);
}

/* --- slots ------------------------------------------------------------------------------------ */
static ProtobufCBinaryData ids[] = {
    {1, (uint8_t *)"a"}, {1, (uint8_t *)"b"}, {1, (uint8_t *)"c"}, {1, (uint8_t *)"d"}};

static void make_slot(Agihpc__V1__Slot *s, uint32_t number, uint64_t epoch, const char *phase,
		      size_t first, size_t n)
{
	*s = (Agihpc__V1__Slot)AGIHPC__V1__SLOT__INIT;
	s->slot = number;
	s->epoch = epoch;
	s->phase = ctl_bin_of(phase);
	s->members = ids + first;
	s->n_members = n;
}

static void make_members(Agihpc__V1__MembersResponse *res, Agihpc__V1__Member m[3],
			 Agihpc__V1__Member *list[3])
{
	*res = (Agihpc__V1__MembersResponse)AGIHPC__V1__MEMBERS_RESPONSE__INIT;
	for (int i = 0; i < 3; i++) {
		m[i] = (Agihpc__V1__Member)AGIHPC__V1__MEMBER__INIT;
		m[i].node_id = ids[i];
		m[i].state = ctl_bin_of(i == 0 ? "self" : i == 1 ? "up" : "down");
		list[i] = &m[i];
	}
	res->members = list;
	res->n_members = 3;
}

static void the_highest_epoch_and_the_worst_state_win(void **state)
{
	Agihpc__V1__MembersResponse members;
	Agihpc__V1__SlotsResponse res = AGIHPC__V1__SLOTS_RESPONSE__INIT;
	Agihpc__V1__Member m[3], *list[3];
	Agihpc__V1__Slot of_a[3], of_b[2], *slots[3];
	struct ctl_slot_totals sum;
	struct ctl_slot_map map;
	struct agi_why why;

	(void)state;
	make_members(&members, m, list);
	ctl_slot_map_init(&map, &members);
	res.slots_total = 4;
	res.slots = slots;
	make_slot(&of_a[0], 0, 1, "active", 0, 1); /* an old view: only a */
	make_slot(&of_a[1], 1, 5, "active", 0, 3);
	make_slot(&of_a[2], 2, 5, "forward", 2, 2); /* c and d hold it, neither answers */
	for (int i = 0; i < 3; i++)
		slots[i] = &of_a[i];
	res.n_slots = 3;
	assert_int_equal(ctl_slot_map_add(&map, AGI_STR("a"), &res, &why), AGI_OK);
	make_slot(&of_b[0], 0, 2, "active", 0, 2);
	make_slot(&of_b[1], 1, 5, "sealed", 0, 3);
	slots[0] = &of_b[0];
	slots[1] = &of_b[1];
	res.n_slots = 2;
	assert_int_equal(ctl_slot_map_add(&map, AGI_STR("b"), &res, &why), AGI_OK);
	ctl_slot_map_finish(&map);

	assert_true(map.slots[0].view->epoch == 2);
	assert_int_equal(map.slots[0].state, CTL_SLOT_ACTIVE);
	assert_int_equal(map.slots[0].n_live, 2);
	assert_int_equal(map.slots[1].state, CTL_SLOT_SEALED);
	assert_int_equal(map.slots[1].n_live, 2); /* c is down */
	assert_int_equal(map.slots[2].state, CTL_SLOT_NO_HOLDER);
	assert_int_equal(map.slots[2].n_live, 0);
	assert_int_equal(map.slots[3].state, CTL_SLOT_UNREPORTED);
	assert_int_equal(map.n_hosts, 4); /* d is only known from a view */
	assert_int_equal(map.hosts[0].slots, 2);
	assert_int_equal(map.hosts[3].slots, 1);
	ctl_slot_map_totals(&map, 2, &sum);
	assert_int_equal(sum.under_replicated, 2);
	assert_int_equal(sum.by_state[CTL_SLOT_ACTIVE], 1);
	ctl_slot_map_free(&map);
}

static void impossible_slot_reports_are_refused(void **state)
{
	Agihpc__V1__MembersResponse members;
	Agihpc__V1__SlotsResponse res = AGIHPC__V1__SLOTS_RESPONSE__INIT;
	Agihpc__V1__Member m[3], *list[3];
	Agihpc__V1__Slot one, *slots = &one;
	struct ctl_slot_map map;
	struct agi_why why;

	(void)state;
	make_members(&members, m, list);
	ctl_slot_map_init(&map, &members);
	make_slot(&one, 4, 1, "active", 0, 1);
	res.slots = &slots;
	res.n_slots = 1;
	assert_int_equal(ctl_slot_map_add(&map, AGI_STR("a"), &res, &why), AGI_E_MALFORMED);
	res.slots_total = 4;
	assert_int_equal(ctl_slot_map_add(&map, AGI_STR("a"), &res, &why), AGI_E_MALFORMED);
	res.slots_total = UINT32_MAX;
	assert_int_equal(ctl_slot_map_add(&map, AGI_STR("a"), &res, &why), AGI_E_MALFORMED);
	res.slots_total = 8;
	assert_int_equal(ctl_slot_map_add(&map, AGI_STR("a"), &res, &why), AGI_OK);
	res.slots_total = 16;
	assert_int_equal(ctl_slot_map_add(&map, AGI_STR("b"), &res, &why), AGI_E_MALFORMED);
	ctl_slot_map_free(&map);
}

/* --- moves ------------------------------------------------------------------------------------- */
static void assert_line(size_t columns, uint64_t done, uint64_t total, double rate, double eta_s,
			const char *expected)
{
	struct agi_buf b;

	agi_buf_init(&b, 0);
	ctl_progress_line(&b, columns, done, total, rate, eta_s);
	assert_true(b.n <= columns);
	agi_buf_u8(&b, 0);
	assert_string_equal((const char *)b.p, expected);
	agi_buf_free(&b);
}

static void a_line_of_progress_fits_its_terminal(void **state)
{
	(void)state;
	assert_line(100, 3, 12, 2048, 90,
		    "[##########..............................] 25 %  3/12 slots  2.0 KiB/s  1m 30s left");
	assert_line(60, 3, 12, 2048, 90, "[####.............] 25 %  3/12 slots  2.0 KiB/s  1m 30s left");
	assert_line(30, 3, 12, 2048, 90, "25 %  3/12 slots  2.0 KiB/s  1");
	assert_line(80, 0, 0, 0, -1, "[########################################] 100 %  0/0 slots  0 B/s");
	assert_line(0, 1, 2, 0, -1, "");
}

static void reports_of_moves_add_up(void **state)
{
	Agihpc__V1__RebalanceResponse r = AGIHPC__V1__REBALANCE_RESPONSE__INIT;
	struct ctl_moves_sum s = {.reports = 0};

	(void)state;
	r.settled = true;
	r.pauses = 1;
	r.pause_mean_ms = 10;
	r.slots_held = 4;
	r.store_bytes = 4000;
	ctl_moves_add(&s, &r);
	r.settled = false;
	r.slots_to_move = 6;
	r.changes_per_s = 3;
	r.pauses = 3;
	r.pause_mean_ms = 2;
	ctl_moves_add(&s, &r);
	ctl_moves_finish(&s);
	assert_false(s.is_settled);
	assert_true(s.pause_mean_ms == 4);
	assert_int_equal(s.bytes_per_slot, 1000); /* nothing moved yet: as large as those held */
	assert_true(ctl_moves_eta_s(&s) == 2);
	s.changes_per_s = 0;
	assert_true(ctl_moves_eta_s(&s) < 0);
	s = (struct ctl_moves_sum){.silent = 1};
	r.settled = true;
	ctl_moves_add(&s, &r);
	ctl_moves_finish(&s);
	assert_false(s.is_settled); /* one did not answer */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(edit_distance_agrees_with_the_recursion),
	    cmocka_unit_test(near_words_are_suggested_and_far_ones_not),
	    cmocka_unit_test(milliseconds_read_like_people_write_them),
	    cmocka_unit_test(bytes_read_like_people_write_them),
	    cmocka_unit_test(durations_need_a_number_and_a_unit),
	    cmocka_unit_test(numbers_are_whole_and_in_range),
	    cmocka_unit_test(targets_take_names_and_numbers),
	    cmocka_unit_test(options_are_found_in_every_form_and_place),
	    cmocka_unit_test(dashes_end_options_and_stand_for_a_stream),
	    cmocka_unit_test(wrong_options_are_named_with_what_is_valid),
	    cmocka_unit_test(columns_align_and_lines_do_not_end_in_spaces),
	    cmocka_unit_test(only_states_are_coloured_and_only_when_asked),
	    cmocka_unit_test(what_comes_from_outside_cannot_drive_the_terminal),
	    cmocka_unit_test(bytes_that_are_not_text_become_base64),
	    cmocka_unit_test(floats_keep_their_short_form),
	    cmocka_unit_test(exit_codes_follow_the_status),
	    cmocka_unit_test(advice_goes_by_the_error_the_node_names),
	    cmocka_unit_test(only_a_plain_allow_is_allow),
	    cmocka_unit_test(the_highest_epoch_and_the_worst_state_win),
	    cmocka_unit_test(a_line_of_progress_fits_its_terminal),
	    cmocka_unit_test(reports_of_moves_add_up),
	    cmocka_unit_test(impossible_slot_reports_are_refused),
	};

	if (agi_crypto_init() != AGI_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
