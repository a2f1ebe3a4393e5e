/* SPDX-License-Identifier: Apache-2.0
 * gRPC over HTTP/2 (nghttp2) and libevent: server and client. Protocol: "gRPC over HTTP2"
 * (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md). Messages are protobuf-c structs.
 *
 * Strings: every proto string is ProtobufCBinaryData {data, len} in the generated code
 * (proto/for-protobuf-c.awk), since a string may hold NUL. They are checked UTF-8 on receive.
 *
 * One event loop; every function and callback runs on its thread. A handler ends its call exactly
 * once, at once or later: agi_grpc_reply or agi_grpc_fail. After on_cancel has run, ending is still
 * required (and ignored on the wire). */
#ifndef AGI_NET_GRPC_H
#define AGI_NET_GRPC_H

#include <protobuf-c/protobuf-c.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/str.h"

struct event_base;
struct agi_tls_client;
struct agi_transport;

/* --- server ---------------------------------------------------------------------------------- */
struct agi_grpc_server;
struct agi_grpc_call;

/* A method is one of four kinds:
 *   UNARY          handler runs with the request; it ends the call with agi_grpc_reply
 *   SERVER_STREAM  the same, and it answers with any number of agi_grpc_send before agi_grpc_finish
 *   CLIENT_STREAM  open runs when the call's headers are here; messages are asked for one by one
 * with agi_grpc_recv; agi_grpc_reply ends the call BIDI           as CLIENT_STREAM, answering as
 * SERVER_STREAM, in any order Every kind may end with agi_grpc_fail at any time. */
enum agi_grpc_kind {
	AGI_GRPC_UNARY,
	AGI_GRPC_SERVER_STREAM,
	AGI_GRPC_CLIENT_STREAM,
	AGI_GRPC_BIDI
};

/* req is valid until the call is ended. */
typedef void agi_grpc_handler_fn(struct agi_grpc_call *call, const ProtobufCMessage *req,
				 void *ctx);
typedef void agi_grpc_open_fn(struct agi_grpc_call *call, void *ctx);
struct agi_grpc_method {
	const char *name;             /* "CheckPlan" */
	agi_grpc_handler_fn *handler; /* UNARY, SERVER_STREAM */
	enum agi_grpc_kind kind;
	agi_grpc_open_fn *open; /* CLIENT_STREAM, BIDI */
	bool is_raw; /* UNARY, SERVER_STREAM: the request is not decoded, req is NULL; see agi_grpc_call_bytes */
};

/* When answers are compressed (gzip, those of at least compress_min_bytes, by clients that accept
 * it). */
enum agi_grpc_compress {
	AGI_GRPC_COMPRESS_ASKED,    /* when the request came with grpc-encoding gzip or deflate */
	AGI_GRPC_COMPRESS_ACCEPTED, /* whenever the client accepts gzip: saves network, costs time
				     */
	AGI_GRPC_COMPRESS_NEVER
};

struct agi_grpc_server_cfg {
	uint32_t recv_max_bytes;   /* 0 = AGI_GRPC_RECV_DEFAULT */
	uint32_t streams_max;      /* per connection; 0 = 1000 */
	uint32_t connections_max;  /* 0 = 4096 */
	uint32_t header_bytes_max; /* 0 = 16384 */
	uint32_t calls_max;        /* open calls, also those whose client has gone; 0 = 65536 */
	uint64_t
	    conn_bytes_max;    /* held for one connection: requests that come or wait, answers that
				* wait;    0 = 64 MiB, or twice recv_max_bytes when that is more */
	uint32_t keepalive_ms; /* calls are open and nothing comes: PING; 0 = 60000 */
	uint32_t keepalive_timeout_ms; /* its answer, else the connection is dead; 0 = 20000 */
	uint32_t age_max_ms;           /* a connection this old is told to go (GOAWAY); 0 = never */
	uint32_t age_grace_ms;         /* then its calls may end; 0 = as long as they take */
	enum agi_grpc_compress compress;
	uint32_t compress_min_bytes; /* 0 = 1024 */
};

