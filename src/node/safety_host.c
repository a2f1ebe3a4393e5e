/* SPDX-License-Identifier: Apache-2.0 */
#include "node/safety_host.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <event2/event.h>
#include <sodium.h>

#include "node/audit_host.h"
#include "node/dht_host.h"
#include "node/log.h"
#include "node/msg_codec.h"
#include "node/role_host.h"
#include "node/security.h"

enum {
	TICK_S = 1,            /* log lines that were repeated */
	MAILBOX = 1024,        /* links, snapshots and news; and every place of each door */
	KNOWN_EVERY_US = 1000000,
	FORMING_US = 5000000   /* after a start nodes still find each other: no reason to complain */
};

struct agi_safety_host {
	struct agi_loop *main, *loop;
	const struct agi_config *config;

	/* the main loop's */
	struct agi_log *log;
	struct agi_safety_door *door;
	struct agi_safety_known told;
	uint64_t told_us;
	struct agi_links_stats links_seen;
	enum agi_canary_state canary; /* as it was told */
	uint64_t canary_at_us;        /* 0 = never */
	struct agi_why illness;
	bool is_illness_logged;
	uint64_t opened_us;

	/* the safety loop's */
	struct agi_safety_plane *plane;
	struct agi_audit_host *audit;
	struct agi_links *links;
	struct agi_metrics *metrics;
	struct agi_security *security;
	struct agi_log *own_log; /* of security; the same descriptor, whole lines */
	_Atomic int log_level;   /* the main loop's wish */
	_Atomic uint32_t standby; /* the same: bits, by agi_role_def_at */
	struct agi_loop_message reload;
	struct event *tick;
	struct agi_safety_known known;
	bool is_draining;
	void (*on_stop)(void *ctx, const struct agi_stop_record *r); /* set before it starts */
	void *on_stop_ctx;
	struct agi_safety_policy_hooks on_policy; /* as on_stop */
	void *on_policy_ctx;
};

/* --- safety → main: news for the log and the metrics --------------------------------------------------------- */
enum news_kind { NEWS_CHECK_FAILED, NEWS_LINK_DOWN, NEWS_MESSAGE_REFUSED, NEWS_AUDIT_FAILED, NEWS_LINKS, NEWS_CANARY };
struct news {
	struct agi_safety_host *host;
	enum news_kind kind;
	enum agi_panel_cause cause;
	struct agi_id peer;
	struct agi_addr addr;
	enum agi_err err;
	struct agi_why why;
	struct agi_links_stats links;
	enum agi_canary_state canary;
};

static void log_news(struct agi_log *log, const struct news *n)
{
	switch (n->kind) {
	case NEWS_CHECK_FAILED:
		AGI_LOG(log, AGI_LOG_WARN, "safety_check_failed",
		        agi_kv_z("cause", agi_panel_cause_name(n->cause)));
		break;
	case NEWS_LINK_DOWN:
		AGI_LOG(log, n->err == AGI_E_AUTH ? AGI_LOG_WARN : AGI_LOG_DEBUG, "link_down",
		        agi_kv_id("node", &n->peer), agi_kv_addr("addr", &n->addr),
		        agi_kv_u("channel", AGI_CHAN_SAFETY), agi_kv_z("err", agi_err_name(n->err)),
		        agi_kv_z("why", n->why.text));
		break;
	case NEWS_MESSAGE_REFUSED:
		AGI_LOG(log, AGI_LOG_WARN, "envelope_refused", agi_kv_id("node", &n->peer),
		        agi_kv_addr("addr", &n->addr), agi_kv_z("err", agi_err_name(n->err)),
		        agi_kv_z("why", n->why.text));
		break;
	case NEWS_AUDIT_FAILED:
		AGI_LOG(log, AGI_LOG_ERROR, "audit_log_failed", agi_kv_z("err", agi_err_name(n->err)),
		        agi_kv_z("why", n->why.text));
		break;
	case NEWS_LINKS:
	case NEWS_CANARY:
		break;
	}
}

/* Each illness is logged once, and its end. */
static void take_canary(struct agi_safety_host *h, const struct news *n)
{
	uint64_t now_us = agi_clock_now().mono_us;

	h->canary = n->canary;
	h->canary_at_us = now_us;
	if (n->why.text[0])
		h->illness = n->why;
	if (n->canary == AGI_CANARY_PASSING && h->is_illness_logged) {
		h->is_illness_logged = false;
		AGI_LOG(h->log, AGI_LOG_WARN, "gateway_well");
	} else if (!h->is_illness_logged && (n->canary == AGI_CANARY_FAILING ||
	                                     (n->canary == AGI_CANARY_UNTRIED && now_us - h->opened_us > FORMING_US))) {
		h->is_illness_logged = true;
		AGI_LOG(h->log, AGI_LOG_ERROR, "gateway_ill", agi_kv_z("why", h->illness.text));
	}
}

