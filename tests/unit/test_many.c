/* SPDX-License-Identifier: Apache-2.0
 * agihpc-sim: many nodes of the core in one process, and what is measured of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/msg_codec.h"
#include "sim/measure.h"
#include "sim/packet.h"
#include "sim/report.h"

static enum agi_err parse(struct agi_sim_opts *o, struct agi_why *why, char *line)
{
	enum agi_sim_task task;
	static char name[] = "agihpc-sim";
	char *argv[32] = {name};
	int argc = 1;

	for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	return agi_sim_opts_parse(o, &task, argc, argv, why);
}

static void measure(struct agi_sim_result *r, const char *options)
{
	struct agi_sim_opts o;
	struct agi_why why;
	char line[300];

	snprintf(line, sizeof line, "--quiet %s", options);
	if (parse(&o, &why, line) != AGI_OK || agi_sim_measure(&o, r, &why) != AGI_OK)
		fail_msg("%s", why.text);
}

static void without_churn_every_lookup_is_right(void **state)
{
	struct agi_sim_result r;

	(void)state;
	measure(&r, "--nodes 50 --virtual-nodes 8 --lookups 300 --settle 20 --idle 10 --duration 20");
	assert_int_equal(r.joined, 50);
	assert_int_equal(r.lookups, 300);
	assert_int_equal(r.right, 300);
	assert_true(agi_sim_samples_quantile(&r.hops, 1) >= 1);
	assert_true(r.idle.messages_per_s > 0 && r.idle.bytes_per_s > 40 * r.idle.messages_per_s);
	assert_true(r.slots_max_mean >= 1 && r.slots_max_mean < 50);
	agi_sim_result_free(&r);
}

static void the_same_seed_gives_the_same_run(void **state)
{
	static const char options[] = "--nodes 8 --virtual-nodes 4 --lookups 50 --settle 5 --idle 5 --duration 5 --loss 0.1";
	struct agi_sim_result a, b, c;
	char other[200];

	(void)state;
	snprintf(other, sizeof other, "%s --seed 2", options);
	measure(&a, options);
	measure(&b, options);
	measure(&c, other);
	assert_true(a.lost > 0);
	assert_int_equal(a.trace, b.trace);
	assert_int_equal(a.messages, b.messages);
	assert_true(a.trace != c.trace);
	agi_sim_result_free(&a);
	agi_sim_result_free(&b);
	agi_sim_result_free(&c);
}

static void lookups_survive_hosts_that_leave_and_hosts_that_lie(void **state)
{
	struct agi_sim_result r;

	(void)state;
	measure(&r, "--nodes 40 --virtual-nodes 4 --lookups 200 --settle 10 --idle 5 --duration 60 --churn weibull:120:0.7 "
	            "--away 10 --adversaries 0.2 --attack eclipse");
	assert_int_equal(r.adversaries, 8);
	assert_true(r.stops > 5);
	assert_true(r.lookups > 150 && r.lookups <= 200); /* of those who look something up some leave */
	assert_true(r.right > r.lookups * 9 / 10);
	agi_sim_result_free(&r);
}

/* --- churn and attacks -------------------------------------------------------------------------------- */

static void sessions_have_the_median_that_was_asked_for(void **state)
{
	static const struct agi_sim_churn_cfg cfgs[] = {{.kind = AGI_SIM_EXPONENTIAL, .median_s = 100, .shape = 1},
	                                                {.kind = AGI_SIM_WEIBULL, .median_s = 100, .shape = 0.5}};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct agi_sim_samples s = {0};
		struct agi_sim_churn c;
		struct agi_why why;

		assert_int_equal(agi_sim_churn_init(&c, &cfgs[i], 3, &why), AGI_OK);
		for (int k = 0; k < 4000; k++)
			agi_sim_samples_add(&s, (double)agi_sim_churn_session_us(&c) / 1e6);
		assert_in_range(agi_sim_samples_quantile(&s, 0.5), 90, 110);
		agi_sim_samples_free(&s);
		agi_sim_churn_free(&c);
	}
}

