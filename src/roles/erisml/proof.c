/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/erisml/proof.h"

#include <stdlib.h>

enum { SHORT_HASH = 16 }; /* hex digits of the reference */

/* Civil date of a day number counted from 1970-01-01 (proleptic Gregorian): years are taken to begin in
 * March, so that the leap day is the last day of its year. */
static void civil_of_day(int64_t day, int64_t *year, unsigned *month, unsigned *mday)
{
	int64_t from_0000_03_01 = day + 719468;
	int64_t era = from_0000_03_01 / 146097; /* 400 years; times before year 0 do not occur */
	unsigned doe = (unsigned)(from_0000_03_01 - era * 146097);
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	unsigned march_month = (5 * doy + 2) / 153;

	*mday = doy - (153 * march_month + 2) / 5 + 1;
	*month = march_month < 10 ? march_month + 3 : march_month - 9;
	*year = era * 400 + yoe + (*month <= 2);
}

void agi_timestamp(char out[AGI_TIMESTAMP_TEXT], uint64_t wall_us)
{
	uint64_t s = wall_us / 1000000;
	unsigned in_day = (unsigned)(s % 86400), month, mday;
	struct agi_why line;
	int64_t year;

	civil_of_day((int64_t)(s / 86400), &year, &month, &mday);
	(void)agi_fail(&line, AGI_OK, "%04lld-%02u-%02uT%02u:%02u:%02u.%06u+00:00", (long long)year,
	               month, mday, in_day / 3600, in_day / 60 % 60, in_day % 60,
	               (unsigned)(wall_us % 1000000));
	memset(out, 0, AGI_TIMESTAMP_TEXT);
	memcpy(out, line.text, strnlen(line.text, AGI_TIMESTAMP_TEXT - 1));
}

static void hash_text(char out[AGI_HASH_TEXT], struct agi_str text)
{
	uint8_t digest[AGI_SHA256_BYTES];

	agi_sha256(digest, text);
	agi_hex(out, digest, sizeof digest);
}

void agi_profile_hash(char out[AGI_HASH_TEXT], const struct agi_eval_policy *policy,
                      struct agi_str profile_name)
{
	char content[2 * sizeof policy->profile->hash + 1];
	struct agi_why rest;
	struct agi_buf b;

	(void)agi_fail(&rest, AGI_OK, "\nevaluation=%s\nphysical_harm_limit=%.17g\nbond_limit=%.17g\n",
	               agi_eval_mode_name(policy->mode), agi_eval_harm_limit(policy), AGI_BOND_LIMIT);
	agi_buf_init(&b, 0);
	agi_buf_put_str(&b, AGI_STR("profile="));
	agi_buf_put_str(&b, profile_name);
	agi_buf_put_str(&b, agi_str_of(rest.text));
	if (agi_eval_has_own_profile(policy)) {
		agi_hex(content, policy->profile->hash, sizeof policy->profile->hash);
		agi_buf_put_str(&b, AGI_STR("weights_and_limits="));
		agi_buf_put_str(&b, agi_str_of(content));
	}
	hash_text(out, agi_buf_str(&b));
	agi_buf_free(&b);
}

static bool is_reference(const struct agi_proof_ctx *ctx)
{
	return ctx->policy->mode == AGI_EVAL_REFERENCE;
}

static struct agi_str hash_for(const struct agi_proof_ctx *ctx, const char *hex)
{
	return (struct agi_str){hex, is_reference(ctx) ? SHORT_HASH : strlen(hex)};
}

static struct agi_str profile_of(const struct agi_proof_ctx *ctx)
{
	return ctx->profile_name.n ? ctx->profile_name : ctx->policy->profile_name;
}

void agi_proof_ctx_share(struct agi_proof_ctx *ctx)
{
	char text[AGI_TIMESTAMP_TEXT], hash[AGI_HASH_TEXT];

	agi_timestamp(text, ctx->wall_us);
	ctx->timestamp = agi_pool_copy(ctx->pool, agi_str_of(text));
	if (is_reference(ctx))
		return;
	agi_profile_hash(hash, ctx->policy, profile_of(ctx));
	ctx->profile_hash = agi_pool_copy(ctx->pool, agi_str_of(hash));
}

static struct agi_proof *new_proof(const struct agi_proof_ctx *ctx)
{
	struct agi_proof *p = agi_pool_take(ctx->pool, 1, sizeof *p);
	struct agi_proof_ctx own = *ctx;

	if (!p)
		return NULL;
	if (!own.timestamp.n)
		agi_proof_ctx_share(&own);
	p->timestamp = own.timestamp;
	p->profile_name = profile_of(ctx);
	p->profile_hash = own.profile_hash;
	return p;
}

static struct agi_str join(struct agi_pool *pool, const struct agi_str *s, size_t n,
                           struct agi_str between)
{
	struct agi_str parts[2 * AGI_EVAL_REASONS_MAX];
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		if (i)
			parts[k++] = between;
		parts[k++] = s[i];
	}
	return agi_pool_concat(pool, parts, k);
}

