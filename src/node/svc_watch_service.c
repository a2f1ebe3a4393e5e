/* SPDX-License-Identifier: Apache-2.0 */
#include "node/svc_watch_service.h"

#include <sodium.h>
#include <stdlib.h>

#include "node/service_feed.h"

enum { CHANGES_PER_MESSAGE = 64 /* 32 KiB on the stack */, ROWS_PER_LOOK = 1024 /* more: looked at less often */ };

struct feed {
	struct agi_service_feed *f;
	char name[AGI_SERVICE_NAME_MAX + 1];
	bool has_looked, is_stale;
	uint64_t used_us, look_us; /* when somebody watched last; when the next look is due */
	LIST_HEAD(, watch) watches;
	LIST_ENTRY(feed) link;
};

struct watch {
	struct agi_service_watches *of;
	struct feed *feed;
	struct agi_grpc_call *call;
	struct agi_service_cursor cursor;
	char token[AGI_FEED_TOKEN_BYTES]; /* of the request, until the first look */
	size_t token_bytes;
	bool is_open;     /* cursor is good */
	bool has_told, told_stale;
	bool is_blocked;  /* until on_writable */
	LIST_ENTRY(watch) link;
};

struct agi_service_watches {
	struct agi_svc *svc;
	struct event *look;
	LIST_HEAD(, feed) feeds;
	uint32_t n_feeds, n_watches;
};

/* --- telling ------------------------------------------------------------------------------------------------ */
/* A message of changes, all of it on the stack. */
struct message {
	Agihpc__V1__WatchServiceResponse r;
	struct agi_service_change rows[CHANGES_PER_MESSAGE];
	Agihpc__V1__ServiceChange change[CHANGES_PER_MESSAGE], *list[CHANGES_PER_MESSAGE];
	Agihpc__V1__Instance instance[CHANGES_PER_MESSAGE];
	char id[CHANGES_PER_MESSAGE][AGI_ID_HEX];
	uint8_t token[AGI_FEED_TOKEN_BYTES];
};

static void fill_change(struct message *m, size_t i)
{
	static const Agihpc__V1__ServiceChange__Kind kinds[] = {
	    [AGI_SERVICE_UP] = AGIHPC__V1__SERVICE_CHANGE__KIND__UP,
	    [AGI_SERVICE_CHANGED] = AGIHPC__V1__SERVICE_CHANGE__KIND__CHANGED,
	    [AGI_SERVICE_DOWN] = AGIHPC__V1__SERVICE_CHANGE__KIND__DOWN};
	const struct agi_service_row *row = &m->rows[i].row;
	Agihpc__V1__Instance *in = &m->instance[i];

	agihpc__v1__instance__init(in);
	agi_id_hex(m->id[i], &row->node);
	in->address = agi_svc_text(row->address);
	in->node_id = agi_svc_text(m->id[i]);
	in->zone = agi_svc_text(row->zone);
	in->rtt_ms = agi_svc_rtt_ms(row->rtt_us);
	in->load = row->load_milli / 1000.0;
	in->stale = row->is_stale;
	in->tls = row->traits & AGI_PROVIDER_TLS;
	agihpc__v1__service_change__init(&m->change[i]);
	m->change[i].kind = kinds[m->rows[i].what];
	m->change[i].instance = in;
	m->list[i] = &m->change[i];
}

static void fill_message(struct message *m, const struct watch *w, struct agi_service_cursor *c)
{
	bool is_resync, is_caught_up;
	size_t n = agi_service_cursor_next(w->feed->f, c, m->rows, CHANGES_PER_MESSAGE, &is_resync, &is_caught_up);

	agihpc__v1__watch_service_response__init(&m->r);
	for (size_t i = 0; i < n; i++)
		fill_change(m, i);
	m->r.changes = m->list;
	m->r.n_changes = n;
	m->r.resync = is_resync;
	m->r.caught_up = is_caught_up;
	m->r.stale = w->feed->is_stale;
	if (agi_service_cursor_token(w->feed->f, c, m->token))
		m->r.resume_token = (ProtobufCBinaryData){sizeof m->token, m->token};
}

static void forget(struct watch *w)
{
	LIST_REMOVE(w, link);
	w->of->n_watches--;
	free(w);
}

