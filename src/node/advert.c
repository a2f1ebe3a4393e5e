/* SPDX-License-Identifier: Apache-2.0 */
#include "node/advert.h"

#include <stdio.h>
#include <stdlib.h>

#include "agihpc.pb-c.h"
#include "node/log.h"

enum { CONFIG_MAX = AGI_CONFIG_TEXT_MAX + 64 };

struct advert {
	struct agi_adverts *of;
	struct advert *next;
	char service[AGI_SERVICE_NAME_MAX + 1];
	char address[AGI_ADDRESS_MAX + 1];
	uint8_t config[CONFIG_MAX]; /* a serialized HealthCheck; empty for a role */
	size_t config_bytes;
	uint32_t traits;
	bool is_role, is_registered;
	bool is_pending;       /* a registration is with the core */
	uint64_t call;         /* its id; 0 while it is being started */
	bool is_told;          /* role: the two below are what the core knows */
	bool is_serving;
	uint32_t load_milli;
};

struct agi_adverts {
	struct agi_dht_host *host;
	struct agi_health_checks *checks;
	struct agi_log *log;
	struct advert *first;
};

enum agi_err agi_adverts_new(struct agi_dht_host *host, struct agi_health_checks *checks,
                             struct agi_log *log, struct agi_adverts **out)
{
	struct agi_adverts *a = calloc(1, sizeof *a);

	if (!a)
		return AGI_E_NOMEM;
	*a = (struct agi_adverts){host, checks, log, NULL};
	*out = a;
	return AGI_OK;
}

void agi_adverts_free(struct agi_adverts *a)
{
	struct advert *d, *next;

	if (!a)
		return;
	for (d = a->first; d; d = next) {
		next = d->next;
		if (d->is_pending)
			agi_dht_host_cancel(a->host, d->call);
		free(d);
	}
	free(a);
}

static struct advert *add(struct agi_adverts *a, const char *service)
{
	struct advert *d = calloc(1, sizeof *d);

	if (!d)
		return NULL;
	d->of = a;
	d->next = a->first;
	a->first = d;
	snprintf(d->service, sizeof d->service, "%s", service);
	return d;
}

enum agi_err agi_adverts_add_role(struct agi_adverts *a, const char *role, const struct agi_addr *addr,
                                  uint32_t traits)
{
	struct advert *d = add(a, role);

	if (!d)
		return AGI_E_NOMEM;
	d->is_role = true;
	d->traits = traits;
	agi_addr_format(d->address, addr);
	return AGI_OK;
}

/* "10.0.0.5" + 80 -> "10.0.0.5:80"; an IPv6 address gets its brackets. */
static void join(char out[AGI_ADDRESS_MAX + 1], const char *host, uint16_t port)
{
	if (strchr(host, ':') && host[0] != '[')
		snprintf(out, AGI_ADDRESS_MAX + 1, "[%.250s]:%u", host, (unsigned)port);
	else
		snprintf(out, AGI_ADDRESS_MAX + 1, "%.255s:%u", host, (unsigned)port);
}

static const char *kind_name(enum agi_check_kind k)
{
	switch (k) {
	case AGI_CHECK_GRPC:
		return "grpc";
	case AGI_CHECK_HTTP:
		return "http";
	case AGI_CHECK_NONE:
		return "none";
	case AGI_CHECK_TCP:
		break;
	}
	return "tcp";
}

static ProtobufCBinaryData data_of(const char *z)
{
	return (ProtobufCBinaryData){strlen(z), (uint8_t *)(uintptr_t)z};
}

static enum agi_err encode_check(struct advert *d, const struct agi_config_service *s,
                                 struct agi_why *why)
{
	Agihpc__V1__HealthCheck c = AGIHPC__V1__HEALTH_CHECK__INIT;

	c.kind = data_of(kind_name(s->check));
	c.interval_ms = s->check_interval_ms;
	c.timeout_ms = s->check_timeout_ms;
	c.path = data_of(s->check_path);
	c.tls = s->tls == AGI_SWITCH_ON;
	if (agihpc__v1__health_check__get_packed_size(&c) > sizeof d->config)
		return agi_fail(why, AGI_E_TOO_LARGE, "dht.services: %s: the check's path is too long",
		                s->name);
	d->config_bytes = agihpc__v1__health_check__pack(&c, d->config);
	d->traits = agi_health_config_traits((struct agi_str){(char *)d->config, d->config_bytes});
	return agi_health_config_check((struct agi_str){(char *)d->config, d->config_bytes}, why);
}

