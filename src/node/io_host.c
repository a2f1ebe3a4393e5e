/* SPDX-License-Identifier: Apache-2.0 */
#include "node/io_host.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <event2/event.h>

#include "net/grpc_far.h"
#include "net/grpc_reflection.h"
#include "node/log.h"
#include "node/security.h"

enum {
	TICK_S = 1,     /* log lines that were repeated */
	MAILBOX = 4096, /* of each: sockets from main, answers of the safety loop */
	LOOPS_MAX = AGI_IO_LOOPS_8 - AGI_IO_LOOPS_0
};

struct io {
	struct agi_io_host *host;
	struct agi_loop *loop;
	struct agi_listener *sorter; /* has no port: tells connections apart that main accepted */
	struct agi_grpc_server *server;
	struct agi_grpc_far *far;
	struct agi_safety_door *door;
	struct agi_security *security;
	struct agi_log *log; /* of security, which says nothing of files that are read again: main's does */
	struct agi_metrics *metrics;
	struct event *tick;
	struct agi_loop_message reload, drain;
};

struct agi_io_host {
	struct agi_io_cfg cfg;
	_Atomic int log_level; /* the main loop's wish */
	size_t n, next;
	struct io io[LOOPS_MAX];
};

/* --- an I/O loop: connections ---------------------------------------------------------------------------------- */
static void on_grpc(void *ctx, struct agi_transport *t) { agi_grpc_server_take(((struct io *)ctx)->server, t); }

struct visitor {
	struct agi_io_host *host;
	agi_accept_fn *fn;
	struct agi_transport *transport;
};

static void on_visitor(void *arg)
{
	struct visitor *v = arg;

	v->fn(v->host->cfg.ctx, v->transport);
	free(v);
}

static void drop_visitor(void *arg)
{
	struct visitor *v = arg;

	agi_transport_close(v->transport);
	free(v);
}

static void send_to_main(struct io *io, agi_accept_fn *fn, struct agi_transport *t)
{
	struct visitor *v = malloc(sizeof *v);

	if (!v) {
		agi_transport_close(t);
		return;
	}
	*v = (struct visitor){io->host, fn, t};
	if (agi_loop_post(io->host->cfg.main, on_visitor, drop_visitor, v))
		drop_visitor(v);
}

static void on_http(void *ctx, struct agi_transport *t)
{
	send_to_main(ctx, ((struct io *)ctx)->host->cfg.on_http, t);
}

static void on_link(void *ctx, struct agi_transport *t)
{
	send_to_main(ctx, ((struct io *)ctx)->host->cfg.on_link, t);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct io *io = arg;
	(void)fd;
	(void)what;

	agi_log_flush_repeats(io->log);
}

static void reload(void *arg)
{
	struct io *io = arg;

	agi_log_set_level(io->log, (enum agi_log_level)atomic_load(&io->host->log_level));
	agi_security_reload(io->security);
}

static void drain(void *arg) { agi_grpc_server_drain(((struct io *)arg)->server); }

/* --- the main loop: sockets are handed round ------------------------------------------------------------------- */
struct arrival {
	struct io *io;
	int fd;
	struct agi_addr remote;
};

static void on_arrival(void *arg)
{
	struct arrival *a = arg;

	agi_listener_take(a->io->sorter, a->fd, &a->remote);
	free(a);
}

static void drop_arrival(void *arg)
{
	struct arrival *a = arg;

	close(a->fd);
	free(a);
}

void agi_io_host_take(struct agi_io_host *h, int fd, const struct agi_addr *remote)
{
	struct arrival *a = malloc(sizeof *a);

	if (!a) {
		close(fd);
		return;
	}
	*a = (struct arrival){&h->io[h->next], fd, *remote};
	h->next = (h->next + 1) % h->n;
	if (agi_loop_post(a->io->loop, on_arrival, drop_arrival, a))
		drop_arrival(a);
}

void agi_io_host_reload(struct agi_io_host *h)
{
	if (h)
		atomic_store(&h->log_level, (int)agi_log_level(h->cfg.log));
	for (size_t i = 0; h && i < h->n; i++)
		(void)!agi_loop_post_kept(h->io[i].loop, &h->io[i].reload);
}

void agi_io_host_drain(struct agi_io_host *h)
{
	for (size_t i = 0; h && i < h->n; i++)
		(void)!agi_loop_post_kept(h->io[i].loop, &h->io[i].drain);
}

/* --- how many --------------------------------------------------------------------------------------------------- */
uint32_t agi_io_loops(enum agi_io_loops wish, unsigned cores)
{
	if (wish != AGI_IO_LOOPS_AUTO)
		return wish - AGI_IO_LOOPS_0;
	return cores <= 2 ? 0 : cores == 3 ? 1 : 2;
}

uint32_t agi_io_loops_here(const struct agi_config *config)
{
	cpu_set_t cores;
	int n = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;

	return agi_io_loops(config->node.io_loops, (unsigned)n);
}

/* --- life ------------------------------------------------------------------------------------------------------ */
static enum agi_err open_sorter(struct io *io, struct agi_why *why)
{
	struct agi_listener_cfg cfg = {.is_fed = true, .ctx = io};

	cfg.on_wire[AGI_WIRE_GRPC] = on_grpc;
	cfg.on_wire[AGI_WIRE_HTTP] = on_http;
	cfg.on_wire[AGI_WIRE_LINK] = on_link;
	agi_security_fill(io->security, &cfg);
	return agi_listener_new(agi_loop_base(io->loop), &cfg, &io->sorter, why);
}

