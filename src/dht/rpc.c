/* SPDX-License-Identifier: Apache-2.0
 * Requests to peers and jobs for storage: who waits for which answer, and until when. */
#include <assert.h>
#include <stdlib.h>

#include "dht/feed.h"
#include "dht/lease.h"

static void take_out(struct agi_dht *d, struct agi_rpc *r)
{
	agi_timer_clear(&d->timers, &r->timeout);
	HASH_DEL(d->rpcs.by_id, r);
	d->rpcs.n--;
}

static void finish(struct agi_dht *d, struct agi_rpc *r, enum agi_err err, const struct agi_peer *from,
                   const struct agi_msg *m)
{
	agi_rpc_fn *fn = r->fn;
	void *arg = r->arg;
	uint32_t which = r->which;
	struct agi_peer to = r->to;

	take_out(d, r);
	agi_pool_put(&d->pools.rpc, r);
	if (!from && (err == AGI_E_TIMEOUT || err == AGI_E_UNREACHABLE))
		agi_hosts_failed(d, &to.id);
	fn(d, arg, which, err, from ? from : &to, m);
}

static void on_timeout(struct agi_dht *d, void *arg)
{
	struct agi_rpc *r = arg;

	finish(d, r, r->fail_with, NULL, NULL);
}

static struct agi_rpc *new_rpc(struct agi_dht *d, const struct agi_peer *to)
{
	struct agi_rpc *r = agi_pool_get(&d->pools.rpc, sizeof *r);

	if (!r)
		return NULL;
	r->id = d->rpcs.next_id++;
	if (d->rpcs.next_id == 0)
		d->rpcs.next_id = 1;
	r->to = *to;
	HASH_ADD(hh, d->rpcs.by_id, id, sizeof r->id, r);
	if (!r->hh.tbl) {
		agi_pool_put(&d->pools.rpc, r);
		return NULL;
	}
	d->rpcs.n++;
	return r;
}

uint64_t agi_rpc_ask(struct agi_dht *d, const struct agi_peer *to, enum agi_traffic traffic,
                     struct agi_msg *m, uint32_t timeout_ms, agi_rpc_fn *fn, void *arg, uint32_t which)
{
	struct agi_rpc *r = new_rpc(d, to);
	bool is_full = d->rpcs.n > AGI_RPCS_MAX;
	enum agi_err err;

	if (!r)
		return 0;
	r->fn = fn;
	r->arg = arg;
	r->which = which;
	r->timeout.fn = on_timeout;
	r->timeout.arg = r;
	r->fail_with = AGI_E_TIMEOUT;
	r->traffic = traffic;
	m->rpc_id = r->id;
	if (is_full)
		err = AGI_E_FULL;
	else if (d->is_stopped)
		err = AGI_E_CLOSED;
	else
		err = d->fx.send(d->ctx, to, traffic, m);
	if (err != AGI_OK) { /* told from the loop, like every other failure */
		r->fail_with = err;
		timeout_ms = 0;
	}
	agi_timer_set(&d->timers, &r->timeout, agi_after_ms(d, timeout_ms));
	return r->id;
}

static struct agi_rpc *find(struct agi_dht *d, uint64_t id)
{
	struct agi_rpc *r;

	HASH_FIND(hh, d->rpcs.by_id, &id, sizeof id, r);
	return r;
}

void agi_rpc_cancel(struct agi_dht *d, uint64_t id)
{
	struct agi_rpc *r = id ? find(d, id) : NULL;

	if (!r)
		return;
	take_out(d, r);
	agi_pool_put(&d->pools.rpc, r);
}

bool agi_rpc_answer(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_rpc *r = find(d, m->rpc_id);

	/* only the node that was asked may answer */
	if (!r || (!agi_id_is_zero(&r->to.id) && !agi_id_eq(&r->to.id, &from->id)))
		return false;
	if (m->kind == AGI_MSG_REFUSED)
		finish(d, r, m->status == AGI_OK ? AGI_E_UNSUPPORTED : m->status, from, NULL);
	else
		finish(d, r, AGI_OK, from, m);
	return true;
}

static bool is_to(const struct agi_rpc *r, const struct agi_peer *peer)
{
	if (!agi_id_is_zero(&peer->id) && agi_id_eq(&r->to.id, &peer->id))
		return true;
	/* a dial that failed before anybody proved an identity */
	return agi_id_is_zero(&peer->id) && peer->addr.port && agi_addr_eq(&r->to.addr, &peer->addr);
}

void agi_rpc_unreachable(struct agi_dht *d, const struct agi_peer *peer, enum agi_traffic traffic,
                         enum agi_err err)
{
	struct agi_rpc *r, *tmp;

	/* through their timers, so that a callback which asks again cannot disturb this walk */
	HASH_ITER(hh, d->rpcs.by_id, r, tmp) {
		if (r->traffic != traffic || !is_to(r, peer))
			continue;
		r->fail_with = err == AGI_OK ? AGI_E_UNREACHABLE : err;
		agi_timer_set(&d->timers, &r->timeout, d->now.mono_us);
	}
}

void agi_rpcs_free(struct agi_dht *d)
{
	struct agi_rpc *r, *tmp;

	HASH_ITER(hh, d->rpcs.by_id, r, tmp) {
		take_out(d, r);
		agi_pool_put(&d->pools.rpc, r);
	}
}

void agi_answer_on(struct agi_dht *d, enum agi_traffic traffic, const struct agi_peer *to, uint64_t rpc_id,
                   struct agi_msg *answer)
{
	/* should the request's link be gone: to where the asker listens, not to the port it asked from */
	struct agi_peer known = agi_hosts_peer(d, &to->id);

