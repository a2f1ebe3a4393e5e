/* SPDX-License-Identifier: Apache-2.0
 * Before a change is proposed, the newcomers copy the slot. Nothing of the protocol's state changes meanwhile: the
 * present members serve, and what the newcomers then still lack is transferred after the seal (join.c). Of a slot
 * in which this member holds nothing there is nothing to copy: the newcomers are only asked whether they are there, all
 * of them. (One that died a moment ago counts as up, and so may an old member: a slot that took such a newcomer in for a
 * member that lives would have lost its majority.)
 *
 * A newcomer that makes no progress for long is given up: the change is proposed without waiting for it, if a
 * majority of the new members has what it takes (old members, and newcomers that are done). Otherwise the old view
 * stays, serves, and the change is tried again. */
#include "dht/reconf.h"

enum {
	ASK_MS = 3000,      /* the newcomer answers when it is done, at the latest after 1 s (copy.c) */
	BUSY_MS = 100,      /* it copies enough other slots: asked again soon */
	STALLED_MS = 20000  /* nothing more for so long */
};

static void ask(struct agi_reconf *r, uint32_t i);

static bool is_waited_for(const struct agi_reconf *r)
{
	for (uint8_t i = 0; i < r->n_newcomers; i++)
		if (!r->newcomer[i].is_done && !r->newcomer[i].is_given_up)
			return true;
	return false;
}

static bool has_majority(const struct agi_reconf *r)
{
	uint32_t ready = r->next.n_members - r->n_newcomers;

	for (uint8_t i = 0; i < r->n_newcomers; i++)
		ready += r->newcomer[i].is_done;
	return ready >= agi_majority(r->next.n_members);
}

/* Whoever was to become a member may be gone by now, or others are better: looked at anew, from the start. */
static bool is_still_wanted(struct agi_reconf *r)
{
	struct agi_view v;

	if (r->generation == r->d->hosts.generation)
		return true;
	if (!agi_plan_next(r->d, r->s, &v) || v.n_members != r->next.n_members)
		return false;
	for (uint8_t i = 0; i < v.n_members; i++)
		if (!agi_view_has(&r->next, &v.members[i]))
			return false;
	r->generation = r->d->hosts.generation;
	return true;
}

static void go_on(struct agi_reconf *r)
{
	struct agi_dht *d = r->d;
	struct agi_slot *s = r->s;
	struct agi_view next = r->next;

	if (!is_still_wanted(r)) {
		agi_reconf_finish(r, false);
	} else if (!is_waited_for(r)) {
		bool is_ready = has_majority(r);

		agi_reconf_finish(r, !is_ready);
		if (is_ready)
			agi_reconf_propose(d, s, &next);
	}
}

static bool has_stalled(const struct agi_reconf *r, uint32_t i)
{
	return r->d->now.mono_us - r->newcomer[i].progress_us >= (uint64_t)STALLED_MS * 1000;
}

/* A newcomer of an older version does not know the request: it takes everything after the seal, as it used to. */
static void on_copied(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                      const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	struct agi_slot *s = r->s;
	uint64_t epoch = s->view.epoch;
	bool is_answer = err == AGI_OK && m->kind == AGI_MSG_SLOT_COPIED;

	(void)from;
	r->newcomer[which].rpc = 0;
	if (is_answer && m->status == AGI_E_STALE_EPOCH) {
		agi_view_learn_from(d, m);
		if (s->view.epoch != epoch)
			return; /* r is gone */
	}
	if (err == AGI_E_UNSUPPORTED || (is_answer && m->status == AGI_OK && m->has_item))
		r->newcomer[which].is_done = true;
	if (is_answer && (m->seq != r->newcomer[which].progress || m->status == AGI_E_FULL)) { /* busy is no stall */
		r->newcomer[which].progress = m->seq;
		r->newcomer[which].progress_us = d->now.mono_us;
	}
	if (!r->newcomer[which].is_done && has_stalled(r, which))
		r->newcomer[which].is_given_up = true;
	if (!r->newcomer[which].is_done && !r->newcomer[which].is_given_up)
		agi_timer_set(&d->timers, &r->newcomer[which].again,
		              agi_after_ms(d, is_answer && m->status == AGI_OK ? 0 : BUSY_MS) +
		                  agi_prng_below(&d->prng, BUSY_MS * 1000));
	go_on(r);
}

