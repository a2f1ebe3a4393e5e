/* SPDX-License-Identifier: Apache-2.0 */
#include "node/security.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <sodium.h>

#include "dht/types.h"
#include "net/tls.h"
#include "node/access.h"
#include "node/log.h"
#include "node/svc_forward.h"

struct agi_security {
	const struct agi_config *config;
	struct agi_log *log, *reload_log;
	struct agi_tls_server *tls; /* NULL = none */
	struct agi_tls_client *dialer; /* NULL = nothing was called over TLS yet */
	struct agi_tokens *tokens;  /* NULL = no tokens file */
	char *bearer;               /* the gateway's; NULL = no erisml_token_file */
	struct stat tokens_seen, bearer_seen;
	uint64_t next_look_us;
	char warning[256];
};

static bool has_tls(const struct agi_config *c) { return c->tls.cert_file[0] != '\0'; }

/* --- reading
 * ------------------------------------------------------------------------------------------------
 */
static enum agi_err open_tls(struct agi_security *s, struct agi_why *why)
{
	const struct agi_config *c = s->config;
	struct agi_tls_server_cfg cfg = {c->tls.cert_file, c->tls.key_file, c->tls.client_ca_file,
					 c->tls.require_client_cert == AGI_SWITCH_ON};
	struct agi_why reason = {""};
	enum agi_err e;

	if (!has_tls(c))
		return AGI_OK;
	e = agi_tls_server_new(&cfg, &s->tls, &reason);
	return e ? agi_fail(why, e, "tls: %.300s", reason.text) : AGI_OK;
}

static enum agi_err open_dialer(struct agi_security *s, struct agi_why *why)
{
	const struct agi_config *c = s->config;
	struct agi_tls_client_cfg cfg = {c->tls.ca_file, c->tls.cert_file, c->tls.key_file,
					 c->tls.server_name};
	struct agi_why reason = {""};
	enum agi_err e = agi_tls_client_new(&cfg, &s->dialer, &reason);

	return e ? agi_fail(why, e, "tls: %.300s", reason.text) : AGI_OK;
}

const struct agi_tls_client *agi_security_dialer(struct agi_security *s)
{
	struct agi_why why = {""};

	if (!s->dialer && open_dialer(s, &why))
		AGI_LOG(s->log, AGI_LOG_ERROR, "tls_dialer_failed", agi_kv_z("why", why.text));
	return s->dialer;
}

uint32_t agi_security_role_traits(const struct agi_security *s)
{
	return (has_tls(s->config) ? AGI_PROVIDER_TLS : 0u) |
	       (s->config->auth.tokens_file[0] ? AGI_PROVIDER_TOKENS : 0u);
}

bool agi_security_takes_clear(const struct agi_security *s)
{
	return !has_tls(s->config) || s->config->tls.plaintext == AGI_CONFIG_PLAINTEXT_ALLOW;
}

/* True when the file is another than the one last seen. */
static bool has_changed(const char *path, struct stat *seen)
{
	struct stat now;
	bool is_other;

	memset(&now, 0, sizeof now);
	if (stat(path, &now) != 0)
		memset(&now, 0, sizeof now);
	is_other = now.st_ino != seen->st_ino || now.st_size != seen->st_size ||
		   now.st_mode != seen->st_mode || now.st_mtim.tv_sec != seen->st_mtim.tv_sec ||
		   now.st_mtim.tv_nsec != seen->st_mtim.tv_nsec;
	*seen = now;
	return is_other;
}

static enum agi_err open_tokens(struct agi_security *s, struct agi_why *why)
{
	const char *path = s->config->auth.tokens_file;
	struct agi_why reason = {""};
	enum agi_err e;

	if (!path[0])
		return AGI_OK;
	(void)has_changed(path, &s->tokens_seen);
	e = agi_tokens_read(path, &s->tokens, &reason);
	return e ? agi_fail(why, e, "auth.tokens_file: %.280s", reason.text) : AGI_OK;
}

static enum agi_err open_bearer(struct agi_security *s, struct agi_why *why)
{
	const char *path = s->config->gateway.erisml_token_file;
	struct agi_why reason = {""};
	enum agi_err e;

	if (!path[0])
		return AGI_OK;
	s->bearer = sodium_malloc(AGI_BEARER_MAX + 1);
	if (!s->bearer)
		return agi_fail(why, AGI_E_NOMEM, "no guarded memory for a token (see ulimit -l)");
	(void)has_changed(path, &s->bearer_seen);
	e = agi_bearer_read(path, s->bearer, &reason);
	return e ? agi_fail(why, e, "gateway.erisml_token_file: %.280s", reason.text) : AGI_OK;
}

const char *agi_security_erisml_token(const struct agi_security *s) { return s->bearer; }

enum agi_err agi_security_new(const struct agi_config *config, struct agi_log *log,
			      struct agi_security **out, struct agi_why *why)
{
	struct agi_security *s = calloc(1, sizeof *s);
	enum agi_err e;

