/* SPDX-License-Identifier: Apache-2.0
 * The audit log, as the safety plane keeps it (roles/audit/chain.h, node/audit_file.h):
 *
 *   decision ─► own chain ─ end of this turn of the loop: one write ─► own file
 *                   └──────── the turn's entries in one message ────► witnesses ─► their chains, their files
 *   the client is answered when the first witness says that it has them ◄──────────────┘
 *
 * Two witnesses are asked; another one for each that fails or is silent for a while. In a cluster of one host there is
 * none to ask. Entries that nobody waits for (proofs, actions, heads) go with the next one that somebody waits for, or
 * with the next tick. Each second a signed head, when something was added; it is published as decisions are. */
#include <stdlib.h>

#include "node/audit_file.h"
#include "node/safety_impl.h"
#include "roles/audit/policy_change.h"

enum {
	WITNESSES = 2,         /* asked at once: with this host's own, three copies */
	TURN_BYTES = 8 << 20,  /* added in one turn of the loop */
	RECEIPTS_MAX = 1024,   /* messages witnessed in one turn */
	BATCHES_MAX = 4096,    /* messages that wait for a witness */
	TICK_MS = 100,
	HEAD_US = 1000000
};

/* Entries of one turn, on their way to witnesses. */
struct batch {
	TAILQ_ENTRY(batch) link;
	uint64_t id;
	struct agi_buf entries;
	bool is_sent;
	uint64_t patience_us; /* how long a witness is waited for; 0 = nobody waits */
	struct agi_id asked[AGI_SAFETY_ASKED_MAX];
	uint8_t n_asked;
	uint64_t sent_us, hedge_us; /* hedge_us: when another one is asked */
};
TAILQ_HEAD(batches, batch);

/* A message that this node witnesses: answered once it is written. */
struct receipt {
	struct agi_peer to;
	uint64_t rpc_id;
};

/* A version of the policy, as a POLICY entry names it. */
struct version {
	uint64_t epoch;
	uint8_t hash[32];
};

struct safety_audit {
	struct agi_safety_plane *plane;
	struct agi_audit_file *file;
	struct agi_audit_chain chain, written; /* written: what the file holds */
	struct agi_audit_start start;
	struct agi_buf turn;                   /* records that are not written yet */
	struct batches batches;
	uint32_t n_batches;
	struct receipt receipts[RECEIPTS_MAX];
	uint32_t n_receipts;
	uint64_t stop_epoch;                   /* of the last STOP entry */
	struct version policy, written_policy; /* of the last POLICY entry, at first the configuration's */
	bool is_syncing;
	bool wants_head, publishes_head;       /* since the last one: anything was added; a decision or a stop */
	uint64_t head_us;
	struct event *flush, *tick, *hedge;
};

/* --- adding ---------------------------------------------------------------------------------------------------- */
static void count(struct safety_audit *a, enum agi_audit_kind kind)
{
	safety_observe(a->plane, &(struct agi_safety_event){.kind = AGI_SAFETY_AUDITED, .audit_kind = kind});
}

/* batch NULL: witnesses are not told of it. */
static enum agi_err take_in(struct safety_audit *a, size_t begun, enum agi_audit_kind kind, struct batch *batch)
{
	if (batch)
		agi_audit_put_entry(&batch->entries,
		                    (struct agi_str){(char *)a->turn.p + begun + 4, a->turn.n - begun - AGI_AUDIT_RECORD_EXTRA});
	a->wants_head = kind != AGI_AUDIT_HEAD;
	a->publishes_head = (a->publishes_head || batch) && kind != AGI_AUDIT_HEAD;
	count(a, kind);
	event_active(a->flush, EV_TIMEOUT, 0);
	return AGI_OK;
}

static enum agi_err append(struct safety_audit *a, enum agi_audit_kind kind, struct agi_str body, struct batch *batch)
{
	size_t begun = a->turn.n;

	if (begun + body.n > TURN_BYTES)
		return AGI_E_FULL;
	if (!agi_audit_append(&a->chain, &a->turn, kind, safety_wall_us() / 1000, body))
		return AGI_E_NOMEM;
	return take_in(a, begun, kind, batch);
}

/* A life's first entry; again when it could not be written. */
static enum agi_err begin_life(struct safety_audit *a)
{
	struct agi_buf b;
	enum agi_err e;

	agi_buf_init(&b, 0);
	agi_audit_start_encode(&b, &a->start);
	e = b.err ? b.err : append(a, AGI_AUDIT_START, agi_buf_str(&b), NULL);
	agi_buf_free(&b);
	return e;
}

