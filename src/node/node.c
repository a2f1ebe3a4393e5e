/* SPDX-License-Identifier: Apache-2.0 */
#include "node/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <event2/event.h>
#include <sodium.h>

#include "net/grpc_reflection.h"
#include "net/listener.h"
#include "node/activate.h"
#include "node/bootstrap.h"
#include "node/care.h"
#include "node/dns_services.h"
#include "node/http_api.h"
#include "node/disk.h"
#include "node/load.h"
#include "node/log.h"
#include "node/metrics.h"
#include "node/msg_codec.h"
#include "node/netif.h"
#include "node/io_host.h"
#include "node/notify.h"
#include "node/role_find.h"
#include "node/role_health.h"
#include "node/role_host.h"
#include "node/safety_host.h"
#include "node/security.h"
#include "node/stop_host.h"
#include "node/svc_audit.h"
#include "node/svc_watch_service.h"

enum {
	TICK_MS = 100,        /* readiness, health of roles, lateness of the loop */
	LOOK_MS = 10000,      /* how long after its start a node looks hard for gateways */
	LOOK_EVERY_MS = 200,
	ROLES_MAX = 16,
	OVERLAY_SERVICES = 6,
	MAILBOX = 4096 /* of the main loop: the safety loop's answers and news */
};

struct agi_node {
	const struct agi_config *config;
	struct event_base *base;
	struct agi_log *log;
	bool force_init, is_rejoin;
	bool has_rejoined; /* this start has set a store aside */

	struct agi_identity identity;
	struct agi_addr advertise;
	struct agi_resolver *resolver; /* NULL without a bootstrap list */
	struct agi_resolved resolved;
	struct event *resolver_ready;

	struct agi_store *store;
	struct agi_links *links;
	struct agi_dht_host *host;
	struct agi_health_checks *checks;
	struct agi_adverts *adverts;
	struct agi_activate *activate; /* roles that serve by policy */

	struct agi_security *security;
	struct agi_listener *listener, *unix_listener; /* the second: NULL without node.unix_socket */
	struct agi_grpc_server *server;
	struct agi_http *http;
	struct agi_http_api http_api;
	struct agi_dns_services *dns; /* NULL without dns.listen */
	struct agi_svc svc;
	struct agi_svc_health health;
	struct agi_role_health role_health;
	struct agi_loop *loop;          /* the mailbox of base */
	struct agi_safety_host *safety; /* a loop of its own, with the roles */
	struct agi_load role_load;      /* of that loop's thread */
	struct agi_io_host *io;         /* loops of their own, with gRPC connections; NULL: main has them */
	struct agi_stop_host *stop;
	struct agi_svc_audit audit;
	struct agi_forward *forward;
	struct agi_role_host *roles[ROLES_MAX];
	size_t n_roles;

	struct agi_metrics *metrics;
	struct event *tick;
	uint64_t next_look_us;
	uint64_t tick_due_us;
	uint64_t next_second_us, next_resolve_us;
	bool was_ready, wants_restart;
	struct agi_disk_watch disk;
	struct agi_care care;
};

/* --- connections of the overlay port ------------------------------------------------------------------ */
static void on_grpc(void *ctx, struct agi_transport *t)
{
	agi_grpc_server_take(((struct agi_node *)ctx)->server, t);
}

static void on_http(void *ctx, struct agi_transport *t)
{
	agi_http_take(((struct agi_node *)ctx)->http, t);
}

static void on_link(void *ctx, struct agi_transport *t)
{
	struct agi_addr remote;
	int fd = agi_transport_release(t, &remote);

	if (fd >= 0)
		agi_links_accept(((struct agi_node *)ctx)->links, fd, &remote);
}

/* --- messages of peers --------------------------------------------------------------------------------- */
static void on_message(void *ctx, const struct agi_id *peer, const struct agi_addr *remote,
                       enum agi_chan chan, struct agi_str payload)
{
	struct agi_node *n = ctx;
	struct agi_envelope env;
	struct agi_why why;
	enum agi_err e = agi_envelope_open(payload, &env, &why);

	if (e) {
		AGI_LOG(n->log, AGI_LOG_WARN, "envelope_refused", agi_kv_id("node", peer),
		        agi_kv_addr("addr", remote), agi_kv_z("err", agi_err_name(e)),
		        agi_kv_z("why", why.text));
		return;
	}
	if (env.kind == AGI_BODY_DHT)
		agi_dht_host_on_message(n->host, peer, remote, chan, env.body);
	else
		AGI_LOG(n->log, AGI_LOG_WARN, "envelope_refused", agi_kv_id("node", peer),
		        agi_kv_addr("addr", remote), agi_kv_z("err", agi_err_name(AGI_E_UNSUPPORTED)),
		        agi_kv_z("why", "of the safety plane, not on the safety channel"));
}

static void on_down(void *ctx, const struct agi_id *peer, const struct agi_addr *dialled,
                    enum agi_chan chan, enum agi_err err, const struct agi_why *why)
{
	struct agi_node *n = ctx;

