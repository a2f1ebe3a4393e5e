/* SPDX-License-Identifier: Apache-2.0 */
#include "node/http_services.h"

#include <stdlib.h>

#include "agihpc.pb-c.h"
#include "dht/provider.h"
#include "net/pbjson.h"
#include "node/access.h"
#include "node/security.h"

static const char json[] = "application/json";

/* --- answers
 * --------------------------------------------------------------------------------------------- */
/* message: text of our own and names that were checked: nothing in it needs an escape but quotes
 * and what is no printable character. */
static int put_error(struct agi_buf *body, int status, const char *error, const char *message)
{
	agi_buf_printf(body, "{\"error\":\"%s\",\"message\":\"", error);
	for (; *message; message++)
		if (*message == '"' || *message == '\\')
			agi_buf_printf(body, "\\%c", *message);
		else
			agi_buf_u8(body, (unsigned char)*message < 0x20 ? ' ' : (uint8_t)*message);
	agi_buf_put_str(body, AGI_STR("\"}\n"));
	return status;
}

static int put_instances(struct agi_buf *body, const struct agi_result *res)
{
	struct agi_svc_instances list;

	if (agi_svc_instances_make(&list, res->instances, res->n_instances))
		return put_error(body, 503, "NOMEM", "out of memory");
	if (agi_pbjson_print(&list.res.base, AGI_PBJSON_DEFAULTS, body) == AGI_OK)
		agi_buf_put_str(body, AGI_STR("\n"));
	agi_svc_instances_free(&list);
	return 200;
}

static int put_failure(struct agi_buf *body, const struct agi_result *res)
{
	return put_error(body, res->err == AGI_E_INVALID ? 400 : 503, agi_err_name(res->err),
			 res->why.text[0] ? res->why.text : agi_err_text(res->err));
}

/* As a JSON string. What comes from other hosts is shown as far as it is printable ASCII. */
static void put_text(struct agi_buf *b, struct agi_str s)
{
	agi_buf_u8(b, '"');
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = (uint8_t)s.p[i];

		if (c == '"' || c == '\\')
			agi_buf_u8(b, '\\');
		agi_buf_u8(b, c < 0x20 || c > 0x7e ? '?' : c);
	}
	agi_buf_u8(b, '"');
}

static void put_label(struct agi_buf *b, const char *name, struct agi_str value)
{
	agi_buf_printf(b, ",\"%s\":", name);
	put_text(b, value);
}

/* One group of targets of Prometheus' HTTP service discovery; the caller adds labels and "}}". */
static void open_target(struct agi_buf *b, bool is_first, struct agi_str address,
			const struct agi_id *node, const char *zone)
{
	char id[AGI_ID_HEX];

	agi_id_hex(id, node);
	agi_buf_put_str(b, is_first ? AGI_STR("\n") : AGI_STR(",\n"));
	agi_buf_put_str(b, AGI_STR("{\"targets\":["));
	put_text(b, address);
	agi_buf_printf(b, "],\"labels\":{\"__meta_agihpc_node_id\":\"%s\"", id);
	put_label(b, "__meta_agihpc_zone", agi_str_of(zone));
}

static int put_targets(struct agi_buf *body, const char *service, const struct agi_result *res)
{
	if (res->err)
		return put_failure(body, res);
	agi_buf_u8(body, '[');
	for (size_t i = 0; i < res->n_instances; i++) {
		const struct agi_provider *p = res->instances[i].provider;

		open_target(body, i == 0, p->address, &res->instances[i].node, p->zone);
		put_label(body, "__meta_agihpc_service", agi_str_of(service));
		put_label(body, "__scheme__",
			  p->traits & AGI_PROVIDER_TLS ? AGI_STR("https") : AGI_STR("http"));
		agi_buf_put_str(body, AGI_STR("}}"));
	}
	agi_buf_put_str(body, AGI_STR("]\n"));
	return 200;
}

static int put_hosts(struct agi_buf *body, const struct agi_svc *s)
{
	const char *scheme = s->config->tls.cert_file[0] ? "https" : "http";
	struct agi_member m;

	agi_buf_u8(body, '[');
	for (size_t i = 0; agi_dht_member(agi_dht_host_core(s->host), i, &m); i++) {
		char addr[AGI_ADDR_TEXT];

		agi_addr_format(addr, &m.contact.addr);
		open_target(body, i == 0, agi_str_of(addr), &m.contact.id, m.contact.zone);
		put_label(body, "__meta_agihpc_state", agi_str_of(agi_link_state_name(m.state)));
		put_label(body, "__scheme__", agi_str_of(scheme));
		agi_buf_put_str(body, AGI_STR("}}"));
	}
	agi_buf_put_str(body, AGI_STR("]\n"));
	return 200;
}

