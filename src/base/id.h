/* SPDX-License-Identifier: Apache-2.0
 * 256-bit identifiers and the XOR metric (Maymounkov & Mazières, Kademlia, 2002). */
#ifndef AGI_BASE_ID_H
#define AGI_BASE_ID_H

#include "base/hash.h"

enum { AGI_ID_BYTES = 32, AGI_ID_BITS = 256, AGI_ID_HEX = 65, AGI_ID_SHORT_HEX = 13 };

struct agi_id {
	uint8_t b[AGI_ID_BYTES]; /* most significant byte first */
};

static inline bool agi_id_eq(const struct agi_id *a, const struct agi_id *b)
{
	return memcmp(a->b, b->b, AGI_ID_BYTES) == 0;
}
static inline int agi_id_cmp(const struct agi_id *a, const struct agi_id *b)
{
	return memcmp(a->b, b->b, AGI_ID_BYTES);
}
bool agi_id_is_zero(const struct agi_id *a);
/* node_id = BLAKE2b-256(Ed25519 public key) */
void agi_id_of_pubkey(struct agi_id *out, const uint8_t pub[AGI_PUBKEY_BYTES]);
/* i-th virtual node = BLAKE2b-256(node_id ‖ le32(i)) */
void agi_id_of_vnode(struct agi_id *out, const struct agi_id *node, uint32_t i);
/* key_hash = BLAKE2b-256(namespace ‖ 0 ‖ key) */
void agi_id_of_key(struct agi_id *out, struct agi_str ns, struct agi_str key);
/* where provider records live: BLAKE2b-256("service/" ‖ name) */
void agi_id_of_service(struct agi_id *out, struct agi_str name);
void agi_id_xor(struct agi_id *out, const struct agi_id *a, const struct agi_id *b);
/* <0 when a is nearer to target than b, 0 when equal, >0 when farther */
int agi_id_cmp_distance(const struct agi_id *target, const struct agi_id *a, const struct agi_id *b);
/* number of leading zero bits of a XOR b; 256 when equal */
int agi_id_common_bits(const struct agi_id *a, const struct agi_id *b);
void agi_id_hex(char out[AGI_ID_HEX], const struct agi_id *a);
/* first 12 hex digits, for people */
void agi_id_short(char out[AGI_ID_SHORT_HEX], const struct agi_id *a);
AGI_MUST_USE enum agi_err agi_id_parse(struct agi_id *out, struct agi_str hex);

#endif