static enum agi_err add(struct safety_audit *a, enum agi_audit_kind kind, struct agi_str body, struct batch *batch)
{
	enum agi_err e = a->chain.next_seq ? AGI_OK : begin_life(a);

	return e ? e : append(a, kind, body, batch);
}

/* The message that this turn's entries go in; another one when it is full. */
static struct batch *batch_for(struct safety_audit *a, size_t bytes)
{
	struct batch *b = TAILQ_LAST(&a->batches, batches);

	if (b && !b->is_sent && b->entries.n + bytes <= AGI_AUDIT_BATCH)
		return b;
	b = a->n_batches < BATCHES_MAX ? calloc(1, sizeof *b) : NULL;
	if (!b)
		return NULL;
	b->id = ++a->plane->last_id;
	agi_buf_init(&b->entries, 0);
	TAILQ_INSERT_TAIL(&a->batches, b, link);
	a->n_batches++;
	return b;
}

/* An entry that witnesses get too. *batch_id: of what it is in. */
static enum agi_err publish(struct safety_audit *a, enum agi_audit_kind kind, const struct agi_buf *body,
                            uint64_t patience_us, uint64_t *batch_id)
{
	struct batch *batch = body->err ? NULL : batch_for(a, body->n + AGI_AUDIT_HEADER + 4);
	enum agi_err e = body->err ? body->err : !batch ? AGI_E_FULL : add(a, kind, agi_buf_str(body), batch);

	if (e)
		return e;
	if (patience_us > batch->patience_us)
		batch->patience_us = patience_us;
	*batch_id = batch->id;
	return AGI_OK;
}

enum agi_err audit_decision(struct agi_safety_plane *s, const struct agi_audit_decision *d, bool is_waited_for,
                            uint64_t *batch_id)
{
	struct agi_buf b;
	enum agi_err e;

	*batch_id = 0;
	if (!s->audit)
		return AGI_OK;
	agi_buf_init(&b, 0);
	agi_audit_decision_encode(&b, d);
	e = publish(s->audit, AGI_AUDIT_DECISION, &b, is_waited_for ? (uint64_t)s->timeout_ms * 1000 : 0, batch_id);
	agi_buf_free(&b);
	return e;
}

enum agi_err audit_outcome(struct agi_safety_plane *s, const struct agi_audit_outcome *o, uint64_t *batch_id)
{
	struct agi_buf b;
	enum agi_err e;

	if (!s->audit)
		return AGI_E_UNSUPPORTED;
	agi_buf_init(&b, 0);
	agi_audit_outcome_encode(&b, o);
	e = publish(s->audit, AGI_AUDIT_OUTCOME, &b, AGI_SAFETY_OUTCOME_MS * 1000ull, batch_id);
	agi_buf_free(&b);
	return e;
}

void agi_safety_plane_note(struct agi_safety_plane *s, enum agi_audit_kind kind, struct agi_str body)
{
	struct safety_audit *a = s->audit;
	struct batch *batch = a ? batch_for(a, body.n + AGI_AUDIT_HEADER + 4) : NULL;

	if (a && (!batch || add(a, kind, body, batch)))
		safety_observe(s, &(struct agi_safety_event){.kind = AGI_SAFETY_AUDIT_FAILED});
}

void audit_stop(struct agi_safety_plane *s)
{
	struct safety_audit *a = s->audit;
	const struct agi_stop_record *r = &s->latch.known;
	uint64_t nobody_waits;
	struct agi_buf b;

	if (!a || r->epoch == a->stop_epoch)
		return;
	agi_buf_init(&b, 0);
	agi_stop_encode(&b, r);
	if (publish(a, AGI_AUDIT_STOP, &b, 0, &nobody_waits) == AGI_OK)
		a->stop_epoch = r->epoch; /* else tried again with the next read of the register */
	agi_buf_free(&b);
}

static struct version version_of(const struct agi_policy *p)
{
	struct version v = {.epoch = p->epoch};

	memcpy(v.hash, p->hash, sizeof v.hash);
	return v;
}

void audit_policy(struct agi_safety_plane *s)
{
	struct safety_audit *a = s->audit;
	const struct agi_policy *p = s->policy.known;
	struct agi_audit_policy entry = {.epoch = p->epoch, .at_ms = p->at_ms, .is_looser = p->is_looser,
	                                 .reason = p->reason, .author = p->author, .node = p->node};
	uint64_t nobody_waits;
	struct agi_buf b;

	if (!a || p->epoch == a->policy.epoch)
		return;
	entry.before_epoch = a->policy.epoch;
	memcpy(entry.before_hash, a->policy.hash, sizeof entry.before_hash);
	memcpy(entry.hash, p->hash, sizeof entry.hash);
	agi_buf_init(&b, 0);
	agi_audit_policy_encode(&b, &entry);
	if (publish(a, AGI_AUDIT_POLICY, &b, 0, &nobody_waits) == AGI_OK)
		a->policy = version_of(p); /* else tried again with the next read of the register */
	agi_buf_free(&b);
}

