/* SPDX-License-Identifier: Apache-2.0 */
#include "net/pairs.h"

/* u16 name length, u32 value length, name, value; repeated */
enum { PAIR_BYTES = 6 };

void agi_pairs_put(struct agi_buf *b, struct agi_str name, struct agi_str value)
{
	uint8_t *to = agi_buf_reserve(b, PAIR_BYTES + name.n + value.n);
	uint16_t nn = (uint16_t)name.n;
	uint32_t vn = (uint32_t)value.n;

	if (!to)
		return;
	memcpy(to, &nn, 2);
	memcpy(to + 2, &vn, 4);
	memcpy(to + PAIR_BYTES, name.p, name.n);
	if (value.n)
		memcpy(to + PAIR_BYTES + name.n, value.p, value.n);
	b->n += PAIR_BYTES + name.n + value.n;
}

bool agi_pairs_next(const struct agi_buf *b, size_t *at, struct agi_str *name,
		    struct agi_str *value)
{
	uint16_t nn;
	uint32_t vn;

	if (*at >= b->n)
		return false;
	memcpy(&nn, b->p + *at, 2);
	memcpy(&vn, b->p + *at + 2, 4);
	*name = (struct agi_str){(const char *)b->p + *at + PAIR_BYTES, nn};
	*value = (struct agi_str){name->p + nn, vn};
	*at += PAIR_BYTES + nn + vn;
	return true;
}
