/* SPDX-License-Identifier: Apache-2.0
 * What a disk may give back at start: records of META, VIEWS, REGISTRY and HINTS, each a byte for the column family, a byte
 * for the key's length, two for the value's. A record is taken or refused with a reason; a node whose records
 * were all taken starts, and keeps its invariants while its disk answers with the same records. */
#include <assert.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/hash.h"
#include "dht/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { RECORDS_MAX = 16, JOBS_MAX = 64, STEPS = 40, SLOT_BITS = 4, RANGE_BYTES = 64 };

struct disk {
	struct agi_kv kv[RECORDS_MAX]; /* by key, each once in its family */
	enum agi_cf cf[RECORDS_MAX];
	size_t n;
	/* asked and not yet answered */
	struct job {
		uint64_t id;
		enum agi_storage_kind kind;
		enum agi_cf cf;
		char begin[RANGE_BYTES], end[RANGE_BYTES]; /* of a scan; what is longer finds nothing */
		size_t begin_bytes, end_bytes;
	} jobs[JOBS_MAX];
	size_t n_jobs;
};

/* --- effects --------------------------------------------------------------------------------------------- */
static enum agi_err on_send(void *ctx, const struct agi_peer *to, enum agi_traffic t, const struct agi_msg *m)
{
	(void)ctx, (void)to, (void)t, (void)m;
	return AGI_OK; /* lost on the way */
}

static void on_store(void *ctx, uint64_t id, const struct agi_storage_req *req)
{
	struct disk *k = ctx;
	struct job *j;

	if (k->n_jobs == JOBS_MAX)
		return; /* a disk so slow that this is never answered */
	j = &k->jobs[k->n_jobs++];
	*j = (struct job){.id = id, .kind = req->kind, .cf = req->cf};
	if (req->kind != AGI_STORAGE_SCAN || req->heads.n || req->begin.n > RANGE_BYTES || req->end.n > RANGE_BYTES)
		return;
	j->begin_bytes = req->begin.n;
	j->end_bytes = req->end.n;
	if (req->begin.n)
		memcpy(j->begin, req->begin.p, req->begin.n);
	if (req->end.n)
		memcpy(j->end, req->end.p, req->end.n);
}

static void on_reply(void *ctx, uint64_t id, const struct agi_result *r) { (void)ctx, (void)id, (void)r; }
static void on_note(void *ctx, const struct agi_note *n) { (void)ctx, (void)n; }

static void answer(struct agi_dht *d, struct disk *k, struct agi_now now)
{
	struct job job = k->jobs[0];
	struct agi_kv found[RECORDS_MAX];
	struct agi_storage_done done = {.err = job.kind == AGI_STORAGE_GET ? AGI_E_NOT_FOUND : AGI_OK, .kv = found};

	k->n_jobs--;
	memmove(k->jobs, k->jobs + 1, k->n_jobs * sizeof *k->jobs);
	for (size_t i = 0; job.end_bytes && i < k->n; i++)
		if (k->cf[i] == job.cf && agi_str_cmp(k->kv[i].key, (struct agi_str){job.begin, job.begin_bytes}) >= 0 &&
		    agi_str_cmp(k->kv[i].key, (struct agi_str){job.end, job.end_bytes}) < 0)
			found[done.n++] = k->kv[i];
	agi_dht_on_stored(d, now, job.id, &done);
}

/* --- a node ---------------------------------------------------------------------------------------------- */
static struct agi_dht *new_node(struct disk *k)
{
	static const struct agi_dht_effects fx = {.send = on_send, .store = on_store, .reply = on_reply, .note = on_note};
	uint8_t seed[AGI_SEED_BYTES] = {7}, pub[AGI_PUBKEY_BYTES];
	struct agi_dht_cfg cfg = {.seed = 1, .slot_bits = SLOT_BITS, .virtual_nodes = 4, .is_first_listed = true};
	struct agi_dht *d;

	agi_keypair_of_seed(seed, pub, cfg.seckey);
	agi_id_of_pubkey(&cfg.self.id, pub);
	cfg.self.incarnation = 3;
	cfg.self.weight_milli = 1000;
	cfg.self.addr.ip[15] = 1;
	cfg.self.addr.port = 5000;
	cfg.bootstrap[0] = cfg.self.addr;
	cfg.n_bootstrap = 1;
	if (agi_dht_new(&cfg, &fx, k, &d))
		abort();
	return d;
}

/* In its place; a key that is there already is passed over. */
static void put(struct disk *k, enum agi_cf cf, struct agi_kv kv)
{
	size_t i = k->n;

	for (size_t j = 0; j < k->n; j++)
		if (k->cf[j] == cf && agi_str_eq(k->kv[j].key, kv.key))
			return;
	for (; i > 0 && agi_str_cmp(k->kv[i - 1].key, kv.key) > 0; i--) {
		k->kv[i] = k->kv[i - 1];
		k->cf[i] = k->cf[i - 1];
	}
	k->kv[i] = kv;
	k->cf[i] = cf;
	k->n++;
}

static bool read_records(struct agi_cur *in, struct disk *k)
{
	static const enum agi_cf families[] = {AGI_CF_META, AGI_CF_VIEWS, AGI_CF_REGISTRY, AGI_CF_HINTS};

	while (in->n && k->n < RECORDS_MAX) {
		enum agi_cf cf = families[agi_cur_u8(in) % 4];
		size_t key = agi_cur_u8(in), value = agi_cur_u16(in);

		struct agi_kv kv;

		if (in->bad || key + value > in->n)
			return false;
		kv.key = agi_cur_take(in, key);
		kv.value = agi_cur_take(in, value);
		put(k, cf, kv);
	}
	return true;
}

static void run(struct agi_dht *d, struct disk *k)
{
	struct agi_now now = {1000000, 1700000000000};

	agi_dht_start(d, now);
	for (int i = 0; i < STEPS; i++) {
		uint64_t next = agi_dht_next_deadline(d);

		agi_dht_check(d);
		if (k->n_jobs) {
			answer(d, k, now);
			continue;
		}
		if (next == AGI_NEVER)
			break;
		if (next > now.mono_us) {
			now.wall_ms += (next - now.mono_us) / 1000;
			now.mono_us = next;
		}
		agi_dht_tick(d, now);
	}
	agi_dht_stop(d, now);
	agi_dht_check(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct agi_cur in = {data, n, false};
	struct disk k = {.n = 0};
	struct agi_dht *d;
	bool is_taken = read_records(&in, &k);

	d = new_node(&k);
	for (size_t i = 0; i < k.n && is_taken; i++) {
		struct agi_why why = {""};

		is_taken = agi_dht_load(d, k.cf[i], k.kv[i].key, k.kv[i].value, &why) == AGI_OK;
		assert(is_taken || why.text[0]);
	}
	if (is_taken)
		run(d, &k);
	agi_dht_free(d);
	return 0;
}
