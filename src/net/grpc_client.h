/* SPDX-License-Identifier: Apache-2.0
 * Inside the gRPC client: shared by grpc_channel.c (connections), grpc_client_start.c (how a call
 * begins), grpc_client_call.c (its life) and grpc_client_stream.c (what only streams have).
 *
 *   unary ──► WAITING ──connected──► OPEN ──stream closed──► DONE ──callback──► freed
 *                │ ▲                  │ └─messages left──► LEFT ─asked for─┘
 *                │ └── refused, once ─┘ (the server says it has not looked at it)
 *                └── cannot connect / deadline ──► DONE */
#ifndef AGI_NET_GRPC_CLIENT_H
#define AGI_NET_GRPC_CLIENT_H

#include "net/dial.h"
#include "net/grpc.h"
#include "net/grpc_wire.h"
#include "net/h2.h"
#include "net/grpc_meta.h"
#include "net/pb.h"

enum {
	AGI_GRPC_CLIENT_CALLS_MAX = 65536, /* open calls of a channel */
	AGI_GRPC_CONNECT_MS = 5000,
	AGI_GRPC_BACKOFF_MIN_MS = 100,    /* after a failed attempt; doubles ... */
	AGI_GRPC_BACKOFF_MAX_MS = 1000,   /* ... up to here: callers have deadlines of seconds */
	AGI_GRPC_CLIENT_QUIET_MS = 10000, /* calls are open and nothing comes: PING */
	AGI_GRPC_CLIENT_PING_MS = 5000,   /* its answer; then the connection is given up */
	AGI_GRPC_CLIENT_SEND_HIGH = 128 << 10, /* unsent bytes of a stream; above, FULL ... */
	AGI_GRPC_CLIENT_SEND_LOW = 32 << 10,   /* ... until so few are left */
	AGI_GRPC_CLIENT_METADATA_MAX = 512 /* pairs: what fits in the 16 KiB a server takes */
};

struct agi_grpc_client_conn;

enum agi_grpc_client_state {
	AGI_CLIENT_WAITING,
	AGI_CLIENT_OPEN,
	AGI_CLIENT_LEFT,
	AGI_CLIENT_DONE
};

struct agi_grpc_client_call {
	struct agi_grpc_channel *ch;
	struct agi_grpc_client_conn *conn; /* OPEN */
	enum agi_grpc_client_state state;
	int32_t stream_id;
	char *path;
	const ProtobufCMessageDescriptor *res_type;
	agi_grpc_done_fn *done;                /* unary */
	agi_grpc_raw_done_fn *raw_done;        /* unary, instead of done and res_type */
	bool is_stream;
	const struct agi_grpc_client_ops *ops; /* of a stream ... */
	const struct agi_grpc_raw_ops *raw_ops; /* ... or these */
	void *arg;
	struct agi_buf metadata; /* net/pairs.h, as sent */
	bool is_packing;
	bool is_queued; /* on ch->ready */

	/* request */
	struct agi_buf out; /* length-prefixed messages */
	size_t out_sent;
	bool is_cut;         /* sent bytes were given up: it cannot be sent again */
	bool is_half_closed; /* nothing will be added to out */
	bool is_deferred;    /* nghttp2 waits for more of out */
	bool is_blocked, is_writable;
	bool was_refused;
	bool is_unsent; /* DONE without having been OPEN */

	/* answer */
	int http_status;
	bool is_grpc, has_status, is_whole;
	enum agi_grpc_status status;
	struct agi_buf message; /* decoded */
	struct agi_buf answer;  /* headers and trailers, decoded */
	size_t trailers_at;     /* where they begin in it, once has_trailers */
	bool has_trailers;
	bool has_begun, is_begin_told; /* the headers are here; raw_ops know it */
	struct agi_grpc_reader reader;
	uint32_t window;
	bool wants;
	struct agi_buf in; /* came before it was asked for */
	size_t in_taken;
	size_t direct_bytes; /* taken as they came since the window was last set */
	struct agi_pb_pool pool;