void audit_proofs_later(struct agi_safety_plane *s)
{
	if (!s->audit)
		agi_proof_runs_reset(&s->proofs);
	else if (s->proofs.b.n || s->proofs.b.err)
		event_active(s->audit->flush, EV_TIMEOUT, 0);
}

/* What cannot be kept shows as a gap in the chain of proofs. */
static void add_proofs(struct safety_audit *a)
{
	struct agi_proof_runs *r = &a->plane->proofs;
	struct agi_cur c = agi_cur_of(agi_buf_str(&r->b));
	enum agi_err e = r->b.err;

	while (c.n && !c.bad && !e) {
		struct agi_str run = agi_cur_blob(&c);

		e = add(a, AGI_AUDIT_PROOFS, run, batch_for(a, run.n + AGI_AUDIT_HEADER + 4));
	}
	agi_proof_runs_reset(r);
	if (e)
		safety_observe(a->plane, &(struct agi_safety_event){.kind = AGI_SAFETY_AUDIT_FAILED});
}

static void add_head(struct safety_audit *a, uint64_t now_us)
{
	struct batch *batch = a->publishes_head ? batch_for(a, 512) : NULL;
	size_t begun = a->turn.n;

	a->head_us = now_us;
	if (agi_audit_append_head(&a->chain, &a->turn, safety_wall_us() / 1000, a->plane->self.seckey))
		(void)!take_in(a, begun, AGI_AUDIT_HEAD, batch);
}

/* --- witnesses asked --------------------------------------------------------------------------------------------- */
/* The checks and reports that wait for it are answered, or blocked and refused. */
static void conclude(struct safety_audit *a, struct batch *b, bool is_kept)
{
	uint64_t id = b->patience_us ? b->id : 0;

	TAILQ_REMOVE(&a->batches, b, link);
	a->n_batches--;
	agi_buf_free(&b->entries);
	free(b);
	if (!id)
		return;
	check_on_audited(a->plane, id, is_kept);
	outcome_on_audited(a->plane, id, is_kept);
}

static bool was_asked(const struct batch *b, const struct agi_id *id)
{
	for (uint8_t i = 0; i < b->n_asked; i++)
		if (agi_id_eq(&b->asked[i], id))
			return true;
	return false;
}

/* False: there is nobody left. */
static bool ask_next(struct safety_audit *a, struct batch *b)
{
	const struct agi_safety_msg m = {
	    .kind = AGI_BODY_AUDIT_APPEND, .rpc_id = b->id, .request = agi_buf_str(&b->entries)};
	struct agi_safety_plane *s = a->plane;
	struct agi_peer to[AGI_SAFETY_ASKED_MAX];
	bool is_alone;
	size_t n = s->hooks.witnesses(s->ctx, to, AGI_SAFETY_ASKED_MAX, &is_alone);

	for (size_t i = 0; i < n && b->n_asked < AGI_SAFETY_ASKED_MAX; i++) {
		if (was_asked(b, &to[i].id))
			continue;
		b->asked[b->n_asked++] = to[i].id;
		if (safety_send(s, &to[i], &m) == AGI_OK)
			return true;
	}
	return false;
}

static uint64_t hedge_us(const struct safety_audit *a) { return (uint64_t)a->plane->timeout_ms * 100; }

static void arm_hedge(struct safety_audit *a, uint64_t now_us)
{
	if (!TAILQ_EMPTY(&a->batches) && !evtimer_pending(a->hedge, NULL))
		safety_arm(a->hedge, now_us + hedge_us(a), now_us);
}

static void send_batch(struct safety_audit *a, struct batch *b, uint64_t now_us)
{
	struct agi_safety_plane *s = a->plane;
	struct agi_peer any[AGI_SAFETY_ASKED_MAX];
	bool is_alone = false, is_asked = false;

	if (b->entries.n)
		(void)s->hooks.witnesses(s->ctx, any, AGI_SAFETY_ASKED_MAX, &is_alone);
	b->is_sent = true;
	b->sent_us = now_us;
	b->hedge_us = now_us + hedge_us(a);
	for (int i = 0; i < WITNESSES && b->entries.n && !b->entries.err; i++)
		is_asked |= ask_next(a, b);
	if (is_alone || !is_asked || !b->patience_us)
		conclude(a, b, is_alone);
}

