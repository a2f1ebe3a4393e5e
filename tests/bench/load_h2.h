/* SPDX-License-Identifier: Apache-2.0
 * One client connection of a gRPC load: as little work per call as can be, so that what is measured
 * is the server. The header block is made once (HPACK writes a repeated list as indexes into its
 * table), answers are read frame by frame. Blocking socket; whatever is not as it should be ends
 * the program. */
#ifndef AGI_TESTS_LOAD_H2_H
#define AGI_TESTS_LOAD_H2_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>

enum { LOAD_STREAMS_MAX = 1000, LOAD_PREFIX_BYTES = 5 };

struct load_h2 {
	int fd;
	const char *path; /* of the method; borrowed */
	/* The next request: writes the length-prefixed message to `to` and returns its bytes (at
	 * most `room`). */
	size_t (*make)(void *ctx, unsigned char *to, size_t room);
	void *ctx;
	nghttp2_hd_deflater *deflater;
	nghttp2_hd_inflater *inflater;
	unsigned char headers[512]; /* of every request but the first */
	size_t n_headers;
	int32_t next_stream_id;
	bool is_known;  /* headers is valid: both sides' tables hold the list */
	int64_t window; /* that we may send */
	int waiting;    /* requests for which there was no window */
	unsigned char *in, *out;
	size_t n_in, n_out;
	uint32_t *body_bytes;  /* per stream id / 2: DATA so far */
	uint32_t answer_bytes; /* DATA of the answer that came last */
	bool is_tolerant;      /* a call may fail */
	bool has_failed;       /* the call that ended last */
};

/* Ends the program. */
void load_die(const char *what) __attribute__((noreturn));
double load_now_s(void);
/* A connected, blocking socket: target is a port of 127.0.0.1, "ip:port", or the path of a Unix
 * socket. */
int load_dial(const char *target);

void load_h2_open(struct load_h2 *c, const char *target, const char *path);
void load_h2_close(struct load_h2 *c);
/* Queues a call (now, or when the peer opens its window). */
void load_h2_ask(struct load_h2 *c);
void load_h2_flush(struct load_h2 *c);
/* Reads what is there (waits for something); returns how many calls ended, each with grpc-status 0.
 */
int load_h2_receive(struct load_h2 *c);

#endif
