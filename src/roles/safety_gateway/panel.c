/* SPDX-License-Identifier: Apache-2.0 */
#include "roles/safety_gateway/panel.h"

#include <assert.h>

static const struct {
	const char *name;
	struct agi_str text;
} causes[AGI_PANEL_CAUSES] = {
#define CAUSE(x, t) [AGI_PANEL_##x] = {#x, {t, sizeof t - 1}}
    CAUSE(VOTED, "the gateways voted"),
    CAUSE(NO_GATEWAYS, "no healthy safety gateway is known"),
    CAUSE(TOO_FEW_GATEWAYS, "fewer safety gateways are known than must agree"),
    CAUSE(GATEWAYS_FAILED, "too many safety gateways failed"),
    CAUSE(TIMEOUT, "too few safety gateways voted in time"),
#undef CAUSE
};

const char *agi_panel_cause_name(enum agi_panel_cause c)
{
	return (unsigned)c < AGI_PANEL_CAUSES ? causes[c].name : "UNKNOWN";
}

/* --- counting ---------------------------------------------------------------------------------- */
static void count(const struct agi_panel *p, struct agi_tally *t)
{
	agi_tally_init(t, p->cfg.electorate, p->cfg.needed);
	for (unsigned s = 0; s < p->cfg.electorate; s++)
		if (p->seats[s] != AGI_DECISION_NONE)
			agi_tally_add(t, p->seats[s]);
}

static bool is_awaited(const struct agi_panel *p, unsigned seat)
{
	for (size_t i = 0; i < p->n_candidates; i++)
		if (p->candidates[i].seat == seat &&
		    p->candidates[i].state == AGI_CANDIDATE_ASKED)
			return true;
	return false;
}

static unsigned open_seats(const struct agi_panel *p)
{
	unsigned n = 0;

	for (unsigned s = 0; s < p->cfg.electorate; s++)
		n += p->seats[s] == AGI_DECISION_NONE && is_awaited(p, s);
	return n;
}

static bool has_judgement(const struct agi_panel *p, unsigned seat)
{
	for (size_t i = 0; i < p->n_votes; i++)
		if (p->vote_seat[i] == seat && p->votes[i].decision == AGI_DECISION_BLOCK && p->votes[i].result &&
		    p->votes[i].result->cause == AGI_CHECK_OK)
			return true;
	return false;
}

static bool is_blocked_by_judgement(const struct agi_panel *p)
{
	unsigned n = 0;

	for (unsigned s = 0; s < p->cfg.electorate; s++)
		n += has_judgement(p, s);
	return p->cfg.electorate - n < p->cfg.needed;
}

static void finish(struct agi_panel *p, struct agi_now now, const struct agi_tally *t,
                   enum agi_panel_cause cause)
{
	struct agi_panel_result res = {
	    .decision = agi_tally_result(t),
	    .cause = cause,
	    .electorate = p->cfg.electorate,
	    .needed = p->cfg.needed,
	    .is_judged = is_blocked_by_judgement(p),
	    .votes = p->votes,
	    .n_votes = p->n_votes,
	    .took_us = now.mono_us - p->began_us,
	};

	for (int d = AGI_DECISION_ALLOW; d <= (int)res.decision; d++)
		if (d == (int)res.decision || res.decision != AGI_DECISION_BLOCK)
			res.agreed += t->votes[d];
	for (size_t i = 0; i < p->n_votes; i++)
		p->votes[i].is_counted = p->votes[i].decision == p->seats[p->vote_seat[i]];
	p->is_done = true;
	p->fx->done(p->ctx, &res);
}

/* Would the votes that came decide alike if the missing ones had all been ALLOW? */
static bool decided_by_votes(const struct agi_tally *t)
{
	return agi_tally_result(t) != AGI_DECISION_BLOCK || agi_tally_is_decided(t, t->electorate);
}

static void settle(struct agi_panel *p, struct agi_now now)
{
	struct agi_tally t;

	if (p->is_done)
		return;
	count(p, &t);
	if (agi_tally_is_decided(&t, open_seats(p)))
		finish(p, now, &t, decided_by_votes(&t) ? AGI_PANEL_VOTED : AGI_PANEL_GATEWAYS_FAILED);
	else if (now.mono_us >= p->cfg.deadline_us)
		finish(p, now, &t, decided_by_votes(&t) ? AGI_PANEL_VOTED : AGI_PANEL_TIMEOUT);
}

/* --- asking ------------------------------------------------------------------------------------ */
static size_t next_spare(const struct agi_panel *p)
{
	size_t i = 0;

	while (i < p->n_candidates && p->candidates[i].state != AGI_CANDIDATE_SPARE)
		i++;
	return i;
}

