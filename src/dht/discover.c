/* SPDX-License-Identifier: Apache-2.0
 * Finding the instances of a service: the holders of its records are asked, signatures checked, and the
 * newest record of each instance kept in a cache. When no holder answers, the last known good answer is
 * given, marked stale; a registry that cannot be reached never empties the cache, and a host that has lost sight of
 * half the others, so may be cut off itself, keeps what it knew of them for AGI_PROVIDER_KEEP_MS, marked stale. */
#include <stdlib.h>

#include "dht/state.h"

enum { KNOWN_MAX = 256, ASK_TIMEOUT_MS = 500, FOLLOW_MS = 1000 };

struct waiter {
	uint64_t call_id;
	TAILQ_ENTRY(waiter) entry;
};

struct agi_known {
	struct agi_dht *d;
	char name[AGI_SERVICE_NAME_MAX + 1];
	struct agi_str service;
	struct agi_records records;  /* verified; expired ones stay until a holder has answered without them */
	uint64_t followed_us;        /* asked again until then; AGI_NEVER: for good */
	bool is_asking, has_asked;
	bool is_stale;               /* the last time nobody answered */
	uint32_t open, answered;
	uint64_t rpc[AGI_PROVIDER_HOLDERS];
	uint64_t used_us;
	uint64_t judged_us;          /* the last round's end: what had expired then is expired, so that all does not vanish
	                              * because this host slept */
	struct agi_timer refresh;
	TAILQ_HEAD(, waiter) waiters;
	UT_hash_handle hh;
};

static void ask(struct agi_known *k);

static bool is_followed(const struct agi_known *k) { return k->followed_us > k->d->now.mono_us; }

static void on_refresh(struct agi_dht *d, void *arg)
{
	(void)d;
	ask(arg);
}

static void forget(struct agi_known *k)
{
	struct agi_dht *d = k->d;
	struct waiter *w;

	for (int i = 0; i < AGI_PROVIDER_HOLDERS; i++)
		agi_rpc_cancel(d, k->rpc[i]);
	agi_timer_clear(&d->timers, &k->refresh);
	while ((w = TAILQ_FIRST(&k->waiters))) {
		TAILQ_REMOVE(&k->waiters, w, entry);
		free(w);
	}
	agi_records_free(&k->records);
	HASH_DEL(d->registry.known, k);
	d->registry.n_known--;
	free(k);
}

/* Makes room by forgetting what was asked for longest ago and nobody follows or waits for. */
static bool make_room(struct agi_dht *d)
{
	struct agi_known *k, *tmp, *oldest = NULL;

	if (d->registry.n_known < KNOWN_MAX)
		return true;
	HASH_ITER(hh, d->registry.known, k, tmp) {
		if (!is_followed(k) && !k->is_asking && (!oldest || k->used_us < oldest->used_us))
			oldest = k;
	}
	if (oldest)
		forget(oldest);
	return oldest != NULL;
}

static struct agi_known *find(const struct agi_dht *d, struct agi_str service)
{
	struct agi_known *k;

	HASH_FIND(hh, d->registry.known, service.p, service.n, k);
	return k;
}

static struct agi_known *get(struct agi_dht *d, struct agi_str service)
{
	struct agi_known *k = find(d, service);

	if (k)
		return k;
	if (!make_room(d) || !(k = calloc(1, sizeof *k)))
		return NULL;
	k->d = d;
	memcpy(k->name, service.p, service.n);
	k->service = (struct agi_str){k->name, service.n};
	k->is_stale = true; /* nobody has answered yet */
	k->refresh = (struct agi_timer){.fn = on_refresh, .arg = k};
	TAILQ_INIT(&k->waiters);
	HASH_ADD_KEYPTR(hh, d->registry.known, k->name, service.n, k);
	if (!k->hh.tbl) {
		free(k);
		return NULL;
	}
	d->registry.n_known++;
	return k;
}

/* --- listing ---------------------------------------------------------------------------------------- */