	AGI_LOG(n->log, err == AGI_E_AUTH ? AGI_LOG_WARN : AGI_LOG_DEBUG, "link_down",
	        agi_kv_id("node", peer), agi_kv_addr("addr", dialled), agi_kv_u("channel", chan),
	        agi_kv_z("err", agi_err_name(err)), agi_kv_z("why", why ? why->text : ""));
	if (!err)
		return; /* it closed in order, nothing was lost */
	agi_dht_host_on_down(n->host, peer, dialled,
	                     chan == AGI_CHAN_BULK ? AGI_TRAFFIC_BULK : AGI_TRAFFIC_CONTROL, err);
}

/* A link of the safety channel. */
static void on_other(void *ctx, int fd, const struct agi_addr *remote, enum agi_chan chan)
{
	(void)chan;
	agi_safety_host_take_link(((struct agi_node *)ctx)->safety, fd, remote);
}

/* --- roles ---------------------------------------------------------------------------------------------- */
/* Who cannot follow the emergency stop could only say BLOCK, and what a gateway says that fails its canary cannot be
 * relied on: they are not offered. */
static bool role_serves(struct agi_node *n, const struct agi_role_def *role)
{
	if (n->svc.is_stopping)
		return false;
	if (role->follows_stop &&
	    !agi_latch_is_followed(agi_stop_host_latch(n->stop), agi_clock_now().mono_us))
		return false;
	return strcmp(role->name, "safety-gateway") != 0 || !agi_safety_host_illness(n->safety);
}

static bool is_own_role(const struct agi_node *n, const char *name)
{
	for (size_t i = 0; i < n->n_roles; i++)
		if (strcmp(agi_role_host_def(n->roles[i])->name, name) == 0)
			return true;
	return false;
}

static const char *gateway_illness(void *ctx)
{
	struct agi_node *n = ctx;

	return is_own_role(n, "safety-gateway") ? agi_safety_host_illness(n->safety) : NULL;
}

static enum agi_err role_is_serving(void *ctx, struct agi_str role, bool *out)
{
	struct agi_node *n = ctx;

	for (size_t i = 0; i < n->n_roles; i++) {
		const struct agi_role_def *def = agi_role_host_def(n->roles[i]);

		if (!agi_str_eq(role, agi_str_of(def->name)))
			continue;
		*out = role_serves(n, def) && !agi_activate_is_standby(n->activate, def->name, NULL);
		return AGI_OK;
	}
	return AGI_E_NOT_FOUND;
}

/* Its port lives on the safety loop, which asks there. */
static bool role_answers(void *ctx, const struct agi_role_def *role)
{
	return agi_safety_host_serves(((struct agi_node *)ctx)->safety, role);
}

static enum agi_err add_role(void *ctx, const struct agi_role_def *role,
                             struct agi_grpc_server *server)
{
	struct agi_node *n = ctx;
	struct agi_safety_plane *plane = agi_safety_host_plane(n->safety);

	if (strcmp(role->name, "in-action") == 0)
		return agi_stop_host_serve_role(n->stop, server);
	if (strcmp(role->name, "post-action") == 0)
		return agi_safety_plane_serve_outcomes(plane, server);
	return strcmp(role->name, "erisml") == 0 ? agi_safety_plane_serve_erisml(plane, server)
	                                         : agi_safety_plane_serve_checks(plane, server);
}

/* GET on a role's port is answered where the core is. */
struct visitor {
	struct agi_node *node;
	struct agi_transport *transport;
};

static void on_visitor(void *arg)
{
	struct visitor *v = arg;

	agi_http_take(v->node->http, v->transport);
	free(v);
}

static void drop_visitor(void *arg)
{
	struct visitor *v = arg;

	agi_transport_close(v->transport);
	free(v);
}

static void role_http(void *ctx, struct agi_transport *t)
{
	struct visitor *v = malloc(sizeof *v);

	if (!v) {
		agi_transport_close(t);
		return;
	}
	*v = (struct visitor){ctx, t};
	if (agi_loop_post(v->node->loop, on_visitor, drop_visitor, v))
		drop_visitor(v);
}

static void drain_role(void *arg) { agi_role_host_drain(arg); }

static enum agi_err open_role(struct agi_node *n, const char *name, struct agi_why *why)
{
	const struct agi_role_def *def = agi_role_def_of(name);
	uint16_t port;

	if (!def)
		return agi_fail(why, AGI_E_INVALID,
		                "role \"%s\" is not known here: erisml, safety-gateway, in-action, post-action", name);
	if (n->n_roles == ROLES_MAX)
		return agi_fail(why, AGI_E_FULL, "more than %d roles", ROLES_MAX);
	port = strcmp(name, "safety-gateway") == 0 && n->config->gateway.port ? n->config->gateway.port
	                                                                      : def->port;
	return agi_role_host_new(agi_safety_host_base(n->safety), def, &n->config->node.role_address, port,
	                         agi_safety_host_security(n->safety),
	                         &n->roles[n->n_roles++], why);
}

/* --- what runs beside the events ------------------------------------------------------------------------ */
static void tell_ready(struct agi_node *n)
{
	char why[128], text[AGI_ADDR_TEXT], state[256];
	bool is_ready = agi_svc_is_ready(&n->svc, why);

	if (is_ready == n->was_ready)
		return;
	n->was_ready = is_ready;
	agi_addr_format(text, &n->advertise);
	if (is_ready)
		AGI_LOG(n->log, AGI_LOG_INFO, "ready", agi_kv_id("node", &n->identity.id),
		        agi_kv_z("addr", text),
		        agi_kv_u("after_ms", (agi_clock_now().mono_us - n->svc.started_us) / 1000));
	else
		AGI_LOG(n->log, AGI_LOG_WARN, "not_ready", agi_kv_z("why", why));
	snprintf(state, sizeof state, "STATUS=%s %s", is_ready ? "ready" : "not ready:",
	         is_ready ? text : why);
	agi_notify(state);
}

