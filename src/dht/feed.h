/* SPDX-License-Identifier: Apache-2.0
 * A member's part in watches: feeds. Private to src/dht.
 *
 * A feed belongs to a watch of another node (or of this one) and names slots. Every write of a matching key of those
 * slots that is on the disk is told to it: the key and the version, not the value; several writes of a key between
 * two messages are told once. What cannot be told is given up slot by slot, and that is told: the slot moved to
 * other members, or more keys changed than AGI_FEED_KEYS. Messages go one at a time, each answered; when one is not, the
 * feed ends. So whoever keeps hearing that the feed is known, and was told of no lost slot, has missed nothing.
 *
 *   WATCH ──▶ known ──CHANGED unanswered, no WATCH for AGI_FEED_IDLE_MS──▶ gone */
#ifndef AGI_DHT_FEED_H
#define AGI_DHT_FEED_H

#include "dht/state.h"

/* What is asked of a member: by WATCH, for the first time and then to keep it. */
struct agi_feed_ask {
	uint64_t watch;        /* chosen by the asker, unique among its own */
	bool is_exact, is_end; /* is_end: the feed is no longer needed */
	struct agi_str ns, prefix;
	struct agi_cur slots;  /* to be added: be32 slot, be64 epoch each */
};
void agi_feed_ask_put(struct agi_buf *b, const struct agi_feed_ask *ask, struct agi_str slots);

/* WATCHED. */
struct agi_feed_state {
	bool is_known;         /* it was there before this request */
	bool is_clean;         /* nothing waits to be told */
	struct agi_cur lost;   /* be32 slots that are not, or no longer, looked at */
};
AGI_MUST_USE enum agi_err agi_feed_state_open(struct agi_feed_state *s, const struct agi_msg *m);

/* CHANGED. */
struct agi_feed_change {
	uint32_t slot;
	struct agi_str key;
	struct agi_version version; /* as a get answers it */
};
struct agi_feed_news {
	uint64_t watch;
	struct agi_cur lost;    /* be32 slots */
	struct agi_cur changes;
};
AGI_MUST_USE enum agi_err agi_feed_news_open(struct agi_feed_news *n, const struct agi_msg *m);
bool agi_feed_news_next(struct agi_feed_news *n, struct agi_feed_change *out);

void agi_feed_on_watch(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m);
/* This node does not answer for the slot any more, or not as a member of the view it was asked in. */
void agi_feeds_moved(struct agi_dht *d, uint32_t slot);
/* Once the number of slots is known. */
AGI_MUST_USE enum agi_err agi_feeds_init(struct agi_dht *d);
void agi_feeds_free(struct agi_dht *d);

/* --- for rpc.c: every storage request passes by --- */
struct agi_feed_note;
/* What is to be told when this write is done; NULL when nothing. */
struct agi_feed_note *agi_feed_note_new(struct agi_dht *d, const struct agi_storage_req *req);
void agi_feed_note_apply(struct agi_dht *d, const struct agi_feed_note *n, const struct agi_storage_done *done);
void agi_feed_note_free(struct agi_feed_note *n);

#endif
