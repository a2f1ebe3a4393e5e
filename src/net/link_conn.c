/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/link_impl.h"
#include "net/sock.h"

/* --- life and death
 * ------------------------------------------------------------------------------- */
void conn_set_timer(struct conn *c, uint32_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	event_add(c->timer, &tv);
}

void conn_mark_dirty(struct conn *c)
{
	if (c->is_dirty || c->is_blocked)
		return;
	c->is_dirty = true;
	STAILQ_INSERT_TAIL(&c->l->dirty[c->chan], c, dirty);
	links_wake(c->l);
}

void conn_unlist(struct conn *c)
{
	struct agi_links *l = c->l;

	table_remove(c);
	if (c->is_dirty)
		STAILQ_REMOVE(&l->dirty[c->chan], c, conn, dirty);
	if (c->is_in_shaking) {
		TAILQ_REMOVE(&l->shaking, c, shaking);
		l->n_shaking--;
	}
	c->is_dirty = c->is_in_shaking = false;
}

void conn_drop_hello(struct conn *c)
{
	if (c->hello)
		agi_hello_wipe(c->hello);
	free(c->hello);
	c->hello = NULL;
}

static void drop_outbox(struct conn *c)
{
	c->l->queued_bytes -= c->out.text_bytes;
	agi_outbox_free(&c->out, &c->l->pool);
}

/* Gives back everything but the structure. */
static void shut(struct conn *c)
{
	conn_unlist(c);
	if (c->rd)
		event_free(c->rd);
	if (c->wr)
		event_free(c->wr);
	if (c->timer)
		event_free(c->timer);
	c->rd = c->wr = c->timer = NULL;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	conn_drop_hello(c);
	drop_outbox(c);
	agi_inbox_free(&c->in);
	agi_buf_free(&c->part);
	sodium_memzero(&c->send, sizeof c->send);
	sodium_memzero(&c->recv, sizeof c->recv);
}

void conn_free(struct conn *c)
{
	shut(c);
	if (c->state != CONN_DEAD) {
		c->l->n_all--;
		TAILQ_REMOVE(&c->l->all, c, link);
	}
	free(c);
}

void conn_low_water(struct conn *c, int bytes)
{
	(void)setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
}

void conn_give_away(struct conn *c, enum agi_chan chan)
{
	struct agi_links *l = c->l;
	struct agi_addr remote = c->remote;
	int fd = c->fd;

	conn_low_water(c, 1);
	event_del(c->rd);
	c->fd = -1;
	conn_free(c);
	l->handlers.on_other(l->ctx, fd, &remote, chan);
}

static void end(struct conn *c, enum agi_err err)
{
	struct agi_links *l = c->l;

	if (c->state < CONN_UP)
		l->stats.handshakes_failed++;
	else
		l->stats.links--;
	shut(c);
	c->state = CONN_DEAD;
	c->err = err;
	l->n_all--;
	TAILQ_REMOVE(&l->all, c, link);
	TAILQ_INSERT_TAIL(&l->dead, c, link);
	links_wake(l);
}

/* A dial that failed does not take its messages with it when there is another way to the same peer
 * (which dialled us meanwhile, say). */
static bool hand_over(struct conn *c)
{
	struct conn *other;

	if (c->state >= CONN_UP || agi_id_is_zero(&c->peer) || !c->is_dialled)
		return false;
	other = table_find_peer(c->l, &c->peer, c->chan);
	if (!other)
		return false;
	agi_outbox_drop_raw(&c->out, &c->l->pool);
	agi_outbox_move(&other->out, &c->out);
	conn_mark_dirty(other);
	return true;
}

void conn_fail(struct conn *c, enum agi_err err, const char *fmt, ...)
{
	char addr[AGI_ADDR_TEXT], text[256];
	va_list ap;

	if (c->state == CONN_DEAD)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	agi_addr_format(addr, &c->remote);
	agi_fail(&c->why, err, "link %s %s: %s", c->is_dialled ? "to" : "from", addr, text);
	end(c, hand_over(c) ? AGI_OK : err);
}

void conn_leave(struct conn *c)
{
	if (c->state != CONN_UP)
		return;
	if (agi_outbox_mark(&c->out, &c->l->pool)) {
		conn_fail(c, AGI_E_NOMEM, "no memory to close it in order");
		return;
	}
	c->state = CONN_LEAVING;
	table_remove(c);
	conn_set_timer(c, c->l->handshake_timeout_ms);
	conn_mark_dirty(c);
}

/* LEAVING ends when both have said goodbye and ours is out. */
void conn_end_if_left(struct conn *c)
{
	if (c->state == CONN_LEAVING && c->has_got_bye && agi_outbox_is_empty(&c->out))
		conn_fail(c, AGI_OK, "closed in order, nothing was lost");
}

/* --- time
 * ------------------------------------------------------------------------------------------- */
