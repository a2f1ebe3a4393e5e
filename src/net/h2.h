/* SPDX-License-Identifier: Apache-2.0
 * One HTTP/2 connection: a transport and an nghttp2 session, driven by libevent. Server and client
 * sit on it; streams and what they mean are theirs.
 *
 * Reading goes straight from the socket into nghttp2, writing collects what nghttp2 has to say and
 * hands it to the kernel once per turn of the loop; both through buffers that all connections of a
 * loop share, so an idle connection owns no buffer. What the kernel does not take is kept (at most
 * AGI_H2_OUT_BYTES and a frame) and nghttp2 is asked for nothing more until it is gone.
 *
 * on_closed runs from the event loop only, never inside a function of this module or of nghttp2. */
#ifndef AGI_NET_H2_H
#define AGI_NET_H2_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <nghttp2/nghttp2.h>
#include <stdint.h>
#include <sys/queue.h>

#include "net/h2_mem.h"
#include "net/transport.h"

enum {
	AGI_H2_IN_BYTES = 64 << 10,         /* read at once */
	AGI_H2_OUT_BYTES = 128 << 10,       /* collected before a write */
	AGI_H2_READS_PER_TURN = 4,          /* then the other connections get their turn */
	AGI_H2_STREAM_WINDOW = 64 << 10,    /* bytes a stream may have on the way at first: what a
					     * thousand    paused streams send must fit in memory */
	AGI_H2_STREAM_WINDOW_MAX = 4 << 20, /* one that is used: 3 Gbit/s at 10 ms */
	AGI_H2_CONN_WINDOW = 4 << 20,       /* bytes a connection may have on the way */
	AGI_H2_CONN_WINDOW_MAX = 8 << 20
};

/* What the connections of one loop share. */
struct agi_h2;
struct agi_h2_loop {
	struct event_base *base;
	struct event *flush; /* active while there are dirty connections */
	LIST_HEAD(, agi_h2) dirty;
	uint8_t *in, *out;
	struct agi_h2_mem mem; /* of their nghttp2 sessions */
};
AGI_MUST_USE enum agi_err agi_h2_loop_init(struct agi_h2_loop *l, struct event_base *base);
void agi_h2_loop_free(struct agi_h2_loop *l);

struct agi_h2_ops {
	/* Bytes that came, before nghttp2 is given them: NGHTTP2_NO_ERROR, or the error code with which the
	 * connection ends. May be NULL. */
	uint32_t (*on_bytes)(void *ctx, const uint8_t *p, size_t n);
	void (*after_read)(
	    void *ctx); /* everything that was read has gone through the nghttp2 callbacks */
	void (*on_closed)(void *ctx,
			  const struct agi_why *why); /* the owner calls agi_h2_close; once */
};

struct agi_h2 {
	struct agi_h2_loop *loop;
	const struct agi_h2_ops *ops;
	void *ctx;
	nghttp2_session *session;
	struct agi_transport *transport; /* NULL before _open and after _close */
	struct event rd, wr;
	LIST_ENTRY(agi_h2) dirty_link;
	uint8_t *unsent; /* NULL: the kernel has taken everything */
	size_t unsent_bytes, unsent_at;
	bool is_dirty, is_reading, is_paused;
	bool is_full;        /* the owner's: do not read while the peer does not */
	bool is_held;        /* the owner's: do not close although nghttp2 has nothing more to do */
	uint32_t error_code; /* the owner's: what GOAWAY says when one of its nghttp2 callbacks fails */
	uint64_t last_in_us; /* monotonic, the last byte that came */
	uint64_t last_out_us; /* the last byte the kernel took */
};

/* Takes transport and session (both are closed by agi_h2_close, also when this fails). */
AGI_MUST_USE enum agi_err agi_h2_open(struct agi_h2 *h, struct agi_h2_loop *loop,
				      struct agi_transport *transport, nghttp2_session *session,
				      const struct agi_h2_ops *ops, void *ctx);
/* Something may be there to send: it goes out in this turn of the loop. Cheap, any number of times.
 */
void agi_h2_wake(struct agi_h2 *h);
/* Frees session, transport and buffers. Streams get no callback. Not from inside nghttp2 callbacks.
 */
void agi_h2_close(struct agi_h2 *h);

uint64_t agi_h2_now_us(void); /* CLOCK_MONOTONIC */

#endif
