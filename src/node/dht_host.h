/* SPDX-License-Identifier: Apache-2.0
 * The shell around one core (dht/dht.h): feeds it events from links, store, timer and clients, and turns
 * its effects into messages, storage jobs, answers and log lines.
 *
 * Rule: an effect never calls the core back. What follows from one (a message to this node itself, a peer
 * that cannot be reached, a full storage queue, a call cancelled meanwhile) is queued and delivered as an
 * event of its own when the core has returned, at most TURN_EVENTS of them before other work of the loop
 * gets its turn.
 *
 * Life: agi_dht_host_new (loads what is stored) → _start → events → _stop → agi_dht_host_free. Links and
 * store belong to the caller and outlive it. One event loop. */
#ifndef AGI_NODE_DHT_HOST_H
#define AGI_NODE_DHT_HOST_H

#include "dht/dht.h"
#include "net/link.h"
#include "store/store.h"

struct event_base;
struct agi_log;
struct agi_dht_host;

struct agi_dht_host_cfg {
	struct agi_dht_cfg dht;
	struct event_base *base;
	struct agi_links *links;
	struct agi_store *store;
	struct agi_log *log; /* may be NULL */
	/* An operator's task for this node, told by another one. Must not call the host. NULL = there are none. */
	enum agi_err (*operate)(void *ctx, struct agi_str task, struct agi_buf *answer);
	void *operate_ctx;
};

struct agi_dht_host_stats {
	uint64_t messages_in[AGI_MSG_KIND_MAX], messages_out[AGI_MSG_KIND_MAX];
	uint64_t to_self;
	uint64_t decode_errors;   /* messages from peers that were not understood */
	uint64_t send_errors;     /* messages that could not be queued */
	uint64_t store_refused;   /* jobs the store's queue had no room for */
	uint64_t calls[AGI_CALL_KINDS];
	uint64_t calls_failed[AGI_CALL_KINDS];
	uint64_t events;          /* entries into the core */
	uint64_t slow_turns;      /* of them (with what followed) longer than AGI_SLOW_TURN_US */
	uint64_t longest_turn_us;
	uint64_t view_changes, members_up, members_down, dropped, slots_recovered; /* notes */
};
enum { AGI_SLOW_TURN_US = 10000 };

/* Reads META, VIEWS, REGISTRY and HINTS into the core. CORRUPT + why names the record that does not
 * decode; NOMEM, INVALID, IO. */
AGI_MUST_USE enum agi_err agi_dht_host_new(const struct agi_dht_host_cfg *cfg,
                                           struct agi_dht_host **out, struct agi_why *why);
void agi_dht_host_start(struct agi_dht_host *h);
/* Says goodbye; every open call is answered CLOSED. */
void agi_dht_host_stop(struct agi_dht_host *h);
/* NULL is allowed. Open calls are not answered. */
void agi_dht_host_free(struct agi_dht_host *h);

/* --- events ----------------------------------------------------------------------------------------- */
/* body: an envelope's of kind AGI_BODY_DHT. chan is where an answer that says "not understood" goes. */
void agi_dht_host_on_message(struct agi_dht_host *h, const struct agi_id *peer,
                             const struct agi_addr *remote, enum agi_chan chan, struct agi_str body);
/* A link broke or could not be made (agi_links_handlers.on_down). */
void agi_dht_host_on_down(struct agi_dht_host *h, const struct agi_id *peer,
                          const struct agi_addr *dialled, enum agi_traffic traffic, enum agi_err err);

/* --- client operations ------------------------------------------------------------------------------ */
/* May be called before agi_dht_host_call returns. res is borrowed. It must not start another call. */
typedef void agi_dht_reply_fn(void *arg, const struct agi_result *res);
/* fn is called exactly once unless the call is cancelled. Returns the id for agi_dht_host_cancel; 0 when it
 * has been answered already. */
uint64_t agi_dht_host_call(struct agi_dht_host *h, const struct agi_call *call, agi_dht_reply_fn *fn,
                           void *arg);
/* The same for a call that tells of events before its reply. False: not taken; agi_dht_host_resume goes on. */
typedef bool agi_dht_event_fn(void *arg, const struct agi_event *event);
uint64_t agi_dht_host_watch(struct agi_dht_host *h, const struct agi_call *call, agi_dht_event_fn *on_event,
                            agi_dht_reply_fn *fn, void *arg);
void agi_dht_host_resume(struct agi_dht_host *h, uint64_t id);
/* fn will not be called any more. Unknown ids and 0 are ignored. */
void agi_dht_host_cancel(struct agi_dht_host *h, uint64_t id);
/* As agi_dht_set_traits; unknown pairs are ignored. */
void agi_dht_host_set_traits(struct agi_dht_host *h, struct agi_str service, struct agi_str address,
                             uint32_t traits);
/* As agi_dht_set_health; unknown pairs are ignored. */
void agi_dht_host_set_health(struct agi_dht_host *h, struct agi_str service, struct agi_str address,
                             bool is_healthy, uint32_t load_milli);
/* As agi_dht_set_load; unknown pairs are ignored. */
void agi_dht_host_set_load(struct agi_dht_host *h, struct agi_str service, struct agi_str address, uint32_t load_milli);
void agi_dht_host_set_low(struct agi_dht_host *h, bool is_low);
/* The store has stopped writing, whether or not the core has met it yet. */
void agi_dht_host_set_read_only(struct agi_dht_host *h);
void agi_dht_host_follow(struct agi_dht_host *h, struct agi_str service);
/* As agi_dht_follow_for. */
AGI_MUST_USE enum agi_err agi_dht_host_follow_for(struct agi_dht_host *h, struct agi_str service, uint32_t ms);
/* Weight and zone of this host, configured anew. */
void agi_dht_host_set_place(struct agi_dht_host *h, uint32_t weight_milli, const char *zone);
void agi_dht_host_set_rebalance(struct agi_dht_host *h, uint64_t bytes_per_s, uint32_t slots);
void agi_dht_host_set_repair(struct agi_dht_host *h, uint32_t interval_ms, uint32_t bytes_per_s);
/* Other addresses to join by (names resolved anew). */
void agi_dht_host_set_bootstrap(struct agi_dht_host *h, const struct agi_addr *addrs, size_t n,
                                bool is_first_listed);

/* --- queries ---------------------------------------------------------------------------------------- */
/* For the core's queries only. */
const struct agi_dht *agi_dht_host_core(const struct agi_dht_host *h);
const struct agi_dht_host_stats *agi_dht_host_stats(const struct agi_dht_host *h);
/* The clock the core is driven with. */
struct agi_now agi_clock_now(void);

#endif