/* Twice nothing in half the idle time each. */
static void check_idle(struct conn *c)
{
	c->quiet_checks = c->is_active || !agi_outbox_is_empty(&c->out) ? 0 : c->quiet_checks + 1;
	c->is_active = false;
	if (c->quiet_checks >= 2)
		conn_leave(c);
	else
		conn_set_timer(c, c->l->idle_timeout_ms / 2 + 1);
}

/* Leaving, and the peer still takes what is queued. */
static void wait_on(struct conn *c)
{
	c->is_active = false;
	conn_set_timer(c, c->l->handshake_timeout_ms);
}

static void timer_cb(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	struct agi_links *l = c->l;

	(void)fd;
	(void)what;
	links_enter(l);
	if (c->state == CONN_UP)
		check_idle(c);
	else if (c->state == CONN_LEAVING && c->is_active)
		wait_on(c);
	else if (c->state == CONN_LEAVING)
		conn_lost(c, "the peer took too long to close it");
	else
		conn_fail(c, AGI_E_TIMEOUT, "%s within %u ms",
			  c->state == CONN_DIALLING ? "no connection" : "the handshake did not end",
			  l->handshake_timeout_ms);
	links_exit(l);
}

/* --- opening
 * --------------------------------------------------------------------------------------- */
static enum agi_err start_hello(struct conn *c)
{
	struct agi_buf say;
	enum agi_err err = AGI_OK;

	c->hello = malloc(sizeof *c->hello);
	if (!c->hello)
		return AGI_E_NOMEM;
	agi_buf_init(&say, 0);
	if (c->is_dialled)
		err = agi_hello_dial(c->hello, c->l->keys, &c->peer, c->chan, &say);
	else
		agi_hello_answer(c->hello, c->l->keys);
	if (!err && say.n)
		err = agi_outbox_raw(&c->out, &c->l->pool, agi_buf_str(&say));
	agi_buf_free(&say);
	return err;
}

static struct conn *conn_new(struct agi_links *l, int fd, const struct agi_addr *remote)
{
	struct conn *c = calloc(1, sizeof *c);

	if (!c) {
		close(fd);
		return NULL;
	}
	c->l = l;
	c->fd = fd;
	c->remote = *remote;
	agi_inbox_init(&c->in);
	agi_buf_init(&c->part, 0);
	c->rd = event_new(l->base, fd, EV_READ | EV_PERSIST, conn_read_cb, c);
	c->wr = event_new(l->base, fd, EV_WRITE, conn_write_cb, c);
	c->timer = event_new(l->base, -1, 0, timer_cb, c);
	l->n_all++;
	TAILQ_INSERT_TAIL(&l->all, c, link);
	if (!c->rd || !c->wr || !c->timer) {
		conn_free(c);
		return NULL;
	}
	conn_set_timer(c, l->handshake_timeout_ms);
	return c;
}

/* A host that vanished must not hold a link for the quarter of an hour the kernel would try. */
static void bound_silence(int fd)
{
	unsigned ms = AGI_LINK_UNACKED_MS;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
	agi_sock_no_delay(fd);
}

/* A connected or connecting socket; -1 and errno. */
static int open_to(const struct agi_addr *addr)
{
	struct sockaddr_storage sa;
	socklen_t n = agi_sock_of_addr(&sa, addr);
	int fd = agi_sock_tcp(addr), error;

	if (fd < 0)
		return -1;
	bound_silence(fd);
	if (connect(fd, (struct sockaddr *)&sa, n) == 0 || errno == EINPROGRESS)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

enum agi_err conn_dial(struct agi_links *l, const struct agi_id *peer, const struct agi_addr *addr,
		       enum agi_chan chan, struct conn **out)
{
	struct conn *c;
	enum agi_err err;
	int fd;

	if (l->n_all >= l->links_max)
		return AGI_E_FULL;
	fd = open_to(addr);
	if (fd < 0)
		return errno == EMFILE || errno == ENFILE ? AGI_E_FULL : AGI_E_UNREACHABLE;
	c = conn_new(l, fd, addr);
	if (!c)
		return AGI_E_NOMEM;
	c->is_dialled = true;
	c->peer = *peer;
	c->chan = chan;
	c->state = CONN_DIALLING;
	err = start_hello(c);
	if (err) {
		conn_free(c);
		return err;
	}
	table_add_addr(c);
	conn_want_write(c);
	*out = c;
	return AGI_OK;
}

enum agi_err conn_accept(struct agi_links *l, int fd, const struct agi_addr *remote)
{
	struct conn *c = conn_new(l, fd, remote);
	enum agi_err err;

	if (!c)
		return AGI_E_NOMEM;
	bound_silence(fd);
	c->state = CONN_SHAKING;
	err = start_hello(c);
	if (err) {
		conn_free(c);
		return err;
	}
	if (l->handlers.on_other)
		conn_low_water(c, AGI_LINK_PREFACE_BYTES);
	TAILQ_INSERT_TAIL(&l->shaking, c, shaking);
	c->is_in_shaking = true;
	l->n_shaking++;
	event_add(c->rd, NULL);
	return AGI_OK;
}