/* Everything is handed over: the rest of this process is an orderly end. */
static void end_when_left(struct agi_node *n)
{
	struct agi_dht_status st;

	agi_dht_status(agi_dht_host_core(n->host), &st);
	if (st.is_left)
		agi_node_stop(n);
}

/* All roles run on the safety loop: how busy its thread is is how much more they can do. */
static void tell_roles(struct agi_node *n, uint64_t now_us)
{
	uint32_t load_milli = agi_load_update(&n->role_load, agi_safety_host_cpu_us(n->safety), now_us);

	for (size_t i = 0; i < n->n_roles; i++) {
		const struct agi_role_def *def = agi_role_host_def(n->roles[i]);

		agi_activate_tell(n->activate, def->name, role_serves(n, def), load_milli, now_us);
		agi_safety_host_set_standby(n->safety, def, agi_activate_is_standby(n->activate, def->name, NULL));
	}
}

static void resolve_again(struct agi_node *n, uint64_t now_us)
{
	struct agi_dht_status st;

	if (!n->resolver || now_us < n->next_resolve_us)
		return;
	n->next_resolve_us = now_us + (uint64_t)AGI_RESOLVE_AGAIN_MS * 1000;
	agi_dht_status(agi_dht_host_core(n->host), &st);
	if (!st.is_joined && agi_resolver_begin(n->resolver))
		AGI_LOG(n->log, AGI_LOG_WARN, "resolver_failed");
}

static void on_resolved(evutil_socket_t fd, short what, void *arg)
{
	struct agi_node *n = arg;
	struct agi_resolved r;
	(void)fd;
	(void)what;

	if (!agi_resolver_take(n->resolver, &r))
		return;
	agi_bootstrap_name_self(&r, &n->advertise, agi_listener_addr(n->listener));
	if (r.n_failed)
		AGI_LOG(n->log, AGI_LOG_WARN, "bootstrap_unresolved", agi_kv_u("names", r.n_failed),
		        agi_kv_z("first", r.failed));
	if (r.n == n->resolved.n && memcmp(r.addr, n->resolved.addr, r.n * sizeof r.addr[0]) == 0)
		return;
	n->resolved = r;
	agi_dht_host_set_bootstrap(n->host, r.addr, r.n,
	                           agi_bootstrap_is_first(&r, &n->advertise));
}

/* The core asks for followed services now and then. Just after a start that is long: hosts advertise one by one, and
 * until enough gateways are known every check is blocked. */
static void look_for_roles(struct agi_node *n, uint64_t now_us)
{
	if (now_us < n->next_look_us || now_us - n->svc.started_us > (uint64_t)LOOK_MS * 1000 ||
	    n->svc.is_stopping)
		return;
	n->next_look_us = now_us + LOOK_EVERY_MS * 1000;
	for (size_t i = 0; agi_role_def_at(i); i++)
		if (agi_role_def_at(i)->is_awaited)
			agi_role_look(n->host, agi_str_of(agi_role_def_at(i)->name), n->config->safety.quorum, LOOK_EVERY_MS);
}

static void restart(struct agi_node *n);

static void every_second(struct agi_node *n)
{
	agi_log_flush_repeats(n->log);
	if (agi_disk_watch_tick(&n->disk))
		restart(n);
	if (!n->svc.is_stopping)
		agi_adverts_tick(n->adverts);
}

/* Certificates and tokens, on the other loops. */
static void reload_others(struct agi_node *n)
{
	agi_safety_host_reload(n->safety);
	agi_io_host_reload(n->io);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct agi_node *n = arg;
	uint64_t now_us = agi_clock_now().mono_us;
	(void)fd;
	(void)what;

	if (now_us > n->tick_due_us && now_us - n->tick_due_us > n->http_api.lag_max_us)
		n->http_api.lag_max_us = now_us - n->tick_due_us;
	tell_ready(n);
	end_when_left(n);
	tell_roles(n, now_us);
	resolve_again(n, now_us);
	look_for_roles(n, now_us);
	if (agi_security_tick(n->security, now_us))
		reload_others(n);
	agi_safety_host_know(n->safety, agi_dht_host_core(n->host), now_us);
	if (now_us >= n->next_second_us) {
		n->next_second_us = now_us + 1000000;
		every_second(n);
	}
	n->tick_due_us = agi_clock_now().mono_us + TICK_MS * 1000;
	event_add(n->tick, &(struct timeval){.tv_usec = TICK_MS * 1000});
}

/* --- building: ports first (a second daemon must fail at once), then disk, keys, network; all on this thread,
 * before the safety loop starts ------------------------------------------------------------------------------ */
static enum agi_err open_io(struct agi_node *n, struct agi_why *why)
{
	const struct agi_io_cfg cfg = {.config = n->config,
	                               .log = n->log,
	                               .main = n->loop,
	                               .safety = n->safety,
	                               .on_http = on_http,
	                               .on_link = on_link,
	                               .ctx = n};

