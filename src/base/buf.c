/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"

void agi_buf_init(struct agi_buf *b, size_t max_bytes)
{
	*b = (struct agi_buf){.max = max_bytes ? max_bytes : AGI_BUF_MAX};
}

void agi_buf_free(struct agi_buf *b)
{
	free(b->p);
	*b = (struct agi_buf){.max = b->max};
}

void agi_buf_reset(struct agi_buf *b)
{
	b->n = 0;
	b->err = AGI_OK;
}

uint8_t *agi_buf_reserve(struct agi_buf *b, size_t n)
{
	size_t max = b->max ? b->max : AGI_BUF_MAX;

	if (b->err)
		return NULL;
	if (n > max - b->n) {
		b->err = AGI_E_TOO_LARGE;
		return NULL;
	}
	if (b->n + n > b->cap) {
		size_t cap = b->cap ? b->cap : 256;
		uint8_t *p;

		while (cap < b->n + n)
			cap *= 2;
		cap = cap < max ? cap : max; /* room within cap is allowed: agi_buf_put relies on it */
		p = realloc(b->p, cap);
		if (!p) {
			b->err = AGI_E_NOMEM;
			return NULL;
		}
		b->p = p;
		b->cap = cap;
	}
	return b->p ? b->p + b->n : (uint8_t *)"";
}

void agi_buf_blob(struct agi_buf *b, struct agi_str s)
{
	if (s.n > UINT32_MAX) {
		if (!b->err)
			b->err = AGI_E_TOO_LARGE;
		return;
	}
	agi_buf_u32(b, (uint32_t)s.n);
	agi_buf_put_str(b, s);
}

void agi_buf_printf(struct agi_buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;
	uint8_t *to;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	to = agi_buf_reserve(b, (size_t)n + 1); /* room for vsnprintf's terminator, not counted */
	if (!to)
		return;
	va_start(ap, fmt);
	vsnprintf((char *)to, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->n += (size_t)n;
}

void agi_cur_copy(struct agi_cur *c, void *to, size_t n)
{
	struct agi_str s = agi_cur_take(c, n);

	memset(to, 0, n);
	if (s.n)
		memcpy(to, s.p, s.n);
}

static uint64_t get_be(struct agi_cur *c, size_t bytes)
{
	struct agi_str s = agi_cur_take(c, bytes);
	uint64_t v = 0;

	for (size_t i = 0; i < s.n; i++)
		v = v << 8 | (uint8_t)s.p[i];
	return v;
}

uint8_t agi_cur_u8(struct agi_cur *c) { return (uint8_t)get_be(c, 1); }
uint16_t agi_cur_u16(struct agi_cur *c) { return (uint16_t)get_be(c, 2); }
uint32_t agi_cur_u32(struct agi_cur *c) { return (uint32_t)get_be(c, 4); }
uint64_t agi_cur_u64(struct agi_cur *c) { return get_be(c, 8); }

struct agi_str agi_cur_blob(struct agi_cur *c)
{
	uint32_t n = agi_cur_u32(c);

	return agi_cur_take(c, n);
}