const char *agi_safety_host_illness(const struct agi_safety_host *h)
{
	if (!h->canary_at_us)
		return "its canary has not run yet";
	if (agi_clock_now().mono_us - h->canary_at_us > AGI_CANARY_STALE_MS * 1000ull)
		return "its canary does not run any more: the safety loop is stuck";
	return h->canary == AGI_CANARY_PASSING ? NULL : h->illness.text;
}

static void on_news(void *arg)
{
	struct news *n = arg;

	if (n->kind == NEWS_LINKS)
		n->host->links_seen = n->links;
	else if (n->kind == NEWS_CANARY)
		take_canary(n->host, n);
	else
		log_news(n->host->log, n);
	free(n);
}

/* What finds no room is not told. */
static void tell(struct agi_safety_host *h, const struct news *news)
{
	struct news *n = malloc(sizeof *n);

	if (!n)
		return;
	*n = *news;
	n->host = h;
	if (agi_loop_post(h->main, on_news, free, n))
		free(n);
}

/* --- the safety loop: links ---------------------------------------------------------------------------------- */
static void on_message(void *ctx, const struct agi_id *peer, const struct agi_addr *remote,
                       enum agi_chan chan, struct agi_str payload)
{
	struct agi_safety_host *h = ctx;
	struct news refused = {.kind = NEWS_MESSAGE_REFUSED, .peer = *peer, .addr = *remote};
	struct agi_envelope env;
	(void)chan;

	refused.err = agi_envelope_open(payload, &env, &refused.why);
	if (!refused.err && env.kind == AGI_BODY_DHT)
		refused.err = agi_fail(&refused.why, AGI_E_UNSUPPORTED,
		                       "not of the safety plane, on the safety channel");
	if (refused.err)
		tell(h, &refused);
	else
		agi_safety_plane_on_message(h->plane, &(struct agi_peer){*peer, *remote}, &env);
}

static void on_down(void *ctx, const struct agi_id *peer, const struct agi_addr *dialled,
                    enum agi_chan chan, enum agi_err err, const struct agi_why *why)
{
	struct agi_safety_host *h = ctx;
	struct news n = {.kind = NEWS_LINK_DOWN, .peer = *peer, .addr = *dialled, .err = err};
	(void)chan;

	if (why)
		n.why = *why;
	tell(h, &n);
	if (err) /* else it closed in order, nothing was lost */
		agi_safety_plane_on_unreachable(h->plane, peer);
}

/* --- the safety loop: the plane's hooks ------------------------------------------------------------------------ */
static enum agi_err send_to(void *ctx, const struct agi_peer *to, struct agi_str envelope)
{
	struct agi_safety_host *h = ctx;

	return agi_links_send(h->links, &to->id, &to->addr, AGI_CHAN_SAFETY, envelope);
}

static size_t instances(void *ctx, struct agi_str service, struct agi_instance *out, size_t max)
{
	struct agi_safety_host *h = ctx;

	return agi_safety_known_find(&h->known, agi_clock_now().mono_us, service, out, max);
}

static void observe(void *ctx, const struct agi_safety_event *e)
{
	struct agi_safety_host *h = ctx;

	agi_metrics_on_safety(h->metrics, e);
	if (e->kind == AGI_SAFETY_CHECKED && e->cause != AGI_PANEL_VOTED)
		tell(h, &(struct news){.kind = NEWS_CHECK_FAILED, .cause = e->cause});
}

static size_t witnesses(void *ctx, struct agi_peer *out, size_t max, bool *is_alone)
{
	struct agi_safety_host *h = ctx;

	return agi_safety_known_witnesses(&h->known, agi_clock_now().mono_us, out, max, is_alone);
}

static enum agi_err audit_sync(void *ctx, const struct agi_audit_sync *sync)
{
	return agi_audit_host_sync(((struct agi_safety_host *)ctx)->audit, sync);
}

static void audit_failed(void *ctx, enum agi_err err, const struct agi_why *why)
{
	tell(ctx, &(struct news){.kind = NEWS_AUDIT_FAILED, .err = err, .why = *why});
}

