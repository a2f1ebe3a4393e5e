/* SPDX-License-Identifier: Apache-2.0
 * The instances of one service as a node sees them, and the latest changes to them: what watches of the service are
 * told. Any number of readers, each with a cursor of fixed size; nobody is waited for. A reader that is AGI_SERVICE_CHANGES
 * behind, or comes with a token of another feed, begins anew: it is told to forget everything, and then everything.
 *
 *   reader:  all (in order of node and address, from `key` on) ──▶ changes (from `seq` on) ──too far behind──▶ all
 *
 * Whatever changes while a reader is told of all, it is told again afterwards: each change by itself says how an
 * instance is, so hearing it twice does no harm, and in the end a reader has what the feed has.
 * No I/O. One thread. */
#ifndef AGI_NODE_SERVICE_FEED_H
#define AGI_NODE_SERVICE_FEED_H

#include "dht/dht.h"

enum { AGI_FEED_TOKEN_BYTES = 16, AGI_FEED_LOAD_STEP = 100 /* thousandths: less is not worth telling */ };

struct agi_service_row {
	struct agi_id node;
	char address[AGI_ADDRESS_MAX + 1], zone[AGI_ZONE_MAX + 1];
	uint32_t rtt_us, load_milli, traits; /* rtt_us: as of the latest look, never a change by itself */
	uint64_t incarnation;
	bool is_stale;
};
enum agi_service_what { AGI_SERVICE_UP, AGI_SERVICE_CHANGED, AGI_SERVICE_DOWN };
struct agi_service_change {
	enum agi_service_what what;
	struct agi_service_row row;
};

struct agi_service_feed;
/* epoch: random; tokens of a feed of another epoch are not good here. */
AGI_MUST_USE enum agi_err agi_service_feed_new(uint64_t epoch, struct agi_service_feed **out);
/* NULL is allowed. */
void agi_service_feed_free(struct agi_service_feed *f);
/* How things are now; instances in any order, each pair of node and address once. NOMEM: nothing has happened. */
AGI_MUST_USE enum agi_err agi_service_feed_update(struct agi_service_feed *f, const struct agi_instance *instances,
                                                  size_t n);
size_t agi_service_feed_rows(const struct agi_service_feed *f);

/* Where a reader is. A copy is as good as it: one that was advanced is kept when what it brought was delivered. */
struct agi_service_cursor {
	uint64_t seq;   /* of the next change */
	bool is_all;    /* first all instances, after … */
	bool has_key;   /* … this one */
	struct agi_id node;
	char address[AGI_ADDRESS_MAX + 1];
	bool must_forget; /* not said yet */
};
/* token: may be empty, or anything a client sends. */
void agi_service_cursor_open(const struct agi_service_feed *f, struct agi_str token, struct agi_service_cursor *out);
/* Up to max of what the reader does not know; returns how many. *is_resync: it has to forget first;
 * *is_caught_up: that was all. */
size_t agi_service_cursor_next(const struct agi_service_feed *f, struct agi_service_cursor *c,
                               struct agi_service_change *out, size_t max, bool *is_resync, bool *is_caught_up);
/* False: in the middle of all instances there is no place to go on from. */
bool agi_service_cursor_token(const struct agi_service_feed *f, const struct agi_service_cursor *c,
                              uint8_t out[AGI_FEED_TOKEN_BYTES]);

#endif
