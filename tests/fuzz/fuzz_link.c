/* SPDX-License-Identifier: Apache-2.0
 * What a stranger or a hostile member may send over a link, without sockets. The first byte
 * chooses: 0  raw bytes to the side that answers 1  raw bytes to the side that dials 2  a dialler
 * that holds the cluster key and puts any payloads into its handshake messages 3  a host that
 * answers a dial likewise 4  records with any text, sealed well, after a handshake 5  first bytes
 * at a listener Messages that mode 4 delivers are compared with a slow twin's reading of the same
 * text. */
#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/prng.h"
#include "net/link_hello.h"
#include "net/link_record.h"
#include "net/listener.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* --- the same input, the same run: ephemeral keys come from a seeded generator
 * ---------------------- */
static struct agi_prng rng;

static const char *rng_name(void) { return "seeded"; }
static uint32_t rng_u32(void) { return (uint32_t)agi_prng_u64(&rng); }
static void rng_bytes(void *const to, const size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)to)[i] = (uint8_t)agi_prng_u64(&rng);
}
static randombytes_implementation rng_seeded = {
    .implementation_name = rng_name,
    .random = rng_u32,
    .buf = rng_bytes,
};

static struct agi_link_keys ours;
static uint8_t their_secret[32]; /* of the Ed25519 key with seed 2, 0, 0, … */

static void init_once(void)
{
	static bool done;
	uint8_t seed[32] = {1}, pub[32];
	struct agi_links_cfg cfg = {.n_psk = 2, .psk = {{5}, {6}}};
	enum agi_err err;

	if (done)
		return;
	done = true;
	randombytes_set_implementation(&rng_seeded);
	err = agi_crypto_init();
	assert(!err);
	agi_keypair_of_seed(seed, pub, cfg.seckey);
	err = agi_link_keys_init(&ours, &cfg);
	assert(!err);
	seed[0] = 2;
	agi_keypair_of_seed(seed, pub, cfg.seckey);
	err =
	    crypto_sign_ed25519_sk_to_curve25519(their_secret, cfg.seckey) ? AGI_E_INVALID : AGI_OK;
	assert(!err);
}

/* --- feeding
 * ------------------------------------------------------------------------------------------ */
/* As a connection does: in pieces, unused bytes again with what follows. Stops at an error. */
static enum agi_err feed_hello(struct agi_hello *h, struct agi_str in, size_t piece,
			       struct agi_buf *out)
{
	size_t at = 0, have = 0;
	enum agi_err err = AGI_OK;
	struct agi_why why = {""};

	while (!err && h->state != AGI_HELLO_DONE && have < in.n) {
		size_t used;

		have = in.n - have < piece ? in.n : have + piece;
		err = agi_hello_feed(h, (const uint8_t *)in.p + at, have - at, &used, out, &why);
		assert(used <= have - at);
		assert(err == AGI_OK || why.text[0]);
		at += used;
		assert(have - at <= AGI_HELLO_MESSAGE_MAX + 2 || err || h->state == AGI_HELLO_DONE);
	}
	return err;
}

static void fuzz_raw(struct agi_cur *in, bool dials)
{
	static const struct agi_id anybody;
	struct agi_hello h;
	struct agi_buf out;
	size_t piece = 1u + agi_cur_u8(in);
	enum agi_err err = AGI_OK;

	agi_buf_init(&out, 0);
	if (dials)
		err = agi_hello_dial(&h, &ours, &anybody, AGI_CHAN_CONTROL, &out);
	else
		agi_hello_answer(&h, &ours);
	if (!err)
		err = feed_hello(&h, agi_cur_take(in, in->n), piece, &out);
	/* nobody gets in by luck */
	assert(err || h.state != AGI_HELLO_DONE);
	agi_buf_free(&out);
}

/* --- a member's handshake with odd payloads
 * -------------------------------------------------------------- */