/* Everything w does not know, as far as its client takes it. May free w. */
static void tell(struct watch *w)
{
	struct agi_service_cursor c;
	enum agi_err e = AGI_OK;
	struct message m;

	if (!w->feed->has_looked || w->is_blocked)
		return;
	if (!w->is_open)
		agi_service_cursor_open(w->feed->f, (struct agi_str){w->token, w->token_bytes}, &w->cursor);
	w->is_open = true;
	while (!e) {
		c = w->cursor;
		fill_message(&m, w, &c);
		if (w->has_told && !m.r.n_changes && !m.r.resync && m.r.stale == w->told_stale)
			return;
		e = agi_grpc_send(w->call, &m.r.base);
		if (e)
			break;
		w->cursor = c;
		w->has_told = true;
		w->told_stale = m.r.stale;
	}
	w->is_blocked = e == AGI_E_FULL;
	if (e == AGI_E_NOMEM || e == AGI_E_TOO_LARGE) {
		agi_grpc_fail_err(w->call, e, NULL);
		forget(w);
	} /* CANCELLED: on_cancel comes */
}

static void on_writable(void *arg)
{
	struct watch *w = arg;

	w->is_blocked = false;
	tell(w);
}

static void on_cancel(void *arg)
{
	struct watch *w = arg;

	agi_grpc_fail(w->call, AGI_GRPC_CANCELLED, "cancelled");
	forget(w);
}

/* --- looking ------------------------------------------------------------------------------------------------ */

static void look(struct agi_service_watches *ws, struct feed *f)
{
	const struct agi_dht *core = agi_dht_host_core(ws->svc->host);
	struct agi_str name = agi_str_of(f->name);
	struct agi_instance *list;
	size_t n;

	if (agi_dht_host_follow_for(ws->svc->host, name, AGI_SERVICE_LINGER_MS) != AGI_OK ||
	    !agi_dht_service_known(core, name, &f->is_stale, &n))
		return;
	list = calloc(n + 1, sizeof *list);
	if (!list)
		return; /* the next look will tell */
	n = agi_dht_found_instances(core, name, list, n);
	if (agi_service_feed_update(f->f, list, n) == AGI_OK)
		f->has_looked = true;
	free(list);
}

static void drop_feed(struct agi_service_watches *ws, struct feed *f)
{
	LIST_REMOVE(f, link);
	ws->n_feeds--;
	agi_service_feed_free(f->f);
	free(f);
}

static void end_all(struct feed *f)
{
	struct watch *w;

	while ((w = LIST_FIRST(&f->watches))) {
		agi_grpc_fail_err(w->call, AGI_E_CLOSED, NULL);
		forget(w);
	}
}

static void serve(struct agi_service_watches *ws, struct feed *f, uint64_t now_us)
{
	struct watch *w, *next;

	if (!LIST_EMPTY(&f->watches))
		f->used_us = now_us;
	if (now_us < f->look_us)
		return;
	look(ws, f);
	f->look_us = now_us + (uint64_t)AGI_SERVICE_LOOK_MS * 1000 * (1 + agi_service_feed_rows(f->f) / ROWS_PER_LOOK);
	for (w = LIST_FIRST(&f->watches); w; w = next) {
		next = LIST_NEXT(w, link);
		tell(w);
	}
}

static void schedule(struct agi_service_watches *ws)
{
	const struct timeval tv = {0, AGI_SERVICE_LOOK_MS * 1000};

	if (!LIST_EMPTY(&ws->feeds) && !event_pending(ws->look, EV_TIMEOUT, NULL))
		event_add(ws->look, &tv);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	struct agi_service_watches *ws = arg;
	uint64_t now_us = agi_clock_now().mono_us;
	struct feed *f, *next;

	(void)fd, (void)what;
	for (f = LIST_FIRST(&ws->feeds); f; f = next) {
		next = LIST_NEXT(f, link);
		if (ws->svc->is_stopping)
			end_all(f);
		else
			serve(ws, f, now_us);
		if (LIST_EMPTY(&f->watches) && now_us - f->used_us > (uint64_t)AGI_SERVICE_LINGER_MS * 1000)
			drop_feed(ws, f);
	}
	schedule(ws);
}

/* --- beginning -------------------------------------------------------------------------------------------- */

static struct feed *find_feed(const struct agi_service_watches *ws, struct agi_str name)
{
	struct feed *f;

	LIST_FOREACH(f, &ws->feeds, link)
	if (agi_str_eq(agi_str_of(f->name), name))
		return f;
	return NULL;
}

