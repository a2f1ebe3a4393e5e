/* SPDX-License-Identifier: Apache-2.0
 * watch: changes as they happen. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/kv.h"
#include "ctl/stream.h"
#include "ctl/units.h"

enum { PAUSE_MIN_MS = 250, PAUSE_MAX_MS = 5000 };

const struct ctl_opt ctl_opts_watch[] = {
    CTL_OPT_NAMESPACE,
    CTL_OPT_LEVEL,
    {"prefix", 0, NULL, NULL, "all keys that begin with KEY"},
    {"initial", 0, NULL, NULL, "first what is there"},
    {"from-version", 0, "V", NULL, "first the key's state, if it is newer than this version"},
    {"count", 0, "N", NULL, "stop after so many changes"},
    {"for", 0, "TIME", NULL, "stop after this time, like 30s (default: never)"},
    {NULL, 0, NULL, NULL, NULL}};

struct watching {
	struct ctl *c;
	Agihpc__V1__WatchRequest req;
	uint32_t n_left;     /* changes still to be printed; 0 = no limit */
	char *token;         /* newest resume token; NULL = none */
	size_t token_bytes;
	bool has_begun;      /* a stream has told something */
	uint32_t pause_ms;   /* before the next attempt to go on */
	enum ctl_exit code;  /* of printing */
};

/* --- printing --------------------------------------------------------------------------------- */
static enum ctl_exit print_json(const struct watching *w, const Agihpc__V1__WatchEvent *ev)
{
	bool is_delete = ev->kind == AGIHPC__V1__WATCH_EVENT__KIND__DELETE;
	json_t *o = ctl_kv_json(w->req.namespace_, ev->key);
	struct agi_buf out;
	char *text;

	ctl_set(o, "kind", json_string(is_delete ? "delete" : "put"));
	if (!is_delete)
		ctl_set_bytes(o, "value", ctl_str(ev->value));
	ctl_kv_set_version(o, "version", ev->version);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	agi_buf_init(&out, 0);
	agi_buf_printf(&out, "%s\n", text ? text : "{}");
	free(text);
	return ctl_kv_print_take(w->c, &out);
}

static enum ctl_exit print_event(const struct watching *w, const Agihpc__V1__WatchEvent *ev)
{
	bool is_delete = ev->kind == AGIHPC__V1__WATCH_EVENT__KIND__DELETE;
	struct agi_buf out;

	if (w->c->is_json)
		return print_json(w, ev);
	agi_buf_init(&out, 0);
	agi_buf_printf(&out, "%s ", is_delete ? "del" : "put");
	ctl_put_harmless(&out, ctl_str(ev->key));
	if (!is_delete) {
		agi_buf_u8(&out, ' ');
		ctl_put_harmless(&out, ctl_str(ev->value));
	}
	agi_buf_printf(&out, " (version %" PRIu64 ")\n", ev->version);
	return ctl_kv_print_take(w->c, &out);
}

/* --- the stream ------------------------------------------------------------------------------- */
static void keep_token(struct watching *w, ProtobufCBinaryData token)
{
	if (!token.len)
		return;
	free(w->token);
	w->token = ctl_copy(ctl_str(token));
	w->token_bytes = token.len;
}

static bool on_message(void *arg, const ProtobufCMessage *m)
{
	const Agihpc__V1__WatchResponse *res = (const Agihpc__V1__WatchResponse *)m;
	struct watching *w = arg;

	w->has_begun = true;
	for (size_t i = 0; i < res->n_events; i++) {
		w->code = print_event(w, res->events[i]);
		if (w->code != CTL_OK || (w->n_left && --w->n_left == 0))
			return false;
	}
	if (res->n_events == 0 && res->slots_unwatched)
		ctl_warn(w->c, "%u slots have too few living hosts: their changes come later", res->slots_unwatched);
	if (res->caught_up)
		w->pause_ms = PAUSE_MIN_MS;
	keep_token(w, res->resume_token);
	return true;
}

/* True when another stream may go on where this one ended. One that ended before it had caught up gave no token: the next
 * begins as it did, and may tell some changes again. */
static bool can_resume(const struct watching *w, const struct ctl_stream *s)
{
	return w->has_begun && (s->status == AGI_GRPC_UNAVAILABLE || s->status == AGI_GRPC_CANCELLED ||
				s->status == AGI_GRPC_INTERNAL || s->status == AGI_GRPC_RESOURCE_EXHAUSTED);
}

