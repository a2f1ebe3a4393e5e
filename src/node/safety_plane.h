/* SPDX-License-Identifier: Apache-2.0
 * The safety plane of one node: the wiring between the panel, the gateway and ErisML (src/roles) and links,
 * gRPC and the registry. Every node routes checks; a node with the role safety-gateway also votes; a node
 * with the role erisml also evaluates; one with the role post-action logs what became of it.
 *
 *   CheckPlan (gRPC) ─► panel ─ VoteRequest ─► gateway ─ EvalRequest ─► ErisML
 *                         └◄─── VoteReply ◄──────┘└◄──── EvalReply ◄──────┘
 *
 * A node that is itself one of the nearest gateways, or runs ErisML, is asked like any peer; only the
 * message takes a short cut. Whatever fails ends in BLOCK with a coded cause, within
 * failsafe.safety_check_timeout_ms. Bounded: checks and votes in progress; more are refused with BLOCK.
 *
 * One event loop; every function and hook runs on its thread (safety_door.h: calls from other loops). Hooks must
 * not call back.
 *
 * Life: _new → _serve_… on each gRPC server → events … → _free (after the gRPC servers are freed). */
#ifndef AGI_NODE_SAFETY_PLANE_H
#define AGI_NODE_SAFETY_PLANE_H

#include "config/config.h"
#include "dht/dht.h"
#include "net/grpc.h"
#include "node/msg_codec.h"
#include "node/audit_file.h"
#include "safety.pb-c.h"
#include "roles/audit/outcome.h"
#include "roles/safety_gateway/canary.h"
#include "roles/safety_gateway/certificate.h"
#include "roles/safety_gateway/latch.h"
#include "roles/safety_gateway/panel.h"
#include "roles/safety_gateway/policy.h"

struct event_base;
struct agi_policy_told;
struct agi_tls_client;
struct agi_safety_plane;

/* For metrics and the log; one per event. */
enum agi_safety_event_kind {
	AGI_SAFETY_CHECKED,  /* a check routed by this node is over: decision, cause, block, bond_index, took_us */
	AGI_SAFETY_VOTED,    /* this gateway voted for a peer or itself: decision, check_cause, took_us */
	AGI_SAFETY_EVALUATED, /* this ErisML judged a plan or a step: took_us */
	AGI_SAFETY_AUDITED,  /* an entry was added to the audit log: audit_kind */
	AGI_SAFETY_AUDIT_FAILED, /* entries could not be written */
	AGI_SAFETY_REPORTED, /* an outcome was reported to this node: report */
	AGI_SAFETY_CANARY    /* this gateway's canary has run: canary */
};
enum agi_safety_report {
	AGI_REPORT_SUCCESS, /* in the log, as is the next */
	AGI_REPORT_FAILURE,
	AGI_REPORT_REFUSED, /* it could not be logged, and its client was told */
	AGI_REPORTS
};
const char *agi_safety_report_name(enum agi_safety_report r); /* "success" */
/* Why a check that could be made was blocked; FAILURE: it could not be. */
enum agi_block_reason {
	AGI_BLOCK_FAILURE,
	AGI_BLOCK_RULES,      /* banned tools, the rule file */
	AGI_BLOCK_VETO,       /* ErisML */
	AGI_BLOCK_BOND_INDEX,
	AGI_BLOCK_SPLIT,      /* the gateways' votes did not agree on anything milder */
	AGI_BLOCK_REASONS
};
const char *agi_block_reason_name(enum agi_block_reason r); /* "RULES" */
struct agi_safety_event {
	enum agi_safety_event_kind kind;
	enum agi_decision decision;
	enum agi_panel_cause cause;
	enum agi_check_cause check_cause;
	enum agi_block_reason block; /* of a CHECKED that is BLOCK without a cause */
	double bond_index;  /* negative: none was reported */
	uint64_t took_us;
	enum agi_audit_kind audit_kind;
	enum agi_safety_report report;
	enum agi_canary_found canary;
};

