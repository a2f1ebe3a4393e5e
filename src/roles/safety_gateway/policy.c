/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/safety_gateway/policy.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "roles/safety_gateway/statement.h"

enum { RECORD_VERSION = 1 };

/* --- life ------------------------------------------------------------------------------------------------ */
/* The configuration's policy is hashed as it always was; one that was set says how many must agree as well. */
static enum agi_err take_hash(struct agi_policy *p)
{
	static const uint8_t none[32];
	uint8_t quorum[12], rules[32];
	const struct agi_str parts[] = {{(char *)rules, sizeof rules}, {(char *)quorum, sizeof quorum}};
	const uint32_t numbers[] = {p->quorum, (uint32_t)p->quorum_rule, p->byzantine_faults};

	agi_policy_hash(rules, &p->rules);
	if (memcmp(rules, none, sizeof rules) == 0)
		return AGI_E_NOMEM;
	for (size_t i = 0; i < sizeof quorum; i++)
		quorum[i] = (uint8_t)(numbers[i / 4] >> (24 - 8 * (i % 4)));
	if (p->epoch)
		agi_blake2b_256(p->hash, parts, 2);
	else
		memcpy(p->hash, rules, sizeof rules);
	return AGI_OK;
}

static void copy_texts(struct agi_policy *p)
{
	struct agi_str *banned = agi_pool_take(&p->pool, p->rules.n_banned, sizeof *banned);

	for (size_t i = 0; banned && i < p->rules.n_banned; i++)
		banned[i] = agi_pool_copy(&p->pool, p->rules.banned[i]);
	p->rules.banned = banned;
	p->rules.n_banned = banned ? p->rules.n_banned : 0;
	p->rules.eval.profile_name = agi_pool_copy(&p->pool, p->rules.eval.profile_name);
	p->reason = agi_pool_copy(&p->pool, p->reason);
	p->author = agi_pool_copy(&p->pool, p->author);
	p->node = agi_pool_copy(&p->pool, p->node);
}

enum agi_err agi_policy_new(const struct agi_policy *from, struct agi_policy **out)
{
	struct agi_policy *p = malloc(sizeof *p);
	bool is_whole;

	if (!p)
		return AGI_E_NOMEM;
	*p = *from;
	p->refs = 1;
	agi_pool_init(&p->pool, 0);
	copy_texts(p);
	agi_eval_policy_use(&p->rules.eval, (struct agi_str){"", 0});
	p->needed = p->quorum >= 1 && p->quorum <= AGI_PANEL_MAX
	                ? agi_quorum_needed(p->quorum_rule, p->quorum, p->byzantine_faults) : 0;
	is_whole = !p->pool.err && take_hash(p) == AGI_OK;
	if (!is_whole) {
		agi_policy_drop(p);
		return AGI_E_NOMEM;
	}
	*out = p;
	return AGI_OK;
}

struct agi_policy *agi_policy_hold(struct agi_policy *p)
{
	p->refs++;
	return p;
}

void agi_policy_drop(struct agi_policy *p)
{
	if (!p || --p->refs)
		return;
	agi_pool_free(&p->pool);
	free(p);
}

/* --- what is allowed --------------------------------------------------------------------------------------- */
static bool is_name(struct agi_str s)
{
	if (s.n < 1 || s.n > AGI_POLICY_NAME_MAX || !agi_utf8_is_valid(s))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			return false;
	return true;
}

static enum agi_err check_thresholds(const struct agi_policy *p, struct agi_why *why)
{
	const struct agi_gateway_policy *r = &p->rules;
	const struct {
		const char *name;
		double value;
	} shares[] = {{"bond_index_warn", r->bond_index_warn},
	              {"bond_index_block", r->bond_index_block},
	              {"bond_index_fallback", r->bond_index_fallback},
	              {"physical_harm_threshold", r->eval.physical_harm_threshold}};

