/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dial.h"

#include <errno.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "net/listen_unix.h"
#include "net/sock.h"
#include "net/tls.h"

struct agi_dial {
	struct event_base *base;
	agi_dial_fn *fn;
	void *arg;
	char host[AGI_ADDRESS_MAX + 1];
	uint16_t port;
	char path[AGI_UNIX_PATH_MAX + 1]; /* of a Unix socket; "" = none */
	const struct agi_tls_client *tls; /* NULL = plain */
	bool is_http;                     /* HTTP/1.1 is to be spoken, not HTTP/2 */
	struct agi_transport *shaking;    /* connected, within the TLS handshake */
	struct agi_addr addrs[AGI_DIAL_ADDRESSES_MAX];
	size_t n, next; /* addresses, and the one to try next */
	int fd;         /* connecting, or -1 */
	struct evdns_base *dns;
	struct evdns_getaddrinfo_request *query;
	struct event *step, *limit, *connected;
	struct agi_why why; /* of the last thing that failed */
};

/* --- targets
 * -----------------------------------------------------------------------------------------------
 */
static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '-' || c == '_';
}

/* A number below 2^16 after the last ':', a DNS name before it. */
static bool split_name(struct agi_str target, struct agi_str *host, uint16_t *port)
{
	const char *colon = target.n ? memrchr(target.p, ':', target.n) : NULL;
	unsigned v = 0;

	if (!colon || colon == target.p || target.n > AGI_ADDRESS_MAX)
		return false;
	*host = (struct agi_str){target.p, (size_t)(colon - target.p)};
	for (size_t i = 0; i < host->n; i++)
		if (!is_name_char(host->p[i]))
			return false;
	for (const char *p = colon + 1; p < target.p + target.n; p++) {
		if (*p < '0' || *p > '9' || v > 65535)
			return false;
		v = v * 10 + (unsigned)(*p - '0');
	}
	*port = (uint16_t)v;
	return v >= 1 && v <= 65535;
}

static bool take_prefix(struct agi_str *s, struct agi_str prefix)
{
	if (!agi_str_has_prefix(*s, prefix))
		return false;
	*s = (struct agi_str){s->p + prefix.n, s->n - prefix.n};
	return true;
}

bool agi_dial_is_tls(struct agi_str target)
{
	return agi_str_has_prefix(target, AGI_STR("tls://"));
}

static bool is_path(struct agi_str s)
{
	return s.n >= 2 && s.n <= AGI_UNIX_PATH_MAX && s.p[0] == '/' && !memchr(s.p, '\0', s.n);
}

enum agi_err agi_dial_check(struct agi_str target, struct agi_why *why)
{
	struct agi_addr a;
	struct agi_str host, rest = target;
	uint16_t port;

	if (take_prefix(&rest, AGI_STR("unix:"))) {
		if (is_path(rest))
			return AGI_OK;
		return agi_fail(
		    why, AGI_E_INVALID,
		    "\"%.*s\": expected unix:PATH with an absolute path of at most %d bytes",
		    (int)(target.n < 120 ? target.n : 120), target.p, AGI_UNIX_PATH_MAX);
	}
	(void)take_prefix(&rest, AGI_STR("tls://"));
	if (agi_addr_parse(&a, rest, 0, NULL) == AGI_OK || split_name(rest, &host, &port))
		return AGI_OK;
	return agi_fail(
	    why, AGI_E_INVALID,
	    "\"%.*s\": expected HOST:PORT, as in node1:5000, 10.0.0.5:5000, [fd00::5]:5000 or "
	    "tls://node1:5000, or unix:PATH",
	    (int)(target.n < 100 ? target.n : 100), target.p ? target.p : "");
}

/* --- life
 * -------------------------------------------------------------------------------------------------
 */
static void free_dial(struct agi_dial *d)
{
	if (d->query)
		evdns_getaddrinfo_cancel(d->query);
	if (d->dns)
		evdns_base_free(d->dns, 0);
	if (d->connected)
		event_free(d->connected);
	if (d->step)
		event_free(d->step);
	if (d->limit)
		event_free(d->limit);
	agi_transport_close(d->shaking);
	if (d->fd >= 0)
		close(d->fd);
	free(d);
}

/* t NULL: d->why says why. */
static void finish(struct agi_dial *d, struct agi_transport *t)
{
	agi_dial_fn *fn = d->fn;
	void *arg = d->arg;
	struct agi_why why = d->why;

	free_dial(d);
	fn(arg, t, &why);
}

