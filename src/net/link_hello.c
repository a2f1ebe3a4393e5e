/* SPDX-License-Identifier: Apache-2.0 */
#include "net/link_hello.h"

#include <assert.h>
#include <sodium.h>

#define PROTOCOL "Noise_XXpsk3_25519_ChaChaPoly_BLAKE2b"

static const uint8_t magic[] = {0x01, 'A', 'G', 'I'};
enum { VERSION_AT = sizeof magic, CHANNEL_AT, TAG = AGI_NOISE_TAG_BYTES };

enum agi_err agi_link_keys_init(struct agi_link_keys *k, const struct agi_links_cfg *cfg)
{
	uint8_t whole[AGI_SECKEY_BYTES];
	bool is_pair;

	if (cfg->n_psk < 1 || cfg->n_psk > 2)
		return AGI_E_INVALID;
	agi_keypair_of_seed(cfg->seckey, k->ed25519_public, whole);
	is_pair = sodium_memcmp(whole, cfg->seckey, sizeof whole) == 0;
	sodium_memzero(whole, sizeof whole);
	if (!is_pair || crypto_sign_ed25519_sk_to_curve25519(k->x25519_secret, cfg->seckey))
		return AGI_E_INVALID;
	memcpy(k->psk, cfg->psk, sizeof k->psk);
	k->n_psk = cfg->n_psk;
	agi_id_of_pubkey(&k->id, k->ed25519_public);
	return AGI_OK;
}

static void start(struct agi_hello *h, bool is_initiator, struct agi_str preface)
{
	const struct agi_noise_cfg cfg = {
	    .protocol = PROTOCOL,
	    .is_initiator = is_initiator,
	    .prologue = preface,
	    .secret = h->keys->x25519_secret,
	    .psk = h->keys->psk,
	    .n_psk = 1,
	};
	enum agi_err err;

	err = agi_noise_start(&h->noise, &cfg, NULL);
	assert(!err); /* the protocol is a constant */
}

/* --- sending --------------------------------------------------------------------------- */
static enum agi_err say(struct agi_hello *h, struct agi_str payload, struct agi_buf *out)
{
	size_t at = out->n, n;
	enum agi_err err;

	agi_buf_u16(out, 0);
	err = agi_noise_write(&h->noise, payload, out);
	if (err || out->err)
		return err ? err : out->err;
	n = out->n - at - 2;
	out->p[at] = (uint8_t)(n >> 8);
	out->p[at + 1] = (uint8_t)n;
	return AGI_OK;
}

static enum agi_err say_identity(struct agi_hello *h, struct agi_buf *out)
{
	uint8_t payload[1 + AGI_PUBKEY_BYTES] = {AGI_LINK_VERSION};

	memcpy(payload + 1, h->keys->ed25519_public, AGI_PUBKEY_BYTES);
	return say(h, (struct agi_str){(const char *)payload, sizeof payload}, out);
}

static enum agi_err say_welcome(struct agi_hello *h, struct agi_buf *out)
{
	uint8_t tag[TAG];
	enum agi_err err = agi_noise_seal(&h->send, AGI_STR(""), tag, 0);

	agi_buf_u16(out, TAG);
	agi_buf_put(out, tag, TAG);
	return err ? err : out->err;
}

enum agi_err agi_hello_dial(struct agi_hello *h, const struct agi_link_keys *keys,
			    const struct agi_id *asked, enum agi_chan chan, struct agi_buf *out)
{
	uint8_t preface[AGI_LINK_PREFACE_BYTES];

	memcpy(preface, magic, sizeof magic);
	preface[VERSION_AT] = AGI_LINK_VERSION;
	preface[CHANNEL_AT] = (uint8_t)chan;
	memset(h, 0, sizeof *h);
	h->keys = keys;
	h->asked = *asked;
	h->chan = chan;
	start(h, true, (struct agi_str){(const char *)preface, sizeof preface});
	h->state = AGI_HELLO_WANT_2;
	agi_buf_put(out, preface, sizeof preface);
	return say(h, AGI_STR(""), out);
}

void agi_hello_answer(struct agi_hello *h, const struct agi_link_keys *keys)
{
	memset(h, 0, sizeof *h);
	h->keys = keys;
	h->state = AGI_HELLO_WANT_PREFACE;
}

/* --- who is it? ------------------------------------------------------------------------ */
/* Two Ed25519 keys (a point and its negative) share one X25519 image; both belong to whoever holds
 * the secret, so nobody can take another's identity, only have two of his own. */
