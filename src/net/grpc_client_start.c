/* SPDX-License-Identifier: Apache-2.0
 * How calls of the gRPC client begin. */
#include <stdlib.h>

#include "net/grpc_client.h"

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	agi_grpc_client_end(arg, AGI_GRPC_DEADLINE_EXCEEDED, "Deadline Exceeded");
}

static void start_deadline(struct agi_grpc_client_call *call, uint32_t timeout_ms)
{
	struct timeval tv = {timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000};

	call->deadline_us = agi_h2_now_us() + (uint64_t)timeout_ms * 1000;
	event_assign(&call->deadline, call->ch->base, -1, 0, on_deadline, call);
	call->is_timed = event_add(&call->deadline, &tv) == 0;
}

static enum agi_err copy_metadata(struct agi_grpc_client_call *call,
				  const struct agi_grpc_opts *opts)
{
	enum agi_err e = opts->n_metadata > AGI_GRPC_CLIENT_METADATA_MAX ? AGI_E_INVALID : AGI_OK;

	for (size_t i = 0; i < opts->n_metadata && !e; i++) {
		struct agi_str name = agi_str_of(opts->metadata[i].name);

		e = agi_meta_is_reserved(name)
			? AGI_E_INVALID
			: agi_meta_give(&call->metadata, name, opts->metadata[i].value);
	}
	return e;
}

static enum agi_err make(struct agi_grpc_channel *ch, const char *path,
			 const ProtobufCMessageDescriptor *res_type,
			 const struct agi_grpc_opts *opts, void *arg,
			 struct agi_grpc_client_call **out)
{
	struct agi_grpc_client_call *call = calloc(1, sizeof *call);
	enum agi_err e;

	if (!call)
		return AGI_E_NOMEM;
	*call = (struct agi_grpc_client_call){
	    .ch = ch, .res_type = res_type, .arg = arg, .window = AGI_H2_STREAM_WINDOW};
	e = copy_metadata(call, opts);
	call->path = strdup(path);
	if (!e && opts->compress && !ch->packer)
		ch->packer = agi_grpc_packer_new();
	call->is_packing = opts->compress && ch->packer;
	if (!call->path && !e)
		e = AGI_E_NOMEM;
	if (e)
		agi_grpc_client_call_free(call);
	else
		*out = call;
	return e;
}

static void start(struct agi_grpc_client_call *call, uint32_t timeout_ms)
{
	struct agi_grpc_channel *ch = call->ch;

	ch->n_calls++;
	TAILQ_INSERT_TAIL(&ch->waiting, call, link);
	if (timeout_ms)
		start_deadline(call, timeout_ms);
	if (ch->n_calls > AGI_GRPC_CLIENT_CALLS_MAX)
		agi_grpc_client_end(call, AGI_GRPC_RESOURCE_EXHAUSTED,
				    "too many calls are open on this channel");
}

enum agi_err agi_grpc_unary_with(struct agi_grpc_channel *ch, const char *path,
				 const ProtobufCMessage *req,
				 const ProtobufCMessageDescriptor *res_type,
				 const struct agi_grpc_opts *opts, agi_grpc_done_fn *done,
				 void *arg)
{
	static const struct agi_grpc_opts none;
	struct agi_grpc_client_call *call;
	enum agi_err e;

	opts = opts ? opts : &none;
	e = make(ch, path, res_type, opts, arg, &call);
	if (e)
		return e;
	call->done = done;
	call->is_half_closed = true;
	start(call, opts->timeout_ms);
	if (call->state == AGI_CLIENT_DONE)
		return AGI_OK;
	if (!(call->is_packing ? agi_grpc_put_packed(&call->out, req, ch->packer)
			       : agi_grpc_put_message(&call->out, req)))
		agi_grpc_client_end(call, AGI_GRPC_RESOURCE_EXHAUSTED,
				    "the request is too large to send");
	else
		agi_grpc_channel_push(ch);
	return AGI_OK;
}

