/* SPDX-License-Identifier: Apache-2.0 */
#include "node/http_services.h"

#include <stdlib.h>

#include "agihpc.pb-c.h"
#include "dht/provider.h"
#include "net/pbjson.h"
#include "node/access.h"
#include "node/security.h"

static const char json[] = "application/json";

/* --- answers --------------------------------------------------------------------------------------------- */
/* message: text of our own and names that were checked: nothing in it needs an escape but quotes and what
 * is no printable character. */
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

static int put_result(struct agi_buf *body, const char *service, const struct agi_result *res)
{
	struct agi_why why;

	if (res->err)
		return put_error(body, res->err == AGI_E_INVALID ? 400 : 503, agi_err_name(res->err),
		                 res->why.text[0] ? res->why.text : agi_err_text(res->err));
	if (res->n_instances)
		return put_instances(body, res);
	agi_fail(&why, AGI_OK, "no healthy instance of %s is known", service);
	return put_error(body, 404, "NOT_FOUND", why.text);
}

/* --- asking ---------------------------------------------------------------------------------------------- */
struct question {
	struct agi_svc *svc;
	struct agi_http_ask *ask;
	uint64_t call;
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
		q->status = put_result(q->body, q->service, res);
		return;
	}
	agi_buf_init(&body, 0);
	q->status = put_result(&body, q->service, res);
	if (body.err) {
		agi_buf_reset(&body);
		q->status = put_error(&body, 503, "NOMEM", "out of memory");
	}
	agi_http_reply(q->ask, q->status, json, agi_buf_str(&body));
	agi_buf_free(&body);
	free(q);
}

static int find(struct agi_svc *s, struct agi_http_ask *ask, struct agi_str service, struct agi_buf *body)
{
	struct agi_call op = {.kind = AGI_CALL_DISCOVER, .timeout_ms = AGI_HTTP_FIND_MS};
	struct question *q = calloc(1, sizeof *q);
	int status;

	if (!q)
		return put_error(body, 503, "NOMEM", "out of memory");
	*q = (struct question){.svc = s, .ask = ask, .body = body};
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
	                           agi_access_needed("agihpc.v1.RegistryService", "Discover"), "Discover", &why)) {
	case AGI_GRPC_OK:
		return 0;
	case AGI_GRPC_UNAUTHENTICATED:
		return put_error(body, 401, "UNAUTHENTICATED", why.text);
	default:
		return put_error(body, 403, "PERMISSION_DENIED", why.text);
	}
}

int agi_http_services_get(void *ctx, struct agi_http_ask *ask, struct agi_buf *body, const char **content_type)
{
	struct agi_str service = agi_str_of(ask->path + sizeof AGI_HTTP_SERVICES - 1);
	struct agi_svc *s = ctx;
	int status;

	*content_type = json;
	status = refusal(s, ask, body);
	if (status)
		return status;
	if (!agi_service_name_is_valid(service))
		return put_error(body, 400, "INVALID",
		                 "expected " AGI_HTTP_SERVICES "NAME, where NAME has 1 to 63 of a-z, 0-9 and '-', not "
		                 "'-' at an end");
	return find(s, ask, service, body);
}