static void start_theirs(struct agi_noise *theirs, bool dials)
{
	static const uint8_t psk[1][32] = {{6}};
	const struct agi_noise_cfg cfg = {
	    .protocol = "Noise_XXpsk3_25519_ChaChaPoly_BLAKE2b",
	    .is_initiator = dials,
	    .prologue = AGI_STR("\x01"
				"AGI\x02\x02"),
	    .secret = their_secret,
	    .psk = psk,
	    .n_psk = 1,
	};
	enum agi_err err = agi_noise_start(theirs, &cfg, NULL);

	assert(!err);
}

static struct agi_str slice(struct agi_cur *in)
{
	size_t n = agi_cur_u8(in);

	return agi_cur_take(in, n < in->n ? n : in->n);
}

/* Writes their next message with its length. */
static void say(struct agi_noise *theirs, struct agi_str payload, struct agi_buf *wire)
{
	struct agi_buf m;
	enum agi_err err;

	agi_buf_init(&m, 0);
	err = agi_noise_write(theirs, payload, &m);
	assert(!err);
	agi_buf_u16(wire, (uint16_t)m.n);
	agi_buf_put_str(wire, agi_buf_str(&m));
	agi_buf_free(&m);
}

/* Their side reads what ours said after skip bytes; false when there is none. */
static bool hear(struct agi_noise *theirs, const struct agi_buf *said, size_t skip)
{
	struct agi_cur in = agi_cur_of(agi_buf_str(said));
	struct agi_buf payload;
	struct agi_str m;
	enum agi_err err;

	(void)agi_cur_take(&in, skip);
	m = agi_cur_take(&in, agi_cur_u16(&in));
	if (in.bad)
		return false;
	agi_buf_init(&payload, 0);
	err = agi_noise_read(theirs, m, &payload);
	assert(!err);
	agi_buf_free(&payload);
	return true;
}

/* Only the identity that matches their static key may come through. */
static void fuzz_dialler(struct agi_cur *in)
{
	struct agi_hello h;
	struct agi_noise theirs;
	struct agi_buf wire, said;
	size_t piece = 1u + agi_cur_u8(in);

	agi_buf_init(&wire, 0);
	agi_buf_init(&said, 0);
	agi_hello_answer(&h, &ours);
	start_theirs(&theirs, true);
	agi_buf_put(&wire,
		    "\x01"
		    "AGI\x02\x02",
		    6);
	say(&theirs, slice(in), &wire);
	if (!feed_hello(&h, agi_buf_str(&wire), piece, &said) && hear(&theirs, &said, 0)) {
		agi_buf_reset(&wire);
		say(&theirs, slice(in), &wire);
		if (!feed_hello(&h, agi_buf_str(&wire), piece, &said))
			assert(h.state == AGI_HELLO_DONE && h.chan == AGI_CHAN_BULK &&
			       h.version >= 1);
	}
	agi_buf_free(&wire);
	agi_buf_free(&said);
}

static void fuzz_answerer(struct agi_cur *in)
{
	static const struct agi_id anybody;
	struct agi_hello h;
	struct agi_noise theirs;
	struct agi_buf wire, said;
	size_t piece = 1u + agi_cur_u8(in);
	enum agi_err err;

	agi_buf_init(&wire, 0);
	agi_buf_init(&said, 0);
	err = agi_hello_dial(&h, &ours, &anybody, AGI_CHAN_BULK, &said);
	assert(!err);
	start_theirs(&theirs, false);
	if (hear(&theirs, &said, AGI_LINK_PREFACE_BYTES)) {
		say(&theirs, slice(in), &wire);
		agi_buf_put_str(&wire, slice(in)); /* where the welcome should be */
		(void)!feed_hello(&h, agi_buf_str(&wire), piece, &said);
		assert(h.state != AGI_HELLO_DONE); /* nobody guesses a tag */
	}
	agi_buf_free(&wire);
	agi_buf_free(&said);
}

/* --- records ---------------------------------------------------------------------------- */
struct twin {
	struct agi_buf text; /* all the text of the records */
	struct agi_buf got;  /* messages delivered, length first */
	int marks;
};