	return agi_io_host_new(&cfg, &n->io, why);
}

static void on_accept(void *ctx, int fd, const struct agi_addr *remote)
{
	agi_io_host_take(((struct agi_node *)ctx)->io, fd, remote);
}

static enum agi_err open_loops(struct agi_node *n, struct agi_why *why)
{
	const struct agi_loop_cfg cfg = {.name = "main", .mailbox_max = MAILBOX, .base = n->base};
	struct agi_safety_host_cfg safety = {
	    .config = n->config, .log = n->log, .doors = agi_io_loops_here(n->config)};
	enum agi_err e = agi_loop_new(&cfg, &n->loop);

	if (e)
		return agi_fail(why, e, "mailbox: %s", agi_err_text(e));
	safety.main = n->loop;
	e = agi_safety_host_new(&safety, &n->safety, why);
	return e ? e : open_io(n, why);
}

static enum agi_err open_unix(struct agi_node *n, struct agi_why *why)
{
	struct agi_listener_cfg cfg = {.unix_path = n->config->node.unix_socket, .ctx = n};

	cfg.on_wire[AGI_WIRE_GRPC] = on_grpc;
	cfg.on_wire[AGI_WIRE_HTTP] = on_http;
	return agi_listener_new(n->base, &cfg, &n->unix_listener, why);
}

static enum agi_err open_ports(struct agi_node *n, struct agi_why *why)
{
	struct agi_listener_cfg cfg = {.addr = n->config->node.listen, .ctx = n};
	enum agi_err e;

	e = agi_security_new(n->config, n->log, &n->security, why);
	if (e)
		return e;
	cfg.on_wire[AGI_WIRE_GRPC] = on_grpc;
	cfg.on_wire[AGI_WIRE_HTTP] = on_http;
	cfg.on_wire[AGI_WIRE_LINK] = on_link;
	cfg.on_accept = n->io ? on_accept : NULL;
	agi_security_fill(n->security, &cfg);
	e = agi_listener_new(n->base, &cfg, &n->listener, why);
	if (!e && n->config->node.unix_socket[0])
		e = open_unix(n, why);
	for (size_t i = 0; i < n->config->node.roles.n && !e; i++)
		e = open_role(n, n->config->node.roles.v[i], why);
	return e;
}

static enum agi_err open_disk(struct agi_node *n, struct agi_why *why)
{
	const struct agi_disk_cfg cfg = {.config = n->config, .is_rejoin = n->is_rejoin, .log = n->log};

	return agi_disk_open(&cfg, &n->store, &n->identity, &n->has_rejoined, why);
}

static enum agi_err open_links(struct agi_node *n, struct agi_why *why)
{
	static const struct agi_links_handlers handlers = {on_message, on_down, on_other};
	const struct agi_config *c = n->config;
	const struct agi_safety_self self = {n->identity.id, n->identity.incarnation, n->identity.seckey};
	struct agi_links_cfg cfg = {.n_psk = 1};
	enum agi_err e;

	if (!c->node.cluster_key_file[0])
		return agi_fail(why, AGI_E_INVALID,
		                "no cluster key: make one with \"agihpc-ctl keygen\", give the same file to "
		                "every node (--cluster-key FILE, or node.cluster_key_file)");
	e = agi_cluster_key_read(cfg.psk[0], c->node.cluster_key_file, why);
	if (!e && c->node.cluster_key_file_old[0]) {
		e = agi_cluster_key_read(cfg.psk[1], c->node.cluster_key_file_old, why);
		cfg.n_psk = 2;
	}
	if (!e) {
		memcpy(cfg.seckey, n->identity.seckey, sizeof cfg.seckey);
		cfg.channels = 1 << AGI_CHAN_CONTROL | 1 << AGI_CHAN_BULK;
		e = agi_links_new(n->base, &cfg, &handlers, n, &n->links);
		e = e ? agi_fail(why, e, "links: %s", agi_err_text(e))
		      : agi_safety_host_open(n->safety, &self, &cfg, why);
	}
	sodium_memzero(&cfg, sizeof cfg);
	return e;
}

static enum agi_err find_bootstrap(struct agi_node *n, struct agi_why *why)
{
	const struct agi_endpoints *list = &n->config->dht.bootstrap_nodes;

	if (list->n && agi_resolver_new(list, &n->resolver))
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	if (n->resolver && !agi_bootstrap_wait(n->resolver, AGI_RESOLVE_WAIT_MS, &n->resolved))
		AGI_LOG(n->log, AGI_LOG_WARN, "bootstrap_unresolved",
		        agi_kv_z("why", "name service does not answer, trying on"));
	if (n->resolved.n_failed)
		AGI_LOG(n->log, AGI_LOG_WARN, "bootstrap_unresolved",
		        agi_kv_u("names", n->resolved.n_failed), agi_kv_z("first", n->resolved.failed));
	agi_bootstrap_advertise(&n->advertise, &n->config->node.advertise,
	                        agi_listener_addr(n->listener), &n->resolved);
	agi_bootstrap_name_self(&n->resolved, &n->advertise, agi_listener_addr(n->listener));
	return AGI_OK;
}