/* Its index; n_candidates when there is none left. */
static size_t seat_spare(struct agi_panel *p, struct agi_now now, unsigned seat)
{
	size_t i = next_spare(p);

	if (i == p->n_candidates)
		return i;
	p->candidates[i].state = AGI_CANDIDATE_ASKED;
	p->candidates[i].seat = (uint8_t)seat;
	p->candidates[i].asked_us = now.mono_us;
	return i;
}

static bool ask_spare(struct agi_panel *p, struct agi_now now, unsigned seat)
{
	size_t i = seat_spare(p, now, seat);

	if (i == p->n_candidates)
		return false;
	p->fx->ask(p->ctx, i);
	return true;
}

/* The nearest last: that may be this host itself, whose own judgement would keep the others waiting. */
static void ask_first(struct agi_panel *p, struct agi_now now)
{
	size_t asked[AGI_PANEL_MAX], n = 0;

	while (n < p->cfg.electorate && (asked[n] = seat_spare(p, now, (unsigned)n)) < p->n_candidates)
		n++;
	while (n-- > 0)
		p->fx->ask(p->ctx, asked[n]);
}

static size_t find(const struct agi_panel *p, const struct agi_id *id)
{
	size_t i = 0;

	while (i < p->n_candidates && !agi_id_eq(&p->candidates[i].id, id))
		i++;
	return i;
}

/* Indices of candidates are those of the caller's list: a repeated identity keeps its place, unused. */
static size_t take_candidates(struct agi_panel *p, const struct agi_id *ids, size_t n)
{
	size_t distinct = 0;

	for (size_t i = 0; i < n && i < AGI_PANEL_CANDIDATES_MAX; i++) {
		bool is_repeat = find(p, &ids[i]) < p->n_candidates;

		p->candidates[i].id = ids[i];
		p->candidates[i].state = is_repeat ? AGI_CANDIDATE_FAILED : AGI_CANDIDATE_SPARE;
		p->n_candidates = i + 1;
		distinct += !is_repeat;
	}
	return distinct;
}

void agi_panel_begin(struct agi_panel *p, const struct agi_panel_cfg *cfg,
                     const struct agi_panel_effects *fx, void *ctx, const struct agi_id *ids, size_t n,
                     struct agi_now now)
{
	struct agi_tally none;
	size_t distinct;

	assert(cfg->electorate >= 1 && cfg->electorate <= AGI_PANEL_MAX);
	*p = (struct agi_panel){.cfg = *cfg, .fx = fx, .ctx = ctx, .began_us = now.mono_us};
	distinct = take_candidates(p, ids, n);
	if (distinct < cfg->needed) {
		agi_tally_init(&none, cfg->electorate, cfg->needed);
		finish(p, now, &none,
		       distinct ? AGI_PANEL_TOO_FEW_GATEWAYS : AGI_PANEL_NO_GATEWAYS);
		return;
	}
	ask_first(p, now);
	settle(p, now);
}

void agi_panel_on_failed(struct agi_panel *p, struct agi_now now, const struct agi_id *gateway)
{
	size_t i = find(p, gateway);
	unsigned seat;

	if (p->is_done || i == p->n_candidates || p->candidates[i].state != AGI_CANDIDATE_ASKED)
		return;
	p->candidates[i].state = AGI_CANDIDATE_FAILED;
	seat = p->candidates[i].seat;
	if (p->seats[seat] == AGI_DECISION_NONE && !is_awaited(p, seat) &&
	    now.mono_us < p->cfg.deadline_us)
		ask_spare(p, now, seat);
	settle(p, now);
}

static enum agi_decision decision_of(const struct agi_check_result *r)
{
	return r && r->decision != AGI_DECISION_NONE ? agi_decision_stricter(r->decision, r->decision)
	                                             : AGI_DECISION_BLOCK;
}

bool agi_panel_awaits(const struct agi_panel *p, const struct agi_id *gateway)
{
	size_t i = find(p, gateway);

	return !p->is_done && i < p->n_candidates && p->candidates[i].state == AGI_CANDIDATE_ASKED;
}