static bool key_matches(const uint8_t ed25519[AGI_PUBKEY_BYTES], const uint8_t x25519[32])
{
	uint8_t image[32];

	return crypto_sign_ed25519_pk_to_curve25519(image, ed25519) == 0 &&
	       sodium_memcmp(image, x25519, sizeof image) == 0;
}

static enum agi_err check_asked(const struct agi_hello *h, struct agi_why *why)
{
	char asked[AGI_ID_SHORT_HEX], peer[AGI_ID_SHORT_HEX];

	agi_id_short(asked, &h->asked);
	agi_id_short(peer, &h->peer);
	if (agi_id_eq(&h->peer, &h->keys->id))
		return agi_fail(why, AGI_E_INVALID, "it is this node itself (%s)", peer);
	if (!agi_id_is_zero(&h->asked) && !agi_id_eq(&h->asked, &h->peer))
		return agi_fail(why, AGI_E_AUTH, "node %s was asked for, node %s answers", asked,
				peer);
	return AGI_OK;
}

static enum agi_err take_identity(struct agi_hello *h, struct agi_str payload, struct agi_why *why)
{
	struct agi_cur in = agi_cur_of(payload);
	uint8_t version = agi_cur_u8(&in), key[AGI_PUBKEY_BYTES];

	agi_cur_copy(&in, key, sizeof key);
	if (in.bad || version == 0)
		return agi_fail(why, AGI_E_MALFORMED, "the handshake carries no identity");
	if (!key_matches(key, h->noise.remote_s))
		return agi_fail(why, AGI_E_AUTH,
				"the peer claims an identity that is not its key's");
	h->version = version < AGI_LINK_VERSION ? version : AGI_LINK_VERSION;
	agi_id_of_pubkey(&h->peer, key);
	return check_asked(h, why);
}

/* --- receiving ------------------------------------------------------------------------- */
enum agi_err agi_link_preface_read(enum agi_chan *out, const uint8_t p[AGI_LINK_PREFACE_BYTES],
				   struct agi_why *why)
{
	if (memcmp(p, magic, sizeof magic) != 0)
		return agi_fail(why, AGI_E_MALFORMED, "the first bytes are not a link's");
	if (p[VERSION_AT] != AGI_LINK_VERSION)
		return agi_fail(why, AGI_E_UNSUPPORTED,
				"the peer's handshake is version %u, ours is %d", p[VERSION_AT],
				AGI_LINK_VERSION);
	if (p[CHANNEL_AT] >= AGI_CHAN_COUNT)
		return agi_fail(why, AGI_E_MALFORMED, "channel %u does not exist", p[CHANNEL_AT]);
	*out = (enum agi_chan)p[CHANNEL_AT];
	return AGI_OK;
}

static enum agi_err take_preface(struct agi_hello *h, struct agi_str wire, struct agi_why *why)
{
	enum agi_err err = agi_link_preface_read(&h->chan, (const uint8_t *)wire.p, why);

	if (err)
		return err;
	start(h, false, wire);
	h->state = AGI_HELLO_WANT_1;
	return AGI_OK;
}

static enum agi_err take_1(struct agi_hello *h, struct agi_str wire, struct agi_buf *out,
			   struct agi_why *why)
{
	struct agi_buf payload;
	enum agi_err err;

	agi_buf_init(&payload, 0);
	if (agi_noise_read(&h->noise, wire, &payload))
		err = agi_fail(why, AGI_E_MALFORMED,
			       "the first handshake message is not one of ours");
	else
		err = say_identity(h, out);
	if (err == AGI_E_AUTH)
		agi_fail(why, err, "the peer's ephemeral key is a point of small order");
	agi_buf_free(&payload);
	h->state = AGI_HELLO_WANT_3;
	return err;
}

static enum agi_err take_2(struct agi_hello *h, struct agi_str wire, struct agi_buf *out,
			   struct agi_why *why)
{
	struct agi_buf payload;
	enum agi_err err;

	agi_buf_init(&payload, 0);
	if (agi_noise_read(&h->noise, wire, &payload))
		err = agi_fail(why, AGI_E_MALFORMED, "its handshake answer is not authentic");
	else
		err = take_identity(h, agi_buf_str(&payload), why);
	if (!err)
		err = say_identity(h, out);
	if (!err)
		agi_noise_split(&h->noise, &h->send, &h->recv);
	agi_buf_free(&payload);
	h->state = AGI_HELLO_WANT_WELCOME;
	return err;
}

