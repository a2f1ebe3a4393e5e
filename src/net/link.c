/* SPDX-License-Identifier: Apache-2.0 */
#include "net/link.h"

#include <event2/event.h>
#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/link_impl.h"

/* Channels in the order in which they are written. */
static const enum agi_chan by_urgency[AGI_CHAN_COUNT] = {AGI_CHAN_SAFETY, AGI_CHAN_CONTROL,
							 AGI_CHAN_BULK};

static void really_free(struct agi_links *l)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&l->all)))
		conn_free(c);
	while ((c = TAILQ_FIRST(&l->dead))) {
		TAILQ_REMOVE(&l->dead, c, link);
		conn_free(c);
	}
	if (l->turn)
		event_free(l->turn);
	agi_record_pool_free(&l->pool);
	table_free(l);
	free(l->scratch);
	sodium_free(l->keys); /* wipes */
	free(l);
}

void links_enter(struct agi_links *l) { l->busy++; }

void links_exit(struct agi_links *l)
{
	if (--l->busy == 0 && l->is_freed)
		really_free(l);
}

void links_wake(struct agi_links *l) { event_active(l->turn, EV_TIMEOUT, 0); }

static void flush_channel(struct agi_links *l, enum agi_chan chan)
{
	struct conn *c;

	while ((c = STAILQ_FIRST(&l->dirty[chan]))) {
		STAILQ_REMOVE_HEAD(&l->dirty[chan], dirty);
		c->is_dirty = false;
		conn_flush(c);
	}
}

static void report_dead(struct agi_links *l)
{
	static const struct agi_addr nowhere;
	struct conn *c;

	while (!l->is_freed && (c = TAILQ_FIRST(&l->dead))) {
		TAILQ_REMOVE(&l->dead, c, link);
		l->handlers.on_down(l->ctx, &c->peer, c->is_dialled ? &c->remote : &nowhere,
				    c->chan, c->err, &c->why);
		conn_free(c);
	}
}

static void turn_cb(evutil_socket_t fd, short what, void *arg)
{
	struct agi_links *l = arg;

	(void)fd;
	(void)what;
	links_enter(l);
	for (size_t i = 0; i < AGI_CHAN_COUNT; i++)
		flush_channel(l, by_urgency[i]);
	report_dead(l);
	links_exit(l);
}

static uint32_t or_default(uint32_t v, uint32_t d) { return v ? v : d; }

static void configure(struct agi_links *l, const struct agi_links_cfg *cfg)
{
	l->handshake_timeout_ms = or_default(cfg->handshake_timeout_ms, AGI_LINK_HANDSHAKE_MS);
	l->idle_timeout_ms = or_default(cfg->idle_timeout_ms, AGI_LINK_IDLE_MS);
	l->channels = cfg->channels ? cfg->channels : (1 << AGI_CHAN_COUNT) - 1;
	l->links_max = or_default(cfg->links_max, AGI_LINKS_MAX);
	/* Strangers may take a quarter of the places while they shake hands. */
	l->shaking_max = l->links_max / 4 > 16 ? l->links_max / 4 : 16;
}

enum agi_err agi_links_new(struct event_base *base, const struct agi_links_cfg *cfg,
			   const struct agi_links_handlers *h, void *ctx, struct agi_links **out)
{
	struct agi_links *l = calloc(1, sizeof *l);
	enum agi_err err = AGI_E_NOMEM;

	if (!l)
		return AGI_E_NOMEM;
	l->base = base;
	l->handlers = *h;
	l->ctx = ctx;
	TAILQ_INIT(&l->all);
	TAILQ_INIT(&l->dead);
	TAILQ_INIT(&l->shaking);
	for (size_t i = 0; i < AGI_CHAN_COUNT; i++)
		STAILQ_INIT(&l->dirty[i]);
	configure(l, cfg);
	l->keys = sodium_malloc(sizeof *l->keys);
	l->scratch = malloc(LINK_SCRATCH_BYTES);
	l->turn = event_new(base, -1, 0, turn_cb, l);
	if (l->keys && l->scratch && l->turn)
		err = table_init(l);
	if (!err)
		err = agi_link_keys_init(l->keys, cfg);
	if (err)
		really_free(l);
	else
		*out = l;
	return err;
}

void agi_links_free(struct agi_links *l)
{
	if (!l)
		return;
	l->is_freed = true;
	if (!l->busy)
		really_free(l);
}

void agi_links_accept(struct agi_links *l, int fd, const struct agi_addr *remote)
{
	if (l->n_all >= l->links_max) {
		close(fd);
		l->stats.handshakes_failed++;
		return;
	}
	if (l->n_shaking >= l->shaking_max)
		conn_fail(TAILQ_FIRST(&l->shaking), AGI_E_FULL,
			  "more than %u strangers shake hands at once", l->shaking_max);
	if (conn_accept(l, fd, remote))
		l->stats.handshakes_failed++;
}

/* A link to use, dialled if need be. */
static enum agi_err choose(struct agi_links *l, const struct agi_id *peer,
			   const struct agi_addr *addr, enum agi_chan chan, struct conn **out,
			   bool *is_new)
{
	bool has_addr = addr && addr->port;

	*is_new = false;
	*out = agi_id_is_zero(peer) ? NULL : table_find_peer(l, peer, chan);
	if (!*out && has_addr)
		*out = table_find_dial(l, peer, addr, chan);
	if (*out)
		return AGI_OK;
	if (!has_addr)
		return AGI_E_UNREACHABLE;
	*is_new = true;
	return conn_dial(l, peer, addr, chan, out);
}

enum agi_err agi_links_send(struct agi_links *l, const struct agi_id *peer,
			    const struct agi_addr *addr, enum agi_chan chan, struct agi_str payload)
{
	struct conn *c;
	bool is_new;
	enum agi_err err;

	if (payload.n > AGI_LINK_FRAME_MAX)
		return AGI_E_TOO_LARGE;
	err = choose(l, peer, addr, chan, &c, &is_new);
	if (err)
		return err;
	err = conn_put(c, payload);
	if (err && is_new)
		conn_free(c);
	return err;
}

void agi_links_stats(const struct agi_links *l, struct agi_links_stats *out) { *out = l->stats; }