static void canary(void *ctx, const struct agi_canary *c, const struct agi_why *why)
{
	struct news n = {.kind = NEWS_CANARY, .canary = c->state};

	if (why)
		n.why = *why;
	tell(ctx, &n);
}

static void stopped(void *ctx, const struct agi_stop_record *r)
{
	struct agi_safety_host *h = ctx;

	if (h->on_stop)
		h->on_stop(h->on_stop_ctx, r);
}

static void policy_noticed(void *ctx)
{
	struct agi_safety_host *h = ctx;

	if (h->on_policy.noticed)
		h->on_policy.noticed(h->on_policy_ctx);
}

static void policy_told(void *ctx, const struct agi_policy_told *t)
{
	struct agi_safety_host *h = ctx;

	if (h->on_policy.told)
		h->on_policy.told(h->on_policy_ctx, t);
}

static uint32_t standby_bit(const struct agi_role_def *role)
{
	for (size_t i = 0; i < 32 && agi_role_def_at(i); i++)
		if (agi_role_def_at(i) == role)
			return 1u << i;
	return 0;
}

void agi_safety_host_set_standby(struct agi_safety_host *h, const struct agi_role_def *role, bool is_standby)
{
	if (is_standby)
		atomic_fetch_or(&h->standby, standby_bit(role));
	else
		atomic_fetch_and(&h->standby, ~standby_bit(role));
}

bool agi_safety_host_serves(struct agi_safety_host *h, const struct agi_role_def *role)
{
	if (h->is_draining || (atomic_load(&h->standby) & standby_bit(role)))
		return false;
	if (role->follows_stop &&
	    !agi_latch_is_followed(agi_safety_plane_latch(h->plane), agi_clock_now().mono_us))
		return false;
	return strcmp(role->name, "safety-gateway") != 0 || agi_safety_plane_is_well(h->plane);
}

/* --- main → safety --------------------------------------------------------------------------------------------- */
struct parcel {
	struct agi_safety_host *host;
	int fd;
	struct agi_addr remote;
	struct agi_safety_known known;
};

static void accept_link(void *arg)
{
	struct parcel *p = arg;

	agi_links_accept(p->host->links, p->fd, &p->remote);
	free(p);
}

static void drop_link(void *arg)
{
	struct parcel *p = arg;

	close(p->fd);
	free(p);
}

void agi_safety_host_take_link(struct agi_safety_host *h, int fd, const struct agi_addr *remote)
{
	struct parcel *p = malloc(sizeof *p);

	if (!p) {
		close(fd);
		return;
	}
	p->host = h;
	p->fd = fd;
	p->remote = *remote;
	if (agi_loop_post(h->loop, accept_link, drop_link, p))
		drop_link(p);
}

static void take_known(void *arg)
{
	struct parcel *p = arg;
	struct agi_safety_host *h = p->host;
	struct news n = {.kind = NEWS_LINKS};

	h->known = p->known;
	free(p);
	if (!agi_safety_plane_is_well(h->plane)) /* perhaps there is an ErisML now */
		agi_safety_plane_run_canary(h->plane);
	agi_links_stats(h->links, &n.links);
	tell(h, &n);
}

void agi_safety_host_know(struct agi_safety_host *h, const struct agi_dht *d, uint64_t now_us)
{
	struct parcel *p = calloc(1, sizeof *p);

	if (!p)
		return; /* tried again soon */
	p->host = h;
	agi_safety_known_fill(&p->known, d, now_us);
	if (h->told_us && now_us - h->told_us < KNOWN_EVERY_US && agi_safety_known_eq(&p->known, &h->told)) {
		free(p);
		return;
	}
	h->told = p->known;
	h->told_us = now_us;
	if (agi_loop_post(h->loop, take_known, free, p)) {
		h->told_us = 0;
		free(p);
	}
}

/* To the ErisML of a configured address. */
static void show_credentials(struct agi_safety_host *h)
{
	bool is_tls = h->config->gateway.erisml_tls == AGI_SWITCH_ON;

	agi_safety_plane_set_credentials(h->plane, is_tls ? agi_security_dialer(h->security) : NULL,
	                                 agi_security_erisml_token(h->security));
}

static void reload(void *arg)
{
	struct agi_safety_host *h = arg;

	agi_log_set_level(h->own_log, (enum agi_log_level)atomic_load(&h->log_level));
	agi_security_reload(h->security);
	show_credentials(h);
}