static void on_again(struct agi_dht *d, void *arg)
{
	struct agi_reconf *r = arg;

	for (uint8_t i = 0; i < r->n_newcomers; i++)
		if (!r->newcomer[i].rpc && !r->newcomer[i].again.is_set && !r->newcomer[i].is_done &&
		    !r->newcomer[i].is_given_up)
			ask(r, i);
	(void)d;
}

static void ask(struct agi_reconf *r, uint32_t i)
{
	struct agi_dht *d = r->d;
	struct agi_contact contacts[AGI_REPLICAS_MAX];
	struct agi_msg m = {.kind = AGI_MSG_SLOT_COPY, .slot = r->s->view.slot, .epoch = r->s->view.epoch};
	struct agi_peer to = agi_hosts_peer(d, &r->newcomer[i].id);

	agi_view_fill(d, r->s, &m, contacts);
	r->newcomer[i].rpc = agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m, ASK_MS, on_copied, r, i);
	if (!r->newcomer[i].rpc)
		agi_timer_set(&d->timers, &r->newcomer[i].again, agi_after_ms(d, BUSY_MS));
}

static void ask_newcomers(struct agi_reconf *r)
{
	for (uint8_t i = 0; i < r->n_newcomers; i++)
		ask(r, i);
}

/* --- is there anything to copy? ------------------------------------------------------------------------- */

static void on_greeted(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                       const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	struct agi_slot *s = r->s;
	uint64_t epoch = s->view.epoch;

	(void)from;
	r->newcomer[which].rpc = 0;
	if (err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO) {
		agi_view_learn_from(d, m);
		if (s->view.epoch != epoch)
			return; /* r is gone */
	}
	if (err != AGI_OK) { /* soon it counts as down, or is there */
		agi_reconf_finish(r, true);
		return;
	}
	r->newcomer[which].is_done = true;
	go_on(r);
}

static void greet_newcomers(struct agi_reconf *r)
{
	struct agi_msg m = {.kind = AGI_MSG_VIEW_GET, .slot = r->s->view.slot};

	for (uint8_t i = 0; i < r->n_newcomers; i++) {
		struct agi_peer to = agi_hosts_peer(r->d, &r->newcomer[i].id);

		r->newcomer[i].rpc = agi_rpc_ask(r->d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, on_greeted, r, i);
		if (!r->newcomer[i].rpc) {
			agi_reconf_finish(r, true);
			return;
		}
	}
}

static void look_for_records(struct agi_reconf *r);

static void on_looked(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_reconf *r = arg;

	(void)d;
	r->job = 0;
	if (done->err != AGI_OK || done->n) {
		ask_newcomers(r);
	} else if (r->looks_in == AGI_CF_ITEMS) {
		r->looks_in = AGI_CF_STRONG;
		look_for_records(r);
	} else {
		greet_newcomers(r);
	}
}

static void look_for_records(struct agi_reconf *r)
{
	uint8_t begin[4], end[4];
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN, .cf = r->looks_in, .max_items = 1,
	                              .max_bytes = 1, .value_bytes = AGI_VERSION_BYTES};

	agi_slot_range(r->s->view.slot, begin, end);
	req.begin = (struct agi_str){(const char *)begin, sizeof begin};
	req.end = (struct agi_str){(const char *)end, sizeof end};
	r->job = agi_job_submit(r->d, &req, on_looked, r);
	if (!r->job)
		ask_newcomers(r);
}

void agi_reconf_prepare(struct agi_dht *d, struct agi_slot *s, const struct agi_view *wanted)
{
	struct agi_reconf *r = agi_reconf_begin(d, s, AGI_WORK_PREPARE);

	if (!r)
		return;
	r->next = *wanted;
	r->generation = d->hosts.generation;
	for (uint8_t i = 0; i < wanted->n_members; i++) {
		if (agi_view_has(&s->view, &wanted->members[i]))
			continue;
		r->newcomer[r->n_newcomers].id = wanted->members[i];
		r->newcomer[r->n_newcomers].progress_us = d->now.mono_us;
		r->newcomer[r->n_newcomers++].again = (struct agi_timer){.fn = on_again, .arg = r};
	}
	r->looks_in = AGI_CF_ITEMS;
	if (r->n_newcomers)
		look_for_records(r);
	else
		go_on(r);
}
