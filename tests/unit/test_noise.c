/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <jansson.h>

#include "base/hash.h"
#include "net/noise.h"

#define XXPSK3 "Noise_XXpsk3_25519_ChaChaPoly_BLAKE2b"

static void unhex(struct agi_buf *out, const char *hex)
{
	size_t n = strlen(hex) / 2;
	uint8_t *p = agi_buf_reserve(out, n);

	assert_non_null(p);
	assert_int_equal(agi_unhex(p, n, agi_str_of(hex)), AGI_OK);
	out->n += n;
}

static void key_of(uint8_t out[32], const char *hex)
{
	assert_int_equal(agi_unhex(out, 32, agi_str_of(hex)), AGI_OK);
}

static const char *field(const json_t *vector, const char *side, const char *name)
{
	char key[64];

	snprintf(key, sizeof key, "%s_%s", side, name);
	return json_string_value(json_object_get(vector, key));
}

/* Starts one side as the vector says. */
static void start_side(struct agi_noise *h, const json_t *v, bool is_initiator)
{
	const char *side = is_initiator ? "init" : "resp", *rs = field(v, side, "remote_static");
	uint8_t s[32], e[32], remote[32], psk[AGI_NOISE_PSKS_MAX][32];
	const json_t *psks = json_object_get(v, is_initiator ? "init_psks" : "resp_psks");
	struct agi_buf prologue;
	struct agi_why why;
	struct agi_noise_cfg cfg = {
	    .protocol = json_string_value(json_object_get(v, "protocol_name")),
	    .is_initiator = is_initiator,
	    .secret = s,
	    .ephemeral = e,
	    .psk = (const uint8_t(*)[32])psk,
	    .n_psk = json_array_size(psks),
	};

	agi_buf_init(&prologue, 0);
	unhex(&prologue, field(v, side, "prologue"));
	cfg.prologue = agi_buf_str(&prologue);
	key_of(s, field(v, side, "static"));
	key_of(e, field(v, side, "ephemeral"));
	if (rs) {
		key_of(remote, rs);
		cfg.remote_static = remote;
	}
	for (size_t i = 0; i < cfg.n_psk; i++)
		key_of(psk[i], json_string_value(json_array_get(psks, i)));
	assert_int_equal(agi_noise_start(h, &cfg, &why), AGI_OK);
	agi_buf_free(&prologue);
}

static void assert_same(struct agi_str a, struct agi_str b)
{
	assert_int_equal(a.n, b.n);
	assert_memory_equal(a.p, b.p, a.n);
}

static void handshake_step(struct agi_noise *from, struct agi_noise *to, struct agi_str payload,
			   struct agi_str expected)
{
	struct agi_buf wire, text;

	agi_buf_init(&wire, 0);
	agi_buf_init(&text, 0);
	assert_true(agi_noise_is_my_turn(from));
	assert_false(agi_noise_is_my_turn(to));
	assert_int_equal(agi_noise_write(from, payload, &wire), AGI_OK);
	assert_same(agi_buf_str(&wire), expected);
	assert_int_equal(agi_noise_read(to, agi_buf_str(&wire), &text), AGI_OK);
	assert_same(agi_buf_str(&text), payload);
	agi_buf_free(&wire);
	agi_buf_free(&text);
}

static void transport_step(struct agi_noise_cipher *from, struct agi_noise_cipher *to,
			   struct agi_str payload, struct agi_str expected)
{
	struct agi_buf wire;

	agi_buf_init(&wire, 0);
	agi_buf_put_str(&wire, payload);
	assert_non_null(agi_buf_reserve(&wire, 16));
	assert_int_equal(agi_noise_seal(from, AGI_STR(""), wire.p, payload.n), AGI_OK);
	wire.n += 16;
	assert_same(agi_buf_str(&wire), expected);
	assert_int_equal(agi_noise_open(to, AGI_STR(""), wire.p, wire.n), AGI_OK);
	wire.n -= 16;
	assert_same(agi_buf_str(&wire), payload);
	agi_buf_free(&wire);
}

static void check_hash(const json_t *v, const struct agi_noise *i, const struct agi_noise *r)
{
	const char *hex = json_string_value(json_object_get(v, "handshake_hash"));
	uint8_t expected[64];

	assert_memory_equal(i->hash, r->hash, 64);
	if (!hex) /* snow's vectors do not give it */
		return;
	assert_int_equal(agi_unhex(expected, 64, agi_str_of(hex)), AGI_OK);
	assert_memory_equal(i->hash, expected, 64);
}

