/* SPDX-License-Identifier: Apache-2.0
 * What a client may cost an HTTP/2 server beyond its calls: budgets for the frames that make work
 * without making a call (RFC 9113 10.5; CVE-2019-9511 to 9518, CVE-2023-44487 "rapid reset",
 * CVE-2025-8671 "MadeYouReset", CVE-2024-28182 "CONTINUATION flood"), and time for what has begun
 * to arrive. One guard per connection; all of it is counting, the connection's end is the owner's.
 *
 * A budget is a bucket of tokens that fills at a rate; answers add to it where well-behaved peers
 * answer them with such frames (WINDOW_UPDATE). PINGs have rules of their own (grpc_conn.c). */
#ifndef AGI_NET_H2_GUARD_H
#define AGI_NET_H2_GUARD_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>

enum agi_h2_cost {
	AGI_H2_COST_SETTINGS,
	AGI_H2_COST_WINDOW, /* WINDOW_UPDATE */
	AGI_H2_COST_RESET,  /* RST_STREAM from the peer */
	AGI_H2_COST_FAULT,  /* RST_STREAM that it made us send */
	AGI_H2_COST_IDLE,   /* PRIORITY, GOAWAY, empty or padded DATA, frames of unknown types */
	AGI_H2_COST_COUNT
};

enum {
	AGI_H2_CONTINUATIONS_MAX =
	    7, /* after one HEADERS: 112 KiB more; a header list's own bound is far below */
	AGI_H2_RESETS_KEPT = 16, /* streams we reset whose late frames are recognized */
	AGI_H2_STUCK_MS = 10000  /* from the first byte of a frame or header block to its last */
};

struct agi_h2_guard {
	uint32_t left[AGI_H2_COST_COUNT]; /* tokens */
	uint64_t filled_us[AGI_H2_COST_COUNT];
	int32_t stream_id_max;              /* the highest that the peer has used */
	int32_t resets[AGI_H2_RESETS_KEPT]; /* by us; a ring */
	uint32_t n_resets;
	uint32_t continuations; /* of the header block that is arriving */
	bool is_in_block;       /* HEADERS without END_HEADERS came */
	uint32_t left_bytes;    /* of the preface or a frame's payload, still to come */
	uint8_t head[9];        /* of the frame that begins */
	uint8_t head_bytes;     /* that are here */
	uint64_t frames;        /* that have begun */
	uint64_t frames_seen, stuck_since_us; /* of the last agi_h2_guard_is_stuck */
};

/* now_us: the clock of every call after it (monotonic). */
void agi_h2_guard_init(struct agi_h2_guard *g, uint64_t now_us);
/* Bytes of the peer, all of them, before nghttp2 is given them: it does not tell of frames that it
 * ignores (of unknown types, late ones of closed streams), and those cost too. NGHTTP2_NO_ERROR,
 * or the error code with which the connection must end. */
uint32_t agi_h2_guard_read(struct agi_h2_guard *g, const uint8_t *p, size_t n, uint64_t now_us);
/* A frame begins: from nghttp2's on_begin_frame callback of a server session. Result as above. */
uint32_t agi_h2_guard_begin(struct agi_h2_guard *g, nghttp2_session *session,
			    const nghttp2_frame_hd *hd);
/* We have sent a frame: from nghttp2's on_frame_send callback. Result as above. */
uint32_t agi_h2_guard_sent(struct agi_h2_guard *g, const nghttp2_frame *frame, uint64_t now_us);
/* Called about once a second: true when the preface, a frame or a header block has been arriving for
 * longer than AGI_H2_STUCK_MS. is_paused: we do not read, so it cannot go on. */
bool agi_h2_guard_is_stuck(struct agi_h2_guard *g, bool is_paused, uint64_t now_us);

#endif