static void test_addr(struct agi_addr *a, uint32_t node) { *a = (struct agi_addr){.port = (uint16_t)(1000 + node)}; }

static void adversaries_name_each_other_or_hosts_that_are_none(void **state)
{
	struct agi_contact out[AGI_K], c = {.weight_milli = 1000};
	struct agi_sim_attack a;

	(void)state;
	agi_sim_attack_init(&a, &(struct agi_sim_attack_cfg){AGI_SIM_COLLUDE, 0.5}, 10, 4, 1);
	assert_int_equal(a.n_adversaries, 5);
	for (uint32_t i = 0; i < 10; i++) {
		memset(c.id.b, (int)i + 1, sizeof c.id.b);
		agi_sim_attack_came(&a, i, &c);
	}
	assert_int_equal(agi_sim_attack_answer(&a, &c.id, out), 5);
	for (int i = 0; i < 5; i++)
		assert_true(a.is_adversary[out[i].id.b[0] - 1]);
	agi_sim_attack_went(&a, out[0].id.b[0] - 1u);
	assert_int_equal(agi_sim_attack_answer(&a, &c.id, out), 4);
	agi_sim_attack_free(&a);

	agi_sim_attack_init(&a, &(struct agi_sim_attack_cfg){AGI_SIM_ECLIPSE, 0.5}, 10, 4, 1);
	agi_sim_attack_invent(&a, 1, test_addr);
	assert_int_equal(agi_sim_attack_answer(&a, &c.id, out), AGI_K);
	for (int i = 0; i < AGI_K; i++)
		assert_true(a.is_adversary[out[i].addr.port - 1000]);
	agi_sim_attack_free(&a);

	agi_sim_attack_init(&a, &(struct agi_sim_attack_cfg){AGI_SIM_DROP, 0.5}, 10, 4, 1);
	assert_int_equal(agi_sim_attack_answer(&a, &c.id, out), -1);
	agi_sim_attack_free(&a);
}

/* --- reports ---------------------------------------------------------------------------------------------- */

static void the_json_holds_what_was_measured(void **state)
{
	struct agi_sim_result r = {.joined = 7, .lookups = 4, .right = 3, .trace = 0xabc};
	struct agi_sim_opts o = {.nodes = 7};
	char text[4096] = "";
	FILE *f = fmemopen(text, sizeof text, "w");
	json_t *j;

	(void)state;
	agi_sim_samples_add(&r.hops, 1);
	agi_sim_samples_add(&r.hops, 2);
	agi_sim_report_json(f, &o, &r);
	fclose(f);
	j = json_loads(text, 0, NULL);
	assert_non_null(j);
	assert_int_equal(json_integer_value(json_object_get(j, "right")), 3);
	assert_true(json_number_value(json_object_get(j, "right_percent")) == 75);
	assert_true(json_number_value(json_object_get(json_object_get(j, "hops"), "mean")) == 1.5);
	assert_string_equal(json_string_value(json_object_get(j, "trace")), "0000000000000abc");
	json_decref(j);
	agi_sim_result_free(&r);
}

