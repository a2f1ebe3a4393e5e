/* SPDX-License-Identifier: Apache-2.0
 * GET and HEAD on a connection of HTTP/2: answered as over HTTP/1.1 (net/http.h), as one more kind
 * of stream that is no call. */
#include <stdio.h>

#include "net/grpc_server.h"
#include "net/http.h"
#include "net/http_request.h"

enum { HEADERS = 6 };

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t room,
			 uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
	struct agi_grpc_call *call = source->ptr;
	size_t left = call->out.n - call->out_sent, n = left < room ? left : room;

	(void)session;
	(void)stream_id;
	(void)user_data;
	if (n)
		memcpy(to, call->out.p + call->out_sent, n);
	call->out_sent += n;
	call->conn->reply_bytes -= n;
	if (n == left)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	agi_grpc_conn_update_full(call->conn);
	return (ssize_t)n;
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value),
			    NGHTTP2_NV_FLAG_NONE};
}

static void submit(struct agi_grpc_call *call, int status, const char *content_type,
		   size_t body_bytes)
{
	nghttp2_data_provider body = {.source.ptr = call, .read_callback = read_body};
	nghttp2_session *session = call->conn->h2.session;
	char digits[16], length[24];
	nghttp2_nv h[HEADERS];
	size_t n = 0;

	snprintf(digits, sizeof digits, "%03d", status);
	snprintf(length, sizeof length, "%zu", body_bytes);
	h[n++] = nv(":status", digits);
	h[n++] = nv("content-type", content_type);
	h[n++] = nv("content-length", length);
	h[n++] = nv("cache-control", "no-store");
	h[n++] = nv("x-content-type-options", "nosniff");
	call->is_answered = call->is_finished = true;
	if (nghttp2_submit_response(session, call->stream_id, h, n, call->out.n ? &body : NULL) !=
	    0)
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream_id,
						NGHTTP2_INTERNAL_ERROR);
	agi_h2_wake(&call->conn->h2);
}

int agi_grpc_get_answer(struct agi_http *http, struct agi_str target, struct agi_buf *body,
			const char **content_type)
{
	struct agi_http_request r;

	*content_type = "text/plain; charset=utf-8";
	if (agi_http_target_read(target, &r))
		return agi_http_answer(http, r.path, r.query, body, content_type);
	agi_buf_printf(body, "400 not a well-formed path\n");
	return 400;
}

void agi_grpc_call_submit_get(struct agi_grpc_call *call, int status, const char *content_type)
{
	size_t body_bytes = call->out.n;

	if (!call->conn)
		return;
	if (call->is_head)
		agi_buf_reset(&call->out);
	call->conn->reply_bytes += call->out.n;
	agi_grpc_conn_update_full(call->conn);
	submit(call, status, content_type, body_bytes);
}

void agi_grpc_call_serve_get(struct agi_grpc_call *call)
{
	const char *content_type;
	int status;

	call->state = AGI_CALL_ENDED;
	call->is_observed = true; /* it is no call */
	status = agi_grpc_get_answer(call->server->http, agi_meta_find(&call->headers, AGI_STR(":path")),
				     &call->out, &content_type);
	agi_grpc_call_submit_get(call, status, content_type);
}
