/* SPDX-License-Identifier: Apache-2.0
 * Inside the gRPC server: shared by grpc_server.c (routes, life), grpc_conn.c (connections) and the
 * files of one call: grpc_call.c (its life), grpc_headers.c, grpc_recv.c (request messages),
 * grpc_send.c (the answer).
 *
 *   headers ──► RECEIVING ──request whole──► READY ──dispatch──► RUNNING ──reply / fail──► ENDED
 * ──► freed └────── stream of requests ─────────┘ │                  │ │                         │
 * │ └── refused ──────────────┴──────────────────┼───────────────────► ENDED stream reset /
 * connection lost / deadline ─┴─► (handler told) ─► freed when ended
 *
 * A call is freed when its stream is gone and its handler, if it was dispatched, has ended it.
 * Handlers run from the server's queue of calls with something to do (ready): after everything that
 * was read has gone through nghttp2, or from the pump event.
 *
 * Flow control: a connection's window is opened as soon as bytes are here, a stream's when they
 * were needed: bytes of a unary request at once, those of a stream when the handler has asked for
 * the message. */
#ifndef AGI_NET_GRPC_SERVER_H
#define AGI_NET_GRPC_SERVER_H

#include "net/grpc.h"
#include "net/grpc_meta.h"
#include "net/grpc_wire.h"
#include "net/h2.h"
#include "net/h2_guard.h"
#include "net/pb.h"

enum {
	AGI_GRPC_STREAMS_DEFAULT = 1000,
	AGI_GRPC_CALLS_DEFAULT = 65536,
	AGI_GRPC_CONNECTIONS_DEFAULT = 4096,
	AGI_GRPC_HEADER_BYTES_DEFAULT = 16 << 10,
	AGI_GRPC_REQUEST_BYTES_MAX =
	    256 << 20, /* of all requests here at once: 64 of the default maximum; at least 4 */
	AGI_GRPC_CONN_BYTES_DEFAULT =
	    64 << 20, /* held for a connection: the windows of all its streams fit in */
	AGI_GRPC_REPLY_BYTES_HIGH =
	    8 << 20, /* unsent answers of a connection; above, it is not read */
	AGI_GRPC_SEND_HIGH =
	    128 << 10, /* unsent bytes of a stream; above, agi_grpc_send says FULL ... */
	AGI_GRPC_SEND_LOW =
	    32 << 10, /* ... until so few are left: the loop's turn must not starve it */
	AGI_GRPC_PUMP_MAX = 1024,         /* handlers run per turn of the loop */
	AGI_GRPC_COMPRESS_MIN = 1 << 10,  /* a shorter answer fits in a packet anyway */
	AGI_GRPC_POOLED_CALLS = 1024,     /* ended calls kept for the next ones */
	AGI_GRPC_POOLED_BYTES = 16 << 10, /* a buffer above this is not kept with them */
	AGI_GRPC_EXTRA_HEADERS = 16,      /* that a handler may add */
	AGI_GRPC_PREFACE_MS = 10000,      /* from accept to the client's preface and SETTINGS */
	AGI_GRPC_IDLE_MS = 300000,        /* without a byte and without streams: GOAWAY */
	AGI_GRPC_KEEPALIVE_MS = 60000,
	AGI_GRPC_KEEPALIVE_TIMEOUT_MS = 20000,
	AGI_GRPC_RECEIVE_MS = 300000, /* from a call's headers to the end of its request */
	AGI_GRPC_STALL_MS = 60000,    /* the peer takes nothing of what is waiting for it: closed */
	AGI_GRPC_PINGS_PER_S =
	    2, /* that a client may send without a call: the guide's sends one in 10 s */
	AGI_GRPC_PINGS_BURST = 100, /* saved up; each HEADERS or DATA frame of either side adds */
	AGI_GRPC_PINGS_PER_FRAME =
	    2, /* ... so many, as clients measure the network with PINGs while data flows */
	AGI_GRPC_AGE_SPREAD = 10 /* per cent: connections made together do not go together */
};

struct agi_grpc_conn;

