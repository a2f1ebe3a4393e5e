/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/erisml/proof_log.h"

enum { ROW_WHOLE, ROW_HASH_ONLY };

/* --- writing -------------------------------------------------------------------------------------------- */
void agi_proof_runs_init(struct agi_proof_runs *r)
{
	agi_buf_init(&r->b, AGI_PROOF_RUNS_BYTES);
	r->begun = 0;
}

void agi_proof_runs_reset(struct agi_proof_runs *r)
{
	agi_buf_reset(&r->b);
	r->begun = 0;
}

void agi_proof_runs_free(struct agi_proof_runs *r) { agi_buf_free(&r->b); }

void agi_proof_text(struct agi_buf *out, const struct agi_proof_row *row)
{
	const struct agi_str parts[] = {row->decision_id, AGI_STR(":"), row->facts_hash, AGI_STR(":"), row->profile,
	                                AGI_STR(":"),     row->verdict, AGI_STR(":"),    row->previous_hash};

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		agi_buf_put_str(out, parts[i]);
}

static void open_run(struct agi_proof_runs *r, struct agi_str head)
{
	if (r->b.n && r->b.n - r->begun < AGI_PROOF_RUN_BYTES)
		return;
	r->begun = r->b.n;
	agi_buf_u32(&r->b, 0);
	agi_buf_blob(&r->b, head);
}

/* The open run's length, now that a row was added. */
static void close_row(struct agi_proof_runs *r)
{
	uint32_t n = (uint32_t)(r->b.n - r->begun - 4);

	for (int i = 0; i < 4; i++)
		r->b.p[r->begun + (size_t)i] = (uint8_t)(n >> (24 - 8 * i));
}

static bool put_hash(struct agi_buf *b, struct agi_str hex)
{
	uint8_t hash[AGI_SHA256_BYTES];

	if (agi_unhex(hash, sizeof hash, hex))
		return false;
	agi_buf_put(b, hash, sizeof hash);
	return true;
}

void agi_proof_runs_add(struct agi_proof_runs *r, const struct agi_proof_row *row)
{
	bool is_whole = row->decision_id.n + row->profile.n + row->verdict.n <= AGI_PROOF_TEXT_MAX;

	open_run(r, row->previous_hash);
	agi_buf_u8(&r->b, is_whole ? ROW_WHOLE : ROW_HASH_ONLY);
	if (!put_hash(&r->b, is_whole ? row->facts_hash : row->hash) && !r->b.err)
		r->b.err = AGI_E_INVALID;
	if (is_whole) {
		agi_buf_blob(&r->b, row->decision_id);
		agi_buf_blob(&r->b, row->profile);
		agi_buf_blob(&r->b, row->verdict);
	}
	if (!r->b.err)
		close_row(r);
}

/* --- reading -------------------------------------------------------------------------------------------- */
static void take_hash(struct agi_cur *c, char out[AGI_HASH_TEXT])
{
	uint8_t hash[AGI_SHA256_BYTES] = {0};

	agi_cur_copy(c, hash, sizeof hash);
	agi_hex(out, hash, sizeof hash);
}

/* Reads a row that follows `head` and makes head its own. */
static void take_row(struct agi_cur *c, char head[AGI_HASH_TEXT], struct agi_buf *text)
{
	char hash[AGI_HASH_TEXT];
	uint8_t digest[AGI_SHA256_BYTES], kind = agi_cur_u8(c);
	struct agi_proof_row row = {.previous_hash = agi_str_of(head)};

	take_hash(c, hash);
	row.facts_hash = agi_str_of(hash);
	if (kind == ROW_WHOLE) {
		row.decision_id = agi_cur_blob(c);
		row.profile = agi_cur_blob(c);
		row.verdict = agi_cur_blob(c);
		agi_buf_reset(text);
		agi_proof_text(text, &row);
		agi_sha256(digest, agi_buf_str(text));
		agi_hex(hash, digest, sizeof digest);
	}
	c->bad = c->bad || kind > ROW_HASH_ONLY || text->err;
	if (!c->bad)
		memcpy(head, hash, AGI_HASH_TEXT);
}

static enum agi_err judge(struct agi_proof_walk *w, struct agi_str begins_at, struct agi_why *why)
{
	bool is_next = !w->has_head || agi_str_eq(agi_str_of(w->head), begins_at);

	if (is_next)
		return AGI_OK;
	return agi_fail(why, AGI_E_CORRUPT, "decision proofs are missing: the chain ended at %s and goes on behind %.*s",
	                w->head[0] ? w->head : "its beginning", AGI_STR_ARG(begins_at));
}

enum agi_err agi_proof_follow(struct agi_proof_walk *w, struct agi_str run, struct agi_why *why)
{
	struct agi_cur c = agi_cur_of(run);
	struct agi_str begins_at = agi_cur_blob(&c);
	struct agi_buf text;
	enum agi_err e;

	if (c.bad || begins_at.n >= AGI_HASH_TEXT)
		return agi_fail(why, AGI_E_MALFORMED, "decision proofs: no run of them");
	e = judge(w, begins_at, why);
	w->has_head = true;
	memcpy(w->head, begins_at.p, begins_at.n);
	w->head[begins_at.n] = '\0';
	agi_buf_init(&text, 0);
	while (c.n && !c.bad) {
		take_row(&c, w->head, &text);
		w->proofs += !c.bad;
	}
	agi_buf_free(&text);
	return c.bad ? agi_fail(why, AGI_E_MALFORMED, "decision proofs: a row cannot be read") : e;
}
