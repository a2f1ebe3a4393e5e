/* SPDX-License-Identifier: Apache-2.0
 * Inside watches: watch.c (life, marks, tokens), watch_look.c (who looks at which slot for it), watch_key.c (keys that
 * changed). Private to them.
 *
 * A watch has feeds (feed.h) at all living members of its slots. Of each slot, and each of its members, it knows
 *
 *   NONE ──WATCH──▶ ASKED ──WATCHED──▶ TO_READ ──SCAN──▶ READING ──what changed since the mark──▶ LIVE
 *     ▲                │                  ▲ │                │ the page ended before it              │
 *     │                │                  └─┼────────────────┴───────── a change could not be kept ──┤
 *     └────────────────┴────────────────────┴────────── refused, lost, host silent, other members ───┘
 *
 * A slot of n members is covered while n - majority + 1 of them are LIVE: every majority that acknowledges a write has one
 * of these. What a member had been given before its feed began is in the page that is read from it afterwards; what it
 * is given later it tells. So while all slots are covered no acknowledged write is missed, and what was missed
 * while one was not is found when it is again.
 *
 * What is found or told is only that a key changed. The key is then read, by a get of the watch's level, until
 * the get knows the version told, and what it gives goes to the client. Keys wait in a bounded table; a change that
 * finds it full puts its slot at that member back to TO_READ. So a slow client costs no memory, and sees the
 * newest state of each key later.
 *
 * The mark says: every write at or before it has gone to the client, or begun before the watch. For items it is a stamp
 * and follows the clock at a distance (LAG_MS and twice the skew that is let in). For registers it is a position for
 * each slot, as it was known LAG_MS ago: a write on its way by then has arrived. */
#ifndef AGI_DHT_WATCH_IMPL_H
#define AGI_DHT_WATCH_IMPL_H

#include "dht/feed.h"
#include "dht/inner.h"
#include "dht/page.h"
#include "dht/watch.h"

enum {
	AGI_WATCH_LAG_MS = 10000,
	AGI_WATCH_FETCHES = 64, /* views looked for at once */
	AGI_WATCH_READS = 16,   /* keys read at once */
	AGI_WATCH_RECENT = 1024 /* keys whose last version told is remembered */
};

enum agi_look { AGI_LOOK_NONE, AGI_LOOK_ASKED, AGI_LOOK_TO_READ, AGI_LOOK_READING, AGI_LOOK_LIVE };

struct agi_watched_slot {
	uint64_t epoch;         /* of the view whose members are asked; 0 = not known */
	uint8_t need, n_live;
};
/* Of registers: positions (page.h) of a slot. */
struct agi_watched_pos {
	uint64_t newest, turn, mark; /* known now, known at turn_us, sure */
};

struct agi_watched_host {
	struct agi_watch *w;
	struct agi_id id;
	uint8_t *look;          /* enum agi_look of each slot */
	uint32_t n_to_read, n_on; /* slots TO_READ; with a feed */
	struct agi_buf want;    /* be32 slot, be64 epoch: to be asked */
	struct agi_buf asked;   /* the same, on its way */
	uint64_t watch_rpc, page_rpc;
	uint64_t asked_us, asked_ms;         /* when the request on its way was sent; by the wall */
	uint64_t confirmed_us, confirmed_ms; /* all that it was given before has been told */
	uint64_t retry_us;      /* not before: it failed */
	bool is_known;          /* it has the feed */
	uint32_t page_slot;     /* reading goes on here … */
	struct agi_buf page_after; /* … behind this key */
	UT_hash_handle hh;
};

struct agi_watched_key {
	struct agi_watch *w;
	uint32_t slot, tries;
	struct agi_version wanted;
	uint64_t since_us, since_ms; /* when it was told first */
	uint64_t call;          /* the read on its way; 0 = none */
	struct agi_timer retry;
	size_t n;
	TAILQ_ENTRY(agi_watched_key) entry;
	UT_hash_handle hh;
	char key[];
};

struct agi_told {
	uint8_t hash[16];
	struct agi_version version;
};

struct agi_watch_fetch {
	struct agi_watch *w;
	struct agi_vwait wait;
};

/* What is still to be done before the client is told that it misses nothing. */
enum agi_watch_begin {
	AGI_BEGIN_NOW,     /* nothing of the past; registers: how far it is */
	AGI_BEGIN_INITIAL, /* everything that is there */
	AGI_BEGIN_SINCE    /* what changed since the mark; also whenever a slot is covered again */
};

struct agi_watch {
	struct agi_dht *d;
	uint64_t call_id, id;
	struct agi_str ns, key; /* in bytes */
	char *bytes;
	bool is_strong, is_prefix;
	bool skips_dead;        /* begins with what is there: what is deleted is no news */
	enum agi_watch_begin begin;
	bool is_caught_up;      /* and told so */
	bool is_paused;         /* the client takes no more for now */
	uint32_t first_slot, n_slots;
	struct agi_watched_slot *slots;
	struct agi_watched_pos *pos;    /* registers only */
	uint64_t mark, turn_us, turn_ms;
	uint32_t n_uncovered, told_uncovered;
	uint64_t uncovered_us;          /* since when n_uncovered is not what was told */
	struct agi_watched_host *hosts;
	struct agi_watch_fetch fetches[AGI_WATCH_FETCHES];
	uint64_t planned_us, fetched_us, hosts_seen; /* hosts.generation at the last plan */
	bool must_plan;
	struct agi_watched_key *keys;
	TAILQ_HEAD(, agi_watched_key) order; /* keys, oldest first */
	uint32_t n_reads;
	struct agi_told *told;
	uint32_t n_told;
	uint64_t token_us;
	size_t charged;
	struct agi_timer tick;
	UT_hash_handle hh;              /* by id */
};

/* --- watch.c --- */
/* True when the client took it. False: it will when agi_dht_watch_resume says so. */
bool agi_watch_send(struct agi_watch *w, const struct agi_event *ev);
/* Registers: a write of this position is known. */
void agi_watch_saw(struct agi_watch *w, uint32_t slot, uint64_t position);
/* From which position on the slot is to be read now. */
uint64_t agi_watch_since(const struct agi_watch *w, uint32_t slot);

/* --- watch_look.c --- */
/* Asks whoever is to be asked; often. */
void agi_watch_look(struct agi_watch *w);
/* Goes on reading pages, when there is room for what they bring. */
void agi_watch_read_pages(struct agi_watch *w);
void agi_watch_lost(struct agi_watch *w, struct agi_watched_host *h, uint32_t slot);
/* A change of this slot, told by this host, could not be kept. */
void agi_watch_read_again(struct agi_watch *w, struct agi_watched_host *h, uint32_t slot);
void agi_watch_look_free(struct agi_watch *w);

/* --- watch_key.c --- */
/* False when there is no room. */
bool agi_watch_key(struct agi_watch *w, uint32_t slot, struct agi_str key, const struct agi_version *version);
void agi_watch_read_keys(struct agi_watch *w);
bool agi_watch_has_room(const struct agi_watch *w);
/* The version the client is known to have, or NULL. */
const struct agi_version *agi_watch_told(const struct agi_watch *w, struct agi_str key);
/* Unless it is known to have a newer one. */
void agi_watch_set_told(struct agi_watch *w, struct agi_str key, const struct agi_version *version);
void agi_watch_keys_free(struct agi_watch *w);

#endif