static uint32_t weight_milli(const struct agi_config *c) { return (uint32_t)(c->node.weight * 1000 + 0.5); }

static void fill_dht_cfg(struct agi_node *n, struct agi_dht_cfg *c)
{
	const struct agi_config *f = n->config;

	memcpy(c->seckey, n->identity.seckey, sizeof c->seckey);
	randombytes_buf(&c->seed, sizeof c->seed);
	c->self.id = n->identity.id;
	c->self.incarnation = n->identity.incarnation;
	c->self.addr = n->advertise;
	c->self.weight_milli = weight_milli(f);
	snprintf(c->self.zone, sizeof c->self.zone, "%s", f->node.zone);
	memcpy(c->bootstrap, n->resolved.addr, sizeof c->bootstrap);
	c->n_bootstrap = n->resolved.n;
	/* a node that was in a cluster never makes one, whatever became of its store */
	c->is_first_listed = agi_bootstrap_is_first(&n->resolved, &n->advertise) && !n->has_rejoined;
	c->force_init = n->force_init;
	c->slot_bits = f->node.slot_bits;
	c->replicas = f->dht.replication_factor;
	c->virtual_nodes = f->dht.virtual_nodes;
	c->rebalance_bytes_per_s = f->dht.rebalance_bytes_per_s;
	c->rebalance_slots = f->dht.rebalance_slots;
	c->repair_interval_ms = f->dht.repair_interval_ms;
	c->repair_bytes = (uint32_t)f->dht.repair_bytes_per_s;
	c->hint_ttl_ms = f->dht.hint_ttl_ms;
	c->tombstone_grace_ms = f->dht.tombstone_grace_ms;
	c->lookup_paths = f->dht.lookup_paths;
	c->down_after_ms = f->node.down_after_ms;
	c->stable_ms = f->node.stable_after_ms;
	c->genesis_wait_ms = f->node.genesis_wait_ms;
}

static enum agi_err open_core(struct agi_node *n, struct agi_why *why)
{
	struct agi_dht_host_cfg cfg = {
	    .base = n->base, .links = n->links, .store = n->store, .log = n->log};
	struct agi_dht_status st;
	enum agi_err e = agi_care_open(&n->care, n->config, n->store, &n->identity.id, &n->advertise);

	if (e)
		return agi_fail(why, e, "out of memory");
	cfg.operate = agi_care_operate;
	cfg.operate_ctx = &n->care;
	fill_dht_cfg(n, &cfg.dht);
	e = agi_dht_host_new(&cfg, &n->host, why);
	sodium_memzero(&cfg.dht.seckey, sizeof cfg.dht.seckey);
	if (e)
		return e;
	agi_dht_status(agi_dht_host_core(n->host), &st);
	if (st.is_left)
		return agi_fail(why, AGI_E_INVALID,
		                "%s belongs to a node that has left its cluster for good (agihpc-ctl leave): its "
		                "identity is retired and it holds no data any more. To join as a new node, empty "
		                "the directory or give another one (node.data_dir)",
		                n->config->node.data_dir);
	if (n->config->dht.bootstrap_nodes.n == 0 && agi_id_is_zero(&st.cluster) && !n->force_init)
		return agi_fail(why, AGI_E_INVALID,
		                "nothing to join: give --bootstrap HOST:PORT,… (dht.bootstrap_nodes), or "
		                "--init to create a new cluster");
	if (n->force_init && !agi_id_is_zero(&st.cluster))
		return agi_fail(why, AGI_E_INVALID,
		                "--init: %s already belongs to a cluster; start without --init to return to it",
		                n->config->node.data_dir);
	return AGI_OK;
}

static void on_verdict(void *ctx, struct agi_str service, struct agi_str address, bool is_healthy,
                       const char *detail)
{
	struct agi_node *n = ctx;

	AGI_LOG(n->log, is_healthy ? AGI_LOG_INFO : AGI_LOG_WARN, "service_health",
	        agi_kv_str("service", service), agi_kv_str("address", address),
	        agi_kv_b("healthy", is_healthy), agi_kv_z("detail", detail));
	agi_dht_host_set_health(n->host, service, address, is_healthy, UINT32_MAX);
}

static const struct agi_tls_client *dialer_of(void *ctx)
{
	return agi_security_dialer(((struct agi_node *)ctx)->security);
}

static enum agi_err open_adverts(struct agi_node *n, struct agi_why *why)
{
	const struct agi_config_services *s = &n->config->dht.services;
	struct agi_addr addr;
	enum agi_err e = agi_health_checks_new(n->base, on_verdict, n, &n->checks);

	if (!e)
		e = agi_adverts_new(n->host, n->checks, n->log, &n->adverts);
	if (!e)
		e = agi_activate_new(&(struct agi_activate_cfg){n->host, n->adverts, n->config, n->log, n->identity.id},
		                     &n->activate);
	if (e)
		return agi_fail(why, e, "out of memory");
	agi_health_checks_set_tls(n->checks, dialer_of, n);
	if (agi_health_checks_permit(n->checks, &n->config->node.exec_checks) != AGI_OK)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	for (size_t i = 0; i < n->n_roles && !e; i++) {
		addr = *agi_role_host_addr(n->roles[i]);
		if (agi_ip_is_wildcard(&addr))
			memcpy(addr.ip, n->advertise.ip, sizeof addr.ip);
		e = agi_activate_add(n->activate, agi_role_host_def(n->roles[i])->name, &addr,
		                     agi_security_role_traits(n->security));
	}
	for (size_t i = 0; i < s->n && !e; i++)
		if (!is_own_role(n, s->v[i].name))
			e = agi_adverts_add_service(n->adverts, &s->v[i], &n->advertise, why);
	return e;
}

