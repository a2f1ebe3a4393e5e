/* SPDX-License-Identifier: Apache-2.0
 * Belonging to a cluster: joining one, creating one, remembering it over a restart.
 *
 *                     a bootstrap peer (or any member) tells its cluster id
 *   no cluster ───────────────────────────────────────────────────────────▶ joined
 *        │                                                                    ▲
 *        └── first listed, and every other listed node that answers within ───┘
 *            genesis_wait is in no cluster either (or --init)  [genesis]
 *
 * After a restart with a stored cluster id a node is joined again as soon as one other member answers, or
 * at once when it never knew another. */
#include <stdlib.h>

#include "dht/state.h"

enum { REJOIN_MS = 5000 };
static const char cluster_key[] = "cluster";
static const char contact_prefix[] = "contact/";

void agi_member_fill_ping(struct agi_dht *d, struct agi_msg *m)
{
	m->contact = d->self;
	if (!d->member.is_founding || AGI_MUTANT(FOUND_UNSTORED)) /* nobody joins what a loss of power may still undo */
		m->cluster = d->member.cluster;
	m->wall_ms = d->host_now.wall_ms;
	m->coord = d->coord.c;
	m->has_coord = true;
}

static void store_one(struct agi_dht *d, struct agi_str key, struct agi_str value)
{
	struct agi_storage_op op = {AGI_PUT, AGI_CF_META, key, value};
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = &op, .n_ops = 1};

	(void)agi_job_submit(d, &req, NULL, NULL);
}

static void contact_encode(struct agi_buf *b, const struct agi_contact *c)
{
	agi_buf_put(b, c->addr.ip, 16);
	agi_buf_u16(b, c->addr.port);
	agi_buf_u64(b, c->incarnation);
	agi_buf_u32(b, c->weight_milli);
	agi_buf_blob(b, agi_str_of(c->zone));
}

static enum agi_err contact_decode(struct agi_contact *c, struct agi_str value)
{
	struct agi_cur cur = agi_cur_of(value);
	struct agi_str zone;

	agi_cur_copy(&cur, c->addr.ip, 16);
	c->addr.port = agi_cur_u16(&cur);
	c->incarnation = agi_cur_u64(&cur);
	c->weight_milli = agi_cur_u32(&cur);
	zone = agi_cur_blob(&cur);
	if (cur.bad || cur.n || zone.n > AGI_ZONE_MAX)
		return AGI_E_CORRUPT;
	memcpy(c->zone, zone.p, zone.n);
	c->zone[zone.n] = '\0';
	return AGI_OK;
}

void agi_member_remember(struct agi_dht *d, const struct agi_contact *c)
{
	struct agi_buf key, value;

	agi_buf_init(&key, 0);
	agi_buf_init(&value, 0);
	agi_buf_put_str(&key, agi_str_of(contact_prefix));
	agi_buf_put(&key, c->id.b, AGI_ID_BYTES);
	contact_encode(&value, c);
	if (!key.err && !value.err)
		store_one(d, agi_buf_str(&key), agi_buf_str(&value));
	agi_buf_free(&key);
	agi_buf_free(&value);
}

void agi_member_forget(struct agi_dht *d, const struct agi_id *id)
{
	char key[sizeof contact_prefix - 1 + AGI_ID_BYTES];
	struct agi_storage_op op = {AGI_DELETE, AGI_CF_META, {key, sizeof key}, {NULL, 0}};
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = &op, .n_ops = 1};

	memcpy(key, contact_prefix, sizeof contact_prefix - 1);
	memcpy(key + sizeof contact_prefix - 1, id->b, AGI_ID_BYTES);
	(void)agi_job_submit(d, &req, NULL, NULL);
}

enum agi_err agi_member_load(struct agi_dht *d, struct agi_str key, struct agi_str value,
                             struct agi_why *why)
{
	struct agi_str prefix = agi_str_of(contact_prefix);
	struct agi_contact c = {0};

	if (agi_str_eq(key, agi_str_of(cluster_key))) {
		if (value.n != AGI_ID_BYTES)
			return agi_fail(why, AGI_E_CORRUPT, "meta/cluster has %zu bytes, expected 32", value.n);
		memcpy(d->member.cluster.b, value.p, AGI_ID_BYTES);
		return AGI_OK;
	}
	if (!agi_str_has_prefix(key, prefix))
		return agi_drain_load(d, key, value, why); /* the shell's own records live here too */
	if (key.n != prefix.n + AGI_ID_BYTES || contact_decode(&c, value) != AGI_OK)
		return agi_fail(why, AGI_E_CORRUPT, "meta/contact record does not decode");
	memcpy(c.id.b, key.p + prefix.n, AGI_ID_BYTES);
	agi_hosts_remembered(d, &c);
	return AGI_OK;
}

static void on_self_lookup(struct agi_dht *d, void *arg, const struct agi_contact *nearest, size_t n,
                           const struct agi_hop *hops, size_t n_hops)
{
	(void)arg, (void)nearest, (void)n, (void)hops, (void)n_hops;
	d->member.is_self_looked_up = true;
	agi_timer_set(&d->timers, &d->member.refresh, d->now.mono_us);
	agi_registry_start(d);
}

