/* SPDX-License-Identifier: Apache-2.0 */
#include "node/health_check.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

#include "node/health_exec.h"
#include "node/health_probe.h"

enum {
	RECHECK_PART =
	    4,       /* after a failure the next look comes after this part of the interval ... */
	RECHECKS = 8 /* ... so many times; then the usual interval again */
};

struct check {
	struct agi_health_checks *of;
	char service[AGI_SERVICE_NAME_MAX + 1], address[AGI_ADDRESS_MAX + 1];
	struct agi_health_config config;
	struct agi_health_probe *probe;
	struct event *due;
	uint64_t began_us; /* the look on its way */
	uint32_t failures; /* in a row */
	bool has_verdict, is_healthy;
	bool is_told; /* fn knows the verdict */
	bool has_word, is_well; /* ttl: of the service itself, not judged yet */
	char word[sizeof(struct agi_why)];
	char detail[sizeof(struct agi_why)];
	LIST_ENTRY(check) link;
};

struct agi_health_checks {
	struct event_base *base;
	agi_health_verdict_fn *fn;
	void *ctx;
	const struct agi_tls_client *(*tls)(void *ctx); /* NULL: none */
	void *tls_ctx;
	struct agi_exec *exec; /* NULL: nothing is permitted */
	LIST_HEAD(, check) checks;
	size_t n;
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* --- verdicts
 * ------------------------------------------------------------------------------------------------
 */
/* Last of all: fn may remove the check. */
static void tell(struct check *c)
{
	const struct agi_health_checks *h = c->of;
	struct check copy = *c;

	c->is_told = true;
	h->fn(h->ctx, agi_str_of(copy.service), agi_str_of(copy.address), copy.is_healthy,
	      copy.detail);
}

static void schedule(struct check *c, uint64_t delay_us)
{
	struct timeval tv = {(time_t)(delay_us / 1000000), (suseconds_t)(delay_us % 1000000)};

	event_add(c->due, &tv);
}

/* The next look begins one interval (or, after a failure, a part of it) after this one began. */
static void schedule_next(struct check *c)
{
	uint64_t pause = (uint64_t)c->config.interval_ms * 1000, took = now_us() - c->began_us;

	if (c->failures > 0 && c->failures <= RECHECKS)
		pause /= RECHECK_PART;
	if (c->config.kind != AGI_HEALTH_NONE)
		schedule(c, took < pause ? pause - took : 0);
}

static void on_probed(void *arg, bool is_healthy, const char *detail)
{
	struct check *c = arg;
	bool is_new = !c->has_verdict || c->is_healthy != is_healthy || !c->is_told;

	c->failures = is_healthy ? 0 : c->failures + 1;
	c->has_verdict = true;
	c->is_healthy = is_healthy;
	memcpy(c->detail, detail, strlen(detail) + 1);
	schedule_next(c);
	if (is_new)
		tell(c);
}

/* A verdict of ttl, and when to look whether the next word has come. */
static void judge_word(struct check *c)
{
	char late[80];
	bool is_well = c->has_word && c->is_well;
	bool is_new = !c->has_verdict || c->is_healthy != is_well || !c->is_told;

	snprintf(late, sizeof late, "no heartbeat for %u ms", c->config.interval_ms);
	if (is_well)
		c->detail[0] = '\0';
	else
		snprintf(c->detail, sizeof c->detail, "%s", c->has_word ? c->word : late);
	if (c->has_word)
		schedule(c, (uint64_t)c->config.interval_ms * 1000);
	c->has_word = false;
	c->has_verdict = true;
	c->is_healthy = is_well;
	if (is_new)
		tell(c);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	struct check *c = arg;

	(void)fd;
	(void)what;
	if (c->config.kind == AGI_HEALTH_TTL) {
		judge_word(c);
		return;
	}
	c->began_us = now_us();
	agi_health_probe_look(c->probe, &c->config,
			      c->config.is_tls && c->of->tls ? c->of->tls(c->of->tls_ctx) : NULL);
	if (c->has_verdict && !c->is_told)
		tell(c);
}

/* --- the set of checks ----------------------------------------------------------------------- */
static struct check *find(const struct agi_health_checks *h, struct agi_str service,
			  struct agi_str address)
{
	struct check *c;

	LIST_FOREACH(c, &h->checks, link)
	if (agi_str_eq(service, agi_str_of(c->service)) &&
	    agi_str_eq(address, agi_str_of(c->address)))
		return c;
	return NULL;
}

static void free_check(struct check *c)
{
	agi_health_probe_free(c->probe);
	if (c->due)
		event_free(c->due);
	free(c);
}

static enum agi_err add(struct agi_health_checks *h, struct agi_str service, struct agi_str address,
			struct check **out, struct agi_why *why)
{
	struct check *c;
	enum agi_err e;

