/* SPDX-License-Identifier: Apache-2.0
 * Registers that differ among the members of their slot are given to whoever leads it, one after another. */
#include <stdlib.h>

#include "dht/repair.h"

enum { WAITING_MAX = 256, ASKED_MAX = 4 };

struct agi_repair_reg {
	struct agi_dht *d;
	uint32_t slot;
	struct agi_str ns, key; /* in bytes */
	uint64_t rpc;
	bool is_asked;
	TAILQ_ENTRY(agi_repair_reg) entry;
	char bytes[];
};

static void go_on(struct agi_dht *d);

static void end_reg(struct agi_repair_reg *r)
{
	struct agi_dht *d = r->d;

	agi_rpc_cancel(d, r->rpc);
	TAILQ_REMOVE(&d->repair.regs, r, entry);
	d->repair.n_regs--;
	d->repair.n_regs_asked -= r->is_asked;
	free(r);
}

void agi_repair_registers_free(struct agi_dht *d)
{
	while (!TAILQ_EMPTY(&d->repair.regs))
		end_reg(TAILQ_FIRST(&d->repair.regs));
}

/* What could not be done now still differs at the next comparison. */
static void on_done(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                    const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_repair_reg *r = arg;

	(void)which, (void)from;
	r->rpc = 0;
	d->repair.stats.registers += err == AGI_OK && m->status == AGI_OK;
	end_reg(r);
	go_on(d);
}

static bool ask_leader(struct agi_repair_reg *r)
{
	struct agi_dht *d = r->d;
	struct agi_slot *s = agi_slot_find(d, r->slot);
	struct agi_item item = {.ns = r->ns, .key = r->key, .value = {"", 0}};
	struct agi_msg m = {.kind = AGI_MSG_STRONG_DO, .slot = r->slot, .op = AGI_STRONG_REPAIR, .items = &item,
	                    .n_items = 1};

	if (!s || s->phase != AGI_VIEW_ACTIVE)
		return false;
	m.epoch = s->view.epoch;
	for (int i = 0; i < s->view.n_members; i++) {
		struct agi_peer to = agi_hosts_peer(d, &s->view.members[i]);

		if (!agi_hosts_is_up(d, &to.id))
			continue;
		r->rpc = agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m, 3 * AGI_RPC_TIMEOUT_MS, on_done, r, 0);
		return r->rpc != 0;
	}
	return false;
}

static void go_on(struct agi_dht *d)
{
	struct agi_repair_reg *r, *next;

	for (r = TAILQ_FIRST(&d->repair.regs); r && d->repair.n_regs_asked < ASKED_MAX; r = next) {
		next = TAILQ_NEXT(r, entry);
		if (r->is_asked)
			continue;
		r->is_asked = true;
		d->repair.n_regs_asked++;
		if (!ask_leader(r))
			end_reg(r);
	}
}

bool agi_repair_register(struct agi_dht *d, uint32_t slot, struct agi_str ns, struct agi_str key)
{
	struct agi_repair_reg *r;

	TAILQ_FOREACH(r, &d->repair.regs, entry)
		if (r->slot == slot && agi_str_eq(r->key, key) && agi_str_eq(r->ns, ns))
			return true;
	r = d->repair.n_regs < WAITING_MAX ? calloc(1, sizeof *r + ns.n + key.n + 1) : NULL;
	if (!r)
		return false;
	r->d = d;
	r->slot = slot;
	r->ns = (struct agi_str){memcpy(r->bytes, ns.n ? ns.p : "", ns.n), ns.n};
	r->key = (struct agi_str){memcpy(r->bytes + ns.n, key.p, key.n), key.n};
	TAILQ_INSERT_TAIL(&d->repair.regs, r, entry);
	d->repair.n_regs++;
	go_on(d);
	return true;
}
