/* SPDX-License-Identifier: Apache-2.0
 * What the files of the safety plane share: safety_plane.c (life, messages), safety_check.c (this node asks a
 * panel), safety_vote.c (this gateway votes), safety_eval.c (this ErisML judges), safety_outcome.c (this node logs what
 * became of it). */
#ifndef AGI_NODE_SAFETY_IMPL_H
#define AGI_NODE_SAFETY_IMPL_H

#include <sys/queue.h>

#include <event2/event.h>

#include "node/eval_codec.h"
#include "node/safety_later.h"
#include "node/safety_msg.h"
#include "node/safety_plane.h"
#include "roles/safety_gateway/poll.h"

enum {
	SAFETY_CHECKS_MAX = 1024,     /* checks this node routes at once */
	SAFETY_VOTES_MAX = 1024,      /* votes this gateway makes at once */
	SAFETY_REPORTS_MAX = 1024,    /* outcomes that wait for a witness */
	SAFETY_QUEUE_BYTES = 64 << 20, /* messages of this node to itself */
	SAFETY_ERISMLS = 4,           /* instances tried for one vote */
	EVAL_METHODS = 5              /* of ErisMLService; a test compares */
};

struct check;
struct report;
struct safety_audit;
struct safety_canary;
struct vote;
struct policy_round;
struct local; /* a message to this node itself, or news of a failed send */
LIST_HEAD(checks, check);
LIST_HEAD(reports, report);
LIST_HEAD(policy_rounds, policy_round);
LIST_HEAD(votes, vote);
STAILQ_HEAD(locals, local);
STAILQ_HEAD(signing, vote);

struct agi_safety_plane {
	struct event_base *base;
	struct agi_safety_self self;
	struct agi_safety_hooks hooks;
	void *ctx;

	struct agi_policy_view policy;
	struct policy_rounds policy_rounds; /* this node tells of versions that it set */
	uint64_t policy_noticed_us;         /* when a notice last had the register read */
	struct agi_rules *rules; /* of the rule file; NULL = none */
	struct agi_profiles *profiles; /* of the profile directory; NULL = none */
	struct agi_erisml erisml;
	struct agi_proof_runs proofs; /* made since the last turn's end */
	struct agi_grpc_method erisml_methods[EVAL_METHODS];
	bool serves_gateway, serves_erisml;
	struct agi_latch latch;
	struct agi_signed_roots seen; /* signatures of gateways */
	struct agi_doubts doubts;     /* of gateways that signed wrongly */
	uint32_t timeout_ms, hedge_ms;
	struct agi_grpc_channel *erisml_channel; /* gateway.erisml_address; NULL = ask the overlay */

	uint64_t last_id;
	struct checks checks;
	struct votes votes;
	struct locals locals;
	size_t local_bytes;
	struct event *local_event;
	struct safety_later later;
	struct signing signing;     /* votes made in this turn of the loop: signed together at its end */
	struct event *sign_event;
	struct reports reports;
	uint32_t n_checks, n_votes, n_reports;
	struct safety_audit *audit; /* NULL: no log is kept */
	struct safety_canary *canary; /* NULL: none runs */
};

uint64_t safety_mono_us(void);
uint64_t safety_wall_us(void);
struct agi_now safety_now(void);
void safety_observe(struct agi_safety_plane *s, const struct agi_safety_event *e);
void safety_arm(struct event *timer, uint64_t at_us, uint64_t now_us);

/* To a peer, or, through the queue, to this node itself. Never calls back at once. */
enum agi_err safety_send(struct agi_safety_plane *s, const struct agi_peer *to,
                         const struct agi_safety_msg *m);
/* Delivers on_unreachable for this peer from the loop. */
void safety_fail_later(struct agi_safety_plane *s, const struct agi_id *peer, uint64_t check_id);

/* --- safety_check.c --- */
void check_on_vote_reply(struct agi_safety_plane *s, const struct agi_id *from,
                         const struct agi_safety_msg *m);
/* check_id 0 = every check. */
void check_on_unreachable(struct agi_safety_plane *s, const struct agi_id *peer, uint64_t check_id);
void check_free_all(struct agi_safety_plane *s);
/* What audit_decision gave this number is witnessed, or will not be. */
void check_on_audited(struct agi_safety_plane *s, uint64_t batch_id, bool is_kept);

