/* SPDX-License-Identifier: Apache-2.0
 * watch: changes as they happen. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/follow.h"
#include "ctl/kv.h"
#include "ctl/units.h"

const struct ctl_opt ctl_opts_watch[] = {
    CTL_OPT_NAMESPACE,
    CTL_OPT_LEVEL,
    {"prefix", 0, NULL, NULL, "all keys that begin with KEY"},
    {"initial", 0, NULL, NULL, "first what is there"},
    {"from-version", 0, "V", NULL, "first the key's state, if it is newer than this version"},
    {"service", 0, "NAME", NULL, "the instances of a service instead of a key"},
    {"count", 0, "N", NULL, "stop after so many changes"},
    {"for", 0, "TIME", NULL, "stop after this time, like 30s (default: never)"},
    {NULL, 0, NULL, NULL, NULL}};

struct watching {
	struct ctl *c;
	Agihpc__V1__WatchRequest req;
	uint32_t n_left;     /* changes still to be printed; 0 = no limit */
	char *token;         /* newest resume token; NULL = none */
	size_t token_bytes;
	struct ctl_follow follow;
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

	w->follow.has_begun = true;
	for (size_t i = 0; i < res->n_events; i++) {
		w->follow.code = print_event(w, res->events[i]);
		if (w->follow.code != CTL_OK || (w->n_left && --w->n_left == 0))
			return false;
	}
	if (res->n_events == 0 && res->slots_unwatched)
		ctl_warn(w->c, "%u slots have too few living hosts: their changes come later", res->slots_unwatched);
	w->follow.is_well = w->follow.is_well || res->caught_up;
	keep_token(w, res->resume_token);
	return true;
}

/* One that ended before it had caught up gave no token: the next begins as it did, and may tell some changes again. */
static void resume(void *arg)
{
	struct watching *w = arg;

	if (!w->token)
		return;
	w->req.resume_token = (ProtobufCBinaryData){w->token_bytes, (uint8_t *)w->token};
	w->req.initial = false;
	w->req.from_version = 0;
}

/* --- the command ------------------------------------------------------------------------------ */
enum ctl_exit ctl_watch_limits(struct ctl *c, const struct ctl_input *in, uint32_t *count_out, uint64_t *until_us)
{
	const char *count = ctl_opt_value(&in->opts, "count"), *limit = ctl_opt_value(&in->opts, "for");
	struct agi_why why;
	uint64_t ms;

	*until_us = UINT64_MAX;
	if (count && ctl_parse_u32(count_out, count, 1, UINT32_MAX, &why) != AGI_OK)
		return ctl_usage(c, "--count %s", why.text);
	if (limit && ctl_parse_duration(&ms, limit, 0, UINT64_C(1) << 40, &why) != AGI_OK)
		return ctl_usage(c, "--for %s", why.text);
	if (limit)
		*until_us = ctl_now_us() + ms * 1000;
	return CTL_OK;
}

static enum ctl_exit take_words(struct ctl *c, const struct ctl_input *in, struct watching *w, uint64_t *until_us)
{
	const char *version = ctl_opt_value(&in->opts, "from-version");
	enum ctl_exit code = ctl_kv_namespace(c, in, &w->req.namespace_);

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
	return code == CTL_OK ? ctl_watch_limits(c, in, &w->n_left, until_us) : code;
}

static enum ctl_exit watch_keys(struct ctl *c, const struct ctl_input *in)
{
	struct watching w = {.c = c, .req = AGIHPC__V1__WATCH_REQUEST__INIT};
	uint64_t until_us;
	enum ctl_exit code = take_words(c, in, &w, &until_us);

	w.follow = (struct ctl_follow){
	    .s = {.path = "/agihpc.v1.KvService/Watch", .req = &w.req.base, .arg = &w,
	          .res_type = &agihpc__v1__watch_response__descriptor, .on_message = on_message},
	    .resume = resume,
	    .advice = "what was deleted meanwhile is not known any more: begin anew with --initial"};
	if (code == CTL_OK)
		code = ctl_follow_run(c, &w.follow, until_us);
	free(w.token);
	return code;
}

enum ctl_exit ctl_watch(struct ctl *c, const struct ctl_input *in)
{
	const char *service = ctl_opt_value(&in->opts, "service");

	return service ? ctl_watch_service(c, in, service) : watch_keys(c, in);
}
