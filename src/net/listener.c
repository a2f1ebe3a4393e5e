/* SPDX-License-Identifier: Apache-2.0 */
#include "net/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/limits.h"
#include "net/listen_unix.h"
#include "net/sock.h"
#include "net/tls.h"

enum {
	SNIFF_BYTES = 4,   /* the longest word that tells a protocol */
	ACCEPT_BATCH = 64, /* per turn of the loop, so that a flood does not hold it */
	BACKLOG = 1024
};

struct pending {
	struct agi_listener *l;
	struct agi_transport *t;
	size_t seen;     /* bytes there when last looked: a part of a word */
	bool is_shaking; /* within a TLS handshake */
	struct event *ev;
	uint64_t deadline_ms;
	TAILQ_ENTRY(pending)
	link; /* oldest first: all wait equally long, so deadlines are in order */
};

struct agi_listener {
	struct event_base *base;
	struct agi_listener_cfg cfg;
	struct agi_addr bound;
	int fd;
	struct event *accept_ev, *resume_ev, *sweep_ev;
	TAILQ_HEAD(, pending) pending;
	uint32_t n_pending, n_shaking;
	struct agi_unix_socket unix_socket;
	struct agi_listener_stats stats;
};

/* --- what is it? ----------------------------------------------------------------------- */
static const struct {
	const char *word;
	enum agi_wire wire;
} words[] = {
    {"PRI ", AGI_WIRE_GRPC}, {"GET ", AGI_WIRE_HTTP}, {"HEAD", AGI_WIRE_HTTP},
    {"\x16", AGI_WIRE_TLS},  {"\x01", AGI_WIRE_LINK},
};

bool agi_wire_of(enum agi_wire *out, struct agi_str first)
{
	bool may_be = first.n == 0;

	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		struct agi_str word = agi_str_of(words[i].word);

		if (agi_str_has_prefix(first, word)) {
			*out = words[i].wire;
			return true;
		}
		may_be = may_be || agi_str_has_prefix(word, first);
	}
	if (!may_be)
		*out = AGI_WIRE_COUNT;
	return !may_be;
}

/* --- pending connections
 * -------------------------------------------------------------------------- */
static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Takes it out of the list; returns its connection. */
static struct agi_transport *pending_remove(struct pending *p)
{
	struct agi_transport *t = p->t;

	TAILQ_REMOVE(&p->l->pending, p, link);
	p->l->n_pending--;
	p->l->n_shaking -= p->is_shaking;
	if (p->ev)
		event_free(p->ev);
	free(p);
	return t;
}

static void pending_close(struct pending *p, uint64_t *counter)
{
	++*counter;
	agi_transport_close(pending_remove(p));
}

