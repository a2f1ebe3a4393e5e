/* SPDX-License-Identifier: Apache-2.0
 * gRPC over HTTP/2 (nghttp2) and libevent: server and client. Protocol: "gRPC over HTTP2"
 * (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md). Messages are protobuf-c structs.
 *
 * Strings: every proto string is ProtobufCBinaryData {data, len} in the generated code
 * (proto/for-protobuf-c.awk), since a string may hold NUL. They are checked UTF-8 on receive.
 *
 * One event loop; every function and callback runs on its thread. A handler ends its call exactly once,
 * at once or later: agi_grpc_reply or agi_grpc_fail. After on_cancel has run, ending is still required
 * (and ignored on the wire). */
#ifndef AGI_NET_GRPC_H
#define AGI_NET_GRPC_H

#include <protobuf-c/protobuf-c.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/str.h"

struct event_base;
struct agi_transport;

/* --- server ---------------------------------------------------------------------------------- */
struct agi_grpc_server;
struct agi_grpc_call;

/* req is valid until the call is ended. */
typedef void agi_grpc_handler_fn(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx);
struct agi_grpc_method {
	const char *name; /* "CheckPlan" */
	agi_grpc_handler_fn *handler;
};

struct agi_grpc_server_cfg {
	uint32_t recv_max_bytes;    /* 0 = AGI_GRPC_RECV_DEFAULT */
	uint32_t streams_max;       /* per connection; 0 = 1000 */
	uint32_t connections_max;   /* 0 = 4096 */
	uint32_t header_bytes_max;  /* 0 = 16384 */
	uint32_t calls_max;         /* open calls, also those whose client has gone; 0 = 65536 */
};

/* Called when a call has ended: for metrics (grpc_server_handled_total, ..._seconds). */
typedef void agi_grpc_observe_fn(void *ctx, const char *service, const char *method,
                                 enum agi_grpc_status status, uint64_t micros);

AGI_MUST_USE enum agi_err agi_grpc_server_new(struct event_base *base,
                                              const struct agi_grpc_server_cfg *cfg,
                                              struct agi_grpc_server **out);
void agi_grpc_server_observe(struct agi_grpc_server *s, agi_grpc_observe_fn *fn, void *ctx);
/* Registers the methods that exist; a declared method without a handler answers UNIMPLEMENTED
 * "Method not implemented!", an unknown one UNIMPLEMENTED "Method not found!". desc is the generated
 * service descriptor. Arrays are borrowed for the server's life. */
AGI_MUST_USE enum agi_err agi_grpc_server_add(struct agi_grpc_server *s,
                                              const ProtobufCServiceDescriptor *desc,
                                              const struct agi_grpc_method *methods, size_t n, void *ctx);
/* Takes a connection (nothing consumed). */
void agi_grpc_server_take(struct agi_grpc_server *s, struct agi_transport *t);
/* The same with a plain, connected, non-blocking TCP socket. */
void agi_grpc_server_accept(struct agi_grpc_server *s, int fd, const struct agi_addr *remote);
/* GOAWAY on every connection; refuses new ones; existing calls may end. */
void agi_grpc_server_drain(struct agi_grpc_server *s);
/* Closes everything; open calls see on_cancel. NULL is allowed. */
void agi_grpc_server_free(struct agi_grpc_server *s);

void agi_grpc_reply(struct agi_grpc_call *call, const ProtobufCMessage *res);
void agi_grpc_fail(struct agi_grpc_call *call, enum agi_grpc_status status, const char *fmt, ...)
    AGI_PRINTF(3, 4);
/* Status and text from an agi_err ("STALE_EPOCH: why"). */
void agi_grpc_fail_err(struct agi_grpc_call *call, enum agi_err err, const struct agi_why *why);
/* Milliseconds until the client's deadline (grpc-timeout); UINT32_MAX when it set none; 0 when past. The
 * server itself ends an overdue call with DEADLINE_EXCEEDED and runs on_cancel. */
uint32_t agi_grpc_call_left_ms(const struct agi_grpc_call *call);
/* The request's serialized bytes as received; valid until the call is ended. */
struct agi_str agi_grpc_call_bytes(const struct agi_grpc_call *call);
/* Value of a request header (lower-case name), or {NULL, 0}. */
struct agi_str agi_grpc_call_metadata(const struct agi_grpc_call *call, const char *name);
const struct agi_addr *agi_grpc_call_remote(const struct agi_grpc_call *call);
/* fn runs once if the client cancels, disconnects or the deadline passes before the call is ended. */
void agi_grpc_call_on_cancel(struct agi_grpc_call *call, void (*fn)(void *arg), void *arg);
/* Adds a response header or trailer (copied). */
void agi_grpc_call_add_header(struct agi_grpc_call *call, const char *name, struct agi_str value);

/* --- client ---------------------------------------------------------------------------------- */
struct agi_grpc_channel;

struct agi_grpc_result {
	enum agi_grpc_status status;
	struct agi_str message;       /* grpc-message, decoded */
	const ProtobufCMessage *res;  /* NULL unless OK; freed after the callback returns */
};
typedef void agi_grpc_done_fn(void *arg, const struct agi_grpc_result *result);

/* target: "host:port" (names are resolved with libevent's evdns). Connects on first use and again after
 * a broken connection. */
AGI_MUST_USE enum agi_err agi_grpc_channel_new(struct event_base *base, const char *target,
                                               struct agi_grpc_channel **out, struct agi_why *why);
/* Open calls end with CANCELLED first; their callbacks must not start new ones. May be called from a
 * callback of the channel. NULL is allowed. */
void agi_grpc_channel_free(struct agi_grpc_channel *ch);
/* Messages in answers may have so many bytes (default AGI_GRPC_RECV_DEFAULT). */
void agi_grpc_channel_set_recv_max(struct agi_grpc_channel *ch, uint32_t bytes);
/* Calls done exactly once, never before return. path: "/package.Service/Method". timeout_ms 0 = none. req is
 * serialized before return. Not connected and no connection to be had: UNAVAILABLE, without waiting for one.
 * NOMEM: nothing was started, done will not be called. */
AGI_MUST_USE enum agi_err agi_grpc_unary(struct agi_grpc_channel *ch, const char *path,
                                         const ProtobufCMessage *req,
                                         const ProtobufCMessageDescriptor *res_type, uint32_t timeout_ms,
                                         agi_grpc_done_fn *done, void *arg);

/* --- protobuf, checked ------------------------------------------------------------------------ */
/* Unpacks with what the reference runtime does and protobuf-c does not: strings must be UTF-8, groups and
 * known fields of the wrong wire type are kept as unknown fields, nesting at most 100 deep. NULL +
 * why on malformed input. Free with protobuf_c_message_free_unpacked(m, NULL). */
ProtobufCMessage *agi_pb_unpack(const ProtobufCMessageDescriptor *desc, struct agi_str wire,
                                struct agi_why *why);

#endif
