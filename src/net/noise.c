/* SPDX-License-Identifier: Apache-2.0 */
#include "net/noise.h"

#include <assert.h>
#include <sodium.h>

/* --- BLAKE2b and HMAC (sections 4.3, 5.2 and 12.8) ------------------------------------- */
enum {
	HASH = AGI_NOISE_HASH_BYTES,
	BLOCK = 128,
	KEY = AGI_NOISE_KEY_BYTES,
	TAG = AGI_NOISE_TAG_BYTES
};

static void hash2(uint8_t out[HASH], struct agi_str a, struct agi_str b)
{
	crypto_generichash_blake2b_state st;

	crypto_generichash_blake2b_init(&st, NULL, 0, HASH);
	crypto_generichash_blake2b_update(&st, (const uint8_t *)a.p, a.n);
	crypto_generichash_blake2b_update(&st, (const uint8_t *)b.p, b.n);
	crypto_generichash_blake2b_final(&st, out, HASH);
	sodium_memzero(&st, sizeof st);
}

static struct agi_str bytes(const void *p, size_t n) { return (struct agi_str){p, n}; }

/* One pass of HMAC (RFC 2104): hash of the padded key, a, b. Keys here are one hash long. */
static void hmac_pass(uint8_t out[HASH], const uint8_t key[HASH], uint8_t pad, struct agi_str a,
		      struct agi_str b)
{
	uint8_t block[BLOCK];
	crypto_generichash_blake2b_state st;

	memset(block, pad, sizeof block);
	for (size_t i = 0; i < HASH; i++)
		block[i] ^= key[i];
	crypto_generichash_blake2b_init(&st, NULL, 0, HASH);
	crypto_generichash_blake2b_update(&st, block, sizeof block);
	crypto_generichash_blake2b_update(&st, (const uint8_t *)a.p, a.n);
	crypto_generichash_blake2b_update(&st, (const uint8_t *)b.p, b.n);
	crypto_generichash_blake2b_final(&st, out, HASH);
	sodium_memzero(block, sizeof block);
	sodium_memzero(&st, sizeof st);
}

static void hmac(uint8_t out[HASH], const uint8_t key[HASH], struct agi_str a, struct agi_str b)
{
	uint8_t inner[HASH];

	hmac_pass(inner, key, 0x36, a, b);
	hmac_pass(out, key, 0x5c, bytes(inner, HASH), bytes("", 0));
	sodium_memzero(inner, sizeof inner);
}

/* n outputs of one hash length each, n = 2 or 3 (section 4.3). */
static void hkdf(uint8_t out[][HASH], size_t n, const uint8_t ck[HASH], struct agi_str input)
{
	uint8_t temp[HASH];

	hmac(temp, ck, input, bytes("", 0));
	for (size_t i = 0; i < n; i++) {
		uint8_t counter = (uint8_t)(i + 1);

		hmac(out[i], temp, i ? bytes(out[i - 1], HASH) : bytes("", 0), bytes(&counter, 1));
	}
	sodium_memzero(temp, sizeof temp);
}

/* --- CipherState ----------------------------------------------------------------------- */
static void make_nonce(uint8_t out[12], uint64_t n)
{
	memset(out, 0, 4);
	for (int i = 0; i < 8; i++)
		out[4 + i] = (uint8_t)(n >> (8 * i));
}

enum agi_err agi_noise_seal(struct agi_noise_cipher *c, struct agi_str ad, uint8_t *p, size_t n)
{
	uint8_t nonce[12];

	if (c->nonce == UINT64_MAX) /* reserved for rekey (section 5.1) */
		return AGI_E_FULL;
	make_nonce(nonce, c->nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt_detached(
	    p, p + n, NULL, p, n, (const uint8_t *)ad.p, ad.n, NULL, nonce, c->key);
	c->nonce++;
	return AGI_OK;
}

enum agi_err agi_noise_open(struct agi_noise_cipher *c, struct agi_str ad, uint8_t *p, size_t n)
{
	uint8_t nonce[12];