static void set_timer(struct event *ev, uint64_t ms)
{
	struct timeval tv = {.tv_sec = (time_t)(ms / 1000),
			     .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

	event_add(ev, &tv);
}

static void set_low_water(int fd, int bytes)
{
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
}

static void hand_over(struct pending *p, enum agi_wire wire)
{
	struct agi_listener *l = p->l;
	struct agi_transport *t;

	if (wire == AGI_WIRE_COUNT || !l->cfg.on_wire[wire]) {
		pending_close(p, &l->stats.unknown);
		return;
	}
	t = pending_remove(p);
	l->stats.accepted[wire]++;
	set_low_water(agi_transport_fd(t), 1);
	l->cfg.on_wire[wire](l->cfg.ctx, t);
}

/* --- TLS ------------------------------------------------------------------------------- */
static void shake_cb(evutil_socket_t fd, short what, void *arg);

static bool wait_for(struct pending *p, short what, event_callback_fn cb)
{
	event_del(p->ev);
	return event_assign(p->ev, p->l->base, agi_transport_fd(p->t), what, cb, p) == 0 &&
	       event_add(p->ev, NULL) == 0;
}

static void shake_failed(struct pending *p, const struct agi_why *why)
{
	struct agi_listener *l = p->l;
	struct agi_addr remote = agi_transport_peer(p->t)->addr;

	pending_close(p, &l->stats.tls_failed);
	if (l->cfg.on_tls_failed)
		l->cfg.on_tls_failed(l->cfg.tls_failed_ctx, &remote, why);
}

static void shake(struct pending *p)
{
	struct agi_why why = {"TLS handshake: out of memory"};
	const char *protocol;

	switch (agi_tls_handshake(p->t, &why)) {
	case AGI_TLS_WANTS_READ:
		if (!wait_for(p, EV_READ, shake_cb))
			shake_failed(p, &why);
		return;
	case AGI_TLS_WANTS_WRITE:
		if (!wait_for(p, EV_WRITE, shake_cb))
			shake_failed(p, &why);
		return;
	case AGI_TLS_FAILED:
		shake_failed(p, &why);
		return;
	case AGI_TLS_DONE:
		protocol = agi_tls_protocol(p->t);
		p->l->stats.accepted[AGI_WIRE_TLS]++;
		hand_over(p, strcmp(protocol, "h2") == 0 ? AGI_WIRE_GRPC : AGI_WIRE_HTTP);
	}
}

static void shake_cb(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	shake(arg);
}

/* Makes room for one more handshake: the oldest has had the most time. */
static void end_oldest_shake(struct agi_listener *l)
{
	struct pending *p;

	TAILQ_FOREACH(p, &l->pending, link)
	if (p->is_shaking) {
		pending_close(p, &l->stats.crowded);
		return;
	}
}

static void start_tls(struct pending *p)
{
	struct agi_listener *l = p->l;

	if (l->n_shaking >= AGI_TLS_PENDING)
		end_oldest_shake(l);
	p->is_shaking = true;
	l->n_shaking++;
	p->t = agi_tls_accept(l->cfg.tls, p->t);
	if (p->t)
		shake(p);
	else
		pending_close(p, &l->stats.crowded);
}

/* --- deciding --------------------------------------------------------------------------- */
static bool is_refused_plain(const struct pending *p, enum agi_wire wire)
{
	const struct agi_transport_peer *peer = agi_transport_peer(p->t);
	enum agi_plaintext may = p->l->cfg.plaintext;

	if (peer->is_unix || (wire != AGI_WIRE_GRPC && wire != AGI_WIRE_HTTP))
		return false;
	return may == AGI_PLAINTEXT_REFUSE ||
	       (may == AGI_PLAINTEXT_LOOPBACK && !agi_addr_is_loopback(&peer->addr));
}

static void decide(struct pending *p, enum agi_wire wire)
{
	if (wire == AGI_WIRE_TLS && p->l->cfg.tls && !agi_transport_peer(p->t)->is_unix)
		start_tls(p);
	else if (wire == AGI_WIRE_TLS)
		pending_close(p, &p->l->stats.unknown);
	else if (is_refused_plain(p, wire))
		pending_close(p, &p->l->stats.plain);
	else
		hand_over(p, wire);
}

static void sniff_cb(evutil_socket_t fd, short what, void *arg)
{
	struct pending *p = arg;
	char first[SNIFF_BYTES];
	ssize_t n = recv(fd, first, sizeof first, MSG_PEEK);
	enum agi_wire wire;

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* Woken although nothing new came: the peer has hung up within a word. */
	if (n <= 0 || (size_t)n == p->seen) {
		pending_close(p, &p->l->stats.silent);
	} else if (agi_wire_of(&wire, (struct agi_str){first, (size_t)n})) {
		decide(p, wire);
	} else {
		p->seen = (size_t)n;
		set_low_water(
		    fd, SNIFF_BYTES); /* else the unread bytes wake the loop again and again */
	}
}

static void sweep_cb(evutil_socket_t fd, short what, void *arg)
{
	struct agi_listener *l = arg;
	uint64_t now = now_ms();
	struct pending *p;

	(void)fd;
	(void)what;
	while ((p = TAILQ_FIRST(&l->pending)) && p->deadline_ms <= now)
		pending_close(p, &l->stats.silent);
	if (p)
		set_timer(l->sweep_ev, p->deadline_ms - now);
}

/* t may be NULL. */
static void pending_add(struct agi_listener *l, struct agi_transport *t)
{
	struct pending *p = t ? calloc(1, sizeof *p) : NULL;

	if (!p) {
		agi_transport_close(t);
		return;
	}
	p->l = l;
	p->t = t;
	p->deadline_ms = now_ms() + l->cfg.sniff_timeout_ms;
	TAILQ_INSERT_TAIL(&l->pending, p, link);
	if (++l->n_pending > l->cfg.pending_max)
		pending_close(TAILQ_FIRST(&l->pending), &l->stats.crowded);
	if (l->n_pending == 1)
		set_timer(l->sweep_ev, l->cfg.sniff_timeout_ms);
	p->ev = event_new(l->base, agi_transport_fd(t), EV_READ | EV_PERSIST, sniff_cb, p);
	if (!p->ev || event_add(p->ev, NULL))
		pending_close(p, &l->stats.crowded);
}

void agi_listener_take(struct agi_listener *l, int fd, const struct agi_addr *remote)
{
	pending_add(l, agi_transport_tcp(fd, remote));
}

/* --- accepting
 * ------------------------------------------------------------------------------------ */
static void pause_accepting(struct agi_listener *l)
{
	l->stats.pauses++;
	event_del(l->accept_ev);
	set_timer(l->resume_ev, AGI_LISTEN_PAUSE_MS);
}

static void resume_cb(evutil_socket_t fd, short what, void *arg)
{
	struct agi_listener *l = arg;

	(void)fd;
	(void)what;
	event_add(l->accept_ev, NULL);
}

static void accepted(struct agi_listener *l, int fd, const struct sockaddr *sa)
{
	struct agi_addr remote;

	if (l->unix_socket.fd >= 0) {
		pending_add(l, agi_transport_unix(fd));
		return;
	}
	if (agi_addr_of_sock(&remote, sa)) {
		close(fd);
		return;
	}
	agi_sock_no_delay(fd);
	if (l->cfg.on_accept)
		l->cfg.on_accept(l->cfg.ctx, fd, &remote);
	else
		agi_listener_take(l, fd, &remote);
}

static void accept_cb(evutil_socket_t listen_fd, short what, void *arg)
{
	struct agi_listener *l = arg;

	(void)what;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage sa;
		socklen_t n = sizeof sa;
		int fd =
		    accept4(listen_fd, (struct sockaddr *)&sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			accepted(l, fd, (struct sockaddr *)&sa);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			   errno == ENOMEM) {
			pause_accepting(l);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return; /* EAGAIN, or an error of a connection that is gone (accept(2)) */
		}
	}
}

