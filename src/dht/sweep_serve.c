/* SPDX-License-Identifier: Apache-2.0
 * A member's part in a sweep: raises its floor, says what it holds, drops what all hold. */
#include <stdlib.h>

#include "dht/sweep.h"

enum { SERVES_MAX = 4 };

struct wanted {
	struct agi_merkle_hash hash;
	size_t at; /* its place in the list */
};

struct agi_sweep_serve {
	struct agi_dht *d;
	struct agi_peer to;
	uint64_t rpc_id;
	struct agi_sweep_scope scope;
	uint32_t slot;
	bool is_final, has_more;
	struct wanted *want; /* sorted */
	size_t n;
	uint8_t held[AGI_SWEEP_RECORDS / 8];
	struct agi_buf begin, end;
	struct agi_timer pace;
	TAILQ_ENTRY(agi_sweep_serve) entry;
};

static void end_serve(struct agi_sweep_serve *v)
{
	agi_timer_clear(&v->d->timers, &v->pace);
	TAILQ_REMOVE(&v->d->sweeps.serves, v, entry);
	v->d->sweeps.n_serves--;
	agi_buf_free(&v->begin);
	agi_buf_free(&v->end);
	free(v->want);
	free(v);
}

void agi_sweep_serves_free(struct agi_dht *d)
{
	while (!TAILQ_EMPTY(&d->sweeps.serves))
		end_serve(TAILQ_FIRST(&d->sweeps.serves));
}

static void answer(struct agi_sweep_serve *v, enum agi_err status)
{
	struct agi_msg out = {.kind = AGI_MSG_SWEPT, .slot = v->slot, .status = status, .floor = v->scope.floor,
	                      .hashes = {(const char *)v->held, (v->n + 7) / 8}};

	agi_answer_on(v->d, AGI_TRAFFIC_CONTROL, &v->to, v->rpc_id, &out);
	end_serve(v);
}

static int cmp_wanted(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct agi_merkle_hash));
}

static const struct wanted *find(const struct agi_sweep_serve *v, const struct agi_kv *kv)
{
	struct wanted key;

	if (!agi_sweep_is_dead(&v->scope, kv))
		return NULL;
	agi_sweep_hash(v->d, &key.hash, kv);
	return bsearch(&key, v->want, v->n, sizeof key, cmp_wanted);
}

static void go_on(struct agi_sweep_serve *v, uint64_t bytes)
{
	if (v->has_more)
		agi_timer_set(&v->d->timers, &v->pace, agi_repair_pace(v->d, bytes));
	else
		answer(v, AGI_OK);
}

static void on_dropped(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_sweep_serve *v = arg;

	(void)d;
	if (done->err != AGI_OK)
		answer(v, done->err);
	else
		go_on(v, 0);
}

/* Drops what of this page all members hold. False when there is nothing of it, or no memory. */
static bool drop(struct agi_sweep_serve *v, const struct agi_storage_done *done)
{
	struct agi_storage_op *ops = calloc(done->n + 1, sizeof *ops);
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = ops};
	bool is_sent = false;

	for (size_t i = 0; ops && i < done->n; i++)
		if (find(v, &done->kv[i]))
			ops[req.n_ops++] = (struct agi_storage_op){
			    AGI_DELETE_IF, agi_sweep_cf(&v->scope), done->kv[i].key, {done->kv[i].value.p, AGI_VERSION_BYTES}};
	if (req.n_ops) {
		agi_slot_find(v->d, v->slot)->sweeps++; /* answers to what was asked before are void */
		is_sent = agi_job_submit(v->d, &req, on_dropped, v) != 0;
	}
	free(ops);
	return is_sent;
}

static void on_page(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_sweep_serve *v = arg;
	uint64_t bytes = 0;

	if (done->err != AGI_OK || !agi_repair_may(d, v->slot, v->scope.epoch, &v->to.id)) {
		answer(v, done->err != AGI_OK ? done->err : AGI_E_SEALED);
		return;
	}
	for (size_t i = 0; i < done->n; i++) {
		const struct wanted *w = find(v, &done->kv[i]);

		if (w)
			v->held[w->at / 8] |= (uint8_t)(1u << w->at % 8);
		bytes += done->kv[i].key.n + done->kv[i].value.n;
	}
	v->has_more = done->has_more && done->n;
	if (v->has_more) {
		agi_buf_reset(&v->begin);
		agi_buf_put_str(&v->begin, done->kv[done->n - 1].key);
		agi_buf_u8(&v->begin, 0);
	}
	if (!v->is_final || !drop(v, done))
		go_on(v, bytes);
}

static void read_page(struct agi_sweep_serve *v)
{
	struct agi_storage_req req = {.kind = AGI_STORAGE_SCAN, .cf = agi_sweep_cf(&v->scope),
	                              .begin = agi_buf_str(&v->begin), .end = agi_buf_str(&v->end),
	                              .max_items = AGI_REPAIR_SCAN_ITEMS, .max_bytes = AGI_PAGE_BYTES};

	if (v->begin.err || v->end.err || !agi_job_submit(v->d, &req, on_page, v))
		answer(v, AGI_E_NOMEM);
}