/* --- TLS
 * ----------------------------------------------------------------------------------------------------
 */
static void shake(struct agi_dial *d);

static void on_shake(evutil_socket_t fd, short what, void *arg)
{
	struct agi_dial *d = arg;

	(void)fd;
	(void)what;
	event_free(d->connected);
	d->connected = NULL;
	shake(d);
}

static void shake_failed(struct agi_dial *d)
{
	struct agi_why reason = d->why;

	(void)agi_fail(&d->why, AGI_E_AUTH, "%s:%u: %.200s", d->host, (unsigned)d->port,
		       reason.text);
	finish(d, NULL);
}

static void shake_done(struct agi_dial *d)
{
	struct agi_transport *t = d->shaking;
	const char *chosen = agi_tls_protocol(t);

	if (d->is_http ? strcmp(chosen, "h2") == 0 : strcmp(chosen, "h2") != 0) {
		(void)agi_fail(&d->why, AGI_E_UNSUPPORTED,
			       "TLS handshake: the server did not choose %s (ALPN)",
			       d->is_http ? "http/1.1" : "h2");
		shake_failed(d);
		return;
	}
	d->shaking = NULL;
	finish(d, t);
}

static void shake(struct agi_dial *d)
{
	enum agi_tls_step step = agi_tls_handshake(d->shaking, &d->why);

	if (step == AGI_TLS_DONE) {
		shake_done(d);
		return;
	}
	if (step == AGI_TLS_FAILED) {
		shake_failed(d);
		return;
	}
	d->connected = event_new(d->base, agi_transport_fd(d->shaking),
				 step == AGI_TLS_WANTS_READ ? EV_READ : EV_WRITE, on_shake, d);
	if (!d->connected || event_add(d->connected, NULL) != 0) {
		(void)agi_fail(&d->why, AGI_E_NOMEM, "out of memory");
		finish(d, NULL);
	}
}

/* Takes t, a connected socket, or NULL: out of memory. */
static void socket_connected(struct agi_dial *d, struct agi_transport *t)
{
	if (t && d->tls) {
		d->shaking = agi_tls_connect(d->tls, d->host, d->is_http ? "http/1.1" : "h2", t);
		if (d->shaking) {
			shake(d);
			return;
		}
		t = NULL;
	}
	if (!t)
		(void)agi_fail(&d->why, AGI_E_NOMEM, "out of memory");
	finish(d, t);
}

/* --- connecting
 * ------------------------------------------------------------------------------------------- */
static void fail_address(struct agi_dial *d, const struct agi_addr *a, int error)
{
	char text[AGI_ADDR_TEXT];

	agi_addr_format(text, a);
	(void)agi_fail(&d->why, AGI_E_UNREACHABLE, "%s: %s", text, strerror(error));
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
	if (d->connected)
		event_free(d->connected);
	d->connected = NULL;
	event_active(d->step, EV_TIMEOUT, 0);
}

static void on_connected(evutil_socket_t fd, short what, void *arg)
{
	struct agi_dial *d = arg;
	const struct agi_addr *a = &d->addrs[d->next - 1];
	int error = 0;
	socklen_t n = sizeof error;

	(void)what;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0)
		error = errno;
	if (error) {
		fail_address(d, a, error);
		return;
	}
	event_free(d->connected);
	d->connected = NULL;
	d->fd = -1;
	socket_connected(d, agi_transport_tcp(fd, a));
}

static void try_next(struct agi_dial *d)
{
	const struct agi_addr *a = &d->addrs[d->next++];
	struct sockaddr_storage sa;
	socklen_t n = agi_sock_of_addr(&sa, a);

	d->fd = agi_sock_tcp(a);
	if (d->fd < 0 || (connect(d->fd, (struct sockaddr *)&sa, n) != 0 && errno != EINPROGRESS)) {
		fail_address(d, a, errno);
		return;
	}
	d->connected = event_new(d->base, d->fd, EV_WRITE, on_connected, d);
	if (!d->connected || event_add(d->connected, NULL) != 0)
		fail_address(d, a, ENOMEM);
}

static void connect_path(struct agi_dial *d)
{
	int fd = agi_unix_connect(d->path);

	if (fd >= 0) {
		socket_connected(d, agi_transport_unix(fd));
		return;
	}
	(void)agi_fail(&d->why, AGI_E_UNREACHABLE, "%s: %s", d->path, strerror(errno));
	finish(d, NULL);
}