enum { AGI_SAFETY_ASKED_MAX = 6 /* witnesses asked for one entry, one after another */ };
struct agi_safety_hooks {
	/* Sends a serialized Envelope to another node on the safety channel (AGI_CHAN_SAFETY). An error
	 * at once or agi_safety_plane_on_unreachable later both count as "failed". */
	enum agi_err (*send)(void *ctx, const struct agi_peer *to, struct agi_str envelope);
	/* agi_dht_known_instances: healthy instances, nearest first. The node follows the services
	 * "safety-gateway" and "erisml" (agi_dht_follow_service). */
	size_t (*instances)(void *ctx, struct agi_str service, struct agi_instance *out, size_t max);
	void (*observe)(void *ctx, const struct agi_safety_event *e); /* may be NULL */
	/* A peer gave notice of an emergency stop; may be NULL. */
	void (*stopped)(void *ctx, const struct agi_stop_record *r);
	/* A peer says that there is a newer policy: its register is to be read now; may be NULL. */
	void (*policy_noticed)(void *ctx);
	/* Which gateways have confirmed a version that this node set (safety_policy.h); may be NULL. */
	void (*policy_told)(void *ctx, const struct agi_policy_told *t);
	/* Other hosts to keep copies of audit entries, the best first. *is_alone: the cluster has no other host, so there
	 * is nobody to ask (the number of them is 0 also when none is up). With an audit log only. */
	size_t (*witnesses)(void *ctx, struct agi_peer *out, size_t max, bool *is_alone);
	/* Runs agi_audit_sync_run elsewhere, then agi_safety_plane_audit_synced here. An error, or no hook: it is run here. */
	enum agi_err (*audit_sync)(void *ctx, const struct agi_audit_sync *sync);
	void (*audit_failed)(void *ctx, enum agi_err err, const struct agi_why *why); /* may be NULL */
	/* The canary has run; why is NULL when it was right. May be NULL. */
	void (*canary)(void *ctx, const struct agi_canary *c, const struct agi_why *why);
};

/* Who votes. */
struct agi_safety_self {
	struct agi_id id;
	uint64_t incarnation;
	const uint8_t *seckey; /* AGI_SECKEY_BYTES; borrowed for the plane's life */
};

/* config is copied as far as it is needed: roles, thresholds, failsafe, safety, gateway.erisml_address. */
AGI_MUST_USE enum agi_err agi_safety_plane_new(struct event_base *base, const struct agi_config *config,
                                               const struct agi_safety_self *self,
                                               const struct agi_safety_hooks *hooks, void *ctx,
                                               struct agi_safety_plane **out, struct agi_why *why);
/* How gateway.erisml_address is asked from now on: tls (borrowed) as it is spoken to when the configuration
 * says so, NULL: the system's authorities; token (copied) as it is shown, NULL: none. */
void agi_safety_plane_set_credentials(struct agi_safety_plane *s, const struct agi_tls_client *tls,
                                      const char *token);
/* Keeps the audit log in this directory (audit_file.h): from now on no check is answered but with BLOCK before its
 * entry is in it and another host has a copy. Before the first check. IO, NOMEM + why. */
AGI_MUST_USE enum agi_err agi_safety_plane_open_audit(struct agi_safety_plane *s, const char *dir, uint64_t bytes_max,
                                                      struct agi_audit_found *found, struct agi_why *why);
/* The chain of decision proofs (roles/erisml/proof_log.h) as this node's audit log has it. */
struct agi_safety_proofs {
	uint64_t runs, broken;     /* read; of them not followed */
	uint64_t incarnation, seq; /* of the last broken one */
	struct agi_why why;
};
/* This node's ErisML goes on with the chain of its last life, as far as the log in dir has it; after _open_audit. Whatever is wrong
 * with the chain is in *found. IO, NOMEM + why. */
AGI_MUST_USE enum agi_err agi_safety_plane_continue_proofs(struct agi_safety_plane *s, const char *dir,
                                                           struct agi_safety_proofs *found, struct agi_why *why);
/* Adds an entry of this kind that nobody waits for; it goes to witnesses too. What cannot be added is counted as a failure
 * of the log. */
void agi_safety_plane_note(struct agi_safety_plane *s, enum agi_audit_kind kind, struct agi_str body);
/* How agi_audit_sync_run ended. */
void agi_safety_plane_audit_synced(struct agi_safety_plane *s, enum agi_err err, const struct agi_why *why);
/* Checks in progress are forgotten: their calls were ended by the servers. NULL is allowed. */
void agi_safety_plane_free(struct agi_safety_plane *s);

/* --- checks ----------------------------------------------------------------------------------------- */
/* res is valid until done returns. */
typedef void agi_safety_done_fn(void *arg, const Agi__Safety__V1__CheckPlanResponse *res);
/* Puts a serialized CheckPlanRequest to a panel. done is called exactly once, within budget_ms (0 = the
 * configured timeout, which is also the most), perhaps before this returns. Returns an id for _cancel. */
uint64_t agi_safety_plane_check(struct agi_safety_plane *s, struct agi_str request, uint32_t budget_ms,
                                agi_safety_done_fn *done, void *arg);
/* The same for one step: the answer's result is what CheckStep returns. req is borrowed until return. */
uint64_t agi_safety_plane_check_step(struct agi_safety_plane *s, const Agi__Safety__V1__CheckActionRequest *req,
                                     uint32_t budget_ms, agi_safety_done_fn *done, void *arg);
/* Calls done with BLOCK, for a check that cannot be made; needs no memory, nor a plane. cause: of
 * agi_check_cause_name or agi_panel_cause_name. */