void agi_safety_host_reload(struct agi_safety_host *h)
{
	atomic_store(&h->log_level, (int)agi_log_level(h->log));
	(void)!agi_loop_post_kept(h->loop, &h->reload);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct agi_safety_host *h = arg;
	(void)fd;
	(void)what;

	agi_log_flush_repeats(h->own_log);
}

uint64_t agi_safety_host_cpu_us(const struct agi_safety_host *h) { return agi_loop_cpu_us(h->loop); }

bool agi_safety_host_run(struct agi_safety_host *h, agi_loop_fn *fn, void *arg)
{
	return agi_loop_post(h->loop, fn, NULL, arg) == AGI_OK;
}

enum agi_err agi_safety_host_post(struct agi_safety_host *h, agi_loop_fn *fn, agi_loop_fn *drop, void *arg)
{
	return agi_loop_post(h->loop, fn, drop, arg);
}

void agi_safety_host_on_stop(struct agi_safety_host *h, void (*fn)(void *ctx, const struct agi_stop_record *r),
                             void *ctx)
{
	h->on_stop = fn;
	h->on_stop_ctx = ctx;
}

void agi_safety_host_on_policy(struct agi_safety_host *h, const struct agi_safety_policy_hooks *hooks, void *ctx)
{
	h->on_policy = *hooks;
	h->on_policy_ctx = ctx;
}

static void drain(void *arg) { ((struct agi_safety_host *)arg)->is_draining = true; }

void agi_safety_host_drain(struct agi_safety_host *h) { (void)agi_safety_host_run(h, drain, h); }

/* --- queries --------------------------------------------------------------------------------------------------- */
void agi_safety_host_audit_dir(const struct agi_safety_host *h, char out[AGI_AUDIT_PATH_MAX])
{
	snprintf(out, AGI_AUDIT_PATH_MAX, "%s/audit", h->config->node.data_dir);
}
struct agi_loop *agi_safety_host_audit_loop(const struct agi_safety_host *h) { return agi_audit_host_loop(h->audit); }
struct agi_loop *agi_safety_host_loop(const struct agi_safety_host *h) { return h->loop; }
struct event_base *agi_safety_host_base(const struct agi_safety_host *h) { return agi_loop_base(h->loop); }
struct agi_security *agi_safety_host_security(const struct agi_safety_host *h) { return h->security; }
struct agi_safety_plane *agi_safety_host_plane(const struct agi_safety_host *h) { return h->plane; }
struct agi_metrics *agi_safety_host_metrics(const struct agi_safety_host *h) { return h->metrics; }
struct agi_safety_door *agi_safety_host_door(const struct agi_safety_host *h) { return h->door; }
const struct agi_links_stats *agi_safety_host_links(const struct agi_safety_host *h) { return &h->links_seen; }

/* --- life ------------------------------------------------------------------------------------------------------ */
static enum agi_err open_security(struct agi_safety_host *h, struct agi_why *why)
{
	const struct agi_config *c = h->config;
	enum agi_err e;

	h->tick = event_new(agi_loop_base(h->loop), -1, EV_PERSIST, on_tick, h);
	if (!h->tick || event_add(h->tick, &(struct timeval){.tv_sec = TICK_S}) ||
	    agi_log_new(STDERR_FILENO, c->node.log_level, c->node.log_format, &h->own_log))
		return agi_fail(why, AGI_E_NOMEM, "safety loop: out of memory");
	e = agi_security_new(c, h->own_log, &h->security, why);
	if (!e)
		agi_security_follow(h->security);
	return e;
}

enum agi_err agi_safety_host_new(const struct agi_safety_host_cfg *cfg, struct agi_safety_host **out,
                                 struct agi_why *why)
{
	const struct agi_loop_cfg loop = {
	    .name = "safety",
	    .mailbox_max = MAILBOX + (1 + cfg->doors) * AGI_SAFETY_DOOR_CALLS,
	    .nice = AGI_SAFETY_NICE};
	struct agi_safety_host *h = calloc(1, sizeof *h);
	enum agi_err e;

	if (!h)
		return agi_fail(why, AGI_E_NOMEM, "safety loop: out of memory");
	h->main = cfg->main;
	h->config = cfg->config;
	h->log = cfg->log;
	h->reload = (struct agi_loop_message){.fn = reload, .arg = h};
	e = agi_loop_new(&loop, &h->loop);
	if (!e)
		e = agi_metrics_new(&h->metrics);
	if (!e)
		e = agi_audit_host_new(h->loop, &h->audit);
	e = e ? agi_fail(why, e, "safety loop: %s", agi_err_text(e)) : open_security(h, why);
	if (e)
		agi_safety_host_free(h);
	else
		*out = h;
	return e;
}