/* --- safety_canary.c --- */
/* Whether this VOTE_REQUEST is the canary's. */
bool canary_asks(struct agi_safety_plane *s, const struct agi_id *from, uint64_t rpc_id);
/* False: a vote in earnest. */
bool canary_on_reply(struct agi_safety_plane *s, const struct agi_id *from, const struct agi_safety_msg *m);
/* For canary_asks. */
const struct agi_gateway_policy *canary_policy(const struct agi_safety_plane *s);
/* This gateway's judgement cannot be relied on. */
bool canary_is_wrong(const struct agi_safety_plane *s);
void canary_free(struct agi_safety_plane *s);

/* --- safety_audit.c --- */
/* Adds a decision. is_waited_for: check_on_audited(*batch_id) is called, never before this returns; *batch_id 0: no log is kept.
 * FULL, NOMEM: it is not in the log. */
enum agi_err audit_decision(struct agi_safety_plane *s, const struct agi_audit_decision *d, bool is_waited_for,
                            uint64_t *batch_id);
/* The same of an outcome: outcome_on_audited(*batch_id) is called. UNSUPPORTED: no log is kept. */
enum agi_err audit_outcome(struct agi_safety_plane *s, const struct agi_audit_outcome *o, uint64_t *batch_id);
/* What the latch knows, when it is news. */
void audit_stop(struct agi_safety_plane *s);
/* The policy known, when it is news. */
void audit_policy(struct agi_safety_plane *s);
/* The proofs that ErisML made go into the log with this turn's entries. */
void audit_proofs_later(struct agi_safety_plane *s);
void audit_on_append(struct agi_safety_plane *s, const struct agi_peer *from, const struct agi_safety_msg *m);
void audit_on_ack(struct agi_safety_plane *s, const struct agi_id *from, const struct agi_safety_msg *m);
void audit_on_unreachable(struct agi_safety_plane *s, const struct agi_id *peer);
void audit_free(struct agi_safety_plane *s);

/* --- safety_policy.c --- */
void policy_on_notice(struct agi_safety_plane *s, const struct agi_peer *from, const struct agi_safety_msg *m);
void policy_on_ack(struct agi_safety_plane *s, const struct agi_id *from, const struct agi_safety_msg *m);
void policy_free(struct agi_safety_plane *s);

/* --- safety_outcome.c --- */
/* What audit_outcome gave this number is witnessed, or will not be. */
void outcome_on_audited(struct agi_safety_plane *s, uint64_t batch_id, bool is_kept);
/* Nobody is told. */
void outcome_free_all(struct agi_safety_plane *s);

/* --- safety_vote.c --- */
void vote_on_request(struct agi_safety_plane *s, const struct agi_peer *from,
                     const struct agi_safety_msg *m);
void vote_on_eval_reply(struct agi_safety_plane *s, const struct agi_id *from,
                        const struct agi_safety_msg *m);
void vote_on_unreachable(struct agi_safety_plane *s, const struct agi_id *peer);
void vote_free_all(struct agi_safety_plane *s);
/* Signs and sends the votes that wait for it. */
void vote_sign_all(struct agi_safety_plane *s);

/* --- safety_eval.c --- */
void eval_on_request(struct agi_safety_plane *s, const struct agi_peer *from,
                     const struct agi_safety_msg *m);
/* Adds ErisMLService, each method with this handler; methods is borrowed for the server's life. */
enum agi_err eval_serve(struct agi_grpc_server *server, struct agi_grpc_method methods[EVAL_METHODS],
                        agi_grpc_handler_fn *handler, void *ctx);
/* Which of them a call is of. */
size_t eval_method_of(const struct agi_grpc_call *call);
const ProtobufCMessageDescriptor *eval_method_input(size_t method);
/* Runs a method: req is of its input type, *res of its output type and in the pool. INVALID + why. */
enum agi_err eval_method(struct agi_safety_plane *s, size_t method, const ProtobufCMessage *req,
                         struct agi_pool *pool, const ProtobufCMessage **res, struct agi_why *why);
/* Ends the call with an error of the above. */
void eval_fail(struct agi_grpc_call *call, enum agi_err err, const struct agi_why *why);
/* This node's ErisML over a gateway's facts; of a canary nothing is kept or counted. */
enum agi_err eval_here(struct agi_safety_plane *s, bool is_canary, const struct agi_facts *facts, size_t n,
                       struct agi_str profile, struct agi_pool *pool, struct agi_plan_eval *out,
                       struct agi_why *why);

#endif
