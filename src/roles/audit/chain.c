/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/audit/chain.h"

#include <string.h>

enum { ENTRY_VERSION = 1, BODY_VERSION = 1 };

static const char context[] = "agihpc audit head 1"; /* so that no other signature of this key can stand for one */

const char *agi_audit_kind_name(enum agi_audit_kind k)
{
	static const char *const names[] = {"none", "start", "decision", "stop", "witness", "head", "proofs", "outcome",
	                                    "action", "reflexes", "policy"};

	return (unsigned)k < sizeof names / sizeof *names ? names[k] : "unknown";
}

/* --- entries ------------------------------------------------------------------------------------------------- */
enum agi_err agi_audit_decode(struct agi_audit_entry *out, struct agi_str bytes)
{
	struct agi_cur c = agi_cur_of(bytes);
	uint8_t version = agi_cur_u8(&c);

	*out = (struct agi_audit_entry){.kind = (enum agi_audit_kind)agi_cur_u8(&c)};
	agi_cur_copy(&c, out->node.b, AGI_ID_BYTES);
	out->incarnation = agi_cur_u64(&c);
	out->seq = agi_cur_u64(&c);
	out->at_ms = agi_cur_u64(&c);
	agi_cur_copy(&c, out->prev, sizeof out->prev);
	out->body = agi_cur_take(&c, c.n);
	if (c.bad || version != ENTRY_VERSION || out->kind == AGI_AUDIT_NONE || out->kind >= AGI_AUDIT_KINDS)
		return AGI_E_MALFORMED;
	return AGI_OK;
}

void agi_audit_hash(uint8_t out[AGI_AUDIT_HASH], struct agi_str bytes) { agi_blake2b_256(out, &bytes, 1); }

/* --- writing ------------------------------------------------------------------------------------------------- */
static void put_header(struct agi_buf *b, const struct agi_audit_chain *c, enum agi_audit_kind kind, uint64_t at_ms)
{
	agi_buf_u8(b, ENTRY_VERSION);
	agi_buf_u8(b, (uint8_t)kind);
	agi_buf_put(b, c->node.b, AGI_ID_BYTES);
	agi_buf_u64(b, c->incarnation);
	agi_buf_u64(b, c->next_seq);
	agi_buf_u64(b, at_ms);
	agi_buf_put(b, c->last, sizeof c->last);
}

bool agi_audit_append(struct agi_audit_chain *c, struct agi_buf *b, enum agi_audit_kind kind, uint64_t at_ms,
                      struct agi_str body)
{
	uint8_t hash[AGI_AUDIT_HASH];
	size_t n = AGI_AUDIT_HEADER + body.n;

	if (n > AGI_AUDIT_ENTRY_MAX || !agi_buf_reserve(b, n + AGI_AUDIT_RECORD_EXTRA))
		return false;
	agi_buf_u32(b, (uint32_t)n);
	put_header(b, c, kind, at_ms);
	agi_buf_put_str(b, body);
	agi_audit_hash(hash, (struct agi_str){(char *)b->p + b->n - n, n});
	agi_buf_put(b, hash, sizeof hash);
	memcpy(c->last, hash, sizeof hash);
	c->next_seq++;
	return true;
}

/* What a HEAD signs: all of it but its body. */
static void hash_head(uint8_t out[32], struct agi_str header)
{
	const struct agi_str parts[] = {{context, sizeof context - 1}, header};

	agi_blake2b_256(out, parts, 2);
}

bool agi_audit_append_head(struct agi_audit_chain *c, struct agi_buf *b, uint64_t at_ms,
                           const uint8_t seckey[AGI_SECKEY_BYTES])
{
	uint8_t body[AGI_PUBKEY_BYTES + AGI_SIG_BYTES], digest[32];
	struct agi_buf header;
	bool is_whole;

	agi_buf_init(&header, 0);
	put_header(&header, c, AGI_AUDIT_HEAD, at_ms);
	hash_head(digest, agi_buf_str(&header));
	is_whole = !header.err;
	agi_buf_free(&header);
	memcpy(body, seckey + AGI_SEED_BYTES, AGI_PUBKEY_BYTES);
	agi_sign(body + AGI_PUBKEY_BYTES, seckey, (struct agi_str){(char *)digest, sizeof digest});
	return is_whole && agi_audit_append(c, b, AGI_AUDIT_HEAD, at_ms, (struct agi_str){(char *)body, sizeof body});
}

static enum agi_err check_head(struct agi_str bytes, const struct agi_audit_entry *e, struct agi_why *why)
{
	const uint8_t *body = (const uint8_t *)e->body.p;
	struct agi_id id;
	uint8_t digest[32];

