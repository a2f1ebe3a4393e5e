/* SPDX-License-Identifier: Apache-2.0
 * The Noise protocol framework (noiseprotocol.org, revision 34) with X25519, ChaChaPoly and BLAKE2b
 * over libsodium. Values only: no sockets, no allocation except into the caller's buffers.
 *
 * Links use one protocol of it; the other patterns are here because the published test vectors that
 * prove this implementation use them.
 *
 * Life: agi_noise_start → agi_noise_write / agi_noise_read in turn until agi_noise_is_done →
 *       agi_noise_split → agi_noise_wipe. A handshake that failed is spent: wipe it. */
#ifndef AGI_NET_NOISE_H
#define AGI_NET_NOISE_H

#include <stdint.h>

#include "base/buf.h"

enum {
	AGI_NOISE_KEY_BYTES = 32,
	AGI_NOISE_TAG_BYTES = 16,
	AGI_NOISE_HASH_BYTES = 64,
	AGI_NOISE_MESSAGE_MAX = 65535, /* bytes of any Noise message (section 3) */
	AGI_NOISE_PSKS_MAX = 4,
	AGI_NOISE_MESSAGES_MAX = 3, /* of one handshake, in the patterns known here */
	AGI_NOISE_TOKENS_MAX = 8    /* of one message: four of the longest pattern, psks, end */
};

/* A CipherState (section 5.1). */
struct agi_noise_cipher {
	uint8_t key[AGI_NOISE_KEY_BYTES];
	uint64_t nonce; /* of the next message */
	bool has_key;
};

/* Encrypts p[0..n) in place and writes the tag to p[n..n+16). FULL when 2^64-1 messages have been
 * sealed under this key (unchanged). */
AGI_MUST_USE enum agi_err agi_noise_seal(struct agi_noise_cipher *c, struct agi_str ad, uint8_t *p,
					 size_t n);
/* Opens p[0..n), tag included, in place; the text is p[0..n-16). AUTH when it is not authentic: c
 * is unchanged, p is not to be used. */
AGI_MUST_USE enum agi_err agi_noise_open(struct agi_noise_cipher *c, struct agi_str ad, uint8_t *p,
					 size_t n);
/* A new key from the old one (section 11.3); the nonce goes on. */
void agi_noise_rekey(struct agi_noise_cipher *c);

struct agi_noise_cfg {
	/* "Noise_XXpsk3_25519_ChaChaPoly_BLAKE2b": XX, IK, XX1 or IK1, with any psk modifiers */
	const char *protocol;
	bool is_initiator;
	struct agi_str prologue;
	const uint8_t *secret;    /* own static X25519 secret key */
	const uint8_t *ephemeral; /* NULL: a fresh one. Given only to replay test vectors. */
	const uint8_t
	    *remote_static; /* IK, IK1: the responder's public key as the initiator knows it */
	const uint8_t (*psk)[AGI_NOISE_KEY_BYTES]; /* one per psk token, in order */
	size_t n_psk;
};

/* A HandshakeState. Copying it by value forks the handshake (to try another psk). */
struct agi_noise {
	struct agi_noise_cipher cipher;
	uint8_t chaining_key[AGI_NOISE_HASH_BYTES];
	uint8_t hash[AGI_NOISE_HASH_BYTES]; /* when done: the handshake hash, for channel binding */
	uint8_t s[32], s_pub[32], e[32], e_pub[32];
	uint8_t remote_s[32],
	    remote_e[32]; /* remote_s is proven when done (or when the pattern says so) */
	uint8_t psk[AGI_NOISE_PSKS_MAX][AGI_NOISE_KEY_BYTES];
	uint8_t token[AGI_NOISE_MESSAGES_MAX][AGI_NOISE_TOKENS_MAX];
	uint8_t n_messages, at; /* messages of the pattern; messages done */
	uint8_t n_psk, psk_at;  /* given; mixed in */
	bool is_initiator, is_e_fixed;
	bool reached_payload; /* the last read got as far as the payload: everything before it was
				 authentic */
};

/* INVALID for an unknown protocol name or keys that do not fit the pattern (why says which). */
AGI_MUST_USE enum agi_err agi_noise_start(struct agi_noise *h, const struct agi_noise_cfg *cfg,
					  struct agi_why *why);
bool agi_noise_is_done(const struct agi_noise *h);
/* True when the next message is ours to write. */
bool agi_noise_is_my_turn(const struct agi_noise *h);
/* Appends the next handshake message, carrying payload, to out. AUTH for a remote key that gives an
 * all-zero shared secret, TOO_LARGE, NOMEM. */
AGI_MUST_USE enum agi_err agi_noise_write(struct agi_noise *h, struct agi_str payload,
					  struct agi_buf *out);
/* Takes the next handshake message and appends its payload to out. MALFORMED when it is too short,
 * AUTH when it is not authentic, TOO_LARGE, NOMEM. */
AGI_MUST_USE enum agi_err agi_noise_read(struct agi_noise *h, struct agi_str message,
					 struct agi_buf *out);
/* Replaces the i-th psk; only before it has been mixed in. */
void agi_noise_set_psk(struct agi_noise *h, size_t i, const uint8_t psk[AGI_NOISE_KEY_BYTES]);
/* The two ciphers of a handshake that is done. */
void agi_noise_split(const struct agi_noise *h, struct agi_noise_cipher *send,
		     struct agi_noise_cipher *recv);
void agi_noise_wipe(struct agi_noise *h);

#endif
