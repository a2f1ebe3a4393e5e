/* SPDX-License-Identifier: Apache-2.0 */
#include "net/h2.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/sock.h"

/* nghttp2 gives a frame in pieces of at most its buffer: 16 KiB, frame header and padding length. */
enum { FRAME_MAX = (16 << 10) + 64 };

uint64_t agi_h2_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void on_flush(evutil_socket_t fd, short what, void *arg);

/* --- loop --------------------------------------------------------------------------------------------- */
enum agi_err agi_h2_loop_init(struct agi_h2_loop *l, struct event_base *base)
{
	*l = (struct agi_h2_loop){.base = base};
	LIST_INIT(&l->dirty);
	agi_h2_mem_init(&l->mem);
	l->flush = event_new(base, -1, 0, on_flush, l);
	l->in = malloc(AGI_H2_IN_BYTES);
	l->out = malloc(AGI_H2_OUT_BYTES);
	if (l->flush && l->in && l->out)
		return AGI_OK;
	agi_h2_loop_free(l);
	return AGI_E_NOMEM;
}

void agi_h2_loop_free(struct agi_h2_loop *l)
{
	if (l->flush)
		event_free(l->flush);
	free(l->in);
	free(l->out);
	agi_h2_mem_free(&l->mem);
	*l = (struct agi_h2_loop){0};
}

/* --- closing ------------------------------------------------------------------------------------------ */
static void closed(struct agi_h2 *h, enum agi_err e, const char *what)
{
	struct agi_why why;

	(void)!agi_fail(&why, e, "%s", what);
	h->ops->on_closed(h->ctx, &why); /* frees h */
}

void agi_h2_close(struct agi_h2 *h)
{
	if (!h->transport)
		return;
	event_del(&h->rd);
	event_del(&h->wr);
	if (h->is_dirty)
		LIST_REMOVE(h, dirty_link);
	nghttp2_session_del(h->session);
	agi_transport_close(h->transport);
	free(h->unsent);
	h->session = NULL;
	h->unsent = NULL;
	h->is_dirty = false;
	h->transport = NULL;
}

/* --- writing ------------------------------------------------------------------------------------------ */
enum sent { SENT_ALL, SENT_SOME, SENT_FAILED };

/* Hands n bytes to the kernel; *done says how many it took. */
static enum sent send_bytes(struct agi_h2 *h, const uint8_t *p, size_t n, size_t *done)
{
	*done = 0;
	while (*done < n) {
		ssize_t r = agi_transport_write(h->transport, p + *done, n - *done);

		if (r < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK ? SENT_SOME : SENT_FAILED;
		*done += (size_t)r;
		h->last_out_us = agi_h2_now_us();
	}
	return SENT_ALL;
}

static enum sent send_unsent(struct agi_h2 *h)
{
	size_t done;
	enum sent r;

	if (!h->unsent)
		return SENT_ALL;
	r = send_bytes(h, h->unsent + h->unsent_at, h->unsent_bytes - h->unsent_at, &done);
	h->unsent_at += done;
	if (r == SENT_ALL) {
		free(h->unsent);
		h->unsent = NULL;
	}
	return r;
}

static bool keep_unsent(struct agi_h2 *h, const uint8_t *p, size_t n)
{
	h->unsent = malloc(n);
	if (!h->unsent)
		return false;
	memcpy(h->unsent, p, n);
	h->unsent_bytes = n;
	h->unsent_at = 0;
	h->last_out_us = agi_h2_now_us(); /* from now on the peer is waited for */
	return true;
}

/* Sends *n collected bytes; what is left over is kept. */
static enum sent send_collected(struct agi_h2 *h, const uint8_t *p, size_t *n)
{
	size_t done;
	enum sent r = *n ? send_bytes(h, p, *n, &done) : SENT_ALL;

	if (r == SENT_SOME && !keep_unsent(h, p + done, *n - done))
		r = SENT_FAILED;
	*n = 0;
	return r;
}

/* Sends until nghttp2 has nothing more or the kernel takes no more. */
static enum sent send_session(struct agi_h2 *h)
{
	enum sent r = send_unsent(h);
	uint8_t *out = h->loop->out;
	size_t n = 0;

	while (r == SENT_ALL) {
		const uint8_t *p;
		ssize_t got = nghttp2_session_mem_send(h->session, &p);

		if (got < 0)
			return SENT_FAILED;
		if (got == 0)
			return send_collected(h, out, &n);
		assert((size_t)got <= FRAME_MAX);
		memcpy(out + n, p, (size_t)got);
		n += (size_t)got;
		if (AGI_H2_OUT_BYTES - n < FRAME_MAX)
			r = send_collected(h, out, &n);
	}
	return r;
}

static void update_events(struct agi_h2 *h)
{
	bool pause = h->unsent && h->is_full;

	if ((h->unsent || agi_transport_wants_write(h->transport)) && !event_pending(&h->wr, EV_WRITE, NULL))
		event_add(&h->wr, NULL);
	if (pause != h->is_paused) {
		h->is_paused = pause;
		if (pause)
			event_del(&h->rd);
		else
			event_add(&h->rd, NULL);
	}
}

/* May free h. */
static void flush(struct agi_h2 *h)
{
	if (send_session(h) == SENT_FAILED) {
		const char *reason = agi_transport_reason(h->transport);

		closed(h, AGI_E_UNREACHABLE, reason ? reason : "connection lost while writing");
		return;
	}
	if (!h->unsent && !h->is_held && !nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session)) {
		closed(h, AGI_E_CLOSED, "connection closed");
		return;
	}
	update_events(h);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	struct agi_h2_loop *l = arg;
	struct agi_h2 *h;

