/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

#include "net/http_request.h"
#include "net/sock.h"
#include "net/transport.h"

enum { REQUEST_S = 10, IDLE_S = 75, LINGER_S = 2, READ_BYTES = 4096 };

struct conn {
	struct agi_http *http;
	struct agi_transport *transport;
	struct event rd, wr, timer;
	struct agi_buf in, out;
	size_t out_sent;
	struct agi_http_ask ask;
	bool is_waiting;   /* for the answer to ask */
	bool is_head;
	bool is_closing;   /* after out */
	bool is_lingering; /* out is sent; what still comes is dropped */
	LIST_ENTRY(conn) link;
};

struct agi_http {
	struct event_base *base;
	agi_http_fn *fn;
	void *ctx;
	LIST_HEAD(, conn) conns;
	size_t n_conns;
	struct agi_http_request request; /* of the connection at hand */
};

static void close_conn(struct conn *c)
{
	if (c->is_waiting)
		c->ask.on_gone(c->ask.arg);
	event_del(&c->rd);
	event_del(&c->wr);
	event_del(&c->timer);
	agi_transport_close(c->transport);
	agi_buf_free(&c->in);
	agi_buf_free(&c->out);
	LIST_REMOVE(c, link);
	c->http->n_conns--;
	free(c);
}

static void set_timer(struct conn *c, int seconds)
{
	const struct timeval tv = {seconds, 0};

	event_add(&c->timer, &tv);
}

static void want_read(struct conn *c)
{
	event_add(&c->rd, NULL);
	if (agi_transport_pending(c->transport)) /* the socket will not tell */
		event_active(&c->rd, EV_READ, 0);
}

/* --- answers ------------------------------------------------------------------------------------------- */
static void put_head(struct conn *c, int status, const char *content_type, size_t body_bytes)
{
	char date[40];
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	agi_buf_printf(&c->out,
	               "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
	               "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n%s%s\r\n",
	               status, agi_http_reason(status), date, content_type, body_bytes,
	               status == 405   ? "Allow: GET, HEAD\r\n"
	               : status == 401 ? "WWW-Authenticate: Bearer\r\n"
	                               : "",
	               c->is_closing ? "Connection: close\r\n" : "");
}

int agi_http_answer(struct agi_http *h, struct agi_http_ask *ask, struct agi_buf *body, const char **content_type)
{
	int status;

	*content_type = "text/plain; charset=utf-8";
	status = h->fn(h->ctx, ask, body, content_type);
	if (!body->err)
		return status;
	agi_buf_reset(body);
	*content_type = "text/plain; charset=utf-8";
	agi_buf_printf(body, "500 the answer is too large\n");
	return 500;
}

static void put_answer(struct conn *c, int status, const char *content_type, struct agi_str body)
{
	put_head(c, status, content_type, body.n);
	if (!c->is_head)
		agi_buf_put_str(&c->out, body);
	set_timer(c, REQUEST_S);
	event_active(&c->wr, EV_WRITE, 0);
}

static void on_reply(struct agi_http_ask *ask, int status, const char *content_type, struct agi_str body)
{
	struct conn *c = (struct conn *)((char *)ask - offsetof(struct conn, ask));

	c->is_waiting = false;
	put_answer(c, status, content_type, body);
}

static void answer(struct conn *c)
{
	const struct agi_http_request *r = &c->http->request;
	const char *content_type;
	struct agi_buf body;
	int status;

	agi_buf_init(&body, 0);
	c->is_closing = !r->is_keep_alive;
	c->is_head = r->is_head;
	c->ask = (struct agi_http_ask){.path = r->path,
	                               .query = r->query,
	                               .authorization = agi_str_of(r->authorization),
	                               .peer = agi_transport_peer(c->transport),
	                               .reply = on_reply};
	status = agi_http_answer(c->http, &c->ask, &body, &content_type);
	c->is_waiting = status == AGI_HTTP_LATER;
	if (!c->is_waiting)
		put_answer(c, status, content_type, agi_buf_str(&body));
	agi_buf_free(&body);
}

static void refuse(struct conn *c, int status)
{
	static const char *const text[] = {"not a well-formed HTTP/1.1 request", "only GET and HEAD are served here",
	                                   "a request must not have a body", "a request line has at most 8192 bytes",
	                                   "request headers have at most 16384 bytes", "only HTTP/1.0 and 1.1 are served"};
	int which = status == 405 ? 1 : status == 413 || status == 501 ? 2 : status == 414 ? 3 : status == 431 ? 4
	                                                                       : status == 505 ? 5 : 0;

	c->is_closing = true;
	put_head(c, status, "text/plain; charset=utf-8", strlen(text[which]) + 5);
	agi_buf_printf(&c->out, "%03d %s\n", status, text[which]);
	event_active(&c->wr, EV_WRITE, 0);
}

