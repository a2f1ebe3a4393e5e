/* SPDX-License-Identifier: Apache-2.0 */
#include "dht/page.h"

#include <stdlib.h>

enum { PAGE_SLOT_BYTES = 20 };

/* --- the messages' lists --------------------------------------------------------------------------- */
static void put_short(struct agi_buf *b, struct agi_str s)
{
	agi_buf_u16(b, (uint16_t)s.n);
	agi_buf_put_str(b, s);
}

static struct agi_str take_short(struct agi_cur *c) { return agi_cur_take(c, agi_cur_u16(c)); }

void agi_page_ask_put(struct agi_buf *b, const struct agi_page_ask *ask)
{
	agi_buf_u8(b, (uint8_t)ask->what);
	agi_buf_u8(b, ask->is_exact);
	put_short(b, ask->ns);
	put_short(b, ask->prefix);
	put_short(b, ask->after);
	agi_buf_u32(b, ask->max_items);
	agi_buf_u32(b, ask->max_bytes);
	agi_buf_u32(b, ask->n_slots);
	for (uint32_t i = 0; i < ask->n_slots; i++) {
		agi_buf_u32(b, ask->slots[i].slot);
		agi_buf_u64(b, ask->slots[i].epoch);
		agi_buf_u64(b, ask->slots[i].since);
	}
}

/* Leaves *slots at the list of n_slots, each PAGE_SLOT_BYTES. */
static enum agi_err take_ask(struct agi_page_ask *ask, struct agi_cur *slots, struct agi_str blob)
{
	struct agi_cur c = agi_cur_of(blob);

	*ask = (struct agi_page_ask){.what = (enum agi_page_what)agi_cur_u8(&c), .is_exact = agi_cur_u8(&c) != 0};
	ask->ns = take_short(&c);
	ask->prefix = take_short(&c);
	ask->after = take_short(&c);
	ask->max_items = agi_cur_u32(&c);
	ask->max_bytes = agi_cur_u32(&c);
	ask->n_slots = agi_cur_u32(&c);
	*slots = c;
	if (c.bad || (unsigned)ask->what > AGI_PAGE_LAST || c.n != (size_t)ask->n_slots * PAGE_SLOT_BYTES ||
	    ask->n_slots == 0 || (ask->is_exact && ask->prefix.n == 0))
		return AGI_E_INVALID;
	if (ask->ns.n > AGI_NAMESPACE_MAX || ask->prefix.n > AGI_KEY_MAX || ask->after.n > AGI_KEY_MAX ||
	    ask->n_slots > 1u << AGI_SLOT_BITS_MAX)
		return AGI_E_TOO_LARGE;
	return AGI_OK;
}

static struct agi_page_slot take_slot(struct agi_cur *c)
{
	struct agi_page_slot s = {.slot = agi_cur_u32(c)};

	s.epoch = agi_cur_u64(c);
	s.since = agi_cur_u64(c);
	return s;
}

enum agi_err agi_page_open(struct agi_page *p, const struct agi_msg *m)
{
	struct agi_cur c = agi_cur_of(m->blob);
	struct agi_str refused = agi_cur_blob(&c);

	*p = (struct agi_page){.refused = agi_cur_of(refused), .has_more = m->has_more};
	if (p->has_more) {
		p->last_slot = agi_cur_u32(&c);
		p->last_key = take_short(&c);
	}
	p->records = c;
	return c.bad || refused.n % 5 != 0 ? AGI_E_MALFORMED : AGI_OK;
}

bool agi_page_next_refused(struct agi_page *p, uint32_t *slot, enum agi_err *why)
{
	if (p->refused.n == 0)
		return false;
	*slot = agi_cur_u32(&p->refused);
	*why = (enum agi_err)agi_cur_u8(&p->refused);
	if ((unsigned)*why >= AGI_E_COUNT || *why == AGI_OK)
		*why = AGI_E_INTERNAL;
	return true;
}

bool agi_page_next(struct agi_page *p, struct agi_page_record *out)
{
	if (p->records.n == 0)
		return false;
	out->slot = agi_cur_u32(&p->records);
	out->is_cut = agi_cur_u8(&p->records) != 0;
	out->bytes = agi_cur_u32(&p->records);
	out->key = take_short(&p->records);
	out->record = take_short(&p->records);
	return !p->records.bad;
}

static void put_record(struct agi_buf *b, const struct agi_page_record *r)
{
	agi_buf_u32(b, r->slot);
	agi_buf_u8(b, r->is_cut);
	agi_buf_u32(b, r->bytes);
	put_short(b, r->key);
	put_short(b, r->record);
}

static uint64_t be64(const char *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | (uint8_t)p[i];
	return v;
}

