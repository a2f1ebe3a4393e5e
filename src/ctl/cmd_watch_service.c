/* SPDX-License-Identifier: Apache-2.0
 * watch --service: how the instances of a service change. */
#include <stdlib.h>
#include <string.h>

#include "ctl/follow.h"
#include "ctl/kv.h"
#include "ctl/service.h"
#include "ctl/units.h"

struct watching {
	struct ctl *c;
	Agihpc__V1__WatchServiceRequest req;
	const char *service;
	uint32_t n_left;   /* changes still to be printed; 0 = no limit */
	char token[64];    /* newest resume token */
	size_t token_bytes;
	bool is_stale;     /* said last */
	struct ctl_follow follow;
};

/* --- printing --------------------------------------------------------------------------------- */
static enum ctl_exit print_json_take(struct watching *w, const char *kind, json_t *o)
{
	struct agi_buf out;
	char *text;

	ctl_set(o, "kind", json_string(kind));
	ctl_set(o, "service", json_string(w->service));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	agi_buf_init(&out, 0);
	agi_buf_printf(&out, "%s\n", text ? text : "{}");
	free(text);
	return ctl_kv_print_take(w->c, &out);
}

/* What is said of the watch, not of an instance. */
static enum ctl_exit print_word(struct watching *w, const char *word)
{
	struct agi_buf out;

	if (w->c->is_json)
		return print_json_take(w, word, json_object());
	agi_buf_init(&out, 0);
	agi_buf_printf(&out, "%s\n", word);
	return ctl_kv_print_take(w->c, &out);
}

static enum ctl_exit print_change(struct watching *w, const Agihpc__V1__ServiceChange *change)
{
	static const char *const names[] = {"up", "changed", "down"};
	const Agihpc__V1__Instance *in = change->instance;
	const char *kind = (unsigned)change->kind < 3 ? names[change->kind] : "changed";
	char rtt[CTL_UNIT_TEXT];
	struct agi_buf out;

	if (w->c->is_json)
		return print_json_take(w, kind, ctl_instance_json(in));
	agi_buf_init(&out, 0);
	agi_buf_printf(&out, "%s ", kind);
	ctl_put_harmless(&out, ctl_str(in->address));
	agi_buf_printf(&out, " node ");
	ctl_put_harmless(&out, ctl_short_id(in->node_id));
	if (in->zone.len) {
		agi_buf_printf(&out, " zone ");
		ctl_put_harmless(&out, ctl_str(in->zone));
	}
	ctl_format_ms(rtt, in->rtt_ms);
	agi_buf_printf(&out, " rtt %s load %.2f%s%s\n", rtt, in->load, in->tls ? " tls" : "", in->stale ? " stale" : "");
	return ctl_kv_print_take(w->c, &out);
}

/* --- the stream ------------------------------------------------------------------------------- */
static void keep_token(struct watching *w, ProtobufCBinaryData token)
{
	if (token.len == 0 || token.len > sizeof w->token)
		return;
	memcpy(w->token, token.data, token.len);
	w->token_bytes = token.len;
}

static enum ctl_exit print_state(struct watching *w, const Agihpc__V1__WatchServiceResponse *res)
{
	enum ctl_exit code = res->resync ? print_word(w, "resync") : CTL_OK;

	if (code == CTL_OK && res->stale != w->is_stale)
		code = print_word(w, res->stale ? "stale" : "fresh");
	w->is_stale = res->stale;
	return code;
}

static bool on_message(void *arg, const ProtobufCMessage *m)
{
	const Agihpc__V1__WatchServiceResponse *res = (const Agihpc__V1__WatchServiceResponse *)m;
	struct watching *w = arg;

	w->follow.has_begun = true;
	w->follow.code = print_state(w, res);
	for (size_t i = 0; w->follow.code == CTL_OK && i < res->n_changes; i++) {
		if (!res->changes[i]->instance)
			continue;
		w->follow.code = print_change(w, res->changes[i]);
		if (w->n_left && --w->n_left == 0)
			return false;
	}
	w->follow.is_well = w->follow.is_well || res->caught_up;
	keep_token(w, res->resume_token);
	return w->follow.code == CTL_OK;
}

static void resume(void *arg)
{
	struct watching *w = arg;

	w->req.resume_token = (ProtobufCBinaryData){w->token_bytes, (uint8_t *)w->token};
}

enum ctl_exit ctl_watch_service(struct ctl *c, const struct ctl_input *in, const char *service)
{
	static const char *const of_keys[] = {"prefix", "initial", "from-version", "level", "namespace"};
	struct watching w = {.c = c, .req = AGIHPC__V1__WATCH_SERVICE_REQUEST__INIT, .service = service};
	uint64_t until_us;
	enum ctl_exit code = ctl_take_service(c, service, &w.req.service);

	if (code == CTL_OK && in->words.n)
		return ctl_usage(c, "KEY and --service are two different watches: give one");
	for (size_t i = 0; code == CTL_OK && i < sizeof of_keys / sizeof *of_keys; i++)
		if (ctl_opt_is_set(&in->opts, of_keys[i]) || ctl_opt_value(&in->opts, of_keys[i]))
			return ctl_usage(c, "--%s is for keys, not for --service", of_keys[i]);
	if (code == CTL_OK)
		code = ctl_watch_limits(c, in, &w.n_left, &until_us);
	if (code != CTL_OK)
		return code;
	w.follow = (struct ctl_follow){
	    .s = {.path = "/agihpc.v1.RegistryService/WatchService", .req = &w.req.base, .arg = &w,
	          .res_type = &agihpc__v1__watch_service_response__descriptor, .on_message = on_message},
	    .resume = resume};
	return ctl_follow_run(c, &w.follow, until_us);
}