enum agi_err agi_adverts_add_service(struct agi_adverts *a, const struct agi_config_service *s,
                                     const struct agi_addr *ip, struct agi_why *why)
{
	struct advert *d = add(a, s->name);
	char text[AGI_ADDR_TEXT];

	if (!d)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	agi_addr_format_ip(text, ip);
	join(d->address, s->address[0] ? s->address : text, s->port);
	return encode_check(d, s, why);
}

/* --- registering --------------------------------------------------------------------------------------- */
static void begin_check(struct agi_adverts *a, struct agi_str service, struct agi_str address,
                        struct agi_str config)
{
	struct agi_why why;
	enum agi_err e = agi_health_checks_set(a->checks, service, address, config, &why);

	if (e)
		AGI_LOG(a->log, AGI_LOG_ERROR, "health_check_refused", agi_kv_str("service", service),
		        agi_kv_str("address", address), agi_kv_z("why", why.text));
}

static void on_registered(void *arg, const struct agi_result *res)
{
	struct advert *d = arg;
	struct agi_adverts *a = d->of;

	d->is_pending = false;
	if (res->err) {
		AGI_LOG(a->log, AGI_LOG_DEBUG, "register_failed", agi_kv_z("service", d->service),
		        agi_kv_z("err", agi_err_name(res->err)), agi_kv_z("why", res->why.text));
		return;
	}
	d->is_registered = true;
	d->is_told = false;
	AGI_LOG(a->log, AGI_LOG_INFO, d->is_role ? "role_advertised" : "service_advertised",
	        agi_kv_z("service", d->service), agi_kv_z("address", d->address));
	if (!d->is_role)
		begin_check(a, agi_str_of(d->service), agi_str_of(d->address),
		            (struct agi_str){(char *)d->config, d->config_bytes});
}

static void register_one(struct agi_adverts *a, struct advert *d)
{
	struct agi_call op = {.kind = AGI_CALL_REGISTER,
	                      .service = agi_str_of(d->service),
	                      .address = agi_str_of(d->address),
	                      .config = {(char *)d->config, d->config_bytes},
	                      .traits = d->traits,
	                      .is_ephemeral = true};

	d->is_pending = true;
	d->call = 0;
	d->call = agi_dht_host_call(a->host, &op, on_registered, d);
}

void agi_adverts_tick(struct agi_adverts *a)
{
	for (struct advert *d = a->first; d; d = d->next)
		if (!d->is_registered && !d->is_pending)
			register_one(a, d);
}

static bool is_ours(const struct agi_adverts *a, struct agi_str service, struct agi_str address)
{
	for (const struct advert *d = a->first; d; d = d->next)
		if (agi_str_eq(service, agi_str_of(d->service)) &&
		    (d->is_role || agi_str_eq(address, agi_str_of(d->address))))
			return true;
	return false;
}

void agi_adverts_check_loaded(struct agi_adverts *a)
{
	struct agi_provider p;
	struct agi_str config;

	for (size_t i = 0; agi_dht_registration(agi_dht_host_core(a->host), i, &p, &config); i++)
		if (!p.is_withdrawn && !is_ours(a, p.service, p.address)) {
			begin_check(a, p.service, p.address, config);
			agi_dht_host_set_traits(a->host, p.service, p.address,
			                        agi_health_config_traits(config));
		}
}

void agi_adverts_set_role(struct agi_adverts *a, const char *role, bool is_serving,
                          uint32_t load_milli)
{
	for (struct advert *d = a->first; d; d = d->next) {
		if (!d->is_role || !d->is_registered || strcmp(d->service, role) != 0 ||
		    (d->is_told && d->is_serving == is_serving && d->load_milli == load_milli))
			continue;
		d->is_told = true;
		d->is_serving = is_serving;
		d->load_milli = load_milli;
		agi_dht_host_set_health(a->host, agi_str_of(d->service), agi_str_of(d->address),
		                        is_serving, load_milli);
	}
}