/* --- opening
 * -------------------------------------------------------------------------------------- */
static enum agi_err open_error(struct agi_why *why, const char *text)
{
	switch (errno) {
	case EADDRINUSE:
		return agi_fail(
		    why, AGI_E_EXISTS,
		    "%s is in use: stop the process that listens there or set another port", text);
	case EADDRNOTAVAIL:
	case EAFNOSUPPORT:
		return agi_fail(why, AGI_E_INVALID, "%s is not an address of this host", text);
	case EACCES:
		return agi_fail(why, AGI_E_DENIED,
				"%s: ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)",
				text);
	case EMFILE:
	case ENFILE:
		return agi_fail(why, AGI_E_FULL, "%s: no file descriptor left (ulimit -n)", text);
	default:
		return agi_fail(why, AGI_E_IO, "cannot listen on %s: %s", text, strerror(errno));
	}
}

static bool bind_tcp(struct agi_listener *l)
{
	struct sockaddr_storage sa;
	socklen_t n = agi_sock_of_addr(&sa, &l->cfg.addr);
	int on = 1, off = 0;

	l->fd = agi_sock_tcp(&l->cfg.addr);
	if (l->fd < 0)
		return false;
	/* SO_REUSEADDR: a restart need not wait for connections in TIME_WAIT; two listeners still
	 * clash. */
	if (setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on))
		return false;
	if (sa.ss_family == AF_INET6) /* "::" takes IPv4 as well, whatever the host's default */
		(void)setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	if (bind(l->fd, (struct sockaddr *)&sa, n) || listen(l->fd, BACKLOG))
		return false;
	n = sizeof sa;
	return getsockname(l->fd, (struct sockaddr *)&sa, &n) == 0 &&
	       agi_addr_of_sock(&l->bound, (struct sockaddr *)&sa) == AGI_OK;
}

