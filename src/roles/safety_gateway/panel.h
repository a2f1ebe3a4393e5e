/* SPDX-License-Identifier: Apache-2.0
 * A safety check put to a panel of gateways: ask the nearest, count, end as soon as nothing can change or
 * at the deadline. Without I/O.
 *
 *   events in:   agi_panel_begin, _on_vote, _on_failed, _tick
 *   effects out: ask a candidate; done (exactly once; may come before an event function returns)
 *
 *                begin                      all seats settled, or
 *    candidates ───────► ASKING ──────────► outcome fixed, or      ───────► DONE
 *                          │                deadline
 *                          └ too few candidates for a majority: DONE at once
 *
 * The panel has n seats, n being configuration. A seat is held by one candidate at a time; when that one
 * fails, or is silent for hedge_us, the next candidate that was not asked yet is asked for the same seat,
 * within the same deadline. A seat has one vote: should both holders answer before the end, the stricter
 * of their votes. A seat with a vote asks nobody else; an identity votes once and sits once. */
#ifndef AGI_ROLES_SAFETY_GATEWAY_PANEL_H
#define AGI_ROLES_SAFETY_GATEWAY_PANEL_H

#include "base/clock.h"
#include "base/id.h"
#include "base/limits.h"
#include "roles/safety_gateway/gateway.h"

enum {
	AGI_PANEL_CANDIDATES_MAX = 3 * AGI_PANEL_MAX, /* the panel and two spares for each seat */
	AGI_NONCE_BYTES = 16
};

enum agi_panel_cause {
	AGI_PANEL_VOTED,             /* the votes that came decided */
	AGI_PANEL_NO_GATEWAYS,       /* no healthy gateway is known */
	AGI_PANEL_TOO_FEW_GATEWAYS,  /* fewer are known than must agree */
	AGI_PANEL_GATEWAYS_FAILED,   /* too many failed and no spare was left */
	AGI_PANEL_TIMEOUT,           /* too few votes before the deadline */
	AGI_PANEL_CAUSES
};
const char *agi_panel_cause_name(enum agi_panel_cause c); /* "TOO_FEW_GATEWAYS" */

struct agi_panel_cfg {
	unsigned electorate;     /* 1 … AGI_PANEL_MAX */
	unsigned needed;         /* votes that carry a decision (agi_quorum_needed) */
	uint64_t deadline_us;    /* monotonic */
	uint64_t hedge_us;       /* silence after which a spare is asked; 0 = never */
	uint8_t nonce[AGI_NONCE_BYTES];
	uint8_t plan_hash[32];   /* BLAKE2b-256 of the request as sent to the gateways */
};

struct agi_panel_vote {
	struct agi_id gateway;
	enum agi_decision decision;             /* BLOCK for a vote that could not be read */
	const struct agi_check_result *result;  /* as given to on_vote; NULL when it could not be read */
	bool is_counted; /* its seat's vote; false: the seat's other holder was stricter */
};

struct agi_panel_result {
	enum agi_decision decision; /* never NONE */
	enum agi_panel_cause cause;
	unsigned electorate, needed;
	/* Seats that carried the decision: that voted for it or for something more permissive; for BLOCK, those
	 * that voted BLOCK. */
	unsigned agreed;
	/* BLOCK only: the gateways' judgements make it so, whatever others had voted instead of failing (votes that carry a
	 * cause, or none). */
	bool is_judged;
	const struct agi_panel_vote *votes; /* in the order they came */
	size_t n_votes;
	uint64_t took_us;
};

/* Effects must not call the panel back: whoever implements them queues what follows. */
struct agi_panel_effects {
	/* candidate: index into begin's list */
	void (*ask)(void *ctx, size_t candidate);
	void (*done)(void *ctx, const struct agi_panel_result *res);
};

enum agi_candidate_state {
	AGI_CANDIDATE_SPARE, /* not asked */
	AGI_CANDIDATE_ASKED,
	AGI_CANDIDATE_VOTED,
	AGI_CANDIDATE_FAILED
};

/* The caller's memory; fields are the panel's own. */
struct agi_panel {
	struct agi_panel_cfg cfg;
	const struct agi_panel_effects *fx;
	void *ctx;
	uint64_t began_us;
	bool is_done;
	struct {
		struct agi_id id;
		enum agi_candidate_state state;
		uint8_t seat;
		bool was_hedged;       /* a spare was asked beside it */
		uint64_t asked_us;
	} candidates[AGI_PANEL_CANDIDATES_MAX];
	size_t n_candidates;
	enum agi_decision seats[AGI_PANEL_MAX]; /* NONE: no vote yet */
	struct agi_panel_vote votes[AGI_PANEL_CANDIDATES_MAX];
	uint8_t vote_seat[AGI_PANEL_CANDIDATES_MAX];
	size_t n_votes;
};

/* ids: gateways in order of preference, the asker itself like any other; an identity given twice is asked
 * once; those beyond AGI_PANEL_CANDIDATES_MAX are not used. */
void agi_panel_begin(struct agi_panel *p, const struct agi_panel_cfg *cfg,
                     const struct agi_panel_effects *fx, void *ctx, const struct agi_id *ids, size_t n,
                     struct agi_now now);
/* Whether a vote of this gateway would be looked at now. */
bool agi_panel_awaits(const struct agi_panel *p, const struct agi_id *gateway);
/* A vote from this authenticated gateway. One from who was not asked, has voted or has failed is ignored,
 * so is every vote after done. A wrong nonce or plan hash is no vote: the gateway counts as failed. result
 * NULL, or a decision that is none: the vote is BLOCK. result is kept until done returns. */
void agi_panel_on_vote(struct agi_panel *p, struct agi_now now, const struct agi_id *gateway,
                       struct agi_str nonce, struct agi_str plan_hash,
                       const struct agi_check_result *result);
/* The gateway cannot be reached or said that it cannot vote. */
void agi_panel_on_failed(struct agi_panel *p, struct agi_now now, const struct agi_id *gateway);
void agi_panel_tick(struct agi_panel *p, struct agi_now now);
/* mono_us of the next tick that is needed; AGI_NEVER once done. */
uint64_t agi_panel_next_deadline(const struct agi_panel *p);

/* The answer to the client: the decision, and of the votes that carried it the reasons (each once), the
 * highest risk, the worst Bond Index and the steps; the cause of one, if without such failures it might have been
 * another decision. Without such votes: BLOCK with the cause as reason. */
void agi_panel_merge(struct agi_check_result *out, const struct agi_panel_result *res,
                     struct agi_pool *pool);

#endif
