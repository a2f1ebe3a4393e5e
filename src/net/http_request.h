/* SPDX-License-Identifier: Apache-2.0
 * Reading the head of one HTTP/1.x request (RFC 9112) out of a run of bytes. Pure; only what a
 * server of GET and HEAD needs. */
#ifndef AGI_NET_HTTP_REQUEST_H
#define AGI_NET_HTTP_REQUEST_H

#include "base/str.h"

enum {
	AGI_HTTP_LINE_MAX = 8 << 10,     /* bytes of the request line (RFC 9112 3 asks for 8000) */
	AGI_HTTP_HEADERS_MAX = 16 << 10, /* bytes of all header lines */
	AGI_HTTP_HEAD_MAX = AGI_HTTP_LINE_MAX + AGI_HTTP_HEADERS_MAX,
	AGI_HTTP_AUTHORIZATION_MAX = 511 /* bytes that are kept of this header: no token is longer */
};

struct agi_http_request {
	bool is_head;
	bool is_keep_alive;            /* the connection may go on after the answer */
	char path[AGI_HTTP_LINE_MAX];  /* decoded, starts with '/', holds no NUL */
	char query[AGI_HTTP_LINE_MAX]; /* as sent, without '?' */
	char authorization[AGI_HTTP_AUTHORIZATION_MAX + 1]; /* "": none; a longer one is cut */
};

/* 0: the head is not whole yet, send more. 200: *out is filled and *used says how many bytes it
 * took. Anything else is the status to refuse with (400, 405, 413, 414, 431, 501, 505), after which
 * the connection must close. On any result but 200 *used is unchanged. */
int agi_http_request_read(struct agi_str in, struct agi_http_request *out, size_t *used);
/* A request target alone: path and query of *out. False when it is malformed or longer than
 * AGI_HTTP_LINE_MAX. */
bool agi_http_target_read(struct agi_str target, struct agi_http_request *out);
const char *agi_http_reason(int status); /* "Not Found" */

#endif