/* --- servers ------------------------------------------------------------------------------------------------ */
static bool overlay_is_serving(void *ctx)
{
	char why[128];

	return agi_svc_is_ready(&((struct agi_node *)ctx)->svc, why);
}

static void fill_svc(struct agi_node *n)
{
	static const char *const names[OVERLAY_SERVICES] = {
	    "agihpc.v1.KvService",
	    "agihpc.v1.RegistryService",
	    "agihpc.v1.NodeService",
	    "agihpc.v1.SafetyService",
	    "agihpc.v1.AuditService",
	    "agi.safety.v1.PreActionSafetyService",
	};

	n->svc = (struct agi_svc){.host = n->host,
	                          .links = n->links,
	                          .safety_links = agi_safety_host_links(n->safety),
	                          .store = n->store,
	                          .disk = &n->disk,
	                          .care = &n->care,
	                          .checks = n->checks,
	                          .log = n->log,
	                          .config = n->config,
	                          .security = n->security,
	                          .self = n->identity.id,
	                          .advertise = n->advertise,
	                          .started_us = agi_clock_now().mono_us,
	                          .activate = n->activate,
	                          .role_is_serving = role_is_serving,
	                          .gateway_illness = gateway_illness,
	                          .ctx = n};
	n->role_health = (struct agi_role_health){&n->svc, n->config->node.forward == AGI_SWITCH_ON};
	n->health = (struct agi_svc_health){.names = names,
	                                    .n = OVERLAY_SERVICES,
	                                    .is_serving = overlay_is_serving,
	                                    .ctx = n,
	                                    .base = n->base,
	                                    .state_of = agi_role_health_state,
	                                    .find_out = agi_role_health_find_out,
	                                    .others_ctx = &n->role_health};
	n->http_api.svc = &n->svc;
}

static struct agi_grpc_server_cfg grpc_cfg(const struct agi_config *c)
{
	static const enum agi_grpc_compress compress[] = {
	    [AGI_COMPRESSION_ASKED] = AGI_GRPC_COMPRESS_ASKED,
	    [AGI_COMPRESSION_ACCEPTED] = AGI_GRPC_COMPRESS_ACCEPTED,
	    [AGI_COMPRESSION_NEVER] = AGI_GRPC_COMPRESS_NEVER};
	uint64_t twice = 2 * c->node.grpc.recv_max_bytes, held = c->node.grpc.conn_max_bytes;

	return (struct agi_grpc_server_cfg){
	    .recv_max_bytes = (uint32_t)c->node.grpc.recv_max_bytes,
	    .conn_bytes_max = held > twice ? held : twice,
	    .header_bytes_max = (uint32_t)c->node.grpc.header_max_bytes,
	    .connections_max = c->node.grpc.connections_max,
	    .streams_max = c->node.grpc.streams_max,
	    .keepalive_ms = c->node.grpc.keepalive_ms,
	    .keepalive_timeout_ms = c->node.grpc.keepalive_timeout_ms,
	    .age_max_ms = c->node.grpc.age_max_ms,
	    .age_grace_ms = c->node.grpc.age_grace_ms,
	    .compress = compress[c->node.grpc.compression]};
}

static enum agi_err open_stop(struct agi_node *n, struct agi_why *why)
{
	enum agi_err e = agi_stop_host_new(n->base, n->loop, n->host, n->safety, n->log, &n->identity.id, &n->stop);

	return e ? agi_fail(why, e, "emergency stop: %s", agi_err_text(e)) : AGI_OK;
}

static enum agi_err open_servers(struct agi_node *n, struct agi_why *why)
{
	const struct agi_grpc_server_cfg cfg = grpc_cfg(n->config);
	enum agi_err e;

	fill_svc(n);
	e = agi_svc_admission_open(&n->svc, n->base);
	if (e)
		return agi_fail(why, e, "out of memory");
	e = agi_service_watches_new(&n->svc, n->base, &n->svc.service_watches);
	if (e)
		return agi_fail(why, e, "out of memory");
	e = agi_metrics_new(&n->metrics);
	if (e)
		return agi_fail(why, e, "out of memory");
	agi_metrics_add_part(n->metrics, agi_safety_host_metrics(n->safety));
	n->http_api.more_metrics = agi_metrics_write;
	n->http_api.ctx = n->metrics;
	e = agi_http_new(n->base, agi_http_api_get, &n->http_api, &n->http);
	if (!e)
		e = agi_grpc_server_new(n->base, &cfg, &n->server);
	if (!e)
		e = agi_svc_kv_add(n->server, &n->svc);
	if (!e)
		e = agi_svc_lease_add(n->server, &n->svc);
	if (!e)
		e = agi_svc_registry_add(n->server, &n->svc);
	if (!e)
		e = agi_svc_node_add(n->server, &n->svc);
	if (!e)
		e = agi_care_join(&n->care, n->base, n->host, n->log);
	if (!e)
		e = agi_svc_backup_add(n->server, &n->care);
	if (!e)
		e = agi_svc_health_add(n->server, &n->health);
	if (!e)
		e = agi_safety_door_serve(agi_safety_host_door(n->safety), n->server);
	if (!e)
		e = agi_stop_host_serve(n->stop, n->server);
	n->audit = (struct agi_svc_audit){.main = n->loop, .safety = n->safety};
	agi_id_hex(n->audit.node, &n->identity.id);
	if (!e)
		e = agi_svc_audit_add(&n->audit, n->server);
	if (!e)
		e = agi_grpc_reflection_add(n->server);
	if (e)
		return agi_fail(why, e, "gRPC services: %s", agi_err_text(e));
	agi_grpc_server_serve_http(n->server, n->http);
	agi_security_guard(n->security, n->server);
	agi_grpc_server_observe(n->server, agi_metrics_on_grpc, n->metrics);
	return AGI_OK;
}

