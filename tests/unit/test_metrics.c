/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "node/metrics.h"

/* --- a strict reader of the text format 0.0.4 ------------------------------------------------ */
struct text {
	char *all;                /* every line, terminated */
	char name[128], type[16]; /* of the family at hand */
	double last_bound;        /* of a histogram's series: bounds and counts must not fall */
	double last_count;
	char last_labels[512];
};

static bool is_name(const char *p, size_t n)
{
	if (n == 0 || isdigit((unsigned char)*p))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)p[i]) && p[i] != '_' && p[i] != ':')
			return false;
	return true;
}

/* Past a label set; its bounds are checked by check_bucket. */
static const char *skip_labels(const char *p)
{
	assert_int_equal(*p, '{');
	do {
		const char *name = ++p;

		p += strcspn(p, "=");
		assert_true(is_name(name, (size_t)(p - name)));
		assert_true(p[0] == '=' && p[1] == '"');
		p += 2 + strcspn(p + 2, "\"\n\\"); /* nothing of ours needs an escape */
		assert_int_equal(*p, '"');
		p++;
	} while (*p == ',');
	assert_int_equal(*p, '}');
	return p + 1;
}

static void check_bucket(struct text *t, const char *labels, double v)
{
	const char *le = strstr(labels, "le=\"");
	double bound;

	assert_non_null(le);
	bound = le[4] == '+' ? INFINITY : strtod(le + 4, NULL);
	if (strncmp(t->last_labels, labels, (size_t)(le - labels)) != 0 || isinf(t->last_bound)) {
		t->last_bound = -1;
		t->last_count = 0;
	}
	assert_true(bound > t->last_bound);
	assert_true(v >= t->last_count);
	t->last_bound = bound;
	t->last_count = v;
	snprintf(t->last_labels, sizeof t->last_labels, "%.*s", (int)(le - labels), labels);
}

static void check_sample(struct text *t, const char *line)
{
	size_t n = strcspn(line, "{ "), family = strlen(t->name);
	const char *labels = line + n, *p = *labels == '{' ? skip_labels(labels) : labels;
	char *end;
	double v;

	assert_true(is_name(line, n));
	if (strncmp(line, t->name, family) != 0)
		fail_msg("%s: not of %s", line, t->name);
	assert_int_equal(*p, ' ');
	v = strtod(p + 1, &end);
	assert_int_equal(*end, '\0');
	if (strcmp(t->type, "histogram") != 0) {
		assert_int_equal(n, family);
		assert_true(strcmp(t->type, "counter") != 0 || v >= 0);
	} else if (strncmp(line + family, "_bucket", 7) == 0) {
		check_bucket(t, labels, v);
	} else if (strncmp(line + family, "_count", 6) == 0) {
		assert_true(isinf(t->last_bound) && v == t->last_count);
	} else {
		assert_memory_equal(line + family, "_sum", 4);
	}
}

static void begin_family(struct text *t, const char *help, const char *type)
{
	char needle[160];

	assert_int_equal(sscanf(help, "# HELP %127s ", t->name), 1);
	assert_true(is_name(t->name, strlen(t->name)));
	assert_true(strlen(help) > strlen("# HELP  ") + strlen(t->name));
	snprintf(needle, sizeof needle, "# TYPE %s ", t->name);
	assert_memory_equal(type, needle, strlen(needle));
	assert_int_equal(sscanf(type + strlen(needle), "%15s", t->type), 1);
	assert_null(strstr(strstr(t->all, needle) + 1, needle)); /* one family, one place */
	t->last_bound = INFINITY;
	t->last_labels[0] = '\0';
	if (strcmp(t->type, "counter") == 0)
		assert_string_equal(t->name + strlen(t->name) - 6, "_total");
}

static void assert_no_twins(const char *line, const char *rest)
{
	size_t n = strcspn(line, " ");

	for (const char *p = rest; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (*line != '#' && strncmp(p, line, n + 1) == 0)
			fail_msg("twice: %s", line);
	}
}

