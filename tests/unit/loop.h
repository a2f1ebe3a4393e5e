/* SPDX-License-Identifier: Apache-2.0
 * For tests with sockets: runs an event loop until a condition holds, never longer than a bound. */
#ifndef AGI_TESTS_LOOP_H
#define AGI_TESTS_LOOP_H

#include <event2/event.h>
#include <fcntl.h>
#include <unistd.h>

#include "net/sock.h"

enum {
	LOOP_BOUND_S = 30
}; /* a test that waits longer has failed; far above what a slow machine needs */

static inline void loop_expire(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

/* Runs base until cond(arg); false when the bound passed first. */
static inline bool loop_until(struct event_base *base, bool (*cond)(void *arg), void *arg)
{
	bool expired = false;
	struct timeval tv = {.tv_sec = LOOP_BOUND_S};
	struct event *guard = event_new(base, -1, 0, loop_expire, &expired);

	event_add(guard, &tv);
	while (!expired && !cond(arg))
		event_base_loop(base, EVLOOP_ONCE);
	event_free(guard);
	return cond(arg);
}

static inline struct agi_addr loopback(uint16_t port)
{
	return (struct agi_addr){.ip = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1},
				 .port = port};
}

/* A blocking connection, as a client of anything. */
static inline int raw_connect(const struct agi_addr *addr)
{
	struct sockaddr_storage sa;
	socklen_t n = agi_sock_of_addr(&sa, addr);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, n)) {
		close(fd);
		return -1;
	}
	return fd;
}

#endif
