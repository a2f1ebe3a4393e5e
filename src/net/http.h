/* SPDX-License-Identifier: Apache-2.0
 * Plain HTTP/1.1 GET and HEAD (libevent's evhttp) on connections the listener has told apart. */
#ifndef AGI_NET_HTTP_H
#define AGI_NET_HTTP_H

#include "base/addr.h"
#include "base/buf.h"

struct event_base;
struct agi_http;

/* Fills body and *content_type (static string) and returns the HTTP status. path has no query. */
typedef int agi_http_fn(void *ctx, const char *path, const char *query, struct agi_buf *body,
                        const char **content_type);

AGI_MUST_USE enum agi_err agi_http_new(struct event_base *base, agi_http_fn *fn, void *ctx,
                                       struct agi_http **out);
void agi_http_free(struct agi_http *h);
void agi_http_accept(struct agi_http *h, int fd, const struct agi_addr *remote);

#endif