static void check_text(const char *whole)
{
	struct text t = {.all = (char *)whole};
	char *copy = strdup(whole), *save = NULL;

	assert_int_equal(whole[strlen(whole) - 1], '\n');
	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		assert_no_twins(line, whole + (line - copy) + strlen(line));
		if (strncmp(line, "# HELP ", 7) == 0)
			begin_family(&t, line, strtok_r(NULL, "\n", &save));
		else
			check_sample(&t, line);
	}
	free(copy);
}

/* --- promises -------------------------------------------------------------------------------- */
static struct agi_buf out;

static const char *text_of(struct agi_metrics *m)
{
	agi_buf_reset(&out);
	agi_metrics_write(m, &out);
	agi_buf_u8(&out, 0);
	assert_int_equal(out.err, AGI_OK);
	return (const char *)out.p;
}

static void assert_has(const char *text, const char *line)
{
	const char *p = strstr(text, line);

	if (!p || (p != text && p[-1] != '\n'))
		fail_msg("missing: %s", line);
}

static void checked(struct agi_metrics *m, enum agi_decision d, enum agi_panel_cause c,
		    enum agi_check_cause cc)
{
	agi_metrics_on_safety(m, &(struct agi_safety_event){.kind = AGI_SAFETY_CHECKED,
							    .decision = d,
							    .cause = c,
							    .block = AGI_BLOCK_VETO,
							    .check_cause = cc,
							    .bond_index = 0.5,
							    .took_us = 3000});
}

static void alert_series_exist_before_anything_happens(void **state)
{
	struct agi_metrics *m;
	const char *text;

	(void)state;
	assert_int_equal(agi_metrics_new(&m), AGI_OK);
	text = text_of(m);
	check_text(text);
	assert_has(text, "safety_checks_total 0\n");
	assert_has(text, "safety_check_failures_total 0\n");
	assert_has(text, "agi_hpc_safety_decisions_total{decision=\"ALLOW\"} 0\n");
	assert_has(text, "agi_hpc_safety_decisions_total{decision=\"BLOCK\"} 0\n");
	assert_has(text, "agi_hpc_safety_decisions_total{decision=\"REVISE\"} 0\n");
	assert_has(text, "agi_hpc_safety_decisions_total{decision=\"DEFER\"} 0\n");
	assert_has(text, "erisml_evaluation_duration_seconds_bucket{le=\"0.1\"} 0\n");
	assert_has(text, "erisml_evaluation_duration_seconds_bucket{le=\"+Inf\"} 0\n");
	assert_null(strstr(text, "\nagi_hpc_bond_index_value ")); /* no plan, no Bond Index */
	agi_metrics_free(m);
}

static void checks_are_counted_by_decision_and_failures_by_cause(void **state)
{
	struct agi_metrics *m;
	const char *text;

	(void)state;
	assert_int_equal(agi_metrics_new(&m), AGI_OK);
	checked(m, AGI_DECISION_ALLOW, AGI_PANEL_VOTED, AGI_CHECK_OK);
	checked(m, AGI_DECISION_BLOCK, AGI_PANEL_VOTED, AGI_CHECK_OK);
	checked(m, AGI_DECISION_BLOCK, AGI_PANEL_TIMEOUT, AGI_CHECK_OK);
	checked(m, AGI_DECISION_BLOCK, AGI_PANEL_VOTED, AGI_CHECK_ERISML_TIMEOUT);
	text = text_of(m);
	check_text(text);
	assert_has(text, "safety_checks_total 4\n");
	assert_has(text, "safety_check_failures_total 2\n");
	assert_has(text, "agi_hpc_safety_decisions_total{decision=\"BLOCK\"} 3\n");
	assert_has(text, "agihpc_safety_check_failures_total{cause=\"TIMEOUT\"} 1\n");
	assert_has(text, "agihpc_safety_check_failures_total{cause=\"ERISML_TIMEOUT\"} 1\n");
	assert_has(text, "agihpc_safety_blocks_total{cause=\"FAILURE\"} 2\n");
	assert_has(text, "agihpc_safety_blocks_total{cause=\"ERISML_VETO\"} 1\n");
	assert_has(text, "agihpc_safety_blocks_total{cause=\"RULES\"} 0\n");
	assert_has(text, "agihpc_safety_check_duration_seconds_bucket{le=\"0.0025\"} 0\n");
	assert_has(text, "agihpc_safety_check_duration_seconds_bucket{le=\"0.005\"} 4\n");
	assert_has(text, "agihpc_safety_check_duration_seconds_sum 0.012000\n");
	assert_null(strstr(text, "\nagi_hpc_bond_index_value ")); /* a router does not judge */
	agi_metrics_free(m);
}