static void plots_are_drawn_or_say_what_is_missing(void **state)
{
	const char *tmp = getenv("TMPDIR");
	static const char *const files[] = {"plots.gp", "hops.dat", "latency.dat", "join.dat", "table.dat", "idle.dat", "coordinates.dat",
	                                    "hops.svg", "latency.svg", "join.svg", "table.svg", "idle.svg", "coordinates.svg"};
	struct agi_sim_result r = {0};
	struct agi_why why;
	char dir[200], path[300];
	struct agi_sim_opts o = {.nodes = 7, .plot_dir = dir};
	enum agi_err err;

	(void)state;
	snprintf(dir, sizeof dir, "%s/agi-plots-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
	for (int i = 1; i < 9; i++)
		agi_sim_samples_add(i & 1 ? &r.hops : &r.table, i);
	err = agi_sim_report_plots(&o, &r, &why);
	if (err != AGI_OK && !strstr(why.text, "gnuplot is not installed"))
		fail_msg("%s", why.text);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, files[i]);
		assert_true(unlink(path) == 0 || (err != AGI_OK && strstr(files[i], ".svg")));
	}
	assert_int_equal(rmdir(dir), 0);
	o.plot_dir = "/nonexistent/plots";
	assert_int_equal(agi_sim_report_plots(&o, &r, &why), AGI_E_IO);
	assert_non_null(strstr(why.text, "cannot make /nonexistent/plots"));
	agi_sim_result_free(&r);
}

/* --- options ---------------------------------------------------------------------------------------------- */

static void is_refused(const char *options, const char *because)
{
	struct agi_sim_opts o;
	struct agi_why why;
	char line[200];

	snprintf(line, sizeof line, "%s", options);
	assert_int_equal(parse(&o, &why, line), AGI_E_INVALID);
	if (!strstr(why.text, because))
		fail_msg("'%s': %s", options, why.text);
}

static void an_option_that_makes_no_sense_is_named(void **state)
{
	(void)state;
	is_refused("--nodse 5", "'--nodse' is no option");
	is_refused("nodes", "'nodes' is no option");
	is_refused("--nodes", "--nodes needs a value");
	is_refused("--nodes 1", "from 2 to");
	is_refused("--nodes 2.5", "whole number");
	is_refused("--loss=nan", "number from 0 to 0.9");
	is_refused("--seed=-1", "not a whole number");
	is_refused("--quiet=1", "takes no value");
	is_refused("--latency uniform:5-1", "uniform:MIN-MAX");
	is_refused("--churn exponential:0", "exponential:MEDIAN");
	is_refused("--churn weibull:5", "weibull:MEDIAN:SHAPE");
	is_refused("--attack steal", "not collude, empty, drop or eclipse");
}

/* --- delays ------------------------------------------------------------------------------------------- */

