/* SPDX-License-Identifier: Apache-2.0
 * The public face of the core: life, dispatch of messages, queries. Client calls are in call.c. */
#include "dht/dht.h"

#include <assert.h>
#include <stdlib.h>

#include "dht/batch.h"
#include "dht/care.h"
#include "dht/feed.h"
#include "dht/inner.h"
#include "dht/lease.h"
#include "dht/nearest.h"
#include "dht/page.h"
#include "dht/scan.h"
#include "dht/watch.h"

enum { SCRATCH_KEPT = 64 << 10 }; /* bytes of memory kept between storage requests */

uint64_t agi_after_ms(const struct agi_dht *d, uint64_t ms) { return d->now.mono_us + ms * 1000; }

void agi_note_dropped(struct agi_dht *d, const struct agi_contact *who, enum agi_err err, const char *text)
{
	struct agi_note n = {.kind = AGI_NOTE_DROPPED, .contact = who, .err = err, .text = text};

	d->fx.note(d->ctx, &n);
}

const char *agi_link_state_name(enum agi_link_state s)
{
	static const char *const names[] = {"up", "suspect", "down", "self"};

	return (unsigned)s < 4 ? names[s] : "unknown";
}

/* --- life ---------------------------------------------------------------------------------------- */

static void use_default(uint32_t *value, uint32_t fallback)
{
	if (*value == 0)
		*value = fallback;
}

static void fill_defaults(struct agi_dht_cfg *c)
{
	use_default(&c->slot_bits, AGI_SLOT_BITS_DEFAULT);
	use_default(&c->replicas, AGI_REPLICAS_DEFAULT);
	use_default(&c->virtual_nodes, AGI_VIRTUAL_NODES_DEFAULT);
	use_default(&c->down_after_ms, AGI_DOWN_AFTER_MS);
	use_default(&c->stable_ms, AGI_STABLE_MS);
	use_default(&c->genesis_wait_ms, AGI_GENESIS_WAIT_MS);
	use_default(&c->ping_interval_ms, AGI_PING_INTERVAL_MS);
	use_default(&c->near_hosts, AGI_NEAR_HOSTS);
	use_default(&c->max_skew_ms, AGI_MAX_SKEW_MS);
	use_default(&c->lookup_paths, AGI_LOOKUP_PATHS_DEFAULT);
	use_default(&c->repair_bytes, AGI_REPAIR_BYTES);
	use_default(&c->rebalance_slots, AGI_RECONFIG_SLOTS);
	use_default(&c->repair_interval_ms, AGI_REPAIR_INTERVAL_MS);
	use_default(&c->hint_ttl_ms, AGI_HINT_TTL_MS);
	use_default(&c->tombstone_grace_ms, AGI_TOMBSTONE_GRACE_MS);
	use_default(&c->self.weight_milli, 1000);
}

enum agi_err agi_dht_new(const struct agi_dht_cfg *cfg, const struct agi_dht_effects *fx, void *ctx,
                         struct agi_dht **out)
{
	struct agi_dht *d = calloc(1, sizeof *d);

