/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "base/str.h"

/* Bytes that follow a lead byte, and the range its first continuation byte must lie in
 * (Unicode 15.0, table 3-7). Returns 0 for a byte that cannot lead. */
static size_t lead(uint8_t c, uint8_t *lo, uint8_t *hi)
{
	*lo = 0x80;
	*hi = 0xbf;
	if (c >= 0xc2 && c <= 0xdf)
		return 1;
	if (c >= 0xe0 && c <= 0xef) {
		if (c == 0xe0)
			*lo = 0xa0;
		if (c == 0xed)
			*hi = 0x9f;
		return 2;
	}
	if (c >= 0xf0 && c <= 0xf4) {
		if (c == 0xf0)
			*lo = 0x90;
		if (c == 0xf4)
			*hi = 0x8f;
		return 3;
	}
	return 0;
}

bool agi_utf8_is_valid(struct agi_str s)
{
	const uint8_t *p = (const uint8_t *)s.p;

	for (size_t i = 0; i < s.n; i++) {
		uint8_t lo, hi;
		size_t follow;

		if (p[i] < 0x80)
			continue;
		follow = lead(p[i], &lo, &hi);
		if (follow == 0 || s.n - i <= follow || p[i + 1] < lo || p[i + 1] > hi)
			return false;
		for (size_t k = 2; k <= follow; k++)
			if ((p[i + k] & 0xc0) != 0x80)
				return false;
		i += follow;
	}
	return true;
}