static void on_step(evutil_socket_t fd, short what, void *arg)
{
	struct agi_dial *d = arg;

	(void)fd;
	(void)what;
	if (d->path[0])
		connect_path(d);
	else if (d->next < d->n)
		try_next(d);
	else
		finish(d, NULL);
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct agi_dial *d = arg;

	(void)fd;
	(void)what;
	(void)agi_fail(&d->why, AGI_E_TIMEOUT, "%s:%u: %s", d->host, (unsigned)d->port,
		       d->shaking   ? "no end of the TLS handshake in time"
		       : d->fd >= 0 ? "no answer in time"
				    : "the name was not resolved in time");
	finish(d, NULL);
}

/* --- resolving
 * -------------------------------------------------------------------------------------------- */
static void on_resolved(int error, struct evutil_addrinfo *list, void *arg)
{
	struct agi_dial *d = arg;

	d->query = NULL;
	if (error == EVUTIL_EAI_CANCEL)
		return; /* free_dial is under way */
	for (struct evutil_addrinfo *i = list; i && d->n < AGI_DIAL_ADDRESSES_MAX; i = i->ai_next)
		if (agi_addr_of_sock(&d->addrs[d->n], i->ai_addr) == AGI_OK)
			d->addrs[d->n++].port = d->port;
	if (list)
		evutil_freeaddrinfo(list);
	if (d->n == 0)
		(void)agi_fail(&d->why, AGI_E_UNREACHABLE, "name \"%s\": %s", d->host,
			       error ? evutil_gai_strerror(error) : "no address");
	event_active(d->step, EV_TIMEOUT, 0);
}

static enum agi_err resolve(struct agi_dial *d)
{
	struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

	d->dns = evdns_base_new(d->base, EVDNS_BASE_INITIALIZE_NAMESERVERS |
					     EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (!d->dns) { /* no name server is configured: /etc/hosts may still know the name */
		d->dns = evdns_base_new(d->base, 0);
		if (!d->dns)
			return AGI_E_NOMEM;
		(void)evdns_base_load_hosts(d->dns, NULL);
	}
	d->query = evdns_getaddrinfo(d->dns, d->host, NULL, &hints, on_resolved, d);
	return AGI_OK;
}

static enum agi_err set_target(struct agi_dial *d, struct agi_str target, struct agi_why *why)
{
	struct agi_str host;
	enum agi_err e = agi_dial_check(target, why);

	if (e)
		return e;
	if (take_prefix(&target, AGI_STR("unix:"))) {
		memcpy(d->path, target.p, target.n);
		return AGI_OK;
	}
	(void)take_prefix(&target, AGI_STR("tls://"));
	if (agi_addr_parse(&d->addrs[0], target, 0, NULL) == AGI_OK) {
		d->n = 1;
		d->port = d->addrs[0].port;
		agi_addr_format_ip(d->host, &d->addrs[0]);
		return AGI_OK;
	}
	if (!split_name(target, &host, &d->port))
		return AGI_E_INVALID;
	memcpy(d->host, host.p, host.n);
	return AGI_OK;
}

enum agi_err agi_dial_start(struct event_base *base, struct agi_str target,
			    const struct agi_tls_client *tls, uint32_t timeout_ms, agi_dial_fn *fn,
			    void *arg, struct agi_dial **out, struct agi_why *why)
{
	struct agi_dial *d = calloc(1, sizeof *d);
	struct timeval limit = {timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000};
	enum agi_err e;

	if (!d)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	*d = (struct agi_dial){.base = base, .fn = fn, .arg = arg, .fd = -1};
	e = set_target(d, target, why);
	if (!e && agi_dial_is_tls(target) && !tls)
		e = agi_fail(why, AGI_E_UNSUPPORTED, "\"%.*s\": TLS is not for this purpose",
			     AGI_STR_ARG(target));
	if (e)
		goto fail;
	d->tls = agi_dial_is_tls(target) ? tls : NULL;
	e = agi_fail(why, AGI_E_NOMEM, "out of memory");
	d->step = event_new(base, -1, 0, on_step, d);
	d->limit = event_new(base, -1, 0, on_limit, d);
	if (!d->step || !d->limit || event_add(d->limit, &limit) != 0)
		goto fail;
	if (d->n || d->path[0])
		event_active(d->step, EV_TIMEOUT, 0);
	else if (resolve(d))
		goto fail;
	*out = d;
	return AGI_OK;
fail:
	free_dial(d);
	return e;
}

void agi_dial_speak_http(struct agi_dial *d) { d->is_http = true; }

void agi_dial_cancel(struct agi_dial *d)
{
	if (d)
		free_dial(d);
}
