/* SPDX-License-Identifier: Apache-2.0
 * The parts of "gRPC over HTTP2" that need no connection: timeouts, percent-encoding, mapping of
 * statuses, length-prefixed messages and their compression. */
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

/* google.rpc.Status with a google.rpc.ErrorInfo of this domain, for grpc-status-details-bin: a
 * client sees the error's name without taking the text apart. With a google.rpc.RetryInfo when
 * retry_ms is not 0. Empty when out of memory. */
void agi_grpc_put_details(struct agi_buf *out, enum agi_grpc_status status, struct agi_str message,
			  struct agi_str reason, uint32_t retry_ms);

/* --- encodings (grpc_message.c) -------------------------------------------------------------- */
enum agi_grpc_encoding { AGI_GRPC_IDENTITY, AGI_GRPC_GZIP, AGI_GRPC_DEFLATE, AGI_GRPC_ENCODINGS };
#define AGI_GRPC_ACCEPT_ENCODING "identity,deflate,gzip"
enum {
	AGI_GRPC_COMPRESS_MAX = 1 << 20
}; /* longer messages go as they are: deflating them would hold the loop */

const char *agi_grpc_encoding_name(enum agi_grpc_encoding e);
/* AGI_GRPC_ENCODINGS for one that is not known. */
enum agi_grpc_encoding agi_grpc_encoding_parse(struct agi_str name);
/* Whether a grpc-accept-encoding list names it. */
bool agi_grpc_accepts(struct agi_str list, enum agi_grpc_encoding e);

/* Compresses messages; one may serve many calls. NULL when out of memory. */
struct agi_grpc_packer;
struct agi_grpc_packer *agi_grpc_packer_new(void);
void agi_grpc_packer_free(struct agi_grpc_packer *z);

/* Appends m with its prefix. False when it does not fit (out->err may be set); out is then as it
 * was. */
AGI_MUST_USE bool agi_grpc_put_message(struct agi_buf *out, const ProtobufCMessage *m);
/* The same for a message that is bytes already. */
AGI_MUST_USE bool agi_grpc_put_bytes(struct agi_buf *out, struct agi_str message);
/* The same as gzip, when that is smaller and the message is not too long for it. */
AGI_MUST_USE bool agi_grpc_put_packed(struct agi_buf *out, const ProtobufCMessage *m,
				      struct agi_grpc_packer *z);
AGI_MUST_USE bool agi_grpc_put_packed_bytes(struct agi_buf *out, struct agi_str message,
					    struct agi_grpc_packer *z);

/* --- length-prefixed messages out of a run of bytes ------------------------------------------ */
enum agi_grpc_read {
	AGI_GRPC_READ_MORE,      /* everything taken, the message is not whole yet */
	AGI_GRPC_READ_MESSAGE,   /* a message is whole; what is left of the input was not taken */
	AGI_GRPC_READ_TOO_LARGE, /* message_bytes says what was announced; nothing of it is kept */
	AGI_GRPC_READ_TOO_LARGE_UNPACKED, /* as above, seen while unpacking; message_bytes is of no
					     use */
	AGI_GRPC_READ_COMPRESSED, /* the compressed flag is set without an encoding (or is no flag)
				   */
	AGI_GRPC_READ_BAD,        /* what is there does not unpack */
	AGI_GRPC_READ_NOMEM
};
struct agi_grpc_reader {
	enum agi_grpc_encoding
	    encoding; /* of messages with the compressed flag; set before the first byte */
	uint8_t prefix[AGI_GRPC_PREFIX_BYTES];
	uint8_t prefix_bytes;   /* of the prefix that are here; 5 inside a message */
	uint32_t message_bytes; /* of the whole message on the wire, once the prefix is here */
	uint32_t taken_bytes;   /* of those */
	struct agi_buf message; /* unpacked */
	struct z_stream_s *z;   /* while a compressed message comes */
	bool is_unpacked;       /* its end has been seen */
};
/* Takes from *in. After MESSAGE call agi_grpc_reader_next before feeding again; after an error do
 * not. A message never has more than max_bytes, neither as announced nor unpacked: what is beyond
 * is not written anywhere. */
enum agi_grpc_read agi_grpc_reader_feed(struct agi_grpc_reader *r, struct agi_str *in,
					uint32_t max_bytes);
void agi_grpc_reader_next(struct agi_grpc_reader *r);
void agi_grpc_reader_free(struct agi_grpc_reader *r);
/* True between messages: the stream may end here. */
static inline bool agi_grpc_reader_is_idle(const struct agi_grpc_reader *r)
{
	return r->prefix_bytes == 0;
}

#endif
