/* SPDX-License-Identifier: Apache-2.0
 * struct agi_msg to and from the wire: agihpc.overlay.v1.Envelope (proto/overlay.proto), one per link
 * message. The envelope also carries the safety plane's messages; those are opened here and decoded by
 * their owner.
 *
 * Encoding allocates nothing beyond the reused buffer. Decoding allocates nothing: byte strings point
 * into the payload, lists into the caller's scratch. Every length, count and range is checked against
 * limits.h: what comes out is safe to index, whoever sent it. What a value means is the core's business.
 *
 * Compatibility: unknown fields are ignored; enum agi_err and enum agi_msg_kind travel by number, so both
 * lists only ever grow at their end. */
#ifndef AGI_NODE_MSG_CODEC_H
#define AGI_NODE_MSG_CODEC_H

#include "base/buf.h"
#include "dht/msg.h"

enum {
	AGI_PROTOCOL_VERSION = 1,     /* what this node speaks */
	AGI_PROTOCOL_VERSION_MIN = 1, /* the oldest it accepts: the previous one, once there is one */
	AGI_CURSOR_MAX = 2048,        /* bytes of a page cursor: a namespace and a key with room to spare */
	AGI_WHY_MAX = 319,            /* bytes of a refusal's text (struct agi_why) */
	AGI_TRACE_ID_BYTES = 16
};

/* Envelope.body's field numbers. */
enum agi_envelope_body {
	AGI_BODY_DHT = 3,
	AGI_BODY_VOTE_REQUEST = 4,
	AGI_BODY_VOTE_REPLY = 5,
	AGI_BODY_EVAL_REQUEST = 6,
	AGI_BODY_EVAL_REPLY = 7,
	AGI_BODY_STOP_NOTICE = 8,
	AGI_BODY_AUDIT_APPEND = 9,
	AGI_BODY_AUDIT_ACK = 10,
	AGI_BODY_POLICY_NOTICE = 11,
	AGI_BODY_POLICY_ACK = 12,
	AGI_BODY_LAST = AGI_BODY_POLICY_ACK
};
struct agi_envelope {
	uint32_t version;
	struct agi_str trace_id;      /* empty or AGI_TRACE_ID_BYTES */
	enum agi_envelope_body kind;
	struct agi_str body;          /* the serialized body; borrowed from the payload */
};
/* MALFORMED + why; UNSUPPORTED for another protocol version or a body this node does not know. */
AGI_MUST_USE enum agi_err agi_envelope_open(struct agi_str payload, struct agi_envelope *out,
                                            struct agi_why *why);

/* Appends m as a whole envelope. Errors are b's (TOO_LARGE, NOMEM). */
void agi_msg_encode(struct agi_buf *b, const struct agi_msg *m);

/* Where the lists of a decoded message lie; used again by the next decode. */
struct agi_msg_scratch {
	struct agi_contact contacts[AGI_K];
	struct agi_item items[AGI_PAGE_ITEMS];
	struct agi_provider providers[AGI_PROVIDERS_MSG_MAX];
};
/* body: an envelope's, of kind AGI_BODY_DHT. *out is good until scratch or the payload changes.
 * MALFORMED, TOO_LARGE or UNSUPPORTED (unknown kind) + why; out->kind and out->rpc_id then hold what was
 * read of them, so that a request can be answered with REFUSED. */
AGI_MUST_USE enum agi_err agi_msg_decode(struct agi_str body, struct agi_msg_scratch *scratch,
                                         struct agi_msg *out, struct agi_why *why);

#endif
