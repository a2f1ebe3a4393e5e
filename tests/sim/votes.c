/* SPDX-License-Identifier: Apache-2.0
 *
 *   begin ─► panel ─ ask ─► gateway: judge, look at the latch, sign ─ replies ─► poll ─► panel ─► done: the promises
 *
 * What a gateway really signed is written down where it signs; the promises are held against that, not against what a
 * router believes. */
#include "votes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "roles/safety_gateway/facts_builder.h"

enum {
	MS = 1000,
	SECOND = 1000 * MS,
	ROUTERS = 2,
	HOSTS = VOTES_GATEWAYS + ROUTERS, /* those that read the stop */
	DEADLINE = 85 * MS,
	HEDGE = 25 * MS,
	EVENTS = 512,
	SIGNED = 512,
	COPIES = 4, /* of a REPEATS */
	STOPS = 4,
	POLICIES = 2, /* the old one, the one in force */
	OLD = 0,
	NEW = 1
};

/* The plans, by their one step's tool. */
enum { GOOD, BANNED, NEWLY_BANNED, EMPTY };
static const char *const tools[VOTES_PLANS] = {"report", "override_safety", "weld", ""};

static const char *const fault_texts[VOTES_FAULT_COUNT] = {
#define TEXT(name, text) text,
    VOTES_FAULTS(TEXT)
#undef TEXT
};

/* The same for all runs. */
static uint8_t seckeys[VOTES_GATEWAYS][AGI_SECKEY_BYTES];
static struct agi_id ids[VOTES_GATEWAYS];
static struct agi_gateway_policy policies[POLICIES];
static uint8_t policy_hashes[POLICIES][32];
static enum agi_decision truth[POLICIES][VOTES_PLANS];
static struct agi_check_result answers[AGI_DECISION_COUNT], blocks[AGI_CHECK_CAUSES];

enum event_kind { BEGIN, REQUEST, CONCLUDE, REPLY, FAILED, READ_BEGINS, READ_ENDS, STOP_WRITTEN, NOTICE, RESTART };
struct event {
	uint64_t at_us, number; /* number: of two at the same time, the earlier made comes first */
	enum event_kind kind;
	unsigned host, check, life;
	uint64_t began_us; /* READ_ENDS */
	unsigned stop;     /* READ_ENDS, NOTICE: how many changes of the stop it knows */
	struct {
		enum agi_decision told;
		bool has_wrong_nonce;
		struct agi_signed_statement statement;
	} reply;
};

struct gateway {
	enum votes_fault fault;
	unsigned life;
	uint64_t cut_from_us, cut_until_us;
	int64_t clock_ms;
};

struct check {
	struct world *world;
	unsigned router, plan;
	bool has_begun, is_done, is_withheld; /* withheld: a vote that counted was signed wrongly */
	uint64_t began_us, asked_ms, stop_epoch;
	uint8_t nonce[16], plan_hash[32];
	struct agi_panel panel;
	size_t n_candidates;
	unsigned candidates[VOTES_GATEWAYS]; /* gateways, nearest first */
	struct agi_signed_statement kept[AGI_PANEL_CANDIDATES_MAX];
	uint8_t n_kept;
	enum agi_decision decision;
};

/* A true signature. */
struct signature {
	unsigned gateway;
	uint64_t at_us;
	struct agi_statement said;
	struct agi_signed_statement bytes;
};

struct world {
	struct agi_prng rng;
	bool is_told;
	uint64_t now_us, n_events_made;
	struct event events[EVENTS];
	size_t n_events;
	unsigned electorate, needed, n_gateways, n_liars;
	bool router_is_gateway; /* router 0 and gateway 0 are one host */
	bool is_cut_off;        /* routers and half of the gateways cannot read the stop */
	struct gateway gateways[VOTES_GATEWAYS];
	struct agi_latch latches[HOSTS];
	struct agi_signed_roots seen[ROUTERS];
	struct agi_doubts doubts[ROUTERS];
	uint64_t caught_us[ROUTERS][VOTES_GATEWAYS]; /* when a wrong signature of it was first noticed; 0 = never */
	struct check checks[VOTES_CHECKS];
	struct signature signatures[SIGNED];
	size_t n_signatures;
	struct agi_stop_record stops[STOPS]; /* what was written to the register, in order */
	uint64_t stopped_at_us[STOPS];
	unsigned n_stops, n_planned_stops;
	struct votes_stats *sum;
	char failure[VOTES_REASON];
};

