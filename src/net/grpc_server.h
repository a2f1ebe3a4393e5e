/* SPDX-License-Identifier: Apache-2.0
 * Inside the gRPC server: shared by grpc_server.c (connections, routes), grpc_call.c (one call's
 * life) and grpc_answer.c (how it is answered).
 *
 *   headers ─► RECEIVING ─ request whole ─► READY ─ dispatch ─► RUNNING ─ reply, fail ─► ENDED ─► freed
 *                  │                           │                  │                        ▲
 *                  └── refused, deadline ──────┼──────────────────┼────────────────────────┤
 *                                              └── stream gone    └── deadline, stream gone:
 *                                                  (freed)            the handler is told, and ends it
 *
 * A call is freed when its stream is gone and its handler, if it was dispatched, has ended it. */
#ifndef AGI_NET_GRPC_SERVER_H
#define AGI_NET_GRPC_SERVER_H

#include "net/grpc.h"
#include "net/grpc_wire.h"
#include "net/h2.h"
#include "net/pairs.h"
#include "net/pb.h"

enum {
	AGI_GRPC_STREAMS_DEFAULT = 1000,
	AGI_GRPC_CALLS_DEFAULT = 65536,
	AGI_GRPC_CONNECTIONS_DEFAULT = 4096,
	AGI_GRPC_HEADER_BYTES_DEFAULT = 16 << 10,
	AGI_GRPC_REQUEST_BYTES_MAX =
	    256 << 20, /* of all requests here at once: 64 of the default maximum */
	AGI_GRPC_REPLY_BYTES_HIGH =
	    8 << 20,                  /* unsent answers of a connection; above, it is not read */
	AGI_GRPC_POOLED_CALLS = 1024, /* ended calls kept for the next ones */
	AGI_GRPC_POOLED_BYTES = 16 << 10, /* a buffer above this is not kept with them */
	AGI_GRPC_EXTRA_HEADERS = 16,      /* that a handler may add */
	AGI_GRPC_PREFACE_MS = 10000,      /* from accept to the client's preface and SETTINGS */
	AGI_GRPC_IDLE_MS = 300000,        /* without a byte and without streams: GOAWAY */
	AGI_GRPC_QUIET_MS = 60000,        /* without a byte, with streams: PING */
	AGI_GRPC_PING_MS = 20000,         /* its answer */
	AGI_GRPC_RECEIVE_MS = 300000,     /* from a call's headers to the end of its request */
	AGI_GRPC_STALL_MS = 60000,  /* the peer takes nothing of what is waiting for it: closed */
	AGI_GRPC_PINGS_PER_S = 100, /* above, and more pings than other frames: ENHANCE_YOUR_CALM */
	AGI_GRPC_RESETS_BURST = 1000, /* RST_STREAMs of a client; a second's worth of ... */
	AGI_GRPC_RESETS_PER_S = 1000  /* ... timeouts under load is legitimate, a flood is not */
};

struct agi_grpc_conn;

struct agi_grpc_route {
	struct agi_str path;
	uint64_t hash;
	const char *service, *method;
	const ProtobufCMessageDescriptor *input;
	agi_grpc_handler_fn *handler; /* NULL: not implemented */
	void *ctx;
};

enum agi_grpc_call_state { AGI_CALL_RECEIVING, AGI_CALL_READY, AGI_CALL_RUNNING, AGI_CALL_ENDED };

struct agi_grpc_call {
	struct agi_grpc_server *server; /* NULL once the server is gone */
	struct agi_grpc_conn *conn;     /* NULL once the stream is gone */
	int32_t stream_id;
	enum agi_grpc_call_state state;
	bool is_answered;      /* on the wire: headers submitted; nothing more may be */
	bool is_finished;      /* nothing will be added to out; trailers follow it */
	bool is_remote_closed; /* END_STREAM came */
	bool is_deferred;      /* nghttp2 waits for more of out */
	bool is_observed;
	bool is_post, is_grpc, has_deadline, is_bad_timeout, is_oversized;
	bool is_timed;     /* the deadline's event is pending */
	char encoding[24]; /* grpc-encoding when it is not identity; "" */
	const struct agi_grpc_route *route;
	struct agi_addr remote;

	/* request */
	struct agi_buf headers;   /* net/pairs.h */
	size_t header_list_bytes; /* as RFC 9113 6.5.2 counts */
	struct agi_grpc_reader reader;
	bool is_whole;        /* reader.message is the request */
	size_t charged_bytes; /* of server->request_bytes */
	struct agi_pb_pool pool;
	const ProtobufCMessage *req;

