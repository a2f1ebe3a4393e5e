/* SPDX-License-Identifier: Apache-2.0 */
#include "node/resolve.h"

#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Shared by the owner and the thread of a round; the last of them frees it, since getaddrinfo cannot be
 * interrupted and nobody waits for it. */
struct agi_resolver {
	pthread_mutex_t lock;
	unsigned holders;
	bool is_running, has_result;
	int fd;
	struct agi_resolved result;
	size_t n;
	struct {
		char host[256];
		uint16_t port;
	} entry[AGI_BOOTSTRAP_MAX];
};

enum agi_err agi_resolver_new(const struct agi_endpoints *endpoints, struct agi_resolver **out)
{
	struct agi_resolver *r = calloc(1, sizeof *r);

	if (!r)
		return AGI_E_NOMEM;
	r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->fd < 0 || pthread_mutex_init(&r->lock, NULL)) {
		if (r->fd >= 0)
			close(r->fd);
		free(r);
		return AGI_E_NOMEM;
	}
	r->holders = 1;
	for (size_t i = 0; i < endpoints->n && r->n < AGI_BOOTSTRAP_MAX; i++) {
		snprintf(r->entry[r->n].host, sizeof r->entry[0].host, "%s", endpoints->v[i].host);
		r->entry[r->n++].port = endpoints->v[i].port;
	}
	*out = r;
	return AGI_OK;
}

static void let_go(struct agi_resolver *r)
{
	unsigned left;

	pthread_mutex_lock(&r->lock);
	left = --r->holders;
	pthread_mutex_unlock(&r->lock);
	if (left)
		return;
	close(r->fd);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void agi_resolver_free(struct agi_resolver *r)
{
	if (r)
		let_go(r);
}

static bool addr_of(struct agi_addr *out, const struct sockaddr *sa, uint16_t port)
{
	out->port = port;
	if (sa->sa_family == AF_INET) {
		memset(out->ip, 0, 10);
		memset(out->ip + 10, 0xff, 2);
		memcpy(out->ip + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
		return true;
	}
	if (sa->sa_family != AF_INET6)
		return false;
	memcpy(out->ip, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
	return true;
}

static void resolve_one(struct agi_resolver *r, size_t i, struct agi_resolved *out)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	int e = getaddrinfo(r->entry[i].host, NULL, &hints, &list);
	bool is_known = !e && list && addr_of(&out->addr[out->n], list->ai_addr, r->entry[i].port);

	if (is_known) {
		if (i == 0)
			out->is_first_known = true;
		out->n++;
	} else if (out->n_failed++ == 0) {
		snprintf(out->failed, sizeof out->failed, "%.180s: %.60s", r->entry[i].host,
		         e ? gai_strerror(e) : "no address");
	}
	if (list)
		freeaddrinfo(list);
}

static void *run(void *arg)
{
	struct agi_resolver *r = arg;
	struct agi_resolved result = {.n = 0};
	uint64_t one = 1;

	for (size_t i = 0; i < r->n; i++)
		resolve_one(r, i, &result);
	pthread_mutex_lock(&r->lock);
	r->result = result;
	r->has_result = true;
	r->is_running = false;
	if (write(r->fd, &one, sizeof one) != sizeof one)
		r->has_result = false; /* an eventfd takes it; without the news the next round tells */
	pthread_mutex_unlock(&r->lock);
	let_go(r);
	return NULL;
}

enum agi_err agi_resolver_begin(struct agi_resolver *r)
{
	pthread_attr_t attr;
	pthread_t thread;
	bool is_busy;
	int e;

	pthread_mutex_lock(&r->lock);
	is_busy = r->is_running;
	r->is_running = true;
	r->holders += !is_busy;
	pthread_mutex_unlock(&r->lock);
	if (is_busy)
		return AGI_OK;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	e = pthread_create(&thread, &attr, run, r);
	pthread_attr_destroy(&attr);
	if (!e)
		return AGI_OK;
	pthread_mutex_lock(&r->lock);
	r->is_running = false;
	r->holders--;
	pthread_mutex_unlock(&r->lock);
	return AGI_E_INTERNAL;
}

int agi_resolver_fd(const struct agi_resolver *r) { return r->fd; }

bool agi_resolver_take(struct agi_resolver *r, struct agi_resolved *out)
{
	uint64_t count;
	bool has;

	pthread_mutex_lock(&r->lock);
	if (read(r->fd, &count, sizeof count) < 0)
		count = 0;
	has = r->has_result;
	if (has)
		*out = r->result;
	r->has_result = false;
	pthread_mutex_unlock(&r->lock);
	return has;
}
