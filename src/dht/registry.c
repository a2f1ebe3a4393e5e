/* SPDX-License-Identifier: Apache-2.0
 * Advertising this host's services, and keeping the records of others.
 *
 * A record lives at the AGI_PROVIDER_HOLDERS hosts nearest to the service's id. Its host refreshes it every
 * AGI_PROVIDER_REFRESH_MS with a new sequence number; holders forget it after its TTL. Registrations made by
 * clients are stored on this host and advertised again after a restart, but only once their health check has
 * passed: a registration by itself never makes a ghost. */
#include <stdlib.h>

#include "dht/state.h"

static void on_put_answer(struct agi_dht *d, void *arg, uint32_t which, enum agi_err err,
                          const struct agi_peer *from, const struct agi_msg *m)
{
	(void)d, (void)arg, (void)which, (void)err, (void)from, (void)m; /* refreshed soon anyway */
}

size_t agi_registry_holders(struct agi_dht *d, struct agi_str service,
                            struct agi_peer out[AGI_PROVIDER_HOLDERS])
{
	const struct agi_contact *near[AGI_K];
	struct agi_id id;
	size_t n, n_out = 0;

	agi_id_of_service(&id, service);
	n = agi_hosts_nearest(d, &id, near, AGI_K);
	for (size_t i = 0; i < n && n_out < AGI_PROVIDER_HOLDERS; i++)
		if (agi_hosts_is_up(d, &near[i]->id))
			out[n_out++] = (struct agi_peer){near[i]->id, near[i]->addr};
	return n_out;
}

static void publish(struct agi_registration *r)
{
	struct agi_dht *d = r->d;
	struct agi_peer to[AGI_PROVIDER_HOLDERS];
	struct agi_msg m = {.kind = AGI_MSG_PROVIDER_PUT, .providers = &r->p, .n_providers = 1};
	size_t n;

	if (!d->member.is_joined)
		return;
	r->p.incarnation = d->self.incarnation;
	r->p.node_addr = d->self.addr;
	r->p.seq++;
	r->p.coord = d->coord.c;
	r->p.has_coord = true;
	agi_provider_sign(&r->p, d->cfg.seckey);
	n = agi_registry_holders(d, r->p.service, to);
	for (size_t i = 0; i < n; i++)
		(void)agi_rpc_ask(d, &to[i], AGI_TRAFFIC_CONTROL, &m, AGI_RPC_TIMEOUT_MS, on_put_answer, NULL, 0);
}

static void drop(struct agi_registration *r)
{
	agi_timer_clear(&r->d->timers, &r->refresh);
	TAILQ_REMOVE(&r->d->registry.local, r, entry);
	r->d->registry.n_local--;
	free(r->config);
	free(r);
}

static void on_refresh(struct agi_dht *d, void *arg)
{
	struct agi_registration *r = arg;

	if (r->withdrawn_us && d->now.mono_us - r->withdrawn_us > AGI_PROVIDER_TTL_MS * 1000) {
		drop(r);
		return;
	}
	/* what was never healthy needs no record; what stopped being healthy is said so */
	if (r->p.is_healthy || r->p.seq > 0)
		publish(r);
	agi_timer_set(&d->timers, &r->refresh,
	              agi_after_ms(d, AGI_PROVIDER_REFRESH_MS - agi_prng_below(&d->prng, 200)));
}

static struct agi_registration *find(const struct agi_dht *d, struct agi_str service, struct agi_str address)
{
	struct agi_registration *r;

	TAILQ_FOREACH(r, &d->registry.local, entry) {
		if (agi_str_eq(r->p.service, service) && agi_str_eq(r->p.address, address))
			return r;
	}
	return NULL;
}

static struct agi_registration *add(struct agi_dht *d, struct agi_str service, struct agi_str address)
{
	struct agi_registration *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	memcpy(r->service, service.p, service.n);
	memcpy(r->address, address.p, address.n);
	r->d = d;
	r->p.service = (struct agi_str){r->service, service.n};
	r->p.address = (struct agi_str){r->address, address.n};
	r->p.ttl_ms = AGI_PROVIDER_TTL_MS;
	memcpy(r->p.zone, d->self.zone, sizeof r->p.zone);
	r->refresh = (struct agi_timer){.fn = on_refresh, .arg = r};
	TAILQ_INSERT_TAIL(&d->registry.local, r, entry);
	d->registry.n_local++;
	agi_timer_set(&d->timers, &r->refresh, d->now.mono_us);
	return r;
}