	if (n < TAG || c->nonce == UINT64_MAX)
		return AGI_E_AUTH;
	make_nonce(nonce, c->nonce);
	if (crypto_aead_chacha20poly1305_ietf_decrypt_detached(
		p, NULL, p, n - TAG, p + n - TAG, (const uint8_t *)ad.p, ad.n, nonce, c->key))
		return AGI_E_AUTH;
	c->nonce++;
	return AGI_OK;
}

void agi_noise_rekey(struct agi_noise_cipher *c)
{
	uint8_t key[KEY] = {0}, tag[TAG], nonce[12];

	make_nonce(nonce, UINT64_MAX);
	crypto_aead_chacha20poly1305_ietf_encrypt_detached(key, tag, NULL, key, KEY, NULL, 0, NULL,
							   nonce, c->key);
	memcpy(c->key, key, KEY);
	sodium_memzero(key, sizeof key);
}

static void set_key(struct agi_noise_cipher *c, const uint8_t *key)
{
	memcpy(c->key, key, KEY);
	c->nonce = 0;
	c->has_key = true;
}

/* --- SymmetricState (section 5.2) ------------------------------------------------------ */
static void mix_hash(struct agi_noise *h, struct agi_str data)
{
	hash2(h->hash, bytes(h->hash, HASH), data);
}

static void mix_key(struct agi_noise *h, const uint8_t input[32])
{
	uint8_t out[2][HASH];

	hkdf(out, 2, h->chaining_key, bytes(input, 32));
	memcpy(h->chaining_key, out[0], HASH);
	set_key(&h->cipher, out[1]);
	sodium_memzero(out, sizeof out);
}

static void mix_key_and_hash(struct agi_noise *h, const uint8_t psk[KEY])
{
	uint8_t out[3][HASH];

	hkdf(out, 3, h->chaining_key, bytes(psk, KEY));
	memcpy(h->chaining_key, out[0], HASH);
	mix_hash(h, bytes(out[1], HASH));
	set_key(&h->cipher, out[2]);
	sodium_memzero(out, sizeof out);
}

static enum agi_err encrypt_and_hash(struct agi_noise *h, struct agi_str text, struct agi_buf *out)
{
	size_t n = text.n + (h->cipher.has_key ? TAG : 0);
	uint8_t *p = agi_buf_reserve(out, n);
	enum agi_err err = AGI_OK;

	if (!p)
		return out->err;
	if (text.n)
		memcpy(p, text.p, text.n);
	if (h->cipher.has_key)
		err = agi_noise_seal(&h->cipher, bytes(h->hash, HASH), p, text.n);
	if (err)
		return err;
	out->n += n;
	mix_hash(h, bytes(p, n));
	return AGI_OK;
}

/* data is wire bytes, tag included; what it holds is appended to out. */
static enum agi_err decrypt_and_hash(struct agi_noise *h, struct agi_str data, struct agi_buf *out)
{
	uint8_t *p = agi_buf_reserve(out, data.n), before[HASH];
	size_t tag = h->cipher.has_key ? TAG : 0;
	enum agi_err err = AGI_OK;