static void the_bond_index_is_one_when_it_cannot_be_computed(void **state)
{
	struct agi_safety_event e = {
	    .kind = AGI_SAFETY_VOTED, .decision = AGI_DECISION_ALLOW, .bond_index = 0.125};
	struct agi_metrics *m;

	(void)state;
	assert_int_equal(agi_metrics_new(&m), AGI_OK);
	agi_metrics_on_safety(m, &e);
	assert_has(text_of(m), "agi_hpc_bond_index_value 0.125\n");
	e.bond_index = -1;
	agi_metrics_on_safety(m, &e); /* a banned tool: nothing was computed, nothing changes */
	assert_has(text_of(m), "agi_hpc_bond_index_value 0.125\n");
	e.check_cause = AGI_CHECK_ERISML_UNAVAILABLE;
	e.decision = AGI_DECISION_BLOCK;
	agi_metrics_on_safety(m, &e);
	assert_has(text_of(m), "agi_hpc_bond_index_value 1\n");
	assert_has(text_of(m), "agihpc_safety_votes_total{decision=\"ALLOW\"} 2\n");
	agi_metrics_on_safety(m, &(struct agi_safety_event){.kind = AGI_SAFETY_EVALUATED,
							    .bond_index = 0.25,
							    .took_us = 60000000});
	check_text(text_of(m));
	assert_has(text_of(m), "agi_hpc_bond_index_value 0.25\n");
	assert_has(text_of(m), "erisml_evaluation_duration_seconds_bucket{le=\"10\"} 0\n");
	assert_has(text_of(m), "erisml_evaluation_duration_seconds_count 1\n");
	assert_has(text_of(m), "erisml_evaluation_duration_seconds_sum 60.000000\n");
	agi_metrics_free(m);
}

static void grpc_calls_are_counted_by_method_and_code(void **state)
{
	struct agi_metrics *m;
	char service[] = "a.B", method[] = "C";
	const char *text;

	(void)state;
	assert_int_equal(agi_metrics_new(&m), AGI_OK);
	agi_metrics_on_grpc(m, "a.B", "C", AGI_GRPC_UNARY, AGI_GRPC_OK, 100);
	agi_metrics_on_grpc(m, service, method, AGI_GRPC_UNARY, AGI_GRPC_OK, 101);
	agi_metrics_on_grpc(m, "a.B", "C", AGI_GRPC_UNARY, AGI_GRPC_DEADLINE_EXCEEDED, 20000000);
	agi_metrics_on_grpc(m, "a.B", "D", AGI_GRPC_UNARY, AGI_GRPC_UNAUTHENTICATED, 0);
	text = text_of(m);
	check_text(text);
	assert_has(text, "grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"a.B\",grpc_"
			 "method=\"C\",grpc_code=\"OK\"} 2\n");
	assert_has(text, "grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"a.B\",grpc_"
			 "method=\"C\",grpc_code=\"DeadlineExceeded\"} 1\n");
	assert_has(text, "grpc_server_handling_seconds_bucket{grpc_type=\"unary\",grpc_service=\"a."
			 "B\",grpc_method=\"C\",le=\"0.0001\"} 1\n");
	assert_has(text, "grpc_server_handling_seconds_bucket{grpc_type=\"unary\",grpc_service=\"a."
			 "B\",grpc_method=\"C\",le=\"10\"} 2\n");
	assert_has(text, "grpc_server_handling_seconds_bucket{grpc_type=\"unary\",grpc_service=\"a."
			 "B\",grpc_method=\"C\",le=\"+Inf\"} 3\n");
	assert_has(text, "grpc_server_handling_seconds_sum{grpc_type=\"unary\",grpc_service=\"a."
			 "B\",grpc_method=\"C\"} 20.000201\n");
	agi_metrics_free(m);
}

