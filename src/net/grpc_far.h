/* SPDX-License-Identifier: Apache-2.0
 * Calls that come in on one loop and are handled on another. near has the connections: TLS, HTTP/2, framing, who may
 * call, decoding and compression are its loop's work; far has the handlers and what they stand on.
 *
 *   near's loop                                            far's loop
 *   call ─ request and headers, lent ── START ───────────► a call without a connection ─► handler
 *     ◄── PARCEL: messages, at the end status and trailers ── agi_grpc_send … agi_grpc_reply
 *     ─── ROOM: the client has taken them ───────────────►   on_writable
 *     ◄── WANT ──────────────────────────────────────────── agi_grpc_recv
 *     ─── MESSAGE, lent ─────────────────────────────────►   on_message
 *     ─── CANCEL: client gone, deadline passed ──────────►   on_cancel
 *
 * Handlers do not notice, but for agi_grpc_call_peer, which is NULL. Requests are not copied: near keeps its call
 * until far has ended its own. One parcel of a call is on the way at a time. Bounded: what a stream holds back
 * (16 KiB and a message, twice), answers that near has not looked at (16 MiB and those of calls that run already;
 * above, calls wait to begin).
 *
 * START is refused when far's mailbox is full (RESOURCE_EXHAUSTED) or closed (UNAVAILABLE); what follows a START that
 * was taken always finds room (agi_loop_post_kept).
 *
 * Life: servers → _new → loops run → loops of their own stopped → near freed, far freed → _free. */
#ifndef AGI_NET_GRPC_FAR_H
#define AGI_NET_GRPC_FAR_H

#include "net/grpc.h"
#include "net/loop_thread.h"

struct agi_grpc_far;

struct agi_grpc_far_cfg {
	struct agi_grpc_server *near, *far;
	struct agi_loop *near_loop, *far_loop;
	bool is_get_only; /* GET and HEAD, if near does not answer them; else also the methods that near has not */
};
/* Before either loop runs; far is complete. NOMEM. */
AGI_MUST_USE enum agi_err agi_grpc_far_new(const struct agi_grpc_far_cfg *cfg, struct agi_grpc_far **out);
/* NULL is allowed. */
void agi_grpc_far_free(struct agi_grpc_far *f);

#endif