struct agi_grpc_route {
	struct agi_str path;
	uint64_t hash;
	const char *service, *method;
	unsigned needs; /* as the guard's needs function has it */
	const ProtobufCMessageDescriptor *input;
	enum agi_grpc_kind kind;
	bool is_raw;
	agi_grpc_handler_fn *handler; /* both NULL: not implemented */
	agi_grpc_open_fn *open;
	void *ctx;
};
static inline bool agi_grpc_route_has_request_stream(const struct agi_grpc_route *r)
{
	return r->open != NULL;
}

enum agi_grpc_call_state { AGI_CALL_RECEIVING, AGI_CALL_READY, AGI_CALL_RUNNING, AGI_CALL_ENDED };

struct agi_grpc_call {
	struct agi_grpc_server *server; /* NULL once the server is gone */
	struct agi_grpc_conn *conn;     /* NULL once the stream is gone */
	struct agi_grpc_hop *hop;       /* of another server's connection (grpc_far.h); conn is NULL */
	int32_t stream_id;
	enum agi_grpc_call_state state;
	bool is_answered;      /* on the wire: headers submitted */
	bool is_finished;      /* nothing will be added to out; status and trailers follow it */
	bool is_remote_closed; /* END_STREAM came */
	bool is_deferred;      /* nghttp2 waits for more of out */
	bool is_observed;
	bool is_queued; /* on server->ready */
	bool is_held;   /* on conn->held */
	bool is_get, is_head; /* is_head: is_get too */
	bool is_post, is_grpc, has_deadline, is_bad_timeout, is_oversized, is_bad_metadata;
	bool is_timed; /* the deadline's event is pending */
	bool is_packing; /* answers are compressed */
	char encoding[24]; /* grpc-encoding when it is not known; "" */
	const struct agi_grpc_route *route;
	struct agi_addr remote;

	/* request */
	struct agi_buf headers;   /* net/pairs.h, binary values decoded */
	size_t header_list_bytes; /* as RFC 9113 6.5.2 counts */
	struct agi_grpc_reader reader;
	bool is_whole;        /* reader.message is a message */
	size_t charged_bytes; /* of server->request_bytes and conn->request_bytes */
	struct agi_pb_pool pool;
	const ProtobufCMessage *req;
	uint32_t window;     /* the stream's */
	size_t direct_bytes; /* taken as they came since the window was last set */

	/* stream */
	const struct agi_grpc_stream_ops *ops;
	void *ops_arg;
	struct agi_buf in; /* came before it was asked for; the stream's window bounds it */
	size_t in_taken;
	bool wants, has_ended;        /* a message was asked for; its end was told */
	bool is_blocked, is_writable; /* FULL was said; on_writable is due */

	/* answer */
	enum agi_grpc_status status;
	struct agi_buf message;         /* grpc-message, encoded */
	struct agi_buf extra, trailers; /* handler's, as sent */
	struct agi_buf out;             /* length-prefixed messages */
	size_t out_sent, out_seen;      /* gone; gone when the sweep last looked */
	uint32_t stalled_s;

	uint64_t start_us, deadline_us;
	struct event deadline;
	void (*on_cancel)(void *arg);
	void *on_cancel_arg;
	LIST_ENTRY(agi_grpc_call) link;        /* conn->calls, or server->orphans */
	TAILQ_ENTRY(agi_grpc_call) ready_link; /* server->ready, conn->held or server->pool */
};

struct agi_grpc_conn {
	struct agi_h2 h2;
	struct agi_grpc_server *server;
	struct agi_addr remote;
	LIST_HEAD(, agi_grpc_call) calls;
	TAILQ_HEAD(, agi_grpc_call) held; /* READY, until answers have been fetched */
	uint32_t n_calls;                 /* with a stream */
	size_t reply_bytes;               /* in the calls' out */
	size_t request_bytes;             /* charged by the calls */
	uint64_t opened_us, going_us, pinged_us;     /* going_us: when GOAWAY was announced */
	struct agi_h2_guard guard;
	uint32_t pings_allowed;
	uint32_t window;        /* the connection's */
	uint64_t widened_bytes; /* of its streams' windows, beyond the first */
	bool has_settings, is_pinged;
	bool is_going, is_gone; /* GOAWAY: announced, final */
	bool is_flooding;       /* told to go for it */
	LIST_ENTRY(agi_grpc_conn) link;
};