static bool on_message(void *ctx, struct agi_str m)
{
	assert(m.n <= AGI_LINK_FRAME_MAX);
	agi_buf_blob(&((struct twin *)ctx)->got, m);
	return true;
}

static bool on_mark(void *ctx)
{
	((struct twin *)ctx)->marks++;
	return true;
}

/* What was delivered must be a prefix of the text, ending between two messages; all of it up to the
 * first message that is not whole unless the inbox stopped with an error. */
static void check_twin(const struct twin *t, enum agi_err err)
{
	struct agi_cur whole = agi_cur_of(agi_buf_str(&t->text));
	size_t n = 0;

	assert(t->got.n <= t->text.n);
	assert(t->got.n == 0 || memcmp(t->got.p, t->text.p, t->got.n) == 0);
	for (;;) {
		(void)agi_cur_blob(&whole);
		if (whole.bad)
			break;
		n = t->text.n - whole.n;
	}
	assert(err || t->got.n == n);
}

static void fuzz_records(struct agi_cur *in)
{
	struct agi_noise_cipher send = {.key = {3}, .has_key = true}, recv = send;
	struct agi_inbox inbox;
	struct twin t = {.marks = 0};
	const struct agi_inbox_sink sink = {on_message, on_mark, &t};
	struct agi_buf wire;
	size_t piece = 1u + agi_cur_u8(in), at = 0;
	enum agi_err err = AGI_OK;

	send.nonce = recv.nonce = AGI_LINK_REKEY_RECORDS - 3; /* keys change on the way */
	agi_inbox_init(&inbox);
	agi_buf_init(&wire, 0);
	agi_buf_init(&t.text, 0);
	agi_buf_init(&t.got, 0);
	while (in->n) {
		struct agi_str text = slice(in);
		uint8_t record[256 + AGI_NOISE_TAG_BYTES];

		if (send.nonce % AGI_LINK_REKEY_RECORDS == 0)
			agi_noise_rekey(&send);
		if (text.n)
			memcpy(record, text.p, text.n);
		err = agi_noise_seal(&send, AGI_STR(""), record, text.n);
		assert(!err);
		agi_buf_u16(&wire, (uint16_t)(text.n + AGI_NOISE_TAG_BYTES));
		agi_buf_put(&wire, record, text.n + AGI_NOISE_TAG_BYTES);
		agi_buf_put_str(&t.text, text);
	}
	for (size_t have = 0; !err && have < wire.n;) {
		struct agi_why why = {""};
		size_t used;

		have = wire.n - have < piece ? wire.n : have + piece;
		err = agi_inbox_feed(&inbox, &recv, wire.p + at, have - at, &used, &sink, &why);
		assert(used <= have - at);
		assert(!err || err == AGI_E_TOO_LARGE || err == AGI_E_MALFORMED);
		at += used;
	}
	check_twin(&t, err);
	agi_inbox_free(&inbox);
	agi_buf_free(&wire);
	agi_buf_free(&t.text);
	agi_buf_free(&t.got);
}

static void fuzz_first_bytes(struct agi_cur *in)
{
	struct agi_str s = agi_cur_take(in, in->n);
	enum agi_wire wire = AGI_WIRE_COUNT;

	if (agi_wire_of(&wire, s))
		assert(s.n > 0 && wire <= AGI_WIRE_COUNT);
	else
		assert(s.n < 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct agi_cur in = {data, n, false};
	uint8_t mode = agi_cur_u8(&in) % 6;

	init_once();
	agi_prng_seed(&rng, 1);
	if (mode <= 1)
		fuzz_raw(&in, mode == 1);
	else if (mode == 2)
		fuzz_dialler(&in);
	else if (mode == 3)
		fuzz_answerer(&in);
	else if (mode == 4)
		fuzz_records(&in);
	else
		fuzz_first_bytes(&in);
	return 0;
}
