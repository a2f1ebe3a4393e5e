/* SPDX-License-Identifier: Apache-2.0
 * Inside of links, included by nobody else: what link.c (the set), link_table.c (finding one),
 * link_conn.c (one connection's life) and link_io.c (its bytes) share.
 *
 *   DIALLING ──connected──> SHAKING ──welcome──> UP ──idle, goodbye, too many──> LEAVING ──> DEAD
 *       │                      │                  │                                          ^
 *       └──────────────────────┴───── error ──────┴──────────────────────────────────────────┘
 *
 * Reentrancy: handlers run with connections below them on the stack, and may send. Sending only
 * queues; writing happens in the turn event, which runs after the callbacks of the same turn of the
 * loop; a connection that ends is reported and freed by the turn event as well. So nothing a
 * handler calls frees or reports anything; agi_links_free inside a handler is put off until the
 * handler has returned. */
#ifndef AGI_NET_LINK_IMPL_H
#define AGI_NET_LINK_IMPL_H

#include <event2/util.h>
#include <sys/queue.h>

#include "net/link.h"
#include "net/link_hello.h"
#include "net/link_record.h"

struct event;

enum conn_state { CONN_DIALLING, CONN_SHAKING, CONN_UP, CONN_LEAVING, CONN_DEAD };

struct conn {
	struct agi_links *l;
	enum conn_state state;
	bool is_dialled;
	bool has_got_bye; /* the peer's goodbye (mark) has come; ours is queued: LEAVING */
	bool is_blocked;  /* waits for the socket to take more */
	bool is_dirty;    /* in l->dirty */
	bool is_active;   /* something passed since the timer last looked */
	uint8_t quiet_checks;
	enum agi_chan chan;
	struct agi_id peer;     /* proven once UP; before that: asked for, or zero */
	struct agi_addr remote; /* dialled address, or where the connection came from */
	int fd;
	struct event *rd, *wr, *timer;
	struct agi_hello *hello; /* SHAKING */
	struct agi_noise_cipher send, recv;
	struct agi_outbox out;
	struct agi_inbox in;
	struct agi_buf part; /* beginning of a record or handshake message */
	enum agi_err err;    /* DEAD */
	struct agi_why why;
	TAILQ_ENTRY(conn) link;    /* l->all or l->dead */
	TAILQ_ENTRY(conn) shaking; /* l->shaking: inbound, SHAKING */
	STAILQ_ENTRY(conn) dirty;
	LIST_ENTRY(conn) by_peer, by_addr;
	bool is_in_peers, is_in_addrs, is_in_shaking;
};
TAILQ_HEAD(conn_list, conn);
STAILQ_HEAD(conn_queue, conn);
LIST_HEAD(conn_bucket, conn);

struct agi_links {
	struct event_base *base;
	struct event *turn;
	struct agi_links_handlers handlers;
	void *ctx;
	struct agi_link_keys *keys; /* guarded memory */
	uint32_t handshake_timeout_ms, idle_timeout_ms, links_max, shaking_max;
	uint8_t channels;
	struct conn_list all, dead, shaking;
	uint32_t n_all, n_shaking;
	struct conn_queue dirty[AGI_CHAN_COUNT];
	struct conn_bucket *peers; /* UP, by (peer, chan) */
	struct conn_bucket *addrs; /* dialled and not LEAVING, by (addr, chan) */
	uint32_t buckets_mask;
	uint64_t hash_seed;
	struct agi_record_pool pool;
	size_t queued_bytes; /* of all outboxes */
	uint8_t *scratch;    /* one read, and the beginning of a record before it */
	struct agi_links_stats stats;
	int busy; /* callbacks of ours on the stack */
	bool is_freed;
};
enum { LINK_SCRATCH_BYTES = 2 * AGI_RECORD_WIRE_MAX };

/* --- link.c ---------------------------------------------------------------------------- */
/* Around every libevent callback. links_exit may free l. */
void links_enter(struct agi_links *l);
void links_exit(struct agi_links *l);
static inline bool links_has(const struct agi_links *l, enum agi_chan chan)
{
	return l->channels >> chan & 1;
}
void links_wake(struct agi_links *l); /* the turn event runs before the loop sleeps */

/* --- link_table.c ---------------------------------------------------------------------- */
AGI_MUST_USE enum agi_err table_init(struct agi_links *l);
void table_free(struct agi_links *l);
void table_add_peer(struct conn *c);
void table_add_addr(struct conn *c);
void table_remove(struct conn *c);
/* The newest UP link, or NULL. */
struct conn *table_find_peer(const struct agi_links *l, const struct agi_id *peer,
			     enum agi_chan chan);
/* The oldest UP link to c's peer on its channel, when there are more than AGI_LINK_TWINS_MAX. */
struct conn *table_surplus(const struct conn *c);
/* A dial in progress for exactly this peer (zero: whoever answers; then an UP one that was dialled
 * at addr is found too). */
struct conn *table_find_dial(const struct agi_links *l, const struct agi_id *peer,
			     const struct agi_addr *addr, enum agi_chan chan);

/* --- link_conn.c ----------------------------------------------------------------------- */
/* FULL (too many links or descriptors), UNREACHABLE, NOMEM. */
AGI_MUST_USE enum agi_err conn_dial(struct agi_links *l, const struct agi_id *peer,
				    const struct agi_addr *addr, enum agi_chan chan,
				    struct conn **out);
/* Takes fd, also on error. */
AGI_MUST_USE enum agi_err conn_accept(struct agi_links *l, int fd, const struct agi_addr *remote);
/* Says goodbye: what is queued still goes out. */
void conn_leave(struct conn *c);
/* To be reported and freed by the turn event. */
void conn_fail(struct conn *c, enum agi_err err, const char *fmt, ...) AGI_PRINTF(3, 4);
void conn_free(struct conn *c);
/* Its socket goes to the set that has this channel; c is gone. */
void conn_give_away(struct conn *c, enum agi_chan chan);
/* The socket tells when so many bytes are here. */
void conn_low_water(struct conn *c, int bytes);
void conn_set_timer(struct conn *c, uint32_t ms);
void conn_unlist(struct conn *c); /* from every table and queue but l->all */
void conn_drop_hello(struct conn *c);
void conn_mark_dirty(struct conn *c); /* to be flushed by the turn event */
/* LEAVING ends when both have said goodbye and ours is out. */
void conn_end_if_left(struct conn *c);

/* --- link_io.c ------------------------------------------------------------------------- */
AGI_MUST_USE enum agi_err conn_put(struct conn *c, struct agi_str message);
void conn_flush(struct conn *c);
void conn_want_write(struct conn *c);
/* End of file or a broken connection, reported as what it means at this point. */
void conn_lost(struct conn *c, const char *how);
void conn_read_cb(evutil_socket_t fd, short what, void *arg);
void conn_write_cb(evutil_socket_t fd, short what, void *arg);

#endif