uint64_t agi_page_position(bool is_strong, struct agi_str record)
{
	if (record.n < AGI_VERSION_BYTES)
		return 0;
	return is_strong ? be64(record.p + 8) << 32 | (uint32_t)be64(record.p + 32) : be64(record.p);
}

/* --- a member's answer -------------------------------------------------------------------------------- */
struct answering {
	struct agi_peer to;
	uint64_t rpc_id;
	bool is_strong;
	enum agi_page_what what;
	size_t skip;            /* bytes of a stored key before the client's */
	struct agi_buf refused; /* the answer's list */
	struct agi_buf heads;   /* slots that are read, be32 each … */
	uint64_t *since;        /* … and from which position on */
};

static void free_answering(struct answering *a)
{
	if (!a)
		return;
	agi_buf_free(&a->refused);
	agi_buf_free(&a->heads);
	free(a->since);
	free(a);
}

static void send_answer(struct agi_dht *d, struct answering *a, enum agi_err status, struct agi_buf *page,
                        bool has_more)
{
	struct agi_msg out = {.kind = AGI_MSG_SCANNED, .status = status, .has_more = has_more};

	if (status == AGI_OK && page->err)
		out = (struct agi_msg){.kind = AGI_MSG_SCANNED, .status = page->err};
	else if (status == AGI_OK)
		out.blob = agi_buf_str(page);
	agi_answer_on(d, AGI_TRAFFIC_BULK, &a->to, a->rpc_id, &out);
	free_answering(a);
}

/* May this node answer for the slot? */
static enum agi_err admit(struct agi_dht *d, const struct agi_peer *from, const struct agi_page_slot *in)
{
	struct agi_slot *s = agi_slot_find(d, in->slot);

	if (s && s->view.epoch == in->epoch && s->phase == AGI_VIEW_ACTIVE)
		return AGI_OK;
	return agi_view_admit(d, from, in->slot, in->epoch, &(struct agi_msg){.kind = AGI_MSG_SCANNED});
}

/* Sorts the slots asked for into those that are read and those that are refused. */
static enum agi_err sort_slots(struct agi_dht *d, struct answering *a, const struct agi_peer *from,
                               struct agi_page_ask *ask, struct agi_cur slots)
{
	uint32_t last = 0, n = 0;

	for (uint32_t i = 0; i < ask->n_slots; i++) {
		struct agi_page_slot s = take_slot(&slots);
		enum agi_err e = i && s.slot <= last ? AGI_E_INVALID : admit(d, from, &s);

		if (e == AGI_E_INVALID)
			return e;
		last = s.slot;
		if (e == AGI_OK) {
			agi_buf_u32(&a->heads, s.slot);
			a->since[n++] = s.since;
			continue;
		}
		agi_buf_u32(&a->refused, s.slot);
		agi_buf_u8(&a->refused, (uint8_t)e);
		if (i == 0)
			ask->after = (struct agi_str){NULL, 0}; /* was meant for this slot */
	}
	return a->heads.err ? a->heads.err : a->refused.err;
}

static uint64_t since_of(const struct answering *a, uint32_t slot)
{
	size_t lo = 0, hi = a->heads.n / 4;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		struct agi_cur c = {a->heads.p + 4 * mid, 4, false};
		uint32_t v = agi_cur_u32(&c);

		if (v == slot)
			return a->since[mid];
		if (v < slot)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 0;
}

static struct agi_page_record record_of(const struct answering *a, const struct agi_kv *kv)
{
	struct agi_cur c = agi_cur_of(kv->key);
	struct agi_page_record r = {.slot = agi_cur_u32(&c), .record = kv->value, .bytes = (uint32_t)kv->value.n};

	r.key = (struct agi_str){kv->key.p + a->skip, kv->key.n > a->skip ? kv->key.n - a->skip : 0};
	r.is_cut = a->what != AGI_PAGE_RECORDS || kv->value.n > AGI_PAGE_INLINE;
	if (r.is_cut && r.record.n > AGI_RECORD_HEAD_MAX)
		r.record.n = AGI_RECORD_HEAD_MAX;
	return r;
}

static void put_records(struct agi_buf *page, const struct answering *a, const struct agi_storage_done *done)
{
	struct agi_page_record top = {.slot = UINT32_MAX};

	for (size_t i = 0; i < done->n; i++) {
		struct agi_page_record r = record_of(a, &done->kv[i]);
		uint64_t at = agi_page_position(a->is_strong, r.record);

		if (at <= since_of(a, r.slot))
			continue;
		if (a->what != AGI_PAGE_LAST) {
			put_record(page, &r);
			continue;
		}
		if (top.slot != r.slot || at > agi_page_position(a->is_strong, top.record)) {
			if (top.slot != r.slot && top.slot != UINT32_MAX)
				put_record(page, &top);
			top = r;
			top.key.n = 0;
		}
	}
	if (top.slot != UINT32_MAX)
		put_record(page, &top);
}

