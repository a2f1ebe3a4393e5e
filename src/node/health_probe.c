/* SPDX-License-Identifier: Apache-2.0 */
#include "node/health_probe.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "health.pb-c.h"
#include "net/dial.h"
#include "net/grpc.h"
#include "node/health_exec.h"

enum { STATUS_LINE_MAX = 256 /* "HTTP/1.1 200 OK" has 15 bytes */ };

#define TLS_PREFIX "tls://"

struct agi_health_probe {
	struct event_base *base;
	char target[sizeof TLS_PREFIX + AGI_ADDRESS_MAX];
	const char *address; /* within it */
	agi_health_probed_fn *fn;
	void *arg;
	struct agi_health_config config; /* of the look on its way */
	bool is_looking;
	bool is_ok; /* the verdict that `later` brings */
	char detail[sizeof(struct agi_why)];
	struct event *limit, *later;
	struct agi_dial *dial;
	struct agi_grpc_channel *channel;
	struct agi_exec *exec;            /* NULL: none; with … */
	const char *service;
	struct agi_child *child;
	const struct agi_tls_client *tls; /* NULL: plain text */
	const struct agi_tls_client *channel_tls; /* what the channel was made with */
	/* http */
	struct agi_transport *t;
	struct event *io;
	char line[STATUS_LINE_MAX];
	size_t line_bytes;
};

/* --- the end of a look ----------------------------------------------------------------------- */
static void put_away(struct agi_health_probe *p)
{
	p->is_looking = false;
	event_del(p->limit);
	event_del(p->later);
	agi_dial_cancel(p->dial);
	p->dial = NULL;
	agi_exec_stop(p->child);
	p->child = NULL;
	if (p->io)
		event_free(p->io);
	p->io = NULL;
	agi_transport_close(p->t);
	p->t = NULL;
}

/* Calls fn last of all: it may free p. */
static void finish(struct agi_health_probe *p, bool is_ok, const char *detail)
{
	char text[sizeof p->detail];

	snprintf(text, sizeof text, "%s", is_ok ? "" : detail);
	put_away(p);
	p->fn(p->arg, is_ok, text);
}

static void finish_later(struct agi_health_probe *p, bool is_ok, const char *detail)
{
	p->is_ok = is_ok;
	snprintf(p->detail, sizeof p->detail, "%s", detail);
	event_active(p->later, EV_TIMEOUT, 0);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	struct agi_health_probe *p = arg;

	(void)fd;
	(void)what;
	finish(p, p->is_ok, p->detail);
}

static void drop_channel(struct agi_health_probe *p)
{
	struct agi_grpc_channel *ch = p->channel;

	p->is_looking = false; /* its callback, which runs now, is not for anybody */
	p->channel = NULL;
	agi_grpc_channel_free(ch);
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct agi_health_probe *p = arg;
	char text[80];

	(void)fd;
	(void)what;
	snprintf(text, sizeof text, "no answer within %u ms", p->config.timeout_ms);
	if (p->config.kind == AGI_HEALTH_GRPC)
		drop_channel(p);
	finish(p, false, text);
}

/* --- http
 * ---------------------------------------------------------------------------------------------------
 */
/* "HTTP/1.x 2nn": what the server said instead when it is anything else. */
static void judge_line(struct agi_health_probe *p)
{
	char text[AGI_HEALTH_PATH_MAX + 64];

	p->line[strcspn(p->line, "\r\n")] = '\0';
	if (strncmp(p->line, "HTTP/1.", 7) != 0 || p->line_bytes < 12 || p->line[8] != ' ')
		snprintf(text, sizeof text, "not an HTTP answer");
	else
		snprintf(text, sizeof text, "%s answered %.40s", p->config.path, p->line + 9);
	finish(p, strncmp(p->line, "HTTP/1.", 7) == 0 && p->line_bytes >= 12 && p->line[9] == '2',
	       text);
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
	struct agi_health_probe *p = arg;
	ssize_t n = agi_transport_read(p->t, p->line + p->line_bytes,
				       sizeof p->line - 1 - p->line_bytes);

	(void)fd;
	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return; /* the socket tells when there is more, the limit when there is not */
	if (n > 0)
		p->line_bytes += (size_t)n;
	p->line[p->line_bytes] = '\0';
	if (strchr(p->line, '\n') || p->line_bytes == sizeof p->line - 1)
		judge_line(p);
	else if (n <= 0)
		finish(p, false, n == 0 ? "closed without an answer" : agi_transport_error(p->t));
	else if (agi_transport_pending(p->t))
		event_active(p->io, EV_READ, 0);
}