static void joined(struct agi_dht *d)
{
	if (d->member.is_joined)
		return;
	d->member.is_joined = true;
	d->fx.note(d->ctx, &(struct agi_note){.kind = AGI_NOTE_CLUSTER_JOINED});
	agi_reconf_wake(d, agi_after_ms(d, d->cfg.stable_ms));
	if (!agi_lookup_start(d, &d->self.id, on_self_lookup, NULL))
		on_self_lookup(d, NULL, NULL, 0, NULL, 0);
}

bool agi_member_saw_cluster(struct agi_dht *d, const struct agi_id *peer, const struct agi_id *cluster)
{
	struct agi_contact who = {.id = *peer};

	if (agi_id_is_zero(cluster))
		return true;
	if (agi_id_is_zero(&d->member.cluster)) {
		d->member.cluster = *cluster;
		store_one(d, agi_str_of(cluster_key), (struct agi_str){(const char *)cluster->b, 32});
	}
	if (!agi_id_eq(cluster, &d->member.cluster)) {
		d->fx.note(d->ctx, &(struct agi_note){.kind = AGI_NOTE_WRONG_CLUSTER, .contact = &who});
		return false;
	}
	joined(d);
	return true;
}

void agi_member_on_ping(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_PONG};

	if (!agi_id_eq(&from->id, &m->contact.id)) {
		out = (struct agi_msg){.kind = AGI_MSG_REFUSED, .status = AGI_E_AUTH};
		out.why = AGI_STR("the contact in the ping is not the sender's");
		agi_answer(d, from, m, &out);
		return;
	}
	if (!agi_member_saw_cluster(d, &from->id, &m->cluster)) {
		out = (struct agi_msg){.kind = AGI_MSG_REFUSED, .status = AGI_E_WRONG_CLUSTER};
		agi_answer(d, from, m, &out);
		return;
	}
	agi_member_fill_ping(d, &out);
	agi_answer(d, from, m, &out);
	agi_latency_told(d, &from->id, m);
	if (!agi_id_is_zero(&m->cluster))
		agi_hosts_heard_of(d, &m->contact);
	if (!agi_id_is_zero(&m->target))
		agi_hosts_show(d, &m->target);
}

static void on_genesis_stored(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	(void)arg;
	if (done->err != AGI_OK)
		return; /* read-only: noted; this node will never be ready */
	d->member.is_founding = false;
	d->fx.note(d->ctx, &(struct agi_note){.kind = AGI_NOTE_CLUSTER_CREATED});
	joined(d);
}

static void create_cluster(struct agi_dht *d)
{
	uint64_t salt[3] = {agi_prng_u64(&d->prng), d->now.wall_ms, d->now.mono_us};
	struct agi_str parts[] = {{(const char *)d->pubkey, AGI_PUBKEY_BYTES},
	                          {(const char *)salt, sizeof salt}};
	struct agi_storage_op op = {AGI_PUT, AGI_CF_META, agi_str_of(cluster_key), {NULL, 0}};

	d->member.is_founding = true;
	agi_blake2b_256(d->member.cluster.b, parts, 2);
	op.value = (struct agi_str){(const char *)d->member.cluster.b, AGI_ID_BYTES};
	agi_views_genesis(d, &op, on_genesis_stored);
}

/* Another listed node that has not said "no cluster", or -1. */
static int first_silent(const struct agi_dht *d)
{
	for (size_t i = 0; i < d->cfg.n_bootstrap; i++)
		if (!agi_addr_eq(&d->cfg.bootstrap[i], &d->self.addr) && !d->member.has_answered[i])
			return (int)i;
	return -1;
}

static bool is_time_for_genesis(const struct agi_dht *d)
{
	uint64_t waited_us = d->now.mono_us - d->member.started_us;

	if (!agi_id_is_zero(&d->member.cluster))
		return false;
	if (d->cfg.force_init)
		return true;
	if (!d->cfg.is_first_listed)
		return false;
	return first_silent(d) < 0 || waited_us >= (uint64_t)d->cfg.genesis_wait_ms * 1000;
}

static void say_waiting(struct agi_dht *d)
{
	struct agi_membership *mb = &d->member;
	char text[AGI_ADDR_TEXT] = "a member to ping this node";
	int silent = first_silent(d);
	struct agi_buf b;

	if (silent >= 0)
		agi_addr_format(text, &d->cfg.bootstrap[silent]);
	else if (d->cfg.n_bootstrap > 0 && agi_id_is_zero(&mb->cluster))
		agi_addr_format(text, &d->cfg.bootstrap[0]);
	agi_buf_init(&b, 0);
	agi_buf_printf(&b, "%s %s", agi_id_is_zero(&mb->cluster) ? "waits for" : "rejoining, waits for", text);
	if (!b.err) {
		size_t n = b.n < sizeof mb->waits_for - 1 ? b.n : sizeof mb->waits_for - 1;

		memcpy(mb->waits_for, b.p, n);
		mb->waits_for[n] = '\0';
	}
	agi_buf_free(&b);
}