	if (!d)
		return AGI_E_NOMEM;
	d->cfg = *cfg;
	fill_defaults(&d->cfg);
	if (d->cfg.slot_bits > AGI_SLOT_BITS_MAX || d->cfg.replicas > AGI_REPLICAS_MAX ||
	    d->cfg.n_bootstrap > AGI_BOOTSTRAP_MAX || d->cfg.lookup_paths > AGI_LOOKUP_PATHS_MAX) {
		free(d);
		return AGI_E_INVALID;
	}
	d->fx = *fx;
	d->ctx = ctx;
	memcpy(d->pubkey, d->cfg.seckey + 32, AGI_PUBKEY_BYTES);
	d->self = d->cfg.self;
	agi_id_of_pubkey(&d->self.id, d->pubkey);
	agi_prng_seed(&d->prng, cfg->seed);
	agi_coord_init(&d->coord, cfg->seed ^ UINT64_C(0x636f6f7264)); /* "coord" */
	agi_hlc_init(&d->hlc, d->self.incarnation, agi_prng_u64(&d->prng));
	d->n_above = (uint32_t)agi_prng_u64(&d->prng);
	d->rpcs.next_id = agi_prng_u64(&d->prng) | 1;
	d->jobs.next_id = 1;
	d->hosts.generation = 1;
	d->move.in.per_s = d->move.out.per_s = d->cfg.rebalance_bytes_per_s;
	TAILQ_INIT(&d->kvops);
	TAILQ_INIT(&d->lease_ops);
	agi_lease_sweep_init(d);
	agi_batches_init(d);
	agi_scans_init(d);
	TAILQ_INIT(&d->strong_calls);
	TAILQ_INIT(&d->lookups);
	TAILQ_INIT(&d->nearests.open);
	TAILQ_INIT(&d->repair.regs);
	TAILQ_INIT(&d->repair.serves);
	TAILQ_INIT(&d->sweeps.serves);
	TAILQ_INIT(&d->registry.local);
	agi_reconf_init(d);
	agi_hint_init(d);
	agi_drain_init(d);
	agi_trees_init(d);
	agi_repair_init(d);
	agi_sweeps_init(d);
	if (agi_views_init(d) != AGI_OK || agi_feeds_init(d) != AGI_OK ||
	    agi_ring_add(&d->hosts.ring, &d->self, d->cfg.virtual_nodes) != AGI_OK) {
		agi_dht_free(d);
		return AGI_E_NOMEM;
	}
	d->hosts.is_self_in_ring = true;
	*out = d;
	return AGI_OK;
}

static enum agi_err no_send(void *ctx, const struct agi_peer *to, enum agi_traffic t, const struct agi_msg *m)
{
	(void)ctx, (void)to, (void)t, (void)m;
	return AGI_E_CLOSED;
}
static void no_store(void *ctx, uint64_t id, const struct agi_storage_req *r)
{
	(void)ctx, (void)id, (void)r;
}
static void no_reply(void *ctx, uint64_t id, const struct agi_result *r) { (void)ctx, (void)id, (void)r; }
static bool no_event(void *ctx, uint64_t id, const struct agi_event *e)
{
	(void)ctx, (void)id, (void)e;
	return true;
}
static void no_note(void *ctx, const struct agi_note *n) { (void)ctx, (void)n; }

struct agi_buf *agi_scratch(struct agi_dht *d)
{
	if (d->scratch.cap > SCRATCH_KEPT)
		agi_buf_free(&d->scratch);
	agi_buf_reset(&d->scratch);
	return &d->scratch;
}

static void free_pools(struct agi_dht *d)
{
	agi_pool_free(&d->pools.rpc);
	agi_pool_free(&d->pools.job);
	agi_pool_free(&d->pools.open_call);
	agi_pool_free(&d->pools.kvop);
	agi_pool_free(&d->pools.strong_call);
	agi_pool_free(&d->pools.strong_op);
	agi_pool_free(&d->pools.reg_waiting);
}

void agi_dht_free(struct agi_dht *d)
{
	struct agi_open_call *c, *tmp;

	if (!d)
		return;
	/* whatever is torn down below must not reach a shell that may be half gone */
	d->fx = (struct agi_dht_effects){no_send, no_store, no_reply, no_note, no_event};
	d->is_stopped = true;
	HASH_ITER(hh, d->calls, c, tmp)
		if (c->kind == AGI_CALL_LOOKUP) /* the others are freed with what they wait for */
			agi_dht_cancel(d, c->id);
	agi_leases_free(d);
	agi_lease_sweep_free(d);
	agi_batches_free(d);
	agi_watches_free(d);
	agi_feeds_free(d);
	agi_scans_free(d);
	agi_nearest_free(d);
	agi_inners_free(d);
	agi_dht_jobs_free(d);
	agi_kv_free_all(d);
	agi_strong_free_all(d);
	agi_lookups_free(d);
	agi_vfetches_free(d);
	agi_sweeps_free(d);
	agi_repair_free(d);
	agi_trees_free(d);
	agi_recover_free(d);
	agi_views_free(d);
	agi_registry_free(d);
	agi_dht_jobs_free(d);
	agi_hints_free(d);
	agi_hosts_free(d);
	agi_rpcs_free(d);
	HASH_ITER(hh, d->calls, c, tmp) {
		HASH_DEL(d->calls, c);
		free(c);
	}
	agi_buf_free(&d->scratch);
	free_pools(d);
	free(d);
}