static enum agi_err open_dns(struct agi_node *n, struct agi_why *why)
{
	return n->config->dns.listen.port ? agi_dns_services_new(n->base, n->config, n->host, &n->dns, why) : AGI_OK;
}

static void find_role(void *ctx, struct agi_str role, uint32_t timeout_ms, agi_forward_found_fn *fn,
                      void *arg)
{
	agi_role_find(((struct agi_node *)ctx)->host, role, timeout_ms, fn, arg);
}

static bool runs_here(void *ctx, const char *role) { return is_own_role(ctx, role); }

/* The services of roles: those that run here are served, the others handed on. */
static enum agi_err open_forward(struct agi_node *n, struct agi_why *why)
{
	const struct agi_forward_cfg cfg = {.base = n->base,
	                                    .answer_bytes_max = (uint32_t)n->config->node.grpc.recv_max_bytes,
	                                    .is_on = n->config->node.forward == AGI_SWITCH_ON,
	                                    .checks_tokens = n->config->auth.tokens_file[0],
	                                    .takes_clear_tokens = agi_security_takes_clear(n->security),
	                                    .tls = dialer_of,
	                                    .find = find_role,
	                                    .runs_here = runs_here,
	                                    .ctx = n};
	enum agi_err e = agi_forward_new(&cfg, &n->forward);

	if (!e)
		e = agi_forward_serve(n->forward, n->server);
	if (!e && is_own_role(n, "erisml"))
		e = agi_safety_door_serve_erisml(agi_safety_host_door(n->safety), n->server);
	if (!e && is_own_role(n, "in-action"))
		e = agi_stop_host_serve_actions(n->stop, n->server);
	if (!e && is_own_role(n, "post-action"))
		e = agi_safety_door_serve_outcomes(agi_safety_host_door(n->safety), n->server);
	return e ? agi_fail(why, e, "services of roles: %s", agi_err_text(e)) : AGI_OK;
}

static enum agi_err open_io_servers(struct agi_node *n, struct agi_why *why)
{
	const struct agi_grpc_server_cfg cfg = grpc_cfg(n->config);

	return agi_io_host_serve(n->io, &cfg, n->server, is_own_role(n, "erisml"), n->metrics, why);
}

static enum agi_err open_roles(struct agi_node *n, struct agi_why *why)
{
	const struct agi_grpc_server_cfg cfg = grpc_cfg(n->config);
	const struct agi_role_hooks hooks = {
	    .add = add_role,
	    .grpc = &cfg,
	    .is_serving = role_answers,
	    .ctx = n,
	    .take_http = role_http,
	    .get = {.far = n->server,
	            .near_loop = agi_safety_host_loop(n->safety),
	            .far_loop = n->loop,
	            .is_get_only = true},
	    .security = agi_safety_host_security(n->safety),
	    .observe = agi_metrics_on_grpc,
	    .observe_ctx = agi_safety_host_metrics(n->safety)};
	enum agi_err e = AGI_OK;

	for (size_t i = 0; i < n->n_roles && !e; i++)
		e = agi_role_host_serve(n->roles[i], &hooks, why);
	return e;
}

static enum agi_err open_events(struct agi_node *n, struct agi_why *why)
{
	enum agi_err e;

	agi_disk_watch_init(&n->disk, n->config, n->store, n->host, n->log);
	n->tick = evtimer_new(n->base, on_tick, n);
	if (n->resolver)
		n->resolver_ready = event_new(n->base, agi_resolver_fd(n->resolver),
		                              EV_READ | EV_PERSIST, on_resolved, n);
	if (!n->tick || (n->resolver && (!n->resolver_ready || event_add(n->resolver_ready, NULL))))
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	e = agi_safety_host_start(n->safety, why);
	return e ? e : agi_io_host_start(n->io, why);
}

enum agi_err agi_node_new(const struct agi_node_cfg *cfg, struct agi_node **out, struct agi_why *why)
{
	static enum agi_err (*const steps[])(struct agi_node *, struct agi_why *) = {
	    open_loops, open_ports,   open_disk,    find_bootstrap, open_links, open_core, open_stop,
	    open_adverts, open_servers, open_dns, open_forward, open_io_servers,
	    open_roles,   open_events};
	struct agi_node *n = calloc(1, sizeof *n);
	enum agi_err e = AGI_OK;

