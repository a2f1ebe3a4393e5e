/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/safety_gateway/certificate.h"

#include <string.h>

enum { CERTIFICATE_VERSION = 2 };

/* --- bytes --------------------------------------------------------------------------------------------- */
void agi_signed_statement_encode(struct agi_buf *b, const struct agi_signed_statement *s)
{
	agi_buf_put(b, s->bytes, sizeof s->bytes);
	agi_buf_u32(b, s->index);
	agi_buf_u32(b, s->count);
	agi_buf_u8(b, s->n_path);
	agi_buf_put(b, s->path, (size_t)s->n_path * 32);
	agi_buf_put(b, s->sig, sizeof s->sig);
	agi_buf_put(b, s->pubkey, sizeof s->pubkey);
}

static void take_signed(struct agi_cur *c, struct agi_signed_statement *out)
{
	*out = (struct agi_signed_statement){.count = 0};
	agi_cur_copy(c, out->bytes, sizeof out->bytes);
	out->index = agi_cur_u32(c);
	out->count = agi_cur_u32(c);
	out->n_path = agi_cur_u8(c);
	if (out->n_path > AGI_STATEMENT_PATH) {
		out->n_path = 0;
		c->bad = true;
	}
	agi_cur_copy(c, out->path, (size_t)out->n_path * 32);
	agi_cur_copy(c, out->sig, sizeof out->sig);
	agi_cur_copy(c, out->pubkey, sizeof out->pubkey);
}

enum agi_err agi_signed_statement_decode(struct agi_signed_statement *out, struct agi_str bytes)
{
	struct agi_cur c = agi_cur_of(bytes);

	take_signed(&c, out);
	return c.bad || c.n ? AGI_E_MALFORMED : AGI_OK;
}

void agi_certificate_encode(struct agi_buf *b, const struct agi_certificate *c)
{
	agi_buf_u8(b, CERTIFICATE_VERSION);
	agi_buf_put(b, c->plan_hash, sizeof c->plan_hash);
	agi_buf_put(b, c->nonce, sizeof c->nonce);
	agi_buf_u8(b, (uint8_t)c->decision);
	agi_buf_u8(b, c->electorate);
	agi_buf_u8(b, c->needed);
	agi_buf_put(b, c->router.b, AGI_ID_BYTES);
	agi_buf_u64(b, c->at_ms);
	agi_buf_u8(b, c->n_asked);
	for (uint8_t i = 0; i < c->n_asked; i++)
		agi_buf_put(b, c->asked[i].b, AGI_ID_BYTES);
	agi_buf_u8(b, c->n_votes);
	for (uint8_t i = 0; i < c->n_votes; i++)
		agi_signed_statement_encode(b, &c->votes[i]);
}

static uint8_t take_count(struct agi_cur *c)
{
	uint8_t n = agi_cur_u8(c);

	c->bad = c->bad || n > AGI_PANEL_CANDIDATES_MAX;
	return c->bad ? 0 : n;
}

enum agi_err agi_certificate_decode(struct agi_certificate *out, struct agi_str bytes)
{
	struct agi_cur c = agi_cur_of(bytes);
	uint8_t version = agi_cur_u8(&c);

	memset(out, 0, sizeof *out);
	agi_cur_copy(&c, out->plan_hash, sizeof out->plan_hash);
	agi_cur_copy(&c, out->nonce, sizeof out->nonce);
	out->decision = (enum agi_decision)agi_cur_u8(&c);
	out->electorate = agi_cur_u8(&c);
	out->needed = agi_cur_u8(&c);
	agi_cur_copy(&c, out->router.b, AGI_ID_BYTES);
	out->at_ms = agi_cur_u64(&c);
	out->n_asked = take_count(&c);
	for (uint8_t i = 0; i < out->n_asked; i++)
		agi_cur_copy(&c, out->asked[i].b, AGI_ID_BYTES);
	out->n_votes = take_count(&c);
	for (uint8_t i = 0; i < out->n_votes; i++)
		take_signed(&c, &out->votes[i]);
	if (c.bad || c.n || version != CERTIFICATE_VERSION || out->decision <= AGI_DECISION_NONE ||
	    out->decision >= AGI_DECISION_COUNT || out->electorate < 1 || out->electorate > AGI_PANEL_MAX ||
	    out->needed < agi_vote_majority(out->electorate) || out->needed > out->electorate)
		return AGI_E_MALFORMED;
	return AGI_OK;
}