static int put_found(struct agi_buf *body, const char *service, const struct agi_result *res)
{
	struct agi_why why;

	if (res->err)
		return put_failure(body, res);
	if (res->n_instances)
		return put_instances(body, res);
	agi_fail(&why, AGI_OK, "no healthy instance of %s is known", service);
	return put_error(body, 404, "NOT_FOUND", why.text);
}

/* --- asking
 * ---------------------------------------------------------------------------------------------- */
/* The answer in full; its status. */
typedef int put_fn(struct agi_buf *body, const char *service, const struct agi_result *res);

struct question {
	struct agi_svc *svc;
	struct agi_http_ask *ask;
	uint64_t call;
	put_fn *put;
	struct agi_buf *body; /* while agi_http_services_get runs: answered at once */
	int status;           /* then */
	char service[AGI_SERVICE_NAME_MAX + 1];
};

static void on_gone(void *arg)
{
	struct question *q = arg;

	agi_dht_host_cancel(q->svc->host, q->call);
	free(q);
}

static void on_discovered(void *arg, const struct agi_result *res)
{
	struct question *q = arg;
	struct agi_buf body;

	if (q->body) {
		q->status = q->put(q->body, q->service, res);
		return;
	}
	agi_buf_init(&body, 0);
	q->status = q->put(&body, q->service, res);
	if (body.err) {
		agi_buf_reset(&body);
		q->status = put_error(&body, 503, "NOMEM", "out of memory");
	}
	agi_http_reply(q->ask, q->status, json, agi_buf_str(&body));
	agi_buf_free(&body);
	free(q);
}

static int find(struct agi_svc *s, struct agi_http_ask *ask, struct agi_str service, put_fn *put,
		struct agi_buf *body)
{
	struct agi_call op = {.kind = AGI_CALL_DISCOVER, .timeout_ms = AGI_HTTP_FIND_MS};
	struct question *q = calloc(1, sizeof *q);
	int status;

	if (!q)
		return put_error(body, 503, "NOMEM", "out of memory");
	*q = (struct question){.svc = s, .ask = ask, .put = put, .body = body};
	memcpy(q->service, service.p, service.n);
	op.service = (struct agi_str){q->service, service.n};
	q->call = agi_dht_host_call(s->host, &op, on_discovered, q);
	status = q->status;
	if (status) {
		free(q);
		return status;
	}
	q->body = NULL;
	ask->on_gone = on_gone;
	ask->arg = q;
	return AGI_HTTP_LATER;
}

/* 0: it may be answered. */
static int refusal(struct agi_svc *s, const struct agi_http_ask *ask, struct agi_buf *body)
{
	struct agi_why why;

	switch (agi_security_check(s->security, ask->peer, ask->authorization,
				   agi_access_needed("agihpc.v1.RegistryService", "Discover"),
				   "Discover", &why)) {
	case AGI_GRPC_OK:
		return 0;
	case AGI_GRPC_UNAUTHENTICATED:
		return put_error(body, 401, "UNAUTHENTICATED", why.text);
	default:
		return put_error(body, 403, "PERMISSION_DENIED", why.text);
	}
}

static int find_checked(struct agi_svc *s, struct agi_http_ask *ask, struct agi_str service,
			put_fn *put, struct agi_buf *body)
{
	if (!agi_service_name_is_valid(service))
		return put_error(body, 400, "INVALID",
				 "expected " AGI_HTTP_SERVICES "NAME or " AGI_HTTP_SD
				 "/NAME, where NAME has 1 to 63 of "
				 "a-z, 0-9 and '-', not '-' at an end");
	return find(s, ask, service, put, body);
}

int agi_http_services_get(void *ctx, struct agi_http_ask *ask, struct agi_buf *body,
			  const char **content_type)
{
	int status = refusal(ctx, ask, body);

	*content_type = json;
	return status ? status
		      : find_checked(ctx, ask, agi_str_of(ask->path + sizeof AGI_HTTP_SERVICES - 1),
				     put_found, body);
}

int agi_http_sd_get(void *ctx, struct agi_http_ask *ask, struct agi_buf *body,
		    const char **content_type)
{
	const char *rest = ask->path + sizeof AGI_HTTP_SD - 1;
	int status = refusal(ctx, ask, body);

	*content_type = json;
	if (status)
		return status;
	return *rest ? find_checked(ctx, ask, agi_str_of(rest + 1), put_targets, body)
		     : put_hosts(body, ctx);
}