	if (!n)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	n->config = cfg->config;
	n->base = cfg->base;
	n->log = cfg->log;
	n->force_init = cfg->force_init;
	n->is_rejoin = cfg->is_rejoin;
	for (size_t i = 0; i < sizeof steps / sizeof *steps && !e; i++)
		e = steps[i](n, why);
	if (e) {
		agi_node_free(n);
		return e;
	}
	*out = n;
	return AGI_OK;
}

/* --- life --------------------------------------------------------------------------------------------------- */
void agi_node_start(struct agi_node *n)
{
	AGI_LOG(n->log, AGI_LOG_INFO, "started", agi_kv_z("version", AGI_VERSION),
	        agi_kv_id("node", &n->identity.id), agi_kv_b("new_identity", n->identity.is_new),
	        agi_kv_u("incarnation", n->identity.incarnation), agi_kv_addr("addr", &n->advertise),
	        agi_kv_addr("listen", agi_listener_addr(n->listener)),
	        agi_kv_z("zone", n->config->node.zone), agi_kv_u("roles", n->n_roles),
	        agi_kv_u("bootstrap", n->resolved.n));
	agi_security_tell(n->security);
	agi_dht_host_start(n->host);
	agi_stop_host_start(n->stop);
	for (size_t i = 0; agi_role_def_at(i); i++)
		if (agi_role_def_at(i)->is_awaited)
			agi_dht_host_follow(n->host, agi_str_of(agi_role_def_at(i)->name));
	agi_activate_start(n->activate);
	agi_adverts_check_loaded(n->adverts);
	n->tick_due_us = agi_clock_now().mono_us;
	on_tick(-1, 0, n);
	agi_notify("READY=1\nSTATUS=joining");
}

static void stop(struct agi_node *n)
{
	n->svc.is_stopping = true;
	agi_listener_free(n->listener);
	agi_listener_free(n->unix_listener);
	n->listener = n->unix_listener = NULL;
	agi_dht_host_stop(n->host);
	agi_grpc_server_drain(n->server);
	agi_io_host_drain(n->io);
	agi_safety_host_drain(n->safety);
	for (size_t i = 0; i < n->n_roles; i++)
		(void)agi_safety_host_run(n->safety, drain_role, n->roles[i]);
	event_base_loopexit(n->base, &(struct timeval){0, AGI_STOP_GRACE_MS * 1000});
}

void agi_node_stop(struct agi_node *n)
{
	n->wants_restart = false;
	if (n->svc.is_stopping)
		return;
	agi_notify("STOPPING=1");
	AGI_LOG(n->log, AGI_LOG_INFO, "stopping");
	stop(n);
}

static void restart(struct agi_node *n)
{
	if (n->svc.is_stopping)
		return;
	agi_notify("STATUS=starting anew");
	AGI_LOG(n->log, AGI_LOG_WARN, "restarting", agi_kv_z("why", "the disk has space again"));
	n->wants_restart = true;
	stop(n);
}

bool agi_node_wants_restart(const struct agi_node *n)
{
	return n->wants_restart;
}

void agi_node_reload(struct agi_node *n, const struct agi_config *fresh)
{
	agi_security_reload(n->security);
	reload_others(n);
	if (n->svc.is_stopping)
		return;
	agi_dht_host_set_place(n->host, weight_milli(fresh), fresh->node.zone);
	agi_dht_host_set_rebalance(n->host, fresh->dht.rebalance_bytes_per_s, fresh->dht.rebalance_slots);
	agi_dht_host_set_repair(n->host, fresh->dht.repair_interval_ms, (uint32_t)fresh->dht.repair_bytes_per_s);
}

/* The other threads first, then nothing runs beside this. Servers next: their open calls are cancelled in the core;
 * the store last: it writes what is queued. */
void agi_node_free(struct agi_node *n)
{
	if (!n)
		return;
	agi_safety_host_stop(n->safety);
	agi_io_host_stop(n->io);
	agi_listener_free(n->listener);
	agi_listener_free(n->unix_listener);
	agi_io_host_close(n->io);
	for (size_t i = 0; i < n->n_roles; i++)
		agi_role_host_free(n->roles[i]);
	agi_grpc_server_free(n->server);
	agi_http_free(n->http);
	agi_dns_services_free(n->dns);
	agi_stop_host_free(n->stop);
	agi_safety_host_free(n->safety);
	agi_loop_free(n->loop); /* what other loops still had to say is dropped */
	agi_io_host_free(n->io);
	agi_metrics_free(n->metrics);
	agi_security_free(n->security);
	agi_activate_free(n->activate);
	agi_adverts_free(n->adverts);
	agi_health_checks_free(n->checks);
	agi_links_free(n->links);
	agi_care_close(&n->care);
	agi_service_watches_free(n->svc.service_watches);
	agi_dht_host_free(n->host);
	agi_care_free(&n->care);
	agi_svc_admission_close(&n->svc);
	agi_forward_free(n->forward); /* what it looked for was forgotten */
	agi_store_close(n->store);
	agi_resolver_free(n->resolver);
	if (n->resolver_ready)
		event_free(n->resolver_ready);
	if (n->tick)
		event_free(n->tick);
	agi_identity_wipe(&n->identity);
	free(n);
}
