/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/safety_gateway/statement.h"

#include <string.h>

enum { STATEMENT_VERSION = 1, LEAF = 0, NODE = 1 };

static const char context[] = "agihpc vote batch 1"; /* so that no other signature of this key can stand for one */

/* --- bytes --------------------------------------------------------------------------------------------- */
static uint8_t *put(uint8_t *to, const void *p, size_t n)
{
	memcpy(to, p, n);
	return to + n;
}

static uint8_t *put_u64(uint8_t *to, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		to[i] = (uint8_t)(v >> (56 - 8 * i));
	return to + 8;
}

static uint8_t *put_double(uint8_t *to, double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof bits);
	return put_u64(to, bits);
}

void agi_statement_encode(uint8_t out[AGI_STATEMENT_BYTES], const struct agi_statement *s)
{
	uint8_t *p = out;

	*p++ = STATEMENT_VERSION;
	p = put(p, s->plan_hash, sizeof s->plan_hash);
	p = put(p, s->nonce, sizeof s->nonce);
	*p++ = (uint8_t)s->decision;
	p = put_double(p, s->risk);
	p = put_double(p, s->bond_index);
	p = put(p, s->policy_hash, sizeof s->policy_hash);
	p = put_u64(p, s->policy_epoch);
	p = put_u64(p, s->stop_epoch);
	p = put(p, s->gateway.b, AGI_ID_BYTES);
	p = put_u64(p, s->incarnation);
	(void)put_u64(p, s->at_ms);
}

enum agi_err agi_statement_decode(struct agi_statement *out, struct agi_str bytes)
{
	struct agi_cur c = agi_cur_of(bytes);

	*out = (struct agi_statement){0};
	if (bytes.n != AGI_STATEMENT_BYTES || agi_cur_u8(&c) != STATEMENT_VERSION)
		return AGI_E_MALFORMED;
	agi_cur_copy(&c, out->plan_hash, sizeof out->plan_hash);
	agi_cur_copy(&c, out->nonce, sizeof out->nonce);
	out->decision = (enum agi_decision)agi_cur_u8(&c);
	out->risk = agi_cur_f64(&c);
	out->bond_index = agi_cur_f64(&c);
	agi_cur_copy(&c, out->policy_hash, sizeof out->policy_hash);
	out->policy_epoch = agi_cur_u64(&c);
	out->stop_epoch = agi_cur_u64(&c);
	agi_cur_copy(&c, out->gateway.b, AGI_ID_BYTES);
	out->incarnation = agi_cur_u64(&c);
	out->at_ms = agi_cur_u64(&c);
	return out->decision > AGI_DECISION_NONE && out->decision < AGI_DECISION_COUNT ? AGI_OK : AGI_E_MALFORMED;
}

/* --- policies -------------------------------------------------------------------------------------------- */
void agi_policy_hash(uint8_t out[32], const struct agi_gateway_policy *p)
{
	uint8_t numbers[6 * 8 + 8 + 8], *at = numbers;
	struct agi_buf b;

	at = put_u64(at, (uint64_t)p->eval.mode);
	at = put_double(at, p->eval.physical_harm_threshold);
	at = put_double(at, p->bond_index_warn);
	at = put_double(at, p->bond_index_block);
	at = put_double(at, p->bond_index_fallback);
	at = put_u64(at, (uint64_t)p->bond_index_action);
	at = put_u64(at, p->n_banned);
	(void)put_u64(at, p->eval.profile_name.n);
	agi_buf_init(&b, 0);
	agi_buf_put(&b, numbers, sizeof numbers);
	agi_buf_put_str(&b, p->eval.profile_name);
	for (size_t i = 0; i < p->n_banned; i++)
		agi_buf_blob(&b, p->banned[i]);
	if (agi_eval_has_own_profile(&p->eval))
		agi_buf_put(&b, p->eval.profile->hash, 32);
	if (p->rule_set)
		agi_buf_put(&b, agi_rules_hash(p->rule_set), 32);
	memset(out, 0, 32); /* out of memory: a policy that nobody else has */
	if (!b.err)
		agi_blake2b_256(out, &(struct agi_str){(char *)b.p, b.n}, 1);
	agi_buf_free(&b);
}

/* --- the tree (RFC 9162 2.1.1, 2.1.3) ----------------------------------------------------------------------- */
static void hash_leaf(uint8_t out[32], const uint8_t bytes[AGI_STATEMENT_BYTES])
{
	static const char leaf = LEAF;
	const struct agi_str parts[] = {{&leaf, 1}, {(const char *)bytes, AGI_STATEMENT_BYTES}};

	agi_blake2b_256(out, parts, 2);
}

static void hash_node(uint8_t out[32], const uint8_t left[32], const uint8_t right[32])
{
	static const char node = NODE;
	const struct agi_str parts[] = {{&node, 1}, {(const char *)left, 32}, {(const char *)right, 32}};

	agi_blake2b_256(out, parts, 3);
}

