/* SPDX-License-Identifier: Apache-2.0
 * This node routes a check: the panel's effects become messages, messages become its events.
 *
 *   asked ─► panel ─► decided, in the audit log ─► another host has a copy ─► the client is answered
 *                                                ├─ none in time ─► BLOCK (AUDIT_UNAVAILABLE)
 *                                                ├─ another policy, or a stop, meanwhile ─► BLOCK
 *                                                └─ a vote's signature is wrong ─► BLOCK (VOTE_SIGNATURE_WRONG) */
#include <stdlib.h>

#include <sodium.h>

#include "node/pb_wire.h"
#include "node/safety_impl.h"

struct check {
	LIST_ENTRY(check) link;
	struct agi_safety_plane *plane;
	uint64_t id;
	agi_safety_done_fn *done; /* NULL once called or cancelled */
	void *arg;
	uint64_t began_us, deadline_us; /* of the panel */
	uint64_t answer_us;  /* by then the client is answered */
	uint64_t stop_epoch; /* that this node knew when it began */
	struct agi_panel panel;
	struct agi_policy *policy; /* only votes by this one count */
	uint64_t batch_id;   /* once decided: what the audit log keeps it in; 0 = nothing is awaited */
	Agi__Safety__V1__CheckPlanResponse *answer; /* in the pool; NULL: there was no memory for it */
	struct agi_safety_event told;
	struct agi_pool pool;
	struct agi_str request; /* in the pool */
	struct agi_peer peers[AGI_PANEL_CANDIDATES_MAX];
	/* votes as they were unpacked; their strings are borrowed until the end */
	Agi__Safety__V1__CheckPlanResponse *votes[AGI_PANEL_CANDIDATES_MAX];
	size_t n_votes;
	struct agi_signed_statement *statements; /* of the votes that count, in the pool */
	size_t n_statements;
	struct safety_work verifying; /* done when the loop has nothing else to do, else at the end */
	bool is_queued, is_verified;
	struct event *timer;
};

static void check_free(struct check *c)
{
	LIST_REMOVE(c, link);
	c->plane->n_checks--;
	if (c->is_queued)
		safety_later_remove(&c->plane->later, &c->verifying);
	if (c->timer)
		event_free(c->timer);
	for (size_t i = 0; i < c->n_votes; i++)
		protobuf_c_message_free_unpacked(&c->votes[i]->base, NULL);
	agi_pool_free(&c->pool);
	agi_policy_drop(c->policy);
	free(c);
}

static struct check *find_check(struct agi_safety_plane *s, uint64_t id)
{
	struct check *c;

	LIST_FOREACH(c, &s->checks, link)
		if (c->id == id)
			return c;
	return NULL;
}

/* --- signatures --------------------------------------------------------------------------------------------- */
static bool is_well_signed(struct check *c)
{
	struct agi_safety_plane *s = c->plane;
	const struct agi_poll poll = {.router = s->self.id, .doubts = &s->doubts, .now_us = safety_mono_us()};

	c->is_verified = c->is_verified || agi_poll_confirm(&poll, c->statements, c->n_statements, &s->seen);
	return c->is_verified;
}

static struct check *check_of(struct safety_work *w)
{
	return (struct check *)((char *)w - offsetof(struct check, verifying));
}

static void verify_now(struct safety_work *w)
{
	check_of(w)->is_queued = false;
	(void)is_well_signed(check_of(w));
}

static void verify_never(struct safety_work *w) { check_of(w)->is_queued = false; }

static void verify_later(struct check *c)
{
	c->verifying = (struct safety_work){.run = verify_now, .drop = verify_never, .bytes = sizeof *c};
	c->is_queued = safety_later_add(&c->plane->later, &c->verifying) == AGI_OK; /* else at the end */
}