enum agi_choice agi_discover_judge(const struct agi_dht *d, const struct agi_record *r, bool is_stale)
{
	if (!r->p.is_healthy || r->p.is_withdrawn)
		return AGI_CHOICE_UNHEALTHY;
	if (agi_record_is_ghost(r) || agi_registry_is_ghost(d, &r->node, r->p.incarnation))
		return AGI_CHOICE_GHOST;
	if (!agi_hosts_is_up(d, &r->node))
		return AGI_CHOICE_DOWN;
	return is_stale || r->expires_us > d->now.mono_us ? AGI_CHOICE_NOT_MEASURED : AGI_CHOICE_EXPIRED;
}

const struct agi_records *agi_discover_records(const struct agi_dht *d, struct agi_str service, bool *is_stale)
{
	const struct agi_known *k = find(d, service);

	*is_stale = k && k->is_stale;
	return k ? &k->records : NULL;
}

/* KEPT: as last known good, only because this host doubts what it sees, or the instance's host has just come back. */
enum listing { UNLISTED, GOOD, STALE, KEPT };

static bool is_too_old(const struct agi_dht *d, const struct agi_record *r)
{
	return r->expires_us + (uint64_t)AGI_PROVIDER_KEEP_MS * 1000 < d->now.mono_us;
}

static enum listing judge_expired(const struct agi_known *k, const struct agi_record *r, bool is_in_doubt)
{
	const struct agi_host *h = agi_hosts_find(k->d, &r->node);
	bool is_back = h && agi_registry_is_recent(k->d, h->since_us, AGI_PROVIDER_TTL_MS); /* and will refresh it */

	if (r->expires_us > k->judged_us)
		return GOOD;
	return (is_in_doubt || is_back) && !is_too_old(k->d, r) ? KEPT : UNLISTED;
}

static enum listing judge_lost(const struct agi_known *k, const struct agi_record *r, bool is_in_doubt)
{
	const struct agi_host *h = is_in_doubt ? agi_hosts_find(k->d, &r->node) : NULL;

	return h && agi_registry_is_recent(k->d, h->since_us, AGI_PROVIDER_KEEP_MS) && !is_too_old(k->d, r) ? KEPT : UNLISTED;
}

static enum listing judge(const struct agi_known *k, const struct agi_record *r, bool is_in_doubt)
{
	switch (agi_discover_judge(k->d, r, k->is_stale)) {
	case AGI_CHOICE_NOT_MEASURED:
		return k->is_stale ? STALE : GOOD;
	case AGI_CHOICE_EXPIRED:
		return judge_expired(k, r, is_in_doubt);
	case AGI_CHOICE_DOWN:
		return judge_lost(k, r, is_in_doubt);
	default:
		return UNLISTED;
	}
}

static int cmp_instances(const void *a, const void *b)
{
	const struct agi_instance *x = a, *y = b;
	int c;

	if (x->is_stale != y->is_stale)
		return x->is_stale ? 1 : -1;
	if (x->rtt_us != y->rtt_us)
		return x->rtt_us < y->rtt_us ? -1 : 1;
	if (x->provider->load_milli != y->provider->load_milli)
		return x->provider->load_milli < y->provider->load_milli ? -1 : 1;
	c = agi_id_cmp(&x->node, &y->node);
	return c ? c : agi_str_cmp(x->provider->address, y->provider->address);
}

/* The place in out[0..n) for one more: at its end, or, when that is all there is room for, of the last in order if the
 * new one comes before it. */
static struct agi_instance *place_for(struct agi_instance *out, size_t n, size_t max, const struct agi_instance *one)
{
	struct agi_instance *last = out;

	if (n < max)
		return &out[n];
	for (size_t i = 1; i < n; i++)
		if (cmp_instances(&out[i], last) > 0)
			last = &out[i];
	return n > 0 && cmp_instances(one, last) < 0 ? last : NULL;
}