	if (!s)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	s->config = config;
	s->log = s->reload_log = log;
	e = open_tls(s, why);
	if (!e && (has_tls(config) || config->tls.ca_file[0]))
		e = open_dialer(s, why);
	if (!e)
		e = open_tokens(s, why);
	if (!e)
		e = open_bearer(s, why);
	if (e)
		agi_security_free(s);
	else
		*out = s;
	return e;
}

void agi_security_follow(struct agi_security *s) { s->reload_log = NULL; }

void agi_security_free(struct agi_security *s)
{
	if (!s)
		return;
	agi_tls_server_free(s->tls);
	agi_tls_client_free(s->dialer);
	agi_tokens_free(s->tokens);
	sodium_free(s->bearer); /* wipes; NULL is allowed */
	free(s);
}

/* --- reading again
 * ------------------------------------------------------------------------------------------- */
static void reload_tls(struct agi_security *s)
{
	struct agi_why why = {""};

	if (agi_tls_server_reload(s->tls, &why))
		AGI_LOG(s->reload_log, AGI_LOG_ERROR, "tls_reload_refused", agi_kv_z("why", why.text));
	else
		AGI_LOG(s->reload_log, AGI_LOG_INFO, "tls_reloaded",
			agi_kv_z("cert", s->config->tls.cert_file));
}

static void reload_dialer(struct agi_security *s)
{
	struct agi_why why = {""};

	if (agi_tls_client_reload(s->dialer, &why))
		AGI_LOG(s->reload_log, AGI_LOG_ERROR, "tls_reload_refused", agi_kv_z("why", why.text),
			agi_kv_z("for", "calls of other nodes"));
	else
		AGI_LOG(s->reload_log, AGI_LOG_INFO, "tls_reloaded", agi_kv_z("ca", s->config->tls.ca_file),
			agi_kv_z("for", "calls of other nodes"));
}

static void reload_tokens(struct agi_security *s)
{
	struct agi_tokens *tokens = NULL;
	struct agi_why why = {""};

	if (agi_tokens_read(s->config->auth.tokens_file, &tokens, &why)) {
		AGI_LOG(s->reload_log, AGI_LOG_ERROR, "tokens_reload_refused", agi_kv_z("why", why.text));
		return;
	}
	agi_tokens_free(s->tokens);
	s->tokens = tokens;
	AGI_LOG(s->reload_log, AGI_LOG_INFO, "tokens_reloaded",
		agi_kv_u("tokens", agi_tokens_count(tokens)));
}

static void reload_bearer(struct agi_security *s)
{
	struct agi_why why = {""};

	if (agi_bearer_read(s->config->gateway.erisml_token_file, s->bearer, &why))
		AGI_LOG(s->reload_log, AGI_LOG_ERROR, "token_reload_refused",
			agi_kv_z("why", why.text));
	else
		AGI_LOG(s->reload_log, AGI_LOG_INFO, "token_reloaded",
			agi_kv_z("for", "gateway.erisml_address"));
}

void agi_security_reload(struct agi_security *s)
{
	if (s->tls)
		reload_tls(s);
	if (s->dialer)
		reload_dialer(s);
	if (s->tokens) {
		(void)has_changed(s->config->auth.tokens_file, &s->tokens_seen);
		reload_tokens(s);
	}
	if (s->bearer) {
		(void)has_changed(s->config->gateway.erisml_token_file, &s->bearer_seen);
		reload_bearer(s);
	}
}

bool agi_security_tick(struct agi_security *s, uint64_t now_us)
{
	bool has_read = false;

	if (now_us < s->next_look_us)
		return false;
	s->next_look_us = now_us + (uint64_t)AGI_SECURITY_LOOK_MS * 1000;
	if (s->tls && agi_tls_server_has_changed(s->tls)) {
		reload_tls(s);
		has_read = true;
	}
	if (s->dialer && agi_tls_client_has_changed(s->dialer)) {
		reload_dialer(s);
		has_read = true;
	}
	if (s->tokens && has_changed(s->config->auth.tokens_file, &s->tokens_seen)) {
		reload_tokens(s);
		has_read = true;
	}
	if (s->bearer && has_changed(s->config->gateway.erisml_token_file, &s->bearer_seen)) {
		reload_bearer(s);
		has_read = true;
	}
	return has_read;
}

/* --- what listeners and servers ask
 * ---------------------------------------------------------------------------- */
static void on_tls_failed(void *ctx, const struct agi_addr *remote, const struct agi_why *why)
{
	struct agi_security *s = ctx;

	AGI_LOG(s->log, AGI_LOG_INFO, "tls_refused", agi_kv_addr("addr", remote),
		agi_kv_z("why", why->text));
}