/* --- the end ------------------------------------------------------------------------------------------------ */
/* plan.plan_id of the request, as it came: whoever judged it has read all of it. */
static struct agi_str plan_id_of(struct agi_str request)
{
	enum { PLAN = 1, PLAN_ID = 1 };
	struct agi_cur c = agi_cur_of(request), plan;
	struct agi_str id = {"", 0};
	struct agi_pb_field f;

	while (agi_pb_next(&c, &f)) {
		if (f.number != PLAN || f.type != AGI_PB_BYTES)
			continue;
		plan = agi_cur_of(f.s);
		while (agi_pb_next(&plan, &f))
			if (f.number == PLAN_ID && f.type == AGI_PB_BYTES)
				id = f.s;
	}
	return id;
}

/* BLOCK takes the place of the answer. The log says what was decided, this entry what is answered instead. */
static void withhold(struct check *c, enum agi_check_cause cause)
{
	struct agi_safety_plane *s = c->plane;
	struct agi_audit_decision d = {.decision = AGI_DECISION_BLOCK,
	                               .risk = 1,
	                               .bond_index = -1,
	                               .policy_epoch = c->policy->epoch,
	                               .stop_epoch = s->latch.known.epoch,
	                               .latency_us = safety_mono_us() - c->began_us,
	                               .cause = agi_str_of(agi_check_cause_name(cause)),
	                               .plan_id = plan_id_of(c->request)};
	uint64_t nobody_waits;

	memcpy(d.plan_hash, c->panel.cfg.plan_hash, sizeof d.plan_hash);
	memcpy(d.nonce, c->panel.cfg.nonce, sizeof d.nonce);
	memcpy(d.policy_hash, c->policy->hash, sizeof d.policy_hash);
	(void)!audit_decision(s, &d, false, &nobody_waits); /* BLOCK it is, logged or not */
	c->answer = NULL;
	c->told.decision = AGI_DECISION_BLOCK;
	c->told.cause = AGI_PANEL_VOTED;
	c->told.check_cause = cause;
}

/* OK: a decision of that kind may stand. What the policy of this check lets pass passes only while that policy is known to
 * be in force, and the cluster not to be stopped: then nothing else has been acknowledged. */
static enum agi_check_cause unconfirmed(const struct check *c, enum agi_decision decision)
{
	uint64_t now = safety_mono_us();
	const struct agi_policy *in_force = agi_policy_in_force(&c->plane->policy, now);
	enum agi_stop stop = agi_latch_state(&c->plane->latch, now);

	if (decision == AGI_DECISION_BLOCK)
		return AGI_CHECK_OK;
	if (stop != AGI_STOP_CLEAR)
		return stop == AGI_STOP_SET ? AGI_CHECK_EMERGENCY_STOP : AGI_CHECK_STOP_STATE_UNKNOWN;
	if (in_force == c->policy)
		return AGI_CHECK_OK;
	return in_force ? AGI_CHECK_POLICY_MISMATCH : AGI_CHECK_POLICY_STATE_UNKNOWN;
}

/* Over: the client is told; withheld: why it is told BLOCK in place of the answer, OK = nothing is known against it. */
static void finish(struct check *c, enum agi_check_cause withheld)
{
	agi_safety_done_fn *done = c->done;

	c->done = NULL;
	if (!withheld)
		withheld = unconfirmed(c, c->told.decision);
	if (!withheld && !is_well_signed(c))
		withheld = AGI_CHECK_VOTE_SIGNATURE_WRONG;
	if (withheld)
		withhold(c, withheld);
	safety_observe(c->plane, &c->told);
	if (done && c->answer)
		done(c->arg, c->answer);
	else if (done)
		agi_safety_block(done, c->arg, agi_check_cause_name(withheld ? withheld : AGI_CHECK_OUT_OF_MEMORY));
	check_free(c);
}