enum agi_err agi_dht_load(struct agi_dht *d, enum agi_cf cf, struct agi_str key, struct agi_str value,
                          struct agi_why *why)
{
	assert(!d->is_started);
	switch (cf) {
	case AGI_CF_META:
		return agi_member_load(d, key, value, why);
	case AGI_CF_VIEWS:
		return agi_view_load(d, key, value, why);
	case AGI_CF_HINTS:
		return agi_hint_load(d, key, value, why);
	case AGI_CF_REGISTRY:
		return agi_registry_load(d, key, value, why);
	default:
		return AGI_OK; /* read on demand */
	}
}

void agi_dht_start(struct agi_dht *d, struct agi_now now)
{
	agi_clock_enter(d, now);
	d->is_started = true;
	agi_lease_sweep_start(d);
	agi_hosts_start(d);
	if (d->drain.left_ms) { /* a retired identity: the shell says so and ends */
		d->is_stopped = true;
		return;
	}
	agi_member_start(d);
	agi_drain_start(d);
	agi_hint_wake(d);
	agi_repair_soon(d);
	agi_sweeps_start(d);
}

/* Those a client waits for; a call it made of inner ones ends them. */
static struct agi_open_call *client_call(struct agi_dht *d)
{
	struct agi_open_call *c = d->calls;

	while (c && (c->id & AGI_INNER_CALLS))
		c = c->hh.next;
	return c;
}

/* A write that is open may be on its way to be done: who is told "try again" would do it twice. */
static enum agi_err outcome_at_stop(enum agi_call_kind k)
{
	return k == AGI_CALL_PUT || k == AGI_CALL_DELETE || k == AGI_CALL_CAS || k == AGI_CALL_ADD ||
	               k == AGI_CALL_BATCH
	           ? AGI_E_UNKNOWN_OUTCOME
	           : AGI_E_CLOSED;
}

void agi_dht_stop(struct agi_dht *d, struct agi_now now)
{
	struct agi_open_call *c;
	struct agi_host *h, *htmp;

	agi_clock_enter(d, now);
	d->is_stopped = true;
	while ((c = client_call(d))) {
		struct agi_result res = {.kind = c->kind, .err = outcome_at_stop(c->kind)};
		uint64_t id = c->id;

		agi_fail(&res.why, res.err, "this node is shutting down%s",
		         res.err == AGI_E_CLOSED ? "" : "; read the version to learn whether the write happened");
		agi_dht_cancel(d, id);
		d->fx.reply(d->ctx, id, &res);
	}
	HASH_ITER(hh, d->hosts.by_id, h, htmp) {
		struct agi_peer to = {h->c.id, h->c.addr};
		struct agi_msg m = {.kind = d->drain.left_ms ? AGI_MSG_LEFT : AGI_MSG_GOODBYE};

		if (h->state != AGI_MEMBER_DOWN)
			(void)d->fx.send(d->ctx, &to, AGI_TRAFFIC_CONTROL, &m);
	}
}

/* --- events ---------------------------------------------------------------------------------------- */

static void refuse(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m,
                   enum agi_err status, const char *why)
{
	struct agi_msg out = {.kind = AGI_MSG_REFUSED, .status = status, .why = agi_str_of(why)};

	if (m->rpc_id)
		agi_answer(d, from, m, &out);
}

