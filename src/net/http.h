/* SPDX-License-Identifier: Apache-2.0
 * Plain HTTP/1.1 GET and HEAD on connections the listener has told apart: metrics, health, discovery, console.
 * A server of its own and not libevent's evhttp, which cannot adopt an accepted socket.
 *
 * Bounded: request line AGI_HTTP_LINE_MAX, headers AGI_HTTP_HEADERS_MAX (net/http_request.h), AGI_HTTP_CONNS_MAX
 * connections; 10 s from a request's first byte to its last and without progress of its answer, 75 s
 * between requests. Requests that are refused get a text that says why, and the connection closes. */
#ifndef AGI_NET_HTTP_H
#define AGI_NET_HTTP_H

#include "base/addr.h"
#include "base/buf.h"

struct event_base;
struct agi_http;
struct agi_transport;
struct agi_transport_peer;

enum {
	AGI_HTTP_CONNS_MAX = 256, /* above, a new connection is closed at once */
	AGI_HTTP_LATER = 0        /* instead of a status */
};

/* A question: a GET (or HEAD) and who waits for its answer. What is above the line is valid until fn returns. */
struct agi_http_ask {
	const char *path;  /* percent-decoded, without query */
	const char *query; /* as sent, without '?' */
	struct agi_str authorization;          /* the header; {NULL, 0}: none */
	const struct agi_transport_peer *peer; /* NULL: not known */
	/* ---- */
	/* Set by who answers later: the asker has gone, ask is no more, no answer may follow. */
	void (*on_gone)(void *arg);
	void *arg;
	/* The asker's; see agi_http_reply. */
	void (*reply)(struct agi_http_ask *ask, int status, const char *content_type, struct agi_str body);
};
/* Fills body and *content_type (static string) and returns the HTTP status; an error of body becomes 500. Or keeps
 * ask, sets its on_gone, returns AGI_HTTP_LATER, and calls agi_http_reply afterwards, once, within some seconds. */
typedef int agi_http_fn(void *ctx, struct agi_http_ask *ask, struct agi_buf *body, const char **content_type);
static inline void agi_http_reply(struct agi_http_ask *ask, int status, const char *content_type,
                                  struct agi_str body)
{
	ask->reply(ask, status, content_type, body);
}

AGI_MUST_USE enum agi_err agi_http_new(struct event_base *base, agi_http_fn *fn, void *ctx,
                                       struct agi_http **out);
/* Closes every connection. NULL is allowed; not from inside fn. */
void agi_http_free(struct agi_http *h);
/* The answer to a request that came in another way (HTTP/2): as agi_http_fn, and an error of body has become
 * a 500. */
int agi_http_answer(struct agi_http *h, struct agi_http_ask *ask, struct agi_buf *body, const char **content_type);
/* Takes a connection (nothing consumed). */
void agi_http_take(struct agi_http *h, struct agi_transport *t);
/* The same with a plain, connected, non-blocking TCP socket. */
void agi_http_accept(struct agi_http *h, int fd, const struct agi_addr *remote);

#endif