/* --- set up once ------------------------------------------------------------------------------------------- */
static enum agi_decision judge(const struct agi_gateway_policy *policy, const char *tool)
{
	struct agi_plan_step step = {.step_id = AGI_STR("s"), .level = 1, .tool_id = agi_str_of(tool)};
	struct agi_plan plan = {.steps = &step, .n_steps = tool[0] != '\0'};
	struct agi_check_result r;
	struct agi_gateway_check c;
	struct agi_plan_eval eval;
	struct agi_proof_chain chain = {0};
	struct agi_pool pool;

	agi_pool_init(&pool, 0);
	if (agi_gateway_begin(&c, policy, &plan, &pool, &r) == AGI_GATEWAY_NEED_ERISML) {
		struct agi_proof_ctx ctx = {.policy = &policy->eval, .chain = &chain, .pool = &pool};

		if (agi_erisml_plan(&eval, &ctx, c.facts, plan.n_steps, true, NULL))
			abort();
		agi_gateway_finish(&c, &eval, &r);
	}
	agi_pool_free(&pool);
	return r.decision;
}

void votes_set_up(void)
{
	static struct agi_str banned[2] = {AGI_STR("override_safety"), AGI_STR("weld")};

	if (agi_crypto_init())
		abort();
	for (uint8_t i = 0; i < VOTES_GATEWAYS; i++) {
		const uint8_t seed[AGI_SEED_BYTES] = {i + 1};
		uint8_t pub[AGI_PUBKEY_BYTES];

		agi_keypair_of_seed(seed, pub, seckeys[i]);
		agi_id_of_pubkey(&ids[i], pub);
	}
	for (size_t p = 0; p < POLICIES; p++) {
		agi_gateway_policy_default(&policies[p]);
		policies[p].banned = banned;
		policies[p].n_banned = p + 1;
		agi_policy_hash(policy_hashes[p], &policies[p]);
		for (size_t i = 0; i < VOTES_PLANS; i++)
			truth[p][i] = judge(&policies[p], tools[i]);
	}
	for (int d = AGI_DECISION_ALLOW; d < AGI_DECISION_COUNT; d++)
		answers[d] = (struct agi_check_result){.decision = (enum agi_decision)d, .phase = "complete"};
	for (int c = 0; c < AGI_CHECK_CAUSES; c++)
		agi_check_block(&blocks[c], (enum agi_check_cause)c);
}

/* --- time -------------------------------------------------------------------------------------------------- */
static uint64_t below(struct world *w, uint64_t n) { return agi_prng_below(&w->rng, n); }
static bool chance(struct world *w, unsigned of_100) { return below(w, 100) < of_100; }
static uint64_t between(struct world *w, uint64_t from, uint64_t to) { return from + below(w, to - from + 1); }
static struct agi_now now_of(const struct world *w) { return (struct agi_now){w->now_us, 0}; }
static uint64_t wall_ms(const struct world *w) { return 1700000000000 + w->now_us / 1000; }

static struct event *add(struct world *w, uint64_t in_us, enum event_kind kind)
{
	struct event *e = &w->events[w->n_events++];

	if (w->n_events >= EVENTS)
		abort();
	*e = (struct event){.at_us = w->now_us + in_us, .number = w->n_events_made++, .kind = kind};
	return e;
}

static void tell(const struct world *w, const char *what, unsigned who, const char *more)
{
	if (w->is_told)
		printf("%9.3f ms %s %u %s\n", (double)w->now_us / 1e3, what, who, more);
}

static void fail(struct world *w, const struct check *c, const char *what)
{
	if (!w->failure[0])
		snprintf(w->failure, sizeof w->failure, "%s (plan \"%s\": %s; panel of %u, %u needed, %u gateways, %u liars)", what,
			 tools[c->plan], agi_decision_name(c->decision), w->electorate, w->needed, w->n_gateways,
			 w->n_liars);
}

/* --- the emergency stop ------------------------------------------------------------------------------------ */
static void read_ends(struct world *w, const struct event *e)
{
	agi_latch_read(&w->latches[e->host], e->stop ? &w->stops[e->stop - 1] : NULL, e->began_us);
}