static bool set_config(struct agi_registration *r, struct agi_str config)
{
	char *copy = malloc(config.n + 1);

	if (!copy)
		return false;
	memcpy(copy, config.n ? config.p : "", config.n);
	free(r->config);
	r->config = copy;
	r->config_bytes = config.n;
	return true;
}

/* --- storage: key = service ‖ 0 ‖ address, value = config -------------------------------------------- */

enum agi_err agi_registry_load(struct agi_dht *d, struct agi_str key, struct agi_str value,
                               struct agi_why *why)
{
	const char *zero = key.n ? memchr(key.p, '\0', key.n) : NULL;
	struct agi_str service, address;
	struct agi_registration *r;

	if (!zero)
		return agi_fail(why, AGI_E_CORRUPT, "registry: a key without separator");
	service = (struct agi_str){key.p, (size_t)(zero - key.p)};
	address = (struct agi_str){zero + 1, key.n - service.n - 1};
	if (!agi_service_name_is_valid(service) || address.n == 0 || address.n > AGI_ADDRESS_MAX)
		return agi_fail(why, AGI_E_CORRUPT, "registry: a record with an impossible name");
	r = find(d, service, address);
	if (!r)
		r = add(d, service, address);
	return r && set_config(r, value) ? AGI_OK : AGI_E_NOMEM;
}

struct stored_call {
	uint64_t call_id;
	enum agi_call_kind kind;
};

static void on_stored(struct agi_dht *d, void *arg, const struct agi_storage_done *done)
{
	struct stored_call *s = arg;
	struct agi_result res = {.kind = s->kind, .err = done->err, .why = done->why};

	agi_call_reply(d, s->call_id, &res);
	free(s);
}

/* Replies when the registry record is written (or deleted). */
static void store_then_reply(struct agi_dht *d, uint64_t call_id, const struct agi_call *c,
                             enum agi_storage_verb verb)
{
	struct stored_call *s = calloc(1, sizeof *s);
	struct agi_buf key;
	struct agi_storage_op op = {verb, AGI_CF_REGISTRY, {NULL, 0}, c->config};
	struct agi_storage_req req = {.kind = AGI_STORAGE_WRITE, .ops = &op, .n_ops = 1};

	agi_buf_init(&key, 0);
	agi_buf_put_str(&key, c->service);
	agi_buf_u8(&key, 0);
	agi_buf_put_str(&key, c->address);
	op.key = agi_buf_str(&key);
	if (s && !key.err) {
		*s = (struct stored_call){call_id, c->kind};
		if (agi_job_submit(d, &req, on_stored, s)) {
			agi_buf_free(&key);
			return;
		}
	}
	free(s);
	agi_buf_free(&key);
	agi_call_fail(d, call_id, c->kind, AGI_E_NOMEM, "");
}

/* --- calls ----------------------------------------------------------------------------------------------- */

static enum agi_err check(const struct agi_call *c, struct agi_why *why)
{
	if (!agi_service_name_is_valid(c->service))
		return agi_fail(why, AGI_E_INVALID,
		                "service \"%.*s\": expected 1 to %d of a-z, 0-9 and '-', not '-' at an end",
		                (int)(c->service.n < 80 ? c->service.n : 80), c->service.p ? c->service.p : "",
		                AGI_SERVICE_NAME_MAX);
	if (c->address.n == 0 || c->address.n > AGI_ADDRESS_MAX)
		return agi_fail(why, AGI_E_INVALID, "address of %zu bytes: expected host:port of at most %d",
		                c->address.n, AGI_ADDRESS_MAX);
	return AGI_OK;
}

static void take_traits(struct agi_registration *r, uint32_t traits)
{
	if (r->p.traits == traits)
		return;
	r->p.traits = traits;
	if (r->p.seq > 0)
		publish(r);
}