static void on_hedge(evutil_socket_t fd, short what, void *arg)
{
	struct safety_audit *a = arg;
	uint64_t now = safety_mono_us();
	struct batch *b, *next;
	(void)fd;
	(void)what;

	for (b = TAILQ_FIRST(&a->batches); b; b = next) {
		next = TAILQ_NEXT(b, link);
		if (!b->is_sent || now < b->hedge_us)
			continue;
		b->hedge_us = now + hedge_us(a);
		if (now - b->sent_us > b->patience_us)
			conclude(a, b, false); /* nobody waits for it any more */
		else
			(void)ask_next(a, b);
	}
	arm_hedge(a, now);
}

static struct batch *find_batch(struct safety_audit *a, uint64_t id)
{
	struct batch *b;

	TAILQ_FOREACH(b, &a->batches, link)
		if (b->id == id && b->is_sent)
			return b;
	return NULL;
}

void audit_on_ack(struct agi_safety_plane *s, const struct agi_id *from, const struct agi_safety_msg *m)
{
	struct batch *b = s->audit ? find_batch(s->audit, m->rpc_id) : NULL;

	if (!b || !was_asked(b, from))
		return; /* another one was faster */
	if (m->error.n)
		(void)ask_next(s->audit, b);
	else
		conclude(s->audit, b, true);
}

void audit_on_unreachable(struct agi_safety_plane *s, const struct agi_id *peer)
{
	struct batch *b;

	if (!s->audit)
		return;
	TAILQ_FOREACH(b, &s->audit->batches, link)
		if (b->is_sent && was_asked(b, peer))
			(void)ask_next(s->audit, b);
}

/* --- witnessing ---------------------------------------------------------------------------------------------------- */
static void answer(struct agi_safety_plane *s, const struct agi_peer *to, uint64_t rpc_id, struct agi_str error)
{
	const struct agi_safety_msg m = {.kind = AGI_BODY_AUDIT_ACK, .rpc_id = rpc_id, .error = error};

	(void)!safety_send(s, to, &m); /* what fails here ends at the other side's deadline */
}

void audit_on_append(struct agi_safety_plane *s, const struct agi_peer *from, const struct agi_safety_msg *m)
{
	struct safety_audit *a = s->audit;

	if (!a)
		answer(s, from, m->rpc_id, AGI_STR("this node keeps no audit log"));
	else if (agi_audit_check_batch(m->request, &from->id))
		answer(s, from, m->rpc_id, AGI_STR("not entries of the sender"));
	else if (a->n_receipts == RECEIPTS_MAX || add(a, AGI_AUDIT_WITNESS, m->request, NULL))
		answer(s, from, m->rpc_id, AGI_STR("too many entries at once"));
	else
		a->receipts[a->n_receipts++] = (struct receipt){*from, m->rpc_id};
}

/* --- the end of a turn ------------------------------------------------------------------------------------------------ */
static enum agi_err write_turn(struct safety_audit *a)
{
	struct agi_why why = {"out of memory"};
	enum agi_err e = a->turn.err ? a->turn.err : agi_audit_file_append(a->file, agi_buf_str(&a->turn), &why);

	agi_buf_reset(&a->turn);
	if (e) {
		a->chain = a->written;
		a->stop_epoch = 0; /* told again with the next read of the register, as the policy is */
		a->policy = a->written_policy;
		safety_observe(a->plane, &(struct agi_safety_event){.kind = AGI_SAFETY_AUDIT_FAILED});
		if (a->plane->hooks.audit_failed)
			a->plane->hooks.audit_failed(a->plane->ctx, e, &why);
	} else {
		a->written = a->chain;
		a->written_policy = a->policy;
	}
	return e;
}

/* Those of this turn: an answer may bring a new check, whose entry is of the next one. The newest may have to wait for
 * more, until the next tick. */
static void send_batches(struct safety_audit *a, bool is_written, bool is_tick, uint64_t now_us)
{
	const struct batch *last = TAILQ_LAST(&a->batches, batches);
	struct batch *b, *next;
	bool is_last = !last;

	for (b = TAILQ_FIRST(&a->batches); b && !is_last; b = next) {
		next = TAILQ_NEXT(b, link);
		is_last = b == last;
		if (b->is_sent)
			continue;
		if (!is_written)
			conclude(a, b, false);
		else if (b->patience_us || !is_last || is_tick)
			send_batch(a, b, now_us);
	}
}

