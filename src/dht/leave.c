/* SPDX-License-Identifier: Apache-2.0
 * A former member hands over: it keeps its data until a majority of the new members is active and has taken
 * all of it, for it may be the only one that holds a write acknowledged at level one. */
#include "dht/reconf.h"

static void push_page(struct agi_reconf *r);

static void release(struct agi_reconf *r)
{
	struct agi_dht *d = r->d;
	struct agi_slot *s = r->s;
	uint8_t begin_key[4], end_key[4];
	struct agi_storage_op drop[2] = {
	    {AGI_DELETE_RANGE, AGI_CF_ITEMS, {(const char *)begin_key, 4}, {(const char *)end_key, 4}},
	    {AGI_DELETE_RANGE, AGI_CF_STRONG, {(const char *)begin_key, 4}, {(const char *)end_key, 4}}};

	agi_slot_range(s->view.slot, begin_key, end_key);
	agi_reconf_finish(r, false);
	agi_slot_set_phase(d, s, AGI_VIEW_FORWARD);
	(void)agi_slot_save(d, s, drop, 2, NULL, NULL);
}

static void on_pushed(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                      const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	bool is_yes = err == AGI_OK && m->kind == AGI_MSG_WRITE_ACK && m->status == AGI_OK;

	(void)d, (void)from;
	agi_gather_answered(&r->g, which, is_yes ? AGI_GATHER_YES : AGI_GATHER_SILENT);
	if (!agi_gather_is_quiet(&r->g))
		return;
	if (agi_gather_outcome(&r->g) != AGI_GATHER_WON)
		agi_reconf_finish(r, true);
	else if (r->has_more)
		push_page(r);
	else
		release(r);
}

static void push_items(struct agi_reconf *r, const struct agi_item *items, size_t n)
{
	struct agi_dht *d = r->d;
	const struct agi_view *v = &r->s->view;

	agi_gather_init(&r->g, v->n_members, agi_majority(v->n_members));
	for (uint32_t i = 0; i < v->n_members; i++) {
		struct agi_msg m = {.kind = AGI_MSG_WRITE, .slot = v->slot, .epoch = v->epoch,
		                    .items = items, .n_items = n, .is_transfer = true};
		struct agi_peer to = agi_hosts_peer(d, &v->members[i]);
		uint64_t rpc = agi_rpc_ask(d, &to, AGI_TRAFFIC_BULK, &m, 5 * AGI_RPC_TIMEOUT_MS, on_pushed, r, i);

		if (rpc)
			agi_gather_asked(&r->g, i, rpc);
		else
			agi_gather_answered(&r->g, i, AGI_GATHER_SILENT);
	}
	if (agi_gather_is_quiet(&r->g))
		agi_reconf_finish(r, true);
}

static void on_own_page(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_reconf *r = arg;
	struct agi_item items[AGI_BATCH_ITEMS];

	(void)d;
	r->job = 0;
	if (done->err != AGI_OK || done->n > AGI_BATCH_ITEMS) {
		agi_reconf_finish(r, true);
		return;
	}
	for (size_t i = 0; i < done->n; i++) {
		if (agi_item_decode(&items[i], done->kv[i].key, done->kv[i].value) != AGI_OK) {
			agi_reconf_finish(r, true);
			return;
		}
	}
	r->has_more = done->has_more;
	if (done->n == 0) {
		release(r);
		return;
	}
	agi_buf_reset(&r->cursor);
	agi_buf_put_str(&r->cursor, done->kv[done->n - 1].key);
	agi_buf_u8(&r->cursor, 0); /* the next key after it */
	push_items(r, items, done->n);
}

static void push_page(struct agi_reconf *r)
{
	uint8_t begin_key[4], end_key[4];
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN, .cf = AGI_CF_ITEMS,
	                              .max_items = AGI_BATCH_ITEMS, .max_bytes = AGI_PAGE_BYTES};

	agi_slot_range(r->s->view.slot, begin_key, end_key);
	req.begin = r->cursor.n ? agi_buf_str(&r->cursor) : (struct agi_str){(const char *)begin_key, 4};
	req.end = (struct agi_str){(const char *)end_key, 4};
	r->job = agi_job_submit(r->d, &req, on_own_page, r);
	if (!r->job)
		agi_reconf_finish(r, true);
}

static void on_new_member(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                          const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	struct agi_slot *s = r->s;
	uint64_t epoch = s->view.epoch;
	bool is_yes = err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO && m->status == AGI_OK &&
	              m->view.epoch == epoch &&
	              m->phase == AGI_VIEW_ACTIVE;

	(void)from;
	if (err == AGI_OK && m->kind == AGI_MSG_VIEW_INFO) {
		agi_view_learn_from(d, m);
		if (s->view.epoch != epoch)
			return;
	}
	agi_gather_answered(&r->g, which, is_yes ? AGI_GATHER_YES : AGI_GATHER_SILENT);
	if (!agi_gather_is_quiet(&r->g))
		return;
	if (agi_gather_outcome(&r->g) == AGI_GATHER_WON)
		push_page(r);
	else
		agi_reconf_finish(r, true);
}

void agi_reconf_leave(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_reconf *r = agi_reconf_begin(d, s);

	if (!r)
		return;
	agi_gather_init(&r->g, s->view.n_members, agi_majority(s->view.n_members));
	for (uint32_t i = 0; i < s->view.n_members; i++) {
		uint64_t rpc;

		agi_reconf_tell(d, &s->view.members[i], &s->view, s->prev, s->n_prev, on_new_member, r, i, &rpc);
		if (rpc)
			agi_gather_asked(&r->g, i, rpc);
		else
			agi_gather_answered(&r->g, i, AGI_GATHER_SILENT);
	}
	if (agi_gather_is_quiet(&r->g))
		agi_reconf_finish(r, true);
}