/* Called when a call has ended: for metrics (grpc_server_handled_total, ..._seconds). */
typedef void agi_grpc_observe_fn(void *ctx, const char *service, const char *method,
				 enum agi_grpc_kind kind, enum agi_grpc_status status,
				 uint64_t micros);

AGI_MUST_USE enum agi_err agi_grpc_server_new(struct event_base *base,
					      const struct agi_grpc_server_cfg *cfg,
					      struct agi_grpc_server **out);
void agi_grpc_server_observe(struct agi_grpc_server *s, agi_grpc_observe_fn *fn, void *ctx);
/* What a method needs, asked once when the method is added: any number, handed to the guard. */
typedef unsigned agi_grpc_needs_fn(const char *service, const char *method);
/* Asked once for every call of a method that exists, when its headers are here and before anything
 * else of it is read: OK, or the status it is refused with and why. Peer and metadata of the call
 * may be looked at. */
typedef enum agi_grpc_status agi_grpc_guard_fn(void *ctx, const struct agi_grpc_call *call,
					       unsigned needs, const char *service,
					       const char *method, struct agi_why *why);
void agi_grpc_server_guard(struct agi_grpc_server *s, agi_grpc_needs_fn *needs,
			   agi_grpc_guard_fn *fn, void *ctx);
/* GET and HEAD over HTTP/2 are answered as http answers them (borrowed for the server's life): a
 * client that speaks both is told "h2" by ALPN, and a browser is one. */
struct agi_http;
void agi_grpc_server_serve_http(struct agi_grpc_server *s, struct agi_http *http);
/* Registers the methods that exist; a declared method without handler and open answers
 * UNIMPLEMENTED "Method not implemented!", an unknown one UNIMPLEMENTED "Method not found!". desc
 * is the generated service descriptor. Arrays are borrowed for the server's life. */
AGI_MUST_USE enum agi_err agi_grpc_server_add(struct agi_grpc_server *s,
					      const ProtobufCServiceDescriptor *desc,
					      const struct agi_grpc_method *methods, size_t n,
					      void *ctx);
/* Takes a connection (nothing consumed). */
void agi_grpc_server_take(struct agi_grpc_server *s, struct agi_transport *t);
/* The same with a plain, connected, non-blocking TCP socket. */
void agi_grpc_server_accept(struct agi_grpc_server *s, int fd, const struct agi_addr *remote);
/* GOAWAY on every connection; refuses new ones; existing calls may end. */
void agi_grpc_server_drain(struct agi_grpc_server *s);
/* Name of the i-th service, in the order they were added; NULL past the end. */
const char *agi_grpc_server_service(const struct agi_grpc_server *s, size_t i);
/* Closes everything; open calls see on_cancel. NULL is allowed. */
void agi_grpc_server_free(struct agi_grpc_server *s);

/* --- the answer ---
 * The last message and OK. */
void agi_grpc_reply(struct agi_grpc_call *call, const ProtobufCMessage *res);
/* The answer of another server handed on as it came: status, its text (status not OK) or the message's
 * bytes (OK). Headers and trailers that go along are added before. For unary calls, and for the end of a
 * SERVER_STREAM, whose messages went before with agi_grpc_send_bytes (res is empty then). */
void agi_grpc_relay(struct agi_grpc_call *call, enum agi_grpc_status status, struct agi_str text,
		    struct agi_str res);
/* OK without a further message: the end of a stream. */
void agi_grpc_finish(struct agi_grpc_call *call);
/* What was sent before still arrives. */
void agi_grpc_fail(struct agi_grpc_call *call, enum agi_grpc_status status, const char *fmt, ...)
    AGI_PRINTF(3, 4);
/* Status, text ("STALE_EPOCH: why") and details (google.rpc.ErrorInfo, reason STALE_EPOCH) from an
 * agi_err. */
void agi_grpc_fail_err(struct agi_grpc_call *call, enum agi_err err, const struct agi_why *why);
/* The same, and when to try again: nothing was done. As the trailer grpc-retry-pushback-ms, which gRPC
 * libraries with a retry policy obey (gRFC A6), and as google.rpc.RetryInfo. retry_ms 0 = neither. */