	/* answer */
	enum agi_grpc_status status;
	struct agi_buf message; /* grpc-message, encoded */
	struct agi_buf extra;   /* handler's headers, as in headers */
	struct agi_buf out;     /* length-prefixed messages */
	size_t out_sent;

	uint64_t start_us, deadline_us;
	struct event deadline;
	void (*on_cancel)(void *arg);
	void *on_cancel_arg;
	LIST_ENTRY(agi_grpc_call) link;        /* conn->calls, or server->orphans */
	TAILQ_ENTRY(agi_grpc_call) ready_link; /* conn->ready; or server->pool */
};

struct agi_grpc_conn {
	struct agi_h2 h2;
	struct agi_grpc_server *server;
	struct agi_addr remote;
	LIST_HEAD(, agi_grpc_call) calls;
	TAILQ_HEAD(, agi_grpc_call) ready;
	uint32_t n_calls;   /* with a stream */
	size_t reply_bytes; /* in the calls' out */
	uint64_t opened_us;
	uint32_t pings, frames; /* since the last sweep */
	bool has_settings, is_pinged;
	bool is_going, is_gone; /* GOAWAY: announced, final */
	LIST_ENTRY(agi_grpc_conn) link;
};

struct agi_grpc_server {
	struct agi_grpc_server_cfg cfg;
	struct agi_h2_loop loop;
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	struct event *sweep;
	agi_grpc_observe_fn *observe;
	void *observe_ctx;
	struct agi_grpc_route *routes; /* open addressing; path.p NULL = free */
	size_t n_routes, cap_routes;   /* cap is a power of two */
	LIST_HEAD(, agi_grpc_conn) conns;
	uint32_t n_conns;
	LIST_HEAD(, agi_grpc_call) orphans; /* running without a stream */
	uint32_t n_calls;                   /* all, orphans included */
	TAILQ_HEAD(, agi_grpc_call) pool;
	uint32_t n_pool;
	size_t request_bytes;
	bool is_draining;
};

/* --- grpc_server.c --------------------------------------------------------------------------- */
const struct agi_grpc_route *agi_grpc_route_find(const struct agi_grpc_server *s,
						 struct agi_str path);

/* --- grpc_call.c: what happens to a call ----------------------------------------------------- */
/* NULL when out of memory. */
struct agi_grpc_call *agi_grpc_call_new(struct agi_grpc_conn *c, int32_t stream_id);
AGI_MUST_USE enum agi_err agi_grpc_call_header(struct agi_grpc_call *call, struct agi_str name,
					       struct agi_str value);
/* The header block is complete: refuses what cannot be served. */
void agi_grpc_call_headers_done(struct agi_grpc_call *call);
void agi_grpc_call_data(struct agi_grpc_call *call, struct agi_str data);
/* END_STREAM came: the call becomes READY (queued on conn->ready) or is refused. */
void agi_grpc_call_request_done(struct agi_grpc_call *call);
/* Decodes the request and runs the handler. */
void agi_grpc_call_dispatch(struct agi_grpc_call *call);
/* The stream is gone (may free call). */
void agi_grpc_call_closed(struct agi_grpc_call *call);
/* The server goes: what is still running stands alone from now on. */
void agi_grpc_call_orphan(struct agi_grpc_call *call);
/* Its request has not arrived for too long. */
void agi_grpc_call_expire(struct agi_grpc_call *call);
void agi_grpc_call_destroy(struct agi_grpc_call *call);

/* What the request holds is no longer needed. */
void agi_grpc_call_drop_request(struct agi_grpc_call *call);
void agi_grpc_call_stop_deadline(struct agi_grpc_call *call);
/* Tells the server's observer, once. */
void agi_grpc_call_observe(struct agi_grpc_call *call, enum agi_grpc_status status);

/* --- grpc_answer.c --------------------------------------------------------------------------- */
/* Ends the call on the wire without a message (Trailers-Only), unless it has been answered. */
void agi_grpc_call_refuse_http(struct agi_grpc_call *call, const char *http_status,
			       enum agi_grpc_status status, struct agi_str text);
void agi_grpc_call_refuse(struct agi_grpc_call *call, enum agi_grpc_status status,
			  const char *text);
/* A frame of the answer with END_STREAM is out. */
void agi_grpc_call_sent(struct agi_grpc_call *call);
static inline void agi_grpc_conn_set_full(struct agi_grpc_conn *c)
{
	c->h2.is_full = c->reply_bytes > AGI_GRPC_REPLY_BYTES_HIGH;
}

#endif
