/* SPDX-License-Identifier: Apache-2.0 */
#include "base/id.h"

bool agi_id_is_zero(const struct agi_id *a)
{
	uint8_t any = 0;

	for (size_t i = 0; i < AGI_ID_BYTES; i++)
		any |= a->b[i];
	return any == 0;
}

static struct agi_str bytes(const void *p, size_t n) { return (struct agi_str){p, n}; }

void agi_id_of_pubkey(struct agi_id *out, const uint8_t pub[AGI_PUBKEY_BYTES])
{
	struct agi_str part = bytes(pub, AGI_PUBKEY_BYTES);

	agi_blake2b_256(out->b, &part, 1);
}

void agi_id_of_vnode(struct agi_id *out, const struct agi_id *node, uint32_t i)
{
	uint8_t le[4] = {(uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16), (uint8_t)(i >> 24)};
	struct agi_str parts[] = {bytes(node->b, AGI_ID_BYTES), bytes(le, 4)};

	agi_blake2b_256(out->b, parts, 2);
}

void agi_id_of_key(struct agi_id *out, struct agi_str ns, struct agi_str key)
{
	struct agi_str parts[] = {ns, bytes("", 1), key};

	agi_blake2b_256(out->b, parts, 3);
}

void agi_id_of_service(struct agi_id *out, struct agi_str name)
{
	struct agi_str parts[] = {AGI_STR("service/"), name};

	agi_blake2b_256(out->b, parts, 2);
}

void agi_id_xor(struct agi_id *out, const struct agi_id *a, const struct agi_id *b)
{
	for (size_t i = 0; i < AGI_ID_BYTES; i++)
		out->b[i] = a->b[i] ^ b->b[i];
}

int agi_id_cmp_distance(const struct agi_id *target, const struct agi_id *a, const struct agi_id *b)
{
	for (size_t i = 0; i < AGI_ID_BYTES; i++) {
		uint8_t da = target->b[i] ^ a->b[i], db = target->b[i] ^ b->b[i];

		if (da != db)
			return da < db ? -1 : 1;
	}
	return 0;
}

int agi_id_common_bits(const struct agi_id *a, const struct agi_id *b)
{
	for (int i = 0; i < AGI_ID_BYTES; i++) {
		uint8_t d = a->b[i] ^ b->b[i];

		if (d)
			return 8 * i + __builtin_clz((unsigned)d) - 24;
	}
	return AGI_ID_BITS;
}

void agi_id_hex(char out[AGI_ID_HEX], const struct agi_id *a) { agi_hex(out, a->b, AGI_ID_BYTES); }
void agi_id_short(char out[AGI_ID_SHORT_HEX], const struct agi_id *a) { agi_hex(out, a->b, 6); }

enum agi_err agi_id_parse(struct agi_id *out, struct agi_str hex)
{
	return agi_unhex(out->b, AGI_ID_BYTES, hex);
}
