/* SPDX-License-Identifier: Apache-2.0 */
#include "net/pb_scan.h"

#include "net/pb.h"

const uint8_t *agi_pb_read_varint(struct agi_pb_span s, uint64_t *out)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 70 && s.p < s.end; shift += 7) {
		uint8_t c = *s.p++;

		if (shift < 64)
			v |= (uint64_t)(c & 0x7f) << shift;
		if (c < 0x80) {
			*out = v;
			return s.p;
		}
	}
	return NULL;
}

uint64_t agi_pb_read_le(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = bytes; i-- > 0;)
		v = v << 8 | p[i];
	return v;
}

const uint8_t *agi_pb_read_tag(struct agi_pb_span s, struct agi_pb_field *f, const char **what)
{
	uint64_t tag;
	const uint8_t *p;

	if (s.p < s.end && *s.p < 0x80) {
		tag = *s.p;
		p = s.p + 1;
	} else {
		p = agi_pb_read_varint(s, &tag);
		if (!p || p - s.p > 5 || tag > UINT32_MAX) {
			*what = "a field's tag is cut short or too long";
			return NULL;
		}
	}
	f->number = (uint32_t)(tag >> 3);
	f->wire = tag & 7;
	if (f->number == 0 || f->wire > AGI_PB_WIRE_32) {
		*what = f->number == 0 ? "field number 0" : "wire type 6 or 7";
		return NULL;
	}
	return p;
}

static const uint8_t *skip_group(struct agi_pb_span s, uint32_t number, int depth,
				 const char **what);

const uint8_t *agi_pb_read_value(struct agi_pb_span s, struct agi_pb_field *f, int depth,
				 const char **what)
{
	const uint8_t *p = NULL;
	size_t left = (size_t)(s.end - s.p);

	*what = "cut short";
	switch (f->wire) {
	case AGI_PB_WIRE_VARINT:
		p = agi_pb_read_varint(s, &f->v);
		break;
	case AGI_PB_WIRE_64:
	case AGI_PB_WIRE_32: {
		unsigned bytes = f->wire == AGI_PB_WIRE_64 ? 8 : 4;

		if (left >= bytes) {
			f->v = agi_pb_read_le(s.p, bytes);
			p = s.p + bytes;
		}
		break;
	}
	case AGI_PB_WIRE_BYTES:
		p = agi_pb_read_varint(s, &f->v);
		p = p && f->v <= (uint64_t)(s.end - p) ? p + f->v : NULL;
		break;
	case AGI_PB_WIRE_GROUP:
		p = skip_group(s, f->number, depth, what);
		break;
	default:
		*what = "a group ends that has not begun";
	}
	f->value = (struct agi_pb_span){s.p, p};
	return p;
}

/* Reads to the end of a group and past it. */
static const uint8_t *skip_group(struct agi_pb_span s, uint32_t number, int depth,
				 const char **what)
{
	if (depth >= AGI_PB_DEPTH_MAX) {
		*what = "nested more than 100 deep";
		return NULL;
	}
	while (s.p < s.end) {
		struct agi_pb_field f;
		const uint8_t *p = agi_pb_read_tag(s, &f, what);

		if (p && f.wire == AGI_PB_WIRE_GROUP_END) {
			*what = "a group ends with another's number";
			return f.number == number ? p : NULL;
		}
		p = p ? agi_pb_read_value((struct agi_pb_span){p, s.end}, &f, depth + 1, what)
		      : NULL;
		if (!p)
			return NULL;
		s.p = p;
	}
	*what = "a group does not end";
	return NULL;
}

bool agi_pb_count_packed(struct agi_pb_span s, uint8_t wire, size_t *out)
{
	size_t n = (size_t)(s.end - s.p), each = wire == AGI_PB_WIRE_64 ? 8 : 4;

	if (wire != AGI_PB_WIRE_VARINT) {
		*out = n / each;
		return n % each == 0;
	}
	*out = 0;
	for (const uint8_t *p = s.p; p < s.end; p++)
		*out += *p < 0x80;
	return n == 0 || s.end[-1] < 0x80;
}