static bool can_read(const struct world *w, unsigned host)
{
	const struct gateway *g = &w->gateways[host < VOTES_GATEWAYS ? host : 0];

	if (host >= VOTES_GATEWAYS) /* a router */
		return !w->is_cut_off;
	return g->fault != VOTES_NO_STOP && !(w->now_us >= g->cut_from_us && w->now_us < g->cut_until_us);
}

static void read_begins(struct world *w, const struct event *e)
{
	struct event *end;

	add(w, AGI_STOP_REFRESH_MS * MS, READ_BEGINS)->host = e->host;
	if (!can_read(w, e->host))
		return;
	end = add(w, between(w, 1 * MS, 40 * MS), READ_ENDS);
	end->host = e->host;
	end->began_us = w->now_us;
	end->stop = w->n_stops;
}

static void stop_written(struct world *w)
{
	struct agi_stop_record *r = &w->stops[w->n_stops];

	*r = (struct agi_stop_record){.epoch = w->n_stops + 1, .is_stopped = w->n_stops % 2 == 0};
	w->stopped_at_us[w->n_stops++] = w->now_us;
	tell(w, r->is_stopped ? "stop, epoch" : "resume, epoch", w->n_stops, "");
	for (unsigned h = 0; h < HOSTS && r->is_stopped; h++)
		if (can_read(w, h) && chance(w, 70)) {
			struct event *e = add(w, between(w, MS / 5, 5 * MS), NOTICE);

			e->host = h;
			e->stop = w->n_stops;
		}
}

/* Since when the register has said "stopped"; AGI_NEVER: it does not. */
static uint64_t stopped_since(const struct world *w)
{
	return w->n_stops && w->stops[w->n_stops - 1].is_stopped ? w->stopped_at_us[w->n_stops - 1] : AGI_NEVER;
}

/* --- gateways ---------------------------------------------------------------------------------------------- */
static bool is_liar(const struct gateway *g) { return g->fault >= VOTES_FIRST_LIAR; }

static bool is_reached(const struct world *w, unsigned gateway)
{
	const struct gateway *g = &w->gateways[gateway];

	return g->fault != VOTES_SILENT && !(w->now_us >= g->cut_from_us && w->now_us < g->cut_until_us);
}

static void remember(struct world *w, unsigned gateway, const struct agi_statement *said,
                     const struct agi_signed_statement *bytes)
{
	if (w->n_signatures == SIGNED)
		abort();
	w->signatures[w->n_signatures++] = (struct signature){gateway, w->now_us, *said, *bytes};
}

static void sign(struct world *w, unsigned gateway, const struct agi_statement *said, struct agi_signed_statement *out)
{
	struct agi_signed_statement *list[] = {out};

	memset(out, 0, sizeof *out);
	agi_statement_encode(out->bytes, said);
	agi_statements_sign(list, 1, seckeys[gateway]);
	if (w->gateways[gateway].fault == VOTES_FORGES)
		out->sig[below(w, sizeof out->sig)] ^= (uint8_t)(1 << below(w, 8));
	else
		remember(w, gateway, said, out);
}

static struct agi_statement honest_statement(struct world *w, const struct check *c, unsigned gateway)
{
	const struct gateway *g = &w->gateways[gateway];
	const struct agi_latch *latch = &w->latches[gateway];
	unsigned policy = g->fault == VOTES_OLD_POLICY ? OLD : NEW;
	struct agi_statement s = {.decision = truth[policy][c->plan],
				  .policy_epoch = policy,
				  .stop_epoch = latch->known.epoch,
				  .gateway = ids[gateway],
				  .incarnation = g->life,
				  .at_ms = (uint64_t)((int64_t)wall_ms(w) + g->clock_ms)};

	if (agi_latch_state(latch, w->now_us) != AGI_STOP_CLEAR)
		s.decision = AGI_DECISION_BLOCK;
	memcpy(s.plan_hash, c->plan_hash, sizeof s.plan_hash);
	memcpy(s.nonce, c->nonce, sizeof s.nonce);
	memcpy(s.policy_hash, policy_hashes[policy], sizeof s.policy_hash);
	return s;
}