static void end_turn(struct safety_audit *a, bool is_tick)
{
	uint64_t now = safety_mono_us();
	bool is_written;

	add_proofs(a);
	is_written = (a->turn.n == 0 && !a->turn.err) || write_turn(a) == AGI_OK;
	for (uint32_t i = 0; i < a->n_receipts; i++)
		answer(a->plane, &a->receipts[i].to, a->receipts[i].rpc_id,
		       is_written ? AGI_STR("") : AGI_STR("the audit log cannot be written"));
	a->n_receipts = 0;
	send_batches(a, is_written, is_tick, now);
	arm_hedge(a, now);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	end_turn(arg, false);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct safety_audit *a = arg;
	uint64_t now = safety_mono_us();
	struct agi_audit_sync sync;
	struct agi_why why = {""};
	(void)fd;
	(void)what;

	if (a->wants_head && a->chain.next_seq && now - a->head_us >= HEAD_US)
		add_head(a, now);
	end_turn(a, true);
	if (a->is_syncing || !agi_audit_file_take_sync(a->file, &sync))
		return;
	a->is_syncing = true;
	if (!a->plane->hooks.audit_sync || a->plane->hooks.audit_sync(a->plane->ctx, &sync))
		agi_safety_plane_audit_synced(a->plane, agi_audit_sync_run(&sync, &why), &why);
}

void agi_safety_plane_audit_synced(struct agi_safety_plane *s, enum agi_err err, const struct agi_why *why)
{
	s->audit->is_syncing = false;
	agi_audit_file_synced(s->audit->file, err);
	if (err && s->hooks.audit_failed)
		s->hooks.audit_failed(s->ctx, err, why);
}

/* --- life --------------------------------------------------------------------------------------------------------------- */
static void continue_from(struct safety_audit *a, const struct agi_audit_found *found)
{
	a->start = (struct agi_audit_start){found->has_last, found->incarnation, found->seq, found->cut_bytes};
	a->chain = (struct agi_audit_chain){.node = a->plane->self.id, .incarnation = a->plane->self.incarnation};
	if (found->has_last)
		memcpy(a->chain.last, found->hash, sizeof a->chain.last);
	a->written = a->chain;
}

enum agi_err agi_safety_plane_open_audit(struct agi_safety_plane *s, const char *dir, uint64_t bytes_max,
                                         struct agi_audit_found *found, struct agi_why *why)
{
	const struct agi_audit_file_cfg cfg = {.dir = dir, .bytes_max = bytes_max};
	struct safety_audit *a = calloc(1, sizeof *a);
	enum agi_err e;

	if (!a)
		return agi_fail(why, AGI_E_NOMEM, "audit log: out of memory");
	a->plane = s;
	a->policy = a->written_policy = version_of(s->policy.configured);
	TAILQ_INIT(&a->batches);
	agi_buf_init(&a->turn, 0);
	s->audit = a;
	e = agi_audit_file_open(&cfg, &a->file, found, why);
	if (e)
		return e;
	a->flush = event_new(s->base, -1, 0, on_flush, a);
	a->tick = event_new(s->base, -1, EV_PERSIST, on_tick, a);
	a->hedge = evtimer_new(s->base, on_hedge, a);
	continue_from(a, found);
	if (!a->flush || !a->tick || !a->hedge || event_add(a->tick, &(struct timeval){.tv_usec = TICK_MS * 1000}) ||
	    begin_life(a))
		return agi_fail(why, AGI_E_NOMEM, "audit log: out of memory");
	return AGI_OK;
}

/* What was added is written, signed and synced: nothing runs beside this any more. */
static void end_life(struct safety_audit *a)
{
	struct agi_audit_sync sync;

	add_proofs(a);
	if (a->wants_head && a->chain.next_seq)
		add_head(a, safety_mono_us());
	if (a->turn.n && write_turn(a) == AGI_OK && agi_audit_file_take_sync(a->file, &sync))
		(void)!agi_audit_sync_run(&sync, NULL);
}

void audit_free(struct agi_safety_plane *s)
{
	struct safety_audit *a = s->audit;
	struct batch *b;

	if (!a)
		return;
	if (a->flush)
		end_life(a);
	while ((b = TAILQ_FIRST(&a->batches))) {
		b->patience_us = 0; /* the checks and reports have gone */
		conclude(a, b, false);
	}
	agi_audit_file_free(a->file);
	if (a->flush)
		event_free(a->flush);
	if (a->tick)
		event_free(a->tick);
	if (a->hedge)
		event_free(a->hedge);
	agi_buf_free(&a->turn);
	free(a);
	s->audit = NULL;
}
