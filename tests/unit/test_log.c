/* SPDX-License-Identifier: Apache-2.0 */
#include "node/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

struct tap {
	int fd[2];
	struct agi_log *log;
	char text[1 << 16];
};

static void open_log(struct tap *t, enum agi_log_level level, enum agi_log_format format)
{
	assert_int_equal(pipe2(t->fd, O_NONBLOCK), 0);
	assert_int_equal(agi_log_new(t->fd[1], level, format, &t->log), AGI_OK);
}

static const char *written(struct tap *t)
{
	ssize_t n = read(t->fd[0], t->text, sizeof t->text - 1);

	t->text[n > 0 ? n : 0] = '\0';
	return t->text;
}

static void close_log(struct tap *t)
{
	agi_log_free(t->log);
	close(t->fd[0]);
	close(t->fd[1]);
}

static size_t lines(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

static void a_line_is_time_level_event_and_fields(void **state)
{
	struct tap t;
	struct agi_addr addr;
	struct agi_id id = {{0xab, 0xcd}};
	const char *s;
	(void)state;

	assert_int_equal(agi_addr_parse(&addr, AGI_STR("127.0.0.1:5000"), 0, NULL), AGI_OK);
	open_log(&t, AGI_LOG_INFO, AGI_LOG_LOGFMT);
	AGI_LOG(t.log, AGI_LOG_INFO, "member_up", agi_kv_id("node", &id), agi_kv_addr("addr", &addr),
	        agi_kv_u("slot", 7), agi_kv_b("ok", true), agi_kv_z("why", "two words"));
	s = written(&t);
	assert_int_equal(s[4], '-');
	assert_int_equal(s[23], 'Z');
	assert_string_equal(s + 24, " level=info event=member_up node=abcd00000000 "
	                            "addr=127.0.0.1:5000 slot=7 ok=true why=\"two words\"\n");
	close_log(&t);
}

static void json_has_the_same_fields_quoted(void **state)
{
	struct tap t;
	(void)state;

	open_log(&t, AGI_LOG_INFO, AGI_LOG_JSON);
	AGI_LOG(t.log, AGI_LOG_WARN, "odd", agi_kv_z("a", "q\"b\\s\n\x01"), agi_kv_u("n", 3));
	assert_string_equal(written(&t) + 34, ",\"level\":\"warn\",\"event\":\"odd\","
	                                      "\"a\":\"q\\\"b\\\\s\\n\\u0001\",\"n\":3}\n");
	close_log(&t);
}

static void bytes_from_outside_stay_on_one_line(void **state)
{
	struct tap t;
	char all[256];
	(void)state;

	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	open_log(&t, AGI_LOG_INFO, AGI_LOG_LOGFMT);
	AGI_LOG(t.log, AGI_LOG_INFO, "x", agi_kv_str("v", (struct agi_str){all, sizeof all}));
	assert_int_equal(lines(written(&t)), 1);
	assert_true(agi_utf8_is_valid(agi_str_of(t.text)));
	close_log(&t);
}

static void a_line_above_the_level_is_not_written(void **state)
{
	struct tap t;
	(void)state;

	open_log(&t, AGI_LOG_INFO, AGI_LOG_LOGFMT);
	AGI_LOG(t.log, AGI_LOG_DEBUG, "x", agi_kv_u("a", 1));
	assert_string_equal(written(&t), "");
	agi_log_set_level(t.log, AGI_LOG_DEBUG);
	AGI_LOG(t.log, AGI_LOG_DEBUG, "x", agi_kv_u("a", 1));
	assert_int_equal(lines(written(&t)), 1);
	assert_int_equal(agi_log_count(t.log, AGI_LOG_DEBUG), 1);
	close_log(&t);
}

static void equal_lines_are_counted_not_repeated(void **state)
{
	struct tap t;
	(void)state;

	open_log(&t, AGI_LOG_INFO, AGI_LOG_LOGFMT);
	for (int i = 0; i < 100; i++)
		AGI_LOG(t.log, AGI_LOG_WARN, "link_down", agi_kv_u("peer", 1));
	AGI_LOG(t.log, AGI_LOG_WARN, "link_down", agi_kv_u("peer", 2));
	assert_int_equal(lines(written(&t)), 2);
	agi_log_free(t.log);
	assert_non_null(strstr(written(&t), "event=link_down repeated=99\n"));
	assert_int_equal(lines(t.text), 1);
	close(t.fd[0]);
	close(t.fd[1]);
}

static void more_kinds_of_lines_than_are_counted_are_all_told(void **state)
{
	struct tap t;
	size_t n = 0;
	(void)state;

	open_log(&t, AGI_LOG_INFO, AGI_LOG_LOGFMT);
	agi_log_set_level(t.log, AGI_LOG_DEBUG); /* debug lines have no burst limit */
	for (unsigned i = 0; i < 3 * AGI_LOG_REPEATS; i++) {
		AGI_LOG(t.log, AGI_LOG_DEBUG, "x", agi_kv_u("i", i));
		AGI_LOG(t.log, AGI_LOG_DEBUG, "x", agi_kv_u("i", i));
		n += lines(written(&t));
	}
	agi_log_free(t.log);
	n += lines(written(&t));
	assert_int_equal(n, 6 * AGI_LOG_REPEATS);
	close(t.fd[0]);
	close(t.fd[1]);
}

static void a_reader_that_does_not_read_is_not_waited_for(void **state)
{
	struct tap t;
	char big[400];
	(void)state;

	memset(big, 'a', sizeof big);
	open_log(&t, AGI_LOG_INFO, AGI_LOG_LOGFMT);
	fcntl(t.fd[1], F_SETFL, 0); /* a write would wait */
	agi_log_set_level(t.log, AGI_LOG_DEBUG);
	for (unsigned i = 0; i < 1000; i++)
		AGI_LOG(t.log, AGI_LOG_DEBUG, "x", agi_kv_u("i", i),
		        agi_kv_str("big", (struct agi_str){big, sizeof big}));
	while (*written(&t))
		;
	AGI_LOG(t.log, AGI_LOG_INFO, "last");
	assert_non_null(strstr(written(&t), "event=last dropped_before="));
	close_log(&t);
}

static void a_burst_of_one_event_is_cut_however_its_lines_differ(void **state)
{
	struct tap t;
	(void)state;

	open_log(&t, AGI_LOG_INFO, AGI_LOG_LOGFMT);
	for (unsigned i = 0; i < 5 * AGI_LOG_BURST; i++)
		AGI_LOG(t.log, AGI_LOG_WARN, "knock", agi_kv_u("port", i));
	AGI_LOG(t.log, AGI_LOG_WARN, "other");
	assert_int_equal(lines(written(&t)), AGI_LOG_BURST + 1);
	assert_int_equal(agi_log_count(t.log, AGI_LOG_WARN), 5 * AGI_LOG_BURST + 1);
	close_log(&t);
}

static void level_names_are_read_back(void **state)
{
	enum agi_log_level l = AGI_LOG_ERROR;
	(void)state;

	assert_int_equal(agi_log_level_parse(&l, AGI_STR("debug")), AGI_OK);
	assert_int_equal(l, AGI_LOG_DEBUG);
	assert_int_equal(agi_log_level_parse(&l, AGI_STR("loud")), AGI_E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_line_is_time_level_event_and_fields),
	    cmocka_unit_test(json_has_the_same_fields_quoted),
	    cmocka_unit_test(bytes_from_outside_stay_on_one_line),
	    cmocka_unit_test(a_line_above_the_level_is_not_written),
	    cmocka_unit_test(equal_lines_are_counted_not_repeated),
	    cmocka_unit_test(more_kinds_of_lines_than_are_counted_are_all_told),
	    cmocka_unit_test(a_reader_that_does_not_read_is_not_waited_for),
	    cmocka_unit_test(a_burst_of_one_event_is_cut_however_its_lines_differ),
	    cmocka_unit_test(level_names_are_read_back),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