/* --- one connection: read a request, send its answer, again --------------------------------------------------- */
static void drop_front(struct agi_buf *b, size_t n)
{
	memmove(b->p, b->p + n, b->n - n);
	b->n -= n;
}

/* Starts the next answer when a request is whole. */
static void serve(struct conn *c)
{
	size_t used = 0;
	int r;

	if (c->in.n == 0) {
		set_timer(c, IDLE_S);
		return;
	}
	r = agi_http_request_read(agi_buf_str(&c->in), &c->http->request, &used);
	if (r == 0) {
		if (!event_pending(&c->timer, EV_TIMEOUT, NULL))
			set_timer(c, REQUEST_S);
		return;
	}
	if (r == 200) {
		drop_front(&c->in, used);
		answer(c); /* now or later */
	} else {
		refuse(c, r);
	}
	event_del(&c->rd); /* one after the other: what is pipelined waits in the kernel */
	set_timer(c, REQUEST_S);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	uint8_t *to = agi_buf_reserve(&c->in, READ_BYTES);
	size_t pending = agi_transport_pending(c->transport); /* first, so that it comes to an end */
	ssize_t n = to ? agi_transport_read(c->transport, to, pending && pending < READ_BYTES ? pending : READ_BYTES)
	               : -1;

	(void)fd;
	(void)what;
	if (n < 0 && to && errno == EAGAIN) {
		if (agi_transport_wants_write(c->transport))
			event_add(&c->wr, NULL);
		return;
	}
	if (n <= 0) {
		close_conn(c);
		return;
	}
	want_read(c);
	if (c->is_lingering)
		return;
	if (c->in.n == 0) /* the first byte of a request: its time runs, whatever was pending */
		set_timer(c, REQUEST_S);
	c->in.n += (size_t)n;
	serve(c);
}

static void answered(struct conn *c)
{
	if (c->is_closing) { /* close() with bytes unread would reset the connection, and the answer be lost */
		c->is_lingering = true;
		agi_transport_shutdown(c->transport);
		set_timer(c, LINGER_S);
		want_read(c);
		return;
	}
	agi_buf_reset(&c->out);
	c->out_sent = 0;
	event_del(&c->timer);
	want_read(c);
	serve(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	size_t left = c->out.n - c->out_sent;
	ssize_t n;

	(void)fd;
	(void)what;
	if (agi_transport_wants_write(c->transport)) { /* it was reading that waited */
		event_active(&c->rd, EV_READ, 0);
		return;
	}
	n = c->out.err ? -1 : agi_transport_write(c->transport, c->out.p + c->out_sent, left);
	if (n < 0 && !c->out.err && errno == EAGAIN) {
		event_add(&c->wr, NULL);
		return;
	}
	if (n < 0) {
		close_conn(c);
		return;
	}
	c->out_sent += (size_t)n;
	set_timer(c, REQUEST_S);
	if (c->out_sent == c->out.n)
		answered(c);
	else
		event_add(&c->wr, NULL);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	close_conn(arg);
}

/* --- life -------------------------------------------------------------------------------------------------- */
enum agi_err agi_http_new(struct event_base *base, agi_http_fn *fn, void *ctx, struct agi_http **out)
{
	struct agi_http *h = calloc(1, sizeof *h);

	if (!h)
		return AGI_E_NOMEM;
	h->base = base;
	h->fn = fn;
	h->ctx = ctx;
	LIST_INIT(&h->conns);
	*out = h;
	return AGI_OK;
}

void agi_http_free(struct agi_http *h)
{
	struct conn *c;

	if (!h)
		return;
	while ((c = LIST_FIRST(&h->conns)) != NULL)
		close_conn(c);
	free(h);
}

void agi_http_accept(struct agi_http *h, int fd, const struct agi_addr *remote)
{
	struct agi_transport *t = agi_transport_tcp(fd, remote);

	if (t)
		agi_http_take(h, t);
}

void agi_http_take(struct agi_http *h, struct agi_transport *t)
{
	struct conn *c = h->n_conns < AGI_HTTP_CONNS_MAX ? calloc(1, sizeof *c) : NULL;
	int fd = agi_transport_fd(t);

	if (!c) {
		agi_transport_close(t);
		return;
	}
	c->http = h;
	c->transport = t;
	agi_buf_init(&c->in, AGI_HTTP_HEAD_MAX + READ_BYTES);
	agi_buf_init(&c->out, 0);
	agi_sock_no_delay(fd);
	event_assign(&c->rd, h->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	event_assign(&c->wr, h->base, fd, EV_WRITE, on_writable, c);
	event_assign(&c->timer, h->base, -1, 0, on_timer, c);
	LIST_INSERT_HEAD(&h->conns, c, link);
	h->n_conns++;
	set_timer(c, REQUEST_S);
	want_read(c);
}