static void serve(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	switch (m->kind) {
	case AGI_MSG_FIND_NODE:
		agi_lookup_on_find_node(d, from, m);
		break;
	case AGI_MSG_VIEW_GET:
		agi_view_on_get(d, from, m);
		break;
	case AGI_MSG_WRITE:
		agi_replica_on_write(d, from, m);
		break;
	case AGI_MSG_READ:
		agi_replica_on_read(d, from, m);
		break;
	case AGI_MSG_VIEW_PREPARE:
		agi_view_on_prepare(d, from, m);
		break;
	case AGI_MSG_VIEW_ACCEPT:
		agi_view_on_accept(d, from, m);
		break;
	case AGI_MSG_VIEW_DECIDED:
		agi_view_on_decided(d, from, m);
		break;
	case AGI_MSG_SLOT_PULL:
		agi_transfer_on_pull(d, from, m);
		break;
	case AGI_MSG_SLOT_COMPARE:
		agi_transfer_on_compare(d, from, m);
		break;
	case AGI_MSG_SLOT_COPY:
		agi_copy_on_ask(d, from, m);
		break;
	case AGI_MSG_PROVIDER_PUT:
		agi_registry_on_put(d, from, m);
		break;
	case AGI_MSG_PROVIDER_GET:
		agi_registry_on_get(d, from, m);
		break;
	case AGI_MSG_LEAD:
		agi_reg_on_lead(d, from, m);
		break;
	case AGI_MSG_REG_WRITE:
		agi_reg_on_write(d, from, m);
		break;
	case AGI_MSG_REG_READ:
		agi_reg_on_read(d, from, m);
		break;
	case AGI_MSG_STRONG_DO:
		agi_lead_on_do(d, from, m);
		break;
	case AGI_MSG_OPERATE:
		agi_operate_on(d, from, m);
		break;
	case AGI_MSG_DIGEST:
		agi_digest_on(d, from, m);
		break;
	case AGI_MSG_WATCH:
		agi_feed_on_watch(d, from, m);
		break;
	case AGI_MSG_CHANGED:
		agi_watch_on_changed(d, from, m);
		break;
	case AGI_MSG_SCAN:
		agi_page_on_scan(d, from, m);
		break;
	case AGI_MSG_GOODBYE:
		agi_hosts_gone(d, &from->id);
		break;
	case AGI_MSG_FAREWELL:
		agi_farewell_on_ask(d, from, m);
		break;
	case AGI_MSG_LEFT:
		agi_hosts_left(d, &from->id);
		break;
	case AGI_MSG_PING_REQ:
		agi_suspect_on_ping_req(d, from, m);
		break;
	default:
		if (!agi_repair_on_message(d, from, m))
			refuse(d, from, m, AGI_E_UNSUPPORTED, "this node does not know this kind of request");
		break;
	}
}

void agi_dht_on_message(struct agi_dht *d, struct agi_now now, const struct agi_peer *from,
                        const struct agi_msg *m)
{
	agi_clock_enter(d, now);
	if (!d->is_started)
		return;
	if (m->kind != AGI_MSG_GOODBYE && m->kind != AGI_MSG_LEFT)
		agi_hosts_alive(d, &from->id);
	if (agi_msg_is_answer(m->kind))
		(void)agi_rpc_answer(d, from, m); /* nobody waits: late, or not asked for */
	else if (d->is_stopped)
		refuse(d, from, m, AGI_E_CLOSED, "this node is shutting down");
	else if (m->kind == AGI_MSG_PING)
		agi_member_on_ping(d, from, m);
	else if (agi_id_is_zero(&d->member.cluster))
		refuse(d, from, m, AGI_E_NOT_READY, "this node has not joined a cluster yet");
	else
		serve(d, from, m);
}

void agi_dht_on_unreachable(struct agi_dht *d, struct agi_now now, const struct agi_peer *peer,
                            enum agi_traffic traffic, enum agi_err err)
{
	agi_clock_enter(d, now);
	agi_rpc_unreachable(d, peer, traffic, err);
}

void agi_dht_set_bootstrap(struct agi_dht *d, struct agi_now now, const struct agi_addr *addrs, size_t n,
                           bool is_first_listed)
{
	agi_clock_enter(d, now);
	if (d->is_started && !d->is_stopped)
		agi_member_set_bootstrap(d, addrs, n, is_first_listed);
}