	if (!p)
		return out->err;
	if (data.n)
		memcpy(p, data.p, data.n);
	memcpy(before, h->hash, HASH);
	mix_hash(h, data);
	if (tag)
		err = agi_noise_open(&h->cipher, bytes(before, HASH), p, data.n);
	if (!err)
		out->n += data.n - tag;
	return err;
}

/* --- patterns (sections 7.5, 9 and 10.2) ----------------------------------------------- */
enum token { T_END, T_E, T_S, T_EE, T_ES, T_SE, T_SS, T_PSK };

struct pattern {
	const char *name;
	bool knows_responder; /* pre-message "<- s" */
	uint8_t n_messages;
	uint8_t token[AGI_NOISE_MESSAGES_MAX][5];
};

static const struct pattern patterns[] = {
    {"XX", false, 3, {{T_E}, {T_E, T_EE, T_S, T_ES}, {T_S, T_SE}}},
    {"IK", true, 2, {{T_E, T_ES, T_S, T_SS}, {T_E, T_EE, T_SE}}},
    {"XX1", false, 3, {{T_E}, {T_E, T_EE, T_S}, {T_ES, T_S, T_SE}}},
    {"IK1", true, 2, {{T_E, T_S}, {T_E, T_EE, T_SE, T_ES}}},
};

/* "Noise_" and "_25519_ChaChaPoly_BLAKE2b" around the pattern's name and modifiers. */
static bool split_name(struct agi_str *middle, struct agi_str name)
{
	struct agi_str head = AGI_STR("Noise_"), tail = AGI_STR("_25519_ChaChaPoly_BLAKE2b");

	if (name.n < head.n + tail.n || !agi_str_has_prefix(name, head) ||
	    memcmp(name.p + name.n - tail.n, tail.p, tail.n) != 0)
		return false;
	*middle = bytes(name.p + head.n, name.n - head.n - tail.n);
	return true;
}

static const struct pattern *find_pattern(struct agi_str base)
{
	for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
		if (agi_str_eq(base, agi_str_of(patterns[i].name)))
			return &patterns[i];
	return NULL;
}

/* psk0 goes before the first message's tokens, pskN after those of the N-th (section 9.4). */
static bool add_psk(struct agi_noise *h, unsigned where)
{
	uint8_t *t = h->token[where ? where - 1 : 0];
	size_t n = 0;

	while (t[n] != T_END)
		n++;
	if (where > h->n_messages || n + 1 >= AGI_NOISE_TOKENS_MAX)
		return false;
	if (where == 0)
		memmove(t + 1, t, n);
	t[where == 0 ? 0 : n] = T_PSK;
	return true;
}

/* "psk0+psk3", or nothing. */
static bool add_modifiers(struct agi_noise *h, struct agi_str mods, size_t *n_psk)
{
	struct agi_str psk = AGI_STR("psk");

	*n_psk = 0;
	while (mods.n) {
		if (mods.n < 4 || !agi_str_has_prefix(mods, psk) || mods.p[3] < '0' ||
		    mods.p[3] > '3' || !add_psk(h, (unsigned)(mods.p[3] - '0')))
			return false;
		++*n_psk;
		if (mods.n == 4)
			return true;
		if (mods.p[4] != '+' || mods.n == 5)
			return false;
		mods = bytes(mods.p + 5, mods.n - 5);
	}
	return true;
}

static const struct pattern *load_pattern(struct agi_noise *h, struct agi_str name, size_t *n_psk)
{
	struct agi_str middle, base;
	const struct pattern *p;

	if (!split_name(&middle, name))
		return NULL;
	base = bytes(middle.p, 0);
	while (base.n < middle.n && middle.p[base.n] != 'p')
		base.n++;
	p = find_pattern(base);
	if (!p)
		return NULL;
	h->n_messages = p->n_messages;
	for (size_t i = 0; i < p->n_messages; i++)
		memcpy(h->token[i], p->token[i], sizeof p->token[i]);
	return add_modifiers(h, bytes(middle.p + base.n, middle.n - base.n), n_psk) ? p : NULL;
}

/* --- HandshakeState (section 5.3) ------------------------------------------------------ */
static void start_symmetric(struct agi_noise *h, struct agi_str name, struct agi_str prologue)
{
	if (name.n <= HASH)
		memcpy(h->hash, name.p, name.n);
	else
		hash2(h->hash, name, bytes("", 0));
	memcpy(h->chaining_key, h->hash, HASH);
	mix_hash(h, prologue);
}

static void copy_keys(struct agi_noise *h, const struct agi_noise_cfg *cfg)
{
	memcpy(h->s, cfg->secret, KEY);
	crypto_scalarmult_base(h->s_pub, h->s);
	if (cfg->ephemeral) {
		memcpy(h->e, cfg->ephemeral, KEY);
		h->is_e_fixed = true;
	}
	if (cfg->remote_static)
		memcpy(h->remote_s, cfg->remote_static, KEY);
	for (size_t i = 0; i < cfg->n_psk; i++)
		memcpy(h->psk[i], cfg->psk[i], KEY);
	h->n_psk = (uint8_t)cfg->n_psk;
}

enum agi_err agi_noise_start(struct agi_noise *h, const struct agi_noise_cfg *cfg,
			     struct agi_why *why)
{
	struct agi_str name = agi_str_of(cfg->protocol);
	const struct pattern *p;
	size_t n_psk = 0;

	memset(h, 0, sizeof *h);
	h->is_initiator = cfg->is_initiator;
	p = load_pattern(h, name, &n_psk);
	if (!p)
		return agi_fail(why, AGI_E_INVALID, "Noise protocol \"%s\" is not known here",
				cfg->protocol);
	if (n_psk != cfg->n_psk || n_psk > AGI_NOISE_PSKS_MAX)
		return agi_fail(why, AGI_E_INVALID, "%s takes %zu pre-shared keys, got %zu",
				cfg->protocol, n_psk, cfg->n_psk);
	if (!cfg->secret)
		return agi_fail(why, AGI_E_INVALID, "%s needs a static key", cfg->protocol);
	if (p->knows_responder && cfg->is_initiator && !cfg->remote_static)
		return agi_fail(why, AGI_E_INVALID, "%s needs the responder's public key",
				cfg->protocol);
	copy_keys(h, cfg);
	start_symmetric(h, name, cfg->prologue);
	if (p->knows_responder)
		mix_hash(h, bytes(cfg->is_initiator ? h->remote_s : h->s_pub, KEY));
	return AGI_OK;
}

bool agi_noise_is_done(const struct agi_noise *h) { return h->at == h->n_messages; }

bool agi_noise_is_my_turn(const struct agi_noise *h)
{
	return !agi_noise_is_done(h) && (h->at % 2 == 0) == h->is_initiator;
}

static enum agi_err mix_dh(struct agi_noise *h, const uint8_t secret[KEY],
			   const uint8_t public[KEY])
{
	uint8_t shared[KEY];
	enum agi_err err = AGI_E_AUTH;

	/* libsodium answers -1 when the result is all zero: a point of small order was sent. */
	if (crypto_scalarmult(shared, secret, public) == 0) {
		mix_key(h, shared);
		err = AGI_OK;
	}
	sodium_memzero(shared, sizeof shared);
	return err;
}

/* The first letter is the initiator's key, the second the responder's. */
static enum agi_err mix_token(struct agi_noise *h, enum token t)
{
	bool i = h->is_initiator;

