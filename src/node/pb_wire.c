/* SPDX-License-Identifier: Apache-2.0 */
#include "node/pb_wire.h"

#include <assert.h>

enum { VARINT_MAX = 10, FIELD_MAX = 536870911 };

static inline size_t varint(uint8_t out[VARINT_MAX], uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		out[n++] = (uint8_t)(v | 0x80);
	out[n++] = (uint8_t)v;
	return n;
}

static inline void put_head(struct agi_buf *b, uint32_t field, enum agi_pb_type type, uint64_t v)
{
	uint8_t w[2 * VARINT_MAX];
	size_t n = varint(w, (uint64_t)field << 3 | type);

	n += varint(w + n, v);
	agi_buf_put(b, w, n);
}

void agi_pb_put_number(struct agi_buf *b, uint32_t field, uint64_t v)
{
	put_head(b, field, AGI_PB_VARINT, v);
}

void agi_pb_put_element(struct agi_buf *b, uint32_t field, struct agi_str s)
{
	put_head(b, field, AGI_PB_BYTES, s.n);
	agi_buf_put_str(b, s);
}

size_t agi_pb_begin(struct agi_buf *b, uint32_t field, unsigned width)
{
	uint8_t w[VARINT_MAX] = {0}; /* the tag, then room for the length */
	size_t n = varint(w, (uint64_t)field << 3 | AGI_PB_BYTES);

	assert(width >= 1 && width <= 5 && n + width <= sizeof w);
	agi_buf_put(b, w, n + width);
	return b->n;
}

void agi_pb_end(struct agi_buf *b, size_t begun, unsigned width)
{
	size_t n = b->n - begun;
	uint8_t *w = b->p + begun - width;

	if (b->err)
		return;
	assert(n < (size_t)1 << (7 * width));
	for (unsigned i = 0; i < width; i++, n >>= 7)
		w[i] = (uint8_t)((n & 0x7f) | (i + 1 < width ? 0x80 : 0));
}

/* --- reader ----------------------------------------------------------------------------------------- */
static bool fail(struct agi_cur *c)
{
	c->bad = true;
	c->n = 0;
	return false;
}

static bool take_long_varint(struct agi_cur *c, uint64_t *out)
{
	uint64_t v = 0;

	for (size_t i = 0; i < VARINT_MAX && i < c->n; i++) {
		v |= (uint64_t)(c->p[i] & 0x7f) << (7 * i);
		if (c->p[i] < 0x80) {
			c->p += i + 1;
			c->n -= i + 1;
			*out = v;
			return true;
		}
	}
	return fail(c);
}

/* Tags, lengths and most numbers have one byte. */
static inline bool take_varint(struct agi_cur *c, uint64_t *out)
{
	if (c->n == 0 || c->p[0] >= 0x80)
		return take_long_varint(c, out);
	*out = c->p[0];
	c->p++;
	c->n--;
	return true;
}

static bool take_fixed(struct agi_cur *c, size_t bytes, uint64_t *out)
{
	uint64_t v = 0;

	if (c->n < bytes)
		return fail(c);
	for (size_t i = 0; i < bytes; i++)
		v |= (uint64_t)c->p[i] << (8 * i);
	c->p += bytes;
	c->n -= bytes;
	*out = v;
	return true;
}

bool agi_pb_next(struct agi_cur *c, struct agi_pb_field *f)
{
	uint64_t tag, n;

	if (c->bad || c->n == 0 || !take_varint(c, &tag))
		return false;
	if (tag >> 3 == 0 || tag >> 3 > FIELD_MAX)
		return fail(c);
	*f = (struct agi_pb_field){.number = (uint32_t)(tag >> 3), .type = (enum agi_pb_type)(tag & 7)};
	switch (tag & 7) {
	case AGI_PB_VARINT:
		return take_varint(c, &f->u);
	case AGI_PB_FIXED64:
		return take_fixed(c, 8, &f->u);
	case AGI_PB_FIXED32:
		return take_fixed(c, 4, &f->u);
	case AGI_PB_BYTES:
		if (!take_varint(c, &n) || n > c->n)
			return fail(c);
		f->s = agi_cur_take(c, (size_t)n);
		return true;
	default:
		return fail(c);
	}
}
