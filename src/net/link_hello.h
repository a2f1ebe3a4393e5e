/* SPDX-License-Identifier: Apache-2.0
 * The handshake of a link as a state machine over bytes: no sockets, no clock.
 *
 *   initiator                                          responder
 *   SAY  preface, message 1      ------------------>   WANT_PREFACE, WANT_1
 *   WANT_2                       <------------------   message 2: proves its identity
 *   (is it who was asked for?)
 *   message 3: proves identity and cluster key  ---->   WANT_3: tries both cluster keys
 *   WANT_WELCOME                 <------------------   a mark: proves the cluster key
 *   DONE                                               DONE
 *
 * The cluster key enters with message 3 only (XXpsk3), so the responder's first record, which must
 * be a mark, is what proves that the responder holds it; before that nothing of a caller's is sent.
 *
 * The preface tells the channel in clear, so that whoever takes the connection can hand it on before the
 * handshake; it is the Noise prologue, so one that was changed on the way breaks the handshake.
 *
 * Payload of messages 2 and 3: version (1 byte, the newest the sender speaks), Ed25519 public key (32
 * bytes); more bytes are a newer version's and are skipped. */
#ifndef AGI_NET_LINK_HELLO_H
#define AGI_NET_LINK_HELLO_H

#include "base/id.h"
#include "net/link.h"
#include "net/noise.h"

enum {
	AGI_LINK_PREFACE_BYTES = 6,
	AGI_LINK_VERSION = 2,
	AGI_HELLO_MESSAGE_MAX = 1024 /* bytes of a handshake message; today's are 48, 145 and 113 */
};

/* Long-lived; the owner keeps it in guarded memory. */
struct agi_link_keys {
	uint8_t ed25519_public[AGI_PUBKEY_BYTES];
	uint8_t x25519_secret[32];
	uint8_t psk[2][AGI_NOISE_KEY_BYTES];
	int n_psk;
	struct agi_id id;
};
/* INVALID when the two halves of the secret key are no pair, or n_psk is outside 1..2. */
AGI_MUST_USE enum agi_err agi_link_keys_init(struct agi_link_keys *k,
					     const struct agi_links_cfg *cfg);

enum agi_hello_state {
	AGI_HELLO_WANT_PREFACE,
	AGI_HELLO_WANT_1,
	AGI_HELLO_WANT_2,
	AGI_HELLO_WANT_3,
	AGI_HELLO_WANT_WELCOME,
	AGI_HELLO_DONE
};

struct agi_hello {
	const struct agi_link_keys *keys; /* borrowed */
	struct agi_noise noise;
	enum agi_hello_state state;
	struct agi_id asked; /* initiator: who is wanted; zero = whoever answers */
	/* from here on valid when DONE */
	struct agi_id peer;
	enum agi_chan chan;
	uint8_t version; /* the older of both sides' newest */
	struct agi_noise_cipher send, recv;
};

/* Appends the first bytes to send to out. Errors: NOMEM. */
AGI_MUST_USE enum agi_err agi_hello_dial(struct agi_hello *h, const struct agi_link_keys *keys,
					 const struct agi_id *asked, enum agi_chan chan,
					 struct agi_buf *out);
void agi_hello_answer(struct agi_hello *h, const struct agi_link_keys *keys);
/* Takes what p[0..n) holds until DONE: *used bytes, the rest is the beginning of the next part (or,
 * when DONE, of the first record). Appends what to send to out. Errors (the hello is then spent;
 * why is for people and names no address): AUTH for another identity or cluster key, UNSUPPORTED
 * for another version, MALFORMED for anything else, INVALID when the peer is this node itself,
 * NOMEM. */
AGI_MUST_USE enum agi_err agi_hello_feed(struct agi_hello *h, const uint8_t *p, size_t n,
					 size_t *used, struct agi_buf *out, struct agi_why *why);
/* The channel that a preface names. MALFORMED, UNSUPPORTED (another version) + why. */
AGI_MUST_USE enum agi_err agi_link_preface_read(enum agi_chan *out,
						const uint8_t p[AGI_LINK_PREFACE_BYTES],
						struct agi_why *why);
void agi_hello_wipe(struct agi_hello *h);

#endif