	for (size_t i = 0; i < sizeof shares / sizeof *shares; i++)
		if (!agi_is_share(shares[i].value))
			return agi_fail(why, AGI_E_INVALID, "%s: %g, expected 0..1", shares[i].name,
			                shares[i].value);
	if (r->bond_index_warn > r->bond_index_block)
		return agi_fail(why, AGI_E_INVALID, "bond_index_warn: %g, expected at most bond_index_block, %g",
		                r->bond_index_warn, r->bond_index_block);
	if (r->bond_index_fallback < r->bond_index_block)
		return agi_fail(why, AGI_E_INVALID,
		                "bond_index_fallback: %g, expected at least bond_index_block, %g: what cannot be "
		                "computed must never pass", r->bond_index_fallback, r->bond_index_block);
	if (r->bond_index_action < AGI_DECISION_REVISE || r->bond_index_action > AGI_DECISION_BLOCK)
		return agi_fail(why, AGI_E_INVALID, "bond_index_action: expected BLOCK, DEFER or REVISE");
	return AGI_OK;
}

static enum agi_err check_names(const struct agi_policy *p, struct agi_why *why)
{
	if (!is_name(p->rules.eval.profile_name))
		return agi_fail(why, AGI_E_INVALID, "profile: expected a name of 1..%d bytes, without control "
		                "characters", AGI_POLICY_NAME_MAX);
	if (p->rules.n_banned > AGI_POLICY_TOOLS_MAX)
		return agi_fail(why, AGI_E_INVALID, "banned_tools: %zu tools, expected at most %d", p->rules.n_banned,
		                AGI_POLICY_TOOLS_MAX);
	for (size_t i = 0; i < p->rules.n_banned; i++)
		if (!is_name(p->rules.banned[i]))
			return agi_fail(why, AGI_E_INVALID, "banned_tools[%zu]: expected a name of 1..%d bytes, without "
			                "control characters", i, AGI_POLICY_NAME_MAX);
	if (p->reason.n < 1 || p->reason.n > AGI_POLICY_REASON_MAX || !agi_utf8_is_valid(p->reason))
		return agi_fail(why, AGI_E_INVALID, "reason: %zu bytes, expected 1..%d of UTF-8 text", p->reason.n,
		                AGI_POLICY_REASON_MAX);
	if (p->author.n > AGI_POLICY_WHO_MAX || !agi_utf8_is_valid(p->author))
		return agi_fail(why, AGI_E_INVALID, "author: %zu bytes, expected at most %d of UTF-8 text",
		                p->author.n, AGI_POLICY_WHO_MAX);
	return AGI_OK;
}

static enum agi_err check_quorum(const struct agi_policy *p, struct agi_why *why)
{
	if (p->quorum < 1 || p->quorum > AGI_PANEL_MAX)
		return agi_fail(why, AGI_E_INVALID, "quorum: %u, expected 1..%d", (unsigned)p->quorum, AGI_PANEL_MAX);
	if ((unsigned)p->quorum_rule > AGI_QUORUM_BYZANTINE)
		return agi_fail(why, AGI_E_INVALID, "quorum_rule: expected majority, unanimous or byzantine");
	if (p->byzantine_faults > AGI_PANEL_MAX)
		return agi_fail(why, AGI_E_INVALID, "byzantine_faults: %u, expected 0..%d",
		                (unsigned)p->byzantine_faults, AGI_PANEL_MAX);
	if (!agi_quorum_needed(p->quorum_rule, p->quorum, p->byzantine_faults))
		return agi_fail(why, AGI_E_INVALID, "quorum: %u, expected at least %u for byzantine_faults %u",
		                (unsigned)p->quorum, (unsigned)(3 * p->byzantine_faults + 1),
		                (unsigned)p->byzantine_faults);
	return AGI_OK;
}

enum agi_err agi_policy_check(const struct agi_policy *p, struct agi_why *why)
{
	enum agi_err e = check_thresholds(p, why);

	if (!e)
		e = check_names(p, why);
	return e ? e : check_quorum(p, why);
}

/* --- what is looser ------------------------------------------------------------------------------------------ */
static void compare_real(struct agi_strs *out, struct agi_pool *pool, const char *name, double from, double to)
{
	if (!(to <= from))
		agi_strs_add(out, pool, agi_pool_printf(pool, "%s: %g instead of %g", name, to, from));
}