/* A liar's lies in what it signs. */
static void bend(struct world *w, const struct check *c, const struct gateway *g, struct agi_statement *s)
{
	if (is_liar(g) && g->fault != VOTES_BLOCKS && g->fault != VOTES_CONTRADICTS && g->fault != VOTES_REPLAYS)
		s->decision = AGI_DECISION_ALLOW;
	if (g->fault == VOTES_BLOCKS || g->fault == VOTES_CONTRADICTS || (g->fault == VOTES_TWO_FACED && c->router == 1))
		s->decision = AGI_DECISION_BLOCK;
	s->stop_epoch = is_liar(g) ? c->stop_epoch : s->stop_epoch; /* it knows, and does not care */
	s->plan_hash[0] ^= g->fault == VOTES_OTHER_PLAN;
	s->nonce[0] ^= g->fault == VOTES_OTHER_CHECK;
	s->stop_epoch += g->fault == VOTES_OTHER_STOP ? (below(w, 2) ? 1 : (uint64_t)-1) : 0;
	if (g->fault == VOTES_OTHER_POLICY) {
		s->policy_epoch = OLD;
		memcpy(s->policy_hash, policy_hashes[OLD], sizeof s->policy_hash);
	}
}

static void send(struct world *w, unsigned gateway, unsigned check, enum agi_decision told,
                 const struct agi_signed_statement *s)
{
	struct event *e;

	if (!is_reached(w, gateway))
		return;
	e = add(w, between(w, MS / 5, 3 * MS), REPLY);
	e->host = gateway;
	e->check = check;
	e->reply.told = told;
	e->reply.statement = *s;
	e->reply.has_wrong_nonce = w->gateways[gateway].fault == VOTES_WRONG_NONCE;
}

/* An earlier ALLOW for this plan: of this gateway, or (is_other) of another one. NULL: there is none. */
static const struct signature *earlier(const struct world *w, const struct check *c, unsigned gateway, bool is_other)
{
	for (size_t i = w->n_signatures; i-- > 0;) {
		const struct signature *s = &w->signatures[i];

		if ((s->gateway != gateway) == is_other && s->said.decision == AGI_DECISION_ALLOW &&
		    memcmp(s->said.plan_hash, c->plan_hash, sizeof c->plan_hash) == 0)
			return s;
	}
	return NULL;
}

static void conclude(struct world *w, const struct event *e)
{
	struct gateway *g = &w->gateways[e->host];
	const struct check *c = &w->checks[e->check];
	struct agi_signed_statement bytes;
	struct agi_statement s = honest_statement(w, c, e->host);
	const struct signature *old = NULL;

	if (g->life != e->life)
		return; /* forgotten in a restart */
	if (g->fault == VOTES_REPLAYS || g->fault == VOTES_IN_ANOTHERS_NAME)
		old = earlier(w, c, e->host, g->fault == VOTES_IN_ANOTHERS_NAME);
	bend(w, c, g, &s);
	sign(w, e->host, &s, &bytes);
	if (old) {
		send(w, e->host, e->check, AGI_DECISION_ALLOW, &old->bytes);
		return;
	}
	for (int i = g->fault == VOTES_REPEATS ? COPIES : 1; i > 0; i--)
		send(w, e->host, e->check, g->fault == VOTES_CONTRADICTS ? AGI_DECISION_ALLOW : s.decision, &bytes);
	if (g->fault == VOTES_TWO_FACED) {
		s.decision = s.decision == AGI_DECISION_ALLOW ? AGI_DECISION_BLOCK : AGI_DECISION_ALLOW;
		sign(w, e->host, &s, &bytes);
		send(w, e->host, e->check, s.decision, &bytes);
	}
}

static void on_request(struct world *w, const struct event *e)
{
	const struct gateway *g = &w->gateways[e->host];
	uint64_t work = g->fault == VOTES_SLOW ? between(w, 5 * MS, 150 * MS) : between(w, MS / 10, 8 * MS);
	struct event *end;

	if (!is_reached(w, e->host))
		return;
	end = add(w, work, CONCLUDE);
	end->host = e->host;
	end->check = e->check;
	end->life = g->life;
}

static void restart(struct world *w, unsigned gateway)
{
	w->gateways[gateway].life++;
	w->latches[gateway] = (struct agi_latch){0};
	tell(w, "restart of gateway", gateway, "");
	for (unsigned c = 0; c < VOTES_CHECKS; c++) {
		struct event *e = add(w, between(w, MS / 5, 3 * MS), FAILED);

		e->host = gateway;
		e->check = c;
	}
}

