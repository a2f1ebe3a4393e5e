/* SPDX-License-Identifier: Apache-2.0
 * Encrypted node-to-node links: TCP, Noise XXpsk3_25519_ChaChaPoly_BLAKE2b (noiseprotocol.org rev
 * 34), usually one link per peer and channel, dialled when first needed, closed when idle. When
 * both sides dial at once both links are kept: each side sends on the one that came up last, and
 * the other idles out.
 *
 * Identity: a node's static X25519 key is its Ed25519 key mapped by the birational map
 * (crypto_sign_ed25519_{pk,sk}_to_curve25519). The handshake payload carries the Ed25519 public
 * key; a peer whose static key is not that key's image is refused (AUTH). node_id =
 * BLAKE2b-256(public key).
 *
 * On the wire, after the preface 0x01 'A' 'G' 'I', version and channel (a byte each) from the
 * initiator: the three handshake messages, each with a be16 length; then transport records (be16 length,
 * ciphertext of at most 65535 bytes). A message is a be32 length and its bytes, cut over as many
 * records as needed. A record without text is the responder's welcome (its first record: it has the
 * same cluster key) or a goodbye (later: its sender will send nothing more). Keys change every
 * AGI_LINK_REKEY_RECORDS records.
 *
 * Delivery: at most once, in order per link; a broken link loses what was unsent. Callers match
 * answers to requests themselves. Bounded: AGI_LINK_FRAME_MAX per message, AGI_LINK_QUEUE_BYTES
 * unsent per link, AGI_LINKS_QUEUE_BYTES unsent over all links.
 *
 * Handlers may call any function here, agi_links_free included. */
#ifndef AGI_NET_LINK_H
#define AGI_NET_LINK_H

#include "base/addr.h"
#include "base/id.h"

struct event_base;
struct agi_links;

/* Channels keep bulk transfer from delaying votes and probes: each has its own TCP connection. */
enum agi_chan { AGI_CHAN_CONTROL, AGI_CHAN_SAFETY, AGI_CHAN_BULK, AGI_CHAN_COUNT };

struct agi_links_cfg {
	uint8_t seckey[AGI_SECKEY_BYTES]; /* Ed25519; copied into guarded memory */
	uint8_t psk[2][32];               /* cluster keys: [0] is used to dial, both are accepted */
	int n_psk;                        /* 1 or 2 */
	uint32_t handshake_timeout_ms; /* from dialling to established; 0 = AGI_LINK_HANDSHAKE_MS */
	uint32_t idle_timeout_ms;      /* no message for at least so long; 0 = AGI_LINK_IDLE_MS */
	uint32_t links_max; /* 0 = AGI_LINKS_MAX; at the limit inbound links are refused */
	uint8_t channels;   /* bits 1 << AGI_CHAN_…: those of this set; 0 = all. Inbound links of
			     * others go to on_other */
};

/* All called on the event loop's thread. `peer` is authenticated. Payloads are borrowed. */
struct agi_links_handlers {
	void (*on_message)(void *ctx, const struct agi_id *peer, const struct agi_addr *remote,
			   enum agi_chan chan, struct agi_str payload);
	/* A link ended; called exactly once for each, never from inside a function of links.
	 * err OK: nothing was lost: it closed in order (idle, or too many to one peer), or it could
	 * not be dialled but its messages went over another link to the same peer. Otherwise what
	 * was queued is lost: UNREACHABLE, TIMEOUT; AUTH (another identity or cluster key, a forged
	 * record); MALFORMED, TOO_LARGE, UNSUPPORTED (what the peer sent); INVALID (the address is
	 * this node's own); FULL, NOMEM. dialled = the address that was asked for (zero for an
	 * inbound link). peer = who it was, or, when it never proved that, who was asked for (zero:
	 * anybody; an inbound link that failed its handshake). */
	void (*on_down)(void *ctx, const struct agi_id *peer, const struct agi_addr *dialled,
			enum agi_chan chan, enum agi_err err, const struct agi_why *why);
	/* An inbound link of a channel that another set has (cfg.channels): its socket, of which
	 * nothing was consumed, to be given to that set's agi_links_accept. The caller's from here
	 * on. NULL = such links are refused. The channel is what the stranger says; the handshake
	 * will show. */
	void (*on_other)(void *ctx, int fd, const struct agi_addr *remote, enum agi_chan chan);
};

struct agi_links_stats {
	uint32_t links;               /* established */
	uint64_t bytes_in, bytes_out; /* ciphertext */
	uint64_t messages_in, messages_out;
	uint64_t handshakes_ok, handshakes_failed;
};

/* INVALID when seckey's halves are no pair or n_psk is outside 1..2. */
AGI_MUST_USE enum agi_err agi_links_new(struct event_base *base, const struct agi_links_cfg *cfg,
					const struct agi_links_handlers *h, void *ctx,
					struct agi_links **out);
/* Closes every link without callbacks. NULL is allowed. */
void agi_links_free(struct agi_links *l);
/* Takes a connected, non-blocking socket whose first byte was seen to be 0x01 (not consumed). It is
 * closed at once when there are links_max links; while too many strangers shake hands, the oldest
 * goes. */
void agi_links_accept(struct agi_links *l, int fd, const struct agi_addr *remote);
/* Queues a message for peer on chan, over an existing link in either direction if there is one,
 * else by dialling addr. A zero peer means "whoever answers at addr". UNREACHABLE when addr is
 * unset and no link exists, or when the host knows no way to it; FULL when the link's queue is, or
 * links_max or the process's descriptors are used up; TOO_LARGE; NOMEM. A dial that fails later
 * comes through on_down. */
AGI_MUST_USE enum agi_err agi_links_send(struct agi_links *l, const struct agi_id *peer,
					 const struct agi_addr *addr, enum agi_chan chan,
					 struct agi_str payload);
void agi_links_stats(const struct agi_links *l, struct agi_links_stats *out);

#endif