enum agi_err agi_safety_host_new_door(struct agi_safety_host *h, struct agi_loop *home,
                                      struct agi_safety_door **out)
{
	return agi_safety_door_new(home, h->loop, h->plane, h->config->failsafe.safety_check_timeout_ms, out);
}

static enum agi_err open_audit(struct agi_safety_host *h, struct agi_why *why)
{
	struct agi_audit_found found;
	struct agi_safety_proofs proofs;
	char dir[AGI_AUDIT_PATH_MAX];
	enum agi_err e;

	agi_safety_host_audit_dir(h, dir);
	e = agi_safety_plane_open_audit(h->plane, dir, h->config->safety.audit_bytes, &found, why);
	if (e)
		return e;
	agi_audit_host_serve(h->audit, h->plane);
	if (found.cut_bytes || found.is_damaged)
		AGI_LOG(h->log, AGI_LOG_WARN, found.is_damaged ? "audit_log_damaged" : "audit_log_torn",
		        agi_kv_u("incarnation", found.incarnation), agi_kv_u("seq", found.seq),
		        agi_kv_u("cut_bytes", found.cut_bytes));
	e = agi_safety_plane_continue_proofs(h->plane, dir, &proofs, why);
	if (!e && proofs.broken)
		AGI_LOG(h->log, AGI_LOG_ERROR, "decision_proofs_broken", agi_kv_u("incarnation", proofs.incarnation),
		        agi_kv_u("seq", proofs.seq), agi_kv_z("why", proofs.why.text));
	return e;
}

static enum agi_err start_canary(struct agi_safety_host *h, struct agi_why *why)
{
	struct agi_safety_status st;

	h->opened_us = agi_clock_now().mono_us;
	agi_safety_plane_status(h->plane, &st);
	if (st.serves_gateway && agi_safety_plane_start_canary(h->plane))
		return agi_fail(why, AGI_E_NOMEM, "safety gateway: out of memory");
	return AGI_OK;
}

enum agi_err agi_safety_host_open(struct agi_safety_host *h, const struct agi_safety_self *self,
                                  const struct agi_links_cfg *links, struct agi_why *why)
{
	static const struct agi_links_handlers handlers = {.on_message = on_message, .on_down = on_down};
	const struct agi_safety_hooks hooks = {.send = send_to, .instances = instances, .observe = observe,
	                                   .stopped = stopped, .witnesses = witnesses,
	                                   .policy_noticed = policy_noticed, .policy_told = policy_told,
	                                   .audit_sync = audit_sync, .audit_failed = audit_failed,
	                                   .canary = canary};
	struct event_base *base = agi_loop_base(h->loop);
	struct agi_links_cfg cfg = *links;
	enum agi_err e;

	cfg.channels = 1 << AGI_CHAN_SAFETY;
	e = agi_links_new(base, &cfg, &handlers, h, &h->links);
	sodium_memzero(&cfg, sizeof cfg);
	if (e)
		return agi_fail(why, e, "safety links: %s", agi_err_text(e));
	e = agi_safety_plane_new(base, h->config, self, &hooks, h, &h->plane, why);
	if (!e)
		e = open_audit(h, why);
	if (!e)
		e = start_canary(h, why);
	if (!e)
		show_credentials(h);
	if (!e)
		e = agi_safety_host_new_door(h, h->main, &h->door);
	return e;
}

enum agi_err agi_safety_host_start(struct agi_safety_host *h, struct agi_why *why)
{
	enum agi_err e = agi_audit_host_start(h->audit);

	if (!e)
		e = agi_loop_start(h->loop);

	return e ? agi_fail(why, e, "safety loop: no thread can be started (ulimit -u?)") : AGI_OK;
}

void agi_safety_host_stop(struct agi_safety_host *h)
{
	if (!h)
		return;
	agi_loop_stop(h->loop);
	agi_audit_host_stop(h->audit);
}

void agi_safety_host_free(struct agi_safety_host *h)
{
	if (!h)
		return;
	if (h->loop)
		agi_loop_stop(h->loop);
	agi_audit_host_stop(h->audit);
	agi_safety_plane_free(h->plane);
	agi_audit_host_free(h->audit);
	agi_safety_door_free(h->door);
	agi_links_free(h->links);
	agi_security_free(h->security);
	agi_log_free(h->own_log);
	if (h->tick)
		event_free(h->tick);
	agi_loop_free(h->loop);
	agi_metrics_free(h->metrics);
	free(h);
}
