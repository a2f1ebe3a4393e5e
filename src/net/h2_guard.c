/* SPDX-License-Identifier: Apache-2.0 */
#include "net/h2_guard.h"

#include <string.h>

enum { PREFACE_BYTES = 24 };

/* What well-behaved clients need, with room: SETTINGS when an estimate of bandwidth changes; a
 * WINDOW_UPDATE or a few for each DATA; resets by deadlines of a thousand calls at once. The others
 * none at all. */
static const struct {
	uint32_t burst, per_s;
} budgets[AGI_H2_COST_COUNT] = {
    [AGI_H2_COST_SETTINGS] = {200, 20}, [AGI_H2_COST_WINDOW] = {20000, 10000},
    [AGI_H2_COST_RESET] = {1000, 1000}, [AGI_H2_COST_FAULT] = {100, 10},
    [AGI_H2_COST_IDLE] = {1000, 100},
};
enum { WINDOWS_PER_DATA = 8 }; /* WINDOW_UPDATEs that one DATA frame of ours may bring */

void agi_h2_guard_init(struct agi_h2_guard *g, uint64_t now_us)
{
	*g = (struct agi_h2_guard){.left_bytes = PREFACE_BYTES};
	for (int i = 0; i < AGI_H2_COST_COUNT; i++) {
		g->left[i] = budgets[i].burst;
		g->filled_us[i] = now_us;
	}
}

/* The bucket is filled when it is empty only: no arithmetic on the common path. */
static bool refill(struct agi_h2_guard *g, enum agi_h2_cost what, uint64_t now_us)
{
	uint64_t tokens = (now_us - g->filled_us[what]) * budgets[what].per_s / 1000000;

	if (tokens == 0)
		return false;
	g->left[what] = tokens < budgets[what].burst ? (uint32_t)tokens : budgets[what].burst;
	g->filled_us[what] = now_us;
	return true;
}

static uint32_t charge(struct agi_h2_guard *g, enum agi_h2_cost what, uint64_t now_us)
{
	if (g->left[what] == 0 && !refill(g, what, now_us))
		return NGHTTP2_ENHANCE_YOUR_CALM;
	g->left[what]--;
	return NGHTTP2_NO_ERROR;
}

static void credit(struct agi_h2_guard *g, enum agi_h2_cost what, uint32_t n)
{
	if (g->left[what] + n <= budgets[what].burst)
		g->left[what] += n;
}

static bool is_reset(const struct agi_h2_guard *g, int32_t stream_id)
{
	for (int i = 0; i < AGI_H2_RESETS_KEPT; i++)
		if (g->resets[i] == stream_id)
			return true;
	return false;
}

/* RFC 9113 5.1.1: a stream identifier is used once, and they only grow. nghttp2 is lenient: it
 * drops the frame. */
static uint32_t check_stream_id(struct agi_h2_guard *g, nghttp2_session *session, int32_t stream_id)
{
	if (stream_id > g->stream_id_max)
		g->stream_id_max = stream_id;
	else if (stream_id > 0 && !nghttp2_session_find_stream(session, stream_id) &&
		 !is_reset(g, stream_id))
		return NGHTTP2_PROTOCOL_ERROR;
	return NGHTTP2_NO_ERROR;
}

static uint32_t begin_block(struct agi_h2_guard *g, const nghttp2_frame_hd *hd)
{
	g->continuations = 0;
	g->is_in_block = !(hd->flags & NGHTTP2_FLAG_END_HEADERS);
	return NGHTTP2_NO_ERROR;
}

static uint32_t go_on(struct agi_h2_guard *g, const nghttp2_frame_hd *hd)
{
	if (hd->flags & NGHTTP2_FLAG_END_HEADERS)
		g->is_in_block = false;
	return ++g->continuations > AGI_H2_CONTINUATIONS_MAX ? NGHTTP2_ENHANCE_YOUR_CALM
							     : NGHTTP2_NO_ERROR;
}

static uint32_t begin_data(struct agi_h2_guard *g, const nghttp2_frame_hd *hd, uint64_t now_us)
{
	if (hd->flags & NGHTTP2_FLAG_PADDED ||
	    (hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM)))
		return charge(g, AGI_H2_COST_IDLE, now_us);
	return NGHTTP2_NO_ERROR;
}

