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

enum { AGI_HTTP_CONNS_MAX = 256 /* above, a new connection is closed at once */ };

/* Fills body and *content_type (static string) and returns the HTTP status. path is percent-decoded and has no
 * query; query is as sent, without '?'. An error of body becomes 500. */
typedef int agi_http_fn(void *ctx, const char *path, const char *query, struct agi_buf *body,
                        const char **content_type);

AGI_MUST_USE enum agi_err agi_http_new(struct event_base *base, agi_http_fn *fn, void *ctx,
                                       struct agi_http **out);
/* Closes every connection. NULL is allowed; not from inside fn. */
void agi_http_free(struct agi_http *h);
/* The answer to a request that came in another way (HTTP/2): as agi_http_fn, and an error of body has become
 * a 500. */
int agi_http_answer(struct agi_http *h, const char *path, const char *query, struct agi_buf *body,
                    const char **content_type);
/* Takes a connection (nothing consumed). */
void agi_http_take(struct agi_http *h, struct agi_transport *t);
/* The same with a plain, connected, non-blocking TCP socket. */
void agi_http_accept(struct agi_http *h, int fd, const struct agi_addr *remote);

#endif