#define AGI_GRPC_PUSHBACK "grpc-retry-pushback-ms"
void agi_grpc_fail_retry(struct agi_grpc_call *call, enum agi_err err, const struct agi_why *why,
			 uint32_t retry_ms);
/* A message of a stream. OK: taken (copied). FULL: not taken, the client does not read so fast;
 * on_writable runs when there is room. TOO_LARGE, NOMEM: not taken. CANCELLED: nobody listens any
 * more (on_cancel has run or will). */
AGI_MUST_USE enum agi_err agi_grpc_send(struct agi_grpc_call *call, const ProtobufCMessage *res);
/* The same for a message that is bytes already. */
AGI_MUST_USE enum agi_err agi_grpc_send_bytes(struct agi_grpc_call *call, struct agi_str res);
/* Sends the response headers now; else they go with the first message. */
void agi_grpc_send_headers(struct agi_grpc_call *call);

/* --- streams ---
 * None of them runs inside a function of this module, nor after the call was ended. */
struct agi_grpc_stream_ops {
	/* Answers one agi_grpc_recv. req is valid until the next one or the end of the call; NULL:
	 * the client has sent everything (it may still listen). A request that does not decode ends
	 * the call instead. */
	void (*on_message)(void *arg, const ProtobufCMessage *req);
	/* After FULL. May be NULL when nothing is sent. */
	void (*on_writable)(void *arg);
};
/* For handlers of streams; set before returning from the handler. ops is borrowed for the call's
 * life. */
void agi_grpc_call_stream(struct agi_grpc_call *call, const struct agi_grpc_stream_ops *ops,
			  void *arg);
/* Asks for the next message (CLIENT_STREAM, BIDI). While none is asked for, the client is held back
 * by flow control. Once per message. */
void agi_grpc_recv(struct agi_grpc_call *call);

/* --- about a call ---
 * Milliseconds until the client's deadline (grpc-timeout); UINT32_MAX when it set none; 0 when
 * past. The server itself ends an overdue call with DEADLINE_EXCEEDED and runs on_cancel. */
uint32_t agi_grpc_call_left_ms(const struct agi_grpc_call *call);
/* The request's serialized bytes as received (unpacked when they came compressed); valid until the
 * call is ended or the next message asked for. */
struct agi_str agi_grpc_call_bytes(const struct agi_grpc_call *call);
/* "/package.Service/Method"; lives as long as the server. */
struct agi_str agi_grpc_call_path(const struct agi_grpc_call *call);
/* First value of a request header (lower-case name), or {NULL, 0}. Values of names in "-bin" are
 * bytes. */
struct agi_str agi_grpc_call_metadata(const struct agi_grpc_call *call, const char *name);
/* Walks the client's metadata from *at = 0, without the headers of the protocol itself; false at
 * the end. */
bool agi_grpc_call_metadata_next(const struct agi_grpc_call *call, size_t *at, struct agi_str *name,
				 struct agi_str *value);
const struct agi_addr *agi_grpc_call_remote(const struct agi_grpc_call *call);
/* Who is at the other end of the call's connection; NULL when that is gone. */
const struct agi_transport_peer *agi_grpc_call_peer(const struct agi_grpc_call *call);
/* fn runs once if the client cancels, disconnects or the deadline passes before the call is ended.
 */
void agi_grpc_call_on_cancel(struct agi_grpc_call *call, void (*fn)(void *arg), void *arg);
/* Adds a response header (copied); of no effect once the headers are out. Values of names in "-bin"
 * are bytes. At most 16 are sent; what HTTP/2 does not allow in a header is not. */
void agi_grpc_call_add_header(struct agi_grpc_call *call, const char *name, struct agi_str value);
/* The same for the trailers, before the call is ended: "grpc-status-details-bin" with a
 * google.rpc.Status, say. */
void agi_grpc_call_add_trailer(struct agi_grpc_call *call, const char *name, struct agi_str value);

/* --- client ---------------------------------------------------------------------------------- */
struct agi_grpc_channel;

struct agi_grpc_client_call;