static void compare_tools(struct agi_strs *out, struct agi_pool *pool, const struct agi_gateway_policy *from,
                          const struct agi_gateway_policy *to)
{
	for (size_t i = 0; i < from->n_banned; i++) {
		bool is_banned = false;

		for (size_t k = 0; k < to->n_banned && !is_banned; k++)
			is_banned = agi_str_eq(from->banned[i], to->banned[k]);
		if (!is_banned) {
			const struct agi_str parts[] = {AGI_STR("banned_tools: no longer "), from->banned[i]};

			agi_strs_add(out, pool, agi_pool_concat(pool, parts, 2));
		}
	}
}

/* Fewer, or a smaller part of those asked. */
static void compare_quorum(struct agi_strs *out, struct agi_pool *pool, const struct agi_policy *from,
                           const struct agi_policy *to)
{
	if (to->needed < from->needed || to->needed * from->quorum < from->needed * to->quorum)
		agi_strs_add(out, pool, agi_pool_printf(pool, "quorum: %u of %u must agree instead of %u of %u",
		                                        (unsigned)to->needed, (unsigned)to->quorum,
		                                        (unsigned)from->needed, (unsigned)from->quorum));
}

void agi_policy_looser(struct agi_strs *out, struct agi_pool *pool, const struct agi_policy *from,
                       const struct agi_policy *to)
{
	const struct agi_gateway_policy *a = &from->rules, *b = &to->rules;

	*out = (struct agi_strs){0};
	compare_real(out, pool, "bond_index_warn", a->bond_index_warn, b->bond_index_warn);
	compare_real(out, pool, "bond_index_block", a->bond_index_block, b->bond_index_block);
	compare_real(out, pool, "physical_harm_threshold", a->eval.physical_harm_threshold,
	             b->eval.physical_harm_threshold);
	if (b->bond_index_action < a->bond_index_action)
		agi_strs_add(out, pool, agi_pool_printf(pool, "bond_index_action: %s instead of %s",
		                                        agi_decision_name(b->bond_index_action),
		                                        agi_decision_name(a->bond_index_action)));
	compare_tools(out, pool, a, b);
	compare_quorum(out, pool, from, to);
	if (!agi_str_eq(a->eval.profile_name, b->eval.profile_name)) {
		const struct agi_str parts[] = {AGI_STR("profile: "), b->eval.profile_name, AGI_STR(" instead of "),
		                                a->eval.profile_name, AGI_STR(", which may allow more")};

		agi_strs_add(out, pool, agi_pool_concat(pool, parts, 5));
	}
}

/* --- bytes ----------------------------------------------------------------------------------------------------- */
void agi_policy_encode(struct agi_buf *b, const struct agi_policy *p)
{
	const struct agi_gateway_policy *r = &p->rules;

	agi_buf_u8(b, RECORD_VERSION);
	agi_buf_u64(b, p->epoch);
	agi_buf_u64(b, p->at_ms);
	agi_buf_put(b, p->id, sizeof p->id);
	agi_buf_u8(b, p->is_looser);
	agi_buf_blob(b, p->reason);
	agi_buf_blob(b, p->author);
	agi_buf_blob(b, p->node);
	agi_buf_f64(b, r->bond_index_warn);
	agi_buf_f64(b, r->bond_index_block);
	agi_buf_f64(b, r->bond_index_fallback);
	agi_buf_f64(b, r->eval.physical_harm_threshold);
	agi_buf_u8(b, (uint8_t)r->bond_index_action);
	agi_buf_u32(b, p->quorum);
	agi_buf_u8(b, (uint8_t)p->quorum_rule);
	agi_buf_u32(b, p->byzantine_faults);
	agi_buf_blob(b, r->eval.profile_name);
	agi_buf_u32(b, (uint32_t)r->n_banned);
	for (size_t i = 0; i < r->n_banned; i++)
		agi_buf_blob(b, r->banned[i]);
}

static void take_fields(struct agi_cur *c, struct agi_policy *p)
{
	struct agi_gateway_policy *r = &p->rules;

	p->epoch = agi_cur_u64(c);
	p->at_ms = agi_cur_u64(c);
	agi_cur_copy(c, p->id, sizeof p->id);
	p->is_looser = agi_cur_u8(c) != 0;
	p->reason = agi_cur_blob(c);
	p->author = agi_cur_blob(c);
	p->node = agi_cur_blob(c);
	r->bond_index_warn = agi_cur_f64(c);
	r->bond_index_block = agi_cur_f64(c);
	r->bond_index_fallback = agi_cur_f64(c);
	r->eval.physical_harm_threshold = agi_cur_f64(c);
	r->bond_index_action = (enum agi_decision)agi_cur_u8(c);
	p->quorum = agi_cur_u32(c);
	p->quorum_rule = (enum agi_quorum_rule)agi_cur_u8(c);
	p->byzantine_faults = agi_cur_u32(c);
	r->eval.profile_name = agi_cur_blob(c);
	r->n_banned = agi_cur_u32(c);
}