/* --- routers ----------------------------------------------------------------------------------------------- */
static void on_ask(void *ctx, size_t candidate)
{
	struct check *c = ctx;
	struct world *w = c->world;
	unsigned gateway = c->candidates[candidate];
	bool is_dead = w->gateways[gateway].fault == VOTES_DEAD;
	struct event *e = add(w, between(w, MS / 5, 3 * MS), is_dead ? FAILED : REQUEST);

	e->host = gateway;
	e->check = (unsigned)(c - w->checks);
}

static struct agi_poll poll_of(struct world *w, const struct check *c)
{
	struct agi_poll p = {.doubts = &w->doubts[c->router],
			     .now_us = w->now_us,
			     .policy_epoch = NEW,
			     .stop_epoch = c->stop_epoch,
			     .stop_epoch_now = w->latches[VOTES_GATEWAYS + c->router].known.epoch,
			     .asked_ms = c->asked_ms,
			     .now_ms = wall_ms(w)};

	memcpy(p.plan_hash, c->plan_hash, sizeof p.plan_hash);
	memcpy(p.nonce, c->nonce, sizeof p.nonce);
	memcpy(p.policy_hash, policy_hashes[NEW], sizeof p.policy_hash);
	if (w->router_is_gateway && c->router == 0)
		p.router = ids[0];
	return p;
}

static void on_reply(struct world *w, const struct event *e)
{
	struct check *c = &w->checks[e->check];
	struct agi_poll poll = poll_of(w, c);
	const struct agi_check_result *r = &answers[e->reply.told];
	enum agi_check_cause cause;
	uint8_t nonce[16];

	if (!agi_panel_awaits(&c->panel, &ids[e->host]))
		return;
	cause = agi_poll_judge(&poll, &ids[e->host], e->reply.told, &e->reply.statement, &w->seen[c->router]);
	tell(w, "vote of gateway", e->host, cause ? agi_check_cause_name(cause) : agi_decision_name(e->reply.told));
	memcpy(nonce, c->nonce, sizeof nonce);
	nonce[15] ^= e->reply.has_wrong_nonce;
	if (!cause && !e->reply.has_wrong_nonce)
		c->kept[c->n_kept++] = e->reply.statement;
	else if (e->reply.told != AGI_DECISION_BLOCK)
		r = &blocks[cause];
	agi_panel_on_vote(&c->panel, now_of(w), &ids[e->host], (struct agi_str){(char *)nonce, sizeof nonce},
			  (struct agi_str){(char *)c->plan_hash, sizeof c->plan_hash}, r);
}

/* --- the promises ------------------------------------------------------------------------------------------ */
/* Whether this gateway truly signed this decision, or something more permissive, for exactly this check. */
static bool has_signed(const struct world *w, const struct check *c, unsigned gateway, enum agi_decision d)
{
	for (size_t i = 0; i < w->n_signatures; i++) {
		const struct agi_statement *s = &w->signatures[i].said;

		if (w->signatures[i].gateway == gateway && agi_id_eq(&s->gateway, &ids[gateway]) && s->decision <= d &&
		    memcmp(s->plan_hash, c->plan_hash, sizeof c->plan_hash) == 0 &&
		    memcmp(s->nonce, c->nonce, sizeof c->nonce) == 0 && s->policy_epoch == NEW &&
		    memcmp(s->policy_hash, policy_hashes[NEW], 32) == 0 && s->stop_epoch == c->stop_epoch)
			return true;
	}
	return false;
}

static void check_signers(struct world *w, const struct check *c)
{
	unsigned n = 0, honest = 0;

	for (size_t i = 0; i < c->n_candidates; i++) {
		bool has = has_signed(w, c, c->candidates[i], c->decision);

		n += has;
		honest += has && !is_liar(&w->gateways[c->candidates[i]]);
	}
	if (n < w->needed)
		fail(w, c, "fewer gateways than are needed signed this plan, nonce, policy and stop epoch");
	if (honest + w->n_liars < w->needed)
		fail(w, c, "too few honest gateways signed");
}

/* What holds as long as the liars alone cannot carry a decision. */
static void check_against_liars(struct world *w, const struct check *c)
{
	if (w->n_liars >= w->needed)
		return;
	if (c->decision < truth[NEW][c->plan])
		fail(w, c, "the result is more permissive than what honest gateways say");
	if (c->began_us > stopped_since(w) && c->began_us - stopped_since(w) > AGI_STOP_VALID_MS * MS)
		fail(w, c, "not blocked, although it began long after the emergency stop");
}