	if (h->n >= AGI_LOCAL_SERVICES_MAX)
		return agi_fail(why, AGI_E_FULL, "at most %d services are registered on one host",
				AGI_LOCAL_SERVICES_MAX);
	if (service.n > AGI_SERVICE_NAME_MAX)
		return agi_fail(why, AGI_E_INVALID, "service: at most %d bytes",
				AGI_SERVICE_NAME_MAX);
	c = calloc(1, sizeof *c);
	if (!c)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	c->of = h;
	e = agi_health_probe_new(h->base, address, on_probed, c, &c->probe, why);
	if (e)
		goto fail;
	e = agi_fail(why, AGI_E_NOMEM, "out of memory");
	c->due = event_new(h->base, -1, 0, on_due, c);
	if (!c->due)
		goto fail;
	memcpy(c->service, service.p, service.n);
	memcpy(c->address, address.p, address.n);
	agi_health_probe_set_exec(c->probe, h->exec, c->service);
	LIST_INSERT_HEAD(&h->checks, c, link);
	h->n++;
	*out = c;
	return AGI_OK;
fail:
	free_check(c);
	return e;
}

enum agi_err agi_health_checks_set(struct agi_health_checks *h, struct agi_str service,
				   struct agi_str address, struct agi_str config,
				   struct agi_why *why)
{
	struct check *c = find(h, service, address);
	struct agi_health_config parsed;
	enum agi_err e = agi_health_config_read(&parsed, config, why);

	if (!e && !c)
		e = add(h, service, address, &c, why);
	if (e)
		return e;
	agi_health_probe_cancel(c->probe);
	c->has_word = c->config.kind == AGI_HEALTH_TTL && c->has_verdict && c->is_healthy; /* its last one still holds */
	c->is_well = c->has_word;
	c->config = parsed;
	c->is_told = false;
	schedule(c, 0);
	return AGI_OK;
}

enum agi_err agi_health_checks_heartbeat(struct agi_health_checks *h, struct agi_str service,
					 struct agi_str address, bool is_well, struct agi_str detail,
					 struct agi_why *why)
{
	struct check *c = find(h, service, address);

	if (!c)
		return agi_fail(why, AGI_E_NOT_FOUND, "not registered on this node: register it, with a check of "
						      "kind \"ttl\"");
	if (c->config.kind != AGI_HEALTH_TTL)
		return agi_fail(why, AGI_E_INVALID, "its health check is of another kind than \"ttl\"");
	c->has_word = true;
	c->is_well = is_well;
	snprintf(c->word, sizeof c->word, "%.*s", (int)(detail.n < 200 ? detail.n : 200), detail.n ? detail.p : "");
	if (!c->word[0])
		snprintf(c->word, sizeof c->word, "it says that it is unwell");
	schedule(c, 0);
	return AGI_OK;
}

void agi_health_checks_remove(struct agi_health_checks *h, struct agi_str service,
			      struct agi_str address)
{
	struct check *c = find(h, service, address);

	if (!c)
		return;
	LIST_REMOVE(c, link);
	h->n--;
	free_check(c);
}

enum agi_err agi_health_checks_new(struct event_base *base, agi_health_verdict_fn *fn, void *ctx,
				   struct agi_health_checks **out)
{
	struct agi_health_checks *h = calloc(1, sizeof *h);

	if (!h)
		return AGI_E_NOMEM;
	h->base = base;
	h->fn = fn;
	h->ctx = ctx;
	LIST_INIT(&h->checks);
	*out = h;
	return AGI_OK;
}

void agi_health_checks_set_tls(struct agi_health_checks *h,
			       const struct agi_tls_client *(*tls)(void *ctx), void *ctx)
{
	h->tls = tls;
	h->tls_ctx = ctx;
}

enum agi_err agi_health_checks_permit(struct agi_health_checks *h, const struct agi_config_list *programs)
{
	return programs->n ? agi_exec_new(h->base, programs, &h->exec) : AGI_OK;
}

static enum agi_err accept_parsed(const struct agi_health_checks *h, const struct agi_health_config *c,
				  struct agi_why *why)
{
	if (c->kind != AGI_HEALTH_EXEC)
		return AGI_OK;
	return h->exec ? agi_exec_check(h->exec, c->path, why)
		       : agi_fail(why, AGI_E_DENIED,
				  "health_check.kind \"exec\": this node permits no programs (node.exec_checks)");
}

enum agi_err agi_health_checks_accept(const struct agi_health_checks *h, struct agi_str config, struct agi_why *why)
{
	struct agi_health_config c;
	enum agi_err e = agi_health_config_read(&c, config, why);

	return e ? e : accept_parsed(h, &c, why);
}

void agi_health_checks_free(struct agi_health_checks *h)
{
	struct check *c;

	if (!h)
		return;
	while ((c = LIST_FIRST(&h->checks)) != NULL) {
		LIST_REMOVE(c, link);
		free_check(c);
	}
	agi_exec_free(h->exec);
	free(h);
}
