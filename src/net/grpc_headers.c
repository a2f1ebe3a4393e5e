/* SPDX-License-Identifier: Apache-2.0
 * The headers of a request, and what is refused for them. */
#include <stdio.h>

#include "base/limits.h"
#include "net/grpc_server.h"

static void take_encoding(struct agi_grpc_call *call, struct agi_str value)
{
	call->reader.encoding = agi_grpc_encoding_parse(value);
	if (call->reader.encoding != AGI_GRPC_ENCODINGS)
		return;
	call->reader.encoding = AGI_GRPC_IDENTITY;
	snprintf(call->encoding, sizeof call->encoding, "%.*s", AGI_STR_ARG(value));
	if (!call->encoding[0])
		call->encoding[0] = '?';
}

static void take_timeout(struct agi_grpc_call *call, struct agi_str value)
{
	uint64_t us;

	if (!agi_grpc_timeout_parse(value, &us)) {
		call->is_bad_timeout = true;
		return;
	}
	call->has_deadline = true;
	call->deadline_us = call->start_us + us;
}

static void take_method(struct agi_grpc_call *call, struct agi_str value)
{
	call->is_post = agi_str_eq(value, AGI_STR("POST"));
	call->is_head = agi_str_eq(value, AGI_STR("HEAD"));
	call->is_get = call->is_head || agi_str_eq(value, AGI_STR("GET"));
}

/* A path that is no method's is kept for a GET; handlers never see it. */
static void take_path(struct agi_grpc_call *call, struct agi_str value)
{
	call->route = agi_grpc_route_find(call->server, value);
	if (!call->route && (call->server->http || call->server->far))
		agi_pairs_put(&call->headers, AGI_STR(":path"), value);
}

static void take_pseudo(struct agi_grpc_call *call, struct agi_str name, struct agi_str value)
{
	if (agi_str_eq(name, AGI_STR(":path")))
		take_path(call, value);
	else if (agi_str_eq(name, AGI_STR(":method")))
		take_method(call, value);
}

enum agi_err agi_grpc_call_header(struct agi_grpc_call *call, struct agi_str name,
				  struct agi_str value)
{
	call->header_list_bytes += name.n + value.n + 32;
	if (call->header_list_bytes > call->server->cfg.header_bytes_max) {
		call->is_oversized = true;
		return AGI_OK;
	}
	if (name.n && name.p[0] == ':') {
		take_pseudo(call, name, value);
		return AGI_OK;
	}
	if (agi_str_eq(name, AGI_STR("content-type")))
		call->is_grpc = agi_grpc_is_content_type(value);
	else if (agi_str_eq(name, AGI_STR("grpc-timeout")))
		take_timeout(call, value);
	else if (agi_str_eq(name, AGI_STR("grpc-encoding")))
		take_encoding(call, value);
	if (agi_meta_take(&call->headers, name, value) == AGI_E_MALFORMED)
		call->is_bad_metadata = true;
	return call->headers.err;
}

static void refuse_encoding(struct agi_grpc_call *call)
{
	char text[96];

	agi_pairs_put(&call->extra, AGI_STR("grpc-accept-encoding"),
		      AGI_STR(AGI_GRPC_ACCEPT_ENCODING));
	snprintf(text, sizeof text,
		 "grpc-encoding \"%s\" is not supported; send " AGI_GRPC_ACCEPT_ENCODING,
		 call->encoding);
	agi_grpc_call_refuse_early(call, AGI_GRPC_UNIMPLEMENTED, text);
}

static bool is_refused_as_http(struct agi_grpc_call *call)
{
	const char *status = "415", *text = "content-type must be application/grpc";

	if (call->is_post && call->is_grpc)
		return false;
	if (call->is_get && call->server->http) {
		agi_grpc_call_serve_get(call);
		return true;
	}
	if (call->is_get && call->server->far) {
		agi_grpc_far_get(call);
		return true;
	}
	if (!call->is_post) {
		agi_pairs_put(&call->extra, AGI_STR("allow"), AGI_STR("POST"));
		status = "405";
		text = "gRPC requests use the method POST";
	}
	call->state = AGI_CALL_ENDED;
	agi_grpc_call_refuse_http(call, status, AGI_GRPC_INTERNAL, agi_str_of(text));
	return true;
}

/* The status and why a call cannot be served; NULL when it can. */
static const char *refusal(const struct agi_grpc_call *call, enum agi_grpc_status *status,
			   struct agi_why *why)
{
	const struct agi_grpc_server *s = call->server;

	*status = AGI_GRPC_INTERNAL;
	if (call->is_bad_timeout)
		return "malformed grpc-timeout: expected 1 to 8 digits and a unit";
	if (call->is_bad_metadata)
		return "malformed binary metadata: expected base64 in headers whose names end in "
		       "\"-bin\"";
	*status = AGI_GRPC_UNIMPLEMENTED;
	if (!call->route)
		return "Method not found!";
	if (!call->route->handler && !call->route->open)
		return "Method not implemented!";
	if (s->guard) {
		*status =
		    s->guard(s->guard_ctx, call, call->route->needs,
				   call->route->service, call->route->method, why);
		if (*status != AGI_GRPC_OK)
			return why->text;
	}
	*status = AGI_GRPC_RESOURCE_EXHAUSTED;
	return s->n_calls > s->cfg.calls_max ? "too many calls in progress" : NULL;
}

void agi_grpc_call_headers_done(struct agi_grpc_call *call)
{
	enum agi_grpc_status status;
	struct agi_why text = {""};
	const char *why;

	if (call->is_oversized) {
		agi_grpc_call_refuse_early(call, AGI_GRPC_RESOURCE_EXHAUSTED,
					   "request headers larger than the limit");
		return;
	}
	if (is_refused_as_http(call))
		return;
	why = refusal(call, &status, &text);
	if (why)
		agi_grpc_call_refuse_early(call, status, why);
	else if (call->encoding[0])
		refuse_encoding(call);
	if (call->state == AGI_CALL_ENDED)
		return;
	if (call->has_deadline)
		agi_grpc_call_start_deadline(call);
	if (agi_grpc_route_has_request_stream(call->route)) {
		call->state = AGI_CALL_READY;
		agi_grpc_call_enqueue(call);
	}
}