static void register_service(struct agi_dht *d, uint64_t call_id, const struct agi_call *c)
{
	struct agi_registration *r = find(d, c->service, c->address);
	struct agi_result done = {.kind = c->kind};

	if (!r && d->registry.n_local >= AGI_LOCAL_SERVICES_MAX) {
		agi_call_fail(d, call_id, c->kind, AGI_E_FULL, "this host advertises 1024 services already");
		return;
	}
	if (!r)
		r = add(d, c->service, c->address);
	if (!r || !set_config(r, c->config)) {
		agi_call_fail(d, call_id, c->kind, AGI_E_NOMEM, "");
		return;
	}
	r->is_ephemeral = c->is_ephemeral;
	r->withdrawn_us = 0;
	r->p.is_withdrawn = false;
	take_traits(r, c->traits);
	if (c->is_ephemeral)
		agi_call_reply(d, call_id, &done);
	else
		store_then_reply(d, call_id, c, AGI_PUT);
}

static void deregister_service(struct agi_dht *d, uint64_t call_id, const struct agi_call *c)
{
	struct agi_registration *r = find(d, c->service, c->address);

	if (!r || r->withdrawn_us) {
		agi_call_fail(d, call_id, c->kind, AGI_E_NOT_FOUND, "not registered on this host");
		return;
	}
	r->withdrawn_us = d->now.mono_us ? d->now.mono_us : 1;
	r->p.is_withdrawn = true;
	r->p.is_healthy = false;
	publish(r);
	store_then_reply(d, call_id, c, AGI_DELETE);
}

void agi_registry_call(struct agi_dht *d, uint64_t call_id, const struct agi_call *c)
{
	struct agi_why why;
	enum agi_err err = check(c, &why);

	if (err != AGI_OK)
		agi_call_fail(d, call_id, c->kind, err, why.text);
	else if (agi_call_open(d, call_id, c->kind, NULL, NULL) != AGI_OK)
		return;
	else if (c->kind == AGI_CALL_REGISTER)
		register_service(d, call_id, c);
	else
		deregister_service(d, call_id, c);
}

enum agi_err agi_dht_set_health(struct agi_dht *d, struct agi_now now, struct agi_str service,
                                struct agi_str address, bool is_healthy, uint32_t load_milli)
{
	struct agi_registration *r = find(d, service, address);

	agi_clock_enter(d, now);
	if (!r || r->withdrawn_us)
		return AGI_E_NOT_FOUND;
	if (load_milli != UINT32_MAX)
		r->p.load_milli = load_milli < 1000 ? load_milli : 1000;
	if (r->p.is_healthy != is_healthy) {
		r->p.is_healthy = is_healthy;
		publish(r);
	}
	return AGI_OK;
}

enum agi_err agi_dht_set_load(struct agi_dht *d, struct agi_now now, struct agi_str service,
                              struct agi_str address, uint32_t load_milli)
{
	struct agi_registration *r = find(d, service, address);

	agi_clock_enter(d, now);
	if (!r || r->withdrawn_us)
		return AGI_E_NOT_FOUND;
	r->p.load_milli = load_milli < 1000 ? load_milli : 1000; /* told with the next refresh */
	return AGI_OK;
}

enum agi_err agi_dht_set_traits(struct agi_dht *d, struct agi_now now, struct agi_str service,
                                struct agi_str address, uint32_t traits)
{
	struct agi_registration *r = find(d, service, address);

	d->now = now;
	if (!r || r->withdrawn_us)
		return AGI_E_NOT_FOUND;
	take_traits(r, traits);
	return AGI_OK;
}

bool agi_dht_registration(const struct agi_dht *d, size_t i, struct agi_provider *out, struct agi_str *config)
{
	struct agi_registration *r;

	TAILQ_FOREACH(r, &d->registry.local, entry) {
		if (r->withdrawn_us || i-- > 0)
			continue;
		*out = r->p;
		*config = (struct agi_str){r->config, r->config_bytes};
		return true;
	}
	return false;
}

/* --- doubt ------------------------------------------------------------------------------------------------- */

bool agi_registry_is_ghost(const struct agi_dht *d, const struct agi_id *node, uint64_t incarnation)
{
	const struct agi_host *h;

	HASH_FIND(hh, d->hosts.by_id, node, sizeof *node, h);
	return h && incarnation < h->c.incarnation;
}

