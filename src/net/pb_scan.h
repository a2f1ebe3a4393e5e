/* SPDX-License-Identifier: Apache-2.0
 * The protobuf wire format: fields out of a run of bytes, without knowing what they mean
 * (protobuf.dev/programming-guides/encoding). */
#ifndef AGI_NET_PB_SCAN_H
#define AGI_NET_PB_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum agi_pb_wire {
	AGI_PB_WIRE_VARINT = 0,
	AGI_PB_WIRE_64 = 1,
	AGI_PB_WIRE_BYTES = 2,
	AGI_PB_WIRE_GROUP = 3,
	AGI_PB_WIRE_GROUP_END = 4,
	AGI_PB_WIRE_32 = 5
};

struct agi_pb_span {
	const uint8_t *p, *end;
};

/* One field as it lies on the wire. */
struct agi_pb_field {
	uint32_t number;
	uint8_t wire;
	uint64_t v; /* varint, 64 bit, 32 bit; AGI_PB_WIRE_BYTES: the length */
	/* everything after the tag; for AGI_PB_WIRE_BYTES with the length, for groups with the end
	 */
	struct agi_pb_span value;
};

/* All of these return where they stopped, or NULL; *what then says what is malformed, for people.
 */

/* At most ten bytes; bits above the 64th are dropped. NULL when cut short or longer. */
const uint8_t *agi_pb_read_varint(struct agi_pb_span s, uint64_t *out);
/* A varint of at most five bytes and 32 bits, field number not 0, wire type up to 5. */
const uint8_t *agi_pb_read_tag(struct agi_pb_span s, struct agi_pb_field *f, const char **what);
/* The value of a field whose tag has been read. A group at depth levels of nesting may not take it
 * past AGI_PB_DEPTH_MAX; the end of a group that has not begun is malformed. */
const uint8_t *agi_pb_read_value(struct agi_pb_span s, struct agi_pb_field *f, int depth,
				 const char **what);

/* Little-endian; s has that many bytes. */
uint64_t agi_pb_read_le(const uint8_t *p, unsigned bytes);
/* How many values a packed run holds; false when it does not end with one. */
bool agi_pb_count_packed(struct agi_pb_span s, uint8_t wire, size_t *out);
/* The bytes of a field of AGI_PB_WIRE_BYTES, without their length. */
static inline struct agi_pb_span agi_pb_payload(const struct agi_pb_field *f)
{
	return (struct agi_pb_span){f->value.end - f->v, f->value.end};
}

#endif