enum agi_err agi_policy_decode(struct agi_str bytes, const struct agi_gateway_policy *host, struct agi_policy **out)
{
	struct agi_policy p = {.rules.eval.mode = host->eval.mode, .rules.eval.profiles = host->eval.profiles,
	                       .rules.rule_set = host->rule_set};
	struct agi_cur c = agi_cur_of(bytes);
	enum agi_err e = AGI_E_MALFORMED;
	struct agi_str *tools;

	if (agi_cur_u8(&c) != RECORD_VERSION)
		return AGI_E_MALFORMED;
	take_fields(&c, &p);
	if (c.bad || p.rules.n_banned > AGI_POLICY_TOOLS_MAX)
		return AGI_E_MALFORMED;
	tools = calloc(p.rules.n_banned + 1, sizeof *tools);
	if (!tools)
		return AGI_E_NOMEM;
	for (size_t i = 0; i < p.rules.n_banned; i++)
		tools[i] = agi_cur_blob(&c);
	p.rules.banned = tools;
	if (!c.bad && c.n == 0 && (p.epoch ? agi_policy_check(&p, NULL) : check_quorum(&p, NULL)) == AGI_OK)
		e = agi_policy_new(&p, out);
	free(tools);
	return e;
}

/* --- as one loop of a host knows it ------------------------------------------------------------------------------ */
enum agi_err agi_policy_view_init(struct agi_policy_view *v, const struct agi_policy *configured)
{
	*v = (struct agi_policy_view){0};
	agi_buf_init(&v->record, 0);
	if (agi_policy_new(configured, &v->configured))
		return AGI_E_NOMEM;
	v->known = agi_policy_hold(v->configured);
	return AGI_OK;
}

void agi_policy_view_clear(struct agi_policy_view *v)
{
	agi_policy_drop(v->known);
	agi_policy_drop(v->configured);
	agi_buf_free(&v->record);
	*v = (struct agi_policy_view){0};
}

static void confirm(struct agi_policy_view *v, uint64_t began_us)
{
	uint64_t until = began_us + (uint64_t)AGI_POLICY_VALID_MS * 1000;

	if (until > v->valid_until_us)
		v->valid_until_us = until;
}

static bool adopt(struct agi_policy_view *v, struct agi_str record, struct agi_policy *p)
{
	struct agi_buf kept;

	agi_buf_init(&kept, 0);
	agi_buf_put_str(&kept, record);
	if (kept.err) {
		agi_buf_free(&kept);
		agi_policy_drop(p);
		return false;
	}
	agi_policy_drop(v->known);
	agi_buf_free(&v->record);
	v->known = p;
	v->record = kept;
	return true;
}

bool agi_policy_view_read(struct agi_policy_view *v, struct agi_str record, uint64_t began_us)
{
	struct agi_policy *p;
	bool is_news;

	if (began_us < v->not_before_us || (record.p && !record.n))
		return false;
	if (agi_str_eq(record, agi_buf_str(&v->record))) {
		confirm(v, began_us);
		return false;
	}
	if (agi_policy_decode(record, &v->configured->rules, &p))
		return false;
	if (p->epoch <= v->known->epoch) {
		agi_policy_drop(p);
		return false;
	}
	is_news = adopt(v, record, p);
	if (is_news) {
		v->valid_until_us = 0; /* of the one before */
		confirm(v, began_us);
	}
	return is_news;
}

void agi_policy_view_doubt(struct agi_policy_view *v, uint64_t now_us)
{
	v->valid_until_us = 0;
	v->not_before_us = now_us;
}

struct agi_policy *agi_policy_in_force(const struct agi_policy_view *v, uint64_t now_us)
{
	return now_us < v->valid_until_us ? v->known : NULL;
}
