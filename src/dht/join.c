/* SPDX-License-Identifier: Apache-2.0
 * A new member becomes active: whom it may learn from, and the transfer. */
#include "dht/reconf.h"

#include <stdlib.h>

static void pull_page(struct agi_reconf *r);

static void activate(struct agi_reconf *r)
{
	struct agi_dht *d = r->d;
	struct agi_slot *s = r->s;

	agi_reconf_finish(r, false);
	agi_slot_set_phase(d, s, AGI_VIEW_ACTIVE);
	(void)agi_slot_save(d, s, NULL, 0, NULL, NULL);
}

static void pull_next_source(struct agi_reconf *r)
{
	r->is_pulling = true;
	if (r->pulling == r->n_pull) {
		activate(r);
		return;
	}
	agi_buf_reset(&r->cursor);
	r->is_strong_pulled = false;
	pull_page(r);
}

static void on_merged(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_reconf *r = arg;

	(void)d;
	r->job = 0;
	if (done->err != AGI_OK) {
		agi_reconf_finish(r, true);
	} else if (r->has_more) {
		pull_page(r);
	} else if (!r->is_strong_pulled) {
		r->is_strong_pulled = true;
		agi_buf_reset(&r->cursor);
		pull_page(r);
	} else {
		r->pulling++;
		pull_next_source(r);
	}
}

/* Registers as the source stores them; PUT_NEWER keeps the highest accepted ballot of each. */
static uint64_t write_registers(struct agi_dht *d, uint32_t slot, const struct agi_item *items, size_t n,
                                agi_job_fn *fn, void *arg)
{
	struct agi_storage_op *ops = calloc(n, sizeof *ops);
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = ops, .n_ops = n};
	uint8_t begin[4], end[4];
	struct agi_reg reg;
	uint64_t job = 0;

	agi_slot_range(slot, begin, end);
	for (size_t i = 0; ops && i < n; i++) {
		if (!agi_str_has_prefix(items[i].key, (struct agi_str){(const char *)begin, 4}) ||
		    agi_reg_decode(&reg, items[i].value) != AGI_OK)
			goto out;
		ops[i] = (struct agi_storage_op){AGI_PUT_NEWER, AGI_CF_STRONG, items[i].key, items[i].value};
	}
	if (ops)
		job = agi_job_submit(d, &req, fn, arg);
out:
	free(ops);
	return job;
}

static void on_items(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	struct agi_storage_done empty = {.err = AGI_OK};

	(void)which, (void)from;
	r->pull_rpc = 0;
	if (err != AGI_OK || m->kind != AGI_MSG_SLOT_ITEMS || m->status != AGI_OK) {
		agi_reconf_finish(r, true);
		return;
	}
	if (m->is_strong != r->is_strong_pulled) {
		agi_reconf_finish(r, true);
		return;
	}
	/* our next leader's rounds, and so versions, go on from the highest any source has promised */
	if (m->is_strong && m->ballot.round > r->s->strong_promised.round)
		r->s->strong_promised = m->ballot;
	r->has_more = m->has_more && m->n_items > 0;
	agi_buf_reset(&r->cursor);
	agi_buf_put_str(&r->cursor, m->cursor);
	if (m->n_items == 0) {
		on_merged(d, r, &empty);
		return;
	}
	r->job = m->is_strong ? write_registers(d, r->s->view.slot, m->items, m->n_items, on_merged, r)
	                      : agi_items_write(d, r->s->view.slot, m->items, m->n_items, on_merged, r);
	if (!r->job)
		agi_reconf_finish(r, true);
}

static void pull_page(struct agi_reconf *r)
{
	struct agi_msg m = {.kind = AGI_MSG_SLOT_PULL, .slot = r->s->view.slot, .epoch = r->s->view.epoch};
	struct agi_peer to = agi_hosts_peer(r->d, &r->peer[r->to_pull[r->pulling]]);

	if (r->d->is_low) { /* what is pulled has no room: later */
		agi_reconf_finish(r, true);
		return;
	}
	m.cursor = agi_buf_str(&r->cursor);
	m.is_strong = r->is_strong_pulled;
	r->pull_rpc = agi_rpc_ask(r->d, &to, AGI_TRAFFIC_BULK, &m, 5 * AGI_RPC_TIMEOUT_MS, on_items, r, 0);
	if (!r->pull_rpc)
		agi_reconf_finish(r, true);
}

/* With what is known now, whom to pull from? False when it does not suffice yet. */
static bool choose_sources(struct agi_reconf *r)
{
	bool is_old_member = false;
	uint32_t need = agi_majority(r->s->n_prev), have;

	r->n_pull = 0;
	for (uint8_t i = 0; i < r->n_peers; i++) {
		if (r->is_active[i]) { /* one active member of the new view has it all */
			r->to_pull[r->n_pull++] = i;
			return true;
		}
	}
	for (uint8_t i = 0; i < r->s->n_prev; i++)
		is_old_member |= agi_id_eq(&r->s->prev[i], &r->d->self.id);
	have = is_old_member;
	for (uint8_t i = 0; i < r->n_old && have < need; i++) {
		if (r->is_ready[i]) {
			r->to_pull[r->n_pull++] = i;
			have++;
		}
	}
	return r->s->n_prev > 0 && have >= need;
}

static void on_source(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                      const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	struct agi_slot *s = r->s;
	uint64_t epoch = s->view.epoch;

	r->rpc[which] = 0;
	r->waiting--;
	if (err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO && m->status == AGI_OK) {
		agi_view_learn_from(d, m);
		if (s->view.epoch != epoch)
			return; /* a newer view: r is gone */
		r->is_ready[which] = m->view.epoch == epoch && m->phase != AGI_VIEW_FORWARD &&
		                     m->phase != AGI_VIEW_NONE;
		r->is_active[which] = m->view.epoch == epoch && m->phase == AGI_VIEW_ACTIVE &&
		                      agi_view_has(&m->view, &from->id);
	}
	if (r->is_pulling)
		return;
	if (choose_sources(r))
		pull_next_source(r);
	else if (r->waiting == 0)
		agi_reconf_finish(r, true);
}

static void add_peer(struct agi_reconf *r, const struct agi_id *id)
{
	if (agi_id_eq(id, &r->d->self.id))
		return;
	for (uint8_t i = 0; i < r->n_peers; i++)
		if (agi_id_eq(&r->peer[i], id))
			return;
	r->peer[r->n_peers++] = *id;
}

void agi_reconf_join(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_reconf *r = agi_reconf_begin(d, s);

	if (!r)
		return;
	for (uint8_t i = 0; i < s->n_prev; i++)
		add_peer(r, &s->prev[i]);
	r->n_old = r->n_peers;
	if (choose_sources(r)) { /* we alone were the majority */
		pull_next_source(r);
		return;
	}
	for (int i = 0; i < s->view.n_members; i++)
		add_peer(r, &s->view.members[i]);
	for (uint8_t i = 0; i < r->n_peers; i++) {
		agi_reconf_tell(d, &r->peer[i], &s->view, s->prev, s->n_prev, on_source, r, i, &r->rpc[i]);
		r->waiting += r->rpc[i] != 0;
	}
	if (r->waiting == 0)
		agi_reconf_finish(r, true);
}