/* Hashes the proof onto the chain. */
static void link_proof(const struct agi_proof_ctx *ctx, struct agi_proof *p, struct agi_str verdict)
{
	struct agi_proof_row row = {.previous_hash = agi_pool_copy(ctx->pool, agi_str_of(ctx->chain->head)),
	                            .facts_hash = p->input_facts_hash,
	                            .decision_id = p->decision_id,
	                            .profile = p->profile_name,
	                            .verdict = verdict};
	char hash[AGI_HASH_TEXT];
	struct agi_buf text;

	agi_buf_init(&text, 0);
	agi_proof_text(&text, &row);
	hash_text(hash, agi_buf_str(&text));
	if (text.err && !ctx->pool->err)
		ctx->pool->err = text.err;
	agi_buf_free(&text);
	p->previous_proof_hash = row.previous_hash;
	p->proof_hash = row.hash = agi_pool_copy(ctx->pool, hash_for(ctx, hash));
	if (ctx->pool->err)
		return;
	if (ctx->chain->kept && !is_reference(ctx))
		agi_proof_runs_add(ctx->chain->kept, &row);
	memcpy(ctx->chain->head, p->proof_hash.p, p->proof_hash.n);
	ctx->chain->head[p->proof_hash.n] = 0;
	ctx->chain->length++;
}

struct agi_proof *agi_proof_of_step(const struct agi_proof_ctx *ctx, const struct agi_facts *facts,
                                    const struct agi_step_eval *eval)
{
	struct agi_pool *pool = ctx->pool;
	struct agi_str seconds = agi_pool_printf(pool, "_%llu", (unsigned long long)(ctx->wall_us / 1000000));
	struct agi_str id_parts[] = {AGI_STR("step_"), facts->option_id, seconds};
	struct agi_proof *p = new_proof(ctx);
	char hash[AGI_HASH_TEXT];

	if (!p || agi_facts_hash(hash, facts))
		return NULL;
	p->decision_id = agi_pool_concat(pool, id_parts, 3);
	p->input_facts_hash = agi_pool_copy(pool, hash_for(ctx, hash));
	p->selected_option_id = facts->option_id;
	if (eval->is_vetoed)
		agi_strs_add(&p->forbidden, pool, facts->option_id);
	p->governance_rationale = join(pool, eval->reasons, eval->n_reasons, AGI_STR("; "));
	p->confidence = eval->moral[AGI_MORAL_EPISTEMIC_QUALITY];
	if (!is_reference(ctx)) {
		agi_strs_add(&p->candidates, pool, facts->option_id);
		if (!eval->is_vetoed)
			agi_strs_add(&p->ranked, pool, facts->option_id);
	}
	link_proof(ctx, p, agi_str_of(agi_verdict_name(eval->verdict)));
	return pool->err ? NULL : p;
}

/* Best score first; equal scores keep the plan's order. */
static int by_score(const void *x, const void *y)
{
	const struct agi_proof_option *a = *(const struct agi_proof_option *const *)x;
	const struct agi_proof_option *b = *(const struct agi_proof_option *const *)y;

	if (a->score != b->score)
		return a->score < b->score ? 1 : -1;
	return (a > b) - (a < b);
}

static void rank(const struct agi_proof_ctx *ctx, struct agi_proof *p,
                 const struct agi_proof_option *o, size_t n)
{
	const struct agi_proof_option **kept = agi_pool_take(ctx->pool, n, sizeof *kept);
	size_t k = 0;

	if (!kept)
		return;
	for (size_t i = 0; i < n; i++)
		if (!o[i].is_vetoed)
			kept[k++] = &o[i];
	qsort(kept, k, sizeof *kept, by_score);
	for (size_t i = 0; i < k; i++)
		agi_strs_add(&p->ranked, ctx->pool, kept[i]->option_id);
}

/* SHA-256 of the steps' facts hashes, one after another. */
static enum agi_err plan_facts_hash(char out[AGI_HASH_TEXT], const struct agi_proof_option *o, size_t n)
{
	enum agi_err err;
	struct agi_buf b;

	agi_buf_init(&b, 0);
	for (size_t i = 0; i < n; i++)
		agi_buf_put_str(&b, o[i].facts_hash);
	err = b.err;
	if (!err)
		hash_text(out, agi_buf_str(&b));
	agi_buf_free(&b);
	return err;
}

struct agi_proof *agi_proof_of_plan(const struct agi_proof_ctx *ctx,
                                    const struct agi_proof_option *options, size_t n,
                                    double bond_index)
{
	struct agi_proof *p = new_proof(ctx);
	char hash[AGI_HASH_TEXT];

	if (!p)
		return NULL;
	p->decision_id = agi_pool_printf(ctx->pool, "plan_%llu",
	                                 (unsigned long long)(ctx->wall_us / 1000000));
	p->confidence = bond_index;
	for (size_t i = 0; i < n; i++) {
		agi_strs_add(&p->candidates, ctx->pool, options[i].option_id);
		if (options[i].is_vetoed)
			agi_strs_add(&p->forbidden, ctx->pool, options[i].option_id);
	}
	if (!is_reference(ctx)) {
		rank(ctx, p, options, n);
		if (plan_facts_hash(hash, options, n))
			return NULL;
		p->input_facts_hash = agi_pool_copy(ctx->pool, agi_str_of(hash));
		link_proof(ctx, p, p->forbidden.n ? AGI_STR("blocked") : AGI_STR("approved"));
	}
	return ctx->pool->err ? NULL : p;
}