	if (e->body.n != AGI_PUBKEY_BYTES + AGI_SIG_BYTES)
		return agi_fail(why, AGI_E_CORRUPT, "a head of %zu bytes", e->body.n);
	agi_id_of_pubkey(&id, body);
	if (!agi_id_eq(&id, &e->node))
		return agi_fail(why, AGI_E_AUTH, "a head signed with another node's key");
	hash_head(digest, (struct agi_str){bytes.p, AGI_AUDIT_HEADER});
	if (!agi_verify(body + AGI_PUBKEY_BYTES, body, (struct agi_str){(char *)digest, sizeof digest}))
		return agi_fail(why, AGI_E_AUTH, "a head whose signature is wrong");
	return AGI_OK;
}

/* --- bodies -------------------------------------------------------------------------------------------------- */
void agi_audit_start_encode(struct agi_buf *b, const struct agi_audit_start *s)
{
	agi_buf_u8(b, BODY_VERSION);
	agi_buf_u8(b, s->has_before);
	agi_buf_u64(b, s->incarnation);
	agi_buf_u64(b, s->seq);
	agi_buf_u64(b, s->cut_bytes);
}

enum agi_err agi_audit_start_decode(struct agi_audit_start *out, struct agi_str body)
{
	struct agi_cur c = agi_cur_of(body);
	uint8_t version = agi_cur_u8(&c);

	*out = (struct agi_audit_start){.has_before = agi_cur_u8(&c) != 0};
	out->incarnation = agi_cur_u64(&c);
	out->seq = agi_cur_u64(&c);
	out->cut_bytes = agi_cur_u64(&c);
	return c.bad || c.n || version != BODY_VERSION ? AGI_E_MALFORMED : AGI_OK;
}

void agi_audit_decision_encode(struct agi_buf *b, const struct agi_audit_decision *d)
{
	struct agi_str id = d->plan_id;

	if (id.n > AGI_AUDIT_PLAN_ID_MAX)
		id.n = AGI_AUDIT_PLAN_ID_MAX;
	agi_buf_u8(b, BODY_VERSION);
	agi_buf_put(b, d->plan_hash, sizeof d->plan_hash);
	agi_buf_put(b, d->nonce, sizeof d->nonce);
	agi_buf_u8(b, (uint8_t)d->decision);
	agi_buf_f64(b, d->risk);
	agi_buf_f64(b, d->bond_index);
	agi_buf_put(b, d->policy_hash, sizeof d->policy_hash);
	agi_buf_u64(b, d->policy_epoch);
	agi_buf_u64(b, d->stop_epoch);
	agi_buf_u64(b, d->latency_us);
	agi_buf_blob(b, d->cause);
	agi_buf_blob(b, id);
	agi_buf_blob(b, d->certificate);
}

enum agi_err agi_audit_decision_decode(struct agi_audit_decision *out, struct agi_str body)
{
	struct agi_cur c = agi_cur_of(body);
	uint8_t version = agi_cur_u8(&c);

	*out = (struct agi_audit_decision){.risk = 0};
	agi_cur_copy(&c, out->plan_hash, sizeof out->plan_hash);
	agi_cur_copy(&c, out->nonce, sizeof out->nonce);
	out->decision = (enum agi_decision)agi_cur_u8(&c);
	out->risk = agi_cur_f64(&c);
	out->bond_index = agi_cur_f64(&c);
	agi_cur_copy(&c, out->policy_hash, sizeof out->policy_hash);
	out->policy_epoch = agi_cur_u64(&c);
	out->stop_epoch = agi_cur_u64(&c);
	out->latency_us = agi_cur_u64(&c);
	out->cause = agi_cur_blob(&c);
	out->plan_id = agi_cur_blob(&c);
	out->certificate = agi_cur_blob(&c);
	if (c.bad || c.n || version != BODY_VERSION || out->decision <= AGI_DECISION_NONE ||
	    out->decision >= AGI_DECISION_COUNT)
		return AGI_E_MALFORMED;
	return AGI_OK;
}

void agi_audit_put_entry(struct agi_buf *b, struct agi_str entry) { agi_buf_blob(b, entry); }

bool agi_audit_next_entry(struct agi_cur *c, struct agi_str *entry)
{
	if (c->bad || c->n == 0)
		return false;
	*entry = agi_cur_blob(c);
	return !c->bad;
}

enum agi_err agi_audit_check_batch(struct agi_str body, const struct agi_id *from)
{
	struct agi_cur c = agi_cur_of(body);
	struct agi_audit_entry e, before = {.kind = AGI_AUDIT_NONE};
	struct agi_str bytes;