static void parts_are_added_up(void **state)
{
	struct agi_metrics *m, *part;
	struct agi_buf a;
	(void)state;

	agi_buf_init(&a, 0);
	assert_int_equal(agi_metrics_new(&m), AGI_OK);
	assert_int_equal(agi_metrics_new(&part), AGI_OK);
	agi_metrics_add_part(m, part);
	agi_metrics_on_grpc(m, "s", "one", AGI_GRPC_UNARY, AGI_GRPC_OK, 50);
	agi_metrics_on_grpc(part, "s", "two", AGI_GRPC_UNARY, AGI_GRPC_OK, 50);
	agi_metrics_on_grpc(part, "s", "one", AGI_GRPC_UNARY, AGI_GRPC_OK, 50);
	agi_metrics_on_safety(part, &(struct agi_safety_event){.kind = AGI_SAFETY_CHECKED,
							       .decision = AGI_DECISION_ALLOW,
							       .bond_index = 0.5});
	for (int i = 0; i < 2; i++) { /* reading changes nothing */
		agi_buf_reset(&a);
		agi_metrics_write(m, &a);
		agi_buf_put(&a, "", 1);
		assert_non_null(strstr((char *)a.p, "grpc_method=\"one\",grpc_code=\"OK\"} 2\n"));
		assert_non_null(strstr((char *)a.p, "grpc_method=\"two\",grpc_code=\"OK\"} 1\n"));
		assert_non_null(strstr((char *)a.p, "\nsafety_checks_total 1\n"));
	}
	agi_metrics_free(m);
	agi_metrics_free(part);
	agi_buf_free(&a);
}

static void the_number_of_series_is_bounded(void **state)
{
	static char names[1000][8];
	struct agi_metrics *m;

	(void)state;
	assert_int_equal(agi_metrics_new(&m), AGI_OK);
	for (int i = 0; i < 1000; i++) {
		snprintf(names[i], sizeof names[i], "m%d", i);
		agi_metrics_on_grpc(m, "s", names[i], AGI_GRPC_UNARY, AGI_GRPC_OK, 1);
	}
	check_text(text_of(m));
	assert_has(text_of(m), "grpc_server_handled_total{grpc_type=\"unary\",grpc_service="
			       "\"other\",grpc_method=\"other\",grpc_code=\"OK\"} 873\n");
	agi_metrics_free(m);
}

static double value_of(const char *text, const char *name)
{
	char needle[64];
	const char *p;

	snprintf(needle, sizeof needle, "\n%s ", name);
	p = strstr(text, needle);
	assert_non_null(p);
	return strtod(p + strlen(needle), NULL);
}

static void the_process_is_described(void **state)
{
	struct agi_metrics *m;
	const char *text;

	(void)state;
	assert_int_equal(agi_metrics_new(&m), AGI_OK);
	text = text_of(m);
	assert_true(value_of(text, "process_resident_memory_bytes") > 500e3);
	assert_true(value_of(text, "process_virtual_memory_bytes") >
		    value_of(text, "process_resident_memory_bytes"));
	assert_in_range((int)value_of(text, "process_open_fds"), 3, 1000);
	assert_true(value_of(text, "process_max_fds") >= value_of(text, "process_open_fds"));
	assert_true(value_of(text, "process_cpu_seconds_total") >= 0);
	assert_true(value_of(text, "process_threads") >= 1); /* a sanitizer may have its own */
	assert_true(fabs(value_of(text, "process_start_time_seconds") - (double)time(NULL)) < 3600);
	agi_metrics_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(alert_series_exist_before_anything_happens),
	    cmocka_unit_test(checks_are_counted_by_decision_and_failures_by_cause),
	    cmocka_unit_test(the_bond_index_is_one_when_it_cannot_be_computed),
	    cmocka_unit_test(grpc_calls_are_counted_by_method_and_code),
	    cmocka_unit_test(parts_are_added_up),
	    cmocka_unit_test(the_number_of_series_is_bounded),
	    cmocka_unit_test(the_process_is_described),
	};
	int failed = cmocka_run_group_tests_name("metrics", tests, NULL, NULL);

	agi_buf_free(&out);
	return failed;
}
