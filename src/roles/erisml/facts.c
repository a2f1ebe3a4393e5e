/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/erisml/facts.h"

enum { WIRE_VARINT = 0, WIRE_LEN = 2, WIRE_FIXED32 = 5 };

static void put_varint(struct agi_buf *b, uint64_t v)
{
	while (v >= 0x80) {
		agi_buf_u8(b, (uint8_t)(v | 0x80));
		v >>= 7;
	}
	agi_buf_u8(b, (uint8_t)v);
}

static void put_key(struct agi_buf *b, unsigned number, unsigned wire)
{
	put_varint(b, number << 3 | wire);
}

static void put_bytes(struct agi_buf *b, unsigned number, struct agi_str s)
{
	put_key(b, number, WIRE_LEN);
	put_varint(b, s.n);
	agi_buf_put_str(b, s);
}

static void put_string(struct agi_buf *b, unsigned number, struct agi_str s)
{
	if (s.n)
		put_bytes(b, number, s);
}

static void put_fixed32(struct agi_buf *b, unsigned number, float v)
{
	uint32_t bits;
	uint8_t le[4];

	memcpy(&bits, &v, 4);
	for (int i = 0; i < 4; i++)
		le[i] = (uint8_t)(bits >> (8 * i));
	put_key(b, number, WIRE_FIXED32);
	agi_buf_put(b, le, 4);
}

/* Zero is told by its bits: -0.0 is not the default. */
static void put_float(struct agi_buf *b, unsigned number, float v)
{
	uint32_t bits;

	memcpy(&bits, &v, 4);
	if (bits)
		put_fixed32(b, number, v);
}

static void put_bool(struct agi_buf *b, unsigned number, bool v)
{
	if (v) {
		put_key(b, number, WIRE_VARINT);
		put_varint(b, 1);
	}
}

static void put_int32(struct agi_buf *b, unsigned number, int32_t v)
{
	if (v) {
		put_key(b, number, WIRE_VARINT);
		put_varint(b, (uint64_t)(int64_t)v);
	}
}

static size_t varint_bytes(uint64_t v)
{
	size_t n = 1;

	while (v >= 0x80) {
		v >>= 7;
		n++;
	}
	return n;
}

static void put_extension(struct agi_buf *b, const struct agi_extension *e)
{
	put_key(b, 100, WIRE_LEN);
	put_varint(b, 1 + varint_bytes(e->key.n) + e->key.n + 1 + 4);
	put_bytes(b, 1, e->key);
	put_fixed32(b, 2, e->value);
}

void agi_facts_encode(struct agi_buf *b, const struct agi_facts *f)
{
	put_string(b, 1, f->option_id);
	put_float(b, 10, f->expected_benefit);
	put_float(b, 11, f->expected_harm);
	put_float(b, 12, f->urgency);
	put_int32(b, 13, f->affected_count);
	put_bool(b, 20, f->violates_rights);
	put_bool(b, 21, f->has_valid_consent);
	put_bool(b, 22, f->violates_explicit_rule);
	put_bool(b, 30, f->discriminates_on_protected_attr);
	put_bool(b, 31, f->exploits_vulnerable_population);
	put_float(b, 40, f->physical_harm_risk);
	put_float(b, 41, f->collision_probability);
	put_float(b, 50, f->uncertainty_level);
	put_float(b, 51, f->evidence_quality);
	put_bool(b, 52, f->novel_situation);
	for (size_t i = 0; i < f->n_extensions; i++)
		put_extension(b, &f->extensions[i]);
	put_string(b, 101, f->maxim_action_kind);
	put_string(b, 102, f->maxim_polarity);
	agi_buf_put_str(b, f->unknown);
}

enum agi_err agi_facts_hash(char out[AGI_HASH_TEXT], const struct agi_facts *f)
{
	uint8_t digest[AGI_SHA256_BYTES];
	struct agi_buf b;
	enum agi_err err;

	agi_buf_init(&b, 0);
	agi_facts_encode(&b, f);
	err = b.err;
	if (!err) {
		agi_sha256(digest, agi_buf_str(&b));
		agi_hex(out, digest, sizeof digest);
	}
	agi_buf_free(&b);
	return err;
}