static void on_pace(struct agi_dht *d, void *arg)
{
	(void)d;
	read_page(arg);
}

static void on_raised(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct agi_sweep_serve *v = arg;

	(void)d;
	if (done->err != AGI_OK)
		answer(v, done->err);
	else
		read_page(v);
}

static struct agi_sweep_serve *new_serve(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_sweep_serve *v = calloc(1, sizeof *v);
	size_t n = m->hashes.n / AGI_MERKLE_BYTES;
	struct wanted *want = calloc(n + 1, sizeof *want);

	if (!v || !want) {
		free(v);
		free(want);
		return NULL;
	}
	v->d = d;
	v->to = *from;
	v->rpc_id = m->rpc_id;
	v->slot = m->slot;
	v->scope = (struct agi_sweep_scope){m->is_strong, m->epoch, m->floor, m->ballot};
	v->is_final = m->is_final;
	for (size_t i = 0; i < n; i++) {
		memcpy(want[i].hash.b, m->hashes.p + i * AGI_MERKLE_BYTES, AGI_MERKLE_BYTES);
		want[i].at = i;
	}
	qsort(want, n, sizeof *want, cmp_wanted);
	v->want = want;
	v->n = n;
	agi_buf_init(&v->begin, 0);
	agi_buf_init(&v->end, 0);
	agi_buf_put_str(&v->begin, m->cursor);
	agi_buf_put_str(&v->end, m->end);
	v->pace = (struct agi_timer){.fn = on_pace, .arg = v};
	TAILQ_INSERT_TAIL(&d->sweeps.serves, v, entry);
	d->sweeps.n_serves++;
	return v;
}

static bool is_sane(const struct agi_msg *m)
{
	uint8_t begin[4], end[4];

	agi_slot_range(m->slot, begin, end);
	return agi_str_cmp(m->cursor, (struct agi_str){(const char *)begin, 4}) >= 0 &&
	       agi_str_cmp(m->end, (struct agi_str){(const char *)end, 4}) <= 0 &&
	       m->hashes.n % AGI_MERKLE_BYTES == 0 && m->hashes.n <= AGI_SWEEP_RECORDS * AGI_MERKLE_BYTES;
}

/* The first step needs a floor above ours, and not above what our own clock calls old; the second, the floor that the
 * first one raised. Of registers, writes below the ballot must be refused
 * here: its promise is on our disk, or its epoch is over. */
static enum agi_err check_scope(const struct agi_dht *d, const struct agi_slot *s, const struct agi_msg *m)
{
	uint64_t floor_ms = m->floor >> AGI_HLC_COUNTER_BITS;

	if (m->is_strong && m->floor > m->epoch)
		return AGI_E_INVALID;
	if (m->is_strong)
		return m->floor < m->epoch || agi_ballot_cmp(&m->ballot, &s->strong_saved) <= 0 ? AGI_OK : AGI_E_EXISTS;
	if (m->is_final)
		return m->floor <= s->floor ? AGI_OK : AGI_E_INVALID;
	if (m->floor <= s->floor)
		return AGI_E_EXISTS;
	return floor_ms + d->cfg.tombstone_grace_ms <= d->now.wall_ms + d->cfg.max_skew_ms ? AGI_OK
	                                                                                   : AGI_E_CLOCK_SKEW;
}

static enum agi_err admit(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m,
                          struct agi_msg *out)
{
	enum agi_err e = agi_view_admit(d, from, m->slot, m->epoch, out);
	struct agi_slot *s = agi_slot_find(d, m->slot);

	if (e != AGI_OK)
		return e;
	if (d->is_read_only)
		return AGI_E_READ_ONLY;
	if (!agi_view_has(&s->view, &from->id))
		return AGI_E_NOT_MEMBER;
	if (!is_sane(m))
		return AGI_E_INVALID;
	out->floor = s->floor;
	return d->sweeps.n_serves < SERVES_MAX ? check_scope(d, s, m) : AGI_E_FULL;
}

void agi_sweep_on_sweep(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_SWEPT, .slot = m->slot};
	struct agi_slot *s = agi_slot_find(d, m->slot);
	struct agi_sweep_serve *v;

	out.status = admit(d, from, m, &out);
	if (out.status == AGI_OK) {
		v = new_serve(d, from, m);
		if (v && (m->is_final || m->is_strong)) {
			read_page(v);
			return;
		}
		if (v) {
			s->floor = m->floor;
			if (agi_slot_save(d, s, NULL, 0, on_raised, v))
				return;
			end_serve(v);
		}
		out.status = AGI_E_NOMEM;
	}
	agi_answer(d, from, m, &out);
}
