/* SPDX-License-Identifier: Apache-2.0
 * Protocol Buffers wire format (protobuf.dev, "Encoding") without a schema: a writer into agi_buf and a
 * reader over borrowed bytes. For messages on hot paths, where generated code would allocate per field;
 * tests hold it against protobuf-c. Groups are not supported (proto3 has none). */
#ifndef AGI_NODE_PB_WIRE_H
#define AGI_NODE_PB_WIRE_H

#include "base/buf.h"

enum agi_pb_type { AGI_PB_VARINT = 0, AGI_PB_FIXED64 = 1, AGI_PB_BYTES = 2, AGI_PB_FIXED32 = 5 };

/* --- writer: proto3 rules, a zero or empty scalar is not written ------------------------------------ */
/* Written even when zero or empty: an element of a repeated field. */
void agi_pb_put_number(struct agi_buf *b, uint32_t field, uint64_t v);
void agi_pb_put_element(struct agi_buf *b, uint32_t field, struct agi_str s);
static inline void agi_pb_put_u64(struct agi_buf *b, uint32_t field, uint64_t v)
{
	if (v)
		agi_pb_put_number(b, field, v);
}
static inline void agi_pb_put_bool(struct agi_buf *b, uint32_t field, bool v)
{
	agi_pb_put_u64(b, field, v);
}
static inline void agi_pb_put_bytes(struct agi_buf *b, uint32_t field, struct agi_str s)
{
	if (s.n)
		agi_pb_put_element(b, field, s);
}
/* A nested message: begin, put its fields, end. width (1..5) is the bytes kept for its length, which
 * must be below 128^width; a short length is padded, as every decoder accepts. Nothing is moved. */
size_t agi_pb_begin(struct agi_buf *b, uint32_t field, unsigned width);
void agi_pb_end(struct agi_buf *b, size_t begun, unsigned width);

/* --- reader ----------------------------------------------------------------------------------------- */
struct agi_pb_field {
	uint32_t number;
	enum agi_pb_type type;
	uint64_t u;       /* VARINT, FIXED32, FIXED64 */
	struct agi_str s; /* BYTES; borrowed from the input */
};
/* The next field; false at the end, and (c->bad set) when the bytes are malformed. */
bool agi_pb_next(struct agi_cur *c, struct agi_pb_field *f);

#endif