	assert(agi_msg_is_answer(answer->kind));
	answer->rpc_id = rpc_id;
	(void)d->fx.send(d->ctx, known.addr.port ? &known : to, traffic, answer); /* unsent: the asker's deadline tells it */
}

/* The channel a request came by, so that the answer finds its link. */
static enum agi_traffic traffic_of(const struct agi_msg *request)
{
	bool is_bulk = request->kind == AGI_MSG_SLOT_PULL || request->kind == AGI_MSG_SLOT_COMPARE ||
	               request->kind == AGI_MSG_SCAN || request->kind == AGI_MSG_DIFF_PULL ||
	               (request->kind == AGI_MSG_WRITE && request->is_transfer);

	return is_bulk ? AGI_TRAFFIC_BULK : AGI_TRAFFIC_CONTROL;
}

void agi_answer(struct agi_dht *d, const struct agi_peer *to, const struct agi_msg *request,
                struct agi_msg *answer)
{
	agi_answer_on(d, traffic_of(request), to, request->rpc_id, answer);
}

/* --- storage ------------------------------------------------------------------------------------ */

uint64_t agi_job_submit(struct agi_dht *d, const struct agi_storage_req *req, agi_job_fn *fn, void *arg)
{
	struct agi_job *j = agi_pool_get(&d->pools.job, sizeof *j);

	if (!j)
		return 0;
	j->id = d->jobs.next_id++;
	j->fn = fn;
	j->arg = arg;
	j->note = agi_tree_note_new(d, req);
	j->feed_note = agi_feed_note_new(d, req);
	j->lease_note = agi_lease_note_new(req);
	HASH_ADD(hh, d->jobs.by_id, id, sizeof j->id, j);
	if (!j->hh.tbl) {
		agi_tree_note_free(j->note);
		agi_feed_note_free(j->feed_note);
		agi_lease_note_free(j->lease_note);
		agi_pool_put(&d->pools.job, j);
		return 0;
	}
	d->fx.store(d->ctx, j->id, req);
	return j->id;
}

void agi_job_saves(struct agi_dht *d, uint64_t id, const struct agi_slot *s)
{
	struct agi_job *j;

	HASH_FIND(hh, d->jobs.by_id, &id, sizeof id, j);
	if (j) {
		j->saves_slot = true;
		j->slot = s->view.slot;
		j->promise = s->strong_promised;
	}
}

/* A promise counts once it is on the disk, whatever became of the request that asked for it. */
static void note_saved(struct agi_dht *d, const struct agi_job *j, bool is_ok)
{
	struct agi_slot *s = j->saves_slot ? agi_slot_find(d, j->slot) : NULL;

	if (!s)
		return;
	if (s->ahead_job == j->id)
		s->ahead_job = 0;
	if (is_ok && agi_ballot_cmp(&j->promise, &s->strong_saved) > 0)
		s->strong_saved = j->promise;
}

void agi_job_forget(struct agi_dht *d, uint64_t id)
{
	struct agi_job *j;

	HASH_FIND(hh, d->jobs.by_id, &id, sizeof id, j);
	if (j)
		j->fn = NULL;
}

static void note_failure(struct agi_dht *d, const struct agi_storage_done *done)
{
	struct agi_note n = {.kind = AGI_NOTE_STORE_FAILED, .err = done->err, .text = done->why.text};

	if (done->err == AGI_E_READ_ONLY || done->err == AGI_E_IO || done->err == AGI_E_CORRUPT) {
		if (d->is_read_only)
			return;
		agi_drain_disk_failed(d);
	}
	d->fx.note(d->ctx, &n);
}

void agi_dht_on_stored(struct agi_dht *d, struct agi_now now, uint64_t job_id,
                       const struct agi_storage_done *done)
{
	struct agi_job *j;
	struct agi_job copy;

	agi_clock_enter(d, now);
	HASH_FIND(hh, d->jobs.by_id, &job_id, sizeof job_id, j);
	if (!j)
		return;
	copy = *j;
	HASH_DEL(d->jobs.by_id, j);
	agi_pool_put(&d->pools.job, j);
	note_saved(d, &copy, done->err == AGI_OK);
	if (done->err != AGI_OK && done->err != AGI_E_NOT_FOUND)
		note_failure(d, done);
	agi_tree_note_apply(d, copy.note, done);
	agi_tree_note_free(copy.note);
	agi_feed_note_apply(d, copy.feed_note, done);
	agi_feed_note_free(copy.feed_note);
	agi_lease_note_apply(d, copy.lease_note, done);
	agi_lease_note_free(copy.lease_note);
	if (copy.fn)
		copy.fn(d, copy.arg, done);
}

/* Everybody who waits is told that there will be no answer, so that they free what they hold. */
void agi_dht_jobs_free(struct agi_dht *d)
{
	struct agi_storage_done closed = {.err = AGI_E_CLOSED};

	while (d->jobs.by_id) {
		struct agi_job *j = d->jobs.by_id;
		agi_job_fn *fn = j->fn;
		void *arg = j->arg;

		HASH_DEL(d->jobs.by_id, j);
		agi_tree_note_free(j->note);
		agi_feed_note_free(j->feed_note);
		agi_lease_note_free(j->lease_note);
		agi_pool_put(&d->pools.job, j);
		if (fn)
			fn(d, arg, &closed);
	}
}

enum agi_err agi_store_admit(const struct agi_dht *d, const struct agi_item *items, size_t n)
{
	bool is_freeing = true;

	if (d->is_read_only)
		return AGI_E_READ_ONLY;
	for (size_t i = 0; i < n; i++)
		is_freeing = is_freeing && items[i].is_tombstone;
	return d->is_low && !is_freeing ? AGI_E_DISK_FULL : AGI_OK;
}