/* After every event: over, or armed for the next deadline. c may be gone after this. */
static void settle(struct check *c)
{
	if (!c->panel.is_done)
		safety_arm(c->timer, agi_panel_next_deadline(&c->panel), safety_mono_us());
	else if (c->batch_id)
		safety_arm(c->timer, c->answer_us, safety_mono_us());
	else
		finish(c, c->told.check_cause == AGI_CHECK_AUDIT_UNAVAILABLE ? AGI_CHECK_AUDIT_UNAVAILABLE : AGI_CHECK_OK);
}

/* --- the answer ----------------------------------------------------------------------------------------- */
/* An answer that needs no memory: whatever else fails, the client is told BLOCK. */
void agi_safety_block(agi_safety_done_fn *done, void *arg, const char *cause)
{
	Agi__Safety__V1__CheckPlanResponse res = AGI__SAFETY__V1__CHECK_PLAN_RESPONSE__INIT;
	Agi__Safety__V1__SafetyResult result = AGI__SAFETY__V1__SAFETY_RESULT__INIT;
	Agi__Safety__V1__SafetyResult__MetadataEntry pairs[2] = {
	    AGI__SAFETY__V1__SAFETY_RESULT__METADATA_ENTRY__INIT,
	    AGI__SAFETY__V1__SAFETY_RESULT__METADATA_ENTRY__INIT};
	Agi__Safety__V1__SafetyResult__MetadataEntry *metadata[2] = {&pairs[0], &pairs[1]};
	const char *text[] = {"phase", "quorum", "cause", cause};
	ProtobufCBinaryData data[4];

	for (size_t i = 0; i < 4; i++)
		data[i] = (ProtobufCBinaryData){strlen(text[i]), (uint8_t *)text[i]};
	for (size_t i = 0; i < 2; i++) {
		pairs[i].key = data[2 * i];
		pairs[i].value = data[2 * i + 1];
	}
	result.decision = AGI__SAFETY__V1__SAFETY_DECISION__SAFETY_DECISION_BLOCK;
	result.risk_score = 1.0f;
	result.n_reasons = 1;
	result.reasons = &data[3];
	result.n_metadata = 2;
	result.metadata = metadata;
	res.result = &result;
	done(arg, &res);
}

static struct agi_str voters(const struct agi_panel_result *res, struct agi_pool *pool)
{
	char text[AGI_PANEL_CANDIDATES_MAX * AGI_ID_SHORT_HEX];
	size_t n = 0;

	for (size_t i = 0; i < res->n_votes; i++) {
		if (i)
			text[n++] = ',';
		agi_id_short(text + n, &res->votes[i].gateway);
		n += AGI_ID_SHORT_HEX - 1;
	}
	return agi_pool_copy(pool, (struct agi_str){text, n});
}

static const char *cause_of(const struct agi_panel_result *res, const struct agi_check_result *merged)
{
	if (res->cause == AGI_PANEL_VOTED && merged->cause != AGI_CHECK_OK)
		return agi_check_cause_name(merged->cause);
	return agi_panel_cause_name(res->cause);
}

/* The certificate's bytes; empty when there is no memory for it. */
static struct agi_str certify(struct check *c, const struct agi_panel_result *res)
{
	struct agi_certificate *cert = agi_pool_take(&c->pool, 1, sizeof *cert);
	struct agi_str bytes = {"", 0};
	struct agi_buf b;

	if (!cert)
		return bytes;
	*cert = (struct agi_certificate){.decision = res->decision,
	                                 .electorate = (uint8_t)res->electorate,
	                                 .needed = (uint8_t)res->needed,
	                                 .router = c->plane->self.id,
	                                 .at_ms = safety_wall_us() / 1000,
	                                 .n_votes = (uint8_t)c->n_statements};
	memcpy(cert->plan_hash, c->panel.cfg.plan_hash, sizeof cert->plan_hash);
	memcpy(cert->nonce, c->panel.cfg.nonce, sizeof cert->nonce);
	for (size_t i = 0; i < c->panel.n_candidates; i++)
		if (c->panel.candidates[i].state != AGI_CANDIDATE_SPARE)
			cert->asked[cert->n_asked++] = c->panel.candidates[i].id;
	if (c->n_statements)
		memcpy(cert->votes, c->statements, c->n_statements * sizeof cert->votes[0]);
	agi_buf_init(&b, 0);
	agi_certificate_encode(&b, cert);
	if (!b.err)
		bytes = agi_pool_copy(&c->pool, agi_buf_str(&b));
	agi_buf_free(&b);
	return bytes;
}

