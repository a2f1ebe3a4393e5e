/* SPDX-License-Identifier: Apache-2.0
 * What members send each other, and what lies on disk. The first byte chooses: 0 an envelope of a link message, opened
 * and decoded; 1 a stored item (second byte: length of its key). What decodes is encoded and decoded again and must be
 * the same. */
#include <assert.h>
#include <stdlib.h>

#include "dht/state.h"
#include "node/msg_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct agi_msg_scratch scratch;

static void encode_decoded(struct agi_str body, struct agi_buf *out, bool *is_ok)
{
	struct agi_why why = {""};
	struct agi_msg m;
	enum agi_err e = agi_msg_decode(body, &scratch, &m, &why);

	*is_ok = e == AGI_OK;
	if (e)
		assert(why.text[0]);
	else
		agi_msg_encode(out, &m);
}

static void fuzz_envelope(struct agi_str payload)
{
	struct agi_envelope env;
	struct agi_why why = {""};
	struct agi_buf a, b;
	bool is_ok;

	if (agi_envelope_open(payload, &env, &why)) {
		assert(why.text[0]);
		return;
	}
	if (env.kind != AGI_BODY_DHT)
		return;
	agi_buf_init(&a, 0);
	agi_buf_init(&b, 0);
	encode_decoded(env.body, &a, &is_ok);
	if (is_ok) {
		enum agi_err e = agi_envelope_open(agi_buf_str(&a), &env, &why);

		assert(!e);
		encode_decoded(env.body, &b, &is_ok);
		assert(is_ok && agi_str_eq(agi_buf_str(&a), agi_buf_str(&b)));
	}
	agi_buf_free(&a);
	agi_buf_free(&b);
}

static void fuzz_item(struct agi_cur *in)
{
	size_t n = agi_cur_u8(in);
	struct agi_str key = agi_cur_take(in, n < in->n ? n : in->n), value = agi_cur_take(in, in->n);
	struct agi_item item, again;
	struct agi_buf k, v;
	enum agi_err e;

	if (agi_item_decode(&item, key, value))
		return;
	agi_buf_init(&k, 0);
	agi_buf_init(&v, 0);
	agi_item_key(&k, 7, item.ns, item.key);
	agi_item_value(&v, &item);
	e = agi_item_decode(&again, agi_buf_str(&k), agi_buf_str(&v));
	assert(!e && agi_str_eq(again.ns, item.ns) && agi_str_eq(again.key, item.key) &&
	       agi_str_eq(again.value, item.value) && agi_version_cmp(&again.version, &item.version) == 0 &&
	       again.expires_ms == item.expires_ms && again.is_tombstone == item.is_tombstone);
	agi_buf_free(&k);
	agi_buf_free(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct agi_cur in = {data, n, false};

	if (agi_cur_u8(&in) % 2 == 0)
		fuzz_envelope(agi_cur_take(&in, in.n));
	else
		fuzz_item(&in);
	return 0;
}