static void on_read(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct answering *a = arg;
	struct agi_buf page;

	agi_buf_init(&page, AGI_BLOB_MAX);
	agi_buf_blob(&page, agi_buf_str(&a->refused));
	if (done->err == AGI_OK && done->has_more && done->n) {
		struct agi_page_record last = record_of(a, &done->kv[done->n - 1]);

		agi_buf_u32(&page, last.slot);
		put_short(&page, last.key);
	}
	if (done->err == AGI_OK)
		put_records(&page, a, done);
	send_answer(d, a, done->err, &page, done->has_more);
	agi_buf_free(&page);
}

/* The least text that no text with this beginning reaches; b ends up empty when there is none. */
static void put_end_of_prefix(struct agi_buf *b, struct agi_str prefix)
{
	while (prefix.n && (uint8_t)prefix.p[prefix.n - 1] == 0xff)
		prefix.n--;
	agi_buf_put_str(b, prefix);
	if (b->n)
		b->p[b->n - 1]++;
}

/* Stored keys without their slot: namespace length, namespace, key. */
static void put_rest(struct agi_buf *b, struct agi_str ns, struct agi_str key)
{
	agi_buf_u8(b, (uint8_t)ns.n);
	agi_buf_put_str(b, ns);
	agi_buf_put_str(b, key);
}

static enum agi_err read_storage(struct agi_dht *d, struct answering *a, const struct agi_page_ask *ask)
{
	bool is_whole = ask->what == AGI_PAGE_RECORDS;
	uint32_t items_max = is_whole ? AGI_PAGE_ITEMS : AGI_PAGE_KEYS;
	struct agi_buf begin, end, after;
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN, .cf = a->is_strong ? AGI_CF_STRONG : AGI_CF_ITEMS,
	                              .heads = agi_buf_str(&a->heads), .max_bytes = AGI_PAGE_BYTES,
	                              .value_bytes = is_whole ? 0 : AGI_RECORD_HEAD_MAX};
	enum agi_err e;

	agi_buf_init(&begin, 0);
	agi_buf_init(&end, 0);
	agi_buf_init(&after, 0);
	put_rest(&begin, ask->ns, ask->prefix);
	if (ask->is_exact) {
		put_rest(&end, ask->ns, ask->prefix);
		agi_buf_u8(&end, 0);
	} else {
		put_end_of_prefix(&end, agi_buf_str(&begin));
	}
	if (ask->after.n)
		put_rest(&after, ask->ns, ask->after);
	req.begin = agi_buf_str(&begin);
	req.end = agi_buf_str(&end);
	req.after = agi_buf_str(&after);
	req.max_items = ask->max_items && ask->max_items < items_max ? ask->max_items : items_max;
	if (ask->max_bytes && ask->max_bytes < req.max_bytes)
		req.max_bytes = ask->max_bytes;
	e = begin.err ? begin.err : end.err ? end.err : after.err;
	if (e == AGI_OK && !agi_job_submit(d, &req, on_read, a))
		e = AGI_E_NOMEM;
	agi_buf_free(&begin);
	agi_buf_free(&end);
	agi_buf_free(&after);
	return e;
}

static struct answering *new_answering(const struct agi_peer *from, const struct agi_msg *m,
                                       const struct agi_page_ask *ask)
{
	struct answering *a = calloc(1, sizeof *a);

	if (!a)
		return NULL;
	*a = (struct answering){.to = *from, .rpc_id = m->rpc_id, .is_strong = m->is_strong, .what = ask->what,
	                        .skip = AGI_HEAD_BYTES + 1 + ask->ns.n};
	agi_buf_init(&a->refused, 0);
	agi_buf_init(&a->heads, 0);
	a->since = calloc(ask->n_slots, sizeof *a->since);
	if (a->since)
		return a;
	free_answering(a);
	return NULL;
}

void agi_page_on_scan(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_SCANNED};
	struct answering *a = NULL;
	struct agi_page_ask ask;
	struct agi_cur slots;

	out.status = take_ask(&ask, &slots, m->blob);
	if (out.status == AGI_OK) {
		a = new_answering(from, m, &ask);
		out.status = a ? sort_slots(d, a, from, &ask, slots) : AGI_E_NOMEM;
	}
	if (out.status == AGI_OK && a->heads.n == 0) {
		struct agi_storage_done nothing = {.err = AGI_OK};

		on_read(d, a, &nothing);
		return;
	}
	if (out.status == AGI_OK)
		out.status = read_storage(d, a, &ask);
	if (out.status == AGI_OK)
		return;
	free_answering(a);
	agi_answer(d, from, m, &out);
}
