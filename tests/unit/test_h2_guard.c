/* SPDX-License-Identifier: Apache-2.0
 * Budgets and patience with one HTTP/2 client, without a connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/h2_guard.h"

enum { SECOND = 1000000 };
static struct agi_h2_guard g;
static nghttp2_session *session;

/* n zero bytes. */
static uint32_t come(size_t n, uint64_t now_us)
{
	static const uint8_t zeros[4096];
	uint32_t code = NGHTTP2_NO_ERROR;

	for (; n && !code; n -= n < sizeof zeros ? n : sizeof zeros)
		code = agi_h2_guard_read(&g, zeros, n < sizeof zeros ? n : sizeof zeros, now_us);
	return code;
}

static void greet(void)
{
	agi_h2_guard_init(&g, SECOND);
	assert_int_equal(come(24, SECOND), 0);
}

static int set_up(void **state)
{
	nghttp2_session_callbacks *cb;

	(void)state;
	assert_int_equal(nghttp2_session_callbacks_new(&cb), 0);
	assert_int_equal(nghttp2_session_server_new(&session, cb, NULL), 0);
	nghttp2_session_callbacks_del(cb);
	greet();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	nghttp2_session_del(session);
	return 0;
}

static uint32_t come_head(uint8_t type, uint8_t flags, int32_t stream_id, size_t length, uint64_t now_us)
{
	const uint8_t head[9] = {(uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length, type, flags,
				 0, 0, (uint8_t)(stream_id >> 8), (uint8_t)stream_id};

	return agi_h2_guard_read(&g, head, sizeof head, now_us);
}

/* A whole frame, as nghttp2 sees it too. */
static uint32_t begin(uint8_t type, uint8_t flags, int32_t stream_id, size_t length,
		      uint64_t now_us)
{
	const nghttp2_frame_hd hd = {
	    .length = length, .stream_id = stream_id, .type = type, .flags = flags};
	uint32_t code = come_head(type, flags, stream_id, length, now_us);

	if (!code)
		code = agi_h2_guard_begin(&g, session, &hd);
	assert_int_equal(come(length, now_us), 0);
	return code;
}

/* How many frames pass at once. */
static int passing(uint8_t type, uint8_t flags, size_t length, uint64_t now_us)
{
	int n = 0;

	while (n < 1000000 && begin(type, flags, 1, length, now_us) == NGHTTP2_NO_ERROR)
		n++;
	assert_int_equal(begin(type, flags, 1, length, now_us), NGHTTP2_ENHANCE_YOUR_CALM);
	return n;
}

static void each_kind_of_cheap_frame_has_a_budget_that_refills(void **state)
{
	static const struct {
		uint8_t type, flags;
		size_t length;
		int burst, per_s;
	} kinds[] = {{NGHTTP2_SETTINGS, 0, 0, 200, 20},
		     {NGHTTP2_WINDOW_UPDATE, 0, 4, 20000, 10000},
		     {NGHTTP2_RST_STREAM, 0, 4, 1000, 1000},
		     {NGHTTP2_PRIORITY, 0, 5, 1000, 100},
		     {NGHTTP2_GOAWAY, 0, 8, 1000, 100},
		     {NGHTTP2_DATA, 0, 0, 1000, 100},
		     {0xee, 0, 0, 1000, 100},
		     {NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, 1000, 100}};

	(void)state;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		greet();
		assert_int_equal(passing(kinds[i].type, kinds[i].flags, kinds[i].length, SECOND),
				 kinds[i].burst);
		assert_int_equal(
		    passing(kinds[i].type, kinds[i].flags, kinds[i].length, 2 * SECOND),
		    kinds[i].per_s);
		assert_int_equal(
		    passing(kinds[i].type, kinds[i].flags, kinds[i].length, 10000ull * SECOND),
		    kinds[i].burst);
	}
}