/* Metadata are text: base64 (RFC 4648 4). */
static struct agi_str base64(struct agi_str bytes, struct agi_pool *pool)
{
	size_t n = sodium_base64_encoded_len(bytes.n, sodium_base64_VARIANT_ORIGINAL);
	char *out = agi_pool_take(pool, n, 1);

	if (!out)
		return (struct agi_str){"", 0};
	sodium_bin2base64(out, n, (const uint8_t *)bytes.p, bytes.n, sodium_base64_VARIANT_ORIGINAL);
	return agi_str_of(out);
}

/* Into the audit log. What cannot be logged is blocked. */
static void keep(struct check *c, const struct agi_check_result *merged, struct agi_str cause, struct agi_str certificate)
{
	struct agi_safety_plane *s = c->plane;
	struct agi_audit_decision d = {.decision = c->told.decision,
	                               .risk = merged->risk,
	                               .bond_index = c->told.bond_index,
	                               .policy_epoch = c->policy->epoch,
	                               .stop_epoch = s->latch.known.epoch,
	                               .latency_us = c->told.took_us,
	                               .cause = cause,
	                               .plan_id = plan_id_of(c->request),
	                               .certificate = certificate};

	memcpy(d.plan_hash, c->panel.cfg.plan_hash, sizeof d.plan_hash);
	memcpy(d.nonce, c->panel.cfg.nonce, sizeof d.nonce);
	memcpy(d.policy_hash, c->policy->hash, sizeof d.policy_hash);
	if (audit_decision(s, &d, true, &c->batch_id))
		c->told.check_cause = AGI_CHECK_AUDIT_UNAVAILABLE;
	else if (c->batch_id)
		verify_later(c);
}

/* The votes were judged by the policy that was known when they were asked for. True: it was blocked. */
static bool block_unconfirmed(struct check *c, struct agi_panel_result *res, struct agi_check_result *merged)
{
	enum agi_check_cause cause = unconfirmed(c, res->decision);

	if (!cause)
		return false;
	agi_check_block(merged, cause);
	res->decision = AGI_DECISION_BLOCK;
	res->cause = AGI_PANEL_VOTED;
	res->agreed = 0;
	return true;
}

const char *agi_block_reason_name(enum agi_block_reason r)
{
	static const char *const names[AGI_BLOCK_REASONS] = {"FAILURE", "RULES", "ERISML_VETO", "BOND_INDEX", "SPLIT"};

	return (unsigned)r < AGI_BLOCK_REASONS ? names[r] : "unknown";
}

/* By the phase in which the gateways decided. */
static enum agi_block_reason reason_of(const struct agi_check_result *merged)
{
	static const char *const phases[AGI_BLOCK_REASONS] = {[AGI_BLOCK_RULES] = "rule_check",
	                                                      [AGI_BLOCK_VETO] = "erisml_check",
	                                                      [AGI_BLOCK_BOND_INDEX] = "bond_index_check"};

	for (int i = 0; i < AGI_BLOCK_REASONS; i++)
		if (merged->phase && phases[i] && strcmp(merged->phase, phases[i]) == 0)
			return (enum agi_block_reason)i;
	return AGI_BLOCK_SPLIT;
}