static void ask_http(struct agi_health_probe *p)
{
	char request[AGI_HEALTH_PATH_MAX + AGI_ADDRESS_MAX + 96];
	int n = snprintf(
	    request, sizeof request,
	    "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: agihpc-node\r\nConnection: close\r\n\r\n",
	    p->config.path, p->address);

	p->line_bytes = 0;
	p->io = event_new(p->base, agi_transport_fd(p->t), EV_READ | EV_PERSIST, on_answer, p);
	/* some hundred bytes into an empty socket buffer: the kernel takes them whole */
	if (agi_transport_write(p->t, request, (size_t)n) != n)
		finish(p, false, agi_transport_error(p->t));
	else if (!p->io || event_add(p->io, NULL) != 0)
		finish(p, false, "out of memory");
}

static void on_dialled(void *arg, struct agi_transport *t, const struct agi_why *why)
{
	struct agi_health_probe *p = arg;

	p->dial = NULL;
	p->t = t; /* closed with the look */
	if (t && p->config.kind == AGI_HEALTH_HTTP)
		ask_http(p);
	else
		finish(p, t != NULL, why->text);
}

/* --- grpc
 * ---------------------------------------------------------------------------------------------------
 */
static void on_checked(void *arg, const struct agi_grpc_result *r)
{
	struct agi_health_probe *p = arg;
	const Grpc__Health__V1__HealthCheckResponse *res = (const void *)r->res;
	const ProtobufCEnumValue *v;
	char text[sizeof p->detail];

	if (!p->is_looking)
		return;
	if (!res) {
		snprintf(text, sizeof text, "%s: %.*s", agi_grpc_status_name(r->status),
			 AGI_STR_ARG(r->message));
		finish(p, false, text);
		return;
	}
	v = protobuf_c_enum_descriptor_get_value(
	    &grpc__health__v1__health_check_response__serving_status__descriptor, (int)res->status);
	snprintf(text, sizeof text, "grpc.health.v1 says %s", v ? v->name : "an unknown status");
	finish(p, res->status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING,
	       text);
}

static enum agi_err open_channel(struct agi_health_probe *p, struct agi_why *why)
{
	enum agi_err e =
	    agi_grpc_channel_new(p->base, p->tls ? p->target : p->address, &p->channel, why);

	if (!e && p->tls)
		agi_grpc_channel_set_tls(p->channel, p->tls);
	p->channel_tls = p->tls;
	return e;
}

static void ask_grpc(struct agi_health_probe *p)
{
	Grpc__Health__V1__HealthCheckRequest req = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	struct agi_why why = {""};

	req.service = (ProtobufCBinaryData){strlen(p->config.path), (uint8_t *)p->config.path};
	if (!p->channel && open_channel(p, &why))
		finish_later(p, false, why.text);
	else if (agi_grpc_unary(p->channel, "/grpc.health.v1.Health/Check", &req.base,
				&grpc__health__v1__health_check_response__descriptor,
				p->config.timeout_ms, on_checked, p))
		finish_later(p, false, "out of memory");
}

/* --- exec ------------------------------------------------------------------------------------- */
static void on_exec_ended(void *arg, bool is_ok, const char *detail)
{
	struct agi_health_probe *p = arg;

	p->child = NULL;
	finish(p, is_ok, detail);
}