/* Returns how many transport messages were checked. */
static size_t check_vector(const json_t *v)
{
	const json_t *messages = json_object_get(v, "messages");
	struct agi_noise side[2]; /* [0] the initiator */
	struct agi_noise_cipher send[2], recv[2];
	size_t transport = 0;
	bool is_split = false;

	start_side(&side[0], v, true);
	start_side(&side[1], v, false);
	for (size_t i = 0; i < json_array_size(messages); i++) {
		const json_t *m = json_array_get(messages, i);
		size_t from = i % 2, to = 1 - from;
		struct agi_buf payload, wire;

		agi_buf_init(&payload, 0);
		agi_buf_init(&wire, 0);
		unhex(&payload, json_string_value(json_object_get(m, "payload")));
		unhex(&wire, json_string_value(json_object_get(m, "ciphertext")));
		if (!agi_noise_is_done(&side[0])) {
			handshake_step(&side[from], &side[to], agi_buf_str(&payload),
				       agi_buf_str(&wire));
		} else {
			for (size_t k = 0; k < 2 && !is_split; k++)
				agi_noise_split(&side[k], &send[k], &recv[k]);
			is_split = true;
			transport_step(&send[from], &recv[to], agi_buf_str(&payload),
				       agi_buf_str(&wire));
			transport++;
		}
		agi_buf_free(&payload);
		agi_buf_free(&wire);
	}
	assert_true(agi_noise_is_done(&side[1]));
	check_hash(v, &side[0], &side[1]);
	return transport;
}

static void every_published_vector_is_reproduced(void **state)
{
	char path[4096];
	const char *src = getenv("AGI_SRCDIR");
	json_error_t error;
	json_t *all, *v;
	size_t i, transport = 0;

	(void)state;
	snprintf(path, sizeof path, "%s/tests/data/noise_vectors.json", src ? src : ".");
	all = json_load_file(path, 0, &error);
	assert_non_null(all);
	assert_int_equal(json_array_size(json_object_get(all, "vectors")), 16);
	json_array_foreach(json_object_get(all, "vectors"), i, v) transport += check_vector(v);
	assert_true(transport >= 16);
	json_decref(all);
}

/* --- beyond the vectors ---------------------------------------------------------------- */
static const uint8_t key_a[32] = {1}, key_b[32] = {2}, psk_a[1][32] = {{3}}, psk_b[1][32] = {{4}};

static void start_pair(struct agi_noise *i, struct agi_noise *r, const uint8_t (*r_psk)[32])
{
	struct agi_noise_cfg cfg = {
	    .protocol = XXPSK3, .is_initiator = true, .secret = key_a, .psk = psk_a, .n_psk = 1};
	struct agi_why why;

	assert_int_equal(agi_noise_start(i, &cfg, &why), AGI_OK);
	cfg.is_initiator = false;
	cfg.secret = key_b;
	cfg.psk = r_psk;
	assert_int_equal(agi_noise_start(r, &cfg, &why), AGI_OK);
}

/* Writes with from; leaves the wire bytes in out. */
static void write_message(struct agi_noise *from, struct agi_buf *out)
{
	agi_buf_reset(out);
	assert_int_equal(agi_noise_write(from, AGI_STR("hello"), out), AGI_OK);
}

static void another_psk_is_refused_at_the_last_payload_and_a_copy_can_try_again(void **state)
{
	struct agi_noise i, r, copy;
	struct agi_buf wire, text;

	(void)state;
	agi_buf_init(&wire, 0);
	agi_buf_init(&text, 0);
	start_pair(&i, &r, psk_b);
	write_message(&i, &wire);
	assert_int_equal(agi_noise_read(&r, agi_buf_str(&wire), &text), AGI_OK);
	write_message(&r, &wire);
	assert_int_equal(agi_noise_read(&i, agi_buf_str(&wire), &text), AGI_OK);
	write_message(&i, &wire);
	copy = r;
	assert_int_equal(agi_noise_read(&r, agi_buf_str(&wire), &text), AGI_E_AUTH);
	assert_true(r.reached_payload);
	agi_noise_set_psk(&copy, 0, psk_a[0]);
	assert_int_equal(agi_noise_read(&copy, agi_buf_str(&wire), &text), AGI_OK);
	assert_true(agi_noise_is_done(&copy));
	agi_buf_free(&wire);
	agi_buf_free(&text);
}

static void a_changed_or_cut_message_is_refused(void **state)
{
	(void)state;
	for (size_t at = 0; at < 3; at++) {
		struct agi_noise side[2];
		struct agi_buf wire, text;
		enum agi_err err = AGI_OK;

		agi_buf_init(&wire, 0);
		agi_buf_init(&text, 0);
		start_pair(&side[0], &side[1], psk_a);
		for (size_t m = 0; m < 3 && !err; m++) {
			write_message(&side[m % 2], &wire);
			if (m == at)
				wire.n = at == 0 ? 31 : wire.n - 1;
			err = agi_noise_read(&side[1 - m % 2], agi_buf_str(&wire), &text);
		}
		assert_int_equal(err, at == 0 ? AGI_E_MALFORMED : AGI_E_AUTH);
		agi_buf_free(&wire);
		agi_buf_free(&text);
	}
}