/* The largest power of two smaller than n (n > 1). */
static size_t left_part(size_t n)
{
	size_t k = 1;

	while (2 * k < n)
		k *= 2;
	return k;
}

/* Root of n leaves; what it combines on the way is added to the paths of the leaves below. */
static void build(struct agi_signed_statement *const *s, size_t n, uint8_t root[32])
{
	uint8_t left[32], right[32];
	size_t k;

	if (n == 1) {
		hash_leaf(root, s[0]->bytes);
		return;
	}
	k = left_part(n);
	build(s, k, left);
	build(s + k, n - k, right);
	for (size_t i = 0; i < n; i++)
		memcpy(s[i]->path[s[i]->n_path++], i < k ? right : left, 32);
	hash_node(root, left, right);
}

/* From a leaf up to the root of `count`; false when the path has another length. */
static bool climb(const struct agi_signed_statement *s, uint8_t root[32])
{
	size_t first = 0, n = s->count, turns = 0;
	bool is_right[AGI_STATEMENT_PATH];

	while (n > 1 && turns < AGI_STATEMENT_PATH) { /* the way down, to know on which side each step is */
		size_t k = left_part(n);

		is_right[turns] = s->index >= first + k;
		first += is_right[turns] ? k : 0;
		n = is_right[turns] ? n - k : k;
		turns++;
	}
	if (n != 1 || turns != s->n_path)
		return false;
	hash_leaf(root, s->bytes);
	for (size_t i = 0; i < turns; i++) {
		bool right = is_right[turns - 1 - i];

		hash_node(root, right ? s->path[i] : root, right ? root : s->path[i]);
	}
	return true;
}

static void signed_bytes(char out[sizeof context + 32], const uint8_t root[32])
{
	memcpy(out, context, sizeof context);
	memcpy(out + sizeof context, root, 32);
}

void agi_statements_sign(struct agi_signed_statement *const *s, size_t n, const uint8_t seckey[AGI_SECKEY_BYTES])
{
	uint8_t root[32], sig[AGI_SIG_BYTES];
	char text[sizeof context + 32];

	for (size_t i = 0; i < n; i++) {
		s[i]->index = (uint32_t)i;
		s[i]->count = (uint32_t)n;
		s[i]->n_path = 0;
	}
	build(s, n, root);
	signed_bytes(text, root);
	agi_sign(sig, seckey, (struct agi_str){text, sizeof text});
	for (size_t i = 0; i < n; i++) {
		memcpy(s[i]->sig, sig, sizeof sig);
		memcpy(s[i]->pubkey, seckey + AGI_SECKEY_BYTES - AGI_PUBKEY_BYTES, AGI_PUBKEY_BYTES);
	}
}

static bool was_seen(const struct agi_signed_roots *seen, const struct agi_signed_root *r)
{
	for (size_t i = 0; i < seen->n; i++)
		if (memcmp(&seen->of[i], r, sizeof *r) == 0)
			return true;
	return false;
}

static void remember(struct agi_signed_roots *seen, const struct agi_signed_root *r)
{
	seen->of[seen->next] = *r;
	seen->next = (seen->next + 1) % AGI_SIGNED_ROOTS;
	if (seen->n < AGI_SIGNED_ROOTS)
		seen->n++;
}

static bool is_signed(const struct agi_signed_statement *s, const uint8_t root[32], struct agi_signed_roots *seen)
{
	char text[sizeof context + 32];
	struct agi_signed_root r;

	memcpy(r.root, root, sizeof r.root);
	memcpy(r.sig, s->sig, sizeof r.sig);
	memcpy(r.pubkey, s->pubkey, sizeof r.pubkey);
	if (seen && was_seen(seen, &r))
		return true;
	signed_bytes(text, root);
	if (!agi_verify(s->sig, s->pubkey, (struct agi_str){text, sizeof text}))
		return false;
	if (seen)
		remember(seen, &r);
	return true;
}

enum agi_err agi_statement_verify(const struct agi_signed_statement *s, struct agi_statement *out,
                                  struct agi_signed_roots *seen, struct agi_why *why)
{
	struct agi_statement said;
	uint8_t root[32];
	struct agi_id id;

	if (agi_statement_decode(&said, (struct agi_str){(const char *)s->bytes, sizeof s->bytes}))
		return agi_fail(why, AGI_E_MALFORMED, "the statement is not of a version known here");
	agi_id_of_pubkey(&id, s->pubkey);
	if (!agi_id_eq(&id, &said.gateway))
		return agi_fail(why, AGI_E_AUTH, "the key is not that of the gateway it names");
	if (s->count == 0 || s->count > AGI_STATEMENT_BATCH || s->index >= s->count ||
	    s->n_path > AGI_STATEMENT_PATH || !climb(s, root))
		return agi_fail(why, AGI_E_AUTH, "the audit path does not fit place %u of %u", (unsigned)s->index,
		                (unsigned)s->count);
	if (!is_signed(s, root, seen))
		return agi_fail(why, AGI_E_AUTH, "the signature does not fit what is said");
	if (out)
		*out = said;
	return AGI_OK;
}