static void check_certificate(struct world *w, const struct check *c)
{
	static struct agi_certificate_finding finding;
	static struct agi_certificate cert;
	struct agi_why why;

	cert = (struct agi_certificate){.decision = c->decision, .electorate = (uint8_t)w->electorate,
					.needed = (uint8_t)w->needed, .n_votes = c->n_kept};
	memcpy(cert.plan_hash, c->plan_hash, sizeof cert.plan_hash);
	memcpy(cert.nonce, c->nonce, sizeof cert.nonce);
	for (size_t i = 0; i < c->panel.n_candidates; i++)
		if (c->panel.candidates[i].state != AGI_CANDIDATE_SPARE)
			cert.asked[cert.n_asked++] = c->panel.candidates[i].id;
	memcpy(cert.votes, c->kept, c->n_kept * sizeof c->kept[0]);
	if (agi_certificate_judge(&cert, ids, VOTES_GATEWAYS, &finding, &why))
		fail(w, c, why.text);
}

/* Honest ones that hold a seat from the start, so many that nothing else can matter; or nobody is worse than dead, and
 * spares stand in at once. */
static bool must_reach_truth(const struct world *w, const struct check *c)
{
	unsigned seated = 0, honest = 0, dead = 0;

	for (size_t i = 0; i < c->n_candidates; i++) {
		enum votes_fault f = w->gateways[c->candidates[i]].fault;

		honest += f == VOTES_HONEST;
		dead += f == VOTES_DEAD;
		seated += f == VOTES_HONEST && i < w->electorate;
	}
	return w->n_planned_stops == 0 &&
	       (seated >= w->needed || (honest >= w->needed && honest + dead == c->n_candidates));
}

/* By one that signs wrongly and was not in doubt when the check began. */
static void check_withheld(struct world *w, const struct check *c)
{
	for (unsigned k = 0; k < c->n_kept && c->is_withheld; k++)
		for (unsigned g = 0; g < w->n_gateways; g++) {
			uint64_t *caught = &w->caught_us[c->router][g];
			struct agi_statement said;

			if (agi_statement_decode(&said, (struct agi_str){(const char *)c->kept[k].bytes,
									 sizeof c->kept[k].bytes}))
				abort();
			if (w->gateways[g].fault != VOTES_FORGES || !agi_id_eq(&said.gateway, &ids[g]))
				continue;
			if (*caught && *caught < c->began_us)
				fail(w, c, "blocked by a wrong signature of a gateway in doubt");
			*caught = *caught ? *caught : w->now_us;
			return; /* the others were not looked at */
		}
}

static void check_liveness(struct world *w, const struct check *c)
{
	bool is_due = must_reach_truth(w, c) && !c->is_withheld;

	/* liars among the other seats may make it more permissive; that is looked at above */
	if (is_due && c->decision > truth[NEW][c->plan])
		fail(w, c, "blocked, although enough honest gateways say otherwise");
	w->sum->had_to_allow += is_due && c->decision == AGI_DECISION_ALLOW;
}

static void on_done(void *ctx, const struct agi_panel_result *res)
{
	struct check *c = ctx;
	struct world *w = c->world;
	const struct agi_poll poll = poll_of(w, c);
	struct agi_check_result merged;
	struct agi_pool pool;

	if (c->is_done || w->now_us > c->began_us + DEADLINE)
		fail(w, c, "answered twice, or late");
	c->is_done = true;
	c->is_withheld = !agi_poll_confirm(&poll, c->kept, c->n_kept, &w->seen[c->router]);
	c->decision = c->is_withheld ? AGI_DECISION_BLOCK : res->decision;
	agi_pool_init(&pool, 0);
	agi_panel_merge(&merged, res, &pool);
	agi_pool_free(&pool);
	tell(w, "check", (unsigned)(c - w->checks), agi_decision_name(c->decision));
	w->sum->decisions[c->decision]++;
	w->sum->panel_causes[res->cause]++;
	if (res->cause == AGI_PANEL_VOTED)
		w->sum->check_causes[merged.cause]++;
	w->sum->stopped += c->began_us > stopped_since(w);
	w->sum->could_not_allow += c->decision == AGI_DECISION_BLOCK && truth[NEW][c->plan] == AGI_DECISION_ALLOW;
	check_withheld(w, c);
	if (c->decision != AGI_DECISION_BLOCK) {
		check_signers(w, c);
		check_against_liars(w, c);
		check_certificate(w, c);
	}
	check_liveness(w, c);
}