static size_t list(const struct agi_known *k, enum listing worst, struct agi_instance *out, size_t max)
{
	bool is_in_doubt = worst >= KEPT && agi_registry_is_in_doubt(k->d);
	struct agi_record *r, *tmp;
	size_t n = 0;

	HASH_ITER(hh, k->records.by_key, r, tmp) {
		enum listing how = judge(k, r, is_in_doubt);
		struct agi_instance one = {&r->p, r->node, agi_hosts_rtt(k->d, &r->node), how != GOOD}, *to;

		if (how == UNLISTED || how > worst || !(to = place_for(out, n, max, &one)))
			continue;
		*to = one;
		n += n < max;
	}
	qsort(out, n, sizeof *out, cmp_instances);
	for (size_t i = 0; i < n && i < AGI_NEAR_USED_MAX; i++)
		agi_near_used(k->d, &out[i].node);
	return n;
}

size_t agi_dht_known_instances(const struct agi_dht *d, struct agi_str service, struct agi_instance *out,
                               size_t max)
{
	struct agi_known *k = find(d, service);

	return k ? list(k, STALE, out, max) : 0;
}

size_t agi_dht_found_instances(const struct agi_dht *d, struct agi_str service, struct agi_instance *out,
                               size_t max)
{
	struct agi_known *k = find(d, service);

	return k ? list(k, KEPT, out, max) : 0;
}

static void reply_all(struct agi_known *k)
{
	struct agi_dht *d = k->d;
	struct agi_instance *out = calloc(k->records.n + 1, sizeof *out);
	struct agi_result res = {.kind = AGI_CALL_DISCOVER, .instances = out};
	struct waiter *w;

	if (out)
		res.n_instances = list(k, KEPT, out, k->records.n);
	else
		res.err = AGI_E_NOMEM;
	if (k->is_stale && res.n_instances == 0 && !res.err) {
		res.err = AGI_E_UNREACHABLE;
		agi_fail(&res.why, res.err, "no host that keeps the records of \"%s\" answers", k->name);
	}
	while ((w = TAILQ_FIRST(&k->waiters))) {
		TAILQ_REMOVE(&k->waiters, w, entry);
		agi_call_reply(d, w->call_id, &res);
		free(w);
	}
	free(out);
}

/* --- asking ------------------------------------------------------------------------------------------- */

static void round_over(struct agi_known *k)
{
	const uint64_t keep_us = (uint64_t)AGI_PROVIDER_KEEP_MS * 1000;
	struct agi_dht *d = k->d;

	k->is_asking = false;
	k->has_asked = true;
	k->is_stale = k->answered == 0;
	if (!k->is_stale)
		k->judged_us = d->now.mono_us;
	if (d->now.mono_us > keep_us)
		agi_records_expire(&k->records, d->now.mono_us - keep_us);
	if (is_followed(k))
		agi_timer_set(&d->timers, &k->refresh,
		              agi_after_ms(d, FOLLOW_MS - agi_prng_below(&d->prng, FOLLOW_MS / 8)));
	reply_all(k);
}

static void take(struct agi_known *k, const struct agi_provider *p)
{
	struct agi_record *have = agi_records_find(&k->records, p);
	bool is_same = have && have->p.seq == p->seq && have->p.incarnation == p->incarnation &&
	               memcmp(have->p.sig, p->sig, AGI_SIG_BYTES) == 0;

	if (!agi_record_is_sane(p) || !agi_str_eq(p->service, k->service))
		return;
	if (have && !is_same && !agi_record_is_newer(p, &have->p))
		return;
	if (!is_same && !agi_provider_verify(p)) {
		agi_note_dropped(k->d, NULL, AGI_E_AUTH, "a provider record with a wrong signature");
		return;
	}
	/* a record seen again is not fresher for it: only its host can renew it */
	if (is_same)
		return;
	if (k->records.n >= AGI_PROVIDERS_MSG_MAX)
		agi_records_expire(&k->records, k->judged_us); /* what is kept in case of doubt makes room */
	(void)agi_records_put(&k->records, p, agi_after_ms(k->d, p->ttl_ms), AGI_PROVIDERS_MSG_MAX);
}

static void on_providers(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                         const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_known *k = arg;

	(void)d, (void)from;
	k->rpc[which] = 0;
	if (err == AGI_OK && m->kind == AGI_MSG_PROVIDERS && m->status == AGI_OK) {
		k->answered++;
		for (size_t i = 0; i < m->n_providers; i++)
			take(k, &m->providers[i]);
	}
	if (--k->open == 0)
		round_over(k);
}