/* --- judging --------------------------------------------------------------------------------------------- */
static bool is_among(const struct agi_id *id, const struct agi_id *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (agi_id_eq(id, &list[i]))
			return true;
	return false;
}

/* Against the votes before it, which are judged already. A BLOCK carries nothing: it may come from whoever follows
 * another policy, or knows another stop, than those who would let the plan pass. */
static enum agi_err judge_among(const struct agi_certificate_finding *f, uint8_t i, struct agi_why *why)
{
	for (uint8_t k = 0; k < i; k++) {
		if (!f->is_valid[k])
			continue;
		if (agi_id_eq(&f->said[k].gateway, &f->said[i].gateway))
			return agi_fail(why, AGI_E_AUTH, "a second vote of the same gateway");
		if (f->said[k].decision == AGI_DECISION_BLOCK || f->said[i].decision == AGI_DECISION_BLOCK)
			continue;
		if (memcmp(f->said[k].policy_hash, f->said[i].policy_hash, 32) != 0 ||
		    f->said[k].policy_epoch != f->said[i].policy_epoch)
			return agi_fail(why, AGI_E_AUTH, "made under another policy than the others");
		if (f->said[k].stop_epoch != f->said[i].stop_epoch)
			return agi_fail(why, AGI_E_AUTH, "made at another emergency stop's epoch than the others");
	}
	return AGI_OK;
}

static enum agi_err judge_one(const struct agi_certificate *c, const struct agi_id *known, size_t n_known,
                              struct agi_certificate_finding *f, uint8_t i, struct agi_why *why)
{
	struct agi_statement *said = &f->said[i];
	enum agi_err e = agi_statement_verify(&c->votes[i], said, NULL, why);

	if (e)
		return e;
	if (memcmp(said->plan_hash, c->plan_hash, 32) != 0)
		return agi_fail(why, AGI_E_AUTH, "about another plan");
	if (memcmp(said->nonce, c->nonce, 16) != 0)
		return agi_fail(why, AGI_E_AUTH, "made for another check");
	if (!is_among(&said->gateway, c->asked, c->n_asked))
		return agi_fail(why, AGI_E_AUTH, "of a gateway that held no seat");
	if (n_known && !is_among(&said->gateway, known, n_known))
		return agi_fail(why, AGI_E_AUTH, "of a gateway that is not among the known ones");
	return judge_among(f, i, why);
}

/* The most permissive decision that enough of the electorate voted for or below. A seat that asked a spare may show
 * two votes; neither can make the result more permissive than the quorum did. */
static enum agi_decision carried(const struct agi_certificate *c, const struct agi_certificate_finding *f)
{
	for (int d = AGI_DECISION_ALLOW; d < AGI_DECISION_BLOCK; d++) {
		uint8_t n = 0;

		for (uint8_t i = 0; i < c->n_votes; i++)
			n += f->is_valid[i] && f->said[i].decision <= (enum agi_decision)d;
		if (n >= c->needed)
			return (enum agi_decision)d;
	}
	return AGI_DECISION_BLOCK;
}

enum agi_err agi_certificate_judge(const struct agi_certificate *c, const struct agi_id *known, size_t n_known,
                                   struct agi_certificate_finding *out, struct agi_why *why)
{
	memset(out, 0, sizeof *out);
	for (uint8_t i = 0; i < c->n_votes; i++) {
		out->is_valid[i] = judge_one(c, known, n_known, out, i, &out->why[i]) == AGI_OK;
		out->valid += out->is_valid[i];
	}
	out->proved = carried(c, out);
	if (c->decision >= out->proved)
		return AGI_OK;
	return agi_fail(why, AGI_E_AUTH, "it says %s, but its %u valid votes carry no more than %s (%u of %u are needed)",
	                agi_decision_name(c->decision), (unsigned)out->valid, agi_decision_name(out->proved),
	                (unsigned)c->needed, (unsigned)c->electorate);
}