void agi_security_fill(struct agi_security *s, struct agi_listener_cfg *cfg)
{
	static const enum agi_plaintext of_config[] = {
	    [AGI_CONFIG_PLAINTEXT_ALLOW] = AGI_PLAINTEXT_ALLOW,
	    [AGI_CONFIG_PLAINTEXT_LOOPBACK] = AGI_PLAINTEXT_LOOPBACK,
	    [AGI_CONFIG_PLAINTEXT_REFUSE] = AGI_PLAINTEXT_REFUSE};

	if (!s->tls)
		return;
	cfg->tls = s->tls;
	cfg->plaintext = of_config[s->config->tls.plaintext];
	cfg->on_tls_failed = on_tls_failed;
	cfg->tls_failed_ctx = s;
}

/* In the way of every call: the header is only looked for where it can matter. */
static enum agi_grpc_status guard(void *ctx, const struct agi_grpc_call *call, unsigned needs,
				  const char *service, const char *method, struct agi_why *why)
{
	struct agi_security *s = ctx;
	struct agi_access access = {s->tokens, &s->config->tls.admin_names, false};
	const struct agi_transport_peer *peer;
	struct agi_str authorization = {NULL, 0};
	enum agi_grpc_status status;

	if (!needs || (!s->tokens && needs != AGI_SCOPE_ADMIN))
		return AGI_GRPC_OK;
	peer = agi_grpc_call_peer(call);
	if (!peer)
		return AGI_GRPC_CANCELLED;
	access.is_forwarded = agi_grpc_call_metadata(call, AGI_FORWARD_HEADER).p;
	if (s->tokens)
		authorization = agi_grpc_call_metadata(call, "authorization");
	status = agi_access_check(&access, peer, authorization, needs, method, why);
	if (status != AGI_GRPC_OK)
		AGI_LOG(s->log, AGI_LOG_INFO, "call_refused", agi_kv_addr("addr", &peer->addr),
			agi_kv_z("service", service), agi_kv_z("method", method),
			agi_kv_z("why", why->text));
	return status;
}

enum agi_grpc_status agi_security_check(struct agi_security *s, const struct agi_transport_peer *peer,
					struct agi_str authorization, unsigned needs,
					const char *what, struct agi_why *why)
{
	static const struct agi_transport_peer nobody;
	const struct agi_access access = {s->tokens, &s->config->tls.admin_names, false};

	return agi_access_check(&access, peer ? peer : &nobody, authorization, needs, what, why);
}

void agi_security_guard(struct agi_security *s, struct agi_grpc_server *server)
{
	agi_grpc_server_guard(server, agi_access_needed, guard, s);
}

/* --- warnings
 * --------------------------------------------------------------------------------------------------
 */
static bool is_open(const struct agi_addr *listen) { return !agi_addr_is_loopback(listen); }

static bool warn_plain(struct agi_security *s)
{
	const struct agi_config *c = s->config;
	const char *which = is_open(&c->node.listen) ? "node.listen"
			    : c->node.roles.n && is_open(&c->node.role_address)
				? "node.role_address"
				: NULL;

	if (!which || (s->tls && c->tls.plaintext != AGI_CONFIG_PLAINTEXT_ALLOW))
		return false;
	snprintf(
	    s->warning, sizeof s->warning,
	    "gRPC and HTTP are open to the network without TLS (%s is not a loopback address): %s",
	    which, s->tls ? "set tls.plaintext to loopback" : "set tls.cert_file and tls.key_file");
	return true;
}

static bool warn_bearer(struct agi_security *s)
{
	const struct agi_endpoint *e = &s->config->gateway.erisml_address;
	struct agi_addr a;

	if (!s->bearer || s->config->gateway.erisml_tls == AGI_SWITCH_ON ||
	    strcmp(e->host, "localhost") == 0 ||
	    (agi_addr_parse(&a, agi_str_of(e->host), 1, NULL) == AGI_OK && agi_addr_is_loopback(&a)))
		return false;
	snprintf(s->warning, sizeof s->warning,
		 "the token of gateway.erisml_token_file crosses the network readable: set "
		 "gateway.erisml_tls");
	return true;
}

static bool warn_expiry(struct agi_security *s)
{
	int64_t left = s->tls ? agi_tls_server_expires_s(s->tls) - (int64_t)time(NULL) : INT64_MAX;

	if (left > AGI_SECURITY_EXPIRY_WARN_S)
		return false;
	if (left <= 0)
		snprintf(s->warning, sizeof s->warning,
			 "the TLS certificate has expired: new clients are turned away");
	else
		snprintf(s->warning, sizeof s->warning, "the TLS certificate expires in %lld hours",
			 (long long)(left / 3600));
	return true;
}

const char *agi_security_warning(struct agi_security *s, size_t i)
{
	static bool (*const checks[])(struct agi_security *) = {warn_plain, warn_bearer, warn_expiry};

	for (size_t k = 0; k < sizeof checks / sizeof *checks; k++)
		if (checks[k](s) && i-- == 0)
			return s->warning;
	return NULL;
}

void agi_security_tell(struct agi_security *s)
{
	const char *text;

	for (size_t i = 0; (text = agi_security_warning(s, i)) != NULL; i++)
		AGI_LOG(s->log, AGI_LOG_WARN, "security", agi_kv_z("why", text));
}