/* The psk is mixed in after everything but the payload, so a wrong one shows as a payload that does
 * not open: try each on a copy of the state. */
static enum agi_err read_3(struct agi_hello *h, struct agi_str wire, struct agi_buf *payload,
			   struct agi_why *why)
{
	struct agi_noise copy;
	enum agi_err err = AGI_E_AUTH;
	bool reached_payload = false;

	for (int i = 0; i < h->keys->n_psk && err; i++) {
		copy = h->noise;
		agi_buf_reset(payload);
		agi_noise_set_psk(&copy, 0, h->keys->psk[i]);
		err = agi_noise_read(&copy, wire, payload);
		reached_payload = copy.reached_payload;
	}
	if (!err)
		h->noise = copy;
	agi_noise_wipe(&copy);
	if (err && reached_payload)
		return agi_fail(why, AGI_E_AUTH, "the cluster key differs");
	return err ? agi_fail(why, AGI_E_MALFORMED, "the last handshake message is not authentic")
		   : AGI_OK;
}

static enum agi_err take_3(struct agi_hello *h, struct agi_str wire, struct agi_buf *out,
			   struct agi_why *why)
{
	struct agi_buf payload;
	enum agi_err err;

	agi_buf_init(&payload, 0);
	err = read_3(h, wire, &payload, why);
	if (!err)
		err = take_identity(h, agi_buf_str(&payload), why);
	if (!err) {
		agi_noise_split(&h->noise, &h->send, &h->recv);
		err = say_welcome(h, out);
	}
	agi_buf_free(&payload);
	h->state = AGI_HELLO_DONE;
	return err;
}

static enum agi_err take_welcome(struct agi_hello *h, struct agi_str wire, struct agi_why *why)
{
	uint8_t tag[TAG];

	if (wire.n != TAG)
		return agi_fail(why, AGI_E_MALFORMED, "its first record is not a welcome");
	memcpy(tag, wire.p, TAG);
	if (agi_noise_open(&h->recv, AGI_STR(""), tag, TAG))
		return agi_fail(why, AGI_E_AUTH,
				"its welcome is not authentic: it does not hold the cluster key");
	h->state = AGI_HELLO_DONE;
	return AGI_OK;
}

static enum agi_err take(struct agi_hello *h, struct agi_str wire, struct agi_buf *out,
			 struct agi_why *why)
{
	switch (h->state) {
	case AGI_HELLO_WANT_1:
		return take_1(h, wire, out, why);
	case AGI_HELLO_WANT_2:
		return take_2(h, wire, out, why);
	case AGI_HELLO_WANT_3:
		return take_3(h, wire, out, why);
	case AGI_HELLO_WANT_WELCOME:
		return take_welcome(h, wire, why);
	default:
		return AGI_E_INTERNAL;
	}
}

static enum agi_err check_size(size_t n, struct agi_why *why)
{
	if (n <= AGI_HELLO_MESSAGE_MAX)
		return AGI_OK;
	return agi_fail(why, AGI_E_MALFORMED,
			"a handshake message of %zu bytes, at most %d are taken", n,
			AGI_HELLO_MESSAGE_MAX);
}

/* Cuts the next part off: its bytes without the length. False when it has not come yet. */
static bool cut(const struct agi_hello *h, struct agi_cur *in, struct agi_str *part,
		enum agi_err *err, struct agi_why *why)
{
	struct agi_cur ahead = *in;
	size_t n = AGI_LINK_PREFACE_BYTES;

	if (h->state != AGI_HELLO_WANT_PREFACE)
		n = agi_cur_u16(&ahead);
	if (ahead.bad)
		return false;
	*err = check_size(n, why);
	if (*err)
		return false;
	*part = agi_cur_take(&ahead, n);
	if (ahead.bad)
		return false;
	*in = ahead;
	return true;
}

enum agi_err agi_hello_feed(struct agi_hello *h, const uint8_t *p, size_t n, size_t *used,
			    struct agi_buf *out, struct agi_why *why)
{
	struct agi_cur in = {p, n, false};
	struct agi_str part;
	enum agi_err err = AGI_OK;

	while (!err && h->state != AGI_HELLO_DONE && cut(h, &in, &part, &err, why))
		err = h->state == AGI_HELLO_WANT_PREFACE ? take_preface(h, part, why)
							 : take(h, part, out, why);
	*used = n - in.n;
	return err;
}

void agi_hello_wipe(struct agi_hello *h) { sodium_memzero(h, sizeof *h); }