enum agi_err agi_grpc_unary(struct agi_grpc_channel *ch, const char *path,
			    const ProtobufCMessage *req, const ProtobufCMessageDescriptor *res_type,
			    uint32_t timeout_ms, agi_grpc_done_fn *done, void *arg)
{
	const struct agi_grpc_opts opts = {.timeout_ms = timeout_ms};

	return agi_grpc_unary_with(ch, path, req, res_type, &opts, done, arg);
}

static enum agi_err take_pairs(struct agi_grpc_client_call *call, const struct agi_buf *metadata)
{
	struct agi_str name, value;
	size_t n = 0, at = 0;

	while (metadata && agi_pairs_next(metadata, &at, &name, &value)) {
		if (++n > AGI_GRPC_CLIENT_METADATA_MAX)
			return AGI_E_INVALID;
		agi_pairs_put(&call->metadata, name, value);
	}
	return call->metadata.err;
}

/* A call whose request is these bytes and no more. */
static enum agi_err make_raw(struct agi_grpc_channel *ch, const char *path, struct agi_str req,
			     const struct agi_buf *metadata, void *arg,
			     struct agi_grpc_client_call **out)
{
	static const struct agi_grpc_opts none;
	struct agi_grpc_client_call *call;
	enum agi_err e = make(ch, path, NULL, &none, arg, &call);

	if (e)
		return e;
	e = take_pairs(call, metadata);
	if (!e && !agi_grpc_put_bytes(&call->out, req))
		e = call->out.err ? call->out.err : AGI_E_TOO_LARGE;
	if (e) {
		agi_grpc_client_call_free(call);
		return e;
	}
	call->is_half_closed = true;
	*out = call;
	return AGI_OK;
}

static void start_raw(struct agi_grpc_client_call *call, uint32_t timeout_ms)
{
	start(call, timeout_ms);
	if (call->state != AGI_CLIENT_DONE)
		agi_grpc_channel_push(call->ch);
}

enum agi_err agi_grpc_unary_raw(struct agi_grpc_channel *ch, const char *path, struct agi_str req,
				const struct agi_buf *metadata, uint32_t timeout_ms,
				agi_grpc_raw_done_fn *done, void *arg,
				struct agi_grpc_client_call **out)
{
	enum agi_err e = make_raw(ch, path, req, metadata, arg, out);

	if (e)
		return e;
	(*out)->raw_done = done;
	start_raw(*out, timeout_ms);
	return AGI_OK;
}

enum agi_err agi_grpc_stream_raw(struct agi_grpc_channel *ch, const char *path, struct agi_str req,
				 const struct agi_buf *metadata, uint32_t timeout_ms,
				 const struct agi_grpc_raw_ops *ops, void *arg,
				 struct agi_grpc_client_call **out)
{
	enum agi_err e = make_raw(ch, path, req, metadata, arg, out);

	if (e)
		return e;
	(*out)->is_stream = true;
	(*out)->raw_ops = ops;
	start_raw(*out, timeout_ms);
	return AGI_OK;
}

void agi_grpc_unary_cancel(struct agi_grpc_client_call *call)
{
	if (call->state != AGI_CLIENT_DONE)
		agi_grpc_client_end(call, AGI_GRPC_CANCELLED, "cancelled");
}

enum agi_err agi_grpc_stream_open(struct agi_grpc_channel *ch, const char *path,
				  const ProtobufCMessageDescriptor *res_type,
				  const struct agi_grpc_opts *opts,
				  const struct agi_grpc_client_ops *ops, void *arg,
				  struct agi_grpc_client_call **out)
{
	static const struct agi_grpc_opts none;
	struct agi_grpc_client_call *call;
	enum agi_err e;

	opts = opts ? opts : &none;
	e = make(ch, path, res_type, opts, arg, &call);
	if (e)
		return e;
	call->is_stream = true;
	call->ops = ops;
	*out = call;
	start(call, opts->timeout_ms);
	if (call->state != AGI_CLIENT_DONE)
		agi_grpc_channel_push(ch);
	return AGI_OK;
}
