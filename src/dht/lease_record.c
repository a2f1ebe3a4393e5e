/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/lease_record.h"

enum { RECORD_VERSION = 1 };

void agi_lease_key(uint8_t out[8], uint64_t id)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(id >> (56 - 8 * i));
}

void agi_lease_encode(struct agi_buf *b, const struct agi_lease *l)
{
	agi_buf_u8(b, RECORD_VERSION);
	agi_buf_u64(b, l->ttl_ms);
	agi_buf_u64(b, l->renewed_ms);
	agi_buf_put_str(b, l->holder);
}

enum agi_err agi_lease_decode(struct agi_lease *out, struct agi_str key, struct agi_str value)
{
	struct agi_cur k = agi_cur_of(key), c = agi_cur_of(value);
	uint8_t version = agi_cur_u8(&c);

	*out = (struct agi_lease){.id = agi_cur_u64(&k)};
	out->ttl_ms = agi_cur_u64(&c);
	out->renewed_ms = agi_cur_u64(&c);
	out->holder = agi_cur_take(&c, c.n);
	if (k.bad || k.n || c.bad || version != RECORD_VERSION || out->ttl_ms < AGI_LEASE_TTL_MIN_MS ||
	    out->ttl_ms > AGI_LEASE_TTL_MAX_MS)
		return AGI_E_CORRUPT;
	return AGI_OK;
}