	while (agi_audit_next_entry(&c, &bytes)) {
		if (agi_audit_decode(&e, bytes) || !agi_id_eq(&e.node, from) || e.kind == AGI_AUDIT_WITNESS)
			return AGI_E_MALFORMED;
		if (before.kind && (e.incarnation != before.incarnation || e.seq <= before.seq))
			return AGI_E_MALFORMED;
		before = e;
	}
	return c.bad || !before.kind ? AGI_E_MALFORMED : AGI_OK;
}

/* --- reading --------------------------------------------------------------------------------------------------- */
bool agi_audit_next_record(struct agi_cur *c, struct agi_str *entry, const uint8_t **hash)
{
	uint32_t n;

	if (c->bad || c->n == 0)
		return false;
	n = agi_cur_u32(c);
	c->bad = c->bad || n < AGI_AUDIT_HEADER || n > AGI_AUDIT_ENTRY_MAX;
	*entry = agi_cur_take(c, n);
	*hash = (const uint8_t *)agi_cur_take(c, AGI_AUDIT_HASH).p;
	return !c->bad;
}

static enum agi_err judge(const struct agi_audit_walk *w, struct agi_str bytes, const uint8_t *kept,
                          const uint8_t hash[AGI_AUDIT_HASH], const struct agi_audit_entry *e, struct agi_why *why)
{
	bool is_other = w->has_last && !agi_id_eq(&w->node, &e->node); /* the host has begun anew as another node */
	bool is_first = !w->has_last || is_other || e->incarnation != w->incarnation;

	if (kept && memcmp(kept, hash, AGI_AUDIT_HASH) != 0)
		return agi_fail(why, AGI_E_CORRUPT, "it is not what was written: its hash is another");
	if (is_other && (e->kind != AGI_AUDIT_START || e->seq != 0))
		return agi_fail(why, AGI_E_CORRUPT, "of another node");
	if (!is_first && e->seq != w->seq + 1)
		return agi_fail(why, AGI_E_CORRUPT, "it comes after entry %llu", (unsigned long long)w->seq);
	if (w->has_last && is_first && !is_other && (e->incarnation < w->incarnation || e->seq != 0))
		return agi_fail(why, AGI_E_CORRUPT, "it comes after entry %llu of life %llu", (unsigned long long)w->seq,
		                (unsigned long long)w->incarnation);
	if (w->has_last && memcmp(e->prev, w->last, AGI_AUDIT_HASH) != 0)
		return agi_fail(why, AGI_E_CORRUPT, "it does not continue the entry before it");
	return e->kind == AGI_AUDIT_HEAD ? check_head(bytes, e, why) : AGI_OK;
}

enum agi_err agi_audit_follow(struct agi_audit_walk *w, struct agi_str bytes, const uint8_t *kept,
                              struct agi_audit_entry *out, struct agi_why *why)
{
	uint8_t hash[AGI_AUDIT_HASH];
	enum agi_err e = agi_audit_decode(out, bytes);

	if (e)
		return agi_fail(why, AGI_E_MALFORMED, "it is no entry");
	agi_audit_hash(hash, bytes);
	e = judge(w, bytes, kept, hash, out, why);
	*w = (struct agi_audit_walk){
	    .has_last = true, .node = out->node, .incarnation = out->incarnation, .seq = out->seq};
	/* after damage, the next one continues what was written: one finding for one change */
	memcpy(w->last, kept ? kept : hash, sizeof w->last);
	return e;
}

enum agi_err agi_audit_check_decision(const struct agi_audit_entry *e, const struct agi_id *known, size_t n_known,
                                      struct agi_why *why)
{
	struct agi_certificate_finding found;
	struct agi_certificate cert;
	struct agi_audit_decision d;

	if (agi_audit_decision_decode(&d, e->body))
		return agi_fail(why, AGI_E_MALFORMED, "a decision that cannot be read");
	if (!d.certificate.n)
		return d.decision == AGI_DECISION_BLOCK
			   ? AGI_OK
			   : agi_fail(why, AGI_E_AUTH, "%s without a certificate", agi_decision_name(d.decision));
	if (agi_certificate_decode(&cert, d.certificate))
		return agi_fail(why, AGI_E_MALFORMED, "its certificate cannot be read");
	if (cert.decision != d.decision || memcmp(cert.plan_hash, d.plan_hash, 32) != 0 ||
	    memcmp(cert.nonce, d.nonce, 16) != 0 || !agi_id_eq(&cert.router, &e->node))
		return agi_fail(why, AGI_E_AUTH, "its certificate is of another decision");
	return agi_certificate_judge(&cert, known, n_known, &found, why);
}