	switch (t) {
	case T_EE:
		return mix_dh(h, h->e, h->remote_e);
	case T_ES:
		return i ? mix_dh(h, h->e, h->remote_s) : mix_dh(h, h->s, h->remote_e);
	case T_SE:
		return i ? mix_dh(h, h->s, h->remote_e) : mix_dh(h, h->e, h->remote_s);
	case T_SS:
		return mix_dh(h, h->s, h->remote_s);
	case T_PSK:
		mix_key_and_hash(h, h->psk[h->psk_at++]);
		return AGI_OK;
	default:
		return AGI_E_INTERNAL;
	}
}

/* With a psk in the pattern, ephemeral keys are mixed into the key as well (section 9.2). */
static void mix_e(struct agi_noise *h, const uint8_t pub[KEY])
{
	mix_hash(h, bytes(pub, KEY));
	if (h->n_psk)
		mix_key(h, pub);
}

static enum agi_err write_e(struct agi_noise *h, struct agi_buf *out)
{
	if (!h->is_e_fixed)
		randombytes_buf(h->e, KEY);
	crypto_scalarmult_base(h->e_pub, h->e);
	agi_buf_put(out, h->e_pub, KEY);
	mix_e(h, h->e_pub);
	return out->err;
}

enum agi_err agi_noise_write(struct agi_noise *h, struct agi_str payload, struct agi_buf *out)
{
	const uint8_t *t = h->token[h->at];
	size_t before = out->n;
	enum agi_err err = AGI_OK;

	assert(agi_noise_is_my_turn(h));
	for (; *t != T_END && !err; t++) {
		if (*t == T_E)
			err = write_e(h, out);
		else if (*t == T_S)
			err = encrypt_and_hash(h, bytes(h->s_pub, KEY), out);
		else
			err = mix_token(h, *t);
	}
	if (!err)
		err = encrypt_and_hash(h, payload, out);
	if (!err && out->n - before > AGI_NOISE_MESSAGE_MAX)
		err = AGI_E_TOO_LARGE;
	h->at++;
	return err;
}

static enum agi_err read_s(struct agi_noise *h, struct agi_cur *in)
{
	struct agi_str wire = agi_cur_take(in, KEY + (h->cipher.has_key ? TAG : 0));
	struct agi_buf key;
	enum agi_err err;

	if (in->bad)
		return AGI_E_MALFORMED;
	agi_buf_init(&key, 0);
	err = decrypt_and_hash(h, wire, &key);
	if (!err)
		memcpy(h->remote_s, key.p, KEY);
	agi_buf_free(&key);
	return err;
}

static enum agi_err read_e(struct agi_noise *h, struct agi_cur *in)
{
	agi_cur_copy(in, h->remote_e, KEY);
	if (in->bad)
		return AGI_E_MALFORMED;
	mix_e(h, h->remote_e);
	return AGI_OK;
}

enum agi_err agi_noise_read(struct agi_noise *h, struct agi_str message, struct agi_buf *out)
{
	const uint8_t *t = h->token[h->at];
	struct agi_cur in = agi_cur_of(message);
	enum agi_err err = message.n > AGI_NOISE_MESSAGE_MAX ? AGI_E_TOO_LARGE : AGI_OK;

	assert(!agi_noise_is_done(h) && !agi_noise_is_my_turn(h));
	h->reached_payload = false;
	for (; *t != T_END && !err; t++) {
		if (*t == T_E)
			err = read_e(h, &in);
		else if (*t == T_S)
			err = read_s(h, &in);
		else
			err = mix_token(h, *t);
	}
	if (!err) {
		h->reached_payload = true;
		err = decrypt_and_hash(h, agi_cur_take(&in, in.n), out);
	}
	h->at++;
	return err;
}

void agi_noise_set_psk(struct agi_noise *h, size_t i, const uint8_t psk[KEY])
{
	assert(i < h->n_psk && i >= h->psk_at);
	memcpy(h->psk[i], psk, KEY);
}

void agi_noise_split(const struct agi_noise *h, struct agi_noise_cipher *send,
		     struct agi_noise_cipher *recv)
{
	uint8_t out[2][HASH];

	assert(agi_noise_is_done(h));
	hkdf(out, 2, h->chaining_key, bytes("", 0));
	set_key(h->is_initiator ? send : recv, out[0]);
	set_key(h->is_initiator ? recv : send, out[1]);
	sodium_memzero(out, sizeof out);
}

void agi_noise_wipe(struct agi_noise *h) { sodium_memzero(h, sizeof *h); }
