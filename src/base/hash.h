/* SPDX-License-Identifier: Apache-2.0
 * Hashes and signatures as pure functions over libsodium. agi_crypto_init() once per process. */
#ifndef AGI_BASE_HASH_H
#define AGI_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum {
	AGI_SHA256_BYTES = 32,
	AGI_PUBKEY_BYTES = 32,  /* Ed25519 public key */
	AGI_SECKEY_BYTES = 64,  /* Ed25519 secret key, libsodium's form (seed ‖ public key) */
	AGI_SEED_BYTES = 32,
	AGI_SIG_BYTES = 64
};

AGI_MUST_USE enum agi_err agi_crypto_init(void);
/* BLAKE2b-256 of the concatenation of n parts (RFC 7693, no key). */
void agi_blake2b_256(uint8_t out[32], const struct agi_str *parts, size_t n);
void agi_sha256(uint8_t out[32], struct agi_str data);
/* SipHash-2-4 with 128 bits of output (Aumasson and Bernstein 2012): several times faster than BLAKE2b on short
 * input, and unforgeable only for who does not know the key. */
enum { AGI_SIP_KEY_BYTES = 16, AGI_SIP_BYTES = 16 };
void agi_siphash(uint8_t out[AGI_SIP_BYTES], const uint8_t key[AGI_SIP_KEY_BYTES], struct agi_str data);
/* Lower-case hex of n bytes, terminated; out has 2n+1 bytes. */
void agi_hex(char *out, const uint8_t *p, size_t n);
/* Exactly 2n hex digits (either case) into n bytes; INVALID otherwise. */
AGI_MUST_USE enum agi_err agi_unhex(uint8_t *out, size_t n, struct agi_str hex);

/* Deterministic Ed25519 (RFC 8032). */
void agi_keypair_of_seed(const uint8_t seed[32], uint8_t pub[32], uint8_t sec[64]);
void agi_sign(uint8_t sig[64], const uint8_t sec[64], struct agi_str data);
bool agi_verify(const uint8_t sig[64], const uint8_t pub[32], struct agi_str data);

#endif
