/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <cmocka.h>

#include "base/hash.h"
#include "net/listener.h"
#include "loop.h"

struct fixture {
	struct event_base *base;
	struct agi_listener *listener;
	struct agi_listener_stats stats;
	int last_fd;
	struct agi_addr last_remote;
};

static void on_any(void *ctx, struct agi_transport *t)
{
	struct fixture *f = ctx;

	if (f->last_fd >= 0)
		close(f->last_fd);
	f->last_fd = agi_transport_release(t, &f->last_remote);
}

static void start(struct fixture *f, uint32_t pending_max, uint32_t timeout_ms)
{
	struct agi_listener_cfg cfg = {.addr = loopback(0),
				       .ctx = f,
				       .pending_max = pending_max,
				       .sniff_timeout_ms = timeout_ms};
	struct agi_why why;

	*f = (struct fixture){.base = event_base_new(), .last_fd = -1};
	for (int i = 0; i < AGI_WIRE_COUNT; i++)
		cfg.on_wire[i] = on_any;
	cfg.on_wire[AGI_WIRE_TLS] = NULL;
	assert_int_equal(agi_listener_new(f->base, &cfg, &f->listener, &why), AGI_OK);
}

static void stop(struct fixture *f)
{
	agi_listener_free(f->listener);
	if (f->last_fd >= 0)
		close(f->last_fd);
	event_base_free(f->base);
}

static bool one_is_decided(void *arg)
{
	struct fixture *f = arg;
	uint64_t n = 0;

	agi_listener_stats(f->listener, &f->stats);
	for (int i = 0; i < AGI_WIRE_COUNT; i++)
		n += f->stats.accepted[i];
	return n + f->stats.unknown + f->stats.silent + f->stats.crowded > 0;
}

/* Says first, waits until the listener has decided. */
static void say(struct fixture *f, const char *first)
{
	int fd = raw_connect(agi_listener_addr(f->listener));

	assert_true(fd >= 0);
	assert_int_equal(write(fd, first, strlen(first)), strlen(first));
	assert_true(loop_until(f->base, one_is_decided, f));
	close(fd);
}

static void each_protocol_is_told_by_its_first_bytes(void **state)
{
	static const struct {
		const char *first;
		enum agi_wire wire;
	} cases[] = {{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", AGI_WIRE_GRPC},
		     {"GET / HTTP/1.1\r\n", AGI_WIRE_HTTP},
		     {"HEAD / HTTP/1.1\r\n", AGI_WIRE_HTTP},
		     {"\x01"
		      "AGI\x02",
		      AGI_WIRE_LINK},
		     {"\x01", AGI_WIRE_LINK}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct fixture f;
		char got[64];

		start(&f, 0, 0);
		say(&f, cases[i].first);
		assert_int_equal(f.stats.accepted[cases[i].wire], 1);
		assert_true(f.last_fd >= 0);
		assert_true(agi_addr_is_loopback(&f.last_remote));
		/* nothing was consumed, and the socket is as promised */
		assert_int_equal(read(f.last_fd, got, sizeof got), strlen(cases[i].first));
		assert_memory_equal(got, cases[i].first, strlen(cases[i].first));
		assert_true(fcntl(f.last_fd, F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(f.last_fd, F_GETFD) & FD_CLOEXEC);
		stop(&f);
	}
}

static void what_is_unknown_or_not_served_is_closed_and_counted(void **state)
{
	static const char *const firsts[] = {"SSH-2.0-x", "GOT", "POST / HTTP/1.1", "\x16\x03\x01",
					     "\xff"};

	(void)state;
	for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
		struct fixture f;

		start(&f, 0, 0);
		say(&f, firsts[i]);
		assert_int_equal(f.stats.unknown, 1);
		assert_int_equal(f.last_fd, -1);
		stop(&f);
	}
}

static void every_prefix_waits_and_every_other_byte_decides(void **state)
{
	static const char *const words[] = {"PRI ", "GET ", "HEAD"};
	enum agi_wire wire;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		for (size_t n = 0; n < 4; n++)
			assert_false(agi_wire_of(&wire, (struct agi_str){words[i], n}));
		assert_true(agi_wire_of(&wire, (struct agi_str){words[i], 4}));
		assert_int_not_equal(wire, AGI_WIRE_COUNT);
	}
	for (unsigned c = 0; c < 256; c++) {
		char first = (char)c;
		bool starts_a_word = c == 'P' || c == 'G' || c == 'H';

		assert_int_equal(agi_wire_of(&wire, (struct agi_str){&first, 1}), !starts_a_word);
		if (!starts_a_word && c != 1 && c != 0x16)
			assert_int_equal(wire, AGI_WIRE_COUNT);
	}
}

static void a_word_in_two_parts_is_understood(void **state)
{
	struct fixture f;
	int fd;

	(void)state;
	start(&f, 0, 0);
	fd = raw_connect(agi_listener_addr(f.listener));
	assert_int_equal(write(fd, "GE", 2), 2);
	for (int i = 0; i < 4; i++)
		event_base_loop(f.base, EVLOOP_NONBLOCK);
	assert_int_equal(write(fd, "T /", 3), 3);
	assert_true(loop_until(f.base, one_is_decided, &f));
	assert_int_equal(f.stats.accepted[AGI_WIRE_HTTP], 1);
	close(fd);
	stop(&f);
}