static void calls_cost_nothing(void **state)
{
	(void)state;
	for (int32_t i = 1; i < 200001; i += 2) {
		assert_int_equal(begin(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, i, 50, SECOND),
				 0);
		assert_int_equal(begin(NGHTTP2_DATA, 0, i, 1, SECOND), 0);
		assert_int_equal(begin(NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, i, 0, SECOND), 0);
		assert_int_equal(begin(NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, 0, SECOND), 0);
	}
}

static void answers_allow_window_updates(void **state)
{
	const nghttp2_frame data = {.hd = {.type = NGHTTP2_DATA}};

	(void)state;
	(void)passing(NGHTTP2_WINDOW_UPDATE, 0, 4, SECOND);
	assert_int_equal(agi_h2_guard_sent(&g, &data, SECOND), 0);
	assert_int_equal(passing(NGHTTP2_WINDOW_UPDATE, 0, 4, SECOND), 8);
}

static uint32_t sent_reset(int32_t stream_id, uint32_t error_code)
{
	nghttp2_frame f = {
	    .rst_stream = {.hd = {.type = NGHTTP2_RST_STREAM, .stream_id = stream_id},
			   .error_code = error_code}};

	return agi_h2_guard_sent(&g, &f, SECOND);
}

static void resets_we_are_made_to_send_are_counted_polite_ones_are_not(void **state)
{
	int n = 0;

	(void)state;
	for (int i = 0; i < 5000; i++) {
		assert_int_equal(sent_reset(1, NGHTTP2_NO_ERROR), 0);
		assert_int_equal(sent_reset(1, NGHTTP2_REFUSED_STREAM), 0);
	}
	while (sent_reset(1, NGHTTP2_PROTOCOL_ERROR) == NGHTTP2_NO_ERROR)
		n++;
	assert_int_equal(n, 100);
	assert_int_equal(sent_reset(1, NGHTTP2_FLOW_CONTROL_ERROR), NGHTTP2_FLOW_CONTROL_ERROR);
}

static void stream_identifiers_grow_but_what_we_reset_may_still_send(void **state)
{
	const uint8_t whole = NGHTTP2_FLAG_END_HEADERS;

	(void)state;
	assert_int_equal(begin(NGHTTP2_HEADERS, whole, 7, 9, SECOND), 0);
	assert_int_equal(begin(NGHTTP2_HEADERS, whole, 5, 9, SECOND), NGHTTP2_PROTOCOL_ERROR);
	assert_int_equal(begin(NGHTTP2_HEADERS, whole, 7, 9, SECOND), NGHTTP2_PROTOCOL_ERROR);
	assert_int_equal(sent_reset(7, NGHTTP2_CANCEL), 0);
	assert_int_equal(begin(NGHTTP2_HEADERS, whole, 7, 9, SECOND), 0);
	assert_int_equal(begin(NGHTTP2_HEADERS, whole, 9, 9, SECOND), 0);
}

static void a_header_block_has_few_continuations(void **state)
{
	(void)state;
	for (int32_t stream = 1; stream < 5; stream += 2) {
		assert_int_equal(begin(NGHTTP2_HEADERS, 0, stream, 9, SECOND), 0);
		for (int i = 0; i < AGI_H2_CONTINUATIONS_MAX; i++)
			assert_int_equal(begin(NGHTTP2_CONTINUATION, 0, stream, 9, SECOND), 0);
	}
	assert_int_equal(begin(NGHTTP2_CONTINUATION, 0, 3, 9, SECOND), NGHTTP2_ENHANCE_YOUR_CALM);
}

/* Looks once a second as the server does, while more_per_s bytes come; the second at which it is stuck, or 0. */
static int stuck_after(size_t more_per_s, bool is_paused)
{
	for (int s = 1; s < 60; s++) {
		uint64_t now_us = (uint64_t)(1 + s) * SECOND;

		assert_int_equal(come(more_per_s, now_us), 0);
		if (agi_h2_guard_is_stuck(&g, is_paused, now_us))
			return s;
	}
	return 0;
}