bool agi_registry_is_recent(const struct agi_dht *d, uint64_t since_us, uint32_t ms)
{
	return d->now.mono_us - since_us < (uint64_t)ms * 1000;
}

bool agi_registry_is_in_doubt(const struct agi_dht *d)
{
	uint32_t out = d->hosts.down + d->hosts.suspect, stays = 1, lost = 0, back = 0;
	const struct agi_host *h;

	if (out == 0 || (out <= d->hosts.up && !agi_registry_is_recent(d, d->hosts.changed_us, AGI_PROVIDER_BACK_MS)))
		return false; /* the usual cases, told without a walk */
	for (h = d->hosts.by_id; h; h = h->hh.next)
		if (h->state == AGI_MEMBER_DOWN || h->is_cut)
			lost += agi_registry_is_recent(d, h->since_us, AGI_PROVIDER_KEEP_MS);
		else if (agi_registry_is_recent(d, h->since_us, AGI_PROVIDER_BACK_MS))
			back++;
		else
			stays++;
	return lost > 0 && lost + back >= stays;
}

/* --- for others -------------------------------------------------------------------------------------------- */

static void on_expiry(struct agi_dht *d, void *arg)
{
	(void)arg;
	agi_records_expire(&d->registry.records, d->now.mono_us);
	agi_timer_set(&d->timers, &d->registry.expiry, agi_after_ms(d, AGI_PROVIDER_TTL_MS / 2));
}

/* Only a host itself may place its records: the link has proved who it is. */
static enum agi_err keep(struct agi_dht *d, const struct agi_peer *from, const struct agi_provider *p)
{
	uint64_t expires_us = agi_after_ms(d, p->ttl_ms);
	struct agi_id node;

	agi_id_of_pubkey(&node, p->pubkey);
	if (!agi_id_eq(&node, &from->id))
		return AGI_E_DENIED;
	if (!agi_record_is_sane(p))
		return AGI_E_INVALID;
	if (!agi_records_find(&d->registry.records, p) && d->registry.records.n >= AGI_PROVIDERS_MAX)
		return AGI_E_FULL;
	(void)agi_records_put(&d->registry.records, p, expires_us, AGI_PROVIDERS_MAX);
	return AGI_OK;
}

void agi_registry_on_put(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_msg out = {.kind = AGI_MSG_PROVIDER_ACK};

	for (size_t i = 0; i < m->n_providers && out.status == AGI_OK; i++)
		out.status = keep(d, from, &m->providers[i]);
	agi_answer(d, from, m, &out);
}

void agi_registry_on_get(struct agi_dht *d, const struct agi_peer *from, const struct agi_msg *m)
{
	struct agi_provider *out = calloc(AGI_PROVIDERS_MSG_MAX, sizeof *out);
	struct agi_msg answer = {.kind = AGI_MSG_PROVIDERS, .providers = out};
	struct agi_record *r, *tmp;

	HASH_ITER(hh, d->registry.records.by_key, r, tmp) {
		if (!out || answer.n_providers == AGI_PROVIDERS_MSG_MAX)
			break;
		if (r->expires_us > d->now.mono_us && agi_str_eq(r->p.service, m->service) &&
		    !agi_record_is_ghost(r) && !agi_registry_is_ghost(d, &r->node, r->p.incarnation))
			out[answer.n_providers++] = r->p;
	}
	if (!out)
		answer.status = AGI_E_NOMEM;
	agi_answer(d, from, m, &answer);
	free(out);
}

void agi_registry_start(struct agi_dht *d)
{
	struct agi_registration *r;

	d->registry.expiry.fn = on_expiry;
	agi_timer_set(&d->timers, &d->registry.expiry, agi_after_ms(d, AGI_PROVIDER_TTL_MS / 2));
	TAILQ_FOREACH(r, &d->registry.local, entry)
		agi_timer_set(&d->timers, &r->refresh, d->now.mono_us);
}

void agi_registry_free(struct agi_dht *d)
{
	while (!TAILQ_EMPTY(&d->registry.local))
		drop(TAILQ_FIRST(&d->registry.local));
	agi_records_free(&d->registry.records);
	agi_discover_free(d);
}