static void a_silent_connection_is_closed_in_time(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, 0, 20);
	say(&f, "");
	assert_int_equal(f.stats.silent, 1);
	stop(&f);
	start(&f, 0, 20);
	say(&f, "GE");
	assert_int_equal(f.stats.silent, 1);
	stop(&f);
}

static void hanging_up_within_a_word_does_not_spin(void **state)
{
	struct fixture f;
	int fd;

	(void)state;
	start(&f, 0, 60000);
	fd = raw_connect(agi_listener_addr(f.listener));
	assert_int_equal(write(fd, "GE", 2), 2);
	close(fd);
	assert_true(loop_until(f.base, one_is_decided, &f));
	assert_int_equal(f.stats.silent, 1);
	stop(&f);
}

static void above_the_bound_the_oldest_silent_one_goes(void **state)
{
	struct fixture f;
	int fd[3];
	char byte;

	(void)state;
	start(&f, 2, 0);
	for (int i = 0; i < 3; i++)
		fd[i] = raw_connect(agi_listener_addr(f.listener));
	assert_true(loop_until(f.base, one_is_decided, &f));
	assert_int_equal(f.stats.crowded, 1);
	assert_int_equal(read(fd[0], &byte, 1), 0);
	assert_int_equal(recv(fd[2], &byte, 1, MSG_DONTWAIT), -1);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	stop(&f);
}

static void an_address_in_use_is_named(void **state)
{
	struct fixture f;
	struct agi_listener_cfg cfg = {0};
	struct agi_listener *second = NULL;
	struct agi_why why;
	char text[AGI_ADDR_TEXT];

	(void)state;
	start(&f, 0, 0);
	cfg.addr = *agi_listener_addr(f.listener);
	agi_addr_format(text, &cfg.addr);
	assert_int_equal(agi_listener_new(f.base, &cfg, &second, &why), AGI_E_EXISTS);
	assert_non_null(strstr(why.text, text));
	assert_null(second);
	stop(&f);
}

static void a_foreign_address_is_named(void **state)
{
	struct event_base *base = event_base_new();
	struct agi_listener_cfg cfg = {.addr = loopback(0)};
	struct agi_listener *l = NULL;
	struct agi_why why;

	(void)state;
	cfg.addr.ip[12] = 192; /* 192.0.2.1: documentation, RFC 5737 */
	cfg.addr.ip[14] = 2;
	assert_int_equal(agi_listener_new(base, &cfg, &l, &why), AGI_E_INVALID);
	assert_non_null(strstr(why.text, "192.0.2.1"));
	event_base_free(base);
}

static bool has_paused(void *arg)
{
	struct fixture *f = arg;

	agi_listener_stats(f->listener, &f->stats);
	return f->stats.pauses > 0;
}

static void without_descriptors_it_pauses_and_goes_on_later(void **state)
{
	struct fixture f;
	struct rlimit old, low;
	int fd, next;

	(void)state;
	start(&f, 0, 0);
	fd = raw_connect(agi_listener_addr(f.listener));
	assert_int_equal(write(fd, "GET ", 4), 4);
	next = dup(fd);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = (struct rlimit){(rlim_t)next, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_true(loop_until(f.base, has_paused, &f));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_true(loop_until(f.base, one_is_decided, &f));
	assert_int_equal(f.stats.accepted[AGI_WIRE_HTTP], 1);
	assert_int_equal(f.stats.pauses, 1);
	close(fd);
	stop(&f);
}

static void pass_on(void *ctx, int fd, const struct agi_addr *remote)
{
	agi_listener_take(((struct fixture *)ctx)->listener, fd, remote);
}

static void what_one_listener_gives_away_another_tells_apart(void **state)
{
	struct fixture f = {.base = event_base_new(), .last_fd = -1};
	struct agi_listener_cfg door = {.addr = loopback(0), .on_accept = pass_on, .ctx = &f};
	struct agi_listener_cfg fed = {.is_fed = true, .ctx = &f};
	struct agi_listener *first;
	struct agi_why why;
	int fd;

	(void)state;
	fed.on_wire[AGI_WIRE_HTTP] = on_any;
	assert_int_equal(agi_listener_new(f.base, &fed, &f.listener, &why), AGI_OK);
	assert_int_equal(agi_listener_new(f.base, &door, &first, &why), AGI_OK);
	fd = raw_connect(agi_listener_addr(first));
	assert_int_equal(write(fd, "GET ", 4), 4);
	assert_true(loop_until(f.base, one_is_decided, &f));
	assert_int_equal(f.stats.accepted[AGI_WIRE_HTTP], 1);
	assert_true(f.last_fd >= 0 && agi_addr_is_loopback(&f.last_remote));
	close(fd);
	agi_listener_free(first);
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_protocol_is_told_by_its_first_bytes),
	    cmocka_unit_test(what_is_unknown_or_not_served_is_closed_and_counted),
	    cmocka_unit_test(every_prefix_waits_and_every_other_byte_decides),
	    cmocka_unit_test(a_word_in_two_parts_is_understood),
	    cmocka_unit_test(a_silent_connection_is_closed_in_time),
	    cmocka_unit_test(hanging_up_within_a_word_does_not_spin),
	    cmocka_unit_test(above_the_bound_the_oldest_silent_one_goes),
	    cmocka_unit_test(an_address_in_use_is_named),
	    cmocka_unit_test(a_foreign_address_is_named),
	    cmocka_unit_test(what_one_listener_gives_away_another_tells_apart),
	    cmocka_unit_test(without_descriptors_it_pauses_and_goes_on_later),
	};

	return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