static void what_begins_must_end_in_time(void **state)
{
	(void)state;
	agi_h2_guard_init(&g, SECOND);
	assert_in_range(stuck_after(0, false), 10, 13); /* no preface */
	greet();
	assert_int_equal(stuck_after(0, false), 0); /* between frames */
	greet();
	(void)come(6, SECOND);
	assert_in_range(stuck_after(0, false), 10, 13); /* inside a frame's head */
	greet();
	(void)come_head(NGHTTP2_DATA, 0, 1, 1000, SECOND);
	assert_in_range(stuck_after(1, false), 10, 13); /* a byte a second */
	greet();
	(void)come_head(NGHTTP2_DATA, 0, 1, 1000, SECOND);
	(void)come(500, SECOND);
	assert_int_equal(stuck_after(0, true), 0); /* it is us who do not read */
	greet();
	(void)begin(NGHTTP2_HEADERS, 0, 1, 10, SECOND);
	assert_in_range(stuck_after(0, false), 10, 13); /* whole, but without END_HEADERS */
}

static void frames_that_follow_each_other_are_not_stuck(void **state)
{
	(void)state;
	assert_int_equal(come_head(NGHTTP2_DATA, 0, 1, 1000, SECOND), 0);
	for (int s = 1; s < 100; s++) { /* always in the middle of one */
		assert_int_equal(come(500, SECOND), 0);
		assert_false(agi_h2_guard_is_stuck(&g, false, (uint64_t)(1 + s) * SECOND));
		assert_int_equal(come(500, SECOND), 0);
		assert_int_equal(come_head(NGHTTP2_DATA, 0, 1, 1000, SECOND), 0);
	}
}

/* As nghttp2 does with frames of unknown types and late ones of closed streams. */
static void frames_that_nobody_tells_of_are_whole_and_cost(void **state)
{
	int n = 0;

	(void)state;
	assert_int_equal(come_head(0x10, 0, 0, 7, SECOND), 0);
	assert_int_equal(come(7, SECOND), 0);
	assert_int_equal(come_head(NGHTTP2_DATA, 1, 1, 1000, SECOND), 0);
	assert_int_equal(come(1000, SECOND), 0);
	assert_int_equal(stuck_after(0, false), 0);
	while (come_head(0xee, 0, 0, 0, SECOND) == NGHTTP2_NO_ERROR)
		n++;
	assert_int_equal(n, 999); /* the first was one of them */
}

static void frames_may_come_in_any_pieces(void **state)
{
	uint8_t bytes[3 * 9 + 20] = {[2] = 20, [3] = NGHTTP2_PING};

	(void)state;
	bytes[29 + 3] = bytes[38 + 3] = NGHTTP2_PRIORITY;
	for (size_t piece = 1; piece < sizeof bytes; piece++) {
		greet();
		for (size_t at = 0; at < sizeof bytes; at += piece)
			assert_int_equal(agi_h2_guard_read(&g, bytes + at,
							   piece < sizeof bytes - at ? piece : sizeof bytes - at,
							   SECOND),
					 0);
		assert_int_equal(g.frames, 3);
		assert_int_equal(g.left[AGI_H2_COST_IDLE], 998);
		assert_int_equal(g.left_bytes + g.head_bytes, 0);
	}
}

int main(void)
{
#define PROMISE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    PROMISE(each_kind_of_cheap_frame_has_a_budget_that_refills),
	    PROMISE(calls_cost_nothing),
	    PROMISE(answers_allow_window_updates),
	    PROMISE(resets_we_are_made_to_send_are_counted_polite_ones_are_not),
	    PROMISE(stream_identifiers_grow_but_what_we_reset_may_still_send),
	    PROMISE(a_header_block_has_few_continuations),
	    PROMISE(what_begins_must_end_in_time),
	    PROMISE(frames_that_follow_each_other_are_not_stuck),
	    PROMISE(frames_that_nobody_tells_of_are_whole_and_cost),
	    PROMISE(frames_may_come_in_any_pieces),
	};

	return cmocka_run_group_tests_name("h2_guard", tests, NULL, NULL);
}