static void on_done(void *ctx, const struct agi_panel_result *found)
{
	struct check *c = ctx;
	struct agi_pool *pool = &c->pool;
	struct agi_panel_result decided = *found, *res = &decided;
	struct agi_check_result merged;
	struct agi_str cause, certificate;

	if (!block_unconfirmed(c, res, &merged))
		agi_panel_merge(&merged, res, pool);
	certificate = certify(c, res);
	cause = agi_str_of(cause_of(res, &merged));
	c->told = (struct agi_safety_event){.kind = AGI_SAFETY_CHECKED,
	                                    .decision = res->decision,
	                                    .cause = res->cause,
	                                    .check_cause = merged.cause,
	                                    .block = reason_of(&merged),
	                                    .bond_index = merged.has_bond ? merged.bond.index : -1.0,
	                                    .took_us = safety_mono_us() - c->began_us};
	const struct agi_pair metadata[] = {
	    {AGI_STR("latency_ms"),
	     agi_pool_printf(pool, "%.2f", (double)c->told.took_us / 1e3)},
	    {AGI_STR("quorum"), agi_pool_printf(pool, "%u/%u", res->agreed, res->electorate)},
	    {AGI_STR("gateways"), voters(res, pool)},
	    {AGI_STR("cause"), cause},
	    {AGI_STR("certificate"), base64(certificate, pool)},
	};
	merged.cause = AGI_CHECK_OK; /* told above */
	c->answer = agi_check_to_pb(&merged, metadata, sizeof metadata / sizeof *metadata, pool);
	if (!c->answer || pool->err) {
		c->answer = NULL;
		c->told.decision = AGI_DECISION_BLOCK;
		cause = agi_str_of(agi_check_cause_name(AGI_CHECK_OUT_OF_MEMORY));
		certificate.n = 0;
	}
	keep(c, &merged, cause, certificate);
}

/* --- asking ----------------------------------------------------------------------------------------------- */
static void on_ask(void *ctx, size_t candidate)
{
	struct check *c = ctx;
	uint64_t now = safety_mono_us();
	struct agi_safety_msg m = {
	    .kind = AGI_BODY_VOTE_REQUEST,
	    .rpc_id = c->id,
	    .nonce = {(char *)c->panel.cfg.nonce, sizeof c->panel.cfg.nonce},
	    .request = c->request,
	    .budget_ms = c->deadline_us > now ? (uint32_t)((c->deadline_us - now) / 1000) : 0,
	};

	if (safety_send(c->plane, &c->peers[candidate], &m))
		safety_fail_later(c->plane, &c->peers[candidate].id, c->id);
}

static const struct agi_panel_effects effects = {on_ask, on_done};

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct check *c = arg;
	(void)fd;
	(void)what;

	if (c->panel.is_done) { /* no witness in time */
		finish(c, AGI_CHECK_AUDIT_UNAVAILABLE);
		return;
	}
	agi_panel_tick(&c->panel, safety_now());
	settle(c);
}

/* Distinct hosts, nearest first. */
static size_t find_gateways(struct check *c, struct agi_id ids[AGI_PANEL_CANDIDATES_MAX])
{
	struct agi_instance found[2 * AGI_PANEL_CANDIDATES_MAX];
	size_t n = c->plane->hooks.instances(c->plane->ctx, AGI_STR("safety-gateway"), found,
	                                     sizeof found / sizeof *found);
	size_t kept = 0;

	for (size_t i = 0; i < n && kept < AGI_PANEL_CANDIDATES_MAX; i++) {
		bool is_known = false;

		for (size_t k = 0; k < kept; k++)
			is_known |= agi_id_eq(&ids[k], &found[i].node);
		if (is_known)
			continue;
		ids[kept] = found[i].node;
		c->peers[kept++] = (struct agi_peer){found[i].node, found[i].provider->node_addr};
	}
	return kept;
}

