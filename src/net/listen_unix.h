/* SPDX-License-Identifier: Apache-2.0
 * A listening Unix socket at a path. Whoever may connect is decided by the file's mode, 0600, and
 * by its directory: one that others could write to is refused, since they could put a socket of
 * their own there.
 *
 * PATH.lock is locked as long as the socket is open: only its holder may remove a socket that a
 * process left behind, so two starting at once cannot take each other's. */
#ifndef AGI_NET_LISTEN_UNIX_H
#define AGI_NET_LISTEN_UNIX_H

#include "base/err.h"

enum { AGI_UNIX_PATH_MAX = 107 /* bytes: sockaddr_un's, less the terminator */ };

struct agi_unix_socket {
	int fd, lock_fd; /* -1 = closed */
	char path[AGI_UNIX_PATH_MAX + 1];
};

/* INVALID (the path, its directory, something else is there), EXISTS (somebody listens there),
 * DENIED, IO; why names the path. */
AGI_MUST_USE enum agi_err agi_unix_listen(struct agi_unix_socket *out, const char *path,
					  int backlog, struct agi_why *why);
/* Removes the path and closes. Closed already: nothing. */
void agi_unix_close(struct agi_unix_socket *s);
/* A non-blocking socket that is connected, or -1 + errno (a Unix socket connects at once or not at
 * all; EAGAIN: the listener's queue is full). */
int agi_unix_connect(const char *path);

#endif