void agi_safety_block(agi_safety_done_fn *done, void *arg, const char *cause);
/* done will not be called. Unknown ids, and those of checks that are over, are ignored. */
void agi_safety_plane_cancel(struct agi_safety_plane *s, uint64_t check_id);

/* agi.safety.v1.PreActionSafetyService, routed to a panel: for the overlay port and the gateway's port. */
AGI_MUST_USE enum agi_err agi_safety_plane_serve_checks(struct agi_safety_plane *s,
                                                        struct agi_grpc_server *server);
/* agi.erisml.v1.ErisMLService: for ErisML's port (and the overlay port) of a node with that role. */
AGI_MUST_USE enum agi_err agi_safety_plane_serve_erisml(struct agi_safety_plane *s,
                                                        struct agi_grpc_server *server);

/* --- canary (roles/safety_gateway/canary.h) ------------------------------------------------------------ */
/* For a node with the role safety-gateway; once. It runs first when the loop does. NOMEM. */
AGI_MUST_USE enum agi_err agi_safety_plane_start_canary(struct agi_safety_plane *s);
/* Now rather than later; nothing when none runs. */
void agi_safety_plane_run_canary(struct agi_safety_plane *s);
/* It is PASSING. */
bool agi_safety_plane_is_well(const struct agi_safety_plane *s);

/* --- outcomes ----------------------------------------------------------------------------------------- */
enum { AGI_SAFETY_OUTCOME_MS = 2000 /* a report waits so long for a witness: nothing depends on its answer */ };
/* err: it may be in this host's log, and is at no other host for certain (NO_QUORUM + why). Else ack, valid until this
 * returns. */
typedef void agi_safety_logged_fn(void *arg, enum agi_err err, const Agi__Safety__V1__ActionOutcomeAck *ack,
                                  const struct agi_why *why);
/* Logs what became of a step: into the audit log of this host and, before done is called, of another one. m is read
 * from bytes; both are borrowed until return. done is called once, within AGI_SAFETY_OUTCOME_MS and never before this
 * returns; on an error (INVALID, FULL, NOMEM, UNSUPPORTED + why) not at all. id: for _forget. */
AGI_MUST_USE enum agi_err agi_safety_plane_report(struct agi_safety_plane *s,
                                                  const Agi__Safety__V1__ActionOutcomeReport *m, struct agi_str bytes,
                                                  agi_safety_logged_fn *done, void *arg, uint64_t *id,
                                                  struct agi_why *why);
/* done will not be called; it is logged all the same. Unknown ids are ignored. */
void agi_safety_plane_forget_report(struct agi_safety_plane *s, uint64_t id);
/* agi.safety.v1.PostActionSafetyService: for the port of a node with the role post-action. */
AGI_MUST_USE enum agi_err agi_safety_plane_serve_outcomes(struct agi_safety_plane *s, struct agi_grpc_server *server);

/* A message of the safety plane (VOTE_REQUEST … EVAL_REPLY) from an authenticated peer. */
void agi_safety_plane_on_message(struct agi_safety_plane *s, const struct agi_peer *from,
                                 const struct agi_envelope *env);
/* A link to this peer broke or could not be made: what was asked of it will not be answered. */
void agi_safety_plane_on_unreachable(struct agi_safety_plane *s, const struct agi_id *peer);

/* --- emergency stop (roles/safety_gateway/latch.h) -------------------------------------------------------- */
/* What a read of the stop's register found (r NULL: no record); it began at began_us. Until the first one, and when
 * they stop coming, this gateway votes BLOCK. */
void agi_safety_plane_stop_read(struct agi_safety_plane *s, const struct agi_stop_record *r, uint64_t began_us);
/* This node has just written it: taken over here, and told to every gateway known. */
void agi_safety_plane_stop_tell(struct agi_safety_plane *s, const struct agi_stop_record *r);
const struct agi_latch *agi_safety_plane_latch(const struct agi_safety_plane *s);

/* --- policy (roles/safety_gateway/policy.h) ------------------------------------------------------------------ */
/* What a read of the policy's register found (p NULL: none); it began at began_us. Until the first one, and when they
 * stop coming, this gateway votes BLOCK, and so decides this node. True: it is another policy than before. */
bool agi_safety_plane_policy_read(struct agi_safety_plane *s, struct agi_str record, uint64_t began_us);
const struct agi_policy_view *agi_safety_plane_policy(const struct agi_safety_plane *s);

struct agi_safety_status {
	enum agi_eval_mode mode;
	bool serves_gateway, serves_erisml;
	uint32_t quorum, needed, timeout_ms;
	uint32_t checks, votes;               /* in progress */
	uint64_t proofs;                      /* made since the start */
};
void agi_safety_plane_status(const struct agi_safety_plane *s, struct agi_safety_status *out);

#endif