static struct check *check_new(struct agi_safety_plane *s, struct agi_str request, uint32_t budget_ms,
                               agi_safety_done_fn *done, void *arg)
{
	struct check *c = s->n_checks < SAFETY_CHECKS_MAX ? calloc(1, sizeof *c) : NULL;
	uint64_t budget_us;

	if (!c)
		return NULL;
	c->plane = s;
	c->id = ++s->last_id;
	c->policy = agi_policy_hold(s->policy.known);
	c->done = done;
	c->arg = arg;
	c->began_us = safety_mono_us();
	c->stop_epoch = s->latch.known.epoch;
	/* A twentieth of the budget is for the way back to the client, a tenth for a witness. */
	budget_us = (uint64_t)(budget_ms && budget_ms < s->timeout_ms ? budget_ms : s->timeout_ms) * 1000;
	c->answer_us = c->began_us + budget_us * 19 / 20;
	c->deadline_us = s->audit ? c->began_us + budget_us * 17 / 20 : c->answer_us;
	agi_pool_init(&c->pool, 0);
	LIST_INSERT_HEAD(&s->checks, c, link);
	s->n_checks++;
	c->request = agi_pool_copy(&c->pool, request);
	c->timer = evtimer_new(s->base, on_timer, c);
	if (c->timer && !c->pool.err)
		return c;
	check_free(c);
	return NULL;
}

uint64_t agi_safety_plane_check(struct agi_safety_plane *s, struct agi_str request, uint32_t budget_ms,
                                agi_safety_done_fn *done, void *arg)
{
	struct check *c = check_new(s, request, budget_ms, done, arg);
	const struct agi_policy *p = s->policy.known;
	struct agi_panel_cfg cfg = {.electorate = p->quorum, .needed = p->needed,
	                            .hedge_us = (uint64_t)s->hedge_ms * 1000};
	struct agi_id ids[AGI_PANEL_CANDIDATES_MAX];
	uint64_t id;
	size_t n;

	if (!c) {
		agi_safety_block(done, arg, agi_check_cause_name(AGI_CHECK_BUSY));
		return 0;
	}
	id = c->id;
	cfg.deadline_us = c->deadline_us;
	randombytes_buf(cfg.nonce, sizeof cfg.nonce);
	agi_blake2b_256(cfg.plan_hash, &c->request, 1);
	n = find_gateways(c, ids);
	agi_panel_begin(&c->panel, &cfg, &effects, c, ids, n, safety_now());
	settle(c);
	return id;
}

void agi_safety_plane_cancel(struct agi_safety_plane *s, uint64_t check_id)
{
	struct check *c = find_check(s, check_id);

	if (c)
		check_free(c);
}

/* --- events ----------------------------------------------------------------------------------------------- */
/* The vote as values; NULL when it cannot be read. */
static const struct agi_check_result *read_vote(struct check *c, struct agi_str response)
{
	struct agi_check_result *r = agi_pool_take(&c->pool, 1, sizeof *r);
	Agi__Safety__V1__CheckPlanResponse *m;

	if (!r || c->n_votes == AGI_PANEL_CANDIDATES_MAX)
		return NULL;
	m = (Agi__Safety__V1__CheckPlanResponse *)agi_pb_unpack(
	    &agi__safety__v1__check_plan_response__descriptor, response, NULL);
	if (!m)
		return NULL;
	c->votes[c->n_votes++] = m;
	agi_check_from_pb(r, m, &c->pool);
	return r;
}

static struct agi_poll poll_of(const struct check *c)
{
	struct agi_safety_plane *s = c->plane;
	struct agi_poll b = {.policy_epoch = c->policy->epoch,
	                       .stop_epoch = c->stop_epoch,
	                       .stop_epoch_now = s->latch.known.epoch,
	                       .now_ms = safety_wall_us() / 1000,
	                       .router = s->self.id,
	                       .doubts = &s->doubts,
	                       .now_us = safety_mono_us()};

	b.asked_ms = b.now_ms - (safety_mono_us() - c->began_us) / 1000;
	memcpy(b.plan_hash, c->panel.cfg.plan_hash, sizeof b.plan_hash);
	memcpy(b.nonce, c->panel.cfg.nonce, sizeof b.nonce);
	memcpy(b.policy_hash, c->policy->hash, sizeof b.policy_hash);
	return b;
}

