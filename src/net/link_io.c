/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <event2/event.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "net/link_impl.h"
#include "net/sock.h"

enum {
	WRITE_RECORDS =
	    8, /* records per system call and turn, so that no link holds the loop for long */
	PART_KEEP = 4096 /* bytes of memory an idle connection may keep */
};

/* --- writing
 * -------------------------------------------------------------------------------------- */
void conn_want_write(struct conn *c)
{
	c->is_blocked = true;
	event_add(c->wr, NULL);
}

static void written(struct conn *c, size_t n)
{
	size_t before = c->out.text_bytes;

	agi_outbox_written(&c->out, &c->l->pool, n);
	c->l->queued_bytes -= before - c->out.text_bytes;
	c->l->stats.bytes_out += n;
	c->is_active = true;
}

void conn_flush(struct conn *c)
{
	struct iovec iov[WRITE_RECORDS];
	struct msghdr msg = {.msg_iov = iov};
	bool has_key = c->state == CONN_UP || c->state == CONN_LEAVING;
	ssize_t n;

	if (c->is_blocked || c->state == CONN_DIALLING || c->state == CONN_DEAD)
		return;
	msg.msg_iovlen = agi_outbox_gather(&c->out, has_key ? &c->send : NULL, iov, WRITE_RECORDS);
	if (msg.msg_iovlen == 0)
		return;
	n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
		conn_lost(c, strerror(errno));
		return;
	}
	if (n > 0)
		written(c, (size_t)n);
	if (agi_outbox_gather(&c->out, NULL, iov, 1) || (has_key && !agi_outbox_is_empty(&c->out)))
		conn_want_write(c);
	else
		conn_end_if_left(c);
}

enum agi_err conn_put(struct conn *c, struct agi_str message)
{
	struct agi_links *l = c->l;
	size_t before = c->out.text_bytes;
	enum agi_err err;

	if (before + message.n > AGI_LINK_QUEUE_BYTES ||
	    l->queued_bytes + message.n > AGI_LINKS_QUEUE_BYTES)
		return AGI_E_FULL;
	err = agi_outbox_put(&c->out, &l->pool, message);
	if (err)
		return err;
	l->queued_bytes += c->out.text_bytes - before;
	l->stats.messages_out++;
	c->is_active = true;
	if (c->state == CONN_UP)
		conn_mark_dirty(c);
	return AGI_OK;
}

/* --- getting up
 * ----------------------------------------------------------------------------------- */
static void come_up(struct conn *c)
{
	struct agi_links *l = c->l;
	struct conn *surplus;

	conn_unlist(c); /* the channel becomes known only now */
	c->peer = c->hello->peer;
	c->chan = c->hello->chan;
	c->send = c->hello->send;
	c->recv = c->hello->recv;
	conn_drop_hello(c);
	c->state = CONN_UP;
	l->stats.links++;
	l->stats.handshakes_ok++;
	table_add_peer(c);
	if (c->is_dialled)
		table_add_addr(c);
	conn_set_timer(c, l->idle_timeout_ms / 2 + 1);
	conn_mark_dirty(c);
	surplus = table_surplus(c);
	if (surplus)
		conn_leave(surplus);
}

/* Returns how many bytes were used; the connection may be dead afterwards. */
static size_t shake(struct conn *c, const uint8_t *p, size_t n)
{
	struct agi_buf say;
	struct agi_why why = {""};
	size_t used;
	enum agi_err err;

	agi_buf_init(&say, 0);
	err = agi_hello_feed(c->hello, p, n, &used, &say, &why);
	if (!err && say.n)
		err = agi_outbox_raw(&c->out, &c->l->pool, agi_buf_str(&say));
	agi_buf_free(&say);
	if (err)
		conn_fail(c, err, "%s", why.text[0] ? why.text : agi_err_text(err));
	else if (c->hello->state > AGI_HELLO_WANT_PREFACE && !links_has(c->l, c->hello->chan))
		conn_fail(c, AGI_E_UNSUPPORTED, "channel %d is not served here", c->hello->chan);
	else if (c->hello->state == AGI_HELLO_DONE)
		come_up(c);
	else
		conn_mark_dirty(c);
	return used;
}

/* --- reading
 * -------------------------------------------------------------------------------------- */
static bool on_message(void *ctx, struct agi_str message)
{
	struct conn *c = ctx;
	struct agi_links *l = c->l;

	if (c->has_got_bye)
		return false;
	c->is_active = true;
	l->stats.messages_in++;
	l->handlers.on_message(l->ctx, &c->peer, &c->remote, c->chan, message);
	return !l->is_freed;
}

static bool on_mark(void *ctx)
{
	struct conn *c = ctx;

	if (c->has_got_bye)
		return false;
	c->has_got_bye = true;
	conn_leave(c);
	return c->state != CONN_DEAD;
}

