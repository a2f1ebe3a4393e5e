/* SPDX-License-Identifier: Apache-2.0
 * Client calls: which are open, who works on each, and the two simple ones (lookup, owners). */
#include <stdlib.h>

#include "dht/batch.h"
#include "dht/care.h"
#include "dht/inner.h"
#include "dht/lease.h"
#include "dht/nearest.h"
#include "dht/scan.h"
#include "dht/watch.h"

static struct agi_open_call *find_call(struct agi_dht *d, uint64_t id)
{
	struct agi_open_call *c;

	HASH_FIND(hh, d->calls, &id, sizeof id, c);
	return c;
}

static void close_call(struct agi_dht *d, struct agi_open_call *c)
{
	HASH_DEL(d->calls, c);
	d->n_calls--;
	agi_pool_put(&d->pools.open_call, c);
}

enum agi_err agi_call_open(struct agi_dht *d, uint64_t call_id, enum agi_call_kind kind, void *op,
                           void (*cancel)(struct agi_dht *d, void *op))
{
	struct agi_open_call *c;

	if (d->n_calls >= AGI_CALLS_MAX) {
		agi_call_fail(d, call_id, kind, AGI_E_FULL, "4096 operations are open on this node: retry later");
		return AGI_E_FULL;
	}
	c = agi_pool_get(&d->pools.open_call, sizeof *c);
	if (c) {
		*c = (struct agi_open_call){.id = call_id, .kind = kind, .op = op, .cancel = cancel};
		HASH_ADD(hh, d->calls, id, sizeof c->id, c);
	}
	if (!c || !c->hh.tbl) {
		agi_pool_put(&d->pools.open_call, c);
		agi_call_fail(d, call_id, kind, AGI_E_NOMEM, "");
		return AGI_E_NOMEM;
	}
	d->n_calls++;
	return AGI_OK;
}

static void deliver(struct agi_dht *d, uint64_t call_id, const struct agi_result *res)
{
	if (call_id & AGI_INNER_CALLS)
		agi_inner_reply(d, call_id, res);
	else
		d->fx.reply(d->ctx, call_id, res);
}

void agi_call_reply(struct agi_dht *d, uint64_t call_id, struct agi_result *res)
{
	struct agi_open_call *c = find_call(d, call_id);

	if (!c)
		return; /* cancelled */
	close_call(d, c);
	deliver(d, call_id, res);
}

void agi_call_fail(struct agi_dht *d, uint64_t call_id, enum agi_call_kind kind, enum agi_err err,
                   const char *why)
{
	struct agi_result res = {.kind = kind, .err = err};
	struct agi_open_call *c = find_call(d, call_id);

	if (c)
		close_call(d, c);
	agi_fail(&res.why, err, "%s", why);
	deliver(d, call_id, &res);
}

struct lookup_call {
	uint64_t call_id;
	struct agi_lookup *lookup;
};

static void on_lookup(struct agi_dht *d, void *arg, const struct agi_contact *nearest, size_t n,
                      const struct agi_hop *hops, size_t n_hops)
{
	struct lookup_call *lc = arg;
	struct agi_result res = {.kind = AGI_CALL_LOOKUP, .contacts = nearest, .n_contacts = n, .hops = hops,
	                         .n_hops = n_hops};

	agi_call_reply(d, lc->call_id, &res);
	free(lc);
}

static void cancel_lookup(struct agi_dht *d, void *op)
{
	struct lookup_call *lc = op;

	(void)d;
	agi_lookup_cancel(lc->lookup);
	free(lc);
}

static void call_lookup(struct agi_dht *d, uint64_t call_id, const struct agi_call *call)
{
	struct lookup_call *lc = calloc(1, sizeof *lc);

	if (!lc) {
		agi_call_fail(d, call_id, call->kind, AGI_E_NOMEM, "");
		return;
	}
	if (agi_call_open(d, call_id, call->kind, lc, cancel_lookup) != AGI_OK) {
		free(lc);
		return;
	}
	lc->call_id = call_id;
	lc->lookup = agi_lookup_start(d, &call->target, on_lookup, lc);
	if (!lc->lookup) {
		free(lc);
		agi_call_fail(d, call_id, call->kind, AGI_E_NOMEM, "");
	}
}

struct owners_call {
	uint64_t call_id;
	uint32_t slot;
	struct agi_vwait wait;
};

static void on_owners(struct agi_dht *d, void *arg, enum agi_err err)
{
	struct owners_call *oc = arg;
	struct agi_slot *s = agi_slot_find(d, oc->slot);
	struct agi_contact contacts[AGI_REPLICAS_MAX];
	struct agi_msg m = {.kind = AGI_MSG_VIEW_INFO};
	struct agi_result res = {.kind = AGI_CALL_OWNERS, .err = err, .slot = oc->slot};

	if (err == AGI_OK && s) {
		agi_view_fill(d, s, &m, contacts);
		res.view = s->view;
		res.contacts = contacts;
		res.n_contacts = m.n_contacts;
	}
	agi_call_reply(d, oc->call_id, &res);
	free(oc);
}

