/* SPDX-License-Identifier: Apache-2.0
 * GET and HEAD on a connection of HTTP/2: answered as over HTTP/1.1 (net/http.h), as one more kind
 * of stream that is no call. */
#include <stdio.h>
#include <stdlib.h>

#include "net/grpc_server.h"
#include "net/http.h"
#include "net/http_request.h"

enum { HEADERS = 7 };

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
	if (status == 401)
		h[n++] = nv("www-authenticate", "Bearer");
	call->is_answered = call->is_finished = true;
	if (nghttp2_submit_response(session, call->stream_id, h, n, call->out.n ? &body : NULL) !=
	    0)
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream_id,
						NGHTTP2_INTERNAL_ERROR);
	agi_h2_wake(&call->conn->h2);
}

int agi_grpc_get_answer(struct agi_http *http, const struct agi_grpc_call *call,
			const struct agi_transport_peer *peer, struct agi_http_ask *ask,
			struct agi_buf *body, const char **content_type)
{
	struct agi_http_request r;

	*content_type = "text/plain; charset=utf-8";
	if (!agi_http_target_read(agi_meta_find(&call->headers, AGI_STR(":path")), &r)) {
		agi_buf_printf(body, "400 not a well-formed path\n");
		return 400;
	}
	ask->path = r.path;
	ask->query = r.query;
	ask->authorization = agi_meta_find(&call->headers, AGI_STR("authorization"));
	ask->peer = peer;
	return agi_http_answer(http, ask, body, content_type);
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

/* A GET whose answer is awaited: as a call that runs. */
struct get {
	struct agi_http_ask ask;
	struct agi_grpc_call *call;
};

static void end_get(struct get *g, int status, const char *content_type)
{
	struct agi_grpc_call *call = g->call;

	free(g);
	agi_grpc_call_submit_get(call, status, content_type);
	agi_grpc_call_handler_done(call);
}

static void on_reply(struct agi_http_ask *ask, int status, const char *content_type, struct agi_str body)
{
	struct get *g = (struct get *)ask;

	agi_buf_put_str(&g->call->out, body);
	end_get(g, status, content_type);
}

void agi_grpc_call_serve_get(struct agi_grpc_call *call)
{
	struct get *g = calloc(1, sizeof *g);
	const char *content_type;
	int status;

	call->is_observed = true; /* it is no call */
	if (!g) {
		call->state = AGI_CALL_ENDED;
		agi_grpc_call_refuse_http(call, "503", AGI_GRPC_UNAVAILABLE, AGI_STR("out of memory"));
		return;
	}
	call->state = AGI_CALL_RUNNING;
	call->is_finished = true; /* what it sends is of no interest */
	*g = (struct get){.ask.reply = on_reply, .call = call};
	status = agi_grpc_get_answer(call->server->http, call, agi_grpc_call_peer(call), &g->ask, &call->out,
				     &content_type);
	if (status != AGI_HTTP_LATER)
		end_get(g, status, content_type);
}
