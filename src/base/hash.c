/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <assert.h>
#include <sodium.h>

static_assert(crypto_shorthash_siphashx24_KEYBYTES == AGI_SIP_KEY_BYTES, "SipHash key");
static_assert(crypto_shorthash_siphashx24_BYTES == AGI_SIP_BYTES, "SipHash output");

enum agi_err agi_crypto_init(void) { return sodium_init() < 0 ? AGI_E_INTERNAL : AGI_OK; }

void agi_blake2b_256(uint8_t out[32], const struct agi_str *parts, size_t n)
{
	crypto_generichash_state st;

	crypto_generichash_init(&st, NULL, 0, 32);
	for (size_t i = 0; i < n; i++)
		crypto_generichash_update(&st, (const uint8_t *)parts[i].p, parts[i].n);
	crypto_generichash_final(&st, out, 32);
}

void agi_sha256(uint8_t out[32], struct agi_str data)
{
	crypto_hash_sha256(out, (const uint8_t *)data.p, data.n);
}

void agi_siphash(uint8_t out[AGI_SIP_BYTES], const uint8_t key[AGI_SIP_KEY_BYTES], struct agi_str data)
{
	crypto_shorthash_siphashx24(out, (const uint8_t *)(data.p ? data.p : ""), data.n, key);
}

void agi_hex(char *out, const uint8_t *p, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * n] = '\0';
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

enum agi_err agi_unhex(uint8_t *out, size_t n, struct agi_str hex)
{
	if (hex.n != 2 * n)
		return AGI_E_INVALID;
	for (size_t i = 0; i < hex.n; i++)
		if (digit_value(hex.p[i]) < 0)
			return AGI_E_INVALID;
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(digit_value(hex.p[2 * i]) << 4 | digit_value(hex.p[2 * i + 1]));
	return AGI_OK;
}

void agi_keypair_of_seed(const uint8_t seed[32], uint8_t pub[32], uint8_t sec[64])
{
	crypto_sign_seed_keypair(pub, sec, seed);
}

void agi_sign(uint8_t sig[64], const uint8_t sec[64], struct agi_str data)
{
	crypto_sign_detached(sig, NULL, (const uint8_t *)data.p, data.n, sec);
}

bool agi_verify(const uint8_t sig[64], const uint8_t pub[32], struct agi_str data)
{
	return crypto_sign_verify_detached(sig, (const uint8_t *)data.p, data.n, pub) == 0;
}