static enum agi_err bind_and_listen(struct agi_listener *l, const char *text, struct agi_why *why)
{
	enum agi_err e;

	if (l->cfg.is_fed)
		return AGI_OK;
	if (!l->cfg.unix_path)
		return bind_tcp(l) ? AGI_OK : open_error(why, text);
	e = agi_unix_listen(&l->unix_socket, l->cfg.unix_path, BACKLOG, why);
	l->cfg.unix_path = l->unix_socket.path;
	l->fd = l->unix_socket.fd;
	return e;
}

static enum agi_err add_events(struct agi_listener *l)
{
	if (!l->cfg.is_fed)
		l->accept_ev = event_new(l->base, l->fd, EV_READ | EV_PERSIST, accept_cb, l);
	l->resume_ev = event_new(l->base, -1, 0, resume_cb, l);
	l->sweep_ev = event_new(l->base, -1, 0, sweep_cb, l);
	if (!l->resume_ev || !l->sweep_ev)
		return AGI_E_NOMEM;
	return l->cfg.is_fed || (l->accept_ev && event_add(l->accept_ev, NULL) == 0) ? AGI_OK : AGI_E_NOMEM;
}

enum agi_err agi_listener_new(struct event_base *base, const struct agi_listener_cfg *cfg,
			      struct agi_listener **out, struct agi_why *why)
{
	struct agi_listener *l = calloc(1, sizeof *l);
	char text[AGI_ADDR_TEXT];
	enum agi_err err;

	agi_addr_format(text, &cfg->addr);
	if (!l)
		return agi_fail(why, AGI_E_NOMEM, "no memory to listen on %s", text);
	l->base = base;
	l->cfg = *cfg;
	if (!l->cfg.sniff_timeout_ms)
		l->cfg.sniff_timeout_ms = AGI_LISTEN_SNIFF_MS;
	if (!l->cfg.pending_max)
		l->cfg.pending_max = AGI_LISTEN_PENDING;
	TAILQ_INIT(&l->pending);
	l->fd = l->unix_socket.fd = -1;
	err = bind_and_listen(l, text, why);
	if (!err && add_events(l))
		err = agi_fail(why, AGI_E_NOMEM, "no memory to listen on %s", text);
	if (err)
		agi_listener_free(l);
	else
		*out = l;
	return err;
}

void agi_listener_free(struct agi_listener *l)
{
	if (!l)
		return;
	while (!TAILQ_EMPTY(&l->pending))
		agi_transport_close(pending_remove(TAILQ_FIRST(&l->pending)));
	if (l->accept_ev)
		event_free(l->accept_ev);
	if (l->resume_ev)
		event_free(l->resume_ev);
	if (l->sweep_ev)
		event_free(l->sweep_ev);
	if (l->unix_socket.fd >= 0)
		agi_unix_close(&l->unix_socket);
	else if (l->fd >= 0)
		close(l->fd);
	free(l);
}

const struct agi_addr *agi_listener_addr(const struct agi_listener *l) { return &l->bound; }
void agi_listener_stats(const struct agi_listener *l, struct agi_listener_stats *out)
{
	*out = l->stats;
}
