/* SPDX-License-Identifier: Apache-2.0
 * Bearer tokens: 256 random bits, written "agi_" and 43 characters of base64 (RFC 4648 5, without
 * padding). Who checks one keeps only its hash: a fast one is enough, since nobody can guess 256
 * random bits (docs/decisions/0005-tokens.md). */
#ifndef AGI_BASE_TOKEN_H
#define AGI_BASE_TOKEN_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum {
	AGI_TOKEN_BYTES = 47, /* without a terminator */
	AGI_TOKEN_HASH_BYTES = 32
};

/* From the system's randomness; terminated. */
void agi_token_make(char out[AGI_TOKEN_BYTES + 1]);
/* BLAKE2b-256, keyed with a name of its own, so that no other hash of the system can be one. False
 * for what does not have a token's form. */
bool agi_token_hash(uint8_t out[AGI_TOKEN_HASH_BYTES], struct agi_str token);

#endif
