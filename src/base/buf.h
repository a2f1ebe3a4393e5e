/* SPDX-License-Identifier: Apache-2.0
 * Growable byte buffer (writer) and bounds-checked cursor (reader). The only code that indexes wire
 * bytes. Integers are big-endian unless the name says otherwise. */
#ifndef AGI_BASE_BUF_H
#define AGI_BASE_BUF_H

#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

/* --- writer: errors are sticky, checked once at the end ------------------------------------- */
struct agi_buf {
	uint8_t *p;
	size_t n;         /* bytes written */
	size_t cap;       /* bytes allocated */
	size_t max;       /* bytes allowed; 0 = AGI_BUF_MAX */
	enum agi_err err; /* first error: NOMEM or TOO_LARGE; later writes do nothing */
};

void agi_buf_init(struct agi_buf *b, size_t max_bytes);
void agi_buf_free(struct agi_buf *b);
/* Keeps the memory, forgets content and error. */
void agi_buf_reset(struct agi_buf *b);
/* Room for n more bytes at the end; NULL on error (sticky). Does not change b->n. */
uint8_t *agi_buf_reserve(struct agi_buf *b, size_t n);
/* Many small pieces go through this: inline, but for growing. */
static inline void agi_buf_put(struct agi_buf *b, const void *p, size_t n)
{
	uint8_t *to = b->p && !b->err && n <= b->cap - b->n ? b->p + b->n : agi_buf_reserve(b, n);

	if (!to || n == 0)
		return;
	memcpy(to, p, n);
	b->n += n;
}
static inline void agi_buf_put_str(struct agi_buf *b, struct agi_str s) { agi_buf_put(b, s.p, s.n); }
static inline void agi_buf_u8(struct agi_buf *b, uint8_t v) { agi_buf_put(b, &v, 1); }
static inline void agi_buf_u16(struct agi_buf *b, uint16_t v)
{
	agi_buf_put(b, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}
static inline void agi_buf_u32(struct agi_buf *b, uint32_t v)
{
	agi_buf_put(b, (uint8_t[]){(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v}, 4);
}
static inline void agi_buf_u64(struct agi_buf *b, uint64_t v)
{
	agi_buf_u32(b, (uint32_t)(v >> 32));
	agi_buf_u32(b, (uint32_t)v);
}
/* The bits of an IEEE 754 number, as an integer of that size. */
static inline void agi_buf_f32(struct agi_buf *b, float v)
{
	uint32_t bits;

	memcpy(&bits, &v, sizeof bits);
	agi_buf_u32(b, bits);
}
static inline void agi_buf_f64(struct agi_buf *b, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof bits);
	agi_buf_u64(b, bits);
}
/* be32 length, then the bytes */
void agi_buf_blob(struct agi_buf *b, struct agi_str s);
void agi_buf_printf(struct agi_buf *b, const char *fmt, ...) AGI_PRINTF(2, 3);
static inline struct agi_str agi_buf_str(const struct agi_buf *b)
{
	return (struct agi_str){(const char *)b->p, b->n};
}

/* --- reader: a short read sets bad and gives zeros / empty strings -------------------------- */
struct agi_cur {
	const uint8_t *p;
	size_t n; /* bytes left */
	bool bad;
};

static inline struct agi_cur agi_cur_of(struct agi_str s)
{
	return (struct agi_cur){(const uint8_t *)s.p, s.n, false};
}
/* Borrowed from the input. */
static inline struct agi_str agi_cur_take(struct agi_cur *c, size_t n)
{
	struct agi_str s = {(const char *)c->p, n};

	if (c->bad || n > c->n) {
		c->bad = true;
		return (struct agi_str){"", 0};
	}
	c->p += n;
	c->n -= n;
	return s;
}
void agi_cur_copy(struct agi_cur *c, void *to, size_t n); /* zero-filled when short */
uint8_t agi_cur_u8(struct agi_cur *c);
uint16_t agi_cur_u16(struct agi_cur *c);
uint32_t agi_cur_u32(struct agi_cur *c);
uint64_t agi_cur_u64(struct agi_cur *c);
static inline float agi_cur_f32(struct agi_cur *c)
{
	uint32_t bits = agi_cur_u32(c);
	float v;

	memcpy(&v, &bits, sizeof v);
	return v;
}
static inline double agi_cur_f64(struct agi_cur *c)
{
	uint64_t bits = agi_cur_u64(c);
	double v;

	memcpy(&v, &bits, sizeof v);
	return v;
}
struct agi_str agi_cur_blob(struct agi_cur *c);

#endif