static const struct agi_panel_effects effects = {on_ask, on_done};

static void begin(struct world *w, unsigned number)
{
	struct check *c = &w->checks[number];
	struct agi_panel_cfg cfg = {.electorate = w->electorate, .needed = w->needed,
				    .deadline_us = w->now_us + DEADLINE, .hedge_us = HEDGE};
	struct agi_id candidates[VOTES_GATEWAYS];

	c->world = w;
	c->router = (unsigned)below(w, ROUTERS);
	c->plan = (unsigned)below(w, 3) ? GOOD : (unsigned)below(w, VOTES_PLANS);
	c->has_begun = true;
	c->began_us = w->now_us;
	c->asked_ms = wall_ms(w);
	c->stop_epoch = w->latches[VOTES_GATEWAYS + c->router].known.epoch;
	c->plan_hash[0] = (uint8_t)(1 + 2 * c->plan);
	for (size_t i = 0; i < sizeof c->nonce; i++)
		c->nonce[i] = (uint8_t)below(w, 256);
	c->n_candidates = w->n_gateways;
	for (unsigned i = 0; i < w->n_gateways; i++) {
		unsigned k = (unsigned)below(w, i + 1);

		c->candidates[i] = c->candidates[k];
		c->candidates[k] = i;
	}
	for (unsigned i = 0; i < w->n_gateways; i++)
		candidates[i] = ids[c->candidates[i]];
	memcpy(cfg.nonce, c->nonce, sizeof cfg.nonce);
	memcpy(cfg.plan_hash, c->plan_hash, sizeof cfg.plan_hash);
	tell(w, "begin of check", number, tools[c->plan]);
	agi_panel_begin(&c->panel, &cfg, &effects, c, candidates, w->n_gateways, now_of(w));
}

/* --- a run --------------------------------------------------------------------------------------------------- */
static void handle(struct world *w, const struct event *e)
{
	switch (e->kind) {
	case BEGIN: begin(w, e->check); break;
	case REQUEST: on_request(w, e); break;
	case CONCLUDE: conclude(w, e); break;
	case REPLY: on_reply(w, e); break;
	case FAILED:
		if (w->checks[e->check].has_begun)
			agi_panel_on_failed(&w->checks[e->check].panel, now_of(w), &ids[e->host]);
		break;
	case READ_BEGINS: read_begins(w, e); break;
	case READ_ENDS: read_ends(w, e); break;
	case STOP_WRITTEN: stop_written(w); break;
	case NOTICE: (void)agi_latch_told(&w->latches[e->host], &w->stops[e->stop - 1]); break;
	case RESTART: restart(w, e->host); break;
	}
}

static size_t next_event(const struct world *w)
{
	size_t first = 0;

	for (size_t i = 1; i < w->n_events; i++)
		if (w->events[i].at_us < w->events[first].at_us ||
		    (w->events[i].at_us == w->events[first].at_us && w->events[i].number < w->events[first].number))
			first = i;
	return first;
}

static bool is_over(const struct world *w)
{
	for (unsigned i = 0; i < VOTES_CHECKS; i++)
		if (!w->checks[i].is_done)
			return false;
	return true;
}

/* The check whose panel wants a tick before the next event; -1: none. */
static int next_tick(const struct world *w, uint64_t before_us)
{
	int found = -1;

	for (int i = 0; i < VOTES_CHECKS; i++) {
		const struct check *c = &w->checks[i];

		if (c->has_begun && !c->is_done && agi_panel_next_deadline(&c->panel) < before_us) {
			before_us = agi_panel_next_deadline(&c->panel);
			found = i;
		}
	}
	return found;
}

static void step(struct world *w)
{
	size_t i = next_event(w);
	struct event e = w->events[i];
	int tick = next_tick(w, e.at_us);

	if (tick >= 0) {
		struct agi_panel *p = &w->checks[tick].panel;

		w->now_us = agi_panel_next_deadline(p) > w->now_us ? agi_panel_next_deadline(p) : w->now_us;
		agi_panel_tick(p, now_of(w));
		return;
	}
	w->events[i] = w->events[--w->n_events];
	w->now_us = e.at_us;
	handle(w, &e);
}

