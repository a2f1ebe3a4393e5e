/* SPDX-License-Identifier: Apache-2.0 */
#include "base/token.h"

#include <sodium.h>

static const char prefix[] = "agi_";
enum { PREFIX_BYTES = sizeof prefix - 1, RANDOM_BYTES = 32 };
static const uint8_t purpose[] = "agihpc bearer token 1";

void agi_token_make(char out[AGI_TOKEN_BYTES + 1])
{
	uint8_t random[RANDOM_BYTES];

	randombytes_buf(random, sizeof random);
	memcpy(out, prefix, PREFIX_BYTES);
	sodium_bin2base64(out + PREFIX_BYTES, AGI_TOKEN_BYTES + 1 - PREFIX_BYTES, random,
			  sizeof random, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	sodium_memzero(random, sizeof random);
}

bool agi_token_hash(uint8_t out[AGI_TOKEN_HASH_BYTES], struct agi_str token)
{
	if (token.n != AGI_TOKEN_BYTES || !agi_str_has_prefix(token, AGI_STR("agi_")))
		return false;
	crypto_generichash(out, AGI_TOKEN_HASH_BYTES, (const uint8_t *)token.p, token.n, purpose,
			   sizeof purpose - 1);
	return true;
}