void agi_panel_on_vote(struct agi_panel *p, struct agi_now now, const struct agi_id *gateway,
                       struct agi_str nonce, struct agi_str plan_hash,
                       const struct agi_check_result *result)
{
	const struct agi_str my_nonce = {(const char *)p->cfg.nonce, sizeof p->cfg.nonce};
	const struct agi_str my_hash = {(const char *)p->cfg.plan_hash, sizeof p->cfg.plan_hash};
	size_t i = find(p, gateway);
	unsigned seat;

	if (p->is_done || i == p->n_candidates || p->candidates[i].state != AGI_CANDIDATE_ASKED)
		return;
	if (now.mono_us >= p->cfg.deadline_us) { /* late: as if it had not come */
		settle(p, now);
		return;
	}
	if (!agi_str_eq(nonce, my_nonce) || !agi_str_eq(plan_hash, my_hash)) {
		agi_panel_on_failed(p, now, gateway);
		return;
	}
	seat = p->candidates[i].seat;
	p->candidates[i].state = AGI_CANDIDATE_VOTED;
	p->votes[p->n_votes] = (struct agi_panel_vote){
	    .gateway = *gateway, .decision = decision_of(result), .result = result};
	p->vote_seat[p->n_votes] = (uint8_t)seat;
	p->seats[seat] = p->seats[seat] == AGI_DECISION_NONE
	                     ? p->votes[p->n_votes].decision
	                     : agi_decision_stricter(p->seats[seat], p->votes[p->n_votes].decision);
	p->n_votes++;
	settle(p, now);
}

/* Silent for long enough to ask somebody else as well. */
static bool may_hedge(const struct agi_panel *p, size_t i)
{
	return p->cfg.hedge_us && p->candidates[i].state == AGI_CANDIDATE_ASKED &&
	       !p->candidates[i].was_hedged && p->seats[p->candidates[i].seat] == AGI_DECISION_NONE;
}

void agi_panel_tick(struct agi_panel *p, struct agi_now now)
{
	if (p->is_done)
		return;
	for (size_t i = 0; i < p->n_candidates && now.mono_us < p->cfg.deadline_us; i++)
		if (may_hedge(p, i) && now.mono_us - p->candidates[i].asked_us >= p->cfg.hedge_us &&
		    ask_spare(p, now, p->candidates[i].seat))
			p->candidates[i].was_hedged = true;
	settle(p, now);
}

uint64_t agi_panel_next_deadline(const struct agi_panel *p)
{
	uint64_t next = p->cfg.deadline_us;

	if (p->is_done)
		return AGI_NEVER;
	for (size_t i = 0; i < p->n_candidates && next_spare(p) < p->n_candidates; i++)
		if (may_hedge(p, i) && p->candidates[i].asked_us + p->cfg.hedge_us < next)
			next = p->candidates[i].asked_us + p->cfg.hedge_us;
	return next;
}

/* --- the answer -------------------------------------------------------------------------------- */
static void merge_vote(struct agi_check_result *out, const struct agi_check_result *vote,
                       struct agi_pool *pool)
{
	for (size_t i = 0; i < vote->reasons.n; i++)
		agi_strs_add_new(&out->reasons, pool, vote->reasons.p[i]);
	out->categories |= vote->categories;
	if (vote->risk > out->risk)
		out->risk = vote->risk;
	if (vote->has_bond && (!out->has_bond || vote->bond.index > out->bond.index))
		out->bond = vote->bond;
	out->has_bond |= vote->has_bond;
	if (!out->steps) {
		out->steps = vote->steps;
		out->n_steps = vote->n_steps;
	}
	if (!out->proof)
		out->proof = vote->proof;
	if (out->cause == AGI_CHECK_OK)
		out->cause = vote->cause;
}

static void block_for_cause(struct agi_check_result *out, const struct agi_panel_result *res,
                            struct agi_pool *pool)
{
	*out = (struct agi_check_result){.decision = AGI_DECISION_BLOCK,
	                                 .risk = 1.0,
	                                 .phase = "quorum"};
	if (res->cause != AGI_PANEL_VOTED && (unsigned)res->cause < AGI_PANEL_CAUSES)
		agi_strs_add(&out->reasons, pool, causes[res->cause].text);
}

void agi_panel_merge(struct agi_check_result *out, const struct agi_panel_result *res,
                     struct agi_pool *pool)
{
	bool has_first = false;

	block_for_cause(out, res, pool);
	for (size_t i = 0; i < res->n_votes; i++) {
		const struct agi_panel_vote *v = &res->votes[i];

		if (!v->is_counted || v->decision != res->decision || !v->result)
			continue;
		if (!has_first && res->cause == AGI_PANEL_VOTED) {
			out->risk = v->result->risk;
			out->phase = v->result->phase;
		}
		has_first = true;
		merge_vote(out, v->result, pool);
	}
	out->decision = res->decision;
	if (res->decision != AGI_DECISION_BLOCK || res->is_judged)
		out->cause = AGI_CHECK_OK;
	if (!out->reasons.n)
		agi_strs_add(&out->reasons, pool, AGI_STR("a gateway's vote could not be read"));
	if (pool->err)
		agi_check_block(out, AGI_CHECK_OUT_OF_MEMORY);
}
