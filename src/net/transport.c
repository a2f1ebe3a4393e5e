/* SPDX-License-Identifier: Apache-2.0 */
#include "net/transport.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- plain sockets
 * ---------------------------------------------------------------------------------------- */
static ssize_t plain_read(struct agi_transport *t, void *to, size_t n)
{
	ssize_t got;

	do
		got = recv(t->fd, to, n, 0);
	while (got < 0 && errno == EINTR);
	return got;
}

static ssize_t plain_write(struct agi_transport *t, const void *p, size_t n)
{
	ssize_t done;

	do
		done = send(t->fd, p, n, MSG_NOSIGNAL);
	while (done < 0 && errno == EINTR);
	return done;
}

static void plain_shutdown(struct agi_transport *t) { (void)shutdown(t->fd, SHUT_WR); }

static void plain_free(struct agi_transport *t) { free(t); }

static const struct agi_transport_ops plain = {
    .read = plain_read, .write = plain_write, .shutdown = plain_shutdown, .free = plain_free};

static struct agi_transport *plain_new(int fd)
{
	struct agi_transport *t = calloc(1, sizeof *t);

	if (!t) {
		close(fd);
		return NULL;
	}
	t->ops = &plain;
	t->fd = fd;
	return t;
}

struct agi_transport *agi_transport_tcp(int fd, const struct agi_addr *remote)
{
	struct agi_transport *t = plain_new(fd);

	if (t)
		t->peer.addr = *remote;
	return t;
}

struct agi_transport *agi_transport_unix(int fd)
{
	struct agi_transport *t = plain_new(fd);
	struct ucred cred;
	socklen_t n = sizeof cred;

	if (!t)
		return NULL;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0) {
		agi_transport_close(t);
		return NULL;
	}
	t->peer.is_unix = true;
	t->peer.uid = cred.uid;
	return t;
}

/* --- any transport
 * -------------------------------------------------------------------------------------------- */
ssize_t agi_transport_read(struct agi_transport *t, void *to, size_t n)
{
	return t->ops->read(t, to, n);
}

ssize_t agi_transport_write(struct agi_transport *t, const void *p, size_t n)
{
	return t->ops->write(t, p, n);
}

const char *agi_transport_reason(const struct agi_transport *t)
{
	return t->ops->error ? t->ops->error(t) : NULL;
}

const char *agi_transport_error(const struct agi_transport *t)
{
	const char *text = agi_transport_reason(t);

	return text ? text : strerror(errno);
}

void agi_transport_shutdown(struct agi_transport *t) { t->ops->shutdown(t); }

void agi_transport_close(struct agi_transport *t)
{
	int fd;

	if (!t)
		return;
	fd = t->fd;
	for (size_t i = 0; i < t->peer.n_names; i++)
		free(t->peer.names[i]);
	t->ops->free(t);
	close(fd);
}

int agi_transport_release(struct agi_transport *t, struct agi_addr *remote)
{
	int fd = t->fd;

	if (t->ops != &plain) {
		agi_transport_close(t);
		return -1;
	}
	*remote = t->peer.addr;
	t->ops->free(t);
	return fd;
}