struct agi_grpc_result {
	enum agi_grpc_status status;
	struct agi_str message; /* grpc-message, decoded */
	const ProtobufCMessage
	    *res; /* NULL unless OK and unary; freed after the callback returns */
	const struct agi_buf *metadata; /* for agi_grpc_result_metadata */
	bool is_unsent;                 /* the server has not seen the call */
};
/* First value of a header or trailer of the answer, or {NULL, 0}; bytes for names in "-bin"
 * ("grpc-status-details-bin"). Valid while the result is. */
struct agi_str agi_grpc_result_metadata(const struct agi_grpc_result *r, const char *name);
typedef void agi_grpc_done_fn(void *arg, const struct agi_grpc_result *result);

/* target: "host:port" (names are resolved with libevent's evdns), "tls://host:port" or "unix:/path".
 * Connects on first use and again after a broken connection. */
AGI_MUST_USE enum agi_err agi_grpc_channel_new(struct event_base *base, const char *target,
					       struct agi_grpc_channel **out, struct agi_why *why);
/* Open calls end with CANCELLED first; their callbacks must not start new ones. May be called from
 * a callback of the channel. NULL is allowed. */
void agi_grpc_channel_free(struct agi_grpc_channel *ch);
/* For "tls://": whom to trust and what to show; outlives the channel. Without it the system's
 * authorities are trusted and no certificate is shown. */
void agi_grpc_channel_set_tls(struct agi_grpc_channel *ch, const struct agi_tls_client *tls);
/* Every call carries "authorization: Bearer TOKEN" (copied; NULL = no longer). INVALID for what
 * cannot stand in a header; NOMEM. */
AGI_MUST_USE enum agi_err agi_grpc_channel_set_token(struct agi_grpc_channel *ch, const char *token);
/* Messages in answers may have so many bytes (default AGI_GRPC_RECV_DEFAULT). */
void agi_grpc_channel_set_recv_max(struct agi_grpc_channel *ch, uint32_t bytes);
/* Calls done exactly once, never before return. path: "/package.Service/Method". timeout_ms 0 =
 * none. req is serialized before return. Not connected and no connection to be had: UNAVAILABLE,
 * without waiting for one. NOMEM: nothing was started, done will not be called. */
AGI_MUST_USE enum agi_err agi_grpc_unary(struct agi_grpc_channel *ch, const char *path,
					 const ProtobufCMessage *req,
					 const ProtobufCMessageDescriptor *res_type,
					 uint32_t timeout_ms, agi_grpc_done_fn *done, void *arg);

struct agi_grpc_pair {
	const char *name;     /* lower case */
	struct agi_str value; /* bytes for names in "-bin" */
};
struct agi_grpc_opts {
	uint32_t timeout_ms; /* 0 = none */
	const struct agi_grpc_pair *metadata;
	size_t n_metadata;
	bool compress; /* gzip the messages, where that makes them smaller */
};
/* agi_grpc_unary with options (NULL = none); they are copied. INVALID as well, for metadata that
 * HTTP/2 does not allow: nothing was started. */
AGI_MUST_USE enum agi_err agi_grpc_unary_with(struct agi_grpc_channel *ch, const char *path,
					      const ProtobufCMessage *req,
					      const ProtobufCMessageDescriptor *res_type,
					      const struct agi_grpc_opts *opts,
					      agi_grpc_done_fn *done, void *arg);

/* --- client: streams ---
 * None of these runs inside a function of this module, except that agi_grpc_channel_free runs
 * on_end. */
struct agi_grpc_client_ops {
	/* Answers one agi_grpc_stream_recv; res is valid until the next one or on_end. */
	void (*on_message)(void *arg, const ProtobufCMessage *res);
	/* After FULL. May be NULL. */
	void (*on_writable)(void *arg);
	/* Once, last; the call is gone afterwards. A stream that ends with OK ends when its
	 * messages were asked for, an error ends it at once. */
	void (*on_end)(void *arg, const struct agi_grpc_result *result);
};
/* Starts a call with any number of messages either way. ops is borrowed for the call's life, opts
 * may be NULL. INVALID, NOMEM: nothing was started. */