void agi_dht_set_rebalance(struct agi_dht *d, struct agi_now now, uint64_t bytes_per_s, uint32_t slots)
{
	agi_clock_enter(d, now);
	d->cfg.rebalance_bytes_per_s = bytes_per_s;
	if (slots)
		d->cfg.rebalance_slots = slots;
	agi_bucket_set(&d->move.in, bytes_per_s, now.mono_us);
	agi_bucket_set(&d->move.out, bytes_per_s, now.mono_us);
	agi_reconf_wake(d, d->now.mono_us);
}

void agi_dht_set_repair(struct agi_dht *d, struct agi_now now, uint32_t interval_ms, uint32_t bytes_per_s)
{
	agi_clock_enter(d, now);
	if (interval_ms)
		d->cfg.repair_interval_ms = interval_ms;
	if (bytes_per_s)
		d->cfg.repair_bytes = bytes_per_s;
	agi_repair_soon(d);
}

void agi_dht_tick(struct agi_dht *d, struct agi_now now)
{
	struct agi_timer *t;

	agi_clock_enter(d, now);
	while ((t = agi_timers_take_due(&d->timers, now.mono_us)))
		t->fn(d, t->arg);
}

uint64_t agi_dht_next_deadline(const struct agi_dht *d) { return agi_timers_next(&d->timers); }

/* --- queries --------------------------------------------------------------------------------------------- */

static void copy_phase(char to[64], const char *text)
{
	size_t n = strlen(text);

	if (n > 63)
		n = 63;
	memcpy(to, text, n);
	to[n] = '\0';
}

void agi_dht_set_low(struct agi_dht *d, bool is_low) { d->is_low = is_low; }

static uint32_t n_works(const struct agi_dht *d)
{
	uint32_t n = 0;

	for (int k = 0; k < AGI_WORKS; k++)
		n += d->slots.n_works[k];
	return n;
}

void agi_dht_moves(const struct agi_dht *d, struct agi_dht_moves *out)
{
	const uint32_t *n = d->slots.n_works;

	*out = (struct agi_dht_moves){.stats = d->move.stats,
	                              .wanted = d->slots.n_wanted,
	                              .preparing = n[AGI_WORK_PREPARE],
	                              .proposing = n[AGI_WORK_PROPOSE],
	                              .joining = n[AGI_WORK_JOIN],
	                              .leaving = n[AGI_WORK_LEAVE],
	                              .copying = n[AGI_WORK_COPY],
	                              .copies = d->slots.n_copies,
	                              .is_settled = d->member.is_joined && agi_reconf_is_idle(d) && !n_works(d),
	                              .bytes_per_s_limit = d->cfg.rebalance_bytes_per_s,
	                              .slots_limit = d->cfg.rebalance_slots,
	                              .bytes_in_per_s = agi_rate_per_s(&d->move.rate_in, d->now.mono_us),
	                              .slots_per_s = agi_rate_per_s(&d->move.rate_slots, d->now.mono_us)};
}

void agi_dht_status(const struct agi_dht *d, struct agi_dht_status *out)
{
	*out = (struct agi_dht_status){.self = d->self.id,
	                               .cluster = d->member.cluster,
	                               .is_joined = d->member.is_joined,
	                               .incarnation = d->self.incarnation,
	                               .members_up = d->hosts.up,
	                               .members_suspect = d->hosts.suspect,
	                               .members_down = d->hosts.down,
	                               .slots_total = d->slots.n,
	                               .slots_active = d->slots.in_phase[AGI_VIEW_ACTIVE],
	                               .slots_joining = d->slots.in_phase[AGI_VIEW_JOINING],
	                               .slots_sealed = d->slots.in_phase[AGI_VIEW_SEALED],
	                               .slots_leaving = d->slots.in_phase[AGI_VIEW_LEAVING],
	                               .hints = d->hints.n,
	                               .calls = d->n_calls,
	                               .rpcs = d->rpcs.n,
	                               .reconfigs = n_works(d),
	                               .providers = d->registry.records.n,
	                               .is_read_only = d->is_read_only,
	                               .clock_off_ms = (int64_t)(d->host_now.wall_ms - d->now.wall_ms),
	                               .is_drained = d->drain.flags & AGI_DRAINED,
	                               .is_leaving = d->drain.flags & AGI_DRAIN_LEAVES,
	                               .is_left = d->drain.left_ms && !d->drain.is_retiring,
	                               .is_low = d->is_low};
	out->is_ready = d->member.is_joined && d->member.is_self_looked_up && !d->is_read_only &&
	                !d->is_stopped;
	if (out->is_left)
		copy_phase(out->phase, "has left the cluster");
	else if (d->is_stopped)
		copy_phase(out->phase, "stopping");
	else if (d->is_read_only)
		copy_phase(out->phase, "read-only after a disk error");
	else if (!d->member.is_joined)
		copy_phase(out->phase, d->member.waits_for);
	else if (out->is_leaving && d->drain.farewell.waits_for[0])
		copy_phase(out->phase, d->drain.farewell.waits_for);
	else if (out->is_drained)
		copy_phase(out->phase, out->is_leaving ? "joined, leaves" : "joined, drained");
	else
		copy_phase(out->phase, out->slots_joining ? "joined, takes over slots" : "joined");
}