	bool is_timed;
	uint64_t deadline_us;
	struct event deadline;
	TAILQ_ENTRY(agi_grpc_client_call) link; /* ch->waiting, conn->calls, ch->left or ch->done */
	TAILQ_ENTRY(agi_grpc_client_call) ready_link;
};
TAILQ_HEAD(agi_grpc_client_calls, agi_grpc_client_call);

struct agi_grpc_client_conn {
	struct agi_h2 h2;
	struct agi_grpc_channel *ch;
	struct agi_grpc_client_calls calls;
	bool is_going, is_pinged;
	LIST_ENTRY(agi_grpc_client_conn) link;
};

struct agi_grpc_channel {
	struct event_base *base;
	struct agi_h2_loop loop;
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	char *target;
	const char *authority;         /* part of target, or a constant */
	const struct agi_tls_client *tls; /* the owner's; NULL: own_tls */
	struct agi_tls_client *own_tls;   /* trusts the system's authorities; made when first needed */
	char *authorization;           /* "Bearer TOKEN"; NULL = none */
	uint32_t recv_max_bytes;
	struct agi_grpc_client_conn *current; /* takes new calls; NULL when there is none */
	LIST_HEAD(, agi_grpc_client_conn) conns;
	struct agi_dial *dial;
	uint64_t retry_at_us; /* no attempt before */
	uint32_t backoff_ms;
	struct agi_why why; /* of the last failed attempt */
	struct agi_grpc_client_calls waiting, left, done;
	TAILQ_HEAD(, agi_grpc_client_call) ready; /* streams with something to tell */
	struct agi_grpc_packer *packer;           /* made when first needed */
	uint32_t n_calls;
	struct event *deliver, *sweep;
	uint32_t delivering; /* callbacks under way, one inside the other */
	bool is_closing;     /* freed as soon as they have returned */
};

/* --- grpc_client_call.c ---------------------------------------------------------------------- */
/* The call ends with this; its callback runs later in this turn. From any state but DONE. */
void agi_grpc_client_end(struct agi_grpc_client_call *call, enum agi_grpc_status status,
			 const char *fmt, ...) AGI_PRINTF(3, 4);
/* Opens a stream on the connection for a WAITING call. */
void agi_grpc_client_open(struct agi_grpc_client_call *call, struct agi_grpc_client_conn *conn);
void agi_grpc_client_header(struct agi_grpc_client_call *call, struct agi_str name,
			    struct agi_str value, bool is_trailer);
/* The answer's headers are complete, and it does not end with them. */
void agi_grpc_client_began(struct agi_grpc_client_call *call);
/* Returns how many bytes the stream's window may be opened by at once. */
size_t agi_grpc_client_data(struct agi_grpc_client_call *call, struct agi_str data);
void agi_grpc_client_closed(struct agi_grpc_client_call *call, uint32_t error_code);
/* Runs the callback of a DONE call (already off its list) and frees it. */
void agi_grpc_client_deliver(struct agi_grpc_client_call *call);
/* A call that was never started. */
void agi_grpc_client_call_free(struct agi_grpc_client_call *call);

/* Feeds the reader. False when that ended the call. */
bool agi_grpc_client_feed(struct agi_grpc_client_call *call, struct agi_str *data);
/* DONE with the status and message that it has. */
void agi_grpc_client_settle(struct agi_grpc_client_call *call);
void agi_grpc_client_set_result(struct agi_grpc_client_call *call, enum agi_grpc_status status,
				const char *text);

/* --- grpc_client_stream.c -------------------------------------------------------------------- */
/* There is something to tell. */
void agi_grpc_client_enqueue(struct agi_grpc_client_call *call);
/* Tells one thing. */
void agi_grpc_client_turn(struct agi_grpc_client_call *call);
size_t agi_grpc_client_stream_data(struct agi_grpc_client_call *call, struct agi_str data);
/* The stream is gone and the status is OK: DONE, or LEFT until the messages were asked for. */
void agi_grpc_client_stream_closed(struct agi_grpc_client_call *call);
/* n more bytes of out were handed to nghttp2. */
void agi_grpc_client_stream_sent(struct agi_grpc_client_call *call);

/* --- grpc_channel.c -------------------------------------------------------------------------- */
/* Sends the WAITING calls, connecting first where needed. */
void agi_grpc_channel_push(struct agi_grpc_channel *ch);

#endif