static void ask(struct agi_known *k)
{
	struct agi_dht *d = k->d;
	struct agi_peer to[AGI_PROVIDER_HOLDERS];
	struct agi_msg m = {.kind = AGI_MSG_PROVIDER_GET, .service = k->service};
	size_t n;

	if (k->is_asking)
		return;
	k->is_asking = true;
	k->open = k->answered = 0;
	n = agi_registry_holders(d, k->service, to);
	for (uint32_t i = 0; i < n; i++) {
		k->rpc[i] = agi_rpc_ask(d, &to[i], AGI_TRAFFIC_CONTROL, &m, ASK_TIMEOUT_MS, on_providers, k, i);
		k->open += k->rpc[i] != 0;
	}
	if (k->open == 0)
		round_over(k);
}

static void cancel_call(struct agi_dht *d, void *op)
{
	struct waiter *w = op;
	struct agi_known *k, *tmp;

	HASH_ITER(hh, d->registry.known, k, tmp) {
		struct waiter *x;

		TAILQ_FOREACH(x, &k->waiters, entry) {
			if (x == w) {
				TAILQ_REMOVE(&k->waiters, w, entry);
				free(w);
				return;
			}
		}
	}
}

void agi_discover_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *c)
{
	struct agi_known *k = NULL;
	struct waiter *w;

	if (!agi_service_name_is_valid(c->service)) {
		agi_call_fail(d, call_id, c->kind, AGI_E_INVALID,
		              "a service name has 1 to 63 of a-z, 0-9 and '-', not '-' at an end");
		return;
	}
	if (!d->member.is_joined) {
		agi_call_fail(d, call_id, c->kind, AGI_E_NOT_READY, d->member.waits_for);
		return;
	}
	w = calloc(1, sizeof *w);
	if (w)
		k = get(d, c->service);
	if (!k) {
		free(w);
		agi_call_fail(d, call_id, c->kind, w ? AGI_E_FULL : AGI_E_NOMEM, "");
		return;
	}
	if (agi_call_open(d, call_id, c->kind, w, cancel_call) != AGI_OK) {
		free(w);
		return;
	}
	w->call_id = call_id;
	k->used_us = d->now.mono_us;
	TAILQ_INSERT_TAIL(&k->waiters, w, entry);
	ask(k);
}

static enum agi_err follow_until(struct agi_dht *d, struct agi_now now, struct agi_str service, uint64_t until_us)
{
	struct agi_known *k;
	bool was_followed;

	agi_clock_enter(d, now);
	if (!agi_service_name_is_valid(service))
		return AGI_E_INVALID;
	k = get(d, service);
	if (!k)
		return AGI_E_FULL;
	was_followed = is_followed(k);
	if (k->followed_us < until_us)
		k->followed_us = until_us;
	k->used_us = d->now.mono_us;
	if (!was_followed)
		agi_timer_set(&d->timers, &k->refresh, d->now.mono_us);
	return AGI_OK;
}

void agi_dht_follow_service(struct agi_dht *d, struct agi_now now, struct agi_str service)
{
	(void)follow_until(d, now, service, AGI_NEVER); /* no room: asked for again when somebody wants it */
}

enum agi_err agi_dht_follow_for(struct agi_dht *d, struct agi_now now, struct agi_str service, uint32_t ms)
{
	return follow_until(d, now, service, now.mono_us + (uint64_t)ms * 1000);
}

bool agi_dht_service_known(const struct agi_dht *d, struct agi_str service, bool *is_stale, size_t *n_records)
{
	const struct agi_known *k = find(d, service);

	if (!k || !k->has_asked)
		return false;
	*is_stale = k->is_stale;
	*n_records = k->records.n;
	return true;
}

void agi_discover_free(struct agi_dht *d)
{
	struct agi_known *k, *tmp;

	HASH_ITER(hh, d->registry.known, k, tmp)
		forget(k);
}