	(void)fd;
	(void)what;
	while ((h = LIST_FIRST(&l->dirty)) != NULL) {
		LIST_REMOVE(h, dirty_link);
		h->is_dirty = false;
		flush(h);
	}
}

void agi_h2_wake(struct agi_h2 *h)
{
	if (h->is_dirty || h->is_reading || !h->transport)
		return;
	if (LIST_EMPTY(&h->loop->dirty))
		event_active(h->loop->flush, EV_TIMEOUT, 0);
	LIST_INSERT_HEAD(&h->loop->dirty, h, dirty_link);
	h->is_dirty = true;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct agi_h2 *h = arg;

	(void)fd;
	(void)what;
	if (agi_transport_wants_write(h->transport))
		event_active(&h->rd, EV_READ, 0);
	flush(h);
}

/* --- reading ------------------------------------------------------------------------------------------ */
static const char *read_error(const struct agi_h2 *h, ssize_t n)
{
	return n == 0 ? "connection closed by the peer" : agi_transport_error(h->transport);
}

/* nghttp2 has given up (r, negative): the peer is told why. */
static void say_why(struct agi_h2 *h, ssize_t r)
{
	uint32_t code = NGHTTP2_INTERNAL_ERROR;

	if (r == NGHTTP2_ERR_CALLBACK_FAILURE && h->error_code)
		code = h->error_code;
	else if (r == NGHTTP2_ERR_FLOODED)
		code = NGHTTP2_ENHANCE_YOUR_CALM;
	else if (r == NGHTTP2_ERR_BAD_CLIENT_MAGIC || r == NGHTTP2_ERR_PROTO)
		code = NGHTTP2_PROTOCOL_ERROR;
	(void)nghttp2_session_terminate_session(h->session, code);
}

/* Feeds nghttp2 with up to max bytes; NULL, or why the connection is over. *is_all: that was all for now. */
static const char *read_once(struct agi_h2 *h, size_t max, bool *is_all)
{
	ssize_t n = agi_transport_read(h->transport, h->loop->in, max), r;
	uint32_t error_code = NGHTTP2_NO_ERROR;

	*is_all = n < (ssize_t)max;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return NULL;
	if (n <= 0)
		return read_error(h, n);
	h->last_in_us = agi_h2_now_us();
	if (h->ops->on_bytes)
		error_code = h->ops->on_bytes(h->ctx, h->loop->in, (size_t)n);
	if (error_code) {
		(void)nghttp2_session_terminate_session(h->session, error_code);
		return nghttp2_http2_strerror(error_code);
	}
	r = nghttp2_session_mem_recv(h->session, h->loop->in, (size_t)n);
	if (r >= 0)
		return NULL;
	say_why(h, r);
	return nghttp2_strerror((int)r);
}

static const char *read_session(struct agi_h2 *h)
{
	const char *error = NULL;
	bool is_all = false;
	size_t pending;

	for (int i = 0; i < AGI_H2_READS_PER_TURN && !is_all && !error; i++)
		error = read_once(h, AGI_H2_IN_BYTES, &is_all);
	pending = agi_transport_pending(h->transport); /* of these the socket will not tell */
	if (!error && pending)
		error = read_once(h, pending < AGI_H2_IN_BYTES ? pending : AGI_H2_IN_BYTES, &is_all);
	return error;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct agi_h2 *h = arg;
	const char *error;

	(void)fd;
	(void)what;
	h->is_reading = true;
	error = read_session(h);
	h->ops->after_read(h->ctx);
	h->is_reading = false;
	if (error) {
		(void)send_session(h); /* a GOAWAY that says why may be waiting */
		closed(h, AGI_E_UNREACHABLE, error);
		return;
	}
	flush(h);
}

enum agi_err agi_h2_open(struct agi_h2 *h, struct agi_h2_loop *loop, struct agi_transport *transport,
                         nghttp2_session *session, const struct agi_h2_ops *ops, void *ctx)
{
	uint64_t now = agi_h2_now_us();
	int fd = agi_transport_fd(transport);

	*h = (struct agi_h2){.loop = loop, .ops = ops, .ctx = ctx, .session = session, .transport = transport,
	                     .last_in_us = now, .last_out_us = now};
	agi_sock_no_delay(fd);
	if (event_assign(&h->rd, loop->base, fd, EV_READ | EV_PERSIST, on_readable, h) != 0 ||
	    event_assign(&h->wr, loop->base, fd, EV_WRITE, on_writable, h) != 0 ||
	    event_add(&h->rd, NULL) != 0)
		return AGI_E_NOMEM;
	agi_h2_wake(h);
	return AGI_OK;
}