static enum agi_err open_one(struct agi_io_host *h, struct io *io, struct agi_why *why)
{
	const struct agi_config *c = h->cfg.config;
	char name[16];
	enum agi_err e;

	snprintf(name, sizeof name, "io-%zu", h->n);
	io->host = h;
	io->reload = (struct agi_loop_message){.fn = reload, .arg = io};
	io->drain = (struct agi_loop_message){.fn = drain, .arg = io};
	h->n++;
	e = agi_loop_new(&(struct agi_loop_cfg){.name = name, .mailbox_max = MAILBOX}, &io->loop);
	if (!e)
		e = agi_metrics_new(&io->metrics);
	if (!e)
		e = agi_log_new(STDERR_FILENO, c->node.log_level, c->node.log_format, &io->log);
	if (e)
		return agi_fail(why, e, "I/O loop: %s", agi_err_text(e));
	e = agi_security_new(c, io->log, &io->security, why);
	if (e)
		return e;
	agi_security_follow(io->security);
	io->tick = event_new(agi_loop_base(io->loop), -1, EV_PERSIST, on_tick, io);
	if (!io->tick || event_add(io->tick, &(struct timeval){.tv_sec = TICK_S}))
		return agi_fail(why, AGI_E_NOMEM, "I/O loop: out of memory");
	return open_sorter(io, why);
}

enum agi_err agi_io_host_new(const struct agi_io_cfg *cfg, struct agi_io_host **out, struct agi_why *why)
{
	uint32_t n = agi_io_loops_here(cfg->config);
	struct agi_io_host *h = n ? calloc(1, sizeof *h) : NULL;
	enum agi_err e = AGI_OK;

	*out = h;
	if (!n)
		return AGI_OK;
	if (!h)
		return agi_fail(why, AGI_E_NOMEM, "I/O loops: out of memory");
	h->cfg = *cfg;
	for (uint32_t i = 0; i < n && !e; i++)
		e = open_one(h, &h->io[i], why);
	if (e) {
		agi_io_host_free(h);
		*out = NULL;
	}
	return e;
}

/* What is answered without the main loop is added first, the rest is handled there. */
static enum agi_err serve_one(struct io *io, const struct agi_grpc_server_cfg *cfg, struct agi_grpc_server *far,
                              bool has_erisml)
{
	const struct agi_io_cfg *c = &io->host->cfg;
	struct agi_grpc_far_cfg hop = {.far = far, .near_loop = io->loop, .far_loop = c->main};
	enum agi_err e = agi_grpc_server_new(agi_loop_base(io->loop), cfg, &io->server);

	hop.near = io->server;
	if (!e)
		e = agi_safety_host_new_door(c->safety, io->loop, &io->door);
	if (!e)
		e = agi_safety_door_serve(io->door, io->server);
	if (!e && has_erisml)
		e = agi_safety_door_serve_erisml(io->door, io->server);
	if (!e)
		e = agi_grpc_reflection_add(io->server);
	if (!e)
		e = agi_grpc_far_new(&hop, &io->far);
	if (e)
		return e;
	agi_security_guard(io->security, io->server);
	agi_grpc_server_observe(io->server, agi_metrics_on_grpc, io->metrics);
	return AGI_OK;
}

enum agi_err agi_io_host_serve(struct agi_io_host *h, const struct agi_grpc_server_cfg *cfg,
                               struct agi_grpc_server *far, bool has_erisml, struct agi_metrics *metrics,
                               struct agi_why *why)
{
	struct agi_grpc_server_cfg share;
	enum agi_err e = AGI_OK;

	if (!h)
		return AGI_OK;
	share = *cfg;
	share.connections_max = (uint32_t)((cfg->connections_max + h->n - 1) / h->n);
	for (size_t i = 0; i < h->n && !e; i++) {
		agi_metrics_add_part(metrics, h->io[i].metrics);
		e = serve_one(&h->io[i], &share, far, has_erisml);
	}
	return e ? agi_fail(why, e, "I/O loops: %s", agi_err_text(e)) : AGI_OK;
}

enum agi_err agi_io_host_start(struct agi_io_host *h, struct agi_why *why)
{
	for (size_t i = 0; h && i < h->n; i++)
		if (agi_loop_start(h->io[i].loop))
			return agi_fail(why, AGI_E_NOMEM, "I/O loops: no thread can be started (ulimit -u?)");
	return AGI_OK;
}

void agi_io_host_stop(struct agi_io_host *h)
{
	for (size_t i = 0; h && i < h->n; i++)
		if (h->io[i].loop)
			agi_loop_stop(h->io[i].loop);
}

void agi_io_host_close(struct agi_io_host *h)
{
	for (size_t i = 0; h && i < h->n; i++) {
		agi_listener_free(h->io[i].sorter);
		agi_grpc_server_free(h->io[i].server);
		h->io[i].sorter = NULL;
		h->io[i].server = NULL;
	}
}

static void free_one(struct io *io)
{
	agi_grpc_far_free(io->far);
	agi_safety_door_free(io->door);
	agi_security_free(io->security);
	agi_log_free(io->log);
	if (io->tick)
		event_free(io->tick);
	agi_loop_free(io->loop);
	agi_metrics_free(io->metrics);
}

void agi_io_host_free(struct agi_io_host *h)
{
	if (!h)
		return;
	agi_io_host_stop(h);
	agi_io_host_close(h);
	for (size_t i = 0; i < h->n; i++)
		free_one(&h->io[i]);
	free(h);
}