static void matrix_says(const char *text, enum agi_err err, const char *because)
{
	const char *tmp = getenv("TMPDIR");
	struct agi_sim_latency_cfg cfg = {.kind = AGI_SIM_MATRIX};
	struct agi_sim_latency l;
	struct agi_why why;
	char path[256];
	int fd;

	snprintf(path, sizeof path, "%s/agi-matrix-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	cfg.file = path;
	assert_int_equal(agi_sim_latency_init(&l, &cfg, 5, 1, &why), err);
	unlink(path);
	if (err != AGI_OK) {
		if (!strstr(why.text, because))
			fail_msg("%s", why.text);
		return;
	}
	assert_int_equal(agi_sim_latency_us(&l, 0, 1), 5000);
	assert_int_equal(agi_sim_latency_us(&l, 3, 0), 6000); /* node 3 is at the second of two sites */
	assert_int_equal(agi_sim_latency_rtt_us(&l, 0, 3), 11000);
	agi_sim_latency_free(&l);
}

static void a_matrix_of_round_trips_is_read_or_told_apart(void **state)
{
	(void)state;
	matrix_says("# two sites\n2\n0, 10\n12 0\n", AGI_OK, NULL);
	matrix_says("", AGI_E_INVALID, "number of sites");
	matrix_says("2\n0 10\n12\n", AGI_E_INVALID, "no number in row 2, column 2");
	matrix_says("2\n0 x\n12 0\n", AGI_E_INVALID, "no number in row 1, column 2");
	matrix_says("2\n0 -1\n12 0\n", AGI_E_INVALID, "is -1");
	matrix_says("2\n0 10\n12 0 7\n", AGI_E_INVALID, "there is more");
}

static void delays_are_those_of_the_model(void **state)
{
	struct agi_sim_latency_cfg geo = {.kind = AGI_SIM_GEO}, uniform = {AGI_SIM_UNIFORM, 100, 900, NULL};
	struct agi_sim_latency g, u;
	struct agi_why why;

	(void)state;
	assert_int_equal(agi_sim_latency_init(&g, &geo, 40, 7, &why), AGI_OK);
	assert_int_equal(agi_sim_latency_init(&u, &uniform, 40, 7, &why), AGI_OK);
	for (uint32_t a = 0; a < 40; a++) {
		for (uint32_t b = 0; b < a; b++) {
			assert_in_range(agi_sim_latency_us(&g, a, b), 200, 180000); /* half around the earth and a slow access */
			assert_int_equal(agi_sim_latency_us(&g, a, b), agi_sim_latency_us(&g, b, a));
			assert_in_range(agi_sim_latency_us(&u, a, b), 100, 900);
			assert_int_equal(agi_sim_latency_us(&u, a, b), agi_sim_latency_us(&u, b, a));
		}
	}
	agi_sim_latency_free(&g);
	agi_sim_latency_free(&u);
}

/* --- sizes ---------------------------------------------------------------------------------------------- */

static void weighs_as_encoded(const struct agi_msg *m)
{
	struct agi_buf b;
	size_t ours = agi_sim_wire_bytes(m);

	agi_buf_init(&b, 0);
	agi_msg_encode(&b, m);
	assert_int_equal(b.err, AGI_OK);
	/* a field that the simulator does not know yet must not spoil what it measures */
	if (ours * 10 < b.n * 9 || ours * 9 > b.n * 10)
		fail_msg("%s: %zu bytes, encoded %zu", agi_msg_kind_name(m->kind), ours, b.n);
	agi_buf_free(&b);
}

static void messages_weigh_what_the_daemon_would_send(void **state)
{
	struct agi_contact c = {.addr = {.ip = {1, 2, 3}, .port = 5000}, .incarnation = 3, .weight_milli = 1000, .zone = "a1"};
	struct agi_contact many[AGI_K];
	struct agi_msg ping = {.kind = AGI_MSG_PING, .rpc_id = UINT64_MAX / 3, .wall_ms = 1700000000000};
	struct agi_msg ask = {.kind = AGI_MSG_FIND_NODE, .rpc_id = 5}, nodes = {.kind = AGI_MSG_NODES, .rpc_id = 5};

	(void)state;
	memset(c.id.b, 7, sizeof c.id.b);
	memset(ping.cluster.b, 9, sizeof ping.cluster.b);
	memset(ask.target.b, 9, sizeof ask.target.b);
	for (int i = 0; i < AGI_K; i++)
		many[i] = c;
	ping.contact = c;
	nodes.contacts = many;
	nodes.n_contacts = AGI_K;
	weighs_as_encoded(&ping);
	weighs_as_encoded(&ask);
	weighs_as_encoded(&nodes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(without_churn_every_lookup_is_right),
	    cmocka_unit_test(the_same_seed_gives_the_same_run),
	    cmocka_unit_test(lookups_survive_hosts_that_leave_and_hosts_that_lie),
	    cmocka_unit_test(sessions_have_the_median_that_was_asked_for),
	    cmocka_unit_test(adversaries_name_each_other_or_hosts_that_are_none),
	    cmocka_unit_test(the_json_holds_what_was_measured),
	    cmocka_unit_test(plots_are_drawn_or_say_what_is_missing),
	    cmocka_unit_test(an_option_that_makes_no_sense_is_named),
	    cmocka_unit_test(a_matrix_of_round_trips_is_read_or_told_apart),
	    cmocka_unit_test(delays_are_those_of_the_model),
	    cmocka_unit_test(messages_weigh_what_the_daemon_would_send),
	};
	return cmocka_run_group_tests_name("many", tests, NULL, NULL);
}