static void prepare_resume(struct watching *w, const struct ctl_stream *s)
{
	const struct timespec pause = {w->pause_ms / 1000, (long)(w->pause_ms % 1000) * 1000000L};

	ctl_warn(w->c, "%s: %s; going on", w->c->node, s->message);
	if (w->token) {
		w->req.resume_token = (ProtobufCBinaryData){w->token_bytes, (uint8_t *)w->token};
		w->req.initial = false;
		w->req.from_version = 0;
	}
	nanosleep(&pause, NULL);
	w->pause_ms = w->pause_ms * 2 < PAUSE_MAX_MS ? w->pause_ms * 2 : PAUSE_MAX_MS;
	free(w->c->node); /* any of -n will do */
	w->c->node = NULL;
	w->c->deadline_us = ctl_now_us() + (uint64_t)w->c->timeout_ms * 1000;
}

static enum ctl_exit report(struct watching *w, const struct ctl_stream *s)
{
	struct ctl_call call = {.target = w->c->node, .status = s->status, .message = s->message};

	return ctl_report(w->c, &call, s->status == AGI_GRPC_OUT_OF_RANGE
					   ? "what was deleted meanwhile is not known any more: begin anew with --initial"
					   : NULL);
}

static enum ctl_exit follow(struct watching *w, uint64_t until_us)
{
	struct ctl_stream s = {.path = "/agihpc.v1.KvService/Watch", .req = &w->req.base, .arg = w,
			       .res_type = &agihpc__v1__watch_response__descriptor, .on_message = on_message};
	enum ctl_exit code = CTL_OK;
	bool again = true;

	while (again) {
		code = ctl_choose_node(w->c);
		if (code != CTL_OK && !(w->has_begun && ctl_now_us() < until_us))
			return code;
		if (code != CTL_OK) {
			s.message = ctl_copy(agi_str_of("no node answers"));
			w->c->node = ctl_copy(agi_str_of(w->c->nodes));
			s.status = AGI_GRPC_UNAVAILABLE;
		} else {
			ctl_stream_run(w->c, &s, until_us);
		}
		again = !s.is_stopped && can_resume(w, &s);
		code = s.is_stopped ? w->code : CTL_OK;
		if (again)
			prepare_resume(w, &s);
		else if (!s.is_stopped)
			code = report(w, &s);
		ctl_stream_clear(&s);
	}
	return code;
}

/* --- the command ------------------------------------------------------------------------------ */
static enum ctl_exit take_words(struct ctl *c, const struct ctl_input *in, struct watching *w, uint64_t *until_us)
{
	const char *version = ctl_opt_value(&in->opts, "from-version"), *count = ctl_opt_value(&in->opts, "count");
	const char *limit = ctl_opt_value(&in->opts, "for");
	enum ctl_exit code = ctl_kv_namespace(c, in, &w->req.namespace_);
	struct agi_why why;
	uint64_t ms;

	w->req.prefix = ctl_opt_is_set(&in->opts, "prefix");
	w->req.initial = ctl_opt_is_set(&in->opts, "initial");
	w->req.level = ctl_kv_level(in);
	if (code == CTL_OK && (in->words.n || !w->req.prefix))
		code = in->words.n ? ctl_kv_key(c, in, &w->req.namespace_, &w->req.key)
				   : ctl_usage(c, "no key: give KEY, or --prefix for all keys");
	if (code == CTL_OK && version)
		code = ctl_kv_version(c, "from-version", version, &w->req.from_version);
	if (code == CTL_OK && version && w->req.prefix)
		return ctl_usage(c, "--from-version is for a single key");
	if (code == CTL_OK && count && ctl_parse_u32(&w->n_left, count, 1, UINT32_MAX, &why) != AGI_OK)
		return ctl_usage(c, "--count %s", why.text);
	if (code == CTL_OK && limit && ctl_parse_duration(&ms, limit, 0, UINT64_C(1) << 40, &why) != AGI_OK)
		return ctl_usage(c, "--for %s", why.text);
	*until_us = code == CTL_OK && limit ? ctl_now_us() + ms * 1000 : UINT64_MAX;
	return code;
}

enum ctl_exit ctl_watch(struct ctl *c, const struct ctl_input *in)
{
	struct watching w = {.c = c, .req = AGIHPC__V1__WATCH_REQUEST__INIT, .pause_ms = PAUSE_MIN_MS};
	uint64_t until_us;
	enum ctl_exit code = take_words(c, in, &w, &until_us);

	if (code == CTL_OK)
		code = follow(&w, until_us);
	free(w.token);
	return code;
}