static uint32_t judge(struct agi_h2_guard *g, const nghttp2_frame_hd *hd, uint64_t now_us)
{
	switch (hd->type) {
	case NGHTTP2_HEADERS:
		return begin_block(g, hd);
	case NGHTTP2_CONTINUATION:
		return go_on(g, hd);
	case NGHTTP2_DATA:
		return begin_data(g, hd, now_us);
	case NGHTTP2_RST_STREAM:
		return charge(g, AGI_H2_COST_RESET, now_us);
	case NGHTTP2_SETTINGS:
		return hd->flags & NGHTTP2_FLAG_ACK ? NGHTTP2_NO_ERROR
						    : charge(g, AGI_H2_COST_SETTINGS, now_us);
	case NGHTTP2_PING:
		return NGHTTP2_NO_ERROR;
	case NGHTTP2_WINDOW_UPDATE:
		return charge(g, AGI_H2_COST_WINDOW, now_us);
	default:
		return charge(g, AGI_H2_COST_IDLE, now_us);
	}
}

/* A frame's head is whole (RFC 9113 4.1). */
static uint32_t begin_frame(struct agi_h2_guard *g, uint64_t now_us)
{
	const uint8_t *h = g->head;
	const nghttp2_frame_hd hd = {.length = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2],
				     .type = h[3],
				     .flags = h[4]};

	g->head_bytes = 0;
	g->left_bytes = (uint32_t)hd.length;
	g->frames++;
	return judge(g, &hd, now_us);
}

uint32_t agi_h2_guard_read(struct agi_h2_guard *g, const uint8_t *p, size_t n, uint64_t now_us)
{
	uint32_t error_code = NGHTTP2_NO_ERROR;

	while (n > 0 && error_code == NGHTTP2_NO_ERROR) {
		size_t k = g->left_bytes ? g->left_bytes : sizeof g->head - g->head_bytes;

		k = k < n ? k : n;
		if (g->left_bytes) {
			g->left_bytes -= (uint32_t)k;
		} else {
			memcpy(g->head + g->head_bytes, p, k);
			g->head_bytes += (uint8_t)k;
			if (g->head_bytes == sizeof g->head)
				error_code = begin_frame(g, now_us);
		}
		p += k;
		n -= k;
	}
	return error_code;
}

uint32_t agi_h2_guard_begin(struct agi_h2_guard *g, nghttp2_session *session,
			    const nghttp2_frame_hd *hd)
{
	return hd->type == NGHTTP2_HEADERS ? check_stream_id(g, session, hd->stream_id)
					   : NGHTTP2_NO_ERROR;
}

/* 6.9.2: a change of SETTINGS_INITIAL_WINDOW_SIZE that lifts a stream's window too high is an error
 * of the connection; nghttp2 resets the stream, as for a WINDOW_UPDATE, where ending the connection
 * is permitted (5.4.1). */
static uint32_t sent_reset(struct agi_h2_guard *g, const nghttp2_frame *frame, uint64_t now_us)
{
	g->resets[g->n_resets++ % AGI_H2_RESETS_KEPT] = frame->hd.stream_id;
	switch (frame->rst_stream.error_code) {
	case NGHTTP2_FLOW_CONTROL_ERROR:
		return NGHTTP2_FLOW_CONTROL_ERROR;
	case NGHTTP2_NO_ERROR:
	case NGHTTP2_REFUSED_STREAM: /* it may not have seen our limit yet; costs no more than a
					call */
		return NGHTTP2_NO_ERROR;
	default:
		return charge(g, AGI_H2_COST_FAULT, now_us);
	}
}

uint32_t agi_h2_guard_sent(struct agi_h2_guard *g, const nghttp2_frame *frame, uint64_t now_us)
{
	if (frame->hd.type == NGHTTP2_RST_STREAM)
		return sent_reset(g, frame, now_us);
	if (frame->hd.type == NGHTTP2_DATA)
		credit(g, AGI_H2_COST_WINDOW, WINDOWS_PER_DATA);
	return NGHTTP2_NO_ERROR;
}

bool agi_h2_guard_is_stuck(struct agi_h2_guard *g, bool is_paused, uint64_t now_us)
{
	bool is_whole = g->left_bytes == 0 && g->head_bytes == 0 && !g->is_in_block;
	bool has_moved = g->frames != g->frames_seen && !g->is_in_block;

	g->frames_seen = g->frames;
	if (is_whole || has_moved || is_paused || g->stuck_since_us == 0) {
		g->stuck_since_us = is_whole ? 0 : now_us;
		return false;
	}
	return now_us - g->stuck_since_us > (uint64_t)AGI_H2_STUCK_MS * 1000;
}