struct agi_grpc_server {
	struct agi_grpc_server_cfg cfg;
	struct agi_h2_loop loop;
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	struct event *sweep, *pump;
	struct agi_http *http;    /* NULL: GET is refused, */
	struct agi_grpc_far *far; /* unless another loop answers it */
	agi_grpc_needs_fn *needs;
	agi_grpc_guard_fn *guard; /* NULL: everybody may everything */
	void *guard_ctx;
	agi_grpc_observe_fn *observe;
	void *observe_ctx;
	struct agi_grpc_route *routes; /* open addressing; path.p NULL = free */
	size_t n_routes, cap_routes;   /* cap is a power of two */
	LIST_HEAD(, agi_grpc_conn) conns;
	uint32_t n_conns;
	LIST_HEAD(, agi_grpc_call) orphans; /* running without a stream */
	uint32_t n_calls;                   /* all, orphans included */
	TAILQ_HEAD(, agi_grpc_call) ready, pool;
	uint32_t n_pool;
	size_t request_bytes, request_bytes_max;
	struct agi_grpc_packer *packer; /* made when first needed */
	const char **services;
	size_t n_services;
	bool is_draining, is_pumping;
};

/* --- grpc_server.c --------------------------------------------------------------------------- */
const struct agi_grpc_route *agi_grpc_route_find(const struct agi_grpc_server *s,
						 struct agi_str path);

/* Adds the methods of other that s has not, with handler or open in the place of its own. */
AGI_MUST_USE enum agi_err agi_grpc_server_add_others(struct agi_grpc_server *s,
						     const struct agi_grpc_server *other,
						     agi_grpc_handler_fn *handler,
						     agi_grpc_open_fn *open, void *ctx);

/* Runs handlers that have something to do. */
void agi_grpc_server_pump(struct agi_grpc_server *s);

/* --- grpc_conn.c: connections ---------------------------------------------------------------- */
/* NULL when out of memory. */
nghttp2_session_callbacks *agi_grpc_conn_callbacks(void);
void agi_grpc_conn_free(struct agi_grpc_conn *c);
/* Says GOAWAY: first that it will, a round trip later which calls were still taken (RFC 9113 6.8).
 */
void agi_grpc_conn_go(struct agi_grpc_conn *c);
/* Once a second: what nobody else notices. May free c. */
void agi_grpc_conn_sweep(struct agi_grpc_conn *c, uint64_t now_us);

/* --- grpc_call.c: a call's life -------------------------------------------------------------- */
/* NULL when out of memory. */
struct agi_grpc_call *agi_grpc_call_new(struct agi_grpc_conn *c, int32_t stream_id);
/* A call that came to another loop: near's method, deadline and sender. RUNNING, among the orphans. */
struct agi_grpc_call *agi_grpc_call_new_far(struct agi_grpc_server *s, const struct agi_grpc_call *near,
					    struct agi_grpc_hop *hop);
/* From now on the call is cut when its deadline has passed. */
void agi_grpc_call_start_deadline(struct agi_grpc_call *call);
/* The stream is gone (may free call). */
void agi_grpc_call_closed(struct agi_grpc_call *call);
/* The server goes: what is still running stands alone from now on. */
void agi_grpc_call_orphan(struct agi_grpc_call *call);
/* Looks after calls that do not move: a request that does not come, an answer that is not fetched.
 */
void agi_grpc_call_sweep(struct agi_grpc_call *call, uint64_t now_us);
void agi_grpc_call_destroy(struct agi_grpc_call *call);
/* There is something to do for its handler. */
void agi_grpc_call_enqueue(struct agi_grpc_call *call);
/* The calls that were held back because too much waited to be sent may start. */
void agi_grpc_conn_release(struct agi_grpc_conn *c);
/* Does one thing of what there is to do. May free call. */
void agi_grpc_call_dispatch(struct agi_grpc_call *call);
/* The handler learns that its call is over; may free call. */
void agi_grpc_call_tell(struct agi_grpc_call *call);
void agi_grpc_call_observe(struct agi_grpc_call *call, enum agi_grpc_status status);
/* The handler has ended its call; it must not touch it again. */
void agi_grpc_call_handler_done(struct agi_grpc_call *call);

