/* SPDX-License-Identifier: Apache-2.0
 * Transport records of a link, without sockets: messages to records (outbox) and back (inbox).
 *
 * A record is a be16 length and that many bytes of ciphertext, tag included. The text of the
 * records is one stream: be32 length, message, be32 length, message … cut anywhere. A record
 * without text is a mark (what it means is the link's business). The key changes every
 * AGI_LINK_REKEY_RECORDS records.
 *
 * Text waits in the clear and is sealed in place just before it is written: so small messages share
 * a record, and messages may be queued before there is a key. */
#ifndef AGI_NET_LINK_RECORD_H
#define AGI_NET_LINK_RECORD_H

#include "base/limits.h"
#include "net/noise.h"

struct iovec;

enum {
	AGI_RECORD_MAX = AGI_NOISE_MESSAGE_MAX,
	AGI_RECORD_TEXT_MAX = AGI_RECORD_MAX - AGI_NOISE_TAG_BYTES,
	AGI_RECORD_WIRE_MAX = AGI_RECORD_MAX + 2,
	AGI_RECORD_POOL_MAX =
	    64 /* spare records kept: 4 MiB, what a loop turn of bulk transfer uses */
};

/* --- outbox ---------------------------------------------------------------------------- */
struct agi_record {
	struct agi_record *next;
	uint32_t n;       /* text bytes; wire bytes once sealed */
	uint32_t text;    /* text bytes, as counted in text_bytes */
	uint32_t written; /* wire bytes already gone */
	bool is_sealed, is_mark;
	uint8_t b[AGI_RECORD_WIRE_MAX]; /* text from b + 2 on, so that sealing moves nothing */
};

/* Spare records, shared by many outboxes of one thread. */
struct agi_record_pool {
	struct agi_record *spare;
	uint32_t n;
};
void agi_record_pool_free(struct agi_record_pool *p);

struct agi_outbox {
	struct agi_record *head, *tail;
	size_t text_bytes; /* queued and not yet wholly written */
};

/* Queues a message: all of it or, on NOMEM and TOO_LARGE (AGI_LINK_FRAME_MAX), nothing. */
AGI_MUST_USE enum agi_err agi_outbox_put(struct agi_outbox *o, struct agi_record_pool *pool,
					 struct agi_str message);
/* Queues a mark. */
AGI_MUST_USE enum agi_err agi_outbox_mark(struct agi_outbox *o, struct agi_record_pool *pool);
/* Queues bytes that go out as they are (handshake), before all text that is not sealed. n at most
 * AGI_RECORD_WIRE_MAX. */
AGI_MUST_USE enum agi_err agi_outbox_raw(struct agi_outbox *o, struct agi_record_pool *pool,
					 struct agi_str wire);
/* Forgets what agi_outbox_raw queued; only before any text is sealed. */
void agi_outbox_drop_raw(struct agi_outbox *o, struct agi_record_pool *pool);
/* Moves everything queued in from to the end of to. Only while nothing of from is sealed. */
void agi_outbox_move(struct agi_outbox *to, struct agi_outbox *from);
bool agi_outbox_is_empty(const struct agi_outbox *o);
/* Seals up to max records and says what to write; the number of entries filled. Without a cipher
 * only what agi_outbox_raw queued. FULL cannot come: the key changes long before nonces run out. */
size_t agi_outbox_gather(struct agi_outbox *o, struct agi_noise_cipher *c, struct iovec *iov,
			 size_t max);
/* n bytes of what was gathered have been written. */
void agi_outbox_written(struct agi_outbox *o, struct agi_record_pool *pool, size_t n);
void agi_outbox_free(struct agi_outbox *o, struct agi_record_pool *pool);

/* --- inbox ----------------------------------------------------------------------------- */
struct agi_inbox {
	struct agi_buf
	    part; /* beginning of a message that later records complete, length included */
};

/* Both return false to stop. A message is borrowed and lies in the bytes fed, or in the inbox. */
struct agi_inbox_sink {
	bool (*on_message)(void *ctx, struct agi_str message);
	bool (*on_mark)(void *ctx);
	void *ctx;
};

void agi_inbox_init(struct agi_inbox *in);
void agi_inbox_free(struct agi_inbox *in);
/* Takes the whole records among p[0..n), opening them in place; *used bytes are done with, the rest
 * is the beginning of a record: feed it again with what follows. AUTH for a record that was not
 * sealed by the peer, MALFORMED for one that is too short or a mark inside a message, TOO_LARGE for
 * a message above AGI_LINK_FRAME_MAX, NOMEM; the inbox is then spent. */
AGI_MUST_USE enum agi_err agi_inbox_feed(struct agi_inbox *in, struct agi_noise_cipher *c,
					 uint8_t *p, size_t n, size_t *used,
					 const struct agi_inbox_sink *sink, struct agi_why *why);
/* True between two messages. */
bool agi_inbox_is_between(const struct agi_inbox *in);

#endif