static enum votes_fault fault(struct world *w, unsigned liars_of_100, unsigned others_of_100)
{
	if (chance(w, liars_of_100))
		return (enum votes_fault)(VOTES_FIRST_LIAR + below(w, VOTES_FAULT_COUNT - VOTES_FIRST_LIAR));
	if (w->is_cut_off && chance(w, 50))
		return VOTES_NO_STOP;
	if (chance(w, others_of_100))
		return (enum votes_fault)(VOTES_SLOW + below(w, VOTES_FIRST_LIAR - VOTES_SLOW));
	return VOTES_HONEST;
}

static void add_gateway(struct world *w, unsigned i, enum votes_fault f)
{
	struct gateway *g = &w->gateways[i];

	g->fault = f;
	w->n_liars += is_liar(g);
	if (f == VOTES_CUT_OFF) {
		g->cut_from_us = w->now_us + between(w, 0, 1500 * MS);
		g->cut_until_us = g->cut_from_us + between(w, 50 * MS, 1500 * MS);
	}
	if (f == VOTES_CLOCK_OFF)
		g->clock_ms = (below(w, 2) ? 1 : -1) * (int64_t)between(w, 62000, 100000000);
	for (int n = f == VOTES_RESTARTS ? 4 : 0; n > 0; n--)
		add(w, between(w, 0, 2 * SECOND), RESTART)->host = i;
	if (w->is_told)
		printf("# gateway %u: %s\n", i, fault_texts[f]);
}

static void choose_panel(struct world *w)
{
	enum agi_quorum_rule rule = (enum agi_quorum_rule)below(w, 3);
	unsigned faults;

	w->electorate = 1 + (unsigned)below(w, AGI_PANEL_MAX);
	faults = (unsigned)below(w, (w->electorate - 1) / 3 + 1);
	w->needed = agi_quorum_needed(rule, w->electorate, faults);
	/* around what is needed, where it matters; sometimes plenty */
	w->n_gateways = chance(w, 70) ? (unsigned)between(w, w->needed ? w->needed - 1 : 0, w->electorate + 2)
				      : (unsigned)below(w, VOTES_GATEWAYS + 1);
	if (w->is_told)
		printf("# panel of %u, %u needed, %u gateways\n", w->electorate, w->needed, w->n_gateways);
}

static void make(struct world *w, uint64_t seed)
{
	unsigned liars, others;

	agi_prng_seed(&w->rng, seed);
	w->now_us = 10 * SECOND;
	choose_panel(w);
	liars = chance(w, 60) ? (unsigned)below(w, 60) : 0;
	others = chance(w, 60) ? (unsigned)below(w, 60) : 0;
	w->router_is_gateway = chance(w, 50);
	w->is_cut_off = chance(w, 10);
	for (unsigned i = 0; i < w->n_gateways; i++)
		add_gateway(w, i, i == 0 && w->router_is_gateway ? VOTES_HONEST : fault(w, liars, others));
	for (unsigned h = 0; h < HOSTS; h++) {
		agi_latch_read(&w->latches[h], NULL, w->now_us);
		if (h < w->n_gateways || h >= VOTES_GATEWAYS)
			add(w, below(w, AGI_STOP_REFRESH_MS * MS), READ_BEGINS)->host = h;
	}
	if (chance(w, 40))
		w->n_planned_stops = 1 + (unsigned)below(w, STOPS);
	for (unsigned i = 0; i < w->n_planned_stops; i++)
		add(w, between(w, 0, 1500 * MS), STOP_WRITTEN);
	for (unsigned i = 0; i < VOTES_CHECKS; i++)
		add(w, between(w, 0, chance(w, 50) ? 100 * MS : 2500 * MS), BEGIN)->check = i;
}

const char *votes_run(uint64_t seed, struct votes_stats *sum, bool is_told)
{
	static struct world w;

	memset(&w, 0, sizeof w);
	w.sum = sum;
	w.is_told = is_told;
	make(&w, seed);
	while (!is_over(&w) && !w.failure[0])
		step(&w);
	return w.failure[0] ? w.failure : NULL;
}
