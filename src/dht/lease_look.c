/* SPDX-License-Identifier: Apache-2.0
 * Whether an item that has a lease counts: the lease is read; if it is gone, the item is deleted under the version it was
 * met with. Whoever says that the item is not there has therefore made sure that nobody sees it later. */
#include <stdlib.h>

#include "dht/lease.h"

struct agi_lease_look {
	struct agi_dht *d;
	struct agi_result met;
	struct agi_str ns, key;
	uint64_t call, deadline_us;
	agi_lease_look_fn *fn;
	void *arg;
	char bytes[];            /* namespace, key, value */
};

void agi_lease_look_cancel(struct agi_lease_look *l)
{
	if (!l)
		return;
	agi_inner_cancel(l->d, l->call);
	free(l);
}

static void finish(struct agi_lease_look *l, enum agi_err err)
{
	l->call = 0;
	l->fn(l->d, l->arg, err, &l->met);
	free(l);
}

/* Changed meanwhile, or perhaps not deleted: whoever begins anew will see. */
static void on_deleted(struct agi_dht *d, void *arg, const struct agi_result *res)
{
	bool is_gone =
	    res->err == AGI_OK || res->err == AGI_E_CONDITION || res->err == AGI_E_UNKNOWN_OUTCOME;

	(void)d;
	finish(arg, is_gone ? AGI_E_NOT_FOUND : res->err);
}

static uint32_t left_ms(const struct agi_lease_look *l)
{
	uint64_t now = l->d->now.mono_us;

	return l->deadline_us > now ? (uint32_t)((l->deadline_us - now) / 1000) + 1 : 1;
}

static void on_lease(struct agi_dht *d, void *arg, const struct agi_result *res)
{
	struct agi_lease_look *l = arg;
	struct agi_call c = {.kind = AGI_CALL_CAS, .ns = l->ns, .key = l->key, .level = AGI_LEVEL_STRONG, .is_raw = true,
	                     .is_delete = true, .expected = l->met.version.hlc, .timeout_ms = left_ms(l)};

	l->call = 0;
	if (res->err != AGI_E_NOT_FOUND) {
		finish(l, res->err);
		return;
	}
	l->call = agi_inner_start(d, &c, on_deleted, l);
	if (!l->call)
		finish(l, AGI_E_NOMEM);
}

struct agi_lease_look *agi_lease_look_start(struct agi_dht *d, struct agi_str ns, struct agi_str key,
                                            const struct agi_result *met, uint32_t timeout_ms,
                                            agi_lease_look_fn *fn, void *arg)
{
	struct agi_lease_look *l = calloc(1, sizeof *l + ns.n + key.n + met->value.n);
	struct agi_call c = {.kind = AGI_CALL_GET, .ns = AGI_LEASE_NS, .level = AGI_LEVEL_STRONG, .is_raw = true,
	                     .timeout_ms = timeout_ms};
	uint8_t lease[8];

	if (!l)
		return NULL;
	*l = (struct agi_lease_look){.d = d, .met = *met, .fn = fn, .arg = arg,
	                             .deadline_us = agi_after_ms(d, timeout_ms)};
	l->ns = (struct agi_str){memcpy(l->bytes, ns.n ? ns.p : "", ns.n), ns.n};
	l->key = (struct agi_str){memcpy(l->bytes + ns.n, key.p, key.n), key.n};
	l->met.value = (struct agi_str){l->bytes + ns.n + key.n, met->value.n};
	if (met->value.n)
		memcpy(l->bytes + ns.n + key.n, met->value.p, met->value.n);
	agi_lease_key(lease, met->lease);
	c.key = (struct agi_str){(const char *)lease, sizeof lease};
	l->call = agi_inner_start(d, &c, on_lease, l);
	if (l->call)
		return l;
	free(l);
	return NULL;
}
