/* SPDX-License-Identifier: Apache-2.0
 * The parts of "gRPC over HTTP2" that need no connection: timeouts, percent-encoding, mapping of
 * statuses, length-prefixed messages. */
#ifndef AGI_NET_GRPC_WIRE_H
#define AGI_NET_GRPC_WIRE_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "base/err.h"

enum {
	AGI_GRPC_PREFIX_BYTES = 5,  /* compressed flag, be32 length */
	AGI_GRPC_TIMEOUT_TEXT = 16, /* eight digits, a unit and the terminator fit */
	AGI_GRPC_MESSAGE_MAX = 1024 /* bytes of grpc-message before encoding; more is cut */
};

/* "100m" and so on into microseconds, rounded up, at most INT64_MAX. False for anything the grammar
 * (1 to 8 digits and one of n u m S M H) does not allow. */
AGI_MUST_USE bool agi_grpc_timeout_parse(struct agi_str text, uint64_t *out_us);
/* The shortest unit that holds the value in eight digits, rounded up. Returns the length. */
size_t agi_grpc_timeout_format(char out[AGI_GRPC_TIMEOUT_TEXT], uint64_t us);

/* grpc-message: bytes outside 0x20..0x7e and '%' become %XX. At most AGI_GRPC_MESSAGE_MAX bytes of
 * text are taken, cut between UTF-8 characters. */
void agi_grpc_percent_encode(struct agi_buf *out, struct agi_str text);
/* What is not a valid escape stays as it is (a decoder must not fail, says the specification). */
void agi_grpc_percent_decode(struct agi_buf *out, struct agi_str text);

/* "13" and so on; what is not a number 0..16 is UNKNOWN. */
enum agi_grpc_status agi_grpc_status_parse(struct agi_str text);
/* Of an answer without grpc-status (doc/http-grpc-status-mapping.md). */
enum agi_grpc_status agi_grpc_status_of_http(int http_status);
/* Of a RST_STREAM (doc/PROTOCOL-HTTP2.md, "Errors"). */
enum agi_grpc_status agi_grpc_status_of_h2(uint32_t error_code);

/* "application/grpc", alone or followed by '+' or ';'. */
bool agi_grpc_is_content_type(struct agi_str value);

/* Appends m with its prefix. False when it does not fit (out->err may be set); out is then of no
 * use. */
AGI_MUST_USE bool agi_grpc_put_message(struct agi_buf *out, const ProtobufCMessage *m);

/* --- length-prefixed messages out of a run of bytes ------------------------------------------ */
enum agi_grpc_read {
	AGI_GRPC_READ_MORE,       /* everything taken, the message is not whole yet */
	AGI_GRPC_READ_MESSAGE,    /* a message is whole; what is left of the input was not taken */
	AGI_GRPC_READ_TOO_LARGE,  /* message_bytes says what was announced; nothing of it is kept */
	AGI_GRPC_READ_COMPRESSED, /* the compressed flag is set (or is no flag) */
	AGI_GRPC_READ_NOMEM
};
struct agi_grpc_reader {
	uint8_t prefix[AGI_GRPC_PREFIX_BYTES];
	uint8_t prefix_bytes;   /* of the prefix that are here; 5 inside a message */
	uint32_t message_bytes; /* of the whole message, once the prefix is here */
	struct agi_buf message;
};
/* Takes from *in. After MESSAGE call agi_grpc_reader_next before feeding again; after an error do
 * not. */
enum agi_grpc_read agi_grpc_reader_feed(struct agi_grpc_reader *r, struct agi_str *in,
					uint32_t max_bytes);
void agi_grpc_reader_next(struct agi_grpc_reader *r);
/* True between messages: the stream may end here. */
static inline bool agi_grpc_reader_is_idle(const struct agi_grpc_reader *r)
{
	return r->prefix_bytes == 0;
}

#endif