static void on_bootstrap_pong(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                              const struct agi_peer *from, const struct agi_msg *m)
{
	(void)arg;
	d->member.rpc[which] = 0;
	if (err != AGI_OK || m->kind != AGI_MSG_PONG || !agi_id_eq(&m->contact.id, &from->id))
		return;
	if (agi_id_is_zero(&m->cluster))
		d->member.has_answered[which] = true;
	else if (agi_member_saw_cluster(d, &from->id, &m->cluster))
		agi_hosts_verified(d, &m->contact, UINT32_MAX);
	if (is_time_for_genesis(d))
		create_cluster(d);
}

static bool is_known_addr(struct agi_dht *d, const struct agi_addr *a)
{
	struct agi_host *h, *tmp;

	HASH_ITER(hh, d->hosts.by_id, h, tmp) {
		if (h->state != AGI_MEMBER_DOWN && agi_addr_eq(&h->c.addr, a))
			return true;
	}
	return false;
}

static void ping_bootstrap(struct agi_dht *d)
{
	for (uint32_t i = 0; i < d->cfg.n_bootstrap; i++) {
		struct agi_peer to = {.addr = d->cfg.bootstrap[i]};
		struct agi_msg m = {.kind = AGI_MSG_PING};

		if (agi_addr_eq(&to.addr, &d->self.addr) || d->member.rpc[i] || is_known_addr(d, &to.addr))
			continue;
		agi_member_fill_ping(d, &m);
		d->member.rpc[i] = agi_rpc_ask(d, &to, AGI_TRAFFIC_CONTROL, &m, AGI_PING_TIMEOUT_MS,
		                               on_bootstrap_pong, NULL, i);
	}
}

static void on_retry(struct agi_dht *d, void *arg)
{
	(void)arg;
	if (is_time_for_genesis(d)) {
		create_cluster(d);
		agi_timer_set(&d->timers, &d->member.retry, agi_after_ms(d, REJOIN_MS));
		return;
	}
	ping_bootstrap(d);
	if (!d->member.is_joined)
		say_waiting(d);
	agi_timer_set(&d->timers, &d->member.retry,
	              agi_after_ms(d, d->member.is_joined ? REJOIN_MS : AGI_JOIN_RETRY_MS));
}

static void on_refresh_lookup(struct agi_dht *d, void *arg, const struct agi_contact *nearest, size_t n,
                              const struct agi_hop *hops, size_t n_hops)
{
	(void)d, (void)arg, (void)nearest, (void)n, (void)hops, (void)n_hops;
}

/* Bucket refresh: a lookup of a random id finds hosts nobody told us about. As long as lookups bring hosts
 * we did not know, the next one comes soon: a newcomer knows a small cluster whole within seconds. */
static void on_refresh(struct agi_dht *d, void *arg)
{
	uint32_t known = HASH_COUNT(d->hosts.by_id);
	bool is_growing = known > d->member.known_before;
	struct agi_id target;

	(void)arg;
	d->member.known_before = known;
	agi_clock_alone(d);
	for (int i = 0; i < AGI_ID_BYTES; i++)
		target.b[i] = (uint8_t)agi_prng_u64(&d->prng);
	if (d->member.is_joined)
		(void)agi_lookup_start_plain(d, &target, on_refresh_lookup, NULL);
	agi_timer_set(&d->timers, &d->member.refresh,
	              agi_after_ms(d, is_growing ? AGI_JOIN_RETRY_MS : AGI_REFRESH_MS));
}

void agi_member_set_bootstrap(struct agi_dht *d, const struct agi_addr *addrs, size_t n,
                              bool is_first_listed)
{
	for (size_t i = 0; i < d->cfg.n_bootstrap; i++) {
		agi_rpc_cancel(d, d->member.rpc[i]);
		d->member.rpc[i] = 0;
	}
	memset(d->member.has_answered, 0, sizeof d->member.has_answered);
	d->cfg.n_bootstrap = n < AGI_BOOTSTRAP_MAX ? n : AGI_BOOTSTRAP_MAX;
	memcpy(d->cfg.bootstrap, addrs, d->cfg.n_bootstrap * sizeof *addrs);
	d->cfg.is_first_listed = is_first_listed;
	agi_timer_set(&d->timers, &d->member.retry, d->now.mono_us);
}

void agi_member_start(struct agi_dht *d)
{
	struct agi_membership *mb = &d->member;

	mb->started_us = d->now.mono_us;
	mb->retry.fn = on_retry;
	mb->refresh.fn = on_refresh;
	agi_timer_set(&d->timers, &mb->retry, d->now.mono_us);
	agi_timer_set(&d->timers, &mb->refresh, agi_after_ms(d, AGI_JOIN_RETRY_MS));
	if (!agi_id_is_zero(&mb->cluster) && HASH_COUNT(d->hosts.by_id) == 0)
		joined(d);
}