static void run(struct agi_health_probe *p)
{
	struct agi_why why;

	if (!p->exec)
		finish_later(p, false, "this node runs no programs as health checks");
	else if (agi_exec_start(p->exec, &p->config, p->service, p->address, on_exec_ended, p, &p->child, &why))
		finish_later(p, false, why.text);
}

void agi_health_probe_set_exec(struct agi_health_probe *p, struct agi_exec *exec, const char *service)
{
	p->exec = exec;
	p->service = service;
}

/* --- what the owner does --------------------------------------------------------------------- */
static void dial(struct agi_health_probe *p)
{
	bool is_tls = p->tls && p->config.kind == AGI_HEALTH_HTTP;
	struct agi_why why;

	if (agi_dial_start(p->base, agi_str_of(is_tls ? p->target : p->address), p->tls,
			   p->config.timeout_ms, on_dialled, p, &p->dial, &why))
		finish_later(p, false, why.text);
	else
		agi_dial_speak_http(p->dial);
}

/* A service was registered anew, with TLS or without. */
static void take_tls(struct agi_health_probe *p, const struct agi_tls_client *tls)
{
	p->tls = tls;
	if (p->channel && p->channel_tls != tls)
		drop_channel(p);
}

void agi_health_probe_look(struct agi_health_probe *p, const struct agi_health_config *config,
			   const struct agi_tls_client *tls)
{
	struct timeval limit = {config->timeout_ms / 1000,
				(suseconds_t)(config->timeout_ms % 1000) * 1000};

	agi_health_probe_cancel(p);
	p->config = *config;
	take_tls(p, config->is_tls ? tls : NULL);
	p->is_looking = true;
	event_add(p->limit, &limit);
	if (config->kind == AGI_HEALTH_NONE)
		finish_later(p, true, "");
	else if (config->kind == AGI_HEALTH_EXEC)
		run(p);
	else if (config->kind == AGI_HEALTH_TCP)
		dial(p);
	else if (config->is_tls && !tls)
		finish_later(p, false, "TLS cannot be spoken: see this node's log");
	else if (config->kind == AGI_HEALTH_GRPC)
		ask_grpc(p);
	else
		dial(p);
}

void agi_health_probe_cancel(struct agi_health_probe *p)
{
	if (p->is_looking && p->config.kind == AGI_HEALTH_GRPC)
		drop_channel(p);
	put_away(p);
}

enum agi_err agi_health_probe_new(struct event_base *base, struct agi_str address,
				  agi_health_probed_fn *fn, void *arg,
				  struct agi_health_probe **out, struct agi_why *why)
{
	enum agi_err e = agi_dial_check(address, why);
	struct agi_health_probe *p;

	if (e || address.n > AGI_ADDRESS_MAX)
		return e ? e
			 : agi_fail(why, AGI_E_INVALID, "address: at most %d bytes",
				    AGI_ADDRESS_MAX);
	p = calloc(1, sizeof *p);
	if (!p)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	p->base = base;
	p->fn = fn;
	p->arg = arg;
	memcpy(p->target, TLS_PREFIX, sizeof TLS_PREFIX - 1);
	memcpy(p->target + sizeof TLS_PREFIX - 1, address.p, address.n);
	p->address = p->target + sizeof TLS_PREFIX - 1;
	p->limit = event_new(base, -1, 0, on_limit, p);
	p->later = event_new(base, -1, 0, on_later, p);
	if (!p->limit || !p->later) {
		agi_health_probe_free(p);
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	}
	*out = p;
	return AGI_OK;
}

void agi_health_probe_free(struct agi_health_probe *p)
{
	if (!p)
		return;
	if (p->channel)
		drop_channel(p);
	if (p->limit && p->later)
		put_away(p);
	if (p->limit)
		event_free(p->limit);
	if (p->later)
		event_free(p->later);
	free(p);
}