/* A BLOCK counts by whatever policy it was made, but the votes of a certificate are all by one. */
static bool goes_with_the_others(const struct agi_poll *b, const struct agi_signed_statement *s)
{
	struct agi_statement said;

	return agi_statement_decode(&said, (struct agi_str){(const char *)s->bytes, sizeof s->bytes}) == AGI_OK &&
	       said.policy_epoch == b->policy_epoch && said.stop_epoch == b->stop_epoch &&
	       memcmp(said.policy_hash, b->policy_hash, sizeof said.policy_hash) == 0;
}

/* Keeps the statement for the certificate if it counts. */
static enum agi_check_cause keep_statement(struct check *c, const struct agi_id *from, struct agi_str bytes,
                                           const struct agi_check_result *r)
{
	struct agi_poll poll = poll_of(c);
	struct agi_signed_statement s;
	enum agi_check_cause cause;

	if (!c->statements)
		c->statements = agi_pool_take(&c->pool, AGI_PANEL_CANDIDATES_MAX, sizeof s);
	if (!c->statements || c->n_statements == AGI_PANEL_CANDIDATES_MAX)
		return AGI_CHECK_OUT_OF_MEMORY;
	if (agi_signed_statement_decode(&s, bytes))
		return AGI_CHECK_VOTE_MALFORMED;
	cause = agi_poll_judge(&poll, from, r->decision, &s, &c->plane->seen);
	if (!cause && goes_with_the_others(&poll, &s))
		c->statements[c->n_statements++] = s;
	return cause;
}

/* What this gateway's vote counts as. NULL, which is BLOCK: there is no memory to say why. */
static const struct agi_check_result *take_vote(struct check *c, const struct agi_id *from,
                                                const struct agi_safety_msg *m)
{
	const struct agi_check_result *r = read_vote(c, m->response);
	enum agi_check_cause cause =
	    r && r->decision != AGI_DECISION_NONE ? keep_statement(c, from, m->statement, r) : AGI_CHECK_VOTE_MALFORMED;
	struct agi_check_result *blocked;

	if (!cause || (r && r->decision == AGI_DECISION_BLOCK))
		return r;
	blocked = agi_pool_take(&c->pool, 1, sizeof *blocked);
	if (blocked)
		agi_check_block(blocked, cause);
	return blocked;
}

void check_on_vote_reply(struct agi_safety_plane *s, const struct agi_id *from,
                         const struct agi_safety_msg *m)
{
	struct check *c = find_check(s, m->rpc_id);

	if (!c || !agi_panel_awaits(&c->panel, from))
		return; /* late: it is decided; or nobody asked */
	if (m->error.n) {
		agi_panel_on_failed(&c->panel, safety_now(), from);
	} else {
		agi_panel_on_vote(&c->panel, safety_now(), from, m->nonce, m->plan_hash, take_vote(c, from, m));
	}
	settle(c);
}

void check_on_unreachable(struct agi_safety_plane *s, const struct agi_id *peer, uint64_t check_id)
{
	struct check *c, *next;

	for (c = LIST_FIRST(&s->checks); c; c = next) {
		next = LIST_NEXT(c, link);
		if (c->panel.is_done || (check_id && c->id != check_id))
			continue;
		agi_panel_on_failed(&c->panel, safety_now(), peer);
		settle(c);
	}
}

/* A policy may have been set while a witness was waited for. */
void check_on_audited(struct agi_safety_plane *s, uint64_t batch_id, bool is_kept)
{
	struct check *c, *next;

	for (c = LIST_FIRST(&s->checks); c; c = next) {
		next = LIST_NEXT(c, link);
		if (c->batch_id == batch_id)
			finish(c, is_kept ? AGI_CHECK_OK : AGI_CHECK_AUDIT_UNAVAILABLE);
	}
}

void check_free_all(struct agi_safety_plane *s)
{
	struct check *c;

	while ((c = LIST_FIRST(&s->checks)))
		check_free(c);
}