bool agi_dht_member(const struct agi_dht *d, size_t i, struct agi_member *out)
{
	struct agi_host *h, *tmp;

	if (i == 0) {
		*out = (struct agi_member){.contact = d->self, .state = AGI_MEMBER_SELF,
		                           .state_since_us = d->member.started_us};
		return true;
	}
	HASH_ITER(hh, d->hosts.by_id, h, tmp) {
		if (--i > 0)
			continue;
		*out = (struct agi_member){h->c, h->state, h->srtt_us, h->since_us,
		                           agi_latency_estimate_us(d, h->latency.has_coord ? &h->latency.coord : NULL)};
		return true;
	}
	return false;
}

bool agi_dht_slot(const struct agi_dht *d, uint32_t slot, struct agi_view *view, enum agi_view_phase *phase)
{
	struct agi_slot *s = agi_slot_find(d, slot);

	if (!s || s->view.epoch == 0)
		return false;
	*view = s->view;
	*phase = s->phase;
	return true;
}

bool agi_dht_trees(const struct agi_dht *d, uint32_t slot, const struct agi_merkle **items,
                   const struct agi_merkle **strong)
{
	struct agi_slot *s = agi_slot_find(d, slot);

	if (!s || s->tree.state != AGI_TREE_KNOWN)
		return false;
	*items = s->tree.items;
	*strong = s->tree.strong;
	return true;
}

uint32_t agi_dht_slot_of(const struct agi_dht *d, struct agi_str ns, struct agi_str key)
{
	struct agi_id hash;

	agi_id_of_key(&hash, ns, key);
	return agi_slot_of_hash(&hash, d->cfg.slot_bits);
}

void agi_dht_check(const struct agi_dht *d)
{
	uint32_t in_phase[AGI_VIEW_FORWARD + 1] = {0}, works[AGI_WORKS] = {0}, copies = 0, wanted = 0;

	agi_hosts_check(d);
	for (uint32_t i = 0; i < d->slots.n; i++) {
		const struct agi_slot *s = d->slots.by_number[i];

		if (!s)
			continue;
		in_phase[s->phase]++;
		if (s->reconf)
			works[agi_reconf_kind(s)]++;
		copies += s->is_copy;
		wanted += s->is_wanted;
		assert(s->view.slot == i);
		if (agi_slot_is_held(s) && s->phase != AGI_VIEW_LEAVING)
			assert(agi_view_has(&s->view, &d->self.id));
		if (s->phase == AGI_VIEW_SEALED)
			assert(s->accepted.round > 0);
		assert(agi_ballot_cmp(&s->accepted, &s->promised) <= 0);
	}
	for (int p = 0; p <= AGI_VIEW_FORWARD; p++)
		assert(in_phase[p] == d->slots.in_phase[p]);
	for (int k = 0; k < AGI_WORKS; k++)
		assert(works[k] == d->slots.n_works[k]);
	assert(copies == d->slots.n_copies && wanted == d->slots.n_wanted);
	assert(d->rpcs.n == HASH_COUNT(d->rpcs.by_id) && d->n_calls == HASH_COUNT(d->calls));
}