/* One that nobody reads makes room. */
static bool has_room(struct agi_service_watches *ws)
{
	struct feed *f, *idle = NULL;

	if (ws->n_feeds < AGI_SERVICE_FEEDS_MAX)
		return true;
	LIST_FOREACH(f, &ws->feeds, link)
	if (LIST_EMPTY(&f->watches) && (!idle || f->used_us < idle->used_us))
		idle = f;
	if (idle)
		drop_feed(ws, idle);
	return idle != NULL;
}

static enum agi_err add_feed(struct agi_service_watches *ws, struct agi_str name, struct feed **out, struct agi_why *why)
{
	struct feed *f;
	uint64_t epoch;

	if (!has_room(ws))
		return agi_fail(why, AGI_E_FULL, "%d services are watched through this node already",
		                AGI_SERVICE_FEEDS_MAX);
	f = calloc(1, sizeof *f);
	randombytes_buf(&epoch, sizeof epoch);
	if (!f || agi_service_feed_new(epoch, &f->f)) {
		free(f);
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	}
	memcpy(f->name, name.p, name.n);
	LIST_INSERT_HEAD(&ws->feeds, f, link);
	ws->n_feeds++;
	*out = f;
	return AGI_OK;
}

static enum agi_err add(struct agi_service_watches *ws, const Agihpc__V1__WatchServiceRequest *p, struct watch **out,
                        struct agi_why *why)
{
	struct agi_str name, token = agi_svc_str(p->resume_token);
	enum agi_err e = agi_svc_service_name(&name, p->service, why);
	struct watch *w;
	struct feed *f;

	if (!e && token.n && token.n != AGI_FEED_TOKEN_BYTES)
		e = agi_fail(why, AGI_E_INVALID, "resume_token: %zu bytes are none that a watch of a service gave", token.n);
	if (!e && ws->n_watches >= AGI_SERVICE_WATCHES_MAX)
		e = agi_fail(why, AGI_E_FULL, "%d watches of services are open on this node already", AGI_SERVICE_WATCHES_MAX);
	if (!e && !(f = find_feed(ws, name)))
		e = add_feed(ws, name, &f, why);
	if (e)
		return e;
	w = calloc(1, sizeof *w);
	if (!w)
		return agi_fail(why, AGI_E_NOMEM, "out of memory");
	w->of = ws;
	w->feed = f;
	w->token_bytes = token.n;
	if (token.n)
		memcpy(w->token, token.p, token.n);
	LIST_INSERT_HEAD(&f->watches, w, link);
	ws->n_watches++;
	*out = w;
	return AGI_OK;
}

void agi_svc_watch_service(struct agi_grpc_call *call, const ProtobufCMessage *req, void *ctx)
{
	static const struct agi_grpc_stream_ops ops = {.on_writable = on_writable};
	struct agi_service_watches *ws = ((struct agi_svc *)ctx)->service_watches;
	struct agi_why why = {""};
	struct watch *w = NULL;
	enum agi_err e = add(ws, (const Agihpc__V1__WatchServiceRequest *)req, &w, &why);

	if (!e && (e = agi_dht_host_follow_for(ws->svc->host, agi_str_of(w->feed->name), AGI_SERVICE_LINGER_MS)) != AGI_OK) {
		forget(w);
		agi_fail(&why, e, "too many services are followed by this node already");
	}
	if (e) {
		agi_grpc_fail_err(call, e, &why);
		return;
	}
	w->call = call;
	agi_grpc_call_stream(call, &ops, w);
	agi_grpc_call_on_cancel(call, on_cancel, w);
	agi_grpc_send_headers(call);
	schedule(ws);
	tell(w);
}

enum agi_err agi_service_watches_new(struct agi_svc *s, struct event_base *base, struct agi_service_watches **out)
{
	struct agi_service_watches *ws = calloc(1, sizeof *ws);

	if (!ws)
		return AGI_E_NOMEM;
	ws->svc = s;
	ws->look = event_new(base, -1, 0, on_look, ws);
	if (!ws->look) {
		free(ws);
		return AGI_E_NOMEM;
	}
	*out = ws;
	return AGI_OK;
}

void agi_service_watches_free(struct agi_service_watches *ws)
{
	struct feed *f;

	if (!ws)
		return;
	while ((f = LIST_FIRST(&ws->feeds))) {
		struct watch *w;

		while ((w = LIST_FIRST(&f->watches)))
			forget(w);
		drop_feed(ws, f);
	}
	event_free(ws->look);
	free(ws);
}