AGI_MUST_USE enum agi_err agi_grpc_stream_open(struct agi_grpc_channel *ch, const char *path,
					       const ProtobufCMessageDescriptor *res_type,
					       const struct agi_grpc_opts *opts,
					       const struct agi_grpc_client_ops *ops, void *arg,
					       struct agi_grpc_client_call **out);
/* OK: taken (copied), also while the connection is not there yet. FULL: not taken; on_writable runs
 * when there is room. TOO_LARGE: not taken. CANCELLED: the call has ended or was half-closed. */
AGI_MUST_USE enum agi_err agi_grpc_stream_send(struct agi_grpc_client_call *call,
					       const ProtobufCMessage *req);
/* Nothing more will be sent. */
void agi_grpc_stream_half_close(struct agi_grpc_client_call *call);
/* Asks for the next message; while none is asked for, the server is held back. Once per message. */
void agi_grpc_stream_recv(struct agi_grpc_client_call *call);
/* Ends the call with CANCELLED, unless it has ended; on_end runs later. */
void agi_grpc_stream_cancel(struct agi_grpc_client_call *call);

/* --- client, messages as bytes: for who hands calls on --- */
struct agi_grpc_raw_result {
	enum agi_grpc_status status;
	struct agi_str message; /* grpc-message, decoded */
	struct agi_str res;     /* the message's bytes; empty unless OK */
	/* Headers, then trailers (net/pairs.h), the protocol's own among them; values of names in
	 * "-bin" are bytes. */
	const struct agi_buf *metadata;
	size_t trailers_at; /* where the trailers begin in it */
	bool is_unsent;     /* the server has not seen the call: it may be made elsewhere */
};
typedef void agi_grpc_raw_done_fn(void *arg, const struct agi_grpc_raw_result *result);
/* As agi_grpc_unary, with a message that is bytes already. metadata (NULL = none): pairs as they are to
 * be sent (net/grpc_meta.h agi_meta_give); more than 512 are INVALID. *out is valid until done is called. */
AGI_MUST_USE enum agi_err agi_grpc_unary_raw(struct agi_grpc_channel *ch, const char *path,
					     struct agi_str req, const struct agi_buf *metadata,
					     uint32_t timeout_ms, agi_grpc_raw_done_fn *done,
					     void *arg, struct agi_grpc_client_call **out);
/* The server is told; done still runs (CANCELLED, or the answer that was already here). */
void agi_grpc_unary_cancel(struct agi_grpc_client_call *call);

/* None of these runs inside a function of this module, except that agi_grpc_channel_free runs on_end. */
struct agi_grpc_raw_ops {
	/* The answer has begun: its headers (as of agi_grpc_raw_result), before the first message. Not
	 * when it ends with them. */
	void (*on_headers)(void *arg, const struct agi_buf *metadata);
	/* Answers one agi_grpc_stream_recv; valid until the next one or on_end. */
	void (*on_message)(void *arg, struct agi_str message);
	/* As on_end of agi_grpc_client_ops, but with OK only when more was asked for after the last message. */
	void (*on_end)(void *arg, const struct agi_grpc_raw_result *result);
};
/* One message that is bytes already, answered by any number of messages. As agi_grpc_unary_raw; ops is borrowed
 * for the call's life. agi_grpc_stream_recv and agi_grpc_stream_cancel are for it too. */
AGI_MUST_USE enum agi_err agi_grpc_stream_raw(struct agi_grpc_channel *ch, const char *path,
					      struct agi_str req, const struct agi_buf *metadata,
					      uint32_t timeout_ms, const struct agi_grpc_raw_ops *ops,
					      void *arg, struct agi_grpc_client_call **out);

/* --- protobuf, checked ----------------------------------------------------------------------- */
/* Unpacks with what the reference runtime does and protobuf-c does not: strings must be UTF-8,
 * groups and known fields of the wrong wire type are kept as unknown fields, nesting at most 100
 * deep. NULL + why on malformed input. Free with protobuf_c_message_free_unpacked(m, NULL). */
ProtobufCMessage *agi_pb_unpack(const ProtobufCMessageDescriptor *desc, struct agi_str wire,
				struct agi_why *why);

#endif