/* --- grpc_headers.c --------------------------------------------------------------------------- */
AGI_MUST_USE enum agi_err agi_grpc_call_header(struct agi_grpc_call *call, struct agi_str name,
					       struct agi_str value);
/* The header block is complete: refuses what cannot be served. */
void agi_grpc_call_headers_done(struct agi_grpc_call *call);

/* --- grpc_recv.c: request messages ----------------------------------------------------------- */
/* Returns how many bytes the stream's window may be opened by at once. */
size_t agi_grpc_call_data(struct agi_grpc_call *call, struct agi_str data);
/* END_STREAM came. */
void agi_grpc_call_request_done(struct agi_grpc_call *call);
/* Hands the unary request, or the message that was asked for, to the handler. May free call. */
void agi_grpc_call_start_unary(struct agi_grpc_call *call);
void agi_grpc_call_deliver(struct agi_grpc_call *call);
/* Frees and stops to count what is held of the request. */
void agi_grpc_call_drop_request(struct agi_grpc_call *call);

/* --- grpc_http.c ----------------------------------------------------------------------------- */
/* Answers a GET or HEAD. */
void agi_grpc_call_serve_get(struct agi_grpc_call *call);
/* The answer is in out; of no effect when the stream is gone. content_type: a literal. */
void agi_grpc_call_submit_get(struct agi_grpc_call *call, int status, const char *content_type);
/* What http says to call (of which headers is looked at only), asked as ask with its reply set: the status;
 * body and content_type are filled; or AGI_HTTP_LATER. peer: NULL = not known. */
struct agi_http_ask;
int agi_grpc_get_answer(struct agi_http *http, const struct agi_grpc_call *call,
			const struct agi_transport_peer *peer, struct agi_http_ask *ask,
			struct agi_buf *body, const char **content_type);

/* --- grpc_send.c: the answer ----------------------------------------------------------------- */
/* Ends the call on the wire, after what was sent before, unless it has ended. */
void agi_grpc_call_refuse(struct agi_grpc_call *call, enum agi_grpc_status status,
			  struct agi_str text);
void agi_grpc_call_refuse_http(struct agi_grpc_call *call, const char *http_status,
			       enum agi_grpc_status status, struct agi_str text);
/* Refused before a handler saw it: what is still coming is dropped. */
void agi_grpc_call_refuse_early(struct agi_grpc_call *call, enum agi_grpc_status status,
				const char *text);
/* The deadline has passed: as refuse, but unsent messages do not hold it up. */
void agi_grpc_call_cut(struct agi_grpc_call *call, enum agi_grpc_status status,
		       struct agi_str text);
/* A frame of the answer with END_STREAM is out. */
void agi_grpc_call_sent(struct agi_grpc_call *call);
/* Reads from the connection go on, or stop while too much waits to be sent. */
void agi_grpc_conn_update_full(struct agi_grpc_conn *c);

/* --- grpc_far.c: what becomes of the answer to a call of another loop ------------------------------------------- */
/* The call as it came: its headers and request stay as they are until the handler has ended it. */
const struct agi_grpc_call *agi_grpc_hop_near(const struct agi_grpc_hop *h);
/* Keeps a message (res, or bytes when it is NULL). NOMEM: nothing was kept. */
AGI_MUST_USE enum agi_err agi_grpc_hop_put(struct agi_grpc_hop *h, const ProtobufCMessage *res,
					   struct agi_str bytes);
/* So much is kept that a stream has to wait (agi_grpc_send says FULL). */
bool agi_grpc_hop_is_full(const struct agi_grpc_hop *h);
/* Sends what is kept, as soon as what was sent before is gone. */
void agi_grpc_hop_flush(struct agi_grpc_hop *h);
void agi_grpc_hop_headers(struct agi_grpc_hop *h);
/* Asks for the next message of a stream. */
void agi_grpc_hop_recv(struct agi_grpc_hop *h);
void agi_grpc_hop_status(struct agi_grpc_hop *h, enum agi_grpc_status status, struct agi_str text);
/* The handler has ended the call, which will be freed. */
void agi_grpc_hop_end(struct agi_grpc_hop *h);
/* A GET on s, for another loop. */
void agi_grpc_far_get(struct agi_grpc_call *call);

#endif
