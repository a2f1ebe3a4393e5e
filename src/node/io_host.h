/* SPDX-License-Identifier: Apache-2.0
 * The I/O loops (node.io_loops, docs/decisions/0004): threads that have the gRPC connections of the overlay port. The
 * main loop accepts and hands sockets round; on the I/O loop the protocol is told apart, TLS is spoken, requests are
 * read and decoded, who may call what is asked, answers are compressed and written. Calls are handled on the main loop
 * (net/grpc_far.h), safety checks and evaluations go straight to the safety loop (safety_door.h); links and HTTP/1.1
 * connections are handed to the main loop.
 *
 * Without I/O loops there is no agi_io_host: every function takes NULL and does nothing.
 *
 * What is below is called on the main loop's thread.
 *
 * Life: _new → _serve → _start → … → _drain → … → _stop (from here on nothing runs there) → _close (the servers are
 * gone) → main's server and mailbox freed → _free. */
#ifndef AGI_NODE_IO_HOST_H
#define AGI_NODE_IO_HOST_H

#include "config/config.h"
#include "net/grpc.h"
#include "net/listener.h"
#include "node/metrics.h"
#include "node/safety_host.h"

struct agi_io_host;
struct agi_log;

/* How many I/O loops node.io_loops means where the process may run on so many cores. "auto": two where the core, the
 * safety loop and they have a core each, fewer where not. An I/O loop costs a call two wake-ups, some 30 us of latency
 * and a sixth of its CPU time, and brings a loaded node a third more calls a second: on two cores, where the core's
 * loop and the safety loop run already, that is left to the operator. */
uint32_t agi_io_loops(enum agi_io_loops wish, unsigned cores);
/* The same for this process. */
uint32_t agi_io_loops_here(const struct agi_config *config);

struct agi_io_cfg {
	const struct agi_config *config;
	struct agi_log *log; /* of the main loop */
	struct agi_loop *main;
	struct agi_safety_host *safety;
	/* On the main loop: take the connection. */
	agi_accept_fn *on_http, *on_link;
	void *ctx;
};
/* *out = NULL when there are to be none. */
AGI_MUST_USE enum agi_err agi_io_host_new(const struct agi_io_cfg *cfg, struct agi_io_host **out,
                                          struct agi_why *why);
/* far: the main loop's server, complete. has_erisml: evaluations are made on this node's safety loop. What the loops
 * count is added to metrics. */
AGI_MUST_USE enum agi_err agi_io_host_serve(struct agi_io_host *h, const struct agi_grpc_server_cfg *cfg,
                                            struct agi_grpc_server *far, bool has_erisml,
                                            struct agi_metrics *metrics, struct agi_why *why);
AGI_MUST_USE enum agi_err agi_io_host_start(struct agi_io_host *h, struct agi_why *why);
/* A socket that was accepted; fits agi_listener_cfg.on_accept. */
void agi_io_host_take(struct agi_io_host *h, int fd, const struct agi_addr *remote);
/* Reads certificates and tokens again. */
void agi_io_host_reload(struct agi_io_host *h);
void agi_io_host_drain(struct agi_io_host *h);
void agi_io_host_stop(struct agi_io_host *h);
void agi_io_host_close(struct agi_io_host *h);
void agi_io_host_free(struct agi_io_host *h);

#endif