static void a_public_key_of_small_order_is_refused(void **state)
{
	struct agi_noise_cfg cfg = {.protocol = "Noise_XX_25519_ChaChaPoly_BLAKE2b",
				    .secret = key_a};
	static const uint8_t zero[32];
	struct agi_noise r;
	struct agi_buf wire, text;
	struct agi_why why;

	(void)state;
	agi_buf_init(&wire, 0);
	agi_buf_init(&text, 0);
	assert_int_equal(agi_noise_start(&r, &cfg, &why), AGI_OK);
	assert_int_equal(agi_noise_read(&r, (struct agi_str){(const char *)zero, 32}, &text),
			 AGI_OK);
	assert_int_equal(agi_noise_write(&r, AGI_STR(""), &wire), AGI_E_AUTH);
	agi_buf_free(&wire);
	agi_buf_free(&text);
}

static void both_sides_rekey_alike_and_the_old_key_is_gone(void **state)
{
	struct agi_noise_cipher a = {.key = {9}, .has_key = true}, b = a, old = a;
	uint8_t p[20] = "text";

	(void)state;
	agi_noise_rekey(&a);
	agi_noise_rekey(&b);
	assert_memory_not_equal(a.key, old.key, 32);
	assert_int_equal(agi_noise_seal(&a, AGI_STR(""), p, 4), AGI_OK);
	assert_int_equal(agi_noise_open(&b, AGI_STR(""), p, 20), AGI_OK);
	assert_memory_equal(p, "text", 4);
}

static void the_last_nonce_is_never_used(void **state)
{
	struct agi_noise_cipher c = {.has_key = true, .nonce = UINT64_MAX - 1};
	uint8_t p[16];

	(void)state;
	assert_int_equal(agi_noise_seal(&c, AGI_STR(""), p, 0), AGI_OK);
	assert_int_equal(agi_noise_seal(&c, AGI_STR(""), p, 0), AGI_E_FULL);
	assert_int_equal(agi_noise_open(&c, AGI_STR(""), p, 16), AGI_E_AUTH);
}

static void a_protocol_that_is_not_known_is_named(void **state)
{
	static const char *const bad[] = {
	    "Noise_NN_25519_ChaChaPoly_BLAKE2b",
	    "Noise_XX_448_ChaChaPoly_BLAKE2b",
	    "Noise_XXpsk4_25519_ChaChaPoly_BLAKE2b",
	    "Noise_XXpsk1+_25519_ChaChaPoly_BLAKE2b",
	    "Noise_XXpskx_25519_ChaChaPoly_BLAKE2b",
	    "Noise_",
	    "",
	};
	struct agi_noise h;
	struct agi_why why;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct agi_noise_cfg cfg = {
		    .protocol = bad[i], .is_initiator = true, .secret = key_a};

		assert_int_equal(agi_noise_start(&h, &cfg, &why), AGI_E_INVALID);
		assert_non_null(strstr(why.text, bad[i]));
	}
}

static void keys_that_do_not_fit_the_pattern_are_refused(void **state)
{
	struct agi_noise_cfg cfg = {.protocol = XXPSK3, .is_initiator = true, .secret = key_a};
	struct agi_noise h;
	struct agi_why why;

	(void)state;
	assert_int_equal(agi_noise_start(&h, &cfg, &why), AGI_E_INVALID);
	cfg = (struct agi_noise_cfg){.protocol = XXPSK3, .psk = psk_a, .n_psk = 1};
	assert_int_equal(agi_noise_start(&h, &cfg, &why), AGI_E_INVALID);
	cfg = (struct agi_noise_cfg){
	    .protocol = "Noise_IK_25519_ChaChaPoly_BLAKE2b", .is_initiator = true, .secret = key_a};
	assert_int_equal(agi_noise_start(&h, &cfg, &why), AGI_E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_published_vector_is_reproduced),
	    cmocka_unit_test(another_psk_is_refused_at_the_last_payload_and_a_copy_can_try_again),
	    cmocka_unit_test(a_changed_or_cut_message_is_refused),
	    cmocka_unit_test(a_public_key_of_small_order_is_refused),
	    cmocka_unit_test(both_sides_rekey_alike_and_the_old_key_is_gone),
	    cmocka_unit_test(the_last_nonce_is_never_used),
	    cmocka_unit_test(a_protocol_that_is_not_known_is_named),
	    cmocka_unit_test(keys_that_do_not_fit_the_pattern_are_refused),
	};

	if (agi_crypto_init())
		return 1;
	return cmocka_run_group_tests_name("noise", tests, NULL, NULL);
}
