/* SPDX-License-Identifier: Apache-2.0 */
#include "net/channel_pool.h"

#include <event2/event.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/limits.h"
#include "net/h2.h"

struct agi_pooled {
	struct agi_grpc_channel *channel;
	unsigned users;
	uint64_t left_us; /* when the last user left */
	LIST_ENTRY(agi_pooled) link;
	char target[AGI_ADDRESS_MAX + 1];
};

struct agi_channel_pool {
	struct event_base *base;
	struct event *sweep;
	LIST_HEAD(, agi_pooled) list;
	size_t n;
};

static void drop(struct agi_channel_pool *pool, struct agi_pooled *p)
{
	LIST_REMOVE(p, link);
	pool->n--;
	agi_grpc_channel_free(p->channel);
	free(p);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct agi_channel_pool *pool = arg;
	struct agi_pooled *p, *next;
	uint64_t now = agi_h2_now_us();

	(void)fd;
	(void)what;
	for (p = LIST_FIRST(&pool->list); p; p = next) {
		next = LIST_NEXT(p, link);
		if (p->users == 0 && now - p->left_us >= (uint64_t)AGI_POOL_IDLE_MS * 1000)
			drop(pool, p);
	}
	if (pool->n == 0)
		event_del(pool->sweep);
}

enum agi_err agi_channel_pool_new(struct event_base *base, struct agi_channel_pool **out)
{
	struct agi_channel_pool *pool = calloc(1, sizeof *pool);

	if (!pool)
		return AGI_E_NOMEM;
	pool->base = base;
	LIST_INIT(&pool->list);
	pool->sweep = event_new(base, -1, EV_PERSIST, on_sweep, pool);
	if (!pool->sweep) {
		free(pool);
		return AGI_E_NOMEM;
	}
	*out = pool;
	return AGI_OK;
}

void agi_channel_pool_free(struct agi_channel_pool *pool)
{
	struct agi_pooled *p;

	if (!pool)
		return;
	while ((p = LIST_FIRST(&pool->list)) != NULL)
		drop(pool, p);
	event_free(pool->sweep);
	free(pool);
}

static struct agi_pooled *find(struct agi_channel_pool *pool, struct agi_str target)
{
	struct agi_pooled *p;

	LIST_FOREACH(p, &pool->list, link)
	if (agi_str_eq(agi_str_of(p->target), target))
		return p;
	return NULL;
}

static bool make_room(struct agi_channel_pool *pool)
{
	struct agi_pooled *p, *oldest = NULL;

	if (pool->n < AGI_POOL_CHANNELS_MAX)
		return true;
	LIST_FOREACH(p, &pool->list, link)
	if (p->users == 0 && (!oldest || p->left_us < oldest->left_us))
		oldest = p;
	if (oldest)
		drop(pool, oldest);
	return oldest != NULL;
}

static enum agi_err add(struct agi_channel_pool *pool, struct agi_str target,
			struct agi_pooled **out, struct agi_why *why)
{
	const struct timeval sweep = {AGI_POOL_SWEEP_MS / 1000, 0};
	struct agi_pooled *p;
	enum agi_err e;

	if (target.n > AGI_ADDRESS_MAX)
		return agi_fail(why, AGI_E_INVALID, "address: longer than %d bytes",
				AGI_ADDRESS_MAX);
	if (!make_room(pool))
		return agi_fail(why, AGI_E_FULL, "calls to %d instances are open",
				AGI_POOL_CHANNELS_MAX);
	p = calloc(1, sizeof *p);
	if (!p)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	memcpy(p->target, target.p, target.n);
	e = agi_grpc_channel_new(pool->base, p->target, &p->channel, why);
	if (e) {
		free(p);
		return e;
	}
	LIST_INSERT_HEAD(&pool->list, p, link);
	if (pool->n++ == 0)
		event_add(pool->sweep, &sweep);
	*out = p;
	return AGI_OK;
}

enum agi_err agi_channel_pool_get(struct agi_channel_pool *pool, struct agi_str target,
				  struct agi_pooled **out, struct agi_why *why)
{
	struct agi_pooled *p = find(pool, target);
	enum agi_err e = p ? AGI_OK : add(pool, target, &p, why);

	if (e)
		return e;
	p->users++;
	*out = p;
	return AGI_OK;
}

struct agi_grpc_channel *agi_pooled_channel(const struct agi_pooled *p) { return p->channel; }

void agi_channel_pool_put(struct agi_channel_pool *pool, struct agi_pooled *p)
{
	(void)pool;
	p->users--;
	p->left_us = agi_h2_now_us();
}

size_t agi_channel_pool_count(const struct agi_channel_pool *pool) { return pool->n; }
