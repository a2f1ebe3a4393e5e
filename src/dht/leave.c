/* SPDX-License-Identifier: Apache-2.0
 * A former member hands over: it keeps its data until a majority of the new members is active and has all of it,
 * for it may be the only one that holds a write acknowledged at level one.
 *
 * Page by page it asks the new members to compare; only what one of them lacks is sent.
 *
 *   who is active? ─majority─▶ OWN page ─▶ COMPARE ──all have it──▶ next page, at the end: release
 *                                             └─lack something─▶ PUSH in batches ─▶ next page
 *
 * Registers are not pushed: every active member has merged a majority of the old ones. A copy (copy.c) holds nothing
 * of its own. */
#include "dht/reconf.h"

static void next_page(struct agi_reconf *r);
static void push_batch(struct agi_reconf *r);

static void on_released(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_reconf *r = arg;

	r->job = 0;
	if (done->err != AGI_OK) /* refused: nothing of it was done */
		agi_slot_set_phase(d, r->s, AGI_VIEW_LEAVING);
	else
		agi_slot_set_copy(d, r->s, false), r->s->is_stale = false;
	d->move.stats.slots_out += done->err == AGI_OK;
	agi_reconf_finish(r, done->err != AGI_OK);
}

/* From now on nobody may take what is stored here for what this member held. */
static void release(struct agi_reconf *r)
{
	struct agi_slot released;
	uint8_t begin_key[4], end_key[4];
	struct agi_storage_op drop[2] = {
	    {AGI_DELETE_RANGE, AGI_CF_ITEMS, {(const char *)begin_key, 4}, {(const char *)end_key, 4}},
	    {AGI_DELETE_RANGE, AGI_CF_STRONG, {(const char *)begin_key, 4}, {(const char *)end_key, 4}}};

	agi_slot_range(r->s->view.slot, begin_key, end_key);
	agi_slot_set_phase(r->d, r->s, AGI_VIEW_FORWARD);
	released = *r->s;
	released.is_copy = released.is_stale = false;
	r->job = agi_slot_save(r->d, &released, drop, 2, on_released, r);
	if (r->job)
		return;
	agi_slot_set_phase(r->d, r->s, AGI_VIEW_LEAVING);
	agi_reconf_finish(r, true);
}

static void set(struct agi_buf *b, struct agi_str s)
{
	agi_buf_reset(b);
	agi_buf_put_str(b, s);
}

/* Nothing more is to be sent of this page. */
static void page_done(struct agi_reconf *r)
{
	if (!r->end.n) {
		release(r);
		return;
	}
	set(&r->cursor, agi_buf_str(&r->end));
	if (r->cursor.err)
		agi_reconf_finish(r, true);
	else
		next_page(r);
}

/* --- pushing what is lacking ------------------------------------------------------------------------- */

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
		push_batch(r);
	else
		page_done(r);
}

/* The same request to every new member; fn counts in r->g. */
static void ask_members(struct agi_reconf *r, struct agi_msg *m, agi_rpc_fn *fn)
{
	struct agi_dht *d = r->d;
	const struct agi_view *v = &r->s->view;

	m->slot = v->slot;
	m->epoch = v->epoch;
	agi_gather_init(&r->g, v->n_members, agi_majority(v->n_members));
	for (uint32_t i = 0; i < v->n_members; i++) {
		struct agi_peer to = agi_hosts_peer(d, &v->members[i]);
		uint64_t rpc = agi_rpc_ask(d, &to, AGI_TRAFFIC_BULK, m, 5 * AGI_RPC_TIMEOUT_MS, fn, r, i);

		if (rpc)
			agi_gather_asked(&r->g, i, rpc);
		else
			agi_gather_answered(&r->g, i, AGI_GATHER_SILENT);
	}
	if (agi_gather_is_quiet(&r->g))
		agi_reconf_finish(r, true);
}

static bool is_lacking(const struct agi_reconf *r, struct agi_str key)
{
	struct agi_cur c = agi_cur_of(agi_buf_str(&r->lack));
	struct agi_str k, version;

	while (agi_index_next(&c, &k, &version))
		if (agi_str_eq(k, key))
			return true;
	return false;
}

static void on_batch(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_reconf *r = arg;
	struct agi_item items[AGI_BATCH_ITEMS];
	struct agi_msg m = {.kind = AGI_MSG_WRITE, .items = items, .is_transfer = true};
	bool is_bad = done->err != AGI_OK || done->n > AGI_BATCH_ITEMS;

	r->job = 0;
	for (size_t i = 0; !is_bad && i < done->n; i++) {
		if (!is_lacking(r, done->kv[i].key))
			continue;
		is_bad = agi_item_decode(&items[m.n_items++], done->kv[i].key, done->kv[i].value) != AGI_OK;
		d->move.stats.bytes_out += done->kv[i].key.n + done->kv[i].value.n;
	}
	r->has_more = done->has_more && done->n > 0;
	if (!is_bad && r->has_more) {
		set(&r->cursor, done->kv[done->n - 1].key);
		agi_buf_u8(&r->cursor, 0); /* the next key after it */
	}
	if (is_bad || r->cursor.err)
		agi_reconf_finish(r, true);
	else if (m.n_items)
		ask_members(r, &m, on_pushed);
	else if (r->has_more)
		push_batch(r);
	else
		page_done(r);
}