static void cancel_owners(struct agi_dht *d, void *op)
{
	struct owners_call *oc = op;

	agi_vfetch_cancel(d, &oc->wait);
	free(oc);
}

static void call_owners(struct agi_dht *d, uint64_t call_id, const struct agi_call *call)
{
	struct owners_call *oc;

	if (call->key.n == 0 || call->key.n > AGI_KEY_MAX) {
		agi_call_fail(d, call_id, call->kind, AGI_E_INVALID, "a key has 1 to 1024 bytes");
		return;
	}
	oc = calloc(1, sizeof *oc);
	if (!oc) {
		agi_call_fail(d, call_id, call->kind, AGI_E_NOMEM, "");
		return;
	}
	if (agi_call_open(d, call_id, call->kind, oc, cancel_owners) != AGI_OK) {
		free(oc);
		return;
	}
	*oc = (struct owners_call){.call_id = call_id, .slot = agi_dht_slot_of(d, call->ns, call->key)};
	oc->wait.fn = on_owners;
	oc->wait.arg = oc;
	agi_vfetch_wait(d, oc->slot, &oc->wait);
}

void agi_call_run(struct agi_dht *d, uint64_t call_id, const struct agi_call *call)
{
	if (d->is_stopped) {
		agi_call_fail(d, call_id, call->kind, AGI_E_CLOSED, "this node is shutting down");
		return;
	}
	switch (call->kind) {
	case AGI_CALL_PUT:
	case AGI_CALL_GET:
	case AGI_CALL_DELETE:
		if (call->lease && call->kind == AGI_CALL_PUT && !call->is_attached)
			agi_lease_call(d, call_id, call);
		else if (call->level == AGI_LEVEL_STRONG)
			agi_strong_call(d, call_id, call);
		else
			agi_kv_call(d, call_id, call);
		break;
	case AGI_CALL_CAS:
	case AGI_CALL_ADD:
		if (call->lease && call->kind == AGI_CALL_CAS && !call->is_attached)
			agi_lease_call(d, call_id, call);
		else
			agi_strong_call(d, call_id, call);
		break;
	case AGI_CALL_BATCH:
		agi_batch_call(d, call_id, call);
		break;
	case AGI_CALL_GRANT:
	case AGI_CALL_RENEW:
	case AGI_CALL_REVOKE:
	case AGI_CALL_LEASE:
	case AGI_CALL_LOCK:
		agi_lease_call(d, call_id, call);
		break;
	case AGI_CALL_WATCH:
		agi_watch_call(d, call_id, call);
		break;
	case AGI_CALL_SCAN:
		agi_scan_call(d, call_id, call);
		break;
	case AGI_CALL_OPERATE:
		agi_operate_call(d, call_id, call);
		break;
	case AGI_CALL_RESTORE:
		agi_restore_call(d, call_id, call);
		break;
	case AGI_CALL_DIGEST:
		agi_digest_call(d, call_id, call);
		break;
	case AGI_CALL_REGISTER:
	case AGI_CALL_DEREGISTER:
		agi_registry_call(d, call_id, call);
		break;
	case AGI_CALL_DISCOVER:
		agi_discover_call(d, call_id, call);
		break;
	case AGI_CALL_NEAREST:
		agi_nearest_call(d, call_id, call);
		break;
	case AGI_CALL_DRAIN:
	case AGI_CALL_UNDRAIN:
	case AGI_CALL_LEAVE:
		agi_drain_call(d, call_id, call);
		break;
	case AGI_CALL_RECOVER:
		agi_recover_call(d, call_id, call);
		break;
	case AGI_CALL_LOOKUP:
	case AGI_CALL_OWNERS:
		if (!d->member.is_joined)
			agi_call_fail(d, call_id, call->kind, AGI_E_NOT_READY, d->member.waits_for);
		else if (call->kind == AGI_CALL_LOOKUP)
			call_lookup(d, call_id, call);
		else
			call_owners(d, call_id, call);
		break;
	}
}

void agi_dht_call(struct agi_dht *d, struct agi_now now, uint64_t call_id, const struct agi_call *call)
{
	agi_clock_enter(d, now);
	agi_call_run(d, call_id, call);
}

void agi_dht_cancel(struct agi_dht *d, uint64_t call_id)
{
	struct agi_open_call *c = find_call(d, call_id);
	void (*cancel)(struct agi_dht *, void *);
	void *op;

	if (!c)
		return;
	cancel = c->cancel;
	op = c->op;
	close_call(d, c);
	if (cancel)
		cancel(d, op);
}