static size_t receive(struct conn *c, uint8_t *p, size_t n)
{
	const struct agi_inbox_sink sink = {on_message, on_mark, c};
	struct agi_why why = {""};
	size_t used;
	enum agi_err err = agi_inbox_feed(&c->in, &c->recv, p, n, &used, &sink, &why);

	if (err)
		conn_fail(c, err, "%s", why.text[0] ? why.text : agi_err_text(err));
	else if (c->has_got_bye && used < n && !c->l->is_freed)
		conn_fail(c, AGI_E_MALFORMED, "more data after its goodbye");
	else
		conn_end_if_left(c);
	return used;
}

/* What is left over is the beginning of something, at most one record. */
static void keep_part(struct conn *c, const uint8_t *p, size_t n)
{
	if (n == 0) {
		if (c->part.cap > PART_KEEP)
			agi_buf_free(&c->part);
		return;
	}
	agi_buf_put(&c->part, p, n);
	if (c->part.err)
		conn_fail(c, c->part.err, "no memory for a record");
}

static void process(struct conn *c, uint8_t *p, size_t n)
{
	size_t used = 0;

	if (c->state == CONN_SHAKING)
		used = shake(c, p, n);
	if (c->state == CONN_UP || c->state == CONN_LEAVING)
		used += receive(c, p + used, n - used);
	if (c->state != CONN_DEAD && !c->l->is_freed)
		keep_part(c, p + used, n - used);
}

/* End of file or a broken connection, said as what it means at this point. */
void conn_lost(struct conn *c, const char *how)
{
	if (c->state == CONN_LEAVING && agi_outbox_is_empty(&c->out))
		conn_fail(c, AGI_OK, "closed in order, nothing was lost");
	else if (c->state != CONN_SHAKING)
		conn_fail(c, AGI_E_UNREACHABLE, "%s%s", how,
			  agi_inbox_is_between(&c->in) ? "" : " in the middle of a message");
	else if (!c->is_dialled)
		conn_fail(c, AGI_E_UNREACHABLE, "%s during the handshake", how);
	else if (c->hello->state == AGI_HELLO_WANT_WELCOME)
		conn_fail(c, AGI_E_AUTH,
			  "%s when it had our proof of the cluster key: most likely the cluster "
			  "key differs",
			  how);
	else
		conn_fail(c, AGI_E_UNREACHABLE,
			  "%s before it answered the handshake: is it an overlay port, and below "
			  "its links_max?",
			  how);
}

/* At the first bytes: is it for another set? A preface that comes in pieces is not waited for; one of another
 * set's channel is then refused. */
static bool is_anothers(struct conn *c, enum agi_chan *chan)
{
	uint8_t p[AGI_LINK_PREFACE_BYTES];

	if (c->is_dialled || c->state != CONN_SHAKING || !c->l->handlers.on_other ||
	    c->hello->state != AGI_HELLO_WANT_PREFACE)
		return false;
	if (recv(c->fd, p, sizeof p, MSG_PEEK) == sizeof p &&
	    agi_link_preface_read(chan, p, NULL) == AGI_OK && !links_has(c->l, *chan))
		return true;
	conn_low_water(c, 1);
	return false;
}

void conn_read_cb(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	struct agi_links *l = c->l;
	size_t had = c->part.n;
	enum agi_chan chan;
	ssize_t n;

	(void)what;
	links_enter(l);
	if (is_anothers(c, &chan)) {
		conn_give_away(c, chan);
		links_exit(l);
		return;
	}
	n = recv(fd, l->scratch + had, LINK_SCRATCH_BYTES - had, 0);
	if (n == 0) {
		conn_lost(c, "the peer closed it");
	} else if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			conn_lost(c, strerror(errno));
	} else {
		l->stats.bytes_in += (uint64_t)n;
		if (had)
			memcpy(l->scratch, c->part.p, had);
		agi_buf_reset(&c->part);
		process(c, l->scratch, had + (size_t)n);
	}
	links_exit(l);
}

/* --- events
 * --------------------------------------------------------------------------------------- */
static void connected(struct conn *c)
{
	int error = 0;
	socklen_t n = sizeof error;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n))
		error = errno;
	if (error) {
		conn_fail(c, AGI_E_UNREACHABLE, "%s", strerror(error));
		return;
	}
	c->state = CONN_SHAKING;
	event_add(c->rd, NULL);
	conn_flush(c);
}

void conn_write_cb(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	struct agi_links *l = c->l;

	(void)fd;
	(void)what;
	links_enter(l);
	c->is_blocked = false;
	if (c->state == CONN_DIALLING)
		connected(c);
	else
		conn_flush(c);
	links_exit(l);
}