static void scan(struct agi_reconf *r, struct agi_storage_req *req, agi_job_fn *fn)
{
	uint8_t begin_key[4], end_key[4];

	agi_slot_range(r->s->view.slot, begin_key, end_key);
	req->kind = AGI_STORAGE_SCAN;
	req->cf = AGI_CF_ITEMS;
	req->begin = r->cursor.n ? agi_buf_str(&r->cursor) : (struct agi_str){(const char *)begin_key, 4};
	req->end = r->end.n ? agi_buf_str(&r->end) : (struct agi_str){(const char *)end_key, 4};
	r->job = agi_job_submit(r->d, req, fn, r);
	if (!r->job)
		agi_reconf_finish(r, true);
}

static void push_batch(struct agi_reconf *r)
{
	struct agi_storage_req req = {.max_items = AGI_BATCH_ITEMS, .max_bytes = AGI_PAGE_BYTES};

	scan(r, &req, on_batch);
}

/* --- comparing --------------------------------------------------------------------------------------- */

/* Adds to r->lack what this member does not have, or has older. Both lists are in order. */
static void take_index(struct agi_reconf *r, struct agi_str theirs)
{
	struct agi_cur a = agi_cur_of(agi_buf_str(&r->own)), b = agi_cur_of(theirs);
	struct agi_str ak, av, bk = {NULL, 0}, bv = {NULL, 0};
	bool has_b = agi_index_next(&b, &bk, &bv);

	while (agi_index_next(&a, &ak, &av)) {
		while (has_b && agi_str_cmp(bk, ak) < 0)
			has_b = agi_index_next(&b, &bk, &bv);
		if (!has_b || !agi_str_eq(ak, bk) || agi_str_cmp(bv, av) < 0)
			agi_index_put(&r->lack, ak, av);
	}
}

static void on_index(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                     const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_reconf *r = arg;
	bool is_yes = err == AGI_OK && m->kind == AGI_MSG_SLOT_INDEX && m->status == AGI_OK &&
	              m->phase == AGI_VIEW_ACTIVE && (m->has_item || !m->has_more);

	(void)d, (void)from;
	/* one that holds more than fits into its answer: all we have is sent, which is never wrong */
	if (err == AGI_OK && m->kind == AGI_MSG_SLOT_INDEX && m->status == AGI_OK && m->has_more &&
	    m->phase == AGI_VIEW_ACTIVE) {
		is_yes = true;
		take_index(r, (struct agi_str){NULL, 0});
	} else if (is_yes && !m->has_item) {
		take_index(r, m->blob);
	}
	agi_gather_answered(&r->g, which, is_yes ? AGI_GATHER_YES : AGI_GATHER_SILENT);
	if (!agi_gather_is_quiet(&r->g))
		return;
	if (agi_gather_outcome(&r->g) != AGI_GATHER_WON || r->lack.err)
		agi_reconf_finish(r, true);
	else if (r->lack.n)
		push_batch(r);
	else
		page_done(r);
}

static void on_own(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_reconf *r = arg;
	struct agi_msg m = {.kind = AGI_MSG_SLOT_COMPARE};

	(void)d;
	r->job = 0;
	for (size_t i = 0; done->err == AGI_OK && i < done->n; i++)
		agi_index_put(&r->own, done->kv[i].key, done->kv[i].value);
	if (done->err == AGI_OK && done->has_more && done->n > 0) {
		agi_buf_put_str(&r->end, done->kv[done->n - 1].key);
		agi_buf_u8(&r->end, 0);
	}
	if (done->err != AGI_OK || r->own.err || r->end.err) {
		agi_reconf_finish(r, true);
		return;
	}
	if (done->n == 0) {
		release(r);
		return;
	}
	agi_index_hash(&m.target, agi_buf_str(&r->own));
	m.cursor = agi_buf_str(&r->cursor);
	m.end = agi_buf_str(&r->end);
	ask_members(r, &m, on_index);
}

static void next_page(struct agi_reconf *r)
{
	struct agi_storage_req req = {.max_items = AGI_COMPARE_ITEMS, .max_bytes = AGI_PAGE_BYTES / 2,
	                              .value_bytes = AGI_VERSION_BYTES};

	agi_buf_reset(&r->own);
	agi_buf_reset(&r->lack);
	agi_buf_reset(&r->end);
	scan(r, &req, on_own);
}

/* --- begin ------------------------------------------------------------------------------------------- */

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
	if (agi_gather_outcome(&r->g) != AGI_GATHER_WON)
		agi_reconf_finish(r, true);
	else if (s->is_copy)
		release(r);
	else
		next_page(r);
}

void agi_reconf_leave(struct agi_dht *d, struct agi_slot *s)
{
	struct agi_reconf *r = agi_reconf_begin(d, s, AGI_WORK_LEAVE);

	if (!r)
		return;
	if (AGI_MUTANT(RELEASE_EARLY)) {
		release(r);
		return;
	}
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
